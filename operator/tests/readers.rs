//! The archive as the programs of this world read it: each must see the same files with the same digests.
//! What stands in the files is tested in the crate; a reader that is not installed fails its test and says what to install.

#![expect(clippy::panic, reason = "a test says in its own words why it fails")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, LazyLock},
};

use debugbundle_operator::{
    archive::{
        BundlePath, Sealed, Spool,
        manifest::{Entry, ManifestHead, ManifestView, Source, Truncation, TruncationReason},
        read, root_name, seal,
    },
    redact::{Redacting, Redactor},
};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// One archive for all readers: many files, long names, small and large bodies, an empty one, a limited log.
struct Made {
    folder: PathBuf,
    sealed: Sealed,
    root: String,
    /// Digest by path, without the root and the manifest.
    files: BTreeMap<String, String>,
}

static MADE: LazyLock<Made> = LazyLock::new(make);

fn make() -> Made {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the last run's folder goes");
    }
    let spool = Spool::create(&folder.join("spool"), 1 << 30).expect("a spool");
    let redactor = Arc::new(Redactor::new(&[], Vec::new()).expect("no rules"));
    let at: Timestamp = "2026-09-08T03:04:12Z".parse().expect("a time");
    let mut entries = Vec::new();
    let mut add = |path: BundlePath, body: &[u8], limit: Option<u64>| {
        let mut writer = Redacting::new(path, Arc::clone(&redactor), Arc::clone(&spool));
        if let Some(limit) = limit {
            writer = writer.limited(limit);
        }
        writer.write_all(body).expect("room");
        let segment = writer.finish().expect("room");
        let truncated = Truncation::of(&segment, TruncationReason::Limit);
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
    let head = ManifestHead { started_at: at, finished_at: at, ..ManifestHead::default() };
    let sealed = seal(&spool, &root, entries, head, &redactor).expect("sealed");
    Made { folder, sealed, root, files }
}

/// Lines that do not repeat.
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

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("memory");
        hex
    })
}

/// Runs a reader that must be installed and must be content.
fn run(program: &str, package: &str, args: &[&str]) -> Output {
    let out = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program} cannot be run ({e}); install it with: apt-get install {package}"));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?} failed: {said}");
    out
}

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers").join(name).display().to_string()
}

fn archive() -> String {
    MADE.sealed.file.display().to_string()
}

fn fresh(name: &str) -> PathBuf {
    let folder = MADE.folder.join(name);
    fs::create_dir(&folder).expect("a new folder");
    folder
}

/// Digest by path of what was unpacked.
fn unpacked(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for item in fs::read_dir(&dir).expect("a folder") {
            let path = item.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_str().expect("ASCII").to_owned();
                found.insert(name, digest(&fs::read(&path).expect("a file")));
            }
        }
    }
    found
}

/// `<sha256>  <path>` a line.
fn listed(out: &Output) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().filter_map(|line| line.split_once("  ")).map(|(sum, path)| (path.to_owned(), sum.to_owned())).collect()
}

/// All files, none else, and the manifest.
fn same(mut found: BTreeMap<String, String>) {
    let manifest = found.remove(&format!("{}/manifest.json", MADE.root)).expect("a manifest");
    let mut archive = fs::File::open(&MADE.sealed.file).expect("there");
    assert_eq!(manifest, digest(&manifest_bytes(&mut archive)));
    let want: BTreeMap<String, String> =
        MADE.files.iter().map(|(path, sum)| (format!("{}/{path}", MADE.root), sum.clone())).collect();
    let missing: Vec<_> = want.iter().filter(|(path, sum)| found.get(*path) != Some(*sum)).take(3).collect();
    assert!(
        missing.is_empty() && found.len() == want.len(),
        "{} of {} files; not so: {missing:?}",
        found.len(),
        want.len()
    );
}

/// What one range request would bring.
fn range(archive: &mut fs::File, offset: u64, length: u64) -> Vec<u8> {
    archive.seek(SeekFrom::Start(offset)).expect("a file");
    let mut bytes = vec![0; usize::try_from(length).expect("fits")];
    archive.read_exact(&mut bytes).expect("within the archive");
    bytes
}

