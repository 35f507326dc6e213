//! Creates and deletes automatic DebugBundles. If a quota is full, the oldest automatic DebugBundle is deleted first.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use debugbundle_crd::{DebugBundle, Phase, Reason, TARGET_UID_LABEL};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{
    Automatic, bundle,
    retention::{self, Surplus},
    watched::Watched,
};
use crate::{
    client::in_time,
    crash,
    error::{api_sentence, is_quota_uncounted},
    notify,
    observed::Observed,
};

/// Tries after that deletion: the API server needs some time to count the quota again.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// Names that are tried. Anyone who knows the target's UID can compute the first one and take it; the second has a
/// random part.
const NAMES: usize = 2;

/// What became of a creation.
pub(super) enum Created {
    /// It exists: created by this call or by an earlier one.
    Yes { name: String, uid: String },
    /// A quota allows no further DebugBundle.
    NoRoom(String),
    /// The API server will not accept it.
    Refused(String),
    /// The API server may accept it later.
    NotNow(String),
}

/// UIDs of DebugBundles that were deleted for others, so that two creations do not both wait for the room of one.
#[derive(Default)]
pub(super) struct Room(Mutex<BTreeSet<String>>);

impl Room {
    /// Deletes the oldest automatic DebugBundle. Returns whether there was one.
    async fn make(&self, automatic: &Automatic, ours: &BTreeSet<String>) -> bool {
        while let Some(oldest) = self.oldest(&automatic.bundles.state(), ours) {
            tracing::info!(name = oldest.name, "Deleting the oldest automatic DebugBundle: the quota is full");
            if delete(automatic, &oldest).await {
                return true;
            }
        }
        false
    }

    fn oldest(&self, seen: &[Arc<Observed>], ours: &BTreeSet<String>) -> Option<Surplus> {
        let mut deleted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deleted.retain(|uid| seen.iter().any(|seen| seen.uid() == uid));
        let others = seen.iter().map(AsRef::as_ref).filter(|seen| !deleted.contains(seen.uid()));
        let oldest = retention::oldest(others, ours)?;
        deleted.insert(oldest.uid.clone());
        Some(oldest)
    }
}

/// Creates the DebugBundle. `ours`: UIDs of the DebugBundles that may be deleted when a quota is full.
pub(super) async fn create(
    automatic: &Automatic,
    room: &Room,
    ours: &BTreeSet<String>,
    wanted: &DebugBundle,
    target: &Watched,
) -> Created {
    let api: Api<DebugBundle> = Api::namespaced(automatic.client.clone(), &automatic.namespace);
    let mut wanted = wanted.clone();
    let (mut tries, mut names) = (0, 1);
    loop {
        let name = wanted.name_any();
        let error = match in_time(api.create(&PostParams::default(), &wanted)).await {
            Ok(created) => {
                crash::point("created");
                return Created::Yes { name, uid: created.uid().unwrap_or_default() };
            }
            Err(error) => error,
        };
        let sentence = api_sentence(&error);
        let kube::Error::Api(status) = &error else { return Created::NotNow(sentence) };
        if status.is_already_exists() {
            match existing(&api, name, target).await {
                Existing::Judged(created) => return created,
                Existing::OfAnother if names < NAMES => {
                    names += 1;
                    wanted.metadata.name = Some(bundle::beside(&wanted.name_any()));
                    continue;
                }
                Existing::OfAnother => {
                    let name = wanted.name_any();
                    return Created::Refused(format!("other DebugBundles have the name {name} and the one before it"));
                }
            }
        }
        if is_quota_uncounted(&error) {
            return Created::NotNow(sentence);
        }
        let over_quota = status.is_forbidden() && status.message.contains("exceeded quota");
        if over_quota && tries < TRIES {
            if tries > 0 {
                tokio::time::sleep(PAUSE).await;
            } else if !room.make(automatic, ours).await {
                return Created::NoRoom(sentence);
            }
            tries += 1;
            continue;
        }
        return match status.code {
            _ if over_quota => Created::NoRoom(sentence),
            400 | 403 | 422 => Created::Refused(sentence),
            _ => Created::NotNow(sentence),
        };
    }
}

/// A DebugBundle that has the name already.
enum Existing {
    /// What that means for the creation.
    Judged(Created),
    /// Somebody else made it.
    OfAnother,
}

/// Judges a DebugBundle that exists already: with the target's UID in its label, an earlier call created it and the
/// answer was lost.
async fn existing(api: &Api<DebugBundle>, name: String, target: &Watched) -> Existing {
    let judged = match in_time(api.get_metadata_opt(&name)).await {
        Ok(Some(there)) if there.labels().get(TARGET_UID_LABEL) == Some(&target.uid) => {
            Created::Yes { name, uid: there.uid().unwrap_or_default() }
        }
        Ok(Some(_)) => return Existing::OfAnother,
        Ok(None) => Created::NotNow(format!("DebugBundle {name} was just deleted")),
        Err(error) => Created::NotNow(api_sentence(&error)),
    };
    Existing::Judged(judged)
}

/// Deletes a DebugBundle that is beyond the policy's limits. One that has not ended gets an Event on its target: nothing
/// else says any more what became of it.
pub(super) async fn prune(automatic: &Automatic, surplus: &Surplus) {
    let Surplus { name, is_unfinished, .. } = surplus;
    tracing::info!(name, is_unfinished, "Deleting an automatic DebugBundle: there are more than the policy keeps");
    let api: Api<DebugBundle> = Api::namespaced(automatic.client.clone(), &automatic.namespace);
    let unfinished = if *is_unfinished { in_time(api.get_opt(name)).await.ok().flatten() } else { None };
    if !delete(automatic, surplus).await {
        return;
    }
    let Some(bundle) = unfinished else { return };
    let (Some(target), Some(uid)) = (&bundle.spec.target, bundle.labels().get(TARGET_UID_LABEL)) else { return };
    let status = bundle.status.as_ref();
    let is_explained = status.is_some_and(|status| status.phase == Some(Phase::Uploading) || status.upload.is_some());
    let unknown = if is_explained { "no cause was found" } else { "its cause was not looked for yet" };
    let cause = status.and_then(|status| status.cause.as_deref()).unwrap_or(unknown);
    let note = format!(
        "{cause}; DebugBundle {name} was deleted before it was stored: newer ones took its place, by keepPerTarget or \
         keepTotal of the DebugBundlePolicy"
    );
    let reference = notify::target_reference(target, &automatic.namespace, uid);
    automatic.notifier.warning_about(&reference, Reason::Superseded, &note).await;
}

/// Deletes the DebugBundle with this name and UID. Returns whether it was there and is deleted.
async fn delete(automatic: &Automatic, Surplus { name, uid, .. }: &Surplus) -> bool {
    let api: Api<DebugBundle> = Api::namespaced(automatic.client.clone(), &automatic.namespace);
    let preconditions = Some(Preconditions { uid: Some(uid.clone()), resource_version: None });
    let only_this = DeleteParams { preconditions, ..DeleteParams::default() };
    match in_time(api.delete(name, &only_this)).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => false,
        Err(error) => {
            tracing::warn!(name, failure = api_sentence(&error), "A DebugBundle was not deleted");
            false
        }
    }
}
