//! Values of several parts on one line, as YAML and Go write them without quotes: `{user: a, pass: b}`, `map[value:a]`,
//! `[a b]`. `json` handles JSON, `multiline` handles parts on lines of their own.

use crate::{
    json,
    names::{self, Strength},
    nested_keys,
    quote::Quote,
    separators::unquoted_end,
    token::{self, Span},
    value::{self, ValueContext},
};

/// Most bytes of such a value that are read, from its first bracket.
const LONGEST: usize = 4096;
const DEPTH: usize = 8;
/// Most bytes in the name of a type or of a field in front of it.
const TYPE: usize = 40;

/// Masks the secret fields of the object that begins at `at` and returns where it ends; `None` if there is no object.
/// `of_json`: the key in front is JSON's, and so are names in double quotes.
pub(super) fn object(line: &[u8], at: usize, of_json: bool, outer: Strength, spans: &mut Vec<Span>) -> Option<usize> {
    let line = &line[..line.len().min(at + LONGEST)];
    let (close, from) = opens(line, at)?;
    Flow { line, of_json, spans }.fields(from, close, Some(outer), 0)
}

/// The bracket that closes the object at `at`, and where its first part begins.
fn opens(line: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = line.get(at..)?;
    if let Some(length) = go_map(rest) {
        return Some((b'}', at + length));
    }
    let go_type =
        rest.iter().take(TYPE).take_while(|byte| byte.is_ascii_alphanumeric() || b"&*.".contains(byte)).count();
    match rest.get(go_type)? {
        b'{' => Some((b'}', at + go_type + 1)),
        b'[' if rest.starts_with(b"map[") => Some((b']', at + 4)),
        // A gRPC message.
        b'<' if rest.starts_with(b"<key:") || is_message(&rest[1..]) => Some((b'>', at + 1)),
        _ => None,
    }
}

/// Length of `map[string]string{` and similar: Go's `%#v` writes the type in front of the value.
fn go_map(rest: &[u8]) -> Option<usize> {
    let is_type = |byte: &&u8| byte.is_ascii_alphanumeric() || b"*._".contains(byte);
    let word = |text: &[u8]| text.iter().take(TYPE).take_while(is_type).count();
    let key = word(rest.strip_prefix(b"map[")?);
    let of = rest[4 + key..].strip_prefix(b"]")?;
    let list = if of.starts_with(b"[]") { 2 } else { 0 };
    let mut length = list + word(&of[list..]);
    if of[length..].starts_with(b" {}") || of[length..].starts_with(b"{}") {
        length += 2 + usize::from(of[length] == b' ');
    }
    (key > 0 && length > list && of.get(length) == Some(&b'{')).then_some(4 + key + 1 + length + 1)
}

/// `value:"x" >`: the first field of a message as gRPC prints it.
fn is_message(fields: &[u8]) -> bool {
    let name = fields.iter().take(TYPE).take_while(|byte| is_name(**byte)).count();
    name > 0 && fields.get(name) == Some(&b':') && Quote::at(fields, name + 1).is_some()
}

/// A field's name: its range within its quotes, and where its value begins.
struct Name {
    at: std::ops::Range<usize>,
    quote: Option<Quote>,
    value: usize,
}

struct Flow<'a> {
    line: &'a [u8],
    of_json: bool,
    spans: &'a mut Vec<Span>,
}

