//! Reads the closed archive back from the spool as any reader would: inflates each segment, searches each body, and
//! compares the checksum of all bytes with the one at the archive's end. `run::sealing` handles the hits.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use flate2::{Decompress, FlushDecompress, Status};
use zeroize::Zeroizing;

use crate::{
    Cost, Detector,
    scan::{Scan, ScanHit},
};

/// Most threads; each takes less than 1 MiB.
const THREADS: usize = 4;
/// Most hits kept of one body, and of an archive: about 100 bytes each. A body with more is withheld whole.
const MOST_OF_ONE: usize = 4 << 10;
const MOST_OF_ALL: usize = 16 << 10;
const INPUT: usize = 64 << 10;
const OUTPUT: usize = 128 << 10;

/// A closed archive as a file.
#[derive(Debug)]
pub struct Archive {
    /// The file, open for reading.
    pub file: File,
    /// Its length in bytes.
    pub bytes: u64,
    /// From the end of the gzip header to the end of the last piece.
    pub content: Range<u64>,
    /// All pieces of the content, in the order of the file.
    pub pieces: Vec<Piece>,
}

/// Consecutive segments of the archive that are inflated as one.
#[derive(Debug)]
pub struct Piece {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its length in the file.
    pub length: u64,
    /// Which body lies where in the unpacked bytes; between bodies are tar headers, which contain file names.
    pub holds: Vec<(Range<u64>, HitPlace)>,
}

/// Proof that an archive was searched to its end and that nothing was found. Only [`check`] makes one.
#[derive(Debug)]
pub struct Clean(());

/// Something in the archive that must not leave. It never shows the value.
#[derive(Clone)]
pub struct Hit {
    /// Where in the archive.
    pub place: HitPlace,
    /// The first byte of what announces it, such as the first line of a key.
    pub begin: u64,
    /// Its first byte in the unpacked entry.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The rule that found it: the name of a known value, or of one of the check's shapes.
    pub rule: &'static str,
    /// How much is withheld with it.
    pub cost: Cost,
    pub(super) seen: Zeroizing<Vec<u8>>,
}

/// Where a hit lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HitPlace {
    /// In the body of the entry of this path.
    Entry(String),
    /// In `manifest.json`.
    Manifest,
    /// Between the bodies: in the name of a file.
    Names,
}

impl std::fmt::Debug for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {} of {}", self.rule, self.offset, self.place)
    }
}

impl std::fmt::Display for HitPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Entry(path) => path,
            Self::Manifest => "manifest.json",
            Self::Names => "the names of the files",
        })
    }
}

/// Why an archive could not be checked. Such an archive must not be sent.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read back.
    #[error("the sealed archive cannot be read back")]
    Io(#[from] io::Error),
    /// What was searched is not what a reader would unpack.
    #[error("the sealed archive differs from its parts")]
    Inconsistent,
    /// A bug in the check itself.
    #[error("the self-check of the sealed archive panicked")]
    Panicked,
}

/// The result of one piece.
#[derive(Default)]
struct Searched {
    hits: Vec<Hit>,
    raw: u64,
    crc: crc32fast::Hasher,
}

/// Searches the archive. Of a body with more hits than are kept only the first is returned; it costs the whole entry.
///
/// # Errors
/// [`CheckError`]: nothing is known of the archive then.
pub fn check(archive: &Archive, detector: &Detector) -> Result<Result<Clean, Vec<Hit>>, CheckError> {
    let pieces = &archive.pieces;
    let results: Mutex<Vec<Option<Searched>>> = Mutex::new(pieces.iter().map(|_| None).collect());
    let next = AtomicUsize::new(0);
    let room = AtomicUsize::new(MOST_OF_ALL);
    let work = || -> Result<(), CheckError> {
        let mut buffers = Buffers::default();
        while let Some((at, piece)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, pieces.get(at)?)))
        {
            let searched = read(&archive.file, piece, (detector, &room), &mut buffers)?;
            results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(searched);
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS)).min(pieces.len().max(1));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(CheckError::Panicked)))
            .collect::<Result<Vec<_>, _>>()
    })?;

    let mut hits = Vec::new();
    let (mut raw, mut crc) = (0_u64, crc32fast::Hasher::new());
    for read in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let read = read.ok_or(CheckError::Inconsistent)?;
        hits.extend(read.hits);
        raw += read.raw;
        crc.combine(&read.crc);
    }
    if !is_whole(archive, raw, crc.finalize())? {
        return Err(CheckError::Inconsistent);
    }
    Ok(if hits.is_empty() { Ok(Clean(())) } else { Err(hits) })
}

/// The hits in one text, as [`check`] would find them in an entry.
///
/// # Errors
/// The text cannot be read.
pub fn search(mut text: impl Read, place: &HitPlace, detector: &Detector) -> io::Result<Vec<Hit>> {
    let mut scan = Scan::new(detector, MOST_OF_ONE + 1);
    let mut buffer = Zeroizing::new(vec![0; INPUT]);
    loop {
        match text.read(&mut buffer)? {
            0 => return Ok(hits(&mut scan, place, &AtomicUsize::new(MOST_OF_ALL))),
            n => scan.feed(&buffer[..n]),
        }
    }
}

