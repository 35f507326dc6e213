//! From time to time deletes stored objects without a DebugBundle, in the installation's own folder: expired ones, and
//! those whose DebugBundle was deleted according to the record. [`verdict`] decides, [`lists`] reads both lists, which
//! `kubectl debugbundle prune` uses as well; [`record`] keeps what is known.

pub mod lists;
pub mod record;
pub mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use debugbundle_crd::Reason;
use futures::FutureExt as _;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    election::Leadership,
    error::{Fault, api_sentence},
    location::{AccessMode, Location},
    notify::{self, Notifier},
    run::{Engine, LocationsFound, OpenStore, Standing},
    store::{Deletion, EXPIRES, Folder, ListedBundle, OpenUpload, StoreError},
};
use record::Record;
use verdict::Fate;

/// How long after its start the operator sweeps for the first time.
const FIRST: Duration = Duration::from_mins(1);
/// Time for one request to a store.
const ONE_REQUEST: Duration = Duration::from_secs(30);
/// How long changes of the record are gathered before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// Pause after the record could not be written.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

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
    /// Objects that belong to no DebugBundle, have not expired, and were not deleted as far as is known: they stay.
    pub unexplained: usize,
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
    /// What is known of stored bundles; written while this instance leads.
    pub record: Arc<Record>,
    /// That the definition may not be read was logged.
    pub logged: AtomicBool,
}

/// A location with what its folder contains.
struct Listed<'a> {
    location: &'a Location,
    open: OpenStore,
    bundles: Vec<ListedBundle>,
    uploads: Vec<OpenUpload>,
}

impl Sweeper {
    /// Sweeps a minute after this instance began to lead, then after each `pause`, until the operator stops.
    pub async fn run(self, pause: Duration) {
        let sweeper = &self;
        let term = |over: CancellationToken| {
            let work = async move { tokio::join!(sweeper.sweep_again_and_again(pause), sweeper.keep_record()) };
            over.run_until_cancelled_owned(Box::pin(work)).map(|_| ())
        };
        self.leadership.in_each_term(term).await;
    }

    async fn sweep_again_and_again(&self, pause: Duration) {
        let mut next = FIRST.min(pause);
        loop {
            tokio::time::sleep(next).await;
            next = pause;
            if self.leadership.leads() {
                match self.sweep().await {
                    Ok(()) | Err(Fault::Cancelled) => {}
                    Err(fault) => tracing::warn!(why = %fault, "Nothing was swept"),
                }
            }
        }
    }

    /// Writes the record into the Lease soon after each change.
    async fn keep_record(&self) {
        loop {
            tokio::time::sleep(GATHER).await;
            let Ok(installation) = self.engine.installation() else { continue };
            match self.record.sync(installation.as_str()).await {
                Ok(()) => self.record.changed().await,
                Err(error) => {
                    tracing::warn!(why = api_sentence(&error), "The record of stored bundles was not written");
                    tokio::time::sleep(WRITE_AGAIN).await;
                }
            }
        }
    }

    /// Lists the objects of all locations first, then the DebugBundles: an object whose DebugBundle is absent in the
    /// second list will never have one again. Only then asks whether definition and namespace stand: DebugBundles that
    /// went with them do not count as deleted.
    async fn sweep(&self) -> Result<(), Fault> {
        let LocationsFound { all: locations, unusable, server } = self.engine.locations().await?;
        for (location, why) in &unusable {
            tracing::warn!(location, %why, "Nothing was swept in this location");
        }
        let mut all = Vec::new();
        let mut room = lists::MOST;
        for location in locations.iter().filter(|location| location.access == AccessMode::ReadWrite) {
            match self.list(location, server.as_ref(), room).await {
                Ok(listed) => {
                    room -= listed.bundles.len();
                    all.push(listed);
                }
                Err(fault) => {
                    tracing::warn!(location = location.name, why = %fault, "Nothing was swept in this location");
                }
            }
        }
        if self.record.is_empty() && all.iter().all(|one| one.bundles.is_empty() && one.uploads.is_empty()) {
            return Ok(());
        }
        let living = lists::living(&self.client, &self.namespace).await.map_err(Fault::api)?;
        let defined = match self.engine.standing().await? {
            Standing::Stands { defined } => defined,
            Standing::Removed(why) => {
                tracing::info!(why, "No sweep: the installation is being removed, and the stored bundles stay");
                return Ok(());
            }
        };
        self.record.sync(self.engine.installation()?.as_str()).await.map_err(Fault::api)?;
        for one in &all {
            let report = self.sweep_location(one, &living, defined).await?;
            self.publish(one.location, &report, defined.is_some()).await;
        }
        let listed: BTreeMap<&str, BTreeSet<&str>> = all
            .iter()
            .map(|one| {
                let uids = one.bundles.iter().filter_map(|bundle| bundle.key.uid());
                (one.location.name.as_str(), uids.collect())
            })
            .collect();
        self.record.tidy(&living, &listed, defined);
        Ok(())
    }

