//! What pods of data movers leave behind: Velero deletes them as soon as they are done, so their last status, Events and
//! log lines are caught while they live. In memory alone and bounded; what of it goes into a bundle is `collect`'s matter.
//!
//! * [`watch`]: the one task, beside the controller.
//! * `follow`: reads one container's log as it grows, and gives way to bundles that read of the same node.
//! * `cache`: what is kept, and what goes when it is too much: at most 64 pods and 8 MiB, for six hours after their end;
//!   of others the names, 256 at most.
//! * `log_buffer`, `pod_snapshot`: the last lines of a log; what one look at a pod showed.

mod cache;
mod follow;
mod log_buffer;
mod pod_snapshot;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use cache::CaptureCache;

pub use cache::PODS;
pub use watch::{FOLLOWED, watch};

/// What was caught: filled by [`watch`], read when a bundle is made. Without a watch nothing is ever in it.
#[derive(Clone, Debug, Default)]
pub struct Movers(Arc<Mutex<CaptureCache>>);

/// A hosting pod as it was last seen.
#[derive(Clone, Debug)]
pub struct CaughtPod {
    /// Its UID.
    pub uid: String,
    /// Its name; that of the object it works for.
    pub name: String,
    /// Where it ran.
    pub node: Option<String>,
    /// Those of its labels that say what it works for.
    pub labels: BTreeMap<String, String>,
    /// When it was seen.
    pub seen: Timestamp,
    /// The object as JSON, unredacted: for memory only.
    pub object: Arc<[u8]>,
    /// UID and JSON of its Events, unredacted: for memory only.
    pub events: Vec<(String, Arc<[u8]>)>,
    /// Containers of which a log may have been read.
    pub containers: Vec<String>,
    /// Those of which none was, though they ran.
    pub unread: Vec<(String, Unread)>,
}

/// Why nothing of a log was read before its pod went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The pod went too soon.
    Gone,
    /// Too many others were followed.
    PassedOver,
    /// The right to read it is missing.
    Refused,
}

/// The last lines of a container's log, each with its time.
#[derive(Debug)]
pub struct CaughtLog {
    /// Whole lines, unredacted: for memory only.
    pub content: Vec<u8>,
    /// Bytes that came before or between them and were not kept.
    pub left_out_bytes: u64,
    /// The same in lines.
    pub left_out_lines: u64,
    /// Reading it gave way to others of its node, and did not go on: there may be later lines.
    pub gave_way: bool,
}

impl CaughtPod {
    /// The repository that it maintains; `None` for the pod of a data mover.
    pub fn repository(&self) -> Option<&str> {
        self.labels.get(pod_snapshot::MAINTENANCE).map(String::as_str)
    }

    /// Whether it works for an object of this name.
    pub fn works_for(&self, name: &str) -> bool {
        self.name == name || self.labels.iter().any(|(key, value)| key != pod_snapshot::MAINTENANCE && value == name)
    }
}

impl Movers {
    /// All pods that are kept.
    pub fn pods(&self) -> Vec<CaughtPod> {
        self.shelf().pods()
    }

    /// The log of one of their containers, if a line of it was read.
    pub fn log(&self, uid: &str, container: &str) -> Option<CaughtLog> {
        self.shelf().log(uid, container)
    }

    /// Names of pods that were seen, and of which nothing could be kept.
    pub fn turned_away(&self) -> BTreeSet<String> {
        self.shelf().turned_away()
    }

    fn shelf(&self) -> MutexGuard<'_, CaptureCache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
