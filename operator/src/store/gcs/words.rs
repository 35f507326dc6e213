//! The words of Google's users: permissions as IAM names them, config keys as Velero's GCP plugin does.

use crate::{location::Words, store::Action};

/// For messages that are the same for all providers.
pub(in crate::store) const WORDS: Words = Words {
    place: "bucket and storeEndpoint",
    besides_bucket: "storeEndpoint",
    server: "storeEndpoint",
    accept: "put a valid key file into the Secret that the location names, or bind the operator's ServiceAccount to the \
             service account",
    allow: "grant the role Storage Object Admin on the bucket to the service account",
};

/// The permission that an action needs, or what else Google refuses with 403.
pub(super) fn permission(action: Action, code: &str) -> &'static str {
    match (action, code) {
        (_, "SERVICE_DISABLED" | "accessNotConfigured") => {
            "every request (is the Cloud Storage API enabled in the project of the service account?)"
        }
        (_, "vpcServiceControls" | "SECURITY_POLICY_VIOLATED") => {
            "the request (does a VPC Service Controls perimeter allow the operator's network?)"
        }
        (_, "accountDisabled" | "BILLING_DISABLED" | "userProjectAccountProblem" | "UserProjectAccountProblem") => {
            "every request (is billing enabled in the bucket's project?)"
        }
        (_, "retentionPolicyNotMet" | "objectUnderActiveHold") => {
            "to replace or delete (the bucket's retention policy or a hold keeps the object)"
        }
        (Action::Get, _) => "storage.objects.get",
        // Replacing an object needs both.
        (Action::Put, _) => "storage.objects.create (and storage.objects.delete, to replace)",
        (Action::Delete | Action::Abort, _) => "storage.objects.delete",
        (Action::List | Action::ListUploads | Action::FindRegion, _) => "storage.objects.list",
        (Action::SignUrl, _) => "iam.serviceAccounts.signBlob",
    }
}

/// What cures a credential that is not accepted.
pub(super) const CREDENTIAL_CURE: &str = "is the service account, or its key, deleted, disabled or expired?";
