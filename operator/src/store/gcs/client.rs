//! Requests to a bucket: made, authorised, sent again after a passing failure, and their refusals interpreted.

use std::sync::Arc;

use bytes::Bytes;
use debugbundle_redact::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use jiff::Timestamp;

use super::{
    GcsIdentity, ServiceAccount, answers,
    words::{CREDENTIAL_CURE, WORDS, permission},
};
use crate::{
    location::Endpoint,
    store::{
        Action, Answer, StoreError,
        rest::{Content, attempted, in_path, in_query, set_plain, text},
        token::Tokens,
        transport::{HttpTransport, RequestBody},
        wire,
    },
};

/// Google accepts an authorization whose time is this many seconds around its own.
const CLOCK_TOLERANCE: i64 = 5 * 60;

/// A bucket, and who asks for it.
#[derive(Clone)]
pub(super) struct GcsClient {
    pub(super) transport: HttpTransport,
    pub(super) signer: Arc<GcsSigner>,
    pub(super) endpoint: Endpoint,
    pub(super) bucket: String,
}

/// Who authorises requests.
pub(super) enum GcsSigner {
    /// Nobody.
    Nobody,
    /// A service account's key.
    Key(ServiceAccount),
    /// The tokens of an identity.
    Tokens(Box<Keyless>),
}

/// An identity without a key.
pub(super) struct Keyless {
    pub(super) identity: GcsIdentity,
    pub(super) tokens: Tokens,
    /// How IAM is asked.
    pub(super) transport: HttpTransport,
}

impl GcsSigner {
    /// The value of the header `Authorization` of a request at this time.
    async fn authorization(&self, now: Timestamp) -> Result<Option<String>, StoreError> {
        match self {
            Self::Nobody => Ok(None),
            Self::Key(account) => account.authorization(now).map(Some),
            Self::Tokens(keyless) => Ok(Some(format!("Bearer {}", keyless.tokens.give().await?.value.expose()))),
        }
    }

    /// The secret values that are asked for, each with the rule under which the redaction counts it.
    pub(super) async fn known_values(&self) -> Vec<(&'static str, Secret)> {
        match self {
            Self::Nobody | Self::Key(_) => Vec::new(),
            Self::Tokens(keyless) => keyless.tokens.known_values().await,
        }
    }
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    /// An object.
    Object(&'a str),
    /// The objects of the bucket.
    Objects,
    /// A new session to write an object.
    NewSession,
    /// A session that was begun.
    Session,
}

/// A request before it is authorised.
pub(super) struct GcsRequest<'a> {
    pub(super) action: Action,
    pub(super) method: Method,
    pub(super) resource: Resource<'a>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) content: Content<'a>,
}

impl<'a> GcsRequest<'a> {
    pub(super) fn new(action: Action, method: Method, resource: Resource<'a>) -> Self {
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Self { action, method, resource, query, headers, content: Content::Memory(Bytes::new()) }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// A header. Characters that headers cannot carry become `_`.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        set_plain(&mut self.headers, name, value);
        self
    }

    pub(super) fn content(mut self, content: Content<'a>) -> Self {
        self.content = content;
        self
    }
}

impl GcsClient {
    /// Sends the request, again after a passing failure.
    pub(super) async fn send(&self, request: &GcsRequest<'_>) -> Result<Response<Incoming>, StoreError> {
        attempted(|| self.send_once(request)).await
    }

    /// Sends the request. For a session 308 (more is awaited) and 499 (it is cancelled) are no failures.
    pub(super) async fn send_once(&self, request: &GcsRequest<'_>) -> Result<Response<Incoming>, StoreError> {
        let body = request.content.body().await?;
        let response = self.transport.send(self.authorised(request, body).await?).await?;
        let status = response.status();
        let goes_on = request.resource == Resource::Session
            && (status == StatusCode::PERMANENT_REDIRECT || status.as_u16() == 499);
        if status.is_success() || goes_on {
            return Ok(response);
        }
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let ahead = date.and_then(wire::ahead);
        // Of the answer's text only its reason passes, and only if it looks like one.
        let reason = answers::reason(&text(response).await.unwrap_or_default());
        let answer = Answer::new(status.as_u16(), reason.as_deref());
        Err(judged(answer, ahead, request.action, request.resource, &self.bucket))
    }

