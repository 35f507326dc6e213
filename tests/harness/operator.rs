//! Our operator as a process of its own, built from this workspace: started, killed, started again.
//! What it should do is said by the tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::process::Process;
use crate::{Context, tools, until};

/// How the operator shall be started; see [`Operator::of`].
pub struct OperatorBuilder {
    context: Arc<Context>,
    name: String,
    /// Who it is; the shipped account, if nobody is named.
    kubeconfig: Option<PathBuf>,
    namespace: String,
    spool: PathBuf,
    /// The program; the one of this workspace, if none is named.
    program: Option<PathBuf>,
    args: Vec<String>,
    env: Vec<(String, OsString)>,
}

/// A running operator; dropping it kills it.
pub struct Operator {
    how: OperatorBuilder,
    process: Process,
    starts: usize,
}

/// What an operator logs when it is ready to work; it is asked for by `/readyz` too.
const READY: &str = "ready";

impl Operator {
    /// An operator for this test's namespace, with the shipped permissions and no others, a spool of its own, and
    /// loopback allowed as an endpoint of the store.
    pub fn of(context: &Arc<Context>) -> OperatorBuilder {
        let name = "operator".to_owned();
        OperatorBuilder {
            kubeconfig: None,
            namespace: context.namespace.clone(),
            spool: context.folder("spool"),
            context: context.clone(),
            name,
            program: None,
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Waits until it says that it is ready.
    pub async fn wait_ready(&self) {
        until(Duration::from_secs(30), "the operator is ready", || async {
            if let Some(code) = self.exited() {
                panic!("the operator ended with {code}:\n{}", self.process.tail(20));
            }
            let ready = self.log().iter().any(|line| line.to_string().contains(READY));
            if ready { Ok(()) } else { Err(self.process.tail(3)) }
        })
        .await;
    }

    /// What it has logged since it was started (last), line by line; what is not JSON is a string.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.process.log()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.into())).collect()
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its folder of unfinished work.
    pub fn spool(&self) -> &Path {
        &self.how.spool
    }

    /// Its exit code, once it has ended (137: SIGKILL, from us or from a crash point).
    pub fn exited(&self) -> Option<i32> {
        self.process.exited()
    }

    /// Waits for its end.
    pub async fn wait_exit(&self, limit: Duration) -> i32 {
        until(limit, "the operator ends", || async { self.exited().ok_or_else(|| self.process.tail(5)) }).await
    }

    /// `kill -9`: no destructor runs, nothing is flushed.
    pub fn kill9(&self) {
        self.process.kill();
    }

    /// Asks it to end (SIGTERM), as the kubelet does.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Starts it again with the same spool; kills it first if it runs. Crash points are not set again.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.how.env.retain(|(name, _)| name != CRASH_AT);
        self.starts += 1;
        self.process = self.how.spawn(self.starts).await;
    }
}

const CRASH_AT: &str = "DEBUGBUNDLE_CRASH_AT";
const AUTOMATIC: &str = "DEBUGBUNDLE_AUTOMATIC";

impl OperatorBuilder {
    /// Another name for its log: for a second replica.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self.spool = self.context.folder(&format!("{name}-spool"));
        self
    }

    /// With these flags in addition.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// With this environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Lets the operator create DebugBundles by itself, as shipped. Without this it does not, because tests count their
    /// own DebugBundles.
    #[must_use]
    pub fn automatic(self) -> Self {
        self.env(AUTOMATIC, "true")
    }

    /// Another build of it.
    #[must_use]
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// As this user (see [`TestCluster::service_account`](crate::TestCluster::service_account)).
    #[must_use]
    pub fn as_user(mut self, kubeconfig: &Path) -> Self {
        self.kubeconfig = Some(kubeconfig.to_owned());
        self
    }

    /// Ends itself with SIGKILL at this point of its work.
    #[must_use]
    pub fn crash_at(self, point: &str) -> Self {
        self.env(CRASH_AT, point)
    }

    /// Starts it, without waiting for anything.
    pub async fn start(mut self) -> Operator {
        if self.kubeconfig.is_none() {
            self.kubeconfig = Some(self.context.shipped_account().await.kubeconfig);
        }
        let process = self.spawn(1).await;
        Operator { how: self, process, starts: 1 }
    }

    /// Starts it and waits until it is ready.
    pub async fn ready(self) -> Operator {
        let operator = self.start().await;
        operator.wait_ready().await;
        operator
    }

    async fn spawn(&self, start: usize) -> Process {
        let program = match &self.program {
            Some(path) => path.clone(),
            None => program("debugbundle-operator").await,
        };
        let mut command = Command::new(program);
        command.arg("--namespace").arg(&self.namespace).arg("--spool").arg(&self.spool);
        command.arg("--allow-loopback-endpoints").args(&self.args);
        command.env(AUTOMATIC, "false");
        command
            .envs(self.kubeconfig.iter().map(|path| ("KUBECONFIG", path)))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        let log = self.context.log_file(&format!("{}-{start}", self.name));
        Process::spawn(&self.name, &command, &log).expect("the operator can be started")
    }
}

/// A program of this workspace; the first call builds it.
pub async fn program(name: &str) -> PathBuf {
    static BUILT: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
    let built = BUILT
        .get_or_init(|| async { tokio::task::spawn_blocking(build).await.expect("the build's thread does not panic") });
    match built.await {
        Ok(folder) => folder.join(name),
        Err(why) => panic!("{why}"),
    }
}

/// Builds the workspace's programs beside the running test: same target folder, same profile.
fn build() -> Result<PathBuf, String> {
    let began = Instant::now();
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = test.parent().ok_or("the test binary is not in a target folder")?;
    // Tests lie one folder deeper than programs.
    let folder = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside }.to_owned();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let _progress = BuildProgress::begin(began);
    let output = Command::new(cargo)
        // The whole workspace, so that its features are resolved as for the tests and nothing is built twice.
        .args(["build", "--locked", "--workspace"])
        .args(["--bin", "debugbundle-operator", "--bin", "kubectl-debugbundle"])
        .args(["--profile", profile, "--target-dir"])
        .arg(folder.parent().ok_or("the test binary is not in a target folder")?)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if began.elapsed() > Duration::from_secs(10) {
        tools::say(&format!("built the operator in {} s", began.elapsed().as_secs()));
    }
    if !output.status.success() {
        return Err(format!("the operator does not build:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(folder)
}

/// Says every ten seconds that the build goes on, until it is dropped.
struct BuildProgress(Option<std::sync::mpsc::Sender<()>>);

impl BuildProgress {
    fn begin(began: Instant) -> Self {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_secs(10)) {
                tools::say(&format!(
                    "building the operator and the command line: {} s so far",
                    began.elapsed().as_secs()
                ));
            }
        });
        Self(Some(end))
    }
}

impl Drop for BuildProgress {
    fn drop(&mut self) {
        self.0.take();
    }
}
