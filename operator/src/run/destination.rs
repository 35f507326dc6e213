//! Where a bundle goes: the location, its credential read anew, the store behind it, and the key. The key is always
//! computed, never taken from status, which others can write.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use debugbundle_crd::{Bundle, Reason};
use debugbundle_redact::Secret;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{Engine, Origin, Subject};
use crate::{
    cluster::{Cluster, ClusterError},
    collect::FromStore,
    decide,
    discovery::{self, Gaps, InventoryError, Located, Locations, Scope},
    error::Fault,
    location::{
        self, AccessMode, Location,
        deployment::{FileKey, Server},
    },
    probe::ProbeStep,
    self_redaction,
    status::whole_seconds,
    store::{self, EXPIRES, Key, KeyError, Signed, Store, StoreError},
    velero::StoreFiles,
};

/// Timeout for finding the destination.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Timeout for a store to return its region: well within [`PATIENCE`], which also covers the requests before.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// The destination of one bundle.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The location.
    pub location: Location,
    /// The store behind it.
    pub store: Arc<dyn Store>,
    /// The object's key.
    pub key: Key,
    /// Exact values that must not appear in the bundle, with the rule that masks them.
    pub known: Vec<(&'static str, Secret)>,
    /// As in [`OpenStore`].
    pub assumption: &'static str,
}

impl Destination {
    /// Bucket or container.
    pub fn bucket(&self) -> &str {
        &self.location.bucket
    }

    /// Velero's own files in the same store.
    pub fn files(&self) -> Arc<dyn StoreFiles> {
        Arc::new(FromStore::new(self.store.clone(), self.location.prefix.clone()))
    }

    /// Masks the credential in a text about this destination: a store's answer may contain it.
    pub fn mask(&self, text: &str) -> String {
        self_redaction::mask_known(&self.known, text)
    }

    /// That a bundle was stored elsewhere, as a clause: bucket or prefix of the location were changed since. Status says
    /// where, which others can write, so this serves only a message.
    pub fn was_elsewhere(&self, stored: &Bundle) -> Option<String> {
        let is_elsewhere =
            !stored.key.is_empty() && (stored.bucket != self.bucket() || stored.key != self.key.as_str());
        let (bucket, key, location) = (&stored.bucket, &stored.key, &self.location.name);
        is_elsewhere.then(|| {
            format!("it was stored in bucket {bucket} at {key}, and BackupStorageLocation {location} has another bucket or prefix now")
        })
    }

    /// Signs a download URL.
    pub async fn sign(&self, ttl: Duration, now: Timestamp) -> Result<Signed, StoreError> {
        self.store.sign(&self.key, ttl, now).await
    }
}

/// Where a bundle is meant to go, whether or not that place is usable now.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectAddress {
    /// Name of the location.
    pub(super) location: String,
    /// Bucket or container.
    pub(super) bucket: String,
    /// The object's key; empty while the location's prefix allows none.
    pub(super) key: String,
}

/// The locations of Velero's namespace, as one run found them.
pub(super) struct Survey {
    /// All locations that can be parsed.
    pub(super) all: Vec<Location>,
    /// Velero's Deployment.
    pub(super) server: Option<Value>,
    /// Name of the location that holds Velero's files of the target.
    pub(super) of_target: Option<String>,
    /// The location that the bundle goes to.
    pub(super) chosen: Result<Location, Fault>,
}

impl Survey {
    /// The location of that name.
    pub(super) fn named(&self, name: &str) -> Option<&Location> {
        self.all.iter().find(|location| location.name == name)
    }
}

/// The BackupStorageLocations of Velero's namespace.
#[derive(Debug, Default)]
pub struct LocationsFound {
    /// The locations that can be parsed.
    pub all: Vec<Location>,
    /// Why the other locations cannot be used, by name.
    pub unusable: BTreeMap<String, Fault>,
    /// Velero's Deployment.
    pub server: Option<Value>,
}

/// The store of a location, opened with its credential.
#[derive(Clone, Debug)]
pub struct OpenStore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Exact values that must not appear anywhere, with the rule that masks them.
    pub known: Vec<(&'static str, Secret)>,
    /// What was assumed about the credential that Velero uses: a clause behind a sentence; empty if nothing was.
    pub assumption: &'static str,
}

