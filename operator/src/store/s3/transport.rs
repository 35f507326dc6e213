//! HTTP to a store and to its provider's other services: with the location's certificates, in bounded time, without
//! redirects. `connect` opens the connections; the SDK makes and signs the requests.

use std::{
    fmt,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use aws_sdk_s3::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use http::{Response, StatusCode, Uri, header};
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::CertificateError as Bad;
use tower_service::Service;

use super::connect::{EndpointAccess, IDLE, Idle, Tcp, host_and_port};
use crate::{probe::ProbeStep, proxy::ProxyError, tls};

/// Timeout of TCP and TLS together.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(15);
/// How long a connection stays in the pool: less than `IDLE`, so that none is used just as it is given up.
const POOLED: Duration = Duration::from_secs(20);
/// Bytes of an answer that the SDK reads whole.
const ANSWER: usize = 1 << 20;
/// The store's clock is not known.
const UNKNOWN: i64 = i64::MIN;

/// Why a connection failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WireError {
    /// No store may have this address.
    #[error("address {0} is not allowed for endpoints")]
    NotAllowed(IpAddr),
    /// The name has no address.
    #[error("DNS resolution failed: {0}")]
    Dns(String),
    /// The host has no address here, and the other way to it failed.
    #[error("no connection to {host}, which resolves only inside the cluster: {why}")]
    Detour {
        /// The host.
        host: String,
        /// A sentence.
        why: String,
    },
    /// Nobody listens.
    #[error("connection refused: {0}")]
    Refused(String),
    /// No answer to the connection attempt.
    #[error("connection timed out: {0}")]
    TimedOut(String),
    /// TLS could not be agreed on.
    #[error("TLS with {host} failed: {why}")]
    Tls {
        /// The host.
        host: String,
        /// The reason in our own words, without bytes of the store.
        why: String,
    },
    /// Nothing moved on the connection.
    #[error("no data on the connection for {} s", IDLE.as_secs())]
    Stalled,
    /// The proxy before the store does not let us through.
    #[error("{0}")]
    Proxy(ProxyError),
    /// Anything else.
    #[error("connection failed: {host}: {kind}")]
    Other {
        /// The step that failed.
        at: ProbeStep,
        /// The host.
        host: String,
        /// The kind.
        kind: io::ErrorKind,
    },
}

impl WireError {
    /// The step that failed.
    pub(super) const fn step(&self) -> ProbeStep {
        match self {
            Self::Dns(_) => ProbeStep::Dns,
            Self::NotAllowed(_) | Self::Refused(_) | Self::TimedOut(_) | Self::Proxy(_) | Self::Detour { .. } => {
                ProbeStep::Connection
            }
            Self::Tls { .. } => ProbeStep::Tls,
            Self::Stalled => ProbeStep::Answer,
            Self::Other { at, .. } => *at,
        }
    }
}

/// How a store is reached.
#[derive(Clone)]
pub(super) struct HttpTransport {
    client: Client<Connector, SdkBody>,
    reach: EndpointAccess,
    skew: Skew,
}

/// By how much the store's clock is ahead of ours, according to its last answer.
#[derive(Clone, Debug)]
pub(super) struct Skew(Arc<AtomicI64>);

impl Skew {
    /// In seconds; 0 before the first answer. Less than a minute counts as 0: the answer may have taken that long.
    pub(super) fn seconds(&self) -> i64 {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => 0,
            seconds if seconds.abs() < 60 => 0,
            seconds => seconds,
        }
    }

    /// The exact seconds; `None` before the first answer.
    pub(super) fn exact(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }

    fn note(&self, response: &Response<hyper::body::Incoming>) {
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(seconds) = date.and_then(ahead) {
            self.0.store(seconds, Ordering::Relaxed);
        }
    }
}

/// By how many seconds the clock behind this `Date` header is ahead of ours.
pub(super) fn ahead(date: &str) -> Option<i64> {
    let store = jiff::fmt::rfc2822::parse(date).ok()?;
    let ours = jiff::Timestamp::try_from(SystemTime::now()).ok()?;
    Some(store.timestamp().as_second().saturating_sub(ours.as_second()))
}

