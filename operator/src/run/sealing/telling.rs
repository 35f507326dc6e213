//! The run's results as far as they may be published: each hit of the self-check reduces them. A shape in a line costs
//! that line, a key or a known value the object of a list, else the file; a file of the operator's own loses rows, and a
//! text in it only the words in question.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use debugbundle_archive::{Draft, Entry, Spool};
use debugbundle_crd::Reason;
use debugbundle_format::manifest::{Missing, MissingCode, MissingSeverity};
use debugbundle_redact::Redactor;
use debugbundle_redact_check::{Detector, Hit, HitPlace, Mender, Quoted};

use super::RunResult;
use crate::{
    collect::Collected,
    diagnose::{self, Diagnosis, FindingKind, Proof, TimelineEvent},
    error::Fault,
    run::log_events,
};

/// How often lines and objects are withheld from one file; with the next hit the file goes.
pub(super) const ROUNDS: usize = 4;
/// Most hits that a message names, and most that are logged.
const NAMED: usize = 3;
const LOGGED: usize = 20;
/// Replaces a text from a file that is withheld.
const GONE: &str = "withheld with its file by the self-check";

/// The run's results.
pub(super) struct OwnFiles {
    pub(super) found: RunResult,
    pub(super) timeline: Vec<TimelineEvent>,
    /// Files that are left out.
    withheld: BTreeSet<String>,
    /// Files of others without some of their lines.
    mended: BTreeMap<String, Mended>,
    /// Our own files without some of their rows, and the number of these rows.
    pub(super) own: BTreeMap<String, u64>,
    /// Whether strings of the manifest were withheld.
    in_manifest: bool,
    /// The first hits, and the number of all hits.
    named: Vec<String>,
    pub(super) hits: usize,
}

/// What was withheld from one file.
#[derive(Default)]
struct Mended {
    lines: u64,
    objects: u64,
    rounds: usize,
}

impl OwnFiles {
    /// Redacts, with the user's rules too, the texts of others that did not come out of redacted files.
    pub(super) fn of(mut found: RunResult, by: &Redactor) -> Self {
        let Collected { entries, missing, trimmed, empty, .. } = &mut found.collected;
        let sources = entries.iter_mut().flat_map(|entry| entry.source.of_others());
        let paths = missing.iter_mut().map(|one| &mut one.path);
        for path in paths.chain(trimmed.iter_mut().map(|one| &mut one.path)).chain(empty) {
            // As the path of a file that is there.
            *path = path.split('/').map(|part| by.path_component(part)).collect::<Vec<_>>().join("/");
        }
        let missing = missing.iter_mut().flat_map(Missing::of_others);
        let Diagnosis { findings, tree, .. } = &mut found.diagnosis;
        let objects = findings.iter_mut().map(|one| &mut one.object).chain(tree.iter_mut().map(|one| &mut one.object));
        for text in sources.chain(missing).chain(objects) {
            *text = by.text(text);
        }
        let (timeline, withheld, mended, own, named) = Default::default();
        Self { found, timeline, withheld, mended, own, in_manifest: false, named, hits: 0 }
    }

    /// Whether this file must not be written again.
    pub(super) fn is_withheld(&self, path: &str) -> bool {
        self.withheld.contains(path)
    }

    /// Redacts the texts of status and summary, then masks the words in them that the check would still find.
    pub(super) fn mask(&mut self, redactor: &Redactor, detector: &Detector) {
        let diagnosis = &mut self.found.diagnosis;
        for finding in &mut diagnosis.findings {
            // A command with a word that is masked would not run.
            finding.commands.retain(|command| command.argv().iter().all(|word| redactor.sentence(word) == *word));
        }
        let evidence = diagnosis.findings.iter_mut().flat_map(|f| {
            let proofs = f.evidence.iter_mut().flat_map(Proof::texts);
            [&mut f.title, &mut f.remedy].into_iter().chain(proofs).chain(&mut f.alike)
        });
        for text in evidence.chain(&mut diagnosis.cause) {
            *text = redactor.sentence(text);
        }
        let masked = self.each_text(|text| detector.masked(text));
        if masked > 0 {
            tracing::error!(masked, "The self-check withheld words that redaction should have masked");
        }
    }

    /// Makes the timeline, and points the findings at the lines of logs that say the same.
    pub(super) fn order_by_time(&mut self, redactor: &Redactor, detector: &Detector) {
        let moments = log_events::of(&self.found.snapshot, &self.found.collected.entries);
        self.found.diagnosis.point_at(&moments);
        log_events::quote_around(&mut self.found.diagnosis, &self.found.collected.entries);
        self.timeline = diagnose::timeline(&self.found.collected.evidence, moments);
        self.mask(redactor, detector);
    }

