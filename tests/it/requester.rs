//! The shipped admission policies on a real API server: whose rights they check when a DebugBundle is created.

use std::time::Duration;

use debugbundle_crd::{DebugBundle, DebugBundlePolicy, DebugBundlePolicySpec};
use futures::future::join_all;
use harness::shipped::BoundRoles;
use harness::{Context, until, with_namespace};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource as _};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
/// Namespaces checked by one policy.
const IN_POLICY: usize = 16;
const GROUP: &str = "rbac.authorization.k8s.io";

fn rule((group, resource, verb): (&str, &str, &str)) -> Value {
    json!([{"apiGroups": [group], "resources": [resource], "verbs": [verb]}])
}

const CREATE: (&str, &str, &str) = ("debugbundle.io", "debugbundles", "create");
const READ_LOGS: (&str, &str, &str) = ("", "pods/log", "get");

/// Gives an account of this test's namespace one right in a namespace.
async fn grant(context: &Context, account: &str, right: (&str, &str, &str), namespace: &str) {
    let name = format!("{account}-{}-{}", right.2, right.1.replace('/', "-"));
    context.create_in::<Role>(namespace, json!({"metadata": {"name": name}, "rules": rule(right)})).await;
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": context.namespace}]});
    context.create_in::<RoleBinding>(namespace, binding).await;
}

/// An account that may create DebugBundles here, and read logs in these namespaces.
async fn somebody(context: &Context, name: &str, reads: &[String]) -> Client {
    let account = context.stand.service_account(&context.namespace, name).await;
    grant(context, name, CREATE, &context.namespace).await;
    join_all(reads.iter().map(|namespace| grant(context, name, READ_LOGS, namespace))).await;
    account.client().await
}

/// Creates a DebugBundle with this client; returns the refusal's message.
async fn ask(context: &Context, who: &Client, namespaces: &[String]) -> Result<(), String> {
    let bundle: DebugBundle = serde_json::from_value(json!({
        "apiVersion": DebugBundle::api_version(&()), "kind": DebugBundle::kind(&()),
        "metadata": {"generateName": "asked-"}, "spec": {"namespaces": namespaces}}))
    .expect("a DebugBundle");
    let api: Api<DebugBundle> = Api::namespaced(who.clone(), &context.namespace);
    match api.create(&PostParams::default(), &bundle).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Err(status.message.clone()),
        Err(other) => panic!("neither taken nor forbidden: {other}"),
    }
}

async fn until_taken(context: &Context, who: &Client, namespaces: &[String]) {
    until(LIMIT, "it is taken", || ask(context, who, namespaces)).await;
}

