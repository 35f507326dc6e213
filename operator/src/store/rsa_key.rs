//! An RSA key that signs: JSON Web Tokens (RFC 7519) and what a provider has signed with it.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use debugbundle_redact::Secret;
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey,
};
use serde_json::Value;

use super::StoreError;

/// A private key.
#[derive(Clone)]
pub(super) struct RsaKey(Arc<dyn SigningKey>);

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey(***)")
    }
}

/// How a message is signed; each with SHA-256.
#[derive(Clone, Copy, Debug)]
pub(super) enum RsaScheme {
    /// RSASSA-PKCS1-v1_5, in tokens `RS256`.
    Pkcs1,
    /// RSASSA-PSS, in tokens `PS256`.
    Pss,
}

impl RsaScheme {
    const fn of_rustls(self) -> SignatureScheme {
        match self {
            Self::Pkcs1 => SignatureScheme::RSA_PKCS1_SHA256,
            Self::Pss => SignatureScheme::RSA_PSS_SHA256,
        }
    }
}

impl RsaKey {
    /// Takes the first private key in this PEM; `None` if it is no RSA key that is readable without a password.
    pub(super) fn of_pem(pem: &Secret) -> Option<Self> {
        let key = any_supported_type(&PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).ok()?).ok()?;
        key.choose_scheme(&[RsaScheme::Pkcs1.of_rustls()])?;
        Some(Self(key))
    }

    pub(super) fn sign(&self, scheme: RsaScheme, message: &[u8]) -> Result<Vec<u8>, StoreError> {
        let signer = self.0.choose_scheme(&[scheme.of_rustls()]);
        let signature = signer.and_then(|signer| signer.sign(message).ok());
        signature.ok_or_else(|| StoreError::CannotSign("the private key does not sign".to_owned()))
    }

    /// A signed JSON Web Token. `header` names the scheme in `alg`.
    pub(super) fn token(&self, scheme: RsaScheme, header: &Value, claims: &Value) -> Result<Secret, StoreError> {
        let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(scheme, signed.as_bytes())?);
        Ok(Secret::new(format!("{signed}.{signature}")))
    }
}
