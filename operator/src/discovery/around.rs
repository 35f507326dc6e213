//! What surrounds the target's pods in a namespace: other holders of their claims, the claims and their volumes,
//! snapshots, owners. `pod_filter` decides which pods these are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    pod_filter::{INVOLVED, RESTORED},
    reader::DiscoveryReader,
    related_volumes::{ClaimView, Controller, PodView, VolumeSnapshotView, read_group, read_owner},
    walk::{Involved, Place},
};
use crate::{
    cluster::ApiKind,
    velero::{Pod, is_dns_name},
};

/// Claims of a namespace, with the volumes and snapshots on the way to a cause.
pub(super) struct Storage {
    pub namespace: String,
    pub claims: BTreeSet<String>,
    /// PersistentVolumes, and whether something waits for each.
    pub volumes: Vec<(String, bool)>,
    /// VolumeSnapshots, and the content of each.
    pub snapshots: Vec<(String, Option<String>)>,
    /// VolumeGroupSnapshots, and the content of each.
    pub groups: Vec<(String, Option<String>)>,
}

/// Claims for which a pod waits that is not ready, or whose data did not complete.
pub(super) fn held_claims(place: &Place, involved: &[Involved]) -> BTreeSet<String> {
    let waiting = involved.iter().filter(|pod| !pod.seen.ready && !pod.asked_for);
    waiting.flat_map(|pod| &pod.seen.pod.claims).chain(&place.filter.open.1).cloned().collect()
}

/// Pods that hold what the target waits for: a volume that can be attached once stays with another pod.
pub(super) async fn holders(
    reader: &DiscoveryReader<'_>,
    place: &Place,
    claims: BTreeSet<String>,
    involved: &[Involved],
    restored: &[PodView],
) -> Vec<PodView> {
    if claims.is_empty() {
        return Vec::new();
    }
    let known = involved.iter().map(|pod| &pod.seen).chain(restored);
    let known: BTreeSet<String> = known.map(|seen| seen.pod.name.clone()).collect();
    let holds = move |pod: Value| {
        let seen = PodView::read(&pod).filter(|seen| !known.contains(&seen.pod.name))?;
        seen.pod.claims.iter().any(|claim| claims.contains(claim)).then_some(seen)
    };
    let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
    reader.list(&kind, &place.namespace, None, INVOLVED, holds).await
}

/// The claims of these pods and the claims named before, with their volumes and snapshots.
pub(super) async fn storage(
    reader: &DiscoveryReader<'_>,
    place: &Place,
    involved: &[Involved],
    waited: &BTreeSet<String>,
) -> Storage {
    let of_pods = involved.iter().flat_map(|pod| &pod.seen.pod.claims);
    let mut names: BTreeSet<String> =
        place.claims.iter().chain(of_pods).filter(|name| is_dns_name(name)).cloned().collect();
    let found = claims(reader, place, &names).await;
    names.extend(found.iter().map(|claim| claim.name.clone()));
    let snapshots = snapshots(reader, place, &names, &found).await;
    let groups = snapshots.iter().filter_map(|snapshot| snapshot.group.clone()).collect();
    let volume = |claim: ClaimView| Some((claim.volume?, waited.contains(&claim.name)));
    Storage {
        namespace: place.namespace.clone(),
        claims: names,
        volumes: found.into_iter().filter_map(volume).collect(),
        snapshots: snapshots.into_iter().map(|snapshot| (snapshot.name, snapshot.content)).collect(),
        groups: group_snapshots(reader, place, groups).await,
    }
}

