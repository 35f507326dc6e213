//! From what a file contains to the diagnosis: which target it is about, the evidence, and what the file lacks.

use std::{collections::BTreeSet, path::Path};

use debugbundle_crd::{CauseConfidence, TargetKind};
use debugbundle_diagnosis::{Id, Kind, Wanted, has_ended, label::valid_label};
use debugbundle_format::{
    layout,
    manifest::{Missing, MissingCode, MissingSeverity},
};
use debugbundle_redact::Redactor;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    OfflineError,
    form::Form,
    objects::{self, Objects},
    texts::{self, Texts, WantedTexts},
};
use crate::{
    collect::ended,
    diagnose::{self, CauseChain, Diagnosis, Evidence, TargetProgress, TimelineEvent},
    discovery,
    explain::Explained,
    report,
    velero::{TargetObject, is_data_of},
};

/// Most bytes of objects in the evidence. In the cluster the bound is lower: the operator's memory is small.
const EVIDENCE: usize = 64 << 20;
/// Most containers whose last words are looked for.
const CONTAINERS: usize = 50;
/// Most sentences about what the file lacks.
const LACKS: usize = 12;

/// Which Backup or Restore a user wants explained.
#[derive(Clone, Debug, Default)]
pub enum Wish {
    /// The one that the file is about; without one the installation.
    #[default]
    Own,
    /// This one.
    Target(TargetKind, String),
}

/// What a file explains.
#[derive(Debug)]
pub struct Examination {
    /// The collector that made it.
    pub form: Form,
    /// Velero's namespace.
    pub velero: String,
    /// Cause, way to it, what was looked at, and what the file lacks.
    pub explained: Explained,
    diagnosis: Diagnosis,
    timeline: Vec<TimelineEvent>,
}

impl Examination {
    /// The report as a page.
    pub fn page(&self) -> String {
        let target = &self.explained.target;
        let name = target["metadata"]["name"].as_str();
        let subject = match name {
            Some(name) => format!("{} {name}", target["kind"].as_str().unwrap_or_default()),
            None => "Velero's installation".to_owned(),
        };
        let status = |field: &str| target["status"][field].as_str();
        report::page(&report::Facts {
            subject: &subject,
            namespace: &self.velero,
            phase: name.map(|_| status("phase").unwrap_or_default()),
            times: (status("startTimestamp"), status("completionTimestamp")),
            read_at: self.explained.read_at,
            items: None,
            diagnosis: &self.diagnosis,
            timeline: &self.timeline,
            missing: &self.explained.unread.iter().map(|what| lacking(what)).collect::<Vec<_>>(),
            trimmed: &[],
            look_at: &[],
        })
    }
}

/// Reads a file or folder twice: first the objects, then the logs and files that these make interesting.
///
/// # Errors
/// It cannot be read, is of no known collector, or does not contain the target.
pub fn examine(place: &Path, wish: &Wish) -> Result<Examination, OfflineError> {
    let redactor = Redactor::of_known(Vec::new());
    let mut found = objects::read(place, &redactor)?;
    let form = found.form.unwrap_or(Form::MustGather);
    let chosen = choose(place, wish, &found)?;
    let target = chosen.as_ref().and_then(|id| found.all.get(id)).cloned();
    let velero = chosen.as_ref().map_or_else(|| namespace(&found), |id| id.namespace.clone());
    let backup = target.as_ref().filter(|target| target["kind"] == "Restore").and_then(|restore| {
        let name = restore["spec"]["backupName"].as_str().filter(|name| !name.is_empty())?;
        Some(Id::new(Kind::Backup, &velero, name))
    });
    let texts = texts::read(place, &wanted(&found, target.as_ref(), backup.as_ref(), &velero), &redactor)?;
    let read_at = found.read_at.unwrap_or_else(Timestamp::now);
    let errors = texts.errors.clone();
    let is_ours = form == Form::DebugBundle;
    let mut unread = std::mem::take(&mut found.unread);
    if let (None, Wish::Own, Some((kind, name))) = (&chosen, wish, &found.about) {
        unread.push(format!("{kind} {name}, which the file is about: not in the file"));
    }
    let evidence = evidence(found, texts, target.clone(), backup.as_ref(), &velero, read_at);
    let location = |object: &Value| object["spec"]["storageLocation"].as_str().map(str::to_owned);
    let location = evidence.backup.as_ref().or(target.as_ref()).and_then(location);
    let mut diagnosis = diagnose::diagnose(&evidence, location.as_deref());
    let timeline = diagnose::timeline(&evidence, errors);
    diagnosis.point_at(&timeline);
    if !is_ours {
        // The paths are those of a bundle of ours.
        diagnosis.findings.iter_mut().for_each(|finding| finding.evidence.clear());
        diagnosis.tree.iter_mut().for_each(|step| step.evidence.clear());
    }
    unread.extend(lacks(&evidence));
    if !is_ours && !unread.is_empty() {
        // Something that the file lacks may be the cause.
        let certain = diagnosis.findings.iter_mut().filter(|one| one.confidence == Some(CauseConfidence::Certain));
        certain.for_each(|finding| finding.confidence = Some(CauseConfidence::Likely));
    }
    let progress = diagnosis.progress.clone().unwrap_or_else(|| TargetProgress::of(&Value::Null, [].into_iter()));
    let chain = CauseChain {
        steps: diagnosis.tree.clone(),
        findings: diagnosis.findings.clone(),
        sure: 0,
        looked_at: diagnosis.looked_at.clone(),
        parts: diagnosis.parts.clone(),
        made: diagnosis.made.clone(),
    };
    let installation = || json!({"kind": Kind::Installation.as_str(), "metadata": {"namespace": velero}});
    let target = target.unwrap_or_else(installation);
    let explained = Explained { chain, target, progress, unread, read_at };
    Ok(Examination { form, velero, explained, diagnosis, timeline })
}

