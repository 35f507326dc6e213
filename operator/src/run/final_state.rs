//! Last requests to the cluster after the collection: the target's phase now, and the number of nodes. They never fail
//! a bundle: what cannot be read is left out.

use std::collections::BTreeMap;

use debugbundle_format::manifest::Need;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    access,
    cluster::{ApiKind, Cluster},
    discovery::Snapshot,
};

/// Largest answer (bytes): one object.
const ANSWER: usize = 4 << 20;
/// Phase of a target that was deleted in the meantime.
const DELETED: &str = "Deleted";

/// The state at the end of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FinalState {
    /// The target's phase; `None` if it could not be read.
    pub(super) phase: Option<String>,
    /// Number of nodes; `None` if they may not be listed.
    pub(super) nodes: Option<u64>,
}

impl FinalState {
    /// Reads the state; `answers` are the checked permissions.
    pub(super) async fn ask(
        cluster: &Cluster,
        snapshot: &Snapshot,
        answers: &BTreeMap<Need, bool>,
        deadline: Instant,
    ) -> Self {
        let phase = phase(cluster, snapshot, deadline).await;
        let may_count = answers.get(&need()) != Some(&false);
        Self { phase, nodes: if may_count { nodes(cluster, deadline).await } else { None } }
    }
}

async fn phase(cluster: &Cluster, snapshot: &Snapshot, deadline: Instant) -> Option<String> {
    let target = snapshot.target.object.as_ref()?;
    let kind = match target.kind {
        debugbundle_crd::TargetKind::Backup => snapshot.installation.served.velero("backups", "Backup"),
        debugbundle_crd::TargetKind::Restore => snapshot.installation.served.velero("restores", "Restore"),
    };
    match cluster.get(&kind.path(Some(&snapshot.installation.namespace), &target.name), ANSWER, deadline).await {
        Ok(object) if object["metadata"]["uid"].as_str() != Some(&target.uid) => Some(DELETED.to_owned()),
        Ok(object) => Some(object["status"]["phase"].as_str().unwrap_or_default().to_owned()),
        Err(error) if error.is_not_found() => Some(DELETED.to_owned()),
        Err(_) => None,
    }
}

/// The permission that counting the nodes needs.
pub(super) fn need() -> Need {
    access::need("list", &node(), "", None)
}

fn node() -> ApiKind {
    ApiKind::cluster("", "v1", "nodes", "Node")
}

async fn nodes(cluster: &Cluster, deadline: Instant) -> Option<u64> {
    let list = node().list_path(None);
    counted(&cluster.get(&format!("{list}?limit=1"), ANSWER, deadline).await.ok()?)
}

/// The number of items of a List, from its first page.
fn counted(list: &Value) -> Option<u64> {
    let here = list["items"].as_array()?.len() as u64;
    let more = list["metadata"]["continue"].as_str().is_some_and(|token| !token.is_empty());
    if more { Some(here + list["metadata"]["remainingItemCount"].as_u64()?) } else { Some(here) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_and_what_remains_is_the_number() {
        assert_eq!(counted(&json!({"metadata": {}, "items": []})), Some(0));
        let paged = json!({"metadata": {"continue": "x", "remainingItemCount": 4}, "items": [{}]});
        assert_eq!(counted(&paged), Some(5));
        assert_eq!(counted(&json!({"metadata": {"continue": "x"}, "items": [{}]})), None);
        assert_eq!(counted(&json!({"kind": "Status"})), None);
    }
}
