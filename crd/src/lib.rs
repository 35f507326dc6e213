//! The resources of `debugbundle.io/v1alpha1`: their types, their schemas and the words of their statuses. This crate
//! has no I/O, so that clients can depend on it alone.
//!
//! * [`spec`]: what a user asks for in a DebugBundle, with the rules that the API server enforces.
//! * [`status`]: what the operator answers.
//! * [`policy`]: DebugBundlePolicy: when the operator creates DebugBundles by itself.
//! * [`trigger`]: why a DebugBundle exists.
//! * [`reason`]: the one vocabulary of condition reasons, Event reasons and metric labels.

pub mod policy;
pub mod reason;
pub mod spec;
pub mod status;
pub mod trigger;

pub use policy::{
    BundleTemplate, DebugBundlePolicy, DebugBundlePolicySpec, DebugBundlePolicyStatus, LastBundle, POLICY_NAME,
};
pub use reason::Reason;
pub use spec::{
    ByteSize, ConfigMapRedaction, DebugBundle, DebugBundleSpec, DownloadUrl, LogWindow, Logs, Redaction, Target,
    TargetKind, UrlPolicy, parse_duration,
};
pub use status::{
    Bundle, CauseConfidence, ConditionType, DebugBundleStatus, FindingSummary, Phase, Progress, Severity, Stage,
    UploadState,
};

pub use trigger::Trigger;

use kube::CustomResourceExt as _;

/// The API group; also the prefix of our labels and annotations.
pub const GROUP: &str = "debugbundle.io";
/// The finalizer that earlier versions put on each DebugBundle. The operator removes it: without an operator it would
/// block the deletion of the namespace.
pub const FINALIZER: &str = "debugbundle.io/delete-bundle";
/// Changing this annotation's value requests a new download URL; the value itself has no meaning.
pub const RENEW_URL_ANNOTATION: &str = "debugbundle.io/renew-url";
/// Longest value of that annotation, in characters, because status repeats it.
pub const RENEW_URL_LIMIT: usize = 64;
/// Why the operator created a DebugBundle: an automatic [`Trigger`]. A DebugBundle without this label was requested.
/// Requested bundles run before automatic ones.
pub const TRIGGER_LABEL: &str = "debugbundle.io/trigger";
/// Kind of the target of an automatic bundle.
pub const TARGET_KIND_LABEL: &str = "debugbundle.io/target-kind";
/// Name of that target, shortened as Velero shortens names in labels.
pub const TARGET_NAME_LABEL: &str = "debugbundle.io/target-name";
/// UID of that target.
pub const TARGET_UID_LABEL: &str = "debugbundle.io/target-uid";
/// Name of the Schedule that created that target.
pub const SCHEDULE_LABEL: &str = "debugbundle.io/schedule";
/// On a Backup, a Restore or a Schedule with the value `true`: the operator creates no DebugBundle for it by itself.
pub const SKIP_LABEL: &str = "debugbundle.io/skip";
/// Velero sets this label on restored objects; a restored DebugBundle never runs again.
pub const RESTORED_BY_LABEL: &str = "velero.io/restore-name";

/// The CustomResourceDefinitions as committed in `deploy/crd.yaml`.
///
/// # Panics
/// Never: the definitions are built from types that serialise.
pub fn crd_yaml() -> String {
    let written = [DebugBundle::crd(), DebugBundlePolicy::crd()].map(|definition| {
        let value = serde_json::to_value(&definition).expect("a CustomResourceDefinition serialises to JSON");
        serde_saphyr::to_string(&value).expect("JSON serialises to YAML")
    });
    written.join("---\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn deploy_has_the_crd_that_the_types_make() {
        let committed = include_str!("../../deploy/crd.yaml");
        assert!(committed == super::crd_yaml(), "deploy/crd.yaml is stale; mend it with: cargo crd");
    }
}
