//! What a service account signs with its key: the authorization of a request (a JSON Web Token that the account signs
//! itself, so no token service is asked) and a URL for one object (version 4).
//! <https://google.aip.dev/auth/4111>, <https://docs.cloud.google.com/storage/docs/authentication/canonical-requests>

use std::{fmt, time::Duration};

use debugbundle_format::hex;
use debugbundle_redact::Secret;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::store::{
    StoreError,
    rest::in_query,
    rsa_key::{RsaKey, RsaScheme},
};

/// The right to read and write objects, and none to change who else has it.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// How long an authorization is valid; Google allows an hour, seconds.
const LIFE: i64 = 600;

/// A service account and its key.
#[derive(Clone)]
pub struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: RsaKey,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount({}, ***)", self.email)
    }
}

/// A URL that reads one object.
pub(super) struct GcsUrl<'a> {
    /// Scheme, host and port.
    pub(super) endpoint: &'a str,
    /// The host that is signed.
    pub(super) host: &'a str,
    /// Bucket and object, encoded.
    pub(super) path: &'a str,
    /// When its life begins.
    pub(super) from: Timestamp,
    /// Its life, in whole seconds.
    pub(super) life: Duration,
    /// Parameters besides those of the signature.
    pub(super) also: &'a [(&'a str, &'a str)],
}

impl ServiceAccount {
    /// Takes the key as PEM; `None` if it is no RSA key.
    pub fn new(email: &str, key_id: Option<&str>, pem: &Secret) -> Option<Self> {
        let key = RsaKey::of_pem(pem)?;
        Some(Self { email: email.to_owned(), key_id: key_id.map(ToOwned::to_owned), key })
    }

    /// The value of the header `Authorization` of a request at this time.
    pub(super) fn authorization(&self, now: Timestamp) -> Result<String, StoreError> {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = json!(id);
        }
        let from = now.as_second();
        let claims = json!({"iss": self.email, "sub": self.email, "scope": SCOPE, "iat": from, "exp": from + LIFE});
        let token = self.key.token(RsaScheme::Pkcs1, &header, &claims)?;
        Ok(format!("Bearer {}", token.expose()))
    }

    /// A URL that reads one object.
    pub(super) fn url(&self, url: &GcsUrl<'_>) -> Result<String, StoreError> {
        let unsigned = url.unsigned(&self.email);
        Ok(unsigned.signed(&self.key.sign(RsaScheme::Pkcs1, unsigned.to_sign.as_bytes())?))
    }
}

/// A URL that is not signed yet.
pub(super) struct UnsignedUrl {
    url: String,
    /// What must be signed: with the key of the account that the URL names, RSASSA-PKCS1-v1_5 and SHA-256.
    pub(super) to_sign: String,
}

impl UnsignedUrl {
    pub(super) fn signed(&self, signature: &[u8]) -> String {
        format!("{}&X-Goog-Signature={}", self.url, hex(signature))
    }
}

impl GcsUrl<'_> {
    /// To be signed as this account.
    pub(super) fn unsigned(&self, email: &str) -> UnsignedUrl {
        let from = self.from.to_zoned(TimeZone::UTC);
        let (day, time) = (from.strftime("%Y%m%d").to_string(), from.strftime("%Y%m%dT%H%M%SZ").to_string());
        let scope = format!("{day}/auto/storage/goog4_request");
        let (credential, life) = (format!("{email}/{scope}"), self.life.as_secs().to_string());
        let mut query = vec![
            ("X-Goog-Algorithm", "GOOG4-RSA-SHA256"),
            ("X-Goog-Credential", &credential),
            ("X-Goog-Date", &time),
            ("X-Goog-Expires", &life),
            ("X-Goog-SignedHeaders", "host"),
        ];
        query.extend(self.also);
        let mut query: Vec<String> =
            query.into_iter().map(|(name, value)| format!("{}={}", in_query(name), in_query(value))).collect();
        query.sort_unstable();
        let query = query.join("&");
        let request = format!("GET\n{}\n{query}\nhost:{}\n\nhost\nUNSIGNED-PAYLOAD", self.path, self.host);
        let to_sign = format!("GOOG4-RSA-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(request)));
        UnsignedUrl { url: format!("{}{}?{query}", self.endpoint, self.path), to_sign }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::Value;

    use super::*;

    /// Google's own test account and URLs, from the conformance tests of its libraries (Apache-2.0):
    /// <https://github.com/googleapis/conformance-tests/tree/main/storage/v1>
    const KEY_FILE: &str = include_str!("testdata/test_service_account.not-a-test.json");
    const VECTORS: &str = include_str!("testdata/v4_signatures.json");

    fn account() -> ServiceAccount {
        let file: Value = serde_json::from_str(KEY_FILE).expect("JSON");
        let text = |key: &str| file[key].as_str().expect("a text");
        let key = Secret::new(text("private_key"));
        ServiceAccount::new(text("client_email"), Some(text("private_key_id")), &key).expect("an RSA key")
    }

    #[test]
    fn sec_u12_a_url_is_signed_as_by_googles_libraries() {
        let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
        let vectors = vectors["signingV4Tests"].as_array().expect("a list");
        assert!(vectors.len() >= 7, "{}", vectors.len());
        for vector in vectors {
            let text = |key: &str| vector[key].as_str().unwrap_or_default();
            let expected = text("expectedUrl");
            let (scheme, rest) = expected.split_once("://").expect("a URL");
            let (host, path) = rest.split_once('/').expect("a path");
            let path = format!("/{}", path.split('?').next().expect("a path"));
            let parameters = vector["queryParameters"].as_object();
            let also: Vec<(&str, &str)> = parameters
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.as_str(), value.as_str().expect("a text")))
                .collect();
            let url = account().url(&GcsUrl {
                endpoint: &format!("{scheme}://{host}"),
                host: host.split(':').next().expect("a host"),
                path: &path,
                from: text("timestamp").parse().expect("a time"),
                life: Duration::from_secs(vector["expiration"].as_u64().expect("seconds")),
                also: &also,
            });
            assert_eq!(url.expect("signed"), expected, "{}", text("description"));
        }
    }

    #[test]
    fn an_authorization_names_account_scope_and_times() {
        let now: Timestamp = "2026-11-26T03:00:00Z".parse().expect("a time");
        let authorization = account().authorization(now).expect("signed");
        let parts: Vec<&str> = authorization.strip_prefix("Bearer ").expect("a token").split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { panic!("three parts: {parts:?}") };
        let decoded = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
        };
        let (header, claims) = (decoded(header), decoded(claims));
        assert_eq!((header["alg"].as_str(), header["kid"].is_string()), (Some("RS256"), true));
        let email = "test-iam-credentials@dummy-project-id.iam.gserviceaccount.com";
        assert_eq!(claims["iss"], email);
        assert_eq!(
            claims,
            json!({"iss": email, "sub": email, "scope": SCOPE, "iat": now.as_second(), "exp": now.as_second() + 600})
        );
        assert_eq!(URL_SAFE_NO_PAD.decode(signature).expect("base64").len(), 256);
    }

    #[test]
    fn sec_c1_a_key_is_rsa_and_never_shown() {
        for wrong in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(ServiceAccount::new("a@b", None, &Secret::new(wrong)).is_none(), "{wrong}");
        }
        assert_eq!(
            format!("{:?}", account()),
            "ServiceAccount(test-iam-credentials@dummy-project-id.iam.gserviceaccount.com, ***)"
        );
    }
}
