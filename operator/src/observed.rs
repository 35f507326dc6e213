//! What the controller keeps of each DebugBundle between two looks at it: what a decision needs, and no more. However large
//! specs and statuses are, thousands of DebugBundles stay small.

use std::borrow::Cow;

use debugbundle_crd::{
    DebugBundle, FINALIZER, Phase, RENEW_URL_ANNOTATION, RENEW_URL_LIMIT, RESTORED_BY_LABEL, TRIGGER_LABEL,
    TRIGGER_REQUEST,
};
use jiff::Timestamp;
use kube::{Resource, ResourceExt as _, api::ObjectMeta, core::DeserializeGuard};

use crate::archive::path::hex_digest;

/// The part of a DebugBundle by which the controller decides what to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Name, namespace, UID, resourceVersion and generation alone.
    meta: ObjectMeta,
    /// When it was created.
    pub created: Timestamp,
    /// It is being deleted.
    pub deleting: bool,
    /// Our finalizer is on it.
    pub has_finalizer: bool,
    /// It came out of a Velero backup.
    pub restored: bool,
    /// The operator made it by itself.
    pub automatic: bool,
    /// It cannot be read as a DebugBundle; nothing else is known of it.
    pub malformed: bool,
    /// Its phase.
    pub phase: Phase,
    /// Attempts on record.
    pub attempts: i64,
    /// When bundle and resource go.
    pub expiration: Option<Timestamp>,
    /// When the URL in status ends; a URL without an end, which the operator never writes, has ended already.
    pub url_end: Option<Timestamp>,
    /// What the annotation that asks for a new URL says.
    pub asked: Option<Renewal>,
    /// What stands for the request that was answered last.
    pub answered: Option<String>,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
}

/// What the annotation `debugbundle.io/renew-url` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// A new URL, by this value.
    Url(String),
    /// Nothing: its value has so many characters. The digest stands for it, so that it is refused once.
    TooLong {
        /// Characters of the value.
        length: usize,
        /// Its SHA-256, hexadecimal.
        sha256: String,
    },
}

impl Renewal {
    /// Reads the annotation.
    pub fn of(bundle: &DebugBundle) -> Option<Self> {
        let value = bundle.annotations().get(RENEW_URL_ANNOTATION)?;
        let length = value.chars().count();
        Some(if length <= RENEW_URL_LIMIT {
            Self::Url(value.clone())
        } else {
            Self::TooLong { length, sha256: hex_digest(value.as_bytes()) }
        })
    }

    /// What stands for it in status once it is answered.
    pub fn mark(&self) -> String {
        match self {
            Self::Url(mark) | Self::TooLong { sha256: mark, .. } => mark.clone(),
        }
    }
}

impl Observed {
    /// What a decision needs of a DebugBundle.
    pub fn of(bundle: &DebugBundle) -> Self {
        let status = bundle.status.as_ref();
        let url_end = status
            .filter(|status| status.download_url.is_some())
            .map(|status| status.download_url_expiration.as_ref().map_or(Timestamp::MIN, |end| end.0));
        Self {
            phase: status.and_then(|status| status.phase).unwrap_or(Phase::New),
            attempts: status.and_then(|status| status.attempts).unwrap_or(0),
            expiration: status.and_then(|status| status.expiration.as_ref()).map(|end| end.0),
            url_end,
            asked: Renewal::of(bundle),
            answered: status.and_then(|status| status.renewed_url.clone()),
            answered_at: status.and_then(|status| status.renewed_url_timestamp.as_ref()).map(|answered| answered.0),
            restored: is_restored(bundle),
            malformed: false,
            ..Self::by_metadata(&bundle.metadata)
        }
    }

    /// The same of an answer that may be no DebugBundle by its types.
    pub fn of_guarded(bundle: &DeserializeGuard<DebugBundle>) -> Self {
        match &bundle.0 {
            Ok(bundle) => Self::of(bundle),
            Err(invalid) => Self::by_metadata(&invalid.metadata),
        }
    }

    fn by_metadata(meta: &ObjectMeta) -> Self {
        let label = |name| meta.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
        Self {
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: meta.deletion_timestamp.is_some(),
            has_finalizer: meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
            restored: false,
            automatic: label(TRIGGER_LABEL).is_some_and(|trigger| trigger != TRIGGER_REQUEST),
            malformed: true,
            phase: Phase::New,
            attempts: 0,
            expiration: None,
            url_end: None,
            asked: None,
            answered: None,
            answered_at: None,
            meta: ObjectMeta {
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                generation: meta.generation,
                ..ObjectMeta::default()
            },
        }
    }

    /// Its UID; empty for an object that was never created.
    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }
}

/// Whether the resource came out of a Velero backup. A resource that made its own bundle did not, even if the label was added
/// later: the key of a copy, if its status was restored at all, contains the UID of the resource that was backed up.
pub fn is_restored(bundle: &DebugBundle) -> bool {
    let stored = bundle.status.as_ref().and_then(|status| status.bundle.as_ref());
    let own = bundle.metadata.uid.as_ref().zip(stored).is_some_and(|(uid, stored)| stored.key.contains(uid.as_str()));
    bundle.labels().contains_key(RESTORED_BY_LABEL) && !own
}

/// kube's store and scheduler know an object by this.
impl Resource for Observed {
    type DynamicType = ();
    type Scope = <DebugBundle as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        DebugBundle::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        DebugBundle::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        DebugBundle::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        DebugBundle::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
