//! What a user meets in the first minute after the installation, on a cluster that has just learned the kinds.

use std::{path::Path, process::Output, time::Duration};

use harness::{TestCluster, until};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::Api;

const LIMIT: Duration = Duration::from_mins(1);
/// What the API server answers while nobody has counted the quota.
const UNCOUNTED: &str = "status unknown for quota: debugbundles";

async fn kubectl(stand: &TestCluster, args: &[&str]) -> Result<String, String> {
    let Output { status, stdout, stderr } = stand.kubectl(args.iter().copied().chain(["--namespace", "velero"])).await;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if status.success() { Ok(text(&stdout)) } else { Err(text(&stderr)) }
}

/// Waits until the controller has counted a quota.
async fn until_counted(stand: &TestCluster, name: &str) {
    let quotas: Api<ResourceQuota> = Api::namespaced(stand.client().await, "velero");
    until(LIMIT, &format!("the quota {name} is counted"), || async {
        let status = quotas.get(name).await.map_err(|error| error.to_string())?.status;
        if status.as_ref().is_some_and(|status| status.used.is_some()) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn right_after_the_installation_a_debug_bundle_is_taken_or_the_notes_explain_the_refusal() {
    let stand = TestCluster::apart().await;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = |file: &str| repository.join(file).display().to_string();
    let apply = async |args: &[&str]| kubectl(stand, &[&["apply"], args].concat()).await.expect("applied");
    // The controller is at work before the kinds are there, as in a cluster into which somebody installs.
    let kinds = ["debugbundles.debugbundle.io", "debugbundlepolicies.debugbundle.io"];
    kubectl(stand, &["delete", "customresourcedefinitions", kinds[0], kinds[1]]).await.expect("deleted");
    kubectl(stand, &["create", "namespace", "velero"]).await.expect("created");
    let _controller = stand.quota_controller().await;
    kubectl(stand, &["create", "quota", "other", "--hard=configmaps=9"]).await.expect("created");
    until_counted(stand, "other").await;

    apply(&["--kustomize", &path("deploy")]).await;
    kubectl(stand, &["wait", "--for=condition=Established", &format!("crd/{}", kinds[0])]).await.expect("known");
    apply(&["--filename", &path("deploy/samples/restore.yaml")]).await;

    apply(&["--filename", &path("deploy/quota.yaml")]).await;
    let sample = path("deploy/samples/backup.yaml");
    let refused = until(LIMIT, "the quota is in force", || async {
        kubectl(stand, &["create", "--dry-run=server", "--filename", &sample]).await.err()
    })
    .await;
    assert!(refused.contains(UNCOUNTED), "{refused}");
    for page in
        ["README.md", "docs/operations.md", "charts/debugbundle/README.md", "charts/debugbundle/templates/NOTES.txt"]
    {
        let page = std::fs::read_to_string(repository.join(page)).expect("it can be read").replace('\n', " ");
        assert!(page.contains("status unknown for quota"), "{page}");
    }
}
