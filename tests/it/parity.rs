//! What other collectors take, row by row, and its path in ours: `velero debug`, OADP's must-gather, the openstack
//! must-gather's `backup-restore`, `oc adm inspect`. A row holds only if a bundle of a real server contains the item;
//! the oracle compares the content.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc, time::Duration};

use Place::{At, Not};
use debugbundle_operator::discovery::DISCOVERY;
use harness::{
    Context, LogScript, Operator, TestCluster, Velero,
    bundle::{Unpacked, spec_about},
    kubelet::KubeletPort,
    pod, until, with_namespace_on,
};
use http::{Request, header};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use serde_json::json;

/// Where our bundle contains a row of another collector's table.
enum Place {
    /// Non-empty files, and Lists with an item. `<v>` is Velero's namespace, `<b>` and `<r>` the Backup and Restore.
    At(&'static [&'static str]),
    /// Not collected: no path with this prefix is listed as present, empty or missing.
    Not(&'static [&'static str]),
}

type Table = &'static [(&'static str, Place)];

const VELERO_DEBUG: Table = &[
    ("version.txt", At(&["version", "velero/version.json"])),
    (
        "kubecapture/velero.io_v1, velero.io_v2alpha1",
        At(&[
            "namespaces/<v>/velero.io/backups.yaml",
            "namespaces/<v>/velero.io/backuprepositories.yaml",
            "namespaces/<v>/velero.io/backupstoragelocations.yaml",
            "namespaces/<v>/velero.io/datadownloads.yaml",
            "namespaces/<v>/velero.io/datauploads.yaml",
            "namespaces/<v>/velero.io/deletebackuprequests.yaml",
            "namespaces/<v>/velero.io/downloadrequests.yaml",
            "namespaces/<v>/velero.io/podvolumebackups.yaml",
            "namespaces/<v>/velero.io/podvolumerestores.yaml",
            "namespaces/<v>/velero.io/restores.yaml",
            "namespaces/<v>/velero.io/schedules.yaml",
            "namespaces/<v>/velero.io/serverstatusrequests.yaml",
            "namespaces/<v>/velero.io/volumesnapshotlocations.yaml",
        ]),
    ),
    ("kubecapture/core_v1/<ns>/pods", At(&["namespaces/<v>/core/pods.yaml"])),
    (
        "kubecapture/core_v1/<ns>/<pod>/<c>/<c>.log",
        At(&[
            "namespaces/<v>/pods/velero-7c9f8d-x2x7q/velero/velero/logs/current.log",
            "namespaces/<v>/pods/velero-7c9f8d-x2x7q/velero-velero-plugin-for-aws/velero-velero-plugin-for-aws/logs/current.log",
        ]),
    ),
    ("backup_describe_<b>.txt", At(&["velero/backups/<b>/describe.txt"])),
    ("restore_describe_<r>.txt", At(&["velero/restores/<r>/describe.txt"])),
    ("backup_<b>.log", At(&["velero/backups/<b>/backup.log"])),
    ("restore_<r>.log", At(&["velero/restores/<r>/restore.log"])),
];

