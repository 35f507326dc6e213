//! What there is: Velero, the target, what belongs to it, and where. Reads just enough of the cluster for the plan;
//! the objects themselves go into the bundle by `collect`, and nothing is decided here.

mod asked;
mod belongs;
mod discovery;
mod pods;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use debugbundle_crd::{DebugBundleSpec, Reason, TargetKind};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{ApiKind, Cluster, ClusterError, ListError, Projected};

pub use belongs::{DataObject, Further, ObjectName, is_dns_name, valid_label};
pub use discovery::{DISCOVERY, Served};
pub use pods::{Container, ContainerType, Pod, PodRole, server_workload};

use discovery::VELERO;

/// Namespaces beyond Velero's that a target may lead to, and pods in them that are looked at one by one.
const TOUCHED: usize = 32;
const INVOLVED: usize = 200;
/// Objects by which a target moved data; more are in the bundle, but not followed to their pods.
const DATA: usize = 2000;
/// Pods of Velero's namespace whose logs are read.
const PODS: usize = 5000;
/// Time to say which kinds a version of a group has. A server that is down is asked again and again meanwhile, and must not
/// cost the time for all others.
const GROUP: Duration = Duration::from_secs(5);
/// Largest single object that is read (bytes); etcd holds none that is larger.
const OBJECT: usize = 4 << 20;

/// Beyond which borders the operator was told not to look, whatever its permissions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Namespaces besides Velero's; `None` is all of them.
    pub namespaces: Option<BTreeSet<String>>,
    /// Cluster-scoped kinds and other namespaces are meant to be read (chart: `access: cluster-read`). If not, a
    /// refusal there is a note and no error.
    pub cluster_read: bool,
}

impl Scope {
    /// Everything the permissions allow.
    pub fn everything() -> Self {
        Self { namespaces: None, cluster_read: true }
    }

    /// Whether this namespace may be looked into.
    pub fn allows(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }
}

/// Why there can be no bundle.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// No such Backup or Restore.
    #[error("{kind} {namespace}/{name} does not exist")]
    TargetNotFound {
        /// Its kind.
        kind: TargetKind,
        /// Where it was looked for.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The API server knows no Velero kinds.
    #[error("Velero is not installed: the API server serves no kind of the group velero.io")]
    VeleroNotFound,
    /// The API server did not answer what nothing can be done without.
    #[error("{what} cannot be read")]
    Api {
        /// What was asked for.
        what: String,
        /// Why.
        source: ClusterError,
    },
}

impl InventoryError {
    /// The word for conditions and Events.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TargetNotFound { .. } => Reason::TargetNotFound,
            Self::VeleroNotFound => Reason::VeleroNotFound,
            Self::Api { .. } => Reason::ApiError,
        }
    }
}

/// A Backup or Restore as it was when the inventory was taken.
#[derive(Clone, Debug)]
pub struct TargetObject {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// `status.phase`; empty before Velero looked at it.
    pub phase: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `status.startTimestamp`.
    pub started: Option<Timestamp>,
    /// `status.completionTimestamp`.
    pub completed: Option<Timestamp>,
    /// Of a Backup: `spec.storageLocation`.
    pub storage_location: Option<String>,
    /// Of a Restore: the Backup it restores from.
    pub backup_name: Option<String>,
    /// The object, unredacted: for memory only.
    pub raw: Value,
}

impl TargetObject {
    fn read(kind: TargetKind, raw: Value) -> Self {
        let time = |pointer: &str| raw.pointer(pointer).and_then(Value::as_str)?.parse().ok();
        let text = |pointer: &str| {
            let text = raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self {
            kind,
            name: text("/metadata/name").unwrap_or_default(),
            uid: text("/metadata/uid").unwrap_or_default(),
            phase: text("/status/phase").unwrap_or_default(),
            created: time("/metadata/creationTimestamp"),
            started: time("/status/startTimestamp"),
            completed: time("/status/completionTimestamp"),
            storage_location: text("/spec/storageLocation"),
            backup_name: text("/spec/backupName").filter(|_| kind == TargetKind::Restore),
            raw,
        }
    }

    /// Velero wrote all its files to the store: their absence is an error.
    pub fn files_are_due(&self) -> bool {
        matches!(self.phase.as_str(), "Completed" | "PartiallyFailed")
    }
}

/// A Deployment or DaemonSet of Velero's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// `spec.selector.matchLabels`.
    pub selector: BTreeMap<String, String>,
    /// The pod template's containers: (name, image, arguments); init containers first.
    pub containers: Vec<(String, String, Vec<String>)>,
}

