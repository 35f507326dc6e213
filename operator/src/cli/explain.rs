//! `explain`: the cause of a Backup's or Restore's trouble, or of Velero's own, on the screen, read from the live cluster
//! with the user's own rights, or from a file. If a DebugBundle about the Backup or Restore exists, its cause comes first: Events and pods
//! may be gone by now.

use std::{fmt::Write as _, fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use debugbundle_crd::{CauseConfidence, DebugBundle, TargetKind};
use debugbundle_diagnosis::{Id, Kind};
use debugbundle_format::text::{bounded, escape_for_terminal, is_bounded_form};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::{
    args::{DocumentFormat, Explain},
    document, engine,
    exit::{CliError, Exit},
    list,
};
use crate::{
    diagnose::{DiagnosisDocument, EarlierDiagnosis, Finding, LiveFacts, reference},
    explain::{Explained, Reader, explain},
    offline::{OfflineError, Wish, examine},
    report,
};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(5);
/// Most causes beside the first one that are printed.
const FURTHER: usize = 5;
/// Longest line that is printed (bytes).
const LINE: usize = 1024;

/// Explains once, or again and again until the target has ended.
pub(crate) async fn run(
    args: &Explain,
    namespace: &str,
    connect: impl AsyncFnOnce() -> Result<Client, CliError>,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    if let Some(file) = &args.file {
        return of_file(args, file, out);
    }
    let client = connect().await?;
    let of_kind = |kind: TargetKind, name: &str| Id::new(Kind::of(kind.as_str()), namespace, name);
    let target = match (&args.restore, &args.backup) {
        (Some(name), _) => of_kind(TargetKind::Restore, name),
        (None, Some(name)) => of_kind(TargetKind::Backup, name),
        (None, None) => Id::installation(namespace),
    };
    let mut shown = (String::new(), String::new());
    loop {
        // A reader keeps the store open; its credential may have changed since the last look.
        let reader = Reader::new(client.clone(), engine::of_user(client.clone(), namespace), namespace);
        let explained = explain(&reader, &target).await.map_err(CliError::failed)?;
        let explained = explained.ok_or_else(|| {
            let (kind, name) = (target.kind.as_str(), &target.name);
            CliError::new(Exit::NotFound, format!("there is no {kind} {name} in namespace {namespace}"))
                .hint("Velero's namespace is set with -n")
        })?;
        let is_over = explained.has_ended();
        let earlier = if args.live || !is_over { None } else { earlier(&client, namespace, &explained.target).await };
        let text = match args.output {
            Some(format) => document(&machine(&explained, earlier.clone()), format == DocumentFormat::Json)?,
            None => story(&explained, earlier.as_ref(), Some(namespace)),
        };
        if !args.watch || is_over {
            out.write_all(text.as_bytes()).map_err(CliError::stdout)?;
            return Ok(Exit::Done);
        }
        let progress = format!("{}\n", headline(&explained));
        let cause = explained.causes().first().map(|first| first.title.clone()).unwrap_or_default();
        // The whole explanation again only if the cause is another one.
        if shown.1 != cause {
            out.write_all(text.as_bytes()).map_err(CliError::stdout)?;
        } else if shown.0 != progress {
            out.write_all(progress.as_bytes()).map_err(CliError::stdout)?;
        }
        out.flush().map_err(CliError::stdout)?;
        shown = (progress, cause);
        tokio::time::sleep(EVERY).await;
    }
}

/// Explains what a file contains.
fn of_file(args: &Explain, file: &Path, out: &mut impl Write) -> Result<Exit, CliError> {
    let wish = match (&args.restore, &args.backup) {
        (Some(name), _) => Wish::Target(TargetKind::Restore, name.clone()),
        (None, Some(name)) => Wish::Target(TargetKind::Backup, name.clone()),
        (None, None) => Wish::Own,
    };
    let examined = examine(file, &wish).map_err(|error| {
        let exit = match error {
            OfflineError::NotFound(_) | OfflineError::NoTarget { .. } => Exit::NotFound,
            _ => Exit::Failed,
        };
        CliError::new(exit, error.to_string())
    })?;
    let explained = &examined.explained;
    if let Some(page) = &args.report {
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(page);
        let written = written.and_then(|mut to| to.write_all(examined.page().as_bytes()));
        written.map_err(|error| CliError::caused(format_args!("cannot write {}", page.display()), &error))?;
    }
    let text = if let Some(format) = args.output {
        document(&machine(explained, None), format == DocumentFormat::Json)?
    } else {
        let source = format!("{}, {}, of {}", file.display(), examined.form.words(), explained.read_at);
        format!("{}\n{}", shown(&source), story(explained, None, None))
    };
    out.write_all(text.as_bytes()).map_err(CliError::stdout)?;
    Ok(Exit::Done)
}

/// The cause in the newest DebugBundle about this object; none if it has none, or DebugBundles cannot be read.
async fn earlier(client: &Client, namespace: &str, target: &Value) -> Option<EarlierDiagnosis> {
    let api: Api<DebugBundle> = Api::namespaced(client.clone(), namespace);
    let name = target["metadata"]["name"].as_str();
    let (restore, backup) = if target["kind"] == "Restore" { (name, None) } else { (None, name) };
    // An older one is about another object of the same name.
    let since = target["metadata"]["creationTimestamp"].as_str()?.parse().ok()?;
    let all = list::read_all(&api).await.ok()?.into_iter();
    let about = all.filter(|bundle| list::is_about(bundle, restore, backup));
    let explained = about.filter_map(|bundle| {
        let at = bundle.creation_timestamp().filter(|at| at.0 >= since)?;
        let status = bundle.status.clone()?;
        let at_text = status.completion_timestamp.as_ref().unwrap_or(&at).0.to_string();
        let (debug_bundle, cause) = (bundle.name_any(), status.cause?);
        let found = EarlierDiagnosis { debug_bundle, seen_at: at_text, cause, confidence: status.confidence };
        Some((at, found))
    });
    explained.max_by_key(|(at, _)| at.clone()).map(|(_, found)| found)
}

/// `Restore r1 is InProgress for 14 min: 3 of 40 items, 0 of 1 volumes`, or
/// `Velero in namespace velero: server 1 of 1 ready, no node-agent, 2 locations available, no repository`.
fn headline(explained: &Explained) -> String {
    let metadata = &explained.target["metadata"];
    if let Some(parts) = &explained.chain.parts {
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        return shown(&format!("Velero in namespace {namespace}: {}", parts.words()));
    }
    let kind = explained.target["kind"].as_str().unwrap_or_default();
    let name = metadata["name"].as_str().unwrap_or_default();
    let stands = debugbundle_diagnosis::stands(&explained.target, explained.read_at);
    let progress = if explained.has_ended() { String::new() } else { explained.progress.words() };
    let progress = if progress.is_empty() { progress } else { format!(": {progress}") };
    shown(&format!("{kind} {name} is {stands}{progress}"))
}

/// The explanation in plain text.
/// `namespace`: Velero's in the live cluster, where the evidence can still be kept.
fn story(explained: &Explained, earlier: Option<&EarlierDiagnosis>, namespace: Option<&str>) -> String {
    let mut text = format!("{}\n\n", headline(explained));
    let mut say = |line: &str| {
        let _ = writeln!(text, "{}", shown(line));
    };
    let causes = explained.causes();
    let now = causes.first().map(|first| first.title.as_str());
    if let Some(earlier) = earlier {
        let sure = earlier.confidence.map(|sure| format!(" ({})", sure.as_str())).unwrap_or_default();
        say(&format!("As seen {} by DebugBundle {}{sure}:", earlier.seen_at, earlier.debug_bundle));
        say(&format!("  {}", earlier.cause));
        say("");
        match &now {
            None => say("Now nothing of it is to be seen: pods and Events of then may be gone."),
            Some(now) if is_bounded_form(&earlier.cause, now) => say("Now:  the same."),
            Some(_) => say("Now:"),
        }
    }
    match (causes.first(), earlier) {
        (Some(cause), _) => {
            say(&format!("Cause ({}):", cause.confidence.unwrap_or(CauseConfidence::Unknown).as_str()));
            say(&format!("  {}", cause.title));
            if !cause.alike.is_empty() {
                say(&format!("  Like it: {}", report::listed(&cause.alike)));
            }
            say("");
            for line in report::tree(&explained.chain.steps) {
                say(&format!("  {line}"));
            }
        }
        (None, Some(_)) => {}
        (None, None) if !explained.unread.is_empty() => say("No failure was found in what could be read."),
        (None, None) if explained.has_ended() && explained.phase() != Some("Completed") => {
            say("Nothing that was read says why.");
        }
        (None, None) if explained.has_ended() || explained.chain.parts.is_some() => {
            match explained.chain.made.join(", ").as_str() {
                "" => say("No failure was found."),
                made => say(&format!("No failure was found: {made}.")),
            }
        }
        (None, None) => say("No failure was found: it is under way."),
    }
    if let Some(Finding { remedy, commands, .. }) = causes.first() {
        say("");
        say("What to do:");
        say(&format!("  {remedy}"));
        for command in commands {
            let word = if command.changes() { "  # changes the cluster" } else { "" };
            say(&format!("  {command}{word}"));
        }
    }
    for (heading, findings) in [("Also:", causes.get(1..).unwrap_or_default()), ("Worth knowing:", explained.further())]
    {
        if findings.is_empty() {
            continue;
        }
        say("");
        say(heading);
        for finding in findings.iter().take(FURTHER) {
            say(&format!("  {}", finding.title));
        }
        if findings.len() > FURTHER {
            say(&format!("  and {} more", findings.len() - FURTHER));
        }
    }
    say("");
    let checked = explained.chain.looked_at.iter().map(|(kind, number)| format!("{kind} {number}"));
    say(&format!("Looked at: {}", checked.collect::<Vec<_>>().join(", ")));
    for why in &explained.unread {
        say(&format!("Not read:  {why}"));
    }
    if let Some(namespace) = namespace.filter(|_| !causes.is_empty() && earlier.is_none()) {
        let place = if namespace == "velero" { String::new() } else { format!(" -n {namespace}") };
        let kind = explained.target["kind"].as_str().unwrap_or_default().to_lowercase();
        let name = explained.target["metadata"]["name"].as_str();
        let target = name.map(|name| format!(" --{kind} {name}")).unwrap_or_default();
        say("");
        say(&format!("Keep the evidence: kubectl debugbundle{place} create{target}"));
    }
    text
}

/// The explanation for programs.
fn machine(explained: &Explained, earlier: Option<EarlierDiagnosis>) -> DiagnosisDocument<'_> {
    let chain = &explained.chain;
    let first = explained.causes().first();
    let is_target = chain.parts.is_none();
    DiagnosisDocument {
        schema_version: 1,
        target: is_target.then(|| reference(&explained.target)),
        phase: explained.phase(),
        cause: first.map(|first| first.title.as_str()),
        confidence: first.and_then(|first| first.confidence),
        tree: &chain.steps,
        findings: &chain.findings,
        progress: is_target.then_some(&explained.progress),
        parts: chain.parts.as_ref(),
        looked_at: &chain.looked_at,
        live: Some(LiveFacts { read_at: explained.read_at.to_string(), not_read: &explained.unread, earlier }),
    }
}

/// Foreign text, safe for a terminal.
fn shown(line: &str) -> String {
    escape_for_terminal(&bounded(line, LINE)).into_owned()
}
