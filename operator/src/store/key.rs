//! The one place in a bucket where a bundle may be: a pure function of prefix, target, name and UID, and a type that
//! only this function makes. `velero_file` names Velero's own files.

use debugbundle_crd::Target;
use sha2::{Digest as _, Sha256};

/// The folder below the location's prefix. `plugins/` is one of the six that Velero accepts; any other new folder makes
/// the location Unavailable and stops the user's backups.
pub const FOLDER: &str = "plugins/debugbundle";

/// S3's limit.
const MOST_BYTES: usize = 1024;
/// Longest name in a path component; the whole component stays below 255 bytes, for stores backed by file systems.
const NAME_BYTES: usize = 128;
/// Digits of the hash that stands for what was cut off or replaced.
const HASH_DIGITS: usize = 16;

/// The key of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The location's prefix.
    #[error("the location's prefix must be a path without empty, \".\" or \"..\" components and control characters")]
    Prefix,
    /// The resource's UID.
    #[error("metadata.uid must be 1 to 64 letters, digits and hyphens")]
    Uid,
    /// Too long.
    #[error("the key would have {0} bytes; a store allows {MOST_BYTES}; shorten the location's prefix")]
    Long(usize),
}

impl Key {
    /// `<prefix>/plugins/debugbundle/<kind>-<target>/<name>-<uid>.tar.gz`; without a target `installation`.
    ///
    /// # Errors
    /// If prefix or UID could lead elsewhere, or the key gets too long.
    pub fn of(prefix: &str, target: Option<&Target>, name: &str, uid: &str) -> Result<Self, KeyError> {
        let prefix = prefix.trim_matches('/');
        let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        if !prefix.is_empty() && !prefix.split('/').all(sound) {
            return Err(KeyError::Prefix);
        }
        if uid.is_empty() || uid.len() > 64 || !uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(KeyError::Uid);
        }
        let about = target.map_or_else(
            || "installation".to_owned(),
            |target| format!("{}-{}", target.kind.as_str().to_ascii_lowercase(), component(&target.name)),
        );
        let slash = if prefix.is_empty() { "" } else { "/" };
        let key = format!("{prefix}{slash}{FOLDER}/{about}/{}-{uid}.tar.gz", component(name));
        if key.len() > MOST_BYTES { Err(KeyError::Long(key.len())) } else { Ok(Self(key)) }
    }

    /// The key as the store takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last slash: letters, digits, `.`, `_` and `-` only.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name as part of a path component: characters that Kubernetes allows stay; others and excess length become a hash.
fn component(name: &str) -> String {
    let safe: String =
        name.chars()
            .map(|letter| {
                if letter.is_ascii_lowercase() || letter.is_ascii_digit() || ".-".contains(letter) {
                    letter
                } else {
                    '_'
                }
            })
            .collect();
    if safe == name && name.len() <= NAME_BYTES {
        return safe;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash = digest.iter().take(HASH_DIGITS / 2).fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
    let kept: String = safe.chars().take(NAME_BYTES - HASH_DIGITS - 1).collect();
    format!("{kept}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use debugbundle_crd::TargetKind;
    use proptest::prelude::*;

    const UID: &str = "0b5e2a7c-1111-4222-8333-444455556666";

    fn restore(name: &str) -> Target {
        Target { kind: TargetKind::Restore, name: name.to_owned() }
    }

    #[test]
    fn keys_are_as_documented() {
        let key =
            |prefix, target: Option<&Target>| Key::of(prefix, target, "dbg", UID).expect("a key").as_str().to_owned();
        assert_eq!(
            key("/velero/a/", Some(&restore("r1"))),
            format!("velero/a/plugins/debugbundle/restore-r1/dbg-{UID}.tar.gz")
        );
        assert_eq!(key("", None), format!("plugins/debugbundle/installation/dbg-{UID}.tar.gz"));
        let backup = Target { kind: TargetKind::Backup, name: "nightly".to_owned() };
        assert_eq!(key("", Some(&backup)), format!("plugins/debugbundle/backup-nightly/dbg-{UID}.tar.gz"));
    }

    #[test]
    fn sec_u5_d6_hostile_prefixes_and_uids_make_no_key() {
        for prefix in ["..", "a/../b", "a//b", "./a", "a/.", "a\nb", "a\0"] {
            assert_eq!(Key::of(prefix, None, "dbg", UID), Err(KeyError::Prefix), "{prefix:?}");
        }
        for uid in ["", "../x", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(Key::of("", None, "dbg", uid), Err(KeyError::Uid), "{uid:?}");
        }
        assert!(matches!(Key::of(&"p/".repeat(500), None, "dbg", UID), Err(KeyError::Long(_))));
    }

    #[test]
    fn the_longest_names_fit_and_differ() {
        let (a, b) = ("a".repeat(252) + "x", "a".repeat(252) + "y");
        let key = |name: &str| Key::of("velero", Some(&restore(name)), name, UID).expect("a key");
        assert_ne!(key(&a), key(&b));
        assert!(key(&a).as_str().split('/').all(|part| part.len() <= 255), "{}", key(&a));
    }

    proptest! {
        #[test]
        fn sec_u5_no_name_leads_out_of_the_folder(target in ".*", name in ".*", prefix in "([a-z]{1,5}(/[a-z]{1,5}){0,3})?") {
            let key = Key::of(&prefix, Some(&restore(&target)), &name, UID).expect("a key");
            let root = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            let below = key.as_str().strip_prefix(&format!("{root}{FOLDER}/restore-")).expect("below our folder");
            prop_assert_eq!(below.matches('/').count(), 1);
            prop_assert!(key.as_str().split('/').all(|part| part != ".." && part != "." && !part.is_empty()));
            prop_assert!(below.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte)));
        }
    }
}
