//! Limits how many logs are followed at a time, in all and at each node. Bundles have slots of their own (`node_slots`):
//! they never wait for a followed log.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Logs that are followed at once, each over a connection of its own.
pub const FOLLOWED: usize = 16;
/// How many of them may be of one node: a kubelet has other work to do.
const PER_NODE: usize = 2;

/// The slots, in all and at each node.
pub(super) struct FollowSlots {
    all: Arc<Semaphore>,
    /// Nodes at which a slot is used or waited for.
    nodes: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// Permission to follow one log; dropping it frees both slots.
pub(super) struct FollowPermit {
    _of_all: OwnedSemaphorePermit,
    _of_node: OwnedSemaphorePermit,
}

impl Default for FollowSlots {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(FOLLOWED)), nodes: Mutex::default() }
    }
}

impl FollowSlots {
    /// Waits for a slot at this node, first come, first served. `None` if [`FOLLOWED`] logs are followed by then.
    pub(super) async fn at(&self, node: &str) -> Option<FollowPermit> {
        let of_node = self.node(node).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(FollowPermit { _of_all: of_all, _of_node: of_node })
    }

    fn node(&self, node: &str) -> Arc<Semaphore> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        // Each permit and each waiter holds its semaphore.
        nodes.retain(|_, slots| Arc::strong_count(slots) > 1);
        Arc::clone(nodes.entry(node.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_NODE))))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_third_log_of_a_node_waits_and_the_others_do_not() {
        let slots = FollowSlots::default();
        let (first, _second) = (slots.at("n1").await.expect("a slot"), slots.at("n1").await.expect("a slot"));
        let mut third = Box::pin(slots.at("n1"));
        assert!(third.as_mut().now_or_never().is_none(), "two at a node");
        assert!(slots.at("n2").await.is_some(), "at another node");
        drop(first);
        assert!(third.await.is_some());
        let _last = slots.at("n3").await;
        assert_eq!(slots.nodes.lock().expect("no panic").keys().collect::<Vec<_>>(), ["n1", "n3"], "n2 is unused");
    }

    #[tokio::test]
    async fn of_all_logs_a_number_is_followed_and_the_others_do_not_wait() {
        let slots = FollowSlots::default();
        let mut permits = Vec::new();
        for n in 0..FOLLOWED {
            permits.push(slots.at(&format!("n{n}")).await.expect("a slot"));
        }
        assert!(slots.at("n0").await.is_none() && slots.at("more").await.is_none());
        permits.pop();
        assert!(slots.at("n0").await.is_some());
    }
}
