//! The volumes of a Backup as Velero stored them before it had volume info: one file for native snapshots, two for CSI
//! snapshots. Described in the words of `volumes`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use debugbundle_format::StoreFile;
use serde::Deserialize;
use serde_json::Value;

use super::{
    StoredFile, VeleroFiles,
    go::number,
    page::Page,
    unread,
    volumes::{Csi, Native, VolumeInfo, csi, native, unreadable},
};
use crate::json_stream::each;

/// Most VolumeSnapshots that are joined with their contents.
const JOINED: usize = 10_000;

/// A snapshot in `volumesnapshots.json` (Velero's `internal/volume/snapshot.go`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldSnapshot {
    spec: OldSpec,
    status: OldStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OldSpec {
    persistent_volume_name: Option<String>,
    volume_type: Option<String>,
    #[serde(rename = "volumeAZ")]
    volume_az: Option<String>,
    #[serde(rename = "volumeIOPS")]
    volume_iops: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldStatus {
    #[serde(rename = "providerSnapshotID")]
    provider_snapshot_id: Option<String>,
}

pub(super) fn native_snapshots<W: Write>(
    page: &mut Page<W>,
    status: &Value,
    files: &dyn VeleroFiles,
) -> io::Result<()> {
    if number(&status["volumeSnapshotsAttempted"]) == 0 {
        return page.line("\tVelero-Native Snapshots: <none included>");
    }
    let StoredFile::There(from) = files.open(StoreFile::VolumeSnapshots)? else {
        return page.line(&format!("\t{}", unread("native snapshot info")));
    };
    page.line("\tVelero-Native Snapshots:")?;
    let read = each(from, |snapshot: OldSnapshot| {
        let OldSnapshot { spec, status } = snapshot;
        let info = VolumeInfo {
            pv_name: spec.persistent_volume_name,
            native_snapshot_info: Some(Native {
                snapshot_handle: status.provider_snapshot_id,
                volume_type: spec.volume_type,
                volume_az: spec.volume_az,
                iops: spec.volume_iops.map(|iops| iops.to_string()),
            }),
            ..VolumeInfo::default()
        };
        native(page, &info)
    });
    unreadable(page, read, "error concluding native snapshot info")
}

/// A VolumeSnapshot or its content, as old Velero stored it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldCsi<S> {
    metadata: OldMetadata,
    spec: OldCsiSpec,
    status: Option<S>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldMetadata {
    name: Option<String>,
    namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldCsiSpec {
    driver: Option<String>,
    source: OldSource,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OldSource {
    persistent_volume_claim_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OldSnapshotStatus {
    bound_volume_snapshot_content_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OldContentStatus {
    snapshot_handle: Option<String>,
    restore_size: Option<i64>,
}

pub(super) fn csi_snapshots<W: Write>(page: &mut Page<W>, status: &Value, files: &dyn VeleroFiles) -> io::Result<()> {
    if number(&status["csiVolumeSnapshotsAttempted"]) == 0 {
        return page.line("\tCSI Snapshots: <none included or not detectable>");
    }
    let snapshots = files.open(StoreFile::CsiVolumeSnapshots)?;
    let contents = files.open(StoreFile::CsiVolumeSnapshotContents)?;
    let (StoredFile::There(snapshots), StoredFile::There(contents)) = (snapshots, contents) else {
        return page.line(&format!("\t{}", unread("CSI snapshot info")));
    };
    let mut claims: BTreeMap<String, (String, String)> = BTreeMap::new();
    let joined = each(snapshots, |snapshot: OldCsi<OldSnapshotStatus>| {
        let content = snapshot.status.and_then(|status| status.bound_volume_snapshot_content_name);
        if let (Some(content), Some(claim)) = (content, snapshot.spec.source.persistent_volume_claim_name)
            && claims.len() < JOINED
        {
            claims.insert(content, (snapshot.metadata.namespace.unwrap_or_default(), claim));
        }
        Ok(())
    });
    page.line("\tCSI Snapshots:")?;
    unreadable(page, joined, "error concluding CSI snapshot info")?;
    let read = each(contents, |content: OldCsi<OldContentStatus>| {
        let name = content.metadata.name.unwrap_or_default();
        let (namespace, claim) =
            claims.get(&name).cloned().unwrap_or_else(|| (String::new(), "<PVC name not found>".to_owned()));
        let status = content.status.unwrap_or_default();
        let info = VolumeInfo {
            pvc_name: Some(claim),
            pvc_namespace: Some(namespace),
            preserve_local_snapshot: Some(true),
            csi_snapshot_info: Some(Csi {
                snapshot_handle: status.snapshot_handle,
                size: status.restore_size,
                driver: content.spec.driver,
                vsc_name: Some(name),
                operation_id: None,
            }),
            ..VolumeInfo::default()
        };
        csi(page, &info)
    });
    unreadable(page, read, "error concluding CSI snapshot info")
}
