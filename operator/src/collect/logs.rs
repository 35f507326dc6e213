//! Container logs, from the kubelet through the API server: cut to the window, bounded, never taken for what they are
//! not. Which containers are read is the plan's matter.

use std::{collections::BTreeSet, io::Write as _, sync::Arc};

use bytes::Bytes;
use debugbundle_archive::Segment;
use debugbundle_format::{
    BundlePath, LogFile, layout,
    manifest::{MissingCode, MissingSeverity, Source, SourceKind, TruncationReason},
};
use futures::Stream;
use jiff::{Timestamp, Unit};
use tokio::time::Instant;

use super::{
    Outcome, Work,
    embedded_pod_logs::{Copied, Copies, source_of_copy},
    entry::{LazyEntry, WriteError},
    missing::{is_untrusted_kubelet, missing},
    on_a_thread,
    server_lines::ServerLogReader,
    window::Cutter,
};
use crate::{
    cluster::{ApiKind, ClusterError, Flow, Pieces, PumpEnd, bounded, pipe, pump, query_value},
    plan::{self, Item, ItemSource, LogLimits, TimeWindow},
    velero::Pod,
};

/// Kept of the lines about the target (bytes).
const LINES: u64 = 32 << 20;
/// The kubelet answers with status 200 and one sentence with one of these beginnings if the container or its log file
/// is gone (`pkg/kubelet/kuberuntime`, `GetContainerLogs`; `k8s.io/cri-client/pkg/logs`, `ReadLogs`).
const NO_LOG: [&[u8]; 2] = [b"unable to retrieve container logs for ", b"failed to try resolving symlinks in path "];
/// Largest pod that is read to see which containers it has (bytes); etcd holds none that is larger.
const POD: usize = 4 << 20;
/// A body that begins like that and is longer is a log.
const NO_LOG_MOST: usize = 1024;

/// Letters that are drawn for a name, and how many (apimachinery, `pkg/util/rand`, and apiserver, `pkg/storage/names`).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const DRAWN: usize = 5;

/// Which log.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContainerLogRef<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub uid: &'a str,
    pub container: &'a str,
    pub previous: bool,
    pub limit: u64,
    pub tail_only: bool,
    pub server: Option<&'a plan::ServerLog>,
}

/// Reads one container's log.
pub(super) async fn read(
    work: &Arc<Work>,
    item: &Item,
    which: ContainerLogRef<'_>,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let pods = ApiKind::namespaced("", "v1", "pods", "Pod");
    let path = format!("{}/log", pods.path(Some(which.namespace), which.pod));
    let query = query(which, &work.logs);
    let node = node_of(item);
    let mut warning = None;
    let mut insecure = "";
    let mut place = item.path.clone();
    let first = work.kubelets.open(node, &format!("{path}?{query}"), deadline).await;
    let body = match first {
        Err(error) if is_untrusted_kubelet(&error) => {
            warning = Some(
                "the kubelet's certificate could not be verified, so the origin of this log is not proven".to_owned(),
            );
            place = insecure_path(which);
            insecure = "&insecureSkipTLSVerifyBackend=true";
            work.kubelets.open(node, &format!("{path}?{query}{insecure}"), deadline).await.map_err(|_| error)
        }
        first => first,
    };
    let body = match body {
        Ok(body) => body,
        // What was refused may be the log of another pod than the one that was meant.
        Err(error) if error.code() == Some(400) => {
            let other = replaced(work, item, which, deadline).await;
            return Ok(other.unwrap_or_else(|| refused(work, item, which, &error)));
        }
        Err(error) => return Ok(refused(work, item, which, &error)),
    };

    let sink = Sink::new(work, place, which);
    let (sink, mut end) = poured(work, node, body, sink, deadline).await?;
    let again = |logs| format!("{path}?{}{insecure}", self::query(which, &logs));
    let (sink, broken) = taken_up(work, node, sink, &mut end, again, deadline).await?;
    if !matches!(end, PumpEnd::Stalled(_)) {
        work.kubelets.answered(node);
    }
    let done = on_a_thread(move || sink.finish()).await?;

    // Only a look after the reading proves whose log it was; a pod that is gone by now was there before. Where the name
    // comes but once, nothing has to be proven.
    let only_one = work.only_once.contains(&(which.namespace.to_owned(), which.pod.to_owned()));
    if !only_one && let Some(other) = replaced(work, item, which, deadline).await {
        return Ok(other);
    }
    let source = Source {
        kind: SourceKind::PodLog,
        path: Some(path),
        query: Some(query),
        pod_uid: Some(which.uid.to_owned()),
        container: Some(which.container.to_owned()),
        previous: Some(which.previous),
        node: item.node.clone(),
        first_line: done.first,
        last_line: done.last,
        warning,
        ..Source::default()
    };
    Ok(outcome(item, which, done, (&end, broken), source, work))
}

