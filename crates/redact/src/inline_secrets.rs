//! Secrets written on one line of text: `kind: Secret, stringData: {foo: x}`, as Go prints them, in a `kubectl patch`,
//! behind `--from-literal`. `multiline` handles those over several lines, `json` those in JSON.

use std::{ops::Range, sync::LazyLock};

use memchr::memmem::Finder;
use regex::bytes::Regex;

use crate::{
    arguments,
    json::KEY,
    names::Strength,
    quote::Quote,
    token::{self, Span},
    value::{self, ValueContext},
    wrappers::Wrapped,
};

/// Most bytes between `patch secret` and the patch.
const PATCH: usize = 256;
/// Most bytes of a name in such an object.
const NAME: usize = 128;

/// Text that announces a Secret, or begins the object with its values.
static EVENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"(?-u)(?P<secret>\bkind: ?\\*["']?Secret\b|\bSecret\{)|(?P<patch>\bpatch[\s"',\\]+secrets?[\s"',\\/])"#,
        r#"|(?P<string>[sS]tring)?(?P<data>\b[dD]ata|Data)(?P<quote>\\*["'])?[:=] ?(?:map\[string\](?:\[\])?[a-z0-9]+)?(?P<open>\{|map\[)"#,
    ))
    .expect("a pattern of ours; the tests build it")
});
/// A command that creates a Secret, up to its end.
static CREATE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?-u)\bcreate[\s"',\\]+secret[\s"',\\](?:[^|;&\n']|'[^'\n]*'?)*"#)
        .expect("a pattern of ours; the tests build it")
});
static LITERAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?-u)--from-literal(?:\\*["']\s*,\s*|\s+|=)(?P<quote>\\*["'])?[A-Za-z0-9._-]+="#)
        .expect("a pattern of ours; the tests build it")
});

/// The values to mask in a line that contains a sensitive name.
pub(super) fn find(line: &[u8], spans: &mut Vec<Span>) {
    static SECRET: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("ecret"));
    static DATA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("ata"));
    if SECRET.find(line).is_none() {
        return;
    }
    literals(line, spans);
    if DATA.find(line).is_some() {
        objects(line, spans);
    }
}

/// The values of `--from-literal`, if the command creates a Secret from them.
pub(super) fn literals(line: &[u8], spans: &mut Vec<Span>) {
    static FLAG: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("--from-literal"));
    if FLAG.find(line).is_none() {
        return;
    }
    for command in CREATE.find_iter(line) {
        for found in LITERAL.captures_iter(command.as_bytes()) {
            let Some(whole) = found.get(0) else { continue };
            let outer = found.name("quote").and_then(|quote| Quote::at(line, command.start() + quote.start()));
            let at = command.start() + whole.end();
            let (from, to) = match (Quote::at(line, at), outer) {
                (Some((quote, from)), None) => (from, quote.close(line, from)),
                (_, Some((quote, _))) => (at, quote.close(line, at)),
                (None, None) => (at, at + line[at..].iter().take_while(|byte| is_word(**byte)).count()),
            };
            push(line, from..to, arguments::RULE, spans);
        }
    }
}

fn is_word(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b"\"'`\\|;&)".contains(&byte)
}

/// Objects next to each other: the text that marks them as parts of a Secret may stand before or behind its data.
fn objects(line: &[u8], spans: &mut Vec<Span>) {
    let (mut is_secret, mut pending) = (false, Vec::new());
    let (mut patch, mut behind) = (None, 0);
    for found in EVENT.captures_iter(line) {
        let Some(whole) = found.get(0) else { continue };
        if found.name("patch").is_some() {
            patch = Some(whole.end());
            continue;
        }
        if whole.start() < behind {
            continue;
        }
        if !beside(&line[behind..whole.start()]) {
            take(is_secret, &mut pending, spans);
            is_secret = false;
        }
        behind = whole.end();
        if found.name("secret").is_some() {
            // The `{` of `Secret{` comes before its fields.
            is_secret = true;
            continue;
        }
        let close = if found.name("open").is_some_and(|open| open.as_bytes() == b"{") { b'}' } else { b']' };
        let patched = patch.is_some_and(|patch| is_patched(&line[patch..whole.start()]));
        let sure = found.name("string").is_some() || patched;
        // A quoted key is JSON's; `json` decides whether that is a Secret.
        let may_be = sure || found.name("quote").is_none();
        let mut values = Vec::new();
        behind = fields(line, whole.end(), close, &mut values);
        if sure {
            spans.append(&mut values);
        } else if may_be {
            pending.append(&mut values);
        }
    }
    take(is_secret, &mut pending, spans);
}

