//! Locations on Azure Blob Storage and Google Cloud Storage, from their Secrets to the download: the whole operator and a
//! real Velero with its plugins, before emulators.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_crd::DebugBundle;
use harness::{
    Context, Operator, Velero,
    azurite::Azurite,
    bundle::{Unpacked, spec_about},
    clouds::{Cloud, LOCATION},
    s3_proxy::Answering,
    until,
    velero_objects::backup_storage_location,
    with_namespace,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::ListParams;
use serde_json::json;

use crate::support::{
    bundles::{LIMIT, PARTS, about_r1, large_log, server_pod, status, until_ended, velero_objects},
    store::http,
};

async fn is_killed_at_any_point(cloud: &Cloud) {
    let killed = ["upload-created", "upload-begun", "part-sent", "uploaded"].map(|point| {
        let name = format!("{}-{point}", cloud.name());
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

/// No secret of the credential, no signature and no authorization is in what the operator writes.
async fn nothing_came_out(context: &Context, operator: &Operator, bundle: &Unpacked, url: &str, secrets: &[String]) {
    let signature = url.rsplit(['&', '?']).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        ["sig", "X-Goog-Signature"].contains(&name).then_some(value)
    });
    let signature = signature.expect("a signature");
    let log = std::fs::read_to_string(operator.process().log()).expect("a log");
    let resources = context.api::<DebugBundle>().list(&ListParams::default()).await.expect("DebugBundles");
    let resources = serde_json::to_string(&resources.items).expect("JSON");
    let events = context.api::<Event>().list(&ListParams::default()).await.expect("Events");
    let events = serde_json::to_string(&events.items).expect("JSON");
    for secret in secrets {
        for (what, text) in [("log", &log), ("resource", &resources), ("Events", &events)] {
            assert!(!text.contains(secret), "the credential is in the {what}");
        }
        assert_eq!(bundle.find(&[secret, signature]), Vec::<String>::new());
    }
    assert!(!log.contains(signature) && !events.contains(signature), "the URL's signature came out");
    for authorization in ["SharedKey ", "Bearer ey"] {
        assert!(!log.contains(authorization), "an Authorization is in the log");
    }
}

async fn stores_a_bundle_whose_url_opens(cloud: &Cloud) {
    with_namespace(cloud.name(), |context| async move {
        let place = cloud.create_bucket("velero").await;
        cloud.location(&context, "velero").await;
        let velero = Velero::of(&context).in_cloud(cloud).start().await;
        velero.partially_failed_restore("r1").await;

        let operator = Operator::of(&context).env("DEBUGBUNDLE_LOG", "trace").ready().await;
        let (status, bundle) = context.bundle("r1", spec_about("Restore", "r1")).await;
        let stored = status.bundle.as_ref().expect("it is stored");
        assert_eq!(stored.storage_location, LOCATION);
        let url = status.download_url.as_deref().expect("a URL");
        assert!(url.starts_with(&format!("{}/velero/team-b/plugins/debugbundle/", cloud.endpoint())), "{url}");
        assert!(bundle.file("velero/restores/r1/restore.log").contains("exceeded quota"));
        assert!(bundle.file("velero/restores/r1/results.json").contains("exceeded quota"));
        assert!(bundle.file("velero/backups/r1-source/backup.log").contains("Backed up"));
        assert!(place.objects().await.contains(&stored.key));
        let stored_at = Timestamp::now();
        until(Duration::from_mins(1), "Velero still finds the location available", || async {
            let location =
                context.velero_api("BackupStorageLocation").get(LOCATION).await.map_err(|e| e.to_string())?;
            let status = &location.data["status"];
            let validated = status["lastValidationTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            assert_eq!(status["phase"], "Available", "{status}");
            if validated.is_some_and(|time| time > stored_at) { Ok(()) } else { Err(status.to_string()) }
        })
        .await;

        nothing_came_out(&context, &operator, &bundle, url, &cloud.secrets()).await;

        // The target is in the cloud, and the bundle goes to S3.
        let mut elsewhere = spec_about("Restore", "r1");
        elsewhere["storageLocation"] = json!("default");
        let (status, mixed) = context.bundle("mixed", elsewhere).await;
        assert_eq!(status.bundle.expect("it is stored").storage_location, "default");
        assert!(mixed.file("velero/restores/r1/restore.log").contains("exceeded quota"));
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

#[tokio::test]
async fn sec_c1_c5_u11_issue_35_with_a_client_secret_a_bundle_is_stored_and_neither_secret_nor_token_comes_out() {
    with_namespace("entra", |context| async move {
        let azurite = Azurite::start_with_identities().await;
        let (answer, token) = Azurite::token();
        let (login, secret) = (Answering::with(answer).await, "a-client-secret~of.the-test");
        let container = azurite.create_container("velero").await;
        let file = format!("AZURE_TENANT_ID=t-1\nAZURE_CLIENT_ID=c-1\nAZURE_CLIENT_SECRET={secret}\n");
        context.create::<Secret>(json!({"metadata": {"name": "cloud-key"}, "stringData": {"cloud": file}})).await;
        let certificate = STANDARD.encode(azurite.authority.as_deref().expect("https"));
        let location = backup_storage_location(LOCATION, "velero", "team-b")
            .spec("provider", "velero.io/azure")
            .spec("credential", json!({"name": "cloud-key", "key": "cloud"}))
            .spec("objectStorage", json!({"bucket": "velero", "prefix": "team-b", "caCert": certificate}))
            .config("storageAccount", azurite.account)
            .config("storageAccountURI", azurite.endpoint())
            .config("useAAD", "true")
            .config("activeDirectoryAuthorityURI", &*login.endpoint)
            .phase("Available");
        context.create_velero(location).await;
        context.allow_secrets(&["cloud-key"]).await;
        velero_objects(&context).await;
        context.patch_velero("Backup", "seed", json!({"spec": {"storageLocation": LOCATION}})).await;
        server_pod(&context, large_log()).await;

        let refused = Operator::of(&context).ready().await;
        context.debug_bundle("refused", about_r1()).await;
        let ended = status(&until_ended(&context, "refused").await);
        let said = serde_json::to_string(&ended.conditions).expect("JSON");
        assert!(said.contains("only with the operator's flag --allow-any-login-host"), "{said}");
        assert!(login.seen().is_empty(), "nothing is sent to a host that is not allowed");
        drop(refused);

        let operator =
            Operator::of(&context).args(["--allow-any-login-host"]).env("DEBUGBUNDLE_LOG", "trace").ready().await;
        let (ended, bundle) = context.bundle("r1", about_r1()).await;
        let stored = ended.bundle.as_ref().expect("it is stored");
        assert_eq!(container.blobs().await, std::slice::from_ref(&stored.key));
        let url = ended.download_url.as_deref().expect("a URL");
        assert!(url.contains("&skoid=99999999-8888-7777-6666-555555555555&"), "{url}");
        assert_eq!(http(url, None).await.0, 200);
        // One for each time that the store is opened: to read, to upload, to look after it.
        assert!((1..=4).contains(&login.seen().len()), "{} tokens", login.seen().len());
        nothing_came_out(&context, &operator, &bundle, url, &[secret.to_owned(), token]).await;
    })
    .await;
}
