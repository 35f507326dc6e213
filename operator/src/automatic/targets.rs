//! The Backups and Restores that may still get a DebugBundle. All others are dropped at once, so that thousands of them
//! take no memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    time::Duration,
};

use debugbundle_crd::{TargetKind, Trigger};
use jiff::Timestamp;
use kube::{api::DynamicObject, runtime::watcher::Event};

use super::{
    judge::{Below, LOOK_EVERY, Movement, movement},
    ledger::REMEMBERED,
    watched::{Stage, Watched},
};

/// The tracked targets.
#[derive(Default)]
pub(super) struct Targets {
    by_uid: HashMap<String, Tracked>,
    /// UIDs in a list that has not ended yet.
    listed: BTreeMap<TargetKind, HashSet<String>>,
    /// When those of each kind ended.
    ends: BTreeMap<TargetKind, Ends>,
}

/// A tracked target.
pub(super) struct Tracked {
    pub(super) watched: Watched,
    /// What was last read of the objects below it.
    pub(super) below: Option<Below>,
    /// Triggers that need no further decision.
    settled: Vec<Trigger>,
    /// The trigger of a creation that did not succeed so far, and why.
    refused: Option<(Trigger, String)>,
    /// When it is judged next; `None`: after its next change.
    next: Option<Timestamp>,
}

impl Tracked {
    /// Only a change leads to another decision about it. The objects below a running one are read on, because those
    /// that wait behind it depend on whether they move.
    fn rest(&mut self) {
        let read = self.below.filter(|_| self.watched.stage == Stage::Running).map(|below| below.read);
        self.next = read.map(|read| read.checked_add(LOOK_EVERY).unwrap_or(Timestamp::MAX));
    }
}

/// For any time, the last end of a target that was created before it. A target that is younger than another one and ended
/// no later is never the answer, and is left out: thousands take little memory. By creation; the value is the end.
#[derive(Default)]
struct Ends(BTreeMap<Timestamp, Timestamp>);

impl Ends {
    fn add(&mut self, created: Timestamp, ended: Timestamp) {
        if self.0.range(..=created).next_back().is_some_and(|(_, last)| ended <= *last) {
            return;
        }
        self.0.insert(created, ended);
        while let Some((&younger, _)) =
            self.0.range((Bound::Excluded(created), Bound::Unbounded)).next().filter(|(_, last)| **last <= ended)
        {
            self.0.remove(&younger);
        }
    }

    fn of_older(&self, created: Timestamp) -> Option<Timestamp> {
        self.0.range(..created).next_back().map(|(_, ended)| *ended)
    }
}

impl Targets {
    /// Takes an event of a watch.
    pub(super) fn take(&mut self, kind: TargetKind, event: Event<DynamicObject>) {
        match event {
            Event::Init => {
                self.listed.insert(kind, HashSet::new());
            }
            Event::InitApply(object) => {
                self.listed.entry(kind).or_default().extend(object.metadata.uid.clone());
                self.see(Watched::of(kind, &object));
            }
            Event::InitDone => {
                let listed = self.listed.remove(&kind).unwrap_or_default();
                self.by_uid.retain(|uid, tracked| tracked.watched.kind != kind || listed.contains(uid));
            }
            Event::Apply(object) => self.see(Watched::of(kind, &object)),
            Event::Delete(object) => {
                self.by_uid.remove(&object.metadata.uid.unwrap_or_default());
            }
        }
    }

    fn see(&mut self, watched: Option<Watched>) {
        let Some(mut watched) = watched else { return };
        // Velero's clock may be behind that of the API server.
        let before = self.by_uid.get(&watched.uid);
        watched.synced &= before.is_none();
        // What moved had not ended then, whatever Velero's clock says.
        let not_before = before.and_then(|before| {
            let Watched { stage, completed, moved, .. } = &before.watched;
            if stage.has_ended() { *completed } else { Some(*moved) }
        });
        watched.completed = watched.completed.max(not_before.filter(|_| watched.completed.is_some()));
        if watched.stage.has_ended() && !watched.is_foreign() {
            self.ends.entry(watched.kind).or_default().add(watched.created, watched.ended());
        }
        let uid = watched.uid.clone();
        // Due at once, or as soon as the policy is known.
        let next = Some(Timestamp::MIN);
        match self.by_uid.get_mut(&uid) {
            _ if !watched.is_of_interest() => {
                self.by_uid.remove(&uid);
            }
            Some(tracked) if tracked.watched == watched => {}
            Some(tracked) => (tracked.watched, tracked.next) = (watched, next),
            None => {
                self.by_uid.insert(uid, Tracked { watched, below: None, settled: Vec::new(), refused: None, next });
            }
        }
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Tracked> {
        self.by_uid.get(uid)
    }

    /// The last movement in front of a target of this kind that waits since `created`. Each target that runs counts,
    /// even a younger one. A target that has ended counts if it is older.
    pub(super) fn in_front(&self, kind: TargetKind, created: Timestamp) -> Option<Timestamp> {
        let running = self.by_uid.values().filter(|tracked| tracked.watched.kind == kind);
        let running = running.filter(|tracked| tracked.watched.stage == Stage::Running);
        let moved = running.map(|tracked| {
            let below = tracked.below.and_then(|below| below.moved);
            below.map_or(tracked.watched.moved, |below| below.max(tracked.watched.moved))
        });
        moved.chain(self.ends.get(&kind).and_then(|ends| ends.of_older(created))).max()
    }

    /// Whether Velero works on a target of this kind of which it is not known whether anything below it moves.
    pub(super) fn is_unknown_in_front(&self, kind: TargetKind, stuck_after: Duration, now: Timestamp) -> bool {
        let running = self.by_uid.values().filter(|tracked| tracked.watched.stage == Stage::Running);
        let mut of_kind = running.filter(|tracked| tracked.watched.kind == kind);
        of_kind.any(|tracked| movement(&tracked.watched, tracked.below, stuck_after, now) == Movement::Unknown)
    }

    /// Judges the target again after its next change.
    pub(super) fn rest(&mut self, uid: &str) {
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            tracked.rest();
            if matches!(tracked.watched.stage, Stage::Ended(_)) && tracked.settled.is_empty() {
                self.by_uid.remove(uid);
            }
        }
    }

