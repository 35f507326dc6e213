//! A run under the controller: a slot, the claim, evidence into the spool, the bundle into the store, the result into
//! status. The order of its steps is a commit protocol: after a `kill -9` between any two, the next run ends it well.

use std::{sync::Arc, time::Duration};

use debugbundle_archive::Spool;
use debugbundle_crd::{DebugBundle, DebugBundleStatus, Reason, TARGET_UID_LABEL, UrlPolicy};
use kube::ResourceExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    Context, Fault,
    claim::{self, Claim},
    deleted::{self, Deleted, May},
    holder,
    journal::{LastStep, StatusHooks, StatusJournal},
    queue::Turn,
    slots::CollectionSlot,
    url,
};
use crate::{
    crash,
    decide::{self, Step},
    notify,
    observed::{Observed, Renewal},
    run::{Destination, Packed, StoreNeed, Subject, Tracker},
    status::{StatusBuilder, what_was_lost},
};

/// How long a bundle waits until it is on record.
const RECORDING: Duration = Duration::from_secs(5);
/// How often progress is written while something moves.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Takes a DebugBundle from its present phase to a terminal one, in the given slot.
pub(super) async fn to_the_end(
    turn: &Turn,
    mut place: CollectionSlot,
    ctx: &Arc<Context>,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let spool = ctx.engine.spool_of(&ctx.settings.spool, &turn.uid);
    let sealed = if turn.collects {
        None
    } else if let Some(packed) = reopen(&spool).await {
        Some(packed)
    } else {
        // The sealed bundle cannot be read any more: it must be collected, and that needs another slot.
        remove_folder(&spool);
        return Err(Fault::Lost);
    };
    let result = Box::pin(in_place(turn, sealed, &mut place, ctx, cancel)).await;
    if result.is_err()
        && let Some(bytes) = Spool::sealed_bytes(&spool)
    {
        ctx.queue.places.put_by(&turn.uid, place, bytes);
    }
    result
}

async fn in_place(
    turn: &Turn,
    sealed: Option<Packed>,
    place: &mut CollectionSlot,
    ctx: &Arc<Context>,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let (attempt, resume) = (turn.attempt, turn.resume);
    // Time has passed, and the cache lags behind our own writes: check again before doing anything.
    let Some(live) = claim::live(&ctx.api, &turn.name, &turn.uid).await? else { return Err(Fault::Lost) };
    let (seen, step) = (Observed::of(&live), Step::Run { attempt, resume });
    if decide::decide(&seen, ctx.now()) != step || !holder::may_act(&seen, &step, ctx).await? {
        return Err(Fault::Lost);
    }
    let mine = Claim::new(ctx.client.clone(), ctx.api.clone(), live);
    let before = mine.seen().await;
    let holder = ctx.settings.instance.as_str();
    let spool = ctx.engine.spool_of(&ctx.settings.spool, &turn.uid);
    mark(&spool);
    let claimed = mine.exactly(ctx.now(), |fold| match &sealed {
        Some(packed) => {
            fold.resumed(attempt, holder, &packed.outcome()).found(packed.cause.as_deref(), packed.findings.clone())
        }
        None => fold.claimed(attempt, holder),
    });
    if let Err(fault) = claimed.await {
        if sealed.is_none() && matches!(fault, Fault::Lost) {
            remove_folder(&spool);
        }
        return Err(fault);
    }
    crash::point("claimed");
    let held_by = before.status.as_ref().and_then(|status| status.holder.as_deref());
    if let Some(lost) = what_was_lost(held_by, holder).filter(|_| sealed.is_none()) {
        ctx.notifier.warning(&before, Reason::Interrupted, &format!("attempt {attempt} begins: {lost}")).await;
    }
    tracing::info!(name = turn.name, attempt, sealed = sealed.is_some(), "Claimed");

    match work(&mine, &before, sealed, place, ctx, cancel).await {
        Ok(()) => remove(ctx, &turn.uid),
        Err(Fault::Terminal { reason, message, .. }) => end_without(&mine, reason, &message, ctx).await?,
        Err(Fault::Transient { reason, message, .. }) if decide::is_last_attempt(&mine.seen().await) => {
            let message = format!("given up after attempt {attempt}: {message}");
            end_without(&mine, reason, &message, ctx).await?;
        }
        Err(fault @ Fault::Transient { .. }) => {
            // May fail: a silent API server is then likely the fault itself.
            let _ = mine.update(ctx.now(), |fold| fold.to_be_tried_again(&fault.to_string())).await;
            return Err(fault);
        }
        Err(stopped @ (Fault::Lost | Fault::Cancelled)) => {
            if !ctx.shutdown.is_cancelled() {
                after_the_resource(&mine, ctx).await;
            }
            return Err(stopped);
        }
    }
    Ok(())
}

