//! Joins the closed segments into one ordinary gzip stream that is also readable entry by entry.
//! `docs/bundle-format.md` describes the layout; [`crate::draft`] checks and publishes the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read, Seek as _, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use debugbundle_format::{
    BundlePath, hex,
    manifest::{ByteRange, ManifestHead, Source, Truncation},
};
use debugbundle_redact::{RedactWriter, Redactor, Rules};
use debugbundle_redact_check::{Detector, Hit, HitPlace, Mender, search};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    Draft, Entry, Segment, Spool, SpoolError,
    body::{SMALL, SpooledBody},
    deflate::{Deflate, Deflated, Inflate},
    files::{SEALED_FILE, SEALED_NOTE, open_plain, read_capped},
    manifest_writer::{self, EntryLine, Lies},
    names::ordered,
    read,
    segment::mend,
    spool_files::PartFile,
    tar,
};

pub(super) const MANIFEST: &str = "manifest.json";
/// How often strings are withheld from a manifest; what is found then is left to the check of the whole archive.
const ROUNDS: usize = 4;
/// More bytes than `sealed.json` ever has.
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
    /// sha256 of the file, lower-case hex.
    pub sha256: String,
    /// Number of entries, without the manifest.
    pub entries: u64,
    /// Where the manifest's segment begins, from the archive's first byte.
    pub manifest_offset: u64,
    /// Bytes of that segment.
    pub manifest_length: u64,
}

/// Why sealing failed. The entries are lost then: the run must be repeated.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The spool is full or cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The spool does not hold what was written to it.
    #[error("the spooled body of {path} differs from what was written")]
    Damaged {
        /// The entry.
        path: String,
    },
}

/// Joins the entries, in the order of the bundle's format, into one gzip stream; the manifest comes last. The result
/// must not leave before it is checked: see [`Draft::publish`].
///
/// Two paths that differ at most in case never fail a bundle: the later one in byte order gets a suffix. Bodies of 64
/// KiB or more are freed as they are copied. Fills in `head.bundle.root`, and `head.totals` except `wanted` and `ok`.
/// Strings of the manifest in which the detector finds something are withheld: see [`Draft::withheld`].
///
/// # Errors
/// [`SealError`]
pub fn seal(
    spool: &Arc<Spool>,
    root: &str,
    entries: Vec<Entry>,
    head: ManifestHead,
    rules: (&Redactor, &Detector),
) -> Result<Draft, SealError> {
    let mut archive = Archive::begin(spool).map_err(|e| failed(spool, e))?;
    let sealed = archive.fill(root, ordered(entries), head, rules, spool);
    let manifest = sealed.map_err(|e| match e {
        Trouble::Io(e) => failed(spool, e),
        Trouble::Damaged(path) => SealError::Damaged { path },
    })?;
    archive.end(manifest, spool).map_err(|e| failed(spool, e))
}

