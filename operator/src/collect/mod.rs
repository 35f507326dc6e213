//! Reads the planned items, a few at once, each as a stream through the redactor into the spool. An item's failure is a
//! line that says what is missing and why; only a spool that cannot be used, or a cancel, ends the collection.

mod agent_lines;
mod described;
mod entry;
mod evidence;
mod facts;
mod from_store;
mod held;
mod led_to;
mod lists;
mod logs;
mod missing;
mod movers;
mod object_writer;
mod objects;
mod progress;
mod restored;
mod results;
mod room;
mod server_lines;
mod store_files;
mod window;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use debugbundle_crd::TargetKind;
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use evidence::Evidence;
pub use from_store::FromStore;
pub use led_to::leads;
pub use progress::Progress;
pub use restored::restored_namespaces;
pub use results::{Distinct, Results};
pub use store_files::{StoreBody, StoreFailure, StoreFiles, troubled_namespaces};

use crate::{
    access::Borders,
    archive::{
        BundlePath, Segment, Spool, SpoolError,
        manifest::{Entry, Missing, MissingCode, MissingSeverity, Source, Trimmed, Truncation},
    },
    cluster::{ApiKind, Cluster, ClusterError, chain},
    describe::{Fact, Live, Subject},
    inventory::{Inventory, Unread},
    movers::Movers,
    plan::{Bodies, Item, ItemSource, LogLimits, Plan, StoreFile, store_path},
    redact::Redactor,
};
use entry::{Desk, WriteError};
use evidence::Relevant;
use movers::Caught;
use room::Room;

/// How much is read at once, and how long one item may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Items at once.
    pub at_once: usize,
    /// Of these, items for which one node has to answer.
    pub per_node: usize,
    /// Time for one item.
    pub per_item: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once: 8, per_node: 2, per_item: Duration::from_mins(5) }
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
    /// What was caught of hosting pods that are gone.
    pub movers: Movers,
    /// Most bytes of all entries, compressed; see [`crate::budget::room`].
    pub room: u64,
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
    config_maps: Bodies,
    relevant: Relevant,
    caught: Caught,
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
    /// The item's node cannot be reached.
    node_down: Option<String>,
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

