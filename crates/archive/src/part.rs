//! Closed segments in files of their own: made, cut at the end of a line, read one after the other.
//! `body` and `chunks` decide which of them make a body and which are left out.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write as _},
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    deflate::{Deflate, Inflate},
    files::open_plain,
    spool::SpoolError,
    spool_files::{PartFile, SpoolFiles},
};

/// The time of a line lies within this many first bytes.
const STAMP: usize = 96;

/// A closed segment in a file of its own.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: PartFile,
    pub(super) raw: u64,
    pub(super) crc: crc32fast::Hasher,
    pub(super) lines: u64,
    pub(super) place: PartPlace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartPlace {
    Whole,
    Head,
    Marker,
    Tail,
}

/// Which end of a part is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Begin,
    End,
}

impl Part {
    pub(super) fn close(
        room: &SpoolFiles,
        deflate: Deflate<PartFile>,
        lines: u64,
        place: PartPlace,
    ) -> io::Result<Self> {
        let mut done = deflate.finish()?;
        done.into.close();
        room.take_back(done.spare);
        Ok(Self { file: done.into, raw: done.raw, crc: done.crc, lines, place })
    }

    /// Keeps whole lines at one end, at most `most` bytes of them; the old file is removed.
    pub(super) fn cut(self, room: &Arc<SpoolFiles>, most: u64, end: End) -> io::Result<Option<Self>> {
        if most == 0 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        Inflate::new(open_plain(self.file.path())?).read_to_end(&mut bytes)?;
        let place = self.place;
        // The old file goes before the new one is written, so that even a full spool can shrink.
        drop(self);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
        let kept = match end {
            End::Begin => &bytes[..memchr::memrchr(b'\n', &bytes[..most]).map_or(0, |at| at + 1)],
            End::End => {
                let from = bytes.len() - most;
                let after = memchr::memchr(b'\n', &bytes[from.saturating_sub(1)..]);
                let start = if from == 0 { Some(0) } else { after.map(|at| from + at) };
                &bytes[start.unwrap_or(bytes.len())..]
            }
        };
        if kept.is_empty() {
            return Ok(None);
        }
        let lines = memchr::memchr_iter(b'\n', kept).count() as u64 + u64::from(!kept.ends_with(b"\n"));
        Self::of(room, kept, lines, place).map(Some)
    }

    pub(super) fn of(room: &Arc<SpoolFiles>, raw: &[u8], lines: u64, place: PartPlace) -> io::Result<Self> {
        let mut deflate = room.deflate(room.part()?);
        deflate.write_all(raw)?;
        Self::close(room, deflate, lines, place)
    }
}

/// Time of the last line before the gap; with it the marker sorts into its own place.
pub(super) fn stamp_of_last_line(part: &Part) -> io::Result<Option<Timestamp>> {
    let mut bytes = Vec::new();
    Inflate::new(open_plain(part.file.path())?).read_to_end(&mut bytes)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let start = memchr::memrchr(b'\n', line).map_or(0, |at| at + 1);
    Ok(stamp(&line[start..]))
}

/// Time of the first line after the gap, for a body without a head.
pub(super) fn stamp_of_first_line(part: &Part) -> io::Result<Option<Timestamp>> {
    let mut bytes = Vec::new();
    Inflate::new(open_plain(part.file.path())?).take(STAMP as u64).read_to_end(&mut bytes)?;
    Ok(stamp(&bytes))
}

/// The kubelet's `<RFC 3339> ` in front of a line, or logrus' `time="<RFC 3339>"`.
fn stamp(line: &[u8]) -> Option<Timestamp> {
    let line = &line[..line.len().min(STAMP)];
    let text = match line.strip_prefix(b"time=\"") {
        Some(rest) => rest.split(|b| *b == b'"').next()?,
        None => line.split(|b| *b == b' ').next()?,
    };
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads the files of a body one after the other, with one open at a time.
pub(super) struct Files {
    paths: VecDeque<PathBuf>,
    open: Option<File>,
}

impl Files {
    pub(super) fn of(parts: &[Part]) -> Self {
        Self { paths: parts.iter().map(|part| part.file.path().to_owned()).collect(), open: None }
    }
}

impl Read for Files {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                let n = file.read(out)?;
                if n > 0 || out.is_empty() {
                    return Ok(n);
                }
            }
            match self.paths.pop_front() {
                Some(next) => {
                    self.open = Some(open_plain(&next).map_err(|e| SpoolError::io(&next, e))?);
                }
                None => return Ok(0),
            }
        }
    }
}
