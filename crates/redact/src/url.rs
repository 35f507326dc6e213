//! The secret in front of a URL's host: `scheme://user:secret@host`. The user's name stays, unless it is itself a
//! secret. `presigned` and `names` handle the queries of URLs.

use std::{ops::Range, sync::LazyLock};

use percent_encoding::percent_decode;
use regex::bytes::Regex;

use crate::{
    token::{Span, tokens},
    unescape::unescaped,
    value::is_reference,
};

pub(super) const RULE: &str = "url-userinfo";

/// A line with none of these contains neither a URL with a password nor a MySQL source name.
pub(super) const HINTS: &[&str] =
    &["://", ":\\/\\/", ":%2f%2f", "%3a//", "%3a%2f%2f", "%253a%252f%252f", "@tcp(", "@unix(", "_proxy"];

/// `user:secret@tcp(host:3306)/database`. The spaces are those that the self-check knows; `\s` has one more.
static SOURCE_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?-u)(?:^|[ \t\n\x0c\r"'=`\\\[\]])[^ \t\n\x0c\r:@/"'=\\`\[\]]+:([^ \t\n\x0c\r"']+)@(?:tcp|unix)\("#)
        .expect("a pattern of ours; the tests build it")
});

/// The secrets in the URLs whose `://` stands at `hits`.
pub(super) fn find(line: &[u8], hits: impl Iterator<Item = Range<usize>>, spans: &mut Vec<Span>) {
    let mut source_name = false;
    let mut done = 0;
    for hit in hits {
        if line[hit.clone()].starts_with(b"@") {
            source_name = true;
        } else if line[hit.clone()].eq_ignore_ascii_case(b"_proxy") {
            if let Some(span) = of_proxy(line, hit.end).filter(|span| span.at.start >= done) {
                done = span.at.end;
                spans.push(span);
            }
        } else if hit.end > done {
            let encoded = line[hit.clone()].contains(&b'%');
            let of_web =
                || !encoded && [&b"http"[..], b"https"].iter().any(|scheme| ends_with(&line[..hit.start], scheme));
            let found = userinfo(line, hit.end, encoded).or_else(|| token(line, hit.end).filter(|_| of_web()));
            if let Some(span) = found {
                done = span.at.end;
                spans.push(span);
            }
        }
    }
    if source_name {
        let tokens = tokens(line);
        let mut from = 0;
        while let Some(hit) = SOURCE_NAME.captures_at(line, from).and_then(|hit| hit.get(1)) {
            let next = tokens.partition_point(|token| token.end <= hit.start());
            if let Some(token) = tokens.get(next).filter(|token| token.start < hit.start()) {
                // A token of an earlier pass is no user; a source name may follow it.
                from = token.end - 1;
                continue;
            }
            from = hit.end();
            spans.push(Span::new(hit.range(), RULE, hit.as_bytes().to_vec()));
        }
    }
}

/// Most bytes of a URL that are searched for the `@`; no real password is longer.
const AUTHORITY: usize = 1024;

/// Fewest bytes of a token.
const TOKEN: usize = 20;

/// The signs of a URL, and how they are percent-encoded once or twice.
const COLON: &[&[u8]] = &[b":", b"%3a", b"%253a"];
const AT: &[&[u8]] = &[b"@", b"%40", b"%2540"];
const PATH: &[&[u8]] = &[b"/", b"?", b"#", b"%2f", b"%3f", b"%23", b"%252f", b"%253f", b"%2523"];

