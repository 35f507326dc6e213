//! Watches DebugBundles in Velero's namespace and does what `decide` says: the only user of kube's `Controller`.
//! The run itself is in `run`, which knows nothing of controllers.

mod finalize;
mod mine;
mod places;
mod url;
mod work;

use std::{path::PathBuf, sync::Arc, time::Duration};

use debugbundle_crd::{DebugBundle, DebugBundleStatus, Phase, Reason};
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DeleteParams, ListParams},
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::{
        Controller,
        controller::{Action, Config},
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use crate::error::Fault;
use crate::{
    decide::{self, Step},
    notify::Notifier,
    run::Engine,
    status::Fold,
};
use mine::{Mine, in_time};
pub use places::share_mib;

type Guarded = DeserializeGuard<DebugBundle>;

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
    seen: Store<Guarded>,
    engine: Arc<Engine>,
    notifier: Notifier,
    places: places::Places,
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
    let _look = warn_of_excess(client.clone(), settings.namespace.clone());
    if !until_served(&api, &shutdown).await {
        return;
    }
    let places = places::Places::new(settings.max_concurrent, settings.spool_limit_mib);
    sweep(&guarded, &engine, &settings, &places).await;
    tracing::info!("Operator is ready");
    let stop = shutdown.clone();
    let controller = Controller::new(guarded, watcher::Config::default())
        .with_config(Config::default().debounce(Duration::from_millis(50)))
        .graceful_shutdown_on(async move { stop.cancelled().await });
    let context = Arc::new(Context {
        api,
        seen: controller.store(),
        engine,
        notifier: Notifier::new(client.clone(), settings.instance.clone()),
        places,
        client,
        settings,
        shutdown,
    });
    controller
        .run(reconcile, error_policy, context)
        .for_each(|done| async move {
            if let Err(kube::runtime::controller::Error::QueueError(error)) = done {
                tracing::warn!(%error, "Watch of DebugBundles was interrupted");
            }
        })
        .await;
}

/// Nothing waits for it: whoever bound more than is shipped may have meant it.
fn warn_of_excess(client: Client, namespace: String) -> tokio_util::task::AbortOnDropHandle<()> {
    let look = async move { crate::access::excess::warn(&client, &namespace).await };
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(look))
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
async fn sweep(api: &Api<Guarded>, engine: &Engine, settings: &Settings, places: &places::Places) {
    let listed = match in_time(api.list(&ListParams::default())).await {
        Ok(listed) => listed,
        Err(error) => {
            let failure = crate::error::api_sentence(&error);
            tracing::warn!(failure, "Left-overs in the spool are looked for at the next start");
            return;
        }
    };
    let needed: std::collections::BTreeMap<PathBuf, String> = (listed.items.iter())
        .filter_map(|guarded| guarded.0.as_ref().ok())
        .filter(|bundle| !bundle.status.as_ref().and_then(|s| s.phase).is_some_and(Phase::is_terminal))
        .filter_map(kube::ResourceExt::uid)
        .map(|uid| (engine.spool_of(&settings.spool, &uid), uid))
        .collect();
    for folder in engine.spools(&settings.spool) {
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

async fn reconcile(seen: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Fault> {
    let bundle = match &seen.0 {
        Ok(bundle) => bundle,
        Err(bad) => return malformed(bad, &ctx).await,
    };
    let result = match decide::decide(bundle, ctx.now()) {
        Step::Run { attempt, resume } => Box::pin(work::to_the_end(bundle, attempt, resume, &ctx)).await,
        Step::Settle(reason) => settle(bundle, reason, &ctx).await,
        Step::Finalize => finalize::finalize(bundle, &ctx).await,
        Step::Expire => expire(bundle, &ctx).await,
        Step::Protect => protect(bundle, &ctx).await,
        Step::ClearUrl => url::clear(bundle, &ctx).await,
        Step::AnswerRenewal(_) => url::renew(bundle, &ctx).await,
        Step::Rest(until) => Ok(rest(until, ctx.now())),
    };
    match result {
        Err(Fault::Lost | Fault::Cancelled) => Ok(Action::await_change()),
        other => other,
    }
}

/// Transient faults only: what a person has to mend is in status already.
#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn error_policy(seen: Arc<Guarded>, error: &Fault, _: Arc<Context>) -> Action {
    let attempts = seen.0.as_ref().ok().and_then(|b| b.status.as_ref()).and_then(|s| s.attempts).unwrap_or(1);
    let pause = Duration::from_secs(5 << attempts.clamp(1, 5).saturating_sub(1));
    tracing::warn!(name = seen.name_any(), reason = error.reason().as_str(), %error, pause = ?pause, "Reconcile will be tried again");
    Action::requeue(pause)
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

async fn settle(seen: &DebugBundle, reason: Reason, ctx: &Arc<Context>) -> Result<Action, Fault> {
    // What is in the store is deleted here: not on the word of a cache that lags behind our own writes.
    let Some(bundle) = mine::live(&ctx.api, seen).await? else { return Err(Fault::Lost) };
    if decide::decide(&bundle, ctx.now()) != Step::Settle(reason) {
        return Err(Fault::Lost);
    }
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
async fn protect(bundle: &DebugBundle, ctx: &Context) -> Result<Action, Fault> {
    Mine::new(ctx.client.clone(), ctx.api.clone(), bundle.clone()).add_finalizer().await?;
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
async fn malformed(bad: &InvalidObject, ctx: &Context) -> Result<Action, Fault> {
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
    let written = mine::patch_status_raw(&ctx.client, &shell, &conditions).await.map_err(Fault::api)?;
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
fn follow_deletion(
    bundle: &DebugBundle,
    ctx: &Arc<Context>,
) -> (CancellationToken, tokio_util::task::AbortOnDropHandle<()>) {
    let token = ctx.shutdown.child_token();
    let (cancel, context, uid) = (token.clone(), Arc::clone(ctx), bundle.uid());
    let reference = ObjectRef::<Guarded>::new(&bundle.name_any()).within(&ctx.settings.namespace);
    let task = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let alive = context.seen.get(&reference).is_some_and(|seen| {
                let meta = seen.meta();
                meta.uid == uid && meta.deletion_timestamp.is_none()
            });
            if !alive {
                cancel.cancel();
                return;
            }
        }
    });
    (token, tokio_util::task::AbortOnDropHandle::new(task))
}
