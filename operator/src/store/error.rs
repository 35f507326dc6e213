//! Errors between us and a store, grouped by what the reader can do about them.
//! Of a store's answer a message contains only the HTTP status, the error code, the region and the clock's difference.

use std::path::PathBuf;

use debugbundle_crd::Reason;

use crate::{
    location::Words,
    probe::{ProbeStep, clock_words},
};

/// The longest message.
const MOST_CHARS: usize = 256;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Checking whether the object exists, or reading it.
    Get,
    /// Writing it.
    Put,
    /// Removing it.
    Delete,
    /// Ending an unfinished multipart upload.
    Abort,
    /// Listing unfinished multipart uploads.
    ListUploads,
    /// Asking which region the bucket is in.
    FindRegion,
    /// Listing the folders below the prefix.
    List,
    /// Asking for what signs a URL.
    SignUrl,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store accepts the credential and denies the request.
    #[error("the store refused {permission} on {bucket}/{key}: {answer}")]
    Denied {
        /// The permission that is lacking, as the provider names it.
        permission: &'static str,
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// HTTP status and error code.
        answer: Answer,
    },
    /// The store does not know the credential, or it is not whole.
    #[error("the store does not accept the credential: {answer}; {cure}")]
    NotAccepted {
        /// What is wrong with it, or what cures it.
        cure: &'static str,
        /// HTTP status and error code.
        answer: Answer,
    },
    /// There is no such bucket.
    #[error("bucket {bucket} does not exist: {answer}; check the location's {}", words.place)]
    NoBucket {
        /// The provider's words.
        words: &'static Words,
        /// The bucket.
        bucket: String,
        /// HTTP status and error code.
        answer: Answer,
    },
    /// The bucket is elsewhere; redirects are not followed.
    #[error("bucket {bucket} is not in this region: {answer}; {cure}")]
    WrongRegion {
        /// The bucket.
        bucket: String,
        /// What cures it.
        cure: String,
        /// HTTP status and error code.
        answer: Answer,
    },
    /// No answer.
    #[error("the store is unreachable: {why}")]
    Unreachable {
        /// The step that failed.
        at: ProbeStep,
        /// What happened there.
        why: String,
    },
    /// No store may have this address.
    #[error("{0}")]
    NotAllowed(String),
    /// The store answered that it cannot serve the request now.
    #[error("the store failed: {0}")]
    Unavailable(Answer),
    /// The store has no room.
    #[error("the store has no space for the bundle: {0}")]
    Full(Answer),
    /// The clocks differ by more than the store accepts.
    #[error("the store refuses the request because of its time: {answer}; {}", skew_hint(*ahead))]
    Skewed {
        /// HTTP status and error code.
        answer: Answer,
        /// By how many seconds the store's clock is ahead of ours, if its answer states the time.
        ahead: Option<i64>,
    },
    /// The credential is no longer, or not yet, valid.
    #[error("the credential is no longer valid: {0}")]
    Expired(String),
    /// No credential could be obtained.
    #[error("no credential: {0}")]
    NoCredential(String),
    /// The store rejected the request itself.
    #[error("the store rejected the request: {0}")]
    Rejected(Answer),
    /// The object in the store differs from what was sent.
    #[error("the object in the store differs from what was sent: {0}")]
    Corrupt(String),
    /// The upload's id could not be noted, so the upload was aborted before its first part.
    #[error("the upload was aborted before its first part: {0}")]
    NotNoted(String),
    /// The URL cannot be signed.
    #[error("no URL can be signed: {0}")]
    CannotSign(String),
    /// The file that is to be sent cannot be read.
    #[error("{path} cannot be read: {}", source.kind())]
    Local {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

/// How a store answered: its HTTP status and its error code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status; 0 if there was none.
    pub status: u16,
    /// Error code; only letters, digits, `.`, `_` and `-`, at most 64.
    code: Option<String>,
}

impl Answer {
    /// Takes the code only if it looks like one: other text from a store must not reach status or logs.
    pub fn new(status: u16, code: Option<&str>) -> Self {
        let sound = |code: &&str| {
            (1..=64).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        Self { status, code: code.filter(sound).map(ToOwned::to_owned) }
    }

    /// The error code, or nothing.
    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status, &self.code) {
            (0, None) => f.write_str("no answer"),
            (0, Some(code)) => f.write_str(code),
            (status, None) => write!(f, "HTTP {status}"),
            (status, Some(code)) => write!(f, "HTTP {status} {code}"),
        }
    }
}

