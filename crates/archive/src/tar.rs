//! Tar headers that every reader accepts: types `0` and `5`, GNU long names, no owner, no PAX.

use jiff::Timestamp;
use tar::{EntryType, Header};

pub(super) const BLOCK: usize = 512;
/// Bytes of the name field.
const NAME: usize = 100;

/// A regular file's header, after a GNU long-name entry if the path needs one.
pub(super) fn file(path: &str, size: u64, mtime: Timestamp) -> Vec<u8> {
    blocks(path, EntryType::Regular, size, 0o644, mtime)
}

/// A directory's header; `path` has no slash at its end.
pub(super) fn directory(path: &str, mtime: Timestamp) -> Vec<u8> {
    blocks(&format!("{path}/"), EntryType::Directory, 0, 0o755, mtime)
}

/// Zeros that fill a body's last block.
pub(super) fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let fill = size.next_multiple_of(BLOCK as u64) - size;
    &ZEROS[..usize::try_from(fill).unwrap_or(0)]
}

fn blocks(path: &str, kind: EntryType, size: u64, mode: u32, mtime: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    let name = path.as_bytes();
    if name.len() > NAME {
        let long = [name, &[0]].concat();
        out.extend_from_slice(header(b"././@LongLink", EntryType::GNULongName, long.len() as u64, 0o644, 0).as_bytes());
        out.extend_from_slice(&long);
        out.extend_from_slice(padding(long.len() as u64));
    }
    let seconds = u64::try_from(mtime.as_second()).unwrap_or(0);
    out.extend_from_slice(header(&name[..name.len().min(NAME)], kind, size, mode, seconds).as_bytes());
    out
}

fn header(name: &[u8], kind: EntryType, size: u64, mode: u32, mtime: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_cksum();
    header
}
