//! Other Backups and Restores that `diagnose` reports: those that Velero takes up before a target with which it has not
//! begun, and, if nobody named a target, those that failed last.

use std::{cmp::Reverse, collections::BTreeMap};

use debugbundle_crd::TargetKind;
use debugbundle_format::text::bounded;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Served, reader::DiscoveryReader};
use crate::velero::TargetObject;

/// The most objects ahead of the target that are named, and the most failed ones of each kind.
const NAMED: usize = 20;
/// Bytes kept of the reason of a failure.
const REASON: usize = 1024;

/// What Velero takes up before the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    /// The next one first, each with the fields that decide its place, unredacted.
    pub ahead: Vec<Value>,
    /// How many more there are.
    pub beyond: usize,
}

impl Queue {
    /// Those of these objects that Velero takes up before a target with which it has not begun.
    pub(crate) fn among<'a>(target: &TargetObject, others: impl Iterator<Item = &'a Value>) -> Self {
        if !target.is_waiting() {
            return Self::default();
        }
        let turn = |other: &'a Value| Some((ahead_of(target, other)?, other));
        let sorted: BTreeMap<Turn, &Value> = others.filter_map(turn).collect();
        let beyond = sorted.len().saturating_sub(NAMED);
        Self { ahead: sorted.into_values().take(NAMED).map(|one| place_fields(target.kind, one)).collect(), beyond }
    }
}

/// Those of these objects that failed last, in the form of [`failure_fields`]; the newest first.
pub(crate) fn failed_among<'a>(kind: TargetKind, objects: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut failed: Vec<_> = objects.filter_map(|object| failure_fields(kind, object)).collect();
    failed.sort_by_key(|(at, _)| Reverse(*at));
    failed.into_iter().take(NAMED).map(|(_, fields)| fields).collect()
}

/// Sort key: first Velero's current work, then what it has chosen, then the others by position; by name among equals.
type Turn = (u8, i64, String);

/// The place of another object of the target's kind that Velero takes up first. Velero works on one Restore at a time
/// (`restore_controller.go`), and on as many Backups as `--concurrent-backups` says. Further Backups are Queued in
/// the order of their positions (`backup_queue_controller.go`); an older Velero leaves them New.
fn ahead_of(target: &TargetObject, other: &Value) -> Option<Turn> {
    let name = other.pointer("/metadata/name").and_then(Value::as_str).filter(|name| *name != target.name)?;
    let position = |object: &Value| object.pointer("/status/queuePosition").and_then(Value::as_i64).unwrap_or(0);
    let phase = other.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let is_backup = target.kind == TargetKind::Backup;
    let rank = match phase {
        "InProgress" => 0,
        "ReadyToStart" if is_backup && target.phase != "ReadyToStart" => 1,
        "Queued" if is_backup => match target.phase.as_str() {
            "Queued" if position(other) >= position(&target.raw) => return None,
            "ReadyToStart" => return None,
            _ => 2,
        },
        _ => return None,
    };
    Some((rank, position(other), name.to_owned()))
}

/// What Velero takes up before a target with which it has not begun.
pub(super) async fn queue(reader: &DiscoveryReader<'_>, served: &Served, target: &TargetObject) -> Queue {
    if !target.is_waiting() {
        return Queue::default();
    }
    let kind = target.kind;
    let waiting = target.clone();
    let read = move |object: Value| Some((ahead_of(&waiting, &object)?, place_fields(kind, &object)));
    let (ahead, beyond) = reader.first(&served.target(kind), reader.namespace, None, NAMED, read).await;
    Queue { ahead, beyond }
}

/// The fields of an object that decide its place.
fn place_fields(kind: TargetKind, object: &Value) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(|text| bounded(text, 64));
    json!({
        "apiVersion": "velero.io/v1",
        "kind": kind.as_str(),
        "metadata": {"namespace": text("/metadata/namespace"), "name": object.pointer("/metadata/name")},
        "status": {
            "phase": text("/status/phase"),
            "startTimestamp": text("/status/startTimestamp"),
            "queuePosition": object.pointer("/status/queuePosition").and_then(Value::as_i64),
        },
    })
}

