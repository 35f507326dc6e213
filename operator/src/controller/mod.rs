//! Watches DebugBundles in Velero's namespace and does what `decide` says. Runs wait in [`queue`] and then have a task each; all
//! other steps are short. The run itself is in `run`, which knows nothing of controllers.

mod finalize;
mod mine;
mod places;
mod queue;
mod url;
mod work;

use std::{path::PathBuf, sync::Arc, time::Duration};

use debugbundle_crd::{DebugBundle, DebugBundleStatus, Phase, Reason};
use futures::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    channel::mpsc::{UnboundedSender, unbounded},
    stream,
};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DeleteParams, ListParams},
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::{
        WatchStreamExt as _, applier,
        controller::{Action, Config, ReconcileRequest, trigger_self},
        reflector::{self, ObjectRef, Store, reflector},
        watcher::{self, Event, watcher},
    },
};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::error::Fault;
use crate::{
    decide::{self, Step},
    notify::Notifier,
    observed::Observed,
    run::Engine,
    status::Fold,
};
use mine::{Mine, in_time};
pub use places::share_mib;
use places::{Place, Places};
use queue::{Queue, Turn};

type Guarded = DeserializeGuard<DebugBundle>;

/// DebugBundles in one page of a list: their statuses are large, and a page is in memory whole.
const PAGE: u32 = 100;
/// Steps that ask the API server alone, at the same time.
const STEPS: usize = 8;
/// Steps that also ask a store, which may be silent, at the same time.
const STORE_STEPS: usize = 8;
/// How soon a run is thought about again that found its object changed: the watch brings the change meanwhile.
const AFTER_A_CHANGE: Duration = Duration::from_secs(1);

/// What an instance of the operator was started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Velero's namespace; DebugBundles elsewhere are not seen.
    pub namespace: String,
    /// Name of this instance: the Pod's.
    pub instance: String,
    /// Folder for what is collected until it is in the store.
    pub spool: PathBuf,
    /// Bundles that are collected at the same time.
    pub max_concurrent: usize,
    /// The most MiB that all bundles together keep in the spool.
    pub spool_limit_mib: u32,
    /// How long an upload is tried.
    pub upload_timeout: Duration,
    /// How long the deletion of an object in the store is tried before the resource goes without it.
    pub delete_timeout: Duration,
    /// The longest for which a download URL is signed, whatever a resource asks for.
    pub max_url_ttl: Duration,
}

/// What every reconcile needs.
struct Context {
    client: Client,
    api: Api<DebugBundle>,
    seen: Store<Observed>,
    engine: Arc<Engine>,
    notifier: Notifier,
    queue: Queue,
    runs: TaskTracker,
    /// Brings a DebugBundle back to `reconcile`.
    again: UnboundedSender<ObjectRef<Observed>>,
    steps: Semaphore,
    store_steps: Semaphore,
    settings: Settings,
    shutdown: CancellationToken,
}

impl Context {
    #[allow(clippy::unused_self, reason = "the one place that knows the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Runs until `shutdown` is cancelled; what is under way is stopped then, and taken up by the next instance.
pub async fn run(client: Client, engine: Arc<Engine>, settings: Settings, shutdown: CancellationToken) {
    let api: Api<DebugBundle> = Api::namespaced(client.clone(), &settings.namespace);
    let guarded: Api<Guarded> = Api::namespaced(client.clone(), &settings.namespace);
    if !until_served(&api, &shutdown).await {
        return;
    }
    let places = Places::new(settings.max_concurrent, settings.spool_limit_mib);
    sweep(&guarded, &engine, &settings, &places).await;
    tracing::info!("Operator is ready");
    let (seen, writer) = reflector::store();
    let (again, woken) = unbounded();
    let context = Arc::new(Context {
        api,
        seen: seen.clone(),
        engine,
        notifier: Notifier::new(client.clone(), settings.instance.clone()),
        queue: Queue::new(places),
        runs: TaskTracker::new(),
        again,
        steps: Semaphore::new(STEPS),
        store_steps: Semaphore::new(STORE_STEPS),
        client,
        settings,
        shutdown,
    });
    let watch = watcher(guarded, watcher::Config::default().page_size(PAGE)).default_backoff().map_ok(observed);
    let forgetting = Arc::clone(&context);
    let changes = reflector(writer, watch).inspect_ok(move |event| {
        if let Event::Delete(gone) = event {
            forgetting.queue.remove(gone.uid());
        }
    });
    let woken = woken.map(|reference| Ok(ReconcileRequest::from(reference)));
    let wanted = stream::select(trigger_self(changes.applied_objects(), ()), woken);
    applier(
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
    })
    .await;
    context.runs.close();
    context.runs.wait().await;
}

