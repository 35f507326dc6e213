//! The configuration keys of Velero's Azure plugin: each honoured, or refused by name.

use super::cloud::{AzureCloud, judge_login};
use crate::{
    location::{Endpoint, EndpointPolicy, Location, LocationError, shown},
    store::config_keys::{all_known, boolean},
};

/// The keys that the plugin knows (`velero-plugin-for-microsoft-azure/object_store.go`).
const KEYS: [&str; 12] = [
    "storageAccount",
    "storageAccountKeyEnvVar",
    "storageAccountURI",
    "useAAD",
    "resourceGroup",
    "subscriptionId",
    "activeDirectoryAuthorityURI",
    "blockSizeInBytes",
    "credentialsFile",
    // Velero adds these three before it hands the config to the plugin; it also accepts them from a user.
    "bucket",
    "prefix",
    "caCert",
];
/// The largest block that the plugin takes, bytes.
const LARGEST_BLOCK: u64 = 100 << 20;

/// What the location's `spec.config` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureConfig {
    /// `storageAccount`
    pub account: String,
    /// `storageAccountKeyEnvVar`: the name, in the credentials file, of the account key.
    pub key_name: Option<String>,
    /// `storageAccountURI`; `None` means the account's host in the cloud that the credentials file names.
    pub endpoint: Option<Endpoint>,
    /// The account's host in Azure's public cloud.
    pub public_endpoint: Endpoint,
    /// `useAAD`: requests carry tokens of an identity.
    pub use_entra: bool,
    /// `subscriptionId`; `None` means the one in the credentials file.
    pub subscription: Option<String>,
    /// `resourceGroup`; `None` means the one in the credentials file.
    pub resource_group: Option<String>,
    /// `activeDirectoryAuthorityURI`: who gives the tokens; `None` means the cloud's login host.
    pub authority: Option<Endpoint>,
    /// `blockSizeInBytes`. As in the plugin, a value that no block can have counts as none.
    pub block: Option<u64>,
}

impl AzureConfig {
    /// Reads the location's config.
    ///
    /// # Errors
    /// `Invalid`, with a sentence for the first thing that is wrong.
    pub fn parse(location: &Location) -> Result<Self, LocationError> {
        Self::read(location).map_err(|why| location.invalid(why))
    }

    /// The same, and checks it against what the operator's admin allows.
    pub(in crate::store) fn checked(location: &Location, policy: EndpointPolicy) -> Result<Self, LocationError> {
        let config = Self::parse(location)?;
        if let Some(endpoint) = &config.endpoint {
            endpoint.judge(policy).map_err(|why| location.invalid(why))?;
        }
        if let Some(authority) = &config.authority {
            if policy.identities.any_login_host {
                authority.judge(policy).map_err(|why| location.invalid(why))?;
            } else {
                judge_login("activeDirectoryAuthorityURI", authority).map_err(|why| location.invalid(why))?;
            }
        }
        Ok(config)
    }

    /// What the config means, as a sentence without its end.
    pub(in crate::store) fn meaning(&self) -> String {
        let account = &self.account;
        match &self.endpoint {
            Some(endpoint) if endpoint.is_plain_http() => format!(
                "the store is storage account {account} at {}; plain http: anyone on the network path can read the traffic",
                endpoint.as_str()
            ),
            Some(endpoint) => format!("the store is storage account {account} at {}", endpoint.as_str()),
            None => format!("the store is storage account {account} of Azure"),
        }
    }

    fn read(location: &Location) -> Result<Self, String> {
        let config = &location.config;
        all_known(config, &KEYS)?;
        let get = |key: &str| config.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let block = get("blockSizeInBytes").and_then(|value| value.parse().ok());
        let account = account(get("storageAccount").ok_or("config key storageAccount is required")?)?;
        Ok(Self {
            public_endpoint: host(&account, AzureCloud::Public.blob_zone())?,
            account,
            key_name: get("storageAccountKeyEnvVar").map(ToOwned::to_owned),
            use_entra: boolean(config.get("useAAD"), "useAAD")?,
            subscription: get("subscriptionId").map(ToOwned::to_owned),
            resource_group: get("resourceGroup").map(ToOwned::to_owned),
            authority: get("activeDirectoryAuthorityURI")
                .map(|value| Endpoint::parse("activeDirectoryAuthorityURI", value))
                .transpose()?,
            endpoint: get("storageAccountURI")
                .map(|value| Endpoint::parse_with_path("storageAccountURI", value))
                .transpose()?,
            block: block.filter(|bytes| (1..=LARGEST_BLOCK).contains(bytes)),
        })
    }
}

