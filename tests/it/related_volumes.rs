//! Less obvious relations of a pod: the claims of its ephemeral volumes, the snapshot that a claim is filled from, and
//! owners whose kind has the name of a well-known one.

use harness::{
    Operator,
    bundle::spec_about,
    velero_objects::{pod_volume_restore, restore},
    with_namespace,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
};
use serde_json::{Value, json};

use crate::support::{
    snapshots::create_snapshot_object,
    workloads::{claim, volume, workload, workload_pod},
};

#[tokio::test]
async fn claims_of_ephemeral_volumes_and_the_snapshots_that_claims_are_filled_from_are_followed() {
    with_namespace("filled", |context| async move {
        context.snapshot_kinds().await;
        let shop = context.workload_namespace("shop").await;
        let bound = context.create_in_cluster::<PersistentVolume>("scratch", volume()).await;
        context.create_in::<PersistentVolumeClaim>(&shop, claim("shop-0-scratch", Some(&bound))).await;
        context.create_in::<PersistentVolumeClaim>(&shop, claim("shop-1-scratch", None)).await;
        let from =
            |snapshot: &str| json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot});
        for (name, snapshot) in [("data", "friday"), ("more", "gone"), ("stranger", "sunday")] {
            let mut object = claim(name, None);
            object["spec"]["dataSource"] = from(snapshot);
            object["spec"]["dataSourceRef"] = from(snapshot);
            context.create_in::<PersistentVolumeClaim>(&shop, object).await;
        }
        // These have no label and belong to no existing claim.
        for name in ["friday", "sunday"] {
            let bound = context.cluster_name(name);
            let snapshot =
                json!({"metadata": {"name": name}, "spec": {"source": {"volumeSnapshotContentName": bound}}});
            create_snapshot_object(&context, Some(&shop), "VolumeSnapshot", snapshot).await;
            let content = json!({"metadata": {"name": bound},
                "spec": {"volumeSnapshotClassName": context.cluster_name("quick")}});
            create_snapshot_object(&context, None, "VolumeSnapshotContent", content).await;
        }
        let class = json!({"metadata": {"name": context.cluster_name("quick")}, "driver": "csi.example.io",
            "deletionPolicy": "Delete"});
        create_snapshot_object(&context, None, "VolumeSnapshotClass", class).await;
        let mut waits = workload_pod("shop-0").manifest();
        let template =
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        waits["spec"]["volumes"] = json!([
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "more", "persistentVolumeClaim": {"claimName": "more"}}]);
        context.create_in::<Pod>(&shop, waits).await;
        let target = context.create_velero(restore("r1").in_progress()).await;
        context.create_velero(pod_volume_restore("r1-x").of(&target).of_pod(&shop, "shop-0")).await;

        let account = context.shipped_account().await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let (_, bundle) = context.bundle("why", spec_about("Restore", "r1")).await;
        let claims = bundle.names_in(&shop, "core/persistentvolumeclaims");
        assert_eq!(claims, ["data", "more", "shop-0-scratch"]);
        assert_eq!(bundle.names("cluster-scoped-resources/core/persistentvolumes.yaml"), [bound]);
        let path = format!("namespaces/{shop}/snapshot.storage.k8s.io/volumesnapshots");
        assert_eq!(bundle.names(&format!("{path}.yaml")), ["friday"]);
        let gone = bundle.missing().into_iter().find(|lost| lost.path == format!("{path}/gone"));
        assert_eq!(gone.map(|lost| lost.code).as_deref(), Some("Gone"), "a claim waits for it");
        let of_cluster =
            |plural: &str| bundle.names(&format!("cluster-scoped-resources/snapshot.storage.k8s.io/{plural}.yaml"));
        assert_eq!(of_cluster("volumesnapshotcontents"), [context.cluster_name("friday")]);
        assert!(of_cluster("volumesnapshotclasses").contains(&context.cluster_name("quick")));
    })
    .await;
}

/// Objects here share their names with other owners, and do not belong to these pods.
#[tokio::test]
async fn an_owner_of_another_group_is_not_taken_for_the_well_known_kind_of_its_name() {
    with_namespace("owners", |context| async move {
        let shop = context.workload_namespace("shop").await;
        let mut train: Value = workload("train", None);
        train["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
        let job = json!({"metadata": {"name": "train"}, "spec": {"template": train["spec"]["template"]}});
        context.create_in::<Job>(&shop, job.clone()).await;
        let count = json!({"metadata": {"name": "count"}, "spec": job["spec"]});
        context.create_in::<Job>(&shop, count).await;
        for name in ["web", "api"] {
            context.create_in::<Deployment>(&shop, workload(name, None)).await;
        }
        for (name, api_version, kind, owner) in [
            ("train-0", "batch.volcano.sh/v1alpha1", "Job", "train"),
            ("web-0", "apps.example.io/v1", "Deployment", "web"),
            ("count-0", "batch/v1", "Job", "count"),
            ("api-0", "apps/v1", "Deployment", "api"),
        ] {
            let owned = workload_pod(name).owned_by(api_version, kind, owner);
            context.create_in::<Pod>(&shop, owned.restored_by("r1")).await;
        }
        context.create_velero(restore("r1").of_namespaces([&shop]).in_progress()).await;
        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("owned", spec_about("Restore", "r1")).await;
        assert_eq!(bundle.names_in(&shop, "core/pods"), ["api-0", "count-0", "train-0", "web-0"]);
        assert_eq!(bundle.names_in(&shop, "batch/jobs"), ["count"]);
        assert_eq!(bundle.names_in(&shop, "apps/deployments"), ["api"]);
    })
    .await;
}
