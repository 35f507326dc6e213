//! The token that replaces a masked value, and how overlapping hits become one. The rules find the hits.

use std::{borrow::Cow, collections::BTreeMap, ops::Range, sync::LazyLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use memchr::memmem;
use sha2::Sha256;
use zeroize::Zeroizing;

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

/// A value to mask: its range, the rule that found it, and its decoded bytes.
#[derive(Clone)]
pub(super) struct Span {
    pub(super) at: Range<usize>,
    pub(super) rule: Cow<'static, str>,
    /// Wiped when dropped, as far as the rules' own copies allow.
    pub(super) value: Zeroizing<Vec<u8>>,
    /// Put around the token: a JSON number becomes a string.
    pub(super) quote: Vec<u8>,
}

impl Span {
    pub(super) fn new(at: Range<usize>, rule: impl Into<Cow<'static, str>>, value: Vec<u8>) -> Self {
        Self { at, rule: rule.into(), value: Zeroizing::new(value), quote: Vec::new() }
    }

    pub(super) fn quoted(mut self, quote: &[u8]) -> Self {
        self.quote = quote.to_vec();
        self
    }

    pub(super) fn token(&self, key: &[u8; 32]) -> String {
        let mut token = Vec::with_capacity(self.token_len());
        self.write_token(key, &mut token);
        String::from_utf8_lossy(&token).into_owned()
    }

    pub(super) fn write_token(&self, key: &[u8; 32], out: &mut Vec<u8>) {
        let digits = digits(key, &self.value);
        for part in [&self.quote, OPEN, self.rule.as_bytes(), b":", digits.as_bytes(), b"]", &self.quote] {
            out.extend_from_slice(part);
        }
    }

    /// Length of [`Span::token`].
    pub(super) fn token_len(&self) -> usize {
        OPEN.len() + self.rule.len() + ":01234567]".len() + 2 * self.quote.len()
    }
}

/// The rule for lines too long to be judged.
pub(super) const LONG: &str = "long-line";

/// Replaces the masked rest of a line that is too long to be judged.
pub(super) fn long_line(rest: u64) -> String {
    format!("[REDACTED:{LONG}:{rest} bytes]")
}

/// The eight hex digits of a token.
pub(super) fn digits(key: &[u8; 32], value: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(value);
    hex(&mac.finalize().into_bytes()[..4])
}

/// Sorts spans and joins overlapping ones under the longest one's rule; tokens of an earlier pass stay.
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

/// The parts of a span that no token covers.
fn outside(line: &[u8], mut span: Span, tokens: &[Range<usize>]) -> Vec<Span> {
    let first = tokens.partition_point(|token| token.end <= span.at.start);
    let covered: Vec<_> = tokens[first..].iter().take_while(|token| token.start < span.at.end).collect();
    if covered.is_empty() {
        return vec![span];
    }
    // A span that begins within a token took its letters for a name. The text behind the token may still be a value.
    let within = covered[0].start < span.at.start;
    if within {
        span.at.start = covered[0].end.min(span.at.end);
    }
    let mut pieces = Vec::new();
    let mut from = span.at.start;
    for token in &covered[usize::from(within)..] {
        pieces.push(from..token.start.max(from));
        from = token.end;
    }
    pieces.push(from..span.at.end.max(from));
    let says_nothing = |at: &Range<usize>| within && line[at.clone()].iter().all(u8::is_ascii_punctuation);
    pieces.retain(|piece| !(piece.is_empty() || says_nothing(piece)));
    pieces.into_iter().map(|at| Span::new(at.clone(), span.rule.clone(), line[at].to_vec())).collect()
}

/// Whether the text is a token and nothing else.
pub(super) fn is_token(text: &str) -> bool {
    length(text.as_bytes()) == Some(text.len())
}

static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(OPEN));

/// Whether the text contains the beginning of a possible token.
pub(super) fn opens(text: &[u8]) -> bool {
    FINDER.find(text).is_some()
}

/// Where tokens stand.
pub(super) fn tokens(line: &[u8]) -> Vec<Range<usize>> {
    FINDER.find_iter(line).filter_map(|start| Some(start..start + length(&line[start..])?)).collect()
}

