//! Which DebugBundle runs next, and which ones run. A bundle that waits here has no task, no connection and no copy of
//! its object: it costs a few hundred bytes.
//!
//! Sealed bundles go first. Of the others, what a user requested goes before automatic bundles, and targets take turns:
//! between two turns of a target, each other target has at most one, and a target that comes after the next turn was
//! given has none. So however many new targets come, a bundle waits for a limited number of others. While an automatic
//! bundle waits, one place is left to automatic bundles, unless there is one place only.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    deleted::Deleted,
    slots::{CollectionSlot, CollectionSlots},
};
use crate::observed::Observed;

/// The most bundles under way at once: those being collected, and sealed ones that are sent or wait for their store.
/// Each has a task and its object in memory; further bundles stay Queued until one of these ends.
const UNDER_WAY: usize = 256;
/// The most of them that users requested: automatic bundles must find room beside them.
const REQUESTED: usize = UNDER_WAY / 4 * 3;
/// How long a requested bundle leaves a slot to an automatic one before it asks again.
const AGAIN: Duration = Duration::from_millis(500);
/// The most targets whose last turn is remembered.
const TARGETS: usize = 1000;

/// A DebugBundle that may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Still has to be collected. A bundle that an earlier process sealed, which only has to be sent, goes first.
    pub(super) collects: bool,
    /// The operator created it by itself.
    pub(super) automatic: bool,
    /// Kind and name of its target.
    pub(super) target: Option<Box<str>>,
    /// When it was created.
    pub(super) created: Timestamp,
    /// Its name.
    pub(super) name: String,
    /// Its UID.
    pub(super) uid: String,
    /// Number of the attempt.
    pub(super) attempt: i64,
    /// An earlier attempt was interrupted.
    pub(super) resume: bool,
    /// Bytes of the sealed archive in the spool; 0 if there is none.
    pub(super) sealed: u64,
}

impl Turn {
    /// `sealed`: bytes of the archive that an earlier attempt left in the spool.
    pub(super) fn of(seen: &Observed, attempt: i64, resume: bool, sealed: Option<u64>) -> Self {
        Self {
            collects: sealed.is_none(),
            automatic: seen.automatic.is_some(),
            target: seen.target.clone(),
            created: seen.created,
            name: seen.name_any(),
            uid: seen.uid().to_owned(),
            attempt,
            resume,
            sealed: sealed.unwrap_or(0),
        }
    }
}

/// The bundles that wait and those that are under way.
pub(super) struct BundleQueue {
    pub(super) places: CollectionSlots,
    state: Mutex<State>,
}

/// A bundle that waits.
struct Waiting {
    turn: Turn,
    /// Turns that had been given when it came.
    since: u64,
}

#[derive(Default)]
struct State {
    /// By UID.
    waiting: HashMap<String, Waiting>,
    /// By UID: whether the operator created it by itself.
    under_way: HashMap<String, bool>,
    /// When each target last had its turn, as the number of the turn.
    turns: HashMap<Option<Box<str>>, u64>,
    /// Turns so far.
    count: u64,
    /// Deleted DebugBundles whose bundles are still under way, by UID.
    deleted: HashMap<String, Deleted>,
}

impl BundleQueue {
    /// An empty queue for these slots.
    pub(super) fn new(places: CollectionSlots) -> Self {
        Self { places, state: Mutex::default() }
    }

    /// Adds a bundle, or replaces what is known of it. A bundle that is under way is left alone.
    pub(super) fn add(&self, turn: Turn) {
        let mut state = self.lock();
        if !state.under_way.contains_key(&turn.uid) {
            let since = state.waiting.get(&turn.uid).map_or(state.count, |known| known.since);
            state.waiting.insert(turn.uid.clone(), Waiting { turn, since });
        }
    }

    /// Removes a bundle that must not run any more.
    pub(super) fn remove(&self, uid: &str) {
        self.lock().waiting.remove(uid);
    }

    /// Removes all that wait.
    pub(super) fn clear(&self) {
        self.lock().waiting.clear();
    }

    /// Whether a bundle waits.
    pub(super) fn is_waiting(&self, uid: &str) -> bool {
        self.lock().waiting.contains_key(uid)
    }

