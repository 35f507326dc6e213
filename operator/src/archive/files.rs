//! The names of a spool's files, and how they are opened and removed: no link is followed, and no file of others is touched.
//! How many bytes are in them is counted by `room`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::spool::SpoolError;

/// The sealed archive in the folder.
pub(super) const SEALED_FILE: &str = "bundle.tar.gz";
/// What is known of the sealed archive; written last, so its presence says that the archive is whole.
pub(super) const SEALED_NOTE: &str = "sealed.json";
/// What the archive's maker wants to know of it later; its content is not looked into here.
pub const OWNER_NOTE: &str = "packed.json";
/// The archive while it is written.
pub(super) const SEALING_FILE: &str = "sealing.part";
/// The same while it is sealed anew from the first one.
pub(super) const SEALING_ANEW: &str = "sealing-anew.part";
/// Small bodies, one after the other.
pub(super) const SMALL_FILE: &str = "small.part";
/// Created here and now, readable by us alone; a file or link that lies in the way is an error.
pub(super) fn exclusive(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    Ok(made.map_err(|e| SpoolError::io(path, e))?)
}

/// Reads a file of ours of at most `cap` bytes, following no link.
pub(super) fn read_capped(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file for reading, following no link.
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

/// Not sealed yet: nobody can use it later.
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