/// Of each object what a decision needs.
fn observed(event: Event<Guarded>) -> Event<Observed> {
    match event {
        Event::Apply(bundle) => Event::Apply(Observed::of_guarded(&bundle)),
        Event::Delete(bundle) => Event::Delete(Observed::of_guarded(&bundle)),
        Event::Init => Event::Init,
        Event::InitApply(bundle) => Event::InitApply(Observed::of_guarded(&bundle)),
        Event::InitDone => Event::InitDone,
    }
}

/// Waits until DebugBundles can be listed, and says what is in the way: the CRD, a permission, the API server itself.
/// False if the operator was told to stop meanwhile.
async fn until_served(api: &Api<DebugBundle>, shutdown: &CancellationToken) -> bool {
    let mut pause = Duration::from_secs(1);
    loop {
        let failure = match in_time(api.list_metadata(&ListParams::default().limit(1))).await {
            Ok(_) => return true,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                "DebugBundles are not served: install their CustomResourceDefinition (kubectl apply -f deploy/crd.yaml)"
                    .to_owned()
            }
            Err(error) => crate::error::api_sentence(&error),
        };
        tracing::warn!(failure, pause = ?pause, "DebugBundles cannot be listed; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(30)),
            () = shutdown.cancelled() => return false,
        }
    }
}

/// Removes what processes that ended left in the spool of DebugBundles that need it no more. What is not ours stays, and what
/// was sealed and still has to be sent keeps its room.
async fn sweep(api: &Api<Guarded>, engine: &Engine, settings: &Settings, places: &Places) {
    let folders = engine.spools(&settings.spool);
    if folders.is_empty() {
        return;
    }
    let unfinished = match unfinished(api).await {
        Ok(unfinished) => unfinished,
        Err(error) => {
            let failure = crate::error::api_sentence(&error);
            tracing::warn!(failure, "Left-overs in the spool are looked for at the next start");
            return;
        }
    };
    let needed: std::collections::BTreeMap<PathBuf, String> =
        unfinished.into_iter().map(|uid| (engine.spool_of(&settings.spool, &uid), uid)).collect();
    for folder in folders {
        let Some(uid) = needed.get(&folder) else {
            tracing::info!(folder = %folder.display(), "Removing a left-over of the spool");
            work::remove_folder(&folder);
            continue;
        };
        if let Some(bytes) = crate::archive::Spool::sealed_bytes(&folder) {
            places.left_over(uid, bytes);
        }
    }
}

/// The UIDs of all DebugBundles that are not at their end.
async fn unfinished(api: &Api<Guarded>) -> Result<Vec<String>, kube::Error> {
    let mut uids = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = in_time(api.list(&page)).await?;
        let seen = listed.items.iter().map(Observed::of_guarded);
        let open = seen.filter(|seen| !seen.malformed && !seen.phase.is_terminal());
        uids.extend(open.map(|seen| seen.uid().to_owned()));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(uids),
        }
    }
}

async fn reconcile(seen: Arc<Observed>, ctx: Arc<Context>) -> Result<Action, Fault> {
    if ctx.queue.is_under_way(seen.uid()) {
        return Ok(Action::await_change()); // the end of its run brings it back here
    }
    let step = decide::decide(&seen, ctx.now());
    if let Step::Run { attempt, resume } = step {
        return wait_for_a_place(&seen, attempt, resume, &ctx).await;
    }
    ctx.queue.remove(seen.uid());
    let permit = match step {
        Step::Rest(until) => return Ok(rest(until, ctx.now())),
        Step::Finalize | Step::AnswerRenewal(_) => ctx.store_steps.acquire().await,
        _ => ctx.steps.acquire().await,
    };
    let result = match permit {
        Ok(_permit) if step == Step::Malformed => Box::pin(malformed(&seen, &ctx)).await,
        Ok(_permit) => Box::pin(do_step(&seen, &step, &ctx)).await,
        Err(_) => Err(Fault::Cancelled),
    };
    start_waiting(&ctx);
    match result {
        Err(Fault::Lost | Fault::Cancelled) => Ok(Action::await_change()),
        other => other,
    }
}

