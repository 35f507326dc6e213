//! A location on Azure Blob Storage, from its Secret to the download: the whole operator before Azurite.

use std::collections::BTreeMap;

use debugbundle_crd::DebugBundle;
use flate2::{Compression, write::GzEncoder};
use harness::{
    Context, Operator,
    azurite::Azurite,
    bundle::spec_about,
    velero_objects::{backup, backup_storage_location, restore},
    with_namespace,
};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::ListParams;
use serde_json::json;

use crate::support::bundles::{LIMIT, PARTS, about_r1, large_log, server_pod, status, until_ended, velero_objects};

/// A location `azure` in a container, which the operator may open.
async fn azure_location(context: &Context, azurite: &Azurite, container: &str) {
    let file = azurite.credentials_file();
    context.create::<Secret>(json!({"metadata": {"name": "azure-key"}, "stringData": {"cloud": file}})).await;
    let location = backup_storage_location("azure", container, "team-b")
        .spec("provider", "velero.io/azure")
        .spec("credential", json!({"name": "azure-key", "key": "cloud"}))
        .config("storageAccount", azurite.account)
        .config("storageAccountURI", azurite.endpoint())
        .config("storageAccountKeyEnvVar", "AZURE_STORAGE_ACCOUNT_ACCESS_KEY")
        .config("resourceGroup", "rg")
        .phase("Available");
    context.create_velero(location).await;
    context.allow_secrets(&["azure-key"]).await;
}

#[tokio::test]
async fn issue_35_killed_at_any_point_of_an_upload_in_blocks_it_leaves_one_blob_and_collects_nothing_again() {
    let azurite = Azurite::start().await;
    let killed = ["upload-created", "upload-begun", "part-sent", "uploaded"].map(|point| {
        let azurite = &azurite;
        let name = format!("azure-{point}");
        async move {
            with_namespace(&name, |context| async move {
                let container = azurite.create_container(point).await;
                azure_location(&context, azurite, point).await;
                velero_objects(&context).await;
                context.patch_velero("Backup", "seed", json!({"spec": {"storageLocation": "azure"}})).await;
                let node = server_pod(&context, large_log()).await;
                let mut operator = Operator::of(&context).args(PARTS).crash_at(point).ready().await;
                context.debug_bundle("b", about_r1()).await;
                assert_eq!(operator.wait_exit(LIMIT).await, 137, "it dies at {point}");
                operator.restart().await;
                let ended = status(&until_ended(&context, "b").await);
                let stored = ended.bundle.unwrap_or_else(|| panic!("{point}: {:?}", ended.conditions));
                assert_eq!(container.blobs().await, std::slice::from_ref(&stored.key), "{point}");
                let size = container.get(&stored.key).await.expect("a blob").len();
                assert_eq!((i64::try_from(size).expect("small"), container.uncommitted().await), (stored.bytes, 0));
                let seen = context.stand.kubelet.seen(&node);
                let read = seen.iter().filter(|seen| seen.query.get("previous").is_none_or(|it| it != "true"));
                assert_eq!(read.count(), 1, "{point}: the log is read once");
            })
            .await;
        }
    });
    futures::future::join_all(killed).await;
}

#[tokio::test]
async fn sec_c1_u11_issue_35_a_bundle_about_a_restore_on_azure_is_stored_and_its_url_opens() {
    with_namespace("azure", |context| async move {
        use std::io::Write as _;
        let azurite = Azurite::start().await;
        let container = azurite.create_container("velero").await;
        for (key, text) in [
            ("backups/b1/b1-logs.gz", "level=info msg=\"the words of the backup's log\"\n"),
            ("restores/r1/restore-r1-logs.gz", "level=info msg=\"the words of the restore's log\"\n"),
        ] {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(text.as_bytes()).expect("memory");
            container.put(&format!("team-b/{key}"), gzip.finish().expect("memory"), &BTreeMap::new()).await;
        }
        azure_location(&context, &azurite, "velero").await;
        context.create_velero(backup("b1").in_location("azure").completed()).await;
        context.create_velero(restore("r1").of_backup("b1").partially_failed()).await;

        let operator = Operator::of(&context).env("DEBUGBUNDLE_LOG", "trace").ready().await;
        let (status, bundle) = context.bundle("r1", spec_about("Restore", "r1")).await;
        let stored = status.bundle.as_ref().expect("it is stored");
        assert_eq!(stored.storage_location, "azure");
        let url = status.download_url.as_deref().expect("a URL");
        assert!(url.starts_with(&format!("{}/velero/team-b/plugins/debugbundle/", azurite.endpoint())), "{url}");
        assert!(bundle.file("velero/restores/r1/restore.log").contains("the words of the restore's log"));
        assert!(bundle.file("velero/backups/b1/backup.log").contains("the words of the backup's log"));

        let signature = url.split("sig=").nth(1).expect("a signature");
        let log = std::fs::read_to_string(operator.process().log()).expect("a log");
        let resource = context.api::<DebugBundle>().get("r1").await.expect("it is there");
        let events = context.api::<Event>().list(&ListParams::default()).await.expect("Events");
        let events = serde_json::to_string(&events.items).expect("JSON");
        for (what, text) in
            [("log", &log), ("resource", &serde_json::to_string(&resource).expect("JSON")), ("Events", &events)]
        {
            assert!(!text.contains(&azurite.key), "the account key is in the {what}");
        }
        assert!(!log.contains(signature) && !events.contains(signature), "the URL's signature came out");
        assert!(!log.contains("SharedKey "), "an Authorization is in the log");
        assert_eq!(bundle.find(&[&azurite.key, signature]), Vec::<String>::new());
    })
    .await;
}
