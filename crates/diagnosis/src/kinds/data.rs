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
    let has_ended = !stands(object).is_empty();
    let state = if has_ended {
        // Velero's message may end where the reason should follow: `data path backup failed: `.
        let is_empty = message.is_empty() || message.ends_with(':');
        let is_consequence = is_empty || CONSEQUENCES.iter().any(|words| message.contains(words));
        let words = if message.is_empty() { "it has no message" } else { message };
        State::Says { words: words.to_owned(), is_consequence }
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
    let is_awaited = match view.get(&owner) {
        // A backup reads a volume as soon as it is mounted, whatever the pod's containers do then.
        Seen::Found(pod) => !is_backup || pod["status"]["phase"] == "Pending",
        Seen::Absent | Seen::Unread => !has_ended,
    };
    if is_awaited && !owner.name.is_empty() {
        needs.push(Need::see(owner));
    }
    Report::needing(state, needs)
}

/// The phase in which it ended without its data.
pub(super) fn stands(object: &Value) -> String {
    let phase = text(&object["status"]["phase"]);
    if matches!(phase, "Failed" | "Canceled" | "Canceling") { phase.to_owned() } else { String::new() }
}
