//! Progress of a collection: counters that the items update and any reader may read at any time. No decision depends on
//! them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use debugbundle_crd::Stage;

/// Counters of a running collection.
#[derive(Debug, Default)]
pub struct CollectProgress {
    done: AtomicU64,
    total: AtomicU64,
    bytes: AtomicU64,
    current: Mutex<String>,
}

impl CollectProgress {
    pub(super) fn planned(&self, items: usize) {
        self.total.store(items as u64, Ordering::Relaxed);
    }

    pub(super) fn one_more(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn began(&self, what: &str) {
        what.clone_into(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now: `bytes` as received from the sources, `message` is the item begun last.
    pub fn now(&self) -> debugbundle_crd::Progress {
        let number = |counter: &AtomicU64| i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        debugbundle_crd::Progress {
            stage: Some(Stage::Collect),
            items_done: number(&self.done),
            items_total: number(&self.total),
            bytes: number(&self.bytes),
            bytes_total: None,
            message: self.current.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
