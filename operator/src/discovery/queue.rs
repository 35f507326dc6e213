//! Why Velero does not begin with a target: other work comes first, or the server takes up no work of this kind.
//! `diagnose` reports it.

use debugbundle_crd::TargetKind;
use debugbundle_format::text::bounded;
use serde_json::{Value, json};

use super::{Served, Snapshot, reader::DiscoveryReader, top_n::TopN};
use crate::velero::{ContainerType, Pod, PodRole, TargetObject, Workload};

/// The most objects ahead of the target that are named.
const NAMED: usize = 20;

/// What Velero takes up before the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    /// The next one first, each with the fields that decide its place, unredacted.
    pub ahead: Vec<Value>,
    /// How many more there are.
    pub beyond: usize,
}

/// Why Velero's server takes up no work of the target's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerIdle {
    /// None of its pods is ready. If there is a pod: which container of the first is not, or the pod's phase.
    NotReady(Option<String>),
    /// It was started with `--restore-only`.
    RestoreOnly,
    /// It was started with `--disable-controllers`, which names this controller.
    Disabled(&'static str),
}

/// Sort key: first Velero's current work, then what it has chosen, then the others by position; by name among equals.
type Place = (u8, i64, String);

impl TargetObject {
    /// Velero has not begun with it. The phases Queued and `ReadyToStart` are Velero 1.18's.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase.as_str(), "" | "New" | "Queued" | "ReadyToStart")
    }

    /// The place of another object of its kind that Velero takes up first. Velero works on one Restore at a time
    /// (`restore_controller.go`), and on as many Backups as `--concurrent-backups` says. Further Backups are Queued in
    /// the order of their positions (`backup_queue_controller.go`); an older Velero leaves them New.
    fn behind(&self, other: &Value) -> Option<Place> {
        let name = other.pointer("/metadata/name").and_then(Value::as_str).filter(|name| *name != self.name)?;
        let position = |object: &Value| object.pointer("/status/queuePosition").and_then(Value::as_i64).unwrap_or(0);
        let phase = other.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        let is_backup = self.kind == TargetKind::Backup;
        let rank = match phase {
            "InProgress" => 0,
            "ReadyToStart" if is_backup && self.phase != "ReadyToStart" => 1,
            "Queued" if is_backup => match self.phase.as_str() {
                "Queued" if position(other) >= position(&self.raw) => return None,
                "ReadyToStart" => return None,
                _ => 2,
            },
            _ => return None,
        };
        Some((rank, position(other), name.to_owned()))
    }
}

impl DiscoveryReader<'_> {
    /// What Velero takes up before a target with which it has not begun.
    pub(super) async fn queue(&self, served: &Served, target: &TargetObject) -> Queue {
        if !target.is_waiting() {
            return Queue::default();
        }
        let (plural, kind) = match target.kind {
            TargetKind::Backup => ("backups", "Backup"),
            TargetKind::Restore => ("restores", "Restore"),
        };
        let waiting = target.clone();
        let read = move |object: Value| Some((waiting.behind(&object)?, short(kind, &object)));
        let found = self.read(&served.velero(plural, kind), self.namespace, None, TopN::new(NAMED, read)).await;
        Queue { beyond: found.beyond, ahead: found.items().collect() }
    }
}

impl Snapshot {
    /// Why Velero's server would take up no target of this kind, if that can be seen.
    pub fn server_idle(&self, kind: TargetKind) -> Option<ServerIdle> {
        let mut flags = self.installation.servers.iter().flat_map(|server| match server_container(server) {
            Some(container) => std::slice::from_ref(container),
            None => server.containers.as_slice(),
        });
        if let Some(idle) = flags.find_map(|(_, _, args)| said_by(args, kind)) {
            return Some(idle);
        }
        // A missing pod or Deployment counts only if both lists could be read.
        let lost = |plural: &str| self.gaps.unread.iter().any(|lost| lost.kind.plural == plural);
        if lost("pods") || lost("deployments") || self.installation.servers.is_empty() {
            return None;
        }
        let mut first = None;
        for pod in self.installation.pods.iter().filter(|pod| pod.role == PodRole::Server) {
            let lacks = self.lacks(pod)?;
            first.get_or_insert(lacks);
        }
        Some(ServerIdle::NotReady(first))
    }

    /// What is not ready in a server's pod; `None` if Velero works in it, even if containers beside it do not.
    fn lacks(&self, pod: &Pod) -> Option<String> {
        if pod.phase != "Running" {
            return Some(format!("pod {} is {}", pod.name, bounded(&pod.phase, 64)));
        }
        let names: Vec<&str> =
            self.installation.servers.iter().filter_map(server_container).map(|(name, ..)| name.as_str()).collect();
        let main = || pod.containers.iter().filter(|one| one.kind == ContainerType::Main);
        let server = main().find(|one| names.contains(&one.name.as_str()));
        // If Velero's container is unknown, all have to be ready.
        let mut counted = main().filter(|one| server.is_none_or(|server| server.name == one.name));
        let lacking = counted.find(|one| !one.healthy)?;
        Some(format!("container {} of pod {} is not ready", lacking.name, pod.name))
    }
}

