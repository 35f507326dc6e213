//! Automatic DebugBundles: which Backups and Restores get one, how many, and where people find them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use debugbundle_crd::{
    DebugBundle, DebugBundlePolicy, DebugBundleSpec, Phase, SCHEDULE_LABEL, TARGET_KIND_LABEL, TARGET_NAME_LABEL,
    TARGET_UID_LABEL, TRIGGER_LABEL,
};
use futures::{StreamExt as _, stream};
use harness::{
    ApiFault, ApiProxy, Context, LogScript, Operator, Velero, moved_ago, until, velero_objects::*, with_namespace,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, ResourceQuota};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::bundles::{LIMIT, delete, is_stored, server_pod, status, until_event, until_gone, until_logged};

/// The annotation of the operator's Lease with what the automatic part remembers.
const ANNOTATION: &str = "debugbundle.io/automatic";

/// How long to wait before a test concludes that nothing further was created.
const QUIET: Duration = Duration::from_secs(2);

async fn all(context: &Context) -> Vec<DebugBundle> {
    context.api::<DebugBundle>().list(&ListParams::default()).await.expect("DebugBundles can be listed").items
}

/// `target/trigger` of each DebugBundle, sorted.
async fn made(context: &Context) -> Vec<String> {
    let label = |bundle: &DebugBundle, name: &str| bundle.labels().get(name).cloned().unwrap_or_default();
    let of = |bundle: DebugBundle| format!("{}/{}", label(&bundle, TARGET_NAME_LABEL), label(&bundle, TRIGGER_LABEL));
    let mut made: Vec<String> = all(context).await.into_iter().map(of).collect();
    made.sort();
    made
}

async fn until_made(context: &Context, wanted: &[&str]) {
    until_made_within(LIMIT, context, wanted).await;
}

async fn until_made_within(limit: Duration, context: &Context, wanted: &[&str]) {
    until(limit, &format!("DebugBundles for {wanted:?}"), || async {
        let made = made(context).await;
        if made == wanted { Ok(()) } else { Err(format!("{made:?}")) }
    })
    .await;
}

/// The DebugBundle of this target, once it has ended.
async fn until_ended(context: &Context, target: &str) -> DebugBundle {
    until(LIMIT, &format!("the DebugBundle of {target} ends"), || async {
        let of_target =
            |bundle: &DebugBundle| bundle.labels().get(TARGET_NAME_LABEL).is_some_and(|name| name == target);
        let found = all(context).await.into_iter().find(of_target);
        let ended = |bundle: &DebugBundle| status(bundle).phase.is_some_and(Phase::is_terminal);
        match found {
            Some(bundle) if ended(&bundle) => Ok(bundle),
            other => Err(format!("{:?}", other.map(|bundle| status(&bundle)))),
        }
    })
    .await
}

async fn running(context: &Context, name: &str) -> DynamicObject {
    context.create_velero(restore(name).in_progress().started(Timestamp::now())).await
}

async fn running_backup(context: &Context, name: &str) -> DynamicObject {
    context.create_velero(backup(name).in_progress().started(Timestamp::now())).await
}

async fn failed(context: &Context, name: &str) {
    running(context, name).await;
    context.end_velero("Restore", name, "Failed").await;
}

async fn policy(context: &Context, spec: Value) {
    let manifest = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundlePolicy",
        "metadata": {"name": "default"}, "spec": spec});
    let params = PatchParams::apply("test").force();
    let policies = context.api::<DebugBundlePolicy>();
    let written = policies.patch("default", &params, &Patch::Apply(manifest)).await.expect("the policy is accepted");
    until(LIMIT, "the operator follows the policy", || async {
        let seen = policies.get("default").await.expect("it is there").status.unwrap_or_default();
        (seen.observed_generation == written.metadata.generation).then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
}

/// Waits until the operator has recorded that it created this DebugBundle, the last one.
async fn until_recorded(context: &Context, bundle: &DebugBundle) {
    until(LIMIT, "the DebugBundle is on record", || async {
        let lease = context.api::<Lease>().get("debugbundle-operator").await.expect("the Lease can be read");
        let record = lease.annotations().get(ANNOTATION).cloned().unwrap_or_default();
        if record.contains(&bundle.name_any()) { Ok(()) } else { Err(record) }
    })
    .await;
}

#[tokio::test]
async fn a_restore_that_ends_badly_gets_one_bundle_and_describe_shows_the_cause() {
    with_namespace("auto-one", |context| async move {
        server_pod(&context, LogScript::lines(["level=info msg=started"])).await;
        let mut operator = Operator::of(&context).automatic().ready().await;
        let target = running(&context, "r1").await;
        context.end_velero("Restore", "r1", "PartiallyFailed").await;
        let bundle = until_ended(&context, "r1").await;
        assert_eq!(bundle.labels()[TARGET_KIND_LABEL], "Restore");
        assert_eq!(Some(&bundle.labels()[TARGET_UID_LABEL]), target.metadata.uid.as_ref());
        assert_eq!(bundle.labels()["velero.io/exclude-from-backup"], "true");
        assert_eq!(status(&bundle).trigger.map(debugbundle_crd::Trigger::as_str), Some("PartiallyFailed"));
        assert_eq!(status(&bundle).download_url, None, "nobody waits for it");
        is_stored(&context, &bundle).await;
        let note = until_event(&context, "r1", "Explained").await;
        assert!(note.contains(&bundle.name_any()), "{note}");
        let described = context.stand.kubectl(["-n", &context.namespace, "describe", "restores.velero.io", "r1"]).await;
        let described = String::from_utf8_lossy(&described.stdout).into_owned();
        assert!(described.contains("Explained") && described.contains(&bundle.name_any()), "{described}");
        let listed = context.stand.kubectl(["-n", &context.namespace, "get", "debugbundles"]).await;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains("TRIGGER") && listed.contains("PartiallyFailed"), "{listed}");

        // A flapping phase, a restart and the deletion of the DebugBundle lead to no second DebugBundle.
        until_recorded(&context, &bundle).await;
        context.patch_velero("Restore", "r1", json!({"status": {"phase": "InProgress"}})).await;
        context.end_velero("Restore", "r1", "PartiallyFailed").await;
        operator.restart().await;
        operator.wait_ready().await;
        delete(&context, &bundle.name_any()).await;
        until_gone(&context, &bundle.name_any(), LIMIT).await;
        context.end_velero("Restore", "r1", "PartiallyFailed").await;
        failed(&context, "sentinel").await;
        until_made(&context, &["sentinel/Failed"]).await;
        // Another bad end is another reason.
        context.end_velero("Restore", "r1", "Failed").await;
        until_made(&context, &["r1/Failed", "sentinel/Failed"]).await;
    })
    .await;
}

