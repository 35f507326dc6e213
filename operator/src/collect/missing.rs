//! Why an item is not in the bundle, and what would cure it: the one place where answers of the API server become
//! lines of `missing[]`. Errors of the object store are told in `store_files`.

use crate::{
    archive::manifest::{Missing, MissingCode, MissingSeverity, Need},
    cluster::{ApiKind, ClusterError, bounded},
    inventory::Inventory,
    plan::{Item, extra_rule},
};

/// Longest `why` (bytes).
const WHY: usize = 512;

/// Which of the operator's borders apply: Velero's namespace, and whether more was meant to be read.
#[derive(Clone, Debug)]
pub(super) struct Borders {
    velero: String,
    cluster_read: bool,
}

/// A shipped permission: its rule, and what to bind.
struct Rule {
    id: &'static str,
    cure: String,
    /// It belongs to what the operator was meant to have.
    expected: bool,
}

impl Borders {
    pub(super) fn of(inventory: &Inventory) -> Self {
        Self { velero: inventory.namespace.clone(), cluster_read: inventory.scope.cluster_read }
    }

    fn rule(&self, need: &Need) -> Option<Rule> {
        let base = |id| {
            let cure = format!("give the operator rule {id} of its Role in namespace {}", self.velero);
            Some(Rule { id, cure, expected: true })
        };
        let cluster = |id| {
            let cure = "bind ClusterRole debugbundle-cause-trail".to_owned();
            Some(Rule { id, cure, expected: self.cluster_read })
        };
        let namespaced = |id| {
            let cure = format!("bind ClusterRole debugbundle-namespace-read in namespace {}", need.namespace);
            Some(Rule { id, cure, expected: self.cluster_read })
        };
        let here = need.namespace == self.velero;
        match (need.group.as_str(), need.resource.as_str(), need.subresource.as_str()) {
            ("", "pods", "log") if here => base("R6"),
            ("", "pods", "log") => Some(Rule {
                id: "R26",
                cure: format!("bind ClusterRole debugbundle-namespace-logs in namespace {}", need.namespace),
                expected: false,
            }),
            ("", "nodes" | "persistentvolumes", "") => cluster("R20"),
            ("storage.k8s.io", "storageclasses" | "csidrivers" | "volumeattachments", "") => cluster("R21"),
            ("snapshot.storage.k8s.io", "volumesnapshotcontents" | "volumesnapshotclasses", "") => cluster("R22"),
            ("apiextensions.k8s.io", "customresourcedefinitions", "") => cluster("R23"),
            ("velero.io", "backups" | "restores", "") if here => base("R3"),
            ("velero.io", _, "") if here => base("R4"),
            (
                "",
                "pods"
                | "configmaps"
                | "persistentvolumeclaims"
                | "serviceaccounts"
                | "events"
                | "resourcequotas"
                | "limitranges",
                "",
            ) if here => base("R5"),
            ("apps", "deployments" | "daemonsets" | "replicasets", "") | ("batch", "jobs", "") if here => base("R8"),
            ("snapshot.storage.k8s.io", "volumesnapshots", "") if here => base("R9"),
            ("snapshot.storage.k8s.io", "volumesnapshots", "") => namespaced("R25"),
            (
                "",
                "namespaces"
                | "pods"
                | "events"
                | "persistentvolumeclaims"
                | "resourcequotas"
                | "limitranges"
                | "serviceaccounts",
                "",
            )
            | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets", "")
            | ("batch", "jobs" | "cronjobs", "") => namespaced("R24"),
            _ => None,
        }
    }

    /// A permission that the API server refused.
    fn forbidden(&self, what: &str, path: &str, error: &ClusterError, need: Need) -> Missing {
        let rule = self.rule(&need);
        let expected = rule.as_ref().is_some_and(|rule| rule.expected);
        let extra = || extra_rule(&need.group, &need.resource).filter(|_| need.namespace == self.velero);
        let cure = rule.as_ref().map(|rule| rule.cure.clone()).or_else(extra);
        Missing {
            what: what.to_owned(),
            path: path.to_owned(),
            code: MissingCode::Forbidden,
            severity: if expected { MissingSeverity::Error } else { MissingSeverity::Note },
            why: bounded(&error.to_string(), WHY),
            rule: rule.as_ref().map(|rule| rule.id.to_owned()),
            cure: cure.unwrap_or_else(|| "not offered".to_owned()),
            need: Some(need),
        }
    }

