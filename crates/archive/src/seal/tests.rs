//! The archive read back by our own reader; `tests/it/readers.rs` tests other readers.

use std::{io::Write as _, sync::Arc};

use debugbundle_format::{
    hex_digest,
    manifest::{self, ManifestView},
};
use debugbundle_redact_check::Detector;

use super::*;
use crate::EntryWriter;

fn rules() -> Arc<Redactor> {
    Arc::new(
        Redactor::new(&[], vec![("location-key", debugbundle_redact::Secret::new("the-known-value"))])
            .expect("no rules"),
    )
}

fn entry(spool: &Arc<Spool>, path: &str, body: &[u8]) -> Entry {
    let mut writer = EntryWriter::new(BundlePath::new(path.split('/')), rules(), Arc::clone(spool));
    writer.write_all(body).expect("room");
    told(writer.finish().expect("room"))
}

fn told(segment: Segment) -> Entry {
    Entry { segment, source: Source::default(), truncated: None, read_at: Timestamp::UNIX_EPOCH, ms: 1 }
}

fn sealed(spool: &Arc<Spool>, entries: Vec<Entry>, head: ManifestHead) -> Sealed {
    let draft = seal(spool, "root", entries, head, (&rules(), &Detector::new([]))).expect("room");
    draft.checked(&Detector::new([])).expect("nothing is found")
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b" abcdefghijklmnopqrstuvwxyz01234"[(state >> 27) as usize]
    };
    (0..bytes).map(|i| if i % 97 == 96 { b'\n' } else { next() }).collect()
}

fn manifest(archive: &[u8]) -> (String, ManifestView) {
    let (offset, length) = read::locate(&archive[..64]).expect("ours");
    let segment = &archive[usize::try_from(offset).expect("small")..][..usize::try_from(length).expect("small")];
    let text = String::from_utf8(read::inflate_segment(segment, 1 << 30).expect("deflate")).expect("UTF-8");
    let view = ManifestView::parse(text.as_bytes()).expect("JSON");
    (text, view)
}

fn body(archive: &[u8], entry: &manifest::EntryView) -> Vec<u8> {
    let from = usize::try_from(entry.segment.offset).expect("small");
    let segment = &archive[from..][..usize::try_from(entry.segment.length).expect("small")];
    let bytes = read::extract(segment, entry.skip, entry.bytes).expect("whole");
    assert_eq!(hex_digest(&bytes), entry.sha256, "{}", entry.path);
    bytes
}

#[test]
fn sec_t5_every_entry_is_read_alone_by_its_segment_and_the_manifest_in_three_ways() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let bodies: Vec<(String, Vec<u8>)> = (0..300)
        .map(|i| (format!("namespaces/n{}/core/k{i}.yaml", i % 7), noise(i * 37)))
        .chain([65_535, 65_536, 65_537, 700_000].map(|n| (format!("velero/backups/b/f{n}"), noise(n))))
        .collect();
    let entries = bodies.iter().rev().map(|(path, body)| entry(&spool, path, body)).collect();
    let mut head = ManifestHead::default();
    head.totals.wanted = 304;
    head.request = serde_json::json!({ "redaction": { "rules": ["x", "y"] } });
    head.missing = vec![manifest::Missing {
        what: "a log".into(),
        path: "p".into(),
        code: manifest::MissingCode::ApiError,
        severity: manifest::MissingSeverity::Error,
        why: "it said the-known-value".into(),
        need: None,
        rule: None,
        cure: String::new(),
    }];
    let sealed = sealed(&spool, entries, head);
    let archive = fs::read(&sealed.file).expect("there");
    assert_eq!((archive.len() as u64, hex_digest(&archive)), (sealed.bytes, sealed.sha256.clone()));
    assert_eq!(read::locate(&archive), Some((sealed.manifest_offset, sealed.manifest_length)));

    let (text, view) = manifest(&archive);
    assert_eq!((view.entries.len() as u64, sealed.entries), (304, 304));
    for (path, want) in &bodies {
        assert!(body(&archive, view.entry(&format!("root/{path}")).expect("listed")) == *want, "{path}");
    }
    assert!(text.starts_with("{\"schemaVersion\":1,\n\"bundle\":{"), "{}", &text[..80]);
    assert!(text.lines().filter(|line| line.starts_with("{\"path\":\"namespaces/")).count() == 300);
    assert!(text.contains("\"rules\":2") && text.contains("[REDACTED:location-key:") && !text.contains("the-known"));
    assert!(text.contains("\"wanted\":304,\"ok\":0,\"truncated\":0,\"missing\":1,"));

    // From the end, as the format says: between the third-last and the second-last mark.
    let marks: Vec<usize> = memchr::memmem::find_iter(&archive, &[0, 0, 0xff, 0xff]).map(|at| at + 4).collect();
    let [third, second, last] = marks[marks.len() - 3..] else { panic!("three marks") };
    assert_eq!(last, archive.len() - 10);
    assert_eq!(
        (third as u64, second as u64),
        (sealed.manifest_offset, sealed.manifest_offset + sealed.manifest_length)
    );
}

