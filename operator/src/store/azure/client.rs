//! Requests to a blob container: made, signed, sent again after a passing failure, and their refusals interpreted.

use std::sync::Arc;

use bytes::Bytes;
use debugbundle_redact::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Incoming;
use jiff::{Timestamp, tz::TimeZone};
use tokio::sync::OnceCell;

use super::{
    answers,
    identity::ListedKey,
    sign::{AccountKey, DelegationKey, VERSION, sas_time},
    words::{WORDS, credential_cure, permission},
};
use crate::{
    location::Endpoint,
    store::{
        Action, Answer, StoreError,
        rest::{Content, attempted, in_path, in_query, set_plain, text},
        token::{Token, Tokens},
        transport::{HttpTransport, RequestBody},
        wire,
    },
};

/// Azure accepts a request's time this many seconds around its own.
const CLOCK_TOLERANCE: i64 = 15 * 60;

/// A container of an account.
#[derive(Clone)]
pub(super) struct BlobClient {
    pub(super) transport: HttpTransport,
    pub(super) credential: Arc<BlobCredential>,
    pub(super) endpoint: Endpoint,
    pub(super) container: String,
}

/// By what requests and URLs are signed.
pub(super) enum BlobCredential {
    /// An account key.
    Key(AccountKey),
    /// The tokens of an identity, for the storage itself.
    Tokens(Tokens),
    /// An account key that an identity asks for at its first use.
    Listed(Box<KeyOnDemand>),
}

/// An account key that an identity asks for.
pub(super) struct KeyOnDemand {
    pub(super) key: ListedKey,
    pub(super) tokens: Tokens,
    pub(super) transport: HttpTransport,
    pub(super) account: String,
    pub(super) found: OnceCell<(AccountKey, Secret)>,
}

/// What signs a request.
pub(super) enum Signer<'a> {
    Key(&'a AccountKey),
    Token(Token),
}

impl BlobCredential {
    /// What signs a request now.
    pub(super) async fn signer(&self) -> Result<Signer<'_>, StoreError> {
        match self {
            Self::Key(key) => Ok(Signer::Key(key)),
            Self::Tokens(tokens) => tokens.give().await.map(Signer::Token),
            Self::Listed(listed) => {
                let KeyOnDemand { key, tokens, transport, account, found } = &**listed;
                let (key, _) = found.get_or_try_init(|| key.ask(account, tokens, transport)).await?;
                Ok(Signer::Key(key))
            }
        }
    }

    /// The secret values that are asked for, each with the rule under which the redaction counts it.
    pub(super) async fn known_values(&self) -> Vec<(&'static str, Secret)> {
        match self {
            Self::Key(_) => Vec::new(),
            Self::Tokens(tokens) => tokens.known_values().await,
            Self::Listed(listed) => {
                let _ = self.signer().await;
                let key = listed.found.get().map(|(_, key)| ("known-secret-key", key.clone()));
                listed.tokens.known_values().await.into_iter().chain(key).collect()
            }
        }
    }
}

/// A request before it is signed.
pub(super) struct BlobRequest<'a> {
    pub(super) action: Action,
    pub(super) method: Method,
    /// The blob; empty for the container itself.
    pub(super) blob: &'a str,
    /// The request is about the account, and not about the container.
    pub(super) of_account: bool,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) content: Content<'a>,
}

impl<'a> BlobRequest<'a> {
    pub(super) fn new(action: Action, method: Method, blob: &'a str) -> Self {
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Self { action, method, blob, of_account: false, query, headers, content: Content::Memory(Bytes::new()) }
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

impl BlobClient {
    /// The URL of a blob, or of the container.
    pub(super) fn url(&self, blob: &str) -> String {
        let slash = if blob.is_empty() { "" } else { "/" };
        format!("{}/{}{slash}{}", self.endpoint.as_str(), in_path(&self.container), in_path(blob))
    }

    /// A key by which the identity signs URLs from and until these times.
    pub(super) async fn delegation_key(&self, starts: Timestamp, ends: Timestamp) -> Result<DelegationKey, StoreError> {
        let wanted = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{}</Start><Expiry>{}</Expiry></KeyInfo>",
            sas_time(starts),
            sas_time(ends)
        );
        let request = BlobRequest::new(Action::SignUrl, Method::POST, "")
            .query("restype", "service")
            .query("comp", "userdelegationkey")
            .content(Content::Memory(wanted.into()));
        let request = BlobRequest { of_account: true, ..request };
        answers::delegation_key(&text(self.send(&request).await?).await?)
    }

    /// Sends the request, again after a passing failure.
    pub(super) async fn send(&self, request: &BlobRequest<'_>) -> Result<Response<Incoming>, StoreError> {
        attempted(|| self.send_once(request)).await
    }

    async fn send_once(&self, request: &BlobRequest<'_>) -> Result<Response<Incoming>, StoreError> {
        let sent = request.content.body().await?;
        let response = self.transport.send(self.signed(request, sent).await?).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.judged(request, &response)) }
    }

    async fn signed(&self, request: &BlobRequest<'_>, body: RequestBody) -> Result<Request<RequestBody>, StoreError> {
        let not_built = || StoreError::Rejected(Answer::new(0, Some("RequestNotBuilt")));
        let mut url = if request.of_account { format!("{}/", self.endpoint.as_str()) } else { self.url(request.blob) };
        for (index, (name, value)) in request.query.iter().enumerate() {
            for part in [if index == 0 { "?" } else { "&" }, name, "=", &in_query(value)] {
                url.push_str(part);
            }
        }
        let uri: Uri = url.parse().map_err(|_| not_built())?;
        let time = self.transport.store_time(Timestamp::now())?.to_zoned(TimeZone::UTC);
        let mut headers = request.headers.clone();
        let mut set = |name: HeaderName, value: &str| -> Result<(), StoreError> {
            headers.insert(name, HeaderValue::from_str(value).map_err(|_| not_built())?);
            Ok(())
        };
        set(HeaderName::from_static("x-ms-date"), &time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())?;
        set(HeaderName::from_static("x-ms-version"), VERSION)?;
        if matches!(request.method, Method::PUT | Method::POST) {
            set(header::CONTENT_LENGTH, &request.content.length().to_string())?;
        }
        let authorization = match self.credential.signer().await? {
            Signer::Key(key) => key.authorization(&request.method, uri.path(), &request.query, &headers),
            Signer::Token(token) => format!("Bearer {}", token.value.expose()),
        };
        let mut authorization = HeaderValue::from_str(&authorization).map_err(|_| not_built())?;
        authorization.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, authorization);
        let mut signed = Request::new(body);
        *signed.method_mut() = request.method.clone();
        *signed.uri_mut() = uri;
        *signed.headers_mut() = headers;
        Ok(signed)
    }

    /// What a refusal means. Of the answer only status, error code and clock pass, each checked.
    fn judged(&self, request: &BlobRequest<'_>, response: &Response<Incoming>) -> StoreError {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let answer = Answer::new(response.status().as_u16(), header("x-ms-error-code"));
        let is_key = !matches!(*self.credential, BlobCredential::Tokens(_));
        judged(answer, header("date").and_then(wire::ahead), is_key, request.action, (&self.container, request.blob))
    }
}

