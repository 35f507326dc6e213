//! Nothing is kept beyond the budget, and everything left out is reported exactly once. The order of the trimming steps
//! is tested in `budget`.

use std::{fmt::Write as _, io::Write as _, sync::Arc};

use debugbundle_archive::Spool;
use debugbundle_format::manifest::Source;
use debugbundle_redact::Redactor;

use super::*;
use crate::{
    discovery::fixture::snapshot,
    plan::{ItemSource, Priority, Want},
};

const MIB: u64 = 1 << 20;

struct Place {
    context: EntryContext,
    _folder: tempfile::TempDir,
}

fn place(limit: u64) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::create(&folder.path().join("spool"), limit).unwrap();
    Place {
        context: EntryContext { redactor: Arc::new(Redactor::new(&[], Vec::new()).unwrap()), spool },
        _folder: folder,
    }
}

/// Lines that compress only to half of their size.
fn entry(context: &EntryContext, path: &str, bytes: u64) -> Entry {
    let mut writer = LazyEntry::new(context, BundlePath::new(path.split('/')), Some(64 * MIB));
    let (mut state, mut left) = (bytes | 1, bytes);
    while left > 0 {
        let mut line = String::new();
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (a, b, c) = (state & 0xff, state >> 52, (state >> 20) & 0xffff);
            write!(line, "{a:02x}-{b:03x}-{c:04x} ").unwrap();
        }
        line.push('\n');
        writer.write_all(line.as_bytes()).unwrap();
        left = left.saturating_sub(line.len() as u64);
    }
    let segment = writer.finish().unwrap().unwrap();
    Entry { segment, source: Source::default(), truncated: None, read_at: Timestamp::UNIX_EPOCH, ms: 0 }
}

fn log_path(pod: &str) -> String {
    format!("namespaces/velero/pods/{pod}/c/c/logs/current.log")
}

fn take_object(room: &mut BudgetedEntries, context: &EntryContext, path: &str, bytes: u64) {
    let kind = crate::cluster::ApiKind::namespaced("", "v1", "services", "Service");
    let item = Item {
        what: "services".into(),
        path: BundlePath::new(path.split('/')),
        source: ItemSource::List { kind, namespace: None, want: Want::All },
        priority: Priority::P2,
        node: None,
    };
    let Entry { segment, source, truncated, read_at, ms } = entry(context, path, bytes);
    room.take(&item, vec![(segment, source, truncated)], read_at, ms);
}

fn told(closed: &Closed) -> Vec<(&str, &str, u64)> {
    closed.trimmed.iter().map(|line| (line.path.as_str(), line.rule.as_str(), line.kept_bytes)).collect()
}

#[test]
fn logs_that_stand_in_for_others_are_charged_and_shortened_like_these() {
    let place = place(1 << 30);
    let mut room = BudgetedEntries::new(3 * MIB, &snapshot());
    for pod in ["a", "b", "c"] {
        room.take_log(entry(&place.context, &log_path(pod), 4 * MIB), true);
    }
    assert!(room.is_over(), "copies count: {}", room.used);
    let mut room = room.fit(&place.context).unwrap();
    assert!(!room.is_over() && room.used > MIB, "{}", room.used);
    let all = room.stand_ins();
    assert_eq!((all.len(), room.used), (3, 0));
    for kept in all {
        // A better log arrived for one of them.
        if kept.entry.segment.path().as_str() != log_path("a") {
            room.adopt(kept);
        }
    }
    let closed = room.close(0);
    let kept: Vec<_> = closed.entries.iter().map(|entry| entry.segment.path().as_str().to_owned()).collect();
    assert_eq!(kept, [log_path("b"), log_path("c")]);
    let expected: Vec<_> =
        closed.entries.iter().map(|entry| (entry.segment.path().as_str(), "Logs", entry.segment.bytes())).collect();
    assert_eq!(told(&closed), expected, "and not a word of the one that does not count");
    for line in &closed.trimmed {
        assert!(line.dropped_bytes + line.kept_bytes >= 4 * MIB, "{line:?}");
    }
    assert!(closed.missing.is_empty());
}

#[test]
fn what_no_step_may_touch_goes_too_when_there_is_no_room_for_it() {
    let place = place(1 << 30);
    let mut room = BudgetedEntries::new(MIB, &snapshot());
    take_object(&mut room, &place.context, "velero/restores/r1/results.json", MIB / 2);
    take_object(&mut room, &place.context, "velero/restores/r1/large.json", 4 * MIB);
    room.take_log(entry(&place.context, &log_path("a"), 2 * MIB), false);
    let closed = room.fit(&place.context).unwrap().close(0);
    let kept: Vec<_> = closed.entries.iter().map(|entry| entry.segment.path().as_str()).collect();
    assert_eq!(kept, ["velero/restores/r1/results.json"]);
    let missing: Vec<_> = closed.missing.iter().map(|one| (one.path.as_str(), one.code, one.severity)).collect();
    let log = log_path("a");
    let lost = |path| (path, MissingCode::TooLarge, MissingSeverity::Error);
    assert_eq!(missing, [lost(log.as_str()), lost("velero/restores/r1/large.json")]);
    assert!(closed.trimmed.is_empty(), "what was shortened and then went is missing, and that alone: {closed:?}");
    let takes: u64 = closed.entries.iter().map(|entry| entry.segment.compressed_bytes()).sum();
    assert!(takes <= MIB);
}

#[test]
fn many_entries_take_room_though_each_is_almost_empty() {
    let place = place(1 << 30);
    let mut room = BudgetedEntries::new(150 * budget::PER_ENTRY, &snapshot());
    for n in 0..200 {
        room.take_log(entry(&place.context, &log_path(&format!("p{n}")), 1), false);
    }
    let closed = room.close(20);
    assert!(closed.entries.len() < 100, "what is said of those that went takes room, too: {}", closed.entries.len());
    assert!(!closed.entries.is_empty());
    assert_eq!(closed.entries.len() + closed.missing.len(), 200);
}
