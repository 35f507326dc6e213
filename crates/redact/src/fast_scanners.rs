//! Three shapes with long values, found without a regular expression, which would read each byte up to four times.
//! Their patterns in `shapes` define what they match; the tests compare the two.

use std::ops::Range;

use regex::bytes::Regex;

/// The value of the pattern's first match at or behind a place. The value ends where the match ends.
pub(super) type ScanFn = fn(line: &[u8], from: usize, pattern: &Regex) -> Option<Range<usize>>;

/// Fewest letters and digits of a bearer token.
const BEARER: usize = 16;
/// Fewest base64url digits behind `eyJ`, and in the second part of a token.
const HEADER: usize = 6;
const CLAIMS: usize = 4;

/// `Authorization: Bearer x`, for the schemes that put no names in front of their value.
pub(super) fn authorization(line: &[u8], from: usize, pattern: &Regex) -> Option<Range<usize>> {
    const SCHEMES: &[&[u8]] = &[b"bearer", b"basic", b"token", b"negotiate", b"apikey", b"bot"];
    let start = word(line, from, b"authorization", 7)?;
    let by_scheme = || {
        let at = behind_name(line, start + b"authorization".len())?;
        let scheme = SCHEMES.iter().find_map(|scheme| gap(line, behind_word(line, at, scheme)?))?;
        let ends = |byte: &u8| is_space(*byte) || b"\"'\\,;]})".contains(byte);
        let length = line[scheme..].iter().position(ends).unwrap_or(line.len() - scheme);
        (length > 0).then_some(scheme..scheme + length)
    };
    // Other schemes are rare: the pattern finds them.
    by_scheme().or_else(|| pattern.captures_at(line, start)?.iter().flatten().last().map(|value| value.range()))
}

/// Where the scheme begins behind the name that ends at `at`.
fn behind_name(line: &[u8], mut at: usize) -> Option<usize> {
    at += slashes(line, at);
    at += usize::from(matches!(line.get(at), Some(b'"' | b'\'')));
    at += usize::from(line.get(at) == Some(&b']'));
    at += spaces(line, at);
    at += match line.get(at..)? {
        [b'=', b'>', ..] => 2,
        [b'=' | b':', ..] => 1,
        [b'%', b'3', b'a' | b'A' | b'd' | b'D', ..] => 3,
        _ => return None,
    };
    loop {
        let escapes = slashes(line, at);
        at += match &line[at..] {
            [byte, ..] if is_space(*byte) || *byte == b'+' => 1,
            [b'%', b'2', b'0', ..] => 3,
            rest if matches!(rest.get(escapes), Some(b'"' | b'\'' | b'[')) => escapes + 1,
            _ => return Some(at),
        };
    }
}

/// `Bearer x`, `bearer=x`
pub(super) fn bearer(line: &[u8], from: usize, _: &Regex) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        let start = word(line, at, b"bearer", 0)?;
        at = start + b"bearer".len();
        if start > 0 && (line[start - 1].is_ascii_alphanumeric() || line[start - 1] == b'_') {
            continue;
        }
        let behind = match line.get(at) {
            Some(b'=') => Some(at + 1),
            Some(b':') => Some(at + 1 + spaces(line, at + 1)),
            _ => gap(line, at),
        };
        let Some(mut from) = behind else { continue };
        let escapes = slashes(line, from);
        match line.get(from + escapes) {
            Some(b'"' | b'\'') => from += escapes + 1,
            Some(b'n' | b'r' | b't') if escapes > 0 => from += escapes + 1,
            _ => {}
        }
        let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(byte);
        let length = line[from..].iter().take_while(is_digit).count();
        if length >= BEARER {
            return Some(from..from + length);
        }
    }
}

/// A JSON web token, signed or encrypted: three parts or five.
pub(super) fn jwt(line: &[u8], mut from: usize, _: &Regex) -> Option<Range<usize>> {
    loop {
        let third = from + memchr::memchr(b'J', &line[from..])?;
        let start = third.saturating_sub(2);
        if start < from || line[start..third] != *b"ey" {
            from = third + 1;
            continue;
        }
        let first = part(line, third + 1);
        let next = |at: usize| (line.get(at) == Some(&b'.')).then(|| part(line, at + 1));
        if let Some(second) = next(first).filter(|_| first - third > HEADER)
            && let Some(third) = next(second)
        {
            if let Some(end) = next(third).and_then(next) {
                return Some(start..end);
            }
            if second - first > CLAIMS {
                return Some(start..third);
            }
        }
        // Any match that begins within the first part would end where this one did.
        from = first;
    }
}

/// Where the base64url digits that begin at `at` end.
fn part(line: &[u8], at: usize) -> usize {
    let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-');
    at + line[at..].iter().take_while(is_digit).count()
}

/// The next place of a word in any case, found by its rare letter at index `rare`.
fn word(line: &[u8], from: usize, word: &[u8], rare: usize) -> Option<usize> {
    let (lower, upper) = (word[rare], word[rare].to_ascii_uppercase());
    memchr::memchr2_iter(lower, upper, &line[from..]).find_map(|at| {
        let start = (from + at).checked_sub(rare).filter(|start| *start >= from)?;
        behind_word(line, start, word).map(|_| start)
    })
}

fn behind_word(line: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    line.get(at..end).is_some_and(|text| text.eq_ignore_ascii_case(word)).then_some(end)
}

/// The place behind the separator between a scheme and its value.
fn gap(line: &[u8], at: usize) -> Option<usize> {
    match line.get(at..)? {
        [b'+', ..] => Some(at + 1),
        [b'%', b'2', b'0', ..] => Some(at + 3),
        [byte, ..] if is_space(*byte) => Some(at + spaces(line, at)),
        _ => None,
    }
}

fn slashes(line: &[u8], at: usize) -> usize {
    line[at..].iter().take_while(|byte| **byte == b'\\').count()
}

fn spaces(line: &[u8], at: usize) -> usize {
    line[at..].iter().take_while(|byte| is_space(**byte)).count()
}

/// Like `\s` of a regular expression: includes vertical tabs.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}
