//! From a BackupStorageLocation to the store behind it. The providers that are supported are listed here and nowhere
//! else: what each needs, and the words of its users, are in its own folder.

use std::sync::Arc;

use debugbundle_redact::Secret;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client};
use serde_json::Value;

use super::{
    Detour, Options, Store, StoreError,
    azure::{self, AzureAccess, AzureBlob, AzureConfig},
    gcs::{self, GcsAccess, GcsConfig, GoogleCloudStorage},
    s3::{self, S3, S3Access, S3Config},
};
use crate::location::{
    EndpointPolicy, Location, LocationError, SecretFacts, SecretReader, SecretVersions, Words, shown, wipe,
};

/// The providers, by the names that messages give them.
const SUPPORTED: &str = "supported: aws, azure, gcp";
/// The most key names of a Secret that are reported.
const MOST_KEYS: usize = 32;

/// The config of a location, as its provider understands it.
#[derive(Clone, Debug)]
pub enum ProviderConfig {
    /// S3 and compatible stores.
    S3(S3Config),
    /// Azure Blob Storage.
    Azure(AzureConfig),
    /// Google Cloud Storage.
    Gcs(GcsConfig),
}

/// What a provider needs besides the location.
#[derive(Clone, Debug)]
pub enum Provider {
    /// S3 and compatible stores.
    S3(S3Access),
    /// Azure Blob Storage.
    Azure(AzureAccess),
    /// Google Cloud Storage.
    Gcs(GcsAccess),
}

/// A location with everything that is needed to talk to its store.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The location.
    pub location: Location,
    /// Its provider, with the location's config and credential.
    pub provider: Provider,
    /// Certificates to trust besides the system's, PEM.
    pub ca_pem: Option<String>,
    /// What the operator's admin allows.
    pub policy: EndpointPolicy,
}

impl ProviderConfig {
    fn parse(location: &Location, policy: EndpointPolicy) -> Result<Self, LocationError> {
        match location.provider.as_str() {
            "aws" => {
                location.check()?;
                S3Config::checked(location, policy).map(Self::S3)
            }
            "azure" => {
                location.check()?;
                AzureConfig::checked(location, policy).map(Self::Azure)
            }
            "gcp" => {
                location.check()?;
                GcsConfig::checked(location, policy).map(Self::Gcs)
            }
            other => Err(location.invalid(format!("provider {} is not supported; {SUPPORTED}", shown(other)))),
        }
    }

    /// What the config means, as a sentence without its end.
    pub fn meaning(&self) -> String {
        match self {
            Self::S3(config) => config.meaning(),
            Self::Azure(config) => config.meaning(),
            Self::Gcs(config) => config.meaning(),
        }
    }

    /// The words of the provider's users.
    pub const fn words(&self) -> &'static Words {
        match self {
            Self::S3(_) => &s3::WORDS,
            Self::Azure(_) => &azure::WORDS,
            Self::Gcs(_) => &gcs::WORDS,
        }
    }

    /// With a credential that no store knows and without the Secrets that the location names: the way to the store can
    /// be probed with it.
    pub fn of_nobody(self, location: &Location, policy: EndpointPolicy) -> Resolved {
        let provider = match self {
            Self::S3(config) => Provider::S3(S3Access::of_nobody(config)),
            Self::Azure(config) => Provider::Azure(AzureAccess::of_nobody(config)),
            Self::Gcs(config) => Provider::Gcs(GcsAccess::of_nobody(config)),
        };
        Resolved { location: location.clone(), provider, ca_pem: location.inline_ca().ok().flatten(), policy }
    }
}

impl Resolved {
    /// The exact values that must never be shown, each with the rule under which the redaction counts it.
    pub fn known_values(&self) -> Vec<(&'static str, Secret)> {
        match &self.provider {
            Provider::S3(access) => access.known_values(),
            Provider::Azure(access) => access.known_values(),
            Provider::Gcs(access) => access.known_values(),
        }
    }

    /// Whether requests carry a secret that is asked for with the credential: then only the open store knows it.
    pub const fn is_asked_for(&self) -> bool {
        match &self.provider {
            Provider::S3(access) => access.credential.is_of_pod(),
            Provider::Azure(access) => !matches!(access.credential, azure::AzureCredential::Key(_)),
            Provider::Gcs(access) => matches!(access.credential, gcs::GcsCredential::Identity(_)),
        }
    }

    /// Where the credential is from, in words.
    pub fn credential_words(&self) -> &'static str {
        match &self.provider {
            Provider::S3(access) => access.credential.words(),
            Provider::Azure(access) => access.credential_words(),
            Provider::Gcs(access) => access.credential_words(),
        }
    }

    /// A client of the location's store. `detour` is a way to an endpoint that has no address here.
    ///
    /// # Errors
    /// The provider's own; for S3 the region cannot be found, or the certificates cannot be used.
    pub async fn open(&self, options: Options, detour: Option<Arc<dyn Detour>>) -> Result<Arc<dyn Store>, StoreError> {
        match &self.provider {
            Provider::S3(access) => Ok(Arc::new(S3::open(self, access, options, detour).await?)),
            Provider::Azure(access) => Ok(Arc::new(AzureBlob::open(self, access, options, detour)?)),
            Provider::Gcs(access) => Ok(Arc::new(GoogleCloudStorage::open(self, access, options, detour)?)),
        }
    }
}

