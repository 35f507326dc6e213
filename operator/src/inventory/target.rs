//! A Backup or Restore, read for what leads further. What belongs to it is found by `look` and `follow`.

use debugbundle_crd::TargetKind;
use jiff::Timestamp;
use serde_json::Value;

/// A Backup or Restore as it was when the inventory was taken.
#[derive(Clone, Debug)]
pub struct TargetObject {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// `status.phase`; empty before Velero looked at it.
    pub phase: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `status.startTimestamp`.
    pub started: Option<Timestamp>,
    /// `status.completionTimestamp`.
    pub completed: Option<Timestamp>,
    /// Of a Backup: `spec.storageLocation`.
    pub storage_location: Option<String>,
    /// Of a Restore: the Backup it restores from.
    pub backup_name: Option<String>,
    /// The object, unredacted: for memory only.
    pub raw: Value,
}

impl TargetObject {
    pub(super) fn read(kind: TargetKind, raw: Value) -> Self {
        let time = |pointer: &str| raw.pointer(pointer).and_then(Value::as_str)?.parse().ok();
        let text = |pointer: &str| {
            let text = raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self {
            kind,
            name: text("/metadata/name").unwrap_or_default(),
            uid: text("/metadata/uid").unwrap_or_default(),
            phase: text("/status/phase").unwrap_or_default(),
            created: time("/metadata/creationTimestamp"),
            started: time("/status/startTimestamp"),
            completed: time("/status/completionTimestamp"),
            storage_location: text("/spec/storageLocation"),
            backup_name: text("/spec/backupName").filter(|_| kind == TargetKind::Restore),
            raw,
        }
    }

    /// Velero wrote all its files to the store: their absence is an error.
    pub fn files_are_due(&self) -> bool {
        matches!(self.phase.as_str(), "Completed" | "PartiallyFailed")
    }
}
