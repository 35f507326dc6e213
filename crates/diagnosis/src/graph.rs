//! What is known of the cluster: objects by name, and lists. A question about something that was not read becomes a
//! [`Wanted`].

use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet, fmt};

use jiff::Timestamp;
use serde_json::Value;

/// A kind that the walk knows, or any other one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Velero's.
    Backup,
    /// Velero's.
    Restore,
    /// Velero's.
    PodVolumeBackup,
    /// Velero's.
    PodVolumeRestore,
    /// Velero's.
    DataUpload,
    /// Velero's.
    DataDownload,
    /// Kubernetes'.
    Pod,
    /// Kubernetes'.
    PersistentVolumeClaim,
    /// Kubernetes'.
    PersistentVolume,
    /// Kubernetes'.
    StorageClass,
    /// Kubernetes'.
    VolumeAttachment,
    /// Kubernetes'.
    Node,
    /// Kubernetes'.
    Event,
    /// Any other one, by its name.
    Other(String),
}

impl Kind {
    /// The kinds that move the data of a volume.
    pub const DATA: [Self; 4] = [Self::PodVolumeRestore, Self::PodVolumeBackup, Self::DataDownload, Self::DataUpload];

    /// The kind with this name.
    pub fn of(name: &str) -> Self {
        match name {
            "Backup" => Self::Backup,
            "Restore" => Self::Restore,
            "PodVolumeBackup" => Self::PodVolumeBackup,
            "PodVolumeRestore" => Self::PodVolumeRestore,
            "DataUpload" => Self::DataUpload,
            "DataDownload" => Self::DataDownload,
            "Pod" => Self::Pod,
            "PersistentVolumeClaim" => Self::PersistentVolumeClaim,
            "PersistentVolume" => Self::PersistentVolume,
            "StorageClass" => Self::StorageClass,
            "VolumeAttachment" => Self::VolumeAttachment,
            "Node" => Self::Node,
            "Event" => Self::Event,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Backup => "Backup",
            Self::Restore => "Restore",
            Self::PodVolumeBackup => "PodVolumeBackup",
            Self::PodVolumeRestore => "PodVolumeRestore",
            Self::DataUpload => "DataUpload",
            Self::DataDownload => "DataDownload",
            Self::Pod => "Pod",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::PersistentVolume => "PersistentVolume",
            Self::StorageClass => "StorageClass",
            Self::VolumeAttachment => "VolumeAttachment",
            Self::Node => "Node",
            Self::Event => "Event",
            Self::Other(name) => name,
        }
    }
}

/// Names an object. The namespace of a cluster-scoped one is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, or nothing.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Id {
    /// An object in a namespace.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A cluster-scoped object.
    pub fn of_cluster(kind: Kind, name: &str) -> Self {
        Self::new(kind, "", name)
    }

    /// The name of an object that was read.
    pub fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        Self::new(Kind::of(text(&object["kind"])), text(&metadata["namespace"]), text(&metadata["name"]))
    }
}

/// `Pod shop/db-0`.
impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(out, "{} {}", self.kind.as_str(), self.name),
            namespace => write!(out, "{} {namespace}/{}", self.kind.as_str(), self.name),
        }
    }
}

/// How a question about an object was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known<'a> {
    /// The object.
    Found(&'a Value),
    /// The API server says that it does not exist.
    Absent,
    /// It may not be read.
    Forbidden,
    /// The file that is examined does not contain it.
    NotHere,
}

/// What the walk would need to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// One object.
    Object(Id),
    /// All objects of a kind, in a namespace or in the cluster.
    List(Kind, String),
}

/// What is known of the cluster at a moment.
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    now: Timestamp,
    velero: String,
    objects: BTreeMap<Id, Known<'a>>,
    listed: BTreeSet<(Kind, String)>,
    is_whole: bool,
    errors: Vec<String>,
}

impl<'a> Graph<'a> {
    /// Nothing is known. `velero`: its namespace. `now`: the time to which ages refer.
    pub fn new(velero: &str, now: Timestamp) -> Self {
        Self {
            now,
            velero: velero.to_owned(),
            objects: BTreeMap::new(),
            listed: BTreeSet::new(),
            is_whole: false,
            errors: Vec::new(),
        }
    }

