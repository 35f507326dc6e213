//! A large body is deflated and spooled on a thread of its own, beside the redactor that makes its lines; who would wait for
//! the other makes the digest. How they are deflated, on whichever thread, is `body`'s business.

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

use super::{
    body::{BodyEncoder, Finished},
    shared::Shared,
    spool_files::SpoolFiles,
};

/// Smaller bodies are done before a thread would have paid (bytes before deflate).
const LARGE: u64 = 512 << 10;
/// Lines that are handed over at once (bytes); a block of the redactor may have twice as many.
const PIECE: usize = 128 << 10;
/// Pieces that may wait to be deflated. With the one that is filled, the one that is deflated, and those of which only the
/// digest is still to be made, a body has [`MOST_PIECES`] at most.
const WAITING: usize = 2;
/// Pieces that may wait for the digest.
const UNHASHED: usize = 3;
/// Pieces of one body that may be in memory.
const MOST_PIECES: usize = 2 + WAITING + UNHASHED;
/// More threads than this never help: whoever waits then is the network or the disk.
const MOST: usize = 4;

/// How many bodies may have a thread of their own: one less than there are processors, for each keeps its redactor busy, too.
/// With one processor, or a limit below two, there are none, and nothing is handed over.
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

/// A body while it is written, here or beside.
pub(crate) struct BodyWriter {
    /// Of all bytes, until the body moves beside.
    digest: Sha256,
    at: At,
}

enum At {
    Here(Box<BodyEncoder>),
    Beside(Beside),
    /// Writing failed, and was told.
    Nowhere,
}

impl BodyWriter {
    pub(crate) fn new(room: &Arc<SpoolFiles>) -> Self {
        Self { digest: Sha256::new(), at: At::Here(Box::new(BodyEncoder::new(room))) }
    }

    /// Must be told before the first byte.
    pub(crate) fn limit(&mut self, limit: u64) {
        if let At::Here(intake) = &mut self.at {
            intake.limit(limit);
        }
    }

    /// Of a body over its limit only the end is kept. Must be told before the first byte.
    pub(crate) fn tail_only(&mut self) {
        if let At::Here(intake) = &mut self.at {
            intake.tail_only();
        }
    }

    /// Takes whole lines; the last one of a body may lack its end.
    ///
    /// # Errors
    /// The spool is full or cannot be written; of a large body this may be told a few pieces later.
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
    /// Behind the last lines, with the digest of all: a body that ends without it was given up.
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
    /// The body as it was if the system has no thread to give. The place among the room's threads is taken already.
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
        // Neither side waits for long, and so neither has had the time for the digest.
        self.shared.hash_down_to(UNHASHED - 1);
        self.shared.to_hash(Arc::clone(&full));
        self.send(Piece::Lines(full))
    }

    /// If the thread takes no more, it has ended, and says why.
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

    /// What became of the body. A panic there goes on here, as if there had been no thread.
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
            // Its files are gone when it has ended. It was given up, and so is what it could tell.
            let _ = thread.join();
        }
        self.room.threads().give_back();
    }
}

/// The thread.
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
