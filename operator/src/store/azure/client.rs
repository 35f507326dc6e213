//! Requests to a blob container: made, signed, sent again after a passing failure, and their refusals interpreted.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{
    sign::{AccountKey, VERSION, in_path, in_query},
    words::{WORDS, credential_cure, permission},
};
use crate::{
    location::Endpoint,
    store::{
        Action, Answer, StoreError, Upload,
        transport::{HttpTransport, MOST_ANSWER, RequestBody},
        verify::local,
        wire,
    },
};

/// How often a request is sent.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; each further one is four times as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a file that are in memory at once, for each request.
const PIECE: usize = 64 << 10;
/// Azure accepts a request's time this many seconds around its own.
const CLOCK_TOLERANCE: i64 = 15 * 60;

/// A container of an account.
#[derive(Clone)]
pub(super) struct BlobClient {
    pub(super) transport: HttpTransport,
    pub(super) key: AccountKey,
    pub(super) endpoint: Endpoint,
    pub(super) container: String,
}

/// A request before it is signed.
pub(super) struct BlobRequest<'a> {
    pub(super) action: Action,
    pub(super) method: Method,
    /// The blob; empty for the container itself.
    pub(super) blob: &'a str,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) content: Content<'a>,
}

/// What a request sends.
pub(super) enum Content<'a> {
    /// Bytes in memory.
    Memory(Bytes),
    /// A range of a file.
    File { upload: &'a Upload<'a>, from: u64, length: u64 },
}

impl<'a> BlobRequest<'a> {
    pub(super) fn new(action: Action, method: Method, blob: &'a str) -> Self {
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Self { action, method, blob, query, headers, content: Content::Memory(Bytes::new()) }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// A header. Characters that headers cannot carry become `_`.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        let plain: String =
            value.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '_' }).collect();
        if let Ok(value) = HeaderValue::from_str(&plain) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn content(mut self, content: Content<'a>) -> Self {
        self.content = content;
        self
    }
}

impl Content<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    async fn body(&self) -> Result<RequestBody, StoreError> {
        match self {
            Self::Memory(bytes) => Ok(Full::new(bytes.clone()).map_err(Into::into).boxed_unsync()),
            Self::File { upload, from, length } => {
                let mut file = tokio::fs::File::open(upload.file).await.map_err(|error| local(upload, error))?;
                file.seek(std::io::SeekFrom::Start(*from)).await.map_err(|error| local(upload, error))?;
                let pieces = ReaderStream::with_capacity(file.take(*length), PIECE);
                Ok(StreamBody::new(pieces.map_ok(Frame::data).map_err(Into::into)).boxed_unsync())
            }
        }
    }
}

impl BlobClient {
    /// The URL of a blob, or of the container.
    pub(super) fn url(&self, blob: &str) -> String {
        let slash = if blob.is_empty() { "" } else { "/" };
        format!("{}/{}{slash}{}", self.endpoint.as_str(), in_path(&self.container), in_path(blob))
    }

    /// Now, by the store's clock as far as it is known.
    pub(super) fn store_time(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        now.checked_add(SignedDuration::from_secs(self.transport.skew().seconds()))
            .map_err(|_| StoreError::Skewed { answer: Answer::default(), ahead: None })
    }

    /// Sends the request until it is answered with success; after the last attempt the error says why it was not.
    pub(super) async fn send(&self, request: &BlobRequest<'_>) -> Result<Response<Incoming>, StoreError> {
        let mut attempt = 1;
        loop {
            match self.send_once(request).await {
                // The next attempt of a skewed request is signed by the store's clock.
                Err(error) if attempt < ATTEMPTS && error.is_transient() && !matches!(error, StoreError::Full(_)) => {
                    tokio::time::sleep(PAUSE * 4_u32.pow(attempt - 1)).await;
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn send_once(&self, request: &BlobRequest<'_>) -> Result<Response<Incoming>, StoreError> {
        let sent = request.content.body().await?;
        let response = self.transport.send(self.signed(request, sent)?).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.judged(request, &response)) }
    }

    fn signed(&self, request: &BlobRequest<'_>, body: RequestBody) -> Result<Request<RequestBody>, StoreError> {
        let not_built = || StoreError::Rejected(Answer::new(0, Some("RequestNotBuilt")));
        let mut url = self.url(request.blob);
        for (index, (name, value)) in request.query.iter().enumerate() {
            for part in [if index == 0 { "?" } else { "&" }, name, "=", &in_query(value)] {
                url.push_str(part);
            }
        }
        let uri: Uri = url.parse().map_err(|_| not_built())?;
        let time = self.store_time(Timestamp::now())?.to_zoned(TimeZone::UTC);
        let mut headers = request.headers.clone();
        let mut set = |name: HeaderName, value: &str| -> Result<(), StoreError> {
            headers.insert(name, HeaderValue::from_str(value).map_err(|_| not_built())?);
            Ok(())
        };
        set(HeaderName::from_static("x-ms-date"), &time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())?;
        set(HeaderName::from_static("x-ms-version"), VERSION)?;
        if request.method == Method::PUT {
            set(header::CONTENT_LENGTH, &request.content.length().to_string())?;
        }
        let authorization = self.key.authorization(&request.method, uri.path(), &request.query, &headers);
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
        judged(answer, header("date").and_then(wire::ahead), request.action, &self.container, request.blob)
    }
}

/// What an answer of the Blob service means; `ahead` is its clock's difference to ours, seconds.
/// <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>
fn judged(answer: Answer, ahead: Option<i64>, action: Action, container: &str, blob: &str) -> StoreError {
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
        ) => StoreError::NotAccepted { cure: credential_cure(answer.code()), answer },
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

/// A 404 is taken for an absent blob: an absent container is another error.
pub(super) fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::Rejected(answer) if answer.status == 404)
}

/// The whole of a short answer, as text.
pub(super) async fn text(response: Response<Incoming>) -> Result<String, StoreError> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
    let body = body.map_err(|_| StoreError::Unavailable(Answer::new(status, None)))?.to_bytes();
    String::from_utf8(body.into()).map_err(|_| StoreError::Unavailable(Answer::new(status, None)))
}

/// The content of an answer, as it arrives; an error ends it.
pub(super) fn pieces(response: Response<Incoming>) -> stream::BoxStream<'static, Result<Bytes, StoreError>> {
    let body = response.into_body().into_data_stream();
    body.map_err(|_| StoreError::silent("the response was interrupted")).boxed()
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
            let got = judged(Answer::new(status, Some(code)), Some(ahead), Action::Put, "bkt", "k");
            assert_eq!((got.reason(), got.is_transient()), (reason, transient), "{status} {code:?}: {got}");
        }
        let firewall = judged(Answer::new(403, Some("AuthorizationFailure")), None, Action::Put, "bkt", "k");
        assert_eq!(
            firewall.to_string(),
            "the store refused to write (does the storage account's firewall allow the operator's network?) on bkt/k: \
             HTTP 403 AuthorizationFailure"
        );
    }
}
