//! Creates DebugBundles by itself: one for each bad end and each hang of a Backup or Restore, and a limited number in
//! an hour. It watches Backups, Restores and the policy; the DebugBundles that it creates run like all others.
//!
//! ```text
//! watch → watched → judge → create → ledger        tick → judge (stuck) · retention · policy's status
//!                     ↑ rules, ledger, movement
//! ```
//!
//! * `watched`: a Backup or Restore, reduced to what the decision needs.
//! * `rules`: the policy, or the defaults. `template_location`: whether the location exists that the policy names.
//! * `judge`: the decision, pure. `rate`: how many an hour, pure.
//! * `movement`: reads whether anything below an unfinished target moves.
//! * `targets`: the targets that may still get a DebugBundle.
//! * `bundle`, `create`: the DebugBundle, and its creation, also against a full quota.
//! * `retention`: which DebugBundles are deleted because there are too many.
//! * `ledger`, `record`: what must be remembered across restarts, and where.
//! * `announce`: the Events about targets that get none. `report`: the policy's status.

mod announce;
mod bundle;
mod create;
mod judge;
mod ledger;
mod movement;
mod rate;
mod record;
mod report;
mod retention;
mod rules;
mod targets;
mod template_location;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use debugbundle_crd::{
    DebugBundlePolicy, DebugBundlePolicySpec, DebugBundlePolicyStatus, LastBundle, POLICY_NAME, Reason, Target,
    TargetKind, Trigger,
};
use debugbundle_diagnosis::Kind;
use futures::{FutureExt as _, Stream, StreamExt as _, future::join_all, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::DynamicObject,
    runtime::{
        WatchStreamExt as _,
        reflector::Store,
        watcher::{self, Event, watcher},
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::ApiKind,
    notify::{self, Notifier},
    observed::Observed,
    sweep::lists,
    velero::is_dns_name,
};
use announce::{Announcement, Announcements};
use create::{Created, Room};
use judge::{Circumstances, Verdict, judge};
use ledger::Ledger;
use movement::Unread;
use rate::{Shares, Spent};
use record::Record;
use report::Standing;
use retention::Surplus;
use rules::Rules;
use targets::Targets;
use template_location::TemplateLocation;
use watched::{Stage, Watched};

/// Objects in one page of a list; memory holds a whole page.
const PAGE: u32 = 100;
/// How often the operator checks for hanging targets, for too many DebugBundles, and for changes of the policy's
/// status.
const TICK: Duration = Duration::from_secs(5);
/// Most events of the watches that are taken before the targets are judged.
const AT_ONCE: usize = 500;
/// Requests of one kind that run side by side.
const REQUESTS: usize = 4;
/// Most targets whose objects below are read in one tick.
const LOOKS: usize = 20;
/// Most DebugBundles that one tick deletes; a failure must not wait for more.
const DELETIONS: usize = REQUESTS;
/// The shortest pause between two records of the ledger, except for ticks.
const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// Time limit of the last record, when this instance no longer leads or ends.
const LAST_SAVE: Duration = Duration::from_secs(5);

/// What the automatic part works with.
#[derive(Clone)]
pub struct Automatic {
    /// The API server.
    pub client: Client,
    /// Velero's namespace.
    pub namespace: String,
    /// The DebugBundles.
    pub bundles: Store<Observed>,
    /// Publishes Events.
    pub notifier: Arc<Notifier>,
}

/// One event of the three watches.
enum Change {
    Target(TargetKind, Box<Result<Event<DynamicObject>, watcher::Error>>),
    Policy(Box<Result<Event<DebugBundlePolicy>, watcher::Error>>),
}

/// Creates DebugBundles until `over` is cancelled, when this instance no longer leads.
pub async fn run(automatic: Automatic, over: CancellationToken) {
    let Some(mut task) = over.run_until_cancelled(Box::pin(Task::begin(automatic))).await else { return };
    over.run_until_cancelled(Box::pin(task.work())).await;
    // The next leader, or the next process, reads it.
    let _ = tokio::time::timeout(LAST_SAVE, task.save()).await;
}

impl Automatic {
    /// Reads the ledger. Nothing may be created without it, so this waits until the API server returns it.
    async fn load(&self, record: &Record) -> Ledger {
        let mut pause = Duration::from_secs(1);
        loop {
            match record.load(Timestamp::now()).await {
                Ok(ledger) => return ledger,
                Err(error) => {
                    let failure = crate::error::api_sentence(&error);
                    tracing::warn!(
                        failure,
                        "No DebugBundle is created by itself until the operator's Lease can be read"
                    );
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_mins(1));
        }
    }

    /// Forgets the DebugBundles that went while this instance did not lead. Until the list of this term the watch's
    /// store has the state of an earlier one, so this asks the API server. Returns whether there were any; without an
    /// answer none is forgotten.
    async fn forget_gone(&self, ledger: &mut Ledger) -> bool {
        let living = lists::living(&self.client, &self.namespace).await;
        ledger.begin_term(living.as_ref().unwrap_or(&ledger.kept().clone()))
    }

    /// Publishes a Warning Event on a target.
    async fn announce(&self, Announcement { target, reason, note }: Announcement) {
        let named = Target { kind: target.kind, name: target.name };
        let reference = notify::target_reference(&named, &self.namespace, &target.uid);
        self.notifier.warning_about(&reference, reason, &note).await;
    }

    fn changes(&self) -> impl Stream<Item = Change> + use<> {
        let config = || watcher::Config::default().page_size(PAGE);
        let targets = |kind: TargetKind| {
            let resource = ApiKind::of(&Kind::of(kind.as_str()))?.resource();
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
            let changes = watcher(api, config()).default_backoff();
            Some(changes.map(move |event| Change::Target(kind, Box::new(event))).boxed())
        };
        let policies: Api<DebugBundlePolicy> = Api::namespaced(self.client.clone(), &self.namespace);
        let policies =
            watcher(policies, config()).default_backoff().map(|event| Change::Policy(Box::new(event))).boxed();
        let targets = [TargetKind::Backup, TargetKind::Restore].into_iter().filter_map(targets);
        stream::select_all(targets.chain([policies]))
    }
}

/// The state of the automatic part.
struct Task {
    automatic: Automatic,
    record: Record,
    ledger: Ledger,
    /// The ledger differs from the recorded one.
    unsaved: bool,
    /// When the ledger was last recorded, or that was tried.
    saved: Option<Instant>,
    policy: Option<DebugBundlePolicy>,
    /// The policy of a list that has not ended yet.
    listed_policy: Option<DebugBundlePolicy>,
    /// A watch reported the policy, or that there is none, and the rules do not follow it yet.
    policy_changed: bool,
    /// The rules in force: those of the policy, or of the last one that worked. Until it is known whether there is a
    /// policy, and if none has ever worked, there are no rules and no DebugBundle is created.
    rules: Option<Rules>,
    /// Why the policy is not followed.
    invalid: Option<String>,
    /// What the policy's author should know of the location that its template names.
    location: TemplateLocation,
    targets: Targets,
    room: Room,
    announcements: Announcements,
    /// Kinds of which no running target counts as stuck, because the objects below it may not be read; a sentence.
    unseen_hangs: BTreeMap<TargetKind, String>,
    /// Kinds whose refused watch is in the log: each refusal is logged once.
    refusals_logged: BTreeSet<String>,
    /// The policy's status as last written.
    reported: Option<DebugBundlePolicyStatus>,
}

impl Task {
    async fn begin(automatic: Automatic) -> Self {
        let record = Record::new(Api::namespaced(automatic.client.clone(), &automatic.namespace));
        let mut ledger = automatic.load(&record).await;
        let unsaved = automatic.forget_gone(&mut ledger).await;
        Self {
            ledger,
            record,
            unsaved,
            saved: None,
            policy: None,
            listed_policy: None,
            policy_changed: false,
            rules: None,
            invalid: None,
            location: TemplateLocation::default(),
            targets: Targets::default(),
            room: Room::default(),
            announcements: Announcements::default(),
            unseen_hangs: BTreeMap::new(),
            refusals_logged: BTreeSet::new(),
            reported: None,
            automatic,
        }
    }

    async fn work(&mut self) {
        let mut changes = Box::pin(self.automatic.changes().peekable());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.next() => {
                    let Some(change) = change else { return };
                    self.take(change);
                    for _ in 0..AT_ONCE {
                        let Some(Some(change)) = changes.next().now_or_never() else { break };
                        self.take(change);
                    }
                    self.follow_policy().await;
                    self.decide().await;
                    // One of many failures must not wait for the record of the one before; the next tick saves it.
                    let just_saved = self.saved.is_some_and(|saved| saved.elapsed() < SAVE_PAUSE);
                    if !just_saved && changes.as_mut().peek().now_or_never().is_none() {
                        self.save().await;
                    }
                }
                _ = tick.tick() => self.tick().await,
            }
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Target(kind, event) => match *event {
                Ok(event) => self.targets.take(kind, event),
                Err(error) => {
                    let consequence = "The kind cannot be watched: its objects lead to no DebugBundle";
                    self.interrupted(&error, kind.as_str(), consequence);
                }
            },
            Change::Policy(event) => self.take_policy(*event),
        }
    }

    fn take_policy(&mut self, event: Result<Event<DebugBundlePolicy>, watcher::Error>) {
        match event {
            Ok(Event::Init) => self.listed_policy = None,
            Ok(Event::InitApply(policy)) if policy.name_any() == POLICY_NAME => self.listed_policy = Some(policy),
            Ok(Event::InitDone) => {
                let listed = self.listed_policy.take();
                self.see_policy(listed);
            }
            Ok(Event::Apply(policy)) if policy.name_any() == POLICY_NAME => self.see_policy(Some(policy)),
            Ok(Event::Delete(policy)) if policy.name_any() == POLICY_NAME => self.see_policy(None),
            Ok(_) => {}
            Err(error) => {
                // Without CustomResourceDefinition there is no policy to follow. Without permission there may be one.
                let none = is_unknown(&error) || refused(&error) && !self.ledger.knows_a_policy();
                let consequence = match self.rules {
                    None if !none => "The DebugBundlePolicy cannot be read: no DebugBundle is created until it can",
                    _ => "The DebugBundlePolicy cannot be watched: changes of it have no effect",
                };
                if none && self.rules.is_none() {
                    self.see_policy(None);
                }
                self.interrupted(&error, "DebugBundlePolicy", consequence);
            }
        }
    }

    fn see_policy(&mut self, policy: Option<DebugBundlePolicy>) {
        self.policy = policy;
        self.policy_changed = true;
    }

    /// Logs once for each kind that it cannot be watched, and what follows. Other errors pass without help.
    fn interrupted(&mut self, error: &watcher::Error, kind: &str, consequence: &str) {
        if !refused(error) {
            tracing::debug!(%error, kind, "A watch was interrupted");
        } else if self.refusals_logged.insert(kind.to_owned()) {
            tracing::warn!(%error, kind, "{consequence}");
        }
    }

    /// Applies the rules of a policy that was reported. If it is invalid, the last one that worked stays in force, also
    /// that of an earlier process.
    async fn follow_policy(&mut self) {
        if !std::mem::take(&mut self.policy_changed) {
            return;
        }
        self.location = TemplateLocation::default();
        let spec = self.policy.as_ref().map(|policy| policy.spec.clone()).unwrap_or_default();
        let read = rules_of(spec).await;
        // Rules that are in force without a policy are the defaults.
        let had_none = !self.ledger.knows_a_policy();
        // The policy on record is that of an earlier process, too.
        let works = read.as_ref().ok().map(Rules::spec);
        let is_new = self.ledger.follow(self.policy.as_ref(), works, Timestamp::now());
        self.unsaved |= is_new;
        let error = match read {
            Ok(rules) => {
                (self.rules, self.invalid) = (Some(rules), None);
                return;
            }
            Err(error) => error,
        };
        if self.rules.is_none() || had_none {
            self.rules = match self.ledger.last_that_worked().cloned() {
                Some(worked) => rules_of(worked).await.ok(),
                None => None,
            };
        }
        let message = report::invalid(&error, self.rules.is_some());
        if is_new || self.invalid.is_none() {
            tracing::warn!(message, "The DebugBundlePolicy is invalid");
            if let Some(policy) = &self.policy {
                let reference = policy.object_ref(&());
                self.automatic.notifier.warning_about(&reference, Reason::InvalidSpec, &message).await;
            }
        }
        self.invalid = Some(message);
    }

    /// Judges each target that is due, reads the objects below each target that may hang, and creates the DebugBundles.
    async fn decide(&mut self) {
        let Some(rules) = self.rules.clone() else { return };
        let now = Timestamp::now();
        let uids = self.targets.due(now);
        let (mut due, looks) = self.judge(uids, &rules, now);
        // What is read decides at once: a hang is reported when it is one.
        let read = self.look_below(looks, &rules, now).await;
        due.extend(self.judge(read, &rules, now).0);
        self.create(due, &rules, now).await;
        let (automatic, announced) = (&self.automatic, self.announcements.take(Timestamp::now()));
        let announced = stream::iter(announced).map(|due| automatic.announce(due));
        announced.buffer_unordered(REQUESTS).collect::<()>().await;
    }

    /// Judges these targets. Returns those that are to get a DebugBundle, and those whose objects below must be read.
    fn judge(
        &mut self,
        uids: impl IntoIterator<Item = String>,
        rules: &Rules,
        now: Timestamp,
    ) -> (Vec<(Watched, Trigger)>, Vec<Watched>) {
        let (mut due, mut looks) = (Vec::new(), Vec::new());
        let since = self.ledger.first_start;
        for uid in uids {
            let Some(tracked) = self.targets.get(&uid) else { continue };
            let (kind, created) = (tracked.watched.kind, tracked.watched.created);
            let waits = tracked.watched.stage == Stage::Waiting;
            let in_front = waits.then(|| self.targets.in_front(kind, created)).flatten();
            let in_front_unknown = waits && self.targets.is_unknown_in_front(kind, rules.stuck_after, now);
            // A creation that is tried again was wanted under an earlier policy: a change of it makes it no matter of the
            // past. The rules of now decide whether it is still wanted.
            let policy_since = self.ledger.policy_since().filter(|_| !self.targets.is_tried_again(&uid));
            let of = Circumstances { now, since, policy_since, below: tracked.below, in_front, in_front_unknown };
            match judge(&tracked.watched, rules, of) {
                Verdict::Nothing => match self.targets.give_up(&uid) {
                    Some((trigger, why)) => self.give_up(&uid, trigger, &why, rules),
                    None => self.targets.rest(&uid),
                },
                Verdict::Later(at) => self.targets.later(&uid, at),
                Verdict::LookBelow => {
                    looks.push(tracked.watched.clone());
                    self.targets.later(&uid, now);
                }
                Verdict::Create(trigger) | Verdict::LeaveOut(trigger, _) if self.is_settled(&uid, trigger) => {
                    self.targets.rest(&uid);
                }
                Verdict::LeaveOut(trigger, reason) => self.leave_out(&uid, trigger, reason),
                Verdict::Create(trigger) => due.push((tracked.watched.clone(), trigger)),
            }
        }
        (due, looks)
    }

    /// A creation did not succeed before the target's time was over.
    fn give_up(&mut self, uid: &str, trigger: Trigger, why: &str, rules: &Rules) {
        self.leave_out(uid, trigger, Reason::Refused);
        if let Some(target) = self.targets.get(uid).map(|tracked| tracked.watched.clone()) {
            let why = format!("no try succeeded within maxAge ({}): {why}", rules.spec().max_age);
            self.warn(&target, Reason::Refused, &why);
        }
    }

    fn is_settled(&self, uid: &str, trigger: Trigger) -> bool {
        self.ledger.has(uid, trigger) || self.targets.is_settled(uid, trigger)
    }

    fn leave_out(&mut self, uid: &str, trigger: Trigger, reason: Reason) {
        self.ledger.left_out(reason);
        self.unsaved = true;
        self.targets.settle(uid, trigger);
        if let Some(tracked) = self.targets.get(uid) {
            let target = tracked.watched.words();
            tracing::info!(
                subject = target,
                trigger = trigger.as_str(),
                reason = reason.as_str(),
                "No DebugBundle is created"
            );
        }
    }

    /// Reads the objects below these targets, up to [`LOOKS`] of them. Returns the UIDs of those that were read.
    async fn look_below(&mut self, mut looks: Vec<Watched>, rules: &Rules, now: Timestamp) -> Vec<String> {
        looks.truncate(LOOKS);
        let enough = now.checked_sub(rules.stuck_after).unwrap_or(Timestamp::MIN);
        let read = stream::iter(looks).map(|target| {
            let (client, namespace) = (&self.automatic.client, &self.automatic.namespace);
            async move { (movement::last_below(client, namespace, &target, enough).await, target) }
        });
        let read: Vec<_> = read.buffer_unordered(REQUESTS).collect().await;
        let mut uids = Vec::new();
        for (moved, target) in read {
            match moved {
                Ok(moved) => {
                    self.unseen_hangs.remove(&target.kind);
                    self.targets.looked(&target.uid, now, moved);
                    uids.push(target.uid);
                    continue;
                }
                Err(Unread::Failed(failure)) => {
                    tracing::warn!(failure, subject = target.words(), "The objects below a target were not read");
                }
                Err(Unread::NotAllowed(why)) => self.see_no_hang(&target, why, rules).await,
            }
            self.targets.later(&target.uid, now.checked_add(judge::LOOK_EVERY).unwrap_or(Timestamp::MAX));
        }
        uids
    }

    /// A running target may hang, and the operator may not read whether its data moves: the target's own status alone
    /// would be a false alarm. Reported once for each kind, on the first target that the policy wants.
    async fn see_no_hang(&mut self, target: &Watched, why: String, rules: &Rules) {
        if rules.refusal(target, Trigger::Stuck).is_some() || self.unseen_hangs.contains_key(&target.kind) {
            return;
        }
        let kind = target.kind;
        let note = format!(
            "whether this {kind} hangs is unknown: {why}. Until then no {kind} that Velero works on counts as stuck"
        );
        tracing::warn!(subject = target.words(), why, "Whether a target hangs is unknown");
        self.unseen_hangs.insert(kind, why);
        let event = Announcement { target: target.clone(), reason: Reason::PermissionMissing, note };
        self.automatic.announce(event).await;
    }

    /// Creates DebugBundles up to the number that the rate allows. When a quota is full, none of the others fits either.
    async fn create(&mut self, due: Vec<(Watched, Trigger)>, rules: &Rules, now: Timestamp) {
        let (shares, mut tally) = (Shares::of(rules.rate_per_hour()), self.ledger.tally(now));
        let mut wanted = VecDeque::from(self.without_skipped(due).await);
        let mut beyond = Vec::new();
        let mut full = None;
        while full.is_none() {
            let mut batch = Vec::new();
            while batch.len() < REQUESTS
                && let Some((target, trigger)) = wanted.pop_front()
            {
                match tally.take(&target.group(), shares) {
                    Ok(()) => batch.push((target, trigger)),
                    Err(spent) => beyond.push((target, trigger, spent)),
                }
            }
            if batch.is_empty() {
                break;
            }
            let created = batch.into_iter().map(|(target, trigger)| {
                let wanted = bundle::of(&target, trigger, rules);
                let (automatic, room, ours) = (&self.automatic, &self.room, self.ledger.kept());
                async move { (create::create(automatic, room, ours, &wanted, &target).await, target, trigger) }
            });
            for (created, target, trigger) in join_all(created).await {
                if let Created::NoRoom(message) = &created {
                    full = Some(message.clone());
                }
                if !matches!(created, Created::Yes { .. }) {
                    // Its share may be another's.
                    tally.give_back(&target.group());
                    wanted.extend(beyond.drain(..).map(|(target, trigger, _)| (target, trigger)));
                }
                self.note(created, &target, trigger);
            }
        }
        for (target, trigger) in wanted {
            self.note(Created::NoRoom(full.clone().unwrap_or_default()), &target, trigger);
        }
        for (target, trigger, spent) in beyond {
            self.leave_out_by_rate(&target, trigger, spent, shares);
        }
    }

    /// Leaves out those whose Schedule has the label that skips them. Each Schedule is read once.
    async fn without_skipped(&mut self, due: Vec<(Watched, Trigger)>) -> Vec<(Watched, Trigger)> {
        let names: BTreeSet<String> = due.iter().filter_map(|(target, _)| target.schedule.clone()).collect();
        let read = stream::iter(names).map(|name| {
            let automatic = &self.automatic;
            async move { (skips(automatic, &name).await, name) }
        });
        let read: Vec<_> = read.buffer_unordered(REQUESTS).collect().await;
        let skipping: BTreeMap<String, Option<bool>> = read.into_iter().map(|(skips, name)| (name, skips)).collect();
        let mut wanted = Vec::new();
        for (target, trigger) in due {
            match target.schedule.as_ref().map(|name| skipping.get(name).copied().flatten()) {
                Some(Some(true)) => self.leave_out(&target.uid, trigger, Reason::Skipped),
                Some(None) => self.again(&target, trigger, "its Schedule could not be read"),
                Some(Some(false)) | None => wanted.push((target, trigger)),
            }
        }
        wanted
    }

    /// Judges the target again soon.
    fn again(&mut self, target: &Watched, trigger: Trigger, why: &str) {
        let soon = Timestamp::now().checked_add(TICK).unwrap_or(Timestamp::MAX);
        self.targets.refused(&target.uid, trigger, why.to_owned(), soon);
    }

    fn note(&mut self, created: Created, target: &Watched, trigger: Trigger) {
        match created {
            Created::Yes { name, uid } => {
                tracing::info!(name, subject = target.words(), trigger = trigger.as_str(), "Created a DebugBundle");
                let timestamp = Time(crate::status::whole_seconds(Timestamp::now()));
                self.ledger.made(target, uid, LastBundle { name, target: target.words(), trigger, timestamp });
                self.unsaved = true;
                self.targets.settle(&target.uid, trigger);
            }
            Created::NoRoom(message) => {
                self.leave_out(&target.uid, trigger, Reason::QuotaExceeded);
                self.warn(target, Reason::QuotaExceeded, &message);
            }
            Created::Refused(message) => {
                self.leave_out(&target.uid, trigger, Reason::Refused);
                self.warn(target, Reason::Refused, &message);
            }
            Created::NotNow(message) => {
                tracing::warn!(why = message, subject = target.words(), "A DebugBundle was not created; trying again");
                self.again(target, trigger, &message);
            }
        }
    }

    fn leave_out_by_rate(&mut self, target: &Watched, trigger: Trigger, spent: Spent, shares: Shares) {
        self.leave_out(&target.uid, trigger, Reason::RateLimited);
        self.warn(target, Reason::RateLimited, &spent.sentence(&target.group(), shares));
    }

    /// Reports on a target that it gets no DebugBundle.
    fn warn(&mut self, target: &Watched, reason: Reason, why: &str) {
        let note = format!(
            "no DebugBundle is created: {why}. Ask for one with: kubectl debugbundle create --{} {}",
            target.kind.as_str().to_ascii_lowercase(),
            target.name
        );
        self.announcements.add(target, reason, note, Timestamp::now());
    }

    async fn tick(&mut self) {
        self.decide().await;
        if let Some(name) = self.rules.as_ref().and_then(|rules| rules.template().storage_location.clone()) {
            self.location.look(&self.automatic, &name).await;
        }
        self.forget_gone();
        let beyond = self.beyond();
        let status = self.new_status();
        // Side by side: a failure waits for the slowest of them and not for their sum.
        let save = async { self.unsaved && save(&self.record, &mut self.ledger).await };
        let automatic = &self.automatic;
        let deletions = join_all(beyond.iter().map(|surplus| create::prune(automatic, surplus)));
        let report = async {
            let (Some(policy), Some(status)) = (&self.policy, &status) else { return false };
            report::write(automatic, policy, status).await
        };
        let (saved, _, reported) = tokio::join!(save, deletions, report);
        if saved {
            (self.unsaved, self.saved) = (false, Some(Instant::now()));
        }
        if reported {
            self.reported = status;
        }
    }

    /// Forgets the DebugBundles that the watch had reported and that are gone.
    fn forget_gone(&mut self) {
        let seen = self.automatic.bundles.state();
        let seen: HashSet<&str> = seen.iter().map(|seen| seen.uid()).collect();
        self.unsaved |= self.ledger.forget_gone(|uid| seen.contains(uid));
    }

    /// The DebugBundles that this tick deletes.
    fn beyond(&self) -> Vec<Surplus> {
        let Some(rules) = &self.rules else { return Vec::new() };
        let seen = self.automatic.bundles.state();
        let seen = seen.iter().map(AsRef::as_ref);
        let mut beyond = retention::beyond(seen, self.ledger.kept(), rules.keep_per_target(), rules.keep_total());
        beyond.truncate(DELETIONS);
        beyond
    }

    /// The policy's status, if it differs from the one last written.
    fn new_status(&self) -> Option<DebugBundlePolicyStatus> {
        let policy = self.policy.as_ref()?;
        let standing = match (&self.invalid, &self.rules) {
            (Some(why), _) => Standing::Invalid(why),
            (None, Some(rules)) if rules.is_suspended() => Standing::Suspended,
            (None, Some(_)) => Standing::InForce,
            (None, None) => return None,
        };
        let unseen = self.unseen_hangs.iter().map(|(kind, why)| format!("no running {kind} counts as stuck: {why}"));
        let warnings: Vec<String> = unseen.chain(self.location.warning().map(str::to_owned)).collect();
        let status = report::status(policy, standing, &warnings, &self.ledger, Timestamp::now());
        (self.reported.as_ref() != Some(&status)).then_some(status)
    }

    async fn save(&mut self) {
        if self.unsaved {
            self.unsaved = !save(&self.record, &mut self.ledger).await;
            self.saved = Some(Instant::now());
        }
    }
}

