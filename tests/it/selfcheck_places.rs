//! Texts in the form of secrets in all places that a bundle is made of, whole and torn over several records: wherever they
//! stand, there is a bundle, and no secret that is whole in its record is left. The test prints what became of each.

use std::collections::BTreeMap;

use debugbundle_crd::Phase;
use harness::bundle::spec_about;
use harness::context::PREFIX;
use harness::velero_objects::{backup, restore, schedule};
use harness::{Context, LogScript, Operator, with_namespace};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::bundles::{is_stored, phase, server_pod, spool_is_empty, status, until_ended};

/// Texts with a secret in them, by their form: the parts that must not leave, and the text.
struct Forms(u64);

impl Forms {
    fn letters(&mut self, length: usize, of: &[u8]) -> String {
        let mut letter = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            char::from(of[usize::try_from(self.0 >> 33).unwrap() % of.len()])
        };
        (0..length).map(|_| letter()).collect()
    }

    fn word(&mut self, length: usize) -> String {
        self.letters(length, b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    }

    /// A key of three lines: the lines, and the text with this between them.
    fn key(&mut self, label: &str, between: &str) -> (Vec<String>, String) {
        let lines: Vec<String> = (0..3).map(|_| self.word(64)).collect();
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
        let text = [&[begin], &lines[..], &[end]].concat().join(between);
        (lines, text)
    }

    fn all(&mut self, between: &str) -> Vec<(&'static str, Vec<String>, String)> {
        let mut all = Vec::new();
        for (name, label) in
            [("PEM", "RSA PRIVATE"), ("PKCS 8", "PRIVATE"), ("OpenSSH", "OPENSSH PRIVATE"), ("EC", "EC PRIVATE")]
        {
            let (lines, text) = self.key(&format!("{label} KEY"), between);
            all.push((name, lines, text));
        }
        let (lines, text) = self.key(&["PGP PRIVATE KEY", " BLOCK"].concat(), between);
        all.push(("PGP", lines, text));
        let (lines, text) = self.key(&["PRIVATE", " KEY"].concat(), "\\n");
        all.push(("GCP", lines, format!("{{\"type\":\"service_account\",\"private_key\":\"{text}\"}}")));
        let mut one = |name, before: &str, value: String, after: &str| {
            all.push((name, vec![value.clone()], format!("{before}{value}{after}")));
        };
        let id = ["AK", "IA"].concat() + &self.letters(16, b"ABCDEFGHJKLMNPQRSTUVWXYZ234567");
        one("AWS id", "aws_access_key_id=", id, "");
        one("AWS secret", "aws_secret_access_key=", self.word(40), "");
        one("GitLab", "", ["gl", "pat-"].concat() + &self.word(20), "");
        one("GitHub", "", ["gh", "p_"].concat() + &self.word(36), "");
        one("Slack", "", ["xox", "b-1234567890-"].concat() + &self.word(24), "");
        let jwt =
            [["ey", "J"].concat() + &self.word(30), ["ey", "J"].concat() + &self.word(60), self.word(43)].join(".");
        one("JWT", "", jwt, "");
        one("bearer", "Authorization: Bearer ", self.word(40), "");
        one("Azure", "AccountName=a;AccountKey=", self.word(86), "==;EndpointSuffix=x");
        one("presigned", "https://s3/b/k?X-Amz-Signature=", self.letters(64, b"0123456789abcdef"), "&x=y");
        one("URL", "https://robot:", self.word(12), "@git.example.com/x");
        all
    }
}

/// Records of a place: the cell that each belongs to, and its text.
type Records = [(String, String)];

/// The places in which texts stand.
const PLACES: [&str; 6] = ["log", "results", "Event", "annotation", "message", "name"];

/// All records of one mode.
#[derive(Default)]
struct Planted {
    mode: &'static str,
    forms: Vec<&'static str>,
    /// The parts that must not leave, which are whole in their records.
    secrets: Vec<String>,
    records: BTreeMap<&'static str, Vec<(String, String)>>,
}

