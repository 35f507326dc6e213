//! Objects of users' workloads: pods with owners and claims, their controllers, volumes.

use serde_json::{Value, json};

/// A claim of one GiB, bound to this volume.
pub fn claim(name: &str, volume: Option<&str>) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": volume,
        "resources": {"requests": {"storage": "1Gi"}}}})
}

/// A PersistentVolume of a CSI driver.
pub fn volume() -> Value {
    json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "csi": {"driver": "csi.example.io", "volumeHandle": "h"}}})
}

/// A volume that is attached to a node.
pub fn attachment(volume: &str, node: &str) -> Value {
    json!({"spec": {"attacher": "csi.example.io", "nodeName": node, "source": {"persistentVolumeName": volume}}})
}

/// A Warning about a pod of this namespace.
pub fn odd_event(namespace: &str) -> Value {
    json!({"metadata": {"name": "e1"}, "reason": "Odd", "message": "odd", "type": "Warning",
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "p"}})
}

/// A pod of a workload, as JSON.
pub struct WorkloadPod(Value);

/// Begins a pod of the StatefulSet `shop` on the node `n1`, which runs under a ServiceAccount of its own and is not
/// ready.
pub fn workload_pod(name: &str) -> WorkloadPod {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"nodeName": "n1", "serviceAccountName": format!("sa-{name}"),
            "containers": [{"name": "c", "image": "registry.invalid/shop:1"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]},
    });
    WorkloadPod(pod).owned_by("apps/v1", "StatefulSet", "shop")
}

impl WorkloadPod {
    /// On this node.
    pub fn on_node(mut self, node: &str) -> Self {
        self.0["spec"]["nodeName"] = node.into();
        self
    }

    /// Controlled by this object.
    pub fn owned_by(mut self, api_version: &str, kind: &str, name: &str) -> Self {
        self.0["metadata"]["ownerReferences"] =
            json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": true}]);
        self
    }

    /// With a volume `data` from this claim.
    pub fn with_claim(mut self, claim: &str) -> Self {
        self.0["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
        self
    }

    /// Made by this Restore, as its label says.
    pub fn restored_by(mut self, restore: &str) -> Self {
        self.0["metadata"]["labels"]["velero.io/restore-name"] = restore.into();
        self
    }

    /// Ready.
    pub fn ready(mut self) -> Self {
        self.0["status"]["conditions"][0]["status"] = "True".into();
        self
    }

    /// The object to create, or to change before that.
    pub fn manifest(self) -> Value {
        self.0
    }
}

impl From<WorkloadPod> for Value {
    fn from(pod: WorkloadPod) -> Self {
        pod.0
    }
}

/// The pod template of a workload.
pub fn template(name: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}}, "spec": {"restartPolicy": "Always",
        "containers": [{"name": "c", "image": "registry.invalid/shop:1"}]}})
}

/// A Deployment, ReplicaSet, StatefulSet or DaemonSet.
pub fn workload(name: &str, owner: Option<(&str, &str)>) -> Value {
    let owners: Vec<Value> = owner
        .iter()
        .map(|(kind, owner)| json!({"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "u", "controller": true}))
        .collect();
    json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": {"replicas": 1, "serviceName": name,
        "selector": {"matchLabels": {"app": name}}, "template": template(name)}})
}
