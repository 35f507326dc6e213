//! What belongs to a target, on a real API server with the shipped permissions: what is in a bundle, what is not, in
//! which order, and how many requests that took.

use std::{fmt::Debug, sync::Arc};

use debugbundle_crd::{DebugBundleSpec, TargetKind};
use debugbundle_format::manifest::{MissingCode, MissingSeverity, TruncationReason};
use futures::StreamExt as _;
use harness::{Context, pod, with_namespace};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount},
    scheduling::v1::PriorityClass,
    storage::v1::{StorageClass, VolumeAttachment},
};
use kube::{
    Resource,
    api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::collect::{Got, Run};

/// Creates an object in a namespace, with its status if it has one.
pub(crate) async fn put<K>(context: &Context, namespace: &str, object: Value) -> K
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    let typed = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{object}: {error}"));
    let made = api.create(&PostParams::default(), &typed).await.unwrap_or_else(|error| panic!("{object}: {error}"));
    if object["status"].is_null() {
        return made;
    }
    let (name, status) = (object["metadata"]["name"].as_str().unwrap(), json!({"status": object["status"]}));
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap()
}

/// Cluster-scoped objects named after the test; dropping this deletes them.
pub(crate) struct OfTheCluster<'a>(pub(crate) &'a Context);

impl OfTheCluster<'_> {
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.0.namespace)
    }

    pub(crate) async fn put<K>(&self, name: &str, mut object: Value) -> String
    where
        K: Resource<Scope = k8s_openapi::ClusterResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let name = self.name(name);
        object["metadata"]["name"] = name.clone().into();
        object["metadata"]["labels"] = json!({"test": self.0.namespace});
        let api: Api<K> = Api::all(self.0.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        name
    }

    pub(crate) async fn clean<K>(&self)
    where
        K: Resource<Scope = k8s_openapi::ClusterResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::all(self.0.client.clone());
        let own = ListParams::default().labels(&format!("test={}", self.0.namespace));
        api.delete_collection(&DeleteParams::default().grace_period(0), &own).await.unwrap();
    }
}

pub(crate) fn claim(name: &str, volume: Option<&str>) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": volume,
        "resources": {"requests": {"storage": "1Gi"}}}})
}

pub(crate) fn volume() -> Value {
    json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "csi": {"driver": "csi.example.io", "volumeHandle": "h"}}})
}

/// A pod of a workload: with an owner, a claim, a `ServiceAccount`, labels; Ready or not.
pub(crate) fn shop_pod(
    name: &str,
    node: &str,
    owner: (&str, &str, &str),
    claim: Option<&str>,
    labels: &Value,
    ready: bool,
) -> Value {
    let (group, kind, owner) = owner;
    let volumes: Vec<Value> =
        claim.iter().map(|claim| json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}})).collect();
    json!({
        "metadata": {"name": name, "labels": labels, "ownerReferences": [
            {"apiVersion": group, "kind": kind, "name": owner, "uid": "u", "controller": true}]},
        "spec": {"nodeName": node, "serviceAccountName": format!("sa-{name}"), "volumes": volumes,
            "containers": [{"name": "c", "image": "registry.invalid/shop:1"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    })
}

fn template(name: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}}, "spec": {"restartPolicy": "Always",
        "containers": [{"name": "c", "image": "registry.invalid/shop:1"}]}})
}

pub(crate) fn workload(name: &str, owner: Option<(&str, &str)>) -> Value {
    let owners: Vec<Value> = owner
        .iter()
        .map(|(kind, owner)| json!({"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "u", "controller": true}))
        .collect();
    json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": {"replicas": 1, "serviceName": name,
        "selector": {"matchLabels": {"app": name}}, "template": template(name)}})
}

/// Text that compresses badly.
pub(crate) fn noise(mut seed: u64, length: usize) -> String {
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from(seed >> 58).unwrap())
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn backup(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels},
        "spec": {"includedNamespaces": ["shop"], "storageLocation": "default", "ttl": "720h"}, "status": {"phase": "Completed"}})
}

pub(crate) fn repository(name: &str, namespace: &str, sort: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"velero.io/volume-namespace": namespace,
            "velero.io/storage-location": "default", "velero.io/repository-type": sort}},
        "spec": {"volumeNamespace": namespace, "backupStorageLocation": "default", "repositoryType": sort,
            "resticIdentifier": "", "maintenanceFrequency": "1h"}})
}

