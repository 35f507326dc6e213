//! What the operator reports: the status of a DebugBundle.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a DebugBundle.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DebugBundleStatus {
    /// Summary of the conditions in Velero's words. PartiallyFailed: a bundle is there, and something wanted in it is
    /// not; its manifest says what and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// Ready (summary), Collected, Uploaded, DownloadReady.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// How far the work is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// First line of the diagnosis: why the Backup or Restore ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,

    /// What was found, the gravest first; at most 20. All of them are in the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingSummary>,

    /// The stored bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Bundle>,

    /// An upload that has begun and is not complete; whoever takes over ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadState>,

    /// A presigned URL of the bundle: whoever has it can download. Removed when its time is over.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "downloadURL")]
    pub download_url: Option<String>,

    /// When the URL stops working: the earliest of what was asked, seven days, and the credential's own end.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "downloadURLExpiration")]
    pub download_url_expiration: Option<Time>,

    /// The value of the annotation debugbundle.io/renew-url that was answered last; of one that was too long, its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "renewedURL")]
    #[schemars(length(max = crate::RENEW_URL_LIMIT))]
    pub renewed_url: Option<String>,

    /// When that value was answered; the next one is answered ten seconds later at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "renewedURLTimestamp")]
    pub renewed_url_timestamp: Option<Time>,

    /// Errors met while collecting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<i64>,

    /// Logs that are in the bundle in part: cut to their limit, or broken off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<i64>,

    /// Items that were wanted and are not in the bundle; the manifest has a line for each, with its cure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<i64>,

    /// When the collection began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,

    /// When the bundle was stored, or the run ended without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,

    /// When the stored bundle and this resource are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,

    /// How often the collection was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,

    /// Which instance of the operator works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,

    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Where a DebugBundle is in its life.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not yet looked at.
    New,
    /// Waits for one of the operator's places.
    Queued,
    /// Evidence is being read.
    Collecting,
    /// The sealed bundle is on its way to the store.
    Uploading,
    /// Stored, and nothing is missing.
    Completed,
    /// Stored, and something wanted is not in it.
    PartiallyFailed,
    /// No bundle; the Ready condition says why.
    Failed,
}

impl Phase {
    /// The phase as written in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Queued => "Queued",
            Self::Collecting => "Collecting",
            Self::Uploading => "Uploading",
            Self::Completed => "Completed",
            Self::PartiallyFailed => "PartiallyFailed",
            Self::Failed => "Failed",
        }
    }

    /// Whether only the URL and the end of the time to live can still change it.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyFailed | Self::Failed)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The conditions of a DebugBundle, in display order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// Summary: the bundle is stored and verified.
    Ready,
    /// The evidence was read, all of it.
    Collected,
    /// The bundle is in the object store.
    Uploaded,
    /// The download URL in status works.
    DownloadReady,
}

impl ConditionType {
    /// All conditions, in display order.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Collected, Self::Uploaded, Self::DownloadReady];

    /// The condition's `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Collected => "Collected",
            Self::Uploaded => "Uploaded",
            Self::DownloadReady => "DownloadReady",
        }
    }
}

/// How far the work is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The step of the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Items read, successfully or not.
    pub items_done: i64,
    /// Items planned; may grow while things are found.
    pub items_total: i64,
    /// Bytes read or, while uploading, bytes sent.
    pub bytes: i64,
    /// Bytes to send, while uploading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
    /// What is being read or done now, in a line.
    #[serde(default)]
    pub message: String,
}

/// The steps of a run.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding out what there is.
    Inventory,
    /// Reading it.
    Collect,
    /// Looking for the cause.
    Diagnose,
    /// Closing the archive.
    Seal,
    /// Sending it.
    Upload,
    /// Comparing what the store holds with what was sent.
    Verify,
}

/// Something that was found.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct FindingSummary {
    /// Stable id of the kind of finding.
    pub id: String,
    /// How grave it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The object it is about, as kind/namespace/name.
    #[serde(default)]
    pub object: String,
    /// The line that shows it.
    #[serde(default)]
    pub evidence: String,
}

/// How grave a finding is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It explains the failure.
    Error,
    /// It may have to do with it.
    Warning,
    /// Worth knowing.
    Info,
}

/// The stored bundle.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// BackupStorageLocation that holds it.
    pub storage_location: String,
    /// Bucket or container.
    pub bucket: String,
    /// Key of the object in it; shown only, the operator computes it anew whenever it acts.
    pub key: String,
    /// Size in bytes.
    pub bytes: i64,
    /// The same for people.
    pub size: String,
    /// SHA-256 of the object, hexadecimal.
    pub sha256: String,
    /// Files in the archive.
    pub entries: i64,
    /// Where the segment of manifest.json begins, in bytes from the archive's first.
    pub manifest_offset: i64,
    /// How long that segment is.
    pub manifest_length: i64,
}

/// An upload that has begun.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UploadState {
    /// The store's id of a multipart upload; empty: a single request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<String>,
    /// When sending began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// The last failure, if it is being tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}
