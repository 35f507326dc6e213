//! The policy's status: whether the operator follows the policy, and how many DebugBundles it created.

use std::collections::BTreeMap;

use debugbundle_crd::{DebugBundlePolicy, DebugBundlePolicyStatus, Reason, TargetKind};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{Automatic, ledger::Ledger, rules::Rules};
use crate::{client::in_time, self_redaction, status::whole_seconds};

/// The most bytes of the condition's message.
const MESSAGE: usize = 1024;

/// The status of a policy with these rules. An error in `rules` says why the policy is invalid. `unseen_hangs` says why
/// no running target of a kind counts as stuck.
pub(super) fn status(
    policy: &DebugBundlePolicy,
    rules: Result<&Rules, &String>,
    unseen_hangs: &BTreeMap<TargetKind, String>,
    ledger: &Ledger,
    now: Timestamp,
) -> DebugBundlePolicyStatus {
    let (ready, reason, message) = match rules {
        Err(error) => (false, Reason::InvalidSpec, format!("{error}; no DebugBundle is created by itself")),
        Ok(rules) if rules.is_suspended() => {
            (false, Reason::Suspended, "spec.suspend is true; no DebugBundle is created by itself".to_owned())
        }
        Ok(_) => (true, Reason::InForce, "the operator follows the policy".to_owned()),
    };
    let unseen = unseen_hangs.iter().map(|(kind, why)| format!("; no running {kind} counts as stuck: {why}"));
    let message = message + &unseen.collect::<String>();
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
