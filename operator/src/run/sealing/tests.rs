//! What happens to a bundle in which the check finds something: it loses lines, rows, objects, at most files, and is sent
//! all the same. `selfcheck` tests the check itself, `tests/it` a whole operator with a broken rule.

use std::{collections::BTreeMap, io::Read as _, path::PathBuf};

use debugbundle_format::manifest::{ManifestView, Missing, MissingCode, MissingSeverity, SourceKind};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    collect::Collected,
    diagnose::{CauseStep, Diagnosis, Evidence, FindingKind, Proof},
    discovery::fixture,
    plan::TimeWindow,
    run::{Origin, final_state::FinalState},
};

/// Known only to the check, as if the rule that masks it were broken.
const VALUE: &str = "the-known-value-of-old";
/// A text that was cut: the check alone lets it pass.
const CUT: &str = "it said the-known-valu";

/// A `Sealing` with a fresh folder, which is returned too.
fn sealing() -> (tempfile::TempDir, Sealing) {
    let tmp = tempfile::tempdir().expect("a folder");
    let subject = Subject {
        name: "b".to_owned(),
        namespace: "keep".to_owned(),
        uid: "11111111-2222-3333-4444-555555555555".to_owned(),
        attempt: 1,
        asked: jiff::Timestamp::UNIX_EPOCH,
        origin: Origin::Request,
        target_uid: None,
        spec: serde_json::from_value(serde_json::json!({})).expect("a spec"),
        recorded_key: None,
    };
    let sealing = Sealing {
        subject,
        place: ObjectAddress::default(),
        version: "0".to_owned(),
        spool: Spool::create(tmp.path(), 1 << 30).expect("a spool"),
        redactor: Arc::new(Redactor::of_known(Vec::new())),
        own: Arc::new(Redactor::of_known(Vec::new())),
        detector: Detector::new([("known-secret-key", VALUE)]),
        metrics: crate::metrics::Metrics::default(),
    };
    (tmp, sealing)
}

fn found(entries: Vec<Entry>, diagnosis: Diagnosis) -> RunResult {
    let now = Timestamp::now();
    let collected = Collected {
        wanted: entries.len(),
        entries,
        missing: Vec::new(),
        empty: Vec::new(),
        trimmed: Vec::new(),
        evidence: Evidence::default(),
        started: now,
        finished: now,
    };
    RunResult {
        started: now,
        snapshot: fixture::snapshot(),
        window: TimeWindow::default(),
        wanted: collected.wanted,
        permissions: Vec::new(),
        collected,
        diagnosis,
        ms: [0; 3],
        closing: FinalState::default(),
        log: Vec::new(),
    }
}

fn finding(kind: FindingKind, title: &str, proof: &str) -> Finding {
    let evidence = vec![Proof { path: "a/log".to_owned(), line: None, text: proof.to_owned(), around: Vec::new() }];
    let (title, object, remedy) = (title.to_owned(), "Pod/shop/db-0".to_owned(), String::new());
    let (severity, commands, alike) = (kind.severity(), Vec::new(), vec![proof.to_owned()]);
    Finding { kind, severity, confidence: None, title, object, evidence, alike, remedy, commands, link: None }
}

fn step(why: &str, path: &str) -> CauseStep {
    let evidence = vec![Proof { path: path.to_owned(), line: None, text: "a line".to_owned(), around: Vec::new() }];
    CauseStep { object: "Pod/shop/db-0".to_owned(), state: String::new(), why: why.to_owned(), evidence }
}

/// The names of all files in the spool's folder.
fn files(spool: &Spool) -> Vec<PathBuf> {
    std::fs::read_dir(spool.dir()).expect("a folder").map(|file| file.expect("a file").path()).collect()
}

fn unpacked(packed: &Packed) -> BTreeMap<String, String> {
    let archive = std::fs::File::open(&packed.sealed.as_ref().expect("sealed").file).expect("it is there");
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(archive));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("a tar file") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        files.insert(path.split_once('/').map_or(path.clone(), |(_, below)| below.to_owned()), text);
    }
    files
}

