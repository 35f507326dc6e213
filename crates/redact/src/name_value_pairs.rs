//! A name and its value as two adjacent fields in text: `name=DB_PASSWORD value=x`, `EnvVar{Name:"…", Value:"…"}`,
//! `<property name="…" value="…"/>`, in either order and at any depth of escaping. `json` handles whole JSON.

use std::{ops::Range, sync::LazyLock};

use memchr::memmem::Finder;
use regex::bytes::Regex;

use crate::{
    json::PAIR,
    names::{self, Strength},
    quote::Quote,
    separators::unquoted_end,
    token::{self, OPEN, Span},
    value::{self, ValueContext},
};

/// Most bytes between two fields that belong together.
const GAP: usize = 64;
/// Most bytes of a name.
const NAME: usize = 256;

/// Either word, with the text that may stand between it and its value.
static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i-u)(?:(?P<value>value)|name|key|path)(?P<quote>\\*["'`])?[ \t]{0,8}(?P<separator>=>|:=|[:=])[ \t]{0,8}"#,
    )
    .expect("a pattern of ours; the tests build it")
});

/// A field whose name is one of the words.
struct Field {
    begins: usize,
    /// Range of the value without its quotes.
    content: Range<usize>,
    /// The place behind its closing quote.
    ends: usize,
    is_value: bool,
    separator: u8,
    quote: Option<Quote>,
    name_quote: Option<Quote>,
}

/// Masks values whose names stand next to them.
pub(super) fn find(line: &[u8], spans: &mut Vec<Span>) {
    if !may_hold(line) {
        return;
    }
    elements(line, spans);
    let mut last: Option<Field> = None;
    let mut from = 0;
    while let Some(field) = next(line, from) {
        from = field.content.start.max(field.begins + 1);
        let beside = last.as_ref().is_some_and(|last| {
            last.is_value != field.is_value
                && last.separator == field.separator
                && !(last.is_value && in_sentence(line, last.begins))
                && last.ends <= field.begins
                && is_filler(&line[last.ends..field.begins])
        });
        match last.take().filter(|_| beside) {
            Some(before) => {
                let (name, of) = if field.is_value { (&before, &field) } else { (&field, &before) };
                spans.extend(judged(line, name, of));
                // A name between two values may belong to either.
                last = (!field.is_value).then_some(field);
            }
            None => last = Some(field),
        }
    }
}

/// `<name>fs.s3a.secret.key</name><value>x</value>`
fn elements(line: &[u8], spans: &mut Vec<Span>) {
    const BETWEEN: &[u8] = b"</name>";
    const VALUE: &[u8] = b"<value>";
    for at in memchr::memmem::find_iter(line, BETWEEN) {
        let name = line[at.saturating_sub(NAME)..at].rsplit(|byte| *byte == b'>').next().unwrap_or_default();
        let mut from = at + BETWEEN.len();
        from += line[from..].iter().take(GAP).take_while(|byte| byte.is_ascii_whitespace()).count();
        let Some(strength) = names::judge(name).filter(|_| line[from..].starts_with(VALUE)) else { continue };
        from += VALUE.len();
        let to = memchr::memchr(b'<', &line[from..]).map_or(line.len(), |end| from + end);
        let raw = &line[from..to];
        if value::masks(&token::without(raw), strength, ValueContext::Structure, true) {
            spans.push(Span::new(from..to, PAIR, raw.to_vec()));
        }
    }
}

/// Whether the line has a word for the second half of a pair; far fewer lines do than have names.
fn may_hold(line: &[u8]) -> bool {
    static WORDS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [Finder::new("alue"), Finder::new("ALUE")]);
    WORDS.iter().any(|word| word.find(line).is_some())
}

