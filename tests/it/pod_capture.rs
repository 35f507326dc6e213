//! Pods of data movers that are gone when the bundle is made: logs that the operator followed while they ran, and
//! copies in node-agents' logs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use debugbundle_crd::{DebugBundleStatus, Phase};
use futures::StreamExt as _;
use harness::bundle::Unpacked;
use harness::usage::Usage;
use harness::velero_objects::{backup, data_download, restore};
use harness::{Context, Growing, LogScript, Operator, pod, until, with_namespace};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::bundles::{LIMIT, about_r1};

/// A secret that must never appear in a bundle, in any text.
const SIGNATURE: &str = "0a1b2c3d4e5f60718293";
const DOWNLOAD: &str = "velero.io/data-download";
const CAUGHT: &str = "captured while the pod ran; the pod was gone when the bundle was made";
/// Limits for all pods together: bytes, and number of pods.
const HELD: u64 = 8 << 20;
const PODS: usize = 64;
const PEAK: u64 = 96 << 20;
/// Limit of copies taken from node-agents' logs.
const COPIES: usize = 256;
/// Limit of logs followed at a time.
const FOLLOWED: usize = 16;

/// A running Restore `r1` of a Backup `seed`.
async fn running_restore(context: &Context) -> DynamicObject {
    let now = Timestamp::now();
    context.create_velero(backup("seed").completed().started(now).ended(now)).await;
    context.create_velero(restore("r1").in_progress().started(now)).await
}

/// A DataDownload of that Restore.
async fn download(context: &Context, name: &str, restore: &DynamicObject, node: &str) {
    let shop = context.cluster_name("shop");
    let object = data_download(name).of(restore).of_claim(&shop, "data").from_namespace(&shop);
    context.create_velero(object.in_progress().on_node(node)).await;
}

async fn ended(context: &Context) {
    let status = json!({"status": {"phase": "PartiallyFailed", "completionTimestamp": Timestamp::now(), "errors": 1}});
    context.patch_velero("Restore", "r1", status).await;
}

async fn event_on(context: &Context, pod: &Pod, message: &str) -> Event {
    let meta = &pod.metadata;
    let about =
        json!({"apiVersion": "v1", "kind": "Pod", "name": meta.name, "namespace": meta.namespace, "uid": meta.uid});
    let name = format!("{}.1", meta.name.as_deref().unwrap());
    context
        .create(json!({"metadata": {"name": name}, "involvedObject": about, "reason": "FailedMount", "type": "Warning",
            "message": message, "lastTimestamp": Timestamp::now()}))
        .await
}

async fn delete_pod(context: &Context, name: &str) {
    context.api::<Pod>().delete(name, &DeleteParams::default().grace_period(0)).await.expect("a pod can be deleted");
}

/// How often this pod's log was requested: with `follow`, and without.
fn asked(context: &Context, node: &str, pod: &str) -> (usize, usize) {
    let seen: Vec<_> = context.stand.kubelet.seen(node).into_iter().filter(|seen| seen.pod == pod).collect();
    let followed = seen.iter().filter(|seen| seen.query.get("follow").is_some_and(|follow| follow == "true")).count();
    (followed, seen.len() - followed)
}

async fn until_followed(context: &Context, node: &str, pod: &str) {
    until(LIMIT, &format!("the log of {pod} is followed"), || async {
        (asked(context, node, pod).0 > 0).then_some(())
    })
    .await;
}

/// At the end of a followed log, the operator requests it once more to check that nothing is missing: by then, all
/// earlier lines have arrived.
async fn until_read(context: &Context, node: &str, pod: &str) {
    until(LIMIT, &format!("the log of {pod} was read"), || async { (asked(context, node, pod).1 > 0).then_some(()) })
        .await;
}

async fn bundle(context: &Context, name: &str, spec: Value) -> (DebugBundleStatus, Unpacked) {
    context.debug_bundle(name, spec).await;
    let status = context.until_bundle_ended(name).await;
    assert!(matches!(status.phase, Some(Phase::Completed | Phase::PartiallyFailed)), "{status:?}");
    let unpacked = context.download(&status).await;
    (status, unpacked)
}

fn log_path(context: &Context, pod: &str, container: &str) -> String {
    format!("namespaces/{}/pods/{pod}/{container}/{container}/logs/current.log", context.namespace)
}

