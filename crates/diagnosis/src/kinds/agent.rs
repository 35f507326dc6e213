//! The node-agent moves data on its node, or makes the pods that do.

use jiff::SignedDuration;
use serde_json::Value;

use super::{Need, Report, State, pod, pods_of, target};
use crate::graph::{Id, View, age, condition, last_seen, text, time};
use crate::kind::Kind;
use crate::reason::RootReason;
use crate::walk::Relation;

/// A node-agent takes up work within seconds; restarts and a busy one take minutes.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);
/// A pod that is refused is tried again after 1000 s at most (`DefaultTypedControllerRateLimiter` in client-go), each time
/// with an Event.
const TRIED_AGAIN: SignedDuration = SignedDuration::from_mins(20);
/// Most pods of a DaemonSet that are followed: a fault of all nodes is the same on each.
const FOLLOWED: usize = 20;

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

/// The DaemonSets, for an installation.
pub(super) fn of_installation(view: &View<'_>) -> Vec<Need> {
    sets(view).map(|set| Need::see(Id::of(set)).by(Relation::Agent)).collect()
}

/// As `velero install`, the Helm chart and OADP make them; `velero install` makes one more for Windows.
fn sets<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    view.list(Kind::DaemonSet, view.velero()).filter(|set| {
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        text(&set["metadata"]["name"]).starts_with("node-agent") || labels["role"] == "node-agent"
    })
}

/// Of a target only the agents of its nodes count; of an installation all.
pub(super) fn report(id: &Id, set: &Value, view: &View<'_>) -> Report {
    if view.target().kind != Kind::Installation {
        return Report::of(State::Well);
    }
    let there: Vec<&Value> = pods_of(set, view).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
    let unready = there.iter().filter(|pod| !is_ready(pod)).take(FOLLOWED);
    let needs = unready.map(|pod| {
        let since = condition(pod, "Ready").and_then(|ready| time(&ready["lastTransitionTime"]));
        let words = format!("it is not ready {}", age(since, view.now())).trim_end().to_owned();
        if pod::is_starting(pod, view) || pod::is_recent(since, view) {
            Need::see(Id::of(pod))
        } else {
            Need::no(Id::of(pod), words, RootReason::Shown)
        }
    });
    let needs = needs.collect();
    let wanted = set["status"]["desiredNumberScheduled"].as_u64().unwrap_or(0);
    let is_short =
        view.is_listed(&Kind::Pod, view.velero()) && u64::try_from(there.len()).is_ok_and(|there| there < wanted);
    let is_current = |event: &Value| last_seen(event).is_some_and(|at| view.now().duration_since(at) <= TRIED_AGAIN);
    let mut warnings = view.warnings(id).into_iter().filter(|_| is_short);
    let refused = warnings.find(|event| event["reason"] == "FailedCreate" && is_current(event));
    let state = refused.map_or(State::Well, |event| {
        let why = text(&event["message"]).trim().to_owned();
        State::says(format!("a pod of it is refused: {why}"), RootReason::Said(why))
    });
    Report::needing(state, needs)
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// `ready on 2 of 3 nodes`; nothing while the DaemonSet's controller has not counted.
pub(super) fn stands(set: &Value) -> String {
    let status = &set["status"];
    match (status["numberReady"].as_u64(), status["desiredNumberScheduled"].as_u64()) {
        (Some(ready), Some(wanted)) if wanted > 0 => format!("ready on {ready} of {wanted} nodes"),
        _ => String::new(),
    }
}

/// How many pods are ready, of how many that the DaemonSets want; `None`: there is none.
pub(super) fn ready(view: &View<'_>) -> Option<[usize; 2]> {
    let counted = sets(view).map(|set| {
        let number = |field: &str| set["status"][field].as_u64().and_then(|number| usize::try_from(number).ok());
        [number("numberReady").unwrap_or(0), number("desiredNumberScheduled").unwrap_or(0)]
    });
    counted.reduce(|one, other| [one[0] + other[0], one[1] + other[1]])
}
