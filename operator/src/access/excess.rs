//! What the operator must not be allowed to do, and the look at its start whether it is.
//! An administrator may have bound more than is shipped: then that is told, and the operator works all the same.

use std::collections::BTreeSet;

use kube::Client;
use tokio::time::Instant;

use super::{Access, KEPT};
use crate::archive::manifest::Need;

/// A namespace that every cluster has and that is not Velero's: for rights that are granted everywhere.
const ELSEWHERE: &str = "kube-system";
/// The most that is named in the log.
const NAMED: usize = 12;

const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const CALL: &[&str] = &["get", "create"];

/// Where a right is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In Velero's namespace.
    Velero,
    /// In Velero's namespace and in another one.
    Both,
    /// In a namespace that is not Velero's.
    Elsewhere,
    /// In the whole cluster.
    Cluster,
}

/// Group, resource with its subresource if any, verbs, and where.
const NEVER: &[(&str, &str, &[&str], At)] = &[
    ("*", "*", &["*"], At::Velero),
    ("*", "*", &["*", "get", "list"], At::Cluster),
    // Without a name: any Secret. Those of Velero's namespace that are read are granted by name.
    ("", "secrets", &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"], At::Velero),
    (
        "",
        "secrets",
        &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
        At::Elsewhere,
    ),
    ("", "pods/exec", CALL, At::Both),
    ("", "pods/attach", CALL, At::Both),
    ("", "pods/portforward", CALL, At::Both),
    ("", "pods/proxy", CALL, At::Both),
    ("", "services/proxy", CALL, At::Both),
    // A GET is enough to run something there: the kubelet's exec is asked for so.
    ("", "nodes/proxy", CALL, At::Cluster),
    ("", "pods", &["create"], At::Both),
    ("", "pods/ephemeralcontainers", &["update", "patch"], At::Both),
    ("velero.io", "backups", WRITE, At::Velero),
    ("velero.io", "restores", WRITE, At::Velero),
    ("velero.io", "schedules", WRITE, At::Velero),
    ("velero.io", "downloadrequests", WRITE, At::Velero),
    ("velero.io", "deletebackuprequests", WRITE, At::Velero),
    ("velero.io", "podvolumebackups", WRITE, At::Velero),
    ("velero.io", "podvolumerestores", WRITE, At::Velero),
    ("velero.io", "backuprepositories", WRITE, At::Velero),
    ("velero.io", "backupstoragelocations", WRITE, At::Velero),
    ("velero.io", "volumesnapshotlocations", WRITE, At::Velero),
    ("velero.io", "serverstatusrequests", WRITE, At::Velero),
    ("velero.io", "datauploads", WRITE, At::Velero),
    ("velero.io", "datadownloads", WRITE, At::Velero),
    ("", "users", &["impersonate"], At::Cluster),
    ("", "groups", &["impersonate"], At::Cluster),
    ("", "serviceaccounts", &["impersonate"], At::Both),
    ("authentication.k8s.io", "uids", &["impersonate"], At::Cluster),
    ("rbac.authorization.k8s.io", "roles", &["bind", "escalate"], At::Both),
    ("rbac.authorization.k8s.io", "clusterroles", &["bind", "escalate"], At::Cluster),
    ("", "serviceaccounts/token", &["create"], At::Both),
    ("authentication.k8s.io", "tokenreviews", &["create"], At::Cluster),
    ("authorization.k8s.io", "subjectaccessreviews", &["create"], At::Cluster),
    ("authorization.k8s.io", "localsubjectaccessreviews", &["create"], At::Both),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", WRITE, At::Cluster),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", WRITE, At::Cluster),
    ("apiextensions.k8s.io", "customresourcedefinitions", WRITE, At::Cluster),
    ("", "namespaces", WRITE, At::Cluster),
    ("certificates.k8s.io", "certificatesigningrequests", &["create", "update", "patch", "delete"], At::Cluster),
    ("certificates.k8s.io", "certificatesigningrequests/approval", &["update", "patch"], At::Cluster),
    ("", "nodes", WRITE, At::Cluster),
    ("", "nodes/status", &["update", "patch"], At::Cluster),
];

/// Everything that must be refused, when Velero is in the namespace `velero`.
pub fn never(velero: &str) -> BTreeSet<Need> {
    let mut all = BTreeSet::new();
    for (group, resource, verbs, at) in NEVER {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let places: &[&str] = match at {
            At::Velero => &[velero],
            At::Both => &[velero, ELSEWHERE],
            At::Elsewhere => &[ELSEWHERE],
            At::Cluster => &[""],
        };
        for (verb, place) in verbs.iter().flat_map(|verb| places.iter().map(move |place| (verb, place))) {
            let [verb, group, resource] = [verb, group, resource].map(str::to_owned);
            let (subresource, namespace) = (subresource.to_owned(), (*place).to_owned());
            all.insert(Need { verb, group, resource, subresource, namespace });
        }
    }
    all
}

/// Asks about each and warns of those that are granted. What is not answered is not told: it is no reason to worry anybody.
pub async fn warn(client: &Client, velero: &str) {
    let answers = Access::default().check(client, never(velero), Instant::now(), Instant::now() + KEPT).await;
    let granted: Vec<String> =
        answers.into_iter().filter(|(_, allowed)| *allowed).map(|(need, _)| words(&need)).collect();
    if granted.is_empty() {
        return;
    }
    let (shown, all) = (granted.len().min(NAMED), granted.len());
    tracing::warn!(
        granted = granted[..shown].join("; "),
        number = all,
        "The operator has permissions that it must not have and does not use; look for what binds its ServiceAccount \
         besides the shipped roles"
    );
}

fn words(need: &Need) -> String {
    let Need { verb, group, resource, subresource, namespace } = need;
    let sub = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let place = if namespace.is_empty() { "everywhere".to_owned() } else { format!("in {namespace}") };
    format!("{verb} {resource}{sub}{group} {place}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rules::rule_for;

    #[test]
    fn sec_r27_no_shipped_rule_grants_what_must_not_be_granted() {
        let all = never("vault-ns");
        assert!(all.len() > 150, "{}", all.len());
        for need in all {
            // Without a name nothing is granted on Secrets; `rule_for` does not ask for names.
            let by_name = need.resource == "secrets" && need.verb == "get" && need.namespace == "vault-ns";
            assert!(by_name || rule_for(&need, "vault-ns").is_none(), "{}", words(&need));
        }
    }

    #[test]
    fn a_right_is_told_as_people_say_it() {
        let told: Vec<String> = never("vault-ns").iter().map(words).collect();
        for line in [
            "create pods/exec in vault-ns",
            "delete backups.velero.io in vault-ns",
            "* *.* everywhere",
            "get secrets in kube-system",
            "impersonate users everywhere",
        ] {
            assert!(told.iter().any(|one| one == line), "{line}: {told:#?}");
        }
    }
}