type StoreAndKnown = (Arc<dyn Store>, Vec<(&'static str, Secret)>);

impl OpenStore {
    /// Masks the credential in a text about this store.
    pub fn mask(&self, text: &str) -> String {
        self_redaction::mask_known(&self.known, text)
    }
}

impl Engine {
    /// Finds the location of this name as it is now, else the one that [`survey`] chooses, and opens it.
    ///
    /// # Errors
    /// Terminal, with the reason of `LocationError`, if a person has to mend something.
    pub async fn destination(&self, subject: &Subject, location: Option<&str>) -> Result<Destination, Fault> {
        in_time(async {
            let survey = self.survey_now(subject, location).await?;
            self.open(subject, survey.chosen.as_ref().map_err(Clone::clone)?, survey.server.as_ref()).await
        })
        .boxed()
        .await
    }

    async fn survey_now(&self, subject: &Subject, location: Option<&str>) -> Result<Survey, Fault> {
        let (cluster, namespace) = (Cluster::new(self.client.clone()), &self.options.namespace);
        let deadline = Instant::now() + PATIENCE;
        // The destination of a sealed bundle is known: the target is not read for each try.
        if let (None, Some(target)) = (location, &subject.spec.target) {
            match discovery::locate(&cluster, namespace, Some(target), &[], Scope::everything(), deadline).await {
                Ok(located) => return survey(subject, &located),
                Err(InventoryError::Api { what, source }) => return Err(unread(&what, &source)),
                Err(_) => {}
            }
        }
        let (locations, gaps) = discovery::locations(&cluster, namespace, deadline).await;
        survey_of(subject, &locations, &gaps, None, location)
    }

    /// Opens the store of the location of this name as it is now, for reading: the location may be ReadOnly.
    ///
    /// # Errors
    /// As [`Self::destination`].
    pub(super) async fn source(&self, subject: &Subject, location: &str) -> Result<Destination, Fault> {
        in_time(async {
            let survey = self.survey_now(subject, Some(location)).await?;
            match survey.named(location) {
                Some(location) => self.open(subject, location, survey.server.as_ref()).await,
                None => Err(survey.chosen.err().unwrap_or(Fault::Lost)),
            }
        })
        .boxed()
        .await
    }

    /// All locations of Velero's namespace.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn locations(&self) -> Result<LocationsFound, Fault> {
        in_time(async {
            let (cluster, deadline) = (Cluster::new(self.client.clone()), Instant::now() + PATIENCE);
            let (locations, gaps) = discovery::locations(&cluster, &self.options.namespace, deadline).await;
            usable(&locations, &gaps)
        })
        .await
    }

    /// Where the bundle goes: the chosen location, its bucket and the key.
    pub(super) fn place(&self, subject: &Subject, survey: &Survey) -> Option<ObjectAddress> {
        let Ok(chosen) = survey.chosen.as_ref() else {
            let location = awaited(subject, survey)?.to_owned();
            return Some(ObjectAddress { location, ..ObjectAddress::default() });
        };
        Some(ObjectAddress {
            location: chosen.name.clone(),
            bucket: chosen.bucket.clone(),
            key: self.key(subject, chosen).map_or(String::new(), |key| key.as_str().to_owned()),
        })
    }

    /// The key of a run's bundle in this location. A bundle that an earlier version stored keeps the key of that
    /// version.
    ///
    /// # Errors
    /// `LocationInvalid`: its prefix does not allow a key.
    pub(super) fn key(&self, subject: &Subject, location: &Location) -> Result<Key, Fault> {
        let (prefix, target) = (&location.prefix, subject.spec.target.as_ref());
        let invalid = |error: KeyError| fault(location.invalid(error.to_string()));
        let earlier = Key::of_earlier(prefix, target, &subject.name, &subject.uid).map_err(invalid)?;
        if subject.recorded_key.as_deref() == Some(earlier.as_str()) {
            return Ok(earlier);
        }
        Key::of(prefix, self.installation()?, target, &subject.name, &subject.uid).map_err(invalid)
    }

    /// Reads what the location refers to, and creates a client for its store and the bundle's key.
    pub(super) async fn open(
        &self,
        subject: &Subject,
        location: &Location,
        server: Option<&Value>,
    ) -> Result<Destination, Fault> {
        let key = self.key(subject, location)?;
        let OpenStore { store, known, assumption } = self.open_store(location, server).await?;
        Ok(Destination { location: location.clone(), store, key, known, assumption })
    }

    /// Waits until a Secret of the location has changed since it was last read; never, if a change cannot cure this.
    pub(super) async fn secret_changed(&self, location: &str, reason: Reason) {
        match reason {
            Reason::CredentialInvalid | Reason::UploadDenied => {
                self.secrets.changed(&self.client, &self.options.namespace, location).await;
            }
            _ => std::future::pending().await,
        }
    }

    /// Reads what the location refers to, and creates a client for its store.
    ///
    /// # Errors
    /// As [`Self::destination`].
    pub async fn open_store(&self, location: &Location, server: Option<&Value>) -> Result<OpenStore, Fault> {
        let assumption = FileKey::of(location, server.and_then(Server::of)).assumption();
        let opened = self.open_as_assumed(location, server).await;
        let (store, known) = opened.map_err(|fault| fault.map_message(|message| format!("{message}{assumption}")))?;
        Ok(OpenStore { store, known, assumption })
    }

    async fn open_as_assumed(&self, location: &Location, server: Option<&Value>) -> Result<StoreAndKnown, Fault> {
        let resolved = store::resolve_noting(
            &self.client,
            &self.options.namespace,
            location,
            server,
            self.options.endpoints,
            &self.secrets,
        )
        .await
        .map_err(fault)?;
        let mut known = resolved.known_values();
        let options = store::Options { single_put: self.options.multipart_threshold, ..Default::default() };
        let masked = |message: &str| self_redaction::mask_known(&known, message);
        let opening = async {
            let opened = resolved.open(options, self.detour.clone()).await;
            opened.map_err(|error| of_store(&error).map_message(masked))
        };
        let store = in_store_time(STORE_PATIENCE, opening).await?;
        if resolved.is_asked_for() {
            let own = async { Ok(store.known_values().await) };
            known.extend(in_store_time(STORE_PATIENCE, own).await.unwrap_or_default());
        }
        Ok((store, known))
    }
}

/// The location that the spec of an automatic bundle names, if it does not exist. No user is there to correct the spec:
/// the bundle is made, and its upload waits for the location.
pub(super) fn awaited<'a>(subject: &'a Subject, survey: &Survey) -> Option<&'a str> {
    let named = subject.spec.storage_location.as_deref().filter(|_| subject.origin == Origin::Automatic)?;
    survey.named(named).is_none().then_some(named)
}

