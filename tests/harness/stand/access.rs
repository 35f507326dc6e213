//! Access to the stand's API server: kubeconfigs, ServiceAccounts and their tokens, and their requests in the audit
//! log. Tests create the roles of a ServiceAccount.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::{TestCluster, client_of};

/// A ServiceAccount and its credentials.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its user name: `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// A kubeconfig that holds its token.
    pub kubeconfig: PathBuf,
}

/// A request: verb, group and resource (`pods/log`), as a role would name them.
pub type AuditedRequest = (String, String, String);

impl TestCluster {
    /// Makes a ServiceAccount without any rights, and a token for it that lives for an hour.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Account {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        accounts.create(&PostParams::default(), &account).await.expect("a ServiceAccount can be created");
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let token = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let token = token.expect("a token can be requested").status.expect("a token request is answered").token;
        let port = self.port();
        let kubeconfig = self.folder.join(format!("{namespace}-{name}.kubeconfig"));
        write_kubeconfig(&kubeconfig, port, &token, namespace).expect("the stand's folder can be written");
        Account { user: format!("system:serviceaccount:{namespace}:{name}"), kubeconfig }
    }

    /// A user's distinct requests to the API server, from its audit log.
    pub fn distinct_requests_of(&self, user: &str) -> BTreeSet<AuditedRequest> {
        self.requests_of(user).into_iter().collect()
    }

    /// The same, request by request.
    pub fn requests_of(&self, user: &str) -> Vec<AuditedRequest> {
        self.audited(user).iter().filter_map(audited_request).collect()
    }

    /// The paths and queries that a user requested, each once.
    pub fn uris_of(&self, user: &str) -> BTreeSet<String> {
        let uri = |event: &Value| Some(event["requestURI"].as_str()?.to_owned());
        self.audited(user).iter().filter_map(uri).collect()
    }

    /// How often a user sent each request since this time, including watches that are still open.
    pub fn requests_since(&self, user: &str, since: Timestamp) -> BTreeMap<AuditedRequest, usize> {
        let mut counts = BTreeMap::new();
        let events = self.audited(user);
        let new = events.iter().filter(|event| received(event).is_some_and(|at| since <= at));
        for request in new.filter_map(audited_request) {
            *counts.entry(request).or_default() += 1;
        }
        counts
    }

    /// The logs that a user requested, each once: the pod, its container, and whether the previous instance.
    pub fn logs_of(&self, user: &str) -> BTreeSet<(String, String, bool)> {
        let its_own = self.audited(user).into_iter();
        let logs = its_own.filter(|event| event["objectRef"]["subresource"] == "log").filter_map(|event| {
            let (_, query) = event["requestURI"].as_str()?.split_once('?')?;
            let container = query.split('&').find_map(|pair| pair.strip_prefix("container="))?.to_owned();
            let pod = event["objectRef"]["name"].as_str()?.to_owned();
            Some((pod, container, query.split('&').any(|pair| pair == "previous=true")))
        });
        logs.collect()
    }

    /// The number of a user's requests that the API server has completed, from its audit log. Requests about the Lease
    /// do not count: their number depends on time alone.
    pub fn calls_of(&self, user: &str) -> usize {
        self.audited(user).iter().filter(|event| is_work(event)).count()
    }

    /// The same, by the second since 1970 in which the API server received them.
    pub fn calls_by_second(&self, user: &str) -> BTreeMap<i64, usize> {
        let mut seconds = BTreeMap::new();
        for event in self.audited(user).iter().filter(|event| is_work(event)) {
            *seconds.entry(received(event).map_or(0, Timestamp::as_second)).or_default() += 1;
        }
        seconds
    }

    /// How often a user requested a path that is about no resource, such as `/version`.
    pub fn times_of_path(&self, user: &str, path: &str) -> usize {
        let of_path = |event: &&Value| event["requestURI"] == path && event["stage"] == "ResponseComplete";
        self.audited(user).iter().filter(of_path).count()
    }

    /// How often a user requested this (a resource as in [`AuditedRequest`]) in a namespace and got this status code.
    pub fn times(&self, user: &str, (verb, resource): (&str, &str), namespace: &str, code: u16) -> usize {
        let same = |event: &Value| {
            let object = &event["objectRef"];
            let (name, sub) = resource.split_once('/').unwrap_or((resource, ""));
            event["verb"] == verb
                && object["resource"] == name
                && object["subresource"].as_str().unwrap_or_default() == sub
                && object["namespace"].as_str().unwrap_or_default() == namespace
                && event["responseStatus"]["code"] == code
        };
        self.audited(user).iter().filter(|event| same(event)).count()
    }

    /// A user's requests in the audit log, each once; long-running ones (logs, watches) twice, at their start and end.
    /// The log is long, so only lines that contain the user's name are parsed.
    pub(crate) fn audited(&self, user: &str) -> Vec<Value> {
        // A given cluster writes no audit log here, but still refuses requests without a right.
        let log = std::fs::read_to_string(self.folder.join("logs").join("audit.jsonl")).unwrap_or_default();
        let quoted = format!("\"{user}\"");
        let named = log.lines().filter(|line| line.contains(&quoted));
        let events = named.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut latest = BTreeMap::new();
        for (place, event) in events.filter(|event| event["user"]["username"] == user).enumerate() {
            latest.insert(event["auditID"].to_string(), (place, event));
        }
        let mut each: Vec<_> = latest.into_values().collect();
        each.sort_by_key(|(place, _)| *place);
        each.into_iter().map(|(_, event)| event).collect()
    }

    fn port(&self) -> u16 {
        let text = std::fs::read_to_string(&self.kubeconfig).expect("the stand has a kubeconfig");
        let (_, rest) = text.split_once("https://127.0.0.1:").expect("the API server is on loopback");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a port")
    }
}

