//! The bytes of one entry between the redactor and the seal: small ones gathered, large ones deflated as they stream, limited
//! ones in chunks of which the middle can go. It is given whole redacted lines and never looks for secrets itself.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{
    deflate::{Deflate, Inflate},
    segment::Cut,
    spool::{PartFile, Room, SpoolError, open_plain},
};

/// Bodies below this many bytes share segments with others.
pub(super) const SMALL: usize = 64 << 10;
/// Most bytes of one chunk of a limited body, before it is deflated.
const CHUNK: u64 = 1 << 20;
/// Room for the marker line.
const MARKER: u64 = 128;
/// A line's time stands in so many bytes.
const STAMP: usize = 96;
/// The smallest limit that can hold a marker and something beside it.
const LEAST_LIMIT: u64 = 1 << 10;

/// A closed body in the spool.
#[derive(Debug)]
pub(super) enum Body {
    /// Deflated, in the file that small bodies share.
    Small { room: Arc<Room>, offset: u64, length: usize },
    /// Deflated segments that follow each other.
    Parts(Vec<Part>),
    /// In an archive that was closed before.
    Archived(Archived),
}

/// A body in the segments of a closed archive.
#[derive(Debug)]
pub(super) struct Archived {
    pub(super) file: Arc<PartFile>,
    /// Where the segments lie.
    pub(super) at: Range<u64>,
    /// Bytes in front of the body, as unpacked.
    pub(super) skip: u64,
    pub(super) bytes: u64,
}

/// A closed segment in a file of its own.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: PartFile,
    pub(super) raw: u64,
    pub(super) crc: crc32fast::Hasher,
    lines: u64,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Whole,
    Head,
    Marker,
    Tail,
}

/// Which end of a part stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Begin,
    End,
}

/// A closed body and its measures.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(super) body: Body,
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
    pub(super) crc: crc32fast::Hasher,
    pub(super) cut: Option<Cut>,
}

/// A body while it is written, on whichever thread.
pub(super) struct Intake {
    room: Arc<Room>,
    limit: Option<u64>,
    tail_only: bool,
    bytes: u64,
    crc: crc32fast::Hasher,
    kept: Kept,
}

enum Kept {
    Memory(Vec<u8>),
    Stream(Box<Deflate<PartFile>>),
    Chunks(Box<Chunks>),
}

impl Intake {
    pub(super) fn new(room: &Arc<Room>) -> Self {
        Self {
            room: Arc::clone(room),
            limit: None,
            tail_only: false,
            bytes: 0,
            crc: crc32fast::Hasher::new(),
            kept: Kept::Memory(Vec::new()),
        }
    }

    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Bytes taken so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Must be told before the first byte.
    pub(super) fn limit(&mut self, limit: u64) {
        self.limit = Some(limit.max(LEAST_LIMIT));
    }

    /// Of a body over its limit only the end is kept. Must be told before the first byte.
    pub(super) fn tail_only(&mut self) {
        self.tail_only = true;
    }

    /// Takes whole lines; the last one of a body may lack its end.
    pub(super) fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        self.bytes += lines.len() as u64;
        self.crc.update(lines);
        if let Kept::Memory(memory) = &mut self.kept {
            let most = self.limit.map_or(SMALL as u64, |limit| limit.min(SMALL as u64));
            if ((memory.len() + lines.len()) as u64) < most {
                memory.extend_from_slice(lines);
                return Ok(());
            }
            let before = std::mem::take(memory);
            self.kept = match self.limit {
                Some(limit) => Kept::Chunks(Box::new(Chunks::new(Arc::clone(&self.room), limit, !self.tail_only))),
                None => Kept::Stream(Box::new(self.room.deflate(self.room.part()?))),
            };
            self.keep(&before)?;
        }
        self.keep(lines)
    }

    fn keep(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.kept {
            Kept::Memory(memory) => memory.extend_from_slice(lines),
            Kept::Stream(deflate) => deflate.write_all(lines)?,
            Kept::Chunks(chunks) => chunks.put(lines)?,
        }
        Ok(())
    }

    /// `digest`: of all bytes taken.
    pub(super) fn finish(self, digest: Sha256) -> io::Result<Finished> {
        let measured = |body, digest: Sha256, crc| Finished {
            body,
            bytes: self.bytes,
            sha256: digest.finalize().into(),
            crc,
            cut: None,
        };
        match self.kept {
            Kept::Memory(memory) => Ok(measured(small(&self.room, &memory)?, digest, self.crc)),
            Kept::Stream(deflate) => {
                let part = Part::close(&self.room, *deflate, 0, Place::Whole)?;
                Ok(measured(Body::Parts(vec![part]), digest, self.crc))
            }
            Kept::Chunks(chunks) => {
                let limit = chunks.limit;
                let (head, tail, left) = chunks.close()?;
                if left == (0, 0) {
                    let parts = head.into_iter().chain(tail).collect();
                    return Ok(measured(Body::Parts(parts), digest, self.crc));
                }
                joined(&self.room, head, tail, left, limit)
            }
        }
    }
}

