//! The first half of a run, stage by stage: find, plan, read, explain. The result, by way of [`super::sealing`], is a
//! [`Packed`] bundle.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use debugbundle_archive::Spool;
use debugbundle_crd::{Reason, Stage};
use debugbundle_format::manifest::Need;
use debugbundle_redact::{Redactor, Secret};
use debugbundle_redact_check::Detector;
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Engine, Packed, RunHooks, Subject, Tracker,
    final_state::{self, FinalState},
    head::RunResult,
    password::RepositoryPassword,
    sealing::Sealing,
    store_away,
    stores::Stores,
};
use crate::{
    access,
    budget::Shares,
    cluster::{Cluster, chain},
    collect::{CollectError, Collection, Collector, Pace},
    crash, diagnose,
    discovery::{self, InventoryError, Scope, Snapshot},
    error::Fault,
    plan::{self, Plan},
    probe::ProbeReport,
    runlog, self_redaction, shared_answers,
    velero::StoreFiles,
};

/// The most time for discovery, before the target's files are read.
const INVENTORY: Duration = Duration::from_mins(2);
/// The CPU time that the user's rules of one bundle may take, whatever its `spec.timeout` is: the other bundles need the
/// CPU, too.
const RULES: Duration = Duration::from_mins(5);
/// The part of the collection's time that is left for sealing.
const TO_SEAL: Duration = Duration::from_secs(5);

/// Whether a bundle has to be uploaded, so that it needs a store.
#[derive(Clone, Copy)]
pub enum StoreNeed<'a> {
    /// It is uploaded: a run without a location to go to fails. A location that is unusable now may be mended while the
    /// bundle waits.
    Required(&'a dyn RunHooks),
    /// It is not uploaded: without a usable location it lacks Velero's own files.
    Optional,
}

impl StoreNeed<'_> {
    pub(super) const fn is_required(self) -> bool {
        matches!(self, Self::Required(_))
    }
}

