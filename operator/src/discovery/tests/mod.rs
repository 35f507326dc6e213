//! Discovery in a recorded API, and the plan of the bundle: one file for each theme. The tests with real servers show
//! each theme once, from the objects to the bundle.

mod data;
mod failed;
mod files;
mod groups;
mod hooks;
mod namespaces;
mod nodes;
mod objects;
mod refusals;
mod requested;
mod unfinished;
mod volumes;

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use bytes::Bytes;
use debugbundle_crd::{DebugBundleSpec, TargetKind};
use debugbundle_format::{StoreFile, manifest::Missing};
use flate2::{Compression, write::GzEncoder};
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    InventoryError, Located, Looked, NamespaceCandidate, Scope, Snapshot, discover, locate, recorded::RecordedApi,
};
use crate::{
    plan::{ItemSource, Plan, Want, plan},
    velero::{OpenedFile, StoreFiles},
};
use objects::{Object, VELERO};

/// A cluster and the object store beside it.
struct World {
    api: RecordedApi,
    scope: Scope,
    files: Files,
}

/// Velero's files, compressed.
#[derive(Default)]
struct Files(BTreeMap<(&'static str, String, StoreFile), Bytes>);

impl StoreFiles for Files {
    fn open<'a>(&'a self, of: TargetKind, name: &'a str, file: StoreFile) -> OpenedFile<'a> {
        let found = self.0.get(&(of.as_str(), name.to_owned(), file)).cloned();
        async move { Ok(found.map(|bytes| futures::stream::iter([Ok(bytes)]).boxed())) }.boxed()
    }

    fn key(&self, _of: TargetKind, name: &str, file: StoreFile) -> String {
        format!("{name}/{file:?}")
    }
}

impl World {
    /// A cluster with these objects.
    fn of(objects: impl IntoIterator<Item = Object>) -> Self {
        let world = Self { api: RecordedApi::default(), scope: Scope::everything(), files: Files::default() };
        world.put(objects);
        world
    }

    /// Creates or replaces these objects.
    fn put(&self, objects: impl IntoIterator<Item = Object>) {
        objects.into_iter().for_each(|object| self.api.put(object.json()));
    }

    /// Stores a file of a Backup.
    fn put_file(&mut self, backup: &str, file: StoreFile, content: &Value) {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content.to_string().as_bytes()).unwrap();
        self.files.0.insert((TargetKind::Backup.as_str(), backup.to_owned(), file), gzip.finish().unwrap().into());
    }

    async fn locate(&self, spec: &DebugBundleSpec) -> Result<Located, InventoryError> {
        let (target, scope, soon) = (spec.target.as_ref(), self.scope.clone(), soon());
        locate(&self.api.cluster(), VELERO, target, &spec.namespaces, scope, soon).await
    }

    async fn look(&self, spec: DebugBundleSpec) -> Found {
        let refs = self.locate(&spec).await.expect("the target is there");
        let snapshot = discover(&self.api.cluster(), refs, &spec, Some(&self.files), soon(), soon()).await;
        let plan = plan(&spec, &snapshot, Timestamp::now());
        Found { api: self.api.clone(), snapshot, plan }
    }

    async fn backup(&self, name: &str) -> Found {
        self.look(DebugBundleSpec::about(TargetKind::Backup, name)).await
    }

    async fn restore(&self, name: &str) -> Found {
        self.look(DebugBundleSpec::about(TargetKind::Restore, name)).await
    }

    /// Looks without a target, with these namespaces.
    async fn namespaces(&self, names: &[&str]) -> Found {
        self.look(asking(DebugBundleSpec::installation(), names)).await
    }
}

/// The spec with these namespaces.
fn asking(spec: DebugBundleSpec, names: &[&str]) -> DebugBundleSpec {
    DebugBundleSpec { namespaces: names.iter().map(|name| (*name).to_owned()).collect(), ..spec }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// What was found, and the plan of the bundle.
struct Found {
    api: RecordedApi,
    snapshot: Snapshot,
    plan: Plan,
}

impl Found {
    /// The planned objects at this path: names of existing objects, then names of absent ones.
    fn planned(&self, path: &str) -> (Vec<String>, Vec<String>) {
        let item = self.plan.items.iter().find(|item| item.path.as_str() == path);
        let name = |object: &Value| object["metadata"]["name"].as_str().expect("a name").to_owned();
        match item.map(|item| &item.source) {
            Some(ItemSource::Named { kind, objects }) => {
                let exists = |namespace: &str, wanted: &str| {
                    self.api.list(kind, Some(namespace)).iter().any(|object| name(object) == wanted)
                };
                let (there, gone): (Vec<_>, Vec<_>) = objects.iter().partition(|one| exists(&one.namespace, &one.name));
                let names =
                    |all: Vec<&crate::velero::ObjectName>| all.into_iter().map(|one| one.name.clone()).collect();
                (names(there), names(gone))
            }
            Some(ItemSource::List { kind, namespace, want }) => {
                let mut objects = self.api.list(kind, namespace.as_deref());
                match want {
                    Want::First(first) => objects.sort_by_key(|object| !first.has(object)),
                    Want::Only(only) => objects.retain(|object| only.wants(object)),
                    Want::All | Want::Newest(_) | Want::AtMost(_) => {}
                }
                (objects.iter().map(name).collect(), Vec::new())
            }
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// The names of the objects that the bundle will contain, in a namespace.
    fn names_in(&self, namespace: &str, kind: &str) -> Vec<String> {
        self.planned(&format!("namespaces/{namespace}/{kind}.yaml")).0
    }

    /// The same for cluster-scoped objects.
    fn names(&self, kind: &str) -> Vec<String> {
        self.planned(&format!("cluster-scoped-resources/{kind}.yaml")).0
    }

    /// The names of planned objects that do not exist.
    fn gone(&self, namespace: &str, kind: &str) -> Vec<String> {
        self.planned(&format!("namespaces/{namespace}/{kind}.yaml")).1
    }

    /// The bundle will contain this namespace's Events, quotas and whatever the target leads to.
    fn looks_into(&self, namespace: &str) -> bool {
        let folder = format!("namespaces/{namespace}/");
        let planned = self.plan.items.iter().any(|item| item.path.as_str().starts_with(&folder));
        assert_eq!(planned, self.candidate(namespace).is_some_and(|one| one.looked == Looked::Yes), "{namespace}");
        let has =
            |kind: &str| self.plan.items.iter().any(|item| item.path.as_str() == format!("{folder}core/{kind}.yaml"));
        assert_eq!((has("events"), has("resourcequotas")), (planned, planned), "{namespace}");
        planned
    }

    fn candidate(&self, namespace: &str) -> Option<&NamespaceCandidate> {
        self.snapshot.namespaces.candidates.iter().find(|one| one.namespace == namespace)
    }

    /// The object that leads to a namespace.
    fn why(&self, namespace: &str) -> Option<&str> {
        self.candidate(namespace).map(|one| one.why.as_str())
    }

    /// The paths of the logs of a namespace's pods.
    fn logs_in(&self, namespace: &str) -> Vec<&str> {
        let folder = format!("namespaces/{namespace}/pods/");
        self.plan.items.iter().map(|item| item.path.as_str()).filter(|path| path.starts_with(&folder)).collect()
    }

    /// What the plan reports as missing at this path.
    fn missing(&self, path: &str) -> Option<&Missing> {
        self.plan.missing.iter().find(|missing| missing.path == path)
    }

    /// The names of the target's data.
    fn data(&self) -> Vec<&str> {
        self.snapshot.target.data.iter().map(|data| data.name.as_str()).collect()
    }
}
