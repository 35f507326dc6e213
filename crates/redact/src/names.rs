//! Decides whether a name marks its value as a secret, by its last words, however they are joined. Other modules find
//! the names and the ends of their values.

use std::ops::Range;

pub(super) use words::HINTS;
use words::{
    COUNTED, DIGEST, FILE, IN_CAPITALS, JOINED, KEYS, MAY_FOLLOW, OF_INGRESS, OF_OBJECT, REFERENCE, SEVERAL, STRONG,
    STRONG_IN_CAPITALS, STRONG_PAIRS, TOKEN, WEAK, WEAK_KEYS, WHERE, WHICH_ONE,
};

mod words;

/// How certain a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// May mean something harmless in prose: `token: expired`.
    Weak,
    /// Means a secret wherever it stands.
    Strong,
    /// As strong, for several values whose fields may be named after their owners. Only `nested_keys` returns it.
    Each,
}

/// Bytes of a name that are read; the words that count stand at its end.
const LONGEST: usize = 96;

/// `None`: the name marks no secret.
pub(super) fn judge(name: &[u8]) -> Option<Strength> {
    let name = &name[name.len().saturating_sub(LONGEST)..];
    if is_kind(name) || is_reference(name) {
        return None;
    }
    if name.ends_with(b"last-applied-configuration") {
        return Some(Strength::Strong);
    }
    let mut words = Words(name).filter(|word| !word[0].is_ascii_digit());
    let mut last = words.next()?;
    let (mut of_id, mut somewhere) = (false, false);
    loop {
        if is(last, "id") {
            of_id = true;
        } else if WHERE.iter().any(|word| is(last, word)) {
            somewhere = true;
        } else if !MAY_FOLLOW.iter().chain(WHICH_ONE).any(|word| is(last, word)) {
            break;
        }
        last = words.next()?;
    }
    let before = words.next().unwrap_or_default();
    // Exact matches only: base64 may end in `Pw=`.
    let pw = is(last, "pw")
        && [b"_pw", b"-pw", b".pw"].iter().any(|with| name.windows(3).any(|part| part.eq_ignore_ascii_case(*with)));
    let found = if pw { Some(Strength::Strong) } else { by_words(last, before, of_id) };
    if names_an_object(last, before, words.next().unwrap_or_default()) {
        return None;
    }
    let capitals = !name.iter().any(u8::is_ascii_lowercase) && !is(last, "auth");
    found.filter(|strength| !somewhere || *strength == Strength::Strong || capitals)
}

/// [`judge`] for a name in a longer text, where the text in front of a slash may show that it marks no secret.
pub(super) fn judge_within(text: &[u8], name: &Range<usize>) -> Option<Strength> {
    let front = &text[name.start.saturating_sub(LONGEST)..name.start];
    let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'.' | b'-' | b'/');
    let with = front.iter().rev().take_while(part).count();
    if front.ends_with(b"/") && is_reference(&text[name.start - with..name.end]) {
        return None;
    }
    judge(&text[name.clone()])
}

/// The last word of a name and the one before it; empty if missing.
pub(super) fn last_words(name: &[u8]) -> (&[u8], &[u8]) {
    let mut words = Words(name);
    let last = words.next().unwrap_or_default();
    (last, words.next().unwrap_or_default())
}

/// Whether the value refers to a secret without being one.
fn is_reference(name: &[u8]) -> bool {
    let digest = || memchr::memmem::rfind(name, DIGEST).is_some_and(|at| !name[at + DIGEST.len()..].contains(&b'/'));
    name == REFERENCE || name.ends_with(OF_INGRESS) || name.ends_with(FILE) || digest()
}

fn is(word: &[u8], other: &str) -> bool {
    word.eq_ignore_ascii_case(other.as_bytes())
}

fn by_words(last: &[u8], before: &[u8], of_id: bool) -> Option<Strength> {
    let ends = |other: &str| last.len() >= other.len() && is(&last[last.len() - other.len()..], other);
    let letter = last.last().map(u8::to_ascii_lowercase);
    let joined = |word: &&str| word.as_bytes().last().copied() == letter && ends(word);
    if STRONG.iter().any(|word| is(last, word)) || JOINED.iter().any(joined) || last == STRONG_IN_CAPITALS {
        return Some(Strength::Strong);
    }
    if STRONG_PAIRS.iter().any(|(first, second)| is(before, first) && is(last, second)) {
        return Some(Strength::Strong);
    }
    let joined = last.len().checked_sub(3).map(|at| last.split_at(at)).filter(|(_, key)| is(key, "key"));
    let of = joined.map_or_else(Default::default, |(of, _)| if of.is_empty() { before } else { of });
    if !of_id && KEYS.iter().any(|word| of.len() >= word.len() && is(&of[of.len() - word.len()..], word)) {
        return Some(Strength::Strong);
    }
    let several = |(of, before_these): &(&str, &[&str])| {
        let joined = || {
            before_these
                .iter()
                .any(|word| last.len() == word.len() + of.len() && ends(of) && is(&last[..word.len()], word))
        };
        (is(last, of) && before_these.iter().any(|word| is(before, word))) || joined()
    };
    let weak = WEAK.iter().any(|word| is(last, word))
        || ends(TOKEN)
        || (!of_id && WEAK_KEYS.iter().any(|word| is(of, word)))
        || SEVERAL.iter().any(several)
        || (IN_CAPITALS.contains(&last) && !COUNTED.contains(&before));
    weak.then_some(Strength::Weak)
}

