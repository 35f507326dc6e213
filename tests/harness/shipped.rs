//! The permissions that we ship (`deploy/rbac`), given to a test's own ServiceAccount as `kubectl apply -k` would.
//! The Deployment and the CRD are not installed from here: tests run the program itself.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::Value;

use crate::Context;
use crate::stand::Account;

/// The account that the shipped bindings name.
const ACCOUNT: &str = "debugbundle-operator";

const RBAC: [&str; 6] = [
    include_str!("../../deploy/rbac/role.yaml"),
    include_str!("../../deploy/rbac/rolebinding.yaml"),
    include_str!("../../deploy/rbac/cause-trail.yaml"),
    include_str!("../../deploy/rbac/namespace-read.yaml"),
    include_str!("../../deploy/rbac/namespace-logs.yaml"),
    include_str!("../../deploy/rbac/clusterrolebindings.yaml"),
];

impl Context {
    /// The operator's ServiceAccount with exactly the shipped roles, for this test's namespace.
    pub async fn shipped_account(&self) -> Account {
        let account = self.stand.service_account(&self.namespace, ACCOUNT).await;
        for document in RBAC.iter().flat_map(|file| file.split("\n---\n")) {
            let mut object: DynamicObject = serde_saphyr::from_str(document).expect("deploy/rbac is YAML");
            let types = object.types.clone().expect("a kind");
            for subject in object.data.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
                assert_eq!(subject["kind"], ServiceAccount::kind(&()).as_ref());
                subject["namespace"] = self.namespace.as_str().into();
            }
            // Bindings for the whole cluster would be shared by all tests of the stand.
            if types.kind == "ClusterRoleBinding" {
                object.metadata.name = Some(format!("{}-{}", object.name_any(), self.namespace));
            }
            self.apply_rbac(&types.kind, &object).await;
        }
        account
    }

    async fn apply_rbac(&self, kind: &str, object: &DynamicObject) {
        let resource = ApiResource {
            group: "rbac.authorization.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "rbac.authorization.k8s.io/v1".to_owned(),
            kind: kind.to_owned(),
            plural: format!("{}s", kind.to_lowercase()),
        };
        let api: Api<DynamicObject> = if kind.starts_with("Cluster") {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        };
        let applied =
            api.patch(&object.name_any(), &PatchParams::apply("harness").force(), &Patch::Apply(object)).await;
        applied.unwrap_or_else(|error| panic!("{kind} {}: {error}", object.name_any()));
    }
}
