//! A node is Ready, or says why it is not.

use serde_json::Value;

use super::{Report, State};
use crate::graph::{Id, condition, text};
use crate::reason::RootReason;

pub(super) fn report(id: &Id, node: &Value) -> Report {
    let not_ready = condition(node, "Ready").filter(|condition| condition["status"] != "True");
    Report::of(not_ready.map_or(State::Well, |condition| {
        let words = format!("{id} is not Ready: {}: {}", text(&condition["reason"]), text(&condition["message"]));
        State::says(words, RootReason::Shown)
    }))
}
