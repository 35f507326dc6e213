//! Text from a cluster or a store for people to read: made safe for a terminal, bounded, with readable sizes.
//! Masking secrets is `redact`'s business; text in the bundle's files stays unchanged.

use std::{borrow::Cow, fmt::Write as _};

/// One line without terminal control: newlines and tabs become a space, other C0 and C1 controls vanish, and marks that
/// turn the writing direction or break lines are shown as `\u{202e}`.
pub fn escape_for_terminal(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() || misleads(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c if c.is_control() => {}
            c if misleads(c) => push_escaped(&mut out, c),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// At most `max` bytes of the text, cut between characters; a cut text ends in `…`, which counts.
pub fn bounded(text: &str, max: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    match max.checked_sub(MARK.len()) {
        Some(room) => Cow::Owned(format!("{}{MARK}", &text[..text.floor_char_boundary(room)])),
        None => Cow::Borrowed(&text[..text.floor_char_boundary(max)]),
    }
}

/// At most `max` bytes of a line about a failure: two fifths from its beginning, which names the object, and the rest from
/// its end, which says why. The `…` between them counts.
pub fn bounded_within(line: &str, max: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    let Some(room) = max.checked_sub(MARK.len()).filter(|_| line.len() > max) else { return bounded(line, max) };
    let head = line.floor_char_boundary(room * 2 / 5);
    let tail = line.ceil_char_boundary(line.len() - (room - head));
    Cow::Owned(format!("{}{MARK}{}", &line[..head], &line[tail..]))
}

/// Whether a line is what [`bounded_within`] makes of a whole one, for any length.
pub fn is_bounded_form(line: &str, whole: &str) -> bool {
    line.split_once('…')
        .map_or(line == whole, |(head, tail)| line == whole || (whole.starts_with(head) && whole.ends_with(tail)))
}

/// A size for people, in decimal units with one digit after the point: `512 B`, `2.1 MB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut unit: u128 = 1000;
    let mut name = 0;
    let tenths_of = |unit: u128| (u128::from(bytes) * 10 + unit / 2) / unit;
    while tenths_of(unit) >= 10_000 && name + 1 < UNITS.len() {
        unit *= 1000;
        name += 1;
    }
    let tenths = tenths_of(unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[name])
}

/// Makes a stream of bytes safe for a terminal and keeps its lines: newline and tab pass; other controls, direction
/// marks and invalid UTF-8 are shown as escapes. The result does not depend on where the stream is cut.
#[derive(Debug, Default)]
pub struct TerminalEscaper {
    /// The beginning of a character whose rest has not arrived yet: at most three bytes.
    carry: Vec<u8>,
}

impl TerminalEscaper {
    /// The safe form of the next piece.
    pub fn push(&mut self, piece: &[u8]) -> String {
        let joined;
        let mut bytes = piece;
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(piece);
            joined = std::mem::take(&mut self.carry);
            bytes = &joined;
        }
        let mut out = String::with_capacity(bytes.len());
        loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => {
                    push_visible(&mut out, text);
                    break;
                }
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    push_visible(&mut out, std::str::from_utf8(valid).unwrap_or_default());
                    let Some(bad) = error.error_len() else {
                        self.carry = rest.to_vec();
                        break;
                    };
                    push_bytes(&mut out, &rest[..bad]);
                    bytes = &rest[bad..];
                }
            }
        }
        out
    }

    /// The rest, if the stream ends inside a character.
    pub fn finish(self) -> String {
        let mut out = String::new();
        push_bytes(&mut out, &self.carry);
        out
    }
}

fn push_visible(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() || misleads(c) => push_escaped(out, c),
            c => out.push(c),
        }
    }
}

fn push_bytes(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

fn push_escaped(out: &mut String, c: char) {
    if c.is_ascii() {
        push_bytes(out, &[c as u8]);
    } else {
        out.extend(c.escape_unicode());
    }
}

/// Characters that reorder the shown text, are invisible in it, or break a line.
fn misleads(c: char) -> bool {
    matches!(c, '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sec_l2_a_line_has_no_controls_and_no_direction_marks() {
        assert_eq!(escape_for_terminal("a\u{1b}[31mb\nc\rd\u{9b}1me"), "a[31mb cd1me");
        assert_eq!(escape_for_terminal("exe\u{202e}gpj\u{2066}x"), "exe\\u{202e}gpj\\u{2066}x");
        assert!(matches!(escape_for_terminal("plain – ünïcode"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_bound_falls_between_characters_and_is_marked() {
        assert_eq!(bounded("grüße", 7), "grüße");
        assert_eq!(bounded("grüße", 6), "gr…");
        assert_eq!(bounded("grüße", 2), "gr");
        assert_eq!(bounded("ü", 1), "");
        assert_eq!(bounded_within("grüße", 7), "grüße");
        assert_eq!(bounded_within("Restore r1 is Failed: the disk is full", 23), "Restore …disk is full");
        assert_eq!(bounded_within("ßßßßßßßß", 12), "ß…ßßß");
        assert_eq!(bounded_within("grüße", 2), "gr");
        assert!(
            is_bounded_form("gr…ße", "grüße") && is_bounded_form("a…b", "a…b") && !is_bounded_form("gr…ß", "grüße")
        );
    }

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (2_097_152, "2.1 MB"),
            (5_368_709_120, "5.4 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(human_bytes(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn a_stream_keeps_its_lines_and_shows_the_rest() {
        let mut escaper = TerminalEscaper::default();
        let mut out = escaper.push(b"one\ttwo\n\x1b]0;title\x07 \xc3");
        out += &escaper.push(b"\xbc \xff \xe2\x80\xae end \xe2\x82");
        out += &escaper.finish();
        assert_eq!(out, "one\ttwo\n\\x1b]0;title\\x07 ü \\xff \\u{202e} end \\xe2\\x82");
    }

    proptest! {
        #[test]
        fn a_stream_is_escaped_alike_however_it_is_cut(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0_usize..80) {
            let mut whole = TerminalEscaper::default();
            let mut expected = whole.push(&bytes);
            expected += &whole.finish();
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            let mut parts = TerminalEscaper::default();
            let mut got = parts.push(head);
            got += &parts.push(tail);
            got += &parts.finish();
            prop_assert_eq!(&got, &expected);
            prop_assert!(!got.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || misleads(c)));
        }

        #[test]
        fn a_bound_is_kept(text in "\\PC{0,40}", max in 0_usize..60) {
            prop_assert!(bounded(&text, max).len() <= max);
        }
    }
}
