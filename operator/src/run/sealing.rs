//! The end of the first half of a run: writes the operator's own files, closes the archive, and checks it
//! independently. Only an archive that passed the check gets the name that a later process looks for;
//! [`super::deliver`] sends it.

mod telling;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use debugbundle_archive::{Draft, Entry, EntryWriter, OWNER_NOTE, RulesOver, Spool, SpoolError, seal};
use debugbundle_crd::{FindingSummary, Reason};
use debugbundle_format::{
    BundlePath, layout,
    manifest::{ManifestHead, Outcome, Source},
    root_name,
};
use debugbundle_redact::Redactor;
use debugbundle_redact_check::{CheckError, Clean, Detector, Hit, Mender, Taken};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    Packed, Subject,
    destination::ObjectAddress,
    head::{self, RunResult},
    pack::full,
};
use crate::{
    cluster::chain,
    collect, crash,
    diagnose::{Diagnosis, Finding},
    error::Fault,
    metrics::Metrics,
    probe::ProbeReport,
    report,
};
use telling::OwnFiles;

/// The run's log.
const LOG: &str = "operator.log";
/// What people read first.
const SUMMARY: &str = "summary.md";

/// Everything that sealing needs except the run's results.
pub(super) struct Sealing {
    pub(super) subject: Subject,
    /// Where the bundle is meant to go; empty if it is not uploaded.
    pub(super) place: ObjectAddress,
    pub(super) version: String,
    pub(super) spool: Arc<Spool>,
    /// With the user's rules, for what others wrote.
    pub(super) redactor: Arc<Redactor>,
    /// Without them, for the operator's own files: the user's rules ran over each text in them that others wrote, and may
    /// match the operator's words and the syntax.
    pub(super) own: Arc<Redactor>,
    pub(super) detector: Detector,
    pub(super) metrics: Metrics,
}

/// Why there is no bundle, and what was found all the same.
#[derive(Debug)]
pub(super) struct NotSealed {
    pub(super) fault: Fault,
    pub(super) cause: Option<String>,
    pub(super) findings: Vec<FindingSummary>,
}

/// How often an archive is made anew before the bundle is reduced to its manifest and a page: a file goes after at most
/// [`telling::ROUNDS`] of them.
const ARCHIVES: usize = telling::ROUNDS + 3;
/// How often rows, and then sections, are withheld from a file of our own.
const ROUNDS: usize = 6;
/// CPU time of the user's rules for the texts that are quoted, beside the time for the files.
const RULES: Duration = Duration::from_secs(30);

impl Sealing {
    /// Writes the operator's own files, closes the archive, checks it, and writes a note beside it. Runs where it may
    /// block. What the check finds in our own files and in the manifest is withheld before they are written; what it
    /// finds in others' files is withheld afterwards, and the archive is made anew, until there is no hit. That ends: a
    /// file loses lines and objects a few times, and is left out at its next hit.
    ///
    /// # Errors
    /// Terminal: the spool is full; the check failed; or a known secret cannot be removed.
    pub(super) fn seal(&self, found: RunResult, locations: &[ProbeReport]) -> Result<Packed, Box<NotSealed>> {
        self.redactor.give_rules_more_time(RULES);
        let mut telling = OwnFiles::of(found, &self.redactor);
        telling.mask(&self.redactor, &self.detector);
        self.seal_all(&mut telling, locations).map_err(|fault| {
            let Diagnosis { cause, findings, .. } = &telling.found.diagnosis;
            Box::new(NotSealed { fault, cause: cause.clone(), findings: in_short(findings) })
        })
    }

