//! Where a location's credential comes from, on a real API server: its own Secret, the Velero server's, or the pod's
//! identity.

use debugbundle_crd::Reason;
use debugbundle_operator::{
    location::{EndpointPolicy, Location, LocationError},
    store::{self, Options, Resolved, s3::Credential},
};
use harness::velero_objects::backup;
use harness::{
    Context, Operator,
    s3::Keys,
    s3_proxy::{Answering, S3Proxy},
    with_namespace,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use serde_json::{Value, json};

use crate::support::{
    bundles::events,
    store::{TestBucket, access, ended, key, open},
};

fn file(keys: &Keys) -> String {
    format!("[default]\naws_access_key_id={}\naws_secret_access_key={}\n", keys.access, keys.secret)
}

/// Resolves a location with these changes to its spec; `server` is the pod template's spec of Velero's Deployment.
async fn resolve(context: &Context, spec: Value, server: Option<Value>) -> Result<Resolved, LocationError> {
    let object = context.location("offsite", "p").merged(&spec).manifest();
    let location = Location::parse(&object).expect("a location");
    let deployment = server.map(|pod| json!({"spec": {"template": {"spec": pod}}}));
    let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
    store::resolve(&context.client, &context.namespace, &location, deployment.as_ref(), policy).await
}

/// The access key id of the resolved keys, after the store has accepted them.
async fn works_as(resolved: Result<Resolved, LocationError>) -> String {
    let mut resolved = resolved.unwrap_or_else(|error| panic!("{error}"));
    let store = open(&resolved, Options::default()).await;
    assert_eq!(store.head(&key()).await.expect("the keys are good"), None);
    let Credential::Keys { access_key_id, .. } = &access(&mut resolved).credential else { panic!("no keys") };
    access_key_id.clone()
}

#[tokio::test]
async fn sec_c2_c4_c8_d8_a_secret_that_is_named_is_the_credential_or_an_error_and_never_another_identity() {
    with_namespace("credential", |context| async move {
        let root = context.stand.s3.root();
        let other = context.stand.s3.create_user(&format!("{}-ops", context.namespace)).await;
        context.bucket.allow(&other, &["s3:GetObject", "s3:ListBucket"]).await;
        let with = |line: &str| format!("{}{line}\n", file(root));
        context
            .create::<Secret>(json!({
                "metadata": {"name": "keys"},
                "data": {"binary": "//79"},
                "stringData": {
                    "good": format!("{}[ops]\n{}", file(root), file(&other).replace("[default]\n", "")),
                    "empty": "", "json": "{\"type\": \"service_account\", \"private_key\": \"hunter2\"}",
                    "half": "[default]\naws_access_key_id=AK\n",
                    "process": with("credential_process = /bin/hunter2"), "sso": with("sso_start_url = hunter2"),
                    "source": with("source_profile = hunter2"), "role": "[default]\nrole_arn = hunter2\n",
                    "token": "[default]\nrole_arn = r\nweb_identity_token_file = /etc/hunter2\n",
                    "huge": "#".repeat(70_000),
                },
            }))
            .await;
        let server = context.api::<Deployment>().get("velero").await.expect("as installed");
        let server = serde_json::to_value(server).expect("JSON")["spec"]["template"]["spec"].take();
        let from = |name: &str, key: &str, config: Value| {
            let spec = json!({"credential": {"name": name, "key": key}, "config": config});
            resolve(&context, spec, Some(server.clone()))
        };
        assert_eq!(works_as(from("keys", "good", json!({})).await).await, root.access);
        assert_eq!(works_as(from("keys", "good", json!({"profile": "ops"})).await).await, other.access);
        let names = "binary, empty, good, half, huge, json, process, role, source, sso and 1 more";
        for (name, key, config, expected) in [
            ("gone", "cloud", json!({}), "Secret \"gone\" not found".to_owned()),
            ("keys", "none", json!({}), format!("Secret \"keys\" has no key \"none\" (keys: {names})")),
            ("keys", "binary", json!({}), "Secret \"keys\" key \"binary\" is not text".to_owned()),
            ("keys", "empty", json!({}), "Secret \"keys\" key \"empty\" is empty".to_owned()),
            ("keys", "json", json!({}), "Secret keys/json is not a credentials file: it has no [profile] section".to_owned()),
            ("keys", "huge", json!({}), "Secret keys/huge is not a credentials file: it has more than 65536 bytes".to_owned()),
            ("keys", "half", json!({}), "profile \"default\" in Secret keys/half has no \"aws_secret_access_key\"".to_owned()),
            (
                "keys",
                "good",
                json!({"profile": "none"}),
                "profile \"none\" not found in Secret keys/good (profiles: default, ops)".to_owned(),
            ),
            (
                "keys",
                "process",
                json!({}),
                "profile \"default\" in Secret keys/process: \"credential_process\" is not supported for safety".to_owned(),
            ),
            (
                "keys",
                "sso",
                json!({}),
                "profile \"default\" in Secret keys/sso: \"sso_start_url\" is not supported for safety".to_owned(),
            ),
            (
                "keys",
                "source",
                json!({}),
                "profile \"default\" in Secret keys/source: \"source_profile\" is not supported for safety".to_owned(),
            ),
            (
                "keys",
                "role",
                json!({}),
                "profile \"default\" in Secret keys/role: \"role_arn\" is supported only with \"web_identity_token_file\"".to_owned(),
            ),
            (
                "keys",
                "token",
                json!({}),
                "profile \"default\" in Secret keys/token: \"web_identity_token_file\" must be /var/run/secrets/eks.amazonaws.com/serviceaccount/token".to_owned(),
            ),
        ] {
            let error = from(name, key, config).await.expect_err(&expected);
            assert_eq!(error.to_string(), format!("BackupStorageLocation \"offsite\": {expected}"));
            assert_eq!(error.reason(), Reason::CredentialInvalid);
            assert!(!error.to_string().contains("hunter2"));
        }
    })
    .await;
}

#[tokio::test]
async fn sec_d8_a_location_without_a_secret_has_the_velero_server_s_however_it_is_given() {
    with_namespace("server-keys", |context| async move {
        let root = context.stand.s3.root();
        context
            .create::<Secret>(json!({
                "metadata": {"name": "keys"},
                "stringData": {
                    "deep": file(root), "id": root.access, "secret": root.secret,
                    "AWS_ACCESS_KEY_ID": root.access, "AWS_SECRET_ACCESS_KEY": root.secret,
                },
            }))
            .await;
        let none = json!({"credential": null});
        let installed = context.api::<Deployment>().get("velero").await.expect("as installed");
        let installed = serde_json::to_value(installed).expect("JSON")["spec"]["template"]["spec"].take();
        let env = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "keys", "key": key}}});
        let items = json!([{"name": "v", "secret": {"secretName": "keys", "items": [{"key": "deep", "path": "aws/cloud"}]}}]);
        let mounts = json!([{"name": "v", "mountPath": "/c"}]);
        for (what, spec, server) in [
            ("as velero install leaves it", none.clone(), installed),
            (
                "a mount with items",
                none.clone(),
                json!({
                    "containers": [{"name": "velero", "volumeMounts": mounts, "env": [{"name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/c/aws/cloud"}]}],
                    "volumes": items,
                }),
            ),
            (
                "config key credentialsFile",
                json!({"credential": null, "config": {"credentialsFile": "/c/aws/cloud"}}),
                json!({"containers": [{"name": "velero", "volumeMounts": mounts}], "volumes": items}),
            ),
            (
                "variables one by one",
                none.clone(),
                json!({"containers": [{"name": "velero", "env": [env("AWS_ACCESS_KEY_ID", "id"), env("AWS_SECRET_ACCESS_KEY", "secret")]}]}),
            ),
            (
                "a Secret as variables",
                none.clone(),
                json!({"containers": [{"name": "velero", "envFrom": [{"configMapRef": {"name": "x"}}, {"secretRef": {"name": "keys"}}]}]}),
            ),
        ] {
            assert_eq!(works_as(resolve(&context, spec, Some(server)).await).await, root.access, "{what}");
        }
        let path = json!({"containers": [{"name": "velero", "env": [{"name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/c/cloud"}]}]});
        let half = json!({"containers": [{"name": "velero", "envFrom": [{"secretRef": {"name": "keys"}, "prefix": "X_"}]}]});
        let gone = json!({"containers": [{"name": "velero", "envFrom": [{"secretRef": {"name": "gone"}}]}]});
        for (server, expected) in [
            (Some(path), "AWS_SHARED_CREDENTIALS_FILE is \"/c/cloud\", a path in the Velero server's pod where no Secret is mounted; set spec.credential to a key of a Secret"),
            (Some(gone), "Secret \"gone\" not found"),
            (Some(half), "no credential found: spec.credential is not set, Velero's Deployment names no Secret with keys, and the operator's own pod has no identity"),
            (None, "no credential found: spec.credential is not set"),
        ] {
            let error = resolve(&context, none.clone(), server).await.expect_err(expected);
            assert_eq!(error.reason(), Reason::CredentialInvalid);
            assert!(error.to_string().contains(expected), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_temporary_credential_sends_its_token() {
    let mut place = TestBucket::new().await;
    let proxy = S3Proxy::before(&place.endpoint).await;
    place.endpoint = proxy.endpoint();
    let mut resolved = place.resolved(&json!({}));
    access(&mut resolved).credential = Credential::Keys {
        access_key_id: place.keys.access.clone(),
        secret_access_key: debugbundle_redact::Secret::new(&*place.keys.secret),
        session_token: Some(debugbundle_redact::Secret::new("token-of-a-session")),
    };
    let store = open(&resolved, Options::default()).await;
    // The stand's store knows no temporary credentials and refuses them.
    store.head(&key()).await.expect_err("refused");
    assert_eq!(proxy.seen()[0].header("x-amz-security-token"), "token-of-a-session");
    assert!(proxy.seen()[0].header("authorization").contains("x-amz-security-token"), "it is signed");
}

/// An identity endpoint that returns the stand's own keys, valid until `end`.
async fn identity_until(context: &Context, end: jiff::Timestamp) -> Answering {
    let root = context.stand.s3.root();
    // The stand's store knows no temporary credentials: an empty token stands for one.
    let keys = json!({
        "AccessKeyId": root.access, "SecretAccessKey": root.secret, "Token": "", "Expiration": end.to_string(),
    });
    Answering::with(keys.to_string()).await
}

/// A server without a mounted Secret, and a location without a credential: only the pod's identity remains.
async fn ambient(context: &Context) {
    let params = kube::api::PatchParams::default();
    let bare =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "velero", "image": "velero/velero:v1.18.3"}]}}}});
    context.api::<Deployment>().patch("velero", &params, &kube::api::Patch::Merge(bare)).await.expect("patched");
    context.create_velero(context.location("ambient", "ambient").spec("credential", Value::Null)).await;
}

