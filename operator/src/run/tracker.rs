//! Progress of a run: counters that the work updates and status reads. No decision depends on them.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use debugbundle_crd::{Progress, Stage};

use crate::collect;

/// Shared by the work and the display of progress.
#[derive(Debug, Default)]
pub struct Tracker {
    collecting: Arc<collect::CollectProgress>,
    sent: AtomicU64,
    to_send: AtomicU64,
    now: Mutex<(Option<Stage>, String)>,
}

impl Tracker {
    /// A stage begins.
    pub fn stage(&self, stage: Stage, message: &str) {
        *self.lock() = (Some(stage), message.to_owned());
    }

    /// What is being done now.
    pub fn message(&self, message: &str) {
        message.clone_into(&mut self.lock().1);
    }

    /// The counters of the collection.
    pub fn collecting(&self) -> &Arc<collect::CollectProgress> {
        &self.collecting
    }

    /// Sets the number of bytes sent so far; an upload that starts over starts at 0.
    pub fn sent(&self, bytes: u64, of: u64) {
        self.sent.store(bytes, Relaxed);
        self.to_send.store(of, Relaxed);
    }

    /// Bytes sent so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// The present progress.
    pub fn snapshot(&self) -> Progress {
        let number = |n: &AtomicU64| i64::try_from(n.load(Relaxed)).unwrap_or(i64::MAX);
        let collected = self.collecting.now();
        let (stage, message) = self.lock().clone();
        match stage {
            Some(Stage::Collect) => collected,
            Some(Stage::Upload | Stage::Verify) => Progress {
                stage,
                bytes: number(&self.sent),
                bytes_total: Some(number(&self.to_send)),
                message,
                ..collected
            },
            _ => Progress { stage, message, ..collected },
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Option<Stage>, String)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
