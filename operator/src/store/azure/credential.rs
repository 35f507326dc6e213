//! The credential of a location: what Velero's plugin reads, in its order, and what is needed to use it.

use std::{collections::BTreeMap, path::PathBuf};

use debugbundle_redact::Secret;
use k8s_openapi::ByteString;
use serde_json::Value;

use super::{
    AzureConfig, AzureIdentity, AzureProof, ClientCertificate, ListedKey, cloud::AzureCloud, config::host, env_file,
    sign::AccountKey,
};
use crate::{
    location::{
        Endpoint, EndpointPolicy, Location, LocationError, SecretReader,
        deployment::{Server, mounted},
        shown,
    },
    store::credentials_file::{self, CERTIFICATES, masked, none_named, source},
};

/// The variable of Velero's Deployment that names the credentials file.
const FILE: &str = "AZURE_CREDENTIALS_FILE";
/// What `spec.credential` must name, or what else can be done.
const WANTED: &str = "a file with an account key or a client secret, or set config key useAAD to true and bind the \
                      operator's ServiceAccount to an identity";
/// The name of the account key where `storageAccountKeyEnvVar` names no other; Velero's documentation uses it.
const KEY_NAME: &str = "AZURE_STORAGE_ACCOUNT_ACCESS_KEY";
/// Where the webhook of Azure Workload Identity mounts the pod's token.
const PROJECTED_TOKEN: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
/// The metadata service of a machine.
const METADATA: &str = "http://169.254.169.254";
/// Values of a credentials file that are public.
const PUBLIC: [&str; 6] = [
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_RESOURCE_GROUP",
    "AZURE_CLOUD_NAME",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_CERTIFICATE_PATH",
];

/// What Azure needs besides the location.
#[derive(Clone, Debug)]
pub struct AzureAccess {
    /// The location's configuration.
    pub config: AzureConfig,
    /// The account's blob endpoint.
    pub endpoint: Endpoint,
    /// By what requests are signed.
    pub credential: AzureCredential,
}

/// By what requests to an account are signed.
#[derive(Clone, Debug)]
pub enum AzureCredential {
    /// An account key, in base64.
    Key(Secret),
    /// Tokens of an identity.
    Identity(Box<AzureIdentity>),
    /// An account key that an identity asks for.
    Listed(Box<ListedKey>),
}

/// A credentials file, and what may be used where it names no secret.
struct Source<'a> {
    values: BTreeMap<String, Secret>,
    /// Where the file is, for messages.
    from: &'a str,
    /// The certificate that the file names by its path, PEM.
    certificate: Option<Secret>,
    policy: EndpointPolicy,
    /// The operator's own environment.
    env: &'a dyn Fn(&str) -> Option<String>,
}

impl AzureAccess {
    /// Reads the credentials file. `deployment` is Velero's, if there is one.
    pub(in crate::store) async fn resolve(
        config: AzureConfig,
        location: &Location,
        secrets: &SecretReader<'_>,
        deployment: Option<&Value>,
        policy: EndpointPolicy,
    ) -> Result<Self, LocationError> {
        let wrong = |why| location.credential_error(why);
        let place = source(location, FILE, deployment)?;
        let (text, from) = match &place {
            Some(place) => (secrets.text(place).await?, format!("Secret {}/{}", place.name, place.key)),
            None if config.use_entra => (Secret::new(""), "the location".to_owned()),
            None => return Err(none_named(location, FILE, WANTED)),
        };
        let values = env_file::parse(text.expose(), &from).map_err(wrong)?;
        let certificate = match values.get("AZURE_CLIENT_CERTIFICATE_PATH").filter(|path| !path.expose().is_empty()) {
            Some(path) => {
                let server = deployment.and_then(Server::of);
                let place = mounted(location, server, "AZURE_CLIENT_CERTIFICATE_PATH", path.expose())?;
                Some(secrets.text(&place).await?)
            }
            None => None,
        };
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::of(config, &Source { values, from: &from, certificate, policy, env: &env }).map_err(wrong)
    }