#[test]
fn the_same_entries_in_another_order_make_the_same_bytes() {
    let archive = |reverse: bool| {
        let tmp = tempfile::tempdir().expect("a folder");
        let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
        let mut paths = ["summary.md", "operator.log", "namespaces/a/x", "analysis/f.json", "velero/v", "timestamp"];
        if reverse {
            paths.reverse();
        }
        let entries = paths.iter().map(|path| entry(&spool, path, path.as_bytes())).collect();
        fs::read(sealed(&spool, entries, ManifestHead::default()).file).expect("there")
    };
    let one = archive(false);
    assert!(one == archive(true));
    let order: Vec<String> = manifest(&one).1.entries.into_iter().map(|e| e.path).collect();
    assert_eq!(order, ["summary.md", "timestamp", "analysis/f.json", "velero/v", "namespaces/a/x", "operator.log"]);
}

#[test]
fn sec_t3_paths_that_are_equal_or_differ_in_case_are_told_apart() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let paths = ["a/x", "a/x", "A/x", "a/X", "a/x/below", "manifest.json", "Manifest.JSON"];
    let entries = paths.iter().enumerate().map(|(i, path)| entry(&spool, path, format!("{i}").as_bytes())).collect();
    let sealed = sealed(&spool, entries, ManifestHead::default());
    let archive = fs::read(&sealed.file).expect("there");
    let view = manifest(&archive).1;
    let folded: BTreeSet<String> = view.entries.iter().map(|e| e.path.to_lowercase()).collect();
    assert_eq!(folded.len(), paths.len(), "{folded:?}");
    assert!(!folded.contains("manifest.json"));
    for a in &folded {
        assert!(!folded.iter().any(|b| b.starts_with(&format!("{a}/"))), "{a} is file and directory: {folded:?}");
    }
    let bodies: BTreeSet<Vec<u8>> = view.entries.iter().map(|e| body(&archive, e)).collect();
    assert_eq!(bodies.len(), paths.len());
}

#[test]
fn a_limited_log_keeps_head_and_tail_and_says_what_is_missing() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let line = |i: u32| {
        format!("2026-09-08T03:{:02}:{:02}.5Z line {i} {}\n", i / 60 % 60, i % 60, i.wrapping_mul(2_654_435_761))
    };
    let limit = 200_000;
    let mut writer = EntryWriter::new(BundlePath::new(["log"]), rules(), Arc::clone(&spool)).limited(limit);
    let mut all = String::new();
    for i in 0..40_000 {
        all.push_str(&line(i));
        writer.write_all(line(i).as_bytes()).expect("room");
    }
    let segment = writer.finish().expect("room");
    let check = |segment: &Segment, limit: u64| {
        let mut kept = String::new();
        segment.reader().expect("there").read_to_string(&mut kept).expect("whole");
        let cut = segment.cut().expect("cut").clone();
        assert_eq!((kept.len() as u64, hex_digest(kept.as_bytes())), (segment.bytes(), segment.sha256()));
        assert!(segment.bytes() <= limit && segment.bytes() > limit * 8 / 10, "{} of {limit}", segment.bytes());
        assert_eq!(cut.kept_head + cut.kept_tail + cut.left_out_bytes, all.len() as u64);
        let (head, rest) = kept.split_at(usize::try_from(cut.kept_head).expect("small"));
        let (marker, tail) = rest.split_once('\n').expect("a line");
        assert!(all.starts_with(head) && head.ends_with('\n') && all.ends_with(tail));
        let last = head.lines().last().expect("a line").split_once('Z').expect("a time").0;
        let (bytes, lines) = (cut.left_out_bytes, cut.left_out_lines);
        assert_eq!(
            marker,
            format!("{last}00000000Z debugbundle: {bytes} bytes, {lines} lines left out here (limit {limit})")
        );
        assert_eq!(lines + (head.lines().count() + tail.lines().count()) as u64, 40_000);
        assert!(cut.kept_head <= limit / 4 && cut.kept_head > limit / 6);
    };
    check(&segment, limit);
    let segment = segment.shrink(&spool, 100_000).expect("room");
    check(&segment, 100_000);
    let segment = segment.shrink(&spool, 3_000).expect("room");
    check(&segment, 3_000);

    let mut whole = EntryWriter::new(BundlePath::new(["w"]), rules(), Arc::clone(&spool)).limited(all.len() as u64);
    whole.write_all(all.as_bytes()).expect("room");
    let whole = whole.finish().expect("room");
    assert_eq!((whole.cut(), whole.sha256()), (None, hex_digest(all.as_bytes())));
    // Much smaller than before: a chunk is larger than the head that is to stay.
    let whole = whole.shrink(&spool, 50_000).expect("room");
    check(&whole, 50_000);

    let entries = vec![told(segment), told(whole)];
    let sealed = sealed(&spool, entries, ManifestHead::default());
    let archive = fs::read(&sealed.file).expect("there");
    for entry in manifest(&archive).1.entries {
        body(&archive, &entry);
    }
}