/// The target; `None`: the installation.
fn choose(place: &Path, wish: &Wish, found: &Objects) -> Result<Option<Id>, OfflineError> {
    let (kind, name, is_wish) = match (wish, &found.about) {
        (Wish::Target(kind, name), _) => (*kind, name, true),
        (Wish::Own, Some((kind, name))) => (*kind, name, false),
        (Wish::Own, None) => return Ok(None),
    };
    let of_kind = || found.all.keys().filter(|id| id.kind.as_str() == kind.as_str());
    match of_kind().find(|id| id.name == *name) {
        Some(id) => Ok(Some(id.clone())),
        None if !is_wish => Ok(None),
        None => {
            let names: Vec<String> = of_kind().map(|id| id.name.clone()).collect();
            let others =
                if names.is_empty() { String::new() } else { format!("; it contains: {}", report::listed(&names)) };
            Err(OfflineError::NoTarget { place: place.to_owned(), kind, name: name.clone(), others })
        }
    }
}

/// The namespace in which Velero's objects are.
fn namespace(found: &Objects) -> String {
    let of = |kind: Kind| found.all.keys().find(|id| id.kind == kind).map(|id| id.namespace.clone());
    let kinds = [Kind::BackupStorageLocation, Kind::Backup, Kind::Restore];
    kinds.into_iter().find_map(of).unwrap_or_else(|| "velero".to_owned())
}

