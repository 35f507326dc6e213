//! The last steps after all items are read: adds the logs of pods that are gone, trims to the budget, adds the version
//! files and the descriptions. Data that does not fit is reported as missing and never fails the bundle.

use debugbundle_archive::{Entry, SpoolError};
use debugbundle_format::{BundlePath, StoreFile, layout};
use jiff::Timestamp;

use super::{
    CollectError, Collected, Work, captured, described,
    entry::{EntryContext, WriteError},
    entry_set::{BudgetedEntries, Closed},
    missing::{no_room, not_redacted},
    on_a_thread, said,
    scheduler::Scheduler,
    version_files,
};
use crate::discovery::Snapshot;

/// Turns the items that were read into the result of the collection. `own` bytes, compressed, may be written about it,
/// here and until the seal.
pub(super) async fn finish(run: Scheduler, snapshot: &Snapshot, own: u64) -> Result<Collected, CollectError> {
    let Scheduler { work, mut collected, live, room, .. } = run;
    let mut room = captured::add_logs(&work, room, &mut collected.missing).await?;
    let log =
        snapshot.target.object.as_ref().map(|target| layout::store_file(target.kind, &target.name, StoreFile::Log));
    if log.as_ref().is_some_and(|log| room.paths().contains(log)) {
        // The target's own log contains all lines of the server about the target, and more.
        room.forget(|path| is_from_server(path, log.as_ref()));
    }
    let Closed { entries, trimmed, missing } = fitted(&work, room).await?.close(collected.missing.len());
    (collected.entries, collected.trimmed) = (entries, trimmed);
    collected.missing.extend(missing);

    let context = work.context.clone();
    context.spool.allow_more(own);
    collected.finished = Timestamp::now();
    let of = snapshot.clone();
    on_a_thread(move || {
        said::add(&of, &mut collected);
        add_facts(&context, &of, &mut collected)?;
        Ok(described::write(&context, &of, collected, live, own)?)
    })
    .await
}

/// Trims the entries to the budget.
pub(super) async fn fitted(work: &Work, room: BudgetedEntries) -> Result<BudgetedEntries, CollectError> {
    if !room.is_over() {
        return Ok(room);
    }
    let context = work.context.clone();
    match on_a_thread(move || room.fit(&context)).await {
        Ok(room) => Ok(room),
        Err(WriteError::Spool(error)) => Err(error.into()),
        Err(WriteError::Entry(source)) => Err(SpoolError::unreadable(work.context.spool.dir(), source).into()),
    }
}

/// Adds the files with the versions and the time of the collection. Blocks.
fn add_facts(context: &EntryContext, snapshot: &Snapshot, collected: &mut Collected) -> Result<(), SpoolError> {
    let (what, path) = ("the versions of Velero and Kubernetes", "velero/version.json");
    let times = (collected.started, collected.finished);
    match version_files::write(context, snapshot, collected.evidence.velero_version.as_ref(), times) {
        Ok(facts) => {
            let read_at = collected.finished;
            let entry = |(segment, source, truncated)| Entry { segment, source, truncated, read_at, ms: 0 };
            collected.entries.extend(facts.bodies.into_iter().map(entry));
        }
        Err(WriteError::Spool(error)) if error.is_full() => collected.missing.push(no_room(what, path, &error)),
        Err(WriteError::Spool(error)) => return Err(error),
        Err(WriteError::Entry(error)) => collected.missing.push(not_redacted(what, path, &error)),
    }
    Ok(())
}

/// Whether the file lies beside the target's log and holds the server's lines about the target. Names of objects may
/// contain `from-server`, too.
fn is_from_server(path: &BundlePath, log: Option<&BundlePath>) -> bool {
    let folder = log.and_then(|log| log.as_str().rsplit_once('/')).map(|(folder, _)| folder);
    let file = folder.and_then(|folder| path.as_str().strip_prefix(folder)).unwrap_or_default();
    ["/backup.from-server.", "/restore.from-server."].iter().any(|begin| file.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_lines_about_the_target_are_in_its_log_already() {
        let path = |text: &str| BundlePath::new(text.split('/'));
        let log = path("velero/backups/a.from-server.b/backup.log");
        for (other, expected) in [
            ("velero/backups/a.from-server.b/backup.from-server.log", true),
            ("velero/backups/a.from-server.b/backup.from-server.previous.log", true),
            ("velero/backups/a.from-server.b/backup.log", false),
            ("velero/backups/a.from-server.b/results.json", false),
            ("namespaces/v/pods/x.from-server.0/c/c/logs/current.log", false),
        ] {
            assert_eq!(is_from_server(&path(other), Some(&log)), expected, "{other}");
        }
    }
}
