//! Objects of the snapshot APIs, of single volumes and of groups of volumes, which have no Rust types.

use harness::Context;
use kube::api::ApiResource;
use serde_json::{Value, json};

/// The API group of group snapshots.
pub const GROUPS: &str = "groupsnapshot.storage.k8s.io";

/// Creates an object of `snapshot.storage.k8s.io`, in a namespace or in the cluster.
pub async fn create_snapshot_object(context: &Context, namespace: Option<&str>, kind: &str, object: Value) {
    context.create_dynamic(&resource("snapshot.storage.k8s.io", "v1", kind), namespace, object).await;
}

/// Creates an object of [`GROUPS`], in a namespace or in the cluster.
pub async fn create_group_object(context: &Context, namespace: Option<&str>, kind: &str, object: Value) {
    context.create_dynamic(&resource(GROUPS, "v1beta2", kind), namespace, object).await;
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    let ending = if kind.ends_with("Class") { "es" } else { "s" };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.to_owned(),
        plural: format!("{}{ending}", kind.to_lowercase()),
    }
}

/// A group snapshot in this namespace, bound to a content of the same name.
pub async fn group_snapshot(context: &Context, namespace: &str, name: &str, labels: Value) {
    let bound = context.cluster_name(name);
    let object = json!({"metadata": {"name": name, "labels": labels},
        "status": {"boundVolumeGroupSnapshotContentName": bound}});
    create_group_object(context, Some(namespace), "VolumeGroupSnapshot", object).await;
    group_content(context, name, json!({})).await;
}

/// The content of a group snapshot.
pub async fn group_content(context: &Context, name: &str, labels: Value) {
    let object = json!({"metadata": {"name": context.cluster_name(name), "labels": labels}});
    create_group_object(context, None, "VolumeGroupSnapshotContent", object).await;
}
