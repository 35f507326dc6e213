//! S3 and compatible stores: makes requests as Velero's AWS plugin would.
//! `config` reads the location, `credential`, `ini` and `resolve` find its credential, `identity` renews it; `sdk_http`
//! carries requests, `upload` sends, `sign` makes URLs, `classify` interprets errors in S3's `words`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig, retry::RetryConfig,
    },
    operation::list_objects_v2::ListObjectsV2Output,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::MultipartUpload,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_redact::Secret;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::{
    Action, Deletion, Detour, Folder, Folders, Key, ListPage, ListedBundle, ObjectBody, OpenUpload, Options, Resolved,
    Signed, Store, StoreError, StoreFuture, Stored, Upload, UploadHooks, VeleroFile, Way,
    connect::EndpointAccess,
    transport::{HttpTransport, Skew},
    verify::{ReadsRanges, verify},
};
use crate::probe::ProbeStep;
use classify::{S3Request, classify};
pub use config::{Checksum, CustomerKey, Encryption, S3Config};
pub use credential::{Credential, CredentialSource};
pub use resolve::{CustomerKeyBytes, S3Access};
use sdk_http::SdkHttp;
pub(super) use words::WORDS;

mod classify;
mod config;
mod credential;
#[cfg(test)]
mod endless;
mod identity;
mod ini;
#[cfg(test)]
mod ini_property;
mod resolve;
mod sdk_http;
pub(super) mod secrets;
mod sign;
mod upload;
mod words;

/// The region where none is set; stores other than AWS accept it too.
const DEFAULT_REGION: &str = "us-east-1";

/// A location's bucket.
#[derive(Clone)]
pub struct S3 {
    client: Client,
    /// Asked anew for each URL, which should live as long as a fresh credential can.
    credentials: SharedCredentialsProvider,
    /// The credential that requests carry.
    kept: SharedCredentialsProvider,
    bucket: String,
    prefix: String,
    config: S3Config,
    customer: Option<Customer>,
    skew: Skew,
    reach: EndpointAccess,
    ca_pem: Option<String>,
    options: Options,
}

/// The SSE-C key, as requests carry it.
#[derive(Clone, Debug)]
struct Customer {
    key: Secret,
    md5: Secret,
}

impl Customer {
    const ALGORITHM: &str = "AES256";
}

