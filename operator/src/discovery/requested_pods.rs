//! Unhealthy pods of the namespaces that were requested whole: their logs may tell why.
//! `collect` puts all pods of these namespaces into the bundle as objects.

use super::{DiscoveryReader, Looked, NamespaceCandidate, top_n::TopN};
use crate::{cluster::ApiKind, velero::Pod};

/// The most pods of one namespace whose logs are read.
const UNHEALTHY: usize = 50;

impl DiscoveryReader<'_> {
    /// The unhealthy pods, sorted by name; at most 50 of a namespace, and the number of all is recorded.
    pub(super) async fn unhealthy(&self, candidate: &[NamespaceCandidate]) -> Vec<Pod> {
        let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
        let mut found = Vec::new();
        for candidate in candidate.iter().filter(|candidate| candidate.whole && candidate.looked == Looked::Yes) {
            let unwell = |pod| {
                let pod = Pod::read(&pod).filter(|pod| !pod.is_healthy())?;
                Some((pod.name.clone(), pod))
            };
            let all = self.read(&kind, &candidate.namespace, None, TopN::new(UNHEALTHY, unwell)).await;
            if all.beyond > 0 {
                let number = all.beyond + UNHEALTHY;
                let told = format!("{number} are unhealthy; the logs of the first {UNHEALTHY} are collected");
                self.is_cut(&kind.plural, &candidate.namespace, told);
            }
            found.extend(all.items());
        }
        found
    }
}
