//! Velero's server: its Deployment, the pods of it, and the arguments that keep it from a kind of work.

use serde_json::Value;

use super::{Need, Report, State, container, pod, pods_of};
use crate::graph::{Id, View, condition, items, text, time};
use crate::kind::Kind;
use crate::reason::RootReason;
use crate::walk::Relation;

/// The Deployments of the server, for a target that waits for it.
pub(super) fn needed(view: &View<'_>) -> Vec<Need> {
    servers(view).map(|server| Need::see(Id::of(server)).by(Relation::Server)).collect()
}

/// As `velero install`, the Helm chart and OADP label them. Plugins have Deployments with the same label, which do not
/// run the server.
fn servers<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    view.list(Kind::Deployment, view.velero()).filter(|deployment| {
        let metadata = &deployment["metadata"];
        let labels = &metadata["labels"];
        let is_labelled = labels["component"] == "velero" || labels["app.kubernetes.io/name"] == "velero";
        let runs_it = container_of(&deployment["spec"]["template"]["spec"]).is_some();
        metadata["name"] == "velero" || (is_labelled && runs_it)
    })
}

pub(super) fn report(id: &Id, deployment: &Value, view: &View<'_>) -> Report {
    let spec = &deployment["spec"]["template"]["spec"];
    let server = container_of(spec);
    let told = items(&spec["containers"]).iter().filter(|one| server.is_none_or(|server| server == text(&one["name"])));
    if let Some((words, flag)) = told.into_iter().find_map(|one| said_by(&arguments(one), &view.target().kind)) {
        return Report::of(State::says(words, RootReason::Flag(flag)));
    }
    let pods: Vec<&Value> = pods_of(deployment, view).collect();
    if pods.iter().any(|pod| lacks(pod, server).is_none()) {
        return Report::of(State::Well);
    }
    if !view.is_listed(&Kind::Pod, &id.namespace) && pods.is_empty() {
        return Report::of(State::Well);
    }
    let replicas = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let refused = condition(deployment, "ReplicaFailure").filter(|condition| condition["status"] == "True");
    let since_unavailable = condition(deployment, "Available").filter(|one| one["status"] == "False");
    let since_unavailable = since_unavailable.and_then(|one| time(&one["lastTransitionTime"]));
    let is_rolled_out = pods.is_empty() && replicas > 0 && refused.is_none() && pod::is_recent(since_unavailable, view);
    let are_starting = !pods.is_empty() && pods.iter().all(|pod| pod::is_starting(pod, view));
    let needs = pods.iter().map(|pod| Need::see(Id::of(pod))).collect();
    if is_rolled_out || are_starting {
        return Report::needing(State::Well, needs);
    }
    let (words, reason) = match (pods.first().and_then(|pod| lacks(pod, server)), refused) {
        (Some(lacks), _) => (format!("no pod of Velero's server is ready: {lacks}"), RootReason::Shown),
        (None, _) if replicas == 0 => {
            (format!("{} of Velero's server is scaled to 0 replicas", short(id)), RootReason::ScaledToZero)
        }
        (None, Some(refused)) => {
            let why = text(&refused["message"]).trim();
            (format!("{} of Velero's server has no pod: {why}", short(id)), RootReason::Said(why.to_owned()))
        }
        (None, None) => (format!("{} of Velero's server has no pod", short(id)), RootReason::Shown),
    };
    Report::needing(State::says(words, reason), needs)
}

/// How many pods of the server are ready, of how many that its Deployments want.
pub(super) fn ready(view: &View<'_>) -> [usize; 2] {
    servers(view).fold([0, 0], |[ready, all], deployment| {
        let server = container_of(&deployment["spec"]["template"]["spec"]);
        let here = pods_of(deployment, view).filter(|pod| lacks(pod, server).is_none()).count();
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        [ready + here, all + usize::try_from(wanted).unwrap_or(usize::MAX).max(here)]
    })
}

/// The Deployment of the server that has this pod; without one, the first.
pub(crate) fn of_pod(pod: Option<&Id>, view: &View<'_>) -> Option<Id> {
    let has_it = |server: &&Value| pod.is_none_or(|pod| pods_of(server, view).any(|one| Id::of(one) == *pod));
    servers(view).find(has_it).map(Id::of)
}

fn short(id: &Id) -> String {
    format!("Deployment {}", id.name)
}