const OADP: Table = &[
    ("version", At(&["version"])),
    ("oadp-must-gather-summary.md", At(&["summary.md"])),
    (
        "velero.io/<plural>/<plural>.yaml",
        At(&["namespaces/<v>/velero.io/backups.yaml", "namespaces/<v>/velero.io/restores.yaml"]),
    ),
    ("backups/describe-<b>.txt", At(&["velero/backups/<b>/describe.txt", "velero/backups/<b>/backup.log"])),
    ("restores/describe-<r>.txt", At(&["velero/restores/<r>/describe.txt", "velero/restores/<r>/restore.log"])),
    (
        "oadp.openshift.io/<plural>/<plural>.yaml",
        At(&[
            "namespaces/<v>/oadp.openshift.io/dataprotectionapplications.yaml",
            "namespaces/<v>/oadp.openshift.io/dataprotectiontests.yaml",
            "namespaces/<v>/oadp.openshift.io/cloudstorages.yaml",
            "namespaces/<v>/oadp.openshift.io/nonadminbackups.yaml",
            "namespaces/<v>/oadp.openshift.io/virtualmachinefilerestores.yaml",
        ]),
    ),
    (
        "operators.coreos.com/{clusterserviceversions,subscriptions}",
        At(&[
            "namespaces/<v>/operators.coreos.com/clusterserviceversions.yaml",
            "namespaces/<v>/operators.coreos.com/subscriptions.yaml",
        ]),
    ),
    (
        "config.openshift.io/clusterversions.yaml, Infrastructure",
        At(&[
            "cluster-scoped-resources/config.openshift.io/clusterversions/version.yaml",
            "cluster-scoped-resources/config.openshift.io/infrastructures.yaml",
        ]),
    ),
    ("Nodes", At(&["cluster-scoped-resources/core/nodes.yaml"])),
    (
        "storage.k8s.io, snapshot.storage.k8s.io",
        At(&[
            "cluster-scoped-resources/storage.k8s.io/storageclasses.yaml",
            "cluster-scoped-resources/storage.k8s.io/csidrivers.yaml",
            "cluster-scoped-resources/snapshot.storage.k8s.io/volumesnapshotclasses.yaml",
        ]),
    ),
    ("every other Backup and Restore", Not(&["velero/backups/other"])),
    (
        "customresourcedefinitions/<plural>.yaml",
        At(&[
            "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/backups.velero.io.yaml",
            "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/debugbundles.debugbundle.io.yaml",
        ]),
    ),
];

const OPENSTACK: Table = &[
    (
        "oadp/<plural>/<name>.yaml",
        At(&[
            "namespaces/<v>/velero.io/backups.yaml",
            "namespaces/<v>/velero.io/restores.yaml",
            "namespaces/<v>/velero.io/datauploads.yaml",
            "namespaces/<v>/velero.io/datadownloads.yaml",
            "namespaces/<v>/velero.io/backupstoragelocations.yaml",
            "namespaces/<v>/velero.io/volumesnapshotlocations.yaml",
        ]),
    ),
    (
        "volumesnapshotclasses/<name>.yaml",
        At(&["cluster-scoped-resources/snapshot.storage.k8s.io/volumesnapshotclasses.yaml"]),
    ),
    ("volumesnapshots/<ns>/<name>.yaml", At(&["namespaces/<v>/snapshot.storage.k8s.io/volumesnapshots.yaml"])),
    ("PVC labels", At(&["namespaces/<v>/core/persistentvolumeclaims.yaml"])),
    ("labels/<ns>/*.log, deployment-stage/*.log", Not(&["labels/", "deployment-stage/"])),
];

const OC_ADM_INSPECT: Table = &[
    ("timestamp", At(&["timestamp"])),
    ("aggregated-discovery-api(s).yaml", At(&["aggregated-discovery-api.yaml", "aggregated-discovery-apis.yaml"])),
    ("namespaces/<ns>/<ns>.yaml", At(&["namespaces/<v>/<v>.yaml"])),
    (
        "core/*.yaml",
        At(&[
            "namespaces/<v>/core/pods.yaml",
            "namespaces/<v>/core/events.yaml",
            "namespaces/<v>/core/persistentvolumeclaims.yaml",
            "namespaces/<v>/core/configmaps.yaml",
            "namespaces/<v>/core/services.yaml",
            "namespaces/<v>/core/endpoints.yaml",
            "namespaces/<v>/core/replicationcontrollers.yaml",
        ]),
    ),
    ("event-filter.html", At(&["report.html"])),
    ("core/secrets.yaml", Not(&["namespaces/<v>/core/secrets"])),
    (
        "apps/*.yaml, batch/*.yaml",
        At(&[
            "namespaces/<v>/apps/deployments.yaml",
            "namespaces/<v>/apps/daemonsets.yaml",
            "namespaces/<v>/apps/replicasets.yaml",
            "namespaces/<v>/batch/jobs.yaml",
            "namespaces/<v>/apps/statefulsets.yaml",
            "namespaces/<v>/batch/cronjobs.yaml",
        ]),
    ),
    (
        "other groups",
        At(&[
            "namespaces/<v>/autoscaling/horizontalpodautoscalers.yaml",
            "namespaces/<v>/discovery.k8s.io/endpointslices.yaml",
            "namespaces/<v>/networking.k8s.io/networkpolicies.yaml",
            "namespaces/<v>/networking.k8s.io/ingresses.yaml",
            "namespaces/<v>/policy/poddisruptionbudgets.yaml",
        ]),
    ),
    (
        "servicemonitors, routes, builds, image streams",
        Not(&[
            "namespaces/<v>/monitoring.coreos.com",
            "namespaces/<v>/route.openshift.io",
            "namespaces/<v>/build.openshift.io",
            "namespaces/<v>/image.openshift.io",
        ]),
    ),
    ("pods/<pod>/<pod>.yaml", Not(&["namespaces/<v>/pods/velero-7c9f8d-x2x7q/velero-7c9f8d-x2x7q.yaml"])),
    (
        "pods/<pod>/<c>/<c>/logs/{current,previous}.log",
        At(&[
            "namespaces/<v>/pods/velero-7c9f8d-x2x7q/velero/velero/logs/current.log",
            "namespaces/<v>/pods/peer/c/c/logs/current.log",
            "namespaces/<v>/pods/peer/c/c/logs/previous.log",
        ]),
    ),
    (
        "pods/<pod>/<c>/<c>/logs/{current,previous}.insecure.log",
        At(&[
            "namespaces/<v>/pods/unproven/c/c/logs/current.insecure.log",
            "namespaces/<v>/pods/unproven/c/c/logs/previous.insecure.log",
        ]),
    ),
    ("pods/<pod>/<c>/<c>/logs/rotated", Not(&["namespaces/<v>/pods/velero-7c9f8d-x2x7q/velero/velero/logs/rotated"])),
];