#[tokio::test]
async fn what_lies_in_the_past_came_from_elsewhere_or_is_not_wanted_leads_to_none() {
    with_namespace("auto-none", |context| async move {
        let hour_ago = Timestamp::now().checked_sub(SignedDuration::from_mins(50)).expect("a time");
        for n in 0..30 {
            context.create_velero(restore(&format!("old-{n}")).failed().ended(hour_ago)).await;
        }
        // It ended a moment before the operator's first start.
        failed(&context, "young").await;
        // Kubernetes and Velero write whole seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut operator = Operator::of(&context).automatic().ready().await;
        failed(&context, "sentinel-1").await;
        until_made(&context, &["sentinel-1/Failed"]).await;

        // Velero's sync brings Backups of another cluster, minutes old, and a restore brings copies.
        let minutes_ago = Timestamp::now().checked_sub(SignedDuration::from_mins(2)).expect("a time");
        context.create_velero(backup("synced").partially_failed().started(minutes_ago).ended(minutes_ago)).await;
        // Velero's sync marks an expired Backup that has no end as PartiallyFailed.
        context.create_velero(backup("expired").partially_failed().started(hour_ago)).await;
        context.create_velero(backup("copy").labelled("velero.io/restore-name", "r7").in_progress()).await;
        context.end_velero("Backup", "copy", "Failed").await;
        context.create_velero(backup("skipped").labelled("debugbundle.io/skip", "true").in_progress()).await;
        context.end_velero("Backup", "skipped", "Failed").await;
        context.create_velero(schedule("quiet").labelled("debugbundle.io/skip", "true")).await;
        context.create_velero(backup("of-quiet").of_schedule("quiet").in_progress()).await;
        context.end_velero("Backup", "of-quiet", "Failed").await;
        context.create_velero(backup("good").in_progress()).await;
        context.end_velero("Backup", "good", "Completed").await;
        failed(&context, "sentinel-2").await;
        until_made(&context, &["sentinel-1/Failed", "sentinel-2/Failed"]).await;

        // A Restore that ended while the operator was down gets a DebugBundle.
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        failed(&context, "while-down").await;
        operator.restart().await;
        until_made(&context, &["sentinel-1/Failed", "sentinel-2/Failed", "while-down/Failed"]).await;
        tokio::time::sleep(QUIET).await;
        assert_eq!(made(&context).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn one_that_hangs_gets_one_and_one_that_moves_or_waits_behind_it_none() {
    with_namespace("auto-stuck", |context| async move {
        let (hour, minute) = (SignedDuration::from_mins(40), SignedDuration::from_mins(1));
        for (name, below) in [("hangs", hour), ("moves", minute)] {
            let owner = running(&context, name).await;
            let volume = format!("{name}-pvr");
            context.create_velero(pod_volume_restore(&volume).of(&owner).in_progress()).await;
            moved_ago(&context, "PodVolumeRestore", &volume, below).await;
            moved_ago(&context, "Restore", name, hour).await;
        }
        context.create_velero(restore("waits").phase("New")).await;
        moved_ago(&context, "Restore", "waits", hour).await;
        context.create_velero(backup("nobody").phase("New")).await;
        moved_ago(&context, "Backup", "nobody", hour).await;
        let _operator = Operator::of(&context).automatic().ready().await;
        until_made(&context, &["hangs/Stuck", "nobody/Stuck"]).await;
        // Then it ends badly: that is another reason.
        context.end_velero("Restore", "hangs", "Failed").await;
        until_made(&context, &["hangs/Failed", "hangs/Stuck", "nobody/Stuck"]).await;
    })
    .await;
}

#[tokio::test]
async fn issue_32_names_that_somebody_took_beforehand_cost_no_bundle() {
    with_namespace("auto-taken", |context| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        let target = running(&context, "r1").await;
        let named = |text: String| format!("restore-r1-{}", &debugbundle_format::hex_digest(text.as_bytes())[..10]);
        // The first name follows from the target's UID. The others seem to follow from the one before.
        let mut taken = vec![named(format!("{}/Failed", target.metadata.uid.as_deref().expect("a UID")))];
        for n in 0..4 {
            context.debug_bundle(&taken[n], json!({})).await;
            let there = context.api::<DebugBundle>().get(&taken[n]).await.expect("it is there");
            taken.push(named(format!("{}/{}", taken[n], there.uid().expect("a UID"))));
        }
        context.end_velero("Restore", "r1", "Failed").await;
        let bundle = until_ended(&context, "r1").await;
        assert!(!taken.contains(&bundle.name_any()));
        assert_eq!(bundle.labels()[TRIGGER_LABEL], "Failed");
        assert_eq!(all(&context).await.len(), 5, "the names were taken, or this shows nothing");
    })
    .await;
}

/// Restores that hang, each a little later than the one before: how late is each DebugBundle?
#[tokio::test]
async fn a_hang_is_reported_when_it_is_one() {
    with_namespace("auto-late", |context| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"stuckAfter": "5m", "ratePerHour": 100, "keepTotal": 100})).await;
        // Two hang each second, from a time on at which all of them are there.
        let first = Timestamp::now() + SignedDuration::from_secs(60);
        let context = &context;
        let put = async |n: i64| {
            let (name, hangs) = (format!("r{n:02}"), first + SignedDuration::from_millis(500 * n));
            let owner = running(context, &name).await;
            let volume = format!("{name}-pvr");
            context.create_velero(pod_volume_restore(&volume).of(&owner).in_progress()).await;
            // The volume is the last that moved.
            let moved = SignedDuration::from_mins(5) - hangs.duration_since(Timestamp::now());
            moved_ago(context, "PodVolumeRestore", &volume, moved).await;
            moved_ago(context, "Restore", &name, moved * 2).await;
            assert!(Timestamp::now() < first, "{name} was there too late");
            (format!("{name}/Stuck"), hangs)
        };
        let hung: BTreeMap<String, Timestamp> = stream::iter(0..100).map(put).buffer_unordered(8).collect().await;
        let wanted: Vec<_> = hung.keys().map(String::as_str).collect();
        until_made_within(Duration::from_mins(3), context, &wanted).await;
        let mut late: Vec<i64> = Vec::new();
        for bundle in all(context).await {
            let name = format!("{}/Stuck", bundle.labels()[TARGET_NAME_LABEL]);
            let created = bundle.metadata.creation_timestamp.expect("a time").0;
            late.push(created.as_second() - hung[&name].as_second());
        }
        late.sort_unstable();
        println!("seconds from the hang to the DebugBundle: median {}, p99 {}, all {late:?}", late[49], late[98]);
        // The operator looks every five seconds.
        assert!(late.len() == 100 && late.iter().all(|late| (-1..=8).contains(late)), "{late:?}");
    })
    .await;
}

