//! What a person can do about a root: one sentence with the object and the field to change, and commands that show more.
//!
//! Commands read, unless they are marked; none deletes or overwrites data. What would is in the sentence, with its danger.
//! A word of a text enters a sentence or a command only if it is a valid name.

mod catalogue;
mod command;
mod known;

use serde_json::Value;

use crate::graph::{Graph, Id, View, condition, items, text};
use crate::hook::FailedHook;
use crate::kind::Kind;
use crate::kinds;
use crate::reason::{Mishap, RootReason, Trouble};
use crate::texts::is_name;
use crate::walk::{Confidence, Relation, Root, Waypoint};

pub use command::Command;
use command::Kubectl;

/// The init container that waits for the data of a restored pod (`pkg/restorehelper`).
const RESTORE_WAIT: &str = "restore-wait";
/// What makes maintenance pods as they are (`https://velero.io/docs/v1.18/repository-maintenance/`).
const MAINTENANCE: &str = "the ConfigMap that Velero's server names with --repo-maintenance-job-configmap";
/// Most commands of a remedy.
const COMMANDS: usize = 3;

/// What a person can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// One sentence, without a full stop.
    pub sentence: String,
    /// At most three. Reading commands come first.
    pub commands: Vec<Command>,
}

/// What a person can do about a root; `None`: nothing is known that is special to it.
pub fn remedy(root: &Root, graph: &Graph<'_>) -> Option<Remedy> {
    let (target, last) = (&root.way.first()?.id, &root.way.last()?.id);
    let case = Case { root, last, object: graph.object(last), graph, view: View::of(graph, target) };
    let Advice { sentence, commands } = case.advice()?;
    Some(Remedy {
        sentence: sentence + &case.then(),
        commands: commands.into_iter().flatten().take(COMMANDS).collect(),
    })
}

/// What a person can do about an error that an object says itself, such as one of a target's results.
pub fn of_error(error: &str, about: &Id, graph: &Graph<'_>) -> Option<Remedy> {
    let root = Root {
        way: vec![Waypoint { id: about.clone(), stands: String::new() }],
        relation: Relation::Itself,
        words: error.to_owned(),
        reason: RootReason::Said(error.to_owned()),
        confidence: Confidence::Unknown,
        more: 0,
        others: Vec::new(),
    };
    remedy(&root, graph)
}

/// A remedy that is being made: commands with names that are not valid are left out.
struct Advice {
    sentence: String,
    commands: Vec<Option<Command>>,
}

impl Advice {
    /// None with a name that has control characters: nothing valid has.
    fn new(sentence: impl Into<String>, commands: impl IntoIterator<Item = Kubectl>) -> Option<Self> {
        let sentence = sentence.into();
        let commands = commands.into_iter().map(Kubectl::done).collect();
        (!sentence.contains(char::is_control)).then_some(Self { sentence, commands })
    }
}

/// A root and what is known around it.
struct Case<'a> {
    root: &'a Root,
    /// The last object of the way.
    last: &'a Id,
    object: Option<&'a Value>,
    graph: &'a Graph<'a>,
    view: View<'a>,
}

impl<'a> Case<'a> {
    fn advice(&self) -> Option<Advice> {
        if self.root.relation == Relation::Ahead && self.root.reason == RootReason::Shown {
            return self.ahead();
        }
        match &self.root.reason {
            RootReason::Said(text) => known::advice(text, self).or_else(|| self.said()),
            RootReason::Absent => self.absent(),
            RootReason::Container(trouble) => self.container(trouble),
            RootReason::Unscheduled => self.unscheduled(),
            RootReason::PodFailed => self.failed_pod(),
            RootReason::Lost => self.lost(),
            RootReason::Held(user) => self.held(user.as_ref()),
            RootReason::NotServed(_) => self.definition(),
            RootReason::Leaving(finalizer, user) => self.leaving(finalizer, user.as_ref()),
            RootReason::NotOn(node) => not_on(node, self.velero()),
            RootReason::ReadOnly => self.read_only(),
            RootReason::Hook(hook) => self.hook(hook),
            RootReason::Flag(flag) => self.flag(flag),
            RootReason::ScaledToZero => self.scaled_to_zero(),
            RootReason::Shown => match self.last.kind {
                Kind::Node => self.node(),
                Kind::Namespace => self.namespace(),
                Kind::Deployment => self.server(),
                Kind::Pod => {
                    Advice::new(format!("see in the Events of {} why it is not ready", self.pod()), [self.read()])
                }
                _ => None,
            },
        }
    }

