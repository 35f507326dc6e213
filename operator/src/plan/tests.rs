//! Plans of invented inventories. The tests on the stand cover what is read from a real cluster.

use std::collections::BTreeSet;

use debugbundle_crd::{LogWindow, Logs, TargetKind};
use debugbundle_diagnosis::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::{
    discovery::{
        Looked, NamespaceCandidate, Relevance, Unnamed,
        fixture::{pod, snapshot, target},
    },
    velero::{ObjectName, Pod, PodRole},
};

fn now() -> Timestamp {
    time("2026-03-01T12:00:00Z")
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn spec() -> DebugBundleSpec {
    DebugBundleSpec::about(TargetKind::Restore, "harvest")
}

fn paths(plan: &Plan) -> Vec<&str> {
    plan.items.iter().map(|item| item.path.as_str()).collect()
}

fn item<'a>(plan: &'a Plan, path: &str) -> &'a Item {
    plan.items.iter().find(|item| item.path.as_str() == path).unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn the_window_is_the_targets_life_and_ten_minutes_around_it() {
    let logs = Logs::default();
    let done = target(TargetKind::Restore, "PartiallyFailed");
    assert_eq!(
        window(&logs, Some(&done), now()),
        TimeWindow { from: Some(time("2026-03-01T09:50:00Z")), to: Some(time("2026-03-01T10:40:00Z")) }
    );
    let mut running = target(TargetKind::Restore, "InProgress");
    running.completed = None;
    assert_eq!(window(&logs, Some(&running), now()).to, None, "up to now");
    running.started = None;
    assert_eq!(window(&logs, Some(&running), now()).from, Some(time("2026-03-01T09:49:00Z")));
    assert_eq!(window(&logs, None, now()), TimeWindow::default());
}

#[test]
fn what_the_user_asks_of_the_window_wins() {
    let asked = |since: Option<&str>, from: Option<&str>, to: Option<&str>| {
        let at = |text: &str| Time(time(text));
        let window = LogWindow { since: since.map(str::to_owned), since_time: from.map(at), until_time: to.map(at) };
        super::window(
            &Logs { window: Some(window), ..Logs::default() },
            Some(&target(TargetKind::Backup, "Failed")),
            now(),
        )
    };
    let one = asked(Some("30m"), None, None);
    assert_eq!((one.from, one.to), (Some(time("2026-03-01T11:30:00Z")), None));
    let both = asked(None, Some("2026-02-01T00:00:00Z"), Some("2026-02-02T00:00:00Z"));
    assert_eq!((both.from, both.to), (Some(time("2026-02-01T00:00:00Z")), Some(time("2026-02-02T00:00:00Z"))));
    let end = asked(None, None, Some("2026-03-01T10:05:00Z"));
    assert_eq!((end.from, end.to), (Some(time("2026-03-01T09:50:00Z")), Some(time("2026-03-01T10:05:00Z"))));
    let before = asked(None, None, Some("2026-01-01T00:00:00Z"));
    assert_eq!((before.from, before.to), (None, Some(time("2026-01-01T00:00:00Z"))));
    assert_eq!(asked(None, None, None).from, Some(time("2026-03-01T09:50:00Z")), "an empty window is none");
}

#[test]
fn a_restore_brings_its_own_files_and_its_backups() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "PartiallyFailed"));
    let mut backup = target(TargetKind::Backup, "Completed");
    backup.name = "seed".to_owned();
    snapshot.target.backup = Some(backup);
    let plan = plan(&spec(), &snapshot, now());
    for (path, priority) in [
        ("velero/restores/harvest/restore.log", Priority::P1),
        ("velero/restores/harvest/results.json", Priority::P1),
        ("velero/restores/harvest/itemoperations.json", Priority::P1),
        ("velero/restores/harvest/volumeinfo.json", Priority::P1),
        ("velero/restores/harvest/resource-list.json", Priority::P1),
        ("velero/backups/seed/backup.log", Priority::P1),
        ("velero/backups/seed/results.json", Priority::P1),
        ("velero/backups/seed/velero-backup.json", Priority::P4),
        ("velero/backups/seed/podvolumebackups.json", Priority::P4),
    ] {
        assert_eq!(item(&plan, path).priority, priority, "{path}");
    }
    snapshot.target.backup = None;
    let plan = super::plan(&spec(), &snapshot, now());
    assert!(!paths(&plan).iter().any(|path| path.starts_with("velero/backups/")));
    let gone = plan.missing.iter().find(|missing| missing.path == "velero/backups/seed").unwrap();
    assert_eq!((gone.code, gone.severity), (MissingCode::Gone, MissingSeverity::Note));
}

