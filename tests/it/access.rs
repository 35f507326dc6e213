//! Takes permissions away one by one: the operator skips the calls it may not make, the manifest names the shipped rule
//! and its cure, and the bundle contains the rest.

use std::{
    collections::BTreeSet,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use debugbundle_crd::DebugBundleSpec;
use debugbundle_operator::{
    access::rules::{RULES, Role as In},
    location::EndpointPolicy,
    run::{Engine, EngineOptions, Origin, StoreNeed, Subject, Tracker},
};
use harness::{
    Context, LogScript, TestCluster, pod, readers::manifest_of, stand::Account, with_namespace, with_namespace_on,
};
use http_body_util::BodyExt as _;
use k8s_openapi::api::{
    core::v1::{Event, ResourceQuota, Secret},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{Api, Client, api::PostParams, client::Body};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::support::workloads::odd_event;

/// Namespace, rule, cure, and the prefix of the paths that need the rule.
type Lacking<'a> = (&'a str, &'a str, String, String);

/// An account with the shipped permissions except those on `without` (group and resource), bound in the whole cluster
/// (`everywhere`) or in Velero's namespace alone.
async fn account(context: &Context, name: &str, without: Option<(&str, &str)>, everywhere: bool) -> Account {
    let account = context.stand.service_account(&context.namespace, name).await;
    let rules = |of_operator: bool| -> Vec<Value> {
        let wanted = RULES.iter().filter(|rule| (rule.role == In::Operator) == of_operator && rule.id != "R26");
        let all = wanted.flat_map(|rule| rule.resources.iter().map(move |resource| (rule, *resource)));
        let left = all.filter(|(rule, resource)| without != Some((rule.group, *resource)));
        left.map(|(rule, resource)| {
            // The shipped role names Velero's namespace.
            let own = [context.namespace.as_str()];
            let names = if resource == "namespaces" && !rule.names.is_empty() { &own[..] } else { rule.names };
            json!({"apiGroups": [rule.group], "resources": [resource], "verbs": rule.verbs, "resourceNames": names})
        })
        .collect()
    };
    let subjects = json!([{"kind": "ServiceAccount", "name": name, "namespace": context.namespace}]);
    let named = |name: &str| json!({"name": name});
    let to = |kind: &str, role: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role});
    context.create::<Role>(json!({"metadata": named(name), "rules": rules(true)})).await;
    let bound = json!({"metadata": named(name), "roleRef": to("Role", name), "subjects": subjects});
    context.create::<RoleBinding>(bound).await;
    if everywhere {
        let wide = format!("{}-{name}", context.namespace);
        let role: ClusterRole =
            serde_json::from_value(json!({"metadata": named(&wide), "rules": rules(false)})).unwrap();
        Api::all(context.client.clone()).create(&PostParams::default(), &role).await.expect("a role");
        let bound = json!({"metadata": named(&wide), "roleRef": to("ClusterRole", &wide), "subjects": subjects});
        let bound: ClusterRoleBinding = serde_json::from_value(bound).unwrap();
        Api::all(context.client.clone()).create(&PostParams::default(), &bound).await.expect("a binding");
    }
    account
}

/// The manifest of a bundle about the installation and the namespace `shop`, made with this client.
async fn collected(context: &Context, client: Client, shop: &str, cluster_read: bool) -> Value {
    collected_with_summary(context, client, shop, cluster_read).await.0
}

