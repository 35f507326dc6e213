//! The shipped permissions on a real API server, with the shipped ServiceAccount: all that the operator needs, none
//! that it does not use, none that it must not have.

mod never;

use std::{collections::BTreeSet, path::Path};

use debugbundle_crd::{DebugBundlePolicy, FINALIZER, Phase};
use debugbundle_operator::access::rules::RULES;
use harness::{
    Context, LogScript, Operator,
    bundle::{Unpacked, spec_about},
    rights::{Right, all_rights},
    s3_proxy::Answering,
    shipped::BoundRoles,
    stand::Account,
    until,
    velero_objects::{backup_repository, pod_volume_restore, restore, schedule, velero_object},
    with_namespace,
};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectRulesReviewStatus},
    core::v1::{PersistentVolumeClaim, Pod, Secret, ServiceAccount},
};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{
    bundles::{LIMIT, about_r1, change, forge, server_pod, until_gone, velero_objects},
    shop::a_shop,
    snapshots::{create_snapshot_object, group_snapshot},
    text::noise,
    workloads::{claim, workload, workload_pod},
};

const MEND: &str = "DEBUGBUNDLE_MEND=1 cargo test --package debugbundle-tests --test it -- sec_r32";

#[tokio::test]
async fn sec_r32_the_account_may_do_what_the_golden_lists_say() {
    for (file, reach) in [("rights-base.txt", BoundRoles::Base), ("rights-all.txt", BoundRoles::Everything)] {
        with_namespace("r32", |context| async move {
            let account = context.account_bound_to(reach).await;
            let mut lines = Vec::new();
            for (title, namespace) in
                [("In Velero's namespace", context.namespace.as_str()), ("Elsewhere", "kube-system")]
            {
                lines.push(format!("# {title}"));
                lines.extend(may(&account, namespace).await);
            }
            let found = lines.join("\n") + "\n";
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/golden").join(file);
            if std::env::var_os("DEBUGBUNDLE_MEND").is_some() {
                std::fs::write(&file, &found).expect("the list can be written");
            }
            let golden = std::fs::read_to_string(&file).unwrap_or_default();
            let lost: Vec<&str> = golden.lines().filter(|line| !found.lines().any(|other| other == *line)).collect();
            let new: Vec<&str> = found.lines().filter(|line| !golden.lines().any(|other| other == *line)).collect();
            assert!(found == golden, "{}: lost {lost:#?}, new {new:#?}\nIf that is meant: {MEND}", file.display());
        })
        .await;
    }
}

/// A line for each right, as `kubectl auth can-i --list` shows it.
async fn may(account: &Account, namespace: &str) -> BTreeSet<String> {
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let answer = Api::all(account.client().await).create(&PostParams::default(), &review).await.expect("a review");
    let SubjectRulesReviewStatus { incomplete, non_resource_rules, resource_rules, .. } =
        answer.status.expect("an answer");
    assert!(!incomplete, "RBAC is the only authorizer");
    let mut lines = BTreeSet::new();
    for rule in resource_rules {
        let named = rule.resource_names.filter(|names| !names.is_empty());
        let named = named.map(|names| format!(" named {}", names.join(", ").replace(namespace, "velero")));
        let named = named.unwrap_or_default();
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let dot = if group.is_empty() { String::new() } else { format!(".{group}") };
                lines.extend(rule.verbs.iter().map(|verb| format!("{resource}{dot} {verb}{named}")));
            }
        }
    }
    for rule in non_resource_rules {
        let paths = rule.non_resource_urls.unwrap_or_default();
        lines.extend(paths.iter().flat_map(|path| rule.verbs.iter().map(move |verb| format!("{path} {verb}"))));
    }
    lines
}

