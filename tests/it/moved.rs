//! What a data mover uses in Velero's own namespace while it works: the snapshot that it reads, and its content.

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use harness::with_namespace;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::collect::Run;
use crate::scope::{OfTheCluster, dynamic};

#[tokio::test]
async fn the_snapshot_of_a_data_upload_is_in_the_bundle_with_its_content_and_no_strangers_content_is() {
    with_namespace("moved", |context| async move {
        context.snapshot_kinds().await;
        let cluster = OfTheCluster(&context);
        let shop = context.workload_namespace("shop").await;
        let spec = json!({"includedNamespaces": [shop], "storageLocation": "default", "ttl": "720h"});
        let backup = json!({"metadata": {"name": "harvest"}, "spec": spec, "status": {"phase": "PartiallyFailed"}});
        let uid = context.create_velero("Backup", backup).await.uid().expect("it has one");
        let labels = json!({"velero.io/backup-name": "harvest", "velero.io/backup-uid": uid});
        let upload = json!({"metadata": {"name": "harvest-x7", "labels": labels},
            "spec": {"snapshotType": "CSI", "sourcePVC": "ledger", "sourceNamespace": shop, "backupStorageLocation": "default",
                "operationTimeout": "10m", "csiSnapshot": {"volumeSnapshot": "s", "storageClass": "fast"}},
            "status": {"phase": "Failed"}});
        context.create_velero("DataUpload", upload).await;
        let contents = dynamic(&context, None, "VolumeSnapshotContent");
        // The upload's own snapshot is bound; the others are irrelevant.
        for (place, name) in [
            (context.namespace.as_str(), "harvest-x7"),
            (context.namespace.as_str(), "a-stranger"),
            (shop.as_str(), "harvest-x7-not-here"),
        ] {
            let content = cluster.name(&format!("content-of-{name}"));
            let made = |kind: &str, name: &str, spec: Value, status: Value| {
                let object = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": kind,
                    "metadata": {"name": name}, "spec": spec, "status": status});
                serde_json::from_value(object).expect("an object")
            };
            let snapshot = made(
                "VolumeSnapshot",
                name,
                json!({"source": {"volumeSnapshotContentName": content}}),
                json!({"boundVolumeSnapshotContentName": content}),
            );
            let snapshots = dynamic(&context, Some(place), "VolumeSnapshot");
            snapshots.create(&PostParams::default(), &snapshot).await.expect("created");
            let content = made("VolumeSnapshotContent", &content, json!({"driver": "csi.example.io"}), Value::Null);
            contents.create(&PostParams::default(), &content).await.expect("created");
        }

        let account = context.shipped_account().await;
        let spec = DebugBundleSpec::about(TargetKind::Backup, "harvest");
        let got = Run::by(account.client().await).of(&context, &spec).await;
        got.is_complete();
        let snapshots = format!("namespaces/{}/snapshot.storage.k8s.io/volumesnapshots.yaml", context.namespace);
        assert_eq!(got.names(&snapshots), ["harvest-x7", "a-stranger"], "all of Velero's namespace, the target's first");
        let found = got.names("cluster-scoped-resources/snapshot.storage.k8s.io/volumesnapshotcontents.yaml");
        assert_eq!(found, [cluster.name("content-of-harvest-x7")]);

        for name in ["harvest-x7", "a-stranger", "harvest-x7-not-here"] {
            let name = cluster.name(&format!("content-of-{name}"));
            contents.delete(&name, &DeleteParams::default()).await.expect("deleted");
        }
        context.delete_namespace(&shop).await;
    })
    .await;
}
