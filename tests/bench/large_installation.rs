//! Velero's objects of a large installation that has run for long.

use std::{fmt, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use harness::{
    Context, moved_ago,
    velero_objects::{
        VeleroObject, backup, data_download, data_upload, pod_volume_backup, pod_volume_restore, restore,
    },
};
use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::json;

/// Unfinished targets have not moved for this long: the operator looks below them once in a minute, but they are not
/// stuck.
const UNMOVED: SignedDuration = SignedDuration::from_mins(20);
/// Parallel requests while creating objects.
const AT_ONCE: usize = 16;

/// How many objects there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct LargeInstallation {
    pub(super) backups: usize,
    pub(super) restores: usize,
    /// Of each of the four data movers' kinds.
    pub(super) data: usize,
    /// So many of the first Backups and Restores, and their data, are unfinished; all others have ended.
    pub(super) unfinished: usize,
}

impl fmt::Display for LargeInstallation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backups, restores, data, unfinished } = self;
        write!(
            out,
            "{backups} Backups, {restores} Restores, {} objects of data movers; {unfinished} Backups and {unfinished} Restores \
             are unfinished",
            4 * data
        )
    }
}

impl LargeInstallation {
    /// Puts the objects into the context's namespace.
    pub(super) async fn put(self, context: &Arc<Context>) {
        let owners = |count, of: fn(&str) -> VeleroObject, kind: &'static str| {
            let owners =
                (0..count).map(move |index| target(of(&format!("{kind}-{index:05}")), index < self.unfinished, index));
            created(context, owners).collect::<Vec<DynamicObject>>()
        };
        let backups = owners(self.backups, backup, "backup").await;
        let restores = owners(self.restores, restore, "restore").await;
        let data = (0..self.data).flat_map(|index| {
            let (backup, restore) = (&backups[index % self.backups], &restores[index % self.restores]);
            let name = |owner: &DynamicObject| format!("{}-{index:05}", owner.name_any());
            [
                (pod_volume_backup(&name(backup)), backup),
                (data_upload(&name(backup)), backup),
                (pod_volume_restore(&name(restore)), restore),
                (data_download(&name(restore)), restore),
            ]
        });
        let data = data.map(|(data, owner)| {
            let progress = json!({"bytesDone": 1_048_576, "totalBytes": 1_048_576});
            data.of(owner).phase(phase(owner)).started(Timestamp::now()).status("progress", progress)
        });
        created(context, data).for_each(|_| async {}).await;
        for owner in backups[..self.unfinished].iter().chain(&restores[..self.unfinished]) {
            let kind = owner.types.as_ref().map_or("", |types| types.kind.as_str());
            moved_ago(context, kind, &owner.name_any(), UNMOVED).await;
        }
    }
}

/// A Backup or Restore as Velero leaves it: unfinished, or ended, each tenth of these badly.
fn target(object: VeleroObject, is_unfinished: bool, index: usize) -> VeleroObject {
    let now = Timestamp::now();
    let object = object
        .annotated("velero.io/resource-timeout", "10m0s")
        .started(now)
        .status("warnings", 2)
        .status("progress", json!({"totalItems": 240, "itemsBackedUp": 240, "itemsRestored": 240}));
    let object = object.of_namespaces((0..8).map(|team| format!("team-{team}")));
    if is_unfinished {
        return object.in_progress();
    }
    // The end is after the creation: otherwise the object counts as another cluster's.
    let object = object.ended(now + Duration::from_secs(2));
    if index.is_multiple_of(10) { object.partially_failed().status("errors", 3) } else { object.completed() }
}

/// The phase of the data of a Backup or Restore.
fn phase(owner: &DynamicObject) -> &'static str {
    if owner.data["status"]["phase"] == "InProgress" { "InProgress" } else { "Completed" }
}

/// Creates objects, many at once, in this order.
pub(super) fn created(
    context: &Arc<Context>,
    objects: impl Iterator<Item = VeleroObject>,
) -> impl Stream<Item = DynamicObject> {
    stream::iter(objects).map(|object| context.create_velero(object)).buffered(AT_ONCE)
}
