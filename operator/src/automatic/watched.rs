//! A Backup or Restore, reduced to what the decision about its DebugBundle needs.

use std::collections::BTreeMap;

use debugbundle_crd::{RESTORED_BY_LABEL, SKIP_LABEL, TargetKind, Trigger};
use debugbundle_format::hex_digest;
use jiff::Timestamp;
use kube::api::{DynamicObject, ObjectMeta};
use serde_json::Value;

/// Digits of a mark.
const MARK: usize = 16;
/// The label by which Velero names the Schedule of a Backup.
const SCHEDULE_NAME: &str = "velero.io/schedule-name";

/// A Backup or Restore as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) kind: TargetKind,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) labels: BTreeMap<String, String>,
    /// The Schedule that made it.
    pub(super) schedule: Option<String>,
    pub(super) stage: Stage,
    pub(super) created: Timestamp,
    /// `status.completionTimestamp`.
    pub(super) completed: Option<Timestamp>,
    /// Its times say that Velero's sync brought it from the bucket: it ended, or began and ended, before it was created
    /// here. Clocks differ: this does not hold for an object that was seen unfinished.
    pub(super) synced: bool,
    /// When Velero last changed it.
    pub(super) moved: Timestamp,
    pub(super) deleting: bool,
}

/// What counts as one target, where targets are counted: the Backups of one Schedule; else a target alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// The name of the Schedule.
    Schedule(String),
    /// The UID of the target.
    Target(String),
}

impl Group {
    const SCHEDULE: &str = "schedule/";

    /// A short text that stands for the group.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Schedule(name) => format!("{}{}", Self::SCHEDULE, mark(name)),
            Self::Target(uid) => format!("target/{}", mark(uid)),
        }
    }

    /// Whether the key stands for the Backups of a Schedule.
    pub(super) fn is_of_schedule(key: &str) -> bool {
        key.starts_with(Self::SCHEDULE)
    }
}

/// Digits that stand for a text.
pub(super) fn mark(text: &str) -> String {
    let mut digest = hex_digest(text.as_bytes());
    digest.truncate(MARK);
    digest
}

/// How far Velero has processed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Velero has not begun.
    Waiting,
    /// Velero works on it.
    Running,
    /// It has ended badly.
    Ended(Trigger),
    /// It needs no DebugBundle: it ended well, or is being deleted.
    Done,
}

impl Stage {
    fn of(phase: &str) -> Self {
        match phase {
            "" | "New" | "Queued" | "ReadyToStart" => Self::Waiting,
            "InProgress"
            | "WaitingForPluginOperations"
            | "WaitingForPluginOperationsPartiallyFailed"
            | "Finalizing"
            | "FinalizingPartiallyFailed" => Self::Running,
            ended => Trigger::of_phase(ended).map_or(Self::Done, Self::Ended),
        }
    }

    /// Well or badly.
    pub(super) fn has_ended(self) -> bool {
        matches!(self, Self::Ended(_) | Self::Done)
    }
}

impl Watched {
    /// Reads the object; `None` without name or UID.
    pub(super) fn of(kind: TargetKind, object: &DynamicObject) -> Option<Self> {
        let meta = &object.metadata;
        let text = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str);
        let labels = meta.labels.clone().unwrap_or_default();
        let schedule = match kind {
            TargetKind::Backup => labels.get(SCHEDULE_NAME).map(String::as_str),
            TargetKind::Restore => text("/spec/scheduleName"),
        };
        let time = |pointer: &str| text(pointer).and_then(|time| time.parse::<Timestamp>().ok());
        let stage = Stage::of(text("/status/phase").unwrap_or_default());
        let completed = time("/status/completionTimestamp");
        // Velero marks an expired Backup without an end as PartiallyFailed (`backup_sync_controller.go`).
        let began_or_ended = completed.or_else(|| time("/status/startTimestamp").filter(|_| stage.has_ended()));
        Some(Self {
            kind,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            schedule: schedule.filter(|name| !name.is_empty()).map(str::to_owned),
            labels,
            stage,
            created: created(meta),
            completed,
            synced: began_or_ended.is_some_and(|time| time < created(meta)),
            moved: moved(meta),
            deleting: meta.deletion_timestamp.is_some(),
        })
    }

    /// When it ended, if it has ended. If Velero omitted the time, the last change of the status counts.
    pub(super) fn ended(&self) -> Timestamp {
        self.completed.unwrap_or(self.moved)
    }

    /// Whether it is a copy that this Velero did not process: Velero's sync creates a Backup from the bucket after the
    /// end of the original, and a restored object has Velero's label.
    pub(super) fn is_foreign(&self) -> bool {
        self.synced || self.labels.contains_key(RESTORED_BY_LABEL)
    }

    /// Whether a label says that no DebugBundle is wanted.
    pub(super) fn is_skipped(&self) -> bool {
        has_skip_label(&self.labels)
    }

    /// What it is counted with. A Restore is counted alone, even one of a Schedule's Backup.
    pub(super) fn group(&self) -> Group {
        match &self.schedule {
            Some(name) if self.kind == TargetKind::Backup => Group::Schedule(name.clone()),
            _ => Group::Target(self.uid.clone()),
        }
    }

    /// Whether it can still get a DebugBundle.
    pub(super) fn is_of_interest(&self) -> bool {
        !self.deleting && self.stage != Stage::Done && !self.is_foreign()
    }

    /// `Restore r1`.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// Whether the labels say that no DebugBundle is wanted.
