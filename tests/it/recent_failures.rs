//! A bundle without a target: its summary names the Backups and Restores that failed last, and the bundle contains
//! them.

use std::collections::BTreeSet;

use harness::velero_objects::{backup, restore};
use harness::{Operator, with_namespace};
use serde_json::json;

/// Failed Backups, and how many of them the summary names.
const FAILED: usize = 26;
const NAMED: usize = 20;

/// Names whose order differs from the order of their times.
fn name(n: usize) -> String {
    format!("b{:02}-{n}", (n * 7) % FAILED)
}

fn minute(n: usize) -> String {
    format!("2026-03-01T03:{n:02}:00Z")
}

#[tokio::test]
async fn the_newest_failed_backups_and_restores_are_named_with_phase_time_and_reason_and_no_more() {
    with_namespace("failed", |context| async move {
        let key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        for n in 0..FAILED {
            let backup = backup(&name(n)).status("startTimestamp", minute(n));
            let ended = if n % 2 == 0 {
                backup.failed().status("failureReason", format!("bucket {n} is gone"))
            } else {
                backup.partially_failed().status("errors", n).status("warnings", 1)
            };
            context.create_velero(ended).await;
        }
        context.create_velero(backup("a-good-one").completed().status("startTimestamp", minute(59))).await;
        let refused = restore("r-refused").phase("FailedValidation");
        context.create_velero(refused.status("validationErrors", json!(["no Backup of that name"]))).await;
        let reason = format!("aws_secret_access_key = {key} is refused");
        let denied = restore("r-denied").failed().status("startTimestamp", minute(1));
        context.create_velero(denied.status("failureReason", reason)).await;

        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("all", json!({})).await;
        let summary = bundle.file("summary.md");
        for n in 0..FAILED {
            let told = if n % 2 == 0 {
                format!("Backup {} is Failed, started at {}: bucket {n} is gone", name(n), minute(n))
            } else {
                format!("Backup {} is PartiallyFailed, started at {}: {n} errors, 1 warnings", name(n), minute(n))
            };
            assert_eq!(summary.contains(&told), n >= FAILED - NAMED, "{told}: {summary}");
            assert_eq!(summary.contains(&name(n)), n >= FAILED - NAMED, "{n}: {summary}");
        }
        let newest = summary.find(&name(FAILED - 1)).zip(summary.find(&name(FAILED - 2)));
        assert!(newest.is_some_and(|(first, second)| first < second), "the newest first: {summary}");
        assert!(!summary.contains("a-good-one"), "{summary}");
        assert!(summary.contains("Restore r-refused is FailedValidation, started at 20"), "{summary}");
        assert!(summary.contains(": no Backup of that name"), "{summary}");
        assert!(summary.contains("Restore r-denied is Failed, started at ") && !summary.contains(key), "{summary}");

        let space = &context.namespace;
        let backups = bundle.items(&format!("namespaces/{space}/velero.io/backups.yaml"));
        assert_eq!(backups.len(), FAILED + 1, "the others are there, too");
        let first = backups[..NAMED].iter().map(|backup| backup["metadata"]["name"].as_str().unwrap().to_owned());
        let first: BTreeSet<_> = first.collect();
        let expected: BTreeSet<_> = (FAILED - NAMED..FAILED).map(name).collect();
        assert_eq!(first, expected, "they come first, so that no limit hits them");
        assert!(bundle.find(&[key]).is_empty());
    })
    .await;
}
