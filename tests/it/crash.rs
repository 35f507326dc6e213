//! `kill -9` of the operator at named points of a run: after a restart each DebugBundle has one object and nothing is
//! left over.

use std::sync::Arc;
use std::time::Duration;

use debugbundle_crd::{DebugBundle, Phase};
use harness::{Context, Operator, ProxyFault, until, with_namespace};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::support::bundles::{
    LIMIT, PARTS, about_r1, endless_log, events, get, is_stored, keys, large_log, phase, proxy_before_store,
    server_pod, slow_log, spool_is_empty, status, until_ended, until_is, until_phase, until_read, until_unread,
    until_upload_on_record, velero_objects,
};

/// How often the operator began to read the server's log.
fn reads(context: &Context, node: &str) -> usize {
    context
        .stand
        .kubelet
        .seen(node)
        .iter()
        .filter(|seen| seen.query.get("previous").is_none_or(|p| p != "true"))
        .count()
}

/// A run that was killed at a point, and its result after the restart.
struct Killed {
    bundle: DebugBundle,
    reads_before: usize,
    reads_after: usize,
    requests: Vec<String>,
}

async fn killed_at(context: &Arc<Context>, point: &str, in_parts: bool) -> Killed {
    velero_objects(context).await;
    let log = if in_parts { large_log() } else { harness::LogScript::lines(["all is well"]) };
    let node = server_pod(context, log).await;
    let proxy = proxy_before_store(context).await;
    let args: &[&str] = if in_parts { &PARTS } else { &[] };
    let mut operator = Operator::of(context).args(args.iter().copied()).crash_at(point).ready().await;
    context.debug_bundle("b", about_r1()).await;
    assert_eq!(operator.wait_exit(LIMIT).await, 137, "it dies at {point}");
    let reads_before = reads(context, &node);

    operator.restart().await;
    let bundle = until_ended(context, "b").await;
    assert!(matches!(phase(&bundle), Phase::Completed | Phase::PartiallyFailed), "{:?}", status(&bundle));
    is_stored(context, &bundle).await;
    assert_eq!(keys(context).await.len(), 1);
    assert_eq!(context.bucket.unfinished().await, [], "no upload is left open");
    spool_is_empty(&operator).await;
    assert!(bundle.finalizers().is_empty());
    let told = status(&bundle);
    assert_eq!((told.holder, told.progress, told.upload), (None, None, None));
    assert!(events(context, "b").await.len() <= 10);
    Killed { bundle, reads_before, reads_after: reads(context, &node), requests: proxy.requests() }
}

impl Killed {
    fn attempts(&self) -> i64 {
        status(&self.bundle).attempts.unwrap_or(0)
    }

    /// The sealed bundle came from the spool: nothing was collected a second time.
    fn was_not_collected_again(&self) {
        assert_eq!((self.reads_before, self.reads_after), (1, 1));
    }

    fn asked(&self, method: &str, part: &str) -> usize {
        let wanted = |line: &&String| line.starts_with(method) && line.contains(part);
        self.requests.iter().filter(wanted).count()
    }
}

#[tokio::test]
async fn killed_when_it_had_just_claimed_it_begins_again() {
    with_namespace("kill-claimed", |context| async move {
        let killed = killed_at(&context, "claimed", false).await;
        assert_eq!((killed.attempts(), killed.reads_before, killed.reads_after), (2, 0, 1));
    })
    .await;
}

