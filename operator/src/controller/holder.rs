//! Whether this instance may act on a DebugBundle. If another instance holds the DebugBundle, the answer depends on
//! whether the pod of that instance still exists.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};

use super::{Context, Fault};
use crate::{
    client::in_time,
    decide::{self, MayAct, Step},
    observed::Observed,
};

/// The pause until the leader looks again for the pod of another holder.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Whether this instance may carry out the step now. It looks for the holder's pod only if it leads and another
/// instance holds the DebugBundle.
pub(super) async fn may_act(seen: &Observed, step: &Step, ctx: &Context) -> Result<bool, Fault> {
    match decide::may_act(seen, step, &ctx.settings.instance, ctx.leadership.leads()) {
        MayAct::Granted => Ok(true),
        MayAct::Denied => Ok(false),
        MayAct::IfGone(holder) => {
            let gone = is_gone(&holder, ctx).await?;
            tracing::info!(name = seen.name_any(), holder, gone, "Another pod holds this DebugBundle");
            Ok(gone)
        }
    }
}

/// A pod that has ended never starts again. A pod that is being deleted may still be at work.
async fn is_gone(pod: &str, ctx: &Context) -> Result<bool, Fault> {
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), &ctx.settings.namespace);
    let found = in_time(pods.get_opt(pod)).await.map_err(Fault::api)?;
    let phase = |pod: Pod| pod.status.and_then(|status| status.phase).unwrap_or_default();
    Ok(found.map(phase).is_none_or(|phase| phase == "Failed" || phase == "Succeeded"))
}
