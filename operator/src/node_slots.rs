//! Limits how many logs of one node all concurrent bundles read at a time: a kubelet has other work to do.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, futures::OwnedNotified};

/// Logs of one node that all bundles together read at the same time.
const PER_NODE: usize = 2;

/// The slots at all nodes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct NodeSlots(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last collection.
    last: u64,
    /// Slots in use.
    busy: BTreeMap<String, usize>,
    /// Collections that wait for a slot at a node, the longest waiting first.
    waiting: BTreeMap<String, VecDeque<u64>>,
}

/// One collection that shares the slots; dropping it ends its waiting.
#[derive(Debug)]
pub(crate) struct Waiter {
    number: u64,
    nodes: NodeSlots,
}

/// A slot at a node; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct NodePermit {
    node: String,
    nodes: NodeSlots,
}

impl NodeSlots {
    pub(crate) fn waiter(&self) -> Waiter {
        let mut state = self.lock();
        state.last += 1;
        Waiter { number: state.last, nodes: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all waiters.
    fn notify(&self) {
        self.0.changed.notify_waiters();
    }
}

impl Waiter {
    /// Takes a slot, if one is free that no earlier waiter is waiting for.
    pub(crate) fn enter(&self, node: &str) -> Option<NodePermit> {
        let mut state = self.nodes.lock();
        let busy = state.busy.get(node).copied().unwrap_or(0);
        let line = state.waiting.get(node);
        let before = line.map_or(0, |line| line.iter().position(|one| *one == self.number).unwrap_or(line.len()));
        if busy + before >= PER_NODE {
            return None;
        }
        *state.busy.entry(node.to_owned()).or_default() += 1;
        state.leave(node, self.number);
        Some(NodePermit { node: node.to_owned(), nodes: self.nodes.clone() })
    }

    /// Waits in line at these nodes only. The caller must take a slot as soon as one is free.
    pub(crate) fn wait_at(&self, nodes: &BTreeSet<String>) {
        let mut state = self.nodes.lock();
        let left: Vec<String> = state.waiting.keys().filter(|node| !nodes.contains(*node)).cloned().collect();
        let mut has_left = false;
        for node in left {
            has_left |= state.leave(&node, self.number);
        }
        for node in nodes {
            let line = state.waiting.entry(node.clone()).or_default();
            if !line.contains(&self.number) {
                line.push_back(self.number);
            }
        }
        drop(state);
        if has_left {
            self.nodes.notify();
        }
    }

    /// Completes when a slot was freed, or another collection stopped waiting, after this call.
    pub(crate) fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.nodes.0.changed).notified_owned()
    }
}

impl State {
    fn leave(&mut self, node: &str, number: u64) -> bool {
        let Some(line) = self.waiting.get_mut(node) else { return false };
        let before = line.len();
        line.retain(|one| *one != number);
        let left = line.len() < before;
        if line.is_empty() {
            self.waiting.remove(node);
        }
        left
    }

    fn give_back(&mut self, node: &str) {
        if let Some(busy) = self.busy.get_mut(node) {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                self.busy.remove(node);
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.wait_at(&BTreeSet::new());
    }
}

impl Drop for NodePermit {
    fn drop(&mut self) {
        let mut state = self.nodes.lock();
        state.give_back(&self.node);
        drop(state);
        self.nodes.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nodes: &[&str]) -> BTreeSet<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    #[tokio::test]
    async fn two_at_a_node_over_all_collections_and_the_slots_go_in_turn() {
        let nodes = NodeSlots::default();
        let (one, other) = (nodes.waiter(), nodes.waiter());
        let first = one.enter("n1").expect("a slot");
        let second = one.enter("n1").expect("a slot");
        assert!(one.enter("n1").is_none() && other.enter("n1").is_none(), "two at once");
        assert!(other.enter("n2").is_some(), "at another node");
        other.wait_at(&at(&["n1"]));
        one.wait_at(&at(&["n1"]));
        let changed = other.changed();
        drop(first);
        changed.await;
        assert!(one.enter("n1").is_none(), "the other waited first");
        let third = other.enter("n1").expect("its turn");
        drop((second, third));
        assert!(one.enter("n1").is_some());
    }

    #[tokio::test]
    async fn a_collection_that_stopped_waiting_blocks_no_other() {
        let nodes = NodeSlots::default();
        let (one, other) = (nodes.waiter(), nodes.waiter());
        let permits = (one.enter("n1"), one.enter("n1"));
        other.wait_at(&at(&["n1"]));
        one.wait_at(&at(&["n1"]));
        drop(permits);
        let _permit = other.enter("n1").expect("a slot");
        other.wait_at(&at(&["n1"]));
        one.wait_at(&at(&["n1", "n2"]));
        let late = nodes.waiter();
        assert!(late.enter("n1").is_none(), "others wait");
        other.wait_at(&at(&[]));
        let changed = late.changed();
        drop(one);
        changed.await;
        assert!(late.enter("n1").is_some());
        assert_eq!(nodes.lock().waiting.len(), 0);
    }
}
