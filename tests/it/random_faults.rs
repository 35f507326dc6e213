//! Two minutes of random faults for an operator that also creates DebugBundles by itself. When the faults have ended
//! and all has settled, the test checks the operator's promises from outside (docs/reliability.md). The schedule comes
//! from a seed, which is printed first; `DEBUGBUNDLE_SEED=<seed>` repeats it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use debugbundle_crd::{DebugBundle, Phase, TARGET_UID_LABEL, TRIGGER_LABEL};
use harness::s3_proxy::{S3Fault, S3Proxy};
use harness::usage::Usage;
use harness::velero_objects::restore;
use harness::{ApiFault, ApiProxy, Context, Operator, Proxy, ProxyFault, tools, until, with_namespace};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use rustix::process::Signal;
use serde_json::json;

use crate::support::bundles::{
    LIMIT, PARTS, about_r1, condition, delete, events, is_stored, keys, noise, phase, s3_proxy_before_store,
    server_pod, slow_log, spool_is_empty, status, until_nothing_is_stored, velero_objects,
};

/// How long faults happen.
const FAULTS: Duration = Duration::from_mins(2);
/// The longest time for all to settle then: some pauses after failures are longer than a minute.
const TO_SETTLE: Duration = Duration::from_mins(5);
/// How long nothing may be written after that.
const STILL: Duration = Duration::from_secs(15);
/// The most DebugBundles that the test asks for. The sweep removes no more than 20 without a person.
const MOST_ASKED: usize = 18;
/// The most Restores that fail: with more, the rate of automatic DebugBundles would count.
const MOST_FAILED: usize = 9;
/// The operator's most memory, in bytes.
const MEMORY: u64 = 128 << 20;
/// The most Events of one DebugBundle.
const MOST_EVENTS: usize = 10;

#[tokio::test]
async fn after_two_minutes_of_random_faults_every_promise_holds() {
    let given = std::env::var("DEBUGBUNDLE_SEED").ok();
    let fresh = || Timestamp::now().as_nanosecond().rem_euclid(1_000_000_007).to_string();
    let seed = given.unwrap_or_else(fresh);
    tools::say(&format!("random faults: DEBUGBUNDLE_SEED={seed}"));
    let dice = Dice(seed.parse::<u64>().expect("DEBUGBUNDLE_SEED is a number").wrapping_add(1));
    with_namespace("random", |context| async move {
        let mut faults = Faults::begin(context.clone(), dice).await;
        while faults.began.elapsed() < FAULTS {
            faults.now_and_then().await;
        }
        faults.end().await;
        faults.settled().await;
        faults.promises_hold().await;
    })
    .await;
}

/// Numbers that follow from the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    fn count(&mut self, most: u8) -> usize {
        usize::try_from(self.below(most.into())).expect("small") + 1
    }
}

/// A state that ends at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasting {
    /// The operator's process does not exist.
    Down,
    /// The operator's process is stopped (SIGSTOP).
    Paused,
    /// The operator does not reach the API server.
    ApiCut,
    /// The operator does not reach the store.
    StoreAway,
}

struct Faults {
    context: Arc<Context>,
    /// The operator's user.
    user: String,
    /// What others put into the bucket.
    objects: Vec<String>,
    dice: Dice,
    began: Instant,
    operator: Operator,
    /// Before the API server: cuts connections, then loses replies.
    line: Proxy,
    api: ApiProxy,
    store: S3Proxy,
    lasting: Vec<(Lasting, Instant)>,
    /// The operator was asked to stop and must do so before this time.
    must_end: Option<Instant>,
    asked: usize,
    /// UIDs of the Restores that failed, by name.
    failed: BTreeMap<String, String>,
    /// Targets' UIDs whose automatic DebugBundle the test deleted.
    deleted: Vec<String>,
}

