//! The DebugBundle resource (`debugbundle.io/v1alpha1`): its types, its schema and the words of its status.
//! What the operator does with it is not here: this crate has no I/O, so that clients can depend on it alone.
//!
//! * [`spec`]: what a user asks for, with the rules that the API server enforces.
//! * [`status`]: what the operator answers.
//! * [`reason`]: the one vocabulary of condition reasons, Event reasons and metric labels.

pub mod reason;
pub mod spec;
pub mod status;

pub use reason::Reason;
pub use spec::{
    ByteSize, ConfigMapRedaction, DebugBundle, DebugBundleSpec, DownloadUrl, LogWindow, Logs, Redaction, Target,
    TargetKind, UrlPolicy, parse_duration,
};
pub use status::{Bundle, ConditionType, DebugBundleStatus, Finding, Phase, Progress, Severity, Stage, Upload};

use kube::CustomResourceExt as _;

/// The API group; also the prefix of our labels, annotations and finalizer.
pub const GROUP: &str = "debugbundle.io";
/// The finalizer that stands for the uploaded object and an unfinished upload.
pub const FINALIZER: &str = "debugbundle.io/delete-bundle";
/// A change of this annotation's value asks for a new download URL; the value itself has no meaning.
pub const RENEW_URL_ANNOTATION: &str = "debugbundle.io/renew-url";
/// The most characters of that value: status holds it.
pub const RENEW_URL_LIMIT: usize = 64;
/// Why a bundle was made: [`TRIGGER_REQUEST`], as without the label, or what made the operator create it by itself. The operator
/// runs bundles that somebody asked for before automatic ones.
pub const TRIGGER_LABEL: &str = "debugbundle.io/trigger";
/// The value of [`TRIGGER_LABEL`] for a bundle that somebody asked for.
pub const TRIGGER_REQUEST: &str = "Request";
/// Set on automatic bundles: a Velero backup of the namespace leaves them out.
pub const EXCLUDE_FROM_BACKUP_LABEL: &str = "velero.io/exclude-from-backup";
/// Velero puts this label on what it restored; a restored DebugBundle is never run again.
pub const RESTORED_BY_LABEL: &str = "velero.io/restore-name";

/// The CustomResourceDefinition as committed in `deploy/crd.yaml`.
///
/// # Panics
/// Never: the definition is built from types that serialise.
pub fn crd_yaml() -> String {
    let definition = DebugBundle::crd();
    let value = serde_json::to_value(&definition).expect("a CustomResourceDefinition serialises to JSON");
    serde_saphyr::to_string(&value).expect("JSON serialises to YAML")
}

#[cfg(test)]
mod tests {
    #[test]
    fn deploy_has_the_crd_that_the_types_make() {
        let committed = include_str!("../../deploy/crd.yaml");
        assert!(committed == super::crd_yaml(), "deploy/crd.yaml is stale; mend it with: cargo crd");
    }
}
