//! A small HTTP server on the loopback for tests: it answers by script and records the requests. It speaks HTTP/1.1
//! over TCP.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub range: Option<String>,
    pub if_match: Option<String>,
    pub body: String,
}

/// A running server; it ends when dropped.
pub(crate) struct Stand {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stand {
    /// Serves the responses of `answer`.
    pub(crate) async fn serve(answer: impl Fn(&Asked) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::serve_by(None, answer).await
    }

    /// The same over TLS for 127.0.0.1, with a self-signed certificate; returns its PEM.
    pub(crate) async fn serve_tls(answer: impl Fn(&Asked) -> Response<Body> + Send + Sync + 'static) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        (Self::serve_by(Some(TlsAcceptor::from(Arc::new(tls))), answer).await, made.cert.pem())
    }

    async fn serve_by(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Asked) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                let (answer, seen, tls) = (Arc::clone(&answer), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                        async move {
                            let asked = Asked::of(request).await;
                            seen.lock().unwrap().push(asked.clone());
                            Ok::<_, Infallible>(answer(&asked))
                        }
                    });
                    // An error here is a connection that the test itself cut.
                    let http = http1::Builder::new();
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(socket), service).await),
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                drop(http.serve_connection(TokioIo::new(socket), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// A client that treats this server as an API server.
    pub(crate) fn client(&self) -> Client {
        let mut config = Config::new(format!("http://{}", self.address).parse().unwrap());
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }
}

impl Asked {
    async fn of(request: Request<Incoming>) -> Self {
        let header =
            |name| request.headers().get(name).and_then(|v: &http::HeaderValue| v.to_str().ok()).map(str::to_owned);
        let (range, if_match) = (header(http::header::RANGE), header(http::header::IF_MATCH));
        let method = request.method().to_string();
        let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Self { method, target, range, if_match, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// First and last byte of the requested range.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let range = self.range.as_deref().unwrap().strip_prefix("bytes=").unwrap();
        let (first, last) = range.split_once('-').unwrap();
        (first.parse().unwrap(), last.parse().unwrap())
    }
}

/// A client for tests that send no request.
pub(crate) fn client_of_nothing() -> Client {
    Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn streamed(pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Body {
    use futures::TryStreamExt as _;
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}

/// Sends these bytes and cuts the connection.
pub(crate) fn cut_after(bytes: Vec<u8>) -> Body {
    let cut = async {
        // The server flushes its data while the body is pending.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    };
    streamed(stream::iter([Ok(Bytes::from(bytes))]).chain(stream::once(cut)))
}

pub(crate) fn json(status: u16, value: &serde_json::Value) -> Response<Body> {
    Response::builder().status(status).header("content-type", "application/json").body(full(value.to_string())).unwrap()
}

/// Answers range requests for this object, as a store does.
pub(crate) fn part_of(object: &[u8], asked: &Asked) -> Response<Body> {
    let (first, last) = asked.bytes();
    Response::builder()
        .status(206)
        .header("etag", "\"one\"")
        .header("content-range", format!("bytes {first}-{last}/{}", object.len()))
        .body(full(object[first..=last].to_vec()))
        .unwrap()
}
