//! Nodes that are collected for an unschedulable pod.

use debugbundle_format::manifest::{MissingCode, MissingSeverity};
use serde_json::{Value, json};

use super::{
    World,
    objects::{object, pod, pod_volume, restore},
};

/// Limit of nodes collected for an unschedulable pod.
const MOST: usize = 50;

#[tokio::test]
async fn a_pod_that_no_node_takes_leads_to_the_nodes_that_it_could_mean_and_a_cut_is_reported() {
    let refused = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]);
    let waits = pod("shop", "shop-0").spec("nodeName", Value::Null).spec("nodeSelector", json!({"disk": "fast"}));
    let world = World::of([
        restore("r1").phase("InProgress"),
        pod_volume("PodVolumeRestore", "r1-x", ("shop", "shop-0")).of("Restore", "r1").phase("InProgress"),
        waits.status("phase", "Pending").status("conditions", refused),
        // Its name sorts last, so that only the selector can select it among so many.
        object("Node", "", "zz-tainted").labelled("disk", "fast"),
    ]);
    let found = world.restore("r1").await;
    assert_eq!(found.names("core/nodes"), ["zz-tainted"]);
    assert!(found.missing("nodes").is_none());

    world.put((0..MOST).map(|n| object("Node", "", &format!("m-{n:02}"))));
    let found = world.restore("r1").await;
    let nodes = found.names("core/nodes");
    assert!(nodes.len() == MOST && nodes.contains(&"zz-tainted".to_owned()), "{nodes:?}");
    let cut = found.missing("nodes").expect("the cut is reported");
    assert_eq!((cut.code, cut.severity), (MissingCode::NotLooked, MissingSeverity::Note));
    assert!(cut.what.starts_with("nodes: 50 of 51 "), "{}", cut.what);
}
