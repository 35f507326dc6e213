//! From a real Backup or Restore to its downloaded bundle, once for each way it can end: one Velero server, and one
//! operator with the shipped permissions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use debugbundle_crd::{DebugBundleStatus, Phase, UrlPolicy};
use harness::bundle::{Unpacked, spec_about};
use harness::context::PREFIX;
use harness::stand::Account;
use harness::velero_objects::velero_object;
use harness::{Context, LogScript, Operator, Velero, pod, until, with_namespace};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

/// The value of `X-Amz-Signature=` in a DownloadRequest.
const SIGNATURE: &str = "5c1a9e77b0d24f6e8a3340cafe0451deadbeef11235813213455891442333776";
/// A value in a Secret of Velero's namespace.
const PASSWORD: &str = "correct-horse-battery-staple";
/// A value in a last-applied-configuration.
const APPLIED: &str = "applied-canary-71c4";
/// The name of a field manager.
const MANAGER: &str = "harness";

/// The expected result of a journey.
struct Journey {
    name: &'static str,
    spec: Value,
    phase: Phase,
    /// A part of the cause; `None`: there is no cause.
    cause: Option<&'static str>,
    /// Files that must exist, below `velero/`.
    files: &'static [&'static str],
    /// Files that must be reported as never written, below `velero/`.
    never_written: &'static [&'static str],
}

fn about(kind: &str, name: &str) -> Value {
    spec_about(kind, name)
}

fn journeys() -> Vec<Journey> {
    let of_backup: &[&str] = &[
        "backups/r-ok-source/backup.log",
        "backups/r-ok-source/results.json",
        "backups/r-ok-source/itemoperations.json",
        "backups/r-ok-source/volumeinfo.json",
        "backups/r-ok-source/resource-list.json",
        "backups/r-ok-source/podvolumebackups.json",
        "backups/r-ok-source/volumesnapshots.json",
        "backups/r-ok-source/velero-backup.json",
    ];
    vec![
        Journey {
            name: "backup-completed",
            spec: about("Backup", "r-ok-source"),
            phase: Phase::Completed,
            cause: None,
            files: of_backup,
            never_written: &[],
        },
        Journey {
            name: "backup-partially-failed",
            spec: about("Backup", "b-partial"),
            phase: Phase::Completed,
            cause: Some("daemonset pod not found in running state in node"),
            files: &["backups/b-partial/backup.log", "backups/b-partial/results.json"],
            never_written: &[],
        },
        Journey {
            name: "backup-failed-validation",
            // The Backup names a location that does not exist, so the bundle needs another.
            spec: json!({"target": {"kind": "Backup", "name": "b-invalid"}, "storageLocation": "default"}),
            phase: Phase::Completed,
            cause: Some("nowhere"),
            files: &[],
            never_written: &["backups/b-invalid/backup.log", "backups/b-invalid/results.json"],
        },
        Journey {
            name: "restore-completed",
            spec: about("Restore", "r-ok"),
            phase: Phase::Completed,
            cause: None,
            files: &[
                "restores/r-ok/restore.log",
                "restores/r-ok/results.json",
                "restores/r-ok/itemoperations.json",
                "restores/r-ok/volumeinfo.json",
                "restores/r-ok/resource-list.json",
                "backups/r-ok-source/backup.log",
            ],
            never_written: &[],
        },
        Journey {
            name: "restore-partially-failed",
            spec: about("Restore", "r-partial"),
            phase: Phase::Completed,
            cause: Some("exceeded quota: tight"),
            files: &["restores/r-partial/restore.log", "restores/r-partial/results.json"],
            never_written: &[],
        },
        Journey {
            name: "restore-failed",
            spec: about("Restore", "r-failed"),
            phase: Phase::Completed,
            cause: Some("restore execution failed"),
            files: &["restores/r-failed/restore.from-server.log", "backups/r-failed-source/backup.log"],
            never_written: &["restores/r-failed/restore.log", "restores/r-failed/results.json"],
        },
        Journey {
            name: "restore-failed-validation",
            spec: about("Restore", "r-invalid"),
            phase: Phase::Completed,
            cause: Some("never-made"),
            files: &[],
            never_written: &["restores/r-invalid/restore.log"],
        },
        Journey {
            name: "restore-in-progress",
            spec: about("Restore", "r-stuck"),
            phase: Phase::Completed,
            cause: Some("Multi-Attach error for volume"),
            files: &["restores/r-stuck/restore.from-server.log", "backups/r-stuck-source/backup.log"],
            never_written: &["restores/r-stuck/restore.log", "restores/r-stuck/results.json"],
        },
        Journey {
            name: "installation",
            spec: json!({}),
            phase: Phase::Completed,
            cause: None,
            files: &["version.json"],
            never_written: &[],
        },
    ]
}

