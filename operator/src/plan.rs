//! Which items a bundle wants, where each will lie, and in which order they are read. Pure: from what was asked for and
//! what there is; reading the items, and what becomes of those that cannot be read, is `collect`'s.

use std::collections::BTreeSet;

use debugbundle_crd::{DebugBundleSpec, Logs, TargetKind, parse_duration};
use jiff::{SignedDuration, Timestamp};

use crate::{
    archive::{
        BundlePath,
        manifest::{Missing, MissingCode, MissingSeverity},
    },
    cluster::ApiKind,
    inventory::{Inventory, Looked, ObjectName, Pod, PodRole, TargetObject, Touched},
};

/// How long before its start and after its end a target's causes and effects are looked for in logs.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);
/// Kept of the log of a healthy pod that is not Velero's own (bytes).
const BYSTANDER: u64 = 1 << 20;
/// Kept of a Backup's or Restore's own log (bytes).
const TARGET_LOG: u64 = 200 << 20;
/// Kept of a container's log if the spec says nothing usable (bytes).
const CONTAINER_LOG: u64 = 32 << 20;

/// What is kept longest when time or room runs short; read in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// What we write ourselves.
    P0,
    /// The target and what belongs to it.
    P1,
    /// Logs of those who worked on it.
    P2,
    /// All other objects.
    P3,
    /// A Restore's Backup, maintenance.
    P4,
    /// Logs of bystanders, discovery.
    P5,
}

/// A file of the target in the object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreFile {
    /// The log.
    Log,
    /// Errors and warnings.
    Results,
    /// Asynchronous operations.
    ItemOperations,
    /// What became of each volume.
    VolumeInfo,
    /// What was backed up or restored.
    ResourceList,
    /// Of a Backup: its PodVolumeBackups as they were.
    PodVolumeBackups,
    /// Of a Backup: native snapshots.
    VolumeSnapshots,
    /// Of a Backup: the object itself, not compressed.
    Backup,
}

impl StoreFile {
    /// Of a Backup, in the order in which they are read.
    pub const OF_BACKUP: [Self; 8] = [
        Self::Results,
        Self::Log,
        Self::ItemOperations,
        Self::VolumeInfo,
        Self::ResourceList,
        Self::PodVolumeBackups,
        Self::VolumeSnapshots,
        Self::Backup,
    ];
    /// Of a Restore, in the order in which they are read.
    pub const OF_RESTORE: [Self; 5] =
        [Self::Results, Self::Log, Self::ItemOperations, Self::VolumeInfo, Self::ResourceList];

    /// Its name in the bundle.
    pub fn bundle_name(self, of: TargetKind) -> &'static str {
        match (self, of) {
            (Self::Log, TargetKind::Backup) => "backup.log",
            (Self::Log, TargetKind::Restore) => "restore.log",
            (Self::Results, _) => "results.json",
            (Self::ItemOperations, _) => "itemoperations.json",
            (Self::VolumeInfo, _) => "volumeinfo.json",
            (Self::ResourceList, _) => "resource-list.json",
            (Self::PodVolumeBackups, _) => "podvolumebackups.json",
            (Self::VolumeSnapshots, _) => "volumesnapshots.json",
            (Self::Backup, _) => "velero-backup.json",
        }
    }

    /// It is one JSON value; else text.
    pub const fn is_json(self) -> bool {
        !matches!(self, Self::Log)
    }

    /// It is compressed in the store.
    pub const fn is_gzip(self) -> bool {
        !matches!(self, Self::Backup)
    }
}

/// A time span of logs; open ends are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Lines from here on.
    pub from: Option<Timestamp>,
    /// Lines up to here.
    pub to: Option<Timestamp>,
}

/// Where the lines about the target go that are found in the server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLines {
    /// The entry they go to.
    pub path: BundlePath,
    /// Whose lines.
    pub kind: TargetKind,
    /// Velero's namespace.
    pub namespace: String,
    /// The target's name.
    pub name: String,
}

/// What is looked for in the log of Velero's server, besides keeping it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLog {
    /// The lines about the target, if there is one and this is the server that worked on it.
    pub lines: Option<ServerLines>,
}

