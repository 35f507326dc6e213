//! Turns evidence into findings and one line of cause: pure, over redacted evidence. First the chain from the target to
//! its cause, then what Velero itself reports about the target and its location. There is no catalogue of known
//! messages.

mod cause_chain;
mod document;
mod evidence;
mod failed;
mod finding;
mod finding_kind;
mod log_lines;
mod log_proofs;
mod object;
mod operations;
mod progress;
mod skipped;
mod timeline;

use std::collections::{BTreeMap, BTreeSet};

use debugbundle_crd::{CauseConfidence, Severity, TargetKind};
use debugbundle_diagnosis::alike::{Alike, and_more, grouped};
use debugbundle_diagnosis::{Graph, Id, InstallationParts, Kind, Remedy, of_error, readable};
use jiff::Timestamp;
use serde_json::Value;

pub use cause_chain::{CauseChain, CauseStep, cause_chain, lacking};
pub use document::{DiagnosisDocument, EarlierDiagnosis, LiveFacts, diagnosis_schema};
pub use evidence::{Evidence, Said};
pub use finding::{Finding, LogLine, Proof};
pub use finding_kind::{FindingKind, links};
pub use log_lines::error_lines;
pub use operations::operations;
pub use progress::TargetProgress;
pub use skipped::skipped_volumes;
pub use timeline::{MomentKind, MomentStep, TimelineEvent, timeline};

use crate::velero::Distinct;
use debugbundle_format::{StoreFile, layout};
use object::path;
pub use object::reference;

/// Most findings that are kept.
pub const LIMIT: usize = 1000;

/// The result of the diagnosis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnosis {
    /// Why the target, or the installation, is as it is, in one line; `None` if nothing points to a failure.
    pub cause: Option<String>,
    /// Most severe first.
    pub findings: Vec<Finding>,
    /// The objects from the target to the cause.
    pub tree: Vec<CauseStep>,
    /// How far the target has come; `None` without a target.
    pub progress: Option<TargetProgress>,
    /// Without a target: how the parts of the installation stand.
    pub parts: Option<InstallationParts>,
    /// How many objects were looked at for the cause, by kind.
    pub looked_at: BTreeMap<String, usize>,
    /// What a Restore made and how it stands: `42 pods run`.
    pub made: Vec<String>,
    /// How many volumes the Backup skipped.
    pub skipped: usize,
}

/// Examines the target, then its results, then its location; without a target the parts of the installation. `location`
/// contains the target's files; `None`: it is not known, so all locations are examined.
pub fn diagnose(evidence: &Evidence, location: Option<&str>) -> Diagnosis {
    let mut findings = Vec::new();
    let CauseChain { steps, findings: mut explained, sure, looked_at, parts, made } = cause_chain(evidence);
    let late = explained.split_off(sure);
    findings.append(&mut explained);
    let graph = cause_chain::graph(evidence);
    let remedy = |error: &str| of_error(error, &Id::of(evidence.target.as_ref()?), &graph);
    if let Some(target) = &evidence.target {
        of_target(target, &remedy, &mut findings);
    }
    // What only did not happen in time comes behind the target's own words.
    findings.extend(late);
    let object = evidence.target.as_ref().map(reference).unwrap_or_default();
    if let Some(results) = &evidence.results {
        let mut told = Told::default();
        for known in &findings {
            told.is_new(&known.title);
        }
        let file = evidence.target.as_ref().map(results_path).unwrap_or_default();
        let place = (object.as_str(), file.as_str());
        of_results(&results.errors, FindingKind::ResultsError, place, &remedy, &mut told, &mut findings);
        of_results(&results.warnings, FindingKind::ResultsWarning, place, &|_| None, &mut told, &mut findings);
        if let Some(why) = &results.broken {
            let title = format!("results.json could not be read: {why}");
            findings.push(Finding::new(FindingKind::ResultsUnreadable, &title, &object, Proof::new(file, why)));
        }
    }
    of_diagnosed(&evidence.diagnosed, &evidence.diagnosed_in, &object, &mut findings);
    // Without a target, the walk leads to all of them.
    let locations = evidence.of_kind("BackupStorageLocation").filter(|_| evidence.target.is_some());
    for found in locations.filter(|l| location.is_none() || l["metadata"]["name"].as_str() == location) {
        let is_told =
            |known: &Finding| known.kind == FindingKind::LocationUnavailable && known.object == reference(found);
        if !findings.iter().any(is_told) {
            of_location(found, evidence.read_at, &mut findings);
        }
    }
    failed::failed(&evidence.failed, &mut findings);
    let skipped = skipped_volumes(evidence, &mut findings);
    findings.sort_by_key(|f| f.severity);
    findings.truncate(LIMIT);
    let cause = findings.iter().find(|f| f.severity == Severity::Error).map(|f| f.title.clone());
    let data = evidence.objects.iter().filter(|object| Kind::DATA.contains(&Id::of(object).kind));
    let progress = evidence.target.as_ref().map(|target| TargetProgress::of(target, data));
    Diagnosis { cause, findings, tree: steps, progress, parts, looked_at, made, skipped }
}

