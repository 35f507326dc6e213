//! The second half of a run: uploads the sealed bundle to the object store, under a write-ahead journal, and verifies
//! it there. The location may be why the backup failed, so an upload is retried for long while the sealed spool waits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use debugbundle_crd::{Reason, Stage};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Destination, Engine, Packed, Subject, Tracker,
    backoff::{Backoff, Failure, LONGEST_PAUSE},
    destination,
};
use crate::{
    crash,
    error::Fault,
    store::{StoreError, Upload, UploadHooks},
};

/// The durable record of an upload, wherever it is kept.
pub trait Journal: Sync {
    /// The store returned an upload id: it must be durable before the first part is sent.
    fn begun(&self, upload_id: &str) -> impl Future<Output = Result<(), Fault>> + Send;
    /// The bundle's place differs from the announced one: its location was mended since.
    fn moved(&self, packed: &Packed) -> impl Future<Output = Result<(), Fault>> + Send;
    /// A try failed, another one follows.
    fn retrying(&self, failure: &Failure) -> impl Future<Output = Result<(), Fault>> + Send;
    /// The time.
    fn now(&self) -> Timestamp;
}

/// Concurrent uploads; each needs the memory of its parts. Bundles that wait, and requests without data, do not count.
const AT_ONCE: usize = 4;
/// Timeout of each request to a store before the upload begins. It equals the longest silence of a connection: the user
/// learns after one such silence that there is no answer, not after three.
const ANSWER: Duration = Duration::from_mins(1);
/// How long a try continues after its deadline while nothing moves. A try whose parts arrive is not cut: its sent data
/// would be lost, and it will end by itself. Longer than a part takes on a slow line, and than three attempts of a
/// request to a store that is silent for a minute each.
const GRACE: Duration = Duration::from_mins(5);

/// The slots for uploads.
#[derive(Debug)]
pub(super) struct Sending {
    all: Semaphore,
    /// How many of them bundles that failed before may hold: one slot always stays for bundles that were not tried yet,
    /// so that hanging stores do not block others.
    again: Semaphore,
    /// How many of them the bundles of one location may hold: a store may answer and take no data.
    of_location: Mutex<BTreeMap<String, Weak<Semaphore>>>,
}

impl Default for Sending {
    fn default() -> Self {
        let (all, again) = (Semaphore::new(AT_ONCE), Semaphore::new(AT_ONCE - 1));
        Self { all, again, of_location: Mutex::default() }
    }
}

impl Sending {
    /// A slot; `None` if none was free until then.
    async fn place(&self, location: &str, first: bool, until: Instant) -> Option<UploadSlot<'_>> {
        let of_location = self.of_location(location);
        let places = async {
            let again = if first { None } else { Some(self.again.acquire().await.ok()?) };
            let of_location = of_location.acquire_owned().await.ok()?;
            Some(UploadSlot { _again: again, _of_location: of_location, _all: self.all.acquire().await.ok()? })
        };
        timeout_at(until, places).await.ok().flatten()
    }

    fn of_location(&self, name: &str) -> Arc<Semaphore> {
        let mut all = lock(&self.of_location);
        all.retain(|_, slots| slots.strong_count() > 0);
        let slots = all.get(name).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(Semaphore::new(AT_ONCE - 1)));
        all.insert(name.to_owned(), Arc::downgrade(&slots));
        slots
    }
}

/// The slot of one upload; dropping it frees the slot.
#[derive(Debug)]
struct UploadSlot<'a> {
    _again: Option<SemaphorePermit<'a>>,
    _of_location: OwnedSemaphorePermit,
    _all: SemaphorePermit<'a>,
}

/// One bundle's delivery: what stays the same from try to try.
struct Way<'a, J> {
    subject: &'a Subject,
    packed: &'a Packed,
    /// Id of the open upload, according to the record.
    recorded: Mutex<Option<String>>,
    journal: &'a J,
    tracker: &'a Tracker,
    deadline: Instant,
    backoff: Backoff,
}

