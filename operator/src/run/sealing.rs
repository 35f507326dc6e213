//! The end of the first half of a run: what we say ourselves about the evidence, the archive, and its check by a second pair
//! of eyes. Only what passed the check gets a name that a later process looks at; sending it is told by [`super::deliver`].

use std::{collections::BTreeSet, io, io::Write as _, path::Path, sync::Arc};

use debugbundle_crd::{Reason, Severity};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Packed, Subject,
    destination::Place,
    head::{self, Found},
    moments,
    pack::full,
};
use crate::{
    archive::{
        self, BundlePath, Draft, Spool, SpoolError,
        manifest::{Entry, Missing, MissingCode, MissingSeverity, Source},
    },
    cluster::chain,
    collect, crash,
    diagnose::{self, Finding, Moment, WITHHELD},
    error::Fault,
    location,
    redact::{Redacting, Redactor},
    report,
    selfcheck::{self, Detector, Hit, MOST_HITS, Place as At},
};

/// What people read first: without it, or with a secret in it, there is no bundle.
const INDISPENSABLE: [&str; 2] = ["summary.md", "report.html"];
/// Hits that a message names.
const NAMED: usize = 3;

/// All that sealing needs but what was found.
pub(super) struct Sealing {
    pub(super) subject: Subject,
    /// Where the bundle is meant to go; empty if it stays here.
    pub(super) place: Place,
    pub(super) version: String,
    pub(super) spool: Arc<Spool>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) detector: Detector,
}

/// What was found, as it may be told; it becomes less with each hit.
struct Telling {
    found: Found,
    timeline: Vec<Moment>,
    /// What we wrote ourselves and may not tell.
    withheld: BTreeSet<String>,
    hits: Vec<Hit>,
}

impl Sealing {
    /// Writes what we have to say ourselves, closes the archive, checks it, and leaves a note beside it. Runs where it may
    /// block. What the check finds is withheld and the archive made anew from the other entries, until nothing is found.
    ///
    /// # Errors
    /// Terminal: the spool is full; or the check failed, or found too much, or found something that is not to be left out.
    pub(super) fn seal(&self, mut found: Found, locations: &[location::Report]) -> Result<Packed, Fault> {
        let clock = std::time::Instant::now();
        found.wanted += locations.len();
        for report in locations {
            let path = format!("velero/locations/{}.json", report.name);
            let entry = unless_full(super::locations::write(report, &self.spool, &self.redactor), &path, &mut found)?;
            found.collected.entries.extend(entry);
        }
        let moments = moments::of(&found.inventory, &found.collected.entries);
        found.diagnosis.point_at(&moments);
        let timeline = diagnose::timeline(&found.collected.evidence, moments);
        let mut telling = Telling { found, timeline, withheld: BTreeSet::new(), hits: Vec::new() };
        telling.keep_what_passes(self);
        let root = archive::root_name(&self.subject.name, &self.subject.uid, telling.found.started);
        loop {
            let own = self.own_entries(&mut telling)?;
            let packed = self.packed(&root, &telling.found);
            let head = head::head(&self.subject, &self.place, &self.version, &telling.found, clock.elapsed());
            let ours: BTreeSet<String> = own.iter().map(|entry| entry.segment.path().as_str().to_owned()).collect();
            let mut entries = std::mem::take(&mut telling.found.collected.entries);
            entries.extend(own);
            crash::point("sealing");
            // All that was kept free until now is for the archive.
            self.spool.hold_back(0);
            let draft = archive::seal(&self.spool, &root, entries, head, &self.redactor).map_err(full)?;
            crash::point("unchecked");
            match selfcheck::check(&draft, &self.detector) {
                Ok(Ok(clean)) => {
                    let note = serde_json::to_vec(&packed).map_err(full)?;
                    // Before the archive gets its name: one without its note would be of no use to a successor.
                    write_note(&self.spool.dir().join(archive::OWNER_NOTE), &note).map_err(full)?;
                    let sealed = draft.publish(clean).map_err(full)?;
                    return Ok(Packed { sealed: Some(sealed), ..packed });
                }
                Ok(Err(hits)) => telling.withhold(&hits, draft, &ours)?,
                Err(error) => {
                    let message =
                        format!("the self-check could not be made, so that nothing is sent: {}", chain(&error));
                    return Err(Fault::terminal(Reason::RedactionSelfCheck, message));
                }
            }
        }
    }

    /// What status tells.
    fn packed(&self, root: &str, found: &Found) -> Packed {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let Place { location, bucket, key } = self.place.clone();
        Packed {
            sealed: None,
            root: root.to_owned(),
            location,
            bucket,
            key,
            missing: number(found.collected.errors()),
            warnings: number(found.collected.cut()),
            cause: found.diagnosis.cause.clone(),
            findings: found.diagnosis.findings.iter().take(20).map(Finding::in_short).collect(),
        }
    }

