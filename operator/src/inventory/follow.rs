//! The walk from the target's data to where a cause may lie: pods, their owners, claims, volumes, snapshots, nodes, in
//! Velero's namespace and in those that the target touched. Names are kept; the objects are read by `collect`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use debugbundle_crd::TargetKind;
use futures::StreamExt as _;
use serde_json::Value;

use super::{
    Inventory, Looked, ObjectName, Pod, PodRole, TargetObject, hooks, is_dns_name,
    look::{HANDFUL, Look},
    trail::{Controller, RESTORED_BY, Seen, Trail, read_claim, read_owner, read_snapshot},
    valid_label,
};
use crate::cluster::{ApiKind, Flow, TakeItems};

/// Pods outside Velero's namespace that are involved, and restored ones that are well; of claims and snapshots as many in
/// each namespace.
const INVOLVED: usize = 200;
const RESTORED: usize = 1000;
/// Namespaces walked through at once.
const AT_ONCE: usize = 4;

/// A namespace to walk through, and what of it is known before.
struct Place {
    namespace: String,
    sieve: Sieve,
    claims: BTreeSet<String>,
    snapshots: Option<ApiKind>,
}

/// Which of a namespace's pods and snapshots are the target's.
#[derive(Clone, Default)]
struct Sieve {
    /// All of the namespace is asked for.
    whole: bool,
    /// The label that the target puts on what it makes: key and value.
    label: Option<(&'static str, String)>,
    /// Pods that the data names.
    pods: BTreeSet<String>,
    /// Claims that data movers read or write: pods that mount them are involved.
    moved: BTreeSet<String>,
    /// Of both, those whose data did not complete.
    open: (BTreeSet<String>, BTreeSet<String>),
    /// The target, if pods in which its hooks run are involved: one failed, or may hang.
    hooks: Option<Arc<TargetObject>>,
}

/// Comes first what explains most: data that did not complete, then what is not ready, then by name.
type Rank = (bool, bool, String);

/// A namespace's pods that are the target's, as many as there is room for, by rank.
struct Crowd {
    sieve: Sieve,
    involved: BTreeMap<Rank, Seen>,
    restored: BTreeMap<Rank, Seen>,
    /// Those without room; the ones that the data names are counted where they are added.
    beyond: usize,
}

/// A pod on the way to a cause.
struct Involved {
    /// Nothing of its data is left to explain.
    settled: bool,
    /// Nothing but the namespace that was asked for leads to it: its logs are read with those that are not well.
    asked_for: bool,
    seen: Seen,
}

/// What the walk through a namespace met.
#[derive(Default)]
struct Met {
    namespace: String,
    /// By rank.
    involved: Vec<Involved>,
    restored: Vec<Seen>,
    /// Others that hold the claims of those that wait.
    holders: Vec<Seen>,
    beyond: usize,
    claims: BTreeSet<String>,
    owners: BTreeSet<(Controller, String)>,
    volumes: Vec<String>,
    snapshots: Vec<(String, Option<String>)>,
}

impl Place {
    fn of(inventory: &Inventory, namespace: &str, whole: bool) -> Self {
        let here = |name: &&ObjectName| name.namespace == namespace;
        let data = || inventory.data.iter();
        let mover = |plural: &str| matches!(plural, "datauploads" | "datadownloads");
        let named = |name: &ObjectName| name.name.clone();
        let claims_of = |moved: bool| -> BTreeSet<String> {
            let objects = data().filter(|object| !moved || mover(&object.plural));
            objects.filter_map(|object| object.claim.as_ref()).filter(here).map(named).collect()
        };
        let open = || data().filter(|object| !object.is_completed());
        let open_pods = open().filter_map(|object| object.pod.as_ref()).filter(here).map(named).collect();
        let open_claims = open().filter_map(|object| object.claim.as_ref()).filter(here).map(named).collect();
        // What files named besides.
        let in_files = inventory.claims.iter().filter(here).map(named);
        let pods = data().filter_map(|object| object.pod.as_ref()).filter(here).map(named).collect();
        let label = inventory.target.as_ref().map(|target| {
            let key = match target.kind {
                TargetKind::Backup => "velero.io/backup-name",
                TargetKind::Restore => RESTORED_BY,
            };
            (key, valid_label(&target.name))
        });
        Self {
            namespace: namespace.to_owned(),
            sieve: Sieve {
                whole,
                label,
                pods,
                moved: claims_of(true),
                open: (open_pods, open_claims),
                hooks: inventory.with_hooks().cloned().map(Arc::new),
            },
            claims: in_files.chain(claims_of(false)).collect(),
            snapshots: inventory.served.find("snapshot.storage.k8s.io", "volumesnapshots").cloned(),
        }
    }
}

impl Sieve {
    fn selector(&self) -> Option<String> {
        self.label.as_ref().map(|(key, value)| format!("{key}={value}"))
    }