/// Pods after which no other one gets the same name, by namespace and name: their controllers draw the last five
/// letters by lot, out of 14 million. Those of StatefulSets, and those that somebody named, are not among them.
pub(super) fn named_once(pods: &[Pod]) -> BTreeSet<(String, String)> {
    let drawn = |pod: &&Pod| {
        let Some(owner) = &pod.owner else { return false };
        let letters = pod.name.strip_prefix(owner.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
        (owner.is("apps", "ReplicaSet") || owner.is("apps", "DaemonSet") || owner.is("batch", "Job"))
            && letters
                .is_some_and(|drawn| drawn.len() == DRAWN && drawn.bytes().all(|letter| LETTERS.contains(&letter)))
    };
    pods.iter().filter(drawn).map(|pod| (pod.namespace.clone(), pod.name.clone())).collect()
}

/// What is to be done if another pod has the name now: the planned one is gone, and the other is read under its own
/// UID, once. `None`: it is the planned one, or nobody knows better.
async fn replaced(work: &Work, item: &Item, which: ContainerLogRef<'_>, deadline: Instant) -> Option<Outcome> {
    let uid = work.cluster.pod_uid(which.namespace, which.pod, deadline).await.ok()?;
    if which.uid.is_empty() || uid == which.uid {
        return None;
    }
    let why = format!("another pod has this name now: UID {} instead of {}", bounded(&uid, 64), which.uid);
    let mut outcome = note(item, MissingCode::Gone, MissingSeverity::Note, &why);
    let first = matches!(&item.source, ItemSource::PodLog { instead_of: None, .. });
    if first {
        let path = ApiKind::namespaced("", "v1", "pods", "Pod").path(Some(which.namespace), which.pod);
        let pod = work.cluster.get(&path, POD, deadline).await.ok();
        outcome.again = pod.and_then(|pod| in_its_place(item, &Pod::read(&pod)?)).map(Box::new);
    }
    Some(outcome)
}

/// The item that reads the same container of the pod that took the planned one's place, if it has such a log.
fn in_its_place(item: &Item, pod: &Pod) -> Option<Item> {
    let mut item = item.clone();
    let ItemSource::PodLog { uid, instead_of, container, previous, .. } = &mut item.source else { return None };
    let found = pod.containers.iter().find(|one| one.name == *container)?;
    if *previous && !found.has_previous() {
        return None;
    }
    *instead_of = Some(std::mem::replace(uid, pod.uid.clone()));
    item.node.clone_from(&pod.node);
    Some(item)
}

/// Carries a body into the sink.
async fn poured<S>(
    work: &Work,
    node: &str,
    body: S,
    mut sink: Sink,
    deadline: Instant,
) -> Result<(Sink, PumpEnd), WriteError>
where
    S: Stream<Item = Result<Bytes, kube::Error>>,
{
    let (to, pieces) = pipe();
    let writing = tokio::task::spawn_blocking(move || sink.run(pieces).map(|()| sink));
    let requested = Instant::now();
    let seen = |bytes| {
        work.progress.read(bytes);
        work.kubelets.heard(node, requested, Instant::now());
    };
    let end = pump(body, to, work.kubelets.idle(node), deadline, seen).await;
    Ok((super::joined(writing.await)?, end))
}

/// Asks once more where a log broke off. When the kubelet breaks off, the API server ends its answer as if all were
/// well; that a line has no end is the only sign. Also tells whether the log is known to be broken after all.
async fn taken_up(
    work: &Work,
    node: &str,
    mut sink: Sink,
    end: &mut PumpEnd,
    path: impl Fn(LogLimits) -> String,
    deadline: Instant,
) -> Result<(Sink, bool), WriteError> {
    let mid_line = sink.cutter.is_mid_line();
    let broke_off = matches!(end, PumpEnd::Reset(_)) || (*end == PumpEnd::Whole && mid_line);
    if !broke_off {
        return Ok((sink, false));
    }
    let Some(from) = sink.cutter.resume() else { return Ok((sink, mid_line)) };
    let logs = LogLimits { window: TimeWindow { from: Some(from), to: None }, tail_lines: None };
    let Ok(body) = work.kubelets.open(node, &path(logs), deadline).await else {
        return Ok((sink, mid_line));
    };
    let before = sink.log.taken;
    let (sink, after) = poured(work, node, body, sink, deadline).await?;
    // A container may well have written a last line without an end: then nothing new came.
    let broken = sink.log.taken > before && sink.cutter.is_mid_line();
    *end = after;
    Ok((sink, broken))
}

/// Empty if the pod is on none.
fn node_of(item: &Item) -> &str {
    item.node.as_deref().unwrap_or_default()
}

fn refused(work: &Work, item: &Item, which: ContainerLogRef<'_>, error: &ClusterError) -> Outcome {
    work.kubelets.failed(node_of(item), error, Instant::now());
    Outcome { missing: vec![work.read_scope.log(item, error, which.namespace)], ..Outcome::default() }
}

fn note(item: &Item, code: MissingCode, severity: MissingSeverity, why: &str) -> Outcome {
    Outcome { missing: vec![missing(&item.what, item.path.as_str(), code, severity, why, "")], ..Outcome::default() }
}

fn outcome(
    item: &Item,
    which: ContainerLogRef<'_>,
    done: Done,
    (end, broken): (&PumpEnd, bool),
    mut source: Source,
    work: &Work,
) -> Outcome {
    if let Some(text) = done.not_a_log {
        // The runtime keeps few ended containers: in a crash loop it soon removes their logs.
        let (code, severity) = if which.previous {
            (MissingCode::NoPrevious, MissingSeverity::Note)
        } else {
            (MissingCode::BodyIsError, MissingSeverity::Error)
        };
        return note(item, code, severity, &text);
    }
    let cut = match end {
        PumpEnd::Whole if broken => Some(TruncationReason::Reset),
        PumpEnd::Whole | PumpEnd::ReaderGone => None,
        PumpEnd::Reset(_) => Some(TruncationReason::Reset),
        PumpEnd::Stalled(_) => Some(TruncationReason::Stalled),
        PumpEnd::Deadline => Some(TruncationReason::Deadline),
    };
    let Some(segment) = done.segment else {
        let error = match end {
            PumpEnd::Reset(why) => ClusterError::Reset(why.clone()),
            PumpEnd::Stalled(idle) => ClusterError::Stalled(*idle),
            PumpEnd::Deadline => ClusterError::Deadline,
            PumpEnd::Whole | PumpEnd::ReaderGone => {
                let why = if item.node.is_none() {
                    "the pod is not scheduled to a node yet"
                } else {
                    "the log has no line in the time window"
                };
                return note(item, MissingCode::Empty, MissingSeverity::Note, why);
            }
        };
        return refused(work, item, which, &error);
    };
    if let PumpEnd::Reset(why) = end {
        source.warning = Some(format!("connection was reset: {why}"));
    }
    let truncated = |segment: &Segment| match cut {
        Some(why) => Some(segment.broken_off(why)),
        None => segment.truncated(TruncationReason::Limit),
    };
    if let PumpEnd::Stalled(idle) = end {
        work.kubelets.failed(node_of(item), &ClusterError::Stalled(*idle), Instant::now());
    }
    let mut outcome = Outcome { velero_version: done.version, diagnosed: done.diagnosed, ..Outcome::default() };
    for Copied { container, segment } in done.copies {
        let truncated = segment.truncated(TruncationReason::Limit);
        outcome.copies.push((segment, source_of_copy(&source, container), truncated));
    }
    if let Some(lines) = done.lines {
        let truncated = truncated(&lines);
        outcome.push(lines, source.clone(), truncated);
    }
    let truncated = truncated(&segment);
    outcome.push(segment, source, truncated);
    outcome
}

/// The query of the request. `limitBytes` is never in it: the kubelet counts it from the oldest line and only roughly,
/// so with `tailLines` it would lose the newest lines.
fn query(which: ContainerLogRef<'_>, logs: &LogLimits) -> String {
    let mut query = format!("container={}&timestamps=true", query_value(which.container));
    if which.previous {
        query.push_str("&previous=true");
    }
    if let Some(from) = logs.window.from.and_then(whole_second) {
        query.push_str("&sinceTime=");
        query.push_str(&query_value(&from.to_string()));
    }
    if let Some(lines) = logs.tail_lines {
        query.push_str("&tailLines=");
        query.push_str(&lines.to_string());
    }
    query
}

/// The API server takes whole seconds; down, for the cutter takes care of the rest.
fn whole_second(time: Timestamp) -> Option<Timestamp> {
    time.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor)).ok()
}

