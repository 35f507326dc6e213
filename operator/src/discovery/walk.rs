//! The walk from the target's data to where a cause may lie: pods, their owners, claims, volumes, snapshots, nodes, in
//! Velero's namespace and in those that the target touched. It keeps names; `collect` reads the objects.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use serde_json::Value;

use super::{
    Looked, NamespaceCandidate, Relevance, Snapshot,
    around::claim_kind,
    groups,
    pod_filter::{INVOLVED, PodFilter, PodSelection},
    reader::{DiscoveryReader, HANDFUL},
    related_volumes::{ClaimView, Controller, PodView, RelatedVolumes, SNAPSHOTS, VolumeSnapshotView},
};
use crate::{
    cluster::ApiKind,
    velero::{ObjectName, PodRole},
};

/// Namespaces walked through at once.
const AT_ONCE: usize = 4;

/// A namespace to walk through, and what is known of it already.
pub(super) struct WalkedNamespace {
    pub(super) namespace: String,
    pub(super) filter: PodFilter,
    pub(super) claims: BTreeSet<String>,
    /// Those of the claims with which something went wrong.
    pub(super) waited: BTreeSet<String>,
    pub(super) snapshots: Option<ApiKind>,
    pub(super) groups: Option<ApiKind>,
}

/// A pod on the way to a cause.
pub(super) struct Involved {
    /// It has no unfinished data.
    settled: bool,
    /// Only the requested namespace leads to it: its logs are read with those of the unhealthy pods.
    pub(super) asked_for: bool,
    pub(super) seen: PodView,
}

/// What the walk through a namespace met.
#[derive(Default)]
pub(super) struct WalkResult {
    pub(super) namespace: String,
    /// By rank.
    pub(super) involved: Vec<Involved>,
    pub(super) restored: Vec<PodView>,
    /// Other pods that hold the claims of waiting pods.
    pub(super) holders: Vec<PodView>,
    pub(super) beyond: usize,
    pub(super) claims: BTreeSet<String>,
    /// Claims that something waits for, or with which something went wrong.
    pub(super) waited: BTreeSet<String>,
    pub(super) owners: BTreeSet<(Controller, String)>,
    /// PersistentVolumes, and whether something waits for each.
    pub(super) volumes: Vec<(String, bool)>,
    /// VolumeSnapshots that claims are filled from, and those whose claim has no volume yet.
    pub(super) sources: BTreeSet<String>,
    pub(super) held_up: BTreeSet<String>,
    pub(super) snapshots: Vec<(String, Option<String>)>,
    /// VolumeGroupSnapshots that these name, and those that were found, with their contents.
    pub(super) groups_named: BTreeSet<String>,
    pub(super) groups: Vec<(String, Option<String>)>,
}

impl WalkedNamespace {
    fn of(snapshot: &Snapshot, namespace: &str, whole: bool) -> Self {
        let here = |name: &&ObjectName| name.namespace == namespace;
        let names = |name: &ObjectName| name.name.clone();
        let of_data = snapshot.target.data.iter().filter_map(|object| object.claim.as_ref()).filter(here).map(names);
        // Claims that files named, because something went wrong with them.
        let waited: BTreeSet<String> = snapshot.namespaces.claims.iter().filter(here).map(names).collect();
        Self {
            namespace: namespace.to_owned(),
            filter: PodFilter::of(snapshot, namespace, whole),
            claims: of_data.chain(waited.iter().cloned()).collect(),
            waited,
            snapshots: snapshot.installation.served.find(SNAPSHOTS, "volumesnapshots").cloned(),
            groups: groups::kind(&snapshot.installation.served),
        }
    }
}

