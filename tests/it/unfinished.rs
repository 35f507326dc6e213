//! A target that did not end and whose spec does not show where it stopped: all namespaces, a pattern, or a restart of
//! Velero in between; and data that no node has taken up.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use harness::bundle::Unpacked;
use harness::context::PREFIX;
use harness::{Context, Operator, pod, with_namespace};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use crate::scope::{claim, put, shop_pod};

async fn odd_event(context: &Context, place: &str) {
    let event = json!({"metadata": {"name": "e1"}, "reason": "Odd", "message": "odd", "type": "Warning",
        "involvedObject": {"kind": "Pod", "namespace": place, "name": "p"}});
    put::<Event>(context, place, event).await;
}

async fn pod_of(context: &Context, place: &str, restore: &str) {
    let labels = json!({"velero.io/restore-name": restore});
    let pod = shop_pod("oven", "n1", ("apps/v1", "StatefulSet", "oven"), None, &labels, false);
    put::<Pod>(context, place, pod).await;
}

async fn bundle_of(context: &Context, name: &str, kind: &str, target: &str) -> Unpacked {
    context.debug_bundle(name, json!({"target": {"kind": kind, "name": target}})).await;
    let status = context.until_bundle_ended(name).await;
    context.download(&status).await
}

/// The reason why a namespace is looked into.
fn why<'a>(bundle: &'a Unpacked, place: &str) -> Option<&'a Value> {
    let all = bundle.manifest["namespaces"].as_array().unwrap();
    all.iter().find(|one| one["name"] == place).map(|one| &one["why"])
}

fn looked_into(bundle: &Unpacked, place: &str) -> bool {
    bundle.paths().any(|path| path.starts_with(&format!("namespaces/{place}/")))
}

