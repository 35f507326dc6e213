//! A DebugBundle as text for people: the output of `get`, the end of `create --wait`, the rows of `list`. Text from the
//! cluster is escaped for the terminal here, and the URL is shown only on request.

use std::fmt::Write as _;

use debugbundle_crd::{
    Bundle, ConditionType, DebugBundle, DebugBundleStatus, FindingSummary, Phase, Reason, Severity, UrlPolicy,
};
use debugbundle_format::text::{bounded, escape_for_terminal, human_bytes};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;

use super::progress::ProgressSnapshot;

/// The next command to type, for this namespace.
pub(crate) fn command(namespace: &str, verb: &str, name: &str) -> String {
    if namespace == "velero" || namespace.is_empty() {
        format!("kubectl debugbundle {verb} {name}")
    } else {
        format!("kubectl debugbundle -n {namespace} {verb} {name}")
    }
}

/// Quotes a word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:=@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A span of time as kubectl shows ages: `45s`, `3m`, `5h12m`, `3d`.
pub(crate) fn human_duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |a: i64, b: i64, unit: &str, smaller: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{smaller}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, seconds % 60, "m", "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, minutes % 60, "h", "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, hours % 24, "d", "h"),
        _ => format!("{days}d"),
    }
}

fn ago(time: &Time, now: Timestamp) -> String {
    human_duration(now.as_second() - time.0.as_second())
}

fn at(time: &Time) -> String {
    // Whole seconds, as the API server writes times.
    Timestamp::from_second(time.0.as_second()).unwrap_or(time.0).to_string()
}

fn line(text: &str) -> String {
    escape_for_terminal(&bounded(text, 1024)).into_owned()
}

/// The explanation of one DebugBundle.
pub(crate) fn story(bundle: &DebugBundle, show_url: bool, now: Timestamp) -> String {
    let namespace = bundle.namespace().unwrap_or_default();
    let name = bundle.name_any();
    let empty = DebugBundleStatus::default();
    let status = bundle.status.as_ref().unwrap_or(&empty);
    let mut out = Fields(String::new());

    out.field("Name", &format!("{namespace}/{name}"));
    out.field("Target", &target(bundle));
    if bundle.trigger().is_automatic() {
        out.field("Trigger", &format!("{}: the operator created it", bundle.trigger()));
    }
    out.field("Phase", &phase_line(status));
    out.cause(status);
    if let Some(created) = &bundle.metadata.creation_timestamp {
        out.field("Created", &format!("{} ({} ago)", at(created), ago(created, now)));
    }
    out.times(status, now);
    if status.phase.is_none_or(|phase| !phase.is_terminal()) {
        let snapshot = ProgressSnapshot::of_status(Some(status));
        if !snapshot.detail.is_empty() {
            out.field("Progress", &format!("{}: {}", snapshot.headline, snapshot.detail));
        }
    }
    if let Some(upload) = &status.upload
        && let Some(error) = &upload.last_error
    {
        let (label, what) = match status.phase {
            Some(Phase::Collecting) => ("Velero's files", "could not be read, and are tried again"),
            _ => ("Upload", "failed and will be retried"),
        };
        out.field(label, &format!("{what}: {}", line(error)));
    }
    if status.errors.unwrap_or(0) > 0 || status.warnings.unwrap_or(0) > 0 {
        out.field(
            "While collecting",
            &format!("{} errors, {} warnings", status.errors.unwrap_or(0), status.warnings.unwrap_or(0)),
        );
    }
    if let Some(missing) = status.missing {
        out.field("Missing", &missing_line(missing, &namespace, &name));
    }
    if let Some(stored) = &status.bundle {
        out.stored(stored);
        out.field("Download URL", &url_line(bundle, status, show_url, now));
    }
    if let Some(expiration) = &status.expiration {
        let left = human_duration(expiration.0.as_second() - now.as_second());
        out.field("Kept until", &format!("{} ({left} left)", at(expiration)));
    }
    out.findings(status);
    out.conditions(&status.conditions, now);
    out.next(&next_commands(status, &namespace, &name));
    out.0
}

