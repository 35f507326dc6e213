//! What one instance writes into the Lease, by the rules of client-go's leader election. Pure: both clocks are
//! arguments, and a time that another instance wrote is never compared with either.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::api::ObjectMeta;
use tokio::time::Instant;

/// The Lease's name; it lies in Velero's namespace.
pub const LEASE: &str = "debugbundle-operator";

/// How long a Lease must stay unchanged before another instance takes it, in seconds.
const LEASE_SECONDS: i32 = 15;
/// A leader whose last renewal began this long ago leads no longer. Shorter than the Lease's duration, so that it stops
/// before another instance begins.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// The pause between two tries of the leader; a standby's pauses are up to [`JITTER`] times longer.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// After this time without a renewal an instance asks whether the holder's pod is gone. Longer than a leader's pause, so
/// that nobody asks about a leader that is well.
const OVERDUE: Duration = Duration::from_secs(3);
/// By how much a standby's pause may exceed the leader's, as a factor.
const JITTER: f64 = 1.2;

/// One instance's view of the Lease.
pub(super) struct Candidate {
    instance: String,
    seen: Option<Seen>,
}

/// The Lease as last read or written.
struct Seen {
    lease: Lease,
    /// When this process first saw the present spec, by its own clock.
    unchanged_since: Instant,
    /// The pod of the holder of this spec does not exist any more.
    holder_is_gone: bool,
}

impl Candidate {
    /// It has not seen the Lease yet.
    pub(super) fn new(instance: String) -> Self {
        Self { instance, seen: None }
    }

    /// Records the Lease as the API server returned it at `now`.
    pub(super) fn note(&mut self, lease: Lease, now: Instant) {
        let before = self.seen.take().filter(|seen| seen.lease.spec == lease.spec);
        let (unchanged_since, holder_is_gone) =
            before.map_or((now, false), |seen| (seen.unchanged_since, seen.holder_is_gone));
        self.seen = Some(Seen { lease, unchanged_since, holder_is_gone });
    }

    /// Whether the holder may be gone: a renewal is overdue.
    pub(super) fn may_be_gone(&self, now: Instant) -> bool {
        let is_overdue = |seen: &Seen| now >= seen.unchanged_since + OVERDUE;
        self.holder().is_some() && !self.holds() && self.seen.as_ref().is_some_and(is_overdue)
    }

    /// Records that the holder's pod does not exist any more: its Lease need not expire.
    pub(super) fn holder_is_gone(&mut self) {
        if let Some(seen) = &mut self.seen {
            seen.holder_is_gone = true;
        }
    }

    /// Who holds the Lease; `None` if it was released or never seen.
    pub(super) fn holder(&self) -> Option<&str> {
        let spec = self.seen.as_ref()?.lease.spec.as_ref()?;
        spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Whether the Lease names this instance, perhaps since before a restart.
    pub(super) fn holds(&self) -> bool {
        self.holder() == Some(self.instance.as_str())
    }

    /// The Lease to create if none exists. `clock` only informs people.
    pub(super) fn first(&self, clock: Timestamp) -> Lease {
        let mut spec = LeaseSpec { lease_transitions: Some(0), ..LeaseSpec::default() };
        self.renew(&mut spec, clock);
        spec.acquire_time = spec.renew_time.clone();
        let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(spec) }
    }

    /// The Lease to write in place of the one last seen: renewed, or taken. `None` while another instance may lead.
    /// Everything else in the Lease stays, and its resourceVersion makes the API server refuse a stale view.
    pub(super) fn next(&self, now: Instant, clock: Timestamp) -> Option<Lease> {
        let seen = self.seen.as_ref()?;
        let mut lease = seen.lease.clone();
        let spec = lease.spec.get_or_insert_default();
        if !self.holds() {
            if self.holder().is_some() && !seen.holder_is_gone && now < seen.unchanged_since + valid_for(spec) {
                return None;
            }
            spec.acquire_time = Some(MicroTime(clock));
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).max(0).saturating_add(1));
        }
        self.renew(spec, clock);
        Some(lease)
    }

    /// The Lease without a holder, for the next instance to take at once; `None` if this instance does not hold it.
    pub(super) fn released(&self, clock: Timestamp) -> Option<Lease> {
        let mut lease = self.seen.as_ref().filter(|_| self.holds())?.lease.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        (spec.renew_time, spec.acquire_time) = (Some(MicroTime(clock)), Some(MicroTime(clock)));
        Some(lease)
    }

    fn renew(&self, spec: &mut LeaseSpec, clock: Timestamp) {
        spec.holder_identity = Some(self.instance.clone());
        spec.lease_duration_seconds = Some(LEASE_SECONDS);
        spec.renew_time = Some(MicroTime(clock));
    }
}

