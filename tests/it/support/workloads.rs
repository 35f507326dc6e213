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

/// A pod of a workload: with an owner, a claim, a `ServiceAccount`, labels; Ready or not.
pub fn shop_pod(
    name: &str,
    node: &str,
    owner: (&str, &str, &str),
    claim: Option<&str>,
    labels: &Value,
    ready: bool,
) -> Value {
    let (group, kind, owner) = owner;
    let volumes: Vec<Value> =
        claim.iter().map(|claim| json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}})).collect();
    json!({
        "metadata": {"name": name, "labels": labels, "ownerReferences": [
            {"apiVersion": group, "kind": kind, "name": owner, "uid": "u", "controller": true}]},
        "spec": {"nodeName": node, "serviceAccountName": format!("sa-{name}"), "volumes": volumes,
            "containers": [{"name": "c", "image": "registry.invalid/shop:1"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
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
