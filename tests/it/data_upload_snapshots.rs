//! What a data mover uses in Velero's own namespace while it works: the snapshot that it reads, and its content.

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use harness::velero_objects::{backup, data_upload};
use harness::with_namespace;
use serde_json::json;

use crate::support::collection::CollectionRun;
use crate::support::snapshots::create_snapshot_object;

#[tokio::test]
async fn the_snapshot_of_a_data_upload_is_in_the_bundle_with_its_content_and_no_strangers_content_is() {
    with_namespace("moved", |context| async move {
        context.snapshot_kinds().await;
        let shop = context.workload_namespace("shop").await;
        let target = context.create_velero(backup("harvest").of_namespaces([&shop]).partially_failed()).await;
        context.create_velero(data_upload("harvest-x7").of(&target).of_claim(&shop, "ledger").failed()).await;
        // The upload's own snapshot is bound; the others are irrelevant.
        for (place, name) in [
            (context.namespace.as_str(), "harvest-x7"),
            (context.namespace.as_str(), "a-stranger"),
            (shop.as_str(), "harvest-x7-not-here"),
        ] {
            let content = context.cluster_name(&format!("content-of-{name}"));
            let snapshot = json!({"metadata": {"name": name},
                "spec": {"source": {"volumeSnapshotContentName": content}},
                "status": {"boundVolumeSnapshotContentName": content}});
            create_snapshot_object(&context, Some(place), "VolumeSnapshot", snapshot).await;
            let content = json!({"metadata": {"name": content}, "spec": {"driver": "csi.example.io"}});
            create_snapshot_object(&context, None, "VolumeSnapshotContent", content).await;
        }

        let account = context.shipped_account().await;
        let spec = DebugBundleSpec::about(TargetKind::Backup, "harvest");
        let got = CollectionRun::by(account.client().await).of(&context, &spec).await;
        got.is_complete();
        let snapshots = format!("namespaces/{}/snapshot.storage.k8s.io/volumesnapshots.yaml", context.namespace);
        assert_eq!(
            got.names(&snapshots),
            ["harvest-x7", "a-stranger"],
            "all of Velero's namespace, the target's first"
        );
        let found = got.names("cluster-scoped-resources/snapshot.storage.k8s.io/volumesnapshotcontents.yaml");
        assert_eq!(found, [context.cluster_name("content-of-harvest-x7")]);
    })
    .await;
}