/// A namespace besides Velero's, and why it is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Its name.
    pub namespace: String,
    /// The object that leads there, or that it was asked for.
    pub why: String,
    /// All its pods are wanted, not only those involved.
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

/// Something that could not be found out; the bundle says so.
#[derive(Clone, Debug)]
pub struct Unread {
    /// In words.
    pub what: String,
    /// What was asked for, and where.
    pub kind: ApiKind,
    /// Empty: the whole cluster.
    pub namespace: String,
    /// Why not.
    pub why: ClusterError,
}

/// What there is.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// Velero's namespace.
    pub namespace: String,
    /// Borders.
    pub scope: Scope,
    /// What the API server serves.
    pub served: Served,
    /// The API server's own version (`/version`), if it told.
    pub kubernetes: Option<Value>,
    /// The target; `None` for the installation as a whole.
    pub target: Option<TargetObject>,
    /// The Backup of a target that is a Restore; gone Backups are not here.
    pub backup: Option<TargetObject>,
    /// All BackupStorageLocations, unredacted: for memory only.
    pub locations: Vec<Value>,
    /// The server's version as the newest ServerStatusRequest has it; they live for minutes only.
    pub reported_version: Option<String>,
    /// Deployments that are Velero's server.
    pub servers: Vec<Workload>,
    /// DaemonSets that are Velero's node agents.
    pub node_agents: Vec<Workload>,
    /// The pods of Velero's namespace.
    pub pods: Vec<Pod>,
    /// PodVolumeBackups and -Restores, DataUploads and -Downloads of the target.
    pub data: Vec<DataObject>,
    /// Namespaces besides Velero's.
    pub touched: Vec<Touched>,
    /// Those beyond the listed ones.
    pub further: Further,
    /// Pods in those namespaces by which the target's data moves.
    pub involved: Vec<ObjectName>,
    /// Those of them that are there, in the order of their names.
    pub involved_pods: Vec<Pod>,
    /// Pods of the namespaces asked for whole that are not well.
    pub unhealthy: Vec<Pod>,
    /// Claims of those pods and of the target's data.
    pub claims: Vec<ObjectName>,
    /// Nodes on which all this happens.
    pub nodes: BTreeSet<String>,
    /// What could not be found out.
    pub unread: Vec<Unread>,
}

impl Inventory {
    /// The BackupStorageLocation of the target, by name; for the installation, the default one.
    pub fn location_name(&self) -> Option<&str> {
        let of = |target: &Option<TargetObject>| -> Option<String> { target.as_ref()?.storage_location.clone() };
        let wanted = of(&self.backup).or_else(|| of(&self.target));
        self.locations
            .iter()
            .find(|location| match &wanted {
                Some(wanted) => location.pointer("/metadata/name").and_then(Value::as_str) == Some(wanted),
                None => location.pointer("/spec/default").and_then(Value::as_bool) == Some(true),
            })
            .and_then(|location| location.pointer("/metadata/name").and_then(Value::as_str))
    }

    /// Adds namespaces that the target's own words lead to, as far as borders and number allow, and the number of those
    /// beyond; no pod of them is involved by that.
    pub fn touch(&mut self, namespaces: &[String], beyond: u64, why: &str) {
        let known = (&mut self.touched, &mut self.further);
        belongs::touch(known, namespaces, why, &self.namespace, &self.scope, TOUCHED);
        self.further.add_unnamed(beyond);
    }
}

/// Takes the inventory within `limit`.
pub async fn take(
    cluster: &Cluster,
    namespace: &str,
    spec: &DebugBundleSpec,
    scope: Scope,
    limit: Duration,
) -> Result<Inventory, InventoryError> {
    let look = Look { cluster, namespace, deadline: Instant::now() + limit };
    let served = look.served().await?;
    if !served.has_group(VELERO) {
        return Err(InventoryError::VeleroNotFound);
    }
    let mut unread = Vec::new();
    let target = match &spec.target {
        Some(target) => Some(look.target(&served, target.kind, &target.name).await?),
        None => None,
    };
    let kubernetes = cluster.get("/version", 64 << 10, look.deadline).await.ok();
    let location_kind = served.velero("backupstoragelocations", "BackupStorageLocation");
    let locations = look.all(&location_kind, None, 1000, Some, &mut unread).await;

    let (target, backup) = match target {
        Some(mut restore) if restore.kind == TargetKind::Restore => {
            let backup = look.backup_of(&served, &mut restore, &mut unread).await;
            (Some(restore), backup)
        }
        target => (target, None),
    };

    let reported_version = look.reported_version(&served, &mut unread).await;
    let deployments = ApiKind::namespaced("apps", "v1", "deployments", "Deployment");
    let servers =
        look.all(&deployments, None, PODS, |deployment| pods::server_workload(&deployment), &mut unread).await;
    let daemons = ApiKind::namespaced("apps", "v1", "daemonsets", "DaemonSet");
    let node_agents = look.all(&daemons, None, PODS, |daemon| pods::node_agent_workload(&daemon), &mut unread).await;
    let pod_kind = ApiKind::namespaced("", "v1", "pods", "Pod");
    let mut pods = look.all(&pod_kind, None, PODS, |pod| Pod::read(&pod), &mut unread).await;

    let mut data = match &target {
        Some(target) => look.data(&served, target, &mut unread).await,
        None => Vec::new(),
    };
    data.sort_by(|a, b| (&a.plural, &a.name).cmp(&(&b.plural, &b.name)));
    pods::assign_roles(&mut pods, &servers, &node_agents, &data);

    let (touched, further) = belongs::touched(&data, namespace, &spec.namespaces, &scope, TOUCHED);
    let unhealthy = look.unhealthy(&touched, &mut unread).await;
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
        data,
        unread,
    };
    look.follow(&mut inventory).await;
    Ok(inventory)
}

