//! The words of Azure's users: permissions as role assignments name them, config keys as Velero's Azure plugin does.

use crate::{location::Words, store::Action};

/// For messages that are the same for all providers.
pub(in crate::store) const WORDS: Words = Words {
    place: "bucket (the blob container), storageAccount and storageAccountURI",
    besides_bucket: "storageAccount",
    server: "storageAccountURI",
};

/// The permission that an action needs. An account key has them all, so a refusal has another cause: mostly the
/// account's firewall, which answers `AuthorizationFailure`.
pub(super) fn permission(action: Action, code: &str) -> &'static str {
    let firewall = code == "AuthorizationFailure";
    match action {
        Action::Get if firewall => "to read (does the storage account's firewall allow the operator's network?)",
        Action::Put | Action::Abort if firewall => {
            "to write (does the storage account's firewall allow the operator's network?)"
        }
        Action::Delete if firewall => "to delete (does the storage account's firewall allow the operator's network?)",
        Action::List | Action::ListUploads | Action::FindRegion if firewall => {
            "to list (does the storage account's firewall allow the operator's network?)"
        }
        Action::Get => "containers/blobs/read",
        Action::Put | Action::Abort => "containers/blobs/write",
        Action::Delete => "containers/blobs/delete",
        Action::List | Action::ListUploads | Action::FindRegion => "containers/blobs/read (list)",
    }
}

/// What cures a credential that is not accepted, by the store's error code.
pub(super) fn credential_cure(code: &str) -> &'static str {
    match code {
        "AuthenticationFailed" => "the account key does not belong to this storage account",
        "KeyBasedAuthenticationNotPermitted" => "the storage account does not allow account keys; allow them there",
        "AccountIsDisabled" => "the storage account is disabled",
        _ => "renew the account key in its Secret",
    }
}
