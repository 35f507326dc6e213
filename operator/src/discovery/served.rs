//! Which of the kinds that bundles want the API server serves. Tolerates groups whose own server is down: these are
//! named as stale, and the others stay known.

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::Kind;
use serde_json::Value;

use crate::cluster::ApiKind;

/// The `Accept` header for all kinds in one answer (Kubernetes 1.26 and later); older servers ignore it.
pub const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// Velero's API group.
pub(crate) const VELERO: &str = "velero.io";
/// Groups whose kinds are looked up: bundles read them, and some clusters lack them or serve another version. To look
/// up a further group, add a line.
const OF_INTEREST: [&str; 10] = [
    VELERO,
    "apiregistration.k8s.io",
    "backupdriver.cnsdp.vmware.com",
    "config.openshift.io",
    "datamover.cnsdp.vmware.com",
    "groupsnapshot.storage.k8s.io",
    "oadp.openshift.io",
    "operators.coreos.com",
    "snapshot.storage.k8s.io",
    "storage.k8s.io",
];

/// The served kinds of the groups of interest, each in the preferred version that can be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    kinds: Vec<ApiKind>,
    /// `group/version` of any group whose kinds could not be listed.
    pub stale: Vec<String>,
}

/// A group in an old API server's list, with its versions, the preferred one first.
pub(super) struct Group {
    pub name: String,
    pub versions: Vec<String>,
}

impl Served {
    /// Reads an aggregated answer; `None` if it is not one.
    pub fn from_aggregated(groups: &Value) -> Option<Self> {
        if groups["kind"] != "APIGroupDiscoveryList" {
            return None;
        }
        let mut served = Self::default();
        for group in array(groups, "/items") {
            let name = text(group, "/metadata/name");
            for version in array(group, "/versions") {
                let number = text(version, "/version");
                if text(version, "/freshness") == "Stale" {
                    served.stale.push(format!("{name}/{number}"));
                }
                if !OF_INTEREST.contains(&name) {
                    continue;
                }
                for resource in array(version, "/resources") {
                    let kind = ApiKind {
                        group: name.to_owned(),
                        version: number.to_owned(),
                        plural: text(resource, "/resource").to_owned(),
                        kind: text(resource, "/responseKind/kind").to_owned(),
                        namespaced: text(resource, "/scope") == "Namespaced",
                    };
                    served.add(kind, resource);
                }
            }
        }
        Some(served)
    }

    /// Adds an old server's `APIResourceList`; of two versions, the one added first is kept.
    pub fn add_resource_list(&mut self, group: &str, version: &str, list: &Value) {
        for resource in array(list, "/resources") {
            let kind = ApiKind {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: text(resource, "/name").to_owned(),
                kind: text(resource, "/kind").to_owned(),
                namespaced: resource["namespaced"] == true,
            };
            self.add(kind, resource);
        }
    }

    fn add(&mut self, kind: ApiKind, resource: &Value) {
        let listed = array(resource, "/verbs").any(|verb| verb == "list");
        let known = self.find(&kind.group, &kind.plural).is_some();
        if listed && !known && !kind.kind.is_empty() && !kind.plural.contains('/') {
            self.kinds.push(kind);
        }
    }

    /// A kind by group and plural.
    pub fn find(&self, group: &str, plural: &str) -> Option<&ApiKind> {
        self.kinds.iter().find(|kind| kind.group == group && kind.plural == plural)
    }

    /// All kinds of a group, by plural.
    pub fn of_group(&self, group: &str) -> Vec<&ApiKind> {
        let mut kinds: Vec<&ApiKind> = self.kinds.iter().filter(|kind| kind.group == group).collect();
        kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
        kinds
    }

    /// The group serves a kind, or its server is down.
    pub fn has_group(&self, group: &str) -> bool {
        self.kinds.iter().any(|kind| kind.group == group) || self.is_stale(group)
    }

    /// The group's server did not answer.
    pub fn is_stale(&self, group: &str) -> bool {
        self.stale.iter().any(|stale| stale.split('/').next() == Some(group))
    }

