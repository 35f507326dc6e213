//! What one large upload costs, to each kind of store in turn: wall time, CPU time, and the memory that it takes on top of
//! what this process has.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Write as _},
    time::Instant,
};

use debugbundle_operator::{
    location::{Endpoint, EndpointPolicy, Location},
    store::{
        InstallationId, Key, Options, Provider, Resolved, Upload, UploadHooks,
        azure::{AzureAccess, AzureConfig, AzureCredential},
        gcs::{GcsAccess, GcsConfig},
        s3::{Credential, S3Access, S3Config},
    },
};
use debugbundle_redact::Secret;
use futures::future::BoxFuture;
use harness::{
    TestCluster,
    azurite::Azurite,
    gcs::{self, FakeGcs},
    s3::REGION,
    usage::Usage,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{mib, seconds};

/// The bucket or container.
const BUCKET: &str = "uploads";

struct NoHooks;

impl UploadHooks for NoHooks {
    fn begun<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn sent(&self, _: u64) {}
}

/// Uploads a file of this size to each store in turn, and prints what each cost.
pub(super) async fn uploads(stand: &TestCluster, rounds: usize, mebibytes: u64) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let path = folder.path().join("bundle.tar.gz");
    let sha256 = random_file(&path, mebibytes << 20);
    let azurite = Azurite::start().await;
    azurite.create_container(BUCKET).await;
    let google = FakeGcs::start().await;
    google.create_bucket(BUCKET).await;
    let bucket = stand.s3.create_bucket(BUCKET).await;
    let stores = [
        ("S3 (versitygw)", s3(stand, &bucket.name)),
        ("Azure (Azurite)", azure(&azurite)),
        ("Google (fake-gcs-server)", google_cloud(&google)),
    ];
    println!("\none upload of {mebibytes} MiB in parts\n");
    println!("{:<26} {:>8} {:>10} {:>14}", "store", "wall", "CPU", "memory, added");
    for round in 0..rounds {
        for (name, resolved) in &stores {
            let store = resolved.open(Options::default(), None).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            let upload = Upload { file: &path, bytes: mebibytes << 20, sha256: &sha256, meta: BTreeMap::new() };
            let uid = format!("0b5e2a7c-1111-4222-8333-44445555{round:04}");
            let key = Key::of("p", &InstallationId::of_nobody(), None, "dbg", &uid)
                .unwrap_or_else(|error| panic!("no key: {error}"));
            // The peak of this process counts from now on (proc(5), clear_refs).
            fs::write("/proc/self/clear_refs", "5").unwrap_or_else(|error| panic!("no reset of the peak: {error}"));
            let (before, began) = (own_usage(), Instant::now());
            store.upload(&key, &upload, &NoHooks).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            let (wall, after) = (began.elapsed(), own_usage());
            store.verify(&key, &upload).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            let cpu = after.cpu.saturating_sub(before.cpu);
            let added = mib(after.peak.saturating_sub(before.now));
            println!("{name:<26} {:>6} s {:>8} s {added:>10.1} MiB", seconds(wall), seconds(cpu));
        }
    }
}

fn own_usage() -> Usage {
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    Usage::of(pid).unwrap_or_else(|error| panic!("no usage of this process: {error}"))
}

/// Writes bytes that do not compress, and returns their SHA-256.
fn random_file(path: &std::path::Path, bytes: u64) -> String {
    let file = fs::File::create(path).unwrap_or_else(|error| panic!("no file: {error}"));
    let (mut file, mut sum, mut state) = (BufWriter::new(file), Sha256::new(), 0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..bytes / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sum.update(state.to_le_bytes());
        file.write_all(&state.to_le_bytes()).unwrap_or_else(|error| panic!("not written: {error}"));
    }
    file.flush().unwrap_or_else(|error| panic!("not written: {error}"));
    sum.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn location(provider: &str, bucket: &str, config: &Value) -> Location {
    let spec = json!({"provider": provider, "objectStorage": {"bucket": bucket, "prefix": "p"}, "config": config});
    Location::parse(&json!({"metadata": {"name": "uploads"}, "spec": spec}))
        .unwrap_or_else(|error| panic!("no location: {error}"))
}

fn resolved(location: Location, provider: Provider) -> Resolved {
    let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
    Resolved { location, provider, ca_pem: None, policy }
}

fn s3(stand: &TestCluster, bucket: &str) -> Resolved {
    let config = json!({"s3Url": stand.s3.endpoint(), "region": REGION, "s3ForcePathStyle": "true"});
    let location = location("aws", bucket, &config);
    let access = S3Access {
        config: S3Config::parse(&location).unwrap_or_else(|error| panic!("no config: {error}")),
        credential: Credential::Keys {
            access_key_id: stand.s3.root().access.clone(),
            secret_access_key: Secret::new(&*stand.s3.root().secret),
            session_token: None,
        },
        customer_key: None,
    };
    resolved(location, Provider::S3(access))
}

fn azure(azurite: &Azurite) -> Resolved {
    let location = location("azure", BUCKET, &json!({"storageAccount": azurite.account}));
    let access = AzureAccess {
        config: AzureConfig::parse(&location).unwrap_or_else(|error| panic!("no config: {error}")),
        endpoint: Endpoint::parse_with_path("storageAccountURI", &azurite.endpoint())
            .unwrap_or_else(|error| panic!("no endpoint: {error}")),
        credential: AzureCredential::Key(Secret::new(&*azurite.key)),
    };
    resolved(location, Provider::Azure(access))
}

fn google_cloud(google: &FakeGcs) -> Resolved {
    let location = location("gcp", BUCKET, &json!({"storeEndpoint": google.endpoint()}));
    let config = GcsConfig::parse(&location).unwrap_or_else(|error| panic!("no config: {error}"));
    let access = GcsAccess::of_file(config, &gcs::key_file("http://127.0.0.1:1"), "the key file")
        .unwrap_or_else(|error| panic!("no access: {error}"));
    resolved(location, Provider::Gcs(access))
}
