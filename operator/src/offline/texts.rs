//! The logs and Velero's own files in a tree, redacted as they are read: what the diagnosis takes from each.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read, Take},
    path::Path,
};

use debugbundle_crd::TargetKind;
use debugbundle_diagnosis::{Hooks, LastWords};
use debugbundle_format::{StoreFile, layout, text::bounded};
use debugbundle_redact::{LineRedactor, Redactor, Rules};
use serde_json::Value;

use super::{
    OfflineError, described,
    form::{Content, content},
    tree::{TreeFile, each},
};
use crate::{
    diagnose::{Said, TimelineEvent, error_lines},
    velero::{Results, SkippedVolume},
};

/// Most bytes that are read of one log, of one line of it, and of a description.
const LOG: u64 = 1 << 30;
const LINE: usize = 64 << 10;
const DESCRIPTION: u64 = 16 << 20;
/// Most error lines of the target's log.
const ERRORS: usize = 2_000;
/// Bytes that are redacted at once.
const PIECE: usize = 64 << 10;

/// The files that matter.
#[derive(Debug, Default)]
pub(super) struct WantedTexts {
    /// The target.
    pub(super) target: Option<(TargetKind, String)>,
    /// A Restore's Backup, or the target itself.
    pub(super) backup: Option<String>,
    /// Velero's namespace.
    pub(super) velero: String,
    /// Containers that ended badly: namespace, pod and container.
    pub(super) ended: BTreeSet<(String, String, String)>,
}

/// What they say.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The target's results: from Velero's file, else from what `velero describe` printed.
    pub(super) results: Option<Results>,
    pub(super) described: Option<Results>,
    pub(super) skipped: Vec<SkippedVolume>,
    pub(super) hooks: Hooks,
    /// The error lines of the target's log.
    pub(super) errors: Vec<TimelineEvent>,
    pub(super) said: Vec<Said>,
}

/// Reads them.
///
/// # Errors
/// As [`each`].
pub(super) fn read(place: &Path, wanted: &WantedTexts, redactor: &Redactor) -> Result<Texts, OfflineError> {
    let mut found = Texts::default();
    each(place, &mut |file| found.take(file, wanted, redactor))?;
    Ok(found)
}

impl Texts {
    fn take(&mut self, file: TreeFile<'_>, wanted: &WantedTexts, redactor: &Redactor) {
        let is_target = |kind: TargetKind, name: &str| wanted.target == Some((kind, name.to_owned()));
        match content(file.path) {
            Some(Content::Log { pod, container, is_previous })
                if wanted.ended.contains(&(pod.0.clone(), pod.1.clone(), container.clone())) =>
            {
                let mut words = LastWords::default();
                each_line(file.body, redactor, |line| words.line(line));
                self.said.extend(words.said().map(|words| Said { pod, container, is_previous, words }));
            }
            Some(Content::Store(kind, name, StoreFile::Log)) if is_target(kind, &name) => {
                let path = layout::store_file(kind, &name, StoreFile::Log);
                let hooks = &mut self.hooks;
                let mut tap = |line: &str| hooks.line(line);
                let log = Redacted::new(file.body.take(LOG), LineRedactor::new(redactor, Rules::All), &mut tap);
                let object = format!("{kind}/{}/{name}", wanted.velero);
                // Of a log that breaks off, what was read counts.
                self.errors.extend(error_lines(log, path.as_str(), &object, ERRORS).unwrap_or_default());
            }
            Some(Content::Store(kind, name, StoreFile::Results)) if is_target(kind, &name) => {
                self.results = Some(Results::read(json(file.body, redactor, &mut |_| ())));
            }
            Some(Content::Store(TargetKind::Backup, name, StoreFile::VolumeInfo))
                if wanted.backup.as_deref() == Some(&*name) =>
            {
                self.skipped = SkippedVolume::read(json(file.body, redactor, &mut |_| ()));
            }
            Some(Content::Description(kind, name)) if is_target(kind, &name) => {
                let mut text = String::new();
                each_line(file.body.take(DESCRIPTION), redactor, |line| {
                    text.push_str(line);
                    text.push('\n');
                });
                let results: Option<Value> = described::results(&text);
                self.described = results.map(|results| Results::read(results.to_string().as_bytes()));
            }
            _ => {}
        }
    }
}

/// A file of Velero's in JSON, redacted.
fn json<'a, R: Read>(body: R, redactor: &'a Redactor, tap: &'a mut dyn FnMut(&str)) -> Redacted<'a, Take<R>> {
    Redacted::new(body.take(LOG), LineRedactor::new(redactor, Rules::All).json(), tap)
}

/// Passes on the redacted lines, as far as the file can be read. Of a longer line the beginning is passed on.
fn each_line(body: impl Read, redactor: &Redactor, mut line: impl FnMut(&str)) {
    let mut log = Redacted::new(body.take(LOG), LineRedactor::new(redactor, Rules::All), &mut line);
    while let Ok(piece) = log.fill_buf() {
        let length = piece.len();
        if length == 0 {
            break;
        }
        log.consume(length);
    }
}

/// A file whose bytes are redacted as they are read. Each line is also passed to `tap`.
struct Redacted<'a, R> {
    from: R,
    redactor: LineRedactor<&'a Redactor>,
    tap: &'a mut dyn FnMut(&str),
    ready: Vec<u8>,
    at: usize,
    is_over: bool,
}

impl<'a, R: Read> Redacted<'a, R> {
    fn new(from: R, redactor: LineRedactor<&'a Redactor>, tap: &'a mut dyn FnMut(&str)) -> Self {
        Self { from, redactor, tap, ready: Vec::new(), at: 0, is_over: false }
    }

    /// Reads on until there are redacted bytes, or none are left.
    fn read_on(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        self.ready.clear();
        self.at = 0;
        while self.ready.is_empty() && !self.is_over {
            let length = match self.from.read(&mut piece) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (ready, tap) = (&mut self.ready, &mut self.tap);
            let mut out = |block: &[u8]| {
                for line in String::from_utf8_lossy(block).lines() {
                    tap(&bounded(line.trim_end(), LINE));
                }
                ready.extend_from_slice(block);
                Ok(())
            };
            if length == 0 {
                self.is_over = true;
                self.redactor.end(&mut out)?;
            } else {
                self.redactor.feed(&piece[..length], &mut out)?;
            }
        }
        Ok(())
    }
}

impl<R: Read> BufRead for Redacted<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.ready.len() {
            self.read_on()?;
        }
        Ok(&self.ready[self.at..])
    }

    fn consume(&mut self, length: usize) {
        self.at = self.ready.len().min(self.at + length);
    }
}

impl<R: Read> Read for Redacted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let length = ready.len().min(into.len());
        into[..length].copy_from_slice(&ready[..length]);
        self.consume(length);
        Ok(length)
    }
}
