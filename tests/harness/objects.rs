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
    place: Place,
    restarts: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Init,
    Sidecar,
    Main,
    Ephemeral,
}

#[derive(Clone, Debug)]
enum State {
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
        self.with(name, Place::Main, State::Running)
    }

    /// With an init container that ended well.
    #[must_use]
    pub fn with_init(self, name: &str) -> Self {
        self.with(name, Place::Init, State::Terminated(0))
    }

    /// With a running sidecar: an init container that is restarted for ever.
    #[must_use]
    pub fn with_sidecar(self, name: &str) -> Self {
        self.with(name, Place::Sidecar, State::Running)
    }

    /// With a running ephemeral container.
    #[must_use]
    pub fn with_ephemeral(self, name: &str) -> Self {
        self.with(name, Place::Ephemeral, State::Running)
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
        self.last().state = State::Waiting(reason.to_owned(), message.to_owned());
        self
    }

    /// The last-named container has ended with this code.
    #[must_use]
    pub fn terminated(mut self, code: i32) -> Self {
        self.last().state = State::Terminated(code);
        self
    }

    /// The pod is unschedulable, with this message of the scheduler.
    #[must_use]
    pub fn unschedulable(mut self, message: &str) -> Self {
        self.pending = Some(message.to_owned());
        self
    }

    fn with(mut self, name: &str, place: Place, state: State) -> Self {
        self.containers.push(Container { name: name.to_owned(), place, restarts: 0, state });
        self
    }

    fn last(&mut self) -> &mut Container {
        if self.containers.is_empty() {
            let name = self.name.clone();
            self.containers.push(Container { name, place: Place::Main, restarts: 0, state: State::Running });
        }
        self.containers.last_mut().expect("there is one now")
    }

    fn finished(mut self) -> Self {
        if !self.containers.iter().any(|container| container.place == Place::Main) {
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
        let spec = |places: &[Place]| -> Vec<Value> {
            let of_place = this.containers.iter().filter(|container| places.contains(&container.place));
            let specs = of_place.map(|container| {
                let mut spec = json!({"name": container.name, "image": IMAGE, "volumeMounts": mounts});
                if container.place == Place::Sidecar {
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
                "containers": spec(&[Place::Main]),
                "initContainers": spec(&[Place::Init, Place::Sidecar]),
                "volumes": volumes,
                "terminationGracePeriodSeconds": 0,
            },
        });
        serde_json::from_value(manifest).expect("a Pod")
    }

    /// Ephemeral containers, which can only be added to an existing pod.
    pub(crate) fn ephemeral(&self) -> Option<Value> {
        let names: Vec<_> = self.containers.iter().filter(|c| c.place == Place::Ephemeral).map(|c| &c.name).collect();
        let containers: Vec<_> = names.iter().map(|name| json!({"name": name, "image": IMAGE})).collect();
        (!containers.is_empty()).then(|| json!({"spec": {"ephemeralContainers": containers}}))
    }

    /// The status that the kubelet would report.
    pub(crate) fn status(&self, now: Timestamp) -> Value {
        let this = self.clone().finished();
        let statuses = |places: &[Place]| -> Vec<Value> {
            let of_place = this.containers.iter().filter(|container| places.contains(&container.place));
            of_place.map(|container| container.status(now)).collect()
        };
        let waits_in_init =
            this.containers.iter().any(|c| c.place == Place::Init && !matches!(c.state, State::Terminated(0)));
        let ready = !waits_in_init
            && this.pending.is_none()
            && this.containers.iter().all(|c| c.place != Place::Main || matches!(c.state, State::Running));
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
            "initContainerStatuses": statuses(&[Place::Init, Place::Sidecar]),
            "containerStatuses": statuses(&[Place::Main]),
            "ephemeralContainerStatuses": statuses(&[Place::Ephemeral]),
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
            State::Running => json!({"running": {"startedAt": now}}),
            State::Waiting(reason, message) => {
                json!({"waiting": {"reason": reason, "message": message}})
            }
            State::Terminated(code) => {
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
            "ready": matches!(self.state, State::Running),
            "restartCount": self.restarts,
            "state": state,
            "lastState": if self.restarts > 0 { json!({"terminated": before}) } else { json!({}) },
        })
    }
}
