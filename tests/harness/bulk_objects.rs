//! A namespace full of small objects: many pods of several containers, and more Events than anybody reads. `load` makes
//! long logs.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Event;
use serde_json::json;

use crate::{Context, LogScript, pod};

/// Healthy pods outside Velero, on ten nodes, and Events about them.
#[derive(Clone, Copy, Debug)]
pub struct BulkObjects {
    /// How many pods.
    pub pods: usize,
    /// Containers of each.
    pub containers: usize,
    /// Bytes of each container's log; a multiple of [`LogScript::GENERATED_LINE`] when it is served.
    pub bytes: u64,
    /// Events, spread over the pods.
    pub events: usize,
}

const NODES: usize = 10;
/// Parallel requests while creating them.
const AT_ONCE: usize = 16;

impl BulkObjects {
    /// Creates everything in the context's namespace.
    pub async fn put(self, context: &Arc<Context>) {
        let mut nodes = Vec::new();
        for index in 0..NODES.min(self.pods) {
            nodes.push(context.node(&format!("node-{index}")).await);
        }
        let pods = (0..self.pods).map(|index| {
            let name = format!("guest-{index:04}");
            let mut guest = pod(&name).on_node(&nodes[index % nodes.len()]);
            for container in 0..self.containers {
                let container = format!("c{container}");
                guest = guest.with_container(&container);
                context.log(&name, &container, LogScript::generated(self.bytes, index as u64));
            }
            async move { context.pod(guest).await }
        });
        stream::iter(pods).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        let events = (0..self.events).map(|index| {
            let about = format!("guest-{:04}", index % self.pods);
            let at = jiff::Timestamp::now();
            let event = json!({
                "metadata": {"name": format!("{about}.{index:08x}"), "namespace": context.namespace},
                "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": about, "namespace": context.namespace},
                "type": "Normal", "reason": "Pulled", "firstTimestamp": at, "lastTimestamp": at, "count": 1,
                "message": format!("Container image \"guest:{index}\" already present on machine"),
                "source": {"component": "kubelet"}});
            async move { context.create::<Event>(event).await }
        });
        stream::iter(events).buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
    }
}
