//! Locations on Azure Blob Storage and Google Cloud Storage, from their Secrets to the download: the whole operator
//! before an emulator.

use std::collections::BTreeMap;

use debugbundle_crd::DebugBundle;
use flate2::{Compression, write::GzEncoder};
use harness::{
    Context, Operator,
    azurite::{Azurite, Container},
    bundle::spec_about,
    gcs::{self, FakeGcs, GcsBucket},
    s3_proxy::Answering,
    velero_objects::{backup, backup_storage_location, restore},
    with_namespace,
};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::ListParams;
use serde_json::json;

use crate::support::bundles::{LIMIT, PARTS, about_r1, large_log, server_pod, status, until_ended, velero_objects};

/// A cloud's emulator.
enum Cloud {
    Azure(Azurite),
    /// With the token service that the key file names.
    Google(FakeGcs, Answering),
}

/// A bucket or container, as its owner sees it.
enum Place {
    Azure(Container),
    Google(GcsBucket),
}

impl Cloud {
    async fn azure() -> Self {
        Self::Azure(Azurite::start().await)
    }

    async fn google() -> Self {
        Self::Google(FakeGcs::start().await, Answering::with("{}".to_owned()).await)
    }

    async fn create_bucket(&self, name: &str) -> Place {
        match self {
            Self::Azure(azurite) => Place::Azure(azurite.create_container(name).await),
            Self::Google(server, _) => Place::Google(server.create_bucket(name).await),
        }
    }

    /// A location `cloud` in a bucket, which the operator may open.
    async fn location(&self, context: &Context, bucket: &str) {
        let location = backup_storage_location("cloud", bucket, "team-b")
            .spec("credential", json!({"name": "cloud-key", "key": "cloud"}))
            .phase("Available");
        let (location, file) = match self {
            Self::Azure(azurite) => (
                location
                    .spec("provider", "velero.io/azure")
                    .config("storageAccount", azurite.account)
                    .config("storageAccountURI", azurite.endpoint())
                    .config("storageAccountKeyEnvVar", "AZURE_STORAGE_ACCOUNT_ACCESS_KEY")
                    .config("resourceGroup", "rg"),
                azurite.credentials_file(),
            ),
            Self::Google(server, tokens) => (
                location
                    .spec("provider", "velero.io/gcp")
                    .config("storeEndpoint", format!("{}/storage/v1/", server.endpoint())),
                gcs::key_file(&tokens.endpoint),
            ),
        };
        context.create::<Secret>(json!({"metadata": {"name": "cloud-key"}, "stringData": {"cloud": file}})).await;
        context.create_velero(location).await;
        context.allow_secrets(&["cloud-key"]).await;
    }

    /// Texts of the credential that must come out nowhere.
    fn secrets(&self) -> Vec<String> {
        match self {
            Self::Azure(azurite) => vec![azurite.key.clone()],
            Self::Google(..) => gcs::private_key().lines().filter(|line| line.len() > 40).map(str::to_owned).collect(),
        }
    }

    fn endpoint(&self) -> String {
        match self {
            Self::Azure(azurite) => azurite.endpoint(),
            Self::Google(server, _) => server.endpoint(),
        }
    }

    /// How often the addresses in the credential were asked.
    fn asked(&self) -> usize {
        match self {
            Self::Azure(_) => 0,
            Self::Google(_, tokens) => tokens.seen().len(),
        }
    }
}

impl Place {
    async fn objects(&self) -> Vec<String> {
        match self {
            Self::Azure(container) => container.blobs().await,
            Self::Google(bucket) => bucket.objects().await,
        }
    }

    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self {
            Self::Azure(container) => container.get(key).await,
            Self::Google(bucket) => bucket.get(key).await,
        }
    }

    async fn put(&self, key: &str, content: Vec<u8>) {
        match self {
            Self::Azure(container) => container.put(key, content, &BTreeMap::new()).await,
            Self::Google(bucket) => bucket.put(key, content, &BTreeMap::new()).await,
        }
    }

    /// Parts of unfinished uploads that stay; Google forgets them by itself.
    async fn unfinished(&self) -> usize {
        match self {
            Self::Azure(container) => container.uncommitted().await,
            Self::Google(_) => 0,
        }
    }
}

