//! Follows the target down to its cause: the data object that failed or does not progress, the pod it waits for, and
//! what the cluster reported about that pod. Pure, over redacted evidence, without a catalogue of known messages.

use serde::Serialize;
use serde_json::Value;

use super::{
    Evidence,
    finding::Proof,
    object::{about, last_seen, path, reference, words},
};

/// The kinds that move a volume's data, with their short names.
const DATA: [(&str, &str); 4] = [
    ("PodVolumeRestore", "PVR"),
    ("PodVolumeBackup", "PVB"),
    ("DataDownload", "DataDownload"),
    ("DataUpload", "DataUpload"),
];
/// Waiting reasons of a healthy container that is being created.
const HARMLESS: [&str; 2] = ["ContainerCreating", "PodInitializing"];
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
    let Some((data, short)) = worst(evidence) else { return trail };
    let phase = text(&data["status"], "phase");
    let message = text(&data["status"], "message");
    let name = text(&data["metadata"], "name");
    let stands = match (message, moved(data)) {
        ("", Some((done, total))) => format!("{done} of {total} bytes are moved"),
        ("", None) => "no bytes are moved yet".to_owned(),
        (message, _) => message.to_owned(),
    };
    trail.then(step(data, phase, stands));
    if matches!(phase, "Failed" | "Canceled") && !message.is_empty() {
        trail.end = Some((format!("{short} {name} is {phase}: {message}"), reference(data)));
    }
    let Some((pod, trouble)) = pods_of(data, evidence).find_map(|pod| Some((pod, trouble(pod, evidence)?))) else {
        return trail;
    };
    let mut of_pod = step(pod, text(&pod["status"], "phase"), trouble.clone());
    of_pod.evidence.extend(warnings(&reference(pod), evidence).map(|event| Proof::new(path(event), &words(event))));
    trail.then(of_pod);
    let whose = format!("{}/{}", text(&pod["metadata"], "namespace"), text(&pod["metadata"], "name"));
    if trail.end.is_none() {
        trail.end = Some((format!("{short} {name} waits for pod {whose}: {trouble}"), reference(data)));
    }
    let node = text(&pod["spec"], "nodeName");
    let node = evidence.of_kind("Node").find(|found| !node.is_empty() && text(&found["metadata"], "name") == node);
    if let Some((node, why)) = node.and_then(|node| Some((node, not_ready(node)?))) {
        trail.then(step(node, "NotReady", why));
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

fn step(object: &Value, phase: &str, why: String) -> CauseStep {
    let text = if why.is_empty() { format!("phase {phase:?}") } else { why.clone() };
    let proof = Proof::new(path(object), &text);
    CauseStep { object: reference(object), phase: phase.to_owned(), why, evidence: vec![proof], next: None }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The data object to look at: one that failed, else the oldest unfinished one. `None` if all are completed.
fn worst(evidence: &Evidence) -> Option<(&Value, &'static str)> {
    let all = DATA.into_iter().flat_map(|(kind, short)| evidence.of_kind(kind).map(move |object| (object, short)));
    let rank = |object: &Value| match text(&object["status"], "phase") {
        "Completed" => None,
        "Failed" => Some(0),
        "Canceled" | "Canceling" => Some(1),
        _ => Some(2),
    };
    all.filter_map(|(object, short)| Some((rank(object)?, object, short)))
        .min_by_key(|(rank, object, _)| {
            (*rank, text(&object["metadata"], "creationTimestamp"), text(&object["metadata"], "name"))
        })
        .map(|(_, object, short)| (object, short))
}

/// Bytes done and in total, once the mover has reported them.
fn moved(data: &Value) -> Option<(i64, i64)> {
    let progress = data.pointer("/status/progress")?;
    let total = progress["totalBytes"].as_i64()?;
    Some((progress["bytesDone"].as_i64().unwrap_or(0), total))
}

/// The pod that owns the volume, and the pod in Velero's namespace that serves it and carries its name.
fn pods_of<'a>(data: &'a Value, evidence: &'a Evidence) -> impl Iterator<Item = &'a Value> {
    let named = |namespace: &'a Value, name: &'a Value| (namespace.as_str(), name.as_str());
    let wanted = [
        named(&data["spec"]["pod"]["namespace"], &data["spec"]["pod"]["name"]),
        named(&data["metadata"]["namespace"], &data["metadata"]["name"]),
    ];
    wanted.into_iter().filter_map(move |(namespace, name)| {
        let (namespace, name) = (namespace?, name?);
        let is =
            |pod: &&Value| text(&pod["metadata"], "namespace") == namespace && text(&pod["metadata"], "name") == name;
        evidence.of_kind("Pod").find(is)
    })
}

/// What keeps a pod from its work: the message of a waiting container, else the newest warning about a pod that has not
/// started. A pod that is still being created has no trouble.
fn trouble(pod: &Value, evidence: &Evidence) -> Option<String> {
    let warning = warnings(&reference(pod), evidence).next().map(words);
    for statuses in ["initContainerStatuses", "containerStatuses"] {
        for container in pod["status"][statuses].as_array().into_iter().flatten() {
            let waiting = &container["state"]["waiting"];
            let reason = text(waiting, "reason");
            if reason.is_empty() || HARMLESS.contains(&reason) {
                continue;
            }
            let says = match text(waiting, "message") {
                "" => warning.clone().unwrap_or_default(),
                message => message.to_owned(),
            };
            return Some(format!("container {} {reason}: {says}", text(container, "name")));
        }
    }
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let unscheduled = conditions
        .into_iter()
        .find(|condition| text(condition, "type") == "PodScheduled" && text(condition, "status") == "False");
    match text(&pod["status"], "phase") {
        "Pending" => warning
            .or_else(|| unscheduled.map(|found| format!("{}: {}", text(found, "reason"), text(found, "message")))),
        "Failed" => Some(format!("{}: {}", text(&pod["status"], "reason"), text(&pod["status"], "message"))),
        _ => None,
    }
}

/// Warnings about an object, newest first.
fn warnings<'a>(of: &str, evidence: &'a Evidence) -> impl Iterator<Item = &'a Value> + use<'a> {
    let mut found: Vec<&Value> =
        evidence.of_kind("Event").filter(|event| text(event, "type") == "Warning" && about(event) == of).collect();
    found.sort_by_key(|event| std::cmp::Reverse(last_seen(event).unwrap_or_default()));
    found.into_iter().take(QUOTED)
}

fn not_ready(node: &Value) -> Option<String> {
    let ready = node["status"]["conditions"].as_array()?.iter().find(|condition| text(condition, "type") == "Ready")?;
    (text(ready, "status") != "True").then(|| format!("{}: {}", text(ready, "reason"), text(ready, "message")))
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
        json!({"apiVersion": "velero.io/v1", "kind": "PodVolumeRestore", "metadata": {"namespace": "v", "name": name},
            "spec": {"pod": {"namespace": "shop", "name": "shop-0"}}, "status": status})
    }

    fn waiting(reason: &str, phase: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "shop-0"},
            "spec": {"nodeName": "n1"},
            "status": {"phase": phase, "initContainerStatuses": [
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
        assert_eq!(cause, format!("PVR r1-ltc6t waits for pod shop/shop-0: FailedAttachVolume: {STUCK} (×7)"));
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
            cause.starts_with("PVR r1-a waits for pod shop/shop-0: container restore-wait ImagePullBackOff"),
            "{cause}"
        );
        let failed = json!({"phase": "Failed", "message": "data path restore failed: disk full"});
        let objects = vec![pvr("r1-b", &json!({"phase": "New"})), pvr("r1-a", &failed)];
        let (cause, _) = cause_chain(&evidence("PartiallyFailed", objects)).end.unwrap();
        assert_eq!(cause, "PVR r1-a is Failed: data path restore failed: disk full");
    }

    #[test]
    fn a_node_that_is_not_ready_is_the_last_step() {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [
            {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting"}]}});
        let objects = vec![pvr("r1-a", &json!({})), waiting("CreateContainerError", "Pending"), node];
        let found = cause_chain(&evidence("InProgress", objects));
        let last = found.steps.last().unwrap();
        assert_eq!((last.object.as_str(), last.phase.as_str()), ("Node//n1", "NotReady"));
        assert_eq!(last.evidence[0].path, "cluster-scoped-resources/core/nodes.yaml");
    }
}
