//! Any other kind. While an object is deleted, it says what keeps it; else a condition `Ready` or `Available` that is
//! False says why (as cli-utils' kstatus reads conditions).

use serde_json::Value;

use super::{Report, State, leaving};
use crate::graph::{Id, View, condition, text};
use crate::reason::RootReason;

pub(super) fn report(id: &Id, object: &Value, view: &View<'_>) -> Report {
    if let Some(leaving) = leaving::report(id, object, view) {
        return leaving;
    }
    let conditions = ["Ready", "Available"].into_iter().filter_map(|kind| condition(object, kind));
    let is_false = conditions.into_iter().find(|condition| condition["status"] == "False");
    Report::of(is_false.map_or(State::Well, |condition| {
        let (kind, reason, message) =
            (text(&condition["type"]), text(&condition["reason"]), text(&condition["message"]));
        State::says(format!("{id} is not {kind}: {reason}: {message}"), RootReason::Said(message.to_owned()))
    }))
}
