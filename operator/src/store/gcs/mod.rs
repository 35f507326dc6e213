//! Google Cloud Storage: objects of a bucket, by the JSON API as Velero's GCP plugin uses it. `config` reads the location,
//! `credential` finds its key or its `identity`; `client` sends requests that `sign` authorises, `upload` sends bundles in resumable sessions, `answers` reads JSON, `words` are those of Google's users.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use debugbundle_redact::Secret;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, header};
use jiff::{SignedDuration, Timestamp};

use super::{
    Action, Deletion, Detour, Folder, Folders, Key, ListPage, ListedBundle, ObjectBody, OpenUpload, Options, Resolved,
    Signed, SignedUrl, Store, StoreError, StoreFuture, Stored, Upload, UploadHooks, VeleroFile, Way,
    connect::EndpointAccess,
    rest::{self, in_path, is_absent, length, pieces, ranged, text},
    signed::{disposition, life},
    token::{Tokens, identity_transport},
    verify::{ReadsRanges, verify},
};
use crate::location::EndpointPolicy;
use answers::{GcsObject, GcsPage};
use client::{GcsClient, GcsRequest, GcsSigner, Keyless, Resource};
pub use config::GcsConfig;
pub use credential::{GcsAccess, GcsCredential};
pub(super) use credential::{named, values};
use identity::AsksGoogle;
pub use identity::{ExternalAccount, GcsIdentity, TokenSource};
use sign::GcsUrl;
pub use sign::ServiceAccount;
pub(super) use words::WORDS;

mod answers;
mod client;
mod config;
mod credential;
mod identity;
mod sign;
mod upload;
mod words;

/// How long a signature of IAM is good, with the minute before a credential's end.
/// <https://docs.cloud.google.com/storage/docs/access-control/signed-urls>
const IAM_SIGNS_FOR: SignedDuration = SignedDuration::from_mins(12 * 60 + 1);
/// Objects in a page of a list: so many fit into an answer that is read whole, however long their names are.
const PAGE: &str = "400";

/// A location's bucket.
pub struct GoogleCloudStorage {
    client: GcsClient,
    known: Vec<(&'static str, Secret)>,
    prefix: String,
    kms_key: Option<String>,
    reach: EndpointAccess,
    ca_pem: Option<String>,
    options: Options,
}

impl std::fmt::Debug for GoogleCloudStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client: GcsClient { bucket, .. }, prefix, .. } = self;
        f.debug_struct("GoogleCloudStorage").field("bucket", bucket).field("prefix", prefix).finish_non_exhaustive()
    }
}