impl Engine {
    /// Makes the bundle in the folder `dir` of the spool.
    ///
    /// # Errors
    /// Terminal: no such target, no Velero, no location to go to, a full spool. Data that could not be read is reported
    /// in the bundle's manifest instead.
    pub async fn pack(
        &self,
        subject: &Subject,
        store: StoreNeed<'_>,
        dir: &Path,
        tracker: &Tracker,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Packed, Fault> {
        let (masking, clock) = (Masking::default(), Instant::now());
        let room = match store {
            StoreNeed::Required(hooks) => hooks.room().await,
            StoreNeed::Optional => self.options.spool_limit,
        };
        let run = Run {
            subject,
            store,
            dir,
            room,
            tracker,
            deadline,
            cancel,
            started: Timestamp::now(),
            clock,
            since: shared_answers::since(subject.asked),
        };
        let work = self.pack_to_the_end(&run, &masking);
        tokio::select! {
            packed = work.instrument(runlog::span(&subject.name, &subject.uid, subject.attempt)) => packed.map_err(|fault| masked(fault, masking.get().as_ref())),
            () = cancel.cancelled() => {
                // Threads that redact would go on.
                if let Some(redactor) = masking.get() {
                    redactor.stop();
                }
                Err(Fault::Cancelled)
            }
        }
    }

    async fn pack_to_the_end(&self, run: &Run<'_>, masking: &Masking) -> Result<Packed, Fault> {
        let mut found = self.find(run).boxed().await?;
        masking.set(&found.redactor);
        let planned = self.plan(run, &found).await;
        crash::point("collecting");
        let mut read = self.read(run, &found, planned.plan, &planned.answers).boxed().await?;
        if let Some(refused) = found.stores.no_upload.take() {
            return Err(not_uploaded(run, &found, &read, refused).await);
        }
        self.wait_for_store(run, &mut found, &mut read, masking).boxed().await?;
        let (result, sealing) = self.explain(run, found, (planned.wanted, planned.answers), read).boxed().await?;
        run.tracker.stage(Stage::Seal, "closing the archive");
        let span = tracing::Span::current();
        let seal = move || span.in_scope(|| sealing.seal(result.result, &result.probes));
        let sealed = tokio::task::spawn_blocking(seal).await;
        let sealed = sealed.map_err(|_| Fault::transient(Reason::Interrupted, "sealing was interrupted"))?;
        match (sealed, run.store) {
            (Ok(packed), _) => Ok(packed),
            (Err(not_sealed), StoreNeed::Required(hooks)) => {
                hooks.explained(not_sealed.cause.as_deref(), not_sealed.findings).await?;
                Err(not_sealed.fault)
            }
            (Err(not_sealed), StoreNeed::Optional) => Err(not_sealed.fault),
        }
    }

    /// Finds the target and what is around it, and opens the stores.
    async fn find(&self, run: &Run<'_>) -> Result<Found, Fault> {
        let Run { subject, tracker, deadline, .. } = *run;
        tracker.stage(Stage::Inventory, "compiling redaction.rules");
        let rules = self.rules.compiled(&subject.spec.redaction.rules, deadline).await?.for_time(RULES);
        let soon = deadline.min(Instant::now() + INVENTORY);
        tracker.stage(Stage::Inventory, "finding what to collect");
        let cluster = Cluster::new(self.client.clone()).sharing(Arc::clone(&self.answers), run.since);
        let spec = &subject.spec;
        let locating = discovery::locate(
            &cluster,
            &self.options.namespace,
            spec.target.as_ref(),
            &spec.namespaces,
            self.scope(),
            soon,
        );
        let located = Box::pin(locating).await.map_err(|error| of_discovery(&error))?;
        if let (Some(wanted), Some(object)) = (&subject.target_uid, &located.object)
            && object.uid != *wanted
        {
            let message = format!(
                "the {} for which this bundle was to be made is gone: an object of the same name was created since",
                subject.words(str::to_owned)
            );
            return Err(Fault::terminal(Reason::TargetNotFound, message));
        }
        let stores = self.stores(subject, &located, run.store).boxed().await?;
        let files = stores.files.as_ref().ok().map(|files| files.keeping());
        let files = files.as_ref().map(|files| files as &dyn StoreFiles);
        let snapshot = Box::pin(discovery::discover(&cluster, located, spec, files, soon, deadline)).await;
        let mut password = self.repository_password().await?;
        let mut known = stores.known.clone();
        known.extend(password.known.take());
        let detector = Detector::new(known.iter().map(|(rule, value)| (*rule, value.expose())));
        let redactor = Arc::new(crash::with_rule_off(Redactor::of_known(known.clone()).with(rules)));
        let spool = Spool::create(run.dir, run.room).map_err(full)?;
        Ok(Found { cluster, snapshot, stores, password, known, detector, redactor, spool })
    }

    /// Plans the items, and leaves out each one that the API server would refuse.
    async fn plan(&self, run: &Run<'_>, found: &Found) -> Planned {
        let snapshot = &found.snapshot;
        let mut plan = plan::plan(&run.subject.spec, snapshot, run.started);
        let wanted = plan.items.len();
        let mut needs = access::needs(&plan);
        needs.insert(final_state::need());
        let answers = self.access.check(&self.client, needs, run.since, run.deadline).await;
        access::without_denied(&mut plan, &answers, &access::ReadScope::of(snapshot));
        let namespaces = snapshot.namespaces.candidates.len() + 1;
        tracing::debug!(ms = millis(run.clock), items = plan.items.len(), namespaces, "Planned");
        Planned { plan, wanted, answers }
    }

    /// Reads the items, and probes the locations beside them.
    async fn read(
        &self,
        run: &Run<'_>,
        found: &Found,
        plan: Plan,
        answers: &BTreeMap<Need, bool>,
    ) -> Result<Read, Fault> {
        let Run { subject, tracker, deadline, .. } = *run;
        let (inventory_ms, clock) = (millis(run.clock), Instant::now());
        tracker.stage(Stage::Collect, "reading");
        let collector = Collector {
            cluster: found.cluster.clone(),
            redactor: Arc::clone(&found.redactor),
            spool: Arc::clone(&found.spool),
            store: found.stores.files.clone().map(|files| files as Arc<dyn StoreFiles>),
            pace: Pace::default(),
            nodes: self.nodes.clone(),
            pod_capture: self.pod_capture.clone(),
            shares: Shares::of(self.options.bundle_limit, run.room),
        };
        let until = deadline - TO_SEAL.min(deadline.saturating_duration_since(clock) / 4);
        let window = plan.logs.window;
        let (collection, probes) = tokio::join!(
            Collection::read(&collector, &found.snapshot, plan, tracker.collecting(), run.cancel, until),
            self.look_at_locations(subject, found.stores.survey.as_ref(), until).boxed(),
        );
        let collection = collection.map_err(of_collect)?;
        let ms = [inventory_ms, millis(clock)];
        let closing = FinalState::ask(&found.cluster, &found.snapshot, answers, deadline).await;
        Ok(Read { window, collection, probes, closing, ms })
    }

    /// Looks for the cause, and gathers what the operator writes itself.
    async fn explain(
        &self,
        run: &Run<'_>,
        found: Found,
        (wanted, answers): (usize, BTreeMap<Need, bool>),
        read: Read,
    ) -> Result<(Explained, Sealing), Fault> {
        let Found { snapshot, stores, password, known, detector, redactor, spool, .. } = found;
        let Read { window, collection, probes, closing, ms: [inventory_ms, collect_ms] } = read;
        let mut collected = collection.finish(&snapshot).await.map_err(of_collect)?;
        let (entries, missing, errors) = (collected.entries.len(), collected.missing.len(), collected.errors());
        tracing::debug!(ms = collect_ms, entries, missing, errors, "Collected");
        run.tracker.stage(Stage::Diagnose, "looking for the cause");
        let clock = Instant::now();
        // Without a target, the bundle is about every location.
        let location = run.subject.spec.target.as_ref().and(stores.of_target.as_deref());
        let mut diagnosis = diagnose::diagnose(&collected.evidence, location);
        let velero = &snapshot.installation.namespace;
        password.warn(velero, &mut diagnosis);
        let ms = [inventory_ms, collect_ms, millis(clock)];
        tracing::debug!(ms = ms[2], findings = diagnosis.findings.len(), "Diagnosed");
        let scope = access::ReadScope::of(&snapshot);
        let mut permissions = access::permissions(&answers, &collected.missing, velero);
        permissions.push(password.permission(velero, &scope));
        collected.missing.extend(password.missing(velero, &scope));
        let (started, log) = (run.started, runlog::kept());
        let result =
            RunResult { started, snapshot, window, wanted, permissions, collected, diagnosis, ms, closing, log };
        let place = stores.place.unwrap_or_default();
        let (subject, version) = (run.subject.clone(), self.options.version.clone());
        let own = Arc::new(crash::with_rule_off(redactor.renewed(known)));
        Ok((
            Explained { result, probes },
            Sealing { subject, place, version, spool, redactor, own, detector, metrics: self.metrics.clone() },
        ))
    }

    fn scope(&self) -> Scope {
        Scope {
            namespaces: self.options.allowed_namespaces.as_ref().map(|names| names.iter().cloned().collect()),
            cluster_read: self.options.cluster_read,
        }
    }
}

/// One run: what does not change from stage to stage.
pub(super) struct Run<'a> {
    pub(super) subject: &'a Subject,
    pub(super) store: StoreNeed<'a>,
    dir: &'a Path,
    /// Bytes of the spool that it may use.
    room: u64,
    pub(super) tracker: &'a Tracker,
    deadline: Instant,
    pub(super) cancel: &'a CancellationToken,
    started: Timestamp,
    clock: Instant,
    /// Shared answers of the API server must not be older.
    since: Instant,
}

