//! Elects one instance by a Lease in Velero's namespace. Only the leader begins new work, which saves double work; no
//! guarantee rests on it, because an instance may learn late that it leads no longer.
//!
//! * `rules`: client-go's rules, pure.
//! * `lease`: reads and writes the Lease, in a task of its own.
//! * `annotation`: what else an instance keeps in the Lease.

mod annotation;
mod lease;
mod rules;

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

pub use annotation::annotate;
pub use lease::{Election, election};
pub use rules::LEASE;

/// Pause between a panic in a leader's work and its next beginning.
const AFTER_A_PANIC: Duration = Duration::from_secs(10);

/// Whether this instance leads. Every part of the operator that may begin work has a copy.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: watch::Receiver<Option<Term>>,
    shutdown: CancellationToken,
}

/// One uninterrupted time as leader.
#[derive(Clone, Debug)]
struct Term {
    /// When the term ends, unless the Lease is renewed before.
    ends: Instant,
    /// Cancelled at its end, and when the operator is asked to stop.
    over: CancellationToken,
}

impl Leadership {
    /// Whether it leads at this moment. The clock decides, so that a process that was paused notices the end of its
    /// term at once.
    pub fn leads(&self) -> bool {
        self.term.borrow().as_ref().is_some_and(|term| !term.over.is_cancelled() && Instant::now() < term.ends)
    }

    /// Waits until it leads. Returns a token that is cancelled when it leads no longer, or when the operator is asked
    /// to stop; `None` if that happens first.
    pub async fn term(&self) -> Option<CancellationToken> {
        let mut term = self.term.clone();
        let led = term.wait_for(|term| term.as_ref().is_some_and(|term| !term.over.is_cancelled()));
        let term = self.shutdown.run_until_cancelled(led).await?.ok()?;
        term.as_ref().map(|term| term.over.clone())
    }

    /// Runs `work` in each term. The work must end when its token is cancelled; after a panic it begins anew.
    pub async fn in_each_term<F: Future<Output = ()>>(&self, work: impl Fn(CancellationToken) -> F) {
        while let Some(over) = self.term().await {
            // The panic was logged when it happened.
            if AssertUnwindSafe(work(over)).catch_unwind().await.is_err() {
                self.shutdown.run_until_cancelled(tokio::time::sleep(AFTER_A_PANIC)).await;
            }
        }
    }
}
