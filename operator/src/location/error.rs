//! Why a BackupStorageLocation cannot be used, in sentences for the person who has to fix it.
//! `store::StoreError` covers what the store itself answers.

use debugbundle_crd::Reason;

/// Why there is no usable location.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// The named location does not exist.
    #[error("BackupStorageLocation {} not found; found: {}", shown(asked), listed(found))]
    NotFound {
        /// The name.
        asked: String,
        /// The existing locations.
        found: Vec<String>,
    },
    /// There is none at all.
    #[error("there is no BackupStorageLocation in Velero's namespace")]
    None,
    /// Several locations could be meant.
    #[error("{why}: {}; set {setting}", listed(candidates))]
    Ambiguous {
        /// The field by which a user names the location.
        setting: &'static str,
        /// Why it is ambiguous.
        why: &'static str,
        /// The names.
        candidates: Vec<String>,
    },
    /// The location is read-only.
    #[error("BackupStorageLocation {} is ReadOnly; {}", shown(name), usable(setting, alternatives))]
    ReadOnly {
        /// The field by which a user names the location.
        setting: &'static str,
        /// The location.
        name: String,
        /// The locations that are ReadWrite and Available.
        alternatives: Vec<String>,
    },
    /// Its provider or configuration cannot be used.
    #[error("BackupStorageLocation {}: {why}", shown(name))]
    Invalid {
        /// The location.
        name: String,
        /// What is wrong, the value seen, what is allowed.
        why: String,
    },
    /// Its credential cannot be used.
    #[error("BackupStorageLocation {}: {why}", shown(name))]
    Credential {
        /// The location.
        name: String,
        /// What is wrong; names of Secrets and keys only, never a value.
        why: String,
    },
    /// A Secret, or the key in it, does not exist, or the key is empty. It may be there in a moment, as in the middle of a rotation.
    #[error("BackupStorageLocation {}: {why}", shown(name))]
    Absent {
        /// The location.
        name: String,
        /// What is missing; names of Secrets and keys only.
        why: String,
    },
    /// The operator may not read a Secret.
    #[error("BackupStorageLocation {}: {why}", shown(name))]
    Forbidden {
        /// The location.
        name: String,
        /// The Secret, and the rule that would allow it.
        why: String,
    },
    /// The API server did not return the object.
    #[error("BackupStorageLocation {}: {what} could not be read", shown(name))]
    Api {
        /// The location.
        name: String,
        /// The object that was asked for.
        what: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
}

impl LocationError {
    /// The word for conditions, Events and metrics.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotFound { .. } | Self::None => Reason::LocationNotFound,
            Self::Ambiguous { .. } => Reason::LocationAmbiguous,
            Self::ReadOnly { .. } => Reason::LocationReadOnly,
            Self::Invalid { .. } => Reason::LocationInvalid,
            Self::Credential { .. } | Self::Absent { .. } => Reason::CredentialInvalid,
            Self::Forbidden { .. } => Reason::SecretForbidden,
            Self::Api { .. } => Reason::ApiError,
        }
    }

    /// Whether a retry a moment later may succeed without any change.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Api { .. })
    }
}

/// A value as messages show it: quoted, escaped, cut to 64 characters.
pub(crate) fn shown(value: &str) -> String {
    const MOST: usize = 64;
    let mut out = String::from("\"");
    for (at, letter) in value.chars().enumerate() {
        if at == MOST {
            out.push('…');
            break;
        }
        // Everything that is not plain ASCII is escaped: confusable and bidirectional characters mislead the reader.
        if letter == ' ' || (letter.is_ascii_graphic() && letter != '"' && letter != '\\') {
            out.push(letter);
        } else {
            out.extend(letter.escape_default());
        }
    }
    out.push('"');
    out
}

/// Joins at most ten names.
pub(crate) fn listed(names: &[String]) -> String {
    const MOST: usize = 10;
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(MOST).map(|name| bare(name));
    let shown = shown.collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

/// A name that is escaped, but without quotes.
fn bare(name: &str) -> String {
    let quoted = shown(name);
    quoted[1..quoted.len() - 1].to_owned()
}

fn usable(setting: &str, alternatives: &[String]) -> String {
    if alternatives.is_empty() {
        "a bundle needs a location that is ReadWrite and Available, and there is no other".to_owned()
    } else {
        format!("set {setting} to one of: {}", listed(alternatives))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_escaped_and_short() {
        assert_eq!(shown("a\"b\n\u{202e}c"), r#""a\"b\n\u{202e}c""#);
        assert_eq!(shown(&"x".repeat(100)).chars().count(), 67);
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|n| format!("bsl-{n}")).collect();
        assert!(listed(&names).ends_with("bsl-9 and 2 more"));
        assert_eq!(listed(&[]), "none");
    }
}