#[tokio::test]
async fn each_ending_of_a_real_backup_or_restore_gets_a_bundle_that_explains_it() {
    with_namespace("journeys", |context| async move {
        let velero = Velero::of(&context).fs_timeout("4h").start().await;
        velero.partially_failed_backup("b-partial").await;
        velero.backup_that_fails_validation("b-invalid").await;
        velero.completed_restore("r-ok").await;
        velero.partially_failed_restore("r-partial").await;
        velero.failed_restore("r-failed").await;
        velero.restore_that_fails_validation("r-invalid").await;
        velero.stuck_restore("r-stuck").await;
        plant_canaries(&context, velero.node()).await;
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let before: BTreeSet<String> = context.bucket.keys("").await.into_iter().collect();

        for journey in &journeys() {
            context.debug_bundle(journey.name, journey.spec.clone()).await;
        }
        context.debug_bundle("nobody", about("Restore", "never-made")).await;
        for journey in &journeys() {
            let status = context.until_bundle_ended(journey.name).await;
            let bundle = context.download(&status).await;
            ended_as_it_should(journey, &status, &bundle);
            holds_velero_itself(&context, &bundle);
            no_canary_in(&context, journey.name, &status, &bundle);
            match journey.name {
                "restore-in-progress" => shows_why_it_hangs(&context, &bundle),
                "restore-partially-failed" => shows_the_quota(&context, &bundle),
                "restore-failed-validation" => says_that_the_backup_is_gone(&bundle),
                "installation" => assert!(bundle.manifest["target"].is_null(), "{}", bundle.manifest["target"]),
                _ => {}
            }
        }
        nobody_is_not_found(&context).await;
        nothing_lies_elsewhere(&context, &before).await;
        velero_goes_on(&velero, Timestamp::now()).await;
        no_canary_elsewhere(&context, &operator).await;
        nobody_listed_secrets(&context, &account);
    })
    .await;
}

/// Plants secrets in every place where one was ever seen in Velero's namespace.
async fn plant_canaries(context: &Arc<Context>, node: &str) {
    let key = &context.stand.s3.root().secret;
    context.create::<Secret>(json!({"metadata": {"name": "shop"}, "stringData": {"password": PASSWORD}})).await;
    let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": json!({"data": APPLIED}).to_string()});
    let named = |name: &str| json!({"metadata": {"name": name, "annotations": applied}});
    context.create::<ServiceAccount>(named("applied")).await;
    context.create::<ConfigMap>(named("applied")).await;
    context.patch_velero("BackupStorageLocation", "default", json!({"metadata": {"annotations": applied}})).await;
    let url = format!(
        "http://s3.invalid/b/k.gz?X-Amz-Credential=AKIA&X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={SIGNATURE}"
    );
    let soon = Timestamp::now().checked_add(SignedDuration::from_mins(9)).unwrap();
    context
        .create_velero(velero_object(
            "DownloadRequest",
            json!({
                "metadata": {"name": "live"},
                "spec": {"target": {"kind": "BackupLog", "name": "r-ok-source"}},
                "status": {"phase": "Processed", "downloadURL": url, "expiration": soon},
            }),
        ))
        .await;
    context.pod(pod("chatty").on_node(node).with_init("setup").with_container("main").restarted(1)).await;
    let lines = [format!("aws_secret_access_key = {key}"), format!("GET {url}"), "nothing to hide".to_owned()];
    context.log("chatty", "main", LogScript::lines(&lines));
    context.previous_log("chatty", "main", LogScript::lines([format!("panic: {key}")]));
    context.log("chatty", "setup", LogScript::lines(["ready"]));
    let container = json!({
        "name": "maintain", "image": "velero/velero:v1.18.3", "env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": key}],
    });
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    context.create::<Job>(json!({"metadata": {"name": "maintain"}, "spec": {"template": template}})).await;
    let shop = format!("{}-r-stuck", context.namespace);
    let about = json!({"kind": "Pod", "namespace": shop, "name": "shop-0"});
    let event = json!({
        "metadata": {"name": "shop-0.1"}, "involvedObject": about, "type": "Warning", "reason": "FailedMount",
        "message": format!("Multi-Attach error for volume; see {url}"),
    });
    let events: Api<Event> = Api::namespaced(context.client.clone(), &shop);
    events.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    // A note in an annotation, and a text that comes back in a message.
    let remark = json!({"metadata": {"annotations": {"note": format!("key {key}")}}});
    context.patch_velero("Backup", "r-ok-source", remark).await;
}