/// Creates the spool folder of a bundle before the claim. After a restart, a standby instance looks for bundles that it
/// still holds only if its spool contains a folder. An error is ignored here: the collection reports it.
fn mark(spool: &std::path::Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(spool);
}

/// The bundle that an earlier process sealed. The whole archive is read, to check that it is complete.
async fn reopen(spool: &std::path::Path) -> Option<Packed> {
    let spool = spool.to_owned();
    tokio::task::spawn_blocking(move || Packed::reopen(&spool)).await.ok().flatten()
}

/// Ends a DebugBundle as Failed. Uploaded data of its attempts is deleted: a Failed one has nothing in the store.
pub(super) async fn end_without(mine: &Claim, reason: Reason, message: &str, ctx: &Arc<Context>) -> Result<(), Fault> {
    let seen = mine.seen().await;
    let mut message = message.to_owned();
    let mut left_over = None;
    if seen.status.as_ref().is_some_and(|s| s.upload.is_some() || s.bundle.is_some())
        && let Err(left) = deleted::clean(&seen, May::Delete, ctx).await
    {
        message = format!("{message}; {}", left.message);
        left_over = seen.status.as_ref().and_then(|s| s.upload.clone());
    }
    // Without its target, a bundle explains nothing: an Event would be about an object that is gone.
    if reason != Reason::TargetNotFound {
        explain(&seen, seen.status.as_ref().and_then(|status| status.cause.as_deref()), &message, ctx).await;
    }
    let now = ctx.now();
    let expiration = decide::expiration(&seen, now);
    mine.update(now, |fold| {
        fold.no_url(reason, &message).failed(reason, &message, expiration).leaving(left_over.clone())
    })
    .await?;
    let cause = cause_id(seen.status.as_ref());
    if reason != Reason::TargetNotFound {
        count_once(&seen, cause, ctx);
    }
    ctx.metrics.ended(reason, seen.trigger(), cause);
    tracing::warn!(name = seen.name_any(), reason = reason.as_str(), why = message, "Ended without a bundle");
    ctx.notifier.warning(&seen, reason, &message).await;
    remove(ctx, seen.metadata.uid.as_deref().unwrap_or_default());
    Ok(())
}

/// Queues the clean-up after a resource that was deleted during the run, even if the watch did not report the deletion.
async fn after_the_resource(mine: &Claim, ctx: &Arc<Context>) {
    let seen = mine.seen().await;
    let live = claim::live(&ctx.api, &seen.name_any(), &seen.uid().unwrap_or_default()).await;
    if let (Ok(None), Some(deleted)) = (live, Deleted::of(&seen)) {
        super::forget(deleted, ctx);
    }
}

