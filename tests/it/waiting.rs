//! A Backup or Restore that Velero does not start: the queue in front of it, a server that ignores such work, and a
//! read-only location. The server is real where it decides what waits.

use debugbundle_crd::DebugBundleStatus;
use harness::velero::work::phase;
use harness::velero_objects::{backup, velero_object};
use harness::{Context, Operator, Velero, with_namespace};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

async fn about(context: &Context, kind: &str, name: &str) -> DebugBundleStatus {
    let bundle = format!("about-{name}");
    let spec = json!({"target": {"kind": kind, "name": name}, "storageLocation": "default"});
    context.debug_bundle(&bundle, spec).await;
    context.until_bundle_ended(&bundle).await
}

/// Ids and titles of the findings that explain why a target has not started.
fn why(status: &DebugBundleStatus) -> Vec<(&str, &str)> {
    let told = status.findings.iter().filter(|one| one.id != "repository-password-not-masked");
    told.map(|one| (one.id.as_str(), one.title.as_str())).collect()
}

fn since(object: &kube::api::DynamicObject) -> &str {
    object.data["status"]["startTimestamp"].as_str().expect("it was begun")
}

async fn read_only_location(context: &Context) {
    context.create_velero(context.location("attic", "attic").read_only()).await;
}

/// The server's arguments, as if it ran in the Deployment.
async fn started_with(context: &Context, args: Value) {
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "velero", "args": args}]}}}});
    let patched = context.api::<Deployment>().patch("velero", &PatchParams::default(), &Patch::Strategic(change)).await;
    patched.expect("the Deployment can be changed");
}

#[tokio::test]
async fn what_waits_in_a_real_velero_names_what_is_in_front_of_it() {
    with_namespace("waiting", |context| async move {
        let velero = Velero::of(&context).fs_timeout("4h").start().await;
        read_only_location(&context).await;
        context.until_phase("BackupStorageLocation", "attic", "Available").await;
        let refused = velero.backup("refused").with("storageLocation", "attic".into());
        assert_eq!(phase(&refused.wait().await), "FailedValidation");
        let hangs = velero.stuck_restore("r1").await;
        velero.restore("r2", "r1-source").create().await;
        let at_work = velero.backup_that_waits("b1").await;
        velero.backup("b2").create().await;
        context.until_phase("Backup", "b2", "Queued").await;
        velero.backup("b3").create().await;
        context.until_phase("Backup", "b3", "Queued").await;

        let _operator = Operator::of(&context).ready().await;
        let status = about(&context, "Restore", "r2").await;
        assert_eq!(phase(&context.velero_api("Restore").get("r2").await.unwrap()), "", "Velero has not seen to it");
        let cause = format!("Restore r2 is New behind Restore r1, which is InProgress since {}", since(&hangs));
        assert_eq!(why(&status), [("waits-behind", cause.as_str())]);
        assert_eq!(status.cause.as_deref(), Some(cause.as_str()));
        let bundle = context.download(&status).await;
        let steps = bundle.cause_tree();
        let way: Vec<&str> = steps.iter().map(|step| step["object"].as_str().unwrap()).collect();
        let space = &context.namespace;
        assert_eq!(way, [format!("Restore/{space}/r2"), format!("Restore/{space}/r1")]);

        let status = about(&context, "Backup", "b3").await;
        let since = since(&at_work);
        let cause = format!(
            "Backup b3 is Queued at position 2 behind Backup b1, which is InProgress since {since}, and 1 more"
        );
        assert_eq!(why(&status), [("waits-behind", cause.as_str())]);
        let bundle = context.download(&status).await;
        let backups = bundle.items(&format!("namespaces/{space}/velero.io/backups.yaml"));
        let mut first: Vec<&str> =
            backups[..3].iter().map(|backup| backup["metadata"]["name"].as_str().unwrap()).collect();
        first.sort_unstable();
        assert_eq!(first, ["b1", "b2", "b3"], "so that no limit hits them");
        let findings = bundle.findings();
        let quoted: Vec<&str> =
            findings[0]["evidence"].as_array().unwrap().iter().map(|proof| proof["text"].as_str().unwrap()).collect();
        assert_eq!(quoted, [format!("Backup b1 is InProgress since {since}"), "Backup b2 is Queued".to_owned()]);
        assert!(bundle.file("summary.md").contains(&cause), "{}", bundle.file("summary.md"));

        // A target that is running or was refused does not wait.
        let status = about(&context, "Restore", "r1").await;
        assert!(why(&status).iter().all(|(id, _)| *id != "waits-behind"), "{:?}", why(&status));
        let status = about(&context, "Backup", "refused").await;
        let words = "backup can't be created because backup storage location attic is currently in read-only mode";
        let attic = "Backup refused is FailedValidation: BackupStorageLocation attic is ReadOnly (its accessMode): Velero \
                     creates no Backup in it";
        assert_eq!(why(&status), [("location-read-only", attic), ("validation-error", words)]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_was_started_restore_only_is_why_a_backup_is_not_begun() {
    with_namespace("restore-only", |context| async move {
        let _velero = Velero::of(&context).flag("--restore-only").start().await;
        started_with(&context, json!(["server", "--restore-only"])).await;
        let left = json!({"metadata": {"name": "left"}, "spec": {"includedNamespaces": ["*"]}});
        context.create_velero(velero_object("Backup", left)).await;
        context.until_phase("Backup", "left", "ReadyToStart").await;

        let _operator = Operator::of(&context).ready().await;
        let status = about(&context, "Backup", "left").await;
        let words = "Velero's server was started with --restore-only, so it processes no Backup";
        assert_eq!(why(&status), [("server-idle", format!("Backup left is ReadyToStart: {words}").as_str())]);
    })
    .await;
}

#[tokio::test]
async fn without_a_ready_server_what_is_new_stays_new_and_that_is_the_cause() {
    with_namespace("no-server", |context| async move {
        read_only_location(&context).await;
        context.create_velero(backup("before").in_location("attic")).await;
        let _operator = Operator::of(&context).ready().await;
        let status = about(&context, "Backup", "before").await;
        let attic = "Backup before is New: BackupStorageLocation attic is ReadOnly: Velero creates no Backup in it";
        let cause = "Backup before is New: Deployment velero of Velero's server is scaled to 0 replicas";
        assert_eq!(why(&status), [("server-idle", cause), ("location-read-only", attic)]);
        assert_eq!(status.cause.as_deref(), Some(cause));
    })
    .await;
}
