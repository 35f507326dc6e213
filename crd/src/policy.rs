//! DebugBundlePolicy: sets when the operator creates DebugBundles by itself, and what these DebugBundles contain.

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

/// When the operator creates DebugBundles by itself. Without a policy the defaults below apply.
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
    doc = "A DebugBundlePolicy sets when the operator creates DebugBundles by itself, and what these DebugBundles contain. Its name is default, and it lives in Velero's own namespace. Without a policy the defaults of its fields apply. A change applies to Backups and Restores that end or hang after the change.",
    validation = kube::core::Rule::new("self.metadata.name == 'default'").message("the name of a DebugBundlePolicy must be default"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", description = "Whether the operator creates no DebugBundles by itself"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the operator follows the policy"),
    printcolumn(name = "Made", type_ = "integer", json_path = ".status.made", description = "Number of DebugBundles that the operator created by itself"),
    printcolumn(name = "Last", type_ = "string", json_path = ".status.lastBundle.name", description = "Name of the last of these DebugBundles"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "Message of the Ready condition", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DebugBundlePolicySpec {
    /// What leads to a DebugBundle. PartiallyFailed, Failed and FailedValidation: a Backup or Restore ended in this
    /// phase. Stuck: a Backup or Restore is unfinished, and nothing moved for stuckAfter.
    #[serde(default = "every_trigger")]
    #[schemars(schema_with = "triggers_schema")]
    pub triggers: Vec<Trigger>,

    /// Kinds of objects that lead to a DebugBundle.
    #[serde(default = "both_kinds")]
    #[schemars(schema_with = "kinds_schema")]
    pub kinds: Vec<TargetKind>,

    /// Labels that a Backup or Restore must have. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,

    /// Names of Schedules. If set, only the Backups of these Schedules lead to DebugBundles, and only the Restores
    /// whose spec.scheduleName is one of these names. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schedules_schema")]
    pub schedules: Vec<String>,

    /// An unfinished Backup or Restore counts as stuck after this time without a change of its status or of the status
    /// of its data movements; between 5m and 24h. A Backup or Restore that Velero has not begun counts as stuck when
    /// nothing in front of it has changed for the same time.
    #[serde(default = "default_stuck_after")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("5m", "24h", "30m"))]
    pub stuck_after: String,

    /// Age from which an end or a hang leads to no DebugBundle any more; between 5m and 24h. The age matters after a
    /// time in which the operator was down.
    #[serde(default = "default_max_age")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("5m", "24h", "1h"))]
    pub max_age: String,

    /// Maximum number of DebugBundles that the operator creates by itself within an hour. status.leftOut counts the
    /// Backups and Restores beyond this number.
    #[serde(default = "default_rate")]
    #[schemars(range(min = 1, max = 100))]
    pub rate_per_hour: i64,

    /// Maximum number of these DebugBundles to keep for one target; the Backups of one Schedule count as one target.
    /// The operator deletes the oldest ones, with their bundles in the store.
    #[serde(default = "default_keep_per_target")]
    #[schemars(range(min = 1, max = 100))]
    pub keep_per_target: i64,

    /// Maximum number of these DebugBundles to keep in all. The operator deletes the oldest ones, with their bundles in
    /// the store.
    #[serde(default = "default_keep_total")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_total: i64,

    /// What these DebugBundles contain, and how long they are kept.
    #[serde(default)]
    pub template: BundleTemplate,

    /// If true, the operator creates no DebugBundles by itself.
    #[serde(default)]
    pub suspend: bool,
}

/// What the operator writes into the spec of a DebugBundle that it creates. The fields are those of a DebugBundle.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BundleTemplate {
    /// Name of the BackupStorageLocation to which the bundles are uploaded. It must be ReadWrite. Default: the location
    /// of the target; if that is ReadOnly, nothing is uploaded, and status contains only cause and findings.
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

    /// The download URL. Default: the operator signs a URL only on request, because possibly no user waits for it.
    #[serde(default = "url_on_request", rename = "downloadURL")]
    pub download_url: DownloadUrl,
}

/// The state of the policy, as the operator reports it.
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

    /// Number of Backups and Restores for which the operator created no DebugBundle, by reason: RateLimited,
    /// QuotaExceeded, Suspended, NotSelected, Skipped, Refused.
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
            triggers: every_trigger(),
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

fn triggers_schema(_: &mut SchemaGenerator) -> Schema {
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
