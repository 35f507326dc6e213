//! A BackupStorageLocation as Velero and its plugins understand it: which one is used, its config, its credential.
//! `store::provider` reads what is the provider's own, and opens the store.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

pub mod deployment;
pub mod endpoint;
mod error;
pub mod secrets;
mod versions;
mod words;

pub use endpoint::{Endpoint, EndpointPolicy, IdentityPolicy};
pub use error::LocationError;
pub(crate) use error::{listed, shown};
pub use secrets::SecretFacts;
pub(crate) use secrets::{SecretReader, wipe};
pub use versions::SecretVersions;
pub use words::Words;

use deployment::SecretKey;

use crate::velero::is_dns_name;

/// The location that Velero uses when none is marked as default (`--default-backup-storage-location`).
const DEFAULT_NAME: &str = "default";

/// The config keys by which the providers of Velero name a server or an account.
const SERVER_KEYS: [&str; 4] = ["s3Url", "storageAccountURI", "storageAccount", "storeEndpoint"];

/// Whether Velero writes to the location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessMode {
    /// Velero's default.
    #[default]
    ReadWrite,
    /// Nothing may be written.
    ReadOnly,
}

/// The fields of a BackupStorageLocation, before its provider's own config keys are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: Option<String>,
    /// `spec.provider`, without `velero.io/`.
    pub provider: String,
    /// `spec.objectStorage.bucket`
    pub bucket: String,
    /// `spec.objectStorage.prefix`, without slashes at its ends; may be empty.
    pub prefix: String,
    /// `spec.accessMode`
    pub access: AccessMode,
    /// `spec.default`
    pub default: bool,
    /// `status.phase`: Available or Unavailable; `None` before Velero has checked the location.
    pub phase: Option<String>,
    /// `status.message`
    pub message: Option<String>,
    /// `spec.config`
    pub config: BTreeMap<String, String>,
    /// `spec.objectStorage.caCert`, still in base64 of PEM.
    pub ca_cert: Option<String>,
    /// `spec.objectStorage.caCertRef`
    pub ca_cert_ref: Option<SecretKey>,
    /// `spec.credential`
    pub credential: Option<SecretKey>,
}

