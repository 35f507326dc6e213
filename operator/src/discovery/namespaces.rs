//! Which namespaces besides Velero's are looked into: their number is limited, and those nearest to a cause come first.
//! Pure; data, `files`, `restored_namespaces` and the target itself lead to them.

use std::collections::{BTreeMap, BTreeSet};

use debugbundle_format::text;

use super::{InventoryError, Looked, NamespaceCandidate};
use crate::velero::{DataObject, is_dns_name};

/// The most namespaces besides Velero's that a target may lead to.
pub(super) const TOUCHED: usize = 32;

/// The namespaces and kinds that the operator is configured to read, whatever its permissions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The allowed namespaces besides Velero's; `None` allows all. Any other is skipped if a target leads to it, and
    /// refused if the spec requests it.
    pub namespaces: Option<BTreeSet<String>>,
    /// Cluster-scoped kinds and other namespaces are meant to be read (chart: `access: cluster-read`). If not, a
    /// refusal there is a note, not an error.
    pub cluster_read: bool,
}

impl Scope {
    /// Everything the permissions allow.
    pub fn everything() -> Self {
        Self { namespaces: None, cluster_read: true }
    }

    /// Whether this namespace may be looked into.
    pub fn allows(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }

    /// Refuses requested namespaces outside the scope; Velero's own is always allowed.
    pub(super) fn check(&self, asked: &[String], velero: &str) -> Result<(), InventoryError> {
        let refused: Vec<&str> =
            asked.iter().map(String::as_str).filter(|name| *name != velero && !self.allows(name)).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let allowed: Vec<&str> = self.namespaces.iter().flatten().map(String::as_str).collect();
        Err(InventoryError::NamespaceNotAllowed { asked: a_few(&refused), allowed: a_few(&allowed) })
    }
}

/// The first few names, for a sentence.
fn a_few(names: &[&str]) -> String {
    const FEW: usize = 5;
    let beyond = names.len().saturating_sub(FEW);
    let shown: Vec<_> = names.iter().take(FEW).map(|name| text::bounded(name, 63)).collect();
    match (shown.join(", "), beyond) {
        (none, _) if none.is_empty() => "none".to_owned(),
        (shown, 0) => shown,
        (shown, beyond) => format!("{shown} and {beyond} more"),
    }
}

/// How near to a cause a namespace is, by what leads there; the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relevance {
    /// Something went wrong or is not done there: its data did not complete, or results or operations name it.
    Trouble,
    /// The target or its hooks work there, or did, as far as is known.
    Named,
    /// Its data completed; that the target also names it adds nothing.
    Settled,
}

impl Relevance {
    /// Whether it moves a namespace nearer to a cause. Only trouble does: a namespace whose data completed ranks below
    /// one that the target names and whose data did not complete, even if the target names both.
    fn is_news(self, known: Self) -> bool {
        self == Self::Trouble && known != Self::Trouble
    }
}

/// Namespaces that are neither looked into nor listed one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omitted {
    names: BTreeMap<String, Relevance>,
    unnamed: u64,
}

impl Omitted {
    /// How many; a namespace whose name was not kept may be counted twice.
    pub fn count(&self) -> u64 {
        self.names.len() as u64 + self.unnamed
    }

    pub(crate) fn add_unnamed(&mut self, number: u64) {
        self.unnamed += number;
    }
}

/// The known namespaces, and how many of them may be looked into.
pub(super) struct NamespaceSelection {
    pub candidates: Vec<NamespaceCandidate>,
    pub omitted: Omitted,
    pub scope: Scope,
    /// Velero's namespace, which does not count.
    velero: String,
    /// The most that are looked into besides the requested ones, and the most that are only listed.
    most: usize,
}

impl NamespaceSelection {
    pub(super) fn new(velero: String, scope: Scope) -> Self {
        Self { candidates: Vec::new(), omitted: Omitted::default(), scope, velero, most: TOUCHED }
    }

    /// The namespaces of data: first of data that ended and did not complete, then of data under way, then of the rest.
    pub(super) fn touch_data(&mut self, data: &[DataObject]) {
        let mut data: Vec<&DataObject> = data.iter().collect();
        data.sort_by_key(|object| (object.is_completed(), !object.has_ended()));
        for object in data {
            let of_pod = object.pod.as_ref().map(|pod| &pod.namespace);
            let namespaces: Vec<&String> = [of_pod, object.namespace.as_ref()].into_iter().flatten().collect();
            let relevance = if object.is_completed() { Relevance::Settled } else { Relevance::Trouble };
            self.touch(&namespaces, 0, &format!("{} {}", object.plural, object.name), relevance);
        }
    }

