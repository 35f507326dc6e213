//! The credential of a location: the file that Velero's plugin reads, else the machine's identity. Of a key file only names
//! and the key count: the addresses in it are never asked.

use std::collections::BTreeMap;

use debugbundle_redact::Secret;
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::Value;

use super::{
    ExternalAccount, GcsConfig, GcsIdentity, ServiceAccount, TokenSource,
    config::GOOGLE,
    identity::{iam_of, is_email},
};
use crate::{
    location::{Endpoint, EndpointPolicy, Location, LocationError, SecretReader, shown},
    store::credentials_file::{self, CERTIFICATES, masked, none_named, source},
};

/// The variable of Velero's Deployment that names the key file.
const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// What `spec.credential` must name.
const WANTED: &str = "the key file of a service account, or allow GKE's Workload Identity by the operator's flag \
                      --allow-instance-metadata";
/// The metadata service of a machine.
const METADATA: &str = "http://169.254.169.254";
/// Values of a key file that are public.
const PUBLIC: [&str; 15] = [
    "type",
    "project_id",
    "quota_project_id",
    "client_email",
    "client_id",
    "auth_uri",
    "token_uri",
    "auth_provider_x509_cert_url",
    "client_x509_cert_url",
    "universe_domain",
    "audience",
    "subject_token_type",
    "token_url",
    "token_info_url",
    "service_account_impersonation_url",
];

/// What Google Cloud Storage needs besides the location.
#[derive(Clone, Debug)]
pub struct GcsAccess {
    /// The location's configuration.
    pub config: GcsConfig,
    /// Where requests go.
    pub endpoint: Endpoint,
    /// Who asks.
    pub credential: GcsCredential,
}

/// Who asks a store.
#[derive(Clone, Debug)]
pub enum GcsCredential {
    /// Nobody: each request is refused.
    Nobody,
    /// A service account, with its key; and the key as PEM.
    Key(ServiceAccount, Secret),
    /// An identity without a key.
    Identity(Box<GcsIdentity>),
}

/// What counts in a key file.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key_id: Option<String>,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    universe_domain: Option<String>,
}

impl GcsAccess {
    /// Reads the credentials file. `deployment` is Velero's, if there is one.
    pub(in crate::store) async fn resolve(
        config: GcsConfig,
        location: &Location,
        secrets: &SecretReader<'_>,
        deployment: Option<&Value>,
        policy: EndpointPolicy,
    ) -> Result<Self, LocationError> {
        let wrong = |why| location.credential_error(why);
        match source(location, FILE, deployment)? {
            Some(place) => {
                let text = secrets.text(&place).await?;
                Self::of_file(config, text.expose(), &format!("Secret {}/{}", place.name, place.key)).map_err(wrong)
            }
            None if policy.identities.instance_metadata => Self::of_machine(config).map_err(wrong),
            None => Err(none_named(location, FILE, WANTED)),
        }
    }

    /// With a credentials file; `from` says where it is from.
    ///
    /// # Errors
    /// A sentence without a value of the file that is secret.
    pub fn of_file(config: GcsConfig, text: &str, from: &str) -> Result<Self, String> {
        let file: KeyFile = serde_json::from_str(text).map_err(|error| {
            format!("{from} is not the JSON of a key file (line {}, column {})", error.line(), error.column())
        })?;
        let of_file = |why: String| format!("{from}: {why}");
        let endpoint = config.endpoint_in(file.universe_domain.as_deref()).map_err(of_file)?;
        let credential = match file.kind.as_str() {
            "service_account" => {
                let key = Secret::new(file.private_key);
                if file.client_email.is_empty() || key.expose().is_empty() {
                    return Err(format!(
                        "{from} has no client_email or no private_key; download a new key of the account"
                    ));
                }
                let account = ServiceAccount::new(&file.client_email, file.private_key_id.as_deref(), &key)
                    .ok_or_else(|| format!("the private_key in {from} is not an RSA key in PEM"))?;
                GcsCredential::Key(account, key)
            }
            "external_account" => {
                // The pod's token goes there, so the file itself cannot name it.
                let universe = config.universe.as_deref().unwrap_or(GOOGLE);
                let account = ExternalAccount::parse(text, from, universe)?;
                let signs_as = signs_as(&config)?.or_else(|| account.impersonated.clone());
                GcsCredential::Identity(Box::new(GcsIdentity {
                    source: TokenSource::External(account),
                    iam: Endpoint::parse("iam", &iam_of(universe))?,
                    signs_as,
                }))
            }
            other => {
                return Err(format!(
                    "{from} has type {}, which is not supported; allowed: service_account, external_account",
                    shown(other)
                ));
            }
        };
        Ok(Self { config, endpoint, credential })
    }