    fn seal_all(&self, telling: &mut OwnFiles, locations: &[ProbeReport]) -> Result<Packed, Fault> {
        let clock = std::time::Instant::now();
        telling.found.wanted += locations.len();
        for report in locations {
            let path = format!("velero/locations/{}.json", self.redactor.path_component(&report.name));
            let made = super::locations::write(report, &self.spool, (&self.redactor, &self.own));
            let entry = unless_full(made, &path, &mut telling.found)?;
            telling.found.collected.entries.extend(entry);
        }
        telling.order_by_time(&self.redactor, &self.detector);
        let root = self.root(telling.found.started);
        telling.withhold_names(&root, &self.detector);
        for _ in 0..ARCHIVES {
            let own = self.own_entries(telling)?;
            let ours: BTreeSet<String> = own.iter().map(|entry| entry.segment.path().as_str().to_owned()).collect();
            let (packed, head) = self.about(&root, &telling.found, &own, clock.elapsed());
            let mut entries = std::mem::take(&mut telling.found.collected.entries);
            entries.extend(own);
            let mut redactions = BTreeMap::new();
            for (rule, count) in entries.iter().flat_map(|entry| entry.segment.redactions()) {
                *redactions.entry(rule.clone()).or_insert(0) += count;
            }
            let draft = self.draft(&root, entries, head)?;
            let hits = match draft.check(&self.detector) {
                Ok(Ok(clean)) if telling.knows(draft.withheld()) => {
                    self.metrics.sealed(&telling.found.collected.missing, &redactions, telling.hits);
                    return self.publish(draft, clean, packed);
                }
                Ok(Ok(_)) => draft.withheld().to_vec(),
                Ok(Err(hits)) => hits,
                Err(error) => return Err(unchecked(&error)),
            };
            if !telling.withhold(&hits, draft, &ours, &self.spool) {
                break;
            }
        }
        self.seal_barely(telling)
    }

    /// The name of the archive's top directory; a name of the DebugBundle that must not leave is not part of it.
    fn root(&self, started: Timestamp) -> String {
        let root = root_name(&self.subject.name, &self.subject.uid, started);
        let may_leave = self.redactor.path_component(&root) == root && self.detector.alarm(&root).is_none();
        if may_leave { root } else { self.bare_name() }
    }

    fn bare_name(&self) -> String {
        format!("bundle-{}", self.subject.uid)
    }

    fn draft(&self, root: &str, entries: Vec<Entry>, head: ManifestHead) -> Result<Draft, Fault> {
        crash::point("sealing");
        // The archive may use all the room that was held back.
        self.spool.hold_back(0);
        let draft = seal(&self.spool, root, entries, head, (&self.own, &self.detector)).map_err(full)?;
        crash::point("unchecked");
        Ok(draft)
    }

    fn publish(&self, draft: Draft, clean: Clean, packed: Packed) -> Result<Packed, Fault> {
        let note = serde_json::to_vec(&packed).map_err(full)?;
        // Before the archive gets its name: without its note it would be useless to a successor.
        write_note(&self.spool.dir().join(OWNER_NOTE), &note).map_err(full)?;
        let sealed = draft.publish(clean).map_err(full)?;
        Ok(Packed { sealed: Some(sealed), ..packed })
    }

    /// The last resort: a bundle without a word of others. Its manifest and its page say why.
    fn seal_barely(&self, telling: &mut OwnFiles) -> Result<Packed, Fault> {
        let started = telling.found.started;
        telling.forget_entries();
        let (root, note) = (self.bare_name(), telling.note());
        let page = self.write(BundlePath::new([SUMMARY]), format!("{}\n", note.why).as_bytes()).map_err(full)?;
        let packed = Packed { missing: 1, warnings: 0, ..self.packed(&root, &telling.found) };
        let head = ManifestHead { missing: vec![note], ..head::bare(&self.subject, &root, started) };
        let draft = self.draft(&root, vec![page], head)?;
        self.metrics.sealed(&telling.found.collected.missing, &BTreeMap::new(), telling.hits);
        match draft.check(&self.detector) {
            Ok(Ok(clean)) => self.publish(draft, clean, packed),
            Ok(Err(_)) => Err(telling.too_much()),
            Err(error) => Err(unchecked(&error)),
        }
    }

    /// The facts for status, and the manifest's head.
    fn about(&self, root: &str, found: &RunResult, own: &[Entry], sealing: Duration) -> (Packed, ManifestHead) {
        let mut packed = self.packed(root, found);
        let mut head = head::head(&self.subject, &self.place, &self.version, found, sealing);
        let withheld = own.iter().filter(|entry| entry.truncated.is_some()).count();
        for text in head.of_others() {
            *text = self.redactor.text(text);
        }
        self.own.object(&mut head.request);
        for name in names(&mut head.request) {
            if let Value::String(text) = name {
                *text = self.redactor.text(text);
            }
        }
        packed.missing += i64::try_from(withheld).unwrap_or(i64::MAX);
        if withheld > 0 {
            head.outcome = Outcome::PartiallyFailed;
        }
        (packed, head)
    }

