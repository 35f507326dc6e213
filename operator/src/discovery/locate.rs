//! The first step: finds the target, its Backup and its data, and with them the location of the target's files. Says why
//! there can be no bundle; a single failed answer is no such reason, and is reported beside what was found.

use debugbundle_crd::{Reason, Target, TargetKind};
use serde_json::Value;
use tokio::time::Instant;

use super::{Gaps, PODS, Scope, Served, Unread, reader::DiscoveryReader, served::VELERO};
use crate::{
    cluster::{ApiKind, Cluster, ClusterError},
    velero::{DataObject, TargetObject, Workload, is_dns_name, workloads},
};

/// The most BackupStorageLocations that are read.
const LOCATIONS: usize = 1000;

/// The target of a bundle and what its store depends on.
#[derive(Clone, Debug)]
pub struct Located {
    /// Velero's namespace.
    pub namespace: String,
    /// Where the operator may look.
    pub scope: Scope,
    /// What the API server serves.
    pub served: Served,
    /// The Backup or Restore; `None` for the installation as a whole.
    pub object: Option<TargetObject>,
    /// The Backup of a target that is a Restore, if it still exists.
    pub backup: Option<TargetObject>,
    /// The target's data objects.
    pub data: Vec<DataObject>,
    /// The locations, and Velero's server.
    pub locations: Locations,
    /// What could not be read.
    pub gaps: Gaps,
}

/// The BackupStorageLocations of Velero's namespace, and the server whose environment their credentials may come from.
#[derive(Clone, Debug)]
pub struct Locations {
    /// All locations, unredacted: for memory only.
    pub all: Vec<Value>,
    /// Deployments that are Velero's server: found by label, by name, or by the chart's label.
    pub servers: Vec<VeleroServer>,
}

/// A Deployment that is Velero's server.
#[derive(Clone, Debug)]
pub struct VeleroServer {
    /// What is known of it.
    pub workload: Workload,
    /// The object, unredacted: for memory only.
    pub deployment: Value,
}

impl VeleroServer {
    /// The ServiceAccount of its pods.
    pub(super) fn account(&self) -> Option<String> {
        Some(self.deployment.pointer("/spec/template/spec/serviceAccountName")?.as_str()?.to_owned())
    }
}

impl Located {
    /// Name of the location with Velero's files of the target; `None` without a target, or if nothing names it.
    ///
    /// # Errors
    /// The Backup of a Restore exists perhaps, and could not be read.
    pub fn location(&self) -> Result<Option<&str>, &ClusterError> {
        let is_restore = self.object.as_ref().is_some_and(|object| object.kind == TargetKind::Restore);
        if is_restore && self.backup.is_none() {
            self.gaps.of("backups").filter(|error| !error.is_not_found()).map_or(Ok(()), Err)?;
        }
        Ok(location_of(self.object.as_ref(), self.backup.as_ref(), &self.data))
    }
}

impl Gaps {
    /// The error that kept objects of this kind from being read.
    pub fn of(&self, plural: &str) -> Option<&ClusterError> {
        self.unread.iter().find(|lost| lost.kind.plural == plural).map(|lost| &lost.why)
    }
}

/// The location that the Backup names; if the Backup of a Restore is gone, the one that the Restore's own data names.
pub(super) fn location_of<'a>(
    object: Option<&'a TargetObject>,
    backup: Option<&'a TargetObject>,
    data: &'a [DataObject],
) -> Option<&'a str> {
    let object = object?;
    let named = backup.or(Some(object)).and_then(|of| of.storage_location.as_deref());
    named.or_else(|| data.iter().find_map(|data| data.location.as_deref()))
}

