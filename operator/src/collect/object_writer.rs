//! Writes objects of one kind into an entry: adds their type, shortens and redacts them, and keeps to the limits of a
//! file. The caller chooses the objects and their order.

use std::{
    collections::{HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
    io::{self, Write},
    sync::Arc,
};

use debugbundle_format::manifest::{MissingCode, MissingSeverity, Source, TruncationReason};
use serde_json::{Map, Value};

use super::{
    Outcome, Work, described,
    entry::{LazyEntry, WriteError},
    evidence::in_short,
    missing::missing,
    on_a_thread, yaml,
};
use crate::{
    cluster::{ApiKind, Flow, bounded},
    describe::Fact,
    plan::Item,
};

/// Most items of a List file, and most bytes (before redaction).
pub(super) const ITEMS: usize = 20_000;
const BYTES: u64 = 64 << 20;
/// Largest object that is kept (bytes as JSON, without `managedFields`).
const LARGEST: usize = 1536 << 10;
/// Largest answer to a request for one object (bytes).
pub(super) const OBJECT: usize = 4 << 20;
/// Most evidence taken from one List (bytes as written).
const EVIDENCE: usize = 2 << 20;
const PIECE: usize = 16 * 1024;
/// Most objects reported by name as too large; longest name that is shown (bytes).
const NAMES: usize = 10;
const NAME: usize = 253;

/// Writes objects of one kind.
pub(super) struct Writer {
    entry: LazyEntry,
    pub kind: ApiKind,
    work: Arc<Work>,
    pub written: usize,
    refused: usize,
    too_large: usize,
    too_large_names: Vec<String>,
    evidence: Vec<(Value, usize)>,
    evidence_bytes: usize,
    described: Vec<(usize, Fact)>,
    /// Hashed names of all objects so far: a list that starts over returns them again.
    seen: HashSet<u64>,
    hash: RandomState,
}

impl Writer {
    pub(super) fn new(work: &Arc<Work>, item: &Item, kind: &ApiKind) -> Self {
        Self {
            entry: LazyEntry::new(&work.context, item.path.clone(), None),
            kind: kind.clone(),
            work: work.clone(),
            written: 0,
            refused: 0,
            too_large: 0,
            too_large_names: Vec::new(),
            evidence: Vec::new(),
            evidence_bytes: 0,
            described: Vec::new(),
            seen: HashSet::new(),
            hash: RandomState::new(),
        }
    }

    /// Whether no object arrived.
    pub(super) fn is_untouched(&self) -> bool {
        self.written + self.refused + self.too_large == 0
    }

    /// Whether an object of this name was taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.seen.contains(&self.hash.hash_one(name))
    }

    /// Puts an object into the List, once.
    pub(super) fn list_item(&mut self, object: Value) -> io::Result<Flow> {
        if let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str)
            && !self.seen.insert(self.hash.hash_one(name))
        {
            return Ok(Flow::More);
        }
        if self.written + self.refused + self.too_large >= ITEMS || self.entry.taken >= BYTES {
            return Ok(Flow::Enough);
        }
        self.write(object, |entry, object, first| {
            if first {
                yaml::list_head(entry)?;
            }
            yaml::list_item(entry, object)
        })?;
        Ok(Flow::More)
    }

    /// Puts an object into the entry.
    pub(super) fn write(
        &mut self,
        object: Value,
        how: impl FnOnce(&mut io::BufWriter<&mut LazyEntry>, &Value, bool) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut object = typed(&self.kind, object);
        shorten(&self.kind, &mut object);
        if !fits(&object, LARGEST) {
            self.too_large += 1;
            if self.too_large_names.len() < NAMES {
                let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                self.too_large_names.push(name.to_owned());
            }
            return Ok(());
        }
        let wanted = self.work.relevant.wants(&self.kind, &object);
        let phase = object.pointer("/status/phase").and_then(Value::as_str).filter(|phase| is_phase(phase));
        let phase = phase.map(str::to_owned);
        let kept = match self.kind.plural.as_str() {
            "configmaps" if self.work.config_maps.of(&object) => self.entry.config_map(&mut object),
            _ => self.entry.object(&mut object),
        };
        if !kept {
            self.refused += 1;
            return Ok(());
        }
        // A user's rule may match these words; without them nobody knows what the object is.
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), Value::from(self.kind.api_version()));
            fields.insert("kind".to_owned(), Value::from(self.kind.kind.as_str()));
        }
        if let (Some(to), Some(phase)) = (object.pointer_mut("/status/phase"), phase) {
            *to = Value::String(phase);
        }
        let before = self.entry.taken;
        {
            // Collects YAML's small writes: each write costs a call of the redactor.
            let mut pieces = io::BufWriter::with_capacity(PIECE, &mut self.entry);
            how(&mut pieces, &object, self.written == 0)?;
            pieces.flush()?;
        }
        self.written += 1;
        self.described.extend(described::facts(&self.work.subjects, &self.kind, &object));
        let bytes = usize::try_from(self.entry.taken - before).unwrap_or(usize::MAX);
        if wanted {
            let (object, bytes) = in_short(&self.kind, object, bytes);
            if self.evidence_bytes + bytes <= EVIDENCE {
                self.evidence_bytes += bytes;
                self.evidence.push((object, bytes));
            }
        }
        Ok(())
    }

    /// Discards everything written so far.
    pub(super) fn restart(&mut self) {
        self.entry.restart();
        self.evidence.clear();
        self.described.clear();
        self.too_large_names.clear();
        self.seen.clear();
        (self.written, self.refused, self.too_large, self.evidence_bytes) = (0, 0, 0, 0);
    }
}

