//! A headless Chromium that is driven by its own protocol (https://chromedevtools.github.io/devtools-protocol/): it opens a
//! page at a width and in a colour scheme, runs a script in it, and takes pictures.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// An answer takes at most this long.
const LIMIT: Duration = Duration::from_mins(1);

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// In CSS pixels.
    pub width: u32,
    /// The colour scheme that the reader prefers.
    pub is_dark: bool,
    /// As it is printed.
    pub on_paper: bool,
}

/// One page of a browser; the browser ends with this value.
pub struct Chromium {
    _process: Child,
    socket: WebSocketStream<TcpStream>,
    session: String,
    last: u64,
}

impl Chromium {
    /// Starts a browser whose profile lies in this folder.
    pub async fn start(profile: &Path) -> Self {
        let quiet =
            ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
        let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"];
        let mut process = Command::new("chromium")
            .args(quiet)
            .args(flags)
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium starts");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.expect("text") {
                if let Some((_, address)) = line.split_once("DevTools listening on ") {
                    return address.trim().to_owned();
                }
            }
            panic!("Chromium ended before it listened");
        };
        let address = tokio::time::timeout(LIMIT, address).await.expect("Chromium listens in time");
        // Chromium ends when nobody reads what it prints.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let host = address.trim_start_matches("ws://").split('/').next().expect("a host and port").to_owned();
        let stream = TcpStream::connect(host).await.expect("a connection");
        let (socket, _) = tokio_tungstenite::client_async(address, stream).await.expect("a WebSocket");
        let mut chromium = Self { _process: process, socket, session: String::new(), last: 0 };
        let targets = chromium.call("Target.getTargets", json!({})).await;
        let page = targets["targetInfos"].as_array().expect("targets").iter().find(|target| target["type"] == "page");
        let page = page.expect("a page")["targetId"].clone();
        let attached = chromium.call("Target.attachToTarget", json!({"targetId": page, "flatten": true})).await;
        attached["sessionId"].as_str().expect("a session").clone_into(&mut chromium.session);
        chromium.call("Page.enable", json!({})).await;
        chromium
    }

    /// Opens a file, until it is loaded.
    pub async fn open(&mut self, page: &Path) {
        self.call("Page.navigate", json!({"url": format!("file://{}", page.display())})).await;
        let loaded = async { while self.next().await["method"] != "Page.loadEventFired" {} };
        tokio::time::timeout(LIMIT, loaded).await.expect("the page is loaded in time");
    }

    /// Shows the open page like this.
    pub async fn show(&mut self, View { width, is_dark, on_paper }: View) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let media = json!({"media": if on_paper { "print" } else { "screen" }, "features": features});
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// What an expression of JavaScript returns. The page's Content-Security-Policy does not apply to it.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let said = self.call("Runtime.evaluate", asked).await;
        assert!(said.get("exceptionDetails").is_none(), "{said}");
        said["result"]["value"].clone()
    }

    /// Writes a picture of the whole page (PNG).
    pub async fn picture(&mut self, file: &Path) {
        let said = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true, "format": "png"})).await;
        let bytes = STANDARD.decode(said["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(file, bytes).expect("a file");
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = self.socket.next().await.expect("Chromium runs").expect("a message");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut asked = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_empty() {
            asked["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(asked.to_string())).await.expect("Chromium runs");
        let answer = async {
            loop {
                let mut said = self.next().await;
                if said["id"] == self.last {
                    assert!(said.get("error").is_none(), "{method}: {said}");
                    return said["result"].take();
                }
            }
        };
        tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| panic!("{method} was not answered in time"))
    }
}
