//! Where an entry lies in the bundle: the one constructor that turns names from the cluster into a safe relative path.
//! Sealing renames one of two paths that differ only in case.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest as _, Sha256};

/// Longest component in bytes; tools add suffixes, and file systems end at 255.
const MAX_COMPONENT: usize = 200;
/// Longest path without the root directory; with it (at most 80 bytes) and a suffix against duplicates it is below 400.
const MAX_PATH: usize = 310;
/// Hex digits of the digest that stands for what was cut off.
const CUT_DIGITS: usize = 16;
/// Fixed components, not made from names in the cluster. User rules must not change them, or readers lose the files.
const FIXED: &[&str] = &[
    "aggregated-discovery-api.yaml",
    "aggregated-discovery-apis.yaml",
    "analysis",
    "backups",
    "cluster-scoped-resources",
    "core",
    "logs",
    "locations",
    "manifest.json",
    "metrics",
    "namespaces",
    "operator.log",
    "pods",
    "report.html",
    "restores",
    "summary.md",
    "timestamp",
    "velero",
    "version",
];

/// A relative path below the bundle's root: components of `[A-Za-z0-9._-]`, at most 200 bytes each and 310 together.
/// None is empty, `.` or `..`; none has a leading `-`, a trailing dot or a name that Windows reserves.
///
/// Any other byte of a component, `_` included, becomes `_` and two hex digits, so different names stay different. A
/// component that is too long is cut and ends in `_-` and sixteen digits of its sha256; only a cut makes `_-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundlePath(String);

impl BundlePath {
    /// Makes each component safe; a `/` inside one is escaped.
    pub fn new<I, S>(components: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut parts: Vec<Part> = components.into_iter().map(|name| Part::new(name.as_ref())).collect();
        if parts.is_empty() {
            parts.push(Part::new(""));
        }
        let total = |parts: &[Part]| parts.iter().map(|p| p.safe.len() + 1).sum::<usize>() - 1;
        while total(&parts) > MAX_PATH {
            let excess = total(&parts) - MAX_PATH;
            let longest = parts.iter_mut().max_by_key(|p| p.safe.len());
            match longest.filter(|p| p.safe.len() > 40) {
                Some(part) => part.shorten((part.safe.len() - 1).min(part.safe.len().saturating_sub(excess).max(40))),
                None => return Self(many(&parts)),
            }
        }
        Self(parts.into_iter().map(|p| p.safe).collect::<Vec<_>>().join("/"))
    }

    /// The path without the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same path with each component changed by `clean`; the fixed components stay as they are.
    #[must_use]
    pub fn cleaned(&self, clean: impl Fn(&str) -> String) -> Self {
        let changed = |part: &str| {
            let out = if FIXED.contains(&part) { part.to_owned() } else { clean(part) };
            if out == part { part.to_owned() } else { Part::new(&out).safe }
        };
        Self(self.0.split('/').map(changed).collect::<Vec<_>>().join("/"))
    }

    /// A path that is safe already and may have a suffix against duplicates.
    pub fn from_safe(path: String) -> Self {
        Self(path)
    }
}

impl std::fmt::Display for BundlePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of the bundle's root directory: `debugbundle-<name>-<uid8>-<YYYYMMDDTHHMMSSZ>`, at most 79 bytes.
///
/// It differs for each bundle and attempt, because omc unpacks beside the archive and shows the old data when the
/// directory is there already. A name over 40 bytes is cut to 34 and six digits of its sha256.
pub fn root_name(name: &str, uid: &str, started: Timestamp) -> String {
    let mut name = Part::new(name).safe;
    if name.len() > 40 {
        let digits = hex_digest(name.as_bytes());
        name.truncate(34);
        name.push_str(&digits[..6]);
    }
    let uid: String = uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let at = started.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ");
    format!("debugbundle-{name}-{uid}-{at}")
}

/// A component: the digest of its original name, and the safe name.
struct Part {
    digest: String,
    safe: String,
}

impl Part {
    fn new(name: &str) -> Self {
        let mut part = Self { digest: hex_digest(name.as_bytes()), safe: escaped(name) };
        if part.safe.len() > MAX_COMPONENT {
            part.shorten(MAX_COMPONENT);
        }
        part
    }

    /// Cuts to at most `length` (≥ 40) bytes, digest and file extension included.
    fn shorten(&mut self, length: usize) {
        let extension = match self.safe.rfind('.') {
            Some(dot) if self.safe.len() - dot <= 6 && dot > 0 => self.safe[dot..].to_owned(),
            _ => String::new(),
        };
        let extension = if extension[..].bytes().skip(1).all(|b| b.is_ascii_alphanumeric()) && extension.len() > 1 {
            extension
        } else {
            String::new()
        };
        let mut keep = length - 2 - CUT_DIGITS - extension.len();
        let bytes = self.safe.as_bytes();
        for back in 1..=2 {
            if bytes[keep - back] == b'_' {
                keep -= back;
                break;
            }
        }
        self.safe.truncate(keep);
        let _ = write!(self.safe, "_-{}{extension}", &self.digest[..CUT_DIGITS]);
    }
}