/// The account's name, which is a part of its host name.
fn account(value: &str) -> Result<String, String> {
    let sound = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    if (3..=24).contains(&value.len()) && value.chars().all(sound) {
        Ok(value.to_owned())
    } else {
        Err(format!("config key storageAccount is {}; it must be 3 to 24 lower-case letters and digits", shown(value)))
    }
}

/// The account's host in a cloud.
pub(super) fn host(account: &str, zone: &str) -> Result<Endpoint, String> {
    Endpoint::parse("storageAccount", &format!("https://{account}.{zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(config: &serde_json::Value) -> Result<AzureConfig, String> {
        let location = Location::parse(&json!({
            "metadata": {"name": "offsite"},
            "spec": {"provider": "velero.io/azure", "objectStorage": {"bucket": "b"}, "config": config},
        }))
        .expect("a location");
        AzureConfig::checked(&location, EndpointPolicy::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_of_the_plugin_is_honoured() {
        let got = config(&json!({
            "storageAccount": "acct1", "storageAccountKeyEnvVar": "MY_KEY", "useAAD": "true",
            "storageAccountURI": "https://acct1.privatelink.example.com/acct1/", "resourceGroup": "rg",
            "subscriptionId": "0000", "activeDirectoryAuthorityURI": "https://login.microsoftonline.us/",
            "blockSizeInBytes": "1048576", "credentialsFile": "/credentials/cloud", "bucket": "b", "prefix": "p",
            "caCert": "x",
        }))
        .expect("valid");
        let uri = "https://acct1.privatelink.example.com/acct1/";
        assert_eq!(
            got,
            AzureConfig {
                account: "acct1".to_owned(),
                key_name: Some("MY_KEY".to_owned()),
                use_entra: true,
                subscription: Some("0000".to_owned()),
                resource_group: Some("rg".to_owned()),
                authority: Endpoint::parse("x", "https://login.microsoftonline.us").ok(),
                endpoint: Some(Endpoint::parse_with_path("storageAccountURI", uri).expect("valid")),
                public_endpoint: host("acct1", "blob.core.windows.net").expect("valid"),
                block: Some(1 << 20),
            }
        );
        for block in ["0", "104857601", "many", "-1"] {
            let got = config(&json!({"storageAccount": "acct1", "blockSizeInBytes": block}));
            assert_eq!(got.expect("the plugin takes it").block, None, "{block}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (input, expected) in [
            (json!({}), "BackupStorageLocation \"offsite\": config key storageAccount is required"),
            (json!({"storageAccount": "a.b"}), "it must be 3 to 24 lower-case letters and digits"),
            (json!({"storageAccount": "evil/../x"}), "config key storageAccount is \"evil/../x\""),
            (json!({"storageAccount": "acct1", "storageAcount": "x"}), "(did you mean storageAccount?)"),
            (json!({"storageAccount": "acct1", "s3Url": "x"}), "config key \"s3Url\" is unknown; known keys: storageA"),
            (json!({"storageAccount": "acct1", "useAAD": "maybe"}), "config key useAAD is \"maybe\"; it must be true"),
            (
                json!({"storageAccount": "acct1", "activeDirectoryAuthorityURI": "https://login.evil.example"}),
                "activeDirectoryAuthorityURI is \"https://login.evil.example\", which would receive the client secret",
            ),
            (
                json!({"storageAccount": "acct1", "activeDirectoryAuthorityURI": "http://login.microsoftonline.com"}),
                "only with the operator's flag --allow-any-login-host",
            ),
            (
                json!({"storageAccount": "acct1", "storageAccountURI": "https://h/a?sig=hunter2"}),
                "storageAccountURI is \"https://h/a\"; it must be http(s)://host[:port][/path]",
            ),
            (
                json!({"storageAccount": "acct1", "storageAccountURI": "https://169.254.169.254"}),
                "is not allowed for endpoints",
            ),
        ] {
            let why = config(&input).expect_err(&input.to_string());
            assert!(why.contains(expected) && !why.contains("hunter2"), "{input}: {why}");
        }
    }
}
