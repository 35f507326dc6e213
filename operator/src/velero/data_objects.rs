//! Which data objects belong to a Backup or Restore: the joins by label, owner and name that Velero makes. Pure;
//! `reader` asks for the objects.

use jiff::Timestamp;
use serde_json::Value;

/// A name in a namespace, and the UID that its reference contains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, if known.
    pub uid: Option<String>,
}

/// A PodVolumeBackup, PodVolumeRestore, DataUpload or DataDownload, projected to what leads further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataObject {
    /// Such as `podvolumerestores`.
    pub plural: String,
    /// Its name; the pod, claim and snapshot that serve it have the same.
    pub name: String,
    /// `status.phase`, empty until a node agent takes it up.
    pub phase: String,
    /// The node where it runs, or was accepted.
    pub node: Option<String>,
    /// The pod whose volume it is.
    pub pod: Option<ObjectName>,
    /// The claim whose data it moves.
    pub claim: Option<ObjectName>,
    /// The namespace whose data it moves.
    pub namespace: Option<String>,
    /// The repository that holds the data: the namespace it was backed up from, and the repository's type.
    pub repository: Option<(String, String)>,
    /// The BackupStorageLocation that the data is in.
    pub location: Option<String>,
}

impl DataObject {
    /// Reads the object, whatever it contains; invalid names are left out.
    pub fn read(plural: &str, object: &Value) -> Option<Self> {
        let text = |pointer: &str| {
            let text = object.pointer(pointer).and_then(Value::as_str)?;
            is_dns_name(text).then(|| text.to_owned())
        };
        let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| text(pointer));
        let pod = match (text("/spec/pod/namespace"), text("/spec/pod/name")) {
            (Some(namespace), Some(name)) => Some(ObjectName { namespace, name, uid: text("/spec/pod/uid") }),
            _ => None,
        };
        let namespace = pod
            .as_ref()
            .map(|pod| pod.namespace.clone())
            .or_else(|| first(&["/spec/sourceNamespace", "/spec/targetVolume/namespace"]));
        // A DataDownload keeps the old namespace in `sourceNamespace`; it restores into that of the target volume.
        let namespace = text("/spec/targetVolume/namespace").or(namespace);
        let backed_up = text("/spec/sourceNamespace").or_else(|| pod.as_ref().map(|pod| pod.namespace.clone()));
        // Velero's own data mover has Kopia repositories only.
        let sort = text("/spec/uploaderType").unwrap_or_else(|| "kopia".to_owned());
        let claim = first(&["/metadata/annotations/velero.io~1pvc-name", "/spec/targetVolume/pvc", "/spec/sourcePVC"]);
        Some(Self {
            plural: plural.to_owned(),
            name: text("/metadata/name")?,
            phase: object.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default().to_owned(),
            node: first(&["/status/node", "/spec/node", "/status/acceptedByNode"]),
            claim: namespace.clone().zip(claim).map(|(namespace, name)| ObjectName { namespace, name, uid: None }),
            pod,
            namespace,
            repository: backed_up.map(|namespace| (namespace, sort)),
            location: text("/spec/backupStorageLocation"),
        })
    }
}

impl DataObject {
    /// Any node agent may take it up: none has yet.
    pub(crate) fn may_go_anywhere(&self) -> bool {
        self.node.is_none() && !self.has_ended() && matches!(self.plural.as_str(), "datauploads" | "datadownloads")
    }

    /// What identifies the repository of the data: the namespace it was backed up from, the location, and the
    /// repository's type. `otherwise` is the location of data that does not name its own.
    pub(crate) fn held_in(&self, otherwise: Option<&str>) -> Option<(String, String, String)> {
        let (namespace, sort) = self.repository.clone()?;
        let location = self.location.as_deref().or(otherwise)?;
        Some((namespace, location.to_owned(), sort))
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Completed" | "Failed" | "Canceled")
    }

    /// Nothing is left to explain.
    pub(crate) fn is_completed(&self) -> bool {
        self.phase == "Completed"
    }
}

/// Whether text can be the name of an object or namespace (DNS-1123 subdomain, at most 253 bytes).
pub fn is_dns_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 253 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().copied().all(inner)
}

/// Whether an object with the target's *name* is the target's and not a namesake's: by owner, else by Velero's tag; an
/// object with neither is accepted.
pub(crate) fn is_of(object: &Value, uid: &str, tag: &str) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let velero: Vec<&str> = owners
        .into_iter()
        .flatten()
        .filter(|owner| owner["apiVersion"].as_str().is_some_and(|version| version.starts_with("velero.io/")))
        .filter_map(|owner| owner["uid"].as_str())
        .collect();
    if !velero.is_empty() {
        return velero.contains(&uid);
    }
    object.pointer("/spec/tags").and_then(|tags| tags[tag].as_str()).is_none_or(|tagged| tagged == uid)
}