impl DiscoveryReader<'_> {
    /// Walks through the allowed namespaces, those first where something went wrong or that were requested, since the
    /// time may end before the last one; in Velero's own namespace, follows the claims that files name.
    pub(super) async fn walk_all(&self, snapshot: &mut Snapshot) {
        let mut candidates: Vec<&NamespaceCandidate> =
            snapshot.namespaces.candidates.iter().filter(|candidate| candidate.looked == Looked::Yes).collect();
        candidates.sort_by_key(|candidate| !candidate.whole && candidate.relevance != Relevance::Trouble);
        let places: Vec<WalkedNamespace> = candidates
            .iter()
            .map(|candidate| WalkedNamespace::of(snapshot, &candidate.namespace, candidate.whole))
            .collect();
        let walks = places.into_iter().map(|place| self.walk(place));
        let met: Vec<WalkResult> = futures::stream::iter(walks).buffered(AT_ONCE).collect().await;
        for met in met {
            snapshot.add(met);
        }
        self.velero_claims(snapshot).await;
        snapshot.namespaces.involved_pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        snapshot.involve_agents();
    }

    /// Follows claims in Velero's own namespace to their volumes and snapshots.
    async fn velero_claims(&self, snapshot: &mut Snapshot) {
        let claims = snapshot.namespaces.volumes.velero_claims.clone();
        if claims.is_empty() {
            return;
        }
        let place = WalkedNamespace {
            namespace: self.namespace.to_owned(),
            filter: PodFilter::default(),
            waited: claims.clone(),
            claims,
            snapshots: snapshot.installation.served.find(SNAPSHOTS, "volumesnapshots").cloned(),
            // Velero makes these where the volumes are, never in its own namespace.
            groups: None,
        };
        let mut met =
            WalkResult { namespace: place.namespace.clone(), waited: place.waited.clone(), ..WalkResult::default() };
        self.claims_of(&place, &mut met).await;
        self.snapshots_of(&place, &mut met).await;
        snapshot.namespaces.volumes.store(met);
    }

    /// What data movers hold in Velero's own namespace: claims and snapshots named like the object they serve.
    pub(super) async fn velero_namespace(&self, snapshot: &mut Snapshot) {
        for object in &snapshot.target.data {
            snapshot.namespaces.nodes.extend(object.node.clone());
        }
        for pod in &snapshot.installation.pods {
            let wanted = match pod.role {
                PodRole::Server | PodRole::DataMover => true,
                PodRole::NodeAgent { involved } => involved,
                PodRole::Maintenance | PodRole::Other => false,
            };
            if wanted || snapshot.target.object.is_none() {
                snapshot.namespaces.nodes.extend(pod.node.clone());
            }
        }
        if snapshot.target.data.is_empty() {
            return;
        }
        let hosting: BTreeSet<String> = snapshot
            .target
            .data
            .iter()
            .flat_map(|object| [object.name.clone(), format!("{}-cache", object.name)])
            .collect();
        let names = hosting.clone();
        let own = move |claim: Value| ClaimView::read(&claim).filter(|claim| names.contains(&claim.name));
        let claims = self.all(&claim_kind(), None, INVOLVED, own).await;
        let open =
            snapshot.target.data.iter().filter(|object| !object.is_completed()).map(|object| object.name.clone());
        let open: BTreeSet<String> = open.collect();
        for ClaimView { name, volume, .. } in claims {
            let waited = open.contains(name.strip_suffix("-cache").unwrap_or(&name)) || open.contains(&name);
            snapshot.namespaces.volumes.waited.extend(volume.clone().filter(|_| waited));
            snapshot.namespaces.volumes.volumes.extend(volume);
            snapshot.namespaces.claims.push(ObjectName { namespace: self.namespace.to_owned(), name, uid: None });
        }
        if let Some(kind) = snapshot.installation.served.find(SNAPSHOTS, "volumesnapshots") {
            let own = move |snapshot: Value| {
                let VolumeSnapshotView { name, content, .. } = VolumeSnapshotView::read(&snapshot)?;
                hosting.contains(&name).then_some(content).flatten()
            };
            snapshot.namespaces.volumes.contents.extend(self.all(kind, None, INVOLVED, own).await);
        }
    }

    async fn walk(&self, place: WalkedNamespace) -> WalkResult {
        let PodSelection { involved, restored, beyond, unfollowed, filter } = self.pods_of(&place).await;
        if unfollowed > 0 {
            let told = format!("only {INVOLVED} are followed, {unfollowed} more are not");
            self.is_cut("involved-pods", &place.namespace, told);
        }
        let involved = involved.into_iter().map(|((settled, ..), seen)| Involved {
            settled,
            asked_for: !filter.leads_to(&seen),
            seen,
        });
        let mut met = WalkResult {
            namespace: place.namespace.clone(),
            waited: place.waited.clone(),
            involved: involved.collect(),
            restored: restored.into_values().collect(),
            beyond,
            ..WalkResult::default()
        };
        self.holders_of(&place, &mut met).await;
        self.claims_of(&place, &mut met).await;
        self.snapshots_of(&place, &mut met).await;
        self.groups_of(&place, &mut met).await;
        self.owners_of(&mut met).await;
        met
    }

    /// Pods that are involved or restored, in as few calls as possible.
    async fn pods_of(&self, place: &WalkedNamespace) -> PodSelection {
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        let (filter, selection) = (&place.filter, PodSelection::of(&place.filter));
        let by_annotation = filter.hooks.is_some() && filter.restores().is_none();
        if filter.whole || by_annotation || !filter.moved.is_empty() || filter.pods.len() > HANDFUL {
            return self.read(&kind, &place.namespace, None, selection).await;
        }
        let mut selection = match filter.restores() {
            Some(selector) => self.read(&kind, &place.namespace, Some(&selector), selection).await,
            None => selection,
        };
        let found: BTreeSet<&String> =
            selection.involved.keys().chain(selection.restored.keys()).map(|(_, _, name)| name).collect();
        let rest = filter.pods.iter().filter(|name| !found.contains(name)).cloned().collect();
        for seen in self.pick(&kind, &place.namespace, rest, PodView::read).await {
            selection.add(seen);
        }
        selection
    }
}

