//! The one place in a bucket where a bundle may be: a pure function of prefix, installation, target, name and UID, and
//! types that only these functions make. `velero_file` names Velero's own files.

use debugbundle_crd::Target;
use sha2::{Digest as _, Sha256};

/// The folder below the location's prefix. `plugins/` is one of the six that Velero accepts; any other new folder makes
/// the location Unavailable and stops the user's backups.
const FOLDER: &str = "plugins/debugbundle";
/// How each bundle's key ends.
const SUFFIX: &str = ".tar.gz";

/// S3's limit.
const MOST_BYTES: usize = 1024;
/// Longest name in a path component; the whole component stays below 255 bytes, for stores backed by file systems.
const NAME_BYTES: usize = 128;
/// Length of a UID as API servers write it.
const UID: usize = 36;
/// Digits of the hash that stands for what was cut off or replaced.
const HASH_DIGITS: usize = 16;

/// Which installation a bundle belongs to: the UID of Velero's namespace. Several may share a bucket and a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstallationId(String);

impl InstallationId {
    /// The id of the installation in the namespace with this UID.
    ///
    /// # Errors
    /// If the UID could not be one component of a key.
    pub fn new(uid: &str) -> Result<Self, KeyError> {
        if is_uid(uid) { Ok(Self(uid.to_owned())) } else { Err(KeyError::Installation) }
    }

    /// The id of no namespace, for a run that stores nothing.
    pub fn of_nobody() -> Self {
        Self("00000000-0000-0000-0000-000000000000".to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A folder with bundles below a location's prefix: that of one installation, or that of all of them. Only bundles
/// below it can be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The folder of all installations, with a slash at its end.
    root: String,
    /// The folder that is listed: the root itself, or the folder of one installation in it.
    listed: String,
}

impl Folder {
    /// `<prefix>/plugins/debugbundle/<id>/`.
    ///
    /// # Errors
    /// If the prefix could lead elsewhere.
    pub fn of(prefix: &str, installation: &InstallationId) -> Result<Self, KeyError> {
        let all = Self::of_all(prefix)?;
        Ok(Self { listed: format!("{}{}/", all.root, installation.0), ..all })
    }

    /// `<prefix>/plugins/debugbundle/`, for a person who looks at all installations.
    ///
    /// # Errors
    /// If the prefix could lead elsewhere.
    pub fn of_all(prefix: &str) -> Result<Self, KeyError> {
        let prefix = prefix.trim_matches('/');
        if !prefix.is_empty() && !prefix.split('/').all(is_component) {
            return Err(KeyError::Prefix);
        }
        let slash = if prefix.is_empty() { "" } else { "/" };
        let root = format!("{prefix}{slash}{FOLDER}/");
        Ok(Self { listed: root.clone(), root })
    }

    /// The text with which all its keys begin.
    pub fn as_str(&self) -> &str {
        &self.listed
    }

    /// The key of a bundle in this folder, as a list of the store contains it; `None` for any other object.
    pub fn bundle(&self, listed: &str) -> Option<Key> {
        listed.strip_prefix(&self.listed)?;
        let parts: Vec<&str> = listed.strip_prefix(&self.root)?.split('/').collect();
        let key = Key(listed.to_owned());
        (matches!(parts.len(), 2 | 3) && parts.into_iter().all(is_component) && key.uid().is_some()).then_some(key)
    }

    /// The installation that a bundle in this folder belongs to; `None` if the operator that stored it knew no
    /// installations yet.
    pub fn installation<'a>(&self, key: &'a Key) -> Option<&'a str> {
        let mut parts = key.0.strip_prefix(&self.root)?.split('/');
        let first = parts.next()?;
        (parts.count() == 2).then_some(first)
    }
}

/// The key of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The location's prefix.
    #[error("the location's prefix must be a path without empty, \".\" or \"..\" components and control characters")]
    Prefix,
    /// The UID of Velero's namespace.
    #[error("metadata.uid of Velero's namespace must be 1 to 64 letters, digits and hyphens")]
    Installation,
    /// The resource's UID.
    #[error("metadata.uid must be 1 to 64 letters, digits and hyphens")]
    Uid,
    /// Too long.
    #[error("the key would have {0} bytes; a store allows {MOST_BYTES}; shorten the location's prefix")]
    Long(usize),
}

impl Key {
    /// `<prefix>/plugins/debugbundle/<id>/<kind>-<target>/<name>-<uid>.tar.gz`; without a target `installation`.
    ///
    /// # Errors
    /// If prefix or UID could lead elsewhere, or the key gets too long.
    pub fn of(
        prefix: &str,
        installation: &InstallationId,
        target: Option<&Target>,
        name: &str,
        uid: &str,
    ) -> Result<Self, KeyError> {
        Self::below(&Folder::of(prefix, installation)?.listed, target, name, uid)
    }

    /// The same without the installation, where earlier versions of the operator stored the bundle.
    ///
    /// # Errors
    /// As [`Key::of`].
    pub fn of_earlier(prefix: &str, target: Option<&Target>, name: &str, uid: &str) -> Result<Self, KeyError> {
        Self::below(&Folder::of_all(prefix)?.listed, target, name, uid)
    }

