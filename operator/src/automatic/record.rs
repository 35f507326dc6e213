//! Keeps the ledger in the cluster, as an annotation of the operator's Lease.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt as _};

use super::ledger::Ledger;
use crate::{
    client::in_time,
    election::{LEASE, annotate},
};

/// The annotation with the ledger as JSON.
const ANNOTATION: &str = "debugbundle.io/automatic";

/// Reads and writes the annotation.
pub(super) struct Record {
    leases: Api<Lease>,
}

impl Record {
    /// Uses the operator's Lease in the namespace of `leases`.
    pub(super) fn new(leases: Api<Lease>) -> Self {
        Self { leases }
    }

    /// Reads the ledger. A missing or unreadable ledger counts as that of a first start, so that no past event leads to
    /// a DebugBundle.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub(super) async fn load(&self, now: Timestamp) -> Result<Ledger, kube::Error> {
        let lease = in_time(self.leases.get_opt(LEASE)).await?;
        let text = lease.as_ref().and_then(|lease| lease.annotations().get(ANNOTATION));
        Ok(text.and_then(|text| read(text)).unwrap_or_else(|| Ledger::first(now)))
    }

    /// Writes the ledger, with the additions of another instance since the last write.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub(super) async fn save(&self, ledger: &mut Ledger) -> Result<(), kube::Error> {
        annotate(&self.leases, ANNOTATION, |there| {
            if let Some(theirs) = there.and_then(read) {
                ledger.join(&theirs);
            }
            serde_json::to_string(ledger)
        })
        .await?;
        ledger.recorded();
        Ok(())
    }
}

fn read(text: &str) -> Option<Ledger> {
    serde_json::from_str(text)
        .inspect_err(|error| tracing::warn!(%error, annotation = ANNOTATION, "The Lease's annotation cannot be read"))
        .ok()
}
