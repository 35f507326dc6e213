//! A proxy before the object store that disturbs connections on demand, as a network does to an upload. Of HTTP it
//! knows only where a request begins; the server behind it is the real one.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::TestCluster;

/// What the proxy does to the bytes; [`ProxyFault::default`] passes them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyFault {
    /// Connections are accepted and stay open, and no byte passes either way.
    pub hold: bool,
    /// Connections are reset: all open ones and each new one.
    pub refuse: bool,
    /// Each piece from the client is delayed by this much.
    pub delay: Duration,
    /// Limit of bytes per second from the client on each connection.
    pub bytes_per_second: Option<u64>,
    /// A connection is reset after this many bytes from its client.
    pub reset_after: Option<u64>,
}

/// A running proxy; dropping it closes its port and all its connections.
pub struct Proxy {
    port: u16,
    mood: watch::Sender<ProxyFault>,
    requests: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

/// State shared by the connections.
#[derive(Clone)]
struct Shared {
    upstream: String,
    mood: watch::Receiver<ProxyFault>,
    requests: Arc<Mutex<Vec<String>>>,
}

const PIECE: usize = 16 << 10;

impl Proxy {
    /// A proxy before this address (`http://127.0.0.1:1234`).
    pub fn before(endpoint: &str) -> Self {
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        listener.set_nonblocking(true).expect("a socket can be made so");
        let port = listener.local_addr().expect("it is bound").port();
        let (mood, seen) = watch::channel(ProxyFault::default());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let stop = CancellationToken::new();
        let shared = Shared { upstream, mood: seen, requests: requests.clone() };
        let (until, stand) = (stop.clone(), TestCluster::runtime());
        stand.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let _ = until.run_until_cancelled(accept(listener, shared, until.clone())).await;
        });
        Self { port, mood, requests, _stop: stop.drop_guard() }
    }

    /// `http://127.0.0.1:<port>`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Applies from now on, to open connections too.
    pub fn set(&self, mood: ProxyFault) {
        self.mood.send_replace(mood);
    }

    /// Passes everything on.
    pub fn pass(&self) {
        self.set(ProxyFault::default());
    }

    /// The first line of each request, with method, path and query.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.requests).clone()
    }
}

async fn accept(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    while let Ok((client, _)) = listener.accept().await {
        let (shared, stop) = (shared.clone(), stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(connection(client, shared)).await });
    }
}

async fn connection(mut client: TcpStream, shared: Shared) {
    let mut mood = shared.mood.clone();
    let reset = match TcpStream::connect(&shared.upstream).await {
        Ok(mut server) if !mood.borrow().refuse => {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::select! {
                ended = up(from_client, to_server, &shared) => ended.is_err(),
                ended = down(from_server, to_client, &shared) => ended.is_err(),
                _ = mood.wait_for(|mood| mood.refuse) => true,
            }
        }
        _ => true,
    };
    if reset {
        // If this fails, the connection only ends normally instead of with a reset.
        let _ = client.set_zero_linger();
    }
}

async fn up(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared) -> io::Result<()> {
    let (mut mood, mut buffer, mut passed) = (shared.mood.clone(), vec![0; PIECE], 0_u64);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        note(&buffer[..read], &shared.requests);
        let Ok(now) = mood.wait_for(|mood| !mood.hold).await.map(|mood| *mood) else { return Ok(()) };
        tokio::time::sleep(now.delay).await;
        if let Some(speed) = now.bytes_per_second {
            tokio::time::sleep(Duration::from_micros(1_000_000 * read as u64 / speed.max(1))).await;
        }
        to.write_all(&buffer[..read]).await?;
        passed += read as u64;
        if now.reset_after.is_some_and(|most| passed >= most) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
}

async fn down(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared) -> io::Result<()> {
    let (mut mood, mut buffer) = (shared.mood.clone(), vec![0; PIECE]);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        if mood.wait_for(|mood| !mood.hold).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}

/// Clients write a request's head in one piece, and no piece of a bundle begins like a head.
fn note(piece: &[u8], requests: &Mutex<Vec<String>>) {
    let line = piece.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Some(line) = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix(" HTTP/1.1")) else { return };
    lock(requests).push(line.to_owned());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