async fn work(
    mine: &Claim,
    before: &DebugBundle,
    sealed: Option<Packed>,
    place: &mut CollectionSlot,
    ctx: &Arc<Context>,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let bundle = mine.seen().await;
    let subject = Subject::of(&bundle);
    let tracker = Arc::new(Tracker::new(ctx.metrics.clone()));

    let packed = match sealed {
        Some(packed) => packed,
        None => collect(mine, &bundle, &subject, before, place, ctx, &tracker, cancel).await?,
    };
    crash::point("sealed");

    let outcome = packed.outcome();
    let findings = packed.findings.clone();
    let collected = mine.seen().await;
    mine.update(ctx.now(), |fold| fold.found(packed.cause.as_deref(), findings.clone()).uploading(&outcome)).await?;
    count_once(&collected, packed.cause_id(), ctx);
    record(&mine.seen().await, ctx).await;
    // Only now: while status says Collecting, the bundle counts against the concurrent collections.
    place.sealed(packed.sealed().bytes);
    super::start_waiting(ctx);
    crash::point("announced");

    let until = decide::send_until(&mine.seen().await, ctx.now(), ctx.settings.upload_timeout);
    let journal = StatusJournal { mine, ctx, until, last: LastStep::default() };
    let left = Duration::try_from(until.duration_since(ctx.now())).unwrap_or_default();
    let deadline = tokio::time::Instant::now() + left;
    let recorded = before.status.as_ref().and_then(|s| s.upload.as_ref()).and_then(|u| u.upload_id.clone());
    let delivery = Box::pin(ctx.engine.deliver(&subject, &packed, recorded, &journal, &tracker, deadline, cancel));
    let destination = with_progress(mine, ctx, &tracker, delivery).await?;
    crash::point("stored");

    publish(mine, &bundle, &packed, &destination, ctx).await
}

/// Records the announced object before it is sent: if this process is killed, and the DebugBundle is deleted while no
/// operator watches, only the record tells a sweep that the object may go. Without an answer the bundle is sent all the
/// same, and the record is written later.
async fn record(announced: &DebugBundle, ctx: &Context) {
    ctx.record.seen(announced);
    let Ok(installation) = ctx.engine.installation() else { return };
    match tokio::time::timeout(RECORDING, ctx.record.sync(installation.as_str())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "The record of stored bundles was not written yet"),
        Err(_) => tracing::debug!("The record of stored bundles was not written in time"),
    }
}

#[allow(clippy::too_many_arguments, reason = "each is one thing the collection needs")]
async fn collect(
    mine: &Claim,
    bundle: &DebugBundle,
    subject: &Subject,
    before: &DebugBundle,
    place: &mut CollectionSlot,
    ctx: &Arc<Context>,
    tracker: &Arc<Tracker>,
    cancel: &CancellationToken,
) -> Result<Packed, Fault> {
    if before.status.as_ref().is_none_or(|s| s.attempts.is_none()) {
        ctx.notifier
            .normal(bundle, Reason::Collecting, &format!("collecting evidence about {}", subject.words(str::to_owned)))
            .await;
    }
    let spool = ctx.engine.spool_of(&ctx.settings.spool, &subject.uid);
    let deadline = tokio::time::Instant::now() + decide::timeout(bundle);
    let hooks = StatusHooks::new(mine, ctx, place);
    let pack = Box::pin(ctx.engine.pack(subject, StoreNeed::Required(&hooks), &spool, tracker, deadline, cancel));
    with_progress(mine, ctx, tracker, pack).await
}

/// Writes progress to status beside the work, without delaying it. Losing the claim ends the work.
async fn with_progress<T>(
    mine: &Claim,
    ctx: &Arc<Context>,
    tracker: &Tracker,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let telling = async {
        // A run that ends before the first tick costs the API server no request.
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let progress = tracker.snapshot();
            match mine.update(ctx.now(), |fold| fold.progress(progress.clone())).await {
                Err(Fault::Lost) => return Fault::Lost,
                Err(error) => tracing::debug!(%error, "Progress was not written"),
                Ok(()) => {}
            }
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        lost = telling => Err(lost),
    }
}

