//! Elements of XML on one line: `<password>x</password>`, with attributes, a namespace or CDATA, and with the brackets
//! escaped as JSON, Go or HTML write them. `multiline` handles elements over several lines.

use std::ops::Range;

use crate::{names::Strength, quote::Quote, separators::skip_space, token, value};

/// Most bytes of a tag behind its name, and of a namespace.
const TAG: usize = 256;
const NAMESPACE: usize = 32;
/// Most bytes of a text.
const LONGEST: usize = 4096;
/// Most backslashes in front of an escaped bracket.
const ESCAPES: usize = 16;

/// Length of a bracket at the beginning of the text, escaped or not; `code` and `entity` are its escaped forms.
fn bracket(rest: &[u8], byte: u8, code: &[u8], entity: &[u8]) -> Option<usize> {
    if rest.first() == Some(&byte) {
        return Some(1);
    }
    let escapes = rest.iter().take(ESCAPES).take_while(|byte| **byte == b'\\').count();
    let is_code = escapes > 0 && rest.get(escapes..escapes + 5).is_some_and(|text| text.eq_ignore_ascii_case(code));
    let is_entity = || rest.starts_with(entity).then_some(entity.len());
    if is_code { Some(escapes + 5) } else { is_entity() }
}

fn opens(rest: &[u8]) -> Option<usize> {
    bracket(rest, b'<', b"u003c", b"&lt;")
}

/// Length of the `>` at the beginning of the text, in any form.
pub(super) fn closes(rest: &[u8]) -> Option<usize> {
    bracket(rest, b'>', b"u003e", b"&gt;")
}

/// Whether a tag begins in front of the name at `start`, perhaps with a namespace.
pub(super) fn is_tag(line: &[u8], start: usize) -> bool {
    let opens_before = |at: usize| {
        let front = &line[at.saturating_sub(6)..at];
        let code = front.len() >= 6 && front[0] == b'\\' && front[1..].eq_ignore_ascii_case(b"u003c");
        front.ends_with(b"<") || front.ends_with(b"&lt;") || code
    };
    if line[..start].last() != Some(&b':') {
        return opens_before(start);
    }
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-' | b'.');
    let length = line[..start - 1].iter().rev().take(NAMESPACE).take_while(is_name).count();
    let from = start - 1 - length;
    // The letters of `\u003c` look like those of the namespace.
    length > 0 && (opens_before(from) || (length > 5 && opens_before(from + 5)))
}

/// The secret of the element whose name, at `name`, is sensitive, or that has this name as an attribute: its text, the
/// text of a `<value>` in it, or its attribute `value`.
pub(super) fn secret(line: &[u8], name: &Range<usize>, strength: Strength) -> Option<Range<usize>> {
    let named = is_attribute(line, name.start);
    if !named && !is_tag(line, name.start) {
        return None;
    }
    let behind = if named { Quote::at(line, name.end)?.1 } else { name.end };
    let (end, length) = find(line, behind, TAG, closes)?;
    let attributes = &line[behind..end];
    if !attributes.first().is_none_or(u8::is_ascii_whitespace) || attributes.contains(&b'<') {
        return None;
    }
    let at = match value_of(line, behind..end) {
        Some(at) => at,
        None if attributes.ends_with(b"/") => return None,
        None => text(line, end + length)?,
    };
    let masks = value::masks(&token::without(&line[at.clone()]), strength, value::ValueContext::Structure, true);
    masks.then_some(at)
}

/// `<entry key="password">`: whether the name at `start` is what an element says about its text.
fn is_attribute(line: &[u8], start: usize) -> bool {
    let front = &line[start.saturating_sub(TAG)..start];
    let Some(front) = front.strip_suffix(b"\"").or_else(|| front.strip_suffix(b"'")) else { return false };
    let front = &front[..front.len() - front.iter().rev().take_while(|byte| **byte == b'\\').count()];
    let Some(tag) = front.strip_suffix(b" name=").or_else(|| front.strip_suffix(b" key=")) else { return false };
    let is_of_tag = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:\\ =\"'".contains(byte);
    let begins = [&b"<"[..], b"\\u003c", b"&lt;"].into_iter().filter_map(|open| {
        let at = memchr::memmem::rfind(tag, open)?;
        Some(at + open.len())
    });
    begins.max().is_some_and(|begins| tag[begins..].iter().all(is_of_tag))
}

/// The attribute `value` in a tag.
fn value_of(line: &[u8], tag: Range<usize>) -> Option<Range<usize>> {
    let from = tag.start + memchr::memmem::find(&line[tag.clone()], b" value=")? + b" value=".len();
    let (quote, from) = Quote::at(line, from)?;
    Some(from..quote.close(line, from))
}

/// The text at `from` up to the tag that closes it. A text of several lines is not one on this line.
fn text(line: &[u8], from: usize) -> Option<Range<usize>> {
    const CDATA: &[u8] = b"![CDATA[";
    let from = skip_space(line, from);
    let data = opens(line.get(from..)?).map(|length| from + length).filter(|at| line[*at..].starts_with(CDATA));
    if let Some(from) = data.map(|at| at + CDATA.len()) {
        let rest = &line[from..line.len().min(from + LONGEST)];
        return Some(from..from + memchr::memmem::find(rest, b"]]").unwrap_or(rest.len()));
    }
    let inner = opens(&line[from..]).map(|length| from + length).filter(|at| line[*at..].starts_with(b"value"));
    let from = inner.and_then(|at| Some(at + 5 + closes(line.get(at + 5..)?)?)).unwrap_or(from);
    let (end, length) = find(line, from, LONGEST, opens)?;
    let text = &line[from..end];
    let lines = text.windows(2).any(|two| matches!(two, [b'\\', b'n' | b'r']));
    let is_closed = line[end + length..].starts_with(b"/") && !lines && !text.contains(&b'"');
    is_closed.then(|| from..from + text.trim_ascii_end().len())
}

/// Place and length of the first bracket behind `from`.
fn find(line: &[u8], from: usize, most: usize, bracket: fn(&[u8]) -> Option<usize>) -> Option<(usize, usize)> {
    let to = line.len().min(from + most);
    (from..to).find_map(|at| Some((at, bracket(&line[at..])?)))
}
