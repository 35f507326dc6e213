//! The API stand: etcd, a kube-apiserver, an S3 and the scripted kubelet, started once per test process.
//! There is no controller-manager and no scheduler: nothing is garbage-collected, and namespaces do not empty
//! themselves; `context` plays that part.

mod access;
mod servers;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::OnceCell;

use crate::kubelet::{Kubelet, KubeletPort};
use crate::process::{self, Process};
use crate::s3::S3;
use crate::tls::Authority;
use crate::tools::{self, Tool};
use crate::{crds, packages, until};

/// Set to keep the stand's folder (data, logs, kubeconfigs) after the tests.
pub const KEEP: &str = "DEBUGBUNDLE_KEEP";
/// Set to `1` to use the API server of `KUBECONFIG` in place of our own. It must run on this machine to reach the
/// scripted kubelet.
pub const USE_CLUSTER: &str = "DEBUGBUNDLE_USE_CLUSTER";

pub(crate) use access::random_token;
pub use access::{Account, AuditedRequest};
pub(crate) use servers::{free_port, listens};

pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The servers that all tests of a process share. See [`TestCluster::shared`].
pub struct TestCluster {
    folder: PathBuf,
    kubeconfig: PathBuf,
    /// The scripted nodes.
    pub kubelet: Kubelet,
    /// The object store.
    pub s3: S3,
    servers: Vec<Process>,
}

impl TestCluster {
    /// The stand of this test process; the first call starts it, which takes seconds once the tools are built.
    ///
    /// Its servers end with this process, however it ends.
    pub async fn shared() -> &'static Self {
        static STAND: OnceCell<Result<TestCluster, String>> = OnceCell::const_new();
        let stand = STAND.get_or_init(|| async { Self::started(true).await });
        stand.await.as_ref().unwrap_or_else(|why| panic!("{why}"))
    }

    /// A second stand, for tests that would disturb the shared one: kinds that come and go. It always has an API server
    /// of its own, and also ends with this process.
    pub async fn apart() -> &'static Self {
        packages::required().await;
        Box::leak(Box::new(Self::started(false).await.unwrap_or_else(|why| panic!("{why}"))))
    }

    async fn started(may_be_given: bool) -> Result<Self, String> {
        let start = Self::runtime().spawn(Self::start(may_be_given));
        start.await.map_err(|panic| panic.to_string())?.map_err(|error| format!("the stand did not start: {error}"))
    }

    /// The runtime of all that outlives a test, such as the kubelet, instead of that test's own runtime.
    pub(crate) fn runtime() -> &'static Handle {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        RUNTIME
            .get_or_init(|| {
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime can be made")
            })
            .handle()
    }

    async fn start(may_be_given: bool) -> Result<Self, Fault> {
        // Other code in this process may have installed the same provider already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("debugbundle-stand-").tempdir()?.keep();
        if std::env::var_os(KEEP).is_some() {
            tools::say(&format!("the stand is kept in {}", folder.display()));
        } else {
            process::sweep_at_exit(&folder)?;
        }
        for name in ["certs", "logs", "s3", "iam"] {
            std::fs::create_dir(folder.join(name))?;
        }
        let authority = Authority::new()?;
        let node = authority.server("scripted-kubelet")?;
        let kubelet = Kubelet::new(&node, &Authority::self_signed(&["127.0.0.1"])?)?;
        let given = may_be_given && std::env::var(USE_CLUSTER).is_ok_and(|value| value == "1");
        let (cluster, (s3, gateway)) =
            tokio::try_join!(servers::cluster(&folder, &authority, given), servers::s3(&folder))?;
        let mut servers = cluster.servers;
        servers.push(gateway);
        let stand = Self { folder, kubeconfig: cluster.kubeconfig, kubelet, s3, servers };
        crds::install(&stand.client().await).await?;
        Ok(stand)
    }

    /// Reinstalls those of Velero's kinds and ours that a test took away.
    pub async fn install_kinds(&self) {
        crds::install(&self.client().await).await.expect("the kinds could be installed before");
    }

    /// A client with all rights. Each test makes its own, because a client lives on the runtime that made it.
    pub async fn client(&self) -> Client {
        client_of(&self.kubeconfig).await.expect("the stand's own kubeconfig is good")
    }

    /// The kubeconfig of a user with all rights.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the stand keeps its data and all logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The log file of a process that belongs to `owner`.
    pub(crate) fn log(&self, owner: &str, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{owner}-{name}.log"))
    }

    /// A Node whose kubelet is scripted; it is Ready, and `port` says how its port behaves.
    pub async fn add_node(&self, name: &str, port: KubeletPort) {
        let port = {
            let _on_the_stand = Self::runtime().enter();
            self.kubelet.open_node(name, port).expect("there is a free port")
        };
        let nodes: Api<Node> = Api::all(self.client().await);
        let node =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}));
        nodes.create(&PostParams::default(), &node.expect("a Node")).await.expect("a Node can be created");
        let now = jiff::Timestamp::now();
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "scripted",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
            "nodeInfo": {
                "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "scripted://1", "kernelVersion": "6",
                "kubeProxyVersion": "", "kubeletVersion": "v1.36.3", "machineID": "", "operatingSystem": "linux",
                "osImage": "scripted", "systemUUID": "",
            },
        }});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("its status too");
    }

    /// Runs the controller that counts ResourceQuotas until the handle is dropped. It counts those of every namespace, so
    /// it is for a stand [apart](Self::apart).
    pub async fn quota_controller(&self) -> Process {
        servers::quota_controller(&self.folder, &self.kubeconfig).await.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Runs kubectl as the user with all rights; its exit code, standard output and standard error.
    pub async fn kubectl<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> std::process::Output {
        let kubectl = tools::path(Tool::Kubectl).await.unwrap_or_else(|error| panic!("{error}"));
        let mut command = tokio::process::Command::new(kubectl);
        command.args(args).env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.folder).kill_on_drop(true);
        let limit = Duration::from_mins(1);
        tokio::time::timeout(limit, command.output())
            .await
            .expect("kubectl ends within a minute")
            .expect("kubectl starts")
    }

    /// The last lines of each server's log, for a test that failed.
    pub(crate) fn last_words(&self) -> String {
        let words = self.servers.iter().map(|server| {
            let state = server.exited().map_or_else(String::new, |code| format!(" (ended with {code})"));
            format!("--- {}{state}\n{}\n", server.name(), server.tail(8))
        });
        words.collect()
    }
}

pub(crate) async fn client_of(kubeconfig: &Path) -> Result<Client, Fault> {
    let config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Waits until the API server answers that it is ready.
async fn api_is_ready(kubeconfig: &Path, server: Option<&Process>) -> Result<(), Fault> {
    let client = client_of(kubeconfig).await?;
    let probe = || async {
        if let Some(code) = server.and_then(Process::exited) {
            return Ok(Err(format!("kube-apiserver ended with {code}")));
        }
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
        match client.request_text(request).await {
            Ok(_) => Ok(Ok(())),
            Err(error) => Err(error),
        }
    };
    until(Duration::from_secs(90), "the API server is ready", probe).await.map_err(Into::into)
}
