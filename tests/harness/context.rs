//! The resources that each test owns: a namespace with a Velero installation, a bucket, nodes; all removed afterwards.
//! Tests that need a Velero server start [`Velero`](crate::Velero).

use std::fmt::{Debug, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use debugbundle_crd::DebugBundle;
use futures::FutureExt as _;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod, Secret};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::kubelet::{KubeletPort, LogScript};
use crate::objects::PodBuilder;
use crate::process::tail;
use crate::s3::{Bucket, REGION};
use crate::stand::{Account, random_token};
use crate::velero_objects::{VeleroObject, backup_storage_location, velero_resource};
use crate::{TestCluster, packages, until};

/// The prefix of each test's BackupStorageLocation `default` in its bucket.
pub const PREFIX: &str = "team-a";

/// A test's own place on the stand; see [`with_namespace`].
pub struct Context {
    /// The stand it is on.
    pub stand: &'static TestCluster,
    /// A client with all rights.
    pub client: Client,
    /// The namespace; Velero is installed in it.
    pub namespace: String,
    /// The bucket of the BackupStorageLocation `default`.
    pub bucket: Bucket,
    /// The account that operators run as here; see [`shipped`](crate::shipped).
    pub(crate) shipped: OnceCell<Account>,
    /// Whether the test itself reads with that account, without a permission review first, unlike an operator.
    pub(crate) read_directly: AtomicBool,
    /// API groups whose kinds the account may read here beyond the shipped roles.
    pub(crate) further: Mutex<Vec<String>>,
    /// Cluster-scoped objects that the end of the test deletes.
    pub(crate) cluster_objects: Mutex<Vec<(ApiResource, String)>>,
}

/// Runs a test in a namespace of its own, and removes everything afterwards. If the test panics, it prints the
/// namespace's state first. The first call checks that the machine has [what the tests need](packages).
///
/// The namespace holds what `velero install` leaves, except a running server: Deployment `velero` (no replicas), Secret
/// `cloud-credentials`, BackupStorageLocation `default` (Available, prefix [`PREFIX`]).
pub async fn with_namespace<F, T>(name: &str, test: F)
where
    F: FnOnce(Arc<Context>) -> T,
    T: Future<Output = ()>,
{
    packages::required().await;
    with_namespace_on(TestCluster::shared().await, name, test).await;
}

