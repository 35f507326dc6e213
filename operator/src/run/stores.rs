//! The stores of a run: the bundle's, and the one with Velero's files of the target. An unusable store is a fact about
//! the target, not the end of the run.

use std::sync::Arc;

use debugbundle_crd::Reason;
use debugbundle_redact::Secret;

use super::{
    Destination, Engine, Origin, StoreNeed, Subject,
    destination::{self, ObjectAddress, Survey, in_time},
    locations,
};
use crate::{
    discovery::Located,
    error::Fault,
    location::{self, Location},
    probe_step::ProbeStep,
    store,
    velero::{CachedFiles, PromptFiles, StoreFailure},
};

/// What a run must know about its stores before it collects.
pub(super) struct Stores {
    /// The locations; `None` if they could not be read.
    pub(super) survey: Option<Survey>,
    /// Where the bundle is meant to go.
    pub(super) place: Option<ObjectAddress>,
    /// Velero's files of the target.
    pub(super) files: Result<Arc<CachedFiles>, StoreFailure>,
    /// Why their store could not be opened, and the step that failed.
    pub(super) unopened: Option<(Reason, Option<ProbeStep>)>,
    /// Name of the location of these files.
    pub(super) of_target: Option<String>,
    /// Exact values that must not appear in the bundle, with the rule that masks them.
    pub(super) known: Vec<(&'static str, Secret)>,
    /// Why the bundle of an automatic run is not uploaded: its location is ReadOnly or cannot be used. `None`: the
    /// bundle is uploaded, or the run needs no location.
    pub(super) no_upload: Option<Fault>,
}

impl Engine {
    /// Opens the stores of a run.
    ///
    /// # Errors
    /// The run needs a location and has none, or the API server does not return the values that must be masked.
    pub(super) async fn stores(
        &self,
        subject: &Subject,
        located: &Located,
        store: StoreNeed<'_>,
    ) -> Result<Stores, Fault> {
        let survey = match destination::survey(subject, located) {
            Ok(survey) => survey,
            Err(fault) if store.is_required() => return Err(fault),
            Err(fault) => {
                return Ok(Stores {
                    survey: None,
                    place: None,
                    files: Err(failure(&fault)),
                    unopened: Some((fault.reason(), fault.step())),
                    of_target: None,
                    known: Vec::new(),
                    no_upload: None,
                });
            }
        };
        let mut no_upload = match self.refuse_the_hopeless(subject, &survey) {
            Err(_) if !store.is_required() => None,
            // No user waits for this bundle: cause and findings are published without it.
            Err((fault @ Fault::Terminal { .. }, _)) if subject.origin == Origin::Automatic => Some(fault),
            Err((fault, cure)) => return Err(fault.map_message(|why| format!("{why}{cure}"))),
            Ok(()) => None,
        };
        let chosen = survey.chosen.as_ref().map(|chosen| chosen.name.clone()).map_err(Clone::clone);
        // A location that does not exist cannot hold files; another one is asked instead, and may not find them.
        let of_target = survey.of_target.clone().filter(|name| survey.named(name).is_some());
        let source = of_target.map_or_else(|| chosen.clone(), Ok);
        let mut known = Vec::new();
        let mut unopened = None;
        let mut files = Err(StoreFailure::Unreachable { why: "the store was not contacted".to_owned() });
        let is = |which: &Result<String, Fault>, location: &Location| which.as_ref().is_ok_and(|n| *n == location.name);
        for location in survey.all.iter().filter(|location| is(&chosen, location) || is(&source, location)) {
            let opened = in_time(Box::pin(self.open(subject, location, survey.server.as_ref()))).await;
            if let Err(fault @ Fault::Transient { reason: Reason::ApiError, .. }) = &opened
                && store.is_required()
            {
                return Err(fault.clone());
            }
            if let Err(fault) = &opened
                && fault.reason() == Reason::SecretForbidden
                && is(&chosen, location)
                && store.is_required()
            {
                if subject.origin != Origin::Automatic {
                    return Err(fault.clone().map_message(|why| format!("{why}; nothing was collected")));
                }
                no_upload.get_or_insert_with(|| fault.clone());
            }
            known.extend(match &opened {
                Ok(destination) => destination.known.clone(),
                Err(_) => self.known_of(&survey, location).await?,
            });
            if is(&source, location) {
                let cached = |destination: Destination| {
                    let files = destination.files();
                    // A run that can wait for its store without a place must not hold one for a silent store.
                    let prompt = || Arc::new(PromptFiles::new(Arc::clone(&files)));
                    Arc::new(CachedFiles::new(if store.is_required() { prompt() } else { files.clone() }))
                };
                unopened = opened.as_ref().err().map(|fault| (fault.reason(), fault.step()));
                files = opened.map(cached).map_err(|fault| failure(&fault));
            }
        }
        if let Err(fault) = &source {
            files = Err(failure(fault));
        }
        // The keys of every probed location are masked: they may occur in logs.
        for (location, uses) in locations::looked_at(subject, &survey) {
            if uses.is_empty() {
                known.extend(self.known_of(&survey, location).await?);
            }
        }
        Ok(Stores {
            place: self.place(subject, &survey),
            survey: Some(survey),
            files,
            unopened,
            of_target: source.ok(),
            known,
            no_upload,
        })
    }

