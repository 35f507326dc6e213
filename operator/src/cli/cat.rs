//! `cat`: reads one file of a stored or local bundle by fetching only the manifest and the file's segment. Nothing is
//! unpacked to disk, and memory, output and requests stay bounded even for a hostile bundle.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use debugbundle_archive::read::{HEADER, inflate_segment, locate};
use debugbundle_crd::DebugBundle;
use debugbundle_format::{
    manifest::ManifestView,
    text::{TerminalEscaper, bounded, escape_for_terminal, human_bytes},
};
use jiff::Timestamp;
use kube::{Api, Client};

use super::{
    args::{Cat, StoreArgs},
    display,
    exit::{CliError, Exit},
    extract::{Extract, foreign},
    fetch::{Remote, Retry, Sink},
    http::{Http, PresignedUrl},
    port_forward::PortForward,
    progress::Meter,
    trust, url,
};

/// The name under which `cat` prints the manifest; the manifest does not list itself.
const MANIFEST: &str = "manifest.json";
/// Limit of the manifest's size, compressed and inflated.
const MANIFEST_LIMIT: u64 = 64 << 20;
/// Limit of one inflated entry: the largest log that a spec can ask for, plus its marker line.
const ENTRY_LIMIT: u64 = (1 << 30) + (1 << 20);
/// Small entries share a segment; each body begins within this many bytes of the segment's start.
const SKIP_LIMIT: u64 = 16 << 20;

/// What to read from the bundle.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The list of files.
    List,
    /// One file.
    Path(String),
}

/// Where the bundle is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the store of the DebugBundle of this name.
    Stored(String),
    /// A file here.
    Local(PathBuf),
}

fn parse(args: &Cat) -> Result<(Place, Wanted), CliError> {
    let mut names = args.names.iter();
    let place = match &args.file {
        Some(file) => Place::Local(file.clone()),
        None => Place::Stored(names.next().cloned().ok_or_else(|| {
            CliError::usage("the NAME of the DebugBundle is missing: kubectl debugbundle cat NAME PATH")
        })?),
    };
    let wanted = match (names.next(), args.list) {
        (None, true) => Wanted::List,
        (Some(path), false) => Wanted::Path(path.clone()),
        (Some(_), true) => return Err(CliError::usage("--list takes no PATH")),
        (None, false) => {
            return Err(CliError::usage("the PATH of the file is missing; --list shows all paths"));
        }
    };
    match names.next() {
        Some(_) => Err(CliError::usage("too many arguments: with --file, only a PATH is allowed")),
        None => Ok((place, wanted)),
    }
}

/// Prints the file or the list.
pub(crate) async fn run(
    args: &Cat,
    namespace: &str,
    connect: impl AsyncFnOnce() -> Result<Client, CliError>,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let (place, wanted) = parse(args)?;
    let mut out = Screen::new(out, !args.raw && io::stdout().is_terminal());
    read(&place, &wanted, &args.store, namespace, connect, now, &mut out).await?;
    Ok(Exit::Done)
}

/// Writes what is wanted of the bundle into `out`.
pub(super) async fn read(
    place: &Place,
    wanted: &Wanted,
    store: &StoreArgs,
    namespace: &str,
    connect: impl AsyncFnOnce() -> Result<Client, CliError>,
    now: Timestamp,
    out: &mut Screen<impl Write>,
) -> Result<(), CliError> {
    match place {
        Place::Local(path) => {
            let source = Source::<fn() -> std::future::Ready<Result<PresignedUrl, CliError>>>::local(path)?;
            let again = format!("kubectl debugbundle cat --file {}", path.display());
            print(source, None, wanted, &again, out).await
        }
        Place::Stored(name) => {
            let client = connect().await?;
            let api: Api<DebugBundle> = Api::namespaced(client.clone(), namespace);
            let bundle = api.get(name).await?;
            let stored = url::stored(&bundle)?;
            let forward = PortForward::new(client.clone(), namespace);
            let trust = trust(store, client, namespace, &stored.bundle.storage_location).await?;
            let renew = async || url::renew(&api, name, store.url_timeout, |text| eprintln!("{text}")).await;
            let remote = Remote::new(
                Http::new(&trust, Some(forward))?,
                url::current(&bundle, now),
                Some(stored.bytes),
                renew,
                Retry::default(),
            );
            let known = u64::try_from(stored.bundle.manifest_offset)
                .ok()
                .zip(u64::try_from(stored.bundle.manifest_length).ok())
                .filter(|(_, length)| *length > 0);
            let again = display::command(namespace, "cat", name);
            print(Source::Remote(Box::new(remote)), known, wanted, &again, out).await
        }
    }
}

