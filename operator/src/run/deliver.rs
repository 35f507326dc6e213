//! The second half of a run: the sealed bundle into the object store, under a write-ahead journal, and verified there.
//! The location may be why the backup failed, so an upload is tried for long while the sealed spool waits.

use std::{sync::Mutex, time::Duration};

use debugbundle_crd::{Reason, Stage};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Destination, Engine, Packed, Subject, Tracker,
    backoff::{Backoff, LONGEST_PAUSE},
    destination,
};
use crate::{
    crash,
    error::Fault,
    store::{Store as _, StoreError, Upload, UploadHooks},
};

/// What is on record of an upload, wherever that is kept.
pub trait Journal: Sync {
    /// The store gave an upload id: must be durable before the first part is sent.
    fn begun(&self, upload_id: &str) -> impl Future<Output = Result<(), Fault>> + Send;
    /// The bundle will lie elsewhere than was announced: its location was mended since.
    fn moved(&self, packed: &Packed) -> impl Future<Output = Result<(), Fault>> + Send;
    /// A try failed, another one follows.
    fn retrying(&self, reason: Reason, message: &str) -> impl Future<Output = Result<(), Fault>> + Send;
    /// The time.
    fn now(&self) -> Timestamp;
}

/// Uploads at the same time; each needs the memory of its parts. Bundles that wait, and questions to a store, are not counted.
const AT_ONCE: usize = 4;
/// How long one question to a store may take that is asked before anything is sent. As long as a connection may be silent:
/// whoever waits for the bundle hears after one such silence that there is no answer, not after three.
const ANSWER: Duration = Duration::from_mins(1);
/// How long a try goes on when the time is over and nothing moves. One in which parts arrive is not cut: what it has sent
/// would be lost, and it will end by itself. Longer than a part takes on a slow line, and than the three attempts of a
/// request to a store that is silent for a minute each.
const GRACE: Duration = Duration::from_mins(5);

/// The places in which bundles are sent.
#[derive(Debug)]
pub(super) struct Sending {
    all: Semaphore,
    /// Of these, such as a bundle may have that failed before: one always stays for those that were not tried yet, so that
    /// stores that hang do not keep others from theirs.
    again: Semaphore,
}

impl Default for Sending {
    fn default() -> Self {
        Self { all: Semaphore::new(AT_ONCE), again: Semaphore::new(AT_ONCE - 1) }
    }
}

impl Sending {
    /// A place; `None` if there was none until then.
    async fn place(&self, first: bool, until: Instant) -> Option<(Option<SemaphorePermit<'_>>, SemaphorePermit<'_>)> {
        let places = async {
            let again = if first { None } else { Some(self.again.acquire().await.ok()?) };
            Some((again, self.all.acquire().await.ok()?))
        };
        timeout_at(until, places).await.ok().flatten()
    }
}

/// One bundle's way to the store: what stays the same from try to try.
struct Way<'a, J> {
    subject: &'a Subject,
    packed: &'a Packed,
    /// The upload that is open, by what is on record.
    recorded: Mutex<Option<String>>,
    journal: &'a J,
    tracker: &'a Tracker,
    deadline: Instant,
    backoff: Backoff,
}

