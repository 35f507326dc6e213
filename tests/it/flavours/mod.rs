//! Every way in which Velero is installed or down, and the resulting bundle on a real API server. Kinds that come and
//! go would disturb other tests, so this theme has a stand of its own.

mod config;
mod missing_kinds;

use std::{sync::Arc, time::Duration};

use debugbundle_crd::{DebugBundleSpec, Phase, TargetKind};
use debugbundle_format::manifest::{MissingCode, MissingSeverity};
use debugbundle_operator::velero::PodRole;
use harness::{
    Context, LogScript, Operator,
    bundle::{Unpacked, spec_about},
    pod, until,
    velero_objects::{backup, pod_volume_backup, velero_object},
    with_namespace, with_namespace_on,
};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    rbac::v1::{Role, RoleBinding},
};
use kube::api::{ApiResource, DeleteParams};
use serde_json::{Value, json};

use crate::support::{
    collection::{CollectionResult, CollectionRun, log_path},
    flavours::{KINDS_STAY, stand, velero_workload},
};

/// Creates a custom object, `plural.group`, in a namespace or in the cluster; `fields` beside the metadata must match
/// that kind's schema.
async fn create_custom(context: &Context, place: Option<&str>, kind: (&str, &str), name: &str, fields: Value) {
    let (plural, group) = kind.0.split_once('.').unwrap();
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: format!("{group}/v1alpha1"),
        kind: kind.1.to_owned(),
        plural: plural.to_owned(),
    };
    let mut object = fields;
    object["metadata"] = json!({"name": name, "labels": object["labels"]});
    object.as_object_mut().unwrap().remove("labels");
    context.create_dynamic(&resource, place, object).await;
}

const SNAPSHOT: (&str, &str) = ("snapshots.backupdriver.cnsdp.vmware.com", "Snapshot");
const CLONE: (&str, &str) = ("clonefromsnapshots.backupdriver.cnsdp.vmware.com", "CloneFromSnapshot");
const DELETION: (&str, &str) = ("deletesnapshots.backupdriver.cnsdp.vmware.com", "DeleteSnapshot");
const REPOSITORY: (&str, &str) = ("backuprepositories.backupdriver.cnsdp.vmware.com", "BackupRepository");
const CLAIM: (&str, &str) = ("backuprepositoryclaims.backupdriver.cnsdp.vmware.com", "BackupRepositoryClaim");
const UPLOAD: (&str, &str) = ("uploads.datamover.cnsdp.vmware.com", "Upload");
const DPA: (&str, &str) = ("dataprotectionapplications.oadp.openshift.io", "DataProtectionApplication");
const NON_ADMIN: (&str, &str) = ("nonadminbackups.oadp.openshift.io", "NonAdminBackup");
const REQUEST: (&str, &str) =
    ("nonadminbackupstoragelocationrequests.oadp.openshift.io", "NonAdminBackupStorageLocationRequest");
const CSV: (&str, &str) = ("clusterserviceversions.operators.coreos.com", "ClusterServiceVersion");

/// Runs the whole operator, and downloads the bundle from the store.
async fn stored(context: &Arc<Context>, spec: Value) -> Unpacked {
    let _operator = Operator::of(context).ready().await;
    context.debug_bundle("whole", spec).await;
    let status = context.until_bundle_ended("whole").await;
    assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
    context.download(&status).await
}

