//! Readers that give way ("guests"): a reader that follows a log for long keeps a slot at a node only while no
//! collection wants it, and takes turns with other followers. `node_slots` sets the number of slots and the order among
//! collections.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::node_slots::{NodeSlots, PER_NODE, State};

/// How long a node admits no guest after a collection used a slot: the collection returns with its next item.
pub(super) const QUIET: Duration = Duration::from_secs(2);
/// How long a guest keeps its slot while other guests wait.
const TURN: Duration = Duration::from_secs(10);

/// The guests of one node.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// Guests that wait, the longest waiting first.
    line: Vec<InLine>,
    /// Guests that hold a slot, the longest holding first.
    inside: Vec<Inside>,
}

#[derive(Debug)]
struct InLine {
    number: u64,
    is_short: bool,
}

#[derive(Debug)]
struct Inside {
    number: u64,
    is_short: bool,
    since: Instant,
}

/// A slot at a node, to be freed when it is [wanted](PreemptibleSlot::wanted); dropping it does so.
#[derive(Debug)]
pub(crate) struct PreemptibleSlot(Standing);

/// One guest, waiting or holding a slot; dropping it ends both.
#[derive(Debug)]
struct Standing {
    number: u64,
    node: String,
    nodes: NodeSlots,
}

/// Whether a guest must free its slot.
#[derive(Debug, PartialEq, Eq)]
enum Leave {
    Now,
    At(Instant),
    No,
}

impl NodeSlots {
    /// A slot for a guest, as soon as one is free that no collection waits for. `is_short`: its log no longer grows, so
    /// it will end soon. Such guests are served first and never yield to other guests. It is asked again while the
    /// guest waits.
    pub(crate) async fn guest(&self, node: &str, is_short: impl Fn() -> bool) -> PreemptibleSlot {
        let standing = Standing::in_line(self, node);
        loop {
            let changed = self.changed();
            let is_short = is_short();
            let again_at = match self.lock().let_in(node, standing.number, is_short, Instant::now()) {
                Ok(()) => return PreemptibleSlot(standing),
                Err(again_at) => again_at,
            };
            match again_at {
                Some(again_at) => tokio::select! { () = changed => {} () = sleep_until(again_at) => {} },
                None => changed.await,
            }
        }
    }
}

impl PreemptibleSlot {
    /// Completes when the slot must be freed: for a collection, or for another guest whose turn it is.
    pub(crate) async fn wanted(&self) {
        let Standing { number, node, nodes } = &self.0;
        loop {
            let changed = nodes.changed();
            let leave = nodes.lock().leave_of(node, *number, Instant::now());
            match leave {
                Leave::Now => return,
                Leave::At(at) => tokio::select! { () = changed => {} () = sleep_until(at) => {} },
                Leave::No => changed.await,
            }
        }
    }
}

impl Standing {
    fn in_line(nodes: &NodeSlots, node: &str) -> Self {
        let mut state = nodes.lock();
        state.next += 1;
        let number = state.next;
        state.guests.entry(node.to_owned()).or_default().line.push(InLine { number, is_short: false });
        drop(state);
        Self { number, node: node.to_owned(), nodes: nodes.clone() }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let mut state = self.nodes.lock();
        let mut was_inside = false;
        if let Some(guests) = state.guests.get_mut(&self.node) {
            was_inside = guests.inside.iter().any(|one| one.number == self.number);
            guests.inside.retain(|one| one.number != self.number);
            guests.line.retain(|one| one.number != self.number);
            if guests.inside.is_empty() && guests.line.is_empty() {
                state.guests.remove(&self.node);
            }
        }
        if was_inside {
            state.give_back(&self.node);
        }
        drop(state);
        self.nodes.stir();
    }
}

impl State {
    fn free(&self, node: &str) -> usize {
        PER_NODE.saturating_sub(self.busy.get(node).copied().unwrap_or(0))
    }

    fn collections_waiting(&self, node: &str) -> usize {
        self.waiting.get(node).map_or(0, std::collections::VecDeque::len)
    }

    /// Gives a waiting guest a slot; else returns when to ask again, or `None` to wait for a change.
    fn let_in(&mut self, node: &str, number: u64, is_short: bool, now: Instant) -> Result<(), Option<Instant>> {
        let (free, collections) = (self.free(node), self.collections_waiting(node));
        let quiet = self.quiet.get(node).copied().filter(|until| *until > now);
        let Some(guests) = self.guests.get_mut(node) else { return Err(None) };
        let Some(at) = guests.line.iter().position(|one| one.number == number) else { return Err(None) };
        guests.line[at].is_short = is_short;
        let goes_before = |(other, one): (usize, &InLine)| match (one.is_short, is_short) {
            (true, false) => true,
            (false, true) => false,
            _ => other < at,
        };
        let before = guests.line.iter().enumerate().filter(|one| goes_before(*one)).count();
        if collections > 0 || free <= before {
            return Err(None);
        }
        if quiet.is_some() {
            return Err(quiet);
        }
        guests.line.remove(at);
        guests.inside.push(Inside { number, is_short, since: now });
        *self.busy.entry(node.to_owned()).or_default() += 1;
        Ok(())
    }

