//! Pods and workloads of Velero's namespace, projected to what a plan needs: whose they are and which logs they have.
//! Their objects go into the bundle whole, by `collect`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use serde::Deserialize as _;
use serde_json::Value;

use super::{DataObject, Workload};

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a pod of the same name may take its place.
    pub uid: String,
    /// Where it runs; `None` while it is not scheduled.
    pub node: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that say which hooks Velero runs in it.
    pub hooks: BTreeMap<String, String>,
    /// `status.phase`.
    pub phase: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Kind and name of its controller.
    pub owner: Option<(String, String)>,
    /// Claims it mounts.
    pub claims: Vec<String>,
    /// Its containers: init, main, ephemeral.
    pub containers: Vec<Container>,
    /// What it is to Velero.
    pub role: PodRole,
}

/// A container and what its status says about its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its sort.
    pub kind: ContainerType,
    /// `restartCount`.
    pub restarts: i64,
    /// `lastState.terminated` is set.
    pub terminated_before: bool,
    /// It does what it should: running and ready, or ended with 0.
    pub healthy: bool,
    /// The image asked for.
    pub image: String,
    /// The image that runs, with digest.
    pub image_id: String,
}

/// Where a container stands in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerType {
    /// Init containers, restartable ones too.
    Init,
    /// Containers.
    Main,
    /// Ephemeral (debug) containers.
    Ephemeral,
}

/// What a pod of Velero's namespace is to Velero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodRole {
    /// The server.
    Server,
    /// A node agent.
    NodeAgent {
        /// On a node where data of the target moves, or there is no target.
        involved: bool,
    },
    /// Serves a PodVolumeBackup, PodVolumeRestore, DataUpload or DataDownload of the target.
    DataMover,
    /// Maintains a repository.
    Maintenance,
    /// Anything else.
    Other,
}

impl Container {
    /// There is a log of an instance before the present one.
    pub fn has_previous(&self) -> bool {
        self.restarts > 0 || self.terminated_before
    }

    /// It is not ready, ended with another code than 0, or was restarted.
    pub fn is_suspect(&self) -> bool {
        !self.healthy || self.has_previous()
    }
}

impl Pod {
    /// Reads the object, whatever is in it; `None` for one without name.
    pub fn read(pod: &Value) -> Option<Self> {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let some = |pointer: &str| Some(text(pointer)).filter(|text| !text.is_empty());
        let mut containers = Vec::new();
        for (kind, specs, statuses) in [
            (ContainerType::Init, "/spec/initContainers", "/status/initContainerStatuses"),
            (ContainerType::Main, "/spec/containers", "/status/containerStatuses"),
            (ContainerType::Ephemeral, "/spec/ephemeralContainers", "/status/ephemeralContainerStatuses"),
        ] {
            for container in array(pod, specs) {
                let status = array(pod, statuses).find(|status| status["name"] == container["name"]);
                containers.extend(read_container(kind, container, status.unwrap_or(&Value::Null)));
            }
        }
        let owner = array(pod, "/metadata/ownerReferences")
            .find(|owner| owner["controller"] == true)
            .and_then(|owner| Some((owner["kind"].as_str()?.to_owned(), owner["name"].as_str()?.to_owned())));
        Some(Self {
            namespace: text("/metadata/namespace"),
            name: some("/metadata/name")?,
            uid: text("/metadata/uid"),
            node: some("/spec/nodeName"),
            labels: labels(pod, "/metadata/labels"),
            hooks: labels(pod, "/metadata/annotations")
                .into_iter()
                .filter(|(key, _)| key.contains("hook.backup.velero.io/") || key.contains("hook.restore.velero.io/"))
                .collect(),
            phase: text("/status/phase"),
            created: text("/metadata/creationTimestamp").parse().ok(),
            owner,
            claims: array(pod, "/spec/volumes")
                .filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str())
                .map(str::to_owned)
                .collect(),
            containers,
            role: PodRole::Other,
        })
    }

    /// Nothing about it looks wrong.
    pub fn is_healthy(&self) -> bool {
        let settled = matches!(self.phase.as_str(), "Running" | "Succeeded");
        settled && !self.containers.iter().any(|one| one.kind != ContainerType::Ephemeral && one.is_suspect())
    }

    /// By the workload's own selector. A selector may be wide enough for the pods of others, such as those of a plugin with
    /// the same label; then the owner tells.
    fn selected_by(&self, workload: &Workload) -> bool {
        let own = self.owner.as_ref().is_none_or(|(kind, name)| match kind.as_str() {
            "ReplicaSet" => name.strip_prefix(&workload.name).is_some_and(|hash| hash.starts_with('-')),
            _ => *name == workload.name,
        });
        !workload.selector.selects_all() && workload.selector.matches(&self.labels) && own
    }
}

