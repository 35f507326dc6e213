//! What an X.509 certificate says of itself: subject, issuer and the time for which it is valid, for people to read.
//! Whether it is to be believed is not decided here: rustls does that, in `tls`.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Serialize;

/// The longest name that is shown, in characters.
const MOST_CHARS: usize = 200;

/// The readable part of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Whose it is, as `CN=…, O=…`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The first second at which it is valid.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads the DER of a certificate (RFC 5280, 4.1); `None`: it is none.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (certificate, _) = element(der, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            (_, rest) = element(rest, VERSION)?;
        }
        for tag in [INTEGER, SEQUENCE] {
            (_, rest) = element(rest, tag)?;
        }
        let (issuer, rest) = element(rest, SEQUENCE)?;
        let (validity, rest) = element(rest, SEQUENCE)?;
        let (subject, _) = element(rest, SEQUENCE)?;
        let (not_before, validity) = time(validity)?;
        let (not_after, _) = time(validity)?;
        Some(Self { subject: name(subject)?, issuer: name(issuer)?, not_before, not_after })
    }

    /// Whole days until it ends; negative once it has.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        self.not_after.duration_since(now).as_hours().div_euclid(24)
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The content of the element at the beginning, and what follows it. DER's lengths are definite.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first & 0x7f);
    if first & 0x80 != 0 {
        let digits = length;
        if digits == 0 || digits > 4 || rest.len() < digits {
            return None;
        }
        let (long, after) = rest.split_at(digits);
        length = long.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    (length <= rest.len()).then(|| (tag, &rest[..length], &rest[length..]))
}

fn element(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = any(bytes)?;
    (tag == wanted).then_some((content, rest))
}

fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, content, rest) = any(bytes)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (century, text) = match tag {
        // RFC 5280, 4.1.2.5.1: two digits from 50 on are of the last century.
        UTC_TIME => (if text.get(..2)?.parse::<u8>().ok()? >= 50 { "19" } else { "20" }, text),
        GENERALIZED_TIME => (text.get(..2)?, text.get(2..)?),
        _ => return None,
    };
    let part = |at: usize| text.get(at..at + 2)?.parse::<i8>().ok();
    let year = format!("{century}{}", text.get(..2)?).parse().ok()?;
    let time = DateTime::new(year, part(2)?, part(4)?, part(6)?, part(8)?, part(10)?, 0).ok()?;
    Some((time.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

/// A Name: a sequence of sets of attributes. Only those that people use to tell certificates apart are shown.
fn name(mut rest: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (mut set, after) = element(rest, SET)?;
        rest = after;
        while !set.is_empty() {
            let (attribute, after) = element(set, SEQUENCE)?;
            set = after;
            let (id, value) = element(attribute, OBJECT_ID)?;
            let (_, value, _) = any(value)?;
            // id-at: 2.5.4
            let word = match id {
                [0x55, 0x04, 3] => "CN",
                [0x55, 0x04, 6] => "C",
                [0x55, 0x04, 10] => "O",
                [0x55, 0x04, 11] => "OU",
                _ => continue,
            };
            parts.push(format!("{word}={}", String::from_utf8_lossy(value)));
        }
    }
    let whole = crate::text::escape_for_terminal(&parts.join(", ")).into_owned();
    Some(whole.chars().take(MOST_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn made() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["s3.example.com".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "s3.example.com");
        params.distinguished_name.push(DnType::OrganizationName, "Acme\u{202e}\n");
        params.not_before = date_time_ymd(2026, 1, 2);
        params.not_after = date_time_ymd(2053, 3, 4);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn a_certificate_is_read() {
        let read = Certificate::parse(&made()).expect("a certificate");
        assert!(read.subject.contains("CN=s3.example.com") && read.subject.contains("O=Acme"), "{}", read.subject);
        assert!(!read.subject.contains('\n') && !read.subject.contains('\u{202e}'), "{:?}", read.subject);
        assert_eq!(read.subject, read.issuer);
        assert_eq!(read.not_before.to_string(), "2026-01-02T00:00:00Z");
        assert_eq!(read.not_after.to_string(), "2053-03-04T00:00:00Z");
        assert_eq!(read.days_left("2053-03-02T12:00:00Z".parse().expect("a time")), 1);
        assert_eq!(read.days_left("2053-03-04T01:00:00Z".parse().expect("a time")), -1);
    }

    proptest! {
        #[test]
        fn what_is_no_certificate_is_none_and_never_a_panic(cut in 0_usize..600, at in 0_usize..600, byte: u8) {
            let mut der = made();
            der.truncate(cut);
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let _ = Certificate::parse(&der);
        }
    }
}