impl Engine {
    /// Uploads the sealed bundle. `recorded` is an upload id that an earlier process left on record. Until the deadline
    /// it waits for the store to come back, and for a person to mend the location or its credential. After the
    /// deadline, a bundle that was tried once is not tried again.
    ///
    /// # Errors
    /// Terminal when the time is over, and at once if mending the location cannot help.
    #[allow(clippy::too_many_arguments, reason = "each is one thing the upload needs")]
    pub async fn deliver(
        &self,
        subject: &Subject,
        packed: &Packed,
        recorded: Option<String>,
        journal: &impl Journal,
        tracker: &Tracker,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Destination, Fault> {
        let backoff = self.backoffs.join(&packed.location, &packed.key);
        let way = Way { subject, packed, recorded: Mutex::new(recorded), journal, tracker, deadline, backoff };
        let mut first = true;
        loop {
            tracker.stage(Stage::Upload, "uploading the bundle");
            let one_try = self.try_once(&way, first);
            let result = tokio::select! {
                result = while_it_moves(one_try, deadline, GRACE, || tracker.sent_bytes()) => result,
                () = cancel.cancelled() => return Err(Fault::Cancelled),
            };
            let (reason, step, message) = match result.unwrap_or_else(stood_still) {
                Ok(destination) => {
                    way.backoff.works();
                    return Ok(destination);
                }
                Err(Fault::Transient { reason, step, message }) => (reason, step, message),
                Err(Fault::Terminal { reason, step, message }) if may_be_mended(reason) => (reason, step, message),
                Err(other) => return Err(other),
            };
            first = false;
            if deadline <= Instant::now() {
                let message = format!("the bundle could not be uploaded in time: {message}");
                return Err(Fault::terminal(reason, message));
            }
            self.metrics.upload_retried(step, reason);
            tracing::warn!(reason = reason.as_str(), why = message, "Upload will be tried again");
            let mut failure = way.backoff.failed(reason, step, message);
            loop {
                let (why, most) = (&failure.message, LONGEST_PAUSE.as_secs());
                tracker.message(&format!("the upload failed ({why}); the operator retries within {most} s"));
                journal.retrying(&failure).await?;
                let cured = self.secret_changed(&packed.location, failure.reason);
                let newer = tokio::select! {
                    newer = way.backoff.wait(&failure, deadline, cured) => newer,
                    () = cancel.cancelled() => return Err(Fault::Cancelled),
                };
                let Some(newer) = newer else { break };
                failure = newer;
            }
        }
    }

    /// Reads the credential anew each time: it may have been rotated, or mended by a person. The store is asked first,
    /// and only a store that answers gets one of the few slots: a silent one blocks nobody.
    async fn try_once(&self, way: &Way<'_, impl Journal>, first: bool) -> Result<Destination, Fault> {
        let destination = self.destination(way.subject, Some(&way.packed.location)).await?;
        let sent = self.send(way, &destination, first).await;
        let explained = |message: &str| format!("{}{}", destination.mask(message), destination.assumption);
        sent.map_err(|fault| fault.map_message(explained))?;
        Ok(destination)
    }

    async fn send(&self, way: &Way<'_, impl Journal>, destination: &Destination, first: bool) -> Result<(), Fault> {
        let Way { subject, packed, recorded, journal, tracker, deadline, backoff } = way;
        if !packed.is_for(destination) {
            journal.moved(&packed.at(destination)).await?;
        }
        let upload = packed.upload(subject, journal.now());
        let there = ended_before(destination, recorded, &upload).await;
        let there = there.map_err(|error| destination::of_store(&error))?;
        // A bundle is tried at least once, even after its deadline: a slot is held no longer than one try may take.
        let until = if first { (*deadline).max(Instant::now()) + 2 * GRACE } else { *deadline };
        tracker.message("waiting for an upload slot");
        let Some(_place) = self.sending.place(&destination.location.name, first, until).await else {
            let message = format!("{AT_ONCE} other bundles used all upload slots");
            return Err(Fault::transient(Reason::StoreUnreachable, message));
        };
        tracker.message("uploading the bundle");
        let send = async {
            if !there {
                let hooks = Hooks { journal: *journal, recorded, tracker, backoff, bytes: upload.bytes };
                destination.store.upload(&destination.key, &upload, &hooks).await?;
                crash::point("uploaded");
            }
            tracker.stage(Stage::Verify, "comparing the stored bundle with the sealed one");
            destination.store.verify(&destination.key, &upload).await
        };
        match send.await {
            Ok(_) => Ok(()),
            Err(error @ StoreError::Corrupt(_)) => {
                let _ = destination.store.delete(&destination.key).await;
                Err(destination::of_store(&error))
            }
            Err(error) => Err(destination::of_store(&error)),
        }
    }
}

/// Aborts uploads that earlier tries left open; returns whether the store already holds the bundle.
async fn ended_before(
    destination: &Destination,
    recorded: &Mutex<Option<String>>,
    upload: &Upload<'_>,
) -> Result<bool, StoreError> {
    let open = lock(recorded).clone();
    if let Some(id) = open {
        answered(destination.store.abort(&destination.key, &id)).await?;
        *lock(recorded) = None;
    }
    // Without the permission to list uploads none is found, and only the recorded id could be aborted.
    answered(destination.store.abort_unfinished(&destination.key)).await?;
    answered(is_there(destination, upload)).await
}

/// The answer to a request, or an error after [`ANSWER`].
pub(super) async fn answered<T>(question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answer = timeout(ANSWER, question).await;
    answer.unwrap_or_else(|_| Err(StoreError::silent(format!("no answer within {} s", ANSWER.as_secs()))))
}

/// The result of the work; `None` if the deadline is over and nothing moved for `grace`.
async fn while_it_moves<T>(
    work: impl Future<Output = T>,
    deadline: Instant,
    grace: Duration,
    sent: impl Fn() -> u64,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let (mut before, mut look) = (sent(), deadline.max(Instant::now()) + grace);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            () = sleep_until(look) => {}
        }
        let now = sent();
        if now == before {
            return None;
        }
        (before, look) = (now, look + grace);
    }
}

