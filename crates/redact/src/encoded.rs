//! Runs of base64 to mask whole: a line of a key, and a run whose text, decoded once or twice, contains something that a
//! rule hits. `exact` finds known values within base64 without decoding.

use std::ops::Range;

use base64::{Engine as _, alphabet, engine};

use crate::{
    base64_runs::{self, Runs},
    pem,
};

pub(super) const RULE: &str = "base64";

/// Shorter runs, padding included, cannot hold a name with a secret behind it (base64 digits).
const SHORTEST: usize = 20;
const _: () = assert!(base64_runs::SHORTEST + 2 == SHORTEST, "without padding such a run is found");
/// This many digits of a run are decoded to see whether it is text.
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

/// A run of base64 digits that may hold text, or that is a line of a key.
pub(super) struct Run {
    pub(super) at: Range<usize>,
    /// The digits of a line of a key, without the letter of an escape in front of them.
    pub(super) key: Option<Range<usize>>,
    /// Where text may begin: at the first digit, or behind other letters and digits glued to the run.
    begins: [Option<usize>; ALIGNMENTS],
}

impl Run {
    /// The texts that the run may hold.
    pub(super) fn texts<'a>(&'a self, line: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
        self.begins.iter().flatten().filter_map(move |begin| decoded(&line[*begin..self.at.end]))
    }
}

/// The next run at or behind `from` that may be base64 of text, or that is a line of a key.
pub(super) fn next(text: &[u8], from: usize) -> Option<Run> {
    for Range { start, end } in Runs::new(text, from) {
        let padding = text[end..].iter().take(2).take_while(|b| **b == b'=').count();
        if end - start + padding >= SHORTEST {
            let begins = begins(text, start..end);
            let is_key = |digits: &Range<usize>| {
                pem::is_key_line(text, digits.clone())
                    && (0..ALIGNMENTS).all(|offset| first_words(&text[digits.start + offset..end]).is_none())
            };
            let key = pem::fronts(text, start).map(|front| start + front..end + padding).find(is_key);
            if key.is_some() || begins.iter().any(Option::is_some) {
                return Some(Run { at: start..end + padding, key, begins });
            }
        }
    }
    None
}

/// Base64 may begin at any of four digits, because anything may be glued to its front.
const ALIGNMENTS: usize = 4;
/// This many consecutive groups of four digits that all decode to plain text are not random.
const GROUPS: usize = 4;
/// Checking one group in every 16 digits finds each such stretch.
const STRIDE: usize = 4 * GROUPS;

/// Where text begins in a run, for each alignment of its digits.
fn begins(text: &[u8], run: Range<usize>) -> [Option<usize>; ALIGNMENTS] {
    let mut begins = [None; ALIGNMENTS];
    if is_text(&text[run.start..run.start + LOOKED_AT]) {
        begins[0] = Some(run.start);
    }
    let digits = &text[run.clone()];
    if !may_hold_words(digits) {
        return begins;
    }
    for (offset, begin) in begins.iter_mut().enumerate() {
        if begin.is_none() {
            *begin = first_words(&digits[offset..]).map(|first| run.start + offset + first);
        }
    }
    begins
}

/// Whether there is plain text where [`first_words`] looks first, at any alignment. Rules out nearly all runs.
fn may_hold_words(digits: &[u8]) -> bool {
    let mut at = STRIDE - 4;
    while at + 4 <= digits.len() {
        let end = digits.len().min(at + 3 + ALIGNMENTS);
        if digits[at..end].array_windows().any(|four| is_ascii(*four) && bytes(*four).into_iter().all(is_plain)) {
            return true;
        }
        at += STRIDE;
    }
    false
}

/// Where the first stretch of plain text of at least [`GROUPS`] groups begins.
fn first_words(digits: &[u8]) -> Option<usize> {
    let group = |at: usize| digits.get(at..)?.first_chunk::<4>();
    let is_plain = |at: usize| group(at).is_some_and(|four| is_ascii(*four) && bytes(*four).into_iter().all(is_plain));
    let mut at = STRIDE - 4;
    while at + 4 <= digits.len() {
        if is_plain(at) {
            let mut begin = at;
            while begin >= 4 && is_plain(begin - 4) {
                begin -= 4;
            }
            let mut end = at + 4;
            while end < begin + STRIDE && is_plain(end) {
                end += 4;
            }
            if end >= begin + STRIDE {
                return Some(begin);
            }
        }
        at += STRIDE;
    }
    None
}

/// ASCII letters, digits, punctuation and white space.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')
}

/// The bytes that four digits encode.
fn bytes(four: [u8; 4]) -> [u8; 3] {
    let [_, first, second, third] = bits(four).to_be_bytes();
    [first, second, third]
}

/// Whether all bytes that four digits encode are below 128.
fn is_ascii(four: [u8; 4]) -> bool {
    bits(four) & 0x0080_8080 == 0
}

fn bits(four: [u8; 4]) -> u32 {
    four.into_iter().fold(0, |bits, digit| (bits << 6) | u32::from(SEXTET[usize::from(digit)]))
}

fn is_text(digits: &[u8]) -> bool {
    let mut text = [0; LOOKED_AT / 4 * 3];
    for (four, three) in digits.as_chunks().0.iter().zip(text.chunks_exact_mut(3)) {
        three.copy_from_slice(&bytes(*four));
    }
    let printable = |byte: &u8| is_plain(*byte) || matches!(byte, 0x80.. | 0x1b);
    // The last character may continue behind the digits that were decoded.
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
    // A single left-over digit encodes no byte: the run was cut, or other text follows it.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LENIENT.decode(digits).ok()
}
