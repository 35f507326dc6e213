//! fake-gcs-server, an emulator of Google Cloud Storage. It checks neither credentials nor signatures. Only tests about
//! Google run on it, so it is started there and not with the stand.

use std::collections::BTreeMap;
use std::process::Command;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::stand::{free_port, listens};
use crate::tools::{self, Tool, say};

/// A server whose port another program took is started again this often.
const ATTEMPTS: usize = 3;

/// Google's own test account, which exists nowhere.
const ACCOUNT: &str = include_str!("../../operator/src/store/gcs/testdata/test_service_account.not-a-test.json");

/// The key file of a service account. Google's libraries would ask `token_uri` for a token.
pub fn key_file(token_uri: &str) -> String {
    let mut file: Value = serde_json::from_str(ACCOUNT).expect("JSON");
    file["token_uri"] = json!(token_uri);
    serde_json::to_string_pretty(&file).expect("JSON")
}

/// The private key in [`key_file`], PEM.
pub fn private_key() -> String {
    let file: Value = serde_json::from_str(ACCOUNT).expect("JSON");
    file["private_key"].as_str().expect("a key").to_owned()
}

/// A running server; dropping it ends it.
pub struct FakeGcs {
    port: u16,
    _server: Process,
    _folder: TempDir,
}

impl FakeGcs {
    /// Starts a server; the first start on a machine builds it.
    pub async fn start() -> Self {
        let program = tools::path(Tool::FakeGcsServer).await.unwrap_or_else(|error| panic!("{error}"));
        let folder = tempfile::Builder::new().prefix("debugbundle-gcs-").tempdir().expect("a folder");
        for _ in 0..ATTEMPTS {
            let port = free_port().expect("a port");
            let host = format!("127.0.0.1:{port}");
            let mut command = Command::new(&program);
            command.args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string()]);
            command.args(["-backend", "filesystem", "-filesystem-root"]).arg(folder.path().join("objects"));
            command.args(["-public-host", &host, "-external-url", &format!("http://{host}")]);
            command.env("HOME", folder.path());
            let server = Process::spawn("fake-gcs-server", &command, &folder.path().join("log")).expect("started");
            match listens(&server, port).await {
                Ok(()) => return Self { port, _server: server, _folder: folder },
                Err(why) => say(&format!("{why}\n{}", server.tail(5))),
            }
        }
        panic!("fake-gcs-server does not start");
    }

    /// Scheme, host and port.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str) -> GcsBucket {
        let bucket = GcsBucket { endpoint: self.endpoint(), name: name.to_owned() };
        let made =
            bucket.request(Method::POST, "/storage/v1/b?project=p", None, json!({"name": name}).to_string()).await;
        assert_eq!(made.0, StatusCode::OK, "{}", String::from_utf8_lossy(&made.1));
        bucket
    }
}

/// A bucket, as its owner sees it.
#[derive(Clone)]
pub struct GcsBucket {
    endpoint: String,
    /// Its name.
    pub name: String,
}

impl GcsBucket {
    /// What is in an object; `None` if there is none.
    pub async fn get(&self, object: &str) -> Option<Vec<u8>> {
        let object = utf8_percent_encode(object, NON_ALPHANUMERIC);
        let path = format!("/storage/v1/b/{}/o/{object}?alt=media", self.name);
        let (status, body) = self.request(Method::GET, &path, None, String::new()).await;
        (status == StatusCode::OK).then_some(body)
    }

    /// Writes an object with metadata.
    pub async fn put(&self, object: &str, content: Vec<u8>, meta: &BTreeMap<String, String>) {
        let described = json!({"name": object, "metadata": meta});
        let mut body =
            format!("--x\r\nContent-Type: application/json\r\n\r\n{described}\r\n--x\r\nContent-Type: a/b\r\n\r\n")
                .into_bytes();
        body.extend(content);
        body.extend(b"\r\n--x--\r\n");
        let path = format!("/upload/storage/v1/b/{}/o?uploadType=multipart", self.name);
        let (status, body) = self.request(Method::POST, &path, Some("multipart/related; boundary=x"), body).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    }

    /// The names of all objects.
    pub async fn objects(&self) -> Vec<String> {
        let path = format!("/storage/v1/b/{}/o?maxResults=5000", self.name);
        let (status, body) = self.request(Method::GET, &path, None, String::new()).await;
        let list: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(status == StatusCode::OK && list["nextPageToken"].as_str().is_none_or(str::is_empty), "{list}");
        let items = list["items"].as_array().into_iter().flatten();
        items.filter_map(|item| item["name"].as_str().map(ToOwned::to_owned)).collect()
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        content: impl Into<Bytes>,
    ) -> (StatusCode, Vec<u8>) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header("content-type", content_type.unwrap_or("application/json"));
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = request.body(Full::from(content.into())).expect("a request");
        let answer = client.request(request).await.expect("an answer");
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("a body").to_bytes().to_vec())
    }
}
