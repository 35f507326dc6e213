//! Objects that an error names. Texts are written by tenants, so a name is only a lead: it is followed after all
//! references, what is found there is at most likely, and no Secret or ConfigMap is ever looked at.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use crate::graph::{Id, Seen, View, condition, items, time};
use crate::kind::Kind;
use crate::kinds::{Need, may_touch, named_definition};
use crate::texts::{item, unwrapped};
use crate::walk::Relation;

/// Most leads of one text.
const MOST: usize = 20;

/// `pods shop/db-0`, `PersistentVolumeClaim "data"`, `nodes "a"`: a kind as Kubernetes' and Velero's errors write it, then
/// a name that a quotation mark, a namespace or a digit shows to be one.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let name = "[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?";
    let kinds =
        "pods?|persistentvolumeclaims?|pvcs?|persistentvolumes?|pvs?|nodes?|volumesnapshots?|volumesnapshotcontents?";
    Regex::new(&format!(r#"(?i:\b({kinds}))(?:\.[a-z0-9.]+)?[ /:]+("?)({name})(?:/({name}))?("?)"#)).ok()
});

/// The objects that an error names with all of their name: the namespaced ones with their namespace. Nothing shows that
/// they exist, or that the error is right.
pub fn named(error: &str) -> Vec<Id> {
    let mut found = named_around(&unwrapped(error), None);
    found.extend(named_definition(error));
    found
}

/// `around`: the namespace of names that have none.
fn named_around(error: &str, around: Option<&str>) -> Vec<Id> {
    let mut found: Vec<Id> = Vec::new();
    let named = NAMED.iter().flat_map(|pattern| pattern.captures_iter(error));
    for one in named.take(MOST) {
        let Some(kind) = kind(&one[1]) else { continue };
        let is_of_cluster = matches!(kind, Kind::Node | Kind::PersistentVolume | Kind::VolumeSnapshotContent);
        let is_quoted = !one[2].is_empty() && !one[5].is_empty();
        let id = match (one.get(4), is_of_cluster) {
            (Some(name), false) => Id::new(kind, &one[3], name.as_str()),
            (None, _) if !is_quoted && !one[3].contains(|char: char| char.is_ascii_digit()) => continue,
            (None, true) => Id::of_cluster(kind, &one[3]),
            (None, false) => match around {
                Some(namespace) => Id::new(kind, namespace, &one[3]),
                None => continue,
            },
            (Some(_), true) => continue,
        };
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

/// The objects that an error of `speaker` names and that are known, each with what it needs of them: none of another
/// namespace than the target's or Velero's, and none whose trouble may have begun after the target's end.
pub(crate) fn of(error: &str, speaker: &Id, object: &Value, view: &View<'_>) -> Vec<Need> {
    let Seen::Found(target) = view.get(view.target()) else { return Vec::new() };
    let error = unwrapped(error);
    let is_allowed = |id: &Id| {
        let is_near = id.namespace.is_empty() || id.namespace == view.velero() || may_touch(target, &id.namespace);
        is_near && id != speaker
    };
    let ended = time(&target["status"]["completionTimestamp"]);
    let in_time = |id: &Id| match view.get(id) {
        Seen::Found(lead) => ended.is_none_or(|ended| began(id, lead, view).is_some_and(|began| began <= ended)),
        _ => false,
    };
    let found = named_around(&error, namespace(&error, speaker, object));
    let found = found.into_iter().filter(|id| is_allowed(id) && in_time(id));
    found.map(|id| Need { is_uncertain: true, ..Need::see(id) }.by(Relation::Named)).collect()
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word.to_lowercase().trim_end_matches('s') {
        "pod" => Kind::Pod,
        "persistentvolumeclaim" | "pvc" => Kind::PersistentVolumeClaim,
        "persistentvolume" | "pv" => Kind::PersistentVolume,
        "node" => Kind::Node,
        "volumesnapshot" => Kind::VolumeSnapshot,
        "volumesnapshotcontent" => Kind::VolumeSnapshotContent,
        _ => return None,
    })
}

/// The namespace that an error is about: that of the item of a Restore, else that of the object that says it.
pub(crate) fn namespace<'a>(error: &'a str, speaker: &'a Id, object: &'a Value) -> Option<&'a str> {
    if let Some((_, namespace, _)) = item(error) {
        return Some(namespace);
    }
    if !matches!(speaker.kind, Kind::Backup | Kind::Restore) {
        return Some(speaker.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    }
    match items(&object["spec"]["includedNamespaces"]) {
        [one] => one.as_str().map(|name| object["spec"]["namespaceMapping"][name].as_str().unwrap_or(name)),
        _ => None,
    }
    .filter(|name| !name.contains('*'))
}

/// Since when an object may be in trouble.
fn began(id: &Id, object: &Value, view: &View<'_>) -> Option<Timestamp> {
    let ready = condition(object, "Ready").filter(|ready| ready["status"] != "True");
    let changed = ready.and_then(|ready| time(&ready["lastTransitionTime"]));
    if matches!(id.kind, Kind::Pod | Kind::Node) {
        return changed;
    }
    let warned = view.warnings(id).into_iter().filter_map(|event| time(&event["firstTimestamp"]));
    warned.chain(time(&object["metadata"]["creationTimestamp"])).min()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Graph;

    fn named(error: &str) -> Vec<String> {
        let restore = json!({"kind": "Restore", "metadata": {"namespace": "velero", "name": "r1"},
            "spec": {"includedNamespaces": ["shop"]}});
        let object = |kind: &str, namespace: &str, name: &str| json!({"kind": kind, "metadata": {"namespace": namespace, "name": name}});
        let all = [
            object("Pod", "shop", "db-0"),
            object("Pod", "velero", "mover"),
            object("Pod", "vault", "db-0"),
            object("PersistentVolumeClaim", "shop", "data"),
            object("Node", "", "n1"),
            object("Secret", "shop", "s1"),
            object("ConfigMap", "shop", "c1"),
        ];
        let mut graph = Graph::new("velero", Timestamp::UNIX_EPOCH);
        graph.add(&restore);
        for one in &all {
            graph.add(one);
        }
        let graph = graph.whole();
        let id = Id::of(&restore);
        let view = View::of(&graph, &id);
        of(error, &id, &restore, &view).into_iter().map(|need| need.to.to_string()).collect()
    }

    #[test]
    fn only_valid_names_in_namespaces_of_the_target_are_leads_and_no_secrets() {
        assert_eq!(
            named("pods shop/db-0: no volume, persistentvolumeclaims \"data\" is Pending"),
            ["Pod shop/db-0", "PersistentVolumeClaim shop/data"]
        );
        assert_eq!(named("node n1 has no agent, pod velero/mover"), ["Node n1", "Pod velero/mover"]);
        for none in [
            "pods vault/db-0: why",
            "pod data is running",
            "secrets \"s1\" and configmaps \"c1\" not found",
            "pods shop/--all",
            "pods \"gone\" not found",
        ] {
            assert_eq!(named(none), [""; 0], "{none}");
        }
        let many = (0..40).map(|number| format!("pods shop/p{number}")).collect::<Vec<_>>().join(", ");
        assert_eq!(named(&(many + ", pods shop/db-0")), [""; 0], "at most 20 names are looked at");
    }
}
