//! Helpers for tests of the object store: a bucket of its own, a sealed file to upload, a recorder of an upload's
//! progress, and the end of a DebugBundle.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use debugbundle_crd::{DebugBundle, DebugBundleStatus, Phase, Target, TargetKind};
use debugbundle_operator::{
    location::{EndpointPolicy, Location},
    store::{
        InstallationId, Key, Options, Provider, Resolved, Store, Upload, UploadHooks,
        s3::{Credential, S3Access, S3Config},
    },
};
use debugbundle_redact::Secret;
use futures::future::BoxFuture;
use harness::{
    Context, TestCluster,
    s3::{Bucket, Keys, REGION, S3},
    until,
};
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::contract::ContractPlace;

pub const UID: &str = "0b5e2a7c-1111-4222-8333-444455556666";
pub const MIB: usize = 1 << 20;
/// Small enough that a test's bundle is sent in parts.
pub const IN_PARTS: Options = Options { single_put: 1 << 20, part: 5 << 20 };

/// A bucket of the stand's store, and its endpoint.
pub struct TestBucket {
    pub bucket: Bucket,
    pub keys: Keys,
    pub endpoint: String,
}

impl TestBucket {
    pub async fn new() -> Self {
        Self::of(&TestCluster::shared().await.s3).await
    }

    /// The same of another S3 server.
    pub async fn of(s3: &S3) -> Self {
        static BUCKETS: AtomicUsize = AtomicUsize::new(0);
        let bucket = s3.create_bucket(&format!("store-{}", BUCKETS.fetch_add(1, Ordering::Relaxed))).await;
        Self { bucket, keys: s3.root().clone(), endpoint: s3.endpoint() }
    }

    /// The resolved form of a location in this bucket with these extra config keys.
    pub fn resolved(&self, config: &Value) -> Resolved {
        let mut whole = json!({"s3Url": self.endpoint, "region": REGION, "s3ForcePathStyle": "true"});
        for (key, value) in config.as_object().expect("config is an object") {
            whole[key] = value.clone();
        }
        let location = Location::parse(&json!({
            "metadata": {"name": "offsite"},
            "spec": {
                "provider": "aws",
                "objectStorage": {"bucket": self.bucket.name, "prefix": "velero"},
                "config": whole,
            },
        }))
        .expect("a location");
        let access = S3Access {
            config: S3Config::parse(&location).expect("a config"),
            credential: Credential::Keys {
                access_key_id: self.keys.access.clone(),
                secret_access_key: Secret::new(&*self.keys.secret),
                session_token: None,
            },
            customer_key: None,
        };
        Resolved {
            location,
            provider: Provider::S3(access),
            ca_pem: None,
            policy: EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() },
        }
    }

    pub async fn store(&self, options: Options) -> Arc<dyn Store> {
        self.store_with(&json!({}), options).await
    }

    pub async fn store_with(&self, config: &Value, options: Options) -> Arc<dyn Store> {
        open(&self.resolved(config), options).await
    }

    pub async fn unfinished(&self) -> usize {
        self.bucket.unfinished().await.len()
    }

    /// The object's path on the store's disk.
    pub fn path(&self) -> PathBuf {
        self.bucket.folder().join(key().as_str())
    }
}

/// The store behind a location.
pub async fn open(resolved: &Resolved, options: Options) -> Arc<dyn Store> {
    resolved.open(options, None).await.expect("a store")
}

/// What S3 needs of a location.
pub fn access(resolved: &mut Resolved) -> &mut S3Access {
    let Provider::S3(access) = &mut resolved.provider else { panic!("a store of S3") };
    access
}

pub struct Sealed {
    pub file: tempfile::NamedTempFile,
    pub content: Vec<u8>,
    pub sha256: String,
}

/// A file of random-looking bytes.
pub fn sealed(bytes: usize) -> Sealed {
    let mut state = 0x9e37_79b9_u32;
    let content: Vec<u8> = (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &content).expect("written");
    let sha256 = Sha256::digest(&content).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    Sealed { file, content, sha256 }
}

impl Sealed {
    pub fn upload(&self) -> Upload<'_> {
        Upload {
            file: self.file.path(),
            bytes: self.content.len() as u64,
            sha256: &self.sha256,
            meta: BTreeMap::from([("uid".to_owned(), UID.to_owned()), ("outcome".to_owned(), "Completed".to_owned())]),
        }
    }
}

pub fn key() -> Key {
    let target = Target { kind: TargetKind::Restore, name: "r1".to_owned() };
    Key::of("velero", &InstallationId::of_nobody(), Some(&target), "dbg", UID).expect("a key")
}

