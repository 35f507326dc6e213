//! The timeline, oldest first: one line for each time that objects, Events, logs and operations report. Pure, over
//! redacted evidence.

use debugbundle_format::text::bounded;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    Evidence,
    object::{about, last_seen, path, reference, words},
};

/// Most lines; the oldest are dropped first.
const LINES: usize = 50_000;
/// Longest text of a line (bytes).
const TEXT: usize = 1024;

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineEvent {
    /// When.
    pub t: Timestamp,
    /// What sort of thing happened.
    pub kind: MomentKind,
    /// `Kind/namespace/name`.
    pub object: String,
    /// What happened.
    pub text: String,
    /// Which part of the object it happened to: the name of a container, the id of an operation; empty for the object.
    #[serde(skip)]
    pub part: String,
    /// What it begins or ends.
    #[serde(skip)]
    pub step: MomentStep,
    /// Where in the bundle it stands.
    pub path: String,
    /// The line of that file, from 1; only in logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// What a moment begins or ends. At one time, what begins stands before what ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MomentStep {
    /// The object or operation was created.
    Created,
    /// A controller took it up, and prepares it.
    Accepted,
    /// The work, or the container, started.
    Started,
    /// Nothing.
    #[default]
    Point,
    /// Nothing, but it is an error or a Warning.
    Trouble,
    /// It ended well.
    Ended,
    /// It ended with a failure.
    Failed,
    /// It is being deleted.
    Deleted,
}

/// The kind of a timeline event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentKind {
    /// An object was created, taken up or ended.
    Phase,
    /// A Kubernetes Event.
    Event,
    /// An error line of a log.
    Log,
    /// A container started or ended.
    Container,
    /// A plugin's asynchronous operation was created, began or continued.
    Operation,
}

impl MomentKind {
    /// All kinds, in the order in which readers see them.
    pub const ALL: [Self; 5] = [Self::Phase, Self::Event, Self::Log, Self::Container, Self::Operation];

    /// The word for the kind.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Phase => "phase",
            Self::Event => "event",
            Self::Log => "log",
            Self::Container => "container",
            Self::Operation => "operation",
        }
    }
}

/// All events, oldest first; `read` contains those of logs and operations.
pub fn timeline(evidence: &Evidence, read: Vec<TimelineEvent>) -> Vec<TimelineEvent> {
    let mut all = read;
    for object in evidence.target.iter().chain(&evidence.backup) {
        phases(object, &mut all);
    }
    for object in &evidence.objects {
        match object["kind"].as_str() {
            Some("Event") => event(object, &mut all),
            Some("Pod") => pod(object, &mut all),
            Some("Node") => node(object, &mut all),
            Some("PodVolumeBackup" | "PodVolumeRestore" | "DataUpload" | "DataDownload") => phases(object, &mut all),
            _ => {}
        }
    }
    all.sort_by(|a: &TimelineEvent, b| {
        (a.t, a.step, a.kind, &a.object, a.line, &a.text).cmp(&(b.t, b.step, b.kind, &b.object, b.line, &b.text))
    });
    all.dedup();
    let over = all.len().saturating_sub(LINES);
    all.drain(..over);
    all
}

/// Adds a moment if its time can be read.
fn add(all: &mut Vec<TimelineEvent>, at: Option<&str>, moment: TimelineEvent) {
    if let Some(t) = at.and_then(|at| at.parse().ok()) {
        all.push(TimelineEvent { t, text: bounded(moment.text.trim(), TEXT).into_owned(), ..moment });
    }
}

/// A moment of an object, still without its time.
fn moment(of: &Value, kind: MomentKind, step: MomentStep, text: &str) -> TimelineEvent {
    let (t, part) = (Timestamp::UNIX_EPOCH, String::new());
    TimelineEvent { t, kind, object: reference(of), text: text.to_owned(), part, step, path: path(of), line: None }
}

fn phases(object: &Value, all: &mut Vec<TimelineEvent>) {
    let at = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let mut tell = |pointer: &str, step: MomentStep, text: &str| {
        add(all, at(pointer), moment(object, MomentKind::Phase, step, text));
    };
    tell("/metadata/creationTimestamp", MomentStep::Created, "created");
    tell("/status/acceptedTimestamp", MomentStep::Accepted, "accepted");
    tell("/status/startTimestamp", MomentStep::Started, "started");
    let phase = at("/status/phase").unwrap_or_default();
    let why = at("/status/failureReason").or_else(|| at("/status/message")).unwrap_or_default();
    let ended = if why.is_empty() { phase.to_owned() } else { format!("{phase}: {why}") };
    let end = if phase == "Completed" { MomentStep::Ended } else { MomentStep::Failed };
    tell("/status/completionTimestamp", end, &ended);
    tell("/metadata/deletionTimestamp", MomentStep::Deleted, "is being deleted");
}

fn event(event: &Value, all: &mut Vec<TimelineEvent>) {
    let step = if event["type"] == "Warning" { MomentStep::Trouble } else { MomentStep::Point };
    let said = TimelineEvent { object: about(event), ..moment(event, MomentKind::Event, step, &words(event)) };
    add(all, last_seen(event), said);
}

