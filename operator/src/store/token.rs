//! Access tokens of the clouds' identity services: asked for when a request needs one, kept until they are about to end.

use std::path::Path;

use bytes::Bytes;
use debugbundle_redact::Secret;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, sync::Mutex};
use zeroize::Zeroizing;

use super::{
    Answer, StoreError, StoreFuture,
    connect::EndpointAccess,
    rest::{attempted, in_query, text},
    transport::HttpTransport,
};
use crate::{location::Endpoint, probe::ProbeStep};

/// A token is renewed this long before it ends.
const RENEWED: SignedDuration = SignedDuration::from_mins(5);

/// A token, and when it ends.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) value: Secret,
    pub(super) ends: Timestamp,
}

/// Who gives tokens.
pub(super) trait GivesTokens: Send + Sync {
    /// Asks for a new token.
    fn ask(&self) -> StoreFuture<'_, Token>;
}

/// The token of an identity.
pub(super) struct Tokens {
    from: Box<dyn GivesTokens>,
    last: Mutex<Option<Token>>,
}

impl Tokens {
    pub(super) fn new(from: impl GivesTokens + 'static) -> Self {
        Self { from: Box::new(from), last: Mutex::new(None) }
    }

    /// The same token until it is about to end: the redaction then knows the one that requests carry.
    pub(super) async fn give(&self) -> Result<Token, StoreError> {
        let mut last = self.last.lock().await;
        let lasts = |kept: &&Token| kept.ends.duration_since(Timestamp::now()) > RENEWED;
        if let Some(kept) = last.as_ref().filter(lasts) {
            return Ok(kept.clone());
        }
        let given = self.from.ask().await?;
        *last = Some(given.clone());
        Ok(given)
    }

    /// The token that requests carry, with the rule under which the redaction counts it; nothing while none is given.
    pub(super) async fn known_values(&self) -> Vec<(&'static str, Secret)> {
        self.give().await.map(|token| ("known-session-token", token.value)).into_iter().collect()
    }
}

/// An identity service, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdentityService {
    /// Its name.
    pub(super) name: &'static str,
    /// What cures a refusal.
    pub(super) cure: &'static str,
}

impl IdentityService {
    /// Sends a request, and again after a passing failure; the answer is JSON. Of an answer only status and error code
    /// reach a message.
    pub(super) async fn ask(
        self,
        transport: &HttpTransport,
        request: impl Fn() -> Result<IdentityRequest, StoreError>,
    ) -> Result<Value, StoreError> {
        attempted(|| async {
            let request = request()?.built().ok_or_else(|| self.refused(&Answer::new(0, Some("RequestNotBuilt"))))?;
            let response = transport.send(request).await.map_err(|error| match StoreError::from(error) {
                StoreError::Unreachable { why, .. } => self.silent(&why),
                error => error,
            })?;
            let status = response.status();
            let body = text(response).await.map_err(|_| self.silent("the answer was interrupted"))?;
            let json: Value = serde_json::from_str(&body).unwrap_or_default();
            let answer = Answer::new(status.as_u16(), error_code(&json).as_deref());
            match status.as_u16() {
                200 => Ok(json),
                408 | 429 | 500.. => Err(self.silent(&answer.to_string())),
                _ => Err(self.refused(&answer)),
            }
        })
        .await
    }

    fn silent(self, why: &str) -> StoreError {
        StoreError::Unreachable { at: ProbeStep::Credential, why: format!("{} did not answer: {why}", self.name) }
    }

    fn refused(self, answer: &Answer) -> StoreError {
        StoreError::NoCredential(format!("{} refused: {answer}; {}", self.name, self.cure))
    }

    /// The text at this pointer of an answer.
    pub(super) fn text_in(self, json: &Value, pointer: &str) -> Result<Secret, StoreError> {
        let found = json.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        found.map(Secret::new).ok_or_else(|| self.silent("the answer is not the expected one"))
    }

    /// The token in an answer of OAuth 2.0 (RFC 6749, 5.1). Azure's instance metadata has its numbers as texts.
    pub(super) fn token_in(self, json: &Value) -> Result<Token, StoreError> {
        let seconds = json.get("expires_in").and_then(|value| {
            let text = || value.as_str().and_then(|text| text.parse().ok());
            value.as_i64().or_else(text)
        });
        let life = SignedDuration::from_secs(seconds.unwrap_or_default().clamp(0, 86_400));
        let ends = Timestamp::now().checked_add(life).map_err(|_| self.silent("the token ends at no time"))?;
        Ok(Token { value: self.text_in(json, "/access_token")?, ends })
    }
}

/// The error code in a refusal: Microsoft's number, which people search for, else OAuth's word, else Google's status.
fn error_code(json: &Value) -> Option<String> {
    if let Some(number) = json.pointer("/error_codes/0").and_then(Value::as_i64) {
        return Some(format!("AADSTS{number}"));
    }
    let mut texts = ["/error", "/error/code", "/error/status"].into_iter().filter_map(|at| json.pointer(at)?.as_str());
    texts.next_back().map(ToOwned::to_owned)
}

/// A request to an identity service.
pub(super) struct IdentityRequest {
    pub(super) method: Method,
    /// With its query.
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, Secret)>,
    /// Content type and body.
    pub(super) body: Option<(&'static str, Secret)>,
}

