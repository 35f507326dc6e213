//! The shipped admission policies (`deploy/admission`), in force in one test's namespace.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt as _};
use serde_json::json;

use crate::Context;

const POLICIES: &str = include_str!("../../deploy/admission/policies.yaml");
const BINDINGS: &str = include_str!("../../deploy/admission/bindings.yaml");

impl Context {
    /// Applies the shipped policies under names of this test's own and binds them to its namespace alone, because they
    /// are cluster-scoped and all tests share the cluster. The API server takes a moment to enforce them.
    pub async fn admission_policies(&self) {
        let own = |name: &str| format!("{name}-{}", self.namespace);
        for mut policy in documents(POLICIES) {
            policy.metadata.name = Some(own(&policy.name_any()));
            self.apply_admission::<ValidatingAdmissionPolicy>(&policy).await;
        }
        for mut binding in documents(BINDINGS) {
            binding.metadata.name = Some(own(&binding.name_any()));
            let spec = &mut binding.data["spec"];
            spec["policyName"] = own(spec["policyName"].as_str().expect("a policy's name")).into();
            spec["matchResources"] =
                json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}});
            self.apply_admission::<ValidatingAdmissionPolicyBinding>(&binding).await;
        }
    }

    async fn apply_admission<K: Resource<DynamicType = ()>>(&self, object: &DynamicObject) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&()));
        let apply = PatchParams::apply("harness").force();
        let applied = api.patch(&object.name_any(), &apply, &Patch::Apply(object)).await;
        applied.unwrap_or_else(|error| panic!("{}: {error}", object.name_any()));
    }

    /// Policies are cluster-scoped, so deleting the namespace leaves them.
    pub(crate) async fn remove_policies(&self) {
        self.remove::<ValidatingAdmissionPolicyBinding>().await;
        self.remove::<ValidatingAdmissionPolicy>().await;
    }

    async fn remove<K: Resource<DynamicType = ()>>(&self) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&()));
        let own = format!("-{}", self.namespace);
        for object in api.list_metadata(&ListParams::default()).await.into_iter().flatten() {
            if object.name_any().ends_with(&own) {
                let _ = api.delete(&object.name_any(), &DeleteParams::default()).await;
            }
        }
    }
}

fn documents(file: &str) -> impl Iterator<Item = DynamicObject> {
    file.split("\n---\n").map(|document| serde_saphyr::from_str(document).expect("deploy/admission is YAML"))
}
