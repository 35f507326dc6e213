//! What the cluster contains: Velero, the target, what belongs to it, and where. [`locate`] finds the target and the
//! installation, [`discover`] what is around them; both read just enough for the plan. `collect` puts the objects
//! themselves into the bundle.
//!
//! * `reader`: asks the API server, bounded, and records what it could not read.
//! * `locate`: the target, its Backup and data, Velero's server and the locations; `scope`: where it may look.
//! * `target_files`, `resource_list`: what the target's own files name; `volume_refs`: volumes and snapshots among it.
//! * `walk`: from the data to pods, nodes and what is `around` them: owners, claims, volumes; `pod_filter`: which
//!   pods; `related_volumes`: the objects on that way.
//! * `nodes`: nodes that no pod leads to; `groups`: snapshots of several volumes at once.
//! * `namespaces`: chooses the namespaces to look into; `restored_namespaces`: finds namespaces that a Restore wrote to
//!   and its spec omits; `requested_pods`: unhealthy pods of requested namespaces.
//! * `related`: Schedule, Backups, Restores and repositories of the target; `queue`: why Velero does not begin with it;
//!   `failed`: without a target, the Backups and Restores that failed last.
//! * `served`: the kinds that the API server serves; `top_n`: the most relevant of too many objects.

mod around;
mod failed;
#[cfg(test)]
pub(crate) mod fixture;
mod groups;
mod locate;
mod namespaces;
mod nodes;
mod pod_filter;
mod queue;
mod reader;
#[cfg(test)]
mod recorded;
mod related;
mod related_volumes;
mod requested_pods;
mod resource_list;
mod restored_namespaces;
mod scope;
mod served;
mod target_files;
#[cfg(test)]
mod tests;
mod top_n;
mod volume_refs;
mod walk;

use std::{collections::BTreeSet, time::Duration};

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    cluster::{ApiKind, Cluster, ClusterError},
    velero::{DataObject, ObjectName, Pod, StoreFiles, TargetObject, Workload, target::SpecNamespaces, workloads},
};

pub(crate) use groups::GROUP as GROUP_SNAPSHOTS;
pub use locate::{Locations, TargetRefs, VeleroServer, locate, locations};
pub use namespaces::{Omitted, Relevance};
pub use queue::Queue;
pub use related::RelatedObjects;
pub(crate) use related_volumes::RESTORED_BY;
pub use related_volumes::{Controller, RelatedVolumes};
pub use restored_namespaces::Unnamed;
pub use scope::{InventoryError, Scope};
pub use served::{DISCOVERY, Served};

use namespaces::NamespaceSelection;
use reader::DiscoveryReader;
use related_volumes::PodView;

/// The most namespaces besides Velero's that a target may lead to.
const TOUCHED: usize = 32;
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
    /// CustomResourceDefinitions that its errors name.
    pub definitions: BTreeSet<String>,
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

impl Namespaces {
    fn selection<'a>(&'a mut self, velero: &'a str, scope: &'a Scope) -> NamespaceSelection<'a> {
        let Self { candidates, omitted, .. } = self;
        NamespaceSelection { candidates, omitted, velero, scope, most: TOUCHED }
    }
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

    /// Adds namespaces that the target leads to, as far as scope and limit allow, and counts `beyond` further ones. This
    /// involves none of their pods.
    pub(crate) fn touch(&mut self, namespaces: &[String], beyond: u64, why: &str, relevance: Relevance) {
        self.namespaces.selection(&self.installation.namespace, &self.scope).touch(namespaces, why, relevance);
        self.namespaces.omitted.add_unnamed(beyond);
    }

    /// Adds the namespaces in the spec of a target that did not finish. It may wait for a hook, or for a namespace that
    /// stays terminating, and its data shows only where it has been. `results_lead`: its results name namespaces.
    fn touch_named(&mut self, results_lead: bool) {
        let DiscoveredTarget { object, backup, .. } = &self.target;
        if let Some(target) = object.as_ref().filter(|target| target.is_unfinished(results_lead)) {
            let why = format!("spec of {} {}", target.kind, target.name);
            let SpecNamespaces { names, others } = target.namespaces_of_spec(backup.as_ref());
            let hooked = target.hooks_of_backup();
            self.namespaces.unnamed = others.then_some(Unnamed::NotLooked);
            for namespaces in [hooked, names] {
                self.touch(&namespaces, 0, &why, Relevance::Named);
            }
        }
    }
}

