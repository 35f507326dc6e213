//! Kubelets that accept a log request and send nothing, or stop sending: what that costs the other logs of the node.

use std::time::Duration;

use debugbundle_crd::DebugBundleSpec;
use debugbundle_format::manifest::{MissingCode, TruncationReason};
use harness::{Context, LogScript, pod, with_namespace};
use tokio::time::Instant;

use crate::support::collection::{CollectionResult, CollectionRun, log_path};

/// Time limit for a response to begin, and for silence within it.
const PATIENCE: Duration = Duration::from_secs(6);
/// Time for the rest of a collection, on a busy machine.
const BESIDE: Duration = Duration::from_secs(10);
const PODS: usize = 10;

/// Pods on one node, all with the same log.
async fn pods(context: &Context, node: &str, name: &str, script: &LogScript) -> Vec<String> {
    let names: Vec<String> = (0..PODS).map(|n| format!("{name}-{n}")).collect();
    for name in &names {
        context.pod(pod(name).on_node(node).with_container("c")).await;
        context.log(name, "c", script.clone());
    }
    names.iter().map(|name| log_path(context, name, "c", "current.log")).collect()
}

async fn collected(context: &Context) -> (CollectionResult, Duration) {
    let run = CollectionRun { answer: PATIENCE, idle: PATIENCE, ..CollectionRun::default() };
    let began = Instant::now();
    let got = run.of(context, &DebugBundleSpec::installation()).await;
    got.is_complete();
    (got, began.elapsed())
}

#[tokio::test]
async fn a_pod_whose_logs_hang_costs_the_other_pods_of_its_node_nothing() {
    with_namespace("one-hangs", |context| async move {
        let node = context.node("n").await;
        // They sort first and take both places of the node.
        context.pod(pod("a-hangs").on_node(&node).with_container("one").with_container("other")).await;
        for container in ["one", "other"] {
            context.log("a-hangs", container, LogScript::lines(["never seen"]).stall_after(0));
        }
        let healthy = pods(&context, &node, "b", &LogScript::generated(500_000, 1)).await;
        let (got, took) = collected(&context).await;
        for path in &healthy {
            let entry = got.entry(path);
            assert!(entry.truncated.is_none() && entry.segment.bytes() > 500_000, "{path}");
        }
        for container in ["one", "other"] {
            let lost = got.missing(&log_path(&context, "a-hangs", container, "current.log"));
            assert_eq!(lost.code, MissingCode::NodeUnreachable);
            assert_eq!(lost.why, format!("no data for 6 s from the kubelet of node {node}"));
        }
        assert_eq!(got.errors().len(), 2, "{:#?}", got.errors());
        assert!(took < PATIENCE + BESIDE, "{took:?}");
    })
    .await;
}

#[tokio::test]
async fn a_kubelet_that_falls_silent_costs_a_bounded_time_and_is_named() {
    with_namespace("all-hang", |context| async move {
        let (mute, faint) = (context.node("mute").await, context.node("faint").await);
        let never = pods(&context, &mute, "mute", &LogScript::lines(["never seen"]).stall_after(0)).await;
        let begun = pods(&context, &faint, "faint", &LogScript::generated(1 << 20, 1).stall_after(200_000)).await;
        let (got, took) = collected(&context).await;
        let asked = |paths: &[String]| -> Vec<String> {
            let not_again = |path: &&String| {
                let lost = got.collected.missing.iter().find(|lost| lost.path == **path);
                lost.is_some_and(|lost| lost.why.starts_with("not requested again"))
            };
            paths.iter().filter(|path| !not_again(path)).cloned().collect()
        };
        for (node, paths) in [(&mute, &never), (&faint, &begun)] {
            let asked = asked(paths);
            assert!((4..=5).contains(&asked.len()), "{node}: {asked:?}");
            let lost = got.missing(paths.iter().find(|path| !asked.contains(path)).expect("one was not asked for"));
            assert_eq!(lost.code, MissingCode::NodeUnreachable);
            let named = format!(
                "not requested again: the kubelet of node {node} sent nothing for 4 logs in a row; the last error: no "
            );
            assert!(lost.why.starts_with(&named), "{}", lost.why);
            assert!(lost.cure.contains("accepts a request for a log and sends nothing"), "{}", lost.cure);
        }
        for path in asked(&begun) {
            let entry = got.entry(&path);
            assert_eq!(entry.truncated.as_ref().map(|cut| cut.reason), Some(TruncationReason::Stalled), "{path}");
        }
        assert!(took < 2 * PATIENCE + BESIDE, "five silences one after the other would be longer: {took:?}");
    })
    .await;
}
