//! How many logs are read of one node at a time, over all bundles that are collected at once: a kubelet has other work to
//! do. In which order a bundle asks is told in `reading`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, futures::OwnedNotified};

/// Items of one node that are read at once, whoever reads them.
const PER_NODE: usize = 2;

/// The places at all nodes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Nodes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the collection that comes next.
    next: u64,
    busy: BTreeMap<String, usize>,
    /// Collections that wait for a place at a node, the first first.
    waiting: BTreeMap<String, VecDeque<u64>>,
}

/// One collection among those that share the places; dropping it ends its waiting.
#[derive(Debug)]
pub(super) struct Visitor {
    number: u64,
    nodes: Nodes,
}

/// A place at a node; dropping it gives it back.
#[derive(Debug)]
pub(super) struct AtNode {
    node: String,
    nodes: Nodes,
}

impl Nodes {
    pub(super) fn visitor(&self) -> Visitor {
        let mut state = self.lock();
        state.next += 1;
        Visitor { number: state.next, nodes: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor {
    /// A place, if there is one that nobody waits for who came before.
    pub(super) fn enter(&self, node: &str) -> Option<AtNode> {
        let mut state = self.nodes.lock();
        let busy = state.busy.get(node).copied().unwrap_or(0);
        let line = state.waiting.get(node);
        let before = line.map_or(0, |line| line.iter().position(|one| *one == self.number).unwrap_or(line.len()));
        if busy + before >= PER_NODE {
            return None;
        }
        *state.busy.entry(node.to_owned()).or_default() += 1;
        state.leave(node, self.number);
        Some(AtNode { node: node.to_owned(), nodes: self.nodes.clone() })
    }

    /// Waits in line at these nodes, and at no others. Whoever waits must come as soon as there is a place.
    pub(super) fn wait_at(&self, nodes: &BTreeSet<String>) {
        let mut state = self.nodes.lock();
        let left: Vec<String> = state.waiting.keys().filter(|node| !nodes.contains(*node)).cloned().collect();
        let mut some_left = false;
        for node in left {
            some_left |= state.leave(&node, self.number);
        }
        for node in nodes {
            let line = state.waiting.entry(node.clone()).or_default();
            if !line.contains(&self.number) {
                line.push_back(self.number);
            }
        }
        drop(state);
        if some_left {
            self.nodes.0.changed.notify_waiters();
        }
    }

    /// Done when a place was given back, or somebody left a line, since this was called.
    pub(super) fn changed(&self) -> OwnedNotified {
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
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.wait_at(&BTreeSet::new());
    }
}

impl Drop for AtNode {
    fn drop(&mut self) {
        let mut state = self.nodes.lock();
        if let Some(busy) = state.busy.get_mut(&self.node) {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                state.busy.remove(&self.node);
            }
        }
        drop(state);
        self.nodes.0.changed.notify_waiters();
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
        let nodes = Nodes::default();
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
        let nodes = Nodes::default();
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
