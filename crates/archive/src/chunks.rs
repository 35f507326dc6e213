//! A body with a size limit while it is written: head and tail, in chunks. Over the limit the oldest chunks of the tail
//! are dropped; `body` writes the marker line between head and tail.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    sync::Arc,
};

use crate::{
    deflate::Deflate,
    part::{Part, PartPlace},
    spool_files::{PartFile, SpoolFiles},
};

/// Most bytes of one chunk, before deflate.
const CHUNK: u64 = 1 << 20;
/// Room for the marker line.
pub(super) const MARKER: u64 = 128;

/// Head and tail of a body, in bounded space.
pub(super) struct Chunks {
    room: Arc<SpoolFiles>,
    pub(super) limit: u64,
    chunk: u64,
    head: Vec<Part>,
    head_bytes: u64,
    in_head: bool,
    tail: VecDeque<Part>,
    tail_bytes: u64,
    /// The chunk being written; it is deflated as it arrives and never held in memory.
    open: Option<Deflate<PartFile>>,
    open_lines: u64,
    left: (u64, u64),
}

impl Chunks {
    pub(super) fn new(room: Arc<SpoolFiles>, limit: u64, in_head: bool) -> Self {
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

    pub(super) fn put(&mut self, lines: &[u8]) -> io::Result<()> {
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

    /// Bytes and number of the next lines that belong to the open chunk; zero if the head ends here.
    fn fitting(&self, lines: &[u8]) -> (usize, u64) {
        let open = self.open_bytes();
        let all = open + lines.len() as u64;
        let fits = all < self.chunk && (!self.in_head || self.head_bytes + all <= self.limit / 4);
        if fits && lines.ends_with(b"\n") {
            return (lines.len(), memchr::memchr_iter(b'\n', lines).count() as u64);
        }
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

    /// Drops the oldest chunks of the tail until the limit holds. Once bytes are left out, room for the marker counts.
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
        let place = if self.in_head { PartPlace::Head } else { PartPlace::Tail };
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
    pub(super) fn close(mut self) -> io::Result<(Vec<Part>, VecDeque<Part>, (u64, u64))> {
        self.close_chunk()?;
        Ok((self.head, self.tail, self.left))
    }
}
