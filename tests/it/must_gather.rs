//! A bundle in the hands of people who read must-gathers: their reader shows what the API server and the kubelet
//! returned.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::bundle::{Unpacked, spec_about};
use harness::{Context, LogScript, Operator, Velero, python, with_namespace};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use serde_json::{Value, json};

/// Asks the reader.
fn answers(folder: &Path, questions: &[Value]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/readers/must_gather.py");
    let asked = Command::new("python3")
        .arg(script)
        .arg(folder)
        .arg(Value::from(questions.to_vec()).to_string())
        .env("PYTHONPATH", python::packages("must-gather-parser"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 can be run");
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "must-gather-parser: {said}");
    serde_json::from_slice(&asked.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Unpacks it with tar, as a person would before `omc use`.
fn unpacked(context: &Context, bundle: &Unpacked) -> PathBuf {
    let folder = context.folder("inspected");
    let archive = folder.join("bundle.tar.gz");
    std::fs::write(&archive, &bundle.archive).expect("the stand's folder can be written");
    let ended = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&folder).status().expect("tar can be run");
    assert!(ended.success(), "tar: {ended}");
    folder.join(&bundle.root)
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

fn uids(list: &Value) -> BTreeSet<String> {
    let uid = |item: &Value| item["metadata"]["uid"].as_str().expect("a UID").to_owned();
    items(list).iter().map(uid).collect()
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = items(list).iter().find(|item| item["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {list:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_must_gathers_shows_pods_events_logs_and_backups_as_the_servers_had_them() {
    with_namespace("inspected", |context| async move {
        let velero = Velero::start(&context).await;
        velero.pretend_node_agent().await;
        context.log("node-agent-k4w9z", "node-agent", LogScript::lines(["level=info msg=\"first: a line\"", "last"]));
        velero.partially_failed_restore("r1").await;
        let space = context.namespace.as_str();
        context
            .create::<Event>(json!({
                "metadata": {"name": "e1"}, "type": "Warning", "reason": "Odd", "message": "yes: 'no' # 12:30",
                "involvedObject": {"kind": "Pod", "namespace": space, "name": "node-agent-k4w9z"},
            }))
            .await;
        let _operator = Operator::of(&context).ready().await;
        context.debug_bundle("r1", spec_about("Restore", "r1")).await;
        let bundle = context.download(&context.until_bundle_ended("r1").await).await;
        let folder = unpacked(&context, &bundle);

        let get = |plural: &str, group: &str, namespace: Option<&str>| json!({"plural": plural, "group": group, "namespace": namespace});
        let questions = [
            get("pods", "", Some(space)),
            get("events", "", Some(space)),
            get("backups", "velero.io", Some(space)),
            get("restores", "velero.io", Some(space)),
            get("customresourcedefinitions", "apiextensions.k8s.io", None),
            get("nodes", "", None),
            json!({"logs": [space, "node-agent-k4w9z", "node-agent"]}),
            json!({"logs": [space, harness::velero::POD, "velero"]}),
        ];
        let shown = tokio::task::spawn_blocking(move || answers(&folder, &questions)).await.expect("it did not panic");
        let [pods, events, backups, restores, definitions, nodes, agent, server] = &shown[..] else { panic!("{shown:#?}") };

        let live = context.api::<Pod>().list(&ListParams::default()).await.expect("the API server answers");
        let live: BTreeSet<String> = live.iter().filter_map(kube::ResourceExt::uid).collect();
        assert!(live.len() >= 2, "{live:?}");
        assert_eq!(uids(pods), live);
        assert_eq!(named(events, "e1")["message"], "yes: 'no' # 12:30");
        for (list, kind, name) in [(backups, "Backup", "r1-source"), (restores, "Restore", "r1")] {
            let there = context.velero_api(kind).get(name).await.expect("it is there");
            let shown = named(list, name);
            assert_eq!((&shown["spec"], &shown["kind"]), (&there.data["spec"], &json!(kind)));
            assert_eq!(shown["status"]["phase"], there.data["status"]["phase"]);
        }
        assert_eq!(named(restores, "r1")["status"]["phase"], "PartiallyFailed");
        assert_eq!(named(definitions, "backups.velero.io")["spec"]["names"]["plural"], "backups");
        assert_eq!(named(nodes, velero.node())["metadata"]["name"], velero.node());

        let lines = |shown: &Value| -> Vec<String> {
            shown.as_array().into_iter().flatten().map(|line| line.as_str().expect("a line").to_owned()).collect()
        };
        let said: Vec<String> = lines(agent).iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
        assert_eq!(said, ["level=info msg=\"first: a line\"", "last"]);
        let own = lines(server);
        assert!(own.iter().any(|line| line.contains("Starting Velero server")), "{:?}", own.first());
        let path = format!("namespaces/{space}/pods/{}/velero/velero/logs/current.log", harness::velero::POD);
        assert_eq!(own, bundle.file(&path).lines().collect::<Vec<_>>());
    })
    .await;
}