#[test]
fn sec_x52_what_quotes_a_hit_is_forgotten_and_the_rest_is_told() {
    let (_tmp, sealing) = sealing();
    let entry = |path: [&str; 2], body: String| sealing.write(BundlePath::new(path), body.as_bytes()).expect("room");
    let entries = vec![
        entry(["a", "log"], format!("a line\nit said {VALUE}\n")),
        entry(["a", "other"], "another line\n".to_owned()),
    ];
    let diagnosis = Diagnosis {
        cause: Some(format!("because {CUT}")),
        findings: vec![
            finding(FindingKind::FailureReason, CUT, "a line"),
            finding(FindingKind::ValidationError, "it failed", CUT),
            finding(FindingKind::DataHeldUp, "it failed for good", "a line"),
        ],
        tree: vec![step(CUT, "a/other"), step("it waits", "a/log"), step("it ended", "a/other")],
        ..Diagnosis::default()
    };
    assert_eq!(sealing.detector.alarm(CUT), None, "the check itself does not refuse the quotation");

    let packed = sealing.seal(found(entries, diagnosis), &[]).expect("sealed without the entry");
    let files = unpacked(&packed);
    assert!(!files.contains_key("a/log") && files.contains_key("a/other"), "{:?}", files.keys());
    for (path, text) in &files {
        assert!(!text.contains("the-known-va"), "{path}: {text}");
    }
    let ids: Vec<&str> = packed.findings.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(ids, ["failure-reason", "validation-error", "data-held-up", "withheld-by-self-check"]);
    assert_eq!(packed.cause.as_deref(), Some("because it said [withheld by the self-check]"));
    assert_eq!(packed.findings[0].title, "it said [withheld by the self-check]");
    assert_eq!((packed.missing, packed.sealed.is_some()), (1, true));
    let diagnosis: Value = serde_json::from_str(&files["analysis/diagnosis.json"]).expect("JSON");
    let tree = &diagnosis["tree"];
    assert_eq!(tree.as_array().map(Vec::len), Some(3), "{tree}");
    assert_eq!(tree[1]["evidence"][0]["text"], "withheld with its file by the self-check");
    assert_eq!(tree[2]["why"], "it ended");
}

/// What redaction leaves of `https://user:password@host` when it masks both halves: two tokens side by side.
const SIDE_BY_SIDE: &str = "https://[REDACTED:github:01234567]:[REDACTED:url-userinfo:89abcdef]@git.example.com/x";

#[test]
fn sec_x46_x52_tokens_side_by_side_cost_nothing_however_many_there_are() {
    for (events, results) in [(1, 0), (0, 1), (10, 0), (0, 10)] {
        let (_tmp, sealing) = sealing();
        let entry =
            |path: &str, body: String| sealing.write(BundlePath::new(path.split('/')), body.as_bytes()).expect("room");
        let text = format!("push {SIDE_BY_SIDE}");
        let event = format!("- message: \"pull {SIDE_BY_SIDE}\"\n");
        let mut entries = vec![entry("namespaces/shop/core/events.yaml", format!("items:\n{}", event.repeat(events)))];
        for n in 0..results {
            entries
                .push(entry(&format!("velero/restores/r{n}/results.json"), format!("{{\"errors\":[\"{text}\"]}}\n")));
        }
        let diagnosis = Diagnosis {
            cause: Some(text.clone()),
            findings: vec![finding(FindingKind::ResultsError, &text, &text)],
            ..Diagnosis::default()
        };
        let packed = sealing.seal(found(entries, diagnosis), &[]).expect("sealed");
        assert_eq!((packed.missing, packed.cause.as_deref()), (0, Some(text.as_str())));
        assert_eq!(packed.findings.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ["results-error"]);
        let kept = unpacked(&packed)
            .keys()
            .filter(|path| path.ends_with("events.yaml") || path.ends_with("results.json"))
            .count();
        assert_eq!(kept, 1 + results);
    }
}

/// A token as GitHub makes them, which redaction misses here.
fn token() -> String {
    ["gh", "p_", "0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R"].concat()
}

