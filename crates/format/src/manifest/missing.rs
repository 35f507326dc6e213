//! What the manifest says of a wanted item that is not in the archive: why it is missing, and what would cure it.

use serde::Serialize;

/// A wanted item that is not in the archive: `missing[]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// In words.
    pub what: String,
    /// The path it would have had.
    pub path: String,
    /// Closed vocabulary.
    pub code: MissingCode,
    /// Whether it makes the bundle PartiallyFailed.
    pub severity: MissingSeverity,
    /// The message, escaped, at most 512 bytes.
    pub why: String,
    /// The missing permission; with `Forbidden` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub need: Option<Need>,
    /// Id of the shipped rule that grants it; with `Forbidden` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What to do, ready to paste; empty if nothing helps.
    pub cure: String,
}

impl Missing {
    /// The texts, the path aside, that contain words of others: names and answers.
    pub fn of_others(&mut self) -> impl Iterator<Item = &mut String> {
        let Self { what, why, cure, need, .. } = self;
        [what, why, cure].into_iter().chain(need.as_mut().map(|need| &mut need.namespace))
    }
}

/// Whether a missing item is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingSeverity {
    /// Explained by the state of things.
    Note,
    /// A failure: the bundle is PartiallyFailed.
    Error,
}

/// A permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Need {
    /// Verb.
    pub verb: String,
    /// API group; empty is the core group.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Subresource, if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// Namespace; empty: in the whole cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Why an item is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum MissingCode {
    /// Absent from the store, and the phase explains it.
    NeverWritten,
    /// Absent from the store though the phase says that it was written.
    NotFound,
    /// There is no previous, terminated container.
    NoPrevious,
    /// The container has not started.
    NotStarted,
    /// It exists and is empty.
    Empty,
    /// Deleted, or another object of the same name is there now.
    Gone,
    /// The cluster does not serve this kind.
    NotInstalled,
    /// Outside the namespaces that the operator may read.
    NotAllowed,
    /// Beyond the number of namespaces that are read.
    NotLooked,
    /// A permission is missing.
    Forbidden,
    /// The node does not answer.
    NodeUnreachable,
    /// The answer had status 200 and contained an error.
    BodyIsError,
    /// The API refused or failed.
    ApiError,
    /// Time was over.
    Deadline,
    /// The object store does not answer.
    StoreUnreachable,
    /// The object store refused.
    StoreDenied,
    /// The object store does not accept the location's credential.
    CredentialInvalid,
    /// Not what it should be: no gzip, cut gzip, broken JSON.
    Corrupt,
    /// Over its cap.
    TooLarge,
    /// The redactor refused it.
    Withheld,
}
