//! An HTTP proxy before the stand's API server: it loses replies, and answers watches with the error of an expired
//! resourceVersion. A [`Proxy`](crate::Proxy) in front of it cuts connections.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{CONTENT_TYPE, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stand::Account;

/// How a request is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiFault {
    /// The API server executes the request, and its response is lost.
    LoseReply,
    /// Skips the API server; the request is refused, as without permission.
    Forbidden,
    /// Skips the API server; the watch begins with the error 410, as its resourceVersion is too old.
    Expired,
}

struct Rule {
    left: usize,
    applies: Box<dyn Fn(&str) -> bool + Send + Sync>,
    fault: ApiFault,
}

type Rules = Mutex<Vec<Rule>>;

/// A running proxy; dropping it ends it.
pub struct ApiProxy {
    address: SocketAddr,
    rules: Arc<Rules>,
    task: JoinHandle<()>,
}

impl ApiProxy {
    /// Before the API server, which sees the requests of this account.
    pub async fn of(account: &Account) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let rules = Arc::<Rules>::default();
        let task = tokio::spawn(accept(listener, account.client_without_retries().await, rules.clone()));
        Self { address, rules, task }
    }

    /// `http://127.0.0.1:<port>`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Treats the next `times` requests this way whose method, path and query match; of several rules the first counts.
    pub fn next(&self, times: usize, applies: impl Fn(&str) -> bool + Send + Sync + 'static, fault: ApiFault) {
        lock(&self.rules).push(Rule { left: times, applies: Box::new(applies), fault });
    }

    /// How often rules can still apply, in total: 0 means that each fault has happened.
    pub fn left(&self) -> usize {
        lock(&self.rules).iter().map(|rule| rule.left).sum()
    }

    /// Removes all rules.
    pub fn pass(&self) {
        lock(&self.rules).clear();
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(rules: &Rules) -> MutexGuard<'_, Vec<Rule>> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, client: Client, rules: Arc<Rules>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (client, rules) = (client.clone(), rules.clone());
        connections.spawn(async move {
            let service = service_fn(|request| handle(request, &client, &rules));
            // An error means that a rule broke the connection or that the client closed it.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("broken by the test")]
struct Broken;

async fn handle(request: Request<Incoming>, client: &Client, rules: &Rules) -> Result<Response<Body>, Broken> {
    let line = format!("{} {}", request.method(), request.uri());
    let fault = {
        let mut rules = lock(rules);
        rules.iter_mut().find(|rule| rule.left > 0 && (rule.applies)(&line)).map(|rule| {
            rule.left -= 1;
            rule.fault
        })
    };
    if fault == Some(ApiFault::Forbidden) {
        let mut answer = Response::new(FORBIDDEN.as_bytes().to_vec().into());
        *answer.status_mut() = StatusCode::FORBIDDEN;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Ok(answer);
    }
    if fault == Some(ApiFault::Expired) {
        return Ok(Response::new(EXPIRED.as_bytes().to_vec().into()));
    }
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    head.headers.remove(HOST);
    let mut answer = client.send(Request::from_parts(head, body.to_vec().into())).await.map_err(|_| Broken)?;
    if fault == Some(ApiFault::LoseReply) {
        return Err(Broken);
    }
    answer.headers_mut().remove(TRANSFER_ENCODING);
    Ok(answer)
}

const FORBIDDEN: &str = concat!(
    r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"refused by the test","reason":"Forbidden","code":403}"#
);

/// The one event of a watch that begins too far back.
const EXPIRED: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"#,
    "\n"
);