pub(crate) fn pod_volume_restore(name: &str, labels: &Value, place: &str, pod: &str) -> Value {
    json!({"metadata": {"name": name, "labels": labels},
        "spec": {"pod": {"namespace": place, "name": pod, "kind": "Pod"}, "volume": "data", "backupStorageLocation": "default",
            "repoIdentifier": "x", "snapshotID": "s", "sourceNamespace": "old-shop", "uploaderType": "kopia"}, "status": {}})
}

/// Irrelevant Backups that sort first, more than fit in memory.
async fn strangers(context: &Context, number: u64) {
    let made = (0..number).map(|n| {
        let mut stranger = backup(&format!("a-stranger-{n:05}"), &json!({}));
        stranger["metadata"]["annotations"] = json!({"note": noise(n, 4000)});
        context.create_velero("Backup", stranger)
    });
    futures::stream::iter(made).buffer_unordered(16).collect::<Vec<_>>().await;
}

async fn run_as_shipped(context: &Arc<Context>, spec: &DebugBundleSpec) -> (Got, Vec<(String, String, String)>) {
    let account = context.shipped_account().await;
    let got = Run::by(account.client().await).of(context, spec).await;
    let requests = context.stand.requests_of(&account.user);
    (got, requests)
}

fn count(requests: &[(String, String, String)], verb: &str, resource: &str) -> usize {
    requests.iter().filter(|(did, _, what)| did == verb && what == resource).count()
}

/// A Restore, its Backup among strangers, data of both movers, and a workload namespace with strangers as well.
pub(crate) async fn a_shop(context: &Context, shop: &str, cluster: &OfTheCluster<'_>) {
    in_veleros_namespace(context, shop).await;
    volumes(context, shop, cluster).await;
    workloads(context, shop).await;
    snapshots(context, shop, cluster).await;
}

async fn in_veleros_namespace(context: &Context, shop: &str) {
    strangers(context, 1200).await;
    context.create_velero("Backup", backup("seed", &json!({"velero.io/schedule-name": "nightly"}))).await;
    for n in 1..=5 {
        context
            .create_velero("Backup", backup(&format!("nightly-{n}"), &json!({"velero.io/schedule-name": "nightly"})))
            .await;
    }
    let restore =
        json!({"metadata": {"name": "regrow"}, "spec": {"backupName": "seed"}, "status": {"phase": "InProgress"}});
    let restore = context.create_velero("Restore", restore).await;
    let uid = restore.metadata.uid.unwrap();
    context
        .create_velero("Restore", json!({"metadata": {"name": "a-stranger"}, "spec": {"backupName": "nightly-1"}}))
        .await;
    let own = json!({"velero.io/restore-uid": uid, "velero.io/restore-name": "regrow"});
    let named = json!({"velero.io/restore-uid": "another", "velero.io/restore-name": "regrow"});
    context.create_velero("PodVolumeRestore", pod_volume_restore("z-own", &own, shop, "shop-0")).await;
    let namesake = pod_volume_restore("a-namesake", &named, &format!("{}-orchard", context.namespace), "tree-0");
    context.create_velero("PodVolumeRestore", namesake).await;
    let node = |name: &str| format!("{}-{name}", context.namespace);
    context
        .create_velero("DataDownload", json!({"metadata": {"name": "z-down", "labels": own},
            "spec": {"backupStorageLocation": "default", "operationTimeout": "10m", "snapshotID": "s", "sourceNamespace": "old-shop",
                "targetVolume": {"namespace": shop, "pvc": "ledger", "pv": ""}},
            "status": {"phase": "InProgress", "node": node("n2")}}))
        .await;
    for (name, namespace, sort) in
        [("z-mine", "old-shop", "kopia"), ("a-other-type", "old-shop", "restic"), ("a-stranger", "farm", "kopia")]
    {
        context.create_velero("BackupRepository", repository(name, namespace, sort)).await;
    }
    context.node_agents().await;
    for n in ["n1", "n2", "n3"] {
        let node = context.node(n).await;
        context
            .pod(pod(&format!("agent-{n}")).on_node(&node).labelled("role", "node-agent").with_container("node-agent"))
            .await;
    }
    context.pod(pod("z-down").on_node(&node("n2")).with_container("mover")).await;
    for (job, labels) in [("z-maintain", json!({"velero.io/repo-name": "z-mine"})), ("a-stranger", json!({}))] {
        let mut template = template(job);
        template["spec"]["restartPolicy"] = "Never".into();
        put::<Job>(
            context,
            &context.namespace,
            json!({"metadata": {"name": job, "labels": labels}, "spec": {"template": template}}),
        )
        .await;
    }
}

