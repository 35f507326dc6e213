//! Two instances of the operator, and the Lease that elects one of them: which instance begins work, which one finishes
//! claimed work, and that bundles stay whole when both instances believe that they lead.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use debugbundle_crd::Phase;
use harness::rights::Call;
use harness::stand::Account;
use harness::{Context, LogScript, Operator, Proxy, ProxyFault, pod, until, with_namespace};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bundles::{
    LIMIT, PARTS, about_r1, endless_log, get, is_stored, keys, large_log, phase, proxy_before_store, server_pod,
    spool_is_empty, status, until_ended, until_event_with, until_phase, until_read, until_upload_on_record,
    velero_objects,
};

const LEASE: &str = "debugbundle-operator";
/// 15 s without a renewal, and a standby's longest pause before and after.
const TAKE_OVER: Duration = Duration::from_secs(24);
/// Shorter than the time for which a Lease that nobody renews is valid.
const BEFORE_IT_EXPIRES: Duration = Duration::from_secs(10);

/// Starts an instance in a pod of that name, without waiting for anything.
async fn start(context: &Arc<Context>, name: &str, account: &Account) -> Operator {
    context.pod(pod(name)).await;
    instance(context, name, account).start().await
}

fn instance(context: &Arc<Context>, name: &str, account: &Account) -> harness::operator::OperatorBuilder {
    let args = ["--instance", name, "--access=namespaced", "--max-concurrent=8"];
    Operator::of(context).named(name).as_user(&account.kubeconfig).args(args).args(PARTS)
}

/// A second account with a copy of the operator's Role. With an account for each instance, a test can distinguish their
/// requests, and take rights away from one of them.
async fn second_account(context: &Context) -> Account {
    context.shipped_account().await;
    let account = context.stand.service_account(&context.namespace, "second").await;
    let shipped = context.api::<Role>().get(LEASE).await.expect("the Role was applied");
    context.create::<Role>(json!({"metadata": {"name": "second"}, "rules": shipped.rules})).await;
    let subject = json!({"kind": "ServiceAccount", "name": "second", "namespace": context.namespace});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "second"});
    let binding = json!({"metadata": {"name": "second"}, "subjects": [subject], "roleRef": role});
    context.create::<RoleBinding>(binding).await;
    let leases: Api<Lease> = Api::namespaced(account.client().await, &context.namespace);
    until(LIMIT, "the copied Role is in force", || async { leases.get_opt(LEASE).await }).await;
    account
}

async fn lease(context: &Context) -> Option<Lease> {
    context.api::<Lease>().get_opt(LEASE).await.expect("Leases can be read")
}

async fn leader(context: &Context) -> Option<String> {
    lease(context).await?.spec?.holder_identity
}

async fn until_leads(context: &Context, name: &str, limit: Duration) {
    until(limit, &format!("{name} leads"), || async {
        let leader = leader(context).await;
        if leader.as_deref() == Some(name) { Ok(()) } else { Err(format!("{leader:?}")) }
    })
    .await;
}

/// Overwrites what the Lease says.
async fn overwrite(context: &Context, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    context.api::<Lease>().patch(LEASE, &PatchParams::default(), &patch).await.expect("the Lease can be changed");
}

fn said(operator: &Operator, text: &str) -> bool {
    operator.log().iter().any(|line| line.to_string().contains(text))
}

async fn until_said(operator: &Operator, text: &str) {
    until(LIMIT, &format!("{} says {text:?}", operator.process().name()), || async {
        if said(operator, text) { Ok(()) } else { Err(operator.process().tail(3)) }
    })
    .await;
}

async fn delete_pod(context: &Context, name: &str) {
    let at_once = DeleteParams::default().grace_period(0);
    context.api::<Pod>().delete(name, &at_once).await.expect("a pod can be deleted");
}

/// An account's calls about other objects than the Lease, and the number of its calls about the Lease.
fn calls(context: &Context, account: &Account) -> (Vec<Call>, usize) {
    let all = context.stand.calls(&account.user);
    let (leases, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|call| call.need.resource == "leases");
    (others, leases.len())
}

