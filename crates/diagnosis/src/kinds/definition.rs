//! A CustomResourceDefinition that an error is about, because the API server does not serve its kind: whether it is
//! installed, which versions it serves, and what keeps it from being Established.

use serde_json::Value;

use super::Need;
use crate::graph::{Id, Seen, View, condition, items, text, time};
use crate::kind::Kind;
use crate::reason::RootReason;
use crate::texts::is_name;
use crate::walk::Relation;

/// Groups of Kubernetes that have a dot, and no CustomResourceDefinition
/// (`https://kubernetes.io/docs/reference/kubernetes-api/`).
const BUILT_IN: [&str; 19] = [
    "admissionregistration.k8s.io",
    "apidiscovery.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Whether CustomResourceDefinitions define the kinds of a group.
pub fn is_custom(group: &str) -> bool {
    group.contains('.') && !BUILT_IN.contains(&group)
}

/// The definition that an error is about which says that the API server does not serve a kind.
pub(crate) fn named(error: &str) -> Option<Id> {
    let name = written(error).or_else(|| guessed(error).map(|(name, _)| name))?;
    Some(Id::of_cluster(Kind::CustomResourceDefinition, &name))
}

/// The definition's name, from the text. Velero names it, or the resource in front (`pkg/restore/restore.go`); API servers
/// name the resource behind their words.
fn written(error: &str) -> Option<String> {
    const NOT_FOUND: &str = "could not find the requested resource";
    let between = |before: &str, after: &[char]| error.split_once(before)?.1.split(after).next();
    let name = match between("the CRD ", &[' ']) {
        Some(name) if error.contains("is not available to use") => Some(name),
        _ if !error.contains("no matches for kind ") && !error.contains(NOT_FOUND) => return None,
        _ => {
            let asked = between("the requested resource (", &[')']).and_then(|asked| asked.split(' ').nth(1));
            between("error restoring ", &['/', ':']).or(asked)
        }
    };
    name.filter(|name| is_of_custom(name)).map(str::to_owned)
}

/// The name that the definition has if its plural is regular English, as controller-gen makes it, and its kind: a client
/// that looks for a kind writes only that.
fn guessed(error: &str) -> Option<(String, &str)> {
    let (kind, rest) = error.split_once("no matches for kind \"")?.1.split_once("\" in version \"")?;
    let (group, _) = rest.split_once('"')?.0.split_once('/')?;
    let singular = kind.to_lowercase();
    let plural = match singular.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        None if ["s", "x", "ch", "sh"].iter().any(|end| singular.ends_with(end)) => format!("{singular}es"),
        _ => format!("{singular}s"),
    };
    let name = format!("{plural}.{group}");
    is_of_custom(&name).then_some((name, kind))
}

fn is_of_custom(name: &str) -> bool {
    is_name(name) && name.split_once('.').is_some_and(|(_, group)| is_custom(group))
}

/// The definition that an error is about, with what is known of it: the error is true whatever it is like now.
pub(crate) fn lacking(error: &str, target: &Value, view: &View<'_>) -> Option<Need> {
    let id = named(error)?;
    // A guessed name proves nothing by its absence, and another kind may have it.
    let guess = if written(error).is_some() { None } else { guessed(error) };
    let words = match view.get(&id) {
        Seen::Unread => return None,
        Seen::Absent if guess.is_some() => return None,
        Seen::Found(other) if guess.is_some_and(|(_, kind)| other["spec"]["names"]["kind"] != kind) => return None,
        Seen::Absent => format!("no {id} is installed"),
        Seen::Found(definition) => stands(&id, error, definition, target)?,
    };
    let words = format!("{}: {words}", error.trim_end_matches('.'));
    let need = Need::no(id, words, RootReason::NotServed(error.to_owned())).by(Relation::Named);
    Some(Need { is_uncertain: true, ..need })
}