pub(crate) async fn volumes(context: &Context, shop: &str, cluster: &OfTheCluster<'_>) {
    let node = |name: &str| format!("{}-{name}", context.namespace);
    let (own, moved) = (
        cluster.put::<PersistentVolume>("own", volume()).await,
        cluster.put::<PersistentVolume>("moved", volume()).await,
    );
    let stranger = cluster.put::<PersistentVolume>("stranger", volume()).await;
    for (name, volume) in [("va-own", &own), ("va-stranger", &stranger)] {
        let spec = json!({"spec": {"attacher": "csi.example.io", "nodeName": node("n1"), "source": {"persistentVolumeName": volume}}});
        cluster.put::<VolumeAttachment>(name, spec).await;
    }
    cluster.put::<StorageClass>("fast", json!({"provisioner": "csi.example.io"})).await;
    put::<PersistentVolumeClaim>(context, &context.namespace, claim("z-down", Some(&moved))).await;
    put::<PersistentVolumeClaim>(context, &context.namespace, claim("a-stranger", None)).await;
    for (name, volume, labels) in [
        ("data-shop-0", Some(own.as_str()), json!({})),
        ("ledger", None, json!({})),
        ("restored", None, json!({"velero.io/restore-name": "regrow"})),
        ("stranger", Some(stranger.as_str()), json!({})),
    ] {
        let mut claim = claim(name, volume);
        claim["metadata"]["labels"] = labels;
        put::<PersistentVolumeClaim>(context, shop, claim).await;
    }
}

pub(crate) async fn workloads(context: &Context, shop: &str) {
    let node = |name: &str| format!("{}-{name}", context.namespace);
    let restored = || json!({"velero.io/restore-name": "regrow"});
    for (name, at, owner, claim, labels, ready) in [
        ("shop-0", "n1", ("apps/v1", "StatefulSet", "shop"), Some("data-shop-0"), json!({}), true),
        ("web-7d-x", "n2", ("apps/v1", "ReplicaSet", "web-7d"), Some("ledger"), json!({}), true),
        ("count-1-x", "n2", ("batch/v1", "Job", "count-1"), None, restored(), false),
        ("well-0", "n3", ("apps/v1", "StatefulSet", "well"), None, restored(), true),
        ("stranger", "n3", ("apps/v1", "DaemonSet", "stranger"), Some("stranger"), json!({}), false),
    ] {
        put::<ServiceAccount>(context, shop, json!({"metadata": {"name": format!("sa-{name}")}})).await;
        put::<Pod>(context, shop, shop_pod(name, &node(at), owner, claim, &labels, ready)).await;
    }
    for name in ["shop", "well"] {
        put::<StatefulSet>(context, shop, workload(name, None)).await;
    }
    put::<Deployment>(context, shop, workload("web", None)).await;
    put::<ReplicaSet>(context, shop, workload("web-7d", Some(("Deployment", "web")))).await;
    put::<DaemonSet>(context, shop, workload("stranger", None)).await;
    let mut job = json!({"metadata": {"name": "count-1", "ownerReferences": [
        {"apiVersion": "batch/v1", "kind": "CronJob", "name": "count", "uid": "u", "controller": true}]}, "spec": {"template": template("count")}});
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    put::<Job>(context, shop, job.clone()).await;
    put::<CronJob>(
        context,
        shop,
        json!({"metadata": {"name": "count"},
        "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": job["spec"]}}}),
    )
    .await;
}