impl Location {
    /// Reads a BackupStorageLocation. Its provider's config is read separately, so that an error in an unused location
    /// cannot spoil the choice.
    ///
    /// # Errors
    /// `Invalid` if a field has the wrong type.
    pub fn parse(object: &Value) -> Result<Self, LocationError> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let invalid = |why: String| LocationError::Invalid { name: name.clone(), why };
        let text = |pointer: &str| match object.pointer(pointer) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(invalid(format!("{} must be a string", pointer[1..].replace('/', ".")))),
        };
        let selector = |pointer: &str| match (text(&format!("{pointer}/name"))?, text(&format!("{pointer}/key"))?) {
            (Some(name), Some(_)) if !is_dns_name(&name) => {
                let field = pointer[1..].replace('/', ".");
                Err(invalid(format!("{field}.name is {}; no Secret can have that name", shown(&name))))
            }
            (Some(name), Some(key)) => Ok(Some(SecretKey { name, key })),
            (None, None) => Ok(None),
            _ => Err(invalid(format!("{} must have a name and a key", pointer[1..].replace('/', ".")))),
        };
        let mut config = BTreeMap::new();
        for (key, value) in object.pointer("/spec/config").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().ok_or_else(|| invalid(format!("config key {} must be a string", shown(key))))?;
            config.insert(key.clone(), value.to_owned());
        }
        let provider = text("/spec/provider")?.unwrap_or_default();
        Ok(Self {
            uid: text("/metadata/uid")?,
            provider: provider.strip_prefix("velero.io/").unwrap_or(&provider).to_owned(),
            bucket: text("/spec/objectStorage/bucket")?.unwrap_or_default(),
            prefix: text("/spec/objectStorage/prefix")?.unwrap_or_default().trim_matches('/').to_owned(),
            access: match text("/spec/accessMode")?.as_deref() {
                None | Some("ReadWrite") => AccessMode::ReadWrite,
                Some("ReadOnly") => AccessMode::ReadOnly,
                Some(other) => {
                    return Err(invalid(format!("accessMode is {}; it must be ReadWrite or ReadOnly", shown(other))));
                }
            },
            default: object.pointer("/spec/default").and_then(Value::as_bool).unwrap_or(false),
            phase: text("/status/phase")?,
            message: text("/status/message")?,
            config,
            ca_cert: text("/spec/objectStorage/caCert")?,
            ca_cert_ref: selector("/spec/objectStorage/caCertRef")?,
            credential: selector("/spec/credential")?,
            name: name.clone(),
        })
    }

    /// Whether a message may propose it: Velero writes to it, and has found that it works.
    pub fn is_proposed(&self) -> bool {
        self.access == AccessMode::ReadWrite && self.phase.as_deref() == Some("Available")
    }

    /// The config value that names the server or the account, by any provider's key for it.
    pub fn server(&self) -> Option<&str> {
        let named = SERVER_KEYS.iter().find_map(|key| self.config.get(*key).filter(|value| !value.is_empty()));
        named.map(|value| value.trim_end_matches('/'))
    }

    /// Checks what holds for all providers: the bucket name is possible, at most one CA is set.
    ///
    /// # Errors
    /// `Invalid`
    pub fn check(&self) -> Result<(), LocationError> {
        let bucket = &self.bucket;
        if bucket.is_empty() {
            return Err(self.invalid("objectStorage.bucket is empty".to_owned()));
        }
        if bucket.starts_with("arn:") && bucket.contains(".mrap") {
            return Err(self.invalid(format!(
                "bucket {} is a multi-region access point, which is not supported; name a bucket",
                shown(bucket)
            )));
        }
        if bucket.contains('/') && !bucket.starts_with("arn:") {
            return Err(self.invalid(format!("bucket {} must not contain \"/\"; use prefix", shown(bucket))));
        }
        // Wider than AWS: other stores accept capitals and underscores, and Ceph accepts a tenant before a colon.
        let sound = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        let sound = bucket.starts_with(|first: char| first.is_ascii_alphanumeric())
            && bucket.len() <= 255
            && bucket.chars().all(sound);
        if !sound && !bucket.starts_with("arn:") {
            return Err(self.invalid(format!(
                "bucket {} is not a valid name: it must be at most 255 letters, digits, \"-\", \".\", \"_\" and \
                 \":\", and begin with a letter or digit",
                shown(bucket)
            )));
        }
        if self.ca_cert.is_some() && self.ca_cert_ref.is_some() {
            return Err(self.invalid("set only one of objectStorage.caCert, objectStorage.caCertRef".to_owned()));
        }
        Ok(())
    }

    /// The certificates of `objectStorage.caCert` as PEM.
    ///
    /// # Errors
    /// `Invalid`
    pub fn inline_ca(&self) -> Result<Option<String>, LocationError> {
        let Some(encoded) = &self.ca_cert else {
            return Ok(None);
        };
        let compact: String = encoded.split_ascii_whitespace().collect();
        let pem = STANDARD.decode(compact).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pem = pem.ok_or_else(|| self.invalid("caCert must be base64 of PEM".to_owned()))?;
        self.check_pem("caCert", &pem)?;
        Ok(Some(pem))
    }

    /// Checks that `pem` contains certificates that can be read, and no private key.
    ///
    /// # Errors
    /// `Invalid`
    pub(crate) fn check_pem(&self, what: &str, pem: &str) -> Result<(), LocationError> {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        if pem.contains("PRIVATE KEY-----") {
            return Err(self.invalid(format!("{what} contains a private key; it must contain only certificates")));
        }
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate =
                certificate.map_err(|_| self.invalid(format!("{what}: a CERTIFICATE block cannot be read")))?;
            roots
                .add(certificate)
                .map_err(|_| self.invalid(format!("{what}: a CERTIFICATE block contains no X.509 certificate")))?;
        }
        if roots.is_empty() {
            return Err(self.invalid(format!("{what}: no CERTIFICATE block found")));
        }
        Ok(())
    }

    pub(crate) fn credential_error(&self, why: String) -> LocationError {
        LocationError::Credential { name: self.name.clone(), why }
    }

    pub(crate) fn invalid(&self, why: String) -> LocationError {
        LocationError::Invalid { name: self.name.clone(), why }
    }
}

