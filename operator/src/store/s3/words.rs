//! The words of S3's users: permissions as IAM policies name them, config keys as Velero's AWS plugin does.

use crate::{location::Words, store::Action};

/// For messages that are the same for all providers.
pub(in crate::store) const WORDS: Words = Words {
    place: "bucket, region and s3Url",
    besides_bucket: "region",
    server: "s3Url",
    accept: "put the correct keys into the Secret that the location names",
    allow: "allow this action in the policy of the credential's user or role",
};

/// The permission that an action needs.
pub(super) const fn permission(action: Action) -> &'static str {
    match action {
        Action::Get | Action::SignUrl => "s3:GetObject",
        Action::Put => "s3:PutObject",
        Action::Delete => "s3:DeleteObject",
        Action::Abort => "s3:AbortMultipartUpload",
        Action::ListUploads => "s3:ListBucketMultipartUploads",
        Action::FindRegion | Action::List => "s3:ListBucket",
    }
}

/// What cures a credential that is not accepted, by the store's error code.
pub(super) fn credential_cure(code: &str) -> &'static str {
    match code {
        "SignatureDoesNotMatch" => "the secret key does not belong to this key id",
        "InvalidAccessKeyId" | "InvalidClientTokenId" => "the store does not know the key id",
        _ => "renew the credential in its Secret",
    }
}

/// What cures a wrong region; `region` is where the store says that the bucket is.
pub(super) fn region_cure(region: Option<&str>) -> String {
    region.map_or_else(
        || "set the location's config key region".to_owned(),
        |region| format!("set the location's config key region to {region}"),
    )
}