    /// In the plugin's order: an account key, an identity, an account key that an identity asks for.
    fn of(config: AzureConfig, source: &Source<'_>) -> Result<Self, String> {
        let cloud = match (&config.endpoint, AzureCloud::parse(source.text("AZURE_CLOUD_NAME"))) {
            (_, Ok(cloud)) => cloud,
            // Of an unknown cloud the blob endpoint is known; an account key needs nothing else.
            (Some(_), Err(_)) if !config.use_entra => AzureCloud::Public,
            (_, Err(why)) => return Err(format!("{}: {why}", source.from)),
        };
        let endpoint = match &config.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => host(&config.account, cloud.blob_zone())?,
        };
        let credential = match source.key(&config)? {
            Some(key) => AzureCredential::Key(key),
            None if config.use_entra => AzureCredential::Identity(Box::new(source.identity(&config, cloud)?)),
            None => AzureCredential::Listed(Box::new(source.listed(&config, cloud)?)),
        };
        Ok(Self { config, endpoint, credential })
    }

    /// With a key that no store knows: the way to the store can be probed with it.
    pub(in crate::store) fn of_nobody(config: AzureConfig) -> Self {
        let endpoint = config.endpoint.clone().unwrap_or_else(|| config.public_endpoint.clone());
        Self { config, endpoint, credential: AzureCredential::Key(Secret::new("bm9ib2R5")) }
    }

    /// The exact values that must never be shown, each with the rule under which the redaction counts it.
    pub(in crate::store) fn known_values(&self) -> Vec<(&'static str, Secret)> {
        let identity = match &self.credential {
            AzureCredential::Key(key) => return vec![("known-secret-key", key.clone())],
            AzureCredential::Identity(identity) => identity,
            AzureCredential::Listed(key) => &key.identity,
        };
        match &identity.proof {
            AzureProof::Secret(secret) => masked(vec![secret.clone()]),
            // The redaction finds private keys by their form.
            AzureProof::Certificate(_) | AzureProof::Federated(_) | AzureProof::Machine => Vec::new(),
        }
    }

    /// Where the credential is from, in words.
    pub(in crate::store) const fn credential_words(&self) -> &'static str {
        match &self.credential {
            AzureCredential::Key(_) => "an account key from a Secret",
            AzureCredential::Listed(_) => "an account key that an identity asks Azure for",
            AzureCredential::Identity(identity) => match identity.proof {
                AzureProof::Secret(_) => "a client secret from a Secret",
                AzureProof::Certificate(_) => "a client certificate from a Secret",
                AzureProof::Federated(_) => "the identity of the operator's pod",
                AzureProof::Machine => "the identity of the machine",
            },
        }
    }
}

