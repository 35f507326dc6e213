//! What the automatic part must remember across restarts: its first start, the last change of the policy, the targets
//! for which it created DebugBundles, and the number of targets without one. `record` keeps the ledger in the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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

/// The most UIDs that are remembered: more than `keepTotal` may be, and a few that are being deleted.
const UIDS: usize = 1100;

/// The remembered facts.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ledger {
    /// The operator's first start in this namespace.
    pub(super) first_start: Timestamp,
    /// The policy in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyVersion>,
    /// The last policy that worked, for the time in which the present one does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worked: Option<Box<DebugBundlePolicySpec>>,
    /// Created DebugBundles: their marks, and the time of creation in seconds since 1970.
    #[serde(default)]
    made: BTreeMap<String, i64>,
    /// The groups of those created within the last hour, by mark.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    groups: BTreeMap<String, String>,
    /// UIDs of the created DebugBundles that still exist: a label shows nothing, because anyone may set it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    kept: BTreeSet<String>,
    /// Those of them that the watch has not reported yet.
    #[serde(skip)]
    unseen: BTreeSet<String>,
    /// UIDs that are still in the recorded ledger, although their DebugBundles are gone.
    #[serde(skip)]
    gone: BTreeSet<String>,
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
            kept: BTreeSet::new(),
            unseen: BTreeSet::new(),
            gone: BTreeSet::new(),
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
        // The absence of a policy does not count: the defaults lack the redaction rules of a policy that does not work.
        if let (Some(_), Some(works)) = (policy, works) {
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

    /// UIDs of the DebugBundles that count as automatic ones where they are counted.
    pub(super) fn kept(&self) -> &BTreeSet<String> {
        &self.kept
    }

    /// A term begins: the watch has reported nothing of it yet. Forgets the UIDs of DebugBundles that are not among
    /// `living`. Returns whether there were any.
    pub(super) fn begin_term(&mut self, living: &BTreeSet<String>) -> bool {
        self.unseen.clone_from(&self.kept);
        self.unseen.retain(|uid| living.contains(uid));
        self.forget_gone(|_| false)
    }

    /// Forgets the UIDs of DebugBundles that are gone; `exists`: whether the watch reports this one. Returns whether there
    /// were any.
    pub(super) fn forget_gone(&mut self, exists: impl Fn(&str) -> bool) -> bool {
        self.unseen.retain(|uid| !exists(uid));
        let gone: Vec<_> =
            self.kept.iter().filter(|uid| !exists(uid) && !self.unseen.contains(*uid)).cloned().collect();
        for uid in &gone {
            self.kept.remove(uid);
        }
        self.gone.extend(gone.iter().cloned());
        !gone.is_empty()
    }

    /// The ledger is recorded as it is.
    pub(super) fn recorded(&mut self) {
        self.gone.clear();
    }

    /// Notes a created DebugBundle.
    pub(super) fn made(&mut self, target: &Watched, uid: String, last: LastBundle) {
        if self.kept.len() < UIDS {
            self.unseen.insert(uid.clone());
            self.kept.insert(uid);
        }
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
        self.kept.extend(other.kept.difference(&self.gone).cloned());
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

    fn uid(number: usize) -> String {
        format!("0a1b2c3d-0000-4000-8000-{number:012}")
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
        ledger.made(&of("0a1b"), uid(1), last(Trigger::Stuck, 0));
        assert!(ledger.has("0a1b", Trigger::Stuck));
        assert!(!ledger.has("0a1b", Trigger::Failed) && !ledger.has("7777", Trigger::Stuck));
        let one = Shares::of(1);
        assert_eq!(ledger.tally(at(3599)).take(&of("7777").group(), one), Err(Spent::All));
        let two = Shares { group: 1, ..Shares::of(2) };
        assert_eq!(ledger.tally(at(3599)).take(&of("0a1b").group(), two), Err(Spent::Group));
        assert_eq!(ledger.tally(at(3600)).take(&of("0a1b").group(), one), Ok(()));
        ledger.made(&of("7777"), uid(2), last(Trigger::Failed, 25 * 3600));
        assert!(!ledger.has("0a1b", Trigger::Stuck), "forgotten after 25 hours");
        assert_eq!((ledger.made_count, ledger.groups.len()), (2, 1));
    }

    #[test]
    fn issue_32_what_another_instance_made_is_kept_although_the_watch_still_has_the_state_of_an_earlier_term() {
        let mut ledger = Ledger::first(at(0));
        for number in 1..=4 {
            ledger.made(&of(&number.to_string()), uid(number), last(Trigger::Failed, 0));
        }
        let text = serde_json::to_string(&ledger).unwrap();
        let mut again: Ledger = serde_json::from_str(&text).unwrap();
        // The fourth was deleted while no instance led.
        let living = (1..=3).map(uid).collect();
        assert!(again.begin_term(&living));
        assert!(!again.forget_gone(|seen| seen == uid(1)), "the watch of the earlier term knew the first alone");
        assert_eq!(*again.kept(), living);
        assert!(!again.forget_gone(|_| true));
        assert!(again.forget_gone(|seen| seen != uid(2)));
        assert_eq!(again.kept().len(), 2);
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
    fn issue_32_the_absence_of_a_policy_is_no_policy_that_worked() {
        let mut ledger = Ledger::first(at(0));
        let works = DebugBundlePolicySpec { rate_per_hour: 7, ..DebugBundlePolicySpec::default() };
        ledger.follow(None, Some(&DebugBundlePolicySpec::default()), at(1));
        assert_eq!(ledger.last_that_worked(), None);
        ledger.follow(Some(&DebugBundlePolicy::new("default", works.clone())), Some(&works), at(2));
        ledger.follow(None, Some(&DebugBundlePolicySpec::default()), at(3));
        assert_eq!(ledger.last_that_worked(), Some(&works));
    }

    #[test]
    fn two_instances_join_their_ledgers() {
        let (mut one, mut other) = (Ledger::first(at(5)), Ledger::first(at(3)));
        one.made(&of("a"), uid(1), last(Trigger::Failed, 10));
        one.left_out(Reason::RateLimited);
        other.made(&of("b"), uid(2), last(Trigger::Failed, 11));
        one.join(&other);
        assert!(one.has("a", Trigger::Failed) && one.has("b", Trigger::Failed));
        assert_eq!((one.first_start, one.last.as_ref().map(|last| last.timestamp.0)), (at(3), Some(at(11))));
        assert_eq!(one.kept.len(), 2);
        let text = serde_json::to_string(&one).unwrap();
        let read = serde_json::from_str::<Ledger>(&text).unwrap();
        assert_eq!(Ledger { unseen: one.unseen.clone(), ..read }, one);
    }

    #[test]
    fn a_uid_is_remembered_from_its_creation_until_its_debug_bundle_is_gone() {
        let mut ledger = Ledger::first(at(0));
        ledger.made(&of("a"), uid(1), last(Trigger::Failed, 0));
        assert!(!ledger.forget_gone(|_| false), "the watch has not reported it yet");
        assert!(!ledger.forget_gone(|_| true));
        let recorded = ledger.clone();
        assert!(ledger.forget_gone(|_| false) && ledger.kept.is_empty());
        ledger.join(&recorded);
        assert!(ledger.kept.is_empty(), "the record is older");
        ledger.recorded();
        ledger.join(&recorded);
        assert_eq!(ledger.kept.len(), 1, "another instance added it");
        let mut next_process: Ledger = serde_json::from_str(&serde_json::to_string(&recorded).unwrap()).unwrap();
        assert!(next_process.forget_gone(|_| false), "it was deleted while no operator ran");
    }

    /// `docs/automatic.md` has these figures.
    #[test]
    fn the_annotation_stays_small() {
        let size = |kept: usize, rate: usize, policy: usize| {
            let mut ledger = Ledger::first(at(0));
            let spec =
                DebugBundlePolicySpec { schedules: vec!["s".repeat(policy)], ..DebugBundlePolicySpec::default() };
            ledger.follow(None, Some(&spec), at(0));
            for hour in 0..25 {
                for n in 0..rate {
                    let (number, second) = (hour * rate + n, i64::try_from(hour * 3600 + n).unwrap());
                    ledger.made(&of(&number.to_string()), uid(number % kept), last(Trigger::Failed, second));
                }
            }
            serde_json::to_string(&ledger).unwrap().len()
        };
        let (usual, most) = (size(50, 10, 100), size(1000, 100, 30_000));
        println!("usual: {usual} bytes, most: {most} bytes");
        assert!(usual < 12_000 && most < 160_000, "{usual} {most}");
    }
}
