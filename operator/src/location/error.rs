//! Why a BackupStorageLocation cannot be used, in sentences for whoever has to mend it.
//! What the store itself answers is not here: that is `store::StoreError`.

use debugbundle_crd::Reason;

/// Why there is no usable location.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// The one that was named does not exist.
    #[error("BackupStorageLocation {} not found; found: {}", shown(asked), listed(found))]
    NotFound {
        /// The name.
        asked: String,
        /// Those that exist.
        found: Vec<String>,
    },
    /// There is none at all.
    #[error("there is no BackupStorageLocation in Velero's namespace")]
    None,
    /// More than one could be meant.
    #[error("{why}: {}; set spec.storageLocation", listed(candidates))]
    Ambiguous {
        /// What makes it so.
        why: &'static str,
        /// The names.
        candidates: Vec<String>,
    },
    /// The location is read-only.
    #[error("BackupStorageLocation {} is ReadOnly; {}", shown(name), read_write(alternatives))]
    ReadOnly {
        /// The location.
        name: String,
        /// Those that are ReadWrite.
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
    /// The API server did not give what was asked.
    #[error("BackupStorageLocation {}: {what} could not be read", shown(name))]
    Api {
        /// The location.
        name: String,
        /// What was asked for.
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
            Self::Credential { .. } => Reason::CredentialInvalid,
            Self::Api { .. } => Reason::ApiError,
        }
    }

    /// Whether the same question may be answered differently a moment later, without anybody mending anything.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Api { .. })
    }
}

/// A value as it may stand in a message: quoted, escaped, at most 64 characters of it.
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

/// At most ten names.
pub(crate) fn listed(names: &[String]) -> String {
    const MOST: usize = 10;
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(MOST).map(|name| bare(name));
    let shown = shown.collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

/// A name without its quotes, escaped all the same.
fn bare(name: &str) -> String {
    let quoted = shown(name);
    quoted[1..quoted.len() - 1].to_owned()
}

fn read_write(alternatives: &[String]) -> String {
    if alternatives.is_empty() {
        "a bundle needs a ReadWrite one, and there is none".to_owned()
    } else {
        format!("set spec.storageLocation to one of: {}", listed(alternatives))
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
