//! What the diagnosis is made from: redacted and bounded facts, which `collect` takes from the items as it reads them.

use std::collections::BTreeSet;

use debugbundle_diagnosis::FailedHook;
use jiff::Timestamp;
use serde_json::Value;

use crate::velero::{Results, SkippedVolume};

/// Most bytes of all objects together (as written).
const OBJECTS: usize = 6 << 20;
/// Most lines of node-agents' own diagnoses.
const DIAGNOSED: usize = 500;

/// Redacted facts about one run.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Velero's namespace.
    pub velero: String,
    /// The target.
    pub target: Option<Value>,
    /// A Restore's Backup.
    pub backup: Option<Value>,
    /// The API server said that the Restore's Backup does not exist.
    pub is_backup_absent: bool,
    /// Without a target: the Backups and Restores that failed last, the newest of each kind first.
    pub failed: Vec<Value>,
    /// What Velero will process before a target that it has not begun, the first one first.
    pub ahead: Vec<Value>,
    /// Number of further objects that Velero processes before the target and that `ahead` omits.
    pub ahead_beyond: usize,
    /// The target's `results.json`, as far as it could be read; `None` if it is not in the bundle.
    pub results: Option<Results>,
    /// The target's PodVolumeBackups and -Restores, DataUploads and -Downloads; BackupStorageLocations,
    /// BackupRepositories, pods, Deployments, DaemonSets, namespaces, claims, quotas, StorageClasses, snapshots and their
    /// contents, volume attachments, nodes, definitions without schemas; Events that warn or are about one of these. Each has `apiVersion` and `kind`.
    pub objects: Vec<Value>,
    /// Paths of the Lists that were read to their end, whether or not they contain anything.
    pub lists: BTreeSet<String>,
    /// What containers said last.
    pub said: Vec<Said>,
    /// The volumes whose data the Backup skipped, or that of the Restore.
    pub skipped: Vec<SkippedVolume>,
    /// Paths of objects that the API server said do not exist.
    pub gone: BTreeSet<String>,
    /// The target's hooks that failed.
    pub failed_hooks: Vec<FailedHook>,
    /// Number of objects that did not fit here; they are in the bundle.
    pub left_out: usize,
    /// Node-agents' diagnoses of hosting pods that could not be prepared, line by line: `DD: Pod …`.
    pub diagnosed: Vec<String>,
    /// Path of the log with the first of these lines.
    pub diagnosed_in: String,
    /// Version and commit of Velero's server, if its first line was seen.
    pub velero_version: Option<(String, String)>,
    /// When it was read: ages refer to this time.
    pub read_at: Timestamp,
    /// Bytes that `objects` take.
    pub(crate) used: usize,
}

/// The last words in the log of a container's instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The pod's namespace and name.
    pub pod: (String, String),
    /// The container.
    pub container: String,
    /// They are of the instance before the last one.
    pub is_previous: bool,
    /// The words.
    pub words: String,
}

impl Evidence {
    /// The objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// Adds a node-agent's diagnoses from the log at `path`, up to a limit.
    pub fn add_diagnosed(&mut self, lines: Vec<String>, path: &str) {
        if self.diagnosed.is_empty() && !lines.is_empty() {
            path.clone_into(&mut self.diagnosed_in);
        }
        let room = DIAGNOSED.saturating_sub(self.diagnosed.len());
        self.diagnosed.extend(lines.into_iter().take(room));
    }

    /// Adds objects, each with its bytes, up to the limit for the operator's memory.
    pub fn add(&mut self, objects: Vec<(Value, usize)>) {
        self.add_within(objects, OBJECTS);
    }

    /// Adds objects, each with its bytes, while all of them have at most `limit` bytes.
    pub fn add_within(&mut self, objects: Vec<(Value, usize)>, limit: usize) {
        for (object, bytes) in objects {
            if self.used + bytes > limit {
                self.left_out += 1;
            } else {
                self.used += bytes;
                self.objects.push(object);
            }
        }
    }
}