/// Where an item comes from: the closed set of sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemSource {
    /// All objects of a kind, in a namespace or in the cluster; one file.
    List {
        /// Which kind.
        kind: ApiKind,
        /// `None`: the whole cluster.
        namespace: Option<String>,
    },
    /// Some objects of a kind, by name; one file.
    Named {
        /// Which kind.
        kind: ApiKind,
        /// Namespace (empty for cluster-scoped kinds), name and, where it matters, UID.
        objects: Vec<ObjectName>,
    },
    /// One object; a file of its own.
    Object {
        /// Which kind.
        kind: ApiKind,
        /// `None`: cluster-scoped.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// A container's log.
    PodLog {
        /// Namespace.
        namespace: String,
        /// Pod.
        pod: String,
        /// The pod's UID when the plan was made.
        uid: String,
        /// Container.
        container: String,
        /// Of the instance before.
        previous: bool,
        /// Kept at most (bytes).
        limit: u64,
        /// It is the server's own container, which tells its version and what it did for the target.
        server: Option<ServerLog>,
    },
    /// A file of a Backup or Restore in the object store.
    Store {
        /// Backup or Restore.
        of: TargetKind,
        /// Its name.
        name: String,
        /// Which file.
        file: StoreFile,
        /// Its phase, if its absence is no error: Velero never came to write it.
        unless: Option<String>,
    },
    /// What the API server serves (`/api`, `/apis`).
    Discovery {
        /// The path on the API server.
        path: &'static str,
    },
}

/// One thing that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// In words, for whoever reads that it is missing.
    pub what: String,
    /// Where it will lie.
    pub path: BundlePath,
    /// Where it comes from.
    pub source: ItemSource,
    /// How much it matters.
    pub priority: Priority,
    /// The node that has to answer for it.
    pub node: Option<String>,
}

/// What is asked of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The time span.
    pub window: Window,
    /// Only the last lines, if the user said so.
    pub tail_lines: Option<i64>,
}

/// All that is wanted, in the order of reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The items.
    pub items: Vec<Item>,
    /// For all container logs.
    pub logs: LogLimits,
    /// What is known to be missing before anything was read.
    pub missing: Vec<Missing>,
}

/// Plans the bundle that `spec` asks for.
pub fn plan(spec: &DebugBundleSpec, inventory: &Inventory, now: Timestamp) -> Plan {
    let mut planner = Planner { inventory, items: Vec::new(), missing: Vec::new() };
    planner.target();
    planner.velero_namespace();
    planner.other_namespaces();
    planner.cluster();
    planner.logs(&spec.logs);
    planner.items.sort_by_key(|item| item.priority);
    let mut seen = BTreeSet::new();
    planner.items.retain(|item| seen.insert(item.path.clone()));
    Plan {
        items: planner.items,
        logs: LogLimits {
            window: window(&spec.logs, inventory.target.as_ref(), now),
            tail_lines: spec.logs.tail_lines.filter(|lines| *lines > 0),
        },
        missing: planner.missing,
    }
}

/// The time span of logs: what the user set, for the rest the target's life and ten minutes around it. Of the
/// installation as a whole: everything.
pub fn window(logs: &Logs, target: Option<&TargetObject>, now: Timestamp) -> Window {
    let around = target.map_or_else(Window::default, |target| Window {
        from: target.started.or(target.created).and_then(|start| start.checked_sub(MARGIN).ok()),
        to: target.completed.and_then(|end| end.checked_add(MARGIN).ok()),
    });
    let Some(asked) = &logs.window else { return around };
    let since = asked
        .since
        .as_deref()
        .and_then(parse_duration)
        .and_then(|length| now.checked_sub(SignedDuration::try_from(length).ok()?).ok());
    let from = asked.since_time.as_ref().map(|time| time.0).or(since);
    let to = asked.until_time.as_ref().map(|time| time.0);
    match (from, to) {
        (None, None) => around,
        // An end alone is an end of the target's time; a beginning alone goes up to now.
        (None, to) => Window { from: around.from.filter(|from| to.is_none_or(|to| *from < to)), to },
        (from, to) => Window { from, to },
    }
}

struct Planner<'a> {
    inventory: &'a Inventory,
    items: Vec<Item>,
    missing: Vec<Missing>,
}

fn core(plural: &str, kind: &str) -> ApiKind {
    ApiKind::namespaced("", "v1", plural, kind)
}