#[test]
fn files_are_due_only_when_velero_came_to_write_them() {
    for (phase, due) in
        [("Completed", true), ("PartiallyFailed", true), ("Failed", false), ("InProgress", false), ("", false)]
    {
        let mut snapshot = snapshot();
        snapshot.target.object = Some(target(TargetKind::Backup, phase));
        let plan = plan(&spec(), &snapshot, now());
        let ItemSource::Store { unless, .. } = &item(&plan, "velero/backups/harvest/backup.log").source else {
            panic!("not of the store")
        };
        assert_eq!(unless.as_deref(), (!due).then_some(phase), "{phase}");
    }
}

#[test]
fn files_that_velero_never_wrote_are_notes_and_no_request() {
    for (kind, log) in [(TargetKind::Backup, "backup.log"), (TargetKind::Restore, "restore.log")] {
        let mut snapshot = snapshot();
        snapshot.target.object = Some(target(kind, "FailedValidation"));
        let plan = plan(&spec(), &snapshot, now());
        assert!(!plan.items.iter().any(|item| item.source.class() == SourceClass::StoreFile), "{kind}");
        let log = plan.missing.iter().find(|missing| missing.path.ends_with(log)).unwrap();
        assert_eq!((log.code, log.severity), (MissingCode::NeverWritten, MissingSeverity::Note), "{log:?}");
        assert!(log.why.ends_with(" is FailedValidation: Velero did not run it"), "{log:?}");
    }
}

#[test]
fn every_container_of_every_pod_is_read_and_previous_ones_where_there_are_any() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "Failed"));
    snapshot.installation.pods = vec![
        pod("velero-1", PodRole::Server, "n1", &[("velero", 1)]),
        pod("agent-1", PodRole::NodeAgent { involved: false }, "n1", &[("node-agent", 0)]),
        pod("web-1", PodRole::Other, "n2", &[("web", 0), ("side", 0)]),
        pod("sick-1", PodRole::Other, "n2", &[("sick", 4)]),
    ];
    snapshot.installation.pods.reverse();
    let plan = plan(&spec(), &snapshot, now());
    let log = |pod: &str, container: &str, file: &str| {
        let found = item(&plan, &format!("namespaces/keep/pods/{pod}/{container}/{container}/logs/{file}"));
        let ItemSource::PodLog { limit, .. } = &found.source else { panic!("no log") };
        (found.priority, *limit, found.node.clone().unwrap())
    };
    let most = 32 << 20;
    assert_eq!(log("velero-1", "velero", "current.log"), (Priority::P2, most, "n1".into()));
    assert_eq!(log("velero-1", "velero", "previous.log"), (Priority::P2, most, "n1".into()));
    assert_eq!(log("agent-1", "node-agent", "current.log"), (Priority::P5, 1 << 20, "n1".into()));
    assert_eq!(log("web-1", "side", "current.log"), (Priority::P5, 1 << 20, "n2".into()));
    assert_eq!(log("sick-1", "sick", "previous.log"), (Priority::P2, 1 << 20, "n2".into()));
    assert_eq!(paths(&plan).iter().filter(|path| path.contains("/logs/")).count(), 7);

    let logs: Vec<_> = paths(&plan).into_iter().filter_map(|path| path.strip_prefix("namespaces/keep/pods/")).collect();
    let pods: Vec<&str> = logs.iter().filter_map(|path| path.split('/').next()).collect();
    assert_eq!(
        pods,
        ["velero-1", "velero-1", "sick-1", "sick-1", "web-1", "web-1", "agent-1"],
        "who explains comes first"
    );

    let mut without = spec();
    without.logs.previous = false;
    let plan = super::plan(&without, &snapshot, now());
    assert!(!paths(&plan).iter().any(|path| path.ends_with("previous.log")));
}