    async fn authorised(
        &self,
        request: &GcsRequest<'_>,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, StoreError> {
        let not_built = || StoreError::Rejected(Answer::new(0, Some("RequestNotBuilt")));
        let bucket = in_path(&self.bucket);
        let path = match request.resource {
            // A slash in an object's name is a part of the name.
            Resource::Object(name) => format!("/storage/v1/b/{bucket}/o/{}", in_query(name)),
            Resource::Objects => format!("/storage/v1/b/{bucket}/o"),
            Resource::NewSession | Resource::Session => format!("/upload/storage/v1/b/{bucket}/o"),
        };
        let mut url = format!("{}{path}", self.endpoint.as_str());
        for (index, (name, value)) in request.query.iter().enumerate() {
            for part in [if index == 0 { "?" } else { "&" }, name, "=", &in_query(value)] {
                url.push_str(part);
            }
        }
        let uri: Uri = url.parse().map_err(|_| not_built())?;
        let mut signed = Request::new(body);
        *signed.method_mut() = request.method.clone();
        *signed.uri_mut() = uri;
        *signed.headers_mut() = request.headers.clone();
        if matches!(request.method, Method::PUT | Method::POST) {
            signed.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(request.content.length()));
        }
        let now = self.transport.store_time(Timestamp::now())?;
        if let Some(authorization) = self.signer.authorization(now).await? {
            let mut authorization = HeaderValue::from_str(&authorization).map_err(|_| not_built())?;
            authorization.set_sensitive(true);
            signed.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        Ok(signed)
    }
}

/// What an answer of Cloud Storage means; `ahead` is its clock's difference to ours, seconds.
/// <https://docs.cloud.google.com/storage/docs/json_api/v1/status-codes>
fn judged(answer: Answer, ahead: Option<i64>, action: Action, resource: Resource<'_>, bucket: &str) -> StoreError {
    let bucket = bucket.to_owned();
    match (answer.status, answer.code()) {
        // A session that ended, or was forgotten after a week, or whose bytes are not those that were announced: the
        // upload is begun anew.
        (400 | 404 | 410, _) if resource == Resource::Session => StoreError::Unavailable(answer),
        (404, _) if matches!(resource, Resource::Objects | Resource::NewSession) => {
            StoreError::NoBucket { words: &WORDS, bucket, answer }
        }
        (301 | 302 | 307 | 308, _) => {
            let cure = "set the location's config key storeEndpoint to the store's own endpoint".to_owned();
            StoreError::WrongRegion { bucket, cure, answer }
        }
        (401, _) if ahead.is_some_and(|ahead| ahead.abs() >= CLOCK_TOLERANCE) => StoreError::Skewed { answer, ahead },
        (401, _) => StoreError::NotAccepted { cure: CREDENTIAL_CURE, answer },
        (507, _) => StoreError::Full(answer),
        (408 | 429 | 500..=599, _) | (403, "rateLimitExceeded" | "userRateLimitExceeded") if answer.status != 501 => {
            StoreError::Unavailable(answer)
        }
        (403, code) => {
            let key = if let Resource::Object(name) = resource { name.to_owned() } else { String::new() };
            StoreError::Denied { permission: permission(action, code), bucket, key, answer }
        }
        _ => StoreError::Rejected(answer),
    }
}

#[cfg(test)]
mod tests {
    use debugbundle_crd::Reason;

    use super::*;

    #[test]
    fn answers_are_judged_by_what_the_reader_can_do() {
        use Resource::{NewSession, Object, Objects, Session};
        for (status, code, ahead, resource, reason, transient) in [
            (401, "authError", 0, Objects, Reason::CredentialInvalid, false),
            (401, "authError", 1200, Objects, Reason::CredentialInvalid, true),
            (401, "", 0, Session, Reason::CredentialInvalid, false),
            (403, "forbidden", 0, NewSession, Reason::UploadDenied, false),
            (403, "SERVICE_DISABLED", 0, Objects, Reason::UploadDenied, false),
            (403, "rateLimitExceeded", 0, Objects, Reason::StoreUnreachable, true),
            (404, "notFound", 0, Objects, Reason::LocationInvalid, false),
            (404, "notFound", 0, NewSession, Reason::LocationInvalid, false),
            (404, "notFound", 0, Object("k"), Reason::UploadDenied, false),
            (404, "", 0, Session, Reason::StoreUnreachable, true),
            (410, "", 0, Session, Reason::StoreUnreachable, true),
            (400, "invalid", 0, Session, Reason::StoreUnreachable, true),
            (400, "invalid", 0, NewSession, Reason::UploadDenied, false),
            (308, "", 0, Objects, Reason::LocationInvalid, false),
            (412, "conditionNotMet", 0, NewSession, Reason::UploadDenied, false),
            (429, "rateLimitExceeded", 0, Objects, Reason::StoreUnreachable, true),
            (503, "backendError", 0, Objects, Reason::StoreUnreachable, true),
            (507, "", 0, Objects, Reason::StoreUnreachable, true),
            (501, "", 0, Objects, Reason::UploadDenied, false),
        ] {
            let got = judged(Answer::new(status, Some(code)), Some(ahead), Action::Put, resource, "bkt");
            assert_eq!((got.reason(), got.is_transient()), (reason, transient), "{status} {code:?}: {got}");
        }
        let disabled = judged(Answer::new(403, Some("SERVICE_DISABLED")), None, Action::Get, Object("k"), "bkt");
        assert_eq!(
            disabled.to_string(),
            "the store refused every request (is the Cloud Storage API enabled in the project of the service account?) \
             on bkt/k: HTTP 403 SERVICE_DISABLED"
        );
    }
}
