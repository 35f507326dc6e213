//! Deflates and spools a large body on a thread of its own, beside the redactor that makes its lines. The thread that
//! would otherwise wait for the other computes the digest. `body` deflates, on either thread.

use std::{
    io,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use sha2::{Digest as _, Sha256};

use crate::{
    body::{BodyEncoder, Finished},
    shared::Shared,
    spool_files::SpoolFiles,
};

/// Smaller bodies are finished before a thread pays off (bytes before deflate).
const LARGE: u64 = 512 << 10;
/// Bytes of lines handed over at once; a block of the redactor may be twice as large.
const PIECE: usize = 128 << 10;
/// Pieces that may wait to be deflated. With the piece being filled, the one being deflated, and those that only wait
/// for the digest, a body has at most [`MOST_PIECES`].
const WAITING: usize = 2;
/// Pieces that may wait for the digest.
const UNHASHED: usize = 3;
/// Pieces of one body that may be in memory.
const MOST_PIECES: usize = 2 + WAITING + UNHASHED;
/// More threads than this never help: the network or the disk is the bottleneck then.
const MOST: usize = 4;

/// How many bodies may have a thread of their own: one less than the processors, because each also keeps a redactor
/// busy. With one processor, or a CPU limit below two, no body has one.
#[derive(Debug)]
pub(super) struct Threads(AtomicUsize);

impl Threads {
    /// As many as this machine, or this container's limit, can use.
    pub(super) fn of_machine() -> Self {
        Self::new(thread::available_parallelism().map_or(0, NonZero::get).saturating_sub(1).min(MOST))
    }

    pub(super) fn new(free: usize) -> Self {
        Self(AtomicUsize::new(free))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1)).is_ok()
    }

    fn give_back(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// A body while it is written: on the caller's thread (here) or on its own (beside).
pub(crate) struct BodyWriter {
    /// Of all bytes until the body moves to its own thread.
    digest: Sha256,
    at: At,
}

enum At {
    Here(Box<BodyEncoder>),
    Beside(Beside),
    /// Writing failed, and the error was returned.
    Nowhere,
}

impl BodyWriter {
    pub(crate) fn new(room: &Arc<SpoolFiles>) -> Self {
        Self { digest: Sha256::new(), at: At::Here(Box::new(BodyEncoder::new(room))) }
    }

    /// Must be set before the first byte.
    pub(crate) fn limit(&mut self, limit: u64) {
        if let At::Here(intake) = &mut self.at {
            intake.limit(limit);
        }
    }

    /// Keeps only the end of a body over its limit. Must be set before the first byte.
    pub(crate) fn tail_only(&mut self) {
        if let At::Here(intake) = &mut self.at {
            intake.tail_only();
        }
    }

    /// Takes whole lines; the last line of a body may lack its newline.
    ///
    /// # Errors
    /// The spool is full or cannot be written; for a large body the error may come a few pieces later.
    pub(crate) fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.at {
            At::Here(intake) => {
                self.digest.update(lines);
                intake.put(lines)?;
                if intake.bytes() >= LARGE && intake.room().threads().take() {
                    self.move_beside();
                }
                Ok(())
            }
            At::Beside(beside) => beside.put(lines).inspect_err(|_| self.at = At::Nowhere),
            At::Nowhere => Err(gone()),
        }
    }

    pub(crate) fn finish(self) -> io::Result<Finished> {
        match self.at {
            At::Here(intake) => intake.finish(self.digest),
            At::Beside(beside) => beside.finish(),
            At::Nowhere => Err(gone()),
        }
    }

    fn move_beside(&mut self) {
        if let At::Here(intake) = std::mem::replace(&mut self.at, At::Nowhere) {
            self.at = match Beside::start(intake) {
                Ok(beside) => {
                    beside.shared.go_on(std::mem::take(&mut self.digest));
                    At::Beside(beside)
                }
                Err(intake) => At::Here(intake),
            };
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "an earlier write of this body failed")
}

enum Piece {
    Lines(Arc<Vec<u8>>),
    /// Follows the last lines, with the digest of all. A body that ends without it was given up.
    End(Box<Sha256>),
}

/// A body on its thread, as the redactor's side sees it. Dropped before [`Beside::finish`], it leaves nothing behind.
struct Beside {
    room: Arc<SpoolFiles>,
    filling: Vec<u8>,
    pieces: Option<SyncSender<Piece>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<Finished>>>,
}

impl Beside {
    /// Returns the body unchanged if the system cannot start a thread. The caller already holds a place in `Threads`.
    fn start(intake: Box<BodyEncoder>) -> Result<Self, Box<BodyEncoder>> {
        let room = Arc::clone(intake.room());
        let (hand_over, handed_over) = sync_channel::<Box<BodyEncoder>>(1);
        let (pieces, filled) = sync_channel(WAITING);
        let shared = Arc::new(Shared::new(2 * PIECE, MOST_PIECES));
        let beside = Arc::clone(&shared);
        let work = move || handed_over.recv().map_err(|_| gone()).and_then(|intake| run(*intake, &filled, &beside));
        let Ok(thread) = thread::Builder::new().name("spool".to_owned()).spawn(work) else {
            room.threads().give_back();
            return Err(intake);
        };
        let beside = Self { room, filling: Vec::new(), pieces: Some(pieces), shared, thread: Some(thread) };
        hand_over.send(intake).map_err(|unsent| unsent.0)?;
        Ok(beside)
    }

    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        if !self.filling.is_empty() && self.filling.len() + lines.len() > PIECE {
            self.hand_on()?;
        }
        self.filling.extend_from_slice(lines);
        if self.filling.len() >= PIECE { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let empty = self.shared.empty().unwrap_or_else(|| Vec::with_capacity(PIECE));
        let full = Arc::new(std::mem::replace(&mut self.filling, empty));
        // If neither thread waits, neither computes the digest: then this one must.
        self.shared.hash_down_to(UNHASHED - 1);
        self.shared.to_hash(Arc::clone(&full));
        self.send(Piece::Lines(full))
    }

    /// If the thread takes no more pieces, it has ended; then its error is returned.
    fn send(&mut self, piece: Piece) -> io::Result<()> {
        let mut unsent = piece;
        while let Some(pieces) = &self.pieces {
            unsent = match pieces.try_send(unsent) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(piece)) if self.shared.hash_one() => piece,
                Err(TrySendError::Full(piece)) => match pieces.send(piece) {
                    Ok(()) => return Ok(()),
                    Err(_) => break,
                },
                Err(TrySendError::Disconnected(_)) => break,
            }
        }
        self.join().and_then(|_| Err(gone()))
    }

    fn finish(mut self) -> io::Result<Finished> {
        if !self.filling.is_empty() {
            self.hand_on()?;
        }
        self.shared.hash_down_to(0);
        let digest = self.shared.digest();
        self.send(Piece::End(Box::new(digest)))?;
        self.join()
    }

    /// The thread's result. A panic of the thread continues here, as if there were no thread.
    fn join(&mut self) -> io::Result<Finished> {
        self.pieces = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(gone()),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            // When the thread has ended, its files are gone. The body was given up, so its result is ignored.
            let _ = thread.join();
        }
        self.room.threads().give_back();
    }
}

/// What the thread runs.
fn run(mut intake: BodyEncoder, pieces: &Receiver<Piece>, shared: &Shared) -> io::Result<Finished> {
    loop {
        let piece = match pieces.try_recv() {
            Err(TryRecvError::Empty) if shared.hash_one() => continue,
            Err(TryRecvError::Empty) => pieces.recv().map_err(|_| gone())?,
            Err(TryRecvError::Disconnected) => return Err(gone()),
            Ok(piece) => piece,
        };
        match piece {
            Piece::Lines(lines) => {
                intake.put(&lines)?;
                shared.give_back(lines);
            }
            Piece::End(digest) => return intake.finish(*digest),
        }
    }
}

#[cfg(test)]
mod tests;
