//! Where discovery may look, whatever the permissions are, and the errors that allow no snapshot.
//! A single failed answer is no such error: it is reported beside what was found.

use std::collections::BTreeSet;

use debugbundle_crd::{Reason, TargetKind};
use debugbundle_format::text;

use crate::cluster::ClusterError;

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