/// The same, and what `summary.md` says.
async fn collected_with_summary(context: &Context, client: Client, shop: &str, cluster_read: bool) -> (Value, String) {
    let options = EngineOptions {
        namespace: context.namespace.clone(),
        spool_limit: 1 << 30,
        bundle_limit: 512 << 20,
        version: "test".to_owned(),
        allowed_namespaces: None,
        cluster_read,
        endpoints: EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() },
        multipart_threshold: u64::MAX,
    };
    let spec: DebugBundleSpec = serde_json::from_value(json!({"namespaces": [shop]})).unwrap();
    let subject = Subject {
        name: "it".to_owned(),
        namespace: context.namespace.clone(),
        uid: "0123456789abcdef".to_owned(),
        attempt: 1,
        asked: jiff::Timestamp::now(),
        origin: Origin::Cli,
        target_uid: None,
        spec,
        recorded_key: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let (tracker, cancel) = (Tracker::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_mins(2);
    let packed = Engine::new(client, options)
        .pack(&subject, StoreNeed::Optional, &folder.path().join("spool"), &tracker, deadline, &cancel)
        .await
        .unwrap_or_else(|fault| panic!("no bundle: {fault}"));
    let file = &packed.sealed().file;
    let (_, mut files) = harness::bundle::unpack(&std::fs::read(file).expect("a bundle"));
    let summary = files.remove("summary.md").expect("there is a summary");
    (read(file), String::from_utf8(summary).expect("a summary is text"))
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&manifest_of(file)).expect("manifest.json is JSON")
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// All paths that were read, with or without items.
fn read_paths(manifest: &Value) -> BTreeSet<String> {
    let entries = array(&manifest["entries"]).map(|entry| text(entry, "path").to_owned());
    entries.chain(array(&manifest["empty"]).map(|path| path.as_str().unwrap().to_owned())).collect()
}

/// Items missing because a right of a shipped role is absent. Kinds beyond the shipped roles are separate notes.
fn forbidden(manifest: &Value) -> Vec<&Value> {
    let forbidden = array(&manifest["missing"]).filter(|missing| missing["code"] == "Forbidden");
    forbidden.filter(|missing| missing["rule"].is_string()).collect()
}

/// The results of permission reviews about rights that shipped roles grant.
fn shipped(manifest: &Value) -> impl Iterator<Item = &Value> {
    array(&manifest["permissions"]).filter(|answer| answer["rule"] != "")
}

/// Objects to collect: a pod with a log and an Event here, a quota there.
async fn a_cluster(context: &Arc<Context>) -> String {
    let shop = context.workload_namespace("shop").await;
    let node = context.node("meadow").await;
    context.log("herd-0", "cow", LogScript::lines(["moo"]));
    let herd = pod("herd-0").with_container("cow").labelled("role", "node-agent").on_node(&node);
    context.pod(herd).await;
    let quota = json!({"metadata": {"name": "narrow"}, "spec": {"hard": {"pods": "1"}}});
    context.create_in::<ResourceQuota>(&shop, quota).await;
    for place in [&context.namespace, &shop] {
        context.create_in::<Event>(place, odd_event(place)).await;
    }
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_r40_r41_each_permission_that_lacks_is_not_tried_and_is_named_with_its_rule_and_the_rest_is_collected() {
    // Two bundles are compared here, and other tests add kinds to the shared stand.
    with_namespace_on(TestCluster::apart().await, "access", |context| async move {
        let shop = a_cluster(&context).await;
        let velero = context.namespace.clone();
        let whole = account(&context, "whole", None, true).await;
        let full = collected(&context, whole.client().await, &shop, true).await;
        assert!(forbidden(&full).is_empty(), "{:#}", full["missing"]);
        assert!(shipped(&full).all(|answer| answer["allowed"] == true), "{:#}", full["permissions"]);
        let asked = array(&full["permissions"]).filter(|answer| answer["resource"] != "secrets").count();
        let reviews = context.stand.times(&whole.user, ("create", "selfsubjectaccessreviews"), "", 201);
        assert_eq!(asked, reviews, "each distinct right is asked for once");

        let base = |id: &str| format!("grant the operator rule {id} of its Role in namespace {velero}");
        let in_shop = format!("bind ClusterRole debugbundle-namespace-read in namespace {shop}");
        let in_default = "bind ClusterRole debugbundle-namespace-read in namespace default".to_owned();
        let trail = "bind ClusterRole debugbundle-cause-trail".to_owned();
        let (v, s) = (velero.as_str(), shop.as_str());
        let crds = "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/";
        let place = |namespace: &str, rest: &str| format!("namespaces/{namespace}/{rest}");
        #[rustfmt::skip]
        let cases: Vec<(&str, &str, &str, Vec<Lacking>)> = vec![
            ("list", "", "events", vec![
                (v, "R5", base("R5"), place(v, "core/events.yaml")), (s, "R24", in_shop.clone(), place(s, "core/events.yaml")),
                ("default", "R24", in_default, place("default", "core/events.yaml"))]),
            ("list", "", "resourcequotas", vec![
                (v, "R5", base("R5"), place(v, "core/resourcequotas.yaml")),
                (s, "R24", in_shop.clone(), place(s, "core/resourcequotas.yaml"))]),
            ("list", "", "serviceaccounts", vec![
                (v, "R5", base("R5"), place(v, "core/serviceaccounts.yaml")),
                (s, "R24", in_shop.clone(), place(s, "core/serviceaccounts.yaml"))]),
            ("list", "velero.io", "downloadrequests", vec![
                (v, "R4", base("R4"), place(v, "velero.io/downloadrequests.yaml"))]),
            ("get", "", "pods/log", vec![
                (v, "R6", base("R6"), place(v, "pods/herd-0/cow/cow/logs/current.log"))]),
            ("get", "apiextensions.k8s.io", "customresourcedefinitions", vec![("", "R23", trail.clone(), crds.to_owned())]),
            ("list", "", "nodes", vec![
                ("", "R20", trail.clone(), "cluster-scoped-resources/core/nodes.yaml".to_owned())]),
            ("get", "", "namespaces", vec![
                (v, "R17", base("R17"), place(v, v)), (s, "R24", in_shop.clone(), place(s, s))]),
        ];
        for (verb, group, resource, lacking) in cases {
            let name = resource.replace('/', "-");
            let poorer = account(&context, &name, Some((group, resource)), true).await;
            let bundle = collected(&context, poorer.client().await, &shop, true).await;
            let told = forbidden(&bundle);
            for (namespace, rule, cure, path) in &lacking {
                let calls = context.stand.times(&poorer.user, (verb, resource), namespace, 403);
                assert_eq!(calls, 0, "{verb} {resource} in {namespace} was refused, and tried all the same");
                let about = told.iter().filter(|line| text(line, "path").starts_with(path.as_str()));
                let [line, ..] = about.collect::<Vec<_>>()[..] else { panic!("{path} is not told: {told:#?}") };
                assert_eq!((text(line, "rule"), text(line, "cure")), (*rule, cure.as_str()), "{line:#}");
                assert_eq!(text(line, "severity"), "error", "{line:#}");
                let (plural, sub) = resource.split_once('/').unwrap_or((resource, ""));
                let wanted = [verb, group, plural, sub, namespace];
                let keys = ["verb", "group", "resource", "subresource", "namespace"];
                assert_eq!(keys.map(|key| text(&line["need"], key)), wanted);
                let answer = array(&bundle["permissions"]).find(|one| keys.map(|key| text(one, key)) == wanted);
                let answer = answer.unwrap_or_else(|| panic!("{wanted:?} is not in {:#}", bundle["permissions"]));
                assert_eq!((&answer["allowed"], text(answer, "rule")), (&json!(false), *rule));
                assert!(!text(answer, "neededFor").is_empty(), "{answer}");
            }
            let here = |path: &str| lacking.iter().any(|(.., lost)| path.starts_with(lost.as_str()));
            assert!(told.iter().all(|line| here(text(line, "path"))), "{told:#?}");
            let rest: BTreeSet<String> = read_paths(&full).into_iter().filter(|path| !here(path)).collect();
            assert!(rest.len() < read_paths(&full).len(), "{resource}: nothing would be there anyway");
            assert_eq!(read_paths(&bundle), rest, "without {resource} the rest is collected");
            assert_eq!(bundle["outcome"], "PartiallyFailed");
            assert!(bundle["totals"]["wanted"] == full["totals"]["wanted"], "what is refused was wanted");
        }
    })
    .await;
}

#[tokio::test]
async fn sec_r42_what_is_switched_off_is_a_note_with_its_cure_and_the_bundle_is_completed() {
    with_namespace("access-off", |context| async move {
        let shop = a_cluster(&context).await;
        let alone = account(&context, "alone", None, false).await;
        let (bundle, summary) = collected_with_summary(&context, alone.client().await, &shop, false).await;
        let told = forbidden(&bundle);
        let cures: BTreeSet<&str> = told.iter().map(|line| text(line, "cure")).collect();
        let line = summary.lines().find(|one| one.contains("because of a permission or a limit: "));
        let line = line.unwrap_or_else(|| panic!("{summary}"));
        assert_eq!(cures.iter().filter(|cure| line.contains(&format!("`{cure}`"))).count(), 1, "{line}");
        assert!(told.iter().all(|line| text(line, "severity") == "note"), "{told:#?}");
        let rules: BTreeSet<&str> = told.iter().map(|line| text(line, "rule")).collect();
        assert!(rules.is_superset(&BTreeSet::from(["R20", "R23", "R24"])), "{rules:?}");
        assert!(told.iter().all(|line| text(line, "cure").starts_with("bind ClusterRole debugbundle-")), "{told:#?}");
        assert_eq!(bundle["outcome"], "Completed", "{:#}", bundle["missing"]);
        for (verb, resource, namespace) in [("list", "events", shop.as_str()), ("list", "nodes", "")] {
            assert_eq!(context.stand.times(&alone.user, (verb, resource), namespace, 403), 0, "{resource}");
        }
        let events = format!("namespaces/{}/core/events.yaml", context.namespace);
        assert!(read_paths(&bundle).contains(&events), "{:?}", read_paths(&bundle));
    })
    .await;
}

#[tokio::test]
async fn the_repository_password_is_masked_by_its_value_and_without_the_right_to_read_it_the_manifest_says_so() {
    with_namespace("access-password", |context| async move {
        let shop = context.workload_namespace("shop").await;
        let password = "ploughshare-under-larch";
        context
            .create::<Secret>(json!({
                "metadata": {"name": "velero-repo-credentials"}, "stringData": {"repository-password": password},
            }))
            .await;
        let event = json!({
            "metadata": {"name": "e1"}, "reason": "Odd", "message": format!("opened by {password} today"),
            "type": "Warning", "involvedObject": {"kind": "Pod", "namespace": context.namespace, "name": "herd-0"},
        });
        context.create::<Event>(event).await;
        let of_secrets = |manifest: &Value| -> Vec<Value> {
            array(&manifest["permissions"]).filter(|answer| answer["resource"] == "secrets").cloned().collect()
        };
        let masked = |manifest: &Value| {
            let path = format!("namespaces/{}/core/events.yaml", context.namespace);
            let entry = array(&manifest["entries"]).find(|entry| text(entry, "path") == path);
            entry.expect("there are events")["redactions"]["known-repository-password"].clone()
        };

        let whole = account(&context, "whole", None, true).await;
        let bundle = collected(&context, whole.client().await, &shop, true).await;
        let [answer] = &of_secrets(&bundle)[..] else { panic!("{:#}", bundle["permissions"]) };
        assert_eq!((text(answer, "rule"), &answer["allowed"]), ("R7", &json!(true)), "{answer:#}");
        assert_eq!(masked(&bundle), 1);
        let outcome = bundle["outcome"].clone();

        let poorer = account(&context, "poorer", Some(("", "secrets")), true).await;
        let bundle = collected(&context, poorer.client().await, &shop, true).await;
        let [answer] = &of_secrets(&bundle)[..] else { panic!("{:#}", bundle["permissions"]) };
        let wanted = ["get", "", "secrets", context.namespace.as_str(), "R7"];
        assert_eq!(["verb", "group", "resource", "namespace", "rule"].map(|key| text(answer, key)), wanted);
        assert_eq!(answer["allowed"], false);
        assert!(text(answer, "neededFor").contains("repository password"), "{answer:#}");
        let told = forbidden(&bundle);
        let about = told.iter().filter(|line| text(line, "what").contains("velero-repo-credentials"));
        let [line] = about.collect::<Vec<_>>()[..] else { panic!("{told:#?}") };
        let cure = format!(
            "grant the operator rule R7 of its Role in namespace {}, with velero-repo-credentials among its \
             resourceNames",
            context.namespace
        );
        assert_eq!((text(line, "severity"), text(line, "rule"), text(line, "cure")), ("note", "R7", cure.as_str()));
        assert!(text(line, "why").contains("403"), "{line:#}");
        assert_eq!(["verb", "group", "resource", "namespace"].map(|key| text(&line["need"], key)), wanted[..4]);
        assert_eq!(masked(&bundle), Value::Null, "nobody could know it");
        assert_eq!(bundle["outcome"], outcome, "that alone makes no bundle incomplete: {:#}", bundle["missing"]);
    })
    .await;
}

/// How permission reviews are answered.
#[derive(Clone, Copy)]
enum Reviews {
    /// The API server refuses to answer.
    Refused,
    /// An authorizer answers yes to every review and then refuses the requests.
    Yes,
}

/// A connection to the API server that answers permission reviews differently.
#[derive(Clone)]
struct Bent(Client, Reviews);

impl Service<http::Request<Body>> for Bent {
    type Response = http::Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self(client, reviews) = self.clone();
        Box::pin(async move {
            if !request.uri().path().ends_with("/selfsubjectaccessreviews") {
                return client.send(request).await;
            }
            let (code, answer) = match reviews {
                Reviews::Refused => (
                    403,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
                        "message": "reviews are forbidden", "code": 403}),
                ),
                Reviews::Yes => {
                    let body = request.into_body().collect().await.expect("a request's body").to_bytes();
                    let mut review: Value = serde_json::from_slice(&body).expect("a review");
                    review["status"] = json!({"allowed": true});
                    (201, review)
                }
            };
            let body = Body::from(answer.to_string().into_bytes());
            Ok(http::Response::builder().status(code).body(body).expect("an answer"))
        })
    }
}

