//! What `manifest.json` says, as it is written and as it is read: the contract with every reader of a bundle.
//! Where each segment lies is filled in by [`super::seal`]; what is missing and why is told by those who looked.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::Segment;

/// Raised only for changes that break readers.
pub const SCHEMA_VERSION: u32 = 1;

/// An entry of the archive: its body and where it came from.
#[derive(Debug)]
pub struct Entry {
    /// Body, redacted and closed.
    pub segment: Segment,
    /// Where it was read.
    pub source: Source,
    /// Why it is not whole, if so.
    pub truncated: Option<Truncation>,
    /// When it was read; the file's time in the archive, in whole seconds.
    pub read_at: Timestamp,
    /// Milliseconds that reading took.
    pub ms: u64,
}

/// Where an entry was read: `entries[].source`. What does not apply to a kind stays empty and is not written.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// How it was read.
    pub kind: SourceKind,
    /// API path, or key of the object in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Query of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Label or field selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// UID of the pod whose log it is.
    #[serde(skip_serializing_if = "Option::is_none", rename = "podUID")]
    pub pod_uid: Option<String>,
    /// Container whose log it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The log of the container that ended before the present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<bool>,
    /// Node of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Time of the first line; later than the window's start if the kubelet had rotated the log.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option_seconds")]
    pub first_line: Option<Timestamp>,
    /// Time of the last line.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option_seconds")]
    pub last_line: Option<Timestamp>,
    /// What is to be known of its origin: the kubelet was not proven to be who it said it was, or the pod was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Items of a List.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// resourceVersion of a List.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// How an entry was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum SourceKind {
    /// Written by the operator.
    #[default]
    Generated,
    /// A list of API objects.
    List,
    /// One API object.
    Object,
    /// A container's log.
    PodLog,
    /// An object of the object store.
    Store,
    /// The API's discovery.
    Discovery,
    /// Another HTTP endpoint.
    Http,
}

/// Why and by how much an entry is shorter than its source: `entries[].truncated`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Truncation {
    /// Why.
    pub reason: TruncationReason,
    /// Bytes kept before the gap.
    pub kept_head: u64,
    /// Bytes kept behind it.
    pub kept_tail: u64,
    /// Bytes known to be left out.
    pub left_out_bytes: u64,
    /// Lines known to be left out.
    pub left_out_lines: u64,
}

impl Truncation {
    /// What a limit or the budget left out of `segment`; `None` if it is whole.
    pub fn of(segment: &Segment, reason: TruncationReason) -> Option<Self> {
        segment.cut().map(|cut| Self {
            reason,
            kept_head: cut.kept_head,
            kept_tail: cut.kept_tail,
            left_out_bytes: cut.left_out_bytes,
            left_out_lines: cut.left_out_lines,
        })
    }

    /// The source ended before its end: what came until then is kept, what is left out is not known.
    pub fn ended(segment: &Segment, reason: TruncationReason) -> Self {
        Self::of(segment, reason).unwrap_or(Self {
            reason,
            kept_head: segment.bytes(),
            kept_tail: 0,
            left_out_bytes: 0,
            left_out_lines: 0,
        })
    }
}

/// Why an entry is cut. `Limit` and `Budget` are as asked; the others count as errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TruncationReason {
    /// The limit of this entry.
    Limit,
    /// The bundle's size; see `trimmed[]`.
    Budget,
    /// The connection was cut.
    Reset,
    /// No byte for too long.
    Stalled,
    /// The run's or the item's time was over.
    Deadline,
}

impl TruncationReason {
    /// Whether it makes the bundle PartiallyFailed.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Reset | Self::Stalled | Self::Deadline)
    }
}

/// Something that was wanted and is not there: `missing[]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// In words.
    pub what: String,
    /// The path it would have had.
    pub path: String,
    /// Closed vocabulary.
    pub code: MissingCode,
    /// Whether it makes the bundle PartiallyFailed.
    pub severity: MissingSeverity,
    /// The message, escaped, at most 512 bytes.
    pub why: String,
    /// The permission that lacked; with `Forbidden` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub need: Option<Need>,
    /// Id of the shipped rule that gives it; with `Forbidden` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What to do, ready to paste; empty if nothing helps.
    pub cure: String,
}

