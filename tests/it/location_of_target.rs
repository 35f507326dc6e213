//! Which location a bundle is about: the one of the target's Backup, whether a Restore names the Backup or a
//! Schedule; the one of the target's own data; and for an installation all of them.

use harness::bundle::spec_about;
use harness::velero_objects::{backup, data_download, pod_volume_restore, restore};
use harness::{Context, Operator, with_namespace};
use serde_json::{Value, json};

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
        context.bucket.put_gzipped(&format!("{folder}/{name}-{file}.gz"), text).await;
    }
}

#[tokio::test]
async fn a_restore_that_names_a_schedule_has_the_files_of_the_backup_that_velero_takes_from_its_location() {
    with_namespace("of-schedule", |context| async move {
        context.create_velero(context.location("attic", "attic")).await;
        for (name, schedule, location, day, phase) in [
            ("nightly-1", "nightly", "default", 1, "Completed"),
            ("nightly-2", "nightly", "attic", 2, "Completed"),
            ("nightly-3", "nightly", "default", 3, "PartiallyFailed"),
            ("weekly-1", "weekly", "default", 4, "Completed"),
        ] {
            let at = format!("2026-03-{day:02}T00:00:00Z");
            let made = backup(name).of_schedule(schedule).in_location(location).phase(phase);
            context.create_velero(made.status("startTimestamp", at.as_str()).status("completionTimestamp", at)).await;
        }
        files_of_backup(&context, "attic", "nightly-2").await;
        context.create_velero(restore("r1").of_schedule("nightly")).await;

        let _operator = Operator::of(&context).ready().await;
        let (status, bundle) = context.bundle("r1", spec_about("Restore", "r1")).await;
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
            context.create_velero(context.location(location, location)).await;
        }
        let target = context.create_velero(restore("r1").of_backup("gone").partially_failed()).await;
        let former = |name: &str| {
            let data = pod_volume_restore(name).of_pod("orchard", "tree-0").in_location("cellar");
            data.labelled("velero.io/restore-name", "r1")
        };
        context.create_velero(former("a-former").labelled("velero.io/restore-uid", "former")).await;
        context.create_velero(former("b-former").owned_by_former("Restore", "r1", "former")).await;
        let own = data_download("z-own").of(&target).of_claim("shop", "ledger").from_namespace("shop");
        context.create_velero(own.in_location("attic").failed()).await;
        for (location, words) in [("attic", "its own words"), ("cellar", "words of the former one")] {
            let said = json!({"errors": {"velero": [words]}, "warnings": {}});
            context
                .bucket
                .put_gzipped(&format!("{location}/restores/r1/restore-r1-results.gz"), said.to_string())
                .await;
        }

        let _operator = Operator::of(&context).ready().await;
        let (status, bundle) = context.bundle("r1", spec_about("Restore", "r1")).await;
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
            let location = context.location(name, name).phase("Unavailable");
            context.create_velero(location.status("message", format!("no way to the {name}"))).await;
        }
        for (name, location) in [("in-default", "default"), ("in-attic", "attic")] {
            context.create_velero(backup(name).in_location(location).failed()).await;
        }
        let _operator = Operator::of(&context).ready().await;
        let found = async |name: &str, target: Value| {
            let mut spec = json!({"storageLocation": "default"});
            if target.is_object() {
                spec["target"] = target;
            }
            let (status, _) = context.bundle(name, spec).await;
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
