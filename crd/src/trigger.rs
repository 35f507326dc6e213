//! Why a DebugBundle exists: a user requested it, or something happened to a Backup or Restore.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DebugBundle, TRIGGER_LABEL};

/// Why a DebugBundle exists. Also the value of the label `debugbundle.io/trigger` and of `status.trigger`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// A user requested it.
    Request,
    /// The target ended PartiallyFailed.
    PartiallyFailed,
    /// The target ended Failed.
    Failed,
    /// Velero refused the target: FailedValidation.
    FailedValidation,
    /// The target is unfinished, and nothing moves any more.
    Stuck,
}

impl Trigger {
    /// The triggers by which the operator creates DebugBundles itself.
    pub const AUTOMATIC: [Self; 4] = [Self::PartiallyFailed, Self::Failed, Self::FailedValidation, Self::Stuck];

    /// The word in the label, in status and in a policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "Request",
            Self::PartiallyFailed => "PartiallyFailed",
            Self::Failed => "Failed",
            Self::FailedValidation => "FailedValidation",
            Self::Stuck => "Stuck",
        }
    }

    /// Reads the trigger from the labels of a DebugBundle. Without the label, or with another value, the DebugBundle
    /// counts as requested: the operator itself sets only automatic triggers.
    pub fn of_labels(labels: Option<&BTreeMap<String, String>>) -> Self {
        let value = labels.and_then(|labels| labels.get(TRIGGER_LABEL)).map(String::as_str);
        Self::AUTOMATIC.into_iter().find(|trigger| value == Some(trigger.as_str())).unwrap_or(Self::Request)
    }

    /// Whether the operator created the DebugBundle itself.
    pub fn is_automatic(self) -> bool {
        self != Self::Request
    }

    /// The trigger of a Backup or Restore in this phase, if it has ended badly.
    pub fn of_phase(phase: &str) -> Option<Self> {
        Self::AUTOMATIC.into_iter().find(|trigger| *trigger != Self::Stuck && trigger.as_str() == phase)
    }
}

impl DebugBundle {
    /// Why it exists.
    pub fn trigger(&self) -> Trigger {
        Trigger::of_labels(self.metadata.labels.as_ref())
    }
}

impl std::fmt::Display for Trigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
