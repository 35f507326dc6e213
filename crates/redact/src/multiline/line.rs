//! One line of YAML or JSON: where its field, its element or its text stands, and what it says about the lines below.
//! `multiline` keeps the state from line to line.

use std::ops::Range;

use super::{LONGEST, QUOTED, Waits};
use crate::{
    json::{KEY, PAIR},
    names::{self, Strength},
    nested_keys,
    quote::Quote,
    token::{self, OPEN, Span},
    value::{self, ValueContext},
};

/// One line of YAML or JSON.
pub(super) struct Line<'a> {
    pub(super) text: &'a [u8],
    /// Columns, counted from behind the prefix: of the first character, and of the text behind the dashes of lists.
    pub(super) indent: usize,
    pub(super) column: usize,
    pub(super) is_element: bool,
    /// Index of the first character.
    pub(super) first: usize,
    /// The text behind the dashes, trimmed.
    pub(super) body: Range<usize>,
}

/// An element of XML that begins a line.
pub(super) struct Element<'a> {
    pub(super) name: &'a [u8],
    pub(super) content: Range<usize>,
    /// Its end tag follows its content.
    pub(super) closed: bool,
}

/// Most elements between the name and the value of a pair, such as a description.
const BETWEEN: u8 = 3;

impl<'a> Line<'a> {
    pub(super) fn of(text: &'a [u8], prefix: usize) -> Self {
        let mut end = text.len();
        while end > prefix && (text[end - 1].is_ascii_whitespace() || text[prefix..end].ends_with(b"\\r")) {
            end -= if text[end - 1].is_ascii_whitespace() { 1 } else { 2 };
        }
        // The sign of a diff, where other lines have a blank.
        let signed = match text[prefix..end] {
            [b'+', ..] => 1,
            [b'-', next, ..] if next.is_ascii_alphanumeric() => 1,
            _ => 0,
        };
        let first = blank(text, prefix + signed, end);
        let mut at = first;
        while text[at..end].starts_with(b"- ") {
            at = blank(text, at + 1, end);
        }
        Self { text, indent: first - prefix, column: at - prefix, is_element: at > first, first, body: at..end }
    }

