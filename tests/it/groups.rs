//! Snapshots of several volumes at once, in a cluster that serves them: the snapshots that Velero made, their contents
//! and classes.

use harness::bundle::Unpacked;
use harness::{Context, Operator, with_namespace};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::scope::{OfTheCluster, claim, dynamic, pod_volume_restore, put};

const GROUP: &str = "groupsnapshot.storage.k8s.io";

fn api(context: &Context, namespace: Option<&str>, plural: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: GROUP.to_owned(),
        version: "v1beta2".to_owned(),
        api_version: format!("{GROUP}/v1beta2"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    match namespace {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, &resource),
        None => Api::all_with(context.client.clone(), &resource),
    }
}

async fn create(api: Api<DynamicObject>, kind: &str, name: &str, fields: Value) {
    let mut object = fields;
    (object["apiVersion"], object["kind"]) = (format!("{GROUP}/v1beta2").into(), kind.into());
    object["metadata"]["name"] = name.into();
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// A group snapshot in this namespace, bound to a content of the same name.
pub(crate) async fn group_snapshot(context: &Context, place: &str, name: &str, labels: Value) {
    let bound = format!("{}-{name}", context.namespace);
    let fields = json!({"metadata": {"labels": labels}, "status": {"boundVolumeGroupSnapshotContentName": bound}});
    let groups = api(context, Some(place), "volumegroupsnapshots", "VolumeGroupSnapshot");
    create(groups, "VolumeGroupSnapshot", name, fields).await;
    group_content(context, name, json!({})).await;
}

async fn group_content(context: &Context, name: &str, labels: Value) {
    let mut labels = labels;
    labels["test"] = context.namespace.as_str().into();
    let contents = api(context, None, "volumegroupsnapshotcontents", "VolumeGroupSnapshotContent");
    let name = format!("{}-{name}", context.namespace);
    create(contents, "VolumeGroupSnapshotContent", &name, json!({"metadata": {"labels": labels}})).await;
}

/// Deletes this test's contents.
pub(crate) async fn clean(context: &Context) {
    let own = ListParams::default().labels(&format!("test={}", context.namespace));
    for (plural, kind) in [
        ("volumegroupsnapshotcontents", "VolumeGroupSnapshotContent"),
        ("volumegroupsnapshotclasses", "VolumeGroupSnapshotClass"),
    ] {
        api(context, None, plural, kind).delete_collection(&DeleteParams::default(), &own).await.unwrap();
    }
}

async fn bundle_of(context: &Context, kind: &str, name: &str) -> Unpacked {
    let bundle = format!("about-{name}");
    context.debug_bundle(&bundle, json!({"target": {"kind": kind, "name": name}})).await;
    let status = context.until_bundle_ended(&bundle).await;
    context.download(&status).await
}

#[tokio::test]
async fn snapshots_of_several_volumes_that_velero_made_are_there_with_contents_and_classes_and_others_are_not() {
    with_namespace("groups", |context| async move {
        context.snapshot_kinds().await;
        context.group_snapshot_kinds().await;
        let shop = context.workload_namespace("shop").await;
        let cluster = OfTheCluster(&context);
        for (name, labels) in [
            ("made", json!({"velero.io/backup-name": "harvest"})),
            ("other", json!({"velero.io/backup-name": "another"})),
            ("named", json!({})),
        ] {
            group_snapshot(&context, &shop, name, labels).await;
        }
        group_content(&context, "stub", json!({"velero.io/restore-name": "regrow"})).await;
        let classes = api(&context, None, "volumegroupsnapshotclasses", "VolumeGroupSnapshotClass");
        let fields = json!({"metadata": {"labels": {"test": context.namespace}}, "driver": "csi.example.io"});
        create(classes, "VolumeGroupSnapshotClass", &cluster.name("quick"), fields).await;
        // A snapshot of one of several volumes names its group.
        put::<PersistentVolumeClaim>(&context, &shop, claim("ledger", None)).await;
        let snapshot = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": "s"},
            "spec": {"source": {"persistentVolumeClaimName": "ledger"}}, "status": {"volumeGroupSnapshotName": "named"}});
        let snapshots = dynamic(&context, Some(&shop), "VolumeSnapshot");
        snapshots.create(&PostParams::default(), &serde_json::from_value(snapshot).unwrap()).await.unwrap();

        let backup = json!({"metadata": {"name": "harvest"}, "status": {"phase": "InProgress"},
            "spec": {"storageLocation": "default", "includedNamespaces": [shop]}});
        context.create_velero("Backup", backup).await;
        let restore =
            json!({"metadata": {"name": "regrow"}, "spec": {"backupName": "harvest"}, "status": {"phase": "InProgress"}});
        let uid = context.create_velero("Restore", restore).await.metadata.uid.unwrap();
        let labels = json!({"velero.io/restore-uid": uid, "velero.io/restore-name": "regrow"});
        let mut data = pod_volume_restore("pvr-1", &labels, &shop, "shop-0");
        data["metadata"]["annotations"] = json!({"velero.io/pvc-name": "ledger"});
        context.create_velero("PodVolumeRestore", data).await;

        let account = context.shipped_account().await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let in_shop = format!("namespaces/{shop}/{GROUP}/volumegroupsnapshots.yaml");
        let of_cluster = |plural: &str| format!("cluster-scoped-resources/{GROUP}/{plural}.yaml");
        let ours = |names: &[&str]| names.iter().map(|name| cluster.name(name)).collect::<Vec<_>>();
        for (kind, name, groups, contents) in [
            ("Backup", "harvest", &["made"][..], &["made"][..]),
            ("Restore", "regrow", &["made", "named"], &["made", "named", "stub"]),
        ] {
            let bundle = bundle_of(&context, kind, name).await;
            assert!(bundle.errors().is_empty(), "the shipped rules suffice: {:#?}", bundle.errors());
            assert_eq!(bundle.names(&in_shop), groups, "{kind}");
            assert_eq!(bundle.names(&of_cluster("volumegroupsnapshotcontents")), ours(contents), "{kind}");
            assert!(bundle.names(&of_cluster("volumegroupsnapshotclasses")).contains(&cluster.name("quick")));
            for plural in ["volumegroupsnapshots", "volumegroupsnapshotcontents", "volumegroupsnapshotclasses"] {
                let file = format!("customresourcedefinitions/{plural}.{GROUP}.yaml");
                assert!(bundle.has(&format!("cluster-scoped-resources/apiextensions.k8s.io/{file}")), "{plural}");
            }
        }
        clean(&context).await;
        context.delete_namespace(&shop).await;
    })
    .await;
}
