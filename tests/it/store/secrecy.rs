//! A location's credential, and programs and files that a location asks the operator to run or open: the whole operator
//! with full logging, and a search through everything that leaves it.

use std::os::unix::fs::PermissionsExt as _;

use debugbundle_crd::DebugBundle;
use harness::{Operator, bundle::Unpacked, s3_proxy::Answering, until, with_namespace};
use k8s_openapi::api::core::v1::{Event, Pod, Secret};
use kube::api::ListParams;
use serde_json::json;

use crate::support::bundles::LIMIT;
use crate::support::store::{ended, waiting};

/// Secrets that no output of the operator may contain.
fn assert_nowhere(what: &str, text: &str, secrets: &[(&str, &str)]) {
    for (name, secret) in secrets {
        assert!(!text.contains(secret), "{name} is in {what}");
    }
}

#[tokio::test]
async fn sec_c1_c9_u7_a_canary_in_the_credential_is_in_nothing_that_comes_out_at_any_log_level() {
    with_namespace("canary", |context| async move {
        let keys = context.stand.s3.create_user(&format!("{}-canary", context.namespace)).await;
        let all = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucket"];
        context.bucket.allow(&keys, &all).await;
        let file = format!("[default]\naws_access_key_id={}\naws_secret_access_key={}\n", keys.access, keys.secret);
        context.create::<Secret>(json!({"metadata": {"name": "canary"}, "stringData": {"cloud": file}})).await;
        let change = json!({"spec": {"credential": {"name": "canary", "key": "cloud"}}});
        context.patch_velero("BackupStorageLocation", "default", change).await;
        let in_env = format!("canary{}", &keys.secret[..8]);
        let env = json!([{"name": "DB_PASSWORD", "value": in_env}]);
        context
            .create::<Pod>(json!({
                "metadata": {"name": "mover", "labels": {"deploy": "velero"}},
                "spec": {"containers": [{"name": "c", "image": "i", "env": env}]},
            }))
            .await;

        context.allow_secrets(&["canary"]).await;
        let operator = Operator::of(&context).env("DEBUGBUNDLE_LOG", "trace").ready().await;
        context.debug_bundle("canary", json!({})).await;
        let end = ended(&context, "canary").await;
        assert!(end.stored(), "{end:?}");
        let url = end.status().download_url.clone().expect("a URL");
        let signature = url.split("X-Amz-Signature=").nth(1).and_then(|rest| rest.split('&').next()).expect("one");
        let secrets = [("the secret key", keys.secret.as_str()), ("the value in a pod", &in_env)];

        let log = std::fs::read_to_string(operator.process().log()).expect("a log");
        assert!(log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""), "it logs all it can");
        assert_nowhere("the log", &log, &secrets);
        assert_nowhere(
            "the log",
            &log,
            &[("the URL's signature", signature), ("an Authorization", "AWS4-HMAC-SHA256")],
        );
        let bundle = context.api::<DebugBundle>().get("canary").await.expect("it is there");
        assert_nowhere("the resource", &serde_json::to_string(&bundle).expect("JSON"), &secrets);
        // Events are sent beside the work.
        let events = until(LIMIT, "the Event about the URL", || async {
            let events = context.api::<Event>().list(&ListParams::default()).await.expect("Events");
            let events = serde_json::to_string(&events.items).expect("JSON");
            if events.contains("UrlIssued") { Ok(events) } else { Err(events) }
        })
        .await;
        assert_nowhere("an Event", &events, &secrets);
        assert_nowhere("an Event", &events, &[("the URL's signature", signature)]);
        let unpacked: Unpacked = context.download(end.status()).await;
        assert_eq!(unpacked.find(&[&keys.secret, &in_env, signature]), Vec::<String>::new());
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn sec_c3_c4_d8_nothing_that_a_location_or_its_secret_names_is_run_or_opened() {
    with_namespace("named-files", |context| async move {
        let folder = context.folder("operators-files");
        let appears = folder.join("appeared");
        // Valid keys in a file that the operator could read, and a program that it could start.
        let root = context.stand.s3.root();
        let good = format!("[default]\naws_access_key_id={}\naws_secret_access_key={}\n", root.access, root.secret);
        let keys = folder.join("keys");
        std::fs::write(&keys, &good).expect("written");
        let key = folder.join("sse-c");
        std::fs::write(&key, "0123456789abcdef0123456789abcdef").expect("written");
        let program = folder.join("program");
        std::fs::write(&program, format!("#!/bin/sh\ntouch {}\n", appears.display())).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let run = format!("{good}credential_process = {}\n", program.display());
        let from = |line: &str| format!("[default]\n{line}\n");
        context
            .create::<Secret>(json!({
                "metadata": {"name": "hostile"},
                "stringData": {
                    "process": run,
                    "process-alone": from(&format!("credential_process = {}", program.display())),
                    "sso": from("sso_start_url = https://evil.example\nsso_account_id = 1\nsso_role_name = r"),
                    "source": format!("{}[other]\n{}", from("role_arn = r\nsource_profile = other"), good.replace("[default]\n", "")),
                    "identity": from(&format!("role_arn = r\nweb_identity_token_file = {}", keys.display())),
                },
            }))
            .await;
        context.allow_secrets(&["hostile"]).await;
        // An operator with the file and the variables where the SDK's default chain looks for them.
        let operator = Operator::of(&context)
            .env("AWS_SHARED_CREDENTIALS_FILE", &keys)
            .env("AWS_CONFIG_FILE", &keys)
            .env("AWS_ACCESS_KEY_ID", root.access.clone())
            .env("AWS_SECRET_ACCESS_KEY", root.secret.clone())
            .ready()
            .await;
        let secret = |key: &str| json!({"credential": {"name": "hostile", "key": key}});
        let safety = |key: &str| format!("\"{key}\" is not supported for safety");
        let in_pod = "a path in the Velero server's pod where no Secret is mounted";
        for (name, spec, expected) in [
            ("process", secret("process"), safety("credential_process")),
            ("process-alone", secret("process-alone"), safety("credential_process")),
            ("sso", secret("sso"), safety("sso_start_url")),
            ("source", secret("source"), safety("source_profile")),
            ("identity", secret("identity"), "\"web_identity_token_file\" must be /var/run/secrets/".to_owned()),
            ("keys-file", json!({"credential": null, "config": {"credentialsFile": keys}}), in_pod.to_owned()),
            ("sse-c-file", json!({"config": {"customerKeyEncryptionFile": key}}), in_pod.to_owned()),
        ] {
            context.create_velero(context.location(name, name).merged(&spec)).await;
            context.debug_bundle(name, json!({"storageLocation": name})).await;
            let waits = waiting(&context, name).await;
            let (_, message) = waits.condition("Uploaded");
            assert!(message.contains(&expected), "{name}: {message}");
            assert!(context.bucket.keys(&format!("{name}/")).await.is_empty(), "{name}: nothing was stored");
        }
        assert!(!appears.exists(), "a program was started");
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn sec_n8_endpoints_of_the_environment_and_of_a_profile_are_not_asked() {
    with_namespace("env-endpoint", |context| async move {
        let elsewhere = Answering::with("<ListBucketResult/>".to_owned()).await;
        let root = context.stand.s3.root();
        let file = format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\nendpoint_url={e}\nservices=mine\n[services mine]\ns3 =\n  endpoint_url={e}\n",
            root.access, root.secret, e = elsewhere.endpoint
        );
        context.create::<Secret>(json!({"metadata": {"name": "keys"}, "stringData": {"cloud": file}})).await;
        // One location with an endpoint of its own, and one without, which means AWS.
        let aws = context.location("aws", "aws").spec("config", json!({"region": "eu-west-1"}));
        context.create_velero(aws.spec("credential", json!({"name": "keys", "key": "cloud"}))).await;
        context.allow_secrets(&["keys"]).await;
        let mut operator = Operator::of(&context);
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "AWS_S3_ENDPOINT"] {
            operator = operator.env(name, &elsewhere.endpoint);
        }
        let operator = operator.ready().await;
        context.debug_bundle("here", json!({})).await;
        assert!(ended(&context, "here").await.stored());
        context.debug_bundle("aws", json!({"storageLocation": "aws"})).await;
        let waits = waiting(&context, "aws").await;
        let (_, message) = waits.condition("Uploaded");
        assert!(message.contains("amazonaws.com") || !message.contains(&elsewhere.endpoint), "{message}");
        assert_eq!(elsewhere.seen().len(), 0, "{message}");
        drop(operator);
    })
    .await;
}
