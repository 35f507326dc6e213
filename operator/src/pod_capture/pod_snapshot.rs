//! A hosting pod as it was seen: the reduced object, and what its status says about its logs and its end. Pure: `watch`
//! takes the snapshots, `cache` keeps them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

/// Most bytes kept of an object (as JSON); a larger one loses its spec, and then everything but its name.
const OBJECT: usize = 64 << 10;
/// Most bytes of an Event that is kept (as JSON).
const EVENT: usize = 8 << 10;
/// Most containers of one pod whose logs are followed. Velero's hosting pods have one.
const CONTAINERS: usize = 8;

/// The labels of pods that Velero creates for one task and deletes afterwards; the value names the task.
/// (`pkg/apis/velero/v1/labels_annotations.go`; the last one is of repository maintenance,
/// `pkg/repository/maintenance`.)
pub(super) const LABELS: [&str; 5] = [
    "velero.io/data-upload",
    "velero.io/data-download",
    "velero.io/pod-volume-backup",
    "velero.io/pod-volume-restore",
    MAINTENANCE,
];
/// The label of maintenance; its value is the repository's name.
pub(super) const MAINTENANCE: &str = "velero.io/repo-name";

/// The state of a container, and so of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is no log yet.
    Waiting,
    /// The log grows.
    Running,
    /// The log is complete.
    Ended,
}

/// A pod as it was seen once.
#[derive(Clone, Debug)]
pub(super) struct PodSnapshot {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) node: Option<String>,
    /// Its labels among [`LABELS`].
    pub(super) labels: BTreeMap<String, String>,
    pub(super) containers: Vec<(String, State)>,
    /// Set once it will not run again: whether it failed.
    pub(super) ended: Option<bool>,
    /// What is wrong with it; empty if nothing is.
    pub(super) trouble: String,
    /// The object as JSON, unredacted: for memory only.
    pub(super) object: Arc<[u8]>,
}

impl PodSnapshot {
    /// The snapshot of a pod with one of [`LABELS`]; `None` for any other pod.
    pub(super) fn of(mut pod: Value) -> Option<Self> {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (uid, name) = (text("/metadata/uid")?.to_owned(), text("/metadata/name")?.to_owned());
        let label = |key: &str| Some((key.to_owned(), pod["metadata"]["labels"][key].as_str()?.to_owned()));
        let labels: BTreeMap<String, String> = LABELS.into_iter().filter_map(label).collect();
        if labels.is_empty() {
            return None;
        }
        let phase = text("/status/phase").unwrap_or_default();
        let ended = matches!(phase, "Succeeded" | "Failed").then_some(phase == "Failed");
        let node = text("/spec/nodeName").map(str::to_owned);
        let (containers, trouble) = (containers(&pod), trouble(&pod));
        let object = kept(&mut pod)?;
        Some(Self { uid, name, node, labels, containers, ended, trouble, object })
    }
}

fn containers(pod: &Value) -> Vec<(String, State)> {
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let all = statuses.into_iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    let read = |status: &Value| {
        let state = &status["state"];
        let state = match () {
            () if state["terminated"].is_object() => State::Ended,
            () if state["running"].is_object() => State::Running,
            () => State::Waiting,
        };
        Some((status["name"].as_str()?.to_owned(), state))
    };
    all.filter_map(read).take(CONTAINERS).collect()
}

/// The reasons why it does not run, or ended badly. When they change, its Events are read.
fn trouble(pod: &Value) -> String {
    let status = &pod["status"];
    let mut words = Vec::new();
    if status["phase"] == "Failed" {
        words.push(format!("Failed {}", status["reason"].as_str().unwrap_or_default()));
    }
    for condition in status["conditions"].as_array().into_iter().flatten() {
        if condition["type"] == "PodScheduled" && condition["status"] == "False" {
            words.push(format!("unscheduled {}", condition["message"].as_str().unwrap_or_default()));
        }
    }
    let lists = ["initContainerStatuses", "containerStatuses"];
    for container in lists.into_iter().flat_map(|list| status[list].as_array().into_iter().flatten()) {
        // Every container begins with one of these two.
        let waits = container["state"]["waiting"]["reason"].as_str();
        words.extend(waits.filter(|why| !matches!(*why, "ContainerCreating" | "PodInitializing")).map(str::to_owned));
        let code = container["state"]["terminated"]["exitCode"].as_i64().filter(|code| *code != 0);
        words.extend(code.map(|code| format!("ended with {code}")));
    }
    words.join("; ")
}

