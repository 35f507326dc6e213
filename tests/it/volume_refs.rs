//! Where a Backup's files and hooks lead when its data objects are gone: claims, volumes and namespaces of the
//! failures.

use harness::{
    Context, LogScript, Operator,
    bundle::spec_about,
    context::PREFIX,
    pod,
    shipped::BoundRoles,
    velero_objects::{backup, data_upload, pod_volume_backup, pod_volume_restore, restore},
    with_namespace,
};
use k8s_openapi::api::{
    core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota},
    storage::v1::VolumeAttachment,
};
use serde_json::{Value, json};

use crate::support::{
    shop::snapshots,
    workloads::{attachment, claim, odd_event, volume, workload_pod},
};

async fn file(context: &Context, name: &str, body: &Value) {
    let key = format!("{PREFIX}/backups/harvest/harvest-{name}.gz");
    context.bucket.put_gzipped(&key, body.to_string()).await;
}

fn operation(namespace: &str, name: &str, phase: &str) -> Value {
    json!({"spec": {"backupName": "harvest", "backupItemAction": "velero.io/csi-pvc-backupper", "operationID": "du-1",
            "resourceIdentifier": {"Group": "", "Resource": "persistentvolumeclaims", "Namespace": namespace, "Name": name}},
        "status": {"phase": phase, "error": "no room"}})
}

