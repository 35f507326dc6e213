//! Tells the base64 of a key from names and paths, which may have as many letters of both cases and digits: in words some
//! letters follow others far more often, and names have abbreviations.

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
/// Abbreviations in names, whose letters seldom follow each other in words. They count where they are written with at most
/// one capital, such as `Grpc` and `grpc`: `GRPC` is known by its capitals.
const ABBREVIATIONS: [&[u8]; 50] = [
    b"aks", b"aws", b"cni", b"crd", b"csi", b"csv", b"dns", b"eks", b"gcp", b"gcs", b"gke", b"grpc", b"hmac", b"html",
    b"http", b"https", b"ipv4", b"ipv6", b"json", b"jvm", b"jwks", b"jwt", b"k8s", b"kms", b"ldap", b"mtls", b"mysql",
    b"nfs", b"ntp", b"oauth2", b"oidc", b"pvc", b"rbac", b"rds", b"rpc", b"rsa", b"sdk", b"sha256", b"smtp", b"sns",
    b"sql", b"sqs", b"ssh", b"ssl", b"tcp", b"tls", b"udp", b"url", b"vpc", b"x509",
];
/// Fewer letters and digits, in parts with letters of both cases, say nothing.
const LEAST: usize = 20;

/// Whether it is random: it contains capitals, small letters and digits, and does not consist of words and
/// abbreviations. The parts of a path without both capitals and small letters, such as digests, do not count.
pub(super) fn looks_random(text: &[u8]) -> bool {
    let has = |text: &[u8], is: fn(&u8) -> bool| text.iter().any(is);
    let mixed = |part: &&[u8]| has(part, u8::is_ascii_uppercase) && has(part, u8::is_ascii_lowercase);
    if !has(text, u8::is_ascii_digit) || !mixed(&text) {
        return false;
    }
    let parts = || text.split(|byte| *byte == b'/').filter(mixed);
    parts().map(<[u8]>::len).sum::<usize>() >= LEAST && parts().map(likeness).sum::<i64>() < -2
}

/// How much a text speaks for names. Forty digits of base64 have about -60, most names more than 0. Of 60,000 random
/// lines of 40 to 64 digits 37 have no numeral or are not below -2.
fn likeness(text: &[u8]) -> i64 {
    let mut known = 0;
    let mut sum = 0;
    for (at, pair) in text.windows(2).enumerate() {
        known = known.max(at + abbreviation(&text[at..]));
        sum += if at < known { 3 } else { of_pair(pair[0], pair[1]) };
    }
    sum
}

/// Pairs of neighbours in the abbreviation that the text begins with.
fn abbreviation(text: &[u8]) -> usize {
    let begins = |one: &&&[u8]| {
        text.get(..one.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(one) && !start[1..].iter().any(u8::is_ascii_uppercase))
    };
    ABBREVIATIONS.iter().filter(begins).map(|one| one.len() - 1).max().unwrap_or(0)
}

/// How much a pair of neighbours speaks for names. In random base64 the cases alternate, and small letters stand behind
/// digits; in names there are words, and capitals side by side.
fn of_pair(first: u8, second: u8) -> i64 {
    let follows = || FOLLOWERS[usize::from(first.to_ascii_lowercase() - b'a')].contains(&second.to_ascii_lowercase());
    match [first, second].map(class) {
        [Class::Small, Class::Small] if follows() => 3,
        [Class::Small | Class::Digit, Class::Small] => -3,
        [Class::Small, Class::Capital] => -4,
        [Class::Capital, Class::Small] if follows() => 0,
        [Class::Capital, Class::Small] | [Class::Small, Class::Digit] => -2,
        [Class::Capital, Class::Capital] if first == second => -1,
        [Class::Capital, Class::Capital] if follows() => 2,
        [Class::Capital, Class::Capital] => 0,
        _ => -1,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Capital,
    Small,
    Digit,
    Sign,
}

fn class(byte: u8) -> Class {
    match byte {
        b'A'..=b'Z' => Class::Capital,
        b'a'..=b'z' => Class::Small,
        b'0'..=b'9' => Class::Digit,
        _ => Class::Sign,
    }
}
