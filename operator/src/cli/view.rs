//! Stand-in until archive::read is merged.
use serde::Deserialize;
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManifestView {
    pub schema_version: u32,
    pub bundle: BundleView,
    #[serde(default)]
    pub entries: Vec<EntryView>,
    #[serde(default)]
    pub missing: Vec<MissingView>,
}
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct BundleView {
    #[serde(default)]
    pub root: String,
}
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Span {
    pub offset: u64,
    pub length: u64,
}
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct EntryView {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    pub segment: Span,
    pub skip: u64,
}
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MissingView {
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub why: String,
    #[serde(default)]
    pub cure: String,
}
impl ManifestView {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
    pub(crate) fn entry(&self, path: &str) -> Option<&EntryView> {
        self.entries.iter().find(|e| e.path == path)
    }
}
pub(crate) fn locate(head: &[u8]) -> Option<(u64, u64)> {
    let comment = std::str::from_utf8(head.get(10..63)?).ok()?;
    let (offset, length) = comment
        .strip_prefix("debugbundle manifest ")?
        .trim_end()
        .split_once('+')?;
    Some((offset.parse().ok()?, length.parse().ok()?))
}
pub(crate) fn inflate_segment(segment: &[u8], cap: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut out = Vec::new();
    flate2::read::DeflateDecoder::new(std::io::Read::chain(segment, &[3_u8, 0][..]))
        .take(cap + 1)
        .read_to_end(&mut out)?;
    if out.len() as u64 > cap {
        Err(std::io::ErrorKind::FileTooLarge.into())
    } else {
        Ok(out)
    }
}