fn canaries(context: &Context) -> [String; 4] {
    [context.stand.s3.root().secret.clone(), SIGNATURE.to_owned(), PASSWORD.to_owned(), APPLIED.to_owned()]
}

fn ended_as_it_should(journey: &Journey, status: &DebugBundleStatus, bundle: &Unpacked) {
    let name = journey.name;
    assert_eq!(status.phase, Some(journey.phase), "{name}: {:#?}", bundle.errors());
    for condition in ["Ready", "Collected", "Uploaded", "DownloadReady"] {
        let found = status.conditions.iter().find(|found| found.type_ == condition);
        let found = found.unwrap_or_else(|| panic!("{name}: no condition {condition}"));
        assert_eq!(found.status, "True", "{name}: {found:?}");
    }
    match (journey.cause, &status.cause) {
        (Some(wanted), Some(cause)) => {
            assert!(cause.contains(wanted), "{name}: {cause}");
            let summary = bundle.file("summary.md");
            assert!(summary.lines().next().unwrap_or_default().contains(wanted), "{name}: {summary}");
            // Status truncates the cause.
            let whole = bundle.manifest["findings"]["cause"].as_str().unwrap_or_default();
            assert!(whole.starts_with(cause.trim_end_matches('…')), "{name}: {whole}");
        }
        (None, None) => {}
        (wanted, cause) => panic!("{name}: the cause should be {wanted:?} and is {cause:?}"),
    }
    assert!(bundle.errors().is_empty(), "{name}: {:#?}", bundle.errors());
    let forbidden = bundle
        .missing()
        .into_iter()
        .find(|missing| (missing.code.as_str(), missing.severity.as_str()) == ("Forbidden", "error"));
    assert!(forbidden.is_none(), "{name}: the shipped permissions do not suffice: {forbidden:?}");
    for file in journey.files {
        assert!(!bundle.bytes(&format!("velero/{file}")).is_empty(), "{name}: {file}");
    }
    for file in journey.never_written {
        let path = format!("velero/{file}");
        let missing = bundle.missing();
        let note = missing.iter().find(|missing| missing.path == path);
        let note = note.unwrap_or_else(|| panic!("{name}: {path} is not told as missing: {missing:#?}"));
        assert_eq!((note.code.as_str(), note.severity.as_str()), ("NeverWritten", "note"), "{name}: {note:?}");
    }
    assert!(bundle.paths().all(|path| !path.ends_with(".partial")), "{name}: something could not be read whole");
}

fn holds_velero_itself(context: &Context, bundle: &Unpacked) {
    let space = &context.namespace;
    let restores = bundle.names_in(space, "velero.io/restores");
    assert_eq!(restores, ["r-failed", "r-invalid", "r-ok", "r-partial", "r-stuck"]);
    let pods = bundle.names_in(space, "core/pods");
    assert!(pods.iter().any(|pod| pod == "chatty") && pods.len() == 3, "{pods:?}");
    assert_eq!(bundle.names_in(space, "apps/daemonsets"), ["node-agent"]);
    assert_eq!(bundle.names_in(space, "apps/deployments"), ["velero"]);
    assert_eq!(bundle.names_in(space, "batch/jobs"), ["maintain"]);
    assert!(bundle.is_empty(&format!("namespaces/{space}/velero.io/datauploads.yaml")), "v2alpha1 was not asked for");
    let chatty = bundle.file(&format!("namespaces/{space}/pods/chatty/main/main/logs/current.log"));
    assert!(chatty.contains("nothing to hide") && chatty.contains("[REDACTED:"), "{chatty}");
    let previous = bundle.file(&format!("namespaces/{space}/pods/chatty/main/main/logs/previous.log"));
    assert!(previous.contains("panic: [REDACTED:known-secret-key:"), "{previous}");
    let live = bundle.items(&format!("namespaces/{space}/velero.io/downloadrequests.yaml"));
    let live = live.iter().find(|request| request["metadata"]["name"] == "live").expect("it lives for nine minutes");
    let url = live["status"]["downloadURL"].as_str().unwrap();
    assert!(url.starts_with("http://s3.invalid/b/k.gz?[REDACTED:"), "{url}");
    let version = bundle.yaml("velero/version.json");
    assert_eq!(version["server"]["version"], "v1.18.3");
}

