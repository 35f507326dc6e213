//! Why an item is not in the bundle, and what would cure it: the only place that turns answers of the API server into
//! lines of `missing[]`. `store_files` does so for the object store, `access` names the rule that a refusal needs.

use std::io;

use debugbundle_archive::{RulesOver, SpoolError};
use debugbundle_format::manifest::{Missing, MissingCode, MissingSeverity};

use crate::{
    access::{ReadScope, need},
    cluster::{ApiKind, ClusterError, bounded, chain},
    plan::Item,
};

/// Most bytes of `why`.
const WHY: usize = 512;

impl ReadScope {
    /// A line for objects that could not be read.
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
            return self.forbidden(what, path, &error.to_string(), need(verb, kind, "", Some(namespace)));
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

    /// A line for a container's log that could not be read.
    pub(super) fn log(&self, item: &Item, error: &ClusterError, namespace: &str) -> Missing {
        if error.is_forbidden() {
            let need = need("get", &ApiKind::namespaced("", "v1", "pods", "Pod"), "log", Some(namespace));
            return self.forbidden(&item.what, item.path.as_str(), &error.to_string(), need);
        }
        let (code, severity, cure) = match log_refusal(error) {
            code @ (MissingCode::NoPrevious | MissingCode::NotStarted | MissingCode::Gone) => {
                (code, MissingSeverity::Note, "")
            }
            MissingCode::NodeUnreachable => (MissingCode::NodeUnreachable, MissingSeverity::Error, node_cure(error)),
            MissingCode::Deadline => (MissingCode::Deadline, MissingSeverity::Error, LONGER),
            code => (code, MissingSeverity::Error, ""),
        };
        let why = match (error, &item.node) {
            (ClusterError::NoAnswer(_) | ClusterError::Stalled(_), Some(node)) => {
                format!("{error} from the kubelet of node {node}")
            }
            _ => error.to_string(),
        };
        missing(&item.what, item.path.as_str(), code, severity, &why, cure)
    }
}

/// What to do about a node whose kubelet sends no log.
pub(super) fn node_cure(error: &ClusterError) -> &'static str {
    match error {
        ClusterError::NoAnswer(_) | ClusterError::Stalled(_) => {
            "check the node, its kubelet and its disks: the kubelet accepts a request for a log and sends nothing"
        }
        _ => "check the node and its kubelet: the API server cannot reach port 10250",
    }
}

const LONGER: &str = "give the collection more time (spec.timeout)";

/// The meaning of an error for a log request.
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
        // The API server answers all other requests at once: here it waits for the kubelet.
        ClusterError::NoAnswer(_) | ClusterError::Stalled(_) => MissingCode::NodeUnreachable,
        ClusterError::Deadline => MissingCode::Deadline,
        _ => MissingCode::ApiError,
    }
}

/// Whether the kubelet's certificate is not trusted.
pub(super) fn is_untrusted_kubelet(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Status { code: 500.., message, .. } if message.contains("x509:"))
}

/// A line of `missing[]` for a reason other than a permission.
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

/// A line for an item whose time was over before it was begun.
pub(super) fn too_late(item: &Item) -> Missing {
    let why = "the time limit of the collection was reached before this item was read";
    missing(&item.what, item.path.as_str(), MissingCode::Deadline, MissingSeverity::Error, why, LONGER)
}

/// The cure for a lack of room.
pub(super) const LARGER: &str =
    "raise the operator's --spool-limit-mib and --bundle-limit-mib, or collect less (spec.logs)";

/// A line for an item that the spool could not hold, not even alone.
pub(crate) fn no_room(what: &str, path: &str, error: &SpoolError) -> Missing {
    missing(what, path, MissingCode::TooLarge, MissingSeverity::Error, &error.to_string(), LARGER)
}

/// A line for an item that could not be redacted, or not as the user's rules demand.
pub(crate) fn not_redacted(what: &str, path: &str, error: &io::Error) -> Missing {
    if RulesOver::is(error) { without_rules(what, path) } else { withheld(what, path, &chain(error)) }
}

/// A line for an item that the user's rules had no time for.
pub(super) fn without_rules(what: &str, path: &str) -> Missing {
    let cure = "simplify redaction.rules, above all those that begin with `.*` or a repetition, or collect less \
                (spec.logs)";
    missing(what, path, MissingCode::Withheld, MissingSeverity::Error, &RulesOver.to_string(), cure)
}

/// A line for an item that was withheld.
pub(super) fn withheld(what: &str, path: &str, why: &str) -> Missing {
    missing(what, path, MissingCode::Withheld, MissingSeverity::Error, why, "")
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

    fn read_scope() -> ReadScope {
        ReadScope::new("backups-ns", true, &[])
    }

    #[test]
    fn a_refusal_names_the_right_that_lacked_and_the_rule_that_gives_it() {
        let no = status(403, "no");
        let pods = ApiKind::namespaced("", "v1", "pods", "Pod");
        let lost = read_scope().objects("pods", "p", &no, "list", &pods, "backups-ns");
        let told = (lost.code, lost.severity, lost.rule.as_deref(), lost.why.as_str());
        assert_eq!(told, (MissingCode::Forbidden, MissingSeverity::Error, Some("R5"), "403 x: no"));
        assert_eq!(lost.need.unwrap().resource, "pods");
    }

    #[test]
    fn a_kind_that_is_not_served_and_an_object_that_is_gone_are_notes() {
        let gone = status(404, "the server could not find the requested resource");
        let kind = ApiKind::namespaced("velero.io", "v1", "backups", "Backup");
        let list = read_scope().objects("x", "p", &gone, "list", &kind, "backups-ns");
        assert_eq!((list.code, list.severity), (MissingCode::NotInstalled, MissingSeverity::Note));
        let get = read_scope().objects("x", "p", &gone, "get", &kind, "backups-ns");
        assert_eq!((get.code, get.severity), (MissingCode::Gone, MissingSeverity::Note));
        let late = read_scope().objects("x", "p", &ClusterError::Deadline, "get", &kind, "backups-ns");
        assert_eq!((late.code, late.severity), (MissingCode::Deadline, MissingSeverity::Error));
    }
}
