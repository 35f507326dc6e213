//! The results of a run, and the head of the manifest made from them. Sealing adds the entries and their offsets.

use std::{collections::BTreeMap, time::Duration};

use debugbundle_crd::Severity;
use debugbundle_format::manifest::{
    BundleInfo, ClusterInfo, FindingsInfo, ManifestHead, NamespaceInfo, OperatorInfo, Outcome, Permission, TargetInfo,
    Timings, Totals, VeleroInfo, Window,
};
use jiff::Timestamp;
use serde_json::Value;

use super::{Origin, Subject, destination::ObjectAddress, final_state::FinalState};
use crate::{
    collect::Collected,
    diagnose::Diagnosis,
    discovery::{Looked, Snapshot},
    plan,
};

/// Everything that a run knows before it is sealed.
pub(super) struct RunResult {
    pub(super) started: Timestamp,
    pub(super) snapshot: Snapshot,
    pub(super) window: plan::TimeWindow,
    /// Number of planned items, including those that may not be read.
    pub(super) wanted: usize,
    /// The answers of the permission check.
    pub(super) permissions: Vec<Permission>,
    pub(super) collected: Collected,
    pub(super) diagnosis: Diagnosis,
    /// Milliseconds of discovery, collection and diagnosis.
    pub(super) ms: [u64; 3],
    pub(super) closing: FinalState,
    /// The run's log until now.
    pub(super) log: Vec<u8>,
}

/// The part of the manifest that is known before sealing.
pub(super) fn head(
    subject: &Subject,
    place: &ObjectAddress,
    version: &str,
    found: &RunResult,
    sealing: Duration,
) -> ManifestHead {
    let RunResult { started, snapshot, window, wanted, permissions, collected, diagnosis, ms, closing, .. } = found;
    let now = Timestamp::now();
    ManifestHead {
        bundle: bundle(subject, place),
        operator: OperatorInfo {
            version: version.to_owned(),
            commit: option_env!("DEBUGBUNDLE_COMMIT").unwrap_or_default().to_owned(),
        },
        cluster: ClusterInfo { nodes: closing.nodes, ..cluster(snapshot) },
        velero: velero(snapshot, collected.evidence.velero_version.as_ref()),
        target: target(snapshot, closing),
        request: serde_json::to_value(&subject.spec).unwrap_or_default(),
        window: Window { from: window.from.unwrap_or(Timestamp::UNIX_EPOCH), to: window.to.unwrap_or(now) },
        started_at: *started,
        finished_at: now,
        outcome: collected.outcome(),
        namespaces: namespaces(snapshot),
        empty: collected.empty.clone(),
        missing: collected.missing.clone(),
        trimmed: collected.trimmed.clone(),
        permissions: permissions.clone(),
        findings: findings(diagnosis),
        totals: Totals {
            wanted: *wanted as u64,
            ok: collected.entries.iter().filter(|entry| entry.truncated.is_none()).count() as u64,
            ..Totals::default()
        },
        timings: Timings {
            inventory: ms[0],
            collect: ms[1],
            diagnose: ms[2],
            seal: u64::try_from(sealing.as_millis()).unwrap_or(u64::MAX),
        },
        ..ManifestHead::default()
    }
}

/// The head of a manifest without a word of others.
pub(super) fn bare(subject: &Subject, name: &str, started: Timestamp) -> ManifestHead {
    let bundle = BundleInfo {
        name: name.to_owned(),
        uid: subject.uid.clone(),
        origin: subject.origin,
        attempt: u32::try_from(subject.attempt).unwrap_or(u32::MAX),
        ..BundleInfo::default()
    };
    let now = Timestamp::now();
    ManifestHead {
        bundle,
        request: Value::Object(serde_json::Map::new()),
        started_at: started,
        finished_at: now,
        window: Window { from: started, to: now },
        outcome: Outcome::PartiallyFailed,
        ..ManifestHead::default()
    }
}

fn bundle(subject: &Subject, place: &ObjectAddress) -> BundleInfo {
    BundleInfo {
        name: subject.name.clone(),
        namespace: subject.namespace.clone(),
        uid: subject.uid.clone(),
        origin: subject.origin,
        attempt: u32::try_from(subject.attempt).unwrap_or(u32::MAX),
        key: if subject.origin == Origin::Cli { String::new() } else { place.key.clone() },
        ..BundleInfo::default()
    }
}

fn cluster(snapshot: &Snapshot) -> ClusterInfo {
    let version = snapshot.installation.kubernetes.as_ref().and_then(|version| version["gitVersion"].as_str());
    ClusterInfo { git_version: version.unwrap_or_default().to_owned(), nodes: None }
}

fn velero(snapshot: &Snapshot, seen: Option<&(String, String)>) -> VeleroInfo {
    let images = |plugins: bool| -> Vec<String> {
        let mut images: Vec<String> = snapshot
            .installation
            .servers
            .iter()
            .chain(&snapshot.installation.node_agents)
            .flat_map(|workload| &workload.containers)
            .filter(|(name, ..)| (name != "velero" && name != "node-agent") == plugins)
            .map(|(_, image, _)| image.clone())
            .collect();
        images.sort();
        images.dedup();
        images
    };
    VeleroInfo {
        namespace: snapshot.installation.namespace.clone(),
        version: seen
            .map(|(version, _)| version.clone())
            .or(snapshot.installation.reported_version.clone())
            .unwrap_or_default(),
        images: images(false),
        plugins: images(true),
    }
}

fn target(snapshot: &Snapshot, closing: &FinalState) -> Option<TargetInfo> {
    let target = snapshot.target.object.as_ref()?;
    let text = |pointer: &str| target.raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(TargetInfo {
        api_version: text("/apiVersion"),
        kind: target.kind.to_string(),
        namespace: text("/metadata/namespace"),
        name: target.name.clone(),
        uid: target.uid.clone(),
        phase_at_start: target.phase.clone(),
        phase_at_end: closing.phase.as_ref().unwrap_or(&target.phase).clone(),
        start_timestamp: target.started,
        completion_timestamp: target.completed,
    })
}

fn namespaces(snapshot: &Snapshot) -> Vec<NamespaceInfo> {
    let own = NamespaceInfo { name: snapshot.installation.namespace.clone(), why: "Velero".to_owned(), looked: true };
    let candidate = snapshot.namespaces.candidates.iter().map(|candidate| NamespaceInfo {
        name: candidate.namespace.clone(),
        why: candidate.why.clone(),
        looked: candidate.looked == Looked::Yes,
    });
    std::iter::once(own).chain(candidate).collect()
}

fn findings(diagnosis: &Diagnosis) -> FindingsInfo {
    let mut counts = BTreeMap::new();
    for finding in &diagnosis.findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        *counts.entry(word.to_owned()).or_insert(0) += 1;
    }
    let mut ids: Vec<String> = Vec::new();
    for finding in &diagnosis.findings {
        if !ids.iter().any(|id| id == finding.kind.id()) {
            ids.push(finding.kind.id().to_owned());
        }
    }
    FindingsInfo { cause: diagnosis.cause.clone(), counts, ids }
}
