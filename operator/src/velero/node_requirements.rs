//! What a pod that no node takes requires of its node, and which nodes match.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    hooks::expression_holds,
    pods::{array, labels},
};

/// The most terms that are kept of a pod's requirements.
const TERMS: usize = 32;

/// What a pod that no node takes requires of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeRequirements {
    labels: BTreeMap<String, String>,
    /// One of these must hold; without any, each node will do.
    terms: Vec<Value>,
}

impl NodeRequirements {
    /// `None` if a node has taken the pod, or the scheduler did not report that none does.
    pub(crate) fn read(pod: &Value) -> Option<Self> {
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

    /// Whether the node has what the pod requires.
    pub(crate) fn matches(&self, node: &Value) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SAID: &str = "PodScheduled";

    fn requirements(spec: &Value) -> NodeRequirements {
        let status = json!({"conditions": [{"type": SAID, "status": "False", "reason": "Unschedulable"}]});
        NodeRequirements::read(&json!({"spec": spec, "status": status})).expect("no node takes it")
    }

    #[test]
    fn only_a_pod_that_the_scheduler_found_no_node_for_has_requirements() {
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
    fn requirements_match_nodes_by_selector_and_by_required_affinity() {
        let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
        let fast = node("n1", json!({"disk": "fast", "zone": "a", "cores": "16"}));
        let slow = node("n2", json!({"disk": "slow"}));
        let means = |required: &NodeRequirements| (required.matches(&fast), required.matches(&slow));
        let affinity = |terms: Value| {
            requirements(&json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"preference": {"matchExpressions": [
                    {"key": "never", "operator": "Exists"}]}}]}}}))
        };
        let one = |key: &str, operator: &str, values: Value| {
            affinity(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        assert_eq!(means(&requirements(&json!({}))), (true, true), "each node will do");
        assert_eq!(means(&requirements(&json!({"nodeSelector": {"disk": "fast"}}))), (true, false));
        assert_eq!(means(&requirements(&json!({"nodeSelector": {"disk": "fast", "zone": "b"}}))), (false, false));
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
}
