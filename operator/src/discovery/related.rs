//! What belongs to a Backup or Restore in Velero's namespace besides its data: Schedule, Backups of the same Schedule,
//! Restores, repositories. Only names are kept; `collect` reads the objects.

use std::{cmp::Reverse, collections::BTreeSet};

use debugbundle_crd::TargetKind;
use serde_json::Value;

use super::{Served, Snapshot, reader::DiscoveryReader};
use crate::{
    cluster::ApiKind,
    velero::{DataObject, TargetObject, is_dns_name, repository_label, valid_label},
};

/// Backups of the target's Schedule that are kept for comparison.
const BACKUPS: usize = 3;
/// The most Restores made from a Backup, and repositories of a target, whose names are kept.
const NAMES: usize = 500;
/// The most namespaces in a selector; with more, the code that reads the answer chooses.
const IN_SELECTOR: usize = 32;

/// Names of what belongs to the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelatedObjects {
    /// The Schedule that made the Backup.
    pub schedule: Option<String>,
    /// The last Backups of that Schedule, the newest first.
    pub backups: Vec<String>,
    /// Of a Backup: the Restores made from it.
    pub restores: Vec<String>,
    /// The BackupRepositories that hold the target's data.
    pub repositories: Vec<String>,
}

impl Snapshot {
    /// The values of `velero.io/repo-name` on maintenance of the repositories that hold the target's data: of those
    /// that exist, and, as one may be gone, of those that Velero would make.
    pub fn repository_labels(&self) -> BTreeSet<String> {
        let location =
            self.target.backup.as_ref().or(self.target.object.as_ref()).and_then(|of| of.storage_location.as_deref());
        let held = self.target.data.iter().filter_map(|object| object.held_in(location));
        let would = held.map(|(namespace, location, sort)| format!("{namespace}-{location}-{sort}"));
        would.chain(self.target.related.repositories.iter().cloned()).map(|name| repository_label(&name)).collect()
    }
}

/// What belongs to a target, or to a Restore and its Backup.
pub(super) async fn related(
    reader: &DiscoveryReader<'_>,
    served: &Served,
    target: &TargetObject,
    backup: Option<&TargetObject>,
    data: &[DataObject],
) -> RelatedObjects {
    let of = backup.unwrap_or(target);
    let schedule = schedule_of(&of.raw, &target.raw);
    let backups = match &schedule {
        Some(schedule) => last_backups(reader, served, schedule).await,
        None => Vec::new(),
    };
    let restores = match target.kind {
        TargetKind::Backup => restores_of(reader, served, &target.name).await,
        TargetKind::Restore => Vec::new(),
    };
    let repositories = repositories(reader, served, of.storage_location.as_deref(), data).await;
    RelatedObjects { schedule, backups, restores, repositories }
}

/// A Schedule may have left thousands: only the names of the last ones are kept.
async fn last_backups(reader: &DiscoveryReader<'_>, served: &Served, schedule: &str) -> Vec<String> {
    let selector = format!("velero.io/schedule-name={}", valid_label(schedule));
    let newest_first = |backup: Value| {
        let TargetObject { created, name, .. } = TargetObject::read(TargetKind::Backup, backup);
        Some((Reverse((created, name.clone())), name))
    };
    let kind = served.target(TargetKind::Backup);
    let (last, _) = reader.first(&kind, reader.namespace, Some(&selector), BACKUPS, newest_first).await;
    last.into_iter().filter(|name| is_dns_name(name)).collect()
}

/// No label names a Restore's Backup, so that all Restores are read.
async fn restores_of(reader: &DiscoveryReader<'_>, served: &Served, backup: &str) -> Vec<String> {
    let backup = backup.to_owned();
    let read = move |restore: Value| {
        let from = restore.pointer("/spec/backupName").and_then(Value::as_str)?;
        (from == backup).then(|| name(&restore)).flatten()
    };
    reader.all(&served.target(TargetKind::Restore), None, NAMES, read).await
}

/// Found by the data, because its Backup may be gone: its namespace, its location, and the repository's type.
async fn repositories(
    reader: &DiscoveryReader<'_>,
    served: &Served,
    location: Option<&str>,
    data: &[DataObject],
) -> Vec<String> {
    let wanted: BTreeSet<(String, String, String)> =
        data.iter().filter_map(|object| object.held_in(location)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let one_of = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(",");
    let locations = one_of(wanted.iter().map(|(_, location, _)| valid_label(location)).collect());
    let mut selector = format!("velero.io/storage-location in ({locations})");
    let namespaces: BTreeSet<String> = wanted.iter().map(|(namespace, ..)| valid_label(namespace)).collect();
    if namespaces.len() <= IN_SELECTOR {
        selector = format!("{selector},velero.io/volume-namespace in ({})", one_of(namespaces));
    }
    let kind: ApiKind = served.velero("backuprepositories", "BackupRepository");
    // Several names may share a label; the spec decides.
    let read = move |repository: Value| {
        let spec = |key: &str| repository["spec"][key].as_str().unwrap_or_default().to_owned();
        let holds = (spec("volumeNamespace"), spec("backupStorageLocation"), spec("repositoryType"));
        wanted.contains(&holds).then(|| name(&repository)).flatten()
    };
    reader.all(&kind, Some(&selector), NAMES, read).await
}

fn name(object: &Value) -> Option<String> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str)?;
    is_dns_name(name).then(|| name.to_owned())
}

