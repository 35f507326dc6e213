//! The order in which a bundle over its size limit is trimmed, and a manifest that reports every cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use debugbundle_crd::DebugBundleSpec;
use debugbundle_operator::{
    location::EndpointPolicy,
    run::{Engine, EngineOptions, Origin, StoreNeed, Subject, Tracker},
};
use harness::{
    Context, LogScript,
    load::Held,
    pod,
    readers::{self, Archive, manifest_of},
    with_namespace,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ServiceAccount};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Pods that are well, and the size of their logs; a bundle takes 1 MiB of each.
const HEALTHY: usize = 6;
const HEALTHY_LOG: u64 = 2 << 20;
/// Pods that are unhealthy, and the size of their logs.
const BROKEN: usize = 3;
const BROKEN_LOG: u64 = 16 << 20;

/// A sealed bundle and its manifest.
struct Made {
    file: PathBuf,
    manifest: Value,
    folder: tempfile::TempDir,
}

/// A bundle about the installation with these limits of the bundle and of the spool.
async fn made(context: &Context, bundle_limit: u64, spool_limit: u64) -> Made {
    made_about(context, DebugBundleSpec::default(), bundle_limit, spool_limit).await
}

async fn made_about(context: &Context, spec: DebugBundleSpec, bundle_limit: u64, spool_limit: u64) -> Made {
    let options = EngineOptions {
        namespace: context.namespace.clone(),
        spool_limit,
        bundle_limit,
        version: "test".to_owned(),
        allowed_namespaces: None,
        cluster_read: true,
        endpoints: EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() },
        multipart_threshold: u64::MAX,
    };
    let subject = Subject {
        name: "it".to_owned(),
        namespace: context.namespace.clone(),
        uid: "0123456789abcdef".to_owned(),
        attempt: 1,
        asked: jiff::Timestamp::now(),
        origin: Origin::Cli,
        target_uid: None,
        spec,
        recorded_key: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let (tracker, cancel) = (Tracker::default(), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_mins(4);
    let packed = Engine::new(context.client.clone(), options)
        .pack(&subject, StoreNeed::Optional, &folder.path().join("spool"), &tracker, deadline, &cancel)
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
    /// The size of each entry, by path.
    fn entries(&self) -> BTreeMap<&str, u64> {
        let entries = array(&self.manifest["entries"]);
        entries.map(|entry| (text(entry, "path"), entry["bytes"].as_u64().expect("a size"))).collect()
    }

    /// The rule of each cut, by path.
    fn trimmed(&self) -> BTreeMap<&str, &str> {
        let trimmed = array(&self.manifest["trimmed"]);
        trimmed.map(|trimmed| (text(trimmed, "path"), text(trimmed, "rule"))).collect()
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.file).expect("it is sealed").len()
    }

    /// Checks that each planned item is reported exactly once, except shortened ones.
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
    }

    fn is_complete(&self) {
        self.is_honest();
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

/// Healthy and unhealthy pods with long logs.
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
        // The log of a pod without a part in Velero's work keeps only its end.
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
        whole.is_complete();
        assert!(whole.trimmed().is_empty(), "{:?}", whole.trimmed());
        let logs: BTreeSet<String> = whole.entries().into_keys().filter(is_log).map(str::to_owned).collect();
        assert_eq!(logs, well.union(&ill).cloned().collect(), "all are read");
        let of_ill: u64 = whole.entries().iter().filter(|(path, _)| ill.contains(**path)).map(|(_, n)| *n).sum();
        assert!(of_ill > BROKEN as u64 * BROKEN_LOG, "{of_ill}");

        // Slightly too small: some logs of healthy pods are trimmed, the largest first, and nothing else.
        let less = made(&context, whole.bytes() * 4 / 3 - (100 << 10), 1 << 30).await;
        less.is_complete();
        let gone: BTreeSet<String> = less.trimmed().into_keys().map(str::to_owned).collect();
        assert!(!gone.is_empty() && gone.len() < HEALTHY && gone.is_subset(&well), "{gone:?}");
        assert!(less.trimmed().values().all(|rule| *rule == "HealthyLogs"), "{:?}", less.trimmed());
        let kept: BTreeSet<&str> = less.entries().into_keys().collect();
        let expected: BTreeSet<&str> = whole.entries().into_keys().filter(|path| !gone.contains(*path)).collect();
        assert_eq!(kept, expected);

        // A third: all logs of healthy pods are trimmed, then discovery, then the middle of the explaining logs.
        let limit = whole.bytes() / 3;
        let third = made(&context, limit, 1 << 30).await;
        third.is_complete();
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
        let summary = crate::support::bundles::entry_text(&third.file, "summary.md");
        assert!(summary.contains("## Left out to stay within the bundle's size limit"), "{summary}");
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
        small.is_complete();
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

/// Lines that compress to half their size.
fn noise(seed: u64, bytes: usize) -> Vec<String> {
    let mut state = seed | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{:02x}-{:03x}-{:04x}", state & 0xff, state >> 52, (state >> 20) & 0xffff)
    };
    (0..bytes / 60).map(|_| (0..5).map(|_| word()).collect::<Vec<_>>().join(" ")).collect()
}

