//! What surrounds the target's pods in a namespace: other holders of their claims, the claims and their volumes,
//! snapshots, owners. `pod_filter` decides which pods these are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    pod_filter::{INVOLVED, RESTORED},
    reader::DiscoveryReader,
    related_volumes::{ClaimView, Controller, PodView, VolumeSnapshotView, read_owner},
    walk::{WalkResult, WalkedNamespace},
};
use crate::{
    cluster::ApiKind,
    velero::{Pod, is_dns_name},
};

impl DiscoveryReader<'_> {
    /// Pods that hold what the target waits for: a volume that can be attached once stays with another pod.
    pub(super) async fn holders_of(&self, place: &WalkedNamespace, met: &mut WalkResult) {
        let waiting = met.involved.iter().filter(|pod| !pod.seen.ready && !pod.asked_for);
        let mut claims: BTreeSet<String> = waiting.flat_map(|pod| pod.seen.pod.claims.iter().cloned()).collect();
        claims.extend(place.filter.open.1.iter().cloned());
        met.waited.extend(claims.iter().cloned());
        if claims.is_empty() {
            return;
        }
        let known = met.involved.iter().map(|pod| &pod.seen).chain(&met.restored);
        let known: BTreeSet<String> = known.map(|seen| seen.pod.name.clone()).collect();
        let holds = move |pod: Value| {
            let seen = PodView::read(&pod).filter(|seen| !known.contains(&seen.pod.name))?;
            seen.pod.claims.iter().any(|claim| claims.contains(claim)).then_some(seen)
        };
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        met.holders = self.list(&kind, &place.namespace, None, INVOLVED, holds).await;
    }

    /// The claims of these pods and the claims named before, with their volumes.
    pub(super) async fn claims_of(&self, place: &WalkedNamespace, met: &mut WalkResult) {
        let mut names = place.claims.clone();
        names.extend(met.involved.iter().flat_map(|pod| pod.seen.pod.claims.iter().cloned()));
        names.retain(|name| is_dns_name(name));
        met.claims = names;
        let (kind, read) = (claim_kind(), |claim: Value| ClaimView::read(&claim));
        let mut found: Vec<ClaimView> = Vec::new();
        if place.filter.whole {
            found = self.list(&kind, &place.namespace, None, RESTORED, read).await;
        } else if let Some(selector) = place.filter.restores() {
            found = self.list(&kind, &place.namespace, Some(&selector), RESTORED, read).await;
        }
        met.claims.extend(found.iter().map(|claim| claim.name.clone()));
        let known: BTreeSet<&String> = found.iter().map(|claim| &claim.name).collect();
        let rest: BTreeSet<String> = met.claims.iter().filter(|name| !known.contains(name)).cloned().collect();
        found.extend(self.pick(&kind, &place.namespace, rest, ClaimView::read).await);
        for ClaimView { name, volume, source } in found {
            met.held_up.extend(source.clone().filter(|_| volume.is_none()));
            met.sources.extend(source);
            let waited = met.waited.contains(&name);
            met.volumes.extend(volume.map(|volume| (volume, waited)));
        }
    }

    /// Snapshots that the target made, that were made of the claims, or that fill the claims. A missing one is part of
    /// the evidence as long as a claim waits for it.
    pub(super) async fn snapshots_of(&self, place: &WalkedNamespace, met: &mut WalkResult) {
        let Some(kind) = &place.snapshots else { return };
        let (filter, claims, sources) = (place.filter.clone(), met.claims.clone(), met.sources.clone());
        // Without claims, only snapshots with the label can be of interest.
        let selector = filter.selector().filter(|_| claims.is_empty() && !filter.whole);
        let wanted = move |snapshot: Value| {
            let found = VolumeSnapshotView::read(&snapshot)?;
            let ours = sources.contains(&found.name) || filter.takes(&snapshot, found.claim.as_ref(), &claims);
            ours.then_some(found)
        };
        for VolumeSnapshotView { name, content, group, .. } in
            self.list(kind, &place.namespace, selector.as_deref(), RESTORED, wanted).await
        {
            met.groups_named.extend(group);
            met.snapshots.push((name, content));
        }
        let found: BTreeSet<String> = met.snapshots.iter().map(|(name, _)| name.clone()).collect();
        met.snapshots.extend(met.held_up.difference(&found).map(|name| (name.clone(), None)));
    }

    /// The pods' controllers, and the controllers of these.
    pub(super) async fn owners_of(&self, met: &mut WalkResult) {
        let owner = |pod: &Pod| Controller::of(pod.owner.as_ref()?);
        met.owners = met.involved.iter().filter_map(|pod| owner(&pod.seen.pod)).collect();
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

pub(super) fn claim_kind() -> ApiKind {
    ApiKind::namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
}
