//! Azurite, Microsoft's emulator of Azure Blob Storage. Only tests about Azure run on it, so it is started there and not
//! with the stand.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::process::Process;
use crate::stand::{free_port, listens, random_token};
use crate::tls::Authority;
use crate::tools::{cache_folder, say};

/// A server whose port another program took is started again this often.
const ATTEMPTS: usize = 3;

/// A running server; dropping it ends it.
pub struct Azurite {
    /// The name of its only storage account.
    pub account: &'static str,
    /// The account's key, in base64.
    pub key: String,
    /// The authority of its certificate, PEM; `None`: it is plain http.
    pub authority: Option<String>,
    port: u16,
    _server: Process,
    _folder: TempDir,
}

impl Azurite {
    /// Starts a server, which takes seconds; the first start on a machine installs it.
    pub async fn start() -> Self {
        Self::run(false).await
    }

    /// The same by https, which also accepts tokens of Microsoft Entra. It looks at their claims and at no signature.
    pub async fn start_with_identities() -> Self {
        Self::run(true).await
    }

    async fn run(with_identities: bool) -> Self {
        let home = tokio::task::spawn_blocking(installed).await.expect("installed");
        let folder = tempfile::Builder::new().prefix("debugbundle-azurite-").tempdir().expect("a folder");
        let account = "debugbundle";
        let key = STANDARD.encode(random_token().expect("a token"));
        let authority = with_identities.then(|| {
            let authority = Authority::new().expect("keys can be made");
            let server = authority.server("azurite").expect("a certificate can be made");
            server.save(folder.path(), "tls").expect("written");
            authority.pem().to_owned()
        });
        for _ in 0..ATTEMPTS {
            let port = free_port().expect("a port");
            let mut command = Command::new("node");
            command.arg(home.join("node_modules/azurite/dist/src/blob/main.js"));
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--silent"]);
            command.args(["--disableTelemetry", "--location"]).arg(folder.path());
            if with_identities {
                command.args(["--oauth", "basic", "--cert"]).arg(folder.path().join("tls.crt"));
                command.arg("--key").arg(folder.path().join("tls.key"));
            }
            command.env("AZURITE_ACCOUNTS", format!("{account}:{key}")).env("HOME", folder.path());
            let server = Process::spawn("azurite", &command, &folder.path().join("azurite.log")).expect("started");
            match listens(&server, port).await {
                Ok(()) => return Self { account, key, authority, port, _server: server, _folder: folder },
                Err(why) => say(&format!("{why}\n{}", server.tail(5))),
            }
        }
        panic!("Azurite does not start");
    }

    /// A token of Microsoft Entra, as its login host answers with it. The signature is none.
    pub fn token() -> (String, String) {
        let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let (tenant, now) = ("11111111-2222-3333-4444-555555555555", jiff::Timestamp::now().as_second());
        let claims = json!({
            "aud": "https://storage.azure.com", "iss": format!("https://sts.windows.net/{tenant}/"),
            "iat": now - 60, "nbf": now - 60, "exp": now + 3600, "oid": "99999999-8888-7777-6666-555555555555",
            "tid": tenant, "ver": "1.0",
        });
        let token = format!("{}.{}.{}", part(json!({"alg": "RS256", "typ": "JWT"})), part(claims), "c2lnbmF0dXJl");
        let answer = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token});
        (answer.to_string(), token)
    }

    /// The account's blob endpoint: the account is its path, as an emulator has no names in DNS.
    pub fn endpoint(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/{}", self.port, self.account)
    }

    /// The credentials file of Velero with the account's key.
    pub fn credentials_file(&self) -> String {
        format!("AZURE_STORAGE_ACCOUNT_ACCESS_KEY={}\nAZURE_CLOUD_NAME=AzurePublicCloud\n", self.key)
    }

    /// Makes a container.
    pub async fn create_container(&self, name: &str) -> Container {
        let container = Container { url: format!("{}/{name}", self.endpoint()), sas: self.account_sas() };
        let made = container.request(Method::PUT, "", "restype=container&", &[], Vec::new()).await;
        assert_eq!(made.0, StatusCode::CREATED, "{}", String::from_utf8_lossy(&made.1));
        container
    }

    /// A signature for the whole account: another way to prove who asks than the operator's requests have.
    fn account_sas(&self) -> String {
        let (version, ends) = ("2020-12-06", "2099-01-01T00:00:00Z");
        let to_sign = format!("{}\nrwdlac\nb\nsco\n\n{ends}\n\nhttps,http\n{version}\n\n", self.account);
        let key = STANDARD.decode(&self.key).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        mac.update(to_sign.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("sv={version}&ss=b&srt=sco&sp=rwdlac&se={ends}&spr=https,http&sig={signature}")
    }
}