/// The Schedule of a Backup, or of a Restore without one: by owner, by the Backup's name, by the name in the Restore,
/// else by label. A label holds only part of a longer name, and Velero fills a Restore's `scheduleName` from it; the
/// name of a Backup that the Schedule made contains the whole name before the time (`Schedule.TimestampedName`).
fn schedule_of(backup: &Value, target: &Value) -> Option<String> {
    let owners = backup.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let owner = owners.into_iter().flatten().find(|owner| owner["kind"] == "Schedule").map(|owner| &owner["name"]);
    let label = backup.pointer("/metadata/labels/velero.io~1schedule-name").and_then(Value::as_str);
    let timed = backup.pointer("/metadata/name").and_then(Value::as_str).and_then(|name| name.rsplit_once('-'));
    let whole = timed.map(|(name, _)| name).filter(|name| label.is_some_and(|label| valid_label(name) == label));
    let owner = owner.and_then(Value::as_str);
    let named = target.pointer("/spec/scheduleName").and_then(Value::as_str);
    [owner, whole, named, label].into_iter().flatten().find(|name| is_dns_name(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::fixture;
    use serde_json::json;

    #[test]
    fn a_schedule_is_known_by_owner_by_label_and_by_name() {
        let none = json!({});
        let labelled = json!({"metadata": {"labels": {"velero.io/schedule-name": "nightly"}}});
        assert_eq!(schedule_of(&labelled, &labelled).as_deref(), Some("nightly"));
        let mut owned = labelled;
        owned["metadata"]["ownerReferences"] =
            json!([{"kind": "Other", "name": "x"}, {"kind": "Schedule", "name": "weekly"}]);
        assert_eq!(schedule_of(&owned, &none).as_deref(), Some("weekly"));
        let restore = |schedule: &str| json!({"spec": {"scheduleName": schedule}});
        assert_eq!(schedule_of(&restore("hourly"), &restore("hourly")).as_deref(), Some("hourly"));
        assert_eq!(schedule_of(&none, &restore("../x")), None);
    }

    #[test]
    fn a_schedule_whose_name_a_label_does_not_hold_is_known_by_its_restore_or_by_what_its_backups_are_called() {
        let long = format!("{:y<70}", "nightly-");
        let backup = |name: String| json!({"metadata": {"name": name, "labels": {"velero.io/schedule-name": valid_label(&long)}}});
        let timed = backup(format!("{long}-20260301030000"));
        assert_eq!(schedule_of(&timed, &timed), Some(long.clone()));
        let filled_in = json!({"spec": {"scheduleName": valid_label(&long)}});
        assert_eq!(schedule_of(&timed, &filled_in), Some(long.clone()));
        let renamed = backup("b-1".to_owned());
        assert_eq!(schedule_of(&renamed, &json!({"spec": {"scheduleName": long}})), Some(long.clone()));
        assert_eq!(schedule_of(&renamed, &renamed), Some(valid_label(&long)), "nothing tells more");
        let mut stranger = timed;
        stranger["metadata"]["labels"]["velero.io/schedule-name"] = "other".into();
        assert_eq!(schedule_of(&stranger, &stranger).as_deref(), Some("other"));
    }

    #[test]
    fn maintenance_of_a_repository_is_known_by_its_whole_name() {
        let data = |namespace: &str| {
            let spec = json!({"pod": {"namespace": namespace, "name": "p"}, "uploaderType": "kopia"});
            DataObject::read("podvolumebackups", &json!({"metadata": {"name": "x"}, "spec": spec})).unwrap()
        };
        let mut snapshot = fixture::snapshot();
        snapshot.target.object = Some(fixture::target(TargetKind::Backup, "Failed"));
        snapshot.target.data = vec![data("shop")];
        snapshot.target.related.repositories = vec!["shop-barn-kopia-x7f2q".to_owned()];
        let labels = snapshot.repository_labels();
        assert!(labels.contains("shop-barn-kopia"), "as Velero calls it: {labels:?}");
        assert!(labels.contains("shop-barn-kopia-x7f2q"), "as an older one did: {labels:?}");
        assert!(!labels.contains("shop-two-barn-kopia"), "of a namespace that begins so: {labels:?}");
        snapshot.target.object = Some(fixture::target(TargetKind::Restore, "Failed"));
        snapshot.target.object.as_mut().unwrap().storage_location = None;
        snapshot.target.data[0].location = Some("attic".to_owned());
        assert!(snapshot.repository_labels().contains("shop-attic-kopia"), "its Backup is gone");
        snapshot.target.related.repositories = vec!["shop-".repeat(14)];
        let long = snapshot.repository_labels();
        assert!(
            long.contains(&repository_label(&"shop-".repeat(14))) && !long.contains(&valid_label(&"shop-".repeat(14)))
        );
    }
}
