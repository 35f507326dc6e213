//! Stored bundles of deleted DebugBundles: the watch or the sweep cleans them up, and they stay when the whole
//! installation is removed. No DebugBundle blocks a deletion, not even one of an earlier version.

use std::time::Duration;

use debugbundle_crd::{DebugBundle, FINALIZER};
use harness::{
    Context, Operator,
    s3_proxy::{S3Fault, Seen},
    until,
    velero_objects::restore,
    with_namespace,
};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::{
    ResourceExt as _,
    api::{Api, DeleteParams, ListParams},
};
use serde_json::json;

use crate::support::bundles::{
    LIMIT, PARTS, about_r1, delete, endless_log, is_stored, keys, large_log, ready, s3_proxy_before_store, server_pod,
    spool_is_empty, status, until_ended, until_event, until_gone, until_logged, until_nothing_is_stored, until_read,
    until_stored, until_unread, velero_objects,
};

/// Flags by which an operator sweeps each second.
const OFTEN: [&str; 2] = ["--sweep-seconds", "1"];
/// Long enough for several such sweeps.
const SWEEPS: Duration = Duration::from_secs(5);

/// Our folder in the location `default`.
async fn folder(context: &Context) -> String {
    format!("{}/plugins/debugbundle/{}", harness::context::PREFIX, context.installation().await)
}

fn uid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Objects of DebugBundles that are long gone.
async fn put_orphans(context: &Context, count: usize) -> Vec<String> {
    let folder = folder(context).await;
    let keys: Vec<String> = (0..count).map(|n| format!("{folder}/restore-r1/b{n}-{}.tar.gz", uid(n))).collect();
    for key in &keys {
        context.bucket.put(key, "a bundle").await;
    }
    age(context);
    keys
}

/// Makes everything in the bucket old enough for a sweep.
fn age(context: &Context) {
    context.bucket.make_older(Duration::from_hours(2));
}

/// Waits for an Event with this reason on the location; returns its note.
async fn until_event_on_location(context: &Context, reason: &str) -> String {
    until(LIMIT, &format!("an Event {reason} on the location"), || async {
        let all = context.api::<Event>().list(&ListParams::default()).await.expect("a list").items;
        let found = all.into_iter().find(|event| {
            event.reason.as_deref() == Some(reason)
                && event.involved_object.kind.as_deref() == Some("BackupStorageLocation")
        });
        found.and_then(|event| event.message)
    })
    .await
}

fn is_delete(seen: &Seen) -> bool {
    seen.method == "DELETE" && seen.path.ends_with(".tar.gz") && !seen.query.contains("uploadId")
}

#[tokio::test]
async fn fifty_bundles_of_an_earlier_version_hold_no_namespace_back_and_their_objects_stay() {
    with_namespace("sweep-upgrade", |context| async move {
        velero_objects(&context).await;
        let names: Vec<String> = (0..50).map(|n| format!("old-{n}")).collect();
        for name in &names {
            let old = json!({
                "apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundle", "spec": about_r1(),
                "metadata": {"name": name, "finalizers": [FINALIZER]},
            });
            let uid = context.create::<DebugBundle>(old).await.uid().expect("a UID");
            let key = format!("{}/plugins/debugbundle/restore-r1/{name}-{uid}.tar.gz", harness::context::PREFIX);
            context.bucket.put(&key, "a bundle of old").await;
            let stored = json!({"storageLocation": "default", "bucket": context.bucket.name, "key": key, "bytes": 15,
                "sha256": "0", "size": "15 B", "entries": 1, "manifestOffset": 0, "manifestLength": 1});
            crate::support::bundles::forge(
                &context,
                name,
                json!({"phase": "Completed", "attempts": 1, "bundle": stored}),
            )
            .await;
        }
        // One is deleted while no operator runs: its finalizer keeps it until the upgrade.
        delete(&context, "old-49").await;
        let operator = Operator::of(&context).ready().await;
        until_gone(&context, "old-49", LIMIT).await;
        until(LIMIT, "no finalizer is left", || async {
            let all = context.api::<DebugBundle>().list(&ListParams::default()).await.expect("a list").items;
            let held = all.iter().filter(|bundle| !bundle.finalizers().is_empty()).count();
            if held == 0 && all.len() == 49 { Ok(()) } else { Err(format!("{held} of {}", all.len())) }
        })
        .await;
        // The object that an earlier version stored is deleted with its DebugBundle, too.
        delete(&context, "old-48").await;
        until_stored(&context, 48).await;

        // The order of the namespace controller: first the namespace, then its contents. The operator still runs.
        let spaces: Api<Namespace> = Api::all(context.client.clone());
        spaces.delete(&context.namespace, &DeleteParams::default()).await.expect("it can be deleted");
        for name in &names[..10] {
            delete(&context, name).await;
            until_gone(&context, name, Duration::from_secs(5)).await;
        }
        until_logged(&operator, "The installation is being removed; the stored bundle stays").await;
        drop(operator);
        for name in &names[10..48] {
            delete(&context, name).await;
        }
        let all = context.api::<DebugBundle>().list(&ListParams::default()).await.expect("a list").items;
        assert!(all.is_empty(), "nobody is needed: {all:?}");
        assert_eq!(keys(&context).await.len(), 48, "the stored bundles stay");
    })
    .await;
}

