//! Values on another line than their names: `"name": "DB_PASSWORD",` above `"value": …`, `password:` or `password: |`
//! above its value, a list element above the next one. Only a few words are remembered, and a line that does not
//! continue the value clears them. A value above its name is not seen here, since lines are not held back for it.

use std::sync::LazyLock;

use regex::bytes::Regex;

use command::ShellCommand;
use line::Line;
pub(super) use line::behind_properties;

use crate::{
    arguments,
    json::{KEY, PAIR},
    names::{self, Strength},
    nested_keys,
    token::{self, Span},
    value::{self, ValueContext},
};

mod command;
mod line;

/// Most lines of other writers that may stand in between.
const OTHERS: u8 = 4;
/// Most lines between `kind: Secret` and its data.
const KIND: u16 = 200;
/// Most lines of a block.
const LONGEST: u16 = 1000;
/// Most lines of a text in quotes.
const QUOTED: u16 = 32;
/// Most bytes of a line that may open one; also of a value's name.
const OPENING: usize = 512;

/// The container runtime's prefix of a line.
static PREFIX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+(?:Z|[+-][0-9:]+)? )?(?:std(?:out|err) [FP] )?")
        .expect("a pattern of ours; the tests build it")
});
/// The beginning of a log line.
static OTHER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?-u)^(?:time=|ts=|level=|\{"|[IWEF][0-9]{4} |[0-9]{4}-[0-9]{2}-[0-9]{2})"#)
        .expect("a pattern of ours; the tests build it")
});

/// What the lines so far say about the next one.
#[derive(Default)]
pub(super) struct MultilineState {
    waits: Option<Waits>,
    /// Column of `kind: Secret`, and how many more lines may follow before its data.
    secret: Option<(usize, u16)>,
    /// Whether the lines carry a prefix of the runtime.
    prefixed: bool,
    behind_a_head: bool,
    others: u8,
    command: Option<ShellCommand>,
}

#[derive(Clone, Copy)]
enum Waits {
    /// For the field `value`, behind a field with its name.
    Value(Strength),
    /// For a scalar further in than this column, elements of a list, or fields of an object.
    Scalar(Strength, usize),
    /// For fields alone.
    Fields(Strength, usize),
    /// For all lines that are further in, at most this many.
    Block(usize, u16),
    /// For the rest of a text in quotes, further in than this column, at most this many lines.
    Quoted(usize, u16),
    /// For elements of a JSON array.
    Array(Strength),
    /// For the element behind a flag.
    Flag(Strength),
    /// For the values of a Secret whose `data` stands in this column; then the column of their names, once known.
    Data(usize, usize),
    /// For `password x` below `login y`, as .netrc has it.
    Netrc,
    /// For `<value>…</value>` behind `<name>…</name>`; at most this many other elements may stand in between.
    ElementOfPair(Strength, u8),
    /// For the text of an element with this name: at most this many lines, up to one that begins with a tag.
    Element(Strength, u16),
}

impl MultilineState {
    /// Whether the next line must be shown to [`State::next`], whatever it contains.
    pub(super) fn watches(&self) -> bool {
        self.waits.is_some() || self.secret.is_some() || self.command.is_some()
    }

    /// Takes a line without its end. Returns what to mask because of the lines above, and prepares for the next.
    pub(super) fn next(&mut self, text: &[u8]) -> Option<Span> {
        if !self.watches() && text.len() > OPENING {
            return None;
        }
        let prefix = PREFIX.find(text).map_or(0, |prefix| prefix.end());
        let line = Line::of(text, prefix);
        let argument = ShellCommand::next(&mut self.command, &line);
        let data = self.is_data(&line);
        let mut found = line.data().filter(|_| data);
        let data = data && found.is_none();
        if let Some(waits) = self.waits {
            let another = self.prefixed != (prefix > 0) || (prefix == 0 && OTHER.is_match(text));
            // The first line stands behind the head of a log line; this one may lack such a head.
            let goes_on = self.behind_a_head && line.is_value();
            let another = another && !goes_on;
            if another && self.others > 0 {
                self.others -= 1;
                return argument;
            }
            self.waits = None;
            if !another {
                found = self.judged(waits, &line);
            }
        }
        if self.waits.is_none() && text.len() <= OPENING {
            self.waits = if data { Some(Waits::Data(line.column, 0)) } else { line.opens() };
            let head = line.field().is_none() || (prefix > 0 && line.is_element);
            self.behind_a_head = head && matches!(self.waits, Some(Waits::Value(_)));
            (self.prefixed, self.others) = (prefix > 0, OTHERS);
        }
        found.or(argument)
    }