fn read_container(kind: ContainerType, container: &Value, status: &Value) -> Option<Container> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let ended_well = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64) == Some(0);
    let running = status.pointer("/state/running").is_some();
    // Nobody tells readiness of ephemeral containers; an init container is ready when it has ended, unless it is a sidecar.
    let tells_ready = kind == ContainerType::Main || container["restartPolicy"] == "Always";
    Some(Container {
        name: container["name"].as_str().filter(|name| !name.is_empty())?.to_owned(),
        kind,
        restarts: status["restartCount"].as_i64().unwrap_or(0),
        terminated_before: status.pointer("/lastState/terminated").is_some_and(Value::is_object),
        healthy: ended_well || (running && (status["ready"] == true || !tells_ready)),
        image: text(container, "image"),
        image_id: text(status, "imageID"),
    })
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn labels(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let labels = value.pointer(pointer).and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(text).collect()
}

/// One that cannot be read selects nothing, as the API server takes none.
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
pub(super) fn node_agent_workload(daemon: &Value) -> Option<Workload> {
    let name = daemon.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let pods = labels(daemon, "/spec/template/metadata/labels");
    let agent = name == "restic"
        || name.starts_with("node-agent")
        || pods.get("role").is_some_and(|role| role == "node-agent")
        || pods.get("name").is_some_and(|name| name == "node-agent" || name == "restic");
    agent.then(|| workload(daemon))
}

