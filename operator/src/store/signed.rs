//! A presigned download URL. Anyone who has it can download, so only the explicit `expose` shows it whole.

use jiff::Timestamp;
use zeroize::Zeroizing;

/// A presigned URL. Debug and Display stop before the query, which is the secret part.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(Zeroizing<String>);

impl SignedUrl {
    pub(crate) fn new(url: &str) -> Self {
        Self(Zeroizing::new(url.to_owned()))
    }

    /// The whole URL, for status only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SignedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.split('?').next().unwrap_or_default())
    }
}

impl std::fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What limits a URL's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The requested time.
    Asked,
    /// Seven days, the most that stores sign for.
    SevenDays,
    /// The expiry of the credential that signed it.
    Credential,
}

/// A URL and its true life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The URL.
    pub url: SignedUrl,
    /// When it stops working.
    pub expires: Timestamp,
    /// What limits its life.
    pub limit: Limit,
    /// Names of the headers that the download must carry; with SSE-C the URL alone is useless.
    pub headers: Vec<String>,
    /// Whether only the cluster can resolve the host; then `publicUrl` should be set.
    pub cluster_internal: bool,
    /// Whether it is plain http.
    pub plain_http: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_u7_the_query_is_shown_to_nobody() {
        let url = SignedUrl::new("https://s3.example.com/b/k.tar.gz?X-Amz-Signature=abc&X-Amz-Credential=x");
        assert_eq!(format!("{url} {url:?}"), "https://s3.example.com/b/k.tar.gz https://s3.example.com/b/k.tar.gz");
        assert!(url.expose().ends_with("X-Amz-Credential=x"));
    }
}