impl Faults {
    async fn begin(context: Arc<Context>, dice: Dice) -> Self {
        velero_objects(&context).await;
        server_pod(&context, slow_log(20_000, 20_000)).await;
        // Bundles about this Restore are sent in parts.
        let log: String = noise(60_000).map(|line| line + "\n").collect();
        context.bucket.put_gzipped("team-a/restores/r1/restore-r1-logs.gz", log).await;
        let store = s3_proxy_before_store(&context).await;
        let account = context.shipped_account().await;
        let api = ApiProxy::of(&account).await;
        let line = Proxy::before(&api.endpoint());
        let behind = account.through(&line.endpoint());
        let operator = Operator::of(&context).automatic().as_user(&behind.kubeconfig).args(PARTS);
        let operator = operator.args(["--sweep-seconds", "1"]).ready().await;
        // A Restore that failed before the operator's first start would get no DebugBundle.
        until(LIMIT, "the first start is on record", || async {
            let lease = context.api::<Lease>().get("debugbundle-operator").await.map_err(|error| error.to_string())?;
            lease.annotations().contains_key("debugbundle.io/automatic").then_some(()).ok_or(format!("{lease:?}"))
        })
        .await;
        Self {
            user: account.user,
            objects: context.bucket.keys("").await,
            context,
            dice,
            began: Instant::now(),
            operator,
            line,
            api,
            store,
            lasting: Vec::new(),
            must_end: None,
            asked: 0,
            failed: BTreeMap::new(),
            deleted: Vec::new(),
        }
    }

    /// Ends what has lasted long enough, lets something happen, and waits a moment.
    async fn now_and_then(&mut self) {
        self.tick().await;
        self.something_happens().await;
        // Random on purpose; there is no condition to wait for.
        tokio::time::sleep(self.dice.millis(100, 2000)).await;
    }

    async fn something_happens(&mut self) {
        match self.dice.below(16) {
            0..=2 if self.asked < MOST_ASKED => self.ask().await,
            3..=5 if self.failed.len() < MOST_FAILED => self.fail_a_restore().await,
            6 => self.delete_one().await,
            7 => {
                self.note("kill -9");
                self.operator.kill9();
            }
            // A process that has logged listens for signals.
            8 if self.must_end.is_none()
                && !self.is(Lasting::Paused)
                && !self.is(Lasting::Down)
                && !self.operator.log().is_empty() =>
            {
                self.note("SIGTERM");
                self.operator.terminate();
                self.must_end = Some(Instant::now() + Duration::from_secs(30));
            }
            9 if self.must_end.is_none() => {
                self.operator.process().signal(Signal::STOP);
                self.lasts(Lasting::Paused, 14_000);
            }
            10 => {
                let how = ProxyFault { hold: self.dice.below(2) == 0, ..ProxyFault::default() };
                self.line.set(ProxyFault { refuse: !how.hold, ..how });
                self.lasts(Lasting::ApiCut, 14_000);
            }
            11 => {
                self.store.down(true);
                self.lasts(Lasting::StoreAway, 14_000);
            }
            12 => {
                let times = self.dice.count(10);
                self.note(format!("the store answers 503 {times} times"));
                self.store.next(times, |_| true, S3Fault::Refuse(503, "SlowDown"));
            }
            13 => {
                self.note("the store's reply to a write is lost");
                self.store.next(1, |seen| ["PUT", "POST", "DELETE"].contains(&&*seen.method), S3Fault::LoseReply);
            }
            14 => {
                let times = self.dice.count(3);
                self.note(format!("the API server's replies to {times} writes are lost"));
                let writes = |line: &str| line.contains("/debugbundles") && !line.starts_with("GET");
                self.api.next(times, writes, ApiFault::LoseReply);
            }
            15 => {
                self.note("watches expire");
                self.line.set(ProxyFault { refuse: true, ..ProxyFault::default() });
                self.api.next(3, |line| line.contains("watch=true"), ApiFault::Expired);
                if !self.is(Lasting::ApiCut) {
                    self.lasts(Lasting::ApiCut, 200);
                }
            }
            _ => {}
        }
    }

    /// As a kubelet, starts the operator again when it has ended; ends what has lasted long enough.
    async fn tick(&mut self) {
        if let Some(code) = self.operator.exited()
            && !self.is(Lasting::Down)
        {
            let asked = self.must_end.take().is_some();
            assert!(code == 137 || (asked && code == 0), "it ended with {code}: {}", self.operator.process().tail(20));
            self.lasting.retain(|(lasting, _)| *lasting != Lasting::Paused);
            self.lasts(Lasting::Down, 4000);
        }
        assert!(self.must_end.is_none_or(|end| Instant::now() < end), "it does not end");
        let now = Instant::now();
        let (over, still) = std::mem::take(&mut self.lasting).into_iter().partition(|(_, until)| *until <= now);
        self.lasting = still;
        for (lasting, _) in over {
            self.over(lasting).await;
        }
    }

