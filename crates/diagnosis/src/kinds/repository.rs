//! A BackupRepository is Ready, or says why it is not.

use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Kind, View, items, text};
use crate::reason::RootReason;
use crate::texts::innermost;
use crate::walk::Relation;

pub(super) fn report(id: &Id, repository: &Value) -> Report {
    if repository["status"]["phase"] != "NotReady" {
        return Report::of(State::Well);
    }
    let why = match innermost(text(&repository["status"]["message"])) {
        "" => "it has no message",
        why => why,
    };
    let words = format!("BackupRepository {} is NotReady: {why}", id.name);
    Report::of(State::says(words, RootReason::Said(why.to_owned())))
}

/// The repositories of a Backup's namespaces, once an error speaks of one (`pkg/repository/backup_repo_op.go`).
pub(super) fn needed(id: &Id, target: &Value, view: &View<'_>) -> Vec<Need> {
    let is_told = view.errors_of_results().any(|error| {
        let error = error.to_lowercase();
        error.contains("backup repository") || error.contains("backuprepository")
    });
    if !is_told {
        return Vec::new();
    }
    let spec = &target["spec"];
    let named = items(&spec["includedNamespaces"]);
    let covers = |namespace: &Value| named.is_empty() || named.iter().any(|name| name == namespace || name == "*");
    let location = text(&spec["storageLocation"]);
    let all = view.list(Kind::BackupRepository, &id.namespace);
    all.filter(|repository| covers(&repository["spec"]["volumeNamespace"]))
        .filter(|repository| location.is_empty() || repository["spec"]["backupStorageLocation"] == location)
        .map(|repository| Need::see(Id::of(repository)).by(Relation::Repository))
        .collect()
}
