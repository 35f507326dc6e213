//! Memory of the operator with many logs, or with one far too long: limits that hold in any build. `cargo measure`
//! prints the cost beside `velero debug`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use debugbundle_crd::{DebugBundle, Phase};
use harness::bulk_objects::BulkObjects;
use harness::load::{Held, Load};
use harness::usage::Usage;
use harness::{Context, LogScript, Operator, pod, until, with_namespace};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use serde_json::json;

/// Memory limit of a bundle over 100 pods with 20 MiB of log each; half of the pod's memory limit.
const PEAK: u64 = 96 << 20;

/// Makes one bundle; returns its content.
async fn made(context: &Arc<Context>, operator: &Operator, name: &str) -> Held {
    let file = stored(context, operator, name).await;
    tokio::task::spawn_blocking(move || Held::by(&file)).await.unwrap().expect("it is a tar.gz")
}

/// Waits for a bundle; returns its file.
async fn stored(context: &Arc<Context>, operator: &Operator, name: &str) -> PathBuf {
    let status = until(Duration::from_mins(4), &format!("the bundle {name} is stored"), || async {
        let bundle = context.api::<DebugBundle>().get(name).await.map_err(|error| error.to_string())?;
        let status = bundle.status.unwrap_or_default();
        let phase = status.phase.unwrap_or(Phase::New);
        if phase.is_terminal() {
            Ok(status)
        } else {
            Err(format!("{phase} {:?} {:?}", status.progress, operator.exited()))
        }
    })
    .await;
    assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
    let stored = status.bundle.expect("a completed bundle is stored");
    context.bucket.folder().join(stored.key)
}