fn insecure_path(which: ContainerLogRef<'_>) -> BundlePath {
    let file = if which.previous { LogFile::PreviousInsecure } else { LogFile::CurrentInsecure };
    let ContainerLogRef { namespace, pod, container, .. } = which;
    layout::container_log(namespace, pod, container, file)
}

/// What came of a body.
#[derive(Debug, Default)]
struct Done {
    segment: Option<Segment>,
    lines: Option<Segment>,
    not_a_log: Option<String>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    version: Option<(String, String)>,
    copies: Vec<Copied>,
    diagnosed: Vec<String>,
}

/// Takes a body on a thread that may block.
struct Sink {
    cutter: Cutter,
    /// The beginning, while it could be the kubelet's excuse.
    held: Option<Vec<u8>>,
    log: LazyEntry,
    server: Option<(ServerLogReader, Option<LazyEntry>)>,
    copies: Option<Copies>,
}

impl Sink {
    fn new(work: &Arc<Work>, path: BundlePath, which: ContainerLogRef<'_>) -> Self {
        let server = which.server.map(|plan::ServerLog { lines }| {
            let target = lines.as_ref().map(|lines| (lines.kind, lines.namespace.as_str(), lines.name.as_str()));
            let entry = lines.as_ref().map(|lines| LazyEntry::new(&work.context, lines.path.clone(), Some(LINES)));
            (ServerLogReader::new(target), entry)
        });
        Self {
            cutter: Cutter::new(work.logs.window),
            held: Some(Vec::new()),
            log: LazyEntry::new(&work.context, path, Some(which.limit)).tail_only(which.tail_only),
            server,
            copies: Copies::of(work, which.uid),
        }
    }

