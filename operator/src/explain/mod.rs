//! Explains a Backup, a Restore or the installation on the live cluster: the walk says what it lacks, and only that is
//! read, until it lacks nothing. A bundle and the operator are not needed.
//!
//! ```text
//! walk(graph) ─▶ wants ─▶ reader ─▶ answers ─▶ graph ─▶ walk …  ─▶ Explained
//! ```
//!
//! * [`answers`]: what was read so far, and the graph of it. Pure.
//! * [`reader`]: reads what the walk wants, with limits, and redacts it.

mod answers;
mod reader;

use std::collections::BTreeSet;

use answers::Answers;
use debugbundle_crd::Severity;
use debugbundle_diagnosis::{Confidence, Id, Kind, Wanted, has_ended, walk};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};

pub use reader::Reader;

use crate::diagnose::{CauseChain, Evidence, Finding, TargetProgress, skipped_volumes};

/// Most rounds of walking and reading.
const ROUNDS: usize = 12;
/// Requests at the same time.
const AT_ONCE: usize = 8;

/// Why a target, or the installation, is as it is.
#[derive(Debug)]
pub struct Explained {
    /// What the walk found: a finding for each cause; then what else is worth knowing.
    pub chain: CauseChain,
    /// The target; of the installation an object of its own kind, without content.
    pub target: Value,
    /// How far the target has come.
    pub progress: TargetProgress,
    /// What could not be read, and why: a sentence each.
    pub unread: Vec<String>,
    /// When it was read.
    pub read_at: Timestamp,
}

impl Explained {
    /// Its phase; New is often left out. The installation has none.
    pub fn phase(&self) -> Option<&str> {
        let phase = self.target["status"]["phase"].as_str().filter(|phase| !phase.is_empty());
        phase.or_else(|| self.chain.parts.is_none().then_some("New"))
    }

    /// The findings that say why, the surest first.
    pub fn causes(&self) -> &[Finding] {
        let findings = &self.chain.findings;
        let causes = findings.iter().position(|finding| finding.severity != Severity::Error);
        &findings[..causes.unwrap_or(findings.len())]
    }

    /// The findings that are worth knowing and no cause.
    pub fn further(&self) -> &[Finding] {
        &self.chain.findings[self.causes().len()..]
    }

    /// Whether Velero has ended its work on it.
    pub fn has_ended(&self) -> bool {
        has_ended(&self.target)
    }
}

/// Walks from a target or from [`Id::installation`], and reads until nothing is lacking, or a limit is reached. `None`:
/// the target does not exist.
///
/// # Errors
/// The target itself cannot be read: the sentence says why.
pub async fn explain(reader: &Reader, target: &Id) -> Result<Option<Explained>, String> {
    let mut answers = Answers::new(reader.velero());
    let mut asked = BTreeSet::new();
    for _ in 0..ROUNDS {
        let graph = answers.graph();
        let found = walk(&graph, target);
        let wants: Vec<Wanted> = found.wants.iter().filter(|want| !asked.contains(*want)).cloned().collect();
        if wants.is_empty() {
            break;
        }
        drop(graph);
        asked.extend(wants.iter().cloned());
        let (known, answers_now) = (answers.object(target).cloned(), &answers);
        let replies: Vec<_> = stream::iter(wants)
            .map(|want| {
                let known = known.as_ref();
                async move {
                    let reply = reader.read(&want, known, answers_now).await;
                    (want, reply)
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (want, reply) in replies {
            answers.add(want, reply);
        }
        if let Some(why) = answers.why_unread(target) {
            return Err(why);
        }
    }
    let is_installation = target.kind == Kind::Installation;
    let object = if is_installation {
        json!({"kind": target.kind.as_str(), "metadata": {"namespace": target.namespace}})
    } else {
        let Some(object) = answers.object(target).cloned() else { return Ok(None) };
        object
    };
    let mut explanation = walk(&answers.graph(), target);
    let is_bounded = explanation.wants.iter().any(|want| !asked.contains(want)) || answers.is_full();
    let mut unread = answers.unread();
    if is_bounded {
        unread.push("the limit of objects to read was reached, so further ones were not looked at".to_owned());
    }
    if is_bounded || !unread.is_empty() {
        // Something that was not read may be the cause.
        for root in &mut explanation.roots {
            root.confidence = root.confidence.min(Confidence::Likely);
        }
    }
    // It is never a cause, so that the confidence is the same without it.
    let skipped = match reader.skipped(&object, &answers).await {
        Ok(skipped) => skipped,
        Err(why) => {
            unread.push(why);
            Vec::new()
        }
    };
    let evidence = Evidence {
        velero: reader.velero().to_owned(),
        skipped,
        target: (!is_installation).then(|| object.clone()),
        read_at: answers.read_at(),
        ..Evidence::default()
    };
    let mut chain = CauseChain::of(&explanation, &answers.graph(), &evidence);
    skipped_volumes(&evidence, &mut chain.findings);
    // There is no bundle that they could refer to.
    chain.findings.iter_mut().for_each(|finding| finding.evidence.clear());
    chain.steps.iter_mut().for_each(|step| step.evidence.clear());
    let progress = TargetProgress::of(&object, answers.of_kinds(&Kind::DATA));
    Ok(Some(Explained { chain, target: object, progress, unread, read_at: answers.read_at() }))
}
