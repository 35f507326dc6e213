//! A store from which the target's files could not be read: nothing is sealed before the store answers or the time is
//! over, and the cause is published at once. Also absent files that are no fault of a bundle.

use std::time::Duration;

use debugbundle_crd::{DebugBundle, Phase};
use harness::bundle::spec_about;
use harness::s3_proxy::{S3Proxy, Seen};
use harness::velero_objects::{backup, restore};
use harness::{Context, LogScript, Operator, pod, with_namespace};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::bundles::{
    LIMIT, about_r1, delete, get, keys, server_pod, spool_is_empty, status, until_event, until_event_with, until_gone,
    until_is,
};
use crate::support::store::{End, cloud, ended, write_secret, write_secret_key};

const FIRST_CAUSE: &str = "error getting backup store: rpc error: no route to the store";
const RESULTS: &str =
    r#"{"errors":{"namespaces":{"shop":["error restoring pods/shop/till: no such class"]}},"warnings":{}}"#;

/// A Restore that failed because the store of the location `default` is away, as it is for the operator. A location
/// `good` works.
async fn failed_restore(context: &Context) -> S3Proxy {
    let now = Timestamp::now();
    context.create_velero(backup("seed").completed().started(now).ended(now)).await;
    let failed = restore("r1").of_backup("seed").partially_failed().started(now).ended(now);
    context.create_velero(failed.status("failureReason", FIRST_CAUSE).status("errors", 1)).await;
    let proxy = S3Proxy::before(&context.stand.s3.endpoint()).await;
    proxy.down(true);
    let through = json!({"spec": {"config": {"s3Url": proxy.endpoint()}}});
    context.patch_velero("BackupStorageLocation", "default", through).await;
    context.create_velero(context.location("good", "good")).await;
    proxy
}

async fn files_of_r1(context: &Context) {
    let log = "time=\"2026-01-01T00:00:00Z\" level=info msg=\"written while the store was there\"\n";
    context.bucket.put_gzipped("team-a/restores/r1/restore-r1-logs.gz", log).await;
    context.bucket.put_gzipped("team-a/restores/r1/restore-r1-results.gz", RESULTS).await;
}

/// Waits until the bundle reports that it waits before it is sealed.
async fn unsealed(context: &Context, name: &str) -> End {
    let such = |bundle: &DebugBundle| status(bundle).upload.is_some_and(|upload| upload.last_error.is_some());
    End { bundle: until_is(context, name, "waits unsealed", LIMIT, such).await }
}

/// Creates a DebugBundle as the operator does by itself.
async fn automatic(context: &Context, name: &str, spec: Value) {
    let labels = json!({"debugbundle.io/trigger": "Failed"});
    let bundle = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundle",
        "metadata": {"name": name, "labels": labels}, "spec": spec});
    context.create::<DebugBundle>(bundle).await;
}

fn to_good(mut spec: Value) -> Value {
    spec["storageLocation"] = "good".into();
    spec
}

