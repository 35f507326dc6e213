//! Limits how many logs of one node are read at a time, over all concurrent bundles and followed logs: a kubelet has
//! other work to do. `scheduler` decides the order of requests, `preemptible_slot` lets followers give way.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use super::preemptible_slot::{Guests, QUIET};

/// Logs of one node that are read at the same time, over all readers.
pub(super) const PER_NODE: usize = 2;

/// The slots at all nodes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct NodeSlots(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Last number given to a collection or guest.
    pub(super) next: u64,
    pub(super) busy: BTreeMap<String, usize>,
    /// Collections that wait for a slot at a node, the longest waiting first.
    pub(super) waiting: BTreeMap<String, VecDeque<u64>>,
    pub(super) guests: BTreeMap<String, Guests>,
    /// Until when a node admits no guest: a collection used it a moment ago and may return.
    pub(super) quiet: BTreeMap<String, Instant>,
}

/// One collection that shares the slots; dropping it ends its waiting.
#[derive(Debug)]
pub(super) struct Waiter {
    number: u64,
    nodes: NodeSlots,
}

/// A slot at a node; dropping it frees the slot.
#[derive(Debug)]
pub(super) struct NodePermit {
    node: String,
    nodes: NodeSlots,
}

impl NodeSlots {
    pub(super) fn visitor(&self) -> Waiter {
        let mut state = self.lock();
        state.next += 1;
        Waiter { number: state.next, nodes: self.clone() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when a slot was freed, or the waiting lines changed, after this call.
    pub(super) fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.0.changed).notified_owned()
    }

    /// Wakes all waiters.
    pub(crate) fn stir(&self) {
        self.0.changed.notify_waiters();
    }
}

impl Waiter {
    /// Takes a slot, if one is free that no earlier waiter is waiting for.
    pub(super) fn enter(&self, node: &str) -> Option<NodePermit> {
        let mut state = self.nodes.lock();
        let busy = state.busy.get(node).copied().unwrap_or(0);
        let line = state.waiting.get(node);
        let before = line.map_or(0, |line| line.iter().position(|one| *one == self.number).unwrap_or(line.len()));
        if busy + before >= PER_NODE {
            return None;
        }
        *state.busy.entry(node.to_owned()).or_default() += 1;
        state.leave(node, self.number);
        state.keep_quiet(node);
        Some(NodePermit { node: node.to_owned(), nodes: self.nodes.clone() })
    }

    /// Waits in line at these nodes only. The caller must take a slot as soon as one is free.
    pub(super) fn wait_at(&self, nodes: &BTreeSet<String>) {
        let mut state = self.nodes.lock();
        let left: Vec<String> = state.waiting.keys().filter(|node| !nodes.contains(*node)).cloned().collect();
        let mut some_are_concerned = false;
        for node in left {
            some_are_concerned |= state.leave(&node, self.number);
        }
        for node in nodes {
            let line = state.waiting.entry(node.clone()).or_default();
            if !line.contains(&self.number) {
                line.push_back(self.number);
                // Guests must give way.
                some_are_concerned |= state.guests.contains_key(node);
            }
        }
        drop(state);
        if some_are_concerned {
            self.nodes.stir();
        }
    }

    /// See [`NodeSlots::changed`].
    pub(super) fn changed(&self) -> OwnedNotified {
        self.nodes.changed()
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

    fn keep_quiet(&mut self, node: &str) {
        let now = Instant::now();
        self.quiet.retain(|_, until| *until > now);
        self.quiet.insert(node.to_owned(), now + QUIET);
    }

    /// Frees a slot.
    pub(super) fn give_back(&mut self, node: &str) {
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
        state.keep_quiet(&self.node);
        drop(state);
        self.nodes.stir();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nodes: &[&str]) -> BTreeSet<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    #[tokio::test]
    async fn two_at_a_node_over_all_collections_and_the_places_go_in_turn() {
        let nodes = NodeSlots::default();
        let (one, other) = (nodes.visitor(), nodes.visitor());
        let first = one.enter("n1").expect("a place");
        let second = one.enter("n1").expect("a place");
        assert!(one.enter("n1").is_none() && other.enter("n1").is_none(), "two at once");
        assert!(other.enter("n2").is_some(), "at another node");
        other.wait_at(&at(&["n1"]));
        one.wait_at(&at(&["n1"]));
        let changed = other.changed();
        drop(first);
        changed.await;
        assert!(one.enter("n1").is_none(), "the other one was first");
        let third = other.enter("n1").expect("its turn");
        drop((second, third));
        assert!(one.enter("n1").is_some());
    }

    #[tokio::test]
    async fn whoever_does_not_wait_any_more_is_in_nobodys_way() {
        let nodes = NodeSlots::default();
        let (one, other) = (nodes.visitor(), nodes.visitor());
        let places = (one.enter("n1"), one.enter("n1"));
        other.wait_at(&at(&["n1"]));
        one.wait_at(&at(&["n1"]));
        drop(places);
        let _place = other.enter("n1").expect("a place");
        other.wait_at(&at(&["n1"]));
        one.wait_at(&at(&["n1", "n2"]));
        let late = nodes.visitor();
        assert!(late.enter("n1").is_none(), "others wait");
        other.wait_at(&at(&[]));
        let changed = late.changed();
        drop(one);
        changed.await;
        assert!(late.enter("n1").is_some());
        assert_eq!(nodes.lock().waiting.len(), 0);
    }
}
