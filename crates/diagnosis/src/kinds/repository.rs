//! A BackupRepository is Ready, or says why it is not.

use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Kind, View, items, text, time};
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

/// The repositories that are not ready, or whose maintenance fails, for an installation. `is_checked`: Velero's server,
/// which looks at them, runs.
pub(super) fn of_installation(is_checked: bool, view: &View<'_>) -> Vec<Need> {
    let needs = view.list(Kind::BackupRepository, view.velero()).filter_map(|repository| {
        let id = Id::of(repository);
        if repository["status"]["phase"] == "NotReady" {
            return Some(Need::see(id));
        }
        // Velero 1.19 keeps 25 entries, so an old failure may be long over: only the newest counts.
        let all = items(&repository["status"]["recentMaintenance"]);
        let newest =
            all.iter().max_by_key(|one| time(&one["startTimestamp"])).filter(|one| one["result"] == "Failed")?;
        let why = match innermost(text(&newest["message"])) {
            "" => "it has no message",
            why => why,
        };
        let words = format!("BackupRepository {}: its newest maintenance failed: {why}", id.name);
        Some(Need::no(id, words, RootReason::Said(why.to_owned())))
    });
    needs.map(|need| Need { is_uncertain: !is_checked, ..need }.by(Relation::Repository)).collect()
}
