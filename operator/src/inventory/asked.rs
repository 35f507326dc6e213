//! Pods of the namespaces that were asked for whole: those that are not well, whose logs may tell why.
//! All their pods go into the bundle as objects, by `collect`.

use super::{Look, Looked, Pod, Touched};
use crate::cluster::ApiKind;

/// Pods of one namespace whose logs are read.
const UNHEALTHY: usize = 50;

impl Look<'_> {
    /// The pods that are not well, in the order of their names; at most 50 of a namespace.
    pub(super) async fn unhealthy(&self, touched: &[Touched]) -> Vec<Pod> {
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        let mut found = Vec::new();
        for touched in touched.iter().filter(|touched| touched.whole && touched.looked == Looked::Yes) {
            let unwell = |pod| Pod::read(&pod).filter(|pod| !pod.is_healthy());
            found.extend(self.list(&kind, &touched.namespace, None, UNHEALTHY, unwell).await);
        }
        found
    }
}