#[test]
fn of_a_log_whose_end_alone_matters_the_end_is_kept() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let line = |i: u32| format!("2026-09-08T03:{:02}:{:02}.5Z line {i}\n", i / 60 % 60, i % 60);
    let all = (0..20_000).map(line).collect::<Vec<_>>().concat();
    for limit in [200_000, all.len() as u64] {
        let mut writer = EntryWriter::new(BundlePath::new(["log"]), rules(), Arc::clone(&spool)).tail(limit);
        writer.write_all(all.as_bytes()).expect("room");
        let segment = writer.finish().expect("room");
        let mut kept = String::new();
        segment.reader().expect("there").read_to_string(&mut kept).expect("whole");
        let Some(cut) = segment.cut() else {
            assert_eq!(kept, all);
            continue;
        };
        let (marker, tail) = kept.split_once('\n').expect("a line");
        assert!(all.ends_with(tail) && tail.len() as u64 > limit * 9 / 10 && kept.len() as u64 <= limit, "{limit}");
        assert_eq!((cut.kept_head, cut.kept_tail), (0, tail.len() as u64));
        let first = tail.split_once('Z').expect("a time").0;
        let (bytes, lines) = (all.len() - tail.len(), 20_000 - tail.lines().count());
        assert_eq!(
            marker,
            format!("{first}00000000Z debugbundle: {bytes} bytes, {lines} lines left out here (limit {limit})")
        );
    }
}

#[test]
fn a_limit_smaller_than_a_line_leaves_the_marker() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let mut writer = EntryWriter::new(BundlePath::new(["log"]), rules(), Arc::clone(&spool)).limited(1024);
    writer.write_all(&[vec![b'x'; 5000], b"\n".to_vec()].concat()).expect("room");
    let segment = writer.finish().expect("room");
    let mut kept = String::new();
    segment.reader().expect("there").read_to_string(&mut kept).expect("whole");
    assert_eq!(kept, "debugbundle: 5001 bytes, 1 lines left out here (limit 1024)\n");
}

#[test]
fn a_full_spool_ends_writing_and_leaves_no_segment() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 50_000).expect("a spool");
    let mut writer = EntryWriter::new(BundlePath::new(["log"]), rules(), Arc::clone(&spool));
    let full = (0..1000).find_map(|_| writer.write_all(&noise(10_000)).err()).or_else(|| writer.flush().err());
    let full = full.expect("the spool is too small");
    assert!(matches!(SpoolError::of(&full), Some(SpoolError::Full { limit: 50_000, .. })), "{full:?}");
    assert!(writer.write_all(b"x").is_err());
    assert!(writer.finish().is_err());
    assert_eq!(spool.used(), 0);
}

#[test]
fn sealing_frees_bodies_as_it_copies_and_says_when_the_spool_is_full() {
    let run = |limit: u64| {
        let tmp = tempfile::tempdir().expect("a folder");
        let spool = Spool::create(tmp.path(), limit).expect("a spool");
        let entries: Vec<Entry> = (0..10).map(|i| entry(&spool, &format!("f{i}"), &noise(300_000))).collect();
        let used = spool.used();
        (
            used,
            seal(&spool, "root", entries, ManifestHead::default(), (&rules(), &detector())).map(|draft| draft.bytes()),
        )
    };
    let (used, sealed) = run(1 << 30);
    let archive = sealed.expect("sealed");
    let (_, tight) = run(used + used / 5 + 10_000);
    assert_eq!(tight.expect("bodies are freed"), archive);
    assert!(matches!(run(used + 1000).1, Err(SealError::Spool(SpoolError::Full { .. }))));
}

