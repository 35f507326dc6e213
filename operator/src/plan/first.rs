//! What belongs to the target among the objects of Velero's namespace, kind by kind: it comes first in each List.
//! `namespaces` and `cluster` plan what is beyond that namespace.

use std::collections::BTreeSet;

use debugbundle_crd::TargetKind;

use super::{First, Planner, Want};
use crate::{
    cluster::ApiKind,
    velero::{PodRole, TargetObject, valid_label},
};

impl Planner<'_> {
    /// The order of a List in Velero's namespace.
    pub(super) fn first(&self, kind: &ApiKind) -> Want {
        let first = self.belongs(kind.plural.as_str());
        if first.is_empty() { Want::All } else { Want::First(first) }
    }

    /// The order of a List of the vSphere plugin's snapshots: those of the target's Backup carry its name.
    pub(super) fn first_beside(&self) -> Want {
        let own = self.snapshot.target.object.iter().filter(|target| target.kind == TargetKind::Backup);
        let names =
            own.chain(&self.snapshot.target.backup).map(|backup| ("velero.io/backup-name", valid_label(&backup.name)));
        let labels: Vec<_> = names.collect();
        if labels.is_empty() { Want::All } else { Want::First(First { labels, ..First::default() }) }
    }

    fn belongs(&self, plural: &str) -> First {
        let snapshot = self.snapshot;
        let Some(target) = &snapshot.target.object else { return self.failed(plural) };
        let its_backup = |kind| snapshot.target.backup.as_ref().filter(|_| kind == TargetKind::Backup);
        let of = |kind: TargetKind| if target.kind == kind { Some(target) } else { its_backup(kind) };
        let (backup, kin) = (of(TargetKind::Backup), &snapshot.target.related);
        let named = |names: Vec<String>| First { names: names.into_iter().collect(), ..First::default() };
        match plural {
            "backups" => {
                let own = backup.map(|backup| backup.name.clone());
                named(own.into_iter().chain(kin.backups.clone()).chain(self.ahead("Backup")).collect())
            }
            "restores" => {
                let own = of(TargetKind::Restore).map(|restore| restore.name.clone());
                named(own.into_iter().chain(kin.restores.clone()).chain(self.ahead("Restore")).collect())
            }
            "schedules" => named(kin.schedule.iter().cloned().collect()),
            "backuprepositories" => named(kin.repositories.clone()),
            "backupstoragelocations" => named(snapshot.location_name().map(str::to_owned).into_iter().collect()),
            "volumesnapshotlocations" => named(backup.map(snapshot_locations).unwrap_or_default()),
            "deletebackuprequests" => labelled(backup, "velero.io/backup-uid", "velero.io/backup-name"),
            "podvolumebackups" | "datauploads" => {
                self.data(plural, backup, "velero.io/backup-uid", "velero.io/backup-name")
            }
            "podvolumerestores" | "datadownloads" => {
                self.data(plural, of(TargetKind::Restore), "velero.io/restore-uid", "velero.io/restore-name")
            }
            "jobs" => {
                let of_repository = |label: String| ("velero.io/repo-name", label);
                First {
                    labels: snapshot.repository_labels().into_iter().map(of_repository).collect(),
                    ..First::default()
                }
            }
            "pods" => named(self.veleros_pods()),
            "persistentvolumeclaims" | "volumesnapshots" => {
                let cache = snapshot.target.data.iter().map(|object| format!("{}-cache", object.name));
                named(snapshot.target.data.iter().map(|object| object.name.clone()).chain(cache).collect())
            }
            _ => First::default(),
        }
    }

    /// What Velero takes up before the target.
    fn ahead(&self, kind: &str) -> Vec<String> {
        let of_kind = self.snapshot.target.queue.ahead.iter().filter(|object| object["kind"] == kind);
        of_kind.filter_map(|object| object["metadata"]["name"].as_str()).map(str::to_owned).collect()
    }

    /// Without a target: what failed last, so that no limit drops it.
    fn failed(&self, plural: &str) -> First {
        let kind = match plural {
            "backups" => "Backup",
            "restores" => "Restore",
            _ => return First::default(),
        };
        let failed = self.snapshot.target.failed.iter().filter(|object| object["kind"] == kind);
        let names = failed.filter_map(|object| object["metadata"]["name"].as_str()).map(str::to_owned);
        First { names: names.collect(), ..First::default() }
    }

    /// By UID; objects of an older Velero lack that label, and are found by the names in the snapshot.
    fn data(&self, plural: &str, of: Option<&TargetObject>, uid: &'static str, name: &'static str) -> First {
        let Some(of) = of else { return First::default() };
        let own = self.snapshot.target.data.iter().filter(|object| object.plural == plural);
        First {
            names: own.map(|object| object.name.clone()).collect::<BTreeSet<_>>(),
            labels: vec![(uid, of.uid.clone())],
            narrow: Some((name, valid_label(&of.name))),
        }
    }

    fn veleros_pods(&self) -> Vec<String> {
        let wanted = |role: PodRole| {
            matches!(role, PodRole::Server | PodRole::DataMover | PodRole::NodeAgent { involved: true })
        };
        self.snapshot.installation.pods.iter().filter(|pod| wanted(pod.role)).map(|pod| pod.name.clone()).collect()
    }
}

fn labelled(of: Option<&TargetObject>, uid: &'static str, name: &'static str) -> First {
    let Some(of) = of else { return First::default() };
    First { labels: vec![(uid, of.uid.clone()), (name, valid_label(&of.name))], ..First::default() }
}

fn snapshot_locations(backup: &TargetObject) -> Vec<String> {
    let names = backup.raw.pointer("/spec/volumeSnapshotLocations").and_then(serde_json::Value::as_array);
    names.into_iter().flatten().filter_map(|name| name.as_str()).map(str::to_owned).collect()
}