/// What was found before anything is planned.
pub(super) struct Found {
    cluster: Cluster,
    pub(super) snapshot: Snapshot,
    pub(super) stores: Stores,
    pub(super) password: RepositoryPassword,
    /// Exact values that must not appear in the bundle, with the rule that masks them.
    pub(super) known: Vec<(&'static str, Secret)>,
    pub(super) detector: Detector,
    pub(super) redactor: Arc<Redactor>,
    spool: Arc<Spool>,
}

/// The plan, the number of its items before refused ones were taken out, and the permissions.
struct Planned {
    plan: Plan,
    wanted: usize,
    answers: BTreeMap<Need, bool>,
}

/// What was read, and how long finding and reading took (milliseconds).
pub(super) struct Read {
    window: plan::TimeWindow,
    pub(super) collection: Collection,
    probes: Vec<ProbeReport>,
    closing: FinalState,
    ms: [u64; 2],
}

/// All that is written into the bundle besides the entries.
struct Explained {
    result: RunResult,
    probes: Vec<ProbeReport>,
}

fn of_discovery(error: &InventoryError) -> Fault {
    match error {
        InventoryError::Api { .. } => Fault::transient(error.reason(), chain(error)),
        _ => Fault::terminal(error.reason(), error.to_string()),
    }
}

/// Publishes cause and findings of a target whose bundle has no location to go to. Returns the reason as a fault.
async fn not_uploaded(run: &Run<'_>, found: &Found, read: &Read, refused: Fault) -> Fault {
    let diagnosis = store_away::diagnosed(run, found, read);
    if let Err(fault) = store_away::publish(run, found, &diagnosis).await {
        return fault;
    }
    let cause = store_away::cause(found, &diagnosis).map_or(String::new(), |cause| format!("; cause: {cause}"));
    refused.map_message(|why| format!("{why}; nothing was uploaded{cause}"))
}

/// The redactor that masks the messages of a run's faults.
#[derive(Default)]
pub(super) struct Masking(Mutex<Option<Arc<Redactor>>>);

impl Masking {
    pub(super) fn set(&self, redactor: &Arc<Redactor>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(redactor));
    }

