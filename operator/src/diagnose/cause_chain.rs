//! The way from the target down to its cause, for the tree, the findings and the first line: `debugbundle_diagnosis`
//! walks, over the redacted evidence. Pure.

use std::collections::BTreeMap;

use debugbundle_diagnosis::{
    Confidence, Explanation, Graph, Id, InstallationParts, Kind, Known, Relation, Root, RootReason, Wanted, line, made,
    parts, remedy, stands, walk,
};
use debugbundle_format::layout;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Evidence, Finding, FindingKind,
    finding::Proof,
    object::{about, last_seen, path, reference, words},
    results_path,
};
use crate::velero::Results;

/// Most Events quoted for one object, and most objects that are in front of the target.
const QUOTED: usize = 5;
/// Most findings: a failure of many volumes has a root for each.
const FINDINGS: usize = 20;

/// The folder of the bundle with the definitions of kinds.
const DEFINITIONS: &str = "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/";

/// One object on the way from the target to the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CauseStep {
    /// `Kind/namespace/name`.
    pub object: String,
    /// How it stands: `Init:0/1 for 14 min`, or its phase. Empty before a controller took it up.
    pub state: String,
    /// What is wrong with it, in one sentence; empty if nothing is.
    pub why: String,
    /// Where the bundle shows that; none if no bundle was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Proof>,
}

/// The way from the target to the cause.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CauseChain {
    /// From the target downwards, each object waits for the next one; without a target, from the part of the installation
    /// that is in trouble.
    pub steps: Vec<CauseStep>,
    /// What is wrong at the ends of all ways, the surest first.
    pub findings: Vec<Finding>,
    /// How many of these say why, and not only that something did not happen in time.
    pub sure: usize,
    /// How many objects were looked at, by kind.
    pub looked_at: BTreeMap<String, usize>,
    /// Without a target: how the parts of the installation stand.
    pub parts: Option<InstallationParts>,
    /// What a Restore made and how it stands: `42 pods run`.
    pub made: Vec<String>,
}

/// Asks the target what it waits for, then that object, and so on; without a target, the parts of the installation.
pub fn cause_chain(evidence: &Evidence) -> CauseChain {
    let graph = graph(evidence);
    let target = evidence.target.as_ref();
    let mut explained = walk(&graph, &target.map_or_else(|| Id::installation(&evidence.velero), Id::of));
    // The target's own words are findings of their own.
    explained.roots.retain(|root| root.relation != Relation::Itself);
    let mut chain = CauseChain::of(&explained, &graph, evidence);
    if target.is_some()
        && chain.steps.len() == 1
        && let Some(data) = unfinished(evidence)
    {
        chain.steps.push(step(data, text(&data["status"], "phase"), moving(data)));
    }
    chain
}

/// What the walk would need to know besides the evidence.
pub fn lacking(evidence: &Evidence) -> Vec<Wanted> {
    let target = evidence.target.as_ref().map_or_else(|| Id::installation(&evidence.velero), Id::of);
    walk(&graph(evidence), &target).wants.into_iter().collect()
}

/// What a root says, as a finding about the object that a reader should look at.
fn finding(root: &Root, graph: &Graph<'_>, evidence: &Evidence) -> Finding {
    let (first, last) = (root.way.get(1).or(root.way.last()), root.way.last());
    let object =
        |point: Option<&debugbundle_diagnosis::walk::Waypoint>| point.and_then(|point| graph.object(&point.id));
    let no_object = no_object(root);
    let target = evidence.target.as_ref().or_else(|| object(first)).unwrap_or(&no_object);
    let (kind, subject) = match root.relation {
        Relation::Itself if target["status"]["phase"] == "FailedValidation" => (FindingKind::ValidationError, None),
        Relation::Itself if target["status"]["failureReason"].is_string() => (FindingKind::FailureReason, None),
        Relation::Itself | Relation::Named => (FindingKind::ResultsError, None),
        Relation::Hook => (FindingKind::HookFailed, None),
        Relation::Data | Relation::Further => (FindingKind::DataHeldUp, object(first)),
        Relation::Server => (FindingKind::ServerIdle, None),
        Relation::Agent => (FindingKind::NodeAgentNotReady, object(first)),
        Relation::EndedServer => (FindingKind::ServerEnded, object(first)),
        Relation::Ahead => (FindingKind::WaitsBehind, None),
        Relation::Location if object(first).is_some_and(|one| one["spec"]["accessMode"] == "ReadOnly") => {
            (FindingKind::LocationReadOnly, None)
        }
        Relation::Backup => (FindingKind::ValidationError, None),
        Relation::Location => (FindingKind::LocationUnavailable, object(first)),
        Relation::Repository if object(first).is_some_and(|one| one["status"]["phase"] == "Ready") => {
            (FindingKind::MaintenanceFailed, object(first))
        }
        Relation::Repository => (FindingKind::RepositoryNotReady, object(first)),
        Relation::Snapshot => (FindingKind::SnapshotFailed, object(first)),
        Relation::Namespace => (FindingKind::NamespaceTerminating, object(first)),
        Relation::Restored => (FindingKind::RestoredNotWell, object(first)),
        Relation::Incomplete => (FindingKind::VolumeSkipped, None),
    };
    let subject = subject.unwrap_or(target);
    let title = line(root);
    let mut finding = if root.relation == Relation::Ahead {
        let mut proofs = evidence.ahead.iter().take(QUOTED).map(|one| Proof::new(path(one), &in_front(one)));
        let first = proofs.next().unwrap_or_else(|| Proof::new(path(target), &title));
        let mut finding = Finding::new(kind, &title, &reference(subject), first);
        finding.evidence.extend(proofs);
        finding
    } else {
        let shown = if root.relation == Relation::Data { Some(subject) } else { object(last) };
        let proof = Proof::new(path(shown.unwrap_or(subject)), &title);
        match (&root.relation, &root.reason) {
            // The error that names the object comes first.
            (Relation::Named, RootReason::Said(error) | RootReason::NotServed(error))
                if target["status"]["failureReason"].is_null() =>
            {
                let mut finding =
                    Finding::new(kind, &title, &reference(subject), Proof::new(results_path(target), error));
                finding.evidence.push(proof);
                finding
            }
            _ => Finding::new(kind, &title, &reference(subject), proof),
        }
    };
    finding.evidence.truncate(QUOTED);
    finding = finding.with(remedy(root, graph)).like(&root.others);
    finding.confidence = Some(match root.confidence {
        Confidence::Certain => debugbundle_crd::CauseConfidence::Certain,
        Confidence::Likely => debugbundle_crd::CauseConfidence::Likely,
        Confidence::Unknown => debugbundle_crd::CauseConfidence::Unknown,
    });
    finding
}

