//! Brings a real Backup or Restore into each phase, with causes that happen to users. Each recipe creates its own
//! workload namespace and returns the object in that phase.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::Velero;
use super::work::phase;
use crate::context::PREFIX;
use crate::{Context, pod, until};

impl Velero {
    /// A Backup that Completed: of a namespace with a ConfigMap. The namespace is `<test's>-<name>`.
    pub async fn completed_backup(&self, name: &str) -> DynamicObject {
        let namespace = self.context.workload_namespace(name).await;
        self.context.config_map_in(&namespace, "prices").await;
        expect("Completed", self.backup(name).of_namespaces([namespace]).wait().await)
    }

    /// A Backup that PartiallyFailed: it includes a volume's files of a pod whose node has no node-agent.
    pub async fn partially_failed_backup(&self, name: &str) -> DynamicObject {
        let namespace = self.pod_with_volume(name).await;
        let work = self.backup(name).of_namespaces([namespace]).with_files_of_volumes();
        expect("PartiallyFailed", work.wait().await)
    }

    /// A Backup that Failed: the server was killed while it waited for a volume. Its log is lost with it.
    pub async fn failed_backup(&mut self, name: &str) -> DynamicObject {
        self.backup_that_waits(name).await;
        self.kill9();
        self.restart().await;
        self.context.until_phase("Backup", name, "Failed").await
    }

    /// A Backup that ended FailedValidation: it names a location that does not exist.
    pub async fn backup_that_fails_validation(&self, name: &str) -> DynamicObject {
        let work = self.backup(name).with("storageLocation", "nowhere".into());
        expect("FailedValidation", work.wait().await)
    }

    /// A Backup that stays InProgress: it waits for a PodVolumeBackup that no node-agent takes up. Needs a server
    /// with a long [`fs_timeout`](super::VeleroBuilder::fs_timeout).
    pub async fn backup_that_waits(&self, name: &str) -> DynamicObject {
        let namespace = self.pod_with_volume(name).await;
        self.pretend_node_agent().await;
        self.backup(name).of_namespaces([namespace]).with_files_of_volumes().create().await;
        self.volume_of("PodVolumeBackup", name).await;
        self.context.until_phase("Backup", name, "InProgress").await
    }

    /// A Restore that Completed: of [`completed_backup`](Self::completed_backup) into a new namespace.
    pub async fn completed_restore(&self, name: &str) -> DynamicObject {
        let backup = self.completed_backup(&format!("{name}-source")).await.name_any();
        let target = self.context.workload_namespace(name).await;
        let from = format!("{}-{backup}", self.context.namespace);
        expect("Completed", self.restore(name, &backup).mapping(&from, &target).wait().await)
    }

    /// A Restore that PartiallyFailed: the target namespace has an exhausted quota.
    pub async fn partially_failed_restore(&self, name: &str) -> DynamicObject {
        let backup = self.completed_backup(&format!("{name}-source")).await.name_any();
        let target = self.context.workload_namespace(name).await;
        self.context.exhausted_quota_in(&target).await;
        let from = format!("{}-{backup}", self.context.namespace);
        expect("PartiallyFailed", self.restore(name, &backup).mapping(&from, &target).wait().await)
    }

    /// A Restore that Failed: the tarball of its Backup is gone. It leaves nothing in the store.
    pub async fn failed_restore(&self, name: &str) -> DynamicObject {
        let backup = self.completed_backup(&format!("{name}-source")).await.name_any();
        self.context.bucket.delete(&format!("{PREFIX}/backups/{backup}/{backup}.tar.gz")).await;
        expect("Failed", self.restore(name, &backup).wait().await)
    }

    /// A Restore that ended FailedValidation: its Backup does not exist.
    pub async fn restore_that_fails_validation(&self, name: &str) -> DynamicObject {
        expect("FailedValidation", self.restore(name, "never-made").wait().await)
    }