/// The newest failed Backups, then the newest failed Restores, in the form of [`failure_fields`]; the newest first.
pub(super) async fn failed(reader: &DiscoveryReader<'_>, served: &Served) -> Vec<Value> {
    let mut failed = Vec::new();
    for kind in [TargetKind::Backup, TargetKind::Restore] {
        let read = move |object: Value| {
            let (at, fields) = failure_fields(kind, &object)?;
            let name = fields["metadata"]["name"].as_str()?.to_owned();
            Some(((Reverse(at), name), fields))
        };
        failed.extend(reader.first(&served.target(kind), reader.namespace, None, NAMED, read).await.0);
    }
    failed
}

/// When it began, or was created, and the fields about its failure; `None` if it did not fail.
fn failure_fields(kind: TargetKind, object: &Value) -> Option<(Option<Timestamp>, Value)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let phase = text("/status/phase").filter(|phase| phase.contains("Failed"))?;
    let at = text("/status/startTimestamp").or_else(|| text("/metadata/creationTimestamp"));
    let reason = text("/status/failureReason").or_else(|| text("/status/validationErrors/0"));
    let fields = json!({
        "apiVersion": "velero.io/v1",
        "kind": kind.as_str(),
        "metadata": {"namespace": text("/metadata/namespace"), "name": text("/metadata/name")?},
        "status": {
            "phase": bounded(phase, 64),
            "startTimestamp": at.map(|at| bounded(at, 64)),
            "failureReason": reason.map(|reason| bounded(reason, REASON)),
            "errors": object.pointer("/status/errors").and_then(Value::as_u64),
            "warnings": object.pointer("/status/warnings").and_then(Value::as_u64),
        },
    });
    Some((at.and_then(|at| at.parse().ok()), fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: TargetKind, phase: &str, position: i64) -> TargetObject {
        let status = json!({"phase": phase, "queuePosition": position});
        TargetObject::read(kind, json!({"metadata": {"name": "mine"}, "status": status}))
    }

    fn other(name: &str, phase: &str, position: i64) -> Value {
        json!({"metadata": {"name": name}, "status": {"phase": phase, "queuePosition": position}})
    }

    #[test]
    fn in_front_is_what_velero_is_at_then_what_it_chose_then_what_has_a_smaller_position() {
        let others = [
            other("first", "Queued", 1),
            other("third", "Queued", 3),
            other("chosen", "ReadyToStart", 0),
            other("at-work", "InProgress", 0),
            other("done", "Completed", 0),
            other("operations", "WaitingForPluginOperations", 0),
            other("mine", "InProgress", 0),
            json!({"status": {"phase": "InProgress"}}),
        ];
        let names = |target: &TargetObject| {
            let mut found: Vec<Turn> = others.iter().filter_map(|other| ahead_of(target, other)).collect();
            found.sort();
            found.into_iter().map(|(_, _, name)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&target(TargetKind::Backup, "Queued", 2)), "at-work chosen first");
        assert_eq!(names(&target(TargetKind::Backup, "New", 0)), "at-work chosen first third");
        assert_eq!(names(&target(TargetKind::Backup, "ReadyToStart", 0)), "at-work");
        assert_eq!(names(&target(TargetKind::Restore, "", 0)), "at-work", "Restores know no queue");
        assert!(!target(TargetKind::Restore, "InProgress", 0).is_waiting());
    }
    #[test]
    fn only_what_failed_is_read_with_its_time_and_reason() {
        let of = |status: Value| {
            let object = json!({"metadata": {"name": "b", "namespace": "v", "creationTimestamp": "2026-03-01T00:00:00Z"},
                "spec": {"secret": "no"}, "status": status});
            failure_fields(TargetKind::Backup, &object)
        };
        for good in [json!({"phase": "Completed"}), json!({"phase": "InProgress"}), json!({}), json!(7)] {
            assert_eq!(of(good), None);
        }
        let (at, told) = of(json!({"phase": "FailedValidation", "validationErrors": ["no location", "x"]})).unwrap();
        assert_eq!(at, "2026-03-01T00:00:00Z".parse().ok(), "one that was not begun has the time when it was made");
        assert_eq!(told["status"]["failureReason"], "no location");
        assert_eq!(told.get("spec"), None);
        let status = json!({"phase": "WaitingForPluginOperationsPartiallyFailed", "startTimestamp": "2026-03-02T00:00:00Z", "errors": 3});
        let (at, told) = of(status).unwrap();
        assert_eq!((at, &told["status"]["errors"]), ("2026-03-02T00:00:00Z".parse().ok(), &json!(3)));
        let long = of(json!({"phase": "Failed", "failureReason": "x".repeat(9999)})).unwrap().1;
        assert!(long["status"]["failureReason"].as_str().unwrap().len() <= REASON);
    }
}