/// What is not ready in a server's pod; `None` if Velero works in it, even if containers beside it do not.
fn lacks(pod: &Value, server: Option<&str>) -> Option<String> {
    let name = text(&pod["metadata"]["name"]);
    if pod["status"]["phase"] != "Running" {
        return Some(format!("pod {name} is {}", text(&pod["status"]["phase"])));
    }
    let statuses = items(&pod["status"]["containerStatuses"]);
    // If Velero's container is unknown, all have to be ready.
    let is_known = server.is_some_and(|server| statuses.iter().any(|one| one["name"] == server));
    let counted = statuses.iter().filter(|one| !is_known || one["name"] == server.unwrap_or_default());
    let lacking = counted.into_iter().find(|one| one["ready"] != true)?;
    Some(format!("container {} of pod {name} is not ready", text(&lacking["name"])))
}

/// The pods of the server that ended while it ran the target: a restart within that time, or a pod that failed.
pub(super) fn ended(target: &Value, view: &View<'_>) -> Vec<Need> {
    let status = &target["status"];
    let (began, over) = (time(&status["startTimestamp"]), time(&status["completionTimestamp"]));
    let (Some(began), Some(over)) = (began, over) else { return Vec::new() };
    if !text(&status["failureReason"]).contains("during the server starting") {
        return Vec::new();
    }
    let pods = servers(view).flat_map(|deployment| pods_of(deployment, view));
    let needs = pods.filter_map(|pod| {
        let id = Id::of(pod);
        if pod["status"]["phase"] == "Failed" {
            // The status does not say when the pod failed; it may have failed earlier.
            let is_older = time(&pod["status"]["startTime"]).is_none_or(|started| started <= over);
            return is_older.then(|| Need { is_uncertain: true, ..Need::see(id) });
        }
        let statuses = items(&pod["status"]["containerStatuses"]);
        let mut ends = statuses.iter().filter_map(|one| container::ended_before(one, (&id, pod), view));
        let (_, words, reason) = ends.find(|(at, ..)| (began..=over).contains(at))?;
        Some(Need::no(id, words, reason))
    });
    needs.map(|need| need.by(Relation::EndedServer)).collect()
}

