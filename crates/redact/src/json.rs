//! JSON in a line of text, whole or cut off at either end: each value is judged with its key, in the original bytes.
//! JSON is never parsed and written again, so bytes that are not masked stay as they are.

use std::ops::Range;

use crate::{
    MAX_LINE, arguments,
    names::{self, Strength},
    nested_keys,
    token::Span,
    unescape::unescaped,
    value,
};

pub(super) const KEY: &str = "object-key";
pub(super) const PAIR: &str = "named-pair";

/// Deeper JSON is judged only by its names.
const DEPTH: usize = 128;
/// How many levels of JSON within JSON strings are read; possible JSON below that is masked as a whole.
const NESTED: usize = 6;
/// Most elements of an array that are judged together.
const ELEMENTS: usize = 1024;

/// Whether the text may contain JSON.
pub(super) fn may_hold(text: &[u8]) -> bool {
    (goes_on(text) || memchr::memchr2(b'{', b'[', text).is_some()) && memchr::memchr(b'"', text).is_some()
}

/// Whether the text begins like the rest of a JSON value from an earlier line.
fn goes_on(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b',' | b'"' | b']' | b'}'))
}

/// The values to mask because of their key, their name or the flag in front of them.
pub(super) fn find(text: &[u8], spans: &mut Vec<Span>) {
    Scanner { text, nested: 0, stack: Vec::new(), spans }.run();
}

/// Whether a bracket in front of `rest` begins escaped JSON: an escaped quote, perhaps behind an escaped line end.
fn escaped_begins(mut rest: &[u8]) -> bool {
    for _ in 0..DEPTH {
        rest = rest.trim_ascii_start();
        let escapes = rest.iter().take_while(|byte| **byte == b'\\').count();
        match rest.get(escapes) {
            Some(b'"') => return escapes > 0,
            Some(b'n' | b'r' | b't') if escapes > 0 => rest = &rest[escapes + 1..],
            // `[{\"name\": …`
            Some(b'{' | b'[') if escapes == 0 => rest = &rest[1..],
            _ => return false,
        }
    }
    false
}

enum Frame {
    Object { key: Option<Range<usize>>, colon: bool, pair: Pair, outer: Option<Strength>, manifest: Manifest },
    Array { under: Under, strings: Vec<Range<usize>>, of_pair: bool },
}

impl Frame {
    fn object(under: Under) -> Self {
        let manifest = Manifest { is_data: under.is_data, ..Manifest::default() };
        Self::Object { key: None, colon: false, pair: Pair::default(), outer: under.object, manifest }
    }
}

/// What the key of an object or array says about the texts in it and the fields of its objects.
#[derive(Default, Clone, Copy)]
struct Under {
    text: Option<Strength>,
    object: Option<Strength>,
    /// The key is the one that holds a Secret's values, if this is a Secret.
    is_data: bool,
}

/// Whether an object is a Secret that was written out, and the values in it.
#[derive(Default)]
struct Manifest {
    is_secret: bool,
    /// The object is the `data` of another one and contains the values itself.
    is_data: bool,
    values: Vec<Range<usize>>,
}

impl Under {
    fn of(name: &[u8], outer: Option<Strength>) -> Self {
        let within = outer.and_then(|outer| nested_keys::field(outer, name));
        let is_data = matches!(name, b"data" | b"stringData");
        Self { text: names::judge(name).or(within), object: nested_keys::holds(name).or(within), is_data }
    }
}

/// `{"name": …, "value": …}`, in either order; the value may be an array.
#[derive(Default)]
struct Pair {
    name: Option<Strength>,
    /// The ranges, and whether each is a number.
    values: Vec<(Range<usize>, bool)>,
}

/// The text turned out not to be JSON.
struct NotJson;

struct Scanner<'a> {
    text: &'a [u8],
    nested: usize,
    stack: Vec<Frame>,
    spans: &'a mut Vec<Span>,
}

