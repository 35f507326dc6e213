//! Many DebugBundles at once: their order, their cost to the API server, and what they share. `cargo measure --flood`
//! measures thousands.

use std::time::Duration;

use debugbundle_crd::{DebugBundle, Phase, TRIGGER_LABEL};
use futures::future::join_all;
use harness::bundle::spec_about;
use harness::{Context, Operator, until, usage::Usage, with_namespace};
use kube::{Resource as _, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use crate::support::bundles::{
    LIMIT, about_r1, delete, endless_log, get, phase, server_pod, status, until_ended, until_phase, velero_objects,
};

/// A target that does not exist: such a bundle ends as soon as its turn comes.
fn about_nothing() -> Value {
    spec_about("Restore", "nowhere")
}

async fn automatic(context: &Context, name: &str) {
    let bundle = json!({
        "apiVersion": DebugBundle::api_version(&()), "kind": DebugBundle::kind(&()),
        "metadata": {"name": name, "labels": {TRIGGER_LABEL: "Failed"}}, "spec": about_nothing(),
    });
    context.create::<DebugBundle>(bundle).await;
}

async fn all(context: &Context) -> Vec<DebugBundle> {
    context.api::<DebugBundle>().list(&ListParams::default()).await.expect("a list").items
}

#[tokio::test]
async fn bundles_that_somebody_asked_for_run_before_automatic_ones_and_the_oldest_first() {
    with_namespace("many-order", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, endless_log()).await;
        let _operator = Operator::of(&context).args(["--max-concurrent", "1"]).ready().await;
        context.debug_bundle("first", about_r1()).await;
        until_phase(&context, "first", Phase::Collecting).await;
        automatic(&context, "automatic").await;
        // Creation times have whole seconds.
        until_phase(&context, "automatic", Phase::Queued).await;
        for name in ["b-older", "a-newer"] {
            context.debug_bundle(name, about_nothing()).await;
            until_phase(&context, name, Phase::Queued).await;
            let created =
                get(&context, name).await.expect("it is there").metadata.creation_timestamp.expect("a time").0;
            until(LIMIT, "the next second begins", || async move {
                if jiff::Timestamp::now().as_second() > created.as_second() { Ok(()) } else { Err("not yet") }
            })
            .await;
        }
        delete(&context, "first").await;
        let last = until_ended(&context, "automatic").await;
        let mut ended = all(&context).await;
        assert_eq!(phase(&last), Phase::Failed);
        ended.retain(|bundle| bundle.name_any() != "first");
        ended.sort_by_key(|bundle| {
            bundle.metadata.resource_version.as_ref().map(|v| v.parse::<u64>().expect("a number"))
        });
        let order: Vec<_> = ended.iter().map(kube::ResourceExt::name_any).collect();
        assert_eq!(order, ["b-older", "a-newer", "automatic"]);
    })
    .await;
}

#[tokio::test]
async fn two_hundred_at_once_take_no_more_requests_per_second_than_allowed_and_read_once_what_they_share() {
    const BUNDLES: usize = 200;
    const QPS: usize = 60;
    with_namespace("many-qps", |context| async move {
        let account = context.shipped_account().await;
        let operator =
            Operator::of(&context).args(["--client-qps", &QPS.to_string()]).as_user(&account.kubeconfig).ready().await;
        let names: Vec<String> = (0..BUNDLES).map(|n| format!("b{n:03}")).collect();
        join_all(names.iter().map(|name| context.debug_bundle(name, about_nothing()))).await;
        until(Duration::from_mins(3), "all end", || async {
            let ended = all(&context).await.iter().filter(|bundle| phase(bundle).is_terminal()).count();
            if ended == BUNDLES { Ok(()) } else { Err(ended) }
        })
        .await;
        let bundle = get(&context, "b199").await.expect("it is there");
        let ready = status(&bundle).conditions.into_iter().find(|condition| condition.type_ == "Ready");
        assert_eq!(ready.expect("a condition").reason, "TargetNotFound");

        let calls = context.stand.calls_by_second(&account.user);
        // A one-second window of the limit may overlap two seconds of the clock.
        let busiest = calls.values().max().copied().unwrap_or(0);
        assert!(busiest <= 2 * QPS, "{calls:?}");
        let (sent, seconds) = (calls.values().sum::<usize>(), calls.len());
        assert!(sent <= QPS * (seconds + 1), "{sent} in {seconds} s: {calls:?}");
        assert!(sent <= BUNDLES * 11 + 100, "{sent} requests for {BUNDLES} bundles that have no target");
        let discovered = context.stand.times_of_path(&account.user, "/apis");
        assert!((1..=10).contains(&discovered), "discovery was read {discovered} times");
        let peak = Usage::of(operator.process().pid()).expect("it runs").peak;
        assert!(peak < 96 << 20, "{} MiB", peak >> 20);
    })
    .await;
}

#[tokio::test]
async fn a_bundle_never_sees_what_the_api_server_served_before_it_was_asked_for() {
    with_namespace("many-fresh", |context| async move {
        let account = context.shipped_account().await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        context.debug_bundle("one", about_nothing()).await;
        until_ended(&context, "one").await;
        let before = context.stand.times_of_path(&account.user, "/apis");
        let read = jiff::Timestamp::now().as_second();
        until(LIMIT, "two seconds later", || async {
            if jiff::Timestamp::now().as_second() > read + 2 { Ok(()) } else { Err("not yet") }
        })
        .await;
        context.debug_bundle("two", about_nothing()).await;
        until_ended(&context, "two").await;
        assert!(context.stand.times_of_path(&account.user, "/apis") > before, "read anew for the second one");
    })
    .await;
}