/// Irrelevant objects that sort first, of each kind whose own objects the operator then requests by name.
async fn strangers_that_fill_a_list(context: &Context) {
    for n in 0..14 {
        let name = format!("a-fat-{n:02}");
        let note = noise(n, 240_000);
        let fat = |mut object: Value| {
            object["metadata"]["name"] = name.clone().into();
            object["metadata"]["annotations"] = json!({"note": note});
            object
        };
        let place = json!({"metadata": {"name": name}, "spec": {"provider": "aws"}});
        for stranger in [
            schedule(&name),
            backup_repository(&name, "farm", "kopia"),
            context.location(&name, "fat"),
            velero_object("VolumeSnapshotLocation", place),
        ] {
            context.create_velero(stranger.annotated("note", note.as_str())).await;
        }
        context.create_in::<PersistentVolumeClaim>(&context.namespace, fat(claim("x", None))).await;
        let snapshot = fat(json!({"metadata": {}, "spec": {"source": {"persistentVolumeClaimName": "x"}}}));
        create_snapshot_object(context, Some(&context.namespace), "VolumeSnapshot", snapshot).await;
    }
    let places = json!({"spec": {"volumeSnapshotLocations": ["east"]}});
    context.patch_velero("Backup", "seed", places).await;
}

/// A Restore `many` into a namespace with more volumes than are requested one by one, and a pod of a DaemonSet.
async fn a_mall(context: &Context, mall: &str) {
    let target = context.create_velero(restore("many").of_backup("nightly-1").in_progress()).await;
    context.create_velero(pod_volume_restore("of-many").of(&target).of_pod(mall, "guard-0")).await;
    let restored = json!({"velero.io/restore-name": "many"});
    for n in 0..10 {
        let mut object = claim(&format!("c-{n}"), Some(&format!("{}-mall-{n}", context.namespace)));
        object["metadata"]["labels"] = restored.clone();
        context.create_in::<PersistentVolumeClaim>(mall, object).await;
        let snapshot = json!({"metadata": {"name": format!("s-{n}"), "labels": restored},
            "spec": {"source": {"persistentVolumeClaimName": format!("c-{n}")}},
            "status": {"boundVolumeSnapshotContentName": context.cluster_name(&format!("mall-{n}"))}});
        create_snapshot_object(context, Some(mall), "VolumeSnapshot", snapshot).await;
    }
    context.create_in::<ServiceAccount>(mall, json!({"metadata": {"name": "sa-guard-0"}})).await;
    context.create_in::<DaemonSet>(mall, workload("guard", None)).await;
    let guard = workload_pod("guard-0").owned_by("apps/v1", "DaemonSet", "guard").restored_by("many");
    context.create_in::<Pod>(mall, guard.on_node(&context.cluster_name("n1"))).await;
    group_snapshot(context, mall, "of-many", json!({"velero.io/backup-name": "nightly-1"})).await;
}

#[tokio::test]
async fn sec_r34_r1_to_r11_r17_r18_r20_to_r26_each_call_is_granted_and_each_right_is_used() {
    with_namespace("r34", |context| async move {
        context.snapshot_kinds().await;
        context.group_snapshot_kinds().await;
        let account = context.account_bound_to(BoundRoles::Everything).await;
        let before = context.stand.calls(&account.user).len();
        let (shop, mall) = (context.workload_namespace("shop").await, context.workload_namespace("mall").await);
        a_shop(&context, &shop).await;
        strangers_that_fill_a_list(&context).await;
        a_mall(&context, &mall).await;

        let policy = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundlePolicy",
            "metadata": {"name": "default"}, "spec": {}});
        context.create::<DebugBundlePolicy>(policy).await;
        let _operator = Operator::of(&context).automatic().as_user(&account.kubeconfig).ready().await;
        context.create_velero(restore("nobody-asks").in_progress()).await;
        context.end_velero("Restore", "nobody-asks", "Failed").await;
        let about = |name: &str| spec_about("Restore", name);
        for (name, spec) in [("one", about("regrow")), ("two", about("many")), ("three", json!({"namespaces": [shop]}))]
        {
            context.debug_bundle(name, spec).await;
        }
        for name in ["one", "two", "three"] {
            let status = context.until_bundle_ended(name).await;
            assert!(status.bundle.is_some(), "{name}: {status:?}");
        }
        // One DebugBundle gets the finalizer of earlier versions, and a second URL, which repeats its Event. The other
        // one expires.
        let earlier = json!({"finalizers": [FINALIZER], "annotations": {"debugbundle.io/renew-url": "1"}});
        change(&context, "one", json!({"metadata": earlier})).await;
        forge(&context, "two", json!({"expiration": "2026-01-01T00:00:00Z"})).await;
        until_gone(&context, "two", LIMIT).await;

        let calls = || context.stand.calls(&account.user).split_off(before);
        until(LIMIT, "each right is used", || async {
            let used: BTreeSet<Right> = calls().iter().filter_map(|call| call.right(&context.namespace)).collect();
            let unused: Vec<Right> = all_rights().difference(&used).cloned().collect();
            if unused.is_empty() { Ok(()) } else { Err(format!("unused: {unused:#?}")) }
        })
        .await;
        let beyond: Vec<_> = calls().into_iter().filter(|call| call.right(&context.namespace).is_none()).collect();
        assert!(beyond.is_empty(), "{beyond:#?}");
        let names = RULES.iter().find(|rule| rule.id == "R7").expect("R7").names;
        let secrets = calls().into_iter().filter(|call| call.need.resource == "secrets");
        let others: Vec<_> = secrets.filter(|call| !names.contains(&call.name.as_str())).collect();
        assert!(others.is_empty(), "{others:#?}");
    })
    .await;
}

