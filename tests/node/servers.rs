//! The servers of a real node: etcd, the API server, its controllers, the scheduler, containerd, the kubelet, and an S3.
//! There is no kube-proxy: the one Service that pods use, `kubernetes`, is an address of the node.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use harness::{
    process::Process,
    tools::{self, Tool},
    until,
};

use crate::{cgroup, image, run, say, write};

/// What [`Node::start`] and the journey need.
pub(crate) const TOOLS: [Tool; 13] = [
    Tool::Etcd,
    Tool::KubeApiserver,
    Tool::KubeControllerManager,
    Tool::KubeScheduler,
    Tool::Kubectl,
    Tool::Kubelet,
    Tool::Containerd,
    Tool::CniBridge,
    Tool::Versitygw,
    Tool::Velero,
    Tool::VeleroRestoreHelper,
    Tool::VeleroPluginForAws,
    Tool::Helm,
];

const HOST: &str = "10.123.0.1";
/// The first address of the Services, which is that of `kubernetes`.
const KUBERNETES: &str = "10.96.0.1";
const LIMIT: Duration = Duration::from_mins(2);

/// A running node.
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
    kubectl: PathBuf,
    servers: Vec<Process>,
}

impl Node {
    /// Starts all servers, and returns when the node is Ready and has its images.
    pub(crate) async fn start(folder: PathBuf) -> Self {
        let began = Instant::now();
        cover(&folder);
        network();
        for name in ["certs", "logs", "s3/velero", "kubelet", "cni"] {
            fs::create_dir_all(folder.join(name)).expect("the folder is ours");
        }
        // Node-agent mounts the kubelet's folder with propagation.
        let kubelet = folder.join("kubelet");
        run(Command::new("mount").arg("--bind").arg(&kubelet).arg(&kubelet));
        run(Command::new("mount").arg("--make-rshared").arg(&kubelet));
        let mut node = Self { kubectl: tool(Tool::Kubectl).await, folder, servers: Vec::new() };
        node.control_plane().await;
        node.containerd().await;
        node.kubelet().await;
        say(began, "a node that is Ready: etcd, API server, controllers, scheduler, containerd, kubelet, S3");
        node
    }

    /// Where the store is.
    pub(crate) fn s3() -> String {
        format!("http://{HOST}:7070")
    }

