//! The Kubernetes objects in a tree of files, redacted as they are read and within a limit of memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::Path,
};

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::{Id, Kind};
use debugbundle_format::manifest::ManifestView;
use debugbundle_redact::Redactor;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{budget, options};

use super::{
    OfflineError,
    form::{Content, Form, content},
    tree::{TreeFile, each},
};

/// Largest file with objects that is read (bytes), and most bytes of all objects that are kept (as written).
const FILE: usize = 64 << 20;
const OBJECTS: usize = 128 << 20;
/// Most nodes of one YAML file.
const NODES: usize = 16 << 20;

/// The code of `MissingCode::Gone` in a manifest.
const GONE: &str = "Gone";

/// What a tree contains besides logs.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// The collector; `None` if it is unknown.
    pub(super) form: Option<Form>,
    /// Those of kinds that the diagnosis knows.
    pub(super) all: BTreeMap<Id, Value>,
    /// Paths, as in a bundle of ours, of the Lists that were read whole.
    pub(super) lists: BTreeSet<String>,
    /// Paths of what did not exist when a bundle of ours was made.
    pub(super) gone: BTreeSet<String>,
    /// The target of a bundle of ours, or the one whose logs `velero debug` was asked for.
    pub(super) about: Option<(TargetKind, String)>,
    /// When it was collected: as the collector wrote it, else when the newest file was written.
    pub(super) read_at: Option<Timestamp>,
    /// What could not be read: a sentence each.
    pub(super) unread: Vec<String>,
    newest: Option<Timestamp>,
    bytes: usize,
    is_full: bool,
}

/// The parts of our manifest that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(flatten)]
    view: ManifestView,
    target: Option<ManifestTarget>,
    #[serde(default)]
    empty: Vec<String>,
    finished_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct ManifestTarget {
    kind: TargetKind,
    name: String,
}

/// Reads the objects in a tree.
///
/// # Errors
/// It cannot be read, exceeds a limit, or nothing in it is of a known collector.
pub(super) fn read(place: &Path, redactor: &Redactor) -> Result<Objects, OfflineError> {
    let mut found = Objects::default();
    each(place, &mut |file| found.take(file, redactor))?;
    if found.form.is_none() {
        return Err(OfflineError::Unknown(place.to_owned()));
    }
    if found.is_full {
        found.unread.push(format!("it contains more than {} MiB of objects; the others were not read", OBJECTS >> 20));
    }
    found.read_at = found.read_at.or(found.newest);
    Ok(found)
}

