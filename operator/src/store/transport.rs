//! HTTP to a store and to its provider's other services: with the location's certificates, in bounded time, without
//! redirects. `connect` opens the connections; each provider makes and signs its own requests.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use jiff::{SignedDuration, Timestamp};
use tower_service::Service;

use super::{
    Answer, StoreError,
    connect::{EndpointAccess, Idle, Tcp, host_and_port},
    wire::{HANDSHAKE, WireError, ahead, handshake_error, io_kind, wire_error},
};
use crate::{probe::ProbeStep, proxy::ProxyError, tls};

/// How long a connection stays in the pool: less than `IDLE`, so that none is used just as it is given up.
const POOLED: Duration = Duration::from_secs(20);
/// Bytes of an answer that is read whole, into memory.
pub(super) const MOST_ANSWER: usize = 1 << 20;
/// The store's clock is not known.
const UNKNOWN: i64 = i64::MIN;

/// What a request carries.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// How a store is reached.
#[derive(Clone)]
pub(super) struct HttpTransport {
    client: Client<Connector, RequestBody>,
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

    fn note(&self, response: &Response<Incoming>) {
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(seconds) = date.and_then(ahead) {
            self.0.store(seconds, Ordering::Relaxed);
        }
    }
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

    /// Now, by the store's clock as far as it is known.
    pub(super) fn store_time(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        now.checked_add(SignedDuration::from_secs(self.skew.seconds()))
            .map_err(|_| StoreError::Skewed { answer: Answer::default(), ahead: None })
    }

    pub(super) fn skew(&self) -> Skew {
        self.skew.clone()
    }

    /// Sends a request. The answer may have any status; the caller bounds how much of its body it reads.
    pub(super) async fn send(&self, mut request: Request<RequestBody>) -> Result<Response<Incoming>, WireError> {
        let proxy = self.reach.proxy(request.uri()).await?;
        // Through a tunnel the proxy sees no request; without one it gets each request, and may answer it itself.
        let proxy = proxy.filter(|_| request.uri().scheme_str() == Some("http"));
        if let Some(authorization) = proxy.as_ref().and_then(|proxy| proxy.authorization.clone()) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let (host, port) = host_and_port(request.uri());
        let response = self.client.request(request).await.map_err(|error| refused(&error, host.clone()))?;
        if let Some(proxy) = proxy
            && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            let (proxy, host) = (proxy.place(), format!("{host}:{port}"));
            return Err(WireError::Proxy(ProxyError::Refused { proxy, host, status: response.status().as_u16() }));
        }
        self.skew.note(&response);
        Ok(response)
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// Our own words for what hyper met.
fn refused(error: &(dyn std::error::Error + 'static), host: String) -> WireError {
    wire_error(error).unwrap_or_else(|| WireError::Other { at: ProbeStep::Answer, host, kind: io_kind(error) })
}

impl From<WireError> for StoreError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::NotAllowed(_) => Self::NotAllowed(error.to_string()),
            error => Self::Unreachable { at: error.step(), why: error.to_string() },
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::EndpointPolicy;
    use http_body_util::{BodyExt as _, Empty};
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
        let body = Empty::new().map_err(Into::into).boxed_unsync();
        let answer = wire.send(Request::get(uri).body(body).expect("a request")).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 307);
        assert!(answering.await.expect("no panic").starts_with(b"GET /b/k HTTP/1.1\r\n"));
        let asked = tokio::time::timeout(Duration::from_millis(200), elsewhere.accept()).await;
        assert!(asked.is_err(), "nobody went there");
    }
}
