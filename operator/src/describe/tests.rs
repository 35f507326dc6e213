use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cluster::ApiKind;

/// Velero's files in memory; a missing one could not be read.
#[derive(Default)]
struct InMemory(BTreeMap<StoreFile, Option<String>>);

impl InMemory {
    fn with(mut self, file: StoreFile, content: &Value) -> Self {
        self.0.insert(file, Some(content.to_string()));
        self
    }

    fn text(mut self, file: StoreFile, content: &str) -> Self {
        self.0.insert(file, Some(content.to_owned()));
        self
    }

    fn without(mut self, files: &[StoreFile]) -> Self {
        self.0.extend(files.iter().map(|file| (*file, None)));
        self
    }
}

impl VeleroFiles for InMemory {
    fn open(&self, file: StoreFile) -> io::Result<StoredFile> {
        Ok(match self.0.get(&file) {
            Some(Some(content)) => StoredFile::There(Box::new(io::Cursor::new(content.clone().into_bytes()))),
            Some(None) => StoredFile::Absent,
            None => StoredFile::Unread,
        })
    }
}

fn described(of: TargetKind, object: &Value, files: &InMemory, live: &Live) -> String {
    let mut out = Vec::new();
    write(&mut out, of, object, files, live).unwrap();
    String::from_utf8(out).unwrap()
}

/// Compares with a committed description. To rewrite that file for review, run
/// `DEBUGBUNDLE_MEND=1 cargo test --package debugbundle-operator describe`.
fn is_as_committed(name: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/describe").join(name);
    if std::env::var_os("DEBUGBUNDLE_MEND").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&file).unwrap());
}

fn read() -> Live {
    Live { volumes_read: true, deletions_read: true, ..Live::default() }
}

fn kind(plural: &str) -> ApiKind {
    ApiKind::namespaced("velero.io", "v1", plural, "Any")
}

fn backup() -> Value {
    json!({
        "metadata": {"name": "harvest", "namespace": "velero", "labels": {"b": "2", "a": "1"}},
        "spec": {
            "includedNamespaces": ["keep", "mill"], "storageLocation": "default", "ttl": "720h",
            "excludedClusterScopedResources": ["nodes"], "snapshotMoveData": true, "itemOperationTimeout": "4h",
            "labelSelector": {"matchLabels": {"app": "mill"}},
            "hooks": {"resources": [{"name": "freeze", "pre": [{"exec": {
                "container": "db", "command": ["/bin/fsfreeze", "--freeze"], "onError": "Fail", "timeout": "30s"}}]}]},
        },
        "status": {
            "phase": "PartiallyFailed", "errors": 2, "warnings": 1, "formatVersion": "1.1.0",
            "startTimestamp": "2026-03-01T10:00:00Z", "backupItemOperationsAttempted": 1,
            "progress": {"totalItems": 12, "itemsBackedUp": 11}, "hookStatus": {"hooksAttempted": 2, "hooksFailed": 1},
        },
    })
}

fn files() -> InMemory {
    InMemory::default()
        .with(
            StoreFile::Results,
            &json!({
                "errors": {"velero": ["the disk\nis full"], "namespaces": {"mill": ["no pod"]}},
                "warnings": {"cluster": ["odd"]}}),
        )
        .with(
            StoreFile::ItemOperations,
            &json!([{
                "spec": {"backupItemAction": "velero.io/csi-pvc-backupper", "operationID": "du-1.2",
                    "resourceIdentifier": {"Group": "", "Resource": "persistentvolumeclaims", "Namespace": "mill", "Name": "data"},
                    "postOperationItems": [{"Group": "velero.io", "Resource": "datauploads", "Namespace": "velero", "Name": "h-1"}]},
                "status": {"phase": "Failed", "error": "no node", "nCompleted": 5, "nTotal": 10, "operationUnits": "Byte",
                    "created": "2026-03-01T10:00:01Z", "started": null},
            }]),
        )
        .with(StoreFile::ResourceList, &json!({"v1/Pod": ["mill/db-0", "mill/db-1"], "v1/Namespace": ["mill"]}))
        .with(
            StoreFile::VolumeInfo,
            &json!([
                {"pvName": "pv-1", "backupMethod": "NativeSnapshot", "result": "succeeded",
                    "nativeSnapshotInfo": {"snapshotHandle": "snap-1", "volumeType": "gp3", "volumeAZ": "a", "iops": "100"}},
                {"pvcName": "data", "pvcNamespace": "mill", "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
                    "result": "failed", "snapshotDataMovementInfo": {"uploaderType": "kopia", "operationID": "du-1.2", "size": 7}},
            ]),
        )
}

