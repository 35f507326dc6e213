//! Which location a bundle is about: the one of the target's Backup, whether a Restore names the Backup or a
//! Schedule; the one of the target's own data; and for an installation all of them.

use std::io::Write as _;

use debugbundle_crd::DebugBundleStatus;
use flate2::{Compression, write::GzEncoder};
use harness::bundle::Unpacked;
use harness::{Context, Operator, with_namespace};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::scope::pod_volume_restore;

async fn put_gzipped(context: &Context, key: &str, text: &str) {
    let mut file = GzEncoder::new(Vec::new(), Compression::fast());
    file.write_all(text.as_bytes()).expect("memory");
    context.bucket.put(key, file.finish().expect("memory")).await;
}

async fn bundle(context: &Context, name: &str, spec: Value) -> (DebugBundleStatus, Unpacked) {
    context.debug_bundle(name, spec).await;
    let status = context.until_bundle_ended(name).await;
    let unpacked = context.download(&status).await;
    (status, unpacked)
}

/// All files that Velero stores for a completed Backup, except the backed-up data.
async fn files_of_backup(context: &Context, prefix: &str, name: &str) {
    let folder = format!("{prefix}/backups/{name}");
    context.bucket.put(&format!("{folder}/velero-backup.json"), b"{}".to_vec()).await;
    for (file, text) in [
        ("logs", "level=info msg=\"the words of its log\"\n"),
        ("results", "{\"errors\":{},\"warnings\":{}}"),
        ("podvolumebackups.json", "[]"),
        ("volumesnapshots.json", "[]"),
        ("itemoperations.json", "[]"),
        ("resource-list.json", "{}"),
        ("volumeinfo.json", "[]"),
    ] {
        put_gzipped(context, &format!("{folder}/{name}-{file}.gz"), text).await;
    }
}

#[tokio::test]
async fn a_restore_that_names_a_schedule_has_the_files_of_the_backup_that_velero_takes_from_its_location() {
    with_namespace("of-schedule", |context| async move {
        context.create_velero("BackupStorageLocation", context.location("attic", "attic")).await;
        for (name, schedule, location, day, phase) in [
            ("nightly-1", "nightly", "default", 1, "Completed"),
            ("nightly-2", "nightly", "attic", 2, "Completed"),
            ("nightly-3", "nightly", "default", 3, "PartiallyFailed"),
            ("weekly-1", "weekly", "default", 4, "Completed"),
        ] {
            let at = format!("2026-03-{day:02}T00:00:00Z");
            let spec = json!({"includedNamespaces": ["*"], "storageLocation": location, "ttl": "720h"});
            let status = json!({"phase": phase, "startTimestamp": at, "completionTimestamp": at});
            let meta = json!({"name": name, "labels": {"velero.io/schedule-name": schedule}});
            context.create_velero("Backup", json!({"metadata": meta, "spec": spec, "status": status})).await;
        }
        files_of_backup(&context, "attic", "nightly-2").await;
        let restore = json!({"metadata": {"name": "r1"}, "spec": {"scheduleName": "nightly"}});
        context.create_velero("Restore", restore).await;

        let _operator = Operator::of(&context).ready().await;
        let (status, bundle) = bundle(&context, "r1", json!({"target": {"kind": "Restore", "name": "r1"}})).await;
        assert_eq!(status.bundle.as_ref().expect("it is stored").storage_location, "attic");
        assert!(bundle.file("velero/backups/nightly-2/backup.log").contains("the words of its log"));
        assert!(bundle.has("velero/backups/nightly-2/velero-backup.json"));
        assert!(bundle.errors().is_empty(), "{:#?}", bundle.errors());
        let others: Vec<&str> = bundle.paths().filter(|path| path.starts_with("velero/backups/")).collect();
        assert!(others.iter().all(|path| path.starts_with("velero/backups/nightly-2/")), "{others:?}");
    })
    .await;
}