/// Group, version, plural, kind and scope of the kinds of OADP, its installer and OpenShift.
const KINDS: [(&str, &str, &str, &str, &str); 9] = [
    ("oadp.openshift.io", "v1alpha1", "dataprotectionapplications", "DataProtectionApplication", "Namespaced"),
    ("oadp.openshift.io", "v1alpha1", "dataprotectiontests", "DataProtectionTest", "Namespaced"),
    ("oadp.openshift.io", "v1alpha1", "cloudstorages", "CloudStorage", "Namespaced"),
    ("oadp.openshift.io", "v1alpha1", "nonadminbackups", "NonAdminBackup", "Namespaced"),
    ("oadp.openshift.io", "v1alpha1", "virtualmachinefilerestores", "VirtualMachineFileRestore", "Namespaced"),
    ("operators.coreos.com", "v1alpha1", "clusterserviceversions", "ClusterServiceVersion", "Namespaced"),
    ("operators.coreos.com", "v1alpha1", "subscriptions", "Subscription", "Namespaced"),
    ("config.openshift.io", "v1", "clusterversions", "ClusterVersion", "Cluster"),
    ("config.openshift.io", "v1", "infrastructures", "Infrastructure", "Cluster"),
];

const OBJECTS: &str = include_str!("parity/objects.yaml");

/// A cluster that serves every kind in the tables. New kinds would disturb other tests, so it is a separate one.
async fn stand() -> &'static TestCluster {
    let stand = TestCluster::apart().await;
    let client = stand.client().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (group, version, plural, kind, scope) in KINDS {
        let definition = serde_json::from_value(json!({
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "scope": scope, "names": {"plural": plural, "kind": kind},
                "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
        }));
        definitions.create(&PostParams::default(), &definition.unwrap()).await.unwrap();
    }
    until(Duration::from_mins(1), "all of these kinds are served", || async {
        let request = Request::get("/apis").header(header::ACCEPT, DISCOVERY).body(Vec::new());
        let served = client.request_text(request.unwrap()).await.map_err(|error| error.to_string())?;
        let lacks = KINDS.iter().find(|(_, _, plural, ..)| !served.contains(&format!("\"resource\":\"{plural}\"")));
        lacks.map_or(Ok(()), |(_, _, plural, ..)| Err((*plural).to_owned()))
    })
    .await;
    stand
}