/// Puts `apiVersion` and `kind` first in every object: the API's lists omit them.
fn typed(kind: &ApiKind, object: Value) -> Value {
    let Value::Object(fields) = object else { return object };
    let mut typed = Map::with_capacity(fields.len() + 2);
    typed.insert("apiVersion".to_owned(), Value::from(kind.api_version()));
    typed.insert("kind".to_owned(), Value::from(kind.kind.as_str()));
    for (key, value) in fields {
        if key != "apiVersion" && key != "kind" {
            typed.insert(key, value);
        }
    }
    Value::Object(typed)
}

/// Whether it is one of the words that Velero and Kubernetes use for phases: letters, the first one a capital.
fn is_phase(text: &str) -> bool {
    text.len() < 64
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Removes bulk without value: who set which field, and the images on a node.
pub(super) fn shorten(kind: &ApiKind, object: &mut Value) {
    let within = |object: &mut Value, pointer: &str, key: &str| {
        if let Some(Value::Object(fields)) = object.pointer_mut(pointer) {
            fields.shift_remove(key);
        }
    };
    within(object, "/metadata", "managedFields");
    if kind.plural == "nodes" && kind.group.is_empty() {
        within(object, "/status", "images");
    }
}

/// Whether an object takes at most `most` bytes as JSON.
fn fits(object: &Value, most: usize) -> bool {
    struct Left(usize);
    impl Write for Left {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(data.len()).ok_or(io::ErrorKind::WriteZero)?;
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Left(most), object).is_ok()
}

/// Path that an object of a List would have in a file of its own: used to report the object as missing.
pub(super) fn object_path(item: &Item, name: &str) -> String {
    let list = item.path.as_str();
    format!("{}/{}", list.strip_suffix(".yaml").unwrap_or(list), bounded(name, NAME))
}

/// Closes the entry, and reports what is not in it.
pub(super) async fn close(
    item: &Item,
    writer: Writer,
    source: Source,
    why: Option<TruncationReason>,
) -> Result<Outcome, WriteError> {
    let Writer { entry, kind, written, refused, too_large, too_large_names, evidence, described, .. } = writer;
    let mut outcome = Outcome { evidence, described, ..Outcome::default() };
    let mut without = |what: &str, path: &str, code, text: &str| {
        outcome.missing.push(missing(what, path, code, MissingSeverity::Error, text, ""));
    };
    if refused > 0 {
        let text = format!("{refused} objects are of kinds that are never collected");
        without(&item.what, item.path.as_str(), MissingCode::Withheld, &text);
    }
    for name in &too_large_names {
        let text = format!("it is larger than {LARGEST} bytes");
        without(&format!("{} {name}", kind.kind), &object_path(item, name), MissingCode::TooLarge, &text);
    }
    let omitted = too_large - too_large_names.len();
    if omitted > 0 {
        let text = format!("{omitted} more are larger than {LARGEST} bytes");
        without(&format!("further {}", kind.plural), &object_path(item, "*"), MissingCode::TooLarge, &text);
    }
    if written == 0 {
        if too_large > 0 && refused == 0 {
            // The List itself must be reported, too.
            without(&item.what, item.path.as_str(), MissingCode::TooLarge, "it contains no other objects");
        }
        return Ok(outcome);
    }
    if let Some(segment) = on_a_thread(move || entry.finish()).await? {
        let truncated = why.map(|why| segment.broken_off(why));
        outcome.push(segment, source, truncated);
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_object_says_what_it_is() {
        let kind = ApiKind::namespaced("apps", "v1", "deployments", "Deployment");
        let object = typed(&kind, json!({"metadata": {"name": "barn"}, "kind": "Odd", "spec": {}}));
        let keys: Vec<&String> = object.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["apiVersion", "kind", "metadata", "spec"]);
        assert_eq!((object["apiVersion"].as_str(), object["kind"].as_str()), (Some("apps/v1"), Some("Deployment")));
        assert_eq!(typed(&kind, json!(7)), json!(7));
    }

    #[test]
    fn nodes_lose_their_images_and_nothing_else_does() {
        let object =
            || json!({"metadata": {"name": "n", "managedFields": []}, "status": {"images": [1], "phase": "x"}});
        let (mut node, mut other) = (object(), object());
        shorten(&ApiKind::cluster("", "v1", "nodes", "Node"), &mut node);
        shorten(&ApiKind::cluster("metrics.k8s.io", "v1", "nodes", "NodeMetrics"), &mut other);
        assert_eq!(node, json!({"metadata": {"name": "n"}, "status": {"phase": "x"}}));
        assert_eq!(other, json!({"metadata": {"name": "n"}, "status": {"images": [1], "phase": "x"}}));
    }

    #[test]
    fn an_object_is_measured_as_it_would_be_written() {
        let object = json!({"a": "b"});
        assert!(fits(&object, 9) && !fits(&object, 8));
    }
}
