//! The account key of a location: where Velero's plugin reads it, and what is needed to use it.

use std::collections::BTreeMap;

use debugbundle_redact::Secret;
use k8s_openapi::ByteString;
use serde_json::Value;

use super::{AzureConfig, config::host, env_file, sign::AccountKey};
use crate::{
    location::{Endpoint, Location, LocationError, SecretReader, shown},
    store::credentials_file::{self, CERTIFICATES, masked, source},
};

/// The variable of Velero's Deployment that names the credentials file.
const FILE: &str = "AZURE_CREDENTIALS_FILE";
/// The name of the account key where `storageAccountKeyEnvVar` names no other; Velero's documentation uses it.
const KEY_NAME: &str = "AZURE_STORAGE_ACCOUNT_ACCESS_KEY";
/// Values of a credentials file that are public.
const PUBLIC: [&str; 6] = [
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_RESOURCE_GROUP",
    "AZURE_CLOUD_NAME",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_CERTIFICATE_PATH",
];
/// What `spec.credential` must name.
const WANTED: &str = "a file with an account key (Microsoft Entra identities are not supported yet)";

/// What Azure needs besides the location.
#[derive(Clone, Debug)]
pub struct AzureAccess {
    /// The location's configuration.
    pub config: AzureConfig,
    /// The account's blob endpoint.
    pub endpoint: Endpoint,
    /// The account key, in base64.
    pub key: Secret,
}

impl AzureAccess {
    /// Reads the credentials file. `deployment` is Velero's, if there is one.
    pub(in crate::store) async fn resolve(
        config: AzureConfig,
        location: &Location,
        secrets: &SecretReader<'_>,
        deployment: Option<&Value>,
    ) -> Result<Self, LocationError> {
        let place = source(location, FILE, WANTED, deployment)?;
        let text = secrets.text(&place).await?;
        Self::of_file(config, text.expose(), &format!("Secret {}/{}", place.name, place.key))
            .map_err(|why| location.credential_error(why))
    }

    fn of_file(config: AzureConfig, text: &str, from: &str) -> Result<Self, String> {
        let mut found = env_file::parse(text, from)?;
        let name = config.key_name.as_deref().unwrap_or(KEY_NAME);
        let key = found.remove(name).filter(|key| !key.expose().is_empty()).ok_or_else(|| {
            format!(
                "{from} has no storage account access key {}; add it there, or name another by config key \
                 storageAccountKeyEnvVar (Microsoft Entra identities are not supported yet)",
                shown(name)
            )
        })?;
        if AccountKey::new(&config.account, &key).is_none() {
            return Err(format!("the value of {} in {from} is no account key: it must be base64", shown(name)));
        }
        let endpoint = match &config.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => of_cloud(&config, found.get("AZURE_CLOUD_NAME").map_or("", Secret::expose))
                .map_err(|why| format!("{from}: {why}"))?,
        };
        Ok(Self { config, endpoint, key })
    }

    /// With a key that no store knows: the way to the store can be probed with it.
    pub(in crate::store) fn of_nobody(config: AzureConfig) -> Self {
        let endpoint = config.endpoint.clone().unwrap_or_else(|| config.public_endpoint.clone());
        Self { config, endpoint, key: Secret::new("bm9ib2R5") }
    }

    /// The exact values that must never be shown, each with the rule under which the redaction counts it.
    pub(in crate::store) fn known_values(&self) -> Vec<(&'static str, Secret)> {
        vec![("known-secret-key", self.key.clone())]
    }
}

/// The account's endpoint in the cloud of this name.
fn of_cloud(config: &AzureConfig, cloud: &str) -> Result<Endpoint, String> {
    match cloud.to_ascii_uppercase().as_str() {
        "" | "AZURECLOUD" | "AZUREPUBLICCLOUD" => Ok(config.public_endpoint.clone()),
        "AZURECHINACLOUD" => host(&config.account, "blob.core.chinacloudapi.cn"),
        "AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD" => host(&config.account, "blob.core.usgovcloudapi.net"),
        _ => Err(format!(
            "AZURE_CLOUD_NAME is {}; allowed: AzurePublicCloud, AzureChinaCloud, AzureUSGovernmentCloud; for another \
             cloud set config key storageAccountURI",
            shown(cloud)
        )),
    }
}

/// Name, use and wanted key of each Secret that the location names, even if it cannot be used.
pub(in crate::store) fn named(
    location: &Location,
    deployment: Option<&Value>,
) -> Vec<(String, &'static str, Option<String>)> {
    credentials_file::named(location, FILE, deployment)
}

