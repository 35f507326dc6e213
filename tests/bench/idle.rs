//! The cost of the operator while nothing happens in a large installation, and how soon a failure has its DebugBundle.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use debugbundle_crd::{DebugBundle, DebugBundlePolicy, TARGET_NAME_LABEL};
use futures::StreamExt as _;
use harness::{Context, Operator, load::Load, until, velero_objects::restore};
use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    api::PartialObjectMeta,
    runtime::watcher::{self, Event, watcher},
};
use serde_json::{Value, json};

use super::{
    flood::until_all_ended,
    large_installation::{LargeInstallation, created},
    mib,
    quiet::quiet,
    seconds, usage,
};

const INSTALLATION: LargeInstallation = LargeInstallation { backups: 5000, restores: 2000, data: 5000, unfinished: 3 };
/// DebugBundles before the quiet time, about one Backup or Restore each.
const BUNDLES: usize = 60;
/// The logs that each of these bundles contains.
const LOGS: Load = Load { pods: 3, bytes: 1_000_000 };
/// Restores that fail after it, and the pause from one to the next.
const FAILURES: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// Time limit for their DebugBundles.
const LIMIT: Duration = Duration::from_mins(2);

/// The most memory after the quiet time.
const MEMORY: u64 = 48 << 20;
/// The most CPU time in it, in percent of one core.
const CPU: f64 = 0.5;
/// Time limit from a failure to its DebugBundle, for 99 of 100 failures.
const P99: Duration = Duration::from_secs(2);

/// Prints the cost of an operator that runs as shipped. Returns a sentence for each figure beyond its limit.
pub(super) async fn idle(context: &Arc<Context>, time: Duration) -> Vec<String> {
    println!("\n{INSTALLATION}\n");
    let began = Instant::now();
    LOGS.put(context).await;
    INSTALLATION.put(context).await;
    println!("{:<26} {:>8} s", "all are created", seconds(began.elapsed()));
    let account = context.shipped_account().await;
    let operator = Operator::of(context).named("idle").automatic().ready().await;
    // By then it has read its first lists.
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("{:<26} {:>8} {:>10.1} MiB", "the operator has started", "", mib(usage(&operator).now));
    bundles(context, &operator).await;

    let since = Timestamp::now();
    let quiet = quiet(&operator, time).await;
    let requests = context.stand.requests_since(&account.user, since);
    let per_minute = |count: usize| count as f64 * 60.0 / time.as_secs_f64();
    println!("{:<26} {:>8.1} per minute", "requests", per_minute(requests.values().sum()));
    for ((verb, _, resource), count) in &requests {
        println!("  {:<24} {:>8.1}", format!("{verb} {resource}"), per_minute(*count));
    }

    let latencies = latencies(context).await;
    let [p50, p99, most] = [50, 99, 100].map(|percent| latencies[(latencies.len() * percent).div_ceil(100) - 1]);
    println!(
        "{:<26} {:>8.3} s p50, {:.3} s p99, {:.3} s at most",
        "failure to DebugBundle",
        p50.as_secs_f64(),
        p99.as_secs_f64(),
        most.as_secs_f64()
    );
    println!("{:<26} {:>8} {:>10.1} MiB", "peak of memory in all", "", mib(usage(&operator).peak));
    let limits = [
        (
            quiet.memory > MEMORY,
            format!("the operator kept {:.1} MiB, more than {:.0}", mib(quiet.memory), mib(MEMORY)),
        ),
        (quiet.cpu > CPU, format!("the quiet operator took {:.2} % of a core, more than {CPU}", quiet.cpu)),
        (p99 > P99, format!("the p99 from a failure to its DebugBundle was {p99:.1?}, more than {P99:?}")),
    ];
    limits.into_iter().filter_map(|(beyond, why)| beyond.then_some(why)).collect()
}

/// The DebugBundles of the busy time before.
async fn bundles(context: &Arc<Context>, operator: &Operator) {
    let began = Instant::now();
    for index in 0..BUNDLES {
        let (kind, word) = if index.is_multiple_of(2) { ("Backup", "backup") } else { ("Restore", "restore") };
        let target = json!({"kind": kind, "name": format!("{word}-{:05}", 10 * index)});
        context.debug_bundle(&format!("busy-{index:02}"), json!({ "target": target })).await;
    }
    let (made, failed) = until_all_ended(context, operator).await;
    assert!(failed == 0 && made == BUNDLES, "{made} bundles were made, {failed} failed");
    let usage = usage(operator);
    println!(
        "{:<26} {:>8} s {:>8.1} MiB, {:.1} MiB peak",
        format!("{BUNDLES} bundles"),
        seconds(began.elapsed()),
        mib(usage.now),
        mib(usage.peak)
    );
}

/// From the answer to each failure's patch to the sight of its DebugBundle, the shortest first.
async fn latencies(context: &Arc<Context>) -> Vec<Duration> {
    policy(context, json!({"ratePerHour": FAILURES})).await;
    let names: Vec<String> = (0..FAILURES).map(|index| format!("late-{index:03}")).collect();
    let running = names.iter().map(|name| restore(name).in_progress().started(Timestamp::now()));
    created(context, running).for_each(|_| async {}).await;
    // Velero's times have whole seconds, and what ended before the policy leads to nothing.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let mut changes = pin!(watcher(context.api::<PartialObjectMeta<DebugBundle>>(), watcher::Config::default()));
    while !matches!(changes.next().await, Some(Ok(Event::InitDone))) {}
    let mut seen = BTreeMap::new();
    let seeing = tokio::time::timeout(LIMIT, async {
        while seen.len() < FAILURES {
            let change = changes.next().await;
            if let Some(Ok(Event::Apply(bundle) | Event::InitApply(bundle))) = change
                && let Some(target) = bundle.labels().get(TARGET_NAME_LABEL).filter(|target| names.contains(target))
            {
                seen.entry(target.clone()).or_insert_with(Instant::now);
            }
        }
    });
    let failing = async {
        let mut ticks = tokio::time::interval(PAUSE);
        let mut failed = Vec::new();
        for name in &names {
            ticks.tick().await;
            let ended = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let change = json!({"status": {"phase": "PartiallyFailed", "completionTimestamp": ended}});
            context.patch_velero("Restore", name, change).await;
            failed.push((name, Instant::now()));
        }
        failed
    };
    let (_, failed) = tokio::join!(seeing, failing);
    let without: Vec<_> = failed.iter().filter(|(name, _)| !seen.contains_key(*name)).collect();
    assert!(without.is_empty(), "{} failures have no DebugBundle after {LIMIT:?}", without.len());
    let mut latencies: Vec<_> = failed.iter().map(|(name, at)| seen[*name].saturating_duration_since(*at)).collect();
    latencies.sort();
    latencies
}

/// Creates the policy, and waits until the operator follows it.
async fn policy(context: &Arc<Context>, spec: Value) {
    context.create::<DebugBundlePolicy>(json!({"metadata": {"name": "default"}, "spec": spec})).await;
    until(LIMIT, "the operator follows the policy", || async {
        let policy = context.api::<DebugBundlePolicy>().get("default").await.map_err(|error| error.to_string())?;
        policy.status.map(|_| ()).ok_or_else(|| "no status yet".to_owned())
    })
    .await;
}
