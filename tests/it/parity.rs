//! What other collectors take, row by row, and where it lies in ours: `velero debug`, OADP's must-gather, the openstack
//! must-gather's `backup-restore`, `oc adm inspect`. That the content is the same is the oracle's matter.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use harness::bundle::Unpacked;
use harness::{LogScript, Operator, Velero, with_namespace};
use serde_json::json;

use Place::{At, Not};

/// Where a row of another collector's table is in ours.
enum Place {
    /// These paths: there, empty, or told as missing. `<v>` is Velero's namespace, `<b>` and `<r>` the Backup and Restore.
    At(&'static [&'static str]),
    /// Not collected: no path that begins so is told in any way.
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
        "storage.k8s.io",
        At(&[
            "cluster-scoped-resources/storage.k8s.io/storageclasses.yaml",
            "cluster-scoped-resources/storage.k8s.io/csidrivers.yaml",
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
        "pods/<pod>/<c>/<c>/logs/current.log",
        At(&["namespaces/<v>/pods/velero-7c9f8d-x2x7q/velero/velero/logs/current.log"]),
    ),
    ("pods/<pod>/<c>/<c>/logs/rotated", Not(&["namespaces/<v>/pods/velero-7c9f8d-x2x7q/velero/velero/logs/rotated"])),
];

/// Rows about kinds that this stand's API server does not serve; `flavours` has bundles with them.
const NOT_SERVED: Table = &[
    ("OADP must-gather: oadp.openshift.io", Not(&["namespaces/<v>/oadp.openshift.io/"])),
    ("OADP must-gather: operators.coreos.com", Not(&["namespaces/<v>/operators.coreos.com/"])),
    ("OADP must-gather: config.openshift.io", Not(&["cluster-scoped-resources/config.openshift.io/"])),
];

#[tokio::test]
async fn each_row_of_other_collectors_tables_has_its_place_in_ours() {
    with_namespace("parity", |context| async move {
        let velero = Velero::start(&context).await;
        velero.completed_backup("other").await;
        velero.partially_failed_restore("r1").await;
        context.log(harness::velero::POD, "velero-velero-plugin-for-aws", LogScript::lines(["level=info msg=plugin"]));
        let _operator = Operator::of(&context).ready().await;
        context.debug_bundle("r1", json!({"target": {"kind": "Restore", "name": "r1"}})).await;
        let bundle = context.download(&context.until_bundle_ended("r1").await).await;
        let told = told(&bundle);
        let mut wrong = String::new();
        for (collector, table) in [
            ("velero debug", VELERO_DEBUG),
            ("OADP must-gather", OADP),
            ("openstack must-gather", OPENSTACK),
            ("oc adm inspect", OC_ADM_INSPECT),
            ("what is not served", NOT_SERVED),
        ] {
            for (row, place) in table {
                let here = |path: &&str| {
                    path.replace("<v>", &context.namespace).replace("<b>", "r1-source").replace("<r>", "r1")
                };
                match place {
                    At(paths) => {
                        for path in paths.iter().map(here).filter(|path| !told.contains(path)) {
                            writeln!(wrong, "{collector}: {row}: nothing is told of {path}").expect("memory");
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
        assert!(wrong.is_empty(), "{wrong}");
    })
    .await;
}

/// Paths that are there, empty or missing.
fn told(bundle: &Unpacked) -> BTreeSet<String> {
    let empty = bundle.manifest["empty"].as_array().into_iter().flatten().filter_map(|path| path.as_str());
    let missing = bundle.missing().into_iter().map(|missing| missing.path);
    bundle.paths().map(str::to_owned).chain(empty.map(str::to_owned)).chain(missing).collect()
}
