//! Namespaces that a target's spec covers but does not name, because it takes all or uses a pattern: those that a
//! Restore wrote to are found by its label. `walk` walks through them.

use std::{collections::BTreeMap, io};

use debugbundle_crd::TargetKind;
use futures::StreamExt as _;
use serde_json::Value;

use super::{
    Relevance, Scope,
    files::WithFiles,
    namespaces::TOUCHED,
    reader::DiscoveryReader,
    related_volumes::{PodView, RESTORED_BY},
};
use crate::{
    cluster::{ApiKind, Flow, TakeItems},
    velero::{is_dns_name, valid_label},
};

/// The most namespaces kept of one list.
const KEPT: usize = 1000;
/// Lists read at once.
const AT_ONCE: usize = 4;

/// What was done about namespaces that the target's spec covers but does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// None was looked for.
    NotLooked,
    /// Namespaces in which the Restore made a pod or a claim were looked for, as far as the scope allows.
    Restored,
}

/// A kind whose objects a Restore labels when it makes them.
#[derive(Clone, Copy, Debug)]
enum Made {
    Pod,
    Claim,
}

impl Made {
    fn kind(self) -> ApiKind {
        match self {
            Self::Pod => ApiKind::namespaced("", "v1", "pods", "Pod"),
            Self::Claim => ApiKind::namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
        }
    }

    /// The pod is ready, or the claim is bound.
    fn is_settled(self, object: &Value) -> bool {
        match self {
            Self::Pod => PodView::read(object).is_some_and(|seen| seen.ready),
            Self::Claim => object.pointer("/status/phase").is_some_and(|phase| phase == "Bound"),
        }
    }
}

/// The namespaces of a list's objects, and whether all its objects there are settled.
struct Brought {
    made: Made,
    namespaces: BTreeMap<String, bool>,
    /// The list has more namespaces than are kept.
    more: bool,
}

impl Brought {
    fn new(made: Made) -> Self {
        Self { made, namespaces: BTreeMap::new(), more: false }
    }
}

impl TakeItems for Brought {
    fn take(&mut self, object: Value) -> io::Result<Flow> {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let settled = self.made.is_settled(&object);
        if let Some(known) = self.namespaces.get_mut(namespace) {
            *known &= settled;
        } else if self.namespaces.len() >= KEPT {
            self.more = true;
        } else if is_dns_name(namespace) {
            self.namespaces.insert(namespace.to_owned(), settled);
        }
        Ok(Flow::More)
    }

    fn restart(&mut self) {
        *self = Self::new(self.made);
    }
}

/// Touches the namespaces that a Restore wrote to, if its spec does not name them all: first those with a pod that is
/// not ready or a claim that is not bound.
pub(super) async fn with_restored(reader: &DiscoveryReader<'_>, mut with_files: WithFiles) -> WithFiles {
    let target = with_files.chosen.target.object.as_ref().filter(|target| target.kind == TargetKind::Restore);
    let Some(target) = target.filter(|_| with_files.unnamed.is_some()) else { return with_files };
    let selector = format!("{RESTORED_BY}={}", valid_label(&target.name));
    let why = format!("objects that {} {} created", target.kind, target.name);
    let namespaces = &mut with_files.chosen.namespaces;
    let (places, all) = places(&namespaces.scope, reader.namespace);
    let lists = places.into_iter().flat_map(|place| [(Made::Pod, place.clone()), (Made::Claim, place)]);
    let asked: Vec<_> = lists.map(|(made, place)| brought(reader, made, place, &selector)).collect();
    let read: Vec<(Brought, bool)> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    if all && read.iter().all(|(_, whole)| *whole) {
        with_files.unnamed = Some(Unnamed::Restored);
    }
    let more = read.iter().any(|(brought, _)| brought.more);
    let (open, settled) = by_state(read.into_iter().map(|(brought, _)| brought.namespaces));
    namespaces.touch(&open, u64::from(more), &why, Relevance::Trouble);
    namespaces.touch(&settled, 0, &why, Relevance::Named);
    with_files
}

/// The namespaces of objects with the label, and whether the list was read to its end.
async fn brought(reader: &DiscoveryReader<'_>, made: Made, place: String, selector: &str) -> (Brought, bool) {
    let kind = made.kind();
    let brought = reader.read(&kind, &place, Some(selector), Brought::new(made)).await;
    (brought, !reader.has_lost_in(&kind, &place))
}

/// Where to look: everywhere at once (the empty name) if the scope allows that, else in the allowed namespaces; and
/// whether these are all of them.
fn places(scope: &Scope, velero: &str) -> (Vec<String>, bool) {
    match &scope.namespaces {
        Some(allowed) => {
            let beside: Vec<String> = allowed.iter().filter(|name| *name != velero).cloned().collect();
            let all = beside.len() <= TOUCHED;
            (beside.into_iter().take(TOUCHED).collect(), all)
        }
        None if scope.cluster_read => (vec![String::new()], true),
        None => (Vec::new(), false),
    }
}

/// Namespaces with something unsettled, and the others, each sorted by name.
fn by_state(found: impl Iterator<Item = BTreeMap<String, bool>>) -> (Vec<String>, Vec<String>) {
    let mut namespaces: BTreeMap<String, bool> = BTreeMap::new();
    for (namespace, settled) in found.flatten() {
        *namespaces.entry(namespace).or_insert(true) &= settled;
    }
    let (settled, open): (Vec<_>, Vec<_>) = namespaces.into_iter().partition(|(_, settled)| *settled);
    let names = |found: Vec<(String, bool)>| found.into_iter().map(|(name, _)| name).collect();
    (names(open), names(settled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn namespaces_where_something_is_not_settled_are_told_apart_and_are_bounded() {
        let claim =
            |namespace: &str, phase: &str| json!({"metadata": {"namespace": namespace}, "status": {"phase": phase}});
        let mut brought = Brought::new(Made::Claim);
        for again in 0..2 {
            if again == 1 {
                brought.restart();
            }
            for claim in
                [claim("a", "Bound"), claim("b", "Bound"), claim("c", "Pending"), claim("c", "Bound"), json!({})]
            {
                brought.take(claim).expect("it takes all");
            }
        }
        let others = BTreeMap::from([("b".to_owned(), false), ("d".to_owned(), true)]);
        let found = by_state([brought.namespaces.clone(), others].into_iter());
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        assert_eq!(found, (names(["b", "c"]), names(["a", "d"])));
        assert!(!brought.more);
        for number in 0..KEPT {
            brought.take(claim(&format!("n-{number}"), "Bound")).expect("it takes all");
        }
        assert_eq!((brought.namespaces.len(), brought.more), (KEPT, true));
    }

    #[test]
    fn it_is_looked_everywhere_at_once_only_within_the_borders() {
        let scope = |namespaces: Option<Vec<String>>, cluster_read| Scope {
            namespaces: namespaces.map(|names| names.into_iter().collect()),
            cluster_read,
        };
        assert_eq!(places(&Scope::everything(), "keep"), (vec![String::new()], true));
        assert_eq!(places(&scope(None, false), "keep"), (Vec::new(), false));
        for cluster_read in [true, false] {
            let listed = scope(Some(vec!["keep".to_owned(), "shop".to_owned()]), cluster_read);
            assert_eq!(places(&listed, "keep"), (vec!["shop".to_owned()], true));
        }
        let many = scope(Some((0..=TOUCHED).map(|number| format!("n-{number}")).collect()), false);
        let (places, all) = places(&many, "keep");
        assert_eq!((places.len(), all), (TOUCHED, false));
    }
}
