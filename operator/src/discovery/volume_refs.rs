//! Objects and namespaces that the target's own files name, a bounded number. Discovery follows them like the ones that
//! the data names; `files` reads them.

use std::collections::{BTreeMap, BTreeSet};

use crate::velero::is_dns_name;

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
    /// There are more namespaces.
    pub more: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