/// Reads what was planned, at most until `deadline`; what was not read by then is missing.
///
/// # Errors
/// The spool is full or broken, or `cancel` was called.
pub async fn collect(
    collector: &Collector,
    inventory: &Inventory,
    plan: Plan,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
    deadline: Instant,
) -> Result<Collected, CollectError> {
    let Plan { items, logs, missing, config_maps } = plan;
    let desk = Desk { redactor: collector.redactor.clone(), spool: collector.spool.clone() };
    let borders = Borders::of(inventory);
    progress.planned(items.len());
    let mut evidence = Evidence::default();
    for (slot, target) in [(&mut evidence.target, &inventory.target), (&mut evidence.backup, &inventory.backup)] {
        if let Some(target) = target {
            let mut object = target.raw.clone();
            if collector.redactor.object(&mut object) {
                *slot = Some(object);
            }
        }
    }
    let mut run = Run {
        pace: collector.pace,
        deadline,
        target: inventory.target.as_ref().map(|target| target.name.clone()),
        target_kind: inventory.target.as_ref().map(|target| target.kind),
        down: BTreeMap::new(),
        velero: inventory.namespace.clone(),
        closed: BTreeSet::new(),
        busy: BTreeMap::new(),
        copies: Vec::new(),
        again: BTreeSet::new(),
        room: Room::new(collector.room, inventory),
        collected: Collected {
            entries: Vec::new(),
            trimmed: Vec::new(),
            wanted: items.len(),
            empty: Vec::new(),
            evidence,
            started: Timestamp::now(),
            finished: Timestamp::now(),
            missing,
        },
        live: described::subjects(inventory).iter().map(|_| Live::default()).collect(),
        work: Arc::new(Work {
            cluster: collector.cluster.clone(),
            desk: desk.clone(),
            store: collector.store.clone(),
            logs,
            borders: borders.clone(),
            config_maps,
            relevant: Relevant::of(inventory),
            caught: Caught::of(&collector.movers, inventory),
            subjects: described::subjects(inventory),
            progress: progress.clone(),
        }),
    };
    // What was refused to the inventory will be refused to the item, which tells it.
    let asked = |unread: &&Unread| {
        let same = |item: &Item| item.source.lists(&unread.kind, &unread.namespace);
        unread.why.is_forbidden() && items.iter().any(same)
    };
    for unread in inventory.unread.iter().filter(|unread| !asked(unread)) {
        let lost = borders.objects(&unread.what, "", &unread.why, "list", &unread.kind, &unread.namespace);
        run.collected.missing.push(lost);
    }
    run.all(items, cancel).await?;

    let Run { work, mut collected, copies, live, room, .. } = run;
    (collected.entries, collected.trimmed) = room.close();
    movers::add_logs(&work, &mut collected, copies).await?;
    let log = inventory.target.as_ref().map(|target| store_path(target.kind, &target.name, StoreFile::Log, false));
    if collected.entries.iter().any(|entry| Some(entry.segment.path()) == log.as_ref()) {
        // What the server said about the target is in the target's own log, and more of it.
        collected.entries.retain(|entry| !is_from_server(entry.segment.path(), log.as_ref()));
    }
    let (described_at, of) = (desk.clone(), inventory.clone());
    let mut collected = on_a_thread(move || described::write(&described_at, &of, collected, live)).await?;
    collected.finished = Timestamp::now();
    let times = (collected.started, collected.finished);
    let (facts_of, version) = (inventory.clone(), collected.evidence.velero_version.clone());
    match on_a_thread(move || facts::write(&desk, &facts_of, version.as_ref(), times)).await {
        Ok(facts) => {
            let read_at = collected.finished;
            let entry = |(segment, source, truncated)| Entry { segment, source, truncated, read_at, ms: 0 };
            collected.entries.extend(facts.bodies.into_iter().map(entry));
        }
        Err(WriteError::Spool(error)) => return Err(error.into()),
        Err(WriteError::Entry(error)) => {
            collected.missing.push(withheld("the versions of everything", "velero/version.json", &chain(&error)));
        }
    }
    Ok(collected)
}

/// Whether it lies beside the target's log and holds the server's lines about the target. Names of objects may contain
/// anything that these files' names do.
fn is_from_server(path: &BundlePath, log: Option<&BundlePath>) -> bool {
    let folder = log.and_then(|log| log.as_str().rsplit_once('/')).map(|(folder, _)| folder);
    let file = folder.and_then(|folder| path.as_str().strip_prefix(folder)).unwrap_or_default();
    ["/backup.from-server.", "/restore.from-server."].iter().any(|begin| file.starts_with(begin))
}

fn withheld(what: &str, path: &str, why: &str) -> Missing {
    missing::missing(what, path, MissingCode::Withheld, MissingSeverity::Error, why, "")
}

/// A collection that goes on.
struct Run {
    work: Arc<Work>,
    pace: Pace,
    deadline: Instant,
    target: Option<String>,
    target_kind: Option<TargetKind>,
    /// Nodes that could not be reached, and how that showed.
    down: BTreeMap<String, String>,
    /// Velero's namespace.
    velero: String,
    /// Other namespaces whose logs may not be read: that is told once for each, and nothing more is asked.
    closed: BTreeSet<String>,
    /// Items for which a node is asked now.
    busy: BTreeMap<String, usize>,
    /// Logs that count only if there is no better one.
    copies: Vec<Entry>,
    /// Paths of items for which the spool had no room at the first time.
    again: BTreeSet<BundlePath>,
    room: Room,
    collected: Collected,
    live: Vec<Live>,
}

type Ended = (Timestamp, Duration, Result<Outcome, WriteError>);

