//! A bundle without a target: its summary names the Backups and Restores that failed last, and the bundle contains
//! them.

use std::collections::BTreeSet;

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
            let status = if n % 2 == 0 {
                json!({"phase": "Failed", "startTimestamp": minute(n), "failureReason": format!("bucket {n} is gone")})
            } else {
                json!({"phase": "PartiallyFailed", "startTimestamp": minute(n), "errors": n, "warnings": 1})
            };
            let backup =
                json!({"metadata": {"name": name(n)}, "spec": {"storageLocation": "default"}, "status": status});
            context.create_velero("Backup", backup).await;
        }
        let well = json!({"metadata": {"name": "a-good-one"}, "spec": {"storageLocation": "default"},
            "status": {"phase": "Completed", "startTimestamp": minute(59)}});
        context.create_velero("Backup", well).await;
        let status = json!({"phase": "FailedValidation", "validationErrors": ["no Backup of that name"]});
        context
            .create_velero("Restore", json!({"metadata": {"name": "r-refused"}, "spec": {}, "status": status}))
            .await;
        let reason = format!("aws_secret_access_key = {key} is refused");
        let status = json!({"phase": "Failed", "startTimestamp": minute(1), "failureReason": reason});
        context.create_velero("Restore", json!({"metadata": {"name": "r-denied"}, "spec": {}, "status": status})).await;

        let _operator = Operator::of(&context).ready().await;
        context.debug_bundle("all", json!({})).await;
        let status = context.until_bundle_ended("all").await;
        let bundle = context.download(&status).await;
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
