//! The form of redaction's tokens, as the bundle's format documents it. A token contains no value, so the search blanks
//! the tokens of a text: several side by side, or one in place of a user's name, are then no hit. So are tokens with
//! brackets that Markdown escapes, and tokens that were cut.

use memchr::memmem;

const OPEN: &[u8] = b"[REDACTED:";
/// Bytes of the longest rule name, and of what may follow it: eight digits, or a number of bytes.
const RULE: usize = 40;
const SHOWN: usize = 32;
/// Most backslashes in front of a bracket.
const ESCAPED: usize = 8;
/// Ends a text that was cut.
const CUT: &[u8] = "…".as_bytes();
/// Bytes of the longest token.
const LONGEST: usize = OPEN.len() + RULE + 1 + SHOWN + ESCAPED + CUT.len();

/// Stands for each byte of a token. No text in UTF-8 contains it.
pub(super) const BLANK: u8 = 0xff;

/// Blanks each token that ends after the first `seen` bytes. Tokens that end within them were blanked before.
pub(super) fn blank(text: &mut [u8], seen: usize) {
    let mut from = seen.saturating_sub(LONGEST);
    while let Some(at) = memmem::find(&text[from..], OPEN) {
        let start = from + at;
        from = start + OPEN.len();
        if let Some(length) = behind_open(&text[from..]) {
            let escaped = text[..start].iter().rev().take_while(|byte| **byte == b'\\').count();
            text[start - escaped..from + length].fill(BLANK);
            from += length;
        }
    }
}

/// Bytes of `<rule>:<8 hex>]` or `<rule>:<number> bytes]`, if the text begins with one of these, or with the beginning
/// of one and the mark of a cut.
fn behind_open(text: &[u8]) -> Option<usize> {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let rule = text.iter().take(RULE).take_while(|byte| plain(byte)).count();
    let cut = |at: usize| text[at..].starts_with(CUT).then_some(at + CUT.len());
    if text.get(rule) != Some(&b':') || rule == 0 {
        return cut(rule);
    }
    let shown = &text[rule + 1..];
    let digits = shown.iter().take(SHOWN).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let unit = shown[digits..].strip_prefix(b" bytes").map_or(0, |_| b" bytes".len());
    let fits = if unit == 0 { digits == 8 } else { digits > 0 && shown[..digits].iter().all(u8::is_ascii_digit) };
    let end = rule + 1 + digits + unit;
    let escaped = text[end..].iter().take(ESCAPED).take_while(|byte| **byte == b'\\').count();
    let closed = text.get(end + escaped) == Some(&b']');
    if fits && closed { Some(end + escaped + 1) } else { cut(end).filter(|_| digits <= 8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_x46_a_token_is_blanked_whole_and_nothing_that_merely_looks_like_one() {
        for token in ["[REDACTED:jwt:01234567]", "[REDACTED:user-63:ABCDEF01]", "[REDACTED:long-line:12 bytes]"] {
            let mut text = format!("a{token}{token}b").into_bytes();
            let tokens = text.len() - 2;
            blank(&mut text, 0);
            assert_eq!(text, [&b"a"[..], &vec![BLANK; tokens], b"b"].concat(), "{token}");
        }
        for token in
            [r"\[REDACTED:jwt:01234567\]", r"\\[REDACTED:jwt:12 bytes\\]", "[REDACTED:jwt:012…", "[REDACTED:pr…"]
        {
            let mut text = format!("a{token}b").into_bytes();
            blank(&mut text, 0);
            assert_eq!(text, [&b"a"[..], &vec![BLANK; token.len()], b"b"].concat(), "{token}");
        }
        for other in [
            "[REDACTED:Hunter2:01234567]",
            "[REDACTED:jwt:hunter2x]",
            "[REDACTED:jwt:012345678]",
            "[REDACTED:jwt:01234567",
            "[REDACTED::01234567]",
            "[REDACTED:jwt: bytes]",
            "[REDACTED:",
        ] {
            let mut text = other.as_bytes().to_vec();
            blank(&mut text, 0);
            assert_eq!(text, other.as_bytes(), "{other}");
        }
    }
}
