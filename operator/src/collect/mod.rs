//! Reads the planned items, a few at a time, each as a stream through the redactor into the spool. An item that fails
//! becomes a line in `missing[]`; only an unusable spool or a cancel ends the collection.

mod agent_lines;
mod captured;
mod collected;
mod collection;
mod described;
mod embedded_pod_logs;
mod entry;
mod entry_set;
mod evidence;
mod finish;
mod from_store;
mod kubelets;
mod lists;
mod logs;
mod missing;
mod object_buffer;
mod object_writer;
mod objects;
mod progress;
mod said;
mod scheduler;
mod server_lines;
mod stamps;
mod store_files;
mod unread;
mod version_files;
mod window;
mod yaml;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use debugbundle_crd::TargetKind;
use serde_json::Value;
use tokio::task::JoinError;

pub use collected::Collected;
pub use collection::Collection;
pub use from_store::FromStore;
pub(crate) use missing::{no_room, not_redacted};
pub use progress::CollectProgress;
pub(crate) use said::ended;

use crate::velero::{StoreFailure, StoreFiles};
use crate::{
    access::ReadScope,
    budget::Shares,
    cluster::{ApiKind, Cluster, ClusterError},
    describe::{DescribedObject, Fact},
    node_slots::NodeSlots,
    plan::{Bodies, Item, LogLimits},
    pod_capture::PodCapture,
    velero::Results,
};
use captured::CapturedPods;
use debugbundle_archive::{Segment, Spool, SpoolError};
use debugbundle_format::manifest::{Missing, Source, Truncation};
use debugbundle_redact::Redactor;
use entry::EntryContext;
use evidence::Relevant;
use kubelets::Kubelets;

/// How many items are read at a time, and how long one item may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Items read at the same time.
    pub at_once: usize,
    /// The most time for one item.
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
    /// The redaction rules of this bundle.
    pub redactor: Arc<Redactor>,
    /// Where the entries are kept.
    pub spool: Arc<Spool>,
    /// Velero's files in the object store, or why they cannot be read.
    pub store: Result<Arc<dyn StoreFiles>, StoreFailure>,
    /// Limits of concurrency and time.
    pub pace: Pace,
    /// The slots at the nodes, shared with other collections.
    pub nodes: NodeSlots,
    /// Captured data of hosting pods that are gone.
    pub pod_capture: PodCapture,
    /// Size limits: of the entries, and of the report on them.
    pub shares: Shares,
}

/// Why a collection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The spool cannot take more.
    #[error("the collected data cannot be written to the spool")]
    Spool(#[from] SpoolError),
    /// The caller gave up.
    #[error("the collection was cancelled")]
    Cancelled,
}

/// Shared by all items.
#[derive(Clone)]
struct Work {
    cluster: Cluster,
    context: EntryContext,
    store: Result<Arc<dyn StoreFiles>, StoreFailure>,
    logs: LogLimits,
    read_scope: ReadScope,
    kubelets: Arc<Kubelets>,
    config_maps: Bodies,
    relevant: Relevant,
    captured: Arc<CapturedPods>,
    /// Pods whose name no other pod will get: namespace and name.
    only_once: BTreeSet<(String, String)>,
    /// The Backups and Restores that get a description.
    subjects: Vec<DescribedObject>,
    progress: Arc<CollectProgress>,
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
        let lost = self.read_scope.objects(&item.what, item.path.as_str(), error, verb, kind, namespace);
        Outcome { missing: vec![lost], ..Outcome::default() }
    }
}

/// An entry's body, its source, and why it is not whole.
type EntryBody = (Segment, Source, Option<Truncation>);

/// The result of one item.
#[derive(Debug, Default)]
struct Outcome {
    bodies: Vec<EntryBody>,
    /// Logs of other pods that were found in this log.
    copies: Vec<EntryBody>,
    missing: Vec<Missing>,
    empty: Option<String>,
    evidence: Vec<(Value, usize)>,
    /// Facts for the descriptions, by index of the subject.
    described: Vec<(usize, Fact)>,
    /// A Backup or Restore, and its results.
    results: Option<(TargetKind, String, Results)>,
    velero_version: Option<(String, String)>,
    /// A node-agent's diagnoses of pods that could not be prepared.
    diagnosed: Vec<String>,
    /// An item to read instead.
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

/// Runs `work` on a thread that may block. A panic in it continues in the caller.
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
        // These tasks are never aborted, so the task panicked, or the runtime dropped it while shutting down.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::panic::resume_unwind(Box::new("the runtime shut down")),
        },
    }
}
