//! The stage between reading and explaining. While the store with Velero's files of the target does not answer, the
//! bundle is not sealed. The known cause and findings are published at once. When the store answers, its files are
//! read.

use std::{sync::Arc, time::Duration};

use debugbundle_crd::{FindingSummary, Reason, Stage};
use debugbundle_format::StoreFile;
use debugbundle_redact::UserRules;
use debugbundle_redact_check::Detector;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{
    Destination, Engine, StoreNeed,
    backoff::{Backoff, Failure, LONGEST_PAUSE},
    deliver::answered,
    destination,
    pack::{Found, Masking, Read, Run, of_collect, time_left_for_rules},
};
use crate::{
    crash,
    diagnose::{self, Diagnosis, Finding},
    error::Fault,
    probe_step::ProbeStep,
    velero::StoreFailure,
};

/// Time for reading the files once the store answers.
const READING: Duration = Duration::from_mins(5);

/// What a run asks of its caller, which owns its slot and its status, before the bundle is sealed.
pub trait RunHooks: Send + Sync {
    /// How many bytes of the spool the run may use.
    fn room(&self) -> BoxFuture<'_, u64>;
    /// Publishes cause and findings.
    fn explained<'a>(
        &'a self,
        cause: Option<&'a str>,
        findings: Vec<FindingSummary>,
    ) -> BoxFuture<'a, Result<(), Fault>>;
    /// Frees the run's slot, except for `keeps` bytes of the spool. Returns the deadline of the wait. Returns `None`,
    /// and keeps the slot, if too many runs wait already.
    fn begin_wait(&self, keeps: u64) -> BoxFuture<'_, Option<Instant>>;
    /// Publishes why the run waits.
    fn waits<'a>(&'a self, failure: &'a Failure) -> BoxFuture<'a, Result<(), Fault>>;
    /// Waits for a slot. Returns how many bytes of the spool the run may use.
    fn end_wait(&self) -> BoxFuture<'_, Result<u64, Fault>>;
}

impl Engine {
    /// If the store was away: waits for it, and then reads its files. After the deadline the run continues without
    /// them.
    pub(super) async fn wait_for_store(
        &self,
        run: &Run<'_>,
        found: &mut Found,
        read: &mut Read,
        masking: &Masking,
    ) -> Result<(), Fault> {
        let (StoreNeed::Required(hooks), Some(location)) = (run.store, found.stores.of_target.clone()) else {
            return Ok(());
        };
        let Some((reason, why)) = read.collection.store_is_away() else { return Ok(()) };
        let why = why.to_owned();
        let Some(deadline) = hooks.begin_wait(read.collection.needs()).await else {
            tracing::warn!(why, "Too many bundles wait for a store; this one is sealed without Velero's files");
            return Ok(());
        };
        publish(run, found, &diagnosed(run, found, read)).await?;
        // The compiled rules use memory that other runs need.
        let used = found.redactor.time_of_rules();
        use_rules(found, read, masking, UserRules::default());
        let key = found.stores.place.as_ref().map_or("", |place| &place.key);
        let backoff = self.backoffs.join(&location, key);
        let step = (reason == Reason::CredentialInvalid).then_some(ProbeStep::Identity);
        let (reason, step) = found.stores.unopened.unwrap_or((reason, step));
        let failure = backoff.failed(reason, step, why);
        let answers = self.until_it_answers(run, hooks, &location, &backoff, failure, deadline).await?;
        run.tracker.stage(Stage::Collect, "reading Velero's files");
        let room = hooks.end_wait().await?;
        let (rules, until) = (&run.subject.spec.redaction.rules, Instant::now() + READING);
        let rules = self.rules.compiled(rules, until).await?.for_time(time_left_for_rules(used));
        if let Some(store) = &answers {
            let new = store.known.iter().filter(|one| !found.known.contains(one)).cloned();
            let new: Vec<_> = new.collect();
            found.known.extend(new);
        }
        use_rules(found, read, masking, rules);
        if let Some(store) = answers {
            let read_again = read.collection.read_store_again(store.files(), room, run.cancel, until);
            read_again.await.map_err(of_collect)?;
        }
        Ok(())
    }

