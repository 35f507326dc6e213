//! The `config` of a backup or snapshot location: the keys that the plugins document keep their values, all other
//! values are masked. `location` interprets the keys.

use serde_json::{Map, Value};

use crate::object::Cleaner;

pub(super) const RULE: &str = "location-config";

/// The keys of the plugins for AWS, Azure and GCP, of CSI and of vSphere, from their documentation; none holds a
/// secret. The list is separate from what `location` reads: a key that it reads is not automatically fit to be shown.
const KNOWN: &[&str] = &[
    "region",
    "s3Url",
    "publicUrl",
    "kmsKeyId",
    "customerKeyEncryptionFile",
    "customerKeyEncryptionSecret",
    "s3ForcePathStyle",
    "signatureVersion",
    "credentialsFile",
    "profile",
    "serverSideEncryption",
    "insecureSkipTLSVerify",
    "enableSharedConfig",
    "tagging",
    "checksumAlgorithm",
    "bucket",
    "prefix",
    "caCert",
    "resourceGroup",
    "subscriptionId",
    "storageAccount",
    "storageAccountKeyEnvVar",
    "storageAccountURI",
    "useAAD",
    "activeDirectoryAuthorityURI",
    "blockSizeInBytes",
    "apiTimeout",
    "incremental",
    "snapsToCopy",
    "tags",
    "kmsKeyName",
    "serviceAccount",
    "storeEndpoint",
    "universeDomain",
    "snapshotLocation",
    "project",
    "volumeProject",
    "snapshotType",
];

/// A location, or the part of a DataProtectionApplication that becomes a location.
pub(super) fn is_location(map: &Map<String, Value>) -> bool {
    map.get("provider").is_some_and(Value::is_string) && map.get("config").is_some_and(Value::is_object)
}

/// The copy of a location and its credential that the vSphere plugin puts into its BackupRepositories and claims; the
/// first spelling is the one that it writes.
pub(super) fn is_repository(key: &str) -> bool {
    matches!(key, "repopsitoryParameters" | "repositoryParameters")
}

pub(super) fn clean(by: &mut Cleaner<'_>, config: &mut Map<String, Value>) {
    for (key, value) in config {
        match value {
            Value::String(text) if KNOWN.contains(&key.as_str()) => {
                if text.contains("://") {
                    by.url(text, RULE);
                } else {
                    by.string(text);
                }
            }
            Value::String(text) => by.mask(text, RULE),
            Value::Null | Value::Bool(_) => {}
            other => {
                let mut text = other.to_string();
                by.mask(&mut text, RULE);
                *other = Value::String(text);
            }
        }
    }
}
