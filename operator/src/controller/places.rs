//! Places: how many bundles are collected at once, and how much of the spool is promised to them. A sealed bundle that waits
//! for its store keeps only the room that it takes, so that others are collected meanwhile.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Fault;

const MIB: u64 = 1 << 20;

/// The places of one operator.
pub(super) struct Places {
    collecting: Arc<Semaphore>,
    /// Room of the spool that is not promised to anybody, MiB.
    room: Arc<Semaphore>,
    /// What one collection may need of it, MiB.
    each: u32,
}

/// One bundle's place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    room: OwnedSemaphorePermit,
    collecting: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// `spool_mib` are shared by `at_once` collections.
    pub(super) fn new(at_once: usize, spool_mib: u32) -> Self {
        let each = (spool_mib / u32::try_from(at_once).unwrap_or(u32::MAX)).max(1);
        let room = usize::try_from(each).unwrap_or(usize::MAX).saturating_mul(at_once).min(Semaphore::MAX_PERMITS);
        Self { collecting: Arc::new(Semaphore::new(at_once)), room: Arc::new(Semaphore::new(room)), each }
    }

    /// A place, if there is one now.
    pub(super) fn at_once(&self) -> Option<Place> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(self.each).ok()?;
        let collecting = Arc::clone(&self.collecting).try_acquire_owned().ok()?;
        Some(Place { room, collecting: Some(collecting) })
    }

    /// A place, in the order in which they were asked for.
    pub(super) async fn wait(&self) -> Result<Place, Fault> {
        // Room first: whoever has it begins soon, for there is no more of it than for those that collect at once.
        let room = Arc::clone(&self.room).acquire_many_owned(self.each).await.map_err(|_| Fault::Cancelled)?;
        let collecting = Arc::clone(&self.collecting).acquire_owned().await.map_err(|_| Fault::Cancelled)?;
        Ok(Place { room, collecting: Some(collecting) })
    }
}

impl Place {
    /// The bundle is sealed and takes so many bytes: another one may be collected.
    pub(super) fn sealed(&mut self, bytes: u64) {
        self.collecting = None;
        let kept = usize::try_from(bytes.div_ceil(MIB)).unwrap_or(usize::MAX);
        if let Some(kept) = self.room.split(kept) {
            self.room = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sealed_bundle_makes_place_for_the_next_until_the_spool_is_full() {
        let places = Places::new(2, 100);
        let mut first = places.at_once().expect("a place");
        let second = places.at_once().expect("a place");
        assert!(places.at_once().is_none(), "two at once");
        first.sealed(3 * MIB + 1);
        drop(second);
        let mut third = places.wait().await.expect("a place");
        assert!(places.at_once().is_none(), "46 MiB are left, each may need 50");
        third.sealed(0);
        let fourth = places.at_once().expect("96 MiB are left");
        drop((first, third, fourth));
        let all = [places.at_once(), places.at_once()];
        assert!(all.iter().all(Option::is_some), "all was given back");
    }
}
