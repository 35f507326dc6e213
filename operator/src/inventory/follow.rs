//! The walk from the target's data to where a cause may lie: pods, their owners, claims, volumes, snapshots, nodes, in
//! Velero's namespace and in those that the target touched. Names are kept; the objects are read by `collect`.

use std::collections::{BTreeMap, BTreeSet};

use debugbundle_crd::TargetKind;
use futures::StreamExt as _;
use serde_json::Value;

use super::{
    Inventory, Looked, ObjectName, Pod, PodRole, is_dns_name,
    look::{HANDFUL, Look},
    trail::{Controller, RESTORED_BY, Seen, read_claim, read_owner, read_snapshot},
    valid_label,
};
use crate::cluster::ApiKind;

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
}

/// What the walk through a namespace met.
#[derive(Default)]
struct Met {
    namespace: String,
    involved: Vec<Seen>,
    restored: Vec<Seen>,
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
        let claims_of = |moved: bool| -> BTreeSet<String> {
            let objects = data().filter(|object| !moved || mover(&object.plural));
            objects.filter_map(|object| object.claim.as_ref()).filter(here).map(|claim| claim.name.clone()).collect()
        };
        // What files named besides.
        let named = inventory.claims.iter().filter(here).map(|claim| claim.name.clone());
        let pods = data().filter_map(|object| object.pod.as_ref()).filter(here).map(|pod| pod.name.clone()).collect();
        let label = inventory.target.as_ref().map(|target| {
            let key = match target.kind {
                TargetKind::Backup => "velero.io/backup-name",
                TargetKind::Restore => RESTORED_BY,
            };
            (key, valid_label(&target.name))
        });
        Self {
            namespace: namespace.to_owned(),
            sieve: Sieve { whole, label, pods, moved: claims_of(true) },
            claims: named.chain(claims_of(false)).collect(),
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
        let named = self.pods.contains(&seen.pod.name);
        let mounts = seen.pod.claims.iter().any(|claim| self.moved.contains(claim));
        named || mounts || (!seen.ready && (self.whole || self.restored(seen)))
    }

    fn takes(&self, snapshot: &Value, source: Option<&String>, claims: &BTreeSet<String>) -> bool {
        let labelled = |(key, value): &(&str, String)| snapshot["metadata"]["labels"][key] == **value;
        self.whole || self.label.as_ref().is_some_and(labelled) || source.is_some_and(|claim| claims.contains(claim))
    }
}

impl Look<'_> {
    /// Walks through the namespaces that may be looked into and were not walked through yet.
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
        inventory.involved_pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        inventory.involve_agents();
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
        let mut met = Met { namespace: place.namespace.clone(), ..Met::default() };
        for seen in self.pods_of(&place).await {
            let room = if place.sieve.involves(&seen) { &mut met.involved } else { &mut met.restored };
            room.push(seen);
        }
        met.beyond = met.involved.len().saturating_sub(INVOLVED) + met.restored.len().saturating_sub(RESTORED);
        met.involved.truncate(INVOLVED);
        met.restored.truncate(RESTORED);
        self.claims_of(&place, &mut met).await;
        self.snapshots_of(&place, &mut met).await;
        self.owners_of(&mut met).await;
        met
    }

    /// Pods that are involved or restored, in as few calls as that takes.
    async fn pods_of(&self, place: &Place) -> Vec<Seen> {
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        let most = INVOLVED + RESTORED;
        let sieve = &place.sieve;
        if sieve.whole || !sieve.moved.is_empty() || sieve.pods.len() > HANDFUL {
            let sieve = sieve.clone();
            let wanted = move |pod: Value| Seen::read(&pod).filter(|seen| sieve.involves(seen) || sieve.restored(seen));
            return self.list(&kind, &place.namespace, None, most, wanted).await;
        }
        let mut seen = match sieve.restores() {
            Some(selector) => self.list(&kind, &place.namespace, Some(&selector), most, |pod| Seen::read(&pod)).await,
            None => Vec::new(),
        };
        let found: BTreeSet<&str> = seen.iter().map(|seen| seen.pod.name.as_str()).collect();
        let rest = sieve.pods.iter().filter(|name| !found.contains(name.as_str())).cloned().collect();
        let named = self.pick(&kind, &place.namespace, rest, Seen::read).await;
        seen.extend(named);
        seen
    }

    async fn claims_of(&self, place: &Place, met: &mut Met) {
        let mut names = place.claims.clone();
        names.extend(met.involved.iter().flat_map(|seen| seen.pod.claims.iter().cloned()));
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
            met.involved.iter().filter_map(|seen| owner(&seen.pod)).filter(|(_, name)| is_dns_name(name)).collect();
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
    fn add(&mut self, met: Met) {
        let Met { namespace, involved, restored, beyond, claims, owners, volumes, snapshots } = met;
        let here = |name: String, uid: Option<String>| ObjectName { namespace: namespace.clone(), name, uid };
        let trail = &mut self.trail;
        trail.pods_beyond += beyond;
        // Those that are named and gone are asked for all the same: that they are gone is part of the story.
        let named = self.data.iter().filter_map(|object| object.pod.clone()).filter(|pod| pod.namespace == namespace);
        let mut wanted: Vec<ObjectName> = named.collect();
        for Seen { pod, account, priority_class, .. } in involved {
            self.nodes.extend(pod.node.clone());
            trail.accounts.extend(account.map(|name| here(name, None)));
            trail.priority_classes.extend(priority_class);
            if !wanted.iter().any(|known| known.name == pod.name) {
                wanted.push(here(pod.name.clone(), Some(pod.uid.clone())));
            }
            self.involved_pods.push(pod);
        }
        wanted.sort();
        wanted.dedup_by(|a, b| a.name == b.name);
        trail.pods_beyond += wanted.len().saturating_sub(INVOLVED);
        wanted.truncate(INVOLVED);
        self.involved.extend(wanted);
        for Seen { pod, .. } in restored {
            self.nodes.extend(pod.node);
            trail.restored.push(here(pod.name, Some(pod.uid)));
        }
        let known: BTreeSet<String> =
            self.claims.iter().filter(|claim| claim.namespace == namespace).map(|claim| claim.name.clone()).collect();
        self.claims.extend(claims.into_iter().filter(|name| !known.contains(name)).map(|name| here(name, None)));
        trail.owners.extend(owners.into_iter().map(|(controller, name)| (controller, here(name, None))));
        trail.volumes.extend(volumes);
        for (name, content) in snapshots {
            trail.snapshots.insert(here(name, None));
            trail.contents.extend(content);
        }
        trail.walked.insert(namespace);
    }

    /// A pod that waits for its volume waits for the node agent beside it, whoever took up the data.
    fn involve_agents(&mut self) {
        let nodes: BTreeSet<&String> = self.involved_pods.iter().filter_map(|pod| pod.node.as_ref()).collect();
        for agent in &mut self.pods {
            if let PodRole::NodeAgent { involved } = &mut agent.role {
                *involved |= agent.node.as_ref().is_some_and(|node| nodes.contains(node));
            }
        }
    }
}

fn claim_kind() -> ApiKind {
    ApiKind::namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
}