impl Run {
    async fn all(&mut self, items: Vec<Item>, cancel: &CancellationToken) -> Result<(), CollectError> {
        let mut waiting: VecDeque<Item> = items.into();
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut at_work: BTreeMap<tokio::task::Id, Item> = BTreeMap::new();
        loop {
            while running.len() < self.pace.at_once {
                let Some(item) = self.next(&mut waiting) else { break };
                let work = self.work.clone();
                let limit = self.deadline.min(Instant::now() + self.pace.per_item);
                let task = item.clone();
                work.progress.began(&task.what);
                let reading = async move {
                    let (at, began) = (Timestamp::now(), Instant::now());
                    let outcome = read(&work, &task, limit).await;
                    (at, began.elapsed(), outcome)
                };
                let handle = running.spawn(reading.in_current_span());
                if let Some(node) = &item.node {
                    *self.busy.entry(node.clone()).or_default() += 1;
                }
                at_work.insert(handle.id(), item);
            }
            let joined = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(CollectError::Cancelled),
                joined = running.join_next_with_id() => joined,
            };
            let Some(joined) = joined else { return Ok(()) };
            let (id, ended) = match joined {
                Ok((id, ended)) => (id, Ok(ended)),
                Err(error) => (error.id(), Err(error)),
            };
            let Some(item) = at_work.remove(&id) else { continue };
            if let Some(busy) = item.node.as_ref().and_then(|node| self.busy.get_mut(node)) {
                *busy = busy.saturating_sub(1);
            }
            if let Ok((_, _, Err(WriteError::Spool(error)))) = &ended
                && error.is_full()
                && self.again.insert(item.path.clone())
            {
                // Those beside it gave their room back, or are within their bounds; so what fits will fit alone.
                self.pace.at_once = 1;
                waiting.push_front(item);
                continue;
            }
            self.work.progress.ended();
            match ended {
                Ok((at, took, Ok(mut outcome))) => {
                    if let Some(again) = outcome.again.take() {
                        self.work.progress.one_more();
                        waiting.push_front(*again);
                    }
                    self.keep(&item, at, took, outcome).await?;
                }
                Ok((_, _, Err(WriteError::Spool(error)))) if error.is_full() => {
                    self.collected.missing.push(missing::no_room(&item, &error));
                }
                Ok((_, _, Err(WriteError::Spool(error)))) => return Err(error.into()),
                Ok((_, _, Err(WriteError::Entry(error)))) => {
                    self.collected.missing.push(withheld(&item.what, item.path.as_str(), &chain(&error)));
                }
                Err(error) => {
                    tracing::error!(what = item.what, error = %error, "Reading an item ended in a panic");
                    let why = "reading it failed in a way that was not foreseen; this is a bug of the operator";
                    self.collected.missing.push(withheld(&item.what, item.path.as_str(), why));
                }
            }
        }
    }

    /// The first item whose node has a place; items that have no chance any more are told as missing on the way.
    fn next(&mut self, waiting: &mut VecDeque<Item>) -> Option<Item> {
        let late = Instant::now() >= self.deadline;
        let mut at = 0;
        while let Some(item) = waiting.get(at) {
            if self.application(item).is_some_and(|namespace| self.closed.contains(namespace)) {
                self.work.progress.ended();
                waiting.remove(at);
                continue;
            }
            let down = item.node.as_ref().and_then(|node| self.down.get(node));
            if self.room.refuses(item) {
                self.work.progress.ended();
                waiting.remove(at);
                continue;
            }
            if late || down.is_some() {
                let lost = match down {
                    Some(why) if !late => unreachable_node(item, why),
                    _ => missing::too_late(item),
                };
                self.collected.missing.push(lost);
                self.work.progress.ended();
                waiting.remove(at);
                continue;
            }
            let busy = item.node.as_ref().and_then(|node| self.busy.get(node)).copied().unwrap_or(0);
            if busy < self.pace.per_node {
                return waiting.remove(at);
            }
            at += 1;
        }
        None
    }

    /// The namespace of an application whose log it is.
    fn application<'a>(&self, item: &'a Item) -> Option<&'a str> {
        match &item.source {
            ItemSource::PodLog { namespace, .. } if *namespace != self.velero => Some(namespace),
            _ => None,
        }
    }

    async fn keep(
        &mut self,
        item: &Item,
        read_at: Timestamp,
        took: Duration,
        outcome: Outcome,
    ) -> Result<(), CollectError> {
        let Outcome {
            bodies,
            copies,
            mut missing,
            empty,
            evidence,
            described,
            results,
            velero_version,
            diagnosed,
            node_down,
            again: _,
        } = outcome;
        for (of, fact) in described {
            if let Some(live) = self.live.get_mut(of) {
                live.add(fact);
            }
        }
        if let Some(namespace) = self.application(item).map(str::to_owned)
            && missing.iter().any(|missing| missing.code == MissingCode::Forbidden)
        {
            let told = !self.closed.insert(namespace.clone());
            missing.retain(|_| !told);
            for missing in &mut missing {
                missing.what = format!("logs of pods in {namespace}");
                missing.path = format!("namespaces/{namespace}/pods");
            }
        }
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(path = item.path.as_str(), ms, entries = bodies.len(), missing = missing.len(), "Read");
        self.room.take(item, bodies, read_at, ms);
        if self.room.is_over() {
            let (room, desk) = (std::mem::take(&mut self.room), self.work.desk.clone());
            self.room = match on_a_thread(move || room.fit(&desk)).await {
                Ok(room) => room,
                Err(WriteError::Spool(error)) => return Err(error.into()),
                Err(WriteError::Entry(source)) => {
                    return Err(SpoolError::unreadable(self.work.desk.spool.dir(), source).into());
                }
            };
        }
        let collected = &mut self.collected;
        let entry = |(segment, source, truncated)| Entry { segment, source, truncated, read_at, ms };
        self.copies.extend(copies.into_iter().map(entry));
        collected.missing.extend(missing);
        collected.empty.extend(empty);
        collected.evidence.add(evidence);
        collected.evidence.add_diagnosed(diagnosed);
        if let Some((kind, name, results)) = results
            && self.target.as_deref() == Some(name.as_str())
            && self.target_kind == Some(kind)
        {
            collected.evidence.results = Some(results);
        }
        if velero_version.is_some() {
            collected.evidence.velero_version = velero_version;
        }
        if let (Some(node), Some(why)) = (&item.node, node_down) {
            self.down.entry(node.clone()).or_insert(why);
        }
        Ok(())
    }
}

