//! Tries again what failed in passing, with growing, jittered pauses, until a deadline or until nobody wants it any more.
//! Whether an error is a passing one is the error's own knowledge: `StoreError::is_transient`.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::StoreError;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_mins(1);

/// Runs `op` until it succeeds, fails for good, the deadline is reached or `cancel` is called. `failed` hears of each
/// passing failure and of the pause that follows. An attempt is cut off at the deadline.
///
/// # Errors
/// The last failure; `Cancelled`; `Unreachable` if the first attempt was still running at the deadline.
pub async fn retry<T, Op, Attempt>(
    deadline: Instant,
    cancel: &CancellationToken,
    mut failed: impl FnMut(&StoreError, Duration),
    mut op: Op,
) -> Result<T, StoreError>
where
    Op: FnMut() -> Attempt,
    Attempt: Future<Output = Result<T, StoreError>>,
{
    let mut last = StoreError::Unreachable("no answer before the deadline".to_owned());
    let mut ceiling = FIRST;
    loop {
        let attempt = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(StoreError::Cancelled),
            attempt = timeout_at(deadline, op()) => attempt,
        };
        match attempt {
            Ok(Err(error)) if error.is_transient() => last = error,
            Ok(done) => return done,
            Err(_) => return Err(last),
        }
        let pause = jittered(ceiling);
        ceiling = (ceiling * 2).min(LONGEST);
        if Instant::now() + pause >= deadline {
            return Err(last);
        }
        failed(&last, pause);
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(StoreError::Cancelled),
            () = sleep(pause) => {}
        }
    }
}

/// Between a half and the whole of `ceiling`, so that many operators do not knock at once.
fn jittered(ceiling: Duration) -> Duration {
    let mut byte = [128_u8];
    // Without randomness the pause is three quarters: worse spread, still a pause.
    let _ = getrandom::fill(&mut byte);
    ceiling / 2 + ceiling * u32::from(byte[0]) / 510
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::error::Answer;
    use std::cell::Cell;

    fn busy() -> StoreError {
        StoreError::Unavailable(Answer::new(503, Some("SlowDown")))
    }

    fn in_a_moment() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    #[test]
    fn passing_failures_are_tried_again_and_others_are_not() {
        runtime().block_on(async {
            let tries = Cell::new(0);
            let heard = Cell::new(0);
            let got = retry(
                in_a_moment(),
                &CancellationToken::new(),
                |_, _| heard.set(heard.get() + 1),
                || async {
                    tries.set(tries.get() + 1);
                    if tries.get() < 2 { Err(busy()) } else { Ok(tries.get()) }
                },
            )
            .await;
            assert_eq!((got.expect("the second try"), heard.get()), (2, 1));

            let tries = Cell::new(0);
            let got: Result<(), _> = retry(
                in_a_moment(),
                &CancellationToken::new(),
                |_, _| (),
                || async {
                    tries.set(tries.get() + 1);
                    Err(StoreError::Rejected(Answer::new(400, None)))
                },
            )
            .await;
            assert!(matches!(got, Err(StoreError::Rejected(_))));
            assert_eq!(tries.get(), 1);
        });
    }

    #[test]
    fn the_deadline_ends_it_with_the_last_failure() {
        runtime().block_on(async {
            let soon = Instant::now() + Duration::from_millis(50);
            let got: Result<(), _> = retry(soon, &CancellationToken::new(), |_, _| (), || async { Err(busy()) }).await;
            assert!(matches!(got, Err(StoreError::Unavailable(_))));
            let got: Result<(), _> = retry(soon, &CancellationToken::new(), |_, _| (), std::future::pending).await;
            assert!(matches!(got, Err(StoreError::Unreachable(_))));
        });
    }

    #[test]
    fn cancelling_ends_an_attempt_and_a_pause() {
        runtime().block_on(async {
            let cancel = CancellationToken::new();
            let got: Result<(), _> =
                retry(in_a_moment(), &cancel, |_, _| cancel.cancel(), || async { Err(busy()) }).await;
            assert!(matches!(got, Err(StoreError::Cancelled)));
            let got: Result<(), _> = retry(in_a_moment(), &cancel, |_, _| (), std::future::pending).await;
            assert!(matches!(got, Err(StoreError::Cancelled)));
        });
    }

    #[test]
    fn pauses_are_between_a_half_and_the_whole() {
        for _ in 0..1000 {
            let pause = jittered(LONGEST);
            assert!(pause >= LONGEST / 2 && pause <= LONGEST, "{pause:?}");
        }
    }
}
