//! How `manifest.json` is written: one key or item per line, for `grep`. The caller redacts the strings.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use debugbundle_format::manifest::{ByteRange, Truncation};
use serde::Serialize;

/// Where a body lies: its segment in the archive, and the bytes to skip in the inflated segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lies {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) skip: u64,
}

/// A line of `entries[]`.
#[derive(Serialize)]
pub(crate) struct EntryLine<'a> {
    pub(crate) path: &'a str,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) segment: ByteRange,
    pub(crate) skip: u64,
    pub(crate) source: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncated: Option<&'a Truncation>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) redactions: &'a BTreeMap<String, u64>,
    pub(crate) ms: u64,
}

/// Writes the manifest: `head` (an object whose strings are redacted) key by key, lists with one item per line, and
/// `entries` after `namespaces`.
pub(crate) fn write<W: Write>(
    mut out: W,
    head: &serde_json::Map<String, serde_json::Value>,
    entries: impl Iterator<Item = io::Result<String>>,
) -> io::Result<()> {
    let mut entries = Some(entries);
    out.write_all(b"{")?;
    for (i, (key, value)) in head.iter().enumerate() {
        if key == "empty"
            && let Some(entries) = entries.take()
        {
            list(&mut out, "entries", entries)?;
            out.write_all(b",\n")?;
        }
        match value {
            serde_json::Value::Array(items) => {
                list(&mut out, key, items.iter().map(|item| Ok(item.to_string())))?;
            }
            other => write!(out, "\"{key}\":{other}")?,
        }
        out.write_all(if i + 1 == head.len() { b"}\n" } else { b",\n" })?;
    }
    out.flush()
}

fn list<W: Write>(out: &mut W, key: &str, items: impl Iterator<Item = io::Result<String>>) -> io::Result<()> {
    write!(out, "\"{key}\":[")?;
    let mut first = true;
    for item in items {
        out.write_all(if first { b"\n" } else { b",\n" })?;
        out.write_all(item?.as_bytes())?;
        first = false;
    }
    out.write_all(b"]")
}
