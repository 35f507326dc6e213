//! Many node-agents with long logs, and how much of these logs an archive contains, for tests and measurements.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use crate::{Context, LogScript, pod};

/// Node-agents with one container each, all with a log of the same length. A bundle keeps at most 1 MiB of the log of a
/// pod outside Velero.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many pods.
    pub pods: usize,
    /// Bytes of each log, as the container wrote it; a multiple of [`LogScript::GENERATED_LINE`] when it is served.
    pub bytes: u64,
}

/// The nodes that they are spread over.
const NODES: usize = 10;
/// Length of the kubelet's prefix of each line: a time with nine digits, and a space.
const STAMP: u64 = 31;

/// The content of an archive.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Length of each file, by its path.
    pub files: BTreeMap<String, u64>,
    /// `manifest.json`, if there is one.
    pub manifest: Option<Value>,
    /// Lines that mark an omission.
    pub markers: Vec<String>,
}

impl Load {
    /// Creates the pods in the context's namespace, on ten nodes.
    pub async fn put(self, context: &Arc<Context>) {
        context.node_agents().await;
        let mut nodes = Vec::new();
        for index in 0..NODES.min(self.pods) {
            nodes.push(context.node(&format!("node-{index}")).await);
        }
        let made = (0..self.pods).map(|index| {
            let (name, node) = (name(index), &nodes[index % nodes.len()]);
            context.log(&name, &name, LogScript::generated(self.bytes, index as u64));
            async move { context.pod(pod(&name).labelled("role", "node-agent").on_node(node)).await }
        });
        stream::iter(made).buffer_unordered(8).collect::<Vec<_>>().await;
    }

    /// Total bytes of the logs if the archive contains every line; `Err` names a log that is incomplete or missing.
    pub fn all_in(self, held: &Held, stamped: bool) -> Result<u64, String> {
        let lines = self.bytes.div_ceil(LogScript::GENERATED_LINE);
        let expected = lines * (LogScript::GENERATED_LINE + if stamped { STAMP } else { 0 });
        for index in 0..self.pods {
            let folder = format!("/{}/", name(index));
            let is_log = |path: &str| path.contains(&folder) && has_extension(path, "log");
            let found: Vec<_> = held.files.iter().filter(|(path, _)| is_log(path)).collect();
            match found.as_slice() {
                [(_, bytes)] if **bytes == expected => {}
                other => return Err(format!("the log of {} should have {expected} bytes: {other:?}", name(index))),
            }
        }
        if let Some(manifest) = &held.manifest {
            let entries = manifest["entries"].as_array().ok_or("a manifest has entries")?;
            let logs = || entries.iter().filter(|entry| entry["source"]["kind"] == "PodLog");
            let bytes = logs().filter_map(|entry| entry["bytes"].as_u64()).sum::<u64>();
            let cut = logs().find(|entry| !entry["truncated"].is_null());
            if logs().count() != self.pods || bytes != expected * self.pods as u64 || cut.is_some() {
                return Err(format!("the manifest has {} logs with {bytes} bytes, cut: {cut:?}", logs().count()));
            }
        }
        Ok(expected * self.pods as u64)
    }
}

fn name(index: usize) -> String {
    format!("pod-{index:03}")
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

impl Held {
    /// Reads a `.tar.gz` to its end, in little memory.
    pub fn by(archive: &Path) -> io::Result<Self> {
        let mut held = Self::default();
        let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(File::open(archive)?)));
        for entry in tar.entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path()?.to_string_lossy().into_owned();
            let bytes = entry.size();
            if path.ends_with("/manifest.json") {
                let mut text = Vec::new();
                entry.read_to_end(&mut text)?;
                held.manifest = Some(crate::schema::checked(&text));
            } else if has_extension(&path, "log") {
                held.look_for_markers(BufReader::new(&mut entry))?;
            }
            held.files.insert(path, bytes);
        }
        Ok(held)
    }

    fn look_for_markers(&mut self, mut log: impl io::BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while log.read_until(b'\n', &mut line)? > 0 {
            if line.len() < 200 && line.windows(13).any(|part| part == b"left out here") {
                self.markers.push(String::from_utf8_lossy(&line).into_owned());
            }
            line.clear();
        }
        Ok(())
    }
}