/// Discovers what is around the target that [`locate`] found, until `soon`, or half a minute after the target's files
/// were read, but never after `deadline`. `files` are the target's own files in the object store.
pub async fn discover(
    cluster: &Cluster,
    refs: TargetRefs,
    spec: &DebugBundleSpec,
    files: Option<&dyn StoreFiles>,
    soon: Instant,
    deadline: Instant,
) -> Snapshot {
    let TargetRefs { namespace, scope, served, object, backup, data, locations, gaps } = refs;
    let mut reader = DiscoveryReader::new(cluster, &namespace, soon).with(gaps);
    let kubernetes = cluster.get("/version", 64 << 10, soon).await.ok();
    let reported_version = reader.reported_version(&served).await;
    let daemons = ApiKind::namespaced("apps", "v1", "daemonsets", "DaemonSet");
    let node_agents = reader.all(&daemons, None, PODS, |daemon| workloads::node_agent_workload(&daemon)).await;
    let pods = ApiKind::namespaced("", "v1", "pods", "Pod");
    let pods = reader.all(&pods, None, PODS, |pod| PodView::read(&pod)).await;
    let Locations { all: locations, servers } = locations;
    let mut volumes = RelatedVolumes::default();
    volumes.server_accounts.extend(servers.iter().filter_map(VeleroServer::account));
    volumes.priority_classes.extend(pods.iter().filter_map(|seen| seen.priority_class.clone()));
    let mut pods: Vec<Pod> = pods.into_iter().map(|seen| seen.pod).collect();
    let servers: Vec<Workload> = servers.into_iter().map(|server| server.workload).collect();
    let agents = Some(node_agents.as_slice()).filter(|agents| !agents.is_empty() || !reader.has_lost(&daemons));
    // An empty list counts only if it could be read.
    let of_target =
        Some(data.as_slice()).filter(|data| object.is_some() && (!data.is_empty() || !reader.has_lost_data()));
    if workloads::assign_roles(&mut pods, &servers, agents, of_target) {
        reader.is_cut("node-agents", &namespace, workloads::told_of_candidates());
    }
    let mut target = DiscoveredTarget { object, backup, data, ..DiscoveredTarget::default() };
    match &target.object {
        Some(object) => {
            target.related = reader.related(&served, object, target.backup.as_ref(), &target.data).await;
            target.queue = reader.queue(&served, object).await;
        }
        None => target.failed = reader.failed(&served).await,
    }
    let installation = Installation {
        namespace: namespace.clone(),
        served,
        kubernetes,
        locations,
        reported_version,
        servers,
        node_agents,
        pods,
    };
    let namespaces = Namespaces { volumes, ..Namespaces::default() };
    let mut snapshot = Snapshot { scope, installation, target, namespaces, gaps: Gaps::default() };
    snapshot.choose_namespaces(spec);
    snapshot.namespaces.unhealthy = reader.unhealthy(&snapshot.namespaces.candidates).await;
    let results_lead = match files {
        Some(files) => snapshot.take_up_files(files, cluster.idle(), deadline.min(Instant::now() + FILES)).await,
        None => false,
    };
    snapshot.touch_named(results_lead);
    reader.deadline = soon.max(Instant::now() + FILES).min(deadline);
    reader.look_for_restored(&mut snapshot).await;
    reader.velero_namespace(&mut snapshot).await;
    reader.walk_all(&mut snapshot).await;
    reader.nodes_beyond_pods(&mut snapshot).await;
    snapshot.involve_agents();
    snapshot.gaps = reader.gaps();
    snapshot
}

impl Snapshot {
    /// The namespaces that data, hooks and the spec of the DebugBundle lead to.
    fn choose_namespaces(&mut self, spec: &DebugBundleSpec) {
        let Self { scope, installation, target, namespaces, .. } = self;
        let mut selection = namespaces.selection(&installation.namespace, scope);
        selection.touch_data(&target.data);
        selection.ask_for(&spec.namespaces);
        if let Some(object) = &target.object {
            let why = format!("hooks of {} {}", object.kind, object.name);
            selection.touch(&object.hooked_namespaces(), &why, Relevance::Named);
        }
    }

    /// Adds what the target's files name, in this order: claims and snapshots of failed volumes and operations; namespaces
    /// in its results, whose quotas and events may explain the failure, though a warning may name many; namespaces in a
    /// Restore's resource list, where restored pods may not come up. Returns whether the results name any.
    async fn take_up_files(&mut self, files: &dyn StoreFiles, idle: Duration, until: Instant) -> bool {
        let object = self.target.object.as_ref().filter(|object| object.files_may_be_there());
        let Some((kind, name, phase)) = object.map(|object| (object.kind, object.name.clone(), object.phase.clone()))
        else {
            return false;
        };
        let refs = target_files::volume_refs(files, kind, &name, idle, until).await;
        self.take_up_refs(&refs, &format!("volume info or item operations of {kind} {name}"));
        let mut results_lead = false;
        if phase != "Completed" {
            let (troubled, named) = target_files::troubled(files, kind, &name, idle, until).await;
            results_lead = !troubled.texts.is_empty();
            let why = format!("results of {kind} {name}");
            self.take_up_refs(&named, &why);
            self.touch(&troubled.texts, troubled.left_out, &why, Relevance::Trouble);
        }
        if kind == TargetKind::Restore {
            let (restored, more) = resource_list::restored_namespaces(files, &name, idle, until).await;
            let why = format!("resource list of {kind} {name}");
            self.touch(&restored, u64::from(more), &why, Relevance::Named);
        }
        results_lead
    }
}
