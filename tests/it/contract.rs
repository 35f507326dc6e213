//! The contract of stores, `support::contract`, against each store: two S3 servers, an emulator of Azure and one of
//! Google, and a store in memory. The table in `docs/store-contract.md` is compared with the cases.

use std::{
    collections::BTreeMap,
    fs,
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use debugbundle_operator::{
    location::{Endpoint, EndpointPolicy, Location},
    store::{
        Provider, Resolved, Store, StoreError, UploadHooks,
        azure::{AzureAccess, AzureConfig, AzureCredential, AzureIdentity, AzureProof},
        s3::Credential,
    },
};
use debugbundle_redact::Secret;
use futures::{FutureExt as _, future::BoxFuture};
use harness::{
    TestCluster,
    azurite::{Azurite, Container},
    gcs::{FakeGcs, GcsBucket},
    refusing::Refusal,
    s3::S3,
    s3_proxy::{Answering, S3Fault, S3Proxy},
    seaweedfs::SeaweedFs,
};
use serde_json::json;

use crate::support::{
    contract::{CASES, ContractCase, ContractPlace, ErrorClass, StoreKind, table},
    gcs_sessions::gcs,
    memory_store::{Defect, MemoryStore},
    store::{IN_PARTS, MIB, TestBucket, UploadRecorder, access, key, open, sealed},
};

/// Where nobody listens: a free port may be another test's a moment later.
const CLOSED: &str = "http://127.0.0.1:1";

/// A bucket of an S3 server.
struct S3Place {
    bucket: TestBucket,
    store: Arc<dyn Store>,
    /// Answers with errors before the server.
    proxy: S3Proxy,
}

impl S3Place {
    async fn in_bucket_of(s3: &S3) -> Self {
        let bucket = TestBucket::of(s3).await;
        let proxy = S3Proxy::before(&bucket.endpoint).await;
        Self { store: bucket.store(IN_PARTS).await, bucket, proxy }
    }

    /// The store behind a proxy that refuses each request so.
    async fn refusing(&self, status: u16, code: &'static str) -> Arc<dyn Store> {
        let bucket = format!("{}{}", self.bucket.bucket.name, code.to_ascii_lowercase());
        let applies = bucket.clone();
        self.proxy.next(usize::MAX / 16, move |seen| seen.path.contains(&applies), S3Fault::Refuse(status, code));
        let mut resolved = self.bucket.resolved(&json!({"s3Url": self.proxy.endpoint()}));
        resolved.location.bucket = bucket;
        open(&resolved, IN_PARTS).await
    }
}

impl ContractPlace for S3Place {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn failing(&self, class: ErrorClass) -> BoxFuture<'_, Option<Arc<dyn Store>>> {
        async move {
            let mut resolved = self.bucket.resolved(&json!({}));
            let resolved = match class {
                // The server itself answers to this.
                ErrorClass::NotAccepted => {
                    access(&mut resolved).credential = Credential::Keys {
                        access_key_id: self.bucket.keys.access.clone(),
                        secret_access_key: Secret::new("wrong"),
                        session_token: None,
                    };
                    resolved
                }
                ErrorClass::NotAllowed => {
                    resolved.policy = EndpointPolicy::default();
                    resolved
                }
                ErrorClass::Unreachable => self.bucket.resolved(&json!({"s3Url": CLOSED})),
                // SeaweedFS makes a missing bucket for an administrator, and refuses all others.
                ErrorClass::NoBucket => return Some(self.refusing(404, "NoSuchBucket").await),
                ErrorClass::Denied => return Some(self.refusing(403, "AccessDenied").await),
                ErrorClass::Elsewhere => return Some(self.refusing(301, "PermanentRedirect").await),
                ErrorClass::Unavailable => return Some(self.refusing(503, "SlowDown").await),
                ErrorClass::Full => return Some(self.refusing(507, "XMinioStorageFull").await),
                ErrorClass::Skewed => return Some(self.refusing(403, "RequestTimeTooSkewed").await),
                ErrorClass::Expired => return Some(self.refusing(400, "ExpiredToken").await),
                ErrorClass::Rejected => return Some(self.refusing(400, "InvalidArgument").await),
            };
            Some(open(&resolved, IN_PARTS).await)
        }
        .boxed()
    }

    fn content<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Option<Vec<u8>>> {
        self.bucket.bucket.get(key).boxed()
    }

    fn write<'a>(&'a self, key: &'a str, content: Vec<u8>, meta: BTreeMap<String, String>) -> BoxFuture<'a, ()> {
        async move {
            let meta: Vec<(&str, String)> = meta.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            self.bucket.bucket.put_with(key, content, &meta).await;
        }
        .boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Option<usize>> {
        self.bucket.unfinished().map(Some).boxed()
    }
}

/// A container of Azurite.
struct AzurePlace {
    container: Container,
    resolved: Resolved,
    store: Arc<dyn Store>,
}

impl AzurePlace {
    async fn in_container_of(azurite: &Azurite) -> Self {
        Self::signed_by(azurite, AzureCredential::Key(Secret::new(&*azurite.key))).await
    }

    async fn signed_by(azurite: &Azurite, credential: AzureCredential) -> Self {
        static CONTAINERS: AtomicUsize = AtomicUsize::new(0);
        let name = format!("store-{}", CONTAINERS.fetch_add(1, Ordering::Relaxed));
        let container = azurite.create_container(&name).await;
        let config = json!({"storageAccount": azurite.account, "storageAccountURI": azurite.endpoint()});
        let location = Location::parse(&json!({
            "metadata": {"name": "offsite"},
            "spec": {
                "provider": "velero.io/azure",
                "objectStorage": {"bucket": name, "prefix": "velero"},
                "config": config,
            },
        }))
        .expect("a location");
        let access = AzureAccess {
            config: AzureConfig::parse(&location).expect("a config"),
            endpoint: endpoint(&azurite.endpoint()),
            credential,
        };
        let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
        let (provider, ca_pem) = (Provider::Azure(access), azurite.authority.clone());
        let resolved = Resolved { location, provider, ca_pem, policy };
        Self { container, store: open(&resolved, IN_PARTS).await, resolved }
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse_with_path("storageAccountURI", url).expect("an endpoint")
}

/// An account's endpoint that refuses each request so.
async fn refusing(refusal: Refusal) -> Endpoint {
    endpoint(&format!("{}/acct1", refusal.start().await))
}

/// An endpoint where nobody listens.
fn closed() -> Endpoint {
    endpoint(CLOSED)
}

impl ContractPlace for AzurePlace {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn failing(&self, class: ErrorClass) -> BoxFuture<'_, Option<Arc<dyn Store>>> {
        async move {
            let mut resolved = self.resolved.clone();
            let Provider::Azure(access) = &mut resolved.provider else { panic!("a store of Azure") };
            match class {
                // The server itself answers to this.
                ErrorClass::NoBucket => "missing".clone_into(&mut resolved.location.bucket),
                ErrorClass::NotAllowed => resolved.policy = EndpointPolicy::default(),
                ErrorClass::Unreachable => access.endpoint = closed(),
                // Azurite answers to a wrong key as Azure's firewall does.
                ErrorClass::NotAccepted => {
                    access.endpoint = refusing(Refusal::of_azure(403, "AuthenticationFailed", 0)).await;
                }
                ErrorClass::Denied => {
                    access.endpoint = refusing(Refusal::of_azure(403, "AuthorizationFailure", 0)).await;
                }
                ErrorClass::Elsewhere => access.endpoint = refusing(Refusal::of_azure(307, "Elsewhere", 0)).await,
                ErrorClass::Unavailable => access.endpoint = refusing(Refusal::of_azure(503, "ServerBusy", 0)).await,
                ErrorClass::Full => access.endpoint = refusing(Refusal::of_azure(507, "Full", 0)).await,
                ErrorClass::Skewed => {
                    access.endpoint = refusing(Refusal::of_azure(403, "AuthenticationFailed", 3600)).await;
                }
                ErrorClass::Rejected => {
                    access.endpoint = refusing(Refusal::of_azure(400, "InvalidHeaderValue", 0)).await;
                }
                // An account key has no end.
                ErrorClass::Expired => return None,
            }
            Some(open(&resolved, IN_PARTS).await)
        }
        .boxed()
    }

    fn content<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Option<Vec<u8>>> {
        self.container.get(key).boxed()
    }

    fn write<'a>(&'a self, key: &'a str, content: Vec<u8>, meta: BTreeMap<String, String>) -> BoxFuture<'a, ()> {
        async move { self.container.put(key, content, &meta).await }.boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Option<usize>> {
        self.container.uncommitted().map(Some).boxed()
    }
}

/// Writes this at the key when an upload begins.
struct WritesAtBegin<'a>(&'a AzurePlace, &'static [u8]);

impl UploadHooks for WritesAtBegin<'_> {
    fn begun<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        async move {
            self.0.write(key().as_str(), self.1.to_vec(), BTreeMap::new()).await;
            Ok(())
        }
        .boxed()
    }

    fn sent(&self, _bytes: u64) {}
}

