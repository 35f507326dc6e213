//! Values that stand on another line than their names: `"name": "DB_PASSWORD",` above `"value": …`, `password:` or
//! `password: |` above what it is, an element above the next one. What is remembered is a few words, and a line that does not
//! go on forgets them. A value above its name is not seen here, for lines are not held back for it.

use std::{ops::Range, sync::LazyLock};

use regex::bytes::Regex;

use super::{
    arguments,
    assigned::Quote,
    below,
    json::{KEY, PAIR},
    names::{self, Strength},
    token::{self, OPEN, Span},
    value::{self, Place},
};

/// Lines of other writers that may stand in between.
const OTHERS: u8 = 4;
/// Lines below `kind: Secret` in which its data may begin.
const KIND: u16 = 200;
/// A block is not longer (lines).
const LONGEST: u16 = 1000;
/// Lines of a text in quotes.
const QUOTED: u16 = 32;
/// Bytes of a line that may open one; the name of a value is not longer.
const OPENING: usize = 512;

/// What the container runtime puts in front of a line.
static PREFIX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+(?:Z|[+-][0-9:]+)? )?(?:std(?:out|err) [FP] )?")
        .expect("a pattern of ours; the tests build it")
});
/// The beginning of a line of a log.
static OTHER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?-u)^(?:time=|ts=|level=|\{"|[IWEF][0-9]{4} |[0-9]{4}-[0-9]{2}-[0-9]{2})"#)
        .expect("a pattern of ours; the tests build it")
});

/// What the lines so far say of the next one.
#[derive(Default)]
pub(super) struct State {
    waits: Option<Waits>,
    /// Column of `kind: Secret`, and how many lines below it are looked at.
    secret: Option<(usize, u16)>,
    /// Whether the lines have a prefix of the runtime.
    prefixed: bool,
    behind_a_head: bool,
    others: u8,
}

#[derive(Clone, Copy)]
enum Waits {
    /// For the field `value`, behind a field with its name.
    Value(Strength),
    /// For a scalar further in than this column, elements of a list, or fields of an object.
    Scalar(Strength, usize),
    /// For fields alone.
    Fields(Strength, usize),
    /// For all lines that are further in, so many at most.
    Block(usize, u16),
    /// For the rest of a text in quotes, further in than this column, so many lines at most.
    Quoted(usize, u16),
    /// For elements of an array of JSON.
    Array(Strength),
    /// For the element behind a flag.
    Flag(Strength),
    /// For the values of a Secret whose `data` stands in this column, and the column of their names once it is known.
    Data(usize, usize),
    /// For `password x` below `login y`, as .netrc has it.
    Netrc,
}

impl State {
    /// Whether the next line must be shown, whatever is in it.
    pub(super) fn watches(&self) -> bool {
        self.waits.is_some() || self.secret.is_some()
    }

