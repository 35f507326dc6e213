//! The end of an item that writes: an entry that comes into being with its first byte, on a thread that may block.
//! Where the bytes come from is the sources' business.

use std::{
    io::{self, Write},
    sync::Arc,
};

use crate::{
    archive::{BundlePath, Segment, Spool, SpoolError},
    redact::{Redacting, Redactor},
};

/// What every entry needs.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub redactor: Arc<Redactor>,
    pub spool: Arc<Spool>,
}

/// An entry that may never come into being.
#[derive(Debug)]
pub(super) struct LazyEntry {
    desk: Desk,
    path: BundlePath,
    limit: Option<u64>,
    writer: Option<Redacting>,
    /// Bytes taken, before redaction.
    pub taken: u64,
}

impl LazyEntry {
    pub(super) fn new(desk: &Desk, path: BundlePath, limit: Option<u64>) -> Self {
        Self { desk: desk.clone(), path, limit, writer: None, taken: 0 }
    }

    /// Forgets what was written.
    pub(super) fn restart(&mut self) {
        self.writer = None;
        self.taken = 0;
    }

    /// Closes the entry, if there is one.
    pub(super) fn finish(self) -> io::Result<Option<Segment>> {
        self.writer.map(Redacting::finish).transpose()
    }
}

impl Write for LazyEntry {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let Self { desk, path, limit, writer, taken } = self;
        let writer = writer.get_or_insert_with(|| {
            let fresh = Redacting::new(path.clone(), desk.redactor.clone(), desk.spool.clone());
            match limit {
                Some(limit) => fresh.limited(*limit),
                None => fresh,
            }
        });
        let length = writer.write(data)?;
        *taken += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why an entry could not be written: the spool's fault ends the run, anything else withholds the entry.
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
        match error.into_inner().map(|inner| inner.downcast::<SpoolError>()) {
            Some(Ok(spool)) => Self::Spool(*spool),
            Some(Err(other)) => Self::Entry(io::Error::other(other)),
            None => Self::Entry(io::Error::other("write failed")),
        }
    }
}
