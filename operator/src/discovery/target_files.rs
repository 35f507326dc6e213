//! Reads what the target's own files name: claims, volumes and snapshots that did not end well, in its volume info and item
//! operations, and namespaces in its results. The bundle contains the whole files.

use std::{io::Read, time::Duration};

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::{Kind, named};
use debugbundle_format::StoreFile;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::volume_refs::{ObjectRef, ObjectRefs};
use crate::{
    cluster::{pipe, pump},
    json_stream::{Shallow, each},
    velero::{Distinct, Results, StoreFiles, files::JSON_FILE},
};

/// Most bytes read of one text: names are shorter.
const TEXT: usize = 1024;
/// Most errors whose names are followed.
const ERRORS: usize = 20;

/// Reads the references of both files; none from a file that cannot be read, which its own item reports.
pub(super) async fn volume_refs(
    store: &dyn StoreFiles,
    of: TargetKind,
    name: &str,
    idle: Duration,
    deadline: Instant,
) -> ObjectRefs {
    let mut refs = ObjectRefs::default();
    for file in [StoreFile::VolumeInfo, StoreFile::ItemOperations] {
        let Ok(Ok(Some(body))) = timeout_at(deadline, store.open(of, name, file)).await else { continue };
        let (to, pieces) = pipe();
        let reading = tokio::task::spawn_blocking(move || {
            let from = Shallow::new(MultiGzDecoder::new(pieces).take(JSON_FILE), TEXT);
            match file {
                StoreFile::VolumeInfo => volumes(from, &mut refs),
                _ => operations(from, &mut refs),
            }
            refs
        });
        pump(body, to, idle, deadline, |_| ()).await;
        refs = reading.await.unwrap_or_default();
    }
    refs
}

/// The namespaces in which a Backup or Restore met errors, then those with warnings, from its results, and the claims,
/// volumes, snapshots and definitions that its errors name: of these namespaces only, because tenants write parts of the errors. None
/// if the results cannot be read, which their own item reports.
pub(super) async fn troubled(
    store: &dyn StoreFiles,
    of: TargetKind,
    name: &str,
    idle: Duration,
    deadline: Instant,
) -> (Distinct, ObjectRefs) {
    let Ok(Ok(Some(body))) = timeout_at(deadline, store.open(of, name, StoreFile::Results)).await else {
        return Default::default();
    };
    let (to, pieces) = pipe();
    let reading = tokio::task::spawn_blocking(move || Results::read(MultiGzDecoder::new(pieces).take(JSON_FILE)));
    pump(body, to, idle, deadline, |_| ()).await;
    let results = reading.await.unwrap_or_default();
    let refs = named_by(&results);
    (results.namespaces, refs)
}

fn named_by(results: &Results) -> ObjectRefs {
    let mut refs = ObjectRefs::default();
    for id in results.errors.texts.iter().take(ERRORS).flat_map(|error| named(error)) {
        let reference = match id.kind {
            Kind::PersistentVolumeClaim => ObjectRef::Claim,
            Kind::PersistentVolume => ObjectRef::Volume,
            Kind::VolumeSnapshot => ObjectRef::Snapshot,
            Kind::VolumeSnapshotContent => ObjectRef::Content,
            Kind::CustomResourceDefinition => ObjectRef::Definition,
            _ => continue,
        };
        let namespace = Some(id.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        if namespace.is_none_or(|namespace| results.namespaces.texts.iter().any(|one| one == namespace)) {
            refs.add(reference, namespace, Some(&id.name));
        }
    }
    refs
}

/// A volume's references and result (Velero's `internal/volume/volumes_information.go`).
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    pvc_name: Option<String>,
    pvc_namespace: Option<String>,
    pv_name: Option<String>,
    result: Option<String>,
    csi_snapshot_info: Option<Csi>,
    snapshot_data_movement_info: Option<Moved>,
    native_snapshot_info: Option<Moved>,
    pvb_info: Option<Moved>,
    pvr_info: Option<Moved>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Csi {
    vsc_name: Option<String>,
}

/// Velero gives this field no JSON tag, hence the capital.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Moved {
    #[serde(rename = "Phase")]
    phase: Option<String>,
}

impl Volume {
    /// A Backup's volume has a result, a Restore's only the phases.
    fn went_wrong(&self) -> bool {
        let parts = [&self.snapshot_data_movement_info, &self.native_snapshot_info, &self.pvb_info, &self.pvr_info];
        let mut phases = parts.into_iter().flatten().filter_map(|part| part.phase.as_deref());
        self.result.as_deref() == Some("failed") || phases.any(|phase| !matches!(phase, "" | "Completed"))
    }
}

