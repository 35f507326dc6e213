//! How the diagnosis refers to an object: its name, and its file in the bundle.

use debugbundle_format::layout;
use serde_json::Value;

/// `Kind/namespace/name`, or `Kind//name` without a namespace.
pub fn reference(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    format!("{}/{}/{}", text(&object["kind"]), text(&meta["namespace"]), text(&meta["name"]))
}

/// Path of the List that contains the object.
pub(super) fn path(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    };
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    layout::list(group, &plural, object["metadata"]["namespace"].as_str()).as_str().to_owned()
}

/// The object of an Event, in the form of [`reference`].
pub(super) fn about(event: &Value) -> String {
    let text = |name: &str| event["involvedObject"][name].as_str().unwrap_or_default();
    format!("{}/{}/{}", text("kind"), text("namespace"), text("name"))
}

/// When an Event was last seen; RFC 3339, as the API server writes it.
pub(super) fn last_seen(event: &Value) -> Option<&str> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    text("/series/lastObservedTime")
        .or_else(|| text("/lastTimestamp"))
        .or_else(|| text("/eventTime"))
        .or_else(|| text("/firstTimestamp"))
        .or_else(|| text("/metadata/creationTimestamp"))
}

/// `Reason: message`, and the count if above one.
pub(super) fn words(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().trim();
    let count = event["count"].as_i64().or_else(|| event.pointer("/series/count").and_then(Value::as_i64));
    let times = count.filter(|count| *count > 1).map(|count| format!(" (×{count})")).unwrap_or_default();
    format!("{}: {}{times}", text("reason"), text("message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_found_in_the_list_of_its_kind() {
        let object = |api: &str, kind: &str, namespace: Option<&str>| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x", "namespace": namespace}});
        for (object, expected) in [
            (object("v1", "Pod", Some("shop")), "namespaces/shop/core/pods.yaml"),
            (object("velero.io/v1", "BackupRepository", Some("v")), "namespaces/v/velero.io/backuprepositories.yaml"),
            (object("velero.io/v2alpha1", "DataUpload", Some("v")), "namespaces/v/velero.io/datauploads.yaml"),
            (object("v1", "Node", None), "cluster-scoped-resources/core/nodes.yaml"),
        ] {
            assert_eq!(path(&object), expected);
        }
    }
}