/// The last lines of `create --wait`.
pub(crate) fn ending(bundle: &DebugBundle) -> String {
    let namespace = bundle.namespace().unwrap_or_default();
    let name = bundle.name_any();
    let empty = DebugBundleStatus::default();
    let status = bundle.status.as_ref().unwrap_or(&empty);
    let mut out = Fields(String::new());
    out.field("Phase", &phase_line(status));
    out.cause(status);
    if let Some(stored) = &status.bundle {
        out.field("Size", &format!("{}, {} files", human_bytes(size(stored)), stored.entries));
    }
    if let Some(missing) = status.missing.filter(|missing| *missing > 0) {
        out.field("Missing", &missing_line(missing, &namespace, &name));
    }
    out.next(&next_commands(status, &namespace, &name));
    out.0
}

/// `Restore r1`, or the installation.
pub(crate) fn target(bundle: &DebugBundle) -> String {
    match &bundle.spec.target {
        Some(target) => format!("{} {}", target.kind, line(&target.name)),
        None => "the installation".to_owned(),
    }
}

/// The cause, or that no failure was found; `None` as long as nobody has looked.
pub(crate) fn cause(status: &DebugBundleStatus) -> Option<String> {
    if let Some(cause) = status.cause.as_deref().filter(|cause| !cause.is_empty()) {
        return Some(cause.to_owned());
    }
    match status.phase? {
        Phase::Completed => Some(NO_FAILURE.to_owned()),
        Phase::PartiallyFailed => Some(format!("{NO_FAILURE} in what could be read")),
        Phase::New | Phase::Queued | Phase::Collecting | Phase::Uploading | Phase::Failed => None,
    }
}

