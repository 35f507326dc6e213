//! Reads the planned items, a few at once, each as a stream through the redactor into the spool. An item's failure is a
//! line that says what is missing and why; only a spool that cannot be used, or a cancel, ends the collection.

mod agent_lines;
mod copies;
mod described;
mod entry;
mod evidence;
mod facts;
mod finish;
mod from_store;
mod guests;
mod held;
mod kubelets;
mod led_to;
mod lists;
mod logs;
mod missing;
mod movers;
mod nodes;
mod object_writer;
mod objects;
mod progress;
mod reading;
mod restored;
mod results;
mod room;
mod server_lines;
mod stamps;
mod store_files;
mod unread;
mod window;
mod yaml;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use debugbundle_crd::TargetKind;
use jiff::Timestamp;
use serde_json::Value;
use tokio::{task::JoinError, time::Instant};
use tokio_util::sync::CancellationToken;

pub use evidence::Evidence;
pub use from_store::FromStore;
pub(crate) use guests::Guest;
pub use led_to::leads;
pub(crate) use missing::no_room;
pub use nodes::Nodes;
pub use progress::Progress;
pub use restored::restored_namespaces;
pub(crate) use results::Shallow;
pub use results::{Distinct, Results};
pub use store_files::{StoreBody, StoreFailure, StoreFiles, troubled_namespaces};

use crate::{
    access::Borders,
    archive::{
        Segment, Spool, SpoolError,
        manifest::{Entry, Missing, Source, Trimmed, Truncation},
    },
    budget::Shares,
    cluster::{ApiKind, Cluster, ClusterError},
    describe::{Fact, Subject},
    inventory::Inventory,
    movers::Movers,
    plan::{Bodies, Item, LogLimits, Plan},
    redact::Redactor,
};
use entry::Desk;
use evidence::Relevant;
use kubelets::Kubelets;
use movers::Caught;
use reading::Run;

/// How much is read at once, and how long one item may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Items at once.
    pub at_once: usize,
    /// Time for one item.
    pub per_item: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once: 8, per_item: Duration::from_mins(5) }
    }
}

/// What a collection needs.
#[derive(Clone)]
pub struct Collector {
    /// The API server.
    pub cluster: Cluster,
    /// The rules of this bundle.
    pub redactor: Arc<Redactor>,
    /// Where the entries are kept.
    pub spool: Arc<Spool>,
    /// Velero's files in the object store, or why they cannot be had.
    pub store: Result<Arc<dyn StoreFiles>, StoreFailure>,
    /// How much at once.
    pub pace: Pace,
    /// The places at the nodes, shared with what else is collected.
    pub nodes: Nodes,
    /// What was caught of hosting pods that are gone.
    pub movers: Movers,
    /// How much may be kept of it, and written about it.
    pub shares: Shares,
}

/// What was collected.
#[derive(Debug)]
pub struct Collected {
    /// The entries, in no order.
    pub entries: Vec<Entry>,
    /// What is not there, and why.
    pub missing: Vec<Missing>,
    /// Paths of lists that had no item.
    pub empty: Vec<String>,
    /// What was left out to keep within the room.
    pub trimmed: Vec<Trimmed>,
    /// Items that were planned.
    pub wanted: usize,
    /// For the diagnosis.
    pub evidence: Evidence,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// Why a collection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The spool cannot take more.
    #[error("what is collected cannot be kept")]
    Spool(#[from] SpoolError),
    /// The caller gave up.
    #[error("the collection was cancelled")]
    Cancelled,
}

/// What all items share.
struct Work {
    cluster: Cluster,
    desk: Desk,
    store: Result<Arc<dyn StoreFiles>, StoreFailure>,
    logs: LogLimits,
    borders: Borders,
    kubelets: Kubelets,
    config_maps: Bodies,
    relevant: Relevant,
    caught: Caught,
    /// Pods of which no other one will get the name: namespace and name.
    only_once: BTreeSet<(String, String)>,
    /// The Backups and Restores that get a description.
    subjects: Vec<Subject>,
    progress: Arc<Progress>,
}

impl Work {
    fn objects_missing(
        &self,
        item: &Item,
        error: &ClusterError,
        verb: &str,
        kind: &ApiKind,
        namespace: Option<&str>,
    ) -> Outcome {
        let namespace = namespace.unwrap_or_default();
        let lost = self.borders.objects(&item.what, item.path.as_str(), error, verb, kind, namespace);
        Outcome { missing: vec![lost], ..Outcome::default() }
    }
}

/// An entry's body, where it came from and why it is not whole.
type Body = (Segment, Source, Option<Truncation>);

/// What came of one item.
#[derive(Debug, Default)]
struct Outcome {
    bodies: Vec<Body>,
    /// Logs of other pods that were found in this one's.
    copies: Vec<Body>,
    missing: Vec<Missing>,
    empty: Option<String>,
    evidence: Vec<(Value, usize)>,
    /// For the description of which subject.
    described: Vec<(usize, Fact)>,
    /// Of which Backup or Restore, and what they say.
    results: Option<(TargetKind, String, Results)>,
    velero_version: Option<(String, String)>,
    /// What a node-agent found out about pods that could not be prepared.
    diagnosed: Vec<String>,
    /// What is to be read in its place.
    again: Option<Box<Item>>,
}

impl Outcome {
    fn push(&mut self, segment: Segment, source: Source, truncated: Option<Truncation>) {
        self.bodies.push((segment, source, truncated));
    }

