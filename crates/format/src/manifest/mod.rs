//! What `manifest.json` says, as it is written and as it is read: the contract with every reader of a bundle.
//! Sealing fills in where each segment lies.
//!
//! * [`source`]: where a file of the archive was read. * [`missing`]: an item that is absent. * [`head`]: everything else.
//! * [`view`]: how it is read.

mod head;
mod missing;
mod source;
mod time;
mod view;

use serde::{Deserialize, Serialize};

pub use head::{
    BundleInfo, ClusterInfo, FindingsInfo, ManifestHead, NamespaceInfo, OperatorInfo, Origin, Outcome, Permission,
    TargetInfo, Timings, Totals, Trimmed, VeleroInfo, Window,
};
pub use missing::{Missing, MissingCode, MissingSeverity, Need};
pub use source::{Source, SourceKind, Truncation, TruncationReason};
pub use view::{BundleView, EntryView, ManifestView, MissingView};

/// Raised only for changes that break readers.
pub const SCHEMA_VERSION: u32 = 1;

/// A range of bytes in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// From the archive's first byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}
