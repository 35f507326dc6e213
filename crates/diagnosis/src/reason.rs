//! What is wrong at a root, for programs: its words say the same to people.

use crate::graph::Id;
use crate::hook::FailedHook;

/// What is wrong with the last object of a way, or with how the one before it depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootReason {
    /// The object's own fields show it: its kind has one reason only.
    Shown,
    /// A text of others says it.
    Said(String),
    /// The object does not exist.
    Absent,
    /// A container of the pod is in trouble.
    Container(Trouble),
    /// The scheduler found no node for the pod.
    Unscheduled,
    /// The pod as a whole failed, such as Evicted.
    PodFailed,
    /// The claim's volume is gone.
    Lost,
    /// The attachment holds the volume on another node, for this pod if one is known.
    Held(Option<Id>),
    /// It is being deleted, and this finalizer keeps it; for a claim that is in use, until this pod ends, which may be
    /// what the finalizer keeps.
    Leaving(String, Option<Id>),
    /// The API server does not serve the kind that it defines; a text of others says so.
    NotServed(String),
    /// The DaemonSet has no pod on this node.
    NotOn(String),
    /// The location takes no new Backup.
    ReadOnly,
    /// The server was started with this flag.
    Flag(&'static str),
    /// A hook of the target failed.
    Hook(FailedHook),
    /// The Deployment is scaled to 0.
    ScaledToZero,
}

/// What is wrong with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The container.
    pub container: String,
    /// What happened to it.
    pub what: Mishap,
    /// What it or the kubelet says about that; may be empty.
    pub text: String,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Its image cannot be had.
    Image,
    /// It cannot be started, for another reason.
    NotStarted,
    /// It exceeded its memory limit, or its node had no memory left.
    OutOfMemory,
    /// It ended with an error, and is not started again.
    Ended,
    /// It ended with an error, and is or will be started again.
    Restarted,
}
