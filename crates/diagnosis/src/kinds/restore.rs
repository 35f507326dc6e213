//! A Restore waits for the data of its volumes; one that ended quotes its reason or the first error of its results.

use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Kind, View, text};

/// Velero's label on what it creates for a Restore (pkg/apis/velero/v1/labels_annotations.go).
const RESTORE_NAME: &str = "velero.io/restore-name";

pub(super) fn report(id: &Id, object: &Value, view: &View<'_>) -> Report {
    let status = &object["status"];
    let data = [Kind::PodVolumeRestore, Kind::DataDownload].into_iter().flat_map(|kind| view.list(kind, &id.namespace));
    let is_its = |data: &&Value| data["metadata"]["labels"][RESTORE_NAME] == id.name.as_str();
    let needs =
        data.filter(is_its).filter(|data| data["status"]["phase"] != "Completed").map(|data| Need::see(Id::of(data)));
    let reason = text(&status["failureReason"]);
    let state = match text(&status["phase"]) {
        "Failed" | "PartiallyFailed" | "FinalizingPartiallyFailed" if !reason.is_empty() => State::says(reason),
        "Failed" | "PartiallyFailed" | "FinalizingPartiallyFailed" => {
            view.errors().first().map_or(State::Well, |error| State::says(error.trim()))
        }
        "FailedValidation" => status["validationErrors"][0].as_str().map_or(State::Well, State::says),
        _ => State::Well,
    };
    Report::needing(state, needs.collect())
}
