//! The whole operator and a misbehaving store: what status reports, and what happens to the bundle. `faults` tests the
//! faults one by one, without the operator.

use std::sync::Arc;
use std::time::Duration;

use debugbundle_crd::{DebugBundle, Phase};
use harness::{
    Context, LogScript, Operator, pod,
    s3_proxy::{S3Fault, S3Proxy, Seen},
    until, with_namespace,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::bundles::until_logged;
use crate::support::store::{ended, http, overwrite, waiting};

/// A location of this name at another endpoint, with these extra config keys.
async fn location(context: &Context, name: &str, endpoint: &str, config: Value) {
    let location = context.location(name, name).config("s3Url", endpoint);
    context.create_velero(location.merged(&json!({"config": config}))).await;
}

/// A location behind a proxy, and a DebugBundle that is sent there, both of the same name.
async fn bundle_behind_a_proxy(context: &Context, name: &str, spoil: impl FnOnce(&S3Proxy)) -> S3Proxy {
    let proxy = S3Proxy::before(&context.stand.s3.endpoint()).await;
    spoil(&proxy);
    location(context, name, &proxy.endpoint(), json!({})).await;
    context.debug_bundle(name, json!({"storageLocation": name})).await;
    proxy
}

fn put(seen: &Seen) -> bool {
    seen.method == "PUT"
}

#[tokio::test]
async fn a_bundle_is_collected_once_and_sent_when_the_store_is_back() {
    with_namespace("outage", |context| async move {
        let operator = Operator::of(&context).ready().await;
        let proxy = bundle_behind_a_proxy(&context, "outage", |proxy| proxy.down(true)).await;
        let waits = waiting(&context, "outage").await;
        assert_eq!(waits.status().phase, Some(Phase::Uploading));
        let (reason, message) = waits.condition("Uploaded");
        assert_eq!(reason, "StoreUnreachable");
        assert!(message.starts_with("answer: the store is unreachable: "), "{message}");
        assert!(
            message.contains("; the operator keeps the sealed bundle and retries the upload until 20"),
            "{message}"
        );
        assert_eq!(waits.condition("Ready"), ("Uploading", message), "kubectl get -o wide tells it");

        proxy.down(false);
        let end = ended(&context, "outage").await;
        assert!(end.stored(), "{end:?}");
        assert_eq!(end.status().attempts, Some(1), "it was collected once");
        assert_eq!(end.condition("Uploaded").0, "Uploaded");
        assert_eq!(proxy.seen().iter().filter(|seen| put(seen)).count(), 1, "and sent once");
        drop(operator);
    })
    .await;
}

/// Megabytes of lines that compress badly.
fn noise(seed: u64) -> LogScript {
    let mut state = seed;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:08x} ", state >> 32)
    };
    let lines: Vec<String> = (0..4000).map(|_| (0..45).map(|_| word()).collect()).collect();
    LogScript::lines(lines)
}