/// The values of a Secret that must be masked.
pub(in crate::store) fn values(data: &BTreeMap<String, ByteString>, used_for: &str) -> Vec<(&'static str, Secret)> {
    if used_for == CERTIFICATES {
        return Vec::new();
    }
    let mut values = Vec::new();
    for text in data.values().filter_map(|value| std::str::from_utf8(&value.0).ok()) {
        match env_file::parse(text, "") {
            Ok(found) => values
                .extend(found.into_iter().filter(|(name, _)| !PUBLIC.contains(&name.as_str())).map(|(_, value)| value)),
            // Of a broken file each line that is not certainly public.
            Err(_) => values.extend(text.lines().filter_map(|line| {
                let (name, value) = line.split_once('=').unwrap_or(("", line));
                (!PUBLIC.contains(&name.trim())).then(|| Secret::new(value.trim()))
            })),
        }
    }
    masked(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::credentials_file::CREDENTIAL;

    fn location(spec: &Value) -> Location {
        let mut whole = json!({"metadata": {"name": "offsite"},
            "spec": {"provider": "azure", "objectStorage": {"bucket": "b"}, "config": {"storageAccount": "acct1"}}});
        for (key, value) in spec.as_object().expect("an object") {
            whole["spec"][key] = value.clone();
        }
        Location::parse(&whole).expect("valid")
    }

    fn of_file(config: &Value, text: &str) -> Result<AzureAccess, String> {
        let config = AzureConfig::parse(&location(&json!({"config": config}))).expect("a config");
        AzureAccess::of_file(config, text, "Secret keys/cloud")
    }

    #[test]
    fn the_key_is_the_one_that_the_config_names_and_the_host_that_of_the_cloud() {
        let plain = json!({"storageAccount": "acct1"});
        let named = json!({"storageAccount": "acct1", "storageAccountKeyEnvVar": "MINE"});
        let private = json!({"storageAccount": "acct1", "storageAccountURI": "https://private.example.com"});
        for (config, text, key, endpoint) in [
            (&plain, "AZURE_STORAGE_ACCOUNT_ACCESS_KEY=b25l", "b25l", "https://acct1.blob.core.windows.net"),
            (
                &named,
                "AZURE_STORAGE_ACCOUNT_ACCESS_KEY=b25l\nMINE='dHdv'\nAZURE_CLOUD_NAME=azurechinacloud",
                "dHdv",
                "https://acct1.blob.core.chinacloudapi.cn",
            ),
            (
                &plain,
                "AZURE_STORAGE_ACCOUNT_ACCESS_KEY=b25l\nAZURE_CLOUD_NAME=AzureUSGovernmentCloud",
                "b25l",
                "https://acct1.blob.core.usgovcloudapi.net",
            ),
            (
                &private,
                "AZURE_STORAGE_ACCOUNT_ACCESS_KEY=b25l\nAZURE_CLOUD_NAME=MyStack",
                "b25l",
                "https://private.example.com",
            ),
        ] {
            let got = of_file(config, text).expect("usable");
            assert_eq!((got.key.expose(), got.endpoint.as_str()), (key, endpoint));
            assert!(!format!("{got:?}").contains(key), "{got:?}");
        }
    }

    #[test]
    fn sec_c8_what_is_wrong_is_said_without_a_value() {
        let plain = json!({"storageAccount": "acct1"});
        let named = json!({"storageAccount": "acct1", "storageAccountKeyEnvVar": "MINE"});
        for (config, text, expected) in [
            (&plain, "AZURE_CLIENT_SECRET=hunter2", "Secret keys/cloud has no storage account access key \"AZURE_STO"),
            (&named, "AZURE_STORAGE_ACCOUNT_ACCESS_KEY=hunter2=", "no storage account access key \"MINE\""),
            (&named, "MINE=", "no storage account access key \"MINE\""),
            (
                &named,
                "MINE=hunter2!",
                "the value of \"MINE\" in Secret keys/cloud is no account key: it must be base64",
            ),
            (&plain, "hunter2", "Secret keys/cloud: line 1 is not NAME=value"),
            (
                &plain,
                "AZURE_STORAGE_ACCOUNT_ACCESS_KEY=b25l\nAZURE_CLOUD_NAME=AzureGermanCloud",
                "AZURE_CLOUD_NAME is \"AzureGermanCloud\"; allowed: AzurePublicCloud",
            ),
        ] {
            let why = of_file(config, text).expect_err(text);
            assert!(why.contains(expected) && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn sec_c2_the_file_is_the_locations_else_the_servers() {
        let deployment = json!({"spec": {"template": {"spec": {
            "containers": [{"name": "velero", "env": [{"name": FILE, "value": "/credentials/cloud"}],
                "volumeMounts": [{"name": "creds", "mountPath": "/credentials"}]}],
            "volumes": [{"name": "creds", "secret": {"secretName": "server-keys"}}],
        }}}});
        let own = location(&json!({"credential": {"name": "own", "key": "k"}}));
        let other = location(&json!({"config": {"storageAccount": "acct1", "credentialsFile": "/credentials/other"}}));
        let plain = location(&json!({}));
        for (location, expected) in
            [(&own, ("own", "k")), (&other, ("server-keys", "other")), (&plain, ("server-keys", "cloud"))]
        {
            let found = source(location, FILE, WANTED, Some(&deployment)).expect("found");
            assert_eq!((found.name.as_str(), found.key.as_str()), expected);
        }
        let why = source(&plain, FILE, WANTED, None).expect_err("none").to_string();
        assert!(why.contains("no credential found") && why.contains("set spec.credential"), "{why}");
        let broken = location(&json!({"credential": {"name": "own", "key": "k"}, "config": {"foo": "x"}}));
        assert_eq!(named(&broken, None), [("own".to_owned(), CREDENTIAL, Some("k".to_owned()))]);
    }

    #[test]
    fn sec_x28_the_values_of_a_file_are_masked_and_its_public_ones_are_not() {
        let data = |text: &str| BTreeMap::from([("cloud".to_owned(), ByteString(text.as_bytes().to_vec()))]);
        let masked = |text: &str| -> Vec<String> {
            values(&data(text), CREDENTIAL).into_iter().map(|(_, value)| value.expose().to_owned()).collect()
        };
        assert_eq!(masked("AZURE_TENANT_ID=12345678-1\nAZURE_CLIENT_SECRET='hunter2hunter2'\n"), ["hunter2hunter2"]);
        assert_eq!(
            masked("AZURE_TENANT_ID=12345678-1\nhunter2hunter2\nA=hunter3hunter3"),
            ["hunter2hunter2", "hunter3hunter3"]
        );
        assert!(values(&data("A=hunter2hunter2"), CERTIFICATES).is_empty());
    }
}