fn entry<'a>(bundle: &'a Unpacked, path: &str) -> &'a Value {
    let entries = bundle.manifest["entries"].as_array().unwrap();
    entries.iter().find(|entry| entry["path"] == path).unwrap_or_else(|| panic!("no {path}"))
}

#[tokio::test]
async fn what_a_data_mover_left_is_in_the_bundle_though_it_was_gone_before() {
    with_namespace("movers", |context| async move {
        let space = context.namespace.clone();
        let node = context.node("n").await;
        let account = context.shipped_account().await;
        let restore = running_restore(&context).await;
        for name in ["r1-x1", "r1-x2", "r1-x3"] {
            download(&context, name, &restore, &node).await;
        }
        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let secret = context.stand.s3.root().secret.clone();
        let signed = format!("GET https://s3/b/k?X-Amz-Signature={SIGNATURE} with {secret}");

        let (mover, other) = (Growing::default(), Growing::default());
        context.log("r1-x1", "c1", LogScript::growing(&mover));
        context.log("passer-by", "c1", LogScript::growing(&other));
        let hosting = || pod("r1-x1").on_node(&node).labelled(DOWNLOAD, "r1-x1").with_container("c1");
        context.pod(pod("passer-by").on_node(&node).labelled("app", "shop").with_container("c1")).await;
        let made = context.pod(hosting()).await;
        until_followed(&context, &node, "r1-x1").await;
        mover.write("time=now level=info msg=\"opening the repository\"");
        mover.write(&signed);
        mover.write("time=now level=error msg=\"no room on volume data\"");
        mover.end();
        let event = event_on(&context, &made, &format!("mount failed: {signed}")).await;
        context.pod_status(hosting().terminated(7)).await;
        until_read(&context, &node, "r1-x1").await;
        delete_pod(&context, "r1-x1").await;
        until(LIMIT, "its Events were asked for", || async {
            let requests = context.stand.distinct_requests_of(&account.user);
            let asked = requests.contains(&("list".to_owned(), String::new(), "events".to_owned()));
            asked.then_some(()).ok_or(format!("{requests:?}"))
        })
        .await;
        let event = event.metadata.name.unwrap();
        context.api::<Event>().delete(&event, &DeleteParams::default()).await.expect("an Event can be deleted");
        delete_pod(&context, "passer-by").await;

        node_agent(&context, &node, &signed).await;
        ended(&context).await;
        let (_, bundle) = bundle(&context, "why-r1", about_r1()).await;

        let pods = bundle.items(&format!("namespaces/{space}/core/pods.yaml"));
        let names: Vec<_> = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["node-agent-1", "r1-x1"], "the passer-by was not caught");
        let last = &pods[1];
        assert_eq!(
            (&last["apiVersion"], &last["kind"], &last["metadata"]["uid"]),
            (&json!("v1"), &json!("Pod"), &json!(made.metadata.uid))
        );
        assert!(last["metadata"]["annotations"]["debugbundle.io/last-seen"].is_string(), "{last}");
        assert!(pods[0]["metadata"]["annotations"]["debugbundle.io/last-seen"].is_null());
        assert_eq!(last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 7);
        let events = bundle.items(&format!("namespaces/{space}/core/events.yaml"));
        let found = events.iter().find(|event| event["involvedObject"]["name"] == "r1-x1").expect("its Event");
        assert!(found["message"].as_str().unwrap().starts_with("mount failed: GET https://s3/b/k?"), "{found}");
        assert!(found["metadata"]["annotations"]["debugbundle.io/last-seen"].is_string());

        let path = log_path(&context, "r1-x1", "c1");
        let text = bundle.file(&path);
        assert_eq!(text.lines().count(), 3, "once, and not the copy: {text}");
        assert!(text.ends_with("level=error msg=\"no room on volume data\"\n"), "{text}");
        let told = entry(&bundle, &path);
        assert_eq!((&told["source"]["kind"], &told["source"]["warning"]), (&json!("PodLog"), &json!(CAUGHT)));
        assert_eq!((&told["source"]["podUID"], &told["source"]["node"]), (&json!(made.metadata.uid), &json!(node)));
        assert!(told["source"]["lastLine"].is_string() && told["truncated"].is_null(), "{told}");
        assert!(!bundle.has(&log_path(&context, "passer-by", "c1")));

        let copy = bundle.file(&log_path(&context, "r1-x2", "c2"));
        assert_eq!(copy.lines().count(), 2, "{copy}");
        assert!(copy.ends_with("Z level=error msg=\"copied words\"\n"), "{copy}");
        let told = entry(&bundle, &log_path(&context, "r1-x2", "c2"));
        assert!(told["source"]["warning"].as_str().unwrap().starts_with("copied from the node-agent's log"), "{told}");
        assert!(!bundle.has(&log_path(&context, "elsewhere", "c9")), "a copy of another Restore's");
        assert!(bundle.file("summary.md").contains("phase Pending, node name"), "{}", bundle.file("summary.md"));
        assert_eq!(bundle.find(&[SIGNATURE, &secret]), Vec::<String>::new());
        assert!(!std::fs::read_to_string(operator.process().log()).unwrap().contains(SIGNATURE));
        let verbs: BTreeSet<_> = context
            .stand
            .distinct_requests_of(&account.user)
            .into_iter()
            .filter(|request| request.2 == "pods")
            .collect();
        assert!(verbs.contains(&("watch".to_owned(), String::new(), "pods".to_owned())), "{verbs:?}");
    })
    .await;
}

