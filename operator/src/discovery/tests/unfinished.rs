//! A target that did not end and whose spec does not show where it stopped: all namespaces, a pattern, or a restart of
//! Velero in between; and data that no node has taken up.

use debugbundle_format::{
    StoreFile,
    manifest::{MissingCode, MissingSeverity},
};
use serde_json::json;

use super::{
    Found, World,
    objects::{VELERO, backup, claim, data_upload, object, pod, restore},
};

/// The note about namespaces that the spec does not name.
fn unnamed(found: &Found) -> Option<&str> {
    let what = "namespaces that the target's spec does not name";
    let note = found.plan.missing.iter().find(|missing| missing.what == what)?;
    assert_eq!((note.code, note.severity), (MissingCode::NotLooked, MissingSeverity::Note));
    assert_eq!(note.cure, "name them in spec.namespaces");
    Some(&note.why)
}

#[tokio::test]
async fn a_restore_of_the_whole_cluster_under_way_leads_to_where_it_made_something_and_the_other_namespaces_are_reported()
 {
    let mut world = World::of([
        backup("seed").of_namespaces(&["*"]).phase("Completed"),
        restore("regrow").phase("InProgress"),
        pod("shop", "oven").restored_by("regrow"),
        pod("calm", "oven").restored_by("another"),
        claim("barn", "flour", None).restored_by("regrow"),
    ]);
    let found = world.restore("regrow").await;
    assert_eq!(found.names_in("shop", "core/pods"), ["oven"]);
    assert_eq!(found.names_in("barn", "core/persistentvolumeclaims"), ["flour"]);
    assert!(!found.looks_into("calm"));
    let made = Some("objects that Restore regrow created");
    assert_eq!((found.why("shop"), found.why("barn"), found.why("calm")), (made, made, None));
    assert!(unnamed(&found).is_some_and(|why| why.contains("in which the target created a pod or claim")));
    assert_eq!(world.api.times("/api/v1/pods"), 1);

    // A Backup leaves no trace in the namespace it is working on.
    for (name, included) in [("all", json!(["*"])), ("none", json!(null)), ("glob", json!(["shop", "calm-*"]))] {
        world.put([backup(name).spec("includedNamespaces", included).phase("InProgress")]);
        let found = world.backup(name).await;
        let why = unnamed(&found).expect("the spec covers others");
        assert!(why.contains("only namespaces that other objects or files lead to"), "{name}: {why}");
        assert_eq!(found.looks_into("shop"), name == "glob");
    }
    assert_eq!(unnamed(&world.backup("seed").await), None, "it came to its end");

    world.scope.namespaces = Some(["barn".to_owned()].into());
    let found = world.restore("regrow").await;
    assert_eq!(found.names_in("barn", "core/persistentvolumeclaims"), ["flour"]);
    assert_eq!((found.why("shop"), found.looks_into("shop")), (None, false));
    assert!(unnamed(&found).is_some());
    assert_eq!(world.api.times("/api/v1/pods"), 1, "not beyond the borders");
}

/// At startup Velero marks unfinished targets as Failed: there is no data, and nothing in the store.
#[tokio::test]
async fn a_target_that_a_restart_broke_off_leads_to_the_namespaces_of_its_spec_unless_results_name_others() {
    let mut world = World::of([
        backup("harvest").of_namespaces(&["shop"]).phase("Failed"),
        restore("regrow").of_backup("gone").phase("Failed"),
        pod("bakery", "oven").restored_by("regrow"),
    ]);
    let found = world.backup("harvest").await;
    assert!(found.looks_into("shop") && !found.looks_into("bakery"));
    assert_eq!((found.why("shop"), unnamed(&found)), (Some("spec of Backup harvest"), None));
    let found = world.restore("regrow").await;
    assert_eq!(found.names_in("bakery", "core/pods"), ["oven"], "its Backup is gone");

    let results = json!({"errors": {}, "warnings": {"namespaces": {"bakery": ["over quota"]}}});
    world.put_file("harvest", StoreFile::Results, &results);
    let found = world.backup("harvest").await;
    assert!(found.looks_into("bakery") && !found.looks_into("shop"));
}

/// Before a node-agent takes up the data, any node-agent may do so, and a node-agent that refuses writes that to its
/// log.
#[tokio::test]
async fn data_that_no_node_has_taken_up_leads_to_all_node_agents_though_other_data_has_a_node() {
    let selector = json!({"matchLabels": {"role": "node-agent"}});
    let upload = |name: &str| data_upload(name, ("shop", name)).of("Backup", "harvest");
    let world = World::of([
        object("DaemonSet", VELERO, "node-agent").spec("selector", selector),
        backup("harvest").of_namespaces(&["shop"]).phase("InProgress"),
        upload("du-1").phase("InProgress").status("node", "n1"),
        upload("du-2").phase("New"),
    ]);
    for node in ["n1", "n2"] {
        let agent = pod(VELERO, &format!("node-agent-{node}")).labelled("role", "node-agent").spec("nodeName", node);
        world.put([object("Node", "", node), agent.owned_by("apps/v1", "DaemonSet", "node-agent").ready()]);
    }
    assert_eq!(world.backup("harvest").await.names("core/nodes"), ["n1", "n2"]);
    world.put([upload("du-2").phase("Canceled")]);
    assert_eq!(world.backup("harvest").await.names("core/nodes"), ["n1"]);
}
