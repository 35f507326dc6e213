//! The body of one entry between the redactor and the seal: small bodies share a file, large ones are deflated as they
//! stream, limited ones are kept in `chunks`. It takes whole redacted lines and never looks for secrets itself.

use std::{
    collections::VecDeque,
    io::{self, Read, Seek as _, SeekFrom, Write},
    ops::Range,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use crate::{
    chunks::{Chunks, MARKER},
    deflate::{Deflate, Inflate},
    files::open_plain,
    part::{End, Files, Part, PartPlace, stamp_of_first_line, stamp_of_last_line},
    segment::Gap,
    spool::SpoolError,
    spool_files::{PartFile, SpoolFiles},
};

/// Bodies below this many bytes share segments with others.
pub(super) const SMALL: usize = 64 << 10;
/// The smallest limit that has room for a marker and some content.
const LEAST_LIMIT: u64 = 1 << 10;

/// A closed body in the spool.
#[derive(Debug)]
pub(super) enum SpooledBody {
    /// Deflated, in the file that small bodies share.
    Small { room: Arc<SpoolFiles>, offset: u64, length: usize },
    /// Consecutive deflated segments.
    Parts(Vec<Part>),
    /// In an archive that is closed already.
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

/// A closed body and its measures.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(super) body: SpooledBody,
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
    pub(super) crc: crc32fast::Hasher,
    pub(super) cut: Option<Gap>,
}

/// A body while it is written, on either thread.
pub(super) struct BodyEncoder {
    room: Arc<SpoolFiles>,
    limit: Option<u64>,
    tail_only: bool,
    bytes: u64,
    kept: Kept,
}

enum Kept {
    Memory(Vec<u8>),
    Stream(Box<Deflate<PartFile>>),
    Chunks(Box<Chunks>),
}

impl BodyEncoder {
    pub(super) fn new(room: &Arc<SpoolFiles>) -> Self {
        Self { room: Arc::clone(room), limit: None, tail_only: false, bytes: 0, kept: Kept::Memory(Vec::new()) }
    }

    pub(super) fn room(&self) -> &Arc<SpoolFiles> {
        &self.room
    }

    /// Bytes taken so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Must be set before the first byte.
    pub(super) fn limit(&mut self, limit: u64) {
        self.limit = Some(limit.max(LEAST_LIMIT));
    }

    /// Keeps only the end of a body over its limit. Must be set before the first byte.
    pub(super) fn tail_only(&mut self) {
        self.tail_only = true;
    }

    /// Takes whole lines; the last line of a body may lack its newline.
    pub(super) fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        self.bytes += lines.len() as u64;
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

    /// `digest` covers all bytes taken.
    pub(super) fn finish(self, digest: Sha256) -> io::Result<Finished> {
        let measured = |body, digest: Sha256, crc| Finished {
            body,
            bytes: self.bytes,
            sha256: digest.finalize().into(),
            crc,
            cut: None,
        };
        match self.kept {
            Kept::Memory(memory) => {
                let (body, crc) = small(&self.room, &memory)?;
                Ok(measured(body, digest, crc))
            }
            Kept::Stream(deflate) => {
                let part = Part::close(&self.room, *deflate, 0, PartPlace::Whole)?;
                let crc = part.crc.clone();
                Ok(measured(SpooledBody::Parts(vec![part]), digest, crc))
            }
            Kept::Chunks(chunks) => {
                let limit = chunks.limit;
                let (head, tail, left) = chunks.close()?;
                if left == (0, 0) {
                    let parts: Vec<Part> = head.into_iter().chain(tail).collect();
                    let mut crc = crc32fast::Hasher::new();
                    for part in &parts {
                        crc.combine(&part.crc);
                    }
                    return Ok(measured(SpooledBody::Parts(parts), digest, crc));
                }
                joined(&self.room, head, tail, left, limit)
            }
        }
    }
}

impl SpooledBody {
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

    /// Drops middle chunks until at most `limit` bytes are left; `None` if the body has no chunks or is small enough.
    pub(super) fn shrink(
        &mut self,
        room: &Arc<SpoolFiles>,
        limit: u64,
        cut: Option<&Gap>,
    ) -> io::Result<Option<Finished>> {
        let limit = limit.max(LEAST_LIMIT);
        let Self::Parts(parts) = self else {
            return Ok(None);
        };
        let bytes: u64 = parts.iter().map(|p| p.raw).sum();
        if bytes <= limit || parts.iter().any(|p| p.place == PartPlace::Whole) {
            return Ok(None);
        }
        let mut left = cut.map_or((0, 0), |cut| (cut.left_out_bytes, cut.left_out_lines));
        let mut head: Vec<Part> = Vec::new();
        let mut tail: VecDeque<Part> = VecDeque::new();
        let (mut free, mut in_head) = (limit / 4, true);
        for part in parts.drain(..) {
            match part.place {
                PartPlace::Head if in_head && part.raw <= free => {
                    free -= part.raw;
                    head.push(part);
                }
                PartPlace::Head if in_head => {
                    let (bytes, lines) = (part.raw, part.lines);
                    let begin = part.cut(room, free, End::Begin)?;
                    let kept = begin.as_ref().map_or((0, 0), |begin| (begin.raw, begin.lines));
                    left = (left.0 + bytes - kept.0, left.1 + lines - kept.1);
                    head.extend(begin);
                    in_head = false;
                }
                PartPlace::Marker => {}
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
            part.place = PartPlace::Tail;
        }
        joined(room, head, tail, left, limit).map(Some)
    }
}

/// The body, and the CRC of its bytes.
fn small(room: &Arc<SpoolFiles>, bytes: &[u8]) -> io::Result<(SpooledBody, crc32fast::Hasher)> {
    let mut deflate = room.deflate(Vec::new());
    deflate.write_all(bytes)?;
    let done = deflate.finish()?;
    room.take_back(done.spare);
    let deflated = done.into;
    let offset = room.put_small(&deflated)?;
    Ok((SpooledBody::Small { room: Arc::clone(room), offset, length: deflated.len() }, done.crc))
}

/// Joins head, marker line and tail into one body. It reads all of them again, because the digest has changed.
fn joined(
    room: &Arc<SpoolFiles>,
    head: Vec<Part>,
    tail: VecDeque<Part>,
    (left_out_bytes, left_out_lines): (u64, u64),
    limit: u64,
) -> io::Result<Finished> {
    let kept_head = head.iter().map(|p| p.raw).sum();
    let kept_tail = tail.iter().map(|p| p.raw).sum();
    let cut = Gap { kept_head, kept_tail, left_out_bytes, left_out_lines };
    let stamp = match (head.last(), tail.front()) {
        (Some(last), _) => stamp_of_last_line(last)?,
        (None, Some(first)) => stamp_of_first_line(first)?,
        (None, None) => None,
    };
    let stamp = stamp.map(|at| format!("{at:.9} ")).unwrap_or_default();
    let marker =
        format!("{stamp}debugbundle: {left_out_bytes} bytes, {left_out_lines} lines left out here (limit {limit})\n");
    let mut parts = head;
    parts.push(Part::of(room, marker.as_bytes(), 1, PartPlace::Marker)?);
    parts.extend(tail);

    let body = SpooledBody::Parts(parts);
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
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the length of a body in the spool has changed"));
    }
    let body = if bytes < SMALL as u64 { small(room, &memory)?.0 } else { body };
    Ok(Finished { body, bytes, sha256: digest.finalize().into(), crc, cut: Some(cut) })
}
