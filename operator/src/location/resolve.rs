//! Reads what a location names: its credential, its certificates, its SSE-C key. It reads Secrets by `get` and by name
//! only, in Velero's namespace only. It keeps what it read in memory, and reads it again for the next attempt.

use std::collections::BTreeMap;

use debugbundle_redact::Secret;
use k8s_openapi::{ByteString, api::core::v1::Secret as KubeSecret};
use kube::{Api, Client};
use serde_json::Value;
use zeroize::Zeroize as _;

use super::{
    Credential, CredentialSource, CustomerKey, Encryption, EndpointPolicy, Location, LocationError, S3Config,
    credential::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN},
    deployment::{EnvValue, SecretKey, Server},
    error::{listed, shown},
    ini, source,
    versions::SecretVersions,
};
use crate::self_redaction;

/// The length of an SSE-C key.
const CUSTOMER_KEY_BYTES: usize = 32;

/// A location with everything that is needed to talk to its store.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The location.
    pub location: Location,
    /// Its configuration; `region` may come from the credential's profile.
    pub s3: S3Config,
    /// Its credential.
    pub credential: Credential,
    /// Certificates to trust besides the system's, PEM.
    pub ca_pem: Option<String>,
    /// The SSE-C key: 32 bytes.
    pub sse_c_key: Option<CustomerKeyBytes>,
    /// What the operator's admin allows.
    pub policy: EndpointPolicy,
}

impl Resolved {
    /// The exact values that must never be shown, each with the rule under which the redaction counts it.
    pub fn known_values(&self) -> Vec<(&'static str, Secret)> {
        let mut values = self.credential.known_values();
        // A binary key cannot occur in text as it is; its base64, which requests carry, can.
        values.extend(self.sse_c_key.iter().flat_map(|key| {
            key.as_text().into_iter().chain(std::iter::once(key.base64())).map(|value| ("known-sse-c-key", value))
        }));
        values
    }
}

/// An SSE-C key.
#[derive(Clone)]
pub struct CustomerKeyBytes(zeroize::Zeroizing<[u8; CUSTOMER_KEY_BYTES]>);

impl CustomerKeyBytes {
    /// Takes exactly 32 bytes.
    ///
    /// # Errors
    /// The number of bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, usize> {
        bytes.try_into().map(|bytes| Self(zeroize::Zeroizing::new(bytes))).map_err(|_| bytes.len())
    }

    /// The key, for the one call that needs it.
    pub fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The key as requests carry it.
    pub fn base64(&self) -> Secret {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        Secret::new(STANDARD.encode(self.expose()))
    }

    fn as_text(&self) -> Option<Secret> {
        std::str::from_utf8(self.expose()).ok().map(Secret::new)
    }
}

impl std::fmt::Debug for CustomerKeyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
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
    let mut s3 = configured(location, policy)?;
    versions.begin(&location.name);
    let secrets = Secrets { api: Api::namespaced(client.clone(), namespace), location, versions };
    let (credential, region) = secrets.credential(&source(location, &s3, deployment)?, &s3.profile).await?;
    if s3.region.is_none() && s3.endpoint.is_some() {
        s3.region = region;
    }
    let ca_pem = match &location.ca_cert_ref {
        Some(reference) => {
            let pem = secrets.text(reference).await?;
            location.check_pem("caCertRef", pem.expose())?;
            Some(pem.expose().to_owned())
        }
        None => location.inline_ca()?,
    };
    let sse_c_key = match &s3.encryption {
        Encryption::CustomerKey(place) => Some(secrets.customer_key(place, deployment).await?),
        _ => None,
    };
    Ok(Resolved { location: location.clone(), s3, credential, ca_pem, sse_c_key, policy })
}

