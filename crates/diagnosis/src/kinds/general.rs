//! Any other kind: a condition `Ready` or `Available` that is False says why (as cli-utils' kstatus reads conditions).

use serde_json::Value;

use super::{Report, State};
use crate::graph::{Id, condition, text};
use crate::reason::RootReason;

pub(super) fn report(id: &Id, object: &Value) -> Report {
    let conditions = ["Ready", "Available"].into_iter().filter_map(|kind| condition(object, kind));
    let is_false = conditions.into_iter().find(|condition| condition["status"] == "False");
    Report::of(is_false.map_or(State::Well, |condition| {
        let (kind, reason, message) =
            (text(&condition["type"]), text(&condition["reason"]), text(&condition["message"]));
        State::says(format!("{id} is not {kind}: {reason}: {message}"), RootReason::Said(message.to_owned()))
    }))
}
