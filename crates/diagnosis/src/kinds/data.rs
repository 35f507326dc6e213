//! The four kinds that move the data of a volume. Each waits for the pod that owns the volume, and for the pod that moves
//! the data, which has its name and lies in Velero's namespace.

use std::time::Duration;

use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Kind, Seen, View, text, time};

/// How long a data mover may take to begin: node-agents prepare one volume after the other.
const PATIENCE: Duration = Duration::from_mins(10);
/// Words that say that something did not happen in time, and not why.
const CONSEQUENCES: [&str; 5] =
    ["timeout on preparing", "timed out", "context canceled", "deadline exceeded", "during the server starting"];

pub(super) fn report(id: &Id, object: &Value, view: &View<'_>) -> Report {
    let status = &object["status"];
    let message = text(&status["message"]).trim();
    let phase = text(&status["phase"]);
    let state = match phase {
        "Completed" => return Report::of(State::Well),
        "Failed" | "Canceled" | "Canceling" => {
            // Velero's message may end where the reason should follow: `data path backup failed: `.
            let is_empty = message.is_empty() || message.ends_with(':');
            let is_consequence = is_empty || CONSEQUENCES.iter().any(|words| message.contains(words));
            let words = format!("is {phase}: {}", if message.is_empty() { "no message" } else { message });
            State::Says { words, is_consequence }
        }
        "InProgress" if status["progress"]["bytesDone"].as_i64().is_some_and(|done| done > 0) => State::Well,
        _ => State::Waits(time(&object["metadata"]["creationTimestamp"]), PATIENCE),
    };
    let mover = Id::new(Kind::Pod, view.velero(), &id.name);
    let owner = &object["spec"]["pod"];
    let owner = Id::new(Kind::Pod, text(&owner["namespace"]), text(&owner["name"]));
    let ended = matches!(phase, "Failed" | "Canceled");
    // Velero deletes movers, so one that does not exist means nothing; the owner must exist while it is waited for.
    let mut needs = Vec::new();
    if matches!(view.get(&mover), Seen::Found(_)) {
        needs.push(Need::see(mover));
    }
    if !owner.name.is_empty() && (!ended || matches!(view.get(&owner), Seen::Found(_))) {
        needs.push(Need::see(owner));
    }
    Report::needing(state, needs)
}
