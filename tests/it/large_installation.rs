//! A Velero with years of history: thousands of Restores and data objects, of which a few or far too many are the
//! target's. The tests count requests and memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use debugbundle_crd::Phase;
use futures::{StreamExt as _, stream};
use harness::bundle::{Unpacked, spec_about};
use harness::usage::Usage;
use harness::velero_objects::{VeleroObject, pod_volume_restore, restore};
use harness::{Context, Operator, with_namespace};

/// Restores of other targets.
const RESTORES: usize = 1000;
/// Data of other Restores, of the Restore `excessive` that has too many, and of the Restore `few`.
const STRANGERS: usize = 900;
const EXCESSIVE: usize = 2100;
const FEW: usize = 5;
/// Parallel requests while creating them.
const AT_ONCE: usize = 32;
/// Memory limit of one operator, as with many logs.
const PEAK: u64 = 96 << 20;

fn data(name: &str, phase: &str, shop: &str) -> VeleroObject {
    pod_volume_restore(name).of_pod(shop, name).from_namespace(shop).phase(phase)
}

async fn create_all(context: &Context, objects: impl Iterator<Item = VeleroObject>) {
    let created = stream::iter(objects).map(|object| context.create_velero(object));
    created.buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
}

async fn all(context: &Context, shop: &str) {
    create_all(context, (0..RESTORES).map(|n| restore(&format!("a-{n:04}")).in_progress())).await;
    let few = context.create_velero(restore("few").in_progress()).await;
    let excessive = context.create_velero(restore("excessive").in_progress()).await;
    let owned = (0..FEW).map(|n| data(&format!("z-few-{n}"), "InProgress", shop).of(&few));
    let many = (0..EXCESSIVE).map(|n| {
        let phase = if n + 1 == EXCESSIVE { "Failed" } else { "Completed" };
        data(&format!("m-excessive-{n:04}"), phase, shop).of(&excessive)
    });
    let others = (0..STRANGERS).map(|n| {
        let other = data(&format!("a-other-{n:04}"), "InProgress", shop);
        other.labelled("velero.io/restore-uid", "another").labelled("velero.io/restore-name", "gone")
    });
    create_all(context, owned.chain(many).chain(others)).await;
}

async fn bundle(context: &Arc<Context>, about: &str) -> Unpacked {
    context.debug_bundle(about, spec_about("Restore", about)).await;
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
        assert_eq!(names.len(), FEW + EXCESSIVE + STRANGERS, "all are there, as objects");
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
        for request in context.stand.requests_of(&account.user) {
            *each.entry(request).or_insert(0) += 1;
        }
        assert!(calls <= 200, "{calls} requests: {each:#?}");

        let about_excessive = bundle(&context, "excessive").await;
        let names = in_order(&about_excessive, "podvolumerestores");
        assert!(names[..EXCESSIVE].iter().all(|name| name.starts_with("m-excessive-")), "{:?}", &names[..3]);
        let cut = about_excessive
            .missing()
            .into_iter()
            .find(|lost| lost.path == format!("podvolumerestores/{}", context.namespace));
        let cut = cut.unwrap_or_else(|| panic!("{:#?}", about_excessive.missing()));
        assert_eq!((cut.code.as_str(), cut.severity.as_str()), ("NotLooked", "note"));
        let told = about_excessive.manifest["missing"].as_array().unwrap().iter().find(|lost| lost["path"] == cut.path);
        assert!(told.unwrap()["what"].as_str().unwrap().contains("2000 of 2100"), "{told:?}");
        let last = format!("/m-excessive-{:04}", EXCESSIVE - 1);
        let sought = about_excessive.missing().into_iter().filter(|lost| lost.path.contains("core/pods/"));
        let sought: Vec<_> = sought.map(|lost| lost.path).collect();
        assert!(sought.iter().any(|path| path.contains(&last)), "the pod of the one that failed: {sought:?}");

        let usage = Usage::of(operator.process().pid()).expect("it runs");
        assert!(usage.peak < PEAK, "the operator took {} MiB at most", usage.peak >> 20);
        println!("{calls} requests for the first bundle, {} MiB at most", usage.peak >> 20);
    })
    .await;
}
