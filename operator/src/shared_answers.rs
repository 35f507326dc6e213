//! Answers of the API server that are the same for every bundle: what it serves, its version, definitions of kinds.
//! Consecutive bundles read them once; no bundle gets an answer older than the request for the bundle.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_mins(1);
/// The most bytes kept of all answers together; each bundle reads further answers itself.
const MOST: usize = 4 << 20;
/// An object's `creationTimestamp` has no fractions of a second.
const COARSE: Duration = Duration::from_secs(1);

/// The kept answers, by path and accepted media type.
#[derive(Debug, Default)]
pub struct SharedAnswers {
    kept: Mutex<BTreeMap<(String, String), (Instant, Bytes)>>,
}

impl SharedAnswers {
    /// Whether the answer to this path is the same for every bundle.
    pub fn are_of(path: &str) -> bool {
        matches!(path, "/apis" | "/version")
            || path.starts_with("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/")
    }

    /// An answer that was read at `since` or later.
    pub fn get(&self, path: &str, accept: &str, since: Instant, now: Instant) -> Option<Bytes> {
        let mut kept = self.lock();
        forget_old(&mut kept, now);
        let (at, answer) = kept.get(&(path.to_owned(), accept.to_owned()))?;
        (*at >= since).then(|| answer.clone())
    }

    /// Keeps an answer for a minute.
    pub fn keep(self: &Arc<Self>, path: &str, accept: &str, answer: &Bytes, now: Instant) {
        let mut kept = self.lock();
        forget_old(&mut kept, now);
        let size: usize = kept.values().map(|(_, answer)| answer.len()).sum();
        if size + answer.len() > MOST {
            return;
        }
        if kept.is_empty() {
            tokio::spawn(forget_in_time(Arc::clone(self)));
        }
        kept.insert((path.to_owned(), accept.to_owned()), (now, answer.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), (Instant, Bytes)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_old(kept: &mut BTreeMap<(String, String), (Instant, Bytes)>, now: Instant) {
    kept.retain(|_, (at, _)| now.duration_since(*at) < KEPT);
}

/// Frees the memory of old answers even if no bundle asks for any.
async fn forget_in_time(answers: Arc<SharedAnswers>) {
    loop {
        tokio::time::sleep(KEPT).await;
        let mut kept = answers.lock();
        forget_old(&mut kept, Instant::now());
        if kept.is_empty() {
            return;
        }
    }
}

/// When a bundle was requested, by the operator's clock: answers read since then may be used for it.
pub fn since(created: Timestamp) -> Instant {
    let age = Duration::try_from(Timestamp::now().duration_since(created)).unwrap_or_default();
    let now = Instant::now();
    now.checked_sub(age.saturating_sub(COARSE)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_shared_for_a_minute_by_bundles_that_were_asked_for_before_it_was_read() {
        let answers = Arc::new(SharedAnswers::default());
        let asked = Instant::now();
        let later = |seconds| asked + Duration::from_secs(seconds);
        answers.keep("/version", "json", &Bytes::from_static(b"{}"), later(5));
        assert!(answers.get("/version", "json", asked, later(6)).is_some());
        assert!(answers.get("/version", "other", asked, later(6)).is_none());
        assert!(answers.get("/version", "json", later(6), later(7)).is_none(), "asked for after it was read");
        assert!(answers.get("/version", "json", asked, later(65)).is_none());
        assert!(answers.lock().is_empty());
    }

    #[tokio::test]
    async fn answers_are_bounded_together() {
        let answers = Arc::new(SharedAnswers::default());
        let now = Instant::now();
        answers.keep("/apis", "json", &Bytes::from(vec![b' '; MOST - 1]), now);
        answers.keep("/version", "json", &Bytes::from_static(b"{}"), now);
        assert!(answers.get("/apis", "json", now, now).is_some());
        assert!(answers.get("/version", "json", now, now).is_none());
    }

    #[test]
    fn a_bundle_that_waited_may_use_what_was_read_since_it_was_created() {
        let now = Instant::now();
        let created = Timestamp::now().checked_sub(Duration::from_secs(30)).expect("a time");
        let asked = since(created);
        assert!(asked < now && now.duration_since(asked) >= Duration::from_secs(28));
        assert!(since(Timestamp::MAX) >= now, "a time in the future is not believed");
    }
}
