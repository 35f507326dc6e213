//! The pods that a Restore made: one that never became ready is a loss that the Restore does not tell.

use jiff::SignedDuration;
use serde_json::Value;

use super::{Need, namespace};
use crate::graph::{Graph, Id, View, condition, text, time};
use crate::kind::Kind;
use crate::label::valid_label;
use crate::walk::Relation;

/// Velero's label on what it makes (`pkg/apis/velero/v1/labels_annotations.go`).
const LABEL: &str = "velero.io/restore-name";
/// Trouble that began later after the end of the Restore is no matter of the Restore.
const BELONGS: SignedDuration = SignedDuration::from_mins(15);

/// The pods that a Restore that ended made, and that have not been ready since then.
pub(super) fn needed(id: &Id, target: &Value, view: &View<'_>) -> Vec<Need> {
    let Some(ended) = time(&target["status"]["completionTimestamp"]) else { return Vec::new() };
    // `made` counts the claims.
    view.with_label(&Kind::PersistentVolumeClaim, LABEL, &valid_label(&id.name));
    let in_trouble = of_it(&Kind::Pod, id, target, view).filter(|pod| {
        let since = match condition(pod, "Ready") {
            Some(ready) if ready["status"] == "True" => return false,
            Some(ready) => time(&ready["lastTransitionTime"]),
            None => time(&pod["status"]["startTime"]),
        };
        pod["status"]["phase"] != "Succeeded" && since.is_none_or(|since| since.duration_since(ended) <= BELONGS)
    });
    in_trouble.map(|pod| Need::see(Id::of(pod)).by(Relation::Restored)).collect()
}

/// The objects of a kind that a Restore made.
fn of_it<'a>(kind: &Kind, id: &Id, target: &Value, view: &View<'a>) -> impl Iterator<Item = &'a Value> {
    // Another installation may have a Restore of this name.
    let backup = valid_label(text(&target["spec"]["backupName"]));
    view.with_label(kind, LABEL, &valid_label(&id.name)).into_iter().filter(move |one| {
        let named = one["metadata"]["labels"]["velero.io/backup-name"].as_str();
        named.is_none_or(|name| name == backup) && namespace::may_touch(target, text(&one["metadata"]["namespace"]))
    })
}

/// What a Restore made and how it stands, as far as it was read: `42 pods run`, `6 of 7 claims are bound`.
pub fn made(graph: &Graph<'_>, id: &Id) -> Vec<String> {
    let Some(target) = graph.object(id).filter(|_| id.kind == Kind::Restore) else { return Vec::new() };
    let view = View::of(graph, id);
    let counted = |kind: Kind, is_well: fn(&Value) -> bool| {
        let all: Vec<&Value> = of_it(&kind, id, target, &view).collect();
        [all.iter().filter(|one| is_well(one)).count(), all.len()]
    };
    let pods = counted(Kind::Pod, |pod| {
        pod["status"]["phase"] == "Succeeded" || condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
    });
    let claims = counted(Kind::PersistentVolumeClaim, |claim| claim["status"]["phase"] == "Bound");
    let words = |[well, all]: [usize; 2], [one, many]: [&str; 2], [is, are]: [&str; 2]| match (well, all) {
        (_, 0) => None,
        (1, 1) => Some(format!("1 {one} {is}")),
        (well, all) if well == all => Some(format!("{all} {many} {are}")),
        (well, all) => Some(format!("{well} of {all} {many} {are}")),
    };
    let pods = words(pods, ["pod", "pods"], ["runs", "run"]);
    pods.into_iter().chain(words(claims, ["claim", "claims"], ["is bound", "are bound"])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_restore_made_is_counted_and_nothing_of_others() {
        let restore = json!({"kind": "Restore", "metadata": {"namespace": "velero", "name": "r1"},
            "spec": {"backupName": "seed", "includedNamespaces": ["shop"]}});
        let object = |kind: &str, (namespace, name): (&str, &str), status: Value| {
            json!({"kind": kind, "metadata": {"namespace": namespace, "name": name, "labels": {LABEL: "r1"}},
                "status": status})
        };
        let ready = |status: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": status}]});
        let mut all = vec![
            object("Pod", ("shop", "a"), ready("True")),
            object("Pod", ("shop", "job"), json!({"phase": "Succeeded"})),
            object("Pod", ("other", "a"), ready("True")),
            object("PersistentVolumeClaim", ("shop", "data"), json!({"phase": "Bound"})),
        ];
        let count = |all: &[Value]| {
            let mut graph = Graph::new("velero", jiff::Timestamp::UNIX_EPOCH);
            graph.add(&restore);
            for one in all {
                graph.add(one);
            }
            made(&graph, &Id::of(&restore))
        };
        assert_eq!(count(&all), ["2 pods run", "1 claim is bound"]);
        all.push(object("Pod", ("shop", "b"), ready("False")));
        assert_eq!(count(&all), ["2 of 3 pods run", "1 claim is bound"]);
        assert_eq!(count(&[]), [""; 0]);
    }
}
