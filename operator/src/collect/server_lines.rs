//! Finds the lines about one Backup or Restore in the log of Velero's server: the only source until Velero writes the
//! target's log to the object store. The bundle also contains the server's whole log.

use debugbundle_crd::TargetKind;

/// Of a longer line only this much is searched (bytes).
const LINE: usize = 64 * 1024;

/// Splits a stream into lines and passes on the lines about the target, with their line ends.
#[derive(Debug)]
pub(super) struct ServerLogReader {
    target: Option<Needles>,
    line: Vec<u8>,
    /// Inside the rest of a line over [`LINE`]: whether the line is passed on.
    rest: Option<bool>,
    /// Version and commit from the server's first line.
    pub version: Option<(String, String)>,
}

/// `restore=velero/r1`, `restore=r1`, and the same in JSON; the value must end there.
#[derive(Debug)]
struct Needles {
    needles: Vec<memchr::memmem::Finder<'static>>,
}

impl Needles {
    fn new(kind: TargetKind, namespace: &str, name: &str) -> Self {
        let key = match kind {
            TargetKind::Backup => "backup",
            TargetKind::Restore => "restore",
        };
        let mut needles = Vec::new();
        for value in [format!("{namespace}/{name}"), name.to_owned()] {
            for needle in [format!("{key}={value}"), format!("{key}=\"{value}\""), format!("\"{key}\":\"{value}\"")] {
                needles.push(memchr::memmem::Finder::new(needle.as_bytes()).into_owned());
            }
        }
        Self { needles }
    }

    fn hit(&self, line: &[u8]) -> bool {
        self.needles.iter().any(|needle| {
            let length = needle.needle().len();
            needle.find_iter(line).any(|at| {
                let before = at.checked_sub(1).map_or(b' ', |before| line[before]);
                let after = line.get(at + length).copied().unwrap_or(b' ');
                let free = |byte: u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'{' | b'}' | b'"');
                free(before) && free(after)
            })
        })
    }
}

impl ServerLogReader {
    pub(super) fn new(target: Option<(TargetKind, &str, &str)>) -> Self {
        let target = target.map(|(kind, namespace, name)| Needles::new(kind, namespace, name));
        Self { target, line: Vec::new(), rest: None, version: None }
    }

    /// Passes the lines about the target in `data` to `out`.
    pub(super) fn feed<E>(&mut self, data: &[u8], mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if let Some(wanted) = self.rest {
                if wanted {
                    out(piece)?;
                }
                self.rest = (!ends).then_some(wanted);
                continue;
            }
            self.line.extend_from_slice(piece);
            if ends || self.line.len() > LINE {
                let wanted = self.judge(&mut out)?;
                self.rest = (!ends).then_some(wanted);
            }
        }
        Ok(())
    }

    /// Ends the stream, perhaps in the middle of a line.
    pub(super) fn end<E>(&mut self, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.line.is_empty() {
            self.judge(&mut out)?;
        }
        Ok(())
    }

    fn judge<E>(&mut self, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<bool, E> {
        if let Some(version) = server_version(&self.line) {
            self.version = Some(version);
        }
        let wanted = self.target.as_ref().is_some_and(|target| target.hit(&self.line));
        if wanted {
            out(&self.line)?;
        }
        self.line.clear();
        Ok(wanted)
    }
}

/// Version and commit in `… Starting Velero server v1.18.3 (0123abc) …`.
fn server_version(line: &[u8]) -> Option<(String, String)> {
    const WORDS: &[u8] = b"Starting Velero server ";
    let at = memchr::memmem::find(line, WORDS)? + WORDS.len();
    let rest = String::from_utf8_lossy(&line[at..line.len().min(at + 200)]).into_owned();
    let (version, rest) = rest.split_once(" (")?;
    let (commit, _) = rest.split_once(')')?;
    let word = |text: &str| {
        let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
        !text.is_empty() && text.chars().all(sane)
    };
    (word(version) && word(commit)).then(|| (version.to_owned(), commit.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(kind: TargetKind, log: &str, chunk: usize) -> (String, Option<(String, String)>) {
        let mut server = ServerLogReader::new(Some((kind, "backups-ns", "refill")));
        let mut kept = Vec::new();
        let mut out = |data: &[u8]| {
            kept.extend_from_slice(data);
            Ok::<(), ()>(())
        };
        for piece in log.as_bytes().chunks(chunk) {
            server.feed(piece, &mut out).unwrap();
        }
        server.end(&mut out).unwrap();
        (String::from_utf8(kept).unwrap(), server.version)
    }

    const LOG: &str = "\
2026-03-01T10:00:00Z time=\"…\" level=info msg=\"Starting Velero server v1.18.3 (0a1b2c3d)\" logSource=\"pkg/x.go:1\"
2026-03-01T10:00:01Z time=\"…\" level=info msg=one restore=backups-ns/refill
2026-03-01T10:00:01Z time=\"…\" level=info msg=not restore=backups-ns/refill-2
2026-03-01T10:00:02Z time=\"…\" level=error msg=two restore=refill logSource=\"x\"
2026-03-01T10:00:02Z time=\"…\" level=error msg=not restore=other/refill
2026-03-01T10:00:03Z time=\"…\" level=info msg=not backup=backups-ns/refill
2026-03-01T10:00:04Z {\"level\":\"info\",\"restore\":\"backups-ns/refill\",\"msg\":\"three\"}
2026-03-01T10:00:04Z {\"level\":\"info\",\"restore\":\"backups-ns/refill2\",\"msg\":\"not\"}
2026-03-01T10:00:04Z msg=not prestore=refill
2026-03-01T10:00:05Z msg=last restore=\"refill\"";

    #[test]
    fn lines_about_the_restore_are_found_in_text_and_json() {
        let (kept, version) = lines(TargetKind::Restore, LOG, 7);
        let words: Vec<&str> = kept
            .lines()
            .map(|line| ["one", "two", "three", "last"].into_iter().find(|w| line.contains(w)).unwrap())
            .collect();
        assert_eq!(words, ["one", "two", "three", "last"]);
        assert_eq!(version, Some(("v1.18.3".into(), "0a1b2c3d".into())));
    }

    #[test]
    fn a_backup_of_the_same_name_is_another_target() {
        let (kept, _) = lines(TargetKind::Backup, LOG, 1000);
        assert_eq!(kept.lines().count(), 1);
        assert!(kept.contains("backup=backups-ns/refill\n"));
    }

    #[test]
    fn a_line_without_end_is_decided_by_its_beginning() {
        let long = format!("msg=x restore=refill {}\nnext restore=refill\n", "y".repeat(3 * LINE));
        let (kept, _) = lines(TargetKind::Restore, &long, 5000);
        assert_eq!(kept, long);
        let other = format!("msg=x {} restore=refill\n", "y".repeat(3 * LINE));
        assert_eq!(lines(TargetKind::Restore, &other, 5000).0, "");
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(chunk in 1_usize..400) {
            prop_assert_eq!(lines(TargetKind::Restore, LOG, chunk), lines(TargetKind::Restore, LOG, 100_000));
        }
    }
}