fn stood_still<T>() -> Result<T, Fault> {
    let message = format!("nothing was sent for {} minutes", GRACE.as_secs() / 60);
    Err(Fault::transient(Reason::StoreUnreachable, message))
}

/// Whether a person can mend this while the bundle waits: any fault of a location or its credential.
const fn may_be_mended(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::VeleroNotFound
            | Reason::LocationNotFound
            | Reason::LocationAmbiguous
            | Reason::LocationReadOnly
            | Reason::LocationInvalid
            | Reason::CredentialInvalid
            | Reason::UploadDenied
    )
}

/// An earlier process may have sent it and died before recording that.
async fn is_there(destination: &Destination, upload: &Upload<'_>) -> Result<bool, StoreError> {
    match destination.store.head(&destination.key).await {
        Ok(found) => Ok(found.is_some_and(|f| f.bytes == upload.bytes && f.sha256.as_deref() == Some(upload.sha256))),
        // Without the permission to list, a HEAD for an absent object may be denied, and the refusal has no code. So
        // this is unknown: the bundle is sent, and the answer to that shows what is wrong.
        Err(StoreError::Denied { .. } | StoreError::Rejected(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Hooks<'a, J> {
    journal: &'a J,
    recorded: &'a Mutex<Option<String>>,
    tracker: &'a Tracker,
    backoff: &'a Backoff,
    bytes: u64,
}

impl<J: Journal> UploadHooks for Hooks<'_, J> {
    fn begun<'a>(&'a self, upload_id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        *lock(self.recorded) = Some(upload_id.to_owned());
        Box::pin(async move { self.journal.begun(upload_id).await.map_err(|e| e.to_string()) })
    }

    fn sent(&self, bytes: u64) {
        self.tracker.sent(bytes, self.bytes);
        if bytes > 0 {
            self.backoff.works();
        }
        crash::point("part-sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stores_that_hang_leave_a_place_for_a_bundle_that_was_not_tried_yet() {
        let sending = Sending::default();
        let until = || Instant::now() + Duration::from_millis(50);
        let mut hanging = Vec::new();
        for _ in 0..AT_ONCE - 1 {
            let location = format!("store-{}", hanging.len());
            hanging.push(sending.place(&location, false, until()).await.expect("a place"));
        }
        assert!(sending.place("eu", false, until()).await.is_none(), "the last one is not for those that failed");
        let first = sending.place("eu", true, until()).await.expect("a place");
        let end = until();
        assert!(sending.place("eu", true, end).await.is_none());
        assert!(Instant::now() >= end, "it waits until its time is over");
        drop(first);
        assert!(sending.place("eu", true, until()).await.is_some());
        hanging.pop();
        assert!(sending.place("eu", false, until()).await.is_some());
    }

    #[tokio::test]
    async fn issue_32_a_store_that_takes_no_data_leaves_a_place_for_another_one() {
        let sending = Sending::default();
        let until = || Instant::now() + Duration::from_millis(50);
        let mut silent = Vec::new();
        while let Some(place) = sending.place("silent", true, until()).await {
            silent.push(place);
        }
        assert_eq!(silent.len(), AT_ONCE - 1);
        assert!(sending.place("healthy", true, until()).await.is_some());
    }

    #[tokio::test]
    async fn a_try_ends_some_time_after_the_deadline_unless_something_moves() {
        let (began, left, grace) = (Instant::now(), Duration::from_millis(300), Duration::from_millis(200));
        let never = std::future::pending::<()>();
        assert_eq!(while_it_moves(never, began + left, grace, || 0).await, None);
        assert!(began.elapsed() >= left + grace, "not before the deadline, however long it hangs");

        let (began, sent, grace) = (Instant::now(), std::cell::Cell::new(0), Duration::from_secs(1));
        let slow = async {
            for part in 1..=8 {
                tokio::time::sleep(grace / 4).await;
                sent.set(part);
            }
            "sent"
        };
        assert_eq!(while_it_moves(slow, began, grace, || sent.get()).await, Some("sent"));
        assert!(began.elapsed() >= 2 * grace, "parts arrived all the time");

        let began = Instant::now();
        let stalls = async {
            sent.set(99);
            std::future::pending::<()>().await;
        };
        assert_eq!(while_it_moves(stalls, began, grace / 4, || sent.get()).await, None);
        assert!(began.elapsed() >= grace / 2, "once it had moved");
    }
}