    async fn list<'a>(&self, location: &'a Location, server: Option<&Value>, room: usize) -> Result<Listed<'a>, Fault> {
        let folder = Folder::of(&location.prefix, self.engine.installation()?)
            .map_err(|error| Fault::terminal(Reason::LocationInvalid, error.to_string()))?;
        let open = self.engine.open_store(location, server).await?;
        let fault = |error: StoreError| Fault::terminal(error.reason(), open.mask(&error.message()));
        let bundles = lists::bundles_within(&*open.store, &folder, room).await.map_err(fault)?.bundles;
        let uploads = in_time(open.store.open_uploads(&folder)).await.map_err(fault)?;
        Ok(Listed { location, open, bundles, uploads })
    }

    async fn sweep_location(
        &self,
        Listed { location, open, bundles, uploads }: &Listed<'_>,
        living: &BTreeSet<String>,
        defined: Option<Timestamp>,
    ) -> Result<SweepReport, Fault> {
        let mut report = SweepReport { listed: bundles.len(), ..SweepReport::default() };
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
        let under_way = |object: &ListedBundle| object.key.uid().is_some_and(|uid| self.record.is_under_way(uid));
        for object in bundles.iter().filter(|object| verdict::is_orphan(object, living) && !under_way(object)) {
            let entry = self.record.of(&location.name, &object.key);
            let goes = match verdict::fate(object.modified, entry.as_ref(), defined, now) {
                Fate::Stays => continue,
                Fate::Goes => Ok(true),
                Fate::GoesIfExpired => in_time(open.store.head(&object.key))
                    .await
                    .map(|stored| stored.is_some_and(|stored| has_expired(&stored.meta, now))),
            };
            if !self.leadership.leads() {
                return Err(Fault::Cancelled);
            }
            let done = match goes {
                Ok(true) => in_time(open.store.delete(&object.key)).await,
                Ok(false) => {
                    report.unexplained += 1;
                    continue;
                }
                Err(error) => Err(error),
            };
            match done {
                Ok(done) => {
                    tracing::info!(key = object.key.as_str(), "Swept: its DebugBundle is gone");
                    self.record.done(object.key.uid().unwrap_or_default());
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
        Ok(report)
    }

    async fn publish(&self, location: &Location, report: &SweepReport, sees_definition: bool) {
        let SweepReport { listed, deleted, hidden, aborted, failed: (failed, why), unexplained } = report;
        let name = &location.name;
        let reference = notify::location_reference(location, &self.namespace);
        tracing::info!(location = name, listed, deleted, hidden, aborted, failed, unexplained, "Swept");
        if *unexplained > 0 && !sees_definition {
            let note = format!(
                "{unexplained} of {listed} stored bundles belong to no DebugBundle and stay until they expire: the \
                 operator may not get the CustomResourceDefinition of DebugBundles, so it cannot tell whether they were \
                 deleted or went with it; bind ClusterRole debugbundle-definition (rule R27), or see kubectl \
                 debugbundle -n {} prune",
                self.namespace
            );
            if !self.logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(location = name, why = note, "The sweep removes only what has expired");
            }
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

/// Whether an object's own metadata says that its time is over. An object without that time never expires.
pub(crate) fn has_expired(meta: &BTreeMap<String, String>, now: Timestamp) -> bool {
    let end = meta.get(EXPIRES).and_then(|end| end.parse::<Timestamp>().ok());
    end.is_some_and(|end| end <= now)
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
