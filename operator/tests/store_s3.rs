//! The store against a real S3 server: versitygw from `VERSITYGW`, else from `PATH`; without it these tests fail.
//! What no S3 server does by itself (broken replies, expired tokens) is not here.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use debugbundle_crd::{Reason, Target, TargetKind};
use debugbundle_operator::{
    location::{Credential, EndpointPolicy, Location, Resolved, S3Config},
    secret::Secret,
    store::{BackupFile, Key, Limit, Options, S3, Store, StoreError, Upload, UploadHooks, VeleroFile},
};
use futures::{TryStreamExt as _, future::BoxFuture};
use http_body_util::{BodyExt as _, Empty};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const ACCESS: &str = "lab-access";
const SECRET: &str = "lab-secret-key";
const UID: &str = "0b5e2a7c-1111-4222-8333-444455556666";
const MIB: usize = 1 << 20;
/// Small enough that a test's bundle has parts.
const IN_PARTS: Options = Options { single_put: 1 << 20, part: 5 << 20 };

/// An S3 server with one bucket, `bkt`.
struct Server {
    child: Child,
    address: SocketAddr,
    data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let program = std::env::var_os("VERSITYGW").map_or_else(|| PathBuf::from("versitygw"), PathBuf::from);
        let data = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(data.path().join("bkt")).expect("a bucket");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
        let child = Command::new(&program)
            .env("ROOT_ACCESS_KEY", ACCESS)
            .env("ROOT_SECRET_KEY", SECRET)
            .args(["--port", &address.to_string(), "posix"])
            .arg(data.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("versitygw must be in PATH, or VERSITYGW name it");
        let server = Self { child, address, data };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(server.address).is_err() {
            assert!(Instant::now() < until, "versitygw does not listen on {}", server.address);
            std::thread::yield_now();
        }
        server
    }

    fn resolved(&self, bucket: &str, secret: &str) -> Resolved {
        let location = Location::parse(&json!({
            "metadata": {"name": "offsite"},
            "spec": {
                "provider": "aws",
                "objectStorage": {"bucket": bucket, "prefix": "velero"},
                "config": {"s3Url": format!("http://{}", self.address), "region": "us-east-1", "s3ForcePathStyle": "true"},
            },
        }))
        .expect("a location");
        Resolved {
            s3: S3Config::parse(&location).expect("a config"),
            location,
            credential: Credential::Keys {
                access_key_id: ACCESS.to_owned(),
                secret_access_key: Secret::new(secret),
                session_token: None,
            },
            ca_pem: None,
            sse_c_key: None,
            policy: EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() },
        }
    }

    async fn store(&self, options: Options) -> S3 {
        S3::open(&self.resolved("bkt", SECRET), options).await.expect("a store")
    }

    fn admin(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("us-east-1"))
                .credentials_provider(Credentials::new(ACCESS, SECRET, None, None, "test"))
                .endpoint_url(format!("http://{}", self.address))
                .force_path_style(true)
                .build(),
        )
    }

    async fn unfinished(&self) -> usize {
        self.admin().list_multipart_uploads().bucket("bkt").send().await.expect("a list").uploads().len()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.data.path().join("bkt").join(key)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("the server can be ended");
        self.child.wait().expect("the server ends");
    }
}

struct Sealed {
    file: tempfile::NamedTempFile,
    content: Vec<u8>,
    sha256: String,
}

/// A file that looks like nothing else.
fn sealed(bytes: usize) -> Sealed {
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
    fn upload(&self) -> Upload<'_> {
        Upload {
            file: self.file.path(),
            bytes: self.content.len() as u64,
            sha256: &self.sha256,
            meta: BTreeMap::from([("uid".to_owned(), UID.to_owned()), ("outcome".to_owned(), "Completed".to_owned())]),
        }
    }
}

fn key() -> Key {
    let target = Target { kind: TargetKind::Restore, name: "r1".to_owned() };
    Key::of("velero", Some(&target), "dbg", UID).expect("a key")
}

/// Notes what it hears; what it is asked to do when an upload begins is up to the test.
#[derive(Default)]
struct Ear<'a> {
    heard: Mutex<Vec<String>>,
    refuse: bool,
    hang: bool,
    at_begin: Option<&'a Server>,
}

