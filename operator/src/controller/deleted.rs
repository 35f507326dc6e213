//! Cleans up after deleted DebugBundles: aborts their uploads, deletes their objects, removes their spool folders. The
//! deletion of the resource waits for none of this. If some tries fail, an Event reports it, and the next sweep tries
//! again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use debugbundle_crd::{Bundle, DebugBundle, DebugBundleSpec, DebugBundleStatus, Reason, UploadState};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{ResourceExt as _, api::ObjectMeta};
use tokio::{
    sync::{
        mpsc::{Receiver, Sender, channel, error::TrySendError},
        watch,
    },
    time::{Instant, timeout, timeout_at},
};

use super::{Context, Fault};
use crate::{
    crash, notify, observed,
    run::{Destination, Standing, Subject},
    store::{Deletion, StoreError},
    sweep::{has_expired, record::Record},
};

/// How soon a store that failed or refused is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// The most time for one try.
const ONE_TRY: Duration = Duration::from_secs(30);
/// Deleted DebugBundles that are cleaned up at the same time.
const AT_ONCE: usize = 8;
/// How long an operator that is asked to stop goes on with the deletions that it has seen.
const DRAIN: Duration = Duration::from_secs(20);
/// Time for the last write of the record.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// Most deleted DebugBundles that wait, at about a kilobyte each. The next sweep cleans up after further ones.
const WAITING: usize = 2048;

/// A deleted DebugBundle: only the fields that the clean-up and its Events need.
#[derive(Debug)]
pub(super) struct Deleted(Box<DebugBundle>);

impl Deleted {
    /// Takes the fields from its last state. `None` if it left nothing: it never ran, or it is a copy of another
    /// DebugBundle.
    pub(super) fn of(last: &DebugBundle) -> Option<Self> {
        let status = last.status.as_ref()?;
        if status.attempts.is_none() && status.bundle.is_none() && status.upload.is_none() {
            return None;
        }
        if observed::is_restored(last) {
            return None; // its key would be another object's
        }
        let upload_id = status.upload.as_ref().and_then(|upload| upload.upload_id.clone());
        let upload = status.upload.as_ref().map(|_| UploadState { upload_id, ..UploadState::default() });
        let stored = status.bundle.as_ref().map(|stored| Bundle {
            storage_location: stored.storage_location.clone(),
            bucket: stored.bucket.clone(),
            key: stored.key.clone(),
            ..Bundle::default()
        });
        let mut spec = DebugBundleSpec::installation();
        spec.target.clone_from(&last.spec.target);
        spec.storage_location.clone_from(&last.spec.storage_location);
        let metadata = ObjectMeta {
            name: last.metadata.name.clone(),
            namespace: last.metadata.namespace.clone(),
            uid: last.metadata.uid.clone(),
            creation_timestamp: last.metadata.creation_timestamp.clone(),
            ..ObjectMeta::default()
        };
        let status = DebugBundleStatus { bundle: stored, upload, ..DebugBundleStatus::default() };
        Some(Self(Box::new(DebugBundle { metadata, spec, status: Some(status) })))
    }

    /// Name of the location of its object; empty if none was announced.
    fn location(&self) -> &str {
        stored(&self.0).map_or("", |stored| stored.storage_location.as_str())
    }

    /// Its UID.
    pub(super) fn uid(&self) -> &str {
        self.0.metadata.uid.as_deref().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn with_uid(uid: &str) -> Self {
        let mut bundle = DebugBundle::new("b", DebugBundleSpec::installation());
        bundle.metadata.uid = Some(uid.to_owned());
        bundle.status = Some(DebugBundleStatus { attempts: Some(1), ..DebugBundleStatus::default() });
        Self::of(&bundle).expect("it has run")
    }
}

/// The deleted DebugBundles that wait to be cleaned up.
pub(super) struct Deletions {
    waiting: Sender<(Deleted, Instant)>,
    /// Name of the location, by UID, of each deleted DebugBundle whose object may still be stored.
    open: watch::Sender<BTreeMap<String, String>>,
    /// How many deleted DebugBundles found no room here and are in no record, by location.
    lost: Mutex<BTreeMap<String, usize>>,
    record: Arc<Record>,
}

impl Deletions {
    /// A queue and its other end, for [`work_off`].
    pub(super) fn new(record: Arc<Record>) -> (Self, Receiver<(Deleted, Instant)>) {
        let (waiting, receiver) = channel(WAITING);
        (Self { waiting, open: watch::Sender::default(), lost: Mutex::default(), record }, receiver)
    }

