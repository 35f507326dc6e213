//! Every shipped permission, as one table: what it grants, where, and what for. [`super::shipped`] writes roles and
//! documentation from it, and a bundle's cures name its rules; [`super`] asks whether they are granted.

use debugbundle_format::manifest::Need;

use crate::election::LEASE;

/// Reading one object by name, or all of a kind.
const READ: &[&str] = &["get", "list"];
/// The definition of DebugBundles.
pub(crate) const DEFINITION: &str = "debugbundles.debugbundle.io";
/// Reading all of a kind: the operator reads none of them by name.
const LIST: &[&str] = &["list"];

/// The role that contains a rule; it decides how far the rule reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Role `debugbundle-operator` in Velero's namespace.
    Operator,
    /// ClusterRole `debugbundle-cause-trail`, bound for the whole cluster.
    CauseTrail,
    /// ClusterRole `debugbundle-namespace-read`, bound for the whole cluster or in single namespaces.
    NamespaceRead,
    /// ClusterRole `debugbundle-namespace-logs`; an administrator has to bind it.
    NamespaceLogs,
    /// ClusterRole `debugbundle-definition`, always bound for the whole cluster: definitions lie in no namespace.
    Definition,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Operator, Self::CauseTrail, Self::NamespaceRead, Self::NamespaceLogs, Self::Definition];

    /// Its name in the cluster.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "debugbundle-operator",
            Self::CauseTrail => "debugbundle-cause-trail",
            Self::NamespaceRead => "debugbundle-namespace-read",
            Self::NamespaceLogs => "debugbundle-namespace-logs",
            Self::Definition => "debugbundle-definition",
        }
    }
}

/// One shipped rule, for one API group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `R1` and on, as in `docs/permissions.md`; the parts of a rule for several groups share one id.
    pub id: &'static str,
    /// The role that contains it.
    pub role: Role,
    /// API group; empty is the core group.
    pub group: &'static str,
    /// Plurals, with their subresource if any.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Object names it is limited to; empty: all.
    pub names: &'static [&'static str],
    /// What it is for, in words.
    pub reason: &'static str,
}

const fn rule(
    id: &'static str,
    role: Role,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    reason: &'static str,
) -> Rule {
    Rule { id, role, group, resources, verbs, names: &[], reason }
}