/// A node-agent whose log holds copies of data movers' logs and a diagnosis, as Velero writes them.
async fn node_agent(context: &Context, node: &str, signed: &str) {
    let marker = |word: &str, of: &str| format!("{0}{word} pod logs[{of}]{0}", "*".repeat(27));
    let copy = |of: &str, lines: &[&str]| {
        let lines = lines.iter().map(ToString::to_string);
        std::iter::once(marker("begin", of)).chain(lines).chain([marker("end", of)]).collect::<Vec<_>>()
    };
    let lines = [
        vec!["time=now level=info msg=\"Redirecting to log file /tmp/1\"".to_owned()],
        copy("r1-x1/c1", &["a copy of what was caught already"]),
        copy("r1-x2/c2", &[signed, "level=error msg=\"copied words\""]),
        copy("elsewhere/c9", &["of another Restore"]),
        vec![
            "time=now level=warning msg=\"[Diagnose DD expose]begin diagnose restore exposer\" datadownload=r1-x3".to_owned(),
            "time=now level=warning msg=\"[Diagnose DD expose]Pod v/r1-x3, phase Pending, node name \" datadownload=r1-x3".to_owned(),
            "time=now level=info msg=after".to_owned(),
        ],
    ];
    context.node_agents().await;
    context.pod(pod("node-agent-1").on_node(node).labelled("role", "node-agent").with_container("node-agent")).await;
    context.log("node-agent-1", "node-agent", LogScript::lines(lines.concat()));
}