/// The location that a bundle goes to: the requested one, else the target's, else the default one.
///
/// `setting` is the field by which a user names it, for the errors.
///
/// # Errors
/// `NotFound`, `None`, `Ambiguous`, `ReadOnly`
pub fn choose<'a>(
    locations: &'a [Location],
    asked: Option<&str>,
    of_target: Option<&str>,
    setting: &'static str,
) -> Result<&'a Location, LocationError> {
    let names = |which: fn(&Location) -> bool| -> Vec<String> {
        locations.iter().filter(|location| which(location)).map(|location| location.name.clone()).collect()
    };
    if locations.is_empty() {
        return Err(LocationError::None);
    }
    let wanted = asked.or(of_target).filter(|name| !name.is_empty());
    let chosen = if let Some(name) = wanted {
        locations
            .iter()
            .find(|location| location.name == name)
            .ok_or_else(|| LocationError::NotFound { asked: name.to_owned(), found: names(|_| true) })?
    } else {
        let defaults: Vec<&Location> = locations.iter().filter(|location| location.default).collect();
        match (defaults.as_slice(), locations) {
            ([one], _) => *one,
            ([], [one]) => one,
            ([], _) => locations.iter().find(|location| location.name == DEFAULT_NAME).ok_or_else(|| {
                let why = "no BackupStorageLocation is the default";
                LocationError::Ambiguous { setting, why, candidates: names(|_| true) }
            })?,
            _ => {
                return Err(LocationError::Ambiguous {
                    setting,
                    why: "several BackupStorageLocations are default",
                    candidates: names(|location| location.default),
                });
            }
        }
    };
    match chosen.access {
        AccessMode::ReadWrite => Ok(chosen),
        AccessMode::ReadOnly => Err(LocationError::ReadOnly {
            setting,
            name: chosen.name.clone(),
            alternatives: names(Location::is_proposed),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use debugbundle_crd::Reason;
    use serde_json::json;

    /// A certificate made for this test, valid until 2053; its key was thrown away.
    pub(crate) const CERTIFICATE: &str = include_str!("testdata/ca.pem");

    const FIELD: &str = "spec.storageLocation";

    fn named(name: &str) -> Location {
        Location::parse(
            &json!({"metadata": {"name": name}, "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}}}),
        )
        .expect("valid")
    }

    #[test]
    fn issue_32_a_name_that_no_secret_can_have_makes_a_location_unusable() {
        for name in ["A", "a/b", "ä", "../configmaps/x", "my secret"] {
            let credential = json!({"name": name, "key": "cloud"});
            let object =
                json!({"metadata": {"name": "offsite"}, "spec": {"provider": "aws", "credential": credential}});
            let error = Location::parse(&object).expect_err(name).to_string();
            assert!(error.contains("spec.credential.name") && error.contains("no Secret can have"), "{error}");
        }
    }

    #[test]
    fn a_location_is_read_whole() {
        let got = Location::parse(&json!({
            "metadata": {"name": "offsite", "namespace": "backups"},
            "spec": {
                "provider": "velero.io/aws", "default": true, "accessMode": "ReadOnly",
                "objectStorage": {"bucket": "bkt", "prefix": "/a/b/", "caCertRef": {"name": "ca", "key": "crt"}},
                "credential": {"name": "keys", "key": "cloud"}, "config": {"region": "x"},
            },
            "status": {"phase": "Unavailable", "message": "because"},
        }))
        .expect("valid");
        assert_eq!(
            got,
            Location {
                name: "offsite".to_owned(),
                uid: None,
                provider: "aws".to_owned(),
                bucket: "bkt".to_owned(),
                prefix: "a/b".to_owned(),
                access: AccessMode::ReadOnly,
                default: true,
                phase: Some("Unavailable".to_owned()),
                message: Some("because".to_owned()),
                config: BTreeMap::from([("region".to_owned(), "x".to_owned())]),
                ca_cert: None,
                ca_cert_ref: Some(SecretKey { name: "ca".to_owned(), key: "crt".to_owned() }),
                credential: Some(SecretKey { name: "keys".to_owned(), key: "cloud".to_owned() }),
            }
        );
    }

    #[test]
    fn what_no_provider_can_use_is_refused() {
        let spec = |spec: Value| {
            Location::parse(&json!({"metadata": {"name": "offsite"}, "spec": spec}))
                .and_then(|location| location.check().map(|()| location))
        };
        for (input, expected) in [
            (json!({"provider": "aws"}), "objectStorage.bucket is empty"),
            (
                json!({"provider": "aws", "objectStorage": {"bucket": "a/b"}}),
                "bucket \"a/b\" must not contain \"/\"; use prefix",
            ),
            (
                json!({"provider": "aws", "objectStorage": {"bucket": "my backups"}}),
                "bucket \"my backups\" is not a valid name: it must be at most 255 letters, digits",
            ),
            (json!({"provider": "aws", "objectStorage": {"bucket": ".."}}), "bucket \"..\" is not a valid name"),
            (
                json!({"provider": "aws", "objectStorage": {"bucket": "arn:aws:s3::1:accesspoint/x.mrap"}}),
                "multi-region access point",
            ),
            (
                json!({"provider": "aws", "objectStorage": {"bucket": "b", "caCert": "eA==", "caCertRef": {"name": "a", "key": "b"}}}),
                "set only one of",
            ),
            (json!({"provider": "aws", "objectStorage": {"bucket": 5}}), "spec.objectStorage.bucket must be a string"),
            (
                json!({"provider": "aws", "objectStorage": {"bucket": "b"}, "config": {"region": 5}}),
                "config key \"region\" must be a string",
            ),
            (
                json!({"provider": "aws", "objectStorage": {"bucket": "b"}, "accessMode": "WriteOnly"}),
                "it must be ReadWrite or ReadOnly",
            ),
            (
                json!({"provider": "aws", "objectStorage": {"bucket": "b"}, "credential": {"name": "x"}}),
                "spec.credential must have a name and a key",
            ),
        ] {
            let error = spec(input.clone()).expect_err(&input.to_string());
            assert_eq!(error.reason(), Reason::LocationInvalid);
            assert!(error.to_string().contains(expected), "{input}: {error}");
        }
    }

    #[test]
    fn a_ca_is_base64_of_certificates() {
        let ca = |pem: &str| Location { ca_cert: Some(STANDARD.encode(pem)), ..named("offsite") };
        assert_eq!(ca(CERTIFICATE).inline_ca().expect("valid").as_deref(), Some(CERTIFICATE));
        for (pem, expected) in [
            ("nothing".to_owned(), "caCert: no CERTIFICATE block found"),
            (
                format!("{CERTIFICATE}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
                "caCert contains a private key",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
                "contains no X.509 certificate",
            ),
        ] {
            let error = ca(&pem).inline_ca().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let bare = Location { ca_cert: Some("-----".to_owned()), ..named("offsite") };
        assert!(bare.inline_ca().expect_err("not base64").to_string().contains("caCert must be base64 of PEM"));
    }

    #[test]
    fn the_one_asked_for_comes_before_the_targets_and_the_default() {
        let all = [Location { default: true, ..named("main") }, named("of-target"), named("asked")];
        let chosen = |asked, of_target| choose(&all, asked, of_target, FIELD).expect("one").name.as_str();
        assert_eq!(chosen(Some("asked"), Some("of-target")), "asked");
        assert_eq!(chosen(None, Some("of-target")), "of-target");
        assert_eq!(chosen(None, None), "main");
    }

    #[test]
    fn without_a_default_velero_s_own_name_or_the_only_one_counts() {
        assert_eq!(choose(&[named("a"), named("default")], None, None, FIELD).expect("one").name, "default");
        assert_eq!(choose(&[named("only")], None, None, FIELD).expect("one").name, "only");
    }

    #[test]
    fn no_choice_is_explained() {
        let read_only = Location { access: AccessMode::ReadOnly, ..named("ro") };
        let default = |name: &str| Location { default: true, ..named(name) };
        let in_phase = |name: &str, phase: &str| Location { phase: Some(phase.to_owned()), ..named(name) };
        for (locations, asked, expected, reason) in [
            (vec![], None, "there is no BackupStorageLocation", Reason::LocationNotFound),
            (
                vec![named("a"), named("b")],
                Some("c"),
                "BackupStorageLocation \"c\" not found; found: a, b",
                Reason::LocationNotFound,
            ),
            (
                vec![named("a"), named("b")],
                None,
                "no BackupStorageLocation is the default: a, b; set spec.storageLocation",
                Reason::LocationAmbiguous,
            ),
            (
                vec![default("a"), default("b"), named("c")],
                None,
                "several BackupStorageLocations are default: a, b; set",
                Reason::LocationAmbiguous,
            ),
            (
                vec![read_only.clone(), in_phase("rw", "Available"), in_phase("away", "Unavailable"), named("new")],
                Some("ro"),
                "BackupStorageLocation \"ro\" is ReadOnly; set spec.storageLocation to one of: rw",
                Reason::LocationReadOnly,
            ),
            (
                vec![read_only, in_phase("away", "Unavailable")],
                Some("ro"),
                "a bundle needs a location that is ReadWrite and Available, and there is no other",
                Reason::LocationReadOnly,
            ),
        ] {
            let error = choose(&locations, asked, None, FIELD).expect_err(expected);
            assert_eq!(error.reason(), reason);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
