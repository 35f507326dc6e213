//! What an X.509 certificate says of itself: subject, issuer and the time for which it is valid, for people to read.
//! Whether it is to be believed is not decided here: rustls does that, in `tls`.

use jiff::Timestamp;
use serde::Serialize;
use x509_parser::{
    oid_registry::{
        OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, Oid,
    },
    prelude::{FromDer as _, Validity, X509Certificate, X509Name},
};

/// The longest name that is shown, in characters.
const MOST_CHARS: usize = 200;

/// The attributes of a name that are shown.
static NAMED: [(Oid<'_>, &str); 4] = [
    (OID_X509_COMMON_NAME, "CN"),
    (OID_X509_COUNTRY_NAME, "C"),
    (OID_X509_ORGANIZATION_NAME, "O"),
    (OID_X509_ORGANIZATIONAL_UNIT, "OU"),
];

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
        let (_, read) = X509Certificate::from_der(der).ok()?;
        let Validity { not_before, not_after } = read.validity();
        Some(Self {
            subject: name(read.subject()),
            issuer: name(read.issuer()),
            not_before: Timestamp::from_second(not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(not_after.timestamp()).ok()?,
        })
    }

    /// Whole days until it ends; negative once it has.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        self.not_after.duration_since(now).as_hours().div_euclid(24)
    }
}

/// Of a name only the attributes that people use to tell certificates apart.
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter_attributes()
        .filter_map(|attribute| {
            let (_, word) = NAMED.iter().find(|(id, _)| id == attribute.attr_type())?;
            Some(format!("{word}={}", String::from_utf8_lossy(attribute.as_slice())))
        })
        .collect();
    let whole = debugbundle_format::text::escape_for_terminal(&parts.join(", ")).into_owned();
    whole.chars().take(MOST_CHARS).collect()
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
