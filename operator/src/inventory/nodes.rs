//! Nodes that no pod leads to: those to which a volume is still attached, and those that could suit a pod that no node
//! takes. `follow` finds the nodes of pods and of data.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Inventory, PodRole,
    hooks::expression_holds,
    is_dns_name,
    pods::{array, labels},
    reader::DiscoveryReader,
    top_n::TopN,
};
use crate::cluster::ApiKind;

/// The most nodes that are added for pods that no node takes.
const NODES: usize = 50;
/// The most different requirements of such pods, and the most terms of each.
const WISHES: usize = 64;
const TERMS: usize = 32;
/// The most attachments that are followed to their node.
const ATTACHED: usize = 1000;

/// What a pod that no node takes requires of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeRequirements {
    labels: BTreeMap<String, String>,
    /// One of these must hold; without any, each node will do.
    terms: Vec<Value>,
}

impl NodeRequirements {
    /// `None` if a node has taken the pod, or the scheduler did not report that none does.
    pub(super) fn read(pod: &Value) -> Option<Self> {
        const TERMS_AT: &str =
            "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        let taken = pod.pointer("/spec/nodeName").and_then(Value::as_str).is_some_and(|node| !node.is_empty());
        // A pod with scheduling gates waits for their removal, not for a node.
        let refused = |one: &Value| {
            one["type"] == "PodScheduled" && one["status"] == "False" && one["reason"] != "SchedulingGated"
        };
        (!taken && array(pod, "/status/conditions").any(refused)).then(|| Self {
            labels: labels(pod, "/spec/nodeSelector"),
            terms: array(pod, TERMS_AT).take(TERMS).cloned().collect(),
        })
    }

    fn could_mean(&self, node: &Value) -> bool {
        let has = labels(node, "/metadata/labels");
        let name = node.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let fields = BTreeMap::from([("metadata.name".to_owned(), name.to_owned())]);
        let term_holds = |term: &Value| {
            array(term, "/matchExpressions").all(|one| requirement_holds(one, &has))
                && array(term, "/matchFields").all(|one| requirement_holds(one, &fields))
        };
        self.labels.iter().all(|(key, value)| has.get(key) == Some(value))
            && (self.terms.is_empty() || self.terms.iter().any(term_holds))
    }
}

/// As in any selector, with two more operators.
fn requirement_holds(one: &Value, labels: &BTreeMap<String, String>) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let has = || number(one["key"].as_str().and_then(|key| labels.get(key)).map(String::as_str));
    let than = number(one.pointer("/values/0").and_then(Value::as_str));
    match one["operator"].as_str() {
        Some("Gt") => has().zip(than).is_some_and(|(has, than)| has > than),
        Some("Lt") => has().zip(than).is_some_and(|(has, than)| has < than),
        _ => expression_holds(one, labels),
    }
}

/// The attached volume and its node.
fn read_attachment(attachment: &Value) -> Option<(String, String)> {
    let text = |pointer| attachment.pointer(pointer).and_then(Value::as_str).filter(|name| is_dns_name(name));
    Some((text("/spec/source/persistentVolumeName")?.to_owned(), text("/spec/nodeName")?.to_owned()))
}