#[tokio::test]
async fn of_more_copies_than_are_taken_out_of_node_agents_logs_the_number_is_told() {
    with_namespace("movers-copies", |context| async move {
        let node = context.node("n").await;
        context.node_agents().await;
        let agent = pod("node-agent-1").on_node(&node).labelled("role", "node-agent").with_container("node-agent");
        context.pod(agent).await;
        let marker = |word: &str, n: usize| format!("{0}{word} pod logs[b-{n:03}/c]{0}", "*".repeat(27));
        let copy = |n| [marker("begin", n), format!("level=info msg=\"words of {n}\""), marker("end", n)];
        context.log("node-agent-1", "node-agent", LogScript::lines((0..COPIES + 3).flat_map(copy)));
        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = bundle(&context, "more", json!({})).await;
        let there = (0..COPIES + 3).filter(|n| bundle.has(&log_path(&context, &format!("b-{n:03}"), "c"))).count();
        assert_eq!(there, COPIES);
        let path = format!("namespaces/{}/pods", context.namespace);
        let told = bundle.missing().into_iter().find(|lost| lost.path == path).expect("those that were left");
        assert_eq!((told.code.as_str(), told.severity.as_str()), ("NotLooked", "note"));
        assert!(told.why.starts_with("the node-agents' logs contain 3 more"), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn of_many_pods_with_long_logs_some_are_kept_and_the_memory_is_bounded() {
    with_namespace("movers-many", |context| async move {
        let node = context.node("n").await;
        let operator = Operator::of(&context).ready().await;
        let before = Usage::of(operator.process().pid()).expect("it runs").now;
        let names: Vec<String> = (0..PODS + 8).map(|n| format!("b1-{n:03}")).collect();
        let make = async |name: &String| {
            context.log(name, "c", LogScript::generated(1 << 20, 5));
            let pod = pod(name).on_node(&node).labelled("velero.io/data-upload", name).with_container("c");
            context.pod(pod.terminated(0)).await;
            let done = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
            context.api::<Pod>().patch_status(name, &PatchParams::default(), &done).await.expect("a pod can end");
        };
        futures::stream::iter(&names).map(make).buffer_unordered(4).collect::<Vec<()>>().await;
        until(2 * LIMIT, "each log was asked for", || async {
            let seen: BTreeSet<_> = context.stand.kubelet.seen(&node).into_iter().map(|seen| seen.pod).collect();
            let left = names.iter().filter(|name| !seen.contains(*name)).count();
            let open = context.stand.kubelet.open_now(&node);
            if left + open == 0 { Ok(()) } else { Err(format!("{left} were not, {open} are being read")) }
        })
        .await;
        let held = Usage::of(operator.process().pid()).expect("it runs").now.saturating_sub(before);
        // The rest is connections and the allocator's overhead.
        assert!(held < 4 * HELD, "{} MiB more than before", held >> 20);
        for name in &names {
            delete_pod(&context, name).await;
        }
        let (_, bundle) = bundle(&context, "all", json!({})).await;
        let caught = bundle.names_in(&context.namespace, "core/pods");
        assert!(caught.len() <= PODS && caught.len() > 20, "{}", caught.len());
        let logs: Vec<_> =
            caught.iter().map(|name| log_path(&context, name, "c")).filter(|path| bundle.has(path)).collect();
        assert!(!logs.is_empty());
        for path in logs {
            let (told, text) = (entry(&bundle, &path), bundle.file(&path));
            assert!(text.len() <= (256 << 10) + 200 && text.len() > 100_000, "{path} {}", text.len());
            assert!(text.lines().next().unwrap().ends_with("lines before this were not captured"));
            assert_eq!(told["truncated"]["reason"], "Limit");
            assert!(text.lines().last().unwrap().contains("name=item-000000005242 "), "the last line is there");
        }
        let peak = Usage::of(operator.process().pid()).expect("it runs").peak;
        assert!(peak < PEAK, "{} MiB", peak >> 20);
    })
    .await;
}

#[tokio::test]
async fn of_more_pods_than_are_followed_at_a_time_the_bundle_says_which_were_not() {
    with_namespace("movers-more", |context| async move {
        // Two pods on each node, as many as are read on one node at once.
        let mut nodes = Vec::new();
        for n in 0..(FOLLOWED + 3).div_ceil(2) {
            nodes.push(context.node(&format!("n{n}")).await);
        }
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let names: Vec<String> = (0..FOLLOWED + 3).map(|n| format!("b2-{n:02}")).collect();
        let logs: Vec<Growing> = names.iter().map(|_| Growing::default()).collect();
        let node_of = |name: &String| &nodes[names.iter().position(|one| one == name).expect("one of them") / 2];
        let hosting = |name: &String| {
            pod(name).on_node(node_of(name)).labelled("velero.io/data-upload", name).with_container("c")
        };
        for (name, log) in names.iter().zip(&logs) {
            log.write(format!("the words of {name}"));
            context.log(name, "c", LogScript::growing(log));
            context.pod(hosting(name)).await;
        }
        let are_followed =
            || names.iter().filter(|name| asked(&context, node_of(name), name).0 > 0).cloned().collect::<BTreeSet<_>>();
        until(LIMIT, "as many as there is place for are followed", || async {
            let found = are_followed().len();
            if found == FOLLOWED { Ok(()) } else { Err(format!("{found} are")) }
        })
        .await;
        // The watch reports pods in order: when the operator reads this log, it has seen all other pods.
        context.log("b2-last", "c", LogScript::lines(["the last pod"]));
        let late = pod("b2-last").on_node(&nodes[0]).labelled("velero.io/data-upload", "b2-last").with_container("c");
        context.pod(late.terminated(0)).await;
        until_read(&context, &nodes[0], "b2-last").await;
        bundle(&context, "while-all-run", json!({})).await;
        let followed = are_followed();
        for (name, log) in names.iter().zip(&logs).filter(|(name, _)| followed.contains(*name)) {
            // The bundle has read this log, too.
            let before = asked(&context, node_of(name), name).1;
            log.end();
            context.pod_status(hosting(name).terminated(0)).await;
            until(LIMIT, &format!("the log of {name} was read to its end"), || async {
                (asked(&context, node_of(name), name).1 > before).then_some(())
            })
            .await;
        }
        // The other pods did not change, so the operator did not look at them again.
        assert_eq!(are_followed(), followed);
        for name in &names {
            delete_pod(&context, name).await;
        }
        let tries = AtomicUsize::new(0);
        let bundle = until(LIMIT, "a bundle tells of each pod", || async {
            let name = format!("all-{}", tries.fetch_add(1, Ordering::Relaxed));
            let (_, bundle) = bundle(&context, &name, json!({})).await;
            let told = |name: &String| {
                let path = log_path(&context, name, "c");
                let mut missing = bundle.manifest["missing"].as_array().unwrap().iter();
                bundle.has(&path) || missing.any(|one| one["path"] == path)
            };
            match names.iter().find(|name| !told(name)) {
                None => Ok(bundle),
                Some(name) => Err(format!("{name}, asked for {:?} times", asked(&context, node_of(name), name))),
            }
        })
        .await;
        let missing = bundle.manifest["missing"].as_array().unwrap();
        assert!(names.iter().any(|name| !bundle.has(&log_path(&context, name, "c"))), "some were not followed");
        for name in &names {
            let path = log_path(&context, name, "c");
            let losses: Vec<&Value> = missing.iter().filter(|one| one["path"] == path).collect();
            // The deletion of a pod is a change, too: where a place was free by then, its log was followed to the end.
            if followed.contains(name) || bundle.has(&path) {
                assert!(bundle.file(&path).ends_with(&format!("the words of {name}\n")), "{name}");
                assert!(losses.is_empty(), "{losses:?}");
                continue;
            }
            let [lost] = losses.as_slice() else {
                panic!("{name}, asked for {:?} times: {missing:#?}", asked(&context, node_of(name), name))
            };
            assert_eq!((&lost["code"], &lost["severity"]), (&json!("Gone"), &json!("note")), "{lost}");
            let why = lost["why"].as_str().unwrap();
            assert!(why.contains("16 logs of data movers are followed at a time"), "{why}");
            assert!(!bundle.has(&path));
        }
        drop(operator);
    })
    .await;
}

#[tokio::test]
async fn a_log_that_was_refused_while_its_pod_was_there_is_told_as_missing() {
    with_namespace("movers-refused", |context| async move {
        let node = context.node("n").await;
        let account = context.shipped_account().await;
        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let lost = async |name: &str, (code, severity, why, cure): (&str, &str, &str, &str)| {
            context.pod(pod(name).on_node(&node).labelled("velero.io/data-upload", name).with_container("c")).await;
            let refused = || async {
                let refused = context.stand.times(&account.user, ("get", "pods/log"), &context.namespace, 404)
                    + context.stand.times(&account.user, ("get", "pods/log"), &context.namespace, 403);
                (refused > 0).then_some(())
            };
            until(LIMIT, "its log was refused", refused).await;
            delete_pod(&context, name).await;
            let (_, bundle) = bundle(&context, name, json!({})).await;
            let path = log_path(&context, name, "c");
            assert!(bundle.names_in(&context.namespace, "core/pods").contains(&name.to_owned()));
            assert!(!bundle.has(&path));
            let missing = bundle.manifest["missing"].as_array().unwrap();
            let told = missing.iter().find(|one| one["path"] == path).unwrap_or_else(|| panic!("{missing:#?}"));
            assert_eq!((&told["code"], &told["severity"]), (&json!(code), &json!(severity)), "{told}");
            assert!(told["why"].as_str().unwrap().contains(why), "{told}");
            assert!(told["cure"].as_str().unwrap().contains(cure), "{told}");
        };
        let gone = ("Gone", "note", "before its log could be read", "while the pod exists");
        context.log("b3-gone", "c", LogScript::status(404, "no such container"));
        lost("b3-gone", gone).await;

        let told = || operator.log().iter().filter(|line| line.to_string().contains("Logs of data movers")).count();
        assert_eq!(told(), 0, "that is no lack of a permission");
        let roles = context.api::<Role>();
        let mut role = roles.get("debugbundle-operator").await.unwrap();
        for rule in role.rules.iter_mut().flatten() {
            rule.resources.iter_mut().for_each(|resources| resources.retain(|resource| resource != "pods/log"));
        }
        role.rules.iter_mut().for_each(|rules| {
            rules.retain(|rule| rule.resources.as_ref().is_none_or(|resources| !resources.is_empty()));
        });
        let without = json!({"rules": role.rules});
        roles.patch("debugbundle-operator", &PatchParams::default(), &Patch::Merge(without)).await.unwrap();
        let why = "refused its log (403) while the pod existed";
        let refused = ("Forbidden", "error", why, "grant the operator rule R6 of its Role in namespace ");
        lost("b4-refused", refused).await;
        lost("b5-refused", refused).await;
        assert_eq!(told(), 1, "once, not once a log");
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_pod_that_vanished_survives_a_restart_without_its_secrets() {
    with_namespace("movers-saved", |context| async move {
        let node = context.node("n").await;
        let restore = running_restore(&context).await;
        download(&context, "r1-x1", &restore, &node).await;
        let mut operator = Operator::of(&context).ready().await;
        let hosting = || pod("r1-x1").on_node(&node).labelled(DOWNLOAD, "r1-x1").with_container("c1");
        context.log("r1-x1", "c1", LogScript::lines(["nobody keeps this"]));
        context.pod(hosting()).await;
        let said = format!("GET https://s3/b/k?X-Amz-Signature={SIGNATURE}: no room");
        let ended_with = json!({"status": {"phase": "Failed", "message": said, "containerStatuses": [{"name": "c1",
            "image": "velero", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": said}}}]}});
        let pods = context.api::<Pod>();
        pods.patch_status("r1-x1", &PatchParams::default(), &Patch::Merge(ended_with)).await.expect("it ends");
        delete_pod(&context, "r1-x1").await;
        let folder = operator.spool().join("pods");
        let saved = || -> Vec<String> {
            let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
        };
        until(LIMIT, "its end is saved", || async {
            let saved = saved();
            if saved.iter().any(|pod| pod.contains("OOMKilled")) { Ok(()) } else { Err(format!("{saved:?}")) }
        })
        .await;
        assert!(!saved().concat().contains(SIGNATURE), "{:?}", saved());
        operator.kill9();
        operator.restart().await;
        ended(&context).await;
        let (_, bundle) = bundle(&context, "why-r1", about_r1()).await;
        let pods = bundle.items(&format!("namespaces/{}/core/pods.yaml", context.namespace));
        let pod = pods.iter().find(|pod| pod["metadata"]["name"] == "r1-x1").expect("the pod that vanished");
        assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "OOMKilled", "{pod:#}");
        assert!(pod["metadata"]["annotations"]["debugbundle.io/last-seen"].is_string(), "{pod:#}");
        assert_eq!(bundle.find(&[SIGNATURE]), [""; 0]);
        let missing = bundle.manifest["missing"].as_array().unwrap();
        let path = log_path(&context, "r1-x1", "c1");
        let log = missing.iter().find(|one| one["path"] == path).unwrap_or_else(|| panic!("{missing:#?}"));
        assert_eq!((&log["code"], &log["severity"]), (&json!("Gone"), &json!("note")), "{log}");
        assert!(log["why"].as_str().unwrap().contains("the operator was restarted"), "{log}");
    })
    .await;
}

#[tokio::test]
async fn without_the_permission_it_says_so_once_and_makes_its_bundles() {
    with_namespace("movers-blind", |context| async move {
        let account = context.shipped_account().await;
        let roles = context.api::<Role>();
        let mut role = roles.get("debugbundle-operator").await.unwrap();
        for rule in role.rules.iter_mut().flatten() {
            if rule.resources.as_ref().is_some_and(|resources| resources.contains(&"pods".to_owned())) {
                rule.verbs.retain(|verb| verb != "watch");
            }
        }
        let without = json!({"rules": role.rules});
        roles.patch("debugbundle-operator", &PatchParams::default(), &Patch::Merge(without)).await.unwrap();
        running_restore(&context).await;
        ended(&context).await;
        let operator = Operator::of(&context).as_user(&account.kubeconfig).ready().await;
        let refusals = || operator.log().iter().filter(|line| line.to_string().contains("cannot be watched")).count();
        until(LIMIT, "it says that it does without", || async { (refusals() > 0).then_some(()) }).await;
        let (status, bundle) = bundle(&context, "why-r1", about_r1()).await;
        assert!(status.bundle.is_some());
        assert!(bundle.is_empty(&format!("namespaces/{}/core/pods.yaml", context.namespace)));
        assert_eq!(refusals(), 1, "once, not once a label");
        assert_eq!(operator.exited(), None);
    })
    .await;
}