#[test]
fn a_sealed_archive_survives_its_process_and_a_damaged_one_does_not() {
    let tmp = tempfile::tempdir().expect("a folder");
    let dir = tmp.path().join("run");
    assert_eq!(Sealed::reopen(&dir), None);
    let spool = Spool::create(&dir, 1 << 30).expect("a spool");
    let entries = vec![entry(&spool, "a", b"body"), entry(&spool, "b", &noise(100_000))];
    let dropped = entry(&spool, "c", &noise(100_000));
    let sealed = sealed(&spool, entries, ManifestHead::default());
    drop((spool, dropped));
    let mut names: Vec<_> = fs::read_dir(&dir).expect("there").map(|e| e.expect("entry").file_name()).collect();
    names.sort();
    assert_eq!(names, [SEALED_FILE, SEALED_NOTE]);
    assert_eq!(Sealed::reopen(&dir).as_ref(), Some(&sealed));

    let good = fs::read(&sealed.file).expect("there");
    let mut bad = good.clone();
    bad[200] ^= 1;
    for damaged in [&bad[..], &good[..good.len() - 1]] {
        fs::write(&sealed.file, damaged).expect("written");
        assert_eq!(Sealed::reopen(&dir), None);
    }
    fs::write(&sealed.file, &good).expect("written");
    assert!(Sealed::reopen(&dir).is_some());
    fs::remove_file(dir.join(SEALED_NOTE)).expect("removed");
    assert_eq!(Sealed::reopen(&dir), None, "killed between the archive and its note");
    Spool::remove(&dir).expect("removed");
    assert!(!dir.exists());
}

#[test]
fn an_unsealed_run_leaves_nothing() {
    let tmp = tempfile::tempdir().expect("a folder");
    let dir = tmp.path().join("run");
    let spool = Spool::create(&dir, 1 << 30).expect("a spool");
    let half = {
        let mut writer = EntryWriter::new(BundlePath::new(["x"]), rules(), Arc::clone(&spool));
        writer.write_all(&noise(200_000)).expect("room");
        writer
    };
    drop((entry(&spool, "a", b"x"), spool, half));
    assert!(!dir.exists());
}

#[test]
fn eight_threads_write_into_one_spool() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let entries: Vec<Entry> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let spool = &spool;
                scope.spawn(move || {
                    let one = |i: usize| entry(spool, &format!("w{worker}/f{i}"), &noise((worker * 31 + i) * 577));
                    (0..40).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    let sealed = sealed(&spool, entries, ManifestHead::default());
    let archive = fs::read(&sealed.file).expect("there");
    let view = manifest(&archive).1;
    for worker in 0..8 {
        for i in 0..40 {
            let entry = view.entry(&format!("w{worker}/f{i}")).expect("listed");
            assert!(body(&archive, entry) == noise((worker * 31 + i) * 577));
        }
    }
    assert_eq!(spool.used(), sealed.bytes + fs::metadata(tmp.path().join(SEALED_NOTE)).expect("there").len());
}

#[test]
fn a_user_rule_does_not_break_the_manifest() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let by = Arc::new(Redactor::new(&[".+".into()], Vec::new()).expect("a rule"));
    let mut writer = EntryWriter::new(BundlePath::new(["version"]), Arc::clone(&by), Arc::clone(&spool));
    writer.write_all(b"debugbundle\n1\n").expect("room");
    let source = Source { path: Some("/api/v1/pods".into()), ..Source::default() };
    let entries = vec![Entry { source, ..told(writer.finish().expect("room")) }];
    let draft = seal(&spool, "root", entries, ManifestHead::default(), (&by, &Detector::new([]))).expect("sealed");
    let sealed = draft.checked(&Detector::new([])).expect("nothing is found");
    let archive = fs::read(&sealed.file).expect("there");
    let (text, view) = manifest(&archive);
    assert!(body(&archive, view.entry("version").expect("listed")).starts_with(b"[REDACTED:user-0:"));
    assert!(!text.contains("/api/v1"));
}

/// An entry from a redactor that does not know the value, as if its rule were broken.
fn blind(spool: &Arc<Spool>, path: &str, body: &[u8]) -> Entry {
    let by = Arc::new(Redactor::new(&[], Vec::new()).expect("no rules"));
    let mut writer = EntryWriter::new(BundlePath::new(path.split('/')), by, Arc::clone(spool));
    writer.write_all(body).expect("room");
    told(writer.finish().expect("room"))
}

