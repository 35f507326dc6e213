//! In which containers of a pod a hook runs: Velero reports a hook that failed, and nothing of one that hangs, but what it
//! printed may be in the log of its container. Whether that log is read is decided by the plan.

use std::collections::BTreeMap;

use debugbundle_crd::TargetKind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Expression, Selector, SelectorExt as _};
use serde::Deserialize as _;
use serde_json::Value;

use super::{ContainerType, Pod, TargetObject};

/// The containers of `pod` in which a hook of the target runs, as Velero finds them (`internal/hook/item_hook_handler.go`):
/// by the pod's annotations, else by the target's `spec.hooks`; a hook that names no container runs in the first one.
pub fn hooked<'a>(pod: &'a Pod, target: &'a TargetObject) -> Vec<&'a str> {
    let mut named = by_annotation(pod, target.kind);
    if named.is_empty() {
        named = by_spec(pod, target);
    }
    let first = pod.containers.iter().find(|one| one.kind == ContainerType::Main).map(|one| one.name.as_str());
    named.into_iter().filter_map(|name| if name.is_empty() { first } else { Some(name) }).collect()
}

/// Whether the target takes the pod by its label selectors; which namespaces it takes is known elsewhere.
pub(crate) fn selects(target: &TargetObject, pod: &Pod) -> bool {
    let spec = &target.raw["spec"];
    let any = array(spec, "/orLabelSelectors").any(|selector| selector_holds(selector, pod));
    selector_holds(&spec["labelSelector"], pod) && (any || array(spec, "/orLabelSelectors").next().is_none())
}

fn by_annotation(pod: &Pod, kind: TargetKind) -> Vec<&str> {
    // The last is an older form of the first, which Velero still takes.
    let hooks: &[&str] = match kind {
        TargetKind::Backup => &["pre.hook.backup", "post.hook.backup", "hook.backup"],
        TargetKind::Restore => &["post.hook.restore"],
    };
    let value = |hook: &str, key: &str| pod.hooks.get(&format!("{hook}.velero.io/{key}")).map(String::as_str);
    hooks
        .iter()
        .filter(|hook| value(hook, "command").is_some_and(|command| !command.is_empty()))
        .map(|hook| value(hook, "container").unwrap_or_default())
        .collect()
}

fn by_spec<'a>(pod: &Pod, target: &'a TargetObject) -> Vec<&'a str> {
    let lists: &[&str] = match target.kind {
        TargetKind::Backup => &["/pre", "/post"],
        TargetKind::Restore => &["/postHooks"],
    };
    let resources = array(&target.raw, "/spec/hooks/resources").filter(|hook| applies(hook, pod));
    let hooks = resources.flat_map(|hook| lists.iter().flat_map(|list| array(hook, list)));
    hooks
        .filter_map(|hook| hook.get("exec").filter(|exec| exec.is_object()))
        .map(|exec| exec["container"].as_str().unwrap_or_default())
        .collect()
}

fn applies(hook: &Value, pod: &Pod) -> bool {
    let names = |pointer: &str| -> Vec<&str> { array(hook, pointer).filter_map(Value::as_str).collect() };
    let hits = |names: &[&str]| names.iter().any(|name| *name == "*" || *name == pod.namespace);
    let included = names("/includedNamespaces");
    (included.is_empty() || hits(&included))
        && !hits(&names("/excludedNamespaces"))
        && selector_holds(&hook["labelSelector"], pod)
}

/// One that is not there holds; one that Kubernetes would not take does not.
fn selector_holds(selector: &Value, pod: &Pod) -> bool {
    let read = Option::<LabelSelector>::deserialize(selector).ok();
    let read = read.and_then(|read| Selector::try_from(read.unwrap_or_default()).ok());
    read.is_some_and(|selector| selector.matches(&pod.labels))
}