struct Look<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    deadline: Instant,
}

impl Look<'_> {
    async fn served(&self) -> Result<Served, InventoryError> {
        let fail = |source| InventoryError::Api { what: "the API server's list of kinds".to_owned(), source };
        let groups = self.cluster.get_as("/apis", DISCOVERY, 32 << 20, self.deadline).await.map_err(fail)?;
        if let Some(served) = Served::from_aggregated(&groups) {
            return Ok(served);
        }
        let mut served = Served::default();
        let mut asked = Vec::new();
        for group in discovery::groups_of_interest(&groups) {
            for version in group.versions {
                asked.push(self.kinds_of(group.name.clone(), version));
            }
        }
        for (group, version, list) in futures::future::join_all(asked).await {
            match list {
                Ok(list) => served.add_resource_list(&group, &version, &list),
                Err(_) => served.stale.push(format!("{group}/{version}")),
            }
        }
        Ok(served)
    }

    async fn kinds_of(&self, group: String, version: String) -> (String, String, Result<Value, ClusterError>) {
        let path = format!("/apis/{group}/{version}");
        let list = self.cluster.get(&path, OBJECT, self.deadline.min(Instant::now() + GROUP)).await;
        (group, version, list)
    }

    async fn target(&self, served: &Served, kind: TargetKind, name: &str) -> Result<TargetObject, InventoryError> {
        let path = match kind {
            TargetKind::Backup => served.velero("backups", "Backup"),
            TargetKind::Restore => served.velero("restores", "Restore"),
        }
        .path(Some(self.namespace), name);
        match self.cluster.get(&path, OBJECT, self.deadline).await {
            Ok(object) => Ok(TargetObject::read(kind, object)),
            Err(error) if error.is_not_found() => Err(InventoryError::TargetNotFound {
                kind,
                namespace: self.namespace.to_owned(),
                name: name.to_owned(),
            }),
            Err(source) => Err(InventoryError::Api { what: format!("{kind} {}/{name}", self.namespace), source }),
        }
    }

    /// The Backup that a Restore restores: the one it names, else the newest usable one of its Schedule.
    async fn backup_of(
        &self,
        served: &Served,
        restore: &mut TargetObject,
        unread: &mut Vec<Unread>,
    ) -> Option<TargetObject> {
        if restore.backup_name.is_none()
            && let Some(schedule) = restore.raw.pointer("/spec/scheduleName").and_then(Value::as_str)
            && !schedule.is_empty()
        {
            let selector = format!("velero.io/schedule-name={}", valid_label(schedule));
            let backups = self
                .all(
                    &served.velero("backups", "Backup"),
                    Some(&selector),
                    PODS,
                    |backup| {
                        let backup = TargetObject::read(TargetKind::Backup, backup);
                        Some((backup.started.or(backup.created), backup.name.clone(), backup.files_are_due()))
                    },
                    unread,
                )
                .await;
            restore.backup_name = belongs::newest_backup(backups, restore.created);
        }
        let name = restore.backup_name.clone().filter(|name| is_dns_name(name))?;
        match self.target(served, TargetKind::Backup, &name).await {
            Ok(backup) => Some(backup),
            Err(InventoryError::Api { source, .. }) => {
                unread.push(Unread {
                    what: format!("Backup {}/{name}", self.namespace),
                    kind: served.velero("backups", "Backup"),
                    namespace: self.namespace.to_owned(),
                    why: source,
                });
                None
            }
            Err(_) => None,
        }
    }

    /// What the server said of itself when somebody last asked (`velero version` does); nothing is asked of it here.
    async fn reported_version(&self, served: &Served, unread: &mut Vec<Unread>) -> Option<String> {
        const REQUESTS: usize = 1000;
        let kind = served.find(VELERO, "serverstatusrequests")?;
        let read = |request: Value| {
            let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
            let at: Timestamp = text("/status/processedTimestamp")?.parse().ok()?;
            Some((at, text("/status/serverVersion")?.to_owned()))
        };
        let told = self.all(kind, None, REQUESTS, read, unread).await;
        told.into_iter().max().map(|(_, version)| version)
    }

    /// The target's data objects: by UID, which is never cut; else by name, if the owner is the same.
    async fn data(&self, served: &Served, target: &TargetObject, unread: &mut Vec<Unread>) -> Vec<DataObject> {
        let (word, kinds) = match target.kind {
            TargetKind::Backup => ("backup", [("podvolumebackups", "PodVolumeBackup"), ("datauploads", "DataUpload")]),
            TargetKind::Restore => {
                ("restore", [("podvolumerestores", "PodVolumeRestore"), ("datadownloads", "DataDownload")])
            }
        };
        let mut found = Vec::new();
        for (plural, kind) in kinds {
            let Some(kind) = served.find(VELERO, plural).cloned().or_else(|| {
                // A kind that is not served is not asked for; without any discovery the well-known name is.
                served.is_stale(VELERO).then(|| served.velero(plural, kind))
            }) else {
                continue;
            };
            let plural = plural.to_owned();
            let read = move |object: Value| DataObject::read(&plural, &object);
            let by_uid = format!("velero.io/{word}-uid={}", target.uid);
            let mut objects = self.all(&kind, Some(&by_uid), DATA, read.clone(), unread).await;
            if objects.is_empty() {
                let by_name = format!("velero.io/{word}-name={}", valid_label(&target.name));
                let uid = target.uid.clone();
                let tag = format!("{word}-uid");
                let mine = move |object: Value| {
                    if belongs::is_of(&object, &uid, &tag) { read(object) } else { None }
                };
                objects = self.all(&kind, Some(&by_name), DATA, mine, unread).await;
            }
            found.extend(objects);
        }
        found
    }

    /// From the data to the pods, their claims and their nodes.
    async fn follow(&self, inventory: &mut Inventory) {
        let looked: BTreeSet<&str> = inventory
            .touched
            .iter()
            .filter(|touched| touched.looked == Looked::Yes)
            .map(|touched| touched.namespace.as_str())
            .collect();
        let may = |namespace: &str| namespace == self.namespace || looked.contains(namespace);
        let mut involved: BTreeSet<ObjectName> = BTreeSet::new();
        let mut claims: BTreeSet<ObjectName> = BTreeSet::new();
        let mut nodes: BTreeSet<String> = BTreeSet::new();
        for object in &inventory.data {
            nodes.extend(object.node.clone());
            claims.extend(object.claim.iter().filter(|claim| may(&claim.namespace)).cloned());
            if let Some(pod) = &object.pod
                && may(&pod.namespace)
                && involved.len() < INVOLVED
            {
                involved.insert(pod.clone());
            }
        }
        let pod_kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        let mut pods: Vec<Pod> = futures::stream::iter(involved.iter().cloned())
            .map(|name| {
                let path = pod_kind.path(Some(&name.namespace), &name.name);
                async move {
                    let pod = self.cluster.get(&path, OBJECT, self.deadline).await.ok()?;
                    Pod::read(&pod)
                }
            })
            .buffer_unordered(8)
            .filter_map(std::future::ready)
            .collect()
            .await;
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        for pod in &pods {
            nodes.extend(pod.node.clone());
            let claim = |name: &String| ObjectName { namespace: pod.namespace.clone(), name: name.clone(), uid: None };
            claims.extend(pod.claims.iter().map(claim));
        }
        for pod in &inventory.pods {
            let wanted = match pod.role {
                PodRole::Server | PodRole::DataMover => true,
                PodRole::NodeAgent { involved } => involved,
                PodRole::Maintenance | PodRole::Other => false,
            };
            if wanted || inventory.target.is_none() {
                nodes.extend(pod.node.clone());
            }
        }
        inventory.involved = involved.into_iter().collect();
        inventory.involved_pods = pods;
        inventory.claims = claims.into_iter().collect();
        inventory.nodes = nodes;
    }

    async fn all<T, F>(
        &self,
        kind: &ApiKind,
        selector: Option<&str>,
        most: usize,
        read: F,
        unread: &mut Vec<Unread>,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: FnMut(Value) -> Option<T> + Send + 'static,
    {
        let path = kind.list_path(Some(self.namespace));
        let taker = Projected::new(most, read);
        let (done, listed) = self.cluster.list(&path, selector, self.deadline, taker, |_| ()).await;
        if let Err(ListError::Cluster(why)) = listed {
            unread.push(Unread {
                what: format!("list of {} in {}", kind.plural, self.namespace),
                kind: kind.clone(),
                namespace: self.namespace.to_owned(),
                why,
            });
        }
        done.items
    }
}

