//! The value of a field beside another one that names it: `"name":"DB_PASSWORD","value":"…"`, `{Name:DB_PASSWORD Value:…}`,
//! escaped or not, in either order. Stricter than the rules: only names that leave no doubt, and values of letters and digits.

use std::ops::Range;

use super::shapes::{Around, untouched};

/// Bytes of a name in front of the word that was found, of what may stand between two fields, and of a value.
const NAME: usize = 64;
const BETWEEN: usize = 48;
const LONGEST: usize = 1024;
/// A shorter value may be a word that somebody put there to be read.
const SHORTEST: usize = 6;

/// The value, if the hint ends the name in a pair.
pub(super) fn value_beside(around: Around<'_>) -> Option<Range<usize>> {
    let (text, end) = (around.text, around.at + around.hint);
    if text.get(end).is_some_and(|byte| is_word(*byte)) {
        return None;
    }
    let mut begin = around.at;
    while begin > around.at.saturating_sub(NAME) && is_word(text[begin - 1]) {
        begin -= 1;
    }
    let (field, separator) = label_in_front(text, begin, &[b"name", b"key"])?;
    behind(text, end, separator).or_else(|| in_front(text, field, separator))
}

/// `…, "value": "x"`
fn behind(text: &[u8], from: usize, separator: u8) -> Option<Range<usize>> {
    let label = skip(text, from);
    if label == from || label - from > BETWEEN || !text.get(label..label + 5)?.eq_ignore_ascii_case(b"value") {
        return None;
    }
    let at = skip_quote(text, label + 5);
    if text.get(at) != Some(&separator) {
        return None;
    }
    let mut start = at + 1;
    while matches!(text.get(start), Some(b' ' | b'"' | b'\'' | b'\\')) {
        start += 1;
    }
    // `Value: ValueFrom:…` is an empty value.
    let end = start + text[start..].iter().take(LONGEST).take_while(|byte| fits(**byte)).count();
    (text.get(end) != Some(&b':') && judged(&text[start..end])).then_some(start..end)
}

/// `"value": "x", …`
fn in_front(text: &[u8], field: usize, separator: u8) -> Option<Range<usize>> {
    let mut end = field;
    while end > field.saturating_sub(BETWEEN) && is_between(text[end - 1]) {
        end -= 1;
    }
    let mut start = end;
    while start > end.saturating_sub(LONGEST) && fits(text[start - 1]) {
        start -= 1;
    }
    let (label, found) = label_in_front(text, start, &[b"value"])?;
    // `Invalid value: …`, in a sentence.
    let in_sentence = found == b':' && matches!(text[..label], [.., letter, b' '] if letter.is_ascii_alphabetic());
    let whole = end < field && found == separator && !in_sentence;
    (whole && judged(&text[start..end])).then_some(start..end)
}

/// Where the label begins that stands in front of a value with its separator, and that.
fn label_in_front(text: &[u8], value: usize, labels: &[&[u8]]) -> Option<(usize, u8)> {
    let quotes = |byte: &u8| matches!(byte, b' ' | b'"' | b'\'' | b'\\');
    let at = value - text[..value].iter().rev().take(12).take_while(|byte| quotes(byte)).count();
    let separator = *text[..at].last().filter(|byte| matches!(byte, b':' | b'='))?;
    let end = at - 1 - text[..at - 1].iter().rev().take(12).take_while(|byte| quotes(byte)).count();
    let label =
        labels.iter().find(|label| end >= label.len() && text[end - label.len()..end].eq_ignore_ascii_case(label))?;
    let begin = end - label.len();
    let escape = text[..begin].ends_with(b"\\n") || text[..begin].ends_with(b"\\t");
    (escape || begin == 0 || !is_word(text[begin - 1])).then_some((begin, separator))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$')
}

/// What a value is made of that this check speaks of.
fn fits(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'!' | b'%')
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b',' | b'"' | b'\'' | b'\\')
}

/// Behind blanks, commas and quotes, and escaped ends of lines.
fn skip(text: &[u8], mut at: usize) -> usize {
    loop {
        at += match text.get(at..).unwrap_or_default() {
            [b'\\', b'n' | b'r' | b't', ..] => 2,
            [byte, ..] if is_between(*byte) => 1,
            _ => return at,
        };
    }
}

fn skip_quote(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b'"' | b'\'' | b'\\')) {
        at += 1;
    }
    at
}

/// Letters and digits mixed, and no word, path or token that redaction leaves where it is.
fn judged(value: &[u8]) -> bool {
    let mixed = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    value.len() >= SHORTEST && mixed && untouched(value)
}