#[tokio::test]
async fn the_id_of_an_upload_is_in_status_before_its_first_part_is_sent() {
    with_namespace("upload-id", |context| async move {
        let node = context.node("n").await;
        // A log that explains nothing keeps one mebibyte: ten of them make a bundle of several parts.
        for seed in 1..=10 {
            let name = format!("large-{seed}");
            context.pod(pod(&name).on_node(&node).with_container("app")).await;
            context.log(&name, "app", noise(seed));
        }
        let sent = Arc::new(Semaphore::new(0));
        let operator = Operator::of(&context).args(["--multipart-mib", "5"]).ready().await;
        let proxy = S3Proxy::before(&context.stand.s3.endpoint()).await;
        proxy.next(usize::MAX / 2, put, S3Fault::Hold(sent.clone()));
        location(&context, "large", &proxy.endpoint(), json!({})).await;
        let spec = json!({
            "storageLocation": "large", "namespaces": [context.namespace], "logs": {"window": {"since": "24h"}},
        });
        context.debug_bundle("large", spec).await;

        let part = until(Duration::from_mins(1), "a part is on its way", || async {
            proxy.seen().into_iter().find(put).ok_or_else(|| format!("{:?}", proxy.seen().len()))
        })
        .await;
        let bundle = context.api::<DebugBundle>().get("large").await.expect("it is there");
        let id = bundle.status.and_then(|status| status.upload).and_then(|upload| upload.upload_id).expect("an id");
        assert!(part.query.contains(&format!("uploadId={id}")), "{}", part.query);
        assert_eq!(context.bucket.unfinished().await[0].upload_id, id);
        sent.add_permits(1000);
        let end = ended(&context, "large").await;
        assert!(end.stored(), "{end:?}");
        assert_eq!(context.bucket.unfinished().await, []);
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn an_expired_credential_is_read_again_and_a_slow_store_is_waited_for() {
    with_namespace("again", |context| async move {
        let operator = Operator::of(&context).ready().await;
        let expired = bundle_behind_a_proxy(&context, "expired", |proxy| {
            // As AWS does: a refused HEAD has no body and hence no code.
            proxy.next(1, |seen| seen.method == "HEAD", S3Fault::Refuse(400, "ExpiredToken"));
            proxy.next(1, put, S3Fault::Refuse(400, "ExpiredToken"));
        })
        .await;
        let slow = bundle_behind_a_proxy(&context, "slow", |proxy| {
            // More refusals than the tries of a single request.
            proxy.next(5, put, S3Fault::Refuse(503, "SlowDown"));
        })
        .await;
        for (name, proxy) in [("expired", &expired), ("slow", &slow)] {
            let end = ended(&context, name).await;
            assert!(end.stored(), "{end:?}");
            assert_eq!((proxy.left(), end.status().attempts), (0, Some(1)), "{name}");
        }
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn an_object_that_is_not_what_was_sent_is_removed_and_said_to_be() {
    with_namespace("corrupt", |context| async move {
        let operator = Operator::of(&context).ready().await;
        let folder = format!("corrupt/plugins/debugbundle/{}/installation", context.installation().await);
        let folder = context.bucket.folder().join(folder);
        let spoil = S3Fault::RunAfter(Arc::new(move || {
            for object in std::fs::read_dir(&folder).expect("the object is there").flatten() {
                let mut content = std::fs::read(object.path()).expect("the object");
                content[7] ^= 1;
                overwrite(&object.path(), &content);
            }
        }));
        let proxy = bundle_behind_a_proxy(&context, "corrupt", |proxy| proxy.next(1, put, spoil)).await;
        let end = ended(&context, "corrupt").await;
        let expected = "the object in the store differs from what was sent: its first 4096 bytes differ";
        assert_eq!(end.failure(), ("StoredObjectCorrupt", expected));
        assert_eq!(proxy.left(), 0);
        assert_eq!(context.bucket.keys("").await, [""; 0]);
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn with_all_config_keys_a_bundle_is_stored_its_url_works_and_is_in_no_log() {
    with_namespace("all-keys", |context| async move {
        let endpoint = context.stand.s3.endpoint();
        let proxy = S3Proxy::before(&endpoint).await;
        let config = json!({
            "publicUrl": endpoint.replace("127.0.0.1", "localhost"), "tagging": "team=a&cost=b", "profile": "default",
            "checksumAlgorithm": "SHA256", "serverSideEncryption": "AES256", "signatureVersion": "4",
            "enableSharedConfig": "true", "insecureSkipTLSVerify": "false",
        });
        location(&context, "all", &proxy.endpoint(), config).await;
        let operator = Operator::of(&context).env("DEBUGBUNDLE_LOG", "debug").ready().await;
        context.debug_bundle("all", json!({"storageLocation": "all"})).await;
        let end = ended(&context, "all").await;
        assert!(end.stored(), "{end:?}");
        let sent = proxy.seen().into_iter().find(put).expect("a PUT");
        assert_eq!(sent.header("x-amz-tagging"), "team=a&cost=b");
        assert_eq!(sent.header("x-amz-server-side-encryption"), "AES256");
        assert_ne!(sent.header("x-amz-checksum-sha256"), "");

        let url = end.status().download_url.clone().expect("a URL");
        assert!(url.starts_with(&endpoint.replace("127.0.0.1", "localhost")), "its host is publicUrl's");
        let (status, _, body) = http(&url, None).await;
        let bundle = end.status().bundle.clone().expect("where it is");
        assert_eq!((status, body.len()), (200, usize::try_from(bundle.bytes).expect("a size")));
        // The line follows the status.
        until_logged(&operator, "Stored").await;
        let log = operator.log().iter().map(Value::to_string).collect::<String>();
        for secret in ["X-Amz-Signature", "X-Amz-Credential", &context.stand.s3.root().secret] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
        drop(operator);
    })
    .await;
}
