//! Where the inventory may look, whatever the permissions are, and why there may be none at all.
//! What a single answer lacks is no such reason: it is told beside what was found.

use std::collections::BTreeSet;

use debugbundle_crd::{Reason, TargetKind};

use crate::{cluster::ClusterError, text};

/// Beyond which borders the operator was told not to look, whatever its permissions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Namespaces besides Velero's; `None` is all of them. One of the others that a target leads to is passed by; to ask for
    /// one is refused.
    pub namespaces: Option<BTreeSet<String>>,
    /// Cluster-scoped kinds and other namespaces are meant to be read (chart: `access: cluster-read`). If not, a
    /// refusal there is a note and no error.
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

    /// Whether all of these may be looked into, which somebody asked for; Velero's own may in any case.
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

/// Names for a sentence, the first few of them.
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
    /// A namespace was asked for by name that the operator is not to look into.
    #[error("spec.namespaces names {asked}, where this operator is not to look; allowed: {allowed}")]
    NamespaceNotAllowed {
        /// Those that are not allowed, in words.
        asked: String,
        /// Those that are.
        allowed: String,
    },
    /// The API server did not answer what nothing can be done without.
    #[error("{what} cannot be read")]
    Api {
        /// What was asked for.
        what: String,
        /// Why.
        source: ClusterError,
    },
}

impl InventoryError {
    /// The word for conditions and Events.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TargetNotFound { .. } => Reason::TargetNotFound,
            Self::VeleroNotFound => Reason::VeleroNotFound,
            Self::NamespaceNotAllowed { .. } => Reason::InvalidSpec,
            Self::Api { .. } => Reason::ApiError,
        }
    }
}