/// What a definition says of itself; nothing if it is in trouble only since the target ended.
fn stands(id: &Id, error: &str, definition: &Value, target: &Value) -> Option<String> {
    if definition["metadata"]["deletionTimestamp"].is_string() {
        return Some(format!("{id} is being deleted"));
    }
    if let Some(not) = condition(definition, "Established").filter(|one| one["status"] != "True") {
        let (since, ended) = (time(&not["lastTransitionTime"]), time(&target["status"]["completionTimestamp"]));
        if since.zip(ended).is_some_and(|(since, ended)| since > ended) {
            return None;
        }
        let more = ["NamesAccepted", "KubernetesAPIApprovalPolicyConformant"].into_iter();
        let refused = more.filter_map(|kind| condition(definition, kind)).filter(|one| one["status"] == "False");
        let all = std::iter::once(not).chain(refused).map(|one| text(&one["message"]).trim());
        let why: Vec<&str> = all.filter(|message| !message.is_empty()).collect();
        return Some(format!("{id} is not Established: {}", why.join(": ")));
    }
    let served = items(&definition["spec"]["versions"]).iter().filter(|version| version["served"] == true);
    let served: Vec<&str> = served.map(|version| text(&version["name"])).collect();
    let wanted = error.split_once("in version \"").and_then(|(_, rest)| rest.split('"').next()?.rsplit('/').next());
    Some(match served.as_slice() {
        [] => format!("{id} serves no version"),
        all if wanted.is_some_and(|wanted| all.contains(&wanted)) => {
            format!("{id} serves {} now", all.join(" and "))
        }
        all => format!("{id} serves {}", all.join(" and ")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Graph, Known};

    #[test]
    fn an_error_names_a_definition_only_of_a_kind_that_is_not_served() {
        let of = |error: &str| named(error).map(|id| id.name);
        for error in [
            "error restoring widgets.example.com/shop/blue: the CRD widgets.example.com is not available to use for \
             custom resources.",
            "error restoring widgets.example.com/shop/blue: no matches for kind \"Widget\" in version \"example.com/v1\"",
            "error restoring widgets.example.com/blue: the server could not find the requested resource",
            "the server could not find the requested resource (post widgets.example.com)",
        ] {
            assert_eq!(of(error).as_deref(), Some("widgets.example.com"), "{error}");
        }
        for error in [
            "error restoring widgets.example.com/shop/blue: exceeded quota: tight",
            "error restoring pods/shop/blue: the server could not find the requested resource",
            "error restoring ingresses.networking.k8s.io/shop/web: the server could not find the requested resource",
            "error restoring w--.example.com;id/shop/web: the server could not find the requested resource",
            "no matches for kind \"Widget\" in version \"v1\"",
            "no matches for kind \"Ingress\" in version \"networking.k8s.io/v1beta1\"",
            "no matches for kind \"Wid;get\" in version \"example.com/v1\"",
        ] {
            assert_eq!(of(error), None, "{error}");
        }
    }

    #[test]
    fn a_kind_alone_leads_to_a_definition_of_its_regular_name_that_defines_it() {
        let error = |kind: &str| format!("no matches for kind \"{kind}\" in version \"example.com/v1\"");
        for (kind, name) in
            [("Widget", "widgets"), ("Policy", "policies"), ("Gateway", "gateways"), ("Class", "classes")]
        {
            assert_eq!(named(&error(kind)).map(|id| id.name), Some(format!("{name}.example.com")));
        }
        let target = json!({"kind": "Backup"});
        let definition = |kind: &str| {
            json!({"metadata": {"name": "widgets.example.com"}, "spec": {"names": {"kind": kind},
                "versions": [{"name": "v2", "served": true}]}})
        };
        let (same, other) = (definition("Widget"), definition("WidgetSet"));
        let is_said = |known: Known<'_>| {
            let mut graph = Graph::new("velero", jiff::Timestamp::UNIX_EPOCH);
            graph.answer(named(&error("Widget")).unwrap(), known);
            lacking(&error("Widget"), &target, &View::of(&graph, &Id::of(&target))).is_some()
        };
        assert!(is_said(Known::Found(&same)));
        assert!(!is_said(Known::Found(&other)) && !is_said(Known::Absent) && !is_said(Known::Forbidden));
    }

    #[test]
    fn what_is_known_of_a_definition_is_said_and_trouble_after_the_target_is_not() {
        let target = json!({"kind": "Restore", "status": {"completionTimestamp": "2026-03-01T12:00:00Z"}});
        let error = "error restoring widgets.example.com/shop/blue: no matches for kind \"Widget\" in version \
                     \"example.com/v1\"";
        let id = named(error).unwrap();
        let said = |known: Known<'_>| {
            let mut graph = Graph::new("velero", jiff::Timestamp::UNIX_EPOCH);
            graph.answer(id.clone(), known);
            let need = lacking(error, &target, &View::of(&graph, &Id::of(&target)))?;
            let super::super::Met::No(words, _) = need.met else { panic!("it is met") };
            assert!(need.is_uncertain);
            words.strip_prefix(error).map(str::to_owned)
        };
        let definition = |served: &[&str], conditions: Value| {
            let versions: Vec<Value> =
                ["v1", "v2"].iter().map(|name| json!({"name": name, "served": served.contains(name)})).collect();
            json!({"metadata": {"name": "widgets.example.com"}, "spec": {"versions": versions},
                "status": {"conditions": conditions}})
        };
        let not = |since: &str| {
            json!([{"type": "Established", "status": "False", "message": "not accepted", "lastTransitionTime": since},
                {"type": "NamesAccepted", "status": "False", "message": "\"Widget\" is already in use"}])
        };
        for (found, wanted) in [
            (definition(&["v2"], json!([])), ": CustomResourceDefinition widgets.example.com serves v2"),
            (
                definition(&["v1", "v2"], json!([])),
                ": CustomResourceDefinition widgets.example.com serves v1 and v2 now",
            ),
            (definition(&[], json!([])), ": CustomResourceDefinition widgets.example.com serves no version"),
            (
                definition(&["v1"], not("2026-03-01T11:00:00Z")),
                ": CustomResourceDefinition widgets.example.com is not Established: not accepted: \"Widget\" is already in use",
            ),
        ] {
            assert_eq!(said(Known::Found(&found)).as_deref(), Some(wanted));
        }
        assert_eq!(said(Known::Found(&definition(&["v1"], not("2026-03-01T13:00:00Z")))), None);
        assert_eq!(
            said(Known::Absent).as_deref(),
            Some(": no CustomResourceDefinition widgets.example.com is installed")
        );
        assert_eq!(said(Known::Forbidden), None);
    }
}
