//! The pauses between tries to send bundles to one location. They grow, and the waiting bundles share them: one bundle
//! tries, the others learn the result. `deliver` makes the tries.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use debugbundle_crd::Reason;
use tokio::{
    sync::{OwnedMutexGuard, watch},
    time::{Instant, sleep_until},
};

use crate::probe_step::ProbeStep;

/// The first pause after a location failed; each next pause is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: within this time after mending a location, a person sees its bundles go.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// The locations that bundles are being sent to.
#[derive(Debug)]
pub(super) struct Backoffs {
    by_name: Mutex<BTreeMap<String, Weak<Shared>>>,
    first: Duration,
    longest: Duration,
}

impl Default for Backoffs {
    fn default() -> Self {
        Self::between(FIRST_PAUSE, LONGEST_PAUSE)
    }
}

/// Shared by the bundles of one location.
#[derive(Debug, Default)]
struct Shared {
    /// The last failure; `None` while the location is believed to work.
    last: watch::Sender<Option<Failure>>,
    /// Held by the bundle that tries on behalf of all waiting ones.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Held by the bundle that looks for an earlier cure on behalf of all waiting ones.
    looking: tokio::sync::Mutex<()>,
}

/// Why a location could not be used.
#[derive(Clone, Debug)]
pub struct Failure {
    /// For conditions and Events.
    pub reason: Reason,
    /// The step on the way to the store that failed, if it is known.
    pub step: Option<ProbeStep>,
    /// A sentence.
    pub message: String,
    /// Key of the bundle whose try failed.
    key: String,
    at: Instant,
    /// Time until the next try.
    pause: Duration,
}

/// One bundle's part in the tries of its location.
#[derive(Debug)]
pub(super) struct Backoff {
    shared: Arc<Shared>,
    key: String,
    turn: Mutex<Option<OwnedMutexGuard<()>>>,
    first: Duration,
    longest: Duration,
}

impl Backoffs {
    fn between(first: Duration, longest: Duration) -> Self {
        Self { by_name: Mutex::default(), first, longest }
    }

    /// Joins the bundle with this key to its location.
    pub(super) fn join(&self, location: &str, key: &str) -> Backoff {
        let mut all = lock(&self.by_name);
        all.retain(|_, shared| shared.strong_count() > 0);
        let shared = all.get(location).and_then(Weak::upgrade).unwrap_or_default();
        all.insert(location.to_owned(), Arc::downgrade(&shared));
        Backoff { shared, key: key.to_owned(), turn: Mutex::default(), first: self.first, longest: self.longest }
    }
}

impl Backoff {
    /// The store accepted data: all waiting bundles may try.
    pub(super) fn works(&self) {
        self.shared.last.send_if_modified(|last| last.take().is_some());
        *lock(&self.turn) = None;
    }

    /// A try of this bundle failed. The pause grows only if the try was made on behalf of all.
    pub(super) fn failed(&self, reason: Reason, step: Option<ProbeStep>, message: String) -> Failure {
        // Released at the end: the next bundle must see the failure first.
        let turn = lock(&self.turn).take();
        let (at, key) = (Instant::now(), self.key.clone());
        let mut failure = Failure { reason, step, message, key, at, pause: self.first };
        self.shared.last.send_if_modified(|last| {
            match last {
                Some(_) if turn.is_none() => return false,
                Some(before) => failure.pause = (before.pause * 2).min(self.longest),
                None => {}
            }
            *last = Some(failure.clone());
            true
        });
        failure
    }

    /// Waits after a failure. Returns `None` when this bundle should try: it is its turn, the location works again,
    /// `cured` ended, or its time is over. Returns a newer failure that another bundle met.
    pub(super) async fn wait(
        &self,
        known: &Failure,
        deadline: Instant,
        cured: impl Future<Output = ()>,
    ) -> Option<Failure> {
        let mut last = self.shared.last.subscribe();
        let mut cured = std::pin::pin!(async {
            let _alone = self.shared.looking.lock().await;
            cured.await;
        });
        loop {
            let newest = last.borrow_and_update().clone()?;
            if newest.at > known.at {
                return Some(self.as_of_this(newest));
            }
            // Each bundle draws its own pause, so that it is not always the same one that tries.
            let turn = async {
                sleep_until(newest.at + jittered(newest.pause)).await;
                Arc::clone(&self.shared.turn).lock_owned().await
            };
            tokio::select! {
                biased;
                _ = last.changed() => {}
                turn = turn => {
                    *lock(&self.turn) = Some(turn);
                    return None;
                }
                () = &mut cured => return None,
                () = sleep_until(deadline) => return None,
            }
        }
    }

    /// Puts this bundle's key into the message in place of the other's.
    fn as_of_this(&self, mut failure: Failure) -> Failure {
        if !failure.key.is_empty() {
            failure.message = failure.message.replace(&failure.key, &self.key);
        }
        Failure { key: self.key.clone(), ..failure }
    }
}

