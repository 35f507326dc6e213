//! Adds the captured data of hosting pods, and the copies that node-agents made of their logs, at the paths that the
//! live pods would have had. The API server's own data comes first, then captured data, then copies; no path appears
//! twice.

use std::{
    collections::BTreeSet,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use debugbundle_archive::{Entry, Segment};
use debugbundle_format::{
    BundlePath,
    manifest::{Missing, MissingCode, MissingSeverity, Source, SourceKind, Truncation, TruncationReason},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    CollectError, Work,
    entry::{EntryContext, LazyEntry, WriteError},
    entry_set::{BudgetedEntries, KeptEntry},
    missing::{missing, no_room, not_redacted},
    on_a_thread,
    window::Cutter,
};
use crate::{
    access::need,
    cluster::ApiKind,
    discovery::Snapshot,
    plan::TimeWindow,
    pod_capture::{CapturedLog, CapturedPod, FOLLOWED, NotCaptured, PODS, PodCapture},
    velero::PodRole,
};

/// Most copies taken out of node-agents' logs, and most bytes kept of one copy.
const COPIES: usize = 256;
const COPY: u64 = 4 << 20;
/// The same after the spool was full.
const LEAST_COPY: u64 = 256 << 10;
/// The annotation of an object that was gone from the API server when the bundle was made.
const LAST_SEEN: &str = "debugbundle.io/last-seen";

/// Captured data of hosting pods, beside what the API server returns.
pub(super) struct CapturedPods {
    pod_capture: PodCapture,
    namespace: String,
    /// The pods that belong to this bundle, by name; of two with the same name, the one seen last comes first.
    pods: Vec<CapturedPod>,
    /// Names of the objects that the pods work for; `None`: all objects.
    names: Option<BTreeSet<String>>,
    /// Names of pods for which the cache had no room.
    turned_away: BTreeSet<String>,
    /// Names of pods that still exist.
    there: BTreeSet<String>,
    /// UIDs of node-agents' pods.
    agents: BTreeSet<String>,
    copies: AtomicUsize,
    tight: AtomicBool,
}

impl CapturedPods {
    pub(super) fn of(pod_capture: &PodCapture, snapshot: &Snapshot) -> Self {
        let mut pods: Vec<CapturedPod> = pod_capture.pods().into_iter().filter(|pod| belongs(pod, snapshot)).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name).then(b.seen.cmp(&a.seen)));
        let agents = snapshot.installation.pods.iter().filter(|pod| matches!(pod.role, PodRole::NodeAgent { .. }));
        Self {
            pod_capture: pod_capture.clone(),
            namespace: snapshot.installation.namespace.clone(),
            pods,
            names: snapshot
                .target
                .object
                .is_some()
                .then(|| snapshot.target.data.iter().map(|one| one.name.clone()).collect()),
            turned_away: pod_capture.turned_away(),
            there: snapshot.installation.pods.iter().map(|pod| pod.name.clone()).collect(),
            agents: agents.map(|pod| pod.uid.clone()).collect(),
            copies: AtomicUsize::new(0),
            tight: AtomicBool::new(false),
        }
    }

    /// The spool was full: from now on less is kept of each copy.
    pub(super) fn keep_less(&self) {
        self.tight.store(true, Ordering::Relaxed);
    }

    /// Whether this is a node-agent's pod.
    pub(super) fn is_agent(&self, uid: &str) -> bool {
        self.agents.contains(uid)
    }

    /// Counts a copy; returns whether it is within the limit.
    pub(super) fn counts_copy(&self) -> bool {
        self.copies.fetch_add(1, Ordering::Relaxed) < COPIES
    }

    /// Most bytes kept of one copy.
    pub(super) fn of_a_copy(&self) -> u64 {
        if self.tight.load(Ordering::Relaxed) { LEAST_COPY } else { COPY }
    }

    /// Captured objects of this kind, which a list may no longer contain.
    pub(super) fn unlisted(&self, kind: &ApiKind, namespace: Option<&str>) -> Unlisted {
        let all = match kind.plural.as_str() {
            _ if !kind.group.is_empty() || namespace != Some(self.namespace.as_str()) => Vec::new(),
            "pods" => self.pods.iter().map(|pod| (pod.uid.clone(), pod.seen, pod.object.clone())).collect(),
            "events" => {
                let of = |pod: &CapturedPod| {
                    pod.events.clone().into_iter().map({
                        let seen = pod.seen;
                        move |(uid, json)| (uid, seen, json)
                    })
                };
                self.pods.iter().flat_map(of).collect()
            }
            _ => Vec::new(),
        };
        Unlisted { all, listed: BTreeSet::new() }
    }

    /// Whether the pod is gone, so that only the copy is left, and belongs to this bundle.
    pub(super) fn wants_copy(&self, pod: &str) -> bool {
        !self.there.contains(pod) && self.names.as_ref().is_none_or(|names| names.contains(pod))
    }

    /// Whether the line names one of the objects that the pods work for.
    pub(super) fn is_about_ours(&self, line: &[u8]) -> bool {
        let in_line = |name: &String| memchr::memmem::find(line, name.as_bytes()).is_some();
        self.names.as_ref().is_none_or(|names| names.iter().any(in_line))
    }

    /// Bundle path of a container's log.
    pub(super) fn path(&self, pod: &str, container: &str) -> BundlePath {
        let file = "current.log";
        BundlePath::new(["namespaces", &self.namespace, "pods", pod, container, container, "logs", file])
    }
}