/// `manifest`: offset and length of its segment, if known; else the bundle's first bytes give them.
async fn print<R>(
    mut source: Source<R>,
    manifest: Option<(u64, u64)>,
    wanted: &Wanted,
    again: &str,
    out: &mut Screen<impl Write>,
) -> Result<(), CliError>
where
    R: AsyncFnMut() -> Result<PresignedUrl, CliError>,
{
    let (offset, length) = if let Some(place) = manifest {
        place
    } else {
        let mut head = Collected::default();
        source.read(0..HEADER as u64, &mut head).await?;
        locate(&head.0).ok_or_else(|| foreign("it has no debug bundle header"))?
    };
    let span = source.span(offset, length, MANIFEST_LIMIT, "the manifest")?;
    let mut segment = Collected::default();
    source.read(span, &mut segment).await?;
    let bytes = inflate_segment(&segment.0, MANIFEST_LIMIT)
        .map_err(|error| foreign(&format!("its manifest cannot be decompressed: {error}")))?;
    drop(segment);
    let view =
        ManifestView::parse(&bytes).map_err(|error| foreign(&format!("its manifest cannot be read: {error}")))?;
    if view.schema_version != 1 {
        return Err(CliError::failed(format!(
            "the bundle's manifest has version {}; this program reads version 1",
            view.schema_version
        ))
        .hint("Use a newer kubectl-debugbundle."));
    }
    match wanted {
        Wanted::List => out.text(&listing(&view, bytes.len() as u64)),
        Wanted::Path(path) if below_root(&view, path) == MANIFEST => {
            out.take(&bytes)?;
            out.end()
        }
        Wanted::Path(path) => {
            let path = below_root(&view, path);
            let entry = view.entry(path).ok_or_else(|| absent(&view, path, again))?;
            let span = source.span(entry.segment.offset, entry.segment.length, u64::MAX, &entry.path)?;
            if entry.bytes > ENTRY_LIMIT || entry.skip > SKIP_LIMIT {
                return Err(foreign(&format!(
                    "the manifest claims too much for {}: {} bytes after {}",
                    entry.path, entry.bytes, entry.skip
                )));
            }
            let mut body = Extract::new(&mut *out, entry);
            source.read(span, &mut body).await?;
            body.finish()?.end()
        }
    }
}

/// The path as the manifest spells it: without the root directory and without a leading `./` or `/`.
fn below_root<'a>(view: &ManifestView, path: &'a str) -> &'a str {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    match path.strip_prefix(view.bundle.root.as_str()) {
        Some(rest) if !view.bundle.root.is_empty() => rest.strip_prefix('/').unwrap_or(path),
        _ => path,
    }
}

fn listing(view: &ManifestView, manifest_bytes: u64) -> String {
    let own = (human_bytes(manifest_bytes), MANIFEST.to_owned());
    let entries = view.entries.iter().map(|entry| (human_bytes(entry.bytes), entry.path.clone())).chain([own]);
    let mut text = String::new();
    for (size, path) in entries {
        let _ = writeln!(text, "{size:>10}  {}", escape_for_terminal(&path));
    }
    if !view.missing.is_empty() {
        text.push_str("\nMissing:\n");
    }
    for missing in &view.missing {
        // An item that could not even be searched for has no path.
        let name = if missing.path.is_empty() { &missing.what } else { &missing.path };
        let line = format!("{name}: {}: {}", missing.code, missing.why);
        let _ = writeln!(text, "  {}", escape_for_terminal(&bounded(&line, 1024)));
        if !missing.cure.is_empty() {
            let _ = writeln!(text, "      cure: {}", escape_for_terminal(&bounded(&missing.cure, 1024)));
        }
    }
    text
}