impl Planted {
    fn new(mode: &'static str, forms: &mut Forms) -> Self {
        let mut planted = Self { mode, ..Self::default() };
        for place in PLACES {
            let all = forms.all(if mode == "whole" && place == "log" { "\\n" } else { "\n" });
            planted.forms = all.iter().map(|(form, ..)| *form).collect();
            for (form, parts, text) in all {
                let half = text.find(&parts[0]).expect("in it") + parts[0].len() / 2;
                let texts: Vec<&str> = match mode {
                    "whole" => vec![&text],
                    _ if text.contains('\n') => text.lines().collect(),
                    _ => vec![&text[..half], &text[half..]],
                };
                let cell = planted.cell(place, form);
                let records = texts.into_iter().map(|text| (cell.clone(), text.to_owned()));
                planted.records.entry(place).or_default().extend(records);
                if mode == "whole" && place != "name" {
                    planted.secrets.extend(parts);
                }
            }
        }
        planted
    }

    fn cell(&self, place: &str, form: &str) -> String {
        format!("{}/{place}/{form}", self.mode)
    }

    fn of(&self, place: &str) -> &Records {
        &self.records[place]
    }

    fn lines(&self, place: &str) -> Vec<String> {
        self.of(place).iter().map(|(cell, text)| format!("{cell}: {text}")).collect()
    }

    /// Puts each record into its place, around a Restore of this name.
    async fn put(&self, context: &Context, restore_name: &str) {
        let now = Timestamp::now();
        context.log("velero-1", "velero", LogScript::lines(self.lines("log")));
        let results = json!({"errors": {"namespaces": {"shop": self.lines("results")}}, "warnings": {}}).to_string();
        let key = format!("{PREFIX}/restores/{restore_name}/restore-{restore_name}-results.gz");
        context.bucket.put_gzipped(&key, results).await;
        as_events(context, self.of("Event")).await;
        as_messages(context, &format!("{}-messages", self.mode), self.of("message")).await;
        let mut target = restore(restore_name).partially_failed().started(now).ended(now).status("errors", 1);
        target = target.status("failureReason", "the disk is full");
        for (n, line) in self.lines("annotation").into_iter().enumerate() {
            target = target.annotated(&format!("example.com/a{n:03}"), line);
        }
        context.create_velero(target).await;
        for (n, (_, text)) in self.of("name").iter().enumerate() {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
            let name: String = text.chars().map(plain).take(200).collect();
            context.create_velero(schedule(&format!("{}-{n}-{}", self.mode, name.trim_matches('-')))).await;
        }
    }

    /// Prints what became of each cell in the files of a bundle. Returns the cells of which more is left than may be.
    fn print(&self, texts: &BTreeMap<&str, String>) -> Vec<String> {
        let file = |place: &str| {
            let (folder, file) = match place {
                "log" => ("namespaces", "pods/velero-1/velero/velero/logs/current.log"),
                "results" => ("velero/restores", "results.json"),
                "Event" => ("namespaces", "core/events.yaml"),
                "annotation" => ("namespaces", "velero.io/restores.yaml"),
                "message" => ("namespaces", "core/pods.yaml"),
                _ => ("namespaces", "velero.io/schedules.yaml"),
            };
            texts.iter().find(|(path, _)| path.starts_with(folder) && path.ends_with(file)).map(|(_, text)| text)
        };
        let mut wrong = Vec::new();
        println!("| form | whole or torn | {} |", PLACES.join(" | "));
        for form in &self.forms {
            let fates = PLACES.map(|place| {
                let cell = self.cell(place, form);
                let Some(file) = file(place) else {
                    wrong.push(format!("{cell}: the file was withheld"));
                    return "file withheld".to_owned();
                };
                if place == "name" {
                    return "listed".to_owned();
                }
                // The results are one line of JSON.
                let ends = if place == "results" { "\",\"" } else { "\n" };
                let fate = Fate::of(self.of(place), &cell, file.split(ends));
                if fate.plain > self.plain() {
                    wrong.push(format!("{cell}: {fate}"));
                }
                fate.to_string()
            });
            println!("| {form} | {} | {} |", self.mode, fates.join(" | "));
        }
        wrong
    }

    /// How many records of a cell may be left as they are: none that has a secret whole. Of a key that is torn these are
    /// its first and its last line, of another secret both halves, which nothing tells from names.
    fn plain(&self) -> usize {
        if self.mode == "whole" { 0 } else { 2 }
    }
}

/// An Event for each record, all in one second.
async fn as_events(context: &Context, records: &Records) {
    for (n, (cell, text)) in records.iter().enumerate() {
        let event = json!({
            "metadata": {"name": format!("{}-{n:03}", cell.to_lowercase().replace([' ', '/'], "-"))},
            "involvedObject": {"kind": "Pod", "namespace": context.namespace, "name": "velero-1"},
            "reason": "Odd", "type": "Warning", "message": format!("{cell}: {text}"),
            "lastTimestamp": "2026-01-01T00:00:00Z",
        });
        context.create::<Event>(event).await;
    }
}

