//! A scripted Google Cloud Storage: resumable sessions as Google documents them, with answers that a test disturbs.
//! fake-gcs-server looks neither at ranges nor at checksums, so it cannot show a session that goes on.
//! <https://docs.cloud.google.com/storage/docs/performing-resumable-uploads>

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use debugbundle_operator::{
    location::{EndpointPolicy, Location},
    store::{
        Provider, Resolved,
        gcs::{GcsAccess, GcsConfig},
    },
};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A location on Google Cloud Storage, with the key of Google's test account.
pub fn gcs(bucket: &str, config: &Value) -> Resolved {
    let location = Location::parse(&json!({
        "metadata": {"name": "offsite"},
        "spec": {
            "provider": "velero.io/gcp",
            "objectStorage": {"bucket": bucket, "prefix": "velero"},
            "config": config,
        },
    }))
    .expect("a location");
    let config = GcsConfig::parse(&location).expect("a config");
    let key_file = harness::gcs::key_file("http://127.0.0.1:1/nobody-asks-here");
    let access = GcsAccess::of_file(config, &key_file, "a test").expect("a key file");
    let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
    Resolved { location, provider: Provider::Gcs(access), ca_pem: None, policy }
}

/// How the answer to a part is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFault {
    /// Not at all.
    None,
    /// The part is kept, and the answer is lost.
    LoseReply,
    /// Nothing is kept, and the answer is 503.
    Busy,
    /// Half of the part is kept.
    KeepHalf,
    /// A byte of the part is changed on the way.
    Damage,
    /// The session is forgotten: this status.
    Forget(u16),
}

#[derive(Default)]
struct State {
    /// The object, with its generation and its description.
    object: Option<(Vec<u8>, u64, Value)>,
    sessions: BTreeMap<String, Session>,
    faults: VecDeque<SessionFault>,
    log: Vec<String>,
    queries: Vec<String>,
    authorizations: Vec<String>,
}

struct Session {
    described: Value,
    before: u64,
    received: Vec<u8>,
}

/// The running store; it ends with the test.
pub struct GcsSessions {
    /// `http://127.0.0.1:<port>`
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl GcsSessions {
    /// Disturbs the answers to the first parts in this order.
    pub async fn start(faults: &[SessionFault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State { faults: faults.iter().copied().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, &state));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { endpoint, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked of sessions, in order, such as `0-5`, `*`, `begin`, `cancel`.
    pub fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// The query of each request that began a session.
    pub fn queries(&self) -> Vec<String> {
        self.state().queries.clone()
    }

    /// The distinct values of the header `Authorization`.
    pub fn authorizations(&self) -> Vec<String> {
        self.state().authorizations.clone()
    }

    /// The content of the object.
    pub fn content(&self) -> Option<Vec<u8>> {
        self.state().object.as_ref().map(|(content, ..)| content.clone())
    }

    /// Another process writes the object.
    pub fn write(&self, content: &[u8]) {
        let mut state = self.state();
        let generation = state.object.as_ref().map_or(0, |(_, generation, _)| *generation) + 7;
        state.object = Some((content.to_vec(), generation, json!({})));
    }

    /// Number of open sessions.
    pub fn open(&self) -> usize {
        self.state().sessions.len()
    }
}

type Answer = Response<Full<Bytes>>;

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("broken by the test")]
struct Broken;

fn status(status: u16) -> Answer {
    Response::builder().status(status).body(Full::default()).expect("an answer")
}

async fn answer(request: Request<Incoming>, state: &Mutex<State>) -> Result<Answer, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let query = head.uri.query().unwrap_or_default().to_owned();
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    if let Some(authorization) = head.headers.get(header::AUTHORIZATION) {
        state.authorizations.push(authorization.to_str().expect("text").to_owned());
    }
    let is_upload = head.uri.path() == "/upload/storage/v1/b/bkt/o";
    Ok(match head.method {
        Method::GET => match &state.object {
            Some((content, generation, described)) => {
                let object = json!({"name": "x", "size": content.len().to_string(), "generation": generation.to_string(),
                    "metadata": described["metadata"].as_object().cloned().unwrap_or_default()});
                Response::new(Full::from(object.to_string()))
            }
            None => status(404),
        },
        Method::POST if is_upload => {
            let id = format!("session-{}", state.queries.len());
            let before = parameter("ifGenerationMatch").parse().expect("a generation");
            let described = serde_json::from_slice(&body).expect("JSON");
            state.queries.push(query);
            state.log.push("begin".to_owned());
            let received = Vec::new();
            state.sessions.insert(id.clone(), Session { described, before, received });
            // Only the id may count: requests go where the location says.
            let address = format!("http://169.254.169.254/elsewhere?upload_id={id}");
            Response::builder().header(header::LOCATION, address).body(Full::default()).expect("an answer")
        }
        Method::PUT if is_upload => {
            let range = head.headers[header::CONTENT_RANGE].to_str().expect("text").to_owned();
            return part(&mut state, &parameter("upload_id"), &range, &body);
        }
        Method::DELETE if is_upload => {
            state.log.push("cancel".to_owned());
            status(if state.sessions.remove(&parameter("upload_id")).is_some() { 499 } else { 404 })
        }
        _ => status(400),
    })
}

fn part(state: &mut State, id: &str, range: &str, body: &Bytes) -> Result<Answer, Broken> {
    let (range, total) = range.strip_prefix("bytes ").and_then(|range| range.split_once('/')).expect("a range");
    let total: usize = total.parse().expect("a size");
    state.log.push(range.to_owned());
    let fault = if range == "*" { SessionFault::None } else { state.faults.pop_front().unwrap_or(SessionFault::None) };
    let Some(session) = state.sessions.get_mut(id) else { return Ok(status(404)) };
    let mut body = body.to_vec();
    match fault {
        SessionFault::Busy => return Ok(status(503)),
        SessionFault::Forget(code) => {
            state.sessions.remove(id);
            return Ok(status(code));
        }
        SessionFault::KeepHalf => body.truncate(body.len() / 2),
        SessionFault::Damage => body[0] ^= 1,
        SessionFault::None | SessionFault::LoseReply => {}
    }
    if let Some((from, _)) = range.split_once('-') {
        assert_eq!(from.parse(), Ok(session.received.len()), "each part follows the last");
        session.received.extend(body);
    }
    if session.received.len() < total {
        let mut answer = Response::builder().status(308);
        if let Some(last) = session.received.len().checked_sub(1) {
            answer = answer.header(header::RANGE, format!("bytes=0-{last}"));
        }
        return if fault == SessionFault::LoseReply {
            Err(Broken)
        } else {
            Ok(answer.body(Full::default()).expect("an answer"))
        };
    }
    let ended = state.sessions.remove(id).expect("it was there");
    let generation = state.object.as_ref().map_or(0, |(_, generation, _)| *generation);
    if generation != ended.before {
        return Ok(status(412));
    }
    if ended.described["md5Hash"] != STANDARD.encode(Md5::digest(&ended.received)) {
        return Ok(status(400));
    }
    state.object = Some((ended.received, generation + 1, ended.described));
    if fault == SessionFault::LoseReply { Err(Broken) } else { Ok(status(200)) }
}
