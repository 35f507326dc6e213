//! A run's failure, grouped by what follows from it: nothing, another try, or a line in status.
//! An item's failure is not here: it is data, a line in the manifest.

use debugbundle_crd::Reason;

/// Why a run ended without doing what it set out to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// Somebody else changed, claimed or deleted the object: there is nothing more to do here.
    #[error("the DebugBundle was changed, claimed or deleted by somebody else")]
    Lost,
    /// The work was asked to stop.
    #[error("the run was cancelled")]
    Cancelled,
    /// A person has to change something first: told in status, not tried again.
    #[error("{message}")]
    Terminal {
        /// The word for it.
        reason: Reason,
        /// The sentence for it.
        message: String,
    },
    /// It may go away by itself: tried again, later and later.
    #[error("{message}")]
    Transient {
        /// The word for it.
        reason: Reason,
        /// The sentence for it.
        message: String,
    },
}

impl Fault {
    /// A failure that only a person can mend.
    pub fn terminal(reason: Reason, message: impl Into<String>) -> Self {
        Self::Terminal { reason, message: message.into() }
    }

    /// A failure of the API server's; what it said is kept, credentials are never in it.
    #[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
    pub fn api(error: kube::Error) -> Self {
        Self::Transient { reason: Reason::ApiError, message: api_sentence(&error) }
    }

    /// The same with another sentence, where it has one: what is foreign in it may hold what must not be seen.
    #[must_use]
    pub fn map_message(self, told: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Terminal { reason, message } => Self::Terminal { reason, message: told(&message) },
            Self::Transient { reason, message } => Self::Transient { reason, message: told(&message) },
            silent @ (Self::Lost | Self::Cancelled) => silent,
        }
    }

    /// The word for it, where it has one.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Lost | Self::Cancelled => Reason::Interrupted,
            Self::Terminal { reason, .. } | Self::Transient { reason, .. } => *reason,
        }
    }
}

/// What the API server said, as a sentence: the message of its Status, or the innermost cause of a broken connection.
pub fn api_sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server answered {}: {}", status.code, status.message),
        other => {
            let mut cause: &dyn std::error::Error = other;
            while let Some(source) = cause.source() {
                cause = source;
            }
            format!("the API server could not be asked: {cause}")
        }
    }
}
