//! The asynchronous operations of a Backup or Restore, as timeline events: snapshots and data movers continue after the
//! last line of the log, and no results file contains their failures.

use std::io::Read;

use debugbundle_format::text::bounded;
use serde::Deserialize;

use super::timeline::{MomentKind, MomentStep, TimelineEvent};
use crate::json_stream::each;

/// Most events of one file; each operation produces up to three.
const MOST: usize = 9_000;
/// Longest text (bytes).
const TEXT: usize = 512;

/// `Operation` in Velero's `pkg/itemoperation`.
#[derive(Deserialize)]
struct Operation {
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    backup_item_action: Option<String>,
    restore_item_action: Option<String>,
    resource_identifier: Identifier,
    #[serde(rename = "operationID")]
    operation_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Identifier {
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
    error: Option<String>,
    created: Option<String>,
    started: Option<String>,
    updated: Option<String>,
}

/// The events in the file at `path`; if the file breaks off, the events up to that point.
pub fn operations(file: impl Read, path: &str) -> Vec<TimelineEvent> {
    let mut all = Vec::new();
    // The reader of the file reports that it is incomplete.
    let _ = each(file, |operation: Operation| {
        if all.len() < MOST {
            moments(&operation, path, &mut all);
        }
        Ok(())
    });
    all
}

fn moments(operation: &Operation, path: &str, all: &mut Vec<TimelineEvent>) {
    let Operation { spec, status } = operation;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let action = spec.backup_item_action.as_ref().or(spec.restore_item_action.as_ref());
    let id = spec.operation_id.as_deref().unwrap_or("without an id");
    let named = format!("operation {id} of {}", action.map_or("an unnamed plugin", String::as_str));
    let Identifier { resource, namespace, name } = &spec.resource_identifier;
    let object = format!("{}/{}/{}", text(resource), text(namespace), text(name));
    let (phase, error) = (text(&status.phase), text(&status.error));
    let state = if error.is_empty() { phase } else { format!("{phase}: {error}") };
    let last = match status.phase.as_deref() {
        Some("Completed") => MomentStep::Ended,
        Some("Failed" | "Canceled") => MomentStep::Failed,
        _ => MomentStep::Point,
    };
    let times = [
        (&status.created, MomentStep::Created, "created"),
        (&status.started, MomentStep::Started, "started"),
        (&status.updated, last, state.as_str()),
    ];
    for (at, step, what) in times {
        if let Some(t) = at.as_deref().and_then(|at| at.parse().ok()) {
            let text = bounded(&format!("{named}: {what}"), TEXT).into_owned();
            let (object, part, path) = (object.clone(), id.to_owned(), path.to_owned());
            all.push(TimelineEvent { t, kind: MomentKind::Operation, object, text, part, step, path, line: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_is_told_from_its_creation_to_its_failure() {
        let file = json!([
            {"spec": {"backupName": "b", "backupItemAction": "velero.io/csi-pvc-backupper", "operationID": "du-1",
                "resourceIdentifier": {"Group": "", "Resource": "persistentvolumeclaims", "Namespace": "shop", "Name": "data"}},
             "status": {"phase": "Failed", "error": "data mover gone", "created": "2026-03-01T10:00:00Z",
                "started": "2026-03-01T10:00:01Z", "updated": "2026-03-01T10:09:00Z"}},
            {"spec": {}, "status": {"phase": "New", "created": "soon"}},
            {"status": {"phase": "Completed", "updated": "2026-03-01T10:10:00Z"}},
        ]);
        let cut = file.to_string();
        let told = operations(&cut.as_bytes()[..cut.len() - 1], "velero/backups/b/itemoperations.json");
        let told: Vec<_> = told.iter().map(|m| (m.t.to_string(), m.object.as_str(), m.text.as_str())).collect();
        let object = "persistentvolumeclaims/shop/data";
        let text = |what: &str| format!("operation du-1 of velero.io/csi-pvc-backupper: {what}");
        let at = |time: &str| format!("2026-03-01T10:{time}Z");
        assert_eq!(
            told,
            [
                (at("00:00"), object, text("created").as_str()),
                (at("00:01"), object, text("started").as_str()),
                (at("09:00"), object, text("Failed: data mover gone").as_str()),
                (at("10:00"), "//", "operation without an id of an unnamed plugin: Completed"),
            ]
        );
    }
}
