//! The stand's object store (versitygw): a bucket per test, and an independent client to look into it.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use flate2::{Compression, write::GzEncoder};

/// The region that the store answers to.
pub const REGION: &str = "us-east-1";

/// A user of the store.
#[derive(Clone)]
pub struct Keys {
    /// Access key id.
    pub access: String,
    /// Secret access key.
    pub secret: String,
}

/// The object store of a stand.
pub struct S3 {
    port: u16,
    root: Keys,
    program: PathBuf,
    folder: PathBuf,
}

/// A bucket, seen by a user.
#[derive(Clone)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    folder: PathBuf,
    client: Client,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The object's key.
    pub key: String,
    /// The store's id of the upload.
    pub upload_id: String,
}

impl S3 {
    pub(crate) fn new(port: u16, access: String, secret: String, program: PathBuf, folder: PathBuf) -> Self {
        Self { port, root: Keys { access, secret }, program, folder }
    }

    /// `http://127.0.0.1:<port>`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The user who may do everything.
    pub fn root(&self) -> &Keys {
        &self.root
    }

    /// A client of the store.
    pub fn client(&self, keys: &Keys) -> Client {
        let credentials = Credentials::new(&keys.access, &keys.secret, None, None, "harness");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.endpoint())
            .region(Region::new(REGION))
            .credentials_provider(credentials)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str) -> Bucket {
        let client = self.client(&self.root);
        client.create_bucket().bucket(name).send().await.unwrap_or_else(|error| fail("create bucket", &error));
        Bucket { name: name.to_owned(), folder: self.folder.join(name), client }
    }

    /// A user without any rights; give it some with [`Bucket::allow`].
    pub async fn create_user(&self, name: &str) -> Keys {
        let keys = Keys { access: name.to_owned(), secret: format!("secret-of-{name}") };
        let created = tokio::process::Command::new(&self.program)
            .args(["admin", "--endpoint-url", &self.endpoint(), "create-user"])
            .args(["--access", &keys.access, "--secret", &keys.secret, "--role", "user"])
            .env("ADMIN_ACCESS_KEY", &self.root.access)
            .env("ADMIN_SECRET_KEY", &self.root.secret)
            .output()
            .await
            .expect("versitygw runs");
        assert!(created.status.success(), "create-user: {}", String::from_utf8_lossy(&created.stderr));
        keys
    }
}

impl Bucket {
    /// The same bucket with another user's rights.
    #[must_use]
    pub fn seen_by(&self, s3: &S3, keys: &Keys) -> Self {
        Self { client: s3.client(keys), ..self.clone() }
    }

    /// The underlying client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The bucket's folder on disk, for a test that damages an object without the store's knowledge.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sets the age of each object and upload in the bucket: the store takes times from its files. An object that is
    /// deleted in the meantime is skipped.
    pub fn make_older(&self, by: Duration) {
        date(&self.folder, SystemTime::now() - by);
    }

    /// The keys below a prefix, sorted.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.unwrap_or_else(|error| fail("list objects", &error));
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        keys.sort_unstable();
        keys
    }

    /// The uploads that were begun and not ended.
    pub async fn unfinished(&self) -> Vec<Unfinished> {
        let page = self.client.list_multipart_uploads().bucket(&self.name).send().await;
        let page = page.unwrap_or_else(|error| fail("list multipart uploads", &error));
        let uploads = page.uploads().iter().map(|upload| Unfinished {
            key: upload.key().unwrap_or_default().to_owned(),
            upload_id: upload.upload_id().unwrap_or_default().to_owned(),
        });
        uploads.collect()
    }

    /// A whole object; `None` if it does not exist.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.client.get_object().bucket(&self.name).key(key).send().await {
            Ok(object) => Some(object.body.collect().await.expect("the body arrives").to_vec()),
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => None,
            Err(error) => fail("get", &error),
        }
    }

    /// Writes an object.
    pub async fn put(&self, key: &str, body: impl Into<Vec<u8>>) {
        let body = ByteStream::from(body.into());
        let put = self.client.put_object().bucket(&self.name).key(key).body(body).send().await;
        put.unwrap_or_else(|error| fail("put", &error));
    }

    /// Writes an object with metadata.
    pub async fn put_with(&self, key: &str, body: impl Into<Vec<u8>>, metadata: &[(&str, String)]) {
        let mut put = self.client.put_object().bucket(&self.name).key(key).body(ByteStream::from(body.into()));
        for (name, value) in metadata {
            put = put.metadata(*name, value);
        }
        put.send().await.unwrap_or_else(|error| fail("put", &error));
    }

    /// Writes an object compressed, as Velero stores its files.
    pub async fn put_gzipped(&self, key: &str, body: impl AsRef<[u8]>) {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(body.as_ref()).expect("memory");
        self.put(key, gzip.finish().expect("memory")).await;
    }

    /// Deletes an object.
    pub async fn delete(&self, key: &str) {
        let deleted = self.client.delete_object().bucket(&self.name).key(key).send().await;
        deleted.unwrap_or_else(|error| fail("delete", &error));
    }

    /// Allows a user these actions (`s3:GetObject`, …) in this bucket, and nothing else.
    pub async fn allow(&self, user: &Keys, actions: &[&str]) {
        let resources = [format!("arn:aws:s3:::{}", self.name), format!("arn:aws:s3:::{}/*", self.name)];
        // An action applies either to the bucket or to its objects; the store refuses it for the other.
        let of_bucket = |action: &&&str| action.contains("Bucket");
        let statement = |actions: Vec<&&str>, resource: &str| serde_json::json!({"Effect": "Allow", "Principal": [user.access], "Action": actions, "Resource": resource});
        let (bucket, objects): (Vec<_>, Vec<_>) = actions.iter().partition(of_bucket);
        let mut statements = Vec::new();
        if !bucket.is_empty() {
            statements.push(statement(bucket, &resources[0]));
        }
        if !objects.is_empty() {
            statements.push(statement(objects, &resources[1]));
        }
        let policy = serde_json::json!({"Statement": statements}).to_string();
        let put = self.client.put_bucket_policy().bucket(&self.name).policy(policy).send().await;
        put.unwrap_or_else(|error| fail("put bucket policy", &error));
    }
}

fn date(folder: &Path, then: SystemTime) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            date(&entry.path(), then);
        }
        match File::open(entry.path()).and_then(|file| file.set_modified(then)) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{}: {error}", entry.path().display()),
            _ => {}
        }
    }
}

fn fail<T>(what: &str, error: &(impl std::error::Error + 'static)) -> T {
    panic!("{what}: {}", DisplayErrorContext(error))
}
