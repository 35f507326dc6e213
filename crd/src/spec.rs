//! What a user requests: the spec of a DebugBundle, and every rule that the API server enforces. Only the operator can
//! check whether the objects it names exist; it reports that in status.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema, core::Rule};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::status::DebugBundleStatus;

/// A DebugBundle collects everything that explains what happened to a Velero Backup or Restore, removes secrets,
/// and stores it as one tar.gz in the BackupStorageLocation's object store. It lives in Velero's own namespace.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "debugbundle.io",
    version = "v1alpha1",
    kind = "DebugBundle",
    plural = "debugbundles",
    singular = "debugbundle",
    shortname = "dbundle",
    category = "velero",
    category = "all",
    namespaced,
    status = "DebugBundleStatus",
    derive = "PartialEq",
    doc = "A DebugBundle collects everything that explains what happened to a Velero Backup or Restore, removes secrets, and stores it as one tar.gz in the BackupStorageLocation's object store. Create it in Velero's own namespace. Without spec.target it covers the whole installation.",
    validation = kube::core::Rule::new("self.spec == oldSelf.spec").message("spec is immutable; create another DebugBundle"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.target.kind", description = "Kind of the target; empty for the whole installation"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name", description = "Name of the Backup or Restore"),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".status.trigger", description = "Request, or why the operator created it by itself: PartiallyFailed, Failed, FailedValidation or Stuck"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "New, Queued, Collecting, Uploading, Completed, PartiallyFailed or Failed"),
    printcolumn(name = "Cause", type_ = "string", json_path = ".status.causeBrief", description = "First line of the diagnosis, shortened"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.bundle.size", description = "Size of the stored bundle"),
    printcolumn(name = "Confidence", type_ = "string", json_path = ".status.confidence", description = "How sure the cause is: certain, likely or unknown", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "Message of the Ready condition", priority = 1),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.message", description = "What the operator is doing now", priority = 1),
    printcolumn(name = "Missing", type_ = "integer", json_path = ".status.missing", description = "Number of wanted items that are missing in the bundle", priority = 1),
    printcolumn(name = "Location", type_ = "string", json_path = ".status.bundle.storageLocation", description = "BackupStorageLocation that contains the bundle", priority = 1),
    printcolumn(name = "URL until", type_ = "string", json_path = ".status.downloadURLExpiration", description = "When the download URL stops working", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiration", description = "When the bundle and this resource are deleted", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DebugBundleSpec {
    /// The Backup or Restore that the bundle explains. Without a target the bundle covers the whole installation, like
    /// `velero debug` without flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,

    /// Name of the BackupStorageLocation, in the same namespace, to which the bundle is uploaded. It must be
    /// ReadWrite. Default: the location of the target, else the default location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = object_name())]
    pub storage_location: Option<String>,

    /// Further namespaces to collect in full: pods, events, claims, quotas. At most 32 namespaces, each on the
    /// operator's allow-list. The operator finds the namespaces that the target touched by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "namespaces_schema")]
    pub namespaces: Vec<String>,

    /// Which part of the logs the bundle contains.
    #[serde(default)]
    pub logs: Logs,

    /// Additions to the built-in redaction, which cannot be switched off.
    #[serde(default)]
    pub redaction: Redaction,

    /// Time limit of the collection, between 30s and 6h. Items that are not read in time are listed as missing; the
    /// bundle is stored all the same.
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("30s", "6h", "15m or 1h30m"))]
    pub timeout: String,

    /// How long the bundle is kept, between 1h and 2160h (90 days). After that the operator deletes the object in the
    /// store and this resource.
    #[serde(default = "default_ttl")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("1h", "2160h", "720h"))]
    pub ttl: String,

    /// The download URL in status. Anyone who may get this resource can use it.
    #[serde(default, rename = "downloadURL")]
    pub download_url: DownloadUrl,
}

/// The Backup or Restore that a bundle explains, in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Kind of the target: Backup or Restore.
    pub kind: TargetKind,
    /// Name of the Backup or Restore.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = object_name())]
    pub name: String,
}

