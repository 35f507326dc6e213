//! Where a Restore comes from: the Backup that Velero chooses if the Restore names a Schedule, and which data is the
//! target's own and not a namesake's. Pure; `reader` and `related` use it, and the search for a run's store does, too.

use jiff::Timestamp;
use serde_json::Value;

use super::{TargetObject, data_objects, is_dns_name, valid_label};

/// A Backup of a Schedule, for the choice among them: when it began, its name, whether Velero restores from it.
pub type Candidate = (Option<Timestamp>, String, bool);

impl TargetObject {
    /// The selector of the Backups from which Velero chooses; `None` if the Restore names a Backup, or nothing that can be
    /// a Schedule: the API server checks no name in a spec.
    pub fn schedule_selector(&self) -> Option<String> {
        let schedule =
            self.raw.pointer("/spec/scheduleName").and_then(Value::as_str).filter(|name| is_dns_name(name))?;
        self.backup_name.is_none().then(|| format!("velero.io/schedule-name={}", valid_label(schedule)))
    }

    /// The Backup that Velero restores from for such a Restore (`mostRecentCompletedBackup` in
    /// `restore_controller.go`): the newest that is Completed when the Restore begins, even if it was made after the
    /// Restore. Without a Completed one, the newest of all, because it tells why.
    pub fn newest_of_schedule(&self, candidates: Vec<Candidate>) -> Option<String> {
        data_objects::newest_backup(candidates, self.created.filter(|_| !self.is_waiting()))
    }

    /// The Backup, as a candidate for that choice.
    pub fn candidate(backup: Self) -> Candidate {
        let is_completed = backup.phase == "Completed";
        (backup.started.or(backup.created), backup.name, is_completed)
    }
}

/// Whether data with the name of a Backup or Restore (`word`: `backup`, `restore`) belongs to the one with this UID: by
/// Velero's label of the UID, else by owner or tag.
pub fn is_data_of(object: &Value, word: &str, uid: &str) -> bool {
    let labels = object.pointer("/metadata/labels");
    let label = labels.and_then(|labels| labels[format!("velero.io/{word}-uid")].as_str());
    label.map_or_else(|| data_objects::is_of(object, uid, &format!("{word}-uid")), |label| label == uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use debugbundle_crd::TargetKind;
    use serde_json::json;

    fn restore(spec: &Value, phase: &str) -> TargetObject {
        let meta = json!({"name": "r", "creationTimestamp": "2026-03-02T12:00:00Z"});
        TargetObject::read(TargetKind::Restore, json!({"metadata": meta, "spec": spec, "status": {"phase": phase}}))
    }

    fn backup(name: &str, day: u8, phase: &str) -> Candidate {
        let status = json!({"phase": phase, "startTimestamp": format!("2026-03-{day:02}T00:00:00Z")});
        let object = json!({"metadata": {"name": name}, "status": status});
        TargetObject::candidate(TargetObject::read(TargetKind::Backup, object))
    }

    #[test]
    fn only_a_restore_without_a_backup_asks_for_those_of_its_schedule() {
        let selector = |spec: &Value| restore(spec, "").schedule_selector();
        let nightly = selector(&json!({"scheduleName": "nightly"}));
        assert_eq!(nightly.as_deref(), Some("velero.io/schedule-name=nightly"));
        assert_eq!(selector(&json!({"scheduleName": "nightly", "backupName": "b"})), None);
        assert_eq!(selector(&json!({"scheduleName": ""})), None);
        assert_eq!(selector(&json!({"backupName": "b"})), None);
    }

    #[test]
    fn velero_takes_the_newest_completed_one_that_is_there_when_it_begins() {
        let all = || {
            vec![backup("one", 1, "Completed"), backup("two", 2, "PartiallyFailed"), backup("three", 3, "Completed")]
        };
        let taken = |phase: &str, all| restore(&json!({"scheduleName": "nightly"}), phase).newest_of_schedule(all);
        assert_eq!(taken("", all()).as_deref(), Some("three"), "it was made since, and nobody has begun yet");
        assert_eq!(taken("FailedValidation", all()).as_deref(), Some("one"), "as it was then");
        assert_eq!(taken("New", vec![backup("x", 1, "Failed"), backup("y", 2, "Failed")]).as_deref(), Some("y"));
    }

    #[test]
    fn data_of_a_namesake_is_known_by_the_label_of_its_uid() {
        let labelled = |uid: &str| json!({"metadata": {"labels": {"velero.io/restore-uid": uid}}});
        assert!(is_data_of(&labelled("u1"), "restore", "u1"));
        assert!(!is_data_of(&labelled("u0"), "restore", "u1"), "without owner and tag");
        let owned = json!({"metadata": {"ownerReferences": [{"apiVersion": "velero.io/v1", "uid": "u0"}]}});
        assert!(!is_data_of(&owned, "restore", "u1"));
        assert!(is_data_of(&json!({"metadata": {}}), "restore", "u1"), "of a Velero that wrote neither");
    }
}
