//! Presigned URLs of the object stores: masks the query parameters that make the URL a bearer secret. Host, path and
//! harmless parameters stay readable; other rules mask credentials outside of a query.

use std::ops::Range;

use percent_encoding::percent_decode;
use regex::bytes::Regex;

use crate::token::{self, Span};

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
/// The [`HINTS`] that name an account: next to one, a `Signature` belongs to a query.
pub(super) const ACCOUNTS: &[&str] = &["awsaccesskeyid", "googleaccessid"];

/// Which of the [`HINTS`] a line contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Any,
    /// One of [`ACCOUNTS`], perhaps together with others.
    OfAccount,
}

/// An Azure `sig` is base64 of 32 bytes; a shorter value counts only where a query marks it as a signature.
const AZURE_SIGNATURE: usize = 40;

/// The parameters, in all their spellings.
pub(super) struct Presigned {
    named: Regex,
    account: Regex,
    id: Regex,
    signature: Regex,
    azure: Regex,
}

impl Presigned {
    pub(super) fn new() -> Self {
        const DASH: &str = "(?:-|%2d|%252d)";
        const EQUALS: &str = r"(?:=|%3d|%253d|\\+u003d)";
        const BEFORE: &str = r"(?P<query>[?&]|amp;|%26|%3f|%2526|%253f|u0026|u003f)|^|[^a-z0-9_-]";
        let regex = |pattern: String| Regex::new(&pattern).expect("a pattern of ours; the tests build it");
        Self {
            named: regex(format!(
                "(?i-u)x{DASH}(?:amz|goog){DASH}(?:signature|credential|security{DASH}token){EQUALS}"
            )),
            account: regex(format!("(?i-u)(?:awsaccesskeyid|googleaccessid){EQUALS}")),
            id: regex(format!("(?i-u)awsaccesskeyid{EQUALS}")),
            signature: regex(format!("(?i-u)(?:{BEFORE})signature{EQUALS}")),
            azure: regex(format!("(?i-u)(?:{BEFORE})sig{EQUALS}")),
        }
    }

    pub(super) fn find(&self, line: &[u8], query: Query, spans: &mut Vec<Span>) {
        values(line, &self.named, spans);
        if query == Query::OfAccount && self.account.is_match(line) {
            let before = spans.len();
            values(line, &self.signature, spans);
            if spans.len() > before {
                values(line, &self.id, spans);
            }
        }
        if !may_hold_azure(line) {
            return;
        }
        // Only here does the text in front matter; finding groups takes longer than everything else.
        let mut seen = 0;
        for hit in self.azure.captures_iter(line) {
            let Some(whole) = hit.get(0).filter(|whole| whole.end() > seen) else { continue };
            let counts = |span: &Span| hit.name("query").is_some() || span.at.len() >= AZURE_SIGNATURE;
            if let Some(span) = value(line, whole.range()).filter(counts) {
                seen = span.at.end;
                spans.push(span);
            }
        }
    }
}

/// Whether the line has a `sig` in front of a possible equals sign.
fn may_hold_azure(line: &[u8]) -> bool {
    memchr::memchr2_iter(b'g', b'G', line).any(|at| {
        let sig = at >= 2 && line[at - 2..at].eq_ignore_ascii_case(b"si");
        sig && matches!(line.get(at + 1), Some(b'=' | b'%' | b'\\'))
    })
}

/// The values behind the hits, each of which ends with its equals sign. A hit within an earlier hit's value belongs to
/// that value; finding its own value would make `sig=sig=…` take quadratic time.
fn values(line: &[u8], pattern: &Regex, spans: &mut Vec<Span>) {
    let mut seen = 0;
    for hit in pattern.find_iter(line) {
        if hit.end() <= seen {
            continue;
        }
        if let Some(span) = value(line, hit.range()) {
            seen = span.at.end;
            spans.push(span);
        }
    }
}

/// The value behind the equals sign at the end of the hit, up to a byte that ends it at that depth of percent-encoding.
fn value(line: &[u8], hit: Range<usize>) -> Option<Span> {
    let from = hit.end;
    let depth = match line[hit] {
        [.., b'%', b'2', b'5', b'3', b'd' | b'D'] => 2,
        [.., b'%', b'3', b'd' | b'D'] => 1,
        _ => 0,
    };
    let mut to = from;
    loop {
        // A token of an earlier pass belongs to the value as a whole, and so does the text behind it.
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

/// Whether a value ends here. Encoded once, `%2F` belongs to the value and `%26` begins the next parameter; and so on.
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
