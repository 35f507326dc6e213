//! A finding, as written to `analysis/diagnosis.json`: what is wrong, where the bundle shows it, what to do and where to
//! read more. The bundle's status contains a short form.

use debugbundle_crd::{CauseConfidence, Severity};
use debugbundle_diagnosis::{Command, Remedy, is_consequence};
use debugbundle_format::text::{bounded_within, escape_for_terminal};
use schemars::JsonSchema;
use serde::Serialize;

use super::FindingKind;

/// Longest title, and longest object (bytes).
const TITLE: usize = 512;
/// Longest text of one piece of evidence (bytes).
const TEXT: usize = 1024;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// What kind of finding it is, written as its id.
    #[serde(rename = "id")]
    #[schemars(with = "String")]
    pub kind: FindingKind,
    /// How severe it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The object it is about, as `Kind/namespace/name`.
    pub object: String,
    /// The evidence, best first; none if no bundle was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Proof>,
    /// What the other errors name that say the same of other objects; the title counts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alike: Vec<String>,
    /// How sure it is that this explains the failure; only of errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<CauseConfidence>,
    /// How to fix it, in one sentence.
    pub remedy: String,
    /// Commands for that. Reading ones come first.
    pub commands: Vec<Command>,
    /// A page of Velero's documentation, if one covers this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// A place in the bundle, with a quote from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Proof {
    /// Path in the bundle.
    pub path: String,
    /// The line of that file, from 1; only in logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The quote, shortened.
    pub text: String,
    /// That line and those around it, shortened; only in logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub around: Vec<LogLine>,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogLine {
    /// Its number, from 1.
    pub line: u64,
    /// The line, shortened.
    pub text: String,
}

impl Proof {
    /// Evidence somewhere in a file, without a line number.
    pub(super) fn new(path: String, text: &str) -> Self {
        Self { path, line: None, text: text.to_owned(), around: Vec::new() }
    }

    /// All texts that others wrote, without the path.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        std::iter::once(&mut self.text).chain(self.around.iter_mut().map(|one| &mut one.text))
    }
}

impl Finding {
    /// A finding with its kind's remedy. An error is certain, unless it only says what did not happen in time. Title,
    /// object and evidence are foreign text: escaped and shortened here.
    pub(super) fn new(kind: FindingKind, title: &str, object: &str, proof: Proof) -> Self {
        let fit = |text: &str, most| bounded_within(&escape_for_terminal(text), most).into_owned();
        let confidence = if is_consequence(title) { CauseConfidence::Unknown } else { CauseConfidence::Certain };
        let evidence =
            if proof.text.is_empty() { Vec::new() } else { vec![Proof { text: fit(&proof.text, TEXT), ..proof }] };
        Self {
            kind,
            severity: kind.severity(),
            confidence: (kind.severity() == Severity::Error).then_some(confidence),
            title: fit(title, TITLE),
            alike: Vec::new(),
            object: fit(object, TITLE),
            evidence,
            remedy: kind.remedy().to_owned(),
            commands: Vec::new(),
            link: kind.link(object),
        }
    }

    /// With a remedy that is special to it; without one it keeps that of its kind.
    pub(super) fn with(self, remedy: Option<Remedy>) -> Self {
        let Some(Remedy { sentence, commands }) = remedy else { return self };
        Self { remedy: bounded_within(&escape_for_terminal(&sentence), TEXT).into_owned(), commands, ..self }
    }

    /// With what others name that say the same.
    pub(super) fn like(self, others: &[String]) -> Self {
        let alike = others.iter().map(|one| bounded_within(&escape_for_terminal(one), TITLE).into_owned()).collect();
        Self { alike, ..self }
    }

    /// Most findings in the status.
    pub const IN_STATUS: usize = 20;

    /// For the status: one piece of evidence, no remedy.
    pub fn in_short(&self) -> debugbundle_crd::FindingSummary {
        debugbundle_crd::FindingSummary {
            id: self.kind.id().to_owned(),
            severity: self.severity,
            title: self.title.clone(),
            object: self.object.clone(),
            evidence: self.evidence.first().map(|proof| proof.text.clone()).unwrap_or_default(),
            confidence: self.confidence,
        }
    }
}
