//! What both threads of a large body share: the digest, computed by the thread that would otherwise wait, and the
//! memory of finished pieces.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
};

use sha2::{Digest as _, Sha256};

pub(super) struct Shared {
    digest: Mutex<Sha256>,
    /// Only the holder of the digest takes pieces from it, so that their order stays.
    unhashed: Mutex<VecDeque<Arc<Vec<u8>>>>,
    empty: Mutex<Vec<Vec<u8>>>,
    /// Bytes that an empty piece may keep: a piece enlarged by a long line is shrunk again.
    capacity: usize,
    pieces: usize,
}

impl Shared {
    /// Keeps at most `pieces` empty pieces, of at most `capacity` bytes each.
    pub(super) fn new(capacity: usize, pieces: usize) -> Self {
        let (digest, unhashed, empty) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { digest, unhashed, empty, capacity, pieces }
    }

    /// Sets the digest of the bytes before the first piece.
    pub(super) fn go_on(&self, digest: Sha256) {
        *locked(&self.digest) = digest;
    }

    /// The digest of all pieces taken for it, including one that the other thread is hashing now. Resets the digest.
    pub(super) fn digest(&self) -> Sha256 {
        std::mem::take(&mut *locked(&self.digest))
    }

    /// Queues the next piece for the digest.
    pub(super) fn to_hash(&self, piece: Arc<Vec<u8>>) {
        locked(&self.unhashed).push_back(piece);
    }

    /// Hashes a piece; `false` if none waits, or if the other thread is hashing.
    pub(super) fn hash_one(&self) -> bool {
        let digest = match self.digest.try_lock() {
            Ok(digest) => digest,
            Err(TryLockError::Poisoned(digest)) => digest.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.hash(digest)
    }

    /// Hashes pieces until at most `most` wait.
    pub(super) fn hash_down_to(&self, most: usize) {
        while locked(&self.unhashed).len() > most {
            self.hash(locked(&self.digest));
        }
    }

    fn hash(&self, mut digest: MutexGuard<'_, Sha256>) -> bool {
        let Some(piece) = locked(&self.unhashed).pop_front() else { return false };
        digest.update(&*piece);
        drop(digest);
        self.give_back(piece);
        true
    }

    /// Takes back a piece that this thread no longer needs.
    pub(super) fn give_back(&self, piece: Arc<Vec<u8>>) {
        let Some(mut piece) = Arc::into_inner(piece) else { return };
        piece.clear();
        piece.shrink_to(self.capacity);
        let mut empty = locked(&self.empty);
        if empty.len() < self.pieces {
            empty.push(piece);
        }
    }

    /// The memory of a finished piece, if there is one.
    pub(super) fn empty(&self) -> Option<Vec<u8>> {
        locked(&self.empty).pop()
    }
}

/// A poisoned lock can be used: a panic leaves nothing half done here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_hash_in_the_order_of_the_pieces() {
        let shared = Shared::new(1 << 10, 2);
        shared.go_on(Sha256::new_with_prefix("before"));
        let mut all = b"before".to_vec();
        for round in 0..200_u8 {
            let piece = Arc::new(vec![round; 100 + usize::from(round)]);
            all.extend_from_slice(&piece);
            shared.to_hash(piece);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| while shared.hash_one() {});
            shared.hash_down_to(0);
        });
        assert!(!shared.hash_one(), "nothing is left");
        assert_eq!(shared.digest().finalize(), Sha256::digest(&all));
    }

    #[test]
    fn a_piece_comes_back_once_from_the_side_that_is_the_last_to_need_it() {
        let shared = Shared::new(1 << 10, 1);
        let piece = Arc::new(Vec::with_capacity(1 << 20));
        shared.to_hash(Arc::clone(&piece));
        shared.give_back(piece);
        assert!(shared.empty().is_none(), "its digest is still to be made");
        assert!(shared.hash_one());
        let empty = shared.empty().expect("both are done");
        assert!(empty.capacity() < 1 << 20, "{}", empty.capacity());
        assert!(shared.empty().is_none());
    }
}