/// The claims that exist: those of these names, and in a requested namespace all, or those that a Restore made.
async fn claims(reader: &DiscoveryReader<'_>, place: &Place, names: &BTreeSet<String>) -> Vec<ClaimView> {
    let (kind, read) = (claim_kind(), |claim: Value| ClaimView::read(&claim));
    let mut found: Vec<ClaimView> = Vec::new();
    if place.filter.whole {
        found = reader.list(&kind, &place.namespace, None, RESTORED, read).await;
    } else if let Some(selector) = place.filter.restores() {
        found = reader.list(&kind, &place.namespace, Some(&selector), RESTORED, read).await;
    }
    let known: BTreeSet<&String> = found.iter().map(|claim| &claim.name).collect();
    let rest: BTreeSet<String> = names.iter().filter(|name| !known.contains(name)).cloned().collect();
    found.extend(reader.pick(&kind, &place.namespace, rest, ClaimView::read).await);
    found
}

/// Snapshots that the target made, that were made of the claims, or that fill the claims. A missing one is part of the
/// evidence as long as a claim waits for it.
async fn snapshots(
    reader: &DiscoveryReader<'_>,
    place: &Place,
    claims: &BTreeSet<String>,
    existing: &[ClaimView],
) -> Vec<VolumeSnapshotView> {
    let Some(kind) = &place.snapshots else { return Vec::new() };
    let (filter, claims) = (place.filter.clone(), claims.clone());
    let sources: BTreeSet<String> = existing.iter().filter_map(|claim| claim.source.clone()).collect();
    // Without claims, only snapshots with the label can be of interest.
    let selector = filter.selector().filter(|_| claims.is_empty() && !filter.whole);
    let wanted = move |snapshot: Value| {
        let found = VolumeSnapshotView::read(&snapshot)?;
        let ours = sources.contains(&found.name) || filter.takes(&snapshot, found.claim.as_ref(), &claims);
        ours.then_some(found)
    };
    let mut found = reader.list(kind, &place.namespace, selector.as_deref(), RESTORED, wanted).await;
    let present: BTreeSet<String> = found.iter().map(|snapshot| snapshot.name.clone()).collect();
    let unfilled = existing.iter().filter(|claim| claim.volume.is_none()).filter_map(|claim| claim.source.clone());
    let missing: BTreeSet<String> = unfilled.filter(|name| !present.contains(name)).collect();
    found.extend(missing.into_iter().map(|name| VolumeSnapshotView { name, claim: None, content: None, group: None }));
    found
}

/// Snapshots of several volumes at once: those that snapshots name, and those of the target. Velero labels the ones that
/// it makes with the Backup's name (`pkg/backup/actions/csi/pvc_action.go`), and deletes them once their snapshots exist.
/// `collect` reads their contents and classes, which are cluster-scoped.
async fn group_snapshots(
    reader: &DiscoveryReader<'_>,
    place: &Place,
    named: BTreeSet<String>,
) -> Vec<(String, Option<String>)> {
    let Some(kind) = &place.groups else { return Vec::new() };
    let filter = place.filter.clone();
    let wanted = move |group: Value| {
        let found = read_group(&group)?;
        (filter.takes_group(&group) || named.contains(&found.0)).then_some(found)
    };
    reader.list(kind, &place.namespace, None, INVOLVED, wanted).await
}

/// The pods' controllers, and the controllers of these.
pub(super) async fn owners(
    reader: &DiscoveryReader<'_>,
    namespace: &str,
    involved: &[Involved],
) -> BTreeSet<(Controller, String)> {
    let owner = |pod: &Pod| Controller::of(pod.owner.as_ref()?);
    let mut owners: BTreeSet<_> = involved.iter().filter_map(|pod| owner(&pod.seen.pod)).collect();
    let mut by_kind: BTreeMap<Controller, BTreeSet<String>> = BTreeMap::new();
    for (controller, name) in owners.iter().filter(|(controller, _)| controller.is_owned()) {
        by_kind.entry(*controller).or_default().insert(name.clone());
    }
    for (controller, names) in by_kind {
        owners.extend(reader.pick(&controller.kind(), namespace, names, read_owner).await);
    }
    owners
}

pub(super) fn claim_kind() -> ApiKind {
    ApiKind::namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
}
