//! Velero as a whole: its server, its locations, the node-agent and the repositories. A part that an installation does
//! without is no trouble; only the server has to be there.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Need, Report, State, agent, location, repository, server, target};
use crate::graph::{Graph, Id, View};
use crate::kind::Kind;
use crate::walk::Relation;

pub(super) fn report(view: &View<'_>) -> Report {
    let mut needs = server::needed(view);
    if needs.is_empty() && view.is_listed(&Kind::Deployment, view.velero()) {
        // Something else than a Deployment may run it.
        let missing = Need::see(Id::new(Kind::Deployment, view.velero(), "velero")).by(Relation::Server);
        needs.push(Need { is_uncertain: true, ..missing });
    }
    let has_server = server::ready(view)[0] > 0;
    if !has_server {
        // `parts` counts what waits.
        waiting(view);
    }
    needs.extend(location::of_installation(has_server, view));
    needs.extend(agent::of_installation(view));
    needs.extend(repository::of_installation(has_server, view));
    Report::needing(State::Well, needs)
}

/// How many Backups and Restores Velero has not begun.
fn waiting(view: &View<'_>) -> [usize; 2] {
    [Kind::Backup, Kind::Restore]
        .map(|kind| view.list(kind, view.velero()).filter(|one| target::is_waiting(one)).count())
}

/// How the parts of an installation stand: how many are ready, of how many. `None`: they were not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallationParts {
    /// Pods of Velero's server.
    pub server: Option<[usize; 2]>,
    /// Pods of the node-agent, which an installation may do without.
    pub node_agent: Option<[usize; 2]>,
    /// BackupStorageLocations that are Available.
    pub locations: Option<[usize; 2]>,
    /// BackupRepositories that are Ready.
    pub repositories: Option<[usize; 2]>,
    /// Backups and Restores that Velero has not begun; only counted while no server is ready.
    pub waiting: Option<[usize; 2]>,
}

/// Counts what is known of the parts of an installation.
pub fn parts(graph: &Graph<'_>) -> InstallationParts {
    let target = Id::installation(graph.velero());
    let view = View::of(graph, &target);
    let is_listed = |kind: Kind| view.is_listed(&kind, view.velero());
    let in_phase = |kind: Kind, phase: &str| {
        is_listed(kind.clone()).then(|| {
            let all = || view.list(kind.clone(), view.velero());
            [all().filter(|one| one["status"]["phase"] == phase).count(), all().count()]
        })
    };
    let server = (is_listed(Kind::Deployment) && is_listed(Kind::Pod)).then(|| server::ready(&view));
    let is_waited_for =
        server.is_some_and(|[ready, _]| ready == 0) && is_listed(Kind::Backup) && is_listed(Kind::Restore);
    InstallationParts {
        server,
        node_agent: is_listed(Kind::DaemonSet).then(|| agent::ready(&view).unwrap_or_default()),
        locations: in_phase(Kind::BackupStorageLocation, "Available"),
        repositories: in_phase(Kind::BackupRepository, "Ready"),
        waiting: is_waited_for.then(|| waiting(&view)),
    }
}

impl InstallationParts {
    /// `server 1 of 1 ready, node-agent 3 of 3 ready, 2 locations available, 3 of 4 repositories ready`.
    pub fn words(&self) -> String {
        let pods = |name: &str, counted: Option<[usize; 2]>| match counted {
            None => format!("{name} not read"),
            Some([_, 0]) => format!("no {name}"),
            Some([ready, all]) => format!("{name} {ready} of {all} ready"),
        };
        let objects = |[one, many]: [&str; 2], is: &str, counted: Option<[usize; 2]>| match counted {
            None => format!("{many} not read"),
            Some([_, 0]) => format!("no {one}"),
            Some([1, 1]) => format!("1 {one} {is}"),
            Some([ready, all]) if ready == all => format!("{all} {many} {is}"),
            Some([ready, all]) => format!("{ready} of {all} {many} {is}"),
        };
        let mut words = vec![
            pods("server", self.server),
            pods("node-agent", self.node_agent),
            objects(["location", "locations"], "available", self.locations),
            objects(["repository", "repositories"], "ready", self.repositories),
        ];
        if let Some([backups, restores]) = self.waiting.filter(|waiting| *waiting != [0, 0]) {
            let counted = |number, kind| format!("{number} {kind}{}", if number == 1 { "" } else { "s" });
            words.push(format!("{} and {} wait", counted(backups, "Backup"), counted(restores, "Restore")));
        }
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Confidence, line, walk};

    const NOW: &str = "2026-03-01T12:00:00Z";

    fn object(kind: &str, name: &str, content: &Value) -> Value {
        let mut object = json!({"kind": kind, "metadata": {"name": name, "namespace": "v"}});
        object.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
        object
    }