    /// How many bundles wait, and how many are under way.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting.len(), state.under_way.len())
    }

    /// Whether any bundle is under way.
    pub(super) fn is_any_under_way(&self) -> bool {
        !self.lock().under_way.is_empty()
    }

    /// Whether a bundle is under way.
    pub(super) fn is_under_way(&self, uid: &str) -> bool {
        self.lock().under_way.contains_key(uid)
    }

    /// The next bundle that may run, with its slot; `None` while nothing waits or no slot is free. The bundle is under
    /// way until [`Self::ended`].
    pub(super) fn begin(&self) -> Option<(Turn, CollectionSlot)> {
        // Slots are taken under the lock. Otherwise one caller could hold the last slot only to find the queue empty,
        // while another finds no slot for the bundle that it has just added.
        let mut state = self.lock();
        if state.under_way.len() >= UNDER_WAY {
            return None;
        }
        let is_last = self.places.is_last_of_requested() || self.places.is_room_kept();
        let next = state.next(is_last)?.clone();
        let place = if next.collects {
            // What an earlier process left is useless, and is removed when the collection begins.
            self.places.forget(&next.uid);
            self.places.at_once(next.automatic)?
        } else {
            self.places.of_sealed(&next.uid, next.sealed)
        };
        state.took(&next);
        state.under_way.insert(next.uid.clone(), next.automatic);
        Some((next, place))
    }

    /// Waits for a slot to continue the collection of a bundle that waited unsealed. Returns the bytes that it may use;
    /// `None` when the operator ends. While the only free slot is one of automatic bundles, `give_way` is called again and
    /// again.
    pub(super) async fn resume(&self, place: &mut CollectionSlot, give_way: impl Fn()) -> Option<u64> {
        loop {
            let free = self.places.free().await?;
            {
                // Under the lock, as in `begin`: no other requested bundle takes the last slot at the same time.
                let state = self.lock();
                if place.is_automatic() || !state.is_kept_for_automatic(self.places.is_last_of_requested()) {
                    return Some(self.places.resume(place, free));
                }
            }
            drop(free);
            give_way();
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Records that a DebugBundle was deleted. Returns it if it can be cleaned up now. While its bundle is under way,
    /// it is kept, and [`Self::ended`] returns it later.
    pub(super) fn deleted(&self, deleted: Deleted) -> Option<Deleted> {
        let mut state = self.lock();
        if !state.under_way.contains_key(deleted.uid()) {
            return Some(deleted);
        }
        state.deleted.insert(deleted.uid().to_owned(), deleted);
        None
    }

    /// Records that a bundle is no longer under way. Returns its DebugBundle for the clean-up if that was deleted.
    #[must_use]
    pub(super) fn ended(&self, uid: &str) -> Option<Deleted> {
        let mut state = self.lock();
        state.under_way.remove(uid);
        state.deleted.remove(uid)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The bundle that runs next; `is_last`: a requested bundle would take the last place or the last room.
    fn next(&self, is_last: bool) -> Option<&Turn> {
        let automatic_first = self.is_kept_for_automatic(is_last);
        let requested = self.under_way.values().filter(|automatic| !**automatic).count();
        let may_begin = |one: &&Waiting| one.turn.automatic || requested < REQUESTED;
        let next = self.waiting.values().filter(may_begin).min_by_key(|Waiting { turn, since }| {
            // A target that had no turn yet goes first, but behind what waited when it came.
            let last_turn = self.turns.get(&turn.target).copied();
            let waits = (!turn.automatic).then(|| (last_turn.max(Some(*since)), last_turn));
            (turn.collects, turn.automatic != automatic_first, waits, turn.created, &turn.name, &turn.uid)
        });
        next.map(|one| &one.turn)
    }

    /// Whether the next place is an automatic bundle's, because one waits.
    fn is_kept_for_automatic(&self, is_last: bool) -> bool {
        is_last && self.waiting.values().any(|one| one.turn.collects && one.turn.automatic)
    }

    /// Records that it is this bundle's turn.
    fn took(&mut self, turn: &Turn) {
        self.waiting.remove(&turn.uid);
        if turn.automatic {
            return;
        }
        self.count += 1;
        self.turns.insert(turn.target.clone(), self.count);
        if self.turns.len() > TARGETS
            && let Some(oldest) = self.turns.iter().min_by_key(|(_, turn)| **turn).map(|(target, _)| target.clone())
        {
            self.turns.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(name: &str, automatic: bool, created: i64) -> Turn {
        let created = Timestamp::from_second(created).expect("a time");
        let (name, uid) = (name.to_owned(), format!("uid-of-{name}"));
        let target = Some(name.trim_end_matches(|c: char| c.is_ascii_digit()).into());
        Turn { collects: true, automatic, target, created, name, uid, attempt: 1, resume: false, sealed: 0 }
    }

    fn begun(queue: &BundleQueue) -> Option<(String, CollectionSlot)> {
        queue.begin().map(|(turn, place)| (turn.name, place))
    }

    #[tokio::test]
    async fn issue_32_requested_bundles_that_wait_leave_room_for_an_automatic_one() {
        let queue = BundleQueue::new(CollectionSlots::new(2, 64));
        let mut waiting = Vec::new();
        for n in 0..64 {
            queue.add(turn(&format!("user{n}"), false, n));
            let Some((_, mut place)) = begun(&queue) else { break };
            let bytes = place.bytes() / 2;
            place.sealed(bytes);
            waiting.push(place);
        }
        assert!(waiting.len() < 64, "the spool is full for requested bundles");
        queue.add(turn("failed", true, 99));
        let (name, place) = begun(&queue).expect("there is room for it");
        assert!(name == "failed" && place.bytes() >> 20 >= 8, "at least a quarter of a share: {}", place.bytes());
    }

    #[tokio::test]
    async fn what_somebody_asked_for_runs_before_automatic_bundles_then_the_oldest() {
        let queue = BundleQueue::new(CollectionSlots::new(1, 100));
        for turn in [turn("b", false, 7), turn("auto", true, 1), turn("a", false, 7), turn("old", false, 3)] {
            queue.add(turn);
        }
        let sealed = Turn { collects: false, sealed: 5, resume: true, ..turn("sealed", true, 9) };
        queue.add(sealed);
        let mut order = Vec::new();
        let mut sent = Vec::new();
        while let Some((name, place)) = begun(&queue) {
            // A sealed bundle keeps its slot while it waits for its store; a collection gives its slot back.
            if name == "sealed" {
                sent.push(place);
            }
            order.push(name);
        }
        assert_eq!(order, ["sealed", "old", "a", "b", "auto"]);
    }

    #[tokio::test]
    async fn one_of_several_places_is_left_to_automatic_bundles_while_one_waits() {
        let queue = BundleQueue::new(CollectionSlots::new(2, 100));
        for turn in [turn("a", false, 1), turn("b", false, 2), turn("c", false, 3)] {
            queue.add(turn);
        }
        let (_, a) = begun(&queue).expect("a place");
        queue.add(turn("auto", true, 9));
        let (name, auto) = begun(&queue).expect("a place");
        assert_eq!(name, "auto", "requested bundles would hold both places");
        queue.add(turn("auto-later", true, 10));
        drop(a);
        let (name, b) = begun(&queue).expect("a place");
        assert_eq!(name, "b", "an automatic one has a place");
        drop(auto);
        assert_eq!(begun(&queue).expect("a place").0, "auto-later");
        // Nothing automatic waits: both places are for those who ask.
        let (name, _c) = begun(&queue).expect("a place");
        assert_eq!(name, "c");
        drop(b);
    }

    #[tokio::test]
    async fn issue_32_requested_bundles_that_go_on_leave_a_place_to_an_automatic_one_that_waits() {
        let queue = BundleQueue::new(CollectionSlots::new(2, 1000));
        let mut held = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            queue.add(turn(name, false, 1));
            let (_, mut place) = begun(&queue).expect("a place");
            assert!(queue.places.wait(&mut place, 0));
            held.push(place);
        }
        queue.add(turn("f", false, 2));
        let (_, f) = begun(&queue).expect("a place");
        queue.add(turn("auto0", true, 2));
        let (_, auto0) = begun(&queue).expect("a place");
        queue.add(turn("auto1", true, 3));
        let gave_way = std::cell::Cell::new(0);
        let mut resumed: Vec<_> =
            held.iter_mut().map(|place| Box::pin(queue.resume(place, || gave_way.set(gave_way.get() + 1)))).collect();
        for one in &mut resumed {
            assert!(futures::poll!(one).is_pending(), "no place is free");
        }
        drop(f);
        drop(auto0);
        let mut ready = 0;
        for one in &mut resumed {
            ready += usize::from(futures::poll!(one).is_ready());
        }
        assert_eq!((ready, gave_way.get() > 0), (1, true), "the other place is auto1's");
        let (name, _auto1) = begun(&queue).expect("a place");
        assert_eq!(name, "auto1");
    }

    #[tokio::test]
    async fn targets_take_turns_however_many_bundles_one_of_them_has() {
        let queue = BundleQueue::new(CollectionSlots::new(1, 100));
        for n in 1..=4 {
            queue.add(turn(&format!("many{n}"), false, n));
        }
        let mut order = vec![begun(&queue).expect("a place").0];
        queue.add(turn("few1", false, 8));
        queue.add(turn("few2", false, 9));
        while let Some((name, _place)) = begun(&queue) {
            order.push(name);
        }
        assert_eq!(order, ["many1", "few1", "many2", "few2", "many3", "many4"]);
    }

    #[tokio::test]
    async fn issue_32_a_second_bundle_of_a_target_waits_for_a_limited_number_however_many_new_targets_come() {
        for (each_turn, before) in [(1, 0), (1, 7), (3, 2)] {
            let queue = BundleQueue::new(CollectionSlots::new(1, 100));
            let mut come = 0;
            let mut fresh = |number: usize| {
                for _ in 0..number {
                    come += 1;
                    queue.add(Turn {
                        target: Some(format!("new {come}").into()),
                        ..turn(&format!("new{come}"), false, 1)
                    });
                }
            };
            for n in 1..=4 {
                queue.add(turn(&format!("many{n}"), false, 9));
            }
            fresh(before);
            let mut left = 1;
            let mut turns = 0;
            let mut bound = before + 1;
            while left <= 4 {
                let (name, _place) = begun(&queue).expect("a place");
                queue.add(turn("many4", false, 9));
                turns += 1;
                assert!(
                    turns <= bound,
                    "{each_turn} come each turn, {before} waited: many{left} waits for {turns} turns"
                );
                fresh(each_turn);
                if name == format!("many{left}") {
                    // One of each other target that waits now, and then its own.
                    let others = queue.counts().0 - (4 - left);
                    (left, turns, bound) = (left + 1, 0, others + 1);
                }
            }
        }
    }

    #[tokio::test]
    async fn one_that_runs_is_not_begun_again_and_one_that_is_gone_is_not_begun() {
        let queue = BundleQueue::new(CollectionSlots::new(2, 100));
        queue.add(turn("a", false, 1));
        let (_, place) = begun(&queue).expect("a place is free");
        queue.add(turn("a", false, 1));
        assert!(queue.is_under_way("uid-of-a") && !queue.is_waiting("uid-of-a"));
        queue.add(turn("gone", false, 2));
        queue.remove("uid-of-gone");
        assert!(begun(&queue).is_none());
        drop(place);
        let gone = || Deleted::with_uid("uid-of-a");
        assert!(queue.deleted(gone()).is_none(), "it still runs");
        assert!(queue.ended("uid-of-a").is_some() && queue.ended("uid-of-a").is_none(), "once");
        assert!(queue.deleted(gone()).is_some(), "nothing runs");
        queue.add(turn("a", false, 1));
        assert_eq!(begun(&queue).map(|(name, _)| name).as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_memory_allows() {
        let queue = BundleQueue::new(CollectionSlots::new(1, 1_000_000));
        let names: Vec<String> = (0..UNDER_WAY + 3).map(|n| format!("b{n:04}")).collect();
        for name in &names {
            queue.add(turn(name, false, 1));
            queue.add(turn(&format!("{name}-auto"), true, 1));
        }
        let mut waits_for_its_store = Vec::new();
        let mut automatic = 0;
        while let Some((name, mut place)) = begun(&queue) {
            place.sealed(1);
            automatic += usize::from(name.ends_with("-auto"));
            waits_for_its_store.push(place);
        }
        assert_eq!((waits_for_its_store.len(), automatic), (UNDER_WAY, UNDER_WAY - REQUESTED));
        assert!(queue.ended("uid-of-b0000").is_none());
        assert_eq!(begun(&queue).map(|(name, _)| name), Some(format!("b{REQUESTED:04}")));
    }
}
