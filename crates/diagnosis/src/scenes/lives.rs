//! The lives of a Restore and of a Backup, step by step as Velero goes through them: while it works as it should nothing
//! is a cause, whenever one looks.

use proptest::prelude::*;

use super::*;

const NOW_SECONDS: i64 = 1_772_366_400;

/// A time so many seconds before [`NOW`].
fn ago(seconds: i64) -> String {
    Timestamp::from_second(NOW_SECONDS - seconds).unwrap().to_string()
}

/// Phases of the target, with those of its volumes' data at that time: `pkg/apis/velero/v1/restore_types.go`,
/// `backup_types.go`, `v2alpha1/data_upload_types.go`, `v1/pod_volume_backup_types.go`.
const RESTORE: [(&str, &[&str]); 9] = [
    ("New", &[]),
    ("InProgress", &[]),
    ("InProgress", &["New", "Accepted"]),
    ("InProgress", &["Prepared", "InProgress"]),
    ("WaitingForPluginOperations", &["New", "Accepted", "Prepared"]),
    ("WaitingForPluginOperations", &["InProgress", "Completed"]),
    ("Finalizing", &["Completed"]),
    ("Completed", &["Completed"]),
    ("Completed", &[]),
];
const BACKUP: [(&str, &[&str]); 9] = [
    ("New", &[]),
    ("Queued", &[]),
    ("ReadyToStart", &[]),
    ("InProgress", &[]),
    ("InProgress", &["New", "Accepted", "Prepared"]),
    ("InProgress", &["InProgress", "Completed"]),
    ("WaitingForPluginOperations", &["Prepared", "InProgress"]),
    ("Finalizing", &["Completed"]),
    ("Completed", &["Completed"]),
];

/// The cluster at a step that began so many seconds ago.
fn step(target: &str, (phase, data): (&str, &[&str]), seconds: i64, kind: &str) -> Vec<Value> {
    let since = ago(seconds);
    let has_ended = phase == "Completed";
    let mut status = json!({"phase": phase});
    if !matches!(phase, "New" | "Queued" | "ReadyToStart") {
        status["startTimestamp"] = since.clone().into();
    }
    if has_ended {
        status["completionTimestamp"] = NOW.into();
    }
    let label = if target == "Restore" { "velero.io/restore-name" } else { "velero.io/backup-name" };
    let mut all = installed(true);
    all.extend(nodes("${node:a}"));
    all.push(json!({"kind": target, "metadata": {"name": "t", "namespace": "velero", "creationTimestamp": since},
        "spec": {"includedNamespaces": ["shop"], "backupName": "seed", "storageLocation": "default"}, "status": status}));
    all.push(
        json!({"kind": "Backup", "metadata": {"name": "seed", "namespace": "velero"}, "status": {"phase": "Completed"},
        "spec": {"storageLocation": "default"}}),
    );
    all.push(json!({"kind": "Namespace", "metadata": {"name": "shop"}, "status": {"phase": "Active"}}));
    all.push(
        json!({"kind": "DaemonSet", "metadata": {"name": "node-agent", "namespace": "velero"}, "spec": {"selector":
        {"matchLabels": {"name": "node-agent"}}}, "status": {"desiredNumberScheduled": 1, "numberReady": 1}}),
    );
    let running = |container: &str, since: &str| {
        json!({"phase": "Running", "startTime": since, "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": since},
            {"type": "Ready", "status": "True", "lastTransitionTime": since}],
            "containerStatuses": [{"name": container, "ready": true, "state": {"running": {"startedAt": since}}}]})
    };
    all.push(json!({"kind": "Pod", "metadata": {"name": "node-agent-a", "namespace": "velero",
        "labels": {"name": "node-agent", "role": "node-agent"}}, "spec": {"nodeName": "node-a"},
        "status": running("node-agent", &ago(90_000))}));
    for (number, moving) in data.iter().enumerate() {
        let name = format!("t-{number}");
        let is_over = *moving == "Completed";
        all.push(json!({"kind": kind, "metadata": {"name": name, "namespace": "velero", "creationTimestamp": since,
            "labels": {label: "t"}}, "spec": {"pod": {"namespace": "shop", "name": name}, "node": "node-a"},
            "status": {"phase": moving, "node": "node-a", "progress": {"bytesDone": 5, "totalBytes": 10}}}));
        let mut pod = json!({"kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {label: "t"}},
            "spec": {"nodeName": "node-a", "volumes": [{"persistentVolumeClaim": {"claimName": name}}]},
            "status": running("app", &since)});
        if target == "Restore" && !is_over {
            // The helper waits in the pod for its data.
            pod["status"] = json!({"phase": "Pending", "startTime": since, "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": since},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": since}],
                "initContainerStatuses": [{"name": "restore-wait", "state": {"running": {"startedAt": since}}}],
                "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "PodInitializing"}}}]});
        }
        all.push(pod);
        all.push(json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"volumeName": format!("pv-{number}"), "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Bound"}}));
        all.push(json!({"kind": "VolumeAttachment", "metadata": {"name": format!("va-{number}")}, "status": {"attached": true},
            "spec": {"nodeName": "node-a", "source": {"persistentVolumeName": format!("pv-{number}")}}}));
        let mover = match *moving {
            "Accepted" => json!({"phase": "Pending", "startTime": since, "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": since}],
                "containerStatuses": [{"name": "m", "state": {"waiting": {"reason": "ContainerCreating"}}}]}),
            "Prepared" | "InProgress" => running("m", &since),
            _ => continue,
        };
        all.push(
            json!({"kind": "Pod", "metadata": {"name": name, "namespace": "velero"}, "spec": {"nodeName": "node-a"},
            "status": mover}),
        );
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_no_step_of_a_life_is_there_a_cause(seconds in 0_i64..290) {
        for (target, steps, kinds) in [
            ("Restore", RESTORE, ["PodVolumeRestore", "DataDownload"]),
            ("Backup", BACKUP, ["PodVolumeBackup", "DataUpload"]),
        ] {
            for (one, kind) in steps.iter().flat_map(|one| kinds.map(|kind| (*one, kind))) {
                let objects = step(target, one, seconds, kind);
                let mut graph = Graph::new("velero", now());
                for object in &objects {
                    graph.add(object);
                }
                let found = walk(&graph.whole(), &Id::new(Kind::of(target), "velero", "t"));
                let causes: Vec<String> = found.roots.iter().map(line).collect();
                prop_assert!(causes.is_empty(), "{target} {one:?} {kind} for {seconds} s: {causes:?}");
                // The data was asked, and not left out.
                let asked = found.checked.iter().filter(|id| id.kind == Kind::of(kind)).count();
                prop_assert_eq!(asked, one.1.iter().filter(|phase| **phase != "Completed").count());
            }
        }
    }
}