/// Waits until an account has asked about the Lease several times, and about nothing else in between.
async fn until_it_asks_about_the_lease_alone(context: &Context, account: &Account) {
    let since = Cell::new((usize::MAX, 0));
    until(LIMIT, "it asks about the Lease alone", || async {
        let (others, leases) = calls(context, account);
        if others.len() != since.get().0 {
            since.set((others.len(), leases));
        }
        if leases >= since.get().1 + 4 { Ok(()) } else { Err(format!("{:#?}", others.last())) }
    })
    .await;
}

#[tokio::test]
async fn after_an_uninstallation_the_next_operator_takes_the_lease_before_it_expires() {
    with_namespace("reinstalled", |context| async move {
        let account = context.shipped_account().await;
        let first = start(&context, "first", &account).await;
        until_leads(&context, "first", LIMIT).await;
        // The uninstallation takes the permissions away before the pod ends, so the Lease is not released.
        first.kill9();
        first.wait_exit(LIMIT).await;
        delete_pod(&context, "first").await;
        let _second = start(&context, "second", &account).await;
        until_leads(&context, "second", BEFORE_IT_EXPIRES).await;
    })
    .await;
}

#[tokio::test]
async fn f1_f2_of_two_instances_one_works_and_the_other_takes_over_when_its_pod_is_gone() {
    with_namespace("f1", |context| async move {
        velero_objects(&context).await;
        let node = server_pod(&context, endless_log()).await;
        let (first, second) = (context.shipped_account().await, second_account(&context).await);
        let before = [&first, &second].map(|account| calls(&context, account).0.len());
        let (a, b) = tokio::join!(start(&context, "op-a", &first), start(&context, "op-b", &second));
        let leads = until(LIMIT, "one leads", || leader(&context)).await;
        let ((name, a, _), (other, b, standby)) = match leads.as_str() {
            "op-a" => (("op-a", a, first), ("op-b", b, second)),
            _ => (("op-b", b, second), ("op-a", a, first)),
        };
        a.wait_ready().await;
        context.debug_bundle("b", about_r1()).await;
        let claimed = until_phase(&context, "b", Phase::Collecting).await;
        assert_eq!(status(&claimed).holder.as_deref(), Some(name));
        until_said(&b, "Standing by").await;
        until_it_asks_about_the_lease_alone(&context, &standby).await;
        assert_eq!(calls(&context, &standby).0.len(), before[usize::from(other == "op-b")], "since its start");
        assert!(!said(&b, "Leads"), "{:#?}", b.log());

        until_read(&context, &node).await;
        a.kill9();
        until_leads(&context, other, TAKE_OVER).await;
        context.log("velero-1", "velero", LogScript::lines(["quick now"]));
        // As long as the pod exists, its container may be started again and go on.
        until_said(&b, "Another pod holds this DebugBundle").await;
        assert_eq!(status(&get(&context, "b").await.unwrap()).attempts, Some(1));
        delete_pod(&context, name).await;
        let bundle = until_ended(&context, "b").await;
        assert_eq!(status(&bundle).attempts, Some(2));
        is_stored(&context, &bundle).await;
        let lost = format!("attempt 2 begins: pod {name} is gone, and what it had collected went with it");
        until_event_with(&context, "b", "Interrupted", &lost).await;

        b.terminate();
        assert_eq!(b.wait_exit(Duration::from_secs(10)).await, 0);
        let released = lease(&context).await.unwrap().spec.unwrap();
        assert_eq!((released.holder_identity, released.lease_duration_seconds), (None, Some(1)));
        assert_eq!(released.lease_transitions, Some(1));
    })
    .await;
}

