//! The end of the first half of a run: writes the operator's own files, closes the archive, and checks it
//! independently. Only an archive that passed the check gets the name that a later process looks for;
//! [`super::deliver`] sends it.

mod telling;

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

use debugbundle_archive::{Entry, EntryWriter, OWNER_NOTE, Spool, SpoolError, seal};
use debugbundle_crd::Reason;
use debugbundle_format::{BundlePath, layout, manifest::Source, root_name};
use debugbundle_redact::Redactor;
use debugbundle_redact_check::Detector;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Packed, Subject,
    destination::ObjectAddress,
    head::{self, RunResult},
    log_events,
    pack::full,
};
use crate::{
    cluster::chain,
    collect, crash,
    diagnose::{self, Finding},
    error::Fault,
    probe::ProbeReport,
    report,
};
use telling::OwnFiles;

/// Everything that sealing needs except the run's results.
pub(super) struct Sealing {
    pub(super) subject: Subject,
    /// Where the bundle is meant to go; empty if it is not uploaded.
    pub(super) place: ObjectAddress,
    pub(super) version: String,
    pub(super) spool: Arc<Spool>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) detector: Detector,
}

impl Sealing {
    /// Writes the operator's own files, closes the archive, checks it, and writes a note beside it. Runs where it may
    /// block. Hits of the check are withheld and the archive is made anew, until there is no hit. That ends: an entry
    /// loses lines once, and is left out at its next hit.
    ///
    /// # Errors
    /// Terminal: the spool is full; the check failed; or it had a hit in a file that people read first, the manifest or
    /// a name.
    pub(super) fn seal(&self, mut found: RunResult, locations: &[ProbeReport]) -> Result<Packed, Fault> {
        let clock = std::time::Instant::now();
        found.wanted += locations.len();
        for report in locations {
            let path = format!("velero/locations/{}.json", report.name);
            let entry = unless_full(super::locations::write(report, &self.spool, &self.redactor), &path, &mut found)?;
            found.collected.entries.extend(entry);
        }
        let moments = log_events::of(&found.snapshot, &found.collected.entries);
        found.diagnosis.point_at(&moments);
        let timeline = diagnose::timeline(&found.collected.evidence, moments);
        let mut telling = OwnFiles::of(found, timeline);
        telling.mask(&self.redactor, &self.detector);
        let root = root_name(&self.subject.name, &self.subject.uid, telling.found.started);
        loop {
            let own = self.own_entries(&mut telling)?;
            let packed = self.packed(&root, &telling.found);
            let head = head::head(&self.subject, &self.place, &self.version, &telling.found, clock.elapsed());
            let ours: BTreeSet<String> = own.iter().map(|entry| entry.segment.path().as_str().to_owned()).collect();
            let mut entries = std::mem::take(&mut telling.found.collected.entries);
            entries.extend(own);
            crash::point("sealing");
            // The archive may use all the room that was held back.
            self.spool.hold_back(0);
            let draft = seal(&self.spool, &root, entries, head, &self.redactor).map_err(full)?;
            crash::point("unchecked");
            match draft.check(&self.detector) {
                Ok(Ok(clean)) => {
                    let note = serde_json::to_vec(&packed).map_err(full)?;
                    // Before the archive gets its name: without its note it would be useless to a successor.
                    write_note(&self.spool.dir().join(OWNER_NOTE), &note).map_err(full)?;
                    let sealed = draft.publish(clean).map_err(full)?;
                    return Ok(Packed { sealed: Some(sealed), ..packed });
                }
                Ok(Err(hits)) => telling.withhold(&hits, draft, &ours, &self.spool)?,
                Err(error) => {
                    let message = format!("the self-check could not run, so nothing is sent: {}", chain(&error));
                    return Err(Fault::terminal(Reason::RedactionSelfCheck, message));
                }
            }
        }
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
            findings: found.diagnosis.findings.iter().take(Finding::IN_STATUS).map(Finding::in_short).collect(),
        }
    }

    /// The operator's own files, as entries.
    fn own_entries(&self, telling: &mut OwnFiles) -> Result<Vec<Entry>, Fault> {
        let mut own = own_texts(&self.subject, telling);
        own.retain(|(path, _)| !telling.is_settled(path.as_str()));
        let mut entries = Vec::new();
        for (path, body) in own {
            let made = self.write(path.clone(), &body);
            entries.extend(unless_full(made, path.as_str(), &mut telling.found)?);
        }
        Ok(entries)
    }

    fn write(&self, path: BundlePath, body: &[u8]) -> io::Result<Entry> {
        let mut writer = EntryWriter::new(path, Arc::clone(&self.redactor), Arc::clone(&self.spool));
        writer.write_all(body)?;
        let segment = writer.finish()?;
        Ok(Entry { segment, source: Source::default(), truncated: None, read_at: Timestamp::now(), ms: 0 })
    }
}

/// An entry of the operator's own. Without room for it, it is reported as missing: it must not cost other entries.
fn unless_full(made: io::Result<Entry>, path: &str, found: &mut RunResult) -> Result<Option<Entry>, Fault> {
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

/// The operator's own texts, by path; those that people read first come first.
fn own_texts(subject: &Subject, telling: &OwnFiles) -> Vec<(BundlePath, Vec<u8>)> {
    let OwnFiles { found, timeline, .. } = telling;
    let mut texts = vec![
        (layout::analysis("findings.json"), pretty(&found.diagnosis.findings)),
        (layout::analysis("cause-trail.json"), pretty(&found.diagnosis.trail)),
    ];
    if !timeline.is_empty() {
        texts.push((layout::analysis("timeline.jsonl"), lines(timeline)));
    }
    let target = found.snapshot.target.object.as_ref();
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
        // Plus summary.md, report.html and the log; the manifest does not count itself.
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
