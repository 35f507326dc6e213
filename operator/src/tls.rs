//! Whose certificate is believed: the system's authorities, those that a location or a user lists, or anybody's where
//! that was asked for. Connections, and what goes over them, are the callers'.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    CertificateError as Bad, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};

/// The certificates of a PEM text; `None`: it is broken.
pub fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

/// A TLS client that trusts the system's authorities and `listed`; with `skip_verify` it trusts anybody.
///
/// # Errors
/// A listed certificate is none.
pub fn client(listed: Vec<CertificateDer<'static>>, skip_verify: bool) -> Result<ClientConfig, rustls::Error> {
    with(|provider| verifier(provider, listed, skip_verify))
}

/// Where a server's own certificate is noted, believed or not.
pub type Noted = Arc<Mutex<Option<CertificateDer<'static>>>>;

/// The same, and the certificate that the server shows is noted.
///
/// # Errors
/// A listed certificate is none.
pub fn client_that_notes(
    listed: Vec<CertificateDer<'static>>,
    skip_verify: bool,
    noted: Noted,
) -> Result<ClientConfig, rustls::Error> {
    with(|provider| Ok(Arc::new(Noting { judge: verifier(provider, listed, skip_verify)?, noted })))
}

fn with(
    verifier: impl FnOnce(Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier(provider)?).with_no_client_auth())
}

fn verifier(
    provider: Arc<CryptoProvider>,
    listed: Vec<CertificateDer<'static>>,
    skip_verify: bool,
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    if skip_verify {
        return Ok(Arc::new(Unverified(provider)));
    }
    let mut roots = RootCertStore::empty();
    // Certificates of the system that cannot be read are not ours to mend; a store that needs one says so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in &listed {
        roots.add(certificate.clone())?;
    }
    if roots.is_empty() {
        // A verifier cannot be made of nothing; this one trusts nobody.
        return Ok(Arc::new(Nobody(Unverified(provider))));
    }
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|_| rustls::Error::General("no certificate can be verified".to_owned()))?;
    Ok(Arc::new(Verified { webpki, listed }))
}

/// The three methods that only pass on to another verifier, all but the verdict.
macro_rules! signatures_as {
    ($field:tt) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.$field.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.$field.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.$field.supported_verify_schemes()
        }
    };
}

/// Believes what another one believes, and notes what it was shown.
#[derive(Debug)]
struct Noting {
    judge: Arc<dyn ServerCertVerifier>,
    noted: Noted,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.clone().into_owned());
        self.judge.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    signatures_as!(judge);
}

/// Trusts nobody, for there is no authority.
#[derive(Debug)]
struct Nobody(Unverified);

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Err(Bad::UnknownIssuer.into())
    }

    signatures_as!(0);
}

/// Verifies as rustls does, but for one thing that Velero takes too: a store's own self-signed certificate, listed in
/// caCert, may be marked as an authority's, as `openssl req -x509` marks it.
#[derive(Debug)]
struct Verified {
    webpki: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.webpki.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match &verdict {
            // It is said after the times were found good; the name is still to be looked at.
            Err(rustls::Error::InvalidCertificate(Bad::Other(OtherError(why))))
                if why.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
            {
                if !self.listed.contains(certificate) {
                    return Err(Bad::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            _ => verdict,
        }
    }

    signatures_as!(webpki);
}

/// Takes any certificate: only where the location says `insecureSkipTLSVerify`.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
