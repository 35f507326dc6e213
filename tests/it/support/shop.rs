//! A Restore into a shop with everything that leads from it to a cause, beside strangers that a bundle leaves out.

use futures::StreamExt as _;
use harness::{Context, pod};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use serde_json::{Value, json};

use super::snapshots::create_snapshot_object;
use super::text::noise;
use super::workloads::{claim, shop_pod, template, volume, workload};

pub fn backup(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels},
        "spec": {"includedNamespaces": ["shop"], "storageLocation": "default", "ttl": "720h"}, "status": {"phase": "Completed"}})
}

pub fn repository(name: &str, namespace: &str, sort: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"velero.io/volume-namespace": namespace,
            "velero.io/storage-location": "default", "velero.io/repository-type": sort}},
        "spec": {"volumeNamespace": namespace, "backupStorageLocation": "default", "repositoryType": sort,
            "resticIdentifier": "", "maintenanceFrequency": "1h"}})
}

pub fn pod_volume_restore(name: &str, labels: &Value, place: &str, pod: &str) -> Value {
    json!({"metadata": {"name": name, "labels": labels},
        "spec": {"pod": {"namespace": place, "name": pod, "kind": "Pod"}, "volume": "data", "backupStorageLocation": "default",
            "repoIdentifier": "x", "snapshotID": "s", "sourceNamespace": "old-shop", "uploaderType": "kopia"}, "status": {}})
}

/// Irrelevant Backups that sort first, more than fit in memory.
async fn strangers(context: &Context, number: u64) {
    let made = (0..number).map(|n| {
        let mut stranger = backup(&format!("a-stranger-{n:05}"), &json!({}));
        stranger["metadata"]["annotations"] = json!({"note": noise(n, 4000)});
        context.create_velero("Backup", stranger)
    });
    futures::stream::iter(made).buffer_unordered(16).collect::<Vec<_>>().await;
}

/// A Restore, its Backup among strangers, data of both movers, and a workload namespace with strangers as well.
pub async fn a_shop(context: &Context, shop: &str) {
    in_veleros_namespace(context, shop).await;
    volumes(context, shop).await;
    workloads(context, shop).await;
    snapshots(context, shop).await;
}

async fn in_veleros_namespace(context: &Context, shop: &str) {
    strangers(context, 1200).await;
    context.create_velero("Backup", backup("seed", &json!({"velero.io/schedule-name": "nightly"}))).await;
    for n in 1..=5 {
        context
            .create_velero("Backup", backup(&format!("nightly-{n}"), &json!({"velero.io/schedule-name": "nightly"})))
            .await;
    }
    let restore =
        json!({"metadata": {"name": "regrow"}, "spec": {"backupName": "seed"}, "status": {"phase": "InProgress"}});
    let restore = context.create_velero("Restore", restore).await;
    let uid = restore.metadata.uid.unwrap();
    context
        .create_velero("Restore", json!({"metadata": {"name": "a-stranger"}, "spec": {"backupName": "nightly-1"}}))
        .await;
    let own = json!({"velero.io/restore-uid": uid, "velero.io/restore-name": "regrow"});
    let named = json!({"velero.io/restore-uid": "another", "velero.io/restore-name": "regrow"});
    context.create_velero("PodVolumeRestore", pod_volume_restore("z-own", &own, shop, "shop-0")).await;
    let namesake = pod_volume_restore("a-namesake", &named, &format!("{}-orchard", context.namespace), "tree-0");
    context.create_velero("PodVolumeRestore", namesake).await;
    let node = |name: &str| format!("{}-{name}", context.namespace);
    context
        .create_velero("DataDownload", json!({"metadata": {"name": "z-down", "labels": own},
            "spec": {"backupStorageLocation": "default", "operationTimeout": "10m", "snapshotID": "s", "sourceNamespace": "old-shop",
                "targetVolume": {"namespace": shop, "pvc": "ledger", "pv": ""}},
            "status": {"phase": "InProgress", "node": node("n2")}}))
        .await;
    for (name, namespace, sort) in
        [("z-mine", "old-shop", "kopia"), ("a-other-type", "old-shop", "restic"), ("a-stranger", "farm", "kopia")]
    {
        context.create_velero("BackupRepository", repository(name, namespace, sort)).await;
    }
    context.node_agents().await;
    for n in ["n1", "n2", "n3"] {
        let node = context.node(n).await;
        context
            .pod(pod(&format!("agent-{n}")).on_node(&node).labelled("role", "node-agent").with_container("node-agent"))
            .await;
    }
    context.pod(pod("z-down").on_node(&node("n2")).with_container("mover")).await;
    for (job, labels) in [("z-maintain", json!({"velero.io/repo-name": "z-mine"})), ("a-stranger", json!({}))] {
        let mut template = template(job);
        template["spec"]["restartPolicy"] = "Never".into();
        context
            .create_in::<Job>(
                &context.namespace,
                json!({"metadata": {"name": job, "labels": labels}, "spec": {"template": template}}),
            )
            .await;
    }
}

