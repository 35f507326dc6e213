//! Azure Blob Storage: block blobs in a container of a storage account, as Velero's Azure plugin uses them. `config` reads
//! the location, `credential` and `env_file` find its account key or its `identity` in a `cloud`; `client` sends requests
//! that `sign` signs, `upload` sends bundles, `answers` reads XML, `words` are those of Azure's users.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use debugbundle_redact::Secret;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderName, Method, header};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::OnceCell;

use super::{
    Action, Deletion, Detour, Folder, Folders, Key, ListPage, ListedBundle, ObjectBody, OpenUpload, Options, Resolved,
    Signed, SignedUrl, Store, StoreError, StoreFuture, Stored, Upload, UploadHooks, VeleroFile, Way,
    connect::EndpointAccess,
    rest::{self, is_absent, length, pieces, ranged, text},
    signed::{disposition, life},
    token::identity_transport,
    verify::{ReadsRanges, verify},
};
use crate::location::EndpointPolicy;
use answers::BlobPage;
use client::{BlobClient, BlobCredential, BlobRequest, KeyOnDemand, Signer};
pub use config::AzureConfig;
pub use credential::{AzureAccess, AzureCredential};
pub(super) use credential::{named, values};
pub use identity::{AzureIdentity, AzureProof, ClientCertificate, ListedKey};
use sign::{AccountKey, BlobSas};
pub(super) use words::WORDS;

mod answers;
mod client;
mod cloud;
mod config;
mod credential;
mod env_file;
mod identity;
mod sign;
mod upload;
mod words;

/// What tokens for the store are for, in each cloud.
const STORAGE: &str = "https://storage.azure.com";
/// Blobs in a page of a list: so many fit into an answer that is read whole, however long their names are.
const PAGE: &str = "400";
/// The most unfinished uploads in a list.
const MOST_UPLOADS: usize = 1000;
/// A URL is valid from this long before it was signed: the clocks of Azure's servers differ.
const STARTS_BEFORE: SignedDuration = SignedDuration::from_mins(15);

/// A location's container.
pub struct AzureBlob {
    client: BlobClient,
    prefix: String,
    config: AzureConfig,
    reach: EndpointAccess,
    ca_pem: Option<String>,
    options: Options,
}

impl std::fmt::Debug for AzureBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client: BlobClient { container, .. }, prefix, .. } = self;
        f.debug_struct("AzureBlob").field("container", container).field("prefix", prefix).finish_non_exhaustive()
    }
}

impl AzureBlob {
    /// A client of the location's container. It sends no request.
    ///
    /// # Errors
    /// The certificates or the key cannot be used.
    pub(super) fn open(
        resolved: &Resolved,
        access: &AzureAccess,
        options: Options,
        detour: Option<Arc<dyn Detour>>,
    ) -> Result<Self, StoreError> {
        let (transport, reach) = rest::transport(resolved, detour)?;
        let credential = Arc::new(credential(access, resolved.policy, &reach)?);
        let (endpoint, container) = (access.endpoint.clone(), resolved.location.bucket.clone());
        Ok(Self {
            client: BlobClient { transport, credential, endpoint, container },
            prefix: resolved.location.prefix.clone(),
            config: access.config.clone(),
            reach,
            ca_pem: resolved.ca_pem.clone(),
            options,
        })
    }

