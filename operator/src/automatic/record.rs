//! Keeps the ledger in the cluster: as an annotation of the operator's Lease, which each instance may read and write
//! already.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt as _, api::PostParams};

use super::ledger::Ledger;
use crate::{client::in_time, election::LEASE};

/// The annotation with the ledger as JSON.
const ANNOTATION: &str = "debugbundle.io/automatic";
/// How often a write is tried while the Lease is being renewed.
const TRIES: usize = 8;

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
        Ok(lease.as_ref().and_then(read).unwrap_or_else(|| Ledger::first(now)))
    }

    /// Writes the ledger, with the additions of another instance since the last write.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub(super) async fn save(&self, ledger: &mut Ledger) -> Result<(), kube::Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let there = in_time(self.leases.get_opt(LEASE)).await?;
            if let Some(theirs) = there.as_ref().and_then(read) {
                ledger.join(&theirs);
            }
            let exists = there.is_some();
            let mut lease = there.unwrap_or_default();
            lease.metadata.name = Some(LEASE.to_owned());
            write(&mut lease, ledger)?;
            let params = PostParams::default();
            let written = if exists {
                in_time(self.leases.replace(LEASE, &params, &lease)).await
            } else {
                in_time(self.leases.create(&params, &lease)).await
            };
            match written {
                Ok(_) => {
                    ledger.recorded();
                    return Ok(());
                }
                Err(kube::Error::Api(status))
                    if tries < TRIES && (status.is_conflict() || status.is_already_exists()) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn read(lease: &Lease) -> Option<Ledger> {
    let text = lease.annotations().get(ANNOTATION)?;
    serde_json::from_str(text)
        .inspect_err(|error| tracing::warn!(%error, annotation = ANNOTATION, "The Lease's annotation cannot be read"))
        .ok()
}

fn write(lease: &mut Lease, ledger: &Ledger) -> Result<(), kube::Error> {
    let text = serde_json::to_string(ledger).map_err(kube::Error::SerdeError)?;
    lease.annotations_mut().insert(ANNOTATION.to_owned(), text);
    Ok(())
}
