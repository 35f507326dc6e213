//! Findings for a bundle about the whole installation: the Backups and Restores that failed last, each with its phase,
//! time and reason. A bundle about one of them shows why it failed.

use serde_json::Value;

use super::{
    Finding, FindingKind, Proof,
    object::{path, reference},
};

/// One finding for each object, in the same order. None of them is the cause: the bundle is not about these objects.
pub(super) fn failed(objects: &[Value], findings: &mut Vec<Finding>) {
    for object in objects {
        let title = title(object);
        findings.push(Finding::new(
            FindingKind::FailedBefore,
            &title,
            &reference(object),
            Proof::new(path(object), &title),
        ));
    }
}

/// `Backup nightly-3 is PartiallyFailed since 2026-03-01T03:00:00Z: 2 errors, 1 warnings`.
fn title(object: &Value) -> String {
    let status = &object["status"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |field: &str| status[field].as_u64().unwrap_or(0);
    let reason = match status["failureReason"].as_str() {
        Some(reason) => reason.to_owned(),
        None => format!("{} errors, {} warnings", number("errors"), number("warnings")),
    };
    let (kind, name, phase) = (text(&object["kind"]), text(&object["metadata"]["name"]), text(&status["phase"]));
    let began = status["startTimestamp"].as_str().map(|at| format!(", started at {at}")).unwrap_or_default();
    format!("{kind} {name} is {phase}{began}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use debugbundle_crd::Severity;
    use serde_json::json;

    #[test]
    fn each_is_told_with_phase_time_and_reason() {
        let of = |status: Value| {
            let metadata = json!({"namespace": "v", "name": "b"});
            let object =
                json!({"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": metadata, "status": status});
            let mut findings = Vec::new();
            failed(&[object], &mut findings);
            findings.remove(0)
        };
        let at = "2026-03-01T00:00:00Z";
        let found = of(json!({"phase": "Failed", "startTimestamp": at, "failureReason": "no bucket"}));
        assert_eq!(found.title, "Backup b is Failed, started at 2026-03-01T00:00:00Z: no bucket");
        assert_eq!((found.object.as_str(), found.severity), ("Backup/v/b", Severity::Warning));
        assert_eq!(found.evidence[0].path, "namespaces/v/velero.io/backups.yaml");
        let found = of(json!({"phase": "PartiallyFailed", "errors": 2}));
        assert_eq!(found.title, "Backup b is PartiallyFailed: 2 errors, 0 warnings");
    }
}
