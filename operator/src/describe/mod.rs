//! `describe.txt`: the facts that `velero backup describe --details` and `velero restore describe --details` show, in
//! their order and words, made from the bundle. Pure except for the writing; it queries neither cluster nor store.
//!
//! Follows Velero 1.18, `pkg/cmd/util/output/{describe,backup_describer,restore_describer}.go`, without colours. Where
//! a file could not be read, the text says so instead of showing a download error.

mod backup;
mod go;
mod live;
mod old_volumes;
mod page;
mod restore;
mod results;
#[cfg(test)]
mod tests;
mod volumes;

use std::io::{self, Read, Write};

use debugbundle_crd::TargetKind;
use serde_json::Value;

pub use live::{DescribedObject, Fact, Live};

use debugbundle_format::StoreFile;
use page::Page;

/// One of Velero's files in the store, as the bundle contains it.
pub enum StoredFile {
    /// Redacted, from its beginning; the length of its texts and its nesting are bounded.
    There(Box<dyn Read>),
    /// The store does not hold it.
    Absent,
    /// It could not be read; the manifest contains the reason.
    Unread,
}

/// Velero's files about the Backup or Restore that is described.
pub trait VeleroFiles {
    /// Opens a file; it may be opened more than once.
    ///
    /// # Errors
    /// The spool cannot be read.
    fn open(&self, file: StoreFile) -> io::Result<StoredFile>;
}

/// Writes the description of `object`, a redacted Backup or Restore.
///
/// # Errors
/// `out` cannot be written, or the spool cannot be read.
pub fn write(out: impl Write, of: TargetKind, object: &Value, files: &dyn VeleroFiles, live: &Live) -> io::Result<()> {
    let mut page = Page::new(out);
    match of {
        TargetKind::Backup => backup::describe(&mut page, object, files, live)?,
        TargetKind::Restore => restore::describe(&mut page, object, files, live)?,
    }
    page.end()?.flush()
}

/// Replaces a part that is missing from the bundle.
fn unread(what: &str) -> String {
    format!("<{what} not in the bundle: see manifest.json>")
}

/// Name, namespace, labels and annotations.
fn metadata<W: Write>(page: &mut Page<W>, object: &Value) -> io::Result<()> {
    let metadata = &object["metadata"];
    page.row(0, "Name", go::text(&metadata["name"]))?;
    page.row(0, "Namespace", go::text(&metadata["namespace"]))?;
    map(page, "Labels", &metadata["labels"])?;
    map(page, "Annotations", &metadata["annotations"])
}

/// A map sorted by key, one pair per line.
fn map<W: Write>(page: &mut Page<W>, label: &str, value: &Value) -> io::Result<()> {
    let mut pairs: Vec<(&String, &str)> =
        value.as_object().into_iter().flatten().map(|(key, value)| (key, go::text(value))).collect();
    if pairs.is_empty() {
        return page.row(0, label, go::NONE);
    }
    pairs.sort_unstable();
    let head = format!("{label}:");
    for (at, (key, value)) in pairs.into_iter().enumerate() {
        page.under(0, if at == 0 { &head } else { "" }, &format!("{key}={value}"))?;
    }
    Ok(())
}

/// The validation errors.
fn validation_errors<W: Write>(page: &mut Page<W>, status: &Value) -> io::Result<()> {
    let errors = go::strings(&status["validationErrors"]);
    if errors.is_empty() {
        return Ok(());
    }
    page.gap()?;
    for (at, error) in errors.into_iter().enumerate() {
        page.under(0, if at == 0 { "Validation errors:" } else { "" }, error)?;
    }
    Ok(())
}

/// Start and end.
fn times<W: Write>(page: &mut Page<W>, status: &Value) -> io::Result<()> {
    for (label, field) in [("Started", "startTimestamp"), ("Completed", "completionTimestamp")] {
        page.row(0, label, go::time(&status[field]).as_deref().unwrap_or("<n/a>"))?;
    }
    Ok(())
}

/// A ConfigMap that a spec refers to.
fn reference<W: Write>(page: &mut Page<W>, heading: &str, value: &Value) -> io::Result<()> {
    if value.is_null() {
        return Ok(());
    }
    page.gap()?;
    page.line(&format!("{heading}:"))?;
    page.row(1, "Type", go::text(&value["kind"]))?;
    page.row(1, "Name", go::text(&value["name"]))
}

/// Included and excluded names.
fn filters<W: Write>(
    page: &mut Page<W>,
    indent: usize,
    (included, all): (&Value, &str),
    excluded: &Value,
) -> io::Result<()> {
    page.row(indent, "Included", &go::list(included, all))?;
    page.row(indent, "Excluded", &go::list(excluded, go::NONE))
}

/// The two lines about labels.
fn selectors<W: Write>(page: &mut Page<W>, spec: &Value) -> io::Result<()> {
    page.gap()?;
    page.row(0, "Label selector", &go::selector(&spec["labelSelector"]))?;
    page.gap()?;
    let any: Vec<String> = spec["orLabelSelectors"].as_array().into_iter().flatten().map(go::selector).collect();
    page.row(0, "Or label selector", if any.is_empty() { go::NONE.to_owned() } else { any.join(" or ") }.as_str())
}