    fn run(&mut self, mut pieces: Pieces) -> Result<(), WriteError> {
        while let Some(piece) = pieces.next_piece() {
            if self.take(&piece)? == Flow::Enough {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, piece: &[u8]) -> Result<Flow, WriteError> {
        let Some(held) = &mut self.held else { return self.pass(piece) };
        held.extend_from_slice(piece);
        if could_be_excuse(held) {
            return Ok(Flow::More);
        }
        let held = self.held.take().unwrap_or_default();
        self.pass(&held)
    }

    fn pass(&mut self, piece: &[u8]) -> Result<Flow, WriteError> {
        let Self { cutter, log, server, copies, .. } = self;
        cutter.feed(piece, |kept| keep(log, server, copies, kept))
    }

    fn finish(mut self) -> Result<Done, WriteError> {
        if let Some(held) = self.held.take() {
            if NO_LOG.iter().any(|begin| held.starts_with(begin)) {
                let text = bounded(&String::from_utf8_lossy(&held), 512);
                return Ok(Done { not_a_log: Some(text), ..Done::default() });
            }
            self.pass(&held)?;
        }
        let Self { mut cutter, mut log, mut server, mut copies, .. } = self;
        cutter.end(|kept| keep(&mut log, &mut server, &mut copies, kept))?;
        let (mut lines, mut version) = (None, None);
        if let Some((mut found, mut entry)) = server {
            found.end(|line| write(entry.as_mut(), line))?;
            lines = entry.map(LazyEntry::finish).transpose()?.flatten();
            version = found.version;
        }
        let (copies, diagnosed) = copies.map(Copies::finish).transpose()?.unwrap_or_default();
        let (first, last) = (cutter.first, cutter.last);
        Ok(Done { segment: log.finish()?, lines, not_a_log: None, first, last, version, copies, diagnosed })
    }
}

fn keep(
    log: &mut LazyEntry,
    server: &mut Option<(ServerLogReader, Option<LazyEntry>)>,
    copies: &mut Option<Copies>,
    kept: &[u8],
) -> Result<(), WriteError> {
    log.write_all(kept)?;
    if let Some(copies) = copies {
        copies.feed(kept)?;
    }
    if let Some((found, entry)) = server {
        found.feed(kept, |line| write(entry.as_mut(), line))?;
    }
    Ok(())
}

fn write(entry: Option<&mut LazyEntry>, line: &[u8]) -> Result<(), WriteError> {
    match entry {
        Some(entry) => Ok(entry.write_all(line)?),
        None => Ok(()),
    }
}

/// All that came so far may still be nothing but the kubelet's one sentence.
fn could_be_excuse(held: &[u8]) -> bool {
    let begins = |sentence: &&[u8]| {
        let known = held.len().min(sentence.len());
        held[..known] == sentence[..known]
    };
    let one_line = match memchr::memchr(b'\n', held) {
        Some(at) => held[at..].iter().all(u8::is_ascii_whitespace),
        None => true,
    };
    NO_LOG.iter().any(begins) && one_line && held.len() <= NO_LOG_MOST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        discovery::fixture,
        velero::{Owner, PodRole},
    };

    fn which(previous: bool) -> ContainerLogRef<'static> {
        ContainerLogRef {
            namespace: "farm",
            pod: "herd-1",
            uid: "u",
            container: "cow",
            previous,
            limit: 1000,
            tail_only: false,
            server: None,
        }
    }

