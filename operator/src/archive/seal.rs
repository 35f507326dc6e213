//! stub
use super::{Spool, SpoolError, manifest::{Entry, ManifestHead}}; use crate::redact::Redactor; use std::path::Path;
/// A closed archive in the spool.
#[derive(Debug, Clone)]
pub struct Sealed { /// file
    pub file: std::path::PathBuf, /// size
    pub bytes: u64, /// hex
    pub sha256: String, /// number of entries
    pub entries: u64, /// bytes from the start
    pub manifest_offset: u64, /// length of its segment
    pub manifest_length: u64 }
/// Why sealing failed.
#[derive(Debug, thiserror::Error)]
pub enum SealError { /// spool
    #[error(transparent)] Spool(#[from] SpoolError), /// same path twice
    #[error("two entries have the path {0}")] Duplicate(String) }
/// Joins the entries, in the order of bundle.md section 5, into one gzip stream.
pub fn seal(_spool: &Spool, _root: &str, _entries: Vec<Entry>, _head: ManifestHead, _redactor: &Redactor) -> Result<Sealed, SealError> { todo!() }
impl Sealed {
    /// What an earlier process sealed in this folder, if it is whole.
    pub fn reopen(_dir: &Path) -> Option<Self> { todo!() }
}
