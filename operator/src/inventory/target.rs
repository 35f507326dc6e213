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

    /// The namespaces that the hooks of its spec are meant for, if a hook failed; none if they are meant for all.
    pub(super) fn hooked_namespaces(&self) -> Vec<String> {
        let failed = self.raw.pointer("/status/hookStatus/hooksFailed").and_then(Value::as_i64);
        if failed.is_none_or(|failed| failed == 0) {
            return Vec::new();
        }
        let hooks = self.raw.pointer("/spec/hooks/resources").and_then(Value::as_array);
        let named = hooks.into_iter().flatten().filter_map(|hook| hook["includedNamespaces"].as_array());
        named.flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Velero wrote all its files to the store: their absence is an error.
    pub fn files_are_due(&self) -> bool {
        matches!(self.phase.as_str(), "Completed" | "PartiallyFailed")
    }

    /// Velero may have written files to the store: it does so before plugins end their operations, and what fails late may
    /// have left some. Their absence is no error.
    pub fn files_may_be_there(&self) -> bool {
        const BEFORE: [&str; 6] = ["", "New", "Queued", "ReadyToStart", "FailedValidation", "InProgress"];
        !BEFORE.contains(&self.phase.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hooks_lead_to_their_namespaces_when_one_failed() {
        let of = |failed: Value| {
            let raw = json!({"metadata": {"name": "b"}, "status": {"hookStatus": {"hooksAttempted": 2, "hooksFailed": failed}},
                "spec": {"hooks": {"resources": [{"includedNamespaces": ["shop", "farm"]}, {"excludedNamespaces": ["x"]}, 7]}}});
            TargetObject::read(TargetKind::Backup, raw).hooked_namespaces()
        };
        assert_eq!(of(json!(1)), ["shop", "farm"]);
        assert!(of(json!(0)).is_empty() && of(Value::Null).is_empty());
    }
}
