//! A public scanner of secrets over a whole bundle, with secrets planted wherever a Velero installation has them. It
//! must find each secret in the inputs, or the test would show nothing.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use debugbundle_crd::Phase;
use harness::bundle::spec_about;
use harness::tools::{self, Tool};
use harness::velero_objects::backup;
use harness::{Context, LogScript, Operator, Velero, with_namespace};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use serde_json::{Value, json};

/// Planted secrets and their places: unique values for each carrier, none of which is in the repository.
struct Planted {
    state: u64,
    values: Vec<(&'static str, String)>,
}

impl Planted {
    fn new() -> Self {
        // A fixed seed: one random value in some hundred contains a word that the scanner takes for a name.
        Self { state: 0x2545_f491_4f6c_dd1d, values: Vec::new() }
    }

    fn letters(&mut self, length: usize, of: &[u8]) -> String {
        let mut letter = || {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            char::from(of[usize::try_from(self.state >> 33).unwrap() % of.len()])
        };
        (0..length).map(|_| letter()).collect()
    }

    fn word(&mut self, length: usize) -> String {
        self.letters(length, b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    }

    /// A new value for this carrier.
    fn value(&mut self, carrier: &'static str, prefix: &[&str], length: usize) -> String {
        let value = prefix.concat() + &self.word(length);
        self.values.push((carrier, value.clone()));
        value
    }

    fn log(&mut self) -> Vec<String> {
        let id = ["AK", "IA"].concat() + &self.letters(16, b"ABCDEFGHJKLMNPQRSTUVWXYZ234567");
        self.values.push(("a key id in a log", id.clone()));
        let jwt =
            [["ey", "J"].concat() + &self.word(30), ["ey", "J"].concat() + &self.word(60), self.word(43)].join(".");
        self.values.push(("a token in a header in a log", jwt.clone()));
        let body: Vec<String> = (0..10).map(|_| self.word(64)).collect();
        self.values.push(("a private key in a log", body[3].clone()));
        let mut lines = vec![
            format!("level=error msg=\"InvalidAccessKeyId: {id} is not known\""),
            format!("level=debug msg=\"GET /v2/\" Authorization: Bearer {jwt}"),
            format!("level=info msg=\"pushed\" by={}", self.value("a token in a log", &["gh", "p_"], 36)),
            format!("retry with password={} failed", self.value("a password in a log", &[], 24)),
            ["-----BEGIN RSA", " PRIVATE KEY-----"].concat(),
        ];
        lines.extend(body);
        lines.push(["-----END RSA", " PRIVATE KEY-----"].concat());
        lines
    }
}

/// Objects with secrets, in Velero's namespace, as the API server returns them.
async fn plant(context: &Arc<Context>, planted: &mut Planted) -> Vec<Value> {
    let hook =
        format!("[\"/bin/sh\",\"-c\",\"PGPASSWORD={} pg_dump shop\"]", planted.value("a hook's annotation", &[], 20));
    let environment = planted.value("an environment", &["gl", "pat-"], 20);
    let argument = planted.value("an argument", &["sk_", "live_"], 24);
    let pod: Pod = context
        .create(json!({
            "metadata": {"name": "shop-0", "annotations": {"pre.hook.backup.velero.io/command": hook}},
            "spec": {"containers": [{
                "name": "shop",
                "image": "registry.example.com/shop:1",
                "env": [{"name": "GITLAB_TOKEN", "value": environment}],
                "args": ["--listen=:80", format!("--payment-key={argument}")],
            }]},
        }))
        .await;
    let body = format!("user: shop\napi_key: {}\n", planted.value("a ConfigMap", &["np", "m_"], 36));
    let settings: ConfigMap = context
        .create(json!({
            "metadata": {"name": "plugin-settings", "labels": {"velero.io/plugin-config": ""}},
            "data": {"settings.yaml": body},
        }))
        .await;
    let pull = format!("pull failed: {}", planted.value("an Event", &["xoxb-", "123456789012-123456789012-"], 24));
    let event: Event = context
        .create(json!({
            "metadata": {"name": "shop-0.1"},
            "involvedObject": {"kind": "Pod", "namespace": context.namespace, "name": "shop-0", "apiVersion": "v1"},
            "reason": "Failed", "message": pull, "type": "Warning",
            "firstTimestamp": Timestamp::now(), "lastTimestamp": Timestamp::now(),
        }))
        .await;
    let dump = format!("mysqldump --user=shop --password={} shop", planted.value("a hook's spec", &[], 24));
    let hooks = json!({"resources": [{"name": "dump", "pre": [{"exec": {"command": ["/bin/sh", "-c", dump]}}]}]});
    let backup = backup("of-old").spec("hooks", hooks).completed().started(Timestamp::now());
    let backup = context.create_velero(backup).await;
    [
        serde_json::to_value(pod),
        serde_json::to_value(settings),
        serde_json::to_value(event),
        serde_json::to_value(backup),
    ]
    .map(Result::unwrap)
    .into()
}

/// The scanner's findings below a folder: one JSON object for each.
async fn scan(folder: &Path, report: &Path) -> Vec<Value> {
    let scanner = tools::path(Tool::Gitleaks).await.unwrap_or_else(|error| panic!("{error}"));
    let ran = Command::new(scanner)
        .args(["dir", "--no-banner", "--redact=0", "--log-level=error", "--report-format=json", "--report-path"])
        .arg(report)
        .arg(folder)
        .output()
        .expect("the scanner can be started");
    assert!(matches!(ran.status.code(), Some(0 | 1)), "{ran:?}");
    serde_json::from_slice(&std::fs::read(report).expect("a report")).expect("JSON")
}

/// BEGIN and END of a private key stay readable, and the scanner accepts any bytes between them: nothing leaks if each
/// line between them is only a time and a whole token.
fn is_empty_frame(found: &Value) -> bool {
    const FRAME: &str = concat!(
        r"\A-----BEGIN RSA PRIVATE KEY-----\n(?:[0-9TZ:.-]{20,30} \[REDACTED:pem:[0-9a-f]{8}\]\n)+",
        r"[0-9TZ:.-]{20,30} -----END RSA PRIVATE KEY-----\z",
    );
    let frame = regex::Regex::new(FRAME).expect("a pattern");
    found["RuleID"] == "private-key" && found["Match"].as_str().is_some_and(|text| frame.is_match(text))
}

#[tokio::test]
async fn sec_x64_a_public_scanner_finds_nothing_in_a_bundle_and_all_in_what_it_was_made_of() {
    with_namespace("scanner", |context| async move {
        let mut planted = Planted::new();
        let velero = Velero::of(&context).start().await;
        velero.pretend_node_agent().await;
        let log = planted.log();
        context.log("node-agent-k4w9z", "node-agent", LogScript::lines(&log));
        let objects = plant(&context, &mut planted).await;
        velero.partially_failed_restore("r1").await;
        let operator = Operator::of(&context).ready().await;
        let (status, bundle) = context.bundle("b", spec_about("Restore", "r1")).await;
        assert!(matches!(status.phase, Some(Phase::Completed | Phase::PartiallyFailed)), "{status:?}");
        assert!(operator.log().iter().all(|line| !line.to_string().contains("self-check found")), "nor the self-check");

        let inputs = context.folder("inputs");
        std::fs::write(inputs.join("node-agent.log"), log.join("\n")).unwrap();
        for (at, object) in objects.iter().enumerate() {
            std::fs::write(inputs.join(format!("{at}.json")), serde_json::to_vec_pretty(object).unwrap()).unwrap();
        }
        let found = scan(&inputs, &context.folder("reports").join("inputs.json")).await;
        for (carrier, value) in &planted.values {
            let hit = |hit: &&Value| hit["Match"].as_str().is_some_and(|text| text.contains(value.as_str()));
            assert!(found.iter().any(|found| hit(&found)), "the scanner does not see {carrier}: {found:#?}");
        }

        let unpacked = context.folder("unpacked");
        for path in bundle.paths() {
            let file = unpacked.join(path);
            std::fs::create_dir_all(file.parent().expect("below the folder")).unwrap();
            std::fs::write(&file, bundle.bytes(path)).unwrap();
        }
        // Each carrier is in the bundle: otherwise the scanner could find nothing in it.
        let agent = bundle.paths().find(|path| path.contains("node-agent-k4w9z") && path.ends_with("current.log"));
        assert!(bundle.file(agent.expect("the log is there")).contains("[REDACTED:"));
        let pods = bundle.file(&format!("namespaces/{}/core/pods.yaml", context.namespace));
        assert!(pods.contains("PGPASSWORD=[REDACTED:") && pods.contains("GITLAB_TOKEN"), "{pods}");
        let values: Vec<&str> = planted.values.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(bundle.find(&values), Vec::<String>::new());
        let found = scan(&unpacked, &context.folder("reports").join("bundle.json")).await;
        let found: Vec<_> = found.iter().filter(|found| !is_empty_frame(found)).collect();
        assert!(found.is_empty(), "{found:#?}");
    })
    .await;
}
