//! Tests the way to a location's store step by step, as an upload would go it, and writes nothing there.
//! `probe::ProbeReport` interprets the answers; `run::locations` starts the probe and limits its time.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::Uri;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::{
    Key, Store, StoreError,
    connect::{self, EndpointAccess, Stream},
    wire::{self, WireError},
};
use crate::{
    certificate::Certificate,
    location::Words,
    probe::{ProbeReport, ProbeStep},
    tls,
};

/// Where the requests of a store go, and whom it trusts there.
#[derive(Clone, Debug)]
pub struct Way {
    pub(crate) uri: Uri,
    pub(crate) reach: EndpointAccess,
    /// Certificates to trust besides the system's, PEM.
    pub(crate) ca_pem: Option<String>,
    pub(crate) skip_tls_verify: bool,
}

/// Tests the way up to TLS, which needs no credential; `false` if a step failed.
pub async fn look_at_the_way(store: &dyn Store, words: &Words, report: &mut ProbeReport) -> bool {
    let Some(way) = store.way().await else {
        report.failed(ProbeStep::Dns, "the config gives no address for the endpoint", None);
        return false;
    };
    let (host, _) = connect::host_and_port(&way.uri);
    match way.connected(report).await {
        Ok(stream) if way.uri.scheme_str() == Some("http") => {
            drop(stream);
            report.ok(ProbeStep::Tls, "none: the endpoint is plain http");
            true
        }
        Ok(stream) => way.shake_hands(stream, host, words, report).await,
        Err(error) => {
            let server = words.server;
            let remedy = match &error {
                WireError::Dns(_) => format!("correct the host in {server}, or the DNS of the operator's node"),
                WireError::NotAllowed(_) => format!("set {server} to the store's own address"),
                WireError::Proxy(_) => {
                    "allow connections to the store in the proxy, or add the store's host to the operator's NO_PROXY"
                        .to_owned()
                }
                _ => format!(
                    "is the store running, is the port in {server} correct, does a NetworkPolicy or firewall block \
                     the connection?"
                ),
            };
            report.failed(error.step(), error.to_string(), Some(&remedy));
            false
        }
    }
}

/// Tests identity and permissions, and reads the folders below the prefix. One listing, one HEAD.
pub async fn look_inside(store: &dyn Store, key: &Key, words: &Words, report: &mut ProbeReport) {
    let folders = match store.folders().await {
        Ok(folders) => folders,
        Err(error) => {
            if error.step().is_some_and(|step| step > ProbeStep::Clock) {
                report.ok(ProbeStep::Answer, "the endpoint responds like an object store");
                report.clock(store.clock_ahead());
            }
            report.refused(error.step(), error.message(), words);
            if let StoreError::Skewed { ahead, .. } = error {
                report.clock_ahead_seconds = ahead;
            }
            return;
        }
    };
    report.ok(ProbeStep::Answer, "the endpoint responds like an object store");
    report.clock(store.clock_ahead());
    report.ok(ProbeStep::Identity, "the store accepts the credential");
    report.ok(ProbeStep::Bucket, "the bucket exists");
    match store.head(key).await {
        Ok(_) => {
            report.ok(ProbeStep::Permission, "listing below the prefix and reading are allowed; writing was not tried");
        }
        Err(error) => report.refused(error.step(), error.message(), words),
    }
    report.listed(folders.names, folders.more);
}

impl Way {
    /// Connects to the store, or to its proxy.
    async fn connected(&self, report: &mut ProbeReport) -> Result<Box<dyn Stream>, WireError> {
        let (host, port) = connect::host_and_port(&self.uri);
        if let Some(proxy) = self.reach.proxy(&self.uri).await? {
            let stream = connect::through(&proxy, &self.uri).await?;
            report.ok(ProbeStep::Dns, format!("the proxy {} resolves {host}", proxy.place()));
            report.ok(ProbeStep::Connection, format!("the proxy {} connects to {host}:{port}", proxy.place()));
            return Ok(Box::new(stream));
        }
        let addresses = match connect::addresses(&host, port).await {
            Ok(addresses) => addresses,
            Err(unknown) => {
                let stream = self.reach.by_detour(&host, port).await?.ok_or(unknown)?;
                report.ok(ProbeStep::Dns, format!("{host} resolves only inside the cluster"));
                report.ok(ProbeStep::Connection, format!("{host}:{port} is reached by a port-forward"));
                return Ok(stream);
            }
        };
        let some: Vec<String> = addresses.iter().take(4).map(|address| address.ip().to_string()).collect();
        report.ok(ProbeStep::Dns, format!("{host} is {}", some.join(", ")));
        let stream = connect::dial(&host, port, &addresses, &self.reach).await?;
        report.ok(ProbeStep::Connection, format!("{host}:{port} accepts connections"));
        Ok(Box::new(stream))
    }

    async fn shake_hands(
        &self,
        stream: Box<dyn Stream>,
        host: String,
        words: &Words,
        report: &mut ProbeReport,
    ) -> bool {
        let seen = Arc::new(Mutex::new(None));
        let listed = tls::certificates(self.ca_pem.as_deref().unwrap_or_default().as_bytes()).unwrap_or_default();
        let config = tls::client_that_notes(listed, self.skip_tls_verify, seen.clone());
        let (Ok(config), Ok(name)) = (config, ServerName::try_from(host.clone())) else {
            report.failed(ProbeStep::Tls, "the location's certificates cannot be used", None);
            return false;
        };
        let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let shaken = tokio::time::timeout(wire::HANDSHAKE, shaking).await;
        let certificate = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let certificate = certificate.and_then(|der| Certificate::parse(&der));
        let verdict = match shaken {
            Ok(Ok(_)) => Ok(!self.skip_tls_verify),
            Ok(Err(error)) => Err(wire::handshake_error(&error, host).to_string()),
            Err(_) => Err(format!("TLS with {host} failed: no answer within {} s", wire::HANDSHAKE.as_secs())),
        };
        let ok = verdict.is_ok();
        report.tls(verdict, certificate, words);
        ok
    }
}