#[tokio::test]
async fn sec_r40_a_refusal_wins_over_a_yes_and_without_an_answer_it_is_tried() {
    with_namespace("access-bent", |context| async move {
        let shop = a_cluster(&context).await;
        for (name, reviews) in [("refused", Reviews::Refused), ("yes", Reviews::Yes)] {
            let poorer = account(&context, name, Some(("", "events")), true).await;
            let client = Client::new(Bent(poorer.client().await, reviews), context.namespace.as_str());
            let bundle = collected(&context, client, &shop, true).await;
            let told = forbidden(&bundle);
            let rules: BTreeSet<&str> = told.iter().map(|line| text(line, "rule")).collect();
            assert_eq!(rules, BTreeSet::from(["R5", "R24"]), "{name}: {told:#?}");
            assert!(told.iter().all(|line| text(line, "why").starts_with("403 Forbidden")), "{told:#?}");
            assert_eq!(context.stand.times(&poorer.user, ("list", "events"), &shop, 403), 1, "{name}");
            let denied = shipped(&bundle).filter(|answer| answer["allowed"] == false);
            assert_eq!(denied.count(), 3, "here, there and in default: {name}: {:#}", bundle["permissions"]);
            let answers = array(&bundle["permissions"]).filter(|answer| answer["resource"] != "secrets");
            let granted = answers.filter(|answer| answer["allowed"] == true).count();
            assert_eq!(granted > 0, matches!(reviews, Reviews::Yes), "nothing is known that was not answered");
            assert!(read_paths(&bundle).contains(&format!("namespaces/{shop}/core/resourcequotas.yaml")));
        }
    })
    .await;
}