/// The container of a Deployment that runs Velero's server: by its name `velero`, else by the command `velero server`.
fn server_container(server: &Workload) -> Option<&(String, String, Vec<String>)> {
    let named = server.containers.iter().find(|(name, ..)| name == "velero");
    named.or_else(|| server.containers.iter().find(|(_, image, args)| runs_server(image, args)))
}

/// Started with the image's own command, by path, or through a shell.
fn runs_server(image: &str, args: &[String]) -> bool {
    let words: Vec<&str> = args.iter().flat_map(|arg| arg.split_whitespace()).collect();
    let is_velero = |word: &str| word == "velero" || word.ends_with("/velero");
    let image = image.rsplit('/').next().unwrap_or_default().split(['@', ':']).next();
    (image == Some("velero") && words.first() == Some(&"server"))
        || words.windows(2).any(|pair| is_velero(pair[0]) && pair[1] == "server")
}

/// What the server's arguments say about work of this kind (`pkg/cmd/server/config/config.go`).
fn said_by(args: &[String], kind: TargetKind) -> Option<ServerIdle> {
    let own: &[&'static str] = match kind {
        TargetKind::Backup => &["backup", "backup-queue"],
        TargetKind::Restore => &["restore"],
    };
    let next = args.iter().skip(1).map(String::as_str).chain([""]);
    let mut said = args.iter().zip(next).map(|(arg, next)| arg.split_once('=').unwrap_or((arg, next)));
    // A boolean flag takes its value only after `=`, and the last one counts.
    let mut switched =
        args.iter().filter_map(|arg| arg.strip_prefix("--restore-only")).filter_map(|value| match value {
            "" => Some(true),
            value => go_bool(value.strip_prefix('=')?),
        });
    if kind == TargetKind::Backup && switched.next_back() == Some(true) {
        return Some(ServerIdle::RestoreOnly);
    }
    said.find_map(|(flag, value)| {
        let mut named = value.split(',').map(str::trim).filter(|_| flag == "--disable-controllers");
        named.find_map(|name| own.iter().find(|own| **own == name)).map(|own| ServerIdle::Disabled(own))
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

/// The fields of an object that decide its place.
fn short(kind: &str, object: &Value) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(|text| bounded(text, 64));
    json!({
        "apiVersion": "velero.io/v1",
        "kind": kind,
        "metadata": {"namespace": text("/metadata/namespace"), "name": object.pointer("/metadata/name")},
        "status": {
            "phase": text("/status/phase"),
            "startTimestamp": text("/status/startTimestamp"),
            "queuePosition": object.pointer("/status/queuePosition").and_then(Value::as_i64),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{discovery::fixture, velero::Workload};

    fn target(kind: TargetKind, phase: &str, position: i64) -> TargetObject {
        let status = json!({"phase": phase, "queuePosition": position});
        TargetObject::read(kind, json!({"metadata": {"name": "mine"}, "status": status}))
    }

    fn other(name: &str, phase: &str, position: i64) -> Value {
        json!({"metadata": {"name": name}, "status": {"phase": phase, "queuePosition": position}})
    }

    #[test]
    fn in_front_is_what_velero_is_at_then_what_it_chose_then_what_has_a_smaller_position() {
        let others = [
            other("first", "Queued", 1),
            other("third", "Queued", 3),
            other("chosen", "ReadyToStart", 0),
            other("at-work", "InProgress", 0),
            other("done", "Completed", 0),
            other("operations", "WaitingForPluginOperations", 0),
            other("mine", "InProgress", 0),
            json!({"status": {"phase": "InProgress"}}),
        ];
        let names = |target: &TargetObject| {
            let mut found: Vec<Place> = others.iter().filter_map(|other| target.behind(other)).collect();
            found.sort();
            found.into_iter().map(|(_, _, name)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&target(TargetKind::Backup, "Queued", 2)), "at-work chosen first");
        assert_eq!(names(&target(TargetKind::Backup, "New", 0)), "at-work chosen first third");
        assert_eq!(names(&target(TargetKind::Backup, "ReadyToStart", 0)), "at-work");
        assert_eq!(names(&target(TargetKind::Restore, "", 0)), "at-work", "Restores know no queue");
        assert!(!target(TargetKind::Restore, "InProgress", 0).is_waiting());
    }

    #[test]
    fn a_server_that_takes_up_none_is_known_by_its_flags_and_by_its_pods() {
        let mut snapshot = fixture::snapshot();
        let idle =
            |snapshot: &Snapshot| [TargetKind::Backup, TargetKind::Restore].map(|kind| snapshot.server_idle(kind));
        assert_eq!(idle(&snapshot), [None, None], "nobody told where it is");
        let server = |flags: &[&str]| Workload {
            name: "velero".to_owned(),
            selector: kube::core::Selector::default(),
            containers: vec![(
                "velero".to_owned(),
                String::new(),
                flags.iter().map(|flag| (*flag).to_owned()).collect(),
            )],
        };
        snapshot.installation.servers = vec![server(&["/velero", "server"])];
        let not_ready = |what: Option<&str>| Some(ServerIdle::NotReady(what.map(str::to_owned)));
        assert_eq!(idle(&snapshot), [not_ready(None), not_ready(None)]);
        snapshot.installation.pods = vec![fixture::pod("velero-1", PodRole::Server, "n1", &[("velero", 0)])];
        assert_eq!(idle(&snapshot), [None, None]);
        snapshot.installation.pods[0].containers[0].healthy = false;
        let lacks = not_ready(Some("container velero of pod velero-1 is not ready"));
        assert_eq!(idle(&snapshot), [lacks.clone(), lacks]);
        "Pending".clone_into(&mut snapshot.installation.pods[0].phase);
        assert_eq!(idle(&snapshot)[0], not_ready(Some("pod velero-1 is Pending")));
        "Running".clone_into(&mut snapshot.installation.pods[0].phase);
        for (flag, expected) in [
            ("--restore-only", [Some(ServerIdle::RestoreOnly), None]),
            ("--restore-only=true", [Some(ServerIdle::RestoreOnly), None]),
            ("--restore-only=T", [Some(ServerIdle::RestoreOnly), None]),
            ("--restore-only=1", [Some(ServerIdle::RestoreOnly), None]),
            ("--restore-only=false", [None, None]),
            ("--restore-only=False", [None, None]),
            ("--restore-only=f", [None, None]),
            ("--restore-only=0", [None, None]),
            ("--restore-only=no", [None, None]),
            ("--restore-only --restore-only=0", [None, None]),
            ("--restore-only=F --restore-only=TRUE", [Some(ServerIdle::RestoreOnly), None]),
            ("--restore-only-x", [None, None]),
            ("--disable-controllers=gc,backup-queue", [Some(ServerIdle::Disabled("backup-queue")), None]),
            ("--disable-controllers=restore", [None, Some(ServerIdle::Disabled("restore"))]),
            ("--disable-controllers backup", [Some(ServerIdle::Disabled("backup")), None]),
            ("--disable-controllers=backup-sync,restore-operations", [None, None]),
        ] {
            let args: Vec<&str> = ["server"].into_iter().chain(flag.split(' ')).collect();
            snapshot.installation.servers = vec![server(&args)];
            snapshot.installation.pods[0].containers[0].healthy = true;
            assert_eq!(idle(&snapshot), expected, "{flag}");
        }
    }

    #[test]
    fn only_the_container_that_velero_runs_in_has_to_be_ready() {
        let container = |name: &str, image: &str, args: &[&str]| {
            (name.to_owned(), image.to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
        };
        let proxy = || container("proxy", "mesh/proxy:1", &["proxy", "--restore-only", "--disable-controllers=backup"]);
        for (name, server) in [
            ("velero", container("velero", "registry:5000/own:1", &["/bin/start"])),
            ("server", container("server", "registry:5000/velero/velero:v1.18.3", &["server", "--log-level=debug"])),
            ("server", container("server", "own", &["/velero", "server"])),
            ("server", container("server", "own", &["sh", "-c", "exec /velero server"])),
        ] {
            let mut snapshot = fixture::snapshot();
            let selector = kube::core::Selector::default();
            let containers = vec![container("plugin", "velero/velero-plugin:1", &[]), proxy(), server];
            snapshot.installation.servers = vec![Workload { name: "velero".to_owned(), selector, containers }];
            snapshot.installation.pods =
                vec![fixture::pod("velero-1", PodRole::Server, "n1", &[("proxy", 0), (name, 0)])];
            snapshot.installation.pods[0].containers[0].healthy = false;
            assert_eq!(snapshot.server_idle(TargetKind::Backup), None, "{name}: nor do another's arguments count");
            snapshot.installation.pods[0].containers[1].healthy = false;
            let lacks = format!("container {name} of pod velero-1 is not ready");
            assert_eq!(snapshot.server_idle(TargetKind::Backup), Some(ServerIdle::NotReady(Some(lacks))));
        }
        assert!(!runs_server("own", &["server".to_owned()]) && !runs_server("velero/velero", &["install".to_owned()]));
    }
}
