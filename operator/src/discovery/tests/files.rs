//! Where the target's files lead: to claims, volumes and snapshots of what went wrong, and to namespaces of its results.

use debugbundle_format::StoreFile;
use serde_json::{Value, json};

use super::{
    World,
    objects::{VELERO, attachment, backup, claim, content, data_upload, object, snapshot, volume},
};

fn operation(namespace: &str, name: &str, phase: &str) -> Value {
    let claim = json!({"Group": "", "Resource": "persistentvolumeclaims", "Namespace": namespace, "Name": name});
    json!({"spec": {"backupName": "harvest", "resourceIdentifier": claim}, "status": {"phase": phase}})
}

/// A failed data object of one volume led the walk there before the files that name another volume were read.
#[tokio::test]
async fn a_claim_that_files_name_is_followed_to_volume_and_snapshot_where_the_walk_has_been_before() {
    let mut world = World::of([
        backup("harvest").phase("PartiallyFailed"),
        data_upload("du-2", ("farm", "moved")).of("Backup", "harvest").phase("Failed"),
    ]);
    for (namespace, name) in [("farm", "ledger"), ("farm", "stranger"), (VELERO, "of-velero"), (VELERO, "nobodys")] {
        world.put([volume(name), claim(namespace, name, Some(name)), attachment(name, "n1")]);
    }
    for name in ["ledger", "stranger"] {
        let taken = snapshot("farm", &format!("of-{name}"));
        world.put([taken.spec("source", json!({"persistentVolumeClaimName": name})), content(&format!("of-{name}"))]);
    }
    let failed = json!([operation("farm", "ledger", "Failed"), operation(VELERO, "of-velero", "Failed")]);
    world.put_file("harvest", StoreFile::ItemOperations, &failed);

    let found = world.backup("harvest").await;
    assert_eq!(found.why("farm"), Some("datauploads du-2"), "the walk was there before the files were read");
    assert_eq!(found.names_in("farm", "core/persistentvolumeclaims"), ["ledger"]);
    assert_eq!(found.names("core/persistentvolumes"), ["ledger", "of-velero"]);
    assert_eq!(found.names("storage.k8s.io/volumeattachments"), ["va-ledger", "va-of-velero"]);
    assert_eq!(found.names_in("farm", "snapshot.storage.k8s.io/volumesnapshots"), ["of-ledger"]);
    assert_eq!(found.names("snapshot.storage.k8s.io/volumesnapshotcontents"), ["of-ledger"]);
}

/// Velero stores its files before plugins end their operations, so they lead on while a plugin hangs.
#[tokio::test]
async fn files_of_a_target_that_waits_for_its_operations_or_failed_late_lead_on() {
    let mut world = World::of([
        claim("farm", "ledger", None),
        claim("farm", "stranger", None),
        object("ResourceQuota", "bakery", "tight"),
    ]);
    world.put_file("harvest", StoreFile::ItemOperations, &json!([operation("farm", "ledger", "InProgress")]));
    let results = json!({"errors": {}, "warnings": {"namespaces": {"bakery": ["over quota"]}}});
    world.put_file("harvest", StoreFile::Results, &results);
    for phase in ["WaitingForPluginOperations", "FinalizingPartiallyFailed", "Failed"] {
        world.put([backup("harvest").phase(phase)]);
        let found = world.backup("harvest").await;
        assert_eq!(found.names_in("farm", "core/persistentvolumeclaims"), ["ledger"], "{phase}");
        assert_eq!(found.names_in("bakery", "core/resourcequotas"), ["tight"], "{phase}");
    }
}