/// A Backup's volumes, and an attempt to delete it.
fn live_of_backup(changed: &dyn Fn(Value) -> Value) -> Live {
    let subject = DescribedObject { kind: TargetKind::Backup, name: "harvest".to_owned(), uid: "u1".to_owned() };
    let of = |name: &str| {
        json!({"labels": {"velero.io/backup-name": name, "velero.io/backup-uid": "u1"},
        "creationTimestamp": "2026-03-02T00:00:00Z"})
    };
    let mut live = read();
    let volume = |phase: &str, name: &str| {
        let rest = json!({"spec": {"pod": {"namespace": "mill", "name": "db-0"}, "volume": name,
            "uploaderType": "kopia"}, "status": {"phase": phase, "progress": {"totalBytes": 8, "bytesDone": 2}}});
        labelled(of("harvest"), changed(rest))
    };
    for object in [volume("InProgress", "b"), volume("Completed", "a"), volume("", "c")] {
        live.add(subject.fact(&kind("podvolumebackups"), &object).unwrap());
    }
    let deletion = labelled(of("harvest"), changed(json!({"status": {"phase": "Processed", "errors": ["denied"]}})));
    live.add(subject.fact(&kind("deletebackuprequests"), &deletion).unwrap());
    assert_eq!(subject.fact(&kind("podvolumebackups"), &json!({"metadata": of("other")})), None);
    assert_eq!(subject.fact(&kind("podvolumerestores"), &volume("", "c")), None);
    live
}

fn labelled(metadata: Value, mut rest: Value) -> Value {
    rest["metadata"] = metadata;
    rest
}

#[test]
fn a_backup_is_told_in_veleros_words_and_order() {
    let text = described(TargetKind::Backup, &backup(), &files(), &live_of_backup(&|value| value));
    is_as_committed("backup.txt", &text);
}

