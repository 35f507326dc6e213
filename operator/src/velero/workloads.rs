//! Velero's Deployments and DaemonSets in every flavour of installation, and which pods are theirs by their selectors.
//! `pods` reads the pods themselves.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use serde::Deserialize as _;
use serde_json::Value;

use super::{
    DataObject, Pod, PodRole,
    pods::{array, labels},
};

/// The most node agents that are involved because data may go to any of them.
pub(crate) const CANDIDATES: usize = 32;

/// A Deployment or DaemonSet of Velero's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// `spec.selector`; one that selects everything selects no pod.
    pub selector: Selector,
    /// The pod template's containers: (name, image, arguments); init containers first.
    pub containers: Vec<(String, String, Vec<String>)>,
}

impl Pod {
    /// By the workload's own selector. A selector may also match pods of others, such as those of a plugin with the
    /// same label; then the owner decides.
    fn selected_by(&self, workload: &Workload) -> bool {
        let own = self.owner.as_ref().is_none_or(|owner| {
            let rest = owner.name.strip_prefix(&workload.name);
            if owner.is("apps", "ReplicaSet") {
                rest.is_some_and(|hash| hash.starts_with('-'))
            } else {
                rest == Some("")
            }
        });
        !workload.selector.selects_all() && workload.selector.matches(&self.labels) && own
    }
}

/// An unreadable selector selects nothing; the API server accepts none.
fn selector(selector: &Value) -> Selector {
    let read = LabelSelector::deserialize(selector).ok().and_then(|selector| Selector::try_from(selector).ok());
    read.unwrap_or_default()
}

fn workload(object: &Value) -> Workload {
    let mut containers = Vec::new();
    for pointer in ["/spec/template/spec/initContainers", "/spec/template/spec/containers"] {
        for container in array(object, pointer) {
            let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
            let args = array(container, "/command").chain(array(container, "/args"));
            containers.push((text("name"), text("image"), args.filter_map(Value::as_str).map(str::to_owned).collect()));
        }
    }
    Workload {
        name: object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        selector: selector(&object["spec"]["selector"]),
        containers,
    }
}

/// A Deployment that is Velero's server: by the label that `velero install` and Helm set, by name, or by the label
/// of Helm and OADP. The vSphere plugin's Deployments carry the first label too, but other names of their own.
pub fn server_workload(deployment: &Value) -> Option<Workload> {
    let labels = labels(deployment, "/metadata/labels");
    let name = deployment.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    let server = is("component", "velero") || name == "velero" || is("app.kubernetes.io/name", "velero");
    (server && name != "backup-driver").then(|| workload(deployment))
}

/// A DaemonSet that is Velero's node agent (`restic` before Velero 1.10).
pub(crate) fn node_agent_workload(daemon: &Value) -> Option<Workload> {
    let name = daemon.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let pods = labels(daemon, "/spec/template/metadata/labels");
    let agent = name == "restic"
        || name.starts_with("node-agent")
        || pods.get("role").is_some_and(|role| role == "node-agent")
        || pods.get("name").is_some_and(|name| name == "node-agent" || name == "restic");
    agent.then(|| workload(daemon))
}

/// Assigns each pod's role, and returns whether node agents beyond [`CANDIDATES`] are left out. `agents` is `None` if
/// the DaemonSets are unknown, `data` if there is no target or its data is unknown. While no node of any data is known,
/// all node agents are involved; for a target without data, none is. While only some data has no node, any agent may
/// take it up: the first ones are involved, too.
pub(crate) fn assign_roles(
    pods: &mut [Pod],
    servers: &[Workload],
    agents: Option<&[Workload]>,
    data: Option<&[DataObject]>,
) -> bool {
    let has_none = data.is_some_and(<[_]>::is_empty);
    let data = data.unwrap_or_default();
    let nodes: Vec<&str> = data.iter().filter_map(|object| object.node.as_deref()).collect();
    let mut candidates = if data.iter().any(DataObject::may_go_anywhere) { CANDIDATES } else { 0 };
    let (asks, mut others) = (candidates > 0 && !nodes.is_empty(), false);
    for pod in pods {
        // Anybody can set this label: it counts only where the DaemonSet itself is unknown.
        let is_agent = if let Some(agents) = agents {
            agents.iter().any(|agent| pod.selected_by(agent))
        } else {
            let of_daemon = pod.owner.as_ref().is_some_and(|owner| owner.is("apps", "DaemonSet"));
            of_daemon && pod.labels.get("role").is_some_and(|role| role == "node-agent")
        };
        pod.role = if data.iter().any(|object| object.name == pod.name) {
            PodRole::DataMover
        } else if pod.labels.contains_key("velero.io/repo-name") {
            PodRole::Maintenance
        } else if is_agent {
            let here = pod.node.as_deref().is_some_and(|node| nodes.contains(&node));
            let mut involved = here || (nodes.is_empty() && !has_none);
            if !involved && asks {
                others |= candidates == 0;
                involved = candidates > 0;
                candidates = candidates.saturating_sub(1);
            }
            PodRole::NodeAgent { involved }
        } else if servers.iter().any(|server| pod.selected_by(server)) {
            PodRole::Server
        } else {
            PodRole::Other
        };
    }
    others
}

