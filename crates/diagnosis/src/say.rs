//! A root as one line: subject, what it waits for, since when, and the innermost reason.

use crate::graph::Kind;
use crate::walk::{Root, Waypoint};

/// `PodVolumeRestore r1-abc waits for pod shop/db-0 (Init:0/1 for 14 min): its volume pvc-1 is attached to node n2`, or
/// `PodVolumeBackup b1-abc is Failed: pod velero/b1-abc (Failed): container b1-abc was OOMKilled`.
pub fn line(root: &Root) -> String {
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
