//! How discovery asks the API server: few calls, each bounded, and a record of every answer that failed.
//! The files beside this one decide what to ask for, and interpret the answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::Kind;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Cut, DISCOVERY, Gaps, InventoryError, OBJECT, Served, Unread,
    served::{self, VELERO},
};
use crate::{
    cluster::{ApiKind, Cluster, ClusterError, Flow, ListError, Projected, TakeItems},
    velero::{DataObject, TargetObject, is_data_of, valid_label},
};

/// The most data objects of a target that are followed to their pods; the bundle contains the others, too.
const DATA: usize = 2000;
/// Up to so many objects are read one by one; more are picked from a list.
pub(super) const HANDFUL: usize = 8;

/// Time to list the kinds of one version of a group. A server that is down is asked again and again meanwhile, and must
/// not use up the time of all others.
const GROUP: Duration = Duration::from_secs(5);

/// One look at a cluster.
pub(super) struct DiscoveryReader<'a> {
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub deadline: Instant,
    unread: Mutex<Vec<Unread>>,
    cut: Mutex<Vec<Cut>>,
}

impl<'a> DiscoveryReader<'a> {
    pub(super) fn new(cluster: &'a Cluster, namespace: &'a str, deadline: Instant) -> Self {
        Self { cluster, namespace, deadline, unread: Mutex::default(), cut: Mutex::default() }
    }

    /// Continues with what an earlier reader could not read.
    pub(super) fn with(self, gaps: Gaps) -> Self {
        Self { unread: Mutex::new(gaps.unread), cut: Mutex::new(gaps.cut), ..self }
    }

    /// What could not be read, each kind and namespace once; and which kinds were followed only in part.
    pub(super) fn gaps(self) -> Gaps {
        let unread = self.unread.into_inner().unwrap_or_else(PoisonError::into_inner);
        Gaps { unread, cut: self.cut.into_inner().unwrap_or_else(PoisonError::into_inner) }
    }

    pub(super) fn lost(&self, unread: Unread) {
        let mut all = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.iter().any(|known| known.what == unread.what) {
            all.push(unread);
        }
    }