/// The rules of a policy. They are compiled beside the other work.
async fn rules_of(spec: DebugBundlePolicySpec) -> Result<Rules, String> {
    let read = tokio::task::spawn_blocking(move || Rules::of(spec)).await;
    read.unwrap_or_else(|_| Err("reading the policy was interrupted".to_owned()))
}

/// Whether a label on the Schedule of this name says that no DebugBundle is wanted. A Schedule that does not exist counts
/// as one without the label, and so does one that may not be read; `None`: the API server did not answer.
async fn skips(automatic: &Automatic, name: &str) -> Option<bool> {
    // A Restore may name any text; no Schedule has this name, and in a path it could lead elsewhere.
    if !is_dns_name(name) {
        return Some(false);
    }
    let resource = ApiKind::namespaced("velero.io", "v1", "schedules", "Schedule").resource();
    let schedules: Api<DynamicObject> = Api::namespaced_with(automatic.client.clone(), &automatic.namespace, &resource);
    match crate::client::in_time(schedules.get_metadata_opt(name)).await {
        Ok(schedule) => Some(schedule.is_some_and(|schedule| watched::has_skip_label(schedule.labels()))),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Some(false),
        Err(error) => {
            tracing::debug!(%error, name, "A Schedule was not read");
            None
        }
    }
}

/// Writes the ledger. Returns whether that succeeded.
async fn save(record: &Record, ledger: &mut Ledger) -> bool {
    match record.save(ledger).await {
        Ok(()) => true,
        Err(error) => {
            let failure = crate::error::api_sentence(&error);
            tracing::warn!(failure, "The operator's Lease was not written; trying again");
            false
        }
    }
}

/// Whether the API server does not know the kind of a watch.
fn is_unknown(error: &watcher::Error) -> bool {
    status(error).is_some_and(kube::core::Status::is_not_found)
}

/// Whether the API server refuses a watch, or does not know its kind.
fn refused(error: &watcher::Error) -> bool {
    status(error).is_some_and(|status| status.is_forbidden() || status.is_not_found())
}

/// The API server's answer to a watch.
fn status(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}
