//! Velero's objects for tests, as its server and node-agents would leave them: `backup("nightly").partially_failed()`,
//! `pod_volume_restore("pvr-1").of(&restore).of_pod("shop", "shop-0")`. Each begins with the fields that its kind requires.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};

/// An object to be created by [`create_velero`](crate::Context::create_velero).
#[derive(Clone, Debug)]
pub struct VeleroObject {
    kind: &'static str,
    object: Value,
}

/// An object of any of Velero's kinds.
pub fn velero_object(kind: &'static str, object: Value) -> VeleroObject {
    VeleroObject { kind, object }
}

fn begin(kind: &'static str, name: &str, spec: Value) -> VeleroObject {
    let mut object = json!({"metadata": {"name": name}});
    object["spec"] = spec;
    velero_object(kind, object)
}

/// A Backup of everything into the location `default`, which Velero has not begun.
pub fn backup(name: &str) -> VeleroObject {
    begin("Backup", name, json!({"storageLocation": "default"}))
}

/// A Restore of the Backup `seed`, which Velero has not begun.
pub fn restore(name: &str) -> VeleroObject {
    begin("Restore", name, json!({"backupName": "seed"}))
}

/// A Schedule for every midnight.
pub fn schedule(name: &str) -> VeleroObject {
    begin("Schedule", name, json!({"schedule": "0 0 * * *", "template": {}}))
}

/// A PodVolumeBackup of the volume `data`.
pub fn pod_volume_backup(name: &str) -> VeleroObject {
    let spec = json!({"node": "n", "pod": {"kind": "Pod", "namespace": "shop", "name": "shop-0"}, "volume": "data",
        "backupStorageLocation": "default", "repoIdentifier": "x", "uploaderType": "kopia"});
    begin("PodVolumeBackup", name, spec)
}

/// A PodVolumeRestore of the volume `data` from the namespace `old-shop`, which no node-agent has taken up.
pub fn pod_volume_restore(name: &str) -> VeleroObject {
    let spec = json!({"pod": {"kind": "Pod", "namespace": "shop", "name": "shop-0"}, "volume": "data",
        "backupStorageLocation": "default", "repoIdentifier": "x", "snapshotID": "s", "sourceNamespace": "old-shop",
        "uploaderType": "kopia"});
    begin("PodVolumeRestore", name, spec)
}

/// A DataUpload of a CSI snapshot, which no node-agent has taken up.
pub fn data_upload(name: &str) -> VeleroObject {
    let spec = json!({"backupStorageLocation": "default", "operationTimeout": "10m", "snapshotType": "CSI",
        "csiSnapshot": {"volumeSnapshot": "", "storageClass": "fast", "snapshotClass": ""},
        "sourceNamespace": "shop", "sourcePVC": "data"});
    begin("DataUpload", name, spec)
}

/// A DataDownload from the namespace `old-shop`, which no node-agent has taken up.
pub fn data_download(name: &str) -> VeleroObject {
    let spec = json!({"backupStorageLocation": "default", "operationTimeout": "10m", "snapshotID": "s",
        "sourceNamespace": "old-shop", "targetVolume": {"namespace": "shop", "pvc": "data", "pv": ""}});
    begin("DataDownload", name, spec)
}

/// A BackupRepository of a namespace's volumes in the location `default`.
pub fn backup_repository(name: &str, volume_namespace: &str, repository_type: &str) -> VeleroObject {
    let spec = json!({"volumeNamespace": volume_namespace, "backupStorageLocation": "default",
        "repositoryType": repository_type, "resticIdentifier": "", "maintenanceFrequency": "1h"});
    let repository = begin("BackupRepository", name, spec);
    let repository = repository.labelled("velero.io/volume-namespace", volume_namespace);
    repository.labelled("velero.io/repository-type", repository_type).labelled("velero.io/storage-location", "default")
}

/// A BackupStorageLocation at AWS; [`Context::location`](crate::Context::location) has one in the test's bucket.
pub fn backup_storage_location(name: &str, bucket: &str, prefix: &str) -> VeleroObject {
    begin(
        "BackupStorageLocation",
        name,
        json!({"provider": "aws", "objectStorage": {"bucket": bucket, "prefix": prefix}}),
    )
}