fn volumes(from: impl Read, refs: &mut ObjectRefs) {
    // A file that ends early yields what came before.
    let _ = each(from, |volume: Volume| {
        if volume.went_wrong() {
            refs.add(ObjectRef::Claim, volume.pvc_namespace.as_deref(), volume.pvc_name.as_deref());
            refs.add(ObjectRef::Volume, None, volume.pv_name.as_deref());
            refs.add(ObjectRef::Content, None, volume.csi_snapshot_info.and_then(|csi| csi.vsc_name).as_deref());
        }
        Ok(())
    });
}

/// An operation that a plugin continues in the background (Velero's `pkg/itemoperation`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Operation {
    spec: OperationSpec,
    status: OperationStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OperationSpec {
    resource_identifier: Identifier,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OperationStatus {
    phase: Option<String>,
}

/// These fields have no JSON tags, either.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Identifier {
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

fn operations(from: impl Read, refs: &mut ObjectRefs) {
    let _ = each(from, |operation: Operation| {
        if operation.status.phase.as_deref() != Some("Completed") {
            let Identifier { resource, namespace, name } = &operation.spec.resource_identifier;
            let reference = match resource.as_deref() {
                Some("persistentvolumeclaims") => ObjectRef::Claim,
                Some("persistentvolumes") => ObjectRef::Volume,
                Some("volumesnapshots") => ObjectRef::Snapshot,
                Some("volumesnapshotcontents") => ObjectRef::Content,
                _ => ObjectRef::Elsewhere,
            };
            refs.add(reference, namespace.as_deref(), name.as_deref());
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_that_failed_lead_to_their_claim_volume_and_snapshot_and_others_nowhere() {
        let info = json!([
            {"pvcName": "well", "pvcNamespace": "calm", "pvName": "pv-well", "result": "succeeded",
                "csiSnapshotInfo": {"vscName": "vsc-well"}, "pvbInfo": {"Phase": "Completed"}},
            {"pvcName": "ledger", "pvcNamespace": "shop", "pvName": "pv-7", "result": "failed",
                "csiSnapshotInfo": {"vscName": "vsc-7", "ReadyToUse": null}, "pvInfo": {"labels": null}},
            {"pvcName": "flour", "pvcNamespace": "bakery", "pvrInfo": {"Phase": "Canceled"}},
            {"pvcName": "../x", "pvcNamespace": "odd", "result": "failed"}]);
        let mut refs = ObjectRefs::default();
        volumes(info.to_string().as_bytes(), &mut refs);
        assert_eq!(refs.namespaces(), ["bakery", "odd", "shop"]);
        assert_eq!(refs.of(ObjectRef::Claim), [("bakery", "flour"), ("shop", "ledger")]);
        assert_eq!(refs.of(ObjectRef::Volume), [("", "pv-7")]);
        assert_eq!(refs.of(ObjectRef::Content), [("", "vsc-7")]);
    }

    #[test]
    fn errors_lead_to_claims_of_namespaces_with_errors_alone() {
        let results = json!({"errors": {"namespaces": {"shop": [
            "persistentvolumeclaims shop/ledger: not bound, persistentvolumeclaims vault/key and secrets shop/key",
            "error executing custom action (groupResource=persistentvolumes, namespace=, name=pv-7): gone",
            "persistentvolumeclaims shop/../x: odd",
            "error restoring widgets.example.com/shop/blue: the server could not find the requested resource"]}}});
        let refs = named_by(&Results::read(results.to_string().as_bytes()));
        assert_eq!(refs.of(ObjectRef::Claim), [("shop", "ledger")]);
        assert_eq!(refs.of(ObjectRef::Volume), [("", "pv-7")]);
        assert_eq!(refs.of(ObjectRef::Definition), [("", "widgets.example.com")]);
        assert_eq!(refs.namespaces(), ["shop"]);
    }

    #[test]
    fn operations_that_did_not_end_well_lead_to_what_they_were_about_even_if_the_file_breaks_off() {
        let operation = |resource: &str, namespace: &str, name: &str, phase: &str| {
            json!({"spec": {"resourceIdentifier": {"Group": "", "Resource": resource, "Namespace": namespace, "Name": name},
                "operationID": "du-1"}, "status": {"phase": phase, "error": "no"}})
        };
        let all = json!([
            operation("persistentvolumeclaims", "calm", "well", "Completed"),
            operation("persistentvolumeclaims", "shop", "ledger", "Failed"),
            operation("volumesnapshots", "bakery", "velero-flour-x", "InProgress"),
            operation("virtualmachines", "farm", "cow", "New")
        ]);
        let whole = all.to_string();
        for (text, namespaces) in
            [(whole.as_str(), &["bakery", "farm", "shop"][..]), (&whole[..whole.len() - 20], &["bakery", "shop"])]
        {
            let mut refs = ObjectRefs::default();
            operations(text.as_bytes(), &mut refs);
            assert_eq!(refs.namespaces(), namespaces);
            assert_eq!(refs.of(ObjectRef::Claim), [("shop", "ledger")]);
            assert_eq!(refs.of(ObjectRef::Snapshot), [("bakery", "velero-flour-x")]);
        }
    }
}