    /// Two thirds of an installation: the server, with a ready pod if it has one, and a location.
    fn installed(has_pod: bool, location: &str) -> Vec<Value> {
        let spec = json!({"replicas": 1, "selector": {"matchLabels": {"deploy": "velero"}}, "template": {"spec": {
            "containers": [{"name": "velero"}]}}});
        let status = json!({"phase": "Running", "containerStatuses": [{"name": "velero", "ready": true}]});
        let mut pod = object("Pod", "velero-1", &json!({"status": status}));
        pod["metadata"]["labels"] = json!({"deploy": "velero"});
        let location = json!({"status": {"phase": location, "message": "NoSuchBucket"}});
        let mut all = vec![object("Deployment", "velero", &json!({"spec": spec}))];
        all.extend(has_pod.then_some(pod));
        all.push(object("BackupStorageLocation", "eu", &location));
        all
    }

    fn explained(graph: &Graph<'_>) -> Vec<(String, Confidence)> {
        let found = walk(graph, &Id::installation("v"));
        found.roots.iter().map(|root| (line(root), root.confidence)).collect()
    }

    fn of(objects: &[Value]) -> Vec<(String, Confidence)> {
        let mut graph = Graph::new("v", NOW.parse().unwrap());
        for object in objects {
            graph.add(object);
        }
        explained(&graph.whole())
    }

    #[test]
    fn what_a_location_reports_is_certain_only_while_a_server_looks_at_it() {
        let unavailable = "BackupStorageLocation eu is Unavailable: NoSuchBucket".to_owned();
        assert_eq!(of(&installed(true, "Unavailable")), [(unavailable.clone(), Confidence::Certain)]);
        let without = ("Deployment velero of Velero's server has no pod".to_owned(), Confidence::Certain);
        assert_eq!(of(&installed(false, "Unavailable")), [without, (unavailable, Confidence::Likely)]);
        assert_eq!(of(&installed(true, "Available")), []);
    }

    #[test]
    fn without_a_deployment_something_else_may_run_the_server() {
        let missing = "Deployment v/velero does not exist".to_owned();
        assert_eq!(of(&installed(true, "Available")[1..]), [(missing, Confidence::Likely)]);
        assert_eq!(explained(&Graph::new("v", NOW.parse().unwrap())), [], "nothing was read");
    }

    #[test]
    fn a_refused_agent_is_a_cause_while_the_event_repeats_and_the_pods_are_known() {
        let status = json!({"numberReady": 0, "desiredNumberScheduled": 1});
        let set = object(
            "DaemonSet",
            "node-agent",
            &json!({"status": status, "spec": {"selector": {"matchLabels": {"a": "b"}}}}),
        );
        let event = |at: &str| {
            object(
                "Event",
                "e",
                &json!({"type": "Warning", "reason": "FailedCreate", "message": "no", "lastTimestamp": at,
                "involvedObject": {"kind": "DaemonSet", "name": "node-agent"}}),
            )
        };
        for (at, expected) in [("2026-03-01T11:50:00Z", 1), ("2026-03-01T11:20:00Z", 0)] {
            let mut all = installed(true, "Available");
            all.extend([set.clone(), event(at)]);
            assert_eq!(of(&all).len(), expected, "{at}");
            let mut graph = Graph::new("v", NOW.parse().unwrap());
            all.iter().filter(|object| object["kind"] != "Pod").for_each(|object| graph.add(object));
            for kind in [Kind::DaemonSet, Kind::Event] {
                graph.listed(kind, "v");
            }
            assert_eq!(explained(&graph), [], "the pods were not read");
        }
    }

    #[test]
    fn parts_are_counted_and_what_was_not_read_is_not() {
        let mut graph = Graph::new("v", NOW.parse().unwrap());
        let all = installed(true, "Unavailable");
        for object in &all {
            graph.add(object);
        }
        assert_eq!(
            parts(&graph).words(),
            "server not read, node-agent not read, locations not read, repositories not read"
        );
        let words = "server 1 of 1 ready, no node-agent, 0 of 1 locations available, no repository";
        assert_eq!(parts(&graph.whole()).words(), words);
        let mut all = installed(false, "Available");
        let new = |kind: &str, name: &str| object(kind, name, &json!({"status": {"phase": "New"}}));
        all.extend([new("Backup", "a"), new("Backup", "b"), new("Restore", "a")]);
        let mut graph = Graph::new("v", NOW.parse().unwrap());
        for object in &all {
            graph.add(object);
        }
        let words =
            "server 0 of 1 ready, no node-agent, 1 location available, no repository, 2 Backups and 1 Restore wait";
        assert_eq!(parts(&graph.whole()).words(), words);
    }
}