#[tokio::test]
async fn a_restore_whose_store_is_away_is_explained_at_once_and_gets_its_files_when_the_store_is_back() {
    with_namespace("away", |context| async move {
        let proxy = failed_restore(&context).await;
        files_of_r1(&context).await;
        let node = server_pod(&context, LogScript::lines(["all is well"])).await;
        let operator = Operator::of(&context).args(["--max-concurrent", "1", "--spool-limit-mib", "64"]).ready().await;
        context.debug_bundle("b", about_r1()).await;
        let waits = unsealed(&context, "b").await;
        assert_eq!(waits.status().phase, Some(Phase::Collecting));
        assert_eq!(waits.status().cause.as_deref(), Some(FIRST_CAUSE), "before anything is sealed");
        assert!(waits.status().findings.iter().any(|finding| finding.title == FIRST_CAUSE), "{waits:?}");
        let (reason, message) = waits.condition("Collected");
        assert_eq!(reason, "StoreUnreachable", "{message}");
        let told = "; Velero's files could not be read: the operator keeps the collected evidence in its spool and \
                    tries the store until 20";
        assert!(message.contains("the store is unreachable: ") && message.contains(told), "{message}");
        assert_eq!(waits.condition("Ready"), ("Collecting", message), "kubectl get -o wide tells it");
        assert!(until_event(&context, "b", "StoreUnreachable").await.contains(told));
        assert_eq!(waits.status().bundle, None, "nothing is sealed");

        // One bundle is collected at a time, and the waiting bundle does not prevent the next collection.
        context.debug_bundle("next", to_good(json!({}))).await;
        assert!(ended(&context, "next").await.stored());
        assert_eq!(get(&context, "b").await.map(|bundle| status(&bundle).phase), Some(Some(Phase::Collecting)));

        proxy.down(false);
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        assert_eq!(end.status().attempts, Some(1), "it was collected once");
        assert!(end.status().cause.as_ref().is_some_and(|cause| cause.contains("no route")), "{end:?}");
        let bundle = context.download(end.status()).await;
        assert!(bundle.file("velero/restores/r1/restore.log").contains("written while the store was there"));
        assert_eq!(bundle.file("velero/restores/r1/results.json").trim(), RESULTS);
        assert!(bundle.file("velero/restores/r1/describe.txt").contains("no such class"), "described after that");
        let findings = bundle.file("analysis/diagnosis.json");
        assert!(findings.contains("no such class"), "explained again: {findings}");
        let missing = bundle.manifest["missing"].as_array().expect("a list");
        assert!(missing.iter().all(|lost| lost["code"] != "StoreUnreachable"), "{missing:#?}");
        let reads = context.stand.kubelet.seen(&node).iter().filter(|seen| seen.container == "velero").count();
        assert_eq!(reads, 2, "once for each bundle");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_secret_or_key_that_is_missing_for_a_moment_is_waited_for_like_a_store_that_is_away() {
    with_namespace("away-secret", |context| async move {
        let proxy = failed_restore(&context).await;
        proxy.down(false);
        files_of_r1(&context).await;
        context.allow_secrets(&["late"]).await;
        let late = json!({"spec": {"credential": {"name": "late", "key": "cloud"}}});
        context.patch_velero("BackupStorageLocation", "default", late).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", about_r1()).await;
        let waits = unsealed(&context, "b").await;
        assert_eq!(waits.status().phase, Some(Phase::Collecting));
        assert_eq!(waits.status().cause.as_deref(), Some(FIRST_CAUSE), "before anything is sealed");
        let (reason, message) = waits.condition("Collected");
        let expected = "credential: BackupStorageLocation \"default\": Secret \"late\" not found; Velero's files could \
                        not be read: the operator keeps the collected evidence in its spool";
        assert!(reason == "CredentialInvalid" && message.starts_with(expected), "{reason} {message}");
        assert_eq!(waits.status().bundle, None, "nothing is sealed");

        write_secret_key(&context, "late", "other", "not yet").await;
        let without_its_key = |bundle: &DebugBundle| {
            let message = End { bundle: bundle.clone() }.message_of("Collected").to_owned();
            message.contains("Secret \"late\" has no key \"cloud\" (keys: other)")
        };
        until_is(&context, "b", "waits for the key", LIMIT, without_its_key).await;

        let root = context.stand.s3.root();
        write_secret(&context, "late", &cloud(&root.access, &root.secret)).await;
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        assert_eq!(end.status().attempts, Some(1), "it was collected once");
        let bundle = context.download(end.status()).await;
        assert_eq!(bundle.file("velero/restores/r1/results.json").trim(), RESULTS);
        assert_eq!(bundle.find(&[root.secret.as_str()]), Vec::<String>::new(), "the late key is masked");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_ends_the_bundle_at_once_and_the_rule_is_named() {
    with_namespace("secret-403", |context| async move {
        let proxy = failed_restore(&context).await;
        proxy.down(false);
        files_of_r1(&context).await;
        let root = context.stand.s3.root();
        write_secret(&context, "hidden", &cloud(&root.access, &root.secret)).await;
        let location = context.location("hidden", "hidden");
        context.create_velero(location.changed(|spec| spec["credential"]["name"] = "hidden".into())).await;
        let node = server_pod(&context, LogScript::lines(["all is well"])).await;
        let operator = Operator::of(&context).ready().await;
        let mut spec = about_r1();
        spec["storageLocation"] = "hidden".into();
        context.debug_bundle("asked", spec.clone()).await;
        let end = ended(&context, "asked").await;
        let expected = "credential: BackupStorageLocation \"hidden\": the operator may not get Secret \"hidden\": add \
                        this name to resourceNames of rule R7 of its Role";
        assert_eq!(end.failure(), ("SecretForbidden", format!("{expected}; nothing was collected").as_str()));
        assert_eq!(context.stand.kubelet.seen(&node).len(), 0, "nothing was collected");

        automatic(&context, "auto", spec).await;
        let end = ended(&context, "auto").await;
        let (reason, message) = end.failure();
        assert!(reason == "SecretForbidden" && message.starts_with(expected), "{reason} {message}");
        assert!(message.contains("; nothing was uploaded; cause: "), "{message}");
        assert_eq!(end.status().cause.as_deref(), Some(FIRST_CAUSE));
        assert_eq!(keys(&context).await, [""; 0]);
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn at_the_deadline_a_bundle_is_sealed_without_veleros_files_and_a_restart_gives_no_more_time() {
    with_namespace("away-for-good", |context| async move {
        let _proxy = failed_restore(&context).await;
        let mut operator = Operator::of(&context).args(["--upload-timeout-minutes", "1"]).ready().await;
        context.debug_bundle("b", to_good(about_r1())).await;
        let first = unsealed(&context, "b").await;
        let began = |end: &End| end.status().upload.as_ref().and_then(|upload| upload.started.clone());
        operator.restart().await;
        let again = |bundle: &DebugBundle| status(bundle).attempts == Some(2);
        let again = End { bundle: until_is(&context, "b", "is collected anew", LIMIT, again).await };
        assert!(began(&first).is_some());
        assert_eq!(began(&again), began(&first));

        let end = ended(&context, "b").await;
        assert_eq!(end.status().phase, Some(Phase::PartiallyFailed), "{end:?}");
        let took = Timestamp::now().duration_since(began(&first).expect("a time").0).as_secs();
        assert!((60..100).contains(&took), "after {took} s");
        let bundle = context.download(end.status()).await;
        let missing = bundle.manifest["missing"].as_array().expect("a list");
        let log = missing.iter().find(|lost| lost["path"] == "velero/restores/r1/restore.log").expect("it is missing");
        assert_eq!((&log["code"], &log["severity"]), (&json!("StoreUnreachable"), &json!("error")), "{log}");
        spool_is_empty(&operator).await;
    })
    .await;
}

/// Waits until DebugBundle `b` is stored with the results of Restore `r1`, and nothing is left in the spool.
async fn is_stored_with_files(context: &Context, operator: &Operator) {
    let end = ended(context, "b").await;
    assert!(end.stored(), "{end:?}");
    let bundle = context.download(end.status()).await;
    assert_eq!(bundle.file("velero/restores/r1/results.json").trim(), RESULTS);
    spool_is_empty(operator).await;
}

#[tokio::test]
async fn issue_32_while_the_store_refuses_the_credential_nothing_is_sealed_and_after_the_rotation_the_files_are_there()
{
    with_namespace("away-rotated", |context| async move {
        failed_restore(&context).await.down(false);
        files_of_r1(&context).await;
        let root = context.stand.s3.root();
        write_secret(&context, "rotated", &cloud(&root.access, "the-key-of-yesterday")).await;
        let spec = json!({"credential": {"name": "rotated", "key": "cloud"}, "config": {"s3Url": context.stand.s3.endpoint()}});
        context.patch_velero("BackupStorageLocation", "default", json!({"spec": spec})).await;
        context.allow_secrets(&["rotated"]).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", about_r1()).await;
        let waits = unsealed(&context, "b").await;
        assert_eq!(waits.status().phase, Some(Phase::Collecting), "{waits:?}");
        assert_eq!(waits.status().cause.as_deref(), Some(FIRST_CAUSE));
        write_secret(&context, "rotated", &cloud(&root.access, "another-wrong-key")).await;
        tokio::time::sleep(Duration::from_secs(7)).await;
        let still = status(&get(&context, "b").await.expect("it is there"));
        assert_eq!(still.phase, Some(Phase::Collecting), "another wrong key changes nothing: {still:?}");
        write_secret(&context, "rotated", &cloud(&root.access, &root.secret)).await;
        is_stored_with_files(&context, &operator).await;
    })
    .await;
}

#[tokio::test]
async fn issue_32_keys_that_are_missing_for_a_moment_in_the_servers_env_from_are_waited_for() {
    with_namespace("away-env-from", |context| async move {
        failed_restore(&context).await.down(false);
        files_of_r1(&context).await;
        let write = async |keys: Value| {
            let secrets = context.api::<Secret>();
            secrets
                .patch("keys", &PatchParams::default(), &Patch::Merge(json!({"stringData": keys})))
                .await
                .expect("kept");
        };
        context.create::<Secret>(json!({"metadata": {"name": "keys"}, "stringData": {"other": "x"}})).await;
        context.allow_secrets(&["keys"]).await;
        let container = json!({"name": "velero", "image": "velero/velero:v1.18.0",
            "envFrom": [{"secretRef": {"name": "keys"}}]});
        let bare = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let deployments = context.api::<Deployment>();
        deployments.patch("velero", &PatchParams::default(), &Patch::Merge(bare)).await.expect("patched");
        let spec = json!({"credential": null, "config": {"s3Url": context.stand.s3.endpoint()}});
        context.patch_velero("BackupStorageLocation", "default", json!({"spec": spec})).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", about_r1()).await;
        let until_waits_for = async |missing: &str| {
            let said = format!("the Secrets in the Velero server's envFrom (keys) have no value for {missing}; ");
            let such = |bundle: &DebugBundle| {
                let status = status(bundle);
                let error = status.upload.and_then(|upload| upload.last_error).map(|error| format!("{error:?}"));
                status.phase == Some(Phase::Collecting) && error.is_some_and(|error| error.contains(&said))
            };
            until_is(&context, "b", "waits unsealed", LIMIT, such).await;
        };
        until_waits_for("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY").await;
        let root = context.stand.s3.root();
        write(json!({"AWS_ACCESS_KEY_ID": root.access, "AWS_SECRET_ACCESS_KEY": ""})).await;
        until_waits_for("AWS_SECRET_ACCESS_KEY").await;
        write(json!({"AWS_SECRET_ACCESS_KEY": root.secret})).await;
        is_stored_with_files(&context, &operator).await;
    })
    .await;
}

#[tokio::test]
async fn issue_32_a_secret_that_is_missing_and_then_wrong_is_waited_for_and_each_state_has_its_event() {
    with_namespace("away-typo", |context| async move {
        failed_restore(&context).await.down(false);
        let direct = json!({"spec": {"config": {"s3Url": context.stand.s3.endpoint()}}});
        context.patch_velero("BackupStorageLocation", "default", direct).await;
        files_of_r1(&context).await;
        let secrets = context.api::<Secret>();
        let good = secrets.get("cloud-credentials").await.expect("it is there").data;
        secrets.delete("cloud-credentials", &DeleteParams::default()).await.expect("deleted");
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", about_r1()).await;
        until_event_with(&context, "b", "CredentialInvalid", "\"cloud-credentials\" not found").await;
        let file = |names: [&str; 2]| format!("[default]\n{}=AKIDWRONGWRONG\n{}=wrongwrongwrong\n", names[0], names[1]);
        let secret = |file: String| json!({"metadata": {"name": "cloud-credentials"}, "stringData": {"cloud": file}});
        context.create::<Secret>(secret(file(["aws_access_key_id", "aws_secret_access_key"]))).await;
        until_event_with(&context, "b", "CredentialInvalid", "does not accept the credential").await;
        let write = async |secret: Value| {
            secrets.patch("cloud-credentials", &PatchParams::default(), &Patch::Merge(secret)).await.expect("kept");
        };
        // A typo in the name of a field.
        write(secret(file(["aws_acces_key_id", "aws_secret_access_key"]))).await;
        let typo = |bundle: &DebugBundle| {
            let error = status(bundle).upload.and_then(|upload| upload.last_error);
            status(bundle).phase == Some(Phase::Collecting)
                && error.is_some_and(|error| error.contains("aws_access_key_id"))
        };
        until_is(&context, "b", "waits for the Secret to be mended", LIMIT, typo).await;
        write(json!({"data": good})).await;
        is_stored_with_files(&context, &operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_deletion_ends_the_wait_for_a_store_before_the_seal() {
    with_namespace("away-deleted", |context| async move {
        let proxy = failed_restore(&context).await;
        let operator = Operator::of(&context).args(["--delete-timeout-seconds", "1"]).ready().await;
        context.debug_bundle("b", about_r1()).await;
        unsealed(&context, "b").await;
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
        spool_is_empty(&operator).await;
        proxy.down(false);
        assert_eq!(keys(&context).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn killed_while_it_waits_unsealed_it_collects_again_and_reads_the_files() {
    with_namespace("away-kill", |context| async move {
        let proxy = failed_restore(&context).await;
        files_of_r1(&context).await;
        let mut operator = Operator::of(&context).crash_at("unsealed").ready().await;
        context.debug_bundle("b", about_r1()).await;
        assert_eq!(operator.wait_exit(LIMIT).await, 137);
        let left = status(&get(&context, "b").await.expect("it is there"));
        assert_eq!((left.phase, left.cause.as_deref()), (Some(Phase::Collecting), Some(FIRST_CAUSE)));
        operator.restart().await;
        let again = |bundle: &DebugBundle| status(bundle).attempts == Some(2);
        until_is(&context, "b", "is collected anew", LIMIT, again).await;
        proxy.down(false);
        let end = ended(&context, "b").await;
        assert!(end.stored(), "{end:?}");
        let bundle = context.download(end.status()).await;
        assert_eq!(bundle.file("velero/restores/r1/results.json").trim(), RESULTS);
        assert_eq!(keys(&context).await.len(), 1);
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_bundle_that_nobody_asked_for_is_explained_and_not_sent_to_a_read_only_location() {
    with_namespace("read-only-auto", |context| async move {
        let proxy = failed_restore(&context).await;
        proxy.down(false);
        files_of_r1(&context).await;
        let read_only = json!({"spec": {"accessMode": "ReadOnly"}});
        context.patch_velero("BackupStorageLocation", "default", read_only).await;
        context.create_velero(context.location("down", "down").phase("Unavailable")).await;
        context.patch_velero("BackupStorageLocation", "good", json!({"status": {"phase": "Available"}})).await;
        let operator = Operator::of(&context).ready().await;
        automatic(&context, "auto", about_r1()).await;
        let end = ended(&context, "auto").await;
        let expected = format!(
            "BackupStorageLocation \"default\" is ReadOnly; set spec.template.storageLocation of the DebugBundlePolicy to \
             one of: good; nothing was uploaded; cause: {FIRST_CAUSE}"
        );
        assert_eq!(end.failure(), ("LocationReadOnly", expected.as_str()));
        assert_eq!(end.status().cause.as_deref(), Some(FIRST_CAUSE));
        let from_files = |end: &End| end.status().findings.iter().any(|one| one.title.contains("no such class"));
        assert!(from_files(&end), "a ReadOnly location is read: {:?}", end.status().findings);
        assert_eq!(until_event(&context, "auto", "LocationReadOnly").await, expected);
        let writes = |seen: &&Seen| !["GET", "HEAD"].contains(&seen.method.as_str());
        assert_eq!(keys(&context).await, [""; 0]);
        assert_eq!(proxy.seen().iter().filter(writes).count(), 0, "{:?}", proxy.seen());
        spool_is_empty(&operator).await;

        automatic(&context, "named", to_good(about_r1())).await;
        let end = ended(&context, "named").await;
        assert!(end.stored(), "{end:?}");
        assert_eq!(end.status().bundle.as_ref().map(|bundle| bundle.storage_location.as_str()), Some("good"));
        let bundle = context.download(end.status()).await;
        assert_eq!(bundle.manifest["bundle"]["origin"], "Automatic");
        assert_eq!(keys(&context).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn while_the_store_is_away_the_cause_is_on_the_restore_already() {
    with_namespace("away-event", |context| async move {
        let now = Timestamp::now();
        context.create_velero(backup("seed").completed().started(now).ended(now)).await;
        files_of_r1(&context).await;
        server_pod(&context, LogScript::lines(["all is well"])).await;
        let proxy = S3Proxy::before(&context.stand.s3.endpoint()).await;
        proxy.down(true);
        let through = json!({"spec": {"config": {"s3Url": proxy.endpoint()}}});
        context.patch_velero("BackupStorageLocation", "default", through).await;
        let _operator = Operator::of(&context).automatic().ready().await;
        context.create_velero(restore("r1").of_backup("seed").in_progress().started(Timestamp::now())).await;
        context.patch_velero("Restore", "r1", json!({"status": {"failureReason": FIRST_CAUSE, "errors": 1}})).await;
        context.end_velero("Restore", "r1", "PartiallyFailed").await;
        let note = until_event(&context, "r1", "Explained").await;
        assert!(note.contains(FIRST_CAUSE) && note.contains("not stored yet"), "{note}");

        // Each later text is an Event of its own: kube's recorder would only count the first one's.
        proxy.down(false);
        until_event_with(&context, "r1", "Explained", " stored in ").await;
    })
    .await;
}

#[tokio::test]
async fn a_crash_loop_and_a_target_that_velero_refused_are_no_fault_of_the_bundle() {
    with_namespace("no-fault", |context| async move {
        let _proxy = failed_restore(&context).await;
        let why = json!(["an existing backup storage location wasn't specified"]);
        context.create_velero(backup("b1").phase("FailedValidation").status("validationErrors", why)).await;
        let node = context.node("n").await;
        let crashing = pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero");
        context
            .pod(crashing.restarted(7).waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container"))
            .await;
        context.log("velero-1", "velero", LogScript::lines(["panic: out of luck"]));
        let removed = "unable to retrieve container logs for containerd://0123456789abcdef";
        context.previous_log("velero-1", "velero", LogScript::body(removed));
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", to_good(spec_about("Backup", "b1"))).await;
        let end = ended(&context, "b").await;
        let bundle = context.download(end.status()).await;
        let missing = bundle.manifest["missing"].as_array().expect("a list");
        assert_eq!(end.status().phase, Some(Phase::Completed), "{missing:#?}");
        let code = |path: &str| {
            let lost =
                missing.iter().find(|lost| lost["path"] == path).unwrap_or_else(|| panic!("{path}: {missing:#?}"));
            (lost["code"].clone(), lost["severity"].clone())
        };
        assert_eq!(code("velero/backups/b1/backup.log"), (json!("NeverWritten"), json!("note")));
        assert_eq!(code("velero/backups/b1/results.json"), (json!("NeverWritten"), json!("note")));
        let previous = format!("namespaces/{}/pods/velero-1/velero/velero/logs/previous.log", context.namespace);
        assert_eq!(code(&previous), (json!("NoPrevious"), json!("note")));
        drop(operator);
    })
    .await;
}