impl Flow<'_> {
    /// The place behind the closing bracket, or the line's end before it. `None`: the first part is no field.
    fn fields(&mut self, from: usize, close: u8, outer: Option<Strength>, depth: usize) -> Option<usize> {
        let mut at = from;
        let mut first = true;
        loop {
            at = self.filler(at);
            match self.line.get(at) {
                None => return (!first).then_some(at),
                Some(byte) if *byte == close => return (!first).then_some(at + 1),
                Some(_) => {}
            }
            let Some(Name { at: name, quote, value }) = self.name(at) else { return (!first).then_some(at) };
            first = false;
            let name = &self.line[name];
            let strength = names::judge(name).or_else(|| outer.and_then(|outer| nested_keys::field(outer, name)));
            at = match opens(self.line, value).filter(|_| depth < DEPTH) {
                Some((close, from)) => {
                    let outer = nested_keys::of(strength, name);
                    self.fields(from, close, outer, depth + 1).unwrap_or(from)
                }
                None => self.scalar(value, strength, quote),
            };
        }
    }

    fn filler(&self, from: usize) -> usize {
        let is_filler = |byte: &&u8| matches!(**byte, b' ' | b'\t' | b',' | b';');
        from + self.line[from.min(self.line.len())..].iter().take_while(is_filler).count()
    }

    /// A name in front of a colon or an equals sign.
    fn name(&self, at: usize) -> Option<Name> {
        let quote = Quote::at(self.line, at);
        if quote.is_some_and(|(quote, _)| self.of_json && quote.bytes().ends_with(b"\"")) {
            return None;
        }
        let from = quote.map_or(at, |(_, from)| from);
        let to = from + self.line.get(from..)?.iter().take_while(|byte| is_name(**byte)).count();
        let behind = match quote {
            Some((quote, _)) => Quote::at(self.line, to).filter(|(found, _)| *found == quote)?.1,
            None => to,
        };
        let separated = to > from && matches!(self.line.get(behind), Some(b':' | b'='));
        let blanks = self.line.get(behind + 1..)?.iter().take_while(|byte| **byte == b' ').count();
        separated.then_some(Name { at: from..to, quote: quote.map(|(quote, _)| quote), value: behind + 1 + blanks })
    }

    fn scalar(&mut self, from: usize, strength: Option<Strength>, name: Option<Quote>) -> usize {
        let quote = Quote::at(self.line, from);
        let (content, end) = if let Some((quote, start)) = quote {
            let to = quote.close_doubled(self.line, start);
            (start..to, Quote::at(self.line, to).map_or(to, |(_, behind)| behind))
        } else {
            let to = self.end(from);
            (from..to, to)
        };
        let raw = &self.line[content.clone()];
        if let Some(strength) = strength
            && value::masks(&token::without(raw), strength, ValueContext::Structure, quote.is_some())
        {
            let decoded = quote.map_or_else(|| raw.to_vec(), |(quote, _)| quote.decoded(raw));
            let span = Span::new(content, json::KEY, decoded);
            // A JSON number becomes a string.
            let name = name.filter(|name| quote.is_none() && name.bytes().ends_with(b"\""));
            self.spans.push(match name {
                Some(name) => span.quoted(&name.bytes()),
                None => span,
            });
        }
        end.max(from + usize::from(end == from && from < self.line.len() && !b",}]>".contains(&self.line[from])))
    }

    /// The end of a value. It may contain blanks, but not in front of the next name.
    fn end(&self, from: usize) -> usize {
        let mut to = unquoted_end(self.line, from, 0);
        // A comma directly in front of a letter or digit may belong to it too.
        let comma = |to: usize| self.line[to] == b',' && self.line.get(to + 1).is_some_and(u8::is_ascii_alphanumeric);
        while self.line.get(to).is_some_and(|byte| *byte == b' ' || comma(to)) && self.name(to + 1).is_none() {
            let next = unquoted_end(self.line, to + 1, 0);
            if next == to + 1 {
                break;
            }
            to = next;
        }
        to
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Where a list ends whose first element, at `from`, was taken for a secret: `[104 117 110]`, `[a, b]`. The whole list
/// counts as one value.
pub(super) fn list_end(line: &[u8], from: usize) -> Option<usize> {
    let rest = &line[from..line.len().min(from + LONGEST)];
    let plain = |byte: &u8| !matches!(byte, b'"' | b'\'' | b'`' | b'{' | b'}' | b'[' | b'\\' | b'=' | b'\n');
    let to = rest.iter().position(|byte| matches!(byte, b']' | b'}')).unwrap_or(rest.len());
    rest[..to].iter().all(plain).then_some(from + to)
}

/// `104 117 110`: bytes, as Go prints them.
pub(super) fn is_bytes(list: &[u8]) -> bool {
    let mut numbers = list.split(|byte| matches!(byte, b' ' | b',')).filter(|number| !number.is_empty()).peekable();
    let is_byte = |number: &[u8]| match number.strip_prefix(b"0x") {
        Some(hex) => (1..=2).contains(&hex.len()) && hex.iter().all(u8::is_ascii_hexdigit),
        None => number.len() <= 3 && number.iter().all(u8::is_ascii_digit),
    };
    numbers.peek().is_some() && numbers.all(is_byte) && list.len() >= 12
}

/// Where an unquoted value ends that has parts behind commas, as plural names have: `API_KEYS=a,b`.
pub(super) fn several_end(line: &[u8], mut to: usize) -> usize {
    while line.get(to) == Some(&b',') {
        let next = unquoted_end(line, to + 1, 0);
        if next == to + 1 || line[to + 1..next].contains(&b'=') {
            break;
        }
        to = next;
    }
    to
}

/// Where a connection string's value with a blank in it ends: `;Password=a b;Encrypt=true`. It ends at a semicolon in
/// front of another name, or with the text.
pub(super) fn setting_end(line: &[u8], name: usize, from: usize, to: usize) -> usize {
    let in_settings = line[..name].trim_ascii_end().ends_with(b";");
    if !in_settings || line.get(to) != Some(&b' ') {
        return to;
    }
    let rest = &line[from..line.len().min(from + 256)];
    let end =
        rest.iter().position(|byte| matches!(byte, b';' | b'"' | b'\'' | b'\\' | b'=' | b'\n')).unwrap_or(rest.len());
    let next = rest[end..].iter().skip(1).position(|byte| *byte == b'=').unwrap_or(usize::MAX);
    match rest.get(end) {
        Some(b';') if next < 64 || rest[end + 1..].is_empty() => from + end,
        Some(b'"' | b'\'' | b'\\') => from + end,
        _ => to,
    }
}