    /// With the identity that the metadata server gives: on GKE the pod's, elsewhere the node's.
    fn of_machine(config: GcsConfig) -> Result<Self, String> {
        let universe = config.universe.as_deref().unwrap_or(GOOGLE);
        let identity = GcsIdentity {
            source: TokenSource::Machine(Endpoint::parse("metadata", METADATA)?),
            iam: Endpoint::parse("iam", &iam_of(universe))?,
            signs_as: signs_as(&config)?,
        };
        let endpoint = config.endpoint_in(None)?;
        Ok(Self { config, endpoint, credential: GcsCredential::Identity(Box::new(identity)) })
    }

    /// Without an account: the way to the store can be probed.
    pub(in crate::store) fn of_nobody(config: GcsConfig) -> Self {
        let endpoint = config.endpoint_in(None).unwrap_or_else(|_| config.public_endpoint.clone());
        Self { config, endpoint, credential: GcsCredential::Nobody }
    }

    /// The exact values that must never be shown, each with the rule under which the redaction counts it.
    pub(in crate::store) fn known_values(&self) -> Vec<(&'static str, Secret)> {
        match &self.credential {
            GcsCredential::Key(_, key) => masked(vec![key.clone()]),
            GcsCredential::Nobody | GcsCredential::Identity(_) => Vec::new(),
        }
    }

    /// Where the credential is from, in words.
    pub(in crate::store) fn credential_words(&self) -> &'static str {
        match &self.credential {
            GcsCredential::Nobody => "none",
            GcsCredential::Key(..) => "a service account's key from a Secret",
            GcsCredential::Identity(identity) => match identity.source {
                TokenSource::Machine(_) => "the identity that the metadata server gives",
                TokenSource::External(_) => "the operator's own token, exchanged at Google",
            },
        }
    }
}

/// The account that the config names to sign URLs.
fn signs_as(config: &GcsConfig) -> Result<Option<String>, String> {
    match &config.service_account {
        Some(email) if !is_email(email) => {
            Err(format!("config key serviceAccount is {}; it must be the e-mail of a service account", shown(email)))
        }
        email => Ok(email.clone()),
    }
}

/// Name, use and wanted key of each Secret that the location names, even if it cannot be used.
pub(in crate::store) fn named(
    location: &Location,
    deployment: Option<&Value>,
) -> Vec<(String, &'static str, Option<String>)> {
    credentials_file::named(location, FILE, deployment)
}

