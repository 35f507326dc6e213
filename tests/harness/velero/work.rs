//! Backups and Restores as a test writes them: `velero.backup("nightly").of_namespaces([shop]).wait().await`. They are
//! created through the API, as by Velero's CLI, and executed by the real server.

use std::time::Duration;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::Velero;
use crate::velero_objects::velero_object;
use crate::{Context, until};

const DONE_WITHIN: Duration = Duration::from_secs(90);
const TERMINAL: [&str; 4] = ["Completed", "PartiallyFailed", "Failed", "FailedValidation"];

/// A Backup or Restore to be created.
pub struct Work<'v> {
    velero: &'v Velero,
    kind: &'static str,
    name: String,
    spec: Value,
}

impl Velero {
    /// Begins a Backup into the server's location.
    pub fn backup(&self, name: &str) -> Work<'_> {
        let spec = json!({"storageLocation": self.location, "includedNamespaces": ["*"], "ttl": "720h"});
        Work { velero: self, kind: "Backup", name: name.to_owned(), spec }
    }

    /// Begins a Restore of a Backup.
    pub fn restore(&self, name: &str, backup: &str) -> Work<'_> {
        let spec = json!({"backupName": backup, "includedNamespaces": ["*"]});
        Work { velero: self, kind: "Restore", name: name.to_owned(), spec }
    }
}

impl Work<'_> {
    /// Only these namespaces.
    #[must_use]
    pub fn of_namespaces<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.spec["includedNamespaces"] = names.into_iter().map(|name| Value::from(name.as_ref())).collect();
        self
    }

    /// A restore into another namespace.
    #[must_use]
    pub fn mapping(mut self, from: &str, to: &str) -> Self {
        self.spec["namespaceMapping"][from] = to.into();
        self
    }

    /// A backup of the files in all volumes.
    #[must_use]
    pub fn with_files_of_volumes(mut self) -> Self {
        self.spec["defaultVolumesToFsBackup"] = true.into();
        self
    }

    /// Any other field of the spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// Creates it.
    pub async fn create(self) -> DynamicObject {
        let Self { velero, kind, name, spec } = self;
        velero.context.create_velero(velero_object(kind, json!({"metadata": {"name": name}, "spec": spec}))).await
    }

    /// Creates it and waits until it has ended, in any phase.
    pub async fn wait(self) -> DynamicObject {
        let (context, kind, name) = (self.velero.context.clone(), self.kind, self.name.clone());
        self.create().await;
        context.until_ended(kind, &name).await
    }
}

impl Context {
    /// Waits until a Backup or Restore has ended, in any phase.
    pub async fn until_ended(&self, kind: &str, name: &str) -> DynamicObject {
        self.until_object(kind, name, "has ended", |object| TERMINAL.contains(&phase(object))).await
    }

    /// Waits until one of Velero's objects is in this phase.
    pub async fn until_phase(&self, kind: &str, name: &str, wanted: &str) -> DynamicObject {
        self.until_object(kind, name, &format!("is {wanted}"), |object| phase(object) == wanted).await
    }

    async fn until_object(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        holds: impl Fn(&DynamicObject) -> bool,
    ) -> DynamicObject {
        let (api, holds) = (self.velero_api(kind), &holds);
        until(DONE_WITHIN, &format!("{kind} {name} {what}"), || async {
            let object = api.get(name).await.map_err(|error| error.to_string())?;
            if holds(&object) { Ok(object) } else { Err(object.data["status"].to_string()) }
        })
        .await
    }
}

/// The phase of one of Velero's objects; empty if it has none yet.
pub fn phase(object: &DynamicObject) -> &str {
    object.data["status"]["phase"].as_str().unwrap_or_default()
}