    /// Whether the line is the `data` of a Secret whose kind stands above in the same column.
    fn is_data(&mut self, line: &Line<'_>) -> bool {
        if let Some((column, left)) = self.secret {
            let ends = left == 0 || line.text[line.body.clone()].starts_with(b"---");
            let ends = ends || (!line.body.is_empty() && line.column < column);
            self.secret = (!ends).then(|| (column, left - 1));
        }
        match line.field() {
            Some((b"kind", of)) => {
                let is_secret = line.scalar(line.plain(of)).is_some_and(|(of, _)| &line.text[of] == b"Secret");
                self.secret = is_secret.then_some((line.column, KIND));
                false
            }
            Some((b"data" | b"stringData", rest)) => {
                let begins = line.plain(rest.clone()).is_empty() || line.text[rest].starts_with(b"{");
                begins && self.secret.is_some_and(|(column, _)| column == line.column)
            }
            _ => false,
        }
    }

    /// A line between the tags of an element, or one that ends it.
    fn in_element(&mut self, line: &Line<'_>, strength: Strength, left: u16) -> Option<Span> {
        let text = &line.text[line.body.clone()];
        if text.starts_with(b"<") {
            return None;
        }
        let end = memchr::memchr(b'<', text).map_or(line.body.end, |at| line.body.start + at);
        self.waits = (end == line.body.end && left > 0).then(|| Waits::Element(strength, left - 1));
        line.of_element(line.body.start..end, strength)
    }

    /// Judges one line without its prefix that belongs to the awaited value.
    fn judged(&mut self, waits: Waits, line: &Line<'_>) -> Option<Span> {
        match waits {
            Waits::Value(_) | Waits::Scalar(..) | Waits::Fields(..) | Waits::ElementOfPair(..) | Waits::Element(..)
                if line.says_nothing() =>
            {
                self.waits = Some(waits);
                None
            }
            Waits::Value(strength) => {
                let (_, rest) = line.field().filter(|_| line.is_value())?;
                self.waits = line.goes_on(&rest, strength);
                line.masked(rest, strength, PAIR)
            }
            Waits::Scalar(strength, column) | Waits::Fields(strength, column) => {
                if !(line.column > column || (line.is_element && line.indent >= column)) {
                    return None;
                }
                if let Some((name, rest)) = line.field() {
                    self.waits = Some(waits);
                    let strength = names::judge(name).or_else(|| nested_keys::field(strength, name))?;
                    self.waits = line.goes_on(&rest, strength).filter(|_| !rest.is_empty()).or(self.waits);
                    return line.masked(rest, strength, PAIR);
                }
                line.scalar(line.body.clone()).filter(|_| matches!(waits, Waits::Scalar(..)))?;
                self.waits = Some(waits);
                line.masked(line.body.clone(), strength, KEY)
            }
            Waits::Block(column, left) => {
                if !line.body.is_empty() && line.indent <= column {
                    return None;
                }
                self.waits = (left > 0).then(|| Waits::Block(column, left - 1));
                let whole = line.first..line.body.end;
                (!whole.is_empty()).then(|| Span::new(whole.clone(), KEY, line.text[whole].to_vec()))
            }
            Waits::Quoted(column, left) => {
                let whole = line.first..line.body.end;
                let close = line.text[whole.clone()].iter().position(|byte| matches!(byte, b'"' | b'\''));
                if !line.body.is_empty() && line.indent <= column {
                    return None;
                }
                self.waits = (close.is_none() && left > 0).then(|| Waits::Quoted(column, left - 1));
                let text = &line.text[whole.clone()];
                let escapes = |to: usize| text[..to].iter().rev().take_while(|byte| **byte == b'\\').count();
                let end = close.map_or(whole.end, |to| whole.start + to - escapes(to));
                let value = line.text[whole.start..end].to_vec();
                let masks = value::masks(&token::without(&value), Strength::Strong, ValueContext::Structure, true);
                masks.then(|| Span::new(whole.start..end, KEY, value))
            }
            Waits::Array(strength) => {
                line.scalar(line.body.clone()).filter(|(_, quoted)| *quoted)?;
                self.waits = Some(waits);
                line.masked(line.body.clone(), strength, KEY)
            }
            Waits::Data(column, names) => {
                if line.body.is_empty() || line.column > column {
                    self.waits = Some(waits);
                }
                if line.body.is_empty() || line.column <= column {
                    return None;
                }
                let first = if names == 0 { line.column } else { names };
                self.waits = Some(Waits::Data(column, first));
                let whole = line.body.clone();
                let value = if line.column == first { line.field().map_or(whole, |(_, rest)| rest) } else { whole };
                let value = line.scalar(value.clone()).map_or(value, |(value, _)| value);
                let text = &line.text[value.clone()];
                let block = matches!(text, [b'|' | b'>', ..]) && text.len() <= 3;
                let masks =
                    !block && value::masks(&token::without(text), Strength::Strong, ValueContext::Structure, true);
                masks.then(|| Span::new(value, KEY, text.to_vec()))
            }
            Waits::Netrc => {
                let (rule, word) = (crate::vendors::NETRC.id, b"password ");
                let value = line.text[line.body.clone()].strip_prefix(word).filter(|value| !value.contains(&b' '))?;
                Some(Span::new(line.body.end - value.len()..line.body.end, rule, value.to_vec()))
            }
            Waits::ElementOfPair(strength, left) => {
                let element = line.element()?;
                if element.name.eq_ignore_ascii_case(b"value") {
                    let opens = element.content.is_empty() && !element.closed;
                    self.waits = opens.then_some(Waits::Element(strength, QUOTED));
                    return line.of_element(element.content, strength);
                }
                self.waits = (element.closed && left > 0).then(|| Waits::ElementOfPair(strength, left - 1));
                None
            }
            Waits::Element(strength, left) => self.in_element(line, strength, left),
            Waits::Flag(strength) => {
                let (at, quoted) = line.scalar(line.body.clone())?;
                if !(quoted || line.is_element) || line.text[at].starts_with(b"--") {
                    return None;
                }
                line.masked(line.body.clone(), strength, arguments::RULE)
            }
        }
    }
}