/// What an answer of the Blob service means; `ahead` is its clock's difference to ours, seconds.
/// <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>
fn judged(
    answer: Answer,
    ahead: Option<i64>,
    is_key: bool,
    action: Action,
    (container, blob): (&str, &str),
) -> StoreError {
    let bucket = container.to_owned();
    match (answer.status, answer.code()) {
        (_, "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled") => {
            StoreError::NoBucket { words: &WORDS, bucket, answer }
        }
        (301 | 302 | 307 | 308, _) => {
            let cure = "set the location's config key storageAccountURI to the account's own endpoint".to_owned();
            StoreError::WrongRegion { bucket, cure, answer }
        }
        // Azure has one code for a wrong key and for a wrong time.
        (_, "AuthenticationFailed") if ahead.is_some_and(|ahead| ahead.abs() >= CLOCK_TOLERANCE) => {
            StoreError::Skewed { answer, ahead }
        }
        (
            _,
            "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "NoAuthenticationInformation"
            | "KeyBasedAuthenticationNotPermitted"
            | "AccountIsDisabled",
        ) => StoreError::NotAccepted { cure: credential_cure(answer.code(), is_key), answer },
        (507, _) => StoreError::Full(answer),
        (408 | 429 | 500..=599, _) | (_, "ServerBusy" | "OperationTimedOut" | "InternalError" | "Md5Mismatch")
            if answer.status != 501 =>
        {
            StoreError::Unavailable(answer)
        }
        // Another process discarded the blocks, or a week passed: the upload is begun anew.
        (_, "InvalidBlockList" | "InvalidBlobOrBlock") if action == Action::Put => StoreError::Unavailable(answer),
        (401 | 403, _) => {
            StoreError::Denied { permission: permission(action, answer.code()), bucket, key: blob.to_owned(), answer }
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
        for (status, code, ahead, reason, transient) in [
            (403, "AuthorizationPermissionMismatch", 0, Reason::UploadDenied, false),
            (403, "AuthorizationFailure", 0, Reason::UploadDenied, false),
            (403, "", 0, Reason::UploadDenied, false),
            (403, "AuthenticationFailed", 0, Reason::CredentialInvalid, false),
            (403, "AuthenticationFailed", -1200, Reason::CredentialInvalid, true),
            (403, "KeyBasedAuthenticationNotPermitted", 0, Reason::CredentialInvalid, false),
            (404, "ContainerNotFound", 0, Reason::LocationInvalid, false),
            (307, "", 0, Reason::LocationInvalid, false),
            (503, "ServerBusy", 0, Reason::StoreUnreachable, true),
            (500, "OperationTimedOut", 0, Reason::StoreUnreachable, true),
            (400, "Md5Mismatch", 0, Reason::StoreUnreachable, true),
            (400, "InvalidBlockList", 0, Reason::StoreUnreachable, true),
            (507, "", 0, Reason::StoreUnreachable, true),
            (501, "NotImplemented", 0, Reason::UploadDenied, false),
            (409, "BlobImmutableDueToPolicy", 0, Reason::UploadDenied, false),
            (404, "BlobNotFound", 0, Reason::UploadDenied, false),
        ] {
            let got = judged(Answer::new(status, Some(code)), Some(ahead), true, Action::Put, ("bkt", "k"));
            assert_eq!((got.reason(), got.is_transient()), (reason, transient), "{status} {code:?}: {got}");
        }
        let firewall = judged(Answer::new(403, Some("AuthorizationFailure")), None, true, Action::Put, ("bkt", "k"));
        assert_eq!(
            firewall.to_string(),
            "the store refused the request (does the storage account's firewall allow the operator's network?) on bkt/k: \
             HTTP 403 AuthorizationFailure"
        );
    }
}
