//! A Restore whose Backup is gone: only its data names the location of its files.

use harness::velero_objects::{backup_repository, pod_volume_restore, restore};
use harness::{Operator, with_namespace};
use k8s_openapi::api::batch::v1::Job;
use serde_json::json;

use crate::support::workloads::workload;

/// What the manifest reports about the Backup's files: the reason and the cure.
fn told(bundle: &harness::bundle::Unpacked) -> (String, String) {
    let missing = bundle.manifest["missing"].as_array().unwrap();
    let one = missing.iter().find(|one| one["path"] == "velero/backups/gone").expect("it is told");
    (one["why"].as_str().unwrap().to_owned(), one["cure"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_restore_whose_backup_is_gone_has_its_files_from_the_location_of_its_data_or_the_manifest_says_what_to_name()
{
    with_namespace("orphaned", |context| async move {
        context.create_velero(context.location("attic", "attic")).await;
        for name in ["with-data", "without"] {
            let target = context.create_velero(restore(name).of_backup("gone").partially_failed()).await;
            if name == "with-data" {
                let data = pod_volume_restore("pvr-1").of(&target).of_pod("nowhere", "p").in_location("attic");
                context.create_velero(data).await;
            }
            let said = json!({"errors": {"velero": [format!("{name} has no room")]}, "warnings": {}});
            let key = format!("attic/restores/{name}/restore-{name}-results.gz");
            context.bucket.put_gzipped(&key, said.to_string()).await;
        }

        for (name, namespace, location, sort) in [
            ("a-stranger", "farm", "default", "kopia"),
            ("b-other-location", "old-shop", "default", "kopia"),
            ("c-other-type", "old-shop", "attic", "restic"),
            ("z-mine", "old-shop", "attic", "kopia"),
        ] {
            context.create_velero(backup_repository(name, namespace, sort).in_location(location)).await;
            let mut template = workload(name, None)["spec"]["template"].take();
            template["spec"]["restartPolicy"] = "Never".into();
            let labels = json!({"velero.io/repo-name": name});
            let job = json!({"metadata": {"name": name, "labels": labels}, "spec": {"template": template}});
            context.create_in::<Job>(&context.namespace, job).await;
        }

        let _operator = Operator::of(&context).ready().await;
        let about = |bundle: &str, spec: serde_json::Value| {
            let (context, bundle) = (context.clone(), bundle.to_owned());
            async move {
                context.debug_bundle(&bundle, spec).await;
                let status = context.until_bundle_ended(&bundle).await;
                let unpacked = context.download(&status).await;
                (status, unpacked)
            }
        };
        let target = |name: &str| json!({"kind": "Restore", "name": name});
        let (status, bundle) = about("known", json!({"target": target("with-data")})).await;
        assert_eq!(status.cause.as_deref(), Some("with-data has no room"));
        let (why, _) = told(&bundle);
        assert!(why.ends_with("does not exist; according to its data it was in BackupStorageLocation attic"), "{why}");
        let locations =
            bundle.items(&format!("namespaces/{}/velero.io/backupstoragelocations.yaml", context.namespace));
        assert_eq!(locations[0]["metadata"]["name"], "attic", "it comes first");
        for kind in ["velero.io/backuprepositories", "batch/jobs"] {
            let found = bundle.items(&format!("namespaces/{}/{kind}.yaml", context.namespace));
            let names: Vec<_> = found.iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["z-mine", "a-stranger", "b-other-location", "c-other-type"], "{kind}: its own first");
        }

        let (_, bundle) = about("unknown", json!({"target": target("without")})).await;
        assert!(!bundle.has("velero/restores/without/results.json"));
        let (why, cure) = told(&bundle);
        assert!(why.contains("the location of its files and of the Restore's files is unknown"), "{why}");
        assert!(cure.ends_with("set spec.storageLocation to the location that does"), "{cure}");
        let (status, _) = about("named", json!({"target": target("without"), "storageLocation": "attic"})).await;
        assert_eq!(status.cause.as_deref(), Some("without has no room"), "the cure cures");
    })
    .await;
}
