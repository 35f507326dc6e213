//! The operator's own output, with a cluster and a store that echo its credential: status, Events, its log, and its
//! files in a bundle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::bundle::spec_about;
use harness::s3_proxy::{S3Fault, S3Proxy};
use harness::velero_objects::backup;
use harness::{Context, Operator, until, with_namespace};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::bundles::{
    LIMIT, condition, delete, events, get, is_stored, status, until_ended, until_event, until_gone, until_is,
};

/// Redaction's replacement of the location's secret key.
const MASKED: &str = "[REDACTED:known-secret-key:";

/// A Backup whose failure reason contains the secret key, a credentials file with the key in place of a name, and a
/// location behind this store.
async fn prepare(context: &Context, secret: &str, store: &S3Proxy) {
    let now = Timestamp::now();
    let reason = format!("the plugin said {secret} is not known, nor is it with password=hunter2-x7");
    let failed = backup("b1").of_namespaces(["shop"]).failed().status("failureReason", reason);
    context.create_velero(failed.started(now).ended(now)).await;
    let keys = context.stand.s3.root();
    let file = format!(
        "[default]\naws_access_key_id={}\naws_secret_access_key={secret}\n{secret}=\noutput=json\n",
        keys.access
    );
    let change = Patch::Merge(json!({"stringData": {"cloud": file}}));
    let written = context.api::<Secret>().patch("cloud-credentials", &PatchParams::default(), &change).await;
    written.expect("the credentials can be written");
    let config = json!({"spec": {"config": {"s3Url": store.endpoint()}}});
    context.patch_velero("BackupStorageLocation", "default", config).await;
}

/// Checks for the secret key in every form that a person would recognise.
fn is_clean(secret: &str, place: &str, text: &str) {
    for value in [secret, "hunter2"] {
        assert!(!text.contains(value), "{value} is in {place}: {text}");
    }
}

/// The resource, its Events and the operator's log must not contain the secret key.
async fn says_nothing(context: &Context, operator: &Operator, secret: &str) {
    if let Some(bundle) = get(context, "b").await {
        is_clean(secret, "the resource", &serde_json::to_string(&bundle).expect("JSON"));
    }
    let told = events(context, "b").await;
    assert!(!told.is_empty());
    is_clean(secret, "an Event", &format!("{told:?}"));
    let lines = operator.log();
    assert!(lines.iter().all(Value::is_object), "the log is JSON, line by line: {lines:?}");
    is_clean(secret, "the operator's log", &Value::from(lines).to_string());
}

#[tokio::test]
async fn sec_x6_a_credential_that_cluster_and_store_repeat_is_not_repeated_again() {
    with_namespace("own-words", |context| async move {
        let secret = context.stand.s3.root().secret.clone();
        let store = S3Proxy::before(&context.stand.s3.endpoint()).await;
        let hostile = Arc::new(AtomicBool::new(true));
        let (still, words) = (hostile.clone(), format!("the secret key is {secret}"));
        let fault = S3Fault::RefuseWith(403, secret.clone(), words);
        store.next(usize::MAX / 2, move |_| still.load(Ordering::SeqCst), fault);
        prepare(&context, &secret, &store).await;
        let operator = Operator::of(&context)
            .env("DEBUGBUNDLE_LOG", "debug")
            .args(["--delete-timeout-seconds", "5"])
            .ready()
            .await;

        context.debug_bundle("b", spec_about("Backup", "b1")).await;
        let waits = until_is(&context, "b", "waits for its store", LIMIT, |bundle| {
            status(bundle).upload.is_some_and(|upload| upload.last_error.is_some())
        })
        .await;
        let (_, reason, message) = condition(&waits, "Uploaded");
        assert!(
            message.contains(&format!("HTTP 403 {MASKED}")),
            "the store's code is where it was: {reason}: {message}"
        );
        assert!(status(&waits).cause.is_some_and(|cause| cause.contains(MASKED)), "{:?}", status(&waits));
        let note = until_event(&context, "b", &reason).await;
        assert!(note.contains(MASKED), "{note}");
        let log = Value::from(operator.log()).to_string();
        assert!(log.contains("Ignored keys of the credentials file") && log.contains(MASKED), "{log}");
        says_nothing(&context, &operator, &secret).await;

        hostile.store(false, Ordering::SeqCst);
        let ended = until_ended(&context, "b").await;
        let entries = is_stored(&context, &ended).await;
        for (path, body) in &entries {
            is_clean(&secret, path, &String::from_utf8_lossy(body));
        }
        for path in ["summary.md", "operator.log", "velero/backups/b1/describe.txt", "manifest.json"] {
            let text = String::from_utf8_lossy(&entries[path]);
            assert!(path.ends_with("describe.txt") || text.contains(MASKED), "it was never in {path}: {text}");
        }

        hostile.store(true, Ordering::SeqCst);
        delete(&context, "b").await;
        let note = until_event(&context, "b", "NotDeleted").await;
        assert!(note.contains(MASKED), "{note}");
        until_gone(&context, "b", LIMIT).await;
        until(Duration::from_secs(10), "the log tells it, too", || async {
            let told = operator.log().iter().any(|line| line.to_string().contains("Not deleted from the store"));
            told.then_some(())
        })
        .await;
        says_nothing(&context, &operator, &secret).await;
    })
    .await;
}
