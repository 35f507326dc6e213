//! The manifest as a reader parses it: only the keys needed to list the entries and to read one of them alone.

use serde::Deserialize;

use super::ByteRange;

/// The manifest as a reader sees it; other keys are ignored.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestView {
    /// This program knows version 1.
    pub schema_version: u32,
    /// The bundle itself.
    pub bundle: BundleView,
    /// `Completed` or `PartiallyFailed`.
    #[serde(default)]
    pub outcome: String,
    /// The entries, in the archive's order.
    #[serde(default)]
    pub entries: Vec<EntryView>,
    /// What is missing.
    #[serde(default)]
    pub missing: Vec<MissingView>,
}

/// The bundle itself.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct BundleView {
    /// Name of the DebugBundle.
    #[serde(default)]
    pub name: String,
    /// The archive's top directory.
    #[serde(default)]
    pub root: String,
}

/// An entry, with what is needed to read it alone.
#[derive(Debug, Clone, Deserialize)]
pub struct EntryView {
    /// Path below the root.
    pub path: String,
    /// Bytes as unpacked.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Where to read.
    pub segment: ByteRange,
    /// Where the body begins in the inflated segment.
    pub skip: u64,
}

/// Something that is missing.
#[derive(Debug, Clone, Deserialize)]
pub struct MissingView {
    /// In words.
    #[serde(default)]
    pub what: String,
    /// The path it would have had.
    #[serde(default)]
    pub path: String,
    /// Closed vocabulary.
    #[serde(default)]
    pub code: String,
    /// The message.
    #[serde(default)]
    pub why: String,
    /// What to do.
    #[serde(default)]
    pub cure: String,
}

impl ManifestView {
    /// Reads `manifest.json`.
    ///
    /// # Errors
    /// It is not JSON, or lacks keys that reading entries needs.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The entry at `path`, with or without the root directory in front.
    pub fn entry(&self, path: &str) -> Option<&EntryView> {
        let below = path.strip_prefix(self.bundle.root.as_str()).and_then(|rest| rest.strip_prefix('/'));
        self.entries.iter().find(|e| e.path == path || Some(e.path.as_str()) == below)
    }
}
