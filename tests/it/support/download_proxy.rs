//! A proxy before the store that records requests and can cut connections: the `publicUrl` of a location. It forwards
//! bytes unchanged, so that signatures stay valid; it speaks no TLS.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a connection's response is disturbed.
#[derive(Clone, Copy, Debug)]
pub enum Disturbance {
    /// The connection is cut after this many bytes.
    CutAfter(u64),
    /// Nothing comes after this many bytes, and the connection stays open.
    StallAfter(u64),
}

/// A request to the store.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// First and last byte of a range request.
    pub range: Option<(u64, u64)>,
}

#[derive(Default)]
struct Shared {
    requests: Vec<Request>,
    disturbances: VecDeque<Disturbance>,
}

/// A running proxy; dropping it ends it.
pub struct DownloadProxy {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

impl Drop for DownloadProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl DownloadProxy {
    /// A proxy before the store at `endpoint`, `http://host:port`.
    pub async fn to(endpoint: &str) -> Self {
        let target = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Mutex::new(Shared::default()));
        let seen = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (seen, target) = (Arc::clone(&seen), target.clone());
                tokio::spawn(async move {
                    let disturbance = seen.lock().unwrap().disturbances.pop_front();
                    // It fails when one side closes the connection, as some tests want it.
                    let _ = forward(client, &target, disturbance, &seen).await;
                });
            }
        });
        Self { url, shared, task }
    }

    /// The disturbances of the next connections, in order; later connections pass undisturbed.
    pub fn next(&self, disturbances: impl IntoIterator<Item = Disturbance>) {
        self.shared.lock().unwrap().disturbances.extend(disturbances);
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.lock().unwrap().requests)
    }
}

async fn forward(
    client: TcpStream,
    target: &str,
    disturbance: Option<Disturbance>,
    seen: &Mutex<Shared>,
) -> std::io::Result<()> {
    let store = TcpStream::connect(target).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_store, mut to_store) = store.into_split();
    let there = async {
        let (mut head, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
        loop {
            let n = from_client.read(&mut buffer).await?;
            if n == 0 {
                return std::io::Result::Ok(());
            }
            head.extend_from_slice(&buffer[..n]);
            while let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                let request: Vec<u8> = head.drain(..end + 4).collect();
                seen.lock().unwrap().requests.push(Request::of(&String::from_utf8_lossy(&request)));
            }
            to_store.write_all(&buffer[..n]).await?;
        }
    };
    let back = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = match disturbance {
            None => u64::MAX,
            Some(Disturbance::CutAfter(bytes) | Disturbance::StallAfter(bytes)) => bytes,
        };
        loop {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            if room == 0 {
                if matches!(disturbance, Some(Disturbance::StallAfter(_))) {
                    std::future::pending::<()>().await;
                }
                return Ok(());
            }
            let n = from_store.read(&mut buffer[..room]).await?;
            if n == 0 {
                return std::io::Result::Ok(());
            }
            to_client.write_all(&buffer[..n]).await?;
            left -= n as u64;
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}

impl Request {
    fn of(head: &str) -> Self {
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let method = first.next().unwrap_or_default().to_owned();
        let target = first.next().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let range = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let span = value.trim().strip_prefix("bytes=").filter(|_| name.eq_ignore_ascii_case("range"))?;
            let (first, last) = span.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        Self { method, path, range }
    }
}