fn condition(status: &DebugBundleStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

fn phase_line(status: &DebugBundleStatus) -> String {
    let Some(phase) = status.phase else {
        return "New (no operator has picked it up yet)".to_owned();
    };
    match condition(status, ConditionType::Ready).filter(|ready| !ready.message.is_empty()) {
        Some(ready) => format!("{phase}: {}", line(&ready.message)),
        None => phase.to_string(),
    }
}

fn missing_line(missing: i64, namespace: &str, name: &str) -> String {
    match missing {
        0 => "nothing".to_owned(),
        1 => format!("1 item; why: {} --list", command(namespace, "cat", name)),
        n => format!("{n} items; why: {} --list", command(namespace, "cat", name)),
    }
}

fn size(stored: &Bundle) -> u64 {
    u64::try_from(stored.bytes).unwrap_or(0)
}

/// The end of the URL in status, if it still works at `now`.
pub(crate) fn url_works_until(status: &DebugBundleStatus, now: Timestamp) -> Option<Timestamp> {
    status.download_url.as_ref()?;
    let until = status.download_url_expiration.as_ref()?.0;
    (until > now).then_some(until)
}

fn url_line(bundle: &DebugBundle, status: &DebugBundleStatus, show_url: bool, now: Timestamp) -> String {
    if let Some(until) = url_works_until(status, now) {
        let left = human_duration(until.as_second() - now.as_second());
        let until = format!("works until {} ({left} left)", at(&Time(until)));
        return match status.download_url.as_deref().filter(|_| show_url) {
            Some(url) => format!("{until}\n{}", line_unbounded(url)),
            None => format!("{until}; --url shows it"),
        };
    }
    // Messages of these two reasons explain how to request a URL, which download and cat do by themselves.
    let is_asked_for = |reason: &str| [Reason::OnRequest, Reason::UrlExpired].iter().any(|r| r.as_str() == reason);
    if let Some(refused) = condition(status, ConditionType::DownloadReady)
        .filter(|c| c.status == "False" && !c.message.is_empty() && !is_asked_for(&c.reason))
    {
        return format!("none: {}", line(&refused.message));
    }
    match bundle.spec.download_url.policy {
        UrlPolicy::Never => "none: the policy is Never".to_owned(),
        UrlPolicy::OnCompletion | UrlPolicy::OnRequest => "none now; download and cat request one".to_owned(),
    }
}

fn line_unbounded(text: &str) -> String {
    escape_for_terminal(text).into_owned()
}

fn next_commands(status: &DebugBundleStatus, namespace: &str, name: &str) -> Vec<String> {
    match status.phase {
        Some(Phase::Completed | Phase::PartiallyFailed) => {
            vec![
                format!("{} summary.md", command(namespace, "cat", name)),
                command(namespace, "open", name),
                command(namespace, "download", name),
            ]
        }
        Some(Phase::Failed) => vec![format!("kubectl -n {namespace} describe debugbundle {name}")],
        _ => vec![format!("kubectl -n {namespace} wait --for=condition=Ready --timeout=30m debugbundle/{name}")],
    }
}

/// Said of a target that has no cause.
const NO_FAILURE: &str = "No failure was found";

/// The finding whose title is the cause.
fn of_cause(status: &DebugBundleStatus) -> Option<&FindingSummary> {
    let first = status.findings.iter().find(|finding| finding.severity == Severity::Error);
    first.filter(|_| status.cause.is_some())
}

/// The text so far; what it says already is not repeated.
struct Fields(String);

impl Fields {
    fn field(&mut self, name: &str, value: &str) {
        let mut label = format!("{name}:");
        for part in value.lines() {
            let _ = writeln!(self.0, "{label:<18}{part}");
            label.clear();
        }
    }

    /// The cause as its finding has it: that of the status may be cut.
    fn cause(&mut self, status: &DebugBundleStatus) {
        let Some(cause) = cause(status) else { return };
        let whole = of_cause(status).map_or(cause.as_str(), |finding| finding.title.as_str());
        self.field("Cause", &line(whole));
        if let Some(confidence) = status.confidence {
            self.field("Confidence", &format!("{}: {}", confidence.as_str(), confidence.meaning()));
        }
    }

    fn times(&mut self, status: &DebugBundleStatus, now: Timestamp) {
        let Some(start) = &status.start_timestamp else {
            return;
        };
        let attempts = match status.attempts.unwrap_or(1) {
            0 | 1 => String::new(),
            n => format!(", attempt {n}"),
        };
        self.field("Started", &format!("{}{attempts}", at(start)));
        match &status.completion_timestamp {
            Some(end) => {
                let took = human_duration(end.0.as_second() - start.0.as_second());
                self.field("Ended", &format!("{} ({} ago, took {took})", at(end), ago(end, now)));
            }
            None => self.field("Running for", &ago(start, now)),
        }
    }

    fn stored(&mut self, stored: &Bundle) {
        self.field("Size", &format!("{}, {} files", human_bytes(size(stored)), stored.entries));
        self.field("Stored in", &line(&format!("{}: {}/{}", stored.storage_location, stored.bucket, stored.key)));
        self.field("SHA-256", &line(&stored.sha256));
    }

    fn findings(&mut self, status: &DebugBundleStatus) {
        if status.findings.is_empty() {
            return;
        }
        let cause = of_cause(status);
        self.0.push_str("\nFindings:\n");
        for finding in &status.findings {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            };
            let title = if Some(finding) == cause { "the cause".to_owned() } else { line(&finding.title) };
            let _ = writeln!(self.0, "  [{severity}] {title} ({})", line(&finding.id));
            let evidence = Some(&finding.evidence).filter(|evidence| !finding.title.contains(evidence.as_str()));
            for part in std::iter::once(&finding.object).chain(evidence).filter(|part| !part.is_empty()) {
                let _ = writeln!(self.0, "      {}", line(part));
            }
        }
    }

    fn conditions(&mut self, conditions: &[Condition], now: Timestamp) {
        let rows: Vec<Vec<String>> = conditions
            .iter()
            .filter(|condition| condition.message.is_empty() || !self.0.contains(&line(&condition.message)))
            .map(|condition| {
                vec![
                    format!("  {}", line(&condition.type_)),
                    line(&condition.status),
                    line(&condition.reason),
                    ago(&condition.last_transition_time, now),
                    line(&condition.message),
                ]
            })
            .collect();
        if rows.is_empty() {
            return;
        }
        self.0.push_str("\nConditions:\n");
        let head = ["  TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"].map(str::to_owned).to_vec();
        self.0.push_str(&table(head, rows.into_iter()));
    }

    fn next(&mut self, commands: &[String]) {
        self.0.push_str("\nNext:\n");
        for command in commands {
            let _ = writeln!(self.0, "  {command}");
        }
    }
}

