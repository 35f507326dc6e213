//! Attacks on a run from places that others can write to: Velero's files in the bucket, names and texts of objects, log
//! lines. The tests check where people meet the result: status, kubectl, the command line, the reports.

use std::io::Write as _;
use std::path::Path;

use debugbundle_crd::{DebugBundleStatus, Phase};
use flate2::{Compression, write::GzEncoder};
use harness::bundle::Unpacked;
use harness::context::PREFIX;
use harness::operator::program;
use harness::tools::{self, Tool};
use harness::usage::Usage;
use harness::velero_objects::pod_volume_restore;
use harness::{Context, LogScript, Operator, pod, with_namespace};
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::bundles::{about_r1, velero_objects};

/// Memory limit of a bundle, as in `memory`.
const PEAK: u64 = 96 << 20;

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

async fn of_restore(context: &Context, file: &str, body: Vec<u8>) {
    context.bucket.put(&format!("{PREFIX}/restores/r1/{file}"), body).await;
}

/// The other files that Velero writes at the end of a Restore, well-formed.
async fn sound(context: &Context, except: &[&str]) {
    for (file, body) in [
        ("restore-r1-logs.gz", &b"level=info msg=fine\n"[..]),
        ("restore-r1-results.gz", br#"{"errors":{},"warnings":{}}"#),
        ("restore-r1-resource-list.json.gz", b"{}"),
        ("restore-r1-itemoperations.json.gz", b"[]"),
        ("r1-volumeinfo.json.gz", b"[]"),
    ] {
        if !except.contains(&file) {
            of_restore(context, file, gzipped(body)).await;
        }
    }
}

async fn bundled(context: &Context, name: &str) -> (DebugBundleStatus, Unpacked) {
    context.debug_bundle(name, about_r1()).await;
    let status = context.until_bundle_ended(name).await;
    assert!(matches!(status.phase, Some(Phase::Completed | Phase::PartiallyFailed)), "{status:?}");
    let unpacked = context.download(&status).await;
    (status, unpacked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_b1_b2_bombs_among_veleros_files_are_told_and_take_neither_memory_nor_the_rest() {
    with_namespace("bombs", |context| async move {
        velero_objects(&context).await;
        sound(&context, &[]).await;
        let nested = format!("{{\"errors\":{{\"velero\":{}", "[".repeat(100_000));
        let in_gzip = gzipped(&gzipped(&vec![b'a'; 64 << 20]));
        // As a single text it would be refused for its length, like the next one.
        let blanks = format!("[{}", " ".repeat(200 << 20));
        let text = format!("{{\"v1/Pod\":[\"{}\"]}}", "shop/".repeat(1 << 20));
        for (file, body) in [
            ("restore-r1-logs.gz", gzipped(&vec![b'0'; 200 << 20])),
            ("restore-r1-results.gz", gzipped(nested.as_bytes())),
            ("r1-volumeinfo.json.gz", gzipped(blanks.as_bytes())),
            ("restore-r1-itemoperations.json.gz", in_gzip),
            ("restore-r1-resource-list.json.gz", gzipped(text.as_bytes())),
        ] {
            of_restore(&context, file, body).await;
        }
        let operator = Operator::of(&context).ready().await;
        let (status, unpacked) = bundled(&context, "bombs").await;
        assert_eq!(status.phase, Some(Phase::PartiallyFailed));
        let told = |end: &str| {
            let missing = unpacked.errors();
            let found = missing.iter().find(|missing| missing.path.ends_with(end));
            let found = found.unwrap_or_else(|| panic!("{end}: {missing:#?}"));
            (found.code.clone(), found.why.clone())
        };
        let bomb = "it decompresses to more than 1000 times its size".to_owned();
        assert_eq!(told("restores/r1/restore.log"), ("TooLarge".to_owned(), bomb.clone()));
        assert_eq!(told("restores/r1/volumeinfo.json"), ("TooLarge".to_owned(), bomb));
        let (code, why) = told("restores/r1/results.json");
        assert_eq!((code.as_str(), why.as_str()), ("Corrupt", "it is nested deeper than 128 levels"));
        assert_eq!(told("restores/r1/itemoperations.json").0, "Corrupt", "what is inside is not inflated");
        let long = "it has a text of more than 1048576 bytes".to_owned();
        assert_eq!(told("restores/r1/resource-list.json"), ("Corrupt".to_owned(), long));
        assert!(unpacked.has("velero/restores/r1/describe.txt"), "the rest is there");
        let largest = unpacked.paths().map(|path| unpacked.bytes(path).len()).max();
        assert!(largest < Some(40 << 20), "{largest:?}");
        let usage = Usage::of(operator.process().pid()).expect("it runs");
        assert!(usage.peak < PEAK, "the operator took {} MiB at most", usage.peak >> 20);
    })
    .await;
}

/// Colours, a terminal title, a forged line, right-to-left text, and markup for renderers.
const HOSTILE: &str = "shop\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}1m\r\nPhase: Completed \u{202e}txt.exe\u{2066} <script>alert(1)</script> [x](javascript:alert(1)) ![i](http://evil.example/i.png) ````` =cmd|' /C calc'!A0 'end";

/// Checks for characters that a terminal acts upon, except line ends and tabs.
fn assert_harmless(what: &str, text: &str) {
    let acts = |c: &char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    let found = text.chars().position(|c| acts(&c));
    if let Some(at) = found {
        let around: String = text.chars().skip(at.saturating_sub(60)).take(120).collect();
        panic!("{what} holds a control: {around:?}");
    }
}

async fn said(context: &Context, program: &Path, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(words).env("KUBECONFIG", context.stand.kubeconfig()).env("VELERO_NAMESPACE", &context.namespace);
    let output = command.output().await.expect("it can be started");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.is_empty(), "{words:?} says nothing: {}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_l1_l2_l3_l5_hostile_text_is_escaped_wherever_it_is_shown_and_verbatim_in_evidence() {
    with_namespace("hostile-text", |context| async move {
        velero_objects(&context).await;
        let forged = json!({"status": {"failureReason": HOSTILE, "validationErrors": [HOSTILE]}});
        context.patch_velero("Restore", "r1", forged).await;
        sound(&context, &["restore-r1-results.gz"]).await;
        let results = json!({"errors": {"namespaces": {HOSTILE: [HOSTILE]}}, "warnings": {"velero": [HOSTILE]}});
        of_restore(&context, "restore-r1-results.gz", gzipped(results.to_string().as_bytes())).await;
        context.patch_velero("BackupStorageLocation", "default", json!({"status": {"message": HOSTILE}})).await;
        let node = context.node("n").await;
        let server = pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero");
        context.pod(server.waiting("CrashLoopBackOff", HOSTILE)).await;
        context.log("velero-1", "velero", LogScript::lines([format!("level=error msg=\"{HOSTILE}\" restore=x/r1")]));
        context
            .create::<Event>(json!({
                "metadata": {"name": "hostile"}, "type": "Warning", "reason": "Failed", "message": HOSTILE,
                "involvedObject": {"kind": "Restore", "apiVersion": "velero.io/v1", "name": "r1", "namespace": context.namespace},
            }))
            .await;

        let operator = Operator::of(&context).env("DEBUGBUNDLE_LOG", "debug").ready().await;
        let (status, unpacked) = bundled(&context, "b").await;
        assert!(status.cause.as_ref().is_some_and(|cause| cause.contains("shop")), "it is told: {status:?}");
        let texts = serde_json::to_value(&status).expect("JSON");
        for text in strings(&texts) {
            assert_harmless("status", text);
            assert!(!text.contains('\n'), "{text}");
        }
        let kubectl = tools::path(Tool::Kubectl).await.expect("the stand has it");
        let namespace = context.namespace.as_str();
        for words in [
            &["-n", namespace, "get", "debugbundles", "-o", "wide"][..],
            &["-n", namespace, "describe", "debugbundle", "b"],
            &["-n", namespace, "get", "debugbundle", "b", "-o", "yaml"],
        ] {
            let text = said(&context, &kubectl, words).await;
            assert!(text.contains("shop"), "{words:?}: {text}");
            assert_harmless(&format!("kubectl {words:?}"), &text);
        }
        let plugin = program("kubectl-debugbundle").await;
        for words in [&["list"][..], &["get", "b"], &["cat", "b", "--list"]] {
            assert_harmless(&format!("{words:?}"), &said(&context, &plugin, words).await);
        }

        for path in ["report.html", "summary.md"] {
            let text = unpacked.file(path);
            assert!(text.contains("shop"), "{path} tells it");
            assert_harmless(path, &text);
            assert!(!text.contains("<script>alert") || path == "summary.md", "{path} has markup of others");
        }
        // Text between fences longer than any fence inside is plain; text elsewhere must be escaped.
        let summary = unpacked.file("summary.md");
        assert!(summary.contains("``````"), "evidence is fenced: {summary}");
        let free: String = summary.split("``````").step_by(2).collect();
        let free = free.replace("\\]", "").replace("\\<", "");
        for live in ["<script>", "](javascript:", "](http"] {
            assert!(!free.contains(live), "summary.md has {live}:\n{summary}");
        }
        let log = format!("namespaces/{namespace}/pods/velero-1/velero/velero/logs/current.log");
        assert!(unpacked.file(&log).contains("\u{1b}]0;owned\u{7}"), "a log is evidence: {}", unpacked.file(&log));
        let own = std::fs::read(operator.process().log()).expect("a log");
        assert!(own.iter().all(|byte| *byte == b'\n' || !byte.is_ascii_control()), "the operator's log");
        assert!(operator.log().iter().all(Value::is_object), "the operator's log is JSON, line by line");
        for line in unpacked.file("operator.log").lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
            assert_harmless("operator.log", line);
        }
    })
    .await;
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_t1_t2_t3_t4_hostile_names_stay_below_the_one_folder_and_unpack_anywhere() {
    with_namespace("hostile-names", |context| async move {
        velero_objects(&context).await;
        sound(&context, &[]).await;
        // Names that the API server allows: names reserved by Windows, and the longest ones.
        let node = context.node("n").await;
        let long = "p".repeat(253);
        for (name, container) in [("con", "nul"), ("aux.log", "com1"), (long.as_str(), "c"), ("nul.txt", "prn")] {
            context.pod(pod(name).on_node(&node).labelled("deploy", "velero").with_container(container)).await;
            context.log(name, container, LogScript::lines([format!("log of {name}")]));
        }
        // Forged names in fields that nobody checks.
        let climbing = "../../../../etc/passwd";
        context.patch_velero("Restore", "r1", json!({"spec": {"backupName": climbing}})).await;
        for (name, of) in [("con", climbing), ("pvr-2", "/abs"), ("pvr-3", "a\u{202e}b:c\n")] {
            let data = pod_volume_restore(name).of_pod("..", of).in_location(climbing).from_namespace("..");
            let data = data.spec("repoIdentifier", climbing).spec("volume", "CON").failed().status("message", of);
            context.create_velero(data.labelled("velero.io/restore-name", "r1")).await;
        }
        let _operator = Operator::of(&context).ready().await;
        let (status, unpacked) = bundled(&context, "b").await;
        for text in strings(&serde_json::to_value(&status).expect("JSON")) {
            assert_harmless("status", text);
        }

        let root = format!("{}/", unpacked.root);
        let mut folded = std::collections::BTreeSet::new();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(unpacked.archive.as_slice()));
        for entry in tar.entries().expect("a tar") {
            let entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            assert!(entry.header().entry_type().is_file() || entry.header().entry_type().is_dir(), "{path}");
            assert!(path.starts_with(&root) || path == unpacked.root, "{path}");
            assert!(path.len() <= 400, "{path}");
            assert!(folded.insert(path.trim_end_matches('/').to_lowercase()), "{path} twice, but for case");
            for part in path.trim_end_matches('/').split('/') {
                let letters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
                let stem = part.split('.').next().unwrap_or_default().to_ascii_lowercase();
                let reserved = ["con", "prn", "aux", "nul", "com1"].contains(&stem.as_str());
                let ends = part.starts_with('-') || part.ends_with('.') || part.is_empty() || part == "..";
                assert!(letters && !reserved && !ends && part.len() <= 255, "{path}");
            }
        }
        let logs = unpacked.paths().filter(|path| path.ends_with("/current.log"));
        let logs: Vec<String> = logs.map(|path| unpacked.file(path)).collect();
        for name in ["con", "aux.log", long.as_str(), "nul.txt"] {
            assert!(logs.iter().any(|log| log.contains(&format!("log of {name}"))), "{name} has its log");
        }
        let names = format!("namespaces/{}/velero.io/podvolumerestores.yaml", context.namespace);
        assert_eq!(unpacked.names(&names), ["con", "pvr-2", "pvr-3"], "objects keep their real names");
        // A name that climbs reads none of the others' files in the store.
        assert!(!unpacked.paths().any(|path| path.contains("passwd")), "{:?}", unpacked.paths().collect::<Vec<_>>());
        let unpacked_at = tempfile::tempdir().expect("a folder");
        let file = unpacked_at.path().join("b.tar.gz");
        std::fs::write(&file, &unpacked.archive).expect("written");
        let unpacking = Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(unpacked_at.path()).output().await;
        let unpacking = unpacking.expect("GNU tar is there");
        assert!(unpacking.status.success() && unpacking.stderr.is_empty(), "{unpacking:?}");
        let mut names: Vec<_> =
            std::fs::read_dir(unpacked_at.path()).expect("a folder").map(|e| e.expect("one").file_name()).collect();
        names.sort();
        assert_eq!(names, ["b.tar.gz", unpacked.root.as_str()]);
    })
    .await;
}