/// Sets the SSE-C headers, if there are any, on a request: they are the same on all requests.
macro_rules! with_customer_key {
    ($request:expr, $customer:expr) => {{
        let customer = $customer.as_ref();
        $request
            .set_sse_customer_algorithm(customer.map(|_| Customer::ALGORITHM.to_owned()))
            .set_sse_customer_key(customer.map(|customer| customer.key.expose().to_owned()))
            .set_sse_customer_key_md5(customer.map(|customer| customer.md5.expose().to_owned()))
    }};
}
use with_customer_key;

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("bucket", &self.bucket).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl S3 {
    /// A client of the location's bucket. Asks AWS for the bucket's region if neither region nor endpoint is set; else
    /// it sends no request.
    ///
    /// # Errors
    /// The region cannot be found, or the certificates cannot be used.
    pub(super) async fn open(
        resolved: &Resolved,
        access: &S3Access,
        options: Options,
        detour: Option<Arc<dyn Detour>>,
    ) -> Result<Self, StoreError> {
        let reach = EndpointAccess::stores(resolved.policy)
            .map_err(|error| StoreError::Unreachable { at: ProbeStep::Connection, why: error.to_string() })?
            .with_detour(detour);
        let wire = HttpTransport::new(resolved.ca_pem.as_deref(), access.config.skip_tls_verify, reach.clone())
            .map_err(|_| StoreError::Unreachable {
                at: ProbeStep::Tls,
                why: "the location's certificates cannot be used".to_owned(),
            })?;
        let skew = wire.skew();
        let config = access.config.clone();
        let region = config.region.as_deref().unwrap_or(DEFAULT_REGION);
        let credentials = identity::provider(&access.credential, region, &reach, resolved.policy)?;
        let kept = SharedCredentialsProvider::new(identity::KeptCredentials::new(credentials.clone()));
        let mut sdk = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(SdkHttp(wire))
            .credentials_provider(kept.clone())
            .region(Region::new(region.to_owned()))
            .force_path_style(config.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard())
            // The connection itself detects a stall; a slow store is not a stalled one.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Another store's redirects cannot change region or endpoint: nothing is followed.
            .disable_multi_region_access_points(true);
        if let Some(endpoint) = &config.endpoint {
            sdk = sdk.endpoint_url(endpoint.as_str());
        }
        let mut sdk = sdk.build();
        let bucket = resolved.location.bucket.clone();
        if config.region.is_none() && config.endpoint.is_none() {
            let found = find_region(&Client::from_conf(sdk.clone()), &bucket).await?;
            sdk = sdk.to_builder().region(Region::new(found)).build();
        }
        Ok(Self {
            client: Client::from_conf(sdk),
            credentials,
            kept,
            bucket,
            prefix: resolved.location.prefix.clone(),
            customer: access.customer_key.as_ref().map(|key| Customer {
                key: key.base64(),
                md5: Secret::new(STANDARD.encode(Md5::digest(key.expose()))),
            }),
            config,
            skew,
            reach,
            ca_pem: resolved.ca_pem.clone(),
            options,
        })
    }

    /// The URL of requests to this bucket, as the SDK itself makes it from region, endpoint, style and bucket.
    async fn address(&self) -> Option<http::Uri> {
        // The signed request is never sent: the keys are placeholders.
        let nobody = Credentials::new("nobody", "nobody", None, None, "address");
        let config = self.client.config().to_builder().credentials_provider(nobody).build();
        let signing = PresigningConfig::expires_in(Duration::from_secs(1)).ok()?;
        let signed =
            Client::from_conf(config).get_object().bucket(&self.bucket).key("any").presigned(signing).await.ok()?;
        signed.uri().parse().ok()
    }

    fn request<'a>(&'a self, action: Action, key: &'a str) -> S3Request<'a> {
        S3Request { action, bucket: &self.bucket, key }
    }

    /// Unfinished uploads whose keys begin with this text; none without the right to list them.
    async fn uploads(&self, prefix: &str) -> Result<Vec<MultipartUpload>, StoreError> {
        match self.client.list_multipart_uploads().bucket(&self.bucket).prefix(prefix).send().await {
            Ok(listed) => Ok(listed.uploads.unwrap_or_default()),
            Err(error) => match classify(&error, self.request(Action::ListUploads, prefix)) {
                StoreError::Denied { .. } | StoreError::Rejected(_) => Ok(Vec::new()),
                other => Err(other),
            },
        }
    }

    async fn get_key(&self, key: &str) -> Result<Option<ObjectBody>, StoreError> {
        let request = with_customer_key!(self.client.get_object().bucket(&self.bucket).key(key), self.customer);
        match request.send().await {
            Ok(got) => Ok(Some(ObjectBody {
                bytes: got.content_length().and_then(|length| u64::try_from(length).ok()),
                stream: stream::unfold(Some(got.body), next_chunk).boxed(),
            })),
            Err(error) => match classify(&error, self.request(Action::Get, key)) {
                missing if is_absent(&missing) => Ok(None),
                other => Err(other),
            },
        }
    }
}

/// A 404 is taken for an absent object, even without an error code (HEAD has none).
fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::Rejected(answer) if answer.status == 404)
}

async fn next_chunk(body: Option<ByteStream>) -> Option<(Result<bytes::Bytes, StoreError>, Option<ByteStream>)> {
    let mut body = body?;
    match body.next().await? {
        Ok(chunk) => Some((Ok(chunk), Some(body))),
        Err(_) => Some((Err(StoreError::silent("the response was interrupted")), None)),
    }
}

/// Asks AWS's default region, as Velero's plugin does; even a refusal names the bucket's region.
async fn find_region(client: &Client, bucket: &str) -> Result<String, StoreError> {
    let request = S3Request { action: Action::FindRegion, bucket, key: "" };
    match client.head_bucket().bucket(bucket).send().await {
        Ok(found) => Ok(found.bucket_region().unwrap_or(DEFAULT_REGION).to_owned()),
        Err(error) => {
            let named =
                error.raw_response().and_then(|raw| raw.headers().get("x-amz-bucket-region")).map(ToOwned::to_owned);
            match (named, classify(&error, request)) {
                (Some(region), _) => Ok(region),
                (None, StoreError::Rejected(answer)) if answer.status == 404 => {
                    Err(StoreError::NoBucket { words: &WORDS, bucket: bucket.to_owned(), answer })
                }
                (None, other) => Err(other),
            }
        }
    }
}

impl ReadsRanges for S3 {
    fn range<'a>(&'a self, key: &'a Key, from: u64, length: u64) -> StoreFuture<'a, Vec<u8>> {
        async move {
            let request = self.client.get_object().bucket(&self.bucket).key(key.as_str());
            let request =
                with_customer_key!(request, self.customer).range(format!("bytes={from}-{}", from + length - 1));
            let got =
                request.send().await.map_err(|error| classify(&error, self.request(Action::Get, key.as_str())))?;
            let mut read = Vec::new();
            let mut body = got.body;
            while let Some(chunk) = body.next().await {
                read.extend_from_slice(&chunk.map_err(|_| StoreError::silent("the response was interrupted"))?);
                // A store that ignores ranges sends the whole object: it is not read to its end.
                if read.len() as u64 > length {
                    return Err(StoreError::Corrupt("the store returned more than the requested range".to_owned()));
                }
            }
            Ok(read)
        }
        .boxed()
    }
}

