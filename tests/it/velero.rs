//! Tests of the Velero stand itself: does a real server reach each phase by its recipe, as users' installations do?

use harness::velero::{POD, work::phase};
use harness::{Velero, with_namespace};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::LogParams;

#[tokio::test]
async fn a_backup_completes_and_its_log_is_in_the_store() {
    with_namespace("velero-ok", |context| async move {
        let velero = Velero::start(&context).await;
        velero.completed_backup("b1").await;
        let keys = context.bucket.keys("team-a/backups/b1/").await;
        assert_eq!(keys.len(), 9, "{keys:?}");
        assert!(keys.contains(&"team-a/backups/b1/b1-logs.gz".to_owned()), "{keys:?}");
        let served = context.api::<Pod>().logs(POD, &LogParams::default()).await.unwrap();
        assert!(served.contains("backup=") && served.contains("level=info"), "{served}");
        let restore = velero.completed_restore("r1").await;
        assert_eq!(restore.data["status"]["errors"], serde_json::Value::Null);
        let version = velero.cli(["version"]).await;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        assert!(version.contains("Server:") && version.contains("v1.18.3"), "{version}");
    })
    .await;
}

#[tokio::test]
async fn a_restore_partially_fails_by_a_quota() {
    with_namespace("velero-quota", |context| async move {
        let velero = Velero::start(&context).await;
        let restore = velero.partially_failed_restore("r1").await;
        assert_eq!(restore.data["status"]["errors"], 1, "{}", restore.data);
        let keys = context.bucket.keys("team-a/restores/r1/").await;
        assert_eq!(keys.len(), 5, "{keys:?}");
    })
    .await;
}

#[tokio::test]
async fn failures_reach_their_phases() {
    with_namespace("velero-fails", |context| async move {
        let velero = Velero::start(&context).await;
        velero.partially_failed_backup("b-partial").await;
        velero.backup_that_fails_validation("b-invalid").await;
        velero.restore_that_fails_validation("r-invalid").await;
        velero.failed_restore("r-failed").await;
        assert!(context.bucket.keys("team-a/restores/r-failed").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_server_killed_in_a_backup_marks_it_failed_and_shows_its_previous_log() {
    with_namespace("velero-killed", |context| async move {
        let mut velero = Velero::of(&context).fs_timeout("4h").start().await;
        let backup = velero.failed_backup("b1").await;
        let reason = backup.data["status"]["failureReason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains("during the server starting"), "{reason}");
        let previous = LogParams { previous: true, ..LogParams::default() };
        let before = context.api::<Pod>().logs(POD, &previous).await.unwrap();
        assert!(before.contains(&backup.name_any()), "{before}");
    })
    .await;
}

#[tokio::test]
async fn a_restore_sticks_when_nobody_restores_its_volume() {
    with_namespace("velero-stuck", |context| async move {
        let velero = Velero::of(&context).fs_timeout("4h").start().await;
        let restore = velero.stuck_restore("r1").await;
        assert_eq!(phase(&restore), "InProgress");
    })
    .await;
}
