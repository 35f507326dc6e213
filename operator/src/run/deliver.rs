//! The second half of a run: the sealed bundle into the object store, under a write-ahead journal, and verified there.
//! The location may be why the backup failed, so an upload is tried for long while the sealed spool waits.

use std::{sync::Mutex, time::Duration};

use debugbundle_crd::{Reason, Stage};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Destination, Engine, Packed, Subject, Tracker, destination};
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

/// Uploads that are tried at the same time; each needs the memory of its parts. Those that wait are not counted.
pub(super) const AT_ONCE: usize = 4;
/// The first pause between two tries; each next one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

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
        let recorded = Mutex::new(recorded);
        let mut pause = FIRST_PAUSE;
        loop {
            tracker.stage(Stage::Upload, "sending the bundle");
            let error = match self.try_once(subject, packed, &recorded, journal, tracker, cancel).await {
                Ok(destination) => return Ok(destination),
                Err(Fault::Transient { reason, message }) => (reason, message),
                Err(Fault::Terminal { reason, message }) if may_be_mended(reason) => (reason, message),
                Err(other) => return Err(other),
            };
            let (reason, message) = error;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!("the bundle could not be sent in the time given: {message}");
                return Err(Fault::terminal(reason, message));
            }
            tracing::warn!(reason = reason.as_str(), message, pause = ?pause, "Upload will be tried again");
            tracker.message(&format!("sending failed ({message}); trying again in {} s", pause.as_secs()));
            journal.retrying(reason, &message).await?;
            tokio::select! {
                () = tokio::time::sleep(jittered(pause).min(left)) => {}
                () = cancel.cancelled() => return Err(Fault::Cancelled),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The credential is read anew each time: it may have been rotated, or be what a person mends meanwhile.
    async fn try_once(
        &self,
        subject: &Subject,
        packed: &Packed,
        recorded: &Mutex<Option<String>>,
        journal: &impl Journal,
        tracker: &Tracker,
        cancel: &CancellationToken,
    ) -> Result<Destination, Fault> {
        let _sending = tokio::select! {
            sending = self.sending.acquire() => sending.map_err(|_| Fault::Cancelled)?,
            () = cancel.cancelled() => return Err(Fault::Cancelled),
        };
        let destination = self.destination(subject, Some(&packed.location)).await?;
        if !packed.is_for(&destination) {
            journal.moved(&packed.at(&destination)).await?;
        }
        let upload = packed.upload(subject);
        let send = async {
            let open = lock(recorded).clone();
            if let Some(id) = open {
                destination.store.abort(&destination.key, &id).await?;
                *lock(recorded) = None;
            }
            // Without the right to list uploads nothing is found, and the id on record was all there is.
            destination.store.abort_unfinished(&destination.key).await?;
            if !is_there(&destination, &upload).await? {
                let hooks = Hooks { journal, recorded, tracker, bytes: upload.bytes };
                destination.store.upload(&destination.key, &upload, &hooks).await?;
                crash::point("uploaded");
            }
            tracker.stage(Stage::Verify, "comparing the stored bundle with the sealed one");
            destination.store.verify(&destination.key, &upload).await
        };
        let result = tokio::select! {
            result = send => result,
            () = cancel.cancelled() => return Err(Fault::Cancelled),
        };
        match result {
            Ok(_) => Ok(destination),
            Err(error @ StoreError::Corrupt(_)) => {
                let _ = destination.store.delete(&destination.key).await;
                Err(destination::of_store(&error))
            }
            Err(error) => Err(destination::of_store(&error)),
        }
    }
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

/// Between a half and the whole of `pause`, so that many operators do not knock at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [128_u8];
    // Without randomness it is three quarters: worse spread, still a pause.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 510
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
    bytes: u64,
}

impl<J: Journal> UploadHooks for Hooks<'_, J> {
    fn begun<'a>(&'a self, upload_id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        *lock(self.recorded) = Some(upload_id.to_owned());
        Box::pin(async move { self.journal.begun(upload_id).await.map_err(|e| e.to_string()) })
    }

    fn sent(&self, bytes: u64) {
        self.tracker.sent(bytes, self.bytes);
        crash::point("part-sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_between_a_half_and_the_whole() {
        for _ in 0..1000 {
            let pause = jittered(LONGEST_PAUSE);
            assert!(pause >= LONGEST_PAUSE / 2 && pause <= LONGEST_PAUSE, "{pause:?}");
        }
    }
}
