//! Counts the bytes of a spool's folder and writes its files: each is charged as it grows and removed with its owner.
//! `spool` creates and removes the folder.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    background_writer::Threads,
    deflate::{Deflate, Spare},
    files::{SEALING_ANEW, SEALING_FILE, SMALL_FILE, exclusive, is_part, own_names},
    spool::SpoolError,
};

/// Most compressors kept for the next segments: as many as are written at once. Each takes about 300 KiB.
const SPARES: usize = 8;

/// The folder's byte count and shared state. Its files hold it, so that it lives as long as any of them.
#[derive(Debug)]
pub(crate) struct SpoolFiles {
    dir: PathBuf,
    limit: u64,
    /// Bytes of the limit that are reserved now.
    held_back: AtomicU64,
    used: AtomicU64,
    next: AtomicU64,
    small: Mutex<Option<(Arc<File>, u64)>>,
    spares: Mutex<Vec<Spare>>,
    threads: Threads,
    kept: AtomicBool,
}

impl SpoolFiles {
    /// For an existing folder of which at most `limit` bytes may be used.
    pub(super) fn new(dir: &Path, limit: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            limit,
            held_back: AtomicU64::new(0),
            used: AtomicU64::new(0),
            next: AtomicU64::new(0),
            small: Mutex::new(None),
            spares: Mutex::new(Vec::new()),
            threads: Threads::of_machine(),
            kept: AtomicBool::new(false),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes allowed.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes on disk.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    pub(super) fn held_back(&self) -> u64 {
        self.held_back.load(Ordering::Acquire)
    }

    pub(super) fn hold_back(&self, bytes: u64) {
        self.held_back.store(bytes, Ordering::Release);
    }

    /// Keeps the sealed archive when this value is dropped.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

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

    /// A compressor, reused if one is free.
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

    /// Appends a small deflated body to the others; returns its offset.
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

    /// Removes the small bodies after all of them have been copied.
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

    /// A new file for an archive; the archive that it is made from may exist beside it.
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

impl Drop for SpoolFiles {
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

/// A file of the spool. Dropping it removes the file and frees its bytes.
#[derive(Debug)]
pub(crate) struct PartFile {
    room: Arc<SpoolFiles>,
    path: PathBuf,
    file: Option<File>,
    length: u64,
    done: bool,
}

impl PartFile {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Closes the handle, because thousands of finished bodies may wait for the seal.
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