#[tokio::test]
async fn issue_35_a_blob_that_another_process_wrote_meanwhile_stays_and_the_next_try_replaces_what_it_saw() {
    let azurite = Azurite::start().await;
    let place = AzurePlace::in_container_of(&azurite).await;
    let (store, sealed) = (place.store(), sealed(6 * MIB));
    for before in [None, Some(b"before".to_vec())] {
        if let Some(before) = before {
            place.write(key().as_str(), before, BTreeMap::new()).await;
        }
        let foreign = b"another process";
        let error = store.upload(&key(), &sealed.upload(), &WritesAtBegin(&place, foreign)).await.expect_err("refused");
        assert!(matches!(error, StoreError::Unavailable(_)) && error.is_transient(), "{error}");
        assert_eq!(place.content(key().as_str()).await.as_deref(), Some(foreign.as_slice()));
        store.upload(&key(), &sealed.upload(), &UploadRecorder::default()).await.expect("uploaded");
        store.verify(&key(), &sealed.upload()).await.expect("verified");
        assert_eq!(place.unfinished().await, Some(0));
    }
}

/// A bucket of fake-gcs-server.
struct GcsPlace {
    bucket: GcsBucket,
    resolved: Resolved,
    store: Arc<dyn Store>,
}

impl GcsPlace {
    async fn in_bucket_of(server: &FakeGcs) -> Self {
        static BUCKETS: AtomicUsize = AtomicUsize::new(0);
        let bucket = server.create_bucket(&format!("store-{}", BUCKETS.fetch_add(1, Ordering::Relaxed))).await;
        let resolved = gcs(&bucket.name, &json!({"storeEndpoint": server.endpoint()}));
        Self { bucket, store: open(&resolved, IN_PARTS).await, resolved }
    }
}

