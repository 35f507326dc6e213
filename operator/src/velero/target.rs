//! A Backup or Restore, parsed for what leads further. `reader`, `related` and `walk` find what belongs to it.

use debugbundle_crd::TargetKind;
use jiff::Timestamp;
use serde_json::Value;

use super::is_dns_name;

/// A Backup or Restore as it was when discovery read it.
#[derive(Clone, Debug)]
pub struct TargetObject {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// `status.phase`; empty before Velero looked at it.
    pub phase: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `status.startTimestamp`.
    pub started: Option<Timestamp>,
    /// `status.completionTimestamp`.
    pub completed: Option<Timestamp>,
    /// Of a Backup: `spec.storageLocation`.
    pub storage_location: Option<String>,
    /// Of a Restore: the Backup it restores from.
    pub backup_name: Option<String>,
    /// The object, unredacted: for memory only.
    pub raw: Value,
}

/// The namespaces in the spec of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpecNamespaces {
    /// Those that it names.
    pub names: Vec<String>,
    /// It covers others too: all, or those that match a pattern.
    pub others: bool,
}

impl TargetObject {
    pub(crate) fn read(kind: TargetKind, raw: Value) -> Self {
        let time = |pointer: &str| raw.pointer(pointer).and_then(Value::as_str)?.parse().ok();
        let text = |pointer: &str| {
            let text = raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self {
            kind,
            name: text("/metadata/name").unwrap_or_default(),
            uid: text("/metadata/uid").unwrap_or_default(),
            phase: text("/status/phase").unwrap_or_default(),
            created: time("/metadata/creationTimestamp"),
            started: time("/status/startTimestamp"),
            completed: time("/status/completionTimestamp"),
            storage_location: text("/spec/storageLocation"),
            backup_name: text("/spec/backupName").filter(|_| kind == TargetKind::Restore),
            raw,
        }
    }

    /// The namespaces of the hooks in its spec, if a hook failed; none if the hooks are for all namespaces.
    pub(crate) fn hooked_namespaces(&self) -> Vec<String> {
        if self.has_failed_hooks() { self.namespaces_of_hooks() } else { Vec::new() }
    }

    /// The same for a Backup that did not finish: one of its hooks may hang.
    pub(crate) fn hooks_of_backup(&self) -> Vec<String> {
        if self.kind == TargetKind::Backup { self.namespaces_of_hooks() } else { Vec::new() }
    }

    /// A hook failed.
    pub(crate) fn has_failed_hooks(&self) -> bool {
        let failed = self.raw.pointer("/status/hookStatus/hooksFailed").and_then(Value::as_i64);
        failed.is_some_and(|failed| failed > 0)
    }

    /// Velero is working on it.
    pub(crate) fn is_under_way(&self) -> bool {
        let under_way = ["InProgress", "WaitingForPluginOperations", "Finalizing"];
        under_way.iter().any(|phase| self.phase.starts_with(phase))
    }

    /// Velero has not begun with it. The phases Queued and `ReadyToStart` are Velero 1.18's.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase.as_str(), "" | "New" | "Queued" | "ReadyToStart")
    }

    /// Velero is working on it, or was interrupted: at its start it marks what it finds as Failed
    /// (`pkg/cmd/server/server.go`), without results or other files. Or the results of one that failed name no
    /// namespace: errors about an item often stand below `velero`. Namespaces that results name are nearer to a cause.
    pub(crate) fn is_unfinished(&self, results_lead: bool) -> bool {
        let has_failed = matches!(self.phase.as_str(), "Failed" | "PartiallyFailed");
        self.is_under_way() || (has_failed && !results_lead)
    }