fn unreachable_node(item: &Item, why: &str) -> Missing {
    let node = item.node.as_deref().unwrap_or_default();
    let why = format!("not asked again, for node {node} could not be reached: {why}");
    let cure = "look at the node and its kubelet: the API server cannot reach port 10250";
    let (code, severity) = (MissingCode::NodeUnreachable, MissingSeverity::Error);
    missing::missing(&item.what, item.path.as_str(), code, severity, &why, cure)
}

async fn read(work: &Arc<Work>, item: &Item, deadline: Instant) -> Result<Outcome, WriteError> {
    match &item.source {
        ItemSource::List { kind, namespace, want } => {
            lists::list(work, item, kind, namespace.as_deref(), want, deadline).await
        }
        ItemSource::Named { kind, objects } => lists::named(work, item, kind, objects, deadline).await,
        ItemSource::Object { kind, namespace, name } => {
            objects::object(work, item, kind, namespace.as_deref(), name, deadline).await
        }
        ItemSource::PodLog { namespace, pod, uid, container, previous, limit, tail_only, server, instead_of: _ } => {
            let which = logs::Which {
                namespace,
                pod,
                uid,
                container,
                previous: *previous,
                limit: *limit,
                tail_only: *tail_only,
                server: server.as_ref(),
            };
            logs::read(work, item, which, deadline).await
        }
        ItemSource::Store { of, name, file, unless } => {
            store_files::read(work, item, (*of, name, *file), unless.as_deref(), deadline).await
        }
        ItemSource::Discovery { path } => objects::discovery(work, item, path, deadline).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_lines_about_the_target_are_in_its_log_already() {
        let path = |text: &str| BundlePath::new(text.split('/'));
        let log = path("velero/backups/a.from-server.b/backup.log");
        for (other, expected) in [
            ("velero/backups/a.from-server.b/backup.from-server.log", true),
            ("velero/backups/a.from-server.b/backup.from-server.previous.log", true),
            ("velero/backups/a.from-server.b/backup.log", false),
            ("velero/backups/a.from-server.b/results.json", false),
            ("namespaces/v/pods/x.from-server.0/c/c/logs/current.log", false),
        ] {
            assert_eq!(is_from_server(&path(other), Some(&log)), expected, "{other}");
        }
    }
}