/// Major and minor version of the server, if the tag of its image says it.
pub(crate) fn version(view: &View<'_>) -> Option<(u32, u32)> {
    let deployment = servers(view).next()?;
    let spec = &deployment["spec"]["template"]["spec"];
    let name = container_of(spec)?;
    let container = items(&spec["containers"]).iter().find(|one| one["name"] == name)?;
    let image = text(&container["image"]).split('@').next()?.rsplit('/').next()?;
    let mut numbers = image.split_once(':')?.1.trim_start_matches('v').split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The container of a Deployment that runs Velero's server: by its name `velero`, else by the command `velero server`.
fn container_of(spec: &Value) -> Option<&str> {
    let containers = items(&spec["containers"]);
    let named = containers.iter().find(|one| one["name"] == "velero");
    named.or_else(|| containers.iter().find(|one| runs_server(one))).map(|one| text(&one["name"]))
}

/// Command and arguments.
fn arguments(container: &Value) -> Vec<&str> {
    ["command", "args"].into_iter().flat_map(|field| items(&container[field])).filter_map(Value::as_str).collect()
}

/// Started with the image's own command, by path, or through a shell.
fn runs_server(container: &Value) -> bool {
    let args = arguments(container);
    let words: Vec<&str> = args.iter().flat_map(|arg| arg.split_whitespace()).collect();
    let is_velero = |word: &str| word == "velero" || word.ends_with("/velero");
    let image = text(&container["image"]).rsplit('/').next().unwrap_or_default().split(['@', ':']).next();
    (image == Some("velero") && words.first() == Some(&"server"))
        || words.windows(2).any(|pair| is_velero(pair[0]) && pair[1] == "server")
}

/// What the server's arguments say about work of this kind, and the flag (`pkg/cmd/server/config/config.go`).
fn said_by(args: &[&str], kind: &Kind) -> Option<(String, &'static str)> {
    let own: &[&str] = match kind {
        Kind::Backup => &["backup", "backup-queue"],
        Kind::Restore => &["restore"],
        // What the server was started without is no trouble of its own.
        _ => return None,
    };
    let kind_name = kind.as_str();
    let next = args.iter().skip(1).copied().chain([""]);
    let mut said = args.iter().zip(next).map(|(arg, next)| arg.split_once('=').unwrap_or((arg, next)));
    // A boolean flag takes its value only after `=`, and the last one counts.
    let mut switched =
        args.iter().filter_map(|arg| arg.strip_prefix("--restore-only")).filter_map(|value| match value {
            "" => Some(true),
            value => go_bool(value.strip_prefix('=')?),
        });
    if *kind == Kind::Backup && switched.next_back() == Some(true) {
        let words = format!("Velero's server was started with --restore-only, so it processes no {kind_name}");
        return Some((words, "--restore-only"));
    }
    said.find_map(|(flag, value)| {
        let mut named = value.split(',').map(str::trim).filter(|_| flag == "--disable-controllers");
        let name = named.find(|name| own.contains(name))?;
        let words =
            format!("Velero's server was started with --disable-controllers={name}, so it processes no {kind_name}");
        Some((words, "--disable-controllers"))
    })
}

/// Go's `strconv.ParseBool`; with any other value the server does not start.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Graph, line, walk};

    fn container(name: &str, image: &str, args: &[&str]) -> Value {
        json!({"name": name, "image": image, "args": args})
    }

    fn pod(ready: &[(&str, bool)]) -> Value {
        let statuses: Vec<Value> = ready.iter().map(|(name, ready)| json!({"name": name, "ready": ready})).collect();
        json!({"kind": "Pod", "metadata": {"name": "velero-1", "namespace": "v", "labels": {"deploy": "velero"}},
            "status": {"phase": "Running", "containerStatuses": statuses}})
    }

    /// Why a new target of this kind is not begun.
    fn why(kind: &str, containers: &[Value], pod: &Value) -> Option<String> {
        let target = json!({"kind": kind, "metadata": {"name": "t", "namespace": "v"}});
        let server = json!({"kind": "Deployment", "metadata": {"name": "velero", "namespace": "v"}, "spec": {
            "selector": {"matchLabels": {"deploy": "velero"}}, "template": {"spec": {"containers": containers}}}});
        let mut graph = Graph::new("v", jiff::Timestamp::UNIX_EPOCH);
        for object in [&target, &server, pod] {
            graph.add(object);
        }
        let found = walk(&graph.whole(), &Id::of(&target));
        found.roots.first().map(|root| line(root).split_once(": ").unwrap().1.to_owned())
    }

    #[test]
    fn a_flag_keeps_the_server_from_a_kind_of_work() {
        let restore_only = "Velero's server was started with --restore-only, so it processes no Backup";
        let disabled = |name: &str, kind: &str| {
            format!("Velero's server was started with --disable-controllers={name}, so it processes no {kind}")
        };
        for (flag, expected) in [
            ("--restore-only", [Some(restore_only.to_owned()), None]),
            ("--restore-only=T", [Some(restore_only.to_owned()), None]),
            ("--restore-only=false", [None, None]),
            ("--restore-only=0", [None, None]),
            ("--restore-only=no", [None, None]),
            ("--restore-only --restore-only=0", [None, None]),
            ("--restore-only=F --restore-only=TRUE", [Some(restore_only.to_owned()), None]),
            ("--restore-only-x", [None, None]),
            ("--disable-controllers=gc,backup-queue", [Some(disabled("backup-queue", "Backup")), None]),
            ("--disable-controllers=restore", [None, Some(disabled("restore", "Restore"))]),
            ("--disable-controllers backup", [Some(disabled("backup", "Backup")), None]),
            ("--disable-controllers=backup-sync,restore-operations", [None, None]),
        ] {
            let args: Vec<&str> = ["server"].into_iter().chain(flag.split(' ')).collect();
            let found = ["Backup", "Restore"]
                .map(|kind| why(kind, &[container("velero", "", &args)], &pod(&[("velero", true)])));
            assert_eq!(found, expected, "{flag}");
        }
    }

    #[test]
    fn only_the_container_that_velero_runs_in_has_to_be_ready_and_only_its_arguments_count() {
        let proxy = container("proxy", "mesh/proxy:1", &["proxy", "--restore-only"]);
        for (name, server) in [
            ("velero", container("velero", "registry:5000/own:1", &["/bin/start"])),
            ("server", container("server", "registry:5000/velero/velero:v1.18.3", &["server", "--log-level=debug"])),
            ("server", container("server", "own", &["/velero", "server"])),
            ("server", container("server", "own", &["sh", "-c", "exec /velero server"])),
        ] {
            let containers = [container("plugin", "velero/velero-plugin:1", &[]), proxy.clone(), server];
            assert_eq!(why("Backup", &containers, &pod(&[("proxy", false), (name, true)])), None, "{name}");
            let lacks = format!("no pod of Velero's server is ready: container {name} of pod velero-1 is not ready");
            assert_eq!(why("Backup", &containers, &pod(&[("proxy", true), (name, false)])), Some(lacks));
        }
    }
}
