//! A claim waits for its StorageClass and for a provisioner; one that waits for its first pod is well.

use std::time::Duration;

use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Kind, Seen, View, text, time};

/// How long a provisioner may take without a word.
const PATIENCE: Duration = Duration::from_mins(5);

pub(super) fn report(id: &Id, claim: &Value, view: &View<'_>) -> Report {
    match text(&claim["status"]["phase"]) {
        "Bound" => return Report::of(State::Well),
        "Lost" => {
            let volume = text(&claim["spec"]["volumeName"]);
            return Report::of(State::says(format!("is Lost: its PersistentVolume {volume} does not exist")));
        }
        _ => {}
    }
    let class = text(&claim["spec"]["storageClassName"]);
    let class = (!class.is_empty()).then(|| Id::of_cluster(Kind::StorageClass, class));
    let waits_for_pod = class.as_ref().is_some_and(
        |class| matches!(view.get(class), Seen::Found(class) if class["volumeBindingMode"] == "WaitForFirstConsumer"),
    );
    let state = match view.warnings(id).first() {
        Some(event) => State::says(format!("is Pending: {}", text(&event["message"]).trim())),
        None if waits_for_pod => State::Well,
        None => State::Waits(time(&claim["metadata"]["creationTimestamp"]), PATIENCE),
    };
    Report::needing(state, class.map(Need::see).into_iter().collect())
}