/// For more components than a path can hold: the first one, and one digest of all.
fn many(parts: &[Part]) -> String {
    let all: String = parts.iter().map(|p| p.digest.as_str()).collect();
    let first = parts.first().map_or("_", |p| p.safe.as_str());
    format!("{first}/_-{}", &hex_digest(all.as_bytes())[..CUT_DIGITS])
}

/// The injective escape: two hex digits follow each `_`, except a lone `_`, which stands for an empty name.
fn escaped(name: &str) -> String {
    if name.is_empty() {
        return "_".into();
    }
    let bytes = name.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    for (i, &b) in bytes.iter().enumerate() {
        let first = i == 0;
        let last = i + 1 == bytes.len();
        let plain = match b {
            b'.' => !last && bytes != b"..",
            b'-' => !first,
            _ => b.is_ascii_alphanumeric() && !(first && reserved(name)),
        };
        if plain {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "_{b:02x}");
        }
    }
    out
}

/// Names that open a device on Windows, with any extension.
fn reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    match stem.as_str() {
        "con" | "prn" | "aux" | "nul" => true,
        _ => {
            let numbered = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
            numbered.is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
        }
    }
}

/// sha256 in lower-case hex.
pub fn hex_digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path<const N: usize>(parts: [&str; N]) -> String {
        BundlePath::new(parts).as_str().to_owned()
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        assert_eq!(path(["namespaces", "shop", "core", "pods.yaml"]), "namespaces/shop/core/pods.yaml");
        assert_eq!(path(["velero", "backups", "b1.x-2", "backup.log"]), "velero/backups/b1.x-2/backup.log");
    }

    #[test]
    fn sec_t1_hostile_names_are_escaped() {
        for (name, safe) in [
            ("", "_"),
            (".", "_2e"),
            ("..", "_2e_2e"),
            ("../../etc", ".._2f.._2fetc"),
            ("system:node", "system_3anode"),
            ("a_b", "a_5fb"),
            ("-rf", "_2drf"),
            ("end.", "end_2e"),
            ("CON", "_43ON"),
            ("nul.txt", "_6eul.txt"),
            ("com1", "_63om1"),
            ("com10", "com10"),
            ("ü", "_c3_bc"),
            ("a b\n", "a_20b_0a"),
        ] {
            assert_eq!(path([name]), safe, "{name:?}");
        }
    }

    #[test]
    fn sec_t4_a_long_name_keeps_its_beginning_and_extension() {
        let (a, b) = (format!("{}a.yaml", "x".repeat(250)), format!("{}b.yaml", "x".repeat(250)));
        let (a, b) = (path([&a]), path([&b]));
        assert!(a.len() == 200 && a.starts_with("xxxx") && a.strip_suffix(".yaml").is_some(), "{a}");
        assert_ne!(a, b);
    }

    #[test]
    fn a_cut_name_is_not_the_name_of_another() {
        let long = "y".repeat(300);
        let cut = path([&long]);
        assert_ne!(path([&cut]), cut, "a name that looks like a cut one");
    }

    #[test]
    fn the_root_differs_for_each_attempt_and_is_bounded() {
        let at: Timestamp = "2026-09-08T03:04:12Z".parse().expect("a time");
        assert_eq!(
            root_name("restore-r1-1a2b", "0f3c9d11-6f0e-4a55-9c1c-2b8f6f1f7f10", at),
            "debugbundle-restore-r1-1a2b-0f3c9d11-20260908T030412Z"
        );
        let long = root_name(&"n".repeat(253), "0f3c9d11-6f0e-4a55-9c1c-2b8f6f1f7f10", at);
        assert!(long.len() <= 79, "{long}");
    }

    fn safe(component: &str) -> bool {
        let stem = component.split('.').next().unwrap_or_default();
        !component.is_empty()
            && component.len() <= MAX_COMPONENT
            && component.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
            && component != "."
            && component != ".."
            && !component.starts_with('-')
            && !component.ends_with('.')
            && !["con", "prn", "aux", "nul", "com1", "lpt9"].contains(&stem.to_lowercase().as_str())
    }

    proptest! {
        #[test]
        fn sec_t1_no_name_climbs_or_breaks_the_rules(parts in prop::collection::vec("(\\PC|[./_-]|con|NUL\\.){0,120}", 0..12)) {
            let made = BundlePath::new(&parts);
            prop_assert!(made.as_str().len() <= MAX_PATH, "{made}");
            prop_assert!(made.as_str().split('/').all(safe), "{made}");
        }

        #[test]
        fn sec_t1_different_names_have_different_paths(
            a in prop::collection::vec("[ab_/.-]{0,4}", 1..4),
            b in prop::collection::vec("[ab_/.-]{0,4}", 1..4),
        ) {
            prop_assert_eq!(a == b, BundlePath::new(&a) == BundlePath::new(&b));
        }

        #[test]
        fn different_long_names_have_different_paths(
            a in prop::collection::vec("[ab_]{60,90}", 3..9),
            b in prop::collection::vec("[ab_]{60,90}", 3..9),
        ) {
            prop_assert_eq!(a == b, BundlePath::new(&a) == BundlePath::new(&b));
        }
    }
}
