//! Annotations of the operator's Lease: what an instance must remember, in an object that each instance may read and
//! write already.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt as _, api::PostParams};

use super::LEASE;
use crate::client::in_time;

/// How often a write is tried while the Lease is being renewed.
const TRIES: usize = 8;

/// Changes one annotation: `next` returns its new text, given the present one. It is asked again if somebody else writes
/// the Lease at the same time.
///
/// # Errors
/// The API server does not answer, or refuses; `next` fails.
pub async fn annotate(
    leases: &Api<Lease>,
    name: &str,
    mut next: impl FnMut(Option<&str>) -> Result<String, serde_json::Error>,
) -> Result<(), kube::Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let there = in_time(leases.get_opt(LEASE)).await?;
        let exists = there.is_some();
        let mut lease = there.unwrap_or_default();
        let present = lease.annotations().get(name);
        let text = next(present.map(String::as_str)).map_err(kube::Error::SerdeError)?;
        if present == Some(&text) {
            return Ok(());
        }
        lease.metadata.name = Some(LEASE.to_owned());
        lease.annotations_mut().insert(name.to_owned(), text);
        let params = PostParams::default();
        let written = if exists {
            in_time(leases.replace(LEASE, &params, &lease)).await
        } else {
            in_time(leases.create(&params, &lease)).await
        };
        match written {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if tries < TRIES && (status.is_conflict() || status.is_already_exists()) => {}
            Err(error) => return Err(error),
        }
    }
}
