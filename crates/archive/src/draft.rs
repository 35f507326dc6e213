//! An archive that is closed but not yet checked. After `selfcheck` has read it, it is either published as a durable
//! file or taken apart into its entries, to be sealed again without those that must not leave.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use debugbundle_format::manifest::ByteRange;
use debugbundle_redact_check::{Archive, CheckError, Clean, Detector, Hit, HitPlace, Piece, check};

use crate::{
    Entry, SealError, Sealed, Segment, Spool,
    body::{Archived, SpooledBody},
    files::{SEALED_FILE, SEALED_NOTE, open_plain},
    read,
    seal::{Told, digest, failed},
    spool_files::PartFile,
};

/// A closed archive under a temporary name that no later process reads. Dropping it removes the file.
pub struct Draft {
    pub(super) spool: Arc<Spool>,
    pub(super) file: PartFile,
    pub(super) manifest: ByteRange,
    /// Where the last segment ends.
    pub(super) end: u64,
    pub(super) told: Vec<Told>,
    pub(super) segments: Vec<(u64, u64)>,
    /// What the self-check found in the manifest before it was written.
    pub(super) withheld: Vec<Hit>,
}

/// Why a draft did not become a sealed archive.
#[derive(Debug, thiserror::Error)]
pub enum Unsealed {
    /// The archive contains something that must not leave.
    #[error("the self-check found {hits:?}")]
    Hits {
        /// What, and where.
        hits: Vec<Hit>,
    },
    /// The check failed, so nothing is known of the content.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The archive cannot be made durable.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Draft {
    /// Checks the archive, and makes it durable if nothing is found.
    ///
    /// # Errors
    /// [`Unsealed`]; the archive is gone then.
    pub fn checked(self, detector: &Detector) -> Result<Sealed, Unsealed> {
        match self.check(detector)? {
            Ok(clean) => Ok(self.publish(clean)?),
            Err(hits) => Err(Unsealed::Hits { hits }),
        }
    }

    /// Searches the archive: [`Clean`] allows to publish it.
    ///
    /// # Errors
    /// [`CheckError`]: nothing is known of the archive then.
    pub fn check(&self, detector: &Detector) -> Result<Result<Clean, Vec<Hit>>, CheckError> {
        check(&self.archive()?, detector)
    }

    /// What the self-check found in the manifest before it was written; the manifest does not contain it.
    pub fn withheld(&self) -> &[Hit] {
        &self.withheld
    }

    /// Bytes of the archive.
    pub fn bytes(&self) -> u64 {
        self.file.len()
    }

    /// Makes the archive durable under its final name. It then outlives the spool; [`Spool::remove`] removes it.
    ///
    /// # Errors
    /// [`SealError`]
    pub fn publish(self, _checked: Clean) -> Result<Sealed, SealError> {
        let Self { spool, file, manifest, told, .. } = self;
        let entries = told.len() as u64;
        let bytes = file.len();
        let sha256 = digest(file.path()).map_err(|e| failed(&spool, e))?;
        let file = file.publish(SEALED_FILE)?;
        let sealed =
            Sealed { file, bytes, sha256, entries, manifest_offset: manifest.offset, manifest_length: manifest.length };
        let mut note = spool.room().file("sealed-json.part").map_err(|e| failed(&spool, e))?;
        let text = serde_json::to_vec(&sealed).map_err(|e| failed(&spool, e.into()))?;
        note.write_all(&text).map_err(|e| failed(&spool, e))?;
        note.publish(SEALED_NOTE)?;
        spool.keep_sealed();
        Ok(sealed)
    }

    /// Takes the archive apart. The bodies stay in its file, which is removed when the last entry is dropped.
    pub fn entries(self) -> Vec<Entry> {
        let file = Arc::new(self.file);
        let entry = |told: Told| {
            let Told { path, bytes, sha256, crc, lies, source, truncated, redactions, read_at, ms } = told;
            let at = lies.offset..lies.offset + lies.length;
            let body = SpooledBody::Archived(Archived { file: Arc::clone(&file), at, skip: lies.skip, bytes });
            let segment = Segment::again(path, bytes, sha256, crc, redactions, body);
            Entry { segment, source, truncated, read_at, ms }
        };
        self.told.into_iter().map(entry).collect()
    }

    fn archive(&self) -> io::Result<Archive> {
        Ok(Archive {
            file: open_plain(self.file.path())?,
            bytes: self.file.len(),
            content: read::HEADER as u64..self.end,
            pieces: self.pieces(),
        })
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut told = self.told.iter().peekable();
        let mut pieces = Vec::with_capacity(self.segments.len());
        for (offset, length) in self.segments.iter().copied() {
            let mut holds = Vec::new();
            if offset == self.manifest.offset {
                holds.push((0..u64::MAX, HitPlace::Manifest));
            }
            while let Some(entry) = told.next_if(|entry| entry.lies.offset == offset) {
                let at = entry.lies.skip..entry.lies.skip + entry.bytes;
                if !at.is_empty() {
                    holds.push((at, HitPlace::Entry(entry.path.as_str().to_owned())));
                }
            }
            pieces.push(Piece { offset, length, holds });
        }
        pieces
    }
}
