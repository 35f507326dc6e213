//! What a sweep does with each listed object: a pure decision, made when both lists are whole.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::record::StoredBundle;
use crate::store::ListedBundle;

/// Younger objects and uploads stay: their DebugBundles may be younger than the list of DebugBundles.
const AGE: Duration = Duration::from_hours(1);

/// What a sweep does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// Its DebugBundle was deleted: it goes.
    Goes,
    /// It belongs to no DebugBundle, and nothing shows that its DebugBundle was deleted by itself: it goes if it has
    /// expired.
    GoesIfExpired,
}

/// The objects that belong to no DebugBundle. `objects` were listed before `living`, the UIDs of all DebugBundles.
pub fn orphans(objects: Vec<ListedBundle>, living: &BTreeSet<String>) -> Vec<ListedBundle> {
    objects.into_iter().filter(|object| is_orphan(object, living)).collect()
}

/// Whether the object belongs to no DebugBundle.
pub fn is_orphan(object: &ListedBundle, living: &BTreeSet<String>) -> bool {
    object.key.uid().is_some_and(|uid| !living.contains(uid))
}

/// Whether an object or upload of that time is old enough to be swept.
pub fn is_old(of: Timestamp, now: Timestamp) -> bool {
    now.duration_since(of) > jiff::SignedDuration::try_from(AGE).unwrap_or(jiff::SignedDuration::MAX)
}

/// Returns what the sweep does with an object that belongs to no DebugBundle and has this entry in the record.
/// `defined` is when the definition of DebugBundles was installed; `None` if the operator may not read it. `now` is the
/// operator's time.
pub fn fate(modified: Timestamp, entry: Option<&StoredBundle>, defined: Option<Timestamp>, now: Timestamp) -> Fate {
    let deleted = entry.zip(defined).filter(|(entry, defined)| entry.is_younger_than(*defined));
    match deleted {
        Some((entry, _)) if entry.was_seen_deleted() => Fate::Goes,
        Some(_) if is_old(modified, now) => Fate::Goes,
        None if is_old(modified, now) => Fate::GoesIfExpired,
        _ => Fate::Stays,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Folder, InstallationId};

    const NOW: &str = "2026-09-08T03:04:12Z";

    fn minutes_ago(minutes: i64) -> Timestamp {
        NOW.parse::<Timestamp>().expect("a time") - jiff::SignedDuration::from_mins(minutes)
    }

    #[test]
    fn only_objects_without_a_debug_bundle_are_orphans() {
        let uid = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
        let object = |number: usize| {
            let folder = Folder::of("team-a", &InstallationId::of_nobody()).expect("a folder");
            let key = format!("{}installation/b-{}.tar.gz", folder.as_str(), uid(number));
            ListedBundle { key: folder.bundle(&key).expect("a bundle"), bytes: 7, modified: minutes_ago(61) }
        };
        let living = BTreeSet::from([uid(2)]);
        assert_eq!(orphans(vec![object(1), object(2), object(3)], &living), [object(1), object(3)]);
    }

    #[test]
    fn what_was_deleted_goes_and_what_went_with_the_definition_or_is_unknown_stays_until_it_expires() {
        let entry = |gone| StoredBundle::created_at(minutes_ago(600), gone);
        let fate = |age, entry: Option<StoredBundle>, defined: Option<i64>| {
            super::fate(minutes_ago(age), entry.as_ref(), defined.map(minutes_ago), minutes_ago(0))
        };
        // The definition is older than the DebugBundle, or as old.
        for defined in [6000, 600] {
            assert_eq!(fate(61, Some(entry(false)), Some(defined)), Fate::Goes);
            assert_eq!(fate(60, Some(entry(false)), Some(defined)), Fate::Stays, "it is young");
            assert_eq!(fate(1, Some(entry(true)), Some(defined)), Fate::Goes, "its deletion was seen");
        }
        // Installed again since; may not be read; not in the record.
        for gone in [false, true] {
            assert_eq!(fate(61, Some(entry(gone)), Some(599)), Fate::GoesIfExpired);
            assert_eq!(fate(61, Some(entry(gone)), None), Fate::GoesIfExpired);
        }
        assert_eq!(fate(61, None, Some(6000)), Fate::GoesIfExpired);
        assert_eq!(fate(60, None, Some(6000)), Fate::Stays);
        assert_eq!(fate(-90, None, None), Fate::Stays, "the store's clock is ahead");
    }
}