/// Replaces the default Deployment by another installer's.
async fn deployed(context: &Context, deployment: Value) {
    let api = context.api::<Deployment>();
    if api.get_opt("velero").await.unwrap().is_some() {
        api.delete("velero", &DeleteParams::default()).await.unwrap();
        until(Duration::from_secs(10), "the Deployment is gone", || async {
            match api.get_opt("velero").await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    context.create::<Deployment>(deployment).await;
}

fn role(got: &CollectionResult, pod: &str) -> PodRole {
    got.snapshot.installation.pods.iter().find(|found| found.name == pod).unwrap_or_else(|| panic!("no pod {pod}")).role
}

fn versions(got: &CollectionResult) -> Value {
    serde_json::from_str(&got.text("velero/version.json")).unwrap()
}

const STARTING: &str = "level=info msg=\"Starting Velero server v1.18.9 (0abc123)\"";

#[tokio::test]
async fn helms_server_is_found_though_its_pods_lack_the_component_label() {
    with_namespace("helm", |context| async move {
        let labels = json!({"app.kubernetes.io/name": "velero", "app.kubernetes.io/instance": "prod"});
        let server = ("velero", "velero/velero:v1.18.1");
        let mut server = velero_workload("prod-velero", &labels, &labels, server, &["server", "--features=EnableCSI"]);
        // The selector's expressions tell apart two workloads with the same labels.
        server["spec"]["selector"]["matchExpressions"] =
            json!([{"key": "batch.kubernetes.io/job-name", "operator": "DoesNotExist"}]);
        deployed(&context, server).await;
        let agent = json!({"name": "node-agent", "role": "node-agent"});
        let mut agents =
            velero_workload("node-agent", &json!({}), &agent, ("node-agent", "velero/velero:v1.18.1"), &["node-agent"]);
        agents["spec"]["selector"] = json!({"matchExpressions": [
            {"key": "name", "operator": "In", "values": ["node-agent", "node-agent-windows"]},
            {"key": "role", "operator": "Exists"}]});
        context.create::<DaemonSet>(agents).await;
        let node = context.node("n").await;
        let server = pod("prod-velero-1").on_node(&node).labelled("app.kubernetes.io/name", "velero");
        context.pod(server.labelled("app.kubernetes.io/instance", "prod").with_container("velero")).await;
        let agent = pod("node-agent-1").on_node(&node).labelled("name", "node-agent").labelled("role", "node-agent");
        context.pod(agent.with_container("node-agent")).await;
        context
            .pod(pod("shop").on_node(&node).labelled("app.kubernetes.io/name", "shop").with_container("velero"))
            .await;
        let job = pod("prod-velero-upgrade-crds").on_node(&node).labelled("app.kubernetes.io/name", "velero");
        let job = job.labelled("app.kubernetes.io/instance", "prod").labelled("batch.kubernetes.io/job-name", "crds");
        context.pod(job.with_container("velero")).await;
        context.log("prod-velero-upgrade-crds", "velero", LogScript::lines(["customresourcedefinition configured"]));
        context.pod(pod("guest").on_node(&node).labelled("role", "node-agent").with_container("guest")).await;
        context.log("guest", "guest", LogScript::lines(["I only look like one"]));
        context.log("prod-velero-1", "velero", LogScript::lines([STARTING]));
        context.log("node-agent-1", "node-agent", LogScript::lines(["I am an agent"]));
        context.log("shop", "velero", LogScript::lines(["Starting Velero server v0.0.1 (0bad)"]));
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        assert!(got.errors().is_empty(), "{:#?}", got.errors());
        assert_eq!(role(&got, "prod-velero-1"), PodRole::Server);
        assert_eq!(role(&got, "node-agent-1"), PodRole::NodeAgent { involved: true });
        assert_eq!(role(&got, "shop"), PodRole::Other);
        assert_eq!(
            role(&got, "prod-velero-upgrade-crds"),
            PodRole::Other,
            "its labels are the server's, the selector is not"
        );
        assert_eq!(role(&got, "guest"), PodRole::Other, "a label alone makes no node-agent");
        let told = versions(&got);
        assert_eq!((&told["server"]["version"], &told["server"]["from"]), (&json!("v1.18.9"), &json!("server log")));
        assert_eq!((&told["server"]["features"], &told["server"]["commit"]), (&json!("EnableCSI"), &json!("0abc123")));
        assert_eq!(told["nodeAgents"][0]["node"], node.as_str());

        let bundle = stored(&context, json!({})).await;
        let space = &context.namespace;
        assert_eq!(bundle.manifest["velero"]["version"], "v1.18.9");
        assert_eq!(bundle.names_in(space, "apps/deployments"), ["prod-velero"]);
        let log = bundle.file(&log_path(&context, "prod-velero-1", "velero", "current.log"));
        assert!(log.contains("Starting Velero server v1.18.9"), "{log}");
    })
    .await;
}

#[tokio::test]
async fn oadps_own_kinds_are_in_the_bundle_where_the_operator_may_read_them() {
    let _stay = KINDS_STAY.read().await;
    Box::pin(with_namespace_on(stand().await, "openshift-adp", |context| async move {
        let labels = json!({"app.kubernetes.io/name": "velero", "app.kubernetes.io/instance": "dpa", "component": "velero",
            "app.kubernetes.io/managed-by": "oadp-operator", "app.kubernetes.io/component": "server", "openshift.io/oadp": "True"});
        let image = "registry.example/oadp/oadp-velero-rhel9@sha256:0123456789abcdef";
        deployed(&context, velero_workload("velero", &labels, &labels, ("velero", image), &["server"])).await;
        let manager = json!({"control-plane": "controller-manager"});
        let manager = velero_workload("openshift-adp-controller-manager", &manager, &manager, ("manager", "oadp/operator:1"), &[]);
        context.create::<Deployment>(manager).await;
        let request = json!({"metadata": {"name": "velero-cli-x1"}, "spec": {}, "status": {"phase": "Processed",
            "processedTimestamp": "2026-03-01T00:00:00Z", "serverVersion": "v1.16.2-OADP"}});
        context.create_velero(velero_object("ServerStatusRequest", request)).await;
        let space = Some(context.namespace.as_str());
        create_custom(&context, space, DPA, "dpa", json!({"spec": {"configuration": {"velero": {}}}})).await;
        create_custom(&context, space, CSV, "oadp-operator.v1.5.0", json!({"spec": {}})).await;
        create_custom(&context, space, REQUEST, "request-1", json!({"spec": {"approvalDecision": "pending"}})).await;
        let shop = context.workload_namespace("shop").await;
        let asked = json!({"spec": {"backupSpec": {"ttl": "720h"}}});
        create_custom(&context, Some(&shop), NON_ADMIN, "mine", asked).await;

        let account = context.shipped_account().await;
        let as_shipped = || async { CollectionRun { client: Some(account.client().await), ..CollectionRun::default() } };
        let got = as_shipped().await.of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        assert!(got.errors().is_empty(), "what was never promised has not failed: {:#?}", got.errors());
        let file = |group: &str, plural: &str| format!("namespaces/{}/{group}/{plural}.yaml", context.namespace);
        let denied = got.missing(&file("oadp.openshift.io", "dataprotectionapplications"));
        assert_eq!((denied.code, denied.severity), (MissingCode::Forbidden, MissingSeverity::Note));
        assert!(denied.cure.contains(r#"{apiGroups: ["oadp.openshift.io"], resources: [dataprotectionapplications]"#));
        for (group, plural) in [("core", "services"), ("policy", "poddisruptionbudgets")] {
            let denied = got.missing(&file(group, plural));
            assert_eq!(denied.severity, MissingSeverity::Note);
            assert!(denied.cure.starts_with("add to extraRules of the chart"), "{}", denied.cure);
        }
        let told = versions(&got);
        assert_eq!(told["server"]["version"], "v1.16.2-OADP", "a digest says no version");
        assert_eq!(told["server"]["from"], "ServerStatusRequest");

        let mut about_shop = DebugBundleSpec::installation();
        about_shop.namespaces = vec![shop.clone()];
        let beside = format!("namespaces/{shop}/oadp.openshift.io/nonadminbackups.yaml");
        let got = as_shipped().await.of(&context, &about_shop).await;
        got.is_complete();
        assert!(got.errors().is_empty(), "{:#?}", got.errors());
        let denied = got.missing(&beside);
        assert_eq!((denied.code, denied.severity), (MissingCode::Forbidden, MissingSeverity::Note));
        let place = format!("in namespace {shop} (RoleBinding)");
        assert!(denied.cure.contains(&place) && denied.cure.contains("resources: [nonadminbackups]"), "{}", denied.cure);

        let rules = json!([{"apiGroups": ["oadp.openshift.io", "operators.coreos.com"], "verbs": ["get", "list"],
            "resources": ["dataprotectionapplications", "nonadminbackups", "clusterserviceversions", "subscriptions"]}]);
        context.create::<Role>(json!({"metadata": {"name": "extra"}, "rules": rules})).await;
        let subject = json!({"kind": "ServiceAccount", "name": "debugbundle-operator", "namespace": context.namespace});
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "extra"});
        context.create::<RoleBinding>(json!({"metadata": {"name": "extra"}, "subjects": [subject], "roleRef": role})).await;
        let dpa = file("oadp.openshift.io", "dataprotectionapplications");
        until(Duration::from_secs(30), "the added rule has come into force", || async {
            let got = as_shipped().await.of(&context, &DebugBundleSpec::installation()).await;
            if got.has(&dpa) { Ok(()) } else { Err(format!("{:?}", got.missing(&dpa))) }
        })
        .await;
        let got = as_shipped().await.of(&context, &DebugBundleSpec::installation()).await;
        assert_eq!(got.names(&dpa), ["dpa"]);
        assert_eq!(got.names(&file("operators.coreos.com", "clusterserviceversions")), ["oadp-operator.v1.5.0"]);
        assert!(got.collected.empty.contains(&file("oadp.openshift.io", "nonadminbackups")));
        let definition = "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions";
        let definition = got.yaml(&format!("{definition}/dataprotectionapplications.oadp.openshift.io.yaml"));
        assert_eq!(definition["spec"]["names"]["kind"], "DataProtectionApplication");

        context.allow_further(&["oadp.openshift.io", "operators.coreos.com"]).await;
        let bundle = stored(&context, json!({"namespaces": [shop]})).await;
        assert_eq!(bundle.names(&dpa), ["dpa"]);
        assert_eq!(bundle.names(&beside), ["mine"], "what was asked for without being an administrator");
        assert_eq!(bundle.names(&file("oadp.openshift.io", "nonadminbackupstoragelocationrequests")), ["request-1"]);
        assert!(bundle.is_empty(&format!("namespaces/{shop}/oadp.openshift.io/nonadminrestores.yaml")));
        assert_eq!(bundle.manifest["velero"]["version"], "v1.16.2-OADP");
    }))
    .await;
}

#[tokio::test]
async fn the_vsphere_plugins_pods_and_kinds_are_taken_and_its_library_logs_are_told_as_missing() {
    let _stay = KINDS_STAY.read().await;
    with_namespace_on(stand().await, "vsphere", |context| async move {
        let driver = json!({"component": "velero", "name": "backup-driver"});
        context
            .create::<Deployment>(velero_workload(
                "backup-driver",
                &driver,
                &driver,
                ("backup-driver", "vsphere/driver:1"),
                &[],
            ))
            .await;
        let movers = json!({"component": "velero", "name": "datamgr-for-vsphere-plugin"});
        let name = "datamgr-for-vsphere-plugin";
        context
            .create::<DaemonSet>(velero_workload(name, &movers, &movers, (name, "vsphere/data-manager:1"), &[]))
            .await;
        let node = context.node("n").await;
        for (pod_name, name) in [
            ("backup-driver-1", "backup-driver"),
            ("datamgr-for-vsphere-plugin-1", name),
            ("datamgr-for-vsphere-plugin-2", name),
        ] {
            let made = pod(pod_name).on_node(&node).labelled("component", "velero").labelled("name", name);
            context.pod(made.with_container(name)).await;
            context.log(pod_name, name, LogScript::lines([format!("I am {pod_name}")]));
        }
        let shop = context.workload_namespace("shop").await;
        vsphere_objects(&context, &shop).await;
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        assert!(got.errors().is_empty(), "{:#?}", got.errors());
        assert_eq!(role(&got, "backup-driver-1"), PodRole::Other, "the component label alone makes no server");
        assert_eq!(got.snapshot.installation.servers.len(), 1);
        for pod in ["backup-driver-1", "datamgr-for-vsphere-plugin-1"] {
            let container = pod.trim_end_matches("-1");
            assert!(got.text(&log_path(&context, pod, container, "current.log")).ends_with(&format!("I am {pod}\n")));
        }
        let file = |group: &str, plural: &str| format!("namespaces/{}/{group}/{plural}.yaml", context.namespace);
        assert_eq!(got.names(&file("datamover.cnsdp.vmware.com", "uploads")), ["upload-1"]);
        assert_eq!(got.names(&file("backupdriver.cnsdp.vmware.com", "backuprepositoryclaims")), ["claim-1"]);
        assert!(got.collected.empty.contains(&file("datamover.cnsdp.vmware.com", "downloads")));
        let library: Vec<_> = got.collected.missing.iter().filter(|missing| missing.what.contains("VDDK")).collect();
        assert_eq!(library.len(), 1, "once, not for each pod");
        assert_eq!((library[0].code, library[0].severity), (MissingCode::NotLooked, MissingSeverity::Note));
        assert!(library[0].cure.contains("datamgr-for-vsphere-plugin-1:/tmp/vmware-root"), "{}", library[0].cure);

        a_backup_of(&context, &shop).await;
        let beside = |plural: &str| format!("namespaces/{shop}/backupdriver.cnsdp.vmware.com/{plural}.yaml");
        let repositories = "cluster-scoped-resources/backupdriver.cnsdp.vmware.com/backuprepositories.yaml";
        let account = context.shipped_account().await;
        let about = DebugBundleSpec::about(TargetKind::Backup, "seed");
        let got = CollectionRun { client: Some(account.client().await), ..CollectionRun::default() }
            .of(&context, &about)
            .await;
        for (path, place) in [(beside("snapshots"), shop.as_str()), (repositories.to_owned(), "for the cluster")] {
            let denied = got.missing(&path);
            assert_eq!((denied.code, denied.severity), (MissingCode::Forbidden, MissingSeverity::Note));
            assert!(denied.cure.starts_with("bind a ClusterRole") && denied.cure.contains(place), "{}", denied.cure);
        }
        context.allow_further(&["backupdriver.cnsdp.vmware.com", "datamover.cnsdp.vmware.com"]).await;
        let bundle = stored(&context, spec_about("Backup", "seed")).await;
        let snapshots = bundle.items(&beside("snapshots"));
        let snapshots: Vec<&str> = snapshots.iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(snapshots, ["z-own", "a-stranger"], "the Backup's own comes first");
        assert_eq!(bundle.names(&beside("clonefromsnapshots")), ["clone-1"]);
        assert_eq!(bundle.names(&beside("deletesnapshots")), ["deletion-1"]);
        assert!(bundle.names(repositories).contains(&format!("{}-repository", context.namespace)));
        for path in [repositories.to_owned(), file("backupdriver.cnsdp.vmware.com", "backuprepositoryclaims")] {
            let text = bundle.file(&path);
            assert!(text.contains("region: us-east-1") && !text.contains("hunter2"), "{path}: {text}");
        }
        let definitions = "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions";
        assert!(bundle.has(&format!("{definitions}/clonefromsnapshots.backupdriver.cnsdp.vmware.com.yaml")));
    })
    .await;
}

/// The objects of the vSphere plugin: in its own namespace, beside the volumes, and in the cluster.
async fn vsphere_objects(context: &Context, shop: &str) {
    let own = Some(context.namespace.as_str());
    let upload = json!({"spec": {"backupRepository": "r", "snapshotID": "s"}});
    create_custom(context, own, UPLOAD, "upload-1", upload).await;
    let parameters = json!({"region": "us-east-1", "bucket": "b", "aws_access_key_id": "hunter2-id",
        "aws_secret_access_key": "hunter2-key", "somethingNew": "hunter2-new"});
    let repository =
        || json!({"allowedNamespaces": [shop], "repopsitoryParameters": parameters, "repositoryDriver": "s3driver"});
    create_custom(context, own, CLAIM, "claim-1", repository()).await;
    let mut of_the_cluster = repository();
    of_the_cluster["backupRepositoryClaim"] = "claim-1".into();
    create_custom(context, None, REPOSITORY, &format!("{}-repository", context.namespace), of_the_cluster).await;
    for (name, backup) in [("a-stranger", "other"), ("z-own", "seed")] {
        let fields = json!({"labels": {"velero.io/backup-name": backup},
            "spec": {"backupRepository": "r", "resourceHandle": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "c"}}});
        create_custom(context, Some(shop), SNAPSHOT, name, fields).await;
    }
    let clone = json!({"spec": {"apiGroup": "", "backupRepository": "r", "cloneCancel": false,
        "kind": "PersistentVolumeClaim", "snapshotID": "s"}});
    create_custom(context, Some(shop), CLONE, "clone-1", clone).await;
    let deletion = json!({"spec": {"backupRepository": "r", "snapshotID": "s"}});
    create_custom(context, Some(shop), DELETION, "deletion-1", deletion).await;
}

/// A running Backup, and data of it that leads to a namespace.
async fn a_backup_of(context: &Context, shop: &str) {
    let target = context.create_velero(backup("seed").in_progress()).await;
    context.create_velero(pod_volume_backup("seed-x1").of(&target).of_pod(shop, "shop-0").failed()).await;
}

#[tokio::test]
async fn a_velero_scaled_to_zero_still_gives_a_bundle() {
    with_namespace("zero", |context| async move {
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        assert!(got.errors().is_empty(), "{:#?}", got.errors());
        let told = versions(&got);
        assert_eq!((&told["server"]["version"], &told["server"]["from"]), (&json!("v1.18.3"), &json!("image tag")));
        assert_eq!(told["server"]["pods"], json!([]));
        assert_eq!(told["plugins"][0]["image"], "velero/velero-plugin-for-aws:v1.14.3");
        let deployments = got.yaml(&format!("namespaces/{}/apps/deployments.yaml", context.namespace));
        assert_eq!(deployments["items"][0]["spec"]["replicas"], 0);
        let services = format!("namespaces/{}/core/services.yaml", context.namespace);
        assert!(got.collected.empty.contains(&services), "whoever may read it gets it: {:?}", got.collected.empty);
    })
    .await;
}

#[tokio::test]
async fn of_a_server_that_crashes_again_and_again_the_previous_log_is_there_in_full() {
    with_namespace("crashing", |context| async move {
        let node = context.node("n").await;
        let server = pod("velero-1").on_node(&node).labelled("deploy", "velero").with_container("velero");
        context.pod(server.restarted(7).waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container")).await;
        let lines = (0..40_000).map(|n| format!("level=info msg=\"working on item {n} of many\""));
        let lines: Vec<String> =
            std::iter::once(STARTING.to_owned()).chain(lines).chain(["panic: no room".to_owned()]).collect();
        let bytes: usize = lines.iter().map(String::len).sum();
        assert!(bytes > 1 << 20, "more than is kept of a bystander");
        context.previous_log("velero-1", "velero", LogScript::lines(lines));
        context.log("velero-1", "velero", LogScript::lines(["level=error msg=\"no room\""]));
        let got = CollectionRun::default().of(&context, &DebugBundleSpec::installation()).await;
        got.is_complete();
        assert!(got.errors().is_empty(), "{:#?}", got.errors());
        let path = log_path(&context, "velero-1", "velero", "previous.log");
        assert_eq!(got.entry(&path).truncated, None);
        let text = got.text(&path);
        assert_eq!((text.lines().count(), text.ends_with("panic: no room\n")), (40_002, true));
        assert_eq!(versions(&got)["server"]["version"], "v1.18.9", "the previous instance said it");
    })
    .await;
}