fn manifest_bytes(archive: &mut fs::File) -> Vec<u8> {
    let first = range(archive, 0, read::HEADER as u64);
    let (offset, length) = read::locate(&first).expect("one of ours");
    read::inflate_segment(&range(archive, offset, length), 1 << 30).expect("deflate")
}

#[test]
fn every_entry_comes_out_of_one_range() {
    let mut archive = fs::File::open(&MADE.sealed.file).expect("there");
    let manifest = ManifestView::parse(&manifest_bytes(&mut archive)).expect("JSON");
    assert_eq!(manifest.entries.len(), MADE.files.len());
    for entry in &manifest.entries {
        let segment = range(&mut archive, entry.segment.offset, entry.segment.length);
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
    run("gzip", "gzip", &["-t", &archive()]);
}

#[test]
fn gnu_tar() {
    let to = fresh("gnu");
    let out = run("tar", "tar", &["-xzf", &archive(), "-C", &to.display().to_string()]);
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    same(unpacked(&to));
    let listing = run("tar", "tar", &["-tvzf", &archive(), "--numeric-owner", "--utc"]);
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let mut dirs = Vec::new();
    for (i, line) in listing.lines().enumerate() {
        let path = line.rsplit(' ').next().expect("a path");
        let dir = line.starts_with("drwxr-xr-x 0/0");
        assert!(dir || line.starts_with("-rw-r--r-- 0/0"), "{line}");
        assert!(line.contains("2026-09-08 03:04"), "{line}");
        assert_eq!(i == 0, path == format!("{}/", MADE.root), "the root comes first");
        let above = path.trim_end_matches('/').rsplit_once('/').map_or(String::new(), |(above, _)| format!("{above}/"));
        assert!(i == 0 || dirs.contains(&above), "{path} comes before its directory");
        if dir {
            assert!(!dirs.contains(&path.to_owned()), "{path} comes twice");
            dirs.push(path.to_owned());
        }
    }
    assert!(listing.lines().last().is_some_and(|line| line.ends_with("/manifest.json")));
}

#[test]
fn bsdtar() {
    let to = fresh("bsd");
    let out = run("bsdtar", "libarchive-tools", &["-xzf", &archive(), "-C", &to.display().to_string()]);
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    same(unpacked(&to));
}

#[test]
fn busybox() {
    let to = fresh("busybox");
    run("busybox", "busybox", &["tar", "-xzf", &archive(), "-C", &to.display().to_string()]);
    same(unpacked(&to));
}

#[test]
fn python() {
    for mode in ["r:gz", "r|gz"] {
        let to = fresh(if mode == "r:gz" { "python" } else { "python-stream" });
        let args = [&script("list.py"), mode, &archive(), &to.display().to_string()];
        same(listed(&run("python3", "python3", &args)));
    }
}

#[test]
fn go() {
    same(listed(&run("go", "golang-go", &["run", &script("list.go"), &archive()])));
}

#[test]
fn a_browser() {
    let out = run("node", "nodejs", &[&script("browser.mjs"), &archive()]);
    let (tar, manifest) = out.stdout.split_at(64);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(&MADE.sealed.file).expect("there"))
        .read_to_end(&mut plain)
        .expect("gzip");
    assert_eq!(String::from_utf8_lossy(tar), digest(&plain));
    let mut archive = fs::File::open(&MADE.sealed.file).expect("there");
    assert!(manifest[1..] == manifest_bytes(&mut archive), "the manifest by its place");
}

#[test]
fn rust() {
    let gzip = flate2::read::GzDecoder::new(fs::File::open(&MADE.sealed.file).expect("there"));
    let mut tar = tar::Archive::new(gzip);
    let mut found = BTreeMap::new();
    for entry in tar.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_str().expect("ASCII").to_owned();
        assert!(matches!(entry.header().as_bytes()[156], b'0' | b'5'), "{path}");
        if entry.header().entry_type().is_file() {
            let mut body = Vec::new();
            entry.read_to_end(&mut body).expect("whole");
            found.insert(path, digest(&body));
        }
    }
    same(found);
}