#[tokio::test]
async fn volume_info_item_operations_and_failed_hooks_lead_to_what_went_wrong_and_not_to_what_went_well() {
    with_namespace("leads", |context| async move {
        let mut places = Vec::new();
        for name in ["farm", "bakery", "inn", "calm"] {
            places.push(context.workload_namespace(name).await);
        }
        let [farm, bakery, inn, calm] = &places[..] else { panic!("four") };
        let bound = context.create_in_cluster::<PersistentVolume>("of-ledger", volume()).await;
        let named = context.create_in_cluster::<PersistentVolume>("of-flour", volume()).await;
        context.create_in::<PersistentVolumeClaim>(farm, claim("ledger", Some(&bound))).await;
        context.create_in::<PersistentVolumeClaim>(farm, claim("stranger", None)).await;
        context.create_in::<PersistentVolumeClaim>(calm, claim("well", None)).await;
        context.create_in::<ResourceQuota>(bakery, json!({"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "1"}}})).await;
        context.create_in::<Event>(inn, odd_event(inn)).await;

        let hook = json!({"name": "h", "includedNamespaces": [inn], "pre": [{"exec": {"command": ["false"]}}]});
        let target = backup("harvest").spec("hooks", json!({"resources": [hook]})).partially_failed();
        let counted = json!({"hooksAttempted": 1, "hooksFailed": 1});
        context.create_velero(target.status("hookStatus", counted)).await;
        let volumes = json!([
            {"pvcName": "well", "pvcNamespace": calm, "backupMethod": "CSISnapshot", "result": "succeeded"},
            {"pvcName": "flour", "pvcNamespace": bakery, "pvName": named, "backupMethod": "CSISnapshot", "result": "failed",
                "csiSnapshotInfo": {"snapshotHandle": "h", "vscName": "gone"}}]);
        file(&context, "volumeinfo.json", &volumes).await;
        let operations = json!([operation(calm, "well", "Completed"), operation(farm, "ledger", "Failed")]);
        file(&context, "itemoperations.json", &operations).await;

        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("led", spec_about("Backup", "harvest")).await;
        assert_eq!(bundle.names_in(farm, "core/persistentvolumeclaims"), ["ledger"]);
        assert_eq!(bundle.names_in(bakery, "core/resourcequotas"), ["tight"]);
        assert_eq!(bundle.names_in(inn, "core/events"), ["e1"]);
        let volumes = bundle.names("cluster-scoped-resources/core/persistentvolumes.yaml");
        assert_eq!(volumes, [named, bound], "of the claim, and the one that is named");
        assert!(!bundle.paths().any(|path| path.starts_with(&format!("namespaces/{calm}/"))), "where all went well");
        let why = |place: &str| {
            let all = bundle.manifest["namespaces"].as_array().unwrap();
            all.iter().find(|one| one["name"] == place).map(|one| one["why"].as_str().unwrap().to_owned())
        };
        assert_eq!(why(inn).as_deref(), Some("hooks of Backup harvest"));
        assert_eq!(why(farm).as_deref(), Some("volume info or item operations of Backup harvest"));
        assert_eq!(why(calm), None);
    })
    .await;
}

/// A failed data object of one volume led the walk there before the files that name another volume were read.
#[tokio::test]
async fn a_claim_that_files_name_is_followed_to_volume_and_snapshot_where_the_walk_has_been_before() {
    with_namespace("late", |context| async move {
        context.snapshot_kinds().await;
        let farm = context.workload_namespace("farm").await;
        for name in ["ledger", "stranger"] {
            let bound = context.create_in_cluster::<PersistentVolume>(name, volume()).await;
            context.create_in::<PersistentVolumeClaim>(&farm, claim(name, Some(&bound))).await;
            context.create_in_cluster::<VolumeAttachment>(name, attachment(&bound, "n1")).await;
        }
        let home = &context.namespace;
        for name in ["of-velero", "nobodys"] {
            let bound = context.create_in_cluster::<PersistentVolume>(name, volume()).await;
            context.create_in::<PersistentVolumeClaim>(home, claim(name, Some(&bound))).await;
        }
        snapshots(&context, &farm).await;
        let target = context.create_velero(backup("harvest").partially_failed()).await;
        context.create_velero(data_upload("du-2").of(&target).of_claim(&farm, "moved").failed()).await;
        let failed = json!([operation(&farm, "ledger", "Failed"), operation(home, "of-velero", "Failed")]);
        file(&context, "itemoperations.json", &failed).await;

        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("led", spec_about("Backup", "harvest")).await;
        let spaces = bundle.manifest["namespaces"].as_array().unwrap();
        let why = spaces.iter().find(|one| one["name"] == *farm).map(|one| &one["why"]);
        assert_eq!(why, Some(&json!("datauploads du-2")), "the walk was there before the files were read");
        assert_eq!(bundle.names_in(&farm, "core/persistentvolumeclaims"), ["ledger"]);
        let own = |path: &str| bundle.names(&format!("cluster-scoped-resources/{path}.yaml"));
        assert_eq!(own("core/persistentvolumes"), ["ledger", "of-velero"].map(|name| context.cluster_name(name)));
        assert_eq!(own("storage.k8s.io/volumeattachments"), [context.cluster_name("ledger")]);
        let taken = bundle.names_in(&farm, "snapshot.storage.k8s.io/volumesnapshots");
        assert_eq!(taken, ["of-ledger"]);
        assert_eq!(own("snapshot.storage.k8s.io/volumesnapshotcontents"), [context.cluster_name("of-ledger")]);
    })
    .await;
}

/// Velero stores its files before plugins end their operations, so they lead on while a plugin hangs.
#[tokio::test]
async fn files_of_a_target_that_waits_for_its_operations_or_failed_late_lead_on() {
    with_namespace("waits", |context| async move {
        let farm = context.workload_namespace("farm").await;
        let bakery = context.workload_namespace("bakery").await;
        context.create_in::<PersistentVolumeClaim>(&farm, claim("ledger", None)).await;
        context.create_in::<PersistentVolumeClaim>(&farm, claim("stranger", None)).await;
        let quota = json!({"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "1"}}});
        context.create_in::<ResourceQuota>(&bakery, quota).await;
        context.create_velero(backup("harvest").phase("WaitingForPluginOperations")).await;
        file(&context, "itemoperations.json", &json!([operation(&farm, "ledger", "InProgress")])).await;
        let results = json!({"errors": {}, "warnings": {"namespaces": {&bakery: ["over quota"]}}});
        file(&context, "results", &results).await;

        let _operator = Operator::of(&context).ready().await;
        for phase in ["WaitingForPluginOperations", "FinalizingPartiallyFailed", "Failed"] {
            context.set_velero_phase("Backup", "harvest", phase).await;
            let name = phase.to_lowercase();
            let (_, bundle) = context.bundle(&name, spec_about("Backup", "harvest")).await;
            let claims = bundle.names_in(&farm, "core/persistentvolumeclaims");
            assert_eq!(claims, ["ledger"], "{phase}");
            let quotas = bundle.names_in(&bakery, "core/resourcequotas");
            assert_eq!(quotas, ["tight"], "{phase}");
        }
    })
    .await;
}

/// The target waits for a hook or for a terminating namespace; neither data nor files name the place.
#[tokio::test]
async fn a_target_under_way_without_data_leads_to_the_namespaces_of_its_spec_mapped_for_a_restore() {
    with_namespace("hangs", |context| async move {
        let [shop, shop_2, bakery] = ["shop", "shop-2", "bakery"];
        let mut places = Vec::new();
        for name in [shop, shop_2, bakery] {
            let place = context.workload_namespace(name).await;
            context.create_in::<Event>(&place, odd_event(&place)).await;
            places.push(place);
        }
        let [shop, shop_2, bakery] = &places[..] else { panic!("three") };
        for (place, restore) in [(shop_2, "regrow"), (bakery, "another")] {
            context.create_in::<Pod>(place, workload_pod("oven").restored_by(restore)).await;
        }
        context.create_velero(backup("seed").of_namespaces([shop, bakery, "glob-*"]).completed()).await;
        let target = restore("regrow").spec("excludedNamespaces", json!([bakery])).in_progress();
        context.create_velero(target.spec("namespaceMapping", json!({shop: shop_2}))).await;

        let _operator = Operator::of(&context).ready().await;
        let (_status, bundle) = context.bundle("hung", spec_about("Restore", "regrow")).await;
        assert_eq!(bundle.names_in(shop_2, "core/events"), ["e1"]);
        assert_eq!(bundle.names_in(shop_2, "core/pods"), ["oven"], "brought, and not ready");
        for other in [shop, bakery] {
            assert!(!bundle.paths().any(|path| path.starts_with(&format!("namespaces/{other}/"))), "{other}");
        }
        let all = bundle.manifest["namespaces"].as_array().unwrap();
        let why: Vec<_> = all.iter().filter(|one| one["name"] == **shop_2).map(|one| &one["why"]).collect();
        assert_eq!(why, ["spec of Restore regrow"]);

        context.set_velero_phase("Backup", "seed", "InProgress").await;
        let (_, bundle) = context.bundle("hung-too", spec_about("Backup", "seed")).await;
        for place in [shop, bakery] {
            assert_eq!(bundle.names_in(place, "core/events"), ["e1"]);
        }
    })
    .await;
}

/// Velero runs a pre-hook before the pod has any data, and waits for other pods' data only at the end: only the
/// Backup's spec and the pods' annotations show where it hangs.
#[tokio::test]
async fn a_backup_that_hangs_in_a_hook_leads_to_the_pods_that_have_one_and_to_the_log_of_its_container() {
    with_namespace("hooked", |context| async move {
        let (shop, barn) = (context.workload_namespace("shop").await, context.workload_namespace("barn").await);
        let node = context.node("n").await;
        let kubelet = &context.stand.kubelet;
        let well = |name: &str| pod(name).on_node(&node).with_container("side").with_container("db");
        let froze = well("ledger")
            .annotated("pre.hook.backup.velero.io/command", "[\"/sbin/fsfreeze\"]")
            .annotated("pre.hook.backup.velero.io/container", "db");
        let other = well("other-run").annotated("post.hook.restore.velero.io/command", "[\"x\"]");
        for pod in [froze, other, well("stranger")] {
            context.pod_in(&shop, pod).await;
        }
        for (name, app) in [("cow", "herd"), ("hen", "flock")] {
            context.pod_in(&barn, well(name).labelled("app", app)).await;
        }
        for (place, name) in [(&shop, "ledger"), (&shop, "stranger"), (&barn, "cow"), (&barn, "hen")] {
            for container in ["side", "db"] {
                kubelet.script(place, name, container, LogScript::lines([format!("{name} {container} freezes")]));
            }
        }
        let hook = json!({"name": "milk", "includedNamespaces": [barn], "labelSelector": {"matchLabels": {"app": "herd"}},
            "pre": [{"exec": {"container": "db", "command": ["/bin/sleep"]}}]});
        let target = backup("harvest").of_namespaces([shop.as_str(), "glob-*"]).in_progress();
        let target = context.create_velero(target.spec("hooks", json!({"resources": [hook]}))).await;
        let coop = context.workload_namespace("coop").await;
        let done = pod_volume_backup("pvb-1").of(&target).of_pod(&coop, "gone").on_node(&node).completed();
        context.create_velero(done).await;

        let account = context.account_bound_to(BoundRoles::Everything).await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let (_status, bundle) = context.bundle("hung", spec_about("Backup", "harvest")).await;
        for (place, hooked) in [(&shop, "ledger"), (&barn, "cow")] {
            assert_eq!(bundle.names_in(place, "core/pods"), [hooked]);
            let logs: Vec<_> =
                bundle.paths().filter(|path| path.starts_with(&format!("namespaces/{place}/pods/"))).collect();
            let log = format!("namespaces/{place}/pods/{hooked}/db/db/logs/current.log");
            assert_eq!(logs, [log.as_str()], "of the hook's container alone");
            assert!(bundle.file(&log).contains(&format!("{hooked} db freezes")));
        }

        // After an end without a failed hook, these pods are ordinary applications.
        context.set_velero_phase("Backup", "harvest", "Completed").await;
        let (_, bundle) = context.bundle("well", spec_about("Backup", "harvest")).await;
        for place in [&shop, &barn] {
            assert!(!bundle.paths().any(|path| path.starts_with(&format!("namespaces/{place}/"))), "{place}");
        }
    })
    .await;
}

/// The pod of a hanging post-hook exists, is ready, and has no open data.
#[tokio::test]
async fn a_restore_that_hangs_in_a_hook_after_its_first_data_leads_to_the_pod_and_to_the_log_of_its_container() {
    with_namespace("unfrozen", |context| async move {
        let (shop, barn) = (context.workload_namespace("shop").await, context.workload_namespace("barn").await);
        let node = context.node("n").await;
        let brought = |name: &str| {
            let pod = pod(name).on_node(&node).labelled("velero.io/restore-name", "regrow");
            pod.with_container("side").with_container("db")
        };
        let thaws = brought("ledger")
            .annotated("post.hook.restore.velero.io/command", "[\"/sbin/fsfreeze\"]")
            .annotated("post.hook.restore.velero.io/container", "db");
        for pod in [thaws, brought("well")] {
            context.pod_in(&shop, pod).await;
        }
        for (name, container) in [("ledger", "side"), ("ledger", "db"), ("well", "side"), ("well", "db")] {
            let said = LogScript::lines([format!("{name} {container} thaws")]);
            context.stand.kubelet.script(&shop, name, container, said);
        }
        let target = context.create_velero(restore("regrow").of_namespaces([&barn, &shop]).in_progress()).await;
        context.create_velero(pod_volume_restore("pvr-1").of(&target).of_pod(&barn, "gone").completed()).await;

        let account = context.account_bound_to(BoundRoles::Everything).await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let (_, bundle) = context.bundle("hung", spec_about("Restore", "regrow")).await;
        assert_eq!(bundle.names_in(&shop, "core/pods"), ["ledger", "well"]);
        let logs: Vec<_> =
            bundle.paths().filter(|path| path.starts_with(&format!("namespaces/{shop}/pods/"))).collect();
        assert_eq!(logs, [format!("namespaces/{shop}/pods/ledger/db/db/logs/current.log")]);
        assert!(bundle.file(logs[0]).contains("ledger db thaws"));
    })
    .await;
}