/// Length of the token at the beginning of the text, if there is one.
///
/// A token does not prove who wrote it: a token in the input is trusted. Only eight digits or a number could hide in
/// it, because the rest is the name of a rule; the text next to it is judged as if it were part of a value.
#[inline]
pub(super) fn length(text: &[u8]) -> Option<usize> {
    text.strip_prefix(OPEN).and_then(length_behind)
}

/// The same for the text behind [`OPEN`].
fn length_behind(rest: &[u8]) -> Option<usize> {
    let rule = rest.iter().take(RULE + 1).position(|b| *b == b':')?;
    if !is_rule(&rest[..rule]) {
        return None;
    }
    let tail = &rest[rule + 1..];
    let inner = tail.iter().take(32).position(|b| *b == b']')?;
    let shown = &tail[..inner];
    let ok = match shown.strip_suffix(b" bytes") {
        Some(number) => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
        None => shown.len() == 8 && shown.iter().all(u8::is_ascii_hexdigit),
    };
    ok.then(|| OPEN.len() + rule + 1 + inner + 1)
}

/// The text without its tokens.
pub(super) fn without(text: &[u8]) -> Cow<'_, [u8]> {
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut rest = Vec::new();
    let mut from = 0;
    for token in tokens {
        rest.extend_from_slice(&text[from..token.start]);
        from = token.end;
    }
    rest.extend_from_slice(&text[from..]);
    Cow::Owned(rest)
}

/// Length of a possible token, whoever wrote it: its closing bracket does not end a value.
#[inline]
pub(super) fn bracketed(text: &[u8]) -> Option<usize> {
    // Called for each byte of a value.
    text.strip_prefix(OPEN).and_then(bracketed_behind)
}

/// The same for the text behind [`OPEN`].
fn bracketed_behind(rest: &[u8]) -> Option<usize> {
    let like = || {
        let end = rest.iter().take(2 * RULE).position(|byte| *byte == b']')?;
        // A quote always ends a value.
        let fits = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'`' | b'\\');
        rest[..end].iter().all(fits).then_some(OPEN.len() + end + 1)
    };
    length_behind(rest).or_else(like)
}

/// Most bytes of a rule's name.
const RULE: usize = 40;

/// Whether a rule has this name.
fn is_rule(name: &[u8]) -> bool {
    let known = RULES.iter().any(|rule| rule.as_bytes() == name);
    let of_user =
        || name.strip_prefix(b"user-").is_some_and(|n| (1..=2).contains(&n.len()) && n.iter().all(u8::is_ascii_digit));
    known || of_user() || crate::shapes::TABLE.iter().any(|shape| shape.id.as_bytes() == name)
}

/// The rules that are not shapes. Rules for known values are named where the values are read.
const RULES: &[&str] = &[
    LONG,
    crate::arguments::RULE,
    crate::assignments::RULE,
    crate::encoded::RULE,
    crate::json::KEY,
    crate::json::PAIR,
    crate::location_config::RULE,
    crate::binary_lines::RULE,
    crate::object::SECRET,
    crate::object::URL,
    crate::pem::RULE,
    crate::presigned::RULE,
    crate::settings::RULE,
    crate::url::RULE,
    "known-repository-password",
    "known-secret-key",
    "known-session-token",
    "known-sse-c-key",
    #[cfg(test)]
    "location-key",
];

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_x46_a_token_is_told_by_the_name_of_a_rule_and_its_digits() {
        for token in ["[REDACTED:jwt:01234567]", "[REDACTED:user-63:abcdef01]", "[REDACTED:long-line:12 bytes]"] {
            assert_eq!(length(token.as_bytes()), Some(token.len()), "{token}");
            assert_eq!(length(format!("{token}x").as_bytes()), Some(token.len()), "{token}");
        }
        for other in [
            "[REDACTED:hunter2:01234567]",
            "[REDACTED:user-hunter2:01234567]",
            "[REDACTED:jwt:hunter2]",
            "[REDACTED:jwt:012345678]",
            "[REDACTED:jwt:01234567",
            "[REDACTED:jwt: bytes]",
            "[REDACTED:",
            "",
        ] {
            assert_eq!(length(other.as_bytes()), None, "{other}");
        }
    }
}
