//! Texts for tests: one that hardly compresses, and what a terminal shows without its colours.

use std::fmt::Write as _;

/// Text that compresses badly.
pub fn noise(mut seed: u64, length: usize) -> String {
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from(seed >> 58).unwrap())
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A text without the escape sequences of colours.
pub fn without_colours(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let _ = write!(plain, "{}", piece.split_once('m').map_or(piece, |(_, rest)| rest));
    }
    plain
}
