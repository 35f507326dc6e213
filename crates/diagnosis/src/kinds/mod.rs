//! One file for each kind: what an object says about itself, and what it needs for its next step.

mod agent;
mod claim;
mod container;
mod data;
mod definition;
mod general;
mod installation;
mod leaving;
mod location;
mod namespace;
mod node;
mod pod;
mod queue;
mod quota;
mod repository;
mod restored;
mod server;
mod snapshot;
mod target;

use jiff::Timestamp;
use serde_json::Value;

use crate::graph::{Id, View};
use crate::hook::FailedHook;
use crate::kind::Kind;
use crate::reason::RootReason;
use crate::walk::Relation;

pub use definition::is_custom;
pub use installation::{InstallationParts, parts};
pub use restored::made;
pub use target::has_ended;
pub(crate) use {
    container::{limit, spec},
    definition::{lacking as lacking_definition, named as named_definition},
    leaving::IN_USE,
    location::of_backup as location_of,
    namespace::may_touch,
    quota::refusing as refusing_quota,
    server::{of_pod as server_of, version as server_version},
};

/// What an object says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is as it should be, is at work, or waits without a word.
    Well,
    /// It says what is wrong, as a clause: with its own name, unless a line names the object anyway (a pod, volume data).
    /// A consequence ("timed out") is a root only if nothing below it is in trouble.
    Says { words: String, reason: RootReason, is_consequence: bool },
    /// A hook of it failed.
    Hook(FailedHook),
    /// It completed without something that it should contain: a clause, and the text that says so.
    Incomplete { words: String, text: String },
}

impl State {
    /// Something is wrong, in its own words.
    pub(crate) fn says(words: impl Into<String>, reason: RootReason) -> Self {
        Self::Says { words: words.into(), reason, is_consequence: false }
    }
}

/// What an object depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) to: Id,
    pub(crate) met: Met,
    /// Of the target: how it depends on it.
    pub(crate) relation: Relation,
    /// No name leads to it, only a time or how things usually are.
    pub(crate) is_uncertain: bool,
}

/// Whether it has that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// The needed object itself shows it. One that does not exist is missing.
    See,
    /// It has it not, although the other object may be well: why.
    No(String, RootReason),
}

impl Need {
    pub(crate) fn see(to: Id) -> Self {
        Self { to, met: Met::See, relation: Relation::Further, is_uncertain: false }
    }

    pub(crate) fn no(to: Id, why: String, reason: RootReason) -> Self {
        Self { met: Met::No(why, reason), ..Self::see(to) }
    }

    pub(crate) fn by(self, relation: Relation) -> Self {
        Self { relation, ..self }
    }
}

/// What an object says and needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) state: State,
    pub(crate) needs: Vec<Need>,
}

impl Report {
    pub(crate) fn of(state: State) -> Self {
        Self { state, needs: Vec::new() }
    }

    pub(crate) fn needing(state: State, needs: Vec<Need>) -> Self {
        Self { state, needs }
    }
}

/// Asks an object.
pub(crate) fn report(id: &Id, object: &Value, view: &View<'_>) -> Report {
    match id.kind {
        Kind::Installation => installation::report(view),
        Kind::Backup | Kind::Restore => target::report(id, object, view),
        Kind::PodVolumeRestore | Kind::DataDownload | Kind::PodVolumeBackup | Kind::DataUpload => {
            data::report(id, object, view)
        }
        Kind::Pod => pod::report(id, object, view),
        Kind::Deployment => server::report(id, object, view),
        Kind::DaemonSet => agent::report(id, object, view),
        Kind::BackupStorageLocation => location::report(id, object),
        Kind::BackupRepository => repository::report(id, object, view),
        Kind::VolumeSnapshot | Kind::VolumeSnapshotContent => snapshot::report(id, object),
        Kind::Namespace => namespace::report(id, object, view.now()),
        Kind::PersistentVolumeClaim => claim::report(id, object, view),
        Kind::Node => node::report(id, object),
        // What an error says of it is said by the need.
        Kind::CustomResourceDefinition => Report::of(State::Well),
        _ => general::report(id, object, view),
    }
}

/// How an object stands, in a few words: `Init:0/1 for 14 min`, `New for 40 min`, the phase of data that has ended
/// badly, or `ready on 2 of 3 nodes`. Empty for other kinds.
pub(crate) fn stands(id: &Id, object: &Value, now: Timestamp) -> String {
    match id.kind {
        Kind::Backup | Kind::Restore => target::stands(object, now),
        Kind::Pod => pod::stands(object, now),
        Kind::PodVolumeRestore | Kind::DataDownload | Kind::PodVolumeBackup | Kind::DataUpload => data::stands(object),
        Kind::DaemonSet => agent::stands(object),
        _ => String::new(),
    }
}

/// The pods that the selector of a Deployment or DaemonSet in Velero's namespace takes.
fn pods_of<'a>(workload: &Value, view: &View<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    let selector = workload["spec"]["selector"]["matchLabels"].clone();
    view.list(Kind::Pod, view.velero()).filter(move |pod| {
        let labels = &pod["metadata"]["labels"];
        selector.as_object().is_some_and(|wanted| {
            !wanted.is_empty() && wanted.iter().all(|(label, value)| labels[label.as_str()] == *value)
        })
    })
}
