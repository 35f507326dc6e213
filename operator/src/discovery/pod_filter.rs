//! Which of a namespace's pods and snapshots are the target's, and which of too many pods explain most. Pure; `walk`
//! reads them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use debugbundle_crd::TargetKind;
use serde_json::Value;

use super::{
    DiscoveredTarget,
    related_volumes::{PodView, RESTORED_BY},
};
use crate::{
    cluster::{Flow, TakeItems},
    velero::{ObjectName, TargetObject, hooks, valid_label},
};

/// The most involved pods of a namespace besides Velero's, and the most healthy restored ones; claims and snapshots
/// have the same limits.
pub(super) const INVOLVED: usize = 200;
pub(super) const RESTORED: usize = 1000;

/// Which of a namespace's pods and snapshots are the target's.
#[derive(Clone, Default)]
pub(super) struct PodFilter {
    /// The whole namespace was requested.
    pub(super) whole: bool,
    /// The name of the target, or of the Backup that it restores, as a label value.
    backup: Option<String>,
    /// The label on what the target makes: key and value.
    label: Option<(&'static str, String)>,
    /// Pods that the data names.
    pub(super) pods: BTreeSet<String>,
    /// Claims that data movers read or write: pods that mount them are involved.
    pub(super) moved: BTreeSet<String>,
    /// Pods and claims whose data did not complete.
    pub(super) open: (BTreeSet<String>, BTreeSet<String>),
    /// The target, if one of its hooks failed or may hang: pods in which its hooks run are involved then.
    pub(super) hooks: Option<Arc<TargetObject>>,
}

/// Sort key; what explains most comes first: data that did not complete, then pods that are not ready, then by name.
pub(super) type Rank = (bool, bool, String);

/// The target's pods in a namespace, up to the limits, by rank.
pub(super) struct PodSelection {
    pub(super) filter: PodFilter,
    pub(super) involved: BTreeMap<Rank, PodView>,
    pub(super) restored: BTreeMap<Rank, PodView>,
    /// Pods beyond the limits, except those that the data names: they are counted where they are added. None in a
    /// requested namespace, because the bundle contains all its pods.
    pub(super) beyond: usize,
    /// In a requested namespace: pods that the target leads to and that are not followed.
    pub(super) unfollowed: usize,
}

impl PodFilter {
    pub(super) fn of(target: &DiscoveredTarget, namespace: &str, whole: bool) -> Self {
        let here = |name: &&ObjectName| name.namespace == namespace;
        let named = |name: &ObjectName| name.name.clone();
        let data = || target.data.iter();
        let open = || data().filter(|object| !object.is_completed());
        let open_pods = open().filter_map(|object| object.pod.as_ref()).filter(here).map(named).collect();
        let open_claims = open().filter_map(|object| object.claim.as_ref()).filter(here).map(named).collect();
        let moved = data().filter(|object| matches!(object.plural.as_str(), "datauploads" | "datadownloads"));
        let label = target.object.as_ref().map(|target| {
            let key = match target.kind {
                TargetKind::Backup => "velero.io/backup-name",
                TargetKind::Restore => RESTORED_BY,
            };
            (key, valid_label(&target.name))
        });
        let backup = |target: &TargetObject| match target.kind {
            TargetKind::Backup => Some(valid_label(&target.name)),
            TargetKind::Restore => target.backup_name.as_deref().map(valid_label),
        };
        Self {
            whole,
            backup: target.object.as_ref().and_then(backup),
            label,
            pods: data().filter_map(|object| object.pod.as_ref()).filter(here).map(named).collect(),
            moved: moved.filter_map(|object| object.claim.as_ref()).filter(here).map(named).collect(),
            open: (open_pods, open_claims),
            hooks: with_hooks(target).cloned().map(Arc::new),
        }
    }

    pub(super) fn selector(&self) -> Option<String> {
        self.label.as_ref().map(|(key, value)| format!("{key}={value}"))
    }

    /// The selector of a Restore, which labels the pods and claims that it makes; a Backup does not.
    pub(super) fn restores(&self) -> Option<String> {
        self.selector().filter(|_| self.label.as_ref().is_some_and(|(key, _)| *key == RESTORED_BY))
    }

    fn restored(&self, seen: &PodView) -> bool {
        self.label.as_ref().is_some_and(|(key, value)| *key == RESTORED_BY && seen.pod.labels.get(*key) == Some(value))
    }

    /// The pod is on the way to a cause; a healthy restored pod is not.
    fn involves(&self, seen: &PodView) -> bool {
        self.leads_to(seen) || (self.whole && !seen.ready)
    }

    /// The target leads to the pod.
    pub(super) fn leads_to(&self, seen: &PodView) -> bool {
        let named = self.pods.contains(&seen.pod.name);
        let mounts = seen.pod.claims.iter().any(|claim| self.moved.contains(claim));
        named || mounts || self.runs_hooks(seen) || (!seen.ready && self.restored(seen))
    }

