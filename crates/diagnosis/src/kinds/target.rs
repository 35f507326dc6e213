//! A Backup or Restore: before it is begun it waits for the server, its location and what is in front of it; then for the
//! data of its volumes; one that ended quotes its reason, a hook, or the first error of its results.

use jiff::Timestamp;
use serde_json::Value;

use super::{Need, Report, State, location, namespace, queue, repository, restored, server, snapshot};
use crate::graph::{Id, View, age, items, text, time};
use crate::kind::Kind;
use crate::label::valid_label;
use crate::reason::RootReason;
use crate::texts::readable;
use crate::walk::Relation;

/// Its phase; New is often left out.
pub(super) fn phase(object: &Value) -> &str {
    match text(&object["status"]["phase"]) {
        "" => "New",
        phase => phase,
    }
}

/// Velero has not begun with it. The phases Queued and `ReadyToStart` are Velero 1.18's.
pub(super) fn is_waiting(object: &Value) -> bool {
    matches!(phase(object), "New" | "Queued" | "ReadyToStart")
}

/// `New for 40 min`, `Queued at position 3 for 5 min`, `InProgress for 2 h`, or the phase in which it ended.
pub(super) fn stands(object: &Value, now: Timestamp) -> String {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    let mut words = phase(object).to_owned();
    let place = status["queuePosition"].as_u64().filter(|place| *place > 0 && is_waiting(object));
    if let Some(place) = place {
        words = format!("{words} at position {place}");
    }
    if has_ended(object) {
        return words;
    }
    let since = time(&status["startTimestamp"]).or_else(|| time(&metadata["creationTimestamp"]));
    format!("{words} {}", age(since, now)).trim_end().to_owned()
}

/// Whether Velero has ended its work on a Backup or Restore.
pub fn has_ended(object: &Value) -> bool {
    matches!(phase(object), "Completed" | "PartiallyFailed" | "Failed" | "FailedValidation")
}

pub(super) fn report(id: &Id, object: &Value, view: &View<'_>) -> Report {
    let mut needs = Vec::new();
    if is_waiting(object) {
        needs.extend(server::needed(view));
        needs.extend(location::read_only(object, view));
        needs.extend(queue::ahead(id, object, view));
        return Report::needing(State::Well, needs);
    }
    let state = state(object, view);
    if phase(object) == "Failed" && matches!(state, State::Says { is_consequence: false, .. }) {
        return Report::of(state);
    }
    match phase(object) {
        "FailedValidation" => {
            needs.extend(location::refusing(id, object, view));
            needs.extend(backup(id, object));
        }
        "Failed" => needs.extend(server::ended(object, view)),
        _ => {}
    }
    needs.extend(data(id, view));
    let has_trouble = state != State::Well || !has_ended(object);
    if has_trouble {
        needs.extend(repository::needed(id, object, view));
        needs.extend(snapshot::needed(id, object, view));
        needs.extend(namespace::needed(id, object, view));
    }
    if !has_ended(object) {
        needs.extend(server::needed(view));
    }
    if id.kind == Kind::Restore && state == State::Well && has_ended(object) {
        needs.extend(restored::needed(id, object, view));
    }
    Report::needing(state, needs)
}

/// The Backup that Velero did not find for a Restore (`restore_controller.go`).
fn backup(id: &Id, restore: &Value) -> Option<Need> {
    let mut errors = items(&restore["status"]["validationErrors"]).iter().map(text);
    let name = text(&restore["spec"]["backupName"]);
    let is_missing = id.kind == Kind::Restore && errors.any(|error| error.contains("Error retrieving backup"));
    let backup = Id::new(Kind::Backup, &id.namespace, name);
    (is_missing && !name.is_empty()).then(|| Need::see(backup).by(Relation::Backup))
}

/// What Velero itself says of one that ended.
fn state(object: &Value, view: &View<'_>) -> State {
    let status = &object["status"];
    let reason = text(&status["failureReason"]);
    match phase(object) {
        "Failed" | "PartiallyFailed" | "FinalizingPartiallyFailed" if !reason.is_empty() => State::Says {
            words: reason.to_owned(),
            reason: RootReason::Said(reason.to_owned()),
            // It says when it was noticed, and not why.
            is_consequence: reason.contains("during the server starting"),
        },
        "Failed" | "PartiallyFailed" | "FinalizingPartiallyFailed" => {
            let first = view.errors_of_results().next().map(readable);
            let is_hook = first.as_ref().is_none_or(|error| error.contains("hook"));
            let hook = if is_hook { view.failed_hooks().first() } else { None };
            match (first, hook) {
                (_, Some(hook)) => State::Hook(hook.clone()),
                (Some(error), _) => State::says(error.clone(), RootReason::Said(error)),
                (None, _) => State::Well,
            }
        }
        "FailedValidation" => status["validationErrors"][0].as_str().map_or(State::Well, said),
        "Completed" if object["kind"] == "Backup" && status["warnings"].as_u64().unwrap_or_default() > 0 => {
            view.warnings_of_results().find_map(skipped_volume).unwrap_or(State::Well)
        }
        _ => State::Well,
    }
}

/// A volume that a Backup left out because its pod did not run (`Skip pod volume data error: /pod is not in the expected
/// status, name=db-0, namespace=shop, phase=Pending: pod is not running`: `pkg/podvolume/backupper.go`,
/// `pkg/util/kube/pod.go`). Of a pod that has ended nobody expects more.
fn skipped_volume(warning: &str) -> Option<State> {
    let (_, rest) = warning.split_once("Skip pod volume ")?;
    let (volume, why) = rest.split_once(" error: /")?;
    let part = |name: &str| why.split_once(name)?.1.split([',', ':', ' ']).next();
    let (name, namespace, phase) = (part("name=")?, part("namespace=")?, part("phase=")?);
    let words =
        format!("volume {volume} of pod {namespace}/{name} was not backed up: the pod was not running ({phase})");
    (phase == "Pending").then(|| State::Incomplete { words, text: warning.to_owned() })
}

fn said(text: &str) -> State {
    State::says(text, RootReason::Said(text.to_owned()))
}

/// The objects that move its data and have not completed.
fn data(id: &Id, view: &View<'_>) -> Vec<Need> {
    // Velero's labels on what it creates (pkg/apis/velero/v1/labels_annotations.go).
    let label = if id.kind == Kind::Restore { "velero.io/restore-name" } else { "velero.io/backup-name" };
    let name = valid_label(&id.name);
    let data = Kind::data_of(&id.kind).into_iter().flat_map(|kind| view.with_label(&kind, label, &name));
    let unfinished = data
        .filter(|data| data["metadata"]["namespace"] == id.namespace.as_str())
        .filter(|data| data["status"]["phase"] != "Completed");
    unfinished.map(|data| Need::see(Id::of(data)).by(Relation::Data)).collect()
}