    #[test]
    fn the_query_never_limits_bytes_and_limits_lines_only_when_asked() {
        let from = Some("2026-03-01T10:00:00.7Z".parse().unwrap());
        let logs = LogLimits { window: TimeWindow { from, to: None }, tail_lines: None };
        assert_eq!(query(which(false), &logs), "container=cow&timestamps=true&sinceTime=2026-03-01T10%3A00%3A00Z");
        let logs = LogLimits { window: TimeWindow::default(), tail_lines: Some(9) };
        assert_eq!(query(which(true), &logs), "container=cow&timestamps=true&previous=true&tailLines=9");
    }

    #[test]
    fn only_names_that_are_drawn_by_lot_come_but_once() {
        let pod = |name: &str, owner: Option<(&str, &str)>| {
            let mut pod = fixture::pod(name, PodRole::Other, "n1", &[("cow", 0)]);
            pod.owner = owner.map(|(kind, name)| Owner {
                group: "apps".to_owned(),
                kind: kind.to_owned(),
                name: name.to_owned(),
            });
            pod
        };
        let pods = [
            pod("velero-6d4b75c8f9-x2x4k", Some(("ReplicaSet", "velero-6d4b75c8f9"))),
            pod("node-agent-zzzzz", Some(("DaemonSet", "node-agent"))),
            pod("herd-24569", Some(("StatefulSet", "herd"))),
            pod("herd-0", Some(("DaemonSet", "herd"))),
            pod("herd-x2x4a", Some(("DaemonSet", "herd"))),
            pod("other-x2x4k", Some(("DaemonSet", "herd"))),
            pod("node-agent-x2x4k", None),
        ];
        let found: Vec<_> = named_once(&pods).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, ["node-agent-zzzzz", "velero-6d4b75c8f9-x2x4k"]);
    }

    #[test]
    fn only_a_body_that_is_nothing_else_is_the_kubelets_excuse() {
        for excuse in [
            b"unable to retrieve container logs for containerd://0123\n".as_slice(),
            b"failed to try resolving symlinks in path \"/var/log/pods/x/1.log\": lstat: no such file or directory",
        ] {
            for length in 0..=excuse.len() {
                assert!(could_be_excuse(&excuse[..length]), "{length}");
            }
        }
        for log in [
            b"2026-03-01T10:00:00Z unable to retrieve container logs for x".as_slice(),
            b"unable to retrieve container logs for x\n2026-03-01T10:00:00Z more\n",
            b"unable to do it\n",
        ] {
            assert!(!could_be_excuse(log), "{}", String::from_utf8_lossy(log));
        }
        let mut long = NO_LOG[0].to_vec();
        long.resize(NO_LOG_MOST + 1, b'x');
        assert!(!could_be_excuse(&long));
    }
}
