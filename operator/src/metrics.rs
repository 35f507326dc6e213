//! What an on-call wants to know, as OpenMetrics text at `/metrics`. The program makes one value and hands it down. No
//! label holds a name of a target, a namespace or a DebugBundle, or a message.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use debugbundle_crd::{Reason, Stage, Trigger};
use debugbundle_format::manifest::Missing;
use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use crate::{diagnose::FindingKind, probe_step::ProbeStep};

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Label = (&'static str, String);
type Counters<const N: usize> = Family<[Label; N], Counter>;
type Histograms = Family<[Label; 1], Histogram, fn() -> Histogram>;
type Look = Box<dyn Fn(&Gauges) + Send + Sync>;

/// All metrics of one process; copies share them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

struct Inner {
    registry: Registry,
    bundles: Counters<3>,
    automatic: Counters<2>,
    stages: Histograms,
    sizes: Histogram,
    missing: Counters<1>,
    redactions: Counters<1>,
    check_hits: Counter,
    retries: Counters<2>,
    events: Counters<1>,
    requests: Counters<1>,
    gauges: Gauges,
    /// Sets the gauges before they are read.
    look: Mutex<Vec<Look>>,
}

/// What is counted at the moment of a scrape.
#[derive(Default)]
pub struct Gauges {
    /// DebugBundles that wait for a place.
    pub queued: Gauge,
    /// DebugBundles that are collected, sent, or wait for their store.
    pub under_way: Gauge,
    /// Bytes of the spool that are reserved.
    pub spool_reserved: Gauge,
    /// Bytes of the spool that may be reserved.
    pub spool_limit: Gauge,
    /// 1 if this instance leads and can list DebugBundles, else 0.
    pub leader: Gauge,
}

impl Default for Inner {
    fn default() -> Self {
        let mut all = Registry::with_prefix("debugbundle");
        let build =
            Info::new([("version", crate::VERSION), ("commit", option_env!("DEBUGBUNDLE_COMMIT").unwrap_or_default())]);
        all.register("build", "The program that runs", build);
        let bundles = Counters::<3>::default();
        all.register(
            "bundles",
            "DebugBundles that ended: Completed, PartiallyCollected or the reason of the failure; what caused them to be \
             made; id of the finding that is the cause",
            bundles.clone(),
        );
        let automatic = Counters::<2>::default();
        all.register(
            "automatic_bundles",
            "DebugBundles that the operator made by itself, counted when the cause is known, whether or not the store \
             answers: what caused them to be made; id of the finding that is the cause",
            automatic.clone(),
        );
        let stages: Histograms = Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.05, 3.0, 10)));
        all.register_with_unit("stage", "Time that a bundle spent in a stage", Unit::Seconds, stages.clone());
        let sizes = Histogram::new(exponential_buckets(16_384.0, 4.0, 9));
        all.register_with_unit("bundle_size", "Size of a stored bundle, compressed", Unit::Bytes, sizes.clone());
        let missing = Counters::<1>::default();
        all.register("missing_items", "Items that a bundle lacks, by the code in its manifest", missing.clone());
        let redactions = Counters::<1>::default();
        all.register(
            "redactions",
            "Values that were masked, by rule; all rules of users count as `user`",
            redactions.clone(),
        );
        let check_hits = Counter::default();
        all.register("self_check_hits", "Values that redaction missed and the self-check withheld", check_hits.clone());
        let retries = Counters::<2>::default();
        all.register(
            "upload_retries",
            "Failed tries to send a bundle or to read Velero's files for it, each followed by another try: the step that \
             failed, and the reason",
            retries.clone(),
        );
        let events = Counters::<1>::default();
        all.register("events", "Events that the operator published, by their reason", events.clone());
        let requests = Counters::<1>::default();
        all.register(
            "api_requests",
            "Requests to the API server, by the status of the answer; `none` without an answer",
            requests.clone(),
        );
        let gauges = Gauges::default();
        all.register("queued_bundles", "DebugBundles that wait for a place", gauges.queued.clone());
        let under_way = gauges.under_way.clone();
        all.register("bundles_under_way", "DebugBundles that are collected, sent, or wait for their store", under_way);
        let (reserved, limit) = (gauges.spool_reserved.clone(), gauges.spool_limit.clone());
        all.register_with_unit("spool_reserved", "Room of the spool that is reserved", Unit::Bytes, reserved);
        all.register_with_unit("spool_limit", "Room of the spool", Unit::Bytes, limit);
        all.register("leader", "1 if this instance leads and can list DebugBundles, else 0", gauges.leader.clone());
        let look = Mutex::default();
        Self {
            registry: all,
            bundles,
            automatic,
            stages,
            sizes,
            missing,
            redactions,
            check_hits,
            retries,
            events,
            requests,
            gauges,
            look,
        }
    }
}

impl Metrics {
    /// A DebugBundle has ended; `cause` is the id of the finding that is its cause.
    pub fn ended(&self, result: Reason, trigger: Trigger, cause: Option<&str>) {
        let labels =
            [("result", result.as_str().to_owned()), ("trigger", trigger.as_str().to_owned()), ("cause", known(cause))];
        self.0.bundles.get_or_create(&labels).inc();
    }

    /// The cause of a DebugBundle that the operator made by itself is known, or it is known that none was found.
    pub fn explained(&self, trigger: Trigger, cause: Option<&str>) {
        let labels = [("trigger", trigger.as_str().to_owned()), ("cause", known(cause))];
        self.0.automatic.get_or_create(&labels).inc();
    }

    /// A bundle of this size was stored.
    #[expect(clippy::cast_precision_loss, reason = "a bucket is coarser")]
    pub fn stored(&self, bytes: u64) {
        self.0.sizes.observe(bytes as f64);
    }

