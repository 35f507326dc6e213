//! Namespaces that a DebugBundle names: an allowed namespace is collected whole, a forbidden one is refused with a
//! sentence.

use debugbundle_crd::Phase;
use harness::{Operator, with_namespace};
use k8s_openapi::api::core::v1::{Event, LimitRange, ResourceQuota};
use serde_json::json;

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
