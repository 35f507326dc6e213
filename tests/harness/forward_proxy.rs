//! A forward proxy, as an admin puts one before the internet: CONNECT and absolute URLs, with an optional password. It
//! resolves names that no DNS server knows, and passes bytes on unchanged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Empty, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// A running proxy; dropping it ends it.
pub struct ForwardProxy {
    address: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    /// Host to address.
    hosts: BTreeMap<String, String>,
    authorization: Option<String>,
    seen: Mutex<Vec<String>>,
}

impl ForwardProxy {
    /// Leads these hosts to these addresses (`127.0.0.1:1234`) and refuses others; `password` is `user:password`.
    pub async fn knowing(hosts: &[(&str, &str)], password: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(State {
            hosts: hosts.iter().map(|(host, address)| ((*host).to_owned(), (*address).to_owned())).collect(),
            authorization: password.map(|password| format!("Basic {}", STANDARD.encode(password))),
            seen: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The requests, served or refused: `CONNECT host:port`, `PUT http://host/path`.
    pub fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            let client = Client::builder(TokioExecutor::new()).build_http();
            let service = service_fn(|request| handle(request, &state, &client));
            // An error here is a connection that the client gave up.
            let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = served.with_upgrades().await;
        });
    }
}

async fn handle(
    mut request: Request<Incoming>,
    state: &State,
    client: &Client<HttpConnector, Incoming>,
) -> Result<Answer, hyper_util::client::legacy::Error> {
    let asked = request.uri().to_string();
    let asked = asked.split('?').next().unwrap_or_default();
    state.seen.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{} {asked}", request.method()));
    let authorization = request.headers_mut().remove(header::PROXY_AUTHORIZATION);
    if state.authorization.as_ref().is_some_and(|wanted| authorization.is_none_or(|got| got != wanted.as_str())) {
        return Ok(empty(407));
    }
    let Some(address) = request.uri().host().and_then(|host| state.hosts.get(host)).cloned() else {
        return Ok(empty(502));
    };
    if request.method() == Method::CONNECT {
        let Ok(mut onward) = TcpStream::connect(&address).await else { return Ok(empty(502)) };
        tokio::spawn(async move {
            if let Ok(upgraded) = hyper::upgrade::on(request).await {
                // An end of either side is the end of the tunnel.
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut onward).await;
            }
        });
        return Ok(empty(200));
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = format!("http://{address}{path}").parse().expect("a URI");
    Ok(client.request(request).await?.map(http_body_util::BodyExt::boxed))
}

fn empty(status: u16) -> Answer {
    let body = Empty::new().map_err(|never| match never {}).boxed();
    Response::builder().status(status).body(body).expect("an answer")
}