fn assert_peak(operator: &Operator) {
    let usage = Usage::of(operator.process().pid()).expect("it runs");
    println!("{} MiB at most", usage.peak >> 20);
    assert!(usage.peak < PEAK, "the operator took {} MiB at most, {} MiB now", usage.peak >> 20, usage.now >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_pods_with_20_mib_of_log_each_are_whole_in_the_bundle_and_never_in_memory() {
    with_namespace("memory", |context| async move {
        let load = Load { pods: 40, bytes: 20 << 20 };
        load.put(&context).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("many", json!({})).await;
        let held = made(&context, &operator, "many").await;
        let bytes = load.all_in(&held, true).unwrap();
        assert!(bytes > 40 * (20 << 20), "{bytes}");
        assert_peak(&operator);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_log_of_a_gibibyte_beginning_and_end_are_kept_and_it_is_never_in_memory() {
    with_namespace("memory-huge", |context| async move {
        Load { pods: 1, bytes: 1 << 30 }.put(&context).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("huge", json!({"logs": {"maxBytesPerContainer": "8Mi"}})).await;
        let held = made(&context, &operator, "huge").await;
        let logs: Vec<_> = held.files.iter().filter(|(path, _)| path.ends_with("/current.log")).collect();
        let [(_, bytes)] = logs.as_slice() else { panic!("one log: {logs:?}") };
        assert!((7 << 20..=8 << 20).contains(*bytes), "{bytes}");
        let [marker] = held.markers.as_slice() else { panic!("one marker: {:?}", held.markers) };
        let lines = (1_u64 << 30).div_ceil(200);
        let left_out = lines * 231 - (**bytes - marker.len() as u64);
        assert!(
            marker.contains(&format!("debugbundle: {left_out} bytes, {} lines left out", left_out / 231)),
            "{marker}"
        );
        assert_peak(&operator);
    })
    .await;
}

/// A log with one line of this length among others.
fn with_a_line_of(bytes: usize, file: &Path) {
    let mut log = BufWriter::new(File::create(file).expect("a file"));
    let time = |second: i64| {
        let at = Timestamp::now().checked_sub(SignedDuration::from_secs(100 - second)).expect("a minute ago");
        format!("time=\"{at:.0}\" level=info msg=")
    };
    for n in 0..1000 {
        writeln!(log, "{}\"before it {n}\"", time(0)).expect("written");
    }
    write!(log, "{}\"dump: ", time(1)).expect("written");
    for n in 0..bytes / 16 {
        write!(log, "field{n:010} ").expect("written");
    }
    writeln!(log, "\"").expect("written");
    for n in 0..1000 {
        writeln!(log, "{}\"after it {n}\"", time(2)).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_200_mib_is_never_in_memory_and_the_lines_around_it_are_kept() {
    with_namespace("memory-line", |context| async move {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log");
        with_a_line_of(200 << 20, &file);
        let node = context.node("n").await;
        context.log("velero-1", "velero", LogScript::file(&file));
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("line", json!({"logs": {"maxBytesPerContainer": "16Mi"}})).await;
        let bundle = stored(&context, &operator, "line").await;
        let log = crate::support::bundles::entry_text(&bundle, "velero/logs/current.log");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 2001);
        assert!(lines[999].ends_with("msg=\"before it 999\"") && lines[2000].ends_with("msg=\"after it 999\""));
        let huge = lines[1000];
        assert!(huge.contains("msg=\"dump: field0000000000 field0000000001"), "{huge:.300}");
        let end = &huge[huge.len() - 60..];
        assert!((900 << 10..=(1 << 20) + 100).contains(&huge.len()), "{}", huge.len());
        let masked: usize =
            end.rsplit_once("[REDACTED:long-line:").expect(end).1.trim_end_matches(" bytes]").parse().unwrap();
        let whole = (200 << 20) + huge.find("field").expect("its beginning") + 1;
        assert!(masked.abs_diff(whole - huge.len()) < 200, "{masked} of {whole}");
        assert_peak(&operator);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_b5_rules_of_two_bundles_are_refused_or_take_little_memory() {
    with_namespace("memory-rules", |context| async move {
        let load = Load { pods: 8, bytes: 20_000 };
        load.put(&context).await;
        let operator = Operator::of(&context).ready().await;
        let rules = |count| json!({"redaction": {"rules": vec!["(?:\\w{1,20}[^a]){1,80}z"; count]}});
        for name in ["one", "two"] {
            context.debug_bundle(name, rules(64)).await;
        }
        for name in ["one", "two"] {
            let status = context.until_bundle_ended(name).await;
            assert_eq!((status.phase, &status.bundle), (Some(Phase::Failed), &None), "{status:?}");
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("a condition");
            assert_eq!(ready.reason, "InvalidSpec");
            for words in
                ["the 64 rules need 16487 KiB of memory once compiled", "may need 1024 KiB", "rules[0] (258 KiB)"]
            {
                assert!(ready.message.contains(words), "no {words:?} in: {}", ready.message);
            }
        }
        assert_peak(&operator);
        for name in ["three", "four"] {
            context.debug_bundle(name, rules(3)).await;
        }
        for name in ["three", "four"] {
            let held = made(&context, &operator, name).await;
            assert!(held.manifest.is_some_and(|manifest| manifest.to_string().contains("\"user-0\"")), "they hit");
        }
        assert_peak(&operator);
        // Rules that hit every byte, and one that takes quadratic time, on a long line.
        let event = json!({
            "metadata": {"name": "long"}, "message": "a".repeat(300_000), "reason": "Long", "type": "Warning",
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "velero-0", "namespace": context.namespace},
        });
        context.create::<Event>(event).await;
        let small = [".", "[^x]", "\\S", "[a-z]", "\\w", "(?i)[a]", "a", ".*[^a-z]|[a-z]"];
        for name in ["five", "six"] {
            context.debug_bundle(name, json!({"redaction": {"rules": small}})).await;
        }
        for name in ["five", "six"] {
            let status = context.until_bundle_ended(name).await;
            assert!(status.bundle.is_some(), "{status:?}");
        }
        assert_peak(&operator);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_500_pods_with_3_containers_each_and_20_000_events_all_logs_are_there_and_the_newest_events() {
    with_namespace("memory-bulk", |context| async move {
        BulkObjects { pods: 500, containers: 3, bytes: 20_000, events: 20_000 }.put(&context).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("bulk", json!({})).await;
        let held = made(&context, &operator, "bulk").await;
        let logs = held.files.iter().filter(|(path, bytes)| path.ends_with("/current.log") && **bytes > 20_000);
        assert_eq!(logs.count(), 1500);
        let manifest = held.manifest.expect("a bundle has a manifest");
        let entries = manifest["entries"].as_array().expect("entries");
        let path = format!("namespaces/{}/core/events.yaml", context.namespace);
        let events = entries.iter().find(|entry| entry["path"] == path).expect("the Events are there");
        assert_eq!((&events["source"]["items"], &events["truncated"]["reason"]), (&json!(5000), &json!("Limit")));
        assert_peak(&operator);
    })
    .await;
}
