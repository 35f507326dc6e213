//! The archive: entries are deflated one by one into a bounded spool and sealed as one ordinary gzip stream.
//! What an entry holds, and that it was redacted, is `redact`'s business; sending it is `store`'s.

pub(crate) mod beside;
mod body;
mod deflate;
pub mod draft;
pub mod manifest;
mod names;
pub mod path;
pub mod read;
pub mod seal;
pub mod segment;
pub mod spool;
mod tar;

pub use deflate::LEVEL;
pub use draft::{Draft, Unsealed};
pub use path::{BundlePath, root_name};
pub use seal::{SealError, Sealed, seal};
pub use segment::{Cut, Segment};
pub use spool::{OWNER_NOTE, Spool, SpoolError};
