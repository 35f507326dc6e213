//! The life of a DebugBundle under the controller: phases, failures, deletion, expiry, many at once, forged and damaged
//! ones. `crash` covers a killed operator, `url` the download URL, `collect` the content.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use debugbundle_crd::{DebugBundle, FINALIZER, Phase, RENEW_URL_ANNOTATION, Stage};
use harness::bundle::spec_about;
use harness::{Context, LogScript, Operator, ProxyFault, pod, until, with_namespace};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::support::bundles::{
    LIMIT, PARTS, about_r1, change, condition, delete, endless_log, events, forge, get, is_stored, keys, large_log,
    phase, proxy_before_store, ready, server_pod, slow_log, spool_is_empty, status, until_ended, until_event,
    until_gone, until_is, until_logged, until_nothing_is_stored, until_phase, until_read, until_stored,
    until_upload_on_record, velero_objects,
};
use crate::support::http::{free_address, status_line};

/// How soon work on a deleted DebugBundle must stop.
const CANCELLED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_debug_bundle_goes_through_its_phases_and_tells_how_far_it_is() {
    with_namespace("life-phases", |context| async move {
        server_pod(&context, slow_log(60_000, 15_000)).await;
        let _operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        let watched = Mutex::new((Vec::new(), BTreeSet::new()));
        let ended = until(LIMIT, "it ends", || {
            let (watched, context) = (&watched, &context);
            async move {
                let bundle = get(context, "b").await.expect("it is there");
                let (phases, told) = &mut *watched.lock().unwrap();
                if phases.last() != Some(&phase(&bundle)) {
                    phases.push(phase(&bundle));
                }
                if let Some(progress) = status(&bundle).progress {
                    assert!(progress.items_done <= progress.items_total, "{progress:?}");
                    if progress.stage == Some(Stage::Collect) {
                        assert!(!progress.message.is_empty());
                        told.insert((progress.items_done, progress.bytes));
                    }
                }
                for condition in status(&bundle).conditions {
                    assert_eq!(condition.observed_generation, Some(1), "{condition:?}");
                }
                phase(&bundle).is_terminal().then_some(bundle)
            }
        })
        .await;
        let (phases, told) = watched.into_inner().unwrap();
        assert!(told.len() >= 2, "progress moves while a log is read: {told:?}");
        let order = [Phase::New, Phase::Queued, Phase::Collecting, Phase::Uploading, phase(&ended)];
        let mut ranks = phases.iter().map(|phase| order.iter().position(|known| known == phase));
        assert!(ranks.all(|rank| rank.is_some()) && phases.contains(&Phase::Collecting), "{phases:?}");
        assert!(phases.is_sorted_by_key(|phase| order.iter().position(|known| known == phase)), "{phases:?}");

        is_stored(&context, &ended).await;
        let told = status(&ended);
        assert_eq!((told.attempts, told.observed_generation), (Some(1), Some(1)));
        assert_eq!((told.holder, told.progress, told.upload), (None, None, None));
        assert!(told.start_timestamp.unwrap().0 <= told.completion_timestamp.clone().unwrap().0);
        assert!(told.expiration.unwrap().0 > told.completion_timestamp.unwrap().0);
        assert_eq!(condition(&ended, "Ready").0, "True");
        assert_eq!(condition(&ended, "Uploaded").0, "True");
        assert_eq!(condition(&ended, "DownloadReady").0, "True");
        until_event(&context, "b", "UrlIssued").await;
        let reasons: Vec<String> = events(&context, "b").await.into_iter().map(|(reason, _)| reason).collect();
        assert!(reasons.contains(&"Collecting".to_owned()) && reasons.len() <= 10, "{reasons:?}");
        let waited = context
            .stand
            .kubectl(["-n", &context.namespace, "wait", "--for=condition=Ready", "debugbundle/b", "--timeout=10s"])
            .await;
        assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    })
    .await;
}

#[tokio::test]
async fn a_finished_one_is_left_in_peace() {
    with_namespace("life-still", |context| async move {
        let _operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        until_ended(&context, "b").await;
        until_event(&context, "b", "UrlIssued").await;
        let version = get(&context, "b").await.unwrap().metadata.resource_version;
        // A second one goes through all its phases: by then, a stray write to the first one would have happened.
        context.debug_bundle("c", about_r1()).await;
        until_ended(&context, "c").await;
        until_event(&context, "c", "UrlIssued").await;
        assert_eq!(get(&context, "b").await.unwrap().metadata.resource_version, version);
    })
    .await;
}