fn next(line: &[u8], mut from: usize) -> Option<Field> {
    loop {
        let found = FIELD.captures_at(line, from)?;
        let whole = found.get(0)?;
        from = whole.start() + 1;
        if !begins_word(line, whole.start()) {
            continue;
        }
        let name_quote = found.name("quote").and_then(|quote| Quote::at(line, quote.start())).map(|(quote, _)| quote);
        let is_value = found.name("value").is_some();
        let separator = *found.name("separator")?.as_bytes().first()?;
        let begins = whole.start();
        let at = whole.end();
        if let Some((quote, at)) = Quote::at(line, at) {
            let to = quote.close(line, at);
            let ends = Quote::at(line, to).map_or(to, |(_, behind)| behind);
            return Some(Field { begins, content: at..to, ends, is_value, separator, quote: Some(quote), name_quote });
        }
        let is_go = is_value && line[begins..at].trim_ascii_end().ends_with(b"Value:");
        let to = if is_go { go_end(line, at) } else { unquoted_end(line, at, 0) };
        return Some(Field { begins, content: at..to, ends: to, is_value, separator, quote: None, name_quote });
    }
}

/// Whether a word begins here, perhaps behind an escape; not at the end of another name, such as `secretName`.
fn begins_word(line: &[u8], at: usize) -> bool {
    match line[..at] {
        [] | [.., b'\\', b'n' | b'r' | b't'] | [.., b'\\', b'u', _, _, _, _] => true,
        [.., before] => !(before.is_ascii_alphanumeric() || matches!(before, b'_' | b'-' | b'.' | b'$')),
    }
}

/// `Invalid value: …`
fn in_sentence(line: &[u8], at: usize) -> bool {
    matches!(line[..at], [.., before, b' '] if before.is_ascii_alphabetic()) && line[at..].get(5..7) == Some(b": ")
}

/// Go prints a struct without quotes: a value, with blanks or empty, ends before the next field or the closing brace.
fn go_end(line: &[u8], from: usize) -> usize {
    if is_go_field(&line[from..]) {
        return from;
    }
    let first = unquoted_end(line, from, 0);
    let mut to = first;
    while line.get(to) == Some(&b' ') {
        if is_go_field(&line[to + 1..]) {
            return to;
        }
        to = unquoted_end(line, to + 1, 0);
        if to - from > NAME {
            return first;
        }
    }
    if line.get(to) == Some(&b'}') { to } else { first }
}

/// `ValueFrom:`
fn is_go_field(text: &[u8]) -> bool {
    let letters = text.iter().take(NAME).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    text.first().is_some_and(u8::is_ascii_uppercase) && text.get(letters) == Some(&b':')
}

/// White space, raw or escaped, and separators: nothing that ends an object or begins an element of a list.
fn is_filler(gap: &[u8]) -> bool {
    let mut rest = gap;
    if rest.len() > GAP {
        return false;
    }
    while let Some((byte, behind)) = rest.split_first() {
        rest = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b';' | b'&' | b'|' | b'"' | b'\'' | b'`' => behind,
            b'\\' => {
                let behind = &rest[rest.iter().take_while(|byte| **byte == b'\\').count()..];
                match behind {
                    [b'n' | b'r' | b't' | b'"' | b'\'', ..] => &behind[1..],
                    [b'u', b'0', b'0', b'2', b'6', ..] => &behind[5..],
                    _ => return false,
                }
            }
            _ => return false,
        };
    }
    true
}

fn judged(line: &[u8], name: &Field, of: &Field) -> Option<Span> {
    let named = &line[name.content.clone()];
    // A token is not a name, though the rule named in it may sound like one.
    if named.len() > NAME || token::opens(named) {
        return None;
    }
    let strength = names::judge(named)?;
    let raw = &line[of.content.clone()];
    let in_json = of.quote.is_none() && of.name_quote.is_some();
    let number = raw.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.'));
    let container = matches!(raw.first(), Some(b'{' | b'[')) && !raw.starts_with(OPEN);
    if in_json && (container || (number && strength == Strength::Weak)) {
        return None;
    }
    if !value::masks(&token::without(raw), strength, ValueContext::Structure, of.quote.is_some()) {
        return None;
    }
    let decoded = of.quote.map_or_else(|| raw.to_vec(), |quote| quote.decoded(raw));
    let span = Span::new(of.content.clone(), PAIR, decoded);
    match of.name_quote {
        Some(quote) if in_json => Some(span.quoted(&quote.bytes())),
        _ => Some(span),
    }
}
