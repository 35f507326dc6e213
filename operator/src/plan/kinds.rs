//! The kinds of Velero's namespace, and those that its flavours keep elsewhere, as tables: which are read, when, and
//! how much they matter. To add a kind, add a line. Velero's own kinds come from discovery instead.

use debugbundle_format::manifest::MissingCode;

use super::{Planner, Priority, Want, credentials};
use crate::{cluster::ApiKind, discovery::Served};

/// A kind that every Kubernetes serves.
struct BuiltIn {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    priority: Priority,
    /// The shipped Role allows it. Other kinds are read where somebody added the rule.
    shipped: bool,
}

const fn shipped(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    priority: Priority,
) -> BuiltIn {
    BuiltIn { group, version, plural, kind, priority, shipped: true }
}

const fn extra(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> BuiltIn {
    BuiltIn { group, version, plural, kind, priority: Priority::P3, shipped: false }
}

const BUILT_IN: [BuiltIn; 24] = [
    shipped("", "v1", "pods", "Pod", Priority::P1),
    shipped("", "v1", "events", "Event", Priority::P1),
    shipped("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", Priority::P1),
    shipped("", "v1", "resourcequotas", "ResourceQuota", Priority::P1),
    shipped("", "v1", "limitranges", "LimitRange", Priority::P1),
    shipped("", "v1", "serviceaccounts", "ServiceAccount", Priority::P3),
    shipped("", "v1", "configmaps", "ConfigMap", Priority::P3),
    shipped("apps", "v1", "deployments", "Deployment", Priority::P3),
    shipped("apps", "v1", "daemonsets", "DaemonSet", Priority::P3),
    shipped("apps", "v1", "replicasets", "ReplicaSet", Priority::P3),
    shipped("batch", "v1", "jobs", "Job", Priority::P3),
    extra("", "v1", "services", "Service"),
    extra("", "v1", "endpoints", "Endpoints"),
    extra("", "v1", "replicationcontrollers", "ReplicationController"),
    extra("apps", "v1", "statefulsets", "StatefulSet"),
    extra("batch", "v1", "cronjobs", "CronJob"),
    extra("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    extra("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    extra("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    extra("networking.k8s.io", "v1", "ingresses", "Ingress"),
    extra("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    extra("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    extra("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    extra("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity"),
];

/// OADP's own group.
const OADP: &str = "oadp.openshift.io";
/// The group of the Operator Lifecycle Manager, which may have installed OADP.
const OLM: &str = "operators.coreos.com";
/// The vSphere plugin's groups.
const VSPHERE_MOVER: &str = "datamover.cnsdp.vmware.com";
const VSPHERE_DRIVER: &str = "backupdriver.cnsdp.vmware.com";

/// A kind that only some installations of Velero have; version and kind come from discovery.
struct Custom {
    group: &'static str,
    /// Its plural; with `*` at the end, all plurals that begin so.
    plural: &'static str,
    /// A second group that must be served too; else the kind belongs to another product.
    with: &'static str,
    priority: Priority,
}

const fn custom(group: &'static str, plural: &'static str, with: &'static str, priority: Priority) -> Custom {
    Custom { group, plural, with, priority }
}

const CUSTOM: [Custom; 10] = [
    custom(OADP, "dataprotectionapplications", OADP, Priority::P3),
    custom(OADP, "dataprotectiontests", OADP, Priority::P3),
    custom(OADP, "cloudstorages", OADP, Priority::P3),
    custom(OADP, "virtualmachine*", OADP, Priority::P3),
    custom(OLM, "clusterserviceversions", OADP, Priority::P3),
    custom(OLM, "subscriptions", OADP, Priority::P3),
    custom(OLM, "installplans", OADP, Priority::P3),
    custom(VSPHERE_MOVER, "uploads", VSPHERE_MOVER, Priority::P1),
    custom(VSPHERE_MOVER, "downloads", VSPHERE_MOVER, Priority::P1),
    custom(VSPHERE_DRIVER, "backuprepositoryclaims", VSPHERE_DRIVER, Priority::P3),
];

/// The vSphere plugin's repositories, cluster-scoped. They name the location and the credential of a bucket.
const OF_THE_CLUSTER: [Custom; 1] = [custom(VSPHERE_DRIVER, "backuprepositories", VSPHERE_DRIVER, Priority::P3)];

/// What flavours keep beside the volumes and users concerned, in the namespaces that a target leads to: the vSphere
/// plugin its snapshots, OADP the requests of users who are no administrators.
const BESIDE: [Custom; 4] = [
    custom(VSPHERE_DRIVER, "snapshots", VSPHERE_DRIVER, Priority::P1),
    custom(VSPHERE_DRIVER, "clonefromsnapshots", VSPHERE_DRIVER, Priority::P1),
    custom(VSPHERE_DRIVER, "deletesnapshots", VSPHERE_DRIVER, Priority::P3),
    custom(OADP, "nonadmin*", OADP, Priority::P3),
];

impl Custom {
    fn names(&self, plural: &str) -> bool {
        match self.plural.strip_suffix('*') {
            Some(beginning) => plural.starts_with(beginning),
            None => plural == self.plural,
        }
    }

    fn found<'a>(&'a self, served: &'a Served) -> impl Iterator<Item = &'a ApiKind> {
        let kinds = served.of_group(self.group).into_iter();
        kinds.filter(|kind| self.names(&kind.plural) && served.has_group(self.with))
    }

    fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.names(plural) && !credentials::named(plural)
    }
}

/// How to grant the right to read a kind of Velero's namespace that the shipped Role lacks; `None` for kinds that no
/// bundle reads there.
pub fn extra_rule(group: &str, plural: &str) -> Option<String> {
    let built_in = BUILT_IN.iter().any(|row| !row.shipped && (row.group, row.plural) == (group, plural));
    let custom = || CUSTOM.iter().chain(&BESIDE).any(|row| row.is(group, plural));
    (built_in || custom()).then(|| format!("add to extraRules of the chart: {}", rule(group, plural)))
}

/// The same for another namespace, or for the cluster if `namespace` is empty. The chart does not reach that far.
pub fn further_rule(group: &str, plural: &str, namespace: &str) -> Option<String> {
    let (rows, place) = match namespace {
        "" => (&OF_THE_CLUSTER[..], "for the cluster (ClusterRoleBinding)".to_owned()),
        namespace => (&BESIDE[..], format!("in namespace {namespace} (RoleBinding)")),
    };
    let wanted = rows.iter().any(|row| row.is(group, plural));
    wanted.then(|| format!("bind a ClusterRole to the operator's ServiceAccount {place}: {}", rule(group, plural)))
}

fn rule(group: &str, plural: &str) -> String {
    format!(r#"{{apiGroups: ["{group}"], resources: [{plural}], verbs: [get, list]}}"#)
}

impl Planner<'_> {
    /// Lists the kinds of the tables that this cluster has.
    pub(super) fn kinds(&mut self, namespace: &str) {
        for row in BUILT_IN {
            self.list(row.priority, namespace, ApiKind::namespaced(row.group, row.version, row.plural, row.kind));
        }
        let snapshot = self.snapshot;
        for row in CUSTOM.iter().chain(&BESIDE) {
            for kind in row.found(&snapshot.installation.served).filter(|kind| kind.namespaced) {
                self.list(row.priority, namespace, kind.clone());
            }
        }
        for group in [OADP, OLM, VSPHERE_MOVER, VSPHERE_DRIVER] {
            let wanted =
                CUSTOM.iter().any(|row| row.group == group && snapshot.installation.served.has_group(row.with));
            if wanted
                && snapshot.installation.served.is_stale(group)
                && snapshot.installation.served.of_group(group).is_empty()
            {
                self.note(
                    format!("kinds of {group} in {namespace}"),
                    format!("namespaces/{namespace}/{group}"),
                    MissingCode::NotLooked,
                    format!("the API server did not return the kinds of {group}"),
                    "",
                );
            }
        }
    }

    /// Lists the kinds of the tables in another namespace that the target leads to, or that was requested.
    pub(super) fn kinds_beside(&mut self, namespace: &str) {
        let snapshot = self.snapshot;
        for row in &BESIDE {
            for kind in row.found(&snapshot.installation.served).filter(|kind| kind.namespaced) {
                self.list(row.priority, namespace, kind.clone());
            }
        }
    }

    /// Lists the cluster-scoped kinds of the tables.
    pub(super) fn kinds_of_the_cluster(&mut self) {
        let snapshot = self.snapshot;
        for row in &OF_THE_CLUSTER {
            for kind in row.found(&snapshot.installation.served).filter(|kind| !kind.namespaced) {
                self.cluster_list(kind.clone(), Want::All);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        discovery::fixture::snapshot,
        plan::{Plan, plan},
    };

    /// Plurals and kinds.
    type Kinds = &'static [(&'static str, &'static str)];

    fn served(groups: &[(&str, &str, Kinds)]) -> Served {
        let mut served = snapshot().installation.served;
        for (group, version, kinds) in groups {
            let resources: Vec<_> = kinds
                .iter()
                .map(|(plural, kind)| json!({"name": plural, "kind": kind, "namespaced": true, "verbs": ["list"]}))
                .collect();
            served.add_resource_list(group, version, &json!({"resources": resources}));
        }
        served
    }

    fn planned(served: Served) -> Plan {
        let mut snapshot = snapshot();
        snapshot.installation.served = served;
        plan(&debugbundle_crd::DebugBundleSpec::installation(), &snapshot, jiff::Timestamp::UNIX_EPOCH)
    }

    fn below(plan: &Plan, folder: &str) -> Vec<String> {
        let paths = plan.items.iter().filter_map(|item| item.path.as_str().strip_prefix(folder));
        let mut paths: Vec<String> = paths.map(str::to_owned).collect();
        paths.sort();
        paths
    }

    const OLM_KINDS: Kinds = &[("clusterserviceversions", "ClusterServiceVersion"), ("subscriptions", "Subscription")];

    #[test]
    fn oadp_and_its_operator_are_asked_for_where_they_are_served() {
        let oadp: Kinds = &[
            ("dataprotectionapplications", "DataProtectionApplication"),
            ("nonadminbackups", "NonAdminBackup"),
            ("virtualmachinebackupsdiscoveries", "VirtualMachineBackupsDiscovery"),
            ("somethingelse", "SomethingElse"),
        ];
        let plan = planned(served(&[(OADP, "v1alpha1", oadp), (OLM, "v1alpha1", OLM_KINDS)]));
        assert_eq!(
            below(&plan, "namespaces/keep/oadp.openshift.io/"),
            ["dataprotectionapplications.yaml", "nonadminbackups.yaml", "virtualmachinebackupsdiscoveries.yaml"]
        );
        assert_eq!(
            below(&plan, "namespaces/keep/operators.coreos.com/"),
            ["clusterserviceversions.yaml", "subscriptions.yaml"]
        );
        let definitions = below(&plan, "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions/");
        assert!(definitions.contains(&"nonadminbackups.oadp.openshift.io.yaml".to_owned()), "{definitions:?}");
    }

    #[test]
    fn an_operator_lifecycle_manager_without_oadp_is_somebody_elses() {
        let plan = planned(served(&[(OLM, "v1alpha1", OLM_KINDS)]));
        assert!(below(&plan, "namespaces/keep/operators.coreos.com/").is_empty());
    }

    #[test]
    fn a_group_whose_kinds_are_not_told_is_said_once() {
        let mut all = snapshot().installation.served;
        all.stale.push("oadp.openshift.io/v1alpha1".to_owned());
        let plan = planned(all);
        let told: Vec<_> = plan.missing.iter().filter(|missing| missing.path.ends_with(OADP)).collect();
        assert_eq!(told.len(), 1);
        assert!(below(&plan, "namespaces/keep/oadp.openshift.io/").is_empty());
    }

    #[test]
    fn what_the_shipped_role_lacks_has_a_rule_to_add_and_nothing_else_has() {
        assert_eq!(
            extra_rule("", "services").as_deref(),
            Some(r#"add to extraRules of the chart: {apiGroups: [""], resources: [services], verbs: [get, list]}"#)
        );
        assert!(extra_rule(OADP, "nonadminrestores").is_some());
        assert!(extra_rule(VSPHERE_MOVER, "uploads").is_some());
        for (group, plural) in [("", "pods"), ("", "secrets"), (VSPHERE_MOVER, "secrets"), ("apps", "deployments")] {
            assert_eq!(extra_rule(group, plural), None, "{group}/{plural}");
            assert_eq!(further_rule(group, plural, "shop"), None, "{group}/{plural}");
        }
        assert_eq!(
            further_rule(VSPHERE_DRIVER, "snapshots", "shop").as_deref(),
            Some(
                "bind a ClusterRole to the operator's ServiceAccount in namespace shop (RoleBinding): \
                {apiGroups: [\"backupdriver.cnsdp.vmware.com\"], resources: [snapshots], verbs: [get, list]}"
            )
        );
        assert!(further_rule(VSPHERE_DRIVER, "backuprepositories", "").unwrap().contains("for the cluster"));
        assert_eq!(further_rule(VSPHERE_DRIVER, "backuprepositories", "shop"), None);
    }
}
