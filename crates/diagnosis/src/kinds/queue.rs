//! What Velero takes up before a Backup or Restore that it has not begun.

use serde_json::Value;

use super::{Need, target};
use crate::graph::{Id, View, text};
use crate::kind::Kind;
use crate::reason::RootReason;
use crate::walk::Relation;

/// Sort key: first Velero's current work, then what it has chosen, then the others by position; by name among equals.
type Place = (u8, i64, String);

/// The first one in front of the target.
pub(super) fn ahead(id: &Id, object: &Value, view: &View<'_>) -> Option<Need> {
    let others =
        view.list(id.kind.clone(), &id.namespace).filter(|other| other["metadata"]["name"] != id.name.as_str());
    let mut ahead: Vec<(Place, &Value)> = others.filter_map(|other| Some((place(id, object, other)?, other))).collect();
    ahead.sort_by(|a, b| a.0.cmp(&b.0));
    let (_, first) = ahead.first()?;
    let since = first["status"]["startTimestamp"].as_str().map(|at| format!(" since {at}")).unwrap_or_default();
    let others = ahead.len() - 1 + if id == view.target() { view.further_ahead() } else { 0 };
    let others = if others > 0 { format!(", and {others} more") } else { String::new() };
    let name = format!("{} {}", id.kind.as_str(), text(&first["metadata"]["name"]));
    let words = format!("behind {name}, which is {}{since}{others}", target::phase(first));
    Some(Need::no(Id::of(first), words, RootReason::Shown).by(Relation::Ahead))
}

/// The place of another object that Velero takes up first. Velero works on one Restore at a time
/// (`restore_controller.go`), and on as many Backups as `--concurrent-backups` says. Further Backups are Queued in the
/// order of their positions (`backup_queue_controller.go`); an older Velero leaves them New.
fn place(id: &Id, object: &Value, other: &Value) -> Option<Place> {
    let position = |object: &Value| object["status"]["queuePosition"].as_i64().unwrap_or(0);
    let is_backup = id.kind == Kind::Backup;
    let rank = match target::phase(other) {
        "InProgress" => 0,
        "ReadyToStart" if is_backup && target::phase(object) != "ReadyToStart" => 1,
        "Queued" if is_backup => match target::phase(object) {
            "Queued" if position(other) >= position(object) => return None,
            "ReadyToStart" => return None,
            _ => 2,
        },
        _ => return None,
    };
    Some((rank, position(other), text(&other["metadata"]["name"]).to_owned()))
}