impl Snapshot {
    fn add(&mut self, mut met: WalkResult) {
        let namespace = met.namespace.clone();
        let (involved, restored) = (std::mem::take(&mut met.involved), std::mem::take(&mut met.restored));
        let (holders, claims) = (std::mem::take(&mut met.holders), std::mem::take(&mut met.claims));
        let (owners, beyond) = (std::mem::take(&mut met.owners), met.beyond);
        let here = |name: String, uid: Option<String>| ObjectName { namespace: namespace.clone(), name, uid };
        let related = &mut self.namespaces.volumes;
        related.pods_beyond += beyond;
        // Missing pods that data names are wanted too: that they are gone is part of the evidence.
        let mut wanted: BTreeMap<String, (bool, bool, ObjectName)> = BTreeMap::new();
        for object in &self.target.data {
            let Some(pod) = object.pod.as_ref().filter(|pod| pod.namespace == namespace) else { continue };
            let completed = object.is_completed();
            let known = wanted.entry(pod.name.clone()).or_insert_with(|| (completed, false, pod.clone()));
            known.0 &= completed;
        }
        for Involved { settled, asked_for, seen: PodView { pod, account, priority_class, ready } } in involved {
            self.namespaces.nodes.extend(pod.node.clone());
            related.accounts.extend(account.map(|name| here(name, None)));
            related.priority_classes.extend(priority_class);
            let new = || (settled, ready, here(pod.name.clone(), Some(pod.uid.clone())));
            let known = wanted.entry(pod.name.clone()).or_insert_with(new);
            (known.0, known.1) = (settled, ready);
            if !asked_for {
                self.namespaces.involved_pods.push(pod);
            }
        }
        let mut wanted: Vec<(bool, bool, ObjectName)> = wanted.into_values().collect();
        wanted.sort();
        if !self.namespaces.candidates.iter().any(|candidate| candidate.whole && candidate.namespace == namespace) {
            related.pods_beyond += wanted.len().saturating_sub(INVOLVED);
        }
        wanted.truncate(INVOLVED);
        let mut wanted: Vec<ObjectName> = wanted.into_iter().map(|(.., name)| name).collect();
        wanted.sort();
        self.namespaces.involved.extend(wanted);
        for PodView { pod, .. } in restored {
            self.namespaces.nodes.extend(pod.node);
            related.restored.push(here(pod.name, Some(pod.uid)));
        }
        for PodView { pod, .. } in holders {
            self.namespaces.nodes.extend(pod.node);
            related.holders.push(here(pod.name, Some(pod.uid)));
        }
        let known: BTreeSet<String> = self
            .namespaces
            .claims
            .iter()
            .filter(|claim| claim.namespace == namespace)
            .map(|claim| claim.name.clone())
            .collect();
        self.namespaces
            .claims
            .extend(claims.into_iter().filter(|name| !known.contains(name)).map(|name| here(name, None)));
        related.owners.extend(owners.into_iter().map(|(controller, name)| (controller, here(name, None))));
        related.store(met);
    }

