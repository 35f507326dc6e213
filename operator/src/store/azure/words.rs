//! The words of Azure's users: permissions as role assignments name them, config keys as Velero's Azure plugin does.

use crate::{location::Words, store::Action};

/// For messages that are the same for all providers.
pub(in crate::store) const WORDS: Words = Words {
    place: "bucket (the blob container), storageAccount and storageAccountURI",
    besides_bucket: "storageAccount",
    server: "storageAccountURI",
    accept: "correct the account key, client secret or certificate in the Secret that the location names, or the identity of \
             the operator's pod",
    allow: "assign the role Storage Blob Data Contributor on the container to the identity, or let the storage account's \
            firewall allow the operator's network",
};

/// The permission that an action needs, as a role has it below `Microsoft.Storage/storageAccounts/blobServices`; or what
/// else Azure refuses with 403.
pub(super) fn permission(action: Action, code: &str) -> &'static str {
    if code == "AuthorizationFailure" {
        return "the request (does the storage account's firewall allow the operator's network?)";
    }
    match action {
        Action::Get => "containers/blobs/read",
        Action::Put | Action::Abort => "containers/blobs/write",
        Action::Delete => "containers/blobs/delete",
        Action::List | Action::ListUploads | Action::FindRegion => "containers/blobs/read (list)",
        Action::SignUrl => "generateUserDelegationKey/action",
    }
}

/// What cures a credential that is not accepted, by the store's error code.
pub(super) fn credential_cure(code: &str, is_key: bool) -> &'static str {
    match code {
        "AuthenticationFailed" if is_key => "the account key does not belong to this storage account",
        "KeyBasedAuthenticationNotPermitted" => {
            "the storage account does not allow account keys; allow them there, or set config key useAAD to true"
        }
        "AccountIsDisabled" => "the storage account is disabled",
        _ if is_key => "renew the account key in its Secret",
        _ => "is the identity one of the storage account's own tenant?",
    }
}