#[test]
fn sec_x52_shapes_in_lines_cost_these_lines_however_many_there_are_and_cause_and_findings_stay() {
    for count in [1, 10, 3000] {
        let (_tmp, mut sealing) = sealing();
        sealing.redactor = Arc::new(Redactor::of_known(Vec::new()).without("github"));
        sealing.own = Arc::clone(&sealing.redactor);
        let entry =
            |path: &str, body: String| sealing.write(BundlePath::new(path.split('/')), body.as_bytes()).expect("room");
        let text = format!("pull by {} failed", token());
        let entries = vec![
            entry(
                "namespaces/shop/core/events.yaml",
                "- reason: Pulled\n".to_owned() + &format!("- message: {text}\n").repeat(count),
            ),
            entry(
                "namespaces/shop/pods/p/c/c/logs/current.log",
                "one\n".to_owned() + &format!("{text}\n").repeat(count) + "end\n",
            ),
            entry(
                "velero/restores/r1/results.json",
                json(&serde_json::json!({ "errors": vec![&text; count], "warnings": ["w"] })),
            ),
        ];
        let diagnosis = Diagnosis {
            cause: Some(text.clone()),
            findings: vec![finding(FindingKind::ResultsError, &text, &text)],
            tree: vec![step(&text, "velero/restores/r1/results.json")],
            ..Diagnosis::default()
        };
        let packed = sealing.seal(found(entries, diagnosis), &[]).expect("sealed");
        let files = unpacked(&packed);
        for (path, text) in &files {
            assert!(!text.contains(&token()), "{path}");
        }
        assert_eq!(packed.cause.as_deref(), Some("pull by [withheld by the self-check] failed"));
        let ids: Vec<&str> = packed.findings.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!(ids, ["results-error", "withheld-by-self-check"]);
        let title = format!("withheld from the bundle: {} lines; the self-check found", 2 * count + 1);
        assert!(packed.findings[1].title.starts_with(&title), "{:?}", packed.findings);
        let marked = |rule: &str, path: &str| files[path].matches(rule).count();
        assert_eq!(
            marked("- message: withheld by the self-check (check-vendor-token)\n", "namespaces/shop/core/events.yaml"),
            count
        );
        let log = &files["namespaces/shop/pods/p/c/c/logs/current.log"];
        assert!(log.starts_with("one\ndebugbundle: a line was withheld here") && log.ends_with("\nend\n"), "{log}");
        let results: Value = serde_json::from_str(&files["velero/restores/r1/results.json"]).expect("still JSON");
        assert_eq!((results["errors"].as_array().map(Vec::len), &results["warnings"][0]), (Some(count), &"w".into()));
        assert_eq!(packed.missing, 3, "each of the files is not whole, by a mistake of ours");
        let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
        assert_eq!(
            (&manifest["outcome"], manifest["missing"].as_array().map(Vec::len)),
            (&"PartiallyFailed".into(), Some(0))
        );
        let line = |path: &str| {
            manifest["entries"]
                .as_array()
                .unwrap()
                .iter()
                .find(|e| e["path"].as_str().unwrap().ends_with(path))
                .unwrap()
                .clone()
        };
        let events = line("core/events.yaml");
        assert_eq!(
            (&events["redactions"]["check-vendor-token"], &events["truncated"]["leftOutLines"]),
            (&count.into(), &count.into())
        );
        assert_eq!(events["truncated"]["reason"], "Withheld");
    }
}

#[test]
fn sec_x52_a_file_with_more_hits_than_are_kept_goes_whole_and_the_bundle_stays() {
    let (_tmp, mut sealing) = sealing();
    sealing.redactor = Arc::new(Redactor::of_known(Vec::new()).without("github"));
    sealing.own = Arc::clone(&sealing.redactor);
    let entry = |path: &str, body: String| sealing.write(BundlePath::new([path]), body.as_bytes()).expect("room");
    let entries = vec![entry("a.log", format!("{}\n", token()).repeat(5000)), entry("b.log", "b\n".to_owned())];
    let files = unpacked(&sealing.seal(found(entries, Diagnosis::default()), &[]).expect("sealed"));
    assert!(!files.contains_key("a.log") && files.contains_key("b.log"), "{:?}", files.keys());
}

