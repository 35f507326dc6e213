//! Namespaces besides Velero's: those that the target leads to, and those that were requested.
//! `cluster` plans cluster-scoped objects.

use debugbundle_format::manifest::MissingCode;

use super::{ItemSource, Planner, Priority, core, list_path};
use crate::{
    cluster::ApiKind,
    discovery::{Controller, GROUP_SNAPSHOTS, Looked, NamespaceCandidate, Unnamed},
    velero::ObjectName,
};

/// Paths in `missing[]` that no namespace can have: for pods beyond the listed ones, and for namespaces that a spec
/// does not name.
const FURTHER_PODS: &str = "namespaces/_pods";
const UNNAMED: &str = "namespaces/_unnamed";

impl Planner<'_> {
    pub(super) fn other_namespaces(&mut self) {
        let snapshot = self.snapshot;
        for NamespaceCandidate { namespace, why, whole, looked, .. } in &snapshot.namespaces.candidates {
            match looked {
                Looked::Yes => {}
                Looked::NotAllowed => {
                    let text = format!("found in: {why}; the namespace is not on the operator's allow-list");
                    let cure = "add the namespace to the operator's allowed namespaces";
                    let path = format!("namespaces/{namespace}");
                    self.note(format!("namespace {namespace}"), path, MissingCode::NotAllowed, text, cure);
                    continue;
                }
                Looked::TooMany => {
                    let text = format!("found in: {why}; at most 32 namespaces are collected");
                    let cure = "name it in spec.namespaces";
                    let path = format!("namespaces/{namespace}");
                    self.note(format!("namespace {namespace}"), path, MissingCode::NotLooked, text, cure);
                    continue;
                }
            }
            self.namespace_object(namespace);
            self.list(Priority::P1, namespace, core("events", "Event"));
            self.list(Priority::P1, namespace, core("resourcequotas", "ResourceQuota"));
            self.list(Priority::P3, namespace, core("limitranges", "LimitRange"));
            self.kinds_beside(namespace);
            if *whole {
                self.whole(namespace);
            } else {
                self.on_the_way(namespace);
            }
        }
        let beyond = snapshot.namespaces.volumes.pods_beyond;
        if beyond > 0 {
            let text = format!("the target leads to {beyond} more pods than this manifest lists");
            let cure = "name their namespaces in spec.namespaces";
            self.note("further pods".to_owned(), FURTHER_PODS.to_owned(), MissingCode::NotLooked, text, cure);
        }
        let omitted = snapshot.namespaces.omitted.count();
        if omitted > 0 {
            let text = format!("the target leads to {omitted} more namespaces than are collected or listed here");
            let cure = "name the namespaces that you need in spec.namespaces";
            self.note("further namespaces".to_owned(), "namespaces".to_owned(), MissingCode::NotLooked, text, cure);
        }
        self.unnamed();
    }

    /// Reports namespaces that the target's spec covers but does not name, unless the user requested some.
    fn unnamed(&mut self) {
        let Some((target, unnamed)) = self.snapshot.target.object.as_ref().zip(self.snapshot.namespaces.unnamed) else {
            return;
        };
        if self.snapshot.namespaces.candidates.iter().any(|candidate| candidate.whole) {
            return;
        }
        let looked_into = match unnamed {
            Unnamed::NotLooked => "namespaces that other objects or files lead to",
            Unnamed::Restored => {
                "namespaces in which the target created a pod or claim, or that other objects or files lead to"
            }
        };
        let text = format!(
            "the spec of {} {} covers all namespaces or a pattern; the bundle contains only {looked_into}",
            target.kind, target.name
        );
        let what = "namespaces that the target's spec does not name".to_owned();
        let cure = "name them in spec.namespaces";
        self.note(what, UNNAMED.to_owned(), MissingCode::NotLooked, text, cure);
    }

    /// A requested namespace.
    fn whole(&mut self, namespace: &str) {
        self.list(Priority::P1, namespace, core("pods", "Pod"));
        self.list(Priority::P1, namespace, core("persistentvolumeclaims", "PersistentVolumeClaim"));
        if let Some(kind) = self.snapshot.installation.served.find("snapshot.storage.k8s.io", "volumesnapshots") {
            self.list(Priority::P1, namespace, kind.clone());
        }
        if let Some(kind) = self.snapshot.installation.served.find(GROUP_SNAPSHOTS, "volumegroupsnapshots") {
            self.list(Priority::P1, namespace, kind.clone());
        }
        self.list(Priority::P3, namespace, core("serviceaccounts", "ServiceAccount"));
        for controller in Controller::ALL {
            self.list(Priority::P3, namespace, controller.kind());
        }
    }

    /// A namespace that the target leads to.
    fn on_the_way(&mut self, namespace: &str) {
        let (snapshot, trail) = (self.snapshot, &self.snapshot.namespaces.volumes);
        let pods = snapshot.namespaces.involved.iter().chain(&trail.restored).chain(&trail.holders);
        self.named(Priority::P1, namespace, core("pods", "Pod"), pods);
        let claims = core("persistentvolumeclaims", "PersistentVolumeClaim");
        self.named(Priority::P1, namespace, claims, &snapshot.namespaces.claims);
        if let Some(kind) = snapshot.installation.served.find("snapshot.storage.k8s.io", "volumesnapshots") {
            self.named(Priority::P1, namespace, kind.clone(), &trail.snapshots);
        }
        if let Some(kind) = snapshot.installation.served.find(GROUP_SNAPSHOTS, "volumegroupsnapshots") {
            self.named(Priority::P1, namespace, kind.clone(), &trail.groups);
        }
        self.named(Priority::P3, namespace, core("serviceaccounts", "ServiceAccount"), &trail.accounts);
        for controller in Controller::ALL {
            let owners = trail.owners.iter().filter(|(known, _)| *known == controller).map(|(_, name)| name);
            self.named(Priority::P3, namespace, controller.kind(), owners);
        }
    }

    fn named<'a>(
        &mut self,
        priority: Priority,
        namespace: &str,
        kind: ApiKind,
        all: impl IntoIterator<Item = &'a ObjectName>,
    ) {
        let objects: Vec<ObjectName> = all.into_iter().filter(|one| one.namespace == namespace).cloned().collect();
        if objects.is_empty() {
            return;
        }
        let path = list_path(&kind, Some(namespace));
        let what = format!("{} of the target in {namespace}", kind.plural);
        self.add(priority, what, path, ItemSource::Named { kind, objects });
    }
}
