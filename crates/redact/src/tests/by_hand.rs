//! The fast scanners find the same as the patterns, in noise built from everything that either of them reacts to.

use std::ops::Range;

use super::{leaks::seed, *};

#[rustfmt::skip]
const PIECES: &[&str] = &[
    "authorization", "Authorization", "AUTHORIZATION", "bearer", "Bearer", "basic", "Token", "negotiate", "apikey", "bot", "digest", "sharedkeylite",
    "aws4-hmac-sha256", "custom-1", "eyJ", "eyJhbGciOiJSUzI1NiJ9", ".", "..", "abcd", "abc", "a1b2c3d4e5f6a7b8c9", "0", "_", "-",
    "=", "=>", ":", "%3a", "%3D", "%3", "%20", "%2", "+", "\\", "\\\\", "\"", "'", "[", "]", "}", ")", ",", ";", " ", "  ", "\t",
    "eyJabcdef.abcde.", ".a.b.c", "\r", "\u{b}", "\n", "~", "/", "eyJeyJ", "é", "J", "z",
];

/// Everything that the pattern of a shape finds.
fn by_pattern(index: usize, line: &[u8]) -> Vec<Range<usize>> {
    let pattern = &shapes::PATTERNS[index];
    pattern.captures_iter(line).filter_map(|hit| hit.iter().flatten().last().map(|value| value.range())).collect()
}

#[test]
fn sec_x63_by_hand_the_same_is_found_as_by_the_patterns() {
    let mut seed = seed();
    let (mut found, mut long) = ([0_usize; 64], 0);
    for round in 0..30_000 {
        let mut line = String::new();
        for _ in 0..=seed.next() % 14 {
            line += PIECES[usize::try_from(seed.next() % PIECES.len() as u64).expect("an index")];
        }
        if round % 10 == 0 {
            // A line that matches, so that the text behind a long value is scanned too.
            let word = seed.word(300);
            line =
                format!("{line}Authorization: Bearer {word}.{word}, {line}bearer={word}{line}eyJ{word}.{word}.{line}");
            long += 1;
        }
        for (index, shape) in shapes::TABLE.iter().enumerate().filter(|(_, shape)| shape.scan.is_some()) {
            let want = by_pattern(index, line.as_bytes());
            let is: Vec<_> = shapes::values(index, line.as_bytes()).collect();
            assert_eq!(is, want, "{}: {line:?}", shape.id);
            found[index] += want.len();
        }
    }
    let of_hand = (0..shapes::TABLE.len()).filter(|index| shapes::TABLE[*index].scan.is_some());
    let counts: Vec<_> = of_hand.map(|index| (shapes::TABLE[index].id, found[index])).collect();
    assert!(counts.len() == 3 && counts.iter().all(|(_, found)| *found > 200) && long > 1000, "{counts:?}");
}