#[tokio::test]
async fn where_data_may_not_be_listed_no_hang_is_seen_and_event_and_policy_name_the_rule() {
    with_namespace("auto-blind", |context| async move {
        let account = context.shipped_account().await;
        let api = ApiProxy::of(&account).await;
        let behind = account.through(&api.endpoint());
        let operator = Operator::of(&context).automatic().as_user(&behind.kubeconfig).ready().await;
        api.next(1000, |line| line.starts_with("GET ") && line.contains("/podvolumerestores?"), ApiFault::Forbidden);
        policy(&context, json!({"stuckAfter": "5m"})).await;
        for name in ["r1", "r2"] {
            running(&context, name).await;
            moved_ago(&context, "Restore", name, SignedDuration::from_mins(6)).await;
        }
        context.create_velero(restore("waits").phase("New")).await;
        moved_ago(&context, "Restore", "waits", SignedDuration::from_mins(6)).await;
        let missing = "the operator may not list podvolumerestores.velero.io: grant the operator rule R4 of its Role";
        until(LIMIT, "the policy's status names the rule", || async {
            let seen = context.api::<DebugBundlePolicy>().get("default").await.expect("it is there").status;
            let ready = seen.unwrap_or_default().conditions.pop().ok_or("no condition")?;
            if ready.message.contains(missing) { Ok(()) } else { Err(ready.message) }
        })
        .await;
        // A Backup's data may be read.
        running_backup(&context, "b1").await;
        // It hangs later than the policy was written.
        moved_ago(&context, "Backup", "b1", SignedDuration::from_secs(4 * 60 + 55)).await;
        until_made(&context, &["b1/Stuck"]).await;
        tokio::time::sleep(QUIET).await;
        assert_eq!(made(&context).await, ["b1/Stuck"], "their own status alone would be a false alarm");
        let mut notes = Vec::new();
        for name in ["r1", "r2", "waits"] {
            notes.extend(crate::support::bundles::events(&context, name).await);
        }
        let [(reason, note)] = &notes[..] else { panic!("one Event: {notes:?}") };
        assert!(reason == "PermissionMissing" && note.contains(missing), "{reason}: {note}");
        let warned =
            operator.log().iter().filter(|line| line["message"] == "Whether a target hangs is unknown").count();
        assert_eq!(warned, 1);
    })
    .await;
}

#[tokio::test]
async fn the_policy_limits_selects_keeps_and_counts() {
    with_namespace("auto-policy", |context| async move {
        let mut operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"triggers": ["Failed"], "ratePerHour": 3, "keepPerTarget": 1, "keepTotal": 2})).await;
        for name in ["night-1", "night-2"] {
            context.create_velero(backup(name).of_schedule("night").in_progress()).await;
            context.end_velero("Backup", name, "Failed").await;
            until(LIMIT, "its DebugBundle is there", || async {
                let made = made(&context).await;
                made.contains(&format!("{name}/Failed")).then_some(()).ok_or(format!("{made:?}"))
            })
            .await;
            // Ages have whole seconds.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // The Backups of a Schedule count as one target.
        until_made(&context, &["night-2/Failed"]).await;
        failed(&context, "r1").await;
        until_made(&context, &["night-2/Failed", "r1/Failed"]).await;
        for name in ["r2", "r3"] {
            failed(&context, name).await;
        }
        running(&context, "other").await;
        context.end_velero("Restore", "other", "PartiallyFailed").await;
        let policies = context.api::<DebugBundlePolicy>();
        let counted = until(LIMIT, "the policy's status counts", || async {
            let status = policies.get("default").await.expect("it is there").status.unwrap_or_default();
            (status.left_out.len() == 2 && status.made == 3).then_some(status.clone()).ok_or(format!("{status:?}"))
        })
        .await;
        assert_eq!(counted.left_out, BTreeMap::from([("NotSelected".into(), 1), ("RateLimited".into(), 2)]));
        assert_eq!(counted.last_bundle.expect("the last one").target, "Restore r1");
        let note = until_event(&context, "r2", "RateLimited").await;
        assert!(note.contains("kubectl debugbundle create --restore r2"), "{note}");
        until_event(&context, "r3", "RateLimited").await;

        // After a change of the policy, targets that were left out still get no DebugBundle.
        policy(&context, json!({"ratePerHour": 100, "template": {"ttl": "24h"}})).await;
        running(&context, "last").await;
        context.end_velero("Restore", "last", "FailedValidation").await;
        until(LIMIT, "the last one has its DebugBundle", || async {
            let made = made(&context).await;
            made.contains(&"last/FailedValidation".to_owned()).then_some(()).ok_or(format!("{made:?}"))
        })
        .await;
        assert!(!made(&context).await.iter().any(|made| made.starts_with("r2/") || made.starts_with("other/")));
        assert_eq!(until_ended(&context, "last").await.spec.ttl, "24h");
        policy(&context, json!({"suspend": true})).await;
        failed(&context, "suspended").await;
        until(LIMIT, "it is counted", || async {
            let status = policies.get("default").await.expect("it is there").status.unwrap_or_default();
            (status.left_out.get("Suspended") == Some(&1)).then_some(()).ok_or(format!("{status:?}"))
        })
        .await;

        // The next process follows the same policy.
        let before = made(&context).await;
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        operator.restart().await;
        failed(&context, "after-restart").await;
        until(LIMIT, "it is left out", || async {
            let log = operator.log();
            let left_out = log.iter().map(Value::to_string).any(|line| {
                line.contains("No DebugBundle is created")
                    && line.contains("after-restart")
                    && line.contains("Suspended")
            });
            left_out.then_some(()).ok_or(operator.process().tail(3))
        })
        .await;
        assert_eq!(made(&context).await, before, "the policy's limits hold, not the defaults'");
    })
    .await;
}

