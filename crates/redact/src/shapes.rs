//! Values that their shape, or the tool or header in front of them, marks as secrets: a table of patterns. Each pattern
//! runs only on lines with one of its hints. `names` handles secrets marked by a sensitive name.

use std::{ops::Range, sync::LazyLock};

use aho_corasick::AhoCorasick;
use base64::{Engine as _, alphabet, engine};
use regex::bytes::Regex;

use crate::{
    fast_scanners::{self, ScanFn},
    token::{self, OPEN, Span},
    tools,
    value::is_reference,
    vendors,
};

/// One shape. The value is the last group that matched, else the whole match.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) id: &'static str,
    /// A line with none of these, in any case, does not match.
    pub(super) hints: &'static [&'static str],
    pub(super) pattern: &'static str,
    /// A check beyond the pattern.
    pub(super) check: fn(&[u8]) -> bool,
    /// Finds the pattern's matches, faster.
    pub(super) scan: Option<ScanFn>,
}

pub(super) const fn shape(id: &'static str, hints: &'static [&'static str], pattern: &'static str) -> Shape {
    Shape { id, hints, pattern, check: |_| true, scan: None }
}

const fn by_hand(scan: ScanFn, shape: Shape) -> Shape {
    Shape { scan: Some(scan), ..shape }
}

/// Sources of the formats: AWS IAM identifiers, the providers' documentation of their tokens, RFC 7519 (JWT), RFC 7617
/// (Basic), RFC 6750 (Bearer), crypt(5), RFC 2307 (LDAP hashes).
pub(super) static TABLE: &[Shape] = &[
    shape("aws-key-id", &["AKIA", "ASIA"], "A(?:KIA|SIA)[A-Z0-9]{12,}"),
    shape(
        "aws-session",
        &["FwoG", "IQoJ", "FQoG"],
        r"(?:FwoG|IQoJ|FQoG)(?:[A-Za-z0-9+/=_-]|%2[BbFf]|%3[Dd]|\\+/){96,}",
    ),
    shape("azure-account", &["==", "%3d%3d"], r"(?:^|[^A-Za-z0-9+/-])([A-Za-z0-9+/]{86}(?:==|%3[Dd]%3[Dd]))"),
    shape("azure-sas", &["sharedaccesssignature"], r#"(?i)SharedAccessSignature\s*=\s*([^\s;"'\\<>]+)"#),
    shape("google-access", &["ya29."], r"ya29\.[A-Za-z0-9_-]{10,}"),
    shape("google-api", &["AIza"], "AIza[A-Za-z0-9_-]{35}"),
    by_hand(
        fast_scanners::jwt,
        shape("jwt", &["eyJ"], r"eyJ[A-Za-z0-9_-]{6,}(?:(?:\.[A-Za-z0-9_-]*){4}|\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*)"),
    ),
    shape("github", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], "gh[pousr]_[A-Za-z0-9]{30,}"),
    shape("github-fine", &["github_pat_"], "github_pat_[A-Za-z0-9_]{30,}"),
    shape("gitlab", &["glpat-"], "glpat-[A-Za-z0-9_-]{18,}"),
    shape("slack", &["xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"], "xox[aeboprs]-[A-Za-z0-9-]{10,}"),
    shape(
        "slack-hook",
        &["hooks.slack.com"],
        r"hooks\.slack\.com\\*/(?:services|workflows|triggers)\\*/([A-Za-z0-9/_\\-]{16,})",
    ),
    shape("stripe", &["sk_live_", "rk_live_"], "[sr]k_live_[A-Za-z0-9]{16,}"),
    shape("vault", &["hvs.", "hvb."], r"hv[sb]\.[A-Za-z0-9_-]{20,}"),
    shape("npm", &["npm_"], "npm_[A-Za-z0-9]{36}"),
    by_hand(
        fast_scanners::authorization,
        shape(
            "authorization",
            &["authorization"],
            concat!(
                r#"(?i)authorization\\*["']?\]?\s*(?:=>|=|:|%3[ad])(?:\s|%20|\+|\\*["'\[])*"#,
                r#"(?:(?:bearer|basic|token|negotiate|apikey|bot)(?:\s+|%20|\+)([^\s"'\\,;\]})]+)"#,
                r#"|(?:aws4-hmac-sha256|digest|sharedkey(?:lite)?)(?:\s+|%20|\+)([^"'\\\]\r\n]+)"#,
                // Any word may be another scheme, as in a sentence: only values that no sentence contains are masked.
                r"|[a-z][a-z0-9_-]{1,31}(?:\s+|%20|\+)([a-z._~+/=-]*[0-9][a-z0-9._~+/=-]{5,}|[a-z._~+/=-]{5,}[0-9][a-z0-9._~+/=-]*))",
            ),
        ),
    ),
    Shape {
        id: "bearer",
        hints: &["bearer"],
        pattern: r#"(?i)\bbearer(?:\s+|%20|\+|=|:\s*)(?:\\*["']|\\+[nrt])?([A-Za-z0-9._~+/=-]{16,})"#,
        check: |value| value.iter().any(u8::is_ascii_digit),
        scan: Some(fast_scanners::bearer),
    },
    Shape {
        id: "basic",
        hints: &["basic "],
        pattern: "(?i)\\bbasic\\s+([A-Za-z0-9+/_-]{8,}={0,2})",
        check: is_user_and_word,
        scan: None,
    },
    shape(
        "cookie",
        &["cookie"],
        concat!(
            r#"(?i)\b(?:set-)?cookie\\*["']?\s*[:=]\s*(?:\\*["'\[])*"#,
            r#"([^\s=;"'\[\]\\,]+=[^\s;"'\\\]]*(?:;\s*[^\s=;"'\\\]]+(?:=[^\s;"'\\\]]*)?)*)"#,
        ),
    ),
    shape(
        "hash",
        &["$2a$", "$2b$", "$2x$", "$2y$", "$1$", "$5$", "$6$", "$y$", "$apr1$", "$argon2", "{ssha", "{sha", "{smd5"],
        concat!(
            r"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}",
            r#"|\$(?:1|5|6|y|apr1|argon2id?)\$(?:[^\s"'$]{1,64}\$){1,3}[./+A-Za-z0-9]{22,86}"#,
            r"|\{(?i:S?SHA(?:256|384|512)?|SMD5)\}[A-Za-z0-9+/]{20,}={0,2}",
        ),
    ),
    shape(
        "sql",
        &["identified", "password '", "password \\'"],
        r"(?i)\b(?:password|identified(?:\s+with\s+\S+)?\s+(?:by|as))\s+\\*'([^'\n]+)'",
    ),
    // Oracle's form: passwords in double quotes or without quotes, where a word of letters may belong to a sentence.
    shape(
        "sql-user",
        &["identified"],
        concat!(
            r"(?i)\b(?:(?:create|alter)\s+(?:user|role)|grant\s[^;\n]{1,256}?\sto)\s+\S[^;\n]{0,256}?\bidentified(?:\s+with\s+\S+)?\s+(?:by|as)\s+",
            r#"(?:\\*"([^"\\\n]+)|([^\s"'\\`,;()]*[0-9][^\s"'\\`,;()]*))"#,
        ),
    ),
    // A private key in DER, of RSA, of elliptic curves or Ed25519, without its PEM lines: the fixed bytes at its beginning.
    shape(
        "key-der",
        &["IBAAKB", "IBAAKC", "IBADANBgkqhkiG9w0BAQEF", "MHcCAQEEI", "AgEAMB", "AgEBBD", "MC4CAQAwBQYDK2VwBCIE"],
        concat!(
            r"(?:^|[^A-Za-z0-9+/]|\\[nrt])((?:MII[A-Za-z0-9+/]{3}IBA(?:AK[BC]|DANBgkqhkiG9w0BAQEF)|MHcCAQEEI",
            r"|MIG[A-Za-z0-9+/]AgE(?:AMB|BBD)|MC4CAQAwBQYDK2VwBCIE)(?:[A-Za-z0-9+/]|\\+/){40,}={0,2})",
        ),
    ),
    // Some tools keep a copy of an object in this form, and Helm a release with its Secrets; nobody reads it raw.
    shape("gzip", &["H4sI"], r"(?:^|[^A-Za-z0-9+/_-])(H4sI(?:[A-Za-z0-9+/_-]|\\+/|%2[BbFf]){28,}(?:=|%3[Dd]){0,2})"),
    tools::MYSQL,
    tools::CURL,
    tools::SMB,
    tools::MC,
    tools::SSHPASS,
    tools::REDIS,
    tools::REDIS_CONFIG,
    tools::MONGO,
    tools::MONGO_AUTH,
    tools::SQLCMD,
    tools::ORACLE,
    tools::LDAP,
    tools::LOGIN,
    tools::HTPASSWD,
    tools::OPENSSL,
    tools::CEPH,
    tools::RABBIT,
    tools::VAULT,
    tools::ZIP,
    tools::SEVEN_ZIP,
    tools::SHELLS,
    tools::AWS_CONFIGURE,
    vendors::TOKEN,
    vendors::HOOK,
    vendors::CEPH,
    vendors::NETRC,
    vendors::PGPASS,
    vendors::PROSE,
];

pub(super) static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let regex =
        |shape: &Shape| Regex::new(&format!("(?-u){}", shape.pattern)).expect("a pattern of ours; the tests build it");
    TABLE.iter().map(regex).collect()
});

