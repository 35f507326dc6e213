//! Rights that the operator must never have: the API server refuses each of them to the shipped ServiceAccount.

use std::{collections::BTreeSet, time::Duration};

use debugbundle_format::manifest::Need;
use debugbundle_operator::access::Access;
use harness::{shipped::BoundRoles, with_namespace};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use tokio::time::Instant;

/// A namespace other than Velero's that every cluster has.
const ELSEWHERE: &str = "kube-system";

const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const CALL: &[&str] = &["get", "create"];

/// Group, resources with their subresources, and verbs, in Velero's namespace and in another one.
const IN_NAMESPACES: &[(&str, &[&str], &[&str])] = &[
    ("*", &["*"], &["*"]),
    // Without a name, which means any Secret. The Secrets that the operator reads are granted by name.
    ("", &["secrets"], &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]),
    ("", &["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy"], CALL),
    ("", &["pods", "serviceaccounts/token"], &["create"]),
    ("", &["pods/ephemeralcontainers"], &["update", "patch"]),
    (
        "velero.io",
        &[
            "backups",
            "restores",
            "schedules",
            "downloadrequests",
            "deletebackuprequests",
            "podvolumebackups",
            "podvolumerestores",
            "backuprepositories",
            "backupstoragelocations",
            "volumesnapshotlocations",
            "serverstatusrequests",
            "datauploads",
            "datadownloads",
        ],
        WRITE,
    ),
    ("", &["serviceaccounts"], &["impersonate"]),
    ("rbac.authorization.k8s.io", &["roles"], &["bind", "escalate"]),
    ("authorization.k8s.io", &["localsubjectaccessreviews"], &["create"]),
];

/// The same in the whole cluster.
const IN_THE_CLUSTER: &[(&str, &[&str], &[&str])] = &[
    ("*", &["*"], &["*", "get", "list"]),
    // The kubelet's exec accepts a GET, so `get` is enough to run a command.
    ("", &["nodes/proxy"], CALL),
    ("", &["users", "groups"], &["impersonate"]),
    ("authentication.k8s.io", &["uids"], &["impersonate"]),
    ("rbac.authorization.k8s.io", &["clusterroles"], &["bind", "escalate"]),
    ("authentication.k8s.io", &["tokenreviews"], &["create"]),
    ("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
    ("admissionregistration.k8s.io", &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"], WRITE),
    ("apiextensions.k8s.io", &["customresourcedefinitions"], WRITE),
    ("certificates.k8s.io", &["certificatesigningrequests"], &["create", "update", "patch", "delete"]),
    ("certificates.k8s.io", &["certificatesigningrequests/approval"], &["update", "patch"]),
    ("", &["namespaces", "nodes"], WRITE),
    ("", &["nodes/status"], &["update", "patch"]),
];

fn never(velero: &str) -> BTreeSet<Need> {
    let mut all = BTreeSet::new();
    for (table, namespaces) in [(IN_NAMESPACES, &[velero, ELSEWHERE][..]), (IN_THE_CLUSTER, &[""])] {
        for (group, resources, verbs) in table {
            for (resource, verb) in resources.iter().flat_map(|resource| verbs.iter().map(move |verb| (resource, verb)))
            {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                all.extend(namespaces.iter().map(|namespace| {
                    let [verb, group, resource] = [verb, group, resource].map(str::to_owned);
                    let [subresource, namespace] = [subresource, namespace].map(str::to_owned);
                    Need { verb, group, resource, subresource, namespace }
                }));
            }
        }
    }
    all
}

#[tokio::test]
async fn sec_r31_what_must_not_be_granted_is_refused_with_the_role_alone_and_with_all_roles_bound() {
    for (name, reach) in [("r31-base", BoundRoles::Base), ("r31-all", BoundRoles::Everything)] {
        with_namespace(name, |context| async move {
            let client = context.account_bound_to(reach).await.client().await;
            let never = never(&context.namespace);
            let soon = Instant::now() + Duration::from_mins(1);
            let answers = Access::default().check(&client, never.clone(), Instant::now(), soon).await;
            let unanswered: Vec<_> = never.iter().filter(|need| !answers.contains_key(*need)).collect();
            assert!(unanswered.is_empty(), "{unanswered:?}");
            let granted: Vec<_> = answers.iter().filter(|(_, allowed)| **allowed).collect();
            assert!(granted.is_empty(), "{reach:?}: {granted:#?}");
            // Shows that the account has rights at all.
            let bundles: Api<debugbundle_crd::DebugBundle> = Api::namespaced(client.clone(), &context.namespace);
            bundles.list(&ListParams::default()).await.expect("its own work is granted");
            // Only by name, and only this name.
            let secrets: Api<Secret> = Api::namespaced(client, &context.namespace);
            secrets.get("cloud-credentials").await.expect("R7");
            let other = secrets.get("some-other").await.expect_err("not in R7");
            assert!(matches!(&other, kube::Error::Api(status) if status.is_forbidden()), "{other}");
        })
        .await;
    }
}
