//! The wire of a scripted node: TLS, HTTP/1.1, `/containerLogs/<namespace>/<pod>/<container>` and
//! `/portForward/<namespace>/<pod>`. A script's faults happen here: slow, stalled, cut and reset bodies.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _, unfold};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::script::{Content, Faults, LogScript};
use super::source::{self, Pieces, Wanted};
use super::{Key, Seen, State, lock, port_forward};

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Time for written bytes to leave the machine before the connection is reset: a reset overtakes them.
const BEFORE_RESET: Duration = Duration::from_millis(50);

pub(super) async fn node(listener: TcpListener, name: Arc<str>, state: Arc<State>, tls: TlsAcceptor) {
    loop {
        // The API server may give up on a connection before it is accepted.
        let Ok((tcp, _)) = listener.accept().await else {
            continue;
        };
        let (name, state, tls) = (name.clone(), state.clone(), tls.clone());
        tokio::spawn(async move {
            let reset = Arc::new(AtomicBool::new(false));
            let wire = Wire { tcp, reset: reset.clone() };
            let Ok(stream) = tls.accept(wire).await else {
                return;
            };
            let service = service_fn(move |request| {
                let answer = answer(request, &name, &state, &reset);
                async move { Ok::<_, Infallible>(answer) }
            });
            // An error here is a fault that a script asked for, or a client that went away.
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.with_upgrades().await;
        });
    }
}

fn answer(request: Request<Incoming>, node: &Arc<str>, state: &Arc<State>, reset: &Arc<AtomicBool>) -> Response<Body> {
    let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    if let ["portForward", namespace, pod] = path[..] {
        let query = query(request.uri().query().unwrap_or_default());
        let port = query.get("port").and_then(|port| port.parse().ok()).unwrap_or_default();
        let to = lock(&state.forwards).get(&(namespace.to_owned(), pod.to_owned(), port)).copied();
        return port_forward::answer(request, port, to);
    }
    let ["containerLogs", namespace, pod, container] = path[..] else {
        return plain(StatusCode::NOT_FOUND, Bytes::from_static(b"404 page not found\n"));
    };
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, Bytes::from_static(b"only GET\n"));
    }
    let query = query(request.uri().query().unwrap_or_default());
    let previous = query.get("previous").is_some_and(|value| value == "true");
    let (namespace, pod, container) = (namespace.to_owned(), pod.to_owned(), container.to_owned());
    let now = Timestamp::now();
    let wanted = Wanted::from_query(&query, now);
    state.note(
        node,
        Seen { at: now, namespace: namespace.clone(), pod: pod.clone(), container: container.clone(), query },
    );
    let serving = Serving { node: node.clone(), state: state.clone() };
    let script = state.scripted(&Key { namespace, pod: pod.clone(), container: container.clone(), previous });
    match script {
        None if previous => plain(
            StatusCode::BAD_REQUEST,
            format!("previous terminated container \"{container}\" in pod \"{pod}\" not found").into(),
        ),
        None => plain(StatusCode::OK, Bytes::new()),
        Some(script) => scripted(&script, wanted, reset, serving),
    }
}

fn scripted(script: &LogScript, wanted: Wanted, reset: &Arc<AtomicBool>, serving: Serving) -> Response<Body> {
    let status = match &script.content {
        Content::Body(status, _) => *status,
        _ => StatusCode::OK,
    };
    if let Content::Growing(growing) = &script.content
        && wanted.follow
    {
        // Dropped with the body, which ends the count.
        let frames = growing.follow(wanted).map(move |piece| {
            let _serving = &serving;
            Ok(Frame::data(piece))
        });
        return Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    }
    let pieces = match source::open(&script.content, wanted) {
        Ok(pieces) => pieces,
        Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into()),
    };
    let body = Delivery {
        pieces,
        rest: Bytes::new(),
        sent: 0,
        began: Instant::now(),
        faults: script.faults_now(),
        reset: reset.clone(),
        _serving: serving,
    };
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(body.into_frames())));
    *response.status_mut() = status;
    response
}

pub(super) fn plain(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn query(text: &str) -> std::collections::BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    // Kubernetes escapes only the colons of a time here.
    pairs.map(|(key, value)| (key.to_owned(), value.replace("%3A", ":").replace("%2B", "+"))).collect()
}

/// Counts a log as being served until it is dropped.
struct Serving {
    node: Arc<str>,
    state: Arc<State>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.state.note_end(&self.node);
    }
}

/// A body being sent, with its faults.
struct Delivery {
    pieces: Pieces,
    rest: Bytes,
    sent: u64,
    began: Instant,
    faults: Faults,
    reset: Arc<AtomicBool>,
    _serving: Serving,
}

impl Delivery {
    fn into_frames(self) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
        unfold(Some(self), |delivery| async move {
            let mut delivery = delivery?;
            match delivery.next().await {
                Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), Some(delivery))),
                Ok(None) => None,
                Err(fault) => Some((Err(fault), None)),
            }
        })
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Faults { bytes_per_second, stall_after, cut_after, reset_after } = self.faults;
        if stall_after == Some(self.sent) {
            std::future::pending::<()>().await;
        }
        if reset_after == Some(self.sent) || cut_after == Some(self.sent) {
            tokio::time::sleep(BEFORE_RESET).await;
            self.reset.store(reset_after == Some(self.sent), Ordering::Release);
            return Err(io::Error::other("as scripted"));
        }
        if self.rest.is_empty() {
            match self.pieces.next() {
                Some(piece) => self.rest = piece,
                None => return Ok(None),
            }
        }
        let mut most = self.rest.len() as u64;
        for border in [stall_after, cut_after, reset_after].into_iter().flatten() {
            if border > self.sent {
                most = most.min(border - self.sent);
            }
        }
        if let Some(speed) = bytes_per_second {
            most = most.min((speed / 20).max(1));
            let due = self.sent.saturating_mul(1_000_000) / speed;
            tokio::time::sleep_until(self.began + Duration::from_micros(due)).await;
        }
        self.sent += most;
        Ok(Some(self.rest.split_to(usize::try_from(most).expect("a piece fits memory"))))
    }
}

/// A connection that ends with a reset instead of a normal close, if `reset` is set.
struct Wire {
    tcp: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire) {
            // Fails if the connection is already gone, which is the goal.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.tcp).poll_shutdown(cx)
    }
}