impl Objects {
    fn take(&mut self, mut file: TreeFile<'_>, redactor: &Redactor) {
        self.newest = self.newest.max(file.changed);
        match content(file.path) {
            Some(Content::Objects { kind, list, form }) => {
                self.form = self.form.max(Some(form));
                // Without a row in the table of kinds, nothing asks for it.
                let Some(kind) = kind else { return };
                let Some(bytes) = self.bytes_of(&mut file) else { return };
                self.add(&bytes, kind, list, redactor);
            }
            Some(Content::Manifest) => {
                let Some(bytes) = self.bytes_of(&mut file) else { return };
                if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
                    self.of_manifest(manifest);
                }
            }
            Some(Content::Times) => {
                let Some(bytes) = self.bytes_of(&mut file) else { return };
                let text = String::from_utf8_lossy(&bytes);
                self.read_at = self.read_at.max(text.lines().filter_map(time).max());
            }
            // `velero debug` was asked for it: a Restore explains more than its Backup.
            Some(Content::Description(kind, name))
                if !file.path.contains("/velero.io/") && (self.about.is_none() || kind == TargetKind::Restore) =>
            {
                self.about = Some((kind, name));
            }
            _ => {}
        }
    }

    /// The bytes of a file; `None` if it is too large or cannot be read.
    fn bytes_of(&mut self, file: &mut TreeFile<'_>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut *file.body).take(FILE as u64 + 1).read_to_end(&mut bytes);
        let trouble = match read {
            Ok(_) if bytes.len() > FILE => format!("it is larger than {} MiB", FILE >> 20),
            Ok(_) => return Some(bytes),
            Err(error) => error.to_string(),
        };
        self.unread.push(format!("{} could not be read: {trouble}", file.path));
        None
    }

    fn add(&mut self, bytes: &[u8], kind: &Kind, list: Option<String>, redactor: &Redactor) {
        let text = String::from_utf8_lossy(bytes);
        let is_json = text.trim_start().starts_with('{');
        let read = if is_json { serde_json::from_str(&text).ok() } else { yaml(&text) };
        let Some(mut read) = read.filter(Value::is_object) else {
            let what = list.unwrap_or_else(|| format!("a file about {}", kind.as_str()));
            self.unread.push(format!("{what} could not be read: it is neither JSON nor YAML of an object"));
            return;
        };
        let items = match read.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![read],
        };
        let mut is_whole = true;
        for object in items {
            is_whole &= self.keep(object, kind, redactor);
        }
        if let Some(list) = list.filter(|_| is_whole) {
            self.lists.insert(list);
        }
    }

    /// Keeps an object; `false` if it does not fit.
    fn keep(&mut self, mut object: Value, kind: &Kind, redactor: &Redactor) -> bool {
        if !object.is_object() || !object["metadata"]["name"].is_string() {
            return true;
        }
        // The items of a typed List have none.
        if !object["kind"].is_string() {
            object["kind"] = kind.as_str().into();
        }
        if let (false, Some(served)) = (object["apiVersion"].is_string(), kind.resource()) {
            let group = if served.group.is_empty() { String::new() } else { format!("{}/", served.group) };
            object["apiVersion"] = format!("{group}{}", served.version).into();
        }
        object["metadata"]["managedFields"] = Value::Null;
        for version in object.pointer_mut("/spec/versions").and_then(Value::as_array_mut).into_iter().flatten() {
            version["schema"] = Value::Null;
        }
        let bytes = object.to_string().len();
        if self.bytes + bytes > OBJECTS {
            self.is_full = true;
            return false;
        }
        if redactor.object(&mut object) {
            self.bytes += bytes;
            self.all.insert(Id::of(&object), object);
        }
        true
    }

    fn of_manifest(&mut self, manifest: Manifest) {
        self.form = Some(Form::DebugBundle);
        self.read_at = manifest.finished_at.or(self.read_at);
        self.about = manifest.target.map(|target| (target.kind, target.name)).or(self.about.take());
        self.lists.extend(manifest.empty);
        let gone = manifest.view.missing.into_iter().filter(|one| one.code == GONE);
        self.gone.extend(gone.map(|one| one.path));
    }
}

fn yaml(text: &str) -> Option<Value> {
    let limits = options! { budget: budget! { max_nodes: NODES, max_events: 2 * NODES, max_total_scalar_bytes: FILE } };
    serde_saphyr::from_str_with_options(text, limits).ok()
}

/// A line of the file `timestamp`: RFC 3339, or as Go prints a time.
fn time(line: &str) -> Option<Timestamp> {
    if let Ok(at) = line.trim().parse() {
        return Some(at);
    }
    let mut parts = line.split(' ');
    let (day, clock, zone) = (parts.next()?, parts.next()?, parts.next()?);
    format!("{day}T{clock}{zone}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_tree_is_read_as_go_and_as_rfc_3339_write_it() {
        let at: Timestamp = "2026-11-23T11:02:03Z".parse().unwrap();
        for line in
            ["2026-11-23T11:02:03Z", "2026-11-23 12:02:03 +0100 CET m=+0.019", "2026-11-23 11:02:03.0 +0000 UTC"]
        {
            assert_eq!(time(line), Some(at), "{line}");
        }
        assert_eq!((time(""), time("a b c"), time("2026-11-23 11:02")), (None, None, None));
    }
}
