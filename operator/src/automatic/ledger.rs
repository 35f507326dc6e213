//! What the automatic part must remember across restarts: its first start, the last change of the policy, the targets
//! for which it created DebugBundles, and the number of targets without one. `record` keeps the ledger in the cluster.

use std::{collections::BTreeMap, time::Duration};

use debugbundle_crd::{DebugBundlePolicy, DebugBundlePolicySpec, LastBundle, Reason, Trigger};
use jiff::Timestamp;
use kube::{ResourceExt as _, api::ObjectMeta};
use serde::{Deserialize, Serialize};

use super::{
    rate::Tally,
    watched::{self, Watched},
};

/// The window of `ratePerHour`.
const RATE_WINDOW: Duration = Duration::from_hours(1);
/// How long a creation and an ended target are remembered: longer than any policy may look back (`maxAge`), so that a
/// deleted DebugBundle is not created again.
pub(super) const REMEMBERED: Duration = Duration::from_hours(25);

/// The largest policy that is remembered, in bytes of JSON: all annotations of an object together may have 256 KiB.
const POLICY_BYTES: usize = 32 << 10;

/// The remembered facts.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ledger {
    /// The operator's first start in this namespace.
    pub(super) first_start: Timestamp,
    /// The policy in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyVersion>,
    /// The last policy that worked, for a start at which the present one does not. The defaults, if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worked: Option<Box<DebugBundlePolicySpec>>,
    /// Created DebugBundles: their marks, and the time of creation in seconds since 1970.
    #[serde(default)]
    made: BTreeMap<String, i64>,
    /// The groups of those created within the last hour, by mark.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    groups: BTreeMap<String, String>,
    /// Number of all created DebugBundles.
    #[serde(default)]
    pub(super) made_count: i64,
    /// Number of targets for which no DebugBundle was created, by reason.
    #[serde(default)]
    pub(super) left_out: BTreeMap<String, i64>,
    /// The DebugBundle that was created last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<LastBundle>,
}

/// A version of the policy; the absence of a policy counts as a version.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct PolicyVersion {
    uid: Option<String>,
    generation: i64,
    /// Since when the rules in force hold; `None`: since the first start. A policy that does not work changes no rules.
    since: Option<Timestamp>,
}

impl Ledger {
    /// The ledger of an operator that starts for the first time.
    pub(super) fn first(now: Timestamp) -> Self {
        Self {
            first_start: now,
            policy: None,
            worked: None,
            made: BTreeMap::new(),
            groups: BTreeMap::new(),
            made_count: 0,
            left_out: BTreeMap::new(),
            last: None,
        }
    }

    /// Notes the present policy; `works`: the rules that follow from it, `None` if it is invalid. Returns whether it
    /// changed.
    pub(super) fn follow(
        &mut self,
        policy: Option<&DebugBundlePolicy>,
        works: Option<&DebugBundlePolicySpec>,
        now: Timestamp,
    ) -> bool {
        if let Some(works) = works {
            let is_small = serde_json::to_string(works).is_ok_and(|text| text.len() <= POLICY_BYTES);
            self.worked = is_small.then(|| Box::new(works.clone()));
        }
        let (uid, generation) =
            policy.map_or((None, 0), |policy| (policy.uid(), policy.metadata.generation.unwrap_or(0)));
        if self.policy.as_ref().is_some_and(|seen| seen.uid == uid && seen.generation == generation) {
            return false;
        }
        // A policy may have been written while the operator was down, and a target may have failed since.
        let written = policy.and_then(|policy| written(&policy.metadata)).map_or(now, |written| written.min(now));
        let since = self.policy.as_ref().and_then(|seen| if works.is_some() { Some(written) } else { seen.since });
        self.policy = Some(PolicyVersion { uid, generation, since });
        true
    }

    /// The last policy that worked, if it is on record.
    pub(super) fn last_that_worked(&self) -> Option<&DebugBundlePolicySpec> {
        self.worked.as_deref()
    }

    /// Whether the policy on record is an object, and not its absence.
    pub(super) fn knows_a_policy(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.uid.is_some())
    }

    /// When the policy last changed; `None` if it never changed.
    pub(super) fn policy_since(&self) -> Option<Timestamp> {
        self.policy.as_ref()?.since
    }

    /// Whether a DebugBundle was created for this target and trigger.
    pub(super) fn has(&self, uid: &str, trigger: Trigger) -> bool {
        self.made.contains_key(&mark(uid, trigger))
    }

    /// The DebugBundles created within the last hour.
    pub(super) fn tally(&self, now: Timestamp) -> Tally {
        let since = earlier(now, RATE_WINDOW);
        let mut tally = Tally::default();
        for (mark, _) in self.made.iter().filter(|(_, at)| **at > since) {
            tally.add(self.groups.get(mark).map(String::as_str));
        }
        tally
    }

    /// Notes a created DebugBundle.
    pub(super) fn made(&mut self, target: &Watched, last: LastBundle) {
        let now = last.timestamp.0;
        let since = earlier(now, REMEMBERED);
        self.made.retain(|_, at| *at > since);
        let mark = mark(&target.uid, last.trigger);
        self.made.insert(mark.clone(), now.as_second());
        self.groups.insert(mark, target.group().key());
        let since = earlier(now, RATE_WINDOW);
        self.groups.retain(|mark, _| self.made.get(mark).is_some_and(|at| *at > since));
        self.made_count += 1;
        self.last = Some(last);
    }

    /// Counts a target for which no DebugBundle was created.
    pub(super) fn left_out(&mut self, reason: Reason) {
        *self.left_out.entry(reason.as_str().to_owned()).or_default() += 1;
    }

    /// Adds what another instance wrote in the meantime.
    pub(super) fn join(&mut self, other: &Self) {
        self.first_start = self.first_start.min(other.first_start);
        self.made_count = self.made_count.max(other.made_count);
        for (mark, at) in &other.made {
            self.made.entry(mark.clone()).or_insert(*at);
        }
        for (mark, group) in &other.groups {
            self.groups.entry(mark.clone()).or_insert_with(|| group.clone());
        }
        for (reason, count) in &other.left_out {
            let own = self.left_out.entry(reason.clone()).or_default();
            *own = (*own).max(*count);
        }
        let newer = other
            .last
            .as_ref()
            .filter(|theirs| self.last.as_ref().is_none_or(|own| own.timestamp.0 < theirs.timestamp.0));
        if let Some(newer) = newer {
            self.last = Some(newer.clone());
        }
    }
}