    /// `name: …` or `"name": …`, and the range behind it.
    pub(super) fn field(&self) -> Option<(&'a [u8], Range<usize>)> {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let (name, at) = if let Some((quote, from)) = Quote::at(self.text, self.body.start) {
            let to = quote.close(&self.text[..self.body.end], from);
            (from..to, Quote::at(&self.text[..self.body.end], to)?.1)
        } else {
            let rest = &self.text[self.body.clone()];
            let to = self.body.start + rest.iter().position(|byte| !is_name(byte))?;
            (self.body.start..to, to)
        };
        let name = &self.text[name];
        if name.is_empty() || !name.iter().all(is_name) {
            return None;
        }
        let at = blank(self.text, at, self.body.end);
        let separated = matches!(self.text[at..self.body.end].first(), Some(b':' | b'='));
        separated.then(|| (name, blank(self.text, at + 1, self.body.end)..self.body.end))
    }

    /// The range without the anchor or tag in front and, if it is not quoted, without the comment behind.
    pub(super) fn plain(&self, mut at: Range<usize>) -> Range<usize> {
        at.start = behind_properties(&self.text[..at.end], at.start);
        let text = &self.text[at.clone()];
        if !matches!(text.first(), Some(b'"' | b'\'' | b'\\')) {
            let comment = if text.starts_with(b"#") { Some(0) } else { memchr::memmem::find(text, b" #") };
            at.end = at.start + text[..comment.unwrap_or(text.len())].trim_ascii_end().len();
        }
        at
    }

    /// Whether the line is empty or a comment.
    pub(super) fn says_nothing(&self) -> bool {
        self.body.is_empty() || self.text[self.body.clone()].starts_with(b"#")
    }

    /// The text between the brackets of `data: {…}`.
    pub(super) fn data(&self) -> Option<Span> {
        let (_, rest) = self.field()?;
        let rest = self.plain(rest);
        let inner = self.text[rest.clone()].strip_prefix(b"{")?.strip_suffix(b"}")?;
        let masks = value::masks(&token::without(inner), Strength::Strong, ValueContext::Structure, true);
        masks.then(|| Span::new(rest.start + 1..rest.end - 1, KEY, inner.to_vec()))
    }

    /// The range of a single word or quoted text, without its quotes, and whether it had quotes.
    pub(super) fn scalar(&self, at: Range<usize>) -> Option<(Range<usize>, bool)> {
        let text = &self.text[..at.end];
        let end = at.end - usize::from(text[at.start..].ends_with(b","));
        if let Some((quote, from)) = Quote::at(text, at.start) {
            let to = quote.close(&text[..end], from);
            let behind = Quote::at(&text[..end], to).map_or(end, |(_, behind)| behind);
            return (behind == end).then_some((from..to, true));
        }
        let word = &text[at.start..end];
        let plain = |byte: &u8| !(byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`'));
        let begins = |byte: &u8| !b"{[]}#&*!|>%@:,".contains(byte);
        let fits = word.first().is_some_and(begins) && word.iter().all(plain) && !word.ends_with(b":");
        (fits || word.starts_with(OPEN)).then_some((at.start..end, false))
    }

    /// The span of a scalar, if it is a secret under a name of this strength.
    pub(super) fn masked(&self, at: Range<usize>, strength: Strength, rule: &'static str) -> Option<Span> {
        let (at, quoted) = self.scalar(at)?;
        let value = &self.text[at.clone()];
        let number = !quoted && value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.'));
        // A weak name alone on its line may be a heading.
        let place = if quoted || rule == PAIR { ValueContext::Structure } else { ValueContext::Prose };
        if (number && strength == Strength::Weak) || !value::masks(&token::without(value), strength, place, quoted) {
            return None;
        }
        let key = Quote::at(self.text, self.body.start).filter(|_| rule == PAIR && !quoted);
        let span = Span::new(at, rule, value.to_vec());
        Some(match key {
            Some((quote, _)) => span.quoted(&quote.bytes()),
            None => span,
        })
    }

    /// Whether the value that begins at `rest` may continue on the lines below.
    pub(super) fn goes_on(&self, rest: &Range<usize>, strength: Strength) -> Option<Waits> {
        if let Some((quote, from)) = Quote::at(self.text, rest.start)
            && quote.close(&self.text[..rest.end], from) == rest.end
            && from < rest.end
            && strength != Strength::Weak
        {
            return Some(Waits::Quoted(self.column, QUOTED));
        }
        let rest = &self.text[self.plain(rest.clone())];
        let style = |byte: &u8| matches!(byte, b'+' | b'-' | b'1'..=b'9');
        match rest {
            [] => Some(Waits::Scalar(strength, self.column)),
            [b'['] => Some(Waits::Array(strength)),
            [b'|' | b'>', styles @ ..] if styles.len() <= 2 && styles.iter().all(style) => {
                Some(Waits::Block(self.column, LONGEST))
            }
            _ => None,
        }
    }

    /// Whether this is the field `value` of the element above; a dash begins another element, with another name.
    pub(super) fn is_value(&self) -> bool {
        !self.is_element && self.field().is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"value"))
    }

    /// `[ERROR] exec failed: - name: DB_PASSWORD`: a text of several lines that begins behind the head of a log line.
    fn opens_behind_a_head(&self) -> Option<Waits> {
        const ELEMENT: &[u8] = b"- name: ";
        let text = &self.text[..self.body.end];
        let at = self.body.start + memchr::memmem::rfind(&text[self.body.start..], ELEMENT)? + ELEMENT.len();
        let (of, _) = self.scalar(at..text.len())?;
        names::judge(&text[of]).map(Waits::Value)
    }

    /// `login shop`, `machine h login shop`
    fn is_login(&self) -> bool {
        let mut words = self.text[self.body.clone()].split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        match words.next() {
            Some(b"login") => words.count() == 1,
            Some(b"machine") => words.nth(1) == Some(b"login") && words.count() == 1,
            _ => false,
        }
    }

    /// `<name>content</name>`, or the beginning of an element.
    pub(super) fn element(&self) -> Option<Element<'a>> {
        let rest = self.text[self.body.clone()].strip_prefix(b"<")?;
        let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-' | b'.' | b':');
        let length = rest.iter().take_while(is_name).count();
        let (name, behind) = rest.split_at(length);
        let content = behind.strip_prefix(b">").filter(|_| length > 0)?;
        let from = self.body.end - content.len();
        let end = memchr::memchr(b'<', content);
        let closed = end.is_some_and(|end| content[end..].starts_with(b"</"));
        Some(Element { name, content: from..from + end.unwrap_or(content.len()), closed })
    }

    /// The text of an element, if it is a secret.
    pub(super) fn of_element(&self, at: Range<usize>, strength: Strength) -> Option<Span> {
        let text = &self.text[at.clone()];
        let from = at.start + (text.len() - text.trim_ascii_start().len());
        let value = text.trim_ascii();
        let masks = value::masks(&token::without(value), strength, ValueContext::Structure, true);
        masks.then(|| Span::new(from..from + value.len(), PAIR, value.to_vec()))
    }

    /// What an element says about the next lines: the name of a pair, or an element that is not closed yet.
    fn opens_element(&self) -> Option<Waits> {
        let element = self.element()?;
        if element.closed && element.name.eq_ignore_ascii_case(b"name") {
            let strength = names::judge(self.text[element.content].trim_ascii())?;
            return Some(Waits::ElementOfPair(strength, BETWEEN));
        }
        let opens = !element.closed && element.content.is_empty();
        names::judge(element.name).filter(|_| opens).map(|strength| Waits::Element(strength, QUOTED))
    }

    /// What this line says about the next one.
    pub(super) fn opens(&self) -> Option<Waits> {
        if token::opens(&self.text[self.body.clone()]) {
            return None;
        }
        if let Some((at, _)) = self.scalar(self.body.clone())
            && let Some(name) = self.text[at].strip_prefix(b"--")
        {
            return names::judge(name).filter(|_| !name.contains(&b'=')).map(Waits::Flag);
        }
        if self.is_login() {
            return Some(Waits::Netrc);
        }
        if self.text[self.body.clone()].starts_with(b"<") {
            return self.opens_element();
        }
        let Some((name, rest)) = self.field() else { return self.opens_behind_a_head() };
        if let Some(strength) = names::judge(name) {
            return self.goes_on(&rest, nested_keys::of(Some(strength), name)?);
        }
        if let Some(strength) = nested_keys::holds(name).filter(|_| rest.is_empty()) {
            return Some(Waits::Fields(strength, self.column));
        }
        let names = [&b"name"[..], b"key", b"path"].iter().any(|word| name.eq_ignore_ascii_case(word));
        let (of, _) = names.then(|| self.scalar(rest)).flatten()?;
        names::judge(&self.text[of]).map(Waits::Value)
    }
}

/// The place behind YAML's prefixes of a value: `&anchor`, `!!binary`.
pub(crate) fn behind_properties(text: &[u8], from: usize) -> usize {
    let mut at = from;
    // At most one anchor and one tag; otherwise a line full of them would take quadratic time.
    for _ in 0..2 {
        let begins = |rest: &[u8]| matches!(rest, [b'&' | b'!', second, ..] if second.is_ascii_alphanumeric() || *second == b'!');
        if !text.get(at..).is_some_and(begins) {
            break;
        }
        let rest = &text[at..];
        let length = rest.iter().take(64).take_while(|byte| !byte.is_ascii_whitespace() && **byte != b'\\').count();
        let behind = blank(text, at + length, text.len());
        if behind == at + length && behind < text.len() {
            return from;
        }
        at = behind;
    }
    at
}

/// The place behind the blanks at `from`, escaped tabs included.
fn blank(text: &[u8], from: usize, end: usize) -> usize {
    let mut at = from;
    while at < end {
        at += match &text[at..end] {
            [b' ' | b'\t', ..] => 1,
            [b'\\', b't', ..] => 2,
            _ => return at,
        };
    }
    at
}
