//! Inventory, plan and collection without an operator, with limits that suit a test: what they read, and what is missing.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use debugbundle_archive::{Entry, Spool};
use debugbundle_crd::{DebugBundleSpec, TargetKind};
use debugbundle_format::{
    StoreFile,
    manifest::{Missing, MissingCode, MissingSeverity},
};
use debugbundle_operator::{
    budget::{self, Shares},
    cluster::Cluster,
    collect::{CollectProgress, Collected, Collection, Collector, Pace},
    discovery::{Scope, Snapshot, discover, locate},
    node_slots::NodeSlots,
    plan::plan,
    pod_capture::PodCapture,
    velero::{OpenedFile, StoreFiles},
};
use debugbundle_redact::{Redactor, UserRules};
use flate2::{Compression, write::GzEncoder};
use futures::{FutureExt as _, StreamExt as _};
use harness::{
    Context,
    velero_objects::{backup, restore},
};
use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Velero's files, in memory.
#[derive(Default)]
pub struct Files(BTreeMap<(&'static str, StoreFile), Vec<u8>>);

impl Files {
    pub fn with(mut self, of: TargetKind, file: StoreFile, content: &[u8]) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content).unwrap();
        self.0.insert((of.as_str(), file), gzip.finish().unwrap());
        self
    }
}

impl StoreFiles for Files {
    fn open<'a>(&'a self, of: TargetKind, _name: &'a str, file: StoreFile) -> OpenedFile<'a> {
        let found = self.0.get(&(of.as_str(), file)).cloned();
        let body = found.map(|bytes| futures::stream::iter([Ok(Bytes::from(bytes))]).boxed());
        async move { Ok(body) }.boxed()
    }

    fn key(&self, _of: TargetKind, name: &str, file: StoreFile) -> String {
        format!("{name}/{file:?}")
    }
}

/// A run with limits that suit the tests.
pub struct CollectionRun {
    pub scope: Scope,
    /// Time limit for a response to begin.
    pub answer: Duration,
    pub idle: Duration,
    pub limit: Duration,
    pub pace: Pace,
    pub files: Files,
    /// The user's rules.
    pub rules: UserRules,
    /// The client that reads the cluster; by default the user with all rights.
    pub client: Option<kube::Client>,
}

impl Default for CollectionRun {
    fn default() -> Self {
        Self {
            scope: Scope::everything(),
            answer: Duration::from_secs(20),
            idle: Duration::from_secs(10),
            limit: Duration::from_mins(1),
            pace: Pace::default(),
            files: Files::default(),
            rules: UserRules::default(),
            client: None,
        }
    }
}

impl CollectionRun {
    /// With a client of limited rights.
    pub fn by(client: kube::Client) -> Self {
        Self { client: Some(client), ..Self::default() }
    }

    pub async fn of(self, context: &Context, spec: &DebugBundleSpec) -> CollectionResult {
        self.of_what_changes(context, spec, async || {}).await
    }

    /// With a change between the plan and the reading.
    pub async fn of_what_changes(
        self,
        context: &Context,
        spec: &DebugBundleSpec,
        change: impl AsyncFnOnce(),
    ) -> CollectionResult {
        if self.client.is_some() {
            context.reads_directly();
        }
        let client = self.client.unwrap_or_else(|| context.client.clone());
        let cluster = Cluster::new(client).patient(self.answer, self.idle);
        let soon = Instant::now() + Duration::from_secs(30);
        let located = locate(&cluster, &context.namespace, spec.target.as_ref(), &spec.namespaces, self.scope, soon);
        let refs = Box::pin(located).await.unwrap_or_else(|error| panic!("nothing located: {error:?}"));
        let snapshot = Box::pin(discover(&cluster, refs, spec, None, soon, soon)).await;
        let plan = plan(spec, &snapshot, Timestamp::now());
        let planned = plan.items.iter().map(|item| item.path.as_str().to_owned()).collect();
        change().await;
        let folder = tempfile::tempdir().expect("a folder");
        let collector = Collector {
            cluster,
            redactor: Arc::new(Redactor::of_known(Vec::new()).with(self.rules)),
            spool: Spool::create(folder.path(), 1 << 30).expect("a spool"),
            store: Ok(Arc::new(self.files)),
            pace: self.pace,
            nodes: NodeSlots::default(),
            pod_capture: PodCapture::default(),
            shares: Shares::of(budget::DEFAULT, 1 << 30),
        };
        let progress = Arc::new(CollectProgress::default());
        let deadline = Instant::now() + self.limit;
        let (asked, cancel) = (snapshot.clone(), CancellationToken::new());
        let collected = Box::pin(async {
            let read = Collection::read(&collector, &asked, plan, &progress, &cancel, deadline).await?;
            read.finish(&asked).await
        });
        let collected = collected.await.unwrap_or_else(|error| panic!("nothing collected: {error:?}"));
        let now = progress.now();
        assert_eq!(now.items_done, now.items_total, "every item ends");
        CollectionResult { snapshot, collected, planned, _folder: folder }
    }
}