/// [`with_namespace`] on a given stand, for programs that need its servers alone, and for tests on a stand of their own.
pub async fn with_namespace_on<F, T>(stand: &'static TestCluster, name: &str, test: F)
where
    F: FnOnce(Arc<Context>) -> T,
    T: Future<Output = ()>,
{
    let context = Arc::new(Context::new(stand, name).await);
    let outcome = AssertUnwindSafe(test(context.clone())).catch_unwind().await;
    if outcome.is_err() {
        eprintln!("{}", context.what_is_there().await);
    }
    let beyond = context.beyond_the_table();
    context.clean_up().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    assert!(beyond.is_empty(), "the operator asked for what no shipped rule grants: {beyond:#?}");
}

impl Context {
    async fn new(stand: &'static TestCluster, name: &str) -> Self {
        let client = stand.client().await;
        let token = random_token().expect("random bytes can be read");
        let namespace = format!("{name}-{}", &token[..6]);
        let spaces: Api<Namespace> = Api::all(client.clone());
        let space = serde_json::from_value(json!({"metadata": {"name": namespace}})).expect("a Namespace");
        spaces.create(&PostParams::default(), &space).await.expect("a namespace can be created");
        let bucket = stand.s3.create_bucket(&namespace).await;
        let context = Self {
            stand,
            client,
            namespace,
            bucket,
            shipped: OnceCell::new(),
            further: Mutex::default(),
            cluster_objects: Mutex::default(),
            read_directly: AtomicBool::default(),
        };
        context.install_velero().await;
        context
    }

    async fn install_velero(&self) {
        let keys = self.stand.s3.root();
        let credentials =
            format!("[default]\naws_access_key_id={}\naws_secret_access_key={}\n", keys.access, keys.secret);
        self.create::<Secret>(json!({
            "metadata": {"name": "cloud-credentials", "labels": {"component": "velero"}},
            "stringData": {"cloud": credentials},
        }))
        .await;
        let labels = json!({"component": "velero", "deploy": "velero"});
        self.create::<Deployment>(json!({
            "metadata": {"name": "velero", "labels": {"component": "velero"}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"deploy": "velero"}},
                "template": {"metadata": {"labels": labels}, "spec": {
                    "serviceAccountName": "velero",
                    "containers": [{
                        "name": "velero", "image": "velero/velero:v1.18.3", "command": ["/velero"], "args": ["server"],
                        "env": [{"name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/credentials/cloud"}],
                        "volumeMounts": [{"name": "cloud-credentials", "mountPath": "/credentials"}],
                    }],
                    "initContainers": [{
                        "name": "velero-velero-plugin-for-aws", "image": "velero/velero-plugin-for-aws:v1.14.3",
                    }],
                    "volumes": [{"name": "cloud-credentials", "secret": {"secretName": "cloud-credentials"}}],
                }},
            },
        }))
        .await;
        let location = self.location("default", PREFIX).spec("default", true).phase("Available");
        self.create_velero(location.status("lastValidationTime", Timestamp::now().to_string())).await;
    }

    /// A BackupStorageLocation in this test's bucket, with the credential that the installation has.
    pub fn location(&self, name: &str, prefix: &str) -> VeleroObject {
        backup_storage_location(name, &self.bucket.name, prefix)
            .spec("credential", json!({"name": "cloud-credentials", "key": "cloud"}))
            .config("region", REGION)
            .config("s3ForcePathStyle", "true")
            .config("s3Url", self.stand.s3.endpoint())
    }

    /// The id of this installation, a part of each key: the namespace's UID.
    pub async fn installation(&self) -> String {
        let spaces: Api<Namespace> = Api::all(self.client.clone());
        spaces.get(&self.namespace).await.expect("the namespace is there").metadata.uid.expect("a UID")
    }

    /// Resources of this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Velero's resources of this namespace, by kind.
    pub fn velero_api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &velero_resource(kind))
    }

    /// Creates an object of this namespace from JSON.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let object = serde_json::from_value(object).expect("the JSON is of that kind");
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("create: {error}"))
    }

    /// Creates one of Velero's objects. Its kinds have no status subresource, so a given status is stored.
    pub async fn create_velero(&self, object: VeleroObject) -> DynamicObject {
        let kind = object.kind();
        let object = serde_json::from_value(object.manifest()).expect("an object");
        let created = self.velero_api(kind).create(&PostParams::default(), &object).await;
        created.unwrap_or_else(|error| panic!("create {kind}: {error}"))
    }

    /// Merges a change into one of Velero's objects, its status included.
    pub async fn patch_velero(&self, kind: &str, name: &str, change: Value) -> DynamicObject {
        let patched = self.velero_api(kind).patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.unwrap_or_else(|error| panic!("patch {kind} {name}: {error}"))
    }

    /// Ends a Backup or Restore now and in this phase, as Velero does.
    pub async fn end_velero(&self, kind: &str, name: &str, phase: &str) {
        let now = Timestamp::now().to_string();
        self.patch_velero(kind, name, json!({"status": {"phase": phase, "completionTimestamp": now}})).await;
    }

    /// Creates a DebugBundle with this spec.
    pub async fn debug_bundle(&self, name: &str, spec: Value) -> DebugBundle {
        self.create(json!({
            "apiVersion": DebugBundle::api_version(&()), "kind": DebugBundle::kind(&()),
            "metadata": {"name": name}, "spec": spec,
        }))
        .await
    }

    /// A scripted node of this test's own; returns its name.
    pub async fn node(&self, name: &str) -> String {
        self.node_that_is(name, KubeletPort::Open).await
    }

    /// A node whose kubelet is closed or silent; returns its name.
    pub async fn node_that_is(&self, name: &str, port: KubeletPort) -> String {
        let name = format!("{}-{name}", self.namespace);
        self.stand.add_node(&name, port).await;
        name
    }

    /// Creates a pod with its ephemeral containers and its status.
    pub async fn pod(&self, pod: PodBuilder) -> Pod {
        self.pod_in(&self.namespace, pod).await
    }

    /// Creates a pod in another namespace, with its ephemeral containers and its status.
    pub async fn pod_in(&self, namespace: &str, pod: PodBuilder) -> Pod {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let name = pod.name();
        pods.create(&PostParams::default(), &pod.manifest())
            .await
            .unwrap_or_else(|error| panic!("pod {name}: {error}"));
        if let Some(ephemeral) = pod.ephemeral() {
            let added =
                pods.patch_ephemeral_containers(name, &PatchParams::default(), &Patch::Strategic(ephemeral)).await;
            added.unwrap_or_else(|error| panic!("ephemeral containers of {name}: {error}"));
        }
        self.pod_status_in(namespace, &pod).await
    }

    /// Gives an existing pod another status.
    pub async fn pod_status(&self, pod: PodBuilder) -> Pod {
        self.pod_status_in(&self.namespace, &pod).await
    }

    async fn pod_status_in(&self, namespace: &str, pod: &PodBuilder) -> Pod {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let name = pod.name();
        let status = Patch::Strategic(pod.status(Timestamp::now()));
        let patched = pods.patch_status(name, &PatchParams::default(), &status).await;
        patched.unwrap_or_else(|error| panic!("status of {name}: {error}"))
    }

    /// Sets the log of a container in this namespace.
    pub fn log(&self, pod: &str, container: &str, script: LogScript) {
        self.stand.kubelet.script(&self.namespace, pod, container, script);
    }

    /// Sets the log of a container's previous instance.
    pub fn previous_log(&self, pod: &str, container: &str, script: LogScript) {
        self.stand.kubelet.script_previous(&self.namespace, pod, container, script);
    }

    /// Another namespace of this test's own, for workloads; returns its name.
    pub async fn workload_namespace(&self, name: &str) -> String {
        let name = format!("{}-{name}", self.namespace);
        let spaces: Api<Namespace> = Api::all(self.client.clone());
        let space = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a Namespace");
        spaces.create(&PostParams::default(), &space).await.expect("a namespace can be created");
        name
    }

    /// Deletes a namespace with its content, in place of the controllers that do not run here.
    pub async fn delete_namespace(&self, name: &str) {
        delete_namespace(&self.client, name).await;
    }

    /// The log file of a process of this test.
    pub(crate) fn log_file(&self, process: &str) -> PathBuf {
        self.stand.log(&self.namespace, process)
    }

    /// A folder of this test's own, below the stand's.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.stand.folder().join(format!("{}-{name}", self.namespace));
        std::fs::create_dir_all(&folder).expect("the stand's folder can be written");
        folder
    }

    /// The state that may explain why a test failed.
    pub async fn what_is_there(&self) -> String {
        let mut text = format!("\n=== what is there in {}\n", self.namespace);
        for bundle in self.api::<DebugBundle>().list(&ListParams::default()).await.into_iter().flatten() {
            let status = serde_json::to_string(&bundle.status).unwrap_or_default();
            let _ = writeln!(text, "DebugBundle {}: {status}", bundle.name_any());
        }
        for kind in ["Backup", "Restore", "BackupStorageLocation", "PodVolumeBackup", "PodVolumeRestore"] {
            for object in self.velero_api(kind).list(&ListParams::default()).await.into_iter().flatten() {
                let _ = writeln!(text, "{kind} {}: {}", object.name_any(), object.data["status"]);
            }
        }
        for pod in self.api::<Pod>().list(&ListParams::default()).await.into_iter().flatten() {
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let _ = writeln!(text, "Pod {}: {phase}", pod.name_any());
        }
        for event in self.api::<Event>().list(&ListParams::default()).await.into_iter().flatten() {
            let about = event.involved_object;
            let _ = writeln!(
                text,
                "Event on {} {}: {} {}",
                about.kind.unwrap_or_default(),
                about.name.unwrap_or_default(),
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default()
            );
        }
        let _ = writeln!(text, "objects: {:?}", self.bucket.keys("").await);
        for log in self.own_logs() {
            let _ = writeln!(text, "--- {}\n{}", log.display(), tail(&log, 25));
        }
        text + &self.stand.last_words()
    }

    fn own_logs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.stand.folder().join("logs")).into_iter().flatten().flatten();
        let own = format!("{}-", self.namespace);
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&own))
            .map(|entry| entry.path())
            .collect()
    }

    async fn clean_up(&self) {
        let spaces: Api<Namespace> = Api::all(self.client.clone());
        let nodes: Api<Node> = Api::all(self.client.clone());
        let own = |name: &str| name == self.namespace || name.starts_with(&format!("{}-", self.namespace));
        let found = spaces.list_metadata(&ListParams::default()).await.into_iter().flatten();
        let found: Vec<String> = found.map(|space| space.name_any()).filter(|name| own(name)).collect();
        futures::future::join_all(found.iter().map(|name| delete_namespace(&self.client, name))).await;
        self.delete_cluster_objects().await;
        for node in nodes.list_metadata(&ListParams::default()).await.into_iter().flatten() {
            if own(&node.name_any()) {
                let _ = nodes.delete(&node.name_any(), &DeleteParams::default()).await;
            }
        }
        self.remove_bindings().await;
        self.remove_policies().await;
        let _ = std::fs::remove_dir_all(self.bucket.folder());
    }
}