/// A user who may only create DebugBundles must not make the operator delete others.
#[tokio::test]
async fn copied_labels_make_the_operator_delete_no_evidence() {
    with_namespace("auto-copies", |context| async move {
        let mut operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"keepTotal": 3, "keepPerTarget": 3})).await;
        for name in ["r1", "r2"] {
            failed(&context, name).await;
            is_stored(&context, &until_ended(&context, name).await).await;
            // Ages have whole seconds.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let labels = all(&context).await[0].labels().clone();
        for n in 0..20 {
            let copy = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundle",
                "metadata": {"name": format!("copy-{n}"), "labels": labels},
                "spec": {"target": {"kind": "Restore", "name": "nobody"}}});
            context.create::<DebugBundle>(copy).await;
        }
        // The operator deletes with each tick, and a new policy takes a tick.
        for rate in [20, 30] {
            policy(&context, json!({"keepTotal": 3, "keepPerTarget": 3, "ratePerHour": rate})).await;
        }
        let names: Vec<String> = all(&context).await.iter().map(kube::ResourceExt::name_any).collect();
        assert_eq!(names.len(), 22, "{names:?}");
        // Its own still count, also after a restart.
        operator.restart().await;
        for name in ["r3", "r4"] {
            failed(&context, name).await;
        }
        until(LIMIT, "the oldest of its own is deleted", || async {
            let names: Vec<String> = all(&context).await.iter().map(kube::ResourceExt::name_any).collect();
            let own: Vec<_> = names.iter().filter(|name| name.starts_with("restore-")).collect();
            let is = own.len() == 3 && !own.iter().any(|name| name.starts_with("restore-r1-"));
            (is && names.len() == 23).then_some(()).ok_or(format!("{names:?}"))
        })
        .await;
        until(LIMIT, "the record forgets what is gone", || async {
            let lease = context.api::<Lease>().get("debugbundle-operator").await.expect("the Lease can be read");
            let record: Value = serde_json::from_str(&lease.annotations()[ANNOTATION]).expect("JSON");
            let kept = record["kept"].as_array().map_or(0, Vec::len);
            (kept == 3).then_some(()).ok_or(record["kept"].to_string())
        })
        .await;
    })
    .await;
}

async fn failed_backup(context: &Context, name: &str, schedule: &str) {
    context.create_velero(backup(name).of_schedule(schedule).in_progress().started(Timestamp::now())).await;
    context.end_velero("Backup", name, "Failed").await;
}

/// Waits until the policy's status counts this many that were created, and this many that the rate left out.
async fn until_decided(context: &Context, made: i64, left_out: i64) {
    until(LIMIT, &format!("{made} are created and {left_out} left out"), || async {
        let policy = context.api::<DebugBundlePolicy>().get("default").await.expect("there is a policy");
        let status = policy.status.unwrap_or_default();
        let decided = status.left_out.get("RateLimited") == Some(&left_out) && status.made == made;
        decided.then_some(()).ok_or(format!("{status:?}"))
    })
    .await;
}

/// The number of DebugBundles by the Schedule of their target; the empty name: without one.
async fn by_schedule(context: &Context) -> BTreeMap<String, usize> {
    let mut numbers = BTreeMap::new();
    for bundle in all(context).await {
        *numbers.entry(bundle.labels().get(SCHEDULE_LABEL).cloned().unwrap_or_default()).or_default() += 1;
    }
    numbers
}

#[tokio::test]
async fn a_schedule_that_fails_all_the_time_leaves_bundles_for_others_and_each_that_gets_none_has_its_event() {
    with_namespace("auto-shares", |context| async move {
        let mut operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"keepPerTarget": 10})).await;
        for n in 0..12 {
            failed_backup(&context, &format!("night-{n:02}"), "night").await;
        }
        until_left_out(&context, "RateLimited", 9).await;
        // A restart does not forget for whom the DebugBundles were created.
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        operator.restart().await;
        failed(&context, "r1").await;
        // After the restart, nine are left out anew.
        until_decided(&context, 4, 18).await;
        for n in 0..4 {
            failed_backup(&context, &format!("week-{n}"), "week").await;
        }
        until_decided(&context, 7, 19).await;
        failed_backup(&context, "month-0", "month").await;
        for name in ["r2", "r3", "r4"] {
            failed(&context, name).await;
        }
        until_decided(&context, 10, 20).await;
        failed(&context, "r5").await;
        until_decided(&context, 10, 21).await;
        let numbers = [(String::new(), 4), ("night".to_owned(), 3), ("week".to_owned(), 3)];
        assert_eq!(by_schedule(&context).await, BTreeMap::from(numbers));
        let made = made(&context).await;
        assert!(made.contains(&"r1/Failed".to_owned()), "{made:?}");
        let mut of_night = 0;
        for n in 0..12 {
            let name = format!("night-{n:02}");
            if !made.contains(&format!("{name}/Failed")) {
                let note = until_event(&context, &name, "RateLimited").await;
                assert!(note.contains("3 were created within the last hour for Schedule night"), "{note}");
                of_night += 1;
            }
        }
        assert_eq!(of_night, 9);
        let note = until_event(&context, "month-0", "RateLimited").await;
        assert!(note.contains("6 were created within the last hour for Backups of Schedules"), "{note}");
        let note = until_event(&context, "r5", "RateLimited").await;
        assert!(note.contains("10 were created within the last hour, the most"), "{note}");
    })
    .await;
}

#[tokio::test]
async fn fifty_that_get_none_have_an_event_each_and_one_event_counts_the_others() {
    with_namespace("auto-fifty", |context| async move {
        let mut operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"ratePerHour": 1})).await;
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        // Kubernetes and Velero write whole seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for n in 0..60 {
            failed(&context, &format!("r{n}")).await;
        }
        operator.restart().await;
        until_left_out(&context, "RateLimited", 59).await;
        let events = until(LIMIT, "the others are counted", || async {
            let events: Api<Event> = Api::namespaced(context.client.clone(), &context.namespace);
            let events = events.list(&ListParams::default()).await.expect("Events can be listed");
            let of_rate = events.items.into_iter().filter(|event| event.reason.as_deref() == Some("RateLimited"));
            let notes: Vec<_> = of_rate.map(|event| event.message.unwrap_or_default()).collect();
            if notes.iter().any(|note| note.contains("of their own from")) {
                Ok(notes)
            } else {
                Err(format!("{}", notes.len()))
            }
        })
        .await;
        assert_eq!(events.len(), 51);
        assert_eq!(events.iter().filter(|note| note.contains(": 9; this is the last of them")).count(), 1);
    })
    .await;
}

#[tokio::test]
async fn one_that_is_deleted_while_it_waits_for_its_store_leaves_an_event_with_its_cause() {
    with_namespace("auto-superseded", |context| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"keepPerTarget": 1})).await;
        let away = json!({"spec": {"config": {"s3Url": "http://127.0.0.1:9"}}});
        context.patch_velero("BackupStorageLocation", "default", away).await;
        for name in ["night-1", "night-2"] {
            let reason = format!("{name}: no space left");
            context.create_velero(backup(name).of_schedule("night").in_progress().started(Timestamp::now())).await;
            context.patch_velero("Backup", name, json!({"status": {"failureReason": reason}})).await;
            context.end_velero("Backup", name, "Failed").await;
            until(LIMIT, "its DebugBundle waits for the store", || async {
                let all = all(&context).await;
                let of_this = all.iter().find(|bundle| bundle.labels()[TARGET_NAME_LABEL] == name).ok_or("none")?;
                let status = status(of_this);
                status.cause.as_ref().map(|_| ()).ok_or(format!("{status:?}"))
            })
            .await;
            // Ages have whole seconds.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        until_made(&context, &["night-2/Failed"]).await;
        let note = until_event(&context, "night-1", "Superseded").await;
        assert!(note.contains("night-1: no space left") && note.contains("keepPerTarget"), "{note}");
    })
    .await;
}

