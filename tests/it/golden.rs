//! The golden list: every path in the bundle of a partially failed Restore on a real Velero, in the archive's order. It
//! is compared with a committed file, so that reviewers see each change of what is collected. This stand runs no
//! node-agent: the test creates by hand what one would leave of the volumes, for the real Restore and its Backup.

use std::path::Path;

use harness::{
    Context, LogScript, Operator, TestCluster, Velero,
    bundle::spec_about,
    pod,
    velero_objects::{VeleroObject, data_download, data_upload, pod_volume_backup, pod_volume_restore},
    with_namespace_on,
};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::DynamicObject;

use crate::support::workloads::{claim, volume, workload_pod};

const LIST: &str = "it/golden/restore-partially-failed.txt";
const MEND: &str = "DEBUGBUNDLE_MEND=1 cargo test --package debugbundle-tests --test it -- golden";

#[tokio::test]
async fn the_bundle_of_a_restore_journey_holds_the_golden_list_of_paths() {
    // Bundles contain definitions, and other tests add kinds to the shared stand.
    with_namespace_on(TestCluster::apart().await, "golden", |context| async move {
        let velero = Velero::of(&context).start().await;
        velero.pretend_node_agent().await;
        context.log("node-agent-k4w9z", "node-agent", LogScript::lines(["level=info msg=\"one line\""]));
        let restore = velero.partially_failed_restore("r1").await;
        let volumes = volumes(&context, &restore, velero.node()).await;
        let _operator = Operator::of(&context).ready().await;
        let (_, bundle) = context.bundle("r1", spec_about("Restore", "r1")).await;

        for (path, names) in volumes {
            assert_eq!(bundle.names(&path), names, "{path}");
        }
        let order = bundle.order();
        let mut made = std::collections::BTreeSet::new();
        for path in &order {
            let parent = path.trim_end_matches('/').rsplit_once('/').map(|(parent, _)| format!("{parent}/"));
            assert!(parent.is_none_or(|parent| made.contains(&parent)), "{path} comes before its directory");
            made.insert(path.clone());
        }
        assert_eq!(order.last().map(String::as_str), Some("manifest.json"));
        let files = order.iter().filter(|path| !path.ends_with('/'));
        for folder in order.iter().filter(|path| path.ends_with('/')) {
            assert!(files.clone().any(|path| path.starts_with(folder)), "{folder} has no file, so the list would not name it");
        }
        let found: Vec<String> = files.map(|path| plain(&context.namespace, path)).collect();
        let at_the_root: Vec<&str> = found.iter().map(|path| path.split('/').next().unwrap_or_default()).collect();
        let known = ["summary.md", "report.html", "version", "timestamp", "analysis", "velero", "aggregated-discovery-api.yaml",
            "aggregated-discovery-apis.yaml", "cluster-scoped-resources", "namespaces", "operator.log", "manifest.json"];
        assert!(at_the_root.iter().all(|name| known.contains(name)), "nothing else is at the root: {at_the_root:?}");

        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
        let found = found.join("\n") + "\n";
        if std::env::var_os("DEBUGBUNDLE_MEND").is_some() {
            std::fs::write(&file, &found).expect("the list can be written");
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        let lacking: Vec<&str> = golden.lines().filter(|line| !found.lines().any(|other| other == *line)).collect();
        let new: Vec<&str> = found.lines().filter(|line| !golden.lines().any(|other| other == *line)).collect();
        assert!(
            found == golden,
            "the bundle lacks {lacking:#?} of the list, and has {new:#?} beyond it, or in another order.\nIf that is meant: {MEND}"
        );
    })
    .await;
}

/// Creates the objects that both ways of moving data leave of a Restore and its Backup, and their surroundings. Returns
/// the names that each List of the bundle must contain.
async fn volumes(context: &Context, restore: &DynamicObject, node: &str) -> Vec<(String, Vec<String>)> {
    let (space, shop) = (context.namespace.clone(), format!("{}-r1", context.namespace));
    let backup = context.velero_api("Backup").get("r1-source").await.expect("it is there");
    let create_owned =
        |object: VeleroObject, owner: &DynamicObject| context.create_velero(object.of(owner).owned_by(owner));
    create_owned(pod_volume_backup("r1-source-p").of_pod(&shop, "shop-0").on_node(node).completed(), &backup).await;
    let uploaded = data_upload("r1-source-d").of_claim(&shop, "ledger").failed().on_node(node);
    create_owned(uploaded, &backup).await;
    let written = pod_volume_restore("r1-p").of_pod(&shop, "shop-0").failed().on_node(node);
    create_owned(written.status("message", "no room on the volume"), restore).await;
    let downloaded = data_download("r1-d").of_claim(&shop, "ledger").from_namespace(&shop).failed().on_node(node);
    create_owned(downloaded, restore).await;

    let bound = context.create_in_cluster::<PersistentVolume>("data", volume()).await;
    context.create_in::<PersistentVolumeClaim>(&shop, claim("data", Some(&bound))).await;
    context.create_in::<PersistentVolumeClaim>(&shop, claim("ledger", None)).await;
    context.create_in::<Pod>(&shop, workload_pod("shop-0").on_node(node).with_claim("data")).await;
    context.create_in::<PersistentVolumeClaim>(&space, claim("r1-d", None)).await;
    let hosting = pod("r1-d").on_node(node).labelled("velero.io/data-download", "r1-d").with_container("r1-d");
    context.pod(hosting).await;
    context.log("r1-d", "r1-d", LogScript::lines(["level=error msg=\"no room on the volume\""]));

    let list = |path: &str, names: &[&str]| (path.to_owned(), names.iter().map(ToString::to_string).collect());
    vec![
        list(&format!("namespaces/{space}/velero.io/podvolumebackups.yaml"), &["r1-source-p"]),
        list(&format!("namespaces/{space}/velero.io/datauploads.yaml"), &["r1-source-d"]),
        list(&format!("namespaces/{space}/velero.io/podvolumerestores.yaml"), &["r1-p"]),
        list(&format!("namespaces/{space}/velero.io/datadownloads.yaml"), &["r1-d"]),
        list(&format!("namespaces/{space}/core/persistentvolumeclaims.yaml"), &["r1-d"]),
        list(&format!("namespaces/{shop}/core/pods.yaml"), &["shop-0"]),
        list(&format!("namespaces/{shop}/core/persistentvolumeclaims.yaml"), &["data", "ledger"]),
        list("cluster-scoped-resources/core/persistentvolumes.yaml", &[&bound]),
        list("cluster-scoped-resources/core/nodes.yaml", &[node]),
    ]
}

/// Replaces the one part that differs from run to run: the test's namespace, whose name ends in random digits. The rest
/// of each path is fixed: the test names all objects, and the root directory is left out.
fn plain(namespace: &str, path: &str) -> String {
    path.split('/').map(|part| part.replace(namespace, "velero-ns")).collect::<Vec<_>>().join("/")
}