impl Body {
    /// The body's bytes as they will be unpacked.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Small { room, offset, length } => {
                Box::new(Inflate::new(io::Cursor::new(room.get_small(*offset, *length)?)))
            }
            Self::Parts(parts) => Box::new(Inflate::new(Files::of(parts))),
            Self::Archived(Archived { file, at, skip, bytes }) => {
                let mut file = open_plain(file.path()).map_err(|e| SpoolError::io(file.path(), e))?;
                file.seek(SeekFrom::Start(at.start))?;
                let mut inflated = Inflate::new(file.take(at.end - at.start));
                io::copy(&mut (&mut inflated).take(*skip), &mut io::sink())?;
                Box::new(inflated.take(*bytes))
            }
        })
    }

    /// Whether it shares its segment with others.
    pub(super) fn is_small(&self) -> bool {
        match self {
            Self::Small { .. } => true,
            Self::Parts(_) => false,
            Self::Archived(archived) => archived.bytes < SMALL as u64,
        }
    }

    /// Bytes in the spool.
    pub(super) fn compressed(&self) -> u64 {
        match self {
            Self::Small { length, .. } => *length as u64,
            Self::Parts(parts) => parts.iter().map(|p| p.file.len()).sum(),
            Self::Archived(archived) => archived.at.end - archived.at.start,
        }
    }

    /// Drops middle chunks until at most `limit` bytes are left; `None` if the body is not in chunks or is small enough.
    pub(super) fn shrink(&mut self, room: &Arc<Room>, limit: u64, cut: Option<&Cut>) -> io::Result<Option<Finished>> {
        let limit = limit.max(LEAST_LIMIT);
        let Self::Parts(parts) = self else {
            return Ok(None);
        };
        let bytes: u64 = parts.iter().map(|p| p.raw).sum();
        if bytes <= limit || parts.iter().any(|p| p.place == Place::Whole) {
            return Ok(None);
        }
        let mut left = cut.map_or((0, 0), |cut| (cut.left_out_bytes, cut.left_out_lines));
        let mut head: Vec<Part> = Vec::new();
        let mut tail: VecDeque<Part> = VecDeque::new();
        let (mut free, mut in_head) = (limit / 4, true);
        for part in parts.drain(..) {
            match part.place {
                Place::Head if in_head && part.raw <= free => {
                    free -= part.raw;
                    head.push(part);
                }
                Place::Head if in_head => {
                    let (bytes, lines) = (part.raw, part.lines);
                    let begin = part.cut(room, free, End::Begin)?;
                    let kept = begin.as_ref().map_or((0, 0), |begin| (begin.raw, begin.lines));
                    left = (left.0 + bytes - kept.0, left.1 + lines - kept.1);
                    head.extend(begin);
                    in_head = false;
                }
                Place::Marker => {}
                _ => tail.push_back(part),
            }
        }
        let mut kept: u64 = head.iter().chain(&tail).map(|p| p.raw).sum();
        while kept + MARKER > limit {
            let Some(part) = tail.pop_front() else { break };
            let (bytes, lines) = (part.raw, part.lines);
            kept -= bytes;
            let rest = part.cut(room, limit.saturating_sub(kept + MARKER), End::End)?;
            let stays = rest.as_ref().map_or((0, 0), |rest| (rest.raw, rest.lines));
            left = (left.0 + bytes - stays.0, left.1 + lines - stays.1);
            if let Some(rest) = rest {
                tail.push_front(rest);
                break;
            }
        }
        for part in &mut tail {
            part.place = Place::Tail;
        }
        joined(room, head, tail, left, limit).map(Some)
    }
}