impl GoogleCloudStorage {
    /// A client of the location's bucket. It sends no request.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub(super) fn open(
        resolved: &Resolved,
        access: &GcsAccess,
        options: Options,
        detour: Option<Arc<dyn Detour>>,
    ) -> Result<Self, StoreError> {
        let (transport, reach) = rest::transport(resolved, detour)?;
        let signer = Arc::new(signer(access, resolved.policy, &reach)?);
        let (endpoint, bucket) = (access.endpoint.clone(), resolved.location.bucket.clone());
        Ok(Self {
            client: GcsClient { transport, signer, endpoint, bucket },
            known: access.known_values(),
            prefix: resolved.location.prefix.clone(),
            kms_key: access.config.kms_key.clone(),
            reach,
            ca_pem: resolved.ca_pem.clone(),
            options,
        })
    }

    async fn get_key(&self, key: &str) -> Result<Option<ObjectBody>, StoreError> {
        match self.client.send(&content_of(key)).await {
            Ok(got) => Ok(Some(ObjectBody { bytes: length(got.headers()), stream: pieces(got) })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the store says about the object at `key`; `None` if there is none.
    async fn object(&self, key: &Key) -> Result<Option<GcsObject>, StoreError> {
        match self.client.send(&GcsRequest::new(Action::Get, Method::GET, Resource::Object(key.as_str()))).await {
            Ok(found) => answers::object(&text(found).await?).map(Some),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of the list of objects whose names begin with this text.
    async fn page(
        &self,
        prefix: &str,
        from: Option<String>,
        also: Option<(&'static str, &str)>,
    ) -> Result<GcsPage, StoreError> {
        let mut request = GcsRequest::new(Action::List, Method::GET, Resource::Objects)
            .query("prefix", prefix)
            .query("maxResults", PAGE)
            .query("fields", "nextPageToken,prefixes,items(name,size,updated)");
        request.query.extend(from.map(|token| ("pageToken", token)));
        request.query.extend(also.map(|(name, value)| (name, value.to_owned())));
        answers::page(&text(self.client.send(&request).await?).await?)
    }

    /// Whether the bucket keeps the deleted object: as a version, or for the days of its soft delete policy. Without the
    /// right to list nothing is known about it.
    async fn is_kept(&self, key: &Key) -> bool {
        for kept in ["versions", "softDeleted"] {
            let page = self.page(key.as_str(), None, Some((kept, "true"))).await.unwrap_or_default();
            if page.items.iter().any(|object| object.name == key.as_str()) {
                return true;
            }
        }
        false
    }
}

/// A request for the content of an object, as it was written: without this header the store unpacks what it knows as
/// gzip. <https://docs.cloud.google.com/storage/docs/transcoding>
fn content_of(key: &str) -> GcsRequest<'_> {
    let request = GcsRequest::new(Action::Get, Method::GET, Resource::Object(key));
    request.query("alt", "media").header(header::ACCEPT_ENCODING, "gzip")
}

impl ReadsRanges for GoogleCloudStorage {
    fn range<'a>(&'a self, key: &'a Key, from: u64, length: u64) -> StoreFuture<'a, Vec<u8>> {
        async move {
            let request = content_of(key.as_str()).header(header::RANGE, &rest::range(from, length));
            ranged(self.client.send(&request).await?, length).await
        }
        .boxed()
    }
}

impl Store for GoogleCloudStorage {
    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Stored>> {
        async move { Ok(self.object(key).await?.map(stored)) }.boxed()
    }

    fn upload<'a>(
        &'a self,
        key: &'a Key,
        upload: &'a Upload<'a>,
        hooks: &'a dyn UploadHooks,
    ) -> StoreFuture<'a, Stored> {
        async move {
            self.put(key, upload, hooks).await?;
            let sha256 = Some(upload.sha256.to_owned());
            Ok(Stored { bytes: upload.bytes, sha256, etag: None, meta: upload.meta.clone() })
        }
        .boxed()
    }

    fn verify<'a>(&'a self, key: &'a Key, upload: &'a Upload<'a>) -> StoreFuture<'a, Stored> {
        async move { verify(self, key, upload).await }.boxed()
    }

    /// Nothing: only the process that began a session knows its address. The store forgets it after a week; until then
    /// nobody sees, reads or pays for what was sent.
    fn abort<'a>(&'a self, _: &'a Key, _: &'a str) -> StoreFuture<'a, ()> {
        async { Ok(()) }.boxed()
    }

    fn abort_unfinished<'a>(&'a self, _: &'a Key) -> StoreFuture<'a, ()> {
        async { Ok(()) }.boxed()
    }

    /// None: the store lists no sessions.
    fn open_uploads<'a>(&'a self, _: &'a Folder) -> StoreFuture<'a, Vec<OpenUpload>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Deletion> {
        async move {
            match self
                .client
                .send(&GcsRequest::new(Action::Delete, Method::DELETE, Resource::Object(key.as_str())))
                .await
            {
                Ok(_) if self.is_kept(key).await => Ok(Deletion::Hidden),
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
            for object in page.items {
                match folder.bundle(&object.name).zip(object.updated) {
                    Some((key, modified)) => bundles.bundles.push(ListedBundle { key, bytes: object.size, modified }),
                    None => bundles.foreign += 1,
                }
            }
            Ok(bundles)
        }
        .boxed()
    }

    fn sign<'a>(&'a self, key: &'a Key, ttl: Duration, now: Timestamp) -> StoreFuture<'a, Signed> {
        async move {
            let signer = &*self.client.signer;
            // Google changes the keys with which IAM signs.
            let signs_until =
                matches!(signer, GcsSigner::Tokens(..)).then(|| now.checked_add(IAM_SIGNS_FOR).ok()).flatten();
            let (life, limit) = life(ttl, signs_until, now)?;
            let endpoint = &self.client.endpoint;
            let url = GcsUrl {
                endpoint: endpoint.as_str(),
                host: endpoint.host(),
                path: &format!("/{}/{}", in_path(&self.client.bucket), in_path(key.as_str())),
                // The store judges a URL's age by its own clock, and a signed URL cannot be corrected.
                from: self.client.transport.store_time(now)?,
                life,
                also: &[("response-content-disposition", &disposition(key))],
            };
            let url = match signer {
                GcsSigner::Key(account) => account.url(&url)?,
                GcsSigner::Tokens(keyless) => {
                    let Keyless { identity, tokens, transport } = &**keyless;
                    let email = identity.signs_as.as_ref().ok_or_else(|| {
                        StoreError::CannotSign(
                            "the identity has no key: set the location's config key serviceAccount to the service \
                             account as which IAM signs"
                                .to_owned(),
                        )
                    })?;
                    let unsigned = url.unsigned(email);
                    let token = tokens.give().await?;
                    unsigned.signed(&identity.sign_blob(email, unsigned.to_sign.as_bytes(), &token, transport).await?)
                }
                GcsSigner::Nobody => return Err(StoreError::CannotSign("there is no credential".to_owned())),
            };
            let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::ZERO);
            Ok(Signed {
                url: SignedUrl::new(&url),
                expires: now
                    .checked_add(life)
                    .map_err(|_| StoreError::CannotSign("the URL's expiration is out of range".to_owned()))?,
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
        async move { self.known.iter().cloned().chain(self.client.signer.known_values().await).collect() }.boxed()
    }

    fn way(&self) -> BoxFuture<'_, Option<Way>> {
        async move {
            Some(Way {
                uri: self.client.endpoint.as_str().parse().ok()?,
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
            let names = page.prefixes.iter().filter_map(|name| name.strip_prefix(&root));
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

/// Who authorises requests. Google's services are trusted by the system's authorities alone: a location's certificates are
/// about its store.
fn signer(access: &GcsAccess, policy: EndpointPolicy, reach: &EndpointAccess) -> Result<GcsSigner, StoreError> {
    let identity = match &access.credential {
        GcsCredential::Nobody => return Ok(GcsSigner::Nobody),
        GcsCredential::Key(account, _) => return Ok(GcsSigner::Key(account.clone())),
        GcsCredential::Identity(identity) => GcsIdentity::clone(identity),
    };
    let reach_tokens = match identity.source {
        TokenSource::Machine(_) => EndpointAccess::InstanceMetadata { allow_loopback: policy.allow_loopback },
        TokenSource::External(_) => reach.clone(),
    };
    let asks = AsksGoogle { identity: identity.clone(), transport: identity_transport(reach_tokens)? };
    let (tokens, transport) = (Tokens::new(asks), identity_transport(reach.clone())?);
    Ok(GcsSigner::Tokens(Box::new(Keyless { identity, tokens, transport })))
}

fn stored(object: GcsObject) -> Stored {
    let meta: BTreeMap<String, String> = object.metadata;
    Stored { bytes: object.size, sha256: meta.get("sha256").cloned(), etag: object.etag, meta }
}
