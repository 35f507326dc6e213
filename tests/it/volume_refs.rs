//! Where a Backup's files and hooks lead when its data objects are gone: claims, volumes and namespaces of the
//! failures.

use harness::{
    Context, LogScript, Operator,
    bundle::spec_about,
    context::PREFIX,
    pod,
    shipped::BoundRoles,
    velero_objects::{backup, pod_volume_backup},
    with_namespace,
};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, ResourceQuota};
use serde_json::{Value, json};

use crate::support::workloads::{claim, odd_event, volume};

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
    })
    .await;
}