impl Store for S3 {
    fn head<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<Stored>> {
        async move {
            let request = self.client.head_object().bucket(&self.bucket).key(key.as_str());
            match with_customer_key!(request, self.customer).send().await {
                Ok(found) => Ok(Some(stored(
                    found.content_length().unwrap_or_default(),
                    found.e_tag().map(ToOwned::to_owned),
                    found.metadata,
                ))),
                Err(error) => match classify(&error, self.request(Action::Get, key.as_str())) {
                    missing if is_absent(&missing) => Ok(None),
                    other => Err(other),
                },
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
                self.put_parts(key, upload, hooks).await?;
            }
            Ok(Stored {
                bytes: upload.bytes,
                sha256: Some(upload.sha256.to_owned()),
                etag: None,
                meta: upload.meta.clone(),
            })
        }
        .boxed()
    }

    fn verify<'a>(&'a self, key: &'a Key, upload: &'a Upload<'a>) -> StoreFuture<'a, Stored> {
        async move { verify(self, key, upload).await }.boxed()
    }

    fn abort<'a>(&'a self, key: &'a Key, upload_id: &'a str) -> StoreFuture<'a, ()> {
        async move {
            let request =
                self.client.abort_multipart_upload().bucket(&self.bucket).key(key.as_str()).upload_id(upload_id);
            match request.send().await {
                Ok(_) => Ok(()),
                Err(error) => match classify(&error, self.request(Action::Abort, key.as_str())) {
                    gone if is_absent(&gone) => Ok(()),
                    other => Err(other),
                },
            }
        }
        .boxed()
    }

    fn abort_unfinished<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, ()> {
        async move {
            let listed = self.uploads(key.as_str()).await?;
            let ours = listed.iter().filter(|upload| upload.key() == Some(key.as_str()));
            for id in ours.filter_map(|upload| upload.upload_id()) {
                self.abort(key, id).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn open_uploads<'a>(&'a self, folder: &'a Folder) -> StoreFuture<'a, Vec<OpenUpload>> {
        async move {
            let listed = self.uploads(folder.as_str()).await?;
            let ours = listed.iter().filter_map(|upload| {
                Some(OpenUpload {
                    key: folder.bundle(upload.key()?)?,
                    id: upload.upload_id()?.to_owned(),
                    begun: Timestamp::from_second(upload.initiated()?.secs()).ok()?,
                })
            });
            Ok(ours.collect())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Deletion> {
        async move {
            match self.client.delete_object().bucket(&self.bucket).key(key.as_str()).send().await {
                Ok(done) if done.delete_marker() == Some(true) => Ok(Deletion::Hidden),
                Ok(_) => Ok(Deletion::Gone),
                Err(error) => match classify(&error, self.request(Action::Delete, key.as_str())) {
                    gone if is_absent(&gone) => Ok(Deletion::Gone),
                    other => Err(other),
                },
            }
        }
        .boxed()
    }

    fn list<'a>(&'a self, folder: &'a Folder, from: Option<String>) -> StoreFuture<'a, ListPage> {
        async move {
            let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(folder.as_str());
            let answer = request.set_continuation_token(from).send().await;
            page(folder, &answer.map_err(|error| classify(&error, self.request(Action::List, folder.as_str())))?)
        }
        .boxed()
    }

    fn sign<'a>(&'a self, key: &'a Key, ttl: Duration, now: Timestamp) -> StoreFuture<'a, Signed> {
        async move { self.signed(key, ttl, now).await }.boxed()
    }

    fn read<'a>(&'a self, file: &'a VeleroFile) -> StoreFuture<'a, Option<ObjectBody>> {
        async move { self.get_key(&file.key(&self.prefix)).await }.boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Option<ObjectBody>> {
        async move { self.get_key(key.as_str()).await }.boxed()
    }

    fn known_values(&self) -> BoxFuture<'_, Vec<(&'static str, Secret)>> {
        async move {
            let given = self.kept.provide_credentials().await;
            given.map_or_else(|_| Vec::new(), |credential| identity::known_values(&credential))
        }
        .boxed()
    }

    fn way(&self) -> BoxFuture<'_, Option<Way>> {
        async move {
            Some(Way {
                uri: self.address().await?,
                reach: self.reach.clone(),
                ca_pem: self.ca_pem.clone(),
                skip_tls_verify: self.config.skip_tls_verify,
            })
        }
        .boxed()
    }

    fn folders(&self) -> StoreFuture<'_, Folders> {
        async move {
            let root = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
            let listing = self.client.list_objects_v2().bucket(&self.bucket).prefix(&root).delimiter("/");
            let listed = listing.max_keys(1000).send().await;
            let listed = listed.map_err(|error| classify(&error, self.request(Action::List, &root)))?;
            let names = listed.common_prefixes().iter().filter_map(|common| common.prefix()?.strip_prefix(&root));
            Ok(Folders {
                names: names.map(|name| name.trim_end_matches('/').to_owned()).collect(),
                more: listed.is_truncated().unwrap_or(false),
            })
        }
        .boxed()
    }

    fn clock_ahead(&self) -> Option<i64> {
        self.skew.exact()
    }
}

/// Reads a page of a list. A page is an error if it contains another number of objects than it says, or if it is
/// truncated and has no token to continue.
fn page(folder: &Folder, answer: &ListObjectsV2Output) -> Result<ListPage, StoreError> {
    let objects = answer.contents();
    let next = answer.next_continuation_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
    let said = answer.key_count().is_none_or(|count| usize::try_from(count).is_ok_and(|count| count == objects.len()));
    if !said || (answer.is_truncated() == Some(true)) != next.is_some() {
        return Err(StoreError::silent("the store cut the list of its objects"));
    }
    let mut page = ListPage { next, ..ListPage::default() };
    for object in objects {
        let key = object.key().and_then(|key| folder.bundle(key));
        let modified = object.last_modified().and_then(|time| Timestamp::from_second(time.secs()).ok());
        match key.zip(modified) {
            Some((key, modified)) => {
                let bytes = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                page.bundles.push(ListedBundle { key, bytes, modified });
            }
            None => page.foreign += 1,
        }
    }
    Ok(page)
}

fn stored(bytes: i64, etag: Option<String>, meta: Option<HashMap<String, String>>) -> Stored {
    // Header names ignore case; some stores return them in another one.
    let meta: BTreeMap<String, String> =
        meta.into_iter().flatten().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    Stored { bytes: u64::try_from(bytes).unwrap_or_default(), sha256: meta.get("sha256").cloned(), etag, meta }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        location::{EndpointPolicy, Location},
        store::Provider,
    };
    use serde_json::{Value, json};

    #[test]
    fn a_list_that_was_cut_is_an_error_and_a_whole_one_has_the_bundles_alone() {
        let folder = Folder::of("", &crate::store::InstallationId::of_nobody()).expect("a folder");
        let key = format!("{}installation/b-0b5e2a7c-1111-4222-8333-444455556666.tar.gz", folder.as_str());
        let object = |key: &str| {
            let time = aws_sdk_s3::primitives::DateTime::from_secs(1_700_000_000);
            aws_sdk_s3::types::Object::builder().key(key).size(7).last_modified(time).build()
        };
        let answer = || {
            let both = ListObjectsV2Output::builder().contents(object(&key)).contents(object("backups/x/y"));
            both.key_count(2)
        };
        let whole = page(&folder, &answer().is_truncated(false).build()).expect("a page");
        assert_eq!((whole.bundles.len(), whole.foreign, whole.next), (1, 1, None));
        assert_eq!((whole.bundles[0].key.as_str(), whole.bundles[0].bytes), (key.as_str(), 7));
        let more = answer().is_truncated(true).next_continuation_token("t").build();
        assert_eq!(page(&folder, &more).expect("a page").next.as_deref(), Some("t"));
        for cut in [answer().is_truncated(true).build(), answer().key_count(3).build()] {
            assert!(page(&folder, &cut).expect_err("cut").is_transient());
        }
    }

    /// A location with this `spec.config`, and keys that no store knows.
    pub(super) fn resolved(config: &Value) -> Resolved {
        let location = Location::parse(&json!({
            "metadata": {"name": "offsite"},
            "spec": {"provider": "aws", "objectStorage": {"bucket": "bkt"}, "config": config},
        }))
        .expect("a location");
        let access = S3Access {
            config: S3Config::parse(&location).expect("a config"),
            credential: Credential::Keys {
                access_key_id: "AK".to_owned(),
                secret_access_key: Secret::new("hunter2"),
                session_token: None,
            },
            customer_key: None,
        };
        Resolved { location, provider: Provider::S3(access), ca_pem: None, policy: EndpointPolicy::default() }
    }
}
