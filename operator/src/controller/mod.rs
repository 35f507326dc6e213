//! Watches DebugBundles in Velero's namespace and does what `decide` returns. Runs wait in [`queue`] and then have a
//! task each; all other steps are short. The run itself is in `run`, which does not depend on controllers.

mod claim;
mod deleted;
mod holder;
mod journal;
mod malformed;
mod queue;
mod sessions;
mod slots;
mod startup;
mod url;
mod work;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use debugbundle_crd::{DebugBundle, FINALIZER, Phase, Reason};
use futures::{
    FutureExt as _, StreamExt as _,
    channel::mpsc::{UnboundedSender, unbounded},
    stream,
};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _, applier,
        controller::{Action, Config, ReconcileRequest, trigger_self},
        reflector::{self, ObjectRef, Store, reflector},
    },
};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

pub use crate::error::Fault;
use crate::{
    automatic::{self, Automatic},
    client::in_time,
    decide::{self, Step},
    election::Leadership,
    health::Health,
    metrics::Metrics,
    notify::Notifier,
    observed::Observed,
    run::Engine,
    status::StatusBuilder,
    sweep::record::Record,
};
use claim::Claim;
use deleted::{Deleted, Deletions};
use queue::{BundleQueue, Turn};
pub use slots::share_mib;
use slots::{CollectionSlot, CollectionSlots};

type Guarded = DeserializeGuard<DebugBundle>;

/// DebugBundles in one page of a list: their statuses are large, and memory holds a whole page.
const PAGE: u32 = 100;
/// Concurrent steps that ask only the API server.
const STEPS: usize = 8;
/// Concurrent steps that also ask a store, which may be silent.
const STORE_STEPS: usize = 8;
/// How soon a run is decided again after its object changed: meanwhile the watch delivers the change.
const AFTER_A_CHANGE: Duration = Duration::from_secs(1);

/// What an instance of the operator was started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Velero's namespace; DebugBundles in other namespaces are ignored.
    pub namespace: String,
    /// Name of this instance: the Pod's.
    pub instance: String,
    /// Folder for collected data until the store has it.
    pub spool: PathBuf,
    /// Bundles that are collected at the same time.
    pub max_concurrent: usize,
    /// The most MiB that all bundles together keep in the spool.
    pub spool_limit_mib: u32,
    /// How long an upload is retried.
    pub upload_timeout: Duration,
    /// How long deleting an object from the store is retried; then it is left to the next sweep.
    pub delete_timeout: Duration,
    /// The longest time for which a download URL is signed, even if a resource asks for more.
    pub max_url_ttl: Duration,
}

/// Shared by all reconciles.
struct Context {
    client: Client,
    api: Api<DebugBundle>,
    leadership: Leadership,
    seen: Store<Observed>,
    engine: Arc<Engine>,
    notifier: Arc<Notifier>,
    queue: BundleQueue,
    deletions: Deletions,
    record: Arc<Record>,
    runs: TaskTracker,
    /// Brings a DebugBundle back to `reconcile`.
    again: UnboundedSender<ObjectRef<Observed>>,
    steps: Semaphore,
    store_steps: Semaphore,
    settings: Settings,
    shutdown: CancellationToken,
    metrics: Metrics,
    /// Set as soon as DebugBundles can be listed: until then a leader makes no bundle.
    able: AtomicBool,
}