#[tokio::test]
async fn data_of_a_former_restore_of_the_same_name_does_not_tell_the_location() {
    with_namespace("namesake", |context| async move {
        for location in ["attic", "cellar"] {
            context.create_velero("BackupStorageLocation", context.location(location, location)).await;
        }
        let restore = json!({"metadata": {"name": "r1"}, "spec": {"backupName": "gone"}, "status": {"phase": "PartiallyFailed"}});
        let uid = context.create_velero("Restore", restore).await.uid().expect("it has one");
        let named = json!({"velero.io/restore-name": "r1"});
        let labelled = |uid: &str| json!({"velero.io/restore-name": "r1", "velero.io/restore-uid": uid});
        let mut former = pod_volume_restore("a-former", &labelled("former"), "orchard", "tree-0");
        former["spec"]["backupStorageLocation"] = "cellar".into();
        context.create_velero("PodVolumeRestore", former).await;
        let mut former = pod_volume_restore("b-former", &named, "orchard", "tree-1");
        former["spec"]["backupStorageLocation"] = "cellar".into();
        former["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "velero.io/v1", "kind": "Restore", "name": "r1", "uid": "former", "controller": true}]);
        context.create_velero("PodVolumeRestore", former).await;
        let own = json!({"metadata": {"name": "z-own", "labels": labelled(&uid)},
            "spec": {"backupStorageLocation": "attic", "operationTimeout": "10m", "snapshotID": "s", "sourceNamespace": "shop",
                "targetVolume": {"namespace": "shop", "pvc": "ledger", "pv": ""}}, "status": {"phase": "Failed"}});
        context.create_velero("DataDownload", own).await;
        for (location, words) in [("attic", "its own words"), ("cellar", "words of the former one")] {
            let said = json!({"errors": {"velero": [words]}, "warnings": {}});
            put_gzipped(&context, &format!("{location}/restores/r1/restore-r1-results.gz"), &said.to_string()).await;
        }

        let _operator = Operator::of(&context).ready().await;
        let (status, bundle) = bundle(&context, "r1", json!({"target": {"kind": "Restore", "name": "r1"}})).await;
        let stored = status.bundle.as_ref().expect("it is stored");
        assert_eq!(stored.storage_location, "attic");
        let results = bundle.file("velero/restores/r1/results.json");
        assert!(results.contains("its own words") && !results.contains("the former one"), "{results}");
        let why = bundle.missing().into_iter().find(|lost| lost.path == "velero/backups/gone").expect("it is told").why;
        assert!(why.ends_with("according to its data it was in BackupStorageLocation attic"), "{why}");
        assert!(!bundle.manifest["namespaces"].to_string().contains("orchard"), "{}", bundle.manifest["namespaces"]);
    })
    .await;
}

#[tokio::test]
async fn every_unavailable_location_is_a_finding_of_an_installation_and_of_a_target_its_own() {
    with_namespace("unavailable", |context| async move {
        for name in ["attic", "cellar"] {
            let mut location = context.location(name, name);
            location["status"] = json!({"phase": "Unavailable", "message": format!("no way to the {name}")});
            context.create_velero("BackupStorageLocation", location).await;
        }
        for (name, location) in [("in-default", "default"), ("in-attic", "attic")] {
            let spec = json!({"includedNamespaces": ["*"], "storageLocation": location, "ttl": "720h"});
            let backup = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": "Failed"}});
            context.create_velero("Backup", backup).await;
        }
        let _operator = Operator::of(&context).ready().await;
        let found = async |name: &str, target: Value| {
            let mut spec = json!({"storageLocation": "default"});
            if target.is_object() {
                spec["target"] = target;
            }
            let (status, _) = bundle(&context, name, spec).await;
            let found = status.findings.iter().filter(|finding| finding.id == "location-unavailable");
            found.map(|finding| finding.title.clone()).collect::<Vec<_>>()
        };
        let told = |name: &str| format!("BackupStorageLocation {name} is Unavailable: no way to the {name}");
        assert_eq!(found("installation", Value::Null).await, [told("attic"), told("cellar")]);
        assert_eq!(found("attic", json!({"kind": "Backup", "name": "in-attic"})).await, [told("attic")]);
        assert_eq!(found("default", json!({"kind": "Backup", "name": "in-default"})).await, Vec::<String>::new());
    })
    .await;
}
