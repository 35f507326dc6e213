//! A root as one line: subject, what it waits for, since when, and the innermost reason.

use jiff::Timestamp;
use serde_json::Value;

use crate::alike::and_more;
use crate::graph::Id;
use crate::kind::Kind;
use crate::kinds;
use crate::walk::{Relation, Root, Waypoint};

/// `PodVolumeRestore r1-abc waits for pod shop/db-0 (Init:0/1 for 14 min): its volume pvc-1 is attached to node n2`,
/// `PodVolumeBackup b1-abc is Failed: pod velero/b1-abc (Failed): container b1-abc was OOMKilled`, or
/// `Backup b1 is New for 40 min: no pod of Velero's server is ready: pod velero/velero-7c9 (Running): container velero …`;
/// then how many more say the same.
pub fn line(root: &Root) -> String {
    of_one(root) + &and_more(root.more)
}

/// The line of one of several roots that say the same.
pub(crate) fn of_one(root: &Root) -> String {
    let [target, further @ ..] = root.way.as_slice() else { return root.words.clone() };
    let name = format!("{} {}", target.id.kind.as_str(), target.id.name);
    let subject = if target.stands.is_empty() { name } else { format!("{name} is {}", target.stands) };
    // Of the installation the part in trouble is the subject.
    let lead = if target.id.kind == Kind::Installation { String::new() } else { format!("{subject}: ") };
    let words = &root.words;
    // Words of a pod have no subject, wherever it is on the way.
    let pod = further.iter().rfind(|point| point.id.kind == Kind::Pod);
    let about_pod = pod.map_or(String::new(), |pod| format!("{}: ", named(pod)));
    match root.relation {
        Relation::Itself => words.clone(),
        Relation::Data => of_data(root),
        Relation::Server if pod.is_some() => {
            format!("{lead}no pod of Velero's server is ready: {about_pod}{words}")
        }
        Relation::Repository if pod.is_some() => {
            let repository = further.first().map_or("", |first| first.id.name.as_str());
            format!("{lead}maintenance of BackupRepository {repository}: {about_pod}{words}")
        }
        Relation::EndedServer => format!("{subject}: Velero's server ended while it ran: {about_pod}{words}"),
        Relation::Ahead if further.len() == 1 => format!("{subject} {words}"),
        Relation::Incomplete => format!("{subject}, but {words}"),
        Relation::Restored => format!("{subject}, but not all that it made is well: {about_pod}{words}"),
        // Words of the object that the error names often begin with it.
        Relation::Named
            if pod.is_none() && !further.first().is_some_and(|first| words.contains(&first.id.to_string())) =>
        {
            format!("{lead}{}: {words}", further.first().map_or(String::new(), named))
        }
        Relation::Agent => match further.first() {
            Some(set) if !set.stands.is_empty() => {
                format!("{} {} is {}: {about_pod}{words}", set.id.kind.as_str(), set.id.name, set.stands)
            }
            Some(set) => format!("{} {}: {about_pod}{words}", set.id.kind.as_str(), set.id.name),
            None => words.clone(),
        },
        _ => format!("{lead}{about_pod}{words}"),
    }
}

/// How an object stands at that time, in a few words: `New for 40 min`, `Init:0/1 for 14 min`, or the phase in which it
/// ended. Empty for kinds of which nothing is known.
pub fn stands(object: &Value, now: Timestamp) -> String {
    kinds::stands(&Id::of(object), object, now)
}

/// The subject is the object that moves the data.
fn of_data(root: &Root) -> String {
    let [_, first, further @ ..] = root.way.as_slice() else { return root.words.clone() };
    let subject = format!("{} {}", first.id.kind.as_str(), first.id.name);
    let awaited = further.iter().rfind(|point| point.id.kind == Kind::Pod).or(further.last()).map(named);
    let has_ended = !first.stands.is_empty();
    match (awaited, has_ended) {
        (None, false) => format!("{subject}: {}", root.words),
        (None, true) => format!("{subject} is {}: {}", first.stands, root.words),
        (Some(awaited), false) => format!("{subject} waits for {awaited}: {}", root.words),
        (Some(awaited), true) => format!("{subject} is {}: {awaited}: {}", first.stands, root.words),
    }
}

fn named(point: &Waypoint) -> String {
    let name = match point.id.kind {
        Kind::Pod => format!("pod {}/{}", point.id.namespace, point.id.name),
        _ => point.id.to_string(),
    };
    if point.stands.is_empty() { name } else { format!("{name} ({})", point.stands) }
}
