//! Public programs that read a bundle: each must see the same files with the same digests. [`packages`] installs them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_archive::read;
use debugbundle_format::manifest::ManifestView;
use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

use crate::{packages, schema};

/// A bundle on disk, and its expected content.
#[derive(Debug)]
pub struct Archive {
    /// The archive.
    pub file: PathBuf,
    /// Its top directory.
    pub root: String,
    /// Digest by path, without the root and the manifest.
    pub files: BTreeMap<String, String>,
    /// An empty folder to unpack into.
    pub scratch: PathBuf,
}

/// A reader, by its name.
pub type Reader = (&'static str, fn(&Archive));

/// All readers.
pub const ALL: [Reader; 10] = [
    ("gzip", gzip),
    ("GNU tar", gnu_tar),
    ("bsdtar", bsdtar),
    ("busybox", busybox),
    ("Python, seeking", python),
    ("Python, streaming", python_stream),
    ("Go", go),
    ("Chromium's DecompressionStream", chromium),
    ("Node's DecompressionStream", node),
    ("Rust's tar", rust),
];

impl Archive {
    /// A bundle, expected to contain the files that its manifest lists.
    pub fn of_its_manifest(file: PathBuf, scratch: PathBuf) -> Self {
        let manifest = ManifestView::parse(&manifest_of(&file)).expect("a manifest");
        let files = manifest.entries.iter().map(|entry| (entry.path.clone(), entry.sha256.clone())).collect();
        Self { file, root: manifest.bundle.root, files, scratch }
    }

    fn path(&self) -> String {
        self.file.display().to_string()
    }

    fn fresh(&self, name: &str) -> PathBuf {
        let folder = self.scratch.join(name);
        fs::create_dir_all(&self.scratch).expect("the scratch folder can be made");
        fs::create_dir(&folder).expect("a new folder");
        folder
    }

    fn open(&self) -> fs::File {
        fs::File::open(&self.file).expect("the archive is there")
    }

    /// Checks for exactly these files and the manifest.
    fn is(&self, mut found: BTreeMap<String, String>) {
        let manifest = found.remove(&format!("{}/manifest.json", self.root)).expect("a manifest");
        assert_eq!(manifest, digest(&manifest_of(&self.file)));
        let want: BTreeMap<String, String> =
            self.files.iter().map(|(path, sum)| (format!("{}/{path}", self.root), sum.clone())).collect();
        let missing: Vec<_> = want.iter().filter(|(path, sum)| found.get(*path) != Some(*sum)).take(3).collect();
        assert!(
            missing.is_empty() && found.len() == want.len(),
            "{} of {} files; not so: {missing:?}",
            found.len(),
            want.len()
        );
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("memory");
        hex
    })
}

/// The bytes of one range request.
pub fn range(file: &Path, offset: u64, length: u64) -> Vec<u8> {
    let mut file = fs::File::open(file).expect("the archive is there");
    file.seek(SeekFrom::Start(offset)).expect("a file");
    let mut bytes = vec![0; usize::try_from(length).expect("fits")];
    file.read_exact(&mut bytes).expect("within the archive");
    bytes
}

/// The manifest, found by the archive's first bytes. Fails the test if it violates the published schema.
pub fn manifest_of(file: &Path) -> Vec<u8> {
    let (offset, length) = read::locate(&range(file, 0, read::HEADER as u64)).expect("one of ours");
    let manifest = read::inflate_segment(&range(file, offset, length), 1 << 30).expect("deflate");
    schema::checked(&manifest);
    manifest
}

/// Tests the checksum.
pub fn gzip(archive: &Archive) {
    run("gzip", &["-t", &archive.path()]);
}

/// Unpacks without warnings, and lists: the root first, each directory once and before its files, no unusual modes.
pub fn gnu_tar(archive: &Archive) {
    let to = archive.fresh("gnu");
    let out = run("tar", &["-xzf", &archive.path(), "-C", &to.display().to_string()]);
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    archive.is(unpacked(&to));
    let listing = run("tar", &["-tvzf", &archive.path(), "--numeric-owner", "--utc"]);
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let mut dirs = Vec::new();
    for (i, line) in listing.lines().enumerate() {
        let path = line.rsplit(' ').next().expect("a path");
        let dir = line.starts_with("drwxr-xr-x 0/0");
        assert!(dir || line.starts_with("-rw-r--r-- 0/0"), "{line}");
        assert!(!line.contains(" 1970-"), "{line}");
        assert_eq!(i == 0, path == format!("{}/", archive.root), "the root comes first");
        let above = path.trim_end_matches('/').rsplit_once('/').map_or(String::new(), |(above, _)| format!("{above}/"));
        assert!(i == 0 || dirs.contains(&above), "{path} comes before its directory");
        if dir {
            assert!(!dirs.contains(&path.to_owned()), "{path} comes twice");
            dirs.push(path.to_owned());
        }
    }
    assert!(listing.lines().last().is_some_and(|line| line.ends_with("/manifest.json")));
}

