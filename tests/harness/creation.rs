//! Creates objects of any kind for a test, in any namespace or in the cluster. The end of the test deletes those of the
//! cluster, as it deletes the test's namespaces.

use std::fmt::Debug;

use futures::future::join_all;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::{
    Resource,
    api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::Context;

impl Context {
    /// Creates an object in a namespace, with its status if it has one.
    pub async fn create_in<K>(&self, namespace: &str, object: impl Into<Value>) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let object = object.into();
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let typed = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{object}: {error}"));
        let made = api.create(&PostParams::default(), &typed).await.unwrap_or_else(|error| panic!("{object}: {error}"));
        if object["status"].is_null() {
            return made;
        }
        let (name, status) = (object["metadata"]["name"].as_str().unwrap(), json!({"status": object["status"]}));
        let patched = api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
        patched.unwrap_or_else(|error| panic!("status of {object}: {error}"))
    }

    /// The name that a cluster-scoped object of this test has.
    pub fn cluster_name(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// Creates a cluster-scoped object under its [`cluster_name`](Self::cluster_name), which it returns.
    pub async fn create_in_cluster<K>(&self, name: &str, mut object: Value) -> String
    where
        K: Resource<Scope = ClusterResourceScope>,
        K::DynamicType: Default,
    {
        let name = self.cluster_name(name);
        object["metadata"]["name"] = name.clone().into();
        self.create_dynamic(&ApiResource::erase::<K>(&K::DynamicType::default()), None, object).await;
        name
    }

    /// Creates an object of a kind that has no Rust type, in a namespace or in the cluster. It needs no `kind`.
    pub async fn create_dynamic(&self, resource: &ApiResource, namespace: Option<&str>, mut object: Value) {
        object["apiVersion"] = resource.api_version.as_str().into();
        object["kind"] = resource.kind.as_str().into();
        let typed: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        let api = self.dynamic_api(resource, namespace);
        api.create(&PostParams::default(), &typed).await.unwrap_or_else(|error| panic!("{object}: {error}"));
        if namespace.is_none() {
            let name = typed.metadata.name.expect("the API server took it under a name");
            self.delete_later(resource.clone(), name);
        }
    }

    fn dynamic_api(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    /// Has the end of the test delete a cluster-scoped object.
    pub(crate) fn delete_later(&self, resource: ApiResource, name: String) {
        self.cluster_objects.lock().expect("nobody panicked").push((resource, name));
    }

    /// Deletes this test's cluster-scoped objects. Some may be gone, and so may be the kinds of others.
    pub(crate) async fn delete_cluster_objects(&self) {
        let created = std::mem::take(&mut *self.cluster_objects.lock().expect("nobody panicked"));
        join_all(created.iter().map(|(resource, name)| async move {
            let api = self.dynamic_api(resource, None);
            // No controller runs that would remove the protection of PersistentVolumes.
            let without = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            let _ = api.patch(name, &PatchParams::default(), &without).await;
            let _ = api.delete(name, &DeleteParams::default().grace_period(0)).await;
        }))
        .await;
    }
}
