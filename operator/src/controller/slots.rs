//! Slots: how many bundles are collected at once, and how much of the spool each may use. A sealed bundle that waits
//! for its store keeps only the room that its file takes, so that others are collected meanwhile. A bundle that waits
//! for Velero's files before it is sealed keeps the room that sealing needs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MIB: u64 = 1 << 20;
/// Most bundles that wait before they are sealed: the evidence of each stays in memory.
const UNSEALED: usize = 10;
/// The most of them that users requested.
const UNSEALED_REQUESTED: usize = UNSEALED / 2;

/// The slots of one operator.
pub(super) struct CollectionSlots {
    at_once: usize,
    collecting: Arc<Semaphore>,
    /// Slots that requested bundles do not hold.
    unrequested: Arc<Semaphore>,
    /// Room of the spool that is not reserved, MiB.
    room: Arc<Semaphore>,
    /// All room, MiB.
    all: usize,
    /// Room that one collection reserves, MiB.
    each: u32,
    /// Room of sealed bundles that no run is sending just now, by UID: their files still use it.
    put_by: Mutex<BTreeMap<String, OwnedSemaphorePermit>>,
    unsealed: Arc<Semaphore>,
    /// Held beside it by a requested bundle.
    unsealed_requested: Arc<Semaphore>,
}

/// One bundle's slot; dropping it frees the slot.
#[derive(Debug)]
pub(super) struct CollectionSlot {
    room: OwnedSemaphorePermit,
    collecting: Option<OwnedSemaphorePermit>,
    /// Held beside `collecting` by a requested bundle.
    requested: Option<OwnedSemaphorePermit>,
    is_automatic: bool,
    unsealed: Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)>,
}

/// Into how many shares the spool is divided. A single collection gets half of it: a sealed bundle that waits for its
/// store keeps its room, and a whole share must be left beside it.
fn shares(at_once: usize) -> usize {
    at_once.max(2)
}

/// Room that one collection may use in a spool of `spool_mib` MiB, in MiB.
pub fn share_mib(at_once: usize, spool_mib: u32) -> u32 {
    (spool_mib / u32::try_from(shares(at_once)).unwrap_or(u32::MAX)).max(1)
}

impl CollectionSlots {
    /// `spool_mib` are shared by `at_once` collections and the sealed bundles that wait.
    pub(super) fn new(at_once: usize, spool_mib: u32) -> Self {
        let each = share_mib(at_once, spool_mib);
        let room = usize::try_from(each).unwrap_or(usize::MAX).saturating_mul(shares(at_once));
        let room = room.min(Semaphore::MAX_PERMITS);
        Self {
            at_once,
            collecting: Arc::new(Semaphore::new(at_once)),
            unrequested: Arc::new(Semaphore::new(at_once)),
            room: Arc::new(Semaphore::new(room)),
            all: room,
            each,
            put_by: Mutex::default(),
            unsealed: Arc::new(Semaphore::new(UNSEALED)),
            unsealed_requested: Arc::new(Semaphore::new(UNSEALED_REQUESTED)),
        }
    }

    /// Reserved and all room of the spool, in bytes.
    pub(super) fn reserved(&self) -> (u64, u64) {
        let bytes = |mib: usize| u64::try_from(mib).unwrap_or(u64::MAX).saturating_mul(MIB);
        (bytes(self.all.saturating_sub(self.room.available_permits())), bytes(self.all))
    }

    /// Reserves the room of a sealed bundle of `bytes` that an earlier process left, unless it has its room.
    pub(super) fn left_over(&self, uid: &str, bytes: u64) {
        self.lock().entry(uid.to_owned()).or_insert_with(|| self.of_size(bytes));
    }

    /// The slot of a sealed bundle of `bytes`; it never waits, for its file already uses the room.
    pub(super) fn of_sealed(&self, uid: &str, bytes: u64) -> CollectionSlot {
        let kept = self.lock().remove(uid);
        let room = kept.unwrap_or_else(|| self.of_size(bytes));
        CollectionSlot { room, collecting: None, requested: None, is_automatic: false, unsealed: None }
    }

    /// Keeps the room of a sealed bundle until a run sends it, or its file is removed.
    pub(super) fn put_by(&self, uid: &str, mut place: CollectionSlot, bytes: u64) {
        place.sealed(bytes);
        self.lock().insert(uid.to_owned(), place.room);
    }