/// `encoded`: so is the text in front of `from`. Each sign behind it may be encoded or not, whatever the others are.
fn userinfo(line: &[u8], from: usize, encoded: bool) -> Option<Span> {
    let rest = &line[from..line.len().min(from + AUTHORITY)];
    let rest = &rest[..end(rest)];
    // Behind an encoded URL, the query around it goes on.
    let rest = &rest[..rest.iter().position(|byte| encoded && matches!(byte, b'&' | b'\\')).unwrap_or(rest.len())];
    let (slashes, signs) = if encoded { (PATH, AT) } else { (&PATH[..3], &AT[..1]) };
    let path = first(rest, slashes).map_or(rest.len(), |slash| slash.start);
    let colon = first(&rest[..path], COLON)?;
    let user = &rest[..colon.start];
    if encoded && !user.iter().copied().all(is_of_user) {
        return None;
    }
    let secret = &rest[colon.end..];
    let authority = &secret[..first(secret, slashes).map_or(secret.len(), |slash| slash.start)];
    // A password may contain a slash by mistake; a port cannot, and an `@` behind a port belongs to the path.
    let port = authority.iter().all(u8::is_ascii_digit) && authority.len() <= 5;
    let length = match last(authority, AT[0]).or_else(|| AT[1..].iter().find_map(|at| last(authority, at))) {
        Some(length) => length,
        // A host and its port, unless an `@` follows: people are called `user@domain` as well.
        None if first(user, AT).is_some() => return None,
        None if port => return None,
        None => first(secret, signs)?.start,
    };
    let value = &secret[..length];
    if value.is_empty() || is_reference(value) {
        return None;
    }
    let mut decoded = unescaped(value).0;
    for _ in 0..=usize::from(encoded) {
        decoded = percent_decode(&decoded).collect();
    }
    Some(Span::new(from + colon.end..from + colon.end + length, RULE, decoded))
}

/// A byte of a user's name in an encoded URL.
fn is_of_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%+@$".contains(&byte)
}

/// `HTTPS_PROXY=user:secret@host:3128`, which programs accept like a URL; `from` is behind the name.
fn of_proxy(line: &[u8], from: usize) -> Option<Span> {
    let skip = |at: usize, of: &[u8]| at + line[at..].iter().take(8).take_while(|byte| of.contains(byte)).count();
    let mut at = skip(from, b"\\\"'");
    if !matches!(line.get(at), Some(b':' | b'=')) {
        return None;
    }
    at = skip(skip(at + 1, b" "), b"\\\"'");
    userinfo(line, at, false).filter(|span| last(&line[at..span.at.start], b"/").is_none())
}

fn ends_with(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len() && text[text.len() - word.len()..].eq_ignore_ascii_case(word)
}

/// A user without a password whose name is a token: `https://<40 letters and digits>@github.com`. Names of users and
/// containers are shorter, or words joined by signs.
fn token(line: &[u8], from: usize) -> Option<Span> {
    let rest = &line[from..line.len().min(from + AUTHORITY)];
    let user = &rest[..memchr::memchr(b'@', rest)?];
    let plain = user.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let mixed = user.iter().any(u8::is_ascii_digit) && user.iter().any(u8::is_ascii_alphabetic);
    (user.len() >= TOKEN && plain && mixed).then(|| Span::new(from..from + user.len(), RULE, user.to_vec()))
}

/// Where a URL ends at the latest.
fn end(rest: &[u8]) -> usize {
    let ends = |b: u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'<' | b'>');
    let mut at = 0;
    while let Some(byte) = rest.get(at).filter(|byte| !ends(**byte)) {
        if *byte != b'\\' {
            at += 1;
            continue;
        }
        // Go writes `&`, `<` and `>` as `\u0026` and so on, with more backslashes in nested strings.
        let code = at + rest[at..].iter().take_while(|byte| **byte == b'\\').count();
        let Some(number) = rest.get(code..code + 5).and_then(unicode).filter(|byte| !ends(*byte)) else { return at };
        if number < b' ' {
            return at;
        }
        at = code + 5;
    }
    at
}

/// The byte that `u0026` stands for.
fn unicode(code: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(code.strip_prefix(b"u")?).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

/// Where the first of the words stands.
fn first(text: &[u8], words: &[&[u8]]) -> Option<Range<usize>> {
    (0..text.len()).find_map(|at| {
        let is_here =
            |word: &&&[u8]| text.len() >= at + word.len() && text[at..at + word.len()].eq_ignore_ascii_case(word);
        words.iter().find(is_here).map(|word| at..at + word.len())
    })
}

fn last(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).rposition(|window| window.eq_ignore_ascii_case(word))
}
