//! What the cluster contains: Velero, the target, what belongs to it, and where. Reads just enough for the plan;
//! `collect` puts the objects themselves into the bundle.
//!
//! * `reader`: asks the API server, and reads the target and its data; `related`: what else belongs to the target.
//! * `scope`: where it may look, and the errors that leave no inventory at all.
//! * `follow`: from the data to pods, nodes and what is `around` them: owners, claims, volumes; `pod_filter`: which
//!   pods; `related_volumes`: the objects on that way.
//! * `nodes`: nodes that no pod leads to; `groups`: snapshots of several volumes at once.
//! * `namespaces`: which namespaces are looked into; `top_n`: the most relevant of too many objects.
//! * `failed`: without a target, the Backups and Restores that failed last.
//! * `queue`: why Velero does not begin with the target.
//! * `hooks`: the containers of a pod in which hooks run.
//! * `requested_pods`: unhealthy pods of requested namespaces; `volume_refs`: objects that the target's own files name.
//! * `restore_source`: the Backup of a Restore that names a Schedule, and which data is the target's own.
//! * `restored_namespaces`: namespaces that a Restore wrote to, where its spec does not name them all.
//! * `data_objects`, `target`, `pods`, `workloads`, `discovery`, `label`: each parses one answer, without I/O.

mod around;
mod data_objects;
mod discovery;
mod failed;
#[cfg(test)]
pub(crate) mod fixture;
mod follow;
mod groups;
mod hooks;
mod label;
mod namespaces;
mod nodes;
mod pod_filter;
mod pods;
mod queue;
mod reader;
mod related;
mod related_volumes;
mod requested_pods;
mod restore_source;
mod restored_namespaces;
mod scope;
mod target;
mod top_n;
mod volume_refs;
mod workloads;

use std::{collections::BTreeSet, time::Duration};

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{ApiKind, Cluster, ClusterError};

pub use data_objects::{DataObject, ObjectName, is_dns_name};
pub use discovery::{DISCOVERY, Served};
pub(crate) use groups::GROUP as GROUP_SNAPSHOTS;
pub use hooks::hooked;
pub use label::{repository_label, valid_label};
pub use namespaces::{Omitted, Relevance};
pub use pods::{Container, ContainerType, Owner, Pod, PodRole};
pub use queue::{Queue, ServerIdle};
pub use related::RelatedObjects;
pub(crate) use related_volumes::RESTORED_BY;
pub use related_volumes::{Controller, RelatedVolumes};
pub use restore_source::{Candidate, is_data_of};
pub use restored_namespaces::Unnamed;
pub use scope::{InventoryError, Scope};
pub use target::TargetObject;
pub use volume_refs::{ObjectRef, ObjectRefs};
pub use workloads::{Workload, server_workload};

use discovery::VELERO;
use namespaces::NamespaceSelection;
use reader::DiscoveryReader;
use related_volumes::PodView;
use target::SpecNamespaces;

/// The most namespaces besides Velero's that a target may lead to.
const TOUCHED: usize = 32;
/// The most pods of Velero's namespace whose logs are read.
const PODS: usize = 5000;
/// Largest single object that is read (bytes); etcd stores none that is larger.
const OBJECT: usize = 4 << 20;

/// A namespace besides Velero's, and why it is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceCandidate {
    /// Its name.
    pub namespace: String,
    /// The object that leads there, or `spec.namespaces`.
    pub why: String,
    /// How near it is to a cause.
    pub nearness: Relevance,
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

/// What the inventory found.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// Velero's namespace.
    pub namespace: String,
    /// Where the operator may look.
    pub scope: Scope,
    /// What the API server serves.
    pub served: Served,
    /// The API server's own version (`/version`), if it answered.
    pub kubernetes: Option<Value>,
    /// The target; `None` for the installation as a whole.
    pub target: Option<TargetObject>,
    /// The Backup of a target that is a Restore, if it still exists.
    pub backup: Option<TargetObject>,
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
    /// PodVolumeBackups and -Restores, DataUploads and -Downloads of the target.
    pub data: Vec<DataObject>,
    /// What else belongs to the target.
    pub kin: RelatedObjects,
    /// Without a target: the newest failed Backups and Restores, each with the fields about its failure, unredacted.
    pub failed: Vec<Value>,
    /// What Velero takes up before the target.
    pub queue: Queue,
    /// Namespaces besides Velero's.
    pub touched: Vec<NamespaceCandidate>,
    /// Namespaces that are neither looked into nor listed.
    pub further: Omitted,
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
    pub trail: RelatedVolumes,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// Kinds with more objects than are followed.
    pub cut: Vec<Cut>,
    /// Set if the target did not finish, and its spec covers namespaces that it does not name.
    pub unnamed: Option<Unnamed>,
}