/// The values of a Secret that must be masked.
pub(in crate::store) fn values(data: &BTreeMap<String, ByteString>, used_for: &str) -> Vec<(&'static str, Secret)> {
    if used_for == CERTIFICATES {
        return Vec::new();
    }
    let mut values = Vec::new();
    for text in data.values().filter_map(|value| std::str::from_utf8(&value.0).ok()) {
        match serde_json::from_str::<BTreeMap<String, Value>>(text) {
            Ok(file) => values.extend(file.into_iter().filter(|(name, _)| !PUBLIC.contains(&name.as_str())).map(
                |(_, value)| match value {
                    Value::String(text) => Secret::new(text),
                    other => Secret::new(other.to_string()),
                },
            )),
            // Of a broken file each line that is not certainly public.
            Err(_) => values.extend(text.lines().filter_map(|line| {
                let name = line.trim().trim_start_matches('"').split('"').next().unwrap_or_default();
                (!PUBLIC.contains(&name)).then(|| Secret::new(line.trim().trim_end_matches(',')))
            })),
        }
    }
    masked(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::credentials_file::CREDENTIAL;

    const KEY_FILE: &str = include_str!("testdata/test_service_account.not-a-test.json");

    fn of_file(text: &str) -> Result<GcsAccess, String> {
        let location = json!({"metadata": {"name": "offsite"},
            "spec": {"provider": "gcp", "objectStorage": {"bucket": "b"}}});
        let location = Location::parse(&location).expect("valid");
        GcsAccess::of_file(GcsConfig::parse(&location).expect("valid"), text, "Secret keys/cloud")
    }

    fn with(key: &str, value: &Value) -> String {
        let mut file: Value = serde_json::from_str(KEY_FILE).expect("JSON");
        file[key] = value.clone();
        file.to_string()
    }

    #[test]
    fn sec_c6_of_a_key_file_only_names_and_the_key_count() {
        let got = of_file(&with("universe_domain", &json!("example.com"))).expect("usable");
        assert_eq!(got.endpoint.as_str(), "https://storage.example.com");
        let file: Value = serde_json::from_str(KEY_FILE).expect("JSON");
        let key = file["private_key"].as_str().expect("a key");
        assert_eq!(got.known_values().iter().map(|(_, value)| value.expose()).collect::<Vec<_>>(), [key]);
        let line = key.lines().nth(1).expect("a line");
        assert!(!format!("{got:?}").contains(line), "{got:?}");
        for foreign in ["gcs_base_url", "token_uri", "disable_oauth"] {
            let got = of_file(&with(foreign, &json!("http://evil.example.com"))).expect("ignored");
            assert!(!format!("{got:?}").contains("evil"), "{got:?}");
        }
    }

    #[test]
    fn sec_c7_without_a_file_the_machine_s_identity_signs_as_the_account_that_the_config_names() {
        let location = json!({"metadata": {"name": "offsite"}, "spec": {"provider": "gcp",
            "objectStorage": {"bucket": "b"}, "config": {"serviceAccount": "velero@p.iam.gserviceaccount.com"}}});
        let config = GcsConfig::parse(&Location::parse(&location).expect("valid")).expect("valid");
        let got = GcsAccess::of_machine(config.clone()).expect("usable");
        let GcsCredential::Identity(identity) = &got.credential else { panic!("{got:?}") };
        assert_eq!(identity.signs_as.as_deref(), Some("velero@p.iam.gserviceaccount.com"));
        assert_eq!(identity.iam.as_str(), "https://iamcredentials.googleapis.com");
        assert!(matches!(&identity.source, TokenSource::Machine(endpoint) if endpoint.as_str() == METADATA));
        let wrong = GcsConfig { service_account: Some("x/../y".to_owned()), ..config };
        assert!(
            GcsAccess::of_machine(wrong).expect_err("no e-mail").contains("must be the e-mail of a service account")
        );
    }

    #[test]
    fn sec_c8_what_is_wrong_is_said_without_a_value() {
        for (text, expected) in [
            (
                "{\"private_key\": \"hunter2".to_owned(),
                "Secret keys/cloud is not the JSON of a key file (line 1, column",
            ),
            ("hunter2".to_owned(), "is not the JSON of a key file"),
            (with("type", &json!("authorized_user")), "has type \"authorized_user\", which is not supported"),
            (
                with("type", &json!("external_account")),
                "has type \"external_account\" and no audience, subject_token_type",
            ),
            ("{}".to_owned(), "has type \"\", which is not supported; allowed: service_account, external_account"),
            (with("private_key", &json!("")), "has no client_email or no private_key"),
            (with("private_key", &json!("hunter2")), "the private_key in Secret keys/cloud is not an RSA key in PEM"),
            (with("universe_domain", &json!("a b")), "universe_domain is \"a b\"; it must be a domain"),
        ] {
            let why = of_file(&text).expect_err(&text);
            assert!(why.contains(expected) && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn sec_x28_the_secret_values_of_a_file_are_masked_and_its_public_ones_are_not() {
        let data = |text: &str| BTreeMap::from([("cloud".to_owned(), ByteString(text.as_bytes().to_vec()))]);
        let masked = |text: &str| -> Vec<String> {
            values(&data(text), CREDENTIAL).into_iter().map(|(_, value)| value.expose().to_owned()).collect()
        };
        let file = json!({"type": "authorized_user", "client_id": "12345678-1", "client_secret": "hunter2hunter2"});
        assert_eq!(masked(&file.to_string()), ["hunter2hunter2"]);
        let broken = "{\n  \"project_id\": \"12345678-1\",\n  \"private_key\": \"hunter2hunter2\\n\",\n";
        assert_eq!(masked(broken), ["\"private_key\": \"hunter2hunter2\\n\""]);
        assert!(values(&data(KEY_FILE), CERTIFICATES).is_empty());
    }
}