/// When somebody last wrote an object, except its status.
fn written(meta: &ObjectMeta) -> Option<Timestamp> {
    let writers = meta.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let last = writers.filter_map(|entry| Some(entry.time.as_ref()?.0)).max();
    last.or_else(|| Some(meta.creation_timestamp.as_ref()?.0))
}

/// Stands for a target and a trigger.
fn mark(uid: &str, trigger: Trigger) -> String {
    watched::mark(&format!("{uid}/{trigger}"))
}

fn earlier(now: Timestamp, by: Duration) -> i64 {
    now.checked_sub(by).unwrap_or(Timestamp::MIN).as_second()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::{
        super::{
            rate::{Shares, Spent},
            watched::tests::restore,
        },
        *,
    };

    fn of(uid: &str) -> Watched {
        Watched { uid: uid.to_owned(), ..restore("Failed", "2026-11-23T03:07:00Z", None) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn last(trigger: Trigger, second: i64) -> LastBundle {
        LastBundle { name: "n".into(), target: "Restore r1".into(), trigger, timestamp: Time(at(second)) }
    }

    #[test]
    fn what_was_made_is_known_by_target_and_trigger_and_counts_for_an_hour() {
        let mut ledger = Ledger::first(at(0));
        ledger.made(&of("0a1b"), last(Trigger::Stuck, 0));
        assert!(ledger.has("0a1b", Trigger::Stuck));
        assert!(!ledger.has("0a1b", Trigger::Failed) && !ledger.has("7777", Trigger::Stuck));
        let one = Shares::of(1);
        assert_eq!(ledger.tally(at(3599)).take(&of("7777").group(), one), Err(Spent::All));
        let two = Shares { group: 1, ..Shares::of(2) };
        assert_eq!(ledger.tally(at(3599)).take(&of("0a1b").group(), two), Err(Spent::Group));
        assert_eq!(ledger.tally(at(3600)).take(&of("0a1b").group(), one), Ok(()));
        ledger.made(&of("7777"), last(Trigger::Failed, 25 * 3600));
        assert!(!ledger.has("0a1b", Trigger::Stuck), "forgotten after 25 hours");
        assert_eq!((ledger.made_count, ledger.groups.len()), (2, 1));
    }

    #[test]
    fn a_policy_holds_since_its_change_but_not_since_the_first_start() {
        let mut ledger = Ledger::first(at(0));
        let works = DebugBundlePolicySpec::default();
        assert!(ledger.follow(None, Some(&works), at(1)));
        assert_eq!(ledger.policy_since(), None);
        let mut policy = DebugBundlePolicy::new("default", debugbundle_crd::DebugBundlePolicySpec::default());
        policy.metadata.uid = Some("1".into());
        policy.metadata.generation = Some(1);
        assert!(ledger.follow(Some(&policy), Some(&works), at(2)));
        assert_eq!(ledger.policy_since(), Some(at(2)));
        assert!(!ledger.follow(Some(&policy), Some(&works), at(3)));
        assert!(ledger.follow(None, Some(&works), at(4)), "a deleted policy is a change");
        assert_eq!(ledger.policy_since(), Some(at(4)));
    }

    #[test]
    fn an_invalid_policy_changes_no_rules_and_the_last_that_worked_is_remembered_if_it_is_small() {
        let mut ledger = Ledger::first(at(0));
        let mut policy = DebugBundlePolicy::new("default", DebugBundlePolicySpec::default());
        policy.metadata.generation = Some(1);
        assert!(ledger.follow(Some(&policy), None, at(1)));
        assert_eq!((ledger.policy_since(), ledger.last_that_worked()), (None, None));
        policy.metadata.generation = Some(2);
        let mut works = DebugBundlePolicySpec { rate_per_hour: 7, ..DebugBundlePolicySpec::default() };
        assert!(ledger.follow(Some(&policy), Some(&works), at(2)));
        policy.metadata.generation = Some(3);
        assert!(ledger.follow(Some(&policy), None, at(3)));
        assert_eq!((ledger.policy_since(), ledger.last_that_worked()), (Some(at(2)), Some(&works)));
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        works.schedules = vec!["s".repeat(253); 256];
        ledger.follow(Some(&policy), Some(&works), at(4));
        assert_eq!(ledger.last_that_worked(), None);
    }

    #[test]
    fn two_instances_join_their_ledgers() {
        let (mut one, mut other) = (Ledger::first(at(5)), Ledger::first(at(3)));
        one.made(&of("a"), last(Trigger::Failed, 10));
        one.left_out(Reason::RateLimited);
        other.made(&of("b"), last(Trigger::Failed, 11));
        one.join(&other);
        assert!(one.has("a", Trigger::Failed) && one.has("b", Trigger::Failed));
        assert_eq!((one.first_start, one.last.as_ref().map(|last| last.timestamp.0)), (at(3), Some(at(11))));
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), one);
    }
}
