//! The cluster's objects that a description needs, projected as they pass: pod volumes and deletion requests. Each
//! object costs a few hundred bytes, and their number is bounded.

use debugbundle_crd::TargetKind;
use debugbundle_format::text::bounded;
use serde_json::Value;

use super::go::{number, text};
use crate::{cluster::ApiKind, velero::valid_label};

/// Most pod volumes of one description, deletion requests of one description, errors of one request.
const VOLUMES: usize = 20_000;
const DELETIONS: usize = 100;
const ERRORS: usize = 20;
/// Longest error of a request; longest name or phase (bytes).
const ERROR: usize = 1024;
const NAME: usize = 253;

/// A Backup or Restore to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedObject {
    /// Backup or Restore.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// A PodVolumeBackup or PodVolumeRestore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub(super) pod: String,
    pub(super) name: String,
    pub(super) phase: String,
    pub(super) uploader: String,
    pub(super) done: i64,
    pub(super) total: i64,
    pub(super) incremental: i64,
}

/// A DeleteBackupRequest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupDeletion {
    pub(super) created: String,
    pub(super) phase: String,
    pub(super) errors: Vec<String>,
}

/// One projected object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A volume of a pod.
    Volume(Volume),
    /// An attempt to delete the Backup.
    BackupDeletion(BackupDeletion),
}

/// The objects that belong to one description.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub(super) volumes: Vec<Volume>,
    pub(super) deletions: Vec<BackupDeletion>,
    /// Number of objects beyond the bounds.
    pub(super) left_out: usize,
    /// Pod volumes were read, even if there are none.
    pub volumes_read: bool,
    /// Deletion requests were read.
    pub deletions_read: bool,
}

impl Live {
    /// Adds one object.
    pub fn add(&mut self, fact: Fact) {
        match fact {
            Fact::Volume(volume) if self.volumes.len() < VOLUMES => self.volumes.push(volume),
            Fact::BackupDeletion(deletion) if self.deletions.len() < DELETIONS => self.deletions.push(deletion),
            _ => self.left_out += 1,
        }
    }
}

impl DescribedObject {
    /// Projects an object that belongs to this description; like `velero … describe`, it selects by label.
    pub fn fact(&self, kind: &ApiKind, object: &Value) -> Option<Fact> {
        let labels = object.pointer("/metadata/labels")?;
        let name = valid_label(&self.name);
        match (self.kind, kind.plural.as_str()) {
            (TargetKind::Backup, "podvolumebackups") if labels["velero.io/backup-name"] == *name => {}
            (TargetKind::Restore, "podvolumerestores") if labels["velero.io/restore-name"] == *name => {}
            (TargetKind::Backup, "deletebackuprequests")
                if labels["velero.io/backup-name"] == *name && labels["velero.io/backup-uid"] == *self.uid =>
            {
                return Some(Fact::BackupDeletion(deletion(object)));
            }
            _ => return None,
        }
        Some(Fact::Volume(volume(object)))
    }
}

fn short(value: &Value) -> String {
    bounded(text(value), NAME).into_owned()
}

fn volume(object: &Value) -> Volume {
    let (spec, status) = (&object["spec"], &object["status"]);
    Volume {
        pod: format!("{}/{}", short(&spec["pod"]["namespace"]), short(&spec["pod"]["name"])),
        name: short(&spec["volume"]),
        phase: short(&status["phase"]),
        uploader: short(&spec["uploaderType"]),
        done: number(&status["progress"]["bytesDone"]),
        total: number(&status["progress"]["totalBytes"]),
        incremental: number(&status["incrementalBytes"]),
    }
}

fn deletion(object: &Value) -> BackupDeletion {
    let errors = object["status"]["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
    BackupDeletion {
        created: short(&object["metadata"]["creationTimestamp"]),
        phase: short(&object["status"]["phase"]),
        errors: errors.take(ERRORS).map(|error| bounded(error, ERROR).into_owned()).collect(),
    }
}
