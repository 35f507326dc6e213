//! Every permission that is shipped, as one table: what it grants, where, and what for. Deploy, documentation and the
//! cures in a bundle's manifest are held to it; whether it is granted is asked by [`super`].

use crate::archive::manifest::Need;

/// Reading one object by name, or all of a kind.
const READ: &[&str] = &["get", "list"];

/// The role that a rule is shipped in, and with it how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Role `debugbundle-operator` in Velero's namespace.
    Operator,
    /// ClusterRole `debugbundle-cause-trail`, bound for the whole cluster.
    CauseTrail,
    /// ClusterRole `debugbundle-namespace-read`, bound for the whole cluster or in single namespaces.
    NamespaceRead,
    /// ClusterRole `debugbundle-namespace-logs`, bound nowhere unless somebody does.
    NamespaceLogs,
}

impl Role {
    /// Its name in the cluster.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "debugbundle-operator",
            Self::CauseTrail => "debugbundle-cause-trail",
            Self::NamespaceRead => "debugbundle-namespace-read",
            Self::NamespaceLogs => "debugbundle-namespace-logs",
        }
    }
}

/// One shipped rule, as far as one API group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `R1` and on, as in `docs/permissions.md`; rules of several groups share theirs.
    pub id: &'static str,
    /// Where it is shipped.
    pub role: Role,
    /// API group; empty is the core group.
    pub group: &'static str,
    /// Plurals, with their subresource if any.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Names it is limited to; empty: all.
    pub names: &'static [&'static str],
    /// What it is for, in words.
    pub reason: &'static str,
}

const fn rule(
    id: &'static str,
    role: Role,
    group: &'static str,
    resources: &'static [&'static str],
    reason: &'static str,
) -> Rule {
    Rule { id, role, group, resources, verbs: READ, names: &[], reason }
}

