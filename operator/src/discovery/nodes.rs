//! Nodes to which a volume is still attached, and nodes that match an unschedulable pod. `walk` finds the nodes of pods
//! and of data.

use serde_json::Value;

use super::{Snapshot, reader::DiscoveryReader, top_n::TopN};
use crate::{
    cluster::ApiKind,
    velero::{PodRole, is_dns_name, node_requirements::NodeRequirements},
};

/// The most nodes that are added for pods that no node takes.
const NODES: usize = 50;
/// The most different requirements of such pods.
const REQUIREMENTS: usize = 64;
/// The most attachments that are followed to their node.
const ATTACHED: usize = 1000;

/// The attached volume and its node.
fn read_attachment(attachment: &Value) -> Option<(String, String)> {
    let text = |pointer| attachment.pointer(pointer).and_then(Value::as_str).filter(|name| is_dns_name(name));
    Some((text("/spec/source/persistentVolumeName")?.to_owned(), text("/spec/nodeName")?.to_owned()))
}

impl DiscoveryReader<'_> {
    /// Adds these nodes, once all pods and volumes are known. Without a target the bundle contains all nodes anyway.
    pub(super) async fn nodes_beyond_pods(&self, snapshot: &mut Snapshot) {
        if snapshot.target.object.is_some() && snapshot.scope.cluster_read {
            self.where_attached(snapshot).await;
            self.nodes_for_pending_pods(snapshot).await;
        }
    }

    async fn where_attached(&self, snapshot: &mut Snapshot) {
        if snapshot.namespaces.volumes.volumes.is_empty() {
            return;
        }
        let kind = ApiKind::cluster("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment");
        let volumes = snapshot.namespaces.volumes.volumes.clone();
        let ours = move |attachment: Value| read_attachment(&attachment).filter(|(volume, _)| volumes.contains(volume));
        for (volume, node) in self.list(&kind, "", None, ATTACHED, ours).await {
            if snapshot.namespaces.volumes.waited.contains(&volume) {
                snapshot.namespaces.volumes.held_on.insert(node.clone());
            }
            snapshot.namespaces.nodes.insert(node);
        }
    }

    async fn nodes_for_pending_pods(&self, snapshot: &mut Snapshot) {
        let of_velero = snapshot.installation.pods.iter().filter(|pod| pod.role != PodRole::Other);
        let pods = snapshot.namespaces.involved_pods.iter().chain(&snapshot.namespaces.unhealthy).chain(of_velero);
        let mut requirements: Vec<NodeRequirements> = Vec::new();
        for required in pods.filter_map(|pod| pod.node_requirements.as_ref()) {
            if requirements.len() < REQUIREMENTS && !requirements.contains(required) {
                requirements.push(required.clone());
            }
        }
        if requirements.is_empty() {
            return;
        }
        let kind = ApiKind::cluster("", "v1", "nodes", "Node");
        let matching_first = move |node: Value| {
            let name = node.pointer("/metadata/name").and_then(Value::as_str).filter(|name| is_dns_name(name))?;
            let matches = requirements.iter().any(|required| required.matches(&node));
            Some(((!matches, name.to_owned()), name.to_owned()))
        };
        let found = self.read(&kind, "", None, TopN::new(NODES, matching_first)).await;
        if found.beyond > 0 {
            let all = found.beyond + NODES;
            let told = format!("{NODES} of {all} are collected for unschedulable pods, matching nodes first");
            self.is_cut(&kind.plural, "", told);
        }
        snapshot.namespaces.nodes.extend(found.items());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_attachment_tells_its_volume_and_node_and_one_of_no_volume_nothing() {
        let read = |source: Value| read_attachment(&json!({"spec": {"nodeName": "n1", "source": source}}));
        assert_eq!(read(json!({"persistentVolumeName": "pv-1"})), Some(("pv-1".to_owned(), "n1".to_owned())));
        assert_eq!(read(json!({"inlineVolumeSpec": {}})), None);
        assert_eq!(read(json!({"persistentVolumeName": "../x"})), None);
    }
}
