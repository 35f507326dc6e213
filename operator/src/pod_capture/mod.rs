//! Captures the last status, Events and log lines of data movers' pods while they live: Velero deletes these pods as
//! soon as they are done. The data is bounded and in memory. Only the redacted last status of pods that ended is also
//! on disk and survives a restart of the process. `collect` chooses what goes into a bundle.
//!
//! * [`watch`]: watches the pods, in a task beside the controller.
//! * `follow`: reads one container's log as it grows.
//! * `follow_slots`: limits how many logs are followed at a time, in all and at each node.
//! * `cache`: what is kept and what is dropped: at most 64 pods and 8 MiB, for six hours after their end; of other pods
//!   only the names, at most 256.
//! * `saved`: the last status of pods that ended, on disk.
//! * `log_buffer`, `pod_snapshot`: the last lines of a log; a pod as it was seen once.

mod cache;
mod follow;
mod follow_slots;
mod log_buffer;
mod pod_snapshot;
mod saved;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use cache::CaptureCache;
use saved::SavedPods;

pub use cache::PODS;
pub use follow_slots::FOLLOWED;
pub use watch::watch;

/// The captured data: filled by [`watch`], read when a bundle is made. Without a watch it stays empty.
#[derive(Clone, Debug, Default)]
pub struct PodCapture {
    cache: Arc<Mutex<CaptureCache>>,
    saved: Option<SavedPods>,
}

/// A hosting pod as it was last seen.
#[derive(Clone, Debug)]
pub struct CapturedPod {
    /// Its UID.
    pub uid: String,
    /// Its name, also that of the object it works for.
    pub name: String,
    /// The node it ran on.
    pub node: Option<String>,
    /// Its labels that name what it works for.
    pub labels: BTreeMap<String, String>,
    /// When it was last seen.
    pub seen: Timestamp,
    /// The object as JSON, unredacted: for memory only.
    pub object: Arc<[u8]>,
    /// UID and JSON of its Events, unredacted: for memory only.
    pub events: Vec<(String, Arc<[u8]>)>,
    /// Containers whose log may have been read.
    pub containers: Vec<String>,
    /// Containers that ran but whose log was not read, and why.
    pub unread: Vec<(String, NotCaptured)>,
}

/// Why no line of a log was read before its pod was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCaptured {
    /// The pod was gone too soon.
    Gone,
    /// Too many other logs were being followed.
    PassedOver,
    /// The permission to read it is missing.
    Refused,
    /// The operator was restarted after the pod had ended; logs are in memory only.
    Restarted,
}

/// The last lines of a container's log, each with its time.
#[derive(Debug)]
pub struct CapturedLog {
    /// Whole lines, unredacted: for memory only.
    pub content: Vec<u8>,
    /// Bytes before or between these lines that were not kept.
    pub left_out_bytes: u64,
    /// The same as a number of lines.
    pub left_out_lines: u64,
}

impl CapturedPod {
    /// The repository that it maintains; `None` for the pod of a data mover.
    pub fn repository(&self) -> Option<&str> {
        self.labels.get(pod_snapshot::MAINTENANCE).map(String::as_str)
    }

    /// Whether it works for an object of this name.
    pub fn works_for(&self, name: &str) -> bool {
        self.name == name || self.labels.iter().any(|(key, value)| key != pod_snapshot::MAINTENANCE && value == name)
    }
}

impl PodCapture {
    /// Loads what an earlier process saved in this folder, and saves the last status of each pod that ends to it.
    pub fn saved_in(folder: PathBuf) -> Self {
        let (saved, mut cache, now) = (SavedPods(folder), CaptureCache::default(), Timestamp::now());
        for pod in saved.load() {
            cache.restore(pod, now);
        }
        saved.retain(&cache.uids());
        Self { cache: Arc::new(Mutex::new(cache)), saved: Some(saved) }
    }

    /// Saves the pods that ended, and removes the files of pods that are no longer kept. Blocks.
    fn save(&self) {
        let Some(saved) = &self.saved else { return };
        let (unsaved, kept) = {
            let mut cache = self.cache();
            cache.expire(Timestamp::now());
            (cache.unsaved(), cache.uids())
        };
        for pod in unsaved {
            if let Err(error) = saved.save(pod) {
                tracing::warn!(%error, "The last status of a data mover's pod was not saved");
            }
        }
        saved.retain(&kept);
    }

    /// All pods that are kept.
    pub fn pods(&self) -> Vec<CapturedPod> {
        self.cache().pods()
    }

    /// The log of a container, if at least one line of it was read.
    pub fn log(&self, uid: &str, container: &str) -> Option<CapturedLog> {
        self.cache().log(uid, container)
    }

    /// Names of pods that were seen but not kept.
    pub fn turned_away(&self) -> BTreeSet<String> {
        self.cache().turned_away()
    }

    fn cache(&self) -> MutexGuard<'_, CaptureCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