/// A container with a termination message for each record.
async fn as_messages(context: &Context, pod: &str, records: &Records) {
    let names: Vec<String> = (0..records.len()).map(|n| format!("c{n}")).collect();
    let containers: Vec<Value> = names.iter().map(|name| json!({"name": name, "image": "x"})).collect();
    context.create::<Pod>(json!({"metadata": {"name": pod}, "spec": {"containers": containers}})).await;
    let ended: Vec<Value> = names
        .iter()
        .zip(records)
        .map(|(name, (cell, text))| {
            json!({"name": name, "image": "x", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": format!("{cell}: {text}")}}})
        })
        .collect();
    let status = Patch::Merge(json!({"status": {"phase": "Failed", "containerStatuses": ended}}));
    context.api::<Pod>().patch_status(pod, &PatchParams::default(), &status).await.expect("a status");
}

/// What became of the records of a cell.
struct Fate {
    masked: usize,
    plain: usize,
    withheld: usize,
}

impl Fate {
    /// `lines`: those of the records' file.
    fn of<'a>(records: &Records, cell: &str, lines: impl Iterator<Item = &'a str>) -> Self {
        let all = records.iter().filter(|(of, _)| of == cell).count();
        let lines: Vec<&str> = lines.filter(|line| line.contains(&format!("{cell}:"))).collect();
        assert!(lines.len() <= all, "{cell}: {} of {all}", lines.len());
        let masked = lines.iter().filter(|line| line.contains("[REDACTED:")).count();
        Self { masked, plain: lines.len() - masked, withheld: all - lines.len() }
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [(self.masked, "masked"), (self.plain, "plain"), (self.withheld, "withheld")];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&parts.join(", "))
    }
}

#[tokio::test]
async fn sec_x52_wherever_a_key_stands_whole_or_torn_there_is_a_bundle() {
    with_namespace("check-places", |context| async move {
        let mut forms = Forms(u64::try_from(Timestamp::now().as_nanosecond() & i128::from(i64::MAX)).unwrap() | 1);
        let now = Timestamp::now();
        context.create_velero(backup("seed").completed().started(now).ended(now)).await;
        server_pod(&context, LogScript::lines(["all is well"])).await;
        let operator = Operator::of(&context).ready().await;
        let token = ["gl", "pat-"].concat() + &forms.letters(20, b"abcdefghij0123456789");
        let mut wrong = Vec::new();
        for (mode, restore_name) in [("whole", "r1"), ("torn", token.as_str())] {
            let planted = Planted::new(mode, &mut forms);
            planted.put(&context, restore_name).await;
            let name = format!("restore-{restore_name}");
            context.debug_bundle(&name, spec_about("Restore", restore_name)).await;
            let bundle = until_ended(&context, &name).await;
            assert!(matches!(phase(&bundle), Phase::Completed | Phase::PartiallyFailed), "{:?}", status(&bundle));
            assert_eq!(status(&bundle).cause.as_deref(), Some("the disk is full"));
            let entries = is_stored(&context, &bundle).await;
            let text = |body: &Vec<u8>| String::from_utf8_lossy(body).into_owned();
            let texts: BTreeMap<&str, String> =
                entries.iter().map(|(path, body)| (path.as_str(), text(body))).collect();
            for path in ["summary.md", "report.html", "analysis/diagnosis.json"] {
                assert!(texts.contains_key(path), "{path} is missing: {:?}", texts.keys());
            }
            for secret in &planted.secrets {
                for (path, text) in &texts {
                    assert!(!text.contains(secret.as_str()), "{secret} is in {path}");
                }
            }
            let manifest: Value = serde_json::from_slice(&entries["manifest.json"]).expect("a manifest");
            let root = manifest["bundle"]["root"].as_str().expect("a name");
            assert_eq!(root.starts_with("bundle-"), mode == "torn", "{root}: the DebugBundle has the name of a token");
            wrong.extend(planted.print(&texts));
            let withheld = manifest["missing"].as_array().expect("a list").iter().filter(|m| m["code"] == "Withheld");
            let withheld: Vec<String> = withheld.map(|m| format!("{}: {}", m["path"], m["why"])).collect();
            println!("{mode}: files left out: {withheld:?}; findings: {}", manifest["findings"]["ids"]);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        spool_is_empty(&operator).await;
    })
    .await;
}