/// Checks the location's own fields, without the Secrets that they name. A retry cures none of these errors.
///
/// # Errors
/// `Invalid`
pub fn configured(location: &Location, policy: EndpointPolicy) -> Result<S3Config, LocationError> {
    location.check()?;
    let s3 = S3Config::parse(location)?;
    for endpoint in s3.endpoint.iter().chain(&s3.public_endpoint) {
        endpoint.judge(policy).map_err(|why| location.invalid(why))?;
    }
    if location.ca_cert_ref.is_none() {
        location.inline_ca()?;
    }
    if policy.require_verified_tls && s3.skip_tls_verify {
        return Err(location.invalid("insecureSkipTLSVerify is refused by --require-verified-tls".to_owned()));
    }
    Ok(s3)
}

struct Secrets<'a> {
    api: Api<KubeSecret>,
    location: &'a Location,
    versions: &'a SecretVersions,
}

impl Secrets<'_> {
    async fn credential(
        &self,
        source: &CredentialSource,
        profile: &str,
    ) -> Result<(Credential, Option<String>), LocationError> {
        match source {
            CredentialSource::File(place) => {
                let text = self.text(place).await?;
                let from = format!("Secret {}/{}", place.name, place.key);
                let profile =
                    ini::profile(text.expose(), profile, &from).map_err(|why| self.location.credential_error(why))?;
                let credential = Credential::from(profile.identity);
                if !profile.ignored.is_empty() {
                    // In a file damaged by hand a value may stand in place of a name, and names are lower case.
                    let lower = |value: &Secret| Secret::new(value.expose().to_ascii_lowercase());
                    let known = credential.known_values();
                    let known: Vec<_> = known.iter().map(|(rule, value)| (*rule, lower(value))).collect();
                    let keys = self_redaction::mask_known(&known, &listed(&profile.ignored));
                    tracing::info!(location = %self.location.name, keys, "Ignored keys of the credentials file");
                }
                Ok((credential, profile.region))
            }
            CredentialSource::Environment { access_key_id, secret_access_key, session_token } => {
                let session_token = match session_token {
                    Some(value) => Some(self.env(value).await?),
                    None => None,
                };
                let keys = Credential::Keys {
                    access_key_id: self.env(access_key_id).await?.expose().to_owned(),
                    secret_access_key: self.env(secret_access_key).await?,
                    session_token,
                };
                Ok((keys, None))
            }
            CredentialSource::EnvironmentOf(sets) => {
                let mut found: BTreeMap<&str, Secret> = BTreeMap::new();
                for set in sets {
                    let mut data = self.data(&set.name).await?;
                    for name in [ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN] {
                        let key = name.strip_prefix(&set.prefix).unwrap_or_default();
                        let value = data.get(key).and_then(|value| std::str::from_utf8(&value.0).ok());
                        if let Some(value) = value.filter(|value| !value.is_empty()) {
                            found.insert(name, Secret::new(value));
                        }
                    }
                    wipe(&mut data);
                }
                let mut missing = vec![ACCESS_KEY_ID, SECRET_ACCESS_KEY];
                missing.retain(|name| !found.contains_key(name));
                match (found.remove(ACCESS_KEY_ID), found.remove(SECRET_ACCESS_KEY)) {
                    (Some(id), Some(secret)) => {
                        let keys = Credential::Keys {
                            access_key_id: id.expose().to_owned(),
                            secret_access_key: secret,
                            session_token: found.remove(SESSION_TOKEN),
                        };
                        Ok((keys, None))
                    }
                    // Secrets with neither key may be there for other settings, beside the pod's identity.
                    (None, None) if let Ok(own) = self.ambient() => Ok(own),
                    _ => {
                        let names: Vec<String> = sets.iter().map(|set| set.name.clone()).collect();
                        Err(self.absent(format!(
                            "the Secrets in the Velero server's envFrom ({}) have no value for {}; add it there, or set \
                             spec.credential",
                            listed(&names),
                            missing.join(", ")
                        )))
                    }
                }
            }
            CredentialSource::Ambient => self.ambient(),
        }
    }

    fn ambient(&self) -> Result<(Credential, Option<String>), LocationError> {
        let credential = Credential::ambient(|name| std::env::var(name).ok()).ok_or_else(|| {
            self.location.credential_error(
                "no credential found: spec.credential is not set, Velero's Deployment names no Secret with keys, and the \
                 operator's own pod has no identity (IRSA or EKS Pod Identity); set spec.credential"
                    .to_owned(),
            )
        })?;
        Ok((credential, None))
    }

    async fn env(&self, value: &EnvValue) -> Result<Secret, LocationError> {
        match value {
            EnvValue::Literal(text) => Ok(text.clone()),
            EnvValue::Secret(place) => self.text(place).await,
        }
    }

    async fn customer_key(
        &self,
        place: &CustomerKey,
        deployment: Option<&Value>,
    ) -> Result<CustomerKeyBytes, LocationError> {
        let place = match place {
            CustomerKey::Secret { name, key } => SecretKey { name: name.clone(), key: key.clone() },
            CustomerKey::File(path) => deployment.and_then(Server::of).and_then(|server| server.mounted(path)).ok_or_else(|| {
                self.location.invalid(format!(
                    "config key customerKeyEncryptionFile is {}, a path in the Velero server's pod where no Secret is mounted; use customerKeyEncryptionSecret",
                    shown(path)
                ))
            })?,
        };
        let bytes = self.bytes(&place).await?;
        CustomerKeyBytes::new(&bytes).map_err(|got| {
            self.location.credential_error(format!(
                "the SSE-C key in Secret {} must be exactly {CUSTOMER_KEY_BYTES} bytes, got {got}",
                shown(&format!("{}/{}", place.name, place.key))
            ))
        })
    }

    async fn text(&self, place: &SecretKey) -> Result<Secret, LocationError> {
        let bytes = self.bytes(place).await?;
        std::str::from_utf8(&bytes).map(Secret::new).map_err(|_| {
            self.location.credential_error(format!(
                "Secret {} key {} is not text",
                shown(&place.name),
                shown(&place.key)
            ))
        })
    }

    async fn bytes(&self, place: &SecretKey) -> Result<zeroize::Zeroizing<Vec<u8>>, LocationError> {
        let mut data = self.data(&place.name).await?;
        let found = data.remove(&place.key);
        let keys: Vec<String> = data.keys().cloned().collect();
        wipe(&mut data);
        let (name, key) = (shown(&place.name), shown(&place.key));
        match found {
            Some(value) if value.0.is_empty() => Err(self.absent(format!("Secret {name} key {key} is empty"))),
            Some(value) => Ok(zeroize::Zeroizing::new(value.0)),
            None => Err(self.absent(format!("Secret {name} has no key {key} (keys: {})", listed(&keys)))),
        }
    }

    fn absent(&self, why: String) -> LocationError {
        LocationError::Absent { name: self.location.name.clone(), why }
    }

    async fn data(&self, name: &str) -> Result<BTreeMap<String, ByteString>, LocationError> {
        match self.api.get(name).await {
            Ok(secret) => {
                self.versions.note(&self.location.name, name, secret.metadata.resource_version);
                Ok(secret.data.unwrap_or_default())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                self.versions.note(&self.location.name, name, None);
                Err(self.absent(format!("Secret {} not found", shown(name))))
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => Err(LocationError::Forbidden {
                name: self.location.name.clone(),
                why: format!(
                    "the operator may not get Secret {}: add this name to resourceNames of rule R7 of its Role",
                    shown(name)
                ),
            }),
            Err(error) => Err(LocationError::Api {
                name: self.location.name.clone(),
                what: format!("Secret {}", shown(name)),
                source: Box::new(error),
            }),
        }
    }
}

fn wipe(data: &mut BTreeMap<String, ByteString>) {
    for value in data.values_mut() {
        value.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_key_has_32_bytes_and_is_not_shown() {
        assert_eq!(CustomerKeyBytes::new(&[1; 31]).err(), Some(31));
        let key = CustomerKeyBytes::new(b"0123456789abcdef0123456789abcdef").expect("32 bytes");
        assert_eq!(format!("{key:?}"), "***");
        assert_eq!(key.base64().expose(), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    }
}
