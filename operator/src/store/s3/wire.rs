//! The HTTP connections to a store: only to addresses that a store may have, with the location's certificates, ended
//! when nothing moves. No redirects, no environment. Requests and their signatures are the SDK's business.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
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
use http::{Response, Uri, header};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::CertificateError as Bad;
use tokio::{net::TcpStream, time::Sleep};
use tower_service::Service;

use crate::{
    location::{EndpointPolicy, Step},
    tls,
};

/// For a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);
/// For TCP and TLS together.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(15);
/// A connection on which nothing moved for so long, in either direction, is given up. A slow store is not an idle one.
const IDLE: Duration = Duration::from_mins(1);
/// Less than `IDLE`, so that a connection is not taken out of the pool just as it is given up.
const POOLED: Duration = Duration::from_secs(20);
/// The store's clock is not known.
const UNKNOWN: i64 = i64::MIN;

/// Why there is no connection, or no longer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum WireError {
    /// The address is one that no store may have.
    #[error("address {0} is not allowed for endpoints")]
    NotAllowed(IpAddr),
    /// The name has no address.
    #[error("DNS resolution failed: {0}")]
    Dns(String),
    /// Nobody listens.
    #[error("connection refused: {0}")]
    Refused(String),
    /// No answer to the connection attempt.
    #[error("connection timed out: {0}")]
    TimedOut(String),
    /// TLS could not be agreed on.
    #[error("TLS with {host} failed: {why}")]
    Tls {
        /// With whom.
        host: String,
        /// rustls' words; they hold no byte of the store's but names in its certificate.
        why: String,
    },
    /// Nothing moved.
    #[error("nothing moved on the connection for {} s", IDLE.as_secs())]
    Stalled,
    /// Anything else.
    #[error("connection failed: {host}: {kind}")]
    Other {
        /// How far it went.
        at: Step,
        /// With whom.
        host: String,
        /// The kind.
        kind: io::ErrorKind,
    },
}

impl WireError {
    /// The step that failed.
    pub(super) const fn step(&self) -> Step {
        match self {
            Self::Dns(_) => Step::Dns,
            Self::NotAllowed(_) | Self::Refused(_) | Self::TimedOut(_) => Step::Connection,
            Self::Tls { .. } => Step::Tls,
            Self::Stalled => Step::Answer,
            Self::Other { at, .. } => *at,
        }
    }
}

/// How a store is reached.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client<Connector, SdkBody>,
    skew: Skew,
}

/// By how much the store's clock is ahead of ours, as its last answer said.
#[derive(Clone, Debug)]
pub(super) struct Skew(Arc<AtomicI64>);

impl Skew {
    /// In seconds; none before the first answer. Less than a minute is taken for the way the answer took.
    pub(super) fn seconds(&self) -> i64 {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => 0,
            seconds if seconds.abs() < 60 => 0,
            seconds => seconds,
        }
    }

    /// The same to the second; `None` before the first answer.
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

impl Wire {
    /// Connections by these rules. `ca_pem` is trusted besides the system's certificates.
    pub(super) fn new(ca_pem: Option<&str>, skip_verify: bool, policy: EndpointPolicy) -> Result<Self, rustls::Error> {
        let listed = tls::certificates(ca_pem.unwrap_or_default().as_bytes())
            .ok_or_else(|| rustls::Error::General("caCert cannot be read".to_owned()))?;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client(listed, skip_verify)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Tcp { policy });
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOLED)
            .pool_timer(TokioTimer::new())
            .build(Connector(https));
        Ok(Self { client, skew: Skew(Arc::new(AtomicI64::new(UNKNOWN))) })
    }

    pub(super) fn skew(&self) -> Skew {
        self.skew.clone()
    }

    pub(super) fn shared(self) -> SharedHttpClient {
        SharedHttpClient::new(self)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let host = request.uri().host().unwrap_or_default().to_owned();
            let response = this.client.request(request).await.map_err(|error| refused(&error, host))?;
            this.skew.note(&response);
            response
                .map(SdkBody::from_body_1_x)
                .try_into()
                .map_err(|error: aws_smithy_runtime_api::http::HttpError| ConnectorError::other(error.into(), None))
        })
    }
}