    /// Leaves out the entries with a path in which the detector finds something.
    pub(super) fn withhold_names(&mut self, root: &str, detector: &Detector) {
        let collected = &mut self.found.collected;
        let telling = |entry: &mut Entry| detector.alarm(format!("{root}/{}", entry.segment.path())).is_some();
        let gone: Vec<Entry> = collected.entries.extract_if(.., telling).collect();
        for (number, entry) in gone.iter().enumerate() {
            tracing::error!(number, "The self-check withheld a file because of its name");
            self.hits += 1;
            collected.missing.push(Missing {
                what: "a file".to_owned(),
                path: format!("withheld-{}", number + 1),
                ..missing("", "found a value in its name")
            });
            self.withheld.insert(entry.segment.path().as_str().to_owned());
        }
        if !gone.is_empty() {
            self.named.push("the names of the files".to_owned());
            self.forget(&[]);
        }
    }

    /// Whether it is known that these hits were withheld from the manifest.
    pub(super) fn knows(&self, of_manifest: &[Hit]) -> bool {
        of_manifest.is_empty() || self.in_manifest
    }

    /// Reports hits of a file of our own.
    pub(super) fn saw(&mut self, path: &str, hits: &[Hit]) {
        if !self.own.contains_key(path) {
            self.report(hits);
        }
    }

    /// Counts the rows that were withheld from it.
    pub(super) fn took(&mut self, path: &str, rows: u64) {
        let most = self.own.entry(path.to_owned()).or_default();
        *most = rows.max(*most);
    }

    /// Leaves out a file of our own.
    pub(super) fn withhold_own(&mut self, path: &str) {
        self.own.insert(path.to_owned(), 0);
        self.withheld.insert(path.to_owned());
        self.found.collected.missing.push(missing(path, "found values in it that could not be withheld alone"));
    }

    fn report(&mut self, hits: &[Hit]) {
        for hit in hits.iter().take(LOGGED) {
            tracing::error!(
                entry = %hit.place,
                offset = hit.offset,
                rule = hit.rule,
                hits = hits.len(),
                "The self-check found values in the archive that redaction should have masked"
            );
        }
        self.hits += hits.len();
        self.named.extend(hits.iter().take(NAMED.saturating_sub(self.named.len())).map(|hit| format!("{hit:?}")));
    }

    /// Takes the archive apart again, without the hits and without the texts that quote them; `false` if that is not
    /// possible.
    pub(super) fn withhold(&mut self, hits: &[Hit], draft: Draft, ours: &BTreeSet<String>, spool: &Spool) -> bool {
        self.report(hits);
        let mut of_path: BTreeMap<&str, Vec<&Hit>> = BTreeMap::new();
        for hit in hits {
            match &hit.place {
                // Our own files were judged when they were written.
                HitPlace::Entry(path) if !ours.contains(path) => of_path.entry(path).or_default().push(hit),
                HitPlace::Manifest if !self.in_manifest => {}
                HitPlace::Entry(_) | HitPlace::Manifest | HitPlace::Names => return false,
            }
        }
        self.in_manifest |= hits.iter().any(|hit| hit.place == HitPlace::Manifest);
        let archive = draft.bytes();
        let before = draft.entries();
        let own = before.iter().filter(|entry| ours.contains(entry.segment.path().as_str()));
        let own: u64 = own.map(|entry| entry.segment.compressed_bytes()).sum();
        // The next archive, and what goes into it anew, must find room beside this one: a file for which there is none then
        // is withheld.
        spool.hold_back(archive + own);
        let mut entries = Vec::new();
        for entry in before {
            let path = entry.segment.path().as_str();
            match of_path.get(path) {
                None if ours.contains(path) => {}
                None => entries.push(entry),
                Some(hits) => entries.extend(self.without(entry, hits, spool)),
            }
        }
        spool.hold_back(0);
        self.found.collected.entries = entries;
        self.forget(hits);
        true
    }

    /// Drops all entries, so that their room is free.
    pub(super) fn forget_entries(&mut self) {
        self.found.collected.entries.clear();
    }

    /// The entry without the lines and objects of its hits; `None` if it must be left out.
    fn without(&mut self, entry: Entry, hits: &[&Hit], spool: &Spool) -> Option<Entry> {
        let path = entry.segment.path().as_str().to_owned();
        let Entry { segment, source, truncated, read_at, ms } = entry;
        let rounds = self.mended.get(&path).map_or(0, |mended| mended.rounds);
        let mended = Mender::of(&path, hits).filter(|_| rounds < ROUNDS).and_then(|mut mender| {
            let segment = segment.mended(spool, &mut mender);
            let failed =
                |error: &std::io::Error| tracing::warn!(%error, path, "Lines could not be withheld, so the file is");
            Some((segment.inspect_err(failed).ok()?, mender.taken))
        });
        let Some((segment, taken)) = mended else {
            let named: Vec<String> =
                hits.iter().take(NAMED).map(|hit| format!("{} at byte {}", hit.rule, hit.offset)).collect();
            self.found.collected.missing.push(missing(&path, &format!("found {}", named.join(", "))));
            self.mended.remove(&path);
            self.withheld.insert(path);
            return None;
        };
        let truncated = Some(segment.withheld(truncated, taken.bytes, taken.lines));
        let all = self.mended.entry(path).or_default();
        // An object counts as one, not as its lines.
        all.lines += if taken.blocks == 0 { taken.lines } else { 0 };
        all.objects += taken.blocks;
        all.rounds += 1;
        Some(Entry { segment, source, truncated, read_at, ms })
    }