/// Does a step that is no run, on the object as it is now: not on the word of a cache that lags behind our own writes.
async fn do_step(seen: &Observed, step: &Step, ctx: &Arc<Context>) -> Result<Action, Fault> {
    let Some(live) = mine::live(&ctx.api, &seen.name_any(), seen.uid()).await? else { return Err(Fault::Lost) };
    let live_step = decide::decide(&Observed::of(&live), ctx.now());
    if std::mem::discriminant(&live_step) != std::mem::discriminant(step) {
        return Err(Fault::Lost);
    }
    match live_step {
        Step::Settle(reason) => settle(live, reason, ctx).await,
        Step::Finalize => finalize::finalize(&live, ctx).await,
        Step::Expire => expire(&live, ctx).await,
        Step::Protect => protect(live, ctx).await,
        Step::ClearUrl => url::clear(&live, ctx).await,
        Step::AnswerRenewal(asked) => url::renew(live, &asked, ctx).await,
        Step::Run { .. } | Step::Rest(_) | Step::Malformed => Ok(Action::await_change()),
    }
}

/// Queues a bundle, starts what may start, and says of a new bundle that has to wait that it is Queued.
async fn wait_for_a_place(seen: &Observed, attempt: i64, resume: bool, ctx: &Arc<Context>) -> Result<Action, Fault> {
    let spool = ctx.engine.spool_of(&ctx.settings.spool, seen.uid());
    let sealed = if resume { crate::archive::Spool::sealed_bytes(&spool) } else { None };
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

/// Writes that a bundle waits. A bundle that has changed meanwhile comes back by the watch.
async fn queued(seen: &Observed, ctx: &Context) -> Result<Action, Fault> {
    let meta = seen.meta();
    let status = Fold::new(None, meta.generation, ctx.now()).queued(ctx.settings.max_concurrent).done();
    let patch = mine::whole_status(meta.resource_version.as_deref(), &status);
    match mine::patch_status_raw(&ctx.client, meta, &patch).await {
        Ok(_) => Ok(Action::await_change()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(Action::await_change()),
        Err(error) => Err(Fault::api(error)),
    }
}

/// Starts the runs for which there are places now. Called whenever a bundle came or a place may have become free.
fn start_waiting(ctx: &Arc<Context>) {
    while !ctx.shutdown.is_cancelled()
        && let Some((turn, place)) = ctx.queue.begin()
    {
        ctx.runs.spawn(one_run(turn, place, Arc::clone(ctx)));
    }
}

/// A run, and after a fault that may go away the pause before the next attempt.
async fn one_run(turn: Turn, place: Place, ctx: Arc<Context>) {
    let under_way = UnderWay { uid: turn.uid.clone(), name: turn.name.clone(), ctx: Arc::clone(&ctx) };
    let (cancel, _following) = follow_deletion(&turn, &ctx);
    let result = Box::pin(work::to_the_end(&turn, place, &ctx, &cancel)).await;
    start_waiting(&ctx);
    let pause = match result {
        Ok(()) | Err(Fault::Cancelled) => return,
        Err(Fault::Lost) => AFTER_A_CHANGE,
        Err(fault) => pause_after(&turn.name, turn.attempt, &fault),
    };
    let _ = tokio::time::timeout(pause, cancel.cancelled()).await;
    drop(under_way);
}

/// A bundle is under way as long as this lives, also when its task panics.
struct UnderWay {
    uid: String,
    name: String,
    ctx: Arc<Context>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.ctx.queue.ended(&self.uid);
        let reference = ObjectRef::new(&self.name).within(&self.ctx.settings.namespace);
        // Nobody listens any more when the operator ends.
        let _ = self.ctx.again.unbounded_send(reference);
        start_waiting(&self.ctx);
    }
}

/// Transient faults only: what a person has to mend is in status already.
#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn error_policy(seen: Arc<Observed>, fault: &Fault, _: Arc<Context>) -> Action {
    Action::requeue(pause_after(&seen.name_any(), seen.attempts, fault))
}

fn pause_after(name: &str, attempts: i64, fault: &Fault) -> Duration {
    let pause = Duration::from_secs(5 << attempts.clamp(1, 5).saturating_sub(1));
    tracing::warn!(name, reason = fault.reason().as_str(), error = %fault, pause = ?pause, "Will be tried again");
    pause
}

/// Never longer than a day at a time, so that a clock that jumps is noticed.
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
            "this DebugBundle came out of a Velero backup and is not run again; create another one".to_owned()
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
    let mine = Mine::new(ctx.client.clone(), ctx.api.clone(), bundle);
    work::end_without(&mine, reason, &message, ctx).await?;
    Ok(Action::await_change())
}

/// Somebody took the finalizer off: without it the stored object would outlive the resource.
async fn protect(bundle: DebugBundle, ctx: &Context) -> Result<Action, Fault> {
    Mine::new(ctx.client.clone(), ctx.api.clone(), bundle).add_finalizer().await?;
    Ok(Action::await_change())
}

