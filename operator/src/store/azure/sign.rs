//! Signatures: of a request with an account key (Shared Key), and of a URL for one blob with an account key (a service
//! SAS) or with a key that the store gives an identity (a user delegation SAS).
//! <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>,
//! <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>

use base64::{Engine as _, engine::general_purpose::STANDARD};
use debugbundle_redact::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, header};
use jiff::{Timestamp, tz::TimeZone};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::store::rest::in_query;

/// The version of the Blob service's API that requests and URLs use.
pub(super) const VERSION: &str = "2021-12-02";

/// An account and one of its keys.
#[derive(Clone)]
pub(super) struct AccountKey {
    account: String,
    key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountKey({}, ***)", self.account)
    }
}

/// A URL for one blob.
pub(super) struct BlobSas<'a> {
    pub(super) container: &'a str,
    pub(super) blob: &'a str,
    pub(super) starts: Timestamp,
    pub(super) ends: Timestamp,
    /// Whether plain http is allowed, too.
    pub(super) plain_http: bool,
    /// The `Content-Disposition` of the answer.
    pub(super) disposition: &'a str,
}

impl AccountKey {
    /// Takes the key as Azure shows it; `None` if it is not base64.
    pub(super) fn new(account: &str, base64: &Secret) -> Option<Self> {
        let key = Zeroizing::new(STANDARD.decode(base64.expose()).ok().filter(|key| !key.is_empty())?);
        Some(Self { account: account.to_owned(), key })
    }

    /// The value of the header `Authorization`. `path` is the path of the URL, encoded; `query` its parameters, not
    /// encoded.
    pub(super) fn authorization(
        &self,
        method: &Method,
        path: &str,
        query: &[(&str, String)],
        headers: &HeaderMap,
    ) -> String {
        let signature = self.signature(&self.request_to_sign(method, path, query, headers));
        format!("SharedKey {}:{signature}", self.account)
    }

    fn request_to_sign(&self, method: &Method, path: &str, query: &[(&str, String)], headers: &HeaderMap) -> String {
        let text = |name: &header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut lines = vec![method.as_str().to_owned()];
        for name in [
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_LENGTH,
            header::HeaderName::from_static("content-md5"),
            header::CONTENT_TYPE,
            header::DATE,
            header::IF_MODIFIED_SINCE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_UNMODIFIED_SINCE,
            header::RANGE,
        ] {
            let value = text(&name);
            // An empty body has an empty length, since version 2015-02-21.
            let empty = name == header::CONTENT_LENGTH && value == "0";
            lines.push(if empty { String::new() } else { value.to_owned() });
        }
        let mut own: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-ms-"))
            .map(|(name, value)| format!("{name}:{}", value.to_str().unwrap_or_default().trim()))
            .collect();
        own.sort_unstable();
        lines.append(&mut own);
        lines.push(format!("/{}{path}", self.account));
        let mut query: Vec<String> = query.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        query.sort_unstable();
        lines.append(&mut query);
        lines.join("\n")
    }

    /// The query of a URL that reads this blob.
    pub(super) fn sas(&self, sas: &BlobSas<'_>) -> String {
        // A stored policy, of which there is none.
        sas.query(&self.account, &[""], &[], &self.key)
    }

    fn signature(&self, text: &str) -> String {
        hmac(&self.key, text)
    }
}

/// A key by which the store lets an identity sign URLs, for a week at most. What it signs works as long as the identity
/// may do it itself. <https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key>
pub(super) struct DelegationKey {
    pub(super) object_id: String,
    pub(super) tenant_id: String,
    pub(super) starts: String,
    pub(super) ends: String,
    pub(super) service: String,
    pub(super) version: String,
    pub(super) key: Zeroizing<Vec<u8>>,
}

impl DelegationKey {
    /// The query of a URL that reads this blob.
    /// <https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas>
    pub(super) fn sas(&self, account: &str, sas: &BlobSas<'_>) -> String {
        let Self { object_id, tenant_id, starts, ends, service, version, key } = self;
        let none = "";
        // After the key: authorized and unauthorized object, correlation.
        let signed = [object_id, tenant_id, starts, ends, service, version, none, none, none];
        let named = [
            ("skoid", object_id.as_str()),
            ("sktid", tenant_id),
            ("skt", starts),
            ("ske", ends),
            ("sks", service),
            ("skv", version),
        ];
        sas.query(account, &signed, &named, key)
    }
}