pub(crate) async fn snapshots(context: &Context, shop: &str, cluster: &OfTheCluster<'_>) {
    let snapshot = |name: &str, claim: &str| {
        json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": name},
            "spec": {"source": {"persistentVolumeClaimName": claim}}, "status": {"boundVolumeSnapshotContentName": cluster.name(name)}})
    };
    for (name, claim) in [("of-ledger", "ledger"), ("of-stranger", "stranger")] {
        let api = dynamic(context, Some(shop), "VolumeSnapshot");
        api.create(&PostParams::default(), &serde_json::from_value(snapshot(name, claim)).unwrap()).await.unwrap();
        let bound = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": cluster.name(name)}, "spec": {}});
        let api = dynamic(context, None, "VolumeSnapshotContent");
        api.create(&PostParams::default(), &serde_json::from_value(bound).unwrap()).await.unwrap();
    }
}

pub(crate) fn dynamic(context: &Context, namespace: Option<&str>, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "snapshot.storage.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "snapshot.storage.k8s.io/v1".to_owned(),
        kind: kind.to_owned(),
        plural: match kind {
            "VolumeSnapshotClass" => "volumesnapshotclasses".to_owned(),
            kind => format!("{}s", kind.to_lowercase()),
        },
    };
    match namespace {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, &resource),
        None => Api::all_with(context.client.clone(), &resource),
    }
}

