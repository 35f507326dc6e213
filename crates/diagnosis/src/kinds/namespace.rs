//! A Namespace that is being deleted takes no new object, and says what keeps it.

use jiff::Timestamp;
use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Seen, View, age, condition, items, text, time};
use crate::kind::Kind;
use crate::reason::RootReason;
use crate::walk::Relation;

/// Conditions of Kubernetes' namespace controller, the one that says most first.
const KEPT: [&str; 4] = [
    "NamespaceFinalizersRemaining",
    "NamespaceContentRemaining",
    "NamespaceDeletionContentFailure",
    "NamespaceDeletionDiscoveryFailure",
];

pub(super) fn report(id: &Id, namespace: &Value, now: Timestamp) -> Report {
    if !is_leaving(namespace) {
        return Report::of(State::Well);
    }
    let age = age(time(&namespace["metadata"]["deletionTimestamp"]), now);
    let kept = KEPT.iter().filter_map(|kind| condition(namespace, kind)).find(|one| one["status"] == "True");
    let kept = kept.map_or(String::new(), |one| format!(": {}", text(&one["message"]).trim()));
    let words = format!("{id} is Terminating {age}").trim_end().to_owned() + &kept;
    Report::of(State::says(words, RootReason::Shown))
}

fn is_leaving(namespace: &Value) -> bool {
    namespace["metadata"]["deletionTimestamp"].is_string() || namespace["status"]["phase"] == "Terminating"
}

/// The namespaces that a Restore names and that are being deleted: Velero waits until they are gone
/// (`EnsureNamespaceExistsAndIsReady` in `pkg/util/kube/utils.go`).
pub(super) fn needed(id: &Id, target: &Value, view: &View<'_>) -> Vec<Need> {
    if id.kind != Kind::Restore {
        return Vec::new();
    }
    let is_over = target["status"]["completionTimestamp"].is_string();
    let awaited = named(target)
        .into_iter()
        .filter(|name| !is_over || view.errors_of_results().any(|error| is_about(error, name)));
    let ids = awaited.map(|name| Id::of_cluster(Kind::Namespace, name));
    ids.filter(|id| matches!(view.get(id), Seen::Found(namespace) if is_leaving(namespace)))
        .map(|id| Need::see(id).by(Relation::Namespace))
        .collect()
}

/// The namespaces that a Restore names, patterns left out, as it maps them.
pub(super) fn named(target: &Value) -> Vec<&str> {
    let spec = &target["spec"];
    let names = items(&spec["includedNamespaces"]).iter().filter_map(Value::as_str).filter(|name| !name.contains('*'));
    names.map(|name| spec["namespaceMapping"][name].as_str().unwrap_or(name)).collect()
}

/// Whether a target may touch a namespace: another installation may have a Backup or Restore of its name.
pub(crate) fn may_touch(target: &Value, namespace: &str) -> bool {
    let named = named(target);
    // A pattern may cover any namespace.
    let are_all_exact = named.len() == items(&target["spec"]["includedNamespaces"]).len();
    named.is_empty() || !are_all_exact || named.contains(&namespace)
}

/// The error says that this namespace is being deleted.
fn is_about(error: &str, namespace: &str) -> bool {
    error.contains("terminat") && error.split([' ', '"', ':', ',']).any(|word| word == namespace)
}
