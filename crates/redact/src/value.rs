//! Whether the text behind a sensitive name is a value to mask, or a word of a sentence, a path, a reference, nothing.
//! `names` judges the name.

use crate::{config_map, names::Strength};

/// Where name and value stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueContext {
    /// `name: value`, which a sentence may contain too.
    Prose,
    /// A key of JSON, an assignment, a flag.
    Structure,
}

/// A weak name in prose, or in front of an equals sign, marks a secret only if the value is at least this long (bytes).
const MIXED: usize = 8;
const ANY: usize = 16;
const ASSIGNED: usize = 6;

/// Words that mean no value, in any language.
#[rustfmt::skip]
const NOTHING: &[&str] = &[
    "true", "false", "null", "nil", "none", "undefined", "n/a", "~", "[]", "{}", "***stripped***", "***redacted***",
    // The first word of a Go type.
    "map[string",
];
/// States that a weak name may have, in quotes too: `"auth": "enabled"`.
#[rustfmt::skip]
const STATES: &[&str] = &[
    "enabled", "disabled", "enable", "disable", "required", "optional", "allowed", "denied", "default", "basic", "internal",
    "external", "present", "absent", "yes", "no", "on", "off",
];
/// Words that follow a colon, or an equals sign without quotes, in error messages.
const ORDINARY: &[&str] = &[
    "a",
    "about",
    "after",
    "all",
    "already",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "authentication",
    "bad",
    "be",
    "because",
    "been",
    "before",
    "but",
    "by",
    "can",
    "cannot",
    "changed",
    "check",
    "context",
    "could",
    "couldn't",
    "denied",
    "did",
    "does",
    "doesn't",
    "empty",
    "error",
    "errors",
    "exit",
    "expected",
    "expired",
    "failed",
    "failure",
    "field",
    "for",
    "found",
    "from",
    "get",
    "got",
    "has",
    "have",
    "if",
    "illegal",
    "in",
    "incorrect",
    "internal",
    "into",
    "invalid",
    "is",
    "it",
    "length",
    "malformed",
    "mismatch",
    "missing",
    "must",
    "no",
    "not",
    "of",
    "ok",
    "on",
    "only",
    "open",
    "optional",
    "or",
    "please",
    "post",
    "read",
    "refused",
    "rejected",
    "required",
    "reset",
    "rpc",
    "set",
    "should",
    "stat",
    "string",
    "that",
    "the",
    "this",
    "to",
    "too",
    "unable",
    "unauthorized",
    "unexpected",
    "unknown",
    "unset",
    "unsupported",
    "value",
    "was",
    "were",
    "when",
    "will",
    "with",
    "without",
    "wrong",
    "yes",
    "you",
    "your",
];

/// Whether the value must be masked. Quoted values are whole; others end at a separator.
pub(super) fn masks(value: &[u8], strength: Strength, place: ValueContext, quoted: bool) -> bool {
    if says_nothing(value) || is_reference(value) || elsewhere(value) {
        return false;
    }
    if !quoted && is_word(value, ORDINARY) {
        return false;
    }
    if strength != Strength::Weak {
        return true;
    }
    if is_path(value) || is_word(value, STATES) || is_algorithm(value) || (!quoted && value == b"Secret") {
        return false;
    }
    if place == ValueContext::Prose && (is_assignment(value) || is_object(value)) {
        return false;
    }
    let mixed = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    match place {
        ValueContext::Prose => (value.len() >= ANY && !is_kind(value)) || (value.len() >= MIXED && mixed),
        ValueContext::Structure => quoted || mixed || value.len() >= ASSIGNED,
    }
}

/// A word of a sentence, or of an error message.
pub(super) fn is_ordinary(value: &[u8]) -> bool {
    is_word(value, ORDINARY)
}

/// [`masks`] for a whole string under a key.
pub(super) fn masks_whole(value: &str, strength: Strength) -> bool {
    masks(value.as_bytes(), strength, ValueContext::Structure, true)
}

/// `"pass": 3`: how many passed, not a password.
pub(super) fn is_count(name: &[u8], number: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"pass") && number.len() <= 4 && number.iter().all(u8::is_ascii_digit)
}

