//! The configuration keys of Velero's GCP plugin: each honoured, or refused by name.

use crate::{
    location::{Endpoint, EndpointPolicy, Location, LocationError, shown},
    store::config_keys::all_known,
};

/// The keys that the plugin knows (`velero-plugin-for-gcp/object_store.go`).
const KEYS: [&str; 8] = [
    "kmsKeyName",
    "serviceAccount",
    "credentialsFile",
    "storeEndpoint",
    "universeDomain",
    // Velero adds these three before it hands the config to the plugin; it also accepts them from a user.
    "bucket",
    "prefix",
    "caCert",
];
/// Google's own domain.
pub(super) const GOOGLE: &str = "googleapis.com";
/// The path of the API in an endpoint, which Google's libraries want there.
const API: &str = "/storage/v1";

/// What the location's `spec.config` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsConfig {
    /// `kmsKeyName`: the key that encrypts bundles; `None` means the bucket's own.
    pub kms_key: Option<String>,
    /// `storeEndpoint`, without the path of the API; `None` means the domain's host.
    pub endpoint: Option<Endpoint>,
    /// `serviceAccount`: who signs URLs where there is no key file.
    pub service_account: Option<String>,
    /// `universeDomain`; `None` means the one in the key file.
    pub universe: Option<String>,
    /// The store's host in Google's own domain.
    pub public_endpoint: Endpoint,
}

impl GcsConfig {
    /// Reads the location's config.
    ///
    /// # Errors
    /// `Invalid`, with a sentence for the first thing that is wrong.
    pub fn parse(location: &Location) -> Result<Self, LocationError> {
        Self::read(location).map_err(|why| location.invalid(why))
    }

    /// The same, and checks it against what the operator's admin allows.
    pub(in crate::store) fn checked(location: &Location, policy: EndpointPolicy) -> Result<Self, LocationError> {
        let config = Self::parse(location)?;
        if let Some(endpoint) = &config.endpoint {
            endpoint.judge(policy).map_err(|why| location.invalid(why))?;
        }
        Ok(config)
    }

    /// What the config means, as a sentence without its end.
    pub(in crate::store) fn meaning(&self) -> String {
        match &self.endpoint {
            Some(endpoint) if endpoint.is_plain_http() => format!(
                "the store is Google Cloud Storage at {}; plain http: anyone on the network path can read the traffic",
                endpoint.as_str()
            ),
            Some(endpoint) => format!("the store is Google Cloud Storage at {}", endpoint.as_str()),
            None => "the store is Google Cloud Storage".to_owned(),
        }
    }

    /// Where requests go, with the domain that a key file names.
    pub(super) fn endpoint_in(&self, of_key: Option<&str>) -> Result<Endpoint, String> {
        let of_key = of_key.filter(|domain| !domain.is_empty());
        if let (Some(config), Some(of_key)) = (&self.universe, of_key)
            && config != of_key
        {
            // Google's libraries refuse it, too: a credential is worth nothing in another universe.
            return Err(format!(
                "the key belongs to the universe {}, and config key universeDomain is {}; they must be the same",
                shown(of_key),
                shown(config)
            ));
        }
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        match self.universe.as_deref().or(of_key) {
            None | Some(GOOGLE) => Ok(self.public_endpoint.clone()),
            Some(domain) => host("universe_domain", domain),
        }
    }

    fn read(location: &Location) -> Result<Self, String> {
        let config = &location.config;
        all_known(config, &KEYS)?;
        let get = |key: &str| config.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let universe = get("universeDomain").map(ToOwned::to_owned);
        if let Some(domain) = &universe {
            host("universeDomain", domain)?;
        }
        Ok(Self {
            kms_key: get("kmsKeyName").map(kms_key).transpose()?,
            endpoint: get("storeEndpoint").map(endpoint).transpose()?,
            service_account: get("serviceAccount").map(ToOwned::to_owned),
            universe,
            public_endpoint: host("universeDomain", GOOGLE)?,
        })
    }
}

/// The name of a key, as Google's KMS has it.
fn kms_key(value: &str) -> Result<String, String> {
    let parts: Vec<&str> = value.split('/').collect();
    match parts.as_slice() {
        ["projects", project, "locations", place, "keyRings", ring, "cryptoKeys", key]
            if [project, place, ring, key].iter().all(|part| !part.is_empty()) =>
        {
            Ok(value.to_owned())
        }
        _ => Err(format!(
            "config key kmsKeyName is {}; it must be projects/P/locations/L/keyRings/R/cryptoKeys/K",
            shown(value)
        )),
    }
}

