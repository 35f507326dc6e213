//! Runs of base64 in a line whose text, decoded once or twice, holds something that a rule hits: the whole run is masked.
//! Known values within base64 are found by `exact` without decoding.

use std::ops::Range;

use base64::{Engine as _, alphabet, engine};

pub(super) const RULE: &str = "base64";

/// Shorter runs, padding included, hold no name with a secret behind it (base64 digits).
const SHORTEST: usize = 20;
/// The digits of such a run without padding.
const STEP: usize = SHORTEST - 2;
/// Of a run this many digits are decoded to see whether it is text.
const LOOKED_AT: usize = 8;

const LENIENT: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Value of each base64 digit of both alphabets, 64 for other bytes.
const SEXTET: [u8; 256] = {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [64; 256];
    let mut value: u8 = 0;
    while value < 64 {
        table[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
};

/// The next run at or behind `from` that may be base64 of text.
///
/// Looks at each eighteenth byte first: a run that is long enough covers one.
pub(super) fn next(text: &[u8], from: usize) -> Option<Range<usize>> {
    let mut left = from;
    let mut at = from + STEP - 1;
    while at < text.len() {
        if SEXTET[usize::from(text[at])] == 64 {
            left = at + 1;
            at += STEP;
            continue;
        }
        let mut start = at;
        while start > left && SEXTET[usize::from(text[start - 1])] < 64 {
            start -= 1;
        }
        let mut end = at + 1;
        while end < text.len() && SEXTET[usize::from(text[end])] < 64 {
            end += 1;
        }
        let padding = text[end..].iter().take(2).take_while(|b| **b == b'=').count();
        if end - start + padding >= SHORTEST && is_text(&text[start..start + LOOKED_AT]) {
            return Some(start..end + padding);
        }
        left = end;
        at = end + STEP;
    }
    None
}

fn is_text(digits: &[u8]) -> bool {
    let mut text = [0; LOOKED_AT / 4 * 3];
    for (four, three) in digits.chunks_exact(4).zip(text.chunks_exact_mut(3)) {
        let bits = four.iter().fold(0_u32, |bits, digit| (bits << 6) | u32::from(SEXTET[usize::from(*digit)]));
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    let printable = |byte: &u8| matches!(byte, b' '..=b'~' | 0x80.. | b'\n' | b'\r' | b'\t' | 0x1b);
    // The last letter may go on behind what was looked at.
    text.iter().all(printable) && std::str::from_utf8(&text).err().is_none_or(|error| error.error_len().is_none())
}

/// The text of a run.
pub(super) fn decoded(run: &[u8]) -> Option<Vec<u8>> {
    let mut digits: Vec<u8> = run.iter().filter(|b| **b != b'=').copied().collect();
    for digit in &mut digits {
        match digit {
            b'-' => *digit = b'+',
            b'_' => *digit = b'/',
            _ => {}
        }
    }
    // One digit is no byte: the run was cut, or something else stands behind it.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LENIENT.decode(digits).ok()
}