/// A container, as its owner sees it.
#[derive(Clone)]
pub struct Container {
    url: String,
    sas: String,
}

impl Container {
    /// What is in a blob; `None` if there is none.
    pub async fn get(&self, blob: &str) -> Option<Vec<u8>> {
        let (status, body) = self.request(Method::GET, blob, "", &[], Vec::new()).await;
        (status == StatusCode::OK).then_some(body)
    }

    /// Writes a blob with metadata.
    pub async fn put(&self, blob: &str, content: Vec<u8>, meta: &BTreeMap<String, String>) {
        let mut headers = vec![("x-ms-blob-type".to_owned(), "BlockBlob".to_owned())];
        headers.extend(meta.iter().map(|(name, value)| (format!("x-ms-meta-{name}"), value.clone())));
        let (status, body) = self.request(Method::PUT, blob, "", &headers, content).await;
        assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&body));
    }

    /// The names of all blobs with content.
    pub async fn blobs(&self) -> Vec<String> {
        self.list("").await
    }

    /// The number of blobs that only have blocks that no list names.
    pub async fn uncommitted(&self) -> usize {
        self.list("&include=uncommittedblobs").await.len() - self.list("").await.len()
    }

    async fn list(&self, include: &str) -> Vec<String> {
        let query = format!("restype=container&comp=list{include}&");
        let (status, body) = self.request(Method::GET, "", &query, &[], Vec::new()).await;
        let list = String::from_utf8(body).expect("text");
        assert!(status == StatusCode::OK && list.contains("<NextMarker/>"), "{list}");
        let names = list.split("<Name>").skip(1).filter_map(|rest| rest.split_once("</Name>"));
        names.map(|(name, _)| name.to_owned()).collect()
    }

    async fn request(
        &self,
        method: Method,
        blob: &str,
        query: &str,
        headers: &[(String, String)],
        content: Vec<u8>,
    ) -> (StatusCode, Vec<u8>) {
        let slash = if blob.is_empty() { "" } else { "/" };
        let mut request =
            Request::builder().method(method).uri(format!("{}{slash}{blob}?{query}{}", self.url, self.sas));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = crate::https::client()
            .request(request.body(Full::from(content)).expect("a request"))
            .await
            .expect("an answer");
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("a body").to_bytes().to_vec())
    }
}

/// The folder with the installed packages, at the versions and digests of `tests/tools/azurite/package-lock.json`.
fn installed() -> PathBuf {
    crate::packages::require();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/azurite");
    let lock = fs::read(source.join("package-lock.json")).expect("the versions of Azurite");
    let digest = Sha256::digest(lock);
    let digest = digest.iter().take(8).fold(String::new(), |key, byte| format!("{key}{byte:02x}"));
    let cache = cache_folder().unwrap_or_else(|error| panic!("{error}"));
    let home = cache.join(format!("azurite-{digest}"));
    if !home.is_dir() {
        install(&source, &cache, &home)
            .unwrap_or_else(|error| panic!("the cache of tools, {}: {error}", cache.display()));
    }
    home
}

fn install(source: &Path, cache: &Path, home: &Path) -> io::Result<()> {
    fs::create_dir_all(cache)?;
    let lock = File::create(cache.join("azurite.lock"))?;
    lock.lock()?;
    // The previous holder of the lock may have installed it.
    if home.is_dir() {
        return Ok(());
    }
    say("installing Azurite with npm, once per version: about 30 s");
    let unfinished = home.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join(file), unfinished.join(file))?;
    }
    let ended = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error"])
        .current_dir(&unfinished)
        .output()?;
    assert!(ended.status.success(), "npm cannot install Azurite: {}", String::from_utf8_lossy(&ended.stderr));
    fs::rename(&unfinished, home)
}
