//! What is known of the cluster: objects by name, and lists. A question about something that was not read becomes a
//! [`Wanted`].

use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet, fmt};

use jiff::Timestamp;
use serde_json::Value;

use crate::{hook::FailedHook, kind::Kind};

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

    /// Velero as a whole, in its namespace: no object, but what a walk without a target begins with.
    pub fn installation(velero: &str) -> Self {
        Self::new(Kind::Installation, velero, "velero")
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
    /// The objects of a kind with a label, in any namespace: kind, label, value.
    Labelled(Kind, String, String),
    /// The Events that warn about an object.
    Warnings(Id),
    /// The last words in the log of a container's instance: [`crate::LastWords`]; `true`: of the one before.
    LastWords(Id, String, bool),
    /// The errors and warnings of the target's results file.
    Results,
    /// The target's hooks that failed, from its log: [`crate::Hooks`].
    FailedHooks,
}

/// A text of the results file that Velero writes about a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultText {
    /// It is an error, and not a warning.
    pub is_error: bool,
    /// The text.
    pub text: String,
    /// How often it was said, or one like it that was not kept.
    pub times: u64,
}

/// What is known of the cluster at a moment.
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    now: Timestamp,
    velero: String,
    objects: BTreeMap<Id, Known<'a>>,
    listed: BTreeSet<(Kind, String)>,
    labelled: BTreeSet<(Kind, String, String)>,
    warned: BTreeSet<Id>,
    is_whole: bool,
    results: Option<Vec<ResultText>>,
    failed_hooks: Option<Vec<FailedHook>>,
    further_ahead: usize,
    /// By pod, container, and whether the instance before is meant.
    said: BTreeMap<(Id, String, bool), Option<String>>,
}

impl<'a> Graph<'a> {
    /// Nothing is known. `velero`: its namespace. `now`: the time to which ages refer.
    pub fn new(velero: &str, now: Timestamp) -> Self {
        Self {
            now,
            velero: velero.to_owned(),
            objects: BTreeMap::new(),
            listed: BTreeSet::new(),
            labelled: BTreeSet::new(),
            warned: BTreeSet::new(),
            is_whole: false,
            results: None,
            failed_hooks: None,
            further_ahead: 0,
            said: BTreeMap::new(),
        }
    }

    /// Velero's namespace.
    pub fn velero(&self) -> &str {
        &self.velero
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

    /// Records that all objects of a kind with this label were added.
    pub fn labelled(&mut self, kind: Kind, label: &str, value: &str) {
        self.labelled.insert((kind, label.to_owned(), value.to_owned()));
    }

    /// Records that all Events that warn about an object were added.
    pub fn warned(&mut self, id: Id) {
        self.warned.insert(id);
    }

    /// Adds the hooks that failed, from the target's log: [`crate::Hooks`].
    pub fn failed_hooks(&mut self, hooks: impl IntoIterator<Item = FailedHook>) {
        self.failed_hooks.get_or_insert_default().extend(hooks);
    }

    /// How many more objects Velero takes up before the target than were added.
    pub fn further_ahead(&mut self, number: usize) {
        self.further_ahead = number;
    }

    /// Adds the last words in the log of a container's instance: [`crate::LastWords`]; `None`: it has none.
    /// `is_previous`: of the one before.
    pub fn said(&mut self, pod: Id, container: &str, is_previous: bool, words: Option<String>) {
        self.said.insert((pod, container.to_owned(), is_previous), words);
    }

    /// Adds the errors and warnings of the target's results file, in its order.
    pub fn results(&mut self, results: impl IntoIterator<Item = ResultText>) {
        self.results.get_or_insert_default().extend(results);
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
    target: Id,
    wants: RefCell<BTreeSet<Wanted>>,
}

impl<'a> View<'a> {
    pub(crate) fn of(graph: &'a Graph<'a>, target: &Id) -> Self {
        Self { graph, target: target.clone(), wants: RefCell::default() }
    }

    pub(crate) fn target(&self) -> &Id {
        &self.target
    }

    /// The target's hooks that failed.
    pub(crate) fn failed_hooks(&self) -> &'a [FailedHook] {
        self.known_or_wanted(self.graph.failed_hooks.as_ref(), Wanted::FailedHooks)
    }

    fn known_or_wanted<T>(&self, known: Option<&'a Vec<T>>, wanted: Wanted) -> &'a [T] {
        if known.is_none() && !self.graph.is_whole {
            self.wants.borrow_mut().insert(wanted);
        }
        known.map(Vec::as_slice).unwrap_or_default()
    }

    /// How many more objects are in front of the target than are known.
    pub(crate) fn further_ahead(&self) -> usize {
        self.graph.further_ahead
    }

    /// The last words in the log of a container's instance.
    pub(crate) fn said(&self, pod: &Id, container: &str, is_previous: bool) -> Option<&'a str> {
        let instance = (pod.clone(), container.to_owned(), is_previous);
        let said = self.graph.said.get(&instance);
        if said.is_none() && !self.graph.is_whole {
            self.wants.borrow_mut().insert(Wanted::LastWords(instance.0, instance.1, instance.2));
        }
        said?.as_deref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.graph.now
    }

    /// Velero's namespace.
    pub(crate) fn velero(&self) -> &'a str {
        &self.graph.velero
    }