impl IdentityRequest {
    pub(super) fn get(url: String) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: None }
    }

    pub(super) fn post(url: String, content_type: &'static str, body: Secret) -> Self {
        Self { method: Method::POST, url, headers: Vec::new(), body: Some((content_type, body)) }
    }

    /// A form, as OAuth 2.0 wants it.
    pub(super) fn form(url: String, fields: &[(&str, &str)]) -> Self {
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", in_query(value))).collect();
        Self::post(url, "application/x-www-form-urlencoded", Secret::new(body.join("&")))
    }

    /// With a header whose value is secret or must be there.
    pub(super) fn header(mut self, name: &'static str, value: Secret) -> Self {
        self.headers.push((name, value));
        self
    }

    fn built(self) -> Option<Request<super::transport::RequestBody>> {
        let mut request = Request::builder().method(self.method).uri(self.url);
        for (name, value) in &self.headers {
            let mut value = http::HeaderValue::from_str(value.expose()).ok()?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        let body = match &self.body {
            Some((content_type, body)) => {
                request = request.header(header::CONTENT_TYPE, *content_type);
                Bytes::copy_from_slice(body.expose().as_bytes())
            }
            None => Bytes::new(),
        };
        if request.method_ref() != Some(&Method::GET) {
            request = request.header(header::CONTENT_LENGTH, body.len());
        }
        request.body(Full::new(body).map_err(Into::into).boxed_unsync()).ok()
    }
}

/// Connections to identity services, by the system's authorities.
pub(super) fn identity_transport(reach: EndpointAccess) -> Result<HttpTransport, StoreError> {
    HttpTransport::new(None, false, reach).map_err(|_| StoreError::Unreachable {
        at: ProbeStep::Credential,
        why: "TLS to the identity service cannot be set up".to_owned(),
    })
}

/// Bytes of a projected token that are read.
const MOST_PROJECTED: u64 = 64 << 10;

/// The token that Kubernetes projects into the operator's pod, as it is now: it is renewed there.
pub(super) async fn projected(file: &Path) -> Result<Secret, StoreError> {
    let read = async {
        let mut text = Zeroizing::new(String::new());
        tokio::fs::File::open(file).await?.take(MOST_PROJECTED).read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(Secret::new(text.trim()))
    };
    read.await.map_err(|error| {
        StoreError::NoCredential(format!("the pod's own token, {}, cannot be read: {}", file.display(), error.kind()))
    })
}

/// A path below an endpoint of an identity service.
pub(super) fn below(endpoint: &Endpoint, path: &str) -> String {
    format!("{}{path}", endpoint.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SERVICE: IdentityService = IdentityService { name: "the service", cure: "do something" };

    #[test]
    fn a_token_is_read_with_its_end() {
        for (life, seconds) in [(json!(3600), 3600), (json!("600"), 600), (json!(null), 0), (json!(9_999_999), 86_400)]
        {
            let got = SERVICE.token_in(&json!({"access_token": "hunter2", "expires_in": life})).expect("a token");
            let left = got.ends.duration_since(Timestamp::now()).as_secs();
            assert!((seconds - 5..=seconds).contains(&left), "{life}: {left}");
            assert!(!format!("{got:?}").contains("hunter2"));
        }
        assert!(SERVICE.token_in(&json!({"access_token": ""})).is_err());
    }

    #[test]
    fn sec_n7_of_a_refusal_only_its_code_is_told() {
        for (json, expected) in [
            (
                json!({"error": "invalid_client", "error_codes": [7_000_215], "error_description": "hunter2"}),
                "AADSTS7000215",
            ),
            (json!({"error": "invalid_grant", "error_description": "hunter2"}), "invalid_grant"),
            (json!({"error": {"code": "AuthorizationFailed", "message": "hunter2"}}), "AuthorizationFailed"),
            (json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "hunter2"}}), "PERMISSION_DENIED"),
        ] {
            let code = error_code(&json);
            assert_eq!(code.as_deref(), Some(expected));
            let error = SERVICE.refused(&Answer::new(401, code.as_deref())).to_string();
            assert_eq!(error, format!("no credential: the service refused: HTTP 401 {expected}; do something"));
        }
        assert_eq!(error_code(&json!("hunter2")), None);
    }

    struct Counting(std::sync::atomic::AtomicI64);

    impl GivesTokens for Counting {
        fn ask(&self) -> StoreFuture<'_, Token> {
            use std::sync::atomic::Ordering;
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let ends = Timestamp::now() + SignedDuration::from_mins(if count == 0 { 4 } else { 60 });
            Box::pin(async move { Ok(Token { value: Secret::new(format!("token-{count}")), ends }) })
        }
    }

    #[tokio::test]
    async fn sec_x28_a_token_is_kept_until_it_is_about_to_end_and_known() {
        let tokens = Tokens::new(Counting(0.into()));
        for expected in ["token-0", "token-1", "token-1"] {
            assert_eq!(tokens.give().await.expect("a token").value.expose(), expected);
        }
        let known = tokens.known_values().await;
        let known: Vec<_> = known.iter().map(|(rule, value)| (*rule, value.expose())).collect();
        assert_eq!(known, [("known-session-token", "token-1")]);
    }
}