async fn publish(
    mine: &Claim,
    bundle: &DebugBundle,
    packed: &Packed,
    destination: &Destination,
    ctx: &Arc<Context>,
) -> Result<(), Fault> {
    let now = ctx.now();
    let outcome = packed.at(destination).outcome();
    let expiration = decide::expiration(bundle, now);
    let asked = Renewal::of(bundle).filter(|asked| matches!(asked, Renewal::Url(_)));
    let link = match bundle.spec.download_url.policy {
        UrlPolicy::OnCompletion => url::sign(bundle, destination, ctx.settings.max_url_ttl, now).await,
        UrlPolicy::OnRequest if asked.is_some() => url::sign(bundle, destination, ctx.settings.max_url_ttl, now).await,
        UrlPolicy::OnRequest => url::on_request(bundle),
        UrlPolicy::Never => url::never(),
    };
    let finish = |fold: StatusBuilder| {
        let done = link.fold(fold.finished(&outcome, destination.assumption, expiration));
        asked.as_ref().into_iter().fold(done, StatusBuilder::answered)
    };
    let missing = if outcome.missing == 0 { String::new() } else { format!(", {} items are missing", outcome.missing) };
    let stored = format!("{} stored in {}{missing}", outcome.bundle.size, outcome.bundle.storage_location);
    // Before the status: a run whose status is final is not repeated, and its Event would be lost for ever.
    explain(bundle, packed.cause.as_deref(), &stored, ctx).await;
    mine.update(now, finish).await?;
    crash::point("published");
    let reason = if outcome.missing == 0 { Reason::Completed } else { Reason::PartiallyCollected };
    ctx.metrics.ended(reason, bundle.trigger(), packed.cause_id());
    ctx.metrics.stored(packed.sealed().bytes);
    let cause = packed.cause.as_ref().map_or(String::new(), |cause| format!("; cause: {cause}"));
    let note = format!("{stored}{}{cause}", destination.assumption);
    tracing::info!(name = bundle.name_any(), bytes = outcome.bundle.bytes, missing = outcome.missing, "Stored");
    ctx.notifier.normal(bundle, reason, &note).await;
    if link.is_issued() {
        ctx.notifier.normal(bundle, Reason::UrlIssued, url::ISSUED).await;
    }
    Ok(())
}

/// Reports cause and bundle on the Backup or Restore for which the operator created the DebugBundle, so that `kubectl
/// describe` shows them. Velero's object itself is not written.
pub(super) async fn explain(bundle: &DebugBundle, cause: Option<&str>, outcome: &str, ctx: &Context) {
    let automatic = bundle.trigger().is_automatic();
    let uid = bundle.labels().get(TARGET_UID_LABEL);
    let (true, Some(target), Some(uid)) = (automatic, &bundle.spec.target, uid) else { return };
    let cause = cause.unwrap_or("no cause was found");
    let note = format!("{cause}; DebugBundle {}: {outcome}", bundle.name_any());
    let reference = notify::target_reference(target, &ctx.settings.namespace, uid);
    ctx.notifier.warning_about(&reference, Reason::Explained, &note).await;
}

/// Counts a DebugBundle that the operator created by itself when its cause is first known: when it begins to wait for its
/// store, is sealed, or has ended. `before`: as it was until then; from then on its upload has a beginning.
pub(super) fn count_once(before: &DebugBundle, cause: Option<&str>, ctx: &Context) {
    let upload = before.status.as_ref().and_then(|status| status.upload.as_ref());
    if before.trigger().is_automatic() && upload.is_none_or(|upload| upload.started.is_none()) {
        ctx.metrics.explained(before.trigger(), cause);
    }
}

/// The id of the finding that is the cause.
pub(super) fn cause_id(status: Option<&DebugBundleStatus>) -> Option<&str> {
    let status = status?;
    status.cause.as_ref().and(status.findings.first()).map(|finding| finding.id.as_str())
}

/// Removes the spool folder of the DebugBundle with this UID, and frees its room.
pub(super) fn remove(ctx: &Context, uid: &str) {
    remove_folder(&ctx.engine.spool_of(&ctx.settings.spool, uid));
    ctx.queue.places.forget(uid);
}

/// A failure is only logged: left-overs are removed with the next list of DebugBundles.
pub(super) fn remove_folder(spool: &std::path::Path) {
    if let Err(error) = Spool::remove(spool) {
        tracing::warn!(error = %error, "Spool was not removed");
    }
}
