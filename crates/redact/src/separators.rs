//! The separator between a name and its value, and the end of a value without quotes, at any depth of escaping. `names`
//! judges the name; `quote` handles values in quotes.

use crate::token;

/// White space between name, separator and value (bytes).
const GAP: usize = 64;

/// Length, whether it is a colon, and how many times it is percent-encoded.
pub(super) fn separator(rest: &[u8]) -> Option<(usize, bool, usize)> {
    const PLAIN: &[(&[u8], bool, usize)] = &[
        (b"=>", false, 0),
        (b":=", false, 0),
        (b"==", false, 0),
        (b"=", false, 0),
        (b"%3d", false, 1),
        (b"%3a", true, 1),
        (b"%253d", false, 2),
    ];
    if rest.first() == Some(&b':') && !matches!(rest.get(1), Some(b':' | b'=')) {
        return (!rest.starts_with(b"://")).then_some((1, true, 0));
    }
    let plain =
        PLAIN.iter().find(|(text, ..)| rest.len() >= text.len() && rest[..text.len()].eq_ignore_ascii_case(text));
    if let Some((text, colon, percent)) = plain {
        return Some((text.len(), *colon, *percent));
    }
    let escapes = rest.iter().take_while(|b| **b == b'\\').count();
    let code = &rest[escapes..];
    (escapes > 0 && code.len() >= 5 && code[..5].eq_ignore_ascii_case(b"u003d")).then_some((escapes + 5, false, 0))
}

pub(super) fn starts(line: &[u8], at: usize, text: &[u8]) -> bool {
    line.get(at..).is_some_and(|rest| rest.starts_with(text))
}

pub(super) fn skip_space(line: &[u8], at: usize) -> usize {
    at + line[at.min(line.len())..].iter().take(GAP).take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// The place behind colour codes, raw or escaped.
pub(super) fn skip_colour(line: &[u8], mut at: usize) -> usize {
    const ESCAPES: &[&[u8]] = &[b"u001b[", b"u001B[", b"x1b[", b"x1B[", b"033["];
    loop {
        // One backslash or more: text in nested strings is escaped several times.
        let escapes = line[at..].iter().take_while(|b| **b == b'\\').count();
        let sequence = || ESCAPES.iter().find(|escape| escapes > 0 && starts(line, at + escapes, escape));
        let from = if starts(line, at, b"\x1b[") {
            Some(at + 2)
        } else {
            sequence().map(|escape| at + escapes + escape.len())
        };
        let Some(from) = from else { return at };
        let rest = &line[from..];
        let parameters = rest.iter().take(16).take_while(|b| b.is_ascii_digit() || **b == b';').count();
        at = from + (parameters + 1).min(rest.len());
    }
}

/// Where a value without quotes ends: at white space, a separator, an escaped control character or a quote.
pub(super) fn unquoted_end(line: &[u8], from: usize, percent: usize) -> usize {
    const ENDING: &[&[u8]] = &[b"26", b"20", b"22", b"0a", b"0d", b"3b", b"2c", b"23", b"7d"];
    const ESCAPED: &[&[u8]] = &[b"n", b"r", b"t", b"\"", b"'", b"\\", b"u0026", b"u003c", b"u001b", b"x1b", b"033"];
    let code = |rest: &[u8]| ENDING.iter().any(|end| rest.len() >= 2 && rest[..2].eq_ignore_ascii_case(end));
    let mut at = from;
    while let Some(byte) = line.get(at) {
        if let Some(length) = token::bracketed(&line[at..]) {
            // Text glued to a token belongs to the value.
            at += length;
            continue;
        }
        let rest = &line[at + 1..];
        let ends = match byte {
            b',' | b';' | b'&' | b')' | b']' | b'}' | b'"' | b'\'' | b'`' | b'<' | 0x1b => true,
            b'\\' => ESCAPED.iter().any(|escape| rest.starts_with(escape)),
            b'%' if percent == 1 => code(rest),
            b'%' if percent > 1 => rest.starts_with(b"25") && code(&rest[2..]),
            other => other.is_ascii_whitespace() || *other == 0x0b,
        };
        if ends {
            break;
        }
        at += 1;
    }
    at
}
