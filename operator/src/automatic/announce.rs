//! Limits the Events about Backups and Restores that get no DebugBundle: each gets its own, up to a number in an hour;
//! Events with the number of the others follow, a few in an hour. Pure.

use std::time::Duration;

use debugbundle_crd::Reason;
use jiff::Timestamp;

use super::watched::Watched;
use crate::status::whole_seconds;

/// The most such Events within an hour.
const EVENTS: usize = 50;
const HOUR: Duration = Duration::from_hours(1);
/// The shortest time between two Events with the number of the others in one hour.
const PAUSE: Duration = Duration::from_mins(5);

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
    /// How many targets of this hour have no Event of their own.
    further: usize,
    /// The last of them and its time, if no Event has counted it yet.
    last: Option<(Watched, Reason, Timestamp)>,
    /// When their number was last published.
    counted: Option<Timestamp>,
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
            self.last = Some((target.clone(), reason, now));
        }
    }

    /// All that is to be published now.
    pub(super) fn take(&mut self, now: Timestamp) -> Vec<Announcement> {
        self.turn(now);
        if self.counted.is_none_or(|counted| is_over(counted, PAUSE, now)) && self.count() {
            self.counted = Some(now);
        }
        std::mem::take(&mut self.waiting)
    }

    /// Adds an Event with the number of the others of this hour, if no earlier one has counted the last of them. It
    /// says until when it counts: it stays true while more come.
    fn count(&mut self) -> bool {
        let (Some(began), Some((target, reason, at))) = (self.began, self.last.take()) else { return false };
        let note = format!(
            "no DebugBundle is created. Backups and Restores that got neither one nor an Event of their own from {} to {}: \
             {}; this is the last of them. Within an hour, {EVENTS} get their own Event; the policy's status counts all, \
             and the operator's log names them",
            whole_seconds(began),
            whole_seconds(at),
            self.further
        );
        self.waiting.push(Announcement { target, reason, note });
        true
    }

    /// Begins another hour when this one is over.
    fn turn(&mut self, now: Timestamp) {
        if self.began.is_some_and(|began| is_over(began, HOUR, now)) {
            self.count();
            (self.began, self.published, self.further, self.counted) = (None, 0, 0, None);
        }
    }
}

fn is_over(since: Timestamp, time: Duration, now: Timestamp) -> bool {
    since.checked_add(time).is_ok_and(|end| end <= now)
}

#[cfg(test)]
mod tests {
    use super::{super::watched::tests::restore, *};

    const BEGAN: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(BEGAN + second).unwrap()
    }

    /// Takes this many at this second. Returns what the notes that count begin with.
    fn counts(all: &mut Announcements, number: usize, second: i64) -> Vec<String> {
        let target = restore("Failed", "2026-11-23T03:07:00Z", None);
        (0..number).for_each(|_| all.add(&target, Reason::RateLimited, "its own".to_owned(), at(second)));
        let notes = all.take(at(second)).into_iter().map(|due| due.note).filter(|note| note != "its own");
        notes.map(|note| note.split_once("; this is").map(|(start, _)| start.to_owned()).unwrap_or(note)).collect()
    }

    fn count(from: i64, to: i64, number: usize) -> [String; 1] {
        let (from, to) = (at(from), at(to));
        [format!(
            "no DebugBundle is created. Backups and Restores that got neither one nor an Event of their own from {from} \
             to {to}: {number}"
        )]
    }

    #[test]
    fn fifty_get_their_own_and_others_are_counted_in_each_hour() {
        let mut all = Announcements::default();
        assert_eq!(counts(&mut all, 49, 0), [""; 0]);
        assert_eq!(counts(&mut all, 8, 60), count(0, 60, 7));
        assert_eq!(counts(&mut all, 5, 3599), count(0, 3599, 12));
        assert_eq!(counts(&mut all, 0, 3600), [""; 0], "all are counted");
        assert_eq!(counts(&mut all, 50, 3660), [""; 0], "the next hour");
        assert_eq!(counts(&mut all, 1, 3661), count(3660, 3661, 1));
    }

    #[test]
    fn issue_32_of_those_that_come_one_by_one_the_last_number_is_the_true_one() {
        let mut all = Announcements::default();
        assert_eq!(counts(&mut all, 50, 0), [""; 0]);
        let published: Vec<String> = (1..=24).flat_map(|second| counts(&mut all, 1, second)).collect();
        assert_eq!(published, count(0, 1, 1), "until it was published there was one");
        let later: Vec<String> = (25..=400).flat_map(|second| counts(&mut all, 0, second)).collect();
        assert_eq!(later, count(0, 24, 24));
        assert_eq!(counts(&mut all, 3, 401), [""; 0], "at most one in five minutes");
        assert_eq!(counts(&mut all, 2, 3600), count(0, 401, 27), "the end of the hour, and two of the next");
    }

    #[test]
    fn issue_32_a_steady_stream_has_few_counts_in_an_hour_and_leaves_none_out() {
        let mut all = Announcements::default();
        let published: Vec<String> = (0..=3600).flat_map(|second| counts(&mut all, 1, second)).collect();
        assert_eq!(published.len(), 13, "one in five minutes, and one at the end");
        assert_eq!(published[12..], count(0, 3599, 3550));
    }
}