    /// Judges the target again at this time.
    pub(super) fn later(&mut self, uid: &str, at: Timestamp) {
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            tracked.next = Some(at);
        }
    }

    /// Records what was read of the objects below the target.
    pub(super) fn looked(&mut self, uid: &str, read: Timestamp, moved: Option<Timestamp>) {
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            tracked.below = Some(Below { read, moved });
            tracked.next = Some(read);
        }
    }

    /// Records that this trigger needs no further decision.
    pub(super) fn settle(&mut self, uid: &str, trigger: Trigger) {
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            tracked.settled.push(trigger);
            tracked.refused = None;
            tracked.rest();
        }
    }

    /// Records that a creation did not succeed so far, and judges the target again at this time.
    pub(super) fn refused(&mut self, uid: &str, trigger: Trigger, why: String, again: Timestamp) {
        if let Some(tracked) = self.by_uid.get_mut(uid) {
            (tracked.refused, tracked.next) = (Some((trigger, why)), Some(again));
        }
    }

    /// Whether a creation did not succeed so far and is tried again.
    pub(super) fn is_tried_again(&self, uid: &str) -> bool {
        self.by_uid.get(uid).is_some_and(|tracked| tracked.refused.is_some())
    }

    /// The creation that did not succeed before its time was over.
    pub(super) fn give_up(&mut self, uid: &str) -> Option<(Trigger, String)> {
        self.by_uid.get_mut(uid)?.refused.take()
    }

    pub(super) fn is_settled(&self, uid: &str, trigger: Trigger) -> bool {
        self.by_uid.get(uid).is_some_and(|tracked| tracked.settled.contains(&trigger))
    }

    /// Returns the UIDs of the targets that are due now. Drops the targets that ended long ago.
    pub(super) fn due(&mut self, now: Timestamp) -> BTreeSet<String> {
        self.by_uid.retain(|_, tracked| {
            let ended = matches!(tracked.watched.stage, Stage::Ended(_));
            !ended || tracked.watched.ended().checked_add(REMEMBERED).is_ok_and(|until| now < until)
        });
        let due = self.by_uid.iter().filter(|(_, tracked)| tracked.next.is_some_and(|next| next <= now));
        due.map(|(uid, _)| uid.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::watched::tests::object, *};

    fn backup(uid: &str, phase: &str, completed: Option<&str>) -> DynamicObject {
        object(json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {
                "name": uid, "uid": uid, "creationTimestamp": "2026-11-23T03:00:00Z",
                "managedFields": [{"time": "2026-11-23T03:05:00Z", "fieldsV1": {"f:status": {"f:phase": {}}}}],
            },
            "status": {"phase": phase, "completionTimestamp": completed},
        }))
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-11-23T{time}Z").parse().unwrap()
    }

    #[test]
    fn only_those_that_matter_are_kept_and_a_list_replaces_them() {
        let (mut targets, kind) = (Targets::default(), TargetKind::Backup);
        let end = Some("2026-11-23T03:05:00Z");
        targets.take(kind, Event::Apply(backup("done", "Completed", end)));
        targets.take(kind, Event::Apply(backup("runs", "InProgress", None)));
        targets.rest("runs");
        targets.take(kind, Event::Apply(backup("runs", "InProgress", None)));
        assert!(targets.due(at("03:06:00")).is_empty(), "nothing changed");
        targets.take(kind, Event::Apply(backup("failed", "Failed", end)));
        assert_eq!(targets.by_uid.len(), 2);
        targets.take(kind, Event::Init);
        targets.take(kind, Event::InitApply(backup("failed", "Failed", end)));
        targets.take(kind, Event::InitDone);
        assert!(targets.get("runs").is_none() && targets.get("failed").is_some());
        targets.settle("failed", Trigger::Failed);
        targets.rest("failed");
        assert!(targets.is_settled("failed", Trigger::Failed), "a settled one is remembered");
        assert!(targets.due("2026-11-25T03:00:00Z".parse().unwrap()).is_empty());
        assert!(targets.get("failed").is_none(), "until no policy looks back so far");
    }

    #[test]
    fn what_is_in_front_moves_when_it_runs_or_ends() {
        let (mut targets, kind) = (Targets::default(), TargetKind::Backup);
        assert_eq!(targets.in_front(kind, at("04:00:00")), None);
        targets.take(kind, Event::Apply(backup("runs", "InProgress", None)));
        assert_eq!(targets.in_front(kind, at("04:00:00")), Some(at("03:05:00")));
        targets.looked("runs", at("03:20:00"), Some(at("03:19:00")));
        assert_eq!(targets.in_front(kind, at("04:00:00")), Some(at("03:19:00")));
        assert_eq!(targets.in_front(TargetKind::Restore, at("04:00:00")), None);
        targets.take(kind, Event::Apply(backup("runs", "Completed", Some("2026-11-23T03:30:00Z"))));
        assert_eq!(targets.in_front(kind, at("04:00:00")), Some(at("03:30:00")));
        targets.take(kind, Event::Apply(backup("synced", "Completed", Some("2026-11-23T02:59:00Z"))));
        assert_eq!(targets.in_front(kind, at("04:00:00")), Some(at("03:30:00")));
    }

    #[test]
    fn the_end_of_a_younger_one_is_no_movement_in_front() {
        let (mut targets, kind) = (Targets::default(), TargetKind::Backup);
        targets.take(kind, Event::Apply(backup("done", "Completed", Some("2026-11-23T03:30:00Z"))));
        assert_eq!(targets.in_front(kind, at("02:59:00")), None, "it was created later, and overtook");
        assert_eq!(targets.in_front(kind, at("03:00:01")), Some(at("03:30:00")));
    }

    #[test]
    fn only_ends_that_can_be_the_last_are_kept() {
        let mut ends = Ends::default();
        for (created, ended) in [("03:00:00", "03:10:00"), ("03:01:00", "03:09:00"), ("03:02:00", "03:12:00")] {
            ends.add(at(created), at(ended));
        }
        assert_eq!(ends.0.len(), 2);
        assert_eq!(ends.of_older(at("03:02:00")), Some(at("03:10:00")));
        ends.add(at("02:00:00"), at("04:00:00"));
        assert_eq!(ends.0.len(), 1);
        assert_eq!(ends.of_older(at("03:02:00")), Some(at("04:00:00")));
        assert_eq!(ends.of_older(at("02:00:00")), None);
    }

    #[test]
    fn one_that_was_seen_unfinished_is_not_synced() {
        let (mut targets, kind) = (Targets::default(), TargetKind::Backup);
        let failed = || backup("b", "Failed", Some("2026-11-23T02:59:59Z"));
        targets.take(kind, Event::Apply(failed()));
        assert!(targets.get("b").is_none());
        targets.take(kind, Event::Apply(backup("b", "InProgress", None)));
        targets.take(kind, Event::Apply(failed()));
        let seen = targets.get("b").expect("only Velero's clock is behind").watched.ended();
        assert!(seen > at("02:59:59"), "it ended when it was seen to end: {seen}");
        targets.take(kind, Event::Apply(failed()));
        assert_eq!(targets.get("b").map(|tracked| tracked.watched.ended()), Some(seen));
    }

    #[test]
    fn the_objects_below_a_running_one_are_read_on_after_its_bundle_is_made() {
        let (mut targets, kind) = (Targets::default(), TargetKind::Backup);
        targets.take(kind, Event::Apply(backup("runs", "InProgress", None)));
        targets.looked("runs", at("03:40:00"), None);
        targets.settle("runs", Trigger::Stuck);
        assert!(targets.due(at("03:40:59")).is_empty());
        assert_eq!(targets.due(at("03:41:00")).len(), 1);
        targets.looked("runs", at("03:41:00"), Some(at("03:40:30")));
        assert_eq!(targets.in_front(kind, at("04:00:00")), Some(at("03:40:30")), "its data moves again");
        targets.take(kind, Event::Apply(backup("runs", "Failed", Some("2026-11-23T03:50:00Z"))));
        targets.settle("runs", Trigger::Failed);
        assert!(targets.due(at("04:00:00")).is_empty(), "nothing moves below one that has ended");
    }

    #[test]
    fn one_that_waits_for_its_time_is_due_then() {
        let mut targets = Targets::default();
        targets.take(TargetKind::Backup, Event::Apply(backup("runs", "InProgress", None)));
        assert_eq!(targets.due(at("03:05:00")).len(), 1, "whatever changed is due");
        targets.later("runs", at("03:20:00"));
        assert!(targets.due(at("03:19:59")).is_empty());
        assert_eq!(targets.due(at("03:20:00")).len(), 1);
        targets.rest("runs");
        assert!(targets.due(at("03:21:00")).is_empty() && targets.get("runs").is_some());
    }
}
