//! A Restore into a shop with everything that leads from it to a cause, beside strangers that a bundle leaves out.

use futures::StreamExt as _;
use harness::{
    Context, pod,
    velero_objects::{VeleroObject, backup, backup_repository, data_download, pod_volume_restore, restore},
};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount},
    storage::v1::{StorageClass, VolumeAttachment},
};
use serde_json::json;

use super::{
    snapshots::create_snapshot_object,
    text::noise,
    workloads::{attachment, claim, template, volume, workload, workload_pod},
};

/// A completed Backup of the namespace `shop`.
pub fn backup_of_shop(name: &str) -> VeleroObject {
    backup(name).of_namespaces(["shop"]).completed()
}

/// Irrelevant Backups that sort first, more than fit in memory.
async fn strangers(context: &Context, number: u64) {
    let made = (0..number).map(|n| {
        let stranger = backup_of_shop(&format!("a-stranger-{n:05}"));
        context.create_velero(stranger.annotated("note", noise(n, 4000)))
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
    for name in ["seed", "nightly-1", "nightly-2", "nightly-3", "nightly-4", "nightly-5"] {
        context.create_velero(backup_of_shop(name).of_schedule("nightly")).await;
    }
    let target = context.create_velero(restore("regrow").in_progress()).await;
    context.create_velero(restore("a-stranger").of_backup("nightly-1")).await;
    context.create_velero(pod_volume_restore("z-own").of(&target).of_pod(shop, "shop-0")).await;
    let namesake = pod_volume_restore("a-namesake").of_pod(&context.cluster_name("orchard"), "tree-0");
    let namesake = namesake.labelled("velero.io/restore-uid", "another").labelled("velero.io/restore-name", "regrow");
    context.create_velero(namesake).await;
    let node = |name: &str| context.cluster_name(name);
    let download = data_download("z-down").of(&target).of_claim(shop, "ledger").in_progress().on_node(&node("n2"));
    context.create_velero(download).await;
    for (name, namespace, repository_type) in
        [("z-mine", "old-shop", "kopia"), ("a-other-type", "old-shop", "restic"), ("a-stranger", "farm", "kopia")]
    {
        context.create_velero(backup_repository(name, namespace, repository_type)).await;
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
        context.create_in_cluster::<VolumeAttachment>(name, attachment(volume, &node("n1"))).await;
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
    let of = |name: &str, at: &str, kind: &str, owner: &str| {
        let api_version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        workload_pod(name).owned_by(api_version, kind, owner).on_node(&context.cluster_name(at))
    };
    for pod in [
        of("shop-0", "n1", "StatefulSet", "shop").with_claim("data-shop-0").ready(),
        of("web-7d-x", "n2", "ReplicaSet", "web-7d").with_claim("ledger").ready(),
        of("count-1-x", "n2", "Job", "count-1").restored_by("regrow"),
        of("well-0", "n3", "StatefulSet", "well").restored_by("regrow").ready(),
        of("stranger", "n3", "DaemonSet", "stranger").with_claim("stranger"),
    ] {
        let pod = pod.manifest();
        let account = json!({"metadata": {"name": pod["spec"]["serviceAccountName"]}});
        context.create_in::<ServiceAccount>(shop, account).await;
        context.create_in::<Pod>(shop, pod).await;
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