#[tokio::test]
async fn f3_a_leader_that_only_the_store_hears_sends_its_bundle_and_begins_nothing_else() {
    with_namespace("f3", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, large_log()).await;
        let store = proxy_before_store(&context).await;
        let (first, second) = (context.shipped_account().await, second_account(&context).await);
        let (api, behind) = behind_a_proxy(&first);
        let a = start(&context, "op-a", &behind).await;
        a.wait_ready().await;
        let b = start(&context, "op-b", &second).await;
        until_said(&b, "Standing by").await;
        store.set(ProxyFault { bytes_per_second: Some(200_000), ..ProxyFault::default() });
        context.debug_bundle("mine", about_r1()).await;
        until_upload_on_record(&context, "mine").await;

        api.set(ProxyFault { hold: true, ..ProxyFault::default() });
        until_leads(&context, "op-b", TAKE_OVER).await;
        assert!(said(&a, "Leads no longer"), "it knew before the other one began: {:#?}", a.log());
        store.pass();
        context.debug_bundle("new", about_r1()).await;
        is_stored(&context, &until_ended(&context, "new").await).await;
        let mine = status(&get(&context, "mine").await.unwrap());
        assert_eq!(
            (mine.phase, mine.attempts, mine.holder.as_deref()),
            (Some(Phase::Uploading), Some(1), Some("op-a"))
        );

        api.pass();
        let mine = until_ended(&context, "mine").await;
        is_stored(&context, &mine).await;
        assert_eq!(keys(&context).await.len(), 2);
        assert_eq!(context.bucket.unfinished().await, []);
        assert!(!said(&a, "\"new\"") && !said(&b, "\"mine\",\"attempt\""), "each has its own");
        spool_is_empty(&a).await;
        until(LIMIT, "it stands by", || async { said(&a, "Standing by").then_some(()) }).await;
        until_it_asks_about_the_lease_alone(&context, &first).await;
    })
    .await;
}

/// The account, with a proxy before the API server.
fn behind_a_proxy(account: &Account) -> (Proxy, Account) {
    let proxy = Proxy::before(account.server().trim_start_matches("https://"));
    let behind = account.through(&proxy.endpoint().replace("http:", "https:"));
    (proxy, behind)
}

#[tokio::test]
async fn f4_when_both_believe_that_they_lead_each_bundle_is_made_once() {
    with_namespace("f4", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, LogScript::lines(["all is well"])).await;
        let (first, second) = (context.shipped_account().await, second_account(&context).await);
        let a = start(&context, "op-a", &first).await;
        a.wait_ready().await;
        // It cannot renew or even read the Lease any more, and leads for ten seconds after its last renewal.
        context.take_away("leases").await;
        until_said(&a, "The Lease cannot be read or written").await;
        overwrite(&context, json!({"holderIdentity": "op-b"})).await;
        let b = start(&context, "op-b", &second).await;
        b.wait_ready().await;
        let names: Vec<String> = (0..6).map(|n| format!("b{n}")).collect();
        for name in &names {
            context.debug_bundle(name, about_r1()).await;
        }
        until(LIMIT, "each is claimed", || async {
            let mut claimed = Vec::new();
            for name in &names {
                claimed.push(status(&get(&context, name).await.unwrap()).attempts.is_some());
            }
            if claimed.iter().all(|claimed| *claimed) { Ok(()) } else { Err(format!("{claimed:?}")) }
        })
        .await;
        assert!(!said(&a, "Leads no longer"), "both still lead: {:#?}", a.log());
        for name in &names {
            let bundle = until_ended(&context, name).await;
            assert_eq!(status(&bundle).attempts, Some(1), "{name}: nobody began it again");
            is_stored(&context, &bundle).await;
        }
        assert_eq!(keys(&context).await.len(), names.len());
        for operator in [&a, &b] {
            spool_is_empty(operator).await;
            let acted = said(operator, "Claimed") || said(operator, "Another pod holds this DebugBundle");
            assert!(acted, "each acted as the leader: {:#?}", operator.log());
        }
        until_said(&a, "Leads no longer").await;
        assert_eq!(a.exited(), None, "a right that is taken away later does not end it");
    })
    .await;
}