    /// A Restore labels the pods and claims that it makes; a Backup leaves them as they are.
    fn restores(&self) -> Option<String> {
        self.selector().filter(|_| self.label.as_ref().is_some_and(|(key, _)| *key == RESTORED_BY))
    }

    fn restored(&self, seen: &Seen) -> bool {
        self.label.as_ref().is_some_and(|(key, value)| *key == RESTORED_BY && seen.pod.labels.get(*key) == Some(value))
    }

    /// The pod is on the way to a cause; a restored one that is well is not.
    fn involves(&self, seen: &Seen) -> bool {
        self.leads_to(seen) || (self.whole && !seen.ready)
    }

    /// The target leads to the pod.
    fn leads_to(&self, seen: &Seen) -> bool {
        let named = self.pods.contains(&seen.pod.name);
        let mounts = seen.pod.claims.iter().any(|claim| self.moved.contains(claim));
        named || mounts || self.runs_hooks(seen) || (!seen.ready && self.restored(seen))
    }

    /// A hook of the target runs in the pod, by what both say.
    fn runs_hooks(&self, seen: &Seen) -> bool {
        self.hooks.as_ref().is_some_and(|target| {
            let its_own = match target.kind {
                TargetKind::Backup => hooks::selects(target, &seen.pod),
                TargetKind::Restore => self.restored(seen),
            };
            its_own && !hooks::hooked(&seen.pod, target).is_empty()
        })
    }

    fn rank(&self, seen: &Seen) -> Rank {
        let (pods, claims) = &self.open;
        let open = pods.contains(&seen.pod.name) || seen.pod.claims.iter().any(|claim| claims.contains(claim));
        (!open, seen.ready, seen.pod.name.clone())
    }

    fn takes(&self, snapshot: &Value, source: Option<&String>, claims: &BTreeSet<String>) -> bool {
        let labelled = |(key, value): &(&str, String)| snapshot["metadata"]["labels"][key] == **value;
        self.whole || self.label.as_ref().is_some_and(labelled) || source.is_some_and(|claim| claims.contains(claim))
    }
}

impl Crowd {
    fn of(sieve: &Sieve) -> Self {
        Self { sieve: sieve.clone(), involved: BTreeMap::new(), restored: BTreeMap::new(), beyond: 0 }
    }

    fn add(&mut self, seen: Seen) {
        let rank = self.sieve.rank(&seen);
        if self.sieve.involves(&seen) {
            self.involved.insert(rank, seen);
            let last = if self.involved.len() > INVOLVED { self.involved.pop_last() } else { None };
            self.beyond += usize::from(last.is_some_and(|(_, last)| !self.sieve.pods.contains(&last.pod.name)));
        } else if self.sieve.restored(&seen) {
            self.restored.insert(rank, seen);
            let last = if self.restored.len() > RESTORED { self.restored.pop_last() } else { None };
            self.beyond += usize::from(last.is_some());
        }
    }
}

impl TakeItems for Crowd {
    fn take(&mut self, pod: Value) -> io::Result<Flow> {
        if let Some(seen) = Seen::read(&pod) {
            self.add(seen);
        }
        Ok(Flow::More)
    }

    fn restart(&mut self) {
        *self = Self::of(&self.sieve);
    }
}

impl Look<'_> {
    /// Walks through the namespaces that may be looked into and were not walked through yet; of the others, from the claims
    /// that were named since.
    pub(super) async fn follow(&self, inventory: &mut Inventory) {
        let places: Vec<Place> = inventory
            .touched
            .iter()
            .filter(|touched| touched.looked == Looked::Yes && !inventory.trail.walked.contains(&touched.namespace))
            .map(|touched| Place::of(inventory, &touched.namespace, touched.whole))
            .collect();
        let walks = places.into_iter().map(|place| self.walk(place));
        let met: Vec<Met> = futures::stream::iter(walks).buffered(AT_ONCE).collect().await;
        for met in met {
            inventory.add(met);
        }
        self.follow_late(inventory).await;
        inventory.involved_pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        inventory.involve_agents();
    }

