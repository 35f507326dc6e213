//! The last state of hosting pods on disk, redacted, so that it outlives the process: one file for each pod that ended.
//! Logs and Events are not saved. `cache` decides which pods are kept.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pod_snapshot::LABELS;
use crate::self_redaction;

/// Most bytes of a file. The object that it is made from has at most 64 KiB, and redaction may lengthen it.
const FILE: u64 = 256 << 10;
/// Longest UID that becomes the name of a file.
const UID: usize = 64;
const ENDING: &str = ".json";
/// A file that is being written.
const WRITING: &str = ".writing";

/// A pod that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedPod {
    pub(super) uid: String,
    /// When it was last seen.
    pub(super) seen: Timestamp,
    /// When it was first seen to have ended, or to be gone.
    pub(super) ended: Timestamp,
    /// Its name, its status, and where it ran.
    pub(super) pod: Value,
}

/// The folder with the files.
#[derive(Clone, Debug)]
pub(super) struct SavedPods(pub(super) PathBuf);

impl SavedPods {
    /// Reads what earlier processes saved, the newest pod first. Removes damaged files.
    pub(super) fn load(&self) -> Vec<SavedPod> {
        let mut pods = Vec::new();
        for (path, uid) in self.files() {
            match read(&path).ok().filter(|pod| Some(&pod.uid) == uid.as_ref()) {
                Some(pod) => pods.push(pod),
                None => remove(&path),
            }
        }
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.ended));
        pods
    }

    /// Saves a pod, redacted. A pod that cannot be redacted is not saved.
    pub(super) fn save(&self, mut pod: SavedPod) -> io::Result<()> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if pod.uid.is_empty() || pod.uid.len() > UID || !pod.uid.bytes().all(is_name) {
            return Ok(());
        }
        pod.pod = state(&pod.pod);
        if !self_redaction::mask_object(&mut pod.pod) {
            return Ok(());
        }
        let text = serde_json::to_vec(&pod)?;
        if text.len() as u64 > FILE {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let (path, writing) = (self.0.join(pod.uid.clone() + ENDING), self.0.join(pod.uid + WRITING));
        let _ = fs::remove_file(&writing);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&writing)?;
        file.write_all(&text)?;
        fs::rename(&writing, &path)
    }

    /// Removes the files of all other pods.
    pub(super) fn retain(&self, kept: &BTreeSet<String>) {
        for (path, uid) in self.files() {
            if uid.is_none_or(|uid| !kept.contains(&uid)) {
                remove(&path);
            }
        }
        // Fails unless it is empty.
        let _ = fs::remove_dir(&self.0);
    }

    /// The files that this module wrote, each with its pod's UID; `None` for a file that was not written to its end.
    fn files(&self) -> Vec<(PathBuf, Option<String>)> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let ours = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            match name.strip_suffix(ENDING) {
                Some(uid) => Some((entry.path(), Some(uid.to_owned()))),
                None => name.ends_with(WRITING).then(|| (entry.path(), None)),
            }
        });
        ours.collect()
    }
}

fn read(path: &Path) -> io::Result<SavedPod> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(FILE).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, "The saved state of a data mover's pod was not removed");
    }
}

/// The part of a pod that is saved.
fn state(pod: &Value) -> Value {
    let meta = &pod["metadata"];
    let of = |fields: &[&str]| -> Value {
        let there = fields.iter().filter(|field| !meta[**field].is_null());
        there.map(|field| ((*field).to_owned(), meta[*field].clone())).collect::<serde_json::Map<_, _>>().into()
    };
    let mut metadata = of(&["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"]);
    let labels = LABELS.iter().filter(|label| meta["labels"][**label].is_string());
    metadata["labels"] = labels
        .map(|label| ((*label).to_owned(), meta["labels"][*label].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": { "nodeName": pod["spec"]["nodeName"] },
        "status": pod["status"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2-x7-hunter2-x7";

    fn pod(uid: &str, ended: i64) -> SavedPod {
        let said = format!("exit 1: postgres://robot:{SECRET}@db/shop");
        SavedPod {
            uid: uid.to_owned(),
            seen: Timestamp::from_second(ended).unwrap(),
            ended: Timestamp::from_second(ended).unwrap(),
            pod: json!({"metadata": {"name": "m", "uid": uid, "labels": {"velero.io/data-upload": "m", "team": "a"}},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "env": [{"name": "A", "value": SECRET}]}]},
                "status": {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated":
                    {"exitCode": 137, "reason": "OOMKilled", "message": said}}}]}}),
        }
    }

    #[test]
    fn what_is_saved_is_the_redacted_end_of_a_pod_and_is_read_back() {
        let tmp = tempfile::tempdir().unwrap();
        let saved = SavedPods(tmp.path().join("pods"));
        assert_eq!(saved.load(), []);
        saved.save(pod("u1", 1)).unwrap();
        saved.save(pod("u2", 2)).unwrap();
        saved.save(pod("../u3", 3)).unwrap();
        fs::write(saved.0.join("u4.json"), "{").unwrap();
        fs::write(saved.0.join("u5.writing"), SECRET).unwrap();
        let file = fs::read_to_string(saved.0.join("u1.json")).unwrap();
        assert!(file.contains("OOMKilled") && file.contains("[REDACTED:") && !file.contains("hunter2"), "{file}");
        assert!(!file.contains("team") && !file.contains("containers\""), "{file}");
        let pods = saved.load();
        let uids: Vec<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        assert_eq!(uids, ["u2", "u1"]);
        assert_eq!(pods[1].pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137);
        let left = || fs::read_dir(&saved.0).map_or(0, Iterator::count);
        assert_eq!(left(), 2, "the damaged one and the one that was not written to its end are gone");
        saved.retain(&BTreeSet::from(["u2".to_owned()]));
        assert_eq!(left(), 1);
        saved.retain(&BTreeSet::new());
        assert!(!saved.0.exists());
    }
}