#[tokio::test]
async fn sec_r30_a_bundle_is_made_and_sent_with_the_role_alone_and_nothing_beyond_it_is_lacking() {
    with_namespace("r30-base", |context| async move {
        let account = context.account_bound_to(BoundRoles::Base).await;
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(account.client().await);
        nodes.list(&ListParams::default()).await.expect_err("R20 is not bound: it is the Role alone");
        let before = context.stand.calls(&account.user).len();
        server_pod(&context, LogScript::lines(["level=error msg=\"the only line\""])).await;
        let operator = Operator::of(&context).as_user(&account.kubeconfig).args(["--access=namespaced"]).ready().await;
        let (status, bundle) = context.bundle("b", json!({})).await;
        assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
        assert!(bundle.errors().is_empty(), "{:#?}", bundle.errors());
        let logs = bundle.find(&["the only line"]);
        assert!(!logs.is_empty(), "the server's log is in it: {:?}", bundle.paths().collect::<Vec<_>>());
        // Objects beyond the Role are reported as a note, with the rule that would allow them.
        let missing = bundle.manifest["missing"].as_array().expect("a list");
        let noted = |rule: &str| missing.iter().any(|one| one["rule"] == rule && one["severity"] == "note");
        assert!(noted("R20"), "{missing:#?}");
        let calls = context.stand.calls(&account.user).split_off(before);
        assert!(calls.iter().any(|call| call.right(&context.namespace).is_some()), "{calls:#?}");
        let beyond: Vec<_> = calls.iter().filter(|call| call.right(&context.namespace).is_none()).collect();
        assert!(beyond.is_empty(), "{beyond:#?}");
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn sec_r30_what_an_operator_asks_beyond_the_table_is_seen() {
    with_namespace("r30", |context| async move {
        // Simulates an operator that lists Secrets.
        let account = context.account_bound_to(BoundRoles::Shipped).await;
        let as_operator = account.client().await;
        let secrets: Api<Secret> = Api::namespaced(as_operator.clone(), &context.namespace);
        secrets.list(&ListParams::default()).await.expect_err("it is refused");
        let calls = context.stand.calls(&account.user);
        let beyond: Vec<_> = calls.iter().filter(|call| call.right(&context.namespace).is_none()).collect();
        let [call] = &beyond[..] else { panic!("one: {beyond:#?}") };
        assert_eq!((call.need.verb.as_str(), call.need.resource.as_str()), ("list", "secrets"));
        // The granted calls are not in the result.
        assert!(calls.len() > 1, "{calls:#?}");
    })
    .await;
}

#[tokio::test]
async fn sec_r35_without_r7_a_location_on_workload_identity_works_end_to_end() {
    with_namespace("r35-identity", |context| async move {
        let account = context.account_bound_to(BoundRoles::Shipped).await;
        context.take_away("secrets").await;
        let secrets: Api<Secret> = Api::namespaced(account.client().await, &context.namespace);
        until(LIMIT, "R7 is gone", || async {
            if secrets.get("cloud-credentials").await.is_err() { Ok(()) } else { Err("it is there") }
        })
        .await;
        let root = context.stand.s3.root();
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        // The stand's store knows no temporary credentials: an empty token stands for one.
        let answer = json!({"AccessKeyId": root.access, "SecretAccessKey": root.secret, "Token": "",
            "Expiration": later.to_string()});
        let identity = Answering::with(answer.to_string()).await;
        let token = context.folder("identity").join("token");
        std::fs::write(&token, "projected-token").expect("written");
        let bare = json!({"spec": {"template": {"spec": {"containers": [{"name": "velero", "image": "velero/velero:v1.18.3"}]}}}});
        context.api::<Deployment>().patch("velero", &PatchParams::default(), &Patch::Merge(bare)).await.expect("patched");
        let location = context.location("ambient", "ambient").spec("credential", Value::Null).spec("default", true);
        context.create_velero(location).await;
        context.velero_api("BackupStorageLocation").delete("default", &DeleteParams::default()).await.expect("deleted");

        let _operator = Operator::of(&context)
            .as_user(&account.kubeconfig)
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", identity.endpoint))
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
            .ready()
            .await;
        context.debug_bundle("by-identity", json!({})).await;
        let status = context.until_bundle_ended("by-identity").await;
        assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
        let stored = status.bundle.as_ref().expect("it is stored");
        assert_eq!(stored.storage_location, "ambient");
        // The URL contains the empty token, which this store rejects.
        let archive = context.bucket.get(&stored.key).await.expect("the object is there");
        let bundle = Unpacked::of(archive, &status);
        assert!(bundle.errors().is_empty(), "{:#?}", bundle.errors());
    })
    .await;
}

#[tokio::test]
async fn sec_r35_without_r6_bundles_are_partially_failed_and_name_the_rule() {
    with_namespace("r35-logs", |context| async move {
        let account = context.account_bound_to(BoundRoles::Shipped).await;
        context.take_away("pods/log").await;
        velero_objects(&context).await;
        let node = server_pod(&context, LogScript::lines(["level=error msg=\"who reads this?\""])).await;
        let logs: Api<Pod> = Api::namespaced(account.client().await, &context.namespace);
        until(LIMIT, "R6 is gone", || async {
            let refused = logs.logs("velero-1", &kube::api::LogParams::default()).await;
            if refused.is_err() { Ok(()) } else { Err("it is there") }
        })
        .await;
        let seen = context.stand.kubelet.seen(&node).len();
        let _operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let (status, bundle) = context.bundle("b", about_r1()).await;
        assert_eq!(status.phase, Some(Phase::PartiallyFailed), "{status:?}");
        let missing = bundle.manifest["missing"].as_array().unwrap();
        let lacking: Vec<_> = missing.iter().filter(|one| one["rule"] == "R6").collect();
        assert!(!lacking.is_empty(), "{missing:#?}");
        for one in lacking {
            let cure = format!("grant the operator rule R6 of its Role in namespace {}", context.namespace);
            assert_eq!(
                (&one["code"], &one["severity"], &one["cure"]),
                (&json!("Forbidden"), &json!("error"), &json!(cure))
            );
        }
        assert_eq!(context.stand.kubelet.seen(&node).len(), seen, "nothing is tried that would be refused");
    })
    .await;
}

#[tokio::test]
async fn sec_d1_a_debug_bundle_in_another_namespace_is_not_even_read() {
    with_namespace("d1", |context| async move {
        let elsewhere = context.workload_namespace("elsewhere").await;
        let stray = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundle", "metadata": {"name": "stray"}, "spec": {}});
        context.create_in::<debugbundle_crd::DebugBundle>(&elsewhere, stray).await;
        let _operator = Operator::of(&context).ready().await;
        context.debug_bundle("ours", json!({})).await;
        assert!(context.until_bundle_ended("ours").await.bundle.is_some());
        let there: Api<debugbundle_crd::DebugBundle> = Api::namespaced(context.client.clone(), &elsewhere);
        let stray = there.get("stray").await.expect("it is still there");
        assert_eq!((stray.status, stray.metadata.finalizers), (None, None));
        let user = context.shipped_account().await.user;
        let calls = context.stand.calls(&user).into_iter();
        let theirs: Vec<_> =
            calls.filter(|call| call.need.resource == "debugbundles" && call.need.namespace != context.namespace).collect();
        assert!(theirs.is_empty(), "{theirs:#?}");
    })
    .await;
}