/// The newest of a Schedule's Backups (time, name, usable) at the time of the Restore; usable ones first, because
/// Velero restores from no other.
pub(crate) fn newest_backup(
    backups: Vec<(Option<Timestamp>, String, bool)>,
    restore: Option<Timestamp>,
) -> Option<String> {
    backups
        .into_iter()
        .filter(|(time, ..)| time.zip(restore).is_none_or(|(time, restore)| time <= restore))
        .max_by(|a, b| (a.2, a.0, &a.1).cmp(&(b.2, b.0, &b.1)))
        .map(|(_, name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_namesake_of_another_uid_does_not_belong() {
        let owned = |uid: &str| json!({"metadata": {"ownerReferences": [{"apiVersion": "velero.io/v1", "uid": uid}]}});
        assert!(is_of(&owned("u1"), "u1", "backup-uid"));
        assert!(!is_of(&owned("u2"), "u1", "backup-uid"));
        let tagged = |uid: &str| json!({"metadata": {}, "spec": {"tags": {"backup-uid": uid}}});
        assert!(is_of(&tagged("u1"), "u1", "backup-uid"));
        assert!(!is_of(&tagged("u2"), "u1", "backup-uid"));
        assert!(is_of(&json!({"metadata": {}}), "u1", "backup-uid"), "of a Velero that wrote neither");
    }

    #[test]
    fn a_pod_volume_restore_leads_to_pod_claim_and_node() {
        let object = json!({
            "metadata": {"name": "refill-7x", "annotations": {"velero.io/pvc-name": "ledger"}},
            "spec": {"pod": {"namespace": "bakery", "name": "oven-0", "uid": "p1"}, "sourceNamespace": "old"},
            "status": {"phase": "InProgress", "node": "shelf-3"}});
        let read = DataObject::read("podvolumerestores", &object).unwrap();
        let held_in = |location: &str| Some(("old".to_owned(), location.to_owned(), "kopia".to_owned()));
        assert_eq!((read.held_in(None), read.held_in(Some("silo"))), (None, held_in("silo")), "it does not say where");
        let says = DataObject { location: Some("attic".to_owned()), ..read.clone() };
        assert_eq!((says.held_in(None), says.held_in(Some("silo"))), (held_in("attic"), held_in("attic")));
        assert_eq!(
            read.pod.unwrap(),
            ObjectName { namespace: "bakery".into(), name: "oven-0".into(), uid: Some("p1".into()) }
        );
        assert_eq!(read.claim.unwrap().name, "ledger");
        assert_eq!(read.namespace.as_deref(), Some("bakery"));
        assert_eq!(read.node.as_deref(), Some("shelf-3"));
        assert_eq!(read.repository, Some(("old".to_owned(), "kopia".to_owned())), "of where it was backed up");
    }

    #[test]
    fn a_data_download_is_about_the_namespace_it_restores_into() {
        let object = json!({"metadata": {"name": "d1"}, "spec": {"sourceNamespace": "old",
            "targetVolume": {"namespace": "bakery", "pvc": "ledger", "pv": ""}}, "status": {"acceptedByNode": "shelf-1"}});
        let read = DataObject::read("datadownloads", &object).unwrap();
        assert_eq!(read.claim.unwrap(), ObjectName { namespace: "bakery".into(), name: "ledger".into(), uid: None });
        assert_eq!(read.node.as_deref(), Some("shelf-1"));
    }

    #[test]
    fn names_that_cannot_be_names_lead_nowhere() {
        let object = json!({"metadata": {"name": "x"}, "spec": {"pod": {"namespace": "../kube-system", "name": 7}}, "status": 3});
        let read = DataObject::read("podvolumebackups", &object).unwrap();
        assert_eq!((read.pod, read.claim, read.namespace, read.node), (None, None, None, None));
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a b", &"a".repeat(254)] {
            assert!(!is_dns_name(bad), "{bad}");
        }
        assert!(is_dns_name("a.b-c9"));
    }

    #[test]
    fn the_newest_usable_backup_of_a_schedule_is_restored() {
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let backups = vec![
            (time("2026-03-01T00:00:00Z"), "one".to_owned(), true),
            (time("2026-03-02T00:00:00Z"), "two".to_owned(), true),
            (time("2026-03-03T00:00:00Z"), "failed".to_owned(), false),
            (time("2026-03-05T00:00:00Z"), "later".to_owned(), true),
        ];
        assert_eq!(newest_backup(backups, time("2026-03-04T00:00:00Z")).as_deref(), Some("two"));
        assert_eq!(newest_backup(Vec::new(), None), None);
    }
}