impl Inventory {
    /// The BackupStorageLocation of the target, by name; for the installation, the default one.
    pub fn location_name(&self) -> Option<&str> {
        let of = |target: &Option<TargetObject>| -> Option<String> { target.as_ref()?.storage_location.clone() };
        // The data of a Restore names the location even if its Backup is gone.
        let of_data = || self.target.as_ref().and_then(|_| self.data.iter().find_map(|object| object.location.clone()));
        let wanted = of(&self.backup).or_else(|| of(&self.target)).or_else(of_data);
        self.locations
            .iter()
            .find(|location| match &wanted {
                Some(wanted) => location.pointer("/metadata/name").and_then(Value::as_str) == Some(wanted),
                None => location.pointer("/spec/default").and_then(Value::as_bool) == Some(true),
            })
            .and_then(|location| location.pointer("/metadata/name").and_then(Value::as_str))
    }

    /// Adds namespaces that the target's own files name, as far as scope and limit allow, and counts `beyond` further
    /// ones. This involves none of their pods.
    pub fn touch(&mut self, namespaces: &[String], beyond: u64, why: &str, nearness: Relevance) {
        self.places().touch(namespaces, why, nearness);
        self.further.add_unnamed(beyond);
    }

    fn places(&mut self) -> NamespaceSelection<'_> {
        let Self { touched, further, namespace, scope, .. } = self;
        NamespaceSelection { touched, further, velero: namespace, scope, most: TOUCHED }
    }

    /// Adds the namespaces in the spec of a target that did not finish. It may wait for a hook, or for a namespace that
    /// stays terminating, and its data shows only where it has been. `results_lead`: its results name namespaces.
    pub fn touch_named(&mut self, results_lead: bool) {
        if let Some(target) = self.target.as_ref().filter(|target| target.is_unfinished(results_lead)) {
            let why = format!("spec of {} {}", target.kind, target.name);
            let SpecNamespaces { names, others } = target.namespaces_of_spec(self.backup.as_ref());
            let hooked = target.hooks_of_backup();
            self.unnamed = others.then_some(Unnamed::NotLooked);
            for namespaces in [hooked, names] {
                self.touch(&namespaces, 0, &why, Relevance::Named);
            }
        }
    }
}

