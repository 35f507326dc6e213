//! What a run writes to status while it is under way: the write-ahead log of its upload, and the reason for a wait.

use std::{
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use debugbundle_crd::{ConditionType, FindingSummary};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use tokio::{sync::Mutex, time::Instant};

use super::{Context, Fault, claim::Claim, slots::CollectionSlot};
use crate::{
    crash, decide,
    probe_step::ProbeStep,
    run::{Failure, Journal, Packed, RunHooks},
    status::StatusBuilder,
};

/// The write-ahead log of an upload, kept in status.
pub(super) struct StatusJournal<'a> {
    pub(super) mine: &'a Claim,
    pub(super) ctx: &'a Arc<Context>,
    pub(super) until: Timestamp,
    pub(super) last: LastStep,
}

impl Journal for StatusJournal<'_> {
    async fn begun(&self, upload_id: &str) -> Result<(), Fault> {
        crash::point("upload-created");
        self.mine.update(self.ctx.now(), |fold: StatusBuilder| fold.upload_begun(upload_id)).await?;
        crash::point("upload-begun");
        Ok(())
    }

    async fn moved(&self, packed: &Packed) -> Result<(), Fault> {
        let bundle = packed.outcome().bundle;
        self.mine.update(self.ctx.now(), |fold: StatusBuilder| fold.moved(&bundle)).await
    }

    async fn retrying(&self, failure: &Failure) -> Result<(), Fault> {
        let Failure { reason, message, .. } = failure;
        let note = crate::status::retry_note(message, self.until);
        let fold = |fold: StatusBuilder| fold.upload_retried(*reason, message, self.until);
        waits(self.mine, self.ctx, failure, &self.last, &note, fold).await
    }

    fn now(&self) -> Timestamp {
        self.ctx.now()
    }
}

/// What a run asks of the controller before its bundle is sealed: it owns the run's slot and status.
pub(super) struct StatusHooks<'a> {
    mine: &'a Claim,
    ctx: &'a Arc<Context>,
    place: Mutex<&'a mut CollectionSlot>,
    until: OnceLock<Timestamp>,
    last: LastStep,
}

impl<'a> StatusHooks<'a> {
    pub(super) fn new(mine: &'a Claim, ctx: &'a Arc<Context>, place: &'a mut CollectionSlot) -> Self {
        Self { mine, ctx, place: Mutex::new(place), until: OnceLock::new(), last: LastStep::default() }
    }
}

impl RunHooks for StatusHooks<'_> {
    fn room(&self) -> BoxFuture<'_, u64> {
        async move { self.place.lock().await.bytes() }.boxed()
    }

    fn explained<'a>(
        &'a self,
        cause: Option<&'a str>,
        findings: Vec<FindingSummary>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        async move { self.mine.update(self.ctx.now(), |fold| fold.found(cause, findings.clone())).await }.boxed()
    }

    fn begin_wait(&self, keeps: u64) -> BoxFuture<'_, Option<Instant>> {
        async move {
            if !self.ctx.queue.places.wait(*self.place.lock().await, keeps) {
                return None;
            }
            super::start_waiting(self.ctx);
            let now = self.ctx.now();
            let until = decide::send_until(&self.mine.seen().await, now, self.ctx.settings.upload_timeout);
            let until = *self.until.get_or_init(|| until);
            Some(Instant::now() + Duration::try_from(until.duration_since(now)).unwrap_or_default())
        }
        .boxed()
    }

    fn waits<'a>(&'a self, failure: &'a Failure) -> BoxFuture<'a, Result<(), Fault>> {
        async move {
            let Failure { reason, message: why, .. } = failure;
            let until = self.until.get().copied().unwrap_or_else(|| self.ctx.now());
            let note = crate::status::unsealed_note(why, until);
            let fold = |fold: StatusBuilder| fold.waits_unsealed(*reason, why, until);
            waits(self.mine, self.ctx, failure, &self.last, &note, fold).await?;
            crash::point("unsealed");
            Ok(())
        }
        .boxed()
    }

    fn end_wait(&self) -> BoxFuture<'_, Result<u64, Fault>> {
        async move {
            let mut place = self.place.lock().await;
            let resumed = self.ctx.queue.resume(&mut place, || super::start_waiting(self.ctx)).await;
            resumed.ok_or(Fault::Cancelled)
        }
        .boxed()
    }
}

/// The step at which the store failed last, as far as this process knows.
pub(super) type LastStep = std::sync::Mutex<Option<ProbeStep>>;

/// Writes to status that the run waits for a store. An Event reports it at first, and whenever the reason or the step that
/// failed is another one.
async fn waits(
    mine: &Claim,
    ctx: &Context,
    failure: &Failure,
    last: &LastStep,
    note: &str,
    fold: impl Fn(StatusBuilder) -> StatusBuilder + Send,
) -> Result<(), Fault> {
    let reason = failure.reason;
    let before = failure
        .step
        .and_then(|step| last.lock().unwrap_or_else(PoisonError::into_inner).replace(step))
        .filter(|before| Some(*before) != failure.step);
    let seen = mine.seen().await;
    let is_news = before.is_some()
        || seen.status.as_ref().is_none_or(|status| {
            let is_first = status.upload.as_ref().is_none_or(|upload| upload.last_error.is_none());
            let known = [ConditionType::Uploaded, ConditionType::Collected];
            let mut conditions = status.conditions.iter();
            is_first
                || !conditions
                    .any(|one| one.reason == reason.as_str() && known.iter().any(|of| one.type_ == of.as_str()))
        });
    match mine.update(ctx.now(), fold).await {
        Ok(()) if is_news => {
            super::work::count_once(&seen, super::work::cause_id(seen.status.as_ref()), ctx);
            ctx.notifier.warning(&seen, reason, note).await;
            // The store may be away for long, and may be the reason of the failure.
            let cause = seen.status.as_ref().and_then(|status| status.cause.as_deref());
            super::work::explain(&seen, cause, &format!("not stored yet: {note}"), ctx).await;
            Ok(())
        }
        // The wait is for the store; a failure of the API server must not end it.
        Ok(()) | Err(Fault::Transient { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}
