//! The format of a bundle: where each file lies, what the manifest says, and how foreign text is made safe to show.
//! Nothing here reads or writes a file.

pub mod layout;
pub mod manifest;
mod path;
pub mod text;

pub use layout::{LogFile, StoreFile};
pub use path::{BundlePath, hex, hex_digest, root_name};
