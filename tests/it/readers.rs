//! The archive in many public programs: each must read the same files with the same digests. This archive is difficult
//! on purpose; `cli` has the same readers read an operator's archive.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::{Arc, LazyLock},
};

use debugbundle_archive::{Entry, EntryWriter, Spool, read, seal};
use debugbundle_format::{
    BundlePath,
    manifest::{BundleInfo, ManifestHead, ManifestView, Source, TruncationReason},
    root_name,
};
use debugbundle_redact::Redactor;
use debugbundle_redact_check::Detector;
use harness::readers::{self, Archive, digest, manifest_of, range};
use jiff::Timestamp;

/// One archive for all readers: many files, long names, small and large bodies, an empty one, a limited log.
static MADE: LazyLock<Archive> = LazyLock::new(make);

fn make() -> Archive {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the last run's folder goes");
    }
    let spool = Spool::create(&folder.join("spool"), 1 << 30).expect("a spool");
    let redactor = Arc::new(Redactor::new(&[], Vec::new()).expect("no rules"));
    let at: Timestamp = "2026-09-08T03:04:12Z".parse().expect("a time");
    let mut entries = Vec::new();
    let mut add = |path: BundlePath, body: &[u8], limit: Option<u64>| {
        let mut writer = EntryWriter::new(path, Arc::clone(&redactor), Arc::clone(&spool));
        if let Some(limit) = limit {
            writer = writer.limited(limit);
        }
        writer.write_all(body).expect("room");
        let segment = writer.finish().expect("room");
        let truncated = segment.truncated(TruncationReason::Limit);
        assert_eq!(truncated.is_some(), limit.is_some());
        entries.push(Entry { segment, source: Source::default(), truncated, read_at: at, ms: 3 });
    };
    for size in [0, 1, 511, 512, 513, 65_535, 65_536, 65_537, 1_000_000] {
        add(BundlePath::new(["velero".into(), "sizes".into(), format!("f{size}")]), &text(size), None);
    }
    for i in 0..1500 {
        let name = format!("object-{i:04}.yaml");
        add(BundlePath::new(["namespaces", &format!("ns-{}", i % 40), "core", &name]), &text(i * 3), None);
    }
    for length in [60, 98, 99, 100, 101, 155, 200, 253] {
        let name = "n".repeat(length);
        add(BundlePath::new(["namespaces", "shop", "pods", &name, "current.log"]), name.as_bytes(), None);
        add(BundlePath::new(["cluster-scoped-resources", &name]), name.as_bytes(), None);
    }
    add(BundlePath::new(["namespaces", "..", "system:node", "-x", "CON", "ü b\n"]), b"hostile name", None);
    add(
        BundlePath::new(["namespaces", "velero", "pods", "p", "c", "c", "logs", "current.log"]),
        &text(6_000_000),
        Some(2_000_000),
    );
    add(BundlePath::new(["summary.md"]), b"# Cause\n", None);

    let root = root_name("restore-r1", "0f3c9d11-6f0e-4a55-9c1c-2b8f6f1f7f10", at);
    let files = entries.iter().map(|e| (e.segment.path().as_str().to_owned(), e.segment.sha256())).collect();
    let bundle = BundleInfo { attempt: 1, ..BundleInfo::default() };
    let request = serde_json::json!({});
    let head = ManifestHead { bundle, request, started_at: at, finished_at: at, ..ManifestHead::default() };
    let detector = Detector::new([]);
    let draft = seal(&spool, &root, entries, head, (&redactor, &detector)).expect("sealed");
    let sealed = draft.checked(&detector).expect("nothing is found");
    Archive { file: sealed.file, root, files, scratch: folder.join("unpacked") }
}

/// Lines without repetition.
fn text(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 80);
    for i in 0_u64.. {
        if out.len() >= bytes {
            break;
        }
        let word = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(out, "2026-09-08T03:04:12.000000000Z level=info msg=\"item {i}\" id={word:016x}").expect("memory");
    }
    out.truncate(bytes);
    out
}

#[test]
fn every_entry_comes_out_of_one_range() {
    let manifest = ManifestView::parse(&manifest_of(&MADE.file)).expect("JSON");
    assert_eq!(manifest.entries.len(), MADE.files.len());
    for entry in &manifest.entries {
        let segment = range(&MADE.file, entry.segment.offset, entry.segment.length);
        let body = read::extract(&segment, entry.skip, entry.bytes).expect("whole");
        assert_eq!(digest(&body), entry.sha256, "{}", entry.path);
        assert_eq!(entry.sha256, MADE.files[&entry.path], "{}", entry.path);
        if entry.bytes >= 64 << 10 {
            assert_eq!(entry.skip, 0, "{}", entry.path);
        } else {
            assert!(segment.len() < 256 << 10, "{} lies in a large segment", entry.path);
        }
    }
}

#[test]
fn gzip() {
    readers::gzip(&MADE);
}

#[test]
fn sec_t6_gnu_tar() {
    readers::gnu_tar(&MADE);
}

#[test]
fn sec_t6_bsdtar() {
    readers::bsdtar(&MADE);
}

#[test]
fn sec_t6_busybox() {
    readers::busybox(&MADE);
}

#[test]
fn sec_t6_python() {
    readers::python(&MADE);
}

#[test]
fn python_streaming() {
    readers::python_stream(&MADE);
}

#[test]
fn sec_t6_go() {
    readers::go(&MADE);
}

#[test]
fn chromium() {
    readers::chromium(&MADE);
}

#[test]
fn node() {
    readers::node(&MADE);
}

#[test]
fn sec_t6_rust() {
    readers::rust(&MADE);
}

#[test]
fn every_entry_has_the_time_at_which_it_was_read() {
    let gzip = flate2::read::GzDecoder::new(fs::File::open(&MADE.file).expect("there"));
    for entry in tar::Archive::new(gzip).entries().expect("a tar") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.header().mtime().ok(), Some(1_788_836_652), "{:?}", entry.path());
    }
}