/// Whether a captured pod belongs to the bundle: a bundle of the installation takes all of them.
fn belongs(pod: &CapturedPod, snapshot: &Snapshot) -> bool {
    if snapshot.target.object.is_none() {
        return true;
    }
    match pod.repository() {
        None => snapshot.target.data.iter().any(|object| pod.works_for(&object.name)),
        Some(repository) => snapshot.repository_labels().contains(repository),
    }
}

/// Objects to add to a List that does not contain them.
#[derive(Debug, Default)]
pub(super) struct Unlisted {
    /// UID, time last seen, JSON.
    all: Vec<(String, Timestamp, Arc<[u8]>)>,
    listed: BTreeSet<String>,
}

impl Unlisted {
    /// Notes that the list contains this object.
    pub(super) fn listed(&mut self, object: &Value) {
        if let Some(uid) = object["metadata"]["uid"].as_str()
            && self.all.iter().any(|(known, ..)| known == uid)
        {
            self.listed.insert(uid.to_owned());
        }
    }

    /// The list starts over.
    pub(super) fn restart(&mut self) {
        self.listed.clear();
    }

    /// The objects that the list lacks, each annotated with the time it was last seen.
    pub(super) fn objects(&self) -> Vec<Value> {
        let missing = self.all.iter().filter(|(uid, ..)| !self.listed.contains(uid));
        let read = |(_, seen, json): &(String, Timestamp, Arc<[u8]>)| {
            let mut object: Value = serde_json::from_slice(json).ok()?;
            let meta = object.get_mut("metadata")?.as_object_mut()?;
            let seen = Value::from(format!("{seen:.0}"));
            match meta.get_mut("annotations").and_then(Value::as_object_mut) {
                Some(annotations) => drop(annotations.insert(LAST_SEEN.to_owned(), seen)),
                None => drop(meta.insert("annotations".to_owned(), json!({LAST_SEEN: seen}))),
            }
            Some(object)
        };
        missing.filter_map(read).collect()
    }
}

