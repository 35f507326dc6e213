//! A user at a shell, who runs `kubectl debugbundle` in a namespace with a Restore and the files of Velero.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use debugbundle_crd::{DebugBundle, Phase};
use harness::context::PREFIX;
use harness::operator::program;
use harness::tools::{self, Tool};
use harness::velero_objects::{backup, restore};
use harness::{Context, LogScript, Operator, until};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::bundles::server_pod;
use super::download_proxy::DownloadProxy;

/// How long any command may take on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(2);

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A user at a shell: a namespace, a kubeconfig, a working directory.
pub struct User {
    pub context: Arc<Context>,
    pub kubeconfig: OsString,
    pub folder: PathBuf,
}

impl User {
    /// A user with all rights.
    pub fn of(context: &Arc<Context>) -> Self {
        Self::with(context, "user", context.stand.kubeconfig())
    }

    pub fn with(context: &Arc<Context>, name: &str, kubeconfig: impl AsRef<OsStr>) -> Self {
        let folder = context.folder(&format!("home-of-{name}"));
        Self { context: context.clone(), kubeconfig: kubeconfig.as_ref().to_owned(), folder }
    }

    /// The program with these arguments and the namespace.
    pub async fn command<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(program("kubectl-debugbundle").await);
        command.args(words).env("VELERO_NAMESPACE", &self.context.namespace);
        self.at_home(&mut command);
        command
    }

    pub fn at_home(&self, command: &mut Command) {
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.folder).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    }

    /// Runs it to its end.
    pub async fn run<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Ran {
        let mut command = self.command(words).await;
        finish(command.spawn().expect("the program was just built"), &command).await
    }

    /// Splits a line into arguments and runs it to its end.
    pub async fn line(&self, line: &str) -> Ran {
        self.run(line.split_whitespace()).await
    }

    /// The files in the folder, hidden ones too.
    pub fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.folder).expect("the folder is there");
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Waits for the end; prints the output, for a test that fails.
pub async fn finish(child: Child, command: &Command) -> Ran {
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{command:?} does not end")).expect("its output can be read");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ran = Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) };
    let words: Vec<_> = command.as_std().get_args().map(OsStr::to_string_lossy).collect();
    eprintln!(
        "$ kubectl debugbundle {}\n{}--- standard error, exit code {}\n{}",
        words.join(" "),
        ran.out,
        ran.code,
        ran.err
    );
    ran
}

/// kubectl with the program as its plugin, and `more` folders in PATH.
pub async fn kubectl(user: &User, words: &[&str], more: &[&Path]) -> Ran {
    let kubectl = tools::path(Tool::Kubectl).await.expect("the stand has it");
    let plugin = program("kubectl-debugbundle").await;
    let folders = more.iter().copied().chain([kubectl.parent().unwrap(), plugin.parent().unwrap()]);
    let system = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folders.map(Path::to_owned).chain(std::env::split_paths(&system))).unwrap();
    let mut command = Command::new(&kubectl);
    command.args(words).env("PATH", path);
    user.at_home(&mut command);
    finish(command.spawn().expect("kubectl starts"), &command).await
}

/// Lines without repetition, `bytes` bytes in all.
pub fn lines(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 100);
    for i in 0_u64.. {
        if out.len() >= bytes {
            return out;
        }
        let word = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(out, "time=\"2026-09-08T03:04:12Z\" level=info msg=\"item {i} {word:016x}\" restore=velero/regrow")
            .unwrap();
    }
    out
}

/// A partially failed Restore with its Backup, the files of both in the store, and a server's pod.
pub async fn a_restore(context: &Context) {
    let now = Timestamp::now();
    let at = |minutes: i64| now.checked_add(SignedDuration::from_mins(minutes)).unwrap();
    context.create_velero(backup("seed").completed().started(at(-50)).ended(at(-45))).await;
    let failed = restore("regrow").partially_failed().started(at(-30)).ended(at(-1));
    context.create_velero(failed.status("errors", 1)).await;
    let results = br#"{"errors":{"namespaces":{"shop":["exceeded quota: no room for shop-0"]}},"warnings":{}}"#;
    let log = lines(3_000_000);
    for (name, body) in [
        ("logs", &log[..]),
        ("results", results),
        ("itemoperations", b"[]"),
        ("volumeinfo", b"[]"),
        ("resource-list", b"{}"),
    ] {
        let kind = match name {
            "logs" | "results" => format!("restore-regrow-{name}.gz"),
            "resource-list" => "restore-regrow-resource-list.json.gz".to_owned(),
            "volumeinfo" => "regrow-volumeinfo.json.gz".to_owned(),
            other => format!("restore-regrow-{other}.json.gz"),
        };
        context.bucket.put_gzipped(&format!("{PREFIX}/restores/regrow/{kind}"), body).await;
    }
    for (name, body) in [
        ("seed-logs.gz", &b"time=now level=info msg=fine\n"[..]),
        ("seed-results.gz", br#"{"errors":{},"warnings":{}}"#),
        ("seed-itemoperations.json.gz", b"[]"),
        ("seed-volumeinfo.json.gz", b"[]"),
        ("seed-resource-list.json.gz", b"{}"),
        ("seed-podvolumebackups.json.gz", b"[]"),
        ("seed-volumesnapshots.json.gz", b"[]"),
    ] {
        context.bucket.put_gzipped(&format!("{PREFIX}/backups/seed/{name}"), body).await;
    }
    context.bucket.put(&format!("{PREFIX}/backups/seed/velero-backup.json"), "{}").await;
    server_pod(context, LogScript::lines(["level=error msg=\"no room\" restore=velero/regrow"])).await;
}

/// Routes downloads from the location through a proxy.
pub async fn behind_a_proxy(context: &Context) -> DownloadProxy {
    let proxy = DownloadProxy::to(&context.stand.s3.endpoint()).await;
    let change = json!({"spec": {"config": {"publicUrl": proxy.url}}});
    context.patch_velero("BackupStorageLocation", "default", change).await;
    proxy
}

/// A stored bundle about the Restore, and the operator that made it.
pub async fn stored(context: &Arc<Context>, name: &str, policy: &str) -> (Operator, DebugBundle) {
    a_restore(context).await;
    let operator = Operator::of(context).ready().await;
    let spec = json!({"target": {"kind": "Restore", "name": "regrow"}, "downloadURL": {"policy": policy}});
    context.debug_bundle(name, spec).await;
    let bundle = until(LIMIT, "the bundle is stored", || async {
        let bundle = context.api::<DebugBundle>().get(name).await.map_err(|error| error.to_string())?;
        let phase = bundle.status.as_ref().and_then(|status| status.phase);
        if phase.is_some_and(Phase::is_terminal) { Ok(bundle) } else { Err(format!("{phase:?}")) }
    })
    .await;
    assert!(bundle.status.as_ref().unwrap().bundle.is_some(), "{:?}", bundle.status);
    (operator, bundle)
}

/// Changes the status behind the operator's back.
pub async fn patch_status(context: &Context, name: &str, status: Value) {
    let patch = Patch::Merge(json!({"status": status}));
    context.api::<DebugBundle>().patch_status(name, &PatchParams::default(), &patch).await.expect("a status");
}