/// Stands for the last object of a way, which does not exist.
fn no_object(root: &Root) -> Value {
    let Some(last) = root.way.last() else { return Value::Null };
    let Id { kind, namespace, name } = &last.id;
    // Of an installation only the Deployment of the server is missed.
    json!({"apiVersion": "apps/v1", "kind": kind.as_str(), "metadata": {"namespace": namespace, "name": name}})
}

/// `Backup b1 is InProgress since 2026-03-01T03:00:00Z`.
fn in_front(object: &Value) -> String {
    let status = &object["status"];
    let since = status["startTimestamp"].as_str().map(|at| format!(" since {at}")).unwrap_or_default();
    format!("{} {} is {}{since}", text(object, "kind"), text(&object["metadata"], "name"), text(status, "phase"))
}

impl CauseChain {
    /// What a walk found, with what the evidence adds to it: the target, Events, and what is in front of it.
    pub fn of(explained: &Explanation, graph: &Graph<'_>, evidence: &Evidence) -> Self {
        let target = evidence.target.as_ref();
        let roots = &explained.roots;
        let first = target.map(|target| {
            let own = roots.first().filter(|root| root.relation == Relation::Itself).map(|root| root.words.clone());
            let results = evidence.results.as_ref().and_then(|results| results.errors.texts.first().cloned());
            let reason = Some(text(&target["status"], "failureReason").to_owned()).filter(|reason| !reason.is_empty());
            let state = stands(target, evidence.read_at);
            step(target, &state, own.or(reason).or(results).unwrap_or_default())
        });
        let mut looked_at = BTreeMap::new();
        for id in &explained.checked {
            *looked_at.entry(id.kind.as_str().to_owned()).or_default() += 1;
        }
        Self {
            steps: first
                .into_iter()
                .chain(roots.first().into_iter().flat_map(|root| below(root, graph, evidence)))
                .collect(),
            findings: roots.iter().take(FINDINGS).map(|root| finding(root, graph, evidence)).collect(),
            sure: roots.iter().filter(|root| root.confidence > Confidence::Unknown).count().min(FINDINGS),
            looked_at,
            parts: target.is_none().then(|| parts(graph)),
            made: target.map_or_else(Vec::new, |target| made(graph, &Id::of(target))),
        }
    }
}

/// The steps behind the target.
fn below<'a>(root: &'a Root, graph: &'a Graph<'_>, evidence: &'a Evidence) -> impl Iterator<Item = CauseStep> + 'a {
    root.way.iter().enumerate().skip(1).map(move |(number, point)| {
        let is_root = number + 1 == root.way.len();
        let Some(object) = graph.object(&point.id) else {
            return unread(&point.id, if is_root { &root.words } else { "" });
        };
        let says_itself = root.relation == Relation::Data && number == 1;
        let why = if is_root && !says_itself { root.words.clone() } else { moving(object) };
        let phase = text(&object["status"], "phase");
        let mut of_object = step(object, if point.stands.is_empty() { phase } else { &point.stands }, why);
        of_object.evidence.extend(warnings(&reference(object), evidence));
        of_object
    })
}