/// The results of a run.
pub struct CollectionResult {
    pub snapshot: Snapshot,
    pub collected: Collected,
    pub planned: Vec<String>,
    _folder: tempfile::TempDir,
}

impl CollectionResult {
    pub fn entry(&self, path: &str) -> &Entry {
        let known = || self.collected.entries.iter().map(|entry| entry.segment.path().as_str()).collect::<Vec<_>>();
        let found = self.collected.entries.iter().find(|entry| entry.segment.path().as_str() == path);
        found.unwrap_or_else(|| panic!("no {path} in {:#?}; missing {:#?}", known(), self.collected.missing))
    }

    /// Whether a path below this folder was planned.
    pub fn planned_at(&self, folder: &str) -> bool {
        self.planned.iter().any(|path| path.starts_with(folder))
    }

    pub fn has(&self, path: &str) -> bool {
        self.collected.entries.iter().any(|entry| entry.segment.path().as_str() == path)
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.entry(path).segment.reader().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    pub fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.bytes(path)).into_owned()
    }

    pub fn yaml(&self, path: &str) -> Value {
        serde_saphyr::from_str(&self.text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The names in the List of a namespace's objects, such as `core/pods`.
    pub fn names_in(&self, namespace: &str, kind: &str) -> Vec<String> {
        self.names(&format!("namespaces/{namespace}/{kind}.yaml"))
    }

    pub fn names(&self, path: &str) -> Vec<String> {
        let list = self.yaml(path);
        let items = list["items"].as_array().expect("a List").iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    pub fn missing(&self, path: &str) -> &Missing {
        let found = self.collected.missing.iter().find(|missing| missing.path == path);
        found.unwrap_or_else(|| panic!("{path} is not missing: {:#?}", self.collected.missing))
    }

    pub fn errors(&self) -> Vec<&Missing> {
        self.collected.missing.iter().filter(|missing| missing.severity == MissingSeverity::Error).collect()
    }

    /// Each planned item is an entry, empty or missing.
    pub fn is_complete(&self) {
        for path in &self.planned {
            let unproven = path.replace("t.log", "t.insecure.log").replace("s.log", "s.insecure.log");
            let entries = usize::from(self.has(path)) + usize::from(unproven != *path && self.has(&unproven));
            let empty = self.collected.empty.iter().filter(|empty| *empty == path).count();
            // Rights missing in a whole namespace are reported once.
            let told = |missing: &Missing| {
                let all = missing.code == MissingCode::Forbidden && path.starts_with(&format!("{}/", missing.path));
                missing.path == *path || all
            };
            let missing = self.collected.missing.iter().filter(|missing| told(missing)).count();
            assert!(entries + empty + missing >= 1 && entries + empty <= 1, "{path}: {entries} {empty} {missing}");
        }
    }
}

pub fn log_path(context: &Context, pod: &str, container: &str, file: &str) -> String {
    format!("namespaces/{}/pods/{pod}/{container}/{container}/logs/{file}", context.namespace)
}

/// A Restore `regrow` in this phase, which began half an hour ago, and its Backup.
pub async fn a_restore(context: &Context, phase: &str) -> DynamicObject {
    let began = Timestamp::now().checked_sub(SignedDuration::from_mins(30)).unwrap();
    context.create_velero(backup("seed").completed()).await;
    context.create_velero(restore("regrow").phase(phase).started(began)).await
}

pub fn about_the_restore() -> DebugBundleSpec {
    DebugBundleSpec::about(TargetKind::Restore, "regrow")
}
