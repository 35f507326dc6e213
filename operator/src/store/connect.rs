//! TCP connections: to allowed addresses, or to the proxy that the environment sets for a host; closed when nothing
//! moves. A caller can bring a way to hosts that have no address here. The providers' transports
//! add TLS and requests.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Sleep,
};
use tower_service::Service;

use super::wire::{IDLE, WireError};
use crate::{
    location::EndpointPolicy,
    probe::ProbeStep,
    proxy::{Proxies, Proxy, ProxyError},
};

/// Timeout of a TCP connection, and of a DNS lookup.
const CONNECT: Duration = Duration::from_secs(5);

/// The bytes of a connection, however it was made.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A way to hosts whose names only the cluster resolves. Requests stay what they are, down to the signed host: only the
/// connection takes another way.
pub trait Detour: fmt::Debug + Send + Sync {
    /// A connection to this host, which has no address here; `None` if there is no such way to it.
    ///
    /// # Errors
    /// A sentence.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, Result<Option<Box<dyn Stream>>, String>>;

    /// Whether the host is one of the cluster, which a proxy outside it does not know. The answer stays the same.
    fn is_of_cluster<'a>(&'a self, host: &'a str) -> BoxFuture<'a, bool>;
}

/// Where connections may lead, and through what.
#[derive(Clone, Debug)]
pub(crate) enum EndpointAccess {
    /// To stores, and to the services of their providers, through the proxies of the environment.
    Stores(EndpointPolicy, Arc<Proxies>, Option<Arc<dyn Detour>>),
    /// Only to the identity endpoints of pods, which are link-local. Never through a proxy: the requests carry the
    /// pod's token in plain http.
    PodIdentity {
        /// Also allows loopback, for test setups.
        allow_loopback: bool,
    },
    /// Only to the metadata service of the machine, which is link-local and gives tokens; never through a proxy.
    InstanceMetadata {
        /// Also allows loopback, for test setups.
        allow_loopback: bool,
    },
}

impl EndpointAccess {
    /// To stores, with the proxies that the environment sets.
    pub(super) fn stores(policy: EndpointPolicy) -> Result<Self, ProxyError> {
        Ok(Self::Stores(policy, Arc::new(Proxies::from_env()?), None))
    }

    /// To stores, directly.
    pub(crate) fn direct(policy: EndpointPolicy) -> Self {
        Self::Stores(policy, Arc::default(), None)
    }

    /// With this way to hosts that have no address here.
    pub(crate) fn with_detour(self, detour: Option<Arc<dyn Detour>>) -> Self {
        match self {
            Self::Stores(policy, proxies, _) => Self::Stores(policy, proxies, detour),
            other => other,
        }
    }

    /// A connection to a host that has no address here; `None` if there is no way to it.
    pub(super) async fn by_detour(&self, host: &str, port: u16) -> Result<Option<Box<dyn Stream>>, WireError> {
        match self {
            Self::Stores(_, _, Some(detour)) => {
                detour.connect(host, port).await.map_err(|why| WireError::Detour { host: host.to_owned(), why })
            }
            _ => Ok(None),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        // Those of ECS and EKS Pod Identity; the SDK allows the same ones.
        const ENDPOINTS: [IpAddr; 3] = [
            IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
            IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23)),
        ];
        // Of Azure and Google alike; Google has it for IPv6, too.
        const METADATA: [IpAddr; 2] = [
            IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
            IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254)),
        ];
        let (fixed, allow_loopback) = match self {
            Self::Stores(policy, ..) => return policy.allows(address),
            Self::PodIdentity { allow_loopback } => (ENDPOINTS.as_slice(), allow_loopback),
            Self::InstanceMetadata { allow_loopback } => (METADATA.as_slice(), allow_loopback),
        };
        fixed.contains(&address) || (*allow_loopback && address.is_loopback())
    }

    /// The proxy for this host, if there is one. There is none for hosts that the detour leads to.
    ///
    /// # Errors
    /// `NotAllowed`: the host is a forbidden address. A name is not judged here, because only the proxy resolves it.
    pub(super) async fn proxy(&self, uri: &Uri) -> Result<Option<Proxy>, WireError> {
        let Self::Stores(_, proxies, detour) = self else { return Ok(None) };
        let Some(found) = proxies.before(uri) else { return Ok(None) };
        let (host, _) = host_and_port(uri);
        if let Ok(address) = host.parse() {
            return if self.allows(address) { Ok(Some(found)) } else { Err(WireError::NotAllowed(address)) };
        }
        let of_cluster = match detour {
            Some(detour) => detour.is_of_cluster(&host).await,
            None => false,
        };
        Ok((!of_cluster).then_some(found))
    }
}