/// What the walk may use. The evidence has the data objects of this target alone.
pub(super) fn graph(evidence: &Evidence) -> Graph<'_> {
    let target = evidence.target.as_ref();
    let velero = target.map_or(evidence.velero.as_str(), |target| text(&target["metadata"], "namespace"));
    let mut graph = Graph::new(velero, evidence.read_at);
    for object in evidence.ahead.iter().chain(&evidence.objects).chain(&evidence.backup).chain(target) {
        graph.add(object);
    }
    let lists = [
        (Kind::Pod, "", "pods", velero),
        (Kind::Deployment, "apps", "deployments", velero),
        (Kind::DaemonSet, "apps", "daemonsets", velero),
        (Kind::BackupStorageLocation, "velero.io", "backupstoragelocations", velero),
        (Kind::BackupRepository, "velero.io", "backuprepositories", velero),
        (Kind::StorageClass, "storage.k8s.io", "storageclasses", ""),
    ];
    for (kind, group, plural, namespace) in lists {
        let list = layout::list(group, plural, Some(namespace).filter(|name| !name.is_empty()));
        // An object that did not fit into the evidence is not absent.
        if evidence.left_out == 0 && evidence.lists.contains(list.as_str()) {
            graph.listed(kind, namespace);
        }
    }
    if let Some(restore) = &evidence.target
        && evidence.is_backup_absent
    {
        let backup = Id::new(Kind::Backup, velero, text(&restore["spec"], "backupName"));
        graph.answer(backup, Known::Absent);
    }
    let definition = |path: &str| {
        let name = path.strip_prefix(DEFINITIONS)?.strip_suffix(".yaml")?;
        Some(Id::of_cluster(Kind::CustomResourceDefinition, name))
    };
    for gone in evidence.gone.iter().filter_map(|path| definition(path)) {
        graph.answer(gone, Known::Absent);
    }
    graph.further_ahead(evidence.ahead_beyond);
    graph.results(evidence.results.iter().flat_map(Results::texts));
    graph.failed_hooks(evidence.failed_hooks.iter().cloned());
    for said in &evidence.said {
        let pod = Id::new(Kind::Pod, &said.pod.0, &said.pod.1);
        graph.said(pod, &said.container, said.is_previous, Some(said.words.clone()));
    }
    graph
}

fn step(object: &Value, state: &str, why: String) -> CauseStep {
    let phase = || format!("phase {:?}", text(&object["status"], "phase"));
    let proof = Proof::new(path(object), &if why.is_empty() { phase() } else { why.clone() });
    CauseStep { object: reference(object), state: state.to_owned(), why, evidence: vec![proof] }
}

/// An object that the bundle does not contain.
fn unread(id: &Id, why: &str) -> CauseStep {
    let object = format!("{}/{}/{}", id.kind.as_str(), id.namespace, id.name);
    CauseStep { object, state: String::new(), why: why.to_owned(), evidence: Vec::new() }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// How far a data object is: its message, or its progress. Empty for other kinds.
fn moving(object: &Value) -> String {
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

    /// The first line, and what it is about.
    fn end(chain: &CauseChain) -> Option<(String, String)> {
        chain.findings.first().map(|first| (first.title.clone(), first.object.clone()))
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
        assert_eq!(found.steps[2].state, "Init:0/1");
        assert_eq!(found.steps[1].why, "no bytes are moved yet");
        assert_eq!(found.steps[2].evidence[1].path, "namespaces/shop/core/events.yaml");
        let (cause, object) = end(&found).unwrap();
        assert_eq!(
            cause,
            format!("PodVolumeRestore r1-ltc6t waits for pod shop/shop-0 (Init:0/1): FailedAttachVolume: {STUCK}")
        );
        assert_eq!(object, "PodVolumeRestore/v/r1-ltc6t");
    }

    #[test]
    fn a_restore_at_work_has_no_end_of_its_trail() {
        let young = vec![pvr("r1-a", &json!({"phase": "InProgress"})), waiting("PodInitializing", "Pending")];
        assert_eq!(end(&cause_chain(&evidence("InProgress", young))), None, "it is only being made");
        let done = vec![pvr("r1-a", &json!({"phase": "Completed"})), event("2026-03-01T10:00:00Z", STUCK)];
        let found = cause_chain(&evidence("Completed", done));
        assert_eq!((found.steps.len(), end(&found)), (1, None));
        let nothing = cause_chain(&Evidence::default());
        assert_eq!((nothing.steps.len(), end(&nothing)), (0, None), "what was not read is no cause");
    }

    #[test]
    fn a_container_that_cannot_start_and_a_mover_that_failed_say_so_themselves() {
        let objects = vec![pvr("r1-a", &json!({"phase": "New"})), waiting("ImagePullBackOff", "Pending")];
        let (cause, _) = end(&cause_chain(&evidence("InProgress", objects))).unwrap();
        assert!(
            cause.starts_with("PodVolumeRestore r1-a waits for pod shop/shop-0 (Init:0/1): container restore-wait is in ImagePullBackOff"),
            "{cause}"
        );
        let failed = json!({"phase": "Failed", "message": "data path restore failed: disk full"});
        let objects = vec![pvr("r1-b", &json!({"phase": "New"})), pvr("r1-a", &failed)];
        let (cause, _) = end(&cause_chain(&evidence("PartiallyFailed", objects))).unwrap();
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
