//! The third step: what the target's own files name. Claims, volumes and snapshots that did not end well, in its volume
//! info and item operations; namespaces in its results and in a Restore's resource list. The bundle contains the whole
//! files.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    time::Duration,
};

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::{Kind, named};
use debugbundle_format::StoreFile;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{
    DiscoveredTarget, Relevance, Unnamed,
    choose::Chosen,
    volume_refs::{ObjectRef, ObjectRefs},
};
use crate::{
    cluster::{Pieces, pipe, pump},
    json_stream::{Said, Shallow, TextLayout, each, texts},
    velero::{ObjectName, Results, StoreFiles, TargetObject, files::JSON_FILE, is_dns_name, target::SpecNamespaces},
};

/// Most bytes read of one text: names are shorter.
const TEXT: usize = 1024;
/// Most errors whose names are followed.
const ERRORS: usize = 20;
/// Most namespaces of a resource list whose names are kept.
const NAMESPACES: usize = 64;
/// Kinds that a Restore labels, and that hang when it hangs.
const RESTORED: [&str; 2] = ["v1/Pod", "v1/PersistentVolumeClaim"];

/// What was chosen, with what the target's files and its spec name.
pub(super) struct WithFiles {
    pub chosen: Chosen,
    /// What each of the files names.
    pub refs: Vec<ObjectRefs>,
    /// Set if the target did not finish, and its spec covers namespaces that it does not name.
    pub unnamed: Option<Unnamed>,
}

impl WithFiles {
    /// Adds what a file names: `why` in words. Only namespaces within scope and limit are looked into.
    pub(super) fn and(mut self, refs: ObjectRefs, why: &str) -> Self {
        let namespaces = &mut self.chosen.namespaces;
        namespaces.touch(&refs.namespaces(), u64::from(refs.more), why, Relevance::Trouble);
        self.refs.push(refs);
        self
    }