    /// Frees that room: the file was removed.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Reserves what is left if that is less: a spool that was made smaller is full.
    fn of_size(&self, bytes: u64) -> OwnedSemaphorePermit {
        let mut wanted = u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX);
        loop {
            match Arc::clone(&self.room).try_acquire_many_owned(wanted) {
                Ok(room) => return room,
                Err(_) => wanted = wanted.min(u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, OwnedSemaphorePermit>> {
        self.put_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot, if one is free now. Its room is a whole share, or what the bundles that wait leave of it, but no less than
    /// a quarter: they must not keep others from being collected. While some wait, a requested bundle also leaves a
    /// quarter to the next automatic one.
    pub(super) fn at_once(&self, is_automatic: bool) -> Option<CollectionSlot> {
        let wanted = self.share(is_automatic)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(wanted).ok()?;
        let collecting = Arc::clone(&self.collecting).try_acquire_owned().ok()?;
        let requested = self.requested(is_automatic);
        Some(CollectionSlot { room, collecting: Some(collecting), requested, is_automatic, unsealed: None })
    }

    /// The room for the next collection, MiB.
    fn share(&self, is_automatic: bool) -> Option<u32> {
        let free = u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX);
        let collecting = self.at_once - self.collecting.available_permits();
        let others = u32::try_from(shares(self.at_once) - collecting).unwrap_or(u32::MAX);
        let quarter = self.each.div_ceil(4);
        let do_some_wait = free < others.saturating_mul(self.each);
        let kept = if do_some_wait && !is_automatic { quarter } else { 0 };
        let wanted = self.each.min(free.saturating_sub(kept).max(quarter));
        (wanted + kept <= free).then_some(wanted)
    }

    /// Whether there is no room for a requested bundle.
    pub(super) fn is_room_kept(&self) -> bool {
        self.share(false).is_none()
    }

    /// Whether requested bundles hold all slots but one, of several.
    pub(super) fn is_last_of_requested(&self) -> bool {
        self.at_once > 1 && self.unrequested.available_permits() <= 1
    }

    fn requested(&self, is_automatic: bool) -> Option<OwnedSemaphorePermit> {
        if is_automatic { None } else { Arc::clone(&self.unrequested).try_acquire_owned().ok() }
    }

    /// Frees the slot of a collection whose bundle waits unsealed; `bytes` of the spool stay reserved. Returns false,
    /// and changes nothing, if too many bundles wait already.
    pub(super) fn wait(&self, place: &mut CollectionSlot, bytes: u64) -> bool {
        let requested = if place.is_automatic {
            Ok(None)
        } else {
            Arc::clone(&self.unsealed_requested).try_acquire_owned().map(Some)
        };
        let (Ok(requested), Ok(unsealed)) = (requested, Arc::clone(&self.unsealed).try_acquire_owned()) else {
            return false;
        };
        place.sealed(bytes);
        place.unsealed = Some((unsealed, requested));
        true
    }

    /// Waits until a collection may go on; `None` when the operator ends.
    pub(super) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.collecting).acquire_owned().await.ok()
    }

    /// Lets such a collection go on, and reserves free room up to a whole share. Returns the bytes that the bundle may
    /// use, at least the bytes reserved before.
    pub(super) fn resume(&self, place: &mut CollectionSlot, free: OwnedSemaphorePermit) -> u64 {
        place.collecting = Some(free);
        place.requested = self.requested(place.is_automatic);
        let room = u64::try_from(place.room.num_permits()).unwrap_or(u64::MAX);
        place.room.merge(self.of_size(u64::from(self.each).saturating_sub(room) * MIB));
        place.bytes()
    }
}

impl CollectionSlot {
    /// The operator created its bundle by itself.
    pub(super) fn is_automatic(&self) -> bool {
        self.is_automatic
    }

    /// The bytes of the spool that the bundle may use.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.room.num_permits()).unwrap_or(u64::MAX).saturating_mul(MIB)
    }

    /// The bundle is sealed and takes `bytes`: another one may be collected.
    pub(super) fn sealed(&mut self, bytes: u64) {
        (self.collecting, self.requested, self.unsealed) = (None, None, None);
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
        let places = CollectionSlots::new(2, 100);
        let mut first = places.at_once(false).expect("a place");
        let mut second = places.at_once(false).expect("a place");
        assert!(places.at_once(false).is_none(), "two at once");
        first.sealed(39 * MIB + 1);
        second.sealed(48 * MIB);
        assert!(places.at_once(true).is_none(), "12 MiB are left, a collection needs 13");
        second.sealed(47 * MIB);
        assert!(places.at_once(false).is_none(), "13 MiB are left to an automatic bundle");
        let third = places.at_once(true).expect("13 MiB are left");
        assert_eq!(third.bytes(), 13 * MIB);
        drop((first, second, third));
        let all = [places.at_once(false), places.at_once(false)];
        assert!(all.iter().flatten().all(|place| place.bytes() == 50 * MIB), "all was given back");
        assert_eq!(all.iter().flatten().count(), 2);
    }

