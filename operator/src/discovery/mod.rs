//! What the cluster contains: Velero, the target, what belongs to it, and where. Each step takes the value of the step
//! before and returns the next one, so that none is used before it is whole. They read just enough for the plan;
//! `collect` puts the objects themselves into the bundle.
//!
//! ```text
//! spec ─ locate ─▶ Located ─ choose ─▶ Chosen ─ files ─▶ WithFiles ─ walk ─▶ Walked ─ finish ─▶ Snapshot
//!                     │         │                                      │
//!                     ▼         others, related                        restored_namespaces, around
//!            opens the store
//! ```
//!
//! * `locate`: the target, its Backup and data, Velero's server and the locations. With them the caller opens the store.
//! * `choose`: Velero's workloads, the first namespaces, unhealthy pods; `related`: Schedule, Backups, Restores and
//!   repositories of the target; `others`: why Velero does not begin with it, or, without a target, what failed last.
//! * `files`: what the target's own files name; `volume_refs`: the volumes and snapshots among it.
//! * `walk`: from the data to pods, nodes and what is `around` them: owners, claims, volumes; `restored_namespaces`:
//!   namespaces that a Restore wrote to and its spec omits.
//! * `finish`: nodes that no pod leads to, and the node agents that work on what waits.
//!
//! `reader` asks the API server, bounded, and records what it could not read; `served` knows the kinds that it serves.
//! Pure: `namespaces` (where to look), `pod_filter` (which pods), `related_volumes` (how one object leads to the next).

mod around;
mod choose;
mod files;
mod finish;
#[cfg(test)]
pub(crate) mod fixture;
mod locate;
mod namespaces;
mod others;
mod pod_filter;
mod reader;
#[cfg(test)]
mod recorded;
mod related;
mod related_volumes;
mod restored_namespaces;
mod served;
#[cfg(test)]
mod tests;
mod volume_refs;
mod walk;

use std::{collections::BTreeSet, time::Duration};

use debugbundle_crd::DebugBundleSpec;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    cluster::{ApiKind, Cluster, ClusterError},
    velero::{DataObject, ObjectName, Pod, StoreFiles, TargetObject, Workload},
};

pub use locate::{InventoryError, Located, Locations, VeleroServer, locate, locations};
pub use namespaces::{Omitted, Relevance, Scope};
pub use others::Queue;
pub(crate) use others::failed_among;
pub use related::RelatedObjects;
pub use related_volumes::{Controller, RelatedVolumes};
pub(crate) use related_volumes::{GROUP_SNAPSHOTS, RESTORED_BY};
pub use restored_namespaces::Unnamed;
pub use served::{DISCOVERY, Served};

use reader::DiscoveryReader;

/// The most pods of Velero's namespace whose logs are read.
const PODS: usize = 5000;
/// Largest single object that is read (bytes); etcd stores none that is larger.
const OBJECT: usize = 4 << 20;
/// The most time for reading the target's files, and the least time for reading the namespaces that they name.
const FILES: Duration = Duration::from_secs(30);

/// A namespace besides Velero's, and why it is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceCandidate {
    /// Its name.
    pub namespace: String,
    /// The object that leads there, or `spec.namespaces`.
    pub why: String,
    /// How near it is to a cause.
    pub relevance: Relevance,
    /// All its pods are wanted, not only the involved ones.
    pub whole: bool,
    /// Whether it is looked into, and if not, why.
    pub looked: Looked,
}

/// Whether a namespace is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Yes.
    Yes,
    /// It is not in the operator's allow-list.
    NotAllowed,
    /// There are too many.
    TooMany,
}

/// Something that could not be read; the bundle reports it.
#[derive(Clone, Debug)]
pub struct Unread {
    /// In words.
    pub what: String,
    /// The kind that was read.
    pub kind: ApiKind,
    /// Empty: the whole cluster.
    pub namespace: String,
    /// Why it could not be read.
    pub why: ClusterError,
}

/// A kind with more objects than are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The kind, as in a path.
    pub plural: String,
    /// Where they are; empty: in the cluster.
    pub namespace: String,
    /// How many are followed, in words.
    pub told: String,
}

/// What the cluster contains, for one bundle. It does not change once [`discover`] returned it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where the operator may look.
    pub scope: Scope,
    /// Velero, and the API server that it runs on.
    pub installation: Installation,
    /// The target and what belongs to it.
    pub target: DiscoveredTarget,
    /// What the target leads to outside its own objects.
    pub namespaces: Namespaces,
    /// What could not be read, or not whole.
    pub gaps: Gaps,
}

