//! Reads the Secrets that a location names: by `get` and by name only, in Velero's namespace only. What it read stays in
//! memory, and is read again for the next attempt.

use std::collections::BTreeMap;

use debugbundle_redact::Secret;
use k8s_openapi::{ByteString, api::core::v1::Secret as KubeSecret};
use kube::{Api, Client};
use serde::Serialize;
use zeroize::Zeroize as _;

use super::{
    Location, LocationError,
    deployment::{EnvValue, SecretKey},
    error::{listed, shown},
    versions::SecretVersions,
};

/// What may be reported of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretFacts {
    /// Its name.
    pub name: String,
    /// What the location uses it for.
    pub used_for: &'static str,
    /// The key in it that is wanted; `None` if several may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_key: Option<String>,
    /// Whether it exists; `None` if it could not be read.
    pub exists: Option<bool>,
    /// The names of its keys, in order; at most 32.
    pub key_names: Vec<String>,
}

/// Reads the Secrets of one location, and notes in `versions` which it read.
pub(crate) struct SecretReader<'a> {
    api: Api<KubeSecret>,
    location: &'a Location,
    versions: &'a SecretVersions,
}

impl<'a> SecretReader<'a> {
    /// What an earlier try to use the location has read does not count any more.
    pub(crate) fn new(client: &Client, namespace: &str, location: &'a Location, versions: &'a SecretVersions) -> Self {
        versions.begin(&location.name);
        Self { api: Api::namespaced(client.clone(), namespace), location, versions }
    }

    /// The value of an environment variable.
    pub(crate) async fn env(&self, value: &EnvValue) -> Result<Secret, LocationError> {
        match value {
            EnvValue::Literal(text) => Ok(text.clone()),
            EnvValue::Secret(place) => self.text(place).await,
        }
    }

    /// A value that is text.
    pub(crate) async fn text(&self, place: &SecretKey) -> Result<Secret, LocationError> {
        let bytes = self.bytes(place).await?;
        std::str::from_utf8(&bytes).map(Secret::new).map_err(|_| {
            self.location.credential_error(format!(
                "Secret {} key {} is not text",
                shown(&place.name),
                shown(&place.key)
            ))
        })
    }

    /// A value; an empty one is absent.
    pub(crate) async fn bytes(&self, place: &SecretKey) -> Result<zeroize::Zeroizing<Vec<u8>>, LocationError> {
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

    /// Something that the location names is not there.
    pub(crate) fn absent(&self, why: String) -> LocationError {
        LocationError::Absent { name: self.location.name.clone(), why }
    }

    /// All values of a Secret; [`wipe`] them.
    pub(crate) async fn data(&self, name: &str) -> Result<BTreeMap<String, ByteString>, LocationError> {
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

/// Overwrites the values.
pub(crate) fn wipe(data: &mut BTreeMap<String, ByteString>) {
    for value in data.values_mut() {
        value.0.zeroize();
    }
}