#[tokio::test]
async fn labels_put_on_while_it_runs_stay_and_do_not_stop_it() {
    with_namespace("life-labels", |context| async move {
        let node = server_pod(&context, slow_log(60_000, 20_000)).await;
        let _operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        until_read(&context, &node).await;
        let mut edits = 0;
        let ended = until(LIMIT, "it ends", || {
            edits += 1;
            let (edit, context) = (edits, &context);
            async move {
                let name = format!("edit-{edit}");
                change(context, "b", json!({"metadata": {"labels": {&name: "x"}, "annotations": {&name: "y"}}})).await;
                let bundle = get(context, "b").await.unwrap();
                phase(&bundle).is_terminal().then_some(bundle)
            }
        })
        .await;
        is_stored(&context, &ended).await;
        assert_eq!(status(&ended).attempts, Some(1));
        let live = get(&context, "b").await.unwrap();
        assert_eq!((live.labels().len(), live.annotations().len()), (edits, edits));
    })
    .await;
}

#[tokio::test]
async fn fifty_at_once_end_well_and_four_at_a_time() {
    with_namespace("life-fifty", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, slow_log(10_000, 20_000)).await;
        let operator = Operator::of(&context).args(["--max-concurrent", "4"]).ready().await;
        let names: Vec<String> = (0..50).map(|n| format!("b{n}")).collect();
        futures::future::join_all(names.iter().map(|name| context.debug_bundle(name, about_r1()))).await;
        let watched = Mutex::new((false, 0));
        let all = until(Duration::from_mins(4), "all fifty end", || {
            let (watched, context) = (&watched, &context);
            async move {
                let all = context.api::<DebugBundle>().list(&ListParams::default()).await.unwrap().items;
                let count = |such: &dyn Fn(Phase) -> bool| all.iter().filter(|bundle| such(phase(bundle))).count();
                let (queued, most) = &mut *watched.lock().unwrap();
                *queued |= count(&|phase| phase == Phase::Queued) > 0;
                *most = (*most).max(count(&|phase| phase == Phase::Collecting));
                let ended = count(&Phase::is_terminal);
                if ended == 50 { Ok(all) } else { Err(format!("{ended} have ended")) }
            }
        })
        .await;
        let (queued, most) = watched.into_inner().unwrap();
        assert!(queued, "some had to wait, and said so");
        assert!((1..=4).contains(&most), "{most} are collected at once");
        for bundle in &all {
            assert_eq!(status(bundle).attempts, Some(1));
            is_stored(&context, bundle).await;
            assert!(events(&context, &bundle.name_any()).await.len() <= 10);
        }
        assert_eq!(keys(&context).await.len(), 50);
        spool_is_empty(&operator).await;

        context.api::<DebugBundle>().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        until(LIMIT, "all fifty are gone", || async {
            let left = context.api::<DebugBundle>().list(&ListParams::default()).await.unwrap().items.len();
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
        until_nothing_is_stored(&context).await;
    })
    .await;
}