/// A node that is not Ready waits since then; of a Ready one there is nothing to say.
fn node(node: &Value, all: &mut Vec<TimelineEvent>) {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    for ready in conditions.filter(|one| one["type"] == "Ready" && one["status"] != "True") {
        let text = |field: &str| ready[field].as_str().unwrap_or_default();
        let words = format!("is not Ready: {} {}", text("reason"), text("message"));
        add(all, ready["lastTransitionTime"].as_str(), moment(node, MomentKind::Phase, MomentStep::Created, &words));
    }
}

fn pod(pod: &Value, all: &mut Vec<TimelineEvent>) {
    let at = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    add(all, at("/metadata/creationTimestamp"), moment(pod, MomentKind::Phase, MomentStep::Created, "created"));
    add(
        all,
        at("/metadata/deletionTimestamp"),
        moment(pod, MomentKind::Phase, MomentStep::Deleted, "is being deleted"),
    );
    for statuses in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for status in pod["status"][statuses].as_array().into_iter().flatten() {
            let name = status["name"].as_str().unwrap_or_default();
            let mut tell = |at: Option<&str>, step: MomentStep, text: &str| {
                let of_pod = moment(pod, MomentKind::Container, step, text);
                add(all, at, TimelineEvent { part: name.to_owned(), ..of_pod });
            };
            let running = status.pointer("/state/running/startedAt").and_then(Value::as_str);
            tell(running, MomentStep::Started, &format!("{name} started"));
            for pointer in ["/lastState/terminated", "/state/terminated"] {
                let Some(ended) = status.pointer(pointer).filter(|ended| ended.is_object()) else { continue };
                let reason = ended["reason"].as_str().unwrap_or("ended");
                let code = ended["exitCode"].as_i64().unwrap_or(0);
                let end = if code == 0 { MomentStep::Ended } else { MomentStep::Failed };
                tell(ended["startedAt"].as_str(), MomentStep::Started, &format!("{name} started"));
                tell(ended["finishedAt"].as_str(), end, &format!("{name} ended with {code} ({reason})"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn moments_of_all_objects_are_in_the_order_of_time() {
        let target = json!({"apiVersion": "velero.io/v1", "kind": "Restore",
            "metadata": {"namespace": "v", "name": "r1", "creationTimestamp": "2026-03-01T10:00:00Z"},
            "status": {"phase": "Failed", "failureReason": "disk full", "completionTimestamp": "2026-03-01T10:09:00Z"}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "v", "name": "p"},
            "status": {"containerStatuses": [{"name": "c", "state": {"running": {"startedAt": "2026-03-01T10:05:00Z"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-03-01T10:04:00Z"}}}]}});
        let event = json!({"apiVersion": "v1", "kind": "Event", "reason": "Killing", "message": "Stopping\n", "count": 3,
            "metadata": {"namespace": "v", "name": "e"}, "eventTime": "2026-03-01T10:03:00.123456Z",
            "involvedObject": {"kind": "Pod", "namespace": "v", "name": "p"}});
        let node = |name: &str, ready: &str| {
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"conditions": [
                {"type": "MemoryPressure", "status": "Unknown", "lastTransitionTime": "2026-03-01T10:04:30Z"},
                {"type": "Ready", "status": ready, "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status.",
                    "lastTransitionTime": "2026-03-01T10:04:30Z"}]}})
        };
        let (lost, fine) = (node("n1", "Unknown"), node("n2", "True"));
        let odd = json!({"kind": "Event", "lastTimestamp": "soon"});
        let log = TimelineEvent {
            t: "2026-03-01T10:03:30Z".parse().unwrap(),
            kind: MomentKind::Log,
            object: "Pod/v/p".into(),
            text: "no room".into(),
            part: String::new(),
            step: MomentStep::Trouble,
            path: "x.log".into(),
            line: Some(7),
        };
        assert_eq!(serde_json::to_value(&log).unwrap()["line"], 7);
        let evidence = Evidence {
            target: Some(target),
            objects: vec![pod, event.clone(), event, lost, fine, odd],
            ..Evidence::default()
        };
        let told: Vec<_> = timeline(&evidence, vec![log]).into_iter().map(|m| (m.kind, m.object, m.text)).collect();
        let line = |kind, object: &str, text: &str| (kind, object.to_owned(), text.to_owned());
        assert_eq!(
            told,
            [
                line(MomentKind::Phase, "Restore/v/r1", "created"),
                line(MomentKind::Event, "Pod/v/p", "Killing: Stopping (×3)"),
                line(MomentKind::Log, "Pod/v/p", "no room"),
                line(MomentKind::Container, "Pod/v/p", "c ended with 137 (OOMKilled)"),
                line(
                    MomentKind::Phase,
                    "Node//n1",
                    "is not Ready: NodeStatusUnknown Kubelet stopped posting node status."
                ),
                line(MomentKind::Container, "Pod/v/p", "c started"),
                line(MomentKind::Phase, "Restore/v/r1", "Failed: disk full"),
            ]
        );
    }
}
