//! The files of an archive (tar, with or without gzip) or of a folder, one after the other and under limits. Links are
//! not followed, and no path leads anywhere: it is only a name.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use tar::{Archive, EntryType};

use super::OfflineError;

/// Most files, and most bytes (inflated) of all of them.
const FILES: usize = 200_000;
const BYTES: u64 = 8 << 30;
/// Longest path (bytes), and most bytes of a header that extends another one.
const PATH: usize = 4096;
const EXTENSION: u64 = 64 << 10;
/// Deepest folder.
const DEPTH: usize = 32;

/// A file in it.
pub(super) struct TreeFile<'a> {
    /// Below the root, with `/`.
    pub(super) path: &'a str,
    /// When it was last changed.
    pub(super) changed: Option<Timestamp>,
    /// Its bytes.
    pub(super) body: &'a mut dyn Read,
}

/// Passes each file to `take`, in the order of the archive or by path.
///
/// # Errors
/// It cannot be read, or exceeds a limit.
pub(super) fn each(place: &Path, take: &mut dyn FnMut(TreeFile<'_>)) -> Result<(), OfflineError> {
    let cannot = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => OfflineError::NotFound(place.to_owned()),
        _ => OfflineError::Unreadable { place: place.to_owned(), source },
    };
    if fs::metadata(place).map_err(cannot)?.is_dir() {
        return of_folder(place, take);
    }
    let mut file = BufReader::with_capacity(64 << 10, File::open(place).map_err(cannot)?);
    let is_gzip = file.fill_buf().map_err(cannot)?.starts_with(&[0x1f, 0x8b]);
    let bytes: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    of_archive(place, bytes.take(BYTES + 1), take)
}

fn too_large(place: &Path, what: String) -> OfflineError {
    OfflineError::TooLarge { place: place.to_owned(), what }
}

fn of_archive(place: &Path, bytes: impl Read, take: &mut dyn FnMut(TreeFile<'_>)) -> Result<(), OfflineError> {
    let cannot = |source: io::Error| OfflineError::Unreadable { place: place.to_owned(), source };
    let mut archive = Archive::new(bytes);
    // Raw: the library would read a header's extension of any length into memory.
    let entries = archive.entries().map_err(cannot)?.raw(true);
    let (mut files, mut all, mut long_name) = (0, 0_u64, None);
    for entry in entries {
        let mut entry = entry.map_err(cannot)?;
        all = all.saturating_add(entry.size());
        if all > BYTES {
            return Err(too_large(place, format!("it contains more than {} GiB", BYTES >> 30)));
        }
        files += 1;
        if files > FILES {
            return Err(too_large(place, format!("it contains more than {FILES} files")));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::GNULongName | EntryType::XHeader) {
            let mut extension = Vec::new();
            (&mut entry).take(EXTENSION).read_to_end(&mut extension).map_err(cannot)?;
            long_name = if kind == EntryType::XHeader {
                path_of_pax(&extension).or(long_name)
            } else {
                Some(String::from_utf8_lossy(&extension).trim_end_matches('\0').to_owned())
            };
            continue;
        }
        let path = long_name.take().unwrap_or_else(|| String::from_utf8_lossy(&entry.path_bytes()).into_owned());
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) || path.len() > PATH {
            continue;
        }
        let changed = entry.header().mtime().ok().and_then(|at| Timestamp::from_second(i64::try_from(at).ok()?).ok());
        take(TreeFile { path: path.trim_start_matches("./"), changed, body: &mut entry });
    }
    Ok(())
}

/// The path in a pax header (POSIX.1-2001: `LENGTH KEY=VALUE\n`).
fn path_of_pax(extension: &[u8]) -> Option<String> {
    let records = tar::PaxExtensions::new(extension);
    let path = records.filter_map(Result::ok).find(|record| record.key() == Ok("path"))?;
    path.value().ok().map(str::to_owned)
}

