//! The kinds that the walk knows, as one table: discovery, permissions, evidence, `explain` and the look for movement ask
//! it how a kind is served. A new kind is a row here, and a file in `kinds` if it says more than any object does.

/// Where the objects of a kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindScope {
    /// In Velero's namespace alone.
    Velero,
    /// In any namespace.
    Namespace,
    /// In no namespace.
    Cluster,
}

/// How the API server serves a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for core.
    pub group: &'static str,
    /// The version that this tool reads.
    pub version: &'static str,
    /// The name in URLs.
    pub plural: &'static str,
    /// Where its objects are.
    pub scope: KindScope,
}

macro_rules! kinds {
    ($($kind:ident: $group:literal $version:literal $plural:literal $scope:ident;)*) => {
        /// A kind that the walk knows, or any other one.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            /// Velero as a whole, which no API serves.
            Installation,
            $(#[doc = concat!("`", stringify!($kind), "`.")] $kind,)*
            /// Any other one, by its name.
            Other(String),
        }

        impl Kind {
            /// All kinds that have a [`Resource`].
            pub const SERVED: &'static [Self] = &[$(Self::$kind),*];

            /// The kind with this name.
            pub fn of(name: &str) -> Self {
                match name {
                    "Installation" => Self::Installation,
                    $(stringify!($kind) => Self::$kind,)*
                    other => Self::Other(other.to_owned()),
                }
            }

            /// Its name.
            pub fn as_str(&self) -> &str {
                match self {
                    Self::Installation => "Installation",
                    $(Self::$kind => stringify!($kind),)*
                    Self::Other(name) => name,
                }
            }

            /// How it is served; `None` for the installation, and for a kind without a row.
            pub const fn resource(&self) -> Option<Resource> {
                Some(match self {
                    $(Self::$kind => {
                        Resource { group: $group, version: $version, plural: $plural, scope: KindScope::$scope }
                    })*
                    Self::Installation | Self::Other(_) => return None,
                })
            }
        }
    };
}

kinds! {
    Backup: "velero.io" "v1" "backups" Velero;
    Restore: "velero.io" "v1" "restores" Velero;
    PodVolumeBackup: "velero.io" "v1" "podvolumebackups" Velero;
    PodVolumeRestore: "velero.io" "v1" "podvolumerestores" Velero;
    DataUpload: "velero.io" "v2alpha1" "datauploads" Velero;
    DataDownload: "velero.io" "v2alpha1" "datadownloads" Velero;
    BackupStorageLocation: "velero.io" "v1" "backupstoragelocations" Velero;
    BackupRepository: "velero.io" "v1" "backuprepositories" Velero;
    Namespace: "" "v1" "namespaces" Cluster;
    Pod: "" "v1" "pods" Namespace;
    Deployment: "apps" "v1" "deployments" Namespace;
    DaemonSet: "apps" "v1" "daemonsets" Namespace;
    PersistentVolumeClaim: "" "v1" "persistentvolumeclaims" Namespace;
    PersistentVolume: "" "v1" "persistentvolumes" Cluster;
    StorageClass: "storage.k8s.io" "v1" "storageclasses" Cluster;
    VolumeAttachment: "storage.k8s.io" "v1" "volumeattachments" Cluster;
    VolumeSnapshot: "snapshot.storage.k8s.io" "v1" "volumesnapshots" Namespace;
    VolumeSnapshotContent: "snapshot.storage.k8s.io" "v1" "volumesnapshotcontents" Cluster;
    Node: "" "v1" "nodes" Cluster;
    ResourceQuota: "" "v1" "resourcequotas" Namespace;
    CustomResourceDefinition: "apiextensions.k8s.io" "v1" "customresourcedefinitions" Cluster;
    Event: "" "v1" "events" Namespace;
}

impl Kind {
    /// The kinds that move the data of a volume.
    pub const DATA: [Self; 4] = [Self::PodVolumeRestore, Self::PodVolumeBackup, Self::DataDownload, Self::DataUpload];

    /// Those of [`Self::DATA`] that serve a Restore, or else a Backup.
    pub const fn data_of(target: &Self) -> [Self; 2] {
        match target {
            Self::Restore => [Self::PodVolumeRestore, Self::DataDownload],
            _ => [Self::PodVolumeBackup, Self::DataUpload],
        }
    }

    /// The kind that a group serves by this plural, whatever the version.
    pub fn served_as(group: &str, plural: &str) -> Option<&'static Self> {
        let is_it = |served: Resource| served.group == group && served.plural == plural;
        Self::SERVED.iter().find(|kind| kind.resource().is_some_and(is_it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_by_its_name_and_by_its_resource() {
        for kind in Kind::SERVED {
            let served = kind.resource().expect("it is served");
            assert_eq!(Kind::of(kind.as_str()), *kind);
            assert_eq!(Kind::served_as(served.group, served.plural), Some(kind));
        }
        assert_eq!(Kind::served_as("apps", "pods"), None);
        assert_eq!(Kind::Other("Widget".to_owned()).resource(), None);
        let both = [Kind::data_of(&Kind::Restore), Kind::data_of(&Kind::Backup)].concat();
        assert!(both.iter().all(|kind| Kind::DATA.contains(kind)) && both.len() == Kind::DATA.len());
    }
}
