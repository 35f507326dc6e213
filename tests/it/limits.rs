//! Limits on the number of DebugBundles, and on what the operator writes to others' objects.

use std::{collections::BTreeSet, time::Duration};

use debugbundle_crd::{DebugBundle, Phase};
use debugbundle_format::manifest::Need;
use debugbundle_operator::{access::Access, election::LEASE};
use harness::{Context, Operator, shipped::BoundRoles, until, with_namespace};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Event, ResourceQuota},
};
use kube::{
    ResourceExt as _,
    api::{Api, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::bundles::{
    LIMIT, about_r1, delete, endless_log, is_stored, phase, server_pod, until_ended, until_event, velero_objects,
};

const QUOTA: &str = include_str!("../../deploy/quota.yaml");
const COUNTED: &str = "count/debugbundles.debugbundle.io";

/// Sets a quota's limit and usage, as the controller would; none runs here.
async fn counted(context: &Context, quota: &str, hard: &str, used: u32) {
    let status = json!({"status": {"hard": {COUNTED: hard}, "used": {COUNTED: used.to_string()}}});
    let api: Api<ResourceQuota> = context.api();
    api.patch_status(quota, &PatchParams::default(), &Patch::Merge(status)).await.expect("its status can be set");
}

async fn create(context: &Context, name: &str, dry_run: bool) -> Result<(), String> {
    let bundle = DebugBundle::new(name, debugbundle_crd::DebugBundleSpec::installation());
    let created = context.api().create(&PostParams { dry_run, ..PostParams::default() }, &bundle).await;
    created.map(|_: DebugBundle| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn sec_d10_one_more_than_the_shipped_quota_allows_is_refused() {
    with_namespace("d10-quota", |context| async move {
        let mut shipped: Value = serde_saphyr::from_str(QUOTA).expect("YAML");
        let name = shipped["metadata"]["name"].as_str().expect("a name").to_owned();
        let hard = shipped["spec"]["hard"][COUNTED].as_str().expect("it counts DebugBundles").to_owned();
        let most: u32 = hard.parse().expect("a number");
        shipped["metadata"]["namespace"] = context.namespace.as_str().into();
        context.create::<ResourceQuota>(shipped).await;

        let refusal = format!(
            "exceeded quota: {name}, requested: {COUNTED}=1, used: {COUNTED}={most}, limited: {COUNTED}={most}"
        );
        let is_refused = || async {
            match create(&context, "one-too-many", true).await {
                Err(message) if message.contains(&refusal) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        };
        counted(&context, &name, &hard, most).await;
        until(LIMIT, "the quota is known and full", is_refused).await;
        counted(&context, &name, &hard, most - 1).await;
        until(LIMIT, "there is room for the last", || create(&context, "the-last", false)).await;
        // The API server counts it.
        let quota = context.api::<ResourceQuota>().get(&name).await.expect("it is there");
        let used = quota.status.and_then(|status| status.used).expect("it is counted");
        assert_eq!(used[COUNTED].0, most.to_string());
        let refused = create(&context, "one-too-many", false).await.expect_err("one too many");
        assert!(refused.contains(&refusal), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn sec_d10_no_more_are_collected_at_once_than_the_operator_was_told() {
    with_namespace("d10-once", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, endless_log()).await;
        let _operator = Operator::of(&context).args(["--max-concurrent", "2"]).ready().await;
        let names: Vec<String> = (0..5).map(|n| format!("b{n}")).collect();
        futures::future::join_all(names.iter().map(|name| context.debug_bundle(name, about_r1()))).await;
        let collecting = two_of(&context, 5).await;
        // It stays that way.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(two_of(&context, 5).await, collecting);
        }
        let first = collecting.first().expect("two").clone();
        delete(&context, &first).await;
        let after = until(LIMIT, "another one has its place", || async {
            let now = two_of(&context, 4).await;
            if now.contains(&first) { Err(format!("{now:?}")) } else { Ok(now) }
        })
        .await;
        assert_ne!(after, collecting);
    })
    .await;
}

/// Waits until `left` remain, two in collection, the rest queued; returns the two. Fails if three are collected.
async fn two_of(context: &Context, left: usize) -> BTreeSet<String> {
    until(LIMIT, "two are collected and the others wait", || async {
        let mut all = context.api::<DebugBundle>().list(&ListParams::default()).await.expect("a list").items;
        // Work on a deleted one has ended, or its place would not be free; its phase stays unchanged until it is gone.
        all.retain(|one| one.metadata.deletion_timestamp.is_none());
        let such = |wanted: Phase| -> BTreeSet<String> {
            all.iter().filter(|one| phase(one) == wanted).map(kube::ResourceExt::name_any).collect()
        };
        let (collecting, queued) = (such(Phase::Collecting), such(Phase::Queued));
        assert!(collecting.len() <= 2, "{collecting:?}");
        let as_told = (all.len(), collecting.len(), queued.len()) == (left, 2, left - 2);
        if as_told { Ok(collecting) } else { Err(format!("{} there, {collecting:?}, {queued:?}", all.len())) }
    })
    .await
}

#[tokio::test]
async fn sec_r14_nothing_that_the_operator_writes_has_an_owner_and_finalizers_are_not_granted() {
    with_namespace("r14", |context| async move {
        let account = context.account_bound_to(BoundRoles::Everything).await;
        let blocking = ["debugbundle.io/debugbundles", "velero.io/backups", "velero.io/restores", "/pods"];
        let needs: BTreeSet<Need> = blocking
            .iter()
            .flat_map(|kind| ["update", "patch"].map(|verb| (kind.split_once('/').expect("a kind"), verb)))
            .map(|((group, resource), verb)| Need {
                verb: verb.to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                subresource: "finalizers".to_owned(),
                namespace: context.namespace.clone(),
            })
            .collect();
        let soon = Instant::now() + Duration::from_mins(1);
        let answers = Access::default().check(&account.client().await, needs.clone(), Instant::now(), soon).await;
        assert_eq!(answers, needs.into_iter().map(|need| (need, false)).collect());

        velero_objects(&context).await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        context.debug_bundle("b", about_r1()).await;
        let ended = until_ended(&context, "b").await;
        is_stored(&context, &ended).await;
        until_event(&context, "b", "Collecting").await;
        assert_eq!((ended.finalizers(), ended.owner_references()), (&[][..], &[][..]));
        let events = context.api::<Event>().list(&ListParams::default()).await.expect("a list").items;
        assert!(!events.is_empty());
        for event in &events {
            assert_eq!(event.owner_references(), [], "{event:?}");
        }
        let lease = context.api::<Lease>().get(LEASE).await.expect("the operator's Lease");
        assert_eq!((lease.finalizers(), lease.owner_references()), (&[][..], &[][..]));
        // The checks above cover every write.
        let written = context.stand.calls(&account.user).into_iter();
        let written = written.filter(|call| !["get", "list", "watch"].contains(&call.need.verb.as_str()));
        let written: BTreeSet<_> = written.map(|call| (call.need.resource, call.need.subresource)).collect();
        let known = [("debugbundles", "status"), ("events", ""), ("leases", "")];
        assert_eq!(written, known.map(|(resource, sub)| (resource.to_owned(), sub.to_owned())).into());
    })
    .await;
}