/// Explains why the file is absent: known to be missing, or mistyped.
fn absent(view: &ManifestView, path: &str, again: &str) -> CliError {
    let shown = bounded(path, 256);
    if let Some(missing) = view.missing.iter().find(|missing| missing.path == path) {
        let error = CliError::new(Exit::NotFound, format!("{shown} is missing ({}): {}", missing.code, missing.why));
        return if missing.cure.is_empty() { error } else { error.hint(format!("Cure: {}", missing.cure)) };
    }
    let error = CliError::new(Exit::NotFound, format!("the bundle has no file {shown}"));
    let near = near_matches(view.entries.iter().map(|entry| entry.path.as_str()), path);
    if near.is_empty() {
        return error.hint(format!("All files: {again} --list"));
    }
    error.hint(format!("Did you mean:\n  {}", near.join("\n  ")))
}

/// Up to five paths that the user may have meant: first paths that end in the typed text, then paths that contain it,
/// then paths whose file name differs by a few letters.
fn near_matches<'a>(paths: impl Iterator<Item = &'a str>, typed: &str) -> Vec<&'a str> {
    const MOST: usize = 5;
    let typed = typed.trim_end_matches('/').to_ascii_lowercase();
    let file = file_name(&typed);
    let mut ranked: Vec<(usize, usize, &str)> = paths
        .filter_map(|path| {
            let lower = path.to_ascii_lowercase();
            let rank = if lower.ends_with(&format!("/{typed}")) || lower == typed {
                0
            } else if !typed.is_empty() && lower.contains(&typed) {
                1
            } else {
                1 + edits(file, file_name(&lower), 3)?.max(1)
            };
            Some((rank, path.len(), path))
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(MOST).map(|(_, _, path)| path).collect()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The number of letters to change, add or remove; `None`: more than `most`.
fn edits(a: &str, b: &str, most: usize) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > most || a.len().max(b.len()) > 256 {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    Some(row[b.len()]).filter(|edits| *edits <= most)
}

/// A bundle that can be read in ranges.
enum Source<R> {
    Remote(Box<Remote<R>>),
    Local { file: File, path: PathBuf, length: u64 },
}

impl<R> Source<R> {
    fn local(path: &Path) -> Result<Self, CliError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((length, file)) => Ok(Self::Local { file, path: path.to_owned(), length }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CliError::new(Exit::NotFound, format!("file {} not found", path.display())))
            }
            Err(error) => Err(CliError::caused(format_args!("cannot read {}", path.display()), &error)),
        }
    }
}

