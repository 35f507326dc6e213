//! The first half of a run, stage by stage: find, plan, read, explain. The result, by way of [`super::sealing`], is a
//! [`Packed`] bundle.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use debugbundle_archive::Spool;
use debugbundle_crd::{Reason, Stage};
use debugbundle_format::manifest::Need;
use debugbundle_redact::Redactor;
use debugbundle_redact_check::Detector;
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Engine, Packed, Subject, Tracker,
    final_state::{self, FinalState},
    head::RunResult,
    password::RepositoryPassword,
    sealing::Sealing,
    stores::Stores,
};
use crate::{
    access,
    budget::Shares,
    cluster::{Cluster, chain},
    collect::{self, CollectError, Collected, Collector, Pace},
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
/// The part of the collection's time that is left for sealing.
const TO_SEAL: Duration = Duration::from_secs(5);

/// Whether a bundle has to be uploaded, so that it needs a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreNeed {
    /// It is uploaded: a run without a location to go to fails. A location that is unusable now may be mended while the
    /// sealed bundle waits.
    Required,
    /// It is not uploaded: without a usable location it lacks Velero's own files.
    Optional,
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
        store: StoreNeed,
        dir: &Path,
        tracker: &Tracker,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Packed, Fault> {
        let (masking, clock) = (OnceLock::new(), Instant::now());
        let run = Run {
            subject,
            store,
            dir,
            tracker,
            deadline,
            cancel,
            started: Timestamp::now(),
            clock,
            since: shared_answers::since(subject.asked),
            time_for_rules: deadline.saturating_duration_since(clock) / 2,
        };
        let work = self.pack_to_the_end(&run, &masking);
        tokio::select! {
            packed = work.instrument(runlog::span(&subject.name, &subject.uid, subject.attempt)) => packed.map_err(|fault| masked(fault, masking.get())),
            () = cancel.cancelled() => {
                // Threads that redact would go on.
                if let Some(redactor) = masking.get() {
                    redactor.stop();
                }
                Err(Fault::Cancelled)
            }
        }
    }

    async fn pack_to_the_end(&self, run: &Run<'_>, masking: &OnceLock<Arc<Redactor>>) -> Result<Packed, Fault> {
        let found = self.find(run).boxed().await?;
        // Set only here, so this cannot fail.
        let _ = masking.set(Arc::clone(&found.redactor));
        let planned = self.plan(run, &found).await;
        crash::point("collecting");
        let read = self.read(run, &found, planned.plan).boxed().await?;
        let (result, sealing) = self.explain(run, found, (planned.wanted, planned.answers), read).await;
        run.tracker.stage(Stage::Seal, "closing the archive");
        let span = tracing::Span::current();
        let seal = move || span.in_scope(|| sealing.seal(result.result, &result.probes));
        tokio::task::spawn_blocking(seal).await.map_err(|_| Fault::Transient {
            reason: Reason::Interrupted,
            message: "sealing was interrupted".to_owned(),
        })?
    }

    /// Finds the target and what is around it, and opens the stores.
    async fn find(&self, run: &Run<'_>) -> Result<Found, Fault> {
        let Run { subject, tracker, deadline, .. } = *run;
        tracker.stage(Stage::Inventory, "compiling redaction.rules");
        let rules = self.rules.compiled(&subject.spec.redaction.rules, deadline).await?.for_time(run.time_for_rules);
        let soon = deadline.min(Instant::now() + INVENTORY);
        tracker.stage(Stage::Inventory, "finding what to collect");
        let cluster = Cluster::new(self.client.clone()).sharing(Arc::clone(&self.answers), run.since);
        let spec = &subject.spec;
        let located = discovery::locate(
            &cluster,
            &self.options.namespace,
            spec.target.as_ref(),
            &spec.namespaces,
            self.scope(),
            soon,
        );
        let refs = Box::pin(located).await.map_err(|error| of_discovery(&error))?;
        let stores = self.stores(subject, &refs, run.store).boxed().await?;
        let files = stores.files.as_ref().ok().map(|files| files.keeping());
        let files = files.as_ref().map(|files| files as &dyn StoreFiles);
        let snapshot = Box::pin(discovery::discover(&cluster, refs, spec, files, soon, deadline)).await;
        let mut password = self.repository_password().await?;
        let mut known = stores.known.clone();
        known.extend(password.known.take());
        let detector = Detector::new(known.iter().map(|(rule, value)| (*rule, value.expose())));
        let redactor = Arc::new(crash::with_rule_off(Redactor::of_known(known).with(rules)));
        let spool = Spool::create(run.dir, self.options.spool_limit).map_err(full)?;
        Ok(Found { cluster, snapshot, stores, password, detector, redactor, spool })
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
    async fn read(&self, run: &Run<'_>, found: &Found, plan: Plan) -> Result<Read, Fault> {
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
            shares: Shares::of(self.options.bundle_limit, self.options.spool_limit),
        };
        let until = deadline - TO_SEAL.min(deadline.saturating_duration_since(clock) / 4);
        let window = plan.logs.window;
        let (collected, probes) = tokio::join!(
            collect::collect(&collector, &found.snapshot, plan, tracker.collecting(), run.cancel, until),
            self.look_at_locations(subject, found.stores.survey.as_ref(), until).boxed(),
        );
        let collected = collected.map_err(of_collect)?;
        fast_enough(&found.redactor, run.time_for_rules)?;
        let (entries, missing, errors) = (collected.entries.len(), collected.missing.len(), collected.errors());
        tracing::debug!(ms = millis(clock), entries, missing, errors, "Collected");
        Ok(Read { window, collected, probes, ms: [inventory_ms, millis(clock)] })
    }

    /// Looks for the cause, and gathers what the operator writes itself.
    async fn explain(
        &self,
        run: &Run<'_>,
        found: Found,
        (wanted, answers): (usize, BTreeMap<Need, bool>),
        read: Read,
    ) -> (Explained, Sealing) {
        let Found { cluster, snapshot, stores, password, detector, redactor, spool } = found;
        let Read { window, mut collected, probes, ms: [inventory_ms, collect_ms] } = read;
        let closing = FinalState::ask(&cluster, &snapshot, &answers, run.deadline).await;
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
        (Explained { result, probes }, Sealing { subject, place, version, spool, redactor, detector })
    }

    fn scope(&self) -> Scope {
        Scope {
            namespaces: self.options.allowed_namespaces.as_ref().map(|names| names.iter().cloned().collect()),
            cluster_read: self.options.cluster_read,
        }
    }
}

