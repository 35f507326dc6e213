//! What a bundle over many long logs costs the operator, measured beside `velero debug` on the same servers, in turn:
//! wall time, CPU time, peak of resident memory. It prints; only `--check` makes it judge.

#![allow(clippy::cast_precision_loss, reason = "rounded figures for people")]
#![allow(clippy::panic, reason = "a measurement that cannot be made ends with a sentence, as tests do")]

mod bulk_objects;
mod explain;
mod flood;
mod idle;
mod large_installation;
mod quiet;
mod tickets;
mod uploads;

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use clap::Parser;
use debugbundle_crd::{DebugBundle, Phase};
use harness::{
    Context, Operator, TestCluster,
    load::{Held, Load},
    operator::OperatorBuilder,
    tools::{self, Tool},
    until,
    usage::{Ran, Usage, measured},
    with_namespace_on,
};
use serde_json::json;

/// What one bundle over 100 pods with 20 MiB each may take.
const PEAK: u64 = 96 << 20;
/// For one bundle, whoever makes it.
const LIMIT: Duration = Duration::from_mins(14);

/// Measures bundles over many long logs, ours and those of `velero debug`.
#[derive(Parser, Clone, Debug)]
#[command(name = "cargo measure")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Flags {
    /// Pods, spread over ten nodes.
    #[arg(long, default_value_t = 100)]
    pods: usize,

    /// MiB of log of each pod.
    #[arg(long, default_value_t = 20)]
    mib: u64,

    /// Rounds; in each, first ours, then the others. 0: only what the other flags ask for. With --idle, --explain,
    /// --uploads and --tickets the default is 0.
    #[arg(long, default_value_t = 2,
        default_value_ifs([("idle", "true", "0"), ("explain", "true", "0"), ("uploads", "true", "0"), ("tickets", "true", "0")]))]
    rounds: usize,

    /// Also two such bundles at once.
    #[arg(long)]
    two: bool,

    /// Also one pod with 10 GiB of log.
    #[arg(long)]
    huge: bool,

    /// Also one bundle over 500 pods with 3 containers each and 20 000 Events.
    #[arg(long)]
    crowd: bool,

    /// Also this many DebugBundles at once, and a quiet time after them.
    #[arg(long, value_name = "BUNDLES")]
    flood: Option<usize>,

    /// What the operator costs in a quiet time beside thousands of Velero's objects, and how soon 100 failures have
    /// their DebugBundles.
    #[arg(long)]
    idle: bool,

    /// What `kubectl debugbundle explain` costs beside thousands of Velero's objects.
    #[arg(long)]
    explain: bool,

    /// What one upload of 1 GiB costs, to S3 and to an emulator of each cloud in turn.
    #[arg(long)]
    uploads: bool,

    /// What `kubectl debugbundle explain FILE` says of bundles of `velero debug`, beside `explain` on the cluster.
    #[arg(long)]
    tickets: bool,

    /// Minutes of the quiet time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=30))]
    minutes: u64,

    /// In each round also another build of the operator, whose CPU time is then compared on the same machine at the
    /// same time.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,

    /// Leave `velero debug` out.
    #[arg(long)]
    ours: bool,

    /// Fail unless every log is whole and the operator stays below 96 MiB; with --idle, unless it keeps at most 48 MiB,
    /// takes at most 0.5 % of a core, and 99 of 100 failures have their DebugBundle within 2 s; with --explain, unless each
    /// explanation takes at most 3 s and reads at most 50 MB.
    #[arg(long)]
    check: bool,
}

/// One bundle, or several at once.
#[derive(Clone, Debug)]
struct Row {
    who: String,
    wall: Duration,
    usage: Usage,
    bundle: u64,
    logs: Result<u64, String>,
}