/// Whether labels are as an expression of a selector wants them.
pub(crate) fn expression_holds(expression: &Value, labels: &BTreeMap<String, String>) -> bool {
    let read = LabelSelectorRequirement::deserialize(expression).ok().and_then(|read| Expression::try_from(read).ok());
    read.is_some_and(|expression| expression.matches(labels))
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::fixture;
    use serde_json::json;

    fn pod(annotations: &Value) -> Pod {
        Pod::read(&json!({
            "metadata": {"name": "herd-1", "namespace": "farm", "labels": {"app": "herd", "breed": "red"}, "annotations": annotations},
            "spec": {"initContainers": [{"name": "feed"}], "containers": [{"name": "cow"}, {"name": "bell"}]}}))
        .unwrap()
    }

    fn target(kind: TargetKind, hooks: &Value) -> TargetObject {
        let mut target = fixture::target(kind, "PartiallyFailed");
        target.raw = json!({"spec": {"hooks": {"resources": hooks}}});
        target
    }

    #[test]
    fn annotations_name_the_container_or_mean_the_first_one() {
        let backup = target(TargetKind::Backup, &json!([]));
        let restore = target(TargetKind::Restore, &json!([]));
        let one = pod(&json!({
            "pre.hook.backup.velero.io/command": "[\"fsfreeze\"]", "pre.hook.backup.velero.io/container": "bell",
            "post.hook.backup.velero.io/command": "x", "post.hook.restore.velero.io/container": "bell", "other": "y"}));
        assert_eq!(hooked(&one, &backup), ["bell", "cow"]);
        assert_eq!(hooked(&one, &restore), [""; 0], "a container without a command is no hook");
        let old = pod(&json!({"hook.backup.velero.io/command": "x"}));
        assert_eq!(hooked(&old, &backup), ["cow"]);
        let restored = pod(&json!({"post.hook.restore.velero.io/command": "x"}));
        assert_eq!(hooked(&restored, &restore), ["cow"]);
    }

    #[test]
    fn the_targets_hooks_apply_by_namespace_and_label() {
        let exec = json!([{"exec": {"container": "bell", "command": ["x"]}}, {"init": {}}]);
        for (selector, hit) in [
            (json!({}), true),
            (json!({"includedNamespaces": ["farm"]}), true),
            (json!({"includedNamespaces": ["*"]}), true),
            (json!({"includedNamespaces": ["shop"]}), false),
            (json!({"excludedNamespaces": ["farm"]}), false),
            (json!({"labelSelector": {"matchLabels": {"app": "herd"}}}), true),
            (json!({"labelSelector": {"matchLabels": {"app": "flock"}}}), false),
            (
                json!({"labelSelector": {"matchExpressions": [{"key": "breed", "operator": "In", "values": ["red"]}]}}),
                true,
            ),
            (
                json!({"labelSelector": {"matchExpressions": [{"key": "breed", "operator": "NotIn", "values": ["red"]}]}}),
                false,
            ),
            (json!({"labelSelector": {"matchExpressions": [{"key": "wool", "operator": "Exists"}]}}), false),
            (json!({"labelSelector": {"matchExpressions": [{"key": "wool", "operator": "DoesNotExist"}]}}), true),
            (json!({"labelSelector": {"matchExpressions": [{"key": "app", "operator": "Likes"}]}}), false),
            (json!({"labelSelector": {}}), true),
            (json!({"labelSelector": null}), true),
        ] {
            let mut restore = selector.clone();
            restore["postHooks"] = exec.clone();
            let mut backup = selector.clone();
            backup["pre"] = exec.clone();
            let expected: &[&str] = if hit { &["bell"] } else { &[] };
            let plain = pod(&json!({}));
            assert_eq!(hooked(&plain, &target(TargetKind::Restore, &json!([restore]))), expected, "{selector}");
            assert_eq!(hooked(&plain, &target(TargetKind::Backup, &json!([backup]))), expected, "{selector}");
        }
    }

    #[test]
    fn a_target_takes_pods_by_both_of_its_selectors() {
        let herd = json!({"matchLabels": {"app": "herd"}});
        let flock = json!({"matchLabels": {"app": "flock"}});
        for (spec, expected) in [
            (json!({}), true),
            (json!({"labelSelector": herd}), true),
            (json!({"labelSelector": flock}), false),
            (json!({"orLabelSelectors": [flock, herd]}), true),
            (json!({"orLabelSelectors": [flock]}), false),
            (json!({"orLabelSelectors": []}), true),
        ] {
            let mut target = target(TargetKind::Backup, &json!([]));
            target.raw = json!({"spec": spec});
            assert_eq!(selects(&target, &pod(&json!({}))), expected, "{spec}");
        }
    }

    #[test]
    fn a_pods_own_hooks_take_the_place_of_the_targets() {
        let hooks = json!([{"pre": [{"exec": {"container": "bell", "command": ["x"]}}]}]);
        let one = pod(&json!({"pre.hook.backup.velero.io/command": "x"}));
        assert_eq!(hooked(&one, &target(TargetKind::Backup, &hooks)), ["cow"]);
    }
}