/// Whether a missing item is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingSeverity {
    /// Explained by the state of things.
    Note,
    /// A failure: the bundle is PartiallyFailed.
    Error,
}

/// A permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Need {
    /// Verb.
    pub verb: String,
    /// API group; empty is the core group.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Subresource, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// Namespace; empty: in the whole cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Why an item is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum MissingCode {
    /// Absent from the store, and the phase explains it.
    NeverWritten,
    /// Absent from the store though the phase says that it was written.
    NotFound,
    /// No terminated container before the present one.
    NoPrevious,
    /// The container has not started.
    NotStarted,
    /// There and empty.
    Empty,
    /// Deleted, or another object of the same name is there now.
    Gone,
    /// The cluster does not serve this kind.
    NotInstalled,
    /// Outside the namespaces that the operator may look into.
    NotAllowed,
    /// Beyond the number of namespaces that are looked into.
    NotLooked,
    /// A permission lacks.
    Forbidden,
    /// The node does not answer.
    NodeUnreachable,
    /// The answer said 200 and held an error.
    BodyIsError,
    /// The API refused or failed.
    ApiError,
    /// Time was over.
    Deadline,
    /// The object store does not answer.
    StoreUnreachable,
    /// The object store refused.
    StoreDenied,
    /// Not what it should be: no gzip, cut gzip, broken JSON.
    Corrupt,
    /// Over its cap.
    TooLarge,
    /// The redactor refused it.
    Withheld,
}

/// All of the manifest but its entries, which [`super::seal`] knows. Fields are written in this order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestHead {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The bundle itself.
    pub bundle: BundleInfo,
    /// Who made it.
    pub operator: OperatorInfo,
    /// Where.
    pub cluster: ClusterInfo,
    /// The Velero it looked at.
    pub velero: VeleroInfo,
    /// What it is about; `None` for the whole installation.
    pub target: Option<TargetInfo>,
    /// The spec with defaults filled in. Redaction rules become their number when it is written.
    pub request: serde_json::Value,
    /// Times that logs were cut to.
    pub window: Window,
    /// Start of collection; also the directories' time in the archive.
    #[serde(serialize_with = "seconds")]
    pub started_at: Timestamp,
    /// End of collection.
    #[serde(serialize_with = "seconds")]
    pub finished_at: Timestamp,
    /// Whether anything failed.
    pub outcome: Outcome,
    /// Namespaces that were looked into, or not.
    pub namespaces: Vec<NamespaceInfo>,
    /// Paths of Lists that were asked for and had no item.
    pub empty: Vec<String>,
    /// What is missing, and why.
    pub missing: Vec<Missing>,
    /// What was left out to fit the bundle's size.
    pub trimmed: Vec<Trimmed>,
    /// What the self-check said.
    pub permissions: Vec<Permission>,
    /// What the diagnosis found.
    pub findings: FindingsInfo,
    /// Sums; sealing fills in all but `wanted` and `ok`.
    pub totals: Totals,
    /// Where the time went.
    pub timings: Timings,
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
    /// The target's phase that made an automatic one.
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
    /// Somebody made the resource.
    #[default]
    Request,
    /// The operator did, because a Backup or Restore failed.
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

/// The Velero that was looked at.
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

/// Times that logs were cut to.
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
    /// What it has to do with the target.
    pub why: String,
    /// Whether it was looked into.
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

/// One answer of the self-check.
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
    /// Id of the shipped rule that gives it.
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
    /// Redactions of all entries but the manifest.
    pub redactions: u64,
}

/// Milliseconds of each stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Finding out what there is.
    pub inventory: u64,
    /// Reading it.
    pub collect: u64,
    /// Explaining it.
    pub diagnose: u64,
    /// Preparing the seal; the caller's measure, because the manifest is written before the seal is done.
    pub seal: u64,
}

