//! Why a run failed, grouped by what happens next: nothing, another attempt, or a message in status.
//! The failure of a single item is data: a line in the manifest.

use debugbundle_crd::Reason;

use crate::probe_step::ProbeStep;

/// Why a run did not reach its end. Its category, which is also the label of metrics, is [`Fault::reason`] with
/// [`Fault::step`]. It holds a sentence instead of its source: the text of a source may contain what was masked in the
/// sentence.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// Somebody else changed, claimed or deleted the object: nothing is left to do.
    #[error("the DebugBundle was changed, claimed or deleted by somebody else")]
    Lost,
    /// The work was asked to stop.
    #[error("the run was cancelled")]
    Cancelled,
    /// A person has to change something first: reported in status, not tried again.
    #[error("{message}")]
    Terminal {
        /// The reason for conditions, Events and metrics.
        reason: Reason,
        /// The step on the way to the store that failed, if it is one.
        step: Option<ProbeStep>,
        /// The message for people.
        message: String,
    },
    /// It may go away by itself: tried again, at growing intervals.
    #[error("{message}")]
    Transient {
        /// The reason for conditions, Events and metrics.
        reason: Reason,
        /// The step on the way to the store that failed, if it is one.
        step: Option<ProbeStep>,
        /// The message for people.
        message: String,
    },
}

impl Fault {
    /// A failure that only a person can mend.
    pub fn terminal(reason: Reason, message: impl Into<String>) -> Self {
        Self::Terminal { reason, step: None, message: message.into() }
    }

    /// A failure that may go away by itself.
    pub fn transient(reason: Reason, message: impl Into<String>) -> Self {
        Self::Transient { reason, step: None, message: message.into() }
    }

    /// The step on the way to a store that failed, if it is one.
    pub fn step(&self) -> Option<ProbeStep> {
        match self {
            Self::Terminal { step, .. } | Self::Transient { step, .. } => *step,
            Self::Lost | Self::Cancelled => None,
        }
    }

    /// The same at this step on the way to a store; the message begins with the step's word.
    #[must_use]
    pub fn at(mut self, failed: ProbeStep) -> Self {
        if let Self::Terminal { step, .. } | Self::Transient { step, .. } = &mut self {
            *step = Some(failed);
        }
        self.map_message(|message| format!("{}: {message}", failed.word()))
    }

    /// A failure of the API server; its message is kept, because it never contains credentials.
    #[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
    pub fn api(error: kube::Error) -> Self {
        Self::transient(Reason::ApiError, api_sentence(&error))
    }

    /// The same with its message, if it has one, rewritten by `rewrite`: foreign text in it may contain secrets.
    #[must_use]
    pub fn map_message(self, rewrite: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Terminal { reason, step, message } => Self::Terminal { reason, step, message: rewrite(&message) },
            Self::Transient { reason, step, message } => Self::Transient { reason, step, message: rewrite(&message) },
            silent @ (Self::Lost | Self::Cancelled) => silent,
        }
    }

    /// The reason for conditions and Events; `Interrupted` if the fault has none of its own.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Lost | Self::Cancelled => Reason::Interrupted,
            Self::Terminal { reason, .. } | Self::Transient { reason, .. } => *reason,
        }
    }
}

/// Whether a creation was refused because a controller has not counted a new ResourceQuota yet
/// (`k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go`). After the installation of the
/// CustomResourceDefinition this can last five minutes and a half: the controller looks for new kinds every half minute,
/// and counts a quota that it saw before only when it next counts all of them
/// (`k8s.io/kubernetes/pkg/controller/resourcequota/resource_quota_controller.go`).
pub fn is_quota_uncounted(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.is_forbidden() && status.message.contains("status unknown for quota"))
}

/// The API server's error as a sentence: the message of its Status, or the innermost cause of a broken connection.
pub fn api_sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server answered {}: {}", status.code, status.message),
        other => {
            let mut cause: &dyn std::error::Error = other;
            while let Some(source) = cause.source() {
                cause = source;
            }
            format!("the request to the API server failed: {cause}")
        }
    }
}