    /// The requested namespaces, whole: they do not count, and the schema bounds their number.
    pub(super) fn ask_for(&mut self, asked: &[String]) {
        for namespace in asked.iter().filter(|namespace| namespace.as_str() != self.velero) {
            let looked = if self.scope.allows(namespace) { Looked::Yes } else { Looked::NotAllowed };
            self.omitted.names.remove(namespace);
            match self.candidates.iter_mut().find(|known| known.namespace == *namespace) {
                Some(known) => {
                    known.whole = true;
                    known.looked = looked;
                }
                None => self.candidates.push(NamespaceCandidate {
                    namespace: namespace.clone(),
                    why: "spec.namespaces".to_owned(),
                    relevance: Relevance::Named,
                    whole: true,
                    looked,
                }),
            }
        }
    }

    /// Adds namespaces, moves known ones nearer, and counts `beyond` further ones. The last of the farthest ones gives
    /// up its place to a nearer one that has none.
    pub(super) fn touch(&mut self, namespaces: &[impl AsRef<str>], beyond: u64, why: &str, relevance: Relevance) {
        self.omitted.add_unnamed(beyond);
        for namespace in namespaces.iter().map(AsRef::as_ref) {
            if namespace == self.velero || !is_dns_name(namespace) {
                continue;
            }
            if let Some(at) = self.candidates.iter().position(|known| known.namespace == namespace) {
                self.move_nearer(at, why, relevance);
                continue;
            }
            if self.omitted.names.get(namespace).is_some_and(|known| !relevance.is_news(*known)) {
                continue;
            }
            self.omitted.names.remove(namespace);
            let looked = if self.scope.allows(namespace) { self.room_for(relevance) } else { Looked::NotAllowed };
            let (namespace, why) = (namespace.to_owned(), why.to_owned());
            self.candidates.push(NamespaceCandidate { namespace, why, relevance, whole: false, looked });
            self.shorten();
        }
    }

    fn move_nearer(&mut self, at: usize, why: &str, relevance: Relevance) {
        let known = &self.candidates[at];
        if !relevance.is_news(known.relevance) {
            return;
        }
        let looked = match known.looked {
            Looked::TooMany => self.room_for(relevance),
            looked => looked,
        };
        let known = &mut self.candidates[at];
        known.relevance = relevance;
        if looked != known.looked {
            (known.looked, known.why) = (looked, why.to_owned());
        }
    }

    /// Whether a namespace of this nearness is looked into; a farther one may lose its place to it.
    fn room_for(&mut self, relevance: Relevance) -> Looked {
        let in_place = |known: &NamespaceCandidate| known.looked == Looked::Yes && !known.whole;
        if self.candidates.iter().filter(|known| in_place(known)).count() < self.most {
            return Looked::Yes;
        }
        let farther = self.candidates.iter_mut().filter(|known| in_place(known) && known.relevance > relevance);
        match farther.max_by_key(|known| known.relevance) {
            Some(last) => {
                last.looked = Looked::TooMany;
                Looked::Yes
            }
            None => Looked::TooMany,
        }
    }

