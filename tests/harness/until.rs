//! Waiting for a condition, with a limit; on a miss the panic says what was seen last.
//! There is no waiting for time to pass: a test that needs it is about the clock, and hands the clock in.

use std::fmt::Display;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What a probe answers: the value that was waited for, or what stands in its way.
pub trait Outcome {
    /// What is waited for.
    type Value;
    /// The value, or what was seen in place of it.
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

/// Asks again and again until `probe` answers with a value; panics after `limit` with what it answered last.
///
/// A probe that answers `Err(what it saw)` makes that panic useful.
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
        // A probe that never waits answers before any timeout is looked at.
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
