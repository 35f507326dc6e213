//! What an instance does when it begins to watch DebugBundles: it waits until that is possible, and clears its spool.

use std::{collections::BTreeSet, time::Duration};

use debugbundle_crd::DebugBundle;
use kube::{Api, api::ListParams};
use tokio_util::sync::CancellationToken;

use super::{Context, work};
use crate::client::in_time;

/// Waits until DebugBundles can be listed and the installation's id is known, and logs the obstacle. Returns false if
/// `stop` was cancelled in the meantime.
pub(super) async fn until_ready(ctx: &Context, stop: &CancellationToken) -> bool {
    let installation = async || ctx.engine.read_installation().await.map_err(|fault| fault.to_string());
    until_possible(|| served(&ctx.api), stop).await && until_possible(installation, stop).await
}

async fn until_possible(attempt: impl AsyncFn() -> Result<(), String>, stop: &CancellationToken) -> bool {
    let mut pause = Duration::from_secs(1);
    loop {
        let Err(failure) = attempt().await else { return true };
        tracing::warn!(failure, pause = ?pause, "The operator cannot work yet; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(30)),
            () = stop.cancelled() => return false,
        }
    }
}

/// Whether DebugBundles can be listed. The error names the obstacle: the CRD, a permission, the API server itself.
async fn served(api: &Api<DebugBundle>) -> Result<(), String> {
    match in_time(api.list_metadata(&ListParams::default().limit(1))).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err("The API server does not serve DebugBundles: install their CustomResourceDefinition (kubectl apply -f \
             deploy/crd.yaml)"
                .to_owned())
        }
        Err(error) => Err(format!("DebugBundles cannot be listed: {}", crate::error::api_sentence(&error))),
    }
}

/// Removes the spool's folders of DebugBundles that are not in `open`, the UIDs of all that have not ended. Foreign files
/// stay; a sealed bundle that still has to be sent keeps its room.
pub(super) fn clear_spool(open: &BTreeSet<String>, ctx: &Context) {
    let (engine, spool) = (&ctx.engine, &ctx.settings.spool);
    for uid in engine.uids_in(spool) {
        if ctx.queue.is_under_way(&uid) {
            continue; // its run removes it
        }
        if !open.contains(&uid) {
            tracing::info!(uid, "Removing a left-over of the spool");
            work::remove(ctx, &uid);
        } else if let Some(bytes) = debugbundle_archive::Spool::sealed_bytes(&engine.spool_of(spool, &uid)) {
            ctx.queue.places.left_over(&uid, bytes);
        }
    }
}
