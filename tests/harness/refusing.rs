//! An endpoint that answers each request with the same refusal, for what an emulator of a cloud never answers.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;

/// A refusal.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Headers besides the time.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// By how many seconds its clock is ahead of ours.
    pub ahead: i64,
}

impl Refusal {
    /// As Azure refuses.
    pub fn of_azure(status: u16, code: &str, ahead: i64) -> Self {
        Self { status, headers: vec![("x-ms-error-code", code.to_owned())], body: String::new(), ahead }
    }

    /// As Google refuses.
    pub fn of_google(status: u16, reason: &str, ahead: i64) -> Self {
        let error = serde_json::json!({"code": status, "message": "said by the test", "errors": [{"reason": reason}]});
        Self { status, headers: Vec::new(), body: serde_json::json!({"error": error}).to_string(), ahead }
    }

    /// Starts the endpoint, `http://127.0.0.1:<port>`. It ends with the test.
    pub async fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let refusal = self.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let refusal = refusal.clone();
                        async move {
                            request.into_body().collect().await?;
                            Ok::<_, hyper::Error>(refusal.answer())
                        }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        endpoint
    }

    fn answer(self) -> Response<Full<Bytes>> {
        let time = Timestamp::now() + SignedDuration::from_secs(self.ahead);
        let mut answer = Response::builder()
            .status(self.status)
            .header("date", time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        for (name, value) in self.headers {
            answer = answer.header(name, value);
        }
        answer.body(Full::from(self.body)).expect("an answer")
    }
}