impl Scanner<'_> {
    fn run(mut self) {
        let mut at = 0;
        let mut goes_on = goes_on(self.text);
        while at < self.text.len() {
            if self.stack.is_empty() && goes_on {
                match self.text[at] {
                    b'"' => {
                        let frame = self.guess(at);
                        self.stack.push(frame);
                    }
                    byte if byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}') => {
                        at += 1;
                        continue;
                    }
                    _ => goes_on = false,
                }
            }
            if self.stack.is_empty() {
                let Some(found) = memchr::memchr2(b'{', b'[', &self.text[at..]) else { return };
                at += found;
                if escaped_begins(&self.text[at + 1..]) {
                    // It is a JSON string whose beginning may be out of sight; the JSON ends where that string ends.
                    let end = self.string_end(at);
                    self.within(at..end);
                    at = end;
                    continue;
                }
                if !self.begins(at + 1) {
                    at += 1;
                    continue;
                }
            }
            at = self.step(at).unwrap_or_else(|| {
                self.stack.clear();
                goes_on = false;
                at + 1
            });
        }
        if self.text.len() >= MAX_LINE {
            // The cut-off part may contain the name of a value.
            for frame in &mut self.stack {
                if let Frame::Object { pair, .. } = frame {
                    pair.name = pair.name.or(Some(Strength::Strong));
                }
            }
        }
        while self.pop() {}
    }

    /// Guesses what the text at `at` stands in when the beginning is out of sight: a colon behind it means an object.
    fn guess(&self, at: usize) -> Frame {
        let behind = self.text.get(self.string_end(at + 1) + 1..).unwrap_or_default();
        if behind.trim_ascii_start().first() == Some(&b':') {
            Frame::object(Under::default())
        } else {
            Frame::Array { under: Under::default(), strings: Vec::new(), of_pair: false }
        }
    }

    /// Whether the text at `from`, behind a bracket, can be JSON.
    fn begins(&self, from: usize) -> bool {
        let next = self.text[from..].iter().find(|b| !b.is_ascii_whitespace());
        matches!(next, None | Some(b'"' | b'{' | b'[' | b'}' | b']'))
    }

    /// Reads one token and returns where the next begins; `None` if this is not JSON.
    fn step(&mut self, at: usize) -> Option<usize> {
        match self.text[at] {
            b'{' | b'[' if self.stack.len() >= DEPTH => None,
            b'{' => {
                let under = self.container().ok()?;
                self.stack.push(Frame::object(under));
                Some(at + 1)
            }
            b'[' => {
                let of_pair = self.key().is_some_and(|key| key == b"value");
                let under = self.container().ok()?;
                self.stack.push(Frame::Array { under, strings: Vec::new(), of_pair });
                Some(at + 1)
            }
            b'}' | b']' => {
                let object = matches!(self.stack.last()?, Frame::Object { .. });
                if object != (self.text[at] == b'}') {
                    return None;
                }
                self.pop();
                Some(at + 1)
            }
            b',' => Some(at + 1),
            b':' => match self.stack.last_mut()? {
                Frame::Object { key: Some(_), colon, .. } => {
                    *colon = true;
                    Some(at + 1)
                }
                _ => None,
            },
            b'"' => {
                let content = at + 1..self.string_end(at + 1);
                let next = content.end + 1;
                self.string(content)?;
                Some(next)
            }
            byte if byte.is_ascii_whitespace() => Some(at + 1),
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => {
                let plain = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
                let end = at + self.text[at..].iter().take_while(plain).count();
                self.literal(at..end)?;
                Some(end)
            }
            _ => None,
        }
    }

    fn string_end(&self, from: usize) -> usize {
        let mut at = from;
        while let Some(found) = memchr::memchr2(b'"', b'\\', self.text.get(at..).unwrap_or_default()) {
            at += found;
            if self.text[at] == b'"' {
                return at;
            }
            at += 2;
        }
        self.text.len()
    }

    /// The key of the object that the next value belongs to.
    fn key(&self) -> Option<&[u8]> {
        match self.stack.last()? {
            Frame::Object { key, .. } => Some(&self.text[key.clone()?]),
            Frame::Array { .. } => None,
        }
    }

    /// What the key says about an object or array that begins here.
    fn container(&mut self) -> Result<Under, NotJson> {
        match self.stack.last_mut() {
            Some(Frame::Object { key, colon, outer, .. }) => {
                let name = key.take().filter(|_| std::mem::take(colon)).ok_or(NotJson)?;
                Ok(Under::of(&self.text[name], *outer))
            }
            Some(Frame::Array { under, .. }) => Ok(*under),
            None => Ok(Under::default()),
        }
    }

    fn string(&mut self, content: Range<usize>) -> Option<()> {
        let text = self.text;
        let strength;
        match self.stack.last_mut()? {
            Frame::Object { key: key @ None, .. } => {
                *key = Some(content);
                return Some(());
            }
            Frame::Object { key, colon, pair, outer, manifest } => {
                let name = &text[key.take().filter(|_| std::mem::take(colon))?];
                strength = Under::of(name, *outer).text;
                match name {
                    b"name" | b"key" | b"path" => pair.name = names::judge(&text[content.clone()]).or(pair.name),
                    b"value" => pair.values.push((content.clone(), false)),
                    b"kind" => manifest.is_secret = &text[content.clone()] == b"Secret",
                    _ => {}
                }
                if manifest.is_data {
                    manifest.values.push(content.clone());
                }
            }
            Frame::Array { under, strings, .. } => {
                strength = under.text;
                if strings.len() < ELEMENTS {
                    strings.push(content.clone());
                }
            }
        }
        if let Some(strength) = strength {
            self.mask(content.clone(), KEY, strength);
        }
        self.within(content);
        Some(())
    }

    fn literal(&mut self, at: Range<usize>) -> Option<()> {
        let number = self.text[at.start].is_ascii_digit() || self.text[at.start] == b'-';
        if let Frame::Object { key, colon, pair, outer, .. } = self.stack.last_mut()? {
            let name = &self.text[key.take().filter(|_| std::mem::take(colon))?];
            if number && name == b"value" {
                pair.values.push((at.clone(), true));
            }
            let count = name.starts_with(b"known-") || value::is_count(name, &self.text[at.clone()]);
            if number && Under::of(name, *outer).text == Some(Strength::Strong) && !count {
                let value = self.text[at.clone()].to_vec();
                self.spans.push(Span::new(at, KEY, value).quoted(b"\""));
            }
        }
        Some(())
    }

    fn mask(&mut self, content: Range<usize>, rule: &'static str, strength: Strength) {
        let (text, _) = unescaped(&self.text[content.clone()]);
        if value::masks(&text, strength, value::ValueContext::Structure, true) {
            self.spans.push(Span::new(content, rule, text));
        }
    }

    /// JSON that is escaped in a string.
    fn within(&mut self, content: Range<usize>) {
        let raw = &self.text[content.clone()];
        let may_hold = memchr::memchr(b'\\', raw).is_some() && memchr::memchr2(b'{', b'[', raw).is_some();
        if !may_hold {
            return;
        }
        let (text, places) = unescaped(raw);
        if self.nested >= NESTED {
            // The names and values in there have not been judged.
            self.spans.push(Span::new(content, KEY, text));
            return;
        }
        let mut inner = Vec::new();
        Scanner { text: &text, nested: self.nested + 1, stack: Vec::new(), spans: &mut inner }.run();
        self.spans.extend(inner.into_iter().map(|mut span| {
            span.at = content.start + places[span.at.start]..content.start + places[span.at.end];
            if !span.quote.is_empty() {
                let quote = String::from_utf8_lossy(&span.quote).replace('\\', "\\\\").replace('"', "\\\"");
                span.quote = quote.into_bytes();
            }
            span
        }));
    }

    /// Closes the innermost object or array, and judges what needs more than one of its values.
    fn pop(&mut self) -> bool {
        match self.stack.pop() {
            Some(Frame::Object { pair: Pair { name, values }, manifest, .. }) => {
                for (at, number) in values {
                    if let Some(strength) = name {
                        self.of_pair(at, number, strength);
                    }
                }
                self.values(manifest);
                true
            }
            Some(Frame::Array { strings, of_pair, .. }) => {
                self.arguments(&strings);
                if let Some(Frame::Object { pair, .. }) = self.stack.last_mut().filter(|_| of_pair) {
                    pair.values.extend(strings.into_iter().map(|at| (at, false)));
                }
                true
            }
            found => found.is_some(),
        }
    }

    /// Masks a Secret's values. If this may be a Secret's data, the outer object decides: its kind may come later.
    fn values(&mut self, Manifest { is_secret, is_data, values }: Manifest) {
        if is_secret {
            for at in values {
                self.mask(at, KEY, Strength::Strong);
            }
        } else if is_data && let Some(Frame::Object { manifest, .. }) = self.stack.last_mut() {
            manifest.values.extend(values);
        }
    }

    fn of_pair(&mut self, at: Range<usize>, number: bool, strength: Strength) {
        if !number {
            self.mask(at, PAIR, strength);
        } else if strength == Strength::Strong {
            let value = self.text[at.clone()].to_vec();
            self.spans.push(Span::new(at, PAIR, value).quoted(b"\""));
        }
    }

    fn arguments(&mut self, strings: &[Range<usize>]) {
        if strings.len() < 2 {
            return;
        }
        let texts: Vec<&[u8]> = strings.iter().map(|at| &self.text[at.clone()]).collect();
        for (index, span) in arguments::find(&texts) {
            let from = strings[index].start;
            self.spans.push(Span { at: from + span.at.start..from + span.at.end, ..span });
        }
    }
}
