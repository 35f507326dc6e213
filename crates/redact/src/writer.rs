//! Redaction of a stream of bytes, line by line: [`LineRedactor`] for a caller that takes the redacted lines itself,
//! [`RedactWriter`] for bytes that pass to another writer.

use std::{collections::BTreeMap, io, ops::Deref};

use serde_json::Value;

use crate::{Redactor, Rules, lines::Lines, token::Tally};

/// Redacts bytes line by line and counts the hits by rule.
///
/// Half a line may be half a secret, so a line waits for its end; the end of a line over 1 MiB is masked. Uses at most
/// about 16 MiB of memory, and 1 MiB for ordinary lines.
pub struct LineRedactor<R> {
    redactor: R,
    lines: Lines,
    tally: Tally,
}

impl<R> std::fmt::Debug for LineRedactor<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineRedactor").finish_non_exhaustive()
    }
}

impl<R: Deref<Target = Redactor>> LineRedactor<R> {
    /// With these rules of the redactor.
    pub fn new(redactor: R, rules: Rules) -> Self {
        Self { redactor, lines: Lines::new(rules), tally: Tally::default() }
    }

    /// The same with the rules for JSON, before the first byte.
    #[must_use]
    pub fn json(self) -> Self {
        Self { lines: Lines::new(Rules::AllInJson), ..self }
    }

    /// Takes bytes and passes each block of whole redacted lines to `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn feed(&mut self, data: &[u8], out: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.lines.feed(&self.redactor, data, &mut self.tally, out)
    }

    /// Passes a last line without an end to `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn end(&mut self, out: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.lines.end(&self.redactor, &mut self.tally, out)
    }

    /// [`Redactor::object`], counted here.
    pub fn object(&mut self, object: &mut Value) -> bool {
        self.redactor.counted_object(object, &mut self.tally)
    }

    /// The same for a ConfigMap whose values are wanted: it keeps them, masked.
    pub fn config_map(&mut self, object: &mut Value) -> bool {
        self.redactor.counted_config_map(object, &mut self.tally)
    }

    /// [`Redactor::rules_are_over`].
    pub fn rules_are_over(&self) -> bool {
        self.redactor.rules_are_over()
    }

    /// Number of hits by rule.
    pub fn into_counts(self) -> BTreeMap<String, u64> {
        self.tally.into_counts()
    }
}

/// Redacts the bytes that pass to another writer.
#[derive(Debug)]
pub struct RedactWriter<R, W> {
    lines: LineRedactor<R>,
    into: W,
}

impl<R: Deref<Target = Redactor>, W: io::Write> RedactWriter<R, W> {
    /// Writes to `into` what these rules of the redactor leave.
    pub fn new(redactor: R, rules: Rules, into: W) -> Self {
        Self { lines: LineRedactor::new(redactor, rules), into }
    }

    /// Passes on a last line without an end.
    ///
    /// # Errors
    /// Those of the other writer.
    pub fn finish(self) -> io::Result<W> {
        let Self { mut lines, mut into } = self;
        lines.end(&mut |line| into.write_all(line))?;
        Ok(into)
    }
}

impl<R: Deref<Target = Redactor>, W: io::Write> io::Write for RedactWriter<R, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Self { lines, into } = self;
        lines.feed(data, &mut |line| into.write_all(line))?;
        Ok(data.len())
    }

    /// Does nothing: half a line may be half a secret.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
