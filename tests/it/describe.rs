//! `describe.txt` against the original: Velero's own `velero backup describe --details` and `velero restore describe
//! --details` of the same objects, line by line. One short list names the lines that may differ.

use std::collections::BTreeMap;

use harness::{
    Context, Operator, Velero,
    bundle::Unpacked,
    velero_objects::{pod_volume_backup, pod_volume_restore, velero_object},
    with_namespace,
};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::support::workloads::{claim, workload_pod};

#[tokio::test]
async fn descriptions_say_what_velero_itself_says_in_each_phase() {
    with_namespace("describe", |context| async move {
        let velero = Velero::of(&context).fs_timeout("4h").start().await;
        velero.partially_failed_backup("b-partial").await;
        velero.backup_that_fails_validation("b-invalid").await;
        velero.partially_failed_restore("r1").await;
        velero.failed_restore("r-failed").await;
        velero.restore_that_fails_validation("r-invalid").await;
        a_backup_with_everything(&velero).await;
        a_restore_with_everything(&velero).await;
        // Velero runs one Restore at a time: no Restore behind this one would end.
        velero.stuck_restore("r-stuck").await;
        let _operator = Operator::of(&context).ready().await;
        let mut different = BTreeMap::new();
        for (kind, name, backup) in [
            ("Backup", "b-partial", None),
            ("Backup", "b-invalid", None),
            ("Backup", "b-rich", None),
            ("Restore", "r1", Some("r1-source")),
            ("Restore", "r-failed", Some("r-failed-source")),
            ("Restore", "r-invalid", None),
            ("Restore", "r-stuck", Some("r-stuck-source")),
            ("Restore", "r-rich", Some("b-rich")),
        ] {
            // b-invalid names a location that does not exist.
            let spec = json!({"target": {"kind": kind, "name": name}, "storageLocation": "default"});
            context.debug_bundle(name, spec).await;
            let status = context.until_bundle_ended(name).await;
            let bundle = context.download(&status).await;
            leads_to_where_it_went(&context, &bundle, name);
            let asked = [(kind, Some(name)), ("Backup", backup)];
            for (kind, name) in asked.into_iter().filter_map(|(kind, name)| Some((kind, name?))) {
                let (theirs, ours) = (describe(&velero, kind, name).await, described(&bundle, kind, name));
                let lines = differences(name, &theirs, &ours);
                if !lines.is_empty() {
                    different.insert(format!("{kind} {name}"), lines);
                }
            }
        }
        assert!(different.is_empty(), "{different:#?}");
    })
    .await;
}

/// A Restore into another namespace leads to the new namespace, and not to the one that was backed up.
fn leads_to_where_it_went(context: &Context, bundle: &Unpacked, name: &str) {
    let (from, to, pod) = match name {
        "r-rich" => ("rich", "rich-again", "db-0"),
        "r-stuck" => ("r-stuck-source", "r-stuck", "shop-0"),
        _ => return,
    };
    let folder = |namespace: &str| format!("namespaces/{}-{namespace}/", context.namespace);
    let names = |kind: &str| bundle.names(&format!("{}core/{kind}.yaml", folder(to)));
    assert_eq!(names("pods"), [pod], "{name}");
    if name == "r-rich" {
        assert_eq!(names("events"), ["waits"]);
        assert_eq!(names("persistentvolumeclaims"), ["b"]);
    }
    let old: Vec<_> = bundle.paths().filter(|path| path.starts_with(&folder(from))).collect();
    assert!(old.is_empty(), "{name}: {old:?}");
}

/// The lines that may differ: (of which objects, in whose text, how they begin).
const MAY_DIFFER: [(&str, &str, &str); 10] = [
    // Velero's download fails; ours counts the errors in status, because the file was never written.
    ("", "theirs", "Warnings: <error getting warnings: file not found>"),
    ("", "theirs", "Errors: <error getting errors: file not found>"),
    ("", "ours", "Errors: 1"),
    // Without a location or a Backup, Velero gives no URL; ours reports that there are no such files.
    ("-invalid", "theirs", "WARNING: Error getting cacert from BSL"),
    ("-invalid", "theirs", "Resource List: <error getting"),
    ("-invalid", "theirs", "<error getting"),
    ("-invalid", "ours", "Resource List: <"),
    ("-invalid", "ours", "Velero-Native Snapshots: <none included>"),
    ("-invalid", "ours", "CSI Snapshots: <none included or not detectable>"),
    ("-invalid", "ours", "Pod Volume Backups: <none included>"),
];

async fn describe(velero: &Velero, kind: &str, name: &str) -> Vec<String> {
    let ended = velero.cli([&kind.to_lowercase(), "describe", name, "--details"]).await;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "velero describe {name}: {said}{}", String::from_utf8_lossy(&ended.stderr));
    let lines = facts(&said);
    assert!(lines.len() > 20, "{kind} {name} has few facts: {lines:?}");
    lines
}