async fn expire(bundle: &DebugBundle, ctx: &Context) -> Result<Action, Fault> {
    tracing::info!(name = bundle.name_any(), "Time to live is over");
    ctx.notifier.normal(bundle, Reason::Expired, "time to live is over; bundle and resource are deleted").await;
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

/// A resource that cannot be read stalls nobody, and says so in its status. Written such that a second time changes
/// nothing: the time is that of the object's creation.
async fn malformed(seen: &Observed, ctx: &Context) -> Result<Action, Fault> {
    let guarded: Api<Guarded> = Api::namespaced(ctx.client.clone(), &ctx.settings.namespace);
    let Some(live) = in_time(guarded.get_opt(&seen.name_any())).await.map_err(Fault::api)? else {
        return Err(Fault::Lost);
    };
    match &live.0 {
        Err(bad) if bad.metadata.uid.as_deref() == Some(seen.uid()) => told_malformed(bad, ctx).await,
        _ => Err(Fault::Lost),
    }
}

async fn told_malformed(bad: &InvalidObject, ctx: &Context) -> Result<Action, Fault> {
    let meta = &bad.metadata;
    let created = meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let message = format!("the resource cannot be read: {}", bad.error);
    let mut shell =
        DebugBundle::new(&meta.name.clone().unwrap_or_default(), debugbundle_crd::DebugBundleSpec::installation());
    shell.metadata = meta.clone();
    if meta.deletion_timestamp.is_some() {
        if decide::has_finalizer(&shell) {
            let left = stored_by(&shell, ctx).await?;
            ctx.notifier.warning(&shell, Reason::NotDeleted, &format!("{left}{message}")).await;
            Mine::new(ctx.client.clone(), ctx.api.clone(), shell).remove_finalizer().await?;
        }
        return Ok(Action::await_change());
    }
    let status = Fold::new(None, meta.generation, created).failed(Reason::Malformed, &message, Timestamp::MAX).done();
    // What is on record of a stored bundle stays: whoever deletes the resource has to know where it is.
    let bundle = raw(&shell, ctx).await?.and_then(|raw| serde_json::from_value(raw["status"]["bundle"].clone()).ok());
    let status = DebugBundleStatus {
        phase: Some(Phase::Failed),
        conditions: status.conditions,
        bundle,
        ..DebugBundleStatus::default()
    };
    let conditions = json!([{ "op": "add", "path": "/status", "value": status }]);
    let written = mine::patch_status_raw(&ctx.client, meta, &conditions).await.map_err(Fault::api)?;
    if written["metadata"]["resourceVersion"].as_str() != meta.resource_version.as_deref() {
        ctx.notifier.warning(&shell, Reason::Malformed, &message).await;
    }
    Ok(Action::await_change())
}

/// The resource as it is, for one that is no DebugBundle by its types, and perhaps no object by its metadata.
async fn raw(shell: &DebugBundle, ctx: &Context) -> Result<Option<serde_json::Value>, Fault> {
    let path = DebugBundle::url_path(&(), Some(&ctx.settings.namespace));
    let request = http::Request::get(format!("{path}/{}", shell.name_any()));
    let request = request.body(Vec::new()).map_err(|error| Fault::api(kube::Error::HttpError(error)))?;
    match in_time(ctx.client.request::<serde_json::Value>(request)).await {
        Ok(found) => Ok(Some(found).filter(|found| found["metadata"]["uid"].as_str() == shell.metadata.uid.as_deref())),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(Fault::api(error)),
    }
}

/// Where its status says that a bundle is. Only told: what a status says is not to be deleted by.
async fn stored_by(shell: &DebugBundle, ctx: &Context) -> Result<String, Fault> {
    let Some(raw) = raw(shell, ctx).await? else { return Ok(String::new()) };
    let text = |field: &str| raw.pointer(&format!("/status/bundle/{field}")).and_then(|value| value.as_str());
    Ok(match (text("bucket"), text("key")) {
        (Some(bucket), Some(key)) => format!("a bundle may be left in bucket {bucket} key {key}; "),
        _ => String::new(),
    })
}

/// Cancels the token when the object is deleted, replaced or gone, as the watch sees it.
fn follow_deletion(turn: &Turn, ctx: &Arc<Context>) -> (CancellationToken, tokio_util::task::AbortOnDropHandle<()>) {
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
    (token, tokio_util::task::AbortOnDropHandle::new(task))
}
