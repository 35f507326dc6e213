//! The archive: entries are deflated one by one into a bounded spool and sealed as one ordinary gzip stream.
//! What an entry holds, and that it was redacted, is `redact`'s business; sending it is `store`'s.

pub mod manifest;
pub mod path;
pub mod seal;
pub mod segment;
pub mod spool;

pub use path::BundlePath;
pub use seal::{SealError, Sealed, seal};
pub use segment::Segment;
pub use spool::{Spool, SpoolError};
