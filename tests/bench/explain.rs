//! The cost of `kubectl debugbundle explain` in a large installation: wall time, bytes that it reads from the API server,
//! and requests.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use harness::{
    Context,
    operator::program,
    usage::measured,
    velero_objects::{backup, restore},
};
use jiff::Timestamp;
use tokio::{
    io::AsyncWriteExt as _,
    io::{AsyncRead, AsyncReadExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::{large_installation::LargeInstallation, mib, seconds};

const INSTALLATION: LargeInstallation = LargeInstallation { backups: 2000, restores: 2000, data: 5000, unfinished: 3 };
/// What is explained: flags, and what they stand for.
const ASKED: [(&str, &str); 6] = [
    ("--backup backup-00000", "a Backup under way"),
    ("--backup backup-00010", "a Backup that failed"),
    ("--backup waits", "a Backup that waits"),
    ("--restore restore-00010", "a Restore that failed"),
    ("--restore waits", "a Restore that waits"),
    ("", "the installation"),
];

/// The most time for one explanation.
const WALL: Duration = Duration::from_secs(3);
/// The most bytes from the API server for one explanation.
const BYTES: u64 = 50_000_000;

/// Prints the cost of each explanation, with the rights of the shipped roles. Returns a sentence for each figure beyond
/// its limit.
pub(super) async fn explain(context: &Arc<Context>) -> Vec<String> {
    println!("\n{INSTALLATION}\n");
    let program = program("kubectl-debugbundle").await;
    INSTALLATION.put(context).await;
    for waiting in [backup("waits"), restore("waits")] {
        context.create_velero(waiting).await;
    }
    let account = context.shipped_account().await;
    let counter = ByteCounter::before(&account.kubeconfig, &context.folder("explain")).await;
    println!("{:<24} {:>8} {:>12} {:>10} {:>12}", "", "wall s", "MB read", "requests", "peak MiB");
    let mut faults = Vec::new();
    for (flags, what) in ASKED {
        let (since, before) = (Timestamp::now(), counter.bytes());
        let mut command = Command::new(&program);
        command.arg("explain").args(flags.split_whitespace()).arg("-n").arg(&context.namespace);
        command.env("KUBECONFIG", &counter.kubeconfig).stdout(Stdio::null());
        let ran = tokio::task::spawn_blocking(move || measured(&mut command, Duration::from_mins(1))).await;
        let ran = ran.expect("measuring does not panic").unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(ran.code, Some(0), "{what} is explained");
        let bytes = counter.bytes() - before;
        let requests: usize = context.stand.requests_since(&account.user, since).values().sum();
        println!(
            "{what:<24} {:>8} {:>12.2} {requests:>10} {:>12.1}",
            seconds(ran.wall),
            bytes as f64 / 1e6,
            mib(ran.usage.peak)
        );
        if ran.wall > WALL {
            faults.push(format!("the explanation of {what} took {:.1?}, more than {WALL:?}", ran.wall));
        }
        if bytes > BYTES {
            faults.push(format!("the explanation of {what} read {bytes} bytes, more than {BYTES}"));
        }
    }
    faults
}

/// Passes connections on to the API server, and counts the bytes that come back: TLS and all.
struct ByteCounter {
    kubeconfig: PathBuf,
    bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl ByteCounter {
    /// Writes a kubeconfig like this one, which leads through it, into the folder.
    async fn before(kubeconfig: &Path, folder: &Path) -> Self {
        let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let (_, rest) = text.split_once("https://").expect("the address of the API server");
        let upstream: String = rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let path = folder.join("kubeconfig");
        std::fs::write(&path, text.replace(&upstream, &address)).expect("it can be written");
        let bytes = Arc::<AtomicU64>::default();
        let task = tokio::spawn(accept(listener, upstream, bytes.clone()));
        Self { kubeconfig: path, bytes, task }
    }

    /// Bytes so far.
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for ByteCounter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, upstream: String, bytes: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // The copying fails when one side closes the connection.
        let (upstream, bytes) = (upstream.clone(), bytes.clone());
        connections.spawn(async move { pass(client, &upstream, &bytes).await.unwrap_or_default() });
    }
}

async fn pass(mut client: TcpStream, upstream: &str, bytes: &AtomicU64) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
    let asking = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let answering = async {
        let mut piece = vec![0; 64 << 10];
        while let Some(read) = next(&mut from_server, &mut piece).await? {
            bytes.fetch_add(read as u64, Ordering::Relaxed);
            to_client.write_all(&piece[..read]).await?;
        }
        to_client.shutdown().await
    };
    tokio::try_join!(asking, answering).map(|_| ())
}

/// The next bytes; `None` at the end.
async fn next(from: &mut (impl AsyncRead + Unpin), piece: &mut [u8]) -> io::Result<Option<usize>> {
    let read = from.read(piece).await?;
    Ok((read > 0).then_some(read))
}