#[test]
fn sec_x52_a_hit_in_what_people_read_first_costs_its_rows() {
    let (_tmp, sealing) = sealing();
    // A link is our own text, which is not checked before it is written.
    let found_it =
        Finding { link: Some(format!("ask for {VALUE}")), ..finding(FindingKind::ResultsError, "it failed", "a line") };
    let diagnosis = Diagnosis { cause: Some("it failed".to_owned()), findings: vec![found_it], ..Diagnosis::default() };
    let packed = sealing.seal(found(Vec::new(), diagnosis), &[]).expect("sealed");
    let files = unpacked(&packed);
    assert!(files.values().all(|text| !text.contains("the-known-va")), "{files:?}");
    let summary = &files["summary.md"];
    assert!(
        summary.starts_with("it failed\n") && summary.contains("  * withheld by the self-check (known-secret-key)\n")
    );
    assert!(files["report.html"].contains("<li>withheld by the self-check (known-secret-key)</li>"));
    assert!(files["analysis/diagnosis.json"].contains("\"link\": \"withheld by the self-check (known-secret-key)\""));
    let ids: Vec<&str> = packed.findings.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!((packed.cause.as_deref(), ids), (Some("it failed"), vec!["results-error", "withheld-by-self-check"]));
    assert!(packed.findings[1].title.starts_with("withheld from the bundle: 3 lines; "), "{:?}", packed.findings);
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
    assert_eq!((&manifest["outcome"], packed.missing), (&"PartiallyFailed".into(), 3));
}

/// The beginning of a private key, and one line of it.
fn torn_key() -> (String, String) {
    let line = "q3Zr8LkT0vYb2NfWx7HsJd5Pm1Ge9CuRiAo4KtQyXz6VhBwEnSlDgMjUcFaOp+2T";
    (format!("-----BEGIN {} KEY-----", "PRIVATE"), line.to_owned())
}

