//! VolumeGroupSnapshots: Velero made them for the Backup, or a followed VolumeSnapshot names them.

use serde_json::json;

use super::{
    Found, World,
    objects::{Object, backup, claim, object, pod_volume, restore},
};

const GROUPS: &str = "groupsnapshot.storage.k8s.io";

/// A group snapshot and its content of the same name.
fn group(name: &str) -> [Object; 2] {
    let group = object("VolumeGroupSnapshot", "shop", name).status("boundVolumeGroupSnapshotContentName", name);
    [group, object("VolumeGroupSnapshotContent", "", name)]
}

#[tokio::test]
async fn group_snapshots_of_the_backup_and_of_followed_snapshots_are_there_with_contents_and_classes() {
    let data = pod_volume("PodVolumeRestore", "pvr-1", ("shop", "shop-0")).of("Restore", "regrow");
    // A snapshot of one of several volumes names its group.
    let source = json!({"persistentVolumeClaimName": "ledger"});
    let one = object("VolumeSnapshot", "shop", "s").spec("source", source).status("volumeGroupSnapshotName", "named");
    let world = World::of([
        backup("harvest").of_namespaces(&["shop"]).phase("InProgress"),
        restore("regrow").of_backup("harvest").phase("InProgress"),
        data.annotated("velero.io/pvc-name", "ledger"),
        claim("shop", "ledger", None),
        one,
        object("VolumeGroupSnapshotContent", "", "stub").restored_by("regrow"),
        object("VolumeGroupSnapshotClass", "", "quick"),
    ]);
    world.put(group("named"));
    for (name, backup) in [("made", "harvest"), ("other", "another")] {
        let [group, content] = group(name);
        world.put([group.labelled("velero.io/backup-name", backup), content]);
    }
    let names = |found: &Found| {
        assert_eq!(found.names(&format!("{GROUPS}/volumegroupsnapshotclasses")), ["quick"]);
        let contents = found.names(&format!("{GROUPS}/volumegroupsnapshotcontents")).join(" ");
        (found.names_in("shop", &format!("{GROUPS}/volumegroupsnapshots")).join(" "), contents)
    };
    assert_eq!(names(&world.backup("harvest").await), ("made".to_owned(), "made".to_owned()));
    let of_restore = ("made named".to_owned(), "made named stub".to_owned());
    assert_eq!(names(&world.restore("regrow").await), of_restore);
}
