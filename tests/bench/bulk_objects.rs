//! The cost of a bundle over very many small objects: items per second, API requests per item, and the peak of memory.

use std::{path::Path, sync::Arc};

use harness::{Context, Operator, bulk_objects::BulkObjects, load::Held};
use serde_json::{Value, json};

use super::{Row, mib, seconds, stored, usage};

/// The objects that `--crowd` creates.
pub(super) const OBJECTS: BulkObjects = BulkObjects { pods: 500, containers: 3, bytes: 20_000, events: 20_000 };

/// One bundle of the installation, by an operator with only the shipped permissions.
pub(super) async fn measure(context: &Arc<Context>) -> Vec<Row> {
    let BulkObjects { pods, containers, bytes, events } = OBJECTS;
    println!("\n{pods} pods with {containers} containers each, logs of {bytes} bytes, {events} Events\n");
    OBJECTS.put(context).await;
    let account = context.shipped_account().await;
    let operator = Operator::of(context).named("crowd").as_user(&account.kubeconfig).ready().await;
    let before = context.stand.calls_of(&account.user);
    let began = std::time::Instant::now();
    context.debug_bundle("crowd", json!({})).await;
    let key = stored(context, &operator, "crowd").await;
    let wall = began.elapsed();
    let calls = context.stand.calls_of(&account.user) - before;
    let usage = usage(&operator);
    drop(operator);
    let file = context.bucket.folder().join(key);
    let bundle = std::fs::metadata(&file).map_or(0, |meta| meta.len());
    let logs = looked_at(&file, calls);
    println!("{:<26} {:>8} s wall, {} s CPU, {:.1} MiB peak", "", seconds(wall), seconds(usage.cpu), mib(usage.peak));
    vec![Row { who: "operator (crowd)".to_owned(), wall, usage, bundle, logs }]
}

/// Prints figures from the manifest; returns the bytes of log, or an error if a log is incomplete.
fn looked_at(archive: &Path, calls: usize) -> Result<u64, String> {
    let held = Held::by(archive).map_err(|error| format!("{}: {error}", archive.display()))?;
    let manifest = held.manifest.ok_or("there is no manifest")?;
    let entries = manifest["entries"].as_array().ok_or("a manifest has entries")?;
    let logs = entries.iter().filter(|entry| entry["source"]["kind"] == "PodLog");
    let (count, bytes) =
        logs.fold((0_usize, 0_u64), |(n, sum), entry| (n + 1, sum + entry["bytes"].as_u64().unwrap_or(0)));
    let of_list = |entry: &Value| match entry["source"]["kind"].as_str() {
        Some("List") => entry["source"]["items"].as_u64().unwrap_or(0),
        Some("Generated") | None => 0,
        Some(_) => 1,
    };
    let things: u64 = entries.iter().map(of_list).sum();
    let items = manifest["totals"]["wanted"].as_u64().unwrap_or(0);
    let collecting = manifest["timings"]["collect"].as_u64().unwrap_or(0).max(1) as f64 / 1000.0;
    println!("items: {items} in {collecting:.1} s: {:.0} items/s", items as f64 / collecting);
    println!(
        "objects and logs in the bundle: {things} ({count} logs); API calls: {calls}, {:.3} for each of them",
        calls as f64 / things.max(1) as f64
    );
    if count < OBJECTS.pods * OBJECTS.containers {
        return Err(format!("{count} of {} logs", OBJECTS.pods * OBJECTS.containers));
    }
    Ok(bytes)
}
