//! Starts each server of the API stand and waits until it is ready. The system chooses ports; if another program takes
//! one in between, the server is started again on another.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::config::Kubeconfig;
use tokio::net::TcpStream;

use super::{Fault, USE_CLUSTER, access, api_is_ready};
use crate::process::Process;
use crate::s3::S3;
use crate::tls::{Authority, save_signing_key};
use crate::tools::{self, Tool};
use crate::until;

const ATTEMPTS: usize = 3;

/// An API server that is ready.
pub(super) struct Cluster {
    pub(super) kubeconfig: PathBuf,
    pub(super) servers: Vec<Process>,
}

/// Every request to the API server, without bodies.
const AUDIT_POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],
"rules":[{"level":"None","users":["system:apiserver","admin"]},{"level":"Metadata"}]}"#;

pub(super) async fn cluster(folder: &Path, authority: &Authority, given: bool) -> Result<Cluster, Fault> {
    let kubeconfig = folder.join("admin.kubeconfig");
    if given {
        let given = std::env::var_os("KUBECONFIG").ok_or_else(|| format!("{USE_CLUSTER}=1 needs KUBECONFIG"))?;
        std::fs::copy(&given, &kubeconfig)?;
        // Accounts' kubeconfigs refer to this file.
        std::fs::write(folder.join("certs").join("ca.crt"), authority_of(Path::new(&given))?)?;
        api_is_ready(&kubeconfig, None).await?;
        return Ok(Cluster { kubeconfig, servers: Vec::new() });
    }
    let certs = folder.join("certs");
    std::fs::write(certs.join("ca.crt"), authority.pem())?;
    authority.server("kube-apiserver")?.save(&certs, "server")?;
    authority.client("kube-apiserver-kubelet-client", "system:masters")?.save(&certs, "kubelet-client")?;
    save_signing_key(&certs, "service-account")?;
    std::fs::write(folder.join("audit-policy.json"), AUDIT_POLICY)?;
    let token = access::random_token()?;
    std::fs::write(folder.join("tokens.csv"), format!("{token},admin,admin,\"system:masters\"\n"))?;

    let (etcd_url, etcd) = etcd(folder).await?;
    let program = tools::path(Tool::KubeApiserver).await?;
    for _ in 0..ATTEMPTS {
        let port = free_port()?;
        let mut command = Command::new(&program);
        command.args(api_server_flags(folder, &etcd_url, port));
        let server = Process::spawn("kube-apiserver", &command, &folder.join("logs").join("kube-apiserver.log"))?;
        access::write_kubeconfig(&kubeconfig, port, &token, "default")?;
        match api_is_ready(&kubeconfig, Some(&server)).await {
            Ok(()) => {
                return Ok(Cluster { kubeconfig, servers: vec![etcd, server] });
            }
            Err(why) => tools::say(&format!("{why}\n{}", server.tail(5))),
        }
    }
    Err("kube-apiserver does not start".into())
}

/// The certificate authority in this kubeconfig, as PEM.
fn authority_of(kubeconfig: &Path) -> Result<Vec<u8>, Fault> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let cluster =
        config.clusters.into_iter().find_map(|named| named.cluster).ok_or("the kubeconfig names no cluster")?;
    match (cluster.certificate_authority_data, cluster.certificate_authority) {
        (Some(data), _) => Ok(STANDARD.decode(data)?),
        (None, Some(file)) => Ok(std::fs::read(file)?),
        (None, None) => Err("the kubeconfig has no certificate-authority".into()),
    }
}

fn api_server_flags(folder: &Path, etcd: &str, port: u16) -> Vec<String> {
    let certs = folder.join("certs");
    let file = |name: &str| certs.join(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers={etcd}"),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("service-account.pub")),
        format!("--service-account-signing-key-file={}", file("service-account.key")),
        format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        format!("--kubelet-certificate-authority={}", file("ca.crt")),
        format!("--token-auth-file={}", folder.join("tokens.csv").display()),
        format!("--audit-policy-file={}", folder.join("audit-policy.json").display()),
        format!("--audit-log-path={}", folder.join("logs").join("audit.jsonl").display()),
        // One file even for a long suite: by default it is rotated at 100 MB.
        "--audit-log-maxsize=100000".to_owned(),
    ];
    let fixed = [
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        // No controller creates the ServiceAccount `default` or removes the not-ready taint from a Node.
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
    ];
    flags.extend(fixed.map(str::to_owned));
    flags
}

async fn etcd(folder: &Path) -> Result<(String, Process), Fault> {
    let program = tools::path(Tool::Etcd).await?;
    for _ in 0..ATTEMPTS {
        let (client, peer) = (free_port()?, free_port()?);
        let url = format!("http://127.0.0.1:{client}");
        let peers = format!("http://127.0.0.1:{peer}");
        let mut command = Command::new(&program);
        command.arg("--data-dir").arg(folder.join("etcd"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        command.args(["--unsafe-no-fsync", "--log-level", "warn", "--quota-backend-bytes", "2147483648"]);
        let server = Process::spawn("etcd", &command, &folder.join("logs").join("etcd.log"))?;
        match listens(&server, client).await {
            Ok(()) => return Ok((url, server)),
            Err(why) => tools::say(&format!("{why}\n{}", server.tail(5))),
        }
    }
    Err("etcd does not start".into())
}

pub(super) async fn s3(folder: &Path) -> Result<(S3, Process), Fault> {
    let program = tools::path(Tool::Versitygw).await?;
    let (access, secret) = (access::random_token()?, access::random_token()?);
    for _ in 0..ATTEMPTS {
        let port = free_port()?;
        let mut command = Command::new(&program);
        command.args(["--port", &format!("127.0.0.1:{port}"), "--keep-alive", "--iam-dir"]).arg(folder.join("iam"));
        command.arg("posix").arg(folder.join("s3"));
        command.env("ROOT_ACCESS_KEY", &access).env("ROOT_SECRET_KEY", &secret);
        let server = Process::spawn("versitygw", &command, &folder.join("logs").join("versitygw.log"))?;
        match listens(&server, port).await {
            Ok(()) => {
                return Ok((S3::new(port, access, secret, program, folder.join("s3")), server));
            }
            Err(why) => tools::say(&format!("{why}\n{}", server.tail(5))),
        }
    }
    Err("versitygw does not start".into())
}

/// A kube-controller-manager that runs the controller of ResourceQuotas alone.
pub(super) async fn quota_controller(folder: &Path, kubeconfig: &Path) -> Result<Process, Fault> {
    let mut command = Command::new(tools::path(Tool::KubeControllerManager).await?);
    command.arg("--kubeconfig").arg(kubeconfig);
    command.args(["--controllers=resourcequota-controller", "--leader-elect=false", "--secure-port=0"]);
    let log = folder.join("logs").join("kube-controller-manager.log");
    Ok(Process::spawn("kube-controller-manager", &command, &log)?)
}

/// A port that is free now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until the server takes connections; an error if it ended before.
pub(crate) async fn listens(server: &Process, port: u16) -> Result<(), String> {
    until(Duration::from_mins(1), &format!("{} listens", server.name()), || async {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(_) => Ok(Ok(())),
            Err(error) => match server.exited() {
                Some(code) => Ok(Err(format!("{} ended with {code}", server.name()))),
                None => Err(error),
            },
        }
    })
    .await
}
