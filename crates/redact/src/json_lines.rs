//! Breaks JSON of any length into lines that the redactor judges whole, only where the next line does not depend on
//! this one. Changes nothing but white space; `json` judges the values.

use std::io;

use crate::names;

/// A line is broken at the first suitable place after this many bytes.
pub(crate) const LINE: usize = 64 << 10;
/// Bytes of a text that are remembered to recognize a name; a longer text is not recognized.
const NAME: usize = 128;
/// Deeper JSON is not broken.
const DEPTH: usize = 1024;

/// Passes JSON on unchanged, except for line ends around a comma between two values of a long line.
#[derive(Debug)]
pub struct JsonLines<W> {
    to: W,
    is_json: bool,
    in_text: bool,
    escaped: bool,
    line: usize,
    /// The beginning of the last text, and whether it is all of it.
    text: (Vec<u8>, bool),
    last: Last,
    within: Vec<Frame>,
}

/// What stood in front of a comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Text,
    Other,
}

/// Whether one value in an object or array decides if another one is redacted, as a `name` beside a `value` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// `true`: it may contain one half of a name-and-value pair.
    Object(bool),
    /// `true`: it stands under a sensitive name.
    Array(bool),
}

impl<W> JsonLines<W> {
    /// Input that is not JSON passes unchanged.
    pub fn new(to: W, is_json: bool) -> Self {
        let text = (Vec::new(), true);
        Self { to, is_json, in_text: false, escaped: false, line: 0, text, last: Last::Other, within: Vec::new() }
    }

    /// The writer underneath.
    pub fn into_inner(self) -> W {
        self.to
    }

    /// Whether the text behind a comma here can be judged without the text in front of it.
    fn parts(&self) -> bool {
        if self.within.iter().any(|frame| matches!(frame, Frame::Object(true) | Frame::Array(true))) {
            return false;
        }
        match self.within.last() {
            Some(Frame::Object(_)) => true,
            // A flag's value is the next text.
            Some(Frame::Array(_)) => self.last != Last::Text || self.text.0.first() != Some(&b'-'),
            None => false,
        }
    }

    /// Outside of a text.
    fn structure(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' if self.within.len() >= DEPTH => self.is_json = false,
            b'{' => {
                self.within.push(Frame::Object(false));
                self.text = (Vec::new(), true);
            }
            b'[' => {
                let sensitive = matches!(self.within.last(), Some(Frame::Object(_)))
                    && (!self.text.1 || names::judge(&self.text.0).is_some());
                self.within.push(Frame::Array(sensitive));
                self.text = (Vec::new(), true);
            }
            b'}' | b']' => {
                self.within.pop();
                self.last = Last::Other;
            }
            b':' => {
                if let Some(Frame::Object(half_a_pair)) = self.within.last_mut() {
                    let (text, whole) = &self.text;
                    *half_a_pair |= !whole || matches!(text.as_slice(), b"name" | b"key" | b"path" | b"value");
                }
                self.last = Last::Other;
            }
            byte if byte.is_ascii_whitespace() || byte == b',' => {}
            _ => self.last = Last::Other,
        }
    }

    fn in_text(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_text = false;
                self.last = Last::Text;
                return;
            }
            _ => {}
        }
        if self.text.0.len() < NAME {
            self.text.0.push(byte);
        } else {
            self.text.1 = false;
        }
    }
}

impl<W: io::Write> io::Write for JsonLines<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        for (at, byte) in data.iter().enumerate() {
            if !self.is_json {
                break;
            }
            self.line += 1;
            match byte {
                _ if self.in_text => self.in_text(*byte),
                b'"' => (self.in_text, self.text) = (true, (Vec::new(), true)),
                b'\n' => self.line = 0,
                b',' if self.line > LINE && self.parts() => {
                    self.to.write_all(&data[done..at])?;
                    self.to.write_all(b"\n,\n")?;
                    done = at + 1;
                    self.line = 0;
                }
                byte => self.structure(*byte),
            }
        }
        self.to.write_all(&data[done..])?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
