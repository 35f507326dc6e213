//! Limits the Events about Backups and Restores that get no DebugBundle: each gets its own, up to a number in an hour;
//! then one Event has the number of the others. Pure.

use std::time::Duration;

use debugbundle_crd::Reason;
use jiff::Timestamp;

use super::watched::Watched;

/// The most such Events within an hour.
const EVENTS: usize = 50;
const HOUR: Duration = Duration::from_hours(1);

/// An Event to publish on a target.
pub(super) struct Announcement {
    pub(super) target: Watched,
    pub(super) reason: Reason,
    pub(super) note: String,
}

/// What waits to be published, and what was published within the hour.
#[derive(Default)]
pub(super) struct Announcements {
    waiting: Vec<Announcement>,
    /// The hour begins with its first Event.
    began: Option<Timestamp>,
    published: usize,
    /// Targets without an Event of their own, and the last of them.
    further: usize,
    last: Option<(Watched, Reason)>,
    /// The number of the others was published within this hour.
    counted: bool,
}

impl Announcements {
    /// Takes a target that gets no DebugBundle.
    pub(super) fn add(&mut self, target: &Watched, reason: Reason, note: String, now: Timestamp) {
        self.turn(now);
        self.began.get_or_insert(now);
        if self.published < EVENTS {
            self.published += 1;
            self.waiting.push(Announcement { target: target.clone(), reason, note });
        } else {
            self.further += 1;
            self.last = Some((target.clone(), reason));
        }
    }

    /// All that is to be published now.
    pub(super) fn take(&mut self, now: Timestamp) -> Vec<Announcement> {
        self.turn(now);
        let mut due = std::mem::take(&mut self.waiting);
        if !self.counted
            && let Some((target, reason)) = self.last.take()
        {
            let further = std::mem::take(&mut self.further);
            let note = format!(
                "no DebugBundle is created for {further} further Backups and Restores, the last of which is this one: \
                 the policy's status and the operator's log count them. Within an hour, {EVENTS} get an Event of their own"
            );
            self.counted = true;
            due.push(Announcement { target, reason, note });
        }
        due
    }

    /// Begins another hour when this one is over.
    fn turn(&mut self, now: Timestamp) {
        if self.began.is_some_and(|began| began.checked_add(HOUR).is_ok_and(|end| end <= now)) {
            (self.began, self.published, self.counted) = (None, 0, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::watched::tests::restore, *};

    #[test]
    fn fifty_get_their_own_and_one_counts_the_others_in_each_hour() {
        let target = restore("Failed", "2026-11-23T03:07:00Z", None);
        let at = |minute: i64| Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap();
        let mut all = Announcements::default();
        let add = |all: &mut Announcements, number: usize, minute: i64| {
            (0..number).for_each(|_| all.add(&target, Reason::RateLimited, "none".to_owned(), at(minute)));
            all.take(at(minute)).into_iter().map(|due| due.note).filter(|note| note != "none").collect::<Vec<_>>()
        };
        assert_eq!(add(&mut all, 49, 0), [""; 0]);
        let counts = add(&mut all, 8, 1);
        assert!(counts.len() == 1 && counts[0].contains("for 7 further Backups"), "{counts:?}");
        assert_eq!(add(&mut all, 5, 59), [""; 0], "one in an hour");
        let rest = add(&mut all, 0, 60);
        assert!(rest.len() == 1 && rest[0].contains("for 5 further Backups"), "{rest:?}");
        all.add(&target, Reason::RateLimited, "none".to_owned(), at(61));
        assert_eq!(all.take(at(61)).len(), 1, "the next hour");
    }
}
