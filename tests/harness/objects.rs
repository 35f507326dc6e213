//! Pods for tests: on a node, with containers in any state, although nothing runs; and the DaemonSet of Velero's
//! node-agents. The [`kubelet`](crate::kubelet) scripts their logs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// A pod to be created; see [`pod`].
#[derive(Clone, Debug)]
pub struct PodBuilder {
    name: String,
    node: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    containers: Vec<Container>,
    volumes: Vec<String>,
    pending: Option<String>,
}

#[derive(Clone, Debug)]
struct Container {
    name: String,
    kind: ContainerKind,
    restarts: u32,
    state: ContainerState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContainerKind {
    Init,
    Sidecar,
    Main,
    Ephemeral,
}

#[derive(Clone, Debug)]
enum ContainerState {
    Running,
    Waiting(String, String),
    Terminated(i32),
}

/// Begins a pod. Without [`with_container`](PodBuilder::with_container) it has one container with the pod's name.
pub fn pod(name: &str) -> PodBuilder {
    PodBuilder {
        name: name.to_owned(),
        node: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        containers: Vec::new(),
        volumes: Vec::new(),
        pending: None,
    }
}

impl PodBuilder {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bound to this node.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// With this label.
    #[must_use]
    pub fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With this annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With a running container.
    #[must_use]
    pub fn with_container(self, name: &str) -> Self {
        self.with(name, ContainerKind::Main, ContainerState::Running)
    }

    /// With an init container that ended well.
    #[must_use]
    pub fn with_init(self, name: &str) -> Self {
        self.with(name, ContainerKind::Init, ContainerState::Terminated(0))
    }

    /// With a running sidecar: an init container that is restarted for ever.
    #[must_use]
    pub fn with_sidecar(self, name: &str) -> Self {
        self.with(name, ContainerKind::Sidecar, ContainerState::Running)
    }

    /// With a running ephemeral container.
    #[must_use]
    pub fn with_ephemeral(self, name: &str) -> Self {
        self.with(name, ContainerKind::Ephemeral, ContainerState::Running)
    }

    /// With an emptyDir volume, mounted by its containers.
    #[must_use]
    pub fn with_volume(mut self, name: &str) -> Self {
        self.volumes.push(name.to_owned());
        self
    }

    /// The last-named container was restarted this often; its previous instance ended with 137, OOMKilled.
    #[must_use]
    pub fn restarted(mut self, times: u32) -> Self {
        self.last().restarts = times;
        self
    }

    /// The last-named container waits, for instance with `CrashLoopBackOff` or `ImagePullBackOff`.
    #[must_use]
    pub fn waiting(mut self, reason: &str, message: &str) -> Self {
        self.last().state = ContainerState::Waiting(reason.to_owned(), message.to_owned());
        self
    }

    /// The last-named container has ended with this code.
    #[must_use]
    pub fn terminated(mut self, code: i32) -> Self {
        self.last().state = ContainerState::Terminated(code);
        self
    }

    /// The pod is unschedulable, with this message of the scheduler.
    #[must_use]
    pub fn unschedulable(mut self, message: &str) -> Self {
        self.pending = Some(message.to_owned());
        self
    }

    fn with(mut self, name: &str, kind: ContainerKind, state: ContainerState) -> Self {
        self.containers.push(Container { name: name.to_owned(), kind, restarts: 0, state });
        self
    }

    fn last(&mut self) -> &mut Container {
        if self.containers.is_empty() {
            let name = self.name.clone();
            self.containers.push(Container {
                name,
                kind: ContainerKind::Main,
                restarts: 0,
                state: ContainerState::Running,
            });
        }
        self.containers.last_mut().expect("there is one now")
    }

    fn finished(mut self) -> Self {
        if !self.containers.iter().any(|container| container.kind == ContainerKind::Main) {
            let name = self.name.clone();
            self = self.with_container(&name);
        }
        self
    }