/// How long an unchanged Lease is valid. A duration that no instance of the operator writes counts as
/// [`LEASE_SECONDS`], so that a Lease from another program blocks the operator for a bounded time.
fn valid_for(spec: &LeaseSpec) -> Duration {
    let seconds = spec.lease_duration_seconds.filter(|seconds| (1..=LEASE_SECONDS).contains(seconds));
    Duration::from_secs(seconds.unwrap_or(LEASE_SECONDS).unsigned_abs().into())
}

/// The pause before the next try. `random` spreads the standbys, so that they do not all try at once.
pub(super) fn pause(leads: bool, random: u8) -> Duration {
    let longer = if leads { 0.0 } else { JITTER * f64::from(random) / f64::from(u8::MAX) };
    RETRY_PERIOD.mul_f64(1.0 + longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn noon() -> Timestamp {
        clock("2026-11-23T12:00:00Z")
    }

    fn spec(lease: &Lease) -> &LeaseSpec {
        lease.spec.as_ref().unwrap()
    }

    /// `b`, which has read a Lease of `a` at `now`.
    fn standby(now: Instant) -> (Candidate, Lease) {
        let lease = Candidate::new("a".into()).first(noon());
        let mut b = Candidate::new("b".into());
        b.note(lease.clone(), now);
        (b, lease)
    }

    #[test]
    fn the_first_one_creates_the_lease_and_renews_it_and_keeps_what_others_wrote_into_it() {
        let now = Instant::now();
        let mut a = Candidate::new("a".into());
        assert!(a.next(now, noon()).is_none(), "nothing is written over a Lease that was not read");
        let mut lease = a.first(noon());
        lease.metadata.resource_version = Some("7".into());
        lease.metadata.annotations = Some([("other".to_owned(), "stays".to_owned())].into());
        a.note(lease.clone(), now);
        let renewed = a.next(now + 2 * SECOND, clock("2026-11-23T12:00:02Z")).unwrap();
        assert_eq!(renewed.metadata, lease.metadata);
        assert_eq!(spec(&renewed).holder_identity.as_deref(), Some("a"));
        assert_eq!(spec(&renewed).acquire_time, Some(MicroTime(noon())));
        assert_eq!(spec(&renewed).lease_transitions, Some(0));
        assert_eq!(spec(&renewed).renew_time, Some(MicroTime(clock("2026-11-23T12:00:02Z"))));
    }

    #[test]
    fn a_lease_is_taken_only_after_it_stood_still_for_its_duration() {
        let now = Instant::now();
        let (mut b, lease) = standby(now);
        b.note(lease.clone(), now + 10 * SECOND);
        assert!(b.next(now + 14 * SECOND, noon()).is_none());
        let taken = b.next(now + 15 * SECOND, clock("2026-11-23T12:00:15Z")).unwrap();
        assert_eq!(spec(&taken).holder_identity.as_deref(), Some("b"));
        assert_eq!(spec(&taken).lease_transitions, Some(1));
        assert_eq!(spec(&taken).acquire_time, Some(MicroTime(clock("2026-11-23T12:00:15Z"))));

        let mut a = Candidate::new("a".into());
        a.note(lease, now);
        b.note(a.next(now, clock("2026-11-23T12:00:10Z")).unwrap(), now + 12 * SECOND);
        assert!(b.next(now + 26 * SECOND, noon()).is_none(), "it was renewed in between");
    }

    #[test]
    fn f6_the_clocks_of_other_instances_do_not_matter() {
        let now = Instant::now();
        for theirs in ["1970-01-01T00:00:00Z", "2026-11-23T11:55:00Z", "2026-11-23T12:05:00Z", "2199-01-01T00:00:00Z"] {
            let mut b = Candidate::new("b".into());
            b.note(Candidate::new("a".into()).first(clock(theirs)), now);
            assert!(b.next(now + 14 * SECOND, noon()).is_none(), "{theirs}");
            assert!(b.next(now + 15 * SECOND, noon()).is_some(), "{theirs}");
        }
    }

    #[test]
    fn f5_a_record_that_no_instance_writes_blocks_for_fifteen_seconds() {
        let now = Instant::now();
        for seconds in [None, Some(-7), Some(0), Some(16), Some(i32::MAX)] {
            let (mut b, mut lease) = standby(now);
            let garbage = lease.spec.as_mut().unwrap();
            garbage.lease_duration_seconds = seconds;
            garbage.lease_transitions = Some(i32::MAX);
            garbage.holder_identity = Some("\u{0} ?".repeat(99));
            b.note(lease, now);
            assert!(b.next(now + 14 * SECOND, noon()).is_none(), "{seconds:?}");
            let taken = b.next(now + 15 * SECOND, noon()).unwrap();
            assert_eq!(spec(&taken).lease_transitions, Some(i32::MAX));
        }
        let (mut b, mut lease) = standby(now);
        lease.spec = None;
        b.note(lease, now);
        assert!(b.next(now, noon()).is_some(), "an empty Lease has no holder");
    }

    #[test]
    fn a_released_lease_is_taken_at_once_and_only_its_holder_releases_it() {
        let now = Instant::now();
        let (mut b, lease) = standby(now);
        assert_eq!(b.released(noon()), None);
        let mut a = Candidate::new("a".into());
        a.note(lease, now);
        let released = a.released(noon()).unwrap();
        assert_eq!((spec(&released).holder_identity.as_ref(), spec(&released).lease_duration_seconds), (None, Some(1)));
        b.note(released, now + SECOND);
        assert_eq!(spec(&b.next(now + SECOND, noon()).unwrap()).lease_transitions, Some(1));
    }

    #[test]
    fn the_lease_of_a_pod_that_is_gone_is_taken_without_waiting_unless_it_is_renewed() {
        let now = Instant::now();
        let (mut b, lease) = standby(now);
        assert!(!b.may_be_gone(now + RETRY_PERIOD), "it may renew in time");
        assert!(b.may_be_gone(now + OVERDUE));
        b.holder_is_gone();
        b.note(lease.clone(), now + SECOND);
        assert_eq!(spec(&b.next(now + SECOND, noon()).unwrap()).holder_identity.as_deref(), Some("b"));

        let mut a = Candidate::new("a".into());
        a.note(lease, now);
        b.note(a.next(now, clock("2026-11-23T12:00:02Z")).unwrap(), now + 2 * SECOND);
        assert!(b.next(now + 2 * SECOND, noon()).is_none(), "it is not gone");
    }

    #[test]
    fn an_instance_that_was_restarted_goes_on_with_its_own_lease() {
        let now = Instant::now();
        let (_, lease) = standby(now);
        let mut again = Candidate::new("a".into());
        again.note(lease, now);
        assert!(again.holds());
        assert_eq!(spec(&again.next(now, noon()).unwrap()).lease_transitions, Some(0));
    }

    #[test]
    fn a_standby_takes_over_within_24_seconds_and_a_leader_stops_before() {
        let longest = pause(false, u8::MAX);
        assert_eq!((pause(false, 0), longest, pause(true, 255)), (2 * SECOND, SECOND.mul_f64(4.4), 2 * SECOND));
        let lease = Duration::from_secs(LEASE_SECONDS.unsigned_abs().into());
        assert!(longest + lease + longest < 24 * SECOND);
        assert!(RENEW_DEADLINE + RETRY_PERIOD < lease);
    }
}
