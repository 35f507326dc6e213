//! The objects on the way from the target to a cause, and how one leads to the next. Pure; `walk` does the walk.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    cluster::ApiKind,
    velero::{ObjectName, Owner, Pod, is_dns_name},
};

/// Objects on the way from the target to a cause, besides pods, claims and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelatedVolumes {
    /// Restored pods in which nothing looks wrong.
    pub restored: Vec<ObjectName>,
    /// Pods beyond the limits of both involved and restored ones.
    pub pods_beyond: usize,
    /// Pods that hold a claim for which the target waits, though they are not the target's.
    pub holders: Vec<ObjectName>,
    /// Controllers of the involved pods, and the controllers of these.
    pub owners: BTreeSet<(Controller, ObjectName)>,
    /// `ServiceAccounts` of the involved pods.
    pub accounts: BTreeSet<ObjectName>,
    /// `PersistentVolumes` of the claims.
    pub volumes: BTreeSet<String>,
    /// `VolumeSnapshots` of the target or of the claims, or that fill claims, outside Velero's namespace.
    pub snapshots: BTreeSet<ObjectName>,
    /// `VolumeSnapshotContents` of those, and of the data movers' own snapshots.
    pub contents: BTreeSet<String>,
    /// `VolumeGroupSnapshots` that Velero made for the Backup, or that those snapshots belong to.
    pub groups: BTreeSet<ObjectName>,
    /// `VolumeGroupSnapshotContents` of those.
    pub group_contents: BTreeSet<String>,
    /// `PriorityClasses` that Velero's and the involved pods name.
    pub priority_classes: BTreeSet<String>,
    /// `CustomResourceDefinitions` that the target's errors name.
    pub definitions: BTreeSet<String>,
}

/// A kind that creates pods, or creates their controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// `ReplicaSets`, which a Deployment may own.
    ReplicaSet,
    /// Deployments.
    Deployment,
    /// `StatefulSets`.
    StatefulSet,
    /// `DaemonSets`.
    DaemonSet,
    /// `Jobs`, which a CronJob may own.
    Job,
    /// `CronJobs`.
    CronJob,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::ReplicaSet, Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::Job, Self::CronJob];

    /// The kind as the API server has it.
    pub fn kind(self) -> ApiKind {
        let (group, plural, kind) = match self {
            Self::ReplicaSet => ("apps", "replicasets", "ReplicaSet"),
            Self::Deployment => ("apps", "deployments", "Deployment"),
            Self::StatefulSet => ("apps", "statefulsets", "StatefulSet"),
            Self::DaemonSet => ("apps", "daemonsets", "DaemonSet"),
            Self::Job => ("batch", "jobs", "Job"),
            Self::CronJob => ("batch", "cronjobs", "CronJob"),
        };
        ApiKind::namespaced(group, "v1", plural, kind)
    }

    /// The controller and its name; `None` for any other kind, even if another group's kind has the same name.
    pub(super) fn of(owner: &Owner) -> Option<(Self, String)> {
        let is = |controller: &Self| {
            let kind = controller.kind();
            owner.is(&kind.group, &kind.kind)
        };
        let controller = Self::ALL.into_iter().find(is)?;
        is_dns_name(&owner.name).then(|| (controller, owner.name.clone()))
    }

    /// It may have a controller of its own.
    pub(super) fn is_owned(self) -> bool {
        matches!(self, Self::ReplicaSet | Self::Job)
    }
}

/// A pod, with further fields that lead on.
#[derive(Clone, Debug)]
pub(super) struct PodView {
    pub pod: Pod,
    pub account: Option<String>,
    pub priority_class: Option<String>,
    pub ready: bool,
}

impl PodView {
    pub(super) fn read(object: &Value) -> Option<Self> {
        let name = |pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).filter(|name| is_dns_name(name)).map(str::to_owned)
        };
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True");
        let pod = Pod::read(object)?;
        Some(Self {
            account: name("/spec/serviceAccountName"),
            priority_class: name("/spec/priorityClassName"),
            ready: ready || pod.phase == "Succeeded",
            pod,
        })
    }
}

/// The group of VolumeSnapshots.
pub(super) const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
/// The group of snapshots of several volumes at once.
pub(crate) const GROUP_SNAPSHOTS: &str = "groupsnapshot.storage.k8s.io";
/// The label on objects that a Restore made.
pub(crate) const RESTORED_BY: &str = "velero.io/restore-name";

fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).filter(|name| is_dns_name(name)).map(str::to_owned)
}

/// A claim, projected to what leads further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClaimView {
    pub name: String,
    /// The volume that it names or is bound to.
    pub volume: Option<String>,
    /// The VolumeSnapshot in the same namespace that fills its volume.
    pub source: Option<String>,
}