/// `existingSecret`, `passwordSecret`, `passwordSecretKey`: the name of a Secret, or of a key in one.
fn names_an_object(last: &[u8], before: &[u8], third: &[u8]) -> bool {
    let of = match (last, before) {
        (b"Secret", of) => of,
        (b"Key", b"Secret") => third,
        (last, of) if is(last, "secret") && is(of, "existing") => of,
        _ => return false,
    };
    is(of, "existing") || OF_OBJECT.iter().any(|word| of == word.as_bytes())
}

/// `v1/Secret`, as in Velero's resource lists: a kind; its value lists names.
fn is_kind(name: &[u8]) -> bool {
    let mut parts = name.rsplit(|b| *b == b'/');
    let kind = parts.next().is_some_and(|kind| kind.first().is_some_and(u8::is_ascii_uppercase));
    kind && parts.next().is_some_and(is_version)
}

/// `v1`, `v2alpha1`.
pub(super) fn is_version(text: &[u8]) -> bool {
    text.len() <= 12 && text.first() == Some(&b'v') && text.get(1).is_some_and(u8::is_ascii_digit)
}

/// The words of a name, the last one first; punctuation, digits and the capitals of `camelCase` separate words.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0;
        let end = rest.iter().rposition(u8::is_ascii_alphanumeric)? + 1;
        let mut start = end - 1;
        while start > 0 && joins(rest, start, end) {
            start -= 1;
        }
        self.0 = &rest[..start];
        Some(&rest[start..end])
    }
}

/// Whether the byte in front of `at` belongs to the word `at..end`.
fn joins(name: &[u8], at: usize, end: usize) -> bool {
    let (before, first) = (name[at - 1], name[at]);
    if !before.is_ascii_alphanumeric() || before.is_ascii_digit() != first.is_ascii_digit() {
        return false;
    }
    let hump = before.is_ascii_lowercase() && first.is_ascii_uppercase();
    // `AWSSecret`: the S belongs to the lower-case letters behind it.
    let last_capital = before.is_ascii_uppercase()
        && first.is_ascii_uppercase()
        && name[..end].get(at + 1).is_some_and(u8::is_ascii_lowercase);
    !hump && !last_capital
}

#[cfg(test)]
mod tests {
    use super::{Strength::*, *};

    #[test]
    fn sec_x25_names_are_judged_by_their_last_words() {
        for name in [
            "password",
            "PGPASSWORD",
            "MYSQL_PWD",
            "db.password2",
            "rootPass",
            "awsSecretAccessKey",
            "AWSSecretKey",
            "aws_access_key_id",
            "apikey",
            "AccountKey",
            "privateKeyId",
            "client-key-data",
            "s3SecretKey",
            "clientSecret",
            "CONNECTION_STRING",
            "x.io/api-key",
            "passwordValue",
            "passwd2",
            "DB_PASSWORD_OLD",
            "db.password.v3",
            "dbPasswordNew",
            "SECRET_KEY_BASE",
            "ENCRYPTION_KEY",
            "encryptionKey",
            "signingkey",
            "JWT_SIGNING_KEY_V2",
            "PGPASS",
            "LDAP_BIND_PW",
            "DB_PASSWORD_PROD",
            "dbPasswordRo",
            "x-amz-server-side-encryption-customer-key",
            "-pw",
            "passPhrase",
            "pass_phrase",
            "pass-phrase",
            "psk",
            "wifi_psk",
            "PRESHARED_KEY",
            "PresharedKey",
            "pre-shared-key-psk",
            "restuserkey",
            "passcode",
            "userPasscode",
            "USERPASSCODE",
            "SSECustomerKey",
            "SSHPASS",
        ] {
            assert_eq!(judge(name.as_bytes()), Some(Strong), "{name}");
        }
        for name in [
            "token",
            "x-vault-token",
            "sessionToken2",
            "API_TOKEN_V2",
            "auth_token_secret_base",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "Authorization",
            "sig",
            "DSN",
            "DB_CREDS",
            "API_KEYS",
            "accesskeys",
            "AUTH_TOKENS",
            "APP_SECRETS",
            "API_TOKEN_STAGING",
            "JWT_KEY",
            "sshkey",
            "password_secret",
            "identitytoken",
            "registrytoken",
            "Ocp-Apim-Subscription-Key",
            "x-functions-key",
        ] {
            assert_eq!(judge(name.as_bytes()), Some(Weak), "{name}");
        }
    }

    #[test]
    fn sec_x25_names_that_say_nothing_are_left_alone() {
        for name in [
            "secretName",
            "secretRef",
            "passwordFile",
            "credentialsFile",
            "tokenExpirationSeconds",
            "tokenreviews",
            "passwordLength",
            "token-type",
            "bypass",
            "sshpass",
            "compass",
            "catchphrase",
            "phrase",
            "oopsk",
            "userkey",
            "xpw",
            "passed",
            "tokenizer",
            "author",
            "key",
            "user",
            "database",
            "kmsKeyId",
            "imagePullSecrets",
            "IMAGE_PULL_SECRETS",
            "MAX_TOKENS",
            "secrets",
            "secretKeys",
            "existingSecret",
            "passwordSecret",
            "passwordSecretKey",
            "checksum/secret",
            "nginx.ingress.kubernetes.io/auth-secret",
            "auth-prod",
            "STORAGE_KEY_ID",
            "SSH_PUBLIC_KEY",
            "storageAccountKeyEnvVar",
            "SignatureDoesNotMatch",
            "TOKEN_TTL",
            "PASSWORD_POLICY",
            "KEY_COUNT",
            "KEY_V2",
            "encryptionKeyId",
            "x-amz-server-side-encryption-aws-kms-key-id",
            "sigv4",
            "authorization.k8s.io/v1",
            "v2",
            "old",
            "v1/Secret",
            "",
            "id",
            "-_.",
        ] {
            assert_eq!(judge(name.as_bytes()), None, "{name}");
        }
    }
}
