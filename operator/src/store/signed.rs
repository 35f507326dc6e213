//! A presigned download URL. Anyone who has it can download, so only the explicit `expose` shows it whole.

use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Key, StoreError};

/// The most that stores sign for.
const SEVEN_DAYS: Duration = Duration::from_hours(7 * 24);
/// A URL expires this long before the credential that signed it.
const BEFORE_THE_END: Duration = Duration::from_mins(1);

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

/// How long a URL lives, in whole seconds, and what limits that.
pub(super) fn life(
    asked: Duration,
    credential_end: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Duration, Limit), StoreError> {
    let (mut life, mut limit) = if asked > SEVEN_DAYS { (SEVEN_DAYS, Limit::SevenDays) } else { (asked, Limit::Asked) };
    if let Some(end) = credential_end {
        let left = Duration::try_from(end.duration_since(now)).unwrap_or_default().saturating_sub(BEFORE_THE_END);
        if left < life {
            (life, limit) = (left, Limit::Credential);
        }
    }
    let life = Duration::from_secs(life.as_secs());
    if life.is_zero() {
        return Err(StoreError::Expired("it expires within a minute, too soon to sign a URL".to_owned()));
    }
    Ok((life, limit))
}

/// The content type of a bundle.
pub(super) const CONTENT_TYPE: &str = "application/gzip";

/// The header under whose name a download is saved.
pub(super) fn disposition(key: &Key) -> String {
    format!("attachment; filename=\"{}\"", key.file_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T03:00:00Z".parse().expect("a time")
    }

    #[test]
    fn sec_u3_a_url_never_outlives_its_credential() {
        let end = |seconds: i64| now().checked_add(jiff::SignedDuration::from_secs(seconds)).ok();
        let life = |asked, end| life(Duration::from_secs(asked), end, now());
        assert_eq!(life(3600, None).expect("signed"), (Duration::from_hours(1), Limit::Asked));
        assert_eq!(life(3600, end(7200)).expect("signed"), (Duration::from_hours(1), Limit::Asked));
        assert_eq!(life(3600, end(1800)).expect("signed"), (Duration::from_mins(29), Limit::Credential));
        assert_eq!(life(10_000_000, None).expect("signed"), (SEVEN_DAYS, Limit::SevenDays));
        assert!(matches!(life(3600, end(60)), Err(StoreError::Expired(_))));
        assert!(matches!(life(3600, end(-5)), Err(StoreError::Expired(_))));
    }

    #[test]
    fn sec_u7_the_query_is_shown_to_nobody() {
        let url = SignedUrl::new("https://s3.example.com/b/k.tar.gz?X-Amz-Signature=abc&X-Amz-Credential=x");
        assert_eq!(format!("{url} {url:?}"), "https://s3.example.com/b/k.tar.gz https://s3.example.com/b/k.tar.gz");
        assert!(url.expose().ends_with("X-Amz-Credential=x"));
    }
}