    /// The errors of the target's results file.
    pub(crate) fn errors_of_results(&self) -> impl Iterator<Item = &'a str> {
        self.counted_errors().map(|(text, _)| text)
    }

    /// The errors of the target's results file, each with how often it was said.
    pub(crate) fn counted_errors(&self) -> impl Iterator<Item = (&'a str, u64)> {
        self.results().iter().filter(|one| one.is_error).map(|one| (one.text.as_str(), one.times))
    }

    /// The warnings of the target's results file.
    pub(crate) fn warnings_of_results(&self) -> impl Iterator<Item = &'a str> {
        self.results().iter().filter(|one| !one.is_error).map(|one| one.text.as_str())
    }

    fn results(&self) -> &'a [ResultText] {
        self.known_or_wanted(self.graph.results.as_ref(), Wanted::Results)
    }

    pub(crate) fn get(&self, id: &Id) -> Seen<'a> {
        static NO_OBJECT: Value = Value::Null;
        if id.kind == Kind::Installation {
            return Seen::Found(&NO_OBJECT);
        }
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
        self.known(kind, namespace)
    }

    fn known(&self, kind: Kind, namespace: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        let first = Id::new(kind.clone(), namespace, "");
        let namespace = namespace.to_owned();
        let known = self.graph.objects.range(first..);
        known.take_while(move |(id, _)| id.kind == kind && id.namespace == namespace).filter_map(|(_, seen)| match seen
        {
            Known::Found(object) => Some(*object),
            _ => None,
        })
    }

    /// The known objects of a kind with a label, in any namespace.
    pub(crate) fn with_label(&self, kind: &Kind, label: &str, value: &str) -> Vec<&'a Value> {
        if !self.graph.is_whole {
            let wanted = (kind.clone(), label.to_owned(), value.to_owned());
            if !self.graph.labelled.contains(&wanted) {
                self.wants.borrow_mut().insert(Wanted::Labelled(wanted.0, wanted.1, wanted.2));
            }
        }
        let first = Id::new(kind.clone(), "", "");
        let of_kind = self.graph.objects.range(first..).take_while(|(id, _)| id.kind == *kind);
        let found = of_kind.filter_map(|(_, seen)| match seen {
            Known::Found(object) => Some(*object),
            _ => None,
        });
        found.filter(|object| object["metadata"]["labels"][label] == value).collect()
    }

    /// Warnings about an object, the newest first.
    pub(crate) fn warnings(&self, id: &Id) -> Vec<&'a Value> {
        // Events about cluster-scoped objects are in this namespace.
        let namespace = if id.namespace.is_empty() { "default" } else { id.namespace.as_str() };
        let about = |event: &&Value| {
            let regarding = &event["involvedObject"];
            event["type"] == "Warning" && regarding["kind"] == id.kind.as_str() && regarding["name"] == id.name.as_str()
        };
        if !self.is_listed(&Kind::Event, namespace) && !self.graph.warned.contains(id) {
            self.wants.borrow_mut().insert(Wanted::Warnings(id.clone()));
        }
        let mut found: Vec<_> = self.known(Kind::Event, namespace).filter(about).collect();
        found.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
        found
    }

    pub(crate) fn into_wants(self) -> BTreeSet<Wanted> {
        self.wants.into_inner()
    }

    /// Whether all objects of a kind in a namespace, or in the cluster, are known.
    pub(crate) fn is_listed(&self, kind: &Kind, namespace: &str) -> bool {
        self.graph.is_whole || self.graph.listed.contains(&(kind.clone(), namespace.to_owned()))
    }
}

/// When an Event was last seen.
pub(crate) fn last_seen(event: &Value) -> Option<Timestamp> {
    let of_series = &event["series"]["lastObservedTime"];
    [of_series, &event["lastTimestamp"], &event["eventTime"], &event["firstTimestamp"]].into_iter().find_map(time)
}

/// A time of the Kubernetes API.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// `for 14 min`, `for 3 h` or `for 2 d`; nothing below a minute.
pub(crate) fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let minutes = since.map_or(0, |since| now.duration_since(since).as_mins());
    match minutes {
        ..1 => String::new(),
        1..180 => format!("for {minutes} min"),
        180..2880 => format!("for {} h", minutes / 60),
        _ => format!("for {} d", minutes / 1440),
    }
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
