//! A VolumeSnapshot is ready to use, or its driver says why it is not, there or in its content.

use serde_json::Value;

use super::{Need, Report, State, namespace};
use crate::graph::{Id, View, text};
use crate::kind::Kind;
use crate::label::valid_label;
use crate::reason::RootReason;
use crate::walk::Relation;

/// Of a VolumeSnapshot or its content: both have `status.error`
/// (`https://kubernetes.io/docs/concepts/storage/volume-snapshots/`).
pub(super) fn report(id: &Id, snapshot: &Value) -> Report {
    let status = &snapshot["status"];
    let why = text(&status["error"]["message"]);
    let state = match why {
        "" => State::Well,
        _ if status["readyToUse"] == true => State::Well,
        why => State::says(format!("{id} is not ready: {why}"), RootReason::Said(why.to_owned())),
    };
    let content = text(&status["boundVolumeSnapshotContentName"]);
    let needs = if content.is_empty() || status["readyToUse"] == true {
        Vec::new()
    } else {
        vec![Need::see(Id::of_cluster(Kind::VolumeSnapshotContent, content))]
    };
    Report::needing(state, needs)
}

/// The snapshots that Velero made for a Backup.
pub(super) fn needed(id: &Id, target: &Value, view: &View<'_>) -> Vec<Need> {
    if id.kind != Kind::Backup {
        return Vec::new();
    }
    let found = view.with_label(&Kind::VolumeSnapshot, "velero.io/backup-name", &valid_label(&id.name));
    let of_it = found.into_iter().filter(|one| namespace::may_touch(target, text(&one["metadata"]["namespace"])));
    of_it.map(|snapshot| Need::see(Id::of(snapshot)).by(Relation::Snapshot)).collect()
}