fn says_nothing(value: &[u8]) -> bool {
    // Also the text between two JSON texts: the quote that ends one may look like one that begins a value.
    let filler = |b: &u8| b.is_ascii_whitespace() || b"*.-_|><~?{[\\,:]})(".contains(b);
    // Anybody may have written it, but nothing fits into it except a size of few digits and a digest.
    let left_out = || std::str::from_utf8(value).is_ok_and(config_map::is_left_out);
    value.iter().all(filler)
        || is_word(value, NOTHING)
        || is_placeholder(value)
        || is_masked(value)
        || is_address(value)
        || left_out()
}

/// `0xc000123450`: where Go keeps a value.
fn is_address(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"0xc0").unwrap_or_default();
    (6..=8).contains(&digits.len()) && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_word(value: &[u8], words: &[&str]) -> bool {
    let value = value.strip_suffix(b":").or_else(|| value.strip_suffix(b".")).unwrap_or(value);
    words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

/// `BackupStorageLocation`, `AuthenticationFailed`: joined words, as in kinds and error codes, each of at least three
/// letters. Random text almost never looks like this.
fn is_kind(value: &[u8]) -> bool {
    let mut word = 3;
    let mut words = 0;
    for b in value.strip_suffix(b":").unwrap_or(value) {
        match b {
            b'A'..=b'Z' if word >= 3 => (word, words) = (1, words + 1),
            b'a'..=b'z' if words > 0 => word += 1,
            _ => return false,
        }
    }
    words > 1 && word >= 3
}

/// `<nil>`, `<set to the key ...`
fn is_placeholder(value: &[u8]) -> bool {
    let Some(inner) = value.strip_prefix(b"<") else { return false };
    let inner = inner.strip_suffix(b">").unwrap_or(inner);
    inner.iter().all(|b| b.is_ascii_lowercase() || matches!(b, b' ' | b'-' | b'_'))
}

/// Placeholders of other programs for a value: `(hidden)`, `**REDACTED**`, `[MASKED]`, `xxxxx`.
fn is_masked(value: &[u8]) -> bool {
    const WORDS: &[&str] = &["redacted", "masked", "hidden", "filtered", "removed", "omitted", "sanitized"];
    let is_sign = |byte: &u8| b"*()[]<>{}_-#".contains(byte);
    let from = value.iter().position(|byte| !is_sign(byte)).unwrap_or(value.len());
    let to = value.iter().rposition(|byte| !is_sign(byte)).map_or(from, |last| last + 1);
    let word = &value[from..to];
    let crossed = word.len() >= 3 && word.iter().all(|byte| matches!(byte, b'x' | b'X'));
    crossed || WORDS.iter().any(|other| word.eq_ignore_ascii_case(other.as_bytes()))
}

/// Where a program looks the value up, or ciphertext: `{{ .Values.password }}`, `vault:path#key` of Bank-Vaults,
/// `ref+vault://…` of vals, `ENC[AES256_GCM,…]` of sops. A template with quoted text may contain the value itself.
fn elsewhere(value: &[u8]) -> bool {
    const BACKENDS: &[&str] = &[
        "vault",
        "awssecrets",
        "awsssm",
        "gcpsecrets",
        "azurekeyvault",
        "sops",
        "k8s",
        "doppler",
        "onepassword",
        "op",
        "gcs",
        "s3",
    ];
    const ENCRYPTED: &[&[u8]] = &[b"ENC[AES256_GCM", b"ENC[PKCS7", b"ENC[GPG"];
    if let Some(inner) = value.strip_prefix(b"{{") {
        // Without quotes, a value ends before the braces, which leaves a name of letters.
        let (inner, closed) = inner.strip_suffix(b"}}").map_or((inner, false), |inner| (inner, true));
        let plain =
            |byte: &u8| byte.is_ascii_alphabetic() || b" ._-$|".contains(byte) || (closed && byte.is_ascii_digit());
        return inner.iter().all(plain) && inner.iter().any(u8::is_ascii_alphabetic);
    }
    if let Some(path) = value.strip_prefix(b"vault:") {
        return path.contains(&b'/') && path.contains(&b'#');
    }
    if let Some(reference) = value.strip_prefix(b"ref+") {
        let scheme = reference.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let known = BACKENDS.iter().any(|backend| reference[..scheme] == *backend.as_bytes());
        return known && reference[scheme..].starts_with(b"://");
    }
    ENCRYPTED.iter().any(|start| value.starts_with(start))
}

/// `method=kubernetes` behind `auth:`: has a name of its own and is judged separately. Its value may be a token already.
fn is_assignment(value: &[u8]) -> bool {
    let name = value.iter().take_while(|byte| byte.is_ascii_lowercase() || **byte == b'_').count();
    name > 1 && value.get(name) == Some(&b'=') && value.get(name + 1).is_none_or(|byte| *byte != b'=')
}

/// `cloud-credentials`, `api-token-1`: an object named after its content.
fn is_object(value: &[u8]) -> bool {
    const CALLED: &[&str] = &[
        "credential",
        "credentials",
        "creds",
        "secret",
        "secrets",
        "token",
        "tokens",
        "key",
        "keys",
        "auth",
        "password",
    ];
    let is_part = |part: &[u8]| {
        let word = part.len() >= 2 && part.iter().all(u8::is_ascii_lowercase);
        word || ((1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit))
    };
    let called = |part: &[u8]| CALLED.iter().any(|word| part == word.as_bytes());
    let mut parts = value.split(|byte| *byte == b'-');
    value.contains(&b'-') && parts.clone().all(is_part) && parts.any(called)
}

/// `sha256-RSA-2048bits`: a signature algorithm.
fn is_algorithm(value: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "sha",
        "md",
        "rsa",
        "dsa",
        "ecdsa",
        "ed",
        "hmac",
        "pss",
        "with",
        "bit",
        "bits",
        "withrsa",
        "withecdsa",
        "withrsaencryption",
        "aws",
        "rs",
        "es",
        "hs",
        "ps",
    ];
    let is_sign = |byte: &u8| matches!(byte, b'-' | b'_' | b'/');
    let word = |part: &[u8]| WORDS.iter().any(|word| part.eq_ignore_ascii_case(word.as_bytes()));
    let mut words = 0;
    let mut rest = value;
    while let Some(first) = rest.first() {
        let same = |byte: &&u8| {
            byte.is_ascii_alphabetic() == first.is_ascii_alphabetic() && byte.is_ascii_digit() == first.is_ascii_digit()
        };
        let (part, behind) = rest.split_at(rest.iter().take_while(same).count());
        rest = behind;
        let known = word(part);
        words += usize::from(known);
        let number = part.len() <= 4 && part.iter().all(u8::is_ascii_digit);
        if !(known || number || (part.len() == 1 && part.iter().all(is_sign))) {
            return false;
        }
    }
    words > 1
}

