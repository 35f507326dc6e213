//! The DebugBundle resource (`debugbundle.io/v1alpha1`): its types, its schema and the words of its status. This crate
//! has no I/O, so that clients can depend on it alone.
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
pub use status::{
    Bundle, ConditionType, DebugBundleStatus, FindingSummary, Phase, Progress, Severity, Stage, UploadState,
};

use kube::CustomResourceExt as _;

/// The API group; also the prefix of our labels and annotations.
pub const GROUP: &str = "debugbundle.io";
/// The finalizer that earlier versions put on each DebugBundle. The operator removes it wherever it sees it: it would
/// keep the namespace when the operator is gone.
pub const FINALIZER: &str = "debugbundle.io/delete-bundle";
/// Changing this annotation's value requests a new download URL; the value itself has no meaning.
pub const RENEW_URL_ANNOTATION: &str = "debugbundle.io/renew-url";
/// Longest value of that annotation, in characters, because status repeats it.
pub const RENEW_URL_LIMIT: usize = 64;
/// Why a bundle exists: [`TRIGGER_REQUEST`] (the default without the label), or the event for which the operator
/// created it. The operator runs requested bundles before automatic ones.
pub const TRIGGER_LABEL: &str = "debugbundle.io/trigger";
/// The value of [`TRIGGER_LABEL`] for a bundle that a user requested.
pub const TRIGGER_REQUEST: &str = "Request";
/// Velero sets this label on restored objects; a restored DebugBundle never runs again.
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
