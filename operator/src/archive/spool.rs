//! One run's folder for redacted, deflated bytes: bounded, private, and gone with its owner unless something was sealed in it.
//! What the bytes mean is told by segments; how much the whole pod may spool is the caller's arithmetic.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    beside::Threads,
    deflate::{Deflate, Spare},
};

/// The sealed archive in the folder.
pub(super) const SEALED_FILE: &str = "bundle.tar.gz";
/// What is known of the sealed archive; written last, so its presence says that the archive is whole.
pub(super) const SEALED_NOTE: &str = "sealed.json";
/// What the archive's maker wants to know of it later; its content is not looked into here.
pub const OWNER_NOTE: &str = "packed.json";
/// The archive while it is written.
const SEALING_FILE: &str = "sealing.part";
/// The same while it is sealed anew from the first one.
const SEALING_ANEW: &str = "sealing-anew.part";
/// Small bodies, one after the other.
const SMALL_FILE: &str = "small.part";
/// Compressors that wait for the next segment: as many as are written at once. Each takes about 300 KiB.
const SPARES: usize = 8;

/// One run's folder of the spool. It holds redacted bytes only, all but a few of them deflated.
#[derive(Debug)]
pub struct Spool {
    room: Arc<Room>,
}

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The bound is reached; nothing more can be collected into this folder.
    #[error("spool is full: {used} of {limit} bytes are used")]
    Full {
        /// Bytes on disk.
        used: u64,
        /// Bytes allowed then: without what is held back.
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
    /// The spool's own error, if that is why writing or finishing an entry failed; else the source of the entry failed.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// There is no room, by the folder's own bound or by the file system's.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
        }
    }

    /// What was written to it cannot be read back.
    pub(crate) fn unreadable(dir: &Path, source: io::Error) -> Self {
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
    /// A fresh folder `dir` for one run at a time, made if it is not there; what an earlier run left in it is removed, other files stay.
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
        let room = Room {
            dir: dir.to_owned(),
            limit,
            held_back: AtomicU64::new(0),
            used: AtomicU64::new(0),
            next: AtomicU64::new(0),
            small: Mutex::new(None),
            spares: Mutex::new(Vec::new()),
            threads: Threads::of_machine(),
            kept: AtomicBool::new(false),
        };
        Ok(Arc::new(Self { room: Arc::new(room) }))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.room.dir
    }

    /// Bytes on disk now.
    pub fn used(&self) -> u64 {
        self.room.used.load(Ordering::Acquire)
    }

    /// Bytes allowed on disk.
    pub fn limit(&self) -> u64 {
        self.room.limit
    }

    /// Bytes that may come to those on disk now.
    pub fn free(&self) -> u64 {
        self.limit().saturating_sub(self.room.held_back.load(Ordering::Acquire)).saturating_sub(self.used())
    }

    /// From now on so many of the bytes allowed (bytes) are not to be had; what is on disk stays. Whatever is read for a
    /// bundle leaves them alone, so that what is written about it, and the archive, always find room.
    pub fn hold_back(&self, bytes: u64) {
        self.room.held_back.store(bytes, Ordering::Release);
    }

    /// From now on at most so many bytes may come to those that are on disk.
    pub fn allow_more(&self, bytes: u64) {
        self.hold_back(self.limit().saturating_sub(self.used().saturating_add(bytes)));
    }

    /// Removes what a run left in `dir`, a sealed archive included, and `dir` itself unless other files are in it.
    ///
    /// # Errors
    /// [`SpoolError::Io`] if something of ours cannot be removed. A folder that is not there is no error.
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

    /// Bytes of the archive that was sealed in `dir`, if one was; it is not looked into.
    pub fn sealed_bytes(dir: &Path) -> Option<u64> {
        fs::symlink_metadata(dir.join(SEALED_NOTE)).ok()?;
        Some(fs::symlink_metadata(dir.join(SEALED_FILE)).ok()?.len())
    }

    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// From now on the archive in the folder outlives this value.
    pub(super) fn keep_sealed(&self) {
        self.room.kept.store(true, Ordering::Release);
    }
}

/// The folder's accounts; files hold it, so that it lives as long as any of them.
#[derive(Debug)]
pub(crate) struct Room {
    dir: PathBuf,
    limit: u64,
    /// Of the limit, not to be had now.
    held_back: AtomicU64,
    used: AtomicU64,
    next: AtomicU64,
    small: Mutex<Option<(Arc<File>, u64)>>,
    spares: Mutex<Vec<Spare>>,
    threads: Threads,
    kept: AtomicBool,
}

impl Room {
    fn charge(&self, bytes: u64) -> Result<(), SpoolError> {
        let limit = self.limit.saturating_sub(self.held_back.load(Ordering::Acquire));
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        match self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(_) => Ok(()),
            Err(used) => Err(SpoolError::Full { used, limit }),
        }
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Threads for large bodies.
    pub(super) fn threads(&self) -> &Threads {
        &self.threads
    }

    #[cfg(test)]
    pub(super) fn set_threads(&mut self, threads: Threads) {
        self.threads = threads;
    }