    /// A hook of the target runs in the pod, according to both objects.
    fn runs_hooks(&self, seen: &PodView) -> bool {
        self.hooks.as_ref().is_some_and(|target| {
            let its_own = match target.kind {
                TargetKind::Backup => hooks::selects(target, &seen.pod),
                TargetKind::Restore => self.restored(seen),
            };
            its_own && !hooks::hooked(&seen.pod, target).is_empty()
        })
    }

    fn rank(&self, seen: &PodView) -> Rank {
        let (pods, claims) = &self.open;
        let open = pods.contains(&seen.pod.name) || seen.pod.claims.iter().any(|claim| claims.contains(claim));
        (!open, seen.ready, seen.pod.name.clone())
    }

    /// Whether a snapshot of several volumes is the target's.
    pub(super) fn takes_group(&self, group: &Value) -> bool {
        let label = group["metadata"]["labels"]["velero.io/backup-name"].as_str();
        self.whole || (label.is_some() && label == self.backup.as_deref())
    }

    pub(super) fn takes(&self, snapshot: &Value, source: Option<&String>, claims: &BTreeSet<String>) -> bool {
        let labelled = |(key, value): &(&str, String)| snapshot["metadata"]["labels"][key] == **value;
        self.whole || self.label.as_ref().is_some_and(labelled) || source.is_some_and(|claim| claims.contains(claim))
    }
}

impl PodSelection {
    pub(super) fn of(filter: &PodFilter) -> Self {
        Self { filter: filter.clone(), involved: BTreeMap::new(), restored: BTreeMap::new(), beyond: 0, unfollowed: 0 }
    }

    pub(super) fn add(&mut self, seen: PodView) {
        let (rank, whole) = (self.filter.rank(&seen), self.filter.whole);
        if self.filter.involves(&seen) {
            self.involved.insert(rank, seen);
            let last = if self.involved.len() > INVOLVED { self.involved.pop_last() } else { None };
            let Some((_, last)) = last else { return };
            self.unfollowed += usize::from(whole && self.filter.leads_to(&last));
            self.beyond += usize::from(!whole && !self.filter.pods.contains(&last.pod.name));
        } else if self.filter.restored(&seen) {
            self.restored.insert(rank, seen);
            let last = if self.restored.len() > RESTORED { self.restored.pop_last() } else { None };
            self.beyond += usize::from(!whole && last.is_some());
        }
    }
}

impl TakeItems for PodSelection {
    fn take(&mut self, pod: Value) -> io::Result<Flow> {
        if let Some(seen) = PodView::read(&pod) {
            self.add(seen);
        }
        Ok(Flow::More)
    }

    fn restart(&mut self) {
        *self = Self::of(&self.filter);
    }
}

/// The target, if one of its hooks failed or may hang. Velero waits for data only at the end, so that data of other pods
/// tells nothing.
fn with_hooks(target: &DiscoveredTarget) -> Option<&TargetObject> {
    target.object.as_ref().filter(|target| target.has_failed_hooks() || target.is_under_way())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::discovery::fixture;

    #[test]
    fn of_a_namespace_that_is_asked_for_no_pod_is_beyond_what_is_listed() {
        let label = Some((RESTORED_BY, "r".to_owned()));
        let selection = |whole: bool, ready: &str| {
            let mut selection = PodSelection::of(&PodFilter { whole, label: label.clone(), ..PodFilter::default() });
            for n in 0..RESTORED + 5 {
                let meta = json!({"name": format!("p-{n}"), "uid": "u", "labels": {RESTORED_BY: "r"}});
                let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
                selection.take(json!({"metadata": meta, "status": status})).expect("it takes all");
            }
            (selection.beyond, selection.unfollowed)
        };
        assert_eq!(selection(false, "True"), (5, 0));
        assert_eq!(selection(true, "True"), (0, 0));
        assert_eq!(selection(false, "False"), (RESTORED + 5 - INVOLVED, 0));
        assert_eq!(selection(true, "False"), (0, RESTORED + 5 - INVOLVED));
    }
    #[test]
    fn those_are_taken_that_have_the_name_of_the_backup_that_is_made_or_restored() {
        let labelled = |name: &str| json!({"metadata": {"name": "g", "labels": {"velero.io/backup-name": name}}});
        for (kind, own) in [(TargetKind::Backup, "harvest"), (TargetKind::Restore, "seed")] {
            let mut snapshot = fixture::snapshot();
            snapshot.target.object = Some(fixture::target(kind, "InProgress"));
            let takes = |group: &Value, whole| PodFilter::of(&snapshot.target, "shop", whole).takes_group(group);
            assert!(takes(&labelled(own), false) && !takes(&labelled("another"), false), "{kind}");
            let plain = json!({"metadata": {"name": "g"}});
            assert!(!takes(&plain, false) && takes(&plain, true), "{kind}: all of a namespace that was asked for");
        }
        let snapshot = fixture::snapshot();
        assert!(!PodFilter::of(&snapshot.target, "shop", false).takes_group(&json!({})), "of no target none is");
    }
}