/// `$(NAME)`, `${NAME}`, `$NAME`: the value stands elsewhere.
pub(super) fn is_reference(value: &[u8]) -> bool {
    let Some(rest) = value.strip_prefix(b"$") else { return false };
    let (open, close, name) = match rest {
        [b'(', name @ ..] => (true, b')', name),
        [b'{', name @ ..] => (true, b'}', name),
        name => (false, b' ', name),
    };
    let name = name.strip_suffix(&[close]).unwrap_or(name);
    let first = name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_');
    let constant = |b: &u8| b.is_ascii_uppercase() || *b == b'_';
    let variable = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    first && if open { name.iter().all(variable) } else { name.len() > 1 && name.iter().all(constant) }
}

/// `/var/run/secrets/token`, `velero/cloud-credentials`: a path, not a secret. Random base64 has capitals.
fn is_path(value: &[u8]) -> bool {
    let path = value.strip_prefix(b"/").unwrap_or(value);
    let path = path.strip_suffix(b":").unwrap_or(path);
    let mut parts = path.split(|b| *b == b'/');
    let is_part = |part: &[u8]| {
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        part.len() < 64 && part.iter().all(plain)
    };
    path.len() > 2 && path.contains(&b'/') && (parts.all(is_part) || is_namespaced(path))
}

/// `velero/Cloud`: two words with capitals only as first letters.
fn is_namespaced(path: &[u8]) -> bool {
    let is_word = |part: &[u8]| {
        part.len() > 2
            && part[0].is_ascii_alphabetic()
            && part[1..].iter().all(|b| b.is_ascii_lowercase() || *b == b'-')
    };
    let mut parts = path.split(|b| *b == b'/');
    parts.clone().count() == 2 && parts.all(is_word)
}