impl ContractPlace for GcsPlace {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn failing(&self, class: ErrorClass) -> BoxFuture<'_, Option<Arc<dyn Store>>> {
        async move {
            let mut resolved = self.resolved.clone();
            let Provider::Gcs(access) = &mut resolved.provider else { panic!("a store of Google") };
            let refusal = match class {
                // The server itself answers to this.
                ErrorClass::NoBucket => {
                    "missing".clone_into(&mut resolved.location.bucket);
                    None
                }
                ErrorClass::NotAllowed => {
                    resolved.policy = EndpointPolicy::default();
                    None
                }
                ErrorClass::Unreachable => {
                    access.endpoint = closed();
                    None
                }
                ErrorClass::NotAccepted => Some((401, "authError", 0)),
                ErrorClass::Denied => Some((403, "forbidden", 0)),
                ErrorClass::Elsewhere => Some((307, "redirect", 0)),
                ErrorClass::Unavailable => Some((503, "backendError", 0)),
                ErrorClass::Full => Some((507, "full", 0)),
                ErrorClass::Skewed => Some((401, "authError", 3600)),
                ErrorClass::Rejected => Some((400, "invalidArgument", 0)),
                // A service account's key signs each request anew.
                ErrorClass::Expired => return None,
            };
            if let Some((status, reason, ahead)) = refusal {
                access.endpoint = endpoint(&Refusal::of_google(status, reason, ahead).start().await);
            }
            Some(open(&resolved, IN_PARTS).await)
        }
        .boxed()
    }

    fn content<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Option<Vec<u8>>> {
        self.bucket.get(key).boxed()
    }

    fn write<'a>(&'a self, key: &'a str, content: Vec<u8>, meta: BTreeMap<String, String>) -> BoxFuture<'a, ()> {
        async move { self.bucket.put(key, content, &meta).await }.boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Option<usize>> {
        async { None }.boxed()
    }
}

struct MemoryPlace(MemoryStore);

impl ContractPlace for MemoryPlace {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }

    fn failing(&self, class: ErrorClass) -> BoxFuture<'_, Option<Arc<dyn Store>>> {
        let failing: Arc<dyn Store> = Arc::new(self.0.failing(class));
        async move { Some(failing) }.boxed()
    }

    fn content<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Option<Vec<u8>>> {
        async move { self.0.content(key) }.boxed()
    }

    fn write<'a>(&'a self, key: &'a str, content: Vec<u8>, meta: BTreeMap<String, String>) -> BoxFuture<'a, ()> {
        async move { self.0.write(key, content, meta) }.boxed()
    }

    fn unfinished(&self) -> BoxFuture<'_, Option<usize>> {
        async move { Some(self.0.unfinished()) }.boxed()
    }
}