#[tokio::test]
async fn killed_as_it_began_to_collect_it_begins_again() {
    with_namespace("kill-collecting", |context| async move {
        let killed = killed_at(&context, "collecting", false).await;
        assert_eq!((killed.attempts(), killed.reads_after), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn killed_before_the_archive_was_closed_it_collects_again() {
    with_namespace("kill-sealing", |context| async move {
        let killed = killed_at(&context, "sealing", false).await;
        assert_eq!((killed.attempts(), killed.reads_before, killed.reads_after), (2, 1, 2));
    })
    .await;
}

#[tokio::test]
async fn killed_with_a_sealed_bundle_it_only_sends_it() {
    with_namespace("kill-sealed", |context| async move {
        let killed = killed_at(&context, "sealed", false).await;
        killed.was_not_collected_again();
        assert_eq!(killed.attempts(), 2);
    })
    .await;
}

#[tokio::test]
async fn killed_after_it_announced_the_upload_it_only_sends_it() {
    with_namespace("kill-announced", |context| async move {
        killed_at(&context, "announced", false).await.was_not_collected_again();
    })
    .await;
}

#[tokio::test]
async fn killed_with_an_upload_that_is_not_on_record_it_ends_that_one() {
    with_namespace("kill-created", |context| async move {
        let killed = killed_at(&context, "upload-created", true).await;
        killed.was_not_collected_again();
        assert!(killed.asked("DELETE", "uploadId=") >= 1, "{:?}", killed.requests);
    })
    .await;
}

#[tokio::test]
async fn killed_with_an_upload_on_record_it_ends_that_one() {
    with_namespace("kill-begun", |context| async move {
        let killed = killed_at(&context, "upload-begun", true).await;
        killed.was_not_collected_again();
        assert!(killed.asked("DELETE", "uploadId=") >= 1, "{:?}", killed.requests);
    })
    .await;
}

#[tokio::test]
async fn killed_between_two_parts_it_sends_all_of_them_anew() {
    with_namespace("kill-part", |context| async move {
        let killed = killed_at(&context, "part-sent", true).await;
        killed.was_not_collected_again();
        assert!(killed.asked("DELETE", "uploadId=") >= 1, "{:?}", killed.requests);
    })
    .await;
}

#[tokio::test]
async fn killed_after_the_upload_it_adopts_the_object_and_sends_nothing() {
    with_namespace("kill-uploaded", |context| async move {
        let killed = killed_at(&context, "uploaded", false).await;
        killed.was_not_collected_again();
        assert_eq!(killed.asked("PUT", ".tar.gz"), 1, "{:?}", killed.requests);
    })
    .await;
}

#[tokio::test]
async fn killed_after_an_upload_in_parts_it_completes_none_again() {
    with_namespace("kill-parts-up", |context| async move {
        let killed = killed_at(&context, "uploaded", true).await;
        assert_eq!(killed.asked("POST", "uploads"), 1, "{:?}", killed.requests);
        assert_eq!(killed.asked("POST", "uploadId="), 1, "{:?}", killed.requests);
    })
    .await;
}

#[tokio::test]
async fn killed_when_the_bundle_was_verified_it_only_says_so() {
    with_namespace("kill-stored", |context| async move {
        let killed = killed_at(&context, "stored", false).await;
        killed.was_not_collected_again();
        assert_eq!(killed.asked("PUT", ".tar.gz"), 1, "{:?}", killed.requests);
    })
    .await;
}

#[tokio::test]
async fn killed_when_all_was_said_the_next_one_empties_the_spool() {
    with_namespace("kill-published", |context| async move {
        let killed = killed_at(&context, "published", false).await;
        assert_eq!(killed.attempts(), 1);
        killed.was_not_collected_again();
    })
    .await;
}

#[tokio::test]
async fn asked_to_stop_while_collecting_it_goes_at_once_and_the_next_one_finishes() {
    with_namespace("term-collecting", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, endless_log()).await;
        let mut operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", about_r1()).await;
        until_read(&context, &node).await;
        operator.terminate();
        assert_eq!(operator.wait_exit(Duration::from_secs(10)).await, 0);
        assert!(!phase(&get(&context, "b").await.unwrap()).is_terminal());
        context.log("velero-1", "velero", harness::LogScript::lines(["quick now"]));
        operator.restart().await;
        let bundle = until_ended(&context, "b").await;
        is_stored(&context, &bundle).await;
        assert_eq!(status(&bundle).attempts, Some(2));
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn asked_to_stop_while_uploading_it_goes_at_once_and_the_next_one_finishes() {
    with_namespace("term-uploading", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, large_log()).await;
        let proxy = proxy_before_store(&context).await;
        let mut operator = Operator::of(&context).args(PARTS).ready().await;
        proxy.set(ProxyFault { bytes_per_second: Some(100_000), ..ProxyFault::default() });
        context.debug_bundle("b", about_r1()).await;
        until_upload_on_record(&context, "b").await;
        operator.terminate();
        assert_eq!(operator.wait_exit(Duration::from_secs(10)).await, 0);
        let left = get(&context, "b").await.unwrap();
        assert_eq!(phase(&left), Phase::Uploading);
        proxy.pass();
        operator.restart().await;
        let bundle = until_ended(&context, "b").await;
        is_stored(&context, &bundle).await;
        assert_eq!(reads(&context, &node), 1, "it was not collected again");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn killed_again_and_again_while_collecting_it_is_given_up_with_a_word() {
    with_namespace("kill-loop", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, endless_log()).await;
        let mut operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", about_r1()).await;
        for attempt in 1..=5 {
            until_is(&context, "b", "the next attempt", LIMIT, |bundle| status(bundle).attempts == Some(attempt)).await;
            until_read(&context, &node).await;
            operator.kill9();
            until_unread(&context, &node).await;
            operator.restart().await;
        }
        let bundle = until_phase(&context, "b", Phase::Failed).await;
        let (_, reason, message) = crate::support::bundles::condition(&bundle, "Ready");
        assert_eq!(reason, "Interrupted");
        assert!(message.contains("5 times"), "{message}");
        assert!(keys(&context).await.is_empty());
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn killed_at_random_times_with_many_under_way_all_of_them_end_well() {
    with_namespace("kill-random", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, slow_log(10_000, 20_000)).await;
        let mut operator = Operator::of(&context).args(["--max-concurrent", "4"]).ready().await;
        let names: Vec<String> = (0..12).map(|n| format!("b{n}")).collect();
        for name in &names {
            context.debug_bundle(name, about_r1()).await;
        }
        let seed = Timestamp::now().as_nanosecond().rem_euclid(1_000_003);
        println!("seed {seed}");
        let mut state = u64::try_from(seed).unwrap();
        for _ in 0..8 {
            until(LIMIT, "somebody is at work", || async {
                let all = context.api::<DebugBundle>().list(&ListParams::default()).await.unwrap().items;
                let open = all.iter().filter(|bundle| !phase(bundle).is_terminal()).count();
                let at_work = all.iter().any(|b| matches!(phase(b), Phase::Collecting | Phase::Uploading));
                (at_work || open == 0).then_some(())
            })
            .await;
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // The moment of the kill is random on purpose; there is no condition to wait for.
            tokio::time::sleep(Duration::from_millis((state >> 33) % 1500)).await;
            operator.restart().await;
        }
        for name in &names {
            let bundle = until_ended(&context, name).await;
            let uid = bundle.uid().unwrap();
            if phase(&bundle) == Phase::Failed {
                assert_eq!(crate::support::bundles::condition(&bundle, "Ready").1, "Interrupted");
                assert!(!keys(&context).await.iter().any(|key| key.contains(&uid)), "seed {seed}: {name}");
            } else {
                is_stored(&context, &bundle).await;
            }
            assert!(bundle.finalizers().is_empty());
        }
        assert_eq!(context.bucket.unfinished().await, [], "seed {seed}");
        spool_is_empty(&operator).await;
    })
    .await;
}
