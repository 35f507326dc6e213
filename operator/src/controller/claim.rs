//! A DebugBundle that this instance has claimed, and guarded writes of its status. Every write carries the
//! resourceVersion last seen; if that is stale, the work continues only while the claim stands.

use debugbundle_crd::{DebugBundle, DebugBundleStatus};
use jiff::Timestamp;
use kube::{Api, Resource as _, ResourceExt as _, api::ObjectMeta};
use serde_json::json;
use tokio::sync::Mutex;

use super::Fault;
use crate::{client::in_time, status::StatusBuilder};

/// How often a write is retried after others changed the object (labels, annotations).
const CONFLICTS: usize = 8;

/// The claim on one DebugBundle.
pub struct Claim {
    api: Api<DebugBundle>,
    client: kube::Client,
    seen: Mutex<DebugBundle>,
}

/// The result of a write.
enum Written {
    Yes(Box<DebugBundle>),
    Stale,
}

impl Claim {
    /// Wraps a DebugBundle as just read from the API server, without claiming it.
    pub fn new(client: kube::Client, api: Api<DebugBundle>, live: DebugBundle) -> Self {
        Self { api, client, seen: Mutex::new(live) }
    }

    /// The object as last seen.
    pub async fn seen(&self) -> DebugBundle {
        self.seen.lock().await.clone()
    }

    /// Writes a status only if the object is unchanged since it was seen: for the claim itself, and for decisions that
    /// a stale view would make wrong. If it is stale, the change arrives by the watch and everything is decided again.
    pub async fn exactly(
        &self,
        now: Timestamp,
        fold: impl FnOnce(StatusBuilder) -> StatusBuilder + Send,
    ) -> Result<(), Fault> {
        let mut seen = self.seen.lock().await;
        let next = fold(StatusBuilder::of(&seen, now)).done();
        match self.put(&seen, &next).await? {
            Written::Yes(live) => {
                *seen = *live;
                Ok(())
            }
            Written::Stale => Err(Fault::Lost),
        }
    }

    /// Folds events into the status and writes it if it differs. Retries over others' changes to the object while
    /// holder and attempt are still those of the claim.
    pub async fn update(
        &self,
        now: Timestamp,
        fold: impl Fn(StatusBuilder) -> StatusBuilder + Send,
    ) -> Result<(), Fault> {
        let mut seen = self.seen.lock().await;
        let claim = claim_of(&seen);
        for _ in 0..CONFLICTS {
            let next = fold(StatusBuilder::of(&seen, now)).done();
            if seen.status.as_ref() == Some(&next) {
                return Ok(());
            }
            match self.put(&seen, &next).await? {
                Written::Yes(live) => {
                    *seen = *live;
                    return Ok(());
                }
                Written::Stale => match same(&self.api, &seen).await? {
                    Some(live) if claim_of(&live) == claim && live.metadata.deletion_timestamp.is_none() => {
                        *seen = live;
                    }
                    _ => return Err(Fault::Lost),
                },
            }
        }
        Err(Fault::Lost)
    }

    /// Replaces the whole status, since all of it is ours: a field that another client wrote must not survive, as it
    /// would under server-side apply. The resourceVersion in the patch makes the API server refuse a stale view.
    async fn put(&self, seen: &DebugBundle, next: &DebugBundleStatus) -> Result<Written, Fault> {
        let patch = whole_status(seen.resource_version().as_deref(), next);
        match patch_status(&self.client, seen, &patch).await {
            Ok(live) => Ok(Written::Yes(Box::new(live))),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Written::Stale),
            Err(kube::Error::Api(status)) if status.is_not_found() => Err(Fault::Lost),
            Err(error) => Err(Fault::api(error)),
        }
    }
}

/// A JSON patch that replaces the status, unless the object has changed since this resourceVersion.
pub fn whole_status(resource_version: Option<&str>, next: &DebugBundleStatus) -> serde_json::Value {
    json!([
        { "op": "replace", "path": "/metadata/resourceVersion", "value": resource_version },
        { "op": "add", "path": "/status", "value": next },
    ])
}

/// The object as the API server returns it now; `None` if it is gone or its name belongs to another object.
pub async fn live(api: &Api<DebugBundle>, name: &str, uid: &str) -> Result<Option<DebugBundle>, Fault> {
    let live = in_time(api.get_opt(name)).await.map_err(Fault::api)?;
    Ok(live.filter(|live| live.metadata.uid.as_deref() == Some(uid)))
}

async fn same(api: &Api<DebugBundle>, seen: &DebugBundle) -> Result<Option<DebugBundle>, Fault> {
    live(api, &seen.name_any(), seen.metadata.uid.as_deref().unwrap_or_default()).await
}

/// Sends a JSON patch to the status subresource.
async fn patch_status(
    client: &kube::Client,
    seen: &DebugBundle,
    patch: &serde_json::Value,
) -> Result<DebugBundle, kube::Error> {
    let answer = patch_status_raw(client, &seen.metadata, patch).await?;
    serde_json::from_value(answer).map_err(kube::Error::SerdeError)
}

/// The same for the DebugBundle with this name and namespace, which need not be readable: the answer is not parsed.
pub async fn patch_status_raw(
    client: &kube::Client,
    of: &ObjectMeta,
    patch: &serde_json::Value,
) -> Result<serde_json::Value, kube::Error> {
    let url = DebugBundle::url_path(&(), of.namespace.as_deref());
    let request = http::Request::patch(format!("{url}/{}/status", of.name.as_deref().unwrap_or_default()))
        .header(http::header::CONTENT_TYPE, "application/json-patch+json")
        .body(serde_json::to_vec(patch).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    in_time(client.request(request)).await
}

fn claim_of(bundle: &DebugBundle) -> (Option<String>, Option<String>, Option<i64>) {
    let status = bundle.status.as_ref();
    (bundle.uid(), status.and_then(|s| s.holder.clone()), status.and_then(|s| s.attempts))
}