#[tokio::test]
async fn g3_in_a_namespace_that_is_being_deleted_nothing_is_created_and_nothing_hangs() {
    with_namespace("sweep-g3", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, endless_log()).await;
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).automatic().ready().await;
        context.debug_bundle("runs", about_r1()).await;
        until_read(&context, &node).await;
        context.create_velero(restore("r2").in_progress().started(Timestamp::now())).await;

        let spaces: Api<Namespace> = Api::all(context.client.clone());
        spaces.delete(&context.namespace, &DeleteParams::default()).await.expect("it can be deleted");
        context.end_velero("Restore", "r2", "Failed").await;
        let refused = || context.stand.times(&account.user, ("create", "debugbundles"), &context.namespace, 403);
        until(LIMIT, "a DebugBundle is refused", || async { (refused() > 0).then_some(()) }).await;
        // The namespace controller deletes the contents of the namespace.
        delete(&context, "runs").await;
        until_gone(&context, "runs", Duration::from_secs(5)).await;
        until_unread(&context, &node).await;
        context
            .api::<Lease>()
            .delete("debugbundle-operator", &DeleteParams::default())
            .await
            .expect("it can be deleted");
        until_logged(&operator, "Leads no longer").await;
        assert_eq!(refused(), 1, "it does not try again and again");
        spool_is_empty(&operator).await;
        assert_eq!(operator.exited(), None);
        operator.terminate();
        assert_eq!(operator.wait_exit(Duration::from_secs(10)).await, 0);
        until_nothing_is_stored(&context).await;
    })
    .await;
}

