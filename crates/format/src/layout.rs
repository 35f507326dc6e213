//! Where each file lies in a bundle. Offline readers of `oc adm inspect` and `velero debug` know these places;
//! `docs/bundle-format.md` lists them.

use debugbundle_crd::TargetKind;

use crate::BundlePath;

/// The log of a container, by instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFile {
    /// Of the running or last instance.
    Current,
    /// Of the instance before.
    Previous,
    /// [`Self::Current`], from a kubelet whose certificate could not be verified.
    CurrentInsecure,
    /// [`Self::Previous`], from such a kubelet.
    PreviousInsecure,
}

impl LogFile {
    const fn name(self) -> &'static str {
        match self {
            Self::Current => "current.log",
            Self::Previous => "previous.log",
            Self::CurrentInsecure => "current.insecure.log",
            Self::PreviousInsecure => "previous.insecure.log",
        }
    }
}

/// The log of a container, where `oc adm inspect` puts it.
pub fn container_log(namespace: &str, pod: &str, container: &str, file: LogFile) -> BundlePath {
    BundlePath::new(["namespaces", namespace, "pods", pod, container, container, "logs", file.name()])
}

/// The List of a kind, in a namespace or of the whole cluster. The group of core kinds is empty.
pub fn list(group: &str, plural: &str, namespace: Option<&str>) -> BundlePath {
    let (group, file) = (if group.is_empty() { "core" } else { group }, format!("{plural}.yaml"));
    match namespace {
        Some(namespace) => BundlePath::new(["namespaces", namespace, group, &file]),
        None => BundlePath::new(["cluster-scoped-resources", group, &file]),
    }
}

/// A single cluster-scoped object.
pub fn cluster_object(group: &str, plural: &str, name: &str) -> BundlePath {
    BundlePath::new(["cluster-scoped-resources", group, plural, &format!("{name}.yaml")])
}

/// A Namespace.
pub fn namespace_object(name: &str) -> BundlePath {
    BundlePath::new(["namespaces", name, &format!("{name}.yaml")])
}

/// A file of the analysis.
pub fn analysis(file: &str) -> BundlePath {
    BundlePath::new(["analysis", file])
}

/// The probes of a BackupStorageLocation.
pub fn location_report(name: &str) -> BundlePath {
    BundlePath::new(["velero", "locations", &format!("{name}.json")])
}

/// The folder of a Backup's or Restore's own files.
pub fn target_folder(kind: TargetKind, name: &str) -> BundlePath {
    BundlePath::new(["velero", folder_of(kind), name])
}

/// A file in [`target_folder`].
pub fn target_file(kind: TargetKind, name: &str, file: &str) -> BundlePath {
    BundlePath::new(["velero", folder_of(kind), name, file])
}

/// A file of the store, in [`target_folder`].
pub fn store_file(kind: TargetKind, name: &str, file: StoreFile) -> BundlePath {
    target_file(kind, name, file.bundle_name(kind))
}

/// The readable part of a damaged file of the store. Its name differs, so that a name that ends in `.json` always parses.
pub fn partial_store_file(kind: TargetKind, name: &str, file: StoreFile) -> BundlePath {
    target_file(kind, name, &format!("{}.partial", file.bundle_name(kind)))
}

/// The lines of the Velero server's log about a Backup or Restore, of the server's previous instance or of this one.
pub fn server_lines(kind: TargetKind, name: &str, previous: bool) -> BundlePath {
    let word = match kind {
        TargetKind::Backup => "backup",
        TargetKind::Restore => "restore",
    };
    let instance = if previous { "previous." } else { "" };
    target_file(kind, name, &format!("{word}.from-server.{instance}log"))
}

const fn folder_of(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Backup => "backups",
        TargetKind::Restore => "restores",
    }
}

/// A file of the target in the object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreFile {
    /// The log.
    Log,
    /// Errors and warnings.
    Results,
    /// Asynchronous operations.
    ItemOperations,
    /// What became of each volume.
    VolumeInfo,
    /// What was backed up or restored.
    ResourceList,
    /// Of a Backup: its PodVolumeBackups as they were.
    PodVolumeBackups,
    /// Of a Backup: native snapshots.
    VolumeSnapshots,
    /// Of a Backup of old Velero: its VolumeSnapshots.
    CsiVolumeSnapshots,
    /// Of a Backup of old Velero: their VolumeSnapshotContents.
    CsiVolumeSnapshotContents,
    /// Of a Backup of old Velero: their VolumeSnapshotClasses.
    CsiVolumeSnapshotClasses,
    /// Of a Backup: the object itself, not compressed.
    Backup,
}

impl StoreFile {
    /// Of a Backup, in the order in which they are read.
    pub const OF_BACKUP: [Self; 8] = [
        Self::Results,
        Self::Log,
        Self::ItemOperations,
        Self::VolumeInfo,
        Self::ResourceList,
        Self::PodVolumeBackups,
        Self::VolumeSnapshots,
        Self::Backup,
    ];
    /// Of a Backup of old Velero, in reading order; a newer Velero writes the same to [`Self::VolumeInfo`].
    pub const OF_OLD_BACKUP: [Self; 3] =
        [Self::CsiVolumeSnapshots, Self::CsiVolumeSnapshotContents, Self::CsiVolumeSnapshotClasses];
    /// Of a Restore, in the order in which they are read.
    pub const OF_RESTORE: [Self; 5] =
        [Self::Results, Self::Log, Self::ItemOperations, Self::VolumeInfo, Self::ResourceList];

    /// Its name in the bundle.
    pub fn bundle_name(self, of: TargetKind) -> &'static str {
        match (self, of) {
            (Self::Log, TargetKind::Backup) => "backup.log",
            (Self::Log, TargetKind::Restore) => "restore.log",
            (Self::Results, _) => "results.json",
            (Self::ItemOperations, _) => "itemoperations.json",
            (Self::VolumeInfo, _) => "volumeinfo.json",
            (Self::ResourceList, _) => "resource-list.json",
            (Self::PodVolumeBackups, _) => "podvolumebackups.json",
            (Self::VolumeSnapshots, _) => "volumesnapshots.json",
            (Self::CsiVolumeSnapshots, _) => "csi-volumesnapshots.json",
            (Self::CsiVolumeSnapshotContents, _) => "csi-volumesnapshotcontents.json",
            (Self::CsiVolumeSnapshotClasses, _) => "csi-volumesnapshotclasses.json",
            (Self::Backup, _) => "velero-backup.json",
        }
    }

    /// It is one JSON value; else text.
    pub const fn is_json(self) -> bool {
        !matches!(self, Self::Log)
    }

    /// It is compressed in the store.
    pub const fn is_gzip(self) -> bool {
        !matches!(self, Self::Backup)
    }
}
