//! The second step: Velero's workloads, what belongs to the target, and the namespaces that its data, its hooks and the
//! spec of the DebugBundle lead to.

use std::collections::BTreeSet;

use debugbundle_crd::DebugBundleSpec;

use super::{
    DiscoveredTarget, Installation, Located, Locations, Looked, NamespaceCandidate, PODS, Relevance, Served,
    VeleroServer, namespaces::NamespaceSelection, others, reader::DiscoveryReader, related, related_volumes::PodView,
};
use crate::{
    cluster::ApiKind,
    velero::{DataObject, Pod, TargetObject, Workload, workloads},
};

/// The most unhealthy pods of one namespace whose logs are read.
const UNHEALTHY: usize = 50;

/// Velero, the target, and the namespaces that lead from them without any further reading.
pub(super) struct Chosen {
    pub installation: Installation,
    pub target: DiscoveredTarget,
    pub namespaces: NamespaceSelection,
    /// Unhealthy pods of the namespaces that were requested whole.
    pub unhealthy: Vec<Pod>,
    /// The PriorityClasses that Velero's pods name.
    pub priority_classes: BTreeSet<String>,
}

pub(super) async fn choose(reader: &DiscoveryReader<'_>, located: Located, spec: &DebugBundleSpec) -> Chosen {
    let Located { namespace, scope, served, object, backup, data, locations, gaps: _ } = located;
    let Locations { all: locations, servers } = locations;
    let kubernetes = reader.cluster.get("/version", 64 << 10, reader.deadline).await.ok();
    let reported_version = reader.reported_version(&served).await;
    let daemons = ApiKind::namespaced("apps", "v1", "daemonsets", "DaemonSet");
    let node_agents = reader.all(&daemons, None, PODS, |daemon| workloads::node_agent_workload(&daemon)).await;
    let pods = ApiKind::namespaced("", "v1", "pods", "Pod");
    let pods = reader.all(&pods, None, PODS, |pod| PodView::read(&pod)).await;
    let priority_classes = pods.iter().filter_map(|seen| seen.priority_class.clone()).collect();
    let mut pods: Vec<Pod> = pods.into_iter().map(|seen| seen.pod).collect();
    let server_accounts = servers.iter().filter_map(VeleroServer::account).collect();
    let servers: Vec<Workload> = servers.into_iter().map(|server| server.workload).collect();
    let agents = Some(node_agents.as_slice()).filter(|agents| !agents.is_empty() || !reader.has_lost(&daemons));
    // An empty list counts only if it could be read.
    let of_target =
        Some(data.as_slice()).filter(|data| object.is_some() && (!data.is_empty() || !reader.has_lost_data()));
    if workloads::assign_roles(&mut pods, &servers, agents, of_target) {
        reader.is_cut("node-agents", &namespace, workloads::told_of_candidates());
    }
    let target = with_others(reader, &served, object, backup, data).await;
    let namespaces = chosen_namespaces(NamespaceSelection::new(namespace.clone(), scope), &target, spec);
    let unhealthy = unhealthy(reader, &namespaces.candidates).await;
    let installation = Installation {
        namespace,
        served,
        kubernetes,
        locations,
        reported_version,
        servers,
        server_accounts,
        node_agents,
        pods,
    };
    Chosen { installation, target, namespaces, unhealthy, priority_classes }
}

async fn with_others(
    reader: &DiscoveryReader<'_>,
    served: &Served,
    object: Option<TargetObject>,
    backup: Option<TargetObject>,
    data: Vec<DataObject>,
) -> DiscoveredTarget {
    let Some(target) = &object else {
        return DiscoveredTarget { failed: others::failed(reader, served).await, data, ..DiscoveredTarget::default() };
    };
    let related = related::related(reader, served, target, backup.as_ref(), &data).await;
    let queue = others::queue(reader, served, target).await;
    DiscoveredTarget { object, backup, data, related, queue, failed: Vec::new() }
}

/// The namespaces that data, hooks and the spec of the DebugBundle lead to.
fn chosen_namespaces(
    mut namespaces: NamespaceSelection,
    target: &DiscoveredTarget,
    spec: &DebugBundleSpec,
) -> NamespaceSelection {
    namespaces.touch_data(&target.data);
    namespaces.ask_for(&spec.namespaces);
    if let Some(object) = &target.object {
        let why = format!("hooks of {} {}", object.kind, object.name);
        namespaces.touch(&object.hooked_namespaces(), 0, &why, Relevance::Named);
    }
    namespaces
}

/// The unhealthy pods of the namespaces that were requested whole, sorted by name: their logs may tell why. At most 50
/// of a namespace, and the number of all is recorded. `collect` puts all pods of these namespaces into the bundle as
/// objects.
async fn unhealthy(reader: &DiscoveryReader<'_>, candidates: &[NamespaceCandidate]) -> Vec<Pod> {
    let kind = ApiKind::namespaced("", "v1", "pods", "Pod");
    let mut found = Vec::new();
    for candidate in candidates.iter().filter(|candidate| candidate.whole && candidate.looked == Looked::Yes) {
        let unwell = |pod| {
            let pod = Pod::read(&pod).filter(|pod| !pod.is_healthy())?;
            Some((pod.name.clone(), pod))
        };
        let (pods, beyond) = reader.first(&kind, &candidate.namespace, None, UNHEALTHY, unwell).await;
        if beyond > 0 {
            let number = beyond + UNHEALTHY;
            let told = format!("{number} are unhealthy; the logs of the first {UNHEALTHY} are collected");
            reader.is_cut(&kind.plural, &candidate.namespace, told);
        }
        found.extend(pods);
    }
    found
}