/// A node-agent whose log contains copies of the logs of deleted data movers; returns the movers' names.
async fn agent_with_copies(context: &Arc<Context>, bytes: usize) -> Vec<String> {
    let movers: Vec<String> = (0..3).map(|index| format!("mover-{index}")).collect();
    let marker = |word: &str, of: &str| format!("{0}{word} pod logs[{of}/c]{0}", "*".repeat(27));
    let mut lines = vec!["time=now level=info msg=started".to_owned()];
    for (seed, mover) in movers.iter().enumerate() {
        lines.push(marker("begin", mover));
        lines.extend(noise(seed as u64 + 7, bytes));
        lines.push(marker("end", mover));
    }
    context.log("node-agent-1", "node-agent", LogScript::lines(lines));
    context.node_agents().await;
    let node = context.node("east").await;
    let agent = pod("node-agent-1").labelled("role", "node-agent").with_container("node-agent").on_node(&node);
    context.pod(agent).await;
    movers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_out_of_a_node_agents_log_are_charged_and_trimmed_like_any_log() {
    with_namespace("budget-copies", |context| async move {
        let movers = agent_with_copies(&context, 3 << 20).await;
        let paths: Vec<String> =
            movers.iter().map(|mover| log_of(&context, mover).replace("/main/main/", "/c/c/")).collect();
        let whole = made(&context, 512 << 20, 1 << 30).await;
        whole.is_complete();
        assert!(whole.trimmed().is_empty(), "{:?}", whole.trimmed());
        for path in &paths {
            assert!(whole.entries()[path.as_str()] > 3 << 20, "{path}: {:?}", whole.entries().get(path.as_str()));
        }
        assert!(whole.bytes() > 6 << 20, "they lie there twice, in the log and out of it: {}", whole.bytes());

        for (bundle_limit, spool_limit) in [(4 << 20, 1 << 30), (512 << 20, 8 << 20)] {
            let less = made(&context, bundle_limit, spool_limit).await;
            less.is_complete();
            assert!(less.bytes() <= bundle_limit.min(spool_limit / 2), "{} of {bundle_limit}", less.bytes());
            let (entries, trimmed) = (less.entries(), less.trimmed());
            for path in &paths {
                assert_eq!(trimmed.get(path.as_str()), Some(&"Logs"), "{path} in {trimmed:#?}");
                assert!((200 << 10..=2 << 20).contains(&entries[path.as_str()]), "{path}: {}", entries[path.as_str()]);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_spool_that_holds_next_to_nothing_a_bundle_is_stored_that_says_what_it_lacks() {
    with_namespace("budget-least", |context| async move {
        agent_with_copies(&context, 3 << 20).await;
        for spool_limit in [1 << 20, 512 << 10, 192 << 10] {
            let least = made(&context, 512 << 20, spool_limit).await;
            least.is_honest();
            assert!(least.bytes() < spool_limit, "{} of {spool_limit}", least.bytes());
            assert_eq!(least.manifest["outcome"], "PartiallyFailed");
            let entries = least.entries();
            let lacks: Vec<&Value> =
                array(&least.manifest["missing"]).filter(|one| one["code"] == "TooLarge").collect();
            assert!(spool_limit > 256 << 10 || !lacks.is_empty(), "{spool_limit}: {:#}", least.manifest["trimmed"]);
            for lack in lacks {
                assert_eq!(lack["severity"], "error", "{lack}");
                assert!(text(lack, "cure").contains("--spool-limit-mib"), "{lack}");
                assert!(!entries.contains_key(text(lack, "path")), "it is there and missing: {lack}");
            }
            assert!(entries.contains_key("summary.md"), "{spool_limit}: {entries:?}");
        }
    })
    .await;
}

/// Objects of this kind, each with a large annotation.
async fn large_objects<K>(context: &Context, name: &str, count: u64, object: Value)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug,
{
    for index in 0..count {
        let mut object = object.clone();
        object["metadata"] = json!({"name": format!("{name}-{index}"),
            "annotations": {"team.example/notes": noise(index + 99, 230 << 10).join(" ")}});
        context.create::<K>(object).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_objects_those_go_first_that_are_not_the_targets_and_of_the_targets_lists_its_own_stay() {
    with_namespace("budget-objects", |context| async move {
        crate::support::bundles::velero_objects(&context).await;
        large_objects::<ServiceAccount>(&context, "account", 8, json!({})).await;
        let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        large_objects::<PersistentVolumeClaim>(&context, "claim", 8, claim.clone()).await;
        let mut own = claim;
        own["metadata"] = json!({"name": "own", "labels": {"velero.io/restore-name": "r1"}});
        context.create::<PersistentVolumeClaim>(own).await;
        let about = || serde_json::from_value::<DebugBundleSpec>(crate::support::bundles::about_r1()).unwrap();
        let path = |list: &str| format!("namespaces/{}/core/{list}.yaml", context.namespace);
        let (accounts, claims) = (path("serviceaccounts"), path("persistentvolumeclaims"));

        let whole = made_about(&context, about(), 512 << 20, 1 << 30).await;
        whole.is_honest();
        assert!(whole.trimmed().is_empty(), "{:?}", whole.trimmed());
        let (all_accounts, all_claims) = (whole.entries()[accounts.as_str()], whole.entries()[claims.as_str()]);
        assert!(all_accounts.min(all_claims) > 1 << 20, "{all_accounts} {all_claims}");
        assert!(whole.bytes() > 3 << 19, "{}", whole.bytes());
        let errors = |made: &Made| array(&made.manifest["missing"]).filter(|one| one["severity"] == "error").count();
        let least_errors = errors(&whole);

        // Room for one of the two.
        let limit = whole.bytes();
        let less = made_about(&context, about(), limit, 1 << 30).await;
        less.is_honest();
        assert!(less.bytes() <= limit);
        let trimmed = less.trimmed();
        assert_eq!(trimmed.get(accounts.as_str()), Some(&"Objects"), "{trimmed:#?}");
        assert!(!less.entries().contains_key(accounts.as_str()));
        assert_eq!(less.entries().get(claims.as_str()), Some(&all_claims), "{trimmed:#?}");
        assert_eq!(errors(&less), least_errors, "what is trimmed so is as was asked: {:#}", less.manifest["missing"]);

        // Room for neither.
        let limit = whole.bytes() / 2;
        let least = made_about(&context, about(), limit, 1 << 30).await;
        least.is_honest();
        assert!(least.bytes() <= limit);
        let trimmed = least.trimmed();
        assert_eq!(trimmed.get(accounts.as_str()), Some(&"Objects"), "{trimmed:#?}");
        assert_eq!(trimmed.get(claims.as_str()), Some(&"TargetLists"), "{trimmed:#?}");
        assert_eq!(least.manifest["outcome"], "PartiallyFailed");
        let claims = crate::support::bundles::entry_text(&least.file, &claims);
        assert!(claims.contains("name: own") && !claims.contains("claim-0"), "{claims:.2000}");
        let told =
            &array(&least.manifest["entries"]).find(|entry| text(entry, "path") == path("persistentvolumeclaims"));
        assert_eq!(told.expect("it is there")["source"]["items"], 1);
    })
    .await;
}
