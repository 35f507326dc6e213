//! Bounds what a reader of JSON needs: the nesting, and the length of each text.

use std::io::{self, Read};

/// Deepest nesting of JSON that is read; Velero's own files have a handful of levels.
const DEPTH: usize = 128;
/// Most bytes of one text (as written) in JSON that is passed on. The redactor cannot judge a longer line as a whole:
/// it would mask the rest and so break the JSON.
const LONGEST: usize = 1 << 20;

/// What happens to a text that is too long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// Its rest is left out.
    LeftOut,
    /// Reading fails.
    Refused,
}

/// Passes JSON on so that its reader needs little memory. It fails at a nesting deeper than [`DEPTH`], since even a
/// reader that ignores all values keeps a byte per level. Of a text it leaves out the bytes beyond `most`, or fails
/// there.
pub(crate) struct Shallow<R> {
    from: R,
    most: usize,
    beyond: Beyond,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Remaining digits of a `\u` escape: an escape is kept or left out whole.
    digits: u8,
    length: usize,
    keeping: bool,
}

impl<R> Shallow<R> {
    pub(crate) fn new(from: R, most: usize) -> Self {
        Self {
            from,
            most,
            beyond: Beyond::LeftOut,
            depth: 0,
            in_text: false,
            escaped: false,
            digits: 0,
            length: 0,
            keeping: true,
        }
    }

    /// Leaves nothing out: a text longer than [`LONGEST`] is an error.
    pub(crate) fn strict(from: R) -> Self {
        Self { beyond: Beyond::Refused, ..Self::new(from, LONGEST) }
    }

    fn keeps(&mut self, byte: u8) -> io::Result<bool> {
        if !self.in_text {
            match byte {
                b'"' => (self.in_text, self.length, self.digits) = (true, 0, 0),
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth > DEPTH {
                return Err(io::Error::other(format!("it is nested deeper than {DEPTH} levels")));
            }
            return Ok(true);
        }
        if self.escaped {
            self.escaped = false;
            self.digits = if byte == b'u' { 4 } else { 0 };
        } else if byte == b'"' {
            self.in_text = false;
            return Ok(true);
        } else if self.digits > 0 {
            self.digits -= 1;
        } else {
            self.keeping = self.length < self.most;
            self.escaped = byte == b'\\';
        }
        self.length = self.length.saturating_add(1);
        if self.beyond == Beyond::Refused && self.length > self.most {
            return Err(io::Error::other(format!("it has a text of more than {} bytes", self.most)));
        }
        Ok(self.keeping)
    }
}

impl<R: Read> Read for Shallow<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.from.read(into)?;
            let mut kept = 0;
            for at in 0..length {
                if self.keeps(into[at])? {
                    into[kept] = into[at];
                    kept += 1;
                }
            }
            // Zero kept bytes must not look like the end.
            if kept > 0 || length == 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_escapes_and_brackets_in_them_do_not_nest() {
        let cut = |json: &str, most| {
            let mut kept = String::new();
            Shallow::new(json.as_bytes(), most).read_to_string(&mut kept).unwrap();
            kept
        };
        assert_eq!(cut(r#"["ab\u00e9cd", "\"\\xyz"]"#, 3), r#"["ab\u00e9", "\"\\"]"#);
        let brackets = format!("[\"{}\"]", "[{".repeat(500));
        assert_eq!(cut(&brackets, 5000), brackets);
        let flat = "[{}]".repeat(500);
        assert_eq!(cut(&flat, 0), flat);
    }
}