const COUNT: &str = "count/debugbundles.debugbundle.io";

/// A ResourceQuota that nobody has counted yet.
async fn create_quota(context: &Context, hard: &str) {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "bundles"},
        "spec": {"hard": {COUNT: hard}}});
    context.create::<ResourceQuota>(quota).await;
}

/// The same, once it is in force: the API server refuses each creation.
async fn create_uncounted_quota(context: &Context) {
    create_quota(context, "1").await;
    let uncounted = Patch::Merge(json!({"status": {"hard": {COUNT: "1"}}}));
    let quotas = context.api::<ResourceQuota>();
    quotas.patch_status("bundles", &PatchParams::default(), &uncounted).await.expect("it is in force");
    until(LIMIT, "the API server refuses a creation", || async {
        let trial = PostParams { dry_run: true, ..PostParams::default() };
        let bundle = DebugBundle::new("trial", DebugBundleSpec::installation());
        let refused = context.api::<DebugBundle>().create(&trial, &bundle).await.err().map(|error| error.to_string());
        refused.filter(|why| why.contains("status unknown for quota"))
    })
    .await;
}

/// What a controller-manager writes into its status; the stand runs none.
fn counted(hard: &str, used: &str) -> Patch<Value> {
    Patch::Merge(json!({"status": {"hard": {COUNT: hard}, "used": {COUNT: used}}}))
}

#[tokio::test]
async fn a_full_quota_makes_room_by_the_oldest_automatic_one() {
    with_namespace("auto-quota", |context| async move {
        let operator = Operator::of(&context).automatic().ready().await;
        let quotas = context.api::<ResourceQuota>();
        let counted = |used: &str| counted("1", used);
        // Right after the installation the quota is not counted yet, and the API server refuses each creation.
        create_uncounted_quota(&context).await;
        failed(&context, "r1").await;
        until_logged(&operator, "A DebugBundle was not created; trying again").await;
        quotas.patch_status("bundles", &PatchParams::default(), &counted("0")).await.expect("the quota is counted");
        let first = until_ended(&context, "r1").await;
        quotas.patch_status("bundles", &PatchParams::default(), &counted("1")).await.expect("the quota is counted");
        failed(&context, "r2").await;
        until_gone(&context, &first.name_any(), LIMIT).await;
        quotas.patch_status("bundles", &PatchParams::default(), &counted("0")).await.expect("the quota is counted");
        until_made(&context, &["r2/Failed"]).await;
    })
    .await;
}

#[tokio::test]
async fn issue_32_a_policy_that_is_written_while_a_creation_is_tried_again_decides_whether_it_is_still_wanted() {
    with_namespace("auto-retried", |context| async move {
        let operator = Operator::of(&context).automatic().ready().await;
        create_uncounted_quota(&context).await;
        let names = ["r1", "unwanted"];
        failed(&context, "r1").await;
        running_backup(&context, "unwanted").await;
        context.end_velero("Backup", "unwanted", "Failed").await;
        until(LIMIT, "both are tried again", || async {
            let log = operator.log();
            let tried = |name: &str| {
                log.iter().any(|line| {
                    line["message"] == "A DebugBundle was not created; trying again"
                        && line["subject"].as_str().is_some_and(|subject| subject.ends_with(name))
                })
            };
            names.into_iter().all(tried).then_some(())
        })
        .await;
        // The end of both is older than the policy, which is written in a later second.
        tokio::time::sleep(Duration::from_secs(2)).await;
        policy(&context, json!({"kinds": ["Restore"]})).await;
        until_left_out(&context, "NotSelected", 1).await;
        let quotas = context.api::<ResourceQuota>();
        quotas.patch_status("bundles", &PatchParams::default(), &counted("1", "0")).await.expect("it is counted");
        until_made(&context, &["r1/Failed"]).await;
        let events = context.api::<Event>().list(&ListParams::default()).await.expect("a list").items;
        let refused = events.iter().filter(|event| event.reason.as_deref() == Some("Refused")).count();
        assert_eq!(refused, 0, "{events:?}");
    })
    .await;
}

#[tokio::test]
async fn b4_a_creation_whose_answer_was_lost_is_not_made_twice() {
    with_namespace("auto-lost-reply", |context| async move {
        let account = context.shipped_account().await;
        let api = ApiProxy::of(&account).await;
        let behind = account.through(&api.endpoint());
        let mut operator = Operator::of(&context).automatic().as_user(&behind.kubeconfig).ready().await;
        api.next(1, |line| line.starts_with("POST ") && line.contains("/debugbundles?"), ApiFault::LoseReply);
        failed(&context, "r1").await;
        until(LIMIT, "the answer is lost", || async { (api.left() == 0).then_some(()) }).await;
        let bundle = until_ended(&context, "r1").await;
        is_stored(&context, &bundle).await;
        until_logged(&operator, "Created a DebugBundle").await;
        failed(&context, "sentinel").await;
        until_made(&context, &["r1/Failed", "sentinel/Failed"]).await;
        assert_eq!(until_ended(&context, "r1").await.metadata.uid, bundle.metadata.uid);
        until_recorded(&context, &until_ended(&context, "sentinel").await).await;

        // The creation is on record: after its deletion, the DebugBundle is not created again.
        delete(&context, &bundle.name_any()).await;
        operator.restart().await;
        failed(&context, "sentinel-2").await;
        until_made(&context, &["sentinel-2/Failed", "sentinel/Failed"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_creation_that_is_refused_until_its_time_is_over_is_counted_and_has_its_event() {
    with_namespace("auto-refused", |context| async move {
        let mut operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"maxAge": "5m"})).await;
        failed(&context, "seen").await;
        until_recorded(&context, &until_ended(&context, "seen").await).await;
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        // The operator began an hour ago, and the policy has been in force since then.
        let leases = context.api::<Lease>();
        let lease = leases.get("debugbundle-operator").await.expect("the Lease can be read");
        let mut record: Value = serde_json::from_str(&lease.annotations()[ANNOTATION]).expect("JSON");
        let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
        record["firstStart"] = hour_ago.to_string().into();
        record["policy"]["since"] = hour_ago.to_string().into();
        let change = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION: record.to_string()}}}));
        leases.patch("debugbundle-operator", &PatchParams::default(), &change).await.expect("it can be written");
        // A quota that is never counted refuses each creation.
        create_uncounted_quota(&context).await;
        running(&context, "r1").await;
        moved_ago(&context, "Restore", "r1", SignedDuration::from_mins(6)).await;
        operator.restart().await;
        failed(&context, "sentinel").await;
        until_logged(&operator, "A DebugBundle was not created; trying again").await;
        // The operator has seen r1 unfinished. It ended almost five minutes ago.
        let ended = (Timestamp::now() - SignedDuration::from_secs(280)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let failed = json!({"status": {"phase": "Failed", "completionTimestamp": ended}});
        context.patch_velero("Restore", "r1", failed).await;
        until_left_out(&context, "Refused", 1).await;
        let note = until_event(&context, "r1", "Refused").await;
        assert!(note.contains("no try succeeded within maxAge (5m): "), "{note}");
        assert!(note.contains("status unknown for quota"), "{note}");
        assert!(note.contains("kubectl debugbundle create --restore r1"), "{note}");
    })
    .await;
}

