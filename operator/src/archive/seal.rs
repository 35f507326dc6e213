//! Joins the closed segments into one ordinary gzip stream that is also readable entry by entry, and makes it durable.
//! The layout is told in docs of the bundle's format; what the entries mean, and sending the file, is told elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    BundlePath, Segment, Spool, SpoolError,
    body::{Body, SMALL},
    deflate::Deflate,
    manifest::{self, Entry, EntryLine, Lies, ManifestHead, Source, Span, Truncation},
    path::{hex, hex_digest},
    read,
    spool::{PartFile, SEALED_FILE, SEALED_NOTE, SEALING_FILE, open_plain, read_capped},
    tar,
};
use crate::redact::{Redactor, Rules, writer::Through};

const MANIFEST: &str = "manifest.json";
/// More than `sealed.json` ever has.
const NOTE_CAP: u64 = 64 << 10;

/// A closed archive in the spool: measured, on disk, and not to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// The archive.
    #[serde(skip)]
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Of the file, lower-case hex.
    pub sha256: String,
    /// Number of entries, without the manifest.
    pub entries: u64,
    /// Where the manifest's segment begins, from the archive's first byte.
    pub manifest_offset: u64,
    /// Bytes of that segment.
    pub manifest_length: u64,
}

/// Why sealing failed. The entries are lost then: the run has to be made again.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The spool is full or cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The spool does not hold what was written to it.
    #[error("the spooled body of {path} is not what was written")]
    Damaged {
        /// The entry.
        path: String,
    },
}

/// Joins the entries, in the order of the bundle's format, into one gzip stream; the manifest comes last.
///
/// Two paths that are equal, or equal but for their case, never fail a bundle: the later one in byte order gets a suffix.
/// Bodies of 64 KiB or more are freed as they are copied. `head.bundle.root` and `head.totals` but for `wanted` and `ok` are
/// filled in here. Afterwards the archive outlives `spool`; [`Spool::remove`] ends it.
///
/// # Errors
/// [`SealError`]
pub fn seal(
    spool: &Spool,
    root: &str,
    entries: Vec<Entry>,
    head: ManifestHead,
    redactor: &Redactor,
) -> Result<Sealed, SealError> {
    let mut archive = Archive::begin(spool).map_err(|e| failed(spool, e))?;
    let sealed = archive.fill(root, ordered(entries), head, redactor, spool);
    let (manifest, entries) = sealed.map_err(|e| match e {
        Trouble::Io(e) => failed(spool, e),
        Trouble::Damaged(path) => SealError::Damaged { path },
    })?;
    let file = archive.end(manifest).map_err(|e| failed(spool, e))?;
    let bytes = file.len();
    let sha256 = digest(file.path()).map_err(|e| failed(spool, e))?;
    let file = file.publish(SEALED_FILE)?;
    let sealed =
        Sealed { file, bytes, sha256, entries, manifest_offset: manifest.offset, manifest_length: manifest.length };
    let mut note = spool.room().file("sealed-json.part").map_err(|e| failed(spool, e))?;
    let text = serde_json::to_vec(&sealed).map_err(|e| failed(spool, e.into()))?;
    note.write_all(&text).map_err(|e| failed(spool, e))?;
    note.publish(SEALED_NOTE)?;
    spool.keep_sealed();
    Ok(sealed)
}

impl Sealed {
    /// What an earlier process sealed in this folder, if it is whole: length and digest are checked by reading it.
    pub fn reopen(dir: &Path) -> Option<Self> {
        let note = read_capped(&dir.join(SEALED_NOTE), NOTE_CAP).ok()?;
        let mut sealed: Self = serde_json::from_slice(&note).ok()?;
        sealed.file = dir.join(SEALED_FILE);
        let is_file = fs::symlink_metadata(&sealed.file).ok()?;
        let whole = is_file.is_file() && is_file.len() == sealed.bytes && digest(&sealed.file).ok()? == sealed.sha256;
        whole.then_some(sealed)
    }
}

enum Trouble {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn failed(spool: &Spool, error: io::Error) -> SealError {
    match error.downcast::<SpoolError>() {
        Ok(known) => SealError::Spool(known),
        Err(source) => SealError::Spool(SpoolError::io(spool.dir(), source)),
    }
}

fn digest(file: &Path) -> io::Result<String> {
    let mut file = open_plain(file)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..n]);
    }
}

/// What the manifest needs of an entry whose body has been copied and freed.
struct Told {
    path: BundlePath,
    bytes: u64,
    sha256: [u8; 32],
    lies: Lies,
    source: Source,
    truncated: Option<Truncation>,
    redactions: BTreeMap<String, u64>,
    ms: u64,
}

/// The archive while it is written.
struct Archive {
    out: PartFile,
    crc: crc32fast::Hasher,
    raw: u64,
    gather: Option<Deflate<Vec<u8>>>,
    /// Entries whose body lies in the segment that is being gathered.
    waiting: Vec<usize>,
    told: Vec<Told>,
}

