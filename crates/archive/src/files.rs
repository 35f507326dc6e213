//! The names of a spool's files, and how they are opened and removed: links are not followed, foreign files not
//! touched. `spool_files` counts their bytes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crate::spool::SpoolError;

/// The sealed archive in the folder.
pub(super) const SEALED_FILE: &str = "bundle.tar.gz";
/// Facts about the sealed archive. It is written last, so its presence proves that the archive is whole.
pub(super) const SEALED_NOTE: &str = "sealed.json";
/// A note that the archive's maker keeps about it for later; its content is not read here.
pub const OWNER_NOTE: &str = "packed.json";
/// The archive while it is written.
pub(super) const SEALING_FILE: &str = "sealing.part";
/// A second archive while it is made from the first one.
pub(super) const SEALING_ANEW: &str = "sealing-anew.part";
/// Small bodies, one after the other.
pub(super) const SMALL_FILE: &str = "small.part";
/// Creates a file that only we can read; an existing file or link at `path` is an error.
pub(super) fn exclusive(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    Ok(made.map_err(|e| SpoolError::io(path, e))?)
}

/// Reads at most `cap` bytes of a file of ours, without following links.
pub(super) fn read_capped(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file for reading, without following links.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

pub(super) fn own_names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for item in fs::read_dir(dir)? {
        if let Ok(name) = item?.file_name().into_string()
            && is_ours(&name)
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether the file is unfinished, so that no later process can use it.
pub(super) fn is_part(name: &str) -> bool {
    !matches!(name, SEALED_FILE | SEALED_NOTE | OWNER_NOTE)
}

fn is_ours(name: &str) -> bool {
    let body = name.strip_prefix("body-").and_then(|rest| rest.strip_suffix(".part"));
    matches!(
        name,
        SEALED_FILE | SEALED_NOTE | OWNER_NOTE | SEALING_FILE | SEALING_ANEW | SMALL_FILE | "sealed-json.part"
    ) || body.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

pub(super) fn remove_ours(dir: &Path) -> Result<(), SpoolError> {
    for name in own_names(dir).map_err(|e| SpoolError::io(dir, e))? {
        let path = dir.join(name);
        fs::remove_file(&path).map_err(|e| SpoolError::io(&path, e))?;
    }
    Ok(())
}
