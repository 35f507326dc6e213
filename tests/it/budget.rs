//! What a bundle keeps when it may not hold everything: the order of trimming, and an honest manifest.
//! What quantities cost is `memory`'s matter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use debugbundle_crd::DebugBundleSpec;
use debugbundle_operator::location::EndpointPolicy;
use debugbundle_operator::run::{Engine, Options, Origin, Store, Subject, Tracker};
use harness::load::Held;
use harness::readers::{self, Archive, manifest_of};
use harness::{Context, LogScript, pod, with_namespace};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the bystanders' logs hold; a bundle takes 1 MiB of each.
const HEALTHY: usize = 6;
const HEALTHY_LOG: u64 = 2 << 20;
/// What those hold that are not well.
const BROKEN: usize = 3;
const BROKEN_LOG: u64 = 16 << 20;

/// A sealed bundle and its manifest.
struct Made {
    file: PathBuf,
    manifest: Value,
    folder: tempfile::TempDir,
}

/// A bundle about the installation, of this size at most, made in a spool of this size.
async fn made(context: &Context, bundle_limit: u64, spool_limit: u64) -> Made {
    let options = Options {
        namespace: context.namespace.clone(),
        spool_limit,
        bundle_limit,
        version: "test".to_owned(),
        allowed_namespaces: None,
        cluster_read: true,
        endpoints: EndpointPolicy { allow_loopback: true, require_verified_tls: false },
        multipart_threshold: u64::MAX,
    };
    let subject = Subject {
        name: "it".to_owned(),
        namespace: context.namespace.clone(),
        uid: "0123456789abcdef".to_owned(),
        attempt: 1,
        origin: Origin::Cli,
        spec: DebugBundleSpec::default(),
    };
    let folder = tempfile::tempdir().unwrap();
    let (tracker, cancel) = (Tracker::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_mins(4);
    let packed = Engine::new(context.client.clone(), options)
        .pack(&subject, Store::Optional, &folder.path().join("spool"), &tracker, deadline, &cancel)
        .await
        .unwrap_or_else(|fault| panic!("no bundle: {fault}"));
    let file = packed.sealed().file.clone();
    let manifest = serde_json::from_slice(&manifest_of(&file)).expect("manifest.json is JSON");
    Made { file, manifest, folder }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

impl Made {
    /// The size of each entry.
    fn entries(&self) -> BTreeMap<&str, u64> {
        let entries = array(&self.manifest["entries"]);
        entries.map(|entry| (text(entry, "path"), entry["bytes"].as_u64().expect("a size"))).collect()
    }

    /// Path and rule.
    fn trimmed(&self) -> BTreeMap<&str, &str> {
        let trimmed = array(&self.manifest["trimmed"]);
        trimmed.map(|trimmed| (text(trimmed, "path"), text(trimmed, "rule"))).collect()
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.file).expect("it is sealed").len()
    }

    /// Each planned thing is told in exactly one way, but for what was shortened.
    fn is_honest(&self) {
        let entries: BTreeSet<&str> = self.entries().into_keys().collect();
        for trimmed in array(&self.manifest["trimmed"]) {
            let (path, kept) = (text(trimmed, "path"), trimmed["keptBytes"].as_u64());
            assert_eq!(self.entries().get(path).copied().unwrap_or(0), kept.unwrap(), "{trimmed}");
        }
        let shortened: BTreeSet<&str> = array(&self.manifest["entries"])
            .filter(|entry| entry["truncated"]["reason"] == "Budget")
            .map(|entry| text(entry, "path"))
            .collect();
        let told: BTreeSet<&str> = self.trimmed().into_keys().filter(|path| entries.contains(path)).collect();
        assert_eq!(shortened, told);
        assert_eq!(self.manifest["outcome"], "Completed", "{:#}", self.manifest["missing"]);
    }

    fn can_be_read_by_all(&self) {
        for (name, reads) in readers::ALL {
            let scratch = self.folder.path().join(name.replace([' ', ',', '\''], "-"));
            std::fs::create_dir(&scratch).unwrap();
            reads(&Archive::of_its_manifest(self.file.clone(), scratch));
        }
    }
}

fn log_of(context: &Context, pod: &str) -> String {
    format!("namespaces/{}/pods/{pod}/main/main/logs/current.log", context.namespace)
}

fn healthy(context: &Context) -> BTreeSet<String> {
    (0..HEALTHY).map(|index| log_of(context, &format!("well-{index}"))).collect()
}

fn broken(context: &Context) -> BTreeSet<String> {
    (0..BROKEN).map(|index| log_of(context, &format!("ill-{index}"))).collect()
}

/// Pods that are well, and pods that are not, with long logs.
async fn pods(context: &Arc<Context>) {
    let nodes = [context.node("east").await, context.node("west").await, context.node("north").await];
    for index in 0..HEALTHY {
        let name = format!("well-{index}");
        context.log(&name, "main", LogScript::generated(HEALTHY_LOG, index as u64));
        context.pod(pod(&name).with_container("main").on_node(&nodes[index % 3])).await;
    }
    context.node_agents().await;
    for index in 0..BROKEN {
        let name = format!("ill-{index}");
        context.log(&name, "main", LogScript::generated(BROKEN_LOG, 100 + index as u64));
        // Of a pod that has no part in Velero's work the end alone is kept.
        let ill = pod(&name).labelled("role", "node-agent").with_container("main").on_node(&nodes[index % 3]);
        context.pod(ill.waiting("CrashLoopBackOff", "back-off")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_explains_a_failure_is_kept_and_the_healthy_are_trimmed_first() {
    with_namespace("budget", |context| async move {
        pods(&context).await;
        let (well, ill) = (healthy(&context), broken(&context));
        let is_log = |path: &&str| path.ends_with("/current.log");

        let whole = made(&context, 512 << 20, 1 << 30).await;
        whole.is_honest();
        assert!(whole.trimmed().is_empty(), "{:?}", whole.trimmed());
        let logs: BTreeSet<String> = whole.entries().into_keys().filter(is_log).map(str::to_owned).collect();
        assert_eq!(logs, well.union(&ill).cloned().collect(), "all are read");
        let of_ill: u64 = whole.entries().iter().filter(|(path, _)| ill.contains(**path)).map(|(_, n)| *n).sum();
        assert!(of_ill > BROKEN as u64 * BROKEN_LOG, "{of_ill}");

        // A little less than it takes: some of the healthy go, the largest first, and nothing else.
        let less = made(&context, whole.bytes() * 4 / 3 - (100 << 10), 1 << 30).await;
        less.is_honest();
        let gone: BTreeSet<String> = less.trimmed().into_keys().map(str::to_owned).collect();
        assert!(!gone.is_empty() && gone.len() < HEALTHY && gone.is_subset(&well), "{gone:?}");
        assert!(less.trimmed().values().all(|rule| *rule == "HealthyLogs"), "{:?}", less.trimmed());
        let kept: BTreeSet<&str> = less.entries().into_keys().collect();
        let expected: BTreeSet<&str> = whole.entries().into_keys().filter(|path| !gone.contains(*path)).collect();
        assert_eq!(kept, expected);

        // A third: all of the healthy, then discovery, then the middle of what explains.
        let limit = whole.bytes() / 3;
        let third = made(&context, limit, 1 << 30).await;
        third.is_honest();
        assert!(third.bytes() <= limit, "{} of {limit}", third.bytes());
        let trimmed = third.trimmed();
        for (path, rule) in
            [("aggregated-discovery-api.yaml", "Discovery"), ("aggregated-discovery-apis.yaml", "Discovery")]
                .into_iter()
                .chain(well.iter().map(|path| (path.as_str(), "HealthyLogs")))
        {
            assert_eq!(trimmed.get(path), Some(&rule), "{path} in {trimmed:#?}");
            assert!(!third.entries().contains_key(path), "{path} is still there");
        }
        let shortened: Vec<&str> = ill.iter().map(String::as_str).filter(|path| trimmed.contains_key(path)).collect();
        assert!(!shortened.is_empty() && shortened.iter().all(|path| trimmed[path] == "Logs"), "{trimmed:#?}");
        assert_eq!(trimmed.len(), HEALTHY + 2 + shortened.len(), "objects stay: {trimmed:#?}");
        for path in &ill {
            let bytes = third.entries()[path.as_str()];
            assert!(bytes > 1 << 20, "{path} keeps its end: {bytes}");
        }
        let held = Held::by(&third.file).unwrap();
        assert_eq!(held.markers.len(), shortened.len(), "{:?}", held.markers);
        let summary = in_bundle(&third.file, "summary.md");
        assert!(summary.contains("## Left out to keep within the bundle's size"), "{summary}");
        for path in &well {
            assert!(summary.contains(path.as_str()), "{path} is not in the summary");
        }
        tokio::task::spawn_blocking(move || third.can_be_read_by_all()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_is_too_small_for_all_that_is_read_at_once_still_holds_a_bundle() {
    with_namespace("budget-spool", |context| async move {
        pods(&context).await;
        let small = made(&context, 512 << 20, 6 << 20).await;
        small.is_honest();
        assert!(small.bytes() <= 3 << 20, "{}", small.bytes());
        let entries = small.entries();
        for path in broken(&context) {
            assert!(entries[path.as_str()] > 200 << 10, "{path} is kept: {:?}", small.trimmed());
        }
        let too_large: Vec<_> = array(&small.manifest["missing"]).filter(|one| one["code"] == "TooLarge").collect();
        assert!(too_large.is_empty(), "{too_large:#?}");
    })
    .await;
}

fn in_bundle(archive: &Path, name: &str) -> String {
    use std::io::Read as _;
    let file = std::fs::File::open(archive).expect("it is there");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut entries = tar.entries().expect("an archive").map(|entry| entry.expect("an entry"));
    let found = entries.find(|entry| entry.path().expect("a path").ends_with(name));
    let mut text = String::new();
    found.unwrap_or_else(|| panic!("no {name}")).read_to_string(&mut text).expect("text");
    text
}