/// Runs each of these cases in a place of its own; the names of the broken promises.
async fn broken_promises<P: ContractPlace>(
    is_run: impl Fn(&ContractCase) -> bool,
    place: impl AsyncFn() -> P,
) -> Vec<&'static str> {
    let mut broken = Vec::new();
    for case in CASES.iter().filter(|case| is_run(case)) {
        let place = place().await;
        if AssertUnwindSafe((case.run)(&place)).catch_unwind().await.is_err() {
            broken.push(case.name);
        }
    }
    broken
}

async fn keeps_the_contract<P: ContractPlace>(kind: StoreKind, place: impl AsyncFn() -> P) {
    let broken = broken_promises(|case| !case.not_on.contains(&kind), place).await;
    assert!(broken.is_empty(), "broken promises:\n{}", broken.join("\n"));
}

#[tokio::test]
async fn sec_d7_u8_versitygw_keeps_the_contract_of_stores() {
    let s3 = &TestCluster::shared().await.s3;
    keeps_the_contract(StoreKind::Versitygw, async || S3Place::in_bucket_of(s3).await).await;
}

#[tokio::test]
async fn sec_d7_u8_seaweedfs_keeps_the_contract_of_stores() {
    let server = SeaweedFs::start().await;
    keeps_the_contract(StoreKind::SeaweedFs, async || S3Place::in_bucket_of(&server.s3).await).await;
}

#[tokio::test]
async fn sec_d7_u8_u11_azure_keeps_the_contract_of_stores() {
    let azurite = Azurite::start().await;
    keeps_the_contract(StoreKind::Azurite, async || AzurePlace::in_container_of(&azurite).await).await;
}

#[tokio::test]
async fn sec_d7_u11_azure_keeps_the_contract_of_stores_with_the_tokens_of_an_identity() {
    let azurite = Azurite::start_with_identities().await;
    let login = Answering::with(Azurite::token().0).await;
    let identity = AzureIdentity {
        tenant: "t-1".to_owned(),
        client_id: "c-1".to_owned(),
        authority: endpoint(&login.endpoint),
        proof: AzureProof::Secret(Secret::new("hunter2hunter2")),
    };
    let place = async || AzurePlace::signed_by(&azurite, AzureCredential::Identity(Box::new(identity.clone()))).await;
    keeps_the_contract(StoreKind::Azurite, place).await;
}

#[tokio::test]
async fn sec_d7_u12_google_cloud_storage_keeps_the_contract_of_stores() {
    let server = FakeGcs::start().await;
    keeps_the_contract(StoreKind::FakeGcsServer, async || GcsPlace::in_bucket_of(&server).await).await;
}

#[tokio::test]
async fn a_store_in_memory_keeps_the_contract_of_stores() {
    keeps_the_contract(StoreKind::InMemory, async || MemoryPlace(MemoryStore::default())).await;
}

#[tokio::test]
async fn the_contract_finds_a_store_that_breaks_a_promise() {
    for (defect, expected) in [
        (Defect::LeavesUploads, ["id cannot be recorded leaves nothing"].as_slice()),
        (Defect::RecordsLate, &["on record before the first part"]),
        (Defect::ReportsForeign, &["not taken for ours", "overwrite is refused, or found"]),
        (Defect::CutsLists, &["list is whole"]),
        (Defect::LosesMetadata, &["with its metadata", "on record before the first part"]),
        (Defect::KeepsObjects, &["Deleting removes"]),
        (Defect::SwallowsErrors, &["class of errors"]),
    ] {
        let is_run = |case: &ContractCase| expected.iter().any(|part| case.name.contains(part));
        let broken = broken_promises(is_run, async || MemoryPlace(MemoryStore::with(defect))).await;
        assert_eq!(broken.len(), expected.len(), "{defect:?} breaks {expected:?}: {broken:?}");
    }
}

#[test]
fn the_documented_contract_is_the_one_that_is_tested() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/store-contract.md");
    let text = fs::read_to_string(path).expect("the document");
    assert!(text.contains(&table()), "docs/store-contract.md must have this table:\n{}", table());
}
