//! A real Velero server as a process, in a test's own namespace, with the AWS plugin and those of clouds; and Velero's own CLI. [`work`]
//! creates Backups and Restores, [`recipes`] bring them into each phase.
//!
//! The server listens on :8080, which no flag changes: only one can run in a network namespace, so tests that need it
//! take turns, even across processes.

mod port_lock;
pub mod recipes;
pub mod work;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::clouds::{self, Cloud};
use crate::process::Process;
use crate::stand::free_port;
use crate::tools::{self, Tool};
use crate::{Context, LogScript, pod, until};
use port_lock::PortLock;

/// The server's pod in the test's namespace: its log is that of the real process.
pub const POD: &str = "velero-7c9f8d-x2x7q";

const CONTAINER: &str = "velero";
const PLUGIN_CONTAINER: &str = "velero-velero-plugin-for-aws";
/// The location on the stand's S3.
const DEFAULT: &str = "default";
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How to start the server; see [`Velero::of`].
pub struct VeleroBuilder {
    context: Arc<Context>,
    fs_timeout: String,
    flags: Vec<String>,
    plugins: Vec<Tool>,
    location: &'static str,
}

/// A running Velero server; dropping it ends it with its plugins.
pub struct Velero {
    /// The test it belongs to.
    pub context: Arc<Context>,
    /// Where its Backups go.
    location: &'static str,
    flags: Vec<String>,
    process: Process,
    starts: usize,
    node: String,
    metrics_port: u16,
    _place: PortLock,
}

impl Velero {
    /// A server for this test's namespace.
    pub fn of(context: &Arc<Context>) -> VeleroBuilder {
        VeleroBuilder {
            context: context.clone(),
            fs_timeout: "20s".to_owned(),
            flags: Vec::new(),
            plugins: vec![Tool::VeleroPluginForAws],
            location: DEFAULT,
        }
    }

    /// A server for this test's namespace, ready to work.
    pub async fn start(context: &Arc<Context>) -> Self {
        Self::of(context).start().await
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The scripted node that the `velero` pod is bound to.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where its metrics are served, on 127.0.0.1.
    pub fn metrics_port(&self) -> u16 {
        self.metrics_port
    }

    /// Sends SIGKILL to the server and to each of its plugins, which would go on without it.
    pub fn kill9(&self) {
        self.process.kill();
    }

    /// Starts it again, and waits until it works. Its earlier output becomes the previous log of its container.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.starts += 1;
        self.process = launch(&self.context, self.location, &self.flags, self.starts).await;
        self.show_pod().await;
        wait_available(&self.context, self.location, &self.process).await;
    }

    /// Runs Velero's CLI in this namespace, for at most two minutes.
    pub async fn cli<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        let velero = tools::path(Tool::Velero).await.unwrap_or_else(|error| panic!("{error}"));
        let mut command = tokio::process::Command::new(velero);
        command.arg("--namespace").arg(&self.context.namespace).args(args);
        command.env("KUBECONFIG", self.context.stand.kubeconfig()).env("HOME", self.context.folder("home"));
        command.current_dir(self.context.folder("home")).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_mins(2), command.output()).await;
        output.expect("the CLI ends within two minutes").expect("the CLI starts")
    }

    /// Updates the `velero` pod from the process: its logs, its restarts.
    async fn show_pod(&self) {
        let context = &self.context;
        context.log(POD, CONTAINER, LogScript::file(log_of(context, self.starts)));
        let restarts = u32::try_from(self.starts - 1).expect("few restarts");
        if restarts > 0 {
            context.previous_log(POD, CONTAINER, LogScript::file(log_of(context, self.starts - 1)));
        }
        let velero = pod(POD)
            .labelled("component", "velero")
            .labelled("deploy", "velero")
            .on_node(&self.node)
            .with_init(PLUGIN_CONTAINER)
            .with_container(CONTAINER)
            .restarted(restarts);
        if restarts == 0 {
            context.pod(velero).await
        } else {
            context.pod_status(velero).await
        };
    }
}