impl ClaimView {
    pub(super) fn read(claim: &Value) -> Option<Self> {
        let source = |field: &str| {
            let source = &claim["spec"][field];
            let is_snapshot = source["apiGroup"] == SNAPSHOTS && source["kind"] == "VolumeSnapshot";
            // A snapshot of another namespace would need a permission there.
            let beside = source["namespace"].is_null() || source["namespace"] == claim["metadata"]["namespace"];
            if is_snapshot && beside { text(source, "/name") } else { None }
        };
        Some(Self {
            name: text(claim, "/metadata/name")?,
            volume: text(claim, "/spec/volumeName"),
            source: source("dataSource").or_else(|| source("dataSourceRef")),
        })
    }
}

/// A VolumeSnapshot, projected to what leads further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VolumeSnapshotView {
    pub name: String,
    /// The claim that it was taken from.
    pub claim: Option<String>,
    pub content: Option<String>,
    /// The VolumeGroupSnapshot in the same namespace that it belongs to.
    pub group: Option<String>,
}

impl VolumeSnapshotView {
    pub(super) fn read(snapshot: &Value) -> Option<Self> {
        let content = ["/status/boundVolumeSnapshotContentName", "/spec/source/volumeSnapshotContentName"];
        Some(Self {
            name: text(snapshot, "/metadata/name")?,
            claim: text(snapshot, "/spec/source/persistentVolumeClaimName"),
            content: content.iter().find_map(|pointer| text(snapshot, pointer)),
            group: text(snapshot, "/status/volumeGroupSnapshotName"),
        })
    }
}

/// Name and content of a VolumeGroupSnapshot: Velero makes them for a Backup.
pub(super) fn read_group(group: &Value) -> Option<(String, Option<String>)> {
    let content = ["/status/boundVolumeGroupSnapshotContentName", "/spec/source/volumeGroupSnapshotContentName"];
    Some((text(group, "/metadata/name")?, content.into_iter().find_map(|pointer| text(group, pointer))))
}

/// The controller of an object.
pub(super) fn read_owner(object: &Value) -> Option<(Controller, String)> {
    Controller::of(&Owner::of(object)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_controller_is_known_by_group_and_kind() {
        let of = |version: &str, kind: &str| {
            let owner = json!({"apiVersion": version, "kind": kind, "name": "herd", "controller": true});
            read_owner(&json!({"metadata": {"ownerReferences": [{"kind": "Job"}, owner]}}))
        };
        let herd = |controller| Some((controller, "herd".to_owned()));
        assert_eq!(of("apps/v1", "Deployment"), herd(Controller::Deployment));
        assert_eq!(of("batch/v1", "Job"), herd(Controller::Job));
        for (version, kind) in [
            ("batch.volcano.sh/v1alpha1", "Job"),
            ("extensions.example.io/v1", "Deployment"),
            ("v1", "ReplicaSet"),
            ("apps/v1", "Job"),
        ] {
            assert_eq!(of(version, kind), None, "{version} {kind}");
        }
    }

    #[test]
    fn a_claim_leads_to_the_snapshot_beside_it_that_it_is_filled_from() {
        let of = |spec: Value| {
            let claim = json!({"metadata": {"name": "ledger", "namespace": "shop"}, "spec": spec});
            ClaimView::read(&claim).expect("it has a name").source
        };
        let from = |group: &str, kind: &str| json!({"apiGroup": group, "kind": kind, "name": "friday"});
        let friday = Some("friday".to_owned());
        assert_eq!(of(json!({"dataSource": from(SNAPSHOTS, "VolumeSnapshot")})), friday);
        let mut beside = from(SNAPSHOTS, "VolumeSnapshot");
        for (namespace, expected) in [(json!(null), friday.clone()), (json!("shop"), friday), (json!("farm"), None)] {
            beside["namespace"] = namespace;
            assert_eq!(of(json!({"dataSourceRef": beside})), expected);
        }
        assert_eq!(of(json!({"dataSource": from("", "PersistentVolumeClaim")})), None);
        assert_eq!(of(json!({"dataSource": from("backup.example.io", "VolumeSnapshot")})), None);
        assert_eq!(of(json!({"dataSource": 7})), None);
    }
    #[test]
    fn a_group_tells_its_content_bound_or_given() {
        let of = |spec: Value, status: Value| {
            read_group(&json!({"metadata": {"name": "velero-shop-x"}, "spec": spec, "status": status})).unwrap().1
        };
        let given = json!({"source": {"volumeGroupSnapshotContentName": "given"}});
        let bound = json!({"boundVolumeGroupSnapshotContentName": "bound"});
        assert_eq!(of(given.clone(), bound).as_deref(), Some("bound"));
        assert_eq!(of(given, json!({})).as_deref(), Some("given"));
        assert_eq!(of(json!({"source": {"selector": {}}}), Value::Null), None);
        assert_eq!(read_group(&json!({"metadata": {"name": "../x"}})), None);
    }
}