impl Context {
    #[allow(clippy::unused_self, reason = "the one place that knows the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Works while this instance leads, until the operator is asked to stop; running work is stopped then, except for
/// deletions, and the next instance continues it. An instance that leads no longer finishes what it has claimed. With
/// `automatic`, a client of their own, DebugBundles are created for Backups and Restores that end badly or hang. The loop
/// beats while it is not stuck.
pub async fn run(
    client: Client,
    automatic: Option<Client>,
    engine: Arc<Engine>,
    record: Arc<Record>,
    leadership: Leadership,
    settings: Settings,
    Health { heartbeat, shutdown, metrics }: Health,
) {
    let guarded: Api<Guarded> = Api::namespaced(client.clone(), &settings.namespace);
    let (seen, writer) = reflector::store();
    let (again, woken) = unbounded();
    let (deletions, deleted) = Deletions::new(Arc::clone(&record));
    let context = Arc::new(Context {
        api: Api::namespaced(client.clone(), &settings.namespace),
        leadership,
        seen: seen.clone(),
        engine,
        notifier: Arc::new(Notifier::new(client.clone(), settings.instance.clone(), metrics.clone())),
        queue: BundleQueue::new(CollectionSlots::new(settings.max_concurrent, settings.spool_limit_mib)),
        deletions,
        record,
        runs: TaskTracker::new(),
        again,
        steps: Semaphore::new(STEPS),
        store_steps: Semaphore::new(STORE_STEPS),
        client,
        settings,
        shutdown,
        metrics,
        able: AtomicBool::new(false),
    });
    watch_gauges(&context);
    let cleaning = tokio::spawn(deleted::work_off(deleted, Arc::clone(&context)));
    let changes = reflector(writer, sessions::watch(guarded, Arc::clone(&context)));
    let automatic = automatic.map(|client| {
        let automatic = Automatic {
            client,
            namespace: context.settings.namespace.clone(),
            bundles: context.seen.clone(),
            notifier: Arc::clone(&context.notifier),
        };
        let leadership = context.leadership.clone();
        let work = async move { leadership.in_each_term(|over| automatic::run(automatic.clone(), over)).await };
        AbortOnDropHandle::new(tokio::spawn(work))
    });
    let woken = woken.map(|reference| Ok(ReconcileRequest::from(reference)));
    let wanted = stream::select(trigger_self(changes.applied_objects(), ()), woken);
    let wanted = stream::select(wanted, heartbeat.beats());
    let reconciles = applier(
        |seen, context| reconcile(seen, context).boxed(),
        error_policy,
        Arc::clone(&context),
        seen,
        wanted.take_until(context.shutdown.clone().cancelled_owned()),
        Config::default().debounce(Duration::from_millis(50)),
    )
    .for_each(|done| async move {
        if let Err(kube::runtime::controller::Error::QueueError(error)) = done {
            tracing::warn!(%error, "Watch of DebugBundles was interrupted");
        }
    });
    tokio::select! {
        () = reconciles => {}
        () = stopped_before_a_list(&context) => {}
    }
    context.shutdown.cancel();
    if let Some(automatic) = automatic {
        // It ends with the token; a panic in it was logged when it happened.
        let _ = automatic.await;
    }
    context.runs.close();
    context.runs.wait().await;
    // As the automatic part.
    let _ = cleaning.await;
}

/// Has the gauges set before each scrape.
fn watch_gauges(context: &Arc<Context>) {
    let weak = Arc::downgrade(context);
    context.metrics.at_each_scrape(move |gauges| {
        let Some(ctx) = weak.upgrade() else { return };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (waiting, under_way) = ctx.queue.counts();
        let (reserved, room) = ctx.queue.places.reserved();
        gauges.queued.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        gauges.under_way.set(i64::try_from(under_way).unwrap_or(i64::MAX));
        gauges.spool_reserved.set(number(reserved));
        gauges.spool_limit.set(number(room));
        gauges.leader.set(i64::from(ctx.leadership.leads() && ctx.able.load(Ordering::Relaxed)));
    });
}

/// The watch reports that a DebugBundle is gone.
fn went(gone: &Guarded, ctx: &Arc<Context>) {
    match &gone.0 {
        Ok(bundle) => {
            ctx.queue.remove(bundle.metadata.uid.as_deref().unwrap_or_default());
            if let Some(deleted) = Deleted::of(bundle) {
                forget(deleted, ctx);
            }
        }
        Err(bad) => {
            ctx.queue.remove(bad.metadata.uid.as_deref().unwrap_or_default());
            tracing::info!(
                name = bad.metadata.name,
                "A DebugBundle that cannot be read was deleted; the next sweep deletes its object"
            );
        }
    }
}

/// Has a DebugBundle that is gone cleaned up: now, or as soon as its run has ended.
fn forget(deleted: Deleted, ctx: &Context) {
    ctx.record.seen_deleted(deleted.uid());
    if let Some(deleted) = ctx.queue.deleted(deleted) {
        ctx.deletions.add(deleted);
    }
}

/// An instance that only stood by has nothing to finish, and the applier would wait for its first list for ever.
async fn stopped_before_a_list(ctx: &Context) {
    ctx.shutdown.cancelled().await;
    if ctx.seen.wait_until_ready().now_or_never().is_some() {
        std::future::pending::<()>().await;
    }
}

async fn reconcile(seen: Arc<Observed>, ctx: Arc<Context>) -> Result<Action, Fault> {
    if ctx.queue.is_under_way(seen.uid()) {
        return Ok(Action::await_change()); // the end of its run triggers the next reconcile
    }
    if seen.phase.is_terminal() && ctx.engine.spool_of(&ctx.settings.spool, seen.uid()).exists() {
        work::remove(&ctx, seen.uid()); // another instance finished what this one had begun
    }
    let step = decide::decide(&seen, ctx.now());
    if !holder::may_act(&seen, &step, &ctx).await? {
        ctx.queue.remove(seen.uid());
        // A leader waits for the end of the holder's pod. To an instance that stands by, everything comes anew.
        return Ok(if ctx.leadership.leads() { Action::requeue(holder::LOOK_AGAIN) } else { Action::await_change() });
    }
    if let Step::Run { attempt, resume } = step {
        return wait_for_a_place(&seen, attempt, resume, &ctx).await;
    }
    ctx.queue.remove(seen.uid());
    let permit = match step {
        Step::Rest(until) => return Ok(rest(until, ctx.now())),
        Step::AnswerRenewal(_) => ctx.store_steps.acquire().await,
        _ => ctx.steps.acquire().await,
    };
    let result = match permit {
        Ok(_permit) if step == Step::Malformed => Box::pin(malformed::report(&seen, &ctx)).await,
        Ok(_permit) if step == Step::Release => Box::pin(release(&seen, &ctx)).await,
        Ok(_permit) => Box::pin(do_step(&seen, &step, &ctx)).await,
        Err(_) => Err(Fault::Cancelled),
    };
    start_waiting(&ctx);
    match result {
        Err(Fault::Lost | Fault::Cancelled) => Ok(Action::await_change()),
        other => other,
    }
}

/// Does a step other than a run, on the live object: the cache lags behind our own writes.
async fn do_step(seen: &Observed, step: &Step, ctx: &Arc<Context>) -> Result<Action, Fault> {
    let Some(live) = claim::live(&ctx.api, &seen.name_any(), seen.uid()).await? else { return Err(Fault::Lost) };
    let live_seen = Observed::of(&live);
    let live_step = decide::decide(&live_seen, ctx.now());
    if std::mem::discriminant(&live_step) != std::mem::discriminant(step)
        || !holder::may_act(&live_seen, &live_step, ctx).await?
    {
        return Err(Fault::Lost);
    }
    match live_step {
        Step::Settle(reason) => settle(live, reason, ctx).await,
        Step::Expire => expire(&live, ctx).await,
        Step::ClearUrl => url::clear(&live, ctx).await,
        Step::AnswerRenewal(asked) => url::renew(live, &asked, ctx).await,
        Step::Run { .. } | Step::Rest(_) | Step::Malformed | Step::Release => Ok(Action::await_change()),
    }
}

/// Queues a bundle, starts the runs that may start, and writes phase Queued if a new bundle has to wait.
async fn wait_for_a_place(seen: &Observed, attempt: i64, resume: bool, ctx: &Arc<Context>) -> Result<Action, Fault> {
    let spool = ctx.engine.spool_of(&ctx.settings.spool, seen.uid());
    let sealed = if resume { debugbundle_archive::Spool::sealed_bytes(&spool) } else { None };
    ctx.queue.add(Turn::of(seen, attempt, resume, sealed));
    start_waiting(ctx);
    if seen.phase == Phase::New && ctx.queue.is_waiting(seen.uid()) {
        let _permit = ctx.steps.acquire().await.map_err(|_| Fault::Cancelled)?;
        if ctx.queue.is_waiting(seen.uid()) {
            return queued(seen, ctx).await;
        }
    }
    Ok(Action::await_change())
}

/// Writes phase Queued. A bundle that has changed meanwhile comes back by the watch.
async fn queued(seen: &Observed, ctx: &Context) -> Result<Action, Fault> {
    let meta = seen.meta();
    let status = StatusBuilder::new(None, meta.generation, ctx.now())
        .trigger(seen.trigger())
        .queued(ctx.settings.max_concurrent)
        .done();
    let patch = claim::whole_status(meta.resource_version.as_deref(), &status);
    match claim::patch_status_raw(&ctx.client, meta, &patch).await {
        Ok(_) => Ok(Action::await_change()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(Action::await_change()),
        Err(error) => Err(Fault::api(error)),
    }
}

/// Starts the runs for which slots are free. Called whenever a bundle arrived or a slot may be free.
fn start_waiting(ctx: &Arc<Context>) {
    while !ctx.shutdown.is_cancelled()
        && let Some((turn, place)) = ctx.queue.begin()
    {
        ctx.runs.spawn(one_run(turn, place, Arc::clone(ctx)));
    }
}

/// A run, followed, after a fault that may pass, by the pause before the next attempt.
async fn one_run(turn: Turn, place: CollectionSlot, ctx: Arc<Context>) {
    let under_way = UnderWay { uid: turn.uid.clone(), name: turn.name.clone(), ctx: Arc::clone(&ctx) };
    let (cancel, _following) = follow_deletion(&turn, &ctx);
    let result = Box::pin(work::to_the_end(&turn, place, &ctx, &cancel)).await;
    start_waiting(&ctx);
    let pause = match result {
        Ok(()) | Err(Fault::Cancelled) => Duration::ZERO,
        Err(Fault::Lost) => AFTER_A_CHANGE,
        Err(fault) => pause_after(&turn.name, turn.attempt, &fault),
    };
    let _ = tokio::time::timeout(pause, cancel.cancelled()).await;
    if cancel.is_cancelled() && !ctx.shutdown.is_cancelled() {
        work::remove(&ctx, &turn.uid); // its DebugBundle is gone, perhaps unseen by the watch
    }
    drop(under_way);
}

/// A bundle is under way while this value lives, even if its task panics.
struct UnderWay {
    uid: String,
    name: String,
    ctx: Arc<Context>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(deleted) = self.ctx.queue.ended(&self.uid) {
            self.ctx.deletions.add(deleted);
        }
        let reference = ObjectRef::new(&self.name).within(&self.ctx.settings.namespace);
        // Fails only when the operator ends and no receiver is left.
        let _ = self.ctx.again.unbounded_send(reference);
        start_waiting(&self.ctx);
    }
}

/// Handles transient faults only: faults that a person has to mend are in status already.
#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn error_policy(seen: Arc<Observed>, fault: &Fault, _: Arc<Context>) -> Action {
    Action::requeue(pause_after(&seen.name_any(), seen.attempts, fault))
}