    /// What follows for the target: Velero repeats nothing that has ended.
    fn then(&self) -> String {
        let target = &self.root.way[0].id;
        let has_ended = self.graph.object(target).is_some_and(kinds::has_ended);
        let data_ended =
            self.root.relation == Relation::Data && self.root.way.get(1).is_some_and(|data| !data.stands.is_empty());
        match self.root.relation {
            Relation::Restored | Relation::Incomplete => String::new(),
            _ if has_ended || data_ended => format!("; then create a new {}", target.kind.as_str()),
            _ => String::new(),
        }
    }

    fn velero(&self) -> &'a str {
        self.view.velero()
    }

    fn of_object(&self, pointer: &str) -> &'a str {
        self.object.and_then(|object| object.pointer(pointer)).map_or("", text)
    }

    /// Reads the last object whole.
    fn read(&self) -> Kubectl {
        let last = self.last;
        let named = match last.kind {
            Kind::Backup => "get backups.velero.io",
            Kind::Restore => "get restores.velero.io",
            Kind::BackupStorageLocation => "get backupstoragelocations.velero.io",
            Kind::BackupRepository => "get backuprepositories.velero.io",
            Kind::VolumeSnapshot => "describe volumesnapshots.snapshot.storage.k8s.io",
            Kind::VolumeSnapshotContent => "describe volumesnapshotcontents.snapshot.storage.k8s.io",
            Kind::PersistentVolumeClaim => "describe pvc",
            Kind::VolumeAttachment => "describe volumeattachment",
            Kind::Deployment => "describe deployment",
            Kind::DaemonSet => "describe daemonset",
            Kind::Namespace => "get namespace",
            Kind::Node => "describe node",
            Kind::PersistentVolume => "describe pv",
            Kind::ResourceQuota => "describe resourcequota",
            Kind::CustomResourceDefinition => "get customresourcedefinitions",
            _ => "describe pod",
        };
        let command = Kubectl::within(&last.namespace).ours(named).name(&last.name);
        if named.starts_with("get") { command.ours("-o yaml") } else { command }
    }

    /// What is in front of the target.
    fn ahead(&self) -> Option<Advice> {
        let first = self.last;
        let (kind, name) = (first.kind.as_str(), &first.name);
        let sentence = format!(
            "{kind} {name} has to end first: see whether its status.progress moves, and if it does not, look for its own \
             cause (kubectl debugbundle create --{} {name})",
            kind.to_lowercase()
        );
        let data = Kubectl::within(&first.namespace);
        let data = match first.kind {
            Kind::Backup => data
                .ours("get podvolumebackups.velero.io,datauploads.velero.io -l")
                .joined("velero.io/backup-name=", name),
            _ => data
                .ours("get podvolumerestores.velero.io,datadownloads.velero.io -l")
                .joined("velero.io/restore-name=", name),
        };
        // Longer names are shortened in labels.
        if name.len() > 63 { Advice::new(sentence, [self.read()]) } else { Advice::new(sentence, [self.read(), data]) }
    }

    /// A text that is not known, of an object that is.
    fn said(&self) -> Option<Advice> {
        let (last, name) = (self.last, &self.last.name);
        match last.kind {
            Kind::BackupStorageLocation => Advice::new(
                format!(
                    "correct what its message names in spec.config, spec.objectStorage or spec.credential of {}",
                    short(last)
                ),
                [self.read()],
            ),
            Kind::BackupRepository => Advice::new(
                format!(
                    "correct what the message of BackupRepository {name} names; its data is in {}",
                    self.location_of_repository()
                ),
                [self.read()],
            ),
            Kind::VolumeSnapshot | Kind::VolumeSnapshotContent => {
                Advice::new(format!("correct what the CSI driver says in status.error of {last}"), [self.read()])
            }
            Kind::PersistentVolumeClaim => {
                let class = match self.of_object("/spec/storageClassName") {
                    "" => String::new(),
                    class => format!(" (its spec.storageClassName is {class})"),
                };
                Advice::new(format!("correct what the newest Event of {last} names{class}"), [self.read()])
            }
            Kind::Pod => Advice::new(format!("correct what the newest Event of {} names", self.pod()), [self.read()]),
            Kind::DaemonSet => Advice::new(format!("correct what the newest Event of {last} names"), [self.read()]),
            _ => None,
        }
    }

    fn location_of_repository(&self) -> String {
        match self.of_object("/spec/backupStorageLocation") {
            "" => "its location".to_owned(),
            name => format!("BackupStorageLocation {name}"),
        }
    }

    /// Something that does not exist, and what needs it.
    fn absent(&self) -> Option<Advice> {
        let (last, before) = (self.last, &self.root.way.iter().rev().nth(1)?.id);
        let before_it = Case {
            last: before,
            object: self.graph.object(before),
            view: View::of(self.graph, self.view.target()),
            ..*self
        };
        match last.kind {
            Kind::StorageClass => {
                let other = match self.view.target().kind {
                    Kind::Restore => format!(
                        ", or map it to another one in the ConfigMap with the label velero.io/change-storage-class in \
                         namespace {} and create a new Restore: the class of a claim cannot be changed",
                        self.velero()
                    ),
                    _ => String::new(),
                };
                Advice::new(
                    format!("create StorageClass {}, which {before} names{other}", last.name),
                    [Kubectl::of_cluster().ours("get storageclass"), before_it.read()],
                )
            }
            Kind::PersistentVolumeClaim => Advice::new(
                format!("create {last}, which spec.volumes of pod {}/{} names", before.namespace, before.name),
                [Kubectl::within(&last.namespace).ours("get pvc"), before_it.read()],
            ),
            Kind::Deployment => Advice::new(
                format!(
                    "install Velero into namespace {}, or name the namespace that it is in: nothing of its server is there",
                    self.velero()
                ),
                [Kubectl::of_cluster().ours("get deployments --all-namespaces -l component=velero")],
            ),
            Kind::Node => Advice::new(
                format!(
                    "let pod {}/{} be made again on another node: node {} does not exist",
                    before.namespace, before.name, last.name
                ),
                [Kubectl::of_cluster().ours("get nodes"), before_it.read()],
            ),
            Kind::Backup => Advice::new(
                format!(
                    "correct spec.backupName of the {}, or wait until Velero has found Backup {} in its \
                     BackupStorageLocation, where it looks once a minute",
                    before.kind.as_str(),
                    last.name
                ),
                [
                    Kubectl::within(&last.namespace).ours("get backups.velero.io"),
                    Kubectl::within(&last.namespace).ours("get backupstoragelocations.velero.io"),
                ],
            ),
            _ => None,
        }
    }

    fn container(&self, trouble: &Trouble) -> Option<Advice> {
        if let Some(mut known) = known::advice(&trouble.text, self) {
            known.commands.push(self.log(&trouble.container, trouble.what).done());
            return Some(known);
        }
        match trouble.what {
            Mishap::OutOfMemory => self.out_of_memory(&trouble.container),
            Mishap::Image => self.image(&trouble.container),
            Mishap::NotStarted => Advice::new(
                format!(
                    "correct what keeps container {} of {} from its start, in {}",
                    trouble.container,
                    self.pod(),
                    self.workload()
                ),
                [self.read()],
            ),
            Mishap::Ended | Mishap::Restarted => Advice::new(
                format!(
                    "read what container {} of {} wrote before it ended, and correct what that names",
                    trouble.container,
                    self.pod()
                ),
                [self.log(&trouble.container, trouble.what), self.read()],
            ),
        }
    }

    /// `pod shop/db-0`.
    fn pod(&self) -> String {
        format!("pod {}/{}", self.last.namespace, self.last.name)
    }

    /// The log of the instance that ended.
    fn log(&self, container: &str, what: Mishap) -> Kubectl {
        let command =
            Kubectl::within(&self.last.namespace).ours("logs").name(&self.last.name).ours("-c").name(container);
        // While it waits for its next start, and when it runs again, the instance that ended is the previous one.
        let is_of_before = match what {
            Mishap::Ended => false,
            Mishap::Restarted => true,
            _ => self.status(container).is_some_and(|status| status["lastState"]["terminated"].is_object()),
        };
        if is_of_before { command.ours("--previous") } else { command }
    }

    fn status(&self, container: &str) -> Option<&'a Value> {
        let status = &self.object?["status"];
        let all = ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|field| items(&status[field]));
        all.into_iter().find(|one| one["name"] == container)
    }

    /// The pod moves data for Velero: its name is that of the data.
    fn is_mover(&self) -> bool {
        let data = self.root.way.iter().find(|step| Kind::DATA.contains(&step.id.kind));
        data.is_some_and(|data| data.id.name == self.last.name && self.last.namespace == self.velero())
    }

    /// The pod maintains a repository.
    fn is_maintenance(&self) -> bool {
        let is_labelled = self.object.is_some_and(|pod| pod["metadata"]["labels"]["velero.io/repo-name"].is_string());
        self.last.namespace == self.velero() && is_labelled
    }

    fn is_agent(&self) -> bool {
        let label = |name: &str| self.object.is_some_and(|pod| pod["metadata"]["labels"][name] == "node-agent");
        self.last.namespace == self.velero() && (label("role") || label("name"))
    }

    /// What makes the pod: a change there lasts.
    fn workload(&self) -> String {
        let pod = self.last;
        if matches!(self.root.relation, Relation::Server | Relation::EndedServer)
            && let Some(server) = kinds::server_of(Some(pod), &self.view)
        {
            return server.to_string();
        }
        if self.is_mover() || self.is_agent() {
            return format!("DaemonSet {}/node-agent", self.velero());
        }
        if self.is_maintenance() {
            return MAINTENANCE.to_owned();
        }
        let owners = self.object.map(|pod| items(&pod["metadata"]["ownerReferences"])).unwrap_or_default();
        match owners.iter().find(|owner| owner["controller"] == true) {
            // Its name is that of a Deployment and a hash.
            Some(owner) if owner["kind"] == "ReplicaSet" => format!("the Deployment of {}", self.pod()),
            Some(owner) => format!("{} {}/{}", text(&owner["kind"]), pod.namespace, text(&owner["name"])),
            None => format!("the workload of {}", self.pod()),
        }
    }

    fn out_of_memory(&self, container: &str) -> Option<Advice> {
        let (pod, velero) = (self.pod(), self.velero());
        let Some(limit) = kinds::limit(container, self.object?) else {
            let node = self.of_object("/spec/nodeName");
            return Advice::new(
                format!(
                    "relieve node {node} or give it more memory: container {container} of {pod} has no resources.limits.memory"
                ),
                [self.read(), Kubectl::of_cluster().ours("describe node").name(node)],
            );
        };
        if self.is_mover() {
            return Advice::new(
                format!(
                    "give {pod} more memory: raise podResources.memoryLimit (it is {limit}) in the ConfigMap that DaemonSet \
                     {velero}/node-agent names with --node-agent-configmap, and restart that DaemonSet"
                ),
                [self.read(), Kubectl::within(velero).ours("describe daemonset node-agent")],
            );
        }
        if self.is_maintenance() {
            return Advice::new(
                format!(
                    "raise podResources.memoryLimit (it is {limit}) in {MAINTENANCE}: {pod} maintains a repository"
                ),
                [self.read()],
            );
        }
        if container == RESTORE_WAIT {
            return Advice::new(
                format!(
                    "raise memLimit (it is {limit}) for the next Restore, in the ConfigMap with the label \
                     velero.io/pod-volume-restore in namespace {velero}"
                ),
                [self.read(), plugin_config(velero)],
            );
        }
        Advice::new(
            format!("raise resources.limits.memory (it is {limit}) of container {container} in {}", self.workload()),
            [self.read()],
        )
    }

    fn image(&self, container: &str) -> Option<Advice> {
        let image = kinds::spec(container, self.object?).map_or("", |spec| text(&spec["image"]));
        if image.is_empty() || !image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte)) {
            return Advice::new(
                format!("correct the image of container {container} in {}", self.workload()),
                [self.read()],
            );
        }
        let (from, more) = if container == RESTORE_WAIT {
            let velero = self.velero();
            let label = "velero.io/pod-volume-restore";
            let words = format!(
                "; for the next Restore a ConfigMap with the label {label} in namespace {velero} can name another one"
            );
            (words, Some(plugin_config(velero)))
        } else if self.is_mover() {
            (format!("; a mover has the image of DaemonSet {}/node-agent", self.velero()), None)
        } else {
            (format!(", or name another one in {}", self.workload()), None)
        };
        let node = match self.of_object("/spec/nodeName") {
            "" => "its node".to_owned(),
            node => format!("node {node}"),
        };
        Advice::new(
            format!("make image {image} available to {node} (check its name, its registry and imagePullSecrets){from}"),
            [self.read()].into_iter().chain(more),
        )
    }

    fn unscheduled(&self) -> Option<Advice> {
        let message = condition(self.object?, "PodScheduled").map_or("", |condition| text(&condition["message"]));
        // The scheduler's reasons, in its own words.
        let lacking =
            message.split("Insufficient ").skip(1).map(|rest| rest.split([',', '.', ' ']).next().unwrap_or_default());
        let mut lacking: Vec<&str> = lacking.filter(|name| is_name(name)).collect();
        lacking.dedup();
        let mut fields: Vec<String> = lacking.into_iter().map(|name| format!("resources.requests.{name}")).collect();
        let others =
            [("untolerated taint", "spec.tolerations"), ("node affinity", "spec.affinity and spec.nodeSelector")];
        fields.extend(others.iter().filter(|(words, _)| message.contains(words)).map(|(_, field)| (*field).to_owned()));
        let what = match fields.as_slice() {
            [] => "what the scheduler says".to_owned(),
            fields => fields.join(", "),
        };
        Advice::new(
            format!("make room for {} on a node, or change {what} in {}", self.pod(), self.workload()),
            [self.read(), Kubectl::of_cluster().ours("describe nodes")],
        )
    }

    fn failed_pod(&self) -> Option<Advice> {
        let (reason, node) = (self.of_object("/status/reason"), self.of_object("/spec/nodeName"));
        let commands = [Kubectl::of_cluster().ours("describe node").name(node), self.read()];
        let low = self.of_object("/status/message").split_once("low on resource: ").map(|(_, rest)| rest);
        let low = low.and_then(|rest| rest.split(['.', ' ', ',']).next()).filter(|name| is_name(name));
        match (reason, low) {
            ("Evicted", Some(low)) => Advice::new(
                format!(
                    "relieve the {low} of node {node}, or set resources.requests.{low} in {} to what it uses: the kubelet evicts \
                     first what uses more than it requested",
                    self.workload()
                ),
                commands,
            ),
            _ => Advice::new(format!("see on node {node} why {} failed", self.pod()), commands),
        }
    }

    fn lost(&self) -> Option<Advice> {
        let volume = self.of_object("/spec/volumeName");
        Advice::new(
            format!(
                "create PersistentVolume {volume} again for {}, if the storage still has what it held; otherwise that data is \
                 gone, and the claim has to make way for a new one",
                self.last
            ),
            [self.read(), Kubectl::of_cluster().ours("get pv")],
        )
    }

    fn held(&self, user: Option<&Id>) -> Option<Advice> {
        let (volume, node) = (self.of_object("/spec/source/persistentVolumeName"), self.of_object("/spec/nodeName"));
        let of_node = Kubectl::of_cluster().ours("describe node").name(node);
        match user {
            Some(pod) => Advice::new(
                format!(
                    "let pod {}/{} on node {node} end, by scaling down what owns it (it serves nobody then): only then can \
                     Kubernetes detach volume {volume}",
                    pod.namespace, pod.name
                ),
                [Kubectl::within(&pod.namespace).ours("describe pod").name(&pod.name), self.read(), of_node],
            ),
            None => Advice::new(
                format!("see why node {node} still holds volume {volume}, in {}", self.last),
                [self.read(), of_node],
            ),
        }
    }

    /// The kind of an error is not served.
    fn definition(&self) -> Option<Advice> {
        let last = self.last;
        let is_established = |definition: &Value| {
            condition(definition, "Established").is_none_or(|established| established["status"] == "True")
        };
        let sentence = match self.object {
            None => format!("install {last}: the Backup may not contain it"),
            Some(definition) if is_established(definition) => format!(
                "let {last} serve the version that the objects of the Backup have (spec.versions[].served), or make a Backup \
                 of them in a version that it serves"
            ),
            Some(_) => format!("correct what the conditions of {last} name, until it is Established"),
        };
        Advice::new(sentence, [self.read()])
    }

    fn leaving(&self, finalizer: &str, user: Option<&Id>) -> Option<Advice> {
        let named = if finalizer.split('/').all(is_name) {
            format!("finalizer {finalizer}")
        } else {
            "its finalizer".to_owned()
        };
        if let Some(pod) = user.filter(|_| finalizer != kinds::IN_USE) {
            return Advice::new(
                format!(
                    "let pod {}/{} end: the controller of {named} has to finish with it, and removing a finalizer by hand skips \
                     its cleanup and can lose data; {} is gone only when the pod is",
                    pod.namespace, pod.name, self.last
                ),
                [Kubectl::within(&pod.namespace).ours("describe pod").name(&pod.name), self.read()],
            );
        }
        if let Some(pod) = user {
            return Advice::new(
                format!(
                    "let pod {}/{} end, by scaling down what owns it (it serves nobody then): {} is gone only then, with its data \
                     if its volume's reclaim policy is Delete",
                    pod.namespace, pod.name, self.last
                ),
                [Kubectl::within(&pod.namespace).ours("describe pod").name(&pod.name), self.read()],
            );
        }
        Advice::new(
            format!(
                "let the controller of {named} finish with {}: removing a finalizer by hand skips its cleanup and can lose \
                 data",
                self.last
            ),
            [self.read()],
        )
    }

    fn read_only(&self) -> Option<Advice> {
        Advice::new(
            format!(
                "set spec.accessMode of {} to ReadWrite, or name another location in spec.storageLocation",
                short(self.last)
            ),
            [self.read()],
        )
    }

    /// The annotations and fields are in `https://velero.io/docs/v1.18/backup-hooks/` and `…/restore-hooks/`.
    fn hook(&self, hook: &FailedHook) -> Option<Advice> {
        let FailedHook { phase, name, is_annotation, pod, container, .. } = hook;
        let (within, pod) = match pod.split_once('/') {
            Some((namespace, pod)) => (Some(namespace), pod),
            None => (self.only_namespace(), pod.as_str()),
        };
        if ![pod, container.as_str()].into_iter().all(is_name) {
            return None;
        }
        let (target, kind) = (&self.last.name, self.last.kind.as_str());
        let sentence = if *is_annotation {
            let annotation = match (&self.last.kind, phase.as_str()) {
                (Kind::Restore, _) => "annotation post.hook.restore.velero.io/command".to_owned(),
                (_, "pre" | "post") => format!("annotation {phase}.hook.backup.velero.io/command"),
                _ => "its annotation".to_owned(),
            };
            format!("correct the command in {annotation} so that it ends well in container {container} of pod {pod}")
        } else {
            let hook = if is_name(name) { format!("hook {name}") } else { "the hook".to_owned() };
            format!(
                "let the command end well in container {container} of pod {pod}, or correct it in {hook} in spec.hooks of {kind} \
                 {target}"
            )
        };
        let read = match within {
            Some(namespace) => Kubectl::within(namespace).ours("describe pod").name(pod),
            None => {
                Kubectl::of_cluster().ours("get pods --all-namespaces --field-selector").joined("metadata.name=", pod)
            }
        };
        Advice::new(sentence, [read])
    }

    /// The namespace of the target's objects, if its specification leaves one.
    fn only_namespace(&self) -> Option<&'a str> {
        let spec = &self.object?["spec"];
        match items(&spec["includedNamespaces"]) {
            [one] => one
                .as_str()
                .map(|name| spec["namespaceMapping"][name].as_str().unwrap_or(name))
                .filter(|name| is_name(name)),
            _ => None,
        }
    }

    fn flag(&self, flag: &str) -> Option<Advice> {
        Advice::new(format!("take {flag} out of the args of Velero's container in {}", self.last), [self.read()])
    }

    fn scaled_to_zero(&self) -> Option<Advice> {
        let last = self.last;
        let scale = (self.root.confidence == Confidence::Certain).then(|| {
            Kubectl::within(&last.namespace).ours("scale deployment").name(&last.name).ours("--replicas=1").changing()
        });
        Advice::new(
            format!("set spec.replicas of {last} to 1, unless somebody stopped Velero on purpose"),
            [self.read()].into_iter().chain(scale),
        )
    }

    fn server(&self) -> Option<Advice> {
        Advice::new(
            format!("see in the Events of {} and of its pods why none is ready", self.last),
            [self.read(), Kubectl::within(&self.last.namespace).ours("get pods -o wide")],
        )
    }

    fn node(&self) -> Option<Advice> {
        let name = &self.last.name;
        Advice::new(
            format!(
                "let the kubelet of node {name} report Ready again: the node's conditions say since when it does not, the kubelet's log \
                 on that machine says why"
            ),
            [self.read(), Kubectl::of_cluster().ours("get nodes")],
        )
    }

    fn namespace(&self) -> Option<Advice> {
        let name = &self.last.name;
        let object = self.object?;
        let message = |kind: &str| {
            condition(object, kind).filter(|one| one["status"] == "True").map_or("", |one| text(&one["message"]))
        };
        // `Some resources are remaining: databases.example.com has 1 resource instances, pods. has 2 resource instances`,
        // `…finalizers remaining: example.com/guard in 1 resource instances`: Kubernetes' namespaced_resources_deleter.go.
        let first = |message: &'a str, behind: &str| {
            let (_, rest) = message.split_once("remaining: ")?;
            rest.split_once(behind).map(|(name, _)| name.trim_end_matches('.'))
        };
        let left = first(message("NamespaceContentRemaining"), " has ").filter(|name| is_name(name));
        let finalizer = first(message("NamespaceFinalizersRemaining"), " in ");
        let finalizer = finalizer
            .filter(|name| name.split('/').all(is_name))
            .map_or("their finalizers".to_owned(), |name| format!("finalizer {name}"));
        let of_left = left.map(|left| Kubectl::within(name).ours("get").name(left).ours("-o yaml"));
        let what = left.map_or("what is left".to_owned(), |left| format!("the {left} that are left"));
        Advice::new(
            format!(
                "let the controller of {finalizer} finish {what} in namespace {name}: removing a finalizer by hand skips its \
                 cleanup and can lose data"
            ),
            of_left.into_iter().chain([self.read()]),
        )
    }
}

/// The ConfigMaps by which Velero's restore actions are set
/// (`https://velero.io/docs/v1.18/file-system-backup/#customize-restore-helper-container`).
fn plugin_config(velero: &str) -> Kubectl {
    Kubectl::within(velero).ours("get configmaps -l velero.io/plugin-config --show-labels")
}

/// `BackupStorageLocation east`: all are in one namespace.
fn short(id: &Id) -> String {
    format!("{} {}", id.kind.as_str(), id.name)
}

/// No node-agent on a node.
fn not_on(node: &str, velero: &str) -> Option<Advice> {
    if !is_name(node) {
        return None;
    }
    Advice::new(
        format!(
            "let DaemonSet node-agent in namespace {velero} have a running pod on node {node}: its nodeSelector, affinity and \
             tolerations have to fit that node"
        ),
        [
            Kubectl::within(velero).ours("get pods -o wide --field-selector").joined("spec.nodeName=", node),
            Kubectl::within(velero).ours("describe daemonset node-agent"),
            Kubectl::of_cluster().ours("describe node").name(node),
        ],
    )
}
