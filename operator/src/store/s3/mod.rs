//! S3 and compatible stores: makes requests as Velero's AWS plugin would.
//! `transport` and `connect` make connections, `identity` credentials, `sign` URLs; `upload` sends, `probe` tests the
//! way to a store, `classify` interprets errors.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
        retry::RetryConfig,
    },
    operation::list_objects_v2::ListObjectsV2Output,
    primitives::ByteStream,
    types::MultipartUpload,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_redact::Secret;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::{
    Action, Deletion, Folder, Key, ListPage, ListedBundle, ObjectBody, OpenUpload, Signed, Store, StoreError, Stored,
    Upload, UploadHooks, VeleroFile,
};
use crate::{
    location::{Resolved, S3Config},
    probe::ProbeStep,
};
use classify::{S3Request, classify};
pub use connect::{Detour, Stream};
pub(crate) use connect::{EndpointAccess, Tcp};
use transport::{HttpTransport, Skew};

mod classify;
mod connect;
#[cfg(test)]
mod endless;
mod identity;
mod probe;
mod sign;
mod transport;
mod upload;

/// The region where none is set; stores other than AWS accept it too.
const DEFAULT_REGION: &str = "us-east-1";

/// What may be set besides the location.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Up to this size a file is sent in a single request, bytes.
    pub single_put: u64,
    /// Size of the parts of larger ones, bytes; S3 wants at least 5 MiB.
    pub part: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { single_put: 64 << 20, part: 8 << 20 }
    }
}

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
    pub async fn open(resolved: &Resolved, options: Options) -> Result<Self, StoreError> {
        Self::open_by(resolved, options, None).await
    }

    /// The same, with a way to an endpoint that has no address here.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_by(
        resolved: &Resolved,
        options: Options,
        detour: Option<Arc<dyn Detour>>,
    ) -> Result<Self, StoreError> {
        let reach = EndpointAccess::stores(resolved.policy)
            .map_err(|error| StoreError::Unreachable { at: ProbeStep::Connection, why: error.to_string() })?
            .with_detour(detour);
        let wire = HttpTransport::new(resolved.ca_pem.as_deref(), resolved.s3.skip_tls_verify, reach.clone()).map_err(
            |_| StoreError::Unreachable {
                at: ProbeStep::Tls,
                why: "the location's certificates cannot be used".to_owned(),
            },
        )?;
        let skew = wire.skew();
        let config = resolved.s3.clone();
        let region = config.region.as_deref().unwrap_or(DEFAULT_REGION);
        let credentials = identity::provider(&resolved.credential, region, &reach, resolved.policy)?;
        let kept = SharedCredentialsProvider::new(identity::KeptCredentials::new(credentials.clone()));
        let mut sdk = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(wire.shared())
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
            customer: resolved.sse_c_key.as_ref().map(|key| Customer {
                key: key.base64(),
                md5: Secret::new(STANDARD.encode(Md5::digest(key.expose()))),
            }),
            config,
            skew,
            reach,
            options,
        })
    }

    /// The secret values of the credential that requests carry. Those of an identity change every hour or so, and no
    /// Secret contains them. Empty while the identity does not answer: then no request is sent either.
    pub async fn known_values(&self) -> Vec<(&'static str, Secret)> {
        let given = self.kept.provide_credentials().await;
        given.map_or_else(|_| Vec::new(), |credential| identity::known_values(&credential))
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

    /// A part of the object, of at most a few KiB.
    async fn range(&self, key: &Key, from: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let request = self.client.get_object().bucket(&self.bucket).key(key.as_str());
        let request = with_customer_key!(request, self.customer).range(format!("bytes={from}-{}", from + length - 1));
        let got = request.send().await.map_err(|error| classify(&error, self.request(Action::Get, key.as_str())))?;
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
                    Err(StoreError::NoBucket { bucket: bucket.to_owned(), answer })
                }
                (None, other) => Err(other),
            }
        }
    }
}

impl Store for S3 {
    async fn head(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
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

    async fn upload(&self, key: &Key, upload: &Upload<'_>, hooks: &dyn UploadHooks) -> Result<Stored, StoreError> {
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

    async fn verify(&self, key: &Key, upload: &Upload<'_>) -> Result<Stored, StoreError> {
        upload::verify(self, key, upload).await
    }

    async fn abort(&self, key: &Key, upload_id: &str) -> Result<(), StoreError> {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(key.as_str()).upload_id(upload_id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => match classify(&error, self.request(Action::Abort, key.as_str())) {
                gone if is_absent(&gone) => Ok(()),
                other => Err(other),
            },
        }
    }

    async fn abort_unfinished(&self, key: &Key) -> Result<(), StoreError> {
        let listed = self.uploads(key.as_str()).await?;
        let ours = listed.iter().filter(|upload| upload.key() == Some(key.as_str()));
        for id in ours.filter_map(|upload| upload.upload_id()) {
            self.abort(key, id).await?;
        }
        Ok(())
    }

    async fn open_uploads(&self, folder: &Folder) -> Result<Vec<OpenUpload>, StoreError> {
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

    async fn delete(&self, key: &Key) -> Result<Deletion, StoreError> {
        match self.client.delete_object().bucket(&self.bucket).key(key.as_str()).send().await {
            Ok(done) if done.delete_marker() == Some(true) => Ok(Deletion::Hidden),
            Ok(_) => Ok(Deletion::Gone),
            Err(error) => match classify(&error, self.request(Action::Delete, key.as_str())) {
                gone if is_absent(&gone) => Ok(Deletion::Gone),
                other => Err(other),
            },
        }
    }

    async fn list(&self, folder: &Folder, from: Option<String>) -> Result<ListPage, StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(folder.as_str());
        let answer = request.set_continuation_token(from).send().await;
        page(folder, &answer.map_err(|error| classify(&error, self.request(Action::List, folder.as_str())))?)
    }

    async fn sign(&self, key: &Key, ttl: Duration, now: Timestamp) -> Result<Signed, StoreError> {
        self.signed(key, ttl, now).await
    }

    async fn read(&self, file: &VeleroFile) -> Result<Option<ObjectBody>, StoreError> {
        self.get_key(&file.key(&self.prefix)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<ObjectBody>, StoreError> {
        self.get_key(key.as_str()).await
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
    use crate::location::{Credential, EndpointPolicy, Location};
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
        Resolved {
            s3: S3Config::parse(&location).expect("a config"),
            location,
            credential: Credential::Keys {
                access_key_id: "AK".to_owned(),
                secret_access_key: Secret::new("hunter2"),
                session_token: None,
            },
            ca_pem: None,
            sse_c_key: None,
            policy: EndpointPolicy::default(),
        }
    }
}
