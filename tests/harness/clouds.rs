//! The emulators of the clouds alike: a location in one of them, and what is there as its owner sees it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::Context;
use crate::azurite::{Azurite, Container};
use crate::gcs::{self, FakeGcs, GcsBucket};
use crate::s3_proxy::Answering;
use crate::tools::Tool;
use crate::velero_objects::backup_storage_location;

/// The name of the location in a cloud.
pub const LOCATION: &str = "cloud";

/// A cloud's emulator.
pub enum Cloud {
    /// Azure Blob Storage.
    Azure(Azurite),
    /// Google Cloud Storage, with the token service that the key file names.
    Google(FakeGcs, Answering),
}

/// A bucket or container, as its owner sees it.
pub enum Place {
    /// A container.
    Azure(Container),
    /// A bucket.
    Google(GcsBucket),
}

impl Cloud {
    /// Starts Azurite.
    pub async fn azure() -> Self {
        Self::Azure(Azurite::start().await)
    }

    /// Starts fake-gcs-server.
    pub async fn google() -> Self {
        let token = json!({"access_token": "of-the-test", "token_type": "Bearer", "expires_in": 3600});
        Self::Google(FakeGcs::start().await, Answering::with(token.to_string()).await)
    }

    /// Makes a bucket or container.
    pub async fn create_bucket(&self, name: &str) -> Place {
        match self {
            Self::Azure(azurite) => Place::Azure(azurite.create_container(name).await),
            Self::Google(server, _) => Place::Google(server.create_bucket(name).await),
        }
    }

    /// A location [`LOCATION`] in a bucket, which the operator may open.
    pub async fn location(&self, context: &Context, bucket: &str) {
        let location = backup_storage_location(LOCATION, bucket, "team-b")
            .spec("credential", json!({"name": "cloud-key", "key": "cloud"}))
            .phase("Available");
        let (location, file) = match self {
            Self::Azure(azurite) => (
                location
                    .spec("provider", "velero.io/azure")
                    .config("storageAccount", azurite.account)
                    .config("storageAccountURI", azurite.endpoint())
                    .config("storageAccountKeyEnvVar", "AZURE_STORAGE_ACCOUNT_ACCESS_KEY")
                    .config("resourceGroup", "rg"),
                azurite.credentials_file(),
            ),
            Self::Google(server, tokens) => (
                location
                    .spec("provider", "velero.io/gcp")
                    .config("storeEndpoint", format!("{}/storage/v1/", server.endpoint())),
                gcs::key_file(&tokens.endpoint),
            ),
        };
        context.create::<Secret>(json!({"metadata": {"name": "cloud-key"}, "stringData": {"cloud": file}})).await;
        context.create_velero(location).await;
        context.allow_secrets(&["cloud-key"]).await;
    }

    /// Its name, for namespaces and files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Azure(_) => "azure",
            Self::Google(..) => "google",
        }
    }

    /// Velero's plugin for it.
    pub fn plugin(&self) -> Tool {
        match self {
            Self::Azure(_) => Tool::VeleroPluginForMicrosoftAzure,
            Self::Google(..) => Tool::VeleroPluginForGcp,
        }
    }

    /// Texts of the credential that must come out nowhere.
    pub fn secrets(&self) -> Vec<String> {
        match self {
            Self::Azure(azurite) => vec![azurite.key.clone()],
            Self::Google(..) => gcs::private_key().lines().filter(|line| line.len() > 40).map(str::to_owned).collect(),
        }
    }

    /// Scheme, host and port, and the account where it is a path.
    pub fn endpoint(&self) -> String {
        match self {
            Self::Azure(azurite) => azurite.endpoint(),
            Self::Google(server, _) => server.endpoint(),
        }
    }

    /// How often the addresses in the credential were asked.
    pub fn asked(&self) -> usize {
        match self {
            Self::Azure(_) => 0,
            Self::Google(_, tokens) => tokens.seen().len(),
        }
    }
}

impl Place {
    /// The names of all objects.
    pub async fn objects(&self) -> Vec<String> {
        match self {
            Self::Azure(container) => container.blobs().await,
            Self::Google(bucket) => bucket.objects().await,
        }
    }

    /// What is in an object; `None` if there is none.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self {
            Self::Azure(container) => container.get(key).await,
            Self::Google(bucket) => bucket.get(key).await,
        }
    }

    /// Writes an object.
    pub async fn put(&self, key: &str, content: Vec<u8>) {
        match self {
            Self::Azure(container) => container.put(key, content, &BTreeMap::new()).await,
            Self::Google(bucket) => bucket.put(key, content, &BTreeMap::new()).await,
        }
    }

    /// Parts of unfinished uploads that stay; Google forgets them by itself.
    pub async fn unfinished(&self) -> usize {
        match self {
            Self::Azure(container) => container.uncommitted().await,
            Self::Google(_) => 0,
        }
    }
}
