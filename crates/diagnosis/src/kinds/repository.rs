//! A BackupRepository is Ready, or says why it is not. The pods of its maintenance say why that fails.

use serde_json::Value;

use super::{Need, Report, State, pod};
use crate::graph::{Id, View, condition, items, text, time};
use crate::kind::Kind;
use crate::label::repository_label;
use crate::reason::RootReason;
use crate::walk::Relation;

pub(super) fn report(id: &Id, repository: &Value, view: &View<'_>) -> Report {
    if repository["status"]["phase"] != "NotReady" {
        let is_asked = view.target().kind == Kind::Installation;
        return Report::needing(State::Well, if is_asked { of_maintenance(id, repository, view) } else { Vec::new() });
    }
    let why = match text(&repository["status"]["message"]) {
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
        let newest = newest_maintenance(repository).filter(|one| one["result"] == "Failed");
        let Some(newest) = newest else {
            return unscheduled(&id, view).map(|_| Need::see(id));
        };
        let why = match text(&newest["message"]) {
            "" => "it has no message",
            why => why,
        };
        let words = format!("BackupRepository {}: its newest maintenance failed: {why}", id.name);
        Some(Need::no(id, words, RootReason::Said(why.to_owned())))
    });
    needs.map(|need| Need { is_uncertain: !is_checked, ..need }.by(Relation::Repository)).collect()
}

/// Velero 1.19 keeps 25 entries, so an old failure may be long over: only the newest counts.
fn newest_maintenance(repository: &Value) -> Option<&Value> {
    items(&repository["status"]["recentMaintenance"]).iter().max_by_key(|one| time(&one["startTimestamp"]))
}

/// The pods of the maintenance Jobs of a repository (`https://velero.io/docs/v1.18/repository-maintenance/`).
fn pods<'a>(id: &Id, view: &View<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    let name = repository_label(&id.name);
    view.list(Kind::Pod, view.velero())
        .filter(move |pod| pod["metadata"]["labels"]["velero.io/repo-name"] == name.as_str())
}

/// The pod of a maintenance that waits for a node longer than a start takes.
fn unscheduled<'a>(id: &Id, view: &View<'a>) -> Option<&'a Value> {
    pods(id, view).filter(|pod| pod["status"]["phase"] == "Pending").find(|pod| {
        let unscheduled = condition(pod, "PodScheduled").filter(|one| one["status"] == "False");
        unscheduled.is_some_and(|one| {
            let since = time(&one["lastTransitionTime"]);
            since.is_some() && !pod::is_recent(since, view)
        })
    })
}

/// The pods that say why maintenance does not end well: the one of the newest, if that failed, and one that waits.
fn of_maintenance(id: &Id, repository: &Value, view: &View<'_>) -> Vec<Need> {
    let newest = newest_maintenance(repository).filter(|one| one["result"] == "Failed");
    let ran = newest.and_then(|one| Some((time(&one["startTimestamp"])?, time(&one["completeTimestamp"])?)));
    let failed = ran.and_then(|(began, over)| {
        pods(id, view)
            .filter(|pod| pod["status"]["phase"] == "Failed")
            .find(|pod| time(&pod["status"]["startTime"]).is_some_and(|started| (began..=over).contains(&started)))
    });
    failed.or_else(|| unscheduled(id, view)).map(|pod| Need::see(Id::of(pod))).into_iter().collect()
}
