//! Writes `describe.txt` of the target, and of a Restore's Backup, from the entries of a run. Velero's files are read
//! again from their own segments; `describe` makes the text.

use std::{io, time::Instant};

use debugbundle_archive::{Entry, Segment, SpoolError};
use debugbundle_crd::TargetKind;
use debugbundle_format::{
    BundlePath, StoreFile, layout,
    manifest::{MissingCode, Source, SourceKind, Trimmed, TruncationReason},
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Collected,
    entry::{EntryContext, LazyEntry, WriteError},
    missing::{no_room, not_redacted},
};
use crate::{
    cluster::ApiKind,
    describe::{self, DescribedObject, Fact, Live, StoredFile, VeleroFiles},
    discovery::Snapshot,
    json_stream::Shallow,
    velero::TargetObject,
};

/// Most bytes of a description, uncompressed; head and tail are kept. The limit is lower when little room is left: this
/// text compresses to an eighth or less, so two descriptions of twice the remaining bytes each still fit.
const DESCRIPTION: u64 = 8 << 20;
/// Most bytes of one text in Velero's files that are quoted (as written there).
const TEXT: usize = 32 * 1024;
/// Collects small writes into larger ones: each write costs a call of the redactor.
const PIECE: usize = 64 * 1024;

/// What is described: the target, and a Restore's Backup.
pub(super) fn subjects(snapshot: &Snapshot) -> Vec<DescribedObject> {
    let of = |object: &TargetObject| DescribedObject {
        kind: object.kind,
        name: object.name.clone(),
        uid: object.uid.clone(),
    };
    snapshot.target.object.iter().chain(&snapshot.target.backup).map(of).collect()
}

/// The facts of an object that the descriptions need, by index of their subject.
pub(super) fn facts(subjects: &[DescribedObject], kind: &ApiKind, object: &Value) -> Vec<(usize, Fact)> {
    if kind.group != "velero.io" {
        return Vec::new();
    }
    let facts = subjects.iter().enumerate().filter_map(|(at, subject)| Some((at, subject.fact(kind, object)?)));
    facts.collect()
}

/// Adds the descriptions to the collected entries. They use only a small part of the `own` bytes (compressed). Blocks.
pub(super) fn write(
    context: &EntryContext,
    snapshot: &Snapshot,
    mut collected: Collected,
    live: Vec<Live>,
    own: u64,
) -> Result<Collected, SpoolError> {
    let limit = DESCRIPTION.min(2 * own);
    let objects = [
        snapshot.target.object.is_some().then(|| collected.evidence.target.clone()),
        snapshot.target.backup.is_some().then(|| collected.evidence.backup.clone()),
    ];
    for ((subject, object), mut live) in subjects(snapshot).iter().zip(objects.into_iter().flatten()).zip(live) {
        let Some(object) = object else { continue };
        let path = layout::target_file(subject.kind, &subject.name, "describe.txt");
        let (at, began) = (Timestamp::now(), Instant::now());
        let kept = Kept::of(subject, &collected);
        live.volumes_read = kept.was_read(&snapshot.installation.namespace, volumes_of(subject.kind));
        live.deletions_read = subject.kind == TargetKind::Restore
            || kept.was_read(&snapshot.installation.namespace, "deletebackuprequests");
        match one(context, &path, subject.kind, &object, &kept, &live, limit) {
            Ok(Some(segment)) => {
                let source = Source { kind: SourceKind::Generated, ..Source::default() };
                let truncated = segment.truncated(TruncationReason::Limit);
                let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                collected.entries.push(Entry { segment, source, truncated, read_at: at, ms });
            }
            Ok(None) => {}
            Err(WriteError::Spool(error)) if error.is_full() => {
                let what = format!("description of {} {}", subject.kind, subject.name);
                collected.missing.push(no_room(&what, path.as_str(), &error));
            }
            Err(WriteError::Spool(error)) => return Err(error),
            Err(WriteError::Entry(error)) => {
                let what = format!("description of {} {}", subject.kind, subject.name);
                collected.missing.push(not_redacted(&what, path.as_str(), &error));
            }
        }
    }
    Ok(collected)
}

fn volumes_of(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Backup => "podvolumebackups",
        TargetKind::Restore => "podvolumerestores",
    }
}

fn one(
    context: &EntryContext,
    path: &BundlePath,
    kind: TargetKind,
    object: &Value,
    files: &Kept<'_>,
    live: &Live,
    limit: u64,
) -> Result<Option<Segment>, WriteError> {
    let mut entry = LazyEntry::new(context, path.clone(), Some(limit));
    {
        let mut pieces = io::BufWriter::with_capacity(PIECE, &mut entry);
        describe::write(&mut pieces, kind, object, files, live)?;
    }
    Ok(entry.finish()?)
}

/// The part of the collected data that a description reads.
struct Kept<'a> {
    subject: &'a DescribedObject,
    collected: &'a Collected,
}

impl<'a> Kept<'a> {
    fn of(subject: &'a DescribedObject, collected: &'a Collected) -> Self {
        Self { subject, collected }
    }

    fn segment(&self, path: &str) -> Option<&Segment> {
        self.collected.entries.iter().map(|entry| &entry.segment).find(|segment| segment.path().as_str() == path)
    }

    /// Whether this List of Velero's namespace was read, even if it was empty or did not fit into the bundle.
    fn was_read(&self, namespace: &str, plural: &str) -> bool {
        let path = format!("namespaces/{namespace}/velero.io/{plural}.yaml");
        let left_out = |line: &Trimmed| line.path == path && line.dropped_bytes > 0;
        self.segment(&path).is_some()
            || self.collected.empty.contains(&path)
            || self.collected.trimmed.iter().any(left_out)
    }
}

impl VeleroFiles for Kept<'_> {
    fn open(&self, file: StoreFile) -> io::Result<StoredFile> {
        let path = layout::store_file(self.subject.kind, &self.subject.name, file);
        if let Some(segment) = self.segment(path.as_str()) {
            return Ok(StoredFile::There(Box::new(Shallow::new(segment.reader()?, TEXT))));
        }
        let missing = self.collected.missing.iter().find(|missing| missing.path == path.as_str());
        let absent = missing.is_some_and(|missing| {
            matches!(missing.code, MissingCode::NeverWritten | MissingCode::NotFound | MissingCode::Empty)
        });
        Ok(if absent { StoredFile::Absent } else { StoredFile::Unread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_read_counts_as_read_whether_or_not_it_fitted_into_the_bundle() {
        let list = |plural: &str| format!("namespaces/vault-ns/velero.io/{plural}.yaml");
        let trimmed = |plural, dropped_bytes| Trimmed { path: list(plural), dropped_bytes, ..Trimmed::default() };
        let collected = Collected {
            entries: Vec::new(),
            missing: Vec::new(),
            empty: vec![list("podvolumerestores")],
            trimmed: vec![trimmed("podvolumebackups", 9), trimmed("deletebackuprequests", 0)],
            wanted: 3,
            evidence: crate::diagnose::Evidence::default(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
        };
        let subject = DescribedObject { kind: TargetKind::Backup, name: "herd".to_owned(), uid: "u".to_owned() };
        let kept = Kept::of(&subject, &collected);
        let read = ["podvolumerestores", "podvolumebackups", "deletebackuprequests", "backups"]
            .map(|plural| kept.was_read("vault-ns", plural));
        assert_eq!(read, [true, true, false, false]);
    }
}
