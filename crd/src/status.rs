//! What the operator reports: the status of a DebugBundle.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Trigger;

/// The state of a DebugBundle.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DebugBundleStatus {
    /// Summary of the conditions, in Velero's words. PartiallyFailed: the bundle is stored, but something wanted is
    /// missing in it; its manifest says what and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// Why the DebugBundle exists: Request, or what happened to the target when the operator created it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,

    /// Ready (summary), Collected, Uploaded, DownloadReady.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Progress of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// First line of the diagnosis: why the Backup or Restore ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,

    /// The cause in at most 80 bytes, for a column: a longer one lacks its first clause, and its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause_brief: Option<String>,

    /// How sure the cause is: certain, if each step from the Backup or Restore to the cause was read; likely, if a step
    /// rests on time or could not be read; unknown, if the cause only says what did not happen in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<CauseConfidence>,

    /// The findings, the most severe first; at most 20. The bundle contains all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingSummary>,

    /// The stored bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Bundle>,

    /// An upload that has begun and is not complete, or the wait for a store before it. After a restart the operator
    /// aborts the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadState>,

    /// A presigned URL of the bundle: anyone who has it can download the bundle. It is removed when it expires.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "downloadURL")]
    pub download_url: Option<String>,

    /// When the URL stops working: at the end of its ttl, or earlier if the operator, the store or the credential
    /// limits it.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "downloadURLExpiration")]
    pub download_url_expiration: Option<Time>,

    /// The last value of the annotation debugbundle.io/renew-url that the operator answered; if the value was too long,
    /// its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "renewedURL")]
    #[schemars(length(max = crate::RENEW_URL_LIMIT))]
    pub renewed_url: Option<String>,

    /// When the operator answered that value. It answers the next value ten seconds later at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "renewedURLTimestamp")]
    pub renewed_url_timestamp: Option<Time>,

    /// Number of errors during the collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<i64>,

    /// Number of logs that the bundle contains only in part: cut to their limit, or interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<i64>,

    /// Number of wanted items that are missing in the bundle; the manifest lists each with its reason and cure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<i64>,

    /// When the collection began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,

    /// When the bundle was stored, or when the run ended without a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,

    /// When the stored bundle and this resource are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,

    /// Number of collections that were started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,

    /// The instance of the operator that works on this DebugBundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,

    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The phase of a DebugBundle.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No operator has picked it up yet.
    New,
    /// Waits for a collection slot of the operator.
    Queued,
    /// Evidence is being read.
    Collecting,
    /// The sealed bundle is being uploaded.
    Uploading,
    /// Stored, and nothing is missing.
    Completed,
    /// Stored, but something wanted is missing.
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

/// Progress of the run.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The step of the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Items read, successfully or not.
    pub items_done: i64,
    /// Items planned; the number may grow during the run.
    pub items_total: i64,
    /// Bytes read or, while uploading, bytes sent.
    pub bytes: i64,
    /// Bytes to send, while uploading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
    /// What the operator is reading or doing now, in one line.
    #[serde(default)]
    pub message: String,
}

/// The steps of a run.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding what to collect.
    Inventory,
    /// Reading the items.
    Collect,
    /// Looking for the cause.
    Diagnose,
    /// Closing the archive.
    Seal,
    /// Uploading the archive.
    Upload,
    /// Comparing the stored object with the archive.
    Verify,
}

/// A finding of the diagnosis.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct FindingSummary {
    /// Stable id of the kind of finding.
    pub id: String,
    /// How severe the finding is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The object that the finding is about, as kind/namespace/name.
    #[serde(default)]
    pub object: String,
    /// The line of text that shows it.
    #[serde(default)]
    pub evidence: String,
    /// How sure it is that this explains the failure; only of errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<CauseConfidence>,
}

/// How sure a cause is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum CauseConfidence {
    /// Each step from the target to the cause was read.
    Certain,
    /// A step rests on time, or could not be read.
    Likely,
    /// It only says what did not happen in time.
    Unknown,
}

impl CauseConfidence {
    /// The word, as in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Unknown => "unknown",
        }
    }

    /// What the word means, as a clause.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Certain => "each step to the cause was read",
            Self::Likely => "a step to the cause rests on time, or could not be read",
            Self::Unknown => "the cause only says what did not happen in time",
        }
    }
}

/// How severe a finding is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It explains the failure.
    Error,
    /// It may be related to the failure.
    Warning,
    /// Worth knowing.
    Info,
}

/// The stored bundle.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// BackupStorageLocation that contains the bundle.
    pub storage_location: String,
    /// Bucket or container.
    pub bucket: String,
    /// Key of the object in the bucket. For display only: the operator computes the key again whenever it acts.
    pub key: String,
    /// Size in bytes.
    pub bytes: i64,
    /// Size for people, such as 56.1 kB.
    pub size: String,
    /// SHA-256 of the object, hexadecimal.
    pub sha256: String,
    /// Number of files in the archive.
    pub entries: i64,
    /// Offset of the segment of manifest.json in the archive, in bytes.
    pub manifest_offset: i64,
    /// Length of that segment, in bytes.
    pub manifest_length: i64,
}

/// An upload that has begun.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UploadState {
    /// The store's id of a multipart upload; empty if the upload is a single request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<String>,
    /// When the upload began, or the wait for a store before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// The last failure, while the operator waits for a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}
