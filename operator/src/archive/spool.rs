//! stub
use std::{path::{Path, PathBuf}, sync::Arc};
/// One run's folder of the spool.
#[derive(Debug)]
pub struct Spool { dir: PathBuf }
/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Full.
    #[error("spool full: {used} of {limit} bytes are used")] Full { /// used
        used: u64, /// limit
        limit: u64 },
    /// I/O
    #[error("spool {path} cannot be used")] Io { /// where
        path: PathBuf, /// why
        source: std::io::Error },
}
impl Spool {
    /// A fresh folder `dir` (left-overs in it are removed), holding at most `limit` bytes on disk.
    pub fn create(_dir: &Path, _limit: u64) -> Result<Arc<Self>, SpoolError> { todo!() }
    /// The folder.
    pub fn dir(&self) -> &Path { &self.dir }
}