static TOOL_HINTS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let tools = TABLE.iter().filter(|shape| tools::ALL.contains(&shape.id)).flat_map(|shape| shape.hints);
    AhoCorasick::builder().ascii_case_insensitive(true).build(tools).expect("a few short words")
});

/// Finds the hits of the shape at `index` of the table.
pub(super) fn find(index: usize, line: &[u8], spans: &mut Vec<Span>) {
    let Shape { id, check, .. } = &TABLE[index];
    let pattern = &PATTERNS[index];
    let mut judge = |value: Range<usize>| {
        if check(&line[value.clone()]) && !is_reference(&line[value.clone()]) {
            let at = with_token(line, value);
            spans.push(Span::new(at.clone(), *id, decoded(&line[at])));
        }
    };
    if TABLE[index].scan.is_some() {
        values(index, line).for_each(judge);
    } else if pattern.captures_len() == 1 {
        // Finding groups takes far longer than finding the whole match.
        pattern.find_iter(line).for_each(|hit| judge(hit.range()));
    } else {
        let values =
            pattern.captures_iter(line).filter_map(|hit| hit.iter().flatten().last().map(|value| value.range()));
        values.for_each(judge);
    }
}

/// The values of a shape that has a fast scanner.
pub(super) fn values(index: usize, line: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let value = TABLE[index].scan?(line, from, &PATTERNS[index])?;
        from = value.end;
        Some(value)
    })
}