/// The object without fields that no bundle contains; `None` only if it is no JSON object.
fn kept(pod: &mut Value) -> Option<Arc<[u8]>> {
    stripped(pod);
    let whole = serde_json::to_vec(pod).ok()?;
    if whole.len() <= OBJECT {
        return Some(whole.into());
    }
    let fields = pod.as_object_mut()?;
    fields.shift_remove("spec");
    let less = serde_json::to_vec(fields).ok()?;
    if less.len() <= OBJECT {
        return Some(less.into());
    }
    fields.shift_remove("status");
    let meta = fields.get("metadata").cloned().unwrap_or_default();
    let bare = ["name", "namespace", "uid"].map(|key| (key.to_owned(), meta[key].clone()));
    fields.insert("metadata".to_owned(), bare.into_iter().collect::<serde_json::Map<_, _>>().into());
    Some(serde_json::to_vec(fields).ok()?.into())
}

fn stripped(object: &mut Value) {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.shift_remove("managedFields");
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
}

/// UID and JSON of an Event; `None` if it has no UID or is too large.
pub(super) fn event(mut event: Value) -> Option<(String, Arc<[u8]>)> {
    stripped(&mut event);
    let uid = event["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty())?.to_owned();
    let json = serde_json::to_vec(&event).ok().filter(|json| json.len() <= EVENT)?;
    Some((uid, json.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"name": "refill-x", "uid": "u1", "namespace": "backups-ns", "managedFields": [{}],
                "labels": {"velero.io/data-download": "refill-x", "team": "a"}},
            "spec": {"nodeName": "barn"},
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}],
                "containerStatuses": [{"name": "c1", "state": {"waiting": {"reason": "ContainerCreating"}}}]}})
    }

    #[test]
    fn only_pods_with_the_labels_are_seen() {
        let mut other = pod();
        other["metadata"]["labels"] = json!({"component": "velero", "role": "node-agent"});
        assert!(PodSnapshot::of(other).is_none());
        let snapshot = PodSnapshot::of(pod()).unwrap();
        assert_eq!(
            snapshot.labels.into_iter().collect::<Vec<_>>(),
            [("velero.io/data-download".into(), "refill-x".into())]
        );
        assert_eq!((snapshot.node.as_deref(), snapshot.ended, snapshot.trouble.as_str()), (Some("barn"), None, ""));
        assert_eq!(snapshot.containers, [("c1".to_owned(), State::Waiting)]);
        assert!(!String::from_utf8_lossy(&snapshot.object).contains("managedFields"));
    }

    #[test]
    fn trouble_is_what_makes_its_events_worth_a_look() {
        for (status, words) in [
            (
                json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}),
                "ImagePullBackOff",
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}),
                "unscheduled 0/3 nodes",
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 137}}}]}),
                "Failed Evicted; ended with 137",
            ),
            (
                json!({"phase": "Succeeded", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]}),
                "",
            ),
        ] {
            let mut pod = pod();
            pod["status"] = status;
            assert_eq!(PodSnapshot::of(pod).unwrap().trouble, words);
        }
    }

    #[test]
    fn of_a_large_object_the_status_is_worth_most() {
        let mut large = pod();
        large["spec"]["env"] = "x".repeat(OBJECT).into();
        let object = PodSnapshot::of(large.clone()).unwrap().object;
        let kept: Value = serde_json::from_slice(&object).unwrap();
        assert!(kept["spec"].is_null() && kept["status"]["phase"] == "Pending");
        large["status"]["message"] = "y".repeat(OBJECT).into();
        let kept: Value = serde_json::from_slice(&PodSnapshot::of(large).unwrap().object).unwrap();
        assert_eq!(kept, json!({"metadata": {"name": "refill-x", "namespace": "backups-ns", "uid": "u1"}}));
        assert!(event(json!({"metadata": {"uid": "e"}, "message": "z".repeat(EVENT)})).is_none());
        assert_eq!(event(json!({"metadata": {"uid": "e"}})).unwrap().0, "e");
    }
}
