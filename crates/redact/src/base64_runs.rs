//! Finds runs of base64 digits, 64 bytes at a time: nearly all text has no run that is long enough. `encoded` decides
//! whether a run is base64 of text.

use std::ops::Range;

/// Bytes read together.
const WINDOW: usize = 64;
/// Shorter runs are not returned (digits).
pub(super) const SHORTEST: usize = 18;

/// The runs of at least [`SHORTEST`] digits of either alphabet, without their padding.
pub(super) struct Runs<'a> {
    text: &'a [u8],
    /// The end of the second of the two current windows.
    at: usize,
    /// One bit for each of their bytes that is a digit and in no run returned so far.
    both: u128,
    /// One bit for each of their bytes where a run begins.
    long: u128,
}

impl<'a> Runs<'a> {
    /// The runs that begin at or behind `from`; digits in front of it do not count.
    pub(super) fn new(text: &'a [u8], from: usize) -> Self {
        Self { text, at: from, both: 0, long: 0 }
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while self.long == 0 {
            let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
            self.both = self.both >> WINDOW | u128::from(digits(rest)) << WINDOW;
            self.long = begins_of_long(self.both);
            self.at += WINDOW;
        }
        let begin = self.long.trailing_zeros();
        let known = (self.both >> begin).trailing_ones();
        // Never below 0: the window in front of the text has no digits.
        let start = self.at + begin as usize - 2 * WINDOW;
        let mut end = start + known as usize;
        if let Some(seen) = u128::MAX.checked_shl(begin + known) {
            (self.both, self.long) = (self.both & seen, self.long & seen);
        } else {
            end += self.text[end..].iter().take_while(|byte| is_digit(**byte)).count();
            *self = Self::new(self.text, end);
        }
        Some(start..end)
    }
}

/// The bits where [`SHORTEST`] ones in a row begin.
fn begins_of_long(bits: u128) -> u128 {
    let two = bits & bits >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    let sixteen = eight & eight >> 8;
    sixteen & two >> 16
}

/// One bit for each of the first bytes that is a digit.
fn digits(text: &[u8]) -> u64 {
    if let Some(window) = text.first_chunk::<WINDOW>() {
        return bits(window);
    }
    let mut last = [0; WINDOW];
    last[..text.len()].copy_from_slice(text);
    bits(&last)
}

fn bits(window: &[u8; WINDOW]) -> u64 {
    // Two plain loops over bytes, which become a few vector instructions each.
    let mut flags = [0; WINDOW];
    for (flag, byte) in flags.iter_mut().zip(window) {
        *flag = u8::from(is_digit(*byte));
    }
    let eights = flags.as_chunks::<8>().0.iter().rev();
    eights.fold(0, |all, eight| all << 8 | packed(*eight))
}

/// The lowest bits of eight bytes, packed into the lowest byte.
fn packed(flags: [u8; 8]) -> u64 {
    u64::from_le_bytes(flags).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "branches would keep the loop over it from becoming vector instructions"
)]
fn is_digit(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let number_or_slash = byte.wrapping_sub(b'/') < 11;
    letter | number_or_slash | (byte == b'+') | (byte == b'-') | (byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &[u8], from: usize) -> Option<Range<usize>> {
        Runs::new(text, from).next()
    }

    fn one_by_one(text: &[u8], from: usize) -> Option<Range<usize>> {
        let mut start = from;
        while start < text.len() {
            let length = text[start..].iter().take_while(|byte| is_digit(**byte)).count();
            if length >= SHORTEST {
                return Some(start..start + length);
            }
            start += length + 1;
        }
        None
    }

    #[test]
    fn digits_are_those_of_both_alphabets() {
        let both = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_";
        assert!((0..=u8::MAX).all(|byte| is_digit(byte) == both.contains(&byte)));
    }

    #[test]
    fn a_run_is_found_wherever_it_stands() {
        for front in 0..200 {
            for length in [1, 17, 18, 19, 40, 63, 64, 65, 127, 128, 129, 300] {
                for behind in [0, 1, 70] {
                    let text = [vec![b'.'; front], vec![b'x'; length], vec![b' '; behind]].concat();
                    for from in [0, front / 2, front, front + 3] {
                        let from = from.min(text.len());
                        assert_eq!(next(&text, from), one_by_one(&text, from), "{front} {length} {behind} {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn in_noise_the_same_runs_are_found_as_one_by_one() {
        let mut dice = 5_u64;
        let mut found = 0;
        for _ in 0..400 {
            let noise: Vec<u8> = (0..400)
                .map(|_| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if dice >> 60 == 0 { b' ' } else { b'A' + u8::try_from(dice >> 33 & 15).expect("a nibble") }
                })
                .collect();
            let mut from = 0;
            for run in Runs::new(&noise, 0) {
                assert_eq!(Some(run.clone()), one_by_one(&noise, from));
                assert_eq!(Some(run.clone()), next(&noise, from));
                (from, found) = (run.end, found + 1);
            }
            assert_eq!(one_by_one(&noise, from), None);
        }
        assert!(found > 100, "{found}");
    }
}
