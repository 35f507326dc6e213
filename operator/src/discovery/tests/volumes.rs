//! Less obvious relations of pods and data: ephemeral volumes, snapshots that fill a claim or that a data mover reads,
//! and owners whose kind has the name of a well-known one.

use serde_json::json;

use super::{
    World,
    objects::{VELERO, backup, claim, content, data_upload, object, pod, pod_volume, restore, snapshot, volume},
};

#[tokio::test]
async fn claims_of_ephemeral_volumes_and_the_snapshots_that_claims_are_filled_from_are_followed() {
    let filled = |name: &str, snapshot: &str| {
        let from = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot});
        claim("shop", name, None).spec("dataSource", from.clone()).spec("dataSourceRef", from)
    };
    // These have no label and belong to no existing claim.
    let given = |name: &str| {
        let source = json!({"volumeSnapshotContentName": name});
        object("VolumeSnapshot", "shop", name).spec("source", source)
    };
    let waits = pod("shop", "shop-0").spec(
        "volumes",
        json!([
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "more", "persistentVolumeClaim": {"claimName": "more"}}]),
    );
    let world = World::of([
        restore("r1").phase("InProgress"),
        pod_volume("PodVolumeRestore", "r1-x", ("shop", "shop-0")).of("Restore", "r1"),
        waits,
        volume("scratch"),
        claim("shop", "shop-0-scratch", Some("scratch")),
        claim("shop", "shop-1-scratch", None),
        filled("data", "friday"),
        filled("more", "gone"),
        filled("stranger", "sunday"),
        given("friday"),
        given("sunday"),
        content("friday"),
        content("sunday"),
        object("VolumeSnapshotClass", "", "quick"),
    ]);
    let found = world.restore("r1").await;
    assert_eq!(found.names_in("shop", "core/persistentvolumeclaims"), ["data", "more", "shop-0-scratch"]);
    assert_eq!(found.names("core/persistentvolumes"), ["scratch"]);
    assert_eq!(found.names_in("shop", "snapshot.storage.k8s.io/volumesnapshots"), ["friday"]);
    assert_eq!(found.gone("shop", "snapshot.storage.k8s.io/volumesnapshots"), ["gone"], "a claim waits for it");
    assert_eq!(found.names("snapshot.storage.k8s.io/volumesnapshotcontents"), ["friday"]);
    assert_eq!(found.names("snapshot.storage.k8s.io/volumesnapshotclasses"), ["quick"]);
}

/// Objects here share their names with other owners, and do not belong to these pods.
#[tokio::test]
async fn an_owner_of_another_group_is_not_taken_for_the_well_known_kind_of_its_name() {
    let world = World::of([restore("r1").of_namespaces(&["shop"]).phase("InProgress")]);
    for (name, api_version, kind, owner) in [
        ("train-0", "batch.volcano.sh/v1alpha1", "Job", "train"),
        ("web-0", "apps.example.io/v1", "Deployment", "web"),
        ("count-0", "batch/v1", "Job", "count"),
        ("api-0", "apps/v1", "Deployment", "api"),
    ] {
        let owned = pod("shop", name).owned_by(api_version, kind, owner).restored_by("r1");
        world.put([owned, object(kind, "shop", owner)]);
    }
    let found = world.restore("r1").await;
    assert_eq!(found.names_in("shop", "core/pods"), ["api-0", "count-0", "train-0", "web-0"]);
    assert_eq!(found.names_in("shop", "batch/jobs"), ["count"]);
    assert_eq!(found.names_in("shop", "apps/deployments"), ["api"]);
}

#[tokio::test]
async fn the_snapshot_of_a_data_upload_is_followed_to_its_content_and_other_snapshots_are_left_out() {
    let world = World::of([
        backup("harvest").of_namespaces(&["shop"]).phase("PartiallyFailed"),
        data_upload("harvest-x7", ("shop", "ledger")).of("Backup", "harvest").phase("Failed"),
    ]);
    // The upload's own snapshot is bound; the others are irrelevant.
    for (namespace, name) in [(VELERO, "harvest-x7"), (VELERO, "a-stranger"), ("shop", "harvest-x7-not-here")] {
        world.put([snapshot(namespace, name), content(name)]);
    }
    let found = world.backup("harvest").await;
    let snapshots = found.names_in(VELERO, "snapshot.storage.k8s.io/volumesnapshots");
    assert_eq!(snapshots, ["harvest-x7", "a-stranger"], "all of Velero's namespace, the target's first");
    assert_eq!(found.names("snapshot.storage.k8s.io/volumesnapshotcontents"), ["harvest-x7"]);
}
