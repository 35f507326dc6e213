//! Which container logs are read, how much of each, and for which time span.

use debugbundle_crd::{Logs, parse_duration};
use debugbundle_format::{LogFile, layout, manifest::MissingCode};
use jiff::{SignedDuration, Timestamp};

use super::{Item, ItemSource, Planner, Priority, ServerLines, ServerLog, TimeWindow};
use crate::velero::{Container, ContainerType, Pod, PodRole, TargetObject, hooked};

/// Logs are read from this long before a target's start until this long after its end.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);
/// Bytes kept of the log of an uninvolved pod in Velero's namespace.
const BYSTANDER: u64 = 1 << 20;
/// Bytes kept of a container's log if the spec has no usable limit.
const CONTAINER_LOG: u64 = 32 << 20;

/// The time span of logs: what the user set, else the target's life and ten minutes around it. Without a target:
/// everything.
pub fn window(logs: &Logs, target: Option<&TargetObject>, now: Timestamp) -> TimeWindow {
    let around = target.map_or_else(TimeWindow::default, |target| TimeWindow {
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
        // An end alone limits the target's time; a beginning alone reaches up to now.
        (None, to) => TimeWindow { from: around.from.filter(|from| to.is_none_or(|to| *from < to)), to },
        (from, to) => TimeWindow { from, to },
    }
}

impl Planner<'_> {
    pub(super) fn logs(&mut self, logs: &Logs) {
        let snapshot = self.snapshot;
        let most = logs.max_bytes_per_container.bytes().unwrap_or(CONTAINER_LOG);
        let newest_server = snapshot
            .installation
            .pods
            .iter()
            .filter(|pod| pod.role == PodRole::Server)
            .max_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)))
            .map(|pod| pod.uid.clone());
        let mut pods: Vec<&Pod> = snapshot.installation.pods.iter().collect();
        pods.sort_by_key(|pod| rank(pod));
        for pod in pods {
            self.lost_predecessor(pod);
            let priority = match rank(pod) {
                Rank::Worked | Rank::Unhealthy => Priority::P2,
                Rank::Maintenance => Priority::P4,
                Rank::Healthy => Priority::P5,
            };
            let bystander = matches!(pod.role, PodRole::Other | PodRole::NodeAgent { involved: false });
            let share = if bystander { Share::Tail(most.min(BYSTANDER)) } else { Share::HeadAndTail(most) };
            for container in &pod.containers {
                let is_server = pod.role == PodRole::Server && container.name == "velero";
                for previous in instances(logs, container) {
                    let newest = newest_server.as_deref() == Some(pod.uid.as_str());
                    let lines = || self.server_lines(*previous).filter(|_| newest);
                    let server = is_server.then(|| ServerLog { lines: lines() });
                    self.items.push(log_item(pod, &container.name, *previous, priority, share, server));
                }
            }
        }
        self.application_logs(logs, most);
    }

    /// Reports a lost log: a node agent's pod that is younger than the target's end cannot have done the work.
    fn lost_predecessor(&mut self, pod: &Pod) {
        let worked = pod.role == PodRole::NodeAgent { involved: true };
        let end = self.snapshot.target.object.as_ref().and_then(|target| target.completed);
        let (true, Some(created), Some(end)) = (worked, pod.created, end) else { return };
        if created <= end {
            return;
        }
        let node = pod.node.as_deref().unwrap_or("its node");
        let what = format!("log of the node-agent that was on {node} before {}/{}", pod.namespace, pod.name);
        // Not a path of the pod's own logs: those are in the bundle.
        let path = format!("namespaces/{}/pods/{}/predecessor", pod.namespace, pod.name);
        let why =
            format!("the pod was created at {created}, after the target ended at {end}; its predecessor's log is lost");
        let cure = "if the cluster has a log store, look there for the log of that time";
        self.note(what, path, MissingCode::Gone, why, cure);
    }

    /// Logs that explain a failure outside Velero's namespace, and no more, because applications' logs are private. Of
    /// involved pods: the init containers (`restore-wait` is one), suspect containers, and those where hooks run. Of
    /// requested namespaces: the unhealthy pods.
    fn application_logs(&mut self, logs: &Logs, most: u64) {
        let snapshot = self.snapshot;
        for pod in
            snapshot.namespaces.involved_pods.iter().filter(|pod| pod.namespace != snapshot.installation.namespace)
        {
            let hooked = snapshot.target.object.as_ref().map(|target| hooked(pod, target)).unwrap_or_default();
            let wanted = |container: &Container| {
                container.kind == ContainerType::Init
                    || container.is_suspect()
                    || hooked.contains(&container.name.as_str())
            };
            self.application(pod, logs, most, wanted);
        }
        for pod in &snapshot.namespaces.unhealthy {
            self.application(pod, logs, most, |_| true);
        }
    }

    fn application(&mut self, pod: &Pod, logs: &Logs, most: u64, wanted: impl Fn(&Container) -> bool) {
        for container in pod.containers.iter().filter(|container| wanted(container)) {
            for previous in instances(logs, container) {
                self.items.push(log_item(
                    pod,
                    &container.name,
                    *previous,
                    Priority::P2,
                    Share::HeadAndTail(most),
                    None,
                ));
            }
        }
    }

    fn server_lines(&self, previous: bool) -> Option<ServerLines> {
        let target = self.snapshot.target.object.as_ref()?;
        Some(ServerLines {
            path: layout::server_lines(target.kind, &target.name, previous),
            kind: target.kind,
            namespace: self.snapshot.installation.namespace.clone(),
            name: target.name.clone(),
        })
    }
}

/// How a pod of Velero's namespace relates to the failure, in the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It worked on the target, or may have.
    Worked,
    /// It is unhealthy.
    Unhealthy,
    /// It maintains a repository.
    Maintenance,
    /// Anything else.
    Healthy,
}

fn rank(pod: &Pod) -> Rank {
    match pod.role {
        PodRole::Server | PodRole::DataMover | PodRole::NodeAgent { involved: true } => Rank::Worked,
        _ if !pod.is_healthy() => Rank::Unhealthy,
        PodRole::Maintenance => Rank::Maintenance,
        _ => Rank::Healthy,
    }
}

/// How much of a log is kept (bytes).
#[derive(Clone, Copy, Debug)]
enum Share {
    /// The beginning and the end of a longer log.
    HeadAndTail(u64),
    /// The end of a longer log.
    Tail(u64),
}

/// Which instances are read, by `previous`: the current one always, the previous one only if there is one.
fn instances(logs: &Logs, container: &Container) -> &'static [bool] {
    if logs.previous && container.has_previous() { &[false, true] } else { &[false] }
}

fn log_item(
    pod: &Pod,
    container: &str,
    previous: bool,
    priority: Priority,
    share: Share,
    server: Option<ServerLog>,
) -> Item {
    let (limit, tail_only) = match share {
        Share::HeadAndTail(limit) => (limit, false),
        Share::Tail(limit) => (limit, true),
    };
    let (file, instance) = if previous { (LogFile::Previous, "previous log") } else { (LogFile::Current, "log") };
    let path = layout::container_log(&pod.namespace, &pod.name, container, file);
    Item {
        what: format!("{instance} of {}/{} container {container}", pod.namespace, pod.name),
        path,
        source: ItemSource::PodLog {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            instead_of: None,
            container: container.to_owned(),
            previous,
            limit,
            tail_only,
            server,
        },
        priority,
        node: pod.node.clone(),
    }
}