    /// A Restore that stays InProgress: its pod waits in `restore-wait` for a volume that is never restored. Needs a
    /// server with a long [`fs_timeout`](super::VeleroBuilder::fs_timeout).
    pub async fn stuck_restore(&self, name: &str) -> DynamicObject {
        let backup = format!("{name}-source");
        self.backup_that_waits(&backup).await;
        let volume = self.volume_of("PodVolumeBackup", &backup).await;
        let done = json!({"status": {"phase": "Completed", "snapshotID": "4f1c", "path": "/host_pods/data"}});
        self.context.patch_velero("PodVolumeBackup", &volume, done).await;
        self.context.until_phase("Backup", &backup, "Completed").await;
        let target = self.context.workload_namespace(name).await;
        let from = format!("{}-{backup}", self.context.namespace);
        self.restore(name, &backup).mapping(&from, &target).create().await;
        self.volume_of("PodVolumeRestore", name).await;
        self.context.until_phase("Restore", name, "InProgress").await
    }

    /// A running pod with a volume on the velero node, in a namespace of its own.
    async fn pod_with_volume(&self, name: &str) -> String {
        let namespace = self.context.workload_namespace(name).await;
        let shop = pod("shop-0").on_node(self.node()).with_volume("data").with_container("app");
        self.context.pod_in(&namespace, shop).await;
        namespace
    }

    /// A node-agent that pretends to run on the velero node: a DaemonSet and its pod.
    pub async fn pretend_node_agent(&self) {
        let context = &self.context;
        if context.api::<DaemonSet>().get_opt("node-agent").await.expect("the API server answers").is_some() {
            return;
        }
        let labels = json!({"component": "velero", "name": "node-agent", "role": "node-agent"});
        let containers = json!([{"name": "node-agent", "image": "velero/velero:v1.18.3"}]);
        context
            .create::<DaemonSet>(json!({
                "metadata": {"name": "node-agent", "labels": {"component": "velero"}},
                "spec": {
                    "selector": {"matchLabels": {"name": "node-agent"}},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
                },
            }))
            .await;
        let agent = pod(NODE_AGENT)
            .labelled("component", "velero")
            .labelled("name", "node-agent")
            .labelled("role", "node-agent")
            .on_node(self.node())
            .with_container("node-agent");
        context.pod(agent).await;
    }

    /// Waits for the PodVolumeBackup of a Backup or the PodVolumeRestore of a Restore; returns its name.
    async fn volume_of(&self, kind: &str, owner: &str) -> String {
        let label = if kind == "PodVolumeBackup" { "velero.io/backup-name" } else { "velero.io/restore-name" };
        let (api, selector) =
            (self.context.velero_api(kind), ListParams::default().labels(&format!("{label}={owner}")));
        until(Duration::from_mins(1), &format!("{owner} has a {kind}"), || async {
            let found = api.list(&selector).await.map_err(|error| error.to_string())?;
            found.items.first().map(ResourceExt::name_any).ok_or_else(|| self.process().tail(3))
        })
        .await
    }
}

const NODE_AGENT: &str = "node-agent-k4w9z";

impl Context {
    /// A ConfigMap in any namespace.
    pub async fn config_map_in(&self, namespace: &str, name: &str) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": {"apples": "3"}}));
        api.create(&PostParams::default(), &map.expect("a ConfigMap")).await.expect("a ConfigMap can be created");
    }

    /// A quota that allows no ConfigMap. The test sets its status, because no controller does it here.
    pub async fn exhausted_quota_in(&self, namespace: &str) {
        let api: Api<ResourceQuota> = Api::namespaced(self.client.clone(), namespace);
        let hard = json!({"configmaps": "0"});
        let quota = serde_json::from_value(json!({"metadata": {"name": "tight"}, "spec": {"hard": hard}}));
        api.create(&PostParams::default(), &quota.expect("a ResourceQuota")).await.expect("a quota can be created");
        let status = Patch::Merge(json!({"status": {"hard": hard, "used": {"configmaps": "0"}}}));
        api.patch_status("tight", &PatchParams::default(), &status).await.expect("its status can be set");
    }
}

fn expect(wanted: &str, object: DynamicObject) -> DynamicObject {
    let (name, status) = (object.name_any(), &object.data["status"]);
    assert_eq!(phase(&object), wanted, "{name}: {status}");
    object
}