fn detector() -> Detector {
    Detector::new([("location-key", "the-known-value")])
}

#[test]
fn sec_x52_what_is_found_is_told_by_entry_offset_and_rule_and_the_rest_is_sealed_anew() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let leak = |n: usize| [&noise(n)[..], b" the-known-value ", &noise(n)].concat();
    let bodies: Vec<(String, Vec<u8>)> = (0..40)
        .map(|i| (format!("namespaces/n{}/k{i}.yaml", i % 3), noise(i * 631)))
        .chain([("velero/big.log".to_owned(), noise(900_000))])
        .collect();
    let mut entries: Vec<Entry> = bodies.iter().map(|(path, body)| blind(&spool, path, body)).collect();
    entries.push(blind(&spool, "velero/small.log", &leak(300)));
    entries.push(blind(&spool, "velero/large.log", &leak(400_000)));
    let draft = seal(&spool, "root", entries, ManifestHead::default(), (&rules(), &detector())).expect("room");
    let hits = draft.check(&detector()).expect("checked").expect_err("two leaks");
    let told: Vec<String> = hits.iter().map(|hit| format!("{hit:?}")).collect();
    let expected = ["location-key at byte 400001 of velero/large.log", "location-key at byte 301 of velero/small.log"];
    assert_eq!(told, expected, "never the value");

    let rest = draft.entries().into_iter().filter(|entry| !entry.segment.path().as_str().starts_with("velero/small"));
    let draft = seal(&spool, "root", rest.collect(), ManifestHead::default(), (&rules(), &detector())).expect("room");
    let hits = draft.check(&detector()).expect("checked").expect_err("one is left");
    assert_eq!(hits.len(), 1);
    let rest = draft.entries().into_iter().filter(|entry| !entry.segment.path().as_str().starts_with("velero/large"));
    let draft = seal(&spool, "root", rest.collect(), ManifestHead::default(), (&rules(), &detector())).expect("room");
    let sealed = draft.checked(&detector()).expect("nothing is left");

    let archive = fs::read(&sealed.file).expect("there");
    let (_, view) = manifest(&archive);
    assert_eq!(view.entries.len(), bodies.len());
    for (path, want) in &bodies {
        assert!(body(&archive, view.entry(&format!("root/{path}")).expect("listed")) == *want, "{path}");
    }
    let mut whole = Vec::new();
    flate2::read::GzDecoder::new(&archive[..]).read_to_end(&mut whole).expect("one gzip stream");
    assert!(memchr::memmem::find(&whole, b"the-known-value").is_none());
    drop(spool);
    let mut left: Vec<_> = fs::read_dir(tmp.path()).expect("read").map(|e| e.expect("entry").file_name()).collect();
    left.sort();
    assert_eq!(left, [SEALED_FILE, SEALED_NOTE], "the earlier archives are gone");
}

#[test]
fn sec_x52_before_a_clean_check_nothing_counts_as_sealed() {
    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let draft = seal(
        &spool,
        "root",
        vec![blind(&spool, "a", b"the-known-value")],
        ManifestHead::default(),
        (&rules(), &detector()),
    );
    let draft = draft.expect("room");
    assert!(Sealed::reopen(tmp.path()).is_none(), "it is not checked yet");
    assert!(matches!(draft.checked(&detector()), Err(crate::Unsealed::Hits { .. })));
    assert!(Sealed::reopen(tmp.path()).is_none(), "it did not pass");
    drop(spool);
    assert!(!tmp.path().exists(), "the spool is gone");
}

#[test]
fn sec_x51_what_the_check_cannot_read_to_its_end_does_not_pass() {
    use std::os::unix::fs::FileExt as _;

    let tmp = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(tmp.path(), 1 << 30).expect("a spool");
    let draft = || {
        let entries = vec![blind(&spool, "a", &noise(200)), blind(&spool, "b", &noise(200_000))];
        seal(&spool, "root", entries, ManifestHead::default(), (&rules(), &detector())).expect("room")
    };
    let whole = draft();
    let bytes = whole.bytes();
    assert!(whole.checked(&detector()).is_ok());
    for at in [80, bytes / 2, bytes - 9, bytes - 3] {
        let draft = draft();
        let file = fs::OpenOptions::new().read(true).write(true).open(draft.file.path()).expect("there");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("inside");
        file.write_all_at(&[byte[0] ^ 0x55], at).expect("inside");
        assert!(matches!(draft.checked(&detector()), Err(crate::Unsealed::Check(_))), "byte {at} of {bytes}");
    }
}
