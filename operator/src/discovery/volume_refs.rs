//! Objects and namespaces that the target's own files name. Discovery follows them like the ones that the data names;
//! `target_files` reads the files.

use std::collections::{BTreeMap, BTreeSet};

use super::{Relevance, Snapshot};
use crate::velero::{ObjectName, is_dns_name};

/// The most names kept of each kind; a file may have thousands.
const NAMES: usize = 100;
/// The most namespaces kept; fewer are looked into.
const NAMESPACES: usize = 64;

/// The kind of object that a name refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectRef {
    /// A PersistentVolumeClaim.
    Claim,
    /// A PersistentVolume.
    Volume,
    /// A VolumeSnapshot.
    Snapshot,
    /// A VolumeSnapshotContent.
    Content,
    /// A CustomResourceDefinition.
    Definition,
    /// Another kind: only its namespace counts.
    Elsewhere,
}

/// References that were met, a bounded number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRefs {
    names: BTreeMap<ObjectRef, BTreeSet<(String, String)>>,
    namespaces: BTreeSet<String>,
    more: bool,
}

impl ObjectRefs {
    /// Adds a name; an invalid name is left out, and a cluster-scoped object is kept without a namespace.
    pub fn add(&mut self, reference: ObjectRef, namespace: Option<&str>, name: Option<&str>) {
        let namespace = namespace.filter(|namespace| is_dns_name(namespace));
        if let Some(namespace) = namespace.filter(|namespace| !self.namespaces.contains(*namespace)) {
            if self.namespaces.len() < NAMESPACES {
                self.namespaces.insert(namespace.to_owned());
            } else {
                self.more = true;
            }
        }
        let of_the_cluster = matches!(reference, ObjectRef::Volume | ObjectRef::Content | ObjectRef::Definition);
        let place = if of_the_cluster { Some("") } else { namespace };
        if let (Some(place), Some(name)) = (place, name.filter(|name| is_dns_name(name)))
            && reference != ObjectRef::Elsewhere
        {
            let names = self.names.entry(reference).or_default();
            if names.len() < NAMES {
                names.insert((place.to_owned(), name.to_owned()));
            }
        }
    }

    /// The namespaces, sorted.
    pub fn namespaces(&self) -> Vec<&str> {
        self.namespaces.iter().map(String::as_str).collect()
    }

    /// Namespace and name of the objects of this kind, sorted.
    pub fn of(&self, reference: ObjectRef) -> Vec<(&str, &str)> {
        let names = self.names.get(&reference).into_iter().flatten();
        names.map(|(namespace, name)| (namespace.as_str(), name.as_str())).collect()
    }
}

impl Snapshot {
    /// Follows the references: their namespaces as far as scope and limit allow, and the objects in these.
    pub(super) fn take_up_refs(&mut self, refs: &ObjectRefs, why: &str) {
        let namespaces: Vec<String> = refs.namespaces().into_iter().map(str::to_owned).collect();
        self.touch(&namespaces, u64::from(refs.more), why, Relevance::Trouble);
        let named = |reference| {
            let names = refs.of(reference).into_iter();
            names.map(|(namespace, name)| ObjectName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: None,
            })
        };
        for claim in named(ObjectRef::Claim) {
            if !self
                .namespaces
                .claims
                .iter()
                .any(|known| (&known.namespace, &known.name) == (&claim.namespace, &claim.name))
            {
                if claim.namespace == self.installation.namespace {
                    // The walk does not come there.
                    self.namespaces.volumes.velero_claims.insert(claim.name.clone());
                }
                self.namespaces.claims.push(claim);
            }
        }
        self.namespaces.volumes.snapshots.extend(named(ObjectRef::Snapshot));
        for volume in named(ObjectRef::Volume) {
            self.namespaces.volumes.waited.insert(volume.name.clone());
            self.namespaces.volumes.volumes.insert(volume.name);
        }
        self.target.definitions.extend(named(ObjectRef::Definition).map(|definition| definition.name));
        self.namespaces.volumes.contents.extend(named(ObjectRef::Content).map(|content| content.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{Looked, fixture};

    #[test]
    fn what_is_named_is_bounded_and_what_cannot_be_a_name_is_left_out() {
        let mut refs = ObjectRefs::default();
        for n in 0..1000 {
            refs.add(ObjectRef::Claim, Some(&format!("n{n:04}")), Some(&format!("c{n}")));
        }
        refs.add(ObjectRef::Volume, None, Some("Not A Name"));
        assert_eq!((refs.of(ObjectRef::Claim).len(), refs.namespaces().len(), refs.more), (NAMES, NAMESPACES, true));
        assert!(refs.of(ObjectRef::Volume).is_empty());
    }

    #[test]
    fn leads_are_taken_up_once_and_within_the_borders() {
        let mut snapshot = fixture::snapshot();
        snapshot.scope.namespaces = Some(["shop".to_owned()].into());
        let mut refs = ObjectRefs::default();
        refs.add(ObjectRef::Claim, Some("shop"), Some("ledger"));
        refs.add(ObjectRef::Content, Some("ignored"), Some("vsc-7"));
        refs.add(ObjectRef::Elsewhere, Some("vault"), Some("secret"));
        snapshot.take_up_refs(&refs, "item operations of Backup harvest");
        snapshot.take_up_refs(&refs, "item operations of Backup harvest");
        assert_eq!(snapshot.namespaces.claims.len(), 1);
        assert!(snapshot.namespaces.volumes.contents.contains("vsc-7"));
        assert!(snapshot.namespaces.volumes.velero_claims.is_empty(), "the walk comes there with all that is known");
        let mut velero_namespace = ObjectRefs::default();
        velero_namespace.add(ObjectRef::Claim, Some("keep"), Some("cache"));
        snapshot.take_up_refs(&velero_namespace, "volume info of Backup harvest");
        assert_eq!(snapshot.namespaces.volumes.velero_claims, BTreeSet::from(["cache".to_owned()]));
        let candidate: Vec<_> =
            snapshot.namespaces.candidates.iter().map(|one| (one.namespace.as_str(), one.looked)).collect();
        let expected = [("ignored", Looked::NotAllowed), ("shop", Looked::Yes), ("vault", Looked::NotAllowed)];
        assert_eq!(candidate, expected);
    }
}