impl Diagnosis {
    /// What was looked at, with numbers: `40 of 40 items, 2 of 2 volumes, 3 pods run, 2 claims are bound`; empty if nothing
    /// is known.
    pub fn looked_at_words(&self) -> String {
        if let Some(parts) = &self.parts {
            return parts.words();
        }
        let progress = self.progress.as_ref().map(TargetProgress::words).filter(|words| !words.is_empty());
        let pods = match self.looked_at.get("Pod") {
            _ if !self.made.is_empty() => Some(self.made.join(", ")),
            None => None,
            Some(1) => Some("1 pod looked at".to_owned()),
            Some(pods) => Some(format!("{pods} pods looked at")),
        };
        let skipped = match self.skipped {
            0 => None,
            1 => Some("1 volume has no data in the Backup".to_owned()),
            many => Some(format!("{many} volumes have no data in the Backup")),
        };
        progress.into_iter().chain(pods).chain(skipped).collect::<Vec<_>>().join(", ")
    }

    /// For programs. `target`: as [`CauseStep::object`].
    pub fn document<'a>(&'a self, target: Option<String>, phase: Option<&'a str>) -> DiagnosisDocument<'a> {
        let first = self.findings.iter().find(|finding| finding.severity == Severity::Error);
        DiagnosisDocument {
            schema_version: 1,
            target,
            // Velero writes New as no phase.
            phase: phase.map(|phase| if phase.is_empty() { "New" } else { phase }),
            cause: self.cause.as_deref(),
            confidence: first.and_then(|finding| finding.confidence),
            tree: &self.tree,
            findings: &self.findings,
            progress: self.progress.as_ref(),
            parts: self.parts.as_ref(),
            looked_at: &self.looked_at,
            live: None,
        }
    }

    /// Adds a finding made while the bundle was built, which is not a cause.
    pub fn add(&mut self, kind: FindingKind, title: &str, object: &str, evidence: &str) {
        let proof = Proof::new("manifest.json".to_owned(), evidence);
        self.findings.push(Finding::new(kind, title, object, proof));
        self.findings.sort_by_key(|finding| finding.severity);
    }
}

/// Path of the file with a target's results.
fn results_path(target: &Value) -> String {
    let name = target["metadata"]["name"].as_str().unwrap_or_default();
    let kind = if target["kind"] == "Restore" { TargetKind::Restore } else { TargetKind::Backup };
    layout::store_file(kind, name, StoreFile::Results).as_str().to_owned()
}

fn of_target(target: &Value, remedy: &dyn Fn(&str) -> Option<Remedy>, findings: &mut Vec<Finding>) {
    let object = reference(target);
    let status = &target["status"];
    let mut add = |kind: FindingKind, text: &str| {
        findings.push(Finding::new(kind, &readable(text), &object, Proof::new(path(target), text)).with(remedy(text)));
    };
    if let Some(reason) = status["failureReason"].as_str() {
        add(FindingKind::FailureReason, reason);
    }
    for error in status["validationErrors"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        add(FindingKind::ValidationError, error);
    }
}

fn of_results(
    messages: &Distinct,
    kind: FindingKind,
    (object, file): (&str, &str),
    remedy: &dyn Fn(&str) -> Option<Remedy>,
    told: &mut Told,
    findings: &mut Vec<Finding>,
) {
    let word = if kind.severity() == Severity::Error { "errors" } else { "warnings" };
    for Alike { first, place, more, others } in grouped(messages.counted().map(|(text, times)| (readable(text), times)))
    {
        // One cause appears as error below `velero` and as warning below `namespaces`; the errors come first.
        if findings.len() < LIMIT && told.is_new(&first) {
            let proof = Proof::new(file.to_owned(), messages.texts.get(place).map_or("", |text| text.trim()));
            let finding = Finding::new(kind, &(first.clone() + &and_more(more)), object, proof);
            findings.push(finding.with(remedy(&first)).like(&others));
        }
    }
    if messages.left_out > 0 {
        let title = format!("results.json contains {} further {word}", messages.left_out);
        let proof = Proof::new(file.to_owned(), &title);
        findings.push(Finding::new(FindingKind::ResultsMore, &title, object, proof));
    }
}

