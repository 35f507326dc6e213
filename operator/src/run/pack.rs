//! The first half of a run: inventory, plan, collect, diagnose. The result, by way of [`super::sealing`], is a closed
//! and checked file in the spool and the few facts for status; both survive a crash of the process.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use debugbundle_archive::{OWNER_NOTE, Sealed, Spool};
use debugbundle_crd::{Bundle, FindingSummary, Reason, Stage, TargetKind};
use debugbundle_format::text;
use debugbundle_redact::Redactor;
use debugbundle_redact_check::Detector;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Destination, Engine, Subject, Tracker,
    destination::notes,
    final_state::{self, FinalState},
    head::RunResult,
    sealing::Sealing,
};
use crate::{
    access,
    budget::Shares,
    cluster::{Cluster, chain},
    collect::{self, CollectError, Collector, Pace, StoreFiles},
    crash, diagnose,
    error::Fault,
    inventory::{self, Inventory, InventoryError, Relevance, Scope},
    plan, runlog, self_redaction, shared_answers,
    status::UploadedBundle,
    store::Upload,
};

/// The most of the collection's time that the inventory may take.
const INVENTORY: Duration = Duration::from_mins(2);
/// The most time for reading the target's files, and the least time for reading the namespaces that they name.
const RESULTS: Duration = Duration::from_secs(30);
/// The part of the collection's time that is left for sealing.
const TO_SEAL: Duration = Duration::from_secs(5);

/// A sealed bundle and the facts for its status.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Packed {
    /// The archive.
    #[serde(skip)]
    pub(super) sealed: Option<Sealed>,
    /// Its top directory.
    pub root: String,
    /// The location it is meant for; empty if it is not uploaded.
    pub location: String,
    pub(super) bucket: String,
    pub(super) key: String,
    /// Number of wanted items that it lacks.
    pub missing: i64,
    pub(super) warnings: i64,
    /// The cause of the target's end.
    pub cause: Option<String>,
    /// The findings.
    pub findings: Vec<FindingSummary>,
}

impl Packed {
    /// The bundle that an earlier process packed in this folder, if it is complete.
    pub fn reopen(dir: &Path) -> Option<Self> {
        let sealed = Sealed::reopen(dir)?;
        let note = std::fs::read(dir.join(OWNER_NOTE)).ok()?;
        let packed: Self = serde_json::from_slice(&note).ok()?;
        Some(Self { sealed: Some(sealed), ..packed })
    }

    /// The archive.
    ///
    /// # Panics
    /// Never: both makers of a `Packed` set it.
    pub fn sealed(&self) -> &Sealed {
        self.sealed.as_ref().expect("pack and reopen set it")
    }

    /// The facts for status.
    pub fn outcome(&self) -> UploadedBundle {
        let sealed = self.sealed();
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let bundle = Bundle {
            storage_location: self.location.clone(),
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            bytes: number(sealed.bytes),
            size: text::human_bytes(sealed.bytes),
            sha256: sealed.sha256.clone(),
            entries: number(sealed.entries),
            manifest_offset: number(sealed.manifest_offset),
            manifest_length: number(sealed.manifest_length),
        };
        UploadedBundle { bundle, missing: self.missing, errors: self.missing, warnings: self.warnings }
    }

    /// The same bundle with this place: its location may have been mended since it was sealed.
    #[must_use]
    pub fn at(&self, destination: &Destination) -> Self {
        Self {
            location: destination.location.name.clone(),
            bucket: destination.bucket().to_owned(),
            key: destination.key.as_str().to_owned(),
            ..self.clone()
        }
    }

    /// Whether it was meant for this place.
    pub fn is_for(&self, destination: &Destination) -> bool {
        self.bucket == destination.bucket() && self.key == destination.key.as_str()
    }

    /// The upload of this bundle.
    pub fn upload(&self, subject: &Subject) -> Upload<'_> {
        let sealed = self.sealed();
        Upload {
            file: &sealed.file,
            bytes: sealed.bytes,
            sha256: &sealed.sha256,
            meta: notes(subject, self.missing > 0),
        }
    }
}

