//! Events for the timeline from the collected files: error lines of logs and asynchronous operations, read again from
//! their own segments. `diagnose` interprets the lines; a file that cannot be read again yields none.

use std::io::BufReader;

use debugbundle_archive::Entry;
use debugbundle_format::{StoreFile, layout, manifest::SourceKind};

use crate::{
    diagnose::{self, Diagnosis, TimelineEvent},
    discovery::Snapshot,
    json_stream::Shallow,
    velero::TargetObject,
};

/// Most error lines of one log, and of all logs together.
const OF_ONE: usize = 2_000;
const OF_ALL: usize = 8_000;
/// Most bytes of containers' logs that are searched (uncompressed); the target's log is always searched. Sealing has
/// seconds, not minutes.
const LOGS: u64 = 128 << 20;
/// Most bytes read of one text in a JSON file (as written).
const TEXT: usize = 8 * 1024;

/// The events, file by file. Blocks.
pub(super) fn of(snapshot: &Snapshot, entries: &[Entry]) -> Vec<TimelineEvent> {
    let mut all = Vec::new();
    for object in snapshot.target.object.iter().chain(&snapshot.target.backup) {
        of_object(object, &snapshot.installation.namespace, entries, &mut all);
    }
    let mut room = LOGS;
    for entry in entries.iter().filter(|entry| written_by(entry) == WrittenBy::Container) {
        let path = entry.segment.path().as_str();
        let bytes = entry.segment.bytes();
        let mut parts = path.split('/').skip(1);
        if let (Some(namespace), Some("pods"), Some(pod)) = (parts.next(), parts.next(), parts.next())
            && bytes <= room
        {
            room -= bytes;
            log(entry, &format!("Pod/{namespace}/{pod}"), &mut all);
        }
    }
    all
}

/// Events from the logs and operations of a Backup or Restore.
fn of_object(object: &TargetObject, velero: &str, entries: &[Entry], all: &mut Vec<TimelineEvent>) {
    let below = format!("{}/", layout::target_folder(object.kind, &object.name).as_str());
    let named = format!("{}/{velero}/{}", object.kind, object.name);
    let operations = layout::store_file(object.kind, &object.name, StoreFile::ItemOperations);
    for entry in entries {
        let path = entry.segment.path().as_str();
        if path == operations.as_str() {
            if let Ok(file) = entry.segment.reader() {
                all.extend(diagnose::operations(Shallow::new(file, TEXT), path));
            }
        } else if path.starts_with(&below) && written_by(entry) != WrittenBy::Operator && is_log(path) {
            log(entry, &named, all);
        }
    }
}

/// Who wrote an entry's lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WrittenBy {
    /// A container.
    Container,
    /// The operator itself.
    Operator,
    /// The API server, or Velero by way of the object store.
    Other,
}

fn written_by(entry: &Entry) -> WrittenBy {
    match entry.source.kind {
        SourceKind::PodLog => WrittenBy::Container,
        SourceKind::Generated => WrittenBy::Operator,
        SourceKind::List | SourceKind::Object | SourceKind::Store | SourceKind::Discovery | SourceKind::Http => {
            WrittenBy::Other
        }
    }
}

fn is_log(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|extension| extension == "log")
}

/// Quotes the lines around those to which the findings point. Blocks.
pub(super) fn quote_around(diagnosis: &mut Diagnosis, entries: &[Entry]) {
    for path in diagnosis.logs_pointed_at() {
        let entry = entries.iter().find(|entry| entry.segment.path().as_str() == path);
        if let Some(Ok(log)) = entry.map(|entry| entry.segment.reader())
            && let Err(error) = diagnosis.quote_around(&path, BufReader::with_capacity(64 << 10, log))
        {
            tracing::warn!(%error, path, "The lines around an error could not be read");
        }
    }
}

fn log(entry: &Entry, object: &str, all: &mut Vec<TimelineEvent>) {
    let room = OF_ALL.saturating_sub(all.len()).min(OF_ONE);
    let path = entry.segment.path().as_str();
    let read = entry.segment.reader().map(|log| BufReader::with_capacity(64 << 10, log));
    if let Ok(lines) = read.and_then(|log| diagnose::error_lines(log, path, object, room)) {
        all.extend(lines);
    }
}
