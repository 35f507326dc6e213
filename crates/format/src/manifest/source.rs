//! What the manifest says of a file in the archive: where it was read, and why it is not whole. Sealing adds its place
//! in the archive.

use jiff::Timestamp;
use serde::Serialize;

use super::time::option_seconds;

/// Where an entry was read: `entries[].source`. Fields that do not apply to a kind stay empty and are not written.
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
    /// Whether it is the log of the previous, terminated container.
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
    /// A doubt about its origin: the kubelet's identity was not verified, or the pod was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Items of a List.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// resourceVersion of a List.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl Source {
    /// The texts that contain words of others: names, paths, answers.
    pub fn of_others(&mut self) -> impl Iterator<Item = &mut String> {
        let Self { path, query, selector, container, node, warning, .. } = self;
        [path, query, selector, container, node, warning].into_iter().flatten()
    }
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
    /// Bytes kept after it.
    pub kept_tail: u64,
    /// Bytes known to be left out.
    pub left_out_bytes: u64,
    /// Lines known to be left out.
    pub left_out_lines: u64,
}

/// Why an entry is cut. `Limit` and `Budget` were asked for; the others count as errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TruncationReason {
    /// The limit of this entry.
    Limit,
    /// The bundle's size; see `trimmed[]`.
    Budget,
    /// The connection was cut.
    Reset,
    /// No byte came for too long.
    Stalled,
    /// The run's or the item's time was over.
    Deadline,
    /// The self-check found something in some of its lines.
    Withheld,
}

impl TruncationReason {
    /// Whether it makes the bundle PartiallyFailed.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Reset | Self::Stalled | Self::Deadline | Self::Withheld)
    }
}