#[test]
fn what_is_not_in_the_bundle_is_said_where_it_would_stand() {
    let text = described(TargetKind::Backup, &backup(), &InMemory::default(), &Live::default());
    for line in [
        "Errors:    2, <texts not in the bundle: see manifest.json>",
        "Backup Item Operations:  1 attempted, <operation info not in the bundle: see manifest.json>",
        "Resource List:           <backup resource list not in the bundle: see manifest.json>",
        "  <backup volume info not in the bundle: see manifest.json>",
        "  Pod Volume Backups: <pod volume backups not in the bundle: see manifest.json>",
        "Deletion Attempts:  <deletion requests not in the bundle: see manifest.json>",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    let restore = json!({"metadata": {"name": "r1"}, "status": {"warnings": 3}});
    let text = described(TargetKind::Restore, &restore, &InMemory::default(), &Live::default());
    assert!(text.contains("restore volume info not in the bundle"), "{text}");
    assert!(text.contains("restore resource list not in the bundle"), "{text}");
}

#[test]
fn broken_files_say_why_and_the_rest_is_told() {
    let broken = files()
        .text(StoreFile::Results, "{\"errors\":{\"velero\":[7]}}")
        .text(StoreFile::ItemOperations, "[{\"spec\":7}]")
        .text(StoreFile::ResourceList, "{\"v1/Pod\":[\"a/b\"")
        .text(StoreFile::VolumeInfo, "[7]");
    let text = described(TargetKind::Backup, &backup(), &broken, &read());
    for part in [
        "<error decoding errors: ",
        "<error reading operation info: ",
        "- a/b\n",
        "<error reading backup resource list: ",
        "<error reading backup volume info: ",
        "HooksFailed:",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn files_of_old_velero_tell_of_its_snapshots() {
    let mut old = backup();
    old["status"]["volumeSnapshotsAttempted"] = 1.into();
    old["status"]["csiVolumeSnapshotsAttempted"] = 1.into();
    let files = files()
        .without(&[StoreFile::VolumeInfo])
        .with(
            StoreFile::VolumeSnapshots,
            &json!([{"spec": {"persistentVolumeName": "pv-9", "volumeType": "gp2", "volumeIOPS": 3},
                "status": {"providerSnapshotID": "snap-9"}}]),
        )
        .with(
            StoreFile::CsiVolumeSnapshots,
            &json!([{"metadata": {"namespace": "mill"}, "spec": {"source": {"persistentVolumeClaimName": "data"}},
                "status": {"boundVolumeSnapshotContentName": "content-1", "restoreSize": "1Gi"}}]),
        )
        .with(
            StoreFile::CsiVolumeSnapshotContents,
            &json!([{"metadata": {"name": "content-1"}, "spec": {"driver": "hostpath"},
                "status": {"snapshotHandle": "h-1", "restoreSize": 1024}}, {"metadata": {"name": "content-2"}}]),
        );
    let text = described(TargetKind::Backup, &old, &files, &read());
    for part in [
        "pv-9:\n",
        "Snapshot ID:        snap-9",
        "IOPS:               3",
        "mill/data:\n",
        "Storage Snapshot ID: h-1",
        "Snapshot Size (bytes): 1024",
        "/<PVC name not found>:",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let none = described(TargetKind::Backup, &backup(), &files, &read());
    assert!(none.contains("CSI Snapshots: <none included or not detectable>"), "{none}");
}

fn restore() -> Value {
    json!({
        "metadata": {"name": "r1", "namespace": "velero"},
        "spec": {"backupName": "harvest", "includedNamespaces": ["*"], "namespaceMapping": {"mill": "mill-2"},
            "itemOperationTimeout": "4h0m0s", "uploaderConfig": {"writeSparseFiles": true, "parallelFilesDownload": 4},
            "resourceModifier": {"kind": "configmap", "name": "patches"}, "preserveNodePorts": true},
        "status": {"phase": "FailedValidation", "validationErrors": ["no such backup", "no such location"]},
    })
}

fn volumes_of_restore() -> Value {
    json!([
        {"pvcName": "b", "pvcNamespace": "mill-2", "restoreMethod": "CSISnapshot", "snapshotDataMoved": true,
            "snapshotDataMovementInfo": {"dataMover": "velero", "operationID": "dd-1", "uploaderType": "kopia"}},
        {"pvcName": "a", "pvcNamespace": "mill-2", "restoreMethod": "CSISnapshot",
            "csiSnapshotInfo": {"vscName": "content-1", "snapshotHandle": "h", "driver": "hostpath", "size": 1}},
    ])
}

fn live_of_restore(changed: &dyn Fn(Value) -> Value) -> Live {
    let mut live = read();
    let subject = DescribedObject { kind: TargetKind::Restore, name: "r1".to_owned(), uid: String::new() };
    let rest = json!({"spec": {"uploaderType": "kopia", "pod": {"namespace": "mill-2", "name": "db-0"},
        "volume": "data"}, "status": {"phase": "Completed", "progress": {"totalBytes": 8}}});
    let object = labelled(json!({"labels": {"velero.io/restore-name": "r1"}}), changed(rest));
    live.add(subject.fact(&kind("podvolumerestores"), &object).unwrap());
    live
}

#[test]
fn a_restore_is_told_in_veleros_words_and_order() {
    let files = InMemory::default().without(&StoreFile::OF_RESTORE).with(StoreFile::VolumeInfo, &volumes_of_restore());
    let text = described(TargetKind::Restore, &restore(), &files, &live_of_restore(&|value| value));
    is_as_committed("restore.txt", &text);
}

/// The value with `bad` appended to each text that `of` picks, and as an additional key of each object.
fn tainted(value: Value, bad: &str, of: &mut dyn Iterator<Item = bool>) -> Value {
    match value {
        Value::String(text) if of.next() == Some(true) => Value::String(text + bad),
        Value::Array(all) => all.into_iter().map(|one| tainted(one, bad, of)).collect(),
        Value::Object(fields) => {
            let mut fields: serde_json::Map<_, _> =
                fields.into_iter().map(|(key, value)| (key, tainted(value, bad, of))).collect();
            if let Some(like) = fields.values().next().cloned() {
                fields.insert(bad.to_owned(), like);
            }
            Value::Object(fields)
        }
        other => other,
    }
}

fn acts_on_a_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

proptest! {
    #[test]
    fn sec_l2_no_key_or_value_of_others_brings_a_control_or_a_bidi_mark_or_a_fact_of_its_own(
        bad in "[\u{0}\u{7}\r\n\t\u{1b}\u{7f}\u{9b}\u{61c}\u{200f}\u{202e}\u{2028}\u{2066}x]{1,6}",
        picked in proptest::collection::vec(any::<bool>(), 1..40),
    ) {
        let bad = format!("{bad}\nPhase:\tCompleted");
        let tainted = |value| tainted(value, &bad, &mut picked.iter().copied().cycle());
        let files = |restored: bool| {
            let clean = files();
            let volumes = if restored { volumes_of_restore() } else { parsed(&clean, StoreFile::VolumeInfo) };
            [StoreFile::Results, StoreFile::ItemOperations, StoreFile::ResourceList]
                .into_iter()
                .fold(InMemory::default(), |files, file| files.with(file, &tainted(parsed(&clean, file))))
                .with(StoreFile::VolumeInfo, &tainted(volumes))
        };
        let mut restore = restore();
        restore["status"]["errors"] = 1.into();
        restore["status"]["warnings"] = 1.into();
        restore["status"]["restoreItemOperationsAttempted"] = 1.into();
        let mut backup = backup();
        backup["spec"]["orderedResources"] = json!({"pods": "a,b"});
        backup["metadata"]["annotations"] = json!({"a": "b"});
        for text in [
            described(TargetKind::Backup, &tainted(backup), &files(false), &live_of_backup(&tainted)),
            described(TargetKind::Restore, &tainted(restore), &files(true), &live_of_restore(&tainted)),
        ] {
            let found = text.chars().find(|c| *c != '\n' && acts_on_a_terminal(*c));
            prop_assert_eq!(found, None, "{:?}", text);
            prop_assert_eq!(text.lines().filter(|line| line.starts_with("Phase:")).count(), 1, "{}", text);
        }
    }
}

fn parsed(files: &InMemory, file: StoreFile) -> Value {
    serde_json::from_str(files.0[&file].as_deref().unwrap()).unwrap()
}

#[test]
fn a_resource_list_of_any_length_passes_through() {
    let names: Vec<String> = (0..200_000).map(|n| format!("\"shop/{n}\"")).collect();
    let list = format!("{{\"v1/ConfigMap\":[{}]}}", names.join(","));
    let files = files().text(StoreFile::ResourceList, &list);
    let text = described(TargetKind::Backup, &backup(), &files, &read());
    assert!(text.contains("    - shop/199999\n"));
}
