//! A stand of its own for the tests whose kinds come and go, and Velero's workloads as different installers write them.

use harness::TestCluster;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock};

/// Write-locked by the test that takes kinds away.
pub static KINDS_STAY: RwLock<()> = RwLock::const_new(());

/// A stand with all these kinds.
pub async fn stand() -> &'static TestCluster {
    static STAND: OnceCell<&'static TestCluster> = OnceCell::const_new();
    let stand = STAND.get_or_init(|| async {
        let stand = TestCluster::apart().await;
        stand.flavours_kinds().await;
        stand
    });
    stand.await
}

/// A Deployment or DaemonSet whose selector is its pods' labels.
pub fn velero_workload(name: &str, labels: &Value, selector: &Value, container: (&str, &str), args: &[&str]) -> Value {
    let (container, image) = container;
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"matchLabels": selector}, "template": {
            "metadata": {"labels": selector},
            "spec": {"containers": [{"name": container, "image": image, "args": args}]}}},
    })
}