    /// Masks texts that quote a hit, or that come from a file that is left out.
    fn forget(&mut self, hits: &[Hit]) {
        let quoted = Quoted::of(hits);
        self.each_text(|text| quoted.masked(text));
        let Self { withheld, timeline, found, .. } = self;
        timeline.retain(|moment| !withheld.contains(&moment.path));
        let diagnosis = &mut found.diagnosis;
        let of_findings = diagnosis.findings.iter_mut().flat_map(|finding| &mut finding.evidence);
        for proof in of_findings.chain(diagnosis.tree.iter_mut().flat_map(|step| &mut step.evidence)) {
            if withheld.contains(&proof.path) {
                GONE.clone_into(&mut proof.text);
                proof.around.clear();
            }
        }
        self.tell();
    }

    /// Adds the finding that says what was withheld.
    pub(super) fn tell(&mut self) {
        let counted = |number: u64, one: &str, more: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {more}")),
        };
        let lines = self.mended.values().map(|mended| mended.lines).chain(self.own.values().copied()).sum();
        let objects = self.mended.values().map(|mended| mended.objects).sum();
        let files = u64::try_from(self.withheld.len()).unwrap_or(u64::MAX);
        let what: Vec<String> = [
            counted(lines, "line", "lines"),
            counted(objects, "object", "objects"),
            counted(files, "whole file", "whole files"),
            self.in_manifest.then(|| "strings of the manifest".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let title = format!(
            "withheld from the bundle: {}; the self-check found values in them that redaction should have masked",
            what.join(", ")
        );
        let listed = self.listed();
        let diagnosis = &mut self.found.diagnosis;
        diagnosis.findings.retain(|finding| finding.kind != FindingKind::WithheldBySelfCheck);
        diagnosis.add(FindingKind::WithheldBySelfCheck, &title, "", &listed);
    }

    /// Applies `by` to each text that others wrote; returns how many changed.
    fn each_text(&mut self, by: impl Fn(&str) -> Cow<'_, str>) -> usize {
        let changed = Cell::new(0);
        let change = |text: &mut String| {
            if let Cow::Owned(other) = by(text) {
                *text = other;
                changed.set(changed.get() + 1);
            }
        };
        let diagnosis = &mut self.found.diagnosis;
        diagnosis.cause.iter_mut().for_each(change);
        for finding in &mut diagnosis.findings {
            [&mut finding.title, &mut finding.object, &mut finding.remedy].into_iter().for_each(change);
            finding.commands.retain(|command| command.argv().iter().all(|word| matches!(by(word), Cow::Borrowed(_))));
            finding.evidence.iter_mut().flat_map(Proof::texts).chain(&mut finding.alike).for_each(change);
        }
        for step in &mut diagnosis.tree {
            [&mut step.object, &mut step.state, &mut step.why].into_iter().for_each(change);
            step.evidence.iter_mut().flat_map(Proof::texts).for_each(change);
        }
        for moment in &mut self.timeline {
            [&mut moment.object, &mut moment.part, &mut moment.text].into_iter().for_each(change);
        }
        for missing in &mut self.found.collected.missing {
            [&mut missing.what, &mut missing.why].into_iter().for_each(change);
        }
        changed.get()
    }

    /// Why a bundle contains nothing but its manifest and a page.
    pub(super) fn note(&self) -> Missing {
        let why = format!("found values that could not be withheld alone ({} in all)", self.hits);
        Missing { what: "all files".to_owned(), path: "all".to_owned(), ..missing("", &why) }
    }

    /// Even the bundle without a word of others contains a known value.
    pub(super) fn too_much(&self) -> Fault {
        let message = format!(
            "the self-check found a known secret that cannot be removed from the archive ({}); nothing was sent. This \
             is a bug in the operator: please report it as SECURITY.md describes",
            self.listed()
        );
        Fault::terminal(Reason::RedactionSelfCheck, message)
    }

    /// The first hits, and the number of further ones.
    fn listed(&self) -> String {
        match (self.named.join(", "), self.hits - self.named.len()) {
            (named, 0) => named,
            (named, more) => format!("{named}, {more} more"),
        }
    }
}

/// A file that is left out, and what the check found.
fn missing(path: &str, found: &str) -> Missing {
    Missing {
        what: format!("the file {path}"),
        path: path.to_owned(),
        code: MissingCode::Withheld,
        severity: MissingSeverity::Error,
        why: format!("the self-check {found}, which redaction should have masked: this is a bug in the operator"),
        need: None,
        rule: None,
        cure: String::new(),
    }
}