/// The quota lies in a namespace that only the error leads to.
fn shows_the_quota(context: &Context, bundle: &Unpacked) {
    let shop = format!("{}-r-partial", context.namespace);
    let quotas = bundle.items(&format!("namespaces/{shop}/core/resourcequotas.yaml"));
    assert_eq!(
        (&quotas[0]["metadata"]["name"], &quotas[0]["status"]["hard"]["configmaps"]),
        (&"tight".into(), &"0".into())
    );
}

fn shows_why_it_hangs(context: &Context, bundle: &Unpacked) {
    let (space, shop) = (&context.namespace, format!("{}-r-stuck", context.namespace));
    let volumes = bundle.items(&format!("namespaces/{space}/velero.io/podvolumerestores.yaml"));
    assert!(volumes.iter().any(|volume| volume["spec"]["pod"]["namespace"] == shop.as_str()), "{volumes:?}");
    let pods = bundle.items(&format!("namespaces/{shop}/core/pods.yaml"));
    assert_eq!(pods[0]["metadata"]["name"], "shop-0");
    let waits = pods[0]["spec"]["initContainers"][0]["name"].as_str();
    assert_eq!(waits, Some("restore-wait"));
    let events = bundle.items(&format!("namespaces/{shop}/core/events.yaml"));
    let message = events[0]["message"].as_str().unwrap();
    assert!(message.contains("Multi-Attach error") && message.contains("[REDACTED:"), "{message}");
    let lines = bundle.file("velero/restores/r-stuck/restore.from-server.log");
    assert!(lines.lines().all(|line| line.contains("r-stuck")), "{lines}");
}

fn says_that_the_backup_is_gone(bundle: &Unpacked) {
    let missing = bundle.missing();
    let gone = missing.iter().find(|missing| missing.path == "velero/backups/never-made");
    let gone = gone.unwrap_or_else(|| panic!("{missing:#?}"));
    assert_eq!((gone.code.as_str(), gone.severity.as_str()), ("Gone", "note"));
}

async fn nobody_is_not_found(context: &Context) {
    let status = context.until_bundle_ended("nobody").await;
    assert_eq!(status.phase, Some(Phase::Failed));
    assert!(status.bundle.is_none() && status.download_url.is_none(), "{status:?}");
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "TargetNotFound"), "{}", ready.message);
    assert!(ready.message.contains("never-made"), "{}", ready.message);
}

async fn nothing_lies_elsewhere(context: &Context, before: &BTreeSet<String>) {
    let now: BTreeSet<String> = context.bucket.keys("").await.into_iter().collect();
    let new: Vec<&String> = now.difference(before).collect();
    let ours = format!("{PREFIX}/plugins/debugbundle/");
    assert_eq!(new.len(), journeys().len(), "one object a bundle: {new:#?}");
    assert!(new.iter().all(|key| key.starts_with(&ours)), "{new:#?}");
    assert!(before.is_subset(&now), "something of Velero's is gone");
    assert!(context.bucket.unfinished().await.is_empty());
}

/// Velero has validated the location after the uploads, and makes another Backup.
async fn velero_goes_on(velero: &Velero, after_the_uploads: Timestamp) {
    let locations = velero.context.velero_api("BackupStorageLocation");
    let validated = until(Duration::from_mins(1), "Velero validates the location after the uploads", || async {
        let location = locations.get("default").await.map_err(|error| error.to_string())?;
        let status = &location.data["status"];
        let at: Timestamp = status["lastValidationTime"].as_str().unwrap_or_default().parse().map_err(|_| "no time")?;
        if at > after_the_uploads { Ok(status.clone()) } else { Err(status.to_string()) }
    })
    .await;
    assert_eq!(validated["phase"], "Available", "{validated}");
    velero.completed_backup("b-after").await;
}