fn group_folder(kind: &ApiKind) -> &str {
    if kind.group.is_empty() { "core" } else { &kind.group }
}

impl Planner<'_> {
    fn add(&mut self, priority: Priority, what: impl Into<String>, path: BundlePath, source: ItemSource) {
        self.items.push(Item { what: what.into(), path, source, priority, node: None });
    }

    fn list(&mut self, priority: Priority, namespace: &str, kind: ApiKind) {
        let file = format!("{}.yaml", kind.plural);
        let path = BundlePath::new(["namespaces", namespace, group_folder(&kind), &file]);
        let what = format!("{} in {namespace}", kind.plural);
        self.add(priority, what, path, ItemSource::List { kind, namespace: Some(namespace.to_owned()) });
    }

    fn note(&mut self, what: String, path: String, code: MissingCode, why: String, cure: &str) {
        self.missing.push(Missing {
            what,
            path,
            code,
            severity: MissingSeverity::Note,
            why,
            need: None,
            rule: None,
            cure: cure.to_owned(),
        });
    }

    fn target(&mut self) {
        let inventory = self.inventory;
        let Some(target) = &inventory.target else { return };
        self.store_files(target, |_| Priority::P1);
        if target.kind != TargetKind::Restore {
            return;
        }
        match (&inventory.backup, &target.backup_name) {
            (Some(backup), _) => self.store_files(backup, |file| match file {
                StoreFile::Log | StoreFile::Results => Priority::P1,
                _ => Priority::P4,
            }),
            (None, Some(name)) => {
                let folder = BundlePath::new(["velero", "backups", name]);
                self.note(
                    format!("files of Backup {name}"),
                    folder.as_str().to_owned(),
                    MissingCode::Gone,
                    format!("Backup {name}, which the Restore names, does not exist"),
                    "",
                );
            }
            (None, None) => {}
        }
    }

    fn store_files(&mut self, target: &TargetObject, priority: impl Fn(StoreFile) -> Priority) {
        let files: &[StoreFile] = match target.kind {
            TargetKind::Backup => &StoreFile::OF_BACKUP,
            TargetKind::Restore => &StoreFile::OF_RESTORE,
        };
        for file in files {
            let name = file.bundle_name(target.kind);
            let unless = (!target.files_are_due()).then(|| target.phase.clone());
            self.add(
                priority(*file),
                format!("{name} of {} {}", target.kind, target.name),
                store_path(target.kind, &target.name, *file, false),
                ItemSource::Store { of: target.kind, name: target.name.clone(), file: *file, unless },
            );
        }
    }

    fn velero_namespace(&mut self) {
        let inventory = self.inventory;
        let namespace = inventory.namespace.as_str();
        let found = inventory.served.of_group("velero.io").into_iter().cloned();
        let known = KNOWN.iter().map(|(plural, kind)| inventory.served.velero(plural, kind));
        let mut kinds: Vec<ApiKind> = found.collect();
        if kinds.is_empty() || inventory.served.is_stale("velero.io") {
            let missing = known.filter(|known| !kinds.iter().any(|kind| kind.plural == known.plural));
            kinds.extend(missing.collect::<Vec<_>>());
        }
        for kind in kinds.into_iter().filter(|kind| kind.namespaced) {
            let requests = ["downloadrequests", "deletebackuprequests", "serverstatusrequests", "schedules"];
            let priority = if requests.contains(&kind.plural.as_str()) { Priority::P3 } else { Priority::P1 };
            self.list(priority, namespace, kind);
        }
        for (priority, kind) in [
            (Priority::P1, core("pods", "Pod")),
            (Priority::P1, core("events", "Event")),
            (Priority::P1, core("persistentvolumeclaims", "PersistentVolumeClaim")),
            (Priority::P1, core("resourcequotas", "ResourceQuota")),
            (Priority::P1, core("limitranges", "LimitRange")),
            (Priority::P3, core("serviceaccounts", "ServiceAccount")),
            (Priority::P3, ApiKind::namespaced("apps", "v1", "deployments", "Deployment")),
            (Priority::P3, ApiKind::namespaced("apps", "v1", "daemonsets", "DaemonSet")),
            (Priority::P3, ApiKind::namespaced("apps", "v1", "replicasets", "ReplicaSet")),
            (Priority::P3, ApiKind::namespaced("batch", "v1", "jobs", "Job")),
        ] {
            self.list(priority, namespace, kind);
        }
        match inventory.served.find("snapshot.storage.k8s.io", "volumesnapshots") {
            Some(kind) => self.list(Priority::P1, namespace, kind.clone()),
            None => self.note(
                format!("volumesnapshots in {namespace}"),
                format!("namespaces/{namespace}/snapshot.storage.k8s.io/volumesnapshots.yaml"),
                MissingCode::NotInstalled,
                "the API server does not serve snapshot.storage.k8s.io".to_owned(),
                "",
            ),
        }
        self.namespace_object(namespace);
    }

    fn namespace_object(&mut self, namespace: &str) {
        let file = format!("{namespace}.yaml");
        self.add(
            Priority::P3,
            format!("Namespace {namespace}"),
            BundlePath::new(["namespaces", namespace, &file]),
            ItemSource::Object {
                kind: ApiKind::cluster("", "v1", "namespaces", "Namespace"),
                namespace: None,
                name: namespace.to_owned(),
            },
        );
    }

    fn other_namespaces(&mut self) {
        let inventory = self.inventory;
        for Touched { namespace, why, whole, looked } in &inventory.touched {
            match looked {
                Looked::Yes => {}
                Looked::NotAllowed => {
                    let text = format!("{why} leads there, and it is not in the operator's allow-list");
                    let cure = "add the namespace to the operator's allowed namespaces";
                    let path = format!("namespaces/{namespace}");
                    self.note(format!("namespace {namespace}"), path, MissingCode::NotAllowed, text, cure);
                    continue;
                }
                Looked::TooMany => {
                    let text = format!("{why} leads there, and 32 namespaces are looked into");
                    let cure = "name it in spec.namespaces";
                    let path = format!("namespaces/{namespace}");
                    self.note(format!("namespace {namespace}"), path, MissingCode::NotLooked, text, cure);
                    continue;
                }
            }
            self.namespace_object(namespace);
            self.list(Priority::P1, namespace, core("events", "Event"));
            self.list(Priority::P1, namespace, core("resourcequotas", "ResourceQuota"));
            self.list(Priority::P3, namespace, core("limitranges", "LimitRange"));
            if *whole {
                self.list(Priority::P1, namespace, core("pods", "Pod"));
                self.list(Priority::P1, namespace, core("persistentvolumeclaims", "PersistentVolumeClaim"));
            } else {
                self.named(namespace, core("pods", "Pod"), &inventory.involved);
                self.named(namespace, core("persistentvolumeclaims", "PersistentVolumeClaim"), &inventory.claims);
            }
        }
        let further = inventory.further.count();
        if further > 0 {
            let text = format!("the target leads to {further} more than are looked into or listed here");
            let cure = "name those of interest in spec.namespaces";
            self.note("further namespaces".to_owned(), "namespaces".to_owned(), MissingCode::NotLooked, text, cure);
        }
    }

    fn named(&mut self, namespace: &str, kind: ApiKind, all: &[ObjectName]) {
        let objects: Vec<ObjectName> = all.iter().filter(|one| one.namespace == namespace).cloned().collect();
        if objects.is_empty() {
            return;
        }
        let file = format!("{}.yaml", kind.plural);
        let path = BundlePath::new(["namespaces", namespace, group_folder(&kind), &file]);
        let what = format!("{} of the target in {namespace}", kind.plural);
        self.add(Priority::P1, what, path, ItemSource::Named { kind, objects });
    }

    fn cluster(&mut self) {
        let inventory = self.inventory;
        if !inventory.nodes.is_empty() {
            let name = |name: &String| ObjectName { namespace: String::new(), name: name.clone(), uid: None };
            self.add(
                Priority::P3,
                "nodes on which the target's data moves",
                BundlePath::new(["cluster-scoped-resources", "core", "nodes.yaml"]),
                ItemSource::Named {
                    kind: ApiKind::cluster("", "v1", "nodes", "Node"),
                    objects: inventory.nodes.iter().map(name).collect(),
                },
            );
        }
        let definitions =
            ApiKind::cluster("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition");
        let mut custom: Vec<String> = KNOWN.iter().map(|(plural, _)| format!("{plural}.velero.io")).collect();
        let served =
            inventory.served.of_group("velero.io").into_iter().map(|kind| format!("{}.velero.io", kind.plural));
        custom.extend(served.filter(|name| !KNOWN.iter().any(|(plural, _)| *name == format!("{plural}.velero.io"))));
        custom.push("debugbundles.debugbundle.io".to_owned());
        for name in custom {
            let file = format!("{name}.yaml");
            self.add(
                Priority::P3,
                format!("CustomResourceDefinition {name}"),
                BundlePath::new([
                    "cluster-scoped-resources",
                    "apiextensions.k8s.io",
                    "customresourcedefinitions",
                    &file,
                ]),
                ItemSource::Object { kind: definitions.clone(), namespace: None, name },
            );
        }
        for (path, file) in [("/api", "aggregated-discovery-api.yaml"), ("/apis", "aggregated-discovery-apis.yaml")] {
            self.add(
                Priority::P5,
                format!("what the API server serves below {path}"),
                BundlePath::new([file]),
                ItemSource::Discovery { path },
            );
        }
    }

    fn logs(&mut self, logs: &Logs) {
        let inventory = self.inventory;
        let most = logs.max_bytes_per_container.bytes().unwrap_or(CONTAINER_LOG);
        let newest_server = inventory
            .pods
            .iter()
            .filter(|pod| pod.role == PodRole::Server)
            .max_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)))
            .map(|pod| pod.uid.clone());
        for pod in &inventory.pods {
            let (priority, limit) = match pod.role {
                PodRole::Server | PodRole::DataMover | PodRole::NodeAgent { involved: true } => (Priority::P2, most),
                PodRole::Maintenance => (Priority::P4, most),
                _ if !pod.is_healthy() => (Priority::P2, most),
                _ => (Priority::P5, most.min(BYSTANDER)),
            };
            for container in &pod.containers {
                let is_server = pod.role == PodRole::Server && container.name == "velero";
                let instances: &[bool] =
                    if logs.previous && container.has_previous() { &[false, true] } else { &[false] };
                for previous in instances {
                    let newest = newest_server.as_deref() == Some(pod.uid.as_str());
                    let lines = || self.server_lines(*previous).filter(|_| newest);
                    let server = is_server.then(|| ServerLog { lines: lines() });
                    self.items.push(log_item(pod, &container.name, *previous, priority, limit, server));
                }
            }
        }
    }

    fn server_lines(&self, previous: bool) -> Option<ServerLines> {
        let target = self.inventory.target.as_ref()?;
        let word = match target.kind {
            TargetKind::Backup => "backup",
            TargetKind::Restore => "restore",
        };
        let instance = if previous { "previous." } else { "" };
        let file = format!("{word}.from-server.{instance}log");
        Some(ServerLines {
            path: BundlePath::new(["velero", folder_of(target.kind), &target.name, &file]),
            kind: target.kind,
            namespace: self.inventory.namespace.clone(),
            name: target.name.clone(),
        })
    }
}

