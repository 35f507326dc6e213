//! S3 and what speaks it: the requests, in the way in which Velero's AWS plugin would make them.
//! Connections are in `wire` and `connect`, identities in `identity`, sending in `upload`, looking at the way to it in `look`, the
//! meaning of errors in `classify`.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
        retry::RetryConfig,
    },
    error::SdkError,
    presigning::PresigningConfig,
    primitives::ByteStream,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use crate::{
    location::{Resolved, S3Config, Step},
    secret::Secret,
};

use super::{Action, Body, Key, Limit, Signed, SignedUrl, Store, StoreError, Stored, Upload, UploadHooks, VeleroFile};
use classify::{Request, classify};
use connect::Reach;
use wire::{Skew, Wire};

mod classify;
mod connect;
#[cfg(test)]
mod endless;
mod identity;
mod look;
mod upload;
mod wire;

/// The most that stores sign for.
const SEVEN_DAYS: Duration = Duration::from_hours(7 * 24);
/// A URL ends so long before the credential that signed it.
const BEFORE_THE_END: Duration = Duration::from_mins(1);
/// AWS's region where none is said; stores that are not AWS take it too.
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
    /// Asked for each URL, which shall live as long as a fresh credential can.
    credentials: SharedCredentialsProvider,
    /// What the requests carry.
    kept: SharedCredentialsProvider,
    bucket: String,
    prefix: String,
    config: S3Config,
    customer: Option<Customer>,
    skew: Skew,
    options: Options,
}

/// SSE-C, as requests carry it.
#[derive(Clone, Debug)]
struct Customer {
    key: Secret,
    md5: Secret,
}

impl Customer {
    const ALGORITHM: &str = "AES256";
}

/// Sets the SSE-C headers, if there are any, on a request: they are the same on all that have them.
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
    /// it does not talk to anybody.
    ///
    /// # Errors
    /// What stands in the way of finding the region, or certificates that cannot be used.
    pub async fn open(resolved: &Resolved, options: Options) -> Result<Self, StoreError> {
        let reach = Reach::stores(resolved.policy)
            .map_err(|error| StoreError::Unreachable { at: Step::Connection, why: error.to_string() })?;
        let wire = Wire::new(resolved.ca_pem.as_deref(), resolved.s3.skip_tls_verify, reach.clone()).map_err(|_| {
            StoreError::Unreachable { at: Step::Tls, why: "the location's certificates cannot be used".to_owned() }
        })?;
        let skew = wire.skew();
        let config = resolved.s3.clone();
        let region = config.region.as_deref().unwrap_or(DEFAULT_REGION);
        let credentials = identity::provider(&resolved.credential, region, &reach, resolved.policy)?;
        let kept = SharedCredentialsProvider::new(identity::Kept::new(credentials.clone()));
        let mut sdk = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(wire.shared())
            .credentials_provider(kept.clone())
            .region(Region::new(region.to_owned()))
            .force_path_style(config.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard())
            // The connection itself watches that something moves; a slow store is not a stalled one.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Keeps region and endpoint of one store from another's redirects: nothing is followed.
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
            options,
        })
    }

    /// The secret values of the credential with which the store is asked: of an identity they are made anew every hour or so,
    /// and no Secret has them. None while the identity does not answer, for then nothing is asked either.
    pub async fn known_values(&self) -> Vec<(&'static str, Secret)> {
        let given = self.kept.provide_credentials().await;
        given.map_or_else(|_| Vec::new(), |credential| identity::known_values(&credential))
    }

    fn request<'a>(&'a self, action: Action, key: &'a str) -> Request<'a> {
        Request { action, bucket: &self.bucket, key }
    }

    async fn get_key(&self, key: &str) -> Result<Option<Body>, StoreError> {
        let request = with_customer_key!(self.client.get_object().bucket(&self.bucket).key(key), self.customer);
        match request.send().await {
            Ok(got) => Ok(Some(Body {
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
            read.extend_from_slice(&chunk.map_err(|_| StoreError::silent("the answer broke off"))?);
            // A store that takes no ranges sends the whole object; what was asked for is its own business to compare.
            if read.len() as u64 > length {
                return Err(StoreError::Corrupt(
                    "the store answered a ranged request with more than was asked for".to_owned(),
                ));
            }
        }
        Ok(read)
    }
}

/// A 404 without a code (HEAD has none) is taken for an absent object.
fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::Rejected(answer) if answer.status == 404)
}

