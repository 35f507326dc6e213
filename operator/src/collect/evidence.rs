//! The facts that the diagnosis needs, taken from the items as they are read, redacted and bounded. If it needs a whole
//! log, the diagnosis reads it again from the entry's own segment.

use serde_json::Value;

use crate::{
    cluster::ApiKind,
    discovery::{ServerIdle, Snapshot},
    velero::Results,
};

/// Most bytes of all objects together (as written).
const OBJECTS: usize = 6 << 20;
/// Most lines of node-agents' own diagnoses.
const DIAGNOSED: usize = 500;

/// Redacted facts about one run.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The target.
    pub target: Option<Value>,
    /// A Restore's Backup.
    pub backup: Option<Value>,
    /// Without a target: the Backups and Restores that failed last, the newest of each kind first.
    pub failed: Vec<Value>,
    /// What Velero will process before a target that it has not begun, the first one first.
    pub ahead: Vec<Value>,
    /// Number of those that are not listed in `ahead`.
    pub ahead_beyond: usize,
    /// Why Velero's server processes no object of the target's kind.
    pub idle: Option<ServerIdle>,
    /// The target's `results.json`, as far as it could be read; `None` if it is not in the bundle.
    pub results: Option<Results>,
    /// The target's PodVolumeBackups and -Restores, DataUploads and -Downloads; BackupStorageLocations,
    /// BackupRepositories, pods, claims, quotas, nodes; Events that warn or are about one of these. Each has
    /// `apiVersion` and `kind`.
    pub objects: Vec<Value>,
    /// Number of objects that did not fit here; they are in the bundle.
    pub left_out: usize,
    /// Node-agents' diagnoses of hosting pods that could not be prepared, line by line: `DD: Pod …`.
    pub diagnosed: Vec<String>,
    /// Path of the log with the first of these lines.
    pub diagnosed_in: String,
    /// Version and commit of Velero's server, if its first line was seen.
    pub velero_version: Option<(String, String)>,
    pub(crate) used: usize,
}

impl Evidence {
    /// The objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    pub(super) fn add_diagnosed(&mut self, lines: Vec<String>, path: &str) {
        if self.diagnosed.is_empty() && !lines.is_empty() {
            path.clone_into(&mut self.diagnosed_in);
        }
        let room = DIAGNOSED.saturating_sub(self.diagnosed.len());
        self.diagnosed.extend(lines.into_iter().take(room));
    }

    pub(super) fn add(&mut self, objects: Vec<(Value, usize)>) {
        for (object, bytes) in objects {
            if self.used + bytes > OBJECTS {
                self.left_out += 1;
            } else {
                self.used += bytes;
                self.objects.push(object);
            }
        }
    }
}

/// Chooses the objects that are evidence.
#[derive(Clone, Debug, Default)]
pub(super) struct Relevant {
    /// Names of the target's data objects; their UIDs are not known at this point.
    data: std::collections::BTreeSet<String>,
    involved: std::collections::BTreeSet<String>,
}

impl Relevant {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let data: std::collections::BTreeSet<String> =
            snapshot.target.data.iter().map(|object| object.name.clone()).collect();
        let mut involved = data.clone();
        involved.extend(snapshot.namespaces.involved.iter().map(|pod| pod.name.clone()));
        involved.extend(snapshot.namespaces.claims.iter().map(|claim| claim.name.clone()));
        involved.extend(snapshot.target.object.iter().map(|target| target.name.clone()));
        Self { data, involved }
    }

    pub(super) fn wants(&self, kind: &ApiKind, object: &Value) -> bool {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        match kind.plural.as_str() {
            "podvolumebackups" | "podvolumerestores" | "datauploads" | "datadownloads" => self.data.contains(name),
            "backupstoragelocations"
            | "backuprepositories"
            | "pods"
            | "persistentvolumeclaims"
            | "resourcequotas"
            | "nodes" => true,
            "events" => {
                let about = object.pointer("/involvedObject/name").and_then(Value::as_str).unwrap_or_default();
                object["type"] != "Normal" || self.involved.contains(about)
            }
            _ => false,
        }
    }
}