/// No pattern matches a token's bracket, so a value that ends within a token continues behind it.
fn with_token(line: &[u8], at: Range<usize>) -> Range<usize> {
    let open = memchr::memrchr(b'[', &line[at.clone()]).and_then(|_| memchr::memmem::rfind(&line[at.clone()], OPEN));
    let open = open.map(|open| at.start + open);
    let end = open.and_then(|open| Some(open + token::bracketed(&line[open..])?));
    match end {
        // Takes only bytes that every pattern takes, so that redacting twice changes nothing.
        Some(end) if end > at.end => {
            let takes = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(byte);
            at.start..end + line[end..].iter().take_while(takes).count()
        }
        _ => at,
    }
}

/// Whether the word may name one of the tools.
pub(super) fn names_a_tool(word: &[u8]) -> bool {
    TOOL_HINTS.is_match(word)
}

/// Finds the hits of the tools' shapes.
pub(super) fn find_tools(line: &[u8], spans: &mut Vec<Span>) {
    if !TOOL_HINTS.is_match(line) {
        return;
    }
    for (index, _) in TABLE.iter().enumerate().filter(|(_, shape)| tools::ALL.contains(&shape.id)) {
        find(index, line, spans);
    }
}

/// A store's token may be percent-encoded or have its slashes escaped.
fn decoded(value: &[u8]) -> Vec<u8> {
    if memchr::memchr2(b'\\', b'%', value).is_none() {
        return value.to_vec();
    }
    let plain: Vec<u8> = value.iter().copied().filter(|b| *b != b'\\').collect();
    percent_encoding::percent_decode(&plain).collect()
}

/// Base64 of `user:secret`; a word behind "basic" does not decode to that.
fn is_user_and_word(value: &[u8]) -> bool {
    const LENIENT: engine::GeneralPurpose = engine::GeneralPurpose::new(
        &alphabet::STANDARD,
        engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    LENIENT.decode(value).is_ok_and(|text| text.contains(&b':') && text.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_x63_each_hint_is_in_what_its_pattern_matches() {
        assert_eq!(PATTERNS.len(), TABLE.len());
        assert!(TABLE.iter().all(|shape| !shape.hints.is_empty() && shape.hints.iter().all(|hint| hint.len() >= 2)));
        assert!(tools::ALL.iter().all(|tool| TABLE.iter().any(|shape| shape.id == *tool)));
    }
}
