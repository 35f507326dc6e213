//! GET requests with a presigned URL: the client, the certificates it trusts, and a URL type that never prints its
//! secret part. Redirects are never followed, because the signature would travel along.

use std::{fmt, path::Path, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

use super::{engine::ENDPOINTS, exit::CliError};
use crate::{
    store::{Detour, EndpointAccess, Tcp},
    tls,
};

/// A presigned URL: everyone who has it can download. Debug and Display end at the path and hide the query.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PresignedUrl(Uri);

impl PresignedUrl {
    /// Parses `status.downloadURL`; only http and https with a host are accepted.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        let uri = text.parse::<Uri>().ok().filter(|uri| {
            uri.host().is_some_and(|host| !host.is_empty()) && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        uri.map(Self).ok_or_else(|| CliError::failed("the download URL in status is not an http or https URL"))
    }

    /// Whether only the cluster itself can resolve the host: such a store needs a `publicUrl`.
    pub(crate) fn is_cluster_internal(&self) -> bool {
        self.0.host().is_some_and(|host| {
            let mut labels = host.trim_end_matches('.').rsplit('.');
            matches!((labels.next(), labels.next()), (Some("svc"), Some(_)) | (Some("local"), Some("cluster")))
        })
    }
}

impl fmt::Display for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.authority().map_or("", |authority| authority.as_str());
        // A name and password before the host are as secret as the query.
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        write!(f, "{}://{host}{}", self.0.scheme_str().unwrap_or("https"), self.0.path())
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresignedUrl({self})")
    }
}

/// The certificates to trust for the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Certificates in PEM, besides the system's.
    pub extra: Vec<Vec<u8>>,
    /// Accept any certificate.
    pub anybody: bool,
}

impl Trust {
    /// Adds the certificates in this file.
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<(), CliError> {
        let pem = std::fs::read(path)
            .map_err(|error| CliError::caused(format_args!("cannot read {}", path.display()), &error))?;
        if tls::certificates(&pem).is_none_or(|certificates| certificates.is_empty()) {
            return Err(CliError::usage(format!("{} contains no PEM certificate", path.display())));
        }
        self.extra.push(pem);
        Ok(())
    }

    fn tls(&self) -> Result<ClientConfig, CliError> {
        let extra = self.extra.iter().filter_map(|pem| tls::certificates(pem)).flatten().collect();
        tls::client(extra, self.anybody).map_err(|error| CliError::caused("TLS cannot be set up", &error))
    }
}

/// A client for presigned URLs.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<Tcp>, Empty<Bytes>>,
}

impl Http {
    /// `detour`: a way to hosts that have no address here.
    pub(crate) fn new(trust: &Trust, detour: Option<Arc<dyn Detour>>) -> Result<Self, CliError> {
        let tcp = Tcp { reach: EndpointAccess::direct(ENDPOINTS).with_detour(detour) };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust.tls()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Requests the bytes `from..until` of the object, if it still has this ETag.
    pub(crate) async fn get(
        &self,
        url: &PresignedUrl,
        from: u64,
        until: u64,
        etag: Option<&str>,
    ) -> Result<Response<Incoming>, HttpError> {
        let mut request = Request::get(url.0.clone())
            .header(header::USER_AGENT, concat!("kubectl-debugbundle/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::RANGE, format!("bytes={from}-{}", until.saturating_sub(1)));
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        let request = request.body(Empty::new()).map_err(|error| HttpError::of(&error))?;
        self.client.request(request).await.map_err(|error| HttpError::of(&error))
    }
}

/// Why no response arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HttpError {
    /// The certificate is not trusted; a retry does not help.
    Untrusted(String),
    /// The connection failed or broke.
    Unreachable(String),
}

impl HttpError {
    /// hyper's errors name the failed step and contain nothing of the URL.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(certificate) = certificate_error(error) {
                return Self::Untrusted(certificate);
            }
            next = error.source();
        }
        Self::Unreachable(super::exit::chain(error))
    }
}

fn certificate_error(mut error: &(dyn std::error::Error + 'static)) -> Option<String> {
    // tokio-rustls and hyper-rustls each wrap the TLS error in an io::Error, whose `source` skips the wrapped error.
    while let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        error = inner;
    }
    let tls = error.downcast_ref::<rustls::Error>()?;
    matches!(tls, rustls::Error::InvalidCertificate(_)).then(|| tls.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::stand::{Stand, part_of};
    use super::*;

    #[test]
    fn sec_u7_a_url_is_never_printed_whole() {
        let url = PresignedUrl::parse("https://me:word@s3.example:9000/b/k.tar.gz?X-Amz-Signature=abc").unwrap();
        assert_eq!(url.to_string(), "https://s3.example:9000/b/k.tar.gz");
        assert_eq!(format!("{url:?}"), "PresignedUrl(https://s3.example:9000/b/k.tar.gz)");
    }

    #[tokio::test]
    async fn a_store_is_believed_by_its_authority_or_by_order() {
        let (stand, authority) = Stand::serve_tls(|asked| part_of(&[7; 100], asked)).await;
        let url = PresignedUrl::parse(&format!("https://{}/b/k?X-Amz-Signature=geheim", stand.address)).unwrap();
        let get = async |trust: Trust| {
            Http::new(&trust, None).unwrap().get(&url, 0, 10, None).await.map(|answer| answer.status())
        };
        let unknown = get(Trust::default()).await.unwrap_err();
        assert!(matches!(&unknown, HttpError::Untrusted(why) if !why.contains("geheim")), "{unknown:?}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority).unwrap();
        let mut named = Trust::default();
        named.add_file(file.path()).unwrap();
        assert_eq!(get(named).await, Ok(http::StatusCode::PARTIAL_CONTENT));
        assert_eq!(get(Trust { anybody: true, extra: Vec::new() }).await, Ok(http::StatusCode::PARTIAL_CONTENT));
        drop(stand);
        assert!(matches!(get(Trust::default()).await, Err(HttpError::Unreachable(_))));
    }

    #[test]
    fn a_file_without_certificates_is_no_authority() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Trust::default().add_file(file.path()).unwrap_err();
        assert!(error.to_string().ends_with("contains no PEM certificate"), "{error}");
    }

    #[test]
    fn only_http_and_https_are_urls() {
        for bad in ["", "/x", "file:///etc/passwd", "ftp://x/y", "https:///x", "https://"] {
            let error = PresignedUrl::parse(bad).expect_err(bad).to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn names_inside_the_cluster_are_known() {
        let internal = |text| PresignedUrl::parse(text).unwrap().is_cluster_internal();
        assert!(internal("http://minio.velero.svc:9000/b"));
        assert!(internal("http://minio.velero.svc.cluster.local./b"));
        assert!(!internal("http://svc.example/b"));
    }
}