/// Finds the target within the scope, and reads what its store depends on, until `deadline`.
///
/// # Errors
/// A requested namespace outside the scope, no such target, no Velero, or an API server that returns no target.
pub async fn locate(
    cluster: &Cluster,
    namespace: &str,
    target: Option<&Target>,
    asked: &[String],
    scope: Scope,
    deadline: Instant,
) -> Result<Located, InventoryError> {
    scope.check(asked, namespace)?;
    let reader = DiscoveryReader::new(cluster, namespace, deadline);
    let served = reader.served().await?;
    if !served.has_group(VELERO) {
        return Err(InventoryError::VeleroNotFound);
    }
    let mut object = match target {
        Some(target) => Some(reader.target(&served, target.kind, &target.name).await?),
        None => None,
    };
    let backup = match &mut object {
        Some(restore) if restore.kind == TargetKind::Restore => backup_of(&reader, &served, restore).await,
        _ => None,
    };
    let data = match &object {
        Some(object) => reader.data(&served, object).await,
        None => Vec::new(),
    };
    let locations = all_locations(&reader, &served).await;
    let (namespace, gaps) = (namespace.to_owned(), reader.gaps());
    Ok(Located { namespace, scope, served, object, backup, data, locations, gaps })
}

/// The locations alone, for a bundle whose destination is known already.
pub async fn locations(cluster: &Cluster, namespace: &str, deadline: Instant) -> (Locations, Gaps) {
    let reader = DiscoveryReader::new(cluster, namespace, deadline);
    let locations = all_locations(&reader, &Served::default()).await;
    (locations, reader.gaps())
}

async fn all_locations(reader: &DiscoveryReader<'_>, served: &Served) -> Locations {
    let kind = served.velero("backupstoragelocations", "BackupStorageLocation");
    let all = reader.all(&kind, None, LOCATIONS, Some).await;
    let deployments = ApiKind::namespaced("apps", "v1", "deployments", "Deployment");
    let read = |deployment: Value| {
        let workload = workloads::server_workload(&deployment)?;
        Some(VeleroServer { workload, deployment })
    };
    Locations { all, servers: reader.all(&deployments, None, PODS, read).await }
}

/// The Backup that a Restore restores: the one it names, else the one that Velero chooses from its Schedule.
async fn backup_of(reader: &DiscoveryReader<'_>, served: &Served, restore: &mut TargetObject) -> Option<TargetObject> {
    let kind = served.target(TargetKind::Backup);
    if let Some(selector) = restore.schedule_selector() {
        let read = |backup| Some(TargetObject::candidate(TargetObject::read(TargetKind::Backup, backup)));
        let backups = reader.all(&kind, Some(&selector), PODS, read).await;
        restore.backup_name = restore.newest_of_schedule(backups);
    }
    // A Restore may name any text; a name that no object can have could lead elsewhere in a path.
    let name = restore.backup_name.clone().filter(|name| is_dns_name(name))?;
    match reader.target(served, TargetKind::Backup, &name).await {
        Ok(backup) => Some(backup),
        Err(InventoryError::Api { source, .. }) => {
            let what = format!("Backup {}/{name}", reader.namespace);
            reader.lost(Unread { what, kind, namespace: reader.namespace.to_owned(), why: source });
            None
        }
        Err(_) => None,
    }
}

/// Why there can be no bundle.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// No such Backup or Restore.
    #[error("{kind} {namespace}/{name} does not exist")]
    TargetNotFound {
        /// Its kind.
        kind: TargetKind,
        /// Where it was looked for.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The API server knows no Velero kinds.
    #[error("Velero is not installed: the API server serves no kind of the group velero.io")]
    VeleroNotFound,
    /// The spec requests a namespace that the operator is not to look into.
    #[error("spec.namespaces contains {asked}, which this operator may not read; allowed: {allowed}")]
    NamespaceNotAllowed {
        /// The refused ones, in words.
        asked: String,
        /// The allowed ones, in words.
        allowed: String,
    },
    /// The API server did not return something that is indispensable.
    #[error("{what} cannot be read")]
    Api {
        /// What was asked for.
        what: String,
        /// Why.
        source: ClusterError,
    },
}

impl InventoryError {
    /// The reason for conditions and Events.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TargetNotFound { .. } => Reason::TargetNotFound,
            Self::VeleroNotFound => Reason::VeleroNotFound,
            Self::NamespaceNotAllowed { .. } => Reason::InvalidSpec,
            Self::Api { .. } => Reason::ApiError,
        }
    }
}
