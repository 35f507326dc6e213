//! Tests the way to a location's store step by step, as an upload would go it, and writes nothing there.
//! `probe::ProbeReport` interprets the answers; `run::locations` starts the probe and limits its time.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::{Client, config::Credentials, presigning::PresigningConfig};
use hyper::Uri;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::{
    Action, S3, StoreError,
    classify::classify,
    connect::{self, Stream},
    transport::{self, WireError},
};
use crate::{
    certificate::Certificate,
    location::Resolved,
    probe::{ProbeReport, ProbeStep},
    tls,
};

impl S3 {
    /// Tests the way up to TLS, which needs no credential; `false` if a step failed.
    pub async fn look_at_the_way(&self, resolved: &Resolved, report: &mut ProbeReport) -> bool {
        let Some(uri) = self.address().await else {
            report.failed(ProbeStep::Dns, "the config gives no address for the endpoint", None);
            return false;
        };
        let (host, _) = connect::host_and_port(&uri);
        match self.connected(&uri, report).await {
            Ok(stream) if uri.scheme_str() == Some("http") => {
                drop(stream);
                report.ok(ProbeStep::Tls, "none: the endpoint is plain http");
                true
            }
            Ok(stream) => shake_hands(stream, host, resolved, report).await,
            Err(error) => {
                let remedy = match &error {
                    WireError::Dns(_) => "correct the host in s3Url, or the DNS of the operator's node",
                    WireError::NotAllowed(_) => "set s3Url to the store's own address",
                    WireError::Proxy(_) => {
                        "allow connections to the store in the proxy, or add the store's host to the operator's \
                         NO_PROXY"
                    }
                    _ => {
                        "is the store running, is the port in s3Url correct, does a NetworkPolicy or firewall block \
                         the connection?"
                    }
                };
                report.failed(error.step(), error.to_string(), Some(remedy));
                false
            }
        }
    }

    /// Tests identity and permissions, and reads the folders below the prefix. One listing, one HEAD.
    pub async fn look_inside(&self, key: &super::Key, report: &mut ProbeReport) {
        let root = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let listing = self.client.list_objects_v2().bucket(&self.bucket).prefix(&root).delimiter("/");
        let listed = listing.max_keys(1000).send().await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                let error = classify(&error, self.request(Action::List, &root));
                if error.step().is_some_and(|step| step > ProbeStep::Clock) {
                    report.ok(ProbeStep::Answer, "the endpoint responds like an object store");
                    report.clock(self.skew.exact());
                }
                report.refused(error.step(), error.message());
                if let StoreError::Skewed { ahead, .. } = error {
                    report.clock_ahead_seconds = ahead;
                }
                return;
            }
        };
        report.ok(ProbeStep::Answer, "the endpoint responds like an object store");
        report.clock(self.skew.exact());
        report.ok(ProbeStep::Identity, "the store accepts the credential");
        report.ok(ProbeStep::Bucket, "the bucket exists");
        match super::Store::head(self, key).await {
            Ok(_) => {
                report.ok(
                    ProbeStep::Permission,
                    "listing below the prefix and reading are allowed; writing was not tried",
                );
            }
            Err(error) => report.refused(error.step(), error.message()),
        }
        let names = listed.common_prefixes().iter().filter_map(|common| common.prefix());
        let names = names.filter_map(|name| name.strip_prefix(&root)).map(|name| name.trim_end_matches('/').to_owned());
        report.listed(names.collect(), listed.is_truncated().unwrap_or(false));
    }

    /// Connects to the store, or to its proxy.
    async fn connected(&self, uri: &Uri, report: &mut ProbeReport) -> Result<Box<dyn Stream>, WireError> {
        let (host, port) = connect::host_and_port(uri);
        if let Some(proxy) = self.reach.proxy(uri).await? {
            let stream = connect::through(&proxy, uri).await?;
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

    /// The URL of requests to this bucket, as the SDK itself makes it from region, endpoint, style and bucket.
    async fn address(&self) -> Option<Uri> {
        // The signed request is never sent: the keys are placeholders.
        let nobody = Credentials::new("nobody", "nobody", None, None, "address");
        let config = self.client.config().to_builder().credentials_provider(nobody).build();
        let signing = PresigningConfig::expires_in(std::time::Duration::from_secs(1)).ok()?;
        let signed =
            Client::from_conf(config).get_object().bucket(&self.bucket).key("any").presigned(signing).await.ok()?;
        signed.uri().parse().ok()
    }
}

async fn shake_hands(stream: Box<dyn Stream>, host: String, resolved: &Resolved, report: &mut ProbeReport) -> bool {
    let seen = Arc::new(Mutex::new(None));
    let listed = tls::certificates(resolved.ca_pem.as_deref().unwrap_or_default().as_bytes()).unwrap_or_default();
    let config = tls::client_that_notes(listed, resolved.s3.skip_tls_verify, seen.clone());
    let (Ok(config), Ok(name)) = (config, ServerName::try_from(host.clone())) else {
        report.failed(ProbeStep::Tls, "the location's certificates cannot be used", None);
        return false;
    };
    let shaken =
        tokio::time::timeout(transport::HANDSHAKE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let certificate = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let certificate = certificate.and_then(|der| Certificate::parse(&der));
    let verdict = match shaken {
        Ok(Ok(_)) => Ok(!resolved.s3.skip_tls_verify),
        Ok(Err(error)) => Err(transport::handshake_error(&error, host).to_string()),
        Err(_) => Err(format!("TLS with {host} failed: no answer within {} s", transport::HANDSHAKE.as_secs())),
    };
    let ok = verdict.is_ok();
    report.tls(verdict, certificate);
    ok
}
