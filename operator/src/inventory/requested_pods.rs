//! Pods of the namespaces that were asked for whole: those that are not well, whose logs may tell why.
//! All their pods go into the bundle as objects, by `collect`.

use super::{DiscoveryReader, Looked, NamespaceCandidate, Pod, top_n::TopN};
use crate::cluster::ApiKind;

/// Pods of one namespace whose logs are read.
const UNHEALTHY: usize = 50;

impl DiscoveryReader<'_> {
    /// The pods that are not well, in the order of their names; at most 50 of a namespace, and how many there are is told.
    pub(super) async fn unhealthy(&self, touched: &[NamespaceCandidate]) -> Vec<Pod> {
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        let mut found = Vec::new();
        for touched in touched.iter().filter(|touched| touched.whole && touched.looked == Looked::Yes) {
            let unwell = |pod| {
                let pod = Pod::read(&pod).filter(|pod| !pod.is_healthy())?;
                Some((pod.name.clone(), pod))
            };
            let all = self.read(&kind, &touched.namespace, None, TopN::new(UNHEALTHY, unwell)).await;
            if all.beyond > 0 {
                let number = all.beyond + UNHEALTHY;
                let told = format!("{number} are not well, and the logs of the first {UNHEALTHY} of these are read");
                self.is_cut(&kind.plural, &touched.namespace, told);
            }
            found.extend(all.items());
        }
        found
    }
}