#[tokio::test]
async fn a_restore_brings_what_is_on_the_way_to_its_cause_and_the_strangers_beside_it_stay_out() {
    with_namespace("scope", |context| async move {
        context.snapshot_kinds().await;
        let shop = context.workload_namespace("shop").await;
        let cluster = OfTheCluster(&context);
        a_shop(&context, &shop, &cluster).await;
        let spec = DebugBundleSpec::about(TargetKind::Restore, "regrow");
        let (got, requests) = run_as_shipped(&context, &spec).await;
        got.is_complete();

        let in_shop = |path: &str| got.names(&format!("namespaces/{shop}/{path}.yaml"));
        assert_eq!(in_shop("core/pods"), ["count-1-x", "shop-0", "web-7d-x", "well-0"]);
        assert_eq!(in_shop("core/persistentvolumeclaims"), ["data-shop-0", "ledger", "restored"]);
        assert_eq!(in_shop("core/serviceaccounts"), ["sa-count-1-x", "sa-shop-0", "sa-web-7d-x"]);
        assert_eq!(in_shop("apps/statefulsets"), ["shop"]);
        assert_eq!(in_shop("apps/replicasets"), ["web-7d"]);
        assert_eq!(in_shop("apps/deployments"), ["web"]);
        assert_eq!(in_shop("batch/jobs"), ["count-1"]);
        assert_eq!(in_shop("batch/cronjobs"), ["count"]);
        assert!(!got.has(&format!("namespaces/{shop}/apps/daemonsets.yaml")));
        assert_eq!(in_shop("snapshot.storage.k8s.io/volumesnapshots"), ["of-ledger"]);
        assert!(!got.planned_at(&format!("namespaces/{}-orchard/", context.namespace)), "where a namesake leads");

        let of_cluster = |path: &str| got.names(&format!("cluster-scoped-resources/{path}.yaml"));
        let ours = |names: &[&str]| names.iter().map(|name| cluster.name(name)).collect::<Vec<_>>();
        assert_eq!(of_cluster("core/persistentvolumes"), ours(&["moved", "own"]));
        assert_eq!(of_cluster("storage.k8s.io/volumeattachments"), ours(&["va-own"]));
        assert!(of_cluster("storage.k8s.io/storageclasses").contains(&cluster.name("fast")), "all of them");
        assert_eq!(of_cluster("snapshot.storage.k8s.io/volumesnapshotcontents"), ours(&["of-ledger"]));
        assert_eq!(of_cluster("core/nodes"), ours(&["n1", "n2", "n3"]));
        for kind in ["volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses"] {
            let file = format!("customresourcedefinitions/{kind}.snapshot.storage.k8s.io.yaml");
            assert!(got.has(&format!("cluster-scoped-resources/apiextensions.k8s.io/{file}")), "{kind}");
        }
        let involved = |pod: &str| got.inventory.pods.iter().find(|one| one.name == pod).unwrap().role;
        assert_eq!(format!("{:?}", involved("agent-n2")), "NodeAgent { involved: true }");
        assert_eq!(format!("{:?}", involved("agent-n1")), "NodeAgent { involved: true }", "shop-0 waits there");
        assert_eq!(format!("{:?}", involved("agent-n3")), "NodeAgent { involved: false }", "a healthy pod is there");

        let space = &context.namespace;
        let first = |path: &str, number: usize| {
            let mut names = got.names(&format!("namespaces/{space}/{path}.yaml"));
            names.truncate(number);
            names
        };
        let backups = got.names(&format!("namespaces/{space}/velero.io/backups.yaml"));
        assert_eq!(backups.len(), 1206, "each once");
        // Among Backups of one second, the last by name are the newest: the target's own may be one of the three.
        for name in ["seed", "nightly-4", "nightly-5"] {
            assert!(backups[..4].contains(&name.to_owned()), "{name} belongs to the target: {:?}", &backups[..6]);
        }
        assert_eq!(first("velero.io/restores", 2), ["regrow", "a-stranger"]);
        assert_eq!(first("velero.io/podvolumerestores", 2), ["z-own", "a-namesake"]);
        assert_eq!(first("velero.io/backuprepositories", 2), ["z-mine", "a-other-type"]);
        assert_eq!(first("core/persistentvolumeclaims", 2), ["z-down", "a-stranger"]);
        assert_eq!(first("batch/jobs", 2), ["z-maintain", "a-stranger"]);
        assert_eq!(first("core/pods", 4), ["agent-n1", "agent-n2", "z-down", "agent-n3"]);

        let not_offered = "cluster-scoped-resources/storage.k8s.io/csinodes.yaml";
        let note = got.missing(not_offered);
        assert_eq!((note.code, note.severity), (MissingCode::Forbidden, MissingSeverity::Note));
        let forbidden: Vec<_> =
            got.errors().into_iter().filter(|missing| missing.code == MissingCode::Forbidden).collect();
        assert!(forbidden.is_empty(), "the shipped rules suffice: {forbidden:#?}");

        // Two pages until memory is full, three Backups and one by name, three pages of the rest; the Schedule's list.
        assert!(count(&requests, "list", "backups") <= 6, "{requests:#?}");
        assert!(count(&requests, "get", "backups") <= 5);
        assert!(count(&requests, "list", "pods") + count(&requests, "get", "pods") <= 16);
        // If group snapshots are served (other tests may add them here), they cost a list in each namespace, two of the
        // cluster, and two more definitions.
        let served = got.inventory.served.find("groupsnapshot.storage.k8s.io", "volumegroupsnapshots");
        let most = if served.is_some() { 135 } else { 130 };
        // A log whose connection broke, as may happen on a busy machine, is requested once more: it counts once.
        let logs = context.stand.logs_of(&context.shipped_account().await.user);
        let asked = requests.len() - (count(&requests, "get", "pods/log") - logs.len());
        assert!(asked <= most, "{asked} requests, {most} at most: {requests:#?}");
        println!("{asked} requests for {} entries", got.collected.entries.len());

        cluster.clean::<PersistentVolume>().await;
        cluster.clean::<VolumeAttachment>().await;
        cluster.clean::<StorageClass>().await;
        cluster.clean::<PriorityClass>().await;
        context.delete_namespace(&shop).await;
    })
    .await;
}

