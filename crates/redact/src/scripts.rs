//! Scripts of a shell within one string: a command that goes on behind a backslash, and a value in quotes over several
//! lines, are judged as one line. `object` hands the strings over.

use std::ops::Range;

/// Most lines of a value in quotes.
const QUOTED: usize = 32;

/// The text with blanks in place of line ends that end neither a command nor a value, and the ranges of the lines that
/// became one. Each byte keeps its place.
pub(super) fn joined(text: &str) -> Option<(Vec<u8>, Vec<Range<usize>>)> {
    if !text.contains('\n') {
        return None;
    }
    let mut bytes = text.as_bytes().to_vec();
    let mut lines = Vec::new();
    let mut from = 0;
    while from < bytes.len() {
        let (mut to, mut several) = (end(&bytes, from), false);
        while to < bytes.len() && goes_on(&mut bytes, from, to) {
            (to, several) = (end(&bytes, to), true);
        }
        if several {
            lines.push(from..to);
        }
        from = to + 1;
    }
    (!lines.is_empty()).then_some((bytes, lines))
}

fn end(text: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &text[from..]).map_or(text.len(), |at| from + at)
}

/// Whether the line goes on behind its end at `to`; if so, that end becomes a blank.
fn goes_on(text: &mut [u8], from: usize, to: usize) -> bool {
    let cut = to - usize::from(text[from..to].ends_with(b"\r"));
    if text[from..cut].ends_with(b"\\") {
        text[cut - 1..=to].fill(b' ');
        return true;
    }
    let Some(close) = closes(text, from, to) else { return false };
    text[to..close].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    true
}

/// Where the value in quotes is closed that an assignment in this line opens and leaves open.
fn closes(text: &[u8], from: usize, to: usize) -> Option<usize> {
    let line = &text[from..to];
    let is_opening =
        |at: &usize| *at > 0 && line[at - 1].is_ascii_alphanumeric() && matches!(line.get(at + 1), Some(b'"' | b'\''));
    let open = memchr::memrchr_iter(b'=', line).find(is_opening)? + 1;
    let quote = line[open];
    if memchr::memchr(quote, &line[open + 1..]).is_some() {
        return None;
    }
    let close = to + memchr::memchr(quote, &text[to..])?;
    (memchr::memchr_iter(b'\n', &text[to..close]).count() <= QUOTED).then_some(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_x12_a_command_goes_on_behind_a_backslash_and_a_value_to_its_closing_quote() {
        for (text, want, lines) in [
            ("a \\\n b \\\r\n c\nd", "a    b     c\nd", 0..12),
            ("x\nA='b\nc' d\ne", "x\nA='b c' d\ne", 2..11),
            ("A=\"b\nc\" B='\n'\ne", "A=\"b c\" B=' '\ne", 0..13),
        ] {
            let (bytes, found) = joined(text).expect(text);
            assert_eq!(
                (String::from_utf8(bytes).unwrap().as_str(), found.as_slice()),
                (want, [lines].as_slice()),
                "{text:?}"
            );
        }
        for text in ["a", "a\nb", "A='b'\nC=\"d\"\n", "it's = 'x'\ny", "A='b\nc", "a\\\\"] {
            assert!(joined(text).is_none(), "{text:?}");
        }
    }
}