#[test]
fn sec_x52_a_key_torn_over_two_texts_costs_a_row_wherever_they_meet() {
    let (begin, line) = torn_key();
    let event = |n: usize, text: &str| {
        format!("- apiVersion: v1\n  kind: Event\n  message: \"{text}\"\n  metadata:\n    name: e{n}\n")
    };
    let pair = [finding(FindingKind::ResultsError, &begin, &begin), finding(FindingKind::ResultsError, &line, &line)];
    for (events, findings) in [(true, Vec::new()), (false, pair.to_vec())] {
        let (_tmp, mut sealing) = sealing();
        sealing.redactor = Arc::new(Redactor::of_known(Vec::new()).without("pem"));
        sealing.own = Arc::clone(&sealing.redactor);
        let list = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
        let texts = ["first", &begin, &line, "last"];
        let body = texts.iter().enumerate().fold(list, |body, (n, text)| body + &event(n, text));
        let body = if events { body } else { "none\n".to_owned() };
        let path = BundlePath::new(["namespaces", "shop", "core", "events.yaml"]);
        let entries = vec![sealing.write(path, body.as_bytes()).expect("room")];
        let cause = findings.first().map(|finding| finding.title.clone());
        let mut all = found(entries, Diagnosis { cause: cause.clone(), findings, ..Diagnosis::default() });
        all.collected.evidence.objects = texts
            .iter()
            .enumerate()
            .filter(|_| events)
            .map(|(n, text)| {
                serde_json::json!({"apiVersion": "v1", "kind": "Event", "reason": "Odd", "message": text,
                    "metadata": {"namespace": "shop", "name": format!("e{n}")},
                    "lastTimestamp": format!("2026-01-01T00:00:0{n}Z"),
                    "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "p"}})
            })
            .collect();
        let packed = sealing.seal(all, &[]).expect("a bundle");
        let files = unpacked(&packed);
        for (path, text) in &files {
            assert!(!text.contains(&line), "{path}: {text}");
        }
        assert!(files.contains_key("report.html") && files.contains_key("summary.md"));
        // Where the file with the text lost it, too, the row quotes it no more.
        let row = "<li>withheld by the self-check (check-pem)</li>";
        let instead = if events { "[withheld by the self-check]" } else { row };
        assert!(files["report.html"].contains(instead), "{}", files["report.html"]);
        assert_eq!(packed.cause, cause);
        if events {
            let kept = &files["namespaces/shop/core/events.yaml"];
            assert!(kept.contains("name: e0\n") && kept.ends_with("name: e3\n"), "{kept}");
            assert_eq!(kept.matches("# debugbundle: an object was withheld here").count(), 1, "{kept}");
            assert!(files["report.html"].contains("first") && files["report.html"].contains("last"));
            let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
            assert!(manifest["missing"].as_array().expect("a list").is_empty(), "{}", manifest["missing"]);
        }
    }
}

#[test]
fn sec_x52_names_that_must_not_leave_cost_the_names() {
    let (_tmp, mut sealing) = sealing();
    let name = ["gl", "pat-", "x4k2m9q7w5t8z3r6b1n0"].concat();
    sealing.subject.name = format!("restore-{name}-0c1f6a2b9e");
    let packed = sealing.seal(found(Vec::new(), Diagnosis::default()), &[]).expect("a bundle");
    assert_eq!(packed.root, format!("bundle-{}", sealing.subject.uid));
    let files = unpacked(&packed);
    assert!(files.contains_key("summary.md") && files.values().all(|text| !text.contains(&name)), "{files:?}");

    let (_tmp, mut sealing) = self::sealing();
    sealing.redactor = Arc::new(Redactor::of_known(Vec::new()).without("gitlab"));
    sealing.own = Arc::clone(&sealing.redactor);
    let entry = |path: &[&str]| sealing.write(BundlePath::new(path), b"x\n").expect("room");
    let entries = vec![entry(&["namespaces", &name, "a"]), entry(&["b"])];
    let told = Diagnosis { tree: vec![step("it waits", &format!("namespaces/{name}/a"))], ..Diagnosis::default() };
    let files = unpacked(&sealing.seal(found(entries, told), &[]).expect("a bundle"));
    assert!(files.contains_key("b") && files.values().all(|text| !text.contains(&name)), "{files:?}");
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
    assert_eq!(
        (&manifest["missing"][0]["path"], &manifest["missing"][0]["code"]),
        (&"withheld-1".into(), &"Withheld".into())
    );
}

#[test]
fn sec_x52_a_value_in_the_manifest_costs_its_string() {
    let (_tmp, sealing) = sealing();
    let mut all = found(Vec::new(), Diagnosis::default());
    all.collected.empty = vec!["a/b".to_owned(), format!("{VALUE}/c")];
    let packed = sealing.seal(all, &[]).expect("a bundle");
    let files = unpacked(&packed);
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
    assert_eq!(manifest["empty"], serde_json::json!(["a/b", "withheld by the self-check (known-secret-key)"]));
    let title = &packed.findings[0].title;
    assert!(title.starts_with("withheld from the bundle: strings of the manifest; "), "{title}");
    assert!(files["summary.md"].contains(title.as_str()), "the summary says it, too");
}

#[test]
fn sec_x52_the_last_resort_is_a_bundle_without_a_word_of_others() {
    let (_tmp, mut sealing) = sealing();
    // The name of a file that is always there.
    sealing.detector = Detector::new([("known-secret-key", "report.html")]);
    let diagnosis = || Diagnosis {
        cause: Some("the disk is full".to_owned()),
        findings: vec![finding(FindingKind::FailureReason, "the disk is full", "a line")],
        ..Diagnosis::default()
    };
    let packed = sealing.seal(found(Vec::new(), diagnosis()), &[]).expect("a bundle");
    let files = unpacked(&packed);
    assert_eq!(
        files.keys().map(String::as_str).filter(|path| !path.is_empty()).collect::<Vec<_>>(),
        ["manifest.json", "summary.md"]
    );
    assert!(files["summary.md"].contains("could not be withheld alone"), "{}", files["summary.md"]);
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
    assert_eq!(
        (&manifest["outcome"], &manifest["missing"][0]["code"]),
        (&"PartiallyFailed".into(), &"Withheld".into())
    );
    assert_eq!((packed.cause.as_deref(), packed.missing), (Some("the disk is full"), 1));
    let hits = sealing.metrics.text();
    assert!(!hits.contains("debugbundle_self_check_hits_total 0\n"), "issue_33 they are counted: {hits}");
}

#[test]
fn sec_x52_a_known_secret_that_cannot_be_removed_ends_the_run_and_cause_and_findings_stay() {
    let (_tmp, mut sealing) = sealing();
    sealing.detector = Detector::new([("known-secret-key", "summary.md")]);
    let diagnosis = Diagnosis {
        cause: Some("the disk is full".to_owned()),
        findings: vec![finding(FindingKind::FailureReason, "the disk is full", "a line")],
        ..Diagnosis::default()
    };
    let ended = sealing.seal(found(Vec::new(), diagnosis), &[]).expect_err("no bundle");
    let Fault::Terminal { reason, message, .. } = &ended.fault else { panic!("{ended:?}") };
    assert_eq!(*reason, Reason::RedactionSelfCheck);
    assert!(message.contains("known-secret-key at byte "), "{message}");
    assert_eq!((ended.cause.as_deref(), ended.findings[0].id.as_str()), (Some("the disk is full"), "failure-reason"));
    let sealed = files(&sealing.spool).into_iter().find(|file| file.ends_with("bundle.tar.gz"));
    assert_eq!(sealed, None, "what was not checked has no name that anybody sends");
}

/// Texts as Velero and the API server write them: each with a whole secret, or with none.
fn text() -> impl Strategy<Value = String> {
    let (begin, line) = torn_key();
    let end = begin.replace("BEGIN", "END");
    let secrets = vec![
        format!("{begin}\n{line}\n{line}\n{end}\n"),
        format!("{begin}\\n{line}\\n{end}"),
        token(),
        ["gl", "pat-", "x4k2m9q7w5t8z3r6b1n0"].concat(),
        ["AK", "IA", "QX3M7ZP2LK9RTV4N"].concat(),
        ["ey", "JhbGciOiJIUzI1NiJ9.ey", "JzdWIiOiIxMjM0NTY3ODkwIn0.", "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"].concat(),
        "https://robot:hunter2-x7@git.example.com/x?a=b&c=<d>".to_owned(),
        format!("DefaultEndpointsProtocol=https;AccountName=a;{}={line}{}==", "AccountKey", &line[..22]),
        format!("https://s3/b/k?X-Amz-{}={}&x=y", "Signature", "0a1b2c3d".repeat(8)),
        format!("no {begin} found in Secret/WebServerCertificateStoreNumber12ForTheTeamAlpha"),
        "pull of docker.io/library/Nginx@sha256:0123456789abcdef failed".to_owned(),
        "/var/lib/kubelet/pods/0c1f6a2b-9e1d-4a55-9c1c-2b8f6f1f7f10/volumes/KubernetesIoSecret/ServerKeyStore12"
            .to_owned(),
        "it *failed* [again](http://x) _and_ `again` <b>|</b> #1 é…".to_owned(),
    ];
    let some = prop::sample::select(secrets);
    prop::collection::vec(prop_oneof![3 => some, 1 => "[ -~]{0,40}".prop_map(|text| text)], 1..4)
        .prop_map(|parts| parts.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sec_x46_x52_over_redacted_text_in_any_file_the_check_is_silent(texts in prop::collection::vec(text(), 8)) {
        let (_tmp, sealing) = sealing();
        let texts: Vec<String> = texts.iter().map(|text| sealing.redactor.text(text)).collect();
        let json = |text: &str| Value::from(text).to_string();
        let list = texts.iter().fold("apiVersion: v1\nkind: List\nitems:\n".to_owned(), |list, text| {
            format!("{list}- kind: Event\n  message: {}\n", json(text))
        });
        let lines: String = texts.iter().flat_map(|text| ["level=error msg=".to_owned(), json(text), "\n".to_owned()]).collect();
        let entry = |path: &[&str], body: &str| sealing.write(BundlePath::new(path), body.as_bytes()).expect("room");
        let entries = vec![
            entry(&["namespaces", "shop", "core", "events.yaml"], &list),
            entry(&["velero", "restores", "r1", "restore.log"], &lines),
            entry(&["velero", "restores", "r1", "results.json"], &serde_json::json!({ "errors": texts }).to_string()),
        ];
        let findings = vec![
            finding(FindingKind::FailureReason, &texts[0], &texts[1]),
            finding(FindingKind::ValidationError, &texts[2], &texts[3]),
        ];
        let tree = vec![step(&texts[4], "a"), step(&texts[5], "b")];
        let mut all = found(entries, Diagnosis { cause: Some(texts[0].clone()), findings, tree, ..Diagnosis::default() });
        all.collected.empty = texts.clone();
        all.collected.evidence.objects = texts.iter().map(|text| serde_json::json!({"kind": "Event", "message": text,
            "lastTimestamp": "2026-01-01T00:00:00Z", "involvedObject": {"kind": "Pod", "name": text}})).collect();
        let packed = sealing.seal(all, &[]).expect("a bundle");
        let ids: Vec<&str> = packed.findings.iter().map(|finding| finding.id.as_str()).collect();
        prop_assert_eq!(ids, ["failure-reason", "validation-error"], "{:?}", packed.findings);
        prop_assert_eq!(packed.missing, 0, "{}", unpacked(&packed)["manifest.json"]);
    }
}

#[test]
fn sec_x47_the_totals_are_the_sum_over_the_files() {
    let (_tmp, sealing) = sealing();
    let entry = |path: &str, body: &str| sealing.write(BundlePath::new([path]), body.as_bytes()).expect("room");
    let entries = vec![
        entry("one", "password=a1b2c3d4e5\npassword=f6g7h8i9j0\n"),
        entry("two", "password=a1b2c3d4e5 postgres://u:k1l2m3n4@h/d\n"),
        entry("three", "nothing\n"),
    ];
    let packed = sealing.seal(found(entries, Diagnosis::default()), &[]).expect("sealed");
    let manifest: Value = serde_json::from_str(&unpacked(&packed)["manifest.json"]).expect("JSON");
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    for entry in manifest["entries"].as_array().expect("entries") {
        for (rule, count) in entry["redactions"].as_object().into_iter().flatten() {
            *sum.entry(rule.clone()).or_default() += count.as_u64().expect("a number");
        }
    }
    assert_eq!(sum, BTreeMap::from([("named-value".to_owned(), 3), ("url-userinfo".to_owned(), 1)]), "{manifest}");
    assert_eq!(manifest["totals"]["redactions"], sum.values().sum::<u64>(), "{}", manifest["totals"]);
}

#[test]
fn sec_x52_a_file_for_whose_rest_the_spool_has_no_room_goes_whole_and_the_bundle_stays() {
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + u8::try_from((state >> 33) % 26).expect("below 26"))
    };
    let noise: String = (0..8_000).map(|_| (0..50).map(|_| letter()).collect::<String>() + " end\n").collect();
    let log = format!("{noise}{}\n", token());
    let sealed = |limit: u64| {
        let (tmp, mut sealing) = sealing();
        sealing.spool = Spool::create(&tmp.path().join("small"), limit).expect("a spool");
        sealing.redactor = Arc::new(Redactor::of_known(Vec::new()).without("github"));
        sealing.own = Arc::clone(&sealing.redactor);
        let entry = |path: &str, body: &str| sealing.write(BundlePath::new([path]), body.as_bytes()).expect("room");
        let entries = vec![entry("a.log", &log), entry("b.log", &noise)];
        let packed = sealing.seal(found(entries, Diagnosis::default()), &[]).expect("sealed");
        let files = unpacked(&packed);
        assert!(files.contains_key("b.log"));
        (files.contains_key("a.log"), packed.sealed.expect("sealed").bytes)
    };
    let (kept, bytes) = sealed(1 << 30);
    assert!(kept && bytes > 400_000, "{bytes}");
    // Room for the archive and the one made anew without the file, not for the one with it.
    assert!(!sealed(bytes * 7 / 4).0);
}

fn json(value: &Value) -> String {
    value.to_string() + "\n"
}

/// A bundle of one file, made with the user's rule: its files by path.
fn with_rule(rule: &str) -> BTreeMap<String, String> {
    let (_tmp, mut sealing) = sealing();
    let rules = debugbundle_redact::UserRules::compiled(&[rule.to_owned()]).expect("a rule");
    sealing.redactor = Arc::new(Redactor::of_known(Vec::new()).with(rules));
    sealing.subject.spec = serde_json::from_value(serde_json::json!({
        "target": {"kind": "Restore", "name": "orchid-restore"}, "storageLocation": "orchid-store"}))
    .expect("a spec");
    sealing.place.key = "orchid/key".to_owned();
    let mut writer = EntryWriter::new(
        BundlePath::new(["namespaces", "orchid-shop", "log"]),
        Arc::clone(&sealing.redactor),
        Arc::clone(&sealing.spool),
    );
    writer.write_all(b"a line of orchid-shop\n").expect("room");
    let source = Source {
        kind: SourceKind::PodLog,
        path: Some("/api/v1/namespaces/orchid-shop/pods/p/log".to_owned()),
        ..Source::default()
    };
    let segment = writer.finish().expect("room");
    let entry = Entry { segment, source, truncated: None, read_at: Timestamp::now(), ms: 0 };
    let quoted = sealing.redactor.text("the orchid wilts");
    let diagnosis = Diagnosis {
        cause: Some(format!("Restore r1 is Failed: {quoted}")),
        findings: vec![finding(FindingKind::FailureReason, &format!("Restore r1 is Failed: {quoted}"), &quoted)],
        ..Diagnosis::default()
    };
    let mut found = found(vec![entry], diagnosis);
    found.log = b"reading orchid-shop\n".to_vec();
    found.collected.empty.push("namespaces/orchid-shop/core/pods.yaml".to_owned());
    found.collected.missing.push(Missing {
        what: "logs of pods in orchid-shop".to_owned(),
        path: "namespaces/orchid-shop/pods".to_owned(),
        code: MissingCode::ApiError,
        severity: MissingSeverity::Error,
        why: "orchid-node does not answer".to_owned(),
        need: None,
        rule: None,
        cure: "check the node orchid-node".to_owned(),
    });
    unpacked(&sealing.seal(found, &[]).expect("sealed"))
}

#[test]
fn issue_32_the_users_rules_hide_the_names_of_others_in_our_own_files() {
    let files = with_rule("orchid(-[a-z]+)?");
    for (path, text) in &files {
        assert!(!path.contains("orchid") && !text.contains("orchid"), "{path}: {text}");
    }
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
    let missing = &manifest["missing"][0];
    assert!(missing["what"].as_str().is_some_and(|what| what.starts_with("logs of pods in [REDACTED:user-0:")));
    assert!(missing["path"].as_str().is_some_and(|path| path.starts_with("namespaces/redacted-")), "{missing}");
    assert!(files["summary.md"].contains("Restore r1 is Failed: "), "{}", files["summary.md"]);
}

#[test]
fn issue_32_a_rule_that_matches_everything_leaves_the_operators_words_and_a_manifest_that_programs_read() {
    let files = with_rule(".*");
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
    let entries = manifest["entries"].as_array().expect("entries");
    assert!(entries.iter().any(|entry| entry["source"]["kind"] == "PodLog"), "{entries:#?}");
    assert_eq!(manifest["missing"][0]["code"], "ApiError");
    assert!(manifest["findings"]["cause"].as_str().is_some_and(|cause| cause.starts_with("Restore r1 is Failed: [")));
    let request = &manifest["request"];
    assert_eq!((&request["target"]["kind"], &request["timeout"]), (&"Restore".into(), &"15m".into()), "{request}");
    assert!(request["target"]["name"].as_str().is_some_and(|name| name.starts_with("[REDACTED:user-0:")), "{request}");
    let view: Result<ManifestView, _> = serde_json::from_value(manifest);
    assert!(view.is_ok(), "{view:?}");
    assert!(files["summary.md"].contains("treat the bundle as confidential"), "{}", files["summary.md"]);
    assert!(files["report.html"].starts_with("<!"), "{}", files["report.html"]);
    let parsed: Result<Value, _> = serde_json::from_str(&files["analysis/diagnosis.json"]);
    assert!(parsed.is_ok(), "{}", files["analysis/diagnosis.json"]);
    assert!(files.values().all(|text| !text.contains("orchid")));
}
