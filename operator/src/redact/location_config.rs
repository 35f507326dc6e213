//! The `config` of a backup or snapshot location: keys that the plugins know are shown, the values of all others masked.
//! Which key means what is the business of `location`.

use serde_json::{Map, Value};

use super::object::Cleaner;

pub(super) const RULE: &str = "location-config";

/// The keys of the plugins for AWS, Azure and GCP, of CSI and of vSphere, from their documentation; none holds a secret. A list
/// of its own, apart from what `location` reads: a key that can be read there is not yet fit to be shown here.
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

/// A location, or the part of a DataProtectionApplication that becomes one.
pub(super) fn is_location(map: &Map<String, Value>) -> bool {
    map.get("provider").is_some_and(Value::is_string) && map.get("config").is_some_and(Value::is_object)
}

/// What the vSphere plugin copies of a location and its credential into its BackupRepositories and claims; it writes the
/// key as the first is written.
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