/// The columns of a list, those of kubectl's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Adds the columns of kubectl's `-o wide`, and the cause in full.
    pub wide: bool,
    /// Puts the namespace first.
    pub namespace: bool,
}

/// A table of DebugBundles.
pub(crate) fn list(bundles: &[DebugBundle], columns: Columns, now: Timestamp) -> String {
    let mut head = vec!["NAME", "KIND", "TARGET", "TRIGGER", "PHASE", "CAUSE", "SIZE"];
    if columns.namespace {
        head.insert(0, "NAMESPACE");
    }
    if columns.wide {
        head.extend(["CONFIDENCE", "PROGRESS", "MISSING", "LOCATION", "URL UNTIL", "EXPIRES"]);
    }
    head.push("AGE");
    let rows = bundles.iter().map(|bundle| row(bundle, columns, now));
    table(head.into_iter().map(str::to_owned).collect(), rows)
}

fn row(bundle: &DebugBundle, columns: Columns, now: Timestamp) -> Vec<String> {
    let status = bundle.status.as_ref();
    let stored = status.and_then(|status| status.bundle.as_ref());
    let target = bundle.spec.target.as_ref();
    let mut cells = Vec::with_capacity(15);
    if columns.namespace {
        cells.push(bundle.namespace().unwrap_or_default());
    }
    cells.push(bundle.name_any());
    cells.push(target.map(|target| target.kind.to_string()).unwrap_or_default());
    cells.push(target.map(|target| target.name.clone()).unwrap_or_default());
    cells.push(bundle.trigger().to_string());
    cells.push(status.and_then(|status| status.phase).unwrap_or(Phase::New).to_string());
    let brief = status.and_then(|status| status.cause_brief.clone()).filter(|_| !columns.wide);
    cells.push(brief.or_else(|| status.and_then(cause)).unwrap_or_default());
    cells.push(stored.map(|stored| human_bytes(size(stored))).unwrap_or_default());
    if columns.wide {
        let time = |time: Option<&Time>| time.map(at).unwrap_or_default();
        cells.push(status.and_then(|s| s.confidence).map(|sure| sure.as_str().to_owned()).unwrap_or_default());
        cells.push(status.and_then(|s| s.progress.as_ref()).map(|p| p.message.clone()).unwrap_or_default());
        cells.push(status.and_then(|s| s.missing).map(|n| n.to_string()).unwrap_or_default());
        cells.push(stored.map(|stored| stored.storage_location.clone()).unwrap_or_default());
        cells.push(time(status.and_then(|s| s.download_url_expiration.as_ref())));
        cells.push(time(status.and_then(|s| s.expiration.as_ref())));
    }
    cells.push(bundle.metadata.creation_timestamp.as_ref().map(|time| ago(time, now)).unwrap_or_default());
    cells.iter().map(|cell| line(cell)).collect()
}