fn log_item(
    pod: &Pod,
    container: &str,
    previous: bool,
    priority: Priority,
    limit: u64,
    server: Option<ServerLog>,
) -> Item {
    let (file, instance) = if previous { ("previous.log", "previous log") } else { ("current.log", "log") };
    let path = BundlePath::new(["namespaces", &pod.namespace, "pods", &pod.name, container, container, "logs", file]);
    Item {
        what: format!("{instance} of {}/{} container {container}", pod.namespace, pod.name),
        path,
        source: ItemSource::PodLog {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            container: container.to_owned(),
            previous,
            limit,
            server,
        },
        priority,
        node: pod.node.clone(),
    }
}

fn folder_of(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Backup => "backups",
        TargetKind::Restore => "restores",
    }
}

/// Where a store file lies in the bundle; `part` is for what could be read of a damaged one, so that a name that ends
/// in `.json` always parses.
pub fn store_path(of: TargetKind, name: &str, file: StoreFile, part: bool) -> BundlePath {
    let suffix = if part { ".partial" } else { "" };
    let file = format!("{}{suffix}", file.bundle_name(of));
    BundlePath::new(["velero", folder_of(of), name, &file])
}

/// Kept of a store file (bytes): of the log head and tail, of JSON all or nothing.
pub fn store_limit(file: StoreFile) -> u64 {
    if file.is_json() { 64 << 20 } else { TARGET_LOG }
}