/// The locations that a run uses: the bundle's is the one that the spec names, else the target's, else the default one.
///
/// # Errors
/// No Velero, or an API server that does not answer. If no location can be chosen, the survey contains that error.
pub(super) fn survey(subject: &Subject, located: &Located) -> Result<Survey, Fault> {
    let of_target = located.location().map_err(|error| unread("the target's Backup", error))?;
    survey_of(subject, &located.locations, &located.gaps, of_target, None)
}

fn survey_of(
    subject: &Subject,
    locations: &Locations,
    gaps: &Gaps,
    of_target: Option<&str>,
    asked: Option<&str>,
) -> Result<Survey, Fault> {
    let LocationsFound { mut all, mut unusable, server } = usable(locations, gaps)?;
    if subject.origin == Origin::Cli {
        // The CLI only reads from it.
        for location in &mut all {
            location.access = AccessMode::ReadWrite;
        }
    }
    let asked = asked.or(subject.spec.storage_location.as_deref());
    // A location that is gone may be why the target failed: the bundle then goes to the default one.
    let there = of_target.filter(|name| all.iter().any(|location| location.name == *name));
    let setting = match subject.origin {
        Origin::Automatic => "spec.template.storageLocation of the DebugBundlePolicy",
        Origin::Request | Origin::Cli => "spec.storageLocation",
    };
    let chosen = match asked.and_then(|name| unusable.remove(name)) {
        Some(fault) => Err(fault),
        None => location::choose(&all, asked, there, setting).cloned().map_err(fault),
    };
    Ok(Survey { server, of_target: of_target.map(str::to_owned), chosen, all })
}

/// Which locations can be used. No request can use one that cannot be parsed.
fn usable(locations: &Locations, gaps: &Gaps) -> Result<LocationsFound, Fault> {
    if let Some(lost) = gaps.of("backupstoragelocations") {
        if !lost.is_not_found() {
            return Err(unread("the BackupStorageLocations", lost));
        }
        // An earlier step reports that there is no Velero at all.
        let message = "the API server serves no BackupStorageLocations (velero.io/v1), so the bundle cannot be stored: \
                       apply the CustomResourceDefinitions of the installed Velero, velero install --crds-only";
        return Err(Fault::terminal(Reason::LocationNotFound, message));
    }
    // Without permission to list Deployments, only the location's own credential and the ambient identity are left.
    if let Some(lost) = gaps.of("deployments").filter(|lost| !lost.is_forbidden()) {
        return Err(unread("Velero's Deployment", lost));
    }
    let server = locations.servers.first().map(|server| server.deployment.clone());
    let mut found = LocationsFound { server, ..LocationsFound::default() };
    for location in &locations.all {
        match Location::parse(location) {
            Ok(location) => found.all.push(location),
            Err(error) => {
                let name = location["metadata"]["name"].as_str().unwrap_or_default();
                found.unusable.insert(name.to_owned(), fault(error));
            }
        }
    }
    Ok(found)
}

/// An answer of the API server that a run cannot do without.
fn unread(what: &str, error: &ClusterError) -> Fault {
    Fault::transient(Reason::ApiError, format!("{what} cannot be read: {error}"))
}

