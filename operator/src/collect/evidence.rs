//! Fills the diagnosis's input: what the snapshot contains at once, and which of the objects are kept as they are read.

use std::{collections::BTreeSet, sync::Arc};

use debugbundle_diagnosis::Kind;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Collector, on_a_thread};
use crate::{cluster::ApiKind, diagnose::Evidence, discovery::Snapshot, velero::TargetObject};

/// The target, its Backup and the objects ahead of it, or the last failures, as discovery saw them. Redacts
/// them on a thread of its own: the user's rules may take long.
pub(super) async fn evidence_of(collector: &Collector, snapshot: &Snapshot) -> Evidence {
    let raw = |target: &Option<TargetObject>| target.as_ref().map(|target| target.raw.clone());
    let (target, backup) = (raw(&snapshot.target.object), raw(&snapshot.target.backup));
    let (failed, ahead) = (snapshot.target.failed.clone(), snapshot.target.queue.ahead.clone());
    let velero = snapshot.installation.namespace.clone();
    let redactor = Arc::clone(&collector.redactor);
    let mut evidence = on_a_thread(move || {
        let redacted = |mut object: Value| redactor.object(&mut object).then_some(object);
        Evidence {
            velero,
            target: target.and_then(redacted),
            backup: backup.and_then(redacted),
            failed: failed.into_iter().filter_map(redacted).collect(),
            ahead: ahead.into_iter().filter_map(redacted).collect(),
            ..Evidence::default()
        }
    })
    .await;
    evidence.read_at = Timestamp::now();
    evidence.ahead_beyond = snapshot.target.queue.beyond;
    let names_one = snapshot.target.object.as_ref().is_some_and(|target| target.backup_name.is_some());
    evidence.is_backup_absent = names_one && snapshot.target.backup.is_none() && snapshot.gaps.of("backups").is_none();
    evidence
}

/// Takes from a definition what only its users need: schemas are large. Returns the object and its bytes.
pub(super) fn in_short(kind: &ApiKind, mut object: Value, bytes: usize) -> (Value, usize) {
    if kind.plural != "customresourcedefinitions" {
        return (object, bytes);
    }
    for version in object.pointer_mut("/spec/versions").and_then(Value::as_array_mut).into_iter().flatten() {
        *version = json!({"name": version["name"], "served": version["served"]});
    }
    let bytes = object.to_string().len();
    (object, bytes)
}

/// Chooses the objects that are evidence.
#[derive(Clone, Debug, Default)]
pub(super) struct Relevant {
    /// Names of the target's data objects; their UIDs are not known at this point.
    data: BTreeSet<String>,
    involved: BTreeSet<String>,
}

impl Relevant {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let data: BTreeSet<String> = snapshot.target.data.iter().map(|object| object.name.clone()).collect();
        let mut involved = data.clone();
        involved.extend(snapshot.namespaces.involved.iter().map(|pod| pod.name.clone()));
        involved.extend(snapshot.namespaces.claims.iter().map(|claim| claim.name.clone()));
        involved.extend(snapshot.target.object.iter().map(|target| target.name.clone()));
        Self { data, involved }
    }

    pub(super) fn wants(&self, kind: &ApiKind, object: &Value) -> bool {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let Some(known) = Kind::served_as(&kind.group, &kind.plural) else { return false };
        match known {
            known if Kind::DATA.contains(known) => self.data.contains(name),
            // Discovery has read the target, and those beside it that count.
            Kind::Backup | Kind::Restore => false,
            Kind::Event => {
                let about = object.pointer("/involvedObject/name").and_then(Value::as_str).unwrap_or_default();
                object["type"] != "Normal" || self.involved.contains(about)
            }
            _ => true,
        }
    }
}
