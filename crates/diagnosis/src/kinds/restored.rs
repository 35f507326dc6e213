//! The pods that a Restore made: one that never became ready is a loss that the Restore does not tell.

use jiff::SignedDuration;
use serde_json::Value;

use super::{Need, namespace};
use crate::graph::{Id, Kind, View, condition, text, time};
use crate::label::valid_label;
use crate::walk::Relation;

/// Trouble that began later after the end of the Restore is no matter of the Restore.
const BELONGS: SignedDuration = SignedDuration::from_mins(15);

/// The pods that a Restore that ended made, and that have not been ready since then.
pub(super) fn needed(id: &Id, target: &Value, view: &View<'_>) -> Vec<Need> {
    let Some(ended) = time(&target["status"]["completionTimestamp"]) else { return Vec::new() };
    let made = view.with_label(&Kind::Pod, "velero.io/restore-name", &valid_label(&id.name));
    let is_of_it = |pod: &&Value| {
        // Another installation may have a Restore of this name.
        let backup = pod["metadata"]["labels"]["velero.io/backup-name"].as_str();
        backup.is_none_or(|name| name == valid_label(text(&target["spec"]["backupName"])))
            && namespace::may_touch(target, text(&pod["metadata"]["namespace"]))
    };
    let in_trouble = made.into_iter().filter(is_of_it).filter(|pod| {
        let is_over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded"));
        let since = match condition(pod, "Ready") {
            Some(ready) if ready["status"] == "True" => return false,
            Some(ready) => time(&ready["lastTransitionTime"]),
            None => time(&pod["status"]["startTime"]),
        };
        !is_over && since.is_none_or(|since| since.duration_since(ended) <= BELONGS)
    });
    in_trouble.map(|pod| Need::see(Id::of(pod)).by(Relation::Restored)).collect()
}