/// What node-agents reported about a hosting pod that could not be prepared, in their words.
fn of_diagnosed(lines: &[String], file: &str, object: &str, findings: &mut Vec<Finding>) {
    let frame = |line: &str| line.contains("begin diagnose ") || line.contains("end diagnose ");
    let said: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !frame(line)).collect();
    if let Some(first) = said.first() {
        let title = format!("a data mover's pod could not be prepared: {first}");
        let proof = Proof::new(file.to_owned(), &said.join("; "));
        findings.push(Finding::new(FindingKind::DataMoverNotPrepared, &title, object, proof));
    }
}

/// A location to which nothing leads from the target.
fn of_location(location: &Value, now: Timestamp, findings: &mut Vec<Finding>) {
    if location["status"]["phase"].as_str() == Some("Unavailable") {
        let message = location["status"]["message"].as_str().unwrap_or("no message");
        let name = location["metadata"]["name"].as_str().unwrap_or_default();
        let title = format!("BackupStorageLocation {name} is Unavailable: {}", readable(message));
        let proof = Proof::new(path(location), message);
        let finding = Finding::new(FindingKind::LocationUnavailable, &title, &reference(location), proof);
        let id = Id::of(location);
        let mut graph = Graph::new(&id.namespace, now);
        graph.add(location);
        let finding = finding.with(of_error(message, &id, &graph));
        findings.push(Finding { confidence: Some(CauseConfidence::Likely), ..finding });
    }
}

/// Titles that were reported already, and their ends.
#[derive(Debug, Default)]
struct Told {
    titles: BTreeSet<String>,
    tails: BTreeSet<String>,
}

impl Told {
    /// Remembers the title; `false` if this title, or one with the same end, was reported before.
    fn is_new(&mut self, title: &str) -> bool {
        let tail = title.rsplit(": ").next().unwrap_or(title);
        // Short ends such as "not found" do not identify a cause.
        let known = self.titles.contains(title) || self.tails.contains(tail);
        if !known {
            self.titles.insert(title.to_owned());
            if tail.len() > 16 {
                self.tails.insert(tail.to_owned());
            }
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::velero::Results;

    fn restore(status: &Value) -> Value {
        json!({ "apiVersion": "velero.io/v1", "kind": "Restore", "metadata": { "namespace": "vault-ns", "name": "r1" },
            "status": status })
    }

    fn results(json: &Value) -> Results {
        Results::read(json.to_string().as_bytes())
    }

    #[test]
    fn results_beyond_reading_or_number_are_told_as_such() {
        let many: Vec<_> = (0..700).map(|n| format!("volume {n} is lost")).collect();
        let read = results(&json!({ "errors": { "velero": many } }));
        let evidence = Evidence {
            target: Some(restore(&json!({ "phase": "PartiallyFailed" }))),
            results: Some(Results { broken: Some("EOF while parsing".into()), ..read }),
            ..Default::default()
        };
        let found = diagnose(&evidence, None);
        assert_eq!(found.cause.as_deref(), Some("volume 0 is lost (and 699 more like it)"), "what was read counts");
        let [first, ..] = &found.findings[..] else { panic!("{found:?}") };
        let others: Vec<_> = (1..500).map(|number| number.to_string()).collect();
        assert_eq!(first.alike, others, "no name is lost");
        let rest: Vec<_> = found.findings.iter().skip(1).map(|f| (f.severity, f.title.as_str())).collect();
        let (warning, more) =
            ("results.json could not be read: EOF while parsing", "results.json contains 200 further errors");
        assert_eq!(rest, [(Severity::Warning, warning), (Severity::Info, more)]);
    }

    #[test]
    fn what_velero_says_of_the_target_comes_first() {
        let evidence = Evidence {
            target: Some(restore(&json!({ "phase": "Failed", "failureReason": "restore execution failed: x" }))),
            results: Some(results(&json!({ "errors": { "cluster": ["boom"] } }))),
            ..Default::default()
        };
        let found = diagnose(&evidence, None);
        assert_eq!(found.cause.as_deref(), Some("restore execution failed: x"));
        assert_eq!(found.findings.len(), 2);
        assert_eq!(found.findings[0].object, "Restore/vault-ns/r1");
        let files = found.findings.iter().map(|finding| finding.evidence[0].path.as_str()).collect::<Vec<_>>();
        assert_eq!(files, ["namespaces/vault-ns/velero.io/restores.yaml", "velero/restores/r1/results.json"]);
    }

    #[test]
    fn a_finding_points_at_the_line_of_the_log_that_says_the_same() {
        let evidence = Evidence {
            target: Some(restore(&json!({ "phase": "PartiallyFailed" }))),
            results: Some(results(
                &json!({ "errors": { "namespaces": { "shop": ["exceeded quota: tight", "elsewhere told"] } } }),
            )),
            ..Default::default()
        };
        let mut found = diagnose(&evidence, None);
        let moment = |text: &str, line| TimelineEvent {
            t: jiff::Timestamp::UNIX_EPOCH,
            kind: MomentKind::Log,
            object: String::new(),
            text: text.to_owned(),
            part: String::new(),
            step: MomentStep::Trouble,
            path: "velero/restores/r1/restore.log".to_owned(),
            line,
        };
        found.point_at(&[
            moment("x: exceeded quota: tight", None),
            moment("y: exceeded quota: tight, used 3", Some(41)),
            moment("y: exceeded quota: tight, used 4", Some(48)),
        ]);
        let [first, second] = &found.findings[..] else { panic!("{found:?}") };
        assert_eq!(first.evidence[1].line, Some(41), "{first:?}");
        assert_eq!(first.evidence[1].text, "y: exceeded quota: tight, used 3 (and 1 more like it)");
        assert_eq!(second.evidence.len(), 1);
        assert_eq!(first.in_short().evidence, "exceeded quota: tight");
        let told = serde_json::to_value(first).unwrap();
        assert_eq!(told["link"], "https://velero.io/docs/v1.18/debugging-restores/");
        assert!(
            told["remedy"].as_str().is_some_and(|words| !words.is_empty()) && told["evidence"][0].get("line").is_none()
        );
        found.add(FindingKind::RepositoryPasswordNotMasked, "title", "Secret/v/s", "403");
        assert_eq!(found.findings.last().unwrap().evidence[0].path, "manifest.json");
    }

    #[test]
    fn an_error_of_the_results_is_told_once_and_readably() {
        let line = " resource: /pods name: /p1 message: /Error backing up item error: /daemonset pod not found in running state in node n1";
        let skipped = " resource: /pods name: /p1 message: /Skip pod volume v error: /daemonset pod not found in running state in node n1";
        let evidence = Evidence {
            target: Some(restore(&json!({ "phase": "PartiallyFailed" }))),
            results: Some(results(
                &json!({ "errors": { "velero": [line] }, "warnings": { "namespaces": { "shop": [skipped, "other"] } } }),
            )),
            ..Default::default()
        };
        let found = diagnose(&evidence, None);
        assert_eq!(found.cause.as_deref(), Some("pods p1: daemonset pod not found in running state in node n1"));
        let told: Vec<_> = found.findings.iter().map(|f| (f.severity, f.title.as_str())).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1], (Severity::Warning, "other"));
    }