/// Adds the logs of pods that are gone: first the captured logs, then copies where no captured log exists.
pub(super) async fn add_logs(
    work: &Arc<Work>,
    mut room: BudgetedEntries,
    lost: &mut Vec<Missing>,
) -> Result<BudgetedEntries, CollectError> {
    let mut copies = room.stand_ins();
    let mut there = room.paths();
    for pod in &work.captured.pods {
        for container in &pod.containers {
            let path = work.captured.path(&pod.name, container);
            if there.contains(&path) {
                continue;
            }
            let Some(log) = work.captured.pod_capture.log(&pod.uid, container) else { continue };
            let (context, window, place) = (work.context.clone(), work.logs.window, path.clone());
            let what = || format!("captured log of {}/{} container {container}", work.captured.namespace, pod.name);
            let not_kept = match on_a_thread(move || written(&context, place, &log, window)).await {
                Ok(Some((segment, truncated, times))) => {
                    let source = source_of_captured(pod, container, times);
                    let mut entry = Entry { segment, source, truncated, read_at: pod.seen, ms: 0 };
                    take_the_place(lost, &mut entry);
                    room.take_log(entry, false);
                    there.insert(path);
                    continue;
                }
                Ok(None) => continue,
                Err(WriteError::Spool(error)) if error.is_full() => no_room(&what(), path.as_str(), &error),
                Err(WriteError::Spool(error)) => return Err(error.into()),
                Err(WriteError::Entry(error)) => not_redacted(&what(), path.as_str(), &error),
            };
            lost.retain(|lost| lost.path != path.as_str());
            lost.push(not_kept);
        }
    }
    let unread = untold(work);
    // Sorted, so that which of several copies is used does not depend on the order of reading.
    copies.sort_by(|a, b| {
        let key = |kept: &KeptEntry| (kept.entry.source.path.clone(), kept.entry.source.query.clone());
        key(a).cmp(&key(b))
    });
    for mut copy in copies {
        if there.insert(copy.entry.segment.path().clone()) {
            take_the_place(lost, &mut copy.entry);
            room.adopt(copy);
        }
    }
    for unread in unread {
        let is_there = there.iter().any(|path| path.as_str() == unread.path);
        match lost.iter_mut().find(|lost| lost.path == unread.path) {
            _ if is_there => {}
            Some(told) if unread.code == MissingCode::Forbidden => *told = unread,
            // The entry already says that the pod is gone; this adds why its log was not read before.
            Some(told) => told.why = format!("{}; {}", told.why, unread.why),
            None => lost.push(unread),
        }
    }
    Ok(room)
}

/// The logs of pods that are gone and could not be captured, and why.
fn untold(work: &Work) -> Vec<Missing> {
    let captured = &work.captured;
    let note = |what: &str, path: &str, why: &str| {
        let cure = "create the DebugBundle while the pod exists";
        missing(what, path, MissingCode::Gone, MissingSeverity::Note, why, cure)
    };
    let mut notes = Vec::new();
    for pod in captured.pods.iter().filter(|pod| !captured.there.contains(&pod.name)) {
        for (container, why) in &pod.unread {
            let what = format!("log of {}/{} container {container}", captured.namespace, pod.name);
            let path = captured.path(&pod.name, container);
            notes.push(match why {
                NotCaptured::Gone => note(&what, path.as_str(), "the pod was gone before its log could be read"),
                NotCaptured::Restarted => note(
                    &what,
                    path.as_str(),
                    "the operator was restarted after the pod had ended, and it keeps captured logs in memory only",
                ),
                NotCaptured::PassedOver => note(
                    &what,
                    path.as_str(),
                    &format!(
                        "the pod was gone before its log was read: at most {FOLLOWED} logs of data movers are \
                         followed at a time"
                    ),
                ),
                NotCaptured::Refused => {
                    let pods = ApiKind::namespaced("", "v1", "pods", "Pod");
                    let need = need("get", &pods, "log", Some(&captured.namespace));
                    let why = "the API server refused its log (403) while the pod existed, and now the pod is gone";
                    work.read_scope.forbidden(&what, path.as_str(), why, need)
                }
            });
        }
    }
    for name in captured.turned_away.iter().filter(|name| captured.wants_copy(name)) {
        let (what, path) = (
            format!("pod {}/{name}", captured.namespace),
            BundlePath::new(["namespaces", &captured.namespace, "pods", name]),
        );
        let why =
            format!("the pod is gone and was not watched: at most {PODS} pods of data movers are watched at a time");
        notes.push(note(&what, path.as_str(), &why));
    }
    let beyond = captured.copies.load(Ordering::Relaxed).saturating_sub(COPIES);
    if beyond > 0 {
        let why = format!(
            "the node-agents' logs contain {beyond} more copies than the {COPIES} that become files of their own"
        );
        let path = BundlePath::new(["namespaces", &captured.namespace, "pods"]);
        let (code, cure) =
            (MissingCode::NotLooked, "read them in the node-agents' logs, between `begin pod logs` and `end pod logs`");
        let what = "copies of the logs of data movers' pods";
        notes.push(missing(what, path.as_str(), code, MissingSeverity::Note, &why, cure));
    }
    notes
}

