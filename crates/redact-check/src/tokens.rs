//! The form of redaction's tokens, as the bundle's format documents it. A token contains no value, so the search blanks
//! the tokens of a text: several side by side, or one in place of a user's name, are then no hit.

use memchr::memmem;

const OPEN: &[u8] = b"[REDACTED:";
/// Bytes of the longest rule name, and of what may follow it: eight digits, or a number of bytes.
const RULE: usize = 40;
const SHOWN: usize = 32;
/// Bytes of the longest token.
const LONGEST: usize = OPEN.len() + RULE + 1 + SHOWN + 1;

/// Stands for each byte of a token. No text in UTF-8 contains it.
pub(super) const BLANK: u8 = 0xff;

/// Blanks each token that ends after the first `seen` bytes. Tokens that end within them were blanked before.
pub(super) fn blank(text: &mut [u8], seen: usize) {
    let mut from = seen.saturating_sub(LONGEST);
    while let Some(at) = memmem::find(&text[from..], OPEN) {
        let start = from + at;
        from = start + OPEN.len();
        if let Some(length) = behind_open(&text[from..]) {
            text[start..from + length].fill(BLANK);
            from += length;
        }
    }
}

/// Bytes of `<rule>:<8 hex>]` or `<rule>:<number> bytes]`, if the text begins with one of these.
fn behind_open(text: &[u8]) -> Option<usize> {
    let rule = text.iter().take(RULE + 1).position(|byte| *byte == b':')?;
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    if rule == 0 || !text[..rule].iter().all(plain) {
        return None;
    }
    let shown = &text[rule + 1..];
    let shown = &shown[..shown.iter().take(SHOWN + 1).position(|byte| *byte == b']')?];
    let fits = match shown.strip_suffix(b" bytes") {
        Some(number) => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
        None => shown.len() == 8 && shown.iter().all(u8::is_ascii_hexdigit),
    };
    fits.then_some(rule + 1 + shown.len() + 1)
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