pub(super) fn has_skip_label(labels: &BTreeMap<String, String>) -> bool {
    labels.get(SKIP_LABEL).is_some_and(|value| value == "true")
}

fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// When the status of an object last changed. The API server records it for each writer (`metadata.managedFields`);
/// a label that somebody else sets is no movement.
pub(super) fn moved(meta: &ObjectMeta) -> Timestamp {
    let writers = meta.managed_fields.iter().flatten();
    let of_status =
        writers.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| !fields.0["f:status"].is_null()));
    let last = of_status.filter_map(|entry| Some(entry.time.as_ref()?.0)).max();
    last.unwrap_or_else(|| created(meta))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    /// A Restore of 03:00:00 whose status was last written at `moved`.
    pub(in super::super) fn restore(phase: &str, moved: &str, completed: Option<&str>) -> Watched {
        let object = object(json!({
            "apiVersion": "velero.io/v1", "kind": "Restore",
            "metadata": {
                "name": "r1", "namespace": "velero", "uid": "0a1b", "creationTimestamp": "2026-11-23T03:00:00Z",
                "managedFields": [
                    {"manager": "velero-server", "time": moved, "fieldsV1": {"f:status": {"f:phase": {}}}},
                    {"manager": "kubectl-label", "time": "2026-11-24T00:00:00Z", "fieldsV1": {"f:metadata": {}}},
                ],
            },
            "spec": {"backupName": "b1"},
            "status": {"phase": phase, "completionTimestamp": completed},
        }));
        Watched::of(TargetKind::Restore, &object).expect("a Restore")
    }

    #[test]
    fn a_label_is_no_movement_and_the_status_is() {
        let seen = restore("InProgress", "2026-11-23T03:07:00Z", None);
        assert_eq!(seen.moved, "2026-11-23T03:07:00Z".parse().unwrap());
        assert_eq!(seen.stage, Stage::Running);
        assert_eq!(restore("Failed", "2026-11-23T03:07:00Z", None).ended(), "2026-11-23T03:07:00Z".parse().unwrap());
        let ended = restore("Failed", "2026-11-23T03:09:00Z", Some("2026-11-23T03:08:00Z"));
        assert_eq!(ended.ended(), "2026-11-23T03:08:00Z".parse().unwrap());
    }

    #[test]
    fn every_phase_of_velero_has_a_stage() {
        for (phase, stage) in [
            ("", Stage::Waiting),
            ("New", Stage::Waiting),
            ("Queued", Stage::Waiting),
            ("ReadyToStart", Stage::Waiting),
            ("InProgress", Stage::Running),
            ("WaitingForPluginOperationsPartiallyFailed", Stage::Running),
            ("FinalizingPartiallyFailed", Stage::Running),
            ("PartiallyFailed", Stage::Ended(Trigger::PartiallyFailed)),
            ("Failed", Stage::Ended(Trigger::Failed)),
            ("FailedValidation", Stage::Ended(Trigger::FailedValidation)),
            ("Completed", Stage::Done),
            ("Deleting", Stage::Done),
            ("Stuck", Stage::Done),
        ] {
            assert_eq!(Stage::of(phase), stage, "{phase}");
        }
    }

    #[test]
    fn what_the_sync_or_a_restore_brought_is_foreign() {
        let at = "2026-11-23T03:07:00Z";
        assert!(restore("Failed", at, Some("2026-11-23T02:59:59Z")).is_foreign());
        assert!(!restore("Failed", at, Some("2026-11-23T03:00:00Z")).is_foreign());
        // An expired Backup without an end.
        let of = |started: &str, phase: &str| {
            let object = object(json!({"apiVersion": "velero.io/v1", "kind": "Backup",
                "metadata": {"name": "b", "uid": "0a1b", "creationTimestamp": "2026-11-23T03:00:00Z"},
                "status": {"phase": phase, "startTimestamp": started}}));
            Watched::of(TargetKind::Backup, &object).expect("a Backup").is_foreign()
        };
        assert!(of("2026-10-01T03:00:00Z", "PartiallyFailed"));
        assert!(!of("2026-11-23T03:00:01Z", "PartiallyFailed"));
        assert!(!of("2026-11-23T02:59:58Z", "InProgress"), "Velero's clock is behind");
        let mut copy = restore("Failed", at, Some(at));
        copy.labels.insert(RESTORED_BY_LABEL.to_owned(), "r7".to_owned());
        assert!(copy.is_foreign());
    }
}