/// Velero's API resource of a kind.
pub(crate) fn velero_resource(kind: &str) -> ApiResource {
    let version = if matches!(kind, "DataUpload" | "DataDownload") { "v2alpha1" } else { "v1" };
    let plural = match kind {
        "BackupRepository" => "backuprepositories".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    ApiResource {
        group: "velero.io".to_owned(),
        version: version.to_owned(),
        api_version: format!("velero.io/{version}"),
        kind: kind.to_owned(),
        plural,
    }
}

impl VeleroObject {
    /// Its kind.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The object to create, with its API version and kind.
    pub fn manifest(mut self) -> Value {
        self.object["apiVersion"] = velero_resource(self.kind).api_version.into();
        self.object["kind"] = self.kind.into();
        self.object
    }

    /// With this field of its spec.
    #[must_use]
    pub fn spec(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.object["spec"][field] = value.into();
        self
    }

    /// With any change of its spec.
    #[must_use]
    pub fn changed(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.object["spec"]);
        self
    }

    /// With these fields of its spec, and those below `config` and `objectStorage` beside the ones that they have.
    #[must_use]
    pub fn merged(mut self, spec: &Value) -> Self {
        for (field, value) in spec.as_object().expect("a spec is an object") {
            match value.as_object().filter(|_| matches!(field.as_str(), "config" | "objectStorage")) {
                Some(fields) => {
                    for (key, value) in fields {
                        self.object["spec"][field][key] = value.clone();
                    }
                }
                None => self.object["spec"][field] = value.clone(),
            }
        }
        self
    }

    /// With this field of its status.
    #[must_use]
    pub fn status(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.object["status"][field] = value.into();
        self
    }

    /// With this label.
    #[must_use]
    pub fn labelled(mut self, key: &str, value: &str) -> Self {
        self.object["metadata"]["labels"][key] = value.into();
        self
    }

    /// With this annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.object["metadata"]["annotations"][key] = value.into();
        self
    }

    /// In this phase.
    #[must_use]
    pub fn phase(self, phase: &str) -> Self {
        self.status("phase", phase)
    }

    /// In the phase Completed.
    #[must_use]
    pub fn completed(self) -> Self {
        self.phase("Completed")
    }

    /// In the phase PartiallyFailed.
    #[must_use]
    pub fn partially_failed(self) -> Self {
        self.phase("PartiallyFailed")
    }

    /// In the phase Failed.
    #[must_use]
    pub fn failed(self) -> Self {
        self.phase("Failed")
    }

    /// In the phase InProgress.
    #[must_use]
    pub fn in_progress(self) -> Self {
        self.phase("InProgress")
    }

    /// Without phase, node and progress: nothing has taken it up.
    #[must_use]
    pub fn without_progress(mut self) -> Self {
        self.object["status"] = json!({});
        self
    }

    /// A Backup or Restore that began at this time.
    #[must_use]
    pub fn started(self, at: Timestamp) -> Self {
        self.status("startTimestamp", at.to_string())
    }

    /// A Backup or Restore that ended at this time.
    #[must_use]
    pub fn ended(self, at: Timestamp) -> Self {
        self.status("completionTimestamp", at.to_string())
    }

    /// A Restore of this Backup.
    #[must_use]
    pub fn of_backup(self, name: &str) -> Self {
        self.spec("backupName", name)
    }

    /// A Restore of the last Backup of this Schedule, or a Backup that this Schedule made.
    #[must_use]
    pub fn of_schedule(mut self, name: &str) -> Self {
        if self.kind == "Backup" {
            return self.labelled("velero.io/schedule-name", name);
        }
        self.object["spec"] = json!({});
        self.spec("scheduleName", name)
    }

    /// Of these namespaces alone.
    #[must_use]
    pub fn of_namespaces<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names: Vec<Value> = names.into_iter().map(|name| name.as_ref().into()).collect();
        self.spec("includedNamespaces", names)
    }

    /// In this BackupStorageLocation.
    #[must_use]
    pub fn in_location(self, name: &str) -> Self {
        match self.kind {
            "Backup" => self.spec("storageLocation", name),
            "BackupRepository" => self.labelled("velero.io/storage-location", name).spec("backupStorageLocation", name),
            _ => self.spec("backupStorageLocation", name),
        }
    }

    /// Data of this Backup or Restore, by the labels that Velero sets.
    #[must_use]
    pub fn of(self, owner: &DynamicObject) -> Self {
        let kind = kind_of(owner).to_lowercase();
        let uid = owner.uid().expect("it was created");
        self.labelled(&format!("velero.io/{kind}-name"), &owner.name_any())
            .labelled(&format!("velero.io/{kind}-uid"), &uid)
    }

    /// Controlled by this object, as its owner references say.
    #[must_use]
    pub fn owned_by(self, owner: &DynamicObject) -> Self {
        self.owned_by_former(kind_of(owner), &owner.name_any(), &owner.uid().expect("it was created"))
    }

    /// Controlled by an object with this UID, which may be gone.
    #[must_use]
    pub fn owned_by_former(mut self, kind: &str, name: &str, uid: &str) -> Self {
        self.object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "velero.io/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
        self
    }

    /// A PodVolumeBackup or PodVolumeRestore of this pod.
    #[must_use]
    pub fn of_pod(self, namespace: &str, name: &str) -> Self {
        self.spec("pod", json!({"kind": "Pod", "namespace": namespace, "name": name}))
    }

    /// A DataUpload of this claim, or a DataDownload into it.
    #[must_use]
    pub fn of_claim(self, namespace: &str, name: &str) -> Self {
        match self.kind {
            "DataUpload" => self.spec("sourceNamespace", namespace).spec("sourcePVC", name),
            _ => self.spec("targetVolume", json!({"namespace": namespace, "pvc": name, "pv": ""})),
        }
    }

    /// Data that comes from this namespace.
    #[must_use]
    pub fn from_namespace(self, name: &str) -> Self {
        self.spec("sourceNamespace", name)
    }

    /// Data that this node has taken up.
    #[must_use]
    pub fn on_node(self, name: &str) -> Self {
        if self.kind == "PodVolumeBackup" { self.spec("node", name) } else { self.status("node", name) }
    }

    /// A location with this key of its config.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.object["spec"]["config"][key] = value.into();
        self
    }

    /// A location that Velero only reads.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.spec("accessMode", "ReadOnly")
    }
}