/// The same for a text of several lines, or a single line in which line ends are escaped.
pub(super) fn find(text: &[u8], spans: &mut Vec<Span>) {
    let mut state = MultilineState::default();
    let mut from = 0;
    if memchr::memchr(b'\n', text).is_some() {
        // A file that was decoded from base64.
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            spans.extend(state.next(line).map(|span| moved(span, from)));
            from += line.len();
        }
        return;
    }
    let (mut lines, mut escapes) = (false, 1);
    while from <= text.len() {
        let (to, next) = escaped_end(text, from).unwrap_or((text.len(), text.len() + 1));
        if next <= text.len() {
            (lines, escapes) = (true, next - 1 - to);
        }
        if !lines {
            return;
        }
        // A quote with fewer backslashes than the line ends belongs to the outer text: no value continues behind it.
        let mut start = from;
        while let Some(quote) = outer_quote(&text[start..to], escapes) {
            if let Some(span) = state.next(&text[start..start + quote]).filter(|_| start == from) {
                spans.push(moved(span, start));
            }
            state = MultilineState::default();
            start += quote + 1;
        }
        if let Some(span) = (start < to).then(|| state.next(&text[start..to])).flatten() {
            spans.push(moved(span, start));
        }
        from = next;
    }
}

fn moved(mut span: Span, by: usize) -> Span {
    span.at = span.at.start + by..span.at.end + by;
    span
}

/// Where the next escaped line end begins, and where the line behind it begins.
fn escaped_end(text: &[u8], mut from: usize) -> Option<(usize, usize)> {
    loop {
        let at = from + memchr::memchr(b'\\', text.get(from..)?)?;
        let code = at + text[at..].iter().take_while(|byte| **byte == b'\\').count();
        if text.get(code) == Some(&b'n') {
            return Some((at, code + 1));
        }
        from = code + 1;
    }
}

fn outer_quote(text: &[u8], escapes: usize) -> Option<usize> {
    let slashes = |at: usize| text[..at].iter().rev().take(escapes).take_while(|byte| **byte == b'\\').count();
    memchr::memchr_iter(b'"', text).find(|at| slashes(*at) < escapes)
}
