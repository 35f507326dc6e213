//! Waits for a condition, with a limit; after the limit it panics with the last observation. There is no helper that
//! waits for time to pass: a test about time passes a clock in.

use std::fmt::Display;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A probe's result: the awaited value, or the obstacle.
pub trait Outcome {
    /// The awaited value's type.
    type Value;
    /// The value, or the observation in its place.
    fn settle(self) -> Result<Self::Value, String>;
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn settle(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Outcome for Result<T, E> {
    type Value = T;
    fn settle(self) -> Result<T, String> {
        self.map_err(|seen| seen.to_string())
    }
}

/// Probes repeatedly until `probe` returns a value; panics after `limit` with the last observation.
///
/// A probe that returns `Err(observation)` makes that panic useful.
pub async fn until<O: Outcome, F: Future<Output = O>>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> F,
) -> O::Value {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut seen = "nothing: the probe itself did not answer".to_owned();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        // A probe that never waits would return before any timeout is checked.
        let answer = if left.is_zero() { None } else { tokio::time::timeout(left, probe()).await.ok() };
        let Some(answer) = answer else {
            panic!("waited {limit:?} for: {what}; seen last: {seen}");
        };
        match answer.settle() {
            Ok(value) => return value,
            Err(what_it_saw) => seen = what_it_saw,
        }
        tokio::time::sleep(pause.min(limit.saturating_sub(began.elapsed()))).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "waited 50ms for: what never comes; seen last: 3")]
    async fn a_probe_that_never_waits_is_given_up_too() {
        until(Duration::from_millis(50), "what never comes", || async { Err::<(), _>(3) }).await;
    }
}