/// Whether a bundle needs a store to go to.
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
        let masking = OnceLock::new();
        let work = self.pack_to_the_end(subject, store, dir, tracker, deadline, cancel, &masking);
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

    #[allow(clippy::too_many_arguments, reason = "each is one thing that packing needs")]
    async fn pack_to_the_end(
        &self,
        subject: &Subject,
        store: StoreNeed,
        dir: &Path,
        tracker: &Tracker,
        deadline: Instant,
        cancel: &CancellationToken,
        masking: &OnceLock<Arc<Redactor>>,
    ) -> Result<Packed, Fault> {
        let started = Timestamp::now();
        let clock = Instant::now();
        tracker.stage(Stage::Inventory, "compiling redaction.rules");
        let time_for_rules = deadline.saturating_duration_since(clock) / 2;
        let rules = self.rules.compiled(&subject.spec.redaction.rules, deadline).await?.for_time(time_for_rules);
        let for_inventory = Instant::now() + INVENTORY;
        tracker.stage(Stage::Inventory, "finding out what there is");
        let since = shared_answers::since(subject.asked);
        let cluster = Cluster::new(self.client.clone()).sharing(Arc::clone(&self.answers), since);
        let mut inventory = self.inventory(&cluster, subject, deadline).await?;
        let stores = self.stores(subject, store).boxed().await?;
        let results_lead = match &stores.files {
            Ok(files) => take_up_files(&mut inventory, files.as_ref(), cluster.idle(), deadline).await,
            Err(_) => false,
        };
        inventory.touch_named(results_lead);
        // Namespaces that might have lost their place are read only now, in the rest of the time.
        let left = for_inventory.saturating_duration_since(Instant::now()).max(RESULTS);
        let limit = left.min(deadline.saturating_duration_since(Instant::now()));
        Box::pin(inventory::follow(&cluster, &mut inventory, limit)).await;
        let mut password = self.repository_password().await?;
        let mut known = stores.known.clone();
        known.extend(password.known.take());
        let detector = Detector::new(known.iter().map(|(rule, value)| (*rule, value.expose())));
        let redactor = Arc::new(crash::with_rule_off(Redactor::of_known(known).with(rules)));
        // Set only here, so this cannot fail.
        let _ = masking.set(Arc::clone(&redactor));
        let spool = Spool::create(dir, self.options.spool_limit).map_err(full)?;
        let mut plan = plan::plan(&subject.spec, &inventory, started);
        let wanted = plan.items.len();
        let mut needs = access::needs(&plan);
        needs.insert(final_state::need());
        let answers = self.access.check(&self.client, needs, since, deadline).await;
        let borders = access::ReadScope::of(&inventory);
        access::without_denied(&mut plan, &answers, &borders);
        let inventory_ms = millis(clock);
        tracing::debug!(
            ms = inventory_ms,
            items = plan.items.len(),
            namespaces = inventory.touched.len() + 1,
            "Planned"
        );
        crash::point("collecting");

        tracker.stage(Stage::Collect, "reading");
        let clock = Instant::now();
        let collector = Collector {
            cluster: cluster.clone(),
            redactor: Arc::clone(&redactor),
            spool: Arc::clone(&spool),
            store: stores.files.clone(),
            pace: Pace::default(),
            nodes: self.nodes.clone(),
            movers: self.movers.clone(),
            shares: Shares::of(self.options.bundle_limit, self.options.spool_limit),
        };
        let until = deadline - TO_SEAL.min(deadline.saturating_duration_since(clock) / 4);
        let collecting = tracker.collecting();
        let window = plan.logs.window;
        let (collected, locations) = tokio::join!(
            collect::collect(&collector, &inventory, plan, collecting, cancel, until),
            self.look_at_locations(subject, stores.survey.as_ref(), until).boxed(),
        );
        let mut collected = collected.map_err(of_collect)?;
        fast_enough(&redactor, time_for_rules)?;
        let closing = FinalState::ask(&cluster, &inventory, &answers, deadline).await;
        let collect_ms = millis(clock);
        tracing::debug!(
            ms = collect_ms,
            entries = collected.entries.len(),
            missing = collected.missing.len(),
            errors = collected.errors(),
            "Collected"
        );

        tracker.stage(Stage::Diagnose, "looking for the cause");
        let clock = Instant::now();
        // Without a target, the bundle is about every location.
        let location = subject.spec.target.as_ref().and(stores.of_target.as_deref());
        let mut diagnosis = diagnose::diagnose(&collected.evidence, location);
        password.warn(&inventory.namespace, &mut diagnosis);
        let ms = [inventory_ms, collect_ms, millis(clock)];
        tracing::debug!(ms = ms[2], findings = diagnosis.findings.len(), "Diagnosed");
        let mut permissions = access::told(&answers, &collected.missing, &inventory.namespace);
        permissions.push(password.permission(&inventory.namespace, &borders));
        collected.missing.extend(password.missing(&inventory.namespace, &borders));
        let log = runlog::kept();
        let found =
            RunResult { started, inventory, window, wanted, permissions, collected, diagnosis, ms, closing, log };

        tracker.stage(Stage::Seal, "closing the archive");
        let place = stores.place.unwrap_or_default();
        let sealing = Sealing {
            subject: subject.clone(),
            place,
            version: self.options.version.clone(),
            spool,
            redactor,
            detector,
        };
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || span.in_scope(|| sealing.seal(found, &locations))).await.map_err(|_| {
            Fault::Transient { reason: Reason::Interrupted, message: "sealing was interrupted".to_owned() }
        })?
    }

    async fn inventory(&self, cluster: &Cluster, subject: &Subject, deadline: Instant) -> Result<Inventory, Fault> {
        let scope = Scope {
            namespaces: self.options.allowed_namespaces.as_ref().map(|names| names.iter().cloned().collect()),
            cluster_read: self.options.cluster_read,
        };
        let limit = INVENTORY.min(deadline.saturating_duration_since(Instant::now()));
        let taken = inventory::take(cluster, &self.options.namespace, &subject.spec, scope, limit);
        Box::pin(taken).await.map_err(|error| match &error {
            InventoryError::Api { .. } => Fault::Transient { reason: error.reason(), message: chain(&error) },
            _ => Fault::terminal(error.reason(), error.to_string()),
        })
    }
}

