//! The fourth step: walks from the target's data to where a cause may lie. Pods, their owners, claims, volumes, snapshots,
//! nodes, in Velero's namespace and in those that the target touched. It keeps names; `collect` reads the objects.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use serde_json::Value;

use super::{
    DiscoveredTarget, Installation, Looked, NamespaceCandidate, Namespaces, Relevance, Scope,
    around::{self, Storage, claim_kind},
    choose::Chosen,
    files::WithFiles,
    namespaces::NamespaceSelection,
    pod_filter::{INVOLVED, PodFilter, PodSelection},
    reader::{DiscoveryReader, HANDFUL},
    related_volumes::{ClaimView, Controller, GROUP_SNAPSHOTS, PodView, RelatedVolumes, SNAPSHOTS, VolumeSnapshotView},
    restored_namespaces::with_restored,
    volume_refs::ObjectRef,
};
use crate::{
    cluster::ApiKind,
    velero::{DataObject, ObjectName, Pod, PodRole},
};

/// Namespaces walked through at once.
const AT_ONCE: usize = 4;

/// What the target leads to, except for nodes that no pod leads to.
pub(super) struct Walked {
    pub scope: Scope,
    pub installation: Installation,
    pub target: DiscoveredTarget,
    pub namespaces: Namespaces,
    /// Volumes that something waits for, or with which something went wrong.
    pub waited: BTreeSet<String>,
}

/// A namespace to walk through, and what is known of it already.
pub(super) struct Place {
    pub namespace: String,
    pub filter: PodFilter,
    pub claims: BTreeSet<String>,
    /// Those of the claims with which something went wrong.
    pub waited: BTreeSet<String>,
    pub snapshots: Option<ApiKind>,
    pub groups: Option<ApiKind>,
}

/// A pod on the way to a cause.
pub(super) struct Involved {
    /// It has no unfinished data.
    settled: bool,
    /// Only the requested namespace leads to it: its logs are read with those of the unhealthy pods.
    pub asked_for: bool,
    pub seen: PodView,
}

/// What the walk through a namespace met.
struct Met {
    /// The whole namespace was requested.
    whole: bool,
    /// By rank.
    involved: Vec<Involved>,
    restored: Vec<PodView>,
    /// Other pods that hold the claims of waiting pods.
    holders: Vec<PodView>,
    beyond: usize,
    owners: BTreeSet<(Controller, String)>,
    storage: Storage,
}

/// What data movers hold in Velero's own namespace: claims and snapshots named like the object they serve.
#[derive(Default)]
struct OfDataMovers {
    claims: Vec<ClaimView>,
    /// The contents of the snapshots.
    contents: Vec<String>,
}

/// Walks through the allowed namespaces, those first where something went wrong or that were requested, since the
/// time may end before the last one; in Velero's own namespace, follows the claims that files name.
pub(super) async fn walk(reader: &DiscoveryReader<'_>, with_files: WithFiles) -> Walked {
    let with_files = with_restored(reader, with_files).await;
    let Chosen { installation, target, namespaces, .. } = &with_files.chosen;
    let of_data_movers = of_data_movers(reader, installation, &target.data).await;
    let mut candidates: Vec<&NamespaceCandidate> =
        namespaces.candidates.iter().filter(|candidate| candidate.looked == Looked::Yes).collect();
    candidates.sort_by_key(|candidate| !candidate.whole && candidate.relevance != Relevance::Trouble);
    let places: Vec<Place> =
        candidates.into_iter().map(|candidate| place(&with_files, &candidate.namespace, candidate.whole)).collect();
    let walks = places.into_iter().map(|place| through(reader, place));
    let met: Vec<Met> = futures::stream::iter(walks).buffered(AT_ONCE).collect().await;
    let in_veleros = match place_of_velero(&with_files) {
        Some(place) => Some(around::storage(reader, &place, &[], &place.waited).await),
        None => None,
    };
    gather(with_files, of_data_movers, met, in_veleros)
}

fn place(with_files: &WithFiles, namespace: &str, whole: bool) -> Place {
    let Chosen { installation, target, .. } = &with_files.chosen;
    let here = |name: &&ObjectName| name.namespace == namespace;
    let of_data = target.data.iter().filter_map(|object| object.claim.as_ref()).filter(here);
    let named = with_files.named(ObjectRef::Claim);
    // Claims that files named, because something went wrong with them.
    let waited: BTreeSet<String> = named.iter().filter(here).map(|name| name.name.clone()).collect();
    Place {
        namespace: namespace.to_owned(),
        filter: PodFilter::of(target, namespace, whole),
        claims: of_data.map(|name| name.name.clone()).chain(waited.iter().cloned()).collect(),
        waited,
        snapshots: installation.served.find(SNAPSHOTS, "volumesnapshots").cloned(),
        groups: installation.served.find(GROUP_SNAPSHOTS, "volumegroupsnapshots").cloned(),
    }
}