#[tokio::test]
async fn a_backup_of_an_old_velero_has_its_data_by_name_and_the_restores_made_of_it() {
    with_namespace("scope-old", |context| async move {
        let shop = context.workload_namespace("shop").await;
        let other = context.workload_namespace("other").await;
        let target = context.create_velero("Backup", backup("harvest", &json!({}))).await;
        let uid = target.metadata.uid.unwrap();
        let data = |name: &str, owner: &str, place: &str| {
            json!({"metadata": {"name": name, "labels": {"velero.io/backup-name": "harvest"}, "ownerReferences": [
                    {"apiVersion": "velero.io/v1", "kind": "Backup", "name": "harvest", "uid": owner, "controller": true}]},
                "spec": {"pod": {"namespace": place, "name": "pod-0", "kind": "Pod"}, "volume": "v", "backupStorageLocation": "default",
                    "repoIdentifier": "x", "node": "n", "uploaderType": "restic", "tags": {}},
                "status": {"phase": "Failed"}})
        };
        context.create_velero("PodVolumeBackup", data("z-own", &uid, &shop)).await;
        context.create_velero("PodVolumeBackup", data("a-namesake", "another", &other)).await;
        for (name, from) in [("a-stranger", "other"), ("z-first", "harvest"), ("z-second", "harvest")] {
            let restore = json!({"metadata": {"name": name}, "spec": {"backupName": from}});
            context.create_velero("Restore", restore).await;
        }
        let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"});
        let mut embedded = workload("embedded", None);
        embedded["spec"]["template"]["metadata"]["annotations"] = applied.clone();
        embedded["metadata"]["annotations"] = applied;
        put::<Deployment>(&context, &context.namespace, embedded).await;
        let mut large = shop_pod("large", "", ("apps/v1", "DaemonSet", "x"), None, &json!({}), true);
        large["spec"].as_object_mut().unwrap().remove("nodeName");
        large["spec"]["containers"][0]["env"] = json!([{"name": "LONG", "value": "\"".repeat(1_300_000)}]);
        put::<ServiceAccount>(&context, &context.namespace, json!({"metadata": {"name": "sa-large"}})).await;
        put::<Pod>(&context, &context.namespace, large).await;
        context.pod(pod("small")).await;

        let got = Run::default().of(&context, &DebugBundleSpec::about(TargetKind::Backup, "harvest")).await;
        got.is_complete();
        let space = &context.namespace;
        let names = |path: &str| got.names(&format!("namespaces/{space}/{path}.yaml"));
        assert_eq!(names("velero.io/podvolumebackups"), ["z-own", "a-namesake"]);
        assert_eq!(names("velero.io/restores"), ["z-first", "z-second", "a-stranger"]);
        let touched: Vec<_> = got.inventory.touched.iter().map(|touched| touched.namespace.as_str()).collect();
        assert_eq!(touched, [shop.as_str()], "a namesake leads nowhere");
        let gone = got.missing(&format!("namespaces/{shop}/core/pods/pod-0"));
        assert_eq!((gone.code, gone.severity), (MissingCode::Gone, MissingSeverity::Note));

        assert_eq!(names("core/pods"), ["small"]);
        let large = got.missing(&format!("namespaces/{space}/core/pods/large"));
        assert_eq!((large.code, large.severity), (MissingCode::TooLarge, MissingSeverity::Error));
        let deployments = got.text(&format!("namespaces/{space}/apps/deployments.yaml"));
        assert!(deployments.contains("kept: \"yes\"") && !deployments.contains("last-applied"), "{deployments}");
        assert!(!deployments.contains("managedFields"));
        context.delete_namespace(&shop).await;
        context.delete_namespace(&other).await;
    })
    .await;
}

#[tokio::test]
async fn sec_b3_of_too_many_events_the_newest_are_kept_the_newest_first() {
    with_namespace("scope-events", |context| async move {
        let total: i64 = 5200;
        context.node("n").await;
        let start: jiff::Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let api: Api<Event> = context.api();
        let made = (0..total).map(|n| {
            // Their names and times have different orders.
            let (name, at) = (format!("e-{:05}", n * 7919 % total), start + jiff::SignedDuration::from_secs(n));
            let event = json!({"metadata": {"name": name}, "reason": "Made", "type": "Normal", "message": format!("number {n}"),
                "involvedObject": {"kind": "Pod", "name": "p", "namespace": context.namespace},
                "firstTimestamp": at, "lastTimestamp": at});
            let api = api.clone();
            async move { api.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap() }
        });
        futures::stream::iter(made).buffer_unordered(16).collect::<Vec<_>>().await;
        let got = Run::default().of(&context, &DebugBundleSpec::installation()).await;
        let path = format!("namespaces/{}/core/events.yaml", context.namespace);
        let list = got.yaml(&path);
        let messages: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect();
        let wanted: Vec<String> = (200..total).rev().map(|n| format!("number {n}")).collect();
        assert_eq!(messages, wanted);
        assert_eq!(got.entry(&path).truncated.as_ref().map(|cut| cut.reason), Some(TruncationReason::Limit));
        assert!(got.has("cluster-scoped-resources/core/nodes.yaml"), "without a target all nodes are there");
    })
    .await;
}