/// Between half and all of `pause`, so that many operators do not try at the same moment.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [128_u8];
    // Without randomness it is three quarters: spread worse, but still a pause.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 510
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    const LONGEST: Duration = Duration::from_millis(80);
    /// A time in which a location may be tried some 40 times.
    const LONG: Duration = Duration::from_secs(2);

    fn backoffs() -> Backoffs {
        Backoffs::between(Duration::from_millis(10), LONGEST)
    }

    #[test]
    fn pauses_are_between_a_half_and_the_whole() {
        for _ in 0..1000 {
            let pause = jittered(LONGEST_PAUSE);
            assert!(pause >= LONGEST_PAUSE / 2 && pause <= LONGEST_PAUSE, "{pause:?}");
        }
    }

    fn failed(one: &Backoff) -> Failure {
        one.failed(Reason::StoreUnreachable, None, format!("no answer about {}", one.key))
    }

    /// A bundle whose tries fail until the location is mended or its time is over; returns the failures it learned from
    /// others.
    async fn bundle(backoffs: &Backoffs, key: &str, mended: &AtomicBool, tries: &AtomicUsize) -> Vec<String> {
        let (backoff, deadline) = (backoffs.join("eu-1", key), Instant::now() + LONG);
        let mut told = Vec::new();
        loop {
            tries.fetch_add(1, Relaxed);
            if mended.load(Relaxed) {
                backoff.works();
                return told;
            }
            let mut failure = failed(&backoff);
            if Instant::now() >= deadline {
                return told;
            }
            while let Some(other) = backoff.wait(&failure, deadline, pending()).await {
                told.push(other.message.clone());
                failure = other;
            }
        }
    }

    #[tokio::test]
    async fn many_bundles_that_wait_try_their_location_no_more_often_than_one_and_know_as_much() {
        for bundles in [1, 27] {
            let (backoffs, mended, tries) = (backoffs(), AtomicBool::new(false), AtomicUsize::new(0));
            let began = Instant::now();
            let keys: Vec<String> = (0..bundles).map(|n| format!("plugins/debugbundle/{n}.tar.gz")).collect();
            let all = keys.iter().map(|key| bundle(&backoffs, key, &mended, &tries));
            let told = futures::future::join_all(all).await;
            // Each bundle makes its first and last try itself; the pauses grow from 10 ms to 80, and last at least half
            // of that.
            let most =
                2 * bundles + 3 + usize::try_from(began.elapsed().as_millis() / (LONGEST.as_millis() / 2)).unwrap();
            let tries = tries.load(Relaxed);
            assert!(tries <= most && tries >= 2 * bundles + 3, "{bundles} bundles tried {tries} times, not {most}");
            for (key, told) in keys.iter().zip(&told) {
                assert!(bundles == 1 || !told.is_empty(), "{key} hears of the tries of others");
                assert!(told.iter().all(|told| *told == format!("no answer about {key}")), "{key}: {told:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_bundle_that_is_sent_wakes_all_that_wait() {
        let backoffs = Backoffs::default();
        let waiting = ["a", "b"].map(|key| backoffs.join("eu-1", key));
        let [a, b] = waiting.each_ref().map(failed);
        let deadline = Instant::now() + Duration::from_mins(5);
        // As after half an hour: the next try is a minute away.
        waiting[0].shared.last.send_modify(|last| last.as_mut().unwrap().pause = LONGEST_PAUSE);
        let began = Instant::now();
        let new = async { backoffs.join("eu-1", "new").works() };
        let (a, b, ()) =
            tokio::join!(waiting[0].wait(&a, deadline, pending()), waiting[1].wait(&b, deadline, pending()), new);
        assert!(a.is_none() && b.is_none(), "both are to try");
        assert!(began.elapsed() < LONGEST_PAUSE / 2, "{:?}", began.elapsed());
        drop(waiting);
        drop(backoffs.join("eu-2", "c"));
        assert_eq!(lock(&backoffs.by_name).keys().collect::<Vec<_>>(), ["eu-2"], "nobody waits for the other one");
    }

    #[tokio::test]
    async fn a_cure_ends_the_pause_and_one_bundle_looks_for_it() {
        let backoffs = Backoffs::default();
        let waiting = ["a", "b"].map(|key| backoffs.join("eu-1", key));
        let [a, b] = waiting.each_ref().map(failed);
        waiting[0].shared.last.send_modify(|last| last.as_mut().unwrap().pause = LONGEST_PAUSE);
        let deadline = Instant::now() + Duration::from_mins(5);
        let looked = AtomicUsize::new(0);
        let look = || async {
            looked.fetch_add(1, Relaxed);
            pending::<()>().await;
        };
        let both = async { tokio::join!(waiting[0].wait(&a, deadline, look()), waiting[1].wait(&b, deadline, look())) };
        assert!(tokio::time::timeout(2 * LONGEST, both).await.is_err(), "nothing is cured");
        assert_eq!(looked.load(Relaxed), 1);
        assert!(waiting[1].wait(&b, deadline, ready(())).await.is_none());
        assert!(Instant::now() < deadline, "it did not wait for the end of its pause");
    }

    #[tokio::test]
    async fn a_bundle_that_goes_in_the_middle_of_its_try_leaves_the_turn_to_the_next() {
        let backoffs = backoffs();
        let (first, second) = (backoffs.join("eu-1", "a"), backoffs.join("eu-1", "b"));
        let deadline = Instant::now() + Duration::from_mins(5);
        let [of_first, of_second] = [&first, &second].map(failed);
        assert!(first.wait(&of_first, deadline, pending()).await.is_none());
        let mut waits = std::pin::pin!(second.wait(&of_second, deadline, pending()));
        assert!(tokio::time::timeout(2 * LONGEST, &mut waits).await.is_err(), "one at a time");
        drop(first);
        assert!(waits.await.is_none());
        assert!(Instant::now() < deadline, "it did not wait for the end of its time");
    }
}