    /// A bundle left a stage.
    pub fn stage(&self, stage: Stage, took: Duration) {
        let labels = [("stage", format!("{stage:?}"))];
        self.0.stages.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A bundle was sealed: what it lacks, what was masked by rule, and the hits of the self-check.
    pub fn sealed(&self, missing: &[Missing], redactions: &BTreeMap<String, u64>, check_hits: usize) {
        for Missing { code, .. } in missing {
            self.0.missing.get_or_create(&[("code", format!("{code:?}"))]).inc();
        }
        for (rule, count) in redactions {
            let rule = if rule.starts_with("user-") { "user" } else { rule };
            self.0.redactions.get_or_create(&[("rule", rule.to_owned())]).inc_by(*count);
        }
        self.0.check_hits.inc_by(u64::try_from(check_hits).unwrap_or(u64::MAX));
    }

    /// A try to send a bundle failed at this step on the way to the store, if at one, and another try follows.
    pub fn upload_retried(&self, step: Option<ProbeStep>, reason: Reason) {
        let step = step.map_or("none", ProbeStep::word).to_owned();
        self.0.retries.get_or_create(&[("step", step), ("reason", reason.as_str().to_owned())]).inc();
    }

    /// An Event is published.
    pub fn event(&self, reason: Reason) {
        self.0.events.get_or_create(&[("reason", reason.as_str().to_owned())]).inc();
    }

    /// The API server answered with this status; `None`: it did not answer.
    pub fn api_request(&self, status: Option<u16>) {
        let code = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.0.requests.get_or_create(&[("code", code)]).inc();
    }

    /// Calls `look` before each scrape, to set the gauges.
    pub fn at_each_scrape(&self, look: impl Fn(&Gauges) + Send + Sync + 'static) {
        self.0.look.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(look));
    }

    /// All metrics in the format of [`MEDIA_TYPE`].
    pub fn text(&self) -> String {
        for look in self.0.look.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            look(&self.0.gauges);
        }
        let mut out = String::new();
        // Writing to memory does not fail.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }
}

/// The label of a finding's id. The id may come from a status, which a user with the right can write.
fn known(id: Option<&str>) -> String {
    let known = |id: &str| FindingKind::ALL.iter().map(|kind| kind.id()).find(|known| *known == id);
    id.map_or("none", |id| known(id).unwrap_or("other")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use debugbundle_archive::SpoolError;

    use super::*;

    #[test]
    fn what_is_counted_is_served() {
        let metrics = Metrics::default();
        metrics.ended(Reason::Completed, Trigger::Stuck, Some("data-held-up"));
        metrics.ended(Reason::Completed, Trigger::Stuck, Some("data-held-up"));
        metrics.ended(Reason::Completed, Trigger::Stuck, Some("forged"));
        metrics.stage(Stage::Seal, Duration::from_millis(20));
        metrics.sealed(&[], &BTreeMap::from([("user-1".to_owned(), 2), ("user-7".to_owned(), 3)]), 1);
        metrics.at_each_scrape(|gauges| {
            gauges.queued.set(7);
        });
        let text = metrics.text();
        for line in [
            "debugbundle_bundles_total{result=\"Completed\",trigger=\"Stuck\",cause=\"data-held-up\"} 2",
            "debugbundle_bundles_total{result=\"Completed\",trigger=\"Stuck\",cause=\"other\"} 1",
            "debugbundle_stage_seconds_count{stage=\"Seal\"} 1",
            "debugbundle_redactions_total{rule=\"user\"} 5",
            "debugbundle_self_check_hits_total 1",
            "debugbundle_queued_bundles 7",
            "# EOF",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
    }

    /// The text when each family has a series.
    fn all_served() -> String {
        let metrics = Metrics::default();
        metrics.ended(Reason::Completed, Trigger::Request, None);
        metrics.explained(Trigger::Failed, None);
        metrics.stored(1);
        metrics.stage(Stage::Seal, Duration::ZERO);
        let gone = crate::collect::no_room("a log", "a/log", &SpoolError::Full { used: 1, limit: 1 });
        metrics.sealed(&[gone], &BTreeMap::from([("github".to_owned(), 1)]), 0);
        metrics.upload_retried(Some(ProbeStep::Dns), Reason::StoreUnreachable);
        metrics.event(Reason::Completed);
        metrics.api_request(None);
        metrics.text()
    }

    #[test]
    fn the_docs_name_what_is_served() {
        let text = all_served();
        let served = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let docs = include_str!("../../docs/metrics.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `debugbundle_")?.split_once('`'));
        let in_docs =
            rows.map(|(name, _)| format!("debugbundle_{}", name.trim_end_matches("_total").trim_end_matches("_info")));
        let (served, in_docs): (BTreeSet<String>, BTreeSet<String>) =
            (served.map(str::to_owned).collect(), in_docs.collect());
        assert_eq!(served, in_docs, "docs/metrics.md");
    }

    #[test]
    fn alerts_and_dashboard_ask_for_what_is_served() {
        let text = all_served();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let served: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
        for (file, asked) in [
            ("rules.yaml", include_str!("../../deploy/monitoring/rules.yaml")),
            ("dashboard.json", include_str!("../../deploy/monitoring/dashboard.json")),
        ] {
            let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
            let found = asked.match_indices("debugbundle_").map(|(start, _)| &asked[start..]);
            let names: BTreeSet<&str> = found.filter_map(|rest| rest.split(|c| !is_part(c)).next()).collect();
            let unserved: Vec<_> = names.difference(&served).collect();
            assert!(names.len() >= 5 && unserved.is_empty(), "{file} asks for {names:?}; not served: {unserved:?}");
        }
    }
}