/// Kinds that a test may leave behind and that may still be watched or have finalizers.
const LEFTOVERS: [&str; 9] = [
    "Backup",
    "Restore",
    "PodVolumeBackup",
    "PodVolumeRestore",
    "DownloadRequest",
    "BackupStorageLocation",
    "BackupRepository",
    "DataUpload",
    "DataDownload",
];

async fn delete_namespace(client: &Client, name: &str) {
    let ours: Api<DynamicObject> = Api::namespaced_with(client.clone(), name, &ApiResource::erase::<DebugBundle>(&()));
    let pods = Api::namespaced_with(client.clone(), name, &ApiResource::erase::<Pod>(&()));
    let veleros = LEFTOVERS.map(|kind| Api::namespaced_with(client.clone(), name, &velero_resource(kind)));
    let emptied = [ours, pods].into_iter().chain(veleros).map(empty);
    futures::future::join_all(emptied).await;
    let spaces: Api<Namespace> = Api::all(client.clone());
    let _ = spaces.delete(name, &DeleteParams::default()).await;
    until(Duration::from_secs(20), &format!("namespace {name} is gone"), || async {
        let Some(mut space) = spaces.get_opt(name).await.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        space.spec.get_or_insert_default().finalizers = None;
        let _ = spaces.replace_subresource("finalize", name, &PostParams::default(), &space).await;
        Err(format!("{:?}", space.status.and_then(|status| status.phase)))
    })
    .await;
}

async fn empty(api: Api<DynamicObject>) {
    let _ = api.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await;
    for left in api.list_metadata(&ListParams::default()).await.into_iter().flatten() {
        if !left.finalizers().is_empty() {
            let without = json!({"metadata": {"finalizers": null}});
            let _ = api.patch(&left.name_any(), &PatchParams::default(), &Patch::Merge(without)).await;
        }
    }
}
