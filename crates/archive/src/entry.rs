//! An entry of the archive before it is sealed: its body and where that was read.

use debugbundle_format::manifest::{Source, Truncation};
use jiff::Timestamp;

use crate::Segment;

/// An entry of the archive: its body and where it came from.
#[derive(Debug)]
pub struct Entry {
    /// Body, redacted and closed.
    pub segment: Segment,
    /// Where it was read.
    pub source: Source,
    /// Why it is not whole, if so.
    pub truncated: Option<Truncation>,
    /// When it was read; the file's time in the archive, in whole seconds.
    pub read_at: Timestamp,
    /// Milliseconds that reading took.
    pub ms: u64,
}