/// All of them, in the order of their ids.
pub const RULES: [Rule; 21] = [
    Rule {
        verbs: &["get", "list", "watch", "patch", "delete"],
        ..rule("R1", Role::Operator, "debugbundle.io", &["debugbundles"], "the operator's own work")
    },
    Rule {
        verbs: &["patch"],
        ..rule("R2", Role::Operator, "debugbundle.io", &["debugbundles/status"], "telling how the work goes")
    },
    rule("R3", Role::Operator, "velero.io", &["backups", "restores"], "what a bundle is about"),
    rule(
        "R4",
        Role::Operator,
        "velero.io",
        &[
            "backuprepositories",
            "backupstoragelocations",
            "datadownloads",
            "datauploads",
            "deletebackuprequests",
            "downloadrequests",
            "podvolumebackups",
            "podvolumerestores",
            "schedules",
            "serverstatusrequests",
            "volumesnapshotlocations",
        ],
        "what belongs to a Backup or Restore, and where bundles go",
    ),
    rule(
        "R5",
        Role::Operator,
        "",
        &["configmaps", "events", "limitranges", "persistentvolumeclaims", "resourcequotas", "serviceaccounts"],
        "what surrounds Velero's own pods and those of its data movers",
    ),
    Rule {
        verbs: &["get", "list", "watch"],
        ..rule("R5", Role::Operator, "", &["pods"], "Velero's own pods and those of its data movers")
    },
    Rule { verbs: &["get"], ..rule("R6", Role::Operator, "", &["pods/log"], "the logs of Velero's namespace") },
    Rule {
        verbs: &["get"],
        names: &[
            "cloud-credentials",
            "cloud-credentials-azure",
            "cloud-credentials-gcp",
            "velero",
            "velero-repo-credentials",
        ],
        ..rule("R7", Role::Operator, "", &["secrets"], "the location's credential")
    },
    rule(
        "R8",
        Role::Operator,
        "apps",
        &["daemonsets", "deployments", "replicasets"],
        "finding Velero's server and node-agents",
    ),
    rule("R8", Role::Operator, "batch", &["jobs"], "Velero's maintenance of its repositories"),
    rule(
        "R9",
        Role::Operator,
        "snapshot.storage.k8s.io",
        &["volumesnapshots"],
        "snapshots that data movers hold in Velero's namespace",
    ),
    Rule {
        verbs: &["create", "patch"],
        ..rule("R10", Role::Operator, "events.k8s.io", &["events"], "telling on a DebugBundle what happened")
    },
    rule(
        "R20",
        Role::CauseTrail,
        "",
        &["nodes", "persistentvolumes"],
        "volume handles, zones, node pressure, attach limits",
    ),
    rule(
        "R21",
        Role::CauseTrail,
        "storage.k8s.io",
        &["csidrivers", "storageclasses", "volumeattachments"],
        "a class or driver that is missing, volumes that hang on a node",
    ),
    rule(
        "R22",
        Role::CauseTrail,
        "snapshot.storage.k8s.io",
        &["volumesnapshotclasses", "volumesnapshotcontents"],
        "errors of snapshots and their deletion policy",
    ),
    rule(
        "R23",
        Role::CauseTrail,
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
        "which versions are served; offline viewers need them",
    ),
    rule(
        "R24",
        Role::NamespaceRead,
        "",
        &["events", "limitranges", "namespaces", "persistentvolumeclaims", "pods", "resourcequotas", "serviceaccounts"],
        "the pod that hangs, its events, its claim, its quota",
    ),
    rule(
        "R24",
        Role::NamespaceRead,
        "apps",
        &["daemonsets", "deployments", "replicasets", "statefulsets"],
        "the owners of the pod that hangs",
    ),
    rule("R24", Role::NamespaceRead, "batch", &["cronjobs", "jobs"], "the owners of the pod that hangs"),
    rule(
        "R25",
        Role::NamespaceRead,
        "snapshot.storage.k8s.io",
        &["volumesnapshots"],
        "CSI snapshots of the application's volumes",
    ),
    Rule { verbs: &["get"], ..rule("R26", Role::NamespaceLogs, "", &["pods/log"], "logs of applications") },
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
            Role::CauseTrail => need.namespace.is_empty(),
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
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::{Path, PathBuf},
    };

    use serde_json::Value;

    use super::*;

    fn at(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(at("").join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    const ROLES: [Role; 4] = [Role::Operator, Role::CauseTrail, Role::NamespaceRead, Role::NamespaceLogs];

    type Granted = BTreeSet<(String, String, String, String, String)>;

    /// Role, group, resource, verb and names of each right.
    fn in_code() -> Granted {
        let mut granted = Granted::new();
        for rule in RULES {
            for (resource, verb) in rule.resources.iter().flat_map(|r| rule.verbs.iter().map(move |v| (r, v))) {
                let names = rule.names.join(" ");
                let right = [rule.role.name(), rule.group, resource, verb].map(str::to_owned);
                let [role, group, resource, verb] = right;
                assert!(granted.insert((role, group, resource, verb, names)), "twice: {rule:?}");
            }
        }
        granted
    }

    fn words(value: &Value) -> Vec<String> {
        value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_table_is_what_deploy_grants() {
        let mut deployed = Granted::new();
        for file in fs::read_dir(at("deploy/rbac")).unwrap() {
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text(&file.unwrap().path())).unwrap();
            for document in documents {
                let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                if !document["rules"].is_array() || !ROLES.iter().any(|role| role.name() == name) {
                    continue;
                }
                for rule in document["rules"].as_array().unwrap() {
                    let names = words(&rule["resourceNames"]).join(" ");
                    for group in words(&rule["apiGroups"]) {
                        for resource in words(&rule["resources"]) {
                            for verb in words(&rule["verbs"]) {
                                let (group, resource) = (group.clone(), resource.clone());
                                deployed.insert((name.to_owned(), group, resource, verb, names.clone()));
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(in_code(), deployed);
    }

    #[test]
    fn the_table_stands_in_the_documentation_row_by_row() {
        let page = text(Path::new("docs/permissions.md"));
        let mut documented = BTreeMap::new();
        for row in page.lines().filter(|line| line.starts_with("| R")) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            documented.insert(cells[0].to_owned(), row.to_owned());
        }
        for rule in RULES {
            let row = documented.get(rule.id).unwrap_or_else(|| panic!("docs/permissions.md has no {}", rule.id));
            for resource in rule.resources {
                assert!(row.contains(resource), "docs/permissions.md, {}: no {resource}", rule.id);
            }
        }
        let known: BTreeSet<String> = RULES.iter().map(|rule| rule.id.to_owned()).collect();
        assert_eq!(documented.into_keys().collect::<BTreeSet<_>>(), known);
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
            (need("get", "", "namespaces", "", "vault-ns"), Some("R24")),
            (need("get", "", "secrets", "", "vault-ns"), Some("R7")),
            (need("list", "", "secrets", "", "vault-ns"), None),
            (need("get", "", "secrets", "", "shop"), None),
            (need("list", "", "configmaps", "", "shop"), None),
        ] {
            assert_eq!(rule_for(&asked, "vault-ns").map(|rule| rule.id), expected, "{asked:?}");
        }
    }
}