fn described(bundle: &Unpacked, kind: &str, name: &str) -> Vec<String> {
    let text = bundle.file(&format!("velero/{}s/{name}/describe.txt", kind.to_lowercase()));
    assert!(!text.contains('\u{1b}'), "colours: {text:?}");
    facts(&text)
}

/// The lines, without colours and with single spaces.
fn facts(text: &str) -> Vec<String> {
    let plain = crate::support::text::without_colours(text);
    let lines = plain.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

/// Lines that only one of the two has, in order, by a longest common subsequence.
fn differences(name: &str, theirs: &[String], ours: &[String]) -> Vec<String> {
    let mut common = vec![vec![0_usize; ours.len() + 1]; theirs.len() + 1];
    for (i, line) in theirs.iter().enumerate().rev() {
        for (j, other) in ours.iter().enumerate().rev() {
            common[i][j] =
                if line == other { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < theirs.len() || j < ours.len() {
        if i < theirs.len() && j < ours.len() && theirs[i] == ours[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == ours.len() || (i < theirs.len() && common[i + 1][j] >= common[i][j + 1]) {
            found.push(("theirs", &theirs[i]));
            i += 1;
        } else {
            found.push(("ours", &ours[j]));
            j += 1;
        }
    }
    let allowed = |who: &str, line: &str| {
        MAY_DIFFER.iter().any(|(which, of, begins)| name.ends_with(which) && *of == who && line.starts_with(begins))
    };
    found.retain(|(who, line)| !allowed(who, line));
    found.into_iter().map(|(who, line)| format!("{who}: {line}")).collect()
}

/// A Backup with every field of the spec, volumes in each phase, operations, and a deletion attempt.
async fn a_backup_with_everything(velero: &Velero) {
    let context = &velero.context;
    let shop = context.workload_namespace("rich").await;
    context.config_map_in(&shop, "prices").await;
    let exec = json!({"exec": {"container": "db", "command": ["/bin/sh", "-c", "sync"], "onError": "Continue", "timeout": "90s"}});
    let hook = json!({"name": "flush", "includedNamespaces": [shop], "excludedResources": ["secrets"],
        "labelSelector": {"matchLabels": {"app": "db"}}, "pre": [exec], "post": [exec]});
    let selector = |app: &str| {
        json!({"matchLabels": {"app": app}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["web", "cache"]}, {"key": "old", "operator": "DoesNotExist"}]})
    };
    let work = velero
        .backup("b-rich")
        .of_namespaces([&shop])
        .with("excludedClusterScopedResources", json!(["nodes", "persistentvolumes"]))
        .with("excludedNamespaceScopedResources", json!(["secrets"]))
        .with("orLabelSelectors", json!([selector("db"), selector("shop")]))
        .with("ttl", json!("36h30m"))
        .with("itemOperationTimeout", json!("1h"))
        .with("csiSnapshotTimeout", json!("12m"))
        .with("snapshotVolumes", json!(false))
        .with("snapshotMoveData", json!(true))
        .with("datamover", json!("other"))
        .with("orderedResources", json!({"pods": format!("{shop}/a,{shop}/b")}))
        .with("uploaderConfig", json!({"parallelFilesUpload": 3}))
        .with("hooks", json!({"resources": [hook]}));
    let backup = work.wait().await;
    let uid = backup.uid().expect("a UID");
    for (volume, phase) in
        [("a", "Completed"), ("b", "InProgress"), ("c", "Failed"), ("d", "Accepted"), ("e", "Canceling")]
    {
        let data =
            pod_volume_backup(&format!("b-rich-{volume}")).of(&backup).of_pod(&shop, "db-0").on_node(velero.node());
        let progress = json!({"totalBytes": 4096, "bytesDone": 1024});
        context.create_velero(data.spec("volume", volume).phase(phase).status("progress", progress)).await;
    }
    let identifier =
        |resource: &str, group: &str| json!({"Group": group, "Resource": resource, "Namespace": shop, "Name": "data"});
    let operations = json!([{
        "spec": {"backupName": "b-rich", "backupUID": uid, "backupItemAction": "velero.io/csi-pvc-backupper",
            "resourceIdentifier": identifier("persistentvolumeclaims", ""), "operationID": "du-1.2",
            "postOperationItems": [identifier("datauploads", "velero.io")]},
        "status": {"phase": "Failed", "error": "no node took it", "nCompleted": 3, "nTotal": 9, "operationUnits": "Byte",
            "description": "Current phase: Failed", "created": "2026-03-01T10:00:01Z", "updated": "2026-03-01T10:00:02Z"},
    }]);
    let volumes = json!([
        {"pvName": "pv-1", "backupMethod": "NativeSnapshot", "result": "succeeded", "snapshotDataMoved": false,
            "nativeSnapshotInfo": {"snapshotHandle": "snap-1", "volumeType": "gp3", "volumeAZ": "a", "iops": "100"}},
        {"pvcName": "data", "pvcNamespace": shop, "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
            "result": "failed", "snapshotDataMovementInfo": {"dataMover": "", "uploaderType": "kopia", "operationID": "du-1.2",
                "snapshotHandle": "", "size": 77}},
        {"pvcName": "logs", "pvcNamespace": shop, "backupMethod": "CSISnapshot", "preserveLocalSnapshot": true,
            "result": "succeeded", "csiSnapshotInfo": {"snapshotHandle": "h-1", "size": 5, "driver": "hostpath", "vscName": "content-1",
                "operationID": "op-1"}},
    ]);
    put(context, "backups/b-rich/b-rich-itemoperations.json.gz", &operations).await;
    put(context, "backups/b-rich/b-rich-volumeinfo.json.gz", &volumes).await;
    let counted = json!({"status": {"backupItemOperationsAttempted": 1, "hookStatus": {"hooksAttempted": 2, "hooksFailed": 1}},
        "metadata": {"annotations": {"note": "by hand"}}});
    context.patch_velero("Backup", "b-rich", counted).await;
    let request = json!({"metadata": {"name": "b-rich-late"}, "spec": {"backupName": "never-made"},
        "status": {"phase": "Processed", "errors": ["backup not found"]}});
    context.create_velero(velero_object("DeleteBackupRequest", request).of(&backup)).await;
}

/// A Restore with the fields that the other Restores lack.
async fn a_restore_with_everything(velero: &Velero) {
    let context = &velero.context;
    let target = context.workload_namespace("rich-again").await;
    let from = format!("{}-rich", context.namespace);
    let work = velero
        .restore("r-rich", "b-rich")
        .mapping(&from, &target)
        .with("excludedResources", json!(["nodes", "events"]))
        .with("labelSelector", json!({"matchLabels": {"app": "db"}}))
        .with("restorePVs", json!(true))
        .with("preserveNodePorts", json!(false))
        .with("existingResourcePolicy", json!("update"))
        .with("itemOperationTimeout", json!("90m"))
        .with("uploaderConfig", json!({"writeSparseFiles": true, "parallelFilesDownload": 2}));
    let restore = work.wait().await;
    for (volume, phase) in [("a", "Completed"), ("b", "InProgress"), ("c", "Failed"), ("d", "Prepared")] {
        let data = pod_volume_restore(&format!("r-rich-{volume}")).of(&restore).of_pod(&target, "db-0");
        let progress = json!({"totalBytes": 4096, "bytesDone": 1024});
        let data = data.from_namespace(&from).spec("volume", volume).phase(phase).status("progress", progress);
        context.create_velero(data).await;
    }
    for place in [&from, &target] {
        context.create_in::<PersistentVolumeClaim>(place, claim("b", None)).await;
        context.create_in::<Pod>(place, workload_pod("db-0").on_node(velero.node()).with_claim("b")).await;
        let event = json!({"metadata": {"name": "waits"}, "reason": "FailedMount", "message": "no volume", "type": "Warning",
            "involvedObject": {"kind": "Pod", "namespace": place, "name": "db-0"}});
        context.create_in::<Event>(place, event).await;
    }
    let volumes = json!([
        {"pvcName": "b", "pvcNamespace": target, "restoreMethod": "CSISnapshot", "snapshotDataMoved": true,
            "snapshotDataMovementInfo": {"dataMover": "velero", "operationID": "dd-1", "uploaderType": "kopia", "snapshotHandle": "", "size": 0}},
        {"pvcName": "a", "pvcNamespace": target, "restoreMethod": "CSISnapshot", "snapshotDataMoved": false,
            "csiSnapshotInfo": {"vscName": "content-1", "snapshotHandle": "h", "driver": "hostpath", "size": 1}},
    ]);
    put(context, "restores/r-rich/r-rich-volumeinfo.json.gz", &volumes).await;
    let operations = json!([{
        "spec": {"restoreName": "r-rich", "restoreUID": "u", "restoreItemAction": "velero.io/csi-pvc-restorer",
            "resourceIdentifier": {"Group": "", "Resource": "persistentvolumeclaims", "Namespace": target, "Name": "b"},
            "operationID": "dd-1"},
        "status": {"phase": "Completed", "nCompleted": 9, "nTotal": 9, "operationUnits": "Byte", "started": "2026-03-01T10:00:01Z"},
    }]);
    put(context, "restores/r-rich/restore-r-rich-itemoperations.json.gz", &operations).await;
    let counted = json!({"status": {"restoreItemOperationsAttempted": 1, "hookStatus": {"hooksAttempted": 1}}});
    context.patch_velero("Restore", "r-rich", counted).await;
}

async fn put(context: &Context, file: &str, body: &Value) {
    context.bucket.put_gzipped(&format!("team-a/{file}"), body.to_string()).await;
}