fn pause_after(name: &str, attempts: i64, fault: &Fault) -> Duration {
    let pause = Duration::from_secs(5 << attempts.clamp(1, 5).saturating_sub(1));
    tracing::warn!(name, reason = fault.reason().as_str(), error = %fault, pause = ?pause, "Will be tried again");
    pause
}

/// At most a day at a time, so that a clock that jumps is noticed.
fn rest(until: Option<Timestamp>, now: Timestamp) -> Action {
    const LONGEST: Duration = Duration::from_hours(24);
    match until {
        None => Action::await_change(),
        Some(until) => {
            Action::requeue(until.duration_since(now).unsigned_abs().clamp(Duration::from_millis(100), LONGEST))
        }
    }
}

async fn settle(bundle: DebugBundle, reason: Reason, ctx: &Arc<Context>) -> Result<Action, Fault> {
    let message = match reason {
        Reason::RestoredFromBackup => {
            "Velero restored this DebugBundle from a backup, so it is not run again; create another one".to_owned()
        }
        Reason::Interrupted => {
            let status = bundle.status.as_ref();
            let attempts = status.and_then(|s| s.attempts).unwrap_or(decide::MAX_ATTEMPTS);
            match status.and_then(|s| s.phase) {
                Some(Phase::Uploading) => {
                    format!("the operator was interrupted {attempts} times before the bundle was stored")
                }
                _ => format!("the operator was interrupted {attempts} times while it collected"),
            }
        }
        _ => reason.to_string(),
    };
    let mine = Claim::new(ctx.client.clone(), ctx.api.clone(), bundle);
    work::end_without(&mine, reason, &message, ctx).await?;
    Ok(Action::await_change())
}

