//! Which location a bundle is about: the one of the target's Backup, whether a Restore names the Backup or a
//! Schedule; and for an installation all of them.

use harness::bundle::spec_about;
use harness::velero_objects::{backup, restore};
use harness::{Context, Operator, with_namespace};
use serde_json::{Value, json};

use crate::support::store::ended;

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
            let (_, bundle) = context.bundle(name, spec).await;
            let found = bundle.findings().into_iter().filter(|finding| finding["id"] == "location-unavailable");
            found.map(|finding| (finding["title"].clone(), finding["alike"].clone())).collect::<Vec<_>>()
        };
        let attic = "BackupStorageLocation attic is Unavailable: no way to the attic";
        let both = (json!(format!("{attic} (and 1 more like it)")), json!(["cellar cellar"]));
        assert_eq!(found("installation", Value::Null).await, [both]);
        let one = found("attic", json!({"kind": "Backup", "name": "in-attic"})).await;
        assert_eq!(one, [(json!(attic), Value::Null)]);
        assert_eq!(found("default", json!({"kind": "Backup", "name": "in-default"})).await, []);
    })
    .await;
}

#[tokio::test]
async fn issue_35_a_target_on_a_third_partys_provider_is_explained_and_its_bundle_goes_to_a_location_that_is_named() {
    with_namespace("third-party", |context| async move {
        let foreign = context.location("swift", "swift").spec("provider", "community.openstack.org/openstack");
        context.create_velero(foreign).await;
        let failed = backup("b1").in_location("swift").phase("Failed").status("failureReason", "the container is full");
        context.create_velero(failed).await;
        let _operator = Operator::of(&context).ready().await;

        let mut spec = spec_about("Backup", "b1");
        context.debug_bundle("there", spec.clone()).await;
        let end = ended(&context, "there").await;
        let (reason, message) = end.failure();
        assert_eq!(reason, "LocationInvalid", "{message}");
        for part in [
            "is not supported; supported: aws, azure, gcp",
            "name another one in spec.storageLocation (default)",
            "kubectl debugbundle collect needs no location",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }

        spec["storageLocation"] = "default".into();
        let (status, bundle) = context.bundle("elsewhere", spec).await;
        assert_eq!(status.bundle.as_ref().expect("it is stored").storage_location, "default");
        assert!(status.cause.as_deref().is_some_and(|cause| cause.contains("the container is full")), "{status:?}");
        let report = bundle.file("velero/locations/swift.json");
        assert!(report.contains("is not supported; supported: aws, azure, gcp"), "{report}");
        let log = bundle.errors().into_iter().find(|absent| absent.path == "velero/backups/b1/backup.log");
        let why = log.expect("the log is reported as missing").why;
        assert!(why.contains("is not supported"), "{why}");
    })
    .await;
}
