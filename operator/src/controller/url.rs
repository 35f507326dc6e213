//! The download URL in status: signed when due, renewed when asked, removed when expired. `store` signs; the type of
//! the URL keeps it out of everything but status.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use debugbundle_crd::{DebugBundle, RENEW_URL_ANNOTATION, RENEW_URL_LIMIT, Reason, UrlPolicy};
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::controller::Action};

use super::{Context, Fault, claim::Claim};
use crate::{
    decide,
    observed::Renewal,
    run::{Destination, Subject},
    status::{StatusBuilder, whole_seconds},
    store::{Limit, Signed, SignedUrl},
};

/// The message of the Event for a new URL. It omits the expiration: Events of one kind are counted, and the first
/// message stays.
pub(super) const ISSUED: &str = "a download URL was signed; status.downloadURLExpiration says when it expires";

/// What to write to status about the URL.
pub(super) enum Link {
    /// A URL was signed.
    Issued { url: SignedUrl, until: Timestamp, note: String },
    /// There is no URL.
    None { reason: Reason, message: String },
}

impl Link {
    pub(super) fn fold(&self, fold: StatusBuilder) -> StatusBuilder {
        match self {
            Self::Issued { url, until, note } => fold.url(url.expose().to_owned(), *until, note),
            Self::None { reason, message } => fold.no_url(*reason, message),
        }
    }

    pub(super) fn is_issued(&self) -> bool {
        matches!(self, Self::Issued { .. })
    }
}

/// The policy signs only on request.
pub(super) fn on_request(bundle: &DebugBundle) -> Link {
    let message = format!("request a URL with: {}", ask(bundle));
    Link::None { reason: Reason::OnRequest, message }
}

/// The policy never signs.
pub(super) fn never() -> Link {
    Link::None { reason: Reason::Never, message: "spec.downloadURL.policy is Never".to_owned() }
}

/// Signs for the object that was just verified, for at most `most`, the operator's own limit.
pub(super) async fn sign(bundle: &DebugBundle, destination: &Destination, most: Duration, now: Timestamp) -> Link {
    let Some((ttl, cut)) = decide::url_ttl(bundle, most) else { return never() };
    match destination.sign(ttl, now).await {
        Ok(signed) => Link::Issued {
            until: whole_seconds(signed.expires),
            note: note(&signed, cut.then_some(most)),
            url: signed.url,
        },
        Err(error) => Link::None {
            reason: Reason::SigningUnsupported,
            message: format!(
                "{}; the bundle is in bucket {} at {}",
                destination.mask(&error.message()),
                destination.bucket(),
                destination.key.as_str()
            ),
        },
    }
}

/// What the reader of the condition must know besides the time; `cut` is the limit to which the requested time was cut.
fn note(signed: &Signed, cut: Option<Duration>) -> String {
    let mut note = match signed.limit {
        Limit::Asked => cut.map_or(String::new(), |most| {
            format!(", after the maximum that the operator allows (--max-url-ttl-minutes={})", most.as_secs() / 60)
        }),
        Limit::SevenDays => ", after the maximum that the store allows".to_owned(),
        Limit::Credential => ", when the credential that signed it expires".to_owned(),
    };
    if !signed.headers.is_empty() {
        let _ = write!(note, "; the request must also carry the headers {}", signed.headers.join(", "));
    }
    if signed.cluster_internal {
        note.push_str("; its host resolves only inside the cluster: set publicUrl in the location's config");
    }
    if signed.plain_http {
        note.push_str("; it is plain http: anyone on the network path can read the bundle and the URL");
    }
    note
}

/// Removes the expired URL.
pub(super) async fn clear(bundle: &DebugBundle, ctx: &Arc<Context>) -> Result<Action, Fault> {
    let mine = Claim::new(ctx.client.clone(), ctx.api.clone(), bundle.clone());
    let message = match bundle.spec.download_url.policy {
        UrlPolicy::Never => "spec.downloadURL.policy is Never".to_owned(),
        _ => format!("the URL has expired; request another one with: {}", ask(bundle)),
    };
    mine.exactly(ctx.now(), |fold| fold.no_url(Reason::UrlExpired, &message)).await?;
    Ok(Action::await_change())
}

/// Answers the annotation, after checking that the object is still in the store.
pub(super) async fn renew(bundle: DebugBundle, asked: &Renewal, ctx: &Arc<Context>) -> Result<Action, Fault> {
    let now = ctx.now();
    let mine = Claim::new(ctx.client.clone(), ctx.api.clone(), bundle.clone());
    if let Renewal::TooLong { length, .. } = asked {
        mine.exactly(now, |fold| fold.answered(asked)).await?;
        let note = format!(
            "annotation {RENEW_URL_ANNOTATION} is ignored: its value has {length} characters, and at most \
             {RENEW_URL_LIMIT} are allowed"
        );
        ctx.notifier.warning(&bundle, Reason::InvalidAnnotation, &note).await;
        return Ok(Action::await_change());
    }
    let link = if bundle.spec.download_url.policy == UrlPolicy::Never {
        never()
    } else {
        look_and_sign(&bundle, ctx, now).await?
    };
    // Written even if the object changed meanwhile: the signed URL answers this request, and a newer request waits for
    // its turn.
    mine.update(ctx.now(), |fold| link.fold(fold).answered(asked)).await?;
    match &link {
        Link::Issued { .. } => ctx.notifier.normal(&bundle, Reason::UrlIssued, ISSUED).await,
        Link::None { reason, message } => ctx.notifier.warning(&bundle, *reason, message).await,
    }
    Ok(Action::await_change())
}

async fn look_and_sign(bundle: &DebugBundle, ctx: &Arc<Context>, now: Timestamp) -> Result<Link, Fault> {
    let stored = bundle.status.as_ref().and_then(|s| s.bundle.as_ref());
    let destination =
        match ctx.engine.destination(&Subject::of(bundle), stored.map(|b| b.storage_location.as_str())).await {
            Ok(destination) => destination,
            // The user learns at once that the Secret is missing, and can ask again.
            Err(
                Fault::Terminal { reason, message, .. }
                | Fault::Transient { reason: reason @ Reason::CredentialInvalid, message, .. },
            ) => return Ok(Link::None { reason, message }),
            Err(other) => return Err(other),
        };
    match destination.store.head(&destination.key).await {
        Ok(Some(found)) if stored.is_some_and(|s| found.sha256.as_deref() == Some(s.sha256.as_str())) => {
            Ok(sign(bundle, &destination, ctx.settings.max_url_ttl, now).await)
        }
        Ok(_) => Ok(Link::None {
            reason: Reason::ObjectMissing,
            message: match stored.and_then(|stored| destination.was_elsewhere(stored)) {
                Some(place) => format!("the bundle cannot be downloaded: {place}"),
                None => format!(
                    "the object in bucket {} at {} is gone, or was replaced",
                    destination.bucket(),
                    destination.key.as_str()
                ),
            },
        }),
        Err(error) if error.is_transient() => Err(Fault::transient(error.reason(), destination.mask(&error.message()))),
        Err(error) => Ok(Link::None { reason: error.reason(), message: destination.mask(&error.message()) }),
    }
}

fn ask(bundle: &DebugBundle) -> String {
    let namespace = bundle.namespace().unwrap_or_default();
    format!(
        "kubectl -n {namespace} annotate --overwrite debugbundle {} {RENEW_URL_ANNOTATION}=$(date +%s)",
        bundle.name_any()
    )
}
