//! stub
use super::BundlePath; use std::collections::BTreeMap;
/// One entry's body: redacted, measured, closed. Only `redact::Redacting::finish` makes one.
#[derive(Debug)]
pub struct Segment { path: BundlePath }
impl Segment {
    /// Path in the bundle.
    pub fn path(&self) -> &BundlePath { &self.path }
    /// Bytes as unpacked.
    pub fn bytes(&self) -> u64 { todo!() }
    /// Redactions by rule id.
    pub fn redactions(&self) -> &BTreeMap<String, u64> { todo!() }
    /// What the limit left out, if anything.
    pub fn cut(&self) -> Option<&Cut> { todo!() }
}
/// What was left out between head and tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut { /// kept before
    pub kept_head: u64, /// kept after
    pub kept_tail: u64, /// not kept
    pub left_out_bytes: u64, /// not kept
    pub left_out_lines: u64 }
