//! A claim waits for its StorageClass and for a provisioner.

use serde_json::Value;

use super::{Need, Report, State, leaving};
use crate::graph::{Id, View, text};
use crate::kind::Kind;
use crate::reason::RootReason;

pub(super) fn report(id: &Id, claim: &Value, view: &View<'_>) -> Report {
    if let Some(leaving) = leaving::report(id, claim, view) {
        return leaving;
    }
    match text(&claim["status"]["phase"]) {
        "Bound" => return Report::of(State::Well),
        "Lost" => {
            let volume = text(&claim["spec"]["volumeName"]);
            let words = format!("{id} is Lost: its PersistentVolume {volume} does not exist");
            return Report::of(State::says(words, RootReason::Lost));
        }
        _ => {}
    }
    let class = text(&claim["spec"]["storageClassName"]);
    let class = (!class.is_empty()).then(|| Id::of_cluster(Kind::StorageClass, class));
    let warned = view.warnings(id).into_iter().next();
    let state = warned.map_or(State::Well, |event| {
        let why = text(&event["message"]).trim();
        State::says(format!("{id} is Pending: {why}"), RootReason::Said(why.to_owned()))
    });
    Report::needing(state, class.map(Need::see).into_iter().collect())
}