/// Columns aligned with three blanks between them, as kubectl does; an empty cell is `<none>`.
pub(crate) fn table(head: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines = vec![head];
    lines.extend(rows.map(|row| {
        row.into_iter().map(|cell| if cell.trim().is_empty() { "<none>".to_owned() } else { cell }).collect()
    }));
    let count = lines[0].len();
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            lines.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in &lines {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}   ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "tests read better with the value in place")]
    pub(crate) fn bundle(status: serde_json::Value) -> DebugBundle {
        serde_json::from_value(json!({
            "apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundle",
            "metadata": {
                "name": "restore-r1-1a2b", "namespace": "velero-2", "uid": "0f3c9d11-6f0e-4a55-9c1c-2b8f6f1f7f10",
                "creationTimestamp": "2026-09-08T03:04:10Z",
            },
            "spec": {"target": {"kind": "Restore", "name": "r1"}},
            "status": status,
        }))
        .unwrap()
    }

    pub(crate) fn stored() -> serde_json::Value {
        json!({
            "phase": "PartiallyFailed",
            "cause": "PVR r1-ltc6t waits for pod shop/shop-0: Multi-Attach error\u{1b}[31m", "confidence": "certain",
            "startTimestamp": "2026-09-08T03:04:12Z", "completionTimestamp": "2026-09-08T03:04:31Z",
            "expiration": "2026-10-08T03:04:31Z", "missing": 2, "errors": 1, "warnings": 0, "attempts": 2,
            "downloadURL": "https://s3.example/b/k.tar.gz?X-Amz-Signature=geheim",
            "downloadURLExpiration": "2026-09-08T04:04:31Z",
            "bundle": {
                "storageLocation": "default", "bucket": "b", "key": "plugins/debugbundle/restore-r1/x.tar.gz",
                "bytes": 2_097_152, "size": "2.1 MB", "sha256": "ab".repeat(32), "entries": 208,
                "manifestOffset": 64, "manifestLength": 100,
            },
            "findings": [{
                "id": "data-held-up", "severity": "error", "object": "PodVolumeRestore/velero-2/r1-ltc6t",
                "title": "PVR r1-ltc6t waits for pod shop/shop-0: Multi-Attach error\u{1b}[31m for volume \"pvc-1\"",
                "evidence": "Multi-Attach error\u{1b}[31m for volume \"pvc-1\"", "confidence": "certain",
            }, {
                "id": "results-warning", "severity": "warning", "title": "pods shop-1: exists already",
                "object": "Restore/velero-2/r1", "evidence": "error: /exists already",
            }],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "PartiallyCollected", "message": "stored, 2 items are missing",
                "lastTransitionTime": "2026-09-08T03:04:31Z",
            }, {
                "type": "Uploaded", "status": "True", "reason": "Uploaded", "message": "in default",
                "lastTransitionTime": "2026-09-08T03:04:31Z",
            }],
        })
    }

    fn now() -> Timestamp {
        "2026-09-08T03:07:31Z".parse().unwrap()
    }

    #[test]
    fn the_story_of_a_stored_bundle() {
        let text = story(&bundle(stored()), false, now());
        assert_eq!(
            text,
            "\
Name:             velero-2/restore-r1-1a2b
Target:           Restore r1
Phase:            PartiallyFailed: stored, 2 items are missing
Cause:            PVR r1-ltc6t waits for pod shop/shop-0: Multi-Attach error[31m for volume \"pvc-1\"
Confidence:       certain: each step to the cause was read
Created:          2026-09-08T03:04:10Z (3m21s ago)
Started:          2026-09-08T03:04:12Z, attempt 2
Ended:            2026-09-08T03:04:31Z (3m ago, took 19s)
While collecting: 1 errors, 0 warnings
Missing:          2 items; why: kubectl debugbundle -n velero-2 cat restore-r1-1a2b --list
Size:             2.1 MB, 208 files
Stored in:        default: b/plugins/debugbundle/restore-r1/x.tar.gz
SHA-256:          abababababababababababababababababababababababababababababababab
Download URL:     works until 2026-09-08T04:04:31Z (57m left); --url shows it
Kept until:       2026-10-08T03:04:31Z (29d left)

Findings:
  [error] the cause (data-held-up)
      PodVolumeRestore/velero-2/r1-ltc6t
  [warning] pods shop-1: exists already (results-warning)
      Restore/velero-2/r1
      error: /exists already

Conditions:
  TYPE       STATUS   REASON     SINCE   MESSAGE
  Uploaded   True     Uploaded   3m      in default

Next:
  kubectl debugbundle -n velero-2 cat restore-r1-1a2b summary.md
  kubectl debugbundle -n velero-2 open restore-r1-1a2b
  kubectl debugbundle -n velero-2 download restore-r1-1a2b
"
        );
    }

    #[test]
    fn sec_u2_the_url_is_shown_only_when_asked_for_and_alive() {
        let bundle = bundle(stored());
        assert!(!story(&bundle, false, now()).contains("geheim"));
        assert!(!ending(&bundle).contains("geheim"));
        assert!(story(&bundle, true, now()).contains("X-Amz-Signature=geheim"));
        let late = story(&bundle, true, "2026-09-08T05:00:00Z".parse().unwrap());
        assert!(!late.contains("geheim") && late.contains("none now"), "{late}");
    }

    #[test]
    fn an_untouched_and_a_running_bundle_tell_what_is_known() {
        let untouched = story(&bundle(json!(null)), false, now());
        assert!(untouched.contains("New (no operator has picked it up yet)"), "{untouched}");
        assert!(untouched.contains("kubectl -n velero-2 wait --for=condition=Ready"), "{untouched}");
        let running = story(
            &bundle(json!({
                "phase": "Uploading", "startTimestamp": "2026-09-08T03:04:12Z",
                "progress": {"stage": "Upload", "itemsDone": 9, "itemsTotal": 9, "bytes": 1000, "bytesTotal": 4000, "message": ""},
                "upload": {"lastError": "connection refused"},
            })),
            false,
            now(),
        );
        assert!(running.contains("Progress:         Uploading: sending: 1.0 kB of 4.0 kB\n"), "{running}");
        assert!(running.contains("Upload:           failed and will be retried: connection refused\n"), "{running}");
        assert!(running.contains("Running for:      3m19s\n"), "{running}");
    }

    #[test]
    fn a_failed_bundle_says_why() {
        let text = ending(&bundle(json!({
            "phase": "Failed",
            "conditions": [{"type": "Ready", "status": "False", "reason": "TargetNotFound", "message": "Restore r1 not found",
                "lastTransitionTime": "2026-09-08T03:04:31Z"}],
        })));
        assert!(text.starts_with("Phase:            Failed: Restore r1 not found\n"), "{text}");
    }

    #[test]
    fn lists_look_as_kubectl_prints_them() {
        let mut installation = bundle(json!({"phase": "Queued"}));
        installation.spec.target = None;
        let bundles = [bundle(stored()), installation];
        let narrow = list(&bundles, Columns { wide: false, namespace: false }, now());
        assert_eq!(
            narrow,
            "\
NAME              KIND      TARGET   TRIGGER   PHASE             CAUSE                                                            SIZE     AGE
restore-r1-1a2b   Restore   r1       Request   PartiallyFailed   PVR r1-ltc6t waits for pod shop/shop-0: Multi-Attach error[31m   2.1 MB   3m21s
restore-r1-1a2b   <none>    <none>   Request   Queued            <none>                                                           <none>   3m21s
"
        );
        let wide = list(&bundles, Columns { wide: true, namespace: true }, now());
        assert!(wide.starts_with("NAMESPACE   NAME "), "{wide}");
        assert!(wide.contains("2026-09-08T04:04:31Z   2026-10-08T03:04:31Z   3m21s"), "{wide}");
    }

    #[test]
    fn issue_34_where_no_failure_was_found_lists_and_ends_say_so() {
        let text = |phase: &str| {
            let of = bundle(json!({"phase": phase}));
            (ending(&of), list(&[of], Columns { wide: false, namespace: false }, now()))
        };
        for (phase, expected) in
            [("Completed", "No failure was found"), ("PartiallyFailed", "No failure was found in what could be read")]
        {
            let (ended, listed) = text(phase);
            assert!(ended.contains(&format!("Cause:            {expected}\n")), "{ended}");
            assert!(listed.contains(&format!("{phase}   {expected}   ")), "{listed}");
        }
        for phase in ["Failed", "Collecting"] {
            let (ended, listed) = text(phase);
            assert!(!ended.contains("No failure") && !listed.contains("No failure"), "{ended}{listed}");
        }
    }

    #[test]
    fn ages_are_kubectls() {
        for (seconds, text) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (201, "3m21s"),
            (600, "10m"),
            (10_800, "3h"),
            (18_720, "5h12m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