/// Where a body lies: in the archive, and in the segment once that is inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lies {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) skip: u64,
}

/// A line of `entries[]`.
#[derive(Serialize)]
pub(super) struct EntryLine<'a> {
    pub(super) path: &'a str,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) segment: Span,
    pub(super) skip: u64,
    pub(super) source: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) truncated: Option<&'a Truncation>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) redactions: &'a BTreeMap<String, u64>,
    pub(super) ms: u64,
}

/// Bytes of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// From the archive's first byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Writes the manifest: `head` (an object whose strings are redacted) key by key, lists with an item a line, `entries` behind
/// `namespaces`.
pub(super) fn write<W: Write>(
    mut out: W,
    head: &serde_json::Map<String, serde_json::Value>,
    entries: impl Iterator<Item = io::Result<String>>,
) -> io::Result<()> {
    let mut entries = Some(entries);
    out.write_all(b"{")?;
    for (i, (key, value)) in head.iter().enumerate() {
        if key == "empty"
            && let Some(entries) = entries.take()
        {
            list(&mut out, "entries", entries)?;
            out.write_all(b",\n")?;
        }
        match value {
            serde_json::Value::Array(items) => {
                list(&mut out, key, items.iter().map(|item| Ok(item.to_string())))?;
            }
            other => write!(out, "\"{key}\":{other}")?,
        }
        out.write_all(if i + 1 == head.len() { b"}\n" } else { b",\n" })?;
    }
    out.flush()
}

fn list<W: Write>(out: &mut W, key: &str, items: impl Iterator<Item = io::Result<String>>) -> io::Result<()> {
    write!(out, "\"{key}\":[")?;
    let mut first = true;
    for item in items {
        out.write_all(if first { b"\n" } else { b",\n" })?;
        out.write_all(item?.as_bytes())?;
        first = false;
    }
    out.write_all(b"]")
}

fn seconds<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{at:.0}"))
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn option_seconds<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => seconds(at, to),
        None => to.serialize_none(),
    }
}

/// The manifest as a reader sees it: what listing and reading entries needs; other keys are ignored, whoever wrote them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestView {
    /// 1 for what this program knows.
    pub schema_version: u32,
    /// The bundle itself.
    pub bundle: BundleView,
    /// `Completed` or `PartiallyFailed`.
    #[serde(default)]
    pub outcome: String,
    /// The entries, in the archive's order.
    #[serde(default)]
    pub entries: Vec<EntryView>,
    /// What is missing.
    #[serde(default)]
    pub missing: Vec<MissingView>,
}

/// Of the bundle itself.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct BundleView {
    /// Name of the DebugBundle.
    #[serde(default)]
    pub name: String,
    /// The archive's top directory.
    #[serde(default)]
    pub root: String,
}

/// An entry, enough to read it alone.
#[derive(Debug, Clone, Deserialize)]
pub struct EntryView {
    /// Path below the root.
    pub path: String,
    /// Bytes as unpacked.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Where to read.
    pub segment: Span,
    /// Where the body begins in the inflated segment.
    pub skip: u64,
}

/// Something that is missing.
#[derive(Debug, Clone, Deserialize)]
pub struct MissingView {
    /// In words.
    #[serde(default)]
    pub what: String,
    /// The path it would have had.
    #[serde(default)]
    pub path: String,
    /// Closed vocabulary.
    #[serde(default)]
    pub code: String,
    /// The message.
    #[serde(default)]
    pub why: String,
    /// What to do.
    #[serde(default)]
    pub cure: String,
}

impl ManifestView {
    /// Reads `manifest.json`.
    ///
    /// # Errors
    /// It is no JSON, or lacks what reading entries needs.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The entry at `path`, with or without the root directory in front.
    pub fn entry(&self, path: &str) -> Option<&EntryView> {
        let below = path.strip_prefix(self.bundle.root.as_str()).and_then(|rest| rest.strip_prefix('/'));
        self.entries.iter().find(|e| e.path == path || Some(e.path.as_str()) == below)
    }
}