    /// A kind of Velero's as it is served, or in its well-known form if discovery did not return it.
    pub fn velero(&self, plural: &str, kind: &str) -> ApiKind {
        let known = || {
            let known = Kind::served_as(VELERO, plural).and_then(ApiKind::of);
            known.unwrap_or_else(|| ApiKind::namespaced(VELERO, "v1", plural, kind))
        };
        self.find(VELERO, plural).cloned().unwrap_or_else(known)
    }

    /// The kind of a target.
    pub(super) fn target(&self, kind: TargetKind) -> ApiKind {
        match kind {
            TargetKind::Backup => self.velero("backups", "Backup"),
            TargetKind::Restore => self.velero("restores", "Restore"),
        }
    }
}

/// The groups of interest in an old server's `APIGroupList`.
pub(super) fn groups_of_interest(list: &Value) -> Vec<Group> {
    array(list, "/groups")
        .filter(|group| OF_INTEREST.contains(&text(group, "/name")))
        .map(|group| {
            let preferred = text(group, "/preferredVersion/version");
            let mut versions: Vec<String> =
                array(group, "/versions").map(|version| text(version, "/version").to_owned()).collect();
            versions.sort_by_key(|version| version != preferred);
            Group { name: text(group, "/name").to_owned(), versions }
        })
        .collect()
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(name: &str, kind: &str, verbs: &[&str]) -> Value {
        json!({"resource": name, "responseKind": {"group": "", "version": "", "kind": kind}, "scope": "Namespaced", "verbs": verbs})
    }

    #[test]
    fn one_aggregated_answer_tells_velero_of_both_versions_and_what_is_stale() {
        let answer = json!({"kind": "APIGroupDiscoveryList", "items": [
            {"metadata": {"name": "metrics.example.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale", "resources": []}]},
            {"metadata": {"name": "velero.io"}, "versions": [
                {"version": "v1", "freshness": "Current", "resources": [
                    resource("restores", "Restore", &["list", "get"]), resource("backups", "Backup", &["list"]),
                    resource("tokens", "Token", &["create"])]},
                {"version": "v2alpha1", "freshness": "Current", "resources": [resource("datauploads", "DataUpload", &["list"])]}]},
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [resource("deployments", "Deployment", &["list"])]}]}]});
        let served = Served::from_aggregated(&answer).unwrap();
        let names: Vec<_> =
            served.of_group("velero.io").into_iter().map(|kind| kind.api_version() + "/" + &kind.plural).collect();
        assert_eq!(names, ["velero.io/v1/backups", "velero.io/v2alpha1/datauploads", "velero.io/v1/restores"]);
        assert!(!served.has_group("apps"), "not of interest");
        assert_eq!(served.stale, ["metrics.example.io/v1beta1"]);
        assert!(served.is_stale("metrics.example.io") && !served.is_stale("velero.io"));
    }

    #[test]
    fn an_old_server_is_read_version_by_version_the_preferred_first() {
        let list = json!({"kind": "APIGroupList", "groups": [
            {"name": "snapshot.storage.k8s.io", "versions": [{"version": "v1beta1"}, {"version": "v1"}], "preferredVersion": {"version": "v1"}},
            {"name": "batch", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}]});
        assert_eq!(Served::from_aggregated(&list), None);
        let groups = groups_of_interest(&list);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].versions, ["v1", "v1beta1"]);
        let mut served = Served::default();
        for version in &groups[0].versions {
            let list = json!({"resources": [
                {"name": "volumesnapshots", "kind": "VolumeSnapshot", "namespaced": true, "verbs": ["list"]},
                {"name": "volumesnapshots/status", "kind": "VolumeSnapshot", "namespaced": true, "verbs": ["list"]}]});
            served.add_resource_list(&groups[0].name, version, &list);
        }
        assert_eq!(served.of_group("snapshot.storage.k8s.io").len(), 1);
        assert_eq!(served.find("snapshot.storage.k8s.io", "volumesnapshots").unwrap().version, "v1");
    }

    #[test]
    fn without_discovery_veleros_kinds_are_known() {
        let served = Served::default();
        assert_eq!(served.velero("datadownloads", "DataDownload").api_version(), "velero.io/v2alpha1");
        assert_eq!(served.velero("restores", "Restore").api_version(), "velero.io/v1");
        assert!(!served.has_group("velero.io"));
    }
}