/// All of them, in the order of their ids. The operator uses each verb on each resource: a test on a stand compares the
/// table with its calls, both ways.
pub const RULES: [Rule; 34] = [
    rule(
        "R1",
        Role::Operator,
        "debugbundle.io",
        &["debugbundles"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "the operator's own work; it creates DebugBundles for Backups and Restores that end badly or hang, removes the \
         finalizer of earlier versions by patch, and deletes DebugBundles whose ttl is over",
    ),
    rule(
        "R2",
        Role::Operator,
        "debugbundle.io",
        &["debugbundles/status"],
        &["patch"],
        "reporting progress and results",
    ),
    rule(
        "R3",
        Role::Operator,
        "velero.io",
        &["backups", "restores"],
        &["get", "list", "watch"],
        "the target of a bundle; the watch sees which ones end badly or hang",
    ),
    rule(
        "R4",
        Role::Operator,
        "velero.io",
        &["backuprepositories", "backupstoragelocations", "schedules", "volumesnapshotlocations"],
        READ,
        "objects that a Backup or Restore refers to, and the locations of bundles",
    ),
    rule(
        "R4",
        Role::Operator,
        "velero.io",
        &[
            "datadownloads",
            "datauploads",
            "deletebackuprequests",
            "downloadrequests",
            "podvolumebackups",
            "podvolumerestores",
            "serverstatusrequests",
        ],
        LIST,
        "Velero's data movements and requests",
    ),
    rule(
        "R5",
        Role::Operator,
        "",
        &["configmaps", "events", "limitranges", "resourcequotas", "serviceaccounts"],
        LIST,
        "the environment of Velero's own pods and of its data movers' pods",
    ),
    rule("R5", Role::Operator, "", &["persistentvolumeclaims"], READ, "claims of data movers"),
    rule(
        "R5",
        Role::Operator,
        "",
        &["pods"],
        &["get", "list", "watch"],
        "Velero's own pods and its data movers' pods, which are watched because Velero deletes them",
    ),
    rule(
        "R6",
        Role::Operator,
        "",
        &["pods/log"],
        &["get"],
        "logs of pods in Velero's namespace, also of previous instances",
    ),
    Rule {
        names: &[
            "cloud-credentials",
            "cloud-credentials-azure",
            "cloud-credentials-gcp",
            "velero",
            "velero-repo-credentials",
        ],
        ..rule(
            "R7",
            Role::Operator,
            "",
            &["secrets"],
            &["get"],
            "the location's credential and CA; `velero-repo-credentials` only to mask its value wherever it appears",
        )
    },
    rule(
        "R8",
        Role::Operator,
        "apps",
        &["daemonsets", "deployments", "replicasets"],
        LIST,
        "finding Velero's server, its node-agents, and the Secret that is mounted as its credential",
    ),
    rule("R8", Role::Operator, "batch", &["jobs"], LIST, "Velero's repository maintenance"),
    rule(
        "R9",
        Role::Operator,
        "snapshot.storage.k8s.io",
        &["volumesnapshots"],
        READ,
        "the data movers' snapshots in Velero's namespace",
    ),
    rule(
        "R10",
        Role::Operator,
        "events.k8s.io",
        &["events"],
        &["create", "patch"],
        "Events that report on a DebugBundle, or on a location whose bundles the operator sweeps",
    ),
    rule(
        "R11",
        Role::Operator,
        "coordination.k8s.io",
        &["leases"],
        &["create"],
        "electing the instance that begins new work; `create` cannot be limited to a name",
    ),
    Rule {
        names: &[LEASE],
        ..rule(
            "R11",
            Role::Operator,
            "coordination.k8s.io",
            &["leases"],
            &["get", "update"],
            "renewing the Lease of that election, or taking it over",
        )
    },
    Rule {
        names: &["velero"],
        ..rule(
            "R17",
            Role::Operator,
            "",
            &["namespaces"],
            &["get"],
            "the namespace's UID is part of each bundle's key; while the namespace is being deleted, stored bundles are \
             kept",
        )
    },
    rule(
        "R18",
        Role::Operator,
        "debugbundle.io",
        &["debugbundlepolicies"],
        &["list", "watch"],
        "the rules for the DebugBundles that the operator creates by itself",
    ),
    rule(
        "R18",
        Role::Operator,
        "debugbundle.io",
        &["debugbundlepolicies/status"],
        &["patch"],
        "reporting the state of the policy",
    ),
    rule(
        "R20",
        Role::CauseTrail,
        "",
        &["nodes", "persistentvolumes"],
        READ,
        "volume handles, zones, node pressure, attach limits",
    ),
    rule(
        "R21",
        Role::CauseTrail,
        "storage.k8s.io",
        &["csidrivers", "storageclasses", "volumeattachments"],
        LIST,
        "a missing class or driver, volumes that are still attached to a node (Multi-Attach)",
    ),
    rule(
        "R22",
        Role::CauseTrail,
        "snapshot.storage.k8s.io",
        &["volumesnapshotclasses"],
        LIST,
        "deletion policy, Velero's class label",
    ),
    rule("R22", Role::CauseTrail, "snapshot.storage.k8s.io", &["volumesnapshotcontents"], READ, "errors of snapshots"),
    rule(
        "R22",
        Role::CauseTrail,
        "groupsnapshot.storage.k8s.io",
        &["volumegroupsnapshotclasses", "volumegroupsnapshotcontents"],
        LIST,
        "the same for snapshots of several volumes at once; those that a Restore leaves are found only by their label",
    ),
    rule(
        "R23",
        Role::CauseTrail,
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
        &["get"],
        "which versions are served; offline viewers need them",
    ),
    rule(
        "R24",
        Role::NamespaceRead,
        "",
        &["events", "limitranges", "resourcequotas"],
        LIST,
        "events of a stuck pod, and the quotas that limit it",
    ),
    rule(
        "R24",
        Role::NamespaceRead,
        "",
        &["persistentvolumeclaims", "pods", "serviceaccounts"],
        READ,
        "a stuck pod, its claims, its ServiceAccount",
    ),
    rule("R24", Role::NamespaceRead, "", &["namespaces"], &["get"], "the namespace itself"),
    rule(
        "R24",
        Role::NamespaceRead,
        "apps",
        &["daemonsets", "deployments", "replicasets", "statefulsets"],
        READ,
        "the owners of a stuck pod",
    ),
    rule("R24", Role::NamespaceRead, "batch", &["cronjobs", "jobs"], READ, "the owners of a stuck pod"),
    rule(
        "R25",
        Role::NamespaceRead,
        "snapshot.storage.k8s.io",
        &["volumesnapshots"],
        READ,
        "CSI snapshots of the application's volumes",
    ),
    rule(
        "R25",
        Role::NamespaceRead,
        "groupsnapshot.storage.k8s.io",
        &["volumegroupsnapshots"],
        READ,
        "the same for several volumes at once, which a Backup waits for",
    ),
    rule(
        "R26",
        Role::NamespaceLogs,
        "",
        &["pods/log"],
        &["get"],
        "logs of applications: the most sensitive data that the operator can read",
    ),
    Rule {
        names: &[DEFINITION],
        ..rule(
            "R27",
            Role::Definition,
            "apiextensions.k8s.io",
            &["customresourcedefinitions"],
            &["get"],
            "whether a DebugBundle was deleted, or went with its definition: then its stored bundle stays",
        )
    },
];

/// The shipped rule that would grant `need`, when Velero is in the namespace `velero`.
pub fn rule_for(need: &Need, velero: &str) -> Option<&'static Rule> {
    let resource = match need.subresource.as_str() {
        "" => need.resource.clone(),
        sub => format!("{}/{sub}", need.resource),
    };
    RULES.iter().find(|rule| {
        let reaches = match rule.role {
            Role::Operator => need.namespace == velero,
            Role::CauseTrail | Role::Definition => need.namespace.is_empty(),
            Role::NamespaceRead | Role::NamespaceLogs => true,
        };
        reaches
            && rule.group == need.group
            && rule.resources.contains(&resource.as_str())
            && rule.verbs.contains(&need.verb.as_str())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use debugbundle_diagnosis::{Kind, KindScope};

    use super::*;

    #[test]
    fn each_right_stands_in_the_table_once() {
        let mut granted = BTreeSet::new();
        for rule in RULES {
            for (resource, verb) in rule.resources.iter().flat_map(|r| rule.verbs.iter().map(move |v| (r, v))) {
                assert!(granted.insert((rule.role.name(), rule.group, resource, verb)), "twice: {verb} {resource}");
            }
        }
    }

    #[test]
    fn what_the_walk_knows_may_be_listed_where_it_looks() {
        // By name alone: definitions, and namespaces.
        let by_name = [Kind::CustomResourceDefinition, Kind::Namespace];
        for kind in Kind::SERVED {
            let verb = if by_name.contains(kind) { "get" } else { "list" };
            let served = kind.resource().expect("it is served");
            let places: &[&str] = match served.scope {
                KindScope::Velero => &["vault-ns"],
                KindScope::Namespace => &["vault-ns", "shop"],
                KindScope::Cluster if *kind == Kind::Namespace => &["shop"],
                KindScope::Cluster => &[""],
            };
            for place in places {
                let asked = need(verb, served.group, served.plural, "", place);
                assert!(rule_for(&asked, "vault-ns").is_some(), "no shipped rule grants {asked:?}");
            }
        }
    }

    fn need(verb: &str, group: &str, resource: &str, subresource: &str, namespace: &str) -> Need {
        let [verb, group, resource] = [verb, group, resource].map(str::to_owned);
        Need { verb, group, resource, subresource: subresource.to_owned(), namespace: namespace.to_owned() }
    }

    #[test]
    fn a_rule_is_named_only_where_it_reaches() {
        for (asked, expected) in [
            (need("list", "", "pods", "", "vault-ns"), Some("R5")),
            (need("list", "", "pods", "", "shop"), Some("R24")),
            (need("get", "", "pods", "log", "vault-ns"), Some("R6")),
            (need("get", "", "pods", "log", "shop"), Some("R26")),
            (need("list", "velero.io", "datauploads", "", "vault-ns"), Some("R4")),
            (need("list", "velero.io", "datauploads", "", "shop"), None),
            (need("list", "velero.io", "novelties", "", "vault-ns"), None),
            (need("list", "snapshot.storage.k8s.io", "volumesnapshots", "", "vault-ns"), Some("R9")),
            (need("list", "snapshot.storage.k8s.io", "volumesnapshots", "", "shop"), Some("R25")),
            (need("list", "snapshot.storage.k8s.io", "volumesnapshotcontents", "", ""), Some("R22")),
            (need("get", "", "namespaces", "", "vault-ns"), Some("R17")),
            (need("get", "", "namespaces", "", "shop"), Some("R24")),
            (need("get", "", "secrets", "", "vault-ns"), Some("R7")),
            (need("list", "", "secrets", "", "vault-ns"), None),
            (need("get", "", "secrets", "", "shop"), None),
            (need("list", "", "configmaps", "", "shop"), None),
        ] {
            assert_eq!(rule_for(&asked, "vault-ns").map(|rule| rule.id), expected, "{asked:?}");
        }
    }
}
