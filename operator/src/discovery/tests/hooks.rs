//! Hooks that hang: the pods in which they run, and the log of the hook's container alone. Nothing else shows where
//! the target stopped.

use serde_json::json;

use super::{
    World,
    objects::{Object, backup, pod, pod_volume, restore},
};

fn well(namespace: &str, name: &str) -> Object {
    pod(namespace, name).containers(&["side", "db"]).ready()
}

/// The log of the container `db` of a pod.
fn log(namespace: &str, name: &str) -> String {
    format!("namespaces/{namespace}/pods/{name}/db/db/logs/current.log")
}

/// Velero runs a pre-hook before the pod has any data, and waits for other pods' data only at the end: only the
/// Backup's spec and the pods' annotations show where it hangs.
#[tokio::test]
async fn a_backup_that_hangs_in_a_hook_leads_to_the_pods_that_have_one_and_to_the_log_of_its_container() {
    let hook = json!({"name": "milk", "includedNamespaces": ["barn"], "labelSelector": {"matchLabels": {"app": "herd"}},
        "pre": [{"exec": {"container": "db", "command": ["/bin/sleep"]}}]});
    let target = backup("harvest").of_namespaces(&["shop", "glob-*"]).spec("hooks", json!({"resources": [hook]}));
    let freezes = well("shop", "ledger")
        .annotated("pre.hook.backup.velero.io/command", "[\"/sbin/fsfreeze\"]")
        .annotated("pre.hook.backup.velero.io/container", "db");
    let world = World::of([
        target.clone().phase("InProgress"),
        freezes,
        well("shop", "other-run").annotated("post.hook.restore.velero.io/command", "[\"x\"]"),
        well("shop", "stranger"),
        well("barn", "cow").labelled("app", "herd"),
        well("barn", "hen").labelled("app", "flock"),
        pod_volume("PodVolumeBackup", "pvb-1", ("coop", "gone")).of("Backup", "harvest").phase("Completed"),
    ]);
    let found = world.backup("harvest").await;
    for (namespace, hooked) in [("shop", "ledger"), ("barn", "cow")] {
        assert_eq!(found.names_in(namespace, "core/pods"), [hooked]);
        assert_eq!(found.logs_in(namespace), [log(namespace, hooked)], "of the hook's container alone");
    }

    // After an end without a failed hook, these pods are ordinary applications.
    world.put([target.phase("Completed")]);
    let found = world.backup("harvest").await;
    assert!(!found.looks_into("shop") && !found.looks_into("barn"));
}

/// The pod of a hanging post-hook exists, is ready, and has no open data.
#[tokio::test]
async fn a_restore_that_hangs_in_a_hook_after_its_first_data_leads_to_the_pod_and_to_the_log_of_its_container() {
    let thaws = well("shop", "ledger")
        .annotated("post.hook.restore.velero.io/command", "[\"/sbin/fsfreeze\"]")
        .annotated("post.hook.restore.velero.io/container", "db");
    let world = World::of([
        restore("regrow").of_namespaces(&["barn", "shop"]).phase("InProgress"),
        pod_volume("PodVolumeRestore", "pvr-1", ("barn", "gone")).of("Restore", "regrow").phase("Completed"),
        thaws.restored_by("regrow"),
        well("shop", "well").restored_by("regrow"),
    ]);
    let found = world.restore("regrow").await;
    assert_eq!(found.names_in("shop", "core/pods"), ["ledger", "well"]);
    assert_eq!(found.logs_in("shop"), [log("shop", "ledger")]);
}