/// Kinds of Velero objects that a bundle can be about.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// A Velero Backup.
    Backup,
    /// A Velero Restore.
    Restore,
}

impl TargetKind {
    /// The kind as Velero spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "Backup",
            Self::Restore => "Restore",
        }
    }
}

impl std::fmt::Display for TargetKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which part of the logs the bundle contains.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// Time span of the log lines to keep. Default: from 10 minutes before the target's start to 10 minutes after its
    /// end (or until now, while it runs).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<LogWindow>,

    /// Number of last lines to keep of each container's log, between 1 and 1000000. Default: all lines of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tail_lines: Option<i64>,

    /// Maximum size to keep of one container's log, uncompressed, between 4Ki and 1Gi. A longer log keeps its beginning
    /// (a quarter) and its end; a line between them says how much was left out.
    #[serde(default)]
    #[x_kube(validation = kube::core::Rule::new("string(self).matches('^[0-9]+([.][0-9]{1,9})?(k|M|G|Ki|Mi|Gi)?$') && quantity(string(self)).compareTo(quantity('4Ki')) >= 0 && quantity(string(self)).compareTo(quantity('1Gi')) <= 0").message("must be a quantity between 4Ki and 1Gi, such as 32Mi"))]
    pub max_bytes_per_container: ByteSize,

    /// Whether to collect also the logs of the previous instance of restarted containers.
    #[serde(default = "yes")]
    pub previous: bool,
}

/// A time span. Set at most one of `since` and `sinceTime`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("!(has(self.since) && has(self.sinceTime))").message("set at most one of since, sinceTime"),
    validation = kube::core::Rule::new("!(has(self.sinceTime) && has(self.untilTime)) || self.sinceTime < self.untilTime").message("sinceTime must be before untilTime")
)]
pub struct LogWindow {
    /// Keep lines younger than this, counted back from the start of the collection; between 1s and 8760h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("1s", "8760h", "2h"))]
    pub since: Option<String>,

    /// Keep lines from this time on (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_time: Option<Time>,

    /// Keep lines up to this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_time: Option<Time>,
}

/// Additions to the built-in redaction.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Redaction {
    /// Regular expressions (RE2 syntax, linear time); each match is replaced by a token. At most 64 rules, each of at
    /// most 512 characters, 16384 characters in all. Once compiled, all rules together may need 1 MiB of memory; a
    /// repetition counts as often as it repeats. If they need more, the DebugBundle ends Failed with InvalidSpec, and
    /// the message names the largest rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules_schema")]
    #[x_kube(validation = kube::core::Rule::new("self.map(rule, size(rule)).sum() <= 16384").message("must have at most 16384 characters in all rules together"))]
    pub rules: Vec<String>,

    /// Masked: ConfigMaps that Velero uses keep their values, with secrets masked; other ConfigMaps keep only their
    /// keys. Keys: all ConfigMaps keep only their keys.
    #[serde(default)]
    pub config_maps: ConfigMapRedaction,
}

/// What a bundle contains of ConfigMaps.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfigMapRedaction {
    /// Values with secrets masked, if Velero uses the ConfigMap; else only keys.
    #[default]
    Masked,
    /// Only keys.
    Keys,
}

/// The download URL in status.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DownloadUrl {
    /// OnCompletion: a URL is signed when the bundle is stored, and when the annotation debugbundle.io/renew-url
    /// changes. OnRequest: a URL is signed only when the annotation changes. Never: no URL is signed.
    #[serde(default)]
    pub policy: UrlPolicy,

    /// How long a URL works, between 1m and 168h. It ends earlier if the credential that signed it expires;
    /// status.downloadURLExpiration contains the actual end.
    #[serde(default = "default_url_ttl")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("1m", "168h", "1h"))]
    pub ttl: String,
}

/// When a download URL is signed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UrlPolicy {
    /// When the bundle is stored, and on request.
    #[default]
    OnCompletion,
    /// On request.
    OnRequest,
    /// Never.
    Never,
}