pub async fn volumes(context: &Context, shop: &str) {
    let node = |name: &str| format!("{}-{name}", context.namespace);
    let (own, moved) = (
        context.create_in_cluster::<PersistentVolume>("own", volume()).await,
        context.create_in_cluster::<PersistentVolume>("moved", volume()).await,
    );
    let stranger = context.create_in_cluster::<PersistentVolume>("stranger", volume()).await;
    for (name, volume) in [("va-own", &own), ("va-stranger", &stranger)] {
        let spec = json!({"spec": {"attacher": "csi.example.io", "nodeName": node("n1"), "source": {"persistentVolumeName": volume}}});
        context.create_in_cluster::<VolumeAttachment>(name, spec).await;
    }
    context.create_in_cluster::<StorageClass>("fast", json!({"provisioner": "csi.example.io"})).await;
    context.create_in::<PersistentVolumeClaim>(&context.namespace, claim("z-down", Some(&moved))).await;
    context.create_in::<PersistentVolumeClaim>(&context.namespace, claim("a-stranger", None)).await;
    for (name, volume, labels) in [
        ("data-shop-0", Some(own.as_str()), json!({})),
        ("ledger", None, json!({})),
        ("restored", None, json!({"velero.io/restore-name": "regrow"})),
        ("stranger", Some(stranger.as_str()), json!({})),
    ] {
        let mut claim = claim(name, volume);
        claim["metadata"]["labels"] = labels;
        context.create_in::<PersistentVolumeClaim>(shop, claim).await;
    }
}

pub async fn workloads(context: &Context, shop: &str) {
    let node = |name: &str| format!("{}-{name}", context.namespace);
    let restored = || json!({"velero.io/restore-name": "regrow"});
    for (name, at, owner, claim, labels, ready) in [
        ("shop-0", "n1", ("apps/v1", "StatefulSet", "shop"), Some("data-shop-0"), json!({}), true),
        ("web-7d-x", "n2", ("apps/v1", "ReplicaSet", "web-7d"), Some("ledger"), json!({}), true),
        ("count-1-x", "n2", ("batch/v1", "Job", "count-1"), None, restored(), false),
        ("well-0", "n3", ("apps/v1", "StatefulSet", "well"), None, restored(), true),
        ("stranger", "n3", ("apps/v1", "DaemonSet", "stranger"), Some("stranger"), json!({}), false),
    ] {
        context.create_in::<ServiceAccount>(shop, json!({"metadata": {"name": format!("sa-{name}")}})).await;
        context.create_in::<Pod>(shop, shop_pod(name, &node(at), owner, claim, &labels, ready)).await;
    }
    for name in ["shop", "well"] {
        context.create_in::<StatefulSet>(shop, workload(name, None)).await;
    }
    context.create_in::<Deployment>(shop, workload("web", None)).await;
    context.create_in::<ReplicaSet>(shop, workload("web-7d", Some(("Deployment", "web")))).await;
    context.create_in::<DaemonSet>(shop, workload("stranger", None)).await;
    let mut job = json!({"metadata": {"name": "count-1", "ownerReferences": [
        {"apiVersion": "batch/v1", "kind": "CronJob", "name": "count", "uid": "u", "controller": true}]}, "spec": {"template": template("count")}});
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    context.create_in::<Job>(shop, job.clone()).await;
    context
        .create_in::<CronJob>(
            shop,
            json!({"metadata": {"name": "count"},
        "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": job["spec"]}}}),
        )
        .await;
}

pub async fn snapshots(context: &Context, shop: &str) {
    let snapshot = |name: &str, claim: &str| {
        json!({"metadata": {"name": name},
            "spec": {"source": {"persistentVolumeClaimName": claim}}, "status": {"boundVolumeSnapshotContentName": context.cluster_name(name)}})
    };
    for (name, claim) in [("of-ledger", "ledger"), ("of-stranger", "stranger")] {
        create_snapshot_object(context, Some(shop), "VolumeSnapshot", snapshot(name, claim)).await;
        let bound = json!({"metadata": {"name": context.cluster_name(name)}, "spec": {}});
        create_snapshot_object(context, None, "VolumeSnapshotContent", bound).await;
    }
}