/// Reads everything that the location names. `deployment` is Velero's, if there is one.
///
/// # Errors
/// `Invalid`, `Credential`, `Absent`, `Forbidden`, `Api`
pub async fn resolve(
    client: &Client,
    namespace: &str,
    location: &Location,
    deployment: Option<&Value>,
    policy: EndpointPolicy,
) -> Result<Resolved, LocationError> {
    resolve_noting(client, namespace, location, deployment, policy, &SecretVersions::default()).await
}

/// The same, and notes in `versions` which Secrets it read.
///
/// # Errors
/// As [`resolve`].
pub async fn resolve_noting(
    client: &Client,
    namespace: &str,
    location: &Location,
    deployment: Option<&Value>,
    policy: EndpointPolicy,
    versions: &SecretVersions,
) -> Result<Resolved, LocationError> {
    let config = configured(location, policy)?;
    let secrets = SecretReader::new(client, namespace, location, versions);
    let provider = match config {
        ProviderConfig::S3(config) => Provider::S3(S3Access::resolve(config, location, &secrets, deployment).await?),
        ProviderConfig::Azure(config) => {
            Provider::Azure(AzureAccess::resolve(config, location, &secrets, deployment, policy).await?)
        }
        ProviderConfig::Gcs(config) => {
            Provider::Gcs(GcsAccess::resolve(config, location, &secrets, deployment, policy).await?)
        }
    };
    let ca_pem = match &location.ca_cert_ref {
        Some(reference) => {
            let pem = secrets.text(reference).await?;
            location.check_pem("caCertRef", pem.expose())?;
            Some(pem.expose().to_owned())
        }
        None => location.inline_ca()?,
    };
    Ok(Resolved { location: location.clone(), provider, ca_pem, policy })
}

/// Checks the location's own fields, without the Secrets that they name. A retry cures none of these errors.
///
/// # Errors
/// `Invalid`
pub fn configured(location: &Location, policy: EndpointPolicy) -> Result<ProviderConfig, LocationError> {
    let config = ProviderConfig::parse(location, policy)?;
    if location.ca_cert_ref.is_none() {
        location.inline_ca()?;
    }
    Ok(config)
}

/// A Secret that was examined.
#[derive(Debug)]
pub struct Examined {
    /// What may be reported.
    pub facts: SecretFacts,
    /// What must be masked, with the rule that masks it.
    pub values: Vec<(&'static str, Secret)>,
}

/// Examines each Secret that the location names, even if it cannot be used: whether it exists, the names of its keys,
/// and the values that must be masked. `deployment` is Velero's. Secrets are read by name, one by one. The Secrets of a
/// provider that is not supported are looked for where S3's would be: too many masked values cost only readability.
pub async fn examine(
    client: &Client,
    namespace: &str,
    location: &Location,
    deployment: Option<&Value>,
) -> Vec<Examined> {
    let api: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    let mut examined = Vec::new();
    let provider = location.provider.as_str();
    let named = match provider {
        "azure" => azure::named(location, deployment),
        "gcp" => gcs::named(location, deployment),
        _ => s3::secrets::named(location, deployment),
    };
    for (name, used_for, wanted_key) in named {
        let mut facts = SecretFacts { name, used_for, wanted_key, exists: None, key_names: Vec::new() };
        let mut values = Vec::new();
        match api.get_opt(&facts.name).await {
            Ok(Some(found)) => {
                let mut data = found.data.unwrap_or_default();
                facts.exists = Some(true);
                facts.key_names = data.keys().take(MOST_KEYS).cloned().collect();
                values = match provider {
                    "azure" => azure::values(&data, used_for),
                    "gcp" => gcs::values(&data, used_for),
                    _ => s3::secrets::values(&data, facts.wanted_key.as_deref(), used_for),
                };
                wipe(&mut data);
            }
            Ok(None) => facts.exists = Some(false),
            // It is reported as unknown; `resolve` reports why.
            Err(_) => {}
        }
        examined.push(Examined { facts, values });
    }
    examined
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::Reason;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_provider_that_is_not_supported_is_refused_by_name() {
        for (provider, expected) in [
            (json!("velero.io/foo"), "provider \"foo\" is not supported; supported: aws, azure, gcp"),
            (json!(null), "provider \"\" is not supported; supported: aws, azure, gcp"),
            (json!("azure"), "config key storageAccount is required"),
            (json!("velero.io/alibabacloud"), "provider \"alibabacloud\" is not supported"),
        ] {
            let spec = json!({"provider": provider, "objectStorage": {"bucket": "b"}});
            let location = Location::parse(&json!({"metadata": {"name": "offsite"}, "spec": spec})).expect("valid");
            let error = configured(&location, EndpointPolicy::default()).expect_err(expected);
            assert_eq!(error.reason(), Reason::LocationInvalid);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
