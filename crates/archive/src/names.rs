//! The order of the entries in an archive, and a unique path for each of them. [`debugbundle_format::path`] makes each path safe.

use std::collections::BTreeMap;

use debugbundle_format::{BundlePath, hex_digest};

use crate::{Entry, seal::MANIFEST};

/// Where a path stands in the archive: what a person reads first comes first.
fn rank(path: &str) -> u8 {
    match path {
        "summary.md" => 0,
        "report.html" => 1,
        "version" => 2,
        "timestamp" => 3,
        "operator.log" => 7,
        _ if path.starts_with("analysis/") => 4,
        _ if path.starts_with("velero/") => 5,
        _ => 6,
    }
}

/// The entries in the archive's order, each under a unique path.
pub(super) fn ordered(mut entries: Vec<Entry>) -> Vec<(BundlePath, Entry)> {
    entries.sort_by(|a, b| {
        let key = |e: &Entry| (rank(e.segment.path.as_str()), e.segment.path.clone(), e.segment.sha256);
        key(a).cmp(&key(b))
    });
    let mut names = Names::default();
    names.own(MANIFEST);
    let mut out: Vec<_> = entries.into_iter().map(|entry| (names.own(entry.segment.path.as_str()), entry)).collect();
    out.sort_by(|(a, _), (b, _)| (rank(a.as_str()), a).cmp(&(rank(b.as_str()), b)));
    out
}

/// The names taken in each directory, regardless of case: unpacked on some systems, `A` is `a`.
#[derive(Default)]
struct Names {
    taken: BTreeMap<String, (String, bool)>,
    moved: BTreeMap<String, String>,
}

impl Names {
    fn own(&mut self, path: &str) -> BundlePath {
        let mut asked = String::new();
        let mut own = String::new();
        let last = path.split('/').count() - 1;
        for (i, part) in path.split('/').enumerate() {
            if i > 0 {
                asked.push('/');
                own.push('/');
            }
            asked.push_str(part);
            let is_file = i == last;
            if let (false, Some(moved)) = (is_file, self.moved.get(&asked)) {
                own.clone_from(moved);
                continue;
            }
            let above = own.len();
            for attempt in 0_u32.. {
                own.truncate(above);
                own.push_str(part);
                if attempt > 0 {
                    // The digest of the original name, so that the same names change in the same way in every bundle.
                    let digits = hex_digest(format!("{attempt}/{asked}").as_bytes());
                    own.push('-');
                    own.push_str(&digits[..8]);
                }
                let folded = own.to_lowercase();
                match self.taken.get(&folded) {
                    Some((name, false)) if !is_file && *name == asked => break,
                    Some(_) => {}
                    None => {
                        self.taken.insert(folded, (asked.clone(), is_file));
                        break;
                    }
                }
            }
            if !is_file {
                self.moved.insert(asked.clone(), own.clone());
            }
        }
        BundlePath::from_safe(own)
    }
}