/// Whether the pieces fill all bytes between the archive's header and its end, and match the checksum at the end.
fn is_whole(archive: &Archive, raw: u64, crc: u32) -> io::Result<bool> {
    // An empty last block, the checksum, the length: RFC 1952.
    const END: usize = 10;
    let Range { start, end } = archive.content;
    let mut at = start;
    for piece in &archive.pieces {
        if piece.offset != at {
            return Ok(false);
        }
        at += piece.length;
    }
    let mut last = [0; END];
    archive.file.read_exact_at(&mut last, end)?;
    let matches = last[..2] == [3, 0]
        && last[2..6] == crc.to_le_bytes()
        && u64::from(u32::from_le_bytes([last[6], last[7], last[8], last[9]])) == raw & u64::from(u32::MAX);
    Ok(at == end && end + END as u64 == archive.bytes && matches)
}

#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    output: Zeroizing<Vec<u8>>,
}

/// Inflates a piece and searches each body in it separately.
fn read(
    file: &File,
    piece: &Piece,
    (detector, room): (&Detector, &AtomicUsize),
    buffers: &mut Buffers,
) -> Result<Searched, CheckError> {
    buffers.output.resize(OUTPUT, 0);
    let mut inflate =
        Inflated::new(Section { file, at: piece.offset, end: piece.offset + piece.length }, &mut buffers.input);
    let mut done = Searched::default();
    let mut scan = Scan::new(detector, MOST_OF_ONE + 1);
    let mut bodies = piece.holds.iter().peekable();
    loop {
        let n = inflate.read(&mut buffers.output)?;
        if n == 0 {
            break;
        }
        let mut data = &buffers.output[..n];
        done.crc.update(data);
        while !data.is_empty() {
            // Up to the next boundary: of a body, or of the bytes between two bodies.
            let (place, end) = match bodies.peek() {
                Some((at, place)) if at.contains(&done.raw) => (place, at.end),
                Some((at, _)) if at.start > done.raw => (&HitPlace::Names, at.start),
                Some(_) => return Err(CheckError::Inconsistent),
                None => (&HitPlace::Names, u64::MAX),
            };
            let take = usize::try_from(end - done.raw).unwrap_or(usize::MAX).min(data.len());
            scan.feed(&data[..take]);
            done.raw += take as u64;
            data = &data[take..];
            if done.raw == end {
                done.hits.extend(hits(&mut scan, place, room));
                while bodies.next_if(|(at, _)| at.end <= done.raw).is_some() {}
            }
        }
    }
    // The manifest's piece contains only the manifest, whose unpacked length is not recorded.
    let place = bodies.next().map_or(&HitPlace::Names, |(_, place)| place);
    done.hits.extend(hits(&mut scan, place, room));
    if bodies.next().is_some() || matches!(place, HitPlace::Entry(_)) {
        return Err(CheckError::Inconsistent);
    }
    Ok(done)
}

/// The hits in a body, as far as there is room for them.
fn hits(scan: &mut Scan<'_>, place: &HitPlace, room: &AtomicUsize) -> Vec<Hit> {
    let mut found = scan.end();
    let less = |left: usize| left.checked_sub(found.len());
    let fits = found.len() <= MOST_OF_ONE && room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
    if !fits {
        found.truncate(1);
        found[0].cost = Cost::Entry;
    }
    let hit = |found: ScanHit| {
        let ScanHit { begin, offset, length, rule, cost, seen } = found;
        Hit { place: place.clone(), begin, offset, length, rule, cost, seen }
    };
    found.into_iter().map(hit).collect()
}

/// A part of the archive's file.
struct Section<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(out.len());
        let n = self.file.read_at(&mut out[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Deflate without header. A piece ends after a full flush, without a last block.
struct Inflated<'a> {
    source: Section<'a>,
    state: Decompress,
    input: &'a mut Vec<u8>,
    from: usize,
    to: usize,
}

impl<'a> Inflated<'a> {
    fn new(source: Section<'a>, input: &'a mut Vec<u8>) -> Self {
        input.resize(INPUT, 0);
        Self { source, state: Decompress::new(false), input, from: 0, to: 0 }
    }
}

impl Read for Inflated<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.from == self.to {
                (self.from, self.to) = (0, self.source.read(self.input)?);
            }
            let (taken, made) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(&self.input[self.from..self.to], out, FlushDecompress::None)?;
            let made = usize::try_from(self.state.total_out() - made).map_err(io::Error::other)?;
            let taken = usize::try_from(self.state.total_in() - taken).map_err(io::Error::other)?;
            self.from += taken;
            if made > 0 {
                return Ok(made);
            }
            if status == Status::StreamEnd {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if taken == 0 {
                let ended = self.from == self.to && self.source.at == self.source.end;
                return if ended { Ok(0) } else { Err(io::ErrorKind::InvalidData.into()) };
            }
        }
    }
}
