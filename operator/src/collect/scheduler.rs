//! Decides which item is read when: a few at a time, in the order of the plan, few per node, none after the deadline or
//! from a node that does not answer. Sibling modules read the kinds of items; `finish` does the last steps.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use debugbundle_archive::Entry;
use debugbundle_crd::TargetKind;
use debugbundle_format::{
    BundlePath,
    manifest::{Missing, MissingCode, MissingSeverity, Truncation, TruncationReason},
};
use jiff::Timestamp;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    CollectError, Collected, Collector, EntryBody, Outcome, Pace, Work,
    entry::WriteError,
    entry_set::BudgetedEntries,
    finish::fitted,
    kubelets::NodeDown,
    lists, logs,
    missing::{missing, no_room, not_redacted, too_late, withheld, without_rules},
    objects, store_files,
};
use crate::{
    describe::Live,
    discovery::Snapshot,
    node_slots::{NodePermit, Waiter},
    plan::{Item, ItemSource, SourceClass},
};

/// A running collection.
pub(super) struct Scheduler {
    pub(super) work: Arc<Work>,
    pace: Pace,
    deadline: Instant,
    target: Option<String>,
    target_kind: Option<TargetKind>,
    /// Velero's namespace.
    velero: String,
    /// Other namespaces whose logs may not be read: reported once for each, and not requested again.
    closed: BTreeSet<String>,
    /// Waits for slots among all collections that read the same nodes.
    nodes: Waiter,
    /// Paths of items that are read again because the spool had no room the first time.
    again: BTreeSet<BundlePath>,
    pub(super) room: BudgetedEntries,
    pub(super) collected: Collected,
    pub(super) live: Vec<Live>,
}

type Ended = (Timestamp, Duration, Result<Outcome, WriteError>);

impl Scheduler {
    pub(super) fn new(
        work: Arc<Work>,
        collector: &Collector,
        snapshot: &Snapshot,
        collected: Collected,
        deadline: Instant,
    ) -> Self {
        Self {
            pace: collector.pace,
            deadline,
            target: snapshot.target.object.as_ref().map(|target| target.name.clone()),
            target_kind: snapshot.target.object.as_ref().map(|target| target.kind),
            velero: snapshot.installation.namespace.clone(),
            closed: BTreeSet::new(),
            nodes: collector.nodes.waiter(),
            again: BTreeSet::new(),
            room: BudgetedEntries::new(collector.shares.room, snapshot),
            collected,
            live: work.subjects.iter().map(|_| Live::default()).collect(),
            work,
        }
    }

    /// Sets a new deadline.
    pub(super) fn read_until(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Reads all items.
    pub(super) async fn all(&mut self, items: Vec<Item>, cancel: &CancellationToken) -> Result<(), CollectError> {
        let mut waiting: VecDeque<Item> = items.into();
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut at_work: BTreeMap<tokio::task::Id, Item> = BTreeMap::new();
        loop {
            let changed = self.nodes.changed();
            while running.len() < self.pace.at_once {
                let Some((item, permit)) = self.next(&mut waiting) else { break };
                let handle = running.spawn(self.begun(&item, permit).in_current_span());
                at_work.insert(handle.id(), item);
            }
            let full = running.len() >= self.pace.at_once;
            if full {
                // A collection that cannot use a slot now must not keep others from it.
                self.nodes.wait_at(&BTreeSet::new());
            }
            if running.is_empty() && waiting.is_empty() {
                return Ok(());
            }
            let joined = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(CollectError::Cancelled),
                Some(joined) = running.join_next_with_id() => joined,
                () = changed, if !full => continue,
                // Other collections may hold the slots until the deadline.
                () = sleep_until(self.deadline), if running.is_empty() => continue,
            };
            let (id, ended) = match joined {
                Ok((id, ended)) => (id, Ok(ended)),
                Err(error) => (error.id(), Err(error)),
            };
            let Some(item) = at_work.remove(&id) else { continue };
            if let Ok((_, _, Err(WriteError::Spool(error)))) = &ended
                && error.is_full()
                && self.again.insert(item.path.clone())
            {
                // Items read beside it have freed their room or stayed within their limits: if it fits at all, it fits
                // alone.
                self.pace.at_once = 1;
                waiting.push_front(item);
                continue;
            }
            self.work.progress.ended();
            if let Some(again) = self.ended(&item, ended).await? {
                self.work.progress.one_more();
                waiting.push_front(again);
            }
        }
    }

    /// Returns a future that reads the item; the slot at its node is held until it is done.
    fn begun(&mut self, item: &Item, permit: Option<NodePermit>) -> impl Future<Output = Ended> + Send + use<> {
        let (work, mut item) = (self.work.clone(), item.clone());
        if self.again.contains(&item.path) {
            tighten(&mut item, work.context.spool.free());
            work.captured.keep_less();
        }
        let limit = self.deadline.min(Instant::now() + self.pace.per_item);
        work.progress.began(&item.what);
        async move {
            let _permit = permit;
            let (at, began) = (Timestamp::now(), Instant::now());
            let outcome = read(&work, &item, limit).await;
            (at, began.elapsed(), outcome)
        }
    }

