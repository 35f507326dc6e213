//! What the diagnosis takes from files that were collected: the last words of containers that ended badly, the hooks that
//! failed, the volumes that the Backup skipped, and which Lists are whole. The files are read again from their own segments: they are redacted.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _},
};

use debugbundle_archive::{Entry, Segment};
use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::{Hooks, LastWords};
use debugbundle_format::{StoreFile, layout};
use debugbundle_format::{layout::LogFile, manifest::MissingCode, text::bounded};
use serde_json::Value;

use super::Collected;
use crate::{diagnose::Said, discovery::Snapshot, velero::SkippedVolume};

/// Most bytes of one log that are read again (uncompressed), and of one line.
const LOG: u64 = 64 << 20;
const LINE: usize = 64 << 10;
/// Most containers whose last words are looked for.
const CONTAINERS: usize = 50;

/// Adds it to the evidence. Blocks.
pub(super) fn add(snapshot: &Snapshot, collected: &mut Collected) {
    let entries = &collected.entries;
    let whole = entries.iter().filter(|entry| entry.truncated.is_none()).map(|entry| entry.segment.path().as_str());
    let yaml = |path: &&str| std::path::Path::new(path).extension().is_some_and(|end| end == "yaml");
    let mut lists: BTreeSet<String> = whole.filter(yaml).map(str::to_owned).collect();
    lists.extend(collected.empty.iter().cloned());
    let ended: Vec<Ended> = collected.evidence.of_kind("Pod").flat_map(ended).take(CONTAINERS).collect();
    let said = ended.iter().flat_map(|ended| ended.said(entries)).collect();
    let target = snapshot.target.object.as_ref();
    let log = target.map(|target| layout::store_file(target.kind, &target.name, StoreFile::Log));
    let log = log.and_then(|path| find(entries, path.as_str()));
    let backup = match target {
        Some(target) if target.kind == TargetKind::Restore => snapshot.target.backup.as_ref(),
        target => target,
    };
    let info = backup.map(|backup| layout::store_file(TargetKind::Backup, &backup.name, StoreFile::VolumeInfo));
    let info = info.and_then(|path| find(entries, path.as_str())).and_then(|segment| segment.reader().ok());
    let skipped = info.map(SkippedVolume::read).unwrap_or_default();
    let gone =
        collected.missing.iter().filter(|one| one.code == MissingCode::Gone).map(|one| one.path.clone()).collect();
    let mut hooks = Hooks::default();
    if let Some(log) = log.filter(|_| has_failed_hooks(collected)) {
        each_line(log, |line| hooks.line(line));
    }
    let evidence = &mut collected.evidence;
    (evidence.lists, evidence.said, evidence.failed_hooks) = (lists, said, hooks.failed());
    (evidence.skipped, evidence.gone) = (skipped, gone);
}

/// A container with an instance that ended badly.
pub(crate) struct Ended {
    /// The pod's namespace and name.
    pub(crate) pod: (String, String),
    /// The container.
    pub(crate) container: String,
}

/// The containers of a pod that ended badly, now or before.
pub(crate) fn ended(pod: &Value) -> Vec<Ended> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let statuses = ["initContainerStatuses", "containerStatuses"].map(|field| pod["status"][field].as_array());
    let has_ended = |status: &&Value| {
        let ends = ["state", "lastState"].map(|state| status[state]["terminated"]["exitCode"].as_i64());
        ends.into_iter().flatten().any(|code| code != 0)
    };
    let pod = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
    let containers = statuses.into_iter().flatten().flatten().filter(has_ended);
    containers.map(|status| Ended { pod: pod.clone(), container: text(&status["name"]) }).collect()
}

impl Ended {
    fn said(&self, entries: &[Entry]) -> Vec<Said> {
        let files = [(LogFile::Current, false), (LogFile::Previous, true)];
        let said = files.into_iter().filter_map(|(file, is_previous)| {
            let path = layout::container_log(&self.pod.0, &self.pod.1, &self.container, file);
            let mut words = LastWords::default();
            each_line(find(entries, path.as_str())?, |line| words.line(line));
            Some(Said { pod: self.pod.clone(), container: self.container.clone(), is_previous, words: words.said()? })
        });
        said.collect()
    }
}

fn find<'a>(entries: &'a [Entry], path: &str) -> Option<&'a Segment> {
    entries.iter().map(|entry| &entry.segment).find(|segment| segment.path().as_str() == path)
}

/// Whether Velero counted a failed hook, or an error of the results speaks of one.
fn has_failed_hooks(collected: &Collected) -> bool {
    let evidence = &collected.evidence;
    let counted = evidence.target.as_ref().and_then(|target| target["status"]["hookStatus"]["hooksFailed"].as_u64());
    let errors = evidence.results.iter().flat_map(|results| &results.errors.texts);
    counted.is_some_and(|failed| failed > 0) || errors.into_iter().any(|text| text.contains("hook"))
}

/// Passes on the lines of a file, as far as it can be read. Of a longer line the beginning is passed on.
fn each_line(segment: &Segment, mut line: impl FnMut(&str)) {
    let Ok(reader) = segment.reader() else { return };
    let mut reader = BufReader::with_capacity(64 << 10, reader.take(LOG));
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
        line(&bounded(String::from_utf8_lossy(&bytes).trim_end(), LINE));
        bytes.clear();
    }
}
