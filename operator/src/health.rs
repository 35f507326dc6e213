//! The operator's health over HTTP, for the kubelet's probes: `/livez` fails when the controller's loop is stuck,
//! `/readyz` when the operator is stopping. Neither asks the API server, so an API server that is away restarts nothing.
//! `/metrics` serves the metrics.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Stream, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time};
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};

/// The media type of the probes' answers.
const PLAIN: &str = "text/plain; charset=utf-8";
/// How often a loop that is not stuck beats.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// A loop that has not beaten for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_mins(1);
/// Connections that are open at the same time; others wait.
const CONNECTIONS: usize = 64;
/// How long a client may take to send its request: idle connections must not keep the kubelet's probes out, which wait for
/// five seconds.
const REQUEST: Duration = Duration::from_millis(500);
/// How long a connection may stay open.
const CONNECTION: Duration = Duration::from_secs(5);
/// Pause after a connection that could not be accepted, such as one beyond the limit of open files.
const AFTER_A_REFUSAL: Duration = Duration::from_secs(1);

/// When a loop was last seen at work.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Mutex<Instant>>);

impl Default for Heartbeat {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Heartbeat {
    /// A stream that yields nothing. It beats each time the loop polls it, which is at least every five seconds unless
    /// the loop is stuck.
    pub fn beats<T>(self) -> impl Stream<Item = T> + Unpin {
        let mut ticks = time::interval(BEAT_EVERY);
        stream::poll_fn(move |context| {
            while ticks.poll_tick(context).is_ready() {}
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            Poll::Pending
        })
    }

    fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// What the probes and `/metrics` report.
#[derive(Clone, Debug)]
pub struct Health {
    /// The beat of the controller's loop.
    pub heartbeat: Heartbeat,
    /// Cancelled when the operator begins to stop.
    pub shutdown: CancellationToken,
    /// What is counted.
    pub metrics: Metrics,
}

impl Health {
    /// Status and text for a path.
    fn of(&self, path: &str) -> (StatusCode, String) {
        let stopping = self.shutdown.is_cancelled();
        let age = self.heartbeat.age();
        match path {
            // The loop ends first, and the runs after it: a stop is no reason to be killed.
            "/livez" if age > STUCK_AFTER && !stopping => {
                let text = format!("the controller's loop has been stuck for {} s\n", age.as_secs());
                (StatusCode::SERVICE_UNAVAILABLE, text)
            }
            "/readyz" if stopping => (StatusCode::SERVICE_UNAVAILABLE, "the operator is stopping\n".to_owned()),
            "/livez" | "/readyz" => (StatusCode::OK, "ok\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "only /livez, /readyz and /metrics exist here\n".to_owned()),
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let (status, text, media_type) = match request.uri().path() {
            _ if !is_read => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed here\n".to_owned(), PLAIN),
            "/metrics" => (StatusCode::OK, self.metrics.text(), metrics::MEDIA_TYPE),
            path => {
                let (status, text) = self.of(path);
                (status, text, PLAIN)
            }
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
        response
    }
}

/// Listens on the address. `[::]` stands for all addresses, also on a node without IPv6.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Answers until it is dropped. While the operator stops it still answers: that it is not ready.
pub async fn serve(listener: TcpListener, health: Health) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                tracing::warn!(%error, "Cannot accept a connection for a probe");
                time::sleep(AFTER_A_REFUSAL).await;
                continue;
            }
        };
        let health = health.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let answer = health.answer(&request);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(REQUEST);
            let answered = http.serve_connection(TokioIo::new(connection), answer);
            // A client that goes away, or sends nothing, learns nothing.
            let _ = time::timeout(CONNECTION, answered).await;
            drop(slot);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn health(age: Duration) -> Health {
        let last = Instant::now().checked_sub(age).expect("the machine runs for longer");
        Health {
            heartbeat: Heartbeat(Arc::new(Mutex::new(last))),
            shutdown: CancellationToken::new(),
            metrics: Metrics::default(),
        }
    }

    #[test]
    fn a_loop_that_is_stuck_is_not_alive_but_ready() {
        assert_eq!(health(STUCK_AFTER / 2).of("/livez").0, StatusCode::OK);
        let stuck = health(STUCK_AFTER + Duration::from_secs(13));
        let expected = "the controller's loop has been stuck for 73 s\n".to_owned();
        assert_eq!(stuck.of("/livez"), (StatusCode::SERVICE_UNAVAILABLE, expected));
        assert_eq!(stuck.of("/readyz").0, StatusCode::OK);
    }

    #[test]
    fn an_operator_that_stops_is_alive_but_not_ready() {
        let stopping = health(STUCK_AFTER * 2);
        stopping.shutdown.cancel();
        assert_eq!(stopping.of("/livez").0, StatusCode::OK);
        assert_eq!(stopping.of("/readyz").0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_loop_beats_when_it_polls() {
        let idle = health(STUCK_AFTER * 2);
        let mut beats = idle.heartbeat.clone().beats::<()>();
        assert_eq!(idle.of("/livez").0, StatusCode::SERVICE_UNAVAILABLE, "nothing was polled yet");
        assert!(futures::poll!(beats.next()).is_pending());
        assert_eq!(idle.of("/livez").0, StatusCode::OK);
    }

    #[tokio::test]
    async fn issue_33_idle_connections_keep_no_probe_out() {
        let listener = listen("[::]:0".parse().expect("an address")).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = tokio::spawn(serve(listener, health(Duration::ZERO)));
        let connect =
            || async { tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connected") };
        let mut idle = Vec::new();
        for _ in 0..200 {
            idle.push(connect().await);
        }
        let mut probe = connect().await;
        let asked = async {
            probe.write_all(b"GET /livez HTTP/1.1\r\nhost: it\r\n\r\n").await.expect("sent");
            let mut answer = String::new();
            probe.read_to_string(&mut answer).await.expect("an answer that ends");
            answer
        };
        let answer = time::timeout(Duration::from_secs(5), asked).await.expect("within the kubelet's patience");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        serving.abort();
    }

    async fn asked(request: &str) -> String {
        let listener = listen("[::]:0".parse().expect("an address")).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = tokio::spawn(serve(listener, health(Duration::ZERO)));
        let mut connection = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connected");
        connection.write_all(format!("{request} HTTP/1.1\r\nhost: it\r\n\r\n").as_bytes()).await.expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("an answer that ends");
        serving.abort();
        answer
    }

    #[tokio::test]
    async fn it_answers_over_http() {
        let answer = asked("GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        let answer = asked("GET /debug").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        let answer = asked("GET /metrics").await;
        assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
        let answer = asked("POST /livez").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
}
