//! Bundles and followed data movers have two slots each at a node: neither waits for the other, and no followed line is
//! lost.

use std::time::{Duration, Instant};

use debugbundle_crd::Phase;
use harness::{Context, Growing, LogScript, Operator, bundle::Unpacked, pod, until, with_namespace};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::bundles::{LIMIT, slow_log};

/// Limit of logs followed at once on one node, and of logs that bundles read at once on it.
const PER_NODE: usize = 2;
/// Size of logs that keep both slots of the bundles busy for three seconds.
const BYTES: u64 = 60_000;
const BYTES_PER_SECOND: u64 = 20_000;
/// Extra time for a bundle beside movers, whose logs it reads as well, on a busy machine.
const LONGER: Duration = Duration::from_secs(10);

/// How often this pod's log was requested: with `follow`, and without.
fn asked(context: &Context, node: &str, pod: &str) -> (usize, usize) {
    let seen: Vec<_> = context.stand.kubelet.seen(node).into_iter().filter(|seen| seen.pod == pod).collect();
    let followed = seen.iter().filter(|seen| seen.query.contains_key("follow")).count();
    (followed, seen.len() - followed)
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
async fn a_bundle_does_not_wait_for_followed_logs_of_its_node_and_these_go_on_beside_it() {
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
        let followed = || names.map(|name| asked(&context, &node, name).0);
        until(LIMIT, "as many as there are slots for are followed", || async {
            let found = followed();
            if found.iter().sum::<usize>() == PER_NODE { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;

        let before = followed();
        let agents = asked(&context, &node, "node-agent-1").1;
        let (beside, ()) = tokio::join!(bundle(&context, "beside"), async {
            until(LIMIT, "the bundle has a slot", || async {
                (asked(&context, &node, "node-agent-1").1 > agents).then_some(())
            })
            .await;
            all_write("words while a bundle reads");
        });
        assert!(beside.0 < alone + LONGER, "{:?} beside those that are followed, and {alone:?} alone", beside.0);
        let path = |name: &str| format!("namespaces/{}/pods/{name}/c/c/logs/current.log", context.namespace);
        for name in names {
            assert!(beside.1.file(&path(name)).contains(&format!("first words of {name}\n")), "{name}");
        }
        assert_eq!(followed(), before, "no followed log was interrupted, and the others wait");

        let at = before.iter().position(|followed| *followed > 0).expect("one is followed");
        let end = async |at: usize| {
            let (name, before) = (names[at], asked(&context, &node, names[at]).1);
            logs[at].write(format!("last words of {name}"));
            logs[at].end();
            context.pod_status(hosting(name).terminated(0)).await;
            until(LIMIT, "it was read to its end", || async {
                let found = asked(&context, &node, name);
                if found.1 > before { Ok(()) } else { Err(format!("{name}: {found:?}")) }
            })
            .await;
        };
        end(at).await;
        until(LIMIT, "one that waited is followed", || async {
            let found = followed();
            if found.iter().filter(|followed| **followed > 0).count() > PER_NODE {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
        for other in (0..names.len()).filter(|other| *other != at) {
            end(other).await;
        }
        until(LIMIT, "no log is being read", || async {
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
        assert!(most <= 2 * PER_NODE, "{most} at once");
    })
    .await;
}