    async fn over(&mut self, lasting: Lasting) {
        self.note(format!("over: {lasting:?}"));
        match lasting {
            Lasting::Down => {
                self.did_not_panic();
                self.operator.restart().await;
            }
            Lasting::Paused => self.operator.process().signal(Signal::CONT),
            Lasting::ApiCut => self.line.pass(),
            Lasting::StoreAway => self.store.down(false),
        }
    }

    fn is(&self, lasting: Lasting) -> bool {
        self.lasting.iter().any(|(of, _)| *of == lasting)
    }

    fn lasts(&mut self, lasting: Lasting, most_millis: u64) {
        let time = self.dice.millis(most_millis / 20, most_millis);
        self.note(format!("{lasting:?} for {time:?}"));
        self.lasting.retain(|(of, _)| *of != lasting);
        self.lasting.push((lasting, Instant::now() + time));
    }

    fn note(&self, what: impl Display) {
        println!("{:>6.1} s  {what}", self.began.elapsed().as_secs_f32());
    }

    async fn ask(&mut self) {
        self.asked += 1;
        let name = format!("asked-{}", self.asked);
        let spec = if self.dice.below(4) == 0 { about_r1() } else { json!({}) };
        self.note(format!("{name}: {spec}"));
        self.context.debug_bundle(&name, spec).await;
    }

    async fn fail_a_restore(&mut self) {
        let name = format!("bad-{}", self.failed.len());
        self.note(format!("{name} fails"));
        let restore = restore(&name).in_progress().started(Timestamp::now());
        let uid = self.context.create_velero(restore).await.uid().expect("a UID");
        self.context.end_velero("Restore", &name, "Failed").await;
        self.failed.insert(name, uid);
    }

    async fn delete_one(&mut self) {
        let all = self.all().await;
        if all.is_empty() {
            return;
        }
        let one = &all[self.dice.count(u8::try_from(all.len()).expect("few")) - 1];
        self.note(format!("{} is deleted in phase {:?}", one.name_any(), phase(one)));
        self.deleted.extend(one.labels().get(TARGET_UID_LABEL).cloned());
        delete(&self.context, &one.name_any()).await;
    }

    async fn all(&self) -> Vec<DebugBundle> {
        self.context.api::<DebugBundle>().list(&ListParams::default()).await.expect("they can be listed").items
    }

    /// No fault is left, and the operator runs.
    async fn end(&mut self) {
        self.note("the faults end");
        self.api.pass();
        for (lasting, _) in std::mem::take(&mut self.lasting) {
            self.over(lasting).await;
        }
        if self.must_end.is_some() {
            self.operator.wait_exit(Duration::from_secs(30)).await;
        }
        if self.operator.exited().is_some() {
            self.over(Lasting::Down).await;
        }
    }

    /// Every DebugBundle ends, and every Restore that failed has one.
    async fn settled(&self) {
        until(TO_SETTLE, "all settles", || async {
            let all = self.all().await;
            let unfinished: Vec<_> = all.iter().filter(|bundle| !phase(bundle).is_terminal()).collect();
            if let Some(bundle) = unfinished.first() {
                return Err(format!("{} of {}: {:?}", unfinished.len(), bundle.name_any(), status(bundle)));
            }
            let of = |uid: &String| all.iter().any(|bundle| bundle.labels().get(TARGET_UID_LABEL) == Some(uid));
            match self.failed.iter().find(|(_, uid)| !of(uid) && !self.deleted.contains(uid)) {
                Some((name, _)) => Err(format!("{name} has none")),
                None => Ok(()),
            }
        })
        .await;
        self.note("all has settled");
    }

    async fn promises_hold(&self) {
        let all = self.all().await;
        let mut stored = Vec::new();
        for bundle in &all {
            self.holds_of(bundle).await;
            stored.extend(status(bundle).bundle.map(|bundle| bundle.key));
        }
        let mut ends: Vec<_> =
            all.iter().filter_map(|b| b.labels().get(TARGET_UID_LABEL).zip(b.labels().get(TRIGGER_LABEL))).collect();
        ends.sort_unstable();
        assert_eq!(ends.windows(2).find(|two| two[0] == two[1]), None, "one for each end of a Restore");
        spool_is_empty(&self.operator).await;
        self.keeps_no_deleted_file_open();
        self.is_still(&all).await;
        self.is_modest(&all).await;

        // Now the objects of DebugBundles that were deleted while no operator watched are old enough for the sweep.
        self.context.bucket.make_older(Duration::from_hours(2));
        stored.sort_unstable();
        until(LIMIT, "only what belongs to a DebugBundle is stored", || async {
            let (keys, open) = (keys(&self.context).await, self.context.bucket.unfinished().await);
            if keys == stored && open.is_empty() { Ok(()) } else { Err(format!("{keys:#?} {open:?}, not {stored:#?}")) }
        })
        .await;
        let api = self.context.api::<DebugBundle>();
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("they can be deleted");
        assert_eq!(self.all().await.len(), 0, "nothing holds them back");
        until_nothing_is_stored(&self.context).await;
        assert_eq!(self.operator.exited(), None);
        self.did_not_panic();
    }

