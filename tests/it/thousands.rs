//! A Velero with years of history: thousands of Restores and data objects, of which a few or far too many are the
//! target's. The tests count requests and memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use debugbundle_crd::Phase;
use futures::{StreamExt as _, stream};
use harness::bundle::Unpacked;
use harness::usage::Usage;
use harness::{Context, Operator, with_namespace};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Restores of other targets.
const RESTORES: usize = 1000;
/// Data of other Restores, of the Restore `crowd` that has too many, and of the Restore `few`.
const STRANGERS: usize = 900;
const CROWD: usize = 2100;
const FEW: usize = 5;
/// Parallel requests while creating them.
const AT_ONCE: usize = 32;
/// Memory limit of one operator, as with many logs.
const PEAK: u64 = 96 << 20;

async fn restore(context: &Context, name: &str) -> String {
    let object = json!({"metadata": {"name": name}, "spec": {"backupName": "seed"}, "status": {"phase": "InProgress"}});
    context.create_velero("Restore", object).await.uid().expect("it has one")
}

fn data(name: &str, (restore, uid): (&str, &str), place: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"velero.io/restore-uid": uid, "velero.io/restore-name": restore}},
        "spec": {"pod": {"namespace": place, "name": name, "kind": "Pod"}, "volume": "data", "snapshotID": "s",
            "backupStorageLocation": "default", "repoIdentifier": "x", "sourceNamespace": place, "uploaderType": "kopia"},
        "status": {"phase": phase}})
}

async fn all(context: &Context, shop: &str) {
    stream::iter(0..RESTORES)
        .map(|n| async move { restore(context, &format!("a-{n:04}")).await })
        .buffer_unordered(AT_ONCE)
        .for_each(|_| async {})
        .await;
    let (few, crowd) = (restore(context, "few").await, restore(context, "crowd").await);
    let owned = (0..FEW).map(|n| (format!("z-few-{n}"), ("few", few.as_str()), "InProgress"));
    let many = (0..CROWD).map(|n| {
        let phase = if n + 1 == CROWD { "Failed" } else { "Completed" };
        (format!("m-crowd-{n:04}"), ("crowd", crowd.as_str()), phase)
    });
    let others = (0..STRANGERS).map(|n| (format!("a-other-{n:04}"), ("gone", "another"), "InProgress"));
    stream::iter(owned.chain(many).chain(others))
        .map(|(name, of, phase)| context.create_velero("PodVolumeRestore", data(&name, of, shop, phase)))
        .buffer_unordered(AT_ONCE)
        .for_each(|_| async {})
        .await;
}

async fn bundle(context: &Arc<Context>, about: &str) -> Unpacked {
    context.debug_bundle(about, json!({"target": {"kind": "Restore", "name": about}})).await;
    let status = context.until_bundle_ended(about).await;
    assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
    context.download(&status).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thousands_the_targets_few_come_first_in_few_requests_and_little_memory() {
    with_namespace("thousands", |context| async move {
        let shop = context.workload_namespace("shop").await;
        all(&context, &shop).await;
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let path = |plural: &str| format!("namespaces/{}/velero.io/{plural}.yaml", context.namespace);
        let in_order = |bundle: &Unpacked, plural: &str| -> Vec<String> {
            let items = bundle.items(&path(plural));
            items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let asked = |verb: &str, resource: &str| {
            let requests = context.stand.requests_of(&account.user);
            requests.iter().filter(|(did, _, what)| did == verb && what == resource).count()
        };

        let before = context.stand.calls_of(&account.user);
        let about_few = bundle(&context, "few").await;
        let names = in_order(&about_few, "podvolumerestores");
        assert_eq!(names.len(), FEW + CROWD + STRANGERS, "all are there, as objects");
        assert_eq!(
            names[..FEW],
            ["z-few-0", "z-few-1", "z-few-2", "z-few-3", "z-few-4"],
            "the last by name, and first"
        );
        assert_eq!(in_order(&about_few, "restores")[0], "few");
        assert_eq!(in_order(&about_few, "restores").len(), RESTORES + 2);
        let followed: Vec<_> =
            about_few.missing().into_iter().filter(|lost| lost.path.contains("core/pods/")).collect();
        assert_eq!(followed.len(), FEW, "nobody's pod but the target's was looked for: {followed:#?}");
        // By label, and in pages of 500: all of them, twice if they do not fit in memory.
        let (lists, gets) = (asked("list", "podvolumerestores"), asked("get", "podvolumerestores"));
        assert!(lists <= 1 + 2 * 7 + 2 && gets <= FEW, "{lists} lists, {gets} gets of PodVolumeRestores");
        let lists = asked("list", "restores");
        assert!(lists <= 2 * 3 + 1, "{lists} lists of Restores");
        let calls = context.stand.calls_of(&account.user) - before;
        let mut each = BTreeMap::new();
        for deed in context.stand.requests_of(&account.user) {
            *each.entry(deed).or_insert(0) += 1;
        }
        assert!(calls <= 200, "{calls} requests: {each:#?}");

        let about_crowd = bundle(&context, "crowd").await;
        let names = in_order(&about_crowd, "podvolumerestores");
        assert!(names[..CROWD].iter().all(|name| name.starts_with("m-crowd-")), "{:?}", &names[..3]);
        let cut = about_crowd
            .missing()
            .into_iter()
            .find(|lost| lost.path == format!("podvolumerestores/{}", context.namespace));
        let cut = cut.unwrap_or_else(|| panic!("{:#?}", about_crowd.missing()));
        assert_eq!((cut.code.as_str(), cut.severity.as_str()), ("NotLooked", "note"));
        let told = about_crowd.manifest["missing"].as_array().unwrap().iter().find(|lost| lost["path"] == cut.path);
        assert!(told.unwrap()["what"].as_str().unwrap().contains("2000 of 2100"), "{told:?}");
        let last = format!("/m-crowd-{:04}", CROWD - 1);
        let sought = about_crowd.missing().into_iter().filter(|lost| lost.path.contains("core/pods/"));
        let sought: Vec<_> = sought.map(|lost| lost.path).collect();
        assert!(sought.iter().any(|path| path.contains(&last)), "the pod of the one that failed: {sought:?}");

        let usage = Usage::of(operator.process().pid()).expect("it runs");
        assert!(usage.peak < PEAK, "the operator took {} MiB at most", usage.peak >> 20);
        println!("{calls} requests for the first bundle, {} MiB at most", usage.peak >> 20);
    })
    .await;
}