#[tokio::test]
async fn deleted_while_it_collects_it_stops_at_once() {
    with_namespace("del-collecting", |context| async move {
        let node = server_pod(&context, endless_log()).await;
        let operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        until_read(&context, &node).await;
        delete(&context, "b").await;
        until_gone(&context, "b", CANCELLED).await;
        until(CANCELLED, "nobody reads the log any more", || async {
            (context.stand.kubelet.open_now(&node) == 0).then_some(())
        })
        .await;
        assert!(keys(&context).await.is_empty());
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn deleted_while_it_is_sent_in_parts_nothing_is_left_in_the_store() {
    with_namespace("del-uploading", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, large_log()).await;
        let proxy = proxy_before_store(&context).await;
        let operator = Operator::of(&context).args(PARTS).ready().await;
        proxy.set(ProxyFault { bytes_per_second: Some(100_000), ..ProxyFault::default() });
        context.debug_bundle("b", about_r1()).await;
        until_upload_on_record(&context, "b").await;
        assert_eq!(context.bucket.unfinished().await.len(), 1);
        delete(&context, "b").await;
        until_gone(&context, "b", CANCELLED).await;
        until_nothing_is_stored(&context).await;
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn deleted_while_it_waits_it_goes_and_the_place_is_nobodys() {
    with_namespace("del-queued", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, endless_log()).await;
        let _operator = Operator::of(&context).args(["--max-concurrent", "1"]).ready().await;
        context.debug_bundle("first", about_r1()).await;
        until_read(&context, &node).await;
        context.debug_bundle("second", about_r1()).await;
        let waiting = until_phase(&context, "second", Phase::Queued).await;
        assert_eq!(condition(&waiting, "Ready").1, "Queued");
        delete(&context, "second").await;
        until_gone(&context, "second", CANCELLED).await;
        context.log("velero-1", "velero", LogScript::lines(["quick now"]));
        delete(&context, "first").await;
        context.debug_bundle("third", about_r1()).await;
        is_stored(&context, &until_ended(&context, "third").await).await;
    })
    .await;
}

#[tokio::test]
async fn deletion_ends_without_its_location_and_says_what_is_left() {
    with_namespace("del-no-location", |context| async move {
        let _operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        let stored = status(&until_ended(&context, "b").await).bundle.unwrap();
        context.velero_api("BackupStorageLocation").delete("default", &DeleteParams::default()).await.unwrap();
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
        let note = until_event(&context, "b", "NotDeleted").await;
        assert!(note.contains(&stored.bucket) && note.contains(&stored.key), "{note}");
    })
    .await;
}

#[tokio::test]
async fn issue_32_where_the_location_leads_elsewhere_now_the_object_that_stays_is_named() {
    with_namespace("del-moved", |context| async move {
        let _operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        let stored = status(&until_ended(&context, "b").await).bundle.unwrap();
        let moved = json!({"spec": {"objectStorage": {"prefix": "elsewhere"}}});
        context.patch_velero("BackupStorageLocation", "default", moved).await;
        let place = format!(
            "it was stored in bucket {} at {}, and BackupStorageLocation default has another bucket or prefix now",
            stored.bucket, stored.key
        );
        change(&context, "b", json!({"metadata": {"annotations": {RENEW_URL_ANNOTATION: "1"}}})).await;
        let answered = until_is(&context, "b", "the annotation is answered", LIMIT, |bundle| {
            status(bundle).renewed_url.as_deref() == Some("1")
        });
        let message = condition(&answered.await, "DownloadReady").2;
        assert_eq!(message, format!("the bundle cannot be downloaded: {place}"));
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
        let note = until_event(&context, "b", "NotDeleted").await;
        assert!(note.contains(&place) && !note.contains("next sweep"), "{note}");
        assert_eq!(keys(&context).await, [stored.key]);
    })
    .await;
}

#[tokio::test]
async fn issue_32_in_a_location_that_became_read_only_the_object_waits_for_a_sweep() {
    with_namespace("del-read-only", |context| async move {
        let _operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        let stored = status(&until_ended(&context, "b").await).bundle.unwrap();
        context.patch_velero("BackupStorageLocation", "default", json!({"spec": {"accessMode": "ReadOnly"}})).await;
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
        let note = until_event(&context, "b", "NotDeleted").await;
        let words =
            "BackupStorageLocation default is ReadOnly. A sweep deletes it once the location is ReadWrite again";
        assert!(note.contains(words) && note.contains(&stored.key) && !note.contains("tries again"), "{note}");
    })
    .await;
}

#[tokio::test]
async fn deletion_ends_without_its_credential_and_says_what_is_left() {
    with_namespace("del-no-secret", |context| async move {
        velero_objects(&context).await;
        // A Secret that is missing may come back: the deletion is tried again until its time is over.
        let _operator = Operator::of(&context).args(["--delete-timeout-seconds", "1"]).ready().await;
        context.debug_bundle("b", about_r1()).await;
        let stored = status(&until_ended(&context, "b").await).bundle.unwrap();
        context.api::<Secret>().delete("cloud-credentials", &DeleteParams::default()).await.unwrap();
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
        let note = until_event(&context, "b", "NotDeleted").await;
        assert!(note.contains("cloud-credentials") && note.contains(&stored.key), "{note}");
    })
    .await;
}

#[tokio::test]
async fn a_deletion_ends_at_once_and_its_object_follows_when_the_store_is_back() {
    with_namespace("del-store-away", |context| async move {
        velero_objects(&context).await;
        let proxy = proxy_before_store(&context).await;
        let operator = Operator::of(&context).args(["--delete-timeout-seconds", "20"]).ready().await;
        for name in ["patient", "lost"] {
            context.debug_bundle(name, about_r1()).await;
            until_ended(&context, name).await;
        }
        proxy.set(ProxyFault { refuse: true, ..ProxyFault::default() });
        delete(&context, "patient").await;
        until_gone(&context, "patient", CANCELLED).await;
        until_logged(&operator, "Deletion will be tried again").await;
        assert_eq!(keys(&context).await.len(), 2);
        proxy.pass();
        until_stored(&context, 1).await;

        proxy.set(ProxyFault { refuse: true, ..ProxyFault::default() });
        delete(&context, "lost").await;
        until_gone(&context, "lost", CANCELLED).await;
        let note = until_event(&context, "lost", "NotDeleted").await;
        assert!(note.contains(&keys(&context).await[0]), "{note}");
    })
    .await;
}

#[tokio::test]
async fn its_time_to_live_over_bundle_and_resource_go() {
    with_namespace("life-ttl", |context| async move {
        let mut operator = ready(&context).await;
        for name in ["b", "while-down"] {
            context.debug_bundle(name, about_r1()).await;
            is_stored(&context, &until_ended(&context, name).await).await;
        }
        forge(&context, "b", json!({"expiration": "2026-01-01T00:00:00Z"})).await;
        until_gone(&context, "b", LIMIT).await;
        until_event(&context, "b", "Expired").await;
        until_stored(&context, 1).await;
        operator.kill9();
        forge(&context, "while-down", json!({"expiration": "2026-01-01T00:00:00Z"})).await;
        operator.restart().await;
        until_gone(&context, "while-down", LIMIT).await;
        until_nothing_is_stored(&context).await;
    })
    .await;
}

#[tokio::test]
async fn a_store_that_comes_back_gets_what_was_collected_while_it_was_away() {
    with_namespace("life-store-away", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, LogScript::lines(["once"])).await;
        let proxy = proxy_before_store(&context).await;
        let operator = Operator::of(&context).ready().await;
        proxy.set(ProxyFault { refuse: true, ..ProxyFault::default() });
        context.debug_bundle("b", json!({})).await;
        let waiting = until_is(&context, "b", "a try to send it failed", LIMIT, |bundle| {
            status(bundle).upload.is_some_and(|upload| upload.last_error.is_some())
        })
        .await;
        assert_eq!(phase(&waiting), Phase::Uploading);
        assert_eq!(condition(&waiting, "Uploaded").1, "StoreUnreachable");
        until_event(&context, "b", "StoreUnreachable").await;
        proxy.pass();
        is_stored(&context, &until_ended(&context, "b").await).await;
        assert_eq!(context.stand.kubelet.seen(&node).iter().filter(|seen| seen.container == "velero").count(), 1);
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_store_that_says_no_is_waited_for_and_a_deletion_leaves_nothing_anywhere() {
    with_namespace("life-denied", |context| async move {
        let operator = ready(&context).await;
        let keys_of_user = context.stand.s3.create_user(&format!("reader-{}", context.namespace)).await;
        context.bucket.allow(&keys_of_user, &["s3:GetObject", "s3:ListBucket", "s3:DeleteObject"]).await;
        let cloud = format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
            keys_of_user.access, keys_of_user.secret
        );
        let api = context.api::<Secret>();
        let patch = kube::api::Patch::Merge(json!({"stringData": {"cloud": cloud}}));
        api.patch("cloud-credentials", &kube::api::PatchParams::default(), &patch).await.unwrap();
        context.debug_bundle("b", about_r1()).await;
        let waits = until_is(&context, "b", "a try to send it failed", LIMIT, |bundle| {
            status(bundle).upload.is_some_and(|upload| upload.last_error.is_some())
        })
        .await;
        assert_eq!(phase(&waits), Phase::Uploading);
        let (_, reason, message) = condition(&waits, "Uploaded");
        assert_eq!(reason, "UploadDenied");
        assert!(message.starts_with("permission: ") && message.contains("s3:PutObject"), "{message}");
        assert!(message.contains(&context.bucket.name) && !message.contains(&keys_of_user.secret), "{message}");
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
        assert!(keys(&context).await.is_empty());
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_store_that_stays_away_leaves_it_failed_and_the_spool_empty() {
    with_namespace("life-store-gone", |context| async move {
        velero_objects(&context).await;
        let proxy = proxy_before_store(&context).await;
        let address = free_address();
        let flags = ["--upload-timeout-minutes", "1", "--http-address", &address.to_string()];
        let operator = Operator::of(&context).args(flags).ready().await;
        proxy.set(ProxyFault { refuse: true, ..ProxyFault::default() });
        context.debug_bundle("b", about_r1()).await;
        let failed = until_is(&context, "b", "it is given up", Duration::from_secs(150), |bundle| {
            phase(bundle) == Phase::Failed
        })
        .await;
        let (_, reason, message) = condition(&failed, "Ready");
        assert_eq!(reason, "StoreUnreachable");
        assert!(message.contains("could not be uploaded in time"), "{message}");
        assert!(message.contains(&context.bucket.name), "what may be left is told: {message}");
        // More than a minute has passed, so the loop would count as stuck if it did not beat.
        assert_eq!(status_line(address, "/livez").await.expect("an answer"), "HTTP/1.1 200 OK");
        spool_is_empty(&operator).await;
        assert!(events(&context, "b").await.len() <= 10);
        proxy.pass();
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
        assert!(keys(&context).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_is_no_end() {
    with_namespace("life-reset", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, large_log()).await;
        let proxy = proxy_before_store(&context).await;
        let operator = Operator::of(&context).args(PARTS).ready().await;
        proxy.set(ProxyFault { reset_after: Some(2 << 20), ..ProxyFault::default() });
        context.debug_bundle("b", about_r1()).await;
        until_is(&context, "b", "a try to send it failed", LIMIT, |bundle| {
            status(bundle).upload.is_some_and(|upload| upload.last_error.is_some())
        })
        .await;
        proxy.pass();
        let ended = until_ended(&context, "b").await;
        is_stored(&context, &ended).await;
        assert_eq!(status(&ended).attempts, Some(1));
        assert_eq!(context.bucket.unfinished().await, []);
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_location_that_goes_while_it_is_collected_is_named_and_waited_for() {
    with_namespace("life-no-place", |context| async move {
        let node = server_pod(&context, slow_log(60_000, 20_000)).await;
        let operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        until_read(&context, &node).await;
        context.velero_api("BackupStorageLocation").delete("default", &DeleteParams::default()).await.unwrap();
        let waits = until_is(&context, "b", "a try to send it failed", LIMIT, |bundle| {
            status(bundle).upload.is_some_and(|upload| upload.last_error.is_some())
        })
        .await;
        let (_, reason, message) = condition(&waits, "Uploaded");
        assert!(reason == "LocationNotFound" && message.contains("no BackupStorageLocation"), "{message}");
        // An immutable field is changed by creating the location anew.
        context.create_velero(context.location("default", "elsewhere").spec("default", true)).await;
        let ended = until_ended(&context, "b").await;
        assert!(matches!(phase(&ended), Phase::Completed | Phase::PartiallyFailed), "{:?}", status(&ended));
        let bundle = status(&ended).bundle.unwrap();
        let folder = format!("elsewhere/plugins/debugbundle/{}/", context.installation().await);
        assert!(bundle.key.starts_with(&folder), "{}", bundle.key);
        assert_eq!(context.bucket.keys("elsewhere/plugins").await, [bundle.key]);
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn the_time_given_ends_the_collection_and_not_the_bundle() {
    with_namespace("life-timeout", |context| async move {
        server_pod(&context, endless_log()).await;
        let operator = ready(&context).await;
        let mut spec = about_r1();
        spec["timeout"] = "30s".into();
        context.debug_bundle("b", spec).await;
        let ended = until_phase(&context, "b", Phase::PartiallyFailed).await;
        is_stored(&context, &ended).await;
        assert!(status(&ended).missing.unwrap() > 0);
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_restore_that_goes_while_it_is_collected_does_not_stop_the_rest() {
    with_namespace("life-target-gone", |context| async move {
        let node = server_pod(&context, slow_log(60_000, 20_000)).await;
        let _operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        until_read(&context, &node).await;
        for (kind, name) in [("Restore", "r1"), ("Backup", "seed")] {
            context.velero_api(kind).delete(name, &DeleteParams::default()).await.unwrap();
        }
        let ended = until_ended(&context, "b").await;
        let entries = is_stored(&context, &ended).await;
        assert!(entries.keys().any(|path| path.ends_with("velero/velero/logs/current.log")), "{:?}", entries.keys());
    })
    .await;
}

/// Each DebugBundle must end as Failed, for this reason and with these words.
async fn all_fail(context: &Arc<Context>, cases: &[(&str, Value, &str, &[&str])]) {
    for (name, spec, _, _) in cases {
        context.debug_bundle(name, spec.clone()).await;
    }
    for (name, _, reason, words) in cases {
        let failed = until_phase(context, name, Phase::Failed).await;
        let (_, told, message) = condition(&failed, "Ready");
        assert_eq!(told, *reason, "{name}: {message}");
        for word in *words {
            assert!(message.contains(word), "{name}: {word} is not in: {message}");
        }
        assert_eq!(until_event(context, name, reason).await, message);
        assert_eq!(status(&failed).bundle, None);
        assert!(status(&failed).expiration.is_some() && status(&failed).completion_timestamp.is_some());
    }
    assert!(keys(context).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_a_sentence() {
    with_namespace("bad-inputs", |context| async move {
        let operator = ready(&context).await;
        context.create_velero(context.location("attic", "attic").read_only()).await;
        context
            .create_velero(context.location("foreign", "foreign").spec("provider", "velero.io/foo").phase("Available"))
            .await;
        let available = json!({"status": {"phase": "Available"}});
        context.patch_velero("BackupStorageLocation", "default", available).await;
        let at = |location: &str| json!({"storageLocation": location});
        all_fail(
            &context,
            &[
                ("backup", spec_about("Backup", "x"), "TargetNotFound", &["Backup", "x", "does not exist"]),
                ("restore", spec_about("Restore", "x"), "TargetNotFound", &["Restore", "x", "does not exist"]),
                ("location", at("x"), "LocationNotFound", &["\"x\" not found", "attic, default"]),
                (
                    "read-only",
                    at("attic"),
                    "LocationReadOnly",
                    &["\"attic\" is ReadOnly", "set spec.storageLocation to one of: default, foreign"],
                ),
                ("provider", at("foreign"), "LocationInvalid", &["\"foo\" is not supported", "supported: aws"]),
                (
                    "rule",
                    json!({"redaction": {"rules": ["(unclosed"]}}),
                    "InvalidSpec",
                    &["redaction.rules[0]", "is not a regular expression"],
                ),
            ],
        )
        .await;
        spool_is_empty(&operator).await;

        change_default(&context, "foreign", true).await;
        all_fail(
            &context,
            &[("two-defaults", json!({}), "LocationAmbiguous", &["default, foreign", "set spec.storageLocation"])],
        )
        .await;
        for name in ["attic", "foreign", "default"] {
            context.velero_api("BackupStorageLocation").delete(name, &DeleteParams::default()).await.unwrap();
        }
        all_fail(&context, &[("none", json!({}), "LocationNotFound", &["there is no BackupStorageLocation"])]).await;
        for bundle in context.api::<DebugBundle>().list(&ListParams::default()).await.unwrap() {
            delete(&context, &bundle.name_any()).await;
            until_gone(&context, &bundle.name_any(), LIMIT).await;
        }
    })
    .await;
}

async fn change_default(context: &Context, name: &str, default: bool) {
    context.patch_velero("BackupStorageLocation", name, json!({"spec": {"default": default}})).await;
}

#[tokio::test]
async fn two_about_the_same_restore_have_a_bundle_each() {
    with_namespace("life-two", |context| async move {
        let _operator = ready(&context).await;
        for name in ["one", "two"] {
            context.debug_bundle(name, about_r1()).await;
        }
        for name in ["one", "two"] {
            is_stored(&context, &until_ended(&context, name).await).await;
        }
        assert_eq!(keys(&context).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn sec_d9_one_that_velero_restored_is_not_run() {
    with_namespace("life-restored", |context| async move {
        let _operator = ready(&context).await;
        let copy: DebugBundle = context
            .create(json!({
                "apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundle", "spec": about_r1(),
                "metadata": {"name": "b", "labels": {"velero.io/restore-name": "r7"}},
                // The API server drops it: create requests ignore status.
                "status": {"phase": "Completed", "downloadURL": "http://evil.example/"},
            }))
            .await;
        assert_eq!(copy.status, None);
        let ended = until_phase(&context, "b", Phase::Failed).await;
        assert_eq!(condition(&ended, "Ready").1, "RestoredFromBackup");
        assert_eq!(status(&ended).attempts, None);
        assert!(keys(&context).await.is_empty());
        delete(&context, "b").await;
        until_gone(&context, "b", LIMIT).await;
    })
    .await;
}

#[tokio::test]
async fn the_finalizers_of_others_are_kept_and_their_bundles_too_until_they_go() {
    with_namespace("life-finalizer", |context| async move {
        let _operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        until_ended(&context, "b").await;
        change(&context, "b", json!({"metadata": {"finalizers": ["other.example/waits", FINALIZER]}})).await;
        until_is(&context, "b", "only the other's", LIMIT, |bundle| bundle.finalizers() == ["other.example/waits"])
            .await;
        delete(&context, "b").await;
        assert_eq!(keys(&context).await.len(), 1, "it is not gone yet");
        change(&context, "b", json!({"metadata": {"finalizers": null}})).await;
        until_gone(&context, "b", LIMIT).await;
        until_nothing_is_stored(&context).await;
    })
    .await;
}

#[tokio::test]
async fn b8_another_one_of_the_same_name_gets_its_own_bundle_and_the_first_ones_goes() {
    with_namespace("life-again", |context| async move {
        let operator = ready(&context).await;
        context.debug_bundle("stored", about_r1()).await;
        is_stored(&context, &until_ended(&context, "stored").await).await;
        let node = server_pod(&context, endless_log()).await;
        context.debug_bundle("runs", about_r1()).await;
        until_read(&context, &node).await;
        operator.process().signal(rustix::process::Signal::STOP);
        let mut second = Vec::new();
        for name in ["stored", "runs"] {
            delete(&context, name).await;
            until_gone(&context, name, LIMIT).await;
            second.push((name, context.debug_bundle(name, about_r1()).await.uid()));
        }
        context.log("velero-1", "velero", LogScript::lines(["quick now"]));
        operator.process().signal(rustix::process::Signal::CONT);
        for (name, uid) in second {
            let ended = until_ended(&context, name).await;
            assert_eq!(ended.uid(), uid);
            is_stored(&context, &ended).await;
        }
        until_stored(&context, 2).await;
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn a_status_that_was_wiped_is_made_anew_at_the_same_key() {
    with_namespace("life-wiped", |context| async move {
        let operator = ready(&context).await;
        context.debug_bundle("b", about_r1()).await;
        let first = status(&until_ended(&context, "b").await).bundle.unwrap();
        let nothing = kube::api::Patch::Merge(json!({"status": null}));
        let api = context.api::<DebugBundle>();
        api.patch_status("b", &kube::api::PatchParams::default(), &nothing).await.unwrap();
        let again = until_ended(&context, "b").await;
        is_stored(&context, &again).await;
        assert_eq!(status(&again).bundle.unwrap().key, first.key);
        assert_eq!(keys(&context).await.len(), 1);
        spool_is_empty(&operator).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_cannot_be_read_says_so_and_stalls_nobody() {
    with_namespace("life-malformed", |context| async move {
        let mut operator = ready(&context).await;
        context.debug_bundle("bad", about_r1()).await;
        until_ended(&context, "bad").await;
        operator.kill9();
        // The API server accepts any two digits as the hours of an offset.
        forge(&context, "bad", json!({"startTimestamp": "2026-01-01T00:00:00+99:99"})).await;
        operator.restart().await;
        context.debug_bundle("good", about_r1()).await;
        is_stored(&context, &until_ended(&context, "good").await).await;
        let bad = until(LIMIT, "the bad one is told of", || async {
            get_raw(&context, "bad").await.filter(|raw| raw["status"]["phase"] == "Failed")
        })
        .await;
        let ready = bad["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
        assert_eq!(ready["reason"], "Malformed", "{bad}");
        let note = until_event(&context, "bad", "Malformed").await;
        assert!(note.contains("cannot be read"), "{note}");
        let key = bad["status"]["bundle"]["key"].as_str().expect("what is on record of the store stays").to_owned();
        assert!(keys(&context).await.contains(&key), "{key}");
        delete(&context, "bad").await;
        until_gone(&context, "bad", LIMIT).await;
        until(LIMIT, "its object is gone", || async { (!keys(&context).await.contains(&key)).then_some(()) }).await;
    })
    .await;
}

async fn get_raw(context: &Context, name: &str) -> Option<Value> {
    let output = context.stand.kubectl(["-n", &context.namespace, "get", "debugbundle", name, "-o", "json"]).await;
    serde_json::from_slice(&output.stdout).ok()
}

#[tokio::test]
async fn left_overs_in_the_spool_go_at_the_start_and_foreign_files_stay() {
    with_namespace("life-spool", |context| async move {
        let spool = context.folder("spool");
        let left = spool.join("bundle-00000000-0000-0000-0000-000000000000");
        let shared = spool.join("bundle-11111111-1111-1111-1111-111111111111");
        for folder in [&left, &shared, &spool.join("lost+found")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for file in ["body-0.part", "bundle.tar.gz", "sealed.json", "packed.json"] {
            std::fs::write(left.join(file), "old").unwrap();
            std::fs::write(shared.join(file), "old").unwrap();
        }
        std::fs::write(shared.join("notes.txt"), "mine").unwrap();
        let outside = context.folder("outside");
        std::fs::write(outside.join("body-0.part"), "not yours").unwrap();
        std::os::unix::fs::symlink(&outside, spool.join("bundle-22222222-2222-2222-2222-222222222222")).unwrap();
        let _operator = ready(&context).await;
        // They go with the first list of DebugBundles.
        until(LIMIT, "the left-overs are gone", || async {
            let kept: Vec<_> = std::fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            if !left.exists() && kept == ["notes.txt"] { Ok(()) } else { Err(format!("{kept:?}")) }
        })
        .await;
        assert!(spool.join("lost+found").exists());
        assert!(outside.join("body-0.part").exists(), "a link is not followed");
    })
    .await;
}

#[tokio::test]
async fn never_are_more_than_eight_logs_read_at_once_and_two_of_a_node() {
    with_namespace("pace", |context| async move {
        let mut nodes = Vec::new();
        for number in 0..6 {
            let node = context.node(&format!("n{number}")).await;
            for one in 0..4 {
                let name = format!("velero-{number}-{one}");
                context
                    .pod(pod(&name).on_node(&node).labelled("name", "node-agent").with_container("node-agent"))
                    .await;
                context.log(&name, "node-agent", LogScript::generated(40_000, one).slowly(40_000));
            }
            nodes.push(node);
        }
        let _operator = Operator::of(&context).ready().await;
        context.debug_bundle("paced", json!({})).await;
        let open = || nodes.iter().map(|node| context.stand.kubelet.open_now(node)).sum::<usize>();
        let most = most_until_stored(&context, "paced", open).await;
        assert!((3..=8).contains(&most), "{most} logs were read at once");
        // All bundles share one limit per node.
        for name in ["one", "other"] {
            context.debug_bundle(name, json!({})).await;
        }
        let most = most_until_stored(&context, "one", open).await.max(most_until_stored(&context, "other", open).await);
        assert!((9..=12).contains(&most), "{most} logs were read at once for both");
        for node in &nodes {
            let most = context.stand.kubelet.most_at_once(node);
            assert!((1..=2).contains(&most), "{most} logs of {node} were read at once");
        }
    })
    .await;
}

/// The most logs read at once until the bundle was stored.
async fn most_until_stored(context: &Arc<Context>, name: &str, open: impl Fn() -> usize) -> usize {
    let mut most = 0;
    let status = until(Duration::from_mins(2), "the bundle is stored", || {
        most = most.max(open());
        async {
            let bundle = context.api::<DebugBundle>().get(name).await.map_err(|error| error.to_string())?;
            let status = bundle.status.unwrap_or_default();
            if status.phase.is_some_and(Phase::is_terminal) {
                Ok(status)
            } else {
                Err(format!("{:?}", status.progress))
            }
        }
    })
    .await;
    assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
    most
}
