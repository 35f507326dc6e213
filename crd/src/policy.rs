//! DebugBundlePolicy: changes when the operator creates DebugBundles by itself, and what these contain.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Trigger,
    spec::{
        DownloadUrl, Logs, Redaction, TargetKind, UrlPolicy, default_ttl, duration_between, object_name,
        parse_duration, set_of,
    },
};

/// The only name that a policy may have.
pub const POLICY_NAME: &str = "default";

/// When the operator creates DebugBundles by itself. Without a policy the defaults below hold.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "debugbundle.io",
    version = "v1alpha1",
    kind = "DebugBundlePolicy",
    plural = "debugbundlepolicies",
    singular = "debugbundlepolicy",
    shortname = "dbundlepolicy",
    category = "velero",
    namespaced,
    status = "DebugBundlePolicyStatus",
    derive = "PartialEq",
    doc = "A DebugBundlePolicy changes when the operator creates DebugBundles by itself, and what these contain. Its name is default, and it lives in Velero's own namespace. Without one the defaults of its fields hold. A change applies to Backups and Restores that end or hang after it.",
    validation = kube::core::Rule::new("self.metadata.name == 'default'").message("the name of a DebugBundlePolicy must be default"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", description = "Whether the operator creates no DebugBundles by itself"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the operator follows the policy"),
    printcolumn(name = "Made", type_ = "integer", json_path = ".status.made", description = "Number of DebugBundles that the operator created by itself"),
    printcolumn(name = "Last", type_ = "string", json_path = ".status.lastBundle.name", description = "The last of them"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "Message of the Ready condition", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DebugBundlePolicySpec {
    /// What leads to a DebugBundle: the phases PartiallyFailed, Failed and FailedValidation, and Stuck: unfinished, and
    /// nothing has moved for stuckAfter.
    #[serde(default = "every_trigger")]
    #[schemars(schema_with = "on_schema")]
    pub on: Vec<Trigger>,

    /// Kinds of targets.
    #[serde(default = "both_kinds")]
    #[schemars(schema_with = "kinds_schema")]
    pub kinds: Vec<TargetKind>,

    /// Labels that a Backup or Restore must have. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,

    /// Names of Schedules. If there are any, only their Backups lead to DebugBundles, and Restores whose
    /// spec.scheduleName names one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schedules_schema")]
    pub schedules: Vec<String>,

    /// How long nothing must have moved below an unfinished Backup or Restore until it counts as stuck, between 5m and
    /// 24h. The same time holds for one that waits while nothing in front of it moves.
    #[serde(default = "default_stuck_after")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("5m", "24h", "30m"))]
    pub stuck_after: String,

    /// Of what happened longer ago no DebugBundle is created; between 5m and 24h. It matters after the operator was down.
    #[serde(default = "default_max_age")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("5m", "24h", "1h"))]
    pub max_age: String,

    /// The most DebugBundles that the operator creates by itself within an hour. Further ones are counted in
    /// status.leftOut.
    #[serde(default = "default_rate")]
    #[schemars(range(min = 1, max = 100))]
    pub rate_per_hour: i64,

    /// How many of these DebugBundles are kept of one target; the Backups of one Schedule count as one target. The
    /// oldest are deleted, with their bundles in the store.
    #[serde(default = "default_keep_per_target")]
    #[schemars(range(min = 1, max = 100))]
    pub keep_per_target: i64,

    /// How many of these DebugBundles are kept in all. The oldest are deleted, with their bundles in the store.
    #[serde(default = "default_keep_total")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_total: i64,

    /// What these DebugBundles contain, and how long they are kept.
    #[serde(default)]
    pub template: BundleTemplate,

    /// Create no DebugBundles.
    #[serde(default)]
    pub suspend: bool,
}

/// What the operator writes into the spec of a DebugBundle that it creates. The fields are those of a DebugBundle.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BundleTemplate {
    /// Name of the BackupStorageLocation to which the bundles are uploaded. It must be ReadWrite. Default: the location
    /// of the target; if that is ReadOnly, nothing is uploaded, and only cause and findings are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = object_name())]
    pub storage_location: Option<String>,

    /// Which part of the logs a bundle contains.
    #[serde(default)]
    pub logs: Logs,

    /// Additions to the built-in redaction, which cannot be switched off.
    #[serde(default)]
    pub redaction: Redaction,

    /// How long a bundle is kept, between 1h and 2160h (90 days).
    #[serde(default = "default_ttl")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("1h", "2160h", "720h"))]
    pub ttl: String,

    /// The download URL. Default: on request, for nobody may be waiting for it.
    #[serde(default = "url_on_request", rename = "downloadURL")]
    pub download_url: DownloadUrl,
}

