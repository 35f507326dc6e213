//! Watches DebugBundles while this instance leads, and afterwards until each DebugBundle that it claimed has ended. At
//! other times the controller stands by and sends no requests to the API server.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio_util::sync::CancellationToken;

use super::{Context, Guarded, PAGE, startup, went};
use crate::{decide, observed::Observed};

/// How often an instance that no longer leads checks whether its own DebugBundles have ended.
const CHECK: Duration = Duration::from_secs(1);

/// The events of one watch after the other. Each watch begins with a full list, so everything is decided anew.
pub(super) fn watch(
    api: Api<Guarded>,
    ctx: Arc<Context>,
) -> impl Stream<Item = Result<Event<Observed>, watcher::Error>> {
    let sessions = stream::unfold((), move |()| {
        let (api, ctx) = (api.clone(), Arc::clone(&ctx));
        async move {
            let over = next(&ctx).await?;
            if ctx.leadership.leads() {
                tracing::info!("Operator is ready");
            }
            let forgetting = Arc::clone(&ctx);
            let mut open = BTreeSet::new();
            let watch = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
            let watch = watch.map_ok(move |event| {
                match &event {
                    Event::Delete(gone) => went(gone, &forgetting),
                    Event::Apply(DeserializeGuard(Ok(bundle))) | Event::InitApply(DeserializeGuard(Ok(bundle))) => {
                        forgetting.record.seen(bundle);
                    }
                    _ => {}
                }
                let event = observed(event);
                match &event {
                    Event::InitApply(seen) if !seen.malformed && !seen.phase.is_terminal() => {
                        open.insert(seen.uid().to_owned());
                    }
                    // The watch reports no deletion of what was deleted while it was interrupted.
                    Event::InitDone => startup::clear_spool(&std::mem::take(&mut open), &forgetting),
                    Event::Init => open.clear(),
                    _ => {}
                }
                event
            });
            let session = watch.take_until(async move {
                match over {
                    Some(term) => term.cancelled_owned().await,
                    None => until_finished(&ctx).await,
                }
            });
            Some((session, ()))
        }
    });
    sessions.flatten()
}

/// Waits for the next session, and until DebugBundles can be listed. Returns the token of the session's term, or no
/// token if the session only finishes claimed DebugBundles; `None` when the operator stops.
async fn next(ctx: &Context) -> Option<Option<CancellationToken>> {
    loop {
        ctx.able.store(false, Ordering::Relaxed);
        let finishing = !ctx.leadership.leads() && holds_any(ctx);
        let term = if finishing { None } else { Some(ctx.leadership.term().await?) };
        // The new list brings back each waiting DebugBundle that still belongs to this instance.
        ctx.queue.clear();
        if startup::until_ready(ctx, term.as_ref().unwrap_or(&ctx.shutdown)).await {
            ctx.able.store(true, Ordering::Relaxed);
            if finishing {
                tracing::info!("Finishing what this instance has claimed");
            }
            return Some(term);
        }
        if ctx.shutdown.is_cancelled() {
            return None;
        }
    }
}

/// Whether this instance holds a DebugBundle that has not ended. Before the first list, the folders in its spool
/// decide: a folder is created before each claim, and outlives the process.
fn holds_any(ctx: &Context) -> bool {
    let instance = ctx.settings.instance.as_str();
    let held = |seen: &Arc<Observed>| decide::holder(seen) == Some(instance);
    match ctx.seen.wait_until_ready().now_or_never() {
        None => !ctx.engine.uids_in(&ctx.settings.spool).is_empty(),
        Some(_) => ctx.queue.is_any_under_way() || ctx.seen.state().iter().any(held),
    }
}

/// Waits until each DebugBundle that this instance claimed has ended, or until it leads.
async fn until_finished(ctx: &Context) {
    // Fails only when the operator ends.
    let _ = ctx.seen.wait_until_ready().await;
    while !ctx.leadership.leads() && holds_any(ctx) {
        tokio::time::sleep(CHECK).await;
    }
}

/// Keeps of each object what a decision needs.
fn observed(event: Event<Guarded>) -> Event<Observed> {
    match event {
        Event::Apply(bundle) => Event::Apply(Observed::of_guarded(&bundle)),
        Event::Delete(bundle) => Event::Delete(Observed::of_guarded(&bundle)),
        Event::Init => Event::Init,
        Event::InitApply(bundle) => Event::InitApply(Observed::of_guarded(&bundle)),
        Event::InitDone => Event::InitDone,
    }
}
