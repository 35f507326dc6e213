//! Inventory, plan and collection on real servers: the content of each entry, and the report on each missing item.

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
    collect::{Collected, Collector, Pace, Progress, StoreBody, StoreFailure, StoreFiles, collect},
    inventory::{self, Inventory, InventoryError, Scope},
    node_slots::NodeSlots,
    plan::plan,
    pod_capture::Movers,
};
use debugbundle_redact::Redactor;
use flate2::{Compression, write::GzEncoder};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use harness::{Context, LogScript, pod, with_namespace};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Velero's files, in memory.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<(&'static str, StoreFile), Vec<u8>>);

impl Files {
    fn with(mut self, of: TargetKind, file: StoreFile, content: &[u8]) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content).unwrap();
        self.0.insert((of.as_str(), file), gzip.finish().unwrap());
        self
    }
}

impl StoreFiles for Files {
    fn open<'a>(
        &'a self,
        of: TargetKind,
        _name: &'a str,
        file: StoreFile,
    ) -> BoxFuture<'a, Result<Option<StoreBody>, StoreFailure>> {
        let found = self.0.get(&(of.as_str(), file)).cloned();
        let body = found.map(|bytes| futures::stream::iter([Ok(Bytes::from(bytes))]).boxed());
        async move { Ok(body) }.boxed()
    }

    fn key(&self, _of: TargetKind, name: &str, file: StoreFile) -> String {
        format!("{name}/{file:?}")
    }
}

/// A run with limits that suit the tests.
pub(crate) struct Run {
    pub(crate) scope: Scope,
    /// Time limit for a response to begin.
    pub(crate) answer: Duration,
    pub(crate) idle: Duration,
    pub(crate) limit: Duration,
    pub(crate) pace: Pace,
    pub(crate) files: Files,
    /// The client that reads the cluster; by default the user with all rights.
    pub(crate) client: Option<kube::Client>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            scope: Scope::everything(),
            answer: Duration::from_secs(20),
            idle: Duration::from_secs(10),
            limit: Duration::from_mins(1),
            pace: Pace::default(),
            files: Files::default(),
            client: None,
        }
    }
}

impl Run {
    /// With a client of limited rights.
    pub(crate) fn by(client: kube::Client) -> Self {
        Self { client: Some(client), ..Self::default() }
    }

    pub(crate) async fn of(self, context: &Context, spec: &DebugBundleSpec) -> Got {
        self.of_what_changes(context, spec, async || {}).await
    }

    /// With a change between the plan and the reading.
    pub(crate) async fn of_what_changes(
        self,
        context: &Context,
        spec: &DebugBundleSpec,
        change: impl AsyncFnOnce(),
    ) -> Got {
        if self.client.is_some() {
            context.reads_directly();
        }
        let client = self.client.unwrap_or_else(|| context.client.clone());
        let cluster = Cluster::new(client).patient(self.answer, self.idle);
        let taken = inventory::take(&cluster, &context.namespace, spec, self.scope, Duration::from_secs(30));
        let mut inventory = Box::pin(taken).await.unwrap_or_else(|error| panic!("no inventory: {error:?}"));
        Box::pin(inventory::follow(&cluster, &mut inventory, Duration::from_secs(30))).await;
        let plan = plan(spec, &inventory, Timestamp::now());
        let planned = plan.items.iter().map(|item| item.path.as_str().to_owned()).collect();
        change().await;
        let folder = tempfile::tempdir().expect("a folder");
        let collector = Collector {
            cluster,
            redactor: Arc::new(Redactor::new(&[], Vec::new()).expect("no rules of its own")),
            spool: Spool::create(folder.path(), 1 << 30).expect("a spool"),
            store: Ok(Arc::new(self.files)),
            pace: self.pace,
            nodes: NodeSlots::default(),
            movers: Movers::default(),
            shares: Shares::of(budget::DEFAULT, 1 << 30),
        };
        let progress = Arc::new(Progress::default());
        let deadline = Instant::now() + self.limit;
        let collected = collect(&collector, &inventory, plan, &progress, &CancellationToken::new(), deadline)
            .await
            .unwrap_or_else(|error| panic!("nothing collected: {error:?}"));
        let now = progress.now();
        assert_eq!(now.items_done, now.items_total, "every item ends");
        Got { inventory, collected, planned, _folder: folder }
    }
}