impl Default for Logs {
    fn default() -> Self {
        Self { window: None, tail_lines: None, max_bytes_per_container: ByteSize::default(), previous: true }
    }
}

impl Default for DownloadUrl {
    fn default() -> Self {
        Self { policy: UrlPolicy::default(), ttl: default_url_ttl() }
    }
}

impl DebugBundleSpec {
    /// A spec with all defaults, about this target.
    pub fn about(kind: TargetKind, name: impl Into<String>) -> Self {
        Self { target: Some(Target { kind, name: name.into() }), ..Self::installation() }
    }

    /// A spec with all defaults and no target.
    pub fn installation() -> Self {
        Self { timeout: default_timeout(), ttl: default_ttl(), ..Self::default() }
    }
}

fn default_timeout() -> String {
    "15m".to_owned()
}

pub(crate) fn default_ttl() -> String {
    "720h".to_owned()
}

fn default_url_ttl() -> String {
    "1h".to_owned()
}

fn yes() -> bool {
    true
}

/// A number of bytes, written as a Kubernetes quantity (`32Mi`) or a plain integer.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct ByteSize(pub String);

impl Default for ByteSize {
    fn default() -> Self {
        Self("32Mi".to_owned())
    }
}

impl ByteSize {
    /// The number of bytes, rounded down; `None` for an unsupported form. The API server accepts only quantities.
    pub fn bytes(&self) -> Option<u64> {
        let digits = self.0.trim_end_matches(|c: char| !c.is_ascii_digit());
        let factor: u64 = match &self.0[digits.len()..] {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => return None,
        };
        match digits.split_once('.') {
            None => digits.parse::<u64>().ok()?.checked_mul(factor),
            Some((whole, part)) if part.len() <= 9 => {
                let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
                let rest = part.parse::<u64>().ok()?.checked_mul(factor)? / scale;
                whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(rest)
            }
            Some(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(i64),
            String(String),
        }
        Ok(match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(number) => Self(number.to_string()),
            IntOrString::String(text) => Self(text),
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
        })
    }
}

/// The rule for a duration between these bounds, in the form that [`parse_duration`] reads.
pub(crate) fn duration_between(least: &str, most: &str, example: &str) -> Rule {
    Rule::new(format!(
        "self.matches('^([0-9]{{1,6}}h)?([0-9]{{1,6}}m)?([0-9]{{1,8}}s)?$') && size(self) > 0 && duration(self) >= \
         duration('{least}') && duration(self) <= duration('{most}')"
    ))
    .message(format!("must be a duration between {least} and {most}, such as {example}").as_str())
}

/// The rule for the name of an object.
pub(crate) fn object_name() -> Rule {
    Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("must be a DNS-1123 subdomain: lower-case letters, digits, '-' and '.'")
}

/// The schema of a list of different items, at most `most`.
pub(crate) fn set_of(most: u32, items: &Value) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": most,
        "x-kubernetes-list-type": "set",
        "items": items,
    })
}

fn namespaces_schema(_: &mut SchemaGenerator) -> Schema {
    let pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
    set_of(32, &json!({ "type": "string", "minLength": 1, "maxLength": 63, "pattern": pattern }))
}

fn rules_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": { "type": "string", "minLength": 1, "maxLength": 512 },
    })
}

/// Parses `1h30m`, `90s` and the like: the durations that the schema accepts.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, factor) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
            rest = after;
        }
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(parse_duration("720h"), Some(Duration::from_hours(720)));
        assert_eq!(parse_duration("90s"), Some(Duration::from_secs(90)));
        for bad in ["", "7", "1y", "-1h", "1m1h", "h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_as_quantities() {
        for (text, bytes) in [("32Mi", 33_554_432), ("4Ki", 4096), ("1000", 1000), ("1.5Ki", 1536), ("1M", 1_000_000)] {
            assert_eq!(ByteSize(text.to_owned()).bytes(), Some(bytes), "{text}");
        }
        assert_eq!(ByteSize("5Gib".to_owned()).bytes(), None);
    }
}
