//! The way from the target down to its cause, for the trail and the first line: `debugbundle_diagnosis` walks, over the
//! redacted evidence. Pure.

use debugbundle_diagnosis::{Graph, Id, Kind, line, walk};
use serde::Serialize;
use serde_json::Value;

use super::{
    Evidence,
    finding::Proof,
    object::{about, last_seen, path, reference, words},
};

/// Most Events quoted for one object.
const QUOTED: usize = 5;

/// One object on the way from the target to the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CauseStep {
    /// `Kind/namespace/name`.
    pub object: String,
    /// Its phase; empty before a controller took it up.
    pub phase: String,
    /// What is wrong with it, in one sentence; empty if nothing is.
    pub why: String,
    /// Where the bundle shows that.
    pub evidence: Vec<Proof>,
    /// The next object in the chain: this one waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The way from the target to the cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CauseChain {
    /// From the target downwards; empty without a target.
    pub steps: Vec<CauseStep>,
    /// The cause in one line, and the object it is about; `None` if nothing on the way is wrong.
    pub end: Option<(String, String)>,
}

/// Follows the target's data to the object that it waits for.
pub fn cause_chain(evidence: &Evidence) -> CauseChain {
    let Some(target) = &evidence.target else { return CauseChain::default() };
    let status = &target["status"];
    let mut why = text(status, "failureReason").to_owned();
    if why.is_empty() {
        why = evidence.results.as_ref().and_then(|results| results.errors.texts.first().cloned()).unwrap_or_default();
    }
    let mut trail = CauseChain { steps: vec![step(target, text(status, "phase"), why)], end: None };
    if let Some(first) = evidence.ahead.first() {
        trail.then(step(first, text(&first["status"], "phase"), String::new()));
        return trail;
    }
    let graph = graph(target, evidence);
    let explained = walk(&graph, &Id::of(target));
    // The target's own words are findings of their own.
    if let Some(root) = explained.roots.iter().find(|root| root.way.len() > 1) {
        for (number, point) in root.way.iter().enumerate().skip(1) {
            let is_root = number + 1 == root.way.len();
            let Some(object) = graph.object(&point.id) else {
                trail.then(unread(&point.id, if is_root { &root.words } else { "" }));
                continue;
            };
            let why = if is_root && number > 1 { root.words.clone() } else { stands(object) };
            let mut of_object = step(object, text(&object["status"], "phase"), why);
            of_object.evidence.extend(warnings(&reference(object), evidence));
            trail.then(of_object);
        }
        trail.end = Some((line(root), trail.steps[1].object.clone()));
    } else if let Some(data) = unfinished(evidence) {
        trail.then(step(data, text(&data["status"], "phase"), stands(data)));
    }
    trail
}

impl CauseChain {
    fn then(&mut self, step: CauseStep) {
        if let Some(last) = self.steps.last_mut() {
            last.next = Some(step.object.clone());
        }
        self.steps.push(step);
    }
}

/// What the walk may use. The evidence has the data objects of this target alone.
fn graph<'a>(target: &'a Value, evidence: &'a Evidence) -> Graph<'a> {
    let velero = text(&target["metadata"], "namespace");
    let mut graph = Graph::new(velero, evidence.read_at);
    for object in evidence.objects.iter().chain([target]) {
        graph.add(object);
    }
    for kind in Kind::DATA {
        graph.listed(kind, velero);
    }
    graph.errors(evidence.results.iter().flat_map(|results| results.errors.texts.iter().cloned()));
    graph
}

fn step(object: &Value, phase: &str, why: String) -> CauseStep {
    let text = if why.is_empty() { format!("phase {phase:?}") } else { why.clone() };
    let proof = Proof::new(path(object), &text);
    CauseStep { object: reference(object), phase: phase.to_owned(), why, evidence: vec![proof], next: None }
}

