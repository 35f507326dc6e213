//! The target's files in the object store, and those of a Restore's Backup.

use debugbundle_crd::TargetKind;
use debugbundle_format::{StoreFile, layout, manifest::MissingCode};

use super::{ItemSource, Planner, Priority};
use crate::velero::{TargetObject, files::JSON_FILE};

/// Bytes kept of a Backup's or Restore's own log.
const TARGET_LOG: u64 = 200 << 20;

impl Planner<'_> {
    pub(super) fn target(&mut self) {
        let snapshot = self.snapshot;
        let Some(target) = &snapshot.target.object else { return };
        self.store_files(target, |_| Priority::P1);
        if target.kind != TargetKind::Restore {
            return;
        }
        match (&snapshot.target.backup, &target.backup_name) {
            (Some(backup), _) => self.store_files(backup, |file| match file {
                StoreFile::Log | StoreFile::Results => Priority::P1,
                _ => Priority::P4,
            }),
            (None, Some(name)) => {
                let folder = layout::target_folder(TargetKind::Backup, name);
                // The Restore's files lie beside its Backup's.
                let (where_from, cure) = match snapshot.target.data.iter().find_map(|object| object.location.as_ref()) {
                    Some(location) => {
                        (format!("; according to its data it was in BackupStorageLocation {location}"), "")
                    }
                    None if snapshot.installation.locations.len() > 1 => (
                        ", so the location of its files and of the Restore's files is unknown".to_owned(),
                        "if the bundle's location does not contain these files, set spec.storageLocation to the \
                         location that does",
                    ),
                    None => (String::new(), ""),
                };
                self.note(
                    format!("files of Backup {name}"),
                    folder.as_str().to_owned(),
                    MissingCode::Gone,
                    format!("Backup {name}, which the Restore names, does not exist{where_from}"),
                    cure,
                );
            }
            (None, None) => {}
        }
    }

    fn store_files(&mut self, target: &TargetObject, priority: impl Fn(StoreFile) -> Priority) {
        let files: &[StoreFile] = match target.kind {
            TargetKind::Backup => &StoreFile::OF_BACKUP,
            TargetKind::Restore => &StoreFile::OF_RESTORE,
        };
        // Velero wrote these only for CSI snapshots; asking for them without any would put a note into every bundle.
        let snapshots = target.raw["status"]["csiVolumeSnapshotsAttempted"].as_i64().unwrap_or(0);
        let old: &[StoreFile] = match target.kind {
            TargetKind::Backup if snapshots > 0 => &StoreFile::OF_OLD_BACKUP,
            _ => &[],
        };
        for file in files.iter().chain(old) {
            let name = file.bundle_name(target.kind);
            let what = format!("{name} of {} {}", target.kind, target.name);
            let path = layout::store_file(target.kind, &target.name, *file);
            if target.has_no_files() {
                let why = format!("{} {} is {}: Velero did not run it", target.kind, target.name, target.phase);
                self.note(what, path.as_str().to_owned(), MissingCode::NeverWritten, why, "");
                continue;
            }
            let unless = (!target.files_are_due()).then(|| target.phase.clone());
            self.add(
                priority(*file),
                what,
                path,
                ItemSource::Store { of: target.kind, name: target.name.clone(), file: *file, unless },
            );
        }
    }
}

/// Bytes kept of a store file: of the log head and tail, of JSON all or nothing.
pub fn store_limit(file: StoreFile) -> u64 {
    if file.is_json() { JSON_FILE } else { TARGET_LOG }
}
