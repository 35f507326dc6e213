//! Objects of the whole cluster: nodes, definitions of kinds, and what the API server serves.
//! Those of namespaces are planned by `velero` and `namespaces`.

use super::{ItemSource, Planner, Priority, velero::KNOWN};
use crate::{archive::BundlePath, cluster::ApiKind, inventory::ObjectName};

impl Planner<'_> {
    pub(super) fn cluster(&mut self) {
        let inventory = self.inventory;
        if !inventory.nodes.is_empty() {
            let name = |name: &String| ObjectName { namespace: String::new(), name: name.clone(), uid: None };
            self.add(
                Priority::P3,
                "nodes on which the target's data moves",
                BundlePath::new(["cluster-scoped-resources", "core", "nodes.yaml"]),
                ItemSource::Named {
                    kind: ApiKind::cluster("", "v1", "nodes", "Node"),
                    objects: inventory.nodes.iter().map(name).collect(),
                },
            );
        }
        let definitions =
            ApiKind::cluster("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition");
        let mut custom: Vec<String> = KNOWN.iter().map(|(plural, _)| format!("{plural}.velero.io")).collect();
        let served =
            inventory.served.of_group("velero.io").into_iter().map(|kind| format!("{}.velero.io", kind.plural));
        custom.extend(served.filter(|name| !KNOWN.iter().any(|(plural, _)| *name == format!("{plural}.velero.io"))));
        custom.push("debugbundles.debugbundle.io".to_owned());
        for name in custom {
            let file = format!("{name}.yaml");
            self.add(
                Priority::P3,
                format!("CustomResourceDefinition {name}"),
                BundlePath::new([
                    "cluster-scoped-resources",
                    "apiextensions.k8s.io",
                    "customresourcedefinitions",
                    &file,
                ]),
                ItemSource::Object { kind: definitions.clone(), namespace: None, name },
            );
        }
        for (path, file) in [("/api", "aggregated-discovery-api.yaml"), ("/apis", "aggregated-discovery-apis.yaml")] {
            self.add(
                Priority::P5,
                format!("what the API server serves below {path}"),
                BundlePath::new([file]),
                ItemSource::Discovery { path },
            );
        }
    }
}