fn of_folder(place: &Path, take: &mut dyn FnMut(TreeFile<'_>)) -> Result<(), OfflineError> {
    let mut folders = VecDeque::from([(PathBuf::new(), 0)]);
    let (mut files, mut all) = (0, 0_u64);
    while let Some((folder, depth)) = folders.pop_front() {
        let here = place.join(&folder);
        let cannot = |source: io::Error| OfflineError::Unreadable { place: here.clone(), source };
        let mut entries: Vec<_> = fs::read_dir(&here).and_then(Iterator::collect).map_err(cannot)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            files += 1;
            if files > FILES {
                return Err(too_large(place, format!("it contains more than {FILES} files")));
            }
            let kind = entry.file_type().map_err(cannot)?;
            let path = folder.join(entry.file_name());
            if kind.is_dir() && depth < DEPTH {
                folders.push_back((path, depth + 1));
            } else if let (true, Some(name)) = (kind.is_file(), path.to_str()) {
                let file = entry.path();
                let cannot = |source: io::Error| OfflineError::Unreadable { place: file.clone(), source };
                let facts = entry.metadata().map_err(cannot)?;
                all = all.saturating_add(facts.len());
                if all > BYTES {
                    return Err(too_large(place, format!("it contains more than {} GiB", BYTES >> 30)));
                }
                let changed = facts.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
                let body = File::open(&file).map_err(cannot)?;
                take(TreeFile { path: name, changed, body: &mut body.take(BYTES) });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// The paths and bytes of what is in it, or the error.
    fn read(place: &Path) -> Result<Vec<(String, String)>, String> {
        let mut seen = Vec::new();
        each(place, &mut |file| {
            let mut text = String::new();
            file.body.read_to_string(&mut text).unwrap();
            seen.push((file.path.to_owned(), text));
        })
        .map_err(|error| error.to_string())?;
        Ok(seen)
    }

    fn entry(kind: EntryType, path: &str, body: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(body.len() as u64);
        header.as_mut_bytes()[..path.len().min(100)].copy_from_slice(&path.as_bytes()[..path.len().min(100)]);
        if kind == EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    #[test]
    fn an_archive_with_or_without_gzip_and_a_folder_are_read_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let long = "d/".repeat(80) + "file";
        let pax = format!("{} path={long}\n", long.len() + 10);
        let bytes = [
            entry(EntryType::Regular, "./a/one", b"1"),
            entry(EntryType::Regular, "../../etc/shadow", b"2"),
            entry(EntryType::Symlink, "a/link", b""),
            entry(EntryType::GNULongName, "././@LongLink", format!("{long}\0").as_bytes()),
            entry(EntryType::Regular, &long[..90], b"3"),
            entry(EntryType::XHeader, "PaxHeaders/file", pax.as_bytes()),
            entry(EntryType::Regular, &long[..90], b"4"),
            vec![0; 1024],
        ]
        .concat();
        let expected: Vec<(String, String)> = [("a/one", "1"), ("../../etc/shadow", "2"), (&*long, "3"), (&*long, "4")]
            .map(|(path, text)| (path.to_owned(), text.to_owned()))
            .to_vec();
        let plain = folder.path().join("plain.tgz");
        fs::write(&plain, &bytes).unwrap();
        assert_eq!(read(&plain).unwrap(), expected, "velero debug names an archive tgz that is none");
        let zipped = folder.path().join("zipped.tar.gz");
        let mut gzip = flate2::write::GzEncoder::new(File::create(&zipped).unwrap(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        gzip.finish().unwrap();
        assert_eq!(read(&zipped).unwrap(), expected);

        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/one"), "1").unwrap();
        std::os::unix::fs::symlink("/etc", tree.join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.join("passwd")).unwrap();
        assert_eq!(read(&tree).unwrap(), [("a/b/one".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_is_no_archive_or_claims_too_much_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        assert!(read(&place).unwrap_err().ends_with("x not found"));
        fs::write(&place, "no archive at all".repeat(100)).unwrap();
        assert!(read(&place).unwrap_err().contains("cannot be read"));
        let mut claims = entry(EntryType::Regular, "a", b"");
        let mut header = tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(BYTES + 1);
        header.set_cksum();
        claims.extend_from_slice(header.as_bytes());
        fs::write(&place, claims).unwrap();
        assert!(read(&place).unwrap_err().ends_with("it contains more than 8 GiB"));
        let name = entry(EntryType::GNULongName, "././@LongLink", &vec![b'a'; 200 << 10]);
        fs::write(&place, [name, entry(EntryType::Regular, "a", b"1"), vec![0; 1024]].concat()).unwrap();
        assert_eq!(read(&place).unwrap(), [], "a path that nobody has is passed over");
    }
}