/// Opens TCP connections to allowed addresses.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) reach: EndpointAccess,
}

impl Service<Uri> for Tcp {
    type Response = Idle;
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<Idle, WireError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let reach = self.reach.clone();
        Box::pin(async move { connect(&uri, &reach).await })
    }
}

/// Host, without brackets, and port.
pub(super) fn host_and_port(uri: &Uri) -> (String, u16) {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    (host, uri.port_u16().unwrap_or(default))
}

/// Connects to the very address that was judged: a name may resolve to another one the next time.
async fn connect(uri: &Uri, reach: &EndpointAccess) -> Result<Idle, WireError> {
    if let Some(proxy) = reach.proxy(uri).await? {
        let stream = through(&proxy, uri).await?;
        return Ok(Idle::new(Box::new(stream), !is_tunnelled(uri)));
    }
    let (host, port) = host_and_port(uri);
    let stream: Box<dyn Stream> = match addresses(&host, port).await {
        Ok(addresses) => Box::new(dial(&host, port, &addresses, reach).await?),
        Err(unknown) => reach.by_detour(&host, port).await?.ok_or(unknown)?,
    };
    Ok(Idle::new(stream, false))
}

/// Plain http goes to the proxy by its whole URL (RFC 9112, 3.2.2), because many proxies tunnel to port 443 only.
fn is_tunnelled(uri: &Uri) -> bool {
    uri.scheme_str() != Some("http")
}

/// A connection to the proxy, with a tunnel to the host for https. The proxy may have any address: the admin set it.
pub(super) async fn through(proxy: &Proxy, uri: &Uri) -> Result<TcpStream, WireError> {
    let place = proxy.place();
    let found = addresses(&proxy.host, proxy.port).await.map_err(|_| WireError::Dns(format!("proxy {place}")))?;
    let mut stream = first(&format!("proxy {place}"), &found).await?;
    if is_tunnelled(uri) {
        let (host, port) = host_and_port(uri);
        proxy.tunnel(&mut stream, &host, port).await.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<ProxyError>()) {
                Some(found) => WireError::Proxy(found.clone()),
                None => {
                    WireError::Other { at: ProbeStep::Connection, host: format!("proxy {place}"), kind: error.kind() }
                }
            }
        })?;
    }
    Ok(stream)
}

/// The addresses of a host; at least one.
pub(super) async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, WireError> {
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => match tokio::time::timeout(CONNECT, tokio::net::lookup_host((host, port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        },
    };
    if found.is_empty() { Err(WireError::Dns(host.to_owned())) } else { Ok(found) }
}

/// A connection to the first of these addresses that is allowed and accepts it.
pub(super) async fn dial(
    host: &str,
    port: u16,
    addresses: &[SocketAddr],
    reach: &EndpointAccess,
) -> Result<TcpStream, WireError> {
    let Some(any) = addresses.first() else {
        return Err(WireError::Dns(host.to_owned()));
    };
    let allowed: Vec<SocketAddr> = addresses.iter().copied().filter(|address| reach.allows(address.ip())).collect();
    if allowed.is_empty() {
        return Err(WireError::NotAllowed(any.ip()));
    }
    first(&format!("{host}:{port}"), &allowed).await
}

/// A connection to the first of these addresses that accepts it; else the error of the last one.
async fn first(place: &str, addresses: &[SocketAddr]) -> Result<TcpStream, WireError> {
    let mut last = WireError::Dns(place.to_owned());
    for address in addresses {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it small requests wait for acknowledgements; a socket that refuses the option still works.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = WireError::Refused(place.to_owned());
            }
            Ok(Err(error)) => {
                last = WireError::Other { at: ProbeStep::Connection, host: place.to_owned(), kind: error.kind() };
            }
            Err(_) => last = WireError::TimedOut(place.to_owned()),
        }
    }
    Err(last)
}

/// A connection that fails when nothing has moved on it for `IDLE`.
pub(crate) struct Idle {
    stream: TokioIo<Box<dyn Stream>>,
    until: Pin<Box<Sleep>>,
    /// Whether the peer is a proxy that wants whole URLs.
    by_whole_url: bool,
}

impl Idle {
    fn new(stream: Box<dyn Stream>, by_whole_url: bool) -> Self {
        Self { stream: TokioIo::new(stream), until: Box::pin(tokio::time::sleep(IDLE)), by_whole_url }
    }

    /// Passes a poll's outcome on. Movement resets the timeout; without movement the timeout is checked.
    fn watched<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.until.as_mut().reset(tokio::time::Instant::now() + IDLE);
            return polled;
        }
        self.until.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, WireError::Stalled)))
    }
}

