//! A target that did not end and whose spec does not show where it stopped: all namespaces, a pattern, or a restart of
//! Velero in between; and data that no node has taken up.

use harness::{
    Context, Operator,
    bundle::{Unpacked, spec_about},
    context::PREFIX,
    pod,
    velero_objects::{backup, data_upload, restore},
    with_namespace,
};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use crate::support::workloads::{claim, odd_event, workload_pod};

async fn pod_of(context: &Context, place: &str, restore: &str) {
    context.create_in::<Pod>(place, workload_pod("oven").restored_by(restore)).await;
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
        context.create_in::<PersistentVolumeClaim>(barn, flour).await;
        context.create_velero(backup("seed").of_namespaces(["*"]).completed()).await;
        context.create_velero(restore(&regrow).in_progress()).await;
        let account = context.shipped_account().await;
        let everywhere = || context.stand.times(&account.user, ("list", "pods"), "", 200);
        let before = everywhere();

        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let (_, bundle) = context.bundle("hung", spec_about("Restore", &regrow)).await;
        assert_eq!(bundle.names_in(shop, "core/pods"), ["oven"]);
        assert_eq!(bundle.names_in(barn, "core/persistentvolumeclaims"), ["flour"]);
        assert!(!looked_into(&bundle, calm));
        let made = json!(format!("objects that Restore {regrow} created"));
        assert_eq!((why(&bundle, shop), why(&bundle, barn), why(&bundle, calm)), (Some(&made), Some(&made), None));
        assert!(told(&bundle).is_some_and(|why| why.contains("in which the target created a pod or claim")));
        assert_eq!(everywhere(), before + 1);

        // A Backup leaves no trace in the namespace it is working on.
        for (name, included) in [("all", json!(["*"])), ("none", json!(null)), ("glob", json!([shop, "calm-*"]))] {
            context.create_velero(backup(name).spec("includedNamespaces", included).in_progress()).await;
            let (_, bundle) = context.bundle(&format!("backup-{name}"), spec_about("Backup", name)).await;
            assert!(
                told(&bundle).is_some_and(|why| why.contains("only namespaces that other objects or files lead to")),
                "{name}"
            );
            assert_eq!(looked_into(&bundle, shop), name == "glob");
        }
        let (_, bundle) = context.bundle("ended", spec_about("Backup", "seed")).await;
        assert_eq!(told(&bundle), None, "it came to its end");
        operator.terminate();
        drop(operator);

        let allowed = format!("--allowed-namespaces={barn}");
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).args([allowed]).ready().await;
        let (_, bundle) = context.bundle("bounded", spec_about("Restore", &regrow)).await;
        assert_eq!(bundle.names_in(barn, "core/persistentvolumeclaims"), ["flour"]);
        assert_eq!((why(&bundle, shop), looked_into(&bundle, shop)), (None, false));
        assert!(told(&bundle).is_some());
        assert_eq!(everywhere(), before + 1, "not beyond the borders");
    })
    .await;
}

/// At startup Velero marks unfinished targets as Failed: there is no data, and nothing in the store.
#[tokio::test]
async fn a_target_that_a_restart_broke_off_leads_to_the_namespaces_of_its_spec_unless_results_name_others() {
    with_namespace("broken", |context| async move {
        let (shop, bakery) = (context.workload_namespace("shop").await, context.workload_namespace("bakery").await);
        for place in [&shop, &bakery] {
            context.create_in::<Event>(place, odd_event(place)).await;
        }
        let reason = "found a backup with status \"InProgress\" during the server starting, mark it as \"Failed\"";
        let broken_off = backup("harvest").of_namespaces([&shop]).failed().status("failureReason", reason);
        context.create_velero(broken_off).await;
        let regrow = format!("{}-regrow", context.namespace);
        pod_of(&context, &bakery, &regrow).await;
        context.create_velero(restore(&regrow).of_backup("gone").failed()).await;

        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("backup", spec_about("Backup", "harvest")).await;
        assert_eq!(bundle.names_in(&shop, "core/events"), ["e1"]);
        assert_eq!((why(&bundle, &shop), told(&bundle)), (Some(&json!("spec of Backup harvest")), None));
        let (_, bundle) = context.bundle("restore", spec_about("Restore", &regrow)).await;
        assert_eq!(bundle.names_in(&bakery, "core/pods"), ["oven"], "its Backup is gone");

        let named = json!({"errors": {}, "warnings": {"namespaces": {&bakery: ["over quota"]}}});
        let key = format!("{PREFIX}/backups/harvest/harvest-results.gz");
        context.bucket.put_gzipped(&key, named.to_string()).await;
        let (_, bundle) = context.bundle("with-results", spec_about("Backup", "harvest")).await;
        assert!(looked_into(&bundle, &bakery) && !looked_into(&bundle, &shop));
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
        let target = context.create_velero(backup("harvest").of_namespaces([&shop]).in_progress()).await;
        let upload = |name: &str| data_upload(name).of(&target).of_claim(&shop, name);
        context.create_velero(upload("du-1").in_progress().on_node(&nodes[0])).await;
        context.create_velero(upload("du-2").phase("New")).await;
        let _operator = Operator::of(&context).ready().await;
        let path = "cluster-scoped-resources/core/nodes.yaml";
        assert_eq!(context.bundle("open", spec_about("Backup", "harvest")).await.1.names(path), nodes);
        context.set_velero_phase("DataUpload", "du-2", "Canceled").await;
        assert_eq!(context.bundle("ended", spec_about("Backup", "harvest")).await.1.names(path), nodes[..1]);
    })
    .await;
}