    /// From claims that files name to their volumes and snapshots, where the walk has been before.
    async fn follow_late(&self, inventory: &mut Inventory) {
        for (namespace, claims) in std::mem::take(&mut inventory.trail.late) {
            let snapshots = inventory.served.find("snapshot.storage.k8s.io", "volumesnapshots").cloned();
            let place = Place { namespace, sieve: Sieve::default(), claims, snapshots };
            let mut met = Met { namespace: place.namespace.clone(), ..Met::default() };
            self.claims_of(&place, &mut met).await;
            self.snapshots_of(&place, &mut met).await;
            inventory.trail.store(&met.namespace, met.volumes, met.snapshots);
        }
    }

    /// What data movers hold in Velero's own namespace: claims and snapshots of the same name as the object they serve.
    pub(super) async fn at_home(&self, inventory: &mut Inventory) {
        for object in &inventory.data {
            inventory.nodes.extend(object.node.clone());
        }
        for pod in &inventory.pods {
            let wanted = match pod.role {
                PodRole::Server | PodRole::DataMover => true,
                PodRole::NodeAgent { involved } => involved,
                PodRole::Maintenance | PodRole::Other => false,
            };
            if wanted || inventory.target.is_none() {
                inventory.nodes.extend(pod.node.clone());
            }
        }
        if inventory.data.is_empty() {
            return;
        }
        let hosting: BTreeSet<String> =
            inventory.data.iter().flat_map(|object| [object.name.clone(), format!("{}-cache", object.name)]).collect();
        let names = hosting.clone();
        let claim = move |claim: Value| read_claim(&claim).filter(|(name, _)| names.contains(name));
        let claims = self.all(&claim_kind(), None, INVOLVED, claim).await;
        inventory.trail.volumes.extend(claims.iter().filter_map(|(_, volume)| volume.clone()));
        let here = |name: String| ObjectName { namespace: self.namespace.to_owned(), name, uid: None };
        inventory.claims.extend(claims.into_iter().map(|(name, _)| here(name)));
        if let Some(kind) = inventory.served.find("snapshot.storage.k8s.io", "volumesnapshots") {
            let own = move |snapshot: Value| {
                let (name, _, content) = read_snapshot(&snapshot)?;
                hosting.contains(&name).then_some(content).flatten()
            };
            inventory.trail.contents.extend(self.all(kind, None, INVOLVED, own).await);
        }
    }

    async fn walk(&self, place: Place) -> Met {
        let Crowd { involved, restored, beyond, sieve } = self.pods_of(&place).await;
        let involved = involved.into_iter().map(|((settled, ..), seen)| Involved {
            settled,
            asked_for: !sieve.leads_to(&seen),
            seen,
        });
        let mut met = Met {
            namespace: place.namespace.clone(),
            involved: involved.collect(),
            restored: restored.into_values().collect(),
            beyond,
            ..Met::default()
        };
        self.holders_of(&place, &mut met).await;
        self.claims_of(&place, &mut met).await;
        self.snapshots_of(&place, &mut met).await;
        self.owners_of(&mut met).await;
        met
    }

    /// Pods that are involved or restored, in as few calls as that takes.
    async fn pods_of(&self, place: &Place) -> Crowd {
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        let (sieve, crowd) = (&place.sieve, Crowd::of(&place.sieve));
        let by_annotation = sieve.hooks.is_some() && sieve.restores().is_none();
        if sieve.whole || by_annotation || !sieve.moved.is_empty() || sieve.pods.len() > HANDFUL {
            return self.read(&kind, &place.namespace, None, crowd).await;
        }
        let mut crowd = match sieve.restores() {
            Some(selector) => self.read(&kind, &place.namespace, Some(&selector), crowd).await,
            None => crowd,
        };
        let found: BTreeSet<&String> =
            crowd.involved.keys().chain(crowd.restored.keys()).map(|(_, _, name)| name).collect();
        let rest = sieve.pods.iter().filter(|name| !found.contains(name)).cloned().collect();
        for seen in self.pick(&kind, &place.namespace, rest, Seen::read).await {
            crowd.add(seen);
        }
        crowd
    }

    /// Who holds what the target waits for: a volume that can be attached once is attached where another pod has it.
    async fn holders_of(&self, place: &Place, met: &mut Met) {
        let waiting = met.involved.iter().filter(|pod| !pod.seen.ready && !pod.asked_for);
        let mut claims: BTreeSet<String> = waiting.flat_map(|pod| pod.seen.pod.claims.iter().cloned()).collect();
        claims.extend(place.sieve.open.1.iter().cloned());
        if claims.is_empty() {
            return;
        }
        let known = met.involved.iter().map(|pod| &pod.seen).chain(&met.restored);
        let known: BTreeSet<String> = known.map(|seen| seen.pod.name.clone()).collect();
        let holds = move |pod: Value| {
            let seen = Seen::read(&pod).filter(|seen| !known.contains(&seen.pod.name))?;
            seen.pod.claims.iter().any(|claim| claims.contains(claim)).then_some(seen)
        };
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        met.holders = self.list(&kind, &place.namespace, None, INVOLVED, holds).await;
    }

