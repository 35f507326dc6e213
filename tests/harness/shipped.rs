//! The shipped permissions (`deploy/rbac`), granted to a test's own ServiceAccount as `kubectl apply -k` would:
//! operators in all tests run with them. The Deployment is not installed: tests run the program itself.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, Role};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::stand::Account;
use crate::{Context, until};

/// The account that the shipped bindings name.
const ACCOUNT: &str = "debugbundle-operator";

/// What `access: namespaced` of the chart installs.
const BASE: [&str; 4] = [
    include_str!("../../deploy/rbac/role.yaml"),
    include_str!("../../deploy/rbac/rolebinding.yaml"),
    include_str!("../../deploy/rbac/definition.yaml"),
    include_str!("../../deploy/rbac/definitionbinding.yaml"),
];
const CLUSTER: [&str; 4] = [
    include_str!("../../deploy/rbac/cause-trail.yaml"),
    include_str!("../../deploy/rbac/namespace-read.yaml"),
    include_str!("../../deploy/rbac/namespace-logs.yaml"),
    include_str!("../../deploy/rbac/clusterrolebindings.yaml"),
];
const LOGS: &str = "debugbundle-namespace-logs";

/// How many of the shipped roles are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundRoles {
    /// The Role alone.
    Base,
    /// What `deploy/` binds.
    Shipped,
    /// Every shipped role, in the whole cluster, including the logs of applications.
    Everything,
}

impl Context {
    /// The operator's ServiceAccount with exactly what `deploy/` binds, for this test's namespace.
    pub async fn shipped_account(&self) -> Account {
        self.shipped.get_or_init(|| self.account_bound_to(BoundRoles::Shipped)).await.clone()
    }

    /// The operator's ServiceAccount with these roles; once per test, and instead of [`Self::shipped_account`].
    pub async fn account_bound_to(&self, roles: BoundRoles) -> Account {
        let account = self.stand.service_account(&self.namespace, ACCOUNT).await;
        self.apply_all(&BASE).await;
        if roles != BoundRoles::Base {
            self.apply_all(&CLUSTER).await;
        }
        if roles == BoundRoles::Everything {
            self.bind_in_the_cluster(LOGS).await;
        }
        self.until_granted(&account, roles).await;
        account
    }

    /// Makes the Role allow these Secrets too, as the chart's `secrets.names` does.
    pub async fn allow_secrets(&self, names: &[&str]) {
        let account = self.shipped_account().await;
        self.change_role(|rule| {
            if rule["resources"] == json!(["secrets"]) {
                let all = rule["resourceNames"].as_array_mut().expect("Secrets are granted by name");
                all.extend(names.iter().map(|name| json!(name)));
            }
            true
        })
        .await;
        let secrets: Api<Secret> = Api::namespaced(account.client().await, &self.namespace);
        for name in names {
            until(Duration::from_secs(20), "the Role is in force", || async { secrets.get_opt(name).await }).await;
        }
    }

    /// Lets operators read all kinds of these API groups in the whole cluster, like an admin who follows the cures for
    /// kinds beyond the shipped roles.
    pub async fn allow_further(&self, groups: &[&str]) {
        let account = self.shipped_account().await;
        let role = "debugbundle-further";
        let name = format!("{role}-{}", self.namespace);
        let rules = json!([{"apiGroups": groups, "resources": ["*"], "verbs": ["get", "list"]}]);
        let further = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules});
        self.apply_rbac("ClusterRole", &serde_json::from_value(further).expect("a role")).await;
        self.bind_in_the_cluster(&name).await;
        let api: Api<SelfSubjectAccessReview> = Api::all(account.client().await);
        for group in groups {
            let asked = json!({"metadata": {}, "spec": {"resourceAttributes": {"verb": "list", "group": group, "resource": "any"}}});
            let asked: SelfSubjectAccessReview = serde_json::from_value(asked).expect("a review");
            until(Duration::from_secs(20), "the further role is in force", || async {
                let answer = api.create(&PostParams::default(), &asked).await.map_err(|error| error.to_string())?;
                if answer.status.is_some_and(|status| status.allowed) { Ok(()) } else { Err("not yet".to_owned()) }
            })
            .await;
        }
        let mut further = self.further.lock().expect("nobody panicked");
        further.extend(groups.iter().map(|group| (*group).to_owned()));
    }

    /// Removes the Role's rules about this resource.
    pub async fn take_away(&self, resource: &str) {
        self.change_role(|rule| rule["resources"] != json!([resource])).await;
    }

    /// Keeps the Role's rules for which `change` returns true.
    async fn change_role(&self, mut change: impl FnMut(&mut Value) -> bool) {
        let api = self.api::<Role>();
        let role = api.get(ACCOUNT).await.expect("the Role was applied");
        let mut rules = serde_json::to_value(role.rules).expect("JSON");
        rules.as_array_mut().expect("rules").retain_mut(|rule| change(rule));
        let patch = Patch::Merge(json!({ "rules": rules }));
        api.patch(ACCOUNT, &PatchParams::default(), &patch).await.expect("the Role can be changed");
    }

    async fn apply_all(&self, files: &[&str]) {
        for document in files.iter().flat_map(|file| file.split("\n---\n")) {
            let mut object: DynamicObject = serde_saphyr::from_str(document).expect("deploy/rbac is YAML");
            let types = object.types.clone().expect("a kind");
            for subject in object.data.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
                assert_eq!(subject["kind"], ServiceAccount::kind(&()).as_ref());
                subject["namespace"] = self.namespace.as_str().into();
            }
            // The Role names Velero's namespace.
            for rule in object.data.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
                if types.kind == "Role" && rule["resources"] == json!(["namespaces"]) {
                    rule["resourceNames"] = json!([self.namespace]);
                }
            }
            // All tests of the stand would share a binding for the whole cluster.
            if types.kind == "ClusterRoleBinding" {
                object.metadata.name = Some(format!("{}-{}", object.name_any(), self.namespace));
            }
            self.apply_rbac(&types.kind, &object).await;
        }
    }

    /// Binds a ClusterRole to the operator's account in the whole cluster.
    async fn bind_in_the_cluster(&self, role: &str) {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{role}-{}", self.namespace)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace}],
        });
        self.apply_rbac("ClusterRoleBinding", &serde_json::from_value(binding).expect("a binding")).await;
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

    /// The API server learns of roles later than of other objects. Waits for the last one.
    async fn until_granted(&self, account: &Account, roles: BoundRoles) {
        let client = account.client().await;
        let one = ListParams::default().limit(1);
        let bundles: Api<debugbundle_crd::DebugBundle> = Api::namespaced(client.clone(), &self.namespace);
        let limit = Duration::from_secs(20);
        until(limit, "the Role is in force", || async { bundles.list_metadata(&one).await }).await;
        if roles != BoundRoles::Base {
            let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
            until(limit, "cause-trail is in force", || async { nodes.list_metadata(&one).await }).await;
            let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(client.clone());
            until(limit, "namespace-read is in force", || async { pods.list_metadata(&one).await }).await;
        }
    }

    /// Bindings for the whole cluster survive the namespace.
    pub(crate) async fn remove_bindings(&self) {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        let own = format!("-{}", self.namespace);
        for binding in bindings.list_metadata(&ListParams::default()).await.into_iter().flatten() {
            if binding.name_any().ends_with(&own) {
                let _ = bindings.delete(&binding.name_any(), &DeleteParams::default()).await;
            }
        }
    }
}
