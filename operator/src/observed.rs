//! What the controller keeps of each DebugBundle in memory: only what a decision needs. Thousands of DebugBundles stay
//! small, however large their specs and statuses are.

use std::{borrow::Cow, collections::BTreeMap};

use debugbundle_crd::{
    DebugBundle, FINALIZER, Phase, RENEW_URL_ANNOTATION, RENEW_URL_LIMIT, RESTORED_BY_LABEL, SCHEDULE_LABEL,
    TARGET_KIND_LABEL, TARGET_NAME_LABEL, Trigger,
};
use debugbundle_format::hex_digest;
use jiff::Timestamp;
use kube::{Resource, ResourceExt as _, api::ObjectMeta, core::DeserializeGuard};

/// The part of a DebugBundle by which the controller decides what to do with it.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Observed {
    /// Name, namespace, UID, resourceVersion and generation alone.
    meta: ObjectMeta,
    /// When it was created.
    pub created: Timestamp,
    /// It is being deleted.
    pub deleting: bool,
    /// The finalizer of earlier versions is on it.
    pub has_finalizer: bool,
    /// Velero restored it from a backup.
    pub restored: bool,
    /// Why the operator created it by itself; `None` if a user requested it.
    pub automatic: Option<AutomaticOrigin>,
    /// Kind and name of the target; `None` for the installation as a whole.
    pub target: Option<Box<str>>,
    /// It cannot be read as a DebugBundle; only its metadata is known.
    pub malformed: bool,
    /// Its phase.
    pub phase: Phase,
    /// Recorded attempts.
    pub attempts: i64,
    /// The instance that status records as its holder; `None` also if no pod can have that name.
    pub holder: Option<String>,
    /// When bundle and resource are deleted.
    pub expiration: Option<Timestamp>,
    /// When the URL in status expires; a URL without an end, which the operator never writes, counts as expired.
    pub url_end: Option<Timestamp>,
    /// The request in the renew-url annotation.
    pub asked: Option<Renewal>,
    /// The [mark](Renewal::mark) of the request that was answered last.
    pub answered: Option<String>,
    /// When that request was answered.
    pub answered_at: Option<Timestamp>,
}

/// The labels of a DebugBundle that the operator created by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomaticOrigin {
    /// What happened to the target.
    pub trigger: Trigger,
    /// Names the target, or the Schedule of the target: all DebugBundles of one group count as being about one target.
    pub group: String,
}

/// The request in the annotation `debugbundle.io/renew-url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// A new URL; the value tells one request from the next.
    Url(String),
    /// No valid request: the value is too long. Its digest stands for it in status, so that it is refused only once.
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

    /// The text in status that marks the request as answered.
    pub fn mark(&self) -> String {
        match self {
            Self::Url(mark) | Self::TooLong { sha256: mark, .. } => mark.clone(),
        }
    }
}

impl Observed {
    /// Reads a DebugBundle.
    pub fn of(bundle: &DebugBundle) -> Self {
        let status = bundle.status.as_ref();
        let url_end = status
            .filter(|status| status.download_url.is_some())
            .map(|status| status.download_url_expiration.as_ref().map_or(Timestamp::MIN, |end| end.0));
        Self {
            phase: status.and_then(|status| status.phase).unwrap_or(Phase::New),
            attempts: status.and_then(|status| status.attempts).unwrap_or(0),
            holder: status.and_then(|status| status.holder.clone()).filter(|holder| is_pod_name(holder)),
            expiration: status.and_then(|status| status.expiration.as_ref()).map(|end| end.0),
            url_end,
            asked: Renewal::of(bundle),
            answered: status.and_then(|status| status.renewed_url.clone()),
            answered_at: status.and_then(|status| status.renewed_url_timestamp.as_ref()).map(|answered| answered.0),
            restored: is_restored(bundle),
            target: bundle
                .spec
                .target
                .as_ref()
                .map(|target| format!("{} {}", target.kind.as_str(), target.name).into()),
            malformed: false,
            ..Self::by_metadata(&bundle.metadata)
        }
    }

    /// Reads an object that may not parse as a DebugBundle.
    pub fn of_guarded(bundle: &DeserializeGuard<DebugBundle>) -> Self {
        match &bundle.0 {
            Ok(bundle) => Self::of(bundle),
            Err(invalid) => Self::by_metadata(&invalid.metadata),
        }
    }

    fn by_metadata(meta: &ObjectMeta) -> Self {
        Self {
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: meta.deletion_timestamp.is_some(),
            has_finalizer: meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
            restored: false,
            automatic: automatic(meta.labels.as_ref()),
            target: None,
            malformed: true,
            phase: Phase::New,
            attempts: 0,
            holder: None,
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

    /// Why it exists.
    pub fn trigger(&self) -> Trigger {
        self.automatic.as_ref().map_or(Trigger::Request, |automatic| automatic.trigger)
    }

    /// Its UID; empty for an object that was never created.
    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }
}

fn automatic(labels: Option<&BTreeMap<String, String>>) -> Option<AutomaticOrigin> {
    let label = |name| labels?.get(name).map(String::as_str);
    let trigger = Trigger::of_labels(labels);
    let of = |name| label(name).unwrap_or_default();
    let group = match label(SCHEDULE_LABEL) {
        Some(schedule) => format!("{} of {schedule}", of(TARGET_KIND_LABEL)),
        None => format!("{} {}", of(TARGET_KIND_LABEL), of(TARGET_NAME_LABEL)),
    };
    trigger.is_automatic().then_some(AutomaticOrigin { trigger, group })
}

/// Whether the API server accepts this as a pod's name.
pub fn is_pod_name(text: &str) -> bool {
    let part = |part: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(allowed) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// Whether Velero restored the resource from a backup. A resource with a bundle of its own is no copy, even if it got
/// the label later: in a copy, the key in status (if status was restored) contains the UID of the original.
pub fn is_restored(bundle: &DebugBundle) -> bool {
    let stored = bundle.status.as_ref().and_then(|status| status.bundle.as_ref());
    let own = bundle.metadata.uid.as_ref().zip(stored).is_some_and(|(uid, stored)| stored.key.contains(uid.as_str()));
    bundle.labels().contains_key(RESTORED_BY_LABEL) && !own
}

/// kube's store and scheduler identify an object by this.
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
