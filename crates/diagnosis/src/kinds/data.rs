//! The four kinds that move the data of a volume. Each waits for the pod that owns the volume, and for the pod that moves
//! the data, which has its name and lies in Velero's namespace.

use serde_json::Value;

use super::{Need, Report, State, agent};
use crate::graph::{Id, Seen, View, text};
use crate::kind::Kind;
use crate::reason::RootReason;
use crate::texts::is_consequence;

pub(super) fn report(id: &Id, object: &Value, view: &View<'_>) -> Report {
    let status = &object["status"];
    let message = text(&status["message"]).trim();
    let phase = text(&status["phase"]);
    let has_ended = !stands(object).is_empty();
    let state = if has_ended {
        // Velero's message may end where the reason should follow: `data path backup failed: `.
        let is_empty = message.is_empty() || message.ends_with(':');
        let is_consequence = is_empty || is_consequence(message);
        let words = if message.is_empty() { "it has no message" } else { message };
        State::Says { words: words.to_owned(), reason: RootReason::Said(message.to_owned()), is_consequence }
    } else {
        State::Well
    };
    if phase == "Completed" || matches!(state, State::Says { is_consequence: false, .. }) {
        return Report::of(state);
    }
    let mover = Id::new(Kind::Pod, view.velero(), &id.name);
    let owner = &object["spec"]["pod"];
    let owner = Id::new(Kind::Pod, text(&owner["namespace"]), text(&owner["name"]));
    let mut needs = Vec::new();
    // Velero deletes movers, so one that does not exist means nothing.
    if matches!(view.get(&mover), Seen::Found(_)) {
        needs.push(Need::see(mover));
    }
    let is_backup = matches!(id.kind, Kind::PodVolumeBackup | Kind::DataUpload);
    let is_awaited = !owner.name.is_empty()
        && match view.get(&owner) {
            // A backup reads a volume as soon as it is mounted, whatever the pod's containers do then.
            Seen::Found(pod) => !is_backup || pod["status"]["phase"] == "Pending",
            Seen::Absent | Seen::Unread => !has_ended,
        };
    let node = node(object, &owner, view);
    if is_awaited {
        needs.push(Need::see(owner));
    }
    if !has_ended {
        needs.extend(agent::needed(object, node, view));
    }
    Report::needing(state, needs)
}

/// The node on which the data moves, or will; empty while any one may take it.
fn node<'a>(object: &'a Value, owner: &Id, view: &View<'a>) -> &'a str {
    let known =
        [&object["status"]["node"], &object["spec"]["node"]].into_iter().map(text).find(|node| !node.is_empty());
    match (known, owner.name.is_empty()) {
        (Some(node), _) => node,
        (None, true) => "",
        (None, false) => match view.get(owner) {
            Seen::Found(pod) => text(&pod["spec"]["nodeName"]),
            _ => "",
        },
    }
}

/// The phase in which it ended without its data.
pub(super) fn stands(object: &Value) -> String {
    let phase = text(&object["status"]["phase"]);
    if matches!(phase, "Failed" | "Canceled" | "Canceling") { phase.to_owned() } else { String::new() }
}
