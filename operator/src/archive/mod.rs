//! The archive: entries are deflated one by one into a bounded spool and sealed as one ordinary gzip stream.
//! `redact` makes the bodies of the entries; `store` sends the archive.

pub(crate) mod background_writer;
mod body;
mod chunks;
mod deflate;
pub mod draft;
mod files;
pub mod manifest;
mod names;
mod part;
pub mod path;
pub mod read;
pub mod seal;
pub mod segment;
mod shared;
pub mod spool;
mod spool_files;
mod tar;

pub use deflate::LEVEL;
pub use draft::{Draft, Unsealed};
pub use files::OWNER_NOTE;
pub use path::{BundlePath, root_name};
pub use seal::{SealError, Sealed, seal};
pub use segment::{Cut, Segment};
pub use spool::{Spool, SpoolError};