/// The results of a run.
pub(crate) struct Got {
    pub(crate) inventory: Inventory,
    pub(crate) collected: Collected,
    pub(crate) planned: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Got {
    pub(crate) fn entry(&self, path: &str) -> &Entry {
        let known = || self.collected.entries.iter().map(|entry| entry.segment.path().as_str()).collect::<Vec<_>>();
        let found = self.collected.entries.iter().find(|entry| entry.segment.path().as_str() == path);
        found.unwrap_or_else(|| panic!("no {path} in {:#?}; missing {:#?}", known(), self.collected.missing))
    }

    /// Whether a path below this folder was planned.
    pub(crate) fn planned_at(&self, folder: &str) -> bool {
        self.planned.iter().any(|path| path.starts_with(folder))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.collected.entries.iter().any(|entry| entry.segment.path().as_str() == path)
    }

    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.entry(path).segment.reader().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.bytes(path)).into_owned()
    }

    pub(crate) fn yaml(&self, path: &str) -> Value {
        serde_saphyr::from_str(&self.text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let list = self.yaml(path);
        let items = list["items"].as_array().expect("a List").iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn missing(&self, path: &str) -> &Missing {
        let found = self.collected.missing.iter().find(|missing| missing.path == path);
        found.unwrap_or_else(|| panic!("{path} is not missing: {:#?}", self.collected.missing))
    }

    pub(crate) fn errors(&self) -> Vec<&Missing> {
        self.collected.missing.iter().filter(|missing| missing.severity == MissingSeverity::Error).collect()
    }

    /// Each planned item is an entry, empty or missing.
    pub(crate) fn is_complete(&self) {
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

pub(crate) fn log_path(context: &Context, pod: &str, container: &str, file: &str) -> String {
    format!("namespaces/{}/pods/{pod}/{container}/{container}/logs/{file}", context.namespace)
}

pub(crate) async fn a_restore(context: &Context, phase: &str) -> Value {
    let now = Timestamp::now();
    let at = |minutes: i64| now.checked_add(SignedDuration::from_mins(minutes)).unwrap();
    let spec = json!({"includedNamespaces": ["*"], "storageLocation": "default", "ttl": "720h"});
    context
        .create_velero("Backup", json!({"metadata": {"name": "seed"}, "spec": spec, "status": {"phase": "Completed"}}))
        .await;
    let restore = context
        .create_velero(
            "Restore",
            json!({"metadata": {"name": "regrow"}, "spec": {"backupName": "seed"},
                "status": {"phase": phase, "startTimestamp": at(-30)}}),
        )
        .await;
    serde_json::to_value(restore).unwrap()
}

pub(crate) fn about_the_restore() -> DebugBundleSpec {
    DebugBundleSpec::about(TargetKind::Restore, "regrow")
}

#[tokio::test]
async fn all_that_velero_debug_collects_is_there_and_more() {
    with_namespace("parity", |context| async move {
        let restore = a_restore(&context, "PartiallyFailed").await;
        let uid = restore["metadata"]["uid"].as_str().unwrap();
        let shop = context.workload_namespace("shop").await;
        let node = context.node("n").await;
        context
            .pod(
                pod("velero-1")
                    .on_node(&node)
                    .labelled("deploy", "velero")
                    .with_init("plugin")
                    .with_container("velero")
                    .restarted(1)
                    .with_ephemeral("vet"),
            )
            .await;
        context.pod(pod("bystander").on_node(&node).with_container("a").with_container("b")).await;
        context.log("velero-1", "velero", LogScript::lines(["one", "error restore=regrow", "GET https://s3/b/k?X-Amz-Signature=0a1b2c3d4e5f60718293"]));
        context.previous_log("velero-1", "velero", LogScript::lines(["panic: out of luck"]));
        for (pod, container) in [("velero-1", "plugin"), ("velero-1", "vet"), ("bystander", "a"), ("bystander", "b")] {
            context.log(pod, container, LogScript::lines([format!("I am {container}")]));
        }
        context.pod_in(&shop, pod("shop-0").on_node(&node).with_container("app").with_volume("data")).await;
        context
            .create_velero(
                "PodVolumeRestore",
                json!({"metadata": {"name": "regrow-x1", "labels": {"velero.io/restore-uid": uid, "velero.io/restore-name": "regrow"}},
                    "spec": {"pod": {"namespace": shop, "name": "shop-0", "kind": "Pod"}, "volume": "data", "backupStorageLocation": "default",
                        "repoIdentifier": "x", "snapshotID": "s", "sourceNamespace": shop, "uploaderType": "kopia"},
                    "status": {}}),
            )
            .await;
        let files = Files::default()
            .with(TargetKind::Restore, StoreFile::Log, b"time=now level=error msg=\"no room\"\n")
            .with(TargetKind::Restore, StoreFile::Results, br#"{"errors":{"namespaces":{"shop":["no room"]}},"warnings":{}}"#)
            .with(TargetKind::Restore, StoreFile::ItemOperations, b"[]\n")
            .with(TargetKind::Restore, StoreFile::VolumeInfo, b"[]\n")
            .with(TargetKind::Restore, StoreFile::ResourceList, b"{}\n")
            .with(TargetKind::Backup, StoreFile::Log, b"backup log\n")
            .with(TargetKind::Backup, StoreFile::Results, b"not json");
        let got = Run { files, ..Run::default() }.of(&context, &about_the_restore()).await;
        got.is_complete();

        let space = &context.namespace;
        assert_eq!(got.names(&format!("namespaces/{space}/velero.io/restores.yaml")), ["regrow"]);
        assert_eq!(got.names(&format!("namespaces/{space}/velero.io/backups.yaml")), ["seed"]);
        assert_eq!(got.names(&format!("namespaces/{space}/velero.io/podvolumerestores.yaml")), ["regrow-x1"]);
        assert_eq!(got.names(&format!("namespaces/{space}/velero.io/backupstoragelocations.yaml")), ["default"]);
        assert_eq!(got.names(&format!("namespaces/{space}/core/pods.yaml")), ["velero-1", "bystander"]);
        assert_eq!(got.names(&format!("namespaces/{space}/apps/deployments.yaml")), ["velero"]);
        assert_eq!(got.names(&format!("namespaces/{shop}/core/pods.yaml")), ["shop-0"]);
        assert_eq!(got.names("cluster-scoped-resources/core/nodes.yaml"), std::slice::from_ref(&node));
        let empty = format!("namespaces/{space}/velero.io/datauploads.yaml");
        assert!(got.collected.empty.contains(&empty), "v2alpha1 was asked for: {:?}", got.collected.empty);
        let pods = got.yaml(&format!("namespaces/{space}/core/pods.yaml"));
        assert!(pods["items"].as_array().unwrap().iter().all(|pod| pod["kind"] == "Pod" && pod["apiVersion"] == "v1"));
        assert!(pods["items"][0]["metadata"]["managedFields"].is_null());
        assert_eq!(got.yaml(&format!("namespaces/{space}/{space}.yaml"))["kind"], "Namespace");
        let crd = "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/restores.velero.io.yaml";
        assert_eq!(got.yaml(crd)["spec"]["names"]["kind"], "Restore");
        assert!(got.yaml("aggregated-discovery-apis.yaml")["items"].as_array().unwrap().len() > 5);

        let server = got.text(&log_path(&context, "velero-1", "velero", "current.log"));
        assert!(server.contains("Z one\n") && server.contains("restore=regrow"), "{server}");
        assert!(!server.contains("0a1b2c3d4e5f60718293"), "{server}");
        assert!(got.text(&log_path(&context, "velero-1", "velero", "previous.log")).contains("out of luck"));
        for (pod, container) in [("velero-1", "plugin"), ("velero-1", "vet"), ("bystander", "a"), ("bystander", "b")] {
            let text = got.text(&log_path(&context, pod, container, "current.log"));
            assert!(text.ends_with(&format!("I am {container}\n")), "{text}");
        }

        assert!(got.text("velero/restores/regrow/restore.log").contains("no room"));
        assert!(!got.has("velero/restores/regrow/restore.from-server.log"), "the store has the log");
        assert_eq!(got.text("velero/backups/seed/backup.log"), "backup log\n");
        let broken = got.missing("velero/backups/seed/results.json");
        assert_eq!((broken.code, broken.severity), (MissingCode::Corrupt, MissingSeverity::Error));
        assert_eq!(got.text("velero/backups/seed/results.json.partial"), "not json");
        assert_eq!(got.missing("velero/backups/seed/volumeinfo.json").code, MissingCode::NotFound);

        assert_eq!(got.text("version").lines().next(), Some("debugbundle"));
        assert_eq!(got.text("timestamp").lines().count(), 2);
        let versions: Value = serde_json::from_str(&got.text("velero/version.json")).unwrap();
        assert_eq!(versions["server"]["version"], "v1.18.3");
        assert!(versions["kubernetes"]["gitVersion"].is_string());

        let evidence = &got.collected.evidence;
        assert_eq!(evidence.results.as_ref().unwrap().errors.texts, ["no room"]);
        assert_eq!(evidence.target.as_ref().unwrap()["metadata"]["name"], "regrow");
        assert_eq!(evidence.of_kind("PodVolumeRestore").count(), 1);
        assert_eq!(got.inventory.involved[0].name, "shop-0");
        context.delete_namespace(&shop).await;
    })
    .await;
}

#[tokio::test]
async fn a_restore_that_runs_has_its_lines_of_the_servers_log() {
    with_namespace("running", |context| async move {
        a_restore(&context, "InProgress").await;
        let node = context.node("n").await;
        context.pod(pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero")).await;
        let space = context.namespace.clone();
        let lines = [
            "msg=\"Starting Velero server v1.18.9 (abc123)\"".to_owned(),
            format!("msg=mine restore={space}/regrow"),
            "msg=other restore=elsewhere".to_owned(),
            "msg=mine restore=regrow".to_owned(),
        ];
        context.log("velero-1", "velero", LogScript::lines(lines));
        let got = Run::default().of(&context, &about_the_restore()).await;
        got.is_complete();
        let text = got.text("velero/restores/regrow/restore.from-server.log");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.contains("msg=mine")));
        let log = got.missing("velero/restores/regrow/restore.log");
        assert_eq!((log.code, log.severity), (MissingCode::NeverWritten, MissingSeverity::Note));
        let versions: Value = serde_json::from_str(&got.text("velero/version.json")).unwrap();
        assert_eq!(
            (&versions["server"]["version"], &versions["server"]["commit"]),
            (&json!("v1.18.9"), &json!("abc123"))
        );
    })
    .await;
}

#[tokio::test]
async fn sec_b3_a_thousand_objects_come_in_pages_and_all_of_them() {
    with_namespace("pages", |context| async move {
        let made: Vec<_> = futures::stream::iter(0..1100)
            .map(|n| {
                let spec = json!({"includedNamespaces": ["*"], "storageLocation": "default"});
                context.create_velero("Backup", json!({"metadata": {"name": format!("b{n:04}")}, "spec": spec}))
            })
            .buffer_unordered(16)
            .collect()
            .await;
        let got = Run::default().of(&context, &DebugBundleSpec::installation()).await;
        let path = format!("namespaces/{}/velero.io/backups.yaml", context.namespace);
        let names = got.names(&path);
        assert_eq!(names.len(), made.len());
        assert!(names.is_sorted());
        assert_eq!(got.entry(&path).source.items, Some(1100));
    })
    .await;
}

#[tokio::test]
async fn a_target_that_is_not_there_is_told_from_a_velero_that_is_not_there() {
    with_namespace("nothing", |context| async move {
        let cluster = Cluster::new(context.client.clone());
        let spec = about_the_restore();
        let limit = Duration::from_secs(20);
        let error = inventory::take(&cluster, &context.namespace, &spec, Scope::everything(), limit).await.unwrap_err();
        assert!(matches!(error, InventoryError::TargetNotFound { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("Restore {}/regrow does not exist", context.namespace));
    })
    .await;
}