    /// Adds one.
    pub(super) fn add(&self, deleted: Deleted) {
        let (uid, location) = (deleted.uid().to_owned(), deleted.location().to_owned());
        self.open.send_modify(|open| drop(open.insert(uid, location)));
        if let Err(TrySendError::Full((left, _))) = self.waiting.try_send((deleted, Instant::now())) {
            tracing::warn!(
                name = left.0.name_any(),
                "Too many deletions at once; the object is left to the next sweep"
            );
            if !self.record.has(left.uid()) && !left.location().is_empty() {
                *self.lock().entry(left.location().to_owned()).or_default() += 1;
            }
            self.ended(left.uid());
        }
    }

    /// Takes these numbers once there is room again: then the burst is over.
    fn take_lost(&self) -> BTreeMap<String, usize> {
        if self.waiting.capacity() < WAITING / 2 { BTreeMap::new() } else { std::mem::take(&mut *self.lock()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, uid: &str) {
        self.record.ended(uid);
        self.open.send_modify(|open| drop(open.remove(uid)));
    }

    async fn until_none_is_open(&self) {
        // Fails only if no sender is left.
        let _ = self.open.subscribe().wait_for(BTreeMap::is_empty).await;
    }
}

/// Cleans up until the operator is asked to stop, and then, for [`DRAIN`], after DebugBundles whose deletion it has
/// seen. The record has the others for the next sweep.
pub(super) async fn work_off(waiting: Receiver<(Deleted, Instant)>, ctx: Arc<Context>) {
    let waiting = stream::unfold(waiting, async |mut waiting| waiting.recv().await.map(|next| (next, waiting)));
    let all = waiting.for_each_concurrent(AT_ONCE, |(deleted, since)| {
        let ctx = Arc::clone(&ctx);
        async move {
            clean_up(&deleted.0, since + ctx.settings.delete_timeout, &ctx).await;
            ctx.deletions.ended(deleted.uid());
            for (location, count) in ctx.deletions.take_lost() {
                not_deleted(
                    &ctx,
                    &location,
                    count,
                    "too many were deleted at once, and its record has no room for them",
                )
                .await;
            }
        }
    });
    let stopped = async {
        ctx.shutdown.cancelled().await;
        let until = Instant::now() + DRAIN;
        // A run that ends adds the deletion of its own DebugBundle.
        let drained = async {
            ctx.runs.wait().await;
            ctx.deletions.until_none_is_open().await;
        };
        let _ = timeout_at(until, drained).await;
    };
    tokio::select! {
        () = all => {}
        () = stopped => {}
    }
    leave(&ctx).await;
}

/// Leaves what is still open to the next sweep. What the record has no room for is named.
async fn leave(ctx: &Context) {
    if let Ok(installation) = ctx.engine.installation() {
        let written = timeout(LAST_WRITE, ctx.record.sync(installation.as_str())).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!("The record of stored bundles was not written at the end");
        }
    }
    let open = ctx.deletions.open.borrow().clone();
    for (location, count) in lost(&open, |uid| ctx.record.has(uid)) {
        not_deleted(ctx, location, count, "the operator was stopped, and its record has no room for them").await;
    }
    let lost = std::mem::take(&mut *ctx.deletions.lock());
    for (location, count) in lost {
        not_deleted(ctx, &location, count, "too many were deleted at once, and its record has no room for them").await;
    }
}

/// Says how many objects no sweep will delete before they expire, and why.
async fn not_deleted(ctx: &Context, location: &str, count: usize, why: &str) {
    let note = format!(
        "{count} bundles of deleted DebugBundles are still stored here and stay until they expire: {why}; kubectl \
         debugbundle -n {} prune --delete removes them",
        ctx.settings.namespace
    );
    tracing::warn!(location, why = note, "Deletions were not finished");
    let reference = notify::location_named(location, None, &ctx.settings.namespace);
    ctx.notifier.warning_about(&reference, Reason::NotDeleted, &note).await;
}

/// The number of bundles in each location that no sweep will delete before they expire.
fn lost(open: &BTreeMap<String, String>, recorded: impl Fn(&str) -> bool) -> BTreeMap<&str, usize> {
    let mut lost = BTreeMap::new();
    for (_, location) in open.iter().filter(|(uid, location)| !location.is_empty() && !recorded(uid)) {
        *lost.entry(location.as_str()).or_default() += 1;
    }
    lost
}

/// Tries at least once, and until a try succeeds, waiting cannot help, or the time is over.
async fn clean_up(bundle: &DebugBundle, until: Instant, ctx: &Arc<Context>) {
    let name = bundle.name_any();
    crash::point("deleting");
    super::work::remove(ctx, bundle.metadata.uid.as_deref().unwrap_or_default());
    let left = loop {
        match try_once(bundle, ctx).await {
            Ok(()) => return,
            Err(left) if left.next != Next::Try || Instant::now() + AGAIN > until => break left,
            Err(left) => tracing::warn!(name, why = left.message, pause = ?AGAIN, "Deletion will be tried again"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    let note = match left.next {
        Next::Change => left.message,
        Next::Try | Next::Sweep => format!("{}; the next sweep tries again", left.message),
    };
    tracing::warn!(name, why = note, "Not deleted from the store");
    ctx.notifier.warning(bundle, Reason::NotDeleted, &note).await;
}

async fn try_once(bundle: &DebugBundle, ctx: &Arc<Context>) -> Result<(), Left> {
    let name = bundle.name_any();
    let created = bundle.metadata.creation_timestamp.as_ref().map(|created| created.0);
    let may = match ctx.engine.standing().await.map(|standing| standing.of_bundle_created(created)) {
        Ok(Standing::Stands { defined: Some(_) }) => May::Delete,
        Ok(Standing::Stands { defined: None }) => May::DeleteExpired,
        Ok(Standing::Removed(why)) => {
            tracing::info!(name, why, "The installation is being removed; the stored bundle stays");
            return Ok(());
        }
        Err(fault) => {
            let message = format!("the bundle was not deleted: {fault}{}", what_may_be_left(stored(bundle)));
            return Err(Left { message, next: Next::Try });
        }
    };
    let done = clean(bundle, may, ctx).await?;
    ctx.record.done(bundle.metadata.uid.as_deref().unwrap_or_default());
    match done {
        Deletion::Gone => tracing::info!(name, "Deleted from the store"),
        Deletion::Hidden => {
            tracing::info!(name, "Hidden in the store: the bucket keeps versions, which stay");
            let note =
                format!("the bucket keeps versions: the bundle is hidden, its versions stay{}", at(stored(bundle)));
            ctx.notifier.normal(bundle, Reason::Hidden, &note).await;
        }
    }
    Ok(())
}

/// The clean-up failed: an object or upload may be left in the store.
pub(super) struct Left {
    pub(super) message: String,
    next: Next,
}

/// What may help after a clean-up that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another try.
    Try,
    /// Only a later sweep.
    Sweep,
    /// Only a change of what the message names.
    Change,
}

/// Which object a clean-up may delete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// That of the DebugBundle.
    Delete,
    /// Only one that has expired: the DebugBundle may have gone with its definition.
    DeleteExpired,
}

/// Ends the uploads of a DebugBundle and deletes its object if it may, within bounded time.
pub(super) async fn clean(bundle: &DebugBundle, may: May, ctx: &Arc<Context>) -> Result<Deletion, Left> {
    tokio::time::timeout(ONE_TRY, clean_to_the_end(bundle, may, ctx)).await.unwrap_or_else(|_| {
        let message = format!(
            "the bundle could not be deleted within {} s{}",
            ONE_TRY.as_secs(),
            what_may_be_left(stored(bundle))
        );
        Err(Left { message, next: Next::Try })
    })
}

fn stored(bundle: &DebugBundle) -> Option<&Bundle> {
    bundle.status.as_ref().and_then(|status| status.bundle.as_ref())
}

fn at(stored: Option<&Bundle>) -> String {
    stored.map_or(String::new(), |b| format!(": bucket {} key {}", b.bucket, b.key))
}

fn what_may_be_left(stored: Option<&Bundle>) -> String {
    stored.map_or(String::new(), |_| format!("; the object may still exist{}", at(stored)))
}

async fn clean_to_the_end(bundle: &DebugBundle, may: May, ctx: &Arc<Context>) -> Result<Deletion, Left> {
    if observed::is_restored(bundle) {
        return Ok(Deletion::Gone); // its key would be another object's
    }
    let (stored, upload) = (stored(bundle), bundle.status.as_ref().and_then(|s| s.upload.as_ref()));
    let subject = Subject::of(bundle);
    let destination = match ctx.engine.destination(&subject, stored.map(|b| b.storage_location.as_str())).await {
        Ok(destination) => destination,
        // No upload was ever announced, and there is no place for one: nothing is left.
        Err(Fault::Terminal { .. } | Fault::Transient { reason: Reason::CredentialInvalid, .. })
            if stored.is_none_or(|stored| stored.key.is_empty())
                && upload.is_none_or(|upload| upload.upload_id.is_none()) =>
        {
            return Ok(Deletion::Gone);
        }
        Err(Fault::Terminal { reason: Reason::LocationReadOnly, .. }) => {
            let location = stored.map_or("", |stored| &stored.storage_location);
            let message = format!(
                "the bundle was not deleted: BackupStorageLocation {location} is ReadOnly. A sweep deletes it once the \
                 location is ReadWrite again{}",
                at(stored)
            );
            return Err(Left { message, next: Next::Change });
        }
        Err(fault) => {
            let place = what_may_be_left(stored);
            let next = if matches!(fault, Fault::Transient { .. }) { Next::Try } else { Next::Sweep };
            return Err(Left { message: format!("the bundle could not be deleted: {fault}{place}"), next });
        }
    };
    let left = |error: StoreError| Left {
        message: format!(
            "the bundle could not be deleted from bucket {} key {}: {}",
            destination.bucket(),
            destination.key.as_str(),
            destination.mask(&error.message())
        ),
        next: Next::Try,
    };
    if let Some(id) = upload.and_then(|u| u.upload_id.as_deref()) {
        destination.store.abort(&destination.key, id).await.map_err(left)?;
    }
    // Also an upload that a process began before it died without noting the id.
    destination.store.abort_unfinished(&destination.key).await.map_err(left)?;
    match destination.store.head(&destination.key).await {
        // In a bucket that keeps versions, a DELETE of an absent object would only leave a mark.
        Ok(None) => return elsewhere(stored, &destination).map_or(Ok(Deletion::Gone), Err),
        Err(error) if may == May::DeleteExpired => return Err(left(error)),
        Ok(Some(there)) if may == May::DeleteExpired && !has_expired(&there.meta, Timestamp::now()) => {
            return Err(Left { message: kept(destination.bucket(), destination.key.as_str()), next: Next::Change });
        }
        Ok(Some(_)) | Err(_) => {}
    }
    destination.store.delete(&destination.key).await.map_err(left)
}

/// The object is not where the location leads now, and was stored elsewhere.
fn elsewhere(stored: Option<&Bundle>, destination: &Destination) -> Option<Left> {
    let place = destination.was_elsewhere(stored?)?;
    let message = format!(
        "the bundle was not deleted: {place}. Delete the object by hand, or let the location lead there again and run \
         kubectl debugbundle prune --delete"
    );
    Some(Left { message, next: Next::Change })
}

/// Why the object stays if the operator may not get the definition.
fn kept(bucket: &str, key: &str) -> String {
    format!(
        "the bundle was not deleted and stays until it expires: bucket {bucket} key {key}. The operator may not get the \
         CustomResourceDefinition of DebugBundles, so it cannot tell whether this one was deleted or went with it. Bind \
         ClusterRole debugbundle-definition (rule R27): then the next sweep deletes it, unless it went with its definition"
    )
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::RESTORED_BY_LABEL;
    use serde_json::json;

    use super::*;

    fn bundle(status: serde_json::Value) -> DebugBundle {
        let mut bundle = DebugBundle::new("b", DebugBundleSpec::installation());
        bundle.metadata.uid = Some("0a1b".to_owned());
        bundle.metadata.annotations = Some([("note".to_owned(), "x".repeat(9000))].into());
        bundle.status = Some(serde_json::from_value(status).expect("a status"));
        bundle
    }

    #[test]
    fn a_stop_names_how_many_open_deletions_the_record_has_no_room_for() {
        let open = [("a", "eu-1"), ("b", "eu-1"), ("c", "eu-1"), ("d", "us-1"), ("e", "")];
        let open = open.map(|(uid, location)| (uid.to_owned(), location.to_owned())).into();
        assert_eq!(lost(&open, |uid| uid == "a"), BTreeMap::from([("eu-1", 2), ("us-1", 1)]));
        assert!(lost(&open, |_| true).is_empty());
    }

    #[tokio::test]
    async fn issue_32_deletions_beyond_the_queue_are_counted_unless_the_record_has_them() {
        let nowhere = kube::Config::new("http://127.0.0.1:9".parse().expect("an address"));
        let record = Record::new(kube::Client::try_from(nowhere).expect("a client"), "velero");
        let (deletions, mut waiting) = Deletions::new(Arc::new(record));
        let stored = json!({"storageLocation": "eu-1", "bucket": "b", "key": "k", "bytes": 1, "size": "1 B", "sha256": "0",
            "entries": 1, "manifestOffset": 1, "manifestLength": 1});
        let of = |number: usize| {
            let mut bundle = bundle(json!({"attempts": 1, "bundle": stored}));
            bundle.metadata.uid = Some(format!("u{number}"));
            Deleted::of(&bundle).expect("it ran")
        };
        for number in 0..WAITING + 3 {
            deletions.add(of(number));
        }
        assert!(deletions.take_lost().is_empty(), "the burst is not over");
        for _ in 0..=WAITING / 2 {
            waiting.recv().await.expect("one waits");
        }
        assert_eq!(deletions.take_lost(), BTreeMap::from([("eu-1".to_owned(), 3)]));
        assert!(deletions.take_lost().is_empty(), "each is reported once");
    }

    #[test]
    fn only_what_ran_for_its_own_sake_is_cleaned_up_and_little_of_it_is_kept() {
        assert!(Deleted::of(&DebugBundle::new("b", DebugBundleSpec::installation())).is_none(), "never seen");
        assert!(Deleted::of(&bundle(json!({"phase": "Queued"}))).is_none(), "never claimed");
        let mut ran = bundle(json!({"attempts": 1, "upload": {"uploadId": "u7"}, "cause": "x".repeat(900)}));
        let kept = Deleted::of(&ran).expect("it ran");
        let status = kept.0.status.as_ref().expect("a status");
        assert_eq!(status.upload.as_ref().and_then(|upload| upload.upload_id.as_deref()), Some("u7"));
        assert!(status.cause.is_none() && kept.0.annotations().is_empty());
        assert_eq!(kept.uid(), "0a1b");
        // The status of a DebugBundle that could not be read contains no more than this.
        assert!(Deleted::of(&bundle(json!({"upload": {}}))).is_some());
        ran.labels_mut().insert(RESTORED_BY_LABEL.to_owned(), "r7".to_owned());
        assert!(Deleted::of(&ran).is_none(), "a copy");
    }
}
