//! The archive of a bundle: entries are redacted and deflated one by one into a bounded spool, sealed as one ordinary
//! gzip stream, and published once the self-check found nothing.
//!
//! * [`EntryWriter`] makes a [`Segment`] of what is written to it: the only way into a bundle.
//! * [`seal`] joins segments to a [`Draft`], which [`Draft::checked`] turns into a [`Sealed`] archive.
//! * [`read`] finds the manifest in a sealed archive.

pub mod background_writer;
mod body;
mod chunks;
mod deflate;
pub mod draft;
mod entry;
mod entry_writer;
mod files;
mod manifest_writer;
mod names;
mod part;
pub mod read;
pub mod seal;
pub mod segment;
mod shared;
pub mod spool;
mod spool_files;
mod tar;

pub use deflate::LEVEL;
pub use draft::{Draft, Unsealed};
pub use entry::Entry;
pub use entry_writer::{EntryWriter, Observer, RulesOver};
pub use files::OWNER_NOTE;
pub use seal::{SealError, Sealed, seal};
pub use segment::{Gap, Segment};
pub use spool::{Spool, SpoolError};