impl BlobSas<'_> {
    /// `signed` are the lines that say by what the URL is signed, `named` the parameters that do.
    fn query(&self, account: &str, signed: &[&str], named: &[(&str, &str)], key: &[u8]) -> String {
        let (starts, ends) = (sas_time(self.starts), sas_time(self.ends));
        let protocol = if self.plain_http { "https,http" } else { "https" };
        let resource = format!("/blob/{account}/{}/{}", self.container, self.blob);
        let none = "";
        let mut lines = vec!["r", &starts, &ends, &resource];
        lines.extend(signed);
        lines.extend([
            none, // addresses of clients
            protocol,
            VERSION,
            "b",
            none, // snapshot
            none, // encryption scope
            none, // cache control
            self.disposition,
            none, // content encoding
            none, // content language
            none, // content type
        ]);
        let signature = hmac(key, &lines.join("\n"));
        let mut query = vec![
            ("sv", VERSION),
            ("st", &starts),
            ("se", &ends),
            ("sr", "b"),
            ("sp", "r"),
            ("spr", protocol),
            ("rscd", self.disposition),
        ];
        query.extend(named);
        query.push(("sig", &signature));
        query.iter().map(|(name, value)| format!("{name}={}", in_query(value))).collect::<Vec<_>>().join("&")
    }
}

/// A time as signatures have it.
pub(super) fn sas_time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn hmac(key: &[u8], text: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::store::rest::in_path;

    /// The key of the vectors; of no account.
    const KEY: &str = "bm90IGEgcmVhbCBrZXkgb2YgYW55IGFjY291bnQsIG9ubHkgYSB0ZXN0IHZlY3Rvcg==";

    fn key() -> AccountKey {
        AccountKey::new("acct1", &Secret::new(KEY)).expect("a key")
    }

    #[test]
    fn the_text_that_a_request_signs_is_the_one_that_microsoft_publishes() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ms-version", HeaderValue::from_static("2015-02-21"));
        headers.insert("x-ms-date", HeaderValue::from_static("Fri, 26 Jun 2015 23:39:12 GMT"));
        let query = [("restype", "container"), ("comp", "metadata"), ("timeout", "20")];
        let query = query.map(|(name, value)| (name, value.to_owned()));
        let key = AccountKey::new("myaccount", &Secret::new(KEY)).expect("a key");
        assert_eq!(
            key.request_to_sign(&Method::GET, "/mycontainer", &query, &headers),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }

    /// A request of Microsoft's SDK, as @azure/storage-blob 12.32.0 sent it.
    #[test]
    fn a_request_is_signed_as_by_microsofts_sdk() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/octet-stream"),
            ("content-length", "11"),
            ("x-ms-version", "2026-04-06"),
            ("x-ms-client-request-id", "15f7178b-9e1a-4c6c-b19b-4808a36362c2"),
            ("x-ms-date", "Thu, 26 Nov 2026 03:06:49 GMT"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let query = [("comp", "block".to_owned()), ("blockid", "QUFBQQ==".to_owned())];
        let path = format!("/acct1/{}", in_path("velero/a b/k.tar.gz"));
        assert_eq!(
            key().authorization(&Method::PUT, &path, &query, &headers),
            "SharedKey acct1:2dvUTOyhhYAJYprFmgWKIZhrF8UOnvJ/0A8zasrsTtU="
        );
    }

    /// URLs of Microsoft's SDK, as @azure/storage-blob 12.32.0 made them with the same times.
    #[test]
    fn a_url_is_signed_as_by_microsofts_sdk() {
        let time = |text: &str| text.parse().expect("a time");
        for (plain_http, signature) in [
            (false, "fIYONF8NkStxh4qs2fcWTMExCS0qvBaejh8lZAcm9iM%3D"),
            (true, "mdmttXoyKe7Xi6VnAuhm9DORnQlVS4pMyr8EZWeMzFE%3D"),
        ] {
            let query = key().sas(&BlobSas {
                container: "velero",
                blob: "pre fix/plugins/debugbundle/x/dbg-1.tar.gz",
                starts: time("2026-11-21T02:45:00Z"),
                ends: time("2026-11-21T03:10:00Z"),
                plain_http,
                disposition: "attachment; filename=\"dbg-1.tar.gz\"",
            });
            assert!(query.ends_with(&format!("&sig={signature}")), "{query}");
            assert!(
                query.starts_with("sv=2021-12-02&st=2026-11-21T02%3A45%3A00Z&se=2026-11-21T03%3A10%3A00Z&sr=b&sp=r"),
                "{query}"
            );
        }
    }

    #[test]
    fn sec_c1_a_key_is_base64_and_never_shown() {
        assert!(AccountKey::new("acct1", &Secret::new("not base64!")).is_none());
        assert!(AccountKey::new("acct1", &Secret::new("")).is_none());
        assert_eq!(format!("{:?}", key()), "AccountKey(acct1, ***)");
    }
}
