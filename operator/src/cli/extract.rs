//! Extracts one entry of a bundle while its segment arrives: inflates, cuts, verifies and passes it on, in constant
//! memory and without disk.

use debugbundle_format::manifest::EntryView;
use flate2::{Decompress, FlushDecompress};
use sha2::{Digest as _, Sha256};

use super::{
    download::hex,
    exit::{CliError, Exit},
    fetch::Sink,
};

/// More output than this per byte of input, beyond the first [`RATIO_GRACE`] bytes, is a decompression bomb.
const RATIO: u64 = 1000;
const RATIO_GRACE: u64 = 10 << 20;

/// Takes the bytes of an entry's segment and passes on the entry's body before its digest is known: the output is valid
/// only if [`Extract::finish`] succeeds.
pub(crate) struct Extract<'a, S> {
    inflate: Decompress,
    buffer: Vec<u8>,
    skip: u64,
    left: u64,
    entry: &'a EntryView,
    sum: Sha256,
    sink: S,
}

impl<'a, S: Sink> Extract<'a, S> {
    pub(crate) fn new(sink: S, entry: &'a EntryView) -> Self {
        Self {
            // Raw deflate: a segment has no header of its own.
            inflate: Decompress::new(false),
            buffer: vec![0; 64 * 1024],
            skip: entry.skip,
            left: entry.bytes,
            entry,
            sum: Sha256::new(),
            sink,
        }
    }

    fn pass(&mut self, produced: usize) -> Result<(), CliError> {
        let at_most = |n: u64, len: usize| usize::try_from(n).unwrap_or(usize::MAX).min(len);
        let fresh = &self.buffer[at_most(self.skip, produced)..produced];
        self.skip -= (produced - fresh.len()) as u64;
        let wanted = &fresh[..at_most(self.left, fresh.len())];
        self.left -= wanted.len() as u64;
        self.sum.update(wanted);
        self.sink.take(wanted)
    }

    /// Called after the whole segment; fails unless the body matches the manifest.
    pub(crate) fn finish(self) -> Result<S, CliError> {
        let path = &self.entry.path;
        if self.left > 0 {
            return Err(foreign(&format!("{path} ends {} bytes early", self.left)));
        }
        if !hex(&self.sum.finalize()).eq_ignore_ascii_case(&self.entry.sha256) {
            return Err(foreign(&format!("the sha256 of {path} differs from the one in the manifest")));
        }
        Ok(self.sink)
    }
}

impl<S: Sink> Sink for Extract<'_, S> {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), CliError> {
        while self.left > 0 {
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            self.inflate
                .decompress(bytes, &mut self.buffer, FlushDecompress::None)
                .map_err(|error| foreign(&format!("{} cannot be decompressed: {error}", self.entry.path)))?;
            let consumed = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(bytes.len());
            let produced = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(self.buffer.len());
            if self.inflate.total_out() > RATIO_GRACE && self.inflate.total_out() / RATIO > self.inflate.total_in() {
                return Err(foreign(&format!(
                    "{} decompresses to more than a thousand times its size",
                    self.entry.path
                )));
            }
            self.pass(produced)?;
            bytes = &bytes[consumed.min(bytes.len())..];
            if consumed == 0 && produced == 0 {
                // The inflater needs more input, or its stream has ended.
                break;
            }
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.sink.note(text);
    }
}

/// The error for a bundle that the operator cannot have made.
pub(crate) fn foreign(why: &str) -> CliError {
    CliError::new(Exit::Integrity, format!("the bundle is damaged, or it is not a debug bundle: {why}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;
    use debugbundle_format::manifest::ByteRange;

    #[derive(Default)]
    struct Memory(Vec<u8>);

    impl Sink for Memory {
        fn take(&mut self, bytes: &[u8]) -> Result<(), CliError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn note(&mut self, _: &str) {}
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        // A full flush and no last block, as at the end of every segment.
        encoder.flush().unwrap();
        encoder.get_ref().clone()
    }

    fn entry(body: &[u8], skip: u64) -> EntryView {
        EntryView {
            path: "a/b.log".to_owned(),
            bytes: body.len() as u64,
            sha256: hex(&Sha256::digest(body)),
            segment: ByteRange { offset: 0, length: 0 },
            skip,
        }
    }

    fn extracted(entry: &EntryView, segment: &[u8], piece: usize) -> Result<Vec<u8>, CliError> {
        let mut extract = Extract::new(Memory::default(), entry);
        for bytes in segment.chunks(piece) {
            extract.take(bytes)?;
        }
        extract.finish().map(|memory| memory.0)
    }

    #[test]
    fn a_body_comes_out_whole_however_the_segment_arrives() {
        let before = vec![b'#'; 1024];
        let body: Vec<u8> = (0..300_000_u32).flat_map(|i| (i % 977).to_le_bytes()).collect();
        let all = [&before[..], &body[..], b"behind"].concat();
        let segment = deflated(&all);
        for piece in [1000, 7, segment.len()] {
            assert!(extracted(&entry(&body, 1024), &segment, piece).unwrap() == body, "{piece}");
        }
        assert_eq!(extracted(&entry(b"", 1024), &segment, 9).unwrap(), b"");
    }

    #[test]
    fn a_body_that_is_short_or_another_is_refused() {
        let segment = deflated(b"hello world");
        let other = EntryView { sha256: "00".repeat(32), ..entry(b"hello", 0) };
        assert!(extracted(&other, &segment, 100).unwrap_err().to_string().contains("sha256"));
        let long = EntryView { bytes: 12, ..entry(b"hello world", 0) };
        assert!(extracted(&long, &segment, 100).unwrap_err().to_string().contains("1 bytes early"));
        assert!(extracted(&entry(b"hello", 0), b"\xff\xff\xff", 100).unwrap_err().to_string().contains("decompressed"));
    }

    #[test]
    fn sec_b6_a_bomb_is_refused_before_its_end() {
        let zeros = vec![0; 64 << 20];
        let entry = entry(&zeros, 0);
        let segment = deflated(&zeros);
        let error = extracted(&entry, &segment, 4096).unwrap_err();
        assert!(error.to_string().contains("a thousand times"), "{error}");
    }
}
