//! Writes one entry: it is created with its first byte, on a thread that may block.

use std::{
    io::{self, Write},
    sync::Arc,
};

use debugbundle_archive::{EntryWriter, Segment, Spool, SpoolError};
use debugbundle_format::BundlePath;
use debugbundle_redact::Redactor;
use serde_json::Value;

/// Shared by all entries.
#[derive(Clone, Debug)]
pub(super) struct EntryContext {
    pub redactor: Arc<Redactor>,
    pub spool: Arc<Spool>,
}

/// An entry that exists only once a byte is written.
#[derive(Debug)]
pub(super) struct LazyEntry {
    context: EntryContext,
    path: BundlePath,
    limit: Option<u64>,
    tail_only: bool,
    json: bool,
    writer: Option<EntryWriter>,
    /// Bytes written, before redaction.
    pub taken: u64,
}

impl LazyEntry {
    pub(super) fn new(context: &EntryContext, path: BundlePath, limit: Option<u64>) -> Self {
        Self { context: context.clone(), path, limit, tail_only: false, json: false, writer: None, taken: 0 }
    }

    /// If the entry exceeds its limit, only its end is kept.
    pub(super) fn tail_only(self, tail_only: bool) -> Self {
        Self { tail_only, ..self }
    }

    /// It is JSON, and stays so.
    pub(super) fn json(self, json: bool) -> Self {
        Self { json, ..self }
    }

    /// Forgets what was written.
    pub(super) fn restart(&mut self) {
        self.writer = None;
        self.taken = 0;
    }

    /// Redacts an object before it is written, and counts that for this entry; `false`: the object must not be written.
    pub(super) fn object(&mut self, object: &mut Value) -> bool {
        self.writer().object(object)
    }

    /// The same for a ConfigMap whose values are kept.
    pub(super) fn config_map(&mut self, object: &mut Value) -> bool {
        self.writer().config_map(object)
    }

    /// Closes the entry, if anything was written to it.
    pub(super) fn finish(self) -> io::Result<Option<Segment>> {
        self.writer.filter(|_| self.taken > 0).map(EntryWriter::finish).transpose()
    }

    fn writer(&mut self) -> &mut EntryWriter {
        let Self { context, path, limit, tail_only, json, writer, .. } = self;
        writer.get_or_insert_with(|| {
            let fresh = EntryWriter::new(path.clone(), context.redactor.clone(), context.spool.clone());
            let fresh = if *json { fresh.json() } else { fresh };
            match limit {
                Some(limit) if *tail_only => fresh.tail(*limit),
                Some(limit) => fresh.limited(*limit),
                None => fresh,
            }
        })
    }
}

impl Write for LazyEntry {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        crate::crash::panic_at(data);
        let length = self.writer().write(data)?;
        self.taken += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why an entry could not be written: an error of the spool ends the run, any other error withholds the entry.
#[derive(Debug)]
pub(super) enum WriteError {
    Spool(SpoolError),
    Entry(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        if SpoolError::of(&error).is_none() {
            return Self::Entry(error);
        }
        match error.into_inner().map(<dyn std::error::Error + Send + Sync>::downcast::<SpoolError>) {
            Some(Ok(spool)) => Self::Spool(*spool),
            Some(Err(other)) => Self::Entry(io::Error::other(other)),
            None => Self::Entry(io::Error::other("write failed")),
        }
    }
}