    /// A line without its end: what is to be masked of it for the sake of the lines above it. Then what it says of the next.
    pub(super) fn next(&mut self, text: &[u8]) -> Option<Span> {
        if !self.watches() && text.len() > OPENING {
            return None;
        }
        let prefix = PREFIX.find(text).map_or(0, |prefix| prefix.end());
        let line = Line::of(text, prefix);
        let data = self.is_data(&line);
        let mut found = line.data().filter(|_| data);
        let data = data && found.is_none();
        if let Some(waits) = self.waits {
            let another = self.prefixed != (prefix > 0) || (prefix == 0 && OTHER.is_match(text));
            // The first line stands behind the head of a line of a log, and this one need not.
            let goes_on = self.behind_a_head && line.is_value();
            let another = another && !goes_on;
            if another && self.others > 0 {
                self.others -= 1;
                return None;
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
        found
    }

    /// Whether the line is the `data` of a Secret whose kind was named above, in the same column.
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

    /// Of one line that has no prefix and is part of another text.
    fn judged(&mut self, waits: Waits, line: &Line<'_>) -> Option<Span> {
        match waits {
            Waits::Value(_) | Waits::Scalar(..) | Waits::Fields(..) if line.says_nothing() => {
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
                    let strength = names::judge(name).or_else(|| below::field(strength, name))?;
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
                let masks = value::masks(&token::without(&value), Strength::Strong, Place::Structure, true);
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
                let masks = !block && value::masks(&token::without(text), Strength::Strong, Place::Structure, true);
                masks.then(|| Span::new(value, KEY, text.to_vec()))
            }
            Waits::Netrc => {
                let (rule, word) = (super::vendors::NETRC.id, b"password ");
                let value = line.text[line.body.clone()].strip_prefix(word).filter(|value| !value.contains(&b' '))?;
                Some(Span::new(line.body.end - value.len()..line.body.end, rule, value.to_vec()))
            }
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

/// The same for a text of several lines, or of one in which the ends of lines are escaped.
pub(super) fn find(text: &[u8], spans: &mut Vec<Span>) {
    let mut state = State::default();
    let mut from = 0;
    if memchr::memchr(b'\n', text).is_some() {
        // A file in base64.
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            spans.extend(state.next(line).map(|span| moved(span, from)));
            from += line.len();
        }
        return;
    }
    let mut lines = false;
    while from <= text.len() {
        let (to, next) = escaped_end(text, from).unwrap_or((text.len(), text.len() + 1));
        lines |= next <= text.len();
        if !lines {
            return;
        }
        // A quote without a backslash is one of the outer text: nothing goes on behind it.
        let mut start = from;
        while let Some(quote) = bare_quote(&text[start..to]) {
            if let Some(span) = state.next(&text[start..start + quote]).filter(|_| start == from) {
                spans.push(moved(span, start));
            }
            state = State::default();
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

/// Where the next escaped end of a line begins, and where the line behind it does.
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

fn bare_quote(text: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'"', text).find(|at| *at == 0 || text[at - 1] != b'\\')
}

/// One line of YAML or of JSON.
struct Line<'a> {
    text: &'a [u8],
    /// Columns are counted from behind the prefix: of the first sign, and of what stands behind the dashes of lists.
    indent: usize,
    column: usize,
    is_element: bool,
    /// Where the first sign stands.
    first: usize,
    /// What stands behind the dashes, without blanks around it.
    body: Range<usize>,
}

impl<'a> Line<'a> {
    fn of(text: &'a [u8], prefix: usize) -> Self {
        let mut end = text.len();
        while end > prefix && (text[end - 1].is_ascii_whitespace() || text[prefix..end].ends_with(b"\\r")) {
            end -= if text[end - 1].is_ascii_whitespace() { 1 } else { 2 };
        }
        // The sign of a diff, where another line has a blank.
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

    /// `name: …` or `"name": …`, and what stands behind it.
    fn field(&self) -> Option<(&'a [u8], Range<usize>)> {
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

    /// Without the anchor or tag in front, and without the comment behind, of what is in no quotes.
    fn plain(&self, mut at: Range<usize>) -> Range<usize> {
        at.start = behind_properties(&self.text[..at.end], at.start);
        let text = &self.text[at.clone()];
        if !matches!(text.first(), Some(b'"' | b'\'' | b'\\')) {
            let comment = if text.starts_with(b"#") { Some(0) } else { memchr::memmem::find(text, b" #") };
            at.end = at.start + text[..comment.unwrap_or(text.len())].trim_ascii_end().len();
        }
        at
    }

    /// Nothing, or a comment.
    fn says_nothing(&self) -> bool {
        self.body.is_empty() || self.text[self.body.clone()].starts_with(b"#")
    }

    /// What stands between the brackets of `data: {…}`.
    fn data(&self) -> Option<Span> {
        let (_, rest) = self.field()?;
        let rest = self.plain(rest);
        let inner = self.text[rest.clone()].strip_prefix(b"{")?.strip_suffix(b"}")?;
        let masks = value::masks(&token::without(inner), Strength::Strong, Place::Structure, true);
        masks.then(|| Span::new(rest.start + 1..rest.end - 1, KEY, inner.to_vec()))
    }

    /// A word, or a text in quotes, and nothing else; without its quotes, and whether it had some.
    fn scalar(&self, at: Range<usize>) -> Option<(Range<usize>, bool)> {
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

    /// The span of a scalar, if that is a secret under such a name.
    fn masked(&self, at: Range<usize>, strength: Strength, rule: &'static str) -> Option<Span> {
        let (at, quoted) = self.scalar(at)?;
        let value = &self.text[at.clone()];
        let number = !quoted && value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.'));
        // A weak name alone on its line may as well head a paragraph.
        let place = if quoted || rule == PAIR { Place::Structure } else { Place::Prose };
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

    /// Whether the lines below may be the value, whose beginning stands at `rest`.
    fn goes_on(&self, rest: &Range<usize>, strength: Strength) -> Option<Waits> {
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

    /// The field `value` of the element above; with a dash begins another element, of another name.
    fn is_value(&self) -> bool {
        !self.is_element && self.field().is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"value"))
    }

    /// `[ERROR] exec failed: - name: DB_PASSWORD`: a text of several lines begins behind the head of a line of a log.
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

    /// What this line says of the next one.
    fn opens(&self) -> Option<Waits> {
        if memchr::memmem::find(&self.text[self.body.clone()], OPEN).is_some() {
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
        let Some((name, rest)) = self.field() else { return self.opens_behind_a_head() };
        if let Some(strength) = names::judge(name) {
            return self.goes_on(&rest, below::of(Some(strength), name)?);
        }
        if let Some(strength) = below::holds(name).filter(|_| rest.is_empty()) {
            return Some(Waits::Fields(strength, self.column));
        }
        let names = [&b"name"[..], b"key", b"path"].iter().any(|word| name.eq_ignore_ascii_case(word));
        let (of, _) = names.then(|| self.scalar(rest)).flatten()?;
        names::judge(&self.text[of]).map(Waits::Value)
    }
}

/// Behind what YAML may have in front of a value: `&anchor`, `!!binary`.
pub(super) fn behind_properties(text: &[u8], from: usize) -> usize {
    let mut at = from;
    // An anchor and a tag, and no more: else a line of nothing but these would take the square of its length.
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

/// Behind the blanks at `from`, tabs that are escaped among them.
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