impl VeleroBuilder {
    /// Time limit for the volumes of one Backup or Restore; default: 20s.
    #[must_use]
    pub fn fs_timeout(mut self, timeout: &str) -> Self {
        timeout.clone_into(&mut self.fs_timeout);
        self
    }

    /// With a further flag.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// With the plugin of this cloud, and with Backups in its location, which the test has made.
    #[must_use]
    pub fn in_cloud(mut self, cloud: &Cloud) -> Self {
        self.plugins.push(cloud.plugin());
        self.location = clouds::LOCATION;
        self
    }

    /// Takes this test's turn, starts the server, and waits until it has found the location Available.
    pub async fn start(self) -> Velero {
        let Self { context, fs_timeout, flags: further, plugins: tools, location } = self;
        let place = PortLock::take().await;
        let plugins = context.folder("velero-plugins");
        for tool in tools {
            let plugin = tools::path(tool).await.unwrap_or_else(|error| panic!("{error}"));
            let name = plugin.file_name().expect("a file").to_owned();
            std::os::unix::fs::symlink(plugin, plugins.join(name)).expect("a link to the plugin");
        }
        let metrics_port = free_port().expect("a free port");
        let mut flags = vec![
            // Plugins get all arguments except the first, so `server` must be the first.
            "server".to_owned(),
            format!("--namespace={}", context.namespace),
            format!("--plugin-dir={}", plugins.display()),
            format!("--metrics-address=127.0.0.1:{metrics_port}"),
            format!("--profiler-address=127.0.0.1:{}", free_port().expect("a free port")),
            format!("--fs-backup-timeout={fs_timeout}"),
        ];
        let short = [
            "--store-validation-frequency=5s",
            "--backup-sync-period=5s",
            "--item-operation-sync-frequency=2s",
            "--resource-timeout=20s",
            "--default-item-operation-timeout=30s",
        ];
        flags.extend(short.map(str::to_owned));
        flags.extend(further);
        let node = context.node("velero").await;
        let process = launch(&context, location, &flags, 1).await;
        let velero = Velero { context, location, flags, process, starts: 1, node, metrics_port, _place: place };
        velero.show_pod().await;
        wait_available(&velero.context, location, &velero.process).await;
        velero
    }
}

fn log_of(context: &Context, start: usize) -> PathBuf {
    context.log_file(&format!("velero-{start}"))
}

async fn launch(context: &Context, location: &str, flags: &[String], start: usize) -> Process {
    // For ten seconds after a validation, Velero does not check a location again.
    for location in BTreeSet::from([DEFAULT, location]) {
        context.patch_velero("BackupStorageLocation", location, json!({"status": null})).await;
    }
    let velero = tools::path(Tool::Velero).await.unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(velero);
    command.args(flags).env("KUBECONFIG", context.stand.kubeconfig());
    command.env("TMPDIR", context.folder("velero-tmp"));
    // Velero empties and rewrites the location's credentials file before each use (internal/credentials), even while a
    // plugin reads it. A plugin that finds it empty uses these variables, which hold the same credential.
    let keys = context.stand.s3.root();
    command.env("AWS_ACCESS_KEY_ID", &keys.access).env("AWS_SECRET_ACCESS_KEY", &keys.secret);
    // Kopia keeps its configuration and its cache below these folders.
    for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        command.env(variable, context.folder("velero-home"));
    }
    Process::spawn("velero", &command, &log_of(context, start)).expect("velero can be started")
}

async fn wait_available(context: &Context, location: &str, process: &Process) {
    until(READY_WITHIN, "the Velero server has found its location Available", || async {
        if let Some(code) = process.exited() {
            panic!("the Velero server ended with {code}:\n{}", process.tail(10));
        }
        let location = context.velero_api("BackupStorageLocation").get(location).await.map_err(|e| e.to_string())?;
        let status = &location.data["status"];
        let validated = status["lastValidationTime"].as_str().is_some_and(|time| time.parse::<Timestamp>().is_ok());
        if validated && status["phase"] == "Available" { Ok(()) } else { Err(format!("{status}; {}", process.tail(2))) }
    })
    .await;
}