/// What the operator made of the policy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DebugBundlePolicyStatus {
    /// Ready: whether the operator follows the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The DebugBundle that the operator created last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_bundle: Option<LastBundle>,

    /// Number of DebugBundles that the operator created by itself since its first start in this namespace.
    #[serde(default)]
    pub made: i64,

    /// Number of Backups and Restores for which none was created, by reason: RateLimited, QuotaExceeded, Suspended,
    /// NotSelected, Skipped, Refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, i64>,

    /// The generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A DebugBundle that the operator created.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LastBundle {
    /// Its name.
    pub name: String,
    /// Its target, such as `Restore r1`.
    pub target: String,
    /// What happened to the target.
    pub trigger: Trigger,
    /// When it was created.
    pub timestamp: Time,
}

impl Default for DebugBundlePolicySpec {
    fn default() -> Self {
        Self {
            on: every_trigger(),
            kinds: both_kinds(),
            selector: None,
            schedules: Vec::new(),
            stuck_after: default_stuck_after(),
            max_age: default_max_age(),
            rate_per_hour: default_rate(),
            keep_per_target: default_keep_per_target(),
            keep_total: default_keep_total(),
            template: BundleTemplate::default(),
            suspend: false,
        }
    }
}

impl DebugBundlePolicySpec {
    /// `stuckAfter`.
    pub fn stuck_after(&self) -> Duration {
        parse_duration(&self.stuck_after).unwrap_or(Duration::from_mins(30))
    }

    /// `maxAge`.
    pub fn max_age(&self) -> Duration {
        parse_duration(&self.max_age).unwrap_or(Duration::from_hours(1))
    }
}

impl Default for BundleTemplate {
    fn default() -> Self {
        Self {
            storage_location: None,
            logs: Logs::default(),
            redaction: Redaction::default(),
            ttl: default_ttl(),
            download_url: url_on_request(),
        }
    }
}

fn every_trigger() -> Vec<Trigger> {
    Trigger::AUTOMATIC.to_vec()
}

fn both_kinds() -> Vec<TargetKind> {
    vec![TargetKind::Backup, TargetKind::Restore]
}

fn default_stuck_after() -> String {
    "30m".to_owned()
}

fn default_max_age() -> String {
    "1h".to_owned()
}

fn default_rate() -> i64 {
    10
}

fn default_keep_per_target() -> i64 {
    3
}

fn default_keep_total() -> i64 {
    50
}

fn url_on_request() -> DownloadUrl {
    DownloadUrl { policy: UrlPolicy::OnRequest, ..DownloadUrl::default() }
}

fn on_schema(_: &mut SchemaGenerator) -> Schema {
    set_of(4, &json!({ "type": "string", "enum": Trigger::AUTOMATIC.map(Trigger::as_str) }))
}

fn kinds_schema(_: &mut SchemaGenerator) -> Schema {
    let mut schema = set_of(2, &json!({ "type": "string", "enum": ["Backup", "Restore"] }));
    schema.insert("minItems".to_owned(), 1.into());
    schema
}

fn schedules_schema(_: &mut SchemaGenerator) -> Schema {
    set_of(256, &json!({ "type": "string", "minLength": 1, "maxLength": 253 }))
}