/// Velero's own namespace, if files name claims there: only these are followed.
fn place_of_velero(with_files: &WithFiles) -> Option<Place> {
    let place = place(with_files, &with_files.chosen.installation.namespace, false);
    let claims = place.waited.clone();
    // Velero makes snapshots of several volumes where the volumes are, never in its own namespace.
    (!claims.is_empty()).then(|| Place { filter: PodFilter::default(), claims, groups: None, ..place })
}

async fn of_data_movers(
    reader: &DiscoveryReader<'_>,
    installation: &Installation,
    data: &[DataObject],
) -> OfDataMovers {
    if data.is_empty() {
        return OfDataMovers::default();
    }
    let hosting: BTreeSet<String> =
        data.iter().flat_map(|object| [object.name.clone(), format!("{}-cache", object.name)]).collect();
    let names = hosting.clone();
    let own = move |claim: Value| ClaimView::read(&claim).filter(|claim| names.contains(&claim.name));
    let claims = reader.all(&claim_kind(), None, INVOLVED, own).await;
    let own = move |snapshot: Value| {
        let VolumeSnapshotView { name, content, .. } = VolumeSnapshotView::read(&snapshot)?;
        hosting.contains(&name).then_some(content).flatten()
    };
    let contents = match installation.served.find(SNAPSHOTS, "volumesnapshots") {
        Some(kind) => reader.all(kind, None, INVOLVED, own).await,
        None => Vec::new(),
    };
    OfDataMovers { claims, contents }
}

/// Walks through a namespace.
async fn through(reader: &DiscoveryReader<'_>, place: Place) -> Met {
    let PodSelection { involved, restored, beyond, unfollowed, filter } = pods_of(reader, &place).await;
    if unfollowed > 0 {
        let told = format!("only {INVOLVED} are followed, {unfollowed} more are not");
        reader.is_cut("involved-pods", &place.namespace, told);
    }
    let involved = involved.into_iter().map(|((settled, ..), seen)| Involved {
        settled,
        asked_for: !filter.leads_to(&seen),
        seen,
    });
    let (involved, restored): (Vec<Involved>, Vec<PodView>) = (involved.collect(), restored.into_values().collect());
    let held = around::held_claims(&place, &involved);
    let waited = place.waited.union(&held).cloned().collect();
    let holders = around::holders(reader, &place, held, &involved, &restored).await;
    let storage = around::storage(reader, &place, &involved, &waited).await;
    let owners = around::owners(reader, &place.namespace, &involved).await;
    Met { whole: filter.whole, involved, restored, holders, beyond, owners, storage }
}

/// Pods that are involved or restored, in as few calls as possible.
async fn pods_of(reader: &DiscoveryReader<'_>, place: &Place) -> PodSelection {
    let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
    let (filter, selection) = (&place.filter, PodSelection::of(&place.filter));
    let by_annotation = filter.hooks.is_some() && filter.restores().is_none();
    if filter.whole || by_annotation || !filter.moved.is_empty() || filter.pods.len() > HANDFUL {
        return reader.read(&kind, &place.namespace, None, selection).await;
    }
    let mut selection = match filter.restores() {
        Some(selector) => reader.read(&kind, &place.namespace, Some(&selector), selection).await,
        None => selection,
    };
    let found: BTreeSet<&String> =
        selection.involved.keys().chain(selection.restored.keys()).map(|(_, _, name)| name).collect();
    let rest = filter.pods.iter().filter(|name| !found.contains(name)).cloned().collect();
    for seen in reader.pick(&kind, &place.namespace, rest, PodView::read).await {
        selection.add(seen);
    }
    selection
}

