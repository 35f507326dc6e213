//! What keeps an object that is being deleted: its finalizers, and of a claim the pod that uses it.

use jiff::Timestamp;
use serde_json::Value;

use super::{Report, State, pod};
use crate::graph::{Id, View, age, items, text, time};
use crate::kind::Kind;
use crate::reason::RootReason;

/// Kubernetes keeps a claim while a pod uses it
/// (`https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection`).
pub(crate) const IN_USE: &str = "kubernetes.io/pvc-protection";

/// What an object says that is being deleted; `None` if it is not, or nothing keeps it.
pub(super) fn report(id: &Id, object: &Value, view: &View<'_>) -> Option<Report> {
    let (leaving, finalizer) = kept(object, view.now())?;
    let words = format!("{id} {leaving}");
    if finalizer == IN_USE
        && let Some(pod) = user(id, view)
    {
        let user = Id::of(pod);
        let words = format!("{words}, and pod {}/{} still uses it", user.namespace, user.name);
        // Such a pod stays until its own finalizer is gone.
        let (words, finalizer) = match kept(pod, view.now()) {
            Some((_, other)) => {
                (format!("{words}, which is being deleted, too, and which finalizer {other} keeps"), other)
            }
            None => (words, finalizer),
        };
        return Some(Report::of(State::says(words, RootReason::Leaving(finalizer.to_owned(), Some(user)))));
    }
    let words = format!("{words}, and finalizer {finalizer} keeps it");
    Some(Report::of(State::says(words, RootReason::Leaving(finalizer.to_owned(), None))))
}

/// What a pod says that is being deleted and is kept longer than it needs to end. Kubernetes' own controllers take their
/// finalizers off a moment later.
pub(super) fn of_pod(pod: &Value, view: &View<'_>) -> Option<State> {
    let since = time(&pod["metadata"]["deletionTimestamp"])?;
    let (leaving, finalizer) = kept(pod, view.now())?;
    let is_of_kubernetes = !finalizer.contains('/') || finalizer.contains("kubernetes.io/");
    if since > view.now() || (is_of_kubernetes && pod::is_recent(Some(since), view)) {
        return None;
    }
    let reason = RootReason::Leaving(finalizer.to_owned(), None);
    Some(State::says(format!("it {leaving}, and finalizer {finalizer} keeps it"), reason))
}

/// `is being deleted for 20 min`, and the finalizer that keeps an object; `None` if it is not being deleted, or nothing
/// keeps it.
fn kept(object: &Value, now: Timestamp) -> Option<(String, &str)> {
    let metadata = &object["metadata"];
    let since = metadata["deletionTimestamp"].as_str()?;
    let finalizer = items(&metadata["finalizers"]).iter().map(text).find(|name| !name.is_empty())?;
    let age = age(time(&since.into()), now);
    Some((format!("is being deleted {age}").trim_end().to_owned(), finalizer))
}

/// A pod on a node that has the claim among its volumes, and has not ended.
fn user<'a>(claim: &Id, view: &View<'a>) -> Option<&'a Value> {
    let uses = |pod: &&Value| {
        let mut volumes = items(&pod["spec"]["volumes"]).iter();
        let has_ended = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
        !has_ended
            && !text(&pod["spec"]["nodeName"]).is_empty()
            && volumes.any(|one| one["persistentVolumeClaim"]["claimName"] == claim.name.as_str())
    };
    view.list(Kind::Pod, &claim.namespace).find(uses)
}
