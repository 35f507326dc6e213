//! Stored bundles of deleted DebugBundles: the watch or the sweep cleans them up, and they stay when the whole
//! installation is removed. No DebugBundle blocks a deletion, not even one of an earlier version.

use std::{ops::Range, sync::Arc, time::Duration};

use debugbundle_crd::{DebugBundle, FINALIZER};
use harness::{
    Context, LogScript, Operator, TestCluster,
    s3_proxy::{S3Fault, Seen},
    shipped::BoundRoles,
    stand::Account,
    until,
    velero_objects::restore,
    with_namespace, with_namespace_on,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    ResourceExt as _,
    api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::bundles::{
    LIMIT, PARTS, about_r1, delete, endless_log, forge, is_stored, keys, large_log, ready, s3_proxy_before_store,
    server_pod, spool_is_empty, status, until_ended, until_event, until_gone, until_logged, until_nothing_is_stored,
    until_read, until_stored, until_unread, velero_objects,
};

/// The definition of DebugBundles.
const DEFINITION: &str = "debugbundles.debugbundle.io";
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

/// Objects of DebugBundles that are long gone. They expire in so many hours.
async fn put_orphans(context: &Context, numbers: Range<usize>, hours: i64) {
    let (folder, now) = (folder(context).await, Timestamp::now());
    let expires = now.checked_add(SignedDuration::from_hours(hours)).expect("a time").to_string();
    for n in numbers {
        let key = format!("{folder}/restore-r1/b{n}-{}.tar.gz", uid(n));
        context.bucket.put_with(&key, "a bundle", &[("expires", expires.clone())]).await;
    }
    age(context);
}

/// The entries of the operator's record.
async fn record(context: &Context) -> Vec<String> {
    let lease = context.api::<Lease>().get_opt("debugbundle-operator").await.expect("Leases can be read");
    let text = lease.and_then(|lease| lease.annotations().get("debugbundle.io/stored").cloned());
    let Some(text) = text else { return Vec::new() };
    let record: Value = serde_json::from_str(&text).expect("JSON");
    let all = record["bundles"].as_object().expect("by location").values().flat_map(|list| list.as_array().unwrap());
    all.map(|entry| entry.as_str().unwrap().to_owned()).collect()
}

/// Waits until the record has an entry for this number of bundles that satisfies the condition.
async fn until_recorded(context: &Context, count: usize, such: impl Fn(&str) -> bool) {
    until(LIMIT, &format!("the record has {count}"), || async {
        let there = record(context).await;
        if there.iter().filter(|entry| such(entry)).count() == count { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await;
}

/// Stored DebugBundles in this location, as a run leaves them; no operator runs. Returns their UIDs.
async fn forge_stored(context: &Context, location: &str, prefix: &str, names: &[String]) -> Vec<String> {
    let installation = context.installation().await;
    let mut uids = Vec::new();
    for name in names {
        let mut spec = about_r1();
        spec["storageLocation"] = location.into();
        let made = json!({
            "apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundle", "spec": spec, "metadata": {"name": name},
        });
        let uid = context.create::<DebugBundle>(made).await.uid().expect("a UID");
        let key = format!("{prefix}/plugins/debugbundle/{installation}/restore-r1/{name}-{uid}.tar.gz");
        context.bucket.put(&key, "a bundle").await;
        let stored = json!({"storageLocation": location, "bucket": context.bucket.name, "key": key, "bytes": 8,
            "sha256": "0", "size": "8 B", "entries": 1, "manifestOffset": 0, "manifestLength": 1});
        forge(context, name, json!({"phase": "Completed", "attempts": 1, "bundle": stored})).await;
        uids.push(uid);
    }
    uids
}

/// All stored bundles, in each location.
async fn all_keys(context: &Context) -> Vec<String> {
    let all = context.bucket.keys("").await;
    all.into_iter().filter(|key| key.contains("/plugins/debugbundle/")).collect()
}

/// Waits for two more sweeps of each of these locations.
async fn until_swept(operator: &Operator, locations: &[&str]) {
    let sweeps = |name: &str| {
        let lines = operator.log().into_iter();
        lines.filter(|line| line["message"] == "Swept" && line["location"] == name).count()
    };
    for name in locations {
        let before = sweeps(name);
        until(LIMIT, &format!("{name} is swept"), || async { (sweeps(name) >= before + 2).then_some(()) }).await;
    }
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
            forge(&context, name, json!({"phase": "Completed", "attempts": 1, "bundle": stored})).await;
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
        until_recorded(&context, 2, |_| true).await;
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
        let (key, end) = (status(&kept).bundle.expect("a bundle").key, status(&kept).expiration.expect("an end").0);
        let head = context.bucket.client().head_object().bucket(&context.bucket.name).key(key).send().await;
        let expires = head.expect("it is there").metadata.and_then(|mut metadata| metadata.remove("expires"));
        let expires: Timestamp = expires.expect("metadata").parse().expect("a time");
        assert!(expires <= end && end.duration_since(expires) < SignedDuration::from_mins(1), "{expires} {end}");
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
async fn what_has_expired_goes_and_what_the_record_does_not_have_stays_until_then() {
    with_namespace("sweep-expired", |context| async move {
        put_orphans(&context, 0..25, -1).await;
        put_orphans(&context, 25..50, 1).await;
        let unknown = format!("{}/restore-r1/of-old-{}.tar.gz", folder(&context).await, uid(50));
        context.bucket.put(&unknown, "a bundle without metadata").await;
        age(&context);
        let operator = Operator::of(&context).args(OFTEN).ready().await;
        until_stored(&context, 26).await;
        until_swept(&operator, &["default"]).await;
        let left = keys(&context).await;
        assert!(left.len() == 26 && left.contains(&unknown), "{left:?}");
    })
    .await;
}

/// The operator's account without the right to get the definition, and the binding that would give it.
async fn blind_account(context: &Context) -> (Account, ClusterRoleBinding) {
    let account = context.account_bound_to(BoundRoles::Base).await;
    let bindings: Api<ClusterRoleBinding> = Api::all(context.client.clone());
    let name = format!("debugbundle-definition-{}", context.namespace);
    let mut binding = bindings.get(&name).await.expect("it is bound");
    binding.metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    take_right_away(context, &account, &binding).await;
    (account, binding)
}

async fn take_right_away(context: &Context, account: &Account, binding: &ClusterRoleBinding) {
    let bindings: Api<ClusterRoleBinding> = Api::all(context.client.clone());
    bindings.delete(&binding.name_any(), &DeleteParams::default()).await.expect("it was bound");
    let definitions: Api<CustomResourceDefinition> = Api::all(account.client().await);
    until(LIMIT, "the right is gone", || async { definitions.get_opt(DEFINITION).await.err() }).await;
}

/// Waits until the operator has decided in so many cases to leave a deleted DebugBundle's object.
async fn until_left(operator: &Operator, count: usize) {
    until(LIMIT, "objects are left", || async {
        let left = operator.log().iter().filter(|line| line["message"] == "Not deleted from the store").count();
        if left == count { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn issue_32_without_the_right_to_get_the_definition_no_deletion_takes_a_stored_bundle_until_the_right_is_there() {
    with_namespace_on(TestCluster::apart().await, "sweep-unsure", |context| async move {
        let (account, binding) = blind_account(&context).await;
        velero_objects(&context).await;
        server_pod(&context, LogScript::lines(["all is well"])).await;
        let operator =
            Operator::of(&context).as_user(&account.kubeconfig).args(["--access=namespaced"]).args(OFTEN).ready().await;
        for name in ["b0", "b1", "b2", "b3"] {
            context.debug_bundle(name, about_r1()).await;
            is_stored(&context, &until_ended(&context, name).await).await;
        }
        // One is deleted by itself: its object stays, the Event names the rule, and with the right it goes.
        delete(&context, "b0").await;
        until_left(&operator, 1).await;
        let note = until_event(&context, "b0", "NotDeleted").await;
        assert!(note.contains("until it expires") && note.contains("debugbundle-definition (rule R27)"), "{note}");
        assert_eq!(keys(&context).await.len(), 4);
        let bindings: Api<ClusterRoleBinding> = Api::all(context.client.clone());
        bindings.create(&PostParams::default(), &binding).await.expect("the right is back");
        until_stored(&context, 3).await;
        take_right_away(&context, &account, &binding).await;

        // The definition is deleted. A finalizer of somebody else keeps it, so DebugBundles can still be listed.
        let hold = |finalizers: Value| {
            let bundles = context.api::<DebugBundle>();
            async move {
                let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
                bundles.patch("b1", &PatchParams::default(), &patch).await.expect("it is there")
            }
        };
        hold(json!(["example.com/hold"])).await;
        let definitions: Api<CustomResourceDefinition> = Api::all(context.client.clone());
        definitions.delete(DEFINITION, &DeleteParams::default()).await.expect("it is there");
        until_left(&operator, 3).await;
        context.api::<DebugBundle>().list(&ListParams::default()).await.expect("they can be listed");
        hold(json!(null)).await;
        until(LIMIT, "the definition is gone", || async {
            definitions.get_opt(DEFINITION).await.is_ok_and(|there| there.is_none()).then_some(())
        })
        .await;
        context.stand.install_kinds().await;
        assert_eq!(keys(&context).await.len(), 3, "the stored bundles stay");
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_get_the_definition_a_sweep_removes_only_what_has_expired_and_says_so() {
    with_namespace("sweep-blind", |context| async move {
        let (account, _) = blind_account(&context).await;
        put_orphans(&context, 0..1, -1).await;
        put_orphans(&context, 1..3, 1).await;
        let operator =
            Operator::of(&context).as_user(&account.kubeconfig).args(["--access=namespaced"]).args(OFTEN).ready().await;
        let note = until_event_on_location(&context, "SweepStopped").await;
        assert!(note.starts_with("2 of ") && note.contains("debugbundle-definition (rule R27)"), "{note}");
        until_stored(&context, 2).await;
        until_swept(&operator, &["default"]).await;
        assert_eq!(keys(&context).await.len(), 2);
        let said = operator.log().iter().filter(|l| l["message"] == "The sweep removes only what has expired").count();
        assert_eq!(said, 1);
    })
    .await;
}

/// Rounds of a definition that is removed and installed again; `DEBUGBUNDLE_ROUNDS` sets another number.
const ROUNDS: usize = 1;

/// Removes the definition of DebugBundles, with all of them, and installs it again.
async fn install_again(context: &Context) {
    let definitions: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    definitions.delete(DEFINITION, &DeleteParams::default()).await.expect("it is there");
    until(LIMIT, "the definition is gone", || async {
        let there = definitions.get_opt(DEFINITION).await.map_err(|error| error.to_string())?;
        if there.is_none() { Ok(()) } else { Err("still there".to_owned()) }
    })
    .await;
    context.stand.install_kinds().await;
}

#[tokio::test]
async fn stored_bundles_stay_when_the_definition_is_installed_again_with_the_operator_up_or_down() {
    with_namespace_on(TestCluster::apart().await, "sweep-again", |context| async move {
        velero_objects(&context).await;
        context.create_velero(context.location("second", "second")).await;
        let locations = ["default", "second"];
        let mut operator = Operator::of(&context).args(OFTEN).ready().await;
        let rounds = rounds();
        for (round, count, down) in rounds.iter().copied() {
            operator.kill9();
            let names: Vec<String> = (0..count).map(|n| format!("b{round}-{n}")).collect();
            let (some, others) = names.split_at(count / 2);
            let mut uids = forge_stored(&context, "default", harness::context::PREFIX, some).await;
            uids.extend(forge_stored(&context, "second", "second", others).await);
            let before = all_keys(&context).await;
            operator.restart().await;
            until_recorded(&context, count, |entry| uids.iter().any(|uid| entry.starts_with(uid))).await;
            if down {
                operator.kill9();
            }
            install_again(&context).await;
            if down {
                operator.restart().await;
            }
            age(&context);
            until_swept(&operator, &locations).await;
            assert_eq!(all_keys(&context).await, before, "round {round}, {count} bundles, operator down: {down}");
        }
        println!("{} rounds, and each stored bundle is there", rounds.len());

        // Under the new definition a deletion is a deletion.
        let before = all_keys(&context).await;
        context.debug_bundle("deleted", about_r1()).await;
        let uid = until_ended(&context, "deleted").await.uid().expect("a UID");
        until_recorded(&context, 1, |entry| entry.starts_with(&uid)).await;
        operator.kill9();
        delete(&context, "deleted").await;
        age(&context);
        operator.restart().await;
        until(LIMIT, "the object is gone", || async {
            let now = all_keys(&context).await;
            if now == before { Ok(()) } else { Err(format!("{} of {}", now.len(), before.len())) }
        })
        .await;
    })
    .await;
}

/// Number, bundles, and whether the operator is down, of each round.
fn rounds() -> Vec<(usize, usize, bool)> {
    let rounds = std::env::var("DEBUGBUNDLE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let cases = (0..rounds).flat_map(|_| [(50, true), (50, false), (7, true), (7, false)]);
    cases.enumerate().map(|(round, (count, down))| (round, count, down)).collect()
}

#[tokio::test]
async fn a5_forty_deletions_are_finished_before_a_stop_or_after_a_kill() {
    with_namespace("sweep-a5", |context| async move {
        velero_objects(&context).await;
        let proxy = s3_proxy_before_store(&context).await;
        let answers = Arc::new(Semaphore::new(0));
        proxy.next(usize::MAX / 2, is_delete, S3Fault::Hold(answers.clone()));
        let mut operator = Operator::of(&context).args(OFTEN).ready().await;
        for stopped in [true, false] {
            operator.kill9();
            let names: Vec<String> = (0..40).map(|n| format!("b{n}-{stopped}")).collect();
            forge_stored(&context, "default", harness::context::PREFIX, &names).await;
            operator.restart().await;
            until_recorded(&context, 40, |_| true).await;
            futures::future::join_all(names.iter().map(|name| delete(&context, name))).await;
            until_recorded(&context, 40, |entry| entry.ends_with(" gone")).await;
            assert_eq!(keys(&context).await.len(), 40);
            if stopped {
                operator.terminate();
                answers.add_permits(40);
                assert_eq!(operator.wait_exit(Duration::from_secs(40)).await, 0);
                assert_eq!(keys(&context).await, [""; 0], "it finished them first");
                until_recorded(&context, 0, |_| true).await;
            } else {
                // They are younger than an hour, but their deletion was seen.
                operator.kill9();
                answers.add_permits(100_000);
                operator.restart().await;
                until_nothing_is_stored(&context).await;
                until_recorded(&context, 0, |_| true).await;
            }
        }
    })
    .await;
}

/// Fills the operator's record with bundles of a location that no sweep lists. No operator runs.
async fn fill_record(context: &Context) {
    let now = Timestamp::now().as_second();
    let entries: Vec<String> = (0..1000).map(|n| format!("{} 0123456789abcdef {now}", uid(n))).collect();
    let record = json!({"installation": context.installation().await, "bundles": {"elsewhere": entries}});
    let annotated = json!({"metadata": {"annotations": {"debugbundle.io/stored": record.to_string()}}});
    let leases = context.api::<Lease>();
    let written = leases.patch("debugbundle-operator", &PatchParams::default(), &Patch::Merge(annotated)).await;
    written.expect("the Lease is written");
}

#[tokio::test]
async fn issue_32_a_stop_names_the_number_of_deletions_that_a_full_record_has_no_room_for() {
    with_namespace("sweep-full", |context| async move {
        velero_objects(&context).await;
        let proxy = s3_proxy_before_store(&context).await;
        let answers = Arc::new(Semaphore::new(0));
        proxy.next(usize::MAX / 2, is_delete, S3Fault::Hold(answers));
        let mut operator = Operator::of(&context).args(OFTEN).ready().await;
        operator.kill9();
        fill_record(&context).await;
        operator.restart().await;
        until_swept(&operator, &["default"]).await;
        let names = ["b1", "b2", "b3"];
        for name in names {
            context.debug_bundle(name, about_r1()).await;
            until_ended(&context, name).await;
        }
        futures::future::join_all(names.iter().map(|name| delete(&context, name))).await;
        until(LIMIT, "the store is asked to delete them", || async {
            let asked = proxy.seen().iter().filter(|seen| is_delete(seen)).count();
            if asked >= names.len() { Ok(()) } else { Err(asked) }
        })
        .await;
        until_recorded(&context, 1000, |entry| !entry.ends_with(" gone")).await;
        operator.terminate();
        assert_eq!(operator.wait_exit(Duration::from_secs(40)).await, 0);
        let note = until_event_on_location(&context, "NotDeleted").await;
        assert!(note.starts_with("3 bundles of deleted DebugBundles are still stored here"), "{note}");
        assert!(
            note.contains("its record has no room for them") && note.contains("prune --delete removes them"),
            "{note}"
        );
        assert_eq!(keys(&context).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_list_that_failed_or_was_cut_deletes_nothing_and_a_refused_delete_is_tried_again() {
    with_namespace("sweep-cut", |context| async move {
        put_orphans(&context, 0..1, -1).await;
        let [orphan] = &keys(&context).await[..] else { panic!("one") };
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
        put_orphans(&context, 0..1, -1).await;
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).args(OFTEN).ready().await;
        until_nothing_is_stored(&context).await;
        context.take_away("debugbundles").await;
        let bundles: Api<DebugBundle> = Api::namespaced(account.client().await, &context.namespace);
        until(LIMIT, "the right is gone", || async { bundles.list(&ListParams::default()).await.err() }).await;
        put_orphans(&context, 0..1, -1).await;
        until_logged(&operator, "Nothing was swept").await;
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