    /// What we say ourselves, as entries.
    fn own_entries(&self, telling: &mut Telling) -> Result<Vec<Entry>, Fault> {
        let mut own = own_texts(&self.subject, telling);
        own.retain(|(path, _)| !telling.withheld.contains(path.as_str()));
        let mut entries = Vec::new();
        for (path, body) in own {
            let made = self.write(path.clone(), &body);
            entries.extend(unless_full(made, path.as_str(), &mut telling.found)?);
        }
        Ok(entries)
    }

    fn write(&self, path: BundlePath, body: &[u8]) -> io::Result<Entry> {
        let mut writer = Redacting::new(path, Arc::clone(&self.redactor), Arc::clone(&self.spool));
        writer.write_all(body)?;
        let segment = writer.finish()?;
        Ok(Entry { segment, source: Source::default(), truncated: None, read_at: Timestamp::now(), ms: 0 })
    }

    /// A text as it may be told; `None` if the check refuses it though it is redacted.
    fn told(&self, text: &str) -> Option<String> {
        let text = self.redactor.text(text);
        self.detector.passes(&text).then_some(text)
    }
}

impl Telling {
    /// Redacts what status and summary tell, and leaves out what the check refuses all the same.
    fn keep_what_passes(&mut self, by: &Sealing) {
        let diagnosis = &mut self.found.diagnosis;
        let before = diagnosis.findings.len() + diagnosis.trail.len() + self.timeline.len();
        let told = |mut finding: Finding| {
            finding.title = by.told(&finding.title)?;
            for proof in &mut finding.evidence {
                proof.text = by.told(&proof.text)?;
            }
            by.detector.passes(&finding.object).then_some(finding)
        };
        let findings = std::mem::take(&mut diagnosis.findings);
        diagnosis.findings = findings.into_iter().filter_map(told).collect();
        let cause = diagnosis.cause.take();
        diagnosis.cause = cause.and_then(|cause| by.told(&cause)).or_else(|| gravest(&diagnosis.findings));
        // All of them at once: thousands of moments hardly ever have one that is refused.
        let passes =
            |texts: &mut dyn Iterator<Item = String>| by.detector.passes(&texts.collect::<Vec<_>>().join("\n"));
        if !passes(&mut diagnosis.trail.iter().map(json)) {
            diagnosis.trail.retain(|step| by.detector.passes(&json(step)));
        }
        if !passes(&mut self.timeline.iter().map(|moment| moment.text.clone())) {
            self.timeline.retain(|moment| by.detector.passes(&moment.text));
        }
        let refused = before - diagnosis.findings.len() - diagnosis.trail.len() - self.timeline.len();
        if refused > 0 {
            tracing::error!(refused, "Findings or moments were left out by the self-check");
        }
    }

    /// Takes the archive apart again, without the entries that something was found in, and without what quotes it.
    fn withhold(&mut self, hits: &[Hit], draft: Draft, ours: &BTreeSet<String>) -> Result<(), Fault> {
        for hit in hits {
            tracing::error!(
                entry = %hit.place,
                offset = hit.offset,
                rule = hit.rule,
                "The self-check found in the archive what redaction should have masked"
            );
        }
        self.hits.extend(hits.iter().cloned());
        let refused = |hit: &Hit| match &hit.place {
            At::Entry(path) => INDISPENSABLE.contains(&path.as_str()),
            At::Manifest | At::Names => true,
        };
        if self.hits.len() > MOST_HITS || hits.iter().any(refused) {
            return Err(too_much(&self.hits));
        }
        let paths: BTreeSet<String> = hits.iter().map(|hit| hit.place.to_string()).collect();
        let stays = |entry: &Entry| {
            let path = entry.segment.path().as_str();
            !ours.contains(path) && !paths.contains(path)
        };
        self.found.collected.entries = draft.entries().into_iter().filter(stays).collect();
        for path in &paths {
            let of_path = hits.iter().filter(|hit| hit.place.to_string() == *path);
            self.found.collected.missing.push(missing(path, of_path));
        }
        self.forget(hits, &paths);
        self.withheld.extend(paths);
        Ok(())
    }

