//! Where download URLs come from: the URL in status while it works, else a new one, requested from the operator through
//! the renewal annotation.

use std::time::Duration;

use debugbundle_crd::{Bundle, ConditionType, DebugBundle, DebugBundleStatus, Phase, RENEW_URL_ANNOTATION, UrlPolicy};
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    create::refusal,
    display,
    exit::{CliError, Exit, chain},
    http::PresignedUrl,
};
use crate::decide::{RENEWAL_PAUSE, renewal_due};

/// A URL that ends sooner is renewed before use.
const MARGIN: SignedDuration = SignedDuration::from_secs(20);

/// The stored object of a DebugBundle, as `fetch` needs it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredBundle {
    /// As status describes it.
    pub bundle: Bundle,
    /// Its length.
    pub bytes: u64,
}

/// The stored bundle, or why there is none.
pub(crate) fn stored(bundle: &DebugBundle) -> Result<StoredBundle, CliError> {
    let name = bundle.name_any();
    let namespace = bundle.namespace().unwrap_or_default();
    let empty = DebugBundleStatus::default();
    let status = bundle.status.as_ref().unwrap_or(&empty);
    if let Some(found) = &status.bundle
        && status.phase.is_some_and(Phase::is_terminal)
    {
        let bytes = u64::try_from(found.bytes).ok().filter(|bytes| *bytes > 0);
        let bytes = bytes
            .ok_or_else(|| CliError::failed(format!("the status of {name} does not contain the bundle's size")))?;
        return Ok(StoredBundle { bundle: found.clone(), bytes });
    }
    Err(match status.phase {
        Some(Phase::Failed) => {
            let ready = status.conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str());
            let why = ready.map_or("its Ready condition has no message", |c| c.message.as_str());
            CliError::failed(format!("{name} is Failed, there is no bundle: {why}"))
        }
        Some(phase) if phase.is_terminal() => {
            CliError::failed(format!("{name} is {phase}, but its status contains no bundle"))
        }
        phase => CliError::failed(format!("{name} is {}, there is no bundle yet", phase.unwrap_or(Phase::New))).hint(
            format!("Wait for it: kubectl -n {namespace} wait --for=condition=Ready --timeout=30m debugbundle/{name}"),
        ),
    })
}

/// The URL in status, if it works long enough for a download to start.
pub(crate) fn current(bundle: &DebugBundle, now: Timestamp) -> Option<PresignedUrl> {
    let status = bundle.status.as_ref()?;
    let until = display::url_works_until(status, now)?;
    if until - MARGIN <= now {
        return None;
    }
    PresignedUrl::parse(status.download_url.as_deref()?).ok()
}

