//! Which addresses an endpoint of a location may have, and the form of its URL.
//! The store's connector asks `EndpointPolicy` about the very address it connects to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::error::shown;

/// What the operator's admin additionally allows or refuses to all locations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointPolicy {
    /// Loopback addresses may be endpoints; for test setups.
    pub allow_loopback: bool,
    /// Plain http and `insecureSkipTLSVerify` are refused.
    pub require_verified_tls: bool,
    /// Which identities may be used.
    pub identities: IdentityPolicy,
}

/// What the operator's admin allows to identities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityPolicy {
    /// The identity of the machine may be used where a location names no other.
    pub instance_metadata: bool,
    /// A location may name any host for logins, which receives the client secret.
    pub any_login_host: bool,
}

impl IdentityPolicy {
    /// Nothing besides what is always allowed.
    pub const STRICT: Self = Self { instance_metadata: false, any_login_host: false };
}

impl EndpointPolicy {
    /// Whether a store may live at this address.
    pub fn allows(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.allows_v4(v4),
            IpAddr::V6(v6) => self.allows_v6(v6),
        }
    }

    fn allows_v4(self, address: Ipv4Addr) -> bool {
        let [a, ..] = address.octets();
        if address.is_loopback() {
            return self.allow_loopback;
        }
        // Link-local holds the clouds' metadata services; the single ones are Alibaba's, Oracle's, Azure's wire server.
        !(address.is_link_local()
            || a == 0
            || address.is_multicast()
            || address.is_broadcast()
            || address == Ipv4Addr::new(100, 100, 100, 200)
            || address == Ipv4Addr::new(192, 0, 0, 192)
            || address == Ipv4Addr::new(168, 63, 129, 16))
    }

    fn allows_v6(self, address: Ipv6Addr) -> bool {
        if address.is_loopback() {
            return self.allow_loopback;
        }
        let [a, b, ..] = address.segments();
        // fd00:ec2::/32 contains the metadata and identity services of EC2; fd20:ce::254 is Google's metadata service.
        // 6to4 (2002::/16) and Teredo (2001::/32) carry an IPv4 address, are given up (RFC 7526), and serve no store.
        !(address.is_unspecified()
            || address.is_multicast()
            || address.is_unicast_link_local()
            || (a == 0xfd00 && b == 0x0ec2)
            || address == Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254)
            || a == 0x2002
            || (a == 0x2001 && b == 0))
            && embedded(address).into_iter().flatten().all(|v4| self.allows_v4(v4))
    }
}

/// The IPv4 addresses that a host or a translator may find in this one.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let octets = address.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = at([12, 13, 14, 15]);
    match address.segments() {
        // Mapped, compatible (RFC 4291), translated (RFC 2765), and translated under the well-known prefix (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff | 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            [Some(last), None, None, None]
        }
        // Translated under a prefix of the site (RFC 8215). The address does not show the prefix's length, so each
        // position of RFC 6052 counts. No address of a store begins with 0.
        [0x64, 0xff9b, 1, ..] => [at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), last]
            .map(|v4| Some(v4).filter(|v4| v4.octets()[0] != 0)),
        _ => [None; 4],
    }
}

/// A URL of a store: http or https, a host, perhaps a port; a path only where its parser allows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Reads the value of config key `key`.
    ///
    /// # Errors
    /// A sentence that names the key, the value and what is allowed.
    pub fn parse(key: &str, value: &str) -> Result<Self, String> {
        let refused = || Self::refused(key, value, "http(s)://host[:port]");
        let endpoint = Self::of_url(value).ok_or_else(refused)?;
        if endpoint.0.path().chars().all(|letter| letter == '/') { Ok(endpoint) } else { Err(refused()) }
    }

    /// The same, with a path if there is one: an Azure account behind a gateway may have it.
    ///
    /// # Errors
    /// As [`Endpoint::parse`].
    pub fn parse_with_path(key: &str, value: &str) -> Result<Self, String> {
        Self::of_url(value).ok_or_else(|| Self::refused(key, value, "http(s)://host[:port][/path]"))
    }

    fn of_url(value: &str) -> Option<Self> {
        let url = Url::parse(value).ok()?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        plain.then_some(Self(url))
    }

    /// The sentence about a value that is not in the `form` that is allowed.
    pub(crate) fn refused(key: &str, value: &str, form: &str) -> String {
        format!("config key {key} is {}; it must be {form}", shown(&without_userinfo(value)))
    }

    /// The URL without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The host's name or address, without a port.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether it is plain http.
    pub fn is_plain_http(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Whether only the cluster's own DNS knows the host's name.
    pub fn is_cluster_internal(&self) -> bool {
        let Some(Host::Domain(host)) = self.0.host() else {
            return false;
        };
        let host = host.trim_end_matches('.');
        [".svc", ".cluster.local"].iter().any(|zone| host.ends_with(zone)) || !host.contains('.')
    }

    /// Refuses plain http where TLS is required, and hosts written as addresses or names that no store may have.
    /// Other names are judged when they are resolved.
    ///
    /// # Errors
    /// A sentence that names the address.
    pub fn judge(&self, policy: EndpointPolicy) -> Result<(), String> {
        if policy.require_verified_tls && self.is_plain_http() {
            return Err("plain http is refused by --require-verified-tls".to_owned());
        }
        let address = match self.0.host() {
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let metadata = name == "metadata.google.internal" || name == "metadata";
                let loopback = !policy.allow_loopback && (name == "localhost" || name.ends_with(".localhost"));
                return if metadata || loopback {
                    Err(format!("address {name} is not allowed for endpoints"))
                } else {
                    Ok(())
                };
            }
            None => return Ok(()),
        };
        if policy.allows(address) { Ok(()) } else { Err(format!("address {address} is not allowed for endpoints")) }
    }
}