impl Part {
    fn close(room: &Room, deflate: Deflate<PartFile>, lines: u64, place: Place) -> io::Result<Self> {
        let mut done = deflate.finish()?;
        done.into.close();
        room.take_back(done.spare);
        Ok(Self { file: done.into, raw: done.raw, crc: done.crc, lines, place })
    }

    /// Whole lines of one of its ends, as many as `most` bytes hold; the file of the rest is freed.
    fn cut(self, room: &Arc<Room>, most: u64, end: End) -> io::Result<Option<Self>> {
        if most == 0 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        Inflate::new(open_plain(self.file.path())?).read_to_end(&mut bytes)?;
        let place = self.place;
        // Before the new file is written, so that a spool that is full can be made smaller.
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

    fn of(room: &Arc<Room>, raw: &[u8], lines: u64, place: Place) -> io::Result<Self> {
        let mut deflate = room.deflate(room.part()?);
        deflate.write_all(raw)?;
        Self::close(room, deflate, lines, place)
    }
}

fn small(room: &Arc<Room>, bytes: &[u8]) -> io::Result<Body> {
    let mut deflate = room.deflate(Vec::new());
    deflate.write_all(bytes)?;
    let done = deflate.finish()?;
    room.take_back(done.spare);
    let deflated = done.into;
    let offset = room.put_small(&deflated)?;
    Ok(Body::Small { room: Arc::clone(room), offset, length: deflated.len() })
}

/// Head, marker line and tail as one body; what is kept is read once more, because its digest is another now.
fn joined(
    room: &Arc<Room>,
    head: Vec<Part>,
    tail: VecDeque<Part>,
    (left_out_bytes, left_out_lines): (u64, u64),
    limit: u64,
) -> io::Result<Finished> {
    let kept_head = head.iter().map(|p| p.raw).sum();
    let kept_tail = tail.iter().map(|p| p.raw).sum();
    let cut = Cut { kept_head, kept_tail, left_out_bytes, left_out_lines };
    let stamp = match (head.last(), tail.front()) {
        (Some(last), _) => stamp_of_last_line(last)?,
        (None, Some(first)) => stamp_of_first_line(first)?,
        (None, None) => None,
    };
    let stamp = stamp.map(|at| format!("{at:.9} ")).unwrap_or_default();
    let marker =
        format!("{stamp}debugbundle: {left_out_bytes} bytes, {left_out_lines} lines left out here (limit {limit})\n");
    let mut parts = head;
    parts.push(Part::of(room, marker.as_bytes(), 1, Place::Marker)?);
    parts.extend(tail);

    let body = Body::Parts(parts);
    let (mut digest, mut crc, mut bytes) = (Sha256::new(), crc32fast::Hasher::new(), 0);
    let mut memory = Vec::new();
    let mut reader = body.reader()?;
    let mut buffer = vec![0; SMALL];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        digest.update(&buffer[..n]);
        crc.update(&buffer[..n]);
        bytes += n as u64;
        if bytes < SMALL as u64 {
            memory.extend_from_slice(&buffer[..n]);
        }
    }
    if bytes != kept_head + kept_tail + marker.len() as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a body in the spool is not as long as it was"));
    }
    let body = if bytes < SMALL as u64 { small(room, &memory)? } else { body };
    Ok(Finished { body, bytes, sha256: digest.finalize().into(), crc, cut: Some(cut) })
}