    /// The named objects of this kind, each once.
    pub(super) fn named(&self, reference: ObjectRef) -> Vec<ObjectName> {
        let mut names: Vec<ObjectName> = Vec::new();
        for (namespace, name) in self.refs.iter().flat_map(|refs| refs.of(reference)) {
            let name = ObjectName { namespace: namespace.to_owned(), name: name.to_owned(), uid: None };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// What the target's files say; of a file that cannot be read, which its own item reports, nothing.
#[derive(Default)]
struct Contents {
    /// Volume info and item operations.
    volume_refs: ObjectRefs,
    results: Results,
    /// Namespaces of the resource list, and whether there are more.
    restored: (Vec<String>, bool),
}

/// Reads the target's files, as far as Velero may have written them.
pub(super) async fn with_files(
    chosen: Chosen,
    store: Option<&dyn StoreFiles>,
    idle: Duration,
    until: Instant,
) -> WithFiles {
    let target = chosen.target.object.as_ref().filter(|object| object.files_may_be_there());
    let contents = match store.zip(target) {
        Some((store, target)) => TargetFiles { store, target, idle, until }.contents().await,
        None => Contents::default(),
    };
    taken_up(chosen, contents)
}

/// Adds what the target's files name, in this order: claims and snapshots of failed volumes and operations; namespaces
/// in its results, whose quotas and events may explain the failure, though a warning may name many; namespaces in a
/// Restore's resource list, where restored pods may not come up. The namespaces in the spec of a target that did not
/// finish come last: it may wait for a hook, or for a namespace that stays terminating, and its data shows only where
/// it has been.
fn taken_up(chosen: Chosen, contents: Contents) -> WithFiles {
    let with_files = WithFiles { chosen, refs: Vec::new(), unnamed: None };
    let DiscoveredTarget { object: Some(object), backup, .. } = &with_files.chosen.target else { return with_files };
    let Contents { volume_refs, results, restored: (restored, more) } = contents;
    let of = format!("{} {}", object.kind, object.name);
    let unfinished = object.is_unfinished(!results.namespaces.texts.is_empty());
    let spec = unfinished.then(|| (object.hooks_of_backup(), object.namespaces_of_spec(backup.as_ref())));
    let why = format!("results of {of}");
    let mut with_files =
        with_files.and(volume_refs, &format!("volume info or item operations of {of}")).and(named_by(&results), &why);
    let namespaces = &mut with_files.chosen.namespaces;
    namespaces.touch(&results.namespaces.texts, results.namespaces.left_out, &why, Relevance::Trouble);
    namespaces.touch(&restored, u64::from(more), &format!("resource list of {of}"), Relevance::Named);
    if let Some((hooked, SpecNamespaces { names, others })) = spec {
        with_files.unnamed = others.then_some(Unnamed::NotLooked);
        for names in [hooked, names] {
            namespaces.touch(&names, 0, &format!("spec of {of}"), Relevance::Named);
        }
    }
    with_files
}

/// The target's files in the object store.
struct TargetFiles<'a> {
    store: &'a dyn StoreFiles,
    target: &'a TargetObject,
    idle: Duration,
    until: Instant,
}

impl TargetFiles<'_> {
    async fn contents(&self) -> Contents {
        let refs = ObjectRefs::default();
        let refs = self.read(StoreFile::VolumeInfo, refs, |from, refs| volumes(Shallow::new(from, TEXT), refs)).await;
        let add = |from, refs: &mut ObjectRefs| operations(Shallow::new(from, TEXT), refs);
        let mut contents =
            Contents { volume_refs: self.read(StoreFile::ItemOperations, refs, add).await, ..<_>::default() };
        if self.target.phase != "Completed" {
            contents.results =
                self.read(StoreFile::Results, Results::default(), |from, to| *to = Results::read(from)).await;
        }
        if self.target.kind == TargetKind::Restore {
            contents.restored =
                self.read(StoreFile::ResourceList, Default::default(), |from, to| *to = restored(from)).await;
        }
        contents
    }

    /// Adds to `to` what `read` finds in a file.
    async fn read<T, F>(&self, file: StoreFile, mut to: T, read: F) -> T
    where
        T: Default + Send + 'static,
        F: FnOnce(io::Take<MultiGzDecoder<Pieces>>, &mut T) + Send + 'static,
    {
        let opened = self.store.open(self.target.kind, &self.target.name, file);
        let Ok(Ok(Some(body))) = timeout_at(self.until, opened).await else { return to };
        let (pump_to, pieces) = pipe();
        let reading = tokio::task::spawn_blocking(move || {
            read(MultiGzDecoder::new(pieces).take(JSON_FILE), &mut to);
            to
        });
        pump(body, pump_to, self.idle, self.until, |_| ()).await;
        reading.await.unwrap_or_default()
    }
}

/// The claims, volumes, snapshots and definitions that the errors name: of the namespaces in the results only, because
/// tenants write parts of the errors.
fn named_by(results: &Results) -> ObjectRefs {
    let mut refs = ObjectRefs::default();
    for id in results.errors.texts.iter().take(ERRORS).flat_map(|error| named(error)) {
        let reference = match id.kind {
            Kind::PersistentVolumeClaim => ObjectRef::Claim,
            Kind::PersistentVolume => ObjectRef::Volume,
            Kind::VolumeSnapshot => ObjectRef::Snapshot,
            Kind::VolumeSnapshotContent => ObjectRef::Content,
            Kind::CustomResourceDefinition => ObjectRef::Definition,
            _ => continue,
        };
        let namespace = Some(id.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        if namespace.is_none_or(|namespace| results.namespaces.texts.iter().any(|one| one == namespace)) {
            refs.add(reference, namespace, Some(&id.name));
        }
    }
    refs
}

/// A volume's references and result (Velero's `internal/volume/volumes_information.go`).
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    pvc_name: Option<String>,
    pvc_namespace: Option<String>,
    pv_name: Option<String>,
    result: Option<String>,
    csi_snapshot_info: Option<Csi>,
    snapshot_data_movement_info: Option<Moved>,
    native_snapshot_info: Option<Moved>,
    pvb_info: Option<Moved>,
    pvr_info: Option<Moved>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Csi {
    vsc_name: Option<String>,
}

/// Velero gives this field no JSON tag, hence the capital.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Moved {
    #[serde(rename = "Phase")]
    phase: Option<String>,
}

impl Volume {
    /// A Backup's volume has a result, a Restore's only the phases.
    fn went_wrong(&self) -> bool {
        let parts = [&self.snapshot_data_movement_info, &self.native_snapshot_info, &self.pvb_info, &self.pvr_info];
        let mut phases = parts.into_iter().flatten().filter_map(|part| part.phase.as_deref());
        self.result.as_deref() == Some("failed") || phases.any(|phase| !matches!(phase, "" | "Completed"))
    }
}

fn volumes(from: impl Read, refs: &mut ObjectRefs) {
    // A file that ends early yields what came before.
    let _ = each(from, |volume: Volume| {
        if volume.went_wrong() {
            refs.add(ObjectRef::Claim, volume.pvc_namespace.as_deref(), volume.pvc_name.as_deref());
            refs.add(ObjectRef::Volume, None, volume.pv_name.as_deref());
            refs.add(ObjectRef::Content, None, volume.csi_snapshot_info.and_then(|csi| csi.vsc_name).as_deref());
        }
        Ok(())
    });
}

/// An operation that a plugin continues in the background (Velero's `pkg/itemoperation`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Operation {
    spec: OperationSpec,
    status: OperationStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OperationSpec {
    resource_identifier: Identifier,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OperationStatus {
    phase: Option<String>,
}

/// These fields have no JSON tags, either.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Identifier {
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

fn operations(from: impl Read, refs: &mut ObjectRefs) {
    let _ = each(from, |operation: Operation| {
        if operation.status.phase.as_deref() != Some("Completed") {
            let Identifier { resource, namespace, name } = &operation.spec.resource_identifier;
            let reference = match resource.as_deref() {
                Some("persistentvolumeclaims") => ObjectRef::Claim,
                Some("persistentvolumes") => ObjectRef::Volume,
                Some("volumesnapshots") => ObjectRef::Snapshot,
                Some("volumesnapshotcontents") => ObjectRef::Content,
                _ => ObjectRef::Elsewhere,
            };
            refs.add(reference, namespace.as_deref(), name.as_deref());
        }
        Ok(())
    });
}

/// The first namespaces into which a Restore brought pods or claims, by its resource list, and whether there are more.
/// Returns what was read before the first error.
fn restored(from: impl Read) -> (Vec<String>, bool) {
    let (mut namespaces, mut more, mut wanted) = (BTreeSet::new(), false, false);
    // A list that ends early or has another shape still yields the names before that point.
    let _ = texts(Shallow::new(from, TEXT), &[], TextLayout::Map, |said| {
        match said {
            Said::Key(kind) => wanted = RESTORED.contains(&kind),
            Said::Text(name) if wanted => {
                let namespace = name.split_once('/').map(|(namespace, _)| namespace).filter(|name| is_dns_name(name));
                if let Some(namespace) = namespace.filter(|namespace| !namespaces.contains(*namespace)) {
                    if namespaces.len() < NAMESPACES {
                        namespaces.insert(namespace.to_owned());
                    } else {
                        more = true;
                    }
                }
            }
            Said::Text(_) => {}
        }
        Ok(())
    });
    (namespaces.into_iter().collect(), more)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_that_failed_lead_to_their_claim_volume_and_snapshot_and_others_nowhere() {
        let info = json!([
            {"pvcName": "well", "pvcNamespace": "calm", "pvName": "pv-well", "result": "succeeded",
                "csiSnapshotInfo": {"vscName": "vsc-well"}, "pvbInfo": {"Phase": "Completed"}},
            {"pvcName": "ledger", "pvcNamespace": "shop", "pvName": "pv-7", "result": "failed",
                "csiSnapshotInfo": {"vscName": "vsc-7", "ReadyToUse": null}, "pvInfo": {"labels": null}},
            {"pvcName": "flour", "pvcNamespace": "bakery", "pvrInfo": {"Phase": "Canceled"}},
            {"pvcName": "../x", "pvcNamespace": "odd", "result": "failed"}]);
        let mut refs = ObjectRefs::default();
        volumes(info.to_string().as_bytes(), &mut refs);
        assert_eq!(refs.namespaces(), ["bakery", "odd", "shop"]);
        assert_eq!(refs.of(ObjectRef::Claim), [("bakery", "flour"), ("shop", "ledger")]);
        assert_eq!(refs.of(ObjectRef::Volume), [("", "pv-7")]);
        assert_eq!(refs.of(ObjectRef::Content), [("", "vsc-7")]);
    }

    #[test]
    fn errors_lead_to_claims_of_namespaces_with_errors_alone() {
        let results = json!({"errors": {"namespaces": {"shop": [
            "persistentvolumeclaims shop/ledger: not bound, persistentvolumeclaims vault/key and secrets shop/key",
            "error executing custom action (groupResource=persistentvolumes, namespace=, name=pv-7): gone",
            "persistentvolumeclaims shop/../x: odd",
            "error restoring widgets.example.com/shop/blue: the server could not find the requested resource"]}}});
        let refs = named_by(&Results::read(results.to_string().as_bytes()));
        assert_eq!(refs.of(ObjectRef::Claim), [("shop", "ledger")]);
        assert_eq!(refs.of(ObjectRef::Volume), [("", "pv-7")]);
        assert_eq!(refs.of(ObjectRef::Definition), [("", "widgets.example.com")]);
        assert_eq!(refs.namespaces(), ["shop"]);
    }

    #[test]
    fn operations_that_did_not_end_well_lead_to_what_they_were_about_even_if_the_file_breaks_off() {
        let operation = |resource: &str, namespace: &str, name: &str, phase: &str| {
            json!({"spec": {"resourceIdentifier": {"Group": "", "Resource": resource, "Namespace": namespace, "Name": name},
                "operationID": "du-1"}, "status": {"phase": phase, "error": "no"}})
        };
        let all = json!([
            operation("persistentvolumeclaims", "calm", "well", "Completed"),
            operation("persistentvolumeclaims", "shop", "ledger", "Failed"),
            operation("volumesnapshots", "bakery", "velero-flour-x", "InProgress"),
            operation("virtualmachines", "farm", "cow", "New")
        ]);
        let whole = all.to_string();
        for (text, namespaces) in
            [(whole.as_str(), &["bakery", "farm", "shop"][..]), (&whole[..whole.len() - 20], &["bakery", "shop"])]
        {
            let mut refs = ObjectRefs::default();
            operations(text.as_bytes(), &mut refs);
            assert_eq!(refs.namespaces(), namespaces);
            assert_eq!(refs.of(ObjectRef::Claim), [("shop", "ledger")]);
            assert_eq!(refs.of(ObjectRef::Snapshot), [("bakery", "velero-flour-x")]);
        }
    }
    #[test]
    fn namespaces_of_pods_and_claims_are_told_once_each() {
        let list = json!({"apps/v1/Deployment": ["farm/web(created)"], "v1/Namespace": ["barn(created)"],
            "v1/Pod": ["shop/shop-0(created)", "shop/shop-1(failed)", "../x(created)", "odd"],
            "v1/PersistentVolumeClaim": ["bakery/flour(skipped)"]});
        assert_eq!(restored(list.to_string().as_bytes()), (vec!["bakery".to_owned(), "shop".to_owned()], false));
    }

    #[test]
    fn a_list_that_is_cut_or_odd_tells_what_came_before() {
        for list in [r#"{"v1/Pod": ["shop/a(created)", "#, r#"{"v1/Pod": ["shop/a(created)", 7]}"#] {
            assert_eq!(restored(list.as_bytes()), (vec!["shop".to_owned()], false), "{list}");
        }
        assert_eq!(restored(b"[]".as_slice()), (Vec::new(), false));
        let many: Vec<String> = (0..1000).map(|n| format!("n{n}/p(created)")).collect();
        let (kept, more) = restored(json!({"v1/Pod": many}).to_string().as_bytes());
        assert_eq!((kept.len(), more), (NAMESPACES, true));
    }
}