    /// The facts for status.
    fn packed(&self, root: &str, found: &RunResult) -> Packed {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let ObjectAddress { location, bucket, key } = self.place.clone();
        Packed {
            sealed: None,
            root: root.to_owned(),
            location,
            bucket,
            key,
            missing: number(found.collected.errors()),
            warnings: number(found.collected.cut()),
            cause: found.diagnosis.cause.clone(),
            findings: in_short(&found.diagnosis.findings),
        }
    }

    /// The operator's own files, as entries in which the check finds nothing.
    fn own_entries(&self, telling: &mut OwnFiles) -> Result<Vec<Entry>, Fault> {
        let before = telling.own.clone();
        let entries = self.judged_entries(telling)?;
        if telling.own == before {
            return Ok(entries);
        }
        // Once more: the finding that rows were withheld belongs into these files, too.
        telling.tell();
        self.judged_entries(telling)
    }

    fn judged_entries(&self, telling: &mut OwnFiles) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        for (path, body) in own_texts(&self.subject, telling, &self.redactor) {
            if telling.is_withheld(path.as_str()) {
                continue;
            }
            let made = self.judged(&path, &body, telling);
            entries.extend(unless_full(made, path.as_str(), &mut telling.found)?.flatten());
        }
        Ok(entries)
    }

    /// A file of our own without the rows in which the check finds something, else without the sections; `None` if the
    /// file itself is withheld. The summary gives way to a page that says so.
    fn judged(&self, path: &BundlePath, body: &[u8], telling: &mut OwnFiles) -> io::Result<Option<Entry>> {
        let menders: [fn(&str, &[Hit]) -> Mender; 2] = [Mender::rows, Mender::sections];
        for mender in menders {
            let (mut entry, mut rows) = (self.write(path.clone(), body)?, 0);
            for _ in 0..ROUNDS {
                let hits = entry.segment.hits(&self.detector)?;
                if hits.is_empty() {
                    return Ok(Some(entry));
                }
                telling.saw(path.as_str(), &hits);
                let mut mender = mender(path.as_str(), &hits);
                entry.segment = match entry.segment.mended(&self.spool, &mut mender) {
                    Ok(segment) => segment,
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => break,
                    Err(error) => return Err(error),
                };
                let Taken { bytes, lines, .. } = mender.taken;
                entry.truncated = Some(entry.segment.withheld(entry.truncated, bytes, lines));
                rows += lines;
                telling.took(path.as_str(), rows);
            }
        }
        if path.as_str() == SUMMARY {
            return self.write(path.clone(), WITHHELD_SUMMARY.as_bytes()).map(Some);
        }
        telling.withhold_own(path.as_str());
        Ok(None)
    }

    fn write(&self, path: BundlePath, body: &[u8]) -> io::Result<Entry> {
        // The log is the only one of these files whose lines are not built around redacted texts.
        let by = if path.as_str() == LOG { &self.redactor } else { &self.own };
        let mut writer = EntryWriter::new(path, Arc::clone(by), Arc::clone(&self.spool));
        writer.write_all(body)?;
        let segment = writer.finish()?;
        Ok(Entry { segment, source: Source::default(), truncated: None, read_at: Timestamp::now(), ms: 0 })
    }
}

/// The page that takes the place of a summary that must not leave.
const WITHHELD_SUMMARY: &str = "The summary was withheld: the self-check found values in it that redaction should have \
    masked. The other files of this bundle are whole, unless manifest.json says otherwise.\n";

fn in_short(findings: &[Finding]) -> Vec<FindingSummary> {
    findings.iter().take(Finding::IN_STATUS).map(Finding::in_short).collect()
}

fn unchecked(error: &CheckError) -> Fault {
    let message = format!("the self-check could not run, so nothing is sent: {}", chain(error));
    Fault::terminal(Reason::RedactionSelfCheck, message)
}

