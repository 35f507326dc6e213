//! An HTTP proxy before the stand's store: it records each request and disturbs it as the test demands. `proxy` causes
//! faults of TCP alone (latency, blackholes).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::tls::{Authority, Identity};

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path, still encoded.
    pub path: String,
    /// Its query, or empty.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// The size of its body.
    pub bytes: usize,
}

impl Seen {
    /// A header's value, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether it has this method, and `part` in its path or query.
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && format!("{}?{}", self.path, self.query).contains(part)
    }
}

/// How a request is disturbed.
#[derive(Clone)]
pub enum S3Fault {
    /// Skips the store; answers this status and this S3 error code.
    Refuse(u16, &'static str),
    /// Skips the store; answers this status, this S3 error code and this message.
    RefuseWith(u16, String, String),
    /// Skips the store; answers this status and this body.
    Answer(u16, String),
    /// The store executes the request, and its response gets this header.
    Header(&'static str, &'static str),
    /// Skips the store; refuses the request's time by a clock that is this many seconds ahead of ours.
    ClockSkew(i64),
    /// The request waits until the test gives a permit; then it goes to the store.
    Hold(Arc<Semaphore>),
    /// Skips the store; resets the connection in the middle of the request's body.
    Reset,
    /// The store executes the request, and its response is lost.
    LoseReply,
    /// The store executes the request, and its response is replaced by this status and this S3 error code.
    RefuseAfter(u16, &'static str),
    /// The store executes the request; then this function runs, then the response is sent.
    RunAfter(Arc<dyn Fn() + Send + Sync>),
}

struct Rule {
    left: usize,
    applies: Box<dyn Fn(&Seen) -> bool + Send + Sync>,
    fault: S3Fault,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    rules: Mutex<Vec<Rule>>,
    down: AtomicBool,
}

/// A running proxy; dropping it ends it.
pub struct S3Proxy {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// The certificate of a proxy that speaks TLS, and its authority.
pub struct Certificate {
    /// PEM of the authority.
    pub authority: String,
    identity: Identity,
}

impl Certificate {
    /// For these hosts, signed by an authority of its own.
    pub fn of(hosts: &[&str]) -> Self {
        Self::make(hosts, false)
    }

    /// An expired certificate.
    pub fn expired(hosts: &[&str]) -> Self {
        Self::make(hosts, true)
    }

    /// A self-signed certificate.
    pub fn self_signed(hosts: &[&str]) -> Self {
        let identity = Authority::self_signed(hosts).expect("a certificate can be made");
        Self { authority: identity.cert.clone(), identity }
    }

    fn make(hosts: &[&str], expired: bool) -> Self {
        let authority = Authority::new().expect("keys can be made");
        let identity = authority.host(hosts, expired).expect("a certificate can be made");
        Self { authority: authority.pem().to_owned(), identity }
    }

    fn acceptor(&self) -> TlsAcceptor {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        let chain = CertificateDer::pem_slice_iter(self.identity.cert.as_bytes()).map(|cert| cert.expect("PEM"));
        let key = PrivateKeyDer::from_pem_slice(self.identity.key.as_bytes()).expect("PEM");
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain.collect(), key);
        TlsAcceptor::from(Arc::new(config.expect("key and certificate fit")))
    }
}

impl S3Proxy {
    /// Before the store at `endpoint` (`http://…`), on plain http.
    pub async fn before(endpoint: &str) -> Self {
        Self::start(endpoint, None).await
    }

    /// Before the store at `endpoint` (`http://…`), on https.
    pub async fn with_tls(endpoint: &str, certificate: &Certificate) -> Self {
        Self::start(endpoint, Some(certificate.acceptor())).await
    }

    async fn start(endpoint: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(accept(listener, tls, endpoint.to_owned(), state.clone()));
        Self { address, scheme, state, task }
    }

    /// `http://127.0.0.1:<port>`, or https.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Treats the next `times` requests that match `applies` this way; of several rules the first counts.
    pub fn next(&self, times: usize, applies: impl Fn(&Seen) -> bool + Send + Sync + 'static, fault: S3Fault) {
        lock(&self.state.rules).push(Rule { left: times, applies: Box::new(applies), fault });
    }

    /// How often rules can still apply, in total: 0 means that every fault was met.
    pub fn left(&self) -> usize {
        lock(&self.state.rules).iter().map(|rule| rule.left).sum()
    }

    /// `true`: no request gets a response from now on; `false`: all do again.
    pub fn down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    /// The requests, in order.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }
}

impl Drop for S3Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Long enough for a client to have sent its request and to wait for the answer.
const ANSWER_AWAITED: std::time::Duration = std::time::Duration::from_millis(50);

/// Reads until the head of a request ends. The first record of TLS is enough, because no head can be seen in it.
async fn head_is_read(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
        let is_http = seen.first().is_some_and(u8::is_ascii_uppercase);
        if !is_http || seen.windows(4).any(|end| end == b"\r\n\r\n") {
            return;
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, endpoint: String, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        if state.down.load(Ordering::SeqCst) {
            connections.spawn(async move {
                // A reset while the client waits for the answer: at any other moment the client reports another step, and
                // status would report each in turn.
                head_is_read(&mut stream).await;
                tokio::time::sleep(ANSWER_AWAITED).await;
                let _ = stream.set_zero_linger();
            });
            continue;
        }
        let (tls, endpoint, state) = (tls.clone(), endpoint.clone(), state.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, &endpoint, &state).await,
                // A client that does not trust us disconnects, which the test expects.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &endpoint, &state).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, endpoint: &str, state: &State) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let service = service_fn(|request| handle(request, endpoint, state, &client));
    // An error here is a connection that a rule broke or the client gave up.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("broken by the test")]
struct Broken;

async fn handle(
    request: Request<Incoming>,
    endpoint: &str,
    state: &State,
    client: &Client<HttpConnector, Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, Broken> {
    if state.down.load(Ordering::SeqCst) {
        return Err(Broken);
    }
    let (head, mut body) = request.into_parts();
    let mut seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.clone(),
        bytes: 0,
    };
    let fault = {
        let mut rules = lock(&state.rules);
        rules.iter_mut().find(|rule| rule.left > 0 && (rule.applies)(&seen)).map(|rule| {
            rule.left -= 1;
            rule.fault.clone()
        })
    };
    if matches!(fault, Some(S3Fault::Reset)) {
        // The rest of the body is never read, so the client gets a reset while it sends.
        let _ = body.frame().await;
        lock(&state.seen).push(seen);
        return Err(Broken);
    }
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    seen.bytes = body.len();
    lock(&state.seen).push(seen);
    if let Some(S3Fault::Refuse(status, code)) = fault {
        return Ok(refusal(status, code, "said by the test"));
    }
    if let Some(S3Fault::RefuseWith(status, code, words)) = &fault {
        return Ok(refusal(*status, code, words));
    }
    if let Some(S3Fault::Answer(status, body)) = &fault {
        let answer = Response::builder().status(*status).body(Full::new(Bytes::from(body.clone())));
        return Ok(answer.expect("an answer"));
    }
    if let Some(S3Fault::ClockSkew(ahead)) = fault {
        let mut answer = refusal(403, "RequestTimeTooSkewed", "said by the test");
        let then = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ahead);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then).expect("a date");
        answer.headers_mut().insert(http::header::DATE, date.parse().expect("a header"));
        return Ok(answer);
    }
    if let Some(S3Fault::Hold(until)) = &fault {
        until.acquire().await.expect("it is never closed").forget();
    }
    let mut onward = Request::builder()
        .method(head.method)
        .uri(format!("{endpoint}{}", head.uri.path_and_query().map_or("/", |path| path.as_str())));
    // The host is signed, so it stays as the client sent it.
    *onward.headers_mut().expect("method and URI are good") = head.headers;
    let answer = client.request(onward.body(Full::new(body)).expect("a request")).await.map_err(|_| Broken)?;
    let (mut head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    match fault {
        Some(S3Fault::LoseReply) => return Err(Broken),
        Some(S3Fault::RefuseAfter(status, code)) => return Ok(refusal(status, code, "said by the test")),
        Some(S3Fault::RunAfter(what)) => what(),
        Some(S3Fault::Header(name, value)) => {
            head.headers.insert(name, http::HeaderValue::from_static(value));
        }
        _ => {}
    }
    Ok(Response::from_parts(head, Full::new(body)))
}

fn refusal(status: u16, code: &str, words: &str) -> Response<Full<Bytes>> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{words}</Message></Error>"
    );
    let answer = Response::builder().status(status).header("content-type", "application/xml").body(body.into());
    answer.expect("an answer")
}

/// A server that answers every request with the same JSON or XML and records the requests: an identity endpoint.
pub struct Answering {
    /// `http://127.0.0.1:<port>`
    pub endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Answering {
    /// Answers every request with this body.
    pub async fn with(body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (body, record) = (body.clone(), record.clone());
                connections.spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let (body, record) = (body.clone(), record.clone());
                        async move {
                            lock(&record).push(Seen {
                                method: request.method().to_string(),
                                path: request.uri().path().to_owned(),
                                query: request.uri().query().unwrap_or_default().to_owned(),
                                headers: request.headers().clone(),
                                bytes: 0,
                            });
                            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { endpoint, seen, task }
    }

    /// The requests.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}