fn main() -> ExitCode {
    let flags = &Flags::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let faults = Mutex::new(Vec::new());
    let note = |more: Vec<String>| faults.lock().expect("nobody panicked").extend(more);
    let judge = |rows: Vec<Row>| note(rows.iter().filter_map(Row::fault).collect());
    let quiet = Duration::from_secs(60 * flags.minutes);
    runtime.block_on(async {
        let stand = TestCluster::shared().await;
        if flags.rounds > 0 || flags.two {
            with_namespace_on(stand, "bench", |context| async move { judge(many(&context, flags).await) }).await;
        }
        if flags.crowd {
            with_namespace_on(stand, "crowd", |context| async move { judge(bulk_objects::measure(&context).await) })
                .await;
        }
        if let Some(bundles) = flags.flood {
            let flood = |context| async move { judge(flood::flood(&context, bundles, quiet).await) };
            with_namespace_on(stand, "flood", flood).await;
        }
        if flags.idle {
            with_namespace_on(stand, "idle", |context| async move { note(idle::idle(&context, quiet).await) }).await;
        }
        if flags.explain {
            with_namespace_on(stand, "explain", |context| async move { note(explain::explain(&context).await) }).await;
        }
        if flags.uploads {
            uploads::uploads(stand, 3, 1024).await;
        }
        if flags.tickets {
            tickets::tickets(stand).await;
        }
        if flags.huge {
            with_namespace_on(stand, "huge", |context| async move { judge(huge(&context).await) }).await;
        }
    });
    let faults = faults.into_inner().expect("nobody panicked");
    for fault in &faults {
        eprintln!("beyond its limit: {fault}");
    }
    if flags.check && !faults.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Row {
    /// Why its logs are not whole, or which limit it exceeds; `None` if neither is the case.
    fn fault(&self) -> Option<String> {
        match &self.logs {
            Err(why) => Some(format!("{}: {why}", self.who)),
            Ok(_) if self.who.starts_with("operator") && self.usage.peak >= PEAK => {
                Some(format!("{}: {:.1} MiB peak, not below {:.0}", self.who, mib(self.usage.peak), mib(PEAK)))
            }
            Ok(_) => None,
        }
    }
}

/// What the operator has used so far.
fn usage(operator: &Operator) -> Usage {
    Usage::of(operator.process().pid()).unwrap_or_else(|error| panic!("no usage of the operator: {error}"))
}

async fn many(context: &Arc<Context>, flags: &Flags) -> Vec<Row> {
    let load = Load { pods: flags.pods, bytes: flags.mib << 20 };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let build = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!(
        "{} pods with {} MiB of log each, {build} build, {cores} cores shared with all servers\n",
        load.pods, flags.mib
    );
    load.put(context).await;
    println!("{}", header());
    let (mut ours, mut others, mut theirs, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=flags.rounds {
        ours.push(operator(context, load, &format!("round-{round}"), 1).await);
        if let Some(program) = &flags.against {
            let builder = Operator::of(context).program(program);
            others.push(made("other build", context, builder, load, &format!("other-{round}"), 1).await);
        }
        if !flags.ours {
            theirs.push(velero_debug(context, load, &format!("velero-{round}")).await);
        }
    }
    for (name, others) in [("other build", &others), ("velero debug", &theirs)] {
        if !others.is_empty() {
            println!("{}", ratios(name, &ours, others));
        }
    }
    if flags.two {
        rows.push(operator(context, load, "two", 2).await);
    }
    rows.extend(ours.into_iter().chain(others).chain(theirs));
    rows
}

/// One log that is far longer than what is kept of it.
async fn huge(context: &Arc<Context>) -> Vec<Row> {
    println!("\n1 pod with 10 GiB of log, of which 32 MiB are kept\n\n{}", header());
    let load = Load { pods: 1, bytes: 10 << 30 };
    load.put(context).await;
    vec![operator(context, load, "huge", 1).await]
}

/// A fresh operator makes `bundles` bundles at once.
async fn operator(context: &Arc<Context>, load: Load, name: &str, bundles: usize) -> Row {
    made("operator", context, Operator::of(context), load, name, bundles).await
}

/// The same by any build of it, which the row calls `who`.
async fn made(
    who: &str,
    context: &Arc<Context>,
    builder: OperatorBuilder,
    load: Load,
    name: &str,
    bundles: usize,
) -> Row {
    let operator = builder.named(name).ready().await;
    let idle = usage(&operator);
    let began = Instant::now();
    let names: Vec<_> = (0..bundles).map(|index| format!("{name}-{index}")).collect();
    for name in &names {
        context.debug_bundle(name, json!({})).await;
    }
    let mut keys = Vec::new();
    for name in &names {
        keys.push(stored(context, &operator, name).await);
    }
    let wall = began.elapsed();
    let usage = usage(&operator);
    drop(operator);
    println!("{:<26} {:>8} {:>8} {:>9.1}", "operator before it", "", seconds(idle.cpu), mib(idle.peak));
    let (mut bundle, mut logs) = (0, Ok(0));
    for key in keys {
        let file = context.bucket.folder().join(key);
        let (bytes, found) = looked_at(&file, load, true).await;
        bundle += bytes;
        logs = logs.and_then(|sum| Ok(sum + found?));
        let _ = fs::remove_file(file);
    }
    told(Row { who: format!("{who}, {bundles} at once ({name})"), wall, usage, bundle, logs })
}

/// The key of a bundle, once it is stored.
async fn stored(context: &Arc<Context>, operator: &Operator, name: &str) -> String {
    until(LIMIT, &format!("the bundle {name} is stored"), || async {
        if let Some(code) = operator.exited() {
            panic!("the operator ended with {code}: {}", operator.process().tail(5));
        }
        let bundle = context.api::<DebugBundle>().get(name).await.map_err(|error| error.to_string())?;
        let status = bundle.status.unwrap_or_default();
        assert!(status.phase != Some(Phase::Failed), "no bundle was made: {:?}", status.conditions);
        match (status.phase.is_some_and(Phase::is_terminal), status.bundle) {
            (true, Some(stored)) => Ok(stored.key),
            _ => Err(format!("{:?} {:?}", status.phase, status.progress)),
        }
    })
    .await
}

/// Velero's own command, as a user runs it.
async fn velero_debug(context: &Arc<Context>, load: Load, name: &str) -> Row {
    let velero = tools::path(Tool::Velero).await.unwrap_or_else(|error| panic!("{error}"));
    let home = context.folder(name);
    let archive = home.join("bundle.tar.gz");
    let log = home.join("output");
    let output = || File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    let mut command = Command::new(velero);
    command.arg("--namespace").arg(&context.namespace).args(["debug", "--output"]).arg(&archive);
    command.env("KUBECONFIG", context.stand.kubeconfig()).env("HOME", &home).env("TMPDIR", &home).current_dir(&home);
    let file = output();
    let also = file.try_clone().unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    command.stdout(file).stderr(also);
    let ran =
        tokio::task::spawn_blocking(move || measured(&mut command, LIMIT)).await.expect("measuring does not panic");
    let Ran { code, wall, usage } = ran.unwrap_or_else(|error| panic!("velero debug: {error}"));
    assert!(code == Some(0), "velero debug ended with {code:?}:\n{}", harness::process::tail(&log, 20));
    let (bundle, logs) = looked_at(&archive, load, false).await;
    let _ = fs::remove_dir_all(&home);
    told(Row { who: format!("velero debug ({name})"), wall, usage, bundle, logs })
}

/// Length of an archive, and bytes of log in it if each log is whole.
async fn looked_at(archive: &Path, load: Load, ours: bool) -> (u64, Result<u64, String>) {
    let path = archive.to_owned();
    let held = tokio::task::spawn_blocking(move || (fs::metadata(&path).map_or(0, |meta| meta.len()), Held::by(&path)));
    let (bytes, held) = held.await.expect("reading does not panic");
    let held = held.unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    let logs = if load.bytes > 32 << 20 && ours { cut(&held) } else { load.all_in(&held, ours) };
    (bytes, logs)
}

/// Beginning and end, and in between a line that says what is not there.
fn cut(held: &Held) -> Result<u64, String> {
    let logs: Vec<_> = held.files.iter().filter(|(path, _)| path.ends_with("/current.log")).collect();
    match (logs.as_slice(), held.markers.as_slice()) {
        ([(_, bytes)], [marker]) if (30 << 20..=32 << 20).contains(*bytes) => {
            println!("    {}", marker.trim_end());
            Ok(**bytes)
        }
        other => Err(format!("not cut as it should be: {other:?}")),
    }
}

fn header() -> String {
    format!("{:<26} {:>8} {:>8} {:>9} {:>10} {:>9}", "", "wall s", "CPU s", "peak MiB", "bundle MiB", "log MiB")
}

fn told(row: Row) -> Row {
    let logs = row.logs.as_ref().map_or_else(|why| format!("NOT WHOLE: {why}"), |bytes| format!("{:.1}", mib(*bytes)));
    println!(
        "{:<26} {:>8} {:>8} {:>9.1} {:>10.1} {:>9}",
        row.who,
        seconds(row.wall),
        seconds(row.usage.cpu),
        mib(row.usage.peak),
        mib(row.bundle),
        logs
    );
    row
}

fn ratios(name: &str, ours: &[Row], theirs: &[Row]) -> String {
    let mut line = format!("{:<26}", format!("operator : {name}"));
    let mut put = |width, of: &dyn Fn(&Row) -> f64| {
        let ratio = median(ours, of) / median(theirs, of);
        let _ = write!(line, " {ratio:>width$.2}");
    };
    put(8, &|row| row.wall.as_secs_f64());
    put(8, &|row| row.usage.cpu.as_secs_f64());
    put(9, &|row| row.usage.peak as f64);
    put(10, &|row| row.bundle as f64);
    line
}

fn median(rows: &[Row], of: &dyn Fn(&Row) -> f64) -> f64 {
    let mut values: Vec<_> = rows.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}
