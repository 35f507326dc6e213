//! The cost of thousands of DebugBundles at once for the operator: the peak of its memory, its requests to the API
//! server, and the time until all have ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use debugbundle_crd::{DebugBundle, Phase};
use futures::{StreamExt as _, stream};
use harness::{Context, Operator};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{Row, mib, quiet::quiet, seconds, usage};

/// The operator's memory limit, as shipped.
const PEAK: u64 = 256 << 20;
/// One bundle in this many is about the installation; the others name a Restore that does not exist.
const REAL: usize = 50;
/// Parallel requests while creating them.
const AT_ONCE: usize = 16;
/// Time limit for all of them.
const LIMIT: Duration = Duration::from_hours(1);

/// This many bundles at once, by an operator with only the shipped permissions, and then a quiet time.
pub(super) async fn flood(context: &Arc<Context>, bundles: usize, time: Duration) -> Vec<Row> {
    println!(
        "\n{bundles} DebugBundles at once, one of {REAL} about the installation, the others about nothing that is there\n"
    );
    let account = context.shipped_account().await;
    let operator = Operator::of(context).named("flood").as_user(&account.kubeconfig).ready().await;
    println!("{:<26} {:>8} {:>8.1} MiB", "before", "", mib(usage(&operator).now));
    let began = Instant::now();
    stream::iter(0..bundles)
        .map(|index| async move { context.debug_bundle(&format!("flood-{index:05}"), spec(index)).await })
        .buffer_unordered(AT_ONCE)
        .for_each(|_| async {})
        .await;
    println!("{:<26} {:>8} s {:>8.1} MiB", "all are created", seconds(began.elapsed()), mib(usage(&operator).now));
    let (completed, failed) = until_all_ended(context, &operator).await;
    let wall = began.elapsed();
    let calls = context.stand.calls_by_second(&account.user);
    let (sent, busiest) = (calls.values().sum::<usize>(), calls.values().max().copied().unwrap_or(0));
    let at_end = usage(&operator);
    println!(
        "{:<26} {:>8} s {:>8.1} MiB, {:.1} MiB peak, {} s CPU; {completed} have a bundle, {failed} have none",
        "all have ended",
        seconds(wall),
        mib(at_end.now),
        mib(at_end.peak),
        seconds(at_end.cpu)
    );
    println!(
        "requests: {sent}, {:.0} per second on average, {busiest} in the busiest second",
        sent as f64 / wall.as_secs_f64()
    );
    quiet(&operator, time).await;
    let logs =
        if at_end.peak < PEAK && operator.exited().is_none() { Ok(0) } else { Err("too much memory".to_owned()) };
    vec![Row { who: "flood".to_owned(), wall, usage: usage(&operator), bundle: 0, logs }]
}

fn spec(index: usize) -> Value {
    if index.is_multiple_of(REAL) { json!({}) } else { json!({"target": {"kind": "Restore", "name": "nowhere"}}) }
}

/// The number of bundles that ended with an archive, and the number that ended without.
pub(super) async fn until_all_ended(context: &Arc<Context>, operator: &Operator) -> (usize, usize) {
    let began = Instant::now();
    loop {
        assert!(operator.exited().is_none(), "the operator ended: {}", operator.process().tail(5));
        assert!(began.elapsed() < LIMIT, "not all have ended within {LIMIT:?}");
        let mut phases = Vec::new();
        let mut page = ListParams::default().limit(500);
        loop {
            let listed =
                context.api::<DebugBundle>().list(&page).await.unwrap_or_else(|error| panic!("a list: {error}"));
            phases.extend(listed.items.iter().map(|bundle| bundle.status.as_ref().and_then(|status| status.phase)));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        let ended = phases.iter().flatten().filter(|phase| phase.is_terminal()).count();
        if ended == phases.len() {
            let failed = phases.iter().flatten().filter(|phase| **phase == Phase::Failed).count();
            return (ended - failed, failed);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