    fn and(mut self, other: Self) -> Self {
        self.bodies.extend(other.bodies);
        self.missing.extend(other.missing);
        self.evidence.extend(other.evidence);
        self.described.extend(other.described);
        Self { empty: self.empty.or(other.empty), ..self }
    }
}

/// Runs `work` where it may block. A panic in it is the caller's.
async fn on_a_thread<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let span = tracing::Span::current();
    joined(tokio::task::spawn_blocking(move || span.in_scope(work)).await)
}

fn joined<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(value) => value,
        // Nobody aborts these tasks, so that it panicked; only then a runtime that shuts down drops them unfinished.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::panic::resume_unwind(Box::new("the runtime shut down")),
        },
    }
}

/// Reads what was planned, at most until `deadline`; what was not read by then is missing. What the spool holds back then
/// is for what is still to be written about it: whoever seals gives it free.
///
/// # Errors
/// The spool is broken, or `cancel` was called. One that is full is no error: what has no room is missing.
pub async fn collect(
    collector: &Collector,
    inventory: &Inventory,
    plan: Plan,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
    deadline: Instant,
) -> Result<Collected, CollectError> {
    collector.spool.hold_back(collector.shares.held_back);
    progress.planned(plan.items.len());
    let Plan { items, logs, missing, config_maps } = plan;
    let borders = Borders::of(inventory);
    let unread = unread::unread(inventory, &items, &borders);
    let collected = Collected {
        entries: Vec::new(),
        trimmed: Vec::new(),
        wanted: items.len(),
        empty: Vec::new(),
        evidence: evidence_of(collector, inventory),
        started: Timestamp::now(),
        finished: Timestamp::now(),
        missing,
    };
    let work = Work {
        cluster: collector.cluster.clone(),
        desk: Desk { redactor: collector.redactor.clone(), spool: collector.spool.clone() },
        store: collector.store.clone(),
        logs,
        borders,
        kubelets: Kubelets::new(&collector.cluster),
        config_maps,
        relevant: Relevant::of(inventory),
        caught: Caught::of(&collector.movers, inventory),
        only_once: logs::named_once(&inventory.pods),
        subjects: described::subjects(inventory),
        progress: progress.clone(),
    };
    let mut run = Run::new(Arc::new(work), collector, inventory, collected, deadline);
    run.all(items, cancel).await?;
    unread::add(&mut run.collected.missing, unread);
    finish::finish(run, inventory, collector.shares.own).await
}

/// The target, its Backup and what is in front of it, or what failed last, as they were seen.
fn evidence_of(collector: &Collector, inventory: &Inventory) -> Evidence {
    let mut evidence = Evidence::default();
    for (slot, target) in [(&mut evidence.target, &inventory.target), (&mut evidence.backup, &inventory.backup)] {
        if let Some(target) = target {
            let mut object = target.raw.clone();
            if collector.redactor.object(&mut object) {
                *slot = Some(object);
            }
        }
    }
    let redacted = |objects: &[Value]| -> Vec<Value> {
        let objects = objects.iter().cloned();
        objects.filter_map(|mut object| collector.redactor.object(&mut object).then_some(object)).collect()
    };
    evidence.failed = redacted(&inventory.failed);
    evidence.ahead = redacted(&inventory.queue.ahead);
    evidence.ahead_beyond = inventory.queue.beyond;
    evidence.idle = inventory.target.as_ref().and_then(|target| inventory.server_idle(target.kind));
    evidence
}