#[tokio::test]
async fn killed_before_it_deleted_the_object_the_sweep_deletes_it() {
    with_namespace("sweep-down", |context| async move {
        velero_objects(&context).await;
        let mut operator = Operator::of(&context).args(OFTEN).crash_at("deleting").ready().await;
        for name in ["b", "kept"] {
            context.debug_bundle(name, about_r1()).await;
            is_stored(&context, &until_ended(&context, name).await).await;
        }
        let foreign = [format!("{}/restore-r1/notes.txt", folder(&context).await), {
            format!("{}/plugins/debugbundle/{}/restore-r1/x-{}.tar.gz", harness::context::PREFIX, uid(7), uid(8))
        }];
        for key in &foreign {
            context.bucket.put(key, "not ours to delete").await;
        }
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
        assert_eq!(operator.wait_exit(LIMIT).await, 137);
        assert_eq!(keys(&context).await.len(), 4);
        // It is younger than an hour.
        operator.restart().await;
        until_logged(&operator, "Swept").await;
        assert_eq!(keys(&context).await.len(), 4);
        age(&context);
        until_stored(&context, 3).await;
        let kept = crate::support::bundles::get(&context, "kept").await.expect("it is there");
        is_stored(&context, &kept).await;
        let left = keys(&context).await;
        assert!(foreign.iter().all(|key| left.contains(key)), "{left:?}");
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_nobody_noted_is_swept_when_its_debug_bundle_is_gone() {
    with_namespace("sweep-upload", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, large_log()).await;
        let mut operator = Operator::of(&context).args(PARTS).args(OFTEN).crash_at("upload-created").ready().await;
        context.debug_bundle("b", about_r1()).await;
        assert_eq!(operator.wait_exit(LIMIT).await, 137);
        assert_eq!(context.bucket.unfinished().await.len(), 1, "the debt that nobody noted");
        delete(&context, "b").await;
        age(&context);
        operator.restart().await;
        until_nothing_is_stored(&context).await;
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_sweep_that_would_remove_too_many_removes_none_and_names_the_command() {
    with_namespace("sweep-stop", |context| async move {
        let all = put_orphans(&context, 21).await;
        let operator = Operator::of(&context).args(OFTEN).ready().await;
        let note = until_event_on_location(&context, "SweepStopped").await;
        assert!(note.contains("21 of 21") && note.contains("kubectl debugbundle"), "{note}");
        assert_eq!(keys(&context).await.len(), 21);
        context.bucket.delete(&all[0]).await;
        until_nothing_is_stored(&context).await;
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn a_list_that_failed_or_was_cut_deletes_nothing_and_a_refused_delete_is_tried_again() {
    with_namespace("sweep-cut", |context| async move {
        let [orphan] = &put_orphans(&context, 1).await[..] else { panic!("one") };
        let proxy = s3_proxy_before_store(&context).await;
        let is_list = |seen: &Seen| seen.query.contains("list-type=2");
        let cut = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><KeyCount>2</KeyCount><IsTruncated>true\
                   </IsTruncated><Contents>";
        let half = format!("{cut}<Key>{orphan}</Key><LastModified>2020-01-01T00:00:00Z</LastModified></Contents>");
        proxy.next(2, is_list, S3Fault::Answer(200, format!("{half}</ListBucketResult>")));
        proxy.next(2, is_list, S3Fault::Refuse(503, "SlowDown"));
        proxy.next(1, is_delete, S3Fault::Refuse(403, "AccessDenied"));
        let operator = Operator::of(&context).args(OFTEN).ready().await;
        until_logged(&operator, "Nothing was swept in this location").await;
        let note = until_event_on_location(&context, "NotDeleted").await;
        assert!(note.contains("1 stored bundles") && note.contains("s3:DeleteObject"), "{note}");
        until_nothing_is_stored(&context).await;
        let seen = proxy.seen();
        let first = seen.iter().position(is_delete).expect("a DELETE");
        assert!(seen[..first].iter().filter(|seen| is_list(seen)).count() >= 3, "not on the lists that were cut");
    })
    .await;
}

#[tokio::test]
async fn a_list_of_debug_bundles_that_cannot_be_read_deletes_nothing() {
    with_namespace("sweep-no-list", |context| async move {
        put_orphans(&context, 1).await;
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).args(OFTEN).ready().await;
        until_nothing_is_stored(&context).await;
        context.take_away("debugbundles").await;
        let bundles: Api<DebugBundle> = Api::namespaced(account.client().await, &context.namespace);
        until(LIMIT, "the right is gone", || async { bundles.list(&ListParams::default()).await.err() }).await;
        put_orphans(&context, 1).await;
        until_logged(&operator, "Nothing was swept in this location").await;
        tokio::time::sleep(SWEEPS).await;
        assert_eq!(keys(&context).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_delete_that_is_refused_is_tried_again_after_the_debug_bundle_is_gone() {
    with_namespace("sweep-refused", |context| async move {
        velero_objects(&context).await;
        let proxy = s3_proxy_before_store(&context).await;
        let operator = Operator::of(&context).ready().await;
        context.debug_bundle("b", about_r1()).await;
        is_stored(&context, &until_ended(&context, "b").await).await;
        proxy.next(1, is_delete, S3Fault::Refuse(403, "AccessDenied"));
        delete(&context, "b").await;
        until_gone(&context, "b", Duration::from_secs(5)).await;
        until_logged(&operator, "Deletion will be tried again").await;
        until_nothing_is_stored(&context).await;
        assert_eq!(proxy.left(), 0);
    })
    .await;
}

#[tokio::test]
async fn in_a_bucket_that_keeps_versions_a_deletion_says_that_they_stay() {
    with_namespace("sweep-versions", |context| async move {
        let operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        let key = status(&until_ended(&context, "b").await).bundle.expect("a bundle").key;
        let proxy = s3_proxy_before_store(&context).await;
        // As S3 answers a DELETE where versions are kept.
        proxy.next(1, is_delete, S3Fault::Header("x-amz-delete-marker", "true"));
        delete(&context, "b").await;
        let note = until_event(&context, "b", "Hidden").await;
        assert!(note.contains("versions stay") && note.contains(&key), "{note}");
        drop(operator);
    })
    .await;
}