    async fn claims_of(&self, place: &Place, met: &mut Met) {
        let mut names = place.claims.clone();
        names.extend(met.involved.iter().flat_map(|pod| pod.seen.pod.claims.iter().cloned()));
        names.retain(|name| is_dns_name(name));
        met.claims = names;
        let kind = claim_kind();
        let mut found: Vec<(String, Option<String>)> = Vec::new();
        if place.sieve.whole {
            found = self.list(&kind, &place.namespace, None, RESTORED, |claim| read_claim(&claim)).await;
        } else if let Some(selector) = place.sieve.restores() {
            found = self.list(&kind, &place.namespace, Some(&selector), RESTORED, |claim| read_claim(&claim)).await;
        }
        met.claims.extend(found.iter().map(|(name, _)| name.clone()));
        let rest: BTreeSet<String> =
            met.claims.iter().filter(|name| !found.iter().any(|(known, _)| known == *name)).cloned().collect();
        found.extend(self.pick(&kind, &place.namespace, rest, read_claim).await);
        met.volumes = found.into_iter().filter_map(|(_, volume)| volume).collect();
    }

    async fn snapshots_of(&self, place: &Place, met: &mut Met) {
        let Some(kind) = &place.snapshots else { return };
        let (sieve, claims) = (place.sieve.clone(), met.claims.clone());
        // Only what carries the label can be of interest when there is no claim.
        let selector = sieve.selector().filter(|_| claims.is_empty() && !sieve.whole);
        let wanted = move |snapshot: Value| {
            let (name, source, content) = read_snapshot(&snapshot)?;
            sieve.takes(&snapshot, source.as_ref(), &claims).then_some((name, content))
        };
        met.snapshots = self.list(kind, &place.namespace, selector.as_deref(), RESTORED, wanted).await;
    }

    async fn owners_of(&self, met: &mut Met) {
        let owner = |pod: &Pod| {
            let (kind, name) = pod.owner.as_ref()?;
            Some((Controller::named(kind)?, name.clone()))
        };
        met.owners =
            met.involved.iter().filter_map(|pod| owner(&pod.seen.pod)).filter(|(_, name)| is_dns_name(name)).collect();
        let mut by_kind: BTreeMap<Controller, BTreeSet<String>> = BTreeMap::new();
        for (controller, name) in met.owners.iter().filter(|(controller, _)| controller.is_owned()) {
            by_kind.entry(*controller).or_default().insert(name.clone());
        }
        for (controller, names) in by_kind {
            let above = self.pick(&controller.kind(), &met.namespace, names, read_owner).await;
            met.owners.extend(above);
        }
    }
}

impl Inventory {
    /// The target, if one of its hooks failed, or may hang: Velero waits for data at the end only, so that data of other
    /// pods tells nothing.
    fn with_hooks(&self) -> Option<&TargetObject> {
        self.target.as_ref().filter(|target| target.has_failed_hooks() || target.is_under_way())
    }

    fn add(&mut self, met: Met) {
        let Met { namespace, involved, restored, holders, beyond, claims, owners, volumes, snapshots } = met;
        let here = |name: String, uid: Option<String>| ObjectName { namespace: namespace.clone(), name, uid };
        let trail = &mut self.trail;
        trail.pods_beyond += beyond;
        // Those that are named and gone are asked for all the same: that they are gone is part of the story.
        let mut wanted: BTreeMap<String, (bool, bool, ObjectName)> = BTreeMap::new();
        for object in &self.data {
            let Some(pod) = object.pod.as_ref().filter(|pod| pod.namespace == namespace) else { continue };
            let completed = object.is_completed();
            let known = wanted.entry(pod.name.clone()).or_insert_with(|| (completed, false, pod.clone()));
            known.0 &= completed;
        }
        for Involved { settled, asked_for, seen: Seen { pod, account, priority_class, ready } } in involved {
            self.nodes.extend(pod.node.clone());
            trail.accounts.extend(account.map(|name| here(name, None)));
            trail.priority_classes.extend(priority_class);
            let new = || (settled, ready, here(pod.name.clone(), Some(pod.uid.clone())));
            let known = wanted.entry(pod.name.clone()).or_insert_with(new);
            (known.0, known.1) = (settled, ready);
            if !asked_for {
                self.involved_pods.push(pod);
            }
        }
        let mut wanted: Vec<(bool, bool, ObjectName)> = wanted.into_values().collect();
        wanted.sort();
        trail.pods_beyond += wanted.len().saturating_sub(INVOLVED);
        wanted.truncate(INVOLVED);
        let mut wanted: Vec<ObjectName> = wanted.into_iter().map(|(.., name)| name).collect();
        wanted.sort();
        self.involved.extend(wanted);
        for Seen { pod, .. } in restored {
            self.nodes.extend(pod.node);
            trail.restored.push(here(pod.name, Some(pod.uid)));
        }
        for Seen { pod, .. } in holders {
            self.nodes.extend(pod.node);
            trail.holders.push(here(pod.name, Some(pod.uid)));
        }
        let known: BTreeSet<String> =
            self.claims.iter().filter(|claim| claim.namespace == namespace).map(|claim| claim.name.clone()).collect();
        self.claims.extend(claims.into_iter().filter(|name| !known.contains(name)).map(|name| here(name, None)));
        trail.owners.extend(owners.into_iter().map(|(controller, name)| (controller, here(name, None))));
        trail.store(&namespace, volumes, snapshots);
        trail.walked.insert(namespace);
    }

