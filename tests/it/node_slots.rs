//! At most two logs of one node are read at once, by all bundles and all followed data movers together; bundles go
//! first, and no followed line is lost by that.

use std::time::{Duration, Instant};

use debugbundle_crd::Phase;
use harness::bundle::Unpacked;
use harness::{Context, Growing, LogScript, Operator, pod, until, with_namespace};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::bundles::{LIMIT, slow_log};

/// Limit of logs read at once on one node.
const PER_NODE: usize = 2;
/// Size of logs that keep both places busy for three seconds.
const BYTES: u64 = 60_000;
const BYTES_PER_SECOND: u64 = 20_000;
/// Extra time for a bundle beside movers, whose logs it reads as well, on a busy machine.
const LONGER: Duration = Duration::from_secs(10);

/// How often this pod's log was requested: with `follow`, with `follow` and `sinceTime`, and without `follow`.
fn asked(context: &Context, node: &str, pod: &str) -> (usize, usize, usize) {
    let seen: Vec<_> = context.stand.kubelet.seen(node).into_iter().filter(|seen| seen.pod == pod).collect();
    let has = |key: &str| {
        seen.iter().filter(|seen| seen.query.contains_key("follow") && seen.query.contains_key(key)).count()
    };
    let followed = has("follow");
    (followed, has("sinceTime"), seen.len() - followed)
}

async fn bundle(context: &Context, name: &str) -> (Duration, Unpacked) {
    let began = Instant::now();
    context.debug_bundle(name, json!({})).await;
    let status = context.until_bundle_ended(name).await;
    let took = began.elapsed();
    assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
    (took, context.download(&status).await)
}

#[tokio::test]
async fn logs_that_are_followed_give_way_to_a_bundle_that_reads_of_their_node_and_go_on_behind_it() {
    with_namespace("places", |context| async move {
        let node = context.node("n").await;
        context.node_agents().await;
        let agent = pod("node-agent-1").on_node(&node).labelled("role", "node-agent").with_container("node-agent");
        context.pod(agent).await;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        context.log("node-agent-1", "node-agent", slow_log(BYTES, BYTES_PER_SECOND));
        context.log("velero-1", "velero", slow_log(BYTES, BYTES_PER_SECOND));
        let _operator = Operator::of(&context).ready().await;
        let (alone, _) = bundle(&context, "alone").await;

        let names = ["b1-1", "b1-2", "b1-3", "b1-4"];
        let logs = names.map(|_| Growing::default());
        let hosting = |name: &str| pod(name).on_node(&node).labelled("velero.io/data-upload", name).with_container("c");
        let all_write =
            |words: &str| names.iter().zip(&logs).for_each(|(name, log)| log.write(format!("{words} of {name}")));
        all_write("first words");
        for (name, log) in names.iter().zip(&logs) {
            context.log(name, "c", LogScript::growing(log));
            context.pod(hosting(name)).await;
        }
        until(LIMIT, "each of more than there are places for has its turn", || async {
            let found = names.map(|name| asked(&context, &node, name).0);
            if found.iter().all(|followed| *followed > 0) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;

        let before = names.map(|name| asked(&context, &node, name));
        let agents = asked(&context, &node, "node-agent-1").2;
        let (beside, ()) = tokio::join!(bundle(&context, "beside"), async {
            until(LIMIT, "the bundle has a place", || async {
                (asked(&context, &node, "node-agent-1").2 > agents).then_some(())
            })
            .await;
            all_write("words while a bundle reads");
        });
        assert!(beside.0 < alone + LONGER, "{:?} beside those that are followed, and {alone:?} alone", beside.0);
        let path = |name: &str| format!("namespaces/{}/pods/{name}/c/c/logs/current.log", context.namespace);
        for name in names {
            assert!(beside.1.file(&path(name)).contains(&format!("first words of {name}\n")), "{name}");
        }
        until(LIMIT, "each is taken up again where it was left", || async {
            let found = names.map(|name| asked(&context, &node, name));
            let again = found.iter().zip(&before).all(|(now, before)| now.1 > before.1);
            if again { Ok(()) } else { Err(format!("{found:?}, before {before:?}")) }
        })
        .await;

        let before = names.map(|name| asked(&context, &node, name).2);
        all_write("last words");
        for (name, log) in names.iter().zip(&logs) {
            log.end();
            context.pod_status(hosting(name).terminated(0)).await;
        }
        until(LIMIT, "each was read to its end", || async {
            let found = names.map(|name| asked(&context, &node, name).2);
            if found.iter().zip(&before).all(|(now, before)| now > before) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        until(LIMIT, "nobody reads", || async {
            let open = context.stand.kubelet.open_now(&node);
            if open == 0 { Ok(()) } else { Err(format!("{open} are open")) }
        })
        .await;
        for name in names {
            let gone = context.api::<Pod>().delete(name, &DeleteParams::default().grace_period(0)).await;
            gone.expect("a pod can be deleted");
        }
        let (_, behind) = bundle(&context, "behind").await;
        for name in names {
            let text = behind.file(&path(name));
            let said: Vec<&str> = text.lines().map(|line| line.split_once(' ').expect("a time").1).collect();
            let words =
                ["first words", "words while a bundle reads", "last words"].map(|words| format!("{words} of {name}"));
            assert_eq!(said, words, "each once and in order");
            let entries = behind.manifest["entries"].as_array().expect("a list");
            let entry = entries.iter().find(|entry| entry["path"] == path(name)).expect("it is there");
            let warning = entry["source"]["warning"].as_str().expect("a warning");
            assert_eq!(
                warning, "captured while the pod ran; the pod was gone when the bundle was made",
                "and it is whole"
            );
        }
        let most = context.stand.kubelet.most_at_once(&node);
        assert!(most <= PER_NODE, "{most} at once");
    })
    .await;
}
