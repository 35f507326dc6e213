//! Namespaces besides Velero's: those that the target leads to, and those that were asked for.
//! What is of the whole cluster is planned by `cluster`.

use super::{ItemSource, Planner, Priority, core, group_folder};
use crate::{
    archive::{BundlePath, manifest::MissingCode},
    cluster::ApiKind,
    inventory::{Looked, ObjectName, Touched},
};

impl Planner<'_> {
    pub(super) fn other_namespaces(&mut self) {
        let inventory = self.inventory;
        for Touched { namespace, why, whole, looked } in &inventory.touched {
            match looked {
                Looked::Yes => {}
                Looked::NotAllowed => {
                    let text = format!("{why} leads there, and it is not in the operator's allow-list");
                    let cure = "add the namespace to the operator's allowed namespaces";
                    let path = format!("namespaces/{namespace}");
                    self.note(format!("namespace {namespace}"), path, MissingCode::NotAllowed, text, cure);
                    continue;
                }
                Looked::TooMany => {
                    let text = format!("{why} leads there, and 32 namespaces are looked into");
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
            if *whole {
                self.list(Priority::P1, namespace, core("pods", "Pod"));
                self.list(Priority::P1, namespace, core("persistentvolumeclaims", "PersistentVolumeClaim"));
            } else {
                self.named(namespace, core("pods", "Pod"), &inventory.involved);
                self.named(namespace, core("persistentvolumeclaims", "PersistentVolumeClaim"), &inventory.claims);
            }
        }
        let further = inventory.further.count();
        if further > 0 {
            let text = format!("the target leads to {further} more than are looked into or listed here");
            let cure = "name those of interest in spec.namespaces";
            self.note("further namespaces".to_owned(), "namespaces".to_owned(), MissingCode::NotLooked, text, cure);
        }
    }

    fn named(&mut self, namespace: &str, kind: ApiKind, all: &[ObjectName]) {
        let objects: Vec<ObjectName> = all.iter().filter(|one| one.namespace == namespace).cloned().collect();
        if objects.is_empty() {
            return;
        }
        let file = format!("{}.yaml", kind.plural);
        let path = BundlePath::new(["namespaces", namespace, group_folder(&kind), &file]);
        let what = format!("{} of the target in {namespace}", kind.plural);
        self.add(Priority::P1, what, path, ItemSource::Named { kind, objects });
    }
}
