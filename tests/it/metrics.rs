//! `/metrics` of a running operator: what it counts after bundles of different results.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use debugbundle_crd::{DebugBundle, Phase};
use harness::{Operator, bundle::spec_about, until, velero_objects::restore, with_namespace};
use jiff::Timestamp;
use kube::api::ListParams;
use serde_json::json;

use crate::support::{
    bundles::LIMIT,
    http::{answer, free_address},
    prometheus::promtool,
};

async fn scraped(address: SocketAddr) -> String {
    let answer = answer(address, "/metrics").await.expect("an answer that ends");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}

/// The same in Prometheus' older text format, which promtool reads: there the suffix of a counter is part of the name.
fn older_format(text: &str) -> String {
    let kinds: BTreeMap<_, _> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut out = String::new();
    for line in text.lines() {
        let Some((word, rest)) = line.strip_prefix("# ").and_then(|line| line.split_once(' ')) else {
            let _ = writeln!(out, "{line}");
            continue;
        };
        let (name, rest) = rest.split_once(' ').expect("a name and more");
        let (suffix, rest) = match (kinds[name], word) {
            ("counter", _) => ("_total", rest),
            ("info", "TYPE") => ("_info", "gauge"),
            ("info", _) => ("_info", rest),
            _ => ("", rest),
        };
        if word != "UNIT" {
            let _ = writeln!(out, "# {word} {name}{suffix} {rest}");
        }
    }
    out
}

#[tokio::test]
async fn after_three_bundles_of_different_results_metrics_count_them_and_name_nobody() {
    with_namespace("metrics", |context| async move {
        context.create_velero(restore("orchid").partially_failed()).await;
        let address = free_address();
        let _operator = Operator::of(&context).args(["--http-address", &address.to_string()]).ready().await;
        context.debug_bundle("about-orchid", spec_about("Restore", "orchid")).await;
        context.debug_bundle("about-nobody", spec_about("Restore", "nobody")).await;
        context.debug_bundle("nowhere", json!({"storageLocation": "not-there"})).await;
        for name in ["about-orchid", "about-nobody", "nowhere"] {
            context.until_bundle_ended(name).await;
        }
        let text = until(LIMIT, "three are counted", || async {
            let text = scraped(address).await;
            let counted = text.lines().filter(|line| line.starts_with("debugbundle_bundles_total{")).count();
            if counted == 3 { Ok(text) } else { Err(text) }
        })
        .await;
        println!("{text}");
        for part in [
            "debugbundle_bundles_total{result=\"TargetNotFound\",trigger=\"Request\",cause=\"none\"} 1\n",
            "debugbundle_bundles_total{result=\"LocationNotFound\",trigger=\"Request\",cause=\"none\"} 1\n",
            "debugbundle_stage_seconds_count{stage=\"Upload\"} 1\n",
            "debugbundle_bundle_size_bytes_count 1\n",
            "debugbundle_events_total{reason=\"TargetNotFound\"} 1\n",
            "debugbundle_api_requests_total{code=\"200\"} ",
            "debugbundle_leader 1\n",
            "debugbundle_queued_bundles 0\n",
            "debugbundle_spool_limit_bytes ",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.contains("result=\"Completed\"") || text.contains("result=\"PartiallyCollected\""), "{text}");
        let said = promtool(["check", "metrics"], &older_format(&text)).await;
        assert_eq!(said.as_deref(), Ok(""), "promtool check metrics");
        for name in ["orchid", "nobody", "nowhere", "not-there", context.namespace.as_str()] {
            assert!(!text.contains(name), "{name} is in\n{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn issue_33_while_a_bundle_waits_for_its_store_the_tries_count_and_an_automatic_one_too() {
    with_namespace("metrics-away", |context| async move {
        let away = json!({"spec": {"config": {"s3Url": "http://127.0.0.1:1"}}});
        context.patch_velero("BackupStorageLocation", "default", away).await;
        let address = free_address();
        let _operator = Operator::of(&context).automatic().args(["--http-address", &address.to_string()]).ready().await;
        context.create_velero(restore("r1").in_progress().started(Timestamp::now())).await;
        context.end_velero("Restore", "r1", "PartiallyFailed").await;
        until(LIMIT, "a try is counted", || async {
            let text = scraped(address).await;
            let counted = "debugbundle_upload_retries_total{step=\"connection\",reason=\"StoreUnreachable\"}";
            let automatic = "debugbundle_automatic_bundles_total{trigger=\"PartiallyFailed\",cause=\"";
            if text.contains(counted) && text.contains(automatic) { Ok(()) } else { Err(text) }
        })
        .await;
        let bundles = context.api::<DebugBundle>().list(&ListParams::default()).await.expect("a list").items;
        let [bundle] = &bundles[..] else { panic!("one, made by itself: {bundles:?}") };
        let phase = bundle.status.as_ref().and_then(|status| status.phase);
        assert_eq!(phase, Some(Phase::Collecting), "it waits unsealed");
    })
    .await;
}