impl Engine {
    /// Brings the sealed bundle into the store. `recorded` is an upload id that an earlier process left on record.
    /// Until the deadline it waits for the store to come back, and for a person to mend the location or its credential;
    /// what has been tried once when the deadline is over is not tried again.
    ///
    /// # Errors
    /// Terminal when the time is over, and at once where no mending of the location helps.
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
            tracker.stage(Stage::Upload, "sending the bundle");
            let one_try = self.try_once(&way, first);
            let result = tokio::select! {
                result = while_it_moves(one_try, deadline, GRACE, || tracker.sent_bytes()) => result,
                () = cancel.cancelled() => return Err(Fault::Cancelled),
            };
            let (reason, message) = match result.unwrap_or_else(stood_still) {
                Ok(destination) => {
                    way.backoff.works();
                    return Ok(destination);
                }
                Err(Fault::Transient { reason, message }) => (reason, message),
                Err(Fault::Terminal { reason, message }) if may_be_mended(reason) => (reason, message),
                Err(other) => return Err(other),
            };
            first = false;
            if deadline <= Instant::now() {
                let message = format!("the bundle could not be sent in the time given: {message}");
                return Err(Fault::terminal(reason, message));
            }
            tracing::warn!(reason = reason.as_str(), why = message, "Upload will be tried again");
            let mut failure = way.backoff.failed(reason, message);
            loop {
                let (why, most) = (&failure.message, LONGEST_PAUSE.as_secs());
                tracker.message(&format!("sending failed ({why}); the location is tried again within {most} s"));
                journal.retrying(failure.reason, why).await?;
                let newer = tokio::select! {
                    newer = way.backoff.wait(&failure, deadline) => newer,
                    () = cancel.cancelled() => return Err(Fault::Cancelled),
                };
                let Some(newer) = newer else { break };
                failure = newer;
            }
        }
    }

    /// The credential is read anew each time: it may have been rotated, or be what a person mends meanwhile. The store is
    /// asked first, and only one that answers gets one of the few places: a silent one keeps nobody from sending.
    async fn try_once(&self, way: &Way<'_, impl Journal>, first: bool) -> Result<Destination, Fault> {
        let destination = self.destination(way.subject, Some(&way.packed.location)).await?;
        let sent = self.send(way, &destination, first).await;
        sent.map_err(|fault| fault.map_message(|message| destination.told(message)))?;
        Ok(destination)
    }

    async fn send(&self, way: &Way<'_, impl Journal>, destination: &Destination, first: bool) -> Result<(), Fault> {
        let Way { subject, packed, recorded, journal, tracker, deadline, backoff } = way;
        if !packed.is_for(destination) {
            journal.moved(&packed.at(destination)).await?;
        }
        let upload = packed.upload(subject);
        let there = ended_before(destination, recorded, &upload).await;
        let there = there.map_err(|error| destination::of_store(&error))?;
        // A bundle that was never tried is, though its time be over: no place is taken for longer than its try may take.
        let until = if first { (*deadline).max(Instant::now()) + 2 * GRACE } else { *deadline };
        let Some(_place) = self.sending.place(first, until).await else {
            return Err(Fault::Transient {
                reason: Reason::StoreUnreachable,
                message: format!("{AT_ONCE} other bundles were being sent all the time"),
            });
        };
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

/// Ends what earlier tries left open; whether the bundle is in the store already.
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
    // Without the right to list uploads nothing is found, and the id on record was all there is.
    answered(destination.store.abort_unfinished(&destination.key)).await?;
    answered(is_there(destination, upload)).await
}

/// The answer to a question, if there is one in time.
async fn answered<T>(question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answer = timeout(ANSWER, question).await;
    answer.unwrap_or_else(|_| Err(StoreError::silent(format!("no answer within {} s", ANSWER.as_secs()))))
}

/// What the work comes to; `None` if the time was over and nothing had moved for so long.
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
    Err(Fault::Transient { reason: Reason::StoreUnreachable, message })
}

/// Whether a person can mend that while the bundle waits: all that is wrong with a location or its credential.
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

/// An earlier process may have sent it and died before it could say so.
async fn is_there(destination: &Destination, upload: &Upload<'_>) -> Result<bool, StoreError> {
    match destination.store.head(&destination.key).await {
        Ok(found) => Ok(found.is_some_and(|f| f.bytes == upload.bytes && f.sha256.as_deref() == Some(upload.sha256))),
        // A HEAD may be denied for an object that is absent (no right to list), and its refusal has no code: unknown, so
        // it is sent, and the answer to that tells what is wrong.
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
            hanging.push(sending.place(false, until()).await.expect("a place"));
        }
        assert!(sending.place(false, until()).await.is_none(), "the last one is not for those that failed");
        let first = sending.place(true, until()).await.expect("a place");
        let end = until();
        assert!(sending.place(true, end).await.is_none());
        assert!(Instant::now() >= end, "it waits until its time is over");
        drop(first);
        assert!(sending.place(true, until()).await.is_some());
        hanging.pop();
        assert!(sending.place(false, until()).await.is_some());
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