    /// Records that there are more objects than are followed; `told` says in words how many are.
    pub(super) fn is_cut(&self, plural: &str, namespace: &str, told: String) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.push(Cut { plural: plural.to_owned(), namespace: namespace.to_owned(), told });
    }

    /// A list of this kind in Velero's namespace could not be read, or not to its end.
    pub(super) fn has_lost(&self, kind: &ApiKind) -> bool {
        self.has_lost_in(kind, self.namespace)
    }

    /// The same for any namespace; empty: for all of them.
    pub(super) fn has_lost_in(&self, kind: &ApiKind, namespace: &str) -> bool {
        let all = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|lost| lost.kind == *kind && lost.namespace == namespace)
    }

    /// A list of data could not be read, or not to its end.
    pub(super) fn has_lost_data(&self) -> bool {
        let all = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let moves_data =
            |kind: &ApiKind| Kind::served_as(&kind.group, &kind.plural).is_some_and(|kind| Kind::DATA.contains(kind));
        all.iter().any(|lost| moves_data(&lost.kind))
    }

    pub(super) async fn served(&self) -> Result<Served, InventoryError> {
        let fail = |source| InventoryError::Api { what: "the API server's list of kinds".to_owned(), source };
        let groups = self.cluster.get_as("/apis", DISCOVERY, 32 << 20, self.deadline).await.map_err(fail)?;
        if let Some(served) = Served::from_aggregated(&groups) {
            return Ok(served);
        }
        let mut served = Served::default();
        let mut asked = Vec::new();
        for group in served::groups_of_interest(&groups) {
            for version in group.versions {
                asked.push(self.kinds_of(group.name.clone(), version));
            }
        }
        for (group, version, list) in futures::future::join_all(asked).await {
            match list {
                Ok(list) => served.add_resource_list(&group, &version, &list),
                Err(_) => served.stale.push(format!("{group}/{version}")),
            }
        }
        Ok(served)
    }

    async fn kinds_of(&self, group: String, version: String) -> (String, String, Result<Value, ClusterError>) {
        let path = format!("/apis/{group}/{version}");
        let list = self.cluster.get(&path, OBJECT, self.deadline.min(Instant::now() + GROUP)).await;
        (group, version, list)
    }

    /// The server's version when somebody last asked for it (`velero version` does); this only reads, and asks nothing.
    pub(super) async fn reported_version(&self, served: &Served) -> Option<String> {
        const REQUESTS: usize = 1000;
        let kind = served.find(VELERO, "serverstatusrequests")?;
        let read = |request: Value| {
            let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
            let at: Timestamp = text("/status/processedTimestamp")?.parse().ok()?;
            Some((at, text("/status/serverVersion")?.to_owned()))
        };
        let told = self.all(kind, None, REQUESTS, read).await;
        told.into_iter().max().map(|(_, version)| version)
    }

    pub(super) async fn target(
        &self,
        served: &Served,
        kind: TargetKind,
        name: &str,
    ) -> Result<TargetObject, InventoryError> {
        let path = served.target(kind).path(Some(self.namespace), name);
        match self.cluster.get(&path, OBJECT, self.deadline).await {
            Ok(object) => Ok(TargetObject::read(kind, object)),
            Err(error) if error.is_not_found() => Err(InventoryError::TargetNotFound {
                kind,
                namespace: self.namespace.to_owned(),
                name: name.to_owned(),
            }),
            Err(source) => Err(InventoryError::Api { what: format!("{kind} {}/{name}", self.namespace), source }),
        }
    }

    /// The target's data objects: by the label of its UID, which is never cut; else by name, if the owner is the same.
    /// Of too many, the unfinished ones are kept.
    pub(super) async fn data(&self, served: &Served, target: &TargetObject) -> Vec<DataObject> {
        let word = match target.kind {
            TargetKind::Backup => "backup",
            TargetKind::Restore => "restore",
        };
        let kinds = Kind::data_of(&Kind::of(target.kind.as_str()));
        let mut found = Vec::new();
        for known in kinds.iter().filter_map(ApiKind::of) {
            // A kind that is not served is skipped; if discovery failed, its well-known form is used.
            let is_stale = served.is_stale(VELERO);
            let Some(kind) = served.find(VELERO, &known.plural).cloned().or(is_stale.then_some(known)) else {
                continue;
            };
            let plural = kind.plural.clone();
            let read = move |object: Value| DataObject::read(&plural, &object);
            let by_uid = format!("velero.io/{word}-uid={}", target.uid);
            let mut objects = self.unfinished_first(&kind, &by_uid, read.clone()).await;
            if objects.is_empty() {
                let by_name = format!("velero.io/{word}-name={}", valid_label(&target.name));
                let uid = target.uid.clone();
                let mine = move |object: Value| {
                    if is_data_of(&object, word, &uid) { read(object) } else { None }
                };
                objects = self.unfinished_first(&kind, &by_name, mine).await;
            }
            found.extend(objects);
        }
        found.sort_by(|a, b| (&a.plural, &a.name).cmp(&(&b.plural, &b.name)));
        found
    }

    /// Data objects, at most [`DATA`], unfinished ones first.
    async fn unfinished_first<F>(&self, kind: &ApiKind, selector: &str, mut read: F) -> Vec<DataObject>
    where
        F: FnMut(Value) -> Option<DataObject> + Send + 'static,
    {
        let keyed = move |object: Value| {
            let object = read(object)?;
            Some(((object.is_completed(), object.name.clone()), object))
        };
        let (found, beyond) = self.first(kind, self.namespace, Some(selector), DATA, keyed).await;
        if beyond > 0 {
            let all = beyond + DATA;
            self.is_cut(&kind.plural, self.namespace, format!("{DATA} of {all} are followed, incomplete ones first"));
        }
        found
    }

    /// The items with the lowest keys, in the order of these, at most `most`, and how many more there are. `read`
    /// returns a unique key and the item of an object.
    pub(super) async fn first<K, T, F>(
        &self,
        kind: &ApiKind,
        namespace: &str,
        selector: Option<&str>,
        most: usize,
        read: F,
    ) -> (Vec<T>, usize)
    where
        K: Ord + Send + 'static,
        T: Send + 'static,
        F: FnMut(Value) -> Option<(K, T)> + Send + 'static,
    {
        let found = self.read(kind, namespace, selector, First::new(most, read)).await;
        (found.kept.into_values().collect(), found.beyond)
    }

    /// [`Self::list`] in Velero's namespace.
    pub(super) async fn all<T, F>(&self, kind: &ApiKind, selector: Option<&str>, most: usize, read: F) -> Vec<T>
    where
        T: Send + 'static,
        F: FnMut(Value) -> Option<T> + Send + 'static,
    {
        self.list(kind, self.namespace, selector, most, read).await
    }

    /// What `read` returns for the objects of a kind, at most `most`; it is recorded if there are more. Objects are
    /// read page by page, and none is kept.
    pub(super) async fn list<T, F>(
        &self,
        kind: &ApiKind,
        namespace: &str,
        selector: Option<&str>,
        most: usize,
        read: F,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: FnMut(Value) -> Option<T> + Send + 'static,
    {
        // One more than `most` shows that there are more.
        let mut items = self.read(kind, namespace, selector, Projected::new(most + 1, read)).await.items;
        if items.len() > most {
            items.truncate(most);
            self.is_cut(&kind.plural, namespace, format!("the first {most} of them are followed"));
        }
        items
    }

    /// Gives the objects of a kind to `taker`, of all namespaces if `namespace` is empty; a list that could not be read
    /// to its end is recorded.
    pub(super) async fn read<T: TakeItems>(
        &self,
        kind: &ApiKind,
        namespace: &str,
        selector: Option<&str>,
        taker: T,
    ) -> T {
        let one = Some(namespace).filter(|namespace| !namespace.is_empty());
        let path = kind.list_path(one);
        let (done, listed) = self.cluster.list(&path, selector, self.deadline, taker, |_| ()).await;
        if let Err(ListError::Cluster(why)) = listed {
            let all = if kind.namespaced { "all namespaces" } else { "the cluster" };
            self.lost(Unread {
                what: format!("list of {} in {}", kind.plural, one.unwrap_or(all)),
                kind: kind.clone(),
                namespace: namespace.to_owned(),
                why,
            });
        }
        done
    }

    /// Objects by name: a handful one by one, more from a list. The bundle reports missing or refused ones when it
    /// reads them.
    pub(super) async fn pick<T, F>(&self, kind: &ApiKind, namespace: &str, names: BTreeSet<String>, read: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(&Value) -> Option<T> + Clone + Send + 'static,
    {
        if names.len() > HANDFUL {
            let most = names.len();
            let chosen = move |object: Value| {
                let name = object.pointer("/metadata/name").and_then(Value::as_str)?;
                if names.contains(name) { read(&object) } else { None }
            };
            // `most` is the number of names, so that nothing is cut.
            return self.read(kind, namespace, None, Projected::new(most, chosen)).await.items;
        }
        let asked = names.into_iter().map(|name| {
            let (path, read) = (kind.path(Some(namespace), &name), read.clone());
            async move { read(&self.cluster.get(&path, OBJECT, self.deadline).await.ok()?) }
        });
        futures::stream::iter(asked).buffered(HANDFUL).filter_map(std::future::ready).collect().await
    }
}

/// Keeps the items with the lowest keys, at most `most`, while the others pass and are counted: memory is bounded.
struct First<K, T, F> {
    /// How many were passed over.
    beyond: usize,
    kept: BTreeMap<K, T>,
    most: usize,
    read: F,
}

impl<K: Ord, T, F> First<K, T, F> {
    fn new(most: usize, read: F) -> Self {
        Self { beyond: 0, kept: BTreeMap::new(), most, read }
    }
}

impl<K, T, F> TakeItems for First<K, T, F>
where
    K: Ord + Send + 'static,
    T: Send + 'static,
    F: FnMut(Value) -> Option<(K, T)> + Send + 'static,
{
    fn take(&mut self, item: Value) -> io::Result<Flow> {
        self.kept.extend((self.read)(item));
        if self.kept.len() > self.most {
            self.kept.pop_last();
            self.beyond += 1;
        }
        Ok(Flow::More)
    }

    fn restart(&mut self) {
        self.kept.clear();
        self.beyond = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_matters_most_is_kept_wherever_it_stands_and_the_rest_is_counted() {
        let mut foremost = First::new(2, |item: Value| {
            let number = item.as_u64()?;
            Some((number, number))
        });
        let fill = |foremost: &mut First<_, _, _>| {
            for item in [json!(5), json!(3), json!("odd"), json!(9), json!(1)] {
                assert!(matches!(foremost.take(item).unwrap(), Flow::More));
            }
        };
        fill(&mut foremost);
        foremost.restart();
        fill(&mut foremost);
        assert_eq!(foremost.beyond, 2, "of one pass, though the list began anew");
        assert_eq!(foremost.kept.into_values().collect::<Vec<_>>(), [1, 3]);
    }
}