/// The value as typed, without the part that may be secret: before an `@`, else the query and fragment.
fn without_userinfo(value: &str) -> String {
    match value.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() { format!("***@{host}") } else { format!("{scheme}://***@{host}") }
        }
        None => value.split(['?', '#']).next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(url: &str) -> Result<(), String> {
        Endpoint::parse("s3Url", url).expect("a well-formed URL").judge(EndpointPolicy::default())
    }

    #[test]
    fn sec_n3_n4_metadata_addresses_are_refused_in_every_spelling() {
        for url in [
            "http://169.254.169.254",
            "http://2852039166",
            "http://0xa9fea9fe",
            "http://0251.0376.0251.0376",
            "http://[::ffff:169.254.169.254]",
            "http://[64:ff9b::a9fe:a9fe]",
            "http://[fd00:ec2::254]",
            "http://[fd20:ce::254]",
            "http://168.63.129.16",
            "http://[::ffff:168.63.129.16]",
            "http://[64:ff9b::a83f:8110]",
            "http://[::169.254.169.254]",
            "http://[::100.100.100.200]",
            "http://[::127.0.0.1]",
            "http://[::ffff:0:169.254.169.254]",
            "http://[2002:a9fe:a9fe::1]",
            "http://[2002:a83f:8110::]",
            "http://[2002:0a00:0001::]",
            "http://[2001:0:a9fe:a9fe::1]",
            "http://[2001:0:c000:2d::5601:5601]",
            "http://[64:ff9b:1::169.254.169.254]",
            "http://[64:ff9b:1:7::168.63.129.16]",
            "http://[64:ff9b:1:a9fe:a9:fe00::]",
            "http://[64:ff9b:1:a9:fe:a9fe::]",
            "http://[64:ff9b:1:0:a9:fea9:fe00:0]",
            "http://[fe80::1]",
            "http://100.100.100.200",
            "http://192.0.0.192",
            "http://0.0.0.0",
            "http://[::]",
            "http://224.0.0.1",
            "http://255.255.255.255",
            "http://127.0.0.1:9000",
            "http://127.1",
            "http://[::1]:9000",
            "http://localhost",
            "http://metadata.google.internal",
            "http://METADATA.google.internal.",
        ] {
            let why = judged(url).expect_err(url);
            assert!(why.ends_with("is not allowed for endpoints"), "{url}: {why}");
        }
    }

    #[test]
    fn sec_n2_private_addresses_and_names_are_allowed() {
        for url in [
            "http://10.0.0.1:9000",
            "https://192.168.1.1",
            "http://[fd12::1]",
            "http://[fd20:ce::255]",
            "http://[::ffff:10.0.0.1]",
            "http://[64:ff9b::10.0.0.1]",
            "http://[64:ff9b:1::10.0.0.1]",
            "http://[64:ff9b:1:a00:0:100::]",
            "http://[2001:db8::1]",
            "http://[2003::1]",
            "http://168.63.129.17",
            "http://minio.velero.svc:9000",
            "https://s3.example.com/",
        ] {
            assert_eq!(judged(url), Ok(()), "{url}");
        }
        let loopback = EndpointPolicy { allow_loopback: true, ..EndpointPolicy::default() };
        assert!(loopback.allows(Ipv4Addr::LOCALHOST.into()) && loopback.allows(Ipv6Addr::LOCALHOST.into()));
        assert!(!loopback.allows(Ipv4Addr::new(169, 254, 169, 254).into()));
    }

    #[test]
    fn sec_n1_only_scheme_host_and_port_make_an_endpoint() {
        for bad in [
            "minio:9000",
            "ftp://x",
            "https://u:hunter2@x",
            "https://x?a=b",
            "https://x/path",
            "https://x#f",
            "",
            "//x",
        ] {
            let why = Endpoint::parse("s3Url", bad).expect_err(bad);
            assert!(
                why.contains("s3Url") && why.contains("http(s)://host[:port]") && !why.contains("hunter2"),
                "{why}"
            );
        }
        assert_eq!(Endpoint::parse("s3Url", "https://x:9000/").expect("valid").as_str(), "https://x:9000");
    }

    #[test]
    fn sec_n2_strict_sites_refuse_plain_http() {
        let strict = EndpointPolicy { require_verified_tls: true, ..EndpointPolicy::default() };
        let endpoint = Endpoint::parse("s3Url", "http://minio.velero.svc").expect("valid");
        assert_eq!(endpoint.judge(strict), Err("plain http is refused by --require-verified-tls".to_owned()));
        assert!(endpoint.is_cluster_internal());
    }
}
