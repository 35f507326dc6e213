//! Velero's own namespace: its kinds, and what it is made of.
//! Logs of its pods are planned by `logs`.

use super::{ItemSource, Planner, Priority, core};
use crate::{
    archive::{BundlePath, manifest::MissingCode},
    cluster::ApiKind,
};

impl Planner<'_> {
    pub(super) fn velero_namespace(&mut self) {
        let inventory = self.inventory;
        let namespace = inventory.namespace.as_str();
        let found = inventory.served.of_group("velero.io").into_iter().cloned();
        let known = KNOWN.iter().map(|(plural, kind)| inventory.served.velero(plural, kind));
        let mut kinds: Vec<ApiKind> = found.collect();
        if kinds.is_empty() || inventory.served.is_stale("velero.io") {
            let missing = known.filter(|known| !kinds.iter().any(|kind| kind.plural == known.plural));
            kinds.extend(missing.collect::<Vec<_>>());
        }
        for kind in kinds.into_iter().filter(|kind| kind.namespaced) {
            let requests = ["downloadrequests", "deletebackuprequests", "serverstatusrequests", "schedules"];
            let priority = if requests.contains(&kind.plural.as_str()) { Priority::P3 } else { Priority::P1 };
            self.list(priority, namespace, kind);
        }
        for (priority, kind) in [
            (Priority::P1, core("pods", "Pod")),
            (Priority::P1, core("events", "Event")),
            (Priority::P1, core("persistentvolumeclaims", "PersistentVolumeClaim")),
            (Priority::P1, core("resourcequotas", "ResourceQuota")),
            (Priority::P1, core("limitranges", "LimitRange")),
            (Priority::P3, core("serviceaccounts", "ServiceAccount")),
            (Priority::P3, ApiKind::namespaced("apps", "v1", "deployments", "Deployment")),
            (Priority::P3, ApiKind::namespaced("apps", "v1", "daemonsets", "DaemonSet")),
            (Priority::P3, ApiKind::namespaced("apps", "v1", "replicasets", "ReplicaSet")),
            (Priority::P3, ApiKind::namespaced("batch", "v1", "jobs", "Job")),
        ] {
            self.list(priority, namespace, kind);
        }
        match inventory.served.find("snapshot.storage.k8s.io", "volumesnapshots") {
            Some(kind) => self.list(Priority::P1, namespace, kind.clone()),
            None => self.note(
                format!("volumesnapshots in {namespace}"),
                format!("namespaces/{namespace}/snapshot.storage.k8s.io/volumesnapshots.yaml"),
                MissingCode::NotInstalled,
                "the API server does not serve snapshot.storage.k8s.io".to_owned(),
                "",
            ),
        }
        self.namespace_object(namespace);
    }

    pub(super) fn namespace_object(&mut self, namespace: &str) {
        let file = format!("{namespace}.yaml");
        self.add(
            Priority::P3,
            format!("Namespace {namespace}"),
            BundlePath::new(["namespaces", namespace, &file]),
            ItemSource::Object {
                kind: ApiKind::cluster("", "v1", "namespaces", "Namespace"),
                namespace: None,
                name: namespace.to_owned(),
            },
        );
    }
}

/// The kinds of Velero 1.18, for when discovery does not tell.
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
