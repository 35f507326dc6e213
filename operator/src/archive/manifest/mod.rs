//! What `manifest.json` says, as it is written and as it is read: the contract with every reader of a bundle.
//! [`super::seal`] fills in where each segment lies.
//!
//! * [`entry`]: a file in the archive. * [`missing`]: an item that is absent. * [`head`]: everything else.
//! * [`write`]: how it is written. * [`view`]: how it is read.

mod entry;
mod head;
mod missing;
mod time;
mod view;
mod write;

use serde::{Deserialize, Serialize};

pub use entry::{Entry, Source, SourceKind, Truncation, TruncationReason};
pub use head::{
    BundleInfo, ClusterInfo, FindingsInfo, ManifestHead, NamespaceInfo, OperatorInfo, Origin, Outcome, Permission,
    TargetInfo, Timings, Totals, Trimmed, VeleroInfo, Window,
};
pub use missing::{Missing, MissingCode, MissingSeverity, Need};
pub use view::{BundleView, EntryView, ManifestView, MissingView};
pub(super) use write::{EntryLine, Lies, write};

/// Raised only for changes that break readers.
pub const SCHEMA_VERSION: u32 = 1;

/// A range of bytes in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// From the archive's first byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}
