//! Snapshots of several volumes at once, in a cluster that serves them: the snapshots that Velero made, their contents
//! and classes.

use harness::bundle::spec_about;
use harness::velero_objects::{backup, pod_volume_restore, restore};
use harness::{Operator, with_namespace};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::json;

use crate::support::snapshots::{GROUPS, create_group_object, create_snapshot_object, group_content, group_snapshot};
use crate::support::workloads::claim;

#[tokio::test]
async fn snapshots_of_several_volumes_that_velero_made_are_there_with_contents_and_classes_and_others_are_not() {
    with_namespace("groups", |context| async move {
        context.snapshot_kinds().await;
        context.group_snapshot_kinds().await;
        let shop = context.workload_namespace("shop").await;
        for (name, labels) in [
            ("made", json!({"velero.io/backup-name": "harvest"})),
            ("other", json!({"velero.io/backup-name": "another"})),
            ("named", json!({})),
        ] {
            group_snapshot(&context, &shop, name, labels).await;
        }
        group_content(&context, "stub", json!({"velero.io/restore-name": "regrow"})).await;
        let class = json!({"metadata": {"name": context.cluster_name("quick")}, "driver": "csi.example.io"});
        create_group_object(&context, None, "VolumeGroupSnapshotClass", class).await;
        // A snapshot of one of several volumes names its group.
        context.create_in::<PersistentVolumeClaim>(&shop, claim("ledger", None)).await;
        let snapshot = json!({"metadata": {"name": "s"}, "spec": {"source": {"persistentVolumeClaimName": "ledger"}},
            "status": {"volumeGroupSnapshotName": "named"}});
        create_snapshot_object(&context, Some(&shop), "VolumeSnapshot", snapshot).await;

        context.create_velero(backup("harvest").of_namespaces([&shop]).in_progress()).await;
        let target = context.create_velero(restore("regrow").of_backup("harvest").in_progress()).await;
        let data = pod_volume_restore("pvr-1").of(&target).of_pod(&shop, "shop-0");
        context.create_velero(data.annotated("velero.io/pvc-name", "ledger")).await;

        let account = context.shipped_account().await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let in_shop = format!("namespaces/{shop}/{GROUPS}/volumegroupsnapshots.yaml");
        let of_cluster = |plural: &str| format!("cluster-scoped-resources/{GROUPS}/{plural}.yaml");
        let ours = |names: &[&str]| names.iter().map(|name| context.cluster_name(name)).collect::<Vec<_>>();
        let (_, bundle) = context.bundle("about-regrow", spec_about("Restore", "regrow")).await;
        assert!(bundle.errors().is_empty(), "the shipped rules suffice: {:#?}", bundle.errors());
        assert_eq!(bundle.names(&in_shop), ["made", "named"]);
        assert_eq!(bundle.names(&of_cluster("volumegroupsnapshotcontents")), ours(&["made", "named", "stub"]));
        assert!(bundle.names(&of_cluster("volumegroupsnapshotclasses")).contains(&context.cluster_name("quick")));
        for plural in ["volumegroupsnapshots", "volumegroupsnapshotcontents", "volumegroupsnapshotclasses"] {
            let file = format!("customresourcedefinitions/{plural}.{GROUPS}.yaml");
            assert!(bundle.has(&format!("cluster-scoped-resources/apiextensions.k8s.io/{file}")), "{plural}");
        }
    })
    .await;
}
