//! Namespaces that a DebugBundle names: an allowed namespace is collected whole, a forbidden one is refused with a
//! sentence.

use debugbundle_crd::Phase;
use harness::shipped::BoundRoles;
use harness::velero_objects::{backup, restore};
use harness::{Operator, with_namespace};
use k8s_openapi::api::core::v1::{Event, LimitRange, Pod, ResourceQuota};
use serde_json::{Value, json};

use crate::support::shop::{snapshots, volumes, workloads};
use crate::support::snapshots::create_snapshot_object;

/// Objects that may refuse or disturb a workload, and an Event about it.
async fn surroundings(context: &harness::Context, shop: &str) {
    context
        .create_in::<ResourceQuota>(shop, json!({"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "9"}}}))
        .await;
    let limits = json!([{"type": "Container", "default": {"memory": "64Mi"}}]);
    context.create_in::<LimitRange>(shop, json!({"metadata": {"name": "small"}, "spec": {"limits": limits}})).await;
    let event = json!({"metadata": {"name": "shop-0.1"}, "type": "Warning", "reason": "FailedMount", "message": "no",
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "shop-0", "namespace": shop}});
    context.create_in::<Event>(shop, event).await;
}

/// Limit of unhealthy pods whose logs are read.
const UNWELL: usize = 50;
/// Limit of pods in one namespace to which a target is followed.
const FOLLOWED: usize = 200;

#[tokio::test]
async fn of_more_unwell_pods_than_logs_are_read_the_number_is_told() {
    with_namespace("unwell", |context| async move {
        let shop = context.workload_namespace("shop").await;
        for n in 0..UNWELL {
            context.create_in::<Pod>(&shop, pending(n)).await;
        }
        // Without the right to read these logs, one note would stand for all of them.
        let account = context.account_bound_to(BoundRoles::Everything).await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let told = async |name: &str| {
            let (_, bundle) = context.bundle(name, json!({"namespaces": [shop]})).await;
            let names = bundle.names_in(&shop, "core/pods").len();
            let logs = bundle.missing().into_iter().filter(|lost| lost.path.ends_with("/logs/current.log")).count();
            let all = bundle.manifest["missing"].as_array().unwrap();
            (names, logs, all.iter().find(|lost| lost["path"] == format!("pods/{shop}")).cloned())
        };
        let (names, logs, cut) = told("as-many").await;
        assert_eq!((names, logs, cut.is_none()), (UNWELL, UNWELL, true), "none has a log, and each is told of");
        context.create_in::<Pod>(&shop, pending(UNWELL)).await;
        let (names, logs, cut) = told("more").await;
        assert_eq!(names, UNWELL + 1, "all objects are there");
        assert_eq!(logs, UNWELL);
        let cut = cut.expect("the one whose log was not asked for");
        assert_eq!((&cut["code"], &cut["severity"]), (&json!("NotLooked"), &json!("note")));
        let (what, why) = (cut["what"].as_str().unwrap(), cut["why"].as_str().unwrap());
        assert!(what.contains("51 are unhealthy") && why.contains("all of these objects"), "{cut:#}");
    })
    .await;
}

#[tokio::test]
async fn of_more_pods_than_are_followed_in_a_namespace_that_is_named_all_are_listed_and_none_is_said_to_be_beyond() {
    with_namespace("bulk-pods", |context| async move {
        let shop = context.workload_namespace("shop").await;
        // Other tests look for what their own Restore made in the whole cluster.
        let regrow = context.cluster_name("regrow");
        for n in 0..FOLLOWED + 5 {
            let mut pod = pending(n);
            pod["metadata"]["labels"] = json!({"velero.io/restore-name": regrow});
            context.create_in::<Pod>(&shop, pod).await;
        }
        context.create_velero(backup("seed").completed()).await;
        context.create_velero(restore(&regrow).partially_failed()).await;
        let account = context.account_bound_to(BoundRoles::Everything).await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let target = json!({"kind": "Restore", "name": regrow});
        for (name, spec) in
            [("all", json!({"namespaces": [shop]})), ("restore", json!({"namespaces": [shop], "target": target}))]
        {
            let (_, bundle) = context.bundle(name, spec).await;
            assert_eq!(bundle.names_in(&shop, "core/pods").len(), FOLLOWED + 5);
            let missing = bundle.manifest["missing"].as_array().unwrap();
            let beyond: Vec<_> = missing.iter().filter(|lost| lost["path"] == "namespaces/_pods").collect();
            assert!(beyond.is_empty(), "{beyond:#?}");
            // The manifest reports this cut under its own path.
            let mut cuts = missing.iter().filter(|lost| lost["path"] == format!("involved-pods/{shop}"));
            let told = cuts.any(|cut| cut["what"].as_str().unwrap().contains("only 200 are followed, 5 more are not"));
            assert_eq!(told, name == "restore", "{missing:#?}");
        }
    })
    .await;
}

/// A pod that is not scheduled.
fn pending(n: usize) -> Value {
    json!({"metadata": {"name": format!("p-{n:03}")}, "spec": {"containers": [{"name": "c", "image": "registry.invalid/c:1"}]}})
}

#[tokio::test]
async fn a_namespace_that_is_named_comes_whole_and_one_that_is_not_allowed_is_refused_with_a_sentence() {
    with_namespace("asked", |context| async move {
        context.snapshot_kinds().await;
        let shop = context.workload_namespace("shop").await;
        let vault = context.workload_namespace("vault").await;
        volumes(&context, &shop).await;
        workloads(&context, &shop).await;
        snapshots(&context, &shop).await;
        surroundings(&context, &shop).await;
        let class = json!({"metadata": {"name": context.cluster_name("quick")}, "driver": "csi.example.io",
            "deletionPolicy": "Delete"});
        create_snapshot_object(&context, None, "VolumeSnapshotClass", class).await;

        let account = context.shipped_account().await;
        let allowed = format!("--allowed-namespaces={shop}");
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).args([allowed]).ready().await;
        let (status, bundle) = context.bundle("whole", json!({"namespaces": [shop]})).await;
        assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
        let in_shop = |path: &str| bundle.names_in(&shop, path);
        assert_eq!(in_shop("core/pods"), ["count-1-x", "shop-0", "stranger", "web-7d-x", "well-0"]);
        assert_eq!(in_shop("core/persistentvolumeclaims"), ["data-shop-0", "ledger", "restored", "stranger"]);
        assert_eq!(in_shop("core/serviceaccounts").len(), 5);
        assert_eq!(in_shop("apps/statefulsets"), ["shop", "well"]);
        assert_eq!(in_shop("apps/replicasets"), ["web-7d"]);
        assert_eq!(in_shop("apps/deployments"), ["web"]);
        assert_eq!(in_shop("apps/daemonsets"), ["stranger"]);
        assert_eq!(in_shop("batch/jobs"), ["count-1"]);
        assert_eq!(in_shop("batch/cronjobs"), ["count"]);
        assert_eq!(in_shop("core/events"), ["shop-0.1"]);
        assert_eq!(in_shop("core/resourcequotas"), ["tight"]);
        assert_eq!(in_shop("core/limitranges"), ["small"]);
        assert_eq!(in_shop("snapshot.storage.k8s.io/volumesnapshots"), ["of-ledger", "of-stranger"]);

        let of_cluster = |path: &str| bundle.names(&format!("cluster-scoped-resources/{path}.yaml"));
        let ours = |names: &[&str]| names.iter().map(|name| context.cluster_name(name)).collect::<Vec<_>>();
        assert_eq!(
            of_cluster("core/persistentvolumes"),
            ours(&["own", "stranger"]),
            "no claim here is bound to the third"
        );
        assert_eq!(of_cluster("storage.k8s.io/volumeattachments"), ours(&["va-own", "va-stranger"]));
        assert!(of_cluster("storage.k8s.io/storageclasses").contains(&context.cluster_name("fast")));
        let contents = of_cluster("snapshot.storage.k8s.io/volumesnapshotcontents");
        assert_eq!(contents, ours(&["of-ledger", "of-stranger"]));
        assert!(of_cluster("snapshot.storage.k8s.io/volumesnapshotclasses").contains(&context.cluster_name("quick")));

        context.debug_bundle("beyond", json!({"namespaces": [shop, vault]})).await;
        let status = context.until_bundle_ended("beyond").await;
        assert_eq!((status.phase, &status.bundle), (Some(Phase::Failed), &None), "{status:?}");
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!(ready.reason, "InvalidSpec");
        assert_eq!(
            ready.message,
            format!("spec.namespaces contains {vault}, which this operator may not read; allowed: {shop}")
        );
        for resource in ["pods", "events", "persistentvolumeclaims", "resourcequotas"] {
            assert_eq!(context.stand.times(&account.user, ("list", resource), &vault, 200), 0, "{resource}");
        }
    })
    .await;
}
