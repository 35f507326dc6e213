//! The results of a run, from the store's files, which may be large: errors and warnings, asynchronous operations, and
//! the resources that it processed.

use std::io::{self, Write};

use debugbundle_format::StoreFile;
use serde::Deserialize;
use serde_json::Value;

use super::{
    StoredFile, VeleroFiles,
    go::{NONE, number, time_text},
    page::Page,
    unread,
};
use crate::json_stream::{Few, Said, StreamError, TextLayout, each, texts};

/// Warnings and errors, if the status counts any.
pub(super) fn results<W: Write>(page: &mut Page<W>, status: &Value, files: &dyn VeleroFiles) -> io::Result<()> {
    let (warnings, errors) = (number(&status["warnings"]), number(&status["errors"]));
    if warnings == 0 && errors == 0 {
        return Ok(());
    }
    match files.open(StoreFile::Results)? {
        StoredFile::There(_) => {}
        StoredFile::Absent => {
            page.row(0, "Errors", &errors.to_string())?;
            return page.row(0, "Warnings", &warnings.to_string());
        }
        StoredFile::Unread => {
            page.row(0, "Warnings", &format!("{warnings}, {}", unread("texts")))?;
            return page.row(0, "Errors", &format!("{errors}, {}", unread("texts")));
        }
    }
    for (heading, key, count) in [("Warnings", "warnings", warnings), ("Errors", "errors", errors)] {
        if count > 0 {
            page.gap()?;
            page.line(&format!("{heading}:"))?;
            of_kind(page, key, files).or_else(|error| unreadable(page, error, &format!("error decoding {key}")))?;
        }
    }
    Ok(())
}

fn of_kind<W: Write>(page: &mut Page<W>, kind: &str, files: &dyn VeleroFiles) -> Result<(), StreamError> {
    for (label, key) in [("Velero", "velero"), ("Cluster", "cluster")] {
        let StoredFile::There(from) = files.open(StoreFile::Results)? else { continue };
        let head = format!("{label}:");
        let mut first = true;
        texts(from, &[kind, key], TextLayout::List, |said| match said {
            Said::Key(_) => Ok(()),
            Said::Text(text) => page.under(1, if std::mem::take(&mut first) { &head } else { "" }, text),
        })?;
        if first {
            page.row(1, label, NONE)?;
        }
    }
    let StoredFile::There(from) = files.open(StoreFile::Results)? else { return Ok(()) };
    let mut any = false;
    let mut head = String::new();
    texts(from, &[kind, "namespaces"], TextLayout::Map, |said| match said {
        Said::Key(namespace) => {
            if !any {
                page.line("\tNamespaces:")?;
            }
            any = true;
            head = format!("{namespace}:");
            Ok(())
        }
        Said::Text(text) => page.under(2, &std::mem::take(&mut head), text),
    })?;
    if !any {
        page.line("\tNamespaces: <none>")?;
    }
    Ok(())
}

fn unreadable<W: Write>(page: &mut Page<W>, error: StreamError, what: &str) -> io::Result<()> {
    match error {
        StreamError::Write(error) => Err(error),
        StreamError::Read(why) => page.text(1, &format!("<{what}: {why}>")),
    }
}

/// An element of `itemoperations.json` (Velero's `pkg/itemoperation`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Operation {
    spec: OperationSpec,
    status: OperationStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OperationSpec {
    backup_item_action: Option<String>,
    restore_item_action: Option<String>,
    #[serde(rename = "operationID")]
    operation_id: Option<String>,
    resource_identifier: Identifier,
    post_operation_items: Few<Identifier>,
}

