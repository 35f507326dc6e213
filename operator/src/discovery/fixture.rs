//! An invented cluster with Velero, for tests of the code that uses a snapshot.

use debugbundle_crd::TargetKind;
use serde_json::{Value, json};

use super::*;
use crate::velero::PodRole;

/// A pod of the namespace `keep`.
pub(crate) fn pod(name: &str, role: PodRole, node: &str, containers: &[(&str, i64)]) -> Pod {
    let spec: Vec<Value> =
        containers.iter().map(|(name, _)| json!({"name": name, "image": "velero/velero:v1.18.3"})).collect();
    let status: Vec<Value> = containers
        .iter()
        .map(
            |(name, restarts)| json!({"name": name, "restartCount": restarts, "ready": true, "state": {"running": {}}}),
        )
        .collect();
    let object = json!({
        "metadata": {"name": name, "namespace": "keep", "uid": format!("uid-{name}")},
        "spec": {"nodeName": node, "containers": spec},
        "status": {"phase": "Running", "containerStatuses": status}});
    Pod { role, ..Pod::read(&object).expect("it has a name") }
}

/// Backup or Restore `harvest` in a phase, from 10:00 to 10:30.
pub(crate) fn target(kind: TargetKind, phase: &str) -> TargetObject {
    TargetObject::read(
        kind,
        json!({"metadata": {"name": "harvest", "namespace": "keep", "uid": "u-harvest", "creationTimestamp": "2026-03-01T09:59:00Z"},
            "spec": {"storageLocation": "barn", "backupName": "seed"},
            "status": {"phase": phase, "startTimestamp": "2026-03-01T10:00:00Z", "completionTimestamp": "2026-03-01T10:30:00Z"}}),
    )
}

/// A snapshot of the namespace `keep` with two Velero kinds and nothing in it.
pub(crate) fn snapshot() -> Snapshot {
    let mut served = Served::default();
    served.add_resource_list(
        "velero.io",
        "v1",
        &json!({"resources": [
            {"name": "backups", "kind": "Backup", "namespaced": true, "verbs": ["list"]},
            {"name": "restores", "kind": "Restore", "namespaced": true, "verbs": ["list"]}]}),
    );
    Snapshot {
        scope: Scope::everything(),
        installation: Installation {
            namespace: "keep".to_owned(),
            served,
            kubernetes: None,
            locations: Vec::new(),
            reported_version: None,
            servers: Vec::new(),
            server_accounts: BTreeSet::new(),
            node_agents: Vec::new(),
            pods: Vec::new(),
        },
        target: DiscoveredTarget::default(),
        namespaces: Namespaces::default(),
        gaps: Gaps::default(),
    }
}

/// The same cluster before the walk.
pub(super) fn with_files() -> files::WithFiles {
    let Snapshot { scope, installation, target, .. } = snapshot();
    let namespaces = namespaces::NamespaceSelection::new("keep".to_owned(), scope);
    let (unhealthy, priority_classes) = (Vec::new(), BTreeSet::new());
    let chosen = choose::Chosen { installation, target, namespaces, unhealthy, priority_classes };
    files::WithFiles { chosen, refs: Vec::new(), unnamed: None }
}

#[test]
fn the_location_is_the_backups_else_the_targets_else_the_default_one() {
    let location = |name: &str, default: bool| json!({"metadata": {"name": name}, "spec": {"default": default}});
    let mut snapshot = snapshot();
    snapshot.installation.locations = vec![location("silo", true), location("barn", false), location("shed", false)];
    assert_eq!(snapshot.location_name(), Some("silo"));
    snapshot.target.object = Some(target(TargetKind::Backup, "Failed"));
    assert_eq!(snapshot.location_name(), Some("barn"));
    let mut backup = target(TargetKind::Backup, "Completed");
    backup.storage_location = Some("shed".to_owned());
    snapshot.target.backup = Some(backup);
    assert_eq!(snapshot.location_name(), Some("shed"));
    snapshot.installation.locations.remove(2);
    assert_eq!(snapshot.location_name(), None, "a location that is gone is not replaced by another");
}

#[test]
fn only_a_restore_has_a_backup_name() {
    assert_eq!(target(TargetKind::Restore, "").backup_name.as_deref(), Some("seed"));
    assert_eq!(target(TargetKind::Backup, "").backup_name, None);
    let odd = TargetObject::read(
        TargetKind::Backup,
        json!({"metadata": {"name": "x"}, "status": {"phase": 7, "startTimestamp": "soon"}}),
    );
    assert_eq!((odd.phase.as_str(), odd.started), ("", None));
}
