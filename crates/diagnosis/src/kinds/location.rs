//! A BackupStorageLocation is Available, or says why it is not. Velero makes no Backup in a read-only one.

use serde_json::Value;

use super::{Need, Report, State};
use crate::graph::{Id, Seen, View, items, text};
use crate::kind::Kind;
use crate::reason::RootReason;
use crate::walk::Relation;

pub(super) fn report(id: &Id, location: &Value) -> Report {
    if location["status"]["phase"] != "Unavailable" {
        return Report::of(State::Well);
    }
    let why = match text(&location["status"]["message"]) {
        "" => "it has no message",
        why => why,
    };
    let words = format!("BackupStorageLocation {} is Unavailable: {why}", id.name);
    Report::of(State::says(words, RootReason::Said(why.to_owned())))
}

/// All locations, for an installation: first the default one. `is_checked`: Velero's server, which looks at them, runs.
pub(super) fn of_installation(is_checked: bool, view: &View<'_>) -> Vec<Need> {
    let mut all: Vec<&Value> = view.list(Kind::BackupStorageLocation, view.velero()).collect();
    all.sort_by_key(|location| location["spec"]["default"] != true);
    let needs = all.into_iter().map(|location| Need::see(Id::of(location)).by(Relation::Location));
    needs.map(|need| Need { is_uncertain: !is_checked, ..need }).collect()
}

/// The location of a Backup that Velero has not begun, if it is read-only.
pub(super) fn read_only(target: &Value, view: &View<'_>) -> Option<Need> {
    let location = of_backup(target, view).filter(|_| target["kind"] == "Backup")?;
    let is_read_only = location["spec"]["accessMode"] == "ReadOnly";
    let name = text(&location["metadata"]["name"]);
    let why = format!("BackupStorageLocation {name} is ReadOnly: Velero creates no Backup in it");
    is_read_only.then(|| Need::no(Id::of(location), why, RootReason::ReadOnly).by(Relation::Location))
}

/// The location for which Velero refused the target (`backup_controller.go`, `restore_controller.go`): it is
/// Unavailable or read-only, and still so.
pub(super) fn refusing(id: &Id, target: &Value, view: &View<'_>) -> Option<Need> {
    let errors = items(&target["status"]["validationErrors"]);
    let says = |words: &str| errors.iter().any(|error| text(error).contains(words));
    let location = if id.kind == Kind::Restore {
        let backup = Id::new(Kind::Backup, &id.namespace, text(&target["spec"]["backupName"]));
        match view.get(&backup) {
            Seen::Found(backup) if says("is unavailable") => of_backup(backup, view),
            _ => None,
        }
    } else {
        of_backup(target, view)
    }?;
    let to = Id::of(location);
    if says("Unavailable status") || says("is unavailable") {
        return Some(Need::see(to).by(Relation::Location));
    }
    let is_read_only = says("read-only mode") && location["spec"]["accessMode"] == "ReadOnly";
    let why = format!("BackupStorageLocation {} is ReadOnly (its accessMode): Velero creates no Backup in it", to.name);
    is_read_only.then(|| Need::no(to, why, RootReason::ReadOnly).by(Relation::Location))
}

/// The location that a Backup names; the default one if it names none.
pub(crate) fn of_backup<'a>(backup: &Value, view: &View<'a>) -> Option<&'a Value> {
    let named = text(&backup["spec"]["storageLocation"]);
    view.list(Kind::BackupStorageLocation, view.velero()).find(|location| match named {
        "" => location["spec"]["default"] == true,
        named => location["metadata"]["name"] == named,
    })
}