    fn below(folder: &str, target: Option<&Target>, name: &str, uid: &str) -> Result<Self, KeyError> {
        if !is_uid(uid) {
            return Err(KeyError::Uid);
        }
        let about = target.map_or_else(
            || "installation".to_owned(),
            |target| format!("{}-{}", target.kind.as_str().to_ascii_lowercase(), component(&target.name)),
        );
        let key = format!("{folder}{about}/{}-{uid}{SUFFIX}", component(name));
        if key.len() > MOST_BYTES { Err(KeyError::Long(key.len())) } else { Ok(Self(key)) }
    }

    /// The UID of the DebugBundle, as API servers write UIDs; `None` if the key ends otherwise.
    pub fn uid(&self) -> Option<&str> {
        let stem = self.file_name().strip_suffix(SUFFIX)?;
        let (name, uid) = stem.split_at_checked(stem.len().checked_sub(UID)?)?;
        let groups = uid.split('-').map(|group| (group.len(), group.bytes().all(|byte| byte.is_ascii_hexdigit())));
        (name.ends_with('-') && groups.eq([8, 4, 4, 4, 12].map(|length| (length, true)))).then_some(uid)
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

fn is_component(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control)
}

fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
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
    const HERE: &str = "6d6f6465-2222-4222-8333-444455556666";

    fn here() -> InstallationId {
        InstallationId::new(HERE).expect("an id")
    }

    fn restore(name: &str) -> Target {
        Target { kind: TargetKind::Restore, name: name.to_owned() }
    }

    #[test]
    fn keys_are_as_documented() {
        let key = |prefix, target: Option<&Target>| {
            Key::of(prefix, &here(), target, "dbg", UID).expect("a key").as_str().to_owned()
        };
        assert_eq!(
            key("/velero/a/", Some(&restore("r1"))),
            format!("velero/a/plugins/debugbundle/{HERE}/restore-r1/dbg-{UID}.tar.gz")
        );
        assert_eq!(key("", None), format!("plugins/debugbundle/{HERE}/installation/dbg-{UID}.tar.gz"));
        let backup = Target { kind: TargetKind::Backup, name: "nightly".to_owned() };
        assert_eq!(key("", Some(&backup)), format!("plugins/debugbundle/{HERE}/backup-nightly/dbg-{UID}.tar.gz"));
    }

    #[test]
    fn sec_u5_d6_hostile_prefixes_and_uids_make_no_key() {
        for prefix in ["..", "a/../b", "a//b", "./a", "a/.", "a\nb", "a\0"] {
            assert_eq!(Key::of(prefix, &here(), None, "dbg", UID), Err(KeyError::Prefix), "{prefix:?}");
        }
        for uid in ["", "../x", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(Key::of("", &here(), None, "dbg", uid), Err(KeyError::Uid), "{uid:?}");
            assert_eq!(InstallationId::new(uid), Err(KeyError::Installation), "{uid:?}");
        }
        assert!(matches!(Key::of(&"p/".repeat(500), &here(), None, "dbg", UID), Err(KeyError::Long(_))));
    }

    #[test]
    fn the_longest_names_fit_and_differ() {
        let (a, b) = ("a".repeat(252) + "x", "a".repeat(252) + "y");
        let key = |name: &str| Key::of("velero", &here(), Some(&restore(name)), name, UID).expect("a key");
        assert_ne!(key(&a), key(&b));
        assert!(key(&a).as_str().split('/').all(|part| part.len() <= 255), "{}", key(&a));
    }

    #[test]
    fn of_a_list_only_bundles_of_the_folder_are_taken() {
        let ours = Folder::of("velero", &here()).expect("a folder");
        let all = Folder::of_all("velero").expect("a folder");
        let bundle = Key::of("velero", &here(), Some(&restore("r1")), "dbg", UID).expect("a key");
        assert_eq!(ours.bundle(bundle.as_str()), Some(bundle.clone()));
        assert_eq!((bundle.uid(), ours.installation(&bundle)), (Some(UID), Some(HERE)));
        let earlier = Key::of_earlier("velero", None, "dbg", UID).expect("a key");
        assert_eq!((ours.bundle(earlier.as_str()), all.bundle(earlier.as_str())), (None, Some(earlier.clone())));
        assert_eq!(all.installation(&earlier), None);
        let folder = ours.as_str();
        for foreign in [
            format!("{folder}restore-r1/notes.txt"),
            format!("{folder}restore-r1/dbg-{}.tar.gz", UID.replace('b', "x")),
            format!("{folder}restore-r1/{UID}.tar.gz"),
            format!("{folder}../dbg-{UID}.tar.gz"),
            format!("{folder}a/b/dbg-{UID}.tar.gz"),
            format!("velero/backups/dbg/dbg-{UID}.tar.gz"),
            format!("{folder}restore-é/é{}.tar.gz", &UID[1..]),
            ".tar.gz".to_owned(),
            String::new(),
        ] {
            assert_eq!(ours.bundle(&foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn sec_u5_no_name_leads_out_of_the_folder(target in ".*", name in ".*", prefix in "([a-z]{1,5}(/[a-z]{1,5}){0,3})?") {
            let key = Key::of(&prefix, &here(), Some(&restore(&target)), &name, UID).expect("a key");
            let folder = Folder::of(&prefix, &here()).expect("a folder");
            let below = key.as_str().strip_prefix(&format!("{}restore-", folder.as_str())).expect("below our folder");
            prop_assert_eq!(below.matches('/').count(), 1);
            prop_assert!(key.as_str().split('/').all(|part| part != ".." && part != "." && !part.is_empty()));
            prop_assert!(below.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte)));
            prop_assert_eq!(folder.bundle(key.as_str()), Some(key));
        }
    }
}