/// Adds what the target's files name, in this order: claims and snapshots of failed volumes and operations; namespaces
/// in its results, whose quotas and events may explain the failure, though a warning may name many; namespaces in a
/// Restore's resource list, where restored pods may not come up. Returns whether the results name any.
async fn take_up_files(inventory: &mut Inventory, files: &dyn StoreFiles, idle: Duration, deadline: Instant) -> bool {
    let Some(target) = inventory.target.as_ref().filter(|target| target.files_may_be_there()) else { return false };
    let (kind, name) = (target.kind, target.name.clone());
    let troubled = target.phase != "Completed";
    let until = deadline.min(Instant::now() + RESULTS);
    let leads = collect::leads(files, kind, &name, idle, until).await;
    inventory.lead(&leads, &format!("volume info or item operations of {kind} {name}"));
    let mut results_lead = false;
    if troubled {
        let namespaces = collect::troubled_namespaces(files, kind, &name, idle, until).await;
        results_lead = !namespaces.texts.is_empty();
        let why = format!("results of {kind} {name}");
        inventory.touch(&namespaces.texts, namespaces.left_out, &why, Relevance::Trouble);
    }
    if kind == TargetKind::Restore {
        let (namespaces, more) = collect::restored_namespaces(files, &name, idle, until).await;
        let why = format!("resource list of {kind} {name}");
        inventory.touch(&namespaces, u64::from(more), &why, Relevance::Named);
    }
    results_lead
}

/// Fails once the user's rules took all of their time: lines since then are masked whole.
fn fast_enough(redactor: &Redactor, time: Duration) -> Result<(), Fault> {
    if !redactor.rules_are_too_slow() {
        return Ok(());
    }
    let message = format!(
        "redaction.rules: searching the rules took {} s, half of spec.timeout; simplify them, above all where `.*` or a \
         repetition begins a rule, or raise spec.timeout",
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
