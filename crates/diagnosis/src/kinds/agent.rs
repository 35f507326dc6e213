//! The node-agent moves data on its node, or makes the pods that do.

use jiff::SignedDuration;
use serde_json::Value;

use super::{Need, target};
use crate::graph::{Id, Kind, View, time};
use crate::reason::RootReason;

/// A node-agent takes up work within seconds; restarts and a busy one take minutes.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// The node-agent of a node, for data that has not ended.
pub(super) fn needed(data: &Value, node: &str, view: &View<'_>) -> Option<Need> {
    if node.is_empty() {
        return None;
    }
    let agents = view.list(Kind::Pod, view.velero()).filter(|pod| {
        let labels = &pod["metadata"]["labels"];
        labels["role"] == "node-agent" || labels["name"] == "node-agent"
    });
    let mut here = agents.filter(|pod| pod["spec"]["nodeName"] == node);
    if let Some(agent) = here.next() {
        return Some(Need::see(Id::of(agent)));
    }
    // Without a DaemonSet another program may run it.
    let set = view.list(Kind::DaemonSet, view.velero()).find(|set| set["metadata"]["name"] == "node-agent")?;
    let since = time(&data["metadata"]["creationTimestamp"])?;
    let is_late = target::phase(data) == "New" && view.now().duration_since(since) > PATIENCE;
    let why = format!("no pod of DaemonSet node-agent is on node {node}");
    (is_late && view.is_listed(&Kind::Pod, view.velero()))
        .then(|| Need::no(Id::of(set), why, RootReason::NotOn(node.to_owned())))
}
