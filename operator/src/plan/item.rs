//! What a plan is made of: items, the source of each, and how much it matters.
//! `target`, `velero`, `namespaces`, `cluster` and `logs` choose the items.

use std::collections::BTreeSet;

use debugbundle_crd::TargetKind;
use debugbundle_format::{BundlePath, StoreFile, manifest::Missing};
use jiff::Timestamp;
use serde_json::Value;

use super::Bodies;
use crate::{cluster::ApiKind, discovery::RESTORED_BY, velero::ObjectName};

/// The order of reading; the first ones are kept longest when time or room runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// What we write ourselves.
    P0,
    /// The target and what belongs to it.
    P1,
    /// Logs of pods that worked on it.
    P2,
    /// All other objects.
    P3,
    /// A Restore's Backup, maintenance.
    P4,
    /// Logs of uninvolved pods, discovery.
    P5,
}

/// A time span of logs; open ends are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeWindow {
    /// Lines from here on.
    pub from: Option<Timestamp>,
    /// Lines up to here.
    pub to: Option<Timestamp>,
}

/// Where lines about the target in the server's log are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLines {
    /// The entry for these lines.
    pub path: BundlePath,
    /// The target's kind.
    pub kind: TargetKind,
    /// Velero's namespace.
    pub namespace: String,
    /// The target's name.
    pub name: String,
}

/// What is extracted from the log of Velero's server, besides keeping it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLog {
    /// The lines about the target, if there is one and this server worked on it.
    pub lines: Option<ServerLines>,
}

/// Which objects of a kind are wanted, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// All, as the API server orders them.
    All,
    /// All; what belongs to the target comes first, so that no limit drops it.
    First(First),
    /// The newest so many Events, newest first: the API server orders them by name.
    Newest(usize),
    /// So many at most.
    AtMost(usize),
    /// Only those on the way to a cause.
    Only(Only),
}

/// What belongs to the target, of one kind: objects with one of the names or one of the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct First {
    /// Names.
    pub names: BTreeSet<String>,
    /// Labels: key and value.
    pub labels: Vec<(&'static str, String)>,
    /// A label that all objects with one of the names have: a List selected by it contains them all.
    pub narrow: Option<(&'static str, String)>,
}

impl First {
    /// Whether an object is one of them.
    pub fn has(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let labelled = |(key, value): &(&str, String)| metadata["labels"][*key] == **value;
        metadata["name"].as_str().is_some_and(|name| self.names.contains(name)) || self.labels.iter().any(labelled)
    }

    /// It matches nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.labels.is_empty()
    }
}

/// How a few of many objects are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Only {
    /// `VolumeAttachments` of these `PersistentVolumes`.
    Attached(BTreeSet<String>),
    /// `VolumeGroupSnapshotContents` with one of these names, and those that this Restore made: Velero labels them with
    /// its whole name (`pkg/restore/actions/csi/volumesnapshot_action.go`).
    OfGroups {
        /// Names.
        names: BTreeSet<String>,
        /// Name of the Restore.
        restore: Option<String>,
    },
    /// `ClusterRoleBindings` of these `ServiceAccounts`.
    Bound {
        /// Their namespace.
        namespace: String,
        /// Their names.
        accounts: BTreeSet<String>,
    },
    /// `APIServices` whose server does not answer.
    Unavailable,
    /// Events about these cluster-scoped objects: kind and name.
    About(BTreeSet<(&'static str, String)>),
}

impl Only {
    /// Whether an object is wanted.
    pub fn wants(&self, object: &Value) -> bool {
        let array = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        match self {
            Self::Attached(volumes) => {
                let volume = object.pointer("/spec/source/persistentVolumeName").and_then(Value::as_str);
                volume.is_some_and(|volume| volumes.contains(volume))
            }
            Self::OfGroups { names, restore } => {
                let metadata = &object["metadata"];
                let made_by = metadata["labels"][RESTORED_BY].as_str();
                metadata["name"].as_str().is_some_and(|name| names.contains(name))
                    || (made_by.is_some() && made_by == restore.as_deref())
            }
            Self::Bound { namespace, accounts } => array("/subjects").any(|subject| {
                let name = subject["name"].as_str().unwrap_or_default();
                subject["kind"] == "ServiceAccount" && subject["namespace"] == **namespace && accounts.contains(name)
            }),
            Self::Unavailable => {
                !array("/status/conditions").any(|one| one["type"] == "Available" && one["status"] == "True")
            }
            Self::About(objects) => {
                let about = &object["involvedObject"];
                objects.iter().any(|(kind, name)| about["kind"] == *kind && about["name"] == **name)
            }
        }
    }
}

/// Where an item comes from: the closed set of sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemSource {
    /// Objects of a kind, in a namespace or in the cluster; one file.
    List {
        /// Which kind.
        kind: ApiKind,
        /// `None`: the whole cluster.
        namespace: Option<String>,
        /// Which of them, and in which order.
        want: Want,
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
        /// The UID of the planned pod, if this pod took its place.
        instead_of: Option<String>,
        /// Container.
        container: String,
        /// The log of the previous instance.
        previous: bool,
        /// The most bytes kept.
        limit: u64,
        /// Only the end of a longer log is kept.
        tail_only: bool,
        /// Set for the server's own container: its log tells its version and what it did for the target.
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
        /// The phase of its Backup or Restore, if a missing file is no error: Velero may not have written it.
        unless: Option<String>,
    },
    /// What the API server serves (`/api`, `/apis`).
    Discovery {
        /// The path on the API server.
        path: &'static str,
    },
}

