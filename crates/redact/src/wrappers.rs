//! Values that a program prints within a call, a type or a pointer: `Some("x")`, `&"x"`, `(*string)(0xc0)("x")`,
//! `$(echo "x")`. Finds the quote in which the value itself begins; `assignments` and `inline_secrets` mask the text
//! in it.

use crate::{quote::Quote, separators::skip_space};

/// Most wrappers around one value.
const DEPTH: usize = 6;
/// Most bytes of the name of a function or a type.
const WORD: usize = 64;

/// Where the value in a wrapper begins.
pub(super) struct Wrapped {
    /// Index of its quote, or of the backslashes in front of it.
    pub(super) at: usize,
    /// Its bracket may hold further values.
    pub(super) listed: bool,
}

impl Wrapped {
    /// The quoted value in the wrapper that begins at `at`; `None` if there is no wrapper, or no quote in it.
    pub(super) fn find(line: &[u8], mut at: usize) -> Option<Self> {
        for _ in 0..DEPTH {
            let open = at + opening(line.get(at..)?)?;
            let listed = matches!(line[open - 1], b'{' | b'[');
            at = skip_space(line, open);
            if let Some((quote, from)) = Quote::at(line, at) {
                return begins_value(line, quote, from, listed).then_some(Self { at, listed });
            }
        }
        None
    }
}

/// The place behind the beginnings of known wrappers, in front of a value without quotes.
pub(super) fn behind_known(line: &[u8], mut at: usize) -> usize {
    const KNOWN: &[&[u8]] = &[b"Some(", b"Ok(", b"Just(", b"Just ", b"Optional[", b"Optional(", b"("];
    for _ in 0..DEPTH {
        let rest = &line[at..];
        let known = || KNOWN.iter().find(|known| rest.starts_with(known)).map(|known| known.len());
        let Some(length) = cast(rest).or_else(known) else { break };
        at += length;
    }
    at
}

/// Whether the quote opens a text. One that closes the text around the wrapper is followed by the next field, and in a
/// map a colon follows the text.
fn begins_value(line: &[u8], quote: Quote, from: usize, listed: bool) -> bool {
    let first = line.get(from).is_some_and(|byte| !byte.is_ascii_whitespace() && !b",;)}]".contains(byte));
    let is_key = || {
        let behind = Quote::at(line, quote.close(line, from)).map_or(line.len(), |(_, behind)| behind);
        line.get(behind) == Some(&b':')
    };
    first && !(listed && is_key())
}

/// Length of one wrapper's beginning.
fn opening(rest: &[u8]) -> Option<usize> {
    const SIGNS: &[&[u8]] = &[b"&", b"*", b"new ", b"Just "];
    const PREFIXES: &[&[u8]] = &[b"b", b"B", b"r", b"R", b"br", b"rb", b"u", b"f", b"L", b"N", b"E", b"@", b"$@"];
    let sign = || SIGNS.iter().find(|sign| rest.starts_with(sign)).map(|sign| sign.len());
    let escaped = || {
        let escapes = rest.iter().take_while(|byte| **byte == b'\\').count();
        (escapes > 0 && rest[escapes..].starts_with(b"u0026")).then_some(escapes + 5)
    };
    let prefix = || {
        let found = PREFIXES.iter().find(|prefix| rest.starts_with(prefix) && Quote::at(rest, prefix.len()).is_some());
        found.map(|prefix| prefix.len())
    };
    sign()
        .or_else(escaped)
        .or_else(prefix)
        .or_else(|| echo(rest))
        .or_else(|| field(rest))
        .or_else(|| cast(rest))
        .or_else(|| call(rest))
}

/// `$(echo -n `, `$(printf '%s' `
fn echo(rest: &[u8]) -> Option<usize> {
    const BEGINS: &[&[u8]] =
        &[b"$(echo -n ", b"$(echo -e ", b"$(echo ", b"$(printf '%s' ", b"$(printf %s ", b"$(printf "];
    BEGINS.iter().find(|begin| rest.starts_with(begin)).map(|begin| begin.len())
}

/// `(*string)`, `(0xc000012345)`, `(len=8)`: a type, an address or a size as Go prints it.
fn cast(rest: &[u8]) -> Option<usize> {
    const TYPES: &[&[u8]] = &[b"string", b"[]string", b"[]uint8", b"[]byte", b"interface {}"];
    let inner = rest.strip_prefix(b"(")?;
    let inner = &inner[..memchr::memchr(b')', &inner[..inner.len().min(WORD)])?];
    let is_type = inner.starts_with(b"*") || TYPES.contains(&inner);
    let is_number = [&b"0x"[..], b"len=", b"cap="].iter().any(|begin| inner.starts_with(begin));
    (is_type || is_number).then_some(inner.len() + 2)
}

/// `Token { inner: `, as Rust prints a type around a secret.
fn field(rest: &[u8]) -> Option<usize> {
    const FIELDS: &[&[u8]] = &[b" { inner: ", b" { inner_secret: ", b" { value: ", b" { secret: "];
    let word = rest.iter().take(WORD).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let field = FIELDS.iter().find(|field| rest[word..].starts_with(field))?;
    rest[0].is_ascii_uppercase().then_some(word + field.len())
}

/// `Some(`, `sql.NullString{`, `[]string{`, `Optional[`, `(`. A name with digits may be the secret itself.
fn call(rest: &[u8]) -> Option<usize> {
    let list = if rest.starts_with(b"[]") { 2 } else { 0 };
    let is_word =
        |byte: &&u8| byte.is_ascii_alphabetic() || b"_.:*<>".contains(byte) || (list > 0 && byte.is_ascii_digit());
    let word = rest[list..].iter().take(WORD).take_while(is_word).count();
    match rest.get(list + word)? {
        b'{' if word > 0 => Some(list + word + 1),
        b'(' | b'[' => Some(list + word + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_x26_a_wrapper_ends_at_the_quote_in_it() {
        for text in [
            "Some(",
            "&",
            "\\\\u0026",
            "(*string)(0xc0)(",
            "(string) (len=8) ",
            "b",
            "[]uint8{",
            "$(echo -n ",
            "A::b(C(",
        ] {
            let line = format!("{text}\\\"x1\\\"");
            let found = Wrapped::find(line.as_bytes(), 0).expect(text);
            assert_eq!(found.at, text.len(), "{text}");
        }
        for text in ["\"x\"", "x1(\"a\")", "map[string]string{\"a\":\"b\"}", "Some(a)", "b\" c=\"d", "", "(\", "] {
            assert!(Wrapped::find(text.as_bytes(), 0).is_none(), "{text}");
        }
    }
}