/// One run: what does not change from stage to stage.
struct Run<'a> {
    subject: &'a Subject,
    store: StoreNeed,
    dir: &'a Path,
    tracker: &'a Tracker,
    deadline: Instant,
    cancel: &'a CancellationToken,
    started: Timestamp,
    clock: Instant,
    /// Shared answers of the API server must not be older.
    since: Instant,
    time_for_rules: Duration,
}

/// What was found before anything is planned.
struct Found {
    cluster: Cluster,
    snapshot: Snapshot,
    stores: Stores,
    password: RepositoryPassword,
    detector: Detector,
    redactor: Arc<Redactor>,
    spool: Arc<Spool>,
}

/// The plan, the number of its items before refused ones were taken out, and the permissions.
struct Planned {
    plan: Plan,
    wanted: usize,
    answers: BTreeMap<Need, bool>,
}

/// What was read, and how long finding and reading took (milliseconds).
struct Read {
    window: plan::TimeWindow,
    collected: Collected,
    probes: Vec<ProbeReport>,
    ms: [u64; 2],
}

/// All that is written into the bundle besides the entries.
struct Explained {
    result: RunResult,
    probes: Vec<ProbeReport>,
}

fn of_discovery(error: &InventoryError) -> Fault {
    match error {
        InventoryError::Api { .. } => Fault::Transient { reason: error.reason(), message: chain(error) },
        _ => Fault::terminal(error.reason(), error.to_string()),
    }
}

/// Fails once the user's rules took all of their time: lines since then are masked whole.
fn fast_enough(redactor: &Redactor, time: Duration) -> Result<(), Fault> {
    if !redactor.rules_are_too_slow() {
        return Ok(());
    }
    let message = format!(
        "redaction.rules: matching the rules took {} s, half of spec.timeout; simplify the rules, above all those \
         that begin with `.*` or a repetition, or raise spec.timeout",
        time.as_secs()
    );
    Err(Fault::terminal(Reason::InvalidSpec, message))
}

/// Masks the message by all rules of the run, including known values, once there are any.
fn masked(fault: Fault, by: Option<&Arc<Redactor>>) -> Fault {
    fault.map_message(|message| by.map_or_else(|| self_redaction::mask(message), |by| by.text(message)))
}

fn of_collect(error: CollectError) -> Fault {
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