    /// The object to create.
    pub(crate) fn manifest(&self) -> Pod {
        let this = self.clone().finished();
        let mounts: Vec<_> =
            this.volumes.iter().map(|name| json!({"name": name, "mountPath": format!("/{name}")})).collect();
        let spec = |kinds: &[ContainerKind]| -> Vec<Value> {
            let of_kind = this.containers.iter().filter(|container| kinds.contains(&container.kind));
            let specs = of_kind.map(|container| {
                let mut spec = json!({"name": container.name, "image": IMAGE, "volumeMounts": mounts});
                if container.kind == ContainerKind::Sidecar {
                    spec["restartPolicy"] = "Always".into();
                }
                spec
            });
            specs.collect()
        };
        let volumes: Vec<_> = this.volumes.iter().map(|name| json!({"name": name, "emptyDir": {}})).collect();
        let manifest = json!({
            "metadata": {"name": this.name, "labels": this.labels, "annotations": this.annotations},
            "spec": {
                "nodeName": this.node,
                "containers": spec(&[ContainerKind::Main]),
                "initContainers": spec(&[ContainerKind::Init, ContainerKind::Sidecar]),
                "volumes": volumes,
                "terminationGracePeriodSeconds": 0,
            },
        });
        serde_json::from_value(manifest).expect("a Pod")
    }

    /// Ephemeral containers, which can only be added to an existing pod.
    pub(crate) fn ephemeral(&self) -> Option<Value> {
        let names: Vec<_> =
            self.containers.iter().filter(|c| c.kind == ContainerKind::Ephemeral).map(|c| &c.name).collect();
        let containers: Vec<_> = names.iter().map(|name| json!({"name": name, "image": IMAGE})).collect();
        (!containers.is_empty()).then(|| json!({"spec": {"ephemeralContainers": containers}}))
    }

    /// The status that the kubelet would report.
    pub(crate) fn status(&self, now: Timestamp) -> Value {
        let this = self.clone().finished();
        let statuses = |kinds: &[ContainerKind]| -> Vec<Value> {
            let of_kind = this.containers.iter().filter(|container| kinds.contains(&container.kind));
            of_kind.map(|container| container.status(now)).collect()
        };
        let waits_in_init = this
            .containers
            .iter()
            .any(|c| c.kind == ContainerKind::Init && !matches!(c.state, ContainerState::Terminated(0)));
        let ready = !waits_in_init
            && this.pending.is_none()
            && this
                .containers
                .iter()
                .all(|c| c.kind != ContainerKind::Main || matches!(c.state, ContainerState::Running));
        let flag = |yes| if yes { "True" } else { "False" };
        let mut scheduled = json!({
            "type": "PodScheduled", "status": flag(this.pending.is_none()), "lastTransitionTime": now,
        });
        if let Some(message) = &this.pending {
            scheduled["reason"] = "Unschedulable".into();
            scheduled["message"] = message.as_str().into();
        }
        let phase = if this.pending.is_some() || waits_in_init { "Pending" } else { "Running" };
        json!({"status": {
            "phase": phase,
            "startTime": now,
            "conditions": [scheduled, {"type": "Ready", "status": flag(ready), "lastTransitionTime": now}],
            "initContainerStatuses": statuses(&[ContainerKind::Init, ContainerKind::Sidecar]),
            "containerStatuses": statuses(&[ContainerKind::Main]),
            "ephemeralContainerStatuses": statuses(&[ContainerKind::Ephemeral]),
        }})
    }
}

impl crate::Context {
    /// The DaemonSet `node-agent` of `velero install`, whose pods have the label `role: node-agent`. It creates no pod.
    pub async fn node_agents(&self) {
        let labels = json!({"role": "node-agent"});
        let containers = json!([{"name": "node-agent", "image": "velero/velero:v1.18.3"}]);
        self.create::<DaemonSet>(json!({
            "metadata": {"name": "node-agent", "labels": {"component": "velero"}},
            "spec": {"selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}},
        }))
        .await;
    }
}

const IMAGE: &str = "registry.invalid/shop:1";

impl Container {
    fn status(&self, now: Timestamp) -> Value {
        let state = match &self.state {
            ContainerState::Running => json!({"running": {"startedAt": now}}),
            ContainerState::Waiting(reason, message) => {
                json!({"waiting": {"reason": reason, "message": message}})
            }
            ContainerState::Terminated(code) => {
                let reason = if *code == 0 { "Completed" } else { "Error" };
                json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now}})
            }
        };
        let before = json!({"exitCode": 137, "reason": "OOMKilled", "startedAt": now, "finishedAt": now});
        json!({
            "name": self.name,
            "image": IMAGE,
            "imageID": "",
            "containerID": format!("scripted://{}", self.name),
            "ready": matches!(self.state, ContainerState::Running),
            "restartCount": self.restarts,
            "state": state,
            "lastState": if self.restarts > 0 { json!({"terminated": before}) } else { json!({}) },
        })
    }
}
