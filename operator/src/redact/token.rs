//! What stands in place of a masked value, and how overlapping hits become one.
//! What is a hit is told by the rules.

use std::{collections::BTreeMap, ops::Range};

use hmac::{Hmac, KeyInit as _, Mac as _};
use memchr::memmem;
use sha2::Sha256;

pub(super) const OPEN: &[u8] = b"[REDACTED:";

/// Redactions by rule id.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn add(&mut self, rule: &str) {
        match self.0.get_mut(rule) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(rule.to_owned(), 1);
            }
        }
    }

    pub(crate) fn into_counts(self) -> BTreeMap<String, u64> {
        self.0
    }
}

/// A value to mask: where it stands, who found it, and what it is once decoded.
#[derive(Clone)]
pub(super) struct Span {
    pub(super) at: Range<usize>,
    pub(super) rule: String,
    pub(super) value: Vec<u8>,
    /// Put around the token: a number of JSON becomes a string.
    pub(super) quote: Vec<u8>,
}

impl Span {
    pub(super) fn new(at: Range<usize>, rule: impl Into<String>, value: Vec<u8>) -> Self {
        Self { at, rule: rule.into(), value, quote: Vec::new() }
    }

    pub(super) fn quoted(mut self, quote: &[u8]) -> Self {
        self.quote = quote.to_vec();
        self
    }

    pub(super) fn token(&self, key: &[u8; 32]) -> String {
        let quote = String::from_utf8_lossy(&self.quote);
        format!("{quote}[REDACTED:{}:{}]{quote}", self.rule, digits(key, &self.value))
    }

    /// Length of [`Span::token`].
    pub(super) fn token_len(&self) -> usize {
        OPEN.len() + self.rule.len() + ":01234567]".len() + 2 * self.quote.len()
    }
}

/// What stands for the masked rest of a line that is too long to be judged.
pub(super) fn long_line(rest: u64) -> String {
    format!("[REDACTED:long-line:{rest} bytes]")
}

/// The eight digits of a token.
pub(super) fn digits(key: &[u8; 32], value: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(value);
    crate::archive::path::hex(&mac.finalize().into_bytes()[..4])
}

/// Spans in order and apart: overlapping ones are joined under the longest one's rule, tokens of an earlier pass are left alone.
pub(super) fn settled(line: &[u8], mut spans: Vec<Span>) -> Vec<Span> {
    if spans.is_empty() {
        return spans;
    }
    let tokens = tokens(line);
    if !tokens.is_empty() {
        spans = spans.into_iter().flat_map(|span| outside(line, span, &tokens)).collect();
    }
    spans.sort_by(|a, b| a.at.start.cmp(&b.at.start).then(b.at.end.cmp(&a.at.end)));
    let mut apart: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match apart.last_mut() {
            Some(last) if span.at.start < last.at.end => {
                if span.at.end > last.at.end {
                    let joined = last.at.start..span.at.end;
                    let rule = if span.at.len() > last.at.len() { span.rule } else { last.rule.clone() };
                    let quote = std::mem::take(&mut last.quote);
                    *last = Span::new(joined.clone(), rule, line[joined].to_vec()).quoted(&quote);
                }
            }
            _ => apart.push(span),
        }
    }
    apart
}

/// The pieces of a span that no token covers.
fn outside(line: &[u8], span: Span, tokens: &[Range<usize>]) -> Vec<Span> {
    let first = tokens.partition_point(|token| token.end <= span.at.start);
    let covered: Vec<_> = tokens[first..].iter().take_while(|token| token.start < span.at.end).collect();
    if covered.is_empty() {
        return vec![span];
    }
    // What begins within a token took its letters for a name: `[REDACTED:jwt:01234567]user:…` has none in front of `user`.
    if covered[0].start < span.at.start {
        return Vec::new();
    }
    let mut pieces = Vec::new();
    let mut from = span.at.start;
    for token in covered {
        pieces.push(from..token.start.max(from));
        from = token.end;
    }
    pieces.push(from..span.at.end.max(from));
    pieces.retain(|piece| !piece.is_empty());
    pieces.into_iter().map(|at| Span::new(at.clone(), span.rule.clone(), line[at].to_vec())).collect()
}

/// Whether the text is a token and nothing else.
pub(super) fn is_token(text: &str) -> bool {
    tokens(text.as_bytes()).first().is_some_and(|token| *token == (0..text.len()))
}

/// Where tokens stand.
fn tokens(line: &[u8]) -> Vec<Range<usize>> {
    memmem::find_iter(line, OPEN)
        .filter_map(|start| {
            let rest = &line[start + OPEN.len()..];
            let rule = rest.iter().take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || **b == b'-').count();
            if rule == 0 || rule > 40 || rest.get(rule) != Some(&b':') {
                return None;
            }
            let tail = &rest[rule + 1..];
            let inner = tail.iter().take(32).position(|b| *b == b']')?;
            let shown = &tail[..inner];
            let bytes = shown.strip_suffix(b" bytes");
            let ok = match bytes {
                Some(number) => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
                None => shown.len() == 8 && shown.iter().all(u8::is_ascii_hexdigit),
            };
            ok.then(|| start..start + OPEN.len() + rule + 1 + inner + 1)
        })
        .collect()
}
