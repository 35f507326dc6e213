//! The promise that an entry's body went through the redactor: only `redact::EntryWriter` can make a [`Segment`].
//! [`crate::Entry`] adds where the entry was read and why parts of it are missing.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read},
};

use debugbundle_format::{
    BundlePath, hex,
    manifest::{Truncation, TruncationReason},
};
use debugbundle_redact_check::{Detector, Hit, HitPlace, Mender, search};

use crate::{
    Spool,
    background_writer::BodyWriter,
    body::{Finished, SpooledBody},
};

/// Longest line that can be mended, in bytes. After redaction all lines are at most half as long.
const LINE: u64 = 2 << 20;

/// One entry's body: redacted, measured, closed. Only `redact::EntryWriter::finish` makes one.
#[derive(Debug)]
pub struct Segment {
    pub(super) path: BundlePath,
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
    pub(super) crc: crc32fast::Hasher,
    pub(super) redactions: BTreeMap<String, u64>,
    pub(super) body: SpooledBody,
    cut: Option<Gap>,
}

impl Segment {
    /// For `redact::writer` alone: the caller guarantees that the body is redacted.
    pub(crate) fn closed(path: BundlePath, redactions: BTreeMap<String, u64>, done: Finished) -> Self {
        let Finished { body, bytes, sha256, crc, cut } = done;
        Self { path, bytes, sha256, crc, redactions, body, cut }
    }

    /// For the entries of a draft alone: their bodies are closed already.
    pub(super) fn again(
        path: BundlePath,
        bytes: u64,
        sha256: [u8; 32],
        crc: crc32fast::Hasher,
        redactions: BTreeMap<String, u64>,
        body: SpooledBody,
    ) -> Self {
        Self { path, bytes, sha256, crc, redactions, body, cut: None }
    }

    /// Path in the bundle.
    pub fn path(&self) -> &BundlePath {
        &self.path
    }

    /// Bytes as unpacked.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes in the spool, deflated; about as many as in the archive.
    pub fn compressed_bytes(&self) -> u64 {
        self.body.compressed()
    }

    /// sha256 of the bytes as unpacked, lower-case hex.
    pub fn sha256(&self) -> String {
        hex(&self.sha256)
    }

    /// Redactions by rule id.
    pub fn redactions(&self) -> &BTreeMap<String, u64> {
        &self.redactions
    }

    /// What the limit left out, if anything.
    pub fn cut(&self) -> Option<&Gap> {
        self.cut.as_ref()
    }

    /// What a limit or the budget left out; `None` if the body is whole.
    pub fn truncated(&self, reason: TruncationReason) -> Option<Truncation> {
        self.cut().map(|cut| Truncation {
            reason,
            kept_head: cut.kept_head,
            kept_tail: cut.kept_tail,
            left_out_bytes: cut.left_out_bytes,
            left_out_lines: cut.left_out_lines,
        })
    }

    /// The source broke off: what came until then is kept; how much is missing is unknown.
    pub fn broken_off(&self, reason: TruncationReason) -> Truncation {
        let whole = Truncation { reason, kept_head: self.bytes(), kept_tail: 0, left_out_bytes: 0, left_out_lines: 0 };
        self.truncated(reason).unwrap_or(whole)
    }

    /// The self-check removed this many bytes, in this many lines, from what was left `before`.
    pub fn withheld(&self, before: Option<Truncation>, bytes: u64, lines: u64) -> Truncation {
        let reason = TruncationReason::Withheld;
        let before = before.unwrap_or_else(|| self.broken_off(reason));
        Truncation {
            reason,
            left_out_bytes: before.left_out_bytes + bytes,
            left_out_lines: before.left_out_lines + lines,
            ..before
        }
    }

    /// The redacted bytes, inflated.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub fn reader(&self) -> io::Result<impl Read + Send + use<>> {
        self.body.reader()
    }

    /// What the self-check will find in the body.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub fn hits(&self, detector: &Detector) -> io::Result<Vec<Hit>> {
        search(self.reader()?, &HitPlace::Entry(self.path.as_str().to_owned()), detector)
    }

    /// The same body with the self-check's hits removed, line by line; they are counted as redactions.
    ///
    /// # Errors
    /// The spool is full or cannot be read, or a line cannot be mended; the segment is lost then.
    pub fn mended(mut self, spool: &Spool, mender: &mut Mender) -> io::Result<Self> {
        let mut body = BodyWriter::new(spool.room());
        mend(|| self.body.reader(), mender, |line| body.put(line))?;
        for (rule, count) in &mender.taken.rules {
            *self.redactions.entry(rule.clone()).or_default() += count;
        }
        Ok(Self::closed(self.path, self.redactions, body.finish()?))
    }

    /// Leaves out the middle until at most `limit` bytes are kept, as `EntryWriter::limited` with that limit does.
    /// An entry that was written without a limit, or is small enough, stays as it is.
    ///
    /// # Errors
    /// The spool is full or cannot be read; the segment is lost then.
    pub fn shrink(mut self, spool: &Spool, limit: u64) -> io::Result<Self> {
        match self.body.shrink(spool.room(), limit, self.cut.as_ref())? {
            Some(done) => Ok(Self::closed(self.path, self.redactions, done)),
            None => Ok(self),
        }
    }
}

/// Puts all lines of a text, mended.
pub(super) fn mend<R: Read>(
    text: impl Fn() -> io::Result<R>,
    mender: &mut Mender,
    mut put: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if mender.needs_survey() {
        each_line(text()?, |line| {
            mender.survey(line);
            Ok(())
        })?;
        mender.surveyed()?;
    }
    each_line(text()?, |line| {
        mender.line(line)?;
        put(line)
    })
}

fn each_line(text: impl Read, mut each: impl FnMut(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut lines = BufReader::new(text);
    let mut line = Vec::new();
    while (&mut lines).take(LINE).read_until(b'\n', &mut line)? > 0 {
        if line.len() as u64 == LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long to be withheld alone"));
        }
        each(&mut line)?;
        line.clear();
    }
    Ok(())
}

/// What was left out between head and tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Bytes kept before the gap.
    pub kept_head: u64,
    /// Bytes kept after it.
    pub kept_tail: u64,
    /// Bytes that are not in the bundle.
    pub left_out_bytes: u64,
    /// Lines that are not in the bundle.
    pub left_out_lines: u64,
}
