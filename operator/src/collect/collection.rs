//! A collection in three steps: it reads all items, reads the files of a store that was away once more, and ends.

use std::{collections::BTreeSet, sync::Arc};

use debugbundle_crd::Reason;
use debugbundle_format::manifest::{Missing, MissingCode};
use debugbundle_redact::Redactor;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    CollectError, CollectProgress, Collected, Collector, EntryContext, Relevant, Work, captured::CapturedPods,
    described, evidence::evidence_of, finish, kubelets::Kubelets, logs, scheduler::Scheduler, unread,
};
use crate::{
    access::ReadScope,
    budget::Shares,
    diagnose::Evidence,
    discovery::Snapshot,
    plan::{Item, Plan, SourceClass},
    velero::StoreFiles,
};

/// A collection whose items were read.
pub struct Collection {
    run: Scheduler,
    shares: Shares,
    /// Velero's files in the store, as planned.
    store_files: Vec<Item>,
    /// What discovery could not read.
    unread: Vec<Missing>,
}

impl Collection {
    /// Reads the planned items until `deadline`; items not read by then are missing. The spool still holds back room
    /// for what will be written about them: the caller that seals frees it.
    ///
    /// # Errors
    /// The spool is broken, or `cancel` was called. A full spool is no error: items without room are missing.
    pub async fn read(
        collector: &Collector,
        snapshot: &Snapshot,
        plan: Plan,
        progress: &Arc<CollectProgress>,
        cancel: &CancellationToken,
        deadline: Instant,
    ) -> Result<Self, CollectError> {
        collector.spool.hold_back(collector.shares.held_back);
        progress.planned(plan.items.len());
        let Plan { items, logs, missing, config_maps } = plan;
        let read_scope = ReadScope::of(snapshot);
        let unread = unread::unread(snapshot, &items, &read_scope);
        let store_files = items.iter().filter(|item| item.source.class() == SourceClass::StoreFile).cloned().collect();
        let collected = Collected {
            entries: Vec::new(),
            trimmed: Vec::new(),
            wanted: items.len(),
            empty: Vec::new(),
            evidence: evidence_of(collector, snapshot).await,
            started: Timestamp::now(),
            finished: Timestamp::now(),
            missing,
        };
        let work = Work {
            cluster: collector.cluster.clone(),
            context: EntryContext { redactor: collector.redactor.clone(), spool: collector.spool.clone() },
            store: collector.store.clone(),
            logs,
            read_scope,
            kubelets: Arc::new(Kubelets::new(&collector.cluster)),
            config_maps,
            relevant: Relevant::of(snapshot),
            captured: Arc::new(CapturedPods::of(&collector.pod_capture, snapshot)),
            only_once: logs::named_once(&snapshot.installation.pods),
            subjects: described::subjects(snapshot),
            progress: progress.clone(),
        };
        let mut run = Scheduler::new(Arc::new(work), collector, snapshot, collected, deadline);
        run.all(items, cancel).await?;
        Ok(Self { run, shares: collector.shares, store_files, unread })
    }

    /// What is known for a diagnosis so far.
    pub fn evidence(&self) -> &Evidence {
        &self.run.collected.evidence
    }

    /// Why a file of the store could not be read because the store did not answer, or did not accept the credential, and
    /// which of the two it was; `None` if each file was read, denied or absent.
    pub fn store_is_away(&self) -> Option<(Reason, &str)> {
        let reason = |code| match code {
            MissingCode::CredentialInvalid => Reason::CredentialInvalid,
            _ => Reason::StoreUnreachable,
        };
        self.unreached().next().map(|missing| (reason(missing.code), missing.why.as_str()))
    }

    /// Bytes of the spool that the entries need until they are sealed.
    pub fn needs(&self) -> u64 {
        self.shares.to_seal(self.run.work.context.spool.used())
    }

    /// Uses this redactor for everything that is read and written from now on.
    pub fn redact_with(&mut self, redactor: &Arc<Redactor>) {
        Arc::make_mut(&mut self.run.work).context.redactor = Arc::clone(redactor);
    }

    /// Reads once more the files that could not be read while the store was away, with at most `room` bytes of the
    /// spool for all entries until they are sealed. A file that broke off is replaced if it can be read this time.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_store_again(
        &mut self,
        store: Arc<dyn StoreFiles>,
        room: u64,
        cancel: &CancellationToken,
        deadline: Instant,
    ) -> Result<(), CollectError> {
        let unreached: BTreeSet<String> = self.unreached().map(|missing| missing.path.clone()).collect();
        let run = &mut self.run;
        run.collected.missing.retain(|missing| !unreached.contains(&missing.path));
        let planned: BTreeSet<&str> = self.store_files.iter().map(|item| item.path.as_str()).collect();
        let broke_off = run.room.take_broken_off(|path| planned.contains(path));
        let again = |item: &&Item| {
            unreached.contains(item.path.as_str())
                || broke_off.iter().any(|kept| kept.entry.segment.path() == &item.path)
        };
        let items: Vec<Item> = self.store_files.iter().filter(again).cloned().collect();

        Arc::make_mut(&mut run.work).store = Ok(store);
        let spool = &run.work.context.spool;
        let shares = self.shares.within(room);
        spool.hold_back(shares.held_back + spool.limit().saturating_sub(room));
        run.room.limit_to(shares.room);
        run.read_until(deadline);
        for _ in &items {
            run.work.progress.one_more();
        }
        run.all(items, cancel).await?;

        let there = run.room.paths();
        for kept in broke_off {
            let path = kept.entry.segment.path();
            if !there.contains(path) {
                run.collected.missing.retain(|missing| missing.path != path.as_str());
                run.room.adopt(kept);
            }
        }
        Ok(())
    }

    /// Ends the collection: adds what was captured before, trims to the budget, and writes the descriptions.
    ///
    /// # Errors
    /// The spool is broken.
    pub async fn finish(self, snapshot: &Snapshot) -> Result<Collected, CollectError> {
        let Self { mut run, shares, unread, .. } = self;
        unread::add(&mut run.collected.missing, unread);
        finish::finish(run, snapshot, shares.own).await
    }

    fn unreached(&self) -> impl Iterator<Item = &Missing> {
        let planned = |missing: &&Missing| self.store_files.iter().any(|item| item.path.as_str() == missing.path);
        let away =
            |missing: &&Missing| matches!(missing.code, MissingCode::StoreUnreachable | MissingCode::CredentialInvalid);
        let lost = self.run.collected.missing.iter().filter(away);
        lost.filter(planned)
    }
}
