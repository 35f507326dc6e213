//! The only way into a bundle: every line written here is redacted, measured, deflated and spooled. An observer
//! receives the redacted lines for the diagnosis.

use std::{io, sync::Arc};

use debugbundle_format::BundlePath;
use debugbundle_redact::{LineRedactor, Redactor, Rules};

use crate::{Segment, Spool, background_writer::BodyWriter};

/// The user's rules had used all their CPU time before an entry was whole: the rest of it was not searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "redaction.rules had used all of their CPU time before this file was read to its end; without them nothing is stored"
)]
pub struct RulesOver;

impl RulesOver {
    /// Whether this is why an entry could not be written.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// Receives each redacted line, its end included.
pub type Observer = Box<dyn FnMut(&[u8]) + Send>;

/// Writes one entry. If dropped before [`EntryWriter::finish`], or after an error, it leaves nothing behind. Its memory
/// is that of [`LineRedactor`].
pub struct EntryWriter {
    path: BundlePath,
    lines: LineRedactor<Arc<Redactor>>,
    body: BodyWriter,
    observer: Option<Observer>,
    failed: bool,
}

impl std::fmt::Debug for EntryWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl EntryWriter {
    /// A writer for the entry at `path`. A component of the path that a rule hits is replaced.
    #[expect(clippy::needless_pass_by_value, reason = "a writer outlives its caller's frame, and each has its own")]
    pub fn new(path: BundlePath, redactor: Arc<Redactor>, spool: Arc<Spool>) -> Self {
        let path = path.cleaned(|component| redactor.path_component(component));
        let body = BodyWriter::new(spool.room());
        let lines = LineRedactor::new(redactor, Rules::All);
        Self { path, lines, body, observer: None, failed: false }
    }

    /// For JSON, of which a line may begin at any value: it stays JSON whatever the user's rules match. Call it before the
    /// first byte.
    #[must_use]
    pub fn json(mut self) -> Self {
        self.lines = self.lines.json();
        self
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
        self.lines.object(object)
    }

    /// The same for a ConfigMap whose values are wanted: it keeps them, masked.
    pub fn config_map(&mut self, object: &mut serde_json::Value) -> bool {
        self.lines.config_map(object)
    }

    /// Closes the entry.
    ///
    /// # Errors
    /// Now or in an earlier write, the spool was full or could not be written ([`crate::SpoolError::of`]), or the time
    /// of the user's rules was over ([`RulesOver`]).
    pub fn finish(mut self) -> io::Result<Segment> {
        if self.failed {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier write of this entry failed"));
        }
        self.pass(None)?;
        let Self { path, lines, body, .. } = self;
        Ok(Segment::closed(path, lines.into_counts(), body.finish()?))
    }

    fn pass(&mut self, data: Option<&[u8]>) -> io::Result<()> {
        let Self { lines, body, observer, .. } = self;
        let mut out = |block: &[u8]| {
            if let Some(observer) = observer {
                block.split_inclusive(|b| *b == b'\n').for_each(observer);
            }
            body.put(block)
        };
        match data {
            Some(data) => lines.feed(data, &mut out)?,
            None => lines.end(&mut out)?,
        }
        if lines.rules_are_over() { Err(io::Error::other(RulesOver)) } else { Ok(()) }
    }
}

impl io::Write for EntryWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier write of this entry failed"));
        }
        self.pass(Some(data)).inspect_err(|_| self.failed = true)?;
        Ok(data.len())
    }

    /// Does nothing: half a line may be half a secret.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