    #[tokio::test]
    async fn bundles_that_wait_take_no_place_from_the_others() {
        let places = CollectionSlots::new(2, 100);
        let mut unsealed = places.at_once(false).expect("a place");
        assert!(places.wait(&mut unsealed, 10 * MIB));
        let mut sealed = places.at_once(false).expect("a place");
        sealed.sealed(20 * MIB);
        let (next, last) = (places.at_once(false).expect("a place"), places.at_once(true).expect("a place"));
        assert_eq!((next.bytes(), last.bytes()), (50 * MIB, 20 * MIB));
    }

    #[tokio::test]
    async fn a_sealed_bundle_has_the_room_of_its_file_whoever_sends_it() {
        let places = CollectionSlots::new(2, 100);
        places.left_over("a", 30 * MIB);
        places.left_over("b", 15 * MIB);
        places.left_over("a", 30 * MIB);
        let collects = places.at_once(true).expect("55 MiB are left");
        assert!(places.at_once(false).is_none(), "5 MiB are left");
        let a = places.of_sealed("a", 30 * MIB);
        let _c = places.of_sealed("c", 9 * MIB);
        assert_eq!(places.room.available_permits(), 0, "what is there is there, promised or not");
        drop(collects);
        assert_eq!(places.room.available_permits(), 50);
        places.put_by("a", a, 30 * MIB);
        assert_eq!(places.room.available_permits(), 50, "its file stays");
        places.forget("a");
        places.forget("b");
        assert_eq!(places.room.available_permits(), 95);
    }

    #[tokio::test]
    async fn a_bundle_that_waits_unsealed_keeps_what_sealing_needs_and_gets_the_rest_back_if_it_is_free() {
        let places = CollectionSlots::new(1, 100);
        let mut first = places.at_once(false).expect("a place");
        assert!(places.wait(&mut first, 20 * MIB));
        assert_eq!(places.room.available_permits(), 80);
        let mut second = places.at_once(false).expect("it keeps nobody from being collected");
        {
            let go_on = async { places.resume(&mut first, places.free().await.expect("the operator runs")) };
            let mut resumed = std::pin::pin!(go_on);
            assert!(futures::poll!(&mut resumed).is_pending(), "one at a time");
            second.sealed(45 * MIB);
            assert_eq!(resumed.await, 50 * MIB, "a whole share again");
        }
        first.sealed(MIB);
        assert_eq!(places.room.available_permits(), 54);
        let mut waiting: Vec<CollectionSlot> = Vec::new();
        for number in 0..UNSEALED {
            let mut place = places.at_once(number >= UNSEALED_REQUESTED).expect("a place");
            assert!(places.wait(&mut place, 0));
            waiting.push(place);
            if waiting.len() == UNSEALED_REQUESTED {
                let mut requested = places.at_once(false).expect("a place");
                assert!(!places.wait(&mut requested, 0), "the rest is for automatic bundles");
            }
        }
        let mut one_more = places.at_once(true).expect("a place");
        assert!(!places.wait(&mut one_more, 0) && one_more.collecting.is_some(), "too many wait");
        waiting.pop();
        assert!(places.wait(&mut one_more, 0));
    }

    #[tokio::test]
    async fn a_fault_after_sealing_gives_back_what_was_not_needed_and_keeps_the_rest() {
        let places = CollectionSlots::new(1, 50);
        let place = places.at_once(false).expect("a place");
        // Sealed, but that could not be written to status.
        places.put_by("a", place, 2 * MIB);
        assert_eq!(places.room.available_permits(), 48);
        drop(places.of_sealed("a", 2 * MIB));
        assert_eq!(places.room.available_permits(), 50);
    }

    #[tokio::test]
    async fn where_one_is_collected_at_a_time_a_sealed_one_that_waits_keeps_nobody_from_it() {
        let places = CollectionSlots::new(1, 50);
        let mut first = places.at_once(false).expect("a place");
        assert!(places.at_once(false).is_none(), "one at a time");
        first.sealed(u64::from(share_mib(1, 50)) * MIB);
        let mut second = places.at_once(false).expect("half of the spool is left, however large the first one is");
        second.sealed(19 * MIB);
        assert!(places.at_once(false).is_none(), "6 MiB are left, a collection needs 7");
        drop(first);
        assert!(places.at_once(false).is_some());
    }
}
