//! A Backup or Restore waits for the data of its volumes; one that ended quotes its reason or the first error of its
//! results.

use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Kind, View, text};

pub(super) fn report(id: &Id, object: &Value, view: &View<'_>) -> Report {
    // Velero's labels on what it creates (pkg/apis/velero/v1/labels_annotations.go).
    let (label, kinds) = match id.kind {
        Kind::Restore => ("velero.io/restore-name", [Kind::PodVolumeRestore, Kind::DataDownload]),
        _ => ("velero.io/backup-name", [Kind::PodVolumeBackup, Kind::DataUpload]),
    };
    let data = kinds.into_iter().flat_map(|kind| view.list(kind, &id.namespace));
    let unfinished = data
        .filter(|data| data["metadata"]["labels"][label] == id.name.as_str())
        .filter(|data| data["status"]["phase"] != "Completed");
    let needs = unfinished.map(|data| Need::see(Id::of(data))).collect();
    let status = &object["status"];
    let reason = text(&status["failureReason"]);
    let state = match text(&status["phase"]) {
        "Failed" | "PartiallyFailed" | "FinalizingPartiallyFailed" if !reason.is_empty() => State::says(reason),
        "Failed" | "PartiallyFailed" | "FinalizingPartiallyFailed" => {
            view.errors().first().map_or(State::Well, |error| State::says(error.trim()))
        }
        "FailedValidation" => status["validationErrors"][0].as_str().map_or(State::Well, State::says),
        _ => State::Well,
    };
    Report::needing(state, needs)
}
