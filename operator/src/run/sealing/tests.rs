//! What happens to a bundle in which the check finds something: texts that quote it are masked, and a hit in what
//! people read first ends the run. `selfcheck` tests the check itself, `tests/it` a whole operator with a broken rule.

use std::{collections::BTreeMap, io::Read as _, path::PathBuf};

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
        detector: Detector::new([("known-secret-key", VALUE)]),
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
    let evidence = vec![Proof { path: "a/log".to_owned(), line: None, text: proof.to_owned() }];
    let (title, object, remedy) = (title.to_owned(), "Pod/shop/db-0".to_owned(), String::new());
    Finding { kind, severity: kind.severity(), title, object, evidence, remedy, link: None }
}

fn step(why: &str, path: &str) -> CauseStep {
    let evidence = vec![Proof { path: path.to_owned(), line: None, text: "a line".to_owned() }];
    CauseStep { object: "Pod/shop/db-0".to_owned(), phase: String::new(), why: why.to_owned(), evidence, next: None }
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
        trail: vec![step(CUT, "a/other"), step("it waits", "a/log"), step("it ended", "a/other")],
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
    let trail: Value = serde_json::from_str(&files["analysis/cause-trail.json"]).expect("JSON");
    assert_eq!(trail.as_array().map(Vec::len), Some(3), "{trail}");
    assert_eq!(trail[1]["evidence"][0]["text"], "withheld with its file by the self-check");
    assert_eq!(trail[2]["why"], "it ended");
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
            trail: Vec::new(),
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
            trail: vec![step(&text, "velero/restores/r1/results.json")],
        };
        let packed = sealing.seal(found(entries, diagnosis), &[]).expect("sealed");
        let files = unpacked(&packed);
        for (path, text) in &files {
            assert!(!text.contains(&token()), "{path}");
        }
        assert_eq!(packed.cause.as_deref(), Some("pull by [withheld by the self-check] failed"));
        let ids: Vec<&str> = packed.findings.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!(ids, ["results-error", "withheld-by-self-check"]);
        let title = format!("{} lines of the bundle's files were withheld", 2 * count + 1);
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
    let entry = |path: &str, body: String| sealing.write(BundlePath::new([path]), body.as_bytes()).expect("room");
    let entries = vec![entry("a.log", format!("{}\n", token()).repeat(5000)), entry("b.log", "b\n".to_owned())];
    let files = unpacked(&sealing.seal(found(entries, Diagnosis::default()), &[]).expect("sealed"));
    assert!(!files.contains_key("a.log") && files.contains_key("b.log"), "{:?}", files.keys());
}

#[test]
fn sec_x52_a_hit_in_what_people_read_first_ends_the_run_and_nothing_is_sealed() {
    let (_tmp, sealing) = sealing();
    // A remedy is our own text, which is not checked before the archive is.
    let told =
        Finding { remedy: format!("ask for {VALUE}"), ..finding(FindingKind::ResultsError, "it failed", "a line") };
    let diagnosis = Diagnosis { findings: vec![told], ..Diagnosis::default() };
    let fault = sealing.seal(found(Vec::new(), diagnosis), &[]).expect_err("no bundle");
    let Fault::Terminal { reason, message } = fault else { panic!("{fault:?}") };
    assert_eq!(reason, Reason::RedactionSelfCheck);
    assert!(message.contains("summary.md") || message.contains("report.html"), "{message}");
    assert!(message.contains("known-secret-key at byte ") && !message.contains("the-known-va"), "{message}");
    let sealed = files(&sealing.spool).into_iter().find(|file| file.ends_with("bundle.tar.gz"));
    assert_eq!(sealed, None, "what was not checked has no name that anybody sends");
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