#[tokio::test]
async fn killed_after_a_creation_that_is_not_on_record_it_creates_no_second_one() {
    with_namespace("auto-kill", |context| async move {
        let mut operator = Operator::of(&context).automatic().crash_at("created").ready().await;
        failed(&context, "r1").await;
        assert_eq!(operator.wait_exit(LIMIT).await, 137);
        let [created] = &all(&context).await[..] else { panic!("one") };
        operator.restart().await;
        let bundle = until_ended(&context, "r1").await;
        is_stored(&context, &bundle).await;
        failed(&context, "sentinel").await;
        until_made(&context, &["r1/Failed", "sentinel/Failed"]).await;
        assert_eq!(bundle.metadata.uid, created.metadata.uid);
    })
    .await;
}

#[tokio::test]
async fn h5_a_restore_with_the_longest_name_is_explained_like_any_other() {
    with_namespace("auto-long", |context| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        let name = format!("{}.{}", "r".repeat(231), "1".repeat(21));
        assert_eq!(name.len(), 253);
        failed(&context, &name).await;
        let bundle = until(LIMIT, "its DebugBundle ends", || async {
            let found = all(&context).await.pop().ok_or("none")?;
            let status = status(&found);
            if status.phase.is_some_and(Phase::is_terminal) { Ok(found) } else { Err(format!("{status:?}")) }
        })
        .await;
        assert_eq!(bundle.name_any().len(), 253);
        is_stored(&context, &bundle).await;
        until_event(&context, &bundle.name_any(), "Collecting").await;
        let note = until_event(&context, &name, "Explained").await;
        assert!(note.contains(&bundle.name_any()), "{note}");
    })
    .await;
}

/// The stories of the README, with a real Velero: a Restore into a full quota, a Backup that failed with its server, and
/// a Restore that hangs. Nobody asks for a bundle.
#[tokio::test]
async fn what_really_failed_or_hangs_is_explained_before_anybody_asks() {
    with_namespace("auto-velero", |context: Arc<Context>| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        let mut velero = Velero::of(&context).fs_timeout("4h").start().await;

        let partial = velero.partially_failed_restore("r1").await;
        is_explained(&context, "Restore", "r1", "PartiallyFailed", "exceeded quota").await;
        let after = context.velero_api("Restore").get("r1").await.expect("it is there");
        assert_eq!(after.data["status"], partial.data["status"], "nothing is written to Velero's object");

        velero.failed_backup("b1").await;
        is_explained(&context, "Backup", "b1", "Failed", "container velero was OOMKilled").await;

        velero.stuck_restore("r2").await;
        let shop = format!("{}-r2", context.namespace);
        let event = json!({
            "metadata": {"name": "shop-0.1"}, "involvedObject": {"kind": "Pod", "namespace": shop, "name": "shop-0"},
            "type": "Warning", "reason": "FailedAttachVolume", "message": "Multi-Attach error for volume",
            "lastTimestamp": Timestamp::now(),
        });
        let events: Api<Event> = Api::namespaced(context.client.clone(), &shop);
        events
            .create(&PostParams::default(), &serde_json::from_value(event).expect("an Event"))
            .await
            .expect("it exists");
        let volumes = context.velero_api("PodVolumeRestore").list(&ListParams::default()).await.expect("a list");
        for volume in volumes {
            moved_ago(&context, "PodVolumeRestore", &volume.name_any(), SignedDuration::from_mins(40)).await;
        }
        moved_ago(&context, "Restore", "r2", SignedDuration::from_mins(40)).await;
        is_explained(&context, "Restore", "r2", "Stuck", "Multi-Attach error").await;
    })
    .await;
}

/// One DebugBundle is made of the target, by itself; it has the cause, as has the target's Event. Prints how long that
/// took since the target's phase was seen.
async fn is_explained(context: &Arc<Context>, kind: &str, name: &str, trigger: &str, cause: &str) {
    let began = Instant::now();
    let wanted = format!("{name}/{trigger}");
    until(LIMIT, &format!("a DebugBundle for {wanted}"), || async {
        let made = made(context).await;
        made.contains(&wanted).then_some(()).ok_or(format!("{made:?}"))
    })
    .await;
    let created = began.elapsed();
    let bundle = until_ended(context, name).await;
    println!(
        "{kind} {name} is {trigger}: DebugBundle after {:.1} s, stored after {:.1} s",
        created.as_secs_f32(),
        began.elapsed().as_secs_f32()
    );
    let status = status(&bundle);
    assert!(status.cause.as_ref().is_some_and(|first| first.contains(cause)), "{status:?}");
    is_stored(context, &bundle).await;
    let note = until_event(context, name, "Explained").await;
    assert!(note.contains(cause) && note.contains(&bundle.name_any()), "{note}");
    let resource = format!("{}s.velero.io", kind.to_lowercase());
    let described = context.stand.kubectl(["-n", &context.namespace, "describe", &resource, name]).await;
    let described = String::from_utf8_lossy(&described.stdout).into_owned();
    assert!(described.contains("Explained") && described.contains(cause), "{described}");
}

#[tokio::test]
async fn the_policy_in_the_documentation_is_accepted_as_it_is() {
    with_namespace("auto-docs", |context| async move {
        let page = include_str!("../../docs/automatic.md");
        let (_, rest) = page.split_once("```yaml\n").expect("the page has a policy");
        let (policy, _) = rest.split_once("```").expect("it ends");
        let policy = policy.replace("namespace: velero", &format!("namespace: {}", context.namespace));
        let file = context.folder("docs").join("policy.yaml");
        std::fs::write(&file, policy).expect("the stand's folder can be written");
        let applied = context.stand.kubectl(["apply", "-f", &file.display().to_string()]).await;
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    })
    .await;
}