/// The kinds of Velero 1.18, for when discovery does not tell.
const KNOWN: [(&str, &str); 13] = [
    ("backups", "Backup"),
    ("restores", "Restore"),
    ("schedules", "Schedule"),
    ("downloadrequests", "DownloadRequest"),
    ("deletebackuprequests", "DeleteBackupRequest"),
    ("podvolumebackups", "PodVolumeBackup"),
    ("podvolumerestores", "PodVolumeRestore"),
    ("backuprepositories", "BackupRepository"),
    ("backupstoragelocations", "BackupStorageLocation"),
    ("volumesnapshotlocations", "VolumeSnapshotLocation"),
    ("serverstatusrequests", "ServerStatusRequest"),
    ("datauploads", "DataUpload"),
    ("datadownloads", "DataDownload"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::fixture::{inventory, pod, target};
    use debugbundle_crd::LogWindow;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn now() -> Timestamp {
        time("2026-03-01T12:00:00Z")
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn spec() -> DebugBundleSpec {
        DebugBundleSpec::about(TargetKind::Restore, "harvest")
    }

    fn paths(plan: &Plan) -> Vec<&str> {
        plan.items.iter().map(|item| item.path.as_str()).collect()
    }

    fn item<'a>(plan: &'a Plan, path: &str) -> &'a Item {
        plan.items.iter().find(|item| item.path.as_str() == path).unwrap_or_else(|| panic!("no {path}"))
    }

    #[test]
    fn the_window_is_the_targets_life_and_ten_minutes_around_it() {
        let logs = Logs::default();
        let done = target(TargetKind::Restore, "PartiallyFailed");
        assert_eq!(
            window(&logs, Some(&done), now()),
            Window { from: Some(time("2026-03-01T09:50:00Z")), to: Some(time("2026-03-01T10:40:00Z")) }
        );
        let mut running = target(TargetKind::Restore, "InProgress");
        running.completed = None;
        assert_eq!(window(&logs, Some(&running), now()).to, None, "up to now");
        running.started = None;
        assert_eq!(window(&logs, Some(&running), now()).from, Some(time("2026-03-01T09:49:00Z")));
        assert_eq!(window(&logs, None, now()), Window::default());
    }

    #[test]
    fn what_the_user_asks_of_the_window_wins() {
        let asked = |since: Option<&str>, from: Option<&str>, to: Option<&str>| {
            let at = |text: &str| Time(time(text));
            let window =
                LogWindow { since: since.map(str::to_owned), since_time: from.map(at), until_time: to.map(at) };
            super::window(
                &Logs { window: Some(window), ..Logs::default() },
                Some(&target(TargetKind::Backup, "Failed")),
                now(),
            )
        };
        let one = asked(Some("30m"), None, None);
        assert_eq!((one.from, one.to), (Some(time("2026-03-01T11:30:00Z")), None));
        let both = asked(None, Some("2026-02-01T00:00:00Z"), Some("2026-02-02T00:00:00Z"));
        assert_eq!((both.from, both.to), (Some(time("2026-02-01T00:00:00Z")), Some(time("2026-02-02T00:00:00Z"))));
        let end = asked(None, None, Some("2026-03-01T10:05:00Z"));
        assert_eq!((end.from, end.to), (Some(time("2026-03-01T09:50:00Z")), Some(time("2026-03-01T10:05:00Z"))));
        let before = asked(None, None, Some("2026-01-01T00:00:00Z"));
        assert_eq!((before.from, before.to), (None, Some(time("2026-01-01T00:00:00Z"))));
        assert_eq!(asked(None, None, None).from, Some(time("2026-03-01T09:50:00Z")), "an empty window is none");
    }

    #[test]
    fn a_restore_brings_its_own_files_and_its_backups() {
        let mut inventory = inventory();
        inventory.target = Some(target(TargetKind::Restore, "PartiallyFailed"));
        let mut backup = target(TargetKind::Backup, "Completed");
        backup.name = "seed".to_owned();
        inventory.backup = Some(backup);
        let plan = plan(&spec(), &inventory, now());
        for (path, priority) in [
            ("velero/restores/harvest/restore.log", Priority::P1),
            ("velero/restores/harvest/results.json", Priority::P1),
            ("velero/restores/harvest/itemoperations.json", Priority::P1),
            ("velero/restores/harvest/volumeinfo.json", Priority::P1),
            ("velero/restores/harvest/resource-list.json", Priority::P1),
            ("velero/backups/seed/backup.log", Priority::P1),
            ("velero/backups/seed/results.json", Priority::P1),
            ("velero/backups/seed/velero-backup.json", Priority::P4),
            ("velero/backups/seed/podvolumebackups.json", Priority::P4),
        ] {
            assert_eq!(item(&plan, path).priority, priority, "{path}");
        }
        inventory.backup = None;
        let plan = super::plan(&spec(), &inventory, now());
        assert!(!paths(&plan).iter().any(|path| path.starts_with("velero/backups/")));
        let gone = plan.missing.iter().find(|missing| missing.path == "velero/backups/seed").unwrap();
        assert_eq!((gone.code, gone.severity), (MissingCode::Gone, MissingSeverity::Note));
    }

    #[test]
    fn files_are_due_only_when_velero_came_to_write_them() {
        for (phase, due) in [
            ("Completed", true),
            ("PartiallyFailed", true),
            ("Failed", false),
            ("FailedValidation", false),
            ("InProgress", false),
            ("", false),
        ] {
            let mut inventory = inventory();
            inventory.target = Some(target(TargetKind::Backup, phase));
            let plan = plan(&spec(), &inventory, now());
            let ItemSource::Store { unless, .. } = &item(&plan, "velero/backups/harvest/backup.log").source else {
                panic!("not of the store")
            };
            assert_eq!(unless.as_deref(), (!due).then_some(phase), "{phase}");
        }
    }

    #[test]
    fn every_container_of_every_pod_is_read_and_previous_ones_where_there_are_any() {
        let mut inventory = inventory();
        inventory.target = Some(target(TargetKind::Restore, "Failed"));
        inventory.pods = vec![
            pod("velero-1", PodRole::Server, "n1", &[("velero", 1)]),
            pod("agent-1", PodRole::NodeAgent { involved: false }, "n1", &[("node-agent", 0)]),
            pod("web-1", PodRole::Other, "n2", &[("web", 0), ("side", 0)]),
            pod("sick-1", PodRole::Other, "n2", &[("sick", 4)]),
        ];
        let plan = plan(&spec(), &inventory, now());
        let log = |pod: &str, container: &str, file: &str| {
            let found = item(&plan, &format!("namespaces/keep/pods/{pod}/{container}/{container}/logs/{file}"));
            let ItemSource::PodLog { limit, .. } = &found.source else { panic!("no log") };
            (found.priority, *limit, found.node.clone().unwrap())
        };
        let most = 32 << 20;
        assert_eq!(log("velero-1", "velero", "current.log"), (Priority::P2, most, "n1".into()));
        assert_eq!(log("velero-1", "velero", "previous.log"), (Priority::P2, most, "n1".into()));
        assert_eq!(log("agent-1", "node-agent", "current.log"), (Priority::P5, 1 << 20, "n1".into()));
        assert_eq!(log("web-1", "side", "current.log"), (Priority::P5, 1 << 20, "n2".into()));
        assert_eq!(log("sick-1", "sick", "previous.log"), (Priority::P2, most, "n2".into()));
        assert_eq!(paths(&plan).iter().filter(|path| path.contains("/logs/")).count(), 7);

        let mut without = spec();
        without.logs.previous = false;
        let plan = super::plan(&without, &inventory, now());
        assert!(!paths(&plan).iter().any(|path| path.ends_with("previous.log")));
    }

    #[test]
    fn the_newest_servers_log_gives_the_lines_about_the_target() {
        let mut inventory = inventory();
        inventory.target = Some(target(TargetKind::Restore, "InProgress"));
        let old = pod("velero-old", PodRole::Server, "n1", &[("velero", 0)]);
        let mut new = pod("velero-new", PodRole::Server, "n1", &[("velero", 1), ("proxy", 0)]);
        new.created = Some(now());
        inventory.pods = vec![new, old];
        let plan = plan(&spec(), &inventory, now());
        let lines: Vec<(String, Option<String>)> = plan
            .items
            .iter()
            .filter_map(|item| match &item.source {
                ItemSource::PodLog { server: Some(ServerLog { lines }), pod, .. } => {
                    Some((pod.clone(), lines.as_ref().map(|lines| lines.path.as_str().to_owned())))
                }
                _ => None,
            })
            .collect();
        assert_eq!(
            lines,
            [
                ("velero-new".to_owned(), Some("velero/restores/harvest/restore.from-server.log".to_owned())),
                ("velero-new".to_owned(), Some("velero/restores/harvest/restore.from-server.previous.log".to_owned())),
                ("velero-old".to_owned(), None),
            ]
        );
    }

    #[test]
    fn other_namespaces_are_looked_into_as_far_as_they_may_be() {
        let mut inventory = inventory();
        let one = |namespace: &str, whole: bool, looked: Looked| Touched {
            namespace: namespace.into(),
            why: "podvolumerestores harvest-1".into(),
            whole,
            looked,
        };
        inventory.touched = vec![
            one("shop", false, Looked::Yes),
            one("whole", true, Looked::Yes),
            one("secret", false, Looked::NotAllowed),
            one("many", false, Looked::TooMany),
        ];
        inventory.touch(&[], 99_936, "results of Restore harvest");
        let name = |name: &str| ObjectName { namespace: "shop".into(), name: name.into(), uid: None };
        inventory.involved = vec![name("shop-0")];
        let plan = plan(&spec(), &inventory, now());
        let ItemSource::Named { objects, .. } = &item(&plan, "namespaces/shop/core/pods.yaml").source else {
            panic!("not by name")
        };
        assert_eq!(objects, &[name("shop-0")]);
        assert!(matches!(item(&plan, "namespaces/whole/core/pods.yaml").source, ItemSource::List { .. }));
        for namespace in ["shop", "whole"] {
            item(&plan, &format!("namespaces/{namespace}/core/events.yaml"));
            item(&plan, &format!("namespaces/{namespace}/{namespace}.yaml"));
        }
        assert!(!paths(&plan).iter().any(|path| path.contains("/secret/") || path.contains("/many/")));
        assert!(!paths(&plan).contains(&"namespaces/shop/core/persistentvolumeclaims.yaml"), "none is known");
        let codes: Vec<_> = plan.missing.iter().map(|missing| missing.code).collect();
        assert!(codes.contains(&MissingCode::NotAllowed) && codes.contains(&MissingCode::NotLooked));
        assert!(plan.missing.iter().any(|missing| missing.why.contains("99936 more")), "those beyond are one line");
        assert!(plan.missing.iter().all(|missing| missing.severity == MissingSeverity::Note));
    }

    #[test]
    fn secrets_are_in_no_plan_and_no_path_is_planned_twice() {
        let mut inventory = inventory();
        inventory.target = Some(target(TargetKind::Restore, "Failed"));
        inventory.pods = vec![pod("velero-1", PodRole::Server, "n1", &[("velero", 0), ("velero", 0)])];
        inventory.nodes = ["n1".to_owned()].into();
        let plan = plan(&spec(), &inventory, now());
        let mut seen = BTreeSet::new();
        for item in &plan.items {
            assert!(seen.insert(item.path.as_str()), "{} twice", item.path.as_str());
            if let ItemSource::List { kind, .. } | ItemSource::Named { kind, .. } | ItemSource::Object { kind, .. } =
                &item.source
            {
                assert_ne!(kind.plural, "secrets");
            }
        }
        assert!(plan.items.is_sorted_by_key(|item| item.priority));
    }

    #[test]
    fn veleros_own_kinds_are_those_served_or_when_nobody_knows_those_known() {
        let mut inventory = inventory();
        let lists =
            |plan: &Plan| paths(plan).iter().filter(|path| path.starts_with("namespaces/keep/velero.io/")).count();
        assert_eq!(lists(&plan(&spec(), &inventory, now())), 2);
        inventory.served = crate::inventory::Served::default();
        inventory.served.stale.push("velero.io/v1".to_owned());
        let plan = plan(&spec(), &inventory, now());
        assert_eq!(lists(&plan), 13);
        let ItemSource::List { kind, .. } = &item(&plan, "namespaces/keep/velero.io/datauploads.yaml").source else {
            panic!("no list")
        };
        assert_eq!(kind.version, "v2alpha1");
    }
}
