//! Which of the listed objects a sweep deletes: a pure decision, made when both lists are whole.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::store::ListedBundle;

/// Younger objects and uploads stay: their DebugBundles may be younger than the list of DebugBundles.
const AGE: Duration = Duration::from_hours(1);
/// A sweep may always delete this many objects. For more, the number of all objects decides.
const FEW: usize = 20;

/// What a sweep does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SweepVerdict {
    /// Delete these.
    Delete(Vec<ListedBundle>),
    /// Delete nothing: more than [`FEW`] objects, and more than half of all, would go. A person has to judge whether
    /// their DebugBundles were really deleted.
    Stop {
        /// How many would go.
        orphans: usize,
        /// How many there are.
        all: usize,
    },
}

/// The objects that belong to no DebugBundle. `objects` were listed before `living`, the UIDs of all DebugBundles.
pub fn orphans(objects: Vec<ListedBundle>, living: &BTreeSet<String>) -> Vec<ListedBundle> {
    let is_orphan = |object: &ListedBundle| object.key.uid().is_some_and(|uid| !living.contains(uid));
    objects.into_iter().filter(is_orphan).collect()
}

/// Whether an object or upload of that time is old enough to be swept.
pub fn is_old(of: Timestamp, now: Timestamp) -> bool {
    now.duration_since(of) > jiff::SignedDuration::try_from(AGE).unwrap_or(jiff::SignedDuration::MAX)
}

/// Returns what the sweep does. `now` is the operator's time.
pub fn what_to_delete(objects: Vec<ListedBundle>, living: &BTreeSet<String>, now: Timestamp) -> SweepVerdict {
    let all = objects.len();
    let mut old = orphans(objects, living);
    old.retain(|object| is_old(object.modified, now));
    if old.len() > FEW && old.len() > all / 2 {
        return SweepVerdict::Stop { orphans: old.len(), all };
    }
    SweepVerdict::Delete(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Folder, InstallationId};

    const NOW: &str = "2026-09-08T03:04:12Z";

    fn now() -> Timestamp {
        NOW.parse().expect("a time")
    }

    fn uid(number: usize) -> String {
        format!("00000000-0000-4000-8000-{number:012}")
    }

    fn object(number: usize, minutes: i64) -> ListedBundle {
        let folder = Folder::of("team-a", &InstallationId::of_nobody()).expect("a folder");
        let key = format!("{}installation/b-{}.tar.gz", folder.as_str(), uid(number));
        let modified = now() - jiff::SignedDuration::from_mins(minutes);
        ListedBundle { key: folder.bundle(&key).expect("a bundle"), bytes: 7, modified }
    }

    fn living(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
        numbers.into_iter().map(uid).collect()
    }

    #[test]
    fn only_what_is_older_than_an_hour_and_belongs_to_no_debug_bundle_goes() {
        let objects = vec![object(1, 61), object(2, 61), object(3, 60), object(4, -90), object(5, 6000)];
        let expected = vec![object(1, 61), object(5, 6000)];
        assert_eq!(what_to_delete(objects, &living([2]), now()), SweepVerdict::Delete(expected));
    }

    #[test]
    fn a_sweep_that_would_remove_more_than_twenty_and_more_than_half_removes_nothing() {
        let verdict = |orphans: usize, others: usize| {
            let objects = (0..orphans + others).map(|number| object(number, 90)).collect();
            what_to_delete(objects, &living(orphans..orphans + others), now())
        };
        let count = |verdict| match verdict {
            SweepVerdict::Delete(these) => these.len(),
            SweepVerdict::Stop { .. } => 0,
        };
        assert_eq!(count(verdict(20, 0)), 20, "few");
        assert_eq!(verdict(21, 0), SweepVerdict::Stop { orphans: 21, all: 21 });
        assert_eq!(verdict(21, 20), SweepVerdict::Stop { orphans: 21, all: 41 }, "just more than half");
        assert_eq!(count(verdict(21, 21)), 21, "half");
        assert_eq!(count(verdict(100, 101)), 100);
    }
}