/// An object of each kind, and pods with logs of each sort.
async fn something_of_everything(context: &Context) {
    context.snapshot_kinds().await;
    let file = context.folder("parity").join("objects.yaml");
    std::fs::write(&file, OBJECTS.replace("VELERO_NS", &context.namespace)).expect("a file");
    let made = context.stand.kubectl(["create", "-f", file.to_str().expect("a plain path")]).await;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (proven, unproven) = (context.node("n").await, context.node_that_is("unproven", KubeletPort::Untrusted).await);
    for (name, node) in [("peer", proven), ("unproven", unproven)] {
        context.pod(pod(name).on_node(&node).with_container("c").restarted(1)).await;
        context.log(name, "c", LogScript::lines(["level=info msg=now"]));
        context.previous_log(name, "c", LogScript::lines(["level=info msg=before"]));
    }
}

#[tokio::test]
async fn each_row_of_other_collectors_tables_is_a_file_with_something_in_it() {
    with_namespace_on(stand().await, "parity", |context| async move {
        let velero = Velero::start(&context).await;
        velero.pretend_node_agent().await;
        velero.completed_backup("other").await;
        velero.partially_failed_restore("r1").await;
        context.log(harness::velero::POD, "velero-velero-plugin-for-aws", LogScript::lines(["level=info msg=plugin"]));
        something_of_everything(&context).await;
        let bundle = of_r1(&context).await;
        let told = told(&bundle);
        let mut wrong = String::new();
        for (collector, table) in [
            ("velero debug", VELERO_DEBUG),
            ("OADP must-gather", OADP),
            ("openstack must-gather", OPENSTACK),
            ("oc adm inspect", OC_ADM_INSPECT),
        ] {
            for (row, place) in table {
                let here = |path: &&str| {
                    path.replace("<v>", &context.namespace).replace("<b>", "r1-source").replace("<r>", "r1")
                };
                match place {
                    At(paths) => {
                        for (why, path) in
                            paths.iter().map(here).filter_map(|path| Some((lacks(&bundle, &path)?, path)))
                        {
                            writeln!(wrong, "{collector}: {row}: {why}: {path}").expect("memory");
                        }
                    }
                    Not(prefixes) => {
                        for prefix in prefixes.iter().map(here) {
                            let found = told.iter().filter(|path| path.starts_with(&prefix));
                            found.for_each(|path| {
                                writeln!(wrong, "{collector}: {row}: {path} is there").expect("memory");
                            });
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}{:#?}", bundle.errors());
    })
    .await;
}

async fn of_r1(context: &Arc<Context>) -> Unpacked {
    // The other collectors read as the cluster's admin, including kinds beyond the shipped roles.
    let further = [
        "",
        "apiregistration.k8s.io",
        "autoscaling",
        "config.openshift.io",
        "discovery.k8s.io",
        "networking.k8s.io",
        "oadp.openshift.io",
        "operators.coreos.com",
        "policy",
        "rbac.authorization.k8s.io",
    ];
    context.allow_further(&further).await;
    let _operator = Operator::of(context).ready().await;
    context.debug_bundle("r1", spec_about("Restore", "r1")).await;
    context.download(&context.until_bundle_ended("r1").await).await
}

/// The error about a file that should exist.
fn lacks(bundle: &Unpacked, path: &str) -> Option<String> {
    if !bundle.has(path) {
        let missing = bundle.missing().into_iter().find(|missing| missing.path == path);
        let told = missing.map(|missing| format!(", but missing: {} {}", missing.code, missing.why));
        let empty = bundle.is_empty(path).then(|| ", but empty".to_owned());
        return Some(format!("no such file{}", told.or(empty).unwrap_or_default()));
    }
    let of_objects =
        (path.starts_with("namespaces/") || path.starts_with("cluster-scoped-")) && !path.contains("/logs/");
    let is_list = || bundle.yaml(path)["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    if bundle.bytes(path).is_empty() {
        Some("an empty file".to_owned())
    } else if of_objects && is_list() && bundle.items(path).is_empty() {
        Some("a List without an item".to_owned())
    } else {
        None
    }
}

/// Paths that are present, empty or missing.
fn told(bundle: &Unpacked) -> BTreeSet<String> {
    let empty = bundle.manifest["empty"].as_array().into_iter().flatten().filter_map(|path| path.as_str());
    let missing = bundle.missing().into_iter().map(|missing| missing.path);
    bundle.paths().map(str::to_owned).chain(empty.map(str::to_owned)).chain(missing).collect()
}
