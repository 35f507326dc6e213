//! Reads Velero's files from the location's store: the name of each file there, and the meaning of the store's errors.
//! `store_files` inflates and checks the content.

use std::{io, sync::Arc};

use debugbundle_crd::TargetKind;
use debugbundle_format::StoreFile;
use futures::{FutureExt as _, StreamExt as _};

use crate::{
    store::{BackupFile, RestoreFile, Store, StoreError, VeleroFile},
    velero::{OpenedFile, StoreFailure, StoreFiles},
};

/// A location's store, used for reading.
#[derive(Clone, Debug)]
pub struct FromStore {
    store: Arc<dyn Store>,
    prefix: String,
}

impl FromStore {
    /// `prefix` is the location's, without leading and trailing slashes.
    pub fn new(store: Arc<dyn Store>, prefix: impl Into<String>) -> Self {
        Self { store, prefix: prefix.into() }
    }
}

impl StoreFiles for FromStore {
    fn open<'a>(&'a self, of: TargetKind, name: &'a str, file: StoreFile) -> OpenedFile<'a> {
        async move {
            let Some(file) = velero_file(of, name, file) else { return Ok(None) };
            let body = self.store.read(&file).await.map_err(|error| failure(&error))?;
            Ok(body.map(|body| body.stream.map(|piece| piece.map_err(io::Error::other)).boxed()))
        }
        .boxed()
    }

    fn key(&self, of: TargetKind, name: &str, file: StoreFile) -> String {
        velero_file(of, name, file).map(|file| file.key(&self.prefix)).unwrap_or_default()
    }
}

/// The file by the name that Velero gives it; `None` if no such file can exist.
fn velero_file(of: TargetKind, name: &str, file: StoreFile) -> Option<VeleroFile> {
    let file = match (of, file) {
        (TargetKind::Backup, file) => VeleroFile::of_backup(
            name,
            match file {
                StoreFile::Log => BackupFile::Log,
                StoreFile::Results => BackupFile::Results,
                StoreFile::ItemOperations => BackupFile::ItemOperations,
                StoreFile::VolumeInfo => BackupFile::VolumeInfo,
                StoreFile::ResourceList => BackupFile::ResourceList,
                StoreFile::PodVolumeBackups => BackupFile::PodVolumeBackups,
                StoreFile::VolumeSnapshots => BackupFile::VolumeSnapshots,
                StoreFile::CsiVolumeSnapshots => BackupFile::CsiVolumeSnapshots,
                StoreFile::CsiVolumeSnapshotContents => BackupFile::CsiVolumeSnapshotContents,
                StoreFile::CsiVolumeSnapshotClasses => BackupFile::CsiVolumeSnapshotClasses,
                StoreFile::Backup => BackupFile::Object,
            },
        ),
        (TargetKind::Restore, file) => VeleroFile::of_restore(
            name,
            match file {
                StoreFile::Log => RestoreFile::Log,
                StoreFile::Results => RestoreFile::Results,
                StoreFile::ItemOperations => RestoreFile::ItemOperations,
                StoreFile::VolumeInfo => RestoreFile::VolumeInfo,
                StoreFile::ResourceList => RestoreFile::ResourceList,
                StoreFile::PodVolumeBackups
                | StoreFile::VolumeSnapshots
                | StoreFile::CsiVolumeSnapshots
                | StoreFile::CsiVolumeSnapshotContents
                | StoreFile::CsiVolumeSnapshotClasses
                | StoreFile::Backup => return None,
            },
        ),
    };
    file.ok()
}

fn elsewhere(bucket: &str, besides: &str) -> String {
    format!("correct the location: its bucket {bucket} and its {besides} must be the ones that Velero writes to")
}

fn failure(error: &StoreError) -> StoreFailure {
    let why = error.message();
    let cure = match error {
        StoreError::Denied { permission, bucket, key, .. } => {
            format!("allow {permission} on {bucket}/{key} to the location's credential")
        }
        StoreError::NoBucket { bucket, words, .. } => elsewhere(bucket, words.besides_bucket),
        StoreError::WrongRegion { bucket, .. } => elsewhere(bucket, "region"),
        StoreError::NotAccepted { .. } | StoreError::Expired(_) | StoreError::NoCredential(_) => {
            return StoreFailure::NotAccepted { why };
        }
        StoreError::NotAllowed(_) | StoreError::Rejected(_) => "correct the location's config".to_owned(),
        _ => return StoreFailure::Unreachable { why },
    };
    StoreFailure::Denied { why, cure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Answer;

    #[test]
    fn every_planned_file_has_veleros_name_for_it() {
        for (kind, files) in [
            (TargetKind::Backup, StoreFile::OF_BACKUP.as_slice()),
            (TargetKind::Backup, StoreFile::OF_OLD_BACKUP.as_slice()),
            (TargetKind::Restore, StoreFile::OF_RESTORE.as_slice()),
        ] {
            for file in files {
                let found = velero_file(kind, "harvest", *file).unwrap_or_else(|| panic!("{kind} {file:?}"));
                assert_eq!(found.gzipped(), file.is_gzip(), "{kind} {file:?}");
            }
        }
        assert_eq!(velero_file(TargetKind::Restore, "harvest", StoreFile::Backup), None);
        assert_eq!(velero_file(TargetKind::Backup, "../x", StoreFile::Log), None);
        let log = velero_file(TargetKind::Restore, "harvest", StoreFile::Log).unwrap();
        assert_eq!(log.key("deep/prefix"), "deep/prefix/restores/harvest/restore-harvest-logs.gz");
    }

    #[test]
    fn a_refusal_names_bucket_key_and_action() {
        let denied = StoreError::Denied {
            permission: "store:Read",
            bucket: "silo".to_owned(),
            key: "backups/b/b-logs.gz".to_owned(),
            answer: Answer::new(403, Some("AccessDenied")),
        };
        let StoreFailure::Denied { cure, .. } = failure(&denied) else { panic!("not denied") };
        assert_eq!(cure, "allow store:Read on silo/backups/b/b-logs.gz to the location's credential");
        let away = failure(&StoreError::silent("connection refused"));
        assert!(matches!(away, StoreFailure::Unreachable { .. }));
    }
}