/// Takes the inventory within `limit`, without the target's files; [`follow`] completes it.
///
/// # Errors
/// A requested namespace outside the scope, no such target, no Velero, or an API server that returns no target.
pub async fn take(
    cluster: &Cluster,
    namespace: &str,
    spec: &DebugBundleSpec,
    scope: Scope,
    limit: Duration,
) -> Result<Inventory, InventoryError> {
    scope.check(&spec.namespaces, namespace)?;
    let look = DiscoveryReader::new(cluster, namespace, Instant::now() + limit);
    let served = look.served().await?;
    if !served.has_group(VELERO) {
        return Err(InventoryError::VeleroNotFound);
    }
    let target = match &spec.target {
        Some(target) => Some(look.target(&served, target.kind, &target.name).await?),
        None => None,
    };
    let kubernetes = cluster.get("/version", 64 << 10, look.deadline).await.ok();
    let location_kind = served.velero("backupstoragelocations", "BackupStorageLocation");
    let locations = look.all(&location_kind, None, 1000, Some).await;

    let (target, backup) = match target {
        Some(mut restore) if restore.kind == TargetKind::Restore => {
            let backup = look.backup_of(&served, &mut restore).await;
            (Some(restore), backup)
        }
        target => (target, None),
    };

    let reported_version = look.reported_version(&served).await;
    let deployments = ApiKind::namespaced("apps", "v1", "deployments", "Deployment");
    let account =
        |deployment: &Value| Some(deployment.pointer("/spec/template/spec/serviceAccountName")?.as_str()?.to_owned());
    let own = move |deployment: Value| Some((workloads::server_workload(&deployment)?, account(&deployment)));
    let (servers, server_accounts): (Vec<_>, Vec<_>) =
        look.all(&deployments, None, PODS, own).await.into_iter().unzip();
    let daemons = ApiKind::namespaced("apps", "v1", "daemonsets", "DaemonSet");
    let node_agents = look.all(&daemons, None, PODS, |daemon| workloads::node_agent_workload(&daemon)).await;
    let pod_kind = ApiKind::namespaced("", "v1", "pods", "Pod");
    let seen = look.all(&pod_kind, None, PODS, |pod| PodView::read(&pod)).await;
    let mut trail = RelatedVolumes::default();
    trail.server_accounts.extend(server_accounts.into_iter().flatten());
    trail.priority_classes.extend(seen.iter().filter_map(|seen| seen.priority_class.clone()));
    let mut pods: Vec<Pod> = seen.into_iter().map(|seen| seen.pod).collect();

    let (data, kin, queue) = match &target {
        Some(target) => {
            let data = look.data(&served, target).await;
            let kin = look.kin(&served, target, backup.as_ref(), &data).await;
            (data, kin, look.queue(&served, target).await)
        }
        None => (Vec::new(), RelatedObjects::default(), Queue::default()),
    };
    let failed = if target.is_none() { look.failed(&served).await } else { Vec::new() };
    let agents = Some(node_agents.as_slice()).filter(|agents| !agents.is_empty() || !look.has_lost(&daemons));
    // An empty list counts only if it could be read.
    let told = Some(data.as_slice()).filter(|data| target.is_some() && (!data.is_empty() || !look.has_lost_data()));
    if workloads::assign_roles(&mut pods, &servers, agents, told) {
        look.is_cut("node-agents", namespace, workloads::told_of_candidates());
    }

    let (mut touched, mut further) = (Vec::new(), Omitted::default());
    let (known, missed) = (&mut touched, &mut further);
    let mut places =
        NamespaceSelection { touched: known, further: missed, velero: namespace, scope: &scope, most: TOUCHED };
    places.touch_data(&data);
    places.ask_for(&spec.namespaces);
    if let Some(target) = &target {
        let why = format!("hooks of {} {}", target.kind, target.name);
        places.touch(&target.hooked_namespaces(), &why, Relevance::Named);
    }
    let unhealthy = look.unhealthy(&touched).await;
    let mut inventory = Inventory {
        namespace: namespace.to_owned(),
        touched,
        further,
        scope,
        served,
        kubernetes,
        target,
        backup,
        locations,
        reported_version,
        servers,
        node_agents,
        pods,
        involved: Vec::new(),
        involved_pods: Vec::new(),
        unhealthy,
        claims: Vec::new(),
        nodes: BTreeSet::new(),
        trail,
        data,
        kin,
        failed,
        queue,
        unread: Vec::new(),
        cut: Vec::new(),
        unnamed: None,
    };
    look.at_home(&mut inventory).await;
    look.follow(&mut inventory, |touched| touched.whole || touched.nearness == Relevance::Trouble).await;
    (inventory.unread, inventory.cut) = look.told();
    Ok(inventory)
}

/// Finds what a Restore made if its spec names no namespace. Then walks within `limit` through the namespaces
/// [touched](Inventory::touch) since, and through those that [`take`] left out because they could still lose their
/// place. Last come the nodes that no pod leads to.
pub async fn follow(cluster: &Cluster, inventory: &mut Inventory, limit: Duration) {
    let namespace = inventory.namespace.clone();
    let look = DiscoveryReader::new(cluster, &namespace, Instant::now() + limit);
    look.look_for_restored(inventory).await;
    look.follow(inventory, |_| true).await;
    look.nodes_beyond_pods(inventory).await;
    inventory.involve_agents();
    let (unread, cut) = look.told();
    inventory.unread.extend(unread);
    inventory.cut.extend(cut);
}