async fn next_chunk(body: Option<ByteStream>) -> Option<(Result<bytes::Bytes, StoreError>, Option<ByteStream>)> {
    let mut body = body?;
    match body.next().await? {
        Ok(chunk) => Some((Ok(chunk), Some(body))),
        Err(_) => Some((Err(StoreError::silent("the answer broke off")), None)),
    }
}

/// As Velero's plugin does: asks where AWS starts; the answer names the region even when it is a refusal.
async fn find_region(client: &Client, bucket: &str) -> Result<String, StoreError> {
    let request = Request { action: Action::FindRegion, bucket, key: "" };
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
        let listed = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(key.as_str()).send().await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                return match classify(&error, self.request(Action::ListUploads, key.as_str())) {
                    StoreError::Denied { .. } | StoreError::Rejected(_) => Ok(()),
                    gone if is_absent(&gone) => Ok(()),
                    other => Err(other),
                };
            }
        };
        let ours = listed.uploads().iter().filter(|upload| upload.key() == Some(key.as_str()));
        for id in ours.filter_map(|upload| upload.upload_id()) {
            self.abort(key, id).await?;
        }
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match self.client.delete_object().bucket(&self.bucket).key(key.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(error) => match classify(&error, self.request(Action::Delete, key.as_str())) {
                gone if is_absent(&gone) => Ok(()),
                other => Err(other),
            },
        }
    }

    async fn sign(&self, key: &Key, ttl: Duration, now: Timestamp) -> Result<Signed, StoreError> {
        let credential = self.credentials.provide_credentials().await.map_err(|error| {
            classify::credential_error(&error)
                .unwrap_or_else(|| StoreError::NoCredential("the pod's identity was refused".to_owned()))
        })?;
        let end = credential.expiry().and_then(|end| Timestamp::try_from(end).ok());
        let (life, limit) = life(ttl, end, now)?;

        let mut signer = self.client.config().to_builder().credentials_provider(credential);
        let endpoint = self.config.public_endpoint.as_ref().or(self.config.endpoint.as_ref());
        if let Some(endpoint) = endpoint {
            signer = signer.endpoint_url(endpoint.as_str());
        }
        // The store judges a URL's age by its own clock, and nothing corrects a URL afterwards.
        let start = now
            .checked_add(jiff::SignedDuration::from_secs(self.skew.seconds()))
            .map_err(|_| StoreError::CannotSign("the store's clock is beyond all times".to_owned()))?;
        let presigning = PresigningConfig::builder()
            .start_time(SystemTime::from(start))
            .expires_in(life)
            .build()
            .map_err(|_| StoreError::CannotSign("the store takes no such time to live".to_owned()))?;
        let request = Client::from_conf(signer.build()).get_object().bucket(&self.bucket).key(key.as_str());
        let presigned = with_customer_key!(request, self.customer)
            .response_content_disposition(disposition(key))
            .presigned(presigning)
            .await
            .map_err(|error| cannot_sign(&error))?;
        let expires = now
            .checked_add(jiff::SignedDuration::try_from(life).unwrap_or(jiff::SignedDuration::ZERO))
            .map_err(|_| StoreError::CannotSign("the URL would end beyond all times".to_owned()))?;
        Ok(Signed {
            url: SignedUrl::new(presigned.uri()),
            expires,
            limit,
            headers: presigned.headers().map(|(name, _)| name.to_owned()).filter(|name| name != "host").collect(),
            cluster_internal: endpoint.is_some_and(crate::location::Endpoint::is_cluster_internal),
            plain_http: endpoint.is_some_and(crate::location::Endpoint::is_plain_http),
        })
    }

    async fn read(&self, file: &VeleroFile) -> Result<Option<Body>, StoreError> {
        self.get_key(&file.key(&self.prefix)).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Body>, StoreError> {
        self.get_key(key.as_str()).await
    }
}