    /// Adds an object that was read.
    pub fn add(&mut self, object: &'a Value) {
        self.objects.insert(Id::of(object), Known::Found(object));
    }

    /// The object, if it was read.
    pub fn object(&self, id: &Id) -> Option<&'a Value> {
        match self.objects.get(id) {
            Some(Known::Found(object)) => Some(object),
            _ => None,
        }
    }

    /// Records how the question about an object was answered.
    pub fn answer(&mut self, id: Id, known: Known<'a>) {
        self.objects.insert(id, known);
    }

    /// Records that all objects of a kind in a namespace, or in the cluster, were added.
    pub fn listed(&mut self, kind: Kind, namespace: &str) {
        self.listed.insert((kind, namespace.to_owned()));
    }

    /// Adds the errors of the target's results file, in its order.
    pub fn errors(&mut self, errors: impl IntoIterator<Item = String>) {
        self.errors.extend(errors);
    }

    /// What was not added does not exist.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }
}

/// What a question returns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    Found(&'a Value),
    Absent,
    /// Not read, or not allowed to.
    Unread,
}

/// A graph that remembers what was asked in vain.
pub(crate) struct View<'a> {
    graph: &'a Graph<'a>,
    wants: RefCell<BTreeSet<Wanted>>,
}

impl<'a> View<'a> {
    pub(crate) fn of(graph: &'a Graph<'a>) -> Self {
        Self { graph, wants: RefCell::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.graph.now
    }

    /// Velero's namespace.
    pub(crate) fn velero(&self) -> &'a str {
        &self.graph.velero
    }

    /// The errors of the target's results file.
    pub(crate) fn errors(&self) -> &'a [String] {
        &self.graph.errors
    }

    pub(crate) fn get(&self, id: &Id) -> Seen<'a> {
        match self.graph.objects.get(id) {
            Some(Known::Found(object)) => Seen::Found(object),
            Some(Known::Absent) => Seen::Absent,
            Some(Known::Forbidden | Known::NotHere) => Seen::Unread,
            None if self.is_listed(&id.kind, &id.namespace) => Seen::Absent,
            None => {
                self.wants.borrow_mut().insert(Wanted::Object(id.clone()));
                Seen::Unread
            }
        }
    }

    /// The known objects of a kind in a namespace, or in the cluster.
    pub(crate) fn list(&self, kind: Kind, namespace: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        if !self.is_listed(&kind, namespace) {
            self.wants.borrow_mut().insert(Wanted::List(kind.clone(), namespace.to_owned()));
        }
        let first = Id::new(kind.clone(), namespace, "");
        let namespace = namespace.to_owned();
        let known = self.graph.objects.range(first..);
        known.take_while(move |(id, _)| id.kind == kind && id.namespace == namespace).filter_map(|(_, seen)| match seen
        {
            Known::Found(object) => Some(*object),
            _ => None,
        })
    }

    /// Warnings about an object, the newest first.
    pub(crate) fn warnings(&self, id: &Id) -> Vec<&'a Value> {
        // Events about cluster-scoped objects are in this namespace.
        let namespace = if id.namespace.is_empty() { "default" } else { id.namespace.as_str() };
        let about = |event: &&Value| {
            let regarding = &event["involvedObject"];
            event["type"] == "Warning" && regarding["kind"] == id.kind.as_str() && regarding["name"] == id.name.as_str()
        };
        let mut found: Vec<_> = self.list(Kind::Event, namespace).filter(about).collect();
        found.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
        found
    }

    pub(crate) fn into_wants(self) -> BTreeSet<Wanted> {
        self.wants.into_inner()
    }

    fn is_listed(&self, kind: &Kind, namespace: &str) -> bool {
        self.graph.is_whole || self.graph.listed.contains(&(kind.clone(), namespace.to_owned()))
    }
}

/// When an Event was last seen.
fn last_seen(event: &Value) -> Option<Timestamp> {
    let of_series = &event["series"]["lastObservedTime"];
    [of_series, &event["lastTimestamp"], &event["eventTime"], &event["firstTimestamp"]].into_iter().find_map(time)
}

/// A time of the Kubernetes API.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// A text, or nothing.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list, or none.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The condition of this type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&object["status"]["conditions"]).iter().find(|condition| condition["type"] == kind)
}