    /// Objects that could not be read.
    pub(super) fn objects(
        &self,
        what: &str,
        path: &str,
        error: &ClusterError,
        verb: &str,
        kind: &ApiKind,
        namespace: &str,
    ) -> Missing {
        if error.is_forbidden() {
            return self.forbidden(what, path, error, need(verb, kind, "", namespace));
        }
        let (code, severity, cure) = match error {
            error if error.is_not_found() && verb == "list" => (MissingCode::NotInstalled, MissingSeverity::Note, ""),
            error if error.is_not_found() => (MissingCode::Gone, MissingSeverity::Note, ""),
            ClusterError::Deadline => (MissingCode::Deadline, MissingSeverity::Error, LONGER),
            ClusterError::TooLarge(_) => (MissingCode::TooLarge, MissingSeverity::Error, ""),
            _ => (MissingCode::ApiError, MissingSeverity::Error, ""),
        };
        missing(what, path, code, severity, &error.to_string(), cure)
    }

    /// A container's log that could not be read.
    pub(super) fn log(&self, item: &Item, error: &ClusterError, namespace: &str) -> Missing {
        if error.is_forbidden() {
            let need = need("get", &ApiKind::namespaced("", "v1", "pods", "Pod"), "log", namespace);
            return self.forbidden(&item.what, item.path.as_str(), error, need);
        }
        let (code, severity, cure) = match log_refusal(error) {
            code @ (MissingCode::NoPrevious | MissingCode::NotStarted | MissingCode::Gone) => {
                (code, MissingSeverity::Note, "")
            }
            MissingCode::NodeUnreachable => (
                MissingCode::NodeUnreachable,
                MissingSeverity::Error,
                "look at the node and its kubelet: the API server cannot reach port 10250",
            ),
            MissingCode::Deadline => (MissingCode::Deadline, MissingSeverity::Error, LONGER),
            code => (code, MissingSeverity::Error, ""),
        };
        missing(&item.what, item.path.as_str(), code, severity, &error.to_string(), cure)
    }
}

const LONGER: &str = "give the collection more time (spec.timeout)";

/// What a refusal to give a log means.
pub(super) fn log_refusal(error: &ClusterError) -> MissingCode {
    match error {
        ClusterError::Status { code: 404, .. } => MissingCode::Gone,
        ClusterError::Status { code: 400, message, .. } => {
            let says = |words: &str| message.contains(words);
            if says("previous terminated container") && says("not found") {
                MissingCode::NoPrevious
            } else if says("is waiting to start") || says("ContainerCreating") || says("PodInitializing") {
                MissingCode::NotStarted
            } else if says("is not valid for pod") {
                MissingCode::Gone
            } else {
                MissingCode::ApiError
            }
        }
        ClusterError::Status { code: 500.., message, .. } => {
            let dial = [
                "dial tcp",
                "connection refused",
                "no route to host",
                "i/o timeout",
                "TLS handshake timeout",
                "connection reset by peer",
                "No agent available",
                "error trying to reach service",
                "no preferred addresses found",
                "context deadline exceeded",
            ];
            if dial.iter().any(|words| message.contains(words)) {
                MissingCode::NodeUnreachable
            } else {
                MissingCode::ApiError
            }
        }
        // The API server waits for the kubelet; it answers everything else at once.
        ClusterError::NoAnswer(_) => MissingCode::NodeUnreachable,
        ClusterError::Deadline => MissingCode::Deadline,
        _ => MissingCode::ApiError,
    }
}

/// The kubelet could not prove who it is.
pub(super) fn is_untrusted_kubelet(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Status { code: 500.., message, .. } if message.contains("x509:"))
}

