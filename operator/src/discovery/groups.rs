//! Snapshots of several volumes at once (`groupsnapshot.storage.k8s.io`): those that Velero made for a Backup, and
//! those that a namespace's snapshots belong to. `collect` reads their contents and classes, which are cluster-scoped.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Served,
    pod_filter::INVOLVED,
    reader::DiscoveryReader,
    walk::{WalkResult, WalkedNamespace},
};
use crate::{cluster::ApiKind, velero::is_dns_name};

/// Their API group.
pub(crate) const GROUP: &str = "groupsnapshot.storage.k8s.io";

/// Their namespaced kind, if it is served.
pub(super) fn kind(served: &Served) -> Option<ApiKind> {
    served.find(GROUP, "volumegroupsnapshots").cloned()
}

/// Name and content.
fn read(group: &Value) -> Option<(String, Option<String>)> {
    let text = |pointer| {
        let name = group.pointer(pointer).and_then(Value::as_str).filter(|name| is_dns_name(name))?;
        Some(name.to_owned())
    };
    let content = ["/status/boundVolumeGroupSnapshotContentName", "/spec/source/volumeGroupSnapshotContentName"];
    Some((text("/metadata/name")?, content.into_iter().find_map(text)))
}

impl DiscoveryReader<'_> {
    /// Velero labels the ones that it makes with the Backup's name (`pkg/backup/actions/csi/pvc_action.go`), and
    /// deletes them once their snapshots exist.
    pub(super) async fn groups_of(&self, place: &WalkedNamespace, met: &mut WalkResult) {
        let Some(kind) = &place.groups else { return };
        let (filter, named): (_, BTreeSet<String>) = (place.filter.clone(), met.groups_named.clone());
        let wanted = move |group: Value| {
            let found = read(&group)?;
            (filter.takes_group(&group) || named.contains(&found.0)).then_some(found)
        };
        met.groups = self.list(kind, &place.namespace, None, INVOLVED, wanted).await;
    }
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::TargetKind;
    use serde_json::json;

    use super::*;
    use crate::discovery::{fixture, pod_filter::PodFilter};

    #[test]
    fn those_are_taken_that_have_the_name_of_the_backup_that_is_made_or_restored() {
        let labelled = |name: &str| json!({"metadata": {"name": "g", "labels": {"velero.io/backup-name": name}}});
        for (kind, own) in [(TargetKind::Backup, "harvest"), (TargetKind::Restore, "seed")] {
            let mut snapshot = fixture::snapshot();
            snapshot.target.object = Some(fixture::target(kind, "InProgress"));
            let takes = |group: &Value, whole| PodFilter::of(&snapshot, "shop", whole).takes_group(group);
            assert!(takes(&labelled(own), false) && !takes(&labelled("another"), false), "{kind}");
            let plain = json!({"metadata": {"name": "g"}});
            assert!(!takes(&plain, false) && takes(&plain, true), "{kind}: all of a namespace that was asked for");
        }
        let snapshot = fixture::snapshot();
        assert!(!PodFilter::of(&snapshot, "shop", false).takes_group(&json!({})), "of no target none is");
    }

    #[test]
    fn a_group_tells_its_content_bound_or_given() {
        let of = |spec: Value, status: Value| {
            read(&json!({"metadata": {"name": "velero-shop-x"}, "spec": spec, "status": status})).unwrap().1
        };
        let given = json!({"source": {"volumeGroupSnapshotContentName": "given"}});
        let bound = json!({"boundVolumeGroupSnapshotContentName": "bound"});
        assert_eq!(of(given.clone(), bound).as_deref(), Some("bound"));
        assert_eq!(of(given, json!({})).as_deref(), Some("given"));
        assert_eq!(of(json!({"source": {"selector": {}}}), Value::Null), None);
        assert_eq!(read(&json!({"metadata": {"name": "../x"}})), None);
    }
}
