//! Copies of hosting pods' logs, and diagnoses of pods that could not be prepared, taken out of node-agents' logs as these pass.
//! What becomes of them beside what was caught is told in `movers`.

use std::{collections::BTreeSet, io::Write as _, sync::Arc};

use debugbundle_archive::Segment;
use debugbundle_format::manifest::{Source, SourceKind};

use super::{
    Work,
    agent_lines::{AgentLog, AgentPart},
    entry::{LazyEntry, WriteError},
};

/// Lines kept of one node-agent's diagnoses.
const DIAGNOSED: usize = 200;

/// A hosting pod's log, copied out of a node-agent's.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) container: String,
    pub(super) segment: Segment,
}

/// Takes copies and diagnoses out of a node-agent's log as it passes.
pub(super) struct Copies {
    work: Arc<Work>,
    log: AgentLog,
    found: Found,
}

#[derive(Default)]
struct Found {
    open: Option<(String, LazyEntry)>,
    known: BTreeSet<(String, String)>,
    copied: Vec<Copied>,
    diagnosed: Vec<String>,
}

impl Copies {
    /// `None` for a pod that is no node-agent's.
    pub(super) fn of(work: &Arc<Work>, uid: &str) -> Option<Self> {
        let is_agent = work.captured.is_agent(uid);
        is_agent.then(|| Self { work: work.clone(), log: AgentLog::default(), found: Found::default() })
    }

    pub(super) fn feed(&mut self, data: &[u8]) -> Result<(), WriteError> {
        let Self { work, log, found } = self;
        log.feed(data, |part| found.take(work, &part))
    }

    /// The copies, and what was found out about pods that could not be prepared, redacted.
    pub(super) fn finish(mut self) -> Result<(Vec<Copied>, Vec<String>), WriteError> {
        let Self { work, log, found } = &mut self;
        log.end(|part| found.take(work, &part))?;
        Ok((self.found.copied, self.found.diagnosed))
    }
}

impl Found {
    fn take(&mut self, work: &Work, part: &AgentPart<'_>) -> Result<(), WriteError> {
        match part {
            AgentPart::Begin { pod, container } => {
                let new = work.captured.wants_copy(pod)
                    && self.known.insert(((*pod).to_owned(), (*container).to_owned()))
                    && work.captured.counts_copy();
                let entry = || {
                    LazyEntry::new(&work.context, work.captured.path(pod, container), Some(work.captured.of_a_copy()))
                };
                self.open = new.then(|| ((*container).to_owned(), entry()));
            }
            AgentPart::Lines(lines) => {
                if let Some((_, entry)) = &mut self.open {
                    entry.write_all(lines)?;
                }
            }
            AgentPart::End => {
                if let Some((container, entry)) = self.open.take()
                    && let Some(segment) = entry.finish()?
                {
                    self.copied.push(Copied { container, segment });
                }
            }
            AgentPart::Diagnosed(line, said) => {
                if self.diagnosed.len() < DIAGNOSED && work.captured.is_about_ours(line) {
                    self.diagnosed.push(work.context.redactor.text(said));
                }
            }
        }
        Ok(())
    }
}

/// Where a copy came from; `agent` is the source of the log that it was found in.
pub(super) fn source_of_copy(agent: &Source, container: String) -> Source {
    let warning = "copied from the node-agent's log at this path; Velero had copied it there, and each line has the \
                   time of that copy";
    Source {
        kind: SourceKind::PodLog,
        path: agent.path.clone(),
        query: agent.query.clone(),
        container: Some(container),
        previous: Some(false),
        node: agent.node.clone(),
        warning: Some(warning.to_owned()),
        ..Source::default()
    }
}