impl UploadHooks for Ear<'_> {
    fn begun<'a>(&'a self, upload_id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            assert!(!upload_id.is_empty());
            let open = match self.at_begin {
                Some(server) => server.unfinished().await,
                None => 1,
            };
            self.heard.lock().expect("not poisoned").push(format!("begun, {open} open"));
            if self.hang {
                std::future::pending::<()>().await;
            }
            if self.refuse { Err("status could not be written".to_owned()) } else { Ok(()) }
        })
    }

    fn sent(&self, bytes: u64) {
        self.heard.lock().expect("not poisoned").push(format!("sent {bytes}"));
    }
}

async fn http(url: &str, range: Option<&str>) -> (u16, http::HeaderMap, Vec<u8>) {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<Empty<bytes::Bytes>>();
    let mut request = http::Request::get(url);
    if let Some(range) = range {
        request = request.header(http::header::RANGE, range);
    }
    let response = client.request(request.body(Empty::new()).expect("a request")).await.expect("an answer");
    let (head, body) = response.into_parts();
    (head.status.as_u16(), head.headers, body.collect().await.expect("a body").to_bytes().to_vec())
}

async fn uploaded(store: &S3, sealed: &Sealed) {
    store.upload(&key(), &sealed.upload(), &Ear::default()).await.expect("uploaded");
}

#[tokio::test]
async fn a_small_bundle_goes_in_one_request_and_is_proved() {
    let server = Server::start();
    let store = server.store(Options::default()).await;
    let sealed = sealed(3 * MIB + 17);
    assert!(store.head(&key()).await.expect("an answer").is_none());
    let ear = Ear::default();
    store.upload(&key(), &sealed.upload(), &ear).await.expect("uploaded");
    assert_eq!(*ear.heard.lock().expect("not poisoned"), [format!("sent {}", 3 * MIB + 17)]);

    let found = store.verify(&key(), &sealed.upload()).await.expect("verified");
    assert_eq!(found.sha256.as_deref(), Some(sealed.sha256.as_str()));
    assert_eq!(found.meta["uid"], UID);
    assert_eq!(found.meta["outcome"], "Completed");
    assert_eq!(std::fs::read(server.path(key().as_str())).expect("the object"), sealed.content);
    let head = server.admin().head_object().bucket("bkt").key(key().as_str()).send().await.expect("there");
    assert_eq!(head.content_type(), Some("application/gzip"));
    assert_eq!(head.content_encoding().unwrap_or_default(), "");
    assert_eq!(head.content_disposition(), Some(format!("attachment; filename=\"dbg-{UID}.tar.gz\"").as_str()));
}

#[tokio::test]
async fn a_large_bundle_goes_in_parts_after_its_id_was_noted() {
    let server = Server::start();
    let store = server.store(IN_PARTS).await;
    let sealed = sealed(11 * MIB);
    let ear = Ear { at_begin: Some(&server), ..Ear::default() };
    store.upload(&key(), &sealed.upload(), &ear).await.expect("uploaded");
    let heard = ear.heard.lock().expect("not poisoned").clone();
    assert_eq!(
        heard,
        [
            "begun, 1 open".to_owned(),
            format!("sent {}", 5 * MIB),
            format!("sent {}", 10 * MIB),
            format!("sent {}", 11 * MIB)
        ]
    );
    store.verify(&key(), &sealed.upload()).await.expect("verified");
    assert_eq!(std::fs::read(server.path(key().as_str())).expect("the object"), sealed.content);
    assert_eq!(server.unfinished().await, 0);
}

#[tokio::test]
async fn every_checksum_that_may_be_asked_for_is_sent() {
    let server = Server::start();
    for (algorithm, options) in ["CRC32", "CRC32C", "SHA1", "SHA256"]
        .into_iter()
        .flat_map(|name| [(name, Options::default()), (name, IN_PARTS)])
    {
        let mut resolved = server.resolved("bkt", SECRET);
        resolved.location.config.insert("checksumAlgorithm".to_owned(), algorithm.to_owned());
        resolved.s3 = S3Config::parse(&resolved.location).expect("a config");
        let store = S3::open(&resolved, options).await.expect("a store");
        let sealed = sealed(6 * MIB);
        store
            .upload(&key(), &sealed.upload(), &Ear::default())
            .await
            .unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        store.verify(&key(), &sealed.upload()).await.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        let head = server
            .admin()
            .head_object()
            .bucket("bkt")
            .key(key().as_str())
            .checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled)
            .send()
            .await
            .expect("there");
        let sums = [
            ("CRC32", head.checksum_crc32()),
            ("CRC32C", head.checksum_crc32_c()),
            ("SHA1", head.checksum_sha1()),
            ("SHA256", head.checksum_sha256()),
        ];
        assert!(sums.iter().any(|(name, sum)| *name == algorithm && sum.is_some()), "{algorithm}: {sums:?}");
    }
}