fn take(is_secret: bool, pending: &mut Vec<Span>, spans: &mut Vec<Span>) {
    if is_secret {
        spans.append(pending);
    }
    pending.clear();
}

/// Whether the text between two fields stays in the first field's object: it neither leaves it nor enters another.
fn beside(between: &[u8]) -> bool {
    let mut depth = 0_i32;
    let stays = between.iter().all(|byte| {
        depth += i32::from(*byte == b'{') - i32::from(*byte == b'}');
        depth >= 0
    });
    stays && depth == 0
}

fn is_patched(between: &[u8]) -> bool {
    between.len() <= PATCH && !between.iter().any(|byte| matches!(byte, b'|' | b';' | b'&'))
}

/// The values of the object whose first field begins at `at`, and where the object ends.
fn fields(line: &[u8], mut at: usize, close: u8, spans: &mut Vec<Span>) -> usize {
    loop {
        at += line[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b',')).count();
        if line.get(at) == Some(&close) {
            return at + 1;
        }
        let Some(from) = behind_name(line, at) else { return at };
        let quoted = Wrapped::find(line, from).map_or(from, |wrapped| wrapped.at);
        if let Some((quote, from)) = Quote::at(line, quoted) {
            let to = quote.close(line, from);
            push(line, from..to, KEY, spans);
            at = Quote::at(line, to).map_or(to, |(_, behind)| behind);
            at += line[at..].iter().take_while(|byte| **byte == b')').count();
        } else {
            at = unquoted_end(line, from, close);
            push(line, from..at, KEY, spans);
        }
    }
}

/// Where the value behind the name at `at` begins, in quotes or not.
fn behind_name(line: &[u8], at: usize) -> Option<usize> {
    let quote = Quote::at(line, at);
    let from = quote.map_or(at, |(_, from)| from);
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-' | b'.');
    let length = line.get(from..)?.iter().take(NAME).take_while(is_name).count();
    let to = from + length;
    let behind = match quote {
        Some(_) => Quote::at(line, to)?.1,
        None => to,
    };
    let blanks = line.get(behind + 1..)?.iter().take(NAME).take_while(|byte| **byte == b' ').count();
    (length > 0 && line[behind] == b':').then_some(behind + 1 + blanks)
}

/// An unquoted value ends with its object, in front of the next name, or with the text around it.
fn unquoted_end(line: &[u8], from: usize, close: u8) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in line.iter().enumerate().skip(from) {
        match byte {
            byte if depth == 0 && *byte == close => return at,
            b'"' => return at - line[from..at].iter().rev().take_while(|byte| **byte == b'\\').count(),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b' ' if depth == 0 => {
                let next = at + line[at..].iter().take(4).take_while(|byte| matches!(byte, b',' | b' ')).count();
                if line.get(next) == Some(&close) || (behind_name(line, next).is_some() && close_or_comma(close, *byte))
                {
                    return at;
                }
            }
            _ => {}
        }
    }
    line.len()
}

/// Go separates the fields of `map[a:b c:d]` by blanks; everything else uses commas.
fn close_or_comma(close: u8, byte: u8) -> bool {
    close == b']' || byte == b','
}

fn push(line: &[u8], at: Range<usize>, rule: &'static str, spans: &mut Vec<Span>) {
    let raw = &line[at.clone()];
    if value::masks(&token::without(raw), Strength::Strong, ValueContext::Structure, true) {
        spans.push(Span::new(at, rule, raw.to_vec()));
    }
}