/// The note about namespaces that the spec does not name.
fn told(bundle: &Unpacked) -> Option<String> {
    let missing = bundle.manifest["missing"].as_array().unwrap();
    let told = missing.iter().find(|one| one["what"] == "namespaces that the target's spec does not name")?;
    let (code, severity, cure) = (&told["code"], &told["severity"], &told["cure"]);
    assert_eq!((code, severity), (&json!("NotLooked"), &json!("note")), "{told}");
    assert_eq!(cure, "name them in spec.namespaces");
    Some(told["why"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_restore_of_the_whole_cluster_under_way_leads_to_where_it_made_something_and_says_what_is_not_looked_into() {
    with_namespace("whole", |context| async move {
        let mut places = Vec::new();
        for name in ["shop", "barn", "calm"] {
            places.push(context.workload_namespace(name).await);
        }
        let [shop, barn, calm] = &places[..] else { panic!("three") };
        let regrow = format!("{}-regrow", context.namespace);
        pod_of(&context, shop, &regrow).await;
        pod_of(&context, calm, "another").await;
        let mut flour = claim("flour", None);
        flour["metadata"]["labels"] = json!({"velero.io/restore-name": regrow});
        put::<PersistentVolumeClaim>(&context, barn, flour).await;
        let all = json!({"storageLocation": "default", "includedNamespaces": ["*"]});
        context
            .create_velero(
                "Backup",
                json!({"metadata": {"name": "seed"}, "spec": all, "status": {"phase": "Completed"}}),
            )
            .await;
        let restore =
            json!({"metadata": {"name": regrow}, "spec": {"backupName": "seed"}, "status": {"phase": "InProgress"}});
        context.create_velero("Restore", restore).await;
        let account = context.shipped_account().await;
        let everywhere = || context.stand.times(&account.user, ("list", "pods"), "", 200);
        let before = everywhere();

        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let bundle = bundle_of(&context, "hung", "Restore", &regrow).await;
        assert_eq!(bundle.names(&format!("namespaces/{shop}/core/pods.yaml")), ["oven"]);
        assert_eq!(bundle.names(&format!("namespaces/{barn}/core/persistentvolumeclaims.yaml")), ["flour"]);
        assert!(!looked_into(&bundle, calm));
        let made = json!(format!("objects that Restore {regrow} created"));
        assert_eq!((why(&bundle, shop), why(&bundle, barn), why(&bundle, calm)), (Some(&made), Some(&made), None));
        assert!(told(&bundle).is_some_and(|why| why.contains("in which the target created a pod or claim")));
        assert_eq!(everywhere(), before + 1);

        // A Backup leaves no trace in the namespace it is working on.
        for (name, included) in [("all", json!(["*"])), ("none", json!(null)), ("glob", json!([shop, "calm-*"]))] {
            let spec = json!({"storageLocation": "default", "includedNamespaces": included});
            let backup = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": "InProgress"}});
            context.create_velero("Backup", backup).await;
            let bundle = bundle_of(&context, &format!("backup-{name}"), "Backup", name).await;
            assert!(
                told(&bundle).is_some_and(|why| why.contains("only namespaces that other objects or files lead to")),
                "{name}"
            );
            assert_eq!(looked_into(&bundle, shop), name == "glob");
        }
        let bundle = bundle_of(&context, "ended", "Backup", "seed").await;
        assert_eq!(told(&bundle), None, "it came to its end");
        operator.terminate();
        drop(operator);

        let allowed = format!("--allowed-namespaces={barn}");
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).args([allowed]).ready().await;
        let bundle = bundle_of(&context, "bounded", "Restore", &regrow).await;
        assert_eq!(bundle.names(&format!("namespaces/{barn}/core/persistentvolumeclaims.yaml")), ["flour"]);
        assert_eq!((why(&bundle, shop), looked_into(&bundle, shop)), (None, false));
        assert!(told(&bundle).is_some());
        assert_eq!(everywhere(), before + 1, "not beyond the borders");
        for place in &places {
            context.delete_namespace(place).await;
        }
    })
    .await;
}

/// At startup Velero marks unfinished targets as Failed: there is no data, and nothing in the store.
#[tokio::test]
async fn a_target_that_a_restart_broke_off_leads_to_the_namespaces_of_its_spec_unless_results_name_others() {
    with_namespace("broken", |context| async move {
        let (shop, bakery) = (context.workload_namespace("shop").await, context.workload_namespace("bakery").await);
        for place in [&shop, &bakery] {
            odd_event(&context, place).await;
        }
        let failed = json!({"phase": "Failed", "failureReason":
            "found a backup with status \"InProgress\" during the server starting, mark it as \"Failed\""});
        let spec = json!({"storageLocation": "default", "includedNamespaces": [shop]});
        context.create_velero("Backup", json!({"metadata": {"name": "harvest"}, "spec": spec, "status": failed})).await;
        let regrow = format!("{}-regrow", context.namespace);
        pod_of(&context, &bakery, &regrow).await;
        let restore =
            json!({"metadata": {"name": regrow}, "spec": {"backupName": "gone"}, "status": {"phase": "Failed"}});
        context.create_velero("Restore", restore).await;

        let _operator = Operator::of(&context).ready().await;
        let bundle = bundle_of(&context, "backup", "Backup", "harvest").await;
        assert_eq!(bundle.names(&format!("namespaces/{shop}/core/events.yaml")), ["e1"]);
        assert_eq!((why(&bundle, &shop), told(&bundle)), (Some(&json!("spec of Backup harvest")), None));
        let bundle = bundle_of(&context, "restore", "Restore", &regrow).await;
        assert_eq!(bundle.names(&format!("namespaces/{bakery}/core/pods.yaml")), ["oven"], "its Backup is gone");

        let mut results = GzEncoder::new(Vec::new(), Compression::fast());
        let named = json!({"errors": {}, "warnings": {"namespaces": {&bakery: ["over quota"]}}});
        results.write_all(named.to_string().as_bytes()).unwrap();
        let key = format!("{PREFIX}/backups/harvest/harvest-results.gz");
        context.bucket.put(&key, results.finish().unwrap()).await;
        let bundle = bundle_of(&context, "with-results", "Backup", "harvest").await;
        assert!(looked_into(&bundle, &bakery) && !looked_into(&bundle, &shop));
        for place in [&shop, &bakery] {
            context.delete_namespace(place).await;
        }
    })
    .await;
}

/// Until one node-agent takes it up, any of them may be the one, and a refusing node-agent says so in its log.
#[tokio::test]
async fn data_that_no_node_has_taken_up_leads_to_all_node_agents_though_other_data_has_a_node() {
    with_namespace("anywhere", |context| async move {
        let shop = context.workload_namespace("shop").await;
        context.node_agents().await;
        let mut nodes = Vec::new();
        for name in ["1", "2"] {
            let node = context.node(name).await;
            let agent = pod(&format!("node-agent-{name}")).on_node(&node).labelled("role", "node-agent");
            context.pod(agent.with_container("node-agent")).await;
            nodes.push(node);
        }
        let spec = json!({"storageLocation": "default", "includedNamespaces": [shop]});
        let backup = json!({"metadata": {"name": "harvest"}, "spec": spec, "status": {"phase": "InProgress"}});
        let uid = context.create_velero("Backup", backup).await.metadata.uid.unwrap();
        for (name, status) in
            [("du-1", json!({"phase": "InProgress", "node": nodes[0]})), ("du-2", json!({"phase": "New"}))]
        {
            let labels = json!({"velero.io/backup-uid": uid, "velero.io/backup-name": "harvest"});
            let upload = json!({"metadata": {"name": name, "labels": labels}, "status": status,
                "spec": {"sourceNamespace": shop, "sourcePVC": name, "backupStorageLocation": "default", "snapshotType": "CSI",
                    "csiSnapshot": {"volumeSnapshot": "", "storageClass": "fast", "snapshotClass": ""}, "operationTimeout": "10m0s"}});
            context.create_velero("DataUpload", upload).await;
        }
        let _operator = Operator::of(&context).ready().await;
        let path = "cluster-scoped-resources/core/nodes.yaml";
        assert_eq!(bundle_of(&context, "open", "Backup", "harvest").await.names(path), nodes);
        context.patch_velero("DataUpload", "du-2", json!({"status": {"phase": "Canceled"}})).await;
        assert_eq!(bundle_of(&context, "ended", "Backup", "harvest").await.names(path), nodes[..1]);
        context.delete_namespace(&shop).await;
    })
    .await;
}