impl DiscoveryReader<'_> {
    /// Adds these nodes, once all pods and volumes are known. Without a target the bundle contains all nodes anyway.
    pub(super) async fn nodes_beyond_pods(&self, inventory: &mut Inventory) {
        if inventory.target.is_some() && inventory.scope.cluster_read {
            self.where_attached(inventory).await;
            self.wished_for(inventory).await;
        }
    }

    async fn where_attached(&self, inventory: &mut Inventory) {
        if inventory.trail.volumes.is_empty() {
            return;
        }
        let kind = ApiKind::cluster("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment");
        let volumes = inventory.trail.volumes.clone();
        let ours = move |attachment: Value| read_attachment(&attachment).filter(|(volume, _)| volumes.contains(volume));
        for (volume, node) in self.list(&kind, "", None, ATTACHED, ours).await {
            if inventory.trail.waited.contains(&volume) {
                inventory.trail.held_on.insert(node.clone());
            }
            inventory.nodes.insert(node);
        }
    }

    async fn wished_for(&self, inventory: &mut Inventory) {
        let of_velero = inventory.pods.iter().filter(|pod| pod.role != PodRole::Other);
        let pods = inventory.involved_pods.iter().chain(&inventory.unhealthy).chain(of_velero);
        let mut wishes: Vec<NodeRequirements> = Vec::new();
        for wish in pods.filter_map(|pod| pod.wish.as_ref()) {
            if wishes.len() < WISHES && !wishes.contains(wish) {
                wishes.push(wish.clone());
            }
        }
        if wishes.is_empty() {
            return;
        }
        let kind = ApiKind::cluster("", "v1", "nodes", "Node");
        let meant_first = move |node: Value| {
            let name = node.pointer("/metadata/name").and_then(Value::as_str).filter(|name| is_dns_name(name))?;
            let meant = wishes.iter().any(|wish| wish.could_mean(&node));
            Some(((!meant, name.to_owned()), name.to_owned()))
        };
        let found = self.read(&kind, "", None, TopN::new(NODES, meant_first)).await;
        if found.beyond > 0 {
            let all = found.beyond + NODES;
            let told = format!("{NODES} of {all} are collected for unschedulable pods, matching nodes first");
            self.is_cut(&kind.plural, "", told);
        }
        inventory.nodes.extend(found.items());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SAID: &str = "PodScheduled";

    fn wish(spec: &Value) -> NodeRequirements {
        let status = json!({"conditions": [{"type": SAID, "status": "False", "reason": "Unschedulable"}]});
        NodeRequirements::read(&json!({"spec": spec, "status": status})).expect("no node takes it")
    }

    #[test]
    fn only_a_pod_that_the_scheduler_found_no_node_for_has_a_wish() {
        let of = |node: Value, condition: Value| {
            NodeRequirements::read(&json!({"spec": {"nodeName": node}, "status": {"conditions": [condition]}}))
                .is_some()
        };
        let said = |status: &str, reason: &str| json!({"type": SAID, "status": status, "reason": reason});
        assert!(of(json!(null), said("False", "Unschedulable")) && of(json!(""), said("False", "SchedulerError")));
        assert!(!of(json!("n1"), said("False", "Unschedulable")));
        assert!(!of(json!(null), said("True", "")) && !of(json!(null), said("False", "SchedulingGated")));
        assert!(!of(json!(null), json!({"type": "Ready", "status": "False"})), "nobody has said anything of nodes");
        assert_eq!(NodeRequirements::read(&json!({"spec": 7})), None);
    }

    #[test]
    fn a_wish_means_nodes_by_selector_and_by_required_affinity() {
        let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
        let fast = node("n1", json!({"disk": "fast", "zone": "a", "cores": "16"}));
        let slow = node("n2", json!({"disk": "slow"}));
        let means = |wish: &NodeRequirements| (wish.could_mean(&fast), wish.could_mean(&slow));
        let affinity = |terms: Value| {
            wish(&json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"preference": {"matchExpressions": [
                    {"key": "never", "operator": "Exists"}]}}]}}}))
        };
        let one = |key: &str, operator: &str, values: Value| {
            affinity(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        assert_eq!(means(&wish(&json!({}))), (true, true), "each node will do");
        assert_eq!(means(&wish(&json!({"nodeSelector": {"disk": "fast"}}))), (true, false));
        assert_eq!(means(&wish(&json!({"nodeSelector": {"disk": "fast", "zone": "b"}}))), (false, false));
        assert_eq!(means(&one("disk", "In", json!(["slow", "tape"]))), (false, true));
        assert_eq!(means(&one("disk", "NotIn", json!(["slow"]))), (true, false));
        assert_eq!(means(&one("zone", "Exists", json!(null))), (true, false));
        assert_eq!(means(&one("zone", "DoesNotExist", json!(null))), (false, true));
        assert_eq!(means(&one("cores", "Gt", json!(["8"]))), (true, false));
        assert_eq!(means(&one("cores", "Lt", json!(["8"]))), (false, false));
        let by_name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]});
        assert_eq!(means(&affinity(json!([by_name]))), (false, true));
        let either = json!([by_name, {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]);
        assert_eq!(means(&affinity(either)), (true, true), "one of the terms is enough");
    }

    #[test]
    fn an_attachment_tells_its_volume_and_node_and_one_of_no_volume_nothing() {
        let read = |source: Value| read_attachment(&json!({"spec": {"nodeName": "n1", "source": source}}));
        assert_eq!(read(json!({"persistentVolumeName": "pv-1"})), Some(("pv-1".to_owned(), "n1".to_owned())));
        assert_eq!(read(json!({"inlineVolumeSpec": {}})), None);
        assert_eq!(read(json!({"persistentVolumeName": "../x"})), None);
    }
}
