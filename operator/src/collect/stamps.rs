//! Reads the kubelet's time stamps, of which each is of the same second as the one before, or soon after it.
//! `window` decides by the time of a line whether to keep it.

use std::ops::Range;

use jiff::Timestamp;

/// Where the kubelet writes nine digits: `2026-03-01T10:00:00.123456789Z`, and another zone in place of the `Z`.
const NANOS: Range<usize> = 20..29;

/// A second is read once, and of further stamps of it only the nine digits.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// The last stamp that was read as a whole and has nine digits.
    stamp: Vec<u8>,
    /// Its second.
    second: i64,
}

impl Stamps {
    /// The time, if `text` is one.
    pub(super) fn read(&mut self, text: &[u8]) -> Option<Timestamp> {
        let nanos = nanos(text);
        if let Some(nanos) = nanos.filter(|_| around(text) == around(&self.stamp)) {
            return Timestamp::new(self.second, nanos).ok();
        }
        let time: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
        if nanos == Some(time.subsec_nanosecond()) {
            self.stamp.clear();
            self.stamp.extend_from_slice(text);
            self.second = time.as_second();
        }
        Some(time)
    }
}

/// What stands in front of the nine digits, and behind them.
fn around(stamp: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((stamp.get(..NANOS.start)?, stamp.get(NANOS.end..)?))
}

fn nanos(stamp: &[u8]) -> Option<i32> {
    let digits = stamp.get(NANOS).filter(|_| stamp[NANOS.start - 1] == b'.')?;
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| 10 * sum + i32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Stamps of few seconds, written as a kubelet would or nearly so.
    fn stamp() -> impl Strategy<Value = String> {
        let second = prop::sample::select(vec![
            "2026-03-01T10:00:00",
            "2026-03-01T23:59:60",
            "1969-12-31T23:59:59",
            "20260301T100000",
        ]);
        let fraction = prop_oneof![4 => r"\.[0-9]{9}", 1 => r"[.,][0-9x]{0,10}", 1 => Just(String::new())];
        let zone = prop::sample::select(vec!["Z", "Z", "z", "+01:00", "-00:30", "", "[UTC]", "+0100"]);
        (second, fraction, zone).prop_map(|(second, fraction, zone)| [second, &fraction, zone].concat())
    }

    proptest! {
        #[test]
        fn a_stamp_is_read_as_if_it_were_the_first(stamps in prop::collection::vec(stamp(), 1..50)) {
            let mut reader = Stamps::default();
            for stamp in stamps {
                prop_assert_eq!(reader.read(stamp.as_bytes()), stamp.parse().ok(), "{}", stamp);
            }
        }
    }
}