/// Velero, and the API server that it runs on.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Velero's namespace.
    pub namespace: String,
    /// What the API server serves.
    pub served: Served,
    /// The API server's own version (`/version`), if it answered.
    pub kubernetes: Option<Value>,
    /// All BackupStorageLocations, unredacted: for memory only.
    pub locations: Vec<Value>,
    /// The server's version in the newest ServerStatusRequest; these live for minutes only.
    pub reported_version: Option<String>,
    /// Deployments that are Velero's server.
    pub servers: Vec<Workload>,
    /// The ServiceAccounts of these.
    pub server_accounts: BTreeSet<String>,
    /// DaemonSets that are Velero's node agents.
    pub node_agents: Vec<Workload>,
    /// The pods of Velero's namespace.
    pub pods: Vec<Pod>,
}

/// The target and what belongs to it in Velero's namespace.
#[derive(Clone, Debug, Default)]
pub struct DiscoveredTarget {
    /// The Backup or Restore; `None` for the installation as a whole.
    pub object: Option<TargetObject>,
    /// The Backup of a target that is a Restore, if it still exists.
    pub backup: Option<TargetObject>,
    /// PodVolumeBackups and -Restores, DataUploads and -Downloads of the target.
    pub data: Vec<DataObject>,
    /// What else belongs to the target.
    pub related: RelatedObjects,
    /// What Velero takes up before the target.
    pub queue: Queue,
    /// Without a target: the newest failed Backups and Restores, each with the fields about its failure, unredacted.
    pub failed: Vec<Value>,
}

/// The namespaces that the target leads to, and what in them is on the way to a cause.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// Namespaces besides Velero's.
    pub candidates: Vec<NamespaceCandidate>,
    /// Namespaces that are neither looked into nor listed.
    pub omitted: Omitted,
    /// Set if the target did not finish, and its spec covers namespaces that it does not name.
    pub unnamed: Option<Unnamed>,
    /// Pods in those namespaces that are on the way from the target to a cause.
    pub involved: Vec<ObjectName>,
    /// Those of them that exist and that the target leads to, sorted by name.
    pub involved_pods: Vec<Pod>,
    /// Unhealthy pods of the namespaces that were requested whole.
    pub unhealthy: Vec<Pod>,
    /// Claims of those pods and of the target's data.
    pub claims: Vec<ObjectName>,
    /// Nodes of these pods, volumes and data.
    pub nodes: BTreeSet<String>,
    /// What else is on the way to a cause: owners, volumes, snapshots.
    pub volumes: RelatedVolumes,
}

/// What could not be read, or not whole.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// Kinds with more objects than are followed.
    pub cut: Vec<Cut>,
}

impl Snapshot {
    /// The BackupStorageLocation of the target, by name; for the installation, the default one.
    pub fn location_name(&self) -> Option<&str> {
        let DiscoveredTarget { object, backup, data, .. } = &self.target;
        let wanted = locate::location_of(object.as_ref(), backup.as_ref(), data);
        let is_meant = |location: &&Value| match wanted {
            Some(wanted) => location.pointer("/metadata/name").is_some_and(|name| name == wanted),
            None => location.pointer("/spec/default").is_some_and(|default| default == true),
        };
        let location = self.installation.locations.iter().find(is_meant)?;
        location.pointer("/metadata/name").and_then(Value::as_str)
    }
}

/// Discovers what is around the target that [`locate`] found, until `soon`, or half a minute after the target's files
/// were read, but never after `deadline`. `files` are the target's own files in the object store.
pub async fn discover(
    cluster: &Cluster,
    mut located: Located,
    spec: &DebugBundleSpec,
    files: Option<&dyn StoreFiles>,
    soon: Instant,
    deadline: Instant,
) -> Snapshot {
    let (namespace, gaps) = (located.namespace.clone(), std::mem::take(&mut located.gaps));
    let mut reader = DiscoveryReader::new(cluster, &namespace, soon).with(gaps);
    let chosen = choose::choose(&reader, located, spec).await;
    let with_files = files::with_files(chosen, files, cluster.idle(), deadline.min(Instant::now() + FILES)).await;
    reader.deadline = soon.max(Instant::now() + FILES).min(deadline);
    let walked = walk::walk(&reader, with_files).await;
    finish::finish(reader, walked).await
}