/// How long a URL lives, in whole seconds, and what ends it.
fn life(asked: Duration, credential_end: Option<Timestamp>, now: Timestamp) -> Result<(Duration, Limit), StoreError> {
    let (mut life, mut limit) = if asked > SEVEN_DAYS { (SEVEN_DAYS, Limit::SevenDays) } else { (asked, Limit::Asked) };
    if let Some(end) = credential_end {
        let left = Duration::try_from(end.duration_since(now)).unwrap_or_default().saturating_sub(BEFORE_THE_END);
        if left < life {
            (life, limit) = (left, Limit::Credential);
        }
    }
    let life = Duration::from_secs(life.as_secs());
    if life.is_zero() {
        return Err(StoreError::Expired("it ends within a minute, too soon to sign with".to_owned()));
    }
    Ok((life, limit))
}

fn cannot_sign<E>(_: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> StoreError {
    StoreError::CannotSign("the request could not be signed".to_owned())
}

fn disposition(key: &Key) -> String {
    format!("attachment; filename=\"{}\"", key.file_name())
}

fn stored(bytes: i64, etag: Option<String>, meta: Option<HashMap<String, String>>) -> Stored {
    // Header names have no case; some stores give them back in another one.
    let meta: BTreeMap<String, String> =
        meta.into_iter().flatten().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    Stored { bytes: u64::try_from(bytes).unwrap_or_default(), sha256: meta.get("sha256").cloned(), etag, meta }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::{Credential, CustomerKey, CustomerKeyBytes, Encryption, EndpointPolicy, Location};
    use serde_json::{Value, json};

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

    fn now() -> Timestamp {
        "2026-11-21T03:00:00Z".parse().expect("a time")
    }

    #[test]
    fn sec_u3_a_url_never_outlives_its_credential() {
        let end = |seconds: i64| now().checked_add(jiff::SignedDuration::from_secs(seconds)).ok();
        let life = |asked, end| life(Duration::from_secs(asked), end, now());
        assert_eq!(life(3600, None).expect("signed"), (Duration::from_hours(1), Limit::Asked));
        assert_eq!(life(3600, end(7200)).expect("signed"), (Duration::from_hours(1), Limit::Asked));
        assert_eq!(life(3600, end(1800)).expect("signed"), (Duration::from_mins(29), Limit::Credential));
        assert_eq!(life(10_000_000, None).expect("signed"), (SEVEN_DAYS, Limit::SevenDays));
        assert!(matches!(life(3600, end(60)), Err(StoreError::Expired(_))));
        assert!(matches!(life(3600, end(-5)), Err(StoreError::Expired(_))));
    }

    #[tokio::test]
    async fn sec_u10_with_a_customer_key_the_url_names_the_headers_it_needs_and_not_the_key() {
        let resolved = Resolved {
            sse_c_key: CustomerKeyBytes::new(b"0123456789abcdef0123456789abcdef").ok(),
            ..resolved(&json!({"region": "eu-west-1", "customerKeyEncryptionSecret": "ssec/key"}))
        };
        assert!(matches!(resolved.s3.encryption, Encryption::CustomerKey(CustomerKey::Secret { .. })));
        let store = S3::open(&resolved, Options::default()).await.expect("a store");
        let key = Key::of("", None, "dbg", "u-1").expect("a key");
        let signed = store.sign(&key, Duration::from_mins(1), now()).await.expect("signed");
        let mut headers = signed.headers.clone();
        headers.sort();
        assert_eq!(
            headers,
            [
                "x-amz-server-side-encryption-customer-algorithm",
                "x-amz-server-side-encryption-customer-key",
                "x-amz-server-side-encryption-customer-key-md5",
            ]
        );
        let url = signed.url.expose();
        assert!(
            url.starts_with("https://bkt.s3.eu-west-1.amazonaws.com/plugins/debugbundle/installation/dbg-u-1.tar.gz?"),
            "{url}"
        );
        assert!(!url.contains("MDEyMzQ1") && !url.contains("hunter2"), "{url}");
        assert!(url.contains("X-Amz-Date=20261121T030000Z") && url.contains("X-Amz-Expires=60"), "{url}");
        let known: Vec<_> =
            resolved.known_values().into_iter().map(|(rule, value)| (rule, value.expose().to_owned())).collect();
        assert_eq!(known[0], ("known-secret-key", "hunter2".to_owned()));
        assert!(known.contains(&("known-sse-c-key", "0123456789abcdef0123456789abcdef".to_owned())));
    }
}