impl<R> Source<R>
where
    R: AsyncFnMut() -> Result<PresignedUrl, CliError>,
{
    /// The byte range of a segment; an error if the bundle does not contain it.
    fn span(&self, offset: u64, length: u64, limit: u64, what: &str) -> Result<Range<u64>, CliError> {
        let all = match self {
            Self::Remote(remote) => remote.length(),
            Self::Local { length, .. } => Some(*length),
        };
        offset
            .checked_add(length)
            .filter(|end| all.is_none_or(|all| *end <= all) && length <= limit)
            .map(|end| offset..end)
            .ok_or_else(|| foreign(&format!("{what} is said to have {length} bytes at offset {offset}")))
    }

    async fn read(&mut self, span: Range<u64>, sink: &mut impl Sink) -> Result<(), CliError> {
        match self {
            Self::Remote(remote) => remote.read(span, sink).await,
            Self::Local { file, path, .. } => {
                let cannot =
                    |error: io::Error| CliError::caused(format_args!("cannot read {}", path.display()), &error);
                file.seek(SeekFrom::Start(span.start)).map_err(cannot)?;
                let mut left = span.end - span.start;
                let mut buffer = vec![0; 64 * 1024];
                while left > 0 {
                    let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    match file.read(&mut buffer[..room]).map_err(cannot)? {
                        0 => return Err(foreign("it ends early")),
                        n => {
                            sink.take(&buffer[..n])?;
                            left -= n as u64;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

/// Bytes kept in memory, for content that is known to be small.
#[derive(Default)]
struct Collected(Vec<u8>);

impl Sink for Collected {
    fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn note(&mut self, text: &str) {
        Meter::quiet().note(text);
    }
}

/// Where a file of a bundle is written: verbatim into a file or pipe, with control characters escaped on a terminal.
pub(super) struct Screen<W> {
    out: W,
    escaper: Option<TerminalEscaper>,
}

impl<W: Write> Screen<W> {
    fn new(out: W, is_terminal: bool) -> Self {
        Self { out, escaper: is_terminal.then(TerminalEscaper::default) }
    }

    /// A file.
    pub(super) fn verbatim(out: W) -> Self {
        Self::new(out, false)
    }

    /// Our own text.
    fn text(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes()).map_err(CliError::stdout)
    }

    fn end(&mut self) -> Result<(), CliError> {
        let rest = self.escaper.take().map(TerminalEscaper::finish).unwrap_or_default();
        self.text(&rest)?;
        self.out.flush().map_err(CliError::stdout)
    }
}

impl<W: Write> Sink for Screen<W> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match &mut self.escaper {
            Some(escaper) => {
                let text = escaper.push(bytes);
                self.text(&text)
            }
            None => self.out.write_all(bytes).map_err(CliError::stdout),
        }
    }

    fn note(&mut self, text: &str) {
        Meter::quiet().note(text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use serde_json::{Value, json};
    use sha2::{Digest as _, Sha256};

    use super::super::display::tests::{bundle, stored};
    use super::super::download::hex;
    use super::super::stand::{Stand, json as json_answer, part_of};
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser as _;
    use debugbundle_archive::Entry;
    use debugbundle_archive::EntryWriter;
    use debugbundle_archive::{Spool, seal};
    use debugbundle_format::BundlePath;
    use debugbundle_format::manifest::{ManifestHead, Source as EntrySource};
    use debugbundle_redact::Redactor;

    const SUMMARY: &[u8] = b"# The pod hangs\nred \x1b[31m, bell \x07\n";
    const ROOT: &str = "debugbundle-x-0f3c9d11-20260908T030412Z";

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.flush().unwrap();
        encoder.get_ref().clone()
    }

    fn log() -> Vec<u8> {
        (0..20_000).flat_map(|i| format!("2026-09-08T03:04:12Z line {i}\n").into_bytes()).collect()
    }

    /// A bundle with empty tar headers, which `cat` never reads, and the offset and length of its manifest.
    fn sample(change: impl FnOnce(&mut Value)) -> (Vec<u8>, u64, u64) {
        let mut archive = vec![b'.'; 64];
        let mut add = |bytes: &[u8]| {
            let segment = deflated(bytes);
            let offset = archive.len();
            archive.extend_from_slice(&segment);
            json!({"offset": offset, "length": segment.len()})
        };
        let small = add(&[&[b'h'; 512][..], SUMMARY].concat());
        let large = add(&log());
        let entry = |path: &str, body: &[u8], segment: &Value, skip: u64| json!({"path": path, "bytes": body.len(), "sha256": hex(&Sha256::digest(body)), "segment": segment, "skip": skip});
        let mut manifest = json!({
            "schemaVersion": 1, "bundle": {"root": ROOT, "name": "x"}, "outcome": "PartiallyFailed",
            "entries": [entry("summary.md", SUMMARY, &small, 512), entry("velero/restores/r1/restore.log", &log(), &large, 0)],
            "missing": [{"what": "VolumeAttachments", "path": "cluster-scoped-resources/storage.k8s.io/volumeattachments.yaml",
                "code": "Forbidden", "severity": "error", "why": "self-check: no", "cure": "bind ClusterRole debugbundle-cause-trail"}],
        });
        change(&mut manifest);
        let place = add(manifest.to_string().as_bytes());
        let (offset, length) = (place["offset"].as_u64().unwrap(), place["length"].as_u64().unwrap());
        archive.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        archive[..10].copy_from_slice(&[0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff]);
        let comment = format!("{:<53}\0", format!("debugbundle manifest {offset:016}+{length:012}"));
        archive[10..64].copy_from_slice(comment.as_bytes());
        (archive, offset, length)
    }

    fn args(line: &[&str]) -> Cat {
        let words = ["kubectl-debugbundle", "cat"].iter().chain(line);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Cat(cat) => cat,
            other => panic!("{other:?}"),
        }
    }

    fn now() -> Timestamp {
        "2026-09-08T03:07:31Z".parse().unwrap()
    }

    async fn local(archive: &[u8], words: &[&str]) -> Result<Vec<u8>, CliError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), archive).unwrap();
        let path = file.path().display().to_string();
        let line: Vec<&str> = ["--file", &path, "--raw"].into_iter().chain(words.iter().copied()).collect();
        let mut out = Vec::new();
        let nobody = async || Err(CliError::failed("no cluster is needed"));
        run(&args(&line), "velero", nobody, now(), &mut out).await.map(|_| out)
    }

    #[test]
    fn the_words_are_a_bundle_and_a_path() {
        let parsed = |line: &[&str]| parse(&args(line)).map_err(|error| error.exit());
        assert_eq!(parsed(&["x", "summary.md"]), Ok((Place::Stored("x".into()), Wanted::Path("summary.md".into()))));
        assert_eq!(parsed(&["x", "--list"]), Ok((Place::Stored("x".into()), Wanted::List)));
        assert_eq!(
            parsed(&["--file", "b", "summary.md"]),
            Ok((Place::Local("b".into()), Wanted::Path("summary.md".into())))
        );
        for bad in [&["x"][..], &[], &["x", "y", "--list"], &["--file", "b", "x", "y"], &["--file", "b"]] {
            assert_eq!(parsed(bad), Err(Exit::Usage), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn one_file_is_read_out_of_a_local_bundle() {
        let (archive, ..) = sample(|_| {});
        let rooted = format!("{ROOT}/summary.md");
        for path in ["summary.md", "./summary.md", "/summary.md", &rooted] {
            assert_eq!(local(&archive, &[path]).await.unwrap(), SUMMARY, "{path}");
        }
        assert!(local(&archive, &["velero/restores/r1/restore.log"]).await.unwrap() == log());
        let manifest = local(&archive, &["manifest.json"]).await.unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&manifest).unwrap()["schemaVersion"], 1);
    }

    #[tokio::test]
    async fn what_the_operator_seals_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::create(&dir.path().join("spool"), 1 << 24).unwrap();
        let rules = Arc::new(Redactor::new(&[], Vec::new()).unwrap());
        let large = log();
        let entries = [("summary.md", SUMMARY), ("version", b""), ("velero/restores/r1/restore.log", &large)].map(
            |(path, body)| {
                let mut writer =
                    EntryWriter::new(BundlePath::new(path.split('/')), Arc::clone(&rules), Arc::clone(&spool));
                writer.write_all(body).unwrap();
                let segment = writer.finish().unwrap();
                Entry { segment, source: EntrySource::default(), truncated: None, read_at: now(), ms: 1 }
            },
        );
        let detector = debugbundle_redact_check::Detector::new([]);
        let draft = seal(&spool, ROOT, entries.into(), ManifestHead::default(), (&rules, &detector)).unwrap();
        let sealed = draft.checked(&detector).unwrap();
        let archive = std::fs::read(&sealed.file).unwrap();
        assert_eq!(local(&archive, &["summary.md"]).await.unwrap(), SUMMARY);
        assert_eq!(local(&archive, &[&format!("{ROOT}/version")]).await.unwrap(), b"");
        assert!(local(&archive, &["velero/restores/r1/restore.log"]).await.unwrap() == large);
    }

    #[tokio::test]
    async fn the_list_has_sizes_and_what_is_missing() {
        let (archive, ..) = sample(|_| {});
        let text = String::from_utf8(local(&archive, &["--list"]).await.unwrap()).unwrap();
        assert!(text.starts_with("      34 B  summary.md\n"), "{text}");
        assert!(text.contains("  manifest.json\n"), "{text}");
        assert!(
            text.contains("volumeattachments.yaml: Forbidden: self-check: no\n      cure: bind ClusterRole"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_path_that_is_not_there_is_explained() {
        let (archive, ..) = sample(|_| {});
        let error = local(&archive, &["restore.log"]).await.unwrap_err();
        assert_eq!(error.exit(), Exit::NotFound);
        assert!(error.to_string().contains("Did you mean:\n    velero/restores/r1/restore.log"), "{error}");
        let error = local(&archive, &["sumary.md"]).await.unwrap_err();
        assert!(error.to_string().contains("\n    summary.md"), "{error}");
        let missing = "cluster-scoped-resources/storage.k8s.io/volumeattachments.yaml";
        let error = local(&archive, &[missing]).await.unwrap_err();
        assert!(error.to_string().contains("is missing (Forbidden): self-check: no\n  Cure: bind"), "{error}");
        let error = local(&archive, &["zzzzzzzzzzzzz"]).await.unwrap_err();
        assert!(error.to_string().contains("--list"), "{error}");
    }

    #[tokio::test]
    async fn sec_b6_a_bundle_that_lies_is_refused() {
        for lie in [
            (|m: &mut Value| m["entries"][0]["sha256"] = json!("00".repeat(32))) as fn(&mut Value),
            |m| m["entries"][0]["bytes"] = json!(40),
            |m| m["entries"][0]["bytes"] = json!(u64::MAX),
            |m| m["entries"][0]["skip"] = json!(u64::MAX),
            |m| m["entries"][0]["segment"]["offset"] = json!(u64::MAX),
            |m| m["entries"][0]["segment"]["length"] = json!(1_u64 << 40),
            |m| m["entries"][0]["segment"]["length"] = json!(1),
            |m| m["entries"][0]["segment"] = json!(null),
        ] {
            let (archive, ..) = sample(lie);
            assert_eq!(local(&archive, &["summary.md"]).await.unwrap_err().exit(), Exit::Integrity);
        }
        let (archive, ..) = sample(|m| m["schemaVersion"] = json!(2));
        assert!(local(&archive, &["summary.md"]).await.unwrap_err().to_string().contains("newer"));
        assert_eq!(local(b"\x1f\x8b", &["summary.md"]).await.unwrap_err().exit(), Exit::Integrity);
        assert_eq!(local(&[0; 100], &["summary.md"]).await.unwrap_err().exit(), Exit::Integrity);
    }

    #[tokio::test]
    async fn a_stored_bundle_is_read_by_its_manifest_and_one_more_range() {
        let (archive, offset, length) = sample(|_| {});
        let served = archive.clone();
        let store = Stand::serve(move |asked| part_of(&served, asked)).await;
        let (address, bytes) = (store.address.clone(), archive.len());
        let known = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let says = Arc::clone(&known);
        let cluster = Stand::serve(move |_| {
            let mut status = stored();
            status["downloadURL"] = format!("http://{address}/b/k?X-Amz-Signature=geheim").into();
            status["bundle"]["bytes"] = bytes.into();
            let known = says.load(std::sync::atomic::Ordering::Relaxed);
            status["bundle"]["manifestOffset"] = if known { offset } else { 0 }.into();
            status["bundle"]["manifestLength"] = if known { length } else { 0 }.into();
            json_answer(200, &serde_json::to_value(bundle(status)).unwrap())
        })
        .await;
        let cat = args(&["restore-r1-1a2b", "summary.md", "--raw"]);
        let mut out = Vec::new();
        let client = async || Ok(cluster.client());
        run(&cat, "velero-2", client, now(), &mut out).await.unwrap();
        assert_eq!(out, SUMMARY);
        let ranges: Vec<_> = store.asked().iter().map(|asked| asked.bytes().0 as u64).collect();
        assert_eq!(ranges, [offset, 64]);
        assert_eq!(store.asked()[1].if_match.as_deref(), Some("\"one\""));

        known.store(false, std::sync::atomic::Ordering::Relaxed);
        let mut out = Vec::new();
        run(&cat, "velero-2", client, now(), &mut out).await.unwrap();
        assert_eq!(out, SUMMARY, "the first bytes tell where the manifest lies");
        assert_eq!(store.asked()[2].range.as_deref(), Some("bytes=0-63"));
    }

    #[tokio::test]
    async fn sec_l2_a_terminal_gets_no_controls() {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, true);
        screen.take(SUMMARY).unwrap();
        screen.take(b"\xe2\x80").unwrap();
        screen.end().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "# The pod hangs\nred \\x1b[31m, bell \\x07\n\\xe2\\x80");
    }

    #[test]
    fn suggestions_are_ranked_and_few() {
        let paths = ["a/events.yaml", "b/core/events.yaml", "b/pods/p/log", "velero/backups/b/backup.log"];
        assert_eq!(near_matches(paths.into_iter(), "events.yaml"), ["a/events.yaml", "b/core/events.yaml"]);
        assert_eq!(near_matches(paths.into_iter(), "core/event"), ["b/core/events.yaml"]);
        assert_eq!(near_matches(paths.into_iter(), "backup.lgo"), ["velero/backups/b/backup.log"]);
        assert_eq!(near_matches((0..99).map(|_| "x/y.log"), "y.log").len(), 5);
    }
}