fn kind_of(object: &DynamicObject) -> &str {
    object.types.as_ref().map(|types| types.kind.as_str()).expect("the API server names the kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_names_its_owner_as_velero_does() {
        let owner = restore("r1").manifest();
        let mut owner: DynamicObject = serde_json::from_value(owner).unwrap();
        owner.metadata.uid = Some("u1".to_owned());
        let data =
            pod_volume_restore("pvr-1").of(&owner).owned_by(&owner).of_pod("shop", "p").in_progress().on_node("n");
        assert_eq!(data.kind(), "PodVolumeRestore");
        let data = data.manifest();
        assert_eq!(data["metadata"]["labels"], json!({"velero.io/restore-name": "r1", "velero.io/restore-uid": "u1"}));
        assert_eq!(data["metadata"]["ownerReferences"][0]["uid"], "u1");
        assert_eq!(data["spec"]["pod"], json!({"kind": "Pod", "namespace": "shop", "name": "p"}));
        assert_eq!(data["status"], json!({"phase": "InProgress", "node": "n"}));
    }

    #[test]
    fn a_kind_has_its_own_field_for_schedule_location_and_node() {
        let made = backup("b").of_schedule("nightly").in_location("attic").manifest();
        assert_eq!(made["metadata"]["labels"]["velero.io/schedule-name"], "nightly");
        assert_eq!(made["spec"]["storageLocation"], "attic");
        assert_eq!(restore("r").of_schedule("nightly").manifest()["spec"], json!({"scheduleName": "nightly"}));
        let upload = data_upload("du").in_location("attic").manifest();
        assert_eq!(
            (&upload["apiVersion"], &upload["spec"]["backupStorageLocation"]),
            (&json!("velero.io/v2alpha1"), &json!("attic"))
        );
        assert_eq!(pod_volume_backup("pvb").on_node("n2").manifest()["spec"]["node"], "n2");
    }
}