/// Records its calls; the test decides what happens when an upload begins.
#[derive(Default)]
pub struct UploadRecorder<'a> {
    pub calls: Mutex<Vec<String>>,
    pub refuse: bool,
    pub hang: bool,
    pub at_begin: Option<&'a dyn ContractPlace>,
}

impl UploadHooks for UploadRecorder<'_> {
    fn begun<'a>(&'a self, upload_id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            assert!(!upload_id.is_empty());
            let open = match self.at_begin {
                Some(place) => place.unfinished().await.unwrap_or(1),
                None => 1,
            };
            self.calls.lock().expect("not poisoned").push(format!("begun, {open} open"));
            if self.hang {
                std::future::pending::<()>().await;
            }
            if self.refuse { Err("status could not be written".to_owned()) } else { Ok(()) }
        })
    }

    fn sent(&self, bytes: u64) {
        self.calls.lock().expect("not poisoned").push(format!("sent {bytes}"));
    }
}

pub async fn uploaded(store: &dyn Store, sealed: &Sealed) {
    store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect("uploaded");
}

/// Changes the content without the server's knowledge; its metadata stays.
pub fn overwrite(path: &Path, content: &[u8]) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(path).expect("the object");
    file.write_all(content).expect("written");
}

/// Waits until sending a sealed DebugBundle has failed for the first time.
pub async fn waiting(context: &Context, name: &str) -> End {
    until(Duration::from_mins(2), &format!("{name} waits for its store"), || async {
        let bundle = context.api::<DebugBundle>().get(name).await.map_err(|error| error.to_string())?;
        let status = bundle.status.clone().unwrap_or_default();
        let failed = status.upload.as_ref().is_some_and(|upload| upload.last_error.is_some());
        if failed { Ok(End { bundle }) } else { Err(format!("{:?} {:?}", status.phase, status.conditions)) }
    })
    .await
}

/// An AWS credentials file.
pub fn cloud(access: &str, secret: &str) -> String {
    format!("[default]\naws_access_key_id={access}\naws_secret_access_key={secret}\n")
}

/// Writes this text to the key `cloud` of a Secret.
pub async fn write_secret(context: &Context, name: &str, text: &str) {
    write_secret_key(context, name, "cloud", text).await;
}

/// Writes a Secret with this one key.
pub async fn write_secret_key(context: &Context, name: &str, key: &str, text: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: text}});
    let params = PatchParams::apply("test").force();
    context.api::<KubeSecret>().patch(name, &params, &Patch::Apply(secret)).await.expect("written");
}

/// The current or final state of a DebugBundle.
#[derive(Debug)]
pub struct End {
    pub bundle: DebugBundle,
}

/// Waits for the end of a DebugBundle.
pub async fn ended(context: &Context, name: &str) -> End {
    until(Duration::from_mins(2), &format!("{name} ends"), || async {
        let bundle = context.api::<DebugBundle>().get(name).await.map_err(|error| error.to_string())?;
        let status = bundle.status.clone().unwrap_or_default();
        if status.phase.is_some_and(Phase::is_terminal) {
            Ok(End { bundle })
        } else {
            Err(format!("{:?} {:?}", status.phase, status.conditions))
        }
    })
    .await
}

impl End {
    pub fn status(&self) -> &DebugBundleStatus {
        self.bundle.status.as_ref().expect("it ended")
    }

    pub fn stored(&self) -> bool {
        matches!(self.status().phase, Some(Phase::Completed | Phase::PartiallyFailed))
    }

    pub fn condition(&self, of: &str) -> (&str, &str) {
        let found = self.status().conditions.iter().find(|condition| condition.type_ == of);
        found.map_or(("", ""), |condition| (condition.reason.as_str(), condition.message.as_str()))
    }

    pub fn message_of(&self, of: &str) -> &str {
        self.condition(of).1
    }

    /// Reason and message of the failure.
    pub fn failure(&self) -> (&str, &str) {
        assert_eq!(self.status().phase, Some(Phase::Failed), "{self:?}");
        self.condition("Ready")
    }
}

/// Requests an object by its URL; status, headers and body.
pub async fn http(url: &str, range: Option<&str>) -> (u16, http::HeaderMap, Vec<u8>) {
    let mut request = http::Request::get(url);
    if let Some(range) = range {
        request = request.header(http::header::RANGE, range);
    }
    let response =
        harness::https::client().request(request.body(Full::default()).expect("a request")).await.expect("an answer");
    let (head, body) = response.into_parts();
    (head.status.as_u16(), head.headers, body.collect().await.expect("a body").to_bytes().to_vec())
}