    /// As many guests leave as slots are wanted beyond the free ones: first guests whose log grows, and of these the
    /// longest holding.
    fn leave_of(&self, node: &str, number: u64, now: Instant) -> Leave {
        let Some(guests) = self.guests.get(node) else { return Leave::No };
        let Some(mine) = guests.inside.iter().find(|one| one.number == number) else { return Leave::No };
        let goes_before =
            |one: &&Inside| (one.is_short, one.since, one.number) < (mine.is_short, mine.since, mine.number);
        let before = guests.inside.iter().filter(goes_before).count();
        let lacking = |waiting: usize| waiting.saturating_sub(self.free(node));
        let collections = self.collections_waiting(node);
        if before < lacking(collections) {
            return Leave::Now;
        }
        let short = guests.line.iter().filter(|one| one.is_short).count();
        if mine.is_short || before >= lacking(collections + guests.line.len()) {
            return Leave::No;
        }
        let at = mine.since + TURN;
        if before < lacking(collections + short) || at <= now { Leave::Now } else { Leave::At(at) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::time::timeout;

    use super::*;

    fn at(node: &str) -> BTreeSet<String> {
        BTreeSet::from([node.to_owned()])
    }

    async fn grows(nodes: &NodeSlots) -> PreemptibleSlot {
        timeout(Duration::from_secs(30), nodes.guest("n", || false)).await.expect("a place")
    }

    /// Whether a guest must leave at that time.
    fn leave(guest: &PreemptibleSlot, now: Instant) -> Leave {
        let Standing { number, node, nodes } = &guest.0;
        nodes.lock().leave_of(node, *number, now)
    }

    /// Whether a waiting guest gets a slot at that time.
    fn let_in(one: &Standing, is_short: bool, now: Instant) -> bool {
        one.nodes.lock().let_in(&one.node, one.number, is_short, now).is_ok()
    }

    #[tokio::test]
    async fn a_guest_goes_for_a_collection_and_comes_again_when_that_was_gone_for_a_while() {
        let nodes = NodeSlots::default();
        let (first, second) = (grows(&nodes).await, grows(&nodes).await);
        let (third, now) = (Standing::in_line(&nodes, "n"), Instant::now());
        assert!(!let_in(&third, true, now), "two at once");
        assert!(let_in(&Standing::in_line(&nodes, "m"), false, now), "at another node");
        drop(third);
        assert_eq!(leave(&first, now), Leave::No);
        let collection = nodes.visitor();
        assert!(collection.enter("n").is_none());
        let wanted = first.wanted();
        collection.wait_at(&at("n"));
        timeout(Duration::from_secs(30), wanted).await.expect("one is to go");
        assert_eq!(leave(&second, now), Leave::No, "and no more than are waited for");
        let changed = collection.changed();
        drop(first);
        timeout(Duration::from_secs(30), changed).await.expect("it is told");
        let third = Standing::in_line(&nodes, "n");
        assert!(!let_in(&third, true, now), "the place is the collection's");
        let place = collection.enter("n").expect("its place");
        collection.wait_at(&at("n"));
        assert_eq!(leave(&second, now), Leave::Now, "it wants both");
        drop(second);
        let other = collection.enter("n").expect("the other place");
        drop((place, other));
        let now = Instant::now();
        assert!(!let_in(&third, true, now), "it may come with its next item");
        assert!(let_in(&third, true, now + QUIET), "it is gone");
        drop((third, collection));
        let state = nodes.lock();
        assert!(state.guests.is_empty() && state.busy.is_empty() && state.waiting.is_empty(), "{state:?}");
    }

    #[tokio::test]
    async fn guests_take_turns_and_what_is_short_goes_first() {
        let nodes = NodeSlots::default();
        let first = grows(&nodes).await;
        let (second, now) = (grows(&nodes).await, Instant::now());
        let third = Standing::in_line(&nodes, "n");
        assert!(!let_in(&third, false, now));
        assert!(matches!(leave(&first, now), Leave::At(at) if at <= now + TURN), "its turn is not over");
        assert_eq!(leave(&first, now + TURN), Leave::Now);
        assert_eq!(leave(&second, now + TURN), Leave::No, "one is waited for");
        drop(first);
        assert!(let_in(&third, false, now));

        let (fourth, fifth) = (Standing::in_line(&nodes, "n"), Standing::in_line(&nodes, "n"));
        assert!(!let_in(&fourth, false, now) && !let_in(&fifth, true, now));
        assert_eq!(leave(&second, now), Leave::Now, "who was there longest goes for what is short, and at once");
        let third = PreemptibleSlot(third);
        assert_ne!(leave(&third, now), Leave::Now, "it has just come");
        drop(second);
        assert!(!let_in(&fourth, false, now), "though it came first");
        assert!(let_in(&fifth, true, now));
        let fifth = PreemptibleSlot(fifth);
        assert_eq!(leave(&fifth, now + 2 * TURN), Leave::No, "what is short stays to its end");
        assert_eq!(leave(&third, now + 2 * TURN), Leave::Now, "what grows does not");
        drop(third);
        assert!(let_in(&fourth, false, now), "nobody is left out");
    }
}