impl Archive {
    fn begin(spool: &Spool) -> io::Result<Self> {
        let mut out = spool.room().file(SEALING_FILE)?;
        out.write_all(&[0; read::HEADER])?;
        Ok(Self { out, crc: crc32fast::Hasher::new(), raw: 0, gather: None, waiting: Vec::new(), told: Vec::new() })
    }

    fn fill(
        &mut self,
        root: &str,
        entries: Vec<(BundlePath, Entry)>,
        mut head: ManifestHead,
        redactor: &Redactor,
        spool: &Spool,
    ) -> Result<(Span, u64), Trouble> {
        let start = head.started_at;
        head.totals.missing = head.missing.len() as u64;
        head.totals.truncated = entries.iter().filter(|(_, entry)| entry.truncated.is_some()).count() as u64;
        root.clone_into(&mut head.bundle.root);
        self.small(&tar::directory(root, start))?;
        let mut made = BTreeSet::new();
        let count = entries.len() as u64;
        for (path, entry) in entries {
            for (at, _) in path.as_str().match_indices('/') {
                let directory = &path.as_str()[..at];
                if made.insert(directory.to_owned()) {
                    self.small(&tar::directory(&format!("{root}/{directory}"), start))?;
                }
            }
            self.entry(root, path, entry)?;
        }
        spool.room().drop_small();
        head.totals.raw_bytes = self.told.iter().map(|told| told.bytes).sum();
        head.totals.redactions = self.told.iter().flat_map(|told| told.redactions.values()).sum();
        let finished_at = head.finished_at;
        let manifest = self.manifest(root, head, finished_at, redactor, spool)?;
        Ok((manifest, count))
    }

    fn entry(&mut self, root: &str, path: BundlePath, entry: Entry) -> Result<(), Trouble> {
        let Entry { segment, source, truncated, read_at, ms } = entry;
        let Segment { bytes, sha256, crc, redactions, body, .. } = segment;
        self.small(&tar::file(&format!("{root}/{path}"), bytes, read_at))?;
        let lies = match body {
            Body::Small { .. } => {
                let mut raw = Vec::new();
                body.reader()?.take(bytes + 1).read_to_end(&mut raw)?;
                let mut check = crc32fast::Hasher::new();
                check.update(&raw);
                if raw.len() as u64 != bytes || check.finalize() != crc.finalize() {
                    return Err(Trouble::Damaged(path.as_str().to_owned()));
                }
                let skip = self.gather.as_ref().map_or(0, Deflate::raw);
                self.small(&raw)?;
                self.waiting.push(self.told.len());
                Lies { offset: 0, length: 0, skip }
            }
            Body::Parts(parts) => {
                if parts.iter().map(|part| part.raw).sum::<u64>() != bytes {
                    return Err(Trouble::Damaged(path.as_str().to_owned()));
                }
                self.close_gather()?;
                let offset = self.out.len();
                for part in parts {
                    self.copy(&part.file, part.raw, &part.crc)?;
                }
                Lies { offset, length: self.out.len() - offset, skip: 0 }
            }
        };
        self.told.push(Told { path, bytes, sha256, lies, source, truncated, redactions, ms });
        self.small(tar::padding(bytes))?;
        if self.gather.as_ref().map_or(0, Deflate::raw) >= SMALL as u64 {
            self.close_gather()?;
        }
        Ok(())
    }

    fn manifest(
        &mut self,
        root: &str,
        mut head: ManifestHead,
        read_at: Timestamp,
        redactor: &Redactor,
        spool: &Spool,
    ) -> Result<Span, Trouble> {
        // Its header states its length, and its lines state where all segments lie: so those are closed first.
        self.close_gather()?;
        head.totals.compressed_bytes = self.out.len();
        let mut head = serde_json::to_value(&head).map_err(io::Error::from)?;
        redactor.object(&mut head);
        let serde_json::Value::Object(head) = head else {
            return Err(Trouble::Damaged(MANIFEST.to_owned()));
        };
        let lines = self.told.iter().map(|told| told.line(redactor));
        let mut through = Through::new(redactor, Rules::BuiltIn, Deflate::new(spool.room().part()?));
        manifest::write(io::BufWriter::new(&mut through), &head, lines)?;
        let body = through.finish()?.finish()?;

        self.small(&tar::file(&format!("{root}/{MANIFEST}"), body.raw, read_at))?;
        self.close_gather()?;
        let offset = self.out.len();
        self.copy(&body.into, body.raw, &body.crc)?;
        let place = Span { offset, length: self.out.len() - offset };
        self.small(tar::padding(body.raw))?;
        self.small(&[0; 2 * tar::BLOCK])?;
        self.close_gather()?;
        Ok(place)
    }