fn need(verb: &str, kind: &ApiKind, subresource: &str, namespace: &str) -> Need {
    Need {
        verb: verb.to_owned(),
        group: kind.group.clone(),
        resource: kind.plural.clone(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
    }
}

/// A line of `missing[]` that is not about a permission.
pub(super) fn missing(
    what: &str,
    path: &str,
    code: MissingCode,
    severity: MissingSeverity,
    why: &str,
    cure: &str,
) -> Missing {
    Missing {
        what: what.to_owned(),
        path: path.to_owned(),
        code,
        severity,
        why: bounded(why, WHY),
        need: None,
        rule: None,
        cure: cure.to_owned(),
    }
}

/// The item's time was over before it was begun.
pub(super) fn too_late(item: &Item) -> Missing {
    let why = "the time for the collection was over before it was read";
    missing(&item.what, item.path.as_str(), MissingCode::Deadline, MissingSeverity::Error, why, LONGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> ClusterError {
        ClusterError::Status { code, reason: "x".into(), message: message.into() }
    }

    #[test]
    fn answers_to_log_requests_are_told_apart() {
        for (code, message, expected) in [
            (400, "previous terminated container \"cow\" in pod \"herd\" not found", MissingCode::NoPrevious),
            (400, "container \"cow\" in pod \"herd\" is waiting to start: ContainerCreating", MissingCode::NotStarted),
            (400, "container \"cow\" in pod \"herd\" is waiting to start: PodInitializing", MissingCode::NotStarted),
            (400, "container cow is not valid for pod herd", MissingCode::Gone),
            (400, "something else", MissingCode::ApiError),
            (404, "pods \"herd\" not found", MissingCode::Gone),
            (
                500,
                "Get \"https://10.1.1.1:10250/…\": dial tcp 10.1.1.1:10250: connect: connection refused",
                MissingCode::NodeUnreachable,
            ),
            (502, "dial tcp 10.1.1.1:10250: i/o timeout", MissingCode::NodeUnreachable),
            (503, "error trying to reach service", MissingCode::NodeUnreachable),
            (500, "failed to open log file", MissingCode::ApiError),
            (429, "too many requests", MissingCode::ApiError),
        ] {
            assert_eq!(log_refusal(&status(code, message)), expected, "{code} {message}");
        }
        assert_eq!(log_refusal(&ClusterError::Deadline), MissingCode::Deadline);
        assert!(is_untrusted_kubelet(&status(
            500,
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )));
        assert!(!is_untrusted_kubelet(&status(500, "dial tcp: connection refused")));
    }

    fn borders(cluster_read: bool) -> Borders {
        Borders { velero: "backups-ns".into(), cluster_read }
    }

    #[test]
    fn a_refusal_names_the_shipped_rule_and_its_cure() {
        let no = status(403, "no");
        let pods = ApiKind::namespaced("", "v1", "pods", "Pod");
        let one = borders(true).objects("pods", "p", &no, "list", &pods, "backups-ns");
        assert_eq!(
            (one.code, one.severity, one.rule.as_deref()),
            (MissingCode::Forbidden, MissingSeverity::Error, Some("R5"))
        );
        assert_eq!(one.need.unwrap().resource, "pods");
        let other = borders(true).objects("pods", "p", &no, "list", &pods, "bakery");
        assert_eq!((other.severity, other.rule.as_deref()), (MissingSeverity::Error, Some("R24")));
        assert_eq!(other.cure, "bind ClusterRole debugbundle-namespace-read in namespace bakery");
        let off = borders(false).objects("pods", "p", &no, "list", &pods, "bakery");
        assert_eq!(off.severity, MissingSeverity::Note, "what is switched off is no failure");
        let secret = ApiKind::namespaced("", "v1", "secrets", "Secret");
        assert_eq!(borders(true).objects("s", "p", &no, "list", &secret, "bakery").cure, "not offered");
        let services = ApiKind::namespaced("", "v1", "services", "Service");
        let extra = borders(true).objects("s", "p", &no, "list", &services, "backups-ns");
        assert_eq!((extra.severity, extra.rule), (MissingSeverity::Note, None), "not shipped, so nothing has failed");
        assert!(extra.cure.starts_with("add to extraRules of the chart"), "{}", extra.cure);
        assert_eq!(borders(true).objects("s", "p", &no, "list", &services, "bakery").cure, "not offered");
        let velero = ApiKind::namespaced("velero.io", "v2alpha1", "datauploads", "DataUpload");
        assert_eq!(borders(false).objects("d", "p", &no, "list", &velero, "backups-ns").rule.as_deref(), Some("R4"));
    }

    #[test]
    fn a_kind_that_is_not_served_and_an_object_that_is_gone_are_notes() {
        let gone = status(404, "the server could not find the requested resource");
        let kind = ApiKind::namespaced("velero.io", "v1", "backups", "Backup");
        let list = borders(true).objects("x", "p", &gone, "list", &kind, "backups-ns");
        assert_eq!((list.code, list.severity), (MissingCode::NotInstalled, MissingSeverity::Note));
        let get = borders(true).objects("x", "p", &gone, "get", &kind, "backups-ns");
        assert_eq!((get.code, get.severity), (MissingCode::Gone, MissingSeverity::Note));
        let late = borders(true).objects("x", "p", &ClusterError::Deadline, "get", &kind, "backups-ns");
        assert_eq!((late.code, late.severity), (MissingCode::Deadline, MissingSeverity::Error));
    }
}
