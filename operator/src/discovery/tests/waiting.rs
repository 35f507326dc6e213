//! A server that takes up no Backup: none of its pods is ready, or a flag keeps it from that.

use debugbundle_crd::TargetKind;
use serde_json::json;

use super::{
    World,
    objects::{Object, VELERO, backup, object, pod},
};
use crate::discovery::ServerIdle;

fn deployment(args: &[&str]) -> Object {
    let containers = json!([{"name": "velero", "image": "velero/velero:v1.18.3", "args": args}]);
    object("Deployment", VELERO, "velero")
        .spec("selector", json!({"matchLabels": {"deploy": "velero"}}))
        .spec("template", json!({"spec": {"containers": containers}}))
}

/// The server's pod with the containers `velero` and `proxy`; `waits` names the one that is not ready.
fn server(waits: Option<&str>) -> Object {
    let pod = pod(VELERO, "velero-1").labelled("deploy", "velero").containers(&["velero", "proxy"]).ready();
    let pod = pod.owned_by("apps/v1", "ReplicaSet", "velero-7d9c");
    let Some(waits) = waits else { return pod };
    let status = |name: &str| {
        json!({"name": name, "ready": name != waits, "restartCount": 0,
        "state": if name == waits { json!({"waiting": {"reason": "CrashLoopBackOff"}}) } else { json!({"running": {}}) }})
    };
    pod.status("containerStatuses", json!([status("velero"), status("proxy")])).status("conditions", json!([]))
}

async fn idle(world: &World) -> Option<ServerIdle> {
    world.backup("left").await.snapshot.server_idle(TargetKind::Backup)
}

#[tokio::test]
async fn a_sidecar_that_is_not_ready_keeps_no_server_from_its_work_and_veleros_own_container_does() {
    let world = World::of([backup("left"), deployment(&["server"])]);
    assert_eq!(idle(&world).await, Some(ServerIdle::NotReady(None)));
    world.put([server(Some("proxy"))]);
    assert_eq!(idle(&world).await, None);
    world.put([server(Some("velero"))]);
    let not_ready = ServerIdle::NotReady(Some("container velero of pod velero-1 is not ready".to_owned()));
    assert_eq!(idle(&world).await, Some(not_ready));
    world.put([server(None)]);
    assert_eq!(idle(&world).await, None);
}

#[tokio::test]
async fn a_server_whose_deployment_says_restore_only_processes_no_backup() {
    let world = World::of([backup("left"), server(None)]);
    for (value, is_idle) in [("0", false), ("F", false), ("False", false), ("1", true), ("T", true)] {
        world.put([deployment(&["server", &format!("--restore-only={value}")])]);
        assert_eq!(idle(&world).await, is_idle.then_some(ServerIdle::RestoreOnly), "{value}");
    }
}