    /// An empty last block, the two sums, and the header, which had to wait for the manifest's place.
    fn end(mut self, manifest: Span) -> io::Result<PartFile> {
        self.out.write_all(&[3, 0])?;
        self.out.write_all(&self.crc.finalize().to_le_bytes())?;
        let length = u32::try_from(self.raw & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        self.out.write_all(&length.to_le_bytes())?;
        self.out.patch(&read::header(manifest.offset, manifest.length), 0)?;
        Ok(self.out)
    }

    fn small(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.gather.get_or_insert_with(|| Deflate::new(Vec::new())).write_all(bytes)
    }

    fn close_gather(&mut self) -> io::Result<()> {
        let Some(gather) = self.gather.take() else {
            return Ok(());
        };
        let done = gather.finish()?;
        let (offset, length) = (self.out.len(), done.into.len() as u64);
        for index in self.waiting.drain(..) {
            self.told[index].lies = Lies { offset, length, ..self.told[index].lies };
        }
        self.out.write_all(&done.into)?;
        self.crc.combine(&done.crc);
        self.raw += done.raw;
        Ok(())
    }

    fn copy(&mut self, part: &PartFile, raw: u64, crc: &crc32fast::Hasher) -> io::Result<()> {
        let mut file = open_plain(part.path()).map_err(|e| SpoolError::io(part.path(), e))?;
        let mut buffer = vec![0; 128 << 10];
        let mut copied = 0;
        loop {
            let n = file.read(&mut buffer).map_err(|e| SpoolError::io(part.path(), e))?;
            if n == 0 {
                break;
            }
            self.out.write_all(&buffer[..n])?;
            copied += n as u64;
        }
        if copied != part.len() {
            return Err(SpoolError::io(part.path(), io::ErrorKind::UnexpectedEof.into()).into());
        }
        self.crc.combine(crc);
        self.raw += raw;
        Ok(())
    }
}

impl Told {
    /// Its line in the manifest. The path was redacted when the entry was made, and must stay what the archive says.
    fn line(&self, redactor: &Redactor) -> io::Result<String> {
        let mut source = serde_json::to_value(&self.source)?;
        redactor.object(&mut source);
        let line = EntryLine {
            path: self.path.as_str(),
            bytes: self.bytes,
            sha256: hex(&self.sha256),
            segment: Span { offset: self.lies.offset, length: self.lies.length },
            skip: self.lies.skip,
            source,
            truncated: self.truncated.as_ref(),
            redactions: &self.redactions,
            ms: self.ms,
        };
        Ok(serde_json::to_string(&line)?)
    }
}

/// Where a path stands in the archive: what a person reads first comes first.
fn rank(path: &str) -> u8 {
    match path {
        "summary.md" => 0,
        "report.html" => 1,
        "version" => 2,
        "timestamp" => 3,
        "operator.log" => 7,
        _ if path.starts_with("analysis/") => 4,
        _ if path.starts_with("velero/") => 5,
        _ => 6,
    }
}

/// The entries in the archive's order, each under a path of its own.
fn ordered(mut entries: Vec<Entry>) -> Vec<(BundlePath, Entry)> {
    entries.sort_by(|a, b| {
        let key = |e: &Entry| (rank(e.segment.path.as_str()), e.segment.path.clone(), e.segment.sha256);
        key(a).cmp(&key(b))
    });
    let mut names = Names::default();
    names.own(MANIFEST);
    let mut out: Vec<_> = entries.into_iter().map(|entry| (names.own(entry.segment.path.as_str()), entry)).collect();
    out.sort_by(|(a, _), (b, _)| (rank(a.as_str()), a).cmp(&(rank(b.as_str()), b)));
    out
}

/// The names that are taken in each directory, without regard to case: unpacked on some systems, `A` is `a`.
#[derive(Default)]
struct Names {
    taken: BTreeMap<String, (String, bool)>,
    moved: BTreeMap<String, String>,
}

impl Names {
    fn own(&mut self, path: &str) -> BundlePath {
        let mut asked = String::new();
        let mut own = String::new();
        let last = path.split('/').count() - 1;
        for (i, part) in path.split('/').enumerate() {
            if i > 0 {
                asked.push('/');
                own.push('/');
            }
            asked.push_str(part);
            let is_file = i == last;
            if let (false, Some(moved)) = (is_file, self.moved.get(&asked)) {
                own.clone_from(moved);
                continue;
            }
            let above = own.len();
            for attempt in 0_u32.. {
                own.truncate(above);
                own.push_str(part);
                if attempt > 0 {
                    // The digest of the wished name, so that the same names move in the same way in every bundle.
                    let digits = hex_digest(format!("{attempt}/{asked}").as_bytes());
                    own.push('-');
                    own.push_str(&digits[..8]);
                }
                let folded = own.to_lowercase();
                match self.taken.get(&folded) {
                    Some((name, false)) if !is_file && *name == asked => break,
                    Some(_) => {}
                    None => {
                        self.taken.insert(folded, (asked.clone(), is_file));
                        break;
                    }
                }
            }
            if !is_file {
                self.moved.insert(asked.clone(), own.clone());
            }
        }
        BundlePath::from_safe(own)
    }
}

#[cfg(test)]
mod tests;