fn no_canary_in(context: &Context, name: &str, status: &DebugBundleStatus, bundle: &Unpacked) {
    let canaries = canaries(context);
    let mut found = bundle.find(&canaries.each_ref().map(String::as_str));
    let status = serde_json::to_string(status).unwrap();
    found.extend(canaries.iter().filter(|canary| status.contains(*canary)).map(|canary| format!("{canary} in status")));
    assert!(found.is_empty(), "{name}: {found:#?}");
    let objects = bundle.paths().filter(|path| path.starts_with("namespaces/") && !path.contains("/logs/"));
    for path in objects.chain(["cluster-scoped-resources/core/nodes.yaml"]) {
        let text = bundle.file(path);
        assert!(!text.contains("managedFields:"), "{name}: {path}");
        assert!(!text.contains("last-applied-configuration"), "{name}: {path}");
        assert!(!path.contains("/secrets") && !text.contains("\n  kind: Secret\n"), "{name}: {path}");
        assert!(!text.contains(&format!("manager: {MANAGER}")), "{name}: {path}");
    }
}

async fn no_canary_elsewhere(context: &Context, operator: &Operator) {
    let events = context.api::<Event>().list(&ListParams::default()).await.unwrap();
    let about_ours: Vec<&Event> =
        events.iter().filter(|event| event.involved_object.kind.as_deref() == Some("DebugBundle")).collect();
    assert!(about_ours.len() >= journeys().len(), "Events tell what happened: {about_ours:#?}");
    let events = serde_json::to_string(&events).unwrap();
    let log = std::fs::read_to_string(operator.process().log()).unwrap();
    for canary in canaries(context) {
        assert!(!events.contains(&canary), "{canary} in an Event");
        assert!(!log.contains(&canary), "{canary} in the operator's log");
    }
    // Download URLs appear in status only; a masked one may be part of a cause.
    let signed =
        |text: &str| text.replace("X-Amz-Signature=[REDACTED:presigned-query:", "").contains("X-Amz-Signature");
    assert!(!signed(&events) && !signed(&log), "{log}");
}

/// The shipped permissions sufficed, and the audit log shows Secrets read only by name.
fn nobody_listed_secrets(context: &Context, account: &Account) {
    let requests = context.stand.distinct_requests_of(&account.user);
    let verbs_on = |resource: &str| -> BTreeSet<&str> {
        requests.iter().filter(|request| request.2 == resource).map(|request| request.0.as_str()).collect()
    };
    assert_eq!(verbs_on("secrets"), BTreeSet::from(["get"]));
    assert!(verbs_on("debugbundles").contains("watch"), "the audit log is of this account: {requests:?}");
    for (verb, group, resource) in &requests {
        let reads = matches!(verb.as_str(), "get" | "list" | "watch");
        let own = matches!(
            (group.as_str(), resource.as_str()),
            ("debugbundle.io", _)
                | ("events.k8s.io", "events")
                | ("coordination.k8s.io", "leases")
                | ("authorization.k8s.io", "selfsubjectaccessreviews")
        );
        assert!(reads || own, "{verb} of {group}/{resource}");
    }
}

#[tokio::test]
async fn a_bundle_without_a_url_is_still_in_the_bucket() {
    with_namespace("no-url", |context| async move {
        let _operator = Operator::of(&context).ready().await;
        let policy = serde_json::to_value(UrlPolicy::Never).unwrap();
        let made = context.debug_bundle("quiet", json!({"downloadURL": {"policy": policy}})).await;
        let status = context.until_bundle_ended("quiet").await;
        assert!(status.download_url.is_none(), "{status:?}");
        let key = &status.bundle.as_ref().unwrap().key;
        let archive = context.bucket.get(key).await.expect("the object is there");
        let bundle = Unpacked::of(archive, &status);
        assert_eq!(bundle.manifest["bundle"]["uid"], made.uid().unwrap().as_str());
        assert_eq!(bundle.manifest["bundle"]["key"], key.as_str());
    })
    .await;
}