/// These fields have no JSON tags in Velero, so they carry their Go names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Identifier {
    group: Option<String>,
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OperationStatus {
    phase: Option<String>,
    error: Option<String>,
    n_completed: Option<i64>,
    n_total: Option<i64>,
    operation_units: Option<String>,
    description: Option<String>,
    created: Option<String>,
    started: Option<String>,
    updated: Option<String>,
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

impl Identifier {
    /// `persistentvolumeclaims shop/data`, with the group behind a dot if it is set.
    fn words(&self) -> String {
        let group = text(self.group.as_ref());
        let dot = if group.is_empty() { "" } else { "." };
        let (namespace, name) = (text(self.namespace.as_ref()), text(self.name.as_ref()));
        format!("{}{dot}{group} {namespace}/{name}", text(self.resource.as_ref()))
    }
}

/// The asynchronous operations; `which` is `Backup` or `Restore`.
pub(super) fn operations<W: Write>(
    page: &mut Page<W>,
    which: &str,
    attempted: i64,
    files: &dyn VeleroFiles,
) -> io::Result<()> {
    if attempted <= 0 {
        return Ok(());
    }
    let heading = format!("{which} Item Operations");
    let from = match files.open(StoreFile::ItemOperations)? {
        StoredFile::There(from) => from,
        StoredFile::Absent => {
            return page.row(0, &heading, &format!("{attempted} attempted, <operation info not in the store>"));
        }
        StoredFile::Unread => {
            return page.row(0, &heading, &format!("{attempted} attempted, {}", unread("operation info")));
        }
    };
    page.line(&format!("{heading}:"))?;
    let read = each(from, |operation: Operation| one(page, which, &operation));
    read.or_else(|error| unreadable(page, error, "error reading operation info"))
}

fn one<W: Write>(page: &mut Page<W>, which: &str, operation: &Operation) -> io::Result<()> {
    let Operation { spec, status } = operation;
    page.text(1, &format!("Operation for {}:", spec.resource_identifier.words()))?;
    let action = spec.backup_item_action.as_ref().or(spec.restore_item_action.as_ref());
    page.row(2, &format!("{which} Item Action Plugin"), text(action))?;
    page.row(2, "Operation ID", text(spec.operation_id.as_ref()))?;
    let items = &spec.post_operation_items;
    if !items.first.is_empty() {
        page.line("\t\tItems to Update:")?;
    }
    for item in &items.first {
        page.text(3, &item.words())?;
    }
    if items.left_out > 0 {
        page.text(3, &format!("<{} more: see itemoperations.json>", items.left_out))?;
    }
    page.row(2, "Phase", text(status.phase.as_ref()))?;
    let some = |page: &mut Page<W>, label, value: &str| {
        if value.is_empty() { Ok(()) } else { page.row(2, label, value) }
    };
    some(page, "Operation Error", text(status.error.as_ref()))?;
    let (completed, total) = (status.n_completed.unwrap_or(0), status.n_total.unwrap_or(0));
    if completed > 0 || total > 0 {
        let units = text(status.operation_units.as_ref());
        page.row(2, "Progress", &format!("{completed} of {total} complete ({units})"))?;
    }
    some(page, "Progress description", text(status.description.as_ref()))?;
    for (label, at) in [("Created", &status.created), ("Started", &status.started), ("Updated", &status.updated)] {
        some(page, label, &at.as_deref().map(time_text).unwrap_or_default())?;
    }
    Ok(())
}

/// The resources that were backed up or restored, by kind; `which` is `backup` or `restore`.
pub(super) fn resource_list<W: Write>(page: &mut Page<W>, which: &str, files: &dyn VeleroFiles) -> io::Result<()> {
    let from = match files.open(StoreFile::ResourceList)? {
        StoredFile::There(from) => from,
        StoredFile::Absent => return page.row(0, "Resource List", &format!("<{which} resource list not found>")),
        StoredFile::Unread => return page.row(0, "Resource List", &unread(&format!("{which} resource list"))),
    };
    page.line("Resource List:")?;
    let read = texts(from, &[], TextLayout::Map, |said| match said {
        Said::Key(kind) => page.text(1, &format!("{kind}:")),
        Said::Text(name) => page.text(2, &format!("- {name}")),
    });
    read.or_else(|error| unreadable(page, error, &format!("error reading {which} resource list")))
}
