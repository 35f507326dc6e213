//! Everything that is needed to talk to a location's S3 store: its config, its credential, its SSE-C key.

use std::collections::BTreeMap;

use debugbundle_redact::Secret;
use serde_json::Value;

use super::{
    Credential, CredentialSource, CustomerKey, Encryption, S3Config,
    credential::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN, source},
    ini,
};
use crate::{
    location::{
        Location, LocationError, SecretReader,
        deployment::{FileKey, SecretKey, Server},
        listed, shown, wipe,
    },
    self_redaction,
};

/// The length of an SSE-C key.
const CUSTOMER_KEY_BYTES: usize = 32;

/// What S3 needs besides the location.
#[derive(Clone, Debug)]
pub struct S3Access {
    /// The location's configuration; `region` may come from the credential's profile.
    pub config: S3Config,
    /// Its credential.
    pub credential: Credential,
    /// The SSE-C key: 32 bytes.
    pub customer_key: Option<CustomerKeyBytes>,
}

impl S3Access {
    /// Reads what the config names. `deployment` is Velero's, if there is one.
    pub(in crate::store) async fn resolve(
        mut config: S3Config,
        location: &Location,
        secrets: &SecretReader<'_>,
        deployment: Option<&Value>,
    ) -> Result<Self, LocationError> {
        let (credential, region) =
            credential(secrets, location, &source(location, deployment)?, &config.profile).await?;
        if config.region.is_none() && config.endpoint.is_some() {
            config.region = region;
        }
        let customer_key = match &config.encryption {
            Encryption::CustomerKey(place) => Some(customer_key(secrets, location, place, deployment).await?),
            _ => None,
        };
        Ok(Self { config, credential, customer_key })
    }

    /// With keys that no store knows: the way to the store can be probed with them.
    pub(in crate::store) fn of_nobody(config: S3Config) -> Self {
        // Without a configured region the store would be asked for it.
        let region = config.region.clone().or_else(|| Some(super::DEFAULT_REGION.to_owned()));
        let nobody = "nobody";
        let credential = Credential::Keys {
            access_key_id: nobody.to_owned(),
            secret_access_key: Secret::new(nobody),
            session_token: None,
        };
        Self { config: S3Config { region, ..config }, credential, customer_key: None }
    }

    /// The exact values that must never be shown, each with the rule under which the redaction counts it.
    pub(in crate::store) fn known_values(&self) -> Vec<(&'static str, Secret)> {
        let mut values = self.credential.known_values();
        // A binary key cannot occur in text as it is; its base64, which requests carry, can.
        values.extend(self.customer_key.iter().flat_map(|key| {
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

async fn credential(
    secrets: &SecretReader<'_>,
    location: &Location,
    source: &CredentialSource,
    profile: &str,
) -> Result<(Credential, Option<String>), LocationError> {
    match source {
        CredentialSource::File(place) => {
            let text = secrets.text(place).await?;
            let from = format!("Secret {}/{}", place.name, place.key);
            let profile = ini::profile(text.expose(), profile, &from).map_err(|why| location.credential_error(why))?;
            let credential = Credential::from(profile.identity);
            if !profile.ignored.is_empty() {
                // In a file damaged by hand a value may stand in place of a name, and names are lower case.
                let lower = |value: &Secret| Secret::new(value.expose().to_ascii_lowercase());
                let known = credential.known_values();
                let known: Vec<_> = known.iter().map(|(rule, value)| (*rule, lower(value))).collect();
                let keys = self_redaction::mask_known(&known, &listed(&profile.ignored));
                tracing::info!(location = %location.name, keys, "Ignored keys of the credentials file");
            }
            Ok((credential, profile.region))
        }
        CredentialSource::Environment { access_key_id, secret_access_key, session_token } => {
            let session_token = match session_token {
                Some(value) => Some(secrets.env(value).await?),
                None => None,
            };
            let keys = Credential::Keys {
                access_key_id: secrets.env(access_key_id).await?.expose().to_owned(),
                secret_access_key: secrets.env(secret_access_key).await?,
                session_token,
            };
            Ok((keys, None))
        }
        CredentialSource::EnvironmentOf(sets) => {
            let mut found: BTreeMap<&str, Secret> = BTreeMap::new();
            for set in sets {
                let mut data = secrets.data(&set.name).await?;
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
                (None, None) if let Ok(own) = ambient(location) => Ok(own),
                _ => {
                    let names: Vec<String> = sets.iter().map(|set| set.name.clone()).collect();
                    Err(secrets.absent(format!(
                        "the Secrets in the Velero server's envFrom ({}) have no value for {}; add it there, or set \
                         spec.credential",
                        listed(&names),
                        missing.join(", ")
                    )))
                }
            }
        }
        CredentialSource::Ambient => ambient(location),
    }
}

fn ambient(location: &Location) -> Result<(Credential, Option<String>), LocationError> {
    let credential = Credential::ambient(|name| std::env::var(name).ok()).ok_or_else(|| {
        location.credential_error(format!(
            "no credential found: spec.credential is not set, Velero's Deployment names no Secret with keys, and the \
             operator's own pod has no identity (IRSA or EKS Pod Identity); set spec.credential{}",
            FileKey::hint(location)
        ))
    })?;
    Ok((credential, None))
}

async fn customer_key(
    secrets: &SecretReader<'_>,
    location: &Location,
    place: &CustomerKey,
    deployment: Option<&Value>,
) -> Result<CustomerKeyBytes, LocationError> {
    let place = match place {
        CustomerKey::Secret { name, key } => SecretKey { name: name.clone(), key: key.clone() },
        CustomerKey::File(path) => deployment.and_then(Server::of).and_then(|server| server.mounted(path)).ok_or_else(|| {
            location.invalid(format!(
                "config key customerKeyEncryptionFile is {}, a path in the Velero server's pod where no Secret is mounted; use customerKeyEncryptionSecret",
                shown(path)
            ))
        })?,
    };
    let bytes = secrets.bytes(&place).await?;
    CustomerKeyBytes::new(&bytes).map_err(|got| {
        location.credential_error(format!(
            "the SSE-C key in Secret {} must be exactly {CUSTOMER_KEY_BYTES} bytes, got {got}",
            shown(&format!("{}/{}", place.name, place.key))
        ))
    })
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