    /// The store behind the location as soon as it answers; `None` if it did not answer in time.
    async fn until_it_answers(
        &self,
        run: &Run<'_>,
        hooks: &dyn RunHooks,
        location: &str,
        backoff: &Backoff,
        mut failure: Failure,
        deadline: Instant,
    ) -> Result<Option<Destination>, Fault> {
        let again = format!("waiting for the store; the operator tries again within {} s", LONGEST_PAUSE.as_secs());
        run.tracker.stage(Stage::Diagnose, &again);
        loop {
            loop {
                hooks.waits(&failure).await?;
                let cured = self.secret_changed(location, failure.reason);
                let Some(newer) = backoff.wait(&failure, deadline, cured).await else { break };
                failure = newer;
            }
            if deadline <= Instant::now() {
                tracing::warn!(
                    location,
                    "The store did not answer in time; the bundle is sealed without Velero's files"
                );
                return Ok(None);
            }
            match self.store_that_answers(run, location).await {
                Ok(store) => {
                    backoff.works();
                    tracing::info!(location, "The store answers again");
                    return Ok(Some(store));
                }
                // No change of the store gives the operator the right to read the Secret.
                Err(fault) if fault.reason() == Reason::SecretForbidden => {
                    tracing::warn!(location, why = %fault, "The bundle is sealed without Velero's files");
                    return Ok(None);
                }
                Err(fault) => {
                    self.metrics.upload_retried(fault.step(), fault.reason());
                    failure = backoff.failed(fault.reason(), fault.step(), fault.to_string());
                }
            }
        }
    }

    /// Reads location and credential anew, and asks the store for an object that need not exist.
    async fn store_that_answers(&self, run: &Run<'_>, location: &str) -> Result<Destination, Fault> {
        let store = self.source(run.subject, location).await?;
        match answered(store.store.head(&store.key)).await {
            Err(error) if error.is_transient() => {
                Err(destination::of_store(&error).map_message(|message| store.mask(message)))
            }
            // The answer to a HEAD has no body that says whether the credential is what the store refuses.
            Err(_) if let Some(why) = not_accepted(run, &store).await => {
                let (reason, step) = (Reason::CredentialInvalid, Some(ProbeStep::Identity));
                Err(Fault::Transient { reason, step, message: store.mask(&why) })
            }
            // Another refusal is an answer, too: reading the files shows whether they are refused as well.
            _ => Ok(store),
        }
    }
}

/// Why the store does not accept the location's credential; `None` if it does, or says something else.
async fn not_accepted(run: &Run<'_>, store: &Destination) -> Option<String> {
    let target = run.subject.spec.target.as_ref()?;
    let files = store.files();
    let opened = tokio::time::timeout(READING, files.open(target.kind, &target.name, StoreFile::Log)).await;
    match opened {
        Ok(Err(StoreFailure::NotAccepted { why })) => Some(why),
        _ => None,
    }
}

/// The cause and findings as far as they are known before the collection is finished.
pub(super) fn diagnosed(run: &Run<'_>, found: &Found, read: &Read) -> Diagnosis {
    let location = run.subject.spec.target.as_ref().and(found.stores.of_target.as_deref());
    let mut diagnosis = diagnose::diagnose(read.collection.evidence(), location);
    found.password.warn(&found.snapshot.installation.namespace, &mut diagnosis);
    diagnosis
}

/// Publishes them, masked as in a sealed bundle.
pub(super) async fn publish(run: &Run<'_>, found: &Found, diagnosis: &Diagnosis) -> Result<(), Fault> {
    let StoreNeed::Required(hooks) = run.store else { return Ok(()) };
    let mut findings: Vec<FindingSummary> =
        diagnosis.findings.iter().take(Finding::IN_STATUS).map(Finding::in_short).collect();
    for finding in &mut findings {
        for text in [&mut finding.title, &mut finding.object, &mut finding.evidence] {
            *text = masked(found, text);
        }
    }
    hooks.explained(cause(found, diagnosis).as_deref(), findings).await
}

/// The cause, masked as in a sealed bundle.
pub(super) fn cause(found: &Found, diagnosis: &Diagnosis) -> Option<String> {
    diagnosis.cause.as_deref().map(|cause| masked(found, cause))
}

fn masked(found: &Found, text: &str) -> String {
    found.detector.masked(&found.redactor.sentence(text)).into_owned()
}

/// Redacts with these rules of the user and all known values from now on. A value keeps its token.
fn use_rules(found: &mut Found, read: &mut Read, masking: &Masking, rules: UserRules) {
    let redactor = found.redactor.renewed(found.known.clone()).with(rules);
    found.redactor = Arc::new(crash::with_rule_off(redactor));
    found.detector = Detector::new(found.known.iter().map(|(rule, value)| (*rule, value.expose())));
    read.collection.redact_with(&found.redactor);
    masking.set(&found.redactor);
}