    /// Keeps the result of an item, or reports what is missing; returns an item to read instead, if there is one.
    async fn ended(&mut self, item: &Item, ended: Result<Ended, JoinError>) -> Result<Option<Item>, CollectError> {
        let path = item.path.as_str();
        let lost = match ended {
            Ok((at, took, Ok(mut outcome))) => {
                let again = outcome.again.take();
                self.keep(item, at, took, outcome).await?;
                return Ok(again.map(|again| *again));
            }
            Ok((_, _, Err(WriteError::Spool(error)))) if error.is_full() => no_room(&item.what, path, &error),
            Ok((_, _, Err(WriteError::Spool(error)))) => return Err(error.into()),
            Ok((_, _, Err(WriteError::Entry(error)))) => not_redacted(&item.what, path, &error),
            Err(error) => {
                tracing::error!(what = item.what, error = %error, "Reading an item panicked");
                let why = "reading it failed unexpectedly; this is a bug in the operator";
                withheld(&item.what, path, why)
            }
        };
        self.collected.missing.push(lost);
        Ok(None)
    }

    /// The first item whose node has a free slot, with that slot; items that cannot be read any more are reported on
    /// the way. Without such an item, waits at the nodes of all remaining ones.
    fn next(&mut self, waiting: &mut VecDeque<Item>) -> Option<(Item, Option<NodePermit>)> {
        let late = Instant::now() >= self.deadline;
        let (mut at, mut full) = (0, BTreeSet::new());
        while let Some(item) = waiting.get(at) {
            if self.application(item).is_some_and(|namespace| self.closed.contains(namespace)) {
                self.work.progress.ended();
                waiting.remove(at);
                continue;
            }
            let down = item.node.as_ref().and_then(|node| self.work.kubelets.down(node));
            if self.room.refuses(item) {
                self.work.progress.ended();
                waiting.remove(at);
                continue;
            }
            let unsearched = self.work.context.redactor.rules_are_over();
            if late || unsearched || down.is_some() {
                let lost = match down {
                    _ if late => too_late(item),
                    Some(down) if !unsearched => not_asked_again(item, &down),
                    _ => without_rules(&item.what, item.path.as_str()),
                };
                self.collected.missing.push(lost);
                self.work.progress.ended();
                waiting.remove(at);
                continue;
            }
            let Some(node) = &item.node else { return waiting.remove(at).map(|item| (item, None)) };
            if !full.contains(node) {
                if let Some(permit) = self.nodes.enter(node) {
                    return waiting.remove(at).map(|item| (item, Some(permit)));
                }
                full.insert(node.clone());
            }
            at += 1;
        }
        self.nodes.wait_at(&full);
        None
    }

    /// The namespace, if the item is a log outside Velero's namespace.
    fn application<'a>(&self, item: &'a Item) -> Option<&'a str> {
        item.source.application(&self.velero)
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
        let less = match item.source.class() {
            SourceClass::ContainerLog { .. } => self.again.contains(&item.path),
            SourceClass::List | SourceClass::Object | SourceClass::StoreFile | SourceClass::Discovery => false,
        };
        let honest = |(segment, source, truncated): EntryBody| (segment, source, for_want_of_room(truncated, less));
        self.room.take(item, bodies.into_iter().map(honest).collect(), read_at, ms);
        for (segment, source, truncated) in copies.into_iter().map(honest) {
            self.room.take_log(Entry { segment, source, truncated, read_at, ms }, true);
        }
        self.room = fitted(&self.work, std::mem::take(&mut self.room)).await?;
        let collected = &mut self.collected;
        collected.missing.extend(missing);
        collected.empty.extend(empty);
        collected.evidence.add(evidence);
        collected.evidence.add_diagnosed(diagnosed, item.path.as_str());
        if let Some((kind, name, results)) = results
            && self.target.as_deref() == Some(name.as_str())
            && self.target_kind == Some(kind)
        {
            collected.evidence.results = Some(results);
        }
        if velero_version.is_some() {
            collected.evidence.velero_version = velero_version;
        }
        Ok(())
    }
}

/// Lowers the limit of a log that did not fit, so that it fits. A quarter of the free room is safe: the log is
/// compressed, but what is found in it takes room of its own.
fn tighten(item: &mut Item, free: u64) {
    match &mut item.source {
        ItemSource::PodLog { limit, .. } => *limit = (free / 4).clamp(1, *limit),
        ItemSource::List { .. }
        | ItemSource::Named { .. }
        | ItemSource::Object { .. }
        | ItemSource::Store { .. }
        | ItemSource::Discovery { .. } => {}
    }
}

/// A limit that was set for lack of room is reported as such, not as a limit that the user asked for.
fn for_want_of_room(truncated: Option<Truncation>, less: bool) -> Option<Truncation> {
    let mut truncated = truncated?;
    if less && truncated.reason == TruncationReason::Limit {
        truncated.reason = TruncationReason::Budget;
    }
    Some(truncated)
}

fn not_asked_again(item: &Item, down: &NodeDown) -> Missing {
    let why = format!("not requested again: {}", down.why);
    let (code, severity) = (MissingCode::NodeUnreachable, MissingSeverity::Error);
    missing(&item.what, item.path.as_str(), code, severity, &why, down.cure)
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
            let which = logs::ContainerLogRef {
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
