//! The policy's status: whether the operator follows the policy, and how many DebugBundles it created.

use debugbundle_crd::{DebugBundlePolicy, DebugBundlePolicyStatus, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{Automatic, ledger::Ledger};
use crate::{client::in_time, self_redaction, status::whole_seconds};

/// The most bytes of the condition's message.
const MESSAGE: usize = 1024;

/// Whether the operator follows the policy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing<'a> {
    InForce,
    Suspended,
    /// It is invalid: a sentence from [`invalid`].
    Invalid(&'a str),
}

/// Why the policy is not followed, and what is instead.
pub(super) fn invalid(error: &str, others_in_force: bool) -> String {
    if others_in_force {
        format!("{error}; the last policy that worked stays in force until this one is corrected")
    } else {
        format!("{error}; no DebugBundle is created by itself until the policy is corrected")
    }
}

/// The policy's status. `warnings` are sentences about what does not work although the operator follows the policy.
pub(super) fn status(
    policy: &DebugBundlePolicy,
    standing: Standing<'_>,
    warnings: &[String],
    ledger: &Ledger,
    now: Timestamp,
) -> DebugBundlePolicyStatus {
    let (ready, reason, message) = match standing {
        Standing::Invalid(why) => (false, Reason::InvalidSpec, why),
        Standing::Suspended => (false, Reason::Suspended, "spec.suspend is true; no DebugBundle is created by itself"),
        Standing::InForce => (true, Reason::InForce, "the operator follows the policy"),
    };
    let message = warnings.iter().fold(message.to_owned(), |message, warning| format!("{message}; {warning}"));
    let status = if ready { "True" } else { "False" };
    let before = policy.status.iter().flat_map(|before| &before.conditions).find(|before| before.type_ == "Ready");
    let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
    let condition = Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: self_redaction::sanitize_line(&message, MESSAGE),
        last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
        observed_generation: policy.metadata.generation,
    };
    DebugBundlePolicyStatus {
        conditions: vec![condition],
        last_bundle: ledger.last.clone(),
        made: ledger.made_count,
        left_out: ledger.left_out.clone(),
        observed_generation: policy.metadata.generation,
    }
}

/// Writes the status unless the policy has it already. Returns whether the policy has it now.
pub(super) async fn write(automatic: &Automatic, policy: &DebugBundlePolicy, status: &DebugBundlePolicyStatus) -> bool {
    if policy.status.as_ref() == Some(status) {
        return true;
    }
    let api: Api<DebugBundlePolicy> = Api::namespaced(automatic.client.clone(), &automatic.namespace);
    let patch = Patch::Merge(json!({ "metadata": { "uid": policy.uid() }, "status": status }));
    match in_time(api.patch_status(&policy.name_any(), &PatchParams::default(), &patch)).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => false,
        Err(error) => {
            tracing::warn!(failure = crate::error::api_sentence(&error), "The policy's status was not written");
            false
        }
    }
}
