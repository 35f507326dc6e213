//! Velero's own namespace: Velero's kinds, the other kinds of its installation, and the Namespace itself.
//! `logs` plans the logs of its pods.

use debugbundle_format::{layout, manifest::MissingCode};

use super::{ItemSource, Planner, Priority};
use crate::{cluster::ApiKind, velero::Pod};

impl Planner<'_> {
    pub(super) fn velero_namespace(&mut self) {
        let snapshot = self.snapshot;
        let namespace = snapshot.installation.namespace.as_str();
        let mut kinds: Vec<ApiKind> = snapshot.installation.served.of_group("velero.io").into_iter().cloned().collect();
        let told = !kinds.is_empty() && !snapshot.installation.served.is_stale("velero.io");
        for (plural, kind) in KNOWN {
            if kinds.iter().any(|kind| kind.plural == plural) {
                continue;
            }
            if told {
                self.note(
                    format!("{plural} in {namespace}"),
                    format!("namespaces/{namespace}/velero.io/{plural}.yaml"),
                    MissingCode::NotInstalled,
                    format!("the API server serves velero.io without {plural}"),
                    "apply the CustomResourceDefinitions of the installed Velero: velero install --crds-only",
                );
            } else {
                kinds.push(snapshot.installation.served.velero(plural, kind));
            }
        }
        for kind in kinds.into_iter().filter(|kind| kind.namespaced) {
            let requests = ["downloadrequests", "deletebackuprequests", "serverstatusrequests", "schedules"];
            let priority = if requests.contains(&kind.plural.as_str()) { Priority::P3 } else { Priority::P1 };
            self.list(priority, namespace, kind);
        }
        self.kinds(namespace);
        match snapshot.installation.served.find("snapshot.storage.k8s.io", "volumesnapshots") {
            Some(kind) => self.list(Priority::P1, namespace, kind.clone()),
            None if snapshot.installation.served.is_stale("snapshot.storage.k8s.io") => {
                let kind = ApiKind::namespaced("snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot");
                self.list(Priority::P1, namespace, kind);
            }
            None => self.note(
                format!("volumesnapshots in {namespace}"),
                format!("namespaces/{namespace}/snapshot.storage.k8s.io/volumesnapshots.yaml"),
                MissingCode::NotInstalled,
                "the API server does not serve snapshot.storage.k8s.io".to_owned(),
                "",
            ),
        }
        self.namespace_object(namespace);
        self.vddk(namespace);
    }

    /// The vSphere plugin's disk library writes its own log files, which only `exec` could read.
    fn vddk(&mut self, namespace: &str) {
        let mover = |pod: &&Pod| pod.name.starts_with("datamgr-for-vsphere-plugin");
        if let Some(pod) = self.snapshot.installation.pods.iter().find(mover) {
            // The plugin's docs/troubleshooting.md names this path.
            let cure = format!(
                "kubectl cp {namespace}/{}:/tmp/vmware-root vddk, and the same for each of these pods",
                pod.name
            );
            let why =
                "VDDK writes them inside the containers of datamgr-for-vsphere-plugin, where the operator runs nothing";
            let path = format!("namespaces/{namespace}/pods");
            self.note("log files of VDDK".to_owned(), path, MissingCode::NotLooked, why.to_owned(), &cure);
        }
    }

    pub(super) fn namespace_object(&mut self, namespace: &str) {
        self.add(
            Priority::P3,
            format!("Namespace {namespace}"),
            layout::namespace_object(namespace),
            ItemSource::Object {
                kind: ApiKind::cluster("", "v1", "namespaces", "Namespace"),
                namespace: None,
                name: namespace.to_owned(),
            },
        );
    }
}

/// The kinds of Velero 1.18, for when discovery does not return them.
pub(super) const KNOWN: [(&str, &str); 13] = [
    ("backups", "Backup"),
    ("restores", "Restore"),
    ("schedules", "Schedule"),
    ("downloadrequests", "DownloadRequest"),
    ("deletebackuprequests", "DeleteBackupRequest"),
    ("podvolumebackups", "PodVolumeBackup"),
    ("podvolumerestores", "PodVolumeRestore"),
    ("backuprepositories", "BackupRepository"),
    ("backupstoragelocations", "BackupStorageLocation"),
    ("volumesnapshotlocations", "VolumeSnapshotLocation"),
    ("serverstatusrequests", "ServerStatusRequest"),
    ("datauploads", "DataUpload"),
    ("datadownloads", "DataDownload"),
];
