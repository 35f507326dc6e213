//! Which of Velero's objects belong to the target: by label, by owner if an old Velero set no such label, and for names
//! longer than a label allows.

use sha2::{Digest as _, Sha256};

use super::{
    World,
    objects::{Object, VELERO, backup, claim, data_download, object, pod, pod_volume, restore},
};

#[tokio::test]
async fn a_backup_of_an_old_velero_has_its_data_by_name_and_the_restores_made_of_it() {
    let data = |name: &str, owner: &str, namespace: &str| {
        let data = pod_volume("PodVolumeBackup", name, (namespace, "pod-0")).phase("Failed");
        data.labelled("velero.io/backup-name", "harvest").owned_by("velero.io/v1", "Backup", owner)
    };
    let world = World::of([
        backup("harvest").of_namespaces(&["shop"]).phase("Completed"),
        data("z-own", "harvest", "shop"),
        data("a-namesake", "another", "other"),
        restore("a-stranger").of_backup("other"),
        restore("z-first").of_backup("harvest"),
        restore("z-second").of_backup("harvest"),
    ]);
    let found = world.backup("harvest").await;
    assert_eq!(found.data(), ["z-own"]);
    assert_eq!(found.names_in(VELERO, "velero.io/podvolumebackups"), ["z-own", "a-namesake"]);
    assert_eq!(found.names_in(VELERO, "velero.io/restores"), ["z-first", "z-second", "a-stranger"]);
    assert!(found.looks_into("shop"));
    assert_eq!(found.snapshot.namespaces.candidates.len(), 1, "a namesake leads nowhere");
    assert_eq!(found.gone("shop", "core/pods"), ["pod-0"]);
}

#[tokio::test]
async fn data_of_a_former_restore_of_the_same_name_does_not_tell_the_location() {
    let located = |data: Object, location: &str| data.spec("backupStorageLocation", location).phase("Failed");
    let former = |name: &str| {
        let data = pod_volume("PodVolumeRestore", name, ("orchard", "tree-0"));
        located(data, "cellar").labelled("velero.io/restore-name", "r1")
    };
    let world = World::of([
        restore("r1").of_backup("gone").phase("PartiallyFailed"),
        former("a-former").labelled("velero.io/restore-uid", "former"),
        former("b-former").owned_by("velero.io/v1", "Restore", "former"),
        located(data_download("z-own", ("shop", "ledger")).of("Restore", "r1"), "attic"),
        object("BackupStorageLocation", VELERO, "attic"),
        object("BackupStorageLocation", VELERO, "cellar"),
    ]);
    let found = world.restore("r1").await;
    assert_eq!(found.data(), ["z-own"]);
    assert_eq!(found.snapshot.location_name(), Some("attic"));
    let why = &found.missing("velero/backups/gone").expect("it is reported").why;
    assert!(why.ends_with("according to its data it was in BackupStorageLocation attic"), "{why}");
    assert!(found.candidate("orchard").is_none());
}

/// The label value, as in Velero's `label.GetValidName`.
fn label(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    format!("{}{:02x}{:02x}{:02x}", &name[..57], digest[0], digest[1], digest[2])
}

#[tokio::test]
async fn data_pods_claims_and_backups_of_long_names_are_found_by_their_labels() {
    let (regrow, nightly) = (format!("{:x<253}", "regrow-"), format!("{:y<70}", "nightly-"));
    // Belongs to neither: the truncated name, and another name with the same beginning.
    let (cut, other) = (&regrow[..63], label(&format!("{regrow}x")));
    let world = World::of([object("Restore", VELERO, &regrow).spec("scheduleName", &*nightly).phase("InProgress")]);
    for (name, schedule) in [
        ("b-1", label(&nightly)),
        ("b-2", label(&nightly)),
        ("c-stranger", nightly[..63].to_owned()),
        ("d-stranger", label(&format!("{nightly}y"))),
    ] {
        world.put([backup(name).labelled("velero.io/schedule-name", &schedule).phase("Completed")]);
    }
    for (name, value, owner) in
        [("own", &label(&regrow), &*regrow), ("namesake", &label(&regrow), "another"), ("stranger", &other, &*regrow)]
    {
        let data = pod_volume("PodVolumeRestore", name, ("shop", "of-data")).phase("InProgress");
        world.put([data.labelled("velero.io/restore-name", value).owned_by("velero.io/v1", "Restore", owner)]);
    }
    for (name, value) in [("brought", label(&regrow)), ("by-cut", cut.to_owned()), ("by-other", other.clone())] {
        world.put([pod("shop", name).restored_by(&value), claim("shop", name, None).restored_by(&value)]);
    }

    let found = world.restore(&regrow).await;
    assert_eq!(found.data(), ["own"]);
    let target = &found.snapshot.target;
    assert_eq!(target.backup.as_ref().map(|backup| backup.name.as_str()), Some("b-2"));
    assert_eq!(target.related.backups, ["b-2", "b-1"]);
    assert_eq!(target.related.schedule.as_ref(), Some(&nightly));
    assert_eq!(found.names_in("shop", "core/pods"), ["brought"]);
    assert_eq!(found.names_in("shop", "core/persistentvolumeclaims"), ["brought"]);
}