/// Replaces the note or error about a missing log by the entry.
fn take_the_place(missing: &mut Vec<Missing>, entry: &mut Entry) {
    let path = entry.segment.path().as_str();
    let Some(at) = missing.iter().position(|missing| missing.path == path) else { return };
    let lost = missing.remove(at);
    if lost.severity == MissingSeverity::Error {
        let before = entry.source.warning.take().unwrap_or_default();
        entry.source.warning = Some(format!("{before}; the log itself could not be read: {}", lost.why));
        entry.truncated = Some(entry.segment.broken_off(TruncationReason::Reset));
    }
}

type Times = (Option<Timestamp>, Option<Timestamp>);

/// Writes the lines of a captured log that are in the window, after a line that counts the lines that were not kept.
fn written(
    context: &EntryContext,
    path: BundlePath,
    log: &CapturedLog,
    window: TimeWindow,
) -> Result<Option<(Segment, Option<Truncation>, Times)>, WriteError> {
    let CapturedLog { content, left_out_bytes, left_out_lines } = log;
    let (mut cutter, mut kept) = (Cutter::new(window), Vec::with_capacity(content.len()));
    let mut out = |bytes: &[u8]| {
        kept.extend_from_slice(bytes);
        Ok::<(), WriteError>(())
    };
    cutter.feed(content, &mut out)?;
    cutter.end(&mut out)?;
    let mut entry = LazyEntry::new(context, path, None);
    if *left_out_lines > 0 && !kept.is_empty() {
        let stamp = cutter.first.map(|first| format!("{first:.9} ")).unwrap_or_default();
        writeln!(
            entry,
            "{stamp}debugbundle: {left_out_bytes} bytes, {left_out_lines} lines before this were not captured"
        )?;
    }
    entry.write_all(&kept)?;
    let times = (cutter.first, cutter.last);
    let cut = |segment: &Segment| Truncation {
        reason: TruncationReason::Limit,
        kept_head: 0,
        kept_tail: segment.bytes(),
        left_out_bytes: *left_out_bytes,
        left_out_lines: *left_out_lines,
    };
    let segment = entry.finish()?;
    Ok(segment.map(|segment| {
        let truncated = (*left_out_lines > 0).then(|| cut(&segment));
        (segment, truncated, times)
    }))
}

fn source_of_captured(pod: &CapturedPod, container: &str, (first_line, last_line): Times) -> Source {
    Source {
        kind: SourceKind::PodLog,
        pod_uid: Some(pod.uid.clone()),
        container: Some(container.to_owned()),
        previous: Some(false),
        node: pod.node.clone(),
        first_line,
        last_line,
        warning: Some("captured while the pod ran; the pod was gone when the bundle was made".to_owned()),
        ..Source::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use debugbundle_crd::TargetKind;

    use super::*;
    use crate::{discovery::fixture, velero::DataObject};

    fn captured(name: &str, labels: &[(&str, &str)]) -> CapturedPod {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        CapturedPod {
            uid: name.to_owned(),
            name: name.to_owned(),
            node: None,
            labels,
            seen: Timestamp::UNIX_EPOCH,
            object: Arc::from([]),
            events: Vec::new(),
            containers: Vec::new(),
            unread: Vec::new(),
        }
    }

    #[test]
    fn maintenance_that_was_caught_belongs_to_the_target_whose_data_is_in_that_repository() {
        let mut snapshot = fixture::snapshot();
        let maintenance = |repository| captured("m", &[("velero.io/repo-name", repository)]);
        assert!(belongs(&maintenance("any-barn-kopia"), &snapshot), "all is of interest to the installation");
        snapshot.target.object = Some(fixture::target(TargetKind::Backup, "Failed"));
        let data = json!({"metadata": {"name": "x1"}, "spec": {"pod": {"namespace": "shop", "name": "p"}}});
        snapshot.target.data = vec![DataObject::read("podvolumebackups", &data).expect("it has a name")];
        for (repository, expected) in [
            ("shop-barn-kopia", true),
            ("shop-two-barn-kopia", false),
            ("shop-silo-kopia", false),
            ("shop-barn-restic", false),
        ] {
            assert_eq!(belongs(&maintenance(repository), &snapshot), expected, "{repository}");
        }
        assert!(belongs(&captured("x1", &[]), &snapshot) && !belongs(&captured("x2", &[]), &snapshot));
    }
}
