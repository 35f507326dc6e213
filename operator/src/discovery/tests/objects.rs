//! Objects for a recorded API: `pod("shop", "shop-0").with_claim("data")`, `data_upload("du-1").of("Backup",
//! "harvest")`.

use serde_json::{Value, json};

use crate::discovery::{recorded::kind, related_volumes::RESTORED_BY};

/// Velero's namespace.
pub(super) const VELERO: &str = "velero";

/// An object that is being built.
#[derive(Clone)]
pub(super) struct Object(Value);

/// The UID of an object: made of its name, and not longer than a label may be.
fn uid(name: &str) -> String {
    format!("uid-{name:.59}")
}

/// An object of any served kind.
pub(super) fn object(kind_name: &str, namespace: &str, name: &str) -> Object {
    let metadata = json!({"namespace": namespace, "name": name, "uid": uid(name)});
    Object(json!({"apiVersion": kind(kind_name).api_version(), "kind": kind_name, "metadata": metadata}))
}

/// A Backup of everything.
pub(super) fn backup(name: &str) -> Object {
    object("Backup", VELERO, name).spec("storageLocation", "default")
}

/// A Restore of the Backup `seed`.
pub(super) fn restore(name: &str) -> Object {
    object("Restore", VELERO, name).of_backup("seed")
}

/// A PodVolumeBackup or PodVolumeRestore of a pod.
pub(super) fn pod_volume(kind: &str, name: &str, pod: (&str, &str)) -> Object {
    let data = object(kind, VELERO, name).spec("backupStorageLocation", "default").spec("uploaderType", "kopia");
    data.spec("pod", json!({"namespace": pod.0, "name": pod.1}))
}

/// A DataUpload of a claim.
pub(super) fn data_upload(name: &str, claim: (&str, &str)) -> Object {
    object("DataUpload", VELERO, name).spec("sourceNamespace", claim.0).spec("sourcePVC", claim.1)
}

/// A DataDownload into a claim.
pub(super) fn data_download(name: &str, claim: (&str, &str)) -> Object {
    object("DataDownload", VELERO, name).spec("targetVolume", json!({"namespace": claim.0, "pvc": claim.1}))
}

/// A pod of the StatefulSet `shop` on the node `n1` that is not ready.
pub(super) fn pod(namespace: &str, name: &str) -> Object {
    let pod = object("Pod", namespace, name).owned_by("apps/v1", "StatefulSet", "shop").spec("nodeName", "n1");
    pod.containers(&["c"]).status("phase", "Running").spec("serviceAccountName", format!("sa-{name}"))
}

/// A claim that is bound to this volume.
pub(super) fn claim(namespace: &str, name: &str, volume: Option<&str>) -> Object {
    object("PersistentVolumeClaim", namespace, name).spec("volumeName", volume)
}

/// A PersistentVolume.
pub(super) fn volume(name: &str) -> Object {
    object("PersistentVolume", "", name)
}

/// The attachment of a volume to a node.
pub(super) fn attachment(volume: &str, node: &str) -> Object {
    let attachment = object("VolumeAttachment", "", &format!("va-{volume}")).spec("nodeName", node);
    attachment.spec("source", json!({"persistentVolumeName": volume}))
}

/// A VolumeSnapshot that is bound to a content of the same name.
pub(super) fn snapshot(namespace: &str, name: &str) -> Object {
    object("VolumeSnapshot", namespace, name).status("boundVolumeSnapshotContentName", name)
}

/// A VolumeSnapshotContent.
pub(super) fn content(name: &str) -> Object {
    object("VolumeSnapshotContent", "", name)
}

impl Object {
    /// With this field of its spec.
    pub(super) fn spec(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["spec"][field] = value.into();
        self
    }

    /// With this field of its status.
    pub(super) fn status(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["status"][field] = value.into();
        self
    }

    /// In this phase.
    pub(super) fn phase(self, phase: &str) -> Self {
        self.status("phase", phase)
    }

    /// With this label.
    pub(super) fn labelled(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = value.into();
        self
    }

    /// With this annotation.
    pub(super) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = value.into();
        self
    }

    /// Controlled by this object.
    pub(super) fn owned_by(mut self, api_version: &str, kind: &str, name: &str) -> Self {
        self.0["metadata"]["ownerReferences"] = json!([{"apiVersion": api_version, "kind": kind, "name": name,
            "uid": uid(name), "controller": true}]);
        self
    }

    /// A Restore of this Backup.
    pub(super) fn of_backup(self, name: &str) -> Self {
        self.spec("backupName", name)
    }

    /// A Backup or Restore of these namespaces alone.
    pub(super) fn of_namespaces(self, names: &[&str]) -> Self {
        self.spec("includedNamespaces", names.to_vec())
    }

    /// Data of this Backup or Restore, by the labels that Velero sets.
    pub(super) fn of(self, kind: &str, name: &str) -> Self {
        let word = kind.to_lowercase();
        self.labelled(&format!("velero.io/{word}-name"), name).labelled(&format!("velero.io/{word}-uid"), &uid(name))
    }

    /// Made by this Restore, as its label says.
    pub(super) fn restored_by(self, restore: &str) -> Self {
        self.labelled(RESTORED_BY, restore)
    }

    /// A pod with these containers, none of which has started.
    pub(super) fn containers(self, names: &[&str]) -> Self {
        let containers = names.iter().map(|name| json!({"name": name, "image": "registry.invalid/shop:1"}));
        self.spec("containers", containers.collect::<Vec<_>>())
    }

    /// A ready pod, whose containers all run.
    pub(super) fn ready(mut self) -> Self {
        let named = self.0["spec"]["containers"].as_array().into_iter().flatten();
        let statuses: Vec<Value> = named
            .map(|one| json!({"name": one["name"], "ready": true, "restartCount": 0, "state": {"running": {}}}))
            .collect();
        self.0["status"]["containerStatuses"] = statuses.into();
        self.status("conditions", json!([{"type": "Ready", "status": "True"}]))
    }

    /// A pod with a volume from each of these claims.
    pub(super) fn with_claims(self, claims: &[&str]) -> Self {
        let volumes = claims.iter().map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
        self.spec("volumes", volumes.collect::<Vec<_>>())
    }

    /// The object, as the API server returns it.
    pub(super) fn json(self) -> Value {
        self.0
    }
}