#[test]
fn maintenance_is_read_in_full_and_earlier_if_it_failed() {
    let mut snapshot = snapshot();
    let mut failed = pod("maintain-2", PodRole::Maintenance, "n1", &[("maintain", 0)]);
    "Failed".clone_into(&mut failed.phase);
    snapshot.installation.pods = vec![pod("maintain-1", PodRole::Maintenance, "n1", &[("maintain", 0)]), failed];
    let plan = plan(&DebugBundleSpec::installation(), &snapshot, now());
    for (pod, priority) in [("maintain-1", Priority::P4), ("maintain-2", Priority::P2)] {
        let found = item(&plan, &format!("namespaces/keep/pods/{pod}/maintain/maintain/logs/current.log"));
        let ItemSource::PodLog { limit, .. } = &found.source else { panic!("no log") };
        assert_eq!((found.priority, *limit), (priority, 32 << 20), "{pod}");
    }
}

#[test]
fn of_applications_only_logs_that_explain_are_planned() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "Failed"));
    let at = |namespace: &str, one: crate::velero::Pod| crate::velero::Pod { namespace: namespace.into(), ..one };
    snapshot.namespaces.involved_pods = vec![
        at("shop", pod("shop-0", PodRole::Other, "n1", &[("calm", 0), ("restarted", 2)])),
        pod("of-velero", PodRole::Other, "n1", &[("restarted", 2)]),
    ];
    snapshot.namespaces.unhealthy = vec![
        at("asked", pod("sick", PodRole::Other, "n1", &[("a", 1), ("b", 0)])),
        at("shop", pod("shop-0", PodRole::Other, "n1", &[("restarted", 2)])),
    ];
    let plan = plan(&spec(), &snapshot, now());
    let logs: Vec<_> = paths(&plan).into_iter().filter(|path| path.contains("/logs/")).collect();
    assert_eq!(
        logs,
        [
            "namespaces/shop/pods/shop-0/restarted/restarted/logs/current.log",
            "namespaces/shop/pods/shop-0/restarted/restarted/logs/previous.log",
            "namespaces/asked/pods/sick/a/a/logs/current.log",
            "namespaces/asked/pods/sick/a/a/logs/previous.log",
            "namespaces/asked/pods/sick/b/b/logs/current.log",
        ]
    );
}

#[test]
fn the_newest_servers_log_gives_the_lines_about_the_target() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "InProgress"));
    let old = pod("velero-old", PodRole::Server, "n1", &[("velero", 0)]);
    let mut new = pod("velero-new", PodRole::Server, "n1", &[("velero", 1), ("proxy", 0)]);
    new.created = Some(now());
    snapshot.installation.pods = vec![new, old];
    let plan = plan(&spec(), &snapshot, now());
    let lines: Vec<(String, Option<String>)> = plan
        .items
        .iter()
        .filter_map(|item| match &item.source {
            ItemSource::PodLog { server: Some(ServerLog { lines }), pod, .. } => {
                Some((pod.clone(), lines.as_ref().map(|lines| lines.path.as_str().to_owned())))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("velero-new".to_owned(), Some("velero/restores/harvest/restore.from-server.log".to_owned())),
            ("velero-new".to_owned(), Some("velero/restores/harvest/restore.from-server.previous.log".to_owned())),
            ("velero-old".to_owned(), None),
        ]
    );
}

