//! Which ConfigMaps of Velero's namespace keep their values in a bundle: those that Velero reads. Of all others the
//! bundle has keys and sizes; `redact` masks the values.

use std::collections::BTreeSet;

use debugbundle_crd::ConfigMapRedaction;
use serde_json::Value;

use crate::{discovery::Snapshot, velero::TargetObject};

/// The label by which Velero's plugins find their configuration (`pkg/plugin/framework/common/plugin_config.go`).
const PLUGIN_CONFIG: &str = "velero.io/plugin-config";
/// Read without a flag that names them: by node agents of Velero 1.13 to 1.15, and by the vSphere plugin.
const WELL_KNOWN: [&str; 4] =
    ["node-agent-config", "node-agent-configs", "velero-vsphere-plugin-config", "velero-vsphere-plugin-feature-states"];

/// How Helm names a release that it keeps in a ConfigMap, with all values (`HELM_DRIVER=configmap`; helm
/// `pkg/storage/storage.go`). Helm also labels it `owner: helm`.
const HELM_RELEASE: &str = "sh.helm.release.v1.";

/// The ConfigMaps of Velero's namespace whose values are kept, redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// `None`: no ConfigMap keeps its values.
    named: Option<BTreeSet<String>>,
}

impl Bodies {
    /// Whether the values of this ConfigMap are kept.
    pub fn of(&self, config_map: &Value) -> bool {
        let Some(named) = &self.named else { return false };
        let name = config_map.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let labels = config_map.pointer("/metadata/labels").and_then(Value::as_object);
        if name.starts_with(HELM_RELEASE) || labels.is_some_and(|labels| labels.get("owner") == Some(&"helm".into())) {
            return false;
        }
        named.contains(name) || labels.is_some_and(|labels| labels.contains_key(PLUGIN_CONFIG))
    }
}

/// The ConfigMaps that Velero reads, as far as its flags and the target name them.
pub(super) fn bodies(redaction: ConfigMapRedaction, snapshot: &Snapshot) -> Bodies {
    if redaction == ConfigMapRedaction::Keys {
        return Bodies { named: None };
    }
    let mut named: BTreeSet<String> = WELL_KNOWN.into_iter().map(str::to_owned).collect();
    for workload in snapshot.installation.servers.iter().chain(&snapshot.installation.node_agents) {
        named.extend(workload.containers.iter().flat_map(|(_, _, arguments)| by_flags(arguments)));
    }
    for target in snapshot.target.object.iter().chain(&snapshot.target.backup) {
        named.extend(by_spec(target));
    }
    Bodies { named: Some(named) }
}

/// The values of all flags whose names end in `-configmap`: with these, server and node agent name their ConfigMaps.
fn by_flags(arguments: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    let mut arguments = arguments.iter().peekable();
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.strip_prefix("--") else { continue };
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (flag, arguments.peek().map(|next| next.as_str()).filter(|next| !next.starts_with('-'))),
        };
        if flag.ends_with("-configmap") {
            names.extend(value.filter(|value| !value.is_empty()).map(str::to_owned));
        }
    }
    names
}

/// Resource policies and modifiers of a Backup or Restore.
fn by_spec(target: &TargetObject) -> Vec<String> {
    let reference = |field: &str| {
        let reference = target.raw.pointer(&format!("/spec/{field}"))?;
        let of_kind = reference["kind"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("configmap"));
        reference["name"].as_str().filter(|_| of_kind).map(str::to_owned)
    };
    ["resourcePolicy", "resourceModifier"].into_iter().filter_map(reference).collect()
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::TargetKind;
    use serde_json::json;

    use super::*;
    use crate::{
        discovery::fixture::{snapshot, target},
        velero::Workload,
    };

    fn workload(arguments: &[&str]) -> Workload {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Workload {
            name: "velero".into(),
            selector: kube::core::Selector::default(),
            containers: vec![("velero".into(), "velero/velero".into(), arguments)],
        }
    }

    fn named(name: &str) -> Value {
        json!({"metadata": {"name": name}, "data": {"a": "b"}})
    }

    #[test]
    fn velero_uses_what_flags_labels_and_the_target_name() {
        let mut snapshot = snapshot();
        snapshot.installation.servers = vec![workload(&[
            "server",
            "--repo-maintenance-job-configmap=upkeep",
            "--backup-repository-configmap",
            "repo",
        ])];
        snapshot.installation.node_agents =
            vec![workload(&["node-agent", "server", "--node-agent-configmap", "agents"])];
        let mut restore = target(TargetKind::Restore, "Completed");
        restore.raw["spec"]["resourceModifier"] = json!({"kind": "ConfigMap", "name": "modifiers"});
        restore.raw["spec"]["resourcePolicy"] = json!({"kind": "Secret", "name": "other"});
        snapshot.target.object = Some(restore);
        let mut backup = target(TargetKind::Backup, "Completed");
        backup.raw["spec"]["resourcePolicy"] = json!({"kind": "configmap", "name": "policies"});
        snapshot.target.backup = Some(backup);
        let kept = bodies(ConfigMapRedaction::Masked, &snapshot);
        for name in ["upkeep", "repo", "agents", "modifiers", "policies", "node-agent-config"] {
            assert!(kept.of(&named(name)), "{name}");
        }
        for name in ["other", "shop", "server"] {
            assert!(!kept.of(&named(name)), "{name}");
        }
        let mut labelled = named("anything");
        labelled["metadata"]["labels"] = json!({"velero.io/plugin-config": ""});
        assert!(kept.of(&labelled));
        let none = bodies(ConfigMapRedaction::Keys, &snapshot);
        assert!(!none.of(&labelled) && !none.of(&named("upkeep")));
        assert!(!Bodies::default().of(&labelled), "nothing is kept unless it was decided");
    }

    #[test]
    fn a_flag_without_a_value_names_nothing() {
        let words = |all: &[&str]| by_flags(&all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert!(words(&["--node-agent-configmap"]).is_empty());
        assert!(words(&["--node-agent-configmap="]).is_empty());
        assert_eq!(words(&["--node-agent-configmap", "--repo-maintenance-job-configmap", "x"]), ["x"]);
    }
}