    fn namespaces_of_hooks(&self) -> Vec<String> {
        let hooks = self.raw.pointer("/spec/hooks/resources").and_then(Value::as_array);
        let named = hooks.into_iter().flatten().filter_map(|hook| hook["includedNamespaces"].as_array());
        named.flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The namespaces of its spec; for a Restore, the ones that it restores into. A Restore that names none covers the
    /// namespaces of its Backup.
    pub(crate) fn namespaces_of_spec(&self, backup: Option<&Self>) -> SpecNamespaces {
        let mapping = self.raw.pointer("/spec/namespaceMapping").and_then(Value::as_object);
        let mapping = mapping.filter(|_| self.kind == TargetKind::Restore);
        let says =
            |of: &Self| Some(of.listed("includedNamespaces")).filter(|names| !names.is_empty() && *names != ["*"]);
        let named = says(self).or_else(|| says(backup?));
        let others = named.as_ref().is_none_or(|names| names.iter().any(|name| !is_dns_name(name)));
        let named = named.unwrap_or_else(|| mapping.into_iter().flatten().map(|(from, _)| from.clone()).collect());
        let excluded = self.listed("excludedNamespaces");
        let named = named.into_iter().filter(|name| is_dns_name(name) && !excluded.contains(name));
        let goes_to = |name: String| {
            let to = mapping.and_then(|mapping| mapping.get(&name)).and_then(Value::as_str);
            to.map_or(name, str::to_owned)
        };
        SpecNamespaces { names: named.map(goes_to).collect(), others }
    }

    fn listed(&self, field: &str) -> Vec<String> {
        let all = self.raw["spec"][field].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Velero wrote all its files to the store: a missing one is an error.
    pub fn files_are_due(&self) -> bool {
        matches!(self.phase.as_str(), "Completed" | "PartiallyFailed")
    }

    /// Velero refused it and wrote nothing to the store. A file of its name there belongs to another object.
    pub fn has_no_files(&self) -> bool {
        self.phase == "FailedValidation"
    }

    /// Velero may have written files to the store: it does so before plugins end their operations, and a late failure
    /// may have left some. A missing file is no error.
    pub fn files_may_be_there(&self) -> bool {
        const BEFORE: [&str; 6] = ["", "New", "Queued", "ReadyToStart", "FailedValidation", "InProgress"];
        !BEFORE.contains(&self.phase.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hooks_lead_to_their_namespaces_when_one_failed() {
        let of = |failed: Value| {
            let raw = json!({"metadata": {"name": "b"}, "status": {"hookStatus": {"hooksAttempted": 2, "hooksFailed": failed}},
                "spec": {"hooks": {"resources": [{"includedNamespaces": ["shop", "farm"]}, {"excludedNamespaces": ["x"]}, 7]}}});
            TargetObject::read(TargetKind::Backup, raw).hooked_namespaces()
        };
        assert_eq!(of(json!(1)), ["shop", "farm"]);
        assert!(of(json!(0)).is_empty() && of(Value::Null).is_empty());
    }

    fn read(kind: TargetKind, phase: &str, spec: &Value) -> TargetObject {
        TargetObject::read(kind, json!({"metadata": {"name": "t"}, "spec": spec, "status": {"phase": phase}}))
    }

    #[test]
    fn a_spec_leads_to_what_it_names_and_of_a_restore_to_where_it_goes() {
        let mapping = json!({"shop": "shop-2", "inn": "inn-2"});
        let spec = json!({"includedNamespaces": ["shop", "farm-*", "inn", "bakery", 7],
            "excludedNamespaces": ["inn"], "namespaceMapping": mapping});
        let of = |target: TargetObject, backup: Option<&TargetObject>| {
            let SpecNamespaces { names, others } = target.namespaces_of_spec(backup);
            (names.join(" "), others)
        };
        let said = |names: &str, others: bool| (names.to_owned(), others);
        assert_eq!(of(read(TargetKind::Restore, "InProgress", &spec), None), said("shop-2 bakery", true));
        assert_eq!(of(read(TargetKind::Backup, "InProgress", &spec), None), said("shop bakery", true));
        let backup = read(TargetKind::Backup, "Completed", &json!({"includedNamespaces": ["shop", "barn"]}));
        for included in [json!(null), json!([]), json!(["*"])] {
            let spec = json!({"includedNamespaces": included, "namespaceMapping": mapping});
            let restore = || read(TargetKind::Restore, "InProgress", &spec);
            assert_eq!(of(restore(), Some(&backup)), said("shop-2 barn", false));
            assert_eq!(of(restore(), None), said("shop-2 inn-2", true), "its Backup is gone");
            assert_eq!(of(read(TargetKind::Backup, "InProgress", &spec), None), said("", true));
        }
    }

    #[test]
    fn what_is_under_way_or_failed_without_results_did_not_come_to_its_end() {
        for (phase, with_results, without) in [
            ("InProgress", true, true),
            ("WaitingForPluginOperationsPartiallyFailed", true, true),
            ("Finalizing", true, true),
            ("Failed", false, true),
            ("", false, false),
            ("New", false, false),
            ("FailedValidation", false, false),
            ("Completed", false, false),
            ("PartiallyFailed", false, true),
        ] {
            let target = read(TargetKind::Restore, phase, &json!({}));
            assert_eq!((target.is_unfinished(true), target.is_unfinished(false)), (with_results, without), "{phase}");
        }
    }
}