    /// Involves the node agents beside pods that wait for a volume, whichever agent took up the data, and those on
    /// nodes that hold such a volume.
    pub(super) fn involve_agents(&mut self) {
        let hosting = self.installation.pods.iter().filter(|pod| pod.role == PodRole::DataMover);
        let waiting = self.namespaces.involved_pods.iter().chain(&self.namespaces.unhealthy).chain(hosting);
        let mut nodes: BTreeSet<String> = waiting.filter_map(|pod| pod.node.clone()).collect();
        nodes.extend(self.namespaces.volumes.held_on.iter().cloned());
        for agent in &mut self.installation.pods {
            if let PodRole::NodeAgent { involved } = &mut agent.role {
                *involved |= agent.node.as_ref().is_some_and(|node| nodes.contains(node));
            }
        }
    }
}

impl RelatedVolumes {
    /// Stores volumes, and snapshots with their contents, that were met in a namespace.
    fn store(&mut self, met: WalkResult) {
        let WalkResult { namespace, volumes, snapshots, groups, .. } = met;
        let here = |name: String| ObjectName { namespace: namespace.clone(), name, uid: None };
        for (volume, waited) in volumes {
            self.waited.extend(waited.then(|| volume.clone()));
            self.volumes.insert(volume);
        }
        for (name, content) in snapshots {
            self.snapshots.insert(here(name));
            self.contents.extend(content);
        }
        for (name, content) in groups {
            self.groups.insert(here(name));
            self.group_contents.extend(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::TargetKind;
    use serde_json::json;

    use super::*;
    use crate::cluster::TakeItems as _;
    use crate::{discovery::fixture, velero::DataObject};

    #[test]
    fn of_too_many_pods_those_whose_data_failed_are_kept_and_the_others_counted_once() {
        const ALL: usize = INVOLVED + 50;
        let mut snapshot = fixture::snapshot();
        snapshot.target.object = Some(fixture::target(TargetKind::Backup, "PartiallyFailed"));
        let phase = |n: usize| if n + 1 == ALL { "Failed" } else { "Completed" };
        let data = |n: usize| {
            let pod = json!({"namespace": "shop", "name": format!("p-{n:03}")});
            let object =
                json!({"metadata": {"name": format!("d-{n:03}")}, "spec": {"pod": pod}, "status": {"phase": phase(n)}});
            DataObject::read("podvolumebackups", &object).expect("it has a name")
        };
        snapshot.target.data = (0..ALL).map(data).collect();
        let place = WalkedNamespace::of(&snapshot, "shop", false);
        let mut selection = PodSelection::of(&place.filter);
        for again in 0..2 {
            if again == 1 {
                selection.restart();
            }
            for n in 0..ALL {
                // The pod in the middle is not ready; the pod of the Failed data is.
                let ready = if n == 120 { "False" } else { "True" };
                let pod = json!({"metadata": {"name": format!("p-{n:03}"), "namespace": "shop", "uid": "u"},
                    "status": {"conditions": [{"type": "Ready", "status": ready}]}});
                selection.take(pod).expect("it takes all");
            }
        }
        let first: Vec<&str> = selection.involved.keys().take(3).map(|(.., name)| name.as_str()).collect();
        assert_eq!(first, ["p-249", "p-120", "p-000"]);
        assert_eq!(
            (selection.involved.len(), selection.beyond),
            (INVOLVED, 0),
            "those that data names are counted by it"
        );
        let involved = selection.involved.into_iter();
        let involved = involved.map(|((settled, ..), seen)| Involved { settled, asked_for: false, seen }).collect();
        snapshot.add(WalkResult { namespace: "shop".to_owned(), involved, ..WalkResult::default() });
        assert_eq!((snapshot.namespaces.involved.len(), snapshot.namespaces.volumes.pods_beyond), (INVOLVED, 50));
        for name in ["p-120", "p-249"] {
            assert!(snapshot.namespaces.involved.iter().any(|pod| pod.name == name), "{name}");
            assert!(snapshot.namespaces.involved_pods.iter().any(|pod| pod.name == name), "{name}");
        }
    }
}