#[test]
fn other_namespaces_are_looked_into_as_far_as_they_may_be() {
    let mut snapshot = snapshot();
    let one = |namespace: &str, whole: bool, looked: Looked| NamespaceCandidate {
        namespace: namespace.into(),
        why: "podvolumerestores harvest-1".into(),
        relevance: Relevance::Trouble,
        whole,
        looked,
    };
    snapshot.namespaces.candidates = vec![
        one("shop", false, Looked::Yes),
        one("whole", true, Looked::Yes),
        one("secret", false, Looked::NotAllowed),
        one("many", false, Looked::TooMany),
    ];
    snapshot.namespaces.omitted.add_unnamed(99_936);
    let name = |name: &str| ObjectName { namespace: "shop".into(), name: name.into(), uid: None };
    snapshot.namespaces.involved = vec![name("shop-0")];
    let plan = plan(&spec(), &snapshot, now());
    let ItemSource::Named { objects, .. } = &item(&plan, "namespaces/shop/core/pods.yaml").source else {
        panic!("not by name")
    };
    assert_eq!(objects, &[name("shop-0")]);
    assert!(matches!(item(&plan, "namespaces/whole/core/pods.yaml").source, ItemSource::List { .. }));
    for namespace in ["shop", "whole"] {
        item(&plan, &format!("namespaces/{namespace}/core/events.yaml"));
        item(&plan, &format!("namespaces/{namespace}/{namespace}.yaml"));
    }
    assert!(!paths(&plan).iter().any(|path| path.contains("/secret/") || path.contains("/many/")));
    assert!(!paths(&plan).contains(&"namespaces/shop/core/persistentvolumeclaims.yaml"), "none is known");
    let codes: Vec<_> = plan.missing.iter().map(|missing| missing.code).collect();
    assert!(codes.contains(&MissingCode::NotAllowed) && codes.contains(&MissingCode::NotLooked));
    assert!(plan.missing.iter().any(|missing| missing.why.contains("99936 more")), "those beyond are one line");
    assert!(plan.missing.iter().all(|missing| missing.severity == MissingSeverity::Note));
}

#[test]
fn secrets_are_in_no_plan_and_no_path_is_planned_twice() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "Failed"));
    snapshot.installation.pods = vec![pod("velero-1", PodRole::Server, "n1", &[("velero", 0), ("velero", 0)])];
    snapshot.namespaces.nodes = ["n1".to_owned()].into();
    let plan = plan(&spec(), &snapshot, now());
    let mut seen = BTreeSet::new();
    for item in &plan.items {
        assert!(seen.insert(item.path.as_str()), "{} twice", item.path.as_str());
        if let ItemSource::List { kind, .. } | ItemSource::Named { kind, .. } | ItemSource::Object { kind, .. } =
            &item.source
        {
            assert_ne!(kind.plural, "secrets");
        }
    }
    assert!(plan.items.is_sorted_by_key(|item| item.priority));
}

#[test]
fn veleros_own_kinds_are_those_served_or_when_nobody_knows_those_known() {
    let mut snapshot = snapshot();
    let lists = |plan: &Plan| paths(plan).iter().filter(|path| path.starts_with("namespaces/keep/velero.io/")).count();
    assert_eq!(lists(&plan(&spec(), &snapshot, now())), 2);
    snapshot.installation.served = crate::discovery::Served::default();
    snapshot.installation.served.stale.push("velero.io/v1".to_owned());
    let plan = plan(&spec(), &snapshot, now());
    assert_eq!(lists(&plan), 13);
    let ItemSource::List { kind, .. } = &item(&plan, "namespaces/keep/velero.io/datauploads.yaml").source else {
        panic!("no list")
    };
    assert_eq!(kind.version, "v2alpha1");
}

