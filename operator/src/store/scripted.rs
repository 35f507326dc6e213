//! A scripted HTTP server, for tests of what is asked of identity services.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};

use super::{connect::EndpointAccess, transport::HttpTransport};
use crate::location::EndpointPolicy;

/// The running server.
pub(super) struct Scripted {
    /// `http://127.0.0.1:<port>`
    pub(super) endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Answers each request with this.
    pub(super) async fn start(status: u16, answer: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (record, answer) = (Arc::clone(&asked), answer.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request: Request<Incoming>| async {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let headers: String = head.headers.iter().fold(String::new(), |lines, (name, value)| {
                        lines + &format!("{name}: {}\n", value.to_str().unwrap_or_default())
                    });
                    let body = String::from_utf8_lossy(&body);
                    let text = format!("{} {}\n{headers}\n{body}", head.method, head.uri);
                    record.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                    let answer = Response::builder().status(status).body(Full::<bytes::Bytes>::from(answer.clone()));
                    Ok::<_, hyper::Error>(answer.expect("an answer"))
                });
                let connection = hyper_util::rt::TokioIo::new(stream);
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(connection, service).await;
            }
        });
        Self { endpoint, asked }
    }

    /// The requests: first line, headers, body.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections that may lead to it.
    pub(super) fn transport() -> HttpTransport {
        let policy = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
        HttpTransport::new(None, false, EndpointAccess::direct(policy)).expect("a client")
    }
}