impl Source<'_> {
    fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", Secret::expose)
    }

    /// The account key, if the config or the file names one.
    fn key(&self, config: &AzureConfig) -> Result<Option<Secret>, String> {
        let (from, name) = (self.from, config.key_name.as_deref().unwrap_or(KEY_NAME));
        let key = self.values.get(name).filter(|key| !key.expose().is_empty());
        match key {
            // Without its name in the config, useAAD comes first.
            Some(_) if config.key_name.is_none() && config.use_entra => Ok(None),
            Some(key) if AccountKey::new(&config.account, key).is_none() => {
                Err(format!("the value of {} in {from} is no account key: it must be base64", shown(name)))
            }
            Some(key) => Ok(Some(key.clone())),
            None if config.key_name.is_some() => Err(format!(
                "{from} has no storage account access key {}; add it there, or name another by config key \
                 storageAccountKeyEnvVar",
                shown(name)
            )),
            None => Ok(None),
        }
    }

    fn identity(&self, config: &AzureConfig, cloud: AzureCloud) -> Result<AzureIdentity, String> {
        let from = self.from;
        let login = match &config.authority {
            Some(authority) => authority.clone(),
            None => Endpoint::parse("login", &format!("https://{}", cloud.login_host()))?,
        };
        let of = |tenant: &str, client: &str, proof| -> Result<AzureIdentity, String> {
            let sound =
                |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter));
            if tenant.is_empty() || client.is_empty() || !sound(tenant) || !sound(client) {
                return Err(format!(
                    "AZURE_TENANT_ID and AZURE_CLIENT_ID in {from} are {} and {}; they must be the ids of a tenant and a \
                     client",
                    shown(tenant),
                    shown(client)
                ));
            }
            Ok(AzureIdentity {
                tenant: tenant.to_owned(),
                client_id: client.to_owned(),
                authority: login.clone(),
                proof,
            })
        };
        let (tenant, client) = (self.text("AZURE_TENANT_ID"), self.text("AZURE_CLIENT_ID"));
        if let Some(secret) = self.values.get("AZURE_CLIENT_SECRET").filter(|secret| !secret.expose().is_empty()) {
            return of(tenant, client, AzureProof::Secret(secret.clone()));
        }
        let inline = self.values.get("AZURE_CLIENT_CERTIFICATE").filter(|pem| !pem.expose().is_empty());
        if let Some(pem) = self.certificate.as_ref().or(inline) {
            let certificate = ClientCertificate::new(pem).ok_or_else(|| {
                format!(
                    "the client certificate of {from} cannot be used: it must be PEM, with an RSA key that has no \
                     password"
                )
            })?;
            return of(tenant, client, AzureProof::Certificate(certificate));
        }
        if !self.text("AZURE_USERNAME").is_empty() {
            return Err(format!(
                "{from} has AZURE_USERNAME; users with a password are not supported: use a client secret"
            ));
        }
        // The webhook of Azure Workload Identity sets these in a pod whose label asks for it.
        if let Some(file) = (self.env)("AZURE_FEDERATED_TOKEN_FILE") {
            if file != PROJECTED_TOKEN {
                return Err(format!(
                    "AZURE_FEDERATED_TOKEN_FILE of the operator is {}; allowed: {PROJECTED_TOKEN}",
                    shown(&file)
                ));
            }
            let own = |name: &str| (self.env)(name).unwrap_or_default();
            return of(&own("AZURE_TENANT_ID"), &own("AZURE_CLIENT_ID"), AzureProof::Federated(PathBuf::from(file)));
        }
        if self.policy.identities.instance_metadata {
            let authority = Endpoint::parse("metadata", METADATA)?;
            let client_id = client.to_owned();
            return Ok(AzureIdentity { tenant: String::new(), client_id, authority, proof: AzureProof::Machine });
        }
        Err(format!(
            "{from} has no AZURE_CLIENT_SECRET and no client certificate, and the operator's pod has no workload identity: \
             bind its ServiceAccount to one (the chart's README shows how), or allow the machine's identity by the \
             operator's flag --allow-instance-metadata"
        ))
    }

    fn listed(&self, config: &AzureConfig, cloud: AzureCloud) -> Result<ListedKey, String> {
        let from = self.from;
        let of = |config: &Option<String>, name: &str, key: &str| -> Result<String, String> {
            let value = config.as_deref().unwrap_or_else(|| self.text(name));
            if value.is_empty() {
                return Err(format!(
                    "{from} has no account key {KEY_NAME}, and to ask Azure for one neither it has {name} nor the location \
                     config key {key}; name one of them, or set config key useAAD to true"
                ));
            }
            Ok(value.to_owned())
        };
        Ok(ListedKey {
            subscription: of(&config.subscription, "AZURE_SUBSCRIPTION_ID", "subscriptionId")?,
            resource_group: of(&config.resource_group, "AZURE_RESOURCE_GROUP", "resourceGroup")?,
            identity: self.identity(config, cloud)?,
            management: Endpoint::parse("management", &format!("https://{}", cloud.management_host()))?,
        })
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
        with(config, text, EndpointPolicy::default(), &|_| None)
    }

    fn with(
        config: &Value,
        text: &str,
        policy: EndpointPolicy,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<AzureAccess, String> {
        let config = AzureConfig::parse(&location(&json!({"config": config}))).expect("a config");
        let from = "Secret keys/cloud";
        let values = env_file::parse(text, from)?;
        AzureAccess::of(config, &Source { values, from, certificate: None, policy, env })
    }

    #[test]
    fn sec_c5_an_identity_is_the_file_s_else_the_pod_s_else_the_machine_s_if_that_is_allowed() {
        let entra = json!({"storageAccount": "acct1", "useAAD": "true"});
        let ids = "AZURE_TENANT_ID=t-1\nAZURE_CLIENT_ID=c-1\n";
        let pod = |name: &str| {
            let value = match name {
                "AZURE_FEDERATED_TOKEN_FILE" => PROJECTED_TOKEN,
                "AZURE_TENANT_ID" => "t-2",
                "AZURE_CLIENT_ID" => "c-2",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let (strict, machine) = (
            EndpointPolicy::default(),
            EndpointPolicy {
                identities: crate::location::IdentityPolicy { instance_metadata: true, any_login_host: false },
                ..EndpointPolicy::default()
            },
        );
        let identity = |text: &str, policy, env: &dyn Fn(&str) -> Option<String>| {
            with(&entra, text, policy, env).map(|access| match access.credential {
                AzureCredential::Identity(identity) => *identity,
                other => panic!("an identity: {other:?}"),
            })
        };
        let secret = format!("{ids}AZURE_CLIENT_SECRET=hunter2hunter2\nAZURE_CLOUD_NAME=AzureChinaCloud");
        let of_file = identity(&secret, machine, &pod).expect("usable");
        assert_eq!((of_file.tenant.as_str(), of_file.client_id.as_str()), ("t-1", "c-1"));
        assert_eq!(of_file.authority.as_str(), "https://login.chinacloudapi.cn");
        assert!(matches!(of_file.proof, AzureProof::Secret(_)) && !format!("{of_file:?}").contains("hunter2"));
        let of_pod = identity(ids, machine, &pod).expect("usable");
        assert_eq!((of_pod.tenant.as_str(), of_pod.client_id.as_str()), ("t-2", "c-2"));
        assert!(matches!(of_pod.proof, AzureProof::Federated(_)));
        let of_machine = identity(ids, machine, &|_| None).expect("usable");
        assert_eq!((of_machine.authority.as_str(), of_machine.client_id.as_str()), (METADATA, "c-1"));
        for (text, policy, env, expected) in [
            (ids, strict, None, "allow the machine's identity by the operator's flag --allow-instance-metadata"),
            ("AZURE_CLIENT_SECRET=hunter2hunter2", strict, None, "they must be the ids of a tenant and a client"),
            (
                "AZURE_TENANT_ID=../x\nAZURE_CLIENT_ID=c\nAZURE_CLIENT_SECRET=hunter2",
                strict,
                None,
                "are \"../x\" and \"c\"",
            ),
            ("AZURE_CLIENT_CERTIFICATE=hunter2", strict, None, "it must be PEM, with an RSA key that has no password"),
            ("AZURE_USERNAME=u\nAZURE_PASSWORD=hunter2", strict, None, "users with a password are not supported"),
            (ids, strict, Some("/tmp/evil"), "AZURE_FEDERATED_TOKEN_FILE of the operator is \"/tmp/evil\""),
        ] {
            let env = |name: &str| env.filter(|_| name == "AZURE_FEDERATED_TOKEN_FILE").map(str::to_owned);
            let why = identity(text, policy, &env).expect_err(text);
            assert!(why.contains(expected) && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn without_key_and_use_aad_the_account_key_is_asked_for_as_by_velero() {
        let text = "AZURE_SUBSCRIPTION_ID=s-1\nAZURE_RESOURCE_GROUP=rg-1\nAZURE_TENANT_ID=t\nAZURE_CLIENT_ID=c\n\
                    AZURE_CLIENT_SECRET=hunter2hunter2\nAZURE_CLOUD_NAME=AzureUSGovernmentCloud";
        for (config, expected) in [
            (json!({"storageAccount": "acct1"}), ("s-1", "rg-1")),
            (json!({"storageAccount": "acct1", "subscriptionId": "s-2", "resourceGroup": "rg-2"}), ("s-2", "rg-2")),
        ] {
            let got = of_file(&config, text).expect("usable");
            let AzureCredential::Listed(key) = &got.credential else { panic!("{got:?}") };
            assert_eq!((key.subscription.as_str(), key.resource_group.as_str()), expected);
            assert_eq!(key.management.as_str(), "https://management.usgovcloudapi.net");
            assert_eq!(got.known_values().len(), 1);
        }
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
            let AzureCredential::Key(found) = &got.credential else { panic!("{got:?}") };
            assert_eq!((found.expose(), got.endpoint.as_str()), (key, endpoint));
            assert!(!format!("{got:?}").contains(key), "{got:?}");
        }
    }

    #[test]
    fn sec_c8_what_is_wrong_is_said_without_a_value() {
        let plain = json!({"storageAccount": "acct1"});
        let named = json!({"storageAccount": "acct1", "storageAccountKeyEnvVar": "MINE"});
        for (config, text, expected) in [
            (
                &plain,
                "AZURE_CLIENT_SECRET=hunter2",
                "Secret keys/cloud has no account key AZURE_STORAGE_ACCOUNT_ACCESS_KEY",
            ),
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
            let found = source(location, FILE, Some(&deployment)).expect("read").expect("found");
            assert_eq!((found.name.as_str(), found.key.as_str()), expected);
        }
        assert_eq!(source(&plain, FILE, None).expect("read"), None);
        let why = none_named(&plain, FILE, WANTED).to_string();
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
