//! One run's folder for redacted, deflated bytes: bounded, private, and removed with its owner unless it contains a
//! sealed archive. The caller decides how much the whole pod may spool.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    files::{SEALED_FILE, SEALED_NOTE, remove_ours},
    spool_files::SpoolFiles,
};

/// One run's folder of the spool. It holds redacted bytes only, all but a few of them deflated.
#[derive(Debug)]
pub struct Spool {
    room: Arc<SpoolFiles>,
}

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The bound is reached; nothing more can be collected into this folder.
    #[error("spool is full: {used} of {limit} bytes are used")]
    Full {
        /// Bytes on disk.
        used: u64,
        /// Bytes allowed at that time, without those held back.
        limit: u64,
    },
    /// The file system refused.
    #[error("spool {path} cannot be used")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl SpoolError {
    /// The spool's own error behind a failed write or finish of an entry; `None`: the source of the entry failed.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// Whether there is no room: by the folder's own limit or the file system's.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
        }
    }

    /// What was written to it cannot be read back.
    pub fn unreadable(dir: &Path, source: io::Error) -> Self {
        Self::io(dir, source)
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl From<SpoolError> for io::Error {
    fn from(error: SpoolError) -> Self {
        let kind = match &error {
            SpoolError::Full { .. } => io::ErrorKind::StorageFull,
            SpoolError::Io { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

impl Spool {
    /// Opens `dir` for one run at a time, made if absent. Files of an earlier run are removed; other files stay.
    ///
    /// # Errors
    /// [`SpoolError::Io`] if `dir` is a symbolic link, is no folder or cannot be written.
    pub fn create(dir: &Path, limit: u64) -> Result<Arc<Self>, SpoolError> {
        let fail = |source| SpoolError::io(dir, source);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
        if !fs::symlink_metadata(dir).map_err(fail)?.is_dir() {
            return Err(fail(io::Error::new(io::ErrorKind::NotADirectory, "it is a symbolic link")));
        }
        remove_ours(dir)?;
        Ok(Arc::new(Self { room: Arc::new(SpoolFiles::new(dir, limit)) }))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.room.dir()
    }

    /// Bytes on disk now.
    pub fn used(&self) -> u64 {
        self.room.used()
    }

    /// Bytes allowed on disk.
    pub fn limit(&self) -> u64 {
        self.room.limit()
    }

    /// Bytes that may still be added.
    pub fn free(&self) -> u64 {
        self.limit().saturating_sub(self.room.held_back()).saturating_sub(self.used())
    }

    /// Reserves this many of the allowed bytes; files on disk stay. Collected entries cannot use them, so that the
    /// files written about the bundle, and the archive, always find room.
    pub fn hold_back(&self, bytes: u64) {
        self.room.hold_back(bytes);
    }

    /// From now on at most this many bytes may be added to those on disk.
    pub fn allow_more(&self, bytes: u64) {
        self.hold_back(self.limit().saturating_sub(self.used().saturating_add(bytes)));
    }

    /// Removes what a run left in `dir`, a sealed archive included, and `dir` itself unless other files are in it.
    ///
    /// # Errors
    /// [`SpoolError::Io`] if a file of ours cannot be removed. An absent folder is no error.
    pub fn remove(dir: &Path) -> Result<(), SpoolError> {
        match fs::symlink_metadata(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(SpoolError::io(dir, e)),
            Ok(meta) if !meta.is_dir() => return Ok(()),
            Ok(_) => remove_ours(dir)?,
        }
        match fs::remove_dir(dir) {
            Err(e) if !matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                Err(SpoolError::io(dir, e))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the archive that was sealed in `dir`, if any; its content is not read.
    pub fn sealed_bytes(dir: &Path) -> Option<u64> {
        fs::symlink_metadata(dir.join(SEALED_NOTE)).ok()?;
        Some(fs::symlink_metadata(dir.join(SEALED_FILE)).ok()?.len())
    }

    pub(crate) fn room(&self) -> &Arc<SpoolFiles> {
        &self.room
    }

    /// From now on the archive in the folder outlives this value.
    pub(super) fn keep_sealed(&self) {
        self.room.keep();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn sec_t8_left_overs_go_and_foreign_files_stay() {
        let tmp = tempfile::tempdir().expect("a folder");
        let dir = tmp.path().join("run");
        fs::create_dir(&dir).expect("made");
        for name in [
            "body-7.part",
            "small.part",
            "sealing.part",
            "bundle.tar.gz",
            "sealed.json",
            "packed.json",
            "body-x.part",
            "notes",
        ] {
            fs::write(dir.join(name), "old").expect("written");
        }
        fs::write(tmp.path().join("target"), "theirs").expect("written");
        symlink(tmp.path().join("target"), dir.join("body-8.part")).expect("linked");
        let spool = Spool::create(&dir, 100).expect("a spool");
        let mut left: Vec<_> = fs::read_dir(&dir).expect("read").map(|e| e.expect("entry").file_name()).collect();
        left.sort();
        assert_eq!(left, ["body-x.part", "notes"]);
        assert_eq!(fs::read_to_string(tmp.path().join("target")).expect("read"), "theirs");
        drop(spool);
        assert!(dir.join("notes").exists());
    }

    #[test]
    fn a_link_is_not_used_as_the_folder() {
        let tmp = tempfile::tempdir().expect("a folder");
        fs::create_dir(tmp.path().join("real")).expect("made");
        symlink(tmp.path().join("real"), tmp.path().join("link")).expect("linked");
        assert!(matches!(Spool::create(&tmp.path().join("link"), 1), Err(SpoolError::Io { .. })));
    }

    #[test]
    fn sec_t8_files_are_private_and_a_link_in_the_way_is_an_error() {
        let tmp = tempfile::tempdir().expect("a folder");
        let spool = Spool::create(tmp.path(), 100).expect("a spool");
        let part = spool.room().part().expect("a file");
        let mode = fs::metadata(part.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        symlink("/dev/null", tmp.path().join("body-1.part")).expect("linked");
        let refused = spool.room().part().expect_err("a link lies there");
        assert!(matches!(SpoolError::of(&refused), Some(SpoolError::Io { .. })), "{refused:?}");
    }

    #[test]
    fn sec_b4_the_bound_holds_and_dropped_parts_give_their_bytes_back() {
        let tmp = tempfile::tempdir().expect("a folder");
        let spool = Spool::create(tmp.path(), 10).expect("a spool");
        let mut part = spool.room().part().expect("a file");
        part.write_all(b"12345678").expect("fits");
        let full = part.write_all(b"90a").expect_err("does not fit");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(matches!(SpoolError::of(&full), Some(SpoolError::Full { used: 8, limit: 10 })));
        drop(part);
        assert_eq!(spool.used(), 0);
        spool.room().put_small(b"1234567890").expect("fits again");
        assert_eq!(spool.room().get_small(2, 3).expect("read"), b"345");
    }

    #[test]
    fn what_is_held_back_is_there_when_it_is_given_free() {
        let tmp = tempfile::tempdir().expect("a folder");
        let spool = Spool::create(tmp.path(), 10).expect("a spool");
        spool.hold_back(4);
        let mut part = spool.room().part().expect("a file");
        part.write_all(b"123456").expect("fits");
        let full = part.write_all(b"7").expect_err("the rest is held back");
        assert!(matches!(SpoolError::of(&full), Some(SpoolError::Full { used: 6, limit: 6 })), "{full:?}");
        spool.allow_more(1);
        part.write_all(b"7").expect("one more");
        part.write_all(b"8").expect_err("and no other");
        spool.hold_back(0);
        part.write_all(b"890").expect("all of it");
        part.write_all(b"x").expect_err("full");
    }

    #[test]
    fn a_dropped_spool_leaves_nothing() {
        let tmp = tempfile::tempdir().expect("a folder");
        let dir = tmp.path().join("a/b");
        let spool = Spool::create(&dir, 100).expect("a spool");
        spool.room().put_small(b"x").expect("fits");
        let part = spool.room().part().expect("a file");
        drop(spool);
        assert!(dir.exists(), "a part still lives");
        drop(part);
        assert!(!dir.exists());
        Spool::remove(&dir).expect("nothing to do");
    }
}
