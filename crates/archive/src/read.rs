//! Reading one entry out of an archive with one range request: find the manifest, find the entry, inflate its segment.
//! The caller fetches the bytes and decides whether to trust their source; nothing is unpacked to disk here.

use std::io::{self, Read, Write};

use debugbundle_format::hex;
use sha2::{Digest as _, Sha256};

use crate::deflate::Inflate;

/// Bytes of the gzip header, which states where the manifest lies.
pub const HEADER: usize = 64;
/// What the header's comment begins with.
const COMMENT: &str = "debugbundle manifest ";
/// gzip, deflate, and a comment as the only extra field; time and operating system are not set.
pub(super) const MAGIC: [u8; 10] = [0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff];

/// Makes the header of an archive whose manifest's segment lies at `offset`.
pub(super) fn header(offset: u64, length: u64) -> [u8; HEADER] {
    let comment = format!("{COMMENT}{offset:016}+{length:012}");
    let mut header = [b' '; HEADER];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    let end = MAGIC.len() + comment.len().min(HEADER - 1 - MAGIC.len());
    header[MAGIC.len()..end].copy_from_slice(&comment.as_bytes()[..end - MAGIC.len()]);
    header[HEADER - 1] = 0;
    header
}

/// Where the manifest's segment lies, (offset, length), from the archive's first 64 bytes. `None`: not our archive.
pub fn locate(first64: &[u8]) -> Option<(u64, u64)> {
    let header: &[u8; HEADER] = first64.get(..HEADER)?.try_into().ok()?;
    let comment = header.strip_prefix(&MAGIC)?.strip_suffix(&[0])?;
    let place = std::str::from_utf8(comment).ok()?.strip_prefix(COMMENT)?.trim_end_matches(' ');
    let (offset, length) = place.split_once('+')?;
    let number = |digits: &str, width| {
        let plain = digits.len() == width && digits.bytes().all(|b| b.is_ascii_digit());
        if plain { digits.parse::<u64>().ok() } else { None }
    };
    Some((number(offset, 16)?, number(length, 12)?))
}

/// Inflates one or several consecutive segments to at most `cap` bytes.
///
/// # Errors
/// `InvalidData`: it is not deflate data. `FileTooLarge`: it inflates to more than `cap`.
pub fn inflate_segment(segment: &[u8], cap: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Inflate::new(segment).take(cap.saturating_add(1)).read_to_end(&mut out)?;
    if out.len() as u64 > cap { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(out) }
}

/// Extracts one body from its segment: `bytes` bytes after the first `skip`.
///
/// # Errors
/// As [`extract_to`].
pub fn extract(segment: &[u8], skip: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    extract_to(segment, skip, bytes, &mut out)?;
    Ok(out)
}

/// Extracts one body from its segment as it arrives, in constant memory; returns the sha256 of what was written.
///
/// # Errors
/// `InvalidData`: not deflate data. `UnexpectedEof`: the segment ends before the body. Else errors of reader or writer.
pub fn extract_to<R: Read, W: Write>(segment: R, skip: u64, bytes: u64, mut to: W) -> io::Result<String> {
    let mut inflated = Inflate::new(segment);
    let skipped = io::copy(&mut (&mut inflated).take(skip), &mut io::sink())?;
    let mut body = inflated.take(bytes);
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut written = 0;
    loop {
        let n = body.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        digest.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        written += n as u64;
    }
    if skipped < skip || written < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_t2_t4_the_header_is_the_one_that_is_documented() {
        let header = header(8071, 412);
        assert_eq!(&header[..10], &MAGIC);
        assert_eq!(&header[10..63], b"debugbundle manifest 0000000000008071+000000000412   ");
        assert_eq!(header[63], 0);
        assert_eq!(locate(&header), Some((8071, 412)));
    }

    #[test]
    fn sec_t7_other_headers_are_not_ours() {
        let good = header(1, 2);
        assert_eq!(locate(&good[..63]), None);
        for at in [0, 3, 9, 12, 31, 40, 63] {
            let mut bad = good;
            bad[at] = b'x';
            assert_eq!(locate(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn sec_b6_a_bomb_stops_at_the_cap() {
        let mut deflate = crate::deflate::Deflate::new(Vec::new());
        deflate.write_all(&vec![0; 10 << 20]).expect("memory");
        let bomb = deflate.finish().expect("memory").into;
        assert!(bomb.len() < 64 << 10);
        assert_eq!(inflate_segment(&bomb, 1 << 20).expect_err("too much").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(inflate_segment(&bomb, 10 << 20).expect("fits").len(), 10 << 20);
        assert_eq!(extract(&bomb, 5, 3).expect("there"), [0; 3]);
        assert_eq!(extract(&bomb, 10 << 20, 1).expect_err("behind the end").kind(), io::ErrorKind::UnexpectedEof);
    }
}
