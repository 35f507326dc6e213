//! What the walk from the target to a cause leads past, and how one object there leads to the next. Pure; who walks is
//! `follow`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ObjectName, Pod, is_dns_name};
use crate::cluster::ApiKind;

/// What the way from the target to a cause leads past, besides pods, claims and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Pods that were restored, and in which nothing looks wrong.
    pub restored: Vec<ObjectName>,
    /// Pods that found no room among either.
    pub pods_beyond: usize,
    /// Pods that hold a claim for which the target waits, though nothing of the target is in them.
    pub holders: Vec<ObjectName>,
    /// Controllers of the involved pods, and theirs.
    pub owners: BTreeSet<(Controller, ObjectName)>,
    /// `ServiceAccounts` of the involved pods.
    pub accounts: BTreeSet<ObjectName>,
    /// `PersistentVolumes` of the claims.
    pub volumes: BTreeSet<String>,
    /// `VolumeSnapshots` of the target or of the claims, outside Velero's namespace.
    pub snapshots: BTreeSet<ObjectName>,
    /// `VolumeSnapshotContents` of those, and of the data movers' own snapshots.
    pub contents: BTreeSet<String>,
    /// `PriorityClasses` that Velero's and the involved pods name.
    pub priority_classes: BTreeSet<String>,
    /// `ServiceAccounts` of Velero's server.
    pub server_accounts: BTreeSet<String>,
    /// Namespaces that were walked through.
    pub(super) walked: BTreeSet<String>,
    /// Claims there that were named afterwards.
    pub(super) late: BTreeMap<String, BTreeSet<String>>,
}

/// A kind that makes pods, or makes what makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Of Deployments.
    ReplicaSet,
    /// Deployments.
    Deployment,
    /// `StatefulSets`.
    StatefulSet,
    /// `DaemonSets`.
    DaemonSet,
    /// Of `CronJobs`, or of nobody.
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

    pub(super) fn named(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|controller| controller.kind().kind == kind)
    }

    /// It may have a controller of its own.
    pub(super) fn is_owned(self) -> bool {
        matches!(self, Self::ReplicaSet | Self::Job)
    }
}

/// A pod, and what else of it leads further.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub pod: Pod,
    pub account: Option<String>,
    pub priority_class: Option<String>,
    pub ready: bool,
}

impl Seen {
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

/// The label of what a Restore made.
pub(super) const RESTORED_BY: &str = "velero.io/restore-name";

fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).filter(|name| is_dns_name(name)).map(str::to_owned)
}

/// Name, and the volume it is bound to or names.
pub(super) fn read_claim(claim: &Value) -> Option<(String, Option<String>)> {
    Some((text(claim, "/metadata/name")?, text(claim, "/spec/volumeName")))
}

/// Name, the claim it was taken of, and its content.
pub(super) fn read_snapshot(snapshot: &Value) -> Option<(String, Option<String>, Option<String>)> {
    let content = ["/status/boundVolumeSnapshotContentName", "/spec/source/volumeSnapshotContentName"];
    Some((
        text(snapshot, "/metadata/name")?,
        text(snapshot, "/spec/source/persistentVolumeClaimName"),
        content.iter().find_map(|pointer| text(snapshot, pointer)),
    ))
}

/// The controller of an object.
pub(super) fn read_owner(object: &Value) -> Option<(Controller, String)> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Some((Controller::named(owner["kind"].as_str()?)?, text(owner, "/name")?))
}
