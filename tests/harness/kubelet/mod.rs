//! A scripted kubelet: it answers the API server's requests for container logs according to a [`LogScript`], which sets
//! the log and its faults, and forwards ports of pods to addresses of this machine. It runs no containers.

mod growing;
mod port_forward;
mod script;
mod serve;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

use crate::stand::Fault;
use crate::tls::Identity;

pub use growing::Growing;
pub use script::LogScript;

/// One request for a log, as the API server sent it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it arrived.
    pub at: Timestamp,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// `previous`, `tailLines`, `limitBytes`, `sinceTime`, `timestamps`, as received.
    pub query: BTreeMap<String, String>,
}

/// How the port of a node's kubelet behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubeletPort {
    /// It answers.
    Open,
    /// Its port is closed: connection refused.
    Refused,
    /// It accepts connections and sends nothing.
    Silent,
    /// It answers with a certificate of an authority that the API server does not know.
    Untrusted,
}

/// All scripted nodes of a stand.
#[derive(Clone)]
pub struct Kubelet {
    state: Arc<State>,
    tls: TlsAcceptor,
    stranger: TlsAcceptor,
}

/// The container of a script's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    pod: String,
    container: String,
    previous: bool,
}

#[derive(Default)]
struct State {
    scripts: Mutex<HashMap<Key, LogScript>>,
    /// Where ports of pods end: (namespace, pod, port).
    forwards: Mutex<HashMap<(String, String, u16), SocketAddr>>,
    nodes: Mutex<HashMap<String, NodeRecord>>,
    /// Sockets that keep a port closed or silent for as long as the stand lives.
    held: Mutex<Vec<Held>>,
}

#[derive(Default)]
struct NodeRecord {
    seen: Vec<Seen>,
    open: usize,
    most_open: usize,
}

#[expect(dead_code, reason = "held for their ports, never used")]
enum Held {
    Closed(TcpSocket),
    Silent(TcpListener),
}

impl Kubelet {
    /// Takes the identity of its nodes, and the identity that an untrusted node shows.
    pub(crate) fn new(node: &Identity, stranger: &Identity) -> Result<Self, Fault> {
        Ok(Self { state: Arc::default(), tls: acceptor(node)?, stranger: acceptor(stranger)? })
    }

    /// Sets the log of a container.
    pub fn script(&self, namespace: &str, pod: &str, container: &str, script: LogScript) {
        self.set(namespace, pod, container, false, script);
    }

    /// Sets the log of a container's previous instance. Without it there is none, as for a container that never
    /// restarted.
    pub fn script_previous(&self, namespace: &str, pod: &str, container: &str, script: LogScript) {
        self.set(namespace, pod, container, true, script);
    }

    fn set(&self, namespace: &str, pod: &str, container: &str, previous: bool, script: LogScript) {
        let key = Key { namespace: namespace.into(), pod: pod.into(), container: container.into(), previous };
        lock(&self.state.scripts).insert(key, script);
    }

    /// Lets port-forwards to this port of a pod end at this address. Other ports refuse connections.
    pub fn forward(&self, namespace: &str, pod: &str, port: u16, to: SocketAddr) {
        lock(&self.state.forwards).insert((namespace.to_owned(), pod.to_owned(), port), to);
    }

    /// The requests to a node, in order.
    pub fn seen(&self, node: &str) -> Vec<Seen> {
        lock(&self.state.nodes).get(node).map(|record| record.seen.clone()).unwrap_or_default()
    }

    /// The most logs that a node served at once.
    pub fn most_at_once(&self, node: &str) -> usize {
        lock(&self.state.nodes).get(node).map_or(0, |record| record.most_open)
    }

    /// The number of logs that a node serves now.
    pub fn open_now(&self, node: &str) -> usize {
        lock(&self.state.nodes).get(node).map_or(0, |record| record.open)
    }

    /// Opens the port of a node; the port is the system's choice. Must be called on the stand's own
    /// runtime.
    pub(crate) fn open_node(&self, node: &str, behaviour: KubeletPort) -> io::Result<u16> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let port = socket.local_addr()?.port();
        match behaviour {
            KubeletPort::Refused => lock(&self.state.held).push(Held::Closed(socket)),
            KubeletPort::Silent => lock(&self.state.held).push(Held::Silent(socket.listen(64)?)),
            KubeletPort::Open | KubeletPort::Untrusted => {
                let tls = if behaviour == KubeletPort::Open { &self.tls } else { &self.stranger };
                let listener = socket.listen(1024)?;
                let node: Arc<str> = node.into();
                tokio::spawn(serve::node(listener, node, self.state.clone(), tls.clone()));
            }
        }
        Ok(port)
    }
}

impl State {
    fn scripted(&self, key: &Key) -> Option<LogScript> {
        lock(&self.scripts).get(key).cloned()
    }

    fn note(&self, node: &str, seen: Seen) {
        let mut nodes = lock(&self.nodes);
        let record = nodes.entry(node.to_owned()).or_default();
        record.seen.push(seen);
        record.open += 1;
        record.most_open = record.most_open.max(record.open);
    }

    fn note_end(&self, node: &str) {
        if let Some(record) = lock(&self.nodes).get_mut(node) {
            record.open -= 1;
        }
    }
}

fn acceptor(identity: &Identity) -> Result<TlsAcceptor, Fault> {
    let chain = vec![CertificateDer::from_pem_slice(identity.cert.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