/// Removes the finalizer of earlier versions. Only metadata is read and written: the resource need not be readable.
async fn release(seen: &Observed, ctx: &Context) -> Result<Action, Fault> {
    let name = seen.name_any();
    let live = in_time(ctx.api.get_metadata_opt(&name)).await.map_err(Fault::api)?;
    let Some(live) = live.filter(|live| live.metadata.uid.as_deref() == Some(seen.uid())) else {
        return Err(Fault::Lost);
    };
    let others: Vec<&String> = live.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    let patch = json!({ "metadata": { "finalizers": others, "resourceVersion": live.resource_version() } });
    match in_time(ctx.api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch))).await {
        Ok(_) => {
            tracing::info!(name, "Removed the finalizer of an earlier version");
            Ok(Action::await_change())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::await_change()),
        // Somebody changed it: it comes back by the watch, or soon.
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Action::requeue(AFTER_A_CHANGE)),
        Err(error) => Err(Fault::api(error)),
    }
}

async fn expire(bundle: &DebugBundle, ctx: &Context) -> Result<Action, Fault> {
    tracing::info!(name = bundle.name_any(), "Time to live is over");
    ctx.notifier.normal(bundle, Reason::Expired, "the ttl is over; the bundle and the DebugBundle are deleted").await;
    let only_this = DeleteParams {
        preconditions: Some(kube::api::Preconditions { uid: bundle.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    match in_time(ctx.api.delete(&bundle.name_any(), &only_this)).await {
        Ok(_) => Ok(Action::await_change()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(Action::await_change()),
        Err(error) => Err(Fault::api(error)),
    }
}

/// Cancels the token when the watch sees that the object is deleted, replaced or gone.
fn follow_deletion(turn: &Turn, ctx: &Arc<Context>) -> (CancellationToken, AbortOnDropHandle<()>) {
    let token = ctx.shutdown.child_token();
    let (cancel, context, uid) = (token.clone(), Arc::clone(ctx), turn.uid.clone());
    let reference = ObjectRef::<Observed>::new(&turn.name).within(&ctx.settings.namespace);
    let task = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let alive = context.seen.get(&reference).is_some_and(|seen| seen.uid() == uid && !seen.deleting);
            if !alive {
                cancel.cancel();
                return;
            }
        }
    });
    (token, AbortOnDropHandle::new(task))
}
