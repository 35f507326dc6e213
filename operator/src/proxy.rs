//! The proxies that whoever runs the program set in its environment, and the way through one to a host: HTTPS_PROXY,
//! HTTP_PROXY, ALL_PROXY and NO_PROXY, in capitals or not. Which addresses may be connected to is not decided here.

use std::{io, net::IpAddr};

use debugbundle_format::text::{bounded, escape_for_terminal};
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use url::Url;

/// The most of a proxy's answer to CONNECT that is read, bytes.
const ANSWER: usize = 8 << 10;

/// Which proxy stands before which host.
pub struct Proxies {
    matcher: Matcher,
    /// The proxy before https, whole: with what may be a password.
    https: Option<Uri>,
}

impl Default for Proxies {
    /// None.
    fn default() -> Self {
        Self { matcher: Matcher::builder().build(), https: None }
    }
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.matcher.fmt(f)
    }
}

/// A proxy before a host.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its host, without brackets.
    pub host: String,
    /// Its port; 80 if none is said.
    pub port: u16,
    /// The `Proxy-Authorization` that it wants, marked as sensitive.
    pub authorization: Option<HeaderValue>,
}

/// Why there is no way through a proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// A variable of the environment names none.
    #[error(
        "{name} is {value}; it must be http://host:port, with user:password@ before the host if the proxy requires it"
    )]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value, escaped, without what may be a password.
        value: String,
    },
    /// It does not let us through.
    #[error("the proxy {proxy} refused the connection to {host}: HTTP status {status}{}", if *.status == 407 { "; it requires another user and password" } else { "" })]
    Refused {
        /// Its host and port.
        proxy: String,
        /// Where we wanted to go, host and port.
        host: String,
        /// Its answer.
        status: u16,
    },
    /// It said nothing that a proxy says.
    #[error("the proxy {proxy} did not answer as an HTTP proxy does; is it one?")]
    Nonsense {
        /// Its host and port.
        proxy: String,
    },
}

impl Proxies {
    /// As this process's environment says.
    ///
    /// # Errors
    /// `Variable`
    pub fn from_env() -> Result<Self, ProxyError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// As these variables say.
    ///
    /// # Errors
    /// `Variable`: a proxy that is passed over because it is misspelt would be a way past it.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let either = |capitals: &'static str| {
            let small = capitals.to_ascii_lowercase();
            [capitals, &small].into_iter().find_map(|name| variable(name).filter(|value| !value.trim().is_empty()))
        };
        let proxy = |name: &'static str| match either(name) {
            Some(value) => whole(value.trim()).ok_or_else(|| ProxyError::Variable { name, value: shown(&value) }),
            None => Ok(String::new()),
        };
        let (all, http, https) = (proxy("ALL_PROXY")?, proxy("HTTP_PROXY")?, proxy("HTTPS_PROXY")?);
        let before_https = if https.is_empty() { &all } else { &https };
        Ok(Self {
            https: before_https.parse().ok(),
            matcher: Matcher::builder()
                .all(all)
                .http(http)
                .https(https)
                .no(either("NO_PROXY").unwrap_or_default())
                .build(),
        })
    }

    /// The proxy before the host of this URI; none: it is reached directly. Loopback always is, as in Go's programs.
    pub fn before(&self, uri: &Uri) -> Option<Proxy> {
        if is_loopback(uri) {
            return None;
        }
        let found = self.matcher.intercept(uri)?;
        let host = found.uri().host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut authorization = found.basic_auth().cloned();
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Some(Proxy { host, port: found.uri().port_u16().unwrap_or(80), authorization })
    }
}

impl Proxies {
    /// Puts the proxy before the API server of a kubeconfig that names none itself: HTTPS_PROXY, unless NO_PROXY exempts the
    /// API server. kube 5.0 compares NO_PROXY with the host of the proxy. A pod's own API server is reached directly, so a
    /// config from within the cluster is not to be given here.
    pub fn before_api_server(&self, config: &mut kube::Config) {
        let environments = ["HTTPS_PROXY", "https_proxy"].into_iter().filter_map(|name| std::env::var(name).ok());
        let mut named = environments.filter_map(|value| value.parse::<Uri>().ok());
        if config.proxy_url.is_none() || named.any(|of_env| config.proxy_url == Some(of_env)) {
            config.proxy_url = self.before(&config.cluster_url).and_then(|_| self.https.clone());
        }
    }
}

impl Proxy {
    /// Host and port, as messages name it.
    pub fn place(&self) -> String {
        place(&self.host, self.port)
    }

    /// Makes a connection to the proxy one to a host: by CONNECT (RFC 9110, 9.3.6). `Tunnel` of hyper-util does not say
    /// which status the proxy answered, and its error has no public type; the status is what an administrator looks for.
    ///
    /// # Errors
    /// `ProxyError` inside, or what happened to the connection.
    pub async fn tunnel(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        let host = place(host, port);
        let mut asked = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            asked.extend_from_slice(b"Proxy-Authorization: ");
            asked.extend_from_slice(authorization.as_bytes());
            asked.extend_from_slice(b"\r\n");
        }
        asked.extend_from_slice(b"\r\n");
        stream.write_all(&asked).await?;
        match status(&answer(stream).await?) {
            Some(200..=299) => Ok(()),
            Some(status) => Err(io::Error::other(ProxyError::Refused { proxy: self.place(), host, status })),
            None => Err(io::Error::other(ProxyError::Nonsense { proxy: self.place() })),
        }
    }
}