    /// Ends a run before the collection if its bundle can go nowhere: the location itself is wrong, and waiting does
    /// not mend that. What it refers to (Secret, host, bucket, permission) may be mended while a sealed bundle waits.
    /// The text completes the fault's message for a user who asked for the bundle.
    fn refuse_the_hopeless(&self, subject: &Subject, survey: &Survey) -> Result<(), (Fault, String)> {
        if destination::awaited(subject, survey).is_some() {
            return Ok(());
        }
        let chosen = survey.chosen.as_ref().map_err(|fault| (fault.clone(), String::new()))?;
        let sound = |location: &Location| {
            store::configured(location, self.options.endpoints).map_err(destination::fault)?;
            self.key(subject, location).map(drop)
        };
        sound(chosen).map_err(|fault| {
            let fit = survey.all.iter().filter(|other| other.is_proposed() && sound(other).is_ok());
            let fit: Vec<String> = fit.map(|other| other.name.clone()).collect();
            let or = match fit.as_slice() {
                [] => String::new(),
                fit => format!(", or name another one in spec.storageLocation ({}),", location::listed(fit)),
            };
            let cure = format!(
                "; nothing was collected: correct the location{or} and create another DebugBundle; kubectl debugbundle \
                 collect needs no location"
            );
            (fault, cure)
        })
    }

    /// The secret values of a location. If it is unusable as it is, the possibly secret values in the Secrets that it
    /// names: they may hold good keys all the same.
    async fn known_of(&self, survey: &Survey, location: &Location) -> Result<Vec<(&'static str, Secret)>, Fault> {
        let (namespace, server) = (&self.options.namespace, survey.server.as_ref());
        in_time(async {
            let policy = self.options.endpoints;
            if let Ok(resolved) = store::resolve(&self.client, namespace, location, server, policy).await {
                return Ok(resolved.known_values());
            }
            let examined = store::examine(&self.client, namespace, location, server).await;
            Ok(examined.into_iter().flat_map(|examined| examined.values).collect())
        })
        .await
    }
}

fn failure(fault: &Fault) -> StoreFailure {
    let why = fault.to_string();
    match fault {
        Fault::Transient { .. } => StoreFailure::Unreachable { why },
        // The Secret may be mended in a moment.
        Fault::Terminal { reason: Reason::CredentialInvalid, .. } => StoreFailure::NotAccepted { why },
        _ => StoreFailure::Denied { why, cure: "correct the BackupStorageLocation or its credential".to_owned() },
    }
}