    /// Runs kubectl; its standard output. Panics if it fails.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        run(self.command(&self.kubectl).args(args))
    }

    /// The same; its standard error if it fails.
    pub(crate) fn try_kubectl(&self, args: &[&str]) -> Result<String, String> {
        let output = self.command(&self.kubectl).args(args).output().map_err(|error| error.to_string())?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// A program of a user with all rights.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.folder.join("admin.kubeconfig")).env("HOME", &self.folder);
        command
    }

    async fn control_plane(&mut self) {
        let tokens = "admin,admin,admin,system:masters\nkubelet,system:node:node1,node1,system:nodes\n";
        write(&self.folder.join("tokens.csv"), tokens);
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        write(&self.folder.join("certs/sa.key"), key.serialize_pem());
        write(&self.folder.join("certs/sa.pub"), key.public_key_pem());
        for user in ["admin", "kubelet"] {
            self.kubeconfig(user);
        }
        let etcd = ["--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn"];
        self.server(Tool::Etcd, &etcd).await;
        let advertised = format!("--advertise-address={HOST}");
        self.server(
            Tool::KubeApiserver,
            &[
                "--etcd-servers=http://127.0.0.1:2379",
                &advertised,
                "--secure-port=443",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--cert-dir=certs",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=Node,RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-account-key-file=certs/sa.pub",
                "--service-account-signing-key-file=certs/sa.key",
                "--kubelet-preferred-address-types=InternalIP",
                "--allow-privileged=true",
            ],
        )
        .await;
        let listens = format!("{HOST}:7070");
        self.server(Tool::Versitygw, &["--port", &listens, "posix", "s3"]).await;
        until(LIMIT, "the API server is ready", || async { self.try_kubectl(&["get", "--raw", "/readyz"]) }).await;
        let controllers = [
            "--kubeconfig=admin.kubeconfig",
            "--leader-elect=false",
            "--use-service-account-credentials",
            "--service-account-private-key-file=certs/sa.key",
            // The API server has made its certificate, and writes that of its authority behind it.
            "--root-ca-file=certs/apiserver.crt",
        ];
        self.server(Tool::KubeControllerManager, &controllers).await;
        self.server(Tool::KubeScheduler, &["--kubeconfig=admin.kubeconfig", "--leader-elect=false"]).await;
    }

    fn kubeconfig(&self, user: &str) {
        let folder = self.folder.display();
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: node, \
             clusters: [{{name: node, cluster: {{server: 'https://{KUBERNETES}', certificate-authority: {folder}/certs/apiserver.crt}}}}], \
             users: [{{name: user, user: {{token: {user}}}}}], \
             contexts: [{{name: node, context: {{cluster: node, user: user}}}}]}}"
        );
        write(&self.folder.join(format!("{user}.kubeconfig")), text);
    }

    async fn containerd(&mut self) {
        let folder = self.folder.display();
        let plugins = tool(Tool::CniBridge).await;
        let plugins = plugins.parent().expect("a folder").display();
        // Lowering oom_score_adj needs a right that root in a sandbox may lack.
        let config = format!(
            "version = 3\nroot = '{folder}/containerd'\nstate = '{folder}/containerd-state'\n\
             [grpc]\naddress = '{folder}/containerd.sock'\n\
             [plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{image}'\n\
             [plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n\
             [plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['{plugins}']\nconf_dir = '{folder}/cni'\n\
             [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n",
            image = image::NAME,
        );
        write(&self.folder.join("containerd.toml"), config);
        let network = format!(
            r#"{{"cniVersion": "1.0.0", "name": "node", "plugins": [{{"type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": {{"type": "host-local", "dataDir": "{folder}/ipam", "ranges": [[{{"subnet": "10.244.0.0/24"}}]],
            "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}"#
        );
        write(&self.folder.join("cni/node.conflist"), network);
        self.server(Tool::Containerd, &["--config=containerd.toml"]).await;
        let containerd = tool(Tool::Containerd).await;
        let ctr = |args: &[&str]| {
            let mut command = Command::new(containerd.with_file_name("ctr"));
            command.arg("--address").arg(self.folder.join("containerd.sock")).args(["--namespace", "k8s.io"]);
            let output = command.args(args).output().map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(said) }
        };
        until(LIMIT, "containerd answers", || async { ctr(&["version"]) }).await;
        for archive in ["stand.tar", "operator.tar", "must-gather.tar"] {
            let archive = self.folder.join(archive);
            ctr(&["images", "import", &archive.display().to_string()]).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    async fn kubelet(&mut self) {
        let folder = self.folder.display();
        let cgroup = std::env::var(cgroup::VARIABLE).expect("it is set for the node");
        let config = format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
             authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}\n\
             authorization: {{mode: AlwaysAllow}}\n\
             failCgroupV1: false\nfailSwapOn: false\ncgroupDriver: cgroupfs\ncgroupRoot: /{cgroup}\nenforceNodeAllocatable: []\n\
             containerRuntimeEndpoint: unix://{folder}/containerd.sock\npodLogsDir: {folder}/podlogs\n\
             resolvConf: ''\nclusterDNS: [10.96.0.10]\nclusterDomain: cluster.local\n\
             imageGCHighThresholdPercent: 100\nevictionHard: {{nodefs.available: 1%, imagefs.available: 1%}}\n"
        );
        write(&self.folder.join("kubelet.yaml"), config);
        let (root, address) = (format!("--root-dir={folder}/kubelet"), format!("--node-ip={HOST}"));
        let flags = [
            "--config=kubelet.yaml",
            "--kubeconfig=kubelet.kubeconfig",
            "--hostname-override=node1",
            "--cert-dir=certs",
        ];
        self.server(Tool::Kubelet, &[&flags[..], &[&root, &address]].concat()).await;
        let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        until(LIMIT, "the node is Ready", || async {
            let status = self.try_kubectl(&["get", "node", "node1", "-o", ready])?;
            if status == "True" { Ok(()) } else { Err(status) }
        })
        .await;
    }

    async fn server(&mut self, tool_of: Tool, flags: &[&str]) {
        let program = tool(tool_of).await;
        let name = program.file_name().expect("a name").to_string_lossy().into_owned();
        let mut command = Command::new(&program);
        command.args(flags).current_dir(&self.folder);
        // containerd finds its shim there.
        let path =
            format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).env("ROOT_ACCESS_KEY", "admin").env("ROOT_SECRET_KEY", "secret-of-admin");
        let log = self.folder.join("logs").join(format!("{name}.log"));
        self.servers.push(Process::spawn(&name, &command, &log).unwrap_or_else(|error| panic!("{name}: {error}")));
    }
}

async fn tool(tool: Tool) -> PathBuf {
    tools::path(tool).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Hides what the servers would write outside their folder, and the settings of the kernel that the kubelet changes.
fn cover(folder: &Path) {
    for path in ["/run", "/var/lib", "/var/log"] {
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", path]));
    }
    // pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables
    for setting in [
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
    ] {
        let (of_kernel, copy) = (Path::new("/proc/sys").join(setting), folder.join(setting.replace('/', "-")));
        fs::read(&of_kernel).and_then(|value| fs::write(&copy, value)).expect("the setting can be read");
        run(Command::new("mount").arg("--bind").arg(copy).arg(of_kernel));
    }
}

/// Loopback, the node's address, and that of the Service `kubernetes`; there is no way out.
fn network() {
    let ip = |args: &str| run(Command::new("ip").args(args.split(' ')));
    ip("link set lo up");
    ip(&format!("address add {KUBERNETES}/32 dev lo"));
    ip("link add host0 type bridge");
    ip(&format!("address add {HOST}/24 dev host0"));
    ip("link set host0 up");
    write(Path::new("/proc/sys/net/ipv4/ip_forward"), "1");
}

/// For a journey that failed: what the cluster shows, and the last lines of each server's log.
impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for asked in [&["get", "pods", "-A", "-o", "wide"][..], &["get", "events", "-A", "--sort-by=.lastTimestamp"]] {
            eprintln!("{}", self.try_kubectl(asked).unwrap_or_else(|error| error));
        }
        for server in &self.servers {
            eprintln!("--- {}\n{}", server.name(), server.tail(8));
        }
    }
}
