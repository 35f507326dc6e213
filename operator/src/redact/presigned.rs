//! Presigned queries of the object stores: the values of the parameters that make a URL a bearer secret.
//! Credentials outside of a query are other rules' business; host, path and harmless parameters stay readable.

use percent_encoding::percent_decode;
use regex::bytes::{Captures, Regex};

use super::token::{self, Span};

pub(super) const RULE: &str = "presigned-query";

/// A line with none of these, in any case, holds no presigned query.
pub(super) const HINTS: &[&str] = &[
    "x-amz-",
    "x%2damz",
    "x%252damz",
    "x-goog-",
    "x%2dgoog",
    "x%252dgoog",
    "awsaccesskeyid",
    "googleaccessid",
    "sig=",
    "sig%3d",
    "sig%253d",
    "sig\\u003d",
    "sig\\\\u003d",
];

/// An Azure `sig` is base64 of 32 bytes; shorter values count only where a query says that it is one.
const AZURE_SIGNATURE: usize = 40;

/// The parameters, and how they may be written.
pub(super) struct Presigned {
    named: Regex,
    company: Regex,
    id: Regex,
    signature: Regex,
    azure: Regex,
}

impl Presigned {
    pub(super) fn new() -> Self {
        const DASH: &str = "(?:-|%2d|%252d)";
        const EQUALS: &str = r"(?P<equals>=|%3d|%253d|\\+u003d)";
        const BEFORE: &str = r"(?P<query>[?&]|amp;|%26|%3f|%2526|%253f|u0026|u003f)|^|[^a-z0-9_-]";
        let regex = |pattern: String| Regex::new(&pattern).expect("a pattern of ours; the tests build it");
        Self {
            named: regex(format!(
                "(?i-u)x{DASH}(?:amz|goog){DASH}(?:signature|credential|security{DASH}token){EQUALS}"
            )),
            company: regex(format!("(?i-u)(?:awsaccesskeyid|googleaccessid){EQUALS}")),
            id: regex(format!("(?i-u)awsaccesskeyid{EQUALS}")),
            signature: regex(format!("(?i-u)(?:{BEFORE})signature{EQUALS}")),
            azure: regex(format!("(?i-u)(?:{BEFORE})sig{EQUALS}")),
        }
    }

    pub(super) fn find(&self, line: &[u8], spans: &mut Vec<Span>) {
        let all = |_: &Captures<'_>, _: &Span| true;
        values(line, &self.named, all, spans);
        if self.company.is_match(line) {
            let before = spans.len();
            values(line, &self.signature, all, spans);
            if spans.len() > before {
                values(line, &self.id, all, spans);
            }
        }
        let azure = |hit: &Captures<'_>, span: &Span| hit.name("query").is_some() || span.at.len() >= AZURE_SIGNATURE;
        values(line, &self.azure, azure, spans);
    }
}

/// The values behind the hits that count. A hit within the value of an earlier one belongs to that value, and looking for
/// its own would make `sig=sig=…` take the square of its length.
fn values(line: &[u8], pattern: &Regex, counts: impl Fn(&Captures<'_>, &Span) -> bool, spans: &mut Vec<Span>) {
    let mut seen = 0;
    for hit in pattern.captures_iter(line) {
        if hit.name("equals").is_none_or(|equals| equals.end() <= seen) {
            continue;
        }
        if let Some(span) = value(line, &hit).filter(|span| counts(&hit, span)) {
            seen = span.at.end;
            spans.push(span);
        }
    }
}

/// The value behind the equals sign that was hit, up to what ends it at that depth of percent-encoding.
fn value(line: &[u8], hit: &Captures<'_>) -> Option<Span> {
    let equals = hit.name("equals")?;
    let depth = match equals.as_bytes() {
        [b'%', b'2', ..] => 2,
        [b'%', ..] => 1,
        _ => 0,
    };
    let from = equals.end();
    let mut to = from;
    loop {
        // A token, from an earlier pass, belongs to the value as a whole, and so does what stands behind it.
        to += match token::bracketed(&line[to..]) {
            Some(length) => length,
            None if to == line.len() || ends(&line[to..], depth) => break,
            None => 1,
        };
    }
    if from == to {
        return None;
    }
    let mut decoded = line[from..to].to_vec();
    for _ in 0..=depth {
        decoded = percent_decode(&decoded).collect();
    }
    Some(Span::new(from..to, RULE, decoded))
}

/// Whether a value ends here. Encoded once, `%2F` belongs to the value and `%26` is the next parameter; and so on.
fn ends(rest: &[u8], depth: usize) -> bool {
    const ENDING: &[&[u8]] = &[b"26", b"23", b"20", b"22", b"0a", b"0d"];
    match rest[0] {
        b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\' | b'(' | b')' | b']' | b'{' | b'}' | b'|' | b',' | b';' | b'&'
        | b'#' | b'[' => true,
        b'%' => {
            let code = match depth {
                0 => return false,
                1 => &rest[1..],
                _ => match rest.strip_prefix(b"%25") {
                    Some(code) => code,
                    None => return false,
                },
            };
            ENDING.iter().any(|e| code.len() >= 2 && code[..2].eq_ignore_ascii_case(e))
        }
        other => other.is_ascii_whitespace() || other.is_ascii_control(),
    }
}