    async fn get_key(&self, key: &str) -> Result<Option<ObjectBody>, StoreError> {
        match self.client.send(&BlobRequest::new(Action::Get, Method::GET, key)).await {
            Ok(got) => Ok(Some(ObjectBody { bytes: length(got.headers()), stream: pieces(got) })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of the list of blobs whose names begin with this text.
    async fn page(
        &self,
        prefix: &str,
        from: Option<String>,
        also: Option<(&'static str, &str)>,
    ) -> Result<BlobPage, StoreError> {
        let mut request = BlobRequest::new(Action::List, Method::GET, "")
            .query("restype", "container")
            .query("comp", "list")
            .query("prefix", prefix)
            .query("maxresults", PAGE);
        request.query.extend(from.map(|marker| ("marker", marker)));
        request.query.extend(also.map(|(name, value)| (name, value.to_owned())));
        answers::page(&text(self.client.send(&request).await?).await?)
    }

    /// Blobs, of those whose names begin with this text, that have no content: blocks may wait there.
    async fn empty_blobs(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let page = self.page(prefix, from, Some(("include", "uncommittedblobs"))).await?;
            found.extend(page.blobs.into_iter().filter(|blob| blob.bytes == 0).map(|blob| blob.name));
            from = page.next;
            if from.is_none() || found.len() >= MOST_UPLOADS {
                found.truncate(MOST_UPLOADS);
                return Ok(found);
            }
        }
    }
}

/// By what requests are signed. Login and management trust the system's authorities alone: a location's certificates are
/// about its store.
fn credential(
    access: &AzureAccess,
    policy: EndpointPolicy,
    reach: &EndpointAccess,
) -> Result<BlobCredential, StoreError> {
    let tokens = |identity: &AzureIdentity, resource: &str| {
        let machine = EndpointAccess::InstanceMetadata { allow_loopback: policy.allow_loopback };
        let reach = if matches!(identity.proof, AzureProof::Machine) { machine } else { reach.clone() };
        Ok(identity::tokens(identity, resource, identity_transport(reach)?))
    };
    let account = &access.config.account;
    match &access.credential {
        AzureCredential::Key(key) => AccountKey::new(account, key)
            .map(BlobCredential::Key)
            .ok_or_else(|| StoreError::NoCredential("the account key is not base64".to_owned())),
        AzureCredential::Identity(identity) => tokens(identity, STORAGE).map(BlobCredential::Tokens),
        AzureCredential::Listed(key) => Ok(BlobCredential::Listed(Box::new(KeyOnDemand {
            tokens: tokens(&key.identity, key.management.as_str())?,
            key: (**key).clone(),
            transport: identity_transport(reach.clone())?,
            account: account.clone(),
            found: OnceCell::new(),
        }))),
    }
}

/// An identity that may read and not sign has a bundle without a URL.
fn cannot_sign(error: StoreError) -> StoreError {
    match error {
        StoreError::Denied { permission, answer, .. } => StoreError::CannotSign(format!(
            "the identity lacks {permission} on the storage account (the role Storage Blob Delegator has it): {answer}"
        )),
        error => error,
    }
}

/// What the headers of an answer say about a blob.
fn stored(headers: &HeaderMap) -> Stored {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let meta: BTreeMap<String, String> = headers
        .keys()
        .filter_map(|name| Some((name.as_str().strip_prefix("x-ms-meta-")?.to_owned(), text(name)?)))
        .collect();
    let bytes = length(headers).unwrap_or_default();
    Stored { bytes, sha256: meta.get("sha256").cloned(), etag: text(&header::ETAG), meta }
}

impl ReadsRanges for AzureBlob {
    fn range<'a>(&'a self, key: &'a Key, from: u64, length: u64) -> StoreFuture<'a, Vec<u8>> {
        async move {
            let request = BlobRequest::new(Action::Get, Method::GET, key.as_str())
                .header(header::RANGE, &rest::range(from, length));
            ranged(self.client.send(&request).await?, length).await
        }
        .boxed()
    }
}

impl Store for AzureBlob {
    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Stored>> {
        async move {
            match self.client.send(&BlobRequest::new(Action::Get, Method::HEAD, key.as_str())).await {
                Ok(found) => Ok(Some(stored(found.headers()))),
                Err(error) if is_absent(&error) => Ok(None),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn upload<'a>(
        &'a self,
        key: &'a Key,
        upload: &'a Upload<'a>,
        hooks: &'a dyn UploadHooks,
    ) -> StoreFuture<'a, Stored> {
        async move {
            if upload.bytes <= self.options.single_put {
                self.put_single(key, upload).await?;
                hooks.sent(upload.bytes);
            } else {
                self.put_blocks(key, upload, hooks).await?;
            }
            let sha256 = Some(upload.sha256.to_owned());
            Ok(Stored { bytes: upload.bytes, sha256, etag: None, meta: upload.meta.clone() })
        }
        .boxed()
    }

    fn verify<'a>(&'a self, key: &'a Key, upload: &'a Upload<'a>) -> StoreFuture<'a, Stored> {
        async move { verify(self, key, upload).await }.boxed()
    }

    fn abort<'a>(&'a self, key: &'a Key, upload_id: &'a str) -> StoreFuture<'a, ()> {
        async move {
            match self.waiting(key.as_str()).await? {
                Some((id, _)) if id == upload_id => upload::discard(&self.client, key.as_str()).await,
                _ => Ok(()),
            }
        }
        .boxed()
    }

    fn abort_unfinished<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        async move {
            match self.waiting(key.as_str()).await? {
                Some(_) => upload::discard(&self.client, key.as_str()).await,
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn open_uploads<'a>(&'a self, folder: &'a Folder) -> StoreFuture<'a, Vec<OpenUpload>> {
        async move {
            let mut open = Vec::new();
            for name in self.empty_blobs(folder.as_str()).await? {
                let Some(key) = folder.bundle(&name) else { continue };
                if let Some((id, begun)) = self.waiting(&name).await? {
                    open.push(OpenUpload { key, id, begun });
                }
            }
            Ok(open)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Deletion> {
        async move {
            let request = BlobRequest::new(Action::Delete, Method::DELETE, key.as_str())
                .header(HeaderName::from_static("x-ms-delete-snapshots"), "include");
            match self.client.send(&request).await {
                // The account keeps deleted blobs for some days.
                Ok(done) if done.headers().get("x-ms-delete-type-permanent").is_some_and(|kept| kept == "false") => {
                    Ok(Deletion::Hidden)
                }
                Ok(_) => Ok(Deletion::Gone),
                Err(error) if is_absent(&error) => Ok(Deletion::Gone),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn list<'a>(&'a self, folder: &'a Folder, from: Option<String>) -> StoreFuture<'a, ListPage> {
        async move {
            let page = self.page(folder.as_str(), from, None).await?;
            let mut bundles = ListPage { next: page.next, ..ListPage::default() };
            for blob in page.blobs {
                match folder.bundle(&blob.name).zip(blob.modified) {
                    Some((key, modified)) => bundles.bundles.push(ListedBundle { key, bytes: blob.bytes, modified }),
                    None => bundles.foreign += 1,
                }
            }
            Ok(bundles)
        }
        .boxed()
    }

    fn sign<'a>(&'a self, key: &'a Key, ttl: Duration, now: Timestamp) -> StoreFuture<'a, Signed> {
        async move {
            let out_of_range = |_| StoreError::CannotSign("the URL's expiration is out of range".to_owned());
            let (life, limit) = life(ttl, None, now)?;
            let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::ZERO);
            // The store judges a URL's age by its own clock, and a signed URL cannot be corrected.
            let start = self.client.transport.store_time(now)?;
            let endpoint = &self.client.endpoint;
            let sas = BlobSas {
                container: &self.client.container,
                blob: key.as_str(),
                starts: start.checked_sub(STARTS_BEFORE).map_err(out_of_range)?,
                ends: start.checked_add(life).map_err(out_of_range)?,
                plain_http: endpoint.is_plain_http(),
                disposition: &disposition(key),
            };
            let query = match self.client.credential.signer().await? {
                Signer::Key(key) => key.sas(&sas),
                Signer::Token(_) => {
                    let delegated = self.client.delegation_key(sas.starts, sas.ends).await.map_err(cannot_sign)?;
                    delegated.sas(&self.config.account, &sas)
                }
            };
            Ok(Signed {
                url: SignedUrl::new(&format!("{}?{query}", self.client.url(key.as_str()))),
                expires: now.checked_add(life).map_err(out_of_range)?,
                limit,
                headers: Vec::new(),
                cluster_internal: endpoint.is_cluster_internal(),
                plain_http: endpoint.is_plain_http(),
            })
        }
        .boxed()
    }

    fn read<'a>(&'a self, file: &'a VeleroFile) -> StoreFuture<'a, Option<ObjectBody>> {
        async move { self.get_key(&file.key(&self.prefix)).await }.boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<ObjectBody>> {
        async move { self.get_key(key.as_str()).await }.boxed()
    }

    fn known_values(&self) -> BoxFuture<'_, Vec<(&'static str, Secret)>> {
        self.client.credential.known_values().boxed()
    }

    fn way(&self) -> BoxFuture<'_, Option<Way>> {
        async move {
            Some(Way {
                uri: self.client.url("").parse().ok()?,
                reach: self.reach.clone(),
                ca_pem: self.ca_pem.clone(),
                skip_tls_verify: false,
            })
        }
        .boxed()
    }

    fn folders(&self) -> StoreFuture<'_, Folders> {
        async move {
            let root = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
            let page = self.page(&root, None, Some(("delimiter", "/"))).await?;
            let names = page.folders.iter().filter_map(|name| name.strip_prefix(&root));
            Ok(Folders {
                names: names.map(|name| name.trim_end_matches('/').to_owned()).collect(),
                more: page.next.is_some(),
            })
        }
        .boxed()
    }

    fn clock_ahead(&self) -> Option<i64> {
        self.client.transport.skew().exact()
    }
}
