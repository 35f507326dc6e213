//! Memory for the compiled rules of `spec.redaction.rules`, shared by all runs of a process: a run waits until enough
//! is free.

use std::sync::Arc;

use debugbundle_crd::Reason;
use debugbundle_redact::{RuleError, UserRules};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::error::Fault;

/// Memory of the largest rules that are allowed, in KiB.
const MOST: u32 = kib(UserRules::MOST);
/// Enough for as many runs with such rules as are collected at once by default.
const ALL: u32 = 2 * MOST;
// An eighth of the pod's shipped memory limit.
const _: () = assert!(ALL <= 32 << 10);

/// The free memory, in KiB.
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL as usize)))
    }
}

impl Room {
    /// Compiles the rules. Their memory is held until their last user is done, even a thread of a cancelled run.
    pub(super) async fn compiled(&self, rules: &[String], deadline: Instant) -> Result<UserRules, Fault> {
        if rules.is_empty() {
            return Ok(UserRules::default());
        }
        let room = timeout_at(deadline, Arc::clone(&self.0).acquire_many_owned(MOST)).await;
        let room = room.map_err(|_| full())?.map_err(|_| Fault::Cancelled)?;
        let rules = rules.to_vec();
        let compiled = tokio::task::spawn_blocking(move || within(&rules, room)).await.map_err(|_| Fault::Cancelled)?;
        compiled.map_err(|error| Fault::terminal(Reason::InvalidSpec, error.to_string()))
    }
}

fn within(rules: &[String], mut room: OwnedSemaphorePermit) -> Result<UserRules, RuleError> {
    let rules = UserRules::compiled(rules)?;
    let unneeded = room.split((MOST - kib(rules.bytes())) as usize);
    drop(unneeded);
    Ok(rules.within(room))
}

fn full() -> Fault {
    let message = "the compiled redaction.rules of other bundles use all the memory for rules; fewer or shorter rules \
                   need less";
    Fault::transient(Reason::Queued, message)
}

#[expect(clippy::cast_possible_truncation, reason = "at most a few MiB")]
const fn kib(bytes: usize) -> u32 {
    bytes.div_ceil(1 << 10) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    fn one() -> Vec<String> {
        vec!["internal-[0-9a-f]{32}".to_owned()]
    }

    #[tokio::test]
    async fn sec_b5_compiled_rules_of_all_runs_have_one_room_and_wait_for_it() {
        let room = Room::default();
        let mut held = Vec::new();
        while room.0.available_permits() >= MOST as usize {
            held.push(room.compiled(&one(), soon()).await.expect("room is left"));
        }
        assert!(held.len() > 20, "{} bundles with a rule", held.len());
        let needed: usize = held.iter().map(UserRules::bytes).sum();
        assert!(needed <= ALL as usize * 1024, "{needed}");
        assert!(room.compiled(&[], soon()).await.is_ok(), "without rules nothing is needed");
        let late = room.compiled(&one(), Instant::now()).await.map(|_| ()).expect_err("no room is left");
        assert!(matches!(late, Fault::Transient { reason: Reason::Queued, .. }), "{late:?}");

        let rules = one();
        let (waiting, ()) = tokio::join!(room.compiled(&rules, soon()), async { drop(held.pop()) });
        drop((waiting.expect("one is done"), held));
        let refused = room.compiled(&["(".to_owned()], soon()).await.map(|_| ()).expect_err("no rule");
        assert!(matches!(refused, Fault::Terminal { reason: Reason::InvalidSpec, .. }), "{refused:?}");
        assert_eq!(room.0.available_permits(), ALL as usize, "all was given back");
    }
}