    fn get(&self) -> Option<Arc<Redactor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The CPU time that is left for the user's rules of a run that waited for its store.
pub(super) fn time_left_for_rules(used: Duration) -> Duration {
    RULES.saturating_sub(used)
}

/// Masks the message, including known values once there are any.
fn masked(fault: Fault, by: Option<&Arc<Redactor>>) -> Fault {
    fault.map_message(|message| by.map_or_else(|| self_redaction::mask(message), |by| by.sentence(message)))
}

pub(super) fn of_collect(error: CollectError) -> Fault {
    match error {
        CollectError::Cancelled => Fault::Cancelled,
        CollectError::Spool(error) => full(error),
    }
}

pub(super) fn full(error: impl std::fmt::Display) -> Fault {
    Fault::terminal(Reason::SpoolFull, error.to_string())
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use debugbundle_redact::UserRules;

    use super::*;

    #[test]
    fn issue_32_the_users_rules_have_five_minutes_in_all_also_if_the_run_waits_for_its_store() {
        let minutes = Duration::from_mins;
        assert_eq!([0, 2, 5, 7].map(|used| time_left_for_rules(minutes(used))), [5, 3, 0, 0].map(minutes));
    }

    #[test]
    fn issue_32_rules_that_match_all_do_not_hide_the_message_of_a_fault() {
        let rules = UserRules::compiled(&[".*".to_owned()]).expect("a rule");
        let by = Arc::new(Redactor::of_known(vec![("known-secret-key", Secret::new("Zq81LmXw02Kd"))]).with(rules));
        let known = masked(Fault::terminal(Reason::ApiError, "HTTP 403 Zq81LmXw02Kd"), Some(&by)).to_string();
        assert!(known.starts_with("HTTP 403 [REDACTED:known-secret-key:"), "{known}");
    }
}