/// Tells each pod's role; `agents` is `None` if nobody could tell the DaemonSets. Without data of a target all node agents
/// are involved: nobody knows which one matters.
pub(super) fn assign_roles(pods: &mut [Pod], servers: &[Workload], agents: Option<&[Workload]>, data: &[DataObject]) {
    let nodes: Vec<&str> = data.iter().filter_map(|object| object.node.as_deref()).collect();
    for pod in pods {
        // Whoever likes may call a pod so: the label is believed only where the DaemonSet itself is not to be seen.
        let is_agent = match agents {
            Some(agents) => agents.iter().any(|agent| pod.selected_by(agent)),
            None => {
                let of_daemon = pod.owner.as_ref().is_some_and(|(kind, _)| kind == "DaemonSet");
                of_daemon && pod.labels.get("role").is_some_and(|role| role == "node-agent")
            }
        };
        pod.role = if data.iter().any(|object| object.name == pod.name) {
            PodRole::DataMover
        } else if pod.labels.contains_key("velero.io/repo-name") {
            PodRole::Maintenance
        } else if is_agent {
            let here = pod.node.as_deref().is_some_and(|node| nodes.contains(&node));
            PodRole::NodeAgent { involved: nodes.is_empty() || here }
        } else if servers.iter().any(|server| pod.selected_by(server)) {
            PodRole::Server
        } else {
            PodRole::Other
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "herd-1", "namespace": "farm", "uid": "u9", "labels": {"app": "herd", "odd": 3},
                "creationTimestamp": "2026-03-01T00:00:00Z",
                "ownerReferences": [{"kind": "ReplicaSet", "name": "herd", "controller": true}]},
            "spec": {"nodeName": "barn", "initContainers": [{"name": "feed", "image": "feed:1"}],
                "containers": [{"name": "cow", "image": "cow:1"}, {"image": "nameless"}],
                "ephemeralContainers": [{"name": "vet"}],
                "volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "hay"}}, {"name": "b", "emptyDir": {}}]},
            "status": {"phase": "Running",
                "initContainerStatuses": [{"name": "feed", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}],
                "containerStatuses": [{"name": "cow", "restartCount": 2, "ready": true, "state": {"running": {}},
                    "lastState": {"terminated": {"exitCode": 137}}, "imageID": "cow@sha256:1"}]}})
    }

    #[test]
    fn a_pod_is_read_with_all_its_containers() {
        let pod = Pod::read(&pod()).unwrap();
        let names: Vec<_> =
            pod.containers.iter().map(|one| (one.name.as_str(), one.kind, one.has_previous())).collect();
        assert_eq!(
            names,
            [
                ("feed", ContainerType::Init, false),
                ("cow", ContainerType::Main, true),
                ("vet", ContainerType::Ephemeral, false)
            ]
        );
        assert_eq!(pod.node.as_deref(), Some("barn"));
        assert_eq!(pod.claims, ["hay"]);
        assert_eq!(pod.owner, Some(("ReplicaSet".into(), "herd".into())));
        assert!(!pod.is_healthy(), "it was restarted");
    }

    #[test]
    fn a_container_is_suspect_by_what_its_sort_tells() {
        let suspect = |list: &str, spec: Value, status: Value| {
            let statuses = match list {
                "initContainers" => "initContainerStatuses",
                "containers" => "containerStatuses",
                _ => "ephemeralContainerStatuses",
            };
            let mut spec = spec;
            let mut status = status;
            (spec["name"], status["name"]) = ("c".into(), "c".into());
            let pod = json!({"metadata": {"name": "p"}, "spec": {list: [spec]}, "status": {statuses: [status]}});
            Pod::read(&pod).unwrap().containers[0].is_suspect()
        };
        let running = |ready: bool| json!({"ready": ready, "state": {"running": {}}});
        assert!(suspect("containers", json!({}), running(false)));
        assert!(!suspect("containers", json!({}), running(true)));
        assert!(!suspect("initContainers", json!({}), running(false)), "it is not ready before it has ended");
        assert!(suspect("initContainers", json!({"restartPolicy": "Always"}), running(false)), "a sidecar is");
        assert!(!suspect("ephemeralContainers", json!({}), running(false)));
        assert!(suspect("ephemeralContainers", json!({}), json!({"state": {"terminated": {"exitCode": 1}}})));
        assert!(suspect("initContainers", json!({}), json!({"state": {"waiting": {}}})));
        let before = json!({"ready": true, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 0}}});
        assert!(suspect("containers", json!({}), before), "it runs for the second time, whatever its count says");
    }

    #[test]
    fn a_pod_without_status_has_containers_and_no_health() {
        let pod = Pod::read(&json!({"metadata": {"name": "calf"}, "spec": {"containers": [{"name": "c"}]}})).unwrap();
        assert_eq!((pod.node.as_deref(), pod.containers.len()), (None, 1));
        assert!(!pod.is_healthy());
        assert_eq!(Pod::read(&json!({"spec": []})), None);
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
            owner: owner.map(|(kind, name)| (kind.to_owned(), name.to_owned())),
            ..Pod::read(&pod()).unwrap()
        };
        let mut pods = [
            one(Some(("ReplicaSet", "velero-7d9c"))),
            one(Some(("ReplicaSet", "backup-driver-5f4b"))),
            one(Some(("DaemonSet", "agents"))),
            one(Some(("DaemonSet", "datamgr-for-vsphere-plugin"))),
            one(None),
        ];
        assign_roles(&mut pods, &[workload("velero")], Some(&[workload("agents")]), &[]);
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
        assign_roles(&mut pods, &[server], Some(&[agents]), &data);
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
            owner: owner.map(|(kind, name)| (kind.to_owned(), name.to_owned())),
            ..Pod::read(&pod()).unwrap()
        };
        let roles = |agents: Option<&[Workload]>| {
            let mut pods =
                [one(None), one(Some(("DaemonSet", "node-agent"))), one(Some(("ReplicaSet", "node-agent-7d")))];
            assign_roles(&mut pods, &[], agents, &[]);
            pods.map(|pod| pod.role)
        };
        let agent = PodRole::NodeAgent { involved: true };
        assert_eq!(roles(Some(&[])), [PodRole::Other; 3]);
        assert_eq!(roles(None), [PodRole::Other, agent, PodRole::Other]);
    }
}