/// An object that the bundle does not contain.
fn unread(id: &Id, why: &str) -> CauseStep {
    let object = format!("{}/{}/{}", id.kind.as_str(), id.namespace, id.name);
    CauseStep { object, phase: String::new(), why: why.to_owned(), evidence: Vec::new(), next: None }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// How a data object stands: its message, or its progress. Empty for other kinds.
fn stands(object: &Value) -> String {
    let is_data = Kind::DATA.contains(&Id::of(object).kind);
    match (text(&object["status"], "message"), moved(object)) {
        _ if !is_data => String::new(),
        ("", Some((done, total))) => format!("{done} of {total} bytes are moved"),
        ("", None) => "no bytes are moved yet".to_owned(),
        (message, _) => message.to_owned(),
    }
}

/// The oldest data object that is not completed.
fn unfinished(evidence: &Evidence) -> Option<&Value> {
    let data = evidence.objects.iter().filter(|object| Kind::DATA.contains(&Id::of(object).kind));
    data.filter(|object| text(&object["status"], "phase") != "Completed")
        .min_by_key(|object| (text(&object["metadata"], "creationTimestamp"), text(&object["metadata"], "name")))
}

/// Bytes done and in total, once the mover has reported them.
fn moved(data: &Value) -> Option<(i64, i64)> {
    let progress = data.pointer("/status/progress")?;
    let total = progress["totalBytes"].as_i64()?;
    Some((progress["bytesDone"].as_i64().unwrap_or(0), total))
}

/// Warnings about an object, newest first.
fn warnings(of: &str, evidence: &Evidence) -> impl Iterator<Item = Proof> {
    let mut found: Vec<&Value> =
        evidence.of_kind("Event").filter(|event| text(event, "type") == "Warning" && about(event) == of).collect();
    found.sort_by_key(|event| std::cmp::Reverse(last_seen(event).unwrap_or_default()));
    found.into_iter().take(QUOTED).map(|event| Proof::new(path(event), &words(event)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const STUCK: &str = "Multi-Attach error for volume \"pvc-1\" Volume is already used by pod(s) shop-old";

    fn restore(phase: &str) -> Value {
        json!({"apiVersion": "velero.io/v1", "kind": "Restore", "metadata": {"namespace": "v", "name": "r1"},
            "status": {"phase": phase}})
    }

    fn pvr(name: &str, status: &Value) -> Value {
        json!({"apiVersion": "velero.io/v1", "kind": "PodVolumeRestore", "metadata": {"namespace": "v", "name": name,
            "labels": {"velero.io/restore-name": "r1"}}, "spec": {"pod": {"namespace": "shop", "name": "shop-0"}}, "status": status})
    }

    fn waiting(reason: &str, phase: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "shop-0"},
            "spec": {"nodeName": "n1"},
            "status": {"phase": phase, "conditions": [{"type": "PodScheduled", "status": "True"}], "initContainerStatuses": [
                {"name": "restore-wait", "state": {"waiting": {"reason": reason}}}]}})
    }

    fn event(at: &str, message: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "FailedAttachVolume", "message": message,
            "metadata": {"namespace": "shop", "name": "e"}, "lastTimestamp": at, "count": 7,
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "shop-0"}})
    }

    fn evidence(phase: &str, objects: Vec<Value>) -> Evidence {
        Evidence { target: Some(restore(phase)), objects, ..Evidence::default() }
    }

    #[test]
    fn a_restore_that_hangs_on_a_volume_attached_elsewhere_leads_to_the_event_that_says_so() {
        let found = cause_chain(&evidence(
            "InProgress",
            vec![
                pvr("r1-done", &json!({"phase": "Completed"})),
                pvr("r1-ltc6t", &json!({"phase": "New", "progress": {}})),
                waiting("PodInitializing", "Pending"),
                event("2026-03-01T10:00:00Z", "older"),
                event("2026-03-01T11:00:00Z", STUCK),
            ],
        ));
        let objects: Vec<&str> = found.steps.iter().map(|step| step.object.as_str()).collect();
        assert_eq!(objects, ["Restore/v/r1", "PodVolumeRestore/v/r1-ltc6t", "Pod/shop/shop-0"]);
        assert_eq!(found.steps[1].next.as_deref(), Some("Pod/shop/shop-0"));
        assert_eq!(found.steps[1].why, "no bytes are moved yet");
        assert_eq!(found.steps[2].evidence[1].path, "namespaces/shop/core/events.yaml");
        let (cause, object) = found.end.unwrap();
        assert_eq!(
            cause,
            format!("PodVolumeRestore r1-ltc6t waits for pod shop/shop-0 (Init:0/1): FailedAttachVolume: {STUCK}")
        );
        assert_eq!(object, "PodVolumeRestore/v/r1-ltc6t");
    }

    #[test]
    fn a_restore_at_work_has_no_end_of_its_trail() {
        let young = vec![pvr("r1-a", &json!({"phase": "InProgress"})), waiting("PodInitializing", "Pending")];
        assert_eq!(cause_chain(&evidence("InProgress", young)).end, None, "it is only being made");
        let done = vec![pvr("r1-a", &json!({"phase": "Completed"})), event("2026-03-01T10:00:00Z", STUCK)];
        let found = cause_chain(&evidence("Completed", done));
        assert_eq!((found.steps.len(), found.end), (1, None));
        assert_eq!(cause_chain(&Evidence::default()), CauseChain::default());
    }

    #[test]
    fn a_container_that_cannot_start_and_a_mover_that_failed_say_so_themselves() {
        let objects = vec![pvr("r1-a", &json!({"phase": "New"})), waiting("ImagePullBackOff", "Pending")];
        let (cause, _) = cause_chain(&evidence("InProgress", objects)).end.unwrap();
        assert!(
            cause.starts_with("PodVolumeRestore r1-a waits for pod shop/shop-0 (Init:0/1): container restore-wait is in ImagePullBackOff"),
            "{cause}"
        );
        let failed = json!({"phase": "Failed", "message": "data path restore failed: disk full"});
        let objects = vec![pvr("r1-b", &json!({"phase": "New"})), pvr("r1-a", &failed)];
        let (cause, _) = cause_chain(&evidence("PartiallyFailed", objects)).end.unwrap();
        assert_eq!(cause, "PodVolumeRestore r1-a is Failed: data path restore failed: disk full");
    }

    #[test]
    fn a_node_that_is_not_ready_is_the_last_step() {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [
            {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting"}]}});
        let objects = vec![pvr("r1-a", &json!({})), waiting("CreateContainerError", "Pending"), node];
        let found = cause_chain(&evidence("InProgress", objects));
        let last = found.steps.last().unwrap();
        assert_eq!(last.object, "Node//n1");
        assert_eq!(last.why, "Node n1 is not Ready: NodeStatusUnknown: Kubelet stopped posting");
        assert_eq!(last.evidence[0].path, "cluster-scoped-resources/core/nodes.yaml");
    }
}
