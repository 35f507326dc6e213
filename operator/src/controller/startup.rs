//! What an instance does before it watches DebugBundles: it waits until that is possible, and clears its spool.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use debugbundle_crd::DebugBundle;
use kube::{Api, api::ListParams};
use tokio_util::sync::CancellationToken;

use super::{Context, Guarded, PAGE, work};
use crate::{client::in_time, observed::Observed};

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

/// Removes folders that earlier processes left in the spool for DebugBundles that no longer need them. Foreign files
/// stay; a sealed bundle that still has to be sent keeps its room.
pub(super) async fn clear_spool(api: &Api<Guarded>, ctx: &Context) {
    let (engine, settings) = (&ctx.engine, &ctx.settings);
    let folders = engine.spools(&settings.spool);
    if folders.is_empty() {
        return;
    }
    let unfinished = match unfinished(api).await {
        Ok(unfinished) => unfinished,
        Err(error) => {
            let failure = crate::error::api_sentence(&error);
            tracing::warn!(failure, "Left-over files in the spool are removed at the next start");
            return;
        }
    };
    let needed: BTreeMap<PathBuf, String> =
        unfinished.into_iter().map(|uid| (engine.spool_of(&settings.spool, &uid), uid)).collect();
    for folder in folders {
        let Some(uid) = needed.get(&folder) else {
            tracing::info!(folder = %folder.display(), "Removing a left-over of the spool");
            work::remove_folder(&folder);
            continue;
        };
        if let Some(bytes) = debugbundle_archive::Spool::sealed_bytes(&folder) {
            ctx.queue.places.left_over(uid, bytes);
        }
    }
}

/// The UIDs of all DebugBundles in a phase that is not terminal.
async fn unfinished(api: &Api<Guarded>) -> Result<Vec<String>, kube::Error> {
    let mut uids = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = in_time(api.list(&page)).await?;
        let seen = listed.items.iter().map(Observed::of_guarded);
        let open = seen.filter(|seen| !seen.malformed && !seen.phase.is_terminal());
        uids.extend(open.map(|seen| seen.uid().to_owned()));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(uids),
        }
    }
}
