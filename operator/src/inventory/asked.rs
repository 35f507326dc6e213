//! Pods of the namespaces that were asked for whole: those that are not well, whose logs may tell why.
//! All their pods go into the bundle as objects, by `collect`.

use super::{Look, Looked, Pod, Touched, Unread};
use crate::cluster::{ApiKind, ListError, Projected};

/// Pods of one namespace whose logs are read.
const UNHEALTHY: usize = 50;

impl Look<'_> {
    /// The pods that are not well, in the order of their names; at most 50 of a namespace.
    pub(super) async fn unhealthy(&self, touched: &[Touched], unread: &mut Vec<Unread>) -> Vec<Pod> {
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        let mut found = Vec::new();
        for touched in touched.iter().filter(|touched| touched.whole && touched.looked == Looked::Yes) {
            let namespace = touched.namespace.as_str();
            let taker = Projected::new(UNHEALTHY, |pod| Pod::read(&pod).filter(|pod| !pod.is_healthy()));
            let path = kind.list_path(Some(namespace));
            let (done, listed) = self.cluster.list(&path, None, self.deadline, taker, |_| ()).await;
            if let Err(ListError::Cluster(why)) = listed {
                unread.push(Unread {
                    what: format!("pods in {namespace} that are not well"),
                    kind: kind.clone(),
                    namespace: namespace.to_owned(),
                    why,
                });
            }
            found.extend(done.items);
        }
        found
    }
}