/// Requests a new URL from the operator and waits for it; prints the reason if that takes a while.
pub(crate) async fn renew(
    api: &Api<DebugBundle>,
    name: &str,
    limit: Duration,
    say: impl FnOnce(&str),
) -> Result<PresignedUrl, CliError> {
    let before = api.get(name).await?;
    stored(&before)?;
    if before.spec.download_url.policy == UrlPolicy::Never {
        return Err(never(&before));
    }
    let now = Timestamp::now();
    let asked = token(now)?;
    let pause = pause(&before, now);
    if !pause.is_zero() {
        say(&format!(
            "waiting {} s for a new download URL: the operator signs at most one in {} s",
            pause.as_secs_f64().ceil(),
            RENEWAL_PAUSE.as_secs()
        ));
    }
    let patch = json!({"metadata": {"annotations": {RENEW_URL_ANNOTATION: asked}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;

    let old = before.status.and_then(|status| status.download_url);
    let mut seen = std::pin::pin!(watcher::watch_object(api.clone(), name).default_backoff());
    let deadline = Instant::now() + pause + limit;
    loop {
        let next = timeout_at(deadline, seen.next()).await.map_err(|_| {
            CliError::new(Exit::Timeout, format!("no new download URL for {name} after {}s", limit.as_secs()))
                .hint("Is debugbundle-operator running, and does it watch this namespace?")
        })?;
        match next {
            Some(Ok(Some(bundle))) => {
                if let Some(answer) = answer(&bundle, &asked, old.as_deref(), Timestamp::now()) {
                    return answer;
                }
            }
            Some(Ok(None)) => {
                return Err(CliError::new(Exit::NotFound, format!("{name} was deleted")));
            }
            Some(Err(error)) => {
                if let Some(refused) = refusal(&error) {
                    return Err(refused);
                }
                tracing::debug!(error = chain(&error), "The watch was interrupted");
            }
            None => return Err(CliError::failed("the watch ended")),
        }
    }
}

/// How long the operator delays this request because it answered another one a moment ago.
fn pause(bundle: &DebugBundle, now: Timestamp) -> Duration {
    let answered = bundle.status.as_ref().and_then(|status| status.renewed_url_timestamp.as_ref());
    let due = renewal_due(answered.map(|answered| answered.0), now);
    due.map_or(Duration::ZERO, |due| due.duration_since(now).unsigned_abs())
}

/// A value that the annotation never had before: the operator reacts to changes.
fn token(now: Timestamp) -> Result<String, CliError> {
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random).map_err(|error| CliError::failed(format!("no random numbers: {error}")))?;
    Ok(format!("{}-{:08x}", now.as_millisecond(), u32::from_le_bytes(random)))
}

/// The operator's response to the request `asked`, or `None` while there is none.
fn answer(
    bundle: &DebugBundle,
    asked: &str,
    old: Option<&str>,
    now: Timestamp,
) -> Option<Result<PresignedUrl, CliError>> {
    let status = bundle.status.as_ref()?;
    let answered = status.renewed_url.as_deref() == Some(asked);
    // Another user may have requested a URL at the same time: that URL works as well.
    let fresh = status.download_url.is_some() && status.download_url.as_deref() != old;
    match &status.download_url {
        Some(url) if (answered || fresh) && display::url_works_until(status, now).is_some() => {
            Some(PresignedUrl::parse(url))
        }
        _ if answered => Some(Err(refused(bundle))),
        _ => None,
    }
}

fn refused(bundle: &DebugBundle) -> CliError {
    let ready = bundle.status.as_ref().and_then(|status| {
        status.conditions.iter().find(|condition| condition.type_ == ConditionType::DownloadReady.as_str())
    });
    let why = ready.map_or("its DownloadReady condition has no message", |condition| condition.message.as_str());
    CliError::failed(format!("no download URL was signed for {}: {why}", bundle.name_any()))
}

fn never(bundle: &DebugBundle) -> CliError {
    let stored = bundle.status.as_ref().and_then(|status| status.bundle.as_ref());
    let place = stored.map(|stored| format!("{}/{}", stored.bucket, stored.key)).unwrap_or_default();
    CliError::failed(format!("{} has the URL policy Never: no download URL is signed", bundle.name_any()))
        .hint(format!("Read it with the store's own tool and credential: {place}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::display::tests::{bundle, stored as stored_status};
    use super::super::stand::{Stand, json as json_answer, streamed};
    use super::*;

    fn now() -> Timestamp {
        "2026-09-08T03:07:31Z".parse().unwrap()
    }

    fn with(change: impl FnOnce(&mut serde_json::Value)) -> DebugBundle {
        let mut status = stored_status();
        change(&mut status);
        bundle(status)
    }

    #[test]
    fn the_url_in_status_is_used_while_it_works() {
        assert!(current(&bundle(stored_status()), now()).is_some());
        assert!(current(&bundle(stored_status()), "2026-09-08T04:04:12Z".parse().unwrap()).is_none(), "too late");
        assert!(current(&with(|s| s["downloadURL"] = json!("file:///etc/passwd")), now()).is_none());
        assert!(current(&with(|s| s["downloadURLExpiration"] = json!(null)), now()).is_none());
    }

    #[test]
    fn there_is_a_stored_bundle_or_a_reason() {
        assert_eq!(stored(&bundle(stored_status())).unwrap().bytes, 2_097_152);
        let text = |bundle: &DebugBundle| stored(bundle).unwrap_err().to_string();
        assert!(text(&bundle(json!({"phase": "Collecting"}))).contains("is Collecting, there is no bundle yet"));
        let failed =
            bundle(json!({"phase": "Failed", "conditions": [{"type": "Ready", "status": "False", "reason": "X",
            "message": "Restore r1 not found", "lastTransitionTime": "2026-09-08T03:04:31Z"}]}));
        assert!(text(&failed).ends_with("there is no bundle: Restore r1 not found"));
        assert!(text(&with(|s| s["bundle"]["bytes"] = json!(0))).contains("does not contain the bundle's size"));
    }

    #[test]
    fn an_answer_is_told_from_silence_and_from_a_refusal() {
        let old = Some("https://s3.example/b/k.tar.gz?X-Amz-Signature=geheim");
        assert!(answer(&bundle(stored_status()), "q", old, now()).is_none(), "the old URL is no answer");
        let renewed = with(|s| s["renewedURL"] = json!("q"));
        assert!(answer(&renewed, "q", old, now()).unwrap().is_ok(), "signed again within the same second");
        let foreign = with(|s| s["downloadURL"] = json!("https://s3.example/b/k.tar.gz?X-Amz-Signature=neu"));
        assert!(answer(&foreign, "q", old, now()).unwrap().is_ok(), "somebody else asked");
        let refused = with(|s| {
            s["renewedURL"] = json!("q");
            s["downloadURL"] = json!(null);
            s["conditions"] = json!([{"type": "DownloadReady", "status": "False", "reason": "ObjectMissing",
                "message": "the object is gone", "lastTransitionTime": "2026-09-08T03:04:31Z"}]);
        });
        let error = answer(&refused, "q", old, now()).unwrap().unwrap_err().to_string();
        assert!(error.ends_with("the object is gone"), "{error}");
    }

    /// An API server that responds to the annotation with `reply`.
    async fn operator(reply: impl Fn(&str) -> serde_json::Value + Send + Sync + 'static) -> (Stand, Api<DebugBundle>) {
        operator_of(json!({}), reply).await
    }

    /// The same, for a DebugBundle with these changes in its status.
    async fn operator_of(
        differs: serde_json::Value,
        reply: impl Fn(&str) -> serde_json::Value + Send + Sync + 'static,
    ) -> (Stand, Api<DebugBundle>) {
        let asked = Mutex::new(None::<String>);
        let stand = Stand::serve(move |request| {
            let mut object = serde_json::to_value(bundle(stored_status())).unwrap();
            object["status"].as_object_mut().unwrap().extend(differs.as_object().unwrap().clone());
            let mut asked = asked.lock().unwrap();
            if request.method == "PATCH" {
                let patch: serde_json::Value = serde_json::from_str(&request.body).unwrap();
                *asked = patch["metadata"]["annotations"][RENEW_URL_ANNOTATION].as_str().map(str::to_owned);
            }
            if request.target.contains("watch=") {
                object["metadata"]["resourceVersion"] = json!("2");
                let changes = reply(asked.as_deref().unwrap());
                object["status"].as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
                let event = format!("{}\n", json!({"type": "MODIFIED", "object": object}));
                let open = futures::stream::iter([Ok(event.into())]).chain(futures::stream::pending());
                return http::Response::new(streamed(open));
            }
            if request.target.contains("fieldSelector=") {
                let list = json!({"apiVersion": "debugbundle.io/v1alpha1", "kind": "DebugBundleList",
                    "metadata": {"resourceVersion": "1"}, "items": [object]});
                return json_answer(200, &list);
            }
            json_answer(200, &object)
        })
        .await;
        let api = Api::namespaced(stand.client(), "velero-2");
        (stand, api)
    }

    #[tokio::test]
    async fn sec_u6_a_new_url_is_asked_for_by_the_annotation_and_awaited() {
        let (stand, api) = operator(|asked| {
            json!({"renewedURL": asked, "downloadURL": "https://s3.example/b/k?X-Amz-Signature=neu",
                "downloadURLExpiration": "2999-01-01T00:00:00Z"})
        })
        .await;
        let url = renew(&api, "restore-r1-1a2b", Duration::from_secs(30), |_| ()).await.unwrap();
        assert_eq!(url, PresignedUrl::parse("https://s3.example/b/k?X-Amz-Signature=neu").unwrap());
        let patches: Vec<_> = stand.asked().into_iter().filter(|asked| asked.method == "PATCH").collect();
        assert_eq!(patches.len(), 1);
        assert!(
            patches[0]
                .target
                .starts_with("/apis/debugbundle.io/v1alpha1/namespaces/velero-2/debugbundles/restore-r1-1a2b")
        );
    }

    #[tokio::test]
    async fn a_refusal_is_told_and_silence_ends_in_a_timeout() {
        let (_stand, api) = operator(|asked| {
            json!({"renewedURL": asked, "downloadURL": null, "conditions": [{"type": "DownloadReady", "status": "False",
                "reason": "SigningUnsupported", "message": "anonymous access cannot sign", "lastTransitionTime": "2026-09-08T03:04:31Z"}]})
        })
        .await;
        let error = renew(&api, "restore-r1-1a2b", Duration::from_secs(30), |_| ()).await.unwrap_err();
        assert!(error.to_string().ends_with("anonymous access cannot sign"), "{error}");
        let (_stand, api) = operator(|_| json!({})).await;
        let error = renew(&api, "restore-r1-1a2b", Duration::from_millis(200), |_| ()).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Timeout);
    }

    #[tokio::test]
    async fn a_request_soon_after_another_one_says_that_it_waits_and_waits_longer() {
        let answered = Timestamp::now() + SignedDuration::from_secs(-4);
        let (_stand, api) = operator_of(json!({"renewedURLTimestamp": answered.to_string()}), |_| json!({})).await;
        let (began, mut said) = (Instant::now(), String::new());
        let limit = Duration::from_millis(100);
        let error = renew(&api, "restore-r1-1a2b", limit, |text| text.clone_into(&mut said)).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Timeout);
        assert!(said.starts_with("waiting ") && said.ends_with(": the operator signs at most one in 10 s"), "{said}");
        assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
        assert!(pause(&bundle(stored_status()), now()).is_zero(), "nobody asked before");
    }

    #[test]
    fn each_question_is_a_new_one() {
        assert_ne!(token(now()).unwrap(), token(now()).unwrap());
        assert!(token(Timestamp::MAX).unwrap().chars().count() <= debugbundle_crd::RENEW_URL_LIMIT);
    }
}
