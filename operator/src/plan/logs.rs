//! Which container logs are read, how much of each, and of which time.
//! Reading them is `collect`'s.

use debugbundle_crd::{Logs, TargetKind, parse_duration};
use jiff::{SignedDuration, Timestamp};

use super::{Item, ItemSource, Planner, Priority, ServerLines, ServerLog, Window, target::folder_of};
use crate::{
    archive::BundlePath,
    inventory::{Pod, PodRole, TargetObject},
};

/// How long before its start and after its end a target's causes and effects are looked for in logs.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);
/// Kept of the log of a healthy pod that is not Velero's own (bytes).
const BYSTANDER: u64 = 1 << 20;
/// Kept of a container's log if the spec says nothing usable (bytes).
const CONTAINER_LOG: u64 = 32 << 20;

/// The time span of logs: what the user set, for the rest the target's life and ten minutes around it. Of the
/// installation as a whole: everything.
pub fn window(logs: &Logs, target: Option<&TargetObject>, now: Timestamp) -> Window {
    let around = target.map_or_else(Window::default, |target| Window {
        from: target.started.or(target.created).and_then(|start| start.checked_sub(MARGIN).ok()),
        to: target.completed.and_then(|end| end.checked_add(MARGIN).ok()),
    });
    let Some(asked) = &logs.window else { return around };
    let since = asked
        .since
        .as_deref()
        .and_then(parse_duration)
        .and_then(|length| now.checked_sub(SignedDuration::try_from(length).ok()?).ok());
    let from = asked.since_time.as_ref().map(|time| time.0).or(since);
    let to = asked.until_time.as_ref().map(|time| time.0);
    match (from, to) {
        (None, None) => around,
        // An end alone is an end of the target's time; a beginning alone goes up to now.
        (None, to) => Window { from: around.from.filter(|from| to.is_none_or(|to| *from < to)), to },
        (from, to) => Window { from, to },
    }
}

impl Planner<'_> {
    pub(super) fn logs(&mut self, logs: &Logs) {
        let inventory = self.inventory;
        let most = logs.max_bytes_per_container.bytes().unwrap_or(CONTAINER_LOG);
        let newest_server = inventory
            .pods
            .iter()
            .filter(|pod| pod.role == PodRole::Server)
            .max_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)))
            .map(|pod| pod.uid.clone());
        for pod in &inventory.pods {
            let (priority, limit) = match pod.role {
                PodRole::Server | PodRole::DataMover | PodRole::NodeAgent { involved: true } => (Priority::P2, most),
                PodRole::Maintenance => (Priority::P4, most),
                _ if !pod.is_healthy() => (Priority::P2, most),
                _ => (Priority::P5, most.min(BYSTANDER)),
            };
            for container in &pod.containers {
                let is_server = pod.role == PodRole::Server && container.name == "velero";
                let instances: &[bool] =
                    if logs.previous && container.has_previous() { &[false, true] } else { &[false] };
                for previous in instances {
                    let newest = newest_server.as_deref() == Some(pod.uid.as_str());
                    let lines = || self.server_lines(*previous).filter(|_| newest);
                    let server = is_server.then(|| ServerLog { lines: lines() });
                    self.items.push(log_item(pod, &container.name, *previous, priority, limit, server));
                }
            }
        }
    }

    fn server_lines(&self, previous: bool) -> Option<ServerLines> {
        let target = self.inventory.target.as_ref()?;
        let word = match target.kind {
            TargetKind::Backup => "backup",
            TargetKind::Restore => "restore",
        };
        let instance = if previous { "previous." } else { "" };
        let file = format!("{word}.from-server.{instance}log");
        Some(ServerLines {
            path: BundlePath::new(["velero", folder_of(target.kind), &target.name, &file]),
            kind: target.kind,
            namespace: self.inventory.namespace.clone(),
            name: target.name.clone(),
        })
    }
}

fn log_item(
    pod: &Pod,
    container: &str,
    previous: bool,
    priority: Priority,
    limit: u64,
    server: Option<ServerLog>,
) -> Item {
    let (file, instance) = if previous { ("previous.log", "previous log") } else { ("current.log", "log") };
    let path = BundlePath::new(["namespaces", &pod.namespace, "pods", &pod.name, container, container, "logs", file]);
    Item {
        what: format!("{instance} of {}/{} container {container}", pod.namespace, pod.name),
        path,
        source: ItemSource::PodLog {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            container: container.to_owned(),
            previous,
            limit,
            server,
        },
        priority,
        node: pod.node.clone(),
    }
}