#[tokio::test]
async fn sec_u13_a_credential_that_cannot_sign_costs_the_url_and_not_the_bundle() {
    with_namespace("cannot-sign", |context| async move {
        // The credential ends within the minute by which a URL must end before its credential.
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(59);
        let identity = identity_until(&context, end).await;
        ambient(&context).await;
        let operator = Operator::of(&context)
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", identity.endpoint))
            // Requests for the identity bypass the proxy and the environment's endpoints.
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .ready()
            .await;
        context.debug_bundle("b", json!({"storageLocation": "ambient"})).await;
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        let (reason, message) = end.condition("DownloadReady");
        assert_eq!(reason, "SigningUnsupported", "{message}");
        let stored = end.status().bundle.as_ref().expect("it is stored");
        let place = format!("the bundle is in bucket {} at {}", context.bucket.name, stored.key);
        assert!(message.contains(&place) && end.status().download_url.is_none(), "{message}");
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn sec_x28_the_keys_that_the_pod_s_own_identity_got_are_masked_wherever_they_stand() {
    with_namespace("known-identity", |context| async move {
        let in_an_hour = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let identity = identity_until(&context, in_an_hour).await;
        ambient(&context).await;
        // The key has neither a label nor a known shape, as in a store's error sentence.
        let secret = &context.stand.s3.root().secret;
        let message = format!("the store says: {secret} is not what it was");
        context.create_velero(backup("b1").in_location("ambient").status("failureReason", message)).await;
        let operator = Operator::of(&context)
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", identity.endpoint))
            .ready()
            .await;
        context
            .debug_bundle("b", json!({"target": {"kind": "Backup", "name": "b1"}, "storageLocation": "ambient"}))
            .await;
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        let stored = &end.status().bundle.as_ref().expect("it is stored").key;
        // Read directly: the stand's store refuses a URL with an empty token.
        let archive = context.bucket.get(stored).await.expect("the object is there");
        let bundle = harness::bundle::Unpacked::of(archive, end.status());
        assert_eq!(bundle.find(&[secret.as_str()]), Vec::<String>::new());
        let masked =
            bundle.paths().filter(|path| bundle.file(path).contains("the store says: [REDACTED:known-secret-key:"));
        assert!(masked.count() > 0, "the message is there, without the key: {:?}", bundle.order());
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn sec_c2_n6_the_pod_s_own_identity_serves_a_location_that_nobody_gave_a_secret() {
    with_namespace("pod-identity", |context| async move {
        let in_an_hour = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let identity = identity_until(&context, in_an_hour).await;
        let token = context.folder("identity").join("token");
        std::fs::write(&token, "projected-token").expect("written");
        ambient(&context).await;

        context.allow_secrets(&["gone"]).await;
        let operator = Operator::of(&context)
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", identity.endpoint))
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
            .ready()
            .await;
        context.debug_bundle("by-identity", json!({"storageLocation": "ambient"})).await;
        let end = ended(&context, "by-identity").await;
        assert!(end.stored(), "{end:?}");
        assert_eq!(identity.seen()[0].path, "/v1/credentials");
        assert_eq!(identity.seen()[0].header("authorization"), "projected-token");
        // The signing credential ends in an hour, and the URL with it.
        assert!(end.message_of("DownloadReady").contains("when the credential that signed it expires"), "{end:?}");

        // A location with a Secret never gets that identity, even when the Secret is gone.
        let named = context.location("named", "named");
        context.create_velero(named.spec("credential", json!({"name": "gone", "key": "cloud"}))).await;
        // A bundle of the installation checks every location; the ambient one would request the identity itself.
        context
            .velero_api("BackupStorageLocation")
            .delete("ambient", &kube::api::DeleteParams::default())
            .await
            .expect("deleted");
        let before = identity.seen().len();
        context.debug_bundle("by-secret", json!({"storageLocation": "named"})).await;
        let waits = crate::support::store::waiting(&context, "by-secret").await;
        let (reason, message) = waits.condition("Uploaded");
        let expected = "credential: BackupStorageLocation \"named\": Secret \"gone\" not found; ";
        assert!(reason == "CredentialInvalid" && message.starts_with(expected), "{reason} {message}");
        assert_eq!(identity.seen().len(), before);
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn issue_35_what_was_assumed_of_a_server_of_unknown_version_stands_in_the_condition_and_in_the_event() {
    with_namespace("assumed-version", |context| async move {
        let image =
            |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "velero", "image": image}]}}}});
        let server = context.api::<Deployment>();
        let params = kube::api::PatchParams::default();
        let set = async |name: &str| {
            server.patch("velero", &params, &kube::api::Patch::Strategic(image(name))).await.expect("patched");
        };
        set("velero/velero@sha256:0000000000000000000000000000000000000000000000000000000000000000").await;
        let file = context.location("by-file", "by-file").config("credentialsFile", "/credentials/cloud");
        context.create_velero(file.spec("credential", Value::Null)).await;
        let bad = context.location("gone", "gone").config("credentialsFile", "/nowhere/cloud");
        context.create_velero(bad.spec("credential", Value::Null)).await;
        let _operator = Operator::of(&context).ready().await;

        let assumed =
            "; config key credentialsFile counts, as up to Velero 1.18, because the server's version is not known";
        context.debug_bundle("unknown", json!({"storageLocation": "by-file"})).await;
        let end = ended(&context, "unknown").await;
        assert!(end.stored() && end.message_of("Ready").contains(assumed), "{end:?}");
        let seen = events(&context, "unknown").await;
        assert!(seen.iter().any(|(_, note)| note.contains("stored in by-file") && note.contains(assumed)), "{seen:?}");
        context.debug_bundle("waits", json!({"storageLocation": "gone"})).await;
        let waits = crate::support::store::waiting(&context, "waits").await;
        let (_, why) = waits.condition("Uploaded");
        assert!(why.contains("\"/nowhere/cloud\"") && why.contains(assumed), "{why}");

        set("velero/velero:v1.18.3").await;
        context.debug_bundle("known", json!({"storageLocation": "by-file"})).await;
        let end = ended(&context, "known").await;
        assert!(end.stored() && !end.message_of("Ready").contains("credentialsFile"), "{end:?}");
    })
    .await;
}
