//! The only way into a bundle: every line written here is redacted, measured, deflated and spooled. An observer
//! receives the redacted lines for the diagnosis.

use std::{io, sync::Arc};

use super::{Redactor, Rules, lines::Lines, token::Tally};
use crate::archive::{BundlePath, Segment, Spool, background_writer::BodyWriter};

/// Receives each redacted line, its end included.
pub type Observer = Box<dyn FnMut(&[u8]) + Send>;

/// Writes one entry. If dropped before [`Redacting::finish`], or after an error, it leaves nothing behind.
///
/// Half a line may be half a secret, so a line waits for its end; the end of a line over 1 MiB is masked. Uses at most
/// about 16 MiB of memory, and 1 MiB for ordinary lines.
pub struct Redacting {
    path: BundlePath,
    redactor: Arc<Redactor>,
    lines: Lines,
    tally: Tally,
    body: BodyWriter,
    observer: Option<Observer>,
    failed: bool,
}

impl std::fmt::Debug for Redacting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redacting").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Redacting {
    /// A writer for the entry at `path`. A component of the path that a rule hits is replaced.
    #[expect(clippy::needless_pass_by_value, reason = "a writer outlives its caller's frame, and each has its own")]
    pub fn new(path: BundlePath, redactor: Arc<Redactor>, spool: Arc<Spool>) -> Self {
        let path = path.cleaned(|component| redactor.path_component(component));
        let body = BodyWriter::new(spool.room());
        let lines = Lines::new(Rules::All);
        Self { path, redactor, lines, tally: Tally::default(), body, observer: None, failed: false }
    }

    /// Keeps at most this many bytes (at least 1 KiB): a quarter from the head, the rest from the tail, cut at line
    /// ends, with a marker line between. Call it before the first byte.
    #[must_use]
    pub fn limited(mut self, limit: u64) -> Self {
        self.body.limit(limit);
        self
    }

    /// Like [`Self::limited`] without a head: the marker line, then the tail.
    #[must_use]
    pub fn tail(mut self, limit: u64) -> Self {
        self.body.limit(limit);
        self.body.tail_only();
        self
    }

    /// Shows each redacted line to `observer` as it passes, its end included.
    #[must_use]
    pub fn observed(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// [`Redactor::object`], counted in this entry.
    pub fn object(&mut self, object: &mut serde_json::Value) -> bool {
        self.redactor.counted_object(object, &mut self.tally)
    }

    /// The same for a ConfigMap whose values are wanted: it keeps them, masked.
    pub fn config_map(&mut self, object: &mut serde_json::Value) -> bool {
        self.redactor.counted_config_map(object, &mut self.tally)
    }

    /// Closes the entry.
    ///
    /// # Errors
    /// The spool is full or cannot be written ([`crate::archive::SpoolError::of`]), now or in an earlier write.
    pub fn finish(mut self) -> io::Result<Segment> {
        if self.failed {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier write of this entry failed"));
        }
        self.pass(None)?;
        let Self { path, tally, body, .. } = self;
        Ok(Segment::closed(path, tally.into_counts(), body.finish()?))
    }

    fn pass(&mut self, data: Option<&[u8]>) -> io::Result<()> {
        let Self { redactor, lines, tally, body, observer, .. } = self;
        let mut out = |block: &[u8]| {
            if let Some(observer) = observer {
                block.split_inclusive(|b| *b == b'\n').for_each(observer);
            }
            body.put(block)
        };
        match data {
            Some(data) => lines.feed(redactor, data, tally, &mut out),
            None => lines.end(redactor, tally, &mut out),
        }
    }
}

impl io::Write for Redacting {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier write of this entry failed"));
        }
        crate::crash::panic_at(data);
        self.pass(Some(data)).inspect_err(|_| self.failed = true)?;
        Ok(data.len())
    }

    /// Does nothing: half a line may be half a secret.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Redacts the bytes that pass to another writer; for the manifest, whose body is written while sealing.
pub(crate) struct Through<'a, W> {
    redactor: &'a Redactor,
    lines: Lines,
    tally: Tally,
    into: W,
}

impl<'a, W: io::Write> Through<'a, W> {
    pub(crate) fn new(redactor: &'a Redactor, rules: Rules, into: W) -> Self {
        Self { redactor, lines: Lines::new(rules), tally: Tally::default(), into }
    }

    /// Passes on a last line without an end.
    pub(crate) fn finish(self) -> io::Result<W> {
        let Self { redactor, mut lines, mut tally, mut into } = self;
        lines.end(redactor, &mut tally, &mut |line| into.write_all(line))?;
        Ok(into)
    }
}

impl<W: io::Write> io::Write for Through<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Self { redactor, lines, tally, into } = self;
        lines.feed(redactor, data, tally, &mut |line| into.write_all(line))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
