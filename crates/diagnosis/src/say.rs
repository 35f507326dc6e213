//! A root as one line: subject, what it waits for, since when, and the innermost reason.

use crate::graph::Kind;
use crate::walk::{Root, Waypoint};

/// `PodVolumeRestore r1-abc waits for pod shop/db-0 (Init:0/1 for 14 min): its volume pvc-1 is attached to node n2`.
pub fn line(root: &Root) -> String {
    let [_, first, further @ ..] = root.way.as_slice() else { return root.words.clone() };
    let subject = format!("{} {}", first.id.kind.as_str(), first.id.name);
    let Some(last) = further.last() else { return said(&subject, &root.words) };
    let pod = further.iter().rfind(|step| step.id.kind == Kind::Pod);
    let awaited = pod.unwrap_or(last);
    let is_of_another =
        last.id != awaited.id && !root.words.starts_with("its ") && !root.words.ends_with("does not exist");
    let words = if is_of_another { said(&last.id.to_string(), &root.words) } else { root.words.clone() };
    format!("{subject} waits for {}: {words}", named(awaited))
}

/// `PodVolumeBackup b1-x is Failed: …`, `Node n2 is not Ready: …`.
fn said(subject: &str, words: &str) -> String {
    if words.starts_with("is ") || words.starts_with("has ") {
        format!("{subject} {words}")
    } else {
        format!("{subject}: {words}")
    }
}

fn named(step: &Waypoint) -> String {
    let name = match step.id.kind {
        Kind::Pod => format!("pod {}/{}", step.id.namespace, step.id.name),
        _ => step.id.to_string(),
    };
    if step.stands.is_empty() { name } else { format!("{name} ({})", step.stands) }
}
