//! The last step: nodes to which a volume is still attached, nodes that match an unschedulable pod, and the node agents
//! beside what waits. `walk` finds the nodes of pods and of data.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Snapshot, reader::DiscoveryReader, walk::Walked};
use crate::{
    cluster::ApiKind,
    velero::{Pod, PodRole, is_dns_name, node_requirements::NodeRequirements},
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

pub(super) async fn finish(reader: DiscoveryReader<'_>, walked: Walked) -> Snapshot {
    let Walked { scope, mut installation, target, mut namespaces, waited } = walked;
    let mut held_on = BTreeSet::new();
    // Without a target the bundle contains all nodes anyway.
    if target.object.is_some() && scope.cluster_read {
        for (volume, node) in attached(&reader, &namespaces.volumes.volumes).await {
            held_on.extend(waited.contains(&volume).then(|| node.clone()));
            namespaces.nodes.insert(node);
        }
        let of_velero = installation.pods.iter().filter(|pod| pod.role != PodRole::Other);
        let pods = namespaces.involved_pods.iter().chain(&namespaces.unhealthy).chain(of_velero);
        namespaces.nodes.extend(nodes_for_pending(&reader, pods).await);
    }
    let hosting = installation.pods.iter().filter(|pod| pod.role == PodRole::DataMover);
    let waiting = namespaces.involved_pods.iter().chain(&namespaces.unhealthy).chain(hosting);
    held_on.extend(waiting.filter_map(|pod| pod.node.clone()));
    involve_agents(&mut installation.pods, &held_on);
    Snapshot { scope, installation, target, namespaces, gaps: reader.gaps() }
}

/// Involves the node agents beside pods that wait for a volume, whichever agent took up the data, and those on nodes
/// that hold such a volume.
fn involve_agents(pods: &mut [Pod], nodes: &BTreeSet<String>) {
    for agent in pods {
        if let PodRole::NodeAgent { involved } = &mut agent.role {
            *involved |= agent.node.as_ref().is_some_and(|node| nodes.contains(node));
        }
    }
}

/// Those of the volumes that are attached, each with its node.
async fn attached(reader: &DiscoveryReader<'_>, volumes: &BTreeSet<String>) -> Vec<(String, String)> {
    if volumes.is_empty() {
        return Vec::new();
    }
    let kind = ApiKind::cluster("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment");
    let volumes = volumes.clone();
    let ours = move |attachment: Value| read_attachment(&attachment).filter(|(volume, _)| volumes.contains(volume));
    reader.list(&kind, "", None, ATTACHED, ours).await
}

/// Nodes for the pods among these that no node takes, matching nodes first.
async fn nodes_for_pending(reader: &DiscoveryReader<'_>, pods: impl Iterator<Item = &Pod>) -> Vec<String> {
    let mut requirements: Vec<NodeRequirements> = Vec::new();
    for required in pods.filter_map(|pod| pod.node_requirements.as_ref()) {
        if requirements.len() < REQUIREMENTS && !requirements.contains(required) {
            requirements.push(required.clone());
        }
    }
    if requirements.is_empty() {
        return Vec::new();
    }
    let kind = ApiKind::cluster("", "v1", "nodes", "Node");
    let matching_first = move |node: Value| {
        let name = node.pointer("/metadata/name").and_then(Value::as_str).filter(|name| is_dns_name(name))?;
        let matches = requirements.iter().any(|required| required.matches(&node));
        Some(((!matches, name.to_owned()), name.to_owned()))
    };
    let (found, beyond) = reader.first(&kind, "", None, NODES, matching_first).await;
    if beyond > 0 {
        let all = beyond + NODES;
        let told = format!("{NODES} of {all} are collected for unschedulable pods, matching nodes first");
        reader.is_cut(&kind.plural, "", told);
    }
    found
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