    /// A compressor, one that was used before if there is one.
    pub(super) fn deflate<W: io::Write>(&self, into: W) -> Deflate<W> {
        match self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            Some(spare) => Deflate::again(spare, into),
            None => Deflate::new(into),
        }
    }

    /// Keeps a compressor for the next segment.
    pub(super) fn take_back(&self, spare: Spare) {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARES {
            spares.push(spare);
        }
    }

    /// Puts a small deflated body behind the others; its place.
    pub(super) fn put_small(&self, bytes: &[u8]) -> io::Result<u64> {
        let length = bytes.len() as u64;
        self.charge(length)?;
        let (file, offset) = {
            let mut small = self.small.lock().unwrap_or_else(PoisonError::into_inner);
            let (file, end) = match small.take() {
                Some(open) => open,
                None => (Arc::new(exclusive(&self.dir.join(SMALL_FILE))?), 0),
            };
            *small = Some((Arc::clone(&file), end + length));
            (file, end)
        };
        file.write_all_at(bytes, offset).map_err(|e| SpoolError::io(&self.dir.join(SMALL_FILE), e))?;
        Ok(offset)
    }

    /// Reads a small body back.
    pub(super) fn get_small(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = {
            let small = self.small.lock().unwrap_or_else(PoisonError::into_inner);
            small.as_ref().map(|(file, _)| Arc::clone(file))
        };
        let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).map_err(|e| SpoolError::io(&self.dir.join(SMALL_FILE), e))?;
        Ok(bytes)
    }

    /// Removes the small bodies: all of them have been copied.
    pub(super) fn drop_small(&self) {
        if let Some((_, length)) = self.small.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = fs::remove_file(self.dir.join(SMALL_FILE));
            self.release(length);
        }
    }

    /// A new file for one part of a body.
    pub(super) fn part(self: &Arc<Self>) -> io::Result<PartFile> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.file(&format!("body-{number}.part"))
    }

    /// A new file for an archive, while another one may be there from which it is made.
    pub(super) fn sealing(self: &Arc<Self>) -> io::Result<PartFile> {
        self.file(if self.dir.join(SEALING_FILE).exists() { SEALING_ANEW } else { SEALING_FILE })
    }

    /// A new file of this name.
    pub(super) fn file(self: &Arc<Self>, name: &str) -> io::Result<PartFile> {
        let path = self.dir.join(name);
        let file = exclusive(&path)?;
        Ok(PartFile { room: Arc::clone(self), path, file: Some(file), length: 0, done: false })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let kept = self.kept.load(Ordering::Acquire);
        let Ok(names) = own_names(&self.dir) else {
            return;
        };
        for name in names.iter().filter(|name| !kept || is_part(name)) {
            let _ = fs::remove_file(self.dir.join(name));
        }
        if !kept {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// A file of the spool that goes when it is dropped, and gives its bytes back to the bound.
#[derive(Debug)]
pub(crate) struct PartFile {
    room: Arc<Room>,
    path: PathBuf,
    file: Option<File>,
    length: u64,
    done: bool,
}

impl PartFile {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Closes the handle: thousands of finished bodies wait for the seal.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Overwrites bytes that were written before.
    pub(super) fn patch(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(file.write_all_at(bytes, offset).map_err(|e| SpoolError::io(&self.path, e))?)
    }

    /// Makes the file durable under `name` in the same folder; it is no longer removed on drop.
    pub(super) fn publish(mut self, name: &str) -> Result<PathBuf, SpoolError> {
        let to = self.room.dir.join(name);
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_all);
        synced.and_then(|()| fs::rename(&self.path, &to)).map_err(|e| SpoolError::io(&to, e))?;
        self.done = true;
        File::open(&self.room.dir).and_then(|dir| dir.sync_all()).map_err(|e| SpoolError::io(&to, e))?;
        Ok(to)
    }
}

impl io::Write for PartFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let bytes = data.len() as u64;
        self.room.charge(bytes)?;
        self.length += bytes;
        let file = self.file.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        file.write_all(data).map_err(|e| SpoolError::io(&self.path, e))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
            self.room.release(self.length);
        }
    }
}

/// Created here and now, readable by us alone; a file or link that lies in the way is an error.
fn exclusive(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    Ok(made.map_err(|e| SpoolError::io(path, e))?)
}

/// Reads a file of ours of at most `cap` bytes, following no link.
pub(super) fn read_capped(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file for reading, following no link.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn own_names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for item in fs::read_dir(dir)? {
        if let Ok(name) = item?.file_name().into_string()
            && is_ours(&name)
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Not sealed yet: nobody can use it later.
fn is_part(name: &str) -> bool {
    !matches!(name, SEALED_FILE | SEALED_NOTE | OWNER_NOTE)
}

fn is_ours(name: &str) -> bool {
    let body = name.strip_prefix("body-").and_then(|rest| rest.strip_suffix(".part"));
    matches!(
        name,
        SEALED_FILE | SEALED_NOTE | OWNER_NOTE | SEALING_FILE | SEALING_ANEW | SMALL_FILE | "sealed-json.part"
    ) || body.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn remove_ours(dir: &Path) -> Result<(), SpoolError> {
    for name in own_names(dir).map_err(|e| SpoolError::io(dir, e))? {
        let path = dir.join(name);
        fs::remove_file(&path).map_err(|e| SpoolError::io(&path, e))?;
    }
    Ok(())
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
        let mode = fs::metadata(&part.path).expect("there").permissions().mode();
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
