//! Reports what discovery could not read as lines of `missing[]`: each kind once per namespace, unless an item
//! reports the same.

use debugbundle_format::manifest::{Missing, MissingCode};

use crate::{
    access::ReadScope,
    discovery::{Snapshot, Unread},
    plan::{Item, list_path},
};

/// Without the list of the pods in Velero's namespace nobody knows which logs there are: no item reports their loss.
const AND_LOGS: &str = ", and so the logs of Velero's server, node-agents and plugins";
/// Stands for all namespaces in a path: no namespace can have this name.
const EVERYWHERE: &str = "namespaces/_all";

/// The kinds that could not be read. A refused kind is left out if an item lists the same: it will be refused, too, and
/// report it.
pub(super) fn unread(snapshot: &Snapshot, items: &[Item], read_scope: &ReadScope) -> Vec<Missing> {
    let told = |unread: &&Unread| {
        let same = |item: &Item| item.source.lists(&unread.kind, &unread.namespace);
        unread.why.is_forbidden() && items.iter().any(same)
    };
    let lost = |unread: &Unread| {
        let Unread { what, kind, namespace, why } = unread;
        let file = list_path(kind, Some(namespace)).as_str().to_owned();
        let path = match namespace.as_str() {
            "" if kind.namespaced => format!("{EVERYWHERE}/{}", kind.plural),
            // The file may exist all the same: its objects are requested by name.
            _ if items.iter().any(|item| item.path.as_str() == file) => file.trim_end_matches(".yaml").to_owned(),
            _ => file,
        };
        let logs = kind.plural == "pods" && *namespace == snapshot.installation.namespace;
        let what = format!("{what}{}", if logs { AND_LOGS } else { "" });
        read_scope.objects(&what, &path, why, "list", kind, namespace)
    };
    snapshot.gaps.unread.iter().filter(|unread| !told(unread)).map(lost).collect()
}

/// Adds the lines that `missing` does not contain yet.
pub(super) fn add(missing: &mut Vec<Missing>, unread: Vec<Missing>) {
    for lost in unread {
        if !missing.iter().any(|told| tells(told, &lost)) {
            missing.push(lost);
        }
    }
}

/// Whether both are about the same kind in the same namespace, for any verb that was refused.
fn tells(told: &Missing, lost: &Missing) -> bool {
    let same_right = match (&told.need, &lost.need) {
        (Some(told), Some(lost)) => {
            (&told.group, &told.resource, &told.subresource, &told.namespace)
                == (&lost.group, &lost.resource, &lost.subresource, &lost.namespace)
        }
        _ => false,
    };
    let refused = told.code == MissingCode::Forbidden && lost.code == MissingCode::Forbidden;
    (refused && same_right) || (told.path == lost.path && told.code == lost.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::need,
        cluster::{ApiKind, ClusterError},
        discovery::fixture,
        plan::{ItemSource, Priority},
        velero::ObjectName,
    };

    fn forbidden() -> ClusterError {
        ClusterError::Status { code: 403, reason: "Forbidden".into(), message: "no".into() }
    }

    fn lost(kind: &ApiKind, namespace: &str, why: ClusterError) -> Unread {
        Unread {
            what: format!("list of {} in {namespace}", kind.plural),
            kind: kind.clone(),
            namespace: namespace.into(),
            why,
        }
    }

    #[test]
    fn what_was_refused_has_a_place_and_a_rule_and_is_told_once() {
        let [pods, claims] = [("pods", "Pod"), ("persistentvolumeclaims", "PersistentVolumeClaim")]
            .map(|(plural, kind)| ApiKind::namespaced("", "v1", plural, kind));
        let mut snapshot = fixture::snapshot();
        snapshot.gaps.unread = vec![
            lost(&pods, "shop", forbidden()),
            lost(&pods, "shop", forbidden()),
            lost(&claims, "shop", ClusterError::Deadline),
            lost(&pods, "", forbidden()),
            lost(&pods, "barn", ClusterError::Deadline),
            lost(&pods, &snapshot.installation.namespace, ClusterError::Deadline),
        ];
        let read_scope = ReadScope::new(&snapshot.installation.namespace, false, &[]);
        let objects = vec![ObjectName { namespace: "shop".into(), name: "ledger".into(), uid: None }];
        let (path, source) = (list_path(&claims, Some("shop")), ItemSource::Named { kind: claims, objects });
        let item = Item { what: "claims".into(), path, source, priority: Priority::P1, node: None };
        let open = unread(&snapshot, &[item], &read_scope);
        let told = |missing: &[Missing]| -> Vec<(String, Option<String>)> {
            missing.iter().map(|one| (one.path.clone(), one.rule.clone())).collect()
        };
        let line = |path: &str, rule: Option<&str>| (path.to_owned(), rule.map(str::to_owned));
        let others = [
            line("namespaces/shop/core/persistentvolumeclaims", None),
            line("namespaces/_all/pods", Some("R24")),
            line("namespaces/barn/core/pods.yaml", None),
            line("namespaces/keep/core/pods.yaml", None),
        ];
        let logs: Vec<&str> =
            open.iter().filter(|one| one.what.ends_with(AND_LOGS)).map(|one| one.path.as_str()).collect();
        assert_eq!(logs, ["namespaces/keep/core/pods.yaml"]);
        let mut missing = Vec::new();
        add(&mut missing, open.clone());
        assert_eq!(told(&missing)[0], line("namespaces/shop/core/pods.yaml", Some("R24")));
        assert_eq!(told(&missing)[1..], others);
        assert_eq!(missing[0].cure, "bind ClusterRole debugbundle-namespace-read in namespace shop");
        // A refusal by name is not reported again.
        let need = need("get", &pods, "", Some("shop"));
        let mut missing = vec![read_scope.forbidden("by name", "namespaces/shop/core/pods.yaml", "403", need)];
        add(&mut missing, open);
        assert_eq!(told(&missing[1..]), others);
    }
}