/// Our own words for what hyper met. All but a forbidden address is worth another attempt of the SDK's.
fn refused(error: &(dyn std::error::Error + 'static), host: String) -> ConnectorError {
    match wire_error(error) {
        Some(found @ WireError::NotAllowed(_)) => ConnectorError::user(found.into()),
        Some(found @ (WireError::TimedOut(_) | WireError::Stalled)) => ConnectorError::timeout(found.into()),
        Some(found @ WireError::Tls { .. }) => ConnectorError::other(found.into(), None),
        Some(found) => ConnectorError::io(found.into()),
        None => ConnectorError::io(WireError::Other { at: Step::Answer, host, kind: io_kind(error) }.into()),
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
    WireError::Other { at: Step::Tls, host, kind: io_kind(error) }
}

/// The reasons that people meet, in words; of the others the kind only.
fn tls_reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "certificate signed by unknown authority; set caCert",
            // An authority of that name, but another key: caCert is of before its renewal.
            Bad::BadSignature => "certificate signed by another authority of the same name as caCert's; renew caCert",
            Bad::Expired | Bad::ExpiredContext { .. } => "certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "certificate is not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "certificate is for another host name",
            Bad::Revoked => "certificate was revoked",
            _ => "certificate cannot be used",
        }
        .to_owned(),
        rustls::Error::InvalidMessage(_) => "no TLS is spoken there; is it an http port?".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("the store sent alert {alert:?}"),
        _ => "the handshake failed".to_owned(),
    }
}

/// TCP to addresses that a store may have.
#[derive(Clone, Debug)]
struct Tcp {
    policy: EndpointPolicy,
}

impl Service<Uri> for Tcp {
    type Response = Idle;
    type Error = WireError;
    type Future = Connecting<Idle>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (host, port) = host_and_port(&uri);
        Box::pin(connect(host, port, self.policy))
    }
}

pub(super) fn host_and_port(uri: &Uri) -> (String, u16) {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    (host, uri.port_u16().unwrap_or(default))
}

/// Connects to an address that was judged itself: what a name means may change from one question to the next.
async fn connect(host: String, port: u16, policy: EndpointPolicy) -> Result<Idle, WireError> {
    let addresses = addresses(&host, port).await?;
    dial(&host, port, &addresses, policy).await.map(Idle::new)
}

/// The addresses of a host; at least one.
pub(super) async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, WireError> {
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => match tokio::time::timeout(CONNECT, tokio::net::lookup_host((host, port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        },
    };
    if found.is_empty() { Err(WireError::Dns(host.to_owned())) } else { Ok(found) }
}

/// A connection to the first of these addresses that a store may have and that takes it.
pub(super) async fn dial(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    policy: EndpointPolicy,
) -> Result<TcpStream, WireError> {
    let place = format!("{host}:{port}");
    let Some(first) = addresses.first() else {
        return Err(WireError::Dns(host.to_owned()));
    };
    let allowed: Vec<SocketAddr> = addresses.iter().copied().filter(|address| policy.allows(address.ip())).collect();
    let mut last = WireError::NotAllowed(first.ip());
    for address in allowed {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it small requests wait for acknowledgements; a socket that refuses the option still works.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = WireError::Refused(place.clone());
            }
            Ok(Err(error)) => {
                last = WireError::Other { at: Step::Connection, host: place.clone(), kind: error.kind() };
            }
            Err(_) => last = WireError::TimedOut(place.clone()),
        }
    }
    Err(last)
}

/// A connection that fails when nothing has moved on it for `IDLE`.
struct Idle {
    stream: TokioIo<TcpStream>,
    until: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(stream: TcpStream) -> Self {
        Self { stream: TokioIo::new(stream), until: Box::pin(tokio::time::sleep(IDLE)) }
    }

    /// Passes a poll's outcome on; what moved puts the end off, what did not is watched.
    fn watched<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.until.as_mut().reset(tokio::time::Instant::now() + IDLE);
            return polled;
        }
        self.until.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, WireError::Stalled)))
    }
}

impl Connection for Idle {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Idle {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watched(cx, polled)
    }
}

impl Write for Idle {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watched(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watched(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn a_name_is_judged_by_what_it_resolves_to() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let strict = connect("localhost".to_owned(), port, EndpointPolicy::default()).await;
            assert!(matches!(strict.err(), Some(WireError::NotAllowed(address)) if address.is_loopback()));
            let lab = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
            assert!(connect("127.0.0.1".to_owned(), port, lab).await.is_ok());
        });
    }

    #[test]
    fn unreachable_has_a_reason() {
        runtime().block_on(async {
            let lab = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
            let port = {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                listener.local_addr().expect("an address").port()
            };
            let error = connect("127.0.0.1".to_owned(), port, lab).await.err().expect("nobody listens");
            assert_eq!(error.to_string(), format!("connection refused: 127.0.0.1:{port}"));
            let error = connect("no-such-host.invalid".to_owned(), 80, lab).await.err().expect("no such host");
            assert_eq!(error.to_string(), "DNS resolution failed: no-such-host.invalid");
        });
    }
}