    /// Leaves out what quotes a hit, or tells of an entry that is withheld.
    fn forget(&mut self, hits: &[Hit], paths: &BTreeSet<String>) {
        let quotes = |text: &str| hits.iter().any(|hit| hit.is_quoted_in(text));
        let diagnosis = &mut self.found.diagnosis;
        diagnosis.findings.retain(|found| {
            found.id != WITHHELD && !quotes(&found.title) && !found.evidence.iter().any(|proof| quotes(&proof.text))
        });
        if diagnosis.cause.as_deref().is_some_and(quotes) {
            diagnosis.cause = gravest(&diagnosis.findings);
        }
        diagnosis.trail.retain(|step| !quotes(&json(step)) && !step.evidence.iter().any(|e| paths.contains(&e.path)));
        self.timeline.retain(|moment| !quotes(&moment.text) && !paths.contains(&moment.path));
        let title = format!(
            "{} of the bundle's files were withheld: the self-check found in them what redaction should have masked",
            self.withheld.union(paths).count()
        );
        diagnosis.warn(WITHHELD, &title, "", &listed(&self.hits));
    }
}

fn gravest(findings: &[Finding]) -> Option<String> {
    findings.iter().find(|finding| finding.severity == Severity::Error).map(|finding| finding.title.clone())
}

fn missing<'h>(path: &str, hits: impl Iterator<Item = &'h Hit>) -> Missing {
    let hits: Vec<String> = hits.take(NAMED).map(|hit| format!("{} at byte {}", hit.rule, hit.offset)).collect();
    Missing {
        what: format!("the file {path}"),
        path: path.to_owned(),
        code: MissingCode::Withheld,
        severity: MissingSeverity::Error,
        why: format!(
            "the self-check of the sealed archive found {}, which redaction should have masked: a bug of the operator",
            hits.join(", ")
        ),
        need: None,
        rule: None,
        cure: String::new(),
    }
}

fn too_much(hits: &[Hit]) -> Fault {
    let message = format!(
        "the self-check found in the sealed archive what redaction should have masked ({}); nothing was sent. This is a bug \
         of the operator, please report it as SECURITY.md says",
        listed(hits)
    );
    Fault::terminal(Reason::RedactionSelfCheck, message)
}

/// The first hits, and how many more there are.
fn listed(hits: &[Hit]) -> String {
    let mut listed: Vec<String> = hits.iter().take(NAMED).map(|hit| format!("{hit:?}")).collect();
    if hits.len() > NAMED {
        listed.push(format!("{} more", hits.len() - NAMED));
    }
    listed.join(", ")
}

/// An entry of our own. One for which there is no room is told as missing: it must not cost the others.
fn unless_full(made: io::Result<Entry>, path: &str, found: &mut Found) -> Result<Option<Entry>, Fault> {
    let error = match made {
        Ok(entry) => return Ok(Some(entry)),
        Err(error) => error,
    };
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

/// What we have to say ourselves, by path; first what is read first.
fn own_texts(subject: &Subject, telling: &Telling) -> Vec<(BundlePath, Vec<u8>)> {
    let Telling { found, timeline, .. } = telling;
    let mut texts = vec![
        (BundlePath::new(["analysis", "findings.json"]), pretty(&found.diagnosis.findings)),
        (BundlePath::new(["analysis", "cause-trail.json"]), pretty(&found.diagnosis.trail)),
    ];
    if !timeline.is_empty() {
        texts.push((BundlePath::new(["analysis", "timeline.jsonl"]), lines(timeline)));
    }
    let target = found.inventory.target.as_ref();
    let status = |field: &str| target.and_then(|t| t.raw["status"][field].as_str());
    let paths: Vec<&str> = found.collected.entries.iter().map(|e| e.segment.path().as_str()).collect();
    let look_at: Vec<&str> = ["results.json", "restore.log", "backup.log", "from-server.log"]
        .iter()
        .flat_map(|name| paths.iter().copied().filter(move |p| p.starts_with("velero/") && p.ends_with(name)))
        .chain(paths.iter().copied().filter(|p| p.ends_with("core/events.yaml")))
        .collect();
    let facts = report::Facts {
        subject: &subject.words(),
        namespace: &subject.namespace,
        phase: target.map(|t| t.phase.as_str()),
        times: (status("startTimestamp"), status("completionTimestamp")),
        // Besides these: summary.md, report.html and the log; the manifest does not count itself.
        items: paths.len() + texts.len() + 2 + usize::from(!found.log.is_empty()),
        diagnosis: &found.diagnosis,
        timeline,
        missing: &found.collected.missing,
        trimmed: &found.collected.trimmed,
        look_at: &look_at,
    };
    let mut all = vec![
        (BundlePath::new(["summary.md"]), report::summary(&facts).into_bytes()),
        (BundlePath::new(["report.html"]), report::html(&facts).into_bytes()),
    ];
    all.append(&mut texts);
    if !found.log.is_empty() {
        all.push((BundlePath::new(["operator.log"]), found.log.clone()));
    }
    all
}

fn pretty<T: Serialize>(list: &[T]) -> Vec<u8> {
    let mut body = serde_json::to_vec_pretty(list).unwrap_or_else(|_| b"[]".to_vec());
    body.push(b'\n');
    body
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// One JSON value a line.
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
