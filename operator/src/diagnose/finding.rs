//! A finding, as `analysis/findings.json` has it: what is wrong, where in the bundle that stands, what to do and where to
//! read on. How it comes about is said beside this file; status tells it in short.

use debugbundle_crd::Severity;
use serde::Serialize;

use super::remedy;
use crate::text::{bounded, escape_for_terminal};

/// Longest title, and longest object (bytes).
const TITLE: usize = 512;
/// Longest text of one piece of evidence (bytes).
const TEXT: usize = 1024;

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Stable id of the kind of finding.
    pub id: String,
    /// How grave it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The object it is about, as `Kind/namespace/name`.
    pub object: String,
    /// What shows it, the best first.
    pub evidence: Vec<Proof>,
    /// What to do about it, in one sentence.
    pub remedy: String,
    /// A page of Velero's documentation; none if it has none about this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// A place in the bundle, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Path in the bundle.
    pub path: String,
    /// The line of that file, from 1; only in logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What stands there, in short.
    pub text: String,
}

impl Proof {
    /// What stands somewhere in a file.
    pub(super) fn new(path: String, text: &str) -> Self {
        Self { path, line: None, text: text.to_owned() }
    }
}

impl Finding {
    /// A finding with the remedy of its kind; title, object and evidence are foreign text and made fit to be shown.
    pub(super) fn new(id: &str, severity: Severity, title: &str, object: &str, proof: Proof) -> Self {
        let fit = |text: &str, most| bounded(&escape_for_terminal(text), most).into_owned();
        let remedy::Remedy { words, link } = remedy::of(id, object);
        let evidence =
            if proof.text.is_empty() { Vec::new() } else { vec![Proof { text: fit(&proof.text, TEXT), ..proof }] };
        Self {
            id: id.to_owned(),
            severity,
            title: fit(title, TITLE),
            object: fit(object, TITLE),
            evidence,
            remedy: words.to_owned(),
            link,
        }
    }

    /// As status has it: one line of evidence, and no remedy.
    pub fn in_short(&self) -> debugbundle_crd::Finding {
        debugbundle_crd::Finding {
            id: self.id.clone(),
            severity: self.severity,
            title: self.title.clone(),
            object: self.object.clone(),
            evidence: self.evidence.first().map(|proof| proof.text.clone()).unwrap_or_default(),
        }
    }
}
