//! The result for each volume: snapshots and moved data from Velero's volume info, pod volumes from their objects.
//! `old_volumes` reads the files of Velero versions without volume info.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use debugbundle_format::StoreFile;
use serde::Deserialize;
use serde_json::Value;

use super::{
    StoredFile, VeleroFiles,
    live::{Live, Volume},
    old_volumes,
    page::Page,
    unread,
};
use crate::json_stream::{StreamError, each};

/// A volume in `volumeinfo.json` (Velero's `internal/volume/volumes_information.go`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct VolumeInfo {
    pub(super) pvc_name: Option<String>,
    pub(super) pvc_namespace: Option<String>,
    pub(super) pv_name: Option<String>,
    pub(super) backup_method: Option<String>,
    pub(super) restore_method: Option<String>,
    pub(super) snapshot_data_moved: Option<bool>,
    pub(super) preserve_local_snapshot: Option<bool>,
    pub(super) result: Option<String>,
    pub(super) csi_snapshot_info: Option<Csi>,
    pub(super) snapshot_data_movement_info: Option<Movement>,
    pub(super) native_snapshot_info: Option<Native>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Csi {
    pub(super) snapshot_handle: Option<String>,
    pub(super) size: Option<i64>,
    pub(super) driver: Option<String>,
    pub(super) vsc_name: Option<String>,
    #[serde(rename = "operationID")]
    pub(super) operation_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Movement {
    data_mover: Option<String>,
    uploader_type: Option<String>,
    #[serde(rename = "operationID")]
    operation_id: Option<String>,
    size: Option<i64>,
    incremental_size: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Native {
    pub(super) snapshot_handle: Option<String>,
    pub(super) volume_type: Option<String>,
    #[serde(rename = "volumeAZ")]
    pub(super) volume_az: Option<String>,
    pub(super) iops: Option<String>,
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

/// The whole `Backup Volumes:` section.
pub(super) fn of_backup<W: Write>(
    page: &mut Page<W>,
    status: &Value,
    files: &dyn VeleroFiles,
    live: &Live,
) -> io::Result<()> {
    page.line("Backup Volumes:")?;
    match files.open(StoreFile::VolumeInfo)? {
        StoredFile::There(from) => {
            snapshots(page, from, "Velero-Native Snapshots", "NativeSnapshot", native)?;
            page.gap()?;
            if let StoredFile::There(from) = files.open(StoreFile::VolumeInfo)? {
                snapshots(page, from, "CSI Snapshots", "CSISnapshot", csi)?;
            }
        }
        StoredFile::Absent => {
            old_volumes::native_snapshots(page, status, files)?;
            page.gap()?;
            old_volumes::csi_snapshots(page, status, files)?;
        }
        StoredFile::Unread => page.line(&format!("\t{}", unread("backup volume info")))?,
    }
    page.gap()?;
    pod_volume_backups(page, live)
}

/// A heading with the volumes that one method backed up.
fn snapshots<W: Write>(
    page: &mut Page<W>,
    from: impl Read,
    heading: &str,
    method: &str,
    describe: fn(&mut Page<W>, &VolumeInfo) -> io::Result<()>,
) -> io::Result<()> {
    let mut any = false;
    let read = each(from, |info: VolumeInfo| {
        if info.backup_method.as_deref() != Some(method) {
            return Ok(());
        }
        if !any {
            page.line(&format!("\t{heading}:"))?;
        }
        any = true;
        describe(page, &info)
    });
    match read {
        Err(StreamError::Write(error)) => Err(error),
        Err(StreamError::Read(why)) => page.text(1, &format!("<error reading backup volume info: {why}>")),
        Ok(()) if !any => page.line(&format!("\t{heading}: <none included>")),
        Ok(()) => Ok(()),
    }
}

pub(super) fn native<W: Write>(page: &mut Page<W>, info: &VolumeInfo) -> io::Result<()> {
    let snapshot = info.native_snapshot_info.as_ref();
    let of = |field: fn(&Native) -> &Option<String>| text(snapshot.and_then(|snapshot| field(snapshot).as_ref()));
    page.text(2, &format!("{}:", text(info.pv_name.as_ref())))?;
    page.row(3, "Snapshot ID", of(|snapshot| &snapshot.snapshot_handle))?;
    page.row(3, "Type", of(|snapshot| &snapshot.volume_type))?;
    page.row(3, "Availability Zone", of(|snapshot| &snapshot.volume_az))?;
    page.row(3, "IOPS", of(|snapshot| &snapshot.iops))?;
    page.row(3, "Result", text(info.result.as_ref()))
}

pub(super) fn csi<W: Write>(page: &mut Page<W>, info: &VolumeInfo) -> io::Result<()> {
    page.text(2, &format!("{}/{}:", text(info.pvc_namespace.as_ref()), text(info.pvc_name.as_ref())))?;
    let moved = info.snapshot_data_moved == Some(true);
    let result = text(info.result.as_ref());
    if info.preserve_local_snapshot == Some(true) {
        let none = Csi::default();
        let snapshot = info.csi_snapshot_info.as_ref().unwrap_or(&none);
        page.line("\t\t\tSnapshot:")?;
        let operation = text(snapshot.operation_id.as_ref());
        if !moved && !operation.is_empty() {
            page.text(4, &format!("Operation ID: {operation}"))?;
        }
        page.text(4, &format!("Snapshot Content Name: {}", text(snapshot.vsc_name.as_ref())))?;
        page.text(4, &format!("Storage Snapshot ID: {}", text(snapshot.snapshot_handle.as_ref())))?;
        page.text(4, &format!("Snapshot Size (bytes): {}", snapshot.size.unwrap_or(0)))?;
        page.text(4, &format!("CSI Driver: {}", text(snapshot.driver.as_ref())))?;
        page.text(4, &format!("Result: {result}"))?;
    }
    if moved {
        let none = Movement::default();
        let movement = info.snapshot_data_movement_info.as_ref().unwrap_or(&none);
        page.line("\t\t\tData Movement:")?;
        page.text(4, &format!("Operation ID: {}", text(movement.operation_id.as_ref())))?;
        let by = Some(text(movement.data_mover.as_ref())).filter(|name| !name.is_empty()).unwrap_or("velero");
        page.text(4, &format!("Data Mover: {by}"))?;
        page.text(4, &format!("Uploader Type: {}", text(movement.uploader_type.as_ref())))?;
        page.text(4, &format!("Moved data Size (bytes): {}", movement.size.unwrap_or(0)))?;
        if let Some(size) = movement.incremental_size.filter(|size| *size > 0) {
            page.text(4, &format!("Incremental data Size (bytes): {size}"))?;
        }
        page.text(4, &format!("Result: {result}"))?;
    }
    Ok(())
}

pub(super) fn unreadable<W: Write>(page: &mut Page<W>, read: Result<(), StreamError>, what: &str) -> io::Result<()> {
    match read {
        Ok(()) => Ok(()),
        Err(StreamError::Write(error)) => Err(error),
        Err(StreamError::Read(why)) => page.text(1, &format!("<{what}: {why}>")),
    }
}

/// `CSI Snapshot Restores:`; nothing for Restores of old Velero, which stored no such file.
pub(super) fn of_restore<W: Write>(page: &mut Page<W>, files: &dyn VeleroFiles) -> io::Result<()> {
    match files.open(StoreFile::VolumeInfo)? {
        StoredFile::There(_) => {}
        StoredFile::Absent => return Ok(()),
        StoredFile::Unread => return page.line(&format!("\t{}", unread("restore volume info"))),
    }
    page.gap()?;
    let mut any = false;
    // Volumes whose data was not moved come first.
    for moved in [false, true] {
        let StoredFile::There(from) = files.open(StoreFile::VolumeInfo)? else { continue };
        let read = each(from, |info: VolumeInfo| {
            let is_csi = info.restore_method.as_deref() == Some("CSISnapshot");
            if !is_csi || (info.snapshot_data_moved == Some(true)) != moved {
                return Ok(());
            }
            if !any {
                page.line("CSI Snapshot Restores:")?;
            }
            any = true;
            restored(page, &info, moved)
        });
        unreadable(page, read, "error reading restore volume info")?;
    }
    if any { Ok(()) } else { page.line("CSI Snapshot Restores: <none included>") }
}

fn restored<W: Write>(page: &mut Page<W>, info: &VolumeInfo, moved: bool) -> io::Result<()> {
    page.text(1, &format!("{}/{}:", text(info.pvc_namespace.as_ref()), text(info.pvc_name.as_ref())))?;
    if moved {
        let none = Movement::default();
        let movement = info.snapshot_data_movement_info.as_ref().unwrap_or(&none);
        page.line("\t\tData Movement:")?;
        page.text(3, &format!("Operation ID: {}", text(movement.operation_id.as_ref())))?;
        page.text(3, &format!("Data Mover: {}", text(movement.data_mover.as_ref())))?;
        return page.text(3, &format!("Uploader Type: {}", text(movement.uploader_type.as_ref())));
    }
    let none = Csi::default();
    let snapshot = info.csi_snapshot_info.as_ref().unwrap_or(&none);
    page.line("\t\tSnapshot:")?;
    page.text(3, &format!("Snapshot Content Name: {}", text(snapshot.vsc_name.as_ref())))?;
    page.text(3, &format!("Storage Snapshot ID: {}", text(snapshot.snapshot_handle.as_ref())))?;
    page.text(3, &format!("CSI Driver: {}", text(snapshot.driver.as_ref())))
}

fn pod_volume_backups<W: Write>(page: &mut Page<W>, live: &Live) -> io::Result<()> {
    if !live.volumes_read {
        return page.line(&format!("\tPod Volume Backups: {}", unread("pod volume backups")));
    }
    let Some(first) = live.volumes.first() else {
        return page.line("\tPod Volume Backups: <none included>");
    };
    page.text(1, &format!("Pod Volume Backups - {}:", first.uploader))?;
    let phases = ["Completed", "Failed", "Canceled", "In Progress", "Canceling", "Prepared", "Accepted", "New"];
    by_phase(page, 2, live, &phases)
}

/// The PodVolumeRestores of a Restore; nothing if it has none.
pub(super) fn pod_volume_restores<W: Write>(page: &mut Page<W>, live: &Live) -> io::Result<()> {
    if !live.volumes_read {
        page.gap()?;
        return page.line(&format!("Pod Volume Restores: {}", unread("pod volume restores")));
    }
    let Some(first) = live.volumes.first() else { return Ok(()) };
    page.gap()?;
    page.text(0, &format!("{} Restores:", first.uploader))?;
    // Velero lists Canceling for backups only; here Restores list it too.
    let phases = ["Completed", "Canceled", "Failed", "In Progress", "Canceling", "Prepared", "Accepted", "New"];
    by_phase(page, 1, live, &phases)
}

fn by_phase<W: Write>(page: &mut Page<W>, indent: usize, live: &Live, phases: &[&str]) -> io::Result<()> {
    for phase in phases {
        let mut pods: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for volume in live.volumes.iter().filter(|volume| phase_of(volume) == *phase) {
            pods.entry(&volume.pod).or_default().push(with_size(volume, phase));
        }
        if pods.is_empty() {
            continue;
        }
        page.text(indent, &format!("{phase}:"))?;
        for (pod, mut volumes) in pods {
            volumes.sort_unstable();
            page.text(indent + 1, &format!("{pod}: {}", volumes.join(", ")))?;
        }
    }
    if live.left_out > 0 {
        page.text(indent, &format!("<{} more objects: see namespaces/>", live.left_out))?;
    }
    Ok(())
}

fn phase_of(volume: &Volume) -> &str {
    match volume.phase.as_str() {
        "" => "New",
        "InProgress" => "In Progress",
        phase => phase,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people, as Velero computes it")]
fn with_size(volume: &Volume, phase: &str) -> String {
    let Volume { name, done, total, incremental, .. } = volume;
    match phase {
        "In Progress" if *total != 0 => format!("{name} ({:.2}%)", *done as f64 / *total as f64 * 100.0),
        "Completed" if *incremental > 0 => format!("{name} (size: {total}, incremental size: {incremental})"),
        "Completed" if *total > 0 => format!("{name} (size: {total})"),
        _ => name.clone(),
    }
}
