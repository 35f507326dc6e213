//! Velero's own files for the collection, through the store that the bundle goes to.
//! Which files there are is `store`'s list; reading and inflating them is `collect`'s.

use std::{io, sync::Arc};

use debugbundle_crd::TargetKind;
use futures::{StreamExt as _, future::BoxFuture};

use super::Destination;
use crate::{
    collect::{StoreBody, StoreFailure, StoreFiles},
    plan::StoreFile,
    store::{AnyStore, BackupFile, RestoreFile, Store as _, StoreError, VeleroFile},
};

struct Files {
    store: AnyStore,
    bucket: String,
    prefix: String,
}

/// The files beside which this bundle will lie.
pub(super) fn of(destination: &Destination) -> Arc<dyn StoreFiles> {
    Arc::new(Files {
        store: destination.store.clone(),
        bucket: destination.bucket().to_owned(),
        prefix: destination.location.prefix.clone(),
    })
}

impl StoreFiles for Files {
    fn open<'a>(
        &'a self,
        of: TargetKind,
        name: &'a str,
        file: StoreFile,
    ) -> BoxFuture<'a, Result<Option<StoreBody>, StoreFailure>> {
        Box::pin(async move {
            let Some(file) = velero_file(of, name, file) else { return Ok(None) };
            let body = self.store.read(&file).await.map_err(|error| self.failure(&error))?;
            Ok(body.map(|body| body.stream.map(|chunk| chunk.map_err(|e| io::Error::other(e.message()))).boxed()))
        })
    }

    fn key(&self, of: TargetKind, name: &str, file: StoreFile) -> String {
        let below = velero_file(of, name, file).map_or(String::new(), |file| file.below_root().to_owned());
        if self.prefix.is_empty() { below } else { format!("{}/{below}", self.prefix) }
    }
}

impl Files {
    fn failure(&self, error: &StoreError) -> StoreFailure {
        match error {
            StoreError::Unreachable(_) | StoreError::Unavailable(_) => {
                StoreFailure::Unreachable { why: error.message() }
            }
            _ => StoreFailure::Denied {
                why: error.message(),
                cure: format!("allow s3:GetObject on bucket {}, keys below {}", self.bucket, self.prefix),
            },
        }
    }
}

fn velero_file(of: TargetKind, name: &str, file: StoreFile) -> Option<VeleroFile> {
    match of {
        TargetKind::Backup => VeleroFile::of_backup(name, of_backup(file)).ok(),
        TargetKind::Restore => VeleroFile::of_restore(name, of_restore(file)?).ok(),
    }
}

fn of_backup(file: StoreFile) -> BackupFile {
    match file {
        StoreFile::Log => BackupFile::Log,
        StoreFile::Results => BackupFile::Results,
        StoreFile::ItemOperations => BackupFile::ItemOperations,
        StoreFile::VolumeInfo => BackupFile::VolumeInfo,
        StoreFile::ResourceList => BackupFile::ResourceList,
        StoreFile::PodVolumeBackups => BackupFile::PodVolumeBackups,
        StoreFile::VolumeSnapshots => BackupFile::VolumeSnapshots,
        StoreFile::Backup => BackupFile::Object,
    }
}

fn of_restore(file: StoreFile) -> Option<RestoreFile> {
    match file {
        StoreFile::Log => Some(RestoreFile::Log),
        StoreFile::Results => Some(RestoreFile::Results),
        StoreFile::ItemOperations => Some(RestoreFile::ItemOperations),
        StoreFile::VolumeInfo => Some(RestoreFile::VolumeInfo),
        StoreFile::ResourceList => Some(RestoreFile::ResourceList),
        StoreFile::PodVolumeBackups | StoreFile::VolumeSnapshots | StoreFile::Backup => None,
    }
}