#[tokio::test]
async fn an_upload_whose_id_cannot_be_noted_leaves_nothing() {
    let server = Server::start();
    let store = server.store(IN_PARTS).await;
    let sealed = sealed(11 * MIB);
    let ear = Ear { refuse: true, ..Ear::default() };
    let error = store.upload(&key(), &sealed.upload(), &ear).await.expect_err("refused");
    assert!(matches!(error, StoreError::NotNoted(_)), "{error}");
    assert_eq!(ear.heard.lock().expect("not poisoned").len(), 1, "no part was sent");
    assert_eq!(server.unfinished().await, 0);
    assert!(store.head(&key()).await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_file_shorter_than_it_says_leaves_nothing() {
    let server = Server::start();
    let sealed = sealed(11 * MIB);
    for options in [IN_PARTS, Options::default()] {
        let store = server.store(options).await;
        let upload = Upload { bytes: 12 * MIB as u64, ..sealed.upload() };
        store.upload(&key(), &upload, &Ear::default()).await.expect_err("too short");
        assert_eq!(server.unfinished().await, 0);
        assert!(store.head(&key()).await.expect("an answer").is_none());
    }
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_ended() {
    let server = Server::start();
    let store = server.store(IN_PARTS).await;
    let sealed = sealed(11 * MIB);
    let ear = Ear { hang: true, ..Ear::default() };
    let upload = sealed.upload();
    let key = key();
    let mut sending = Box::pin(store.upload(&key, &upload, &ear));
    while ear.heard.lock().expect("not poisoned").is_empty() {
        tokio::select! {
            _ = &mut sending => panic!("it hangs"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(server.unfinished().await, 1);
    drop(sending);
    let gone = async {
        while server.unfinished().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the upload is ended");
}

#[tokio::test]
async fn ending_an_upload_twice_is_fine() {
    let server = Server::start();
    let store = server.store(IN_PARTS).await;
    let begun = server.admin().create_multipart_upload().bucket("bkt").key(key().as_str()).send().await.expect("begun");
    let id = begun.upload_id().expect("an id");
    store.abort(&key(), id).await.expect("ended");
    assert_eq!(server.unfinished().await, 0);
    store.abort(&key(), id).await.expect("gone is done");
}

#[tokio::test]
async fn a_changed_object_is_not_taken_for_ours() {
    let server = Server::start();
    let store = server.store(Options::default()).await;
    let sealed = sealed(MIB);
    let path = server.path(key().as_str());
    for (what, at) in [("first", 5), ("last", MIB - 5)] {
        uploaded(&store, &sealed).await;
        let mut content = sealed.content.clone();
        content[at] ^= 1;
        overwrite(&path, &content);
        let error = store.verify(&key(), &sealed.upload()).await.expect_err("changed");
        assert!(matches!(&error, StoreError::Corrupt(why) if why.contains(what)), "{error}");
        assert_eq!(error.reason(), Reason::StoredObjectCorrupt);
    }
    uploaded(&store, &sealed).await;
    overwrite(&path, &sealed.content[1..]);
    assert!(
        matches!(store.verify(&key(), &sealed.upload()).await, Err(StoreError::Corrupt(why)) if why.contains("bytes"))
    );
    uploaded(&store, &sealed).await;
    let other = Upload { sha256: &"0".repeat(64), ..sealed.upload() };
    assert!(matches!(store.verify(&key(), &other).await, Err(StoreError::Corrupt(why)) if why.contains("SHA-256")));
    store.delete(&key()).await.expect("deleted");
    assert!(
        matches!(store.verify(&key(), &sealed.upload()).await, Err(StoreError::Corrupt(why)) if why.contains("no object"))
    );
}

/// Changes the content behind the server's back, its notes stay.
fn overwrite(path: &Path, content: &[u8]) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(path).expect("the object");
    file.write_all(content).expect("written");
}

#[tokio::test]
async fn a_signed_url_downloads_and_only_that() {
    let server = Server::start();
    let store = server.store(Options::default()).await;
    let sealed = sealed(MIB);
    uploaded(&store, &sealed).await;
    let now = Timestamp::now();
    let signed = store.sign(&key(), Duration::from_mins(10), now).await.expect("signed");
    assert_eq!((signed.expires.as_second() - now.as_second(), signed.limit), (600, Limit::Asked));
    assert!(signed.headers.is_empty(), "{:?}", signed.headers);
    let url = signed.url.expose();
    let (status, headers, body) = http(url, None).await;
    assert_eq!((status, body == sealed.content), (200, true));
    assert_eq!(headers["content-disposition"], format!("attachment; filename=\"dbg-{UID}.tar.gz\""));
    let (status, _, body) = http(url, Some("bytes=100-199")).await;
    assert_eq!((status, body.as_slice()), (206, &sealed.content[100..200]));
    for tampered in [
        url.replace("dbg-", "dbx-"),
        url.replace("X-Amz-Expires=600", "X-Amz-Expires=6000"),
        url.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        url.split('?').next().expect("a path").to_owned(),
    ] {
        let (status, ..) = http(&tampered, None).await;
        assert_eq!(status, 403, "{}", tampered.split('?').next().expect("a path"));
    }
    assert!(!format!("{signed:?}").contains("Signature"));
    let week = store.sign(&key(), Duration::from_secs(1_000_000), now).await.expect("signed");
    assert_eq!((week.expires.as_second() - now.as_second(), week.limit), (604_800, Limit::SevenDays));
}

#[tokio::test]
async fn a_url_is_signed_for_the_public_endpoint() {
    let server = Server::start();
    let mut resolved = server.resolved("bkt", SECRET);
    resolved.location.config.insert("publicUrl".to_owned(), format!("http://localhost:{}", server.address.port()));
    resolved.s3 = S3Config::parse(&resolved.location).expect("a config");
    let store = S3::open(&resolved, Options::default()).await.expect("a store");
    let sealed = sealed(1000);
    uploaded(&store, &sealed).await;
    let signed = store.sign(&key(), Duration::from_mins(1), Timestamp::now()).await.expect("signed");
    assert!(signed.url.expose().starts_with("http://localhost:"), "{}", signed.url);
    assert_eq!(http(signed.url.expose(), None).await.2, sealed.content);
}

#[tokio::test]
async fn deleting_twice_is_fine() {
    let server = Server::start();
    let store = server.store(Options::default()).await;
    uploaded(&store, &sealed(1000)).await;
    store.delete(&key()).await.expect("deleted");
    assert!(store.head(&key()).await.expect("an answer").is_none());
    store.delete(&key()).await.expect("gone is done");
}

#[tokio::test]
async fn velero_s_files_are_read_or_absent() {
    let server = Server::start();
    let store = server.store(Options::default()).await;
    let log = VeleroFile::of_backup("b1", BackupFile::Log).expect("valid");
    assert!(store.read(&log).await.expect("an answer").is_none());
    server
        .admin()
        .put_object()
        .bucket("bkt")
        .key("velero/backups/b1/b1-logs.gz")
        .body(b"gzip".to_vec().into())
        .send()
        .await
        .expect("put");
    let body = store.read(&log).await.expect("an answer").expect("there");
    assert_eq!(body.bytes, Some(4));
    let chunks: Vec<bytes::Bytes> = body.stream.try_collect().await.expect("read");
    assert_eq!(chunks.concat(), b"gzip");
}

#[tokio::test]
async fn refusals_say_what_to_mend() {
    let server = Server::start();
    let sealed = sealed(1000);
    let stranger = S3::open(&server.resolved("bkt", "wrong"), Options::default()).await.expect("a store");
    let error = stranger.upload(&key(), &sealed.upload(), &Ear::default()).await.expect_err("denied");
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(
        error.message().contains("s3:PutObject on bkt/velero/plugins/debugbundle/")
            && error.message().contains("SignatureDoesNotMatch"),
        "{error}"
    );
    assert!(matches!(stranger.head(&key()).await, Err(StoreError::Denied { .. })));

    let nowhere = S3::open(&server.resolved("no-such-bucket", SECRET), Options::default()).await.expect("a store");
    let error = nowhere.upload(&key(), &sealed.upload(), &Ear::default()).await.expect_err("no bucket");
    assert!(matches!(error, StoreError::NoBucket { .. }), "{error}");

    let resolved = server.resolved("bkt", SECRET);
    let address = server.address;
    drop(server);
    let gone = S3::open(&resolved, Options::default()).await.expect("a store");
    let error = gone.head(&key()).await.expect_err("nobody listens");
    assert_eq!(error.to_string(), format!("the store is unreachable: connection refused: {address}"));
    assert!(error.is_transient());

    let strict = Resolved { policy: EndpointPolicy::default(), ..resolved };
    let error = S3::open(&strict, Options::default()).await.expect("a store").head(&key()).await.expect_err("loopback");
    assert_eq!(error.to_string(), "address 127.0.0.1 is not allowed for endpoints");
    assert!(!error.is_transient());
}