    /// I1, I2, I7: the one object is whole, and contains or reports each item. A DebugBundle that failed has no object,
    /// or its message says why.
    async fn holds_of(&self, bundle: &DebugBundle) {
        let name = bundle.name_any();
        if phase(bundle) == Phase::Failed {
            let (_, reason, message) = condition(bundle, "Ready");
            self.note(format!("{name} failed: {reason}: {message}"));
            let uid = bundle.uid().expect("a UID");
            let left = keys(&self.context).await.into_iter().find(|key| key.contains(&uid));
            assert!(left.is_none() || message.contains("could not be deleted"), "{name}: {left:?}: {message}");
            return;
        }
        let entries = is_stored(&self.context, bundle).await;
        let manifest: serde_json::Value = serde_json::from_slice(&entries["manifest.json"]).expect("JSON");
        let is_reported = |path: &str| {
            let all = manifest["missing"].as_array().expect("a list");
            let missing = all.iter().any(|lost| lost["path"] == path);
            assert!(missing || entries.contains_key(path), "{name} says nothing of {path}; missing: {all:#?}");
        };
        // Where the pods could not be listed, that line of the manifest reports the logs, too.
        let unlisted = manifest["missing"].as_array().expect("a list").iter().any(|lost| {
            lost["what"]
                .as_str()
                .is_some_and(|what| what.ends_with(" the logs of Velero's server, node-agents and plugins"))
        });
        if !unlisted {
            is_reported(&format!("namespaces/{}/pods/velero-1/velero/velero/logs/current.log", self.context.namespace));
        }
        if let Some(target) = bundle.spec.target.as_ref() {
            is_reported(&format!("velero/restores/{}/restore.log", target.name));
        }
    }

    /// I6: nothing is written any more.
    async fn is_still(&self, before: &[DebugBundle]) {
        let versions =
            |all: &[DebugBundle]| all.iter().map(|b| (b.name_any(), b.resource_version())).collect::<BTreeMap<_, _>>();
        tokio::time::sleep(STILL).await;
        assert_eq!(versions(&self.all().await), versions(before));
    }

    /// I8, I9, I10, I12: memory and Events have their bounds, no secret was logged or published, and nothing of Velero's
    /// was written.
    async fn is_modest(&self, all: &[DebugBundle]) {
        let peak = Usage::of(self.operator.process().pid()).expect("it runs").peak;
        assert!(peak <= MEMORY, "{} MiB", peak >> 20);
        let mut texts = vec![format!("{:?}", self.operator.log())];
        for bundle in all {
            let events = events(&self.context, &bundle.name_any()).await;
            assert!(events.len() <= MOST_EVENTS, "{}: {events:#?}", bundle.name_any());
            texts.push(format!("{events:?} {:?}", status(bundle).conditions));
        }
        for text in texts {
            assert!(!text.contains(&self.context.stand.s3.root().secret), "the credential of the store: {text}");
            assert!(!text.contains("X-Amz-Signature"), "a signature: {text}");
        }
        let mut elsewhere = self.context.bucket.keys("").await;
        elsewhere.retain(|key| !key.contains("/plugins/debugbundle/"));
        assert_eq!(elsewhere, self.objects);
        let requests = self.context.stand.requests_of(&self.user);
        let reads = ["get", "list", "watch"];
        let written = requests.iter().find(|(verb, group, _)| group == "velero.io" && !reads.contains(&verb.as_str()));
        assert_eq!(written, None);
    }

    fn keeps_no_deleted_file_open(&self) {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.operator.process().pid())).expect("it runs");
        let open = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        let gone: Vec<_> = open.filter(|file| file.to_string_lossy().ends_with(" (deleted)")).collect();
        assert!(gone.is_empty(), "{gone:?}");
    }

    fn did_not_panic(&self) {
        let log = self.operator.log();
        let panic = log.iter().find(|line| line.to_string().to_lowercase().contains("panicked"));
        assert_eq!(panic, None);
    }
}