/// Everything that was met, in one value.
fn gather(with_files: WithFiles, of_data_movers: OfDataMovers, met: Vec<Met>, in_veleros: Option<Storage>) -> Walked {
    let names = |reference| with_files.named(reference).into_iter().map(|one| one.name).collect::<BTreeSet<String>>();
    let (mut waited, mut claims) = (names(ObjectRef::Volume), with_files.named(ObjectRef::Claim));
    let mut volumes = RelatedVolumes {
        volumes: waited.clone(),
        contents: names(ObjectRef::Content),
        definitions: names(ObjectRef::Definition),
        snapshots: with_files.named(ObjectRef::Snapshot).into_iter().collect(),
        priority_classes: with_files.chosen.priority_classes,
        ..RelatedVolumes::default()
    };
    let Chosen { installation, target, namespaces, unhealthy, .. } = with_files.chosen;
    let NamespaceSelection { candidates, omitted, scope, .. } = namespaces;
    let mut nodes = velero_nodes(&installation, &target);
    let (mut involved_names, mut involved_pods) = (Vec::new(), Vec::new());
    volumes.contents.extend(of_data_movers.contents);
    let open: BTreeSet<&str> =
        target.data.iter().filter(|object| !object.is_completed()).map(|object| object.name.as_str()).collect();
    for ClaimView { name, volume, .. } in of_data_movers.claims {
        let is_open = open.contains(name.strip_suffix("-cache").unwrap_or(&name)) || open.contains(name.as_str());
        waited.extend(volume.clone().filter(|_| is_open));
        volumes.volumes.extend(volume);
        claims.push(ObjectName { namespace: installation.namespace.clone(), name, uid: None });
    }
    let mut all_storage = Vec::new();
    for Met { whole, involved, restored, holders, beyond, owners, storage } in met {
        let namespace = &storage.namespace;
        let here = |name: String, uid: Option<String>| ObjectName { namespace: namespace.clone(), name, uid };
        let (names, too_many) = wanted_pods(&target.data, namespace, &involved);
        involved_names.extend(names);
        volumes.pods_beyond += beyond + if whole { 0 } else { too_many };
        for Involved { asked_for, seen: PodView { pod, account, priority_class, .. }, .. } in involved {
            nodes.extend(pod.node.clone());
            volumes.accounts.extend(account.map(|name| here(name, None)));
            volumes.priority_classes.extend(priority_class);
            involved_pods.extend((!asked_for).then_some(pod));
        }
        for (pods, names) in [(restored, &mut volumes.restored), (holders, &mut volumes.holders)] {
            for PodView { pod, .. } in pods {
                nodes.extend(pod.node);
                names.push(here(pod.name, Some(pod.uid)));
            }
        }
        let known: BTreeSet<&String> =
            claims.iter().filter(|claim| claim.namespace == *namespace).map(|claim| &claim.name).collect();
        let new = storage.claims.iter().filter(|name| !known.contains(name));
        let new: Vec<ObjectName> = new.map(|name| here(name.clone(), None)).collect();
        claims.extend(new);
        volumes.owners.extend(owners.into_iter().map(|(controller, name)| (controller, here(name, None))));
        all_storage.push(storage);
    }
    all_storage.extend(in_veleros);
    for storage in all_storage {
        let namespace = storage.namespace;
        let here = |name: String| ObjectName { namespace: namespace.clone(), name, uid: None };
        waited.extend(storage.volumes.iter().filter(|(_, waits)| *waits).map(|(volume, _)| volume.clone()));
        volumes.volumes.extend(storage.volumes.into_iter().map(|(volume, _)| volume));
        for (found, names, contents) in [
            (storage.snapshots, &mut volumes.snapshots, &mut volumes.contents),
            (storage.groups, &mut volumes.groups, &mut volumes.group_contents),
        ] {
            for (name, content) in found {
                names.insert(here(name));
                contents.extend(content);
            }
        }
    }
    involved_pods.sort_by(|a: &Pod, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let namespaces = Namespaces {
        candidates,
        omitted,
        unnamed: with_files.unnamed,
        involved: involved_names,
        involved_pods,
        unhealthy,
        claims,
        nodes,
        volumes,
    };
    Walked { scope, installation, target, namespaces, waited }
}

/// The nodes of the target's data and of Velero's pods that work on it.
fn velero_nodes(installation: &Installation, target: &DiscoveredTarget) -> BTreeSet<String> {
    let wanted = |pod: &&Pod| match pod.role {
        PodRole::Server | PodRole::DataMover => true,
        PodRole::NodeAgent { involved } => involved || target.object.is_none(),
        PodRole::Maintenance | PodRole::Other => target.object.is_none(),
    };
    let of_pods = installation.pods.iter().filter(wanted).filter_map(|pod| pod.node.clone());
    target.data.iter().filter_map(|object| object.node.clone()).chain(of_pods).collect()
}

/// The pods of a namespace that data or the walk leads to, sorted by name, and how many there are beyond the limit.
/// Missing pods that data names are wanted too: that they are gone is part of the evidence.
fn wanted_pods(data: &[DataObject], namespace: &str, involved: &[Involved]) -> (Vec<ObjectName>, usize) {
    let mut wanted: BTreeMap<&str, (bool, bool, ObjectName)> = BTreeMap::new();
    for object in data {
        let Some(pod) = object.pod.as_ref().filter(|pod| pod.namespace == namespace) else { continue };
        let completed = object.is_completed();
        wanted.entry(&pod.name).or_insert_with(|| (completed, false, pod.clone())).0 &= completed;
    }
    for Involved { settled, seen: PodView { pod, ready, .. }, .. } in involved {
        let name =
            || ObjectName { namespace: namespace.to_owned(), name: pod.name.clone(), uid: Some(pod.uid.clone()) };
        let known = wanted.entry(&pod.name).or_insert_with(|| (*settled, *ready, name()));
        (known.0, known.1) = (*settled, *ready);
    }
    let mut wanted: Vec<(bool, bool, ObjectName)> = wanted.into_values().collect();
    wanted.sort();
    let beyond = wanted.len().saturating_sub(INVOLVED);
    wanted.truncate(INVOLVED);
    let mut wanted: Vec<ObjectName> = wanted.into_iter().map(|(.., name)| name).collect();
    wanted.sort();
    (wanted, beyond)
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::TargetKind;
    use serde_json::json;

    use super::*;
    use crate::cluster::TakeItems as _;
    use crate::discovery::{fixture, volume_refs::ObjectRefs};

    #[test]
    fn of_too_many_pods_those_whose_data_failed_are_kept_and_the_others_counted_once() {
        const ALL: usize = INVOLVED + 50;
        let mut with_files = fixture::with_files();
        with_files.chosen.target.object = Some(fixture::target(TargetKind::Backup, "PartiallyFailed"));
        let phase = |n: usize| if n + 1 == ALL { "Failed" } else { "Completed" };
        let data = |n: usize| {
            let pod = json!({"namespace": "shop", "name": format!("p-{n:03}")});
            let object =
                json!({"metadata": {"name": format!("d-{n:03}")}, "spec": {"pod": pod}, "status": {"phase": phase(n)}});
            DataObject::read("podvolumebackups", &object).expect("it has a name")
        };
        with_files.chosen.target.data = (0..ALL).map(data).collect();
        let place = place(&with_files, "shop", false);
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
        let storage = Storage {
            namespace: "shop".to_owned(),
            claims: BTreeSet::new(),
            volumes: Vec::new(),
            snapshots: Vec::new(),
            groups: Vec::new(),
        };
        let met = Met {
            whole: false,
            involved,
            restored: Vec::new(),
            holders: Vec::new(),
            beyond: 0,
            owners: BTreeSet::new(),
            storage,
        };
        let Walked { namespaces, .. } = gather(with_files, OfDataMovers::default(), vec![met], None);
        assert_eq!((namespaces.involved.len(), namespaces.volumes.pods_beyond), (INVOLVED, 50));
        for name in ["p-120", "p-249"] {
            assert!(namespaces.involved.iter().any(|pod| pod.name == name), "{name}");
            assert!(namespaces.involved_pods.iter().any(|pod| pod.name == name), "{name}");
        }
    }

    #[test]
    fn leads_are_taken_up_once_and_within_the_borders() {
        let mut with_files = fixture::with_files();
        with_files.chosen.namespaces.scope.namespaces = Some(["shop".to_owned()].into());
        let mut refs = ObjectRefs::default();
        refs.add(ObjectRef::Claim, Some("shop"), Some("ledger"));
        refs.add(ObjectRef::Content, Some("ignored"), Some("vsc-7"));
        refs.add(ObjectRef::Elsewhere, Some("vault"), Some("secret"));
        let mut with_files = with_files.and(refs.clone(), "item operations of Backup harvest");
        with_files = with_files.and(refs, "item operations of Backup harvest");
        assert_eq!(with_files.named(ObjectRef::Claim).len(), 1);
        assert!(place_of_velero(&with_files).is_none(), "the walk comes there with all that is known");
        let mut velero_namespace = ObjectRefs::default();
        velero_namespace.add(ObjectRef::Claim, Some("keep"), Some("cache"));
        let with_files = with_files.and(velero_namespace, "volume info of Backup harvest");
        let claims = place_of_velero(&with_files).map(|place| place.claims);
        assert_eq!(claims, Some(BTreeSet::from(["cache".to_owned()])));
        let Namespaces { candidates, claims, volumes, .. } =
            gather(with_files, OfDataMovers::default(), Vec::new(), None).namespaces;
        assert_eq!(claims.len(), 2, "shop/ledger once, and keep/cache");
        assert!(volumes.contents.contains("vsc-7"));
        let candidate: Vec<_> = candidates.iter().map(|one| (one.namespace.as_str(), one.looked)).collect();
        let expected = [("ignored", Looked::NotAllowed), ("shop", Looked::Yes), ("vault", Looked::NotAllowed)];
        assert_eq!(candidate, expected);
    }
}
