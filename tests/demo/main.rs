//! The main use case in one command: real servers, a real backup, a restore that really fails, and the bundle that the
//! operator makes by itself; then a bundle that a user asks for, downloaded through its presigned URL.

use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use debugbundle_crd::{DebugBundle, Phase};
use harness::{
    Context, Operator, TestCluster, Velero, clouds::Cloud, operator::program, tools, until, with_namespace_on,
};
use kube::{
    ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde_json::json;

/// Name of the DebugBundle that is asked for.
const NAME: &str = "restore-r1";

/// The main use case in one command, on real servers of this machine.
#[derive(Clone, Copy, Debug, Parser)]
#[command(bin_name = "cargo demo")]
struct Options {
    /// Where Velero's Backups and the bundles are: an S3 server, or an emulator of a cloud's store.
    #[arg(long, value_enum, default_value_t = StoreOption::S3)]
    store: StoreOption,
    /// Leave everything up afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StoreOption {
    S3,
    Azure,
    Gcs,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(async {
                with_namespace_on(TestCluster::shared().await, "velero", |context| run(context, options)).await;
            });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(context: Arc<Context>, options: Options) {
    let cloud = match options.store {
        StoreOption::S3 => None,
        StoreOption::Azure => Some(Cloud::azure().await),
        StoreOption::Gcs => Some(Cloud::google().await),
    };
    if let Some(cloud) = &cloud {
        cloud.create_bucket("velero").await;
        cloud.location(&context, "velero").await;
        say(&format!("an emulator of {} is up, and Backups go there", cloud.name()));
    }
    say("etcd, kube-apiserver and an S3 are up; now the operator is built (minutes the first time, seconds later)");
    let operator = Operator::of(&context).automatic().ready().await;
    say("the operator is ready; now a real Velero server (some ten seconds)");
    let velero = match &cloud {
        Some(cloud) => Velero::of(&context).in_cloud(cloud).start().await,
        None => Velero::start(&context).await,
    };
    say(
        "Velero is up and its location is Available; now a backup, and a restore into a namespace whose quota is used up",
    );
    let restore = velero.partially_failed_restore("r1").await;
    say(&format!("Restore r1 is {}", phase_of(&restore)));

    say("nobody applies anything; the operator has seen it:");
    let name = made(&context).await;
    follow(&context, &name).await;
    say("kubectl describe of the Restore shows the cause:");
    print!("{}", indented(&events(&context).await));

    say("anybody may ask for a bundle, too; kubectl apply of a DebugBundle that names the Restore:");
    context.debug_bundle(NAME, json!({ "target": { "kind": "Restore", "name": "r1" } })).await;
    follow(&context, NAME).await;
    let shown = context.stand.kubectl(["-n", &context.namespace, "get", "debugbundles"]).await;
    print!("{}", indented(&shown.stdout));

    let file = download(&context).await;
    say("what is in it:");
    print!(
        "{}",
        indented(&cli(&context, [OsStr::new("cat"), "--file".as_ref(), file.as_os_str(), "--list".as_ref()]).await)
    );
    say("its summary:");
    print!(
        "{}",
        indented(&cli(&context, [OsStr::new("cat"), "--file".as_ref(), file.as_os_str(), "summary.md".as_ref()]).await)
    );
    say(&format!("the bundle is {}", file.display()));
    if options.keep {
        stay_up(&context).await;
    }
    drop((operator, velero));
}

/// Waits for the DebugBundle that nobody asked for; its name.
async fn made(context: &Arc<Context>) -> String {
    until(Duration::from_mins(1), "the operator creates a DebugBundle", || async {
        let all = context.api::<DebugBundle>().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        all.items.first().map(ResourceExt::name_any).ok_or("none yet".to_owned())
    })
    .await
}

/// The part of `kubectl describe restore r1` that begins with its Events.
async fn events(context: &Arc<Context>) -> Vec<u8> {
    until(Duration::from_mins(1), "the Restore has an Event", || async {
        let described = context.stand.kubectl(["-n", &context.namespace, "describe", "restores.velero.io", "r1"]).await;
        let text = String::from_utf8_lossy(&described.stdout).into_owned();
        let events = text.find("Events:").map(|at| text[at..].to_owned()).unwrap_or_default();
        if events.contains("Explained") { Ok(events.into_bytes()) } else { Err(events) }
    })
    .await
}

/// Prints each new phase and the current step.
async fn follow(context: &Arc<Context>, name: &str) {
    let mut last = String::new();
    let began = Instant::now();
    loop {
        let bundle = context.api::<DebugBundle>().get(name).await.expect("the DebugBundle was just created");
        let status = bundle.status.clone().unwrap_or_default();
        let phase = status.phase.unwrap_or(Phase::New);
        let doing =
            status.progress.map_or(String::new(), |p| format!("{}/{} {}", p.items_done, p.items_total, p.message));
        let line = format!("{phase:<16} {doing}");
        if line != last {
            println!("    {:>5.1} s  {line}", began.elapsed().as_secs_f32());
            last.clone_from(&line);
        }
        if phase.is_terminal() {
            assert!(phase != Phase::Failed, "no bundle was made: {:?}", status.conditions);
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(2), "{} does not end: {line}", bundle.name_any());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn download(context: &Arc<Context>) -> PathBuf {
    let url = until(Duration::from_secs(10), "there is a download URL", || async {
        let bundle = context.api::<DebugBundle>().get(NAME).await.map_err(|e| e.to_string())?;
        bundle.status.and_then(|s| s.download_url).ok_or("none yet".to_owned())
    })
    .await;
    let host = url.split('/').nth(2).unwrap_or_default();
    say(&format!("download through the presigned URL (http://{host}/…):"));
    let file = std::env::current_dir().expect("there is a current folder").join("debugbundle-restore-r1.tar.gz");
    let told =
        cli(context, [OsStr::new("download"), NAME.as_ref(), "-o".as_ref(), file.as_os_str(), "--force".as_ref()])
            .await;
    print!("{}", indented(&told));
    file
}

/// Runs `kubectl debugbundle`, as a user of the stand would.
async fn cli<A: AsRef<OsStr>>(context: &Arc<Context>, args: impl IntoIterator<Item = A>) -> Vec<u8> {
    let mut command = Command::new(program("kubectl-debugbundle").await);
    command.args(args).arg("-n").arg(&context.namespace).env("KUBECONFIG", context.stand.kubeconfig());
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output())
        .await
        .expect("the thread does not panic")
        .expect("the program was just built");
    let code = output.status.code();
    assert!(
        matches!(code, Some(0 | 3)),
        "kubectl debugbundle ended with {code:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

async fn stay_up(context: &Context) {
    let kubectl = tools::path(tools::Tool::Kubectl).await.expect("the stand uses it");
    let folder = kubectl.parent().map_or(String::new(), |f| f.display().to_string());
    let plugin = program("kubectl-debugbundle").await;
    let plugins = plugin.parent().map_or(String::new(), |f| f.display().to_string());
    say("everything stays up until Ctrl-C; in another terminal:");
    println!("    export KUBECONFIG={}", context.stand.kubeconfig().display());
    println!("    export PATH={folder}:{plugins}:$PATH");
    println!("    kubectl config set-context --current --namespace={}", context.namespace);
    println!("    kubectl get debugbundles,backups,restores");
    println!("    kubectl debugbundle get {NAME}");
    let _ = tokio::signal::ctrl_c().await;
}

fn phase_of(object: &DynamicObject) -> &str {
    object.data["status"]["phase"].as_str().unwrap_or("New")
}

fn indented(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().flat_map(|line| ["    ", line, "\n"]).collect()
}

fn say(what: &str) {
    println!("» {what}");
}