#[tokio::test]
async fn what_failed_after_a_change_of_the_policy_gets_one_even_if_the_operator_saw_neither() {
    with_namespace("auto-unseen", |context| async move {
        let mut operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"ratePerHour": 20})).await;
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        let manifest = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundlePolicy",
            "metadata": {"name": "default"}, "spec": {"ratePerHour": 30}});
        let params = PatchParams::apply("test").force();
        context.api::<DebugBundlePolicy>().patch("default", &params, &Patch::Apply(manifest)).await.expect("accepted");
        // Kubernetes and Velero write whole seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        failed(&context, "later").await;
        operator.restart().await;
        until_made(&context, &["later/Failed"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_may_not_be_read_for_a_moment_is_waited_for() {
    with_namespace("auto-unread", |context| async move {
        let account = context.shipped_account().await;
        let api = ApiProxy::of(&account).await;
        let behind = account.through(&api.endpoint());
        let mut operator = Operator::of(&context).automatic().as_user(&behind.kubeconfig).ready().await;
        policy(&context, json!({"triggers": ["Stuck"]})).await;
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        failed(&context, "r1").await;
        api.next(1, |line| line.starts_with("GET ") && line.contains("/debugbundlepolicies"), ApiFault::Forbidden);
        operator.restart().await;
        until_logged(&operator, "The DebugBundlePolicy cannot be read: no DebugBundle is created until it can").await;
        until_left_out(&context, "NotSelected", 1).await;
        assert_eq!(made(&context).await, [""; 0], "the policy does not want it");
    })
    .await;
}

#[tokio::test]
async fn what_a_full_quota_refuses_does_not_use_up_the_rate() {
    with_namespace("auto-no-room", |context| async move {
        let mut operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"ratePerHour": 3})).await;
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        create_quota(&context, "0").await;
        let quotas = context.api::<ResourceQuota>();
        quotas
            .patch_status("bundles", &PatchParams::default(), &counted("0", "0"))
            .await
            .expect("the quota is counted");
        // Kubernetes and Velero write whole seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for n in 0..10 {
            failed(&context, &format!("r{n}")).await;
        }
        operator.restart().await;
        until_left_out(&context, "QuotaExceeded", 10).await;
        for n in 0..10 {
            until_event(&context, &format!("r{n}"), "QuotaExceeded").await;
        }
    })
    .await;
}

/// Status, reason and message of the policy's condition Ready, once `such` holds for it.
async fn until_policy_is(context: &Context, such: impl Fn(&str, &str, &str) -> bool) -> String {
    until(LIMIT, "the policy's condition", || async {
        let status = context.api::<DebugBundlePolicy>().get("default").await.expect("there is a policy").status;
        let ready = status.unwrap_or_default().conditions.pop().ok_or("no condition")?;
        if such(&ready.status, &ready.reason, &ready.message) { Ok(ready.message) } else { Err(format!("{ready:?}")) }
    })
    .await
}

#[tokio::test]
async fn issue_32_without_a_policy_that_ever_worked_a_broken_one_makes_no_bundle() {
    with_namespace("auto-never", |context| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        let rules = |rules: Value| json!({"template": {"redaction": {"rules": rules}}});
        policy(&context, rules(json!(["shop-[0-9]{4}", "("]))).await;
        let message = until_policy_is(&context, |status, reason, _| (status, reason) == ("False", "InvalidSpec")).await;
        assert!(!message.contains("stays in force"), "{message}");
        failed(&context, "one").await;
        tokio::time::sleep(QUIET).await;
        assert_eq!(all(&context).await.len(), 0, "its rules are not known");
        policy(&context, rules(json!(["shop-[0-9]{4}"]))).await;
        failed(&context, "two").await;
        // `kubectl replace --force` with a typo.
        context.api::<DebugBundlePolicy>().delete("default", &DeleteParams::default()).await.unwrap();
        tokio::time::sleep(QUIET).await;
        policy(&context, rules(json!(["("]))).await;
        failed(&context, "three").await;
        let made = until(LIMIT, "bundles of two and three", || async {
            let all = all(&context).await;
            let of = |name: &str| all.iter().find(|one| one.spec.target.as_ref().is_some_and(|to| to.name == name));
            of("two").cloned().zip(of("three").cloned()).ok_or(format!("{}", all.len()))
        });
        let (two, three) = made.await;
        assert_eq!(
            (&two.spec.redaction.rules, &three.spec.redaction.rules),
            (&vec!["shop-[0-9]{4}".to_owned()], &two.spec.redaction.rules)
        );
    })
    .await;
}