/// The class of a source. Each question about sources that is not about one source's own fields is an exhaustive match
/// over it: a new source then has to answer all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceClass<'a> {
    /// Objects in one List.
    List,
    /// One object.
    Object,
    /// A container's log.
    ContainerLog {
        /// Namespace of the pod.
        namespace: &'a str,
        /// Name of the pod.
        pod: &'a str,
        /// Whether it is the log of the previous instance.
        previous: bool,
    },
    /// A file that Velero wrote to the object store.
    StoreFile,
    /// What the API server serves.
    Discovery,
}

impl ItemSource {
    /// Its class.
    pub fn class(&self) -> SourceClass<'_> {
        match self {
            Self::List { .. } | Self::Named { .. } => SourceClass::List,
            Self::Object { .. } => SourceClass::Object,
            Self::PodLog { namespace, pod, previous, .. } => {
                SourceClass::ContainerLog { namespace, pod, previous: *previous }
            }
            Self::Store { .. } => SourceClass::StoreFile,
            Self::Discovery { .. } => SourceClass::Discovery,
        }
    }

    /// The kind of its objects; `None` for logs, files and discovery.
    pub const fn kind(&self) -> Option<&ApiKind> {
        match self {
            Self::List { kind, .. } | Self::Named { kind, .. } | Self::Object { kind, .. } => Some(kind),
            Self::PodLog { .. } | Self::Store { .. } | Self::Discovery { .. } => None,
        }
    }

    /// The namespace, if it is a container's log outside Velero's namespace.
    pub fn application(&self, velero: &str) -> Option<&str> {
        match self.class() {
            SourceClass::ContainerLog { namespace, .. } => (namespace != velero).then_some(namespace),
            SourceClass::List | SourceClass::Object | SourceClass::StoreFile | SourceClass::Discovery => None,
        }
    }

    /// Whether it reads objects of this kind in this namespace; empty: in the cluster.
    pub fn lists(&self, of: &ApiKind, place: &str) -> bool {
        match self {
            Self::List { kind, namespace, .. } => kind == of && namespace.as_deref().unwrap_or_default() == place,
            Self::Named { kind, objects } => kind == of && objects.first().is_some_and(|one| one.namespace == place),
            Self::Object { .. } | Self::PodLog { .. } | Self::Store { .. } | Self::Discovery { .. } => false,
        }
    }
}

/// One thing that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// In words, for the report that it is missing.
    pub what: String,
    /// Its path in the bundle.
    pub path: BundlePath,
    /// Where it comes from.
    pub source: ItemSource,
    /// How much it matters.
    pub priority: Priority,
    /// The node whose kubelet serves it.
    pub node: Option<String>,
}

/// What is asked of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The time span.
    pub window: TimeWindow,
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
    /// Items that are known to be missing before anything is read.
    pub missing: Vec<Missing>,
    /// The ConfigMaps whose values are kept, redacted.
    pub config_maps: Bodies,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_contents_of_group_snapshots_those_are_wanted_that_are_named_or_that_the_restore_made() {
        let wants = |restore: Option<&str>| {
            let only = Only::OfGroups { names: ["named".to_owned()].into(), restore: restore.map(str::to_owned) };
            let content =
                |name: &str, labels: Value| only.wants(&json!({"metadata": {"name": name, "labels": labels}}));
            [
                content("named", json!({})),
                content("stub", json!({"velero.io/restore-name": "regrow"})),
                content("other", json!({"velero.io/restore-name": "another"})),
                content("stranger", Value::Null),
            ]
        };
        assert_eq!(wants(Some("regrow")), [true, true, false, false]);
        assert_eq!(wants(None), [true, false, false, false]);
    }
}
