//! The golden list: everything that lies in the bundle of a Restore that failed in part, on a real Velero, in the order of
//! the archive. It is compared with a committed file, so that each change of what is collected is seen in review.

use std::path::Path;

use harness::{Operator, Stand, Velero, with_namespace_on};
use serde_json::json;

const LIST: &str = "it/golden/restore-partially-failed.txt";
const MEND: &str = "DEBUGBUNDLE_MEND=1 cargo test --package debugbundle-tests --test it -- golden";

#[tokio::test]
async fn the_bundle_of_a_restore_journey_holds_the_golden_list_of_paths() {
    // Other tests bring kinds of their own to the stand that they share, and definitions are in a bundle.
    with_namespace_on(Stand::apart().await, "golden", |context| async move {
        let velero = Velero::of(&context).start().await;
        velero.pretend_node_agent().await;
        context.log("node-agent-k4w9z", "node-agent", harness::LogScript::lines(["level=info msg=\"one line\""]));
        velero.partially_failed_restore("r1").await;
        let _operator = Operator::of(&context).ready().await;
        context.debug_bundle("r1", json!({"target": {"kind": "Restore", "name": "r1"}})).await;
        let status = context.until_bundle_ended("r1").await;
        let bundle = context.download(&status).await;

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

/// Without the one thing that differs from run to run: the test's namespace, whose name ends in digits of chance. Nothing
/// else in the paths does: the test names all objects, the root directory is left out, and so nothing else is replaced.
fn plain(namespace: &str, path: &str) -> String {
    path.split('/').map(|part| part.replace(namespace, "velero-ns")).collect::<Vec<_>>().join("/")
}