#[tokio::test]
async fn issue_32_a_restore_from_a_schedule_that_cannot_exist_gets_its_bundles() {
    with_namespace("auto-schedule", |context| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        let names = ["nightly backup", "a/b", "../backups/x", "ä", "A%zz", "a\nb", "x,y=z"];
        for (number, schedule) in names.iter().enumerate() {
            let name = format!("r{number}");
            context.create_velero(restore(&name).of_schedule(schedule)).await;
            let errors = json!({"status": {"validationErrors": ["No backups found for schedule"]}});
            context.patch_velero("Restore", &name, errors).await;
            context.end_velero("Restore", &name, "FailedValidation").await;
            context
                .debug_bundle(
                    &format!("asked-{name}"),
                    json!({"target": {"kind": "Restore", "name": name}, "storageLocation": "default"}),
                )
                .await;
        }
        for (number, schedule) in names.iter().enumerate() {
            let bundle = context.until_bundle_ended(&format!("asked-r{number}")).await;
            assert_eq!(bundle.cause.as_deref(), Some("No backups found for schedule"), "{schedule:?}");
            assert!(bundle.bundle.is_some(), "{bundle:?}");
        }
        let wanted: Vec<String> = (0..names.len()).map(|number| format!("r{number}/FailedValidation")).collect();
        until(LIMIT, "automatic ones", || async {
            let made = made(&context).await;
            let missing: Vec<_> = wanted.iter().filter(|one| !made.contains(one)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of {made:?}")) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_cannot_work_is_not_ready_and_the_last_that_worked_stays_in_force_also_after_a_restart() {
    with_namespace("auto-invalid", |context| async move {
        let mut operator = Operator::of(&context).automatic().ready().await;
        let good = json!({"triggers": ["Failed"], "template": {"redaction": {"rules": ["shop-[0-9]{4}"]}}});
        policy(&context, good).await;
        for (name, bad) in [("one", json!(["("])), ("large", json!(vec!["[a-zé]{200}\\w{200}"; 40]))] {
            policy(&context, json!({"template": {"redaction": {"rules": bad}}})).await;
            let message =
                until_policy_is(&context, |status, reason, _| (status, reason) == ("False", "InvalidSpec")).await;
            assert!(message.starts_with("spec.template.redaction.rules"), "{message}");
            assert!(message.contains("the last policy that worked stays in force"), "{message}");
            failed(&context, name).await;
        }
        let note = until_event(&context, "default", "InvalidSpec").await;
        assert!(note.contains("spec.template.redaction.rules"), "{note}");
        operator.terminate();
        operator.wait_exit(LIMIT).await;
        operator.restart().await;
        failed(&context, "after").await;
        running(&context, "other").await;
        context.end_velero("Restore", "other", "PartiallyFailed").await;
        until_made(&context, &["after/Failed", "large/Failed", "one/Failed"]).await;
        until_left_out(&context, "NotSelected", 1).await;
        for name in ["after", "large", "one"] {
            let bundle = until_ended(&context, name).await;
            assert_eq!(bundle.spec.redaction.rules, ["shop-[0-9]{4}"]);
            is_stored(&context, &bundle).await;
        }
    })
    .await;
}

#[tokio::test]
async fn with_a_policy_that_never_worked_there_are_no_bundles_until_it_is_corrected() {
    with_namespace("auto-never-worked", |context| async move {
        let manifest = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundlePolicy",
            "metadata": {"name": "default"}, "spec": {"template": {"redaction": {"rules": ["("]}}}});
        let params = PatchParams::apply("test").force();
        context.api::<DebugBundlePolicy>().patch("default", &params, &Patch::Apply(manifest)).await.expect("accepted");
        let mut operator = Operator::of(&context).automatic().ready().await;
        let wanted = "no DebugBundle is created by itself until the policy is corrected";
        until_policy_is(&context, |status, _, message| status == "False" && message.ends_with(wanted)).await;
        let note = until_event(&context, "default", "InvalidSpec").await;
        assert!(note.contains(wanted), "{note}");
        failed(&context, "r1").await;
        operator.restart().await;
        operator.wait_ready().await;
        failed(&context, "r2").await;
        // Kubernetes and Velero write whole seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
        policy(&context, json!({"template": {"redaction": {"rules": ["x"]}}})).await;
        failed(&context, "r3").await;
        until_made(&context, &["r3/Failed"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_location_of_the_template_that_does_not_exist_is_waited_for() {
    with_namespace("auto-no-location", |context| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        policy(&context, json!({"template": {"storageLocation": "debug"}})).await;
        let warning = "spec.template.storageLocation: BackupStorageLocation \"debug\" not found";
        until_policy_is(&context, |status, _, message| status == "True" && message.contains(warning)).await;
        running(&context, "r1").await;
        context.patch_velero("Restore", "r1", json!({"status": {"failureReason": "no space left"}})).await;
        context.end_velero("Restore", "r1", "Failed").await;
        let note = until_event(&context, "r1", "Explained").await;
        assert!(note.contains("no space left") && note.contains("\"debug\" not found"), "{note}");
        let [waits] = &all(&context).await[..] else { panic!("one") };
        assert_eq!(status(waits).phase, Some(Phase::Uploading), "{:?}", status(waits));
        context.create_velero(context.location("debug", "debug")).await;
        let bundle = until(LIMIT * 3, "it is stored", || async {
            let bundle = all(&context).await.pop().ok_or("none")?;
            let status = status(&bundle);
            if status.phase.is_some_and(Phase::is_terminal) { Ok(bundle) } else { Err(format!("{status:?}")) }
        })
        .await;
        let stored = status(&bundle).bundle.expect("it is stored");
        assert_eq!(stored.storage_location, "debug");
        assert!(context.bucket.get(&stored.key).await.is_some_and(|object| !object.is_empty()));
    })
    .await;
}

/// Waits until the policy's status counts this many without a DebugBundle for this reason, and none for another one.
async fn until_left_out(context: &Context, reason: &str, number: i64) {
    until(LIMIT, &format!("{number} were left out: {reason}"), || async {
        let policy = context.api::<DebugBundlePolicy>().get("default").await.expect("there is a policy");
        let left_out = policy.status.unwrap_or_default().left_out;
        if left_out == BTreeMap::from([(reason.to_owned(), number)]) { Ok(()) } else { Err(format!("{left_out:?}")) }
    })
    .await;
}

#[tokio::test]
async fn killed_before_its_status_is_final_it_reports_on_the_restore_all_the_same() {
    with_namespace("auto-event", |context| async move {
        let operator = Operator::of(&context).automatic().crash_at("published").ready().await;
        failed(&context, "r1").await;
        assert_eq!(operator.wait_exit(LIMIT).await, 137);
        until_event(&context, "r1", "Explained").await;
    })
    .await;
}

#[tokio::test]
async fn an_object_of_the_same_name_is_another_target() {
    with_namespace("auto-namesake", |context| async move {
        let mut operator = Operator::of(&context).automatic().crash_at("created").ready().await;
        failed(&context, "r1").await;
        assert_eq!(operator.wait_exit(LIMIT).await, 137);
        context.velero_api("Restore").delete("r1", &DeleteParams::default()).await.expect("it can be deleted");
        context.create_velero(restore("r1").completed()).await;
        operator.restart().await;
        let ended = status(&until_ended(&context, "r1").await);
        assert_eq!(ended.phase, Some(Phase::Failed));
        let ready = ended.conditions.iter().find(|condition| condition.type_ == "Ready").expect("a condition");
        assert_eq!(ready.reason, "TargetNotFound", "{}", ready.message);
        failed(&context, "sentinel").await;
        until_event(&context, "sentinel", "Explained").await;
        assert_eq!(crate::support::bundles::events(&context, "r1").await, [], "it explains nothing");
    })
    .await;
}

#[tokio::test]
async fn a_location_that_cannot_be_used_is_explained_on_the_backup() {
    with_namespace("auto-bad-location", |context| async move {
        let _operator = Operator::of(&context).automatic().ready().await;
        let unusable = json!({"spec": {"config": {"s3ForcePathStyle": "yes please"}}});
        context.patch_velero("BackupStorageLocation", "default", unusable).await;
        context.create_velero(backup("b1").in_progress()).await;
        let refused = json!({"status": {"validationErrors": ["the location default is Unavailable"]}});
        context.patch_velero("Backup", "b1", refused).await;
        context.end_velero("Backup", "b1", "FailedValidation").await;
        let ended = status(&until_ended(&context, "b1").await);
        assert!(ended.cause.is_some_and(|cause| cause.contains("Unavailable")), "{:?}", ended.conditions);
        let note = until_event(&context, "b1", "Explained").await;
        assert!(note.contains("s3ForcePathStyle") && note.contains("nothing was uploaded"), "{note}");
    })
    .await;
}