#[test]
fn what_belongs_to_the_target_comes_first_in_the_lists_of_veleros_namespace() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "Failed"));
    snapshot.target.backup = Some(target(TargetKind::Backup, "Completed"));
    snapshot.target.related.backups = vec!["nightly-9".to_owned()];
    let plan = plan(&spec(), &snapshot, now());
    let want = |path: &str| match &item(&plan, path).source {
        ItemSource::List { want, .. } => want.clone(),
        other => panic!("{path} is no list: {other:?}"),
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let first = |path: &str| match want(path) {
        Want::First(first) => first.names,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(first("namespaces/keep/velero.io/backups.yaml"), names(&["harvest", "nightly-9"]));
    assert_eq!(first("namespaces/keep/velero.io/restores.yaml"), names(&["harvest"]));
    assert_eq!(want("namespaces/keep/core/events.yaml"), Want::Newest(5000));
    assert_eq!(want("namespaces/keep/core/serviceaccounts.yaml"), Want::All);
    let first = First { labels: vec![("velero.io/restore-uid", "u1".to_owned())], ..First::default() };
    assert!(first.has(&serde_json::json!({"metadata": {"name": "x", "labels": {"velero.io/restore-uid": "u1"}}})));
    assert!(!first.has(&serde_json::json!({"metadata": {"name": "x", "labels": {"velero.io/restore-uid": "u2"}}})));
}

#[test]
fn of_the_cluster_a_target_wants_what_is_on_its_way_and_the_installation_what_there_is() {
    let mut snapshot = snapshot();
    let path = |path: &str| format!("cluster-scoped-resources/{path}.yaml");
    let without = plan(&spec(), &snapshot, now());
    let nodes = |plan: &Plan| item(plan, &path("core/nodes")).source.clone();
    assert!(matches!(nodes(&without), ItemSource::List { want: Want::AtMost(500), .. }));
    assert!(!paths(&without).contains(&path("storage.k8s.io/volumeattachments").as_str()), "of no volume");
    let definition = |kind: &str| path(&format!("apiextensions.k8s.io/customresourcedefinitions/{kind}"));
    assert!(!paths(&without).contains(&definition("volumesnapshots.snapshot.storage.k8s.io").as_str()));
    snapshot.target.object = Some(target(TargetKind::Restore, "Failed"));
    snapshot.namespaces.nodes = ["n1".to_owned()].into();
    snapshot.namespaces.volumes.volumes = ["pv-1".to_owned()].into();
    snapshot.namespaces.volumes.pods_beyond = 7;
    snapshot.namespaces.volumes.definitions = ["widgets.example.com".to_owned()].into();
    let kinds = serde_json::json!({"resources": [
        {"name": "volumesnapshots", "kind": "VolumeSnapshot", "namespaced": true, "verbs": ["list"]}]});
    snapshot.installation.served.add_resource_list("snapshot.storage.k8s.io", "v1", &kinds);
    let plan = plan(&spec(), &snapshot, now());
    assert!(matches!(nodes(&plan), ItemSource::Named { .. }));
    let attached = Want::Only(Only::Attached(["pv-1".to_owned()].into()));
    let ItemSource::List { want, .. } = &item(&plan, &path("storage.k8s.io/volumeattachments")).source else {
        panic!("no list")
    };
    assert_eq!(*want, attached);
    assert!(paths(&plan).contains(&definition("volumesnapshots.snapshot.storage.k8s.io").as_str()));
    assert!(paths(&plan).contains(&definition("debugbundles.debugbundle.io").as_str()));
    assert!(paths(&plan).contains(&definition("widgets.example.com").as_str()), "an error names it");
    assert!(!paths(&without).contains(&definition("widgets.example.com").as_str()));
    assert!(!paths(&plan).iter().any(|path| path.contains("csidrivers.storage.k8s.io.yaml")), "built in");
    assert!(plan.missing.iter().any(|missing| missing.why.contains("7 more pods")));
}

#[test]
fn a_few_of_many_objects_are_told_by_what_they_say() {
    use serde_json::json;
    let bound = Only::Bound { namespace: "keep".to_owned(), accounts: ["velero".to_owned()].into() };
    let subject =
        |kind: &str, namespace: &str| json!({"subjects": [{"kind": kind, "namespace": namespace, "name": "velero"}]});
    assert!(bound.wants(&subject("ServiceAccount", "keep")));
    assert!(!bound.wants(&subject("ServiceAccount", "other")) && !bound.wants(&subject("User", "keep")));
    let service = |status: &str| json!({"status": {"conditions": [{"type": "Available", "status": status}]}});
    assert!(Only::Unavailable.wants(&service("False")) && Only::Unavailable.wants(&json!({})));
    assert!(!Only::Unavailable.wants(&service("True")));
}

#[test]
fn namespaces_that_a_spec_means_and_does_not_name_are_told_unless_somebody_named_some() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "InProgress"));
    let told = |snapshot: &Snapshot| {
        let missing = plan(&spec(), snapshot, now()).missing;
        let one = missing.into_iter().find(|one| one.what == "namespaces that the target's spec does not name");
        one.map(|one| (one.severity, one.why, one.cure))
    };
    let one = |namespace: &str, whole| NamespaceCandidate {
        namespace: namespace.to_owned(),
        why: String::new(),
        relevance: Relevance::Trouble,
        whole,
        looked: Looked::Yes,
    };
    assert_eq!(told(&snapshot), None);
    for (unnamed, why) in [(Unnamed::NotLooked, "only namespaces that other"), (Unnamed::Restored, "a pod or claim")] {
        snapshot.namespaces.unnamed = Some(unnamed);
        snapshot.namespaces.candidates = vec![one("shop", false)];
        let (severity, said, cure) = told(&snapshot).expect("it is said");
        assert!(said.starts_with("the spec of Restore harvest") && said.contains(why), "{said}");
        assert_eq!((severity, cure.as_str()), (MissingSeverity::Note, "name them in spec.namespaces"));
        snapshot.namespaces.candidates.push(one("farm", true));
        assert_eq!(told(&snapshot), None, "named");
    }
    snapshot.namespaces.candidates.pop();
    snapshot.namespaces.volumes.pods_beyond = 1;
    snapshot.namespaces.omitted.add_unnamed(1);
    let missing = plan(&spec(), &snapshot, now()).missing;
    let places: std::collections::BTreeSet<&str> = missing.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(places.len(), missing.len(), "each has a place of its own: {missing:?}");
    assert!(places.iter().filter(|path| path.starts_with("namespaces")).count() >= 3, "{places:?}");
}