/// Time of the last line that was kept before the gap, so that the marker sorts where it stands.
fn stamp_of_last_line(part: &Part) -> io::Result<Option<Timestamp>> {
    let mut bytes = Vec::new();
    Inflate::new(open_plain(part.file.path())?).read_to_end(&mut bytes)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let start = memchr::memrchr(b'\n', line).map_or(0, |at| at + 1);
    Ok(stamp(&line[start..]))
}

/// Time of the first line that was kept, if nothing is before the gap.
fn stamp_of_first_line(part: &Part) -> io::Result<Option<Timestamp>> {
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

/// Head and tail of a body in constant room.
struct Chunks {
    room: Arc<Room>,
    limit: u64,
    chunk: u64,
    head: Vec<Part>,
    head_bytes: u64,
    in_head: bool,
    tail: VecDeque<Part>,
    tail_bytes: u64,
    /// Deflated as it comes: a chunk is never in memory.
    open: Option<Deflate<PartFile>>,
    open_lines: u64,
    left: (u64, u64),
}

impl Chunks {
    fn new(room: Arc<Room>, limit: u64, in_head: bool) -> Self {
        Self {
            room,
            limit,
            chunk: (limit / 32).clamp(1, CHUNK),
            head: Vec::new(),
            head_bytes: 0,
            in_head,
            tail: VecDeque::new(),
            tail_bytes: 0,
            open: None,
            open_lines: 0,
            left: (0, 0),
        }
    }

    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let (run, count) = self.fitting(rest);
            if run == 0 {
                self.close_chunk()?;
                self.in_head = false;
                continue;
            }
            let open = match self.open.take() {
                Some(open) => open,
                None => self.room.deflate(self.room.part()?),
            };
            self.open.insert(open).write_all(&rest[..run])?;
            self.open_lines += count;
            if !self.in_head {
                self.drop_oldest();
            }
            if self.open_bytes() >= self.chunk {
                self.close_chunk()?;
            }
            rest = &rest[run..];
        }
        Ok(())
    }

    /// Bytes and number of the next lines that belong to the open chunk; none if the head ends here.
    fn fitting(&self, lines: &[u8]) -> (usize, u64) {
        let open = self.open_bytes();
        let last = (!lines.ends_with(b"\n")).then_some(lines.len());
        let (mut run, mut count) = (0, 0);
        for end in memchr::memchr_iter(b'\n', lines).map(|at| at + 1).chain(last) {
            if self.in_head && self.head_bytes + open + end as u64 > self.limit / 4 {
                break;
            }
            (run, count) = (end, count + 1);
            if open + run as u64 >= self.chunk {
                break;
            }
        }
        (run, count)
    }

    fn open_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, Deflate::raw)
    }

    /// Keeps to the limit, with room for the marker from the moment something is left out.
    fn drop_oldest(&mut self) {
        let over = |this: &Self| {
            let marker = if this.left == (0, 0) { 0 } else { MARKER };
            this.head_bytes + this.tail_bytes + this.open_bytes() + marker > this.limit
        };
        while over(self) {
            let (bytes, lines) = if let Some(part) = self.tail.pop_front() {
                self.tail_bytes -= part.raw;
                (part.raw, part.lines)
            } else if let Some(open) = self.open.take() {
                (open.raw(), std::mem::take(&mut self.open_lines))
            } else {
                return;
            };
            self.left = (self.left.0 + bytes, self.left.1 + lines);
        }
    }

    fn close_chunk(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let place = if self.in_head { Place::Head } else { Place::Tail };
        let part = Part::close(&self.room, open, std::mem::take(&mut self.open_lines), place)?;
        if self.in_head {
            self.head_bytes += part.raw;
            self.head.push(part);
        } else {
            self.tail_bytes += part.raw;
            self.tail.push_back(part);
        }
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "taken apart at its one use")]
    fn close(mut self) -> io::Result<(Vec<Part>, VecDeque<Part>, (u64, u64))> {
        self.close_chunk()?;
        Ok((self.head, self.tail, self.left))
    }
}

/// The files of a body, one after the other, one open at a time.
struct Files {
    paths: VecDeque<PathBuf>,
    open: Option<File>,
}

impl Files {
    fn of(parts: &[Part]) -> Self {
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