/// The head of the answer, to its empty line. The host behind the proxy says nothing before it is spoken to, so that no
/// byte of its own can come with it.
async fn answer(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < ANSWER {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let whole = head.ends_with(b"\r\n\r\n");
    line.split(' ').nth(1)?.parse().ok().filter(|status| whole || *status >= 300)
}

fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The proxy's URL with its scheme; without one it is an http proxy, as curl has it.
fn whole(value: &str) -> Option<String> {
    let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&whole).ok().filter(|url| url.scheme() == "http" && url.host().is_some())?;
    (matches!(url.path(), "" | "/") && whole.parse::<Uri>().is_ok()).then_some(whole)
}

/// The value, but for what stands before an `@`: that may be a password.
fn shown(value: &str) -> String {
    let shown = match value.rsplit_once('@') {
        Some((before, host)) => {
            format!(
                "{}***@{host}",
                before.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default()
            )
        }
        None => value.to_owned(),
    };
    format!("\"{}\"", bounded(&escape_for_terminal(&shown), 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(set: &[(&str, &str)]) -> Result<Proxies, ProxyError> {
        Proxies::read(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    fn way(set: &[(&str, &str)], uri: &str) -> Option<String> {
        proxies(set).expect("proxies").before(&uri.parse().expect("a URI")).map(|proxy| proxy.place())
    }

    #[test]
    fn sec_n11_the_environment_says_which_proxy_stands_before_which_host() {
        let both =
            [("HTTPS_PROXY", "http://tls:3128"), ("http_proxy", "plain:8080/"), ("NO_PROXY", ".svc,10.0.0.0/8, s3.eu")];
        for (uri, expected) in [
            ("https://s3.example.com/b/k", Some("tls:3128")),
            ("http://s3.example.com/b/k", Some("plain:8080")),
            ("https://minio.velero.svc:9000/", None),
            ("https://10.1.2.3/", None),
            ("https://11.1.2.3/", Some("tls:3128")),
            ("https://s3.eu/", None),
            ("https://b.s3.eu/", None),
            ("https://not-s3.eu/", Some("tls:3128")),
            ("https://[fd12::1]:9000/", Some("tls:3128")),
            ("https://LOCALHOST:9000/", None),
            ("http://127.0.0.1:9000/", None),
            ("http://[::1]:9000/", None),
        ] {
            assert_eq!(way(&both, uri).as_deref(), expected, "{uri}");
        }
        assert_eq!(way(&[("ALL_PROXY", "http://[fd12::2]")], "https://x/").as_deref(), Some("[fd12::2]:80"));
        assert_eq!(way(&[("HTTPS_PROXY", " "), ("NO_PROXY", "*")], "https://x/"), None);
        assert_eq!(way(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")], "https://x/"), None);
    }

    #[test]
    fn sec_n11_a_proxy_that_cannot_be_used_is_an_error_and_its_password_is_not_told() {
        for value in
            ["socks5://me:hunter2@p:1080", "https://p:3128", "http://", "http://p:99999", "http://p/path", "p p"]
        {
            let error = proxies(&[("HTTPS_PROXY", value)]).expect_err(value).to_string();
            assert!(error.starts_with("HTTPS_PROXY is \"") && error.contains("it must be http://host:port"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let with_password = proxies(&[("HTTPS_PROXY", "http://me:hunter%202@p:3128")]).expect("a proxy");
        let proxy = with_password.before(&"https://x/".parse().expect("a URI")).expect("it stands there");
        assert_eq!(proxy.authorization.as_ref().map(HeaderValue::as_bytes), Some(&b"Basic bWU6aHVudGVyIDI="[..]));
        assert!(!format!("{with_password:?}{proxy:?}").contains("bWU6"), "{proxy:?}");
    }

    #[test]
    fn the_api_server_of_a_kubeconfig_is_behind_the_proxy_unless_it_is_exempt() {
        let set = |no: &'static str| {
            proxies(&[("HTTPS_PROXY", "me:word@proxy.corp:3128"), ("NO_PROXY", no)]).expect("proxies")
        };
        let config = |server: &str| kube::Config::new(server.parse().expect("a URI"));
        let put = |no, server: &str| {
            let mut config = config(server);
            set(no).before_api_server(&mut config);
            config.proxy_url.map(|url| url.to_string())
        };
        // NO_PROXY is about the API server's host, not the proxy's.
        assert_eq!(put(".corp", "https://api.example:6443").as_deref(), Some("http://me:word@proxy.corp:3128/"));
        assert_eq!(put(".example", "https://api.example:6443"), None);
        assert_eq!(put("", "https://127.0.0.1:6443"), None);
        let mut own = config("https://api.example:6443");
        own.proxy_url = Some("http://of-the-kubeconfig:1".parse().expect("a URI"));
        set("*").before_api_server(&mut own);
        assert_eq!(own.proxy_url.expect("kept").to_string(), "http://of-the-kubeconfig:1/");
    }

    #[test]
    fn only_a_whole_answer_of_success_opens_the_tunnel() {
        for (head, expected) in [
            (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], Some(200)),
            (b"HTTP/1.0 403 Forbidden\r\nX: y\r\n\r\n<html>", Some(403)),
            (b"HTTP/1.1 200 OK\r\n\r\nbytes that nobody asked for", None),
            (b"HTTP/1.1 200 OK\r\n", None),
            (b"220 mail.example ESMTP\r\n\r\n", None),
            (b"", None),
        ] {
            assert_eq!(status(head), expected, "{:?}", String::from_utf8_lossy(head));
        }
    }
}