#[tokio::test]
async fn f5_a_lease_that_is_deleted_or_overwritten_is_recovered() {
    with_namespace("f5", |context| async move {
        velero_objects(&context).await;
        let account = context.shipped_account().await;
        let a = start(&context, "op-a", &account).await;
        a.wait_ready().await;
        let noted = json!({"metadata": {"annotations": {"other.io/record": "7"}, "labels": {"team": "storage"}}});
        let leases = context.api::<Lease>();
        leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(noted)).await.expect("patched");
        let version = |lease: Option<Lease>| lease.and_then(|lease| lease.spec?.renew_time);
        let before = version(lease(&context).await);
        until(LIMIT, "it is renewed", || async { (version(lease(&context).await) != before).then_some(()) }).await;
        let kept = lease(&context).await.unwrap().metadata;
        assert_eq!(kept.annotations.unwrap()["other.io/record"], "7");
        assert_eq!(kept.labels.unwrap()["team"], "storage");

        leases.delete(LEASE, &DeleteParams::default()).await.expect("deleted");
        until_leads(&context, "op-a", LIMIT).await;
        assert!(!said(&a, "Leads no longer"), "nobody else took it");

        overwrite(
            &context,
            json!({"holderIdentity": "no \u{e9} \"pod\"", "leaseDurationSeconds": null, "leaseTransitions": i32::MAX}),
        )
        .await;
        until_said(&a, "Leads no longer").await;
        context.debug_bundle("b", about_r1()).await;
        until_leads(&context, "op-a", TAKE_OVER).await;
        is_stored(&context, &until_ended(&context, "b").await).await;
    })
    .await;
}

#[tokio::test]
async fn sec_r11_without_the_right_to_the_lease_it_ends_and_names_the_rule() {
    with_namespace("f7", |context| async move {
        let account = context.shipped_account().await;
        context.take_away("leases").await;
        let leases: Api<Lease> = Api::namespaced(account.client().await, &context.namespace);
        until(LIMIT, "R11 is gone", || async { leases.get_opt(LEASE).await.is_err().then_some(()) }).await;
        let a = start(&context, "op-a", &account).await;
        assert_eq!(a.wait_exit(LIMIT).await, 1);
        assert!(said(&a, "grant it rule R11 of its Role"), "{:#?}", a.log());
    })
    .await;
}

#[tokio::test]
async fn a10_a_leader_that_slept_while_its_bundle_was_made_anew_changes_nothing_when_it_wakes() {
    with_namespace("a10", |context| async move {
        velero_objects(&context).await;
        server_pod(&context, large_log()).await;
        let store = proxy_before_store(&context).await;
        let (first, second) = (context.shipped_account().await, second_account(&context).await);
        let a = start(&context, "op-a", &first).await;
        a.wait_ready().await;
        let b = start(&context, "op-b", &second).await;
        until_said(&b, "Standing by").await;
        store.set(ProxyFault { bytes_per_second: Some(200_000), ..ProxyFault::default() });
        context.debug_bundle("b", about_r1()).await;
        until_upload_on_record(&context, "b").await;
        a.process().signal(Signal::STOP);
        delete_pod(&context, "op-a").await;
        store.pass();
        until_leads(&context, "op-b", TAKE_OVER).await;
        let done = until_ended(&context, "b").await;
        assert_eq!(status(&done).attempts, Some(2));
        is_stored(&context, &done).await;

        a.process().signal(Signal::CONT);
        until_said(&a, "Leads no longer").await;
        spool_is_empty(&a).await;
        let after = get(&context, "b").await.unwrap();
        assert_eq!(after.metadata.resource_version, done.metadata.resource_version);
        is_stored(&context, &after).await;
        assert_eq!(keys(&context).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_was_restarted_finishes_what_it_holds_though_another_one_leads() {
    with_namespace("restarted", |context| async move {
        velero_objects(&context).await;
        let (first, second) = (context.shipped_account().await, second_account(&context).await);
        context.pod(pod("op-a")).await;
        let mut a = instance(&context, "op-a", &first).crash_at("claimed").ready().await;
        let b = start(&context, "op-b", &second).await;
        until_said(&b, "Standing by").await;
        context.debug_bundle("b", about_r1()).await;
        assert_eq!(a.wait_exit(LIMIT).await, 137);
        until_leads(&context, "op-b", TAKE_OVER).await;
        a.restart().await;
        let bundle = until_ended(&context, "b").await;
        assert_eq!(status(&bundle).attempts, Some(2));
        assert!(matches!(phase(&bundle), Phase::Completed | Phase::PartiallyFailed), "{:?}", status(&bundle));
        is_stored(&context, &bundle).await;
        until_said(&a, "Stored").await;
        assert!(!said(&a, "Leads"), "{:#?}", a.log());
        assert!(!said(&b, "Claimed"), "{:#?}", b.log());
        spool_is_empty(&a).await;
        until_said(&a, "Standing by").await;
    })
    .await;
}