fn wanted(found: &Objects, target: Option<&Value>, backup: Option<&Id>, velero: &str) -> WantedTexts {
    let of = |target: &Value| {
        let kind = if target["kind"] == "Restore" { TargetKind::Restore } else { TargetKind::Backup };
        (kind, target["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    };
    let target = target.map(of);
    let own = target.iter().find(|(kind, _)| *kind == TargetKind::Backup).map(|(_, name)| name.clone());
    let pods = found.all.iter().filter(|(id, _)| id.kind == Kind::Pod).map(|(_, pod)| pod);
    let ended: BTreeSet<_> =
        pods.flat_map(ended).map(|one| (one.pod.0, one.pod.1, one.container)).take(CONTAINERS).collect();
    WantedTexts { target, backup: backup.map(|id| id.name.clone()).or(own), velero: velero.to_owned(), ended }
}

/// What the diagnosis is made from, as `collect` makes it in the cluster.
fn evidence(
    found: Objects,
    texts: Texts,
    target: Option<Value>,
    backup: Option<&Id>,
    velero: &str,
    read_at: Timestamp,
) -> Evidence {
    let list = |kind: &Kind| kind.resource().map(|kind| layout::list(kind.group, kind.plural, Some(velero)));
    let backups = list(&Kind::Backup).is_some_and(|list| found.lists.contains(list.as_str()));
    let mut evidence = Evidence {
        velero: velero.to_owned(),
        backup: backup.and_then(|id| found.all.get(id)).cloned(),
        is_backup_absent: backups && backup.is_some_and(|id| !found.all.contains_key(id)),
        results: texts.results.or(texts.described),
        said: texts.said,
        skipped: texts.skipped,
        failed_hooks: texts.hooks.failed(),
        read_at,
        ..Evidence::default()
    };
    let of_target = |kind: TargetKind| {
        let kind = Kind::of(kind.as_str());
        found.all.iter().filter(move |(id, _)| id.kind == kind && id.namespace == velero).map(|(_, object)| object)
    };
    if let Some(target) = &target {
        let kind = if target["kind"] == "Restore" { TargetKind::Restore } else { TargetKind::Backup };
        let queue = discovery::Queue::among(&TargetObject::read(kind, target.clone()), of_target(kind));
        (evidence.ahead, evidence.ahead_beyond) = (queue.ahead, queue.beyond);
    } else {
        let failed = |kind| discovery::failed_among(kind, of_target(kind));
        evidence.failed = [failed(TargetKind::Backup), failed(TargetKind::Restore)].concat();
    }
    let mine = target.as_ref().map(OfTarget::of);
    let (first, rest): (Vec<_>, Vec<_>) = found
        .all
        .into_iter()
        .filter(|(id, object)| is_evidence(id, object, mine.as_ref()))
        .partition(|(id, _)| id.namespace == velero || id.namespace.is_empty());
    let sized = |(_, object): (Id, Value)| {
        let bytes = object.to_string().len();
        (object, bytes)
    };
    evidence.add_within(first.into_iter().chain(rest).map(sized).collect(), EVIDENCE);
    (evidence.target, evidence.lists, evidence.gone) = (target, found.lists, found.gone);
    evidence
}

/// How the objects of a target are known.
struct OfTarget {
    word: &'static str,
    name: String,
    uid: String,
}

impl OfTarget {
    fn of(target: &Value) -> Self {
        let text = |field: &str| target["metadata"][field].as_str().unwrap_or_default();
        let word = if target["kind"] == "Restore" { "restore" } else { "backup" };
        Self { word, name: valid_label(text("name")), uid: text("uid").to_owned() }
    }

    /// By name, and not of an earlier target of the same name.
    fn has(&self, data: &Value) -> bool {
        let Self { word, name, uid } = self;
        data["metadata"]["labels"][format!("velero.io/{word}-name")] == name.as_str() && is_data_of(data, word, uid)
    }
}

/// Whether an object may explain the target.
fn is_evidence(id: &Id, object: &Value, target: Option<&OfTarget>) -> bool {
    match &id.kind {
        Kind::Backup | Kind::Restore => false,
        Kind::Event => object["type"] != "Normal",
        kind if Kind::DATA.contains(kind) => target.is_some_and(|target| target.has(object)),
        _ => true,
    }
}

/// A sentence about what the file lacks, for the page.
fn lacking(sentence: &str) -> Missing {
    let (what, why) = sentence.rsplit_once(": ").unwrap_or((sentence, "not read"));
    Missing {
        what: what.to_owned(),
        path: String::new(),
        code: MissingCode::NotLooked,
        severity: MissingSeverity::Error,
        why: why.to_owned(),
        need: None,
        rule: None,
        cure: String::new(),
    }
}

/// What the walk asked for and the file does not contain: a sentence each.
fn lacks(evidence: &Evidence) -> Vec<String> {
    let is_listed = |kind: &Kind, namespace: &str| {
        kind.resource().is_some_and(|kind| {
            let namespace = Some(namespace).filter(|name| !name.is_empty());
            evidence.lists.contains(layout::list(kind.group, kind.plural, namespace).as_str())
        })
    };
    let has_files = evidence.target.as_ref().is_some_and(has_ended);
    let sentence = |wanted: Wanted| match wanted {
        Wanted::Object(id) if !is_listed(&id.kind, &id.namespace) => Some(format!("{id}")),
        Wanted::List(kind, namespace) if !is_listed(&kind, &namespace) => {
            Some(format!("{} objects of namespace {namespace}", kind.as_str()))
        }
        Wanted::Labelled(kind, ..) if !is_listed(&kind, &evidence.velero) => Some(format!("{} objects", kind.as_str())),
        Wanted::Warnings(id) if !is_listed(&Kind::Event, &id.namespace) => Some(format!("Events about {id}")),
        Wanted::LastWords(pod, container, true) => Some(format!("the previous log of container {container} of {pod}")),
        Wanted::LastWords(pod, container, false) => Some(format!("the log of container {container} of {pod}")),
        Wanted::Results if has_files && evidence.results.is_none() => Some("the results that Velero wrote".to_owned()),
        _ => None,
    };
    let mut all: Vec<String> = diagnose::lacking(evidence).into_iter().filter_map(sentence).collect();
    all.sort();
    all.dedup();
    let more = all.len().saturating_sub(LACKS);
    all.truncate(LACKS);
    let mut all: Vec<String> = all.into_iter().map(|what| format!("{what}: not in the file")).collect();
    if more > 0 {
        all.push(format!("{more} further objects, lists or logs: not in the file"));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn put(folder: &Path, path: &str, body: &[u8]) {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).unwrap();
        fs::write(file, body).unwrap();
    }

    fn restores(status: &Value) -> Vec<u8> {
        let restore =
            json!({"metadata": {"name": "r1", "namespace": "v"}, "spec": {"backupName": "b1"}, "status": status});
        json!({"kind": "RestoreList", "items": [restore]}).to_string().into_bytes()
    }

    #[test]
    fn the_target_of_velero_debug_is_the_one_that_it_was_asked_for_and_its_errors_are_read_from_the_description() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("velero-bundle");
        let list = "kubecapture/velero.io_v1/v/restores-2026-11-23T11-02-03Z.1234.json";
        put(&root, list, &restores(&json!({"phase": "PartiallyFailed", "errors": 1})));
        let description = "Name:  r1\n\nErrors:\n  Velero:   <none>\n  Cluster:  <none>\n  Namespaces:\n    \
                           shop:  login as robot failed: password=hunter2-x7 is wrong\n\n";
        put(&root, "restore_describe_r1.txt", description.as_bytes());
        let found = examine(folder.path(), &Wish::Own).unwrap();
        assert_eq!((found.form, found.velero.as_str()), (Form::VeleroDebug, "v"));
        let cause = &found.explained.causes()[0];
        assert!(cause.title.contains("login as robot failed: password=[REDACTED:"), "{}", cause.title);
        assert_ne!(cause.confidence, Some(CauseConfidence::Certain));
        let page = found.page();
        assert!(page.contains("login as robot failed") && !page.contains("hunter2") && !page.contains("manifest.json"));
        assert!(
            page.contains("<b>DataDownload objects</b>: <span>not in the file</span>"),
            "the page says what the file lacks: {page}"
        );
        let nobody =
            examine(folder.path(), &Wish::Target(TargetKind::Backup, "b1".to_owned())).unwrap_err().to_string();
        assert!(nobody.ends_with(" contains no Backup b1"), "{nobody}");
    }

    #[test]
    fn a_file_without_a_target_is_about_the_installation() {
        let folder = tempfile::tempdir().unwrap();
        let failed = json!({"phase": "Failed", "failureReason": "the disk is full"});
        put(folder.path(), "namespaces/v/velero.io/restores.yaml", &restores(&failed));
        let found = examine(folder.path(), &Wish::Own).unwrap();
        assert_eq!(found.form, Form::MustGather);
        assert!(found.explained.chain.parts.is_some() && found.explained.phase().is_none());
        let titles: Vec<_> = found.explained.chain.findings.iter().map(|finding| finding.title.as_str()).collect();
        assert!(titles.iter().any(|title| title.contains("the disk is full")), "{titles:?}");
        put(folder.path(), "velero-bundle/backup_describe_b1.txt", b"Name: b1\n");
        let found = examine(folder.path(), &Wish::Own).unwrap();
        let lacks = "Backup b1, which the file is about: not in the file";
        assert!(found.explained.unread.iter().any(|what| what == lacks), "{:?}", found.explained.unread);
    }

    #[test]
    fn data_of_an_earlier_target_of_the_same_name_is_none_of_its_own() {
        let mine = OfTarget::of(&json!({"kind": "Restore", "metadata": {"name": "r1", "uid": "u2"}}));
        let data =
            |uid: &str| json!({"metadata": {"labels": {"velero.io/restore-name": "r1", "velero.io/restore-uid": uid}}});
        assert_eq!((mine.has(&data("u1")), mine.has(&data("u2"))), (false, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_file_makes_it_panic(
            files in prop::collection::vec((0..PATHS.len(), prop::collection::vec(any::<u8>(), 0..200), any::<bool>(), 0..400_usize), 1..8),
        ) {
            let folder = tempfile::tempdir().unwrap();
            for (path, noise, is_noise, cut) in files {
                let mut body = restores(&json!({"phase": "Failed", "failureReason": "x", "conditions": [{}]}));
                body.truncate(cut);
                put(folder.path(), PATHS[path], if is_noise { &noise } else { &body });
            }
            for wish in [Wish::Own, Wish::Target(TargetKind::Restore, "r1".to_owned())] {
                if let Ok(found) = examine(folder.path(), &wish) {
                    prop_assert!(found.page().starts_with("<!DOCTYPE html>"));
                }
            }
        }
    }

    const PATHS: [&str; 12] = [
        "manifest.json",
        "timestamp",
        "namespaces/v/velero.io/restores.yaml",
        "namespaces/v/velero.io/backups.yaml",
        "namespaces/v/core/pods.yaml",
        "namespaces/v/core/events.yaml",
        "namespaces/shop/core/persistentvolumeclaims.yaml",
        "cluster-scoped-resources/core/nodes.yaml",
        "kubecapture/velero.io_v1/v/restores-1.json",
        "velero/restores/r1/results.json",
        "velero/restores/r1/restore.log",
        "restore_describe_r1.txt",
    ];
}
