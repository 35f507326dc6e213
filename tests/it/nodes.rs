//! Nodes without a pod of the target: where its volume is still attached.

use harness::{
    Context, LogScript, Operator,
    bundle::spec_about,
    pod,
    velero_objects::{pod_volume_restore, restore},
    with_namespace,
};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::VolumeAttachment,
};
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::support::workloads::{attachment, claim, volume, workload_pod};

const NODES: &str = "cluster-scoped-resources/core/nodes.yaml";

/// A running Restore whose data waits for the pod `shop-0`.
async fn restore_into(context: &Context, shop: &str) {
    let target = context.create_velero(restore("r1").in_progress().started(Timestamp::now())).await;
    let data = pod_volume_restore("r1-x").of(&target).of_pod(shop, "shop-0").in_progress();
    context.create_velero(data.on_node(&context.cluster_name("n1"))).await;
}

/// The pod of the volume is gone, but the volume is still attached to its node.
#[tokio::test]
async fn a_node_that_holds_a_volume_for_nobody_any_more_is_there_with_its_events_and_its_node_agents_log() {
    with_namespace("attached", |context| async move {
        let shop = context.workload_namespace("shop").await;
        let mut nodes = Vec::new();
        context.node_agents().await;
        // More than a bystander's log may hold, so that the test sees whether the log is complete.
        let filler = "x".repeat(1 << 20);
        for name in ["n1", "n2", "n3"] {
            let node = context.node(name).await;
            let agent = pod(&format!("agent-{name}")).on_node(&node).labelled("role", "node-agent");
            context.pod(agent.with_container("node-agent")).await;
            let rest = std::iter::repeat_n(filler.clone(), 3);
            let said = LogScript::lines(std::iter::once(format!("{name} detaches")).chain(rest));
            context.log(&format!("agent-{name}"), "node-agent", said);
            nodes.push(node);
        }
        let mut bound = Vec::new();
        for (name, at) in [("data", &nodes[1]), ("other", &nodes[2])] {
            let volume = context.create_in_cluster::<PersistentVolume>(name, volume()).await;
            context.create_in::<PersistentVolumeClaim>(&shop, claim(name, Some(&volume))).await;
            context.create_in_cluster::<VolumeAttachment>(name, attachment(&volume, at)).await;
            bound.push(volume);
        }
        let waits = workload_pod("shop-0").owned_by("apps/v1", "ReplicaSet", "shop-5d").on_node(&nodes[0]);
        context.create_in::<Pod>(&shop, waits.with_claim("data").restored_by("r1")).await;
        restore_into(&context, &shop).await;
        let event = json!({"metadata": {"name": format!("{}-e1", context.namespace)}, "type": "Warning",
            "reason": "NodeNotReady", "message": "node is not ready", "lastTimestamp": Timestamp::now(),
            "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": nodes[1]}});
        context.create_in::<Event>("default", event).await;

        let account = context.shipped_account().await;
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let (_, bundle) = context.bundle("held", spec_about("Restore", "r1")).await;
        assert_eq!(bundle.names(NODES), nodes[..2], "the third holds nothing of the target's");
        assert_eq!(
            bundle.names("cluster-scoped-resources/storage.k8s.io/volumeattachments.yaml"),
            [context.cluster_name("data")]
        );
        assert_eq!(bundle.names("namespaces/default/core/events.yaml"), [format!("{}-e1", context.namespace)]);
        let whole = |name: &str| {
            let log =
                format!("namespaces/{}/pods/agent-{name}/node-agent/node-agent/logs/current.log", context.namespace);
            bundle.file(&log).contains(&format!("{name} detaches"))
        };
        assert_eq!(["n1", "n2", "n3"].map(whole), [true, true, false], "of a bystander's log only the end is kept");

        let events: Api<Event> = Api::namespaced(context.client.clone(), "default");
        events.delete(&format!("{}-e1", context.namespace), &DeleteParams::default()).await.expect("deleted");
    })
    .await;
}