#[test]
fn what_is_followed_in_part_is_said() {
    let mut snapshot = snapshot();
    let cut = |plural: &str, namespace: &str| Cut {
        plural: plural.to_owned(),
        namespace: namespace.to_owned(),
        told: "the first 1000 of them are followed".to_owned(),
    };
    snapshot.gaps.cut = vec![cut("podvolumebackups", "keep"), cut("persistentvolumeclaims", "shop"), cut("nodes", "")];
    let plan = plan(&spec(), &snapshot, now());
    let told = |path: &str| plan.missing.iter().find(|missing| missing.path == path).unwrap();
    let at_home = told("podvolumebackups/keep");
    assert_eq!((at_home.code, at_home.severity), (MissingCode::NotLooked, MissingSeverity::Note));
    assert_eq!(at_home.what, "podvolumebackups in keep: the first 1000 of them are followed");
    assert!(at_home.why.ends_with("all of these objects are in the bundle"), "{}", at_home.why);
    let beyond = told("persistentvolumeclaims/shop");
    assert!(beyond.why.ends_with("not in the bundle") && beyond.cure.contains("spec.namespaces"), "{beyond:?}");
    let of_the_cluster = told("nodes");
    assert_eq!(of_the_cluster.what, "nodes: the first 1000 of them are followed");
    assert!(of_the_cluster.cure.contains("kubectl get nodes"), "{of_the_cluster:?}");
}

