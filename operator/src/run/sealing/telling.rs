//! The run's results as far as they may be published: each hit of the self-check reduces them. A shape in a line costs
//! that line, a key or a known value the file; a text of the operator's own loses only the words in question.

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
    diagnose::{FindingKind, TimelineEvent},
    error::Fault,
};

/// What people read first: if it cannot be written, or contains a secret, there is no bundle.
const INDISPENSABLE: [&str; 2] = ["summary.md", "report.html"];
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
    /// Files without some of their lines, and the number of these lines.
    mended: BTreeMap<String, u64>,
    /// The first hits, and the number of all hits.
    named: Vec<String>,
    hits: usize,
}

impl OwnFiles {
    pub(super) fn of(found: RunResult, timeline: Vec<TimelineEvent>) -> Self {
        let (withheld, mended, named) = Default::default();
        Self { found, timeline, withheld, mended, named, hits: 0 }
    }

    /// Whether this file, if it is one of our own, must not be written again.
    pub(super) fn is_settled(&self, path: &str) -> bool {
        self.withheld.contains(path) || self.mended.contains_key(path)
    }

    /// Redacts the texts of status and summary, then masks the words in them that the check would still find.
    pub(super) fn mask(&mut self, redactor: &Redactor, detector: &Detector) {
        let diagnosis = &mut self.found.diagnosis;
        let evidence = diagnosis
            .findings
            .iter_mut()
            .flat_map(|f| std::iter::once(&mut f.title).chain(f.evidence.iter_mut().map(|proof| &mut proof.text)));
        for text in evidence.chain(&mut diagnosis.cause) {
            *text = redactor.sentence(text);
        }
        let masked = self.each_text(|text| detector.masked(text));
        if masked > 0 {
            tracing::error!(masked, "The self-check withheld words that redaction should have masked");
        }
    }

    /// Takes the archive apart again, without the hits and without the texts that quote them.
    pub(super) fn withhold(
        &mut self,
        hits: &[Hit],
        draft: Draft,
        ours: &BTreeSet<String>,
        spool: &Spool,
    ) -> Result<(), Fault> {
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
        let mut of_path: BTreeMap<&str, Vec<&Hit>> = BTreeMap::new();
        for hit in hits {
            match &hit.place {
                HitPlace::Entry(path) if !INDISPENSABLE.contains(&path.as_str()) => {
                    of_path.entry(path).or_default().push(hit);
                }
                _ => return Err(self.too_much()),
            }
        }
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
        Ok(())
    }

    /// The entry without the lines of its hits; `None` if it must be left out.
    fn without(&mut self, entry: Entry, hits: &[&Hit], spool: &Spool) -> Option<Entry> {
        let path = entry.segment.path().as_str().to_owned();
        let Entry { segment, source, truncated, read_at, ms } = entry;
        // Lines are removed once: a later hit is no matter of lines.
        let mended = Mender::of(&path, hits).filter(|_| !self.mended.contains_key(&path)).and_then(|mut mender| {
            let segment = segment.mended(spool, &mut mender);
            let failed =
                |error: &std::io::Error| tracing::warn!(%error, path, "Lines could not be withheld, so the file is");
            Some((segment.inspect_err(failed).ok()?, mender))
        });
        let Some((segment, taken)) = mended else {
            self.found.collected.missing.push(missing(&path, hits));
            self.mended.remove(&path);
            self.withheld.insert(path);
            return None;
        };
        let truncated = Some(segment.withheld(truncated, taken.bytes, taken.lines));
        self.mended.insert(path, taken.lines);
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
        for proof in of_findings.chain(diagnosis.trail.iter_mut().flat_map(|step| &mut step.evidence)) {
            if withheld.contains(&proof.path) {
                GONE.clone_into(&mut proof.text);
            }
        }
        diagnosis.findings.retain(|finding| finding.kind != FindingKind::WithheldBySelfCheck);
        let lines: u64 = self.mended.values().sum();
        let what = match (lines, self.withheld.len()) {
            (0, files) => format!("{files} of the bundle's files were withheld"),
            (lines, 0) => format!("{lines} lines of the bundle's files were withheld"),
            (lines, files) => format!("{lines} lines and {files} whole files of the bundle were withheld"),
        };
        let title = format!("{what}: the self-check found values in them that redaction should have masked");
        let listed = self.listed();
        self.found.diagnosis.add(FindingKind::WithheldBySelfCheck, &title, "", &listed);
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
            [&mut finding.title, &mut finding.object].into_iter().for_each(change);
            finding.evidence.iter_mut().map(|proof| &mut proof.text).for_each(change);
        }
        for step in &mut diagnosis.trail {
            [&mut step.object, &mut step.phase, &mut step.why].into_iter().chain(&mut step.next).for_each(change);
            step.evidence.iter_mut().map(|proof| &mut proof.text).for_each(change);
        }
        for moment in &mut self.timeline {
            [&mut moment.object, &mut moment.text].into_iter().for_each(change);
        }
        for missing in &mut self.found.collected.missing {
            [&mut missing.what, &mut missing.why].into_iter().for_each(change);
        }
        changed.get()
    }

    fn too_much(&self) -> Fault {
        let message = format!(
            "the self-check found values in the sealed archive that redaction should have masked ({}); nothing was \
             sent. This is a bug in the operator: please report it as SECURITY.md describes",
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

fn missing(path: &str, hits: &[&Hit]) -> Missing {
    let hits: Vec<String> = hits.iter().take(NAMED).map(|hit| format!("{} at byte {}", hit.rule, hit.offset)).collect();
    Missing {
        what: format!("the file {path}"),
        path: path.to_owned(),
        code: MissingCode::Withheld,
        severity: MissingSeverity::Error,
        why: format!(
            "the self-check of the sealed archive found {}, which redaction should have masked: this is a bug in \
             the operator",
            hits.join(", ")
        ),
        need: None,
        rule: None,
        cure: String::new(),
    }
}
