//! `collect`: makes a bundle without the operator, by the same engine, with the user's own permissions, into a local
//! file. The program passes the engine in; this file turns flags into its request and prints its outcome.

use std::{
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use debugbundle_crd::{DebugBundleSpec, FindingSummary, Phase, Progress, Severity};
use debugbundle_format::text::{bounded, escape_for_terminal, human_bytes};
use jiff::Timestamp;
use kube::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    args::Collect,
    create, display,
    download::{publish, refuse_to_replace, target},
    exit::{CliError, Exit, chain},
    progress::{Meter, ProgressSnapshot},
};

/// The engine's input.
#[derive(Clone)]
pub struct Request {
    /// The user's own client.
    pub client: Client,
    /// Velero's namespace.
    pub namespace: String,
    /// The spec that says what to collect; its storageLocation and downloadURL are ignored.
    pub spec: DebugBundleSpec,
    /// The file to write. It must appear complete or not at all: see [`publish`](Self::publish).
    pub output: PathBuf,
    /// Whether to replace an existing file.
    pub force: bool,
    /// Called on every change of progress; returns at once.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
    /// Cancelled when the user stops the program.
    pub cancel: CancellationToken,
}

impl Request {
    /// Moves the finished file, which lies on the same file system, to its final name.
    ///
    /// # Errors
    /// If another file has that name (it may have appeared meanwhile) and `force` is not set.
    pub fn publish(&self, whole: &Path) -> Result<(), EngineError> {
        Ok(publish(whole, &self.output, self.force)?)
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("namespace", &self.namespace)
            .field("spec", &self.spec)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

/// The engine's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Completed or PartiallyFailed.
    pub phase: Phase,
    /// First line of the diagnosis.
    pub cause: Option<String>,
    /// The findings, most severe first.
    pub findings: Vec<FindingSummary>,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Files in the archive.
    pub entries: u64,
    /// Items that were planned and are not in the archive.
    pub missing: u64,
}

/// Any error of the engine; it is printed with its sources.
pub type EngineError = Box<dyn std::error::Error + Send + Sync>;

/// Collects, then prints the findings and the file's path.
pub(crate) async fn run(
    args: &Collect,
    namespace: &str,
    client: Client,
    now: Timestamp,
    engine: impl AsyncFnOnce(Request) -> Result<Summary, EngineError>,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let spec = create::spec(&args.target, &args.content);
    let output = target(args.output.as_deref(), &default_name(&spec, now));
    refuse_to_replace(&output, args.force)?;
    let meter = Arc::new(Mutex::new(Meter::steps()));
    let shown = Arc::clone(&meter);
    let cancel = CancellationToken::new();
    let request = Request {
        client,
        namespace: namespace.to_owned(),
        spec,
        output: output.clone(),
        force: args.force,
        progress: Arc::new(move |progress| {
            let snapshot = ProgressSnapshot::of_progress(Phase::Collecting.as_str(), &progress);
            shown.lock().unwrap_or_else(PoisonError::into_inner).show(&snapshot);
        }),
        cancel: cancel.clone(),
    };
    let mut stop = Stop::listen()?;
    let ended = {
        let mut work = std::pin::pin!(engine(request));
        loop {
            tokio::select! {
                ended = &mut work => break ended,
                () = stop.asked() => {
                    if cancel.is_cancelled() {
                        return Err(CliError::new(Exit::Interrupted, "interrupted"));
                    }
                    cancel.cancel();
                    meter.lock().unwrap_or_else(PoisonError::into_inner).note(AGAIN);
                }
            }
        }
    };
    drop(meter);
    match ended {
        Ok(summary) => {
            out.write_all(report(&summary, &output.display().to_string()).as_bytes()).map_err(CliError::stdout)?;
            Ok(Exit::of_phase(summary.phase))
        }
        Err(_) if cancel.is_cancelled() => Err(CliError::new(Exit::Interrupted, "interrupted; no bundle was made")),
        Err(error) => Err(CliError::failed(format!("no bundle was made: {}", chain(&*error)))),
    }
}

/// The signals by which a user stops the program: Ctrl-C, `kill`, a closed terminal. After each, everything collected
/// so far is removed.
struct Stop([Signal; 3]);

impl Stop {
    fn listen() -> Result<Self, CliError> {
        let open = |kind| signal(kind).map_err(|error| CliError::caused("signals cannot be received", &error));
        Ok(Self([open(SignalKind::interrupt())?, open(SignalKind::terminate())?, open(SignalKind::hangup())?]))
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Printed after the first signal.
const AGAIN: &str = "stopping; send the signal again (Ctrl-C) to stop at once";

/// `debugbundle-<kind>-<target>-<time>.tar.gz`.
fn default_name(spec: &DebugBundleSpec, now: Timestamp) -> String {
    let about = match &spec.target {
        Some(target) => format!("{}-{}", target.kind.as_str().to_ascii_lowercase(), bounded_name(&target.name)),
        None => "installation".to_owned(),
    };
    format!("debugbundle-{about}-{}.tar.gz", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// A file name has at most 255 bytes, including the suffix `.partial`.
fn bounded_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(190)]
}

fn report(summary: &Summary, path: &str) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "{:<10}{}", format!("{name}:"), escape_for_terminal(&bounded(value, 1024)));
    };
    field("Phase", summary.phase.as_str());
    if let Some(cause) = &summary.cause {
        field("Cause", cause);
    }
    for finding in summary.findings.iter().filter(|finding| finding.severity != Severity::Info).take(5) {
        field("Finding", &format!("{} {}", finding.title, finding.object));
    }
    field("File", path);
    field("Size", &format!("{}, {} files, sha256 {}", human_bytes(summary.bytes), summary.entries, summary.sha256));
    let again = format!("kubectl debugbundle cat --file {}", display::quoted(path));
    if summary.missing > 0 {
        field("Missing", &format!("{} items; why: {again} --list", summary.missing));
    }
    field("Next", &format!("{again} summary.md"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::cli::stand::client_of_nothing;
    use clap::Parser as _;

    fn args(line: &str) -> Collect {
        let words = ["kubectl-debugbundle", "collect"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Collect(collect) => collect,
            other => panic!("{other:?}"),
        }
    }

    fn now() -> Timestamp {
        "2026-09-08T03:07:31Z".parse().unwrap()
    }

    fn summary() -> Summary {
        Summary {
            phase: Phase::PartiallyFailed,
            cause: Some("the pod\u{1b}[2J hangs".to_owned()),
            findings: Vec::new(),
            bytes: 2_097_152,
            sha256: "ab".to_owned(),
            entries: 20,
            missing: 3,
        }
    }

    #[tokio::test]
    async fn the_engine_is_asked_for_what_the_flags_say_and_its_outcome_told() {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("--restore r1 --namespaces shop --timeout 2m -o {}/", dir.path().display());
        let mut out = Vec::new();
        let expected = dir.path().join("debugbundle-restore-r1-20260908T030731Z.tar.gz");
        let engine = async |request: Request| {
            assert_eq!(request.namespace, "velero");
            assert_eq!(request.output, expected);
            assert_eq!(request.spec.target.as_ref().unwrap().name, "r1");
            assert_eq!((request.spec.timeout.as_str(), request.spec.namespaces.len()), ("2m", 1));
            (request.progress)(Progress::default());
            Ok(summary())
        };
        let exit = run(&args(&line), "velero", client_of_nothing(), now(), engine, &mut out).await.unwrap();
        assert_eq!(exit, Exit::PartiallyFailed);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("Cause:    the pod[2J hangs\n") && text.contains("Missing:  3 items;"), "{text}");
    }

    #[tokio::test]
    async fn a_file_that_exists_is_not_replaced_and_the_engine_not_started() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = format!("-o {}", file.path().display());
        let engine = async |_: Request| -> Result<Summary, EngineError> { panic!("started") };
        let error = run(&args(&line), "velero", client_of_nothing(), now(), engine, &mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
    }

    #[tokio::test]
    async fn an_error_of_the_engine_is_told_with_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("-o {}/x", dir.path().display());
        let engine = async |_: Request| Err(std::io::Error::other("no Velero in namespace velero").into());
        let error = run(&args(&line), "velero", client_of_nothing(), now(), engine, &mut Vec::new()).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert_eq!(error.to_string(), "no bundle was made: no Velero in namespace velero");
    }
}