/// Limits the time of requests to the API server.
pub(super) async fn in_time<T>(questions: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(PATIENCE, questions).await.unwrap_or_else(|_| {
        let message =
            format!("the BackupStorageLocation and its credential could not be read within {} s", PATIENCE.as_secs());
        Err(Fault::transient(Reason::ApiError, message))
    })
}

/// The same for the store, whose silence is not the API server's: a run continues without it.
async fn in_store_time<T>(patience: Duration, opening: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(patience, opening).await.unwrap_or_else(|_| {
        let message = format!("the object store did not answer within {} s", patience.as_secs());
        Err(Fault::transient(Reason::StoreUnreachable, message).at(ProbeStep::Answer))
    })
}

/// A run's fault for a location's error.
pub(super) fn fault(error: location::LocationError) -> Fault {
    let (reason, message) = (error.reason(), error.to_string());
    match error {
        location::LocationError::Api { source, .. } if !is_refusal(&source) => {
            Fault::transient(reason, format!("{message}: {}", crate::error::api_sentence(&source)))
        }
        location::LocationError::Api { source, .. } => {
            Fault::terminal(reason, format!("{message}: {}", crate::error::api_sentence(&source)))
        }
        location::LocationError::Invalid { .. } => Fault::terminal(reason, message).at(ProbeStep::Configuration),
        location::LocationError::Credential { .. } | location::LocationError::Forbidden { .. } => {
            Fault::terminal(reason, message).at(ProbeStep::Credential)
        }
        location::LocationError::Absent { .. } => Fault::transient(reason, message).at(ProbeStep::Credential),
        _ => Fault::terminal(reason, message),
    }
}

fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden() || status.is_not_found())
}

/// A run's fault for a store's error.
pub(super) fn of_store(error: &StoreError) -> Fault {
    let (reason, message) = (error.reason(), error.message());
    // An upload id could not be recorded: the API server did not answer, or the claim is lost, which the next write
    // reports.
    let not_noted = matches!(error, StoreError::NotNoted(_));
    let fault = if error.is_transient() || error.wants_new_credential() || not_noted {
        Fault::transient(reason, message)
    } else {
        Fault::terminal(reason, message)
    };
    match error.step() {
        Some(step) => fault.at(step),
        None => fault,
    }
}

/// Metadata of the stored object, so that its essentials are known without unpacking it.
pub(super) fn notes(subject: &Subject, partial: bool, now: Timestamp) -> BTreeMap<String, String> {
    let outcome = if partial { "PartiallyFailed" } else { "Completed" };
    let mut notes =
        BTreeMap::from([("uid".to_owned(), subject.uid.clone()), ("outcome".to_owned(), outcome.to_owned())]);
    // Whole seconds, as in status, which is written later: the metadata never has the later end.
    if let Ok(expires) = now.checked_add(decide::ttl(&subject.spec)) {
        notes.insert(EXPIRES.to_owned(), whole_seconds(expires).to_string());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_store_is_the_stores_fault_and_not_the_api_servers() {
        let silent = std::future::pending::<Result<(), Fault>>();
        let fault = in_time(in_store_time(Duration::from_millis(1), silent)).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::StoreUnreachable, "{fault}");
    }
    #[test]
    fn issue_33_a_fault_names_the_step_that_failed_and_its_message_begins_with_it() {
        use crate::store::Answer;
        let skewed = |ahead| StoreError::Skewed { answer: Answer::default(), ahead };
        let dns = StoreError::Unreachable { at: ProbeStep::Dns, why: "DNS resolution failed: x".to_owned() };
        let not_accepted =
            StoreError::NotAccepted { cure: "x", answer: Answer::new(403, Some("SignatureDoesNotMatch")) };
        for (error, at, words) in [
            (dns, Some(ProbeStep::Dns), "DNS: the store is unreachable: DNS resolution failed: x"),
            (not_accepted, Some(ProbeStep::Identity), "credential: the store does not accept"),
            (skewed(Some(1199)), Some(ProbeStep::Clock), "clock is 20 min ahead of the operator's"),
            (skewed(Some(-90)), Some(ProbeStep::Clock), "clock is 90 s behind the operator's"),
            (skewed(None), Some(ProbeStep::Clock), "clock: "),
            (StoreError::Corrupt("x".to_owned()), None, "the object in the store differs"),
        ] {
            let (Fault::Terminal { step, message, .. } | Fault::Transient { step, message, .. }) = of_store(&error)
            else {
                panic!("{error}")
            };
            assert_eq!(step, at, "{message}");
            assert!(message.contains(words) && message.starts_with(step.map_or("the", ProbeStep::word)), "{message}");
        }
    }
}
