//! The end of a deleted DebugBundle: upload aborted, object deleted, spool removed, finalizer dropped. It always ends:
//! an Event reports an object that cannot be deleted, with its place, and the resource goes all the same.

use std::{sync::Arc, time::Duration};

use debugbundle_crd::{Bundle, DebugBundle, Reason};
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::controller::Action};

use super::{Context, Fault, claim::Claim};
use crate::{
    crash, observed,
    run::Subject,
    store::{Store as _, StoreError},
};

/// How soon a silent store is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// The most time for one try.
const ONE_TRY: Duration = Duration::from_secs(30);

/// Cleans up after a deleted DebugBundle.
pub(super) async fn finalize(bundle: &DebugBundle, ctx: &Arc<Context>) -> Result<Action, Fault> {
    let name = bundle.name_any();
    super::work::remove(ctx, &bundle.uid().unwrap_or_default());
    let cleaned = tokio::select! {
        cleaned = clean(bundle, ctx) => cleaned,
        () = ctx.shutdown.cancelled() => return Err(Fault::Cancelled),
    };
    match cleaned {
        Ok(()) => tracing::info!(name, "Deleted from the store"),
        Err(Left { message, transient }) => {
            if transient && ctx.now() < patience(bundle, ctx) {
                tracing::warn!(name, why = message, "Deletion will be tried again");
                return Ok(Action::requeue(AGAIN));
            }
            tracing::warn!(name, why = message, "Not deleted from the store");
            ctx.notifier.warning(bundle, Reason::NotDeleted, &message).await;
        }
    }
    crash::point("deleted");
    Claim::new(ctx.client.clone(), ctx.api.clone(), bundle.clone()).remove_finalizer().await?;
    Ok(Action::await_change())
}

/// An object or upload is left in the store.
pub(super) struct Left {
    pub(super) message: String,
    transient: bool,
}

/// Ends the uploads and deletes the object of a DebugBundle, within bounded time.
pub(super) async fn clean(bundle: &DebugBundle, ctx: &Arc<Context>) -> Result<(), Left> {
    tokio::time::timeout(ONE_TRY, clean_to_the_end(bundle, ctx)).await.unwrap_or_else(|_| {
        let stored = bundle.status.as_ref().and_then(|s| s.bundle.as_ref());
        let message =
            format!("the bundle could not be deleted within {} s{}", ONE_TRY.as_secs(), what_may_be_left(stored));
        Err(Left { message, transient: true })
    })
}

fn what_may_be_left(stored: Option<&Bundle>) -> String {
    stored.map_or(String::new(), |b| format!("; the object may still exist: bucket {} key {}", b.bucket, b.key))
}

async fn clean_to_the_end(bundle: &DebugBundle, ctx: &Arc<Context>) -> Result<(), Left> {
    if observed::is_restored(bundle) {
        return Ok(()); // its key would be another object's
    }
    let status = bundle.status.as_ref();
    let stored = status.and_then(|s| s.bundle.as_ref());
    let upload = status.and_then(|s| s.upload.as_ref());
    let subject = Subject::of(bundle);
    let destination = match ctx.engine.destination(&subject, stored.map(|b| b.storage_location.as_str())).await {
        Ok(destination) => destination,
        // No upload was ever announced, and there is no place for one: nothing is left.
        Err(Fault::Terminal { .. }) if stored.is_none() && upload.is_none() => return Ok(()),
        Err(fault) => {
            let place = what_may_be_left(stored);
            let transient = matches!(fault, Fault::Transient { .. });
            return Err(Left { message: format!("the bundle could not be deleted: {fault}{place}"), transient });
        }
    };
    let left = |error: StoreError| Left {
        message: format!(
            "the bundle could not be deleted from bucket {} key {}: {}",
            destination.bucket(),
            destination.key.as_str(),
            destination.mask(&error.message())
        ),
        transient: error.is_transient(),
    };
    if let Some(id) = upload.and_then(|u| u.upload_id.as_deref()) {
        destination.store.abort(&destination.key, id).await.map_err(left)?;
    }
    // Also an upload that a process began before it died without noting the id.
    destination.store.abort_unfinished(&destination.key).await.map_err(left)?;
    destination.store.delete(&destination.key).await.map_err(left)
}

fn patience(bundle: &DebugBundle, ctx: &Context) -> Timestamp {
    let since = bundle.metadata.deletion_timestamp.as_ref().map_or_else(|| ctx.now(), |t| t.0);
    since.checked_add(ctx.settings.delete_timeout).unwrap_or(Timestamp::MAX)
}
