//! Progress of a run: counters that the work updates and status reads. No decision depends on them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use debugbundle_crd::{Progress, Stage};

use crate::{collect, metrics::Metrics};

/// Shared by the work and the display of progress.
#[derive(Debug, Default)]
pub struct Tracker {
    collecting: Arc<collect::CollectProgress>,
    sent: AtomicU64,
    to_send: AtomicU64,
    now: Mutex<(Option<Stage>, String)>,
    /// The stage that is measured, and when it began.
    began: Mutex<Option<(Stage, Instant)>>,
    metrics: Metrics,
}

impl Tracker {
    /// A tracker that measures the stages.
    pub fn new(metrics: Metrics) -> Self {
        let mut tracker = Self::default();
        tracker.metrics = metrics;
        tracker
    }

    /// A stage begins, or goes on with another message.
    pub fn stage(&self, stage: Stage, message: &str) {
        *self.lock() = (Some(stage), message.to_owned());
        self.next(Some(stage));
    }

    /// Counts the time of the last stage, unless it goes on.
    fn next(&self, stage: Option<Stage>) {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        if began.map(|(stage, _)| stage) != stage {
            let next = stage.map(|stage| (stage, Instant::now()));
            if let Some((stage, began)) = std::mem::replace(&mut *began, next) {
                self.metrics.stage(stage, began.elapsed());
            }
        }
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

impl Drop for Tracker {
    fn drop(&mut self) {
        self.next(None);
    }
}
