//! API objects into List files and files of their own: typed, redacted, written as they are read.
//! Which objects are wanted is the plan's matter; pod logs and discovery are not objects.

use std::io::{self, Write as _};

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    Outcome, Work, described,
    entry::{LazyEntry, WriteError},
    evidence::Relevant,
    missing::missing,
    on_a_thread, yaml,
};
use crate::{
    archive::manifest::{MissingCode, MissingSeverity, Source, SourceKind, Truncation, TruncationReason},
    cluster::{ApiKind, ClusterError, Flow, ListError, Listed, TakeItems},
    describe::Fact,
    inventory::{DISCOVERY, ObjectName},
    plan::Item,
};

/// Most items of a List file, and most bytes of one, before redaction.
const ITEMS: usize = 20_000;
const BYTES: u64 = 64 << 20;
/// Largest single object (bytes); etcd holds none that is larger.
const OBJECT: usize = 4 << 20;
/// Evidence taken of one List (bytes as written).
const EVIDENCE: usize = 2 << 20;
const PIECE: usize = 16 * 1024;

/// Writes objects of one kind.
struct Writer {
    entry: LazyEntry,
    kind: ApiKind,
    work: std::sync::Arc<Work>,
    written: usize,
    refused: usize,
    evidence: Vec<(Value, usize)>,
    evidence_bytes: usize,
    described: Vec<(usize, Fact)>,
}

impl Writer {
    fn new(work: &std::sync::Arc<Work>, item: &Item, kind: &ApiKind) -> Self {
        Self {
            entry: LazyEntry::new(&work.desk, item.path.clone(), None),
            kind: kind.clone(),
            work: work.clone(),
            written: 0,
            refused: 0,
            evidence: Vec::new(),
            evidence_bytes: 0,
            described: Vec::new(),
        }
    }

    fn relevant(&self) -> &Relevant {
        &self.work.relevant
    }

    fn list_item(&mut self, object: Value) -> io::Result<()> {
        self.write(object, |entry, object, first| {
            if first {
                yaml::list_head(entry)?;
            }
            yaml::list_item(entry, object)
        })
    }

    fn write(
        &mut self,
        object: Value,
        how: impl FnOnce(&mut io::BufWriter<&mut LazyEntry>, &Value, bool) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut object = typed(&self.kind, object);
        let wanted = self.relevant().wants(&self.kind, &object);
        if !self.entry.object(&mut object) {
            self.refused += 1;
            return Ok(());
        }
        let before = self.entry.taken;
        {
            // YAML is written in many small pieces, and each costs the redactor a look.
            let mut pieces = io::BufWriter::with_capacity(PIECE, &mut self.entry);
            how(&mut pieces, &object, self.written == 0)?;
            pieces.flush()?;
        }
        self.written += 1;
        self.described.extend(described::facts(&self.work.subjects, &self.kind, &object));
        let bytes = usize::try_from(self.entry.taken - before).unwrap_or(usize::MAX);
        if wanted && self.evidence_bytes + bytes <= EVIDENCE {
            self.evidence_bytes += bytes;
            self.evidence.push((object, bytes));
        }
        Ok(())
    }
}

impl TakeItems for Writer {
    fn take(&mut self, item: Value) -> io::Result<Flow> {
        if self.written + self.refused >= ITEMS || self.entry.taken >= BYTES {
            return Ok(Flow::Enough);
        }
        self.list_item(item)?;
        Ok(Flow::More)
    }

    fn restart(&mut self) {
        self.entry.restart();
        self.evidence.clear();
        self.described.clear();
        (self.written, self.refused, self.evidence_bytes) = (0, 0, 0);
    }
}

/// `apiVersion` and `kind` first, on every object: lists of the API leave them out.
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

/// All objects of a kind into one List file.
pub(super) async fn list(
    work: &std::sync::Arc<Work>,
    item: &Item,
    kind: &ApiKind,
    namespace: Option<&str>,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let path = kind.list_path(namespace);
    let writer = Writer::new(work, item, kind);
    let (writer, listed) = work.cluster.list(&path, None, deadline, writer, |bytes| work.progress.read(bytes)).await;
    let source = |listed: &Listed| Source {
        kind: SourceKind::List,
        path: Some(path.clone()),
        items: Some(listed.items as u64),
        resource_version: Some(listed.resource_version.clone()),
        ..Source::default()
    };
    match listed {
        Ok(listed) if writer.written == 0 && writer.refused == 0 && !listed.enough => {
            Ok(Outcome { empty: Some(item.path.as_str().to_owned()), ..Outcome::default() })
        }
        Ok(listed) => {
            let why = listed.enough.then_some(TruncationReason::Limit);
            close(item, writer, source(&listed), why).await
        }
        Err(ListError::Taker(error)) => Err(error.into()),
        Err(ListError::Cluster(error)) if writer.written == 0 => {
            Ok(work.objects_missing(item, &error, "list", kind, namespace))
        }
        Err(ListError::Cluster(error)) => {
            let listed = Listed { items: writer.written, ..Listed::default() };
            let why = match error {
                ClusterError::Stalled(_) | ClusterError::NoAnswer(_) => TruncationReason::Stalled,
                ClusterError::Deadline => TruncationReason::Deadline,
                _ => TruncationReason::Reset,
            };
            let source = Source { warning: Some(error.to_string()), ..source(&listed) };
            close(item, writer, source, Some(why)).await
        }
    }
}

