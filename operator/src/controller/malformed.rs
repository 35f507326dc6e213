//! Reports a DebugBundle that cannot be parsed in its own status. Other DebugBundles are not affected.

use debugbundle_crd::{DebugBundle, DebugBundleStatus, Phase, Reason};
use jiff::Timestamp;
use kube::{Api, Resource as _, ResourceExt as _, core::error_boundary::InvalidObject, runtime::controller::Action};
use serde_json::json;

use super::{Context, Fault, Guarded, claim};
use crate::{client::in_time, observed::Observed, status::StatusBuilder};

/// Reports a resource that cannot be parsed in its status; it does not block others. A second write changes nothing:
/// the time in it is the object's creation.
pub(super) async fn report(seen: &Observed, ctx: &Context) -> Result<Action, Fault> {
    let guarded: Api<Guarded> = Api::namespaced(ctx.client.clone(), &ctx.settings.namespace);
    let Some(live) = in_time(guarded.get_opt(&seen.name_any())).await.map_err(Fault::api)? else {
        return Err(Fault::Lost);
    };
    match &live.0 {
        Err(bad) if bad.metadata.uid.as_deref() == Some(seen.uid()) => write(bad, ctx).await,
        _ => Err(Fault::Lost),
    }
}

async fn write(bad: &InvalidObject, ctx: &Context) -> Result<Action, Fault> {
    let meta = &bad.metadata;
    let created = meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let message = format!("the resource cannot be read: {}", bad.error);
    let mut shell =
        DebugBundle::new(&meta.name.clone().unwrap_or_default(), debugbundle_crd::DebugBundleSpec::installation());
    shell.metadata = meta.clone();
    let status =
        StatusBuilder::new(None, meta.generation, created).failed(Reason::Malformed, &message, Timestamp::MAX).done();
    // The record of a stored bundle stays: a person who deletes the resource must know where the bundle is.
    let bundle = raw(&shell, ctx).await?.and_then(|raw| serde_json::from_value(raw["status"]["bundle"].clone()).ok());
    let status = DebugBundleStatus {
        phase: Some(Phase::Failed),
        conditions: status.conditions,
        bundle,
        ..DebugBundleStatus::default()
    };
    let conditions = json!([{ "op": "add", "path": "/status", "value": status }]);
    let written = claim::patch_status_raw(&ctx.client, meta, &conditions).await.map_err(Fault::api)?;
    if written["metadata"]["resourceVersion"].as_str() != meta.resource_version.as_deref() {
        ctx.notifier.warning(&shell, Reason::Malformed, &message).await;
    }
    Ok(Action::await_change())
}

/// The resource as raw JSON, for a resource that does not parse as a DebugBundle, perhaps not even its metadata.
async fn raw(shell: &DebugBundle, ctx: &Context) -> Result<Option<serde_json::Value>, Fault> {
    let path = DebugBundle::url_path(&(), Some(&ctx.settings.namespace));
    let request = http::Request::get(format!("{path}/{}", shell.name_any()));
    let request = request.body(Vec::new()).map_err(|error| Fault::api(kube::Error::HttpError(error)))?;
    match in_time(ctx.client.request::<serde_json::Value>(request)).await {
        Ok(found) => Ok(Some(found).filter(|found| found["metadata"]["uid"].as_str() == shell.metadata.uid.as_deref())),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(Fault::api(error)),
    }
}
