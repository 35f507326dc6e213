//! Cluster-scoped objects: nodes, volumes and their classes, definitions of kinds, and what the API server serves.
//! `velero` and `namespaces` plan the namespaced objects.

use std::collections::BTreeSet;

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::is_custom;
use debugbundle_format::{BundlePath, layout};

use super::{ItemSource, Only, Planner, Priority, Want, core, list_path, velero::KNOWN};
use crate::{
    cluster::ApiKind,
    discovery::{GROUP_SNAPSHOTS, Looked},
    velero::ObjectName,
};

/// The most nodes, if no target shows which ones matter.
const NODES: usize = 500;
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
const OPENSHIFT: &str = "config.openshift.io";

impl Planner<'_> {
    pub(super) fn cluster(&mut self) {
        let (snapshot, trail) = (self.snapshot, &self.snapshot.namespaces.volumes);
        let storage = |plural: &str, kind: &str| ApiKind::cluster("storage.k8s.io", "v1", plural, kind);
        for kind in [ApiKind::cluster("", "v1", "nodes", "Node"), storage("csinodes", "CSINode")] {
            match snapshot.target.object {
                Some(_) => self.some("nodes of the target", kind, &snapshot.namespaces.nodes),
                None => self.cluster_list(kind, Want::AtMost(NODES)),
            }
        }
        let volumes = ApiKind::cluster("", "v1", "persistentvolumes", "PersistentVolume");
        self.some("volumes of the claims", volumes, &trail.volumes);
        self.cluster_list(storage("storageclasses", "StorageClass"), Want::All);
        self.cluster_list(storage("csidrivers", "CSIDriver"), Want::All);
        if !trail.volumes.is_empty() {
            let attached = Want::Only(Only::Attached(trail.volumes.clone()));
            self.cluster_list(storage("volumeattachments", "VolumeAttachment"), attached);
        }
        if let Some(kind) = snapshot.installation.served.find(SNAPSHOTS, "volumesnapshotclasses") {
            self.cluster_list(kind.clone(), Want::All);
        }
        if let Some(kind) = snapshot.installation.served.find(SNAPSHOTS, "volumesnapshotcontents") {
            self.some("contents of the snapshots", kind.clone(), &trail.contents);
        }
        self.group_snapshots();
        self.events_about_these();
        self.kinds_of_the_cluster();
        let classes = ApiKind::cluster("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass");
        self.some("priority classes of the pods", classes, &trail.priority_classes);
        if !snapshot.installation.server_accounts.is_empty() {
            let bindings =
                ApiKind::cluster("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding");
            let (namespace, accounts) =
                (snapshot.installation.namespace.clone(), snapshot.installation.server_accounts.clone());
            self.cluster_list(bindings, Want::Only(Only::Bound { namespace, accounts }));
        }
        let services = ApiKind::cluster("apiregistration.k8s.io", "v1", "apiservices", "APIService");
        self.cluster_list(services, Want::Only(Only::Unavailable));
        self.openshift();
        for (path, file) in [("/api", "aggregated-discovery-api.yaml"), ("/apis", "aggregated-discovery-apis.yaml")] {
            self.add(
                Priority::P5,
                format!("discovery of the API server below {path}"),
                BundlePath::new([file]),
                ItemSource::Discovery { path },
            );
        }
    }

    /// Classes and contents of snapshots of several volumes at once.
    fn group_snapshots(&mut self) {
        let (snapshot, trail) = (self.snapshot, &self.snapshot.namespaces.volumes);
        if let Some(kind) = snapshot.installation.served.find(GROUP_SNAPSHOTS, "volumegroupsnapshotclasses") {
            self.cluster_list(kind.clone(), Want::All);
        }
        let target = snapshot.target.object.as_ref().filter(|target| target.kind == TargetKind::Restore);
        let (names, restore) = (trail.group_contents.clone(), target.map(|restore| restore.name.clone()));
        let kind = snapshot.installation.served.find(GROUP_SNAPSHOTS, "volumegroupsnapshotcontents");
        if let Some(kind) = kind.filter(|_| restore.is_some() || !names.is_empty()) {
            self.cluster_list(kind.clone(), Want::Only(Only::OfGroups { names, restore }));
        }
    }

    /// Events about the nodes, volumes and contents on the way to a cause: a node that ran out of memory, a volume that
    /// could not be deleted. Events about cluster-scoped objects are in `default` (client-go,
    /// `tools/events/event_recorder.go`).
    fn events_about_these(&mut self) {
        const PLACE: &str = "default";
        let (snapshot, trail) = (self.snapshot, &self.snapshot.namespaces.volumes);
        let is_listed =
            snapshot.namespaces.candidates.iter().any(|one| one.namespace == PLACE && one.looked == Looked::Yes);
        if is_listed || snapshot.installation.namespace == PLACE || !snapshot.scope.allows(PLACE) {
            return;
        }
        let of = |kind: &'static str, names: &BTreeSet<String>| -> Vec<_> {
            names.iter().map(|name| (kind, name.clone())).collect()
        };
        let about: BTreeSet<_> = [
            of("Node", &snapshot.namespaces.nodes),
            of("PersistentVolume", &trail.volumes),
            of("VolumeSnapshotContent", &trail.contents),
        ]
        .concat()
        .into_iter()
        .collect();
        if about.is_empty() {
            return;
        }
        let kind = core("events", "Event");
        let path = layout::list("", "events", Some(PLACE));
        let want = Want::Only(Only::About(about));
        let what = "events about nodes and volumes";
        self.add(Priority::P1, what, path, ItemSource::List { kind, namespace: Some(PLACE.to_owned()), want });
    }

    /// Some cluster-scoped objects, by name; nothing if there is no name.
    fn some(&mut self, what: &str, kind: ApiKind, names: &BTreeSet<String>) {
        if names.is_empty() {
            return;
        }
        let name = |name: &String| ObjectName { namespace: String::new(), name: name.clone(), uid: None };
        let objects = names.iter().map(name).collect();
        let what = format!("{}: {what}", kind.plural);
        self.add(Priority::P3, what, list_path(&kind, None), ItemSource::Named { kind, objects });
    }

    /// Tools that read bundles print facts about an OpenShift cluster from these two kinds.
    fn openshift(&mut self) {
        if let Some(kind) = self.snapshot.installation.served.find(OPENSHIFT, "infrastructures") {
            self.cluster_list(kind.clone(), Want::All);
        }
        if let Some(kind) = self.snapshot.installation.served.find(OPENSHIFT, "clusterversions") {
            self.add(
                Priority::P3,
                "ClusterVersion",
                layout::cluster_object(OPENSHIFT, "clusterversions", "version"),
                ItemSource::Object { kind: kind.clone(), namespace: None, name: "version".to_owned() },
            );
        }
    }

    /// The definition of each custom kind planned so far, and always of Velero's and ours, because offline readers need
    /// them to know a kind; and those that the target's errors name.
    pub(super) fn definitions(&mut self) {
        let definitions =
            ApiKind::cluster("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition");
        let mut custom: BTreeSet<String> = KNOWN.iter().map(|(plural, _)| format!("{plural}.velero.io")).collect();
        custom.insert("debugbundles.debugbundle.io".to_owned());
        custom.extend(self.snapshot.namespaces.volumes.definitions.iter().cloned());
        for item in &self.items {
            let Some(kind) = item.source.kind() else { continue };
            if is_custom(&kind.group) {
                custom.insert(format!("{}.{}", kind.plural, kind.group));
            }
        }
        for name in custom {
            self.add(
                Priority::P3,
                format!("CustomResourceDefinition {name}"),
                layout::cluster_object("apiextensions.k8s.io", "customresourcedefinitions", &name),
                ItemSource::Object { kind: definitions.clone(), namespace: None, name },
            );
        }
    }
}
