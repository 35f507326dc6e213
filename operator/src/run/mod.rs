//! One run: from the cluster's state to the verified object in the store. It does not depend on the controller:
//! `kubectl debugbundle collect` uses the same first half without a cluster-side operator.
//!
//! * [`pack`]: discover, plan, collect, diagnose.
//! * [`store_away`]: waits for a store whose files could not be read.
//! * [`packed`]: its result.
//! * [`sealing`]: the operator's own files, the archive, and its check.
//! * [`backoff`]: the pauses between tries, shared by the bundles of a location.
//! * [`deliver`]: upload under a write-ahead journal, verify.
//! * [`destination`]: which location, which credential, which key.
//! * [`installation`]: the installation that the bundles belong to, and whether it is being removed.
//! * [`log_events`]: events for the timeline from logs and operations.
//! * [`password`]: Velero's repository password, read only to mask it.
//! * [`rules`]: memory for the user's compiled rules, shared by all runs.
//! * [`stores`]: the bundle's store, and the store with the target's files.
//! * [`locations`]: probes of the way to those stores, for the bundle.
//! * [`tracker`]: the progress of a run.

mod backoff;
pub mod deliver;
pub mod destination;
mod final_state;
mod head;
pub mod installation;
mod locations;
mod log_events;
pub mod pack;
mod packed;
mod password;
mod rules;
mod sealing;
mod store_away;
mod stores;
pub mod tracker;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use debugbundle_crd::{DebugBundle, DebugBundleSpec, TARGET_UID_LABEL};
use jiff::Timestamp;
use kube::{Client, ResourceExt as _};

use crate::{
    access::Access,
    location::{EndpointPolicy, SecretVersions},
    metrics::Metrics,
    node_slots::NodeSlots,
    pod_capture::PodCapture,
    shared_answers::SharedAnswers,
    store::{Detour, InstallationId},
};

pub use backoff::Failure;
pub use debugbundle_format::manifest::Origin;
pub use deliver::Journal;
pub use destination::{Destination, LocationsFound, OpenStore};
pub use installation::Standing;
pub use pack::StoreNeed;
pub use packed::Packed;
pub use store_away::RunHooks;
pub use tracker::Tracker;

/// The settings of a process that concern runs.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Velero's namespace.
    pub namespace: String,
    /// The most bytes that one run keeps on disk.
    pub spool_limit: u64,
    /// The most bytes of a bundle, compressed; data that explains a failure is kept longest.
    pub bundle_limit: u64,
    /// Name and version of the program, for `version` and the manifest.
    pub version: String,
    /// Namespaces that may be read; `None`: all that the API server allows.
    pub allowed_namespaces: Option<Vec<String>>,
    /// Whether it may read beyond Velero's namespace: if so, a refusal is an error, else a note.
    pub cluster_read: bool,
    /// The addresses that a store may have.
    pub endpoints: EndpointPolicy,
    /// Bundles of this size and larger are uploaded in parts.
    pub multipart_threshold: u64,
}

/// Prefix of a run's folder in the spool; the UID follows.
const FOLDER: &str = "bundle-";

/// Makes bundles.
pub struct Engine {
    client: Client,
    options: EngineOptions,
    /// Part of each key; read once.
    installation: OnceLock<InstallationId>,
    pod_capture: PodCapture,
    access: Access,
    answers: Arc<SharedAnswers>,
    /// Slots at the nodes whose logs are read.
    nodes: NodeSlots,
    /// Slots for uploads.
    sending: deliver::Sending,
    /// Pauses for locations that failed.
    backoffs: backoff::Backoffs,
    /// The Secrets that the last try to use a location has read.
    secrets: SecretVersions,
    /// Memory for the compiled rules of all runs.
    rules: rules::Room,
    /// A way to stores whose names only the cluster resolves. The operator has none, and needs none.
    detour: Option<Arc<dyn Detour>>,
    metrics: Metrics,
}

impl Engine {
    /// An engine for this cluster.
    pub fn new(client: Client, options: EngineOptions) -> Self {
        Self {
            client,
            options,
            installation: OnceLock::new(),
            pod_capture: PodCapture::default(),
            access: Access::default(),
            answers: Arc::default(),
            nodes: NodeSlots::default(),
            sending: deliver::Sending::default(),
            backoffs: backoff::Backoffs::default(),
            secrets: SecretVersions::default(),
            rules: rules::Room::default(),
            detour: None,
            metrics: Metrics::default(),
        }
    }

    /// Adds a way to stores whose names only the cluster resolves.
    #[must_use]
    pub fn with_detour(self, detour: Arc<dyn Detour>) -> Self {
        Self { detour: Some(detour), ..self }
    }

    /// Counts in these metrics.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Adds the captured data of hosting pods that are gone.
    #[must_use]
    pub fn with_pod_capture(self, pod_capture: PodCapture) -> Self {
        Self { pod_capture, ..self }
    }

    /// The folder of one DebugBundle in the spool.
    #[allow(clippy::unused_self, reason = "the layout of the spool is the engine's")]
    pub fn spool_of(&self, spool: &Path, uid: &str) -> PathBuf {
        spool.join(format!("{FOLDER}{uid}"))
    }

    /// The UIDs of the DebugBundles that have such a folder.
    #[allow(clippy::unused_self, reason = "the layout of the spool is the engine's")]
    pub fn uids_in(&self, spool: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(spool).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(FOLDER)?.to_owned())).collect()
    }
}

/// The target of a bundle, and its names.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the DebugBundle.
    pub name: String,
    /// Its namespace: Velero's.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Number of the attempt, from 1.
    pub attempt: i64,
    /// When it was requested: nothing older is read for it.
    pub asked: Timestamp,
    /// Who requested it.
    pub origin: Origin,
    /// UID of the Backup or Restore for which the operator made the request: another object may have its name by now.
    pub target_uid: Option<String>,
    /// The request.
    pub spec: DebugBundleSpec,
    /// The key in its status, by which a bundle of an earlier version is recognized.
    pub recorded_key: Option<String>,
}

impl Subject {
    /// From the resource.
    pub fn of(bundle: &DebugBundle) -> Self {
        Self {
            name: bundle.name_any(),
            namespace: bundle.namespace().unwrap_or_default(),
            uid: bundle.uid().unwrap_or_default(),
            attempt: bundle.status.as_ref().and_then(|s| s.attempts).unwrap_or(1),
            asked: bundle.metadata.creation_timestamp.as_ref().map_or_else(Timestamp::now, |created| created.0),
            origin: if bundle.trigger().is_automatic() { Origin::Automatic } else { Origin::Request },
            target_uid: bundle.labels().get(TARGET_UID_LABEL).filter(|_| bundle.trigger().is_automatic()).cloned(),
            spec: bundle.spec.clone(),
            recorded_key: bundle.status.as_ref().and_then(|s| s.bundle.as_ref()).map(|stored| stored.key.clone()),
        }
    }

    /// `Restore r1` with the name as `shown` returns it, or the installation.
    pub fn words(&self, shown: impl Fn(&str) -> String) -> String {
        match &self.spec.target {
            Some(target) => format!("{} {}", target.kind, shown(&target.name)),
            None => "the installation".to_owned(),
        }
    }
}
