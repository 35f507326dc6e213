//! Pods, projected to what a plan needs: their containers and logs, and their health. `workloads` assigns their roles.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::node_requirements::NodeRequirements;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: another pod of the same name may take its place.
    pub uid: String,
    /// Where it runs; `None` while it is not scheduled.
    pub node: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations that define hooks for Velero.
    pub hooks: BTreeMap<String, String>,
    /// `status.phase`.
    pub phase: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Its controller.
    pub owner: Option<Owner>,
    /// Claims it mounts, including those of its ephemeral volumes.
    pub claims: Vec<String>,
    /// What it requires of a node, if no node takes it.
    pub(crate) node_requirements: Option<NodeRequirements>,
    /// Its containers: init, main, ephemeral.
    pub containers: Vec<Container>,
    /// What it is to Velero.
    pub role: PodRole,
}

/// The controller of a pod, or of a pod's controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its API group: another group may have a kind of the same name.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Owner {
    /// The controller in an object's `ownerReferences`.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let owner = array(object, "/metadata/ownerReferences").find(|owner| owner["controller"] == true)?;
        // The core group's `apiVersion` contains no group.
        let group = owner["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group).to_owned();
        Some(Self { group, kind: owner["kind"].as_str()?.to_owned(), name: owner["name"].as_str()?.to_owned() })
    }

    /// Whether it is of this group and kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

/// A container and what its status says about its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its type.
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
        /// It is on a node where the target's data moves, or may move as the node is unknown; or there is no target.
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
    /// A previous instance has a log.
    pub fn has_previous(&self) -> bool {
        self.restarts > 0 || self.terminated_before
    }

    /// It is not ready, ended with another code than 0, or was restarted.
    pub fn is_suspect(&self) -> bool {
        !self.healthy || self.has_previous()
    }
}

impl Pod {
    /// Reads the object, whatever it contains; `None` if it has no name.
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
        let name = some("/metadata/name")?;
        // The claim of an ephemeral volume has this name (k8s.io/component-helpers, `storage/ephemeral`).
        let claim = |volume: &Value| {
            let named = volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str).map(str::to_owned);
            let own = || Some(format!("{name}-{}", volume["name"].as_str()?));
            named.or_else(|| volume["ephemeral"].is_object().then(own).flatten())
        };
        Some(Self {
            namespace: text("/metadata/namespace"),
            uid: text("/metadata/uid"),
            node: some("/spec/nodeName"),
            labels: labels(pod, "/metadata/labels"),
            hooks: labels(pod, "/metadata/annotations")
                .into_iter()
                .filter(|(key, _)| key.contains("hook.backup.velero.io/") || key.contains("hook.restore.velero.io/"))
                .collect(),
            phase: text("/status/phase"),
            created: text("/metadata/creationTimestamp").parse().ok(),
            owner: Owner::of(pod),
            claims: array(pod, "/spec/volumes").filter_map(claim).collect(),
            node_requirements: NodeRequirements::read(pod),
            containers,
            role: PodRole::Other,
            name,
        })
    }

    /// Nothing about it looks wrong.
    pub fn is_healthy(&self) -> bool {
        let settled = matches!(self.phase.as_str(), "Running" | "Succeeded");
        settled && !self.containers.iter().any(|one| one.kind != ContainerType::Ephemeral && one.is_suspect())
    }
}

fn read_container(kind: ContainerType, container: &Value, status: &Value) -> Option<Container> {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let ended_well = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64) == Some(0);
    let running = status.pointer("/state/running").is_some();
    // Ephemeral containers report no readiness; an init container is ready once it has ended, unless it is a sidecar.
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

pub(crate) fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

pub(crate) fn labels(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let labels = value.pointer(pointer).and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "herd-1", "namespace": "farm", "uid": "u9", "labels": {"app": "herd", "odd": 3},
                "creationTimestamp": "2026-03-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "herd", "controller": true}]},
            "spec": {"nodeName": "barn", "initContainers": [{"name": "feed", "image": "feed:1"}],
                "containers": [{"name": "cow", "image": "cow:1"}, {"image": "nameless"}],
                "ephemeralContainers": [{"name": "vet"}],
                "volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "hay"}}, {"name": "b", "emptyDir": {}},
                    {"name": "straw", "ephemeral": {"volumeClaimTemplate": {}}}]},
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
        assert_eq!(pod.claims, ["hay", "herd-1-straw"]);
        let owner = Owner { group: "apps".into(), kind: "ReplicaSet".into(), name: "herd".into() };
        assert_eq!(pod.owner, Some(owner));
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
}