/// An entry of the operator's own. Without room for it, it is reported as missing: it must not cost other entries.
fn unless_full<T>(made: io::Result<T>, path: &str, found: &mut RunResult) -> Result<Option<T>, Fault> {
    let error = match made {
        Ok(entry) => return Ok(Some(entry)),
        Err(error) => error,
    };
    if RulesOver::is(&error) {
        found.collected.missing.push(collect::not_redacted(path, path, &error));
        return Ok(None);
    }
    match SpoolError::of(&error) {
        Some(no_room) if no_room.is_full() => {
            let missing = &mut found.collected.missing;
            if missing.iter().all(|missing| missing.path != path) {
                missing.push(collect::no_room(path, path, no_room));
            }
            Ok(None)
        }
        _ => Err(full(error)),
    }
}

/// The operator's own texts, by path; those that people read first come first.
fn own_texts(subject: &Subject, telling: &OwnFiles, by: &Redactor) -> Vec<(BundlePath, Vec<u8>)> {
    let OwnFiles { found, timeline, .. } = telling;
    let object = found.snapshot.target.object.as_ref();
    let name = object.map(|target| by.text(&crate::diagnose::reference(&target.raw)));
    let diagnosis = found.diagnosis.document(name, object.map(|target| target.phase.as_str()));
    let mut texts = vec![(layout::analysis("diagnosis.json"), pretty(&diagnosis))];
    if !timeline.is_empty() {
        texts.push((layout::analysis("timeline.jsonl"), lines(timeline)));
    }
    let status = |field: &str| object.and_then(|t| t.raw["status"][field].as_str());
    let paths: Vec<&str> = found.collected.entries.iter().map(|e| e.segment.path().as_str()).collect();
    let look_at: Vec<&str> = ["results.json", "restore.log", "backup.log", "from-server.log"]
        .iter()
        .flat_map(|name| paths.iter().copied().filter(move |p| p.starts_with("velero/") && p.ends_with(name)))
        .chain(paths.iter().copied().filter(|p| p.ends_with("core/events.yaml")))
        .collect();
    let facts = report::Facts {
        subject: &subject.words(|name| by.text(name)),
        namespace: &by.text(&subject.namespace),
        phase: object.map(|t| t.phase.as_str()),
        times: (status("startTimestamp"), status("completionTimestamp")),
        read_at: found.collected.finished,
        // Plus summary.md, report.html and the log; the manifest does not count itself.
        items: Some(paths.len() + texts.len() + 2 + usize::from(!found.log.is_empty())),
        diagnosis: &found.diagnosis,
        timeline,
        missing: &found.collected.missing,
        trimmed: &found.collected.trimmed,
        look_at: &look_at,
    };
    let mut all = vec![
        (BundlePath::new([SUMMARY]), report::summary(&facts).into_bytes()),
        (BundlePath::new(["report.html"]), report::page(&facts).into_bytes()),
    ];
    all.append(&mut texts);
    if !found.log.is_empty() {
        all.push((BundlePath::new([LOG]), found.log.clone()));
    }
    all
}

/// The names in a spec. Its other texts are durations, sizes and words of the operator's own.
fn names(spec: &mut Value) -> Vec<&mut Value> {
    let mut names = Vec::new();
    for (field, value) in spec.as_object_mut().into_iter().flatten() {
        match (field.as_str(), value) {
            ("target", Value::Object(target)) => names.extend(target.get_mut("name")),
            ("namespaces", Value::Array(all)) => names.extend(all),
            ("storageLocation", name) => names.push(name),
            _ => {}
        }
    }
    names
}

fn pretty(document: &impl Serialize) -> Vec<u8> {
    let mut body = serde_json::to_vec_pretty(document).unwrap_or_else(|_| b"{}".to_vec());
    body.push(b'\n');
    body
}

/// One JSON value per line.
fn lines<T: Serialize>(list: &[T]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in list {
        if let Ok(line) = serde_json::to_vec(value) {
            body.extend_from_slice(&line);
            body.push(b'\n');
        }
    }
    body
}

fn write_note(path: &Path, body: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(body)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
