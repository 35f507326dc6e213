//! A quote at any depth of escaping: where the text behind it ends, and that text decoded. `separators` handles values
//! without quotes.

use crate::unescape::unescaped;

/// A quote with the backslashes in front of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) byte: u8,
    pub(super) escapes: usize,
}

impl Quote {
    /// The quote at `at`, and where the text behind it begins.
    pub(super) fn at(line: &[u8], at: usize) -> Option<(Self, usize)> {
        let escapes = line[at.min(line.len())..].iter().take_while(|b| **b == b'\\').count();
        let byte = *line.get(at + escapes)?;
        matches!(byte, b'"' | b'\'' | b'`').then_some((Self { byte, escapes }, at + escapes + 1))
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![b'\\'; self.escapes];
        bytes.push(self.byte);
        bytes
    }

    /// Decodes the text between two of these quotes.
    pub(super) fn decoded(self, raw: &[u8]) -> Vec<u8> {
        if self.byte != b'"' {
            return raw.to_vec();
        }
        let mut value = unescaped(raw).0;
        let mut level = self.escapes;
        while level > 0 {
            value = unescaped(&value).0;
            level /= 2;
        }
        value
    }

    /// Like [`Self::close`], but `''` stands for a quote within, as in YAML.
    pub(super) fn close_doubled(self, line: &[u8], from: usize) -> usize {
        let mut to = self.close(line, from);
        while self.byte == b'\''
            && to > from
            && let Some((_, behind)) = Self::at(line, to).filter(|(found, _)| *found == self)
            && let Some((_, behind)) = Self::at(line, behind).filter(|(found, _)| *found == self)
        {
            to = self.close(line, behind);
        }
        to
    }

    /// Where the quoted text ends: at the closing quote, at one of an outer text, or at the end of the line.
    pub(super) fn close(self, line: &[u8], from: usize) -> usize {
        let mut escapes = 0;
        for (at, byte) in line.iter().enumerate().skip(from) {
            match byte {
                b'\\' => escapes += 1,
                byte if *byte == self.byte => {
                    let inner =
                        escapes >= self.escapes && (escapes - self.escapes).is_multiple_of(2 * (self.escapes + 1));
                    if self.byte != b'"' || inner || escapes < self.escapes {
                        return at - escapes.min(self.escapes);
                    }
                    escapes = 0;
                }
                b'\n' if self.escapes > 0 => return at,
                _ => escapes = 0,
            }
        }
        line.len()
    }
}

/// Length of `'\''` or `'"'"'`, at any depth of escaping.
pub(super) fn joined(rest: &[u8], escapes: usize) -> Option<usize> {
    let slashes = |at: usize| rest[at.min(rest.len())..].iter().take_while(|byte| **byte == b'\\').count();
    let close = slashes(0) + 1;
    if close != escapes + 1 || rest.get(close - 1) != Some(&b'\'') {
        return None;
    }
    let mut at = close + slashes(close);
    if rest.get(at) == Some(&b'\'') && at > close + escapes {
        at += 1;
        at += slashes(at);
        return (rest.get(at) == Some(&b'\'')).then_some(at + 1);
    }
    for byte in *b"\"'\"'" {
        at += slashes(at);
        if rest.get(at) != Some(&byte) {
            return None;
        }
        at += 1;
    }
    Some(at)
}