    /// A pod that waits for its volume waits for the node agent beside it, whoever took up the data.
    fn involve_agents(&mut self) {
        let hosting = self.pods.iter().filter(|pod| pod.role == PodRole::DataMover);
        let waiting = self.involved_pods.iter().chain(&self.unhealthy).chain(hosting);
        let nodes: BTreeSet<String> = waiting.filter_map(|pod| pod.node.clone()).collect();
        for agent in &mut self.pods {
            if let PodRole::NodeAgent { involved } = &mut agent.role {
                *involved |= agent.node.as_ref().is_some_and(|node| nodes.contains(node));
            }
        }
    }
}

impl Trail {
    /// Volumes, and snapshots with their contents, that were met in a namespace.
    fn store(&mut self, namespace: &str, volumes: Vec<String>, snapshots: Vec<(String, Option<String>)>) {
        self.volumes.extend(volumes);
        for (name, content) in snapshots {
            self.snapshots.insert(ObjectName { namespace: namespace.to_owned(), name, uid: None });
            self.contents.extend(content);
        }
    }
}

fn claim_kind() -> ApiKind {
    ApiKind::namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{DataObject, fixture};
    use serde_json::json;

    #[test]
    fn of_too_many_pods_those_whose_data_failed_are_kept_and_the_others_counted_once() {
        const ALL: usize = INVOLVED + 50;
        let mut inventory = fixture::inventory();
        inventory.target = Some(fixture::target(TargetKind::Backup, "PartiallyFailed"));
        let phase = |n: usize| if n + 1 == ALL { "Failed" } else { "Completed" };
        let data = |n: usize| {
            let pod = json!({"namespace": "shop", "name": format!("p-{n:03}")});
            let object =
                json!({"metadata": {"name": format!("d-{n:03}")}, "spec": {"pod": pod}, "status": {"phase": phase(n)}});
            DataObject::read("podvolumebackups", &object).expect("it has a name")
        };
        inventory.data = (0..ALL).map(data).collect();
        let place = Place::of(&inventory, "shop", false);
        let mut crowd = Crowd::of(&place.sieve);
        for again in 0..2 {
            if again == 1 {
                crowd.restart();
            }
            for n in 0..ALL {
                // The one in the midst is not ready; that of the Failed one is.
                let ready = if n == 120 { "False" } else { "True" };
                let pod = json!({"metadata": {"name": format!("p-{n:03}"), "namespace": "shop", "uid": "u"},
                    "status": {"conditions": [{"type": "Ready", "status": ready}]}});
                crowd.take(pod).expect("it takes all");
            }
        }
        let first: Vec<&str> = crowd.involved.keys().take(3).map(|(.., name)| name.as_str()).collect();
        assert_eq!(first, ["p-249", "p-120", "p-000"]);
        assert_eq!((crowd.involved.len(), crowd.beyond), (INVOLVED, 0), "those that data names are counted by it");
        let involved = crowd.involved.into_iter();
        let involved = involved.map(|((settled, ..), seen)| Involved { settled, asked_for: false, seen }).collect();
        inventory.add(Met { namespace: "shop".to_owned(), involved, ..Met::default() });
        assert_eq!((inventory.involved.len(), inventory.trail.pods_beyond), (INVOLVED, 50));
        for name in ["p-120", "p-249"] {
            assert!(inventory.involved.iter().any(|pod| pod.name == name), "{name}");
            assert!(inventory.involved_pods.iter().any(|pod| pod.name == name), "{name}");
        }
    }
}
