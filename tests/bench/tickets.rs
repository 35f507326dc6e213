//! What `kubectl debugbundle explain FILE` makes of the bundles of `velero debug`, for each scene of a Restore: its first
//! line beside the one of `explain` on the cluster. A real Velero serves the download requests of the real command.

use std::sync::Arc;

use harness::{
    Context, TestCluster, Velero,
    operator::program,
    scene::{Scene, Verdict},
    with_namespace_on,
};
use serde_json::Value;
use tokio::process::Command;

/// All controllers of Velero except the one that answers download requests: a scene must stay as it is.
const ONLY_DOWNLOADS: &str = "--disable-controllers=backup,backup-operations,backup-deletion,backup-finalizer,backup-sync,\
    backup-queue,schedule,gc,restore,restore-operations,restore-finalizer,backup-repo,server-status-request";

/// What was said of a scene.
struct Compared {
    live: String,
    from_file: String,
    confidence: String,
    verdict: Verdict,
}

/// Prints the table.
pub(super) async fn tickets(stand: &'static TestCluster) {
    let (mut all, mut same, mut right, mut wrong) = (0, 0, 0, 0);
    for scene in Scene::all() {
        if scene.about.target.as_ref().is_none_or(|(kind, _)| kind != "Restore") {
            continue;
        }
        let said_of = std::sync::Mutex::new(None);
        with_namespace_on(stand, "ticket", |context| {
            let (said_of, scene) = (&said_of, &scene);
            async move { *said_of.lock().expect("nobody panicked") = Some(of(&context, scene).await) }
        })
        .await;
        let Some(said_of) = said_of.into_inner().expect("nobody panicked") else { continue };
        let is_same = said_of.live == said_of.from_file;
        all += 1;
        same += usize::from(is_same);
        right += usize::from(said_of.verdict == Verdict::Right);
        wrong += usize::from(said_of.verdict == Verdict::Wrong);
        println!(
            "{:<48} {} ({}), {}",
            scene.name,
            if is_same { "same" } else { "other" },
            said_of.confidence,
            said_of.verdict.as_str()
        );
        if !is_same {
            println!("    cluster: {}\n    file:    {}", said_of.live, said_of.from_file);
        }
    }
    println!("\n{all} Restores: {same} first lines are the same; {right} right, {wrong} wrong");
}

async fn of(context: &Arc<Context>, scene: &Scene) -> Compared {
    let velero = Velero::of(context).flag(ONLY_DOWNLOADS).start().await;
    let loaded = scene.load(context).await;
    let (_, name) = scene.about.target.as_ref().expect("a target");
    let home = context.folder("ticket");
    let file = home.join("bundle.tar.gz");
    let output = file.to_string_lossy().into_owned();
    velero.cli(["debug", "--restore", name, "--output", &output]).await;
    let live = explain(context, &["--restore", name]).await;
    let of_file = explain(context, &[&output]).await;
    let cause = |said: &Value| said["cause"].as_str().map(str::to_owned);
    let shown = |said: &Value| loaded.plain(said["cause"].as_str().unwrap_or("No failure was found."));
    let findings = of_file["findings"].as_array().into_iter().flatten();
    let findings: Vec<String> = findings.filter_map(|one| one["title"].as_str().map(str::to_owned)).collect();
    Compared {
        live: shown(&live),
        from_file: shown(&of_file),
        confidence: of_file["confidence"].as_str().unwrap_or("none").to_owned(),
        verdict: loaded.judge(cause(&of_file).as_deref(), &findings),
    }
}

async fn explain(context: &Context, words: &[&str]) -> Value {
    let mut command = Command::new(program("kubectl-debugbundle").await);
    command.arg("explain").args(words).args(["-o", "json"]);
    command.env("KUBECONFIG", context.stand.kubeconfig()).env("VELERO_NAMESPACE", &context.namespace);
    let output = command.output().await.unwrap_or_else(|error| panic!("explain: {error}"));
    let said = serde_json::from_slice(&output.stdout);
    said.unwrap_or_else(|error| panic!("explain {words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
}