/// The endpoint as Google's Go library takes it: a host, or a URL that ends in the path of the API.
fn endpoint(value: &str) -> Result<Endpoint, String> {
    let refused = || Endpoint::refused("storeEndpoint", value, "[http(s)://]host[:port][/storage/v1/]");
    let whole = if value.contains("://") { value.to_owned() } else { format!("https://{value}") };
    let plain = whole.trim_end_matches('/');
    Endpoint::parse("storeEndpoint", plain.strip_suffix(API).unwrap_or(plain)).map_err(|_| refused())
}

/// The store's host in a domain.
fn host(key: &str, domain: &str) -> Result<Endpoint, String> {
    let sound = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    let endpoint = domain.chars().all(sound).then(|| Endpoint::parse(key, &format!("https://storage.{domain}")).ok());
    endpoint.flatten().ok_or_else(|| format!("{key} is {}; it must be a domain like {GOOGLE}", shown(domain)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(config: &serde_json::Value) -> Result<GcsConfig, String> {
        let location = Location::parse(&json!({
            "metadata": {"name": "offsite"},
            "spec": {"provider": "velero.io/gcp", "objectStorage": {"bucket": "b"}, "config": config},
        }))
        .expect("a location");
        GcsConfig::checked(&location, EndpointPolicy::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_of_the_plugin_is_honoured() {
        let key = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
        let got = config(&json!({
            "kmsKeyName": key, "serviceAccount": "velero@p.iam.gserviceaccount.com",
            "credentialsFile": "/credentials/cloud", "storeEndpoint": "https://private.example.com/storage/v1/",
            "universeDomain": "example.com", "bucket": "b", "prefix": "p", "caCert": "x",
        }))
        .expect("valid");
        assert_eq!(
            got,
            GcsConfig {
                kms_key: Some(key.to_owned()),
                endpoint: Endpoint::parse("storeEndpoint", "https://private.example.com").ok(),
                service_account: Some("velero@p.iam.gserviceaccount.com".to_owned()),
                universe: Some("example.com".to_owned()),
                public_endpoint: host("x", GOOGLE).expect("valid"),
            }
        );
    }

    #[test]
    fn requests_go_to_the_endpoint_else_to_the_host_of_the_key_s_domain() {
        for (input, of_key, expected) in [
            (json!({}), None, "https://storage.googleapis.com"),
            (json!({}), Some("googleapis.com"), "https://storage.googleapis.com"),
            (json!({}), Some("example.com"), "https://storage.example.com"),
            (json!({"universeDomain": "example.com"}), None, "https://storage.example.com"),
            (json!({"storeEndpoint": "storage-x.p.googleapis.com"}), None, "https://storage-x.p.googleapis.com"),
            (json!({"storeEndpoint": "http://gcs:4443/storage/v1/"}), Some("example.com"), "http://gcs:4443"),
            (json!({"storeEndpoint": "http://gcs:4443"}), None, "http://gcs:4443"),
        ] {
            assert_eq!(config(&input).expect("valid").endpoint_in(of_key).expect("an endpoint").as_str(), expected);
        }
        let why = config(&json!({"universeDomain": "a.com"})).expect("valid").endpoint_in(Some("b.com"));
        assert!(why.expect_err("another universe").contains("the key belongs to the universe \"b.com\""));
        let why = config(&json!({})).expect("valid").endpoint_in(Some("evil.com/x?")).expect_err("no domain");
        assert_eq!(why, "universe_domain is \"evil.com/x?\"; it must be a domain like googleapis.com");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (input, expected) in [
            (json!({"storeEndpont": "x"}), "(did you mean storeEndpoint?)"),
            (json!({"s3Url": "x"}), "config key \"s3Url\" is unknown; known keys: kmsKeyName"),
            (json!({"kmsKeyName": "k"}), "config key kmsKeyName is \"k\"; it must be projects/P/locations/L/keyRings"),
            (json!({"universeDomain": "a/b"}), "universeDomain is \"a/b\"; it must be a domain like googleapis.com"),
            (
                json!({"storeEndpoint": "https://u:hunter2@h/"}),
                "storeEndpoint is \"https://***@h/\"; it must be [http(s)://]host[:port][/storage/v1/]",
            ),
            (json!({"storeEndpoint": "https://h/other"}), "it must be [http(s)://]host[:port][/storage/v1/]"),
            (json!({"storeEndpoint": "http://169.254.169.254/"}), "is not allowed for endpoints"),
            (json!({"storeEndpoint": "metadata.google.internal"}), "is not allowed for endpoints"),
        ] {
            let why = config(&input).expect_err(&input.to_string());
            assert!(why.contains(expected) && !why.contains("hunter2"), "{input}: {why}");
        }
    }
}
