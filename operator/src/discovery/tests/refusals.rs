//! A missing target or Velero, a refused list, and a Backup that cannot be read, though it would name the location.

use debugbundle_crd::{DebugBundleSpec, TargetKind};

use super::{
    InventoryError, World,
    objects::{VELERO, claim, data_download, pod, restore},
};

#[tokio::test]
async fn a_missing_target_and_a_missing_velero_are_different_errors() {
    let world = World::of([]);
    let spec = DebugBundleSpec::about(TargetKind::Restore, "regrow");
    let error = world.locate(&spec).await.unwrap_err();
    assert!(matches!(error, InventoryError::TargetNotFound { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("Restore {VELERO}/regrow does not exist"));
    world.api.remove_group("velero.io");
    let error = world.locate(&spec).await.unwrap_err();
    assert!(matches!(error, InventoryError::VeleroNotFound), "{error:?}");
}

#[tokio::test]
async fn a_refused_list_is_recorded_once_and_the_rest_is_followed() {
    let world = World::of([
        restore("r1").phase("InProgress"),
        data_download("down", ("shop", "ledger")).of("Restore", "r1"),
        claim("shop", "ledger", None),
        pod("shop", "shop-0").with_claims(&["ledger"]),
    ]);
    let pods = "/api/v1/namespaces/shop/pods";
    assert_eq!(world.restore("r1").await.names_in("shop", "core/pods"), ["shop-0"]);
    world.api.forbid(pods);
    let found = world.restore("r1").await;
    let unread: Vec<_> = found.snapshot.gaps.unread.iter().map(|one| (one.what.as_str(), one.why.code())).collect();
    assert_eq!(unread, [("list of pods in shop", Some(403))]);
    assert_eq!(found.names_in("shop", "core/persistentvolumeclaims"), ["ledger"]);
}

#[tokio::test]
async fn a_backup_that_cannot_be_read_leaves_the_location_unknown_and_one_that_is_gone_does_not() {
    let world = World::of([
        restore("r1").phase("Failed"),
        data_download("down", ("shop", "ledger")).of("Restore", "r1").spec("backupStorageLocation", "attic"),
    ]);
    let spec = DebugBundleSpec::about(TargetKind::Restore, "r1");
    assert_eq!(world.locate(&spec).await.unwrap().location(), Ok(Some("attic")), "its data names it");
    world.api.forbid(format!("/apis/velero.io/v1/namespaces/{VELERO}/backups/"));
    let refs = world.locate(&spec).await.unwrap();
    assert!(refs.location().is_err_and(crate::cluster::ClusterError::is_forbidden));
}