/// Some objects of a kind into one List file. Objects that are gone are notes.
pub(super) async fn named(
    work: &std::sync::Arc<Work>,
    item: &Item,
    kind: &ApiKind,
    objects: &[ObjectName],
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let mut found = Vec::new();
    let mut outcome = Outcome::default();
    for wanted in objects {
        let namespace = Some(wanted.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let what = format!("{} {}", kind.kind, wanted.name);
        match work.cluster.get(&kind.path(namespace, &wanted.name), OBJECT, deadline).await {
            Ok(object) => {
                let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
                if wanted.uid.as_deref().is_some_and(|wanted| wanted != uid) {
                    let why = "an object of the same name and another UID has taken its place, and is kept instead";
                    let path = item.path.as_str();
                    outcome.missing.push(missing(&what, path, MissingCode::Gone, MissingSeverity::Note, why, ""));
                }
                found.push(object);
            }
            Err(error) if error.is_not_found() => {
                let path = item.path.as_str();
                let why = error.to_string();
                outcome.missing.push(missing(&what, path, MissingCode::Gone, MissingSeverity::Note, &why, ""));
            }
            Err(error) => {
                let lost = work.objects_missing(item, &error, "get", kind, namespace);
                outcome.missing.extend(lost.missing);
                // What is forbidden, or late, for one is so for all.
                if error.is_forbidden() || error == ClusterError::Deadline {
                    break;
                }
            }
        }
    }
    if found.is_empty() {
        return Ok(outcome);
    }
    let source = Source {
        kind: SourceKind::List,
        path: Some(kind.list_path(objects.first().map(|one| one.namespace.as_str()).filter(|one| !one.is_empty()))),
        items: Some(found.len() as u64),
        ..Source::default()
    };
    let mut writer = Writer::new(work, item, kind);
    let writer = on_a_thread(move || {
        for object in found {
            writer.list_item(object)?;
        }
        Ok::<_, io::Error>(writer)
    })
    .await?;
    let closed = close(item, writer, source, None).await?;
    Ok(outcome.and(closed))
}

/// One object into a file of its own.
pub(super) async fn object(
    work: &std::sync::Arc<Work>,
    item: &Item,
    kind: &ApiKind,
    namespace: Option<&str>,
    name: &str,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let path = kind.path(namespace, name);
    let object = match work.cluster.get(&path, OBJECT, deadline).await {
        Ok(object) => object,
        Err(error) => {
            // The right to read a Namespace is one in that namespace.
            let place = if kind.plural == "namespaces" { Some(name) } else { namespace };
            return Ok(work.objects_missing(item, &error, "get", kind, place));
        }
    };
    let mut writer = Writer::new(work, item, kind);
    let writer = on_a_thread(move || {
        writer.write(object, |entry, object, _| yaml::document(entry, object))?;
        Ok::<_, io::Error>(writer)
    })
    .await?;
    let source = Source { kind: SourceKind::Object, path: Some(path), ..Source::default() };
    close(item, writer, source, None).await
}

/// What the API server serves below `/api` or `/apis`.
pub(super) async fn discovery(
    work: &std::sync::Arc<Work>,
    item: &Item,
    path: &'static str,
    deadline: Instant,
) -> Result<Outcome, WriteError> {
    let kind = ApiKind::cluster("apidiscovery.k8s.io", "v2", "apigroupdiscoveries", "APIGroupDiscovery");
    let writer = Writer::new(work, item, &kind);
    let seen = |bytes| work.progress.read(bytes);
    let (writer, listed) = work.cluster.list_as(path, DISCOVERY, None, deadline, writer, seen).await;
    let source = Source { kind: SourceKind::Discovery, path: Some(path.to_owned()), ..Source::default() };
    match listed {
        Ok(_) if writer.written == 0 => Ok(Outcome {
            missing: vec![missing(
                &item.what,
                item.path.as_str(),
                MissingCode::NotInstalled,
                MissingSeverity::Note,
                "the API server has no aggregated discovery (Kubernetes before 1.26)",
                "",
            )],
            ..Outcome::default()
        }),
        Ok(_) => close(item, writer, source, None).await,
        Err(ListError::Taker(error)) => Err(error.into()),
        Err(ListError::Cluster(error)) => Ok(work.objects_missing(item, &error, "get", &kind, None)),
    }
}

async fn close(
    item: &Item,
    writer: Writer,
    source: Source,
    why: Option<TruncationReason>,
) -> Result<Outcome, WriteError> {
    let Writer { entry, written, refused, evidence, described, .. } = writer;
    let mut outcome = Outcome { evidence, described, ..Outcome::default() };
    if refused > 0 {
        let text = format!("{refused} objects are of kinds that are never collected");
        let path = item.path.as_str();
        outcome.missing.push(missing(&item.what, path, MissingCode::Withheld, MissingSeverity::Error, &text, ""));
    }
    if written == 0 {
        return Ok(outcome);
    }
    if let Some(segment) = on_a_thread(move || entry.finish()).await? {
        let truncated = why.map(|why| Truncation::ended(&segment, why));
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
}