#[test]
fn a_node_agent_that_is_younger_than_the_targets_end_lost_its_predecessors_log() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "Failed"));
    let agent = |name: &str, involved, created: &str| Pod {
        created: Some(time(created)),
        ..pod(name, PodRole::NodeAgent { involved }, "n1", &[("node-agent", 0)])
    };
    snapshot.installation.pods = vec![
        agent("agent-old", true, "2026-03-01T10:29:59Z"),
        agent("agent-new", true, "2026-03-01T10:31:00Z"),
        agent("agent-beside", false, "2026-03-01T10:31:00Z"),
    ];
    let plan_of = |snapshot: &Snapshot| plan(&spec(), snapshot, now());
    let told = |plan: &Plan| -> Vec<(MissingCode, String)> {
        let lost = plan.missing.iter().filter(|missing| missing.what.starts_with("log of the node-agent"));
        lost.map(|missing| (missing.code, missing.why.clone())).collect()
    };
    let plan = plan_of(&snapshot);
    let [(code, why)] = &told(&plan)[..] else { panic!("{:?}", plan.missing) };
    assert_eq!(*code, MissingCode::Gone);
    assert!(why.contains("created at 2026-03-01T10:31:00Z") && why.contains("predecessor's log is lost"), "{why}");
    assert!(paths(&plan).contains(&"namespaces/keep/pods/agent-new/node-agent/node-agent/logs/current.log"));
    snapshot.target.object.as_mut().unwrap().completed = None;
    assert!(told(&plan_of(&snapshot)).is_empty(), "it may work on it yet");
}

#[test]
fn sec_b4_a_bundle_has_a_most_of_files_and_those_that_matter_least_are_left_out_and_counted() {
    let mut snapshot = snapshot();
    snapshot.target.object = Some(target(TargetKind::Restore, "PartiallyFailed"));
    let whole = plan(&spec(), &snapshot, now());
    assert!(whole.items.len() > 3 && whole.missing.iter().all(|missing| missing.code != MissingCode::TooLarge));
    let mut items = whole.items.clone();
    assert_eq!(bounded(&mut items, whole.items.len()), None, "as many as are allowed");
    let told = bounded(&mut items, 3).expect("it is told");
    assert_eq!(items, whole.items[..3], "the first are kept");
    assert!(items.iter().all(|kept| whole.items[3..].iter().all(|left| kept.priority <= left.priority)));
    assert!(told.what.contains(&format!("the last {} of {}", whole.items.len() - 3, whole.items.len())), "{told:?}");
    assert!(told.why.contains("at most 50000 files") && told.severity == MissingSeverity::Error, "{told:?}");

    // So many pods that their logs alone exceed the limit.
    let pods = (0..60_000)
        .map(|n| pod(&format!("agent-{n}"), PodRole::NodeAgent { involved: true }, "n1", &[("node-agent", 0)]));
    snapshot.installation.pods = pods.collect();
    let most = plan(&spec(), &snapshot, now());
    assert_eq!(most.items.len(), MOST_ITEMS);
    assert!(most.missing.iter().any(|missing| missing.code == MissingCode::TooLarge));
}

#[test]
fn a_bundle_asks_for_each_kind_that_the_walk_knows() {
    let mut snapshot = snapshot();
    let served: Vec<_> = Kind::SERVED.iter().filter_map(ApiKind::of).collect();
    for kind in &served {
        let resource = serde_json::json!({"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced, "verbs": ["list"]});
        snapshot.installation.served.add_resource_list(
            &kind.group,
            &kind.version,
            &serde_json::json!({"resources": [resource]}),
        );
    }
    snapshot.target.object = Some(target(TargetKind::Restore, "PartiallyFailed"));
    snapshot.namespaces.nodes = BTreeSet::from(["n1".to_owned()]);
    snapshot.namespaces.volumes.volumes = BTreeSet::from(["pv-1".to_owned()]);
    snapshot.namespaces.volumes.contents = BTreeSet::from(["content-1".to_owned()]);
    let plan = plan(&spec(), &snapshot, now());
    let asked: Vec<&ApiKind> = plan.items.iter().filter_map(|item| item.source.kind()).collect();
    for kind in &served {
        assert!(asked.contains(&kind), "no item of the plan reads {kind:?}");
    }
}