impl Sealed {
    /// The archive that an earlier process sealed in this folder, if it is whole: its length and digest are checked.
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

pub(super) fn failed(spool: &Spool, error: io::Error) -> SealError {
    match error.downcast::<SpoolError>() {
        Ok(known) => SealError::Spool(known),
        Err(source) => SealError::Spool(SpoolError::io(spool.dir(), source)),
    }
}

pub(super) fn digest(file: &Path) -> io::Result<String> {
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

/// The facts kept of an entry whose body has been copied and freed.
pub(super) struct Told {
    pub(super) path: BundlePath,
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
    pub(super) crc: crc32fast::Hasher,
    pub(super) lies: Lies,
    pub(super) source: Source,
    pub(super) truncated: Option<Truncation>,
    pub(super) redactions: BTreeMap<String, u64>,
    pub(super) read_at: Timestamp,
    pub(super) ms: u64,
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
    /// Where the segments lie, (offset, length); they fill all bytes between the header and the end.
    segments: Vec<(u64, u64)>,
    /// What was withheld from the manifest.
    withheld: Vec<Hit>,
}

impl Archive {
    fn begin(spool: &Spool) -> io::Result<Self> {
        let mut out = spool.room().sealing()?;
        out.write_all(&[0; read::HEADER])?;
        Ok(Self {
            out,
            crc: crc32fast::Hasher::new(),
            raw: 0,
            gather: None,
            waiting: Vec::new(),
            told: Vec::new(),
            segments: Vec::new(),
            withheld: Vec::new(),
        })
    }

    fn fill(
        &mut self,
        root: &str,
        entries: Vec<(BundlePath, Entry)>,
        mut head: ManifestHead,
        rules: (&Redactor, &Detector),
        spool: &Spool,
    ) -> Result<ByteRange, Trouble> {
        let start = head.started_at;
        head.totals.missing = head.missing.len() as u64;
        head.totals.truncated = entries.iter().filter(|(_, entry)| entry.truncated.is_some()).count() as u64;
        root.clone_into(&mut head.bundle.root);
        self.small(&tar::directory(root, start))?;
        let mut made = BTreeSet::new();
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
        self.manifest(root, head, finished_at, rules, spool)
    }

    fn entry(&mut self, root: &str, path: BundlePath, entry: Entry) -> Result<(), Trouble> {
        let Entry { segment, source, truncated, read_at, ms } = entry;
        let Segment { bytes, sha256, crc, redactions, body, .. } = segment;
        self.small(&tar::file(&format!("{root}/{path}"), bytes, read_at))?;
        let lies = match body {
            body if body.is_small() => {
                let mut raw = Vec::new();
                body.reader()?.take(bytes + 1).read_to_end(&mut raw)?;
                let mut check = crc32fast::Hasher::new();
                check.update(&raw);
                if raw.len() as u64 != bytes || check.finalize() != crc.clone().finalize() {
                    return Err(Trouble::Damaged(path.as_str().to_owned()));
                }
                let skip = self.gather.as_ref().map_or(0, Deflate::raw);
                self.small(&raw)?;
                self.waiting.push(self.told.len());
                Lies { offset: 0, length: 0, skip }
            }
            SpooledBody::Parts(parts) => {
                if parts.iter().map(|part| part.raw).sum::<u64>() != bytes {
                    return Err(Trouble::Damaged(path.as_str().to_owned()));
                }
                self.close_gather()?;
                let offset = self.out.len();
                for part in parts {
                    self.copy(&part.file, 0..part.file.len(), part.raw, &part.crc)?;
                }
                self.segment_since(offset);
                Lies { offset, length: self.out.len() - offset, skip: 0 }
            }
            SpooledBody::Small { .. } => return Err(Trouble::Damaged(path.as_str().to_owned())),
            SpooledBody::Archived(archived) => {
                self.close_gather()?;
                let offset = self.out.len();
                self.copy(&archived.file, archived.at.clone(), bytes, &crc)?;
                self.segment_since(offset);
                Lies { offset, length: self.out.len() - offset, skip: 0 }
            }
        };
        self.told.push(Told { path, bytes, sha256, crc, lies, source, truncated, redactions, read_at, ms });
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
        (redactor, detector): (&Redactor, &Detector),
        spool: &Spool,
    ) -> Result<ByteRange, Trouble> {
        // The manifest's header states its length, and its lines state where all segments lie: those are closed first.
        self.close_gather()?;
        head.totals.compressed_bytes = self.out.len();
        let mut head = serde_json::to_value(&head).map_err(io::Error::from)?;
        redactor.object(&mut head);
        let serde_json::Value::Object(head) = head else {
            return Err(Trouble::Damaged(MANIFEST.to_owned()));
        };
        let lines = self.told.iter().map(|told| told.line(redactor));
        let mut through = RedactWriter::new(redactor, Rules::BuiltIn, Deflate::new(spool.room().part()?));
        manifest_writer::write(io::BufWriter::new(&mut through), &head, lines)?;
        let body = self.judged(through.finish()?.finish()?, detector, spool)?;

        self.small(&tar::file(&format!("{root}/{MANIFEST}"), body.raw, read_at))?;
        self.close_gather()?;
        let offset = self.out.len();
        self.copy(&body.into, 0..body.into.len(), body.raw, &body.crc)?;
        self.segment_since(offset);
        let place = ByteRange { offset, length: self.out.len() - offset };
        self.small(tar::padding(body.raw))?;
        self.small(&[0; 2 * tar::BLOCK])?;
        self.close_gather()?;
        Ok(place)
    }

    /// The manifest without the strings in which the detector finds something.
    fn judged(
        &mut self,
        mut body: Deflated<PartFile>,
        detector: &Detector,
        spool: &Spool,
    ) -> io::Result<Deflated<PartFile>> {
        for _ in 0..ROUNDS {
            let text = || Ok(Inflate::new(open_plain(body.into.path())?));
            let hits = search(text()?, &HitPlace::Manifest, detector)?;
            if hits.is_empty() {
                break;
            }
            let mut out = Deflate::new(spool.room().part()?);
            let mended = mend(text, &mut Mender::rows(MANIFEST, &hits), |line| out.write_all(line));
            self.withheld.extend(hits);
            match mended {
                Ok(()) => body = out.finish()?,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => break,
                Err(error) => return Err(error),
            }
        }
        Ok(body)
    }

    /// Writes an empty last block, checksum and length, and the header, which had to wait for the manifest's place.
    fn end(mut self, manifest: ByteRange, spool: &Arc<Spool>) -> io::Result<Draft> {
        let end = self.out.len();
        self.out.write_all(&[3, 0])?;
        self.out.write_all(&self.crc.finalize().to_le_bytes())?;
        let length = u32::try_from(self.raw & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        self.out.write_all(&length.to_le_bytes())?;
        self.out.patch(&read::header(manifest.offset, manifest.length), 0)?;
        let Self { out: file, told, segments, withheld, .. } = self;
        Ok(Draft { spool: Arc::clone(spool), file, manifest, end, told, segments, withheld })
    }

    fn segment_since(&mut self, offset: u64) {
        self.segments.push((offset, self.out.len() - offset));
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
        self.segments.push((offset, length));
        self.crc.combine(&done.crc);
        self.raw += done.raw;
        Ok(())
    }

    /// Copies whole segments from another file.
    fn copy(&mut self, from: &PartFile, at: Range<u64>, raw: u64, crc: &crc32fast::Hasher) -> io::Result<()> {
        let mut file = open_plain(from.path()).map_err(|e| SpoolError::io(from.path(), e))?;
        file.seek(SeekFrom::Start(at.start))?;
        let wanted = at.end - at.start;
        let mut file = file.take(wanted);
        let mut buffer = vec![0; 128 << 10];
        let mut copied = 0;
        loop {
            let n = file.read(&mut buffer).map_err(|e| SpoolError::io(from.path(), e))?;
            if n == 0 {
                break;
            }
            self.out.write_all(&buffer[..n])?;
            copied += n as u64;
        }
        if copied != wanted {
            return Err(SpoolError::io(from.path(), io::ErrorKind::UnexpectedEof.into()).into());
        }
        self.crc.combine(crc);
        self.raw += raw;
        Ok(())
    }
}

impl Told {
    /// Its line in the manifest. The path was redacted when the entry was made, and must be the same as in the archive.
    fn line(&self, redactor: &Redactor) -> io::Result<String> {
        let mut source = serde_json::to_value(&self.source)?;
        redactor.object(&mut source);
        let line = EntryLine {
            path: self.path.as_str(),
            bytes: self.bytes,
            sha256: hex(&self.sha256),
            segment: ByteRange { offset: self.lies.offset, length: self.lies.length },
            skip: self.lies.skip,
            source,
            truncated: self.truncated.as_ref(),
            redactions: &self.redactions,
            ms: self.ms,
        };
        Ok(serde_json::to_string(&line)?)
    }
}

#[cfg(test)]
mod tests;