/// A farm with a Velero, for tests of what is made of an inventory.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use serde_json::json;

    /// A pod of the namespace `keep`.
    pub(crate) fn pod(name: &str, role: PodRole, node: &str, containers: &[(&str, i64)]) -> Pod {
        let spec: Vec<Value> =
            containers.iter().map(|(name, _)| json!({"name": name, "image": "velero/velero:v1.18.3"})).collect();
        let status: Vec<Value> = containers
            .iter()
            .map(|(name, restarts)| {
                json!({"name": name, "restartCount": restarts, "ready": true, "state": {"running": {}}})
            })
            .collect();
        let object = json!({
            "metadata": {"name": name, "namespace": "keep", "uid": format!("uid-{name}")},
            "spec": {"nodeName": node, "containers": spec},
            "status": {"phase": "Running", "containerStatuses": status}});
        Pod { role, ..Pod::read(&object).expect("it has a name") }
    }

    /// Backup or Restore `harvest` in a phase, from 10:00 to 10:30.
    pub(crate) fn target(kind: TargetKind, phase: &str) -> TargetObject {
        TargetObject::read(
            kind,
            json!({"metadata": {"name": "harvest", "namespace": "keep", "uid": "u-harvest", "creationTimestamp": "2026-03-01T09:59:00Z"},
                "spec": {"storageLocation": "barn", "backupName": "seed"},
                "status": {"phase": phase, "startTimestamp": "2026-03-01T10:00:00Z", "completionTimestamp": "2026-03-01T10:30:00Z"}}),
        )
    }

    /// An inventory of the namespace `keep` with two Velero kinds and nothing in it.
    pub(crate) fn inventory() -> Inventory {
        let mut served = Served::default();
        served.add_resource_list(
            "velero.io",
            "v1",
            &json!({"resources": [
                {"name": "backups", "kind": "Backup", "namespaced": true, "verbs": ["list"]},
                {"name": "restores", "kind": "Restore", "namespaced": true, "verbs": ["list"]}]}),
        );
        Inventory {
            namespace: "keep".to_owned(),
            scope: Scope::everything(),
            served,
            kubernetes: None,
            target: None,
            backup: None,
            locations: Vec::new(),
            reported_version: None,
            servers: Vec::new(),
            node_agents: Vec::new(),
            pods: Vec::new(),
            data: Vec::new(),
            touched: Vec::new(),
            further: Further::default(),
            involved: Vec::new(),
            involved_pods: Vec::new(),
            unhealthy: Vec::new(),
            claims: Vec::new(),
            nodes: BTreeSet::new(),
            unread: Vec::new(),
        }
    }

    #[test]
    fn the_location_is_the_backups_else_the_targets_else_the_default_one() {
        let location = |name: &str, default: bool| json!({"metadata": {"name": name}, "spec": {"default": default}});
        let mut inventory = inventory();
        inventory.locations = vec![location("silo", true), location("barn", false), location("shed", false)];
        assert_eq!(inventory.location_name(), Some("silo"));
        inventory.target = Some(target(TargetKind::Backup, "Failed"));
        assert_eq!(inventory.location_name(), Some("barn"));
        let mut backup = target(TargetKind::Backup, "Completed");
        backup.storage_location = Some("shed".to_owned());
        inventory.backup = Some(backup);
        assert_eq!(inventory.location_name(), Some("shed"));
        inventory.locations.remove(2);
        assert_eq!(inventory.location_name(), None, "a location that is gone is not replaced by another");
    }

    #[test]
    fn only_a_restore_has_a_backup_name() {
        assert_eq!(target(TargetKind::Restore, "").backup_name.as_deref(), Some("seed"));
        assert_eq!(target(TargetKind::Backup, "").backup_name, None);
        let odd = TargetObject::read(
            TargetKind::Backup,
            json!({"metadata": {"name": "x"}, "status": {"phase": 7, "startTimestamp": "soon"}}),
        );
        assert_eq!((odd.phase.as_str(), odd.started), ("", None));
    }
}
