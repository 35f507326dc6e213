//! Decides whether a Backup or Restore gets a DebugBundle now. Pure: time and what was read are arguments.

use std::time::Duration;

use debugbundle_crd::{Reason, Trigger};
use jiff::Timestamp;

use super::{
    rules::Rules,
    watched::{Stage, Watched},
};

/// How long a reading of the objects below an unfinished target counts, and the pause after a failed one.
pub(super) const LOOK_EVERY: Duration = Duration::from_mins(1);

/// What is known beside the target itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) now: Timestamp,
    /// The operator's first start: a target that ended before it gets no DebugBundle.
    pub(super) since: Timestamp,
    /// The last change of the policy, if it ever changed: a target that ended or hung before it gets no DebugBundle.
    pub(super) policy_since: Option<Timestamp>,
    /// The last reading of the objects below the target: when, and when one of them last moved.
    pub(super) below: Option<Below>,
    /// When a target of the same kind last moved while Velero worked on it, or last ended.
    pub(super) in_front: Option<Timestamp>,
    /// Whether Velero works on a target of the same kind of which it is not known whether anything below it moves.
    pub(super) in_front_unknown: bool,
}

/// What was read of the objects below a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Below {
    pub(super) read: Timestamp,
    /// When one of them last moved; `None` if no object exists.
    pub(super) moved: Option<Timestamp>,
}

/// Whether a target on which Velero works still moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Movement {
    /// It moved within `stuckAfter`, and does not count as stuck before this time.
    Until(Timestamp),
    /// Unknown: the objects below it were not read since it would have counted as stuck.
    Unknown,
    /// Nothing has moved; it counts as stuck since this time.
    Still(Timestamp),
}

/// Whether the target, or anything below it, moved within `stuckAfter`. The objects below need to be read only once all
/// that is known to have moved did so longer ago, and then at once: so a hang is seen when it is one.
pub(super) fn movement(target: &Watched, below: Option<Below>, stuck_after: Duration, now: Timestamp) -> Movement {
    let moved = below.and_then(|below| below.moved).map_or(target.moved, |moved| moved.max(target.moved));
    let stuck = after(moved, stuck_after);
    if now < stuck {
        Movement::Until(stuck)
    } else if below.is_some_and(|below| stuck <= below.read) {
        Movement::Still(stuck)
    } else {
        Movement::Unknown
    }
}

/// What the operator does about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing, until it changes.
    Nothing,
    /// Nothing before this time.
    Later(Timestamp),
    /// Read the objects below it.
    LookBelow,
    /// Create a DebugBundle.
    Create(Trigger),
    /// Create none, and count why.
    LeaveOut(Trigger, Reason),
}

/// Returns what the operator does about the target now.
pub(super) fn judge(target: &Watched, rules: &Rules, of: Circumstances) -> Verdict {
    if !target.is_of_interest() {
        return Verdict::Nothing;
    }
    let (trigger, happened) = match target.stage {
        Stage::Done => return Verdict::Nothing,
        Stage::Ended(trigger) => {
            if target.ended() < of.since {
                return Verdict::Nothing;
            }
            (trigger, target.ended())
        }
        Stage::Running => match movement(target, of.below, rules.stuck_after, of.now) {
            Movement::Until(stuck) => return Verdict::Later(stuck),
            Movement::Still(stuck) if of.below.is_some_and(|below| of.now < after(below.read, LOOK_EVERY)) => {
                (Trigger::Stuck, stuck)
            }
            // Its data may have moved again.
            Movement::Still(_) | Movement::Unknown => return Verdict::LookBelow,
        },
        Stage::Waiting => {
            let moved = of.in_front.map_or(target.moved, |moved| moved.max(target.moved));
            let stuck = after(moved, rules.stuck_after);
            if of.now < stuck {
                return Verdict::Later(stuck);
            }
            if of.in_front_unknown {
                return Verdict::Later(of.now);
            }
            (Trigger::Stuck, stuck)
        }
    };
    let of_old_policy = of.policy_since.is_some_and(|since| happened < since);
    if of_old_policy || after(happened, rules.max_age) < of.now {
        return Verdict::Nothing;
    }
    match rules.refusal(target, trigger) {
        Some(reason) => Verdict::LeaveOut(trigger, reason),
        None => Verdict::Create(trigger),
    }
}

fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::watched::tests::restore, *};

    fn at(time: &str) -> Timestamp {
        format!("2026-11-23T{time}Z").parse().expect("a time")
    }

    fn now(time: &str) -> Circumstances {
        let since = at("01:00:00");
        Circumstances { now: at(time), since, policy_since: None, below: None, in_front: None, in_front_unknown: false }
    }

    fn running(moved: &str) -> Watched {
        restore("InProgress", &at(moved).to_string(), None)
    }

    fn failed(completed: &str) -> Watched {
        restore("Failed", &at(completed).to_string(), Some(&at(completed).to_string()))
    }

    #[test]
    fn a_bad_end_gets_a_bundle_within_max_age() {
        let rules = Rules::default();
        assert_eq!(judge(&failed("03:10:00"), &rules, now("03:10:01")), Verdict::Create(Trigger::Failed));
        assert_eq!(judge(&failed("03:10:00"), &rules, now("04:10:00")), Verdict::Create(Trigger::Failed));
        assert_eq!(judge(&failed("03:10:00"), &rules, now("04:10:01")), Verdict::Nothing);
        let good = restore("Completed", "2026-11-23T03:10:00Z", Some("2026-11-23T03:10:00Z"));
        assert_eq!(judge(&good, &rules, now("03:10:01")), Verdict::Nothing);
    }

    #[test]
    fn what_ended_before_the_first_start_or_the_policy_is_left_alone() {
        let rules = Rules::default();
        let first_start = Circumstances { since: at("03:10:01"), ..now("03:11:00") };
        assert_eq!(judge(&failed("03:10:00"), &rules, first_start), Verdict::Nothing);
        let policy = Circumstances { policy_since: Some(at("03:10:01")), ..now("03:11:00") };
        assert_eq!(judge(&failed("03:10:00"), &rules, policy), Verdict::Nothing);
        assert_eq!(judge(&failed("03:10:30"), &rules, policy), Verdict::Create(Trigger::Failed));
    }

    #[test]
    fn a_running_one_is_stuck_once_nothing_below_it_moves() {
        let rules = Rules::default();
        let target = running("03:00:00");
        assert_eq!(judge(&target, &rules, now("03:29:59")), Verdict::Later(at("03:30:00")));
        assert_eq!(judge(&target, &rules, now("03:30:00")), Verdict::LookBelow);
        let below = |read: &str, moved: Option<&str>| Some(Below { read: at(read), moved: moved.map(at) });
        let looked = |time: &str, below| Circumstances { below, ..now(time) };
        let still = looked("03:30:00", below("03:30:00", None));
        assert_eq!(judge(&target, &rules, still), Verdict::Create(Trigger::Stuck));
        let early = looked("03:30:00", below("03:29:59", None));
        assert_eq!(judge(&target, &rules, early), Verdict::LookBelow, "something may have moved in the last second");
        let moves = looked("03:30:00", below("03:30:00", Some("03:20:00")));
        assert_eq!(judge(&target, &rules, moves), Verdict::Later(at("03:50:00")), "not before it can be stuck");
        assert_eq!(judge(&target, &rules, looked("03:50:00", moves.below)), Verdict::LookBelow, "and then at once");
        let stuck = looked("03:50:00", below("03:50:00", Some("03:20:00")));
        assert_eq!(judge(&target, &rules, stuck), Verdict::Create(Trigger::Stuck));
        // It has hung for hours: it has its bundle, or it is too late for one.
        let long = looked("06:00:00", below("05:59:30", None));
        assert_eq!(judge(&target, &rules, long), Verdict::Nothing);
        assert_eq!(
            judge(&target, &rules, looked("06:10:00", long.below)),
            Verdict::LookBelow,
            "its data may move again"
        );
    }

    #[test]
    fn one_is_unknown_until_the_objects_below_it_were_read_late_enough() {
        let (target, half_hour) = (running("03:00:00"), Duration::from_mins(30));
        let read = |read: &str| Some(Below { read: at(read), moved: None });
        let movement = |below, now: &str| movement(&target, below, half_hour, at(now));
        assert_eq!(movement(None, "03:29:59"), Movement::Until(at("03:30:00")));
        assert_eq!(movement(None, "03:30:00"), Movement::Unknown);
        assert_eq!(movement(read("03:29:00"), "03:30:00"), Movement::Unknown);
        assert_eq!(movement(read("03:30:00"), "03:35:00"), Movement::Still(at("03:30:00")));
    }

    #[test]
    fn one_that_hung_before_the_first_start_is_still_stuck() {
        let hung = Circumstances {
            since: at("03:45:00"),
            below: Some(Below { read: at("03:45:00"), moved: None }),
            ..now("03:45:01")
        };
        assert_eq!(judge(&running("03:00:00"), &Rules::default(), hung), Verdict::Create(Trigger::Stuck));
    }

    #[test]
    fn one_that_waits_is_stuck_unless_something_in_front_of_it_moves() {
        let rules = Rules::default();
        let target = restore("New", "2026-11-23T03:00:00Z", None);
        assert_eq!(judge(&target, &rules, now("03:29:59")), Verdict::Later(at("03:30:00")));
        assert_eq!(judge(&target, &rules, now("03:30:00")), Verdict::Create(Trigger::Stuck));
        let moves = Circumstances { in_front: Some(at("03:29:00")), ..now("03:30:00") };
        assert_eq!(judge(&target, &rules, moves), Verdict::Later(at("03:59:00")));
        let unread = Circumstances { in_front_unknown: true, ..now("03:30:00") };
        assert_eq!(judge(&target, &rules, unread), Verdict::Later(at("03:30:00")), "it may move");
    }
}
