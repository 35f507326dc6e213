//! The Backups and Restores that failed last: the way into an installation when nobody named a target. `diagnose`
//! reports on them.

use std::cmp::Reverse;

use debugbundle_format::text::bounded;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Served, reader::DiscoveryReader, top_n::TopN};

/// The most that are named of each kind.
const NEWEST: usize = 20;
/// Bytes kept of the reason of a failure.
const REASON: usize = 1024;

impl DiscoveryReader<'_> {
    /// The newest failed Backups, then the newest failed Restores, in the form of [`short`]; the newest first.
    pub(super) async fn failed(&self, served: &Served) -> Vec<Value> {
        let mut failed = Vec::new();
        for (plural, kind) in [("backups", "Backup"), ("restores", "Restore")] {
            let kind_of_api = served.velero(plural, kind);
            let read = |object: Value| {
                let (at, short) = short(kind, &object)?;
                let name = short["metadata"]["name"].as_str()?.to_owned();
                Some(((Reverse(at), name), short))
            };
            let found = self.read(&kind_of_api, self.namespace, None, TopN::new(NEWEST, read)).await;
            failed.extend(found.items());
        }
        failed
    }
}

/// When it began, or was created, and the fields about its failure; `None` if it did not fail.
fn short(kind: &str, object: &Value) -> Option<(Option<Timestamp>, Value)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let phase = text("/status/phase").filter(|phase| phase.contains("Failed"))?;
    let at = text("/status/startTimestamp").or_else(|| text("/metadata/creationTimestamp"));
    let reason = text("/status/failureReason").or_else(|| text("/status/validationErrors/0"));
    let short = json!({
        "apiVersion": "velero.io/v1",
        "kind": kind,
        "metadata": {"namespace": text("/metadata/namespace"), "name": text("/metadata/name")?},
        "status": {
            "phase": bounded(phase, 64),
            "startTimestamp": at.map(|at| bounded(at, 64)),
            "failureReason": reason.map(|reason| bounded(reason, REASON)),
            "errors": object.pointer("/status/errors").and_then(Value::as_u64),
            "warnings": object.pointer("/status/warnings").and_then(Value::as_u64),
        },
    });
    Some((at.and_then(|at| at.parse().ok()), short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_failed_is_read_with_its_time_and_reason() {
        let of = |status: Value| {
            let object = json!({"metadata": {"name": "b", "namespace": "v", "creationTimestamp": "2026-03-01T00:00:00Z"},
                "spec": {"secret": "no"}, "status": status});
            short("Backup", &object)
        };
        for good in [json!({"phase": "Completed"}), json!({"phase": "InProgress"}), json!({}), json!(7)] {
            assert_eq!(of(good), None);
        }
        let (at, told) = of(json!({"phase": "FailedValidation", "validationErrors": ["no location", "x"]})).unwrap();
        assert_eq!(at, "2026-03-01T00:00:00Z".parse().ok(), "one that was not begun has the time when it was made");
        assert_eq!(told["status"]["failureReason"], "no location");
        assert_eq!(told.get("spec"), None);
        let status = json!({"phase": "WaitingForPluginOperationsPartiallyFailed", "startTimestamp": "2026-03-02T00:00:00Z", "errors": 3});
        let (at, told) = of(status).unwrap();
        assert_eq!((at, &told["status"]["errors"]), ("2026-03-02T00:00:00Z".parse().ok(), &json!(3)));
        let long = of(json!({"phase": "Failed", "failureReason": "x".repeat(9999)})).unwrap().1;
        assert!(long["status"]["failureReason"].as_str().unwrap().len() <= REASON);
    }
}