    /// If too many are listed without being looked into, the last of the farthest ones is only counted.
    fn shorten(&mut self) {
        let listed = |known: &NamespaceCandidate| known.looked != Looked::Yes && !known.whole;
        let all = (0..self.candidates.len()).filter(|at| listed(&self.candidates[*at]));
        if all.clone().count() > self.most
            && let Some(at) = all.max_by_key(|at| self.candidates[*at].relevance)
        {
            let NamespaceCandidate { namespace, relevance, .. } = self.candidates.remove(at);
            self.omitted.names.insert(namespace, relevance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, phase: &str) -> DataObject {
        DataObject {
            plural: "datauploads".into(),
            name: format!("d-{namespace}"),
            phase: phase.into(),
            node: None,
            pod: None,
            claim: None,
            namespace: Some(namespace.into()),
            repository: None,
            location: None,
        }
    }

    impl NamespaceSelection {
        fn of(data: &[DataObject], asked: &[&str], scope: Scope, most: usize) -> Self {
            let mut known = Self { most, ..Self::new("velero-ns".to_owned(), scope) };
            known.touch_data(data);
            let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
            known.ask_for(&asked);
            known
        }

        fn looked_into(&self) -> Vec<&str> {
            let looked = self.candidates.iter().filter(|one| one.looked == Looked::Yes);
            looked.map(|one| one.namespace.as_str()).collect()
        }

        /// How many are looked into, listed, and only counted.
        fn numbers(&self) -> (usize, usize, u64) {
            let looked = self.looked_into().len();
            (looked, self.candidates.len() - looked, self.omitted.count())
        }
    }

    #[test]
    fn sec_d3_namespaces_of_unfinished_data_come_first_and_borders_hold() {
        let data = [
            object("calm", "Completed"),
            object("velero-ns", "Failed"),
            object("hot", "Failed"),
            object("last", "Completed"),
        ];
        let scope =
            || Scope { namespaces: Some(["hot", "calm", "asked"].map(str::to_owned).into()), cluster_read: true };
        let asked = ["asked", "foreign", "calm"];
        let known = NamespaceSelection::of(&data, &asked, scope(), 2);
        let found: Vec<_> = known.candidates.into_iter().map(|one| (one.namespace, one.whole, one.looked)).collect();
        assert_eq!(
            found,
            [
                ("hot".to_owned(), false, Looked::Yes),
                ("calm".to_owned(), true, Looked::Yes),
                ("last".to_owned(), false, Looked::NotAllowed),
                ("asked".to_owned(), true, Looked::Yes),
                ("foreign".to_owned(), true, Looked::NotAllowed),
            ]
        );
        let mut known = NamespaceSelection::of(&data, &asked, scope(), 3);
        known.touch(&["asked", "velero-ns", "hot", "", "../x", "new"], 0, "something", Relevance::Trouble);
        let new: Vec<_> = known.candidates.iter().skip(5).map(|one| (one.namespace.as_str(), one.looked)).collect();
        assert_eq!(new, [("new", Looked::NotAllowed)], "known ones, Velero's and what is no name stay as they are");
        let many: Vec<_> = (0..9).chain(0..9).map(|n| object(&format!("n{n}"), "")).collect();
        let known = NamespaceSelection::of(&many, &["n8"], Scope::everything(), 2);
        let looked: Vec<_> = known.candidates.iter().map(|one| one.looked).collect();
        assert_eq!(looked, [Looked::Yes, Looked::Yes, Looked::TooMany, Looked::TooMany, Looked::Yes]);
        assert_eq!(known.omitted.count(), 4, "n4 to n7, each once");
        let data = [object("done", "Completed"), object("queues", "New"), object("fell", "Canceled")];
        assert_eq!(
            NamespaceSelection::of(&data, &[], Scope::everything(), 3).looked_into(),
            ["fell", "queues", "done"]
        );
    }

    #[test]
    fn one_whose_data_completed_gives_up_its_place_for_one_that_tells_more_and_none_is_lost() {
        let data: Vec<_> = (0..6).map(|n| object(&format!("n{n}"), "Completed")).collect();
        let mut known = NamespaceSelection::of(&data, &[], Scope::everything(), 2);
        assert_eq!((known.looked_into(), known.numbers()), (vec!["n0", "n1"], (2, 2, 2)));
        // Like a spec that names all of them, the one without data last.
        known.touch(&["n0", "n1", "n2", "n3", "n4", "n5", "hangs"], 0, "something", Relevance::Named);
        assert_eq!((known.looked_into(), known.numbers()), (vec!["n0", "hangs"], (2, 2, 3)));
        known.touch(&["waits"], 0, "something", Relevance::Named);
        known.touch(&["late"], 0, "something", Relevance::Named);
        assert_eq!((known.looked_into(), known.numbers()), (vec!["hangs", "waits"], (2, 2, 5)));
        // Trouble moves listed and counted namespaces nearer.
        known.touch(&["n5", "late"], 0, "something", Relevance::Trouble);
        assert_eq!((known.looked_into(), known.numbers()), (vec!["late", "n5"], (2, 2, 5)));
        known.touch(&["n0", "new"], 0, "something", Relevance::Trouble);
        assert_eq!((known.looked_into(), known.numbers()), (vec!["late", "n5"], (2, 2, 6)), "as near, and too late");
    }

    #[test]
    fn what_was_asked_for_and_what_is_not_allowed_neither_loses_nor_gets_a_place() {
        let data = [object("asked", "Completed"), object("calm", "Completed")];
        let scope = Scope { namespaces: Some(["asked", "calm", "hot"].map(str::to_owned).into()), cluster_read: true };
        let mut known = NamespaceSelection::of(&data, &["asked"], scope, 1);
        known.touch(&["hot", "vault"], 0, "something", Relevance::Trouble);
        assert_eq!(known.looked_into(), ["asked", "hot"]);
        let vault = known.candidates.iter().find(|one| one.namespace == "vault");
        assert_eq!(vault.map(|one| one.looked), Some(Looked::NotAllowed));
    }
}