async fn is_killed_at_any_point(cloud: &Cloud) {
    let killed = ["upload-created", "upload-begun", "part-sent", "uploaded"].map(|point| {
        let name = match cloud {
            Cloud::Azure(_) => format!("azure-{point}"),
            Cloud::Google(..) => format!("google-{point}"),
        };
        async move {
            with_namespace(&name, |context| async move {
                let place = cloud.create_bucket(point).await;
                cloud.location(&context, point).await;
                velero_objects(&context).await;
                context.patch_velero("Backup", "seed", json!({"spec": {"storageLocation": "cloud"}})).await;
                let node = server_pod(&context, large_log()).await;
                let mut operator = Operator::of(&context).args(PARTS).crash_at(point).ready().await;
                context.debug_bundle("b", about_r1()).await;
                assert_eq!(operator.wait_exit(LIMIT).await, 137, "it dies at {point}");
                operator.restart().await;
                let ended = status(&until_ended(&context, "b").await);
                let stored = ended.bundle.unwrap_or_else(|| panic!("{point}: {:?}", ended.conditions));
                assert_eq!(place.objects().await, std::slice::from_ref(&stored.key), "{point}");
                let size = place.get(&stored.key).await.expect("an object").len();
                assert_eq!((i64::try_from(size).expect("small"), place.unfinished().await), (stored.bytes, 0));
                let seen = context.stand.kubelet.seen(&node);
                let read = seen.iter().filter(|seen| seen.query.get("previous").is_none_or(|it| it != "true"));
                assert_eq!(read.count(), 1, "{point}: the log is read once");
            })
            .await;
        }
    });
    futures::future::join_all(killed).await;
    assert_eq!(cloud.asked(), 0, "no address in the credential is asked");
}

#[tokio::test]
async fn issue_35_killed_at_any_point_of_an_upload_in_blocks_it_leaves_one_blob_and_collects_nothing_again() {
    is_killed_at_any_point(&Cloud::azure().await).await;
}

#[tokio::test]
async fn issue_35_killed_at_any_point_of_an_upload_to_google_it_leaves_one_object_and_collects_nothing_again() {
    is_killed_at_any_point(&Cloud::google().await).await;
}

async fn stores_a_bundle_whose_url_opens(cloud: &Cloud) {
    let name = if matches!(cloud, Cloud::Azure(_)) { "azure" } else { "google" };
    with_namespace(name, |context| async move {
        use std::io::Write as _;
        let place = cloud.create_bucket("velero").await;
        for (key, text) in [
            ("backups/b1/b1-logs.gz", "level=info msg=\"the words of the backup's log\"\n"),
            ("restores/r1/restore-r1-logs.gz", "level=info msg=\"the words of the restore's log\"\n"),
        ] {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(text.as_bytes()).expect("memory");
            place.put(&format!("team-b/{key}"), gzip.finish().expect("memory")).await;
        }
        cloud.location(&context, "velero").await;
        context.create_velero(backup("b1").in_location("cloud").completed()).await;
        context.create_velero(restore("r1").of_backup("b1").partially_failed()).await;

        let operator = Operator::of(&context).env("DEBUGBUNDLE_LOG", "trace").ready().await;
        let (status, bundle) = context.bundle("r1", spec_about("Restore", "r1")).await;
        let stored = status.bundle.as_ref().expect("it is stored");
        assert_eq!(stored.storage_location, "cloud");
        let url = status.download_url.as_deref().expect("a URL");
        assert!(url.starts_with(&format!("{}/velero/team-b/plugins/debugbundle/", cloud.endpoint())), "{url}");
        assert!(bundle.file("velero/restores/r1/restore.log").contains("the words of the restore's log"));
        assert!(bundle.file("velero/backups/b1/backup.log").contains("the words of the backup's log"));

        let signature = url.rsplit(['&', '?']).find_map(|part| {
            let (name, value) = part.split_once('=')?;
            ["sig", "X-Goog-Signature"].contains(&name).then_some(value)
        });
        let signature = signature.expect("a signature");
        let log = std::fs::read_to_string(operator.process().log()).expect("a log");
        let resource = context.api::<DebugBundle>().get("r1").await.expect("it is there");
        let events = context.api::<Event>().list(&ListParams::default()).await.expect("Events");
        let events = serde_json::to_string(&events.items).expect("JSON");
        let resource = serde_json::to_string(&resource).expect("JSON");
        for secret in cloud.secrets() {
            for (what, text) in [("log", &log), ("resource", &resource), ("Events", &events)] {
                assert!(!text.contains(&secret), "the credential is in the {what}");
            }
            assert_eq!(bundle.find(&[&secret, signature]), Vec::<String>::new());
        }
        assert!(!log.contains(signature) && !events.contains(signature), "the URL's signature came out");
        for authorization in ["SharedKey ", "Bearer ey"] {
            assert!(!log.contains(authorization), "an Authorization is in the log");
        }
        assert_eq!(cloud.asked(), 0, "no address in the credential is asked");
    })
    .await;
}

#[tokio::test]
async fn sec_c1_u11_issue_35_a_bundle_about_a_restore_on_azure_is_stored_and_its_url_opens() {
    stores_a_bundle_whose_url_opens(&Cloud::azure().await).await;
}

#[tokio::test]
async fn sec_c1_c6_u12_issue_35_a_bundle_about_a_restore_on_google_is_stored_and_its_url_opens() {
    stores_a_bundle_whose_url_opens(&Cloud::google().await).await;
}
