//! Tells the base64 of a key from names and paths, which may have as many letters of both cases and digits: in words some
//! letters follow others far more often.

/// The letters that often follow `a`, `b` and so on, from the names of Kubernetes' API: 19 of 20 pairs in words, one of
/// three in random letters.
const FOLLOWERS: [&[u8]; 26] = [
    b"bcdfgilmnprstuv",
    b"aeijlsu",
    b"acehiklorstuy",
    b"adegilmoprsu",
    b"abcdefglmnpqrstvwxy",
    b"aefiou",
    b"aeinru",
    b"aeio",
    b"abcdefglmnoprstvz",
    b"e",
    b"e",
    b"adeilostuy",
    b"aeiopsu",
    b"acdefgioprstuv",
    b"abcdgiklmnoprstuvw",
    b"aehiloprstu",
    b"u",
    b"acdegikmnorstuvy",
    b"acehiloprstu",
    b"acehiloprstuy",
    b"abceilmnprst",
    b"aeio",
    b"aehios",
    b"pt",
    b"ps",
    b"e",
];
/// Fewer letters and digits, in parts with letters of both cases, say nothing.
const LEAST: usize = 20;

/// Whether it is random: it contains capitals, small letters and digits, and does not consist of words. The parts of a
/// path without both capitals and small letters, such as digests, do not count.
pub(super) fn looks_random(text: &[u8]) -> bool {
    let has = |text: &[u8], is: fn(&u8) -> bool| text.iter().any(is);
    let mixed = |part: &&[u8]| has(part, u8::is_ascii_uppercase) && has(part, u8::is_ascii_lowercase);
    if !has(text, u8::is_ascii_digit) || !mixed(&text) {
        return false;
    }
    let parts = || text.split(|byte| *byte == b'/').filter(mixed);
    let bytes: usize = parts().map(<[u8]>::len).sum();
    let score: i64 = parts().flat_map(|part| part.windows(2)).map(likeness).sum();
    bytes >= LEAST && 5 * score < -i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How much a pair of neighbours speaks for a word. Random base64 scores about -1.1 a pair, names 0.5.
fn likeness(pair: &[u8]) -> i64 {
    let &[first, second] = pair else { return 0 };
    if !first.is_ascii_alphabetic() || !second.is_ascii_alphabetic() {
        let digit = [first, second].map(|byte| byte.is_ascii_digit());
        return match digit {
            [true, true] => 0,
            // A number behind a word, or a word behind a number.
            [false, true] if first.is_ascii_lowercase() => -1,
            [true, false] if second.is_ascii_uppercase() => -1,
            [false, false] => -3,
            _ => -2,
        };
    }
    let at = usize::from(first.to_ascii_lowercase() - b'a');
    let begins_a_word = first.is_ascii_lowercase() && second.is_ascii_uppercase();
    match FOLLOWERS[at].contains(&second.to_ascii_lowercase()) {
        true => 1,
        false if begins_a_word => -1,
        false => -2,
    }
}
