//! Explains a Backup, a Restore or the installation from a file that somebody attached to a ticket: a bundle of ours, one
//! of `velero debug`, or a tree of `oc adm inspect` or a must-gather. The same redaction, the same evidence and the same
//! diagnosis as in the cluster; nothing is unpacked to disk.
//!
//! ```text
//! tree (paths, bytes) ─▶ form (what each file is) ─▶ objects, then logs and results (redacted) ─▶ Evidence ─▶ diagnose
//! ```
//!
//! * [`tree`]: the files of an archive or a folder, under limits.
//! * [`form`]: which collector made it, and what a path contains. Pure.
//! * [`objects`]: the Kubernetes objects, redacted.
//! * [`described`]: the results in what `velero describe` prints. Pure.
//! * [`texts`]: logs and Velero's own files, redacted.
//! * [`examine`]: from these to evidence. Pure.

mod described;
mod examine;
mod form;
mod objects;
mod texts;
mod tree;

use std::{io, path::PathBuf};

use debugbundle_crd::TargetKind;

pub use examine::{Examination, Wish, examine};

/// Why a file cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// There is no such file or folder.
    #[error("{} not found", .0.display())]
    NotFound(PathBuf),
    /// It, or something in it, cannot be read.
    #[error("{} cannot be read: {source}", .place.display())]
    Unreadable {
        /// The file or folder.
        place: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It exceeds a limit.
    #[error("{} is larger than this command reads: {what}", .place.display())]
    TooLarge {
        /// The file or folder.
        place: PathBuf,
        /// Which limit.
        what: String,
    },
    /// No collector that is known writes such files.
    #[error(
        "{} is none of: a debug bundle, a bundle of velero debug, a tree of oc adm inspect or of a must-gather",
        .0.display()
    )]
    Unknown(PathBuf),
    /// The target is not in it.
    #[error("{} contains no {kind} {name}{}", .place.display(), .others)]
    NoTarget {
        /// The file or folder.
        place: PathBuf,
        /// The kind.
        kind: TargetKind,
        /// The name, as it was given.
        name: String,
        /// `; it contains: a, b`, or nothing.
        others: String,
    },
}