/// Rights and policies take effect after a moment.
async fn until_refused(context: &Context, who: &Client, namespaces: &[String], sentence: &str) {
    until(LIMIT, &format!("refused: {sentence}"), || async {
        match ask(context, who, namespaces).await {
            Err(message) if message.contains(sentence) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("nobodys-{n}")).collect()
}

#[tokio::test]
async fn sec_d4_whoever_may_not_read_logs_here_is_refused_and_whoever_may_is_not() {
    with_namespace("d4-here", |context| async move {
        let stranger = somebody(&context, "stranger", &[]).await;
        until_taken(&context, &stranger, &[]).await;
        context.admission_policies().await;
        let here = &context.namespace;
        let sentence = format!(
            "a DebugBundle contains logs of pods: to create one in namespace {here} you need permission to get \
             pods/log there"
        );
        until_refused(&context, &stranger, &[], &sentence).await;
        // The same account, now with the right.
        grant(&context, "stranger", READ_LOGS, here).await;
        until_taken(&context, &stranger, &[]).await;

        // The operator's own account, when it creates DebugBundles: by R6.
        let operator = context.account_bound_to(BoundRoles::Base).await;
        grant(&context, "debugbundle-operator", CREATE, here).await;
        until_taken(&context, &operator.client().await, &[]).await;
        context.take_away("pods/log").await;
        until_refused(&context, &operator.client().await, &[], &sentence).await;
    })
    .await;
}

#[tokio::test]
async fn sec_d4_each_namespace_that_is_named_must_be_one_whose_logs_the_requester_may_read() {
    with_namespace("d4-named", |context| async move {
        context.admission_policies().await;
        let mine = join_all((0..IN_POLICY).map(|n| {
            let context = context.clone();
            async move { context.workload_namespace(&format!("m{n}")).await }
        }))
        .await;
        let reads = [std::slice::from_ref(&context.namespace), &mine[..]].concat();
        let reader = somebody(&context, "reader", &reads).await;
        for count in [0, 1, 2, 3, IN_POLICY] {
            until_taken(&context, &reader, &mine[..count]).await;
        }
        // One forbidden namespace more, at each index of the first policy and at the first index of the second.
        for count in 0..=IN_POLICY {
            let asked = [&mine[..count], &["nobodys".to_owned()]].concat();
            let pair = if count % 2 == 0 { "nobodys".to_owned() } else { format!("{} or nobodys", mine[count - 1]) };
            let sentence = format!(
                "spec.namespaces: to list a namespace you need permission to get pods/log in it; you lack it in {pair}"
            );
            until_refused(&context, &reader, &asked, &sentence).await;
        }
        // Many at once are refused for the same reason, rather than for the cost of the check.
        for count in [2, 3, 32] {
            until_refused(&context, &reader, &names(count), "you lack it in nobodys-0 or nobodys-1").await;
        }
    })
    .await;
}

#[tokio::test]
async fn sec_d4_thirty_two_namespaces_are_not_too_many_to_be_asked_about() {
    with_namespace("d4-all", |context| async move {
        context.admission_policies().await;
        let everywhere = format!("d4-everywhere-{}", context.namespace);
        let role = json!({"metadata": {"name": everywhere}, "rules": rule(READ_LOGS)});
        let roles: Api<ClusterRole> = Api::all(context.client.clone());
        roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
        let admin = somebody(&context, "admin", &[]).await;
        // Waits until the policies are in force.
        until_refused(&context, &admin, &[], "permission to get pods/log there").await;
        // Two policies refuse, and the API server shows the words of either.
        until_refused(&context, &admin, &names(32), "you need permission to get pods/log").await;
        let binding = json!({"metadata": {"name": everywhere},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": everywhere},
            "subjects": [{"kind": "ServiceAccount", "name": "admin", "namespace": context.namespace}]});
        let bindings: Api<ClusterRoleBinding> = Api::all(context.client.clone());
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
        for count in [2, 3, 31, 32] {
            until_taken(&context, &admin, &names(count)).await;
        }
        roles.delete(&everywhere, &DeleteParams::default()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn sec_d4_kubectl_applies_what_the_kustomization_makes_of_the_policies() {
    with_namespace("d4-kubectl", |context| async move {
        let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");
        let made = context.stand.kubectl(["kustomize", deploy]).await;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made = String::from_utf8(made.stdout).expect("text");
        let policies: Vec<&str> =
            made.split("\n---\n").filter(|one| one.contains("kind: ValidatingAdmission")).collect();
        assert_eq!(policies.len(), 8, "{made}");
        let file = context.folder("d4").join("policies.yaml");
        std::fs::write(&file, policies.join("\n---\n")).expect("written");
        // A dry run: applied policies would affect all tests.
        let file = file.display().to_string();
        let applied = context.stand.kubectl(["apply", "--dry-run=server", "--validate=strict", "-f", &file]).await;
        let told = String::from_utf8_lossy(&applied.stdout);
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        assert_eq!(told.matches("created (server dry run)").count(), 8, "{told}");
    })
    .await;
}

#[tokio::test]
async fn sec_d4_the_author_of_a_policy_may_read_logs_here() {
    with_namespace("d4-author", |context| async move {
        let author = context.stand.service_account(&context.namespace, "author").await;
        for verb in ["create", "update", "get"] {
            grant(&context, "author", ("debugbundle.io", "debugbundlepolicies", verb), &context.namespace).await;
        }
        context.admission_policies().await;
        let api: Api<DebugBundlePolicy> = Api::namespaced(author.client().await, &context.namespace);
        let policy = DebugBundlePolicy::new("default", DebugBundlePolicySpec::default());
        let refused = |result: Result<DebugBundlePolicy, kube::Error>| match result {
            Err(kube::Error::Api(status)) if status.message.contains("to write one in namespace") => Ok(()),
            other => Err(format!("{other:?}")),
        };
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        until(LIMIT, "the author is refused", || async { refused(api.create(&dry_run, &policy).await) }).await;
        // A user with the permission has created a policy: the author may not change it.
        let mut stored =
            context.api::<DebugBundlePolicy>().create(&PostParams::default(), &policy).await.expect("taken");
        stored.spec.suspend = true;
        until(LIMIT, "the change is refused", || async {
            refused(api.replace("default", &PostParams::default(), &stored).await)
        })
        .await;
        grant(&context, "author", READ_LOGS, &context.namespace).await;
        until(LIMIT, "the change is taken", || async {
            api.replace("default", &PostParams::default(), &stored).await.map_err(|error| error.to_string())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn sec_d4_only_the_operator_sets_the_labels_of_its_own_bundles() {
    with_namespace("d4-labels", |context| async move {
        let user = somebody(&context, "user", std::slice::from_ref(&context.namespace)).await;
        for verb in ["get", "update", "patch"] {
            grant(&context, "user", ("debugbundle.io", "debugbundles", verb), &context.namespace).await;
        }
        until_taken(&context, &user, &[]).await;
        let operator = context.account_bound_to(BoundRoles::Base).await.client().await;
        context.admission_policies().await;
        let api = |who: &Client| Api::<DebugBundle>::namespaced(who.clone(), &context.namespace);
        let labelled = |name: &str, labels: Value| -> DebugBundle {
            serde_json::from_value(json!({"apiVersion": DebugBundle::api_version(&()), "kind": DebugBundle::kind(&()),
                "metadata": {"name": name, "labels": labels}, "spec": {}}))
            .expect("a DebugBundle")
        };
        let refused = |result: Result<DebugBundle, kube::Error>| match result {
            Err(kube::Error::Api(status)) if status.message.contains("only the operator sets the labels") => Ok(()),
            other => Err(format!("{other:?}")),
        };
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        for label in ["trigger", "target-kind", "target-name", "target-uid", "schedule"] {
            let wanted = labelled("copy", json!({format!("debugbundle.io/{label}"): "Failed", "team": "shop"}));
            until(LIMIT, label, || async { refused(api(&user).create(&dry_run, &wanted).await) }).await;
        }
        let now = PostParams::default();
        api(&user).create(&now, &labelled("own", json!({"team": "shop"}))).await.expect("other labels are free");
        let automatic = labelled("automatic", json!({"debugbundle.io/trigger": "Failed"}));
        api(&operator).create(&now, &automatic).await.expect("the operator sets them");

        let patch = async |name: &str, labels: Value| {
            let change = Patch::Merge(json!({"metadata": {"labels": labels}}));
            api(&user).patch(name, &PatchParams::default(), &change).await
        };
        refused(patch("own", json!({"debugbundle.io/trigger": "Failed"})).await).expect("set");
        refused(patch("automatic", json!({"debugbundle.io/trigger": "Stuck"})).await).expect("changed");
        refused(patch("automatic", json!({"debugbundle.io/trigger": null})).await).expect("removed");
        patch("automatic", json!({"team": "shop"})).await.expect("the operator's labels stay as they are");
        patch("own", json!({"team": null})).await.expect("no label is needed");
    })
    .await;
}
