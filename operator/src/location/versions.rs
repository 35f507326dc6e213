//! Which version of each Secret was read last, so that a change of a Secret ends the wait for a credential that is
//! missing or refused. Secrets may only be read by name, so the change is found by asking, not by a watch.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client};

use crate::client::in_time;

/// How often the Secrets of a location are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The resourceVersion of a Secret by its name; `None` if it did not exist.
type Versions = BTreeMap<String, Option<String>>;

/// For each location, the Secrets that the last try to use it has read.
#[derive(Debug, Default)]
pub struct SecretVersions(Mutex<BTreeMap<String, Versions>>);

impl SecretVersions {
    /// A try begins: what an earlier one has read does not count any more.
    pub(super) fn begin(&self, location: &str) {
        self.lock().remove(location);
    }

    /// A Secret was read, or is absent.
    pub(super) fn note(&self, location: &str, secret: &str, version: Option<String>) {
        self.lock().entry(location.to_owned()).or_default().insert(secret.to_owned(), version);
    }

    /// Waits until one of the location's Secrets differs from what was read. Only metadata is read.
    pub async fn changed(&self, client: &Client, namespace: &str, location: &str) {
        let read = self.lock().get(location).cloned().unwrap_or_default();
        let secrets: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
        loop {
            tokio::time::sleep(LOOK).await;
            for (name, version) in &read {
                let there = in_time(secrets.get_metadata_opt(name)).await;
                // A failure of the API server says nothing about the Secret.
                if there.is_ok_and(|there| there.and_then(|there| there.metadata.resource_version) != *version) {
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Versions>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
