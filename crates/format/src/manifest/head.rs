//! All of the manifest except its entries: the bundle, its target, its times and its totals. `run` fills it in.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Missing, SCHEMA_VERSION,
    time::{option_seconds, seconds},
};

/// All of the manifest but its entries, which [`debugbundle_archive::seal`] knows. Fields are written in this order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestHead {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The bundle itself.
    pub bundle: BundleInfo,
    /// The program that made it.
    pub operator: OperatorInfo,
    /// The cluster it was made in.
    pub cluster: ClusterInfo,
    /// The Velero installation it is about.
    pub velero: VeleroInfo,
    /// The target; `None` for the whole installation.
    pub target: Option<TargetInfo>,
    /// The spec with defaults filled in. Redaction rules become their number when it is written.
    pub request: serde_json::Value,
    /// The time window that logs were cut to.
    pub window: Window,
    /// Start of collection; also the directories' time in the archive.
    #[serde(serialize_with = "seconds")]
    pub started_at: Timestamp,
    /// End of collection.
    #[serde(serialize_with = "seconds")]
    pub finished_at: Timestamp,
    /// Whether anything failed.
    pub outcome: Outcome,
    /// The namespaces that matter, and whether they were read.
    pub namespaces: Vec<NamespaceInfo>,
    /// Paths of Lists that were read and had no items.
    pub empty: Vec<String>,
    /// What is missing, and why.
    pub missing: Vec<Missing>,
    /// What was left out to fit the bundle's size.
    pub trimmed: Vec<Trimmed>,
    /// What the permission check answered.
    pub permissions: Vec<Permission>,
    /// What the diagnosis found.
    pub findings: FindingsInfo,
    /// Sums; sealing fills in all but `wanted` and `ok`.
    pub totals: Totals,
    /// Where the time went.
    pub timings: Timings,
}

impl ManifestHead {
    /// The texts that contain words of others, such as names, except those of `request`, of the lists of paths, and of
    /// what is missing.
    pub fn of_others(&mut self) -> impl Iterator<Item = &mut String> {
        let Self { bundle, velero, target, namespaces, permissions, .. } = self;
        let BundleInfo { name, namespace, key, .. } = bundle;
        let velero = std::iter::once(&mut velero.namespace)
            .chain([&mut velero.version])
            .chain(&mut velero.images)
            .chain(&mut velero.plugins);
        let target = target.iter_mut().flat_map(|target| {
            let TargetInfo { namespace, name, .. } = target;
            [namespace, name]
        });
        let namespaces = namespaces.iter_mut().flat_map(|one| [&mut one.name, &mut one.why]);
        let permissions = permissions.iter_mut().flat_map(|one| [&mut one.namespace, &mut one.needed_for]);
        [name, namespace, key].into_iter().chain(velero).chain(target).chain(namespaces).chain(permissions)
    }
}

impl Default for ManifestHead {
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            bundle: BundleInfo::default(),
            operator: OperatorInfo::default(),
            cluster: ClusterInfo::default(),
            velero: VeleroInfo::default(),
            target: None,
            request: serde_json::Value::Null,
            window: Window::default(),
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            outcome: Outcome::Completed,
            namespaces: Vec::new(),
            empty: Vec::new(),
            missing: Vec::new(),
            trimmed: Vec::new(),
            permissions: Vec::new(),
            findings: FindingsInfo::default(),
            totals: Totals::default(),
            timings: Timings::default(),
        }
    }
}

/// The bundle itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BundleInfo {
    /// Name of the DebugBundle.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// The archive's top directory; filled in when sealing.
    pub root: String,
    /// Who asked for it.
    pub origin: Origin,
    /// The phase of the target that triggered an automatic bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// 1 for the first run.
    pub attempt: u32,
    /// Key in the object store; empty for a bundle that stays with the caller.
    pub key: String,
}

/// Who asked for a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// A user created the resource.
    #[default]
    Request,
    /// The operator created it, because a Backup or Restore failed.
    Automatic,
    /// `kubectl debugbundle`, without the operator.
    #[serde(rename = "CLI")]
    Cli,
}

/// The program that made the bundle.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OperatorInfo {
    /// Version.
    pub version: String,
    /// Commit it was built from.
    pub commit: String,
}

/// The cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInfo {
    /// Kubernetes' version.
    pub git_version: String,
    /// Number of nodes, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
}

/// The Velero installation that the bundle is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VeleroInfo {
    /// Its namespace.
    pub namespace: String,
    /// Server version; empty if unknown.
    pub version: String,
    /// Images of server and node-agent.
    pub images: Vec<String>,
    /// Images of plugins.
    pub plugins: Vec<String>,
}

/// The Backup or Restore the bundle is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetInfo {
    /// apiVersion.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; empty if the object was not found.
    pub uid: String,
    /// Phase when collection began.
    pub phase_at_start: String,
    /// Phase when it ended.
    pub phase_at_end: String,
    /// When Velero began to work on it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option_seconds")]
    pub start_timestamp: Option<Timestamp>,
    /// When Velero was done with it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option_seconds")]
    pub completion_timestamp: Option<Timestamp>,
}

/// The time window that logs were cut to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Window {
    /// From.
    #[serde(serialize_with = "seconds")]
    pub from: Timestamp,
    /// To.
    #[serde(serialize_with = "seconds")]
    pub to: Timestamp,
}

/// Whether anything failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// All that was wanted is there, or its absence is explained.
    #[default]
    Completed,
    /// Something is missing that should be there.
    PartiallyFailed,
}

/// A namespace that matters.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NamespaceInfo {
    /// Name.
    pub name: String,
    /// How it is related to the target.
    pub why: String,
    /// Whether it was read.
    pub looked: bool,
}

/// Something left out to fit the bundle's size.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trimmed {
    /// Path; it may no longer have an entry.
    pub path: String,
    /// Which rule of trimming.
    pub rule: String,
    /// Bytes left out, as unpacked.
    pub dropped_bytes: u64,
    /// Bytes kept, as unpacked.
    pub kept_bytes: u64,
}

/// One answer of the permission check.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// Verb.
    pub verb: String,
    /// API group.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Subresource, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// Namespace; empty: in the whole cluster.
    pub namespace: String,
    /// The answer.
    pub allowed: bool,
    /// What it is for.
    pub needed_for: String,
    /// Id of the shipped rule that grants it.
    pub rule: String,
}

/// What the diagnosis found; its texts are in `analysis/`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FindingsInfo {
    /// The cause in a sentence, if one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Number of findings by severity.
    pub counts: BTreeMap<String, u64>,
    /// Their ids, the most important first.
    pub ids: Vec<String>,
}

/// Sums over the bundle.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Items planned.
    pub wanted: u64,
    /// Items that are whole in the bundle.
    pub ok: u64,
    /// Entries that are not whole.
    pub truncated: u64,
    /// Length of `missing[]`.
    pub missing: u64,
    /// Bytes of all entries but the manifest, as unpacked.
    pub raw_bytes: u64,
    /// Bytes of the archive before the manifest.
    pub compressed_bytes: u64,
    /// Number of redactions, by rule, in all entries except the manifest.
    pub redactions: u64,
}

/// Milliseconds of each stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Listing what exists.
    pub inventory: u64,
    /// Reading it.
    pub collect: u64,
    /// Explaining it.
    pub diagnose: u64,
    /// Preparing the seal, measured by the caller: the manifest is written before the seal is done.
    pub seal: u64,
}