/// When the API server received it.
fn received(event: &Value) -> Option<Timestamp> {
    event["requestReceivedTimestamp"].as_str()?.parse().ok()
}

/// What was requested; `None` if it is about no resource.
fn audited_request(event: &Value) -> Option<AuditedRequest> {
    let object = event["objectRef"].as_object()?;
    let field = |name| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let resource = match field("subresource") {
        sub if sub.is_empty() => field("resource"),
        sub => format!("{}/{sub}", field("resource")),
    };
    Some((event["verb"].as_str()?.to_owned(), field("apiGroup"), resource))
}

fn is_work(event: &Value) -> bool {
    event["stage"] == "ResponseComplete" && event["objectRef"]["resource"] != "leases"
}

impl Account {
    /// A client with this account's token.
    pub async fn client(&self) -> Client {
        client_of(&self.kubeconfig).await.expect("the account's kubeconfig is good")
    }

    /// The same without retries, for a proxy: the proxy must pass on each answer.
    pub(crate) async fn client_without_retries(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).expect("the account's kubeconfig is good");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mut config = config.expect("the account's kubeconfig is good");
        config.default_retry = false;
        Client::try_from(config).expect("the account's kubeconfig is good")
    }

    /// Where its requests go: `https://127.0.0.1:<port>`.
    pub fn server(&self) -> String {
        self.config()["clusters"][0]["cluster"]["server"].as_str().expect("a server").to_owned()
    }

    /// The same account, whose requests go to this server: a proxy.
    #[must_use]
    pub fn through(&self, server: &str) -> Self {
        let mut config = self.config();
        config["clusters"][0]["cluster"]["server"] = server.into();
        let (_, port) = server.rsplit_once(':').expect("a port");
        let kubeconfig = self.kubeconfig.with_extension(format!("through-{port}"));
        std::fs::write(&kubeconfig, config.to_string()).expect("the stand's folder can be written");
        Self { kubeconfig, ..self.clone() }
    }

    fn config(&self) -> Value {
        let text = std::fs::read(&self.kubeconfig).expect("the account has a kubeconfig");
        serde_json::from_slice(&text).expect("it was written as JSON")
    }
}

/// Writes a kubeconfig (JSON is YAML), which expects `certs/` beside it.
pub(super) fn write_kubeconfig(path: &Path, port: u16, token: &str, namespace: &str) -> io::Result<()> {
    let authority = path.with_file_name("certs").join("ca.crt");
    let server = format!("https://127.0.0.1:{port}");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "stand", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "stand", "context": {"cluster": "stand", "user": "user", "namespace": namespace}}],
        "current-context": "stand",
    });
    std::fs::write(path, serde_json::to_vec_pretty(&config)?)
}

/// 32 random hexadecimal digits.
pub(crate) fn random_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |token, byte| format!("{token}{byte:02x}")))
}