/// Unpacks without warnings.
pub fn bsdtar(archive: &Archive) {
    let to = archive.fresh("bsd");
    let out = run("bsdtar", &["-xzf", &archive.path(), "-C", &to.display().to_string()]);
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    archive.is(unpacked(&to));
}

/// Unpacks.
pub fn busybox(archive: &Archive) {
    let to = archive.fresh("busybox");
    run("busybox", &["tar", "-xzf", &archive.path(), "-C", &to.display().to_string()]);
    archive.is(unpacked(&to));
}

/// `tarfile` with `r:gz`: reads each member.
pub fn python(archive: &Archive) {
    by_python(archive, "r:gz", "python");
}

/// `tarfile` with `r|gz` and `filter='data'`: unpacks.
pub fn python_stream(archive: &Archive) {
    by_python(archive, "r|gz", "python-stream");
}

fn by_python(archive: &Archive, mode: &str, folder: &str) {
    let to = archive.fresh(folder).display().to_string();
    archive.is(listed(&run("python3", &[&script("list.py"), mode, &archive.path(), &to])));
}

/// `archive/tar` and `compress/gzip`.
pub fn go(archive: &Archive) {
    archive.is(listed(&run("go", &["run", &script("list.go"), &archive.path()])));
}

/// Chromium's view of a page after its scripts have run. Its profile lies beside the page.
pub fn shown(page: &Path) -> String {
    let profile = format!("--user-data-dir={}", page.with_extension("profile").display());
    let url = format!("file://{}", page.display());
    let quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=60000"];
    let args: Vec<&str> =
        quiet.into_iter().chain(flags).chain([profile.as_str(), "--dump-dom", url.as_str()]).collect();
    String::from_utf8_lossy(&run("chromium", &args).stdout).into_owned()
}

/// A page in Chromium, with its `DecompressionStream`: the whole archive, and the manifest by its offset.
pub fn chromium(archive: &Archive) {
    let folder = archive.fresh("chromium");
    let page = folder.join("page.html");
    let template = fs::read_to_string(script("browser.html")).expect("the page");
    let bytes = fs::read(&archive.file).expect("the archive");
    fs::write(&page, template.replace("'ARCHIVE'", &format!("'{}'", STANDARD.encode(bytes)))).expect("a page");
    let text = shown(&page);
    let said = text.split_once("<pre>").and_then(|(_, rest)| rest.split_once("</pre>")).map(|(said, _)| said);
    let mut plain = Vec::new();
    GzDecoder::new(archive.open()).read_to_end(&mut plain).expect("gzip");
    let want = format!("{} {}", digest(&plain), digest(&manifest_of(&archive.file)));
    assert_eq!(said, Some(want.as_str()));
}

/// Node's `DecompressionStream`: the whole archive, and the manifest by its offset.
pub fn node(archive: &Archive) {
    let out = run("node", &[&script("node.mjs"), &archive.path()]);
    let (tar, manifest) = out.stdout.split_at(64);
    let mut plain = Vec::new();
    GzDecoder::new(archive.open()).read_to_end(&mut plain).expect("gzip");
    assert_eq!(String::from_utf8_lossy(tar), digest(&plain));
    assert!(manifest[1..] == manifest_of(&archive.file), "the manifest by its place");
}

/// The `tar` crate: regular files and directories only.
pub fn rust(archive: &Archive) {
    let mut tar = tar::Archive::new(GzDecoder::new(archive.open()));
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
    archive.is(found);
}

/// Runs a reader, which must succeed.
fn run(program: &str, args: &[&str]) -> Output {
    packages::require();
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} cannot be run: {e}"));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?} failed: {said}");
    out
}

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/readers").join(name).display().to_string()
}

/// Digest by path of the unpacked files.
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

/// Parses lines of `<sha256>  <path>`.
fn listed(out: &Output) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().filter_map(|line| line.split_once("  ")).map(|(sum, path)| (path.to_owned(), sum.to_owned())).collect()
}
