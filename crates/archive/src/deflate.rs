//! Raw deflate as the archive uses it: the compressor starts anew with each segment and flushes once, fully, at its
//! end. `seal` joins the segments.

use std::io::{self, Read, Write};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// On synthetic lines in Velero's format (`examples/redact_speed`, nothing to mask) this library makes on one core, at
/// levels 1 to 6: 650, 489, 403, 323, 283 and 229 MB/s at 9.5, 7.4, 6.9, 6.5, 5.9 and 5.9 % of the size. This level is
/// about as fast as redaction beside it with a secret in each tenth line; at a higher one redaction would wait.
pub const LEVEL: u32 = 3;
const BUFFER: usize = 32 << 10;

/// A compressor kept for the next segment. A new one for each of thousands of segments would fragment the heap, with
/// holes that no later one fits into.
#[derive(Debug)]
pub(super) struct Spare {
    state: Compress,
    buffer: Vec<u8>,
}

/// One segment while it is written.
pub(super) struct Deflate<W> {
    state: Compress,
    buffer: Vec<u8>,
    crc: crc32fast::Hasher,
    raw: u64,
    into: W,
}

impl<W: Write> Deflate<W> {
    pub(super) fn new(into: W) -> Self {
        let state = Compress::new(Compression::new(LEVEL), false);
        Self::again(Spare { state, buffer: vec![0; BUFFER] }, into)
    }

    /// As [`Deflate::new`], with a compressor that was used before.
    pub(super) fn again(spare: Spare, into: W) -> Self {
        let Spare { mut state, buffer } = spare;
        state.reset();
        Self { state, buffer, crc: crc32fast::Hasher::new(), raw: 0, into }
    }

    /// Bytes put in.
    pub(super) fn raw(&self) -> u64 {
        self.raw
    }

    fn step(&mut self, data: &[u8], flush: FlushCompress) -> io::Result<(usize, bool)> {
        let (taken, made) = (self.state.total_in(), self.state.total_out());
        let status = self.state.compress(data, &mut self.buffer, flush).map_err(io::Error::other)?;
        let made = usize::try_from(self.state.total_out() - made).map_err(io::Error::other)?;
        let taken = usize::try_from(self.state.total_in() - taken).map_err(io::Error::other)?;
        self.into.write_all(&self.buffer[..made])?;
        if status == Status::BufError && made == 0 && taken == 0 && !data.is_empty() {
            return Err(io::Error::other("deflate does not advance"));
        }
        Ok((taken, made == self.buffer.len()))
    }

    /// Ends the segment on a byte boundary.
    pub(super) fn finish(mut self) -> io::Result<Deflated<W>> {
        while self.step(&[], FlushCompress::Full)?.1 {}
        let Self { state, buffer, crc, raw, into } = self;
        Ok(Deflated { into, crc, raw, spare: Spare { state, buffer } })
    }
}

impl<W: Write> Write for Deflate<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut rest = data;
        while !rest.is_empty() {
            let (taken, _) = self.step(rest, FlushCompress::None)?;
            rest = &rest[taken..];
        }
        self.crc.update(data);
        self.raw += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A finished segment.
pub(super) struct Deflated<W> {
    pub(super) into: W,
    pub(super) crc: crc32fast::Hasher,
    pub(super) raw: u64,
    pub(super) spare: Spare,
}

/// Inflates consecutive segments. An end of input right after a flush is the regular end.
pub(super) struct Inflate<R> {
    state: Decompress,
    input: Vec<u8>,
    from: usize,
    to: usize,
    source: R,
    ended: bool,
}

impl<R: Read> Inflate<R> {
    pub(super) fn new(source: R) -> Self {
        Self { state: Decompress::new(false), input: vec![0; BUFFER], from: 0, to: 0, source, ended: false }
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if self.from == self.to && !self.ended {
                self.from = 0;
                self.to = self.source.read(&mut self.input)?;
                self.ended = self.to == 0;
            }
            let (taken, made) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(&self.input[self.from..self.to], out, FlushDecompress::None)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let made = usize::try_from(self.state.total_out() - made).map_err(io::Error::other)?;
            let taken = usize::try_from(self.state.total_in() - taken).map_err(io::Error::other)?;
            self.from += taken;
            if made > 0 {
                return Ok(made);
            }
            if status == Status::StreamEnd || (taken == 0 && self.ended) {
                return Ok(0);
            }
            if taken == 0 && self.from < self.to && status == Status::BufError {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut deflate = Deflate::new(Vec::new());
        deflate.write_all(data).expect("memory");
        deflate.finish().expect("memory").into
    }

    #[test]
    fn segments_end_in_the_mark_and_inflate_alone_and_as_neighbours() {
        let noise: Vec<u8> = (0..300_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        for size in [0, 1, 100, 32 << 10, 65_536, 299_999] {
            let one = deflated(&noise[..size]);
            assert!(one.ends_with(&[0, 0, 0xff, 0xff]), "{size}");
            let two = [one.clone(), deflated(b"next")].concat();
            for (bytes, want) in [(one, noise[..size].to_vec()), (two, [&noise[..size], b"next"].concat())] {
                let mut back = Vec::new();
                Inflate::new(&bytes[..]).read_to_end(&mut back).expect("whole");
                assert!(back == want, "{size}");
            }
        }
    }

    #[test]
    fn a_compressor_that_is_used_again_makes_the_same_bytes() {
        let mut first = Deflate::new(Vec::new());
        first.write_all(&b"something before ".repeat(9_000)).expect("memory");
        let mut second = Deflate::again(first.finish().expect("memory").spare, Vec::new());
        second.write_all(&b"something else ".repeat(9_000)).expect("memory");
        let second = second.finish().expect("memory");
        assert_eq!(second.raw, 9_000 * 15);
        assert!(second.into == deflated(&b"something else ".repeat(9_000)));
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        let mut back = Vec::new();
        assert!(Inflate::new(&[0xff_u8; 64][..]).read_to_end(&mut back).is_err());
    }
}