/// The report if data may go to more agents than [`CANDIDATES`].
pub(crate) fn told_of_candidates() -> String {
    format!("data that has no node yet may go to any node-agent; {CANDIDATES} node-agents are read")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::velero::Owner;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"name": "herd-1", "namespace": "farm", "uid": "u9", "labels": {"app": "herd"}}})
    }

    fn of_apps((kind, name): (&str, &str)) -> Owner {
        Owner { group: "apps".to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn velero_is_found_by_label_by_name_and_by_helms_label() {
        let found = |name: &str, labels: Value| {
            server_workload(&json!({"metadata": {"name": name, "labels": labels}, "spec": {"selector": {"matchLabels": {"a": "b"}}}}))
                .is_some()
        };
        assert!(found("backup-service", json!({"component": "velero"})));
        assert!(found("velero", json!({})));
        assert!(found("prod-velero", json!({"app.kubernetes.io/name": "velero"})));
        assert!(!found("web", json!({"app": "web"})));
        assert!(!found("backup-driver", json!({"component": "velero"})));
    }

    #[test]
    fn a_selector_that_fits_others_too_does_not_make_them_velero() {
        let wide = [("component".to_owned(), "velero".to_owned())];
        let workload = |name: &str| Workload {
            name: name.into(),
            selector: Selector::from_iter(wide.clone()),
            containers: vec![],
        };
        let one = |owner: Option<(&str, &str)>| Pod {
            labels: wide.clone().into(),
            owner: owner.map(of_apps),
            ..Pod::read(&pod()).unwrap()
        };
        let mut pods = [
            one(Some(("ReplicaSet", "velero-7d9c"))),
            one(Some(("ReplicaSet", "backup-driver-5f4b"))),
            one(Some(("DaemonSet", "agents"))),
            one(Some(("DaemonSet", "datamgr-for-vsphere-plugin"))),
            one(None),
        ];
        assign_roles(&mut pods, &[workload("velero")], Some(&[workload("agents")]), None);
        let roles: Vec<_> = pods.iter().map(|pod| pod.role).collect();
        let agent = PodRole::NodeAgent { involved: true };
        assert_eq!(roles, [PodRole::Server, PodRole::Other, agent, PodRole::Other, agent]);
    }

    #[test]
    fn roles_follow_selectors_names_and_nodes() {
        let workload = |name: &str, selector: Value| Workload {
            name: name.into(),
            selector: super::selector(&selector),
            containers: vec![],
        };
        let server = workload("velero", json!({"matchLabels": {"name": "velero"}}));
        let agents = workload("node-agent", json!({"matchLabels": {"role": "node-agent"}}));
        let one = |name: &str, node: &str, labels: &[(&str, &str)]| {
            let labels: BTreeMap<_, _> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Pod { name: name.into(), node: Some(node.into()), labels, owner: None, ..Pod::read(&pod()).unwrap() }
        };
        let data =
            [DataObject::read("datauploads", &json!({"metadata": {"name": "mover-1"}, "status": {"node": "n2"}}))
                .unwrap()];
        let mut pods = [
            one("velero-0", "n1", &[("name", "velero")]),
            one("na-1", "n1", &[("role", "node-agent")]),
            one("na-2", "n2", &[("role", "node-agent")]),
            one("mover-1", "n2", &[("name", "velero")]),
            one("m", "n2", &[("velero.io/repo-name", "shop-default-kopia")]),
            one("other", "n2", &[]),
        ];
        assign_roles(&mut pods, &[server], Some(&[agents]), Some(&data));
        let roles: Vec<_> = pods.iter().map(|pod| pod.role).collect();
        assert_eq!(
            roles,
            [
                PodRole::Server,
                PodRole::NodeAgent { involved: false },
                PodRole::NodeAgent { involved: true },
                PodRole::DataMover,
                PodRole::Maintenance,
                PodRole::Other
            ]
        );
    }

    #[test]
    fn every_node_agent_is_involved_while_nobody_knows_the_node_and_none_in_a_target_without_data() {
        let agents = Workload {
            name: "node-agent".into(),
            selector: selector(&json!({"matchLabels": {"role": "node-agent"}})),
            containers: vec![],
        };
        let labels = BTreeMap::from([("role".to_owned(), "node-agent".to_owned())]);
        let accepted_by = |node: Option<&str>| {
            let object = json!({"metadata": {"name": "x"}, "status": {"acceptedByNode": node}});
            DataObject::read("datauploads", &object).unwrap()
        };
        for (data, expected) in [
            (None, true),
            (Some(vec![]), false),
            (Some(vec![accepted_by(None)]), true),
            (Some(vec![accepted_by(Some("elsewhere"))]), false),
            (Some(vec![accepted_by(Some("n1"))]), true),
        ] {
            let one =
                Pod { labels: labels.clone(), owner: None, node: Some("n1".into()), ..Pod::read(&pod()).unwrap() };
            let mut pods = [one];
            assign_roles(&mut pods, &[], Some(std::slice::from_ref(&agents)), data.as_deref());
            assert_eq!(pods[0].role, PodRole::NodeAgent { involved: expected }, "{data:?}");
        }
    }

    #[test]
    fn while_some_data_has_no_node_yet_the_first_node_agents_are_involved_beside_those_on_the_nodes_of_the_rest() {
        let agents = Workload {
            name: "node-agent".into(),
            selector: selector(&json!({"matchLabels": {"role": "node-agent"}})),
            containers: vec![],
        };
        let labels = BTreeMap::from([("role".to_owned(), "node-agent".to_owned())]);
        let agent = |n: usize| Pod {
            labels: labels.clone(),
            owner: None,
            node: Some(format!("n{n:02}")),
            ..Pod::read(&pod()).unwrap()
        };
        let object = |plural: &str, phase: &str, node: Option<&str>| {
            let object = json!({"metadata": {"name": "x"}, "status": {"phase": phase, "node": node}});
            DataObject::read(plural, &object).unwrap()
        };
        let involved = |all: usize, second: DataObject| {
            let mut pods: Vec<Pod> = (0..all).map(agent).collect();
            let data = [object("datauploads", "InProgress", Some("n39")), second];
            let others = assign_roles(&mut pods, &[], Some(std::slice::from_ref(&agents)), Some(&data));
            (pods.iter().filter(|pod| pod.role == PodRole::NodeAgent { involved: true }).count(), others)
        };
        assert_eq!(involved(40, object("datadownloads", "Accepted", None)), (CANDIDATES + 1, true));
        assert_eq!(involved(CANDIDATES, object("datauploads", "", None)), (CANDIDATES, false));
        assert_eq!(involved(40, object("datauploads", "Canceled", None)), (1, false), "it goes nowhere any more");
        assert_eq!(involved(40, object("podvolumerestores", "", None)), (1, false), "that goes where its pod is");
    }

    #[test]
    fn a_selector_is_taken_with_its_expressions() {
        let server = |selector: Value| {
            let deployment = json!({"metadata": {"name": "velero"}, "spec": {"selector": selector}});
            server_workload(&deployment).unwrap()
        };
        let labelled = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Pod { labels, owner: None, ..Pod::read(&pod()).unwrap() }
        };
        let expression = |operator: &str, values: Option<&[&str]>| {
            json!({"matchLabels": {"app": "velero"},
                "matchExpressions": [{"key": "tier", "operator": operator, "values": values}]})
        };
        for (selector, selected, not) in [
            (expression("In", Some(&["backup", "dr"])), Some("dr"), None),
            (expression("NotIn", Some(&["web"])), None, Some("web")),
            (expression("Exists", None), Some("any"), None),
            (expression("DoesNotExist", None), None, Some("any")),
        ] {
            let of = |tier: Option<&'static str>| {
                let all = [("app", "velero")].into_iter().chain(tier.map(|tier| ("tier", tier)));
                labelled(&all.collect::<Vec<_>>())
            };
            let server = server(selector.clone());
            assert!(of(selected).selected_by(&server), "{selector}");
            assert!(!of(not).selected_by(&server), "{selector}");
            assert!(!labelled(&[("tier", "dr")]).selected_by(&server), "the labels count too: {selector}");
        }
        for nothing in [json!({}), Value::Null, json!({"matchLabels": 7}), expression("Near", None)] {
            assert!(!labelled(&[("app", "velero")]).selected_by(&server(nothing.clone())), "{nothing}");
        }
    }

    #[test]
    fn a_label_alone_makes_no_node_agent_unless_daemon_sets_are_not_to_be_seen() {
        let labels = || BTreeMap::from([("role".to_owned(), "node-agent".to_owned())]);
        let one = |owner: Option<(&str, &str)>| Pod {
            labels: labels(),
            owner: owner.map(of_apps),
            ..Pod::read(&pod()).unwrap()
        };
        let roles = |agents: Option<&[Workload]>| {
            let mut pods =
                [one(None), one(Some(("DaemonSet", "node-agent"))), one(Some(("ReplicaSet", "node-agent-7d")))];
            assign_roles(&mut pods, &[], agents, None);
            pods.map(|pod| pod.role)
        };
        let agent = PodRole::NodeAgent { involved: true };
        assert_eq!(roles(Some(&[])), [PodRole::Other; 3]);
        assert_eq!(roles(None), [PodRole::Other, agent, PodRole::Other]);
    }
}
