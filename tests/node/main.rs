//! The operator as its users run it, on a real node: its image, its chart, Velero with node-agent and kopia. One restore
//! hangs because the image of Velero's restore helper is missing, and nobody asks; the operator's bundle names the cause.
//!
//! The node lives in namespaces of its own (processes, mounts, network), which end with this program, however it ends.

#![allow(clippy::panic, reason = "a step that fails ends the program, with a sentence")]

mod cgroup;
mod image;
mod journey;
mod must_gather;
mod servers;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use harness::{operator::program, packages, process, tools};

/// The names of the operator's images as `.ci/image` writes them.
const OPERATOR_IMAGE: (&str, &str) = ("localhost/debugbundle/operator", "ci");
const MUST_GATHER_IMAGE: &str = "localhost/debugbundle/must-gather:ci";
/// Set in the namespaces of the node; its value is the folder of the node.
const INSIDE: &str = "DEBUGBUNDLE_NODE_FOLDER";

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return inside(PathBuf::from(folder)).await;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("cargo node runs a kubelet, which needs root");
        return ExitCode::FAILURE;
    }
    let began = Instant::now();
    let code = outside().await;
    say(began, "from the start to the end");
    code
}

/// Builds what the node needs while there is a network, then runs this program in namespaces of its own.
async fn outside() -> ExitCode {
    let folder = tempfile::Builder::new().prefix("debugbundle-node-").tempdir().expect("a folder").keep();
    process::sweep_at_exit(&folder).expect("sh can be run");

    let step = Instant::now();
    tokio::task::spawn_blocking(packages::require_node).await.expect("the check does not panic");
    say(step, "packages of the system");

    let step = Instant::now();
    for tool in servers::TOOLS {
        tools::path(tool).await.unwrap_or_else(|error| panic!("{error}"));
    }
    say(step, "servers and tools, built or found in the cache");

    let step = Instant::now();
    let operator = program("debugbundle-operator").await;
    say(step, "both programs, built");

    let step = Instant::now();
    let programs = operator.parent().expect("a folder");
    run(Command::new(repository(".ci/image")).arg(programs).arg(&folder));
    say(step, "both images of the operator");

    let step = Instant::now();
    image::of_stand(&folder).await;
    say(step, "the image of Velero, its plugin and busybox");

    let cgroup = cgroup::make().expect("a cgroup can be made");
    let mut node = tokio::process::Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .env(INSIDE, &folder)
        .env(cgroup::VARIABLE, &cgroup)
        // The pipe closes when this process ends, and then the node ends.
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("unshare can be run");
    let leash = node.stdin.take();
    let ended = tokio::select! {
        ended = node.wait() => ended.expect("it is our child").success(),
        _ = tokio::signal::ctrl_c() => {
            drop(leash);
            let _ = node.wait().await;
            false
        }
    };
    cgroup::remove(&cgroup);
    if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Process 1 of the node's namespaces: when it ends, everything in them ends.
async fn inside(folder: PathBuf) -> ExitCode {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    let journey = tokio::spawn(async move {
        let node = servers::Node::start(folder).await;
        journey::run(&node).await;
    });
    // Its panic has been printed, with what was seen last.
    if journey.await.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs a program to its end; its standard output. Panics with what it said if it failed.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Writes a file of the node.
fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Prints a step with the seconds that it took.
fn say(began: Instant, what: &str) {
    println!("{:>7.1} s  {what}", began.elapsed().as_secs_f32());
}