impl StoreError {
    /// Whether waiting may cure it.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unavailable(_) | Self::Full(_) | Self::Skewed { .. })
    }

    /// A store that gave no answer, though it was reached.
    pub fn silent(why: impl Into<String>) -> Self {
        Self::Unreachable { at: ProbeStep::Answer, why: why.into() }
    }

    /// The step that failed, if it is one on the way to a store.
    pub const fn step(&self) -> Option<ProbeStep> {
        match self {
            Self::Denied { .. } => Some(ProbeStep::Permission),
            Self::NotAccepted { .. } | Self::Expired(_) => Some(ProbeStep::Identity),
            Self::NoBucket { .. } | Self::WrongRegion { .. } => Some(ProbeStep::Bucket),
            Self::Unreachable { at, .. } => Some(*at),
            Self::NotAllowed(_) => Some(ProbeStep::Connection),
            Self::Unavailable(_) | Self::Full(_) | Self::Rejected(_) => Some(ProbeStep::Answer),
            Self::Skewed { .. } => Some(ProbeStep::Clock),
            Self::NoCredential(_) => Some(ProbeStep::Credential),
            Self::Corrupt(_) | Self::NotNoted(_) | Self::CannotSign(_) | Self::Local { .. } | Self::Cancelled => None,
        }
    }

    /// Whether reading the credential again may cure it.
    pub const fn wants_new_credential(&self) -> bool {
        matches!(self, Self::Expired(_))
    }

    /// The word for conditions, Events and metrics.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Denied { .. } | Self::Rejected(_) => Reason::UploadDenied,
            Self::NoBucket { .. } | Self::WrongRegion { .. } | Self::NotAllowed(_) => Reason::LocationInvalid,
            Self::Unreachable { .. } | Self::Unavailable(_) | Self::Full(_) => Reason::StoreUnreachable,
            Self::NotAccepted { .. } | Self::Skewed { .. } | Self::Expired(_) | Self::NoCredential(_) => {
                Reason::CredentialInvalid
            }
            Self::Corrupt(_) => Reason::StoredObjectCorrupt,
            Self::NotNoted(_) => Reason::ApiError,
            Self::CannotSign(_) => Reason::SigningUnsupported,
            Self::Local { .. } | Self::Cancelled => Reason::Interrupted,
        }
    }

    /// The message, cut to 256 characters: bucket and key may be long.
    pub fn message(&self) -> String {
        let whole = self.to_string();
        if whole.chars().count() <= MOST_CHARS {
            return whole;
        }
        whole.chars().take(MOST_CHARS - 1).chain(std::iter::once('…')).collect()
    }
}

fn skew_hint(ahead: Option<i64>) -> String {
    ahead.map_or_else(
        || "the clocks of store and operator differ by more than the store allows".to_owned(),
        |ahead| format!("{}; correct the clocks", clock_words(ahead)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_n7_a_code_that_is_none_is_left_out() {
        assert_eq!(Answer::new(403, Some("AccessDenied")).to_string(), "HTTP 403 AccessDenied");
        for odd in ["", "<b>secret</b>", "a b", "token=hunter2", &"x".repeat(65), "a\nb"] {
            assert_eq!(Answer::new(500, Some(odd)).to_string(), "HTTP 500", "{odd}");
        }
    }

    #[test]
    fn sec_n7_messages_are_bounded_and_name_what_to_mend() {
        let denied = StoreError::Denied {
            permission: "store:Write",
            bucket: "bkt".to_owned(),
            key: "k".repeat(1024),
            answer: Answer::new(403, Some("AccessDenied")),
        };
        assert!(denied.message().starts_with("the store refused store:Write on bkt/kkk"));
        assert_eq!(denied.message().chars().count(), 256);
    }

    #[test]
    fn only_waiting_cures_the_transient() {
        assert!(StoreError::silent("x").is_transient());
        assert!(StoreError::Full(Answer::default()).is_transient());
        assert!(!StoreError::Rejected(Answer::default()).is_transient());
        assert!(!StoreError::Corrupt("x".to_owned()).is_transient());
    }
}