impl HttpTransport {
    /// Connections by these rules. `ca_pem` is trusted besides the system's certificates.
    pub(super) fn new(ca_pem: Option<&str>, skip_verify: bool, reach: EndpointAccess) -> Result<Self, rustls::Error> {
        let listed = tls::certificates(ca_pem.unwrap_or_default().as_bytes())
            .ok_or_else(|| rustls::Error::General("caCert cannot be read".to_owned()))?;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client(listed, skip_verify)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Tcp { reach: reach.clone() });
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOLED)
            .pool_timer(TokioTimer::new())
            .build(Connector(https));
        Ok(Self { client, reach, skew: Skew(Arc::new(AtomicI64::new(UNKNOWN))) })
    }

    pub(super) fn skew(&self) -> Skew {
        self.skew.clone()
    }

    pub(super) fn shared(self) -> SharedHttpClient {
        SharedHttpClient::new(self)
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl HttpClient for HttpTransport {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for HttpTransport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let mut request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let proxy = this.reach.proxy(request.uri()).await.map_err(|error| ConnectorError::user(error.into()))?;
            // Through a tunnel the proxy sees no request; without one it gets each request, and may answer it itself.
            let proxy = proxy.filter(|_| request.uri().scheme_str() == Some("http"));
            if let Some(authorization) = proxy.as_ref().and_then(|proxy| proxy.authorization.clone()) {
                request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
            }
            let (host, port) = host_and_port(request.uri());
            let of_object = gets_object(&request);
            let response = this.client.request(request).await.map_err(|error| refused(&error, host.clone()))?;
            if let Some(proxy) = proxy
                && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            {
                let (proxy, host) = (proxy.place(), format!("{host}:{port}"));
                let refused = ProxyError::Refused { proxy, host, status: response.status().as_u16() };
                return Err(ConnectorError::io(WireError::Proxy(refused).into()));
            }
            this.skew.note(&response);
            // Only an object may be long: the SDK reads all other answers whole, into memory.
            let streamed = of_object && response.status().is_success();
            response
                .map(|body| {
                    if streamed {
                        SdkBody::from_body_1_x(body)
                    } else {
                        SdkBody::from_body_1_x(Limited::new(body, ANSWER))
                    }
                })
                .try_into()
                .map_err(|error: aws_smithy_runtime_api::http::HttpError| ConnectorError::other(error.into(), None))
        })
    }
}

/// Whether the request is `GetObject`: the SDK writes that into the query.
fn gets_object<B>(request: &http::Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == http::Method::GET && query.split('&').any(|parameter| parameter == "x-id=GetObject")
}

/// Our own words for what hyper met. The SDK retries all errors except failed TLS and forbidden addresses.
fn refused(error: &(dyn std::error::Error + 'static), host: String) -> ConnectorError {
    match wire_error(error) {
        Some(found @ WireError::NotAllowed(_)) => ConnectorError::user(found.into()),
        Some(found @ (WireError::TimedOut(_) | WireError::Stalled)) => ConnectorError::timeout(found.into()),
        Some(found @ WireError::Tls { .. }) => ConnectorError::other(found.into(), None),
        Some(found) => ConnectorError::io(found.into()),
        None => ConnectorError::io(WireError::Other { at: ProbeStep::Answer, host, kind: io_kind(error) }.into()),
    }
}

/// The `WireError` in a chain of errors; hyper and rustls wrap it in `io::Error`s, which hide it from `source`.
pub(super) fn wire_error(error: &(dyn std::error::Error + 'static)) -> Option<WireError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<WireError>() {
            return Some(found.clone());
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> io::ErrorKind {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return found.kind();
        }
        next = error.source();
    }
    io::ErrorKind::ConnectionAborted
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, WireError>> + Send>>;

/// TCP, and TLS where the URL says https, in bounded time.
#[derive(Clone)]
struct Connector(HttpsConnector<Tcp>);

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Idle>;
    type Error = WireError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (host, _) = host_and_port(&uri);
        let connecting = self.0.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(HANDSHAKE, connecting).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(handshake_error(error.as_ref(), host)),
                Err(_) => Err(WireError::TimedOut(host)),
            }
        })
    }
}

pub(super) fn handshake_error(error: &(dyn std::error::Error + 'static), host: String) -> WireError {
    if let Some(found) = wire_error(error) {
        return found;
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return WireError::Tls { host, why: tls_reason(tls) };
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    WireError::Other { at: ProbeStep::Tls, host, kind: io_kind(error) }
}

/// The common reasons, in words; the others only by their kind.
fn tls_reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "certificate signed by unknown authority; set caCert",
            // The authority has this name, but another key: caCert dates from before its renewal.
            Bad::BadSignature => {
                "certificate signed by another authority with the same name as the one in caCert; renew caCert"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "certificate is not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "certificate is for another host name",
            Bad::Revoked => "certificate was revoked",
            _ => "certificate cannot be used",
        }
        .to_owned(),
        rustls::Error::InvalidMessage(_) => "the port does not answer with TLS; is it an http port?".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("the store sent alert {alert:?}"),
        _ => "the handshake failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::EndpointPolicy;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    #[tokio::test]
    async fn sec_n5_a_redirect_is_an_answer_and_not_followed() {
        crate::install_crypto_provider();
        let (store, elsewhere) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
        let (store, elsewhere) = (store.expect("a port"), elsewhere.expect("a port"));
        let to = elsewhere.local_addr().expect("an address");
        let uri = format!("http://{}/b/k", store.local_addr().expect("an address"));
        let answering = tokio::spawn(async move {
            let (mut stream, _) = store.accept().await.expect("asked");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            let answer =
                format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{to}/b/k\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("answered");
            request.truncate(length);
            request
        });
        let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
        let wire = HttpTransport::new(None, false, EndpointAccess::stores(policy).expect("proxies")).expect("a client");
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri(uri).expect("a URI");
        let answer = wire.call(request).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 307);
        assert!(answering.await.expect("no panic").starts_with(b"GET /b/k HTTP/1.1\r\n"));
        let asked = tokio::time::timeout(Duration::from_millis(200), elsewhere.accept()).await;
        assert!(asked.is_err(), "nobody went there");
    }
}