impl Connection for Idle {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.by_whole_url)
    }
}

impl Read for Idle {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watched(cx, polled)
    }
}

impl Write for Idle {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watched(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watched(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::IdentityPolicy;
    use tokio::net::TcpListener;

    const LAB: EndpointPolicy =
        EndpointPolicy { allow_loopback: true, require_verified_tls: false, identities: IdentityPolicy::STRICT };

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    fn direct(policy: EndpointPolicy) -> EndpointAccess {
        EndpointAccess::direct(policy)
    }

    async fn connected(url: &str, reach: &EndpointAccess) -> Result<Idle, WireError> {
        connect(&url.parse().expect("a URI"), reach).await
    }

    #[test]
    fn sec_n4_a_name_is_judged_by_what_it_resolves_to_when_it_is_connected_to() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let strict = connected(&format!("http://localhost:{port}"), &direct(EndpointPolicy::default())).await;
            assert!(matches!(strict.err(), Some(WireError::NotAllowed(address)) if address.is_loopback()));
            let strict = connected(&format!("http://127.0.0.1:{port}"), &direct(EndpointPolicy::default())).await;
            assert!(matches!(strict.err(), Some(WireError::NotAllowed(address)) if address.is_loopback()));
            assert!(connected(&format!("http://127.0.0.1:{port}"), &direct(LAB)).await.is_ok());
        });
    }

    #[test]
    fn unreachable_has_a_reason() {
        runtime().block_on(async {
            let port = {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                listener.local_addr().expect("an address").port()
            };
            let error =
                connected(&format!("http://127.0.0.1:{port}"), &direct(LAB)).await.err().expect("nobody listens");
            assert_eq!(error.to_string(), format!("connection refused: 127.0.0.1:{port}"));
            let error = connected("http://no-such-host.invalid", &direct(LAB)).await.err().expect("no such host");
            assert_eq!(error.to_string(), "DNS resolution failed: no-such-host.invalid");
        });
    }

    #[test]
    fn sec_n6_the_pods_identity_is_asked_at_its_fixed_addresses_alone_and_never_through_a_proxy() {
        let pod = EndpointAccess::PodIdentity { allow_loopback: false };
        let allowed = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
        for address in allowed {
            let address: IpAddr = address.parse().expect("an address");
            assert!(pod.allows(address), "{address}");
            assert!(!direct(LAB).allows(address), "{address} is no store's");
        }
        for address in
            ["169.254.169.254", "127.0.0.1", "::1", "10.0.0.1", "8.8.8.8", "fd00:ec2::254", "::ffff:169.254.170.2"]
        {
            assert!(!pod.allows(address.parse().expect("an address")), "{address}");
        }
        assert!(EndpointAccess::PodIdentity { allow_loopback: true }.allows(Ipv4Addr::LOCALHOST.into()));
        let machine = EndpointAccess::InstanceMetadata { allow_loopback: false };
        for (address, allowed) in [
            ("169.254.169.254", true),
            ("fd20:ce::254", true),
            ("169.254.170.2", false),
            ("10.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(machine.allows(address.parse().expect("an address")), allowed, "{address}");
        }
        let metadata = "http://169.254.169.254/metadata".parse().expect("a URI");
        assert!(runtime().block_on(machine.proxy(&metadata)).expect("allowed").is_none());
        let identity = "http://169.254.170.23/v1/credentials".parse().expect("a URI");
        assert!(runtime().block_on(pod.proxy(&identity)).expect("allowed").is_none());
    }

    #[test]
    fn sec_n3_n11_behind_a_proxy_addresses_that_no_store_may_have_are_refused_all_the_same() {
        let by_proxy = Proxies::read(|name| (name == "ALL_PROXY").then(|| "http://127.0.0.1:1".to_owned()));
        let reach = EndpointAccess::Stores(EndpointPolicy::default(), Arc::new(by_proxy.expect("a proxy")), None);
        runtime().block_on(async {
            for url in ["http://169.254.169.254/", "https://[fd00:ec2::254]/", "https://[::ffff:169.254.169.254]:9000/"]
            {
                let error = connected(url, &reach).await.err().expect(url);
                assert!(matches!(error, WireError::NotAllowed(_)), "{url}: {error}");
            }
            // The proxy itself may have any address; nothing listens at this one.
            let error = connected("https://s3.example.com/", &reach).await.err().expect("no proxy");
            assert_eq!(error.to_string(), "connection refused: proxy 127.0.0.1:1");
        });
    }
}