    #[test]
    fn what_node_agents_found_out_is_one_finding_and_not_the_cause() {
        let diagnosed = [
            "DD: begin diagnose restore exposer",
            "DD: Pod v/r1-x, phase Pending, node name",
            "DD: PVC v/r1-x, phase Lost",
        ];
        let evidence = Evidence { diagnosed: diagnosed.map(str::to_owned).into(), ..Default::default() };
        let found = diagnose(&evidence, None);
        let [finding] = found.findings.as_slice() else { panic!("{found:?}") };
        assert_eq!((finding.kind.id(), finding.severity), ("data-mover-not-prepared", Severity::Warning));
        assert!(finding.title.ends_with(": DD: Pod v/r1-x, phase Pending, node name"), "{}", finding.title);
        assert!(finding.evidence[0].text.ends_with("; DD: PVC v/r1-x, phase Lost") && found.cause.is_none());
    }

    #[test]
    fn an_unavailable_location_is_a_cause_and_a_good_run_has_none() {
        let location = json!({ "kind": "BackupStorageLocation", "metadata": { "namespace": "vault-ns", "name": "eu-1" },
            "status": { "phase": "Unavailable", "message": "NoSuchBucket" } });
        let evidence = Evidence { objects: vec![location], velero: "vault-ns".to_owned(), ..Default::default() };
        let found = diagnose(&evidence, None);
        assert_eq!(found.cause.as_deref(), Some("BackupStorageLocation eu-1 is Unavailable: NoSuchBucket"));
        let good = Evidence {
            target: Some(restore(&json!({ "phase": "Completed" }))),
            results: Some(results(&json!({ "errors": {}, "warnings": {} }))),
            ..Default::default()
        };
        let found = diagnose(&good, None);
        assert_eq!((found.cause, found.findings.len(), found.tree.len()), (None, 0, 1));
    }
}
