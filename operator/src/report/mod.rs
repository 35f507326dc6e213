//! What people read first: `summary.md`, whose first line is the cause, and `report.html`, the same with a picture of the
//! course of things and the timeline.
//! Pure; all foreign text is escaped, so that it can neither format, link nor run.

mod html;
mod lanes;
mod summary;

use std::collections::BTreeMap;

use debugbundle_format::manifest::{Missing, MissingCode, MissingSeverity, Trimmed};
use jiff::Timestamp;

use crate::diagnose::{self, CauseStep, Diagnosis, TimelineEvent};

pub use html::page;
pub use summary::{listed, summary};

/// What a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `Restore r1`, or the installation.
    pub subject: &'a str,
    /// Namespace of Velero.
    pub namespace: &'a str,
    /// Phase of the target when the collection began; `None` without a target.
    pub phase: Option<&'a str>,
    /// Start and end of the target, as Velero recorded them.
    pub times: (Option<&'a str>, Option<&'a str>),
    /// When the collection ended.
    pub read_at: Timestamp,
    /// Number of files in the bundle; `None` if it is about a file that has no manifest of ours.
    pub items: Option<usize>,
    /// What was found.
    pub diagnosis: &'a Diagnosis,
    /// The events, oldest first.
    pub timeline: &'a [TimelineEvent],
    /// The items that are not in the bundle.
    pub missing: &'a [Missing],
    /// The entries that were left out or shortened to keep the bundle within its size.
    pub trimmed: &'a [Trimmed],
    /// Files worth opening first, best first.
    pub look_at: &'a [&'a str],
}

/// Items not looked at because of a permission or a setting, which is not an error: each distinct cure with the number
/// of items that it would add, the largest first.
fn not_looked(missing: &[Missing]) -> Vec<(&str, usize)> {
    let mut by_cure: BTreeMap<&str, usize> = BTreeMap::new();
    for item in missing.iter().filter(|item| could_be_looked_at(item)) {
        *by_cure.entry(item.cure.as_str()).or_default() += 1;
    }
    let mut cures: Vec<_> = by_cure.into_iter().collect();
    cures.sort_by_key(|(_, items)| std::cmp::Reverse(*items));
    cures
}

/// Whether a note is about an item that may well exist; items of all other notes do not exist.
fn could_be_looked_at(item: &Missing) -> bool {
    let barred = matches!(item.code, MissingCode::Forbidden | MissingCode::NotAllowed | MissingCode::NotLooked);
    item.severity == MissingSeverity::Note && barred && !item.cure.is_empty()
}

/// The cause, or a line that there is none; the phase decides whether that is good news.
fn headline(facts: &Facts<'_>) -> String {
    if let Some(cause) = &facts.diagnosis.cause {
        return cause.clone();
    }
    let subject = facts.subject;
    let unreadable =
        facts.diagnosis.findings.iter().any(|finding| finding.kind == diagnose::FindingKind::ResultsUnreadable)
            || facts.missing.iter().any(|missing| missing.path.ends_with("/results.json"));
    match facts.phase {
        None | Some("Completed") => match facts.diagnosis.looked_at_words().as_str() {
            "" => "No failure was found.".to_owned(),
            words => format!("No failure was found: {words}."),
        },
        Some("") => format!("Velero has not started {subject} yet."),
        Some(phase @ ("Failed" | "PartiallyFailed")) if unreadable => {
            format!("{subject} is {phase}; Velero's results are missing or damaged.")
        }
        Some(phase @ ("Failed" | "PartiallyFailed")) => {
            format!("{subject} is {phase}; Velero's results name no error.")
        }
        Some(phase) => format!("{subject} is {phase}."),
    }
}

/// The objects from the target to the cause as a tree, one on each line.
pub fn tree(steps: &[CauseStep]) -> impl Iterator<Item = String> {
    steps.iter().enumerate().map(|(depth, step)| {
        let state = if step.state.is_empty() { String::new() } else { format!(" ({})", step.state) };
        let why = if step.why.is_empty() { String::new() } else { format!(": {}", step.why) };
        format!("{}{}{state}{why}", branch(depth), object_words(&step.object))
    })
}

/// `Pod shop/db-0` of `Pod/shop/db-0`, and `Node n1` of `Node//n1`.
fn object_words(object: &str) -> String {
    object.replacen("//", " ", 1).replacen('/', " ", usize::from(!object.contains("//")))
}

/// What stands in front of an object of a tree.
fn branch(depth: usize) -> String {
    if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) }
}

/// A target's phase as it is shown: Velero treats an empty phase as New.
fn shown_phase(phase: &str) -> &str {
    if phase.is_empty() { "New" } else { phase }
}

/// The last line of both.
const BEST_EFFORT: &str =
    "Secrets that the rules recognize were removed. Redaction is best effort: treat the bundle as confidential.";
