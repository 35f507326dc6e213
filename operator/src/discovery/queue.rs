//! What Velero takes up before a target with which it has not begun. `diagnose` reports it.

use debugbundle_crd::TargetKind;
use debugbundle_format::text::bounded;
use serde_json::{Value, json};

use super::{Served, reader::DiscoveryReader, top_n::TopN};
use crate::velero::TargetObject;

/// The most objects ahead of the target that are named.
const NAMED: usize = 20;

/// What Velero takes up before the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    /// The next one first, each with the fields that decide its place, unredacted.
    pub ahead: Vec<Value>,
    /// How many more there are.
    pub beyond: usize,
}

/// Sort key: first Velero's current work, then what it has chosen, then the others by position; by name among equals.
type Place = (u8, i64, String);

impl TargetObject {
    /// Velero has not begun with it. The phases Queued and `ReadyToStart` are Velero 1.18's.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase.as_str(), "" | "New" | "Queued" | "ReadyToStart")
    }

    /// The place of another object of its kind that Velero takes up first. Velero works on one Restore at a time
    /// (`restore_controller.go`), and on as many Backups as `--concurrent-backups` says. Further Backups are Queued in
    /// the order of their positions (`backup_queue_controller.go`); an older Velero leaves them New.
    fn behind(&self, other: &Value) -> Option<Place> {
        let name = other.pointer("/metadata/name").and_then(Value::as_str).filter(|name| *name != self.name)?;
        let position = |object: &Value| object.pointer("/status/queuePosition").and_then(Value::as_i64).unwrap_or(0);
        let phase = other.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        let is_backup = self.kind == TargetKind::Backup;
        let rank = match phase {
            "InProgress" => 0,
            "ReadyToStart" if is_backup && self.phase != "ReadyToStart" => 1,
            "Queued" if is_backup => match self.phase.as_str() {
                "Queued" if position(other) >= position(&self.raw) => return None,
                "ReadyToStart" => return None,
                _ => 2,
            },
            _ => return None,
        };
        Some((rank, position(other), name.to_owned()))
    }
}

impl DiscoveryReader<'_> {
    /// What Velero takes up before a target with which it has not begun.
    pub(super) async fn queue(&self, served: &Served, target: &TargetObject) -> Queue {
        if !target.is_waiting() {
            return Queue::default();
        }
        let (plural, kind) = match target.kind {
            TargetKind::Backup => ("backups", "Backup"),
            TargetKind::Restore => ("restores", "Restore"),
        };
        let waiting = target.clone();
        let read = move |object: Value| Some((waiting.behind(&object)?, short(kind, &object)));
        let found = self.read(&served.velero(plural, kind), self.namespace, None, TopN::new(NAMED, read)).await;
        Queue { beyond: found.beyond, ahead: found.items().collect() }
    }
}

/// The fields of an object that decide its place.
fn short(kind: &str, object: &Value) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(|text| bounded(text, 64));
    json!({
        "apiVersion": "velero.io/v1",
        "kind": kind,
        "metadata": {"namespace": text("/metadata/namespace"), "name": object.pointer("/metadata/name")},
        "status": {
            "phase": text("/status/phase"),
            "startTimestamp": text("/status/startTimestamp"),
            "queuePosition": object.pointer("/status/queuePosition").and_then(Value::as_i64),
        },
    })
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
            let mut found: Vec<Place> = others.iter().filter_map(|other| target.behind(other)).collect();
            found.sort();
            found.into_iter().map(|(_, _, name)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&target(TargetKind::Backup, "Queued", 2)), "at-work chosen first");
        assert_eq!(names(&target(TargetKind::Backup, "New", 0)), "at-work chosen first third");
        assert_eq!(names(&target(TargetKind::Backup, "ReadyToStart", 0)), "at-work");
        assert_eq!(names(&target(TargetKind::Restore, "", 0)), "at-work", "Restores know no queue");
        assert!(!target(TargetKind::Restore, "InProgress", 0).is_waiting());
    }
}
