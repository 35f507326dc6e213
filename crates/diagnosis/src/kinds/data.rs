//! The four kinds that move the data of a volume. Each waits for the pod that owns the volume, and for the pod that moves
//! the data, which has its name and lies in Velero's namespace.

use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Kind, Seen, View, text};

/// Words that say that something did not happen in time, or was interrupted, and not why.
const CONSEQUENCES: [&str; 5] =
    ["timeout on preparing", "timed out", "context canceled", "deadline exceeded", "during the server starting"];

pub(super) fn report(id: &Id, object: &Value, view: &View<'_>) -> Report {
    let status = &object["status"];
    let message = text(&status["message"]).trim();
    let phase = text(&status["phase"]);
    let has_ended = matches!(phase, "Failed" | "Canceled" | "Canceling");
    let state = if has_ended {
        // Velero's message may end where the reason should follow: `data path backup failed: `.
        let is_empty = message.is_empty() || message.ends_with(':');
        let is_consequence = is_empty || CONSEQUENCES.iter().any(|words| message.contains(words));
        let words = format!("is {phase}: {}", if message.is_empty() { "it has no message" } else { message });
        State::Says { words, is_consequence }
    } else {
        State::Well
    };
    if phase == "Completed" || matches!(state, State::Says { is_consequence: false, .. }) {
        return Report::of(state);
    }
    let mover = Id::new(Kind::Pod, view.velero(), &id.name);
    let owner = &object["spec"]["pod"];
    let owner = Id::new(Kind::Pod, text(&owner["namespace"]), text(&owner["name"]));
    let is_there = |pod: &Id| matches!(view.get(pod), Seen::Found(_));
    let mut needs = Vec::new();
    // Velero deletes movers, so one that does not exist means nothing. The owner must exist while it is waited for.
    if is_there(&mover) {
        needs.push(Need::see(mover));
    }
    if !owner.name.is_empty() && (!has_ended || is_there(&owner)) {
        needs.push(Need::see(owner));
    }
    Report::needing(state, needs)
}
