//! From time to time deletes objects whose DebugBundles were deleted while no instance watched. It deletes only in the
//! installation's own folder. [`verdict`] decides, [`lists`] reads both lists; `kubectl debugbundle prune` uses both.

pub mod lists;
pub mod verdict;

use std::{sync::Arc, time::Duration};

use debugbundle_crd::Reason;
use futures::FutureExt as _;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    election::Leadership,
    error::Fault,
    location::{AccessMode, Location},
    notify::{self, Notifier},
    run::{Engine, OpenStore, Standing},
    store::{Deletion, Folder, ListedBundle, Store as _, StoreError},
};
use verdict::SweepVerdict;

/// How long after its start the operator sweeps for the first time.
const FIRST: Duration = Duration::from_mins(1);
/// Time for one request to a store.
const ONE_REQUEST: Duration = Duration::from_secs(30);

/// What a sweep did in one location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Bundles in the folder.
    pub listed: usize,
    /// Objects deleted.
    pub deleted: usize,
    /// Number of these objects that are only hidden, because their bucket keeps versions.
    pub hidden: usize,
    /// Unfinished uploads aborted.
    pub aborted: usize,
    /// Objects whose deletion failed, and the first failure.
    pub failed: (usize, Option<String>),
    /// Set if the sweep deleted nothing because too many objects have no DebugBundle: their number.
    pub stopped: Option<usize>,
}

/// Sweeps all locations of Velero's namespace.
pub struct Sweeper {
    /// The API server.
    pub client: Client,
    /// Reads locations and opens stores.
    pub engine: Arc<Engine>,
    /// Velero's namespace.
    pub namespace: String,
    /// Publishes Events on locations.
    pub notifier: Notifier,
    /// Only the leader sweeps.
    pub leadership: Leadership,
}

impl Sweeper {
    /// Sweeps a minute after this instance began to lead, then after each `pause`, until the operator stops.
    pub async fn run(self, pause: Duration) {
        let term = |over: CancellationToken| over.run_until_cancelled_owned(Box::pin(self.one_term(pause))).map(|_| ());
        self.leadership.in_each_term(term).await;
    }

    async fn one_term(&self, pause: Duration) {
        let mut next = FIRST.min(pause);
        loop {
            tokio::time::sleep(next).await;
            next = pause;
            self.sweep().await;
        }
    }

    async fn sweep(&self) {
        if !self.leadership.leads() {
            return;
        }
        let (locations, server) = match self.engine.locations().await {
            Ok(found) => found,
            Err(fault) => return tracing::warn!(why = %fault, "No sweep: the locations cannot be read"),
        };
        for location in locations.iter().filter(|location| location.access == AccessMode::ReadWrite) {
            let name = &location.name;
            match self.sweep_location(location, server.as_ref()).await {
                Ok(report) => self.publish(location, &report).await,
                Err(Fault::Cancelled) => return,
                Err(fault) => tracing::warn!(location = name, why = %fault, "Nothing was swept in this location"),
            }
        }
    }

    /// Lists the objects first, then the DebugBundles: an object whose DebugBundle is absent in the second list will
    /// never have one again.
    async fn sweep_location(&self, location: &Location, server: Option<&Value>) -> Result<SweepReport, Fault> {
        if let Standing::Removed(why) = self.engine.standing().await? {
            tracing::info!(why, "No sweep: the installation is being removed, and the stored bundles stay");
            return Err(Fault::Cancelled);
        }
        let folder = Folder::of(&location.prefix, self.engine.installation()?)
            .map_err(|error| Fault::terminal(Reason::LocationInvalid, error.to_string()))?;
        let open = self.engine.open_store(location, server).await?;
        let fault = |error: StoreError| Fault::terminal(error.reason(), open.mask(&error.message()));
        let listing = lists::bundles(&open.store, &folder).await.map_err(fault)?;
        let uploads = in_time(open.store.open_uploads(&folder)).await.map_err(fault)?;
        let mut report = SweepReport { listed: listing.bundles.len(), ..SweepReport::default() };
        if listing.bundles.is_empty() && uploads.is_empty() {
            return Ok(report);
        }
        let living = lists::living(&self.client, &self.namespace).await.map_err(Fault::api)?;
        let now = Timestamp::now();
        for upload in uploads {
            let lives = upload.key.uid().is_none_or(|uid| living.contains(uid));
            if !lives && verdict::is_old(upload.begun, now) && self.leadership.leads() {
                match in_time(open.store.abort(&upload.key, &upload.id)).await {
                    Ok(()) => report.aborted += 1,
                    Err(error) => report.failed(open.mask(&error.message())),
                }
            }
        }
        match verdict::what_to_delete(listing.bundles, &living, now) {
            SweepVerdict::Stop { orphans, .. } => report.stopped = Some(orphans),
            SweepVerdict::Delete(these) => self.delete(these, &open, &mut report).await?,
        }
        Ok(report)
    }

    async fn delete(&self, these: Vec<ListedBundle>, open: &OpenStore, report: &mut SweepReport) -> Result<(), Fault> {
        for object in these {
            if !self.leadership.leads() {
                return Err(Fault::Cancelled);
            }
            match in_time(open.store.delete(&object.key)).await {
                Ok(done) => {
                    tracing::info!(key = object.key.as_str(), "Swept: its DebugBundle is gone");
                    report.deleted += 1;
                    report.hidden += usize::from(done == Deletion::Hidden);
                }
                Err(error) => {
                    report.failed(open.mask(&error.message()));
                    if error.is_transient() {
                        break; // the store is away: the next sweep goes on
                    }
                }
            }
        }
        Ok(())
    }

    async fn publish(&self, location: &Location, report: &SweepReport) {
        let SweepReport { listed, deleted, hidden, aborted, failed: (failed, why), stopped } = report;
        let name = &location.name;
        let reference = notify::location_reference(location, &self.namespace);
        tracing::info!(location = name, listed, deleted, hidden, aborted, failed, "Swept");
        if let Some(orphans) = stopped {
            let note = format!(
                "{orphans} of {listed} stored bundles belong to no DebugBundle; so many are not removed without a \
                 person: kubectl debugbundle -n {} prune lists and removes them",
                self.namespace
            );
            tracing::warn!(location = name, why = note, "The sweep removed nothing");
            self.notifier.warning_about(&reference, Reason::SweepStopped, &note).await;
        }
        if let Some(why) = why {
            let note = format!(
                "{failed} stored bundles of deleted DebugBundles could not be removed: {why}; the next sweep tries again"
            );
            tracing::warn!(location = name, why = note, "The sweep left objects");
            self.notifier.warning_about(&reference, Reason::NotDeleted, &note).await;
        }
        if *hidden > 0 {
            let note = format!(
                "the bucket keeps versions: {hidden} bundles of deleted DebugBundles are hidden, their versions stay"
            );
            self.notifier.warning_about(&reference, Reason::Hidden, &note).await;
        }
    }
}

impl SweepReport {
    fn failed(&mut self, why: String) {
        self.failed.0 += 1;
        self.failed.1.get_or_insert(why);
    }
}

/// Limits the time of one request.
pub(crate) async fn in_time<T>(request: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(ONE_REQUEST, request)
        .await
        .unwrap_or_else(|_| Err(StoreError::silent(format!("no answer within {} s", ONE_REQUEST.as_secs()))))
}
