//! The files of Velero that may be read from a store: a fixed list of names for a target whose name is checked.
//! The tarball of the backed-up items is not among them: it contains every Secret in clear text.

/// A file that Velero stored about a Backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackupFile {
    /// The Backup object; the only one that is not gzipped.
    Object,
    /// The log.
    Log,
    /// Errors and warnings.
    Results,
    /// PodVolumeBackups.
    PodVolumeBackups,
    /// Native snapshots.
    VolumeSnapshots,
    /// Asynchronous operations.
    ItemOperations,
    /// What was backed up.
    ResourceList,
    /// How each volume was backed up.
    VolumeInfo,
    /// VolumeSnapshots; no longer written.
    CsiVolumeSnapshots,
    /// VolumeSnapshotContents; no longer written.
    CsiVolumeSnapshotContents,
    /// VolumeSnapshotClasses; no longer written.
    CsiVolumeSnapshotClasses,
}

impl BackupFile {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Object,
        Self::Log,
        Self::Results,
        Self::PodVolumeBackups,
        Self::VolumeSnapshots,
        Self::ItemOperations,
        Self::ResourceList,
        Self::VolumeInfo,
        Self::CsiVolumeSnapshots,
        Self::CsiVolumeSnapshotContents,
        Self::CsiVolumeSnapshotClasses,
    ];

    fn name(self, backup: &str) -> String {
        let suffix = match self {
            Self::Object => return "velero-backup.json".to_owned(),
            Self::Log => "logs.gz",
            Self::Results => "results.gz",
            Self::PodVolumeBackups => "podvolumebackups.json.gz",
            Self::VolumeSnapshots => "volumesnapshots.json.gz",
            Self::ItemOperations => "itemoperations.json.gz",
            Self::ResourceList => "resource-list.json.gz",
            Self::VolumeInfo => "volumeinfo.json.gz",
            Self::CsiVolumeSnapshots => "csi-volumesnapshots.json.gz",
            Self::CsiVolumeSnapshotContents => "csi-volumesnapshotcontents.json.gz",
            Self::CsiVolumeSnapshotClasses => "csi-volumesnapshotclasses.json.gz",
        };
        format!("{backup}-{suffix}")
    }
}

/// A file that Velero stored about a Restore; all are gzipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestoreFile {
    /// The log.
    Log,
    /// Errors and warnings.
    Results,
    /// What was restored.
    ResourceList,
    /// Asynchronous operations.
    ItemOperations,
    /// How each volume was restored.
    VolumeInfo,
}

impl RestoreFile {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Log, Self::Results, Self::ResourceList, Self::ItemOperations, Self::VolumeInfo];

    fn name(self, restore: &str) -> String {
        match self {
            Self::Log => format!("restore-{restore}-logs.gz"),
            Self::Results => format!("restore-{restore}-results.gz"),
            Self::ResourceList => format!("restore-{restore}-resource-list.json.gz"),
            Self::ItemOperations => format!("restore-{restore}-itemoperations.json.gz"),
            Self::VolumeInfo => format!("{restore}-volumeinfo.json.gz"),
        }
    }
}

/// A file that Velero stored about a certain Backup or Restore.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VeleroFile {
    below_root: String,
    gzipped: bool,
}

/// The name cannot be that of a Backup or Restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name must be a DNS-1123 subdomain")]
pub struct InvalidName;

impl VeleroFile {
    /// A file about the Backup `name`.
    ///
    /// # Errors
    /// If the name is not a DNS-1123 subdomain.
    pub fn of_backup(name: &str, file: BackupFile) -> Result<Self, InvalidName> {
        let name = subdomain(name)?;
        Ok(Self { below_root: format!("backups/{name}/{}", file.name(name)), gzipped: file != BackupFile::Object })
    }

    /// A file about the Restore `name`.
    ///
    /// # Errors
    /// If the name is not a DNS-1123 subdomain.
    pub fn of_restore(name: &str, file: RestoreFile) -> Result<Self, InvalidName> {
        let name = subdomain(name)?;
        Ok(Self { below_root: format!("restores/{name}/{}", file.name(name)), gzipped: true })
    }

    /// Whether the content is gzip.
    pub const fn gzipped(&self) -> bool {
        self.gzipped
    }

    /// The path below the location's prefix.
    pub fn below_root(&self) -> &str {
        &self.below_root
    }

    /// The key in a location with that prefix.
    pub(crate) fn key(&self, prefix: &str) -> String {
        if prefix.is_empty() { self.below_root.clone() } else { format!("{prefix}/{}", self.below_root) }
    }
}

fn subdomain(name: &str) -> Result<&str, InvalidName> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if name.len() <= 253 && name.split('.').all(label) { Ok(name) } else { Err(InvalidName) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_d7_names_are_velero_s() {
        let restore = |file| VeleroFile::of_restore("r1", file).expect("valid").key("p");
        assert_eq!(
            RestoreFile::ALL.map(restore),
            [
                "p/restores/r1/restore-r1-logs.gz",
                "p/restores/r1/restore-r1-results.gz",
                "p/restores/r1/restore-r1-resource-list.json.gz",
                "p/restores/r1/restore-r1-itemoperations.json.gz",
                "p/restores/r1/r1-volumeinfo.json.gz",
            ]
        );
        let backup = |file| VeleroFile::of_backup("b1", file).expect("valid").key("");
        assert_eq!(
            BackupFile::ALL.map(backup),
            [
                "backups/b1/velero-backup.json",
                "backups/b1/b1-logs.gz",
                "backups/b1/b1-results.gz",
                "backups/b1/b1-podvolumebackups.json.gz",
                "backups/b1/b1-volumesnapshots.json.gz",
                "backups/b1/b1-itemoperations.json.gz",
                "backups/b1/b1-resource-list.json.gz",
                "backups/b1/b1-volumeinfo.json.gz",
                "backups/b1/b1-csi-volumesnapshots.json.gz",
                "backups/b1/b1-csi-volumesnapshotcontents.json.gz",
                "backups/b1/b1-csi-volumesnapshotclasses.json.gz",
            ]
        );
    }

    #[test]
    fn sec_d7_hostile_names_are_refused() {
        for name in ["", "..", "a/b", "a..b", "A", "a b", "-a", "a-", "a\n", "../../x", &"x".repeat(254)] {
            assert_eq!(VeleroFile::of_backup(name, BackupFile::Log), Err(InvalidName), "{name:?}");
            assert_eq!(VeleroFile::of_restore(name, RestoreFile::Log), Err(InvalidName), "{name:?}");
        }
    }
}
